//! HAProxy as a TCP proxy: its own connection to the inside machine for each of a client's.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use super::Standing;
use crate::process::Process;
use crate::traffic::rig::{HOST, INSIDE, Rig};
use crate::traffic::trip::{PUBLISHED, SERVED, Trip};

/// A file that goes when it is dropped.
struct Config(PathBuf);

impl Drop for Config {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            eprintln!("{}: {error}", self.0.display());
        }
    }
}

/// One thread a CPU, as by default, and splicing, as its manual recommends for proxies that only forward.
pub fn haproxy(rig: &Rig, _: u32) -> Result<Standing> {
    rig.route()?;
    let config = Config(std::env::temp_dir().join(format!("{}.haproxy", rig.host.name())));
    let text = format!(
        "global\n  maxconn 4000\n\
         defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1m\n  timeout server 1m\n  option splice-auto\n\
         listen web\n  bind {}:{PUBLISHED}\n  server inside {}:{SERVED}\n",
        HOST.0, INSIDE.0
    );
    fs::write(&config.0, text)?;
    let path = config.0.to_str().context("the folder's name is text")?;
    let proxy = Process::listening(&rig.host, "haproxy", &["-db", "-f", path], PUBLISHED)?;
    Ok(Standing::new(Trip::Forward, (proxy, config)))
}
