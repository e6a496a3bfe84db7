//! Reads the kernel's maps by their pins, so a daemon that adopted a running datapath reads what happened
//! before it started. It opens maps for reading only what `observe` needs and writes none of them.

use std::{
    fs, io,
    ops::{AddAssign, ControlFlow},
    os::fd::{AsFd, AsRawFd as _, OwnedFd},
    path::{Path, PathBuf},
};

use aya::{
    Pod,
    maps::{Array, HashMap, IterableMap, Map, MapData, MapError, PerCpuArray, RingBuf},
    programs::ProgramInfo,
    sys::{Stats, enable_stats},
};
use fwd_common::{
    addr::{Address, V4, V6},
    counter::{Count, DropCount, DropKey, Ledger, TableUse, Totals},
    drop::DropReason,
    flow::Half,
    id::{ForwardId, PortId, RuleId},
    map::{self, program},
    neighbor::{Claim, NetworkAddress},
    port::{Port, PortUse},
    settings::Settings,
};

use super::{
    batch::{self, Walked},
    reader::{FlowCounters, Maps, ProgramRuns, ReadError, Visit},
};

/// The pinned maps, open.
pub struct PinnedMaps {
    settings: Array<MapData, Settings>,
    ports: Array<MapData, Port>,
    port_use: Array<MapData, PortUse>,
    ledgers: PerCpuArray<MapData, Ledger>,
    claims: HashMap<MapData, NetworkAddress, Claim>,
    drops: PerCpuArray<MapData, DropCount>,
    drop_keys: Array<MapData, u64>,
    drops_by_reason: PerCpuArray<MapData, Count>,
    flow_counters: PerCpuArray<MapData, u64>,
    rule_totals: HashMap<MapData, RuleId, Totals>,
    forward_totals: HashMap<MapData, ForwardId, Totals>,
    table_use: Array<MapData, TableUse>,
    flows4: Array<MapData, Half<V4>>,
    flows6: Array<MapData, Half<V6>>,
    capacities: Vec<(&'static str, u32)>,
    programs: PathBuf,
}

impl PinnedMaps {
    /// Opens the maps pinned in a directory (`<bpffs>/v<ABI>/maps`).
    ///
    /// # Errors
    /// The first map that is missing, or whose type or row size is another.
    pub fn open(dir: &Path) -> Result<Self, ReadError> {
        Ok(Self {
            settings: open(dir, map::SETTINGS)?,
            ports: open(dir, map::PORTS)?,
            port_use: open(dir, map::PORT_USE)?,
            ledgers: open(dir, map::LEDGERS)?,
            claims: open(dir, map::CLAIMS)?,
            drops: open(dir, map::DROPS)?,
            drop_keys: open(dir, map::DROP_KEYS)?,
            drops_by_reason: open(dir, map::DROPS_BY_REASON)?,
            flow_counters: open(dir, map::FLOW_COUNTERS)?,
            rule_totals: open(dir, map::RULE_TOTALS)?,
            forward_totals: open(dir, map::FORWARD_TOTALS)?,
            table_use: open(dir, map::TABLE_USE)?,
            flows4: open(dir, map::FLOWS4)?,
            flows6: open(dir, map::FLOWS6)?,
            capacities: capacities(dir)?,
            programs: dir.with_file_name("programs"),
        })
    }

    fn runs_of(&self, name: &'static str) -> Result<ProgramRuns, ReadError> {
        let failed = |source| ReadError { map: name, source };
        let info =
            ProgramInfo::from_pin(self.programs.join(name)).map_err(|e| failed(io::Error::other(e)))?;
        let fd = info.fd().map_err(|e| failed(io::Error::other(e)))?;
        let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd()));
        let text = text.map_err(failed)?;
        let field = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key));
            line.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
        };
        Ok(ProgramRuns { name, id: info.id(), runs: field("run_cnt:"), spent_ns: field("run_time_ns:") })
    }
}

/// The ring buffer of events.
pub type EventRing = RingBuf<MapData>;

