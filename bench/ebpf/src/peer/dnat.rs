//! The minimal forward of an outside address and L4 port to an inside one, client address kept: what a
//! packet of a known flow cannot do without.
//!
//! One look-up of the 5-tuple; MACs, TTL, addresses, L4 ports and both checksums; redirect. A flow is admitted
//! by its first packet, both directions at once, if a forward is there for it. No policy, no accounting, no
//! timeouts, no ICMP, IPv4 only: that is why it is the mark to be measured by, and not a product.

use aya_ebpf::{
    macros::map,
    maps::{DevMap, HashMap},
    programs::XdpContext,
};

use crate::frame::{ETHER, IPV4, PROTO_TCP, PROTO_UDP, TCP, TYPE_IPV4, UDP, Window, fold, halves};

const L4: usize = ETHER + IPV4;

/// A packet's 5-tuple; addresses and L4 ports as they stand in the packet.
#[repr(C)]
#[derive(Clone, Copy)]
struct FlowKey {
    src: u32,
    dst: u32,
    sport: u16,
    dport: u16,
    proto: u32,
}

/// What becomes of a packet of one direction.
#[repr(C)]
#[derive(Clone, Copy)]
struct Flow {
    src: u32,
    dst: u32,
    sport: u16,
    dport: u16,
    /// Differences of the checksums, from old to new.
    addresses: u16,
    l4_ports: u16,
    frame_dst: [u8; 6],
    frame_src: [u8; 6],
    /// Row of [`DEVICES`].
    egress: u32,
}

/// What is published outside.
#[repr(C)]
#[derive(Clone, Copy)]
struct ForwardKey {
    dst: u32,
    dport: u16,
    proto: u16,
}

/// Where it leads.
#[repr(C)]
#[derive(Clone, Copy)]
struct Forward {
    dst: u32,
    dport: u16,
    /// MACs of the inside machine, and of the device towards it.
    inside: [u8; 6],
    inside_gateway: [u8; 6],
    _pad: u16,
}

/// Sized when it is loaded.
#[map]
static FLOWS: HashMap<FlowKey, Flow> = HashMap::with_max_entries(1024, 0);
#[map]
static FORWARDS: HashMap<ForwardKey, Forward> = HashMap::with_max_entries(64, 0);
/// 0: inside, 1: outside.
#[map]
static DEVICES: DevMap = DevMap::with_max_entries(2, 0);

const INSIDE: u32 = 0;
const OUTSIDE: u32 = 1;

/// None: nothing that is forwarded.
#[inline(always)]
pub fn run(ctx: &XdpContext) -> Option<u32> {
    let ether = Window::<ETHER>::at(ctx, 0)?;
    let ip = Window::<IPV4>::at(ctx, ETHER)?;
    let is_plain = ip.get::<u8>(0) == 0x45 && ip.get::<u16>(6) & 0x3fff_u16.to_be() == 0;
    if ether.get::<u16>(12) != TYPE_IPV4.to_be() || !is_plain || ip.get::<u8>(8) <= 1 {
        return None;
    }
    let proto: u8 = ip.get(9);
    if proto != PROTO_TCP && proto != PROTO_UDP {
        return None;
    }
    let l4 = Window::<UDP>::at(ctx, L4)?;
    let key =
        FlowKey { src: ip.get(12), dst: ip.get(16), sport: l4.get(0), dport: l4.get(2), proto: proto as u32 };
    // SAFETY: rows are written before they can be found, and never changed.
    let flow = match unsafe { FLOWS.get(&key) } {
        Some(flow) => flow,
        None => admit(ether, &key)?,
    };
    ether.set(0, flow.frame_dst);
    ether.set(6, flow.frame_src);
    ip.set(8, ip.get::<u8>(8) - 1);
    ip.set(10, adjusted(ip.get(10), flow.addresses as u32 + !0x0100_u16.to_be() as u32));
    ip.set(12, flow.src);
    ip.set(16, flow.dst);
    l4.set(0, flow.sport);
    l4.set(2, flow.dport);
    let difference = flow.addresses as u32 + flow.l4_ports as u32;
    if proto == PROTO_TCP {
        let w = Window::<TCP>::at(ctx, L4)?;
        w.set(16, adjusted(w.get(16), difference));
    } else if l4.get::<u16>(6) != 0 {
        let checksum = adjusted(l4.get(6), difference);
        l4.set(6, if checksum == 0 { 0xffff } else { checksum });
    }
    Some(DEVICES.redirect(flow.egress, 0).unwrap_or_else(|action| action))
}

/// Both directions of a flow to something that is published.
#[inline(never)]
fn admit(ether: Window<ETHER>, key: &FlowKey) -> Option<&'static Flow> {
    let published = ForwardKey { dst: key.dst, dport: key.dport, proto: key.proto as u16 };
    // SAFETY: rows do not change while packets come.
    let to = unsafe { FORWARDS.get(&published) }?;
    let flow = Flow {
        src: key.src,
        dst: to.dst,
        sport: key.sport,
        dport: to.dport,
        addresses: address_difference(key.dst, to.dst),
        l4_ports: fold(!key.dport as u32 + to.dport as u32),
        frame_dst: to.inside,
        frame_src: to.inside_gateway,
        egress: INSIDE,
    };
    let reply_key =
        FlowKey { src: to.dst, dst: key.src, sport: to.dport, dport: key.sport, proto: key.proto };
    let reply = Flow {
        src: key.dst,
        dst: key.src,
        sport: key.dport,
        dport: key.sport,
        addresses: address_difference(to.dst, key.dst),
        l4_ports: fold(!to.dport as u32 + key.dport as u32),
        frame_dst: ether.get(6),
        frame_src: ether.get(0),
        egress: OUTSIDE,
    };
    FLOWS.insert(&reply_key, &reply, 0).ok()?;
    FLOWS.insert(key, &flow, 0).ok()?;
    // SAFETY: as in `run`.
    unsafe { FLOWS.get(key) }
}

#[inline(always)]
fn address_difference(old: u32, new: u32) -> u16 {
    fold(halves(!old) + halves(new))
}

/// RFC 1624, eqn. 3.
#[inline(always)]
fn adjusted(checksum: u16, difference: u32) -> u16 {
    !fold(!checksum as u32 + difference)
}
