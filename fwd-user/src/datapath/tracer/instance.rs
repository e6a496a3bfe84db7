//! A second instance of the object: rules shared with the running datapath, everything else its own.

use std::{
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use aya::{
    Ebpf, EbpfLoader, Pod,
    maps::{Map, MapData, MapInfo, PerCpuArray, Queue, RingBuf},
    programs::{Program, ProgramError, TestRun, TestRunOptions},
};
use fwd_common::{
    addr::Mac,
    counter::{Count, DropKey, HookLedger, Ledger, TableUse},
    fdb::{FdbEntry, FdbKey},
    flow::{FlowKey, Pair},
    index::{self, HashKey},
    map::{self, Writer, program},
    neighbor::{Neighbor, NetworkAddress},
    port::PortUse,
    trace::Record,
};
use nix::sched::{CpuSet, sched_getcpu, sched_setaffinity};

use super::{
    super::{
        error::{Error, Result},
        flows::{FlowTable, Rows},
        log::LogLevel,
        object::{OBJECT, load_program, with_causes},
        sys::Point,
        table::Table,
    },
    Conversation, Injected, Passage,
    family::Family,
    open,
};

/// The constant of the object that has its steps traced, and its frames stay.
const TRACING: &str = "TRACING";
/// Rows of maps into which one frame writes.
const FEW: u32 = 256;
/// Bytes of rings into which one frame writes.
const RING: u32 = 4096;
/// Rows that a run may add to a copy.
const ROOM: usize = 16;

/// Keeps this thread on the CPU on which it runs.
pub(super) fn stay() -> Result<usize> {
    let failed = |error: nix::Error| Error::Trace(error.to_string());
    let cpu = sched_getcpu().map_err(failed)?;
    let mut own = CpuSet::new();
    own.set(cpu).map_err(failed)?;
    sched_setaffinity(nix::unistd::Pid::from_raw(0), &own).map_err(failed)?;
    Ok(cpu)
}

/// What was learnt, copied from the running datapath.
struct Learnt {
    fdb: Vec<(FdbKey, FdbEntry)>,
    neighbors: Vec<(NetworkAddress, Neighbor)>,
    macs: Vec<(u32, Mac)>,
}

/// What is held, copied from the running datapath.
struct Held {
    tables: Vec<(u32, TableUse)>,
    ports: Vec<(u32, PortUse)>,
}

/// The object, loaded for frames that come in on one port.
pub(super) struct Instance {
    object: Ebpf,
    cpu: usize,
    learnt: Learnt,
    held: Held,
}

impl Instance {
    /// # Errors
    /// A map of the running datapath cannot be read, or the kernel refuses the object.
    pub fn load(maps: &Path, injected: &Injected<'_>, cpu: usize) -> Result<Self> {
        let ports = u32::from(injected.last_port.0) + 1;
        let learnt = Learnt {
            fdb: open(maps, map::FDB)?.rows()?,
            neighbors: open(maps, map::NEIGHBORS)?.rows()?,
            macs: open(maps, map::PORT_MACS)?.rows()?,
        };
        let mut held =
            Held { tables: open(maps, map::TABLE_USE)?.rows()?, ports: open(maps, map::PORT_USE)?.rows()? };
        held.ports.truncate(ports as usize);
        let hash_key: HashKey = open(maps, map::HASH_KEY)?.get(&0_u32)?.unwrap_or_default();
        let object = load(maps, injected.point, |name| match name {
            map::FDB => Some((learnt.fdb.len() + ROOM) as u32),
            map::NEIGHBORS => Some((learnt.neighbors.len() + ROOM) as u32),
            map::LEDGERS | map::PORT_USE => Some(ports),
            map::EVENTS | map::AYA_LOGS => Some(RING),
            map::FLOWS4 | map::FLOWS6 | map::FREE4 | map::FREE6 => Some(FEW),
            map::INDEX4 | map::INDEX6 => Some(index::buckets(FEW)),
            map::HASH_KEY => Some(1),
            map::DROPS | map::RULE_TOTALS | map::FORWARD_TOTALS => Some(FEW),
            map::FRAGMENTS4 | map::FRAGMENTS6 => Some(FEW),
            _ => None,
        })?;
        let instance = Self { object, cpu, learnt, held };
        instance.put(map::HASH_KEY, &[(0_u32, hash_key.for_rows(FEW))])?;
        Ok(instance)
    }

    /// Makes the instance one through which no frame has passed, and in which these flows live.
    pub fn seed<A: Family>(&mut self, flows: &[Rows<A>]) -> Result<()> {
        self.refill(map::FDB, &self.learnt.fdb)?;
        self.refill(map::NEIGHBORS, &self.learnt.neighbors)?;
        self.put(map::PORT_MACS, &self.learnt.macs)?;
        let tables = self.held.tables.iter().map(|(family, table)| {
            // Behind these, all of its slots are fresh.
            (*family, TableUse { fresh_slots: flows.len() as u32, ..*table })
        });
        self.put(map::TABLE_USE, &tables.collect::<Vec<_>>())?;
        self.put(map::PORT_USE, &self.held.ports)?;
        self.flow_table()?.refill(flows)?;
        self.forget_free_slots(A::FREE)?;
        let drop_keys: Table<u32, u64> = self.table(map::DROP_KEYS)?;
        let taken = drop_keys.rows()?.into_iter().filter(|(_, word)| *word != 0);
        taken.map(|(row, _)| row).try_for_each(|row| drop_keys.put(&row, &0))
    }

    /// Runs the frame through the hook's program, and through the next one if that passes it up.
    pub fn pass(&mut self, injected: &Injected<'_>) -> Result<Vec<Passage>> {
        let first = self.run(injected, injected.point)?;
        let is_passed_up = first.counted.passed_up != Count::default();
        let mut passages = vec![first];
        if is_passed_up {
            passages.push(self.run(injected, Point::Ingress)?);
        }
        Ok(passages)
    }

    fn run(&mut self, injected: &Injected<'_>, point: Point) -> Result<Passage> {
        let Injected { port, ifindex, frame, .. } = *injected;
        let before = self.ledger(port.0.into(), point)?;
        let left = match (point, self.object.program(program_of(point))) {
            (Point::Xdp, Some(Program::Xdp(xdp))) => run(xdp, frame, &xdp_context(ifindex, frame.len())),
            (_, Some(Program::SchedClassifier(tc))) => run(tc, frame, &skb_context(ifindex)),
            _ => Err(Error::Trace(format!("the object has no program {}", program_of(point)))),
        }?;
        let counted = since(&self.ledger(port.0.into(), point)?, &before);
        Ok(Passage { point, frame: left, steps: self.steps()?, counted, dropped: self.dropped()? })
    }

    /// All flows.
    pub fn flows<A: Family>(&self) -> Result<Vec<Rows<A>>> {
        self.flow_table()?.flows()
    }

    fn flow_table<A: Family>(&self) -> Result<FlowTable<A>> {
        FlowTable::open(|name| self.own(name))
    }

    /// The flow of a packet: as it was admitted or found; else as far as the stages came.
    pub fn conversation<A: Family>(&self, key: FlowKey<A>) -> Result<Option<Conversation<A>>> {
        if let Some(flow) = self.flow_table()?.flow(&key)? {
            return Ok(Some(super::conversation_of(key, &flow)));
        }
        let scratch = PerCpuArray::<_, Pair<A>>::try_from(self.map(A::SCRATCH)?).map_err(of_map)?;
        // One row for each program: what another one left is of the same frame.
        for program in [2, 1, 0] {
            let rows = scratch.get(&program, 0).map_err(of_map)?;
            if let Some(pair) = rows.get(self.cpu).filter(|pair| pair.key == key) {
                return Ok(Some(Conversation { key, entry: pair.entry, reply: None }));
            }
        }
        Ok(None)
    }

    /// Those of flows that a run before has ended: by now others may have them.
    fn forget_free_slots(&mut self, name: &'static str) -> Result<()> {
        let map = self.object.map_mut(name);
        let map = map.ok_or_else(|| Error::Trace(format!("the object has no map {name}")))?;
        let mut free = Queue::<_, u32>::try_from(map).map_err(of_map)?;
        while free.pop(0).is_ok() {}
        Ok(())
    }

    fn map(&self, name: &str) -> Result<&Map> {
        self.object.map(name).ok_or_else(|| Error::Trace(format!("the object has no map {name}")))
    }

    fn table<K: Pod + Default, V: Pod + Default>(&self, name: &'static str) -> Result<Table<K, V>> {
        let (fd, info) = self.own(name)?;
        Table::of(name, fd, &info)
    }

    fn own(&self, name: &'static str) -> Result<(OwnedFd, MapInfo)> {
        let data = data(self.map(name)?)
            .ok_or_else(|| Error::Trace(format!("map {name} of the object is of another kind")))?;
        let failed = |source| Error::Map { map: name, action: "opening it", source };
        let fd = data.fd().as_fd().try_clone_to_owned().map_err(failed)?;
        Ok((fd, data.info().map_err(of_map)?))
    }

    fn put<K: Pod + Default, V: Pod + Default>(&self, name: &'static str, rows: &[(K, V)]) -> Result<()> {
        let table = self.table(name)?;
        rows.iter().try_for_each(|(key, row)| table.put(key, row))
    }

    /// Makes these the rows of a map.
    fn refill<K: Pod + Default, V: Pod + Default>(&self, name: &'static str, rows: &[(K, V)]) -> Result<()> {
        let table: Table<K, V> = self.table(name)?;
        for key in table.keys()? {
            table.delete(&key)?;
        }
        rows.iter().try_for_each(|(key, row)| table.put(key, row))
    }

    fn ledger(&self, port: u32, point: Point) -> Result<HookLedger> {
        let ledgers = PerCpuArray::<_, Ledger>::try_from(self.map(map::LEDGERS)?).map_err(of_map)?;
        let rows = ledgers.get(&port, 0).map_err(of_map)?;
        let ledger = rows.get(self.cpu).copied().unwrap_or_default();
        Ok(if point == Point::Xdp { ledger.xdp } else { ledger.skb })
    }

    fn dropped(&self) -> Result<Option<DropKey>> {
        let drop_keys: Table<u32, u64> = self.table(map::DROP_KEYS)?;
        Ok(drop_keys.rows()?.into_iter().find_map(|(_, word)| DropKey::from_word(word)))
    }

    fn steps(&mut self) -> Result<Vec<Record>> {
        let map = self.object.map_mut(map::TRACES);
        let map = map.ok_or_else(|| Error::Trace("the object has no ring of traces".to_owned()))?;
        let mut ring = RingBuf::try_from(map).map_err(of_map)?;
        let mut steps = Vec::new();
        while let Some(record) = ring.next() {
            if record.len() >= size_of::<Record>() {
                // SAFETY: long enough, and any bytes are a Record; it need not be aligned.
                steps.push(unsafe { record.as_ptr().cast::<Record>().read_unaligned() });
            }
        }
        Ok(steps)
    }
}

const fn program_of(point: Point) -> &'static str {
    match point {
        Point::Xdp => program::XDP,
        // Frames that are traced have their Ethernet header.
        Point::Ingress | Point::TunnelIngress => program::INGRESS,
        Point::Egress | Point::TunnelEgress => program::EGRESS,
    }
}

