//! The test kit: what the rungs under `tests/` share.
//!
//! Each module makes one kind of thing that tests need (frames, and later namespaces, wires, labs, guests)
//! and takes it away again when it is dropped. Nothing here uses the code under test.

pub mod frame;
