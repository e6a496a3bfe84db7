//! Which hook serves a device, and why. XDP sees frames first, but cannot carry what a guest or a stack
//! left to the NIC (GSO, partial checksums); so it serves devices on which only finished frames appear.

use crate::{
    api::spec::Hook,
    host::inventory::{Device, DeviceKind},
};

/// A hook with its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    /// Never `Auto`.
    pub hook: Hook,
    pub reason: String,
    /// What does not work well, and what to do: of a forced choice.
    pub degraded: Option<String>,
}

/// The hook for a device, where `asked` was asked for.
pub(super) fn choose(device: &Device, asked: Hook) -> Choice {
    match asked {
        Hook::Auto => {
            let (hook, reason) = best(device);
            Choice { hook, reason, degraded: None }
        }
        Hook::Tcx => Choice { hook: Hook::Tcx, reason: "It was asked for.".to_owned(), degraded: None },
        Hook::Xdp => forced_xdp(device),
    }
}

/// What `auto` chooses: the fitting hook, unless the driver has refused it already.
fn best(device: &Device) -> (Hook, String) {
    match (fitting(device), &device.xdp_refused) {
        ((Hook::Xdp, _), Some(why)) => (Hook::Tcx, format!("The driver refused XDP: {why}.")),
        (fitting, _) => fitting,
    }
}

fn fitting(device: &Device) -> (Hook, String) {
    let (hook, why) = match &device.kind {
        DeviceKind::Tap { vnet_header: false } => {
            (Hook::Xdp, "The tap has no vnet header, so its guest sends finished frames.")
        }
        DeviceKind::Tap { vnet_header: true } => (
            Hook::Tcx,
            "The tap has a vnet header, so its guest may send GSO frames, which XDP cannot carry.",
        ),
        DeviceKind::Veth => (Hook::Tcx, "A veth carries GSO frames, which XDP cannot."),
        DeviceKind::Physical if device.native_xdp => (Hook::Xdp, "The NIC's driver runs XDP natively."),
        DeviceKind::Physical => (Hook::Tcx, "The NIC's driver does not run XDP natively."),
        DeviceKind::Bridge { .. } => (Hook::Tcx, "A Linux bridge does not run XDP natively."),
        DeviceKind::Tunnel(kind) => {
            let why = format!("Packets of {kind} have no Ethernet header, which XDP needs.");
            return (Hook::Tcx, why);
        }
        DeviceKind::Other(kind) | DeviceKind::Unserved(kind) => {
            return (Hook::Tcx, format!("A device of kind {kind} is served by TCX."));
        }
    };
    (hook, why.to_owned())
}

fn forced_xdp(device: &Device) -> Choice {
    let asked = "It was asked for.".to_owned();
    let degraded = match &device.kind {
        _ if fitting(device).0 == Hook::Xdp => None,
        DeviceKind::Tap { .. } => Some(
            "TCP stalls unless the guest's offloads are off: start it with csum=off, or use --hook auto.",
        ),
        DeviceKind::Veth => Some(
            "TCP stalls unless the other end's offloads are off: ethtool -K DEVICE tx off there, or use \
             --hook auto.",
        ),
        _ if !device.native_xdp => {
            let why = "The driver does not run XDP natively, so TCX serves it: use --hook auto.";
            return Choice {
                hook: Hook::Tcx,
                reason: "XDP was asked for, and the driver does not run it natively.".to_owned(),
                degraded: Some(why.to_owned()),
            };
        }
        _ => None,
    };
    Choice { hook: Hook::Xdp, reason: asked, degraded: degraded.map(str::to_owned) }
}

/// Whether XDP on other ports may redirect into a device that `hook` serves: a tap takes frames always, a
/// veth and many NICs only while they run XDP themselves.
pub(super) fn is_xdp_target(device: &Device, hook: Hook) -> bool {
    match device.kind {
        DeviceKind::Tap { .. } => true,
        DeviceKind::Physical | DeviceKind::Veth => hook == Hook::Xdp,
        DeviceKind::Bridge { .. }
        | DeviceKind::Other(_)
        | DeviceKind::Tunnel(_)
        | DeviceKind::Unserved(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(kind: DeviceKind, native_xdp: bool) -> Device {
        Device {
            ifindex: 1,
            kind,
            mac: fwd_common::addr::Mac::NONE,
            mtu: 1500,
            is_up: true,
            addresses: Vec::new(),
            master: None,
            native_xdp,
            is_own: false,
            xdp_refused: None,
        }
    }

    #[test]
    fn each_device_gets_the_hook_that_carries_its_frames() {
        use DeviceKind::{Bridge, Other, Physical, Tap, Tunnel, Veth};
        // Kind, native XDP; hook by auto; by --hook xdp, degraded, target of XDP then.
        let rows = [
            (Tap { vnet_header: false }, true, Hook::Xdp, (Hook::Xdp, false, true)),
            (Tap { vnet_header: true }, true, Hook::Tcx, (Hook::Xdp, true, true)),
            (Veth, true, Hook::Tcx, (Hook::Xdp, true, true)),
            (Physical, true, Hook::Xdp, (Hook::Xdp, false, true)),
            (Physical, false, Hook::Tcx, (Hook::Tcx, true, false)),
            (Bridge { vlan_filtering: false }, false, Hook::Tcx, (Hook::Tcx, true, false)),
            (Other("vlan".into()), false, Hook::Tcx, (Hook::Tcx, true, false)),
            (Tunnel("wireguard".into()), false, Hook::Tcx, (Hook::Tcx, true, false)),
        ];
        for (kind, native, auto, (hook, degraded, target)) in rows {
            let device = device(kind, native);
            assert_eq!(choose(&device, Hook::Auto).hook, auto, "{device:?}");
            assert_eq!(choose(&device, Hook::Auto).degraded, None);
            assert_eq!(choose(&device, Hook::Tcx).hook, Hook::Tcx);
            let forced = choose(&device, Hook::Xdp);
            assert_eq!((forced.hook, forced.degraded.is_some()), (hook, degraded), "{device:?}");
            assert_eq!(is_xdp_target(&device, forced.hook), target, "{device:?}");
        }
    }

    #[test]
    fn auto_falls_back_to_tcx_where_the_driver_refused_xdp_and_a_forced_choice_does_not() {
        let refused = Device {
            xdp_refused: Some("the MTU is too large for it".to_owned()),
            ..device(DeviceKind::Physical, true)
        };
        let auto = choose(&refused, Hook::Auto);
        assert_eq!(auto.hook, Hook::Tcx);
        assert_eq!(auto.reason, "The driver refused XDP: the MTU is too large for it.");
        assert_eq!(choose(&refused, Hook::Xdp).hook, Hook::Xdp);
    }
}
