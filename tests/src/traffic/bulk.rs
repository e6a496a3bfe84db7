//! Bulk TCP with a hash at both ends: corruption that a small test cannot see shows here.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use super::service::{Service, listen};
use crate::netns::Netns;

const CHUNK: usize = 256 * 1024;
/// A transfer that makes no progress for this long has been cut.
const STALL: Duration = Duration::from_secs(10);

/// A server that sends `bytes` pseudo-random bytes to each client, one client at a time.
#[derive(Debug)]
pub struct BulkSource {
    _service: Service,
    hash: Arc<Mutex<Option<String>>>,
    at: String,
    bytes: u64,
}

/// What a completed transfer was.
#[derive(Clone, Debug)]
pub struct Transfer {
    pub bytes: u64,
    pub sha256: String,
    pub time: Duration,
}

impl BulkSource {
    /// Listens on `at`.
    #[must_use]
    #[track_caller]
    pub fn start(netns: &Netns, at: &str, bytes: u64) -> Self {
        let listener = listen(netns, at);
        let socket = listener.try_clone().expect("a descriptor can be duplicated");
        let hash = Arc::new(Mutex::new(None));
        let sent = Arc::clone(&hash);
        let service = Service::start(netns, &socket, move || {
            while let Ok((stream, _)) = listener.accept() {
                // A client that goes away in the middle leaves no hash, and its own end reports it.
                if let Ok(sum) = send_bytes(stream, bytes) {
                    *sent.lock().unwrap_or_else(PoisonError::into_inner) = Some(sum);
                }
            }
        });
        Self { _service: service, hash, at: at.to_owned(), bytes }
    }

    /// Downloads from the place where the server listens, and compares the hashes.
    ///
    /// # Errors
    /// If the transfer stalls, ends early, or the hashes differ.
    pub fn download(&self, client: &Netns) -> Result<Transfer> {
        self.download_at(client, &self.at)
    }

    /// Downloads by way of another address, such as a forward's.
    ///
    /// # Errors
    /// Like [`BulkSource::download`].
    pub fn download_at(&self, client: &Netns, at: &str) -> Result<Transfer> {
        client.inside(|| self.receive(at))
    }

    /// Downloads on a thread of its own; the result is what `at` gave, without comparing hashes, so that a
    /// transfer that is meant to be cut can be watched.
    #[must_use]
    pub fn start_download(client: &Netns, at: &str) -> JoinHandle<Result<Transfer>> {
        let at = at.to_owned();
        client.spawn(move || receive_all(&at))
    }

    fn receive(&self, at: &str) -> Result<Transfer> {
        let transfer = receive_all(at)?;
        ensure!(transfer.bytes == self.bytes, "{} of {} bytes came from {at}", transfer.bytes, self.bytes);
        let deadline = Instant::now() + STALL;
        let sent = loop {
            let sent = self.hash.lock().unwrap_or_else(PoisonError::into_inner).take();
            match sent {
                Some(sent) => break sent,
                None if Instant::now() > deadline => anyhow::bail!("the server did not finish"),
                None => std::thread::sleep(Duration::from_millis(1)),
            }
        };
        ensure!(transfer.sha256 == sent, "what came from {at} differs from what was sent");
        Ok(transfer)
    }
}

fn receive_all(at: &str) -> Result<Transfer> {
    let at: SocketAddr = at.parse()?;
    let begun = Instant::now();
    let mut stream =
        TcpStream::connect_timeout(&at, STALL).with_context(|| format!("no connection to {at}"))?;
    stream.set_read_timeout(Some(STALL))?;
    let (mut sum, mut bytes, mut buffer) = (Sha256::new(), 0, vec![0; CHUNK]);
    loop {
        let length = stream.read(&mut buffer).with_context(|| format!("cut off after {bytes} bytes"))?;
        if length == 0 {
            break;
        }
        sum.update(&buffer[..length]);
        bytes += length as u64;
    }
    Ok(Transfer { bytes, sha256: hex(sum), time: begun.elapsed() })
}

fn send_bytes(mut stream: TcpStream, bytes: u64) -> io::Result<String> {
    stream.set_write_timeout(Some(STALL))?;
    let (mut sum, mut state, mut left) = (Sha256::new(), 0x9e37_79b9_7f4a_7c15_u64, bytes);
    let mut buffer = vec![0; CHUNK];
    while left > 0 {
        for word in buffer.chunks_exact_mut(8) {
            // xorshift64: cheap, and no two chunks are alike.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_le_bytes());
        }
        let length = usize::try_from(left).map_or(CHUNK, |left| left.min(CHUNK));
        sum.update(&buffer[..length]);
        stream.write_all(&buffer[..length])?;
        left -= length as u64;
    }
    Ok(hex(sum))
}

fn hex(sum: Sha256) -> String {
    sum.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
