//! The peers that are programs.

pub mod dnat;
pub mod redirect;
