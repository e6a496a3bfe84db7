//! The traffic tier: live packets through fwd and through its peers.

pub mod echo;
mod flood;
mod foreign;
mod generator;
mod object;
pub mod packets;
pub mod rig;
pub mod scenarios;
mod sink;
pub mod sockets;
mod storm;
mod stream;
pub mod trip;

pub use object::Object;
