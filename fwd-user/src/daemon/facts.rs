//! What status and metrics say beside counters: interfaces, hooks, states, revisions.

use std::collections::HashMap;

use super::{summary, world::World};
use crate::{
    api::{answer::Interface, settings::Settings, spec::Port, status::ObjectState, text::DomainNic},
    compile::device_name,
    host::{Device, DeviceKind},
    observe::{
        Observer, ReadError, View,
        devices::DeviceCounters,
        metrics::{Facts, HookFacts, PortFacts, Revisions},
    },
};

/// Sums over the datapath.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    pub flows: u64,
    pub flows_limit: u64,
    pub dropped: u64,
}

/// Reads the sums; both families of flows together.
pub fn totals(view: &View<'_>) -> Result<Totals, ReadError> {
    let tables = view.maps.table_use()?;
    let drops = view.maps.drops_by_reason()?;
    Ok(Totals {
        flows: tables.iter().map(|t| u64::from(t.flows)).sum(),
        flows_limit: tables.len() as u64 * u64::from(view.settings.flow_limit),
        dropped: drops.iter().map(|d| d.packets).sum(),
    })
}

/// What is not as it should be.
pub fn problems(world: &World) -> Vec<String> {
    let ports = world.compiled.ports.values().filter(|p| p.state != ObjectState::Ready);
    let ports = ports.filter_map(|p| Some(format!("{}: {}", p.name, p.state_reason.as_ref()?)));
    let forwards = world.compiled.forwards.values().filter_map(|f| f.reason.clone());
    let refused = world.refused.values().map(|e| format!("{} {}", e.message, e.hints.join(" ")));
    let served = world.inventory.served.values().filter_map(|served| served.problem.clone());
    let trial = world.confirm_until.map(|until| {
        let (now, until) = (world.desired.revision, summary::time_text(until));
        let back = world.confirmed;
        format!(
            "Revision {now} will be rolled back to {back} at {until}, unless confirmed: fwd config confirm."
        )
    });
    trial.into_iter().chain(refused).chain(ports).chain(served).chain(forwards).collect()
}

/// What metrics need beside the maps.
pub fn of(world: &World, observer: &Observer, devices: HashMap<u32, DeviceCounters>) -> Facts {
    let ports = &world.compiled.ports;
    let mac =
        |id| world.compiled.tables.ports.get(id).map(|p| p.mac).filter(|m| *m != fwd_common::addr::Mac::NONE);
    let document = &world.desired.document;
    let domain = |name: &str| {
        let nic = document.find::<Port>(name)?.libvirt.as_ref()?.parse::<DomainNic>().ok()?;
        Some(nic.domain)
    };
    let revision = world.desired.revision;
    Facts {
        detail: Settings::of(&world.desired.document.settings).metrics_detail,
        ports: ports
            .iter()
            .map(|(id, port)| PortFacts {
                id: *id,
                device: port.device.clone(),
                domain: domain(&port.name),
                mac: mac(id).map(|m| m.to_string()),
                state: port.state,
            })
            .collect(),
        hooks: hooks(world),
        devices,
        map_entries: world.compiled.tables.rows_by_map(),
        revisions: Revisions { accepted: revision, applied: world.applied, confirmed: world.confirmed },
        events_shed: observer.shed(),
    }
}

fn hooks(world: &World) -> Vec<HookFacts> {
    let mut hooks = Vec::new();
    for port in world.compiled.ports.values() {
        let programs = port.programs;
        let is_attached = port.ifindex != 0 && !world.refused.contains_key(&port.ifindex);
        let wanted =
            [(programs.xdp, "xdp"), (programs.ingress, "tcx_ingress"), (programs.egress, "tcx_egress")];
        for (_, hook) in wanted.into_iter().filter(|(wanted, _)| *wanted) {
            hooks.push(HookFacts { device: port.device.clone(), hook, is_attached });
        }
    }
    hooks
}

/// The host's interfaces, and what fwd does with each.
pub fn interfaces(world: &World) -> Vec<Interface> {
    let document = &world.desired.document;
    let host_end = |name: &str| {
        let network = document.networks.iter().find(|n| crate::host::host_end(&n.name) == name)?;
        Some(format!("gateway of {}", network.name))
    };
    let used_as = |name: &str, device: &Device| {
        let port = document
            .ports
            .iter()
            .find(|p| device_name(&world.inventory, p) == Some(name))
            .map(|p| format!("port {}", p.name));
        let uplink = || document.uplinks.iter().any(|u| u.device == name).then(|| "uplink".to_owned());
        let member = || device.master.as_ref().map(|m| format!("member of {m}"));
        port.or_else(uplink).or_else(|| host_end(name)).or_else(member)
    };
    let row = |(name, device): (&String, &Device)| Interface {
        device: name.clone(),
        kind: kind_name(&device.kind).to_owned(),
        up: device.is_up,
        addresses: device.addresses.iter().map(ToString::to_string).collect(),
        used_as: used_as(name, device),
    };
    world.inventory.devices.iter().map(row).collect()
}

fn kind_name(kind: &DeviceKind) -> &str {
    match kind {
        DeviceKind::Tap { .. } => "tap",
        DeviceKind::Veth => "veth",
        DeviceKind::Bridge { .. } => "bridge",
        DeviceKind::Physical => "physical",
        DeviceKind::Other(name) | DeviceKind::Tunnel(name) | DeviceKind::Unserved(name) => name,
    }
}
