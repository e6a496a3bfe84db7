//! What the body of a request holds.

use axum::body::Bytes;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::api::{
    document,
    error::{ApiError, Code},
};

/// An object. What is wrong is told by a second, slower reader, which knows where it is.
///
/// # Errors
/// It is not JSON, or not such an object.
pub(super) fn read<T: DeserializeOwned>(bytes: &Bytes, name: &str) -> Result<T, ApiError> {
    serde_json::from_slice(bytes).or_else(|_| {
        document::object(&value(bytes)?, name).map_err(|problem| ApiError::from_problems(vec![problem]))
    })
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
