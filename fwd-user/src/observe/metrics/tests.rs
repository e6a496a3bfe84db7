//! Whole expositions from in-memory maps, with exact numbers.

use std::{
    collections::{BTreeSet, HashMap},
    io::Write,
    process::{Command, Stdio},
};

use fwd_common::{
    counter::{Count, FlowCounter, HookLedger, Ledger, Totals},
    drop::DropReason,
    map,
    port::PortUse,
};

use super::*;
use crate::{
    api::{settings::MetricsDetail, status::ObjectState},
    observe::{
        MemoryMaps,
        devices::DeviceCounters,
        testing::{
            DB1, ETH0, HOST, NO_SSH, WEB_HTTP, WEB1, WEB2, WEB2DB, forwarded, maps, masqueraded, names, now,
            view,
        },
    },
};

fn facts(detail: MetricsDetail) -> Facts {
    let port = |id, device: &str, state| PortFacts {
        id,
        device: device.to_owned(),
        domain: None,
        mac: Some("52:54:00:00:00:11".to_owned()),
        state,
    };
    Facts {
        detail,
        ports: vec![
            port(WEB1, "tap0", ObjectState::Ready),
            port(DB1, "tap1", ObjectState::Ready),
            port(WEB2, "tap2", ObjectState::Pending),
            port(ETH0, "eth0", ObjectState::Ready),
            port(HOST, "fwd-left", ObjectState::Ready),
        ],
        hooks: vec![
            HookFacts { device: "eth0".to_owned(), hook: "xdp", is_attached: true },
            HookFacts { device: "tap2".to_owned(), hook: "tcx_ingress", is_attached: false },
        ],
        devices: HashMap::from([(
            101,
            DeviceCounters { tx_packets: 9, tx_bytes: 900, tx_dropped: 4, tx_errors: 1 },
        )]),
        map_entries: vec![(map::ROWS, 12), (map::FDB, 3)],
        revisions: Revisions { accepted: 9, applied: 8, confirmed: 8 },
        events_shed: vec![("watch", 3)],
    }
}

fn busy() -> MemoryMaps {
    let mut maps = maps();
    maps.add_flow(masqueraded());
    maps.add_flow(forwarded());
    maps.add_drops(WEB1, DropReason::PolicyDenied, NO_SSH, 7);
    maps.count(FlowCounter::Admitted, 11);
    maps.count(FlowCounter::CutByPolicy, 2);
    maps.count(FlowCounter::EventsLost, 6);
    maps.port_use.insert(WEB1, PortUse { flows: 1, macs: 1, ..PortUse::default() });
    maps.rule_totals.insert(WEB2DB, Totals { flows: 5, last_hit_ns: now().boot_ns, ..Totals::default() });
    maps.forward_totals.insert(WEB_HTTP, Totals { flows: 5, cut: 1, ..Totals::default() });
    let packets = |packets| Count { packets, bytes: 60 * packets };
    maps.ledgers.entry(WEB1).or_default().xdp = HookLedger {
        received: packets(50),
        forwarded: packets(43),
        passed_up: packets(7),
        ..Default::default()
    };
    maps.ledgers.insert(
        ETH0,
        Ledger {
            skb: HookLedger { received: packets(2), host: packets(1), ..Default::default() },
            ..Default::default()
        },
    );
    maps.capacities = vec![(map::ROWS, 1024), (map::EVENTS, 4096)];
    maps
}

fn text(maps: &MemoryMaps, detail: MetricsDetail, format: Format) -> String {
    let names = names();
    let view = view(maps, &names);
    let usage = Usage::walk(&view).expect("memory can be read");
    Metrics::default().text(&view, &facts(detail), Some(&usage), format).expect("memory can be read")
}

/// The value of a sample, by its name and labels as they are written.
fn sample<'a>(text: &'a str, series: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))
}

#[test]
fn every_family_of_the_table_is_written_in_openmetrics() {
    let text = text(&busy(), MetricsDetail::Rule, Format::OpenMetrics);
    assert!(text.ends_with("# EOF\n"));
    for metric in table::ALL {
        let (name, unit) = metric.family();
        let name = unit.map_or(name.to_owned(), |unit| format!("{name}_{}", unit.as_str()));
        let kind = if metric.is_shadowed() { "unknown" } else { metric.kind.name() };
        let line = format!("# TYPE {name} {kind}");
        assert!(text.lines().any(|l| l == line), "{line}");
        assert!(text.contains(&format!("# HELP {name} {}", metric.help)), "{name}");
    }
}

