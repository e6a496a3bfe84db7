//! The traffic tier: live packets through fwd and through its peers.

mod echo;
mod flood;
mod generator;
mod object;
mod packets;
pub mod rig;
mod scenarios;
mod sink;
mod sockets;
mod storm;
mod stream;
pub mod trip;

pub use object::Object;
pub use scenarios::scenarios;
