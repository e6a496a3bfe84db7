//! `doctor` and `forward test`: looks at the host, the datapath and the document, and has `diagnose` judge.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use fwd_common::{id::PortId, port::PortKind, proto::IpProto};
use tokio::sync::broadcast;

use super::{
    admission,
    failure::{of_host, of_query, of_read},
    ground::target,
    handle::{Handle, aside},
    observed::not_found,
    serve, sockets,
    world::World,
};
use crate::{
    api::{
        diagnosis::{Doctor, ForwardTest},
        event::DropEvent,
        object::Noun,
        query::DropQuery,
        server::Answer,
        spec::{DefaultPolicy, Forward, Network, Port},
        status::{DropRow, DuplicateAddress},
        text::Target,
    },
    datapath::{self, Point},
    diagnose::{self, Probe, Probed, Seen},
    host::{
        self, Neighborhood, namespace_of, probe,
        survey::{ForeignProgram, Survey},
    },
    observe::{View, claims, drops, ledger},
};

/// Drops this recent are about what is so now.
const RECENT_SECS: u64 = 60;

/// All that was looked at.
struct Looked {
    world: Arc<World>,
    survey: Survey,
    drops: Vec<DropRow>,
    duplicates: Vec<DuplicateAddress>,
    mute: BTreeSet<PortId>,
    taken: BTreeMap<String, String>,
    flows: (u64, u64),
}

impl Looked {
    fn seen(&self) -> Seen<'_> {
        Seen {
            desired: &self.world.desired,
            inventory: &self.world.inventory,
            compiled: &self.world.compiled,
            survey: &self.survey,
            refused: &self.world.refused,
            drops: &self.drops,
            duplicates: &self.duplicates,
            mute: &self.mute,
            taken: &self.taken,
            flows: self.flows,
        }
    }
}

/// What the maps tell.
struct Counted {
    drops: Vec<DropRow>,
    duplicates: Vec<DuplicateAddress>,
    mute: BTreeSet<PortId>,
    flows: (u64, u64),
}

impl Handle {
    /// Everything that is not as it should be.
    pub(super) async fn diagnose(&self) -> Answer<Doctor> {
        let looked = self.look_around(None).await?;
        let findings = diagnose::doctor(&looked.seen());
        Ok(Doctor { healthy: findings.is_empty(), findings })
    }

    /// The five steps of one forward.
    pub(super) async fn test(&self, name: &str) -> Answer<ForwardTest> {
        let document = &self.world().desired.document;
        let forward = document.find::<Forward>(name).cloned();
        let forward = forward.ok_or_else(|| not_found(Noun::Forward, name))?;
        let target = forward.to.parse::<Target>().ok().map(|target| target.port);
        let looked = self.look_around(target.as_deref()).await?;
        let port = target.and_then(|name| looked.world.desired.document.find::<Port>(&name).cloned());
        let mut probed = Vec::new();
        for probe in diagnose::probes(&looked.seen(), &forward) {
            probed.push(self.probe(probe, port.as_ref()).await?);
        }
        Ok(diagnose::test(&looked.seen(), &forward, &probed))
    }

    /// Of one port only its own guest is asked for.
    async fn look_around(&self, port: Option<&str>) -> Answer<Looked> {
        let world = self.world();
        let survey = match &self.fixed.links {
            Some(_) => self.survey(&world, port).await?,
            // There is nothing to look at but the document.
            None => Survey::default(),
        };
        let Counted { drops, duplicates, mute, flows } = self.look(count).await?;
        let held = Arc::clone(&world);
        let taken = aside(move || taken(&held)).await?;
        Ok(Looked { world, survey, drops, duplicates, mute, taken, flows })
    }

