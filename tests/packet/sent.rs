//! What became of one frame, and the expectations that a test has of it.
//!
//! Each expectation names verdict, frame and counters whole. What the verdict itself moves (the port's ledger,
//! drops by reason, events of drops) is added here; a test names the rest.

use fwd_common::drop::DropReason;
use fwd_common::policy::Direction;
use fwd_tests::frame::{Packet, difference, render};
use fwd_tests::lab::Hook;

use crate::count::Moved;

/// One frame that went through the program, not yet judged.
#[must_use = "a frame whose fate nobody checks tests nothing"]
pub struct Sent {
    hook: Hook,
    device: String,
    code: i32,
    frame: Vec<u8>,
    out: Vec<u8>,
    moved: Moved,
}

/// Counters that a test names, and by how much they move.
pub type Named<'a> = &'a [(&'a str, i64)];

/// The columns of a ledger.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Column {
    Forwarded,
    /// Counts as forwarded, and the frame itself ends here.
    Flooded,
    Host,
    Answered,
    Dropped,
    /// Dropped by a rule, and answered.
    Rejected,
    PassedUp,
}

impl Sent {
    pub(crate) fn new(
        (hook, device): (Hook, &str),
        code: i32,
        (frame, out): (Vec<u8>, Vec<u8>),
        moved: Moved,
    ) -> Self {
        Self { hook, device: device.to_owned(), code, frame, out, moved }
    }

    /// The source L4 port of the frame that came out, where the datapath chose it.
    pub fn source_l4_port(&self) -> u16 {
        self.word_of_l4(0)
    }

    /// The id of the echo that came out.
    pub fn echo_id(&self) -> u16 {
        self.word_of_l4(4)
    }

    /// Two bytes of the frame that came out.
    pub fn word(&self, at: usize) -> u16 {
        u16::from_be_bytes([self.out[at], self.out[at + 1]])
    }

    fn word_of_l4(&self, offset: usize) -> u16 {
        let l4 = if self.out[12..14] == [0x86, 0xdd] { 54 } else { 34 };
        self.word(l4 + offset)
    }

    /// Leaves by a port as a packet of a flow; XDP hands over to TCX where `named` is empty and the port is the
    /// host's.
    #[track_caller]
    pub fn forwards(self, egress: &str, packet: &Packet, named: Named<'_>) {
        if egress.starts_with("fwd-") && self.hook == Hook::Xdp {
            return self.passes();
        }
        let via = (format!("via {egress}"), 1);
        self.judge(Column::Forwarded, &packet.frame(), with(named, &[via]));
    }

    /// TCX sends it out of a port as a packet of a flow; XDP hands over.
    #[track_caller]
    pub fn forwards_by_tcx(self, egress: &str, frame: &[u8], named: Named<'_>) {
        if self.hook == Hook::Xdp {
            return self.passes();
        }
        let via = (format!("via {egress}"), 1);
        self.judge(Column::Forwarded, frame, with(named, &[via]));
    }

    /// Leaves by a port, without a flow.
    #[track_caller]
    pub fn switches(self, packet: &Packet, named: Named<'_>) {
        self.judge(Column::Forwarded, &packet.frame(), with(named, &[]));
    }

    /// Goes on to the host's stack (of XDP: to TCX), as it was.
    #[track_caller]
    pub fn passes(self) {
        self.passes_counting(&[]);
    }

    #[track_caller]
    pub fn passes_counting(self, named: Named<'_>) {
        let column = if self.hook == Hook::Xdp { Column::PassedUp } else { Column::Host };
        let frame = self.frame.clone();
        self.judge(column, &frame, with(named, &[]));
    }

    /// Copies go to the other members of the network and the frame itself ends here; XDP hands over.
    #[track_caller]
    pub fn floods(self, device: &str, copies: i64) {
        self.floods_as(Column::Flooded, device, copies, &[]);
    }

    /// Copies go to the other members, and the frame itself to the host behind the uplink; XDP hands over.
    #[track_caller]
    pub fn floods_to_host(self, device: &str, copies: i64) {
        self.floods_as(Column::Forwarded, device, copies, &[]);
    }

    /// Copies go to the other members, and the frame goes on as it was; XDP hands over.
    #[track_caller]
    pub fn floods_and_goes_on(self, device: &str, copies: i64, named: Named<'_>) {
        self.floods_as(Column::Host, device, copies, named);
    }

    #[track_caller]
    fn floods_as(self, column: Column, device: &str, copies: i64, named: Named<'_>) {
        let frame = self.frame.clone();
        if self.hook == Hook::Xdp {
            return self.judge(Column::PassedUp, &frame, with(named, &[]));
        }
        self.judge(column, &frame, with(named, &[(format!("{device} copies"), copies)]));
    }

    /// Goes on where it was going, counted on no port.
    #[track_caller]
    pub fn goes_on(self, named: Named<'_>) {
        let (frame, wanted) = (self.frame.clone(), with(named, &[]));
        self.judge_uncounted(code_of(Hook::Tcx, Column::Host), &frame, &wanted);
    }

    #[track_caller]
    pub fn drops(self, reason: DropReason) {
        self.drops_counting(reason, &[]);
    }

    #[track_caller]
    pub fn drops_counting(self, reason: DropReason, named: Named<'_>) {
        self.drops_by(reason, ("-", Direction::Egress), named);
    }

    /// TCX drops it; XDP hands over.
    #[track_caller]
    pub fn drops_by_tcx(self, reason: DropReason) {
        if self.hook == Hook::Xdp { self.passes() } else { self.drops(reason) }
    }

    /// The same by a rule.
    #[track_caller]
    pub fn drops_by_tcx_for(self, reason: DropReason, rule: (&str, Direction)) {
        if self.hook == Hook::Xdp { self.passes() } else { self.drops_by(reason, rule, &[]) }
    }

    /// Dropped by a rule (`-`: by none), on the side that refused it.
    #[track_caller]
    pub fn drops_by(self, reason: DropReason, (rule, direction): (&str, Direction), named: Named<'_>) {
        let (device, name, direction) = (&self.device, reason.name(), direction.name());
        let told = [
            (format!("drop {device} {name} {rule} {direction}"), 1),
            (format!("reason {name}"), 1),
            ("event Drop".to_owned(), 1),
        ];
        let frame = self.frame.clone();
        self.judge(Column::Dropped, &frame, with(named, &told));
    }

    /// Dropped, and no row is left to say by whom.
    #[track_caller]
    pub fn drops_unattributed(self, reason: DropReason) {
        let told = ["drops unattributed", &format!("reason {}", reason.name()), "event Drop"];
        let told = told.map(|name| (name.to_owned(), 1));
        let frame = self.frame.clone();
        self.judge(Column::Dropped, &frame, with(&[], &told));
    }

    /// The same of a rule's drop.
    #[track_caller]
    pub fn drops_by_tcx_rule(self, reason: DropReason, rule: (&str, Direction)) {
        if self.hook == Hook::Xdp { self.passes() } else { self.drops_by(reason, rule, &[]) }
    }

    /// TCX answers it in its place; XDP hands over.
    #[track_caller]
    pub fn answers(self, answer: &Packet) {
        self.answers_counting(answer, 1);
    }

    /// The same of a frame that stands for several.
    #[track_caller]
    pub fn answers_counting(self, answer: &Packet, segments: i64) {
        if self.hook == Hook::Xdp {
            return self.passes();
        }
        let device = &self.device;
        let all = ["received", "answered"].map(|column| (format!("skb {device} {column}"), segments));
        self.judge(Column::Answered, &answer.frame(), with(&[], &all));
    }

    /// TCX drops it by a rule and answers it; XDP hands over, and `named` moves on both.
    #[track_caller]
    pub fn rejects_learning(self, rule: (&str, Direction), answer: &Packet, named: Named<'_>) {
        if self.hook == Hook::Xdp {
            return self.passes_counting(named);
        }
        self.rejects(rule, answer, named);
    }

    /// TCX drops it by a rule and answers it; XDP hands over.
    #[track_caller]
    pub fn rejects(self, (rule, direction): (&str, Direction), answer: &Packet, named: Named<'_>) {
        if self.hook == Hook::Xdp {
            return self.passes();
        }
        let (device, direction, name) = (&self.device, direction.name(), DropReason::PolicyRejected.name());
        let told = [
            (format!("drop {device} {name} {rule} {direction}"), 1),
            (format!("reason {name}"), 1),
            ("event Drop".to_owned(), 1),
        ];
        self.judge(Column::Rejected, &answer.frame(), with(named, &told));
    }

    #[track_caller]
    fn judge(self, column: Column, frame: &[u8], mut wanted: Moved) {
        let code = code_of(self.hook, column);
        let (hook, device) = (if self.hook == Hook::Xdp { "xdp" } else { "skb" }, &self.device);
        let column = match column {
            Column::Forwarded | Column::Flooded => "forwarded",
            Column::Host => "host",
            Column::Answered => "answered",
            Column::Dropped | Column::Rejected => "dropped",
            Column::PassedUp => "passed_up",
        };
        let len = i64::try_from(self.frame.len()).expect("frames are short");
        for column in ["received", column] {
            wanted.entry(format!("{hook} {device} {column}")).or_insert(1);
            wanted.entry(format!("{hook} {device} {column} bytes")).or_insert(len);
        }
        self.judge_uncounted(code, frame, &wanted);
    }

    #[track_caller]
    fn judge_uncounted(self, code: i32, frame: &[u8], wanted: &Moved) {
        assert!(self.code == code, "{}", self.story(&format!("code {}, not {code}", self.code)));
        if let Some(difference) = difference(frame, &self.out) {
            panic!("{}", self.story(&difference));
        }
        if *wanted != self.moved {
            let lines = |of: &Moved, other: &Moved, sign: char| -> String {
                let differs = of.iter().filter(|(name, by)| other.get(*name) != Some(by));
                differs.map(|(name, by)| format!("\n  {sign} {name}: {by}")).collect()
            };
            let missing = lines(wanted, &self.moved, '-');
            let extra = lines(&self.moved, wanted, '+');
            panic!("{}", self.story(&format!("counters differ{missing}{extra}")));
        }
    }

    /// The frame and all that is known of it, for the one who reads the failure.
    fn story(&self, what: &str) -> String {
        let Self { hook, device, frame, out, moved, code, .. } = self;
        let moved: String = moved.iter().map(|(name, by)| format!("\n    {name}: {by}")).collect();
        format!(
            "{} on {device}: {what}\n  in  {}\n  out {}\n  code {code}; moved{moved}",
            hook.name(),
            render(frame),
            render(out),
        )
    }
}

/// The hook's code (`enum xdp_action`, `enum tcx_action_base`).
pub const fn code_of(hook: Hook, column: Column) -> i32 {
    match (hook, column) {
        (Hook::Xdp, Column::Dropped | Column::Flooded) => 1,
        (Hook::Xdp, Column::Host | Column::PassedUp) => 2,
        (Hook::Xdp, Column::Forwarded | Column::Answered | Column::Rejected) => 4,
        (Hook::Tcx, Column::Dropped | Column::Flooded) => 2,
        (Hook::Tcx, Column::Host | Column::PassedUp) => -1,
        (Hook::Tcx, Column::Forwarded | Column::Answered | Column::Rejected) => 7,
    }
}

/// What the verdict itself moves, unless a test says otherwise of a counter, and what the test names.
fn with(named: Named<'_>, told: &[(String, i64)]) -> Moved {
    let named = named.iter().map(|(name, by)| ((*name).to_owned(), *by));
    let mut moved: Moved = told.iter().cloned().chain(named).collect();
    moved.retain(|_, by| *by != 0);
    moved
}

/// What admitting a flow moves: `family` is `4` or `6`, `owner` the port that it counts against.
pub fn admitted(owner: &str, family: char) -> Vec<(String, i64)> {
    vec![
        ("admitted".to_owned(), 1),
        (format!("table{family} flows"), 1),
        (format!("table{family} half_open"), 1),
        (format!("{owner} holds flows"), 1),
        (format!("{owner} holds half_open"), 1),
        ("event FlowStart".to_owned(), 1),
    ]
}

/// What a flow moves that gets its answer.
pub fn settled(owner: &str, family: char) -> Vec<(String, i64)> {
    vec![(format!("table{family} half_open"), -1), (format!("{owner} holds half_open"), -1)]
}

/// Counters as expectations take them.
pub fn named(of: &[(String, i64)]) -> Vec<(&str, i64)> {
    of.iter().map(|(name, by)| (name.as_str(), *by)).collect()
}
