//! From what was accepted and what the host looks like to the rows that the datapath reads. Pure.

mod tables;

pub use tables::Tables;
