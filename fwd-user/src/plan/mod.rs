//! From the rows that are and the rows that should be to ordered map writes. Pure.

mod concerned;
mod diff;
mod existing;
mod merge;
mod op;
mod policies;
mod room;
#[cfg(test)]
mod tests;

pub use diff::diff;
pub use existing::{cut, keep};
pub use op::{Admitted, MapOp, Row, RowKeyOf};
pub use room::{Shortage, shortages};
