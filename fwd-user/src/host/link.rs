//! What a netlink message says of an interface.

use std::collections::BTreeMap;

use fwd_common::addr::Mac;
use ipnet::IpNet;
use netlink_packet_core::Nla;
use netlink_packet_route::link::{
    InfoBridge, InfoData, InfoKind, InfoTun, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage,
};

use super::{Device, DeviceKind, driver, hostport};

/// The interface's name.
pub(super) fn name(message: &LinkMessage) -> Option<String> {
    message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    })
}

/// The text that `ip link set alias` gave it.
pub(super) fn alias(message: &LinkMessage) -> Option<&str> {
    message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfAlias(alias) => Some(alias.as_str()),
        _ => None,
    })
}

/// Its Ethernet address.
pub(super) fn mac(message: &LinkMessage) -> Mac {
    let bytes = message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Address(bytes) => Some(bytes.as_slice()),
        _ => None,
    });
    bytes.and_then(|bytes| bytes.try_into().ok()).map_or(Mac::NONE, Mac)
}

/// Its MTU, in bytes.
pub(super) fn mtu(message: &LinkMessage) -> Option<u32> {
    message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Mtu(mtu) => Some(*mtu),
        _ => None,
    })
}

/// The interface with its addresses; `names` are those of all interfaces by ifindex.
pub(super) fn device(message: &LinkMessage, addresses: Vec<IpNet>, names: &BTreeMap<u32, String>) -> Device {
    let kind = kind(message);
    let mut device = Device {
        ifindex: message.header.index,
        native_xdp: has_native_xdp(&kind, names.get(&message.header.index)),
        kind,
        mac: mac(message),
        mtu: 0,
        is_up: message.header.flags.contains(LinkFlags::Up),
        addresses,
        master: None,
        is_own: alias(message).is_some_and(hostport::is_own_alias),
        xdp_refused: None,
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::Mtu(mtu) => device.mtu = *mtu,
            LinkAttribute::Controller(index) => device.master = names.get(index).cloned(),
            _ => {}
        }
    }
    device
}

fn kind(message: &LinkMessage) -> DeviceKind {
    let info = message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::LinkInfo(info) => Some(info.as_slice()),
        _ => None,
    });
    let named = info.unwrap_or_default().iter().find_map(|part| match part {
        LinkInfo::Kind(kind) => Some(kind.clone()),
        _ => None,
    });
    match named {
        Some(InfoKind::Veth) => DeviceKind::Veth,
        Some(InfoKind::Bridge) => bridge_kind(info.unwrap_or_default()),
        Some(InfoKind::Tun) => tun_kind(info.unwrap_or_default()),
        Some(other) if has_ethernet(message) => DeviceKind::Other(other.to_string()),
        Some(other) => DeviceKind::Tunnel(other.to_string()),
        None if message.header.link_layer_type == LinkLayerType::Loopback => {
            DeviceKind::Other("loopback".to_owned())
        }
        None => DeviceKind::Physical,
    }
}

fn has_ethernet(message: &LinkMessage) -> bool {
    matches!(message.header.link_layer_type, LinkLayerType::Ether | LinkLayerType::Loopback)
}

fn bridge_kind(info: &[LinkInfo]) -> DeviceKind {
    let options = info.iter().filter_map(|part| match part {
        LinkInfo::Data(InfoData::Bridge(options)) => Some(options),
        _ => None,
    });
    let vlan_filtering = options.flatten().any(|option| matches!(option, InfoBridge::VlanFiltering(true)));
    DeviceKind::Bridge { vlan_filtering }
}

/// A tap, or a tun that carries packets without an Ethernet header.
fn tun_kind(info: &[LinkInfo]) -> DeviceKind {
    // if_link.h; netlink-packet-route leaves these to its users.
    const IFLA_TUN_TYPE: u16 = 3;
    const IFLA_TUN_VNET_HDR: u16 = 5;
    const IFF_TAP: u8 = 2;
    let data = info.iter().find_map(|part| match part {
        LinkInfo::Data(InfoData::Tun(data)) => Some(data.as_slice()),
        _ => None,
    });
    let byte = |kind: u16| data.unwrap_or_default().iter().find(|part| part.kind() == kind).map(first_byte);
    match byte(IFLA_TUN_TYPE) {
        Some(IFF_TAP) => DeviceKind::Tap { vnet_header: byte(IFLA_TUN_VNET_HDR) != Some(0) },
        _ => DeviceKind::Tunnel("tun".to_owned()),
    }
}

fn first_byte(attribute: &InfoTun) -> u8 {
    let mut bytes = vec![0; attribute.value_len()];
    attribute.emit_value(&mut bytes);
    bytes.first().copied().unwrap_or(0)
}

fn has_native_xdp(kind: &DeviceKind, name: Option<&String>) -> bool {
    match kind {
        DeviceKind::Tap { .. } | DeviceKind::Veth => true,
        DeviceKind::Bridge { .. } | DeviceKind::Tunnel(_) => false,
        DeviceKind::Physical => name.is_some_and(|name| driver::has_native_xdp(name)),
        DeviceKind::Other(kind) => kind == "bond",
    }
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::DefaultNla;

    use super::*;

    fn tun(attributes: &[(u16, u8)]) -> DeviceKind {
        let data = attributes.iter().map(|(kind, byte)| InfoTun::Other(DefaultNla::new(*kind, vec![*byte])));
        let mut message = LinkMessage::default();
        message.attributes = vec![LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Tun),
            LinkInfo::Data(InfoData::Tun(data.collect())),
        ])];
        device(&message, Vec::new(), &BTreeMap::new()).kind
    }

    #[test]
    fn a_tap_says_whether_frames_carry_a_header() {
        assert_eq!(tun(&[(3, 2), (5, 0)]), DeviceKind::Tap { vnet_header: false });
        assert_eq!(tun(&[(3, 2), (5, 1)]), DeviceKind::Tap { vnet_header: true });
        // An older kernel does not tell: assume the worse.
        assert_eq!(tun(&[(3, 2)]), DeviceKind::Tap { vnet_header: true });
        assert_eq!(tun(&[(3, 1), (5, 0)]), DeviceKind::Tunnel("tun".to_owned()));
    }
}
