//! `fwd policy`.

use expect_test::expect;

use crate::check;

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
            "policy set no-ssh --service ssh --service icmp/echo-request",
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
            NAME      ACTION  FROM       TO         SERVICES  PRIORITY  ENABLED
            policy-1  allow   group:web  group:db   tcp/5432  1000      yes
            no-ssh    deny    outside    group:web  tcp/22    2000      yes
            policy-2  deny    any        any        -         1000      yes
            $ fwd policy disable policy-1
            Changed policy policy-1 (revision 6).
            $ fwd policy show policy-1
            name:     policy-1
            action:   allow
            from:     group:web
            to:       group:db
            services: tcp/5432
            priority: 1000
            enabled:  no
            reason:   -
            $ fwd policy enable policy-1
            Changed policy policy-1 (revision 7).
            $ fwd policy set no-ssh --service ssh --service icmp/echo-request
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
            priority: 2000
            enabled: true
            reason: use the bastion
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
fn bad_rules_are_refused_with_what_to_do() {
    check(
        &[
            "policy add x",
            "policy add x --allow --deny",
            "policy add permit any any",
            "policy add allow group:nope any",
            "policy add allow 10.0.0.0/99 any",
            "policy add allow any any tcp/70000",
            "policy add allow any any nonsense",
        ],
        expect![[r#"
            $ fwd policy add x
            error: Give NAME with --allow or --deny, or ACTION FROM TO [SERVICE]... alone.
              For example: fwd policy add allow group:web group:db tcp/5432
              (FWD-E201; fwd explain FWD-E201)
            [exit code 2]
            $ fwd policy add x --allow --deny
            error: the argument '--allow' cannot be used with '--deny'

            Usage: fwd policy add [OPTIONS] NAME --allow|--deny [--from END]... [--to END]... [--service S]...
                   fwd policy add [OPTIONS] allow|deny FROM TO [SERVICE]...

            For more information, try '--help'.
            [exit code 2]
            $ fwd policy add permit any any
            error: Give NAME with --allow or --deny, or ACTION FROM TO [SERVICE]... alone.
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
              Services are such as tcp/80, udp/5000-5003, icmp, icmp/echo-request, proto/47 or any.
              (FWD-E603; fwd explain FWD-E603)
            [exit code 6]
        "#]],
    );
}
