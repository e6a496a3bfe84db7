//! Numbers for things that have no name: made of their content, so that they stay what they are from one
//! compilation to the next without being kept anywhere.
//!
//! Identities and classes may do so because all of them come into force at once: should two contents fall
//! on one number, and one of them go, the other's number changes, and that is an edit like any other.

use imbl::OrdSet;

use super::rules::{Ends, Rules};

/// Gives out numbers from 1 to 2^30 - 1.
#[derive(Clone, Debug, Default)]
pub(super) struct Numbering {
    used: OrdSet<u32>,
}

impl Numbering {
    const LAST: u32 = (1 << 30) - 1;

    /// A number for a set of ends.
    pub fn number(&mut self, rules: &Rules, ends: &Ends) -> u32 {
        let mut words: Vec<String> = ends.iter().map(|end| rules.end(*end).to_string()).collect();
        words.sort_unstable();
        self.of_words(words)
    }

    /// The number is free again.
    pub fn give_back(&mut self, number: u32) {
        self.used.remove(&number);
    }

    fn of_words(&mut self, words: Vec<String>) -> u32 {
        let mut number = 1 + (hash(words.into_iter()) % u64::from(Self::LAST)) as u32;
        while self.used.insert(number).is_some() {
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
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn numbers_depend_on_content_and_differ() {
        let of = |numbering: &mut Numbering, words: &[&str]| {
            numbering.of_words(words.iter().map(ToString::to_string).collect())
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
