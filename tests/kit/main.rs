//! The kit against the kernel alone: what the other rungs stand on is shown to work without fwd.

mod guest;
mod lab;
mod link;
mod traffic;
