//! Map rows as plain data: marked as such for user space, and a flow's key by words.

use core::ptr;

use crate::{addr::Address, flow::FlowKey};

impl<A: Address> FlowKey<A> {
    pub const WORDS: usize = size_of::<Self>() / 8;

    /// The n-th eight bytes.
    #[inline(always)]
    pub fn word(&self, n: usize) -> u64 {
        debug_assert!(n < Self::WORDS);
        // SAFETY: a key has so many words, is aligned like one, and is plain data without padding.
        unsafe { ptr::from_ref(self).cast::<u64>().add(n).read() }
    }
}

#[cfg(feature = "user")]
mod user {
    use crate::{
        addr::{self, V4, V6},
        counter, dhcp, event, fdb, flow, forward, id, index, nat, neighbor, network, policy, port, prefix,
        settings, sweep, trace,
    };

    macro_rules! pod {
        ($($t:ty),* $(,)?) => {
            $(
                // SAFETY: `repr(C)` or `repr(transparent)` over integers and byte arrays, with explicit padding
                // (`layout` asserts the sizes): every bit pattern is a value, and no byte is uninitialised.
                unsafe impl aya::Pod for $t {}
            )*
        };
    }

    macro_rules! pod_of_family {
        ($($t:ident),* $(,)?) => {
            $(
                // SAFETY: as above, with one of the two addresses, which are plain data.
                unsafe impl<A: addr::Address + aya::Pod> aya::Pod for flow::$t<A> {}
            )*
        };
    }

    pod_of_family!(FlowKey, FlowEntry, Half, Pair);
    pod!(
        settings::Settings,
        port::Port,
        port::PortUse,
        network::Network,
        network::MemberKey,
        neighbor::NetworkAddress,
        neighbor::Neighbor,
        neighbor::Claim,
        neighbor::SourceKey,
        forward::ForwardKey,
        forward::Forward,
        forward::ClientKey,
        nat::ExemptionKey,
        prefix::PrefixKey,
        prefix::Prefix,
        policy::ClassKey,
        policy::PolicyKey,
        policy::RowCopies,
        policy::RowKey,
        policy::RowVerdict,
        fdb::FdbKey,
        dhcp::Lease,
        fdb::FdbEntry,
        index::Bucket,
        index::HashKey,
        counter::Ledger,
        counter::DropKey,
        counter::DropCount,
        counter::Count,
        counter::Totals,
        counter::TableUse,
        event::Event,
        event::DropEvent,
        event::FlowEvent,
        addr::Mac,
        V4,
        V6,
        sweep::Command,
        trace::Record,
        id::PortId,
        id::RowId,
        id::ClassId,
        id::RuleId,
        id::ForwardId,
    );
}
