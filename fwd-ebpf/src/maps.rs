//! The maps of the object, under the names of `fwd_common::map`, and typed look-ups in them. User space sets
//! the sizes of the large ones when it loads the object.

use aya_ebpf::{
    bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC},
    macros::map,
    maps::{
        Array, DevMap, HashMap, LpmTrie, LruHashMap, PerCpuArray, ProgramArray, Queue, RingBuf, lpm_trie::Key,
    },
};
use fwd_common::{
    addr::{Address, Ip, Mac, V4, V6},
    counter::{Count, DROP_ROWS, DropCount, FlowCounter, Ledger, TableUse, Totals},
    dhcp::Lease,
    drop::DropReason,
    event::Budget,
    fdb::{FdbEntry, FdbKey},
    flow::{Half, Pair},
    forward::{ClientKey, Forward, ForwardKey},
    fragment::{FirstFragment, FragmentKey},
    id::{ClassId, ForwardId, NetworkId, PortId, RowId, RuleId},
    index::{Bucket, HashKey},
    nat::ExemptionKey,
    neighbor::{Claim, Neighbor, NetworkAddress, SourceKey},
    network::{MAX_NETWORKS, MemberKey, Network},
    policy::{ClassKey, Policies, PolicyKey, RowCopies, RowKey, RowVerdict},
    port::{MAX_PORTS, Port, PortKind, PortUse},
    prefix::{Prefix, PrefixKey},
    refusal::{self, Refusal, WAYS},
    settings::Settings,
};

use crate::{
    atomic::{Shared, shared},
    chain::Reading,
    stage::budget::Budgets,
};

/// Ifindexes below this one are looked up in an array.
const LOW_DEVICES: u32 = 1 << 16;

