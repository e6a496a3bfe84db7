//! What live traffic costs here: how often the programs ran and for how long, and what each port carried meanwhile.
//!
//! The kernel times programs only while it is told to ([`Maps::time_programs`]); its clock around each run costs some
//! nanoseconds itself, which are in the figures. Nothing is sent and nothing changed.

use crate::api::{
    query::BenchQuery,
    status::{Bench, HookCounters, Path, PortRate, ProgramRate, Traffic},
};

use super::{QueryError, View, ledger, reader::ProgramRuns};

/// The counters at one moment.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Nanoseconds since boot.
    at_ns: u64,
    programs: Vec<ProgramRuns>,
    ports: Vec<(String, Path, HookCounters)>,
}

impl Sample {
    /// # Errors
    /// [`QueryError`]: a port that does not exist, or a map.
    pub fn take(view: &View<'_>, query: &BenchQuery) -> Result<Self, QueryError> {
        let asked = query.ports();
        if let Some(unknown) = asked.iter().find(|name| view.names.port_id(name).is_none()) {
            return Err(QueryError::Port((*unknown).to_owned()));
        }
        let mut ports = Vec::new();
        for (id, port) in view.names.ports() {
            if asked.is_empty() || asked.contains(&port.name.as_str()) {
                let counters = ledger::counters(view, id, None)?;
                ports.push((port.name.clone(), Path::Xdp, counters.xdp));
                ports.push((port.name.clone(), Path::Skb, counters.skb));
            }
        }
        ports.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
        Ok(Self { at_ns: view.now.boot_ns, programs: view.maps.program_runs()?, ports })
    }

    /// What happened since an earlier sample of the same query, a second. Ways on which nothing came in are left out.
    pub fn since(&self, before: &Self) -> Bench {
        let secs = self.at_ns.saturating_sub(before.at_ns) as f64 / 1e9;
        let rate = |now: u64, then: u64| (now.saturating_sub(then) as f64 / secs).round() as u64;
        let programs = self.programs.iter().filter_map(|now| {
            let then = before.programs.iter().find(|then| then.name == now.name && then.id == now.id)?;
            let runs = now.runs.saturating_sub(then.runs);
            let spent = now.spent_ns.saturating_sub(then.spent_ns) as f64;
            Some(ProgramRate {
                program: now.name.to_owned(),
                runs_per_sec: rate(now.runs, then.runs),
                ns_per_run: (runs > 0).then(|| (spent / runs as f64 * 10.0).round() / 10.0),
                cpu_percent: (spent / secs / 1e7 * 100.0).round() / 100.0,
            })
        });
        let ports = self.ports.iter().filter_map(|(name, path, now)| {
            let (_, _, then) = before.ports.iter().find(|then| (&then.0, then.1) == (name, *path))?;
            let packets = |of: fn(&HookCounters) -> Traffic| rate(of(now).packets, of(then).packets);
            Some(PortRate {
                port: name.clone(),
                path: *path,
                received: packets(|c| c.received),
                bits: rate(now.received.bytes * 8, then.received.bytes * 8),
                forwarded: packets(|c| c.forwarded),
                host: packets(|c| c.host),
                answered: packets(|c| c.answered),
                dropped: packets(|c| c.dropped),
                passed_up: packets(|c| c.passed_up),
            })
        });
        Bench { secs, programs: programs.collect(), ports: ports.filter(|port| port.received > 0).collect() }
    }
}

#[cfg(test)]
mod tests {
    use fwd_common::counter::{Count, HookLedger, Ledger};

    use super::*;
    use crate::observe::{
        Maps as _, Moment,
        testing::{WEB1, maps, names},
    };

    const SECOND: u64 = 1_000_000_000;

    fn ledger(packets: u64) -> Ledger {
        let count = Count { packets, bytes: packets * 100 };
        Ledger {
            xdp: HookLedger { received: count, forwarded: count, ..HookLedger::default() },
            ..Ledger::default()
        }
    }

    #[test]
    fn rates_are_of_what_moved() {
        let (mut maps, names) = (maps(), names());
        let name = names.port(WEB1).expect("it has a name");
        let mut samples = [(0, 1_000, 5), (2 * SECOND, 1_400, 205)].map(|(at, runs, packets)| {
            maps.program_runs = vec![ProgramRuns { name: "fwd_xdp", id: 7, runs, spent_ns: runs * 50 }];
            maps.ledgers.insert(WEB1, ledger(packets));
            let view = View::new(&maps, &names, Moment::now()).expect("memory can be read");
            let sample = Sample::take(&view, &BenchQuery::default()).expect("all ports exist");
            Sample { at_ns: at, ..sample }
        });
        let bench = samples[1].since(&samples[0]);
        let program = &bench.programs[0];
        assert_eq!((program.runs_per_sec, program.ns_per_run), (200, Some(50.0)));
        let port = bench.ports.iter().find(|port| port.port == name).expect("packets came in");
        assert_eq!((port.path, port.received, port.forwarded, port.bits), (Path::Xdp, 100, 100, 80_000));
        assert!(bench.ports.iter().all(|port| port.path == Path::Xdp), "nothing came in at the other hook");
        // A program that was loaded anew meanwhile has other counters.
        samples[1].programs[0].id = 8;
        assert!(samples[1].since(&samples[0]).programs.is_empty());
        assert!(maps.time_programs().expect("memory has no clock").is_none());
    }

    #[test]
    fn an_unknown_port_is_named() {
        let (maps, names) = (maps(), names());
        let view = View::new(&maps, &names, Moment::now()).expect("memory can be read");
        let query = BenchQuery { port: Some("web1,nobody".to_owned()), ..BenchQuery::default() };
        let error = Sample::take(&view, &query).expect_err("there is no such port");
        assert_eq!(error.to_string(), "port nobody does not exist");
    }
}
