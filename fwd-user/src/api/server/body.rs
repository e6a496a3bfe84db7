//! What the body of a request holds.

use axum::body::Bytes;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::api::{
    document,
    error::{ApiError, Code},
};

/// An object; a list is none, though the fields of one could be read from it in their order. What is wrong is told by a
/// second, slower reader, which knows where it is.
///
/// # Errors
/// It is not JSON, or not such an object.
pub(super) fn read<T: DeserializeOwned>(bytes: &Bytes, name: &str) -> Result<T, ApiError> {
    let is_object = bytes.trim_ascii_start().starts_with(b"{");
    match serde_json::from_slice(bytes) {
        Ok(object) if is_object => Ok(object),
        _ => document::object(&Value::Object(fields(bytes)?), name)
            .map_err(|problem| ApiError::from_problems(vec![problem])),
    }
}

fn value(bytes: &Bytes) -> Result<Value, ApiError> {
    serde_json::from_slice(bytes)
        .map_err(|e| ApiError::new(Code::BadRequest, format!("The body is not JSON: {e}.")))
}

/// The fields of an object.
///
/// # Errors
/// It is not JSON, or not an object.
pub(super) fn fields(bytes: &Bytes) -> Result<Map<String, Value>, ApiError> {
    match value(bytes)? {
        Value::Object(map) => Ok(map),
        _ => Err(ApiError::new(Code::BadRequest, "The body is not a JSON object.")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::spec::Document;

    #[test]
    fn a_list_is_no_document() {
        let read = |text: &'static str| read::<Document>(&Bytes::from_static(text.as_bytes()), "document");
        assert_eq!(read(" {}"), Ok(Document::default()));
        for (text, code) in [
            ("[]", Code::BadRequest),
            ("null", Code::BadRequest),
            ("{", Code::BadRequest),
            ("{\"colour\": 1}", Code::BadStructure),
        ] {
            assert_eq!(read(text).map_err(|error| error.code), Err(code), "{text}");
        }
    }
}
