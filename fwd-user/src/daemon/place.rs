//! Bringing host, programs and rows to a document, and back to the one before: for edits, and for a host that
//! changed under the same document.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use fwd_common::{
    id::{NetworkId, PortId},
    port::{Port, PortKind},
};

use super::{wanted, world::World, writer::Writer};
use crate::{
    api::{
        error::{ApiError, Code},
        settings::Settings,
    },
    compile::{self, Compiled, Tables, compile, with_patterns},
    host::{Changes, Greeting, HostPort, Inventory},
    observe::{Keep, Names},
    plan::{MapOp, diff},
    state::{Desired, EditedRules},
};

/// A document brought to the host and the datapath.
pub(super) struct Placed {
    /// With the ports that devices of a pattern are; none: there are no patterns.
    pub live: Option<Desired>,
    pub inventory: Arc<Inventory>,
    pub compiled: Compiled,
    pub names: Names,
    pub refused: Arc<BTreeMap<u32, ApiError>>,
}

/// Whether the host is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look<'a> {
    Again,
    /// It is followed, so it is as it was; nothing of it is concerned.
    AsKnown,
    /// Likewise; and nothing but these rules came, changed or went.
    AtRules(&'a EditedRules<'a>),
}

/// What a device that refuses a program means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusals {
    /// The edit cannot be made.
    Fatal,
    /// The port shows it; all others work.
    Noted,
}

impl Writer {
    /// Brings the host and the programs, but not the rows, to a document. What nothing concerns is not asked
    /// again: an edit of a rule touches neither netlink nor links.
    pub(super) fn place(
        &mut self,
        desired: &Desired,
        look: Look<'_>,
        refusals: Refusals,
    ) -> Result<Placed, ApiError> {
        let networks: Vec<_> =
            desired.document.networks.iter().filter(|n| n.has_host_port()).map(|n| n.name.as_str()).collect();
        let previous = &self.world.compiled;
        let mut inventory = match look {
            Look::Again => Arc::new(self.tools.ground.inventory(&networks)?),
            Look::AsKnown | Look::AtRules(_) => Arc::clone(&self.world.inventory),
        };
        let mut live = with_patterns(desired, &inventory, &previous.tables);
        let mut compiled = match look {
            Look::AtRules(edited) => compile::follow(&live, edited, previous),
            Look::Again | Look::AsKnown => None,
        }
        .unwrap_or_else(|| compile(&live, &inventory, &previous.tables));
        self.check_room(&compiled.tables)?;
        let ground = &mut self.tools.ground;
        let wanted = wanted::of(&live, &inventory, &compiled, &self.tools.instance);
        if look == Look::Again || self.wanted != wanted {
            ground.prepare(&wanted)?;
            self.wanted = wanted;
            let prepared = ground.inventory(&networks)?;
            if prepared != *inventory {
                live = with_patterns(desired, &prepared, &previous.tables);
                compiled = compile(&live, &prepared, &previous.tables);
                inventory = Arc::new(prepared);
            }
        }
        let mut refused = Arc::clone(&self.world.refused);
        if look == Look::Again || compiled.ports != previous.ports {
            refused = Arc::new(ground.attach(&compiled.ports).into_iter().collect());
            // That a driver refuses XDP is known once it was tried: `auto` then falls back to TCX.
            if refused.values().any(|error| error.code == Code::DriverLacks) {
                inventory = Arc::new(ground.inventory(&networks)?);
                compiled = compile(&live, &inventory, &previous.tables);
                refused = Arc::new(ground.attach(&compiled.ports).into_iter().collect());
            }
        }
        let names = match look {
            Look::AtRules(edited) => self.tools.observer.names().follow(edited),
            Look::Again | Look::AsKnown => Names::new(&live),
        };
        let live = match live {
            Cow::Borrowed(_) => None,
            Cow::Owned(live) => Some(live),
        };
        let new = refused.iter().find(|(ifindex, _)| !self.world.refused.contains_key(ifindex));
        match (new, refusals) {
            (Some((_, error)), Refusals::Fatal) => Err(error.clone()),
            _ => Ok(Placed { live, inventory, compiled, names, refused }),
        }
    }

    pub(super) fn put(&mut self, tables: &Tables) -> Result<(), ApiError> {
        self.apply(&diff(&self.world.compiled.tables, tables))
    }

    pub(super) fn apply(&mut self, plan: &[MapOp]) -> Result<(), ApiError> {
        if plan.is_empty() { Ok(()) } else { self.tools.ground.apply(plan) }
    }

