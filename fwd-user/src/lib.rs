//! fwd user space
