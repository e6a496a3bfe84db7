//! From what was accepted and what the host looks like to the rows that the datapath reads. Pure and
//! deterministic. One file a noun; each returns its rows.
//!
//! Ids of policies and rows follow their content: what `previous` holds keeps its id, so an edit touches
//! only what it changed.

mod addresses;
mod attachment;
mod forwards;
mod hold;
mod hook;
mod judge;
mod lookup;
mod nats;
mod neighbors;
mod networks;
mod pattern;
mod policies;
mod ports;
mod settings;
mod tables;
mod tap;
#[cfg(test)]
mod tests;
mod world;

use std::collections::BTreeMap;

use fwd_common::{id::PortId, settings::flag};

use crate::{
    api::{settings::Settings, status::ObjectState},
    host::inventory::Inventory,
    state::{Desired, EditedRules},
};

pub use attachment::{Attachment, Programs, Unfit, Use, too_narrow, unfit};
pub use hold::Hold;
pub use judge::Party;
use nats::Nats;
pub use networks::gateway_mac;
pub use pattern::with_patterns;
pub use policies::{Applied, Policies, Question, about, implicit_services};
use settings::Asked;
pub use tables::{Tables, row_bytes};
pub use tap::{device_name, given_mac};
use world::World;

/// What compiling came to.
#[derive(Clone, Debug, Default)]
pub struct Compiled {
    pub tables: Tables,
    /// What an edit of rules is followed from; nothing, if the rows were not compiled but read.
    pub policies: Policies,
    /// VM ports, uplinks and host ports: device, hook and state.
    pub ports: BTreeMap<PortId, Attachment>,
    /// Forwards by name.
    pub forwards: BTreeMap<String, ForwardState>,
    /// Translations by name.
    pub nats: BTreeMap<String, ForwardState>,
}

/// Whether a forward or a translation works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardState {
    pub state: ObjectState,
    /// Why not `ready`: object first, sentence, next step.
    pub reason: Option<String>,
}

/// Compiles all rows.
pub fn compile(desired: &Desired, inventory: &Inventory, previous: &Tables) -> Compiled {
    let world = World::new(desired, inventory);
    let attachments = attachment::compile(&world);
    let members = networks::members(&world, &attachments);
    let nats = Nats::of(&world);
    let ports = ports::compile(&world, &nats, &attachments);
    let (mut forwards, forward_states) = forwards::compile(&world);
    nats.publish(&world, &mut forwards);
    let policies = policies::compile(&world, desired, previous);
    let nat_states = Nats::states(&world);
    let asked = Asked { has_logged_rules: policies.has_logged(), has_mappings: nats.has_mappings() };
    let mut tables = Tables {
        settings: settings::compile(&world.settings, asked),
        port_of_device: ports::devices(&ports),
        devices: ports::xdp_targets(&ports),
        networks: networks::compile(&world, &members, (&nats, &attachments)),
        members: networks::member_rows(&members),
        neighbors: neighbors::compile(&world),
        allowed_sources: neighbors::allowed_sources(&world),
        host_addresses: addresses::compile(&world),
        fdb: neighbors::fdb(&ports),
        forward_clients: forwards::clients(&world),
        forwards,
        ports,
        ..Tables::default()
    };
    (tables.nat_exemptions, tables.nat_prefixes) = nats.rows();
    policies.fill(&mut tables);
    Compiled { tables, policies, ports: attachments, forwards: forward_states, nats: nat_states }
}

/// Compiles what an edit of rules changed, if nothing else did since `previous` was compiled. `None` if it tells
/// VM ports apart otherwise than before: then all has to be compiled.
pub fn follow(desired: &Desired, edited: &EditedRules<'_>, previous: &Compiled) -> Option<Compiled> {
    let policies = previous.policies.follow(edited)?;
    let mut compiled = previous.clone();
    let has_mappings = previous.tables.settings.flags & flag::MAPPINGS != 0;
    let asked = Asked { has_logged_rules: policies.has_logged(), has_mappings };
    compiled.tables.settings = settings::compile(&Settings::of(&desired.document.settings), asked);
    policies.fill(&mut compiled.tables);
    compiled.policies = policies;
    Some(compiled)
}