    async fn survey(&self, world: &World, port: Option<&str>) -> Answer<Survey> {
        let uplinks = &world.desired.document.uplinks;
        let uplinks: Vec<_> = uplinks.iter().map(|uplink| uplink.device.as_str()).collect();
        let asked = neighborhoods(world, self.instance().as_str(), port);
        let mut survey = host::look_around(&uplinks, asked).await.map_err(|e| of_host(&e))?;
        let (programs, detached) = self.programs(world).await?;
        (survey.programs, survey.detached) = (programs, detached);
        Ok(survey)
    }

    /// Those of others, and fwd's own that are not there.
    async fn programs(&self, world: &World) -> Answer<(Vec<ForeignProgram>, Vec<ForeignProgram>)> {
        let ports = world.compiled.ports.values().filter(|port| port.ifindex != 0);
        let ports = ports.filter(|port| port.kind != PortKind::Host);
        let served = ports.clone().filter(|port| !world.refused.contains_key(&port.ifindex));
        let wanted: Vec<_> = served.map(target).collect();
        let devices: BTreeMap<u32, String> = ports.map(|port| (port.ifindex, port.device.clone())).collect();
        let filters = host::tc_filters(&devices).await.map_err(|e| of_host(&e))?;
        let target =
            |(ifindex, name): (&u32, &String)| datapath::Target { ifindex: *ifindex, name: name.clone() };
        let targets: Vec<_> = devices.iter().map(target).collect();
        let bpffs = self.fixed.options.bpffs.clone();
        let look = move || (datapath::foreign(&bpffs, &targets), datapath::detached(&bpffs, &wanted));
        let (attached, gone) = aside(look).await?;
        let attached = attached.into_iter().map(|program| ForeignProgram {
            device: program.device,
            point: point(program.point),
            name: program.name,
        });
        let own: Vec<_> = filters.iter().filter(|filter| datapath::is_own_filter(filter.handle)).collect();
        let has_filter = |device: &str, point: Point| {
            let is_ingress = matches!(point, Point::Ingress | Point::TunnelIngress);
            let mut here = own.iter().filter(|filter| filter.device == device);
            point != Point::Xdp && here.any(|filter| filter.is_ingress == is_ingress)
        };
        let gone = gone.into_iter().filter(|(device, at)| !has_filter(device, *at));
        let gone =
            gone.map(|(device, at)| ForeignProgram { device, point: point(at), name: "fwd".to_owned() });
        let gone = gone.collect();
        let others = filters.iter().filter(|filter| !datapath::is_own_filter(filter.handle));
        let filters = others.map(|filter| ForeignProgram {
            device: filter.device.clone(),
            point: if filter.is_ingress { "TC ingress" } else { "TC egress" },
            name: format!("{} filter", filter.kind),
        });
        let mut all: Vec<_> = attached.chain(filters).collect();
        all.dedup();
        Ok((all, gone))
    }

    async fn probe(&self, probe: Probe, port: Option<&Port>) -> Answer<Probed> {
        let world = self.world();
        let network = port.and_then(|port| world.desired.document.find::<Network>(&port.network));
        let namespace = network
            .filter(|network| network.is_apart())
            .map(|network| namespace_of(&self.instance(), &network.name));
        let mut events = self.observer.events.watch_drops();
        let Probe { proto, to } = probe;
        let send = if proto == IpProto::TCP { probe::tcp } else { probe::udp };
        let met = aside(move || send(namespace.as_deref(), to)).await?;
        let mut drops = Vec::new();
        loop {
            match events.try_recv() {
                Ok(event) if is_of(&event, probe) => drops.push((*event).clone()),
                Ok(_) => {}
                Err(broadcast::error::TryRecvError::Lagged(missed)) => self.observer.events.missed(missed),
                Err(_) => break,
            }
        }
        Ok(Probed { probe, met, drops })
    }

    fn instance(&self) -> String {
        serve::instance(&self.fixed.options.state_dir)
    }
}

const fn point(of: Point) -> &'static str {
    match of {
        Point::Xdp => "XDP",
        Point::Ingress | Point::TunnelIngress => "TC ingress",
        Point::Egress | Point::TunnelEgress => "TC egress",
    }
}