#[map]
pub static SETTINGS: Array<Settings> = Array::with_max_entries(1, 0);
#[map]
static PORT_OF_DEVICE: Array<PortId> = Array::with_max_entries(LOW_DEVICES, 0);
#[map]
static PORT_OF_HIGH_DEVICE: HashMap<u32, PortId> = HashMap::with_max_entries(MAX_PORTS, 0);
#[map]
static PORTS: Array<Port> = Array::with_max_entries(MAX_PORTS, 0);
#[map]
pub static DEVICES: DevMap = DevMap::with_max_entries(MAX_PORTS, 0);
/// Its one row is `fwd_ingress`.
#[map]
pub static PIPELINE: ProgramArray = ProgramArray::with_max_entries(1, 0);
#[map]
static NETWORKS: Array<Network> = Array::with_max_entries(MAX_NETWORKS, 0);
#[map]
static MEMBERS: HashMap<MemberKey, PortId> = HashMap::with_max_entries(4 * MAX_PORTS, 0);
#[map]
pub static NEIGHBORS: HashMap<NetworkAddress, Neighbor> = HashMap::with_max_entries(65_536, 0);
#[map]
static ALLOWED_SOURCES: LpmTrie<SourceKey, u32> = LpmTrie::with_max_entries(65_536, BPF_F_NO_PREALLOC);
#[map]
pub static PORT_MACS: Array<Mac> = Array::with_max_entries(MAX_PORTS, 0);
#[map]
static HOST_ADDRESSES: HashMap<NetworkAddress, u32> = HashMap::with_max_entries(16_384, 0);
#[map]
static FORWARDS: LpmTrie<ForwardKey, Forward> = LpmTrie::with_max_entries(262_144, BPF_F_NO_PREALLOC);
#[map]
static FORWARD_CLIENTS: LpmTrie<ClientKey, u32> = LpmTrie::with_max_entries(262_144, BPF_F_NO_PREALLOC);
#[map]
static NAT_EXEMPTIONS: LpmTrie<ExemptionKey, u32> = LpmTrie::with_max_entries(65_536, BPF_F_NO_PREALLOC);
#[map]
static NAT_PREFIXES: LpmTrie<PrefixKey, Prefix> = LpmTrie::with_max_entries(4096, BPF_F_NO_PREALLOC);
#[map]
static IDENTITIES: LpmTrie<ClassKey, ClassId> = LpmTrie::with_max_entries(262_144, BPF_F_NO_PREALLOC);
#[map]
static POLICIES: HashMap<PolicyKey, RowCopies> = HashMap::with_max_entries(262_144, BPF_F_NO_PREALLOC);
#[map]
static ROWS: LpmTrie<RowKey, RowVerdict> = LpmTrie::with_max_entries(1 << 20, BPF_F_NO_PREALLOC);
#[map]
pub static FDB: HashMap<FdbKey, FdbEntry> = HashMap::with_max_entries(131_072, 0);
// Rows of arrays that can be mapped begin with a page, others somewhere: these are to lie in as few cache lines as they can.
#[map]
static FLOWS4: Array<Half<V4>> = Array::with_max_entries(1 << 19, BPF_F_MMAPABLE);
#[map]
static FLOWS6: Array<Half<V6>> = Array::with_max_entries(1 << 19, BPF_F_MMAPABLE);
#[map]
static INDEX4: Array<Bucket> = Array::with_max_entries(1 << 17, BPF_F_MMAPABLE);
#[map]
static INDEX6: Array<Bucket> = Array::with_max_entries(1 << 17, BPF_F_MMAPABLE);
#[map]
static HASH_KEY: Array<HashKey> = Array::with_max_entries(1, 0);
#[map]
static FREE4: Queue<u32> = Queue::with_max_entries(1 << 18, 0);
#[map]
static FREE6: Queue<u32> = Queue::with_max_entries(1 << 18, 0);
#[map]
static FRAGMENTS4: LruHashMap<FragmentKey<V4>, FirstFragment> = LruHashMap::with_max_entries(16_384, 0);
#[map]
static FRAGMENTS6: LruHashMap<FragmentKey<V6>, FirstFragment> = LruHashMap::with_max_entries(16_384, 0);
#[map]
pub static HANDS: PerCpuArray<u32> = PerCpuArray::with_max_entries(2, 0);
#[map]
pub static TABLE_USE: Array<TableUse> = Array::with_max_entries(2, 0);
#[map]
pub static PORT_USE: Array<PortUse> = Array::with_max_entries(MAX_PORTS, 0);
#[map]
pub static LEDGERS: PerCpuArray<Ledger> = PerCpuArray::with_max_entries(MAX_PORTS, 0);
#[map]
pub static DROPS: PerCpuArray<DropCount> = PerCpuArray::with_max_entries(DROP_ROWS, 0);
#[map]
static DROP_KEYS: Array<u64> = Array::with_max_entries(DROP_ROWS, 0);
#[map]
pub static DROPS_BY_REASON: PerCpuArray<Count> = PerCpuArray::with_max_entries(DropReason::SLOTS, 0);
#[map]
pub static FLOW_COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(FlowCounter::SLOTS, 0);
#[map]
pub static RULE_TOTALS: HashMap<RuleId, Totals> = HashMap::with_max_entries(131_072, BPF_F_NO_PREALLOC);
#[map]
pub static FORWARD_TOTALS: HashMap<ForwardId, Totals> = HashMap::with_max_entries(65_536, BPF_F_NO_PREALLOC);
#[map]
static REFUSALS4: PerCpuArray<[Refusal<V4>; WAYS]> = PerCpuArray::with_max_entries(refusal::ROWS, 0);
#[map]
static REFUSALS6: PerCpuArray<[Refusal<V6>; WAYS]> = PerCpuArray::with_max_entries(refusal::ROWS, 0);
#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(1 << 20, 0);
/// The tick and the events sent in it, by [`Budget`].
#[map]
pub static EVENT_BUDGET: PerCpuArray<[u32; 2]> = PerCpuArray::with_max_entries(Budget::COUNT, 0);
#[map]
pub static CLAIMS: LruHashMap<NetworkAddress, Claim> = LruHashMap::with_max_entries(1024, 0);
#[map]
pub static LEASES: LruHashMap<FdbKey, Lease> = LruHashMap::with_max_entries(16_384, 0);
#[map]
pub static ANSWER_BUDGET: Budgets = Array::with_max_entries(MAX_PORTS, 0);
#[map]
pub static FLOOD_BUDGET: Budgets = Array::with_max_entries(MAX_PORTS, 0);
#[map]
pub static QUOTES: PerCpuArray<[u8; QUOTE_ROOM]> = PerCpuArray::with_max_entries(PROGRAMS, 0);
/// What slow steps answered while a packet is traced.
#[map]
pub static TRACES: RingBuf = RingBuf::with_byte_size(1 << 12, 0);
/// Too large for the stack.
#[map]
static READING4: PerCpuArray<Reading<V4>> = PerCpuArray::with_max_entries(PROGRAMS, 0);
#[map]
static READING6: PerCpuArray<Reading<V6>> = PerCpuArray::with_max_entries(PROGRAMS, 0);
#[map]
static SCRATCH4: PerCpuArray<Pair<V4>> = PerCpuArray::with_max_entries(2 * PROGRAMS, 0);
#[map]
static SCRATCH6: PerCpuArray<Pair<V6>> = PerCpuArray::with_max_entries(2 * PROGRAMS, 0);

