//! The maps: their names in the object and under bpffs, and what a newcomer needs to know of each.

/// Who writes a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writer {
    /// User space (`datapath/`) only.
    User,
    /// The kernel programs only.
    Kernel,
    /// Both; the doc line says which rows are whose.
    Both,
}

/// A map's line in docs/maps.md.
#[derive(Clone, Copy, Debug)]
pub struct MapDoc {
    pub name: &'static str,
    pub writer: Writer,
    pub doc: &'static str,
}

macro_rules! maps {
    ($($konst:ident $writer:ident $doc:literal;)*) => {
        $(#[doc = $doc] pub const $konst: &str = stringify!($konst);)*
        /// Every map of the object.
        pub const ALL: &[MapDoc] = &[$(MapDoc { name: stringify!($konst), writer: Writer::$writer, doc: $doc },)*];
    };
}

maps! {
    SETTINGS User "Array, one row: settings that change at run time, and the policy epoch.";
    PORT_OF_DEVICE User "Array by ifindex (below 65,536): the port that has the device.";
    PORT_OF_HIGH_DEVICE User "Hash by ifindex (from 65,536 on): the port that has the device.";
    PORTS User "Array by port id: what the datapath knows of a port.";
    DEVICES User "Devmap by port id: devices into which XDP redirects.";
    PIPELINE User "Program array, one row: the program behind the one that gives packets of tunnels their Ethernet header.";
    NETWORKS User "Array by network id: mode, host port, uplink.";
    MEMBERS User "Hash by (network, n): the ports that a flood reaches.";
    NEIGHBORS Both "Hash by (network, address): the port and MAC that have it. Learnt rows are the kernel's.";
    ALLOWED_SOURCES User "Longest prefix of (port, address): sources that a port may use beside its own; of port 0, the network that has the address.";
    PORT_MACS Both "Array by port id: the guest's MAC, learnt by the kernel, forgotten (zeroed) by user space.";
    HOST_ADDRESSES User "Hash by (network or 0, address): addresses that the host itself owns.";
    FORWARDS User "Longest prefix of (protocol, address, L4 port): where a forward leads.";
    FORWARD_CLIENTS User "Longest prefix of (forward, address): clients of a forward that is not for everybody.";
    NAT_EXEMPTIONS User "Longest prefix of (network, address): destinations outside that a network's flows reach untranslated (1), or do not (0).";
    NAT_PREFIXES User "Longest prefix of (network, address): what addresses of a translated prefix become on the way out; of network 0, on the way in.";
    IDENTITIES User "Longest prefix of (epoch parity, address): the class of addresses that rules name by CIDR.";
    POLICIES User "Hash by (policy, peer, direction): the row of services that applies, by the epoch's parity.";
    ROWS User "Longest prefix of (row, protocol, L4 port): the verdict and its rule.";
    FDB Both "Hash by (network, MAC): the port behind which it was last seen. Static rows are user space's.";
    FLOWS4 Kernel "Array: IPv4 flows, both directions of each side by side. Walked to reclaim expired ones.";
    FLOWS6 Kernel "The same for IPv6.";
    INDEX4 Kernel "Array by hash of (zone, addresses, L4 ports, protocol): which row of FLOWS4 has the direction.";
    INDEX6 Kernel "The same for IPv6.";
    HASH_KEY User "Array, one row: random numbers that decide about places in the indexes; written once, when they are made.";
    FREE4 Kernel "Queue: slots (pairs of rows) of ended IPv4 flows.";
    FREE6 Kernel "The same for IPv6.";
    FRAGMENTS4 Kernel "LRU hash by (zone, addresses, identification, protocol): what the first fragment of an IPv4 datagram said.";
    FRAGMENTS6 Kernel "The same for IPv6.";
    HANDS Kernel "Per-CPU array, by family: where this CPU inspects the flows next.";
    TABLE_USE Kernel "Array by family: flows in the table.";
    PORT_USE Kernel "Array by port id: flows and MACs that a port holds.";
    LEDGERS Kernel "Per-CPU array by port id: what came in and what became of it, by hook.";
    DROPS Kernel "Per-CPU array: drops, by rows that DROP_KEYS has.";
    DROP_KEYS Kernel "Array by hash of (rule, port, reason, direction): whose drops a row of DROPS counts. None is ever given up.";
    DROPS_BY_REASON Kernel "Per-CPU array by reason: all drops.";
    FLOW_COUNTERS Kernel "Per-CPU array: admissions, refusals, cuts, lost events.";
    RULE_TOTALS Kernel "Hash by rule: flows admitted and cut, traffic of ended flows.";
    FORWARD_TOTALS Kernel "Hash by forward: flows admitted, traffic of ended flows.";
    REFUSALS4 Kernel "Per-CPU array by hash: IPv4 packets dropped in this tick, so that the next ones alike need no decision.";
    REFUSALS6 Kernel "The same for IPv6.";
    EVENTS Kernel "Ring buffer: drops, flow starts and ends, addresses learnt.";
    AYA_LOGS Kernel "Ring buffer: what aya-log tells, where the datapath log is on.";
    EVENT_BUDGET Kernel "Per-CPU array, two rows: drops and events of flows sent within this tick.";
    CLAIMS Kernel "By network and address: who has it, and who else claims it. The least recently claimed go.";
    LEASES Kernel "LRU hash by (network, MAC): the IPv4 address that a bridged network's DHCP gave to a guest, and for how long.";
    ANSWER_BUDGET Kernel "Array by port id: answers made within this tick.";
    FLOOD_BUDGET Kernel "Array by port id: copies that its floods made within this tick.";
    QUOTES Kernel "Per-CPU array by program: what an ICMP error quotes, while it is made.";
    TRACES Kernel "Ring buffer: what the steps answer, in the instance of the object that fwd trace loads for itself.";
    READING4 Kernel "Per-CPU array by program: an IPv4 packet while it is read, and as it was read.";
    READING6 Kernel "The same for IPv6 packets.";
    SCRATCH4 Kernel "Per-CPU array by program: an IPv4 flow being admitted, and behind those of all programs its mapping.";
    SCRATCH6 Kernel "The same for IPv6.";
}

/// Programs of the object.
pub mod program {
    pub const XDP: &str = "fwd_xdp";
    pub const INGRESS: &str = "fwd_ingress";
    pub const EGRESS: &str = "fwd_egress";
    /// As [`INGRESS`] and [`EGRESS`], where packets have no Ethernet header.
    pub const TUNNEL_INGRESS: &str = "fwd_tunnel_ingress";
    pub const TUNNEL_EGRESS: &str = "fwd_tunnel_egress";
    /// Not attached: run by user space to delete and to re-decide flows.
    pub const SWEEP: &str = "fwd_sweep";
    pub const ALL: [&str; 6] = [XDP, INGRESS, EGRESS, TUNNEL_INGRESS, TUNNEL_EGRESS, SWEEP];
}
