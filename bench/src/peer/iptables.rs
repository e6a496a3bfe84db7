//! iptables, as its manual sets up port forwarding.

use anyhow::Result;

use super::conntrack::Conntrack;
use super::{Standing, feed};
use crate::traffic::rig::{HOST, IN, INSIDE, OUT, Rig};
use crate::traffic::trip::{PUBLISHED, SERVED, Trip};

/// Destination NAT that keeps the client's address, behind a stateful filter.
pub fn iptables(rig: &Rig, flows: u32) -> Result<Standing> {
    rig.route()?;
    let (host, inside) = (HOST.0, INSIDE.0);
    let text = format!(
        "*nat
-A PREROUTING -i {IN} -p udp -d {host} --dport {PUBLISHED} -j DNAT --to-destination {inside}:{SERVED}
-A PREROUTING -i {IN} -p tcp -d {host} --dport {PUBLISHED} -j DNAT --to-destination {inside}:{SERVED}
COMMIT
*filter
:FORWARD DROP
-A FORWARD -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
-A FORWARD -i {IN} -p udp -d {inside} --dport {SERVED} -j ACCEPT
-A FORWARD -i {IN} -p tcp -d {inside} --dport {SERVED} -j ACCEPT
-A FORWARD -i {OUT} -j ACCEPT
COMMIT
"
    );
    feed(&rig.host, "iptables-restore", &[], &text)?;
    Ok(Standing::new(Trip::Forward, Conntrack::hold(&rig.host, flows)?))
}
