//! The kernel's look-ups, over tables in memory: what policies decide can be asked without the kernel.

use fwd_common::{
    addr::Ip,
    forward::{ClientKey, Forward, ForwardKey, flag},
    id::{ClassId, Identity, RowId},
    policy::{ClassKey, Policies, PolicyKey, RowKey, RowVerdict},
    proto::IpProto,
};

use super::Tables;

impl Tables {
    /// The class of an address: the longest prefix decides, as in the kernel.
    pub fn class_of(&self, addr: Ip) -> ClassId {
        self.class_of_range((addr, ClassKey::prefix(128)))
    }

    /// The class of what no row narrower than a range is about; its length as a row of `classes` has it.
    pub fn class_of_range(&self, (addr, length): (Ip, u32)) -> ClassId {
        let octets = u128::from_be_bytes(octets(addr));
        let narrowest = length - ClassKey::prefix(0);
        let found = (0..=narrowest).rev().find_map(|bits| {
            let kept = octets & prefix_mask(bits);
            let key = ClassKey { epoch: 0, addr: Ip::from_octets(kept.to_be_bytes()) };
            self.classes.get(&(key, ClassKey::prefix(bits)))
        });
        found.copied().unwrap_or_default()
    }

    /// The row that decides: this peer's, or else any peer's.
    pub fn row_for(&self, key: PolicyKey) -> Option<RowId> {
        self.row(&key).or_else(|| self.row(&PolicyKey { peer: Identity::ANY, ..key }))
    }

    /// The forward that has an address and L4 port (network byte order): the longest prefix, as in the kernel.
    pub fn forward_of(&self, proto: IpProto, addr: Ip, l4_port: u16) -> Option<Forward> {
        let l4_port = u16::from_be(l4_port);
        (0..=16u32).rev().find_map(|bits| {
            let kept = if bits == 0 { 0 } else { l4_port & (u16::MAX << (16 - bits)) };
            let key = ForwardKey::new(proto, addr, kept.to_be());
            self.forwards.get(&(key, ForwardKey::prefix(bits))).copied()
        })
    }

    /// Whether a forward is for a client.
    pub fn is_for(&self, forward: &Forward, client: Ip) -> bool {
        let octets = u128::from_be_bytes(octets(client));
        let row = |bits: u32| {
            let addr = Ip::from_octets((octets & prefix_mask(bits)).to_be_bytes());
            let key = ClientKey { forward: forward.id, addr };
            self.forward_clients.get(&(key, ClientKey::prefix(bits))).copied()
        };
        forward.flags & flag::LIMITED == 0 || (0..=128).rev().find_map(row) == Some(1)
    }
}

fn octets(addr: Ip) -> [u8; 16] {
    let mut octets = [0; 16];
    for (four, word) in octets.chunks_exact_mut(4).zip(addr.0) {
        four.copy_from_slice(&word.to_ne_bytes());
    }
    octets
}

const fn prefix_mask(bits: u32) -> u128 {
    if bits == 0 { 0 } else { u128::MAX << (128 - bits) }
}

impl Policies for Tables {
    fn row(&self, key: &PolicyKey) -> Option<RowId> {
        self.policies.get(key).copied()
    }

    /// The longest prefix decides, as in the kernel.
    fn verdict(&self, key: &RowKey) -> Option<RowVerdict> {
        let l4_port = u16::from_be_bytes(key.l4_port);
        let by_l4_port = (0..=16u32).rev().map(|bits| {
            let kept = if bits == 0 { 0 } else { l4_port & (u16::MAX << (16 - bits)) };
            (RowKey::new(key.row, key.proto, kept.to_be()), RowKey::l4(bits))
        });
        let by_row = (RowKey::new(key.row, Default::default(), 0), RowKey::ANY);
        by_l4_port.chain([by_row]).find_map(|key| self.rows.get(&key)).copied()
    }
}
