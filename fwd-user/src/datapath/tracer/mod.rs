//! What would become of a frame, asked of the loaded rules without changing anything.
//!
//! A second instance of the object is run on the frame (`BPF_PROG_TEST_RUN`). Rules and settings it reads in the
//! very maps of the running datapath, which no program writes. All that programs write is its own: empty, or
//! copied before the run: what was learnt, what ports hold, and the flows that the frame can meet. Which flows
//! these are is known after a run only where an L4 port is chosen for a translation, so that a run that took one
//! which is taken in truth is done again.
//!
//! What differs from the running datapath: a flow table that is full is not searched for expired flows.

mod family;
mod instance;

use std::path::{Path, PathBuf};

use fwd_common::{
    addr::{Mac, V4, V6},
    counter::{DropKey, HookLedger},
    flow::{FlowEntry, FlowKey, flag},
    id::PortId,
    map,
    nat::TRIES,
    neighbor::{Neighbor, NetworkAddress},
    trace::Record,
};

use super::{
    error::Result,
    flows::{FlowTable, Rows},
    pins,
    sys::Point,
    table::Table,
};
use family::Family;
use instance::Instance;

/// A frame that comes in on a port.
#[derive(Clone, Copy, Debug)]
pub struct Injected<'a> {
    pub port: PortId,
    pub ifindex: u32,
    /// The program that sees it first.
    pub point: Point,
    pub frame: &'a [u8],
    /// The flow entry that it looks for, if it can be of a flow.
    pub key: Option<Key>,
    /// The highest number of a port.
    pub last_port: PortId,
}

/// The key of a flow entry of either family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    V4(FlowKey<V4>),
    V6(FlowKey<V6>),
}

/// A frame's way through one program.
#[derive(Clone, Debug)]
pub struct Passage {
    pub point: Point,
    /// The frame as the program left it.
    pub frame: Vec<u8>,
    /// What the slow steps answered.
    pub steps: Vec<Record>,
    /// What the frame was counted as.
    pub counted: HookLedger,
    pub dropped: Option<DropKey>,
}

/// The flow of a frame.
#[derive(Clone, Copy, Debug)]
pub struct Conversation<A> {
    pub key: FlowKey<A>,
    pub entry: FlowEntry<A>,
    /// The other direction's; none: it was not admitted, and `entry` is as far as it came.
    pub reply: Option<FlowEntry<A>>,
}

/// What became of a frame.
#[derive(Clone, Debug, Default)]
pub struct Traced {
    /// XDP first where it runs, then TCX if XDP passed the frame up.
    pub passages: Vec<Passage>,
    /// Whether the frame met a flow that lives.
    pub is_known: bool,
    pub v4: Option<Conversation<V4>>,
    pub v6: Option<Conversation<V6>>,
}

/// Runs frames through second instances of the object.
#[derive(Clone, Debug)]
pub struct Tracer {
    maps: PathBuf,
}

impl Tracer {
    /// By the directory in which the running datapath's maps are pinned.
    pub fn new(maps: &Path) -> Self {
        Self { maps: maps.to_owned() }
    }

