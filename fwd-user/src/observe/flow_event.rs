//! Starts and ends of flows as people know them: a record of the ring in the words of `flow list`.

use fwd_common::{
    addr::{Address, V4, V6},
    conntrack::Stage,
    event::{End, EventKind, FlowEvent as Record},
    flow::{FlowKey, flag, key_kind},
    message,
    proto::IpProto,
};

use crate::api::{
    event::{CloseReason, FlowEvent, FlowEventName, FlowVerdict},
    status::Ways,
};

use super::{
    FlowName, Moment, Names,
    flows::show_end,
    view::{protocol, state},
};

/// A record as people read it; none of a kind that this version does not know.
pub fn row(names: &Names, now: Moment, record: &Record) -> Option<FlowEvent> {
    let event = &record.event;
    let end = match EventKind::from_number(event.kind)? {
        EventKind::FlowStart => None,
        EventKind::FlowEnd => Some(End::from_number(event.reason)?),
        EventKind::Drop | EventKind::Learnt => return None,
    };
    let has = |bits: u16| record.flags & bits != 0;
    let is_icmp = matches!(event.proto, IpProto::ICMP | IpProto::ICMPV6);
    let show = |addr: fwd_common::addr::Ip, l4_port| show_end(addr.to_std(), l4_port, is_icmp);
    let translated = if has(flag::SOURCE_TRANSLATED) || (has(flag::PREFIX) && record.left_src != event.src) {
        Some(show(record.left_src, record.left_sport))
    } else {
        has(flag::TRANSLATED).then(|| show(record.left_dst, record.left_dport))
    };
    // The opener's packets are `out` unless the flow is the port's at the far end.
    let is_of_egress = has(flag::OWNED_BY_EGRESS);
    let ways = |opener, other| match is_of_egress {
        true => Ways { out: other, in_: opener },
        false => Ways { out: opener, in_: other },
    };
    let (owner, peer) = if is_of_egress { (record.egress, event.port) } else { (event.port, record.egress) };
    let rule = |id| names.rule(id);
    Some(FlowEvent {
        time: now.text_of(event.at_ns)?,
        event: if end.is_some() { FlowEventName::FlowEnd } else { FlowEventName::FlowStart },
        name: name(record).to_string(),
        network: names.network_of_port(owner),
        port: names.port(owner),
        peer_port: names.port(peer),
        protocol: protocol(event.proto),
        source: show(event.src, event.sport),
        destination: show(event.dst, event.dport),
        translated,
        id: message::id(event.sport, event.dport).filter(|_| is_icmp).map(u16::from_be),
        state: state(record.life.stage()),
        rule: rule(event.rule),
        forward: names.forward(record.forward),
        verdict: if end == Some(End::CutByPolicy) { FlowVerdict::Drop } else { FlowVerdict::Forward },
        close_reason: end.map(|end| close_reason(record, end)),
        cut_by: rule(record.cut_by),
        started: match end {
            Some(_) => now.text_of_tick(record.began),
            None => now.text_of(event.at_ns),
        },
        ended: end.and_then(|end| match end.is_cut() {
            true => now.text_of(event.at_ns),
            false => now.text_of_tick(record.last_seen),
        }),
        packets: ways(record.out.packets, record.back.packets),
        bytes: ways(record.out.bytes, record.back.bytes),
    })
}

fn close_reason(record: &Record, end: End) -> CloseReason {
    let is_closed = record.life.stage() == Stage::Closing;
    let has_finished = record.life.is_finished() && record.back_life.is_finished();
    match end {
        End::Expired if is_closed && has_finished => CloseReason::Finished,
        End::Expired if is_closed => CloseReason::Reset,
        End::Expired => CloseReason::Expired,
        End::Reopened => CloseReason::Reopened,
        End::CutByPolicy => CloseReason::Policy,
        End::CutByRoute => CloseReason::Route,
        End::CutByDelete => CloseReason::Delete,
        End::CutByHostSocket => CloseReason::HostSocket,
    }
}

fn name(record: &Record) -> FlowName {
    if record.event.src.is_v4() { FlowName::of(&key::<V4>(record)) } else { FlowName::of(&key::<V6>(record)) }
}

