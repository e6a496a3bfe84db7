//! The maps of an address family.

use aya::Pod;
use fwd_common::{
    addr::{Address, V4, V6},
    map,
};

use super::{Conversation, Passage, Traced};

/// An address family with its maps.
pub(super) trait Family: Address + Pod {
    const FREE: &'static str;
    const SCRATCH: &'static str;

    fn traced(passages: Vec<Passage>, is_known: bool, flow: Option<Conversation<Self>>) -> Traced;
}

impl Family for V4 {
    const FREE: &'static str = map::FREE4;
    const SCRATCH: &'static str = map::SCRATCH4;

    fn traced(passages: Vec<Passage>, is_known: bool, flow: Option<Conversation<Self>>) -> Traced {
        Traced { passages, is_known, v4: flow, v6: None }
    }
}

impl Family for V6 {
    const FREE: &'static str = map::FREE6;
    const SCRATCH: &'static str = map::SCRATCH6;

    fn traced(passages: Vec<Passage>, is_known: bool, flow: Option<Conversation<Self>>) -> Traced {
        Traced { passages, is_known, v4: None, v6: flow }
    }
}