    /// Who has an address in a network: configured, or seen.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn neighbor(&self, address: &NetworkAddress) -> Result<Option<Neighbor>> {
        open(&self.maps, map::NEIGHBORS)?.get(address)
    }

    /// The MAC that was seen on a port.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn seen_mac(&self, port: PortId) -> Result<Option<Mac>> {
        let seen: Option<Mac> = open(&self.maps, map::PORT_MACS)?.get(&u32::from(port.0))?;
        Ok(seen.filter(|mac| *mac != Mac::NONE))
    }

    /// The source and destination MACs of frames of a live flow's direction; no destination where the gateway
    /// routes them, no source where it does not matter.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn macs(&self, key: &Key) -> Result<(Option<Mac>, Option<Mac>)> {
        match key {
            Key::V4(key) => self.macs_of(key),
            Key::V6(key) => self.macs_of(key),
        }
    }

    /// The running datapath's flows.
    fn live<A: Family>(&self) -> Result<FlowTable<A>> {
        FlowTable::open(|name| pins::open_map(&self.maps.join(name), name))
    }

    fn macs_of<A: Family>(&self, key: &FlowKey<A>) -> Result<(Option<Mac>, Option<Mac>)> {
        Ok(self.live()?.entry(key)?.map_or((None, None), |entry| {
            let source = Some(entry.frame_src).filter(|mac| *mac != Mac::NONE);
            (source, Some(entry.out_dst).filter(|_| !entry.has(flag::ROUTED)))
        }))
    }

    /// Traces a frame. Takes as long as the kernel needs to check the programs. Blocks.
    ///
    /// # Errors
    /// A map of the running datapath cannot be read, or the kernel refuses the instance or a run.
    pub fn trace(&self, injected: &Injected<'_>) -> Result<Traced> {
        // A thread of its own, because it stays on one CPU: rows by CPU are read where they were written.
        std::thread::scope(|scope| {
            let traced = scope.spawn(|| {
                let cpu = instance::stay()?;
                match injected.key {
                    Some(Key::V6(key)) => self.trace_on::<V6>(injected, Some(key), cpu),
                    Some(Key::V4(key)) => self.trace_on::<V4>(injected, Some(key), cpu),
                    None => self.trace_on::<V4>(injected, None, cpu),
                }
            });
            traced.join().unwrap_or_else(|_| Err(super::Error::Trace("its thread ended early".to_owned())))
        })
    }

    fn trace_on<A: Family>(
        &self,
        injected: &Injected<'_>,
        key: Option<FlowKey<A>>,
        cpu: usize,
    ) -> Result<Traced> {
        let mut instance = Instance::load(&self.maps, injected, cpu)?;
        let live = self.live::<A>()?;
        // A packet from outside may meet a guest's mapping.
        let mapping = key.map(|key| FlowKey::outside_of_mapping(key.dst, key.dport, key.proto));
        let mut met: Vec<FlowKey<A>> = key.into_iter().chain(mapping).collect();
        let mut is_known = false;
        // Each run but the last meets one more L4 port that is taken.
        for _ in 0..=TRIES {
            let seeds = seeds(&live, &met)?;
            is_known = key.is_some_and(|key| is_of(&seeds, &key));
            instance.seed::<A>(&seeds)?;
            let passages = instance.pass(injected)?;
            let taken = instance.flows::<A>()?.into_iter().flatten().map(|half| half.key);
            let mut missed = Vec::new();
            for key in taken.filter(|key| !is_of(&seeds, key)) {
                missed.extend(live.entry(&key)?.map(|_| key));
            }
            if missed.is_empty() {
                let flow = key.map(|key| conversation(&instance, key, &seeds)).transpose()?.flatten();
                return Ok(A::traced(passages, is_known, flow));
            }
            met.extend(missed);
        }
        Ok(A::traced(instance.pass(injected)?, is_known, None))
    }
}

/// The flow of a packet: as it is after the run, or as it was if the run ended it; else as far as the stages came.
fn conversation<A: Family>(
    instance: &Instance,
    key: FlowKey<A>,
    seeds: &[Rows<A>],
) -> Result<Option<Conversation<A>>> {
    let after = instance.conversation(key)?;
    if after.is_some_and(|flow| flow.reply.is_some()) {
        return Ok(after);
    }
    let seed = seeds.iter().find(|flow| flow.iter().any(|half| half.key == key));
    Ok(seed.map(|flow| conversation_of(key, flow)).or(after))
}

/// A flow as one of its directions has it.
fn conversation_of<A: Family>(key: FlowKey<A>, [original, reply]: &Rows<A>) -> Conversation<A> {
    let (own, other) = if original.key == key { (original, reply) } else { (reply, original) };
    Conversation { key, entry: own.entry, reply: Some(other.entry).filter(|_| other.is_live != 0) }
}

/// The flows that live of those that a frame can meet.
fn seeds<A: Family>(live: &FlowTable<A>, met: &[FlowKey<A>]) -> Result<Vec<Rows<A>>> {
    let mut seeds: Vec<Rows<A>> = Vec::new();
    for key in met.iter().filter(|key| !is_of(&seeds, key)).collect::<Vec<_>>() {
        seeds.extend(live.flow(key)?);
    }
    Ok(seeds)
}

/// Whether a key is of one of these flows.
fn is_of<A: Family>(flows: &[Rows<A>], key: &FlowKey<A>) -> bool {
    flows.iter().flatten().any(|half| half.key == *key)
}

/// A map of the running datapath.
fn open<K: aya::Pod + Default, V: aya::Pod + Default>(
    maps: &Path,
    name: &'static str,
) -> Result<Table<K, V>> {
    let (fd, info) = pins::open_map(&maps.join(name), name)?;
    Table::of(name, fd, &info)
}
