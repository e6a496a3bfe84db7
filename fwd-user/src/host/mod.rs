//! The machine: its interfaces, addresses and sysctls; what is changed there is noted and given back.

mod driver;
mod error;
mod hostport;
pub mod inventory;
mod journal;
mod link;
mod namespace;
mod netlink;
mod restore;
mod sysctl;

pub use driver::{set_strips_vlan, strips_vlan};
pub use error::Error;
pub use hostport::{HostPort, datapath_end, host_end, namespace_of};
pub use inventory::{Device, DeviceKind, Inventory, Learnt};
pub use journal::{Change, Journal};
pub use netlink::{Changes, Follower, Netlink, connect};
pub use restore::restore;
