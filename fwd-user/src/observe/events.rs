//! What the datapath tells at once: the ring buffer, read as soon as there is something, kept for a while and
//! passed on to whoever watches.
//!
//! Nobody is waited for. The kernel sheds events when its ring is full or a CPU's budget is spent; a watcher
//! that reads too slowly loses the oldest. Both are counted: counters are the truth, events may be shed.

use std::{
    collections::VecDeque,
    io,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use aya::maps::{MapData, RingBuf};
use fwd_common::{
    addr::Mac,
    event::{Event, EventKind},
    proto::{EtherType, IpProto},
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::broadcast,
};

use crate::api::{
    query::FlowQuery,
    status::{EventName, EventRow},
};

use super::{
    Moment, Names,
    drops::{DropFilter, direction, reason_name},
    flows::show_end,
    view::protocol,
};

/// Events kept for those who come later.
const KEPT: usize = 4096;
/// Events that a watcher may be behind.
const BEHIND: usize = 4096;
/// Events taken from the ring before others get their turn.
const TURN: usize = 1024;

/// The events of this daemon.
#[derive(Debug)]
pub struct Events {
    kept: Mutex<VecDeque<Event>>,
    watchers: broadcast::Sender<Event>,
    shed: AtomicU64,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            kept: Mutex::new(VecDeque::with_capacity(KEPT)),
            watchers: broadcast::channel(BEHIND).0,
            shed: AtomicU64::new(0),
        }
    }
}

/// One who watches.
pub struct Watcher<'a> {
    events: &'a Events,
    receiver: broadcast::Receiver<Event>,
}

impl Events {
    /// Takes an event.
    pub fn publish(&self, event: Event) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(event);
        drop(kept);
        // An error says that nobody watches.
        let _nobody = self.watchers.send(event);
    }

    /// Events from now on.
    pub fn watch(&self) -> Watcher<'_> {
        Watcher { events: self, receiver: self.watchers.subscribe() }
    }

    /// The last events, the oldest first.
    pub fn kept(&self) -> Vec<Event> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }

    /// Events that watchers lost.
    pub fn shed(&self) -> u64 {
        self.shed.load(Relaxed)
    }

    /// Reads the ring buffer for ever.
    ///
    /// # Errors
    /// When the ring cannot be waited for.
    pub async fn read(&self, ring: RingBuf<MapData>) -> io::Result<()> {
        // SAFETY: the ring owns its descriptor and hands it out only borrowed, so it is open for as long as
        // the `AsyncFd` that owns the ring is registered with it.
        let ring = unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) };
        let mut ring = ring.map_err(|error| error.into_parts().1)?;
        loop {
            let mut ready = ring.readable_mut().await?;
            let mut taken = 0;
            while let Some(item) = ready.get_inner_mut().next() {
                if let Some(event) = decode(&item) {
                    self.publish(event);
                }
                taken += 1;
                if taken == TURN {
                    break;
                }
            }
            if taken < TURN {
                ready.clear_ready();
            } else {
                tokio::task::yield_now().await;
            }
        }
    }
}

impl Watcher<'_> {
    /// The next event; what this watcher missed is counted and passed over. None when the daemon stops.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            match self.receiver.recv().await {
                Ok(event) => return Some(event),
                Err(broadcast::error::RecvError::Lagged(n)) => {
                    self.events.shed.fetch_add(n, Relaxed);
                }
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

/// A record of the ring; none if it is not of this version's size.
fn decode(record: &[u8]) -> Option<Event> {
    if record.len() < size_of::<Event>() {
        return None;
    }
    // SAFETY: the record is at least as long as an `Event`, every bit pattern of which is a value (`Pod`);
    // it need not be aligned.
    Some(unsafe { record.as_ptr().cast::<Event>().read_unaligned() })
}

/// What is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Watch {
    Drops(DropFilter),
    /// By port, peer and protocol.
    Flows(FlowQuery),
}

impl Watch {
    /// The row of an event that is watched.
    pub fn row(&self, names: &Names, now: Moment, event: &Event) -> Option<EventRow> {
        let is_watched = match (self, EventKind::from_number(event.kind)?) {
            (Self::Drops(filter), EventKind::Drop) => filter.matches(event.port, event.reason, event.rule),
            (Self::Flows(query), EventKind::FlowStart | EventKind::FlowEnd) => {
                flow_matches(query, names, event)
            }
            _ => false,
        };
        is_watched.then(|| row(names, now, event)).flatten()
    }
}

