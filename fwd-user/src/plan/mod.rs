//! From the rows that are and the rows that should be to ordered map writes. Pure.

mod op;

pub use op::{MapOp, Row, RowKeyOf};