/// Loads the object; `rows` says how many rows its own maps have, where it is not what the object says.
fn load(maps: &Path, first: Point, rows: impl Fn(&str) -> Option<u32>) -> Result<Ebpf> {
    let mut loader = EbpfLoader::new();
    let level = LogLevel::Debug as u8;
    loader.override_global(LogLevel::GLOBAL, &level, true);
    loader.override_global(TRACING, &1_u8, true);
    // As where the datapath is loaded.
    loader.btf(None);
    for doc in map::ALL {
        match (doc.writer, rows(doc.name)) {
            (_, Some(rows)) => _ = loader.map_max_entries(doc.name, rows),
            (Writer::User, None) => _ = loader.map_pin_path(doc.name, maps.join(doc.name)),
            (Writer::Kernel | Writer::Both, None) => {}
        }
    }
    let mut object = loader.load(OBJECT).map_err(|e| Error::Object(with_causes(&e)))?;
    let points: &[Point] = match first {
        Point::Xdp => &[Point::Xdp, Point::Ingress],
        Point::Egress => &[Point::Egress],
        _ => &[Point::Ingress],
    };
    for point in points {
        load_program(&mut object, program_of(*point))?;
    }
    Ok(object)
}

/// Runs a program once; the frame that it left.
fn run<P>(program: &P, frame: &[u8], context: &[u8]) -> Result<Vec<u8>>
where
    P: for<'a> TestRun<Opts<'a> = TestRunOptions<'a>, Result = aya::TestRunResult>,
{
    // Answers quote a packet behind headers of their own.
    let mut left = vec![0; frame.len() + 128];
    let options = TestRunOptions {
        data_in: Some(frame),
        data_out: Some(&mut left),
        ctx_in: Some(context),
        ..TestRunOptions::new()
    };
    let run = program.test_run(options).map_err(|e| refused(&e, frame.len()))?;
    left.truncate(run.data_size_out as usize);
    Ok(left)
}

