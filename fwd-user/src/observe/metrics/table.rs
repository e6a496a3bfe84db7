//! The one table of metrics: exposition and docs/metrics.md are made from it. Names and labels are a contract
//! with dashboards and alerts: what is here is added to, never renamed.

use prometheus_client::{metrics::MetricType, registry::Unit};

use crate::api::settings::MetricsDetail;

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    Counter,
    Gauge,
    Info,
    Histogram,
}

/// A metric's line in docs/metrics.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetricDoc {
    /// As its samples are called.
    pub name: &'static str,
    pub kind: MetricKind,
    pub labels: &'static [&'static str],
    /// The least `metrics_detail` that shows it.
    pub detail: MetricsDetail,
    pub help: &'static str,
}

impl MetricKind {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Info => "info",
            Self::Histogram => "histogram",
        }
    }

    /// What samples have behind the family's name (OpenMetrics 1.0, "Suffixes").
    const fn suffix(self) -> &'static str {
        match self {
            Self::Counter => "_total",
            Self::Info => "_info",
            Self::Gauge | Self::Histogram => "",
        }
    }
}

impl MetricDoc {
    /// A counter's family is called as its samples, but without `_total`. Where a gauge has that name already,
    /// OpenMetrics forbids the second family; the counter is then written under its samples' name, and as of
    /// unknown type, which scrapers treat alike.
    pub(super) fn is_shadowed(&self) -> bool {
        let family = self.name.strip_suffix("_total");
        family.is_some_and(|family| ALL.iter().any(|other| other.name == family))
    }

    pub(super) fn metric_type(&self) -> MetricType {
        match self.kind {
            _ if self.is_shadowed() => MetricType::Unknown,
            MetricKind::Counter => MetricType::Counter,
            MetricKind::Gauge => MetricType::Gauge,
            MetricKind::Info => MetricType::Info,
            MetricKind::Histogram => MetricType::Histogram,
        }
    }

    /// The family's name without its unit, and the unit.
    pub(super) fn family(&self) -> (&'static str, Option<Unit>) {
        if self.is_shadowed() {
            return (self.name, None);
        }
        let name = self.name.strip_suffix(self.kind.suffix()).unwrap_or(self.name);
        if let Some(base) = name.strip_suffix("_bytes") {
            (base, Some(Unit::Bytes))
        } else if let Some(base) = name.strip_suffix("_seconds") {
            (base, Some(Unit::Seconds))
        } else {
            (name, None)
        }
    }
}

macro_rules! metrics {
    ($($konst:ident $kind:ident $detail:ident $name:literal [$($label:literal)*] $help:literal;)*) => {
        $(#[doc = $help] pub const $konst: MetricDoc = MetricDoc {
            name: $name,
            kind: MetricKind::$kind,
            labels: &[$($label),*],
            detail: MetricsDetail::$detail,
            help: $help,
        };)*
        /// Every metric.
        pub const ALL: &[MetricDoc] = &[$($konst),*];
    };
}

