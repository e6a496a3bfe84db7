//! What is counted and told: received frames, drops, and what happened to flows.

use core::{cell::UnsafeCell, ptr};

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    helpers::{bpf_jiffies64, bpf_ktime_get_coarse_ns, bpf_ktime_get_ns},
};
use fwd_common::{
    addr::{Ip, Mac},
    counter::{Count, DropKey, FlowCounter, HookLedger, Totals},
    drop::DropReason,
    event::{Budget, DropEvent, Event, EventKind, HEAD},
    flow::{FlowEntry, Half, Tick},
    id::{ForwardId, PortId, RuleId, Zone},
    port::{self, Port, PortKind},
    verdict::{Dropped, Outcome, Verdict},
};

use crate::{
    atomic::shared,
    drop_row,
    frame::{Frame, Hook},
    maps::{self, Family},
    stage::table::Flows,
};

/// The port on which a frame came in, with what every stage needs of it.
pub struct Ingress {
    pub id: PortId,
    pub port: &'static Port,
    /// The port's, read before anything else.
    pub generation: u32,
    ledger: *mut HookLedger,
}

impl Ingress {
    /// The port of the frame's device; none: the device is not fwd's.
    #[inline(always)]
    pub fn of<F: Frame>(frame: F) -> Option<Self> {
        Self::at::<F>(maps::port_of_device(frame.ifindex())?)
    }

    /// A port by id.
    #[inline(always)]
    pub fn at<F: Frame>(id: PortId) -> Option<Self> {
        Self::counted::<F>(id).filter(|ingress| !ingress.port.is(PortKind::None))
    }

    /// The port on which a frame was counted as received. It may be gone since; the ledger still wants to know
    /// what became of the frame.
    #[inline(always)]
    pub fn counted<F: Frame>(id: PortId) -> Option<Self> {
        let ledger = maps::LEDGERS.get_ptr_mut(id.0 as u32)?;
        // SAFETY: a pointer into a per-CPU row, of which only a field's address is taken.
        let ledger = unsafe {
            match F::HOOK {
                Hook::Xdp => &raw mut (*ledger).xdp,
                Hook::Skb => &raw mut (*ledger).skb,
            }
        };
        let port = maps::port_row(id)?;
        Some(Self { id, port, generation: port.generation, ledger })
    }

    #[inline(always)]
    pub fn is_bridged(&self) -> bool {
        self.port.has(port::flag::BRIDGED)
    }

    /// What to do with a frame that cannot be read: an uplink's is the host's affair.
    #[inline(always)]
    pub fn unparsed(&self, reason: DropReason) -> Outcome<Verdict> {
        if self.port.is(PortKind::Uplink) { Outcome::ok(Verdict::HOST) } else { Outcome::dropped(reason) }
    }

    /// Adds to one column of this CPU's ledger.
    #[inline(always)]
    pub fn count(&self, column: impl FnOnce(&mut HookLedger) -> &mut Count, count: Count) {
        // SAFETY: the row is this CPU's, and programs of one hook do not nest on a port.
        *column(unsafe { &mut *self.ledger }) += count;
    }
}

/// Packets and bytes that a frame stands for.
#[inline(always)]
pub fn size_of_frame<F: Frame>(frame: F) -> Count {
    Count { packets: frame.segments(), bytes: frame.len() as u64 }
}

#[inline(always)]
pub fn received(ingress: &Ingress, size: Count) {
    ingress.count(|l| &mut l.received, size);
}

/// The lower half of the jiffies at which the clock was read last, and the tick that it showed: in one word, so
/// that no CPU sees half of it.
struct Clock(UnsafeCell<u64>);

// SAFETY: one aligned word, loaded and stored whole.
unsafe impl Sync for Clock {}

impl Clock {
    #[inline(always)]
    fn load(&self) -> u64 {
        // SAFETY: as for `Sync`.
        unsafe { ptr::read_volatile(self.0.get()) }
    }

    /// CPUs that store at once store the same.
    #[inline(always)]
    fn store(&self, word: u64) {
        // SAFETY: as for `Sync`.
        unsafe { ptr::write_volatile(self.0.get(), word) };
    }
}

static CLOCK: Clock = Clock(UnsafeCell::new(0));
/// What the clock showed when drops were counted last, in nanoseconds, and the jiffies of that moment.
static DROPS_CLOCK: [Clock; 2] = [Clock(UnsafeCell::new(0)), Clock(UnsafeCell::new(0))];

