//! docs/metrics.md, from the table of metrics.

use crate::observe::usage::{INTERVAL, SMALL};

use super::{families::MAX_SERIES, table};

/// The page.
pub fn document() -> String {
    let rows = table::ALL.iter().map(|metric| {
        let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let detail = format!("{:?}", metric.detail).to_lowercase();
        let kind = metric.kind.name();
        format!("| `{}` | {kind} | {} | {detail} | {} |\n", metric.name, labels.join(", "), metric.help)
    });
    format!(
        "# Metrics\n\n\
         Made from the code by `cargo xtask docs`.\n\n\
         The daemon serves them on `http://127.0.0.1:9465/metrics` (`fwd up --metrics`), and `fwd metrics` prints the \
         same text: OpenMetrics 1.0, or the older text format for a scraper that accepts plain text only.\n\n\
         - A label is a name that the operator chose or a word of an enumeration, never an address or MAC of a packet. \
         Words of an enumeration are there from zero.\n\
         - `metrics_detail` decides how much there is: `basic`, `port` (and all of `basic`), `rule` (all).\n\
         - Counters are the kernel's: they go on when the daemon is restarted, and while it is dead.\n\
         - A family has at most {MAX_SERIES} series; what is over is left out and counted.\n\
         - Sums over live flows (`fwd_flows`, `fwd_rule_packets_total`, `fwd_forward_flows`, `fwd_forward_bytes_total`, \
         `fwd_port_translations`, `fwd_port_mappings`, `fwd_nat_l4_ports_in_use`) need a walk of the flow tables. With up to {SMALL} flows each \
         scrape walks them. With more, a walk in the background does, every {interval} seconds or, if it takes longer than \
         half a per cent of that, after two hundred times what it took; before the first one these families are left out. All \
         others are read at the scrape.\n\n\
         | name | kind | labels | detail | meaning |\n| --- | --- | --- | --- | --- |\n{rows}",
        interval = INTERVAL.as_secs(),
        rows = rows.collect::<String>(),
    )
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_metric_has_its_line() {
        let page = super::document();
        for metric in super::table::ALL {
            assert_eq!(page.matches(&format!("| `{}` |", metric.name)).count(), 1, "{}", metric.name);
        }
        assert!(page.contains("| `fwd_drops_total` | counter | `reason` | basic | Packets dropped. |"));
    }
}
