//! What the datapath tells at once: the ring buffer, read as soon as there is something, told as rows to
//! whoever watches, and kept for a while for those who ask later.
//!
//! Nobody is waited for. The kernel sheds events when its ring is full or a CPU's budget is spent; a watcher
//! that reads too slowly loses the oldest. Both are counted: counters are the truth, events may be shed.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    io,
    ops::RangeInclusive,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use aya::maps::{MapData, RingBuf};
use fwd_common::{
    event::{DropEvent as DropRecord, End, Event, EventKind, FlowEvent as FlowRecord},
    proto::{EtherType, IpProto},
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::broadcast,
};

use crate::api::{
    event::{DropEvent, FlowEvent},
    query::Times,
};

use super::{
    Moment, Names, QueryError,
    drops::{direction, reason_name},
    flow_event,
    flows::show_end,
    recent::Recent,
    view::protocol,
};

/// Events taken from the ring before others get their turn.
const TURN: usize = 1024;

/// A record of the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    Drop(DropRecord),
    Learnt(Event),
    Flow(FlowRecord),
}

impl Record {
    /// What all have.
    pub const fn event(&self) -> &Event {
        match self {
            Self::Drop(drop) => &drop.event,
            Self::Learnt(event) => event,
            Self::Flow(flow) => &flow.event,
        }
    }
}

/// Whether an event is asked for.
pub type Wanted<E> = Box<dyn Fn(&E) -> bool + Send + Sync>;

/// What somebody watches.
pub struct Watched<E> {
    /// What was kept, the earliest first.
    pub kept: Vec<E>,
    /// From then on; none: no more is asked for.
    pub live: Option<broadcast::Receiver<Arc<E>>>,
    pub wanted: Wanted<E>,
}

/// Those who watch, what is kept for those who ask later, and what watchers missed.
#[derive(Debug, Default)]
pub struct Events {
    drops: Recent<DropRecord, DropEvent>,
    flows: Recent<FlowRecord, FlowEvent>,
    shed: AtomicU64,
}

impl Events {
    /// Drops from now on. Who lags behind says so by [`missed`](Self::missed).
    pub fn watch_drops(&self) -> broadcast::Receiver<Arc<DropEvent>> {
        self.drops.watch()
    }

    /// Drops of a time, and those that are wanted from now on.
    pub fn drops(
        &self,
        (names, now): (&Names, Moment),
        times: Times,
        wanted: Wanted<DropEvent>,
    ) -> Watched<DropEvent> {
        let (kept, live) = self.drops.since(&range(now, times), |drop| drop.event.at_ns);
        let rows = kept.iter().filter_map(|drop| drop_row(names, now, drop));
        let live = times.until_secs.is_none().then_some(live);
        Watched { kept: rows.filter(|row| wanted(row)).collect(), live, wanted }
    }

    /// Starts and ends of flows of a time, and those that are wanted from now on.
    pub fn flows(
        &self,
        (names, now): (&Names, Moment),
        times: Times,
        wanted: Wanted<FlowEvent>,
    ) -> Watched<FlowEvent> {
        let (kept, live) = self.flows.since(&range(now, times), |flow| flow.event.at_ns);
        let rows = kept.iter().filter_map(|flow| flow_event::row(names, now, flow));
        let live = times.until_secs.is_none().then_some(live);
        Watched { kept: rows.filter(|row| wanted(row)).collect(), live, wanted }
    }

    /// Flows that edits cut within a time.
    pub fn cut_flows(
        &self,
        (names, now): (&Names, Moment),
        time: &RangeInclusive<u64>,
        wanted: &Wanted<FlowEvent>,
    ) -> Vec<FlowEvent> {
        let (kept, _) = self.flows.since(time, |flow| flow.event.at_ns);
        let is_cut = |flow: &&FlowRecord| {
            flow.event.kind == EventKind::FlowEnd as u8
                && matches!(End::from_number(flow.event.reason), Some(End::CutByPolicy | End::CutByRoute))
        };
        let rows = kept.iter().filter(is_cut).filter_map(|flow| flow_event::row(names, now, flow));
        rows.filter(|row| wanted(row)).collect()
    }

