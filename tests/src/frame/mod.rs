//! Frames for tests: said in one line, built byte by byte, compared with a readable difference.
//!
//! [`Packet`] describes one packet from Ethernet to payload and is changed by fluent setters, so that an
//! expected output is the input with the fields that should differ. [`Packet::frame`] makes the bytes, with
//! checksums computed here and by nothing that the datapath shares. [`Fault`]s make wrong bytes on purpose.
//! [`render()`] decodes with another parser (etherparse), so that builder and decoder check each other.

mod edit;
mod encode;
mod mac;
mod neighbor;
mod packet;
mod render;
#[cfg(test)]
mod tests;

pub use encode::{checksum, header_end, sctp_checksum};
pub use mac::Mac;
pub use neighbor::NdOption;
pub use packet::{ACK, FIN, PSH, RST, SYN, URG};
pub use packet::{Arp, Body, End, Extension, Fault, Fragment, Ip, L4, Packet, Vlan, ip};
pub use render::{assert_frames_equal, difference, render};
