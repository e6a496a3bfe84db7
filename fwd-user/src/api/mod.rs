//! What people and programs exchange with the daemon: documents, requests, observations, errors.

pub mod answer;
pub mod client;
pub mod diagnosis;
pub mod document;
pub mod error;
pub mod event;
pub mod json;
pub mod object;
pub mod openapi;
pub mod policy_test;
pub mod query;
pub mod request;
pub mod served;
pub mod server;
pub mod settings;
pub mod spec;
pub mod status;
pub mod text;
pub mod trace;
pub mod version;
mod written;
