//! What becomes of a frame. Only `finish` turns a verdict into a hook's code, a counter and an event.

use core::marker::PhantomData;

use crate::{
    drop::DropReason,
    id::{ForwardId, PortId, RuleId},
    policy::Direction,
};

/// What becomes of a frame. All of it is always defined, unlike an enum's payload (see [`Outcome`]).
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub action: Action,
    /// The port by which it leaves; 0: none.
    pub port: PortId,
}

/// The kinds of verdict.
#[repr(u16)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Out of a port.
    Forward = 1,
    /// Out of a port, whose next hop's MAC the host's stack finds (TCX only).
    ForwardByHost = 2,
    /// Copies were sent to the members of the network; the frame itself ends here.
    Flooded = 3,
    /// To the host's stack, untouched.
    Host = 4,
    /// XDP only: TCX on the same port will decide.
    PassUp = 5,
    /// Not decided: the next step of the pipeline will.
    Next = 6,
    /// Not decided: an ICMP error, which goes where the flow goes that it is about.
    Related = 7,
    /// The frame was made the answer to itself, and goes back by the port on which it came in (TCX only).
    Answered = 8,
}

impl Verdict {
    pub const FLOODED: Self = Self { action: Action::Flooded, port: PortId(0) };
    pub const HOST: Self = Self { action: Action::Host, port: PortId(0) };
    pub const PASS_UP: Self = Self { action: Action::PassUp, port: PortId(0) };

    pub const NEXT: Self = Self { action: Action::Next, port: PortId(0) };
    pub const RELATED: Self = Self { action: Action::Related, port: PortId(0) };
    pub const ANSWERED: Self = Self { action: Action::Answered, port: PortId(0) };

    #[inline(always)]
    pub const fn forward(port: PortId) -> Self {
        Self { action: Action::Forward, port }
    }

    #[inline(always)]
    pub const fn forward_by_host(port: PortId) -> Self {
        Self { action: Action::ForwardByHost, port }
    }
}

/// A drop with all that is told about it.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dropped {
    pub reason: DropReason,
    /// The rule that caused it; 0: none. Where [`DropReason::is_of_forward`]: the forward's number.
    pub rule: RuleId,
    /// Which side of the flow refused: the sender's egress, or the receiver's ingress.
    pub direction: Direction,
}

impl Dropped {
    /// Of a client that a forward is not for.
    #[inline(always)]
    pub const fn by_forward(id: ForwardId) -> Self {
        Self { reason: DropReason::ForwardClientDenied, rule: RuleId(id.0), direction: Direction::Ingress }
    }
}

impl From<DropReason> for Dropped {
    #[inline(always)]
    fn from(reason: DropReason) -> Self {
        Self { reason, rule: RuleId(0), direction: Direction::Egress }
    }
}

/// A `Result<T, Dropped>` in one word, every bit of it defined: the low byte is the drop reason or 0, the
/// upper half the value or the rule. In the kernel `?` works on it.
///
/// Verifier: the stages return one. A `Result` leaves the bits of its other variant undefined, in whatever
/// register LLVM has at hand, and LLVM computes with them ahead of the branch that asks ("R1 !read_ok", 6.18).
#[must_use]
pub struct Outcome<T> {
    word: u64,
    value: PhantomData<T>,
}

impl<T> Clone for Outcome<T> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Outcome<T> {}

/// A value that fits into half a word.
pub trait Payload: Sized {
    fn to_word(self) -> u32;
    fn from_word(word: u32) -> Self;
}

impl<T: Payload> Outcome<T> {
    #[inline(always)]
    pub fn ok(value: T) -> Self {
        Self::from_word((value.to_word() as u64) << 32)
    }

    #[inline(always)]
    pub fn dropped(dropped: impl Into<Dropped>) -> Self {
        let d = dropped.into();
        Self::from_word((d.rule.0 as u64) << 32 | (d.direction as u64) << 8 | d.reason as u64)
    }

    #[inline(always)]
    pub const fn word(self) -> u64 {
        self.word
    }

    #[inline(always)]
    pub const fn from_word(word: u64) -> Self {
        Self { word, value: PhantomData }
    }

    #[inline(always)]
    pub const fn is_drop(self) -> bool {
        self.word as u8 != 0
    }

