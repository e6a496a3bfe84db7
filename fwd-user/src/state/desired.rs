//! The accepted document with its revision and the numbers that its objects have in the datapath.

use crate::api::spec::Document;

use super::Numbers;

/// What was accepted. Built by [`super::accept`] (and loaded again by the store) only, so it is valid.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    /// 0: nothing was accepted yet.
    pub revision: u64,
    pub document: Document,
    pub numbers: Numbers,
}