/// Programs that may be decided on one CPU at once, each with scratch of its own.
pub const PROGRAMS: u32 = 4;

/// What an ICMP error quotes at most, and room to sum it by chunks.
pub const QUOTE_ROOM: usize = 1536;

/// An address family with its tables.
pub trait Family: Address {
    /// Index into `HANDS` and `TABLE_USE`.
    const INDEX: u32;
    fn flows() -> &'static Array<Half<Self>>;
    fn index() -> &'static Array<Bucket>;
    fn free() -> &'static Queue<u32>;
    fn scratch() -> &'static PerCpuArray<Pair<Self>>;
    fn reading() -> &'static PerCpuArray<Reading<Self>>;
    fn fragments() -> &'static LruHashMap<FragmentKey<Self>, FirstFragment>;
    fn refusals() -> &'static PerCpuArray<[Refusal<Self>; WAYS]>;
}

macro_rules! family {
    ($family:ty, $index:literal, $flows:ident, $index_of_flows:ident, $free:ident, $scratch:ident, $fragments:ident, $reading:ident, $refusals:ident) => {
        impl Family for $family {
            const INDEX: u32 = $index;
            #[inline(always)]
            fn flows() -> &'static Array<Half<Self>> {
                &$flows
            }
            #[inline(always)]
            fn index() -> &'static Array<Bucket> {
                &$index_of_flows
            }
            #[inline(always)]
            fn free() -> &'static Queue<u32> {
                &$free
            }
            #[inline(always)]
            fn scratch() -> &'static PerCpuArray<Pair<Self>> {
                &$scratch
            }
            #[inline(always)]
            fn fragments() -> &'static LruHashMap<FragmentKey<Self>, FirstFragment> {
                &$fragments
            }
            #[inline(always)]
            fn reading() -> &'static PerCpuArray<Reading<Self>> {
                &$reading
            }
            #[inline(always)]
            fn refusals() -> &'static PerCpuArray<[Refusal<Self>; WAYS]> {
                &$refusals
            }
        }
    };
}
family!(V4, 0, FLOWS4, INDEX4, FREE4, SCRATCH4, FRAGMENTS4, READING4, REFUSALS4);
family!(V6, 1, FLOWS6, INDEX6, FREE6, SCRATCH6, FRAGMENTS6, READING6, REFUSALS6);

/// The settings in force.
#[inline(always)]
pub fn settings() -> Result<&'static Settings, DropReason> {
    SETTINGS.get(0).ok_or(DropReason::Internal)
}

/// What places in the flow tables' indexes depend on.
#[inline(always)]
pub fn hash_key() -> Option<&'static HashKey> {
    HASH_KEY.get(0)
}

/// A port's row, if there is such a port.
#[inline(always)]
pub fn port(id: PortId) -> Option<&'static Port> {
    port_row(id).filter(|p| !p.is(PortKind::None))
}

/// A port's row; that of a port that is gone has its generation and its zone only, and no device.
#[inline(always)]
pub fn port_row(id: PortId) -> Option<&'static Port> {
    PORTS.get(id.0 as u32)
}

/// Whose drops a row of `DROPS` counts, as a word.
#[inline(always)]
pub fn drop_key(row: u32) -> Option<Shared<'static, u64>> {
    // SAFETY: a map row, changed by atomics only.
    DROP_KEYS.get_ptr_mut(row).map(|word| shared(unsafe { &mut *word }))
}