/// Now, at the grain of the kernel's tick: the clock moves when jiffies do, and those the verifier makes a load
/// of, not a call.
#[inline(always)]
pub fn now() -> Tick {
    // SAFETY: reads a counter.
    let jiffies = unsafe { bpf_jiffies64() } as u32;
    let last = CLOCK.load();
    if (last >> 32) as u32 == jiffies {
        return Tick(last as u32);
    }
    // SAFETY: reads a clock.
    let tick = Tick::from_ns(unsafe { bpf_ktime_get_coarse_ns() });
    CLOCK.store((jiffies as u64) << 32 | tick.0 as u64);
    tick
}

/// Nanoseconds since boot at the same grain, for drops: a flood of them asks the clock once for all. The time is
/// stored before its jiffies, so a CPU that reads between the two asks for itself.
#[inline(always)]
pub fn now_ns() -> u64 {
    let [time, at] = &DROPS_CLOCK;
    // SAFETY: reads a counter.
    let jiffies = unsafe { bpf_jiffies64() };
    if at.load() == jiffies {
        return time.load();
    }
    // SAFETY: reads a clock.
    let ns = unsafe { bpf_ktime_get_coarse_ns() };
    time.store(ns);
    at.store(jiffies);
    ns
}

/// Counts a drop by port, reason and rule; whether it may be told, by [`tell_drop`].
#[inline(always)]
pub fn dropped(ingress: PortId, dropped: Dropped, count: Count) -> bool {
    if let Some(all) = maps::DROPS_BY_REASON.get_ptr_mut(dropped.reason as u32) {
        // SAFETY: this CPU's row.
        unsafe { *all += count };
    }
    let key = DropKey {
        rule: dropped.rule,
        port: ingress,
        reason: dropped.reason as u8,
        direction: dropped.direction as u8,
    };
    match maps::DROPS.get_ptr_mut(drop_row::of(key.word())) {
        Some(row) => {
            // SAFETY: this CPU's row.
            let row = unsafe { &mut *row };
            row.count += count;
            row.last_seen_ns = now_ns();
        }
        None => add(FlowCounter::DropsUnattributed, count.packets),
    }
    // In a storm most are not told, so what it takes is read after that is known.
    may_tell(Budget::Drops)
}

/// Tells a drop that [`dropped`] said may be told, with what `head` copies of the frame.
#[inline(always)]
pub fn tell_drop(
    ingress: PortId,
    dropped: Dropped,
    len: u64,
    told: Told,
    head: impl FnOnce(*mut [u8; HEAD]) -> usize,
) {
    let Some(mut record) = maps::EVENTS.reserve::<DropEvent>(0) else {
        return add(FlowCounter::EventsLost, 1);
    };
    let row = record.as_mut_ptr();
    // SAFETY: a field of the reserved record.
    let head_len = head(unsafe { &raw mut (*row).head }) as u8;
    let event = Event {
        // SAFETY: reads a clock.
        at_ns: unsafe { bpf_ktime_get_ns() },
        src: told.src,
        dst: told.dst,
        rule: dropped.rule,
        len: len as u32,
        sport: told.sport,
        dport: told.dport,
        port: ingress,
        kind: EventKind::Drop as u8,
        reason: dropped.reason as u8,
        proto: told.proto,
        direction: dropped.direction as u8,
        frame_src: told.frame_src,
        ether_type: told.ether_type,
        zone: Zone::OUTSIDE,
        head_len,
        _pad: [0; 3],
    };
    // SAFETY: as above. Of the head the rest is what an earlier record had there, and nobody reads it.
    unsafe { (&raw mut (*row).event).write(event) };
    record.submit(0);
}

/// What an event tells of a packet.
#[derive(Clone, Copy, Default)]
pub struct Told {
    pub src: Ip,
    pub dst: Ip,
    pub sport: u16,
    pub dport: u16,
    pub ether_type: u16,
    pub proto: fwd_common::proto::IpProto,
    pub frame_src: Mac,
}

/// Sends an event, if this CPU has not sent too many in this tick and the ring has room.
#[inline(always)]
pub fn event(event: impl FnOnce() -> Event) {
    if !may_tell(Budget::Drops) {
        return;
    }
    match maps::EVENTS.reserve::<Event>(0) {
        Some(mut record) => {
            record.write(event());
            record.submit(0);
        }
        None => add(FlowCounter::EventsLost, 1),
    }
}

/// Whether this CPU's budget has room for an event; else the event is lost, and counted.
#[inline(always)]
pub fn may_tell(budget: Budget) -> bool {
    let may = maps::settings().is_ok_and(|settings| {
        let limit = match budget {
            Budget::Drops => settings.events_per_tick,
            Budget::Flows => settings.flow_events_per_tick,
        };
        within_budget(budget, limit)
    });
    if !may {
        add(FlowCounter::EventsLost, 1);
    }
    may
}

