//! What the datapath tells at once: the ring buffer, read as soon as there is something, and told as rows to
//! whoever watches.
//!
//! Nobody is waited for. The kernel sheds events when its ring is full or a CPU's budget is spent; a watcher
//! that reads too slowly loses the oldest. Both are counted: counters are the truth, events may be shed.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use aya::maps::{MapData, RingBuf};
use fwd_common::{
    event::{Event, EventKind, FlowEvent as FlowRecord},
    proto::{EtherType, IpProto},
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::broadcast,
};

use crate::api::event::{DropEvent, FlowEvent};

use super::{
    Moment, Names,
    drops::{direction, reason_name},
    flow_event,
    flows::show_end,
    view::protocol,
};

/// Events that a watcher may be behind.
const BEHIND: usize = 4096;
/// Events taken from the ring before others get their turn.
const TURN: usize = 1024;

/// A record of the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    Packet(Event),
    Flow(FlowRecord),
}

impl Record {
    /// What both have.
    pub const fn event(&self) -> &Event {
        match self {
            Self::Packet(event) => event,
            Self::Flow(flow) => &flow.event,
        }
    }
}

/// Those who watch, and what they missed.
#[derive(Debug)]
pub struct Events {
    drops: broadcast::Sender<Arc<DropEvent>>,
    flows: broadcast::Sender<Arc<FlowEvent>>,
    shed: AtomicU64,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            drops: broadcast::channel(BEHIND).0,
            flows: broadcast::channel(BEHIND).0,
            shed: AtomicU64::new(0),
        }
    }
}

impl Events {
    /// Drops from now on. Who lags behind says so by [`missed`](Self::missed).
    pub fn watch_drops(&self) -> broadcast::Receiver<Arc<DropEvent>> {
        self.drops.subscribe()
    }

    /// Starts and ends of flows from now on.
    pub fn watch_flows(&self) -> broadcast::Receiver<Arc<FlowEvent>> {
        self.flows.subscribe()
    }

    /// Counts events that a watcher lost.
    pub fn missed(&self, events: u64) {
        self.shed.fetch_add(events, Relaxed);
    }

    /// Events that watchers lost.
    pub fn shed(&self) -> u64 {
        self.shed.load(Relaxed)
    }

    /// Tells a drop to those who watch; does nothing where nobody does.
    pub fn tell_drop(&self, names: &Names, now: Moment, event: &Event) {
        if self.drops.receiver_count() == 0 || event.kind != EventKind::Drop as u8 {
            return;
        }
        if let Some(row) = row(names, now, event) {
            // An error says that the last watcher left just now.
            let _nobody = self.drops.send(Arc::new(row));
        }
    }

    /// Tells a start or an end of a flow to those who watch, and gives it to `keep` where that is wanted.
    pub fn tell_flow(
        &self,
        names: &Names,
        now: Moment,
        record: &FlowRecord,
        keep: Option<impl FnOnce(&Arc<FlowEvent>)>,
    ) {
        if self.flows.receiver_count() == 0 && keep.is_none() {
            return;
        }
        if let Some(row) = flow_event::row(names, now, record).map(Arc::new) {
            if let Some(keep) = keep {
                keep(&row);
            }
            let _nobody = self.flows.send(row);
        }
    }
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
        EventKind::Drop | EventKind::Learnt => Record::Packet(event),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::testing::{NO_SSH, WEB1, ip, names, now};
    use fwd_common::{addr::Mac, drop::DropReason};

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

    #[tokio::test]
    async fn a_slow_watcher_loses_the_oldest_and_learns_how_many() {
        let (events, names) = (Events::default(), names());
        events.tell_drop(&names, now(), &denied());
        let mut watcher = events.watch_drops();
        for n in 0..(BEHIND as u32 + 10) {
            events.tell_drop(&names, now(), &Event { len: n, ..denied() });
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
        bytes[1 + kind] = EventKind::Drop as u8;
        bytes[1] = 5;
        let drop = decode(&bytes[1..=size_of::<Event>()]).expect("long enough");
        assert_eq!(drop.event().at_ns, u64::from_ne_bytes([5, 0, 0, 0, 0, 0, 0, 0]));
        assert_eq!(decode(&bytes[1..size_of::<Event>()]), None);
        bytes[1 + kind] = EventKind::FlowEnd as u8;
        assert!(matches!(decode(&bytes[1..]), Some(Record::Flow(_))));
        assert_eq!(decode(&bytes[1..=size_of::<Event>()]), None, "a flow's record is longer");
        bytes[1 + kind] = 99;
        assert_eq!(decode(&bytes[1..]), None);
    }
}
