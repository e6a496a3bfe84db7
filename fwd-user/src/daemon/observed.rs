//! Objects as they are: what was asked of each, together with what became of it.

use std::{
    collections::HashMap,
    time::{Duration, SystemTime},
};

use fwd_common::id::{PortId, RuleId};
use serde_json::{Value, json};

use super::{summary::time_text, world::World};
use crate::{
    api::{
        error::{ApiError, Code},
        object::{Noun, Object},
        spec::{Forward, Hook, Network, Port, Uplink},
        status::{LeaseRow, ObjectState, PortStatus},
        text::Target,
    },
    compile::{Attachment, device_name, given_mac},
    daemon::failure::of_read,
    host::Lease,
    observe::{View, devices::DeviceCounters, ledger, rules::RuleCount},
};

/// What becomes of a client's address behind a forward.
const CLIENT_IP: &str = "kept";

/// What objects are shown by.
pub struct Sight<'a> {
    pub world: &'a World,
    pub view: &'a View<'a>,
    /// By ifindex.
    pub devices: &'a HashMap<u32, DeviceCounters>,
    /// What rules did; empty where no rule is shown.
    pub rules: &'a HashMap<RuleId, RuleCount>,
}

impl Sight<'_> {
    /// An object as `show` answers with it.
    pub fn show(&self, object: &Object) -> Result<Value, ApiError> {
        let status = match object {
            Object::Port(port) => return plain(&self.port(port)?),
            Object::Uplink(uplink) => return plain(&self.uplink(uplink)?),
            Object::Network(network) => {
                let host_port = self.world.desired.numbers.host_ports.get(&network.name);
                let attachment = host_port.and_then(|id| self.world.compiled.ports.get(id));
                let mut state = attachment.map_or(ObjectState::Ready, |a| a.state);
                let mut reason = attachment.and_then(|a| a.state_reason.clone());
                let served = self.world.inventory.served.get(&network.name);
                if let Some(problem) = served.and_then(|served| served.problem.clone()) {
                    state = state.max(ObjectState::Degraded);
                    reason = reason.or(Some(problem));
                }
                let ports = self.world.desired.document.ports.iter().filter(|p| p.network == network.name);
                json!({"state": state, "state_reason": reason, "ports": ports.count()})
            }
            Object::Forward(forward) => {
                let state = self.world.compiled.forwards.get(&forward.name);
                let (state, reason) = state.map_or((None, None), |s| (Some(s.state), s.reason.clone()));
                let (kept, but) = (CLIENT_IP, self.client_ip_exception(forward));
                json!({"state": state, "state_reason": reason, "client_ip": kept, "client_ip_except": but})
            }
            Object::Nat(nat) => {
                let state = self.world.compiled.nats.get(&nat.name);
                let (state, reason) = state.map_or((None, None), |s| (Some(s.state), s.reason.clone()));
                json!({"state": state, "state_reason": reason})
            }
            Object::Policy(policy) => {
                let id = self.world.desired.numbers.rules.get(&policy.name);
                let count = id.and_then(|id| self.rules.get(id)).copied().unwrap_or_default();
                let hit =
                    Some(count.last_hit_ns).filter(|ns| *ns != 0).and_then(|ns| self.view.now.text_of(ns));
                json!({"flows": count.flows, "packets": count.packets, "last_hit": hit})
            }
            Object::Group(_) | Object::Set(_) => json!({}),
        };
        let mut shown = object.to_json().map_err(|e| internal(&e))?;
        if let (Value::Object(shown), Value::Object(status)) = (&mut shown, status) {
            shown.extend(status);
        }
        Ok(shown)
    }

    /// Who is not seen under its own address behind a forward.
    fn client_ip_exception(&self, forward: &Forward) -> Option<String> {
        let target: Target = forward.to.parse().ok()?;
        let document = &self.world.desired.document;
        let network = document.find::<Network>(&document.find::<Port>(&target.port)?.network)?;
        let who = match network.private {
            true => "VMs and this host itself".to_owned(),
            false => format!(
                "VMs of network {}, those of private networks, and this host by loopback",
                network.name
            ),
        };
        Some(format!("{who} are seen under the gateway's address of network {}.", network.name))
    }

    fn port(&self, port: &Port) -> Result<PortStatus, ApiError> {
        let id = self.world.desired.numbers.ports.get(&port.name).copied().unwrap_or_default();
        let learnt = self.world.inventory.learnt.iter().filter(|l| l.port == id);
        let seen_mac = learnt.clone().next().map(|seen| seen.mac.to_string());
        let inventory = &self.world.inventory;
        let mac = given_mac(inventory, port).map(|mac| mac.to_string()).or(seen_mac);
        let leases = leases(self.world, &port.network).unwrap_or_default();
        let leased = leases.into_iter().filter(|lease| mac.is_some() && lease.mac == mac).map(|l| l.address);
        let seen = learnt.filter_map(|seen| seen.addr).map(|addr| addr.to_string());
        let mut ips: Vec<String> = port.ips.iter().map(ToString::to_string).collect();
        for addr in leased.chain(seen) {
            if !ips.contains(&addr) {
                ips.push(addr);
            }
        }
        Ok(PortStatus {
            network: Some(port.network.clone()),
            mac,
            ips,
            labels: port.labels.clone(),
            trust: port.trust,
            libvirt: port.libvirt.clone(),
            ..self.status(id, (&port.name, device_name(inventory, port)), port.hook)?
        })
    }

    fn uplink(&self, uplink: &Uplink) -> Result<PortStatus, ApiError> {
        let id = self.world.desired.numbers.uplinks.get(&uplink.device).copied().unwrap_or_default();
        let device = self.world.inventory.devices.get(&uplink.device);
        Ok(PortStatus {
            network: self.view.names.network_of_port(id),
            mac: device.map(|d| d.mac.to_string()),
            ips: device.map_or_else(Vec::new, |d| d.addresses.iter().map(ToString::to_string).collect()),
            ..self.status(id, (&uplink.device, Some(&uplink.device)), uplink.hook)?
        })
    }

    /// What ports of every kind have.
    fn status(
        &self,
        id: PortId,
        (name, device): (&str, Option<&str>),
        asked: Hook,
    ) -> Result<PortStatus, ApiError> {
        let attachment = self.world.compiled.ports.get(&id);
        let ifindex = attachment.map(|a| a.ifindex).filter(|i| *i != 0);
        let counted = ifindex.and_then(|i| self.devices.get(&i).copied());
        let (state, state_reason) = self.state(attachment);
        Ok(PortStatus {
            name: name.to_owned(),
            device: device.map(str::to_owned),
            libvirt: None,
            network: None,
            mac: None,
            ips: Vec::new(),
            labels: Default::default(),
            trust: false,
            hook: attachment.and_then(|a| a.hook),
            configured_hook: asked,
            hook_reason: attachment.map_or_else(String::new, |a| a.hook_reason.clone()),
            state,
            state_reason,
            ifindex,
            mtu: device.and_then(|device| self.world.inventory.devices.get(device)).map(|d| d.mtu),
            counters: ledger::counters(self.view, id, counted).map_err(|e| of_read(&e))?,
        })
    }

    fn state(&self, attachment: Option<&Attachment>) -> (ObjectState, Option<String>) {
        let Some(attachment) = attachment else { return (ObjectState::Pending, None) };
        let Some(error) = self.world.refused.get(&attachment.ifindex) else {
            return (attachment.state, attachment.state_reason.clone());
        };
        let is_foreign = error.code == Code::ForeignProgram;
        let state = if is_foreign { ObjectState::Conflict } else { ObjectState::Degraded };
        (state, Some(format!("{} {}", error.message, error.hints.join(" "))))
    }
}

