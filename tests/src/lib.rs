//! The test kit: what the rungs under `tests/` share.
//!
//! Each module makes one kind of thing that tests need (frames, namespaces, wires)
//! and takes it away again when it is dropped. Nothing here uses the code under test.

pub mod frame;
pub mod guest;
pub mod lab;
pub mod link;
pub mod netns;
pub mod skip;
pub mod traffic;
pub mod wire;
