//! A port's row: what the datapath knows of one attachment. Indexed by [`PortId`](crate::id::PortId).

use crate::{
    addr::{Ip, Mac},
    id::{Identity, NetworkId, PolicyId, PortId, Zone},
    nat::Source,
};

/// Most ports of one host, uplinks, host ports and [`LOOPBACK`] included.
pub const MAX_PORTS: u32 = 4096;

/// `lo`, where processes of this host send to forwards of its own addresses. No other port has this number.
pub const LOOPBACK: PortId = PortId(MAX_PORTS as u16 - 1);

/// The first number of the ports that devices of a pattern are; those that the document names have lower ones.
pub const FIRST_BY_PATTERN: PortId = PortId(MAX_PORTS as u16 / 2);

/// A [`Port::mac_limit`] that is none.
pub const NO_MAC_LIMIT: u16 = u16::MAX;

/// What a port is.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortKind {
    None = 0,
    Vm = 1,
    /// The datapath's end of a network's veth towards the host.
    Host = 2,
    Uplink = 3,
}

/// Bits of [`Port::flags`].
pub mod flag {
    /// XDP runs here; TCX sees only what XDP passed up.
    pub const XDP: u16 = 1;
    /// XDP on other ports may redirect into this device.
    pub const XDP_TARGET: u16 = 2;
    /// No source guard.
    pub const TRUSTED: u16 = 4;
    /// The first source MAC seen becomes the port's.
    pub const LEARN_MAC: u16 = 8;
    /// Source addresses seen become the port's, unless another port has them.
    pub const LEARN_ADDRESSES: u16 = 16;
    /// Uplink that is part of a bridge network; `network` names it.
    pub const BRIDGED: u16 = 32;
    /// The device runs fwd's egress program: frames sent there carry the mark.
    pub const MARKED: u16 = 64;
    /// No frames between this port and others that have this bit.
    pub const ISOLATED: u16 = 128;
    /// `ALLOWED_SOURCES` has rows of this port.
    pub const ALLOWED_SOURCES: u16 = 256;
    /// Frames to it are put into its device's ingress: the host behind a bridged uplink. Its `ifindex` is
    /// the uplink's.
    pub const INTO: u16 = 512;
    /// IPv4 addresses come from DHCP, and are not learnt.
    pub const LEASED: u16 = 1024;
    /// Uplink whose packets have no Ethernet header: every next hop is [`Mac::OF_TUNNEL`](crate::addr::Mac::OF_TUNNEL).
    pub const TUNNEL: u16 = 2048;
}

/// The port as rules see it. Two copies are kept; the epoch's parity says which one holds, so an edit of
/// many ports binds with one write.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct View {
    pub policy: PolicyId,
    pub identity: Identity,
}

/// A port's row.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Port {
    /// Its device; 0 while there is none.
    pub ifindex: u32,
    /// Grows when anything that a flow of this port depends on was changed; never reset.
    pub generation: u32,
    /// [`PortKind`] as a number.
    pub kind: u8,
    pub _pad: u8,
    /// Bits of [`flag`].
    pub flags: u16,
    pub network: NetworkId,
    pub zone: Zone,
    pub views: [View; 2],
    /// The guest's MAC, the host port's, or the uplink's; none while it is to be learnt.
    pub mac: Mac,
    /// The source MAC of frames routed out of this port, and the destination MAC of frames to be routed
    /// that come in by it.
    pub gateway_mac: Mac,
    /// Most flows and most half-open flows that this port may own.
    pub flow_limit: u32,
    pub half_open_limit: u32,
    /// Most MAC addresses that this port may have in the FDB, and most addresses it may learn;
    /// [`NO_MAC_LIMIT`]: as many as fit.
    pub mac_limit: u16,
    /// Bytes, without the Ethernet header.
    pub mtu: u16,
    /// This host's address there: the gateway's, which flows of VMs to forwards get as source where their own
    /// would not do, or the uplink's, which masqueraded flows get. None: no translation in that family, and
    /// answers go in the name of the destination.
    pub own4: Ip,
    pub own6: Ip,
    /// What flows of a VM to outside get as source: IPv4, IPv6.
    pub sources: [Source; 2],
}

/// What a port holds at the moment; changed by atomics.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortUse {
    pub flows: u32,
    pub half_open: u32,
    /// FDB entries, and learnt addresses.
    pub macs: u32,
    pub addresses: u32,
}

impl Port {
    #[inline(always)]
    pub const fn has(&self, bits: u16) -> bool {
        self.flags & bits != 0
    }

    #[inline(always)]
    pub const fn is(&self, kind: PortKind) -> bool {
        self.kind == kind as u8
    }

    /// Whether every frame from it must have [`Port::mac`] as its source.
    #[inline(always)]
    pub const fn pins_mac(&self) -> bool {
        self.is(PortKind::Vm) && self.flags & (flag::TRUSTED | flag::LEARN_MAC) == 0
    }

    /// How rules see the port in an epoch.
    #[inline(always)]
    pub const fn view(&self, epoch: u32) -> View {
        if epoch & 1 == 0 { self.views[0] } else { self.views[1] }
    }
}
