//! Who edits while packets pass: requests to fwd's API over one connection, or lines to nft's interactive shell, at a
//! pace. Each edit changes something, and none of it is about the run's own flows.

use std::collections::VecDeque;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use fwd_tests::netns::Netns;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use nix::fcntl::{FcntlArg::F_SETPIPE_SZ, fcntl};
use nix::unistd::Pid;
use tokio::net::UnixStream;
use tokio::runtime::Builder;
use tokio::task::JoinHandle;

use super::generator::pin;
use crate::peer::{Edit, line};

/// How many a second are wanted.
pub const WANTED: u32 = 1_000;
/// Edits under way at the same time, at most. There are more objects of each kind, so that no edit meets another.
const UNDER_WAY: usize = 100;
/// Bytes on the way to nft: what waits there is done after the packets.
const LITTLE: i32 = 4096;
/// When the next edits are due.
const TICK: Duration = Duration::from_millis(1);

/// What is told of the edits.
pub enum Editor {
    /// The daemon's socket.
    Api(PathBuf),
    Nft(Arc<Netns>),
}

/// Edits that were made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Made {
    pub edits: u32,
    pub time: Duration,
}

impl Editor {
    /// Edits from a CPU, beginning with the `first` of all edits, until it is told to end.
    ///
    /// # Errors
    /// If one is refused.
    pub fn run(&self, cpu: usize, first: u32, ends: &AtomicBool) -> Result<Made> {
        pin(Pid::from_raw(0), cpu)?;
        match self {
            Self::Api(socket) => {
                let runtime = Builder::new_current_thread().enable_all().build()?;
                runtime.block_on(by_api(socket, first, ends))
            }
            Self::Nft(netns) => by_nft(netns, first, ends),
        }
    }
}

/// How many are due after a time.
fn due(after: Duration) -> u32 {
    (after.as_secs_f64() * f64::from(WANTED)) as u32
}

async fn by_api(socket: &Path, first: u32, ends: &AtomicBool) -> Result<Made> {
    let stream = UnixStream::connect(socket).await.with_context(|| socket.display().to_string())?;
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    // It ends with the sender; an error of it shows in an answer.
    tokio::spawn(connection);
    let begun = Instant::now();
    let (mut sent, mut under_way) = (0, VecDeque::<JoinHandle<Result<()>>>::new());
    while !ends.load(Ordering::Relaxed) {
        while sent < due(begun.elapsed()) {
            if under_way.len() == UNDER_WAY
                && let Some(oldest) = under_way.pop_front()
            {
                oldest.await??;
            }
            under_way.push_back(tokio::spawn(ask(sender.clone(), Edit::nth(first + sent))));
            sent += 1;
        }
        tokio::time::sleep(TICK).await;
    }
    for edit in under_way {
        edit.await??;
    }
    Ok(Made { edits: sent, time: begun.elapsed() })
}

async fn ask(mut sender: SendRequest<Full<Bytes>>, edit: Edit) -> Result<()> {
    let (method, path, body) = edit.request();
    let request = Request::builder()
        .method(method)
        .uri(format!("http://fwd{path}"))
        .header("content-type", "application/json")
        .body(Full::from(body))?;
    let answer = sender.send_request(request).await?;
    let status = answer.status();
    let said = answer.into_body().collect().await?.to_bytes();
    ensure!(status == StatusCode::OK, "{path} is answered with {status}: {}", String::from_utf8_lossy(&said));
    Ok(())
}

fn by_nft(netns: &Netns, first: u32, ends: &AtomicBool) -> Result<Made> {
    let mut command = netns.command("nft");
    command.arg("-i").stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut shell = command.spawn().context("nft cannot be started")?;
    let mut input = shell.stdin.take().context("its input is a pipe")?;
    fcntl(&input, F_SETPIPE_SZ(LITTLE))?;
    let begun = Instant::now();
    let mut sent = 0;
    while !ends.load(Ordering::Relaxed) {
        let due = due(begun.elapsed());
        let lines: String = (sent..due).map(|n| line(first + n)).collect();
        // A shell that is behind has the pipe full, and this waits for it.
        input.write_all(lines.as_bytes())?;
        sent = due;
        thread::sleep(TICK);
    }
    drop(input);
    let ended = shell.wait_with_output()?;
    let said = String::from_utf8_lossy(&ended.stderr);
    ensure!(ended.status.success() && said.is_empty(), "nft ended with {}: {said}", ended.status);
    Ok(Made { edits: sent, time: begun.elapsed() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_due_at_their_pace() {
        assert_eq!(due(Duration::ZERO), 0);
        assert_eq!(due(Duration::from_millis(250)), 250);
        assert_eq!(due(Duration::from_micros(1999)), 1);
    }
}
