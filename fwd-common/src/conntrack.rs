//! The life of a flow: its stage, what moves it on, and how long it may be silent.
//!
//! The stage that counts is the original direction's; the reply's entry holds a copy for the hit path.
//! TCP counts as established only when the opener has answered the reply (RFC 9293, 3.5), so a flood of
//! forged SYNs that a guest answers stays half-open. SCTP (RFC 9260, 5.1) is alike: what its packets do is said in
//! TCP's flags ([`sctp::signals`](crate::sctp::signals)).

use crate::proto::{IpProto, tcp};

/// Stage and TCP flags of one direction, in one word that changes by atomics.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Life(pub u32);

/// Where a flow is in its life.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Nobody answered yet.
    HalfOpen = 0,
    /// TCP: answered, but the opener has not answered back.
    Replied = 1,
    Established = 2,
    /// TCP: reset, or both sides sent FIN.
    Closing = 3,
    /// Being deleted by the CPU that set this bit.
    Dead = 4,
}

const STAGE: u32 = 7;
const FIN: u32 = 1 << 3;

impl Life {
    pub const NEW: Self = Self(Stage::HalfOpen as u32);
    pub const DEAD: Self = Self(Stage::Dead as u32);

    #[inline(always)]
    pub const fn stage(self) -> Stage {
        match self.0 & STAGE {
            0 => Stage::HalfOpen,
            1 => Stage::Replied,
            2 => Stage::Established,
            3 => Stage::Closing,
            _ => Stage::Dead,
        }
    }

    /// As it was before the flow was marked dead.
    #[inline(always)]
    pub const fn last(self) -> Self {
        Self(self.0 & !Self::DEAD.0)
    }

    /// Whether this direction has sent its last byte.
    #[inline(always)]
    pub const fn is_finished(self) -> bool {
        self.0 & FIN != 0
    }

    /// Whether the flow counts against the half-open quotas.
    #[inline(always)]
    pub const fn is_half_open(self) -> bool {
        self.0 & STAGE < Stage::Established as u32
    }

    #[inline(always)]
    pub const fn with_stage(self, stage: Stage) -> Self {
        Self(self.0 & !STAGE | stage as u32)
    }

    /// Whether a packet with these TCP flags, of the direction that has this word, can be taken without a
    /// [`step`]. A reply always steps before its flow is established: its copy of the stage may be an old one.
    #[inline(always)]
    pub const fn is_settled(self, tcp_flags: u8, is_original: bool) -> bool {
        const LATE: u32 = 1 << Stage::Established as u32 | 1 << Stage::Closing as u32;
        let stages = LATE | (is_original as u32) << Stage::HalfOpen as u32;
        stages >> (self.0 & STAGE) & 1 != 0 && tcp_flags & (tcp::SYN | tcp::FIN | tcp::RST) == 0
    }
}

/// Which way a packet of a flow goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Original,
    Reply,
}

/// The stage of the flow after a packet. `own` is the word of the packet's direction, and what becomes of it
/// is returned; `other` is the word of the direction opposite to it.
#[inline(always)]
pub fn step(own: Life, other: Life, way: Way, proto: IpProto, tcp_flags: u8) -> (Stage, Life) {
    let has_handshake = proto.has_handshake();
    let original = match way {
        Way::Original => own,
        Way::Reply => other,
    };
    let own = if has_handshake && tcp_flags & tcp::FIN != 0 { Life(own.0 | FIN) } else { own };
    let stage = match (original.stage(), way) {
        (Stage::Dead, _) => Stage::Dead,
        _ if has_handshake && tcp_flags & tcp::RST != 0 => Stage::Closing,
        _ if own.0 & other.0 & FIN != 0 => Stage::Closing,
        (Stage::HalfOpen, Way::Reply) if has_handshake => Stage::Replied,
        (Stage::HalfOpen, Way::Reply) => Stage::Established,
        (Stage::Replied, Way::Original) if tcp_flags & tcp::SYN == 0 => Stage::Established,
        (stage, _) => stage,
    };
    (stage, own.with_stage(stage))
}

/// Whether a packet opens a new flow on the tuple of one that is closing (RFC 9293, 3.10.7.4).
#[inline(always)]
pub const fn reopens(life: Life, proto: IpProto, tcp_flags: u8) -> bool {
    matches!(life.stage(), Stage::Closing)
        && proto.has_handshake()
        && tcp_flags & (tcp::SYN | tcp::ACK) == tcp::SYN
}

/// Which timeout holds; index into [`crate::settings::Settings::timeouts`].
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeoutClass {
    TcpHalfOpen = 0,
    TcpEstablished = 1,
    TcpClosing = 2,
    UdpOneWay = 3,
    UdpEstablished = 4,
    Icmp = 5,
    Other = 6,
    SctpEstablished = 7,
}

impl TimeoutClass {
    pub const COUNT: usize = 8;