/// Opens the ring buffer of events pinned in a directory.
///
/// # Errors
/// [`ReadError`] names the map.
pub fn open_events(dir: &Path) -> Result<EventRing, ReadError> {
    open(dir, map::EVENTS)
}

fn open<M: TryFrom<Map, Error = MapError>>(dir: &Path, name: &'static str) -> Result<M, ReadError> {
    MapData::from_pin(dir.join(name)).and_then(Map::from_map_data).and_then(M::try_from).map_err(of(name))
}

fn capacities(dir: &Path) -> Result<Vec<(&'static str, u32)>, ReadError> {
    map::ALL
        .iter()
        .map(|doc| {
            let data = MapData::from_pin(dir.join(doc.name)).map_err(of(doc.name))?;
            Ok((doc.name, data.info().map_err(of(doc.name))?.max_entries()))
        })
        .collect()
}

fn of(map: &'static str) -> impl Fn(MapError) -> ReadError {
    move |error| ReadError { map, source: io::Error::other(error) }
}

fn sum<T: Pod + Default + AddAssign>(map: &PerCpuArray<MapData, T>, index: u32) -> Result<T, MapError> {
    Ok(map.get(&index, 0)?.iter().fold(T::default(), |mut all, one| {
        all += *one;
        all
    }))
}

/// All rows of a hash, by batches; on kernels without batches, row by row.
fn all<K: Pod + Default, V: Pod + Default>(
    name: &'static str,
    map: &HashMap<MapData, K, V>,
) -> Result<Vec<(K, V)>, ReadError> {
    let mut rows = Vec::new();
    let data = IterableMap::map(map);
    // SAFETY: aya checked the sizes of key and value when the map was opened.
    let walked = unsafe {
        batch::walk::<K, V>(data.fd().as_fd(), |keys, values| {
            rows.extend(keys.iter().copied().zip(values.iter().copied()));
            ControlFlow::Continue(())
        })
    };
    match walked {
        Ok(Walked::Done) => Ok(rows),
        Ok(Walked::Unsupported) => map.iter().map(|row| row.map_err(of(name))).collect(),
        Err(source) => Err(ReadError { map: name, source }),
    }
}

/// All rows of an array, in the same way.
fn all_of_array<V: Pod + Default>(name: &'static str, map: &Array<MapData, V>) -> Result<Vec<V>, ReadError> {
    let mut rows = Vec::with_capacity(map.len() as usize);
    // SAFETY: aya checked the sizes of key and value when the map was opened.
    let walked = unsafe {
        batch::walk::<u32, V>(IterableMap::map(map).fd().as_fd(), |_, values| {
            rows.extend_from_slice(values);
            ControlFlow::Continue(())
        })
    };
    match walked {
        Ok(Walked::Done) => Ok(rows),
        Ok(Walked::Unsupported) => (0..map.len()).map(|n| map.get(&n, 0).map_err(of(name))).collect(),
        Err(source) => Err(ReadError { map: name, source }),
    }
}

