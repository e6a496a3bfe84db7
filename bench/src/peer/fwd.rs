//! fwd itself: the real daemon, told by its document.

use std::fs;
use std::net::Ipv4Addr;

use anyhow::{Context as _, Result};
use fwd_tests::frame::Mac;
use fwd_tests::lab::{Hook, Instance};
use fwd_tests::netns::Netns;
use serde_json::{Value, json};

use super::{Standing, edited};
use crate::traffic::rig::{
    BESIDE, Beside, CLIENTS, HOST, IN, INSIDE, INSIDE_MAC, NEIGHBOR, OUT, OUTSIDE_MAC, Rig,
};
use crate::traffic::trip::{FLOODED, FLOODED_INSIDE, PUBLISHED, SERVED, Trip};

/// The veth of the network's gateway.
const GATEWAY_DEVICE: &str = "fwd-inside";

/// What fwd is to do in the rig.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    /// A forward from the uplink to a VM in a closed network, and NAT for what the VM opens.
    Gateway(Rules),
    /// Two VMs of one network.
    Segment(Guard),
}

/// The rules of the closed network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rules {
    /// What the run sends is permitted.
    Permitted,
    /// The same among so many.
    Among(u32),
    /// It is denied.
    Denied,
    /// UDP is permitted, and TCP is denied.
    DeniedTcp,
    /// What the run sends is permitted, also to a VM with an XDP port and to one with offloads.
    Mixed,
    /// What the run sends is permitted, and objects of other VMs are edited meanwhile.
    Edited,
}

/// Which sources the sending VM may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// The run's.
    Allows,
    /// Its own only.
    Refuses,
}

/// The hooks of the rig's devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hooks {
    pub outside: Hook,
    pub inside: Hook,
}

impl Hooks {
    pub const XDP: Self = Self { outside: Hook::Xdp, inside: Hook::Xdp };
    pub const TCX: Self = Self { outside: Hook::Tcx, inside: Hook::Tcx };
    /// An XDP uplink, and a VM whose offloads are on.
    pub const XDP_UPLINK: Self = Self { outside: Hook::Xdp, inside: Hook::Tcx };
}

/// A machine of a segment, and the host's device that leads to it.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    pub device: &'static str,
    pub mac: Mac,
    pub address: Ipv4Addr,
}

/// fwd, which stands as long as its instance does.
pub struct Fwd;

impl Fwd {
    /// Stands in the rig, with room for so many flows.
    ///
    /// # Errors
    /// If fwd does not come up or refuses the document.
    pub fn stand(rig: &Rig, hooks: Hooks, job: Job, flows: u32) -> Result<Standing> {
        let (document, trip) = match job {
            Job::Gateway(rules) => {
                let mut document = gateway(hooks, rules, flows);
                if rules == Rules::Mixed {
                    publish(&mut document, &BESIDE[0], Hook::Xdp);
                    publish(&mut document, &BESIDE[1], Hook::Tcx);
                }
                if rules == Rules::Edited {
                    edited::plug(rig)?;
                    edited::add(&mut document, hooks.inside.name());
                }
                (document, Trip::Forward)
            }
            Job::Segment(guard) => {
                rig.join();
                (segment(hooks, guard, flows), Trip::Bridge)
            }
        };
        let fwd = Self::start(&rig.host, &document)?;
        let gateway = rig.host.mac_of(GATEWAY_DEVICE);
        Ok(Standing { gateway, ..Standing::new(trip, fwd) })
    }

    /// Switches between machines of one network, on devices that are there already.
    ///
    /// # Errors
    /// As [`Fwd::stand`].
    pub fn switch(host: &Netns, hook: Hook, machines: &[Machine]) -> Result<Instance> {
        const FLOWS: u32 = 1 << 16;
        let port = |Machine { device, mac, address }: &Machine| {
            json!({
                "name": device, "device": device, "network": "inside", "mac": mac.to_string(),
                "ips": [address.to_string()], "hook": hook.name(),
            })
        };
        let document = json!({
            "api": "fwd/v1",
            "settings": settings(FLOWS),
            "networks": [{ "name": "inside", "mode": "host", "subnets": subnets() }],
            "ports": machines.iter().map(port).collect::<Vec<_>>(),
        });
        Self::start(host, &document)
    }

    /// Tables get their size when the datapath is loaded, so the settings are kept before, by a daemon without one.
    fn start(host: &Netns, document: &Value) -> Result<Instance> {
        let mut fwd = Instance::new();
        let file = |name: &str, document: &Value| -> Result<String> {
            let path = fwd.folder().join(name);
            fs::write(&path, document.to_string())?;
            Ok(path.to_str().context("the folder's name is text")?.to_owned())
        };
        let sizes = file("settings.json", &json!({ "api": "fwd/v1", "settings": document["settings"] }))?;
        let whole = file("document.json", document)?;
        fwd.start_with(host, &["--datapath", "memory", "--config", &sizes])?;
        fwd.terminate();
        fwd.start_with(host, &["--config", &whole])?;
        Ok(fwd)
    }
}

