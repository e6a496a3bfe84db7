//! Problems of a document, each with its place and in the words of the house: object first, sentence,
//! next step.

use std::fmt::Display;

use crate::api::{
    error::{Code, Problem},
    object::Noun,
    text::TextError,
};

/// Collects the problems of one object.
pub(super) struct Reporter<'a> {
    problems: &'a mut Vec<Problem>,
    object: String,
    pointer: String,
}

impl<'a> Reporter<'a> {
    /// For the object at `index` of its kind's list.
    pub(super) fn new(problems: &'a mut Vec<Problem>, noun: Noun, index: usize, name: &str) -> Self {
        let pointer = format!("/{}/{index}", noun.list());
        Self { problems, object: format!("{noun} {name}"), pointer }
    }

    /// For a setting.
    pub(super) fn setting(problems: &'a mut Vec<Problem>, key: &str) -> Self {
        let pointer = format!("/settings/{}", key.replace('~', "~0").replace('/', "~1"));
        Self { problems, object: format!("setting {key}"), pointer }
    }

    /// `field` is the rest of the JSON pointer: `mac`, `ips/0`; empty for the whole object. `clause` says
    /// what is wrong, without the object's name or a final stop.
    pub(super) fn add(&mut self, field: &str, code: Code, clause: impl Display, hint: impl Into<String>) {
        let path = if field.is_empty() { self.pointer.clone() } else { format!("{}/{field}", self.pointer) };
        self.problems.push(Problem {
            path,
            code,
            kind: code.kind(),
            message: format!("{}: {clause}.", capitalized(&self.object)),
            object: self.object.clone(),
            hints: vec![hint.into()],
        });
    }

    /// A text that was not understood.
    pub(super) fn text(&mut self, field: &str, code: Code, error: TextError) {
        self.add(field, code, error.message, error.hint);
    }
}

/// With the first letter in upper case.
pub(super) fn capitalized(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}
