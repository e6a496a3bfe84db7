//! Each port's device and hook, and whether it can work: what is to be attached where, and what `port show`
//! says.

use std::collections::BTreeMap;

use fwd_common::{
    id::PortId,
    port::{LOOPBACK, PortKind},
};

use super::{
    Hold, World,
    hook::{Choice, choose},
    pattern::has_room,
    world::VmPort,
};
use crate::{
    api::{
        error::Code,
        spec::{Hook, Mode, Network, Port, host_port_name},
        status::ObjectState,
    },
    host::inventory::{Device, DeviceKind},
};

const LO: &str = "lo";

/// A port's place on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    pub kind: PortKind,
    /// A VM port's name, an uplink's device, `fwd-NETWORK` of a host port, `lo`.
    pub name: String,
    /// Of a host port the uplink's, where it is bridged; else its own name.
    pub device: String,
    /// 0: there is none, or it is somebody else's.
    pub ifindex: u32,
    /// Never `Auto`; `None` while there is no device.
    pub hook: Option<Hook>,
    pub hook_reason: String,
    pub state: ObjectState,
    /// Why not `ready`, and what to do.
    pub state_reason: Option<String>,
    pub programs: Programs,
}

/// Which programs the device is to have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Programs {
    pub xdp: bool,
    pub ingress: bool,
    pub egress: bool,
    /// Packets there have no Ethernet header: TCX's are those for such.
    pub tunnel: bool,
}

/// All ports of the host.
pub(super) fn compile(world: &World<'_>) -> BTreeMap<PortId, Attachment> {
    let mut all = BTreeMap::new();
    for vm in &world.ports {
        let port = match (vm.device, &vm.port.libvirt) {
            _ if vm.port.is_pattern() => of_pattern(world, vm.port),
            (Some(device), _) => {
                let names = (vm.port.name.clone(), device.to_owned());
                let device = world.device_of(vm);
                of_device(world, Use::Vm, names, device, vm.port.hook).in_network(vm.network, device)
            }
            (None, nic) => without_tap(&vm.port.name, nic.as_deref().unwrap_or_default()),
        };
        all.insert(vm.id, port);
    }
    for (id, uplink, bridge) in world.uplinks() {
        let names = (uplink.device.clone(), uplink.device.clone());
        let device = world.device(&uplink.device);
        let use_of = if bridge.is_some() { Use::Bridge } else { Use::Uplink };
        let port = of_device(world, use_of, names, device, uplink.hook);
        // To a network that it routes for it tells its own.
        all.insert(
            id,
            match bridge {
                Some(network) => port.in_network(network, device),
                None => port,
            },
        );
    }
    for (_, network) in world.networks() {
        let Some(id) = world.numbers.host_ports.get(&network.name) else { continue };
        let name = host_port_name(&network.name);
        let device = world.host_device(network);
        let mut port = match (network.mode, &network.uplink) {
            (Mode::Bridge, Some(uplink)) => {
                of_device(world, Use::Host, (name, uplink.clone()), device, Hook::Tcx)
            }
            _ => of_device(world, Use::Host, (name.clone(), name), device, Hook::Tcx),
        };
        port.hook_reason = "What this host sends carries GSO frames, which XDP cannot.".to_owned();
        if network.mode == Mode::Bridge {
            // The uplink's own programs serve it.
            port.programs = Programs::default();
        }
        all.insert(*id, port);
    }
    all.extend(loopback(world).map(|port| (LOOPBACK, port)));
    all
}

/// `lo`, while there is anything that processes of this host reach by it.
fn loopback(world: &World<'_>) -> Option<Attachment> {
    let has_pair = world.document.nats.iter().any(|nat| nat.pair().is_some());
    let is_wanted = has_pair || !world.document.forwards.is_empty();
    let Device { ifindex, .. } = world.device(LO).filter(|_| is_wanted)?;
    Some(Attachment {
        kind: PortKind::Host,
        name: LO.to_owned(),
        device: LO.to_owned(),
        ifindex: *ifindex,
        hook: Some(Hook::Tcx),
        hook_reason: "What this host sends carries GSO frames, which XDP cannot.".to_owned(),
        state: ObjectState::Ready,
        state_reason: None,
        programs: Programs { ingress: true, ..Programs::default() },
    })
}

/// What an interface is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    Vm,
    Host,
    Uplink,
    /// Uplink of a bridge network.
    Bridge,
}

impl Use {
    const fn kind(self) -> PortKind {
        match self {
            Self::Vm => PortKind::Vm,
            Self::Host => PortKind::Host,
            Self::Uplink | Self::Bridge => PortKind::Uplink,
        }
    }
}

fn of_device(
    world: &World<'_>,
    use_of: Use,
    (name, device_name): (String, String),
    device: Option<&Device>,
    asked: Hook,
) -> Attachment {
    let kind = use_of.kind();
    let Some(device) = device else {
        let reason = format!("The interface {device_name} does not exist yet.");
        return without_device(kind, (name, device_name), ObjectState::Pending, reason);
    };
    if let Some(hold) = Hold::of(world.inventory, &device_name, kind != PortKind::Vm) {
        let reason = format!("The {}. {}", hold.clause(), hold.hint());
        return without_device(kind, (name, device_name), ObjectState::Conflict, reason);
    }
    if let Some(Unfit { clause, hint, .. }) = unfit((&device_name, device), use_of) {
        let reason = format!("The {clause}. {hint}");
        return without_device(kind, (name, device_name), ObjectState::Conflict, reason);
    }
    let Choice { hook, reason, degraded } = choose(device, asked);
    let down = || format!("The interface {device_name} is down. Bring it up: ip link set {device_name} up.");
    let (state, state_reason) = match degraded {
        _ if !device.is_up => (ObjectState::Pending, Some(down())),
        Some(why) => (ObjectState::Degraded, Some(why)),
        None => (ObjectState::Ready, None),
    };
    Attachment {
        kind,
        name,
        device: device_name,
        ifindex: device.ifindex,
        hook: Some(hook),
        hook_reason: reason,
        state,
        state_reason,
        programs: Programs {
            xdp: hook == Hook::Xdp,
            ingress: true,
            egress: kind == PortKind::Uplink,
            tunnel: matches!(device.kind, DeviceKind::Tunnel(_)),
        },
    }
}

