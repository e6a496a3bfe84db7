//! User space of fwd. The way of an edit:
//!
//! ```text
//! request, netlink change or timer
//!    → state (pure: edit, validate) → store (durable) → compile (pure) → plan (pure: ordered map writes)
//!    → datapath (the only map writer)
//! maps, ring buffer → observe (the only reader) → api, metrics
//! ```
//!
//! `Document` (asked), `Desired` (accepted, with its revision and numbers), `Tables` (compiled rows),
//! `MapOp` (ordered writes) and `Status` (observed) are different types.

pub mod api;
pub mod cli;
pub mod compile;
pub mod daemon;
pub mod datapath;
pub mod diagnose;
pub mod host;
pub mod import;
pub mod observe;
pub mod plan;
pub mod state;
pub mod store;
