//! The conversation with a guest's agent: one line of base64 in, one line with exit code and base64 back.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A connected agent.
#[derive(Debug)]
pub struct Control {
    stream: BufReader<UnixStream>,
}

impl Control {
    /// Waits for the socket and for the agent's first line.
    pub fn connect(socket: &Path, patience: Duration) -> Result<Self> {
        let end = Instant::now() + patience;
        let stream = loop {
            match UnixStream::connect(socket) {
                Ok(stream) => break stream,
                Err(error) if Instant::now() > end => {
                    return Err(error).context("QEMU opened no control socket");
                }
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        let mut control = Self { stream: BufReader::new(stream) };
        let line = control.line(end.saturating_duration_since(Instant::now()))?;
        match line.as_str() {
            "READY" => Ok(control),
            other => bail!("the agent began with {other:?}"),
        }
    }

    /// Runs a shell script; its exit code and output.
    pub fn run(&mut self, script: &[u8], patience: Duration) -> Result<(i32, Vec<u8>)> {
        writeln!(self.stream.get_ref(), "{}", to_base64(script))?;
        let line = self.line(patience)?;
        let mut words = line.split(' ');
        match (words.next(), words.next(), words.next()) {
            (Some("RC"), Some(code), output) => {
                Ok((code.parse()?, from_base64(output.unwrap_or_default().as_bytes())?))
            }
            _ => bail!("the agent answered {line:?}"),
        }
    }

    fn line(&mut self, patience: Duration) -> Result<String> {
        self.stream.get_ref().set_read_timeout(Some(patience.max(Duration::from_millis(1))))?;
        let mut line = String::new();
        self.stream.read_line(&mut line).context("nothing came from the agent")?;
        Ok(line.trim_end().to_owned())
    }
}

pub fn to_base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Decodes, newlines ignored.
pub fn from_base64(text: &[u8]) -> Result<Vec<u8>> {
    let text: Vec<u8> = text.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    STANDARD.decode(text).context("the agent sent something else than base64")
}
