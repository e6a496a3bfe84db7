//! What people and programs exchange with the daemon: documents, observations, errors.

pub mod error;
pub mod object;
pub mod query;
pub mod settings;
pub mod spec;
pub mod status;
pub mod text;
