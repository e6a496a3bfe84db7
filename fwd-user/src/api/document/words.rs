//! What serde finds wrong, in the words of the house: object first, then what is wrong, then what to do.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::yaml::escape;
use crate::api::error::{Code, Problem};

/// Reads one object of an API request.
///
/// # Errors
/// What is wrong first, by pointer into the object.
pub fn object<T: DeserializeOwned>(value: &Value, name: &str) -> Result<T, Problem> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let pointer = inner_pointer(value, error.path());
        let (message, hint) = in_words(&error.into_inner().to_string(), value.pointer(&pointer));
        let field = pointer.trim_start_matches('/').replace('/', ".");
        let message = if field.is_empty() { message } else { format!("{field}: {message}") };
        problem(Code::BadStructure, &pointer, name, &message, &hint)
    })
}

pub fn problem(code: Code, pointer: &str, object: &str, message: &str, hint: &str) -> Problem {
    let mut subject = object.to_owned();
    if let Some(first) = subject.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    Problem {
        path: pointer.to_owned(),
        code,
        kind: code.kind(),
        object: object.to_owned(),
        message: format!("{subject}: {message}."),
        hints: if hint.is_empty() { Vec::new() } else { vec![hint.to_owned()] },
    }
}

pub fn inner_pointer(value: &Value, path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let mut pointer = String::new();
    for segment in path {
        let step = match segment {
            Segment::Seq { index } => index.to_string(),
            Segment::Map { key } => escape(key),
            Segment::Enum { .. } | Segment::Unknown => continue,
        };
        let next = format!("{pointer}/{step}");
        if value.pointer(&next).is_none() {
            break;
        }
        pointer = next;
    }
    pointer
}

/// Takes the value at a pointer out of its parent; the last step's name, or none if it is the root.
pub fn remove(value: &mut Value, pointer: &str) -> Option<String> {
    let cut = pointer.rfind('/')?;
    let step = pointer[cut + 1..].replace("~1", "/").replace("~0", "~");
    match value.pointer_mut(&pointer[..cut])? {
        Value::Object(map) => map.remove(&step).map(|_| step),
        Value::Array(items) => {
            items.remove(step.parse().ok()?);
            Some(step)
        }
        _ => None,
    }
}

/// A message of serde about a value as people would say it, with what to do.
pub fn in_words(text: &str, about: Option<&Value>) -> (String, String) {
    if let Some(rest) = text.strip_prefix("unknown field ") {
        let (field, known) = rest.split_once(", expected ").unwrap_or((rest, ""));
        let known = known.trim_start_matches("one of ").replace('`', "");
        return (format!("{} is not known here", field.replace('`', "")), format!("Known are {known}."));
    }
    if let Some(rest) = text.strip_prefix("unknown variant ") {
        let (variant, known) = rest.split_once(", expected ").unwrap_or((rest, ""));
        let known = known.trim_start_matches("one of ").replace('`', "");
        return (
            format!("{} is not possible here", variant.replace('`', "")),
            format!("Write one of {known}."),
        );
    }
    if let Some(field) = text.strip_prefix("missing field ") {
        let field = field.replace('`', "");
        return (format!("{field} is missing"), format!("Add `{field}: …`."));
    }
    for kind in ["invalid type: ", "invalid value: "] {
        if let Some((found, wanted)) = text.strip_prefix(kind).and_then(|rest| rest.split_once(", expected "))
        {
            let hint = format!("Write {}.", wanted_in_words(wanted));
            return (format!("{} is not possible here", found_in_words(found)), hint);
        }
    }
    const ADDRESS: &str = "Write one such as 10.10.0.11, fd00:10::11 or 10.10.0.0/24.";
    match text {
        "invalid IP address syntax" => {
            let found = about.and_then(Value::as_str).unwrap_or("what is there");
            (format!("{found} is no address"), ADDRESS.to_owned())
        }
        _ if text.ends_with("is neither CIDR nor address") => (text.to_owned(), ADDRESS.to_owned()),
        _ => (text.to_owned(), String::new()),
    }
}

/// What serde says that it found, as the text has it: ``string "big"``, ``integer `5` ``, `sequence`.
fn found_in_words(found: &str) -> String {
    let value = found.split_once(' ').map(|(_, value)| value.trim_matches('`'));
    match (found, value) {
        ("sequence", _) => "a list".to_owned(),
        ("map", _) => "a mapping".to_owned(),
        ("unit value", _) => "nothing".to_owned(),
        (_, Some(value)) => value.to_owned(),
        _ => found.to_owned(),
    }
}

/// What serde says that it expects; the types are those of a document's fields.
fn wanted_in_words(wanted: &str) -> &str {
    match wanted {
        "u16" => "a number from 0 to 65535",
        "a boolean" => "true or false",
        "a sequence" => "a list: [a, b]",
        "a map" => "a mapping: {key: value}",
        "a string" | "a borrowed string" => "a text; in quotes where it looks like something else",
        _ if wanted.starts_with("struct ") => "an object: {name: …}",
        _ => wanted,
    }
}
