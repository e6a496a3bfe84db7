//! The accepted intent, and the edits on it. Pure.

mod desired;
mod edit;
mod naming;
mod numbers;
mod problem;
mod users;
mod validate;

pub use desired::Desired;
pub use edit::{Accepted, Change, Edit, accept};
pub use numbers::Numbers;