metrics! {
    BUILD Info Basic "fwd_build_info" ["version" "commit"] "The daemon's version.";
    DATAPATH Info Basic "fwd_datapath_info" ["abi" "generation"] "The datapath's map layout, and how often its policy was replaced.";
    HOOK_ATTACHED Gauge Basic "fwd_hook_attached" ["device" "hook"] "Whether a hook that a device should have is attached.";
    PORTS Gauge Basic "fwd_ports" ["network" "state"] "VM ports.";
    PORT Info Port "fwd_port_info" ["port" "network" "device" "mac" "domain"] "What a port is, to be joined by its name.";
    PORT_RECEIVED_PACKETS Counter Port "fwd_port_received_packets_total" ["port" "path"] "Packets that came in at a hook. What XDP passed up comes in once more as skb.";
    PORT_RECEIVED_BYTES Counter Port "fwd_port_received_bytes_total" ["port" "path"] "Bytes that came in at a hook. What XDP passed up comes in once more as skb.";
    PORT_SENT_PACKETS Counter Port "fwd_port_sent_packets_total" ["port"] "Frames sent to the port's device, as the device counts them: a GSO frame is one.";
    PORT_SENT_BYTES Counter Port "fwd_port_sent_bytes_total" ["port"] "Bytes sent to the port's device, as the device counts them.";
    PORT_PASSED_UP Counter Port "fwd_port_passed_up_packets_total" ["port"] "Packets that XDP left to TCX on the same port.";
    PORT_PACKETS Counter Port "fwd_port_packets_total" ["port" "outcome"] "Packets that came in, by what became of them. With those passed up they add up to those received.";
    PORT_BYTES Counter Port "fwd_port_bytes_total" ["port" "outcome"] "Bytes that came in, by what became of them.";
    PORT_COPIES Counter Port "fwd_port_flood_copies_total" ["port"] "Copies that floods of the port's frames made; a flood itself counts as one forwarded.";
    PORT_LOST Counter Port "fwd_port_lost_packets_total" ["port" "where"] "Packets that the kernel dropped between the hooks, or refused at the port's device after fwd had handed them over.";
    DROPS Counter Basic "fwd_drops_total" ["reason"] "Packets dropped.";
    PORT_DROPS Counter Port "fwd_port_drops_total" ["port" "reason"] "Packets dropped, by the port on which they came in.";
    UNACCOUNTED Gauge Port "fwd_unaccounted_packets" ["port"] "Packets that came in and left no trace: 0 at rest, those in flight under load.";
    FLOWS Gauge Basic "fwd_flows" ["family" "protocol" "state"] "Live flows.";
    FLOWS_LIMIT Gauge Basic "fwd_flows_limit" ["family"] "Most flows of a family.";
    PORT_FLOWS Gauge Port "fwd_port_flows" ["port"] "Flows that count against the port's limit, expired ones included until they are reclaimed.";
    FLOWS_CUT Counter Basic "fwd_flows_cut_total" ["cause"] "Live flows that were ended.";
    FLOW_ADMISSIONS Counter Basic "fwd_flow_admissions_total" ["outcome"] "New flows admitted or refused.";
    FLOWS_EXPIRED Counter Basic "fwd_flows_expired_total" [] "Flows that were silent for their timeout and were reclaimed.";
    FLOWS_REOPENED Counter Basic "fwd_flows_reopened_total" [] "Closing TCP flows whose addresses and L4 ports were opened anew.";
    FLOW_RECHECKS Counter Basic "fwd_flow_rechecks_total" [] "Live flows that were decided anew after an edit.";
    NAT_IN_USE Gauge Basic "fwd_nat_l4_ports_in_use" ["address" "protocol"] "L4 ports (ICMP: ids) of the NAT range that live flows hold.";
    NAT_LIMIT Gauge Basic "fwd_nat_l4_ports_limit" ["address" "protocol"] "L4 ports of the NAT range. One may serve several destinations.";
    PORT_TRANSLATIONS Gauge Port "fwd_port_translations" ["port"] "Live flows whose addresses or L4 ports are translated.";
    PORT_MAPPINGS Gauge Port "fwd_port_mappings" ["port"] "Endpoint-independent mappings that live flows hold.";
    FORWARD_FLOWS Gauge Port "fwd_forward_flows" ["forward"] "Live flows of a forward.";
    FORWARD_FLOWS_TOTAL Counter Port "fwd_forward_flows_total" ["forward" "outcome"] "Flows of a forward: admitted, and those of them that an edit cut.";
    FORWARD_BYTES Counter Port "fwd_forward_bytes_total" ["forward" "direction"] "Bytes of a forward's flows, the guest's view.";
    RULE_FLOWS Counter Rule "fwd_rule_flows_total" ["rule" "action"] "Flows that a rule admitted; of a deny or reject rule, live flows that it cut; of a staged rule, flows that it would decide.";
    RULE_PACKETS Counter Rule "fwd_rule_packets_total" ["rule" "action"] "Packets of flows that a rule admitted; of a deny or reject rule, packets that it dropped. Of a staged rule, packets that it would decide.";
    RULE_LAST_HIT Gauge Rule "fwd_rule_last_hit_timestamp_seconds" ["rule" "action"] "When a rule last admitted a flow or dropped a packet, or, staged, would have; absent until it does.";
    FDB_ENTRIES Gauge Basic "fwd_fdb_entries" ["network"] "MAC addresses learnt behind the network's ports.";
    DUPLICATES Gauge Basic "fwd_duplicate_addresses" ["network"] "Addresses that two machines of the network said they have, within ten minutes; fwd doctor names them.";
    FDB_LIMIT Gauge Basic "fwd_fdb_entries_limit" ["network"] "Most MAC addresses that the network's VM ports may have.";
    MAP_ENTRIES Gauge Basic "fwd_map_entries" ["map"] "Rows in a map of the datapath.";
    MAP_CAPACITY Gauge Basic "fwd_map_capacity" ["map"] "Most rows of a map of the datapath.";
    REDIRECT_ERRORS Counter Basic "fwd_redirect_errors_total" ["device" "error"] "Frames that a device refused, as its driver counts them, whoever sent them.";
    EVENTS_LOST Counter Basic "fwd_events_lost_total" ["consumer"] "Events that were shed: by the kernel (its ring full or its budget spent), or by a watcher that reads too slowly. Counters are exact all the same.";
    REVISION Gauge Basic "fwd_revision" ["state"] "The document's revision.";
    APPLY_SECONDS Histogram Basic "fwd_config_apply_seconds" ["outcome"] "From an edit's arrival to its binding in the datapath.";
    SERIES_DROPPED Gauge Basic "fwd_metrics_series_dropped" ["family"] "Series left out because their family has too many.";
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_follow_openmetrics() {
        let names: BTreeSet<_> = ALL.iter().map(|m| m.name).collect();
        assert_eq!(names.len(), ALL.len());
        for metric in ALL {
            assert!(metric.name.starts_with("fwd_") && metric.help.ends_with('.'), "{}", metric.name);
            assert_eq!(
                metric.name.ends_with("_total"),
                metric.kind == MetricKind::Counter,
                "{}",
                metric.name
            );
            assert_eq!(metric.name.ends_with("_info"), metric.kind == MetricKind::Info, "{}", metric.name);
        }
    }

    #[test]
    fn units_are_the_family_names_ends() {
        let family = |metric: MetricDoc| {
            let (name, unit) = metric.family();
            (name, unit.map(|u| u.as_str().to_owned()))
        };
        assert_eq!(family(PORT_RECEIVED_BYTES), ("fwd_port_received", Some("bytes".to_owned())));
        assert_eq!(family(APPLY_SECONDS), ("fwd_config_apply", Some("seconds".to_owned())));
        assert_eq!(family(BUILD), ("fwd_build", None));
        assert_eq!(family(FORWARD_FLOWS_TOTAL), ("fwd_forward_flows_total", None));
        assert_eq!(family(FLOWS), ("fwd_flows", None));
    }
}
