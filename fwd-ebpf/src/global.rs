//! The functions that the verifier checks on their own, once, whoever calls them.
//!
//! Verifier: it walks an inlined or a static function again for every state in which it is called; a slow
//! path that is reached in a thousand states would be walked a thousand times, past the limit of a million
//! instructions (6.18). A global function takes a context, numbers, and pointers to plain structures, and
//! returns a number; what else it needs it looks up again. Stacks of callers and callees still add up.

use core::ptr;

use aya_ebpf::bindings::{__sk_buff, xdp_md};
use fwd_common::{
    addr::{V4, V6},
    drop::DropReason,
    flow::FlowKey,
    id::{PortId, Zone},
    table::Inserted,
    verdict::{Outcome, Payload, Verdict},
};

use crate::{
    drop_row, finish,
    frame::{Deliver, Incoming, Outgoing, Swept, Xdp},
    log,
    maps::Family,
    parse, pipeline,
    report::Ingress,
    stage::{
        admit,
        flow::Revisited,
        mapping,
        recheck::{self, Kept},
        reclaim, table,
    },
};

/// The slow parts of a hook's program; `port` is the one on which the frame came in.
pub trait Global {
    /// [`pipeline::other`]
    fn other(self, port: PortId) -> Outcome<Verdict>;
    /// [`pipeline::group`]
    fn group<A: Family>(self, port: PortId) -> Outcome<Verdict>;
    /// [`pipeline::revisit`]
    fn revisit<A: Family>(self, port: PortId) -> Outcome<Revisited>;
    /// [`pipeline::guard`]
    fn guard<A: Family>(self, port: PortId) -> Outcome<Verdict>;
    /// [`pipeline::related`]
    fn related<A: Family>(self, port: PortId) -> Outcome<Verdict>;
    /// [`pipeline::first`]
    fn first<A: Family>(self, port: PortId) -> Outcome<Verdict>;
    /// [`mapping::reserve`]
    fn reserve<A: Family>(self, port: PortId, slot: u32) -> Outcome<()>;
    /// [`admit::admit`]
    fn admit<A: Family>(self, port: PortId, slot: u32) -> Outcome<Verdict>;
    /// [`finish::lose`]
    fn lose(self, port: PortId, dropped: Outcome<Verdict>);
    /// [`finish::tell`]
    fn tell(self, port: PortId, dropped: Outcome<Verdict>);
    /// [`Deliver::answer_drop`]
    fn answer<A: Family>(self, port: PortId, dropped: Outcome<Verdict>) -> bool;
    /// [`parse::read`]
    fn parse<A: Family>(self, zone: Zone) -> Outcome<()>;
    /// [`recheck::recheck`]
    fn recheck<A: Family>(self) -> Outcome<Kept>;
    /// [`admit::try_l4_port`]
    fn try_l4_port<A: Family>(self, n: u32) -> Inserted;
}

