//! The real programs, frame by frame, by `BPF_PROG_TEST_RUN`. One file a stage.
//!
//! Every frame declares what becomes of it on both hooks, the whole frame that comes out, and which counters
//! moved; any other counter that moved fails the test. Configurations are documents that go through the real
//! `state`, `compile`, `plan` and `datapath`.

mod answer;
mod bridge;
mod chain;
mod count;
mod devices;
mod differential;
mod drops;
mod error;
mod existing;
mod flow;
mod forward;
mod fragment;
mod gso;
mod host;
mod lease;
mod loopback;
mod mapping;
mod nat;
mod parse;
mod policy;
mod prefix;
mod refusal;
mod routed;
mod run;
mod sctp;
mod sent;
mod source;
mod stateless;
mod sweep;
mod translation;
mod whole;
mod world;
mod written;
