//! What can go wrong with the store.

use std::{io, path::PathBuf};

use crate::api::error::{ApiError, Code};

/// A store that cannot be used, or an edit that could not be kept.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("The store {path} is not fwd's: {what}.")]
    Foreign { path: PathBuf, what: &'static str },
    #[error("The store {path} has version {found}, and this fwd knows up to version {known}.")]
    Newer { path: PathBuf, found: u32, known: u32 },
    #[error("The store {path} is damaged: {what}.")]
    Damaged { path: PathBuf, what: String },
    #[error("The store {path}: {action} failed: {source}.")]
    Io { path: PathBuf, action: &'static str, source: io::Error },
    #[error("The store {path}: {action} failed: {source}.")]
    Database { path: PathBuf, action: &'static str, source: rusqlite::Error },
    #[error("The store {path} has revision {kept}; an edit to revision {given} does not follow it.")]
    OutOfOrder { path: PathBuf, kept: u64, given: u64 },
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        let code = match error {
            Error::Foreign { .. } | Error::Newer { .. } | Error::Damaged { .. } => Code::StoreUnreadable,
            Error::Io { .. } | Error::Database { .. } | Error::OutOfOrder { .. } => Code::StoreFailed,
        };
        Self::new(code, error.to_string())
    }
}
