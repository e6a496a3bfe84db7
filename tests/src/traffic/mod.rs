//! Real sockets for tests: services that run inside a namespace, and clients that use them.
//!
//! Everything is `std::net` on threads that entered the namespace; a service ends when it is dropped.

mod bulk;
mod dhcp;
mod dns;
mod ping;
mod probe;
mod sctp;
mod service;
mod talk;

pub use bulk::{BulkSource, Transfer};
pub use dhcp::{DhcpServer, Leased, lease, lease6};
pub use dns::resolve;
pub use ping::ping;
pub use probe::{Probe, ProbeReport};
pub use sctp::{ask_sctp, sctp_whoami};
pub use service::{Service, ask_udp, http_get, http_whoami, udp_whoami};
pub use talk::Talk;
