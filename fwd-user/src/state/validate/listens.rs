//! No two forwards listen on the same protocol, address and L4 port, unless one is of more breadth than the other:
//! that one has the rest.

use std::{collections::BTreeMap, net::IpAddr};

use fwd_common::proto::IpProto;

use crate::api::{
    error::{Code, Problem},
    object::Noun,
    spec::{Document, Port},
    text::{Listen, Target},
};

use super::Reporter;

/// A listen of one forward.
#[derive(Clone, Copy)]
struct Claim {
    forward: usize,
    listen: Listen,
    /// Families in which it listens if it names no address.
    families: Families,
}

#[derive(Clone, Copy)]
struct Families {
    v4: bool,
    v6: bool,
}

/// Sweeps each protocol's listens by their first L4 port, holding those that reach further.
pub(super) fn check(document: &Document, out: &mut Vec<Problem>) {
    for (later, earlier) in clashes(&claims(document)) {
        let (forward, other) = (&document.forwards[later], &document.forwards[earlier]);
        Reporter::new(out, Noun::Forward, later, &forward.name).add(
            "listen",
            Code::ListenClash,
            format_args!("{} is already taken by forward {} ({})", forward.listen, other.name, other.listen),
            "Choose another address or L4 port, or delete that forward first.",
        );
    }
}

/// By protocol and breadth.
type Claims = BTreeMap<(IpProto, u8), Vec<Claim>>;

fn claims(document: &Document) -> Claims {
    let mut claims = Claims::new();
    for (index, forward) in document.forwards.iter().enumerate() {
        let Ok(listen) = forward.listen.parse::<Listen>() else { continue };
        let target: Option<Target> = forward.to.parse().ok();
        let port = target.and_then(|t| document.find::<Port>(&t.port));
        let has = |v4: bool| port.is_none_or(|p| p.ips.is_empty() || p.ips.iter().any(|i| i.is_ipv4() == v4));
        let families = Families { v4: has(true), v6: has(false) };
        for proto in listen.protocols.list() {
            claims.entry((*proto, listen.breadth())).or_default().push(Claim {
                forward: index,
                listen,
                families,
            });
        }
    }
    claims
}

/// Pairs of forwards that clash, the later one first, each later one once.
fn clashes(claims: &Claims) -> BTreeMap<usize, usize> {
    let mut found = BTreeMap::new();
    for claims in claims.values() {
        let mut sorted = claims.clone();
        sorted.sort_by_key(|c| (c.listen.l4_ports.low, c.forward));
        let mut open: Vec<Claim> = Vec::new();
        for claim in sorted {
            open.retain(|o| o.listen.l4_ports.high >= claim.listen.l4_ports.low);
            for other in open.iter().filter(|o| share_address(o, &claim)) {
                let (a, b) = (claim.forward, other.forward);
                found.entry(a.max(b)).or_insert(a.min(b));
            }
            open.push(claim);
        }
    }
    found
}

fn share_address(a: &Claim, b: &Claim) -> bool {
    let covers = |families: Families, addr: IpAddr| if addr.is_ipv4() { families.v4 } else { families.v6 };
    match (a.listen.addr, b.listen.addr) {
        (Some(x), Some(y)) => x == y,
        (Some(x), None) => covers(b.families, x),
        (None, Some(y)) => covers(a.families, y),
        (None, None) => (a.families.v4 && b.families.v4) || (a.families.v6 && b.families.v6),
    }
}
