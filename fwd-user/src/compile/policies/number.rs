//! Numbers for things that have no name: made of their content, so that they stay what they are from one
//! compilation to the next without being kept anywhere.
//!
//! Identities and classes may do so because all of them come into force at once: should two contents fall
//! on one number, and one of them go, the other's number changes, and that is an edit like any other.

use std::collections::BTreeSet;

/// Gives out numbers from 1 to 2^30 - 1.
#[derive(Debug, Default)]
pub(super) struct Numbering {
    used: BTreeSet<u32>,
}

impl Numbering {
    const LAST: u32 = (1 << 30) - 1;

    /// A number for a content, given as words in order.
    pub fn number(&mut self, words: impl Iterator<Item = String>) -> u32 {
        let mut number = 1 + (hash(words) % u64::from(Self::LAST)) as u32;
        while !self.used.insert(number) {
            number = number % Self::LAST + 1;
        }
        number
    }
}

/// FNV-1a of the words, each ended by a byte that no text has.
fn hash(words: impl Iterator<Item = String>) -> u64 {
    let bytes = words.flat_map(|word| word.into_bytes().into_iter().chain([0xff]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_depend_on_content_and_differ() {
        let of = |numbering: &mut Numbering, words: &[&str]| {
            numbering.number(words.iter().map(ToString::to_string))
        };
        let mut numbering = Numbering::default();
        let first = of(&mut numbering, &["group:web", "network:n"]);
        assert_eq!(of(&mut Numbering::default(), &["group:web", "network:n"]), first);
        assert_ne!(of(&mut numbering, &["group:web", "network:n"]), first);
        assert_ne!(of(&mut numbering, &["group:webnetwork:n"]), first);
        let many: BTreeSet<_> = (0..1000).map(|n| of(&mut numbering, &[&n.to_string()])).collect();
        assert_eq!(many.len(), 1000);
        assert!(many.iter().all(|n| (1..1 << 30).contains(n)));
    }
}
