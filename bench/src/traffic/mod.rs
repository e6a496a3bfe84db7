//! The traffic tier: live packets through fwd and through its peers.

mod bulk;
pub mod echo;
mod editor;
mod edits;
mod flood;
mod foreign;
mod generator;
mod mix;
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