fn flow_matches(query: &FlowQuery, names: &Names, event: &Event) -> bool {
    let ends = [event.src.to_std(), event.dst.to_std()];
    query.port.as_ref().is_none_or(|port| names.port_id(port) == Some(event.port))
        && query.rule.as_ref().is_none_or(|rule| names.rule_id(rule) == Some(event.rule))
        && query.proto.as_ref().is_none_or(|proto| protocol(event.proto) == *proto)
        && query.peer.is_none_or(|net| ends.iter().any(|end| net.contains(end)))
}

/// An event as people read it; none of a kind that this version does not know.
pub fn row(names: &Names, now: Moment, event: &Event) -> Option<EventRow> {
    let kind = EventKind::from_number(event.kind)?;
    let is_ip = !event.src.is_none() || !event.dst.is_none();
    let is_icmp = matches!(event.proto, IpProto::ICMP | IpProto::ICMPV6);
    Some(EventRow {
        time: now.text_of(event.at_ns.max(1))?,
        event: match kind {
            EventKind::Drop => EventName::Drop,
            EventKind::FlowStart => EventName::FlowStart,
            EventKind::FlowEnd => EventName::FlowEnd,
            EventKind::Learnt => EventName::Learnt,
        },
        port: names.port(event.port),
        network: names.network_of_port(event.port),
        reason: (kind == EventKind::Drop).then(|| reason_name(event.reason)),
        direction: direction(event.direction),
        rule: names.rule(event.rule),
        protocol: if is_ip { protocol(event.proto) } else { ether_type_name(event.ether_type) },
        source: if is_ip { show_end(event.src.to_std(), event.sport, is_icmp) } else { mac(event.frame_src) },
        destination: is_ip.then(|| show_end(event.dst.to_std(), event.dport, is_icmp)),
        bytes: (kind != EventKind::FlowEnd).then_some(event.len),
    })
}

fn mac(mac: Mac) -> String {
    mac.to_string()
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
    use fwd_common::{drop::DropReason, id::RuleId};

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
        let row = row(&names(), now(), &denied()).expect("a known kind");
        assert_eq!((row.event, row.time.as_str()), (EventName::Drop, "2023-11-14T22:13:20Z"));
        assert_eq!((row.port.as_deref(), row.rule.as_deref()), (Some("web1"), Some("no-ssh")));
        assert_eq!(row.reason.as_deref(), Some("policy_denied"));
        assert_eq!(
            (row.source.as_str(), row.destination.as_deref()),
            ("10.10.0.11:40000", Some("10.10.0.12:22"))
        );
        assert_eq!(row.bytes, Some(74));
    }

    #[test]
    fn a_frame_that_is_not_ip_is_told_by_mac_and_ethertype() {
        let frame_src = Mac([2, 0, 0, 0, 0, 1]);
        let event = Event { frame_src, ether_type: 0x88cc, src: ip("::"), dst: ip("::"), ..denied() };
        let row = row(&names(), now(), &event).expect("a known kind");
        assert_eq!((row.source.as_str(), row.destination), ("02:00:00:00:00:01", None));
        assert_eq!(row.protocol, "0x88cc");
    }

    #[test]
    fn watchers_get_what_they_asked_for() {
        let names = names();
        let told = |watch: Watch, event: Event| watch.row(&names, now(), &event).is_some();
        let by_rule = |rule| Watch::Drops(DropFilter { rule: Some(rule), ..DropFilter::default() });
        assert!(told(by_rule(NO_SSH), denied()));
        assert!(!told(by_rule(RuleId(9)), denied()));
        let start = Event { kind: EventKind::FlowStart as u8, ..denied() };
        let flows = |peer: &str| Watch::Flows(FlowQuery { peer: peer.parse().ok(), ..FlowQuery::default() });
        assert!(told(flows("10.10.0.12/32"), start));
        assert!(!told(flows("192.0.2.0/24"), start));
        assert!(!told(flows("10.10.0.12/32"), denied()));
    }

    #[tokio::test]
    async fn a_slow_watcher_loses_the_oldest_and_that_is_counted() {
        let events = Events::default();
        let mut watcher = events.watch();
        for n in 0..(BEHIND as u64 + 10) {
            events.publish(Event { at_ns: n, ..denied() });
        }
        let first = watcher.next().await.expect("the events live");
        assert_eq!((first.at_ns, events.shed()), (10, 10));
        assert_eq!(events.kept().len(), KEPT);
        assert_eq!(events.kept()[0].at_ns, 10);
    }

    #[test]
    fn records_are_read_byte_for_byte() {
        let mut record = [0_u8; size_of::<Event>() + 1];
        record[1] = 5;
        let event = decode(&record[1..]).expect("long enough");
        assert_eq!(event.at_ns, u64::from_ne_bytes([5, 0, 0, 0, 0, 0, 0, 0]));
        assert_eq!(decode(&record[2..]), None);
    }
}
