//! The address and L4 port that a masqueraded flow gets.

use core::mem;

use aya_ebpf::{
    bindings::bpf_sock_tuple,
    helpers::{bpf_sk_lookup_udp, bpf_sk_release, bpf_skc_lookup_tcp},
};
use fwd_common::{
    flow::FlowKey,
    id::NetworkId,
    nat::{L4Range, Source, candidate, mix},
    network::{self, Network},
    port::Port,
    proto::IpProto,
};

use super::{forward, mapping};
use crate::{
    frame::Frame,
    maps::{self, Family},
};

/// BPF_F_CURRENT_NETNS.
const CURRENT_NETNS: u64 = u64::MAX;

/// What flows that are translated get as source behind a port; the default address: no translation.
#[inline(always)]
pub fn address<A: Family>(port: &Port) -> A {
    A::from_ip(if A::IS_V6 { port.own6 } else { port.own4 })
}

/// What a port's flows to outside are to get as source; none: the uplink's address.
#[inline(always)]
pub fn source<A: Family>(port: &Port) -> Option<&Source> {
    let source = &port.sources[A::IS_V6 as usize];
    (!source.addr.is_none()).then_some(source)
}

/// What flows of a port get as source that leave by an uplink; the default address: there is no way out.
#[inline(always)]
pub fn outside_address<A: Family>(from: &Port, uplink: &Port) -> A {
    match source::<A>(from) {
        Some(source) => A::from_ip(source.addr),
        None => address(uplink),
    }
}

/// Whether a network's flows reach an address under their own.
#[inline(always)]
pub fn is_exempt<A: Family>(id: NetworkId, network: &Network, dst: A) -> bool {
    network.has(network::flag::EXEMPTIONS) && maps::is_exempt(id, dst.ip())
}

/// The L4 port (network byte order) of try `n`.
#[inline(always)]
pub fn l4_port<A: Family>(usual: L4Range, source: Option<&Source>, key: &FlowKey<A>, n: u32) -> u16 {
    let l4_ports = (key.sport as u32) << 16 | key.dport as u32;
    let seed = mix(mix(mix(key.src.sum(), key.dst.sum()), l4_ports), key.zone.0 as u32);
    // Echo ids are not kept: the host's own cannot be kept out of the way.
    let own = if key.proto == A::ICMP { 0 } else { u16::from_be(key.sport) };
    let (range, is_kept) = source.map_or((usual, true), |source| source.choice(usual, own));
    candidate(range, if is_kept { own } else { 0 }, seed, n).to_be()
}

/// Whether a reply with this key would belong to the host: to one of its sockets, or to a forward or a mapping.
#[inline(always)]
pub fn is_taken<F: Frame, A: Family>(frame: F, reply: &FlowKey<A>) -> bool {
    forward::owns(reply.proto, reply.dst.ip(), reply.dport)
        || mapping::is_reserved::<F, A>(reply)
        || has_socket(frame, reply)
}

/// Whether a socket of the host would receive a packet with this key.
#[inline(never)]
pub fn has_socket<F: Frame, A: Family>(frame: F, key: &FlowKey<A>) -> bool {
    // SAFETY: a union of integers.
    let mut tuple: bpf_sock_tuple = unsafe { mem::zeroed() };
    let (src, dst) = (key.src.ip().0, key.dst.ip().0);
    // SAFETY: both variants are integers.
    let len = unsafe {
        if A::IS_V6 {
            let v6 = &mut tuple.__bindgen_anon_1.ipv6;
            (v6.saddr, v6.daddr, v6.sport, v6.dport) = (src, dst, key.sport, key.dport);
            size_of_val(v6)
        } else {
            let v4 = &mut tuple.__bindgen_anon_1.ipv4;
            (v4.saddr, v4.daddr, v4.sport, v4.dport) = (src[3], dst[3], key.sport, key.dport);
            size_of_val(v4)
        }
    };
    // SAFETY: the context is this program's; a socket that was found is released at once.
    unsafe {
        let socket = match key.proto {
            IpProto::TCP => bpf_skc_lookup_tcp(frame.context(), &mut tuple, len as u32, CURRENT_NETNS, 0),
            IpProto::UDP => bpf_sk_lookup_udp(frame.context(), &mut tuple, len as u32, CURRENT_NETNS, 0),
            _ => return false,
        };
        if socket.is_null() {
            return false;
        }
        bpf_sk_release(socket.cast());
    }
    true
}
