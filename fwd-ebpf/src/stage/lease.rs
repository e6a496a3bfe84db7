//! DHCP of a bridged network, whose servers are outside (DHCP snooping): what they say to clients passes without
//! rules and is of no flow, so that each message is seen; what they give to a guest is noted, and user space binds
//! the guest to it.

use core::ffi::c_void;

use aya_ebpf::helpers::{bpf_loop, bpf_skb_load_bytes};
use fwd_common::{
    addr::{Address, Ip, Mac, V4},
    dhcp::{self, Lease, at, message, option},
    event::{Event, EventKind},
    fdb::FdbKey,
    id::{NetworkId, PortId},
    network::Mode,
    port::PortKind,
    proto::IpProto,
};

use super::fdb;
use crate::{
    chain,
    frame::{Frame, Hook, opaque},
    maps::{self, Family},
    parse::Packet,
    report::{self, Ingress},
};

/// Of a UDP header.
const UDP: usize = 8;
/// Looked at are so many options; servers send some fifteen.
const MAX_OPTIONS: u32 = 64;

/// Whether a server says something to a client of a bridged network. Guests that serve were dropped before.
#[inline(always)]
pub fn is_from_server<A: Family>(ingress: &Ingress, packet: &Packet<A>) -> bool {
    let (key, family) = (&packet.key, A::IS_V6 as usize);
    key.proto == IpProto::UDP
        && (key.sport, key.dport) == (dhcp::SERVERS[family], dhcp::CLIENTS[family])
        && maps::network(ingress.port.network).is_ok_and(|network| network.is(Mode::Bridge))
}

/// Notes what a server's message gives to a guest, or takes; XDP leaves all of them to TCX.
#[inline(always)]
pub fn note<F: Frame, A: Family>(frame: F, ingress: &Ingress, packet: &Packet<A>) {
    // A later fragment has no header that the first has not shown.
    if F::HOOK == Hook::Skb && !A::IS_V6 && packet.l4 != 0 {
        read(frame, ingress.port.network, packet.l4);
    }
}

/// A message's options, while they are walked.
struct Options {
    skb: *mut c_void,
    at: usize,
    message: u8,
    seconds: u32,
}

#[inline(never)]
fn read<F: Frame>(frame: F, network: NetworkId, l4: usize) {
    let body = (opaque(l4) & chain::FARTHEST) + UDP;
    frame.pull(body + at::OPTIONS);
    let Some(w) = frame.window::<{ at::OPTIONS }>(body) else { return };
    let (addr, mac): (V4, Mac) = (w.get(at::YIADDR), w.get(at::CHADDR));
    if w.get::<u32>(at::COOKIE) != dhcp::COOKIE {
        return;
    }
    let mut options = Options { skb: frame.context(), at: body + at::OPTIONS, message: 0, seconds: 0 };
    // SAFETY: the callback has the signature that the helper calls, and `options` outlives the call.
    unsafe { bpf_loop(MAX_OPTIONS, next_option as *mut c_void, (&raw mut options).cast(), 0) };
    let key = FdbKey { network, mac };
    match options.message {
        message::ACK if addr != V4::default() && options.seconds != 0 => give(&key, addr, options.seconds),
        // SAFETY: deletes a row by its key.
        message::NAK => _ = maps::LEASES.remove(&key),
        _ => {}
    }
}

/// Reads one option; 1: there is none any more.
extern "C" fn next_option(_: u32, options: *mut Options) -> i64 {
    // SAFETY: `read` passes its own.
    let options = unsafe { &mut *options };
    let Some([kind, len, first]) = load::<3>(options.skb, options.at) else { return 1 };
    if kind == option::END {
        return 1;
    }
    if kind == option::MESSAGE_TYPE {
        options.message = first;
    }
    if kind == option::LEASE_TIME {
        let Some(seconds) = load::<4>(options.skb, options.at + 2) else { return 1 };
        options.seconds = u32::from_be_bytes(seconds);
    }
    options.at += if kind == option::PAD { 1 } else { 2 + len as usize };
    0
}

#[inline(always)]
fn load<const N: usize>(skb: *mut c_void, offset: usize) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    // SAFETY: the context outlives the program's run, and `bytes` has room.
    let code = unsafe { bpf_skb_load_bytes(skb, offset as u32, bytes.as_mut_ptr().cast(), N as u32) };
    if code == 0 { Some(bytes) } else { None }
}

/// Notes that a guest has an address. Of others behind the bridge nothing is noted.
#[inline(always)]
fn give(key: &FdbKey, addr: V4, seconds: u32) {
    let port = fdb::seen(key.network, key.mac);
    if !maps::port(port).is_some_and(|port| port.is(PortKind::Vm)) {
        return;
    }
    // SAFETY: rows are replaced whole.
    let is_known = unsafe { maps::LEASES.get(key) }.is_some_and(|old| old.addr == addr);
    let lease = Lease { given_ns: report::now_ns(), addr, seconds };
    if maps::LEASES.insert(key, &lease, 0).is_ok() && !is_known {
        tell(port, key.mac, addr.ip());
    }
}

#[inline(always)]
fn tell(port: PortId, mac: Mac, addr: Ip) {
    report::event(|| Event {
        port,
        kind: EventKind::Learnt as u8,
        src: addr,
        frame_src: mac,
        ..Event::default()
    });
}
