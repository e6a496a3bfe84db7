//! What becomes of a frame. Only `finish` turns a verdict into a hook's code, a counter and an event.

use crate::{
    drop::DropReason,
    id::{PortId, RuleId},
    policy::Direction,
};

/// What becomes of a frame.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Out of a port.
    Forward(PortId),
    /// Out of a port, whose next hop's MAC the host's stack finds (TCX only).
    ForwardByHost(PortId),
    /// Copies were sent to the members of the network; the frame itself ends here.
    Flooded,
    /// Into an uplink's ingress, as if it had come in there: to the host behind a bridged uplink.
    Into(PortId),
    /// To the host's stack, untouched.
    Host,
    /// XDP only: TCX on the same port will decide.
    PassUp,
}

/// A drop with all that is told about it.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dropped {
    pub reason: DropReason,
    /// The rule that caused it; 0: none.
    pub rule: RuleId,
    pub direction: Direction,
}

impl From<DropReason> for Dropped {
    #[inline(always)]
    fn from(reason: DropReason) -> Self {
        Self { reason, rule: RuleId(0), direction: Direction::Egress }
    }
}
