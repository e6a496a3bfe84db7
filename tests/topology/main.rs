//! The topology rung: the real daemon and the real datapath between real sockets, in private namespaces.
//!
//! One file is one scenario; each runs on the hooks it concerns, in the standard world of `fwd_tests::lab`.

mod accounting;
mod answer;
mod bench;
mod bridge;
mod causes;
mod datapath;
mod device;
mod doctor;
mod down;
mod existing;
mod expiry;
mod flow_log;
mod forward;
mod fragment;
mod host;
mod isolation;
mod jumbo;
mod liars;
mod libvirt;
mod mapping;
mod modes;
mod nat;
mod policy;
mod prometheus;
mod refusals;
mod restart;
mod routed;
mod sctp;
mod segment;
mod services;
mod stateless;
mod storm;
mod trace;
mod trial;
mod tunnel;
mod uplink;
mod verbs;
mod watch;
