//! What is edited while the run's packets pass, and the edits: objects of other VMs, and rules of another set of nft.
//! Whichever edit it is, it changes what the datapath reads, and nothing of it is about the run's own flows.

use std::net::Ipv4Addr;

use anyhow::Result;
use serde_json::{Value, json};

use crate::traffic::rig::{HOST, Rig};

/// Objects of each kind that are changed in turn.
const OBJECTS: u32 = 32;
const KINDS: u32 = 6;
/// The VMs that they are about, and their devices.
const VMS: [&str; 2] = ["db1", "db2"];

/// One edit of all, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edit {
    kind: u32,
    turn: u32,
}

impl Edit {
    /// Edits take turns: a rule that is disabled or enabled, CIDRs of a set, members of a group, where a forward leads,
    /// a rule more, a rule less.
    #[must_use]
    pub const fn nth(n: u32) -> Self {
        Self { kind: n % KINDS, turn: n / KINDS }
    }

    /// Method, path and body of the request.
    #[must_use]
    pub fn request(self) -> (&'static str, String, String) {
        let object = self.turn % OBJECTS;
        // Every other time it is as in the document.
        let is_other = (self.turn / OBJECTS).is_multiple_of(2);
        let patch =
            |kind: &str, body: Value| ("PATCH", format!("/v1/{kind}/other-{object}"), body.to_string());
        match self.kind {
            0 => patch("policies", json!({ "enabled": !is_other })),
            1 => patch("sets", json!({ "cidrs": cidrs(object, is_other) })),
            2 => patch("groups", json!({ "members": members(is_other) })),
            3 => patch("forwards", json!({ "to": to(is_other) })),
            4 => ("POST", "/v1/policies".to_owned(), passing(OBJECTS + self.turn).to_string()),
            _ => ("DELETE", format!("/v1/policies/passing-{}", self.turn), String::new()),
        }
    }
}

/// The same number as a line for nft: elements of a verdict map come and go.
#[must_use]
pub fn line(n: u32) -> String {
    let (turn, verb) = (n / 2, if n.is_multiple_of(2) { "add" } else { "delete" });
    let source = Ipv4Addr::from_bits(0x6440_0000 + turn % (1 << 20));
    format!("{verb} element inet gate denied {{ {source} . 1000 : drop }}\n")
}

/// Makes the devices of the other VMs.
///
/// # Errors
/// If they cannot be had.
pub fn plug(rig: &Rig) -> Result<()> {
    for vm in VMS {
        rig.host.try_run(&format!("ip link add {vm} type veth peer name {vm}-peer"))?;
        rig.host.try_run(&format!("ip link set {vm} up"))?;
        rig.host.try_run(&format!("ip link set {vm}-peer up"))?;
        rig.host.receive_from_xdp(vm);
    }
    Ok(())
}

/// Adds the objects to a document with the run's own.
pub fn add(document: &mut Value, hook: &str) {
    let port = |(n, vm): (usize, &&str)| {
        json!({
            "name": vm, "device": vm, "network": "inside", "mac": format!("52:54:00:00:01:0{n}"),
            "ips": [format!("10.10.0.{}", 101 + n)], "hook": hook,
        })
    };
    let ports: Vec<Value> = VMS.iter().enumerate().map(port).collect();
    let each = |object: fn(u32) -> Value| -> Vec<Value> { (0..OBJECTS).map(object).collect() };
    let mut extend = |kind: &str, more: Vec<Value>| match &mut document[kind] {
        Value::Array(list) => list.extend(more),
        nothing => *nothing = Value::Array(more),
    };
    extend("ports", ports);
    extend("sets", each(|n| json!({ "name": format!("other-{n}"), "cidrs": cidrs(n, false) })));
    extend("groups", each(|n| json!({ "name": format!("other-{n}"), "members": members(false) })));
    extend("forwards", each(forward));
    extend("policies", each(|n| rule("other", n)));
    // Sets and groups are named by more than one rule, as they are for.
    extend("policies", each(|n| rule("lasting", n)));
    extend("policies", each(passing));
}

fn forward(n: u32) -> Value {
    json!({ "name": format!("other-{n}"), "listen": format!("udp:{}:{}", HOST.0, 9000 + n), "to": to(false) })
}

fn rule(name: &str, n: u32) -> Value {
    json!({
        "name": format!("{name}-{n}"), "action": "allow", "from": format!("set:other-{n}"),
        "to": format!("group:other-{n}"), "services": [format!("{}/{}", if name == "other" { "udp" } else { "tcp" }, 2000 + n)],
    })
}

/// A rule that goes again.
fn passing(n: u32) -> Value {
    json!({
        "name": format!("passing-{n}"), "action": "allow", "from": cidr(200, n), "to": format!("port:{}", VMS[0]),
        "services": ["udp/3000"],
    })
}

fn to(is_other: bool) -> String {
    format!("{}:80", VMS[usize::from(is_other)])
}

fn members(is_other: bool) -> &'static [&'static str] {
    if is_other { &VMS } else { &VMS[..1] }
}

fn cidrs(n: u32, is_other: bool) -> Vec<String> {
    let mut cidrs = vec![cidr(64, n)];
    cidrs.extend(is_other.then(|| cidr(96, n)));
    cidrs
}

/// An address outside that none of the run's clients has.
fn cidr(block: u8, n: u32) -> String {
    let [.., high, low] = n.to_be_bytes();
    format!("100.{block}.{high}.{low}/32")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_object_is_edited_again_soon() {
        let paths = |first: u32| (first..first + 100).map(|n| Edit::nth(n).request());
        let named = |first| paths(first).filter(|(method, ..)| *method != "POST");
        for first in [0, 77, 5000] {
            let different: BTreeSet<String> = named(first).map(|(_, path, _)| path).collect();
            assert_eq!(different.len(), named(first).count());
        }
    }

    #[test]
    fn an_edit_changes_what_the_last_of_the_same_object_said() {
        for kind in 0..4 {
            let (_, path, document) = Edit { kind, turn: 5 + OBJECTS }.request();
            let (_, before, other) = Edit { kind, turn: 5 }.request();
            assert_eq!(path, before);
            assert_ne!(document, other);
        }
        let (.., added) = Edit { kind: 4, turn: 7 }.request();
        let (_, deleted, _) = Edit { kind: 5, turn: 7 + OBJECTS }.request();
        let added: Value = serde_json::from_str(&added).expect("it is JSON");
        assert_eq!(deleted, format!("/v1/policies/{}", added["name"].as_str().expect("it has a name")));
    }

    #[test]
    fn nfts_elements_come_and_go() {
        assert_eq!(line(8), "add element inet gate denied { 100.64.0.4 . 1000 : drop }\n");
        assert_eq!(line(9), line(8).replace("add", "delete"));
    }
}
