//! One bulk TCP connection whose two ends have one CPU, and what it has carried.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use fwd_tests::netns::Netns;
use nix::unistd::Pid;

use super::generator::pin;

/// What is read and written at once, as iperf3 does it.
const BLOCK: usize = 128 << 10;
const PATIENCE: Duration = Duration::from_secs(3);

/// A running connection. Dropped, it ends.
pub struct Bulk {
    received: Arc<AtomicU64>,
    ends: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<()>>>,
}

/// A moment of it.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    bytes: u64,
    at: Instant,
}

impl Bulk {
    /// Connects a client to where a server is reached.
    ///
    /// # Errors
    /// If there is no connection.
    pub fn start(
        (server, at): (&Netns, SocketAddr),
        (client, to): (&Netns, SocketAddr),
        cpu: usize,
    ) -> Result<Self> {
        let listener =
            server.inside(|| TcpListener::bind(at)).with_context(|| format!("{at} cannot be had"))?;
        let mut sender = client
            .inside(|| TcpStream::connect_timeout(&to, PATIENCE))
            .with_context(|| format!("no connection to {to}"))?;
        let (mut receiver, _) = listener.accept()?;
        let (received, ends) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (counted, until) = (Arc::clone(&received), Arc::clone(&ends));
        let send = move || {
            pin(Pid::from_raw(0), cpu)?;
            sender.set_write_timeout(Some(PATIENCE))?;
            let block = vec![7; BLOCK];
            while !until.load(Ordering::Relaxed) {
                sender.write_all(&block).context("bulk TCP stands still")?;
            }
            Ok(())
        };
        let receive = move || {
            pin(Pid::from_raw(0), cpu)?;
            let mut block = vec![0; BLOCK];
            loop {
                match receiver.read(&mut block)? {
                    0 => return Ok(()),
                    length => _ = counted.fetch_add(length as u64, Ordering::Relaxed),
                }
            }
        };
        Ok(Self { received, ends, threads: vec![std::thread::spawn(send), std::thread::spawn(receive)] })
    }

    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark { bytes: self.received.load(Ordering::Relaxed), at: Instant::now() }
    }
}

impl Mark {
    /// Bits a second since an earlier one.
    #[must_use]
    pub fn rate_since(self, earlier: Self) -> f64 {
        (self.bytes - earlier.bytes) as f64 * 8.0 / (self.at - earlier.at).as_secs_f64()
    }
}

impl Drop for Bulk {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            match thread.join() {
                Ok(Ok(())) => {}
                Ok(Err(error)) => eprintln!("{error:#}"),
                Err(_) => eprintln!("an end of a bulk connection panicked"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_of_what_came_between_two_moments() {
        let first = Mark { bytes: 1000, at: Instant::now() };
        let second = Mark { bytes: 1_001_000, at: first.at + Duration::from_millis(500) };
        assert!((second.rate_since(first) - 16e6).abs() < 1.0);
    }
}
