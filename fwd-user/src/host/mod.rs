//! The machine: its interfaces, addresses and sysctls; what is changed there is noted and given back.

pub mod inventory;

pub use inventory::{Device, DeviceKind, Inventory, Learnt};