    #[inline(always)]
    pub const fn of(proto: IpProto, life: Life) -> Self {
        match (proto.0, life.stage()) {
            (6 | 132, Stage::HalfOpen | Stage::Replied) => Self::TcpHalfOpen,
            (6, Stage::Established) => Self::TcpEstablished,
            (132, Stage::Established) => Self::SctpEstablished,
            (6 | 132, _) => Self::TcpClosing,
            (17, Stage::HalfOpen) => Self::UdpOneWay,
            (17, _) => Self::UdpEstablished,
            (1 | 58, _) => Self::Icmp,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(packets: &[(Way, u8)], proto: IpProto) -> Stage {
        let (mut o, mut r) = (Life::NEW, Life::NEW);
        for &(way, flags) in packets {
            let (own, other) = if way == Way::Original { (o, r) } else { (r, o) };
            let (stage, own) = step(own, other, way, proto, flags);
            (o, r) = match way {
                Way::Original => (own, r.with_stage(stage)),
                Way::Reply => (o.with_stage(stage), own),
            };
        }
        assert_eq!(o.stage(), r.stage());
        o.stage()
    }

    #[test]
    fn tcp_is_established_by_the_third_packet() {
        use tcp::*;
        let syn = (Way::Original, SYN);
        let syn_ack = (Way::Reply, SYN | ACK);
        assert_eq!(run(&[syn], IpProto::TCP), Stage::HalfOpen);
        assert_eq!(run(&[syn, syn_ack], IpProto::TCP), Stage::Replied);
        assert_eq!(run(&[syn, syn_ack, syn], IpProto::TCP), Stage::Replied);
        assert_eq!(run(&[syn, syn_ack, (Way::Original, ACK)], IpProto::TCP), Stage::Established);
    }

    #[test]
    fn half_closed_tcp_stays_established() {
        use tcp::*;
        let open =
            [(Way::Original, SYN), (Way::Reply, SYN | ACK), (Way::Original, ACK), (Way::Original, FIN | ACK)];
        assert_eq!(run(&open, IpProto::TCP), Stage::Established);
        let mut closed = open.to_vec();
        closed.push((Way::Reply, FIN | ACK));
        assert_eq!(run(&closed, IpProto::TCP), Stage::Closing);
    }

    #[test]
    fn udp_is_established_by_an_answer() {
        assert_eq!(run(&[(Way::Original, 0), (Way::Original, 0)], IpProto::UDP), Stage::HalfOpen);
        assert_eq!(run(&[(Way::Original, 0), (Way::Reply, 0)], IpProto::UDP), Stage::Established);
    }

    #[test]
    fn sctp_is_established_by_the_third_packet_and_closed_by_word() {
        use crate::sctp::signals;
        const INIT: (Way, u8) = (Way::Original, signals(1));
        const INIT_ACK: (Way, u8) = (Way::Reply, signals(2));
        const COOKIE_ECHO: (Way, u8) = (Way::Original, signals(10));
        assert_eq!(run(&[INIT, INIT], IpProto::SCTP), Stage::HalfOpen);
        assert_eq!(run(&[INIT, INIT_ACK], IpProto::SCTP), Stage::Replied);
        assert_eq!(run(&[INIT, INIT_ACK, INIT], IpProto::SCTP), Stage::Replied);
        let open = [INIT, INIT_ACK, COOKIE_ECHO];
        assert_eq!(run(&open, IpProto::SCTP), Stage::Established);
        for ((way, chunk), stage) in [
            ((Way::Reply, 3), Stage::Established),
            ((Way::Original, 7), Stage::Established),
            ((Way::Reply, 8), Stage::Established),
            ((Way::Original, 14), Stage::Closing),
            ((Way::Reply, 6), Stage::Closing),
        ] {
            let packets = [&open[..], &[(way, signals(chunk))]].concat();
            assert_eq!(run(&packets, IpProto::SCTP), stage, "chunk {chunk}");
        }
        assert!(reopens(Life::NEW.with_stage(Stage::Closing), IpProto::SCTP, signals(1)));
    }

    #[test]
    fn a_closing_flow_is_reopened_by_a_bare_syn_only() {
        let closing = Life::NEW.with_stage(Stage::Closing);
        assert!(reopens(closing, IpProto::TCP, tcp::SYN));
        assert!(!reopens(closing, IpProto::TCP, tcp::SYN | tcp::ACK));
        assert!(!reopens(Life::NEW.with_stage(Stage::Established), IpProto::TCP, tcp::SYN));
    }

    proptest! {
        /// Invariant: what the hit path takes without a step, a step would not have changed.
        #[test]
        fn a_settled_packet_changes_nothing(stage in 0_u32..4, fins in 0_u8..3, flags: u8, original: bool, tcp: bool) {
            let stage = Life(stage).stage();
            let fin = |has: bool| Life(if has { FIN } else { 0 }).with_stage(stage);
            // Both: the flow is closing.
            let (own, other) = (fin(fins == 1 || stage == Stage::Closing), fin(fins == 2 || stage == Stage::Closing));
            let way = if original { Way::Original } else { Way::Reply };
            let proto = if tcp { IpProto::TCP } else { IpProto::UDP };
            let flags = if tcp { flags } else { 0 };
            if own.is_settled(flags, original) {
                prop_assert_eq!(step(own, other, way, proto, flags), (stage, own));
            }
        }

        /// Invariant: no packet sequence moves a flow back to an earlier stage.
        #[test]
        fn stages_only_move_on(packets in proptest::collection::vec((any::<bool>(), 0u8..32), 0..20)) {
            let mut last = Stage::HalfOpen;
            for n in 0..=packets.len() {
                let p: Vec<_> = packets[..n].iter()
                    .map(|&(o, f)| (if o { Way::Original } else { Way::Reply }, f)).collect();
                let now = run(&p, IpProto::TCP);
                prop_assert!(now >= last);
                last = now;
            }
        }
    }
}
