//! `fwd network`.

use expect_test::expect;

use crate::check;

#[test]
fn a_network_is_added_shown_changed_and_deleted() {
    check(
        &[
            "network add vmnat --mode nat --subnet 10.10.0.0/24 --subnet fd00:10::/64 --uplink eth0",
            "network list",
            "network list -o wide",
            "network show vmnat",
            "network set vmnat --mode routed --mtu 9000 --default-policy closed --isolate-ports",
            "network show vmnat -o json",
            "network delete vmnat",
            "network list",
        ],
        expect![[r#"
            $ fwd network add vmnat --mode nat --subnet 10.10.0.0/24 --subnet fd00:10::/64 --uplink eth0
            Added uplink eth0, network vmnat (revision 1).
            $ fwd network list
            NAME   MODE  SUBNETS                    UPLINK  POLICY  STATE
            vmnat  nat   10.10.0.0/24,fd00:10::/64  eth0    open    ready
            $ fwd network list -o wide
            NAME   MODE  SUBNETS                    UPLINK  POLICY  STATE  GATEWAYS  DHCP  DNS  NTP  MTU   PRIVATE  ISOLATED
            vmnat  nat   10.10.0.0/24,fd00:10::/64  eth0    open    ready  -         -     -    -    1500  no       no
            $ fwd network show vmnat
            name:           vmnat
            mode:           nat
            subnets:        10.10.0.0/24,fd00:10::/64
            gateways:       -
            uplink:         eth0
            dhcp:           -
            dns:            -
            mtu:            1500
            default_policy: open
            private:        no
            isolate_ports:  no
            state:          ready
            state_reason:   -
            ports:          0
            $ fwd network set vmnat --mode routed --mtu 9000 --default-policy closed --isolate-ports
            Changed network vmnat (revision 2).
            $ fwd network show vmnat -o json
            {
              "api": "fwd/v1",
              "kind": "network",
              "name": "vmnat",
              "mode": "routed",
              "subnets": [
                "10.10.0.0/24",
                "fd00:10::/64"
              ],
              "gateways": [],
              "uplink": "eth0",
              "dhcp": null,
              "dns": null,
              "mtu": 9000,
              "default_policy": "closed",
              "private": false,
              "isolate_ports": true,
              "state": "ready",
              "state_reason": null,
              "ports": 0
            }
            $ fwd network delete vmnat
            Deleted network vmnat (revision 3).
            $ fwd network list
            NAME  MODE  SUBNETS  UPLINK  POLICY  STATE
        "#]],
    );
}

#[test]
fn an_existing_network_is_refused_unless_it_is_equal() {
    check(
        &[
            "network add a --mode isolated",
            "network add a --mode isolated",
            "network add a --mode isolated --may-exist",
            "network add a --mode isolated --mtu 1400 --may-exist",
        ],
        expect![[r#"
            $ fwd network add a --mode isolated
            Added network a (revision 1).
            $ fwd network add a --mode isolated
            error: Network a exists already.
              Change it with set, or use --may-exist.
              (FWD-E401; fwd explain FWD-E401)
            [exit code 4]
            $ fwd network add a --mode isolated --may-exist
            Nothing to change (revision 1).
            $ fwd network add a --mode isolated --mtu 1400 --may-exist
            error: Network a exists already, and is another one.
              Change it with set, or use --may-exist.
              (FWD-E401; fwd explain FWD-E401)
            [exit code 4]
        "#]],
    );
}

#[test]
fn a_network_that_is_not_there_is_named() {
    check(
        &["network show x", "network set x --mtu 1400", "network delete x", "network delete x --if-exists"],
        expect![[r#"
            $ fwd network show x
            error: There is no network x.
              List them: fwd network list.
              (FWD-E301; fwd explain FWD-E301)
            [exit code 3]
            $ fwd network set x --mtu 1400
            error: There is no network x.
              List them: fwd network list.
              (FWD-E301; fwd explain FWD-E301)
            [exit code 3]
            $ fwd network delete x
            error: There is no network x.
              List them: fwd network list.
              (FWD-E301; fwd explain FWD-E301)
            [exit code 3]
            $ fwd network delete x --if-exists
            Nothing to change (revision 0).
        "#]],
    );
}

#[test]
fn bad_networks_are_refused_with_what_to_do() {
    check(
        &[
            "network add Bad_Name --mode isolated",
            "network add a --mode nat --subnet 10.10.0.0/24 --subnet 10.10.0.128/25 --uplink eth0",
            "network add a --mode nat --subnet 10.10.0.0/33 --uplink eth0",
            "network add a --mode bridged",
            "network add a --mode nat --subnet 10.10.0.0/24 --gateway 10.11.0.1 --uplink eth0",
        ],
        expect![[r#"
            $ fwd network add Bad_Name --mode isolated
            error: Network Bad_Name: the name has the character `B`.
              Names are 1 to 32 of a-z, 0-9 and -, and do not start with -.
              (FWD-E602; fwd explain FWD-E602)
            [exit code 6]
            $ fwd network add a --mode nat --subnet 10.10.0.0/24 --subnet 10.10.0.128/25 --uplink eth0
            error: Network a: its subnets 10.10.0.0/24 and 10.10.0.128/25 overlap.
              Leave one of them out.
              (FWD-E609; fwd explain FWD-E609)
            [exit code 6]
            $ fwd network add a --mode nat --subnet 10.10.0.0/33 --uplink eth0
            error: invalid value '10.10.0.0/33' for '--subnet <CIDR>': invalid IP address syntax

            For more information, try '--help'.
            [exit code 2]
            $ fwd network add a --mode bridged
            error: invalid value 'bridged' for '--mode <MODE>'
              [possible values: nat, routed, bridge, host, isolated]

              tip: a similar value exists: 'bridge'

            For more information, try '--help'.
            [exit code 2]
            $ fwd network add a --mode nat --subnet 10.10.0.0/24 --gateway 10.11.0.1 --uplink eth0
            error: Network a: the gateway 10.11.0.1 is in none of its subnets.
              Choose a host address of a subnet.
              (FWD-E610; fwd explain FWD-E610)
            [exit code 6]
        "#]],
    );
}

#[test]
fn overlapping_networks_must_be_private() {
    check(
        &[
            "network add red --mode nat --subnet 10.10.0.0/24 --uplink eth0",
            "network add blue --mode nat --subnet 10.10.0.0/16 --uplink eth0",
            "network add blue --mode nat --subnet 10.10.0.0/24 --uplink eth0 --private",
        ],
        expect![[r#"
            $ fwd network add red --mode nat --subnet 10.10.0.0/24 --uplink eth0
            Added uplink eth0, network red (revision 1).
            $ fwd network add blue --mode nat --subnet 10.10.0.0/16 --uplink eth0
            error: Network blue: its subnet 10.10.0.0/16 overlaps 10.10.0.0/24 of network red.
              Choose another subnet, or make one of the two --private.
              (FWD-E609; fwd explain FWD-E609)
            [exit code 6]
            $ fwd network add blue --mode nat --subnet 10.10.0.0/24 --uplink eth0 --private
            Added network blue (revision 2).
        "#]],
    );
}

#[test]
fn a_network_in_use_names_its_users() {
    check(
        &[
            "network add a --mode isolated",
            "port add web1 --device tap0 --network a",
            "port add web2 --device tap1 --network a",
            "network delete a",
        ],
        expect![[r#"
            $ fwd network add a --mode isolated
            Added network a (revision 1).
            $ fwd port add web1 --device tap0 --network a
            Added port web1 (revision 2).
            $ fwd port add web2 --device tap1 --network a
            Added port web2 (revision 3).
            $ fwd network delete a
            error: Network a is in use by port web1, port web2.
              Change or delete them first.
              (FWD-E502; fwd explain FWD-E502)
            [exit code 5]
        "#]],
    );
}

#[test]
fn services_are_asked_for_and_refused_where_there_can_be_none() {
    check(
        &[
            "network add a --mode nat --subnet 10.1.0.0/24 --dhcp 10.1.0.9-10.1.0.5",
            "network add a --mode nat --subnet 10.1.0.0/24 --dhcp 10.2.0.5-10.2.0.9",
            "network add a --mode nat --subnet 10.1.0.0/24 --dhcp 10.1.0.0-10.1.0.9",
            "network add a --mode nat --subnet 10.1.0.0/24 --dhcp 10.1.0.5-10.1.0.9,10.1.0.8-10.1.0.10",
            "network add a --mode nat --subnet 10.1.0.0/24 --dns maybe",
            "network add a --mode nat --subnet 10.1.0.0/24 --dhcp 10.1.0.5-10.1.0.9 --dns off",
            "network set a --dhcp off --dns on",
            "network list -o csv",
            "network leases a",
            "network leases b",
            "network add lan --mode bridge --uplink eth0 --dhcp 10.1.0.5-10.1.0.9 --dns on",
            "network add r --mode routed --subnet 10.3.0.0/24 --private",
        ],
        expect![[r#"
            $ fwd network add a --mode nat --subnet 10.1.0.0/24 --dhcp 10.1.0.9-10.1.0.5
            error: Network a: the range 10.1.0.9-10.1.0.5 ends before it starts.
              Write it as 10.1.0.5-10.1.0.9.
              (FWD-E603; fwd explain FWD-E603)
            [exit code 6]
            $ fwd network add a --mode nat --subnet 10.1.0.0/24 --dhcp 10.2.0.5-10.2.0.9
            error: Network a: the DHCP range 10.2.0.5-10.2.0.9 is not in one of its subnets.
              Choose a range within a subnet.
              (FWD-E603; fwd explain FWD-E603)
            [exit code 6]
            $ fwd network add a --mode nat --subnet 10.1.0.0/24 --dhcp 10.1.0.0-10.1.0.9
            error: Network a: the DHCP range 10.1.0.0-10.1.0.9 has the first or last address of 10.1.0.0/24.
              Give out host addresses only.
              (FWD-E603; fwd explain FWD-E603)
            [exit code 6]
            $ fwd network add a --mode nat --subnet 10.1.0.0/24 --dhcp 10.1.0.5-10.1.0.9,10.1.0.8-10.1.0.10
            error: Network a: the DHCP ranges 10.1.0.5-10.1.0.9 and 10.1.0.8-10.1.0.10 overlap.
              Make one of both.
              (FWD-E603; fwd explain FWD-E603)
            [exit code 6]
            $ fwd network add a --mode nat --subnet 10.1.0.0/24 --dns maybe
            error: invalid value 'maybe' for '--dns <on|off>': write on or off

            For more information, try '--help'.
            [exit code 2]
            $ fwd network add a --mode nat --subnet 10.1.0.0/24 --dhcp 10.1.0.5-10.1.0.9 --dns off
            Added network a (revision 1).
            $ fwd network set a --dhcp off --dns on
            Changed network a (revision 2).
            $ fwd network list -o csv
            NAME,MODE,SUBNETS,UPLINK,POLICY,STATE,GATEWAYS,DHCP,DNS,NTP,MTU,PRIVATE,ISOLATED
            a,nat,10.1.0.0/24,-,open,ready,-,off,yes,-,1500,no,no
            $ fwd network leases a
            ADDRESS  MAC  PORT  EXPIRES
            $ fwd network leases b
            error: There is no network b.
              List them: fwd network list.
              (FWD-E301; fwd explain FWD-E301)
            [exit code 3]
            $ fwd network add lan --mode bridge --uplink eth0 --dhcp 10.1.0.5-10.1.0.9 --dns on
            error: 2 things are wrong; nothing was changed.
              Network lan: names on a bridge are the outside's.
                Leave --dns out.
              Network lan: addresses on a bridge are given by the outside's DHCP.
                Leave --dhcp out, or say --dhcp snoop.
              Mend each of them; they are listed.
              (FWD-E601; fwd explain FWD-E601)
            [exit code 6]
            $ fwd network add r --mode routed --subnet 10.3.0.0/24 --private
            error: Network r: addresses that are routed cannot repeat elsewhere.
              Leave --private out, or use mode nat.
              (FWD-E614; fwd explain FWD-E614)
            [exit code 6]
        "#]],
    );
}
