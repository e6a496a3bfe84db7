//! Names of flows: a number made of what identifies the flow, so that nothing is kept for it, and it stays
//! while the flow lives. Of two million flows two share one less than once in a million times.

use std::{
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
};

use fwd_common::{addr::Address, flow::FlowKey};

/// A flow's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowName(u64);

impl FlowName {
    const DIGITS: usize = 16;

    /// By its original direction's key.
    pub fn of<A: Address>(key: &FlowKey<A>) -> Self {
        let FlowKey { src, dst, sport, dport, zone, proto, kind } = *key;
        let mut hasher = DefaultHasher::new();
        (A::IS_V6, src.ip().0, dst.ip().0, sport, dport, zone, proto, kind).hash(&mut hasher);
        Self(hasher.finish())
    }

    /// None of text that is no flow's name.
    pub fn parse(text: &str) -> Option<Self> {
        let is_name = text.len() == Self::DIGITS && text.bytes().all(|b| b.is_ascii_hexdigit());
        is_name.then(|| u64::from_str_radix(text, 16).ok().map(Self)).flatten()
    }
}

impl fmt::Display for FlowName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use fwd_common::{
        addr::{V4, V6},
        id::Zone,
    };

    use super::*;

    #[test]
    fn every_part_of_the_key_makes_another_name() {
        let key = FlowKey { src: V4(1), dst: V4(2), sport: 3, ..FlowKey::default() };
        let others = [
            FlowKey { src: V4(2), ..key },
            FlowKey { dst: V4(1), ..key },
            FlowKey { sport: 4, ..key },
            FlowKey { dport: 3, ..key },
            FlowKey { zone: Zone(1), ..key },
            FlowKey { kind: fwd_common::flow::key_kind::MAPPING, ..key },
            FlowKey { proto: fwd_common::proto::IpProto::TCP, ..key },
        ];
        assert!(others.iter().all(|other| FlowName::of(other) != FlowName::of(&key)));
        assert_ne!(FlowName::of(&FlowKey::<V4>::default()), FlowName::of(&FlowKey::<V6>::default()));
    }

    #[test]
    fn names_read_back_and_nothing_else_does() {
        let name = FlowName(0xbeef);
        assert_eq!(FlowName::parse(&name.to_string()), Some(name));
        for bad in ["", "beef", "+00000000000beef", "000000000000beefs", "00000000000000000beef"] {
            assert_eq!(FlowName::parse(bad), None, "{bad}");
        }
    }
}
