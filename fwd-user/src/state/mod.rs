//! The accepted intent, and the edits on it. Pure.

mod change;
mod desired;
mod edit;
mod expiry;
mod naming;
mod numbers;
mod problem;
mod rule;
mod users;
mod validate;

pub use change::{Change, undo};
pub use desired::Desired;
pub use edit::{Accepted, Edit, accept, amend};
pub use expiry::next_expiry;
pub use numbers::{LAST as LAST_NUMBER, Numbers};
pub use rule::{EditedRules, edited_rules};