#[inline(always)]
fn within_budget(budget: Budget, limit: u32) -> bool {
    let Some(budget) = maps::EVENT_BUDGET.get_ptr_mut(budget as u32) else { return false };
    // SAFETY: this CPU's row.
    let [tick, sent] = unsafe { &mut *budget };
    let now = now().0;
    if *tick != now {
        (*tick, *sent) = (now, 0);
    }
    *sent = sent.wrapping_add(1);
    *sent <= limit
}

/// Adds to a counter of what flow tables did.
#[inline(always)]
pub fn add(counter: FlowCounter, n: u64) {
    if let Some(row) = maps::FLOW_COUNTERS.get_ptr_mut(counter as u32) {
        // SAFETY: this CPU's row.
        unsafe { *row += n };
    }
}

/// Counts a flow that was admitted, by its rule and its forward.
#[inline(never)]
pub fn began<A>(entry: &FlowEntry<A>) -> u32 {
    // SAFETY: reads a clock. A race leaves one of two times a moment apart.
    let now = unsafe { bpf_ktime_get_coarse_ns() };
    for totals in [rule(entry.rule), forward(entry.forward)].into_iter().flatten() {
        shared(&mut totals.flows).add(1);
        totals.last_hit_ns = now;
    }
    0
}

/// Counts a flow that a staged rule would decide, or whose replies a rule permits.
#[inline(never)]
pub fn decided(id: RuleId) -> u32 {
    if let Some(totals) = rule(id) {
        shared(&mut totals.flows).add(1);
        // SAFETY: reads a clock. A race leaves one of two times a moment apart.
        totals.last_hit_ns = unsafe { bpf_ktime_get_coarse_ns() };
    }
    0
}

/// Counts packets that were dropped, and that a staged rule would decide.
#[inline(always)]
pub fn would_pass(id: RuleId, count: Count) {
    if let Some(totals) = rule(id) {
        shared(&mut totals.out.packets).add(count.packets);
        shared(&mut totals.out.bytes).add(count.bytes);
        // SAFETY: reads a clock. A race leaves one of two times a moment apart.
        totals.last_hit_ns = unsafe { bpf_ktime_get_coarse_ns() };
    }
}

/// Counts a flow that ends, by its original direction.
#[inline(never)]
pub fn ended<A: Family>(half: &Half<A>, is_cut: bool) -> u32 {
    let entry = &half.entry;
    let (back, staged) = match Flows::partner(half) {
        Some(Half { entry: reply, .. }) => (Count { packets: reply.packets, bytes: reply.bytes }, reply.rule),
        None => (Count::default(), RuleId(0)),
    };
    for totals in [rule(entry.rule), forward(entry.forward), rule(staged)].into_iter().flatten() {
        shared(&mut totals.cut).add(is_cut as u64);
        shared(&mut totals.out.packets).add(entry.packets);
        shared(&mut totals.out.bytes).add(entry.bytes);
        shared(&mut totals.back.packets).add(back.packets);
        shared(&mut totals.back.bytes).add(back.bytes);
    }
    0
}

/// What a flow of no rule would insert: on no stack.
static NONE_YET: Totals = Totals {
    flows: 0,
    cut: 0,
    out: Count { packets: 0, bytes: 0 },
    back: Count { packets: 0, bytes: 0 },
    last_hit_ns: 0,
};

#[inline(always)]
fn rule(id: RuleId) -> Option<&'static mut Totals> {
    if id == RuleId(0) {
        return None;
    }
    let row = match maps::RULE_TOTALS.get_ptr_mut(&id) {
        Some(row) => row,
        None => {
            let _ = maps::RULE_TOTALS.insert(&id, &NONE_YET, BPF_NOEXIST as u64);
            maps::RULE_TOTALS.get_ptr_mut(&id)?
        }
    };
    // SAFETY: not preallocated, so the row stays what it is while this program runs.
    Some(unsafe { &mut *row })
}

#[inline(always)]
fn forward(id: ForwardId) -> Option<&'static mut Totals> {
    if id == ForwardId(0) {
        return None;
    }
    let row = match maps::FORWARD_TOTALS.get_ptr_mut(&id) {
        Some(row) => row,
        None => {
            let _ = maps::FORWARD_TOTALS.insert(&id, &NONE_YET, BPF_NOEXIST as u64);
            maps::FORWARD_TOTALS.get_ptr_mut(&id)?
        }
    };
    // SAFETY: as for rules.
    Some(unsafe { &mut *row })
}