macro_rules! global {
    ($frame:ident($ctx:ident): $other:ident $lose:ident $tell:ident
     $group4:ident $revisit4:ident $guard4:ident $related4:ident $first4:ident $reserve4:ident $admit4:ident $answer4:ident $recheck4:ident $try4:ident $parse4:ident
     $group6:ident $revisit6:ident $guard6:ident $related6:ident $first6:ident $reserve6:ident $admit6:ident $answer6:ident $recheck6:ident $try6:ident $parse6:ident) => {
        global!(step $frame($ctx) $other: pipeline::other, log::other);
        #[unsafe(no_mangle)]
        extern "C" fn $lose(ctx: *mut $ctx, port: u32, dropped: u64) -> u32 {
            finish::lose($frame::new(ctx), PortId(port as u16), Outcome::from_word(dropped));
            0
        }
        #[unsafe(no_mangle)]
        extern "C" fn $tell(ctx: *mut $ctx, port: u32, dropped: u64) -> u32 {
            finish::tell($frame::new(ctx), PortId(port as u16), Outcome::from_word(dropped));
            0
        }
        global!(of_family $frame($ctx) V4: $group4 $revisit4 $guard4 $related4 $first4 $reserve4 $admit4 $answer4 $recheck4 $try4 $parse4);
        global!(of_family $frame($ctx) V6: $group6 $revisit6 $guard6 $related6 $first6 $reserve6 $admit6 $answer6 $recheck6 $try6 $parse6);

        impl Global for $frame {
            #[inline(always)]
            fn other(self, port: PortId) -> Outcome<Verdict> {
                Outcome::from_word($other(self.raw(), port.0 as u32))
            }
            global!(call group $group4 $group6 -> Verdict);
            global!(call revisit $revisit4 $revisit6 -> Revisited);
            global!(call guard $guard4 $guard6 -> Verdict);
            global!(call related $related4 $related6 -> Verdict);
            global!(call first $first4 $first6 -> Verdict);
            #[inline(always)]
            fn reserve<A: Family>(self, port: PortId, slot: u32) -> Outcome<()> {
                let (ctx, port) = (self.raw(), port.0 as u32);
                Outcome::from_word(if A::IS_V6 { $reserve6(ctx, port, slot) } else { $reserve4(ctx, port, slot) })
            }
            #[inline(always)]
            fn admit<A: Family>(self, port: PortId, slot: u32) -> Outcome<Verdict> {
                let (ctx, port) = (self.raw(), port.0 as u32);
                Outcome::from_word(if A::IS_V6 { $admit6(ctx, port, slot) } else { $admit4(ctx, port, slot) })
            }
            #[inline(always)]
            fn lose(self, port: PortId, dropped: Outcome<Verdict>) {
                $lose(self.raw(), port.0 as u32, dropped.word());
            }
            #[inline(always)]
            fn tell(self, port: PortId, dropped: Outcome<Verdict>) {
                $tell(self.raw(), port.0 as u32, dropped.word());
            }
            #[inline(always)]
            fn answer<A: Family>(self, port: PortId, dropped: Outcome<Verdict>) -> bool {
                let (ctx, port, dropped) = (self.raw(), port.0 as u32, dropped.word());
                (if A::IS_V6 { $answer6(ctx, port, dropped) } else { $answer4(ctx, port, dropped) }) != 0
            }
            #[inline(always)]
            fn parse<A: Family>(self, zone: Zone) -> Outcome<()> {
                let (ctx, zone) = (self.raw(), zone.0 as u32);
                Outcome::from_word(if A::IS_V6 { $parse6(ctx, zone) } else { $parse4(ctx, zone) })
            }
            #[inline(always)]
            fn recheck<A: Family>(self) -> Outcome<Kept> {
                let ctx = self.raw();
                Outcome::from_word(if A::IS_V6 { $recheck6(ctx) } else { $recheck4(ctx) })
            }
            #[inline(always)]
            fn try_l4_port<A: Family>(self, n: u32) -> Inserted {
                let ctx = self.raw();
                Inserted::from_word(if A::IS_V6 { $try6(ctx, n) } else { $try4(ctx, n) })
            }
        }
    };
    (of_family $frame:ident($ctx:ident) $family:ident:
     $group:ident $revisit:ident $guard:ident $related:ident $first:ident $reserve:ident $admit:ident $answer:ident $recheck:ident $try:ident $parse:ident) => {
        global!(step $frame($ctx) $group: pipeline::group::<_, $family>, log::group);
        global!(step $frame($ctx) $revisit: pipeline::revisit::<_, $family>, log::revisit);
        global!(step $frame($ctx) $guard: pipeline::guard::<_, $family>, log::guard);
        global!(step $frame($ctx) $related: pipeline::related::<_, $family>, log::related);
        global!(step $frame($ctx) $first: pipeline::first::<_, $family>, log::first);
        #[unsafe(no_mangle)]
        extern "C" fn $reserve(ctx: *mut $ctx, port: u32, slot: u32) -> u64 {
            match mapping::reserve::<_, $family>($frame::new(ctx), PortId(port as u16), slot) {
                Ok(()) => 0,
                Err(reason) => reason as u64,
            }
        }
        #[unsafe(no_mangle)]
        extern "C" fn $admit(ctx: *mut $ctx, port: u32, slot: u32) -> u64 {
            let verdict = match Ingress::at::<$frame>(PortId(port as u16)) {
                Some(ingress) => admit::admit::<_, $family>($frame::new(ctx), &ingress, slot),
                None => Outcome::dropped(DropReason::Internal),
            };
            log::admit::<$frame>(port, verdict)
        }
        #[unsafe(no_mangle)]
        extern "C" fn $answer(ctx: *mut $ctx, port: u32, dropped: u64) -> u32 {
            let reason = Outcome::<Verdict>::from_word(dropped).drop().reason;
            let ingress = Ingress::at::<$frame>(PortId(port as u16));
            ingress.is_some_and(|ingress| $frame::new(ctx).answer_drop::<$family>(&ingress, reason)) as u32
        }
        #[unsafe(no_mangle)]
        extern "C" fn $recheck(ctx: *mut $ctx) -> u64 {
            log::recheck::<$frame>(0, recheck::recheck::<_, $family>($frame::new(ctx)))
        }
        #[unsafe(no_mangle)]
        extern "C" fn $parse(ctx: *mut $ctx, zone: u32) -> u64 {
            match parse::read::<_, $family>($frame::new(ctx), Zone(zone as u16)) {
                Ok(()) => 0,
                Err(reason) => reason as u64,
            }
        }
        #[unsafe(no_mangle)]
        extern "C" fn $try(ctx: *mut $ctx, n: u32) -> u32 {
            log::try_l4_port::<$frame>(n, admit::try_l4_port::<_, $family>($frame::new(ctx), n))
        }
    };
    (step $frame:ident($ctx:ident) $name:ident: $step:path, log::$log:ident) => {
        #[unsafe(no_mangle)]
        extern "C" fn $name(ctx: *mut $ctx, port: u32) -> u64 {
            let answer = match Ingress::at::<$frame>(PortId(port as u16)) {
                Some(ingress) => $step($frame::new(ctx), &ingress),
                None => Outcome::dropped(DropReason::Internal),
            };
            log::$log::<$frame>(port, answer)
        }
    };
    (call $name:ident $v4:ident $v6:ident -> $answer:ident) => {
        #[inline(always)]
        fn $name<A: Family>(self, port: PortId) -> Outcome<$answer> {
            let (ctx, port) = (self.raw(), port.0 as u32);
            Outcome::from_word(if A::IS_V6 { $v6(ctx, port) } else { $v4(ctx, port) })
        }
    };
}

