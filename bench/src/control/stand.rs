//! A daemon to be measured: the test kit's lab with one NAT network and one VM, and requests to its socket.

use std::fs;
use std::panic::catch_unwind;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use aya::programs::Xdp;
use aya_obj::programs::XdpAttachType;
use fwd_common::layout::ABI_VERSION;
use fwd_common::map::program;
use fwd_tests::frame::Packet;
use fwd_tests::lab::{HOST_V4, Hook, Lab, RED, binary};
use fwd_user::api::client::Client;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::program::walker::{Course, End, Target, Walker};
use crate::program::world::frame;
use crate::result::Family;

/// For a daemon to answer.
const PATIENCE: Duration = Duration::from_secs(120);
/// A walk through all flows that one document's forward may have.
const COURSE: u32 = 1 << 24;

/// No query.
const PLAIN: [(&str, &str); 0] = [];

pub struct Stand {
    pub lab: Lab,
    client: Client,
    runtime: Runtime,
    document: Value,
}

impl Stand {
    /// A daemon with one VM and a forward to it.
    ///
    /// # Errors
    /// If it does not come up.
    pub fn new() -> Result<Self> {
        let lab = catch_unwind(|| {
            let mut lab = Lab::empty(Hook::Xdp);
            lab.network(&RED, "");
            lab.vm("red1", &RED, 11);
            lab.ok(&format!("forward add udp {HOST_V4}:5353 red1:53"));
            lab
        });
        let lab = lab.map_err(|panic| {
            let said = panic.downcast_ref::<String>().map_or("it panicked", String::as_str);
            anyhow!("the lab does not come up: {said}")
        })?;
        let client = Client::new(lab.fwd.socket());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut stand = Self { lab, client, runtime, document: Value::Null };
        stand.document = stand.get("/v1/config")?;
        Ok(stand)
    }

    /// The document of the stand, with so many rules.
    pub fn document(&self, rules: usize) -> Value {
        let mut document = self.document.clone();
        document["policies"] = (0..rules).map(rule).collect();
        document
    }

    /// The same as a file for `fwd config apply`.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn file(&self, document: &Value) -> Result<PathBuf> {
        let path = self.lab.fwd.folder().join("document.json");
        fs::write(&path, document.to_string()).with_context(|| path.display().to_string())?;
        Ok(path)
    }

    /// Runs the command line as a shell does, the daemon's socket being a file that no namespace hides; how long that
    /// took.
    ///
    /// # Errors
    /// If it fails.
    pub fn cli(&self, words: &[&str]) -> Result<Duration> {
        let mut command = Command::new(binary()?);
        command.env("FWD_SOCKET", self.lab.fwd.socket()).args(words);
        let begun = Instant::now();
        let output = command.output()?;
        let took = begun.elapsed();
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "fwd {} ended with {}: {said}", words.join(" "), output.status);
        Ok(took)
    }

    /// # Errors
    /// If the daemon refuses; so for all requests.
    pub fn get(&self, path: &str) -> Result<Value> {
        let answer = self.runtime.block_on(self.client.get(path, &PLAIN));
        answer.map_err(|error| anyhow!("{path}: {}", error.message))
    }

    /// # Errors
    /// As [`Stand::get`].
    pub fn metrics(&self) -> Result<String> {
        let answer = self.runtime.block_on(self.client.text("/metrics", &PLAIN));
        answer.map_err(|error| anyhow!("/metrics: {}", error.message))
    }

    /// # Errors
    /// As [`Stand::get`].
    pub fn post(&self, path: &str, body: &Value) -> Result<Duration> {
        let begun = Instant::now();
        let answer = self.runtime.block_on(self.client.post(path, &PLAIN, body));
        answer.map_err(|error| anyhow!("{path}: {}", error.message))?;
        Ok(begun.elapsed())
    }

    /// # Errors
    /// As [`Stand::get`].
    pub fn put(&self, path: &str, body: &Value) -> Result<Duration> {
        let begun = Instant::now();
        let answer = self.runtime.block_on(self.client.put(path, &PLAIN, body));
        answer.map_err(|error| anyhow!("{path}: {}", error.message))?;
        Ok(begun.elapsed())
    }

    /// # Errors
    /// As [`Stand::get`].
    pub fn delete(&self, path: &str) -> Result<Duration> {
        let begun = Instant::now();
        let answer = self.runtime.block_on(self.client.delete(path, &PLAIN));
        answer.map_err(|error| anyhow!("{path}: {}", error.message))?;
        Ok(begun.elapsed())
    }

    /// Starts a daemon of the stand while none runs, and tells how long it took to answer; it ends with the value.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn started(&self) -> Result<(Duration, Daemon)> {
        let mut command = self.lab.fwd.command(&self.lab.host)?;
        let log = fs::File::create(self.lab.fwd.folder().join("bench-daemon.txt"))?;
        let begun = Instant::now();
        let child = command.args(["up", "--foreground"]).stdout(log.try_clone()?).stderr(log).spawn()?;
        let mut daemon = Daemon(child);
        while self.get("/v1/status").is_err() {
            if let Some(status) = daemon.0.try_wait()? {
                bail!("the daemon ended with {status}");
            }
            if begun.elapsed() > PATIENCE {
                bail!("the daemon does not answer within {PATIENCE:?}");
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok((begun.elapsed(), daemon))
    }

    /// Has the running datapath admit flows `first` to `first + flows` of the forward, by test runs of its own
    /// program in its own namespace. Returns what one took, in nanoseconds.
    ///
    /// # Errors
    /// If the program cannot be run.
    pub fn admit(&self, first: u32, flows: u32) -> Result<f64> {
        let (host, outside) = (&self.lab.host, &self.lab.outside);
        let macs = (outside.mac_of("eth0"), host.mac_of("eth0"));
        let packet = Packet::udp(("198.18.0.1", 1024), (HOST_V4, 5353)).macs(macs.0, macs.1);
        let course = Course {
            ifindex: host.ifindex("eth0"),
            frame: frame(packet)?,
            family: Family::V4,
            end: End::Source,
            flows: COURSE,
            stride: 1,
            first,
        };
        let pin = self.lab.fwd.bpffs().join(format!("v{ABI_VERSION}/programs")).join(program::XDP);
        let cost = host.inside(|| -> Result<_> {
            let xdp = Xdp::from_pin(pin, XdpAttachType::Interface)?;
            Walker::load()?.run(Target::Xdp(xdp.fd()?), &course, flows)
        })?;
        Ok(cost.ns)
    }

    /// How many IPv4 flows the daemon counts.
    ///
    /// # Errors
    /// As [`Stand::get`].
    pub fn flows(&self) -> Result<u64> {
        self.get("/v1/flows/count")?["flows"].as_u64().context("/v1/flows/count has no flows")
    }
}

/// A daemon that was started to be measured. Dropped, it is told to end, which leaves the datapath.
pub struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let id = nix::unistd::Pid::from_raw(self.0.id().cast_signed());
        let ended = nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGTERM)
            .map_err(anyhow::Error::from)
            .and_then(|()| Ok(self.0.wait()?));
        if let Err(error) = ended {
            eprintln!("the daemon does not end: {error:#}");
        }
    }
}

/// One of many rules: ten services of each of many outside addresses.
pub fn rule(n: usize) -> Value {
    let address = n / 10;
    let cidr = format!("100.{}.{}.{}/32", 64 + (address >> 16 & 63), address >> 8 & 255, address & 255);
    json!({"name": format!("r{n}"), "action": "deny", "from": [cidr], "to": ["port:red1"],
           "services": [format!("tcp/{}", 1000 + n % 10)]})
}