/// Of what is not a whole frame, and of one that is larger than a page, the kernel makes no packet.
fn refused(error: &ProgramError, bytes: usize) -> Error {
    match error {
        ProgramError::SyscallError(call) if call.io_error.raw_os_error() == Some(libc::EINVAL) => {
            Error::Untraceable { bytes }
        }
        _ => Error::Trace(with_causes(error)),
    }
}

/// `struct xdp_md`.
fn xdp_context(ifindex: u32, len: usize) -> Vec<u8> {
    let (data, meta, queue, egress) = (0, 0, 0, 0);
    [data, len as u32, meta, ifindex, queue, egress]
        .iter()
        .flat_map(|word: &u32| word.to_ne_bytes())
        .collect()
}

/// `struct __sk_buff`.
fn skb_context(ifindex: u32) -> Vec<u8> {
    const LEN: usize = 192;
    const IFINDEX: usize = 40;
    let mut context = vec![0; LEN];
    context[IFINDEX..IFINDEX + 4].copy_from_slice(&ifindex.to_ne_bytes());
    context
}

fn since(now: &HookLedger, before: &HookLedger) -> HookLedger {
    let since = |now: Count, before: Count| Count {
        packets: now.packets - before.packets,
        bytes: now.bytes - before.bytes,
    };
    HookLedger {
        received: since(now.received, before.received),
        forwarded: since(now.forwarded, before.forwarded),
        host: since(now.host, before.host),
        answered: since(now.answered, before.answered),
        dropped: since(now.dropped, before.dropped),
        passed_up: since(now.passed_up, before.passed_up),
    }
}

const fn data(map: &Map) -> Option<&MapData> {
    match map {
        Map::Array(data) | Map::HashMap(data) | Map::PerCpuHashMap(data) => Some(data),
        _ => None,
    }
}

fn of_map(error: aya::maps::MapError) -> Error {
    Error::Trace(with_causes(&error))
}
