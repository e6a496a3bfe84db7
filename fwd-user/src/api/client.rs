//! The CLI's side of the API: HTTP over the daemon's unix socket, one connection a request.

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, Response, StatusCode, body::Incoming, header::CONTENT_TYPE};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde_json::Value;
use tokio::net::UnixStream;

use super::{
    answer::ErrorAnswer,
    error::{ApiError, Code},
};

/// Requests to one daemon.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into() }
    }

    /// The daemon's socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// # Errors
    /// The daemon's own error, or why it could not be asked; so for all requests.
    pub async fn get<Q: Serialize>(&self, path: &str, query: &Q) -> Result<Value, ApiError> {
        let bytes = self.read(self.send(Method::GET, path, query, Bytes::new()).await?).await?;
        json(&bytes)
    }

    /// As [`Self::get`], for an answer that is plain text.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn text<Q: Serialize>(&self, path: &str, query: &Q) -> Result<String, ApiError> {
        let bytes = self.read(self.send(Method::GET, path, query, Bytes::new()).await?).await?;
        String::from_utf8(bytes.into()).map_err(|_| unreadable("it is not text"))
    }

    /// # Errors
    /// As [`Self::get`].
    pub async fn post<Q: Serialize>(&self, path: &str, query: &Q, body: &Value) -> Result<Value, ApiError> {
        json(&self.read(self.send(Method::POST, path, query, text(body)).await?).await?)
    }

    /// # Errors
    /// As [`Self::get`].
    pub async fn put<Q, B>(&self, path: &str, query: &Q, body: &B) -> Result<Value, ApiError>
    where
        Q: Serialize,
        B: Serialize,
    {
        self.put_text(path, query, text(body)).await
    }

    /// As [`Self::put`], of what is JSON already.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn put_text<Q: Serialize>(
        &self,
        path: &str,
        query: &Q,
        body: Bytes,
    ) -> Result<Value, ApiError> {
        json(&self.read(self.send(Method::PUT, path, query, body).await?).await?)
    }

    /// # Errors
    /// As [`Self::get`].
    pub async fn patch<Q: Serialize>(&self, path: &str, query: &Q, body: &Value) -> Result<Value, ApiError> {
        json(&self.read(self.send(Method::PATCH, path, query, text(body)).await?).await?)
    }

    /// # Errors
    /// As [`Self::get`].
    pub async fn delete<Q: Serialize>(&self, path: &str, query: &Q) -> Result<Value, ApiError> {
        json(&self.read(self.send(Method::DELETE, path, query, Bytes::new()).await?).await?)
    }

    /// An answer without end, one JSON object a line.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn stream<Q: Serialize>(&self, path: &str, query: &Q) -> Result<Lines, ApiError> {
        let response = self.send(Method::GET, path, query, Bytes::new()).await?;
        if response.status() != StatusCode::OK {
            self.read(response).await?;
            return Err(unreadable("a stream was expected"));
        }
        Ok(Lines { body: response.into_body(), rest: Vec::new() })
    }

    async fn send<Q: Serialize>(
        &self,
        method: Method,
        path: &str,
        query: &Q,
        body: Bytes,
    ) -> Result<Response<Incoming>, ApiError> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|e| self.cannot_connect(&e))?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| lost(&e))?;
        // The connection ends with the answer; an error of it shows in the answer.
        tokio::spawn(connection);
        let query = serde_urlencoded::to_string(query).expect("queries are plain data");
        let uri = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
        let request = Request::builder()
            .method(method)
            .uri(uri)
            .header("host", "fwd")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|e| {
                ApiError::new(Code::BadArguments, format!("Path {path} cannot be asked for: {e}."))
            })?;
        sender.send_request(request).await.map_err(|e| lost(&e))
    }

    async fn read(&self, response: Response<Incoming>) -> Result<Bytes, ApiError> {
        let status = response.status();
        let bytes = response.into_body().collect().await.map_err(|e| lost(&e))?.to_bytes();
        if status.is_success() {
            return Ok(bytes);
        }
        match serde_json::from_slice::<ErrorAnswer>(&bytes) {
            Ok(answer) => Err(answer.error),
            Err(_) => Err(unreadable(&format!("status {status}"))),
        }
    }

    fn cannot_connect(&self, error: &std::io::Error) -> ApiError {
        let socket = self.socket.display();
        match error.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => ApiError::new(
                Code::NotRunning,
                format!("The daemon is not running: nobody answers on {socket}."),
            ),
            ErrorKind::PermissionDenied => {
                ApiError::new(Code::Denied, format!("The socket {socket} may not be used by this user."))
            }
            _ => {
                ApiError::new(Code::NotRunning, format!("The daemon cannot be reached on {socket}: {error}."))
            }
        }
    }
}

/// The lines of a stream.
#[derive(Debug)]
pub struct Lines {
    body: Incoming,
    rest: Vec<u8>,
}

impl Lines {
    /// The next object; none when the daemon ended the stream.
    ///
    /// # Errors
    /// The connection was lost, or the line is not JSON.
    pub async fn next(&mut self) -> Result<Option<Value>, ApiError> {
        loop {
            if let Some(end) = self.rest.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return json(&line).map(Some);
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(frame) => {
                    let frame = frame.map_err(|e| lost(&e))?;
                    self.rest.extend(frame.into_data().unwrap_or_default());
                }
            }
        }
    }
}

/// A name as one segment of a path (RFC 3986, 2.1).
pub fn escape(name: &str) -> String {
    name.bytes().fold(String::new(), |out, b| match b {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            out + &char::from(b).to_string()
        }
        _ => format!("{out}%{b:02X}"),
    })
}

fn text(body: &impl Serialize) -> Bytes {
    serde_json::to_vec(body).expect("bodies are plain data").into()
}

fn json(bytes: &[u8]) -> Result<Value, ApiError> {
    serde_json::from_slice(bytes).map_err(|e| unreadable(&e.to_string()))
}

fn unreadable(why: &str) -> ApiError {
    ApiError::new(Code::AnswerUnreadable, format!("The daemon's answer could not be understood: {why}."))
}

fn lost(error: &hyper::Error) -> ApiError {
    ApiError::new(Code::NotRunning, format!("The daemon ended before it answered: {error}."))
        .hint("See why: its log is in the state directory, or journalctl -u fwd.")
}
