//! The peers that are programs of the benchmark's own object.

use anyhow::Result;
use aya::Pod;
use aya::maps::HashMap;

use super::Standing;
use crate::traffic::Object;
use crate::traffic::rig::{GATEWAY_MAC, HOST, IN, INSIDE, INSIDE_MAC, OUT, Rig};
use crate::traffic::trip::{PUBLISHED, SERVED, Trip};

const UDP: u16 = 17;
const INSIDE_SLOT: u32 = 0;
const OUTSIDE_SLOT: u32 = 1;

/// As in the program; addresses and L4 ports as they stand in packets.
#[repr(C)]
#[derive(Clone, Copy)]
struct ForwardKey {
    dst: [u8; 4],
    dport: [u8; 2],
    proto: u16,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Forward {
    dst: [u8; 4],
    dport: [u8; 2],
    inside: [u8; 6],
    inside_gateway: [u8; 6],
    _pad: u16,
}

// SAFETY: integers and byte arrays without padding between them.
unsafe impl Pod for ForwardKey {}
// SAFETY: as above.
unsafe impl Pod for Forward {}

/// XDP that redirects all that comes in.
pub fn redirect(rig: &Rig, _: u32) -> Result<Standing> {
    let out = rig.host.ifindex(OUT);
    let object = rig.host.inside(|| -> Result<Object> {
        let mut object = Object::load(1)?;
        object.set_device("OUT", 0, out)?;
        object.attach_xdp("redirect", IN)?;
        Ok(object)
    })?;
    Ok(Standing::new(Trip::Unchanged, object))
}

/// TC that redirects all that comes in.
pub fn redirect_skb(rig: &Rig, _: u32) -> Result<Standing> {
    Ok(Standing::new(Trip::Unchanged, tc(rig, IN, OUT)?))
}

/// The same for both directions, so that sockets can talk.
pub fn redirect_both_ways(rig: &Rig, _: u32) -> Result<Standing> {
    rig.join();
    Ok(Standing::new(Trip::Bridge, [tc(rig, IN, OUT)?, tc(rig, OUT, IN)?]))
}

fn tc(rig: &Rig, from: &str, to: &str) -> Result<Object> {
    let to = rig.host.ifindex(to);
    rig.host.inside(|| {
        let mut object = Object::load(1)?;
        object.array("OUT_INDEX")?.set(0, to, 0)?;
        object.attach_ingress("redirect_skb", from)?;
        Ok(object)
    })
}

/// XDP that drops all that comes in.
pub fn discard(rig: &Rig, _: u32) -> Result<Standing> {
    let object = rig.host.inside(|| -> Result<Object> {
        let mut object = Object::load(1)?;
        object.attach_xdp("discard", IN)?;
        Ok(object)
    })?;
    Ok(Standing::new(Trip::Unchanged, object))
}

/// The same element under an XDP program that passes all: a veth copies each frame for it.
///
/// # Errors
/// If the program cannot be attached.
pub fn copied(rig: &Rig, standing: Standing) -> Result<Standing> {
    let object = rig.host.inside(|| -> Result<Object> {
        let mut object = Object::load(1)?;
        object.attach_xdp("pass", IN)?;
        Ok(object)
    })?;
    Ok(standing.beside(object))
}

/// The minimal forward.
pub fn minimal(rig: &Rig, flows: u32) -> Result<Standing> {
    let (outside, inside) = (rig.host.ifindex(IN), rig.host.ifindex(OUT));
    let object = rig.host.inside(|| -> Result<Object> {
        // Two directions, and as sparse as fwd's own table.
        let mut object = Object::load(flows * 2)?;
        object.set_device("DEVICES", INSIDE_SLOT, inside)?;
        object.set_device("DEVICES", OUTSIDE_SLOT, outside)?;
        let mut forwards: HashMap<_, ForwardKey, Forward> = object.map("FORWARDS")?.try_into()?;
        let key = ForwardKey { dst: HOST.0.octets(), dport: PUBLISHED.to_be_bytes(), proto: UDP };
        let to = Forward {
            dst: INSIDE.0.octets(),
            dport: SERVED.to_be_bytes(),
            inside: INSIDE_MAC.0,
            inside_gateway: GATEWAY_MAC.0,
            _pad: 0,
        };
        forwards.insert(key, to, 0)?;
        object.attach_xdp("dnat", IN)?;
        object.attach_xdp("dnat", OUT)?;
        Ok(object)
    })?;
    Ok(Standing::new(Trip::Forward, object))
}