    /// Counts events that a watcher lost.
    pub fn missed(&self, events: u64) {
        self.shed.fetch_add(events, Relaxed);
    }

    /// Events that watchers lost.
    pub fn shed(&self) -> u64 {
        self.shed.load(Relaxed)
    }

    /// Keeps a drop, and tells it to those who watch.
    pub fn tell_drop(&self, names: &Names, now: Moment, drop: &DropRecord) {
        self.drops.tell(*drop, false, |drop| drop_row(names, now, drop));
    }

    /// Keeps a start or an end of a flow, tells it to those who watch, and gives it to `log` where there is one.
    pub fn tell_flow(
        &self,
        names: &Names,
        now: Moment,
        record: &FlowRecord,
        log: Option<impl FnOnce(&Arc<FlowEvent>)>,
    ) {
        let row = self.flows.tell(*record, log.is_some(), |flow| flow_event::row(names, now, flow));
        if let (Some(log), Some(row)) = (log, row) {
            log(&row);
        }
    }
}

/// Nanoseconds since boot between which a stream's kept events were.
fn range(now: Moment, times: Times) -> RangeInclusive<u64> {
    let ago = |secs: u64| now.boot_ns.saturating_sub(secs.saturating_mul(1_000_000_000));
    match (times.since_secs, times.until_secs) {
        // What is told from now on alone.
        (None, None) => RangeInclusive::new(1, 0),
        (since, until) => since.map_or(0, ago)..=until.map_or(u64::MAX, ago),
    }
}

/// Whether a port and a rule that a stream is narrowed by exist, or did.
pub(super) fn check_names(names: &Names, port: Option<&str>, rule: Option<&str>) -> Result<(), QueryError> {
    if let Some(port) = port.filter(|port| !names.knows_port(port)) {
        return Err(QueryError::Port(port.to_owned()));
    }
    match rule.filter(|rule| !names.knows_rule(rule)) {
        Some(rule) => Err(QueryError::Rule(rule.to_owned())),
        None => Ok(()),
    }
}

/// The names of a group's ports.
pub(super) fn members(names: &Names, group: Option<&str>) -> Result<Option<BTreeSet<String>>, QueryError> {
    let Some(group) = group else { return Ok(None) };
    let ports = names.group(group).ok_or_else(|| QueryError::Group(group.to_owned()))?;
    Ok(Some(ports.into_iter().filter_map(|port| names.port(port)).collect()))
}

/// Reads the ring buffer for ever, and gives each record to `take`.
///
/// # Errors
/// When the ring cannot be waited for.
pub async fn read(ring: RingBuf<MapData>, mut take: impl FnMut(&Record)) -> io::Result<()> {
    // SAFETY: the ring owns its descriptor and hands it out only borrowed, so it is open for as long as the
    // `AsyncFd` that owns the ring is registered with it.
    let ring = unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) };
    let mut ring = ring.map_err(|error| error.into_parts().1)?;
    loop {
        let mut ready = ring.readable_mut().await?;
        let mut taken = 0;
        while taken < TURN
            && let Some(record) = ready.get_inner_mut().next()
        {
            if let Some(record) = decode(&record) {
                take(&record);
            }
            taken += 1;
        }
        if taken < TURN {
            ready.clear_ready();
        } else {
            tokio::task::yield_now().await;
        }
    }
}

/// A record of the ring; none if it is too short for its kind, or of a kind that this version does not know.
pub fn decode(record: &[u8]) -> Option<Record> {
    let event: Event = pod(record)?;
    Some(match EventKind::from_number(event.kind)? {
        EventKind::Drop => Record::Drop(pod(record)?),
        EventKind::Learnt => Record::Learnt(event),
        EventKind::FlowStart | EventKind::FlowEnd => Record::Flow(pod(record)?),
    })
}

