//! What a netlink message says of an interface.

use std::collections::BTreeMap;

use fwd_common::addr::Mac;
use ipnet::IpNet;
use netlink_packet_core::Nla;
use netlink_packet_route::link::{
    InfoBridge, InfoData, InfoKind, InfoTun, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage,
};

use super::{Device, DeviceKind, driver, hostport, inventory::LOOPBACK};

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
        Some(InfoKind::Tun) => tun_kind(message, info.unwrap_or_default()),
        Some(other) if has_ethernet(message) => DeviceKind::Other(other.to_string()),
        Some(other) => bare_kind(message, other.to_string()),
        None if message.header.link_layer_type == LinkLayerType::Loopback => {
            DeviceKind::Other(LOOPBACK.to_owned())
        }
        None if has_ethernet(message) => DeviceKind::Physical,
        None => bare_kind(message, format!("{:?}", message.header.link_layer_type).to_lowercase()),
    }
}

fn has_ethernet(message: &LinkMessage) -> bool {
    matches!(message.header.link_layer_type, LinkLayerType::Ether | LinkLayerType::Loopback)
}

/// What has no Ethernet header. A redirect puts a packet into what the kernel's `dev_is_mac_header_xmit` knows to have
/// none; and where a tunnel has no other end of its own, it would need a route, which a redirected packet has not.
fn bare_kind(message: &LinkMessage, kind: String) -> DeviceKind {
    let flags = message.header.flags;
    let has_one_end = flags.contains(LinkFlags::Pointopoint) && !flags.contains(LinkFlags::Broadcast);
    match message.header.link_layer_type {
        LinkLayerType::None | LinkLayerType::Rawip => DeviceKind::Tunnel(kind),
        LinkLayerType::Tunnel
        | LinkLayerType::Tunnel6
        | LinkLayerType::Sit
        | LinkLayerType::Ipgre
        | LinkLayerType::Ip6gre
            if has_one_end =>
        {
            DeviceKind::Tunnel(kind)
        }
        _ => DeviceKind::Unserved(kind),
    }
}

fn bridge_kind(info: &[LinkInfo]) -> DeviceKind {
    let options = info.iter().filter_map(|part| match part {
        LinkInfo::Data(InfoData::Bridge(options)) => Some(options),
        _ => None,
    });
    let vlan_filtering = options.flatten().any(|option| matches!(option, InfoBridge::VlanFiltering(true)));
    DeviceKind::Bridge { vlan_filtering }
}

/// A tap, or a tun. The link-layer type of either can be set to what it does not carry.
fn tun_kind(message: &LinkMessage, info: &[LinkInfo]) -> DeviceKind {
    // if_link.h; netlink-packet-route leaves these to its users.
    const IFLA_TUN_TYPE: u16 = 3;
    const IFLA_TUN_VNET_HDR: u16 = 5;
    const IFF_TAP: u8 = 2;
    let data = info.iter().find_map(|part| match part {
        LinkInfo::Data(InfoData::Tun(data)) => Some(data.as_slice()),
        _ => None,
    });
    let byte = |kind: u16| data.unwrap_or_default().iter().find(|part| part.kind() == kind).map(first_byte);
    match (byte(IFLA_TUN_TYPE) == Some(IFF_TAP), has_ethernet(message)) {
        (true, true) => DeviceKind::Tap { vnet_header: byte(IFLA_TUN_VNET_HDR) != Some(0) },
        (false, false) => bare_kind(message, "tun".to_owned()),
        (true, false) | (false, true) => DeviceKind::Unserved("tun".to_owned()),
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
        DeviceKind::Bridge { .. } | DeviceKind::Tunnel(_) | DeviceKind::Unserved(_) => false,
        DeviceKind::Physical => name.is_some_and(|name| driver::has_native_xdp(name)),
        DeviceKind::Other(kind) => kind == "bond",
    }
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::DefaultNla;

    use super::*;

    fn message(link_layer_type: LinkLayerType, info: Vec<LinkInfo>) -> LinkMessage {
        let mut message = LinkMessage::default();
        message.header.link_layer_type = link_layer_type;
        message.attributes = vec![LinkAttribute::LinkInfo(info)];
        message
    }

    fn tun(link_layer_type: LinkLayerType, attributes: &[(u16, u8)]) -> DeviceKind {
        let data = attributes.iter().map(|(kind, byte)| InfoTun::Other(DefaultNla::new(*kind, vec![*byte])));
        let info = vec![LinkInfo::Kind(InfoKind::Tun), LinkInfo::Data(InfoData::Tun(data.collect()))];
        kind(&message(link_layer_type, info))
    }

    #[test]
    fn a_tap_says_whether_frames_carry_a_header() {
        use LinkLayerType::{Ether, None};
        assert_eq!(tun(Ether, &[(3, 2), (5, 0)]), DeviceKind::Tap { vnet_header: false });
        assert_eq!(tun(Ether, &[(3, 2), (5, 1)]), DeviceKind::Tap { vnet_header: true });
        // An older kernel does not tell: assume the worse.
        assert_eq!(tun(Ether, &[(3, 2)]), DeviceKind::Tap { vnet_header: true });
        assert_eq!(tun(None, &[(3, 1), (5, 0)]), DeviceKind::Tunnel("tun".to_owned()));
        assert_eq!(tun(Ether, &[(3, 1), (5, 0)]), DeviceKind::Unserved("tun".to_owned()));
        assert_eq!(tun(None, &[(3, 2), (5, 0)]), DeviceKind::Unserved("tun".to_owned()));
    }

    #[test]
    fn a_tunnel_has_one_other_end_or_finds_it_by_the_packet() {
        use LinkLayerType as Type;
        let (one, group) = (LinkFlags::Pointopoint, LinkFlags::Pointopoint | LinkFlags::Broadcast);
        let rows = [
            (InfoKind::Wireguard, Type::None, LinkFlags::empty(), true),
            (InfoKind::Xfrm, Type::None, LinkFlags::empty(), true),
            (InfoKind::IpIp, Type::Tunnel, one, true),
            (InfoKind::IpIp, Type::Tunnel, LinkFlags::empty(), false),
            (InfoKind::SitTun, Type::Sit, LinkFlags::empty(), false),
            (InfoKind::GreTun, Type::Ipgre, one, true),
            (InfoKind::GreTun, Type::Ipgre, group, false),
            (InfoKind::Other("ppp".to_owned()), Type::Ppp, one, false),
            (InfoKind::Ipoib, Type::Infiniband, LinkFlags::empty(), false),
        ];
        for (named, link_layer_type, flags, is_served) in rows {
            let mut message = message(link_layer_type, vec![LinkInfo::Kind(named.clone())]);
            message.header.flags = flags;
            let name = named.to_string();
            let wanted = if is_served { DeviceKind::Tunnel(name) } else { DeviceKind::Unserved(name) };
            assert_eq!(kind(&message), wanted);
        }
    }
}
