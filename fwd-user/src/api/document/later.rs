//! Fields of the document's contract on which this version does not act: taken where they ask for nothing,
//! so that a document of the contract can be applied, and refused as not built where they ask for something.

use serde_json::Value;

use crate::api::object::Noun;

/// The fields of a kind of object.
pub const fn fields(noun: Noun) -> &'static [&'static str] {
    match noun {
        Noun::Nat => &["prefix"],
        Noun::Uplink
        | Noun::Network
        | Noun::Port
        | Noun::Forward
        | Noun::Group
        | Noun::Set
        | Noun::Policy => &[],
    }
}

/// Whether a value asks for nothing.
pub fn is_idle(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => matches!(text.as_str(), "" | "off"),
        Value::Array(items) => items.is_empty(),
        Value::Bool(true) | Value::Number(_) | Value::Object(_) => false,
    }
}