fn key<A: Address>(record: &Record) -> FlowKey<A> {
    let event = &record.event;
    FlowKey {
        src: A::from_ip(event.src),
        dst: A::from_ip(event.dst),
        sport: event.sport,
        dport: event.dport,
        zone: event.zone,
        proto: event.proto,
        kind: key_kind::FLOW,
    }
}

#[cfg(test)]
mod tests {
    use fwd_common::{conntrack::Life, flow::Tick};

    use super::*;
    use crate::{
        api::status::FlowState,
        observe::testing::{DB1, ETH0, NO_SSH, WEB1, ended, names, now},
    };

    fn told(record: &Record) -> FlowEvent {
        row(&names(), now(), record).expect("a known kind")
    }

    #[test]
    fn an_end_is_told_in_the_words_of_the_list() {
        let mut record = ended();
        record.began = Tick::from_ns(now().boot_ns - 500_000_000_000);
        let name = name(&record).to_string();
        assert_eq!(
            told(&record),
            FlowEvent {
                time: "2023-11-14T22:13:20.000Z".to_owned(),
                event: FlowEventName::FlowEnd,
                name,
                network: Some("left".to_owned()),
                port: Some("web1".to_owned()),
                peer_port: Some("eth0".to_owned()),
                protocol: "tcp".to_owned(),
                source: "10.10.0.11:40000".to_owned(),
                destination: "198.51.100.1:80".to_owned(),
                translated: Some("203.0.113.10:20001".to_owned()),
                id: None,
                state: FlowState::Closing,
                rule: Some("web2db".to_owned()),
                forward: None,
                verdict: FlowVerdict::Forward,
                close_reason: Some(CloseReason::Finished),
                cut_by: None,
                started: Some("2023-11-14T22:04:59.961Z".to_owned()),
                ended: Some("2023-11-14T22:09:19.806Z".to_owned()),
                packets: Ways { out: 10, in_: 20 },
                bytes: Ways { out: 1000, in_: 20_000 },
            }
        );
    }

    #[test]
    fn each_end_has_its_reason() {
        let closing = Life::NEW.with_stage(Stage::Closing);
        let reason = |end: End, life| {
            let mut record = Record { life, back_life: life, ..ended() };
            record.event.reason = end as u8;
            told(&record).close_reason
        };
        assert_eq!(reason(End::Expired, closing), Some(CloseReason::Reset));
        assert_eq!(reason(End::Expired, Life::NEW), Some(CloseReason::Expired));
        assert_eq!(reason(End::Reopened, closing), Some(CloseReason::Reopened));
        assert_eq!(reason(End::CutByRoute, closing), Some(CloseReason::Route));
        assert_eq!(reason(End::CutByDelete, closing), Some(CloseReason::Delete));
        assert_eq!(reason(End::CutByHostSocket, closing), Some(CloseReason::HostSocket));
    }

    #[test]
    fn a_cut_names_its_rule_and_its_moment() {
        let mut record = Record { cut_by: NO_SSH, ..ended() };
        record.event.reason = End::CutByPolicy as u8;
        let told = told(&record);
        assert_eq!((told.verdict, told.close_reason), (FlowVerdict::Drop, Some(CloseReason::Policy)));
        assert_eq!((told.cut_by.as_deref(), told.ended.as_deref()), (Some("no-ssh"), Some(&*told.time)));
    }

    #[test]
    fn a_forwarded_flow_is_told_of_the_port_it_reaches() {
        let mut record = Record { egress: DB1, flags: flag::OWNED_BY_EGRESS | flag::TRANSLATED, ..ended() };
        record.event.port = ETH0;
        let told = told(&record);
        assert_eq!((told.port.as_deref(), told.peer_port.as_deref()), (Some("db1"), Some("eth0")));
        assert_eq!(told.packets, Ways { out: 20, in_: 10 });
        assert_eq!(told.translated.as_deref(), Some("198.51.100.1:80"));
        assert_ne!(told.port, names().port(WEB1));
    }

    #[test]
    fn a_start_has_no_end() {
        let mut record = ended();
        record.event.kind = EventKind::FlowStart as u8;
        let told = told(&record);
        assert_eq!((told.event, told.close_reason, told.ended), (FlowEventName::FlowStart, None, None));
        assert_eq!(told.started, Some(told.time));
        record.event.kind = EventKind::Drop as u8;
        assert_eq!(row(&names(), now(), &record), None);
    }
}