fn gateway(hooks: Hooks, rules: Rules, flows: u32) -> Value {
    let mut policies = match rules {
        Rules::Permitted | Rules::Denied | Rules::Edited | Rules::Mixed => vec![],
        Rules::DeniedTcp => vec![json!({
            "name": "no-tcp", "action": "deny", "from": "outside", "to": "port:web", "services": format!("tcp/{SERVED}"),
        })],
        Rules::Among(count) => (0..count).map(other_rule).collect(),
    };
    policies.push(json!({
        "name": "published",
        "action": if rules == Rules::Denied { "deny" } else { "allow" },
        "from": "outside",
        "to": "port:web",
        "services": [format!("udp/{SERVED}"), format!("tcp/{SERVED}"), format!("tcp/{FLOODED_INSIDE}")],
    }));
    policies.push(json!({ "name": "out", "action": "allow", "from": "port:web", "to": "outside" }));
    let forward = |name: &str, proto: &str, address: String| {
        let listen = format!("{proto}:{address}:{PUBLISHED}");
        json!({ "name": name, "listen": listen, "to": format!("web:{SERVED}") })
    };
    json!({
        "api": "fwd/v1",
        "settings": settings(flows),
        "uplinks": [{ "device": IN, "hook": hooks.outside.name() }],
        "networks": [{
            "name": "inside", "mode": "nat", "uplink": IN, "default_policy": "closed", "subnets": subnets(),
        }],
        "ports": [web(hooks)],
        "forwards": [
            forward("web-udp", "udp", HOST.0.to_string()),
            forward("web-tcp", "tcp", HOST.0.to_string()),
            forward("web-udp6", "udp", format!("[{}]", HOST.1)),
            json!({
                "name": "flooded", "listen": format!("tcp:{}:{FLOODED}", HOST.0), "to": format!("web:{FLOODED_INSIDE}"),
            }),
        ],
        "policies": policies,
    })
}

/// Adds a VM with a service to a document with the run's own.
fn publish(document: &mut Value, beside: &Beside, hook: Hook) {
    let Beside { device, address, mac, published } = beside;
    let mut push = |kind: &str, more: Value| {
        if let Value::Array(list) = &mut document[kind] {
            list.push(more);
        }
    };
    push(
        "ports",
        json!({
            "name": device, "device": device, "network": "inside", "mac": mac.to_string(),
            "ips": [address.to_string()], "hook": hook.name(),
        }),
    );
    let listen = format!("udp:{}:{published}", HOST.0);
    push("forwards", json!({ "name": device, "listen": listen, "to": format!("{device}:{SERVED}") }));
    push(
        "policies",
        json!({
            "name": device, "action": "allow", "from": "outside", "to": format!("port:{device}"),
            "services": [format!("udp/{SERVED}")],
        }),
    );
}

fn segment(hooks: Hooks, guard: Guard, flows: u32) -> Value {
    let mut sender = json!({
        "name": "sender", "device": IN, "network": "inside", "mac": OUTSIDE_MAC.to_string(),
        "ips": [NEIGHBOR.0.to_string(), NEIGHBOR.1.to_string()], "hook": hooks.outside.name(),
    });
    if guard == Guard::Allows {
        sender["allow_addresses"] = json!([format!("{}/15", CLIENTS.0), format!("{}/48", CLIENTS.1)]);
    }
    json!({
        "api": "fwd/v1",
        "settings": settings(flows),
        "networks": [{ "name": "inside", "mode": "host", "subnets": subnets() }],
        "ports": [sender, web(hooks)],
    })
}

fn web(hooks: Hooks) -> Value {
    json!({
        "name": "web", "device": OUT, "network": "inside", "mac": INSIDE_MAC.to_string(),
        "ips": [INSIDE.0.to_string(), INSIDE.1.to_string()], "hook": hooks.inside.name(),
    })
}

fn subnets() -> Value {
    json!(["10.10.0.0/24", "fd00:10::/64"])
}

/// Room for the run's flows, all of one port, and timeouts that outlast it.
fn settings(flows: u32) -> Value {
    json!({
        "flow_limit": flows, "flow_limit_per_port": flows,
        "half_open_limit": flows, "half_open_limit_per_port": flows,
        "udp_timeout": "3600s", "udp_one_way_timeout": "3600s",
    })
}

/// The n-th rule that none of the run's packets meets.
fn other_rule(n: u32) -> Value {
    let source = Ipv4Addr::from_bits(0xc612_0000 + n / 100);
    json!({
        "name": format!("other-{n}"), "action": "deny", "from": format!("{source}/32"), "to": "port:web",
        "services": [format!("udp/{}", 10_000 + n % 100)],
    })
}
