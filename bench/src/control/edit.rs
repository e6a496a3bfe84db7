//! How long an edit takes, from the command typed until packets meet it.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fwd_tests::lab::HOST_V4;
use serde_json::json;

use super::stand::Stand;
use crate::result::{Reading, Unit};
use crate::scenario::{Effort, Element, Scenario, Seat};
use crate::statistics::{percentile, sorted};

/// What a packet that is let through takes at most.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a packet that must not come is waited for.
const MOMENT: Duration = Duration::from_millis(3);

pub struct Edits;

impl Scenario for Edits {
    fn name(&self) -> &'static str {
        "edit"
    }

    fn about(&self) -> &'static str {
        "A rule added, and deleted, that stops an established UDP flow: time until the command has returned (or the \
         request is answered). The very next packet must meet the edit, or the run fails."
    }

    fn prepare(&self, effort: Effort) -> Result<Vec<Seat>> {
        let pairs = if effort.quick { 10 } else { 30 };
        let seat = |name, by, rules| Seat::of(name, OneEditor::new(name, by, rules, pairs));
        Ok(vec![
            seat("cli", By::Cli, 0),
            seat("api", By::Api, 0),
            seat("cli-10k-rules", By::Cli, 10_000),
            seat("api-10k-rules", By::Api, 10_000),
        ])
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Cli,
    Api,
}

struct OneEditor {
    name: &'static str,
    by: By,
    pairs: usize,
    client: UdpSocket,
    echo: Echo,
    stand: Stand,
}

impl OneEditor {
    fn new(name: &'static str, by: By, rules: usize, pairs: usize) -> Result<Self> {
        let stand = Stand::new()?;
        if rules > 0 {
            stand.put("/v1/config", &stand.document(rules))?;
        }
        let vm = stand.lab.get("red1");
        let server = vm.netns.inside(|| UdpSocket::bind((vm.v4.as_str(), 53)))?;
        let client = stand.lab.outside.inside(|| UdpSocket::bind(("0.0.0.0", 4000)))?;
        client.connect((HOST_V4, 5353))?;
        let editor = Self { name, by, pairs, client, echo: Echo::start(server)?, stand };
        ensure!(editor.answered(b"first", PATIENCE)?, "the forward does not lead in");
        Ok(editor)
    }

    /// Whether the VM answers this packet within a time.
    fn answered(&self, text: &[u8], within: Duration) -> Result<bool> {
        self.client.set_read_timeout(Some(within))?;
        self.client.send(text)?;
        let mut heard = [0; 64];
        loop {
            match self.client.recv(&mut heard) {
                Ok(length) if heard[..length] == *text => return Ok(true),
                // Of an earlier packet.
                Ok(_) => {}
                Err(_) => return Ok(false),
            }
        }
    }

    fn add(&self) -> Result<Duration> {
        match self.by {
            By::Cli => self.stand.cli(&[
                "policy",
                "add",
                "stop",
                "--deny",
                "--to",
                "port:red1",
                "--service",
                "udp/53",
            ]),
            By::Api => self.stand.post(
                "/v1/policies",
                &json!({"name": "stop", "action": "deny", "to": ["port:red1"], "services": ["udp/53"]}),
            ),
        }
    }

    fn delete(&self) -> Result<Duration> {
        match self.by {
            By::Cli => self.stand.cli(&["policy", "delete", "stop"]),
            By::Api => self.stand.delete("/v1/policies/stop"),
        }
    }
}

impl Element for OneEditor {
    fn name(&self) -> &str {
        self.name
    }

    fn measure(&mut self) -> Result<Vec<Reading>> {
        let mut taken = Vec::new();
        for pair in 0..self.pairs {
            taken.push(self.add()?);
            let text = format!("stopped {pair}");
            ensure!(
                !self.answered(text.as_bytes(), MOMENT)?,
                "a packet came through after its rule was in effect"
            );
            taken.push(self.delete()?);
            let text = format!("let through {pair}");
            ensure!(
                self.answered(text.as_bytes(), PATIENCE)?,
                "no packet came through after the rule was deleted"
            );
        }
        ensure!(!self.echo.ended.load(Ordering::Relaxed), "the VM's service ended");
        let taken: Vec<f64> = taken.iter().map(|time| time.as_secs_f64() * 1e3).collect();
        let taken = sorted(&taken);
        [("p50", 0.5), ("p99", 0.99)]
            .into_iter()
            .map(|(name, share)| {
                let value = percentile(&taken, share).context("edits were made")?;
                Ok(Reading::new(value, Unit::Milliseconds).of(name))
            })
            .collect()
    }
}

/// Sends back what comes, until it is dropped.
struct Echo {
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Echo {
    fn start(socket: UdpSocket) -> Result<Self> {
        socket.set_read_timeout(Some(Duration::from_millis(50)))?;
        let ended = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&ended);
        let thread = std::thread::spawn(move || {
            let mut heard = [0; 64];
            while !until.load(Ordering::Relaxed) {
                if let Ok((length, from)) = socket.recv_from(&mut heard) {
                    // The client notices an answer that could not be sent.
                    _ = socket.send_to(&heard[..length], from);
                }
            }
        });
        Ok(Self { ended, thread: Some(thread) })
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            eprintln!("the VM's service panicked");
        }
    }
}
