//! Problems of a document, each with its place and in the words of the house: object first, sentence,
//! next step.

use std::fmt::Display;

use crate::api::{
    error::{Code, Problem},
    object::Noun,
    text::TextError,
};

/// Collects the problems of one object. Nearly all have none: words are made only for those that do.
pub(super) struct Reporter<'a> {
    problems: &'a mut Vec<Problem>,
    about: About<'a>,
}

#[derive(Clone, Copy)]
enum About<'a> {
    /// At this place of its kind's list, by its name.
    Object(Noun, usize, &'a str),
    Setting(&'a str),
}

impl About<'_> {
    fn object(self) -> String {
        match self {
            Self::Object(noun, _, name) => format!("{noun} {name}"),
            Self::Setting(key) => format!("setting {key}"),
        }
    }

    fn pointer(self) -> String {
        match self {
            Self::Object(noun, index, _) => format!("/{}/{index}", noun.list()),
            Self::Setting(key) => format!("/settings/{}", key.replace('~', "~0").replace('/', "~1")),
        }
    }
}

impl<'a> Reporter<'a> {
    /// For the object at `index` of its kind's list.
    pub(super) fn new(problems: &'a mut Vec<Problem>, noun: Noun, index: usize, name: &'a str) -> Self {
        Self { problems, about: About::Object(noun, index, name) }
    }

    /// For a setting.
    pub(super) fn setting(problems: &'a mut Vec<Problem>, key: &'a str) -> Self {
        Self { problems, about: About::Setting(key) }
    }

    /// `field` is the rest of the JSON pointer: `mac`, `ips/0`; empty for the whole object. `clause` says
    /// what is wrong, without the object's name or a final stop.
    pub(super) fn add(
        &mut self,
        field: impl Display,
        code: Code,
        clause: impl Display,
        hint: impl Into<String>,
    ) {
        let object = self.about.object();
        let path = format!("{}/{field}", self.about.pointer());
        self.problems.push(Problem {
            path: path.strip_suffix('/').map(str::to_owned).unwrap_or(path),
            code,
            kind: code.kind(),
            message: format!("{}: {clause}.", capitalized(&object)),
            object,
            hints: vec![hint.into()],
        });
    }

    /// A text that was not understood.
    pub(super) fn text(&mut self, field: impl Display, code: Code, error: TextError) {
        self.add(field, code, error.message, error.hint);
    }
}

/// With the first letter in upper case.
pub(super) fn capitalized(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}
