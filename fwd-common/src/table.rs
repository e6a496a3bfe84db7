//! Inserting and deleting the two entries of a flow, safe against another CPU that does the same.
//!
//! The steps run over a [`PairTable`], so the order that the kernel uses is the order that the tests
//! interleave. Guarantees, whatever the interleaving: two live flows never share a key; an entry that
//! stays has its partner; what a loser inserted is gone again.

/// Why a table refused an insert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The key is there.
    Exists,
    /// No room.
    Full,
}

/// One direction of the flow to be inserted.
pub trait PairTable {
    type Key: Copy + Ord;
    type Entry;

    /// Inserts where the key is not there yet.
    fn insert(&mut self, key: &Self::Key, entry: &Self::Entry) -> Result<(), Refused>;
    /// Whether the entry at `key` has `partner` as its partner's key.
    fn names(&self, key: &Self::Key, partner: &Self::Key) -> bool;
    fn delete(&mut self, key: &Self::Key);
    /// Marks the entry at `key` dead, if it is alive: `true` for exactly one caller.
    fn kill(&mut self, key: &Self::Key) -> bool;
}

/// What became of [`insert_pair`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// Both entries are in.
    Won,
    /// Another CPU is inserting, or deleting, this very pair: the caller's decision holds for its packet.
    Adopted,
    /// Another CPU admitted this flow with another translation: use its entry.
    Lost,
    /// The reply's tuple belongs to another flow.
    Taken,
    Full,
}

/// Inserts both directions. Of a translated flow the reply goes in first, for that is the reservation of
/// its L4 port; else the smaller key does, for each CPU's reply may be the other's original.
#[inline(always)]
pub fn insert_pair<T: PairTable>(
    table: &mut T,
    original: (&T::Key, &T::Entry),
    reply: (&T::Key, &T::Entry),
    translated: bool,
) -> Inserted {
    if translated || *reply.0 < *original.0 {
        insert_ordered(table, reply, original, translated)
    } else {
        insert_ordered(table, original, reply, translated)
    }
}

#[inline(always)]
fn insert_ordered<T: PairTable>(
    table: &mut T,
    first: (&T::Key, &T::Entry),
    second: (&T::Key, &T::Entry),
    translated: bool,
) -> Inserted {
    match table.insert(first.0, first.1) {
        Ok(()) => {}
        Err(Refused::Full) => return Inserted::Full,
        Err(Refused::Exists) if table.names(first.0, second.0) => return Inserted::Adopted,
        Err(Refused::Exists) => return Inserted::Taken,
    }
    match table.insert(second.0, second.1) {
        Ok(()) => Inserted::Won,
        Err(Refused::Full) => {
            table.delete(first.0);
            Inserted::Full
        }
        Err(Refused::Exists) if table.names(second.0, first.0) => Inserted::Adopted,
        Err(Refused::Exists) => {
            table.delete(first.0);
            if translated { Inserted::Lost } else { Inserted::Taken }
        }
    }
}

/// Deletes both directions; `true` for the one caller that did, which then gives back what the flow held.
/// The reply goes first: while the original stands, nobody else can take the pair for gone.
#[inline(always)]
pub fn delete_pair<T: PairTable>(table: &mut T, original: &T::Key, reply: &T::Key) -> bool {
    if !table.kill(original) {
        return false;
    }
    if table.names(reply, original) {
        table.delete(reply);
    }
    table.delete(original);
    true
}
