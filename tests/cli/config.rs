//! `fwd config`.

use std::fs;

use expect_test::expect;
use fwd_tests::lab::eventually;
use nix::{
    sys::signal::{self, Signal},
    unistd::Pid,
};
use serde_json::{Value, json};

use crate::{
    check,
    instance::{Instance, UP},
};

const DOCUMENT: &str = r#"api: fwd/v1
settings: {udp_timeout: 2m}
uplinks: [{device: eth0}]
networks: [{name: vmnat, mode: nat, subnets: [10.10.0.0/24, "fd00:10::/64"], uplink: eth0}]
ports:
- {name: web1, device: tap0, network: vmnat, mac: "52:54:00:00:00:11", ips: [10.10.0.11], labels: {role: web}}
forwards: [{name: web-http, listen: "tcp:203.0.113.10:8080", to: "web1:80"}]
groups: [{name: web, selector: "role=web"}]
sets: [{name: office, cidrs: [198.51.100.0/24]}]
policies: [{name: only-office, action: deny, from: outside, to: group:web, services: tcp/22}]
"#;

#[test]
fn a_document_is_checked_compared_and_applied() {
    let instance = Instance::up();
    instance.file("a.yaml", DOCUMENT);
    let transcript = instance.transcript(&[
        "config check DIR/a.yaml",
        "config diff -f DIR/a.yaml",
        "config apply -f DIR/a.yaml",
        "config apply -f DIR/a.yaml",
    ]);
    expect![[r#"
        $ fwd config check DIR/a.yaml
        DIR/a.yaml: valid.
        $ fwd config diff -f DIR/a.yaml
        + setting/udp_timeout
        + uplink/eth0
        + network/vmnat
        + port/web1
        + forward/web-http
        + group/web
        + set/office
        + policy/only-office
        [exit code 20]
        $ fwd config apply -f DIR/a.yaml
        Applied setting udp_timeout, uplink eth0, network vmnat, port web1, forward web-http, 3 more (revision 1).
        $ fwd config apply -f DIR/a.yaml
        Nothing to change (revision 1).
    "#]]
    .assert_eq(&transcript);
}

/// The daemon's lock file has its number.
fn kill(instance: &Instance) {
    let pid = fs::read_to_string(instance.folder().join("state/lock")).expect("the daemon runs");
    let pid = Pid::from_raw(pid.trim().parse().expect("a number"));
    signal::kill(pid, Signal::SIGKILL).expect("our own daemon");
    assert!(eventually(|| !instance.run("status").status.success()), "it is gone");
}

#[test]
fn a_document_of_many_rules_is_there_after_a_crash_and_in_the_audit_log() {
    let instance = Instance::up();
    let rules: Vec<_> = (0..1500)
        .map(|n| json!({"name": format!("r{n}"), "action": "deny", "from": [format!("100.64.{}.{}", n / 250, n % 250)]}))
        .collect();
    instance.file("many.json", &json!({"api": "fwd/v1", "policies": rules}).to_string());
    let applied = instance.transcript(&["config apply -f DIR/many.json -o name"]);
    assert_eq!(applied.lines().count(), 1 + rules.len(), "{applied}");
    kill(&instance);
    instance.transcript(&[UP]);
    let listed = instance.transcript(&["policy list -o name"]);
    assert_eq!(listed.lines().filter(|line| line.starts_with('r')).count(), rules.len(), "{listed}");
    let audit = fs::read_to_string(instance.folder().join("state/audit.log")).expect("it is there");
    let records: Vec<Value> =
        audit.lines().map(|line| serde_json::from_str(line).expect("an object")).collect();
    let [record] = records.as_slice() else { panic!("{} records", records.len()) };
    assert_eq!(record["changes"].as_array().map(Vec::len), Some(rules.len()));
    assert_eq!(record["changes"][7]["after"]["from"], json!(["100.64.0.7"]));
}

#[test]
fn what_is_wrong_with_a_document_in_json_is_told_at_once_and_with_its_place() {
    let instance = Instance::up();
    let rule = |rest: &str| format!("{{\n\"api\": \"fwd/v1\",\n\"policies\": [\n{{{rest}}}\n]}}\n");
    let wrong = "\"name\": \"a\", \"action\": \"deny\", \"to\": [\"group:none\"]},\n";
    instance.file(
        "ends.json",
        &rule(&format!("{wrong}{{\"name\": \"b\", \"action\": \"deny\", \"from\": [\"rain\"]")),
    );
    instance.file(
        "fields.json",
        &rule(&format!("{wrong}{{\"name\": \"b\", \"action\": \"deny\", \"colour\": 1")),
    );
    let transcript = instance.transcript(&[
        "config apply -f DIR/ends.json",
        "config apply -f DIR/fields.json",
        "config diff -f DIR/fields.json",
        "config history -o name",
    ]);
    expect![[r#"
        $ fwd config apply -f DIR/ends.json
        error: 2 things are wrong; nothing was changed.
          DIR/ends.json:4:40: Policy a: there is no group none.
            Add it first (fwd group add), or mend the name (fwd group list).
          DIR/ends.json:5:42: Policy b: `rain` is not an end of a rule.
            Use any, outside, host, port:NAME, group:NAME, set:NAME, network:NAME or a CIDR.
          Mend each of them; they are listed.
          (FWD-E601; fwd explain FWD-E601)
        [exit code 6]
        $ fwd config apply -f DIR/fields.json
        error: 2 things are wrong; nothing was changed.
          DIR/fields.json:4:40: Policy a: there is no group none.
            Add it first (fwd group add), or mend the name (fwd group list).
          DIR/fields.json:5:33: Policy b: colour is not known here.
            Known are name, action, from, to, services, source_l4_ports, tier, priority, stateless, stage, log, enabled, expires, reason.
          Mend each of them; they are listed.
          (FWD-E601; fwd explain FWD-E601)
        [exit code 6]
        $ fwd config diff -f DIR/fields.json
        error: 2 things are wrong; nothing was changed.
          DIR/fields.json:4:40: Policy a: there is no group none.
            Add it first (fwd group add), or mend the name (fwd group list).
          DIR/fields.json:5:33: Policy b: colour is not known here.
            Known are name, action, from, to, services, source_l4_ports, tier, priority, stateless, stage, log, enabled, expires, reason.
          Mend each of them; they are listed.
          (FWD-E601; fwd explain FWD-E601)
        [exit code 6]
        $ fwd config history -o name
    "#]].assert_eq(&transcript);
    let audit = fs::read_to_string(instance.folder().join("state/audit.log")).expect("it is there");
    let refused: Vec<Value> =
        audit.lines().map(|line| serde_json::from_str(line).expect("an object")).collect();
    let [record] = refused.as_slice() else { panic!("{audit}") };
    assert_eq!(
        (&record["event"], record["error"]["problems"].as_array().map(Vec::len)),
        (&json!("refused"), Some(2))
    );
}

#[test]
fn what_show_prints_apply_accepts() {
    let instance = Instance::up();
    instance.file("a.yaml", DOCUMENT);
    let transcript = instance.transcript(&["config apply -f DIR/a.yaml -q", "config show"]);
    expect![[r#"
        $ fwd config apply -f DIR/a.yaml -q
        $ fwd config show
        api: fwd/v1
        settings:
          udp_timeout: 120s
        uplinks:
          - device: eth0
            hook: auto
        networks:
          - name: vmnat
            mode: nat
            subnets:
              - 10.10.0.0/24
              - "fd00:10::/64"
            gateways: []
            uplink: eth0
            dhcp: ~
            dns: ~
            mtu: 1500
            default_policy: open
            private: false
            isolate_ports: false
        ports:
          - name: web1
            device: tap0
            network: vmnat
            mac: "52:54:00:00:00:11"
            ips:
              - 10.10.0.11
            allow_addresses: []
            labels:
              role: web
            hook: auto
            trust: false
        forwards:
          - name: web-http
            listen: "tcp:203.0.113.10:8080"
            to: "web1:80"
            from: []
            expires: ~
        nats: []
        groups:
          - name: web
            members: []
            selector: role=web
        sets:
          - name: office
            cidrs:
              - 198.51.100.0/24
        policies:
          - name: only-office
            action: deny
            from:
              - outside
            to:
              - "group:web"
            services:
              - tcp/22
            priority: 1000
            stateless: false
            stage: false
            log: false
            enabled: true
            expires: ~
            reason: ""
    "#]]
    .assert_eq(&transcript);
    for format in ["yaml", "json"] {
        let shown = instance.run(&format!("config show -o {format}")).stdout;
        let shown = String::from_utf8(shown).expect("text");
        let again = instance.feed("config diff -f -", &shown);
        assert_eq!(again, "$ fwd config diff -f -\n", "{format}");
    }
}

#[test]
fn every_problem_of_a_document_is_told_with_its_place() {
    let instance = Instance::up();
    instance.file(
        "bad.yaml",
        r#"api: fwd/v1
networks:
- name: a
  mode: natt
- name: b
  mode: isolated
  colour: red
ports:
- {name: web1, device: tap0, network: a}
- {name: web2, device: tap1, network: c, mac: zz}
- {name: web2, device: tap2, network: b}
forwards:
- {name: f, listen: "tcp:1.2.3.4:99999", to: "web1:80"}
settings: {udp_timeout: soon}
"#,
    );
    let transcript = instance.transcript(&[
        "config check DIR/bad.yaml",
        "config show",
        "config check DIR/none.yaml",
        "config check",
    ]);
    expect![[r#"
        $ fwd config check DIR/bad.yaml
        error: 7 things are wrong; nothing was changed.
          DIR/bad.yaml:4:9: Network a: natt is not possible here.
            Write one of nat, routed, bridge, host, isolated.
          DIR/bad.yaml:7:3: Network b: colour is not known here.
            Known are name, mode, subnets, gateways, uplink, dhcp, dns, ntp, mtu, default_policy, private, isolate_ports, nat66.
          DIR/bad.yaml:10:39: Port web2: there is no network c.
            Add it first: fwd network add c --mode nat --subnet CIDR.
          DIR/bad.yaml:10:47: Port web2: `zz` is not a MAC.
            A MAC is six hexadecimal bytes such as 52:54:00:12:34:56.
          DIR/bad.yaml:11:10: Port web2: number 2 of ports has the same name.
            Rename one of them.
          DIR/bad.yaml:13:21: Forward f: `99999` is not an L4 port.
            L4 ports are numbers from 1 to 65535, or ranges such as 5000-5003.
          DIR/bad.yaml:14:25: Setting udp_timeout: `soon` is not a time from 1s to 86400s.
            See the range of each setting: docs/settings.md.
          Mend each of them; they are listed.
          (FWD-E601; fwd explain FWD-E601)
        [exit code 6]
        $ fwd config show
        api: fwd/v1
        settings: {}
        uplinks: []
        networks: []
        ports: []
        forwards: []
        nats: []
        groups: []
        sets: []
        policies: []
        $ fwd config check DIR/none.yaml
        error: File DIR/none.yaml does not exist.
          Look at the path.
          (FWD-E302; fwd explain FWD-E302)
        [exit code 3]
        $ fwd config check
        error: the following required arguments were not provided:
          <--file <FILE>|FILE>

        Usage: fwd config check --socket <PATH> <--file <FILE>|FILE>

        For more information, try '--help'.
        [exit code 2]
    "#]]
    .assert_eq(&transcript);
}

#[test]
fn a_diff_names_objects_and_fields() {
    let instance = Instance::up();
    instance.file("a.yaml", DOCUMENT);
    let other = DOCUMENT.replace("10.10.0.11]", "10.10.0.12]").replace("office", "bureau");
    instance.file("b.yaml", &other);
    let transcript = instance.transcript(&[
        "config apply -f DIR/a.yaml -q",
        "config diff -f DIR/b.yaml",
        "config diff -f DIR/a.yaml",
        "config apply -f DIR/b.yaml --if-revision 7",
        "config apply -f DIR/b.yaml --if-revision 1",
    ]);
    expect![[r#"
        $ fwd config apply -f DIR/a.yaml -q
        $ fwd config diff -f DIR/b.yaml
        + set/bureau
        + policy/only-bureau
        ~ port/web1
            ips: 10.10.0.11 -> 10.10.0.12
        - set/office
        - policy/only-office
        [exit code 20]
        $ fwd config diff -f DIR/a.yaml
        $ fwd config apply -f DIR/b.yaml --if-revision 7
        error: The document has revision 1, not 7; nothing was changed.
          Look at the change (fwd config show) and try again.
          (FWD-E501; fwd explain FWD-E501)
        [exit code 5]
        $ fwd config apply -f DIR/b.yaml --if-revision 1
        Applied port web1, set bureau, policy only-bureau, set office, policy only-office (revision 2).
    "#]]
    .assert_eq(&transcript);
}

#[test]
fn settings_are_set_and_taken_back() {
    check(
        &[
            "config set udp_timeout 90s",
            "config set flow_limit 10",
            "config set udp_timeou 10",
            "config show",
            "config set udp_timeout default",
            "config show",
        ],
        expect![[r#"
            $ fwd config set udp_timeout 90s
            Set setting udp_timeout (revision 1).
            $ fwd config set flow_limit 10
            error: Setting flow_limit: `10` is not a number from 1024 to 4194304.
              See the range of each setting: docs/settings.md.
              (FWD-E615; fwd explain FWD-E615)
            [exit code 6]
            $ fwd config set udp_timeou 10
            error: Setting udp_timeou: there is no setting `udp_timeou`.
              Did you mean udp_one_way_timeout or udp_timeout?
              (FWD-E615; fwd explain FWD-E615)
            [exit code 6]
            $ fwd config show
            api: fwd/v1
            settings:
              udp_timeout: 90s
            uplinks: []
            networks: []
            ports: []
            forwards: []
            nats: []
            groups: []
            sets: []
            policies: []
            $ fwd config set udp_timeout default
            Set setting udp_timeout (revision 2).
            $ fwd config show
            api: fwd/v1
            settings: {}
            uplinks: []
            networks: []
            ports: []
            forwards: []
            nats: []
            groups: []
            sets: []
            policies: []
        "#]],
    );
}

/// What the host makes of a document only a daemon knows; the rest needs none.
#[test]
fn a_document_is_checked_without_a_daemon() {
    let instance = Instance::new();
    instance.file("good.yaml", "api: fwd/v1\nuplinks: [{device: nowhere0}]\n");
    instance.file("bad.yaml", "api: fwd/v1\nports: [{name: web1, device: tap0, network: none}]\n");
    let transcript = instance.transcript(&[
        "config check DIR/good.yaml",
        "config check DIR/bad.yaml",
        "config apply DIR/good.yaml",
    ]);
    expect![[r#"
        $ fwd config check DIR/good.yaml
        DIR/good.yaml: valid.
        $ fwd config check DIR/bad.yaml
        error: DIR/bad.yaml:2:45: Port web1: there is no network none.
          Add it first: fwd network add none --mode nat --subnet CIDR.
          (FWD-E604; fwd explain FWD-E604)
        [exit code 6]
        $ fwd config apply DIR/good.yaml
        error: The daemon is not running: nobody answers on DIR/fwd.sock.
          Start it: sudo fwd up.
          (FWD-E901; fwd explain FWD-E901)
        [exit code 9]
    "#]]
    .assert_eq(&transcript);
}

#[test]
fn what_the_maps_have_no_room_for_is_refused_with_the_rows_that_it_needs() {
    let instance = Instance::up();
    let lan = "api: fwd/v1\nnetworks: [{name: lan, mode: isolated}]\nports: [{name: web1, device: tap0, network: lan, allow_addresses: ";
    let many: Vec<String> =
        (0..=65_536u32).map(|n| format!("10.{}.{}.{}/32", n >> 16, n >> 8 & 255, n & 255)).collect();
    instance.file("many.yaml", &format!("{lan}[{}]}}]\n", many.join(", ")));
    instance.file("few.yaml", &format!("{lan}[{}]}}]\n", many[..1000].join(", ")));
    let transcript = instance.transcript(&[
        "config apply -f DIR/many.yaml",
        "config apply -f DIR/many.yaml --dry-run",
        "config apply -f DIR/few.yaml --dry-run",
        "config apply -f DIR/few.yaml",
        "config history -o name",
    ]);
    expect![[r#"
        $ fwd config apply -f DIR/many.yaml
        error: Map ALLOWED_SOURCES: 65537 rows are needed, and it holds 65536. Nothing was changed.
          Delete some of what is no longer needed.
          (FWD-E701; fwd explain FWD-E701)
        [exit code 7]
        $ fwd config apply -f DIR/many.yaml --dry-run
        error: Map ALLOWED_SOURCES: 65537 rows are needed, and it holds 65536. Nothing was changed.
          Delete some of what is no longer needed.
          (FWD-E701; fwd explain FWD-E701)
        [exit code 7]
        $ fwd config apply -f DIR/few.yaml --dry-run
        + network/lan
        + port/web1
        Live flows decided anew: web1
        MAP              PUTS  DELETES  BEFORE  ENTRIES  CAPACITY  MEMORY
        ALLOWED_SOURCES  1000  0        0       1000     65536     90 KiB
        DEVICES          1     0        -       -        4096      -
        MEMBERS          1     0        0       1        16384     -
        NETWORKS         1     0        0       1        1024      -
        PORTS            2     0        0       1        4096      -
        PORT_OF_DEVICE   1     0        -       -        65536     -
        $ fwd config apply -f DIR/few.yaml
        Applied network lan, port web1 (revision 1).
        $ fwd config history -o name
        1
    "#]]
    .assert_eq(&transcript);
}
