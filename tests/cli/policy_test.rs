//! `fwd policy test`.

use expect_test::expect;

use crate::instance::Instance;

const SEGMENTS: &str = "api: fwd/v1
uplinks: [{device: eth0}]
networks: [{name: vmnat, mode: nat, subnets: [10.10.0.0/24], uplink: eth0, default_policy: closed}]
ports:
- {name: web1, device: tap0, network: vmnat, mac: \"52:54:00:00:00:11\", ips: [10.10.0.11]}
- {name: db1, device: tap1, network: vmnat, mac: \"52:54:00:00:00:12\", ips: [10.10.0.12]}
policies:
- {name: web2db, action: allow, from: \"port:web1\", to: \"port:db1\", services: tcp/5432}
- {name: from-office, action: allow, from: 198.51.100.0/24, to: \"port:web1\", services: [tcp/443, tcp/8000-8010]}
- {name: no-telnet, action: reject, services: tcp/23}
";

const TESTS: &str = "tests:
- web1 -> db1 tcp/5432 allow
- 198.51.100.7 -> web1 tcp/8000-8011 allow
";

#[test]
fn rules_are_tested_by_a_file() {
    let instance = Instance::up();
    instance.file("segments.yaml", SEGMENTS);
    let tests = "# who reaches whom\nweb1 -> db1 tcp/5432 allow\ndb1 -> web1 tcp/5432 deny\n\
                 198.51.100.7 -> web1 https allow\n198.51.100.7 -> web1 tcp/8000-8010 allow\noutside -> web1 tcp/443 deny\n\
                 web1 -> host udp/53 allow\nweb1 -> db1 tcp/23 reject\nweb1 -> db1 tcp/23 deny\n";
    instance.file("tests.txt", tests);
    instance.file("tests.yaml", TESTS);
    let transcript = instance.transcript(&[
        "policy test DIR/tests.yaml -f DIR/segments.yaml",
        "config apply -f DIR/segments.yaml -q",
        "policy test DIR/tests.txt",
    ]);
    expect![[r#"
        $ fwd policy test DIR/tests.yaml -f DIR/segments.yaml
        LINE  TEST                                JUDGED     WANTED  VERDICT  RULE    PASSED
        2     web1 -> db1 tcp/5432                candidate  allow   allow    web2db  yes
        3     198.51.100.7 -> web1 tcp/8000-8011  candidate  allow   deny     -       no
        [exit code 21]
        $ fwd config apply -f DIR/segments.yaml -q
        $ fwd policy test DIR/tests.txt
        LINE  TEST                                JUDGED    WANTED  VERDICT  RULE         PASSED
        2     web1 -> db1 tcp/5432                document  allow   allow    web2db       yes
        2     web1 -> db1 tcp/5432                datapath  allow   allow    web2db       yes
        3     db1 -> web1 tcp/5432                document  deny    deny     -            yes
        3     db1 -> web1 tcp/5432                datapath  deny    deny     -            yes
        4     198.51.100.7 -> web1 https          document  allow   deny     -            no
        4     198.51.100.7 -> web1 https          datapath  allow   deny     -            no
        5     198.51.100.7 -> web1 tcp/8000-8010  document  allow   allow    from-office  yes
        5     198.51.100.7 -> web1 tcp/8000-8010  datapath  allow   allow    from-office  yes
        6     outside -> web1 tcp/443             document  deny    deny     -            yes
        6     outside -> web1 tcp/443             datapath  deny    deny     -            yes
        7     web1 -> host udp/53                 document  allow   allow    -            yes
        7     web1 -> host udp/53                 datapath  allow   allow    -            yes
        8     web1 -> db1 tcp/23                  document  reject  reject   no-telnet    yes
        8     web1 -> db1 tcp/23                  datapath  reject  reject   no-telnet    yes
        9     web1 -> db1 tcp/23                  document  deny    reject   no-telnet    yes
        9     web1 -> db1 tcp/23                  datapath  deny    reject   no-telnet    yes
        [exit code 21]
    "#]]
    .assert_eq(&transcript);
}

#[test]
fn each_judgement_of_a_test_is_an_object_of_json() {
    let instance = Instance::up();
    instance.file("segments.yaml", SEGMENTS);
    instance.file("tests.yaml", TESTS);
    let transcript =
        instance.transcript(&["config apply -f DIR/segments.yaml -q", "policy test DIR/tests.yaml -o json"]);
    expect![[r#"
        $ fwd config apply -f DIR/segments.yaml -q
        $ fwd policy test DIR/tests.yaml -o json
        {
          "api": "fwd/v1",
          "items": [
            {
              "line": 2,
              "test": "web1 -> db1 tcp/5432",
              "judged": "document",
              "wanted": "allow",
              "verdict": "allow",
              "rule": "web2db",
              "passed": true
            },
            {
              "line": 2,
              "test": "web1 -> db1 tcp/5432",
              "judged": "datapath",
              "wanted": "allow",
              "verdict": "allow",
              "rule": "web2db",
              "passed": true
            },
            {
              "line": 3,
              "test": "198.51.100.7 -> web1 tcp/8000-8011",
              "judged": "document",
              "wanted": "allow",
              "verdict": "deny",
              "rule": null,
              "passed": false
            },
            {
              "line": 3,
              "test": "198.51.100.7 -> web1 tcp/8000-8011",
              "judged": "datapath",
              "wanted": "allow",
              "verdict": "deny",
              "rule": null,
              "passed": false
            }
          ]
        }
        [exit code 21]
    "#]]
    .assert_eq(&transcript);
}

#[test]
fn what_is_no_test_is_told_with_its_place() {
    let instance = Instance::up();
    instance.file("segments.yaml", SEGMENTS);
    instance.file("tests.yaml", TESTS);
    instance.file("bad.txt", "web1 -> db2 tcp/5432 allow\nweb1 -> 10.10.0.12 any allow\n");
    instance.file("no.txt", "web1 may reach db1\n");
    instance.file("broken.yaml", "api: fwd/v1\nports: [{name: web1, device: tap0, network: none}]\n");
    let transcript = instance.transcript(&[
        "config apply -f DIR/segments.yaml -q",
        "policy test DIR/bad.txt",
        "policy test DIR/no.txt",
        "policy test DIR/tests.yaml -f DIR/broken.yaml",
    ]);
    expect![[r#"
        $ fwd config apply -f DIR/segments.yaml -q
        $ fwd policy test DIR/bad.txt
        error: 3 things are wrong; nothing was changed.
          DIR/bad.txt:1:1: Policy test: there is no port db2.
            Ends of a test are a port, host, outside, or an address outside.
          DIR/bad.txt:2:1: Policy test: 10.10.0.12 is in network vmnat.
            Name the port that has the address.
          DIR/bad.txt:2:1: Policy test: any is no packet.
            A test asks about tcp/80, udp/5000-5003, icmp/echo-request, proto/47 or a service's name.
          Mend each of them; they are listed.
          (FWD-E601; fwd explain FWD-E601)
        [exit code 6]
        $ fwd policy test DIR/no.txt
        error: DIR/no.txt:1:1: `web1 may reach db1` is no test.
          Write FROM -> TO SERVICE [source L4PORT] allow|deny|reject, as web1 -> db1 tcp/5432 allow.
          (FWD-E603; fwd explain FWD-E603)
        [exit code 6]
        $ fwd policy test DIR/tests.yaml -f DIR/broken.yaml
        error: DIR/broken.yaml:2:45: Port web1: there is no network none.
          Add it first: fwd network add none --mode nat --subnet CIDR.
          (FWD-E604; fwd explain FWD-E604)
        [exit code 6]
    "#]]
    .assert_eq(&transcript);
}

#[test]
fn a_test_is_about_one_source_l4_port_or_about_all_that_rules_tell_apart() {
    let instance = Instance::up();
    let sources = "- {name: time, action: allow, from: outside, to: \"port:web1\", services: udp/123, source_l4_ports: [\"123\", 1024-65535]}\n";
    instance.file("segments.yaml", &format!("{SEGMENTS}{sources}"));
    let tests = "outside -> web1 udp/123 source 123 allow\noutside -> web1 udp/123 source 1023 deny\n\
                 outside -> web1 udp/123 allow\noutside -> web1 udp/124 deny\n\
                 198.51.100.7 -> web1 tcp/443 source 7 allow\nweb1 -> db1 tcp deny\nweb1 -> db1 icmp deny\n";
    instance.file("tests.txt", tests);
    instance.file("icmp.txt", "outside -> web1 icmp/echo-request source 7 deny\n");
    let transcript = instance.transcript(&[
        "config apply -f DIR/segments.yaml -q",
        "policy test DIR/tests.txt",
        "policy test DIR/icmp.txt",
    ]);
    expect![[r#"
        $ fwd config apply -f DIR/segments.yaml -q
        $ fwd policy test DIR/tests.txt
        LINE  TEST                                   JUDGED    WANTED  VERDICT  RULE         PASSED
        1     outside -> web1 udp/123 source 123     document  allow   allow    time         yes
        1     outside -> web1 udp/123 source 123     datapath  allow   allow    time         yes
        2     outside -> web1 udp/123 source 1023    document  deny    deny     -            yes
        2     outside -> web1 udp/123 source 1023    datapath  deny    deny     -            yes
        3     outside -> web1 udp/123                document  allow   deny     -            no
        3     outside -> web1 udp/123                datapath  allow   deny     -            no
        4     outside -> web1 udp/124                document  deny    deny     -            yes
        4     outside -> web1 udp/124                datapath  deny    deny     -            yes
        5     198.51.100.7 -> web1 tcp/443 source 7  document  allow   allow    from-office  yes
        5     198.51.100.7 -> web1 tcp/443 source 7  datapath  allow   allow    from-office  yes
        6     web1 -> db1 tcp                        document  deny    allow    web2db       no
        6     web1 -> db1 tcp                        datapath  deny    allow    web2db       no
        7     web1 -> db1 icmp                       document  deny    deny     -            yes
        7     web1 -> db1 icmp                       datapath  deny    deny     -            yes
        [exit code 21]
        $ fwd policy test DIR/icmp.txt
        error: DIR/icmp.txt:1:1: Policy test: icmp/echo-request comes from no L4 port.
          Leave `source` out.
          (FWD-E603; fwd explain FWD-E603)
        [exit code 6]
    "#]]
    .assert_eq(&transcript);
}

#[test]
fn answers_to_a_stateless_rules_packets_are_tested_for_themselves() {
    let instance = Instance::up();
    instance.file(
        "segments.yaml",
        &SEGMENTS.replace("services: tcp/5432}", "services: tcp/5432, stateless: true}"),
    );
    instance.file("tests.txt", "web1 -> db1 tcp/5432 allow\ndb1 -> web1 tcp/40000 source 5432 allow\n");
    let transcript = instance.transcript(&["policy test DIR/tests.txt -f DIR/segments.yaml"]);
    expect![[r#"
        $ fwd policy test DIR/tests.txt -f DIR/segments.yaml
        LINE  TEST                               JUDGED     WANTED  VERDICT  RULE    PASSED
        1     web1 -> db1 tcp/5432               candidate  allow   allow    web2db  yes
        2     db1 -> web1 tcp/40000 source 5432  candidate  allow   deny     -       no
        [exit code 21]
    "#]]
    .assert_eq(&transcript);
}