/// Visits the flows of a table in its first slots, by batches; on kernels without batches, slot by slot.
fn walk<A: Address + Pod>(
    name: &'static str,
    map: &Array<MapData, Half<A>>,
    slots: u32,
    visit: Visit<'_, A>,
) -> Result<(), ReadError> {
    let end = (2 * slots).min(map.len());
    let mut see = |first: u32, halves: &[Half<A>]| {
        let (flows, _) = halves.as_chunks::<2>();
        for [original, reply] in flows {
            let partner = Some(&reply.entry).filter(|_| reply.is_live != 0);
            if original.is_live != 0 && visit(&original.key, &original.entry, partner).is_break() {
                return ControlFlow::Break(());
            }
        }
        if first.saturating_add(halves.len() as u32) < end {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    };
    if end == 0 {
        return Ok(());
    }
    // SAFETY: aya checked the sizes of key and value when the map was opened.
    let walked = unsafe {
        batch::walk::<u32, Half<A>>(IterableMap::map(map).fd().as_fd(), |rows, halves| see(rows[0], halves))
    };
    match walked {
        Ok(Walked::Done) => return Ok(()),
        Ok(Walked::Unsupported) => {}
        Err(source) => return Err(ReadError { map: name, source }),
    }
    for first in (0..end).step_by(2) {
        let row = |number: u32| map.get(&number, 0).map_err(of(name));
        if see(first, &[row(first)?, row(first + 1)?]).is_break() {
            break;
        }
    }
    Ok(())
}

impl Maps for PinnedMaps {
    fn settings(&self) -> Result<Settings, ReadError> {
        self.settings.get(&0, 0).map_err(of(map::SETTINGS))
    }
    fn port(&self, id: PortId) -> Result<Port, ReadError> {
        self.ports.get(&id.0.into(), 0).map_err(of(map::PORTS))
    }
    fn port_use(&self, id: PortId) -> Result<PortUse, ReadError> {
        self.port_use.get(&id.0.into(), 0).map_err(of(map::PORT_USE))
    }
    fn ledger(&self, id: PortId) -> Result<Ledger, ReadError> {
        sum(&self.ledgers, id.0.into()).map_err(of(map::LEDGERS))
    }
    fn claims(&self) -> Result<Vec<(NetworkAddress, Claim)>, ReadError> {
        all(map::CLAIMS, &self.claims)
    }
    fn drops(&self) -> Result<Vec<(DropKey, DropCount)>, ReadError> {
        let mut rows = Vec::new();
        for (row, word) in (0..).zip(all_of_array(map::DROP_KEYS, &self.drop_keys)?) {
            let Some(key) = DropKey::from_word(word) else { continue };
            let drop = sum(&self.drops, row).map_err(of(map::DROPS))?;
            // Else the row was taken just now, and is yet to count.
            if drop.count.packets > 0 {
                rows.push((key, drop));
            }
        }
        Ok(rows)
    }
    fn drops_by_reason(&self) -> Result<Vec<Count>, ReadError> {
        (0..DropReason::SLOTS)
            .map(|n| sum(&self.drops_by_reason, n).map_err(of(map::DROPS_BY_REASON)))
            .collect()
    }
    fn flow_counters(&self) -> Result<FlowCounters, ReadError> {
        let mut counters = FlowCounters::default();
        for (n, counter) in (0..).zip(&mut counters) {
            *counter = sum(&self.flow_counters, n).map_err(of(map::FLOW_COUNTERS))?;
        }
        Ok(counters)
    }
    fn rule_totals(&self) -> Result<Vec<(RuleId, Totals)>, ReadError> {
        all(map::RULE_TOTALS, &self.rule_totals)
    }
    fn forward_totals(&self) -> Result<Vec<(ForwardId, Totals)>, ReadError> {
        all(map::FORWARD_TOTALS, &self.forward_totals)
    }
    fn table_use(&self) -> Result<[TableUse; 2], ReadError> {
        let family = |index| self.table_use.get(&index, 0).map_err(of(map::TABLE_USE));
        Ok([family(0)?, family(1)?])
    }
    fn program_runs(&self) -> Result<Vec<ProgramRuns>, ReadError> {
        program::ALL.map(|name| self.runs_of(name)).into_iter().collect()
    }
    fn time_programs(&self) -> Result<Option<OwnedFd>, ReadError> {
        let counting = enable_stats(Stats::RunTime);
        let failed = |e| ReadError { map: "(run-time statistics)", source: io::Error::other(e) };
        counting.map(Some).map_err(failed)
    }
    fn capacities(&self) -> &[(&'static str, u32)] {
        &self.capacities
    }
    fn walk4(&self, visit: Visit<'_, V4>) -> Result<(), ReadError> {
        walk(map::FLOWS4, &self.flows4, self.table_use()?[0].fresh_slots, visit)
    }
    fn walk6(&self, visit: Visit<'_, V6>) -> Result<(), ReadError> {
        walk(map::FLOWS6, &self.flows6, self.table_use()?[1].fresh_slots, visit)
    }
}
