//! What becomes of the flows that live when an edit binds (`--existing`), and whether they are decided before
//! the answer (`--wait`).

use std::collections::BTreeSet;

use super::world::World;
use crate::{
    api::{
        request::{Existing, WriteQuery},
        spec::{Document, Nat, Port},
    },
    compile::Tables,
    plan::{self, Admitted, MapOp, diff},
    state::{Change, Numbers},
};

/// Whether live flows must be settled before an edit: what earlier edits left to be decided is theirs, to
/// decide and to be counted for.
pub const fn settles_first(query: WriteQuery) -> bool {
    query.wait || !matches!(query.existing, Existing::Recheck)
}

/// The way from the tables in force to an edit's.
pub fn plan<'a>(
    world: &World,
    tables: &Tables,
    changes: impl Iterator<Item = &'a Change>,
    query: WriteQuery,
) -> Vec<MapOp> {
    let old = &world.compiled.tables;
    let mut plan = diff(old, tables);
    match query.existing {
        Existing::Recheck => {}
        Existing::Keep => plan = plan::keep(plan, old.settings, tables.settings),
        Existing::Cut => plan = plan::cut(plan, &admitted(changes, world)),
    }
    if query.wait {
        plan.push(MapOp::Recheck);
    }
    plan
}

/// What the objects that are edited have admitted, as they were.
fn admitted<'a>(changes: impl Iterator<Item = &'a Change>, world: &World) -> BTreeSet<Admitted> {
    let (document, numbers) = (&world.desired.document, &world.desired.numbers);
    let edited = changes.filter(|change| change.before.is_some());
    edited.flat_map(|change| by_object(&change.kind, &change.name, document, numbers)).collect()
}

fn by_object(kind: &str, name: &str, document: &Document, numbers: &Numbers) -> Vec<Admitted> {
    let port = |port: &Port| numbers.ports.get(&port.name).copied();
    match kind {
        "policy" => numbers.rules.get(name).copied().map(Admitted::ByRule).into_iter().collect(),
        "forward" => numbers.forwards.get(name).copied().map(Admitted::ByForward).into_iter().collect(),
        "nat" => by_nat(name, document, numbers),
        "port" => {
            let ports = document.ports.iter().filter(|port| port.given_name() == name).filter_map(port);
            ports.map(Admitted::AtPort).collect()
        }
        "uplink" => numbers.uplinks.get(name).copied().map(Admitted::AtPort).into_iter().collect(),
        "network" => {
            let ports = document.ports.iter().filter(|p| p.network == name).filter_map(port);
            ports.chain(numbers.host_ports.get(name).copied()).map(Admitted::AtPort).collect()
        }
        "group" | "set" => {
            let end = format!("{kind}:{name}");
            let rules = document.policies.iter().filter(|p| p.from.contains(&end) || p.to.contains(&end));
            rules.filter_map(|rule| numbers.rules.get(&rule.name)).copied().map(Admitted::ByRule).collect()
        }
        _ => Vec::new(),
    }
}

/// One address for one port admits by itself; what another one translates are flows of its networks' ports.
fn by_nat(name: &str, document: &Document, numbers: &Numbers) -> Vec<Admitted> {
    let Some(nat) = document.find::<Nat>(name) else { return Vec::new() };
    if let Some(pair) = nat.pair() {
        let port = numbers.ports.get(&pair.port).copied().map(Admitted::AtPort);
        return numbers.nats.get(name).copied().map(Admitted::ByForward).into_iter().chain(port).collect();
    }
    let is_of = |port: &&Port| nat.network.as_ref().is_none_or(|network| port.network == *network);
    let ports = document.ports.iter().filter(is_of);
    ports.filter_map(|port| numbers.ports.get(&port.name)).copied().map(Admitted::AtPort).collect()
}
