//! `fwd policy`.

use expect_test::expect;
use fwd_tests::lab::eventually;

use crate::{check, instance::Instance};

#[test]
fn a_rule_is_added_in_both_forms() {
    check(
        &[
            "group add web --selector role=web -q",
            "group add db --selector role=db -q",
            "policy add allow group:web group:db tcp/5432",
            "policy add no-ssh --deny --from outside --to group:web --service tcp/22 --priority 2000 --reason 'use the bastion'",
            "policy add deny any any",
            "policy list",
            "policy disable policy-1",
            "policy show policy-1",
            "policy enable policy-1",
            "policy set no-ssh --service ssh --service icmp/echo-request --service icmp/13/0 --service icmp6/128",
            "policy show no-ssh -o yaml",
            "policy delete policy-1",
            "policy add deny any any",
            "policy list -o name",
        ],
        expect![[r#"
            $ fwd group add web --selector role=web -q
            $ fwd group add db --selector role=db -q
            $ fwd policy add allow group:web group:db tcp/5432
            Added policy policy-1 (revision 3).
            $ fwd policy add no-ssh --deny --from outside --to group:web --service tcp/22 --priority 2000 --reason 'use the bastion'
            Added policy no-ssh (revision 4).
            $ fwd policy add deny any any
            Added policy policy-2 (revision 5).
            $ fwd policy list
            NAME      ACTION  FROM       TO         SERVICES  PRIORITY  ENABLED  STAGE  FLOWS  PACKETS
            policy-1  allow   group:web  group:db   tcp/5432  1000      yes      no     0      0
            no-ssh    deny    outside    group:web  tcp/22    2000      yes      no     0      0
            policy-2  deny    any        any        -         1000      yes      no     0      0
            $ fwd policy disable policy-1
            Changed policy policy-1 (revision 6).
            $ fwd policy show policy-1
            name:      policy-1
            action:    allow
            from:      group:web
            to:        group:db
            services:  tcp/5432
            priority:  1000
            stateless: no
            stage:     no
            log:       no
            enabled:   no
            expires:   -
            reason:    -
            flows:     0
            packets:   0
            last_hit:  -
            $ fwd policy enable policy-1
            Changed policy policy-1 (revision 7).
            $ fwd policy set no-ssh --service ssh --service icmp/echo-request --service icmp/13/0 --service icmp6/128
            Changed policy no-ssh (revision 8).
            $ fwd policy show no-ssh -o yaml
            api: fwd/v1
            kind: policy
            name: no-ssh
            action: deny
            from:
              - outside
            to:
              - "group:web"
            services:
              - tcp/22
              - icmp/echo-request
              - icmp/timestamp-request/0
              - icmpv6/echo-request
            priority: 2000
            stateless: false
            stage: false
            log: false
            enabled: true
            expires: ~
            reason: use the bastion
            flows: 0
            packets: 0
            last_hit: ~
            $ fwd policy delete policy-1
            Deleted policy policy-1 (revision 9).
            $ fwd policy add deny any any
            Added policy policy-1 (revision 10).
            $ fwd policy list -o name
            no-ssh
            policy-2
            policy-1
        "#]],
    );
}

#[test]
fn a_rule_is_staged_and_enforced() {
    check(
        &[
            "policy add --deny --to host --service ssh --stage --log",
            "policy add no-mail --deny --service tcp/25",
            "policy show policy-1 -o yaml",
            "policy list -o wide",
            "policy enforce policy-1",
            "policy set no-mail --stage on --log on",
            "policy list",
            "policy enforce nobody",
            "policy set no-mail --stage perhaps",
        ],
        expect![[r#"
            $ fwd policy add --deny --to host --service ssh --stage --log
            Added policy policy-1 (revision 1).
            $ fwd policy add no-mail --deny --service tcp/25
            Added policy no-mail (revision 2).
            $ fwd policy show policy-1 -o yaml
            api: fwd/v1
            kind: policy
            name: policy-1
            action: deny
            from: []
            to:
              - host
            services:
              - tcp/22
            priority: 1000
            stateless: false
            stage: true
            log: true
            enabled: true
            expires: ~
            reason: ""
            flows: 0
            packets: 0
            last_hit: ~
            $ fwd policy list -o wide
            NAME      ACTION  FROM  TO    SERVICES  PRIORITY  ENABLED  STAGE  FLOWS  PACKETS  TIER  SOURCE_L4_PORTS  STATELESS  LOG  LAST_HIT  EXPIRES  REASON
            policy-1  deny    -     host  tcp/22    1000      yes      yes    0      0        -     -                no         yes  -         -        -
            no-mail   deny    -     -     tcp/25    1000      yes      no     0      0        -     -                no         no   -         -        -
            $ fwd policy enforce policy-1
            Changed policy policy-1 (revision 3).
            $ fwd policy set no-mail --stage on --log on
            Changed policy no-mail (revision 4).
            $ fwd policy list
            NAME      ACTION  FROM  TO    SERVICES  PRIORITY  ENABLED  STAGE  FLOWS  PACKETS
            policy-1  deny    -     host  tcp/22    1000      yes      no     0      0
            no-mail   deny    -     -     tcp/25    1000      yes      yes    0      0
            $ fwd policy enforce nobody
            error: There is no policy nobody.
              List them: fwd policy list.
              (FWD-E301; fwd explain FWD-E301)
            [exit code 3]
            $ fwd policy set no-mail --stage perhaps
            error: invalid value 'perhaps' for '--stage <on|off>': write on or off

            For more information, try '--help'.
            [exit code 2]
        "#]],
    );
}

#[test]
fn bad_rules_are_refused_with_what_to_do() {
    check(
        &[
            "policy add",
            "policy add x",
            "policy add x --allow --deny",
            "policy add permit any any",
            "policy add allow group:nope any",
            "policy add allow 10.0.0.0/99 any",
            "policy add allow any any tcp/70000",
            "policy add allow any any nonsense",
        ],
        expect![[r#"
            $ fwd policy add
            error: Give --allow, --deny or --reject, or ACTION FROM TO [SERVICE]... alone.
              For example: fwd policy add allow group:web group:db tcp/5432
              (FWD-E201; fwd explain FWD-E201)
            [exit code 2]
            $ fwd policy add x
            error: Give --allow, --deny or --reject, or ACTION FROM TO [SERVICE]... alone.
              For example: fwd policy add allow group:web group:db tcp/5432
              (FWD-E201; fwd explain FWD-E201)
            [exit code 2]
            $ fwd policy add x --allow --deny
            error: the argument '--allow' cannot be used with '--deny'

            Usage: fwd policy add [OPTIONS] [NAME] --allow|--deny|--reject [--from END]... [--to END]... [--service S]...
                   fwd policy add [OPTIONS] allow|deny|reject FROM TO [SERVICE]...

            For more information, try '--help'.
            [exit code 2]
            $ fwd policy add permit any any
            error: Give --allow, --deny or --reject, or ACTION FROM TO [SERVICE]... alone.
              For example: fwd policy add allow group:web group:db tcp/5432
              (FWD-E201; fwd explain FWD-E201)
            [exit code 2]
            $ fwd policy add allow group:nope any
            error: Policy policy-1: there is no group nope.
              Add it first (fwd group add), or mend the name (fwd group list).
              (FWD-E604; fwd explain FWD-E604)
            [exit code 6]
            $ fwd policy add allow 10.0.0.0/99 any
            error: Policy policy-1: `10.0.0.0/99` is not an end of a rule.
              Use any, outside, host, port:NAME, group:NAME, set:NAME, network:NAME or a CIDR.
              (FWD-E603; fwd explain FWD-E603)
            [exit code 6]
            $ fwd policy add allow any any tcp/70000
            error: Policy policy-1: `70000` is not an L4 port.
              L4 ports are numbers from 1 to 65535, or ranges such as 5000-5003.
              (FWD-E603; fwd explain FWD-E603)
            [exit code 6]
            $ fwd policy add allow any any nonsense
            error: Policy policy-1: `nonsense` is not a service, and the host's services have no such name.
              Services are such as tcp/80, udp/5000-5003, sctp/9, icmp, icmp/echo-request, icmpv6/packet-too-big, proto/47 or any.
              (FWD-E603; fwd explain FWD-E603)
            [exit code 6]
        "#]],
    );
}

#[test]
fn what_passes_in_closed_networks_without_a_rule_is_listed() {
    check(
        &[
            "network add shut --mode nat --subnet 10.10.0.0/24 --default-policy closed -q",
            "network add lan --mode isolated --default-policy closed -q",
            "network add open --mode nat --subnet 10.20.0.0/24 -q",
            "policy add allow any any tcp/80 -q",
            "policy list --implicit",
            "policy list -o name",
        ],
        expect![[r#"
            $ fwd network add shut --mode nat --subnet 10.10.0.0/24 --default-policy closed -q
            $ fwd network add lan --mode isolated --default-policy closed -q
            $ fwd network add open --mode nat --subnet 10.20.0.0/24 -q
            $ fwd policy add allow any any tcp/80 -q
            $ fwd policy list --implicit
            NAME                     ACTION  FROM          TO            SERVICES                      PRIORITY  ENABLED  STAGE  FLOWS  PACKETS
            policy-1                 allow   any           any           tcp/80                        1000      yes      no     0      0
            implicit-neighbors-shut  allow   network:shut  network:shut  arp,nd                        -         yes      -      -      -
            implicit-gateway-shut    allow   network:shut  host          udp/67,udp/547,udp/53,tcp/53  -         yes      -      -      -
            implicit-neighbors-lan   allow   network:lan   network:lan   arp,nd                        -         yes      -      -      -
            $ fwd policy list -o name
            policy-1
        "#]],
    );
}

/// They leave the document at their moment, also what ended while no daemon ran.
#[test]
fn rules_and_forwards_end_by_themselves() {
    let instance = Instance::up();
    let ok = |line: &str| {
        let output = instance.run(line);
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    ok("network add vmnat --mode nat --subnet 10.10.0.0/24 --uplink eth0");
    ok("port add web1 --device tap0 --network vmnat --ip 10.10.0.11");
    ok("policy add lasting --deny --to host");
    ok("policy add short --deny --to host --for 1s");
    ok("forward add short --listen tcp:8080 --to web1:80 --for 1s");
    ok("policy add long --deny --to host --for 2h");
    let listed = || (ok("policy list -o name"), ok("forward list -o name"));
    assert!(eventually(|| listed() == ("lasting\nlong\n".to_owned(), String::new())), "{:?}", listed());
    let history = ok("config history");
    assert!(history.contains("fwd") && history.contains("-policy/short"), "{history}");
    ok("policy set long --for 1s");
    ok("down");
    std::thread::sleep(std::time::Duration::from_millis(2500));
    ok(crate::instance::UP);
    assert_eq!(ok("policy list -o name"), "lasting\n");
}

#[test]
fn a_lifetime_that_is_none_is_refused() {
    let instance = Instance::up();
    instance.file("a.yaml", "api: fwd/v1\npolicies: [{name: a, action: deny, expires: tomorrow}]\n");
    let lines =
        ["policy add deny any any --for 0s", "policy add deny any any --for soon", "config apply DIR/a.yaml"];
    expect![[r#"
        $ fwd policy add deny any any --for 0s
        error: invalid value '0s' for '--for <TIME>': give it from 1s to 36500d

        For more information, try '--help'.
        [exit code 2]
        $ fwd policy add deny any any --for soon
        error: invalid value 'soon' for '--for <TIME>': write a number with s, m, h or d, as 5m

        For more information, try '--help'.
        [exit code 2]
        $ fwd config apply DIR/a.yaml
        error: DIR/a.yaml:2:45: Policy a: `tomorrow` is not a moment.
          Write it as RFC 3339, such as 2030-01-31T12:00:00Z.
          (FWD-E603; fwd explain FWD-E603)
        [exit code 6]
    "#]]
    .assert_eq(&instance.transcript(&lines));
}

#[test]
fn rules_are_the_operators_or_a_tenants() {
    check(
        &[
            "policy add keep-out --deny --service tcp/22 --tier operator --priority 10",
            "policy show keep-out -o yaml",
            "policy add let-in --allow --service tcp/22 --priority 2000",
            "policy list -o wide",
            "policy set keep-out --tier tenant",
            "policy add bad --deny --tier guest",
        ],
        expect![[r#"
            $ fwd policy add keep-out --deny --service tcp/22 --tier operator --priority 10
            Added policy keep-out (revision 1).
            $ fwd policy show keep-out -o yaml
            api: fwd/v1
            kind: policy
            name: keep-out
            action: deny
            from: []
            to: []
            services:
              - tcp/22
            tier: operator
            priority: 10
            stateless: false
            stage: false
            log: false
            enabled: true
            expires: ~
            reason: ""
            flows: 0
            packets: 0
            last_hit: ~
            $ fwd policy add let-in --allow --service tcp/22 --priority 2000
            Added policy let-in (revision 2).
            $ fwd policy list -o wide
            NAME      ACTION  FROM  TO  SERVICES  PRIORITY  ENABLED  STAGE  FLOWS  PACKETS  TIER      SOURCE_L4_PORTS  STATELESS  LOG  LAST_HIT  EXPIRES  REASON
            keep-out  deny    -     -   tcp/22    10        yes      no     0      0        operator  -                no         no   -         -        -
            let-in    allow   -     -   tcp/22    2000      yes      no     0      0        -         -                no         no   -         -        -
            $ fwd policy set keep-out --tier tenant
            Changed policy keep-out (revision 3).
            $ fwd policy add bad --deny --tier guest
            error: invalid value 'guest' for '--tier <TIER>'
              [possible values: operator, tenant]

            For more information, try '--help'.
            [exit code 2]
        "#]],
    );
}

#[test]
fn rules_name_source_l4_ports_of_protocols_that_have_any() {
    check(
        &[
            "policy add time --allow --service udp/123 --source-l4-port 123 --source-l4-port 1024-65535",
            "policy show time -o yaml",
            "policy set time --source-l4-port 123-123",
            "policy list -o wide",
            "policy set time --service any --source-l4-port any",
            "policy add bad --deny --source-l4-port 53",
            "policy add bad --deny --service icmp --service udp --source-l4-port 53",
            "policy add bad --deny --service tcp --source-l4-port 0-70000",
        ],
        expect![[r#"
            $ fwd policy add time --allow --service udp/123 --source-l4-port 123 --source-l4-port 1024-65535
            Added policy time (revision 1).
            $ fwd policy show time -o yaml
            api: fwd/v1
            kind: policy
            name: time
            action: allow
            from: []
            to: []
            services:
              - udp/123
            source_l4_ports:
              - "123"
              - 1024-65535
            priority: 1000
            stateless: false
            stage: false
            log: false
            enabled: true
            expires: ~
            reason: ""
            flows: 0
            packets: 0
            last_hit: ~
            $ fwd policy set time --source-l4-port 123-123
            Changed policy time (revision 2).
            $ fwd policy list -o wide
            NAME  ACTION  FROM  TO  SERVICES  PRIORITY  ENABLED  STAGE  FLOWS  PACKETS  TIER  SOURCE_L4_PORTS  STATELESS  LOG  LAST_HIT  EXPIRES  REASON
            time  allow   -     -   udp/123   1000      yes      no     0      0        -     123              no         no   -         -        -
            $ fwd policy set time --service any --source-l4-port any
            Changed policy time (revision 3).
            $ fwd policy add bad --deny --source-l4-port 53
            error: Policy bad: it has source L4 ports, and is about every protocol.
              Give services of TCP, UDP or SCTP, as --service udp or tcp/1-1023.
              (FWD-E603; fwd explain FWD-E603)
            [exit code 6]
            $ fwd policy add bad --deny --service icmp --service udp --source-l4-port 53
            error: Policy bad: it has source L4 ports, and `icmp` has none.
              Give services of TCP, UDP or SCTP, as --service udp or tcp/1-1023.
              (FWD-E603; fwd explain FWD-E603)
            [exit code 6]
            $ fwd policy add bad --deny --service tcp --source-l4-port 0-70000
            error: Policy bad: `0` is not an L4 port.
              L4 ports are numbers from 1 to 65535, or ranges such as 5000-5003.
              (FWD-E603; fwd explain FWD-E603)
            [exit code 6]
        "#]],
    );
}

#[test]
fn a_rule_that_allows_may_be_stateless() {
    check(
        &[
            "policy add syslog --allow --stateless --to 10.0.0.9/32 --service udp/514",
            "policy show syslog -o yaml",
            "policy list -o wide",
            "policy add syslog --allow --to 10.0.0.9/32 --service udp/514 --may-exist",
            "policy set syslog --action deny",
            "policy set syslog --stateless off --action deny",
            "policy show syslog",
            "policy add bad --reject --stateless",
            "policy add allow any any udp/514 --stateless --stage",
            "policy list -o wide",
        ],
        expect![[r#"
            $ fwd policy add syslog --allow --stateless --to 10.0.0.9/32 --service udp/514
            Added policy syslog (revision 1).
            $ fwd policy show syslog -o yaml
            api: fwd/v1
            kind: policy
            name: syslog
            action: allow
            from: []
            to:
              - 10.0.0.9/32
            services:
              - udp/514
            priority: 1000
            stateless: true
            stage: false
            log: false
            enabled: true
            expires: ~
            reason: ""
            flows: 0
            packets: 0
            last_hit: ~
            $ fwd policy list -o wide
            NAME    ACTION  FROM  TO           SERVICES  PRIORITY  ENABLED  STAGE  FLOWS  PACKETS  TIER  SOURCE_L4_PORTS  STATELESS  LOG  LAST_HIT  EXPIRES  REASON
            syslog  allow   -     10.0.0.9/32  udp/514   1000      yes      no     0      0        -     -                yes        no   -         -        -
            $ fwd policy add syslog --allow --to 10.0.0.9/32 --service udp/514 --may-exist
            error: Policy syslog exists already, and is another one.
              Change it with set, or use --may-exist.
              (FWD-E401; fwd explain FWD-E401)
            [exit code 4]
            $ fwd policy set syslog --action deny
            error: Policy syslog: only a rule that allows is stateless: what is refused has no answers.
              Leave it out (--stateless off), or let the rule allow.
              (FWD-E603; fwd explain FWD-E603)
            [exit code 6]
            $ fwd policy set syslog --stateless off --action deny
            Changed policy syslog (revision 2).
            $ fwd policy show syslog
            name:      syslog
            action:    deny
            from:      -
            to:        10.0.0.9/32
            services:  udp/514
            priority:  1000
            stateless: no
            stage:     no
            log:       no
            enabled:   yes
            expires:   -
            reason:    -
            flows:     0
            packets:   0
            last_hit:  -
            $ fwd policy add bad --reject --stateless
            error: Policy bad: only a rule that allows is stateless: what is refused has no answers.
              Leave it out (--stateless off), or let the rule allow.
              (FWD-E603; fwd explain FWD-E603)
            [exit code 6]
            $ fwd policy add allow any any udp/514 --stateless --stage
            Added policy policy-1 (revision 3).
            $ fwd policy list -o wide
            NAME      ACTION  FROM  TO           SERVICES  PRIORITY  ENABLED  STAGE  FLOWS  PACKETS  TIER  SOURCE_L4_PORTS  STATELESS  LOG  LAST_HIT  EXPIRES  REASON
            syslog    deny    -     10.0.0.9/32  udp/514   1000      yes      no     0      0        -     -                no         no   -         -        -
            policy-1  allow   any   any          udp/514   1000      yes      yes    0      0        -     -                yes        no   -         -        -
        "#]],
    );
}
