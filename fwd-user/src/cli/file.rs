//! A document's file: read, sent, and its problems told with their places in it.

use std::{
    io::{ErrorKind, Read},
    path::Path,
};

use bytes::Bytes;
use serde_json::Value;

use super::session::Session;
use crate::{
    api::{
        document::{MAX_BYTES, Text, names_its_api},
        error::{ApiError, Code},
        request::WriteQuery,
        spec::Document,
    },
    daemon,
};

/// A document as it was read.
#[derive(Debug)]
pub struct File {
    /// As it was named on the command line.
    pub name: String,
    text: Text,
}

impl File {
    /// Reads a file; `-` is standard input.
    ///
    /// # Errors
    /// It cannot be read, or is not text.
    pub fn read(path: &Path) -> Result<Self, ApiError> {
        let (name, text) = read_text(path)?;
        Ok(Self { name, text: Text::read(&text) })
    }

    /// Checks the document, without a daemon.
    ///
    /// # Errors
    /// All problems, each with its line and column.
    pub fn check(&self) -> Result<(), ApiError> {
        self.text.outcome(&self.name, daemon::check(self.text.document.clone()))
    }

    /// The document, where nothing is wrong with the text itself.
    ///
    /// # Errors
    /// All problems, each with its line and column.
    pub fn document(&self) -> Result<&Document, ApiError> {
        self.outcome(Ok(&self.text.document))
    }

    /// What the daemon said of the document, its problems with their lines and columns.
    ///
    /// # Errors
    /// The daemon's.
    pub fn outcome<T>(&self, answer: Result<T, ApiError>) -> Result<T, ApiError> {
        self.text.outcome(&self.name, answer)
    }

    /// Sends the document. Where the text itself is wrong the daemon only looks at the rest of it, so
    /// that everything is told at once.
    async fn apply(&self, session: &Session, mut query: WriteQuery) -> Result<Value, ApiError> {
        query.dry_run |= !self.text.problems.is_empty();
        let answer = session.client.put(CONFIG, &query, &self.text.document).await;
        self.outcome(answer)
    }
}

/// Where a document is put.
const CONFIG: &str = "/v1/config";

/// Sends the document of a file; `-` is standard input. JSON is sent as it is, and read here only if the daemon refuses
/// it: then for what is wrong, and where.
///
/// # Errors
/// It cannot be read, or is not text; all problems, each with its line and column.
pub async fn apply(path: &Path, session: &Session, query: WriteQuery) -> Result<Value, ApiError> {
    let (name, text) = read_text(path)?;
    if !names_its_api(&text) {
        return File { name, text: Text::read(&text) }.apply(session, query).await;
    }
    let text = Bytes::from(text);
    let answer = session.client.put_text(CONFIG, &query, text.clone()).await;
    if answer.is_ok() {
        return answer;
    }
    let text = Text::read(std::str::from_utf8(&text).expect("it was text"));
    let file = File { name, text };
    match file.text.problems.is_empty() {
        true => file.outcome(answer),
        false => file.apply(session, query).await,
    }
}

/// The name and the text of a file; `-` is standard input.
///
/// # Errors
/// It cannot be read, or is not text.
pub fn read_text(path: &Path) -> Result<(String, String), ApiError> {
    let (name, bytes) = if path == Path::new("-") {
        let mut bytes = Vec::new();
        let limited = &mut std::io::stdin().lock().take(MAX_BYTES as u64 + 1);
        ("<stdin>".to_owned(), limited.read_to_end(&mut bytes).map(|_| bytes))
    } else {
        (path.display().to_string(), std::fs::read(path))
    };
    let bytes = bytes.map_err(|e| match e.kind() {
        ErrorKind::NotFound => ApiError::new(Code::NoSuchFile, format!("File {name} does not exist.")),
        ErrorKind::PermissionDenied => {
            ApiError::new(Code::Denied, format!("File {name} may not be read by this user."))
        }
        _ => ApiError::new(Code::IoFailed, format!("File {name} cannot be read: {e}.")),
    })?;
    let text = String::from_utf8(bytes)
        .map_err(|_| ApiError::new(Code::BadYaml, format!("File {name} is not UTF-8 text.")))?;
    Ok((name, text))
}