impl Attachment {
    /// Degraded, where its device is too narrow for a network.
    fn in_network(self, network: &Network, device: Option<&Device>) -> Self {
        let narrow = device.and_then(|device| too_narrow(network, &self.device, device));
        let Some(narrow) =
            narrow.filter(|_| matches!(self.state, ObjectState::Ready | ObjectState::Degraded))
        else {
            return self;
        };
        let reason = self.state_reason.map_or_else(|| narrow.clone(), |why| format!("{why} {narrow}"));
        Self { state: ObjectState::Degraded, state_reason: Some(reason), ..self }
    }
}

/// Why a device cannot serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfit {
    pub code: Code,
    /// Without its article: "interface lo is …".
    pub clause: String,
    /// A sentence.
    pub hint: &'static str,
}

/// Why a device cannot serve as what it is to be.
pub fn unfit((name, device): (&str, &Device), use_of: Use) -> Option<Unfit> {
    if use_of == Use::Host {
        return None;
    }
    own((name, device)).or_else(|| no_ethernet((name, device), use_of))
}

/// What comes in by the host's own end of a network's pair has just been sent to the host: it would go round.
fn own((name, device): (&str, &Device)) -> Option<Unfit> {
    let clause = match device.is_loopback() {
        true => format!("interface {name} is this host's loopback"),
        false if device.is_own => {
            format!("interface {name} is one by which fwd connects this host to a network")
        }
        false => return None,
    };
    Some(Unfit { code: Code::HostsDevice, clause, hint: "Name another one: ip -br link." })
}

/// What a device carries has no Ethernet header, where that cannot be served.
fn no_ethernet((name, device): (&str, &Device), use_of: Use) -> Option<Unfit> {
    let (kind, why, hint) = match (&device.kind, use_of) {
        (DeviceKind::Unserved(kind), _) => (
            kind,
            "and fwd does not know how the kernel takes them",
            "Route into it from a namespace or a VM, whose veth or tap is the uplink; a tunnel needs an other end of its \
             own (ip tunnel … remote ADDR).",
        ),
        (DeviceKind::Tunnel(kind), Use::Vm) => (
            kind,
            "and a VM's port needs them",
            "Give the VM a tap; a tunnel can be an uplink: fwd uplink add DEVICE.",
        ),
        (DeviceKind::Tunnel(kind), Use::Bridge) => (
            kind,
            "so there is nothing to bridge",
            "Use a nat or routed network there, or a tunnel that carries Ethernet, as gretap or vxlan do.",
        ),
        _ => return None,
    };
    let clause = format!("interface {name} ({kind}) carries packets without Ethernet headers, {why}");
    Some(Unfit { code: Code::NoEthernet, clause, hint })
}

/// That a device does not carry what its network promises, and what to do.
pub fn too_narrow(network: &Network, name: &str, device: &Device) -> Option<String> {
    let (Network { name: of, mtu: wanted, .. }, own) = (network, device.mtu);
    (own < u32::from(*wanted)).then(|| {
        format!(
            "The interface {name} carries {own} bytes, and network {of} promises {wanted}. Raise it: ip link set \
             {name} mtu {wanted}; or lower the network's: fwd network set {of} --mtu {own}."
        )
    })
}

/// What stands for the ports of the devices that match.
fn of_pattern(world: &World<'_>, pattern: &Port) -> Attachment {
    let (name, device) = (pattern.name.clone(), pattern.device.clone());
    let is_of = |vm: &&VmPort<'_>| vm.port.name != name && vm.port.given_name() == name;
    let full = || format!("Network {} is full: what else matches {device} is no port.", pattern.network);
    let (state, reason) = match world.ports.iter().any(|vm| is_of(&vm)) {
        _ if !has_room(world.document, &pattern.network) => (ObjectState::Degraded, Some(full())),
        false => (ObjectState::Pending, Some(format!("No tap or veth that matches {device} exists yet."))),
        true => (ObjectState::Ready, None),
    };
    Attachment {
        state,
        state_reason: reason,
        ..without_device(PortKind::Vm, (name, device), state, String::new())
    }
}

/// A port of a domain that does not run, or whose interface has none on this host.
fn without_tap(name: &str, nic: &str) -> Attachment {
    let domain = nic.split('/').next().unwrap_or(nic);
    let reason =
        format!("Domain {domain} of libvirt has no such interface now. Start it: virsh start {domain}.");
    without_device(PortKind::Vm, (name.to_owned(), String::new()), ObjectState::Pending, reason)
}

fn without_device(
    kind: PortKind,
    (name, device): (String, String),
    state: ObjectState,
    reason: String,
) -> Attachment {
    Attachment {
        kind,
        name,
        device,
        ifindex: 0,
        hook: None,
        hook_reason: "There is no device yet.".to_owned(),
        state,
        state_reason: Some(reason),
        programs: Programs::default(),
    }
}
