//! Services that answer with the peer address they saw, and the clients that ask them.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::socket::{Shutdown, shutdown};

use crate::netns::Netns;

const PATIENCE: Duration = Duration::from_secs(3);

/// A service thread; dropping it shuts its socket down and joins it.
#[derive(Debug)]
pub struct Service {
    socket: OwnedFd,
    thread: Option<JoinHandle<()>>,
}

impl Service {
    pub(super) fn start(netns: &Netns, socket: &impl AsFd, serve: impl FnOnce() + Send + 'static) -> Self {
        let socket = socket.as_fd().try_clone_to_owned().expect("a descriptor can be duplicated");
        Self { socket, thread: Some(netns.spawn(serve)) }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Wakes the thread out of accept or receive, also where the call reports "not connected".
        let _ = shutdown(self.socket.as_raw_fd(), Shutdown::Both);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            eprintln!("a service thread panicked");
        }
    }
}

/// A listening TCP socket inside.
#[track_caller]
pub(super) fn listen(netns: &Netns, at: &str) -> TcpListener {
    netns.inside(|| TcpListener::bind(at)).unwrap_or_else(|error| panic!("{at} in {}: {error}", netns.name()))
}

/// An HTTP server on `at` (`address:l4port`); the body of every answer is the client's address as it saw it.
#[must_use]
#[track_caller]
pub fn http_whoami(netns: &Netns, at: &str) -> Service {
    let listener = listen(netns, at);
    let socket = listener.try_clone().expect("a descriptor can be duplicated");
    Service::start(netns, &socket, move || {
        while let Ok((stream, peer)) = listener.accept() {
            // One connection at a time: a client that is cut off in the middle ends by the timeout.
            if let Err(error) = answer(stream, peer) {
                eprintln!("http_whoami: {peer}: {error}");
            }
        }
    })
}

fn answer(stream: TcpStream, peer: SocketAddr) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut lines = BufReader::new(&stream).lines();
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let body = peer.to_string();
    write!(&stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

/// Fetches `to` (`address:l4port`, perhaps with a path) and returns the body.
///
/// # Errors
/// If it cannot be reached within three seconds or does not answer 200.
pub fn http_get(netns: &Netns, to: &str) -> Result<String> {
    netns.inside(|| {
        let (to, path) = to.split_once('/').unwrap_or((to, ""));
        let to: SocketAddr = to.parse()?;
        let mut stream =
            TcpStream::connect_timeout(&to, PATIENCE).with_context(|| format!("no connection to {to}"))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "GET /{path} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text).with_context(|| format!("no answer from {to}"))?;
        let (head, body) = text.split_once("\r\n\r\n").context("the answer has no end of headers")?;
        anyhow::ensure!(head.split(' ').nth(1) == Some("200"), "{to} answered {head:?}");
        Ok(body.to_owned())
    })
}

/// A UDP socket. One that this test had there before may still be held by a process that another test has
/// forked, until that executes its program.
fn bound(at: &str) -> io::Result<UdpSocket> {
    let begun = Instant::now();
    loop {
        match UdpSocket::bind(at) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && begun.elapsed() < PATIENCE => {
                thread::sleep(Duration::from_millis(10));
            }
            bound => return bound,
        }
    }
}

/// A UDP service on `at` that answers every datagram with `<sender> <datagram>`.
#[must_use]
#[track_caller]
pub fn udp_whoami(netns: &Netns, at: &str) -> Service {
    let socket = netns.inside(|| bound(at)).unwrap_or_else(|error| panic!("{at}: {error}"));
    let serving = socket.try_clone().expect("a descriptor can be duplicated");
    Service::start(netns, &socket, move || {
        let mut buffer = [0; 1 << 16];
        // A shut down UDP socket returns nothing from nobody, which no real datagram does.
        while let Ok((length, peer)) = serving.recv_from(&mut buffer) {
            let mut reply = format!("{peer} ").into_bytes();
            reply.extend(&buffer[..length]);
            if peer.port() == 0 || serving.send_to(&reply, peer).is_err() {
                break;
            }
        }
    })
}

/// Sends one datagram from `from` (`0.0.0.0:0` for any) to `to` and returns the answer.
///
/// # Errors
/// If none comes within a second, twice.
pub fn ask_udp(netns: &Netns, from: &str, to: &str, text: &str) -> Result<String> {
    netns.inside(|| {
        let socket = bound(from).with_context(|| format!("{from} cannot be bound"))?;
        socket.connect(to)?;
        socket.set_read_timeout(Some(Duration::from_secs(1)))?;
        let mut buffer = [0; 1 << 16];
        let mut ask = || {
            socket.send(text.as_bytes())?;
            socket.recv(&mut buffer)
        };
        // Asked twice, because the first datagram may wait in vain for a neighbor.
        let length = ask().or_else(|_| ask()).with_context(|| format!("no answer from {to}"))?;
        Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
    })
}
