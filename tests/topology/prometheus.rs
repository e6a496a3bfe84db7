//! A real Prometheus scrapes the daemon and answers an operator's questions.

use std::fs;
use std::process::{Child, Stdio};

use fwd_tests::lab::{Hook, Lab, OUTSIDE_V4, RED, eventually};
use fwd_tests::netns::{Netns, output};
use fwd_tests::traffic::{ask_udp, udp_whoami};
use fwd_tests::{need, skip};
use serde_json::Value;

const CONFIGURATION: &str = "
global: {scrape_interval: 1s}
scrape_configs: [{job_name: fwd, static_configs: [{targets: ['127.0.0.1:9465']}]}]
";

/// Prometheus in the host's namespace, until dropped.
struct Prometheus<'a> {
    host: &'a Netns,
    process: Child,
}

impl<'a> Prometheus<'a> {
    fn start(lab: &'a Lab) -> Self {
        let folder = lab.fwd.folder().join("prometheus");
        fs::create_dir(&folder).expect("the folder is the lab's own");
        let file = folder.join("prometheus.yml");
        fs::write(&file, CONFIGURATION).expect("the folder is the lab's own");
        let mut command = lab.host.command("prometheus");
        command.arg(format!("--config.file={}", file.display()));
        command.arg(format!("--storage.tsdb.path={}", folder.display()));
        command.arg("--web.listen-address=127.0.0.1:9090");
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Self { host: &lab.host, process: process.expect("it is installed") }
    }

    /// The value of each series that the expression yields.
    fn query(&self, expression: &str) -> Vec<f64> {
        let mut curl = self.host.command("curl");
        curl.args(["--silent", "--get", "http://127.0.0.1:9090/api/v1/query", "--data-urlencode"]);
        let Ok(text) = output(curl.arg(format!("query={expression}"))) else { return vec![] };
        let answer: Value = serde_json::from_str(&text).unwrap_or_default();
        let series = answer["data"]["result"].as_array().cloned().unwrap_or_default();
        series.iter().filter_map(|one| one["value"][1].as_str()?.parse().ok()).collect()
    }
}

impl Drop for Prometheus<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.process.kill().and_then(|()| self.process.wait().map(drop)) {
            eprintln!("prometheus: {error}");
        }
    }
}

#[test]
fn prometheus_answers_rates_by_port_and_drops_by_reason() {
    need!(skip::bpf());
    need!(skip::prometheus());
    let mut lab = Lab::empty(Hook::Tcx);
    lab.network(&RED, "");
    lab.vm("red1", &RED, 11);
    lab.ok("policy add no-ntp --deny --from port:red1 --service udp/123");
    let prometheus = Prometheus::start(&lab);
    assert!(eventually(|| prometheus.query("up{job=\"fwd\"}") == [1.0]), "the daemon is scraped");

    let server = format!("{OUTSIDE_V4}:53");
    let _udp = udp_whoami(&lab.outside, &server);
    let vm = &lab.get("red1").netns;
    let traffic = || {
        ask_udp(vm, "0.0.0.0:0", &server, "x").expect("the VM gets out");
        let denied = ask_udp(vm, "0.0.0.0:0", &format!("{OUTSIDE_V4}:123"), "x");
        assert!(denied.is_err(), "this is denied");
    };
    let moves = |expression: &str| {
        eventually(|| {
            traffic();
            prometheus.query(expression).iter().any(|value| *value > 0.0)
        })
    };
    for expression in [
        "rate(fwd_port_packets_total{port=\"red1\",outcome=\"forwarded\"}[10s])",
        "rate(fwd_port_bytes_total{port=\"red1\"}[10s])",
        "increase(fwd_drops_total{reason=\"policy_denied\"}[10s])",
        "fwd_port_drops_total{port=\"red1\",reason=\"policy_denied\"}",
        "sum(fwd_flows)",
    ] {
        assert!(moves(expression), "{expression} is {:?}", prometheus.query(expression));
    }
    assert_eq!(prometheus.query("max(fwd_unaccounted_packets)"), [0.0]);
    assert_eq!(
        prometheus.query("count(fwd_drops_total{reason=\"nat_exhausted\"})"),
        [1.0],
        "exported from zero"
    );
}
