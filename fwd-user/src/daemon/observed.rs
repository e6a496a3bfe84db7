//! Objects as they are: what was asked of each, together with what became of it.

use std::collections::HashMap;

use fwd_common::id::PortId;
use serde_json::{Value, json};

use super::world::World;
use crate::{
    api::{
        error::{ApiError, Code},
        object::{Noun, Object},
        spec::{Hook, Port, Uplink},
        status::{ObjectState, PortStatus},
    },
    compile::Attachment,
    daemon::failure::of_read,
    observe::{View, devices::DeviceCounters, ledger},
};

/// What objects are shown by.
pub struct Sight<'a> {
    pub world: &'a World,
    pub view: &'a View<'a>,
    /// By ifindex.
    pub devices: &'a HashMap<u32, DeviceCounters>,
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
                let state = attachment.map_or(ObjectState::Ready, |a| a.state);
                let reason = attachment.and_then(|a| a.state_reason.clone());
                let ports = self.world.desired.document.ports.iter().filter(|p| p.network == network.name);
                json!({"state": state, "state_reason": reason, "ports": ports.count()})
            }
            Object::Forward(forward) => match self.world.compiled.forwards.get(&forward.name) {
                Some(state) => json!({"state": state.state, "state_reason": state.reason}),
                None => json!({}),
            },
            Object::Group(_) | Object::Set(_) | Object::Policy(_) => json!({}),
        };
        let mut shown = object.to_json().map_err(|e| internal(&e))?;
        if let (Value::Object(shown), Value::Object(status)) = (&mut shown, status) {
            shown.extend(status);
        }
        Ok(shown)
    }

    fn port(&self, port: &Port) -> Result<PortStatus, ApiError> {
        let id = self.world.desired.numbers.ports.get(&port.name).copied().unwrap_or_default();
        let learnt = self.world.inventory.learnt.iter().filter(|l| l.port == id);
        let mut ips: Vec<String> = port.ips.iter().map(ToString::to_string).collect();
        let mut seen_mac = None;
        for seen in learnt {
            ips.extend(seen.addr.map(|a| a.to_string()).filter(|a| !ips.contains(a)));
            seen_mac.get_or_insert_with(|| seen.mac.to_string());
        }
        Ok(PortStatus {
            network: Some(port.network.clone()),
            mac: port.mac.clone().or(seen_mac),
            ips,
            labels: port.labels.clone(),
            trust: port.trust,
            ..self.status(id, (&port.name, &port.device), port.hook)?
        })
    }

    fn uplink(&self, uplink: &Uplink) -> Result<PortStatus, ApiError> {
        let id = self.world.desired.numbers.uplinks.get(&uplink.device).copied().unwrap_or_default();
        let device = self.world.inventory.devices.get(&uplink.device);
        Ok(PortStatus {
            network: self.view.names.network_of_port(id),
            mac: device.map(|d| d.mac.to_string()),
            ips: device.map_or_else(Vec::new, |d| d.addresses.iter().map(ToString::to_string).collect()),
            ..self.status(id, (&uplink.device, &uplink.device), uplink.hook)?
        })
    }

    /// What ports of every kind have.
    fn status(&self, id: PortId, (name, device): (&str, &str), asked: Hook) -> Result<PortStatus, ApiError> {
        let attachment = self.world.compiled.ports.get(&id);
        let ifindex = attachment.map(|a| a.ifindex).filter(|i| *i != 0);
        let counted = ifindex.and_then(|i| self.devices.get(&i).copied());
        let (state, state_reason) = self.state(attachment);
        Ok(PortStatus {
            name: name.to_owned(),
            device: device.to_owned(),
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
            mtu: self.world.inventory.devices.get(device).map(|d| d.mtu),
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
