//! A stream of numbered datagrams at a constant rate: shows every single loss, and how long it lasted.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};

use crate::netns::Netns;

/// Packets sent between two looks at the clock.
const BURST: u64 = 16;
/// What is still under way when sending ends arrives within this time.
const SETTLE: Duration = Duration::from_millis(500);

/// A running probe; [`Probe::stop`] ends it and counts.
#[derive(Debug)]
pub struct Probe {
    stop: Arc<AtomicBool>,
    received: Arc<AtomicU64>,
    sender: JoinHandle<u64>,
    receiver: JoinHandle<Vec<u64>>,
}

/// What a probe found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeReport {
    pub sent: u64,
    pub received: u64,
    pub duplicates: u64,
    /// The first lost numbers, as ranges.
    pub lost: Vec<std::ops::RangeInclusive<u64>>,
}

impl ProbeReport {
    #[must_use]
    pub fn lost_packets(&self) -> u64 {
        self.lost.iter().map(|range| range.end() - range.start() + 1).sum()
    }
}

impl Probe {
    /// Sends `rate` datagrams a second from `from` (`address:l4port` in `client`) to `to`, received by a
    /// socket bound to `listen` in `server`.
    ///
    /// # Panics
    /// If a socket cannot be made.
    #[must_use]
    #[track_caller]
    pub fn start(client: (&Netns, &str), to: &str, server: (&Netns, &str), rate: u64) -> Self {
        Self::start_over(1, client, to, server, rate)
    }

    /// The same over so many flows, in turns: each has a socket of its own.
    ///
    /// # Panics
    /// As [`Probe::start`].
    #[must_use]
    #[track_caller]
    pub fn start_over(
        flows: usize,
        client: (&Netns, &str),
        to: &str,
        server: (&Netns, &str),
        rate: u64,
    ) -> Self {
        let bind = |(netns, at): (&Netns, &str)| {
            netns.inside(|| UdpSocket::bind(at)).unwrap_or_else(|error| panic!("{at}: {error}"))
        };
        let outputs: Vec<UdpSocket> = (0..flows).map(|_| bind(client)).collect();
        let input = bind(server);
        client.0.inside(|| outputs.iter().for_each(|output| connect(output, to)));
        setsockopt(&input, sockopt::RcvBufForce, &(512 << 20)).expect("root may have large buffers");
        input.set_read_timeout(Some(SETTLE)).expect("the timeout is not zero");
        let stop = Arc::new(AtomicBool::new(false));
        let received = Arc::new(AtomicU64::new(0));
        let sender = {
            let stop = Arc::clone(&stop);
            client.0.spawn(move || send_numbers(&outputs, rate, &stop))
        };
        let receiver = {
            let (stop, received) = (Arc::clone(&stop), Arc::clone(&received));
            server.0.spawn(move || receive_numbers(&input, &stop, &received))
        };
        Self { stop, received, sender, receiver }
    }

    /// How many have arrived so far.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Ends the sending, waits for what is under way, and counts.
    ///
    /// # Panics
    /// If one of its threads did.
    #[must_use]
    pub fn stop(self) -> ProbeReport {
        self.stop.store(true, Ordering::Relaxed);
        let sent = self.sender.join().expect("the sender does not panic");
        let numbers = self.receiver.join().expect("the receiver does not panic");
        count(sent, &numbers)
    }
}

fn connect(output: &UdpSocket, to: &str) {
    output.connect(to).unwrap_or_else(|error| panic!("{to}: {error}"));
}

fn send_numbers(sockets: &[UdpSocket], rate: u64, stop: &AtomicBool) -> u64 {
    let begun = Instant::now();
    let mut number = 0;
    let mut turns = sockets.iter().cycle();
    while !stop.load(Ordering::Relaxed) {
        for socket in turns.by_ref().take(BURST as usize) {
            // An ICMP error that came back is reported by the next send, which then sends nothing; so that
            // datagram is sent again. One that fails twice is a loss.
            let bytes = u64::to_be_bytes(number);
            let _ = socket.send(&bytes).or_else(|_| socket.send(&bytes));
            number += 1;
        }
        let due = begun + Duration::from_nanos(number * 1_000_000_000 / rate);
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    number
}

fn receive_numbers(socket: &UdpSocket, stop: &AtomicBool, received: &AtomicU64) -> Vec<u64> {
    let (mut numbers, mut buffer) = (vec![], [0; 8]);
    loop {
        match socket.recv(&mut buffer) {
            Ok(_) => {
                numbers.push(u64::from_be_bytes(buffer));
                received.fetch_add(1, Ordering::Relaxed);
            }
            Err(_) if stop.load(Ordering::Relaxed) => return numbers,
            Err(_) => {}
        }
    }
}

fn count(sent: u64, numbers: &[u64]) -> ProbeReport {
    let mut seen = vec![0_u32; usize::try_from(sent).expect("the numbers fit in memory")];
    for &number in numbers {
        seen[usize::try_from(number).expect("only numbers that were sent arrive")] += 1;
    }
    let duplicates = seen.iter().map(|&times| u64::from(times.saturating_sub(1))).sum();
    let mut lost: Vec<std::ops::RangeInclusive<u64>> = vec![];
    for (number, _) in (0..sent).zip(&seen).filter(|(_, times)| **times == 0) {
        match lost.last_mut() {
            Some(range) if *range.end() + 1 == number => *range = *range.start()..=number,
            _ => lost.push(number..=number),
        }
    }
    let received = seen.iter().filter(|&&times| times > 0).count() as u64;
    ProbeReport { sent, received, duplicates, lost }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_ranges_and_duplicates_are_not_arrivals() {
        let report = count(8, &[0, 1, 1, 5, 6]);
        assert_eq!(report, ProbeReport { sent: 8, received: 4, duplicates: 1, lost: vec![2..=4, 7..=7] });
        assert_eq!(report.lost_packets(), 4);
    }
}