fn pod<T: aya::Pod>(record: &[u8]) -> Option<T> {
    if record.len() < size_of::<T>() {
        return None;
    }
    // SAFETY: the record is at least as long as a `T`, every bit pattern of which is a value (`Pod`); it need
    // not be aligned.
    Some(unsafe { record.as_ptr().cast::<T>().read_unaligned() })
}

/// A drop as people read it, with the frame's first bytes.
pub fn drop_row(names: &Names, now: Moment, drop: &DropRecord) -> Option<DropEvent> {
    let head = &drop.head[..usize::from(drop.event.head_len).min(drop.head.len())];
    let head = head.iter().fold(String::with_capacity(2 * head.len()), |mut text, byte| {
        write!(text, "{byte:02x}").expect("text can be added to");
        text
    });
    Some(DropEvent { head, ..row(names, now, &drop.event)? })
}

/// A packet's event as people read it.
pub fn row(names: &Names, now: Moment, event: &Event) -> Option<DropEvent> {
    let is_ip = !event.src.is_none() || !event.dst.is_none();
    let is_icmp = matches!(event.proto, IpProto::ICMP | IpProto::ICMPV6);
    let cause = names.cause(event.reason, event.rule);
    Some(DropEvent {
        time: now.text_of(if event.at_ns == 0 { now.boot_ns } else { event.at_ns })?,
        port: names.port(event.port),
        network: names.network_of_port(event.port),
        reason: reason_name(event.reason),
        direction: direction(event.direction),
        rule: cause.rule,
        forward: cause.forward,
        protocol: if is_ip { protocol(event.proto) } else { ether_type_name(event.ether_type) },
        source: if is_ip {
            show_end(event.src.to_std(), event.sport, is_icmp)
        } else {
            event.frame_src.to_string()
        },
        destination: is_ip.then(|| show_end(event.dst.to_std(), event.dport, is_icmp)),
        bytes: event.len,
        head: String::new(),
    })
}

fn ether_type_name(number: u16) -> String {
    match EtherType(number) {
        EtherType::ARP => "arp".to_owned(),
        EtherType::IPV4 => "ipv4".to_owned(),
        EtherType::IPV6 => "ipv6".to_owned(),
        EtherType(other) => format!("{other:#06x}"),
    }
}

