//! Interfaces that lie on a Linux bridge or bond: whether a port or an uplink may take them from there.

use crate::host::inventory::{Device, DeviceKind, Inventory};

/// What an interface belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    device: String,
    master: String,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A bridge that goes on without it, and takes it back as it was.
    Bridge,
    /// A bridge on which this host has its addresses, of an uplink: it would be cut off.
    HostsBridge,
    /// A bridge whose ports have VLANs.
    VlanBridge,
    Other,
}

impl Hold {
    /// What holds a VM port's or an uplink's interface; `None`: nothing does.
    pub fn of(inventory: &Inventory, device: &str, is_uplink: bool) -> Option<Self> {
        let master = inventory.devices.get(device)?.master.clone()?;
        let kind = match inventory.devices.get(&master) {
            Some(Device { kind: DeviceKind::Bridge { vlan_filtering: true }, .. }) => Kind::VlanBridge,
            Some(found) if !matches!(found.kind, DeviceKind::Bridge { .. }) => Kind::Other,
            Some(found) if is_uplink && found.has_outside_address() => Kind::HostsBridge,
            Some(_) => Kind::Bridge,
            None => Kind::Other,
        };
        Some(Self { device: device.to_owned(), master, kind })
    }

    /// Whether the interface may be taken from there.
    pub fn yields(&self) -> bool {
        self.kind == Kind::Bridge
    }

    /// A clause without its article: "interface tap0 belongs to virbr0".
    pub fn clause(&self) -> String {
        let Self { device, master, kind } = self;
        let why = match kind {
            Kind::Bridge | Kind::Other => "",
            Kind::HostsBridge => ", on which this host has its addresses",
            Kind::VlanBridge => ", which filters VLANs",
        };
        format!("interface {device} belongs to {master}{why}")
    }

    /// A sentence.
    pub fn hint(&self) -> String {
        let Self { device, master, kind } = self;
        match kind {
            Kind::Bridge => format!(
                "Take it with --take-over, and fwd gives it back; or release it: ip link set {device} nomaster; or use \
                 {master} itself as the uplink."
            ),
            Kind::VlanBridge => format!(
                "Release it: ip link set {device} nomaster; its VLANs there go with that, so fwd does not do it."
            ),
            Kind::HostsBridge | Kind::Other => format!("Use {master} itself as the uplink."),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::tests::host;

    #[test]
    fn what_would_be_lost_with_a_bridges_port_keeps_it_there() {
        let bridge = |vlan_filtering| DeviceKind::Bridge { vlan_filtering };
        // The master's kind and addresses; whether a VM port and an uplink may be taken from it.
        let rows = [
            (bridge(false), "", true, true),
            (bridge(false), "fe80::1/64", true, true),
            (bridge(false), "192.0.2.1/24", true, false),
            (bridge(true), "", false, false),
            (DeviceKind::Other("bond".into()), "", false, false),
        ];
        for (kind, addr, port, uplink) in rows {
            let mut host = host();
            let addresses = addr.parse().into_iter().collect();
            let master = Device { kind, addresses, ..host.devices["tap3"].clone() };
            host.devices.insert("m".to_owned(), master);
            for name in ["tap1", "eth1"] {
                host.devices.get_mut(name).expect("a device").master = Some("m".to_owned());
            }
            let yields = |name, is_uplink| Hold::of(&host, name, is_uplink).expect("it is held").yields();
            let master = &host.devices["m"];
            assert_eq!((yields("tap1", false), yields("eth1", true)), (port, uplink), "{master:?}");
        }
        assert_eq!(Hold::of(&host(), "tap1", false), None);
    }
}
