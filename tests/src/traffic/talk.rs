//! One TCP connection over which one end says something and the other says it back, as long as it lives.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::service::{Service, listen};
use crate::netns::Netns;

/// Long enough for what was lost on the way to be sent again.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection that is open; dropped, both ends close.
#[derive(Debug)]
pub struct Talk {
    stream: TcpStream,
    _service: Service,
}

impl Talk {
    /// From a client to a server that listens on `at`; the client connects to `to`.
    #[must_use]
    #[track_caller]
    pub fn open(client: &Netns, to: &str, (server, at): (&Netns, &str)) -> Self {
        let listener = listen(server, at);
        let stream = client.inside(|| TcpStream::connect(to)).unwrap_or_else(|error| panic!("{to}: {error}"));
        let (mut peer, _) = listener.accept().expect("it connected");
        let socket = peer.try_clone().expect("a descriptor can be duplicated");
        let service = Service::start(server, &socket, move || {
            let mut buffer = [0; 1024];
            while let Ok(length) = peer.read(&mut buffer)
                && length > 0
                && peer.write_all(&buffer[..length]).is_ok()
            {}
        });
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket has one");
        Self { stream, _service: service }
    }

    /// # Errors
    /// If the connection has ended, or nothing comes back.
    pub fn say(&mut self, text: &str) -> Result<()> {
        self.stream.write_all(text.as_bytes())?;
        let mut back = vec![0; text.len()];
        self.stream.read_exact(&mut back)?;
        ensure!(back == text.as_bytes(), "{back:?} came back");
        Ok(())
    }
}