/// Whether drops of frames that are not IP may be told as of this protocol.
pub(super) fn is_ether_type(name: &str) -> bool {
    let number = name.strip_prefix("0x").and_then(|digits| u16::from_str_radix(digits, 16).ok());
    matches!(name, "arp" | "ipv4" | "ipv6") || number.is_some_and(|number| ether_type_name(number) == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::query::{DropQuery, FlowQuery};
    use crate::observe::testing::{NO_SSH, WEB1, WEB2, ended, ip, names, now};
    use crate::observe::{drops, flows, recent::BEHIND};
    use fwd_common::{
        addr::{Ip, Mac},
        drop::DropReason,
        event::HEAD,
    };

    fn dropped(event: Event) -> DropRecord {
        DropRecord { event, head: [0; HEAD] }
    }

    fn denied() -> Event {
        Event {
            at_ns: now().boot_ns,
            src: ip("10.10.0.11"),
            dst: ip("10.10.0.12"),
            rule: NO_SSH,
            len: 74,
            sport: 40000_u16.to_be(),
            dport: 22_u16.to_be(),
            port: WEB1,
            kind: EventKind::Drop as u8,
            reason: DropReason::PolicyDenied as u8,
            proto: IpProto::TCP,
            ..Event::default()
        }
    }

    #[test]
    fn a_drop_is_told_with_port_rule_and_ends() {
        let row = row(&names(), now(), &denied()).expect("its time is known");
        assert_eq!(row.time, "2023-11-14T22:13:20.000Z");
        assert_eq!((row.port.as_deref(), row.rule.as_deref()), (Some("web1"), Some("no-ssh")));
        assert_eq!(row.reason, "policy_denied");
        assert_eq!(
            (row.source.as_str(), row.destination.as_deref()),
            ("10.10.0.11:40000", Some("10.10.0.12:22"))
        );
        assert_eq!(row.bytes, 74);
    }

    #[test]
    fn a_frame_that_is_not_ip_is_told_by_mac_and_ethertype() {
        let frame_src = Mac([2, 0, 0, 0, 0, 1]);
        let event = Event { frame_src, ether_type: 0x88cc, src: ip("::"), dst: ip("::"), ..denied() };
        let row = row(&names(), now(), &event).expect("its time is known");
        assert_eq!((row.source.as_str(), row.destination), ("02:00:00:00:00:01", None));
        assert_eq!(row.protocol, "0x88cc");
    }

    #[test]
    fn the_frames_first_bytes_are_told() {
        let mut record = dropped(Event { head_len: 3, ..denied() });
        record.head[..4].copy_from_slice(&[0x52, 0x54, 0, 0xff]);
        let row = drop_row(&names(), now(), &record).expect("its time is known");
        assert_eq!(row.head, "525400");
        record.event.head_len = 255;
        assert_eq!(drop_row(&names(), now(), &record).expect("its time is known").head.len(), 2 * HEAD);
    }

    /// A denied packet each second of the last minute, and one of ARP now.
    fn minute() -> Events {
        let (events, names) = (Events::default(), names());
        for ago in (1..=60).rev() {
            let at_ns = now().boot_ns - ago * 1_000_000_000;
            events.tell_drop(&names, now(), &dropped(Event { at_ns, len: ago as u32, ..denied() }));
        }
        let arp = Event { ether_type: 0x0806, src: Ip::NONE, dst: Ip::NONE, port: WEB2, ..denied() };
        events.tell_drop(&names, now(), &dropped(arp));
        events
    }

    fn lens(events: &Events, query: &DropQuery) -> Vec<u32> {
        let wanted = drops::wanted(&names(), query).expect("the names exist");
        let watched = events.drops((&names(), now()), query.times(), wanted);
        watched.kept.iter().map(|row| row.bytes).collect()
    }

    #[test]
    fn kept_drops_are_asked_for_by_time() {
        let events = minute();
        let none = DropQuery::default();
        assert_eq!(lens(&events, &none), [0; 0]);
        let since = |secs| DropQuery { since_secs: Some(secs), ..none.clone() };
        assert_eq!(lens(&events, &since(2)), [2, 1, 74]);
        let until = |secs, query: DropQuery| DropQuery { until_secs: Some(secs), ..query };
        assert_eq!(lens(&events, &until(58, none.clone())), [60, 59, 58]);
        assert_eq!(lens(&events, &until(9, since(10))), [10, 9]);
        let wanted = |query: &DropQuery| drops::wanted(&names(), query).expect("the names exist");
        let watched = events.drops((&names(), now()), since(2).times(), wanted(&none));
        assert!(watched.live.is_some(), "it goes on");
        let watched = events.drops((&names(), now()), until(9, none.clone()).times(), wanted(&none));
        assert!(watched.live.is_none(), "it ends");
    }

    #[test]
    fn kept_drops_are_asked_for_by_what_they_are() {
        let events = minute();
        let all = DropQuery { since_secs: Some(600), ..DropQuery::default() };
        let text = |text: &str| Some(text.to_owned());
        let count = |query: DropQuery| lens(&events, &query).len();
        assert_eq!(count(all.clone()), 61);
        assert_eq!(count(DropQuery { proto: text("arp"), ..all.clone() }), 1);
        assert_eq!(count(DropQuery { proto: text("6"), ..all.clone() }), 60);
        assert_eq!(count(DropQuery { peer: "10.10.0.12/32".parse().ok(), ..all.clone() }), 60);
        assert_eq!(count(DropQuery { peer: "10.10.0.13/32".parse().ok(), ..all.clone() }), 0);
        assert_eq!(count(DropQuery { port: text("web2"), ..all.clone() }), 1);
        assert_eq!(count(DropQuery { group: text("db"), ..all.clone() }), 0);
        assert_eq!(count(DropQuery { group: text("web"), ..all.clone() }), 61);
        assert_eq!(count(DropQuery { rule: text("no-ssh"), ..all.clone() }), 61);
        assert_eq!(count(DropQuery { rule: text("web2db"), ..all.clone() }), 0);
        let refused = |query: DropQuery| drops::wanted(&names(), &query).err().map(|e| e.to_string());
        assert_eq!(
            refused(DropQuery { group: text("rain"), ..all.clone() }),
            text("group rain does not exist")
        );
        assert!(refused(DropQuery { proto: text("0X806"), ..all }).is_some_and(|e| e.contains("0X806")));
    }

    #[test]
    fn flows_that_were_cut_are_told_by_when() {
        let (events, names) = (Events::default(), names());
        let quiet = None::<fn(&Arc<FlowEvent>)>;
        for (at_ns, end) in
            [(5, End::CutByPolicy), (6, End::Expired), (7, End::CutByRoute), (9, End::CutByPolicy)]
        {
            let mut record = ended();
            (record.event.at_ns, record.event.reason) = (at_ns, end as u8);
            events.tell_flow(&names, now(), &record, quiet);
        }
        let cut = |query: &FlowQuery| {
            let wanted = flows::wanted(&names, query).expect("the names exist");
            events.cut_flows((&names, now()), &(5..=8), &wanted).len()
        };
        assert_eq!(cut(&FlowQuery::default()), 2);
        assert_eq!(cut(&FlowQuery { port: Some("eth0".to_owned()), ..FlowQuery::default() }), 2);
        assert_eq!(cut(&FlowQuery { group: Some("db".to_owned()), ..FlowQuery::default() }), 0);
        assert_eq!(cut(&FlowQuery { proto: Some("17".to_owned()), ..FlowQuery::default() }), 0);
    }

    #[tokio::test]
    async fn a_slow_watcher_loses_the_oldest_and_learns_how_many() {
        let (events, names) = (Events::default(), names());
        events.tell_drop(&names, now(), &dropped(denied()));
        let mut watcher = events.watch_drops();
        for n in 0..(BEHIND as u32 + 10) {
            events.tell_drop(&names, now(), &dropped(Event { len: n, ..denied() }));
        }
        let lagged = watcher.recv().await.expect_err("it is behind");
        assert_eq!(lagged, broadcast::error::RecvError::Lagged(10));
        assert_eq!(watcher.recv().await.expect("the rest is there").bytes, 10);
        events.missed(10);
        assert_eq!(events.shed(), 10);
    }

    #[test]
    fn records_are_read_by_their_kind_wherever_they_lie() {
        let mut bytes = vec![0_u8; size_of::<FlowRecord>() + 1];
        let kind = std::mem::offset_of!(Event, kind);
        bytes[1 + kind] = EventKind::Learnt as u8;
        bytes[1] = 5;
        let learnt = decode(&bytes[1..=size_of::<Event>()]).expect("long enough");
        assert_eq!(learnt.event().at_ns, u64::from_ne_bytes([5, 0, 0, 0, 0, 0, 0, 0]));
        assert_eq!(decode(&bytes[1..size_of::<Event>()]), None);
        bytes[1 + kind] = EventKind::Drop as u8;
        assert!(matches!(decode(&bytes[1..=size_of::<DropRecord>()]), Some(Record::Drop(_))));
        assert_eq!(decode(&bytes[1..=size_of::<Event>()]), None, "a drop's record is longer");
        bytes[1 + kind] = EventKind::FlowEnd as u8;
        assert!(matches!(decode(&bytes[1..]), Some(Record::Flow(_))));
        assert_eq!(decode(&bytes[1..=size_of::<Event>()]), None, "a flow's record is longer");
        bytes[1 + kind] = 99;
        assert_eq!(decode(&bytes[1..]), None);
    }
}