    /// After a refusal: everything as the document in force wants it. What fails here is logged; the next
    /// change of the host or the next edit tries again.
    pub(super) fn undo(&mut self) {
        let accepted = Arc::clone(&self.world.accepted);
        let undone = self.tools.ground.tables().and_then(|tables| {
            self.world.compiled = Arc::new(Compiled { tables, ..(*self.world.compiled).clone() });
            let placed = self.place(&accepted, Look::Again, Refusals::Noted)?;
            self.put(&placed.compiled.tables)?;
            Ok(placed)
        });
        match undone {
            Ok(placed) => self.take(accepted, placed),
            Err(error) => tracing::error!("an edit could not be undone: {error}"),
        }
    }

    pub(super) fn take(&mut self, accepted: Arc<Desired>, placed: Placed) {
        let desired = placed.live.map_or_else(|| Arc::clone(&accepted), Arc::new);
        for (ifindex, error) in placed.refused.iter() {
            if self.world.refused.get(ifindex) != Some(error) {
                tracing::warn!("{error}");
            }
        }
        self.greet(&desired, &placed.compiled.tables);
        self.tools.observer.rename(placed.names);
        self.tools.observer.keep_flows(flows_kept(&desired));
        self.world = World {
            applied: desired.revision,
            confirmed: self.world.confirmed,
            confirm_until: self.world.confirm_until,
            accepted,
            desired,
            inventory: placed.inventory,
            compiled: Arc::new(placed.compiled),
            refused: placed.refused,
        };
        self.publish();
    }

    /// Has the gateways of networks that a VM's device has just joined speak there.
    fn greet(&self, desired: &Desired, tables: &Tables) {
        let joined = joined(&self.world.compiled.tables, tables);
        let is_joined = |port: &&HostPort| {
            desired.numbers.networks.get(&port.network).is_some_and(|network| joined.contains(network))
        };
        let greeting = |port| Greeting { port, unheard: without_mac(desired, &port.network) };
        let greetings: Vec<_> = self.wanted.host_ports.iter().filter(is_joined).map(greeting).collect();
        for error in self.tools.ground.greet(&greetings) {
            tracing::warn!("a gateway could not speak to its network: {error}");
        }
    }

    /// Readers see it from now on.
    pub(super) fn publish(&self) {
        self.readers.send_replace(Arc::new(self.world.clone()));
    }

    pub(super) fn follow_host(&mut self, changes: &Changes) {
        if changes.devices && self.is_other_host() {
            self.look_again();
        }
        let is_concerned = |id, port: &Port| {
            let by_route = changes.routes && port.is(PortKind::Uplink);
            (by_route || changes.neighbors.contains(&port.ifindex)).then_some(MapOp::Bump(id))
        };
        let ports = &self.world.compiled.tables.ports;
        let plan: Vec<_> = ports.iter().filter_map(|(id, port)| is_concerned(*id, port)).collect();
        if let Err(error) = self.tools.ground.apply(&plan) {
            tracing::error!("flows could not be marked after a change of routes: {error}");
        }
    }

    /// Whether the host looks other than when it was last looked at. Preparing it makes messages too, which
    /// must not lead to preparing it again. A bridge may have got its device back between that and the look.
    pub(super) fn is_other_host(&mut self) -> bool {
        let networks: Vec<_> = self.world.inventory.host_ports.keys().map(String::as_str).collect();
        let settled = |now: Inventory| now == *self.world.inventory && !self.wanted.is_disputed(&now);
        !self.tools.ground.inventory(&networks).is_ok_and(settled)
    }

    /// The same document on what the host is now.
    pub(super) fn look_again(&mut self) {
        let accepted = Arc::clone(&self.world.accepted);
        let followed = self.place(&accepted, Look::Again, Refusals::Noted).and_then(|placed| {
            self.put(&placed.compiled.tables)?;
            Ok(placed)
        });
        match followed {
            Ok(placed) => self.take(accepted, placed),
            Err(error) => tracing::error!("a change of the host could not be followed: {error}"),
        }
    }
}

/// Addresses of a network's ports whose MAC was not configured.
fn without_mac(desired: &Desired, network: &str) -> Vec<IpAddr> {
    let ports = desired.document.ports.iter().filter(|port| port.network == network && port.mac.is_none());
    ports.flat_map(|port| port.ips.iter().copied()).collect()
}

/// How much of the flow log is kept.
fn flows_kept(desired: &Desired) -> Option<Keep> {
    let settings = Settings::of(&desired.document.settings);
    settings.flow_log.then(|| Keep {
        bytes: u64::from(settings.flow_log_mib) << 20,
        age: Duration::from_secs(settings.flow_log_time.into()),
    })
}

/// Networks in which a VM's device is new.
fn joined(old: &Tables, new: &Tables) -> BTreeSet<NetworkId> {
    let was = |id: &PortId| old.ports.get(id).map_or(0, |row| row.ifindex);
    let is_new =
        |(id, row): &(&PortId, &Port)| row.is(PortKind::Vm) && row.ifindex != 0 && row.ifindex != was(id);
    new.ports.iter().filter(is_new).map(|(_, row)| row.network).collect()
}