global!(Xdp(xdp_md): xdp_other xdp_lose xdp_tell
    xdp_group4 xdp_revisit4 xdp_guard4 xdp_related4 xdp_first4 xdp_reserve4 xdp_admit4 xdp_answer4 xdp_recheck4 xdp_try_l4_port4 xdp_parse4
    xdp_group6 xdp_revisit6 xdp_guard6 xdp_related6 xdp_first6 xdp_reserve6 xdp_admit6 xdp_answer6 xdp_recheck6 xdp_try_l4_port6 xdp_parse6);
global!(Incoming(__sk_buff): ingress_other ingress_lose ingress_tell
    ingress_group4 ingress_revisit4 ingress_guard4 ingress_related4 ingress_first4 ingress_reserve4 ingress_admit4 ingress_answer4 ingress_recheck4 ingress_try_l4_port4 ingress_parse4
    ingress_group6 ingress_revisit6 ingress_guard6 ingress_related6 ingress_first6 ingress_reserve6 ingress_admit6 ingress_answer6 ingress_recheck6 ingress_try_l4_port6 ingress_parse6);
global!(Outgoing(__sk_buff): egress_other egress_lose egress_tell
    egress_group4 egress_revisit4 egress_guard4 egress_related4 egress_first4 egress_reserve4 egress_admit4 egress_answer4 egress_recheck4 egress_try_l4_port4 egress_parse4
    egress_group6 egress_revisit6 egress_guard6 egress_related6 egress_first6 egress_reserve6 egress_admit6 egress_answer6 egress_recheck6 egress_try_l4_port6 egress_parse6);
global!(Swept(__sk_buff): sweep_other sweep_lose sweep_tell
    sweep_group4 sweep_revisit4 sweep_guard4 sweep_related4 sweep_first4 sweep_reserve4 sweep_admit4 sweep_answer4 sweep_recheck4 sweep_try_l4_port4 sweep_parse4
    sweep_group6 sweep_revisit6 sweep_guard6 sweep_related6 sweep_first6 sweep_reserve6 sweep_admit6 sweep_answer6 sweep_recheck6 sweep_try_l4_port6 sweep_parse6);

#[unsafe(no_mangle)]
extern "C" fn slot4() -> u32 {
    reclaim::take_slot::<V4>()
}

#[unsafe(no_mangle)]
extern "C" fn slot6() -> u32 {
    reclaim::take_slot::<V6>()
}

#[unsafe(no_mangle)]
extern "C" fn find4(key: *const FlowKey<V4>) -> u32 {
    table::row_of(key)
}

#[unsafe(no_mangle)]
extern "C" fn find6(key: *const FlowKey<V6>) -> u32 {
    table::row_of(key)
}

/// [`table::row_of`]
#[inline(always)]
pub fn find<A: Family>(key: &FlowKey<A>) -> u32 {
    let key = ptr::from_ref(key);
    if A::IS_V6 { find6(key.cast()) } else { find4(key.cast()) }
}

#[unsafe(no_mangle)]
extern "C" fn insert4(row: u32) -> u32 {
    table::publish::<V4>(row) as u32
}

#[unsafe(no_mangle)]
extern "C" fn insert6(row: u32) -> u32 {
    table::publish::<V6>(row) as u32
}

/// [`table::publish`]
#[inline(always)]
pub fn insert<A: Family>(row: u32) -> u32 {
    if A::IS_V6 { insert6(row) } else { insert4(row) }
}

#[unsafe(no_mangle)]
extern "C" fn remove4(row: u32) -> u32 {
    table::withdraw::<V4>(row) as u32
}

#[unsafe(no_mangle)]
extern "C" fn remove6(row: u32) -> u32 {
    table::withdraw::<V6>(row) as u32
}

/// [`table::withdraw`]
#[inline(always)]
pub fn remove<A: Family>(row: u32) {
    if A::IS_V6 {
        remove6(row)
    } else {
        remove4(row)
    };
}

/// [`drop_row::take`]
#[unsafe(no_mangle)]
pub extern "C" fn drop_row(key: u64) -> u32 {
    drop_row::take(key)
}

/// Takes a free slot, or [`reclaim::NONE`].
#[inline(always)]
pub fn slot<A: Family>() -> u32 {
    if A::IS_V6 { slot6() } else { slot4() }
}
