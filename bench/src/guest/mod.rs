//! The guest tier: peers that this machine's kernel may lack, and fwd beside them, in a guest whose kernel has them; and
//! traffic between two guests.
//!
//! QEMU emulates the guests' CPUs. Figures of this tier are compared within one run, and with nothing else.

mod host;
mod pair;
mod scenarios;

pub use host::Guest;
pub use scenarios::scenarios;
