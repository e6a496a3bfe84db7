//! Sizes that kernel and user space agree on. A change here is a change of the ABI.

use crate::{
    addr, counter, dhcp, event, fdb, flow, forward, fragment, index, nat, neighbor, network, policy, port,
    prefix, refusal, settings, sweep, trace,
};

/// Names the directory under bpffs: programs and maps of another number are never mixed with these.
pub const ABI_VERSION: u32 = 7;

const fn size<T>(bytes: usize) {
    assert!(size_of::<T>() == bytes);
}

const _: () = {
    size::<flow::FlowKey<addr::V4>>(16);
    size::<flow::FlowKey<addr::V6>>(40);
    size::<flow::FlowEntry<addr::V4>>(72);
    size::<flow::FlowEntry<addr::V6>>(96);
    // Every 8 bytes here are 16 per flow. Of IPv4, a flow is three cache lines, and a direction lies in two.
    size::<flow::Half<addr::V4>>(96);
    size::<flow::Half<addr::V6>>(144);
    size::<flow::Pair<addr::V4>>(208);
    size::<flow::Pair<addr::V6>>(304);
    size::<index::Bucket>(64);
    size::<index::HashKey>(56);
    size::<fragment::FragmentKey<addr::V4>>(16);
    size::<fragment::FragmentKey<addr::V6>>(40);
    size::<fragment::FirstFragment>(16);
    size::<port::Port>(128);
    size::<port::PortUse>(16);
    size::<nat::Source>(20);
    size::<nat::ExemptionKey>(20);
    size::<prefix::PrefixKey>(20);
    size::<prefix::Prefix>(24);
    size::<network::Network>(12);
    size::<network::MemberKey>(4);
    size::<neighbor::NetworkAddress>(20);
    size::<neighbor::Claim>(24);
    size::<neighbor::Neighbor>(12);
    size::<neighbor::SourceKey>(20);
    size::<forward::ForwardKey>(24);
    size::<forward::Forward>(40);
    size::<forward::ClientKey>(20);
    size::<policy::ClassKey>(20);
    size::<policy::PolicyKey>(12);
    // A value takes a multiple of eight bytes in a hash: the second row costs nothing.
    size::<policy::RowCopies>(8);
    size::<policy::RowKey>(8);
    size::<policy::RowVerdict>(12);
    size::<fdb::FdbKey>(8);
    size::<dhcp::Lease>(16);
    size::<fdb::FdbEntry>(8);
    size::<counter::HookLedger>(96);
    size::<counter::Ledger>(208);
    size::<counter::DropKey>(8);
    size::<counter::DropCount>(24);
    size::<refusal::Refusal<addr::V4>>(48);
    size::<refusal::Refusal<addr::V6>>(72);
    size::<counter::Totals>(56);
    size::<counter::TableUse>(16);
    size::<event::Event>(72);
    size::<event::DropEvent>(136);
    size::<event::FlowEvent>(168);
    size::<settings::Settings>(72);
    size::<sweep::Command>(72);
    size::<trace::Record>(16);
};
