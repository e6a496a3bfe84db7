//! What people see of each verb, on a daemon whose datapath is in memory: no privilege is needed.
//!
//! A test is a transcript: commands, and what they print. `UPDATE_EXPECT=1` writes the transcripts anew.
#![allow(clippy::too_many_lines, reason = "a transcript is as long as what is said")]

mod instance;

mod api;
mod audit;
mod bench;
mod config;
mod doctor;
mod drop;
mod explain;
mod flow;
mod forward;
mod group;
mod import;
mod nat;
mod network;
mod policy;
mod policy_test;
mod port;
mod set;
mod status;
mod top;
mod trial;
mod up;
mod uplink;

use expect_test::Expect;
use instance::Instance;

/// Runs command lines on a new instance and holds the transcript against what is expected.
fn check(lines: &[&str], expected: Expect) {
    let instance = Instance::up();
    expected.assert_eq(&instance.transcript(lines));
}
