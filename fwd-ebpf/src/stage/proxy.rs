//! Neighbor proxy (RFC 4861, 7.2.8): on an uplink's link fwd answers for the counterparts of addresses that guests have,
//! where their outside prefix lies on that link. The host has none of them, so its stack is silent.

use fwd_common::{
    addr::{Address, Mac, V6},
    id::NetworkId,
    proto::{IpProto, icmpv6},
};

use super::{answer, prefix};
use crate::{
    frame::{Frame, Hook},
    maps::{self, Family},
    parse::L3,
    report::Ingress,
    rewrite::{address_difference, adjusted, word_difference},
};

/// A solicitation with the one option that it needs for its answer to be sent (RFC 4861, 4.3).
const MESSAGE: usize = L3 + 40;
const MESSAGE_LEN: usize = 32;
/// Type and length of the option: the MAC of the source, of the target.
const SOURCE_MAC: u16 = u16::from_ne_bytes([1, 1]);
const TARGET_MAC: u16 = u16::from_ne_bytes([2, 1]);
/// It was asked for. Not set: that it overrides what somebody else says, and that it comes from a router.
const SOLICITED: u16 = 0x4000_u16.to_be();
const NEXT_HEADER_AND_HOPS: u16 = u16::from_ne_bytes([IpProto::ICMPV6.0, 255]);
const SOLICITATION: u16 = u16::from_ne_bytes([icmpv6::NEIGHBOR_SOLICITATION, 0]);
const ADVERTISEMENT: u16 = u16::from_ne_bytes([icmpv6::NEIGHBOR_ADVERTISEMENT, 0]);

/// Makes a frame that came in on an uplink the answer to itself, if it asks for an address that fwd answers for;
/// whether it is now one. XDP leaves all of them to TCX, as the host's.
#[inline(always)]
pub fn answers<F: Frame, A: Family>(frame: F, ingress: &Ingress) -> bool {
    A::IS_V6 && F::HOOK == Hook::Skb && F::IS_INGRESS && advertise(frame, ingress)
}

#[inline(never)]
fn advertise<F: Frame>(frame: F, ingress: &Ingress) -> bool {
    frame.pull(MESSAGE + MESSAGE_LEN);
    let (Some(l3), Some(message)) = (frame.window::<40>(L3), frame.window::<MESSAGE_LEN>(MESSAGE)) else {
        return false;
    };
    let is_plain = l3.get::<u16>(4) == (MESSAGE_LEN as u16).to_be()
        && l3.get::<u16>(6) == NEXT_HEADER_AND_HOPS
        && message.get::<u16>(0) == SOLICITATION
        && message.get::<u16>(24) == SOURCE_MAC;
    let (asker, asked): (V6, V6) = (l3.get(8), l3.get(24));
    // A guest's own probe for a duplicate has no source, and is not answered.
    let is_answerable = is_plain && asker != V6::default() && !asker.is_nobody();
    if !is_answerable || !is_answered_for(&message.get(8)) || !answer::take(ingress.id) {
        return false;
    }
    let target: V6 = message.get(8);
    l3.set(8, target);
    l3.set(24, asker);
    let mut difference = address_difference(asked, target)
        + word_difference(SOLICITATION, ADVERTISEMENT)
        + word_difference(message.get(4), SOLICITED)
        + word_difference(SOURCE_MAC, TARGET_MAC);
    let (old, own): ([u16; 3], Mac) = (message.get(26), ingress.port.mac);
    message.set(26, own);
    let new: [u16; 3] = message.get(26);
    difference += word_difference(old[0], new[0]) + word_difference(old[1], new[1]);
    difference += word_difference(old[2], new[2]);
    message.set(0, ADVERTISEMENT);
    message.set(2, adjusted(message.get(2), difference));
    message.set(4, SOLICITED);
    message.set(24, TARGET_MAC);
    let Some(ether) = frame.window::<14>(0) else { return false };
    let back: Mac = ether.get(6);
    ether.set(0, back);
    ether.set(6, own);
    true
}

/// Whether an address is the counterpart of one that somebody has, and none of the host's own.
#[inline(always)]
fn is_answered_for(target: &V6) -> bool {
    let Some(outside) = maps::prefix(NetworkId(0), target.ip()) else { return false };
    prefix::is_somebodys(outside, *target) && !maps::is_host_address(NetworkId(0), target.ip())
}
