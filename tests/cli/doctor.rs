//! `fwd doctor` and `fwd forward test`.

use expect_test::expect;

use crate::check;

/// A VM that is not there, and a forward on an address that nobody has.
const FAULTS: [&str; 3] = [
    "network add vmnat --mode nat --subnet 10.10.0.0/24 --uplink eth0 -q",
    "port add web1 --device tap7 --network vmnat --ip 10.10.0.11 -q",
    "forward add web --listen tcp:203.0.113.77:8080 --to web1:80 -q",
];

#[test]
fn nothing_is_told_of_a_healthy_host() {
    check(
        &["doctor", "doctor -q", "doctor -o json"],
        expect![[r#"
            $ fwd doctor
            Nothing is wrong: links, addresses, routes, transport, services.
            $ fwd doctor -q
            $ fwd doctor -o json
            {
              "api": "fwd/v1",
              "kind": "doctor",
              "healthy": true,
              "findings": []
            }
        "#]],
    );
}

#[test]
fn faults_are_told_by_step() {
    check(
        &[FAULTS[0], FAULTS[1], FAULTS[2], "doctor", "doctor -o csv", "doctor -o name", "doctor -o json"],
        expect![[r#"
            $ fwd network add vmnat --mode nat --subnet 10.10.0.0/24 --uplink eth0 -q
            $ fwd port add web1 --device tap7 --network vmnat --ip 10.10.0.11 -q
            $ fwd forward add web --listen tcp:203.0.113.77:8080 --to web1:80 -q
            $ fwd doctor
            link         1 finding
              Port web1: The interface tap7 does not exist yet.
                Start the guest; or name its interface: fwd port set web1 --device DEVICE.
            address      1 finding
              Forward web: it listens on 203.0.113.77, which is on no uplink, so nobody sends packets for it here.
                Give it to an uplink: ip address add 203.0.113.77 dev DEVICE; or listen on another address.
            route        ok
            transport    1 finding
              Forward web: The MAC of port web1 is not known yet.
                See why: fwd forward test web.
            application  ok
            [exit code 20]
            $ fwd doctor -o csv
            OBJECT,STEP,CHECK,FOUND,REMEDY
            port web1,link,no_device,Port web1: The interface tap7 does not exist yet.,Start the guest; or name its interface: fwd port set web1 --device DEVICE.
            forward web,address,not_on_uplink,"Forward web: it listens on 203.0.113.77, which is on no uplink, so nobody sends packets for it here.",Give it to an uplink: ip address add 203.0.113.77 dev DEVICE; or listen on another address.
            forward web,transport,forward_pending,Forward web: The MAC of port web1 is not known yet.,See why: fwd forward test web.
            [exit code 20]
            $ fwd doctor -o name
            port web1
            forward web
            forward web
            [exit code 20]
            $ fwd doctor -o json
            {
              "api": "fwd/v1",
              "kind": "doctor",
              "healthy": false,
              "findings": [
                {
                  "step": "link",
                  "check": "no_device",
                  "object": "port web1",
                  "found": "Port web1: The interface tap7 does not exist yet.",
                  "remedy": "Start the guest; or name its interface: fwd port set web1 --device DEVICE."
                },
                {
                  "step": "address",
                  "check": "not_on_uplink",
                  "object": "forward web",
                  "found": "Forward web: it listens on 203.0.113.77, which is on no uplink, so nobody sends packets for it here.",
                  "remedy": "Give it to an uplink: ip address add 203.0.113.77 dev DEVICE; or listen on another address."
                },
                {
                  "step": "transport",
                  "check": "forward_pending",
                  "object": "forward web",
                  "found": "Forward web: The MAC of port web1 is not known yet.",
                  "remedy": "See why: fwd forward test web."
                }
              ]
            }
            [exit code 20]
        "#]],
    );
}

#[test]
fn a_test_names_the_steps_that_fail() {
    check(
        &[
            FAULTS[0],
            FAULTS[1],
            FAULTS[2],
            "forward test web",
            "forward test web -o csv",
            "forward test nobody",
        ],
        expect![[r#"
            $ fwd network add vmnat --mode nat --subnet 10.10.0.0/24 --uplink eth0 -q
            $ fwd port add web1 --device tap7 --network vmnat --ip 10.10.0.11 -q
            $ fwd forward add web --listen tcp:203.0.113.77:8080 --to web1:80 -q
            $ fwd forward test web
            Forward web: tcp:203.0.113.77:8080 to web1:80
            link         failed
              Port web1: The interface tap7 does not exist yet.
                Start the guest; or name its interface: fwd port set web1 --device DEVICE.
            address      failed
              Forward web: it listens on 203.0.113.77, which is on no uplink, so nobody sends packets for it here.
                Give it to an uplink: ip address add 203.0.113.77 dev DEVICE; or listen on another address.
            route        unknown
              Not looked at: a step before it failed.
            transport    unknown
              There is nothing to send a probe to.
            application  unknown
              Not looked at: there is nothing to send a probe to.
            [exit code 21]
            $ fwd forward test web -o csv
            STEP,STATE,FOUND,REMEDIES
            link,failed,Port web1: The interface tap7 does not exist yet.,Start the guest; or name its interface: fwd port set web1 --device DEVICE.
            address,failed,"Forward web: it listens on 203.0.113.77, which is on no uplink, so nobody sends packets for it here.",Give it to an uplink: ip address add 203.0.113.77 dev DEVICE; or listen on another address.
            route,unknown,Not looked at: a step before it failed.,-
            transport,unknown,There is nothing to send a probe to.,-
            application,unknown,Not looked at: there is nothing to send a probe to.,-
            [exit code 21]
            $ fwd forward test nobody
            error: There is no forward nobody.
              List them: fwd forward list.
              (FWD-E301; fwd explain FWD-E301)
            [exit code 3]
        "#]],
    );
}
