//! Forwards: their texts, and whether their port can be reached from outside.

use std::net::IpAddr;

use fwd_common::nat::L4Range;

use crate::api::{
    error::{Code, Problem},
    object::Noun,
    spec::{Document, Forward, Mode, Network, Port},
    text::{Listen, Target, check_cidr},
};

use super::{Reporter, policies::check_moment, ports::check_single};

pub(super) fn check(document: &Document, out: &mut Vec<Problem>) {
    for (index, forward) in document.forwards.iter().enumerate() {
        let mut report = Reporter::new(out, Noun::Forward, index, &forward.name);
        check_one(&mut report, forward, document);
    }
}

fn check_one(report: &mut Reporter<'_>, forward: &Forward, document: &Document) {
    check_moment(report, forward.expires.as_deref());
    for (n, client) in forward.from.iter().enumerate() {
        if let Err(error) = check_cidr(*client) {
            report.text(format!("from/{n}"), Code::BadValue, error);
        }
    }
    let listen: Option<Listen> =
        forward.listen.parse().map_err(|e| report.text("listen", Code::BadValue, e)).ok();
    let target: Option<Target> = forward.to.parse().map_err(|e| report.text("to", Code::BadValue, e)).ok();
    if let (Some(listen), Some(target)) = (&listen, &target) {
        check_l4_ports(report, listen, target);
    }
    if forward.force && listen.is_some_and(|listen| listen.is_whole()) {
        report.add(
            "force",
            Code::BadForward,
            "a forward of every L4 port leaves those on which this host listens to the host",
            "Leave force out, and forward each L4 port that the host is to give up.",
        );
    }
    let Some(target) = target else { return };
    let Some(port) = document.find::<Port>(&target.port) else {
        report.add(
            "to",
            Code::UnknownReference,
            format_args!("there is no port {}", target.port),
            format!("Add it first: fwd port add {} --device TAP --network NETWORK.", target.port),
        );
        return;
    };
    check_single(report, "to", port);
    if let Some(network) = document.find::<Network>(&port.network) {
        check_mode(report, port, network);
    }
    if let Some(addr) = listen.and_then(|l| l.addr) {
        check_family(report, port, addr);
    }
}

fn check_l4_ports(report: &mut Reporter<'_>, listen: &Listen, target: &Target) {
    let (from, to) = (listen.l4_ports, target.l4_ports);
    if from.len() == to.len() {
        return;
    }
    let port = &target.port;
    let (problem, hint) = if listen.is_whole() {
        (
            format!("it listens on every L4 port, and `{target}` names one"),
            format!("Name the port alone: {port}."),
        )
    } else if to == L4Range::ALL {
        (format!("`{target}` names no L4 port"), format!("Name it too, such as {port}:{}.", from.low))
    } else {
        (
            format!("it maps {} L4 ports onto {}", from.len(), to.len()),
            "Ranges must have the same length.".to_owned(),
        )
    };
    report.add("to", Code::BadForward, problem, hint);
}

fn check_mode(report: &mut Reporter<'_>, port: &Port, network: &Network) {
    let why = match network.mode {
        Mode::Nat | Mode::Routed => return,
        Mode::Bridge => "is on a bridge network and is reached from outside by its own address",
        Mode::Host => "is on a host-only network, which the outside does not reach",
        Mode::Isolated => "is on an isolated network, which the outside does not reach",
    };
    report.add(
        "to",
        Code::BadForward,
        format_args!("port {} {why}", port.name),
        "Forward to a port of a nat network.",
    );
}

fn check_family(report: &mut Reporter<'_>, port: &Port, addr: IpAddr) {
    if !port.ips.is_empty() && !port.ips.iter().any(|ip| ip.is_ipv4() == addr.is_ipv4()) {
        let family = if addr.is_ipv4() { "IPv4" } else { "IPv6" };
        report.add(
            "listen",
            Code::BadForward,
            format_args!("it listens on {family}, and port {} has no {family} address", port.name),
            format!("Give the port one: fwd port set {} --ip ADDR.", port.name),
        );
    }
}
