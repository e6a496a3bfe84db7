//! One step of the pipeline each. No stage calls the next one; `table`, `former` and `reclaim` serve those that change
//! the flow table.

pub mod admit;
pub mod answer;
pub mod budget;
pub mod claim;
pub mod deliver;
pub mod error;
pub mod fdb;
pub mod flood;
pub mod flow;
pub mod former;
pub mod forward;
pub mod hit;
pub mod host;
pub mod lease;
pub mod mapping;
pub mod nat;
pub mod neighborhood;
pub mod policy;
pub mod prefix;
pub mod proxy;
pub mod recheck;
pub mod reclaim;
pub mod refusal;
pub mod route;
pub mod source;
pub mod table;
pub mod tunnel;
