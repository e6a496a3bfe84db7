//! The accepted intent, and the edits on it. Pure.

mod desired;

pub use desired::{Desired, Numbers};