/// The port that has a device.
#[inline(always)]
pub fn port_of_device(ifindex: u32) -> Option<PortId> {
    let id = if ifindex < LOW_DEVICES {
        *PORT_OF_DEVICE.get(ifindex)?
    } else {
        // SAFETY: rows are two bytes, written whole.
        unsafe { *PORT_OF_HIGH_DEVICE.get(&ifindex)? }
    };
    (id != PortId(0)).then_some(id)
}

#[inline(always)]
pub fn network(id: NetworkId) -> Result<&'static Network, DropReason> {
    NETWORKS.get(id.0 as u32).ok_or(DropReason::Internal)
}

#[inline(always)]
pub fn member(network: NetworkId, index: u16) -> Option<PortId> {
    // SAFETY: rows are two bytes, written whole.
    unsafe { MEMBERS.get(&MemberKey { network, index }).copied() }
}

/// Who has an address in a network.
#[inline(always)]
pub fn neighbor(network: NetworkId, addr: Ip) -> Option<&'static Neighbor> {
    // SAFETY: a preallocated row may be replaced while it is read: one packet then takes the old owner's
    // port with the new owner's MAC, which that guest ignores. The edit bumps both ports.
    unsafe { NEIGHBORS.get(&NetworkAddress { addr, network, _pad: 0 }) }
}

/// Whether an address is the host's, as a network sees it.
#[inline(always)]
pub fn is_host_address(network: NetworkId, addr: Ip) -> bool {
    HOST_ADDRESSES.get_ptr(&NetworkAddress { addr, network, _pad: 0 }).is_some()
}

/// Whether a port may send from an address that is not its own.
#[inline(always)]
pub fn is_allowed_source(port: PortId, addr: Ip) -> bool {
    let bits = SourceKey::prefix(128);
    ALLOWED_SOURCES.get(&Key::new(bits, SourceKey { port, _pad: 0, addr })) == Some(&1)
}

/// The network that has an address in one of its subnets; none of a private one.
#[inline(always)]
pub fn network_of(addr: Ip) -> Option<NetworkId> {
    let key = SourceKey { port: PortId(0), _pad: 0, addr };
    ALLOWED_SOURCES.get(&Key::new(SourceKey::prefix(128), key)).map(|id| NetworkId(*id as u16))
}

/// Whether a network's flows reach an address under their own.
#[inline(always)]
pub fn is_exempt(network: NetworkId, addr: Ip) -> bool {
    let key = Key::new(ExemptionKey::prefix(128), ExemptionKey { network, _pad: 0, addr });
    NAT_EXEMPTIONS.get(&key) == Some(&1)
}

/// The translated prefix of a network that has an address; of network 0, the outside prefix that has it.
#[inline(always)]
pub fn prefix(network: NetworkId, addr: Ip) -> Option<&'static Prefix> {
    NAT_PREFIXES.get(&Key::new(PrefixKey::prefix(128), PrefixKey { network, _pad: 0, addr }))
}

/// Whether a limited forward is for a client.
#[inline(always)]
pub fn is_client(forward: ForwardId, addr: Ip) -> bool {
    FORWARD_CLIENTS.get(&Key::new(ClientKey::prefix(128), ClientKey { forward, addr })) == Some(&1)
}

/// The forward that publishes an address and L4 port (network byte order).
#[inline(always)]
pub fn forward(key: ForwardKey) -> Option<&'static Forward> {
    FORWARDS.get(&Key::new(ForwardKey::prefix(16), key))
}

/// The class of an address in an epoch.
#[inline(always)]
pub fn class(epoch: u32, addr: Ip) -> ClassId {
    let key = Key::new(ClassKey::prefix(128), ClassKey { epoch: epoch & 1, addr });
    IDENTITIES.get(&key).copied().unwrap_or_default()
}

/// The compiled rules in their maps, as they are in an epoch.
pub struct PolicyMaps {
    pub epoch: u32,
}

impl Policies for PolicyMaps {
    #[inline(always)]
    fn row(&self, key: &PolicyKey) -> Option<RowId> {
        // SAFETY: a write puts a new element in the place of the old one, and the copy of the epoch in use
        // is not written.
        unsafe { POLICIES.get(key) }.and_then(|rows| rows.row(self.epoch))
    }
    #[inline(always)]
    fn verdict(&self, key: &RowKey) -> Option<RowVerdict> {
        ROWS.get(&Key::new(RowKey::l4(16), *key)).copied()
    }
}
