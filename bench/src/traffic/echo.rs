//! A TCP server that sends back what it gets, and the clients that measure by it.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use fwd_tests::netns::Netns;

use crate::statistics::percentile;
use nix::libc::linger;
use nix::sys::socket::{Shutdown, setsockopt, shutdown, sockopt};
use serde::{Deserialize, Serialize};

/// A request, and its answer.
const MESSAGE: usize = 64;
const PATIENCE: Duration = Duration::from_secs(3);

/// The running server, one connection at a time.
pub struct Echo {
    listener: TcpListener,
    thread: Option<JoinHandle<()>>,
}

impl Echo {
    /// # Errors
    /// If the address is taken.
    pub fn start(netns: &Netns, at: SocketAddr) -> Result<Self> {
        let listener =
            netns.inside(|| TcpListener::bind(at)).with_context(|| format!("{at} cannot be had"))?;
        let socket = listener.try_clone()?;
        let serve = move || {
            while let Ok((stream, _)) = socket.accept() {
                // A client that resets its connection is done with it.
                let _ = answer(stream);
            }
        };
        Ok(Self { listener, thread: Some(netns.spawn(serve)) })
    }
}

/// Serves in the caller's namespace, until the process ends.
///
/// # Errors
/// If the address is taken.
pub fn serve(at: SocketAddr) -> Result<()> {
    let listener = TcpListener::bind(at).with_context(|| format!("{at} cannot be had"))?;
    while let Ok((stream, _)) = listener.accept() {
        // As above.
        let _ = answer(stream);
    }
    Ok(())
}

impl Drop for Echo {
    fn drop(&mut self) {
        // Wakes the thread out of accept, also where the call reports "not connected".
        let _ = shutdown(self.listener.as_raw_fd(), Shutdown::Both);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            eprintln!("the echo server panicked");
        }
    }
}

fn answer(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut buffer = [0; MESSAGE];
    loop {
        let length = stream.read(&mut buffer)?;
        if length == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..length])?;
    }
}

/// Opens and closes connections one after the other, one request each; how many a second. Each is closed by a reset,
/// so that no L4 port waits.
///
/// # Errors
/// If one cannot be opened, or its answer does not come.
pub fn connections(client: &Netns, to: SocketAddr, time: Duration) -> Result<f64> {
    client.inside(|| {
        let begun = Instant::now();
        let (mut opened, mut buffer) = (0_u32, [7; MESSAGE]);
        while begun.elapsed() < time {
            let mut stream = TcpStream::connect_timeout(&to, PATIENCE)
                .with_context(|| format!("no connection to {to}"))?;
            stream.set_read_timeout(Some(PATIENCE))?;
            // Without an answer a client outruns the server's queue, and a proxy need not reach the server at all.
            stream.write_all(&buffer)?;
            stream.read_exact(&mut buffer)?;
            setsockopt(&stream, sockopt::Linger, &linger { l_onoff: 1, l_linger: 0 })?;
            opened += 1;
        }
        Ok(f64::from(opened) / begun.elapsed().as_secs_f64())
    })
}

/// Sends requests over one connection, each after the answer to the last; the sorted times, in microseconds. In the
/// caller's namespace.
///
/// # Errors
/// If an answer does not come.
pub fn round_trips(to: SocketAddr, time: Duration) -> Result<Vec<f64>> {
    let mut stream =
        TcpStream::connect_timeout(&to, PATIENCE).with_context(|| format!("no connection to {to}"))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let (begun, mut times, mut buffer) = (Instant::now(), vec![], [7; MESSAGE]);
    while begun.elapsed() < time {
        let sent = Instant::now();
        stream.write_all(&buffer)?;
        stream.read_exact(&mut buffer)?;
        times.push(sent.elapsed().as_secs_f64() * 1e6);
    }
    ensure!(buffer == [7; MESSAGE], "the answers are not the requests");
    Ok(crate::statistics::sorted(&times))
}

/// Of round trips, in microseconds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Percentiles {
    pub p50: f64,
    pub p99: f64,
}

impl Percentiles {
    /// # Errors
    /// As [`round_trips`].
    pub fn of_asking(to: SocketAddr, time: Duration) -> Result<Self> {
        let times = round_trips(to, time)?;
        let at = |share| percentile(&times, share).context("no request was answered");
        Ok(Self { p50: at(0.5)?, p99: at(0.99)? })
    }
}