/// Whether an event is the drop of a probe, or of an answer to it.
fn is_of(event: &DropEvent, probe: Probe) -> bool {
    let to = probe.to.to_string();
    event.destination.as_ref() == Some(&to) || event.source == to
}

/// Guests that ought to answer, by the interface behind which they are.
fn neighborhoods(world: &World, instance: &str, port: Option<&str>) -> Vec<Neighborhood> {
    let document = &world.desired.document;
    let (survey, none) = (Survey::default(), (BTreeSet::new(), BTreeMap::new()));
    let seen = Seen {
        desired: &world.desired,
        inventory: &world.inventory,
        compiled: &world.compiled,
        survey: &survey,
        refused: &world.refused,
        drops: &[],
        duplicates: &[],
        mute: &none.0,
        taken: &none.1,
        flows: (0, 0),
    };
    let networks = document.networks.iter().filter(|network| network.has_gateway());
    // Those that something outside leads to are asked from there as well.
    let neighborhood = |(network, is_led_to): (&Network, bool)| Neighborhood {
        device: host::host_end(&network.name),
        namespace: network.is_apart().then(|| namespace_of(instance, &network.name)),
        addresses: {
            let ports = document.ports.iter().filter(|one| one.network == network.name);
            let ports = ports.filter(|one| port.is_none_or(|name| one.name == name));
            let all = ports
                .flat_map(|port| diagnose::expected(&seen, port).into_iter().map(move |addr| (port, addr)));
            let is_led =
                |(port, addr): &(&Port, IpAddr)| diagnose::is_led_to(document, &port.name, addr.is_ipv4());
            all.filter(|one| is_led(one) == is_led_to).map(|(_, addr)| addr).collect()
        },
        outside: if is_led_to { outside(world, network) } else { Vec::new() },
    };
    let twice = networks.flat_map(|network| [(network, false), (network, true)]);
    twice.map(neighborhood).filter(|place| !place.addresses.is_empty()).collect()
}

/// An address of each family that this host has on a network's uplink. In a closed network nobody is asked: what no rule
/// allows would be dropped.
fn outside(world: &World, network: &Network) -> Vec<IpAddr> {
    let uplink = network.uplink.as_ref().and_then(|uplink| world.inventory.devices.get(uplink));
    let is_open = network.default_policy == DefaultPolicy::Open;
    let families = [true, false].into_iter();
    let first = families.filter_map(|is_v4| uplink.filter(|_| is_open)?.outside_addresses(is_v4).next());
    first.collect()
}

fn count(world: &World, view: &View<'_>) -> Answer<Counted> {
    let query = DropQuery { since_secs: Some(RECENT_SECS), ..DropQuery::default() };
    let drops = drops::list(view, &query).map_err(|e| of_query(&e))?;
    let mut mute = BTreeSet::new();
    for id in world.desired.numbers.ports.values() {
        let counters = ledger::counters(view, *id, None).map_err(|e| of_read(&e))?;
        if counters.xdp.received.packets + counters.skb.received.packets == 0 {
            mute.insert(*id);
        }
    }
    let tables = view.maps.table_use().map_err(|e| of_read(&e))?;
    let used = tables.iter().map(|table| u64::from(table.flows)).max().unwrap_or(0);
    let duplicates = claims::duplicates(view).map_err(|e| of_read(&e))?;
    Ok(Counted { drops, duplicates, mute, flows: (used, view.settings.flow_limit.into()) })
}

/// Forwards whose L4 port a process of this host has by now.
fn taken(world: &World) -> BTreeMap<String, String> {
    let sockets = sockets::listening();
    let document = &world.desired.document;
    let forwards = document.forwards.iter().filter(|forward| !forward.force);
    let taken = forwards.filter_map(|forward| {
        let socket = admission::taken(forward, (document, &world.inventory), &sockets)?;
        let who = sockets::process_of(socket).unwrap_or_else(|| "a process".to_owned());
        Some((forward.name.clone(), who))
    });
    taken.collect()
}