/// What a network's DHCP has given out.
pub fn leases(world: &World, network: &str) -> Result<Vec<LeaseRow>, ApiError> {
    let document = &world.desired.document;
    if document.object(Noun::Network, network).is_none() {
        return Err(not_found(Noun::Network, network));
    }
    let ports = document.ports.iter().filter(|port| port.network == network);
    let port_of = |mac: &str| {
        let has = |port: &&Port| {
            let id = world.desired.numbers.ports.get(&port.name);
            let learnt = || world.inventory.learnt.iter().find(|seen| Some(&seen.port) == id);
            match &port.mac {
                Some(own) => own.eq_ignore_ascii_case(mac),
                None => learnt().is_some_and(|seen| seen.mac.to_string() == mac),
            }
        };
        ports.clone().find(has).map(|port| port.name.clone())
    };
    let row = |lease: &Lease| {
        let mac = lease.mac.map(|mac| mac.to_string());
        let ends = Some(lease.expires_secs).filter(|secs| *secs != u64::MAX);
        LeaseRow {
            network: network.to_owned(),
            address: lease.addr.to_string(),
            port: mac.as_deref().and_then(port_of),
            mac,
            expires: ends.map(|secs| time_text(SystemTime::UNIX_EPOCH + Duration::from_secs(secs))),
        }
    };
    let Some(id) = world.desired.numbers.networks.get(network) else { return Ok(Vec::new()) };
    Ok(world.inventory.leases(network, *id).map(row).collect())
}

/// The name of an object that is not there.
pub fn not_found(noun: Noun, name: &str) -> ApiError {
    ApiError::new(Code::NoSuchObject, format!("There is no {noun} {name}."))
        .about(format!("{noun} {name}"))
        .hint(format!("List them: fwd {noun} list."))
}

fn plain(status: &PortStatus) -> Result<Value, ApiError> {
    serde_json::to_value(status).map_err(|e| internal(&e))
}

fn internal(error: &serde_json::Error) -> ApiError {
    ApiError::new(Code::Internal, format!("An object cannot be written as JSON: {error}."))
}
