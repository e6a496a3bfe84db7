//! What kernel and user space share: ids, map rows, the decisions made on them, and their numbers.
//!
//! Guarantees: no allocation, no I/O, no clock, no aya (but for the `user` feature, which marks rows as
//! plain data). Every number that both sides must agree on is defined here once; [`layout`] holds sizes
//! and offsets, and a change there changes [`layout::ABI_VERSION`].
#![cfg_attr(not(any(test, feature = "user")), no_std)]
#![cfg_attr(target_arch = "bpf", feature(try_trait_v2))]

pub mod addr;
pub mod conntrack;
pub mod counter;
pub mod dhcp;
pub mod drop;
pub mod event;
pub mod fdb;
pub mod flow;
pub mod forward;
pub mod fragment;
pub mod id;
pub mod index;
pub mod layout;
pub mod map;
pub mod message;
pub mod nat;
pub mod neighbor;
pub mod network;
mod pod;
pub mod policy;
pub mod port;
pub mod prefix;
pub mod proto;
pub mod refusal;
pub mod sctp;
pub mod settings;
pub mod sweep;
pub mod table;
pub mod trace;
pub mod verdict;