    /// The value, where it is none of a drop.
    #[inline(always)]
    pub fn value(self) -> T {
        T::from_word((self.word >> 32) as u32)
    }

    /// The drop, where it is one.
    #[inline(always)]
    pub fn drop(self) -> Dropped {
        let direction = if self.word >> 8 & 1 == 0 { Direction::Egress } else { Direction::Ingress };
        let reason = DropReason::from_number(self.word as u8).unwrap_or(DropReason::Internal);
        Dropped { reason, rule: RuleId((self.word >> 32) as u32), direction }
    }
}

/// `?` on outcomes, and in functions that return one. The trait is not stable; the kernel's programs are
/// built with unstable features anyway.
#[cfg(target_arch = "bpf")]
mod question_mark {
    use core::{
        convert::Infallible,
        ops::{ControlFlow, FromResidual, Try},
    };

    use super::{Dropped, Outcome, Payload};

    /// The word of a drop.
    pub struct Drop(u64);

    impl<T: Payload> Try for Outcome<T> {
        type Output = T;
        type Residual = Drop;

        #[inline(always)]
        fn from_output(value: T) -> Self {
            Self::ok(value)
        }
        #[inline(always)]
        fn branch(self) -> ControlFlow<Drop, T> {
            if self.is_drop() {
                ControlFlow::Break(Drop(self.word))
            } else {
                ControlFlow::Continue(self.value())
            }
        }
    }

    impl<T: Payload> FromResidual<Drop> for Outcome<T> {
        #[inline(always)]
        fn from_residual(drop: Drop) -> Self {
            Self::from_word(drop.0)
        }
    }

    impl<T: Payload, E: Into<Dropped>> FromResidual<Result<Infallible, E>> for Outcome<T> {
        #[inline(always)]
        fn from_residual(result: Result<Infallible, E>) -> Self {
            let Err(e) = result;
            Self::dropped(e)
        }
    }
}

impl Payload for Verdict {
    #[inline(always)]
    fn to_word(self) -> u32 {
        (self.action as u32) << 16 | self.port.0 as u32
    }
    #[inline(always)]
    fn from_word(word: u32) -> Self {
        let action = match word >> 16 {
            1 => Action::Forward,
            2 => Action::ForwardByHost,
            3 => Action::Flooded,
            4 => Action::Host,
            5 => Action::PassUp,
            7 => Action::Related,
            8 => Action::Answered,
            _ => Action::Next,
        };
        Self { action, port: PortId(word as u16) }
    }
}

impl Payload for RuleId {
    #[inline(always)]
    fn to_word(self) -> u32 {
        self.0
    }
    #[inline(always)]
    fn from_word(word: u32) -> Self {
        Self(word)
    }
}

impl Payload for crate::table::Inserted {
    #[inline(always)]
    fn to_word(self) -> u32 {
        self as u32
    }
    #[inline(always)]
    fn from_word(word: u32) -> Self {
        match word {
            0 => Self::Won,
            1 => Self::Adopted,
            2 => Self::Lost,
            3 => Self::Taken,
            _ => Self::Full,
        }
    }
}

impl Payload for () {
    #[inline(always)]
    fn to_word(self) -> u32 {
        0
    }
    #[inline(always)]
    fn from_word(_: u32) -> Self {}
}

impl Payload for bool {
    #[inline(always)]
    fn to_word(self) -> u32 {
        self as u32
    }
    #[inline(always)]
    fn from_word(word: u32) -> Self {
        word != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_come_back_as_they_were() {
        let verdicts = [
            Verdict::forward(PortId(65535)),
            Verdict::forward_by_host(PortId(1)),
            Verdict::FLOODED,
            Verdict::HOST,
            Verdict::PASS_UP,
            Verdict::ANSWERED,
        ];
        for verdict in verdicts {
            let outcome = Outcome::ok(verdict);
            assert!(!outcome.is_drop());
            assert_eq!(outcome.value(), verdict);
        }
        for &reason in DropReason::ALL {
            for direction in Direction::ALL {
                let dropped = Dropped { reason, rule: RuleId(u32::MAX), direction };
                let outcome = Outcome::<Verdict>::dropped(dropped);
                assert!(outcome.is_drop());
                assert_eq!(outcome.drop(), dropped);
            }
        }
    }
}
