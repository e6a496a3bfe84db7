//! The machine: its interfaces, addresses and sysctls; what is changed there is noted and given back.

mod bridge;
mod dnsmasq;
mod driver;
mod echo;
mod error;
mod hostport;
pub mod inventory;
mod journal;
mod libvirt;
mod link;
mod loopback;
mod machine;
mod namespace;
mod neighborhood;
mod netlink;
pub mod probe;
mod reserved;
pub mod survey;
mod surveyor;
mod sysctl;
mod uplink;

pub use dnsmasq::{Dns, Guest, Range, Service};
pub use error::Error;
pub use hostport::{Greeting, HostPort, datapath_end, host_end, namespace_of};
pub use inventory::{Device, DeviceKind, Inventory, Learnt, Lease, Served};
pub use journal::{Change, Journal};
pub use libvirt::RUN_DIR as LIBVIRT_RUN_DIR;
pub use machine::{Host, News, Wanted};
pub use neighborhood::Neighborhood;
pub use netlink::{Changes, Follower};
pub use surveyor::{TcFilter, survey as look_around, tc_filters};
pub use uplink::Uplink;
