//! The row of settings.

use fwd_common::{
    conntrack::TimeoutClass,
    flow::Tick,
    settings::{self, flag},
};

use crate::api::settings::Settings;

/// What else of the document the datapath is to know at once.
#[derive(Clone, Copy)]
pub(super) struct Asked {
    /// What they admit must be told, whatever the setting says.
    pub has_logged_rules: bool,
    /// Some network has endpoint-independent mappings.
    pub has_mappings: bool,
}

pub(super) fn compile(from: &Settings, asked: Asked) -> settings::Settings {
    let mut timeouts = [0; TimeoutClass::COUNT];
    for (class, secs) in [
        (TimeoutClass::TcpHalfOpen, from.tcp_half_open_timeout),
        (TimeoutClass::TcpEstablished, from.tcp_established_timeout),
        (TimeoutClass::TcpClosing, from.tcp_closing_timeout),
        (TimeoutClass::UdpOneWay, from.udp_one_way_timeout),
        (TimeoutClass::UdpEstablished, from.udp_timeout),
        (TimeoutClass::Icmp, from.icmp_timeout),
        (TimeoutClass::Other, from.other_timeout),
        (TimeoutClass::SctpEstablished, from.sctp_timeout),
    ] {
        timeouts[class as usize] = Tick::ticks_from_secs(secs);
    }
    let mut flags = 0;
    let tells_flows = from.flow_log || asked.has_logged_rules;
    for (is_on, flag) in [
        (from.midstream_tcp, flag::MIDSTREAM_TCP),
        (tells_flows, flag::FLOW_EVENTS),
        (asked.has_mappings, flag::MAPPINGS),
    ] {
        if is_on {
            flags |= flag;
        }
    }
    settings::Settings {
        epoch: 0,
        flags,
        timeouts,
        flow_limit: from.flow_limit,
        half_open_limit: from.half_open_limit,
        nat_l4_ports: from.nat_l4_ports,
        mark: from.mark,
        fdb_timeout: Tick::ticks_from_secs(from.fdb_timeout),
        events_per_tick: from.events_per_tick,
        flow_events_per_tick: from.flow_events_per_tick,
        copies_per_tick: Tick::share_of(from.flood_limit_per_port),
    }
}