#[test]
fn samples_have_the_names_labels_and_numbers_of_the_contract() {
    let text = text(&busy(), MetricsDetail::Rule, Format::OpenMetrics);
    for (series, value) in [
        (r#"fwd_datapath_info{abi="7",generation="5"}"#, "1"),
        (r#"fwd_hook_attached{device="eth0",hook="xdp"}"#, "1.0"),
        (r#"fwd_hook_attached{device="tap2",hook="tcx_ingress"}"#, "0.0"),
        (r#"fwd_ports{network="left",state="ready"}"#, "2.0"),
        (r#"fwd_ports{network="left",state="degraded"}"#, "0.0"),
        (r#"fwd_ports{network="right",state="pending"}"#, "1.0"),
        (r#"fwd_port_info{port="web1",network="left",device="tap0",mac="52:54:00:00:00:11",domain=""}"#, "1"),
        (r#"fwd_port_received_packets_total{port="web1",path="xdp"}"#, "50"),
        (r#"fwd_port_received_bytes_total{port="web1",path="xdp"}"#, "3000"),
        (r#"fwd_port_received_packets_total{port="web1",path="skb"}"#, "7"),
        (r#"fwd_port_passed_up_packets_total{port="web1"}"#, "7"),
        (r#"fwd_port_packets_total{port="web1",outcome="forwarded"}"#, "43"),
        (r#"fwd_port_packets_total{port="web1",outcome="dropped"}"#, "7"),
        (r#"fwd_port_bytes_total{port="web1",outcome="dropped"}"#, "700"),
        (r#"fwd_port_packets_total{port="web1",outcome="answered"}"#, "0"),
        (r#"fwd_port_lost_packets_total{port="web1",where="egress"}"#, "4"),
        (r#"fwd_port_lost_packets_total{port="web1",where="between_hooks"}"#, "0"),
        (r#"fwd_drops_total{reason="policy_denied"}"#, "7"),
        (r#"fwd_drops_total{reason="runt_frame"}"#, "0"),
        (r#"fwd_port_drops_total{port="web1",reason="policy_denied"}"#, "7"),
        (r#"fwd_unaccounted_packets{port="web1"}"#, "0.0"),
        (r#"fwd_unaccounted_packets{port="eth0"}"#, "1.0"),
        (r#"fwd_flows{family="ipv4",protocol="tcp",state="established"}"#, "2.0"),
        (r#"fwd_flows{family="ipv6",protocol="icmpv6",state="half_open"}"#, "0.0"),
        (r#"fwd_flows_limit{family="ipv6"}"#, "1024.0"),
        (r#"fwd_port_flows{port="web1"}"#, "1.0"),
        (r#"fwd_flows_cut_total{cause="policy"}"#, "2"),
        (r#"fwd_flow_admissions_total{outcome="admitted"}"#, "11"),
        (r#"fwd_flow_admissions_total{outcome="nat_exhausted"}"#, "0"),
        (r#"fwd_nat_l4_ports_in_use{address="203.0.113.10",protocol="tcp"}"#, "0.0"),
        (r#"fwd_nat_l4_ports_limit{address="203.0.113.10",protocol="udp"}"#, "12768.0"),
        (r#"fwd_port_translations{port="web1"}"#, "1.0"),
        (r#"fwd_forward_flows{forward="web-http"}"#, "1.0"),
        (r#"fwd_forward_flows_total{forward="web-http",outcome="admitted"}"#, "5.0"),
        (r#"fwd_forward_flows_total{forward="web-http",outcome="cut"}"#, "1.0"),
        (r#"fwd_forward_bytes_total{forward="web-http",direction="ingress"}"#, "300"),
        (r#"fwd_forward_bytes_total{forward="web-http",direction="egress"}"#, "2000"),
        (r#"fwd_rule_flows_total{rule="web2db",action="allow"}"#, "5"),
        (r#"fwd_rule_packets_total{rule="web2db",action="allow"}"#, "5"),
        (r#"fwd_rule_packets_total{rule="no-ssh",action="deny"}"#, "7"),
        (r#"fwd_rule_last_hit_timestamp_seconds{rule="web2db",action="allow"}"#, "1700000000.0"),
        (r#"fwd_rule_last_hit_timestamp_seconds{rule="no-ssh",action="deny"}"#, "1699999940.0"),
        (r#"fwd_fdb_entries{network="left"}"#, "1.0"),
        (r#"fwd_fdb_entries_limit{network="left"}"#, "64.0"),
        (r#"fwd_map_entries{map="FLOWS4"}"#, "4.0"),
        (r#"fwd_map_entries{map="ROWS"}"#, "12.0"),
        (r#"fwd_map_entries{map="FDB"}"#, "4.0"),
        (r#"fwd_map_capacity{map="ROWS"}"#, "1024.0"),
        (r#"fwd_redirect_errors_total{device="tap0",error="tx_dropped"}"#, "4"),
        (r#"fwd_events_lost_total{consumer="kernel"}"#, "6"),
        (r#"fwd_events_lost_total{consumer="watch"}"#, "3"),
        (r#"fwd_revision{state="accepted"}"#, "9.0"),
        (r#"fwd_revision{state="applied"}"#, "8.0"),
        (r#"fwd_config_apply_seconds_count{outcome="applied"}"#, "0"),
    ] {
        assert_eq!(sample(&text, series), Some(value), "{series}");
    }
    assert_eq!(sample(&text, r#"fwd_map_capacity{map="EVENTS"}"#), None);
}

#[test]
fn received_is_what_became_of_it_and_what_was_passed_up() {
    let text = text(&busy(), MetricsDetail::Port, Format::OpenMetrics);
    let sum = |family: &str| -> u64 {
        let of_web1 = text.lines().filter(|l| l.starts_with(family) && l.contains(r#"port="web1""#));
        of_web1.map(|l| l.rsplit(' ').next().and_then(|n| n.parse::<u64>().ok()).expect("a number")).sum()
    };
    assert_eq!(
        sum("fwd_port_received_packets_total"),
        sum("fwd_port_packets_total") + sum("fwd_port_passed_up_packets_total")
    );
}

#[test]
fn no_family_and_no_series_is_written_twice() {
    let text = text(&busy(), MetricsDetail::Rule, Format::OpenMetrics);
    let mut seen = BTreeSet::new();
    for line in text.lines().filter(|l| l.starts_with("# TYPE ")) {
        let family = line.split(' ').nth(2).expect("a name");
        assert!(seen.insert(family), "{family}");
    }
    for line in text.lines().filter(|l| !l.starts_with('#')) {
        let series = line.rsplit_once(' ').expect("a value").0;
        assert!(seen.insert(series), "{series}");
    }
}

#[test]
fn detail_decides_which_families_there_are() {
    let has =
        |detail, name: &str| text(&busy(), detail, Format::OpenMetrics).contains(&format!("# TYPE {name} "));
    assert!(has(MetricsDetail::Basic, "fwd_drops"));
    assert!(!has(MetricsDetail::Basic, "fwd_port_drops"));
    assert!(has(MetricsDetail::Port, "fwd_port_drops"));
    assert!(!has(MetricsDetail::Port, "fwd_rule_packets"));
    assert!(has(MetricsDetail::Rule, "fwd_rule_packets"));
}

#[test]
fn what_needs_a_walk_is_left_out_before_the_first_one() {
    let (maps, names) = (busy(), names());
    let text = Metrics::default()
        .text(&view(&maps, &names), &facts(MetricsDetail::Rule), None, Format::OpenMetrics)
        .expect("memory can be read");
    assert!(!text.contains("# TYPE fwd_flows gauge") && !text.contains("# TYPE fwd_rule_packets"));
    assert!(text.contains("# TYPE fwd_rule_flows counter"));
}

#[test]
fn a_family_has_its_cap_and_what_is_over_is_counted() {
    let mut families = Families::new(MetricsDetail::Rule);
    families.counter(table::DROPS, (0..MAX_SERIES as u64 + 5).map(|n| (vec![n.to_string()], n)));
    let mut registry = Registry::default();
    registry.register_collector(Box::new(families.finish()));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).expect("a String takes it");
    assert_eq!(text.lines().filter(|l| l.starts_with("fwd_drops_total{")).count(), MAX_SERIES);
    assert_eq!(sample(&text, r#"fwd_metrics_series_dropped{family="fwd_drops_total"}"#), Some("5.0"));
}

#[test]
fn edits_are_timed() {
    let metrics = Metrics::default();
    metrics.applied(ApplyOutcome::Applied, Duration::from_millis(3));
    metrics.applied(ApplyOutcome::Refused, Duration::from_millis(1));
    let (maps, names) = (maps(), names());
    let text = metrics
        .text(&view(&maps, &names), &facts(MetricsDetail::Basic), None, Format::OpenMetrics)
        .expect("memory can be read");
    assert_eq!(sample(&text, r#"fwd_config_apply_seconds_count{outcome="applied"}"#), Some("1"));
    assert_eq!(sample(&text, r#"fwd_config_apply_seconds_bucket{le="0.002",outcome="applied"}"#), Some("0"));
    assert_eq!(sample(&text, r#"fwd_config_apply_seconds_bucket{le="0.005",outcome="applied"}"#), Some("1"));
    assert_eq!(sample(&text, r#"fwd_config_apply_seconds_count{outcome="failed"}"#), Some("0"));
}

/// `promtool check metrics` finds nothing wrong. Where it is not installed (Debian: prometheus), this says so.
#[test]
fn promtool_finds_nothing_wrong() {
    let promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut promtool) = promtool else {
        eprintln!("skipped: promtool is not installed (Debian: prometheus)");
        return;
    };
    let text = text(&busy(), MetricsDetail::Rule, Format::Classic);
    promtool.stdin.take().expect("piped").write_all(text.as_bytes()).expect("promtool reads");
    let done = promtool.wait_with_output().expect("promtool ends");
    assert!(
        done.status.success(),
        "{}{}",
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr)
    );
}
