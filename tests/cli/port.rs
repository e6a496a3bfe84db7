//! `fwd port`.

use expect_test::expect;

use crate::check;

const NETWORK: &str = "network add vmnat --mode nat --subnet 10.10.0.0/24 --uplink eth0 -q";

#[test]
fn a_port_is_added_shown_changed_and_deleted() {
    check(
        &[
            NETWORK,
            "port add web1 --device tap0 --network vmnat --mac 52:54:00:00:00:11 --ip 10.10.0.11 --label role=web",
            "port list",
            "port show web1",
            "port set web1 --ip 10.10.0.12 --ip 10.10.0.13 --trust",
            "port show web1 -o name",
            "port list -o csv",
            "port delete web1",
            "port list -o name",
        ],
        expect![[r#"
            $ fwd network add vmnat --mode nat --subnet 10.10.0.0/24 --uplink eth0 -q
            $ fwd port add web1 --device tap0 --network vmnat --mac 52:54:00:00:00:11 --ip 10.10.0.11 --label role=web
            Added port web1 (revision 2).
            $ fwd port list
            NAME  DEVICE  NETWORK  MAC                IPS         HOOK  STATE
            web1  tap0    vmnat    52:54:00:00:00:11  10.10.0.11  tcx   ready
            $ fwd port show web1
            name:                        web1
            device:                      tap0
            network:                     vmnat
            mac:                         52:54:00:00:00:11
            ips:                         10.10.0.11
            labels:                      role=web
            trust:                       no
            hook:                        tcx
            configured_hook:             auto
            hook_reason:                 The tap has a vnet header, so its guest may send GSO frames, which XDP cannot carry.
            state:                       ready
            state_reason:                -
            ifindex:                     4
            mtu:                         1500
            counters.xdp.received:       packets=0,bytes=0
            counters.xdp.forwarded:      packets=0,bytes=0
            counters.xdp.host:           packets=0,bytes=0
            counters.xdp.answered:       packets=0,bytes=0
            counters.xdp.dropped:        packets=0,bytes=0
            counters.xdp.passed_up:      packets=0,bytes=0
            counters.skb.received:       packets=0,bytes=0
            counters.skb.forwarded:      packets=0,bytes=0
            counters.skb.host:           packets=0,bytes=0
            counters.skb.answered:       packets=0,bytes=0
            counters.skb.dropped:        packets=0,bytes=0
            counters.skb.passed_up:      packets=0,bytes=0
            counters.copies:             packets=0,bytes=0
            counters.sent:               packets=0,bytes=0
            counters.lost_between_hooks: 0
            counters.egress_lost:        0
            counters.unaccounted:        0
            counters.flows:              0
            counters.half_open:          0
            $ fwd port set web1 --ip 10.10.0.12 --ip 10.10.0.13 --trust
            Changed port web1 (revision 3).
            $ fwd port show web1 -o name
            web1
            $ fwd port list -o csv
            NAME,DEVICE,NETWORK,MAC,IPS,HOOK,STATE,LIBVIRT,LABELS,CONFIGURED-HOOK,TRUST,FLOWS,REASON
            web1,tap0,vmnat,52:54:00:00:00:11,"10.10.0.12,10.10.0.13",tcx,ready,-,role=web,auto,yes,0,"The tap has a vnet header, so its guest may send GSO frames, which XDP cannot carry."
            $ fwd port delete web1
            Deleted port web1 (revision 4).
            $ fwd port list -o name
        "#]],
    );
}

#[test]
fn a_port_may_come_before_its_device() {
    check(
        &[NETWORK, "port add late --device tap7 --network vmnat", "port show late"],
        expect![[r#"
            $ fwd network add vmnat --mode nat --subnet 10.10.0.0/24 --uplink eth0 -q
            $ fwd port add late --device tap7 --network vmnat
            Added port late (revision 2).
            $ fwd port show late
            name:                        late
            device:                      tap7
            network:                     vmnat
            mac:                         -
            ips:                         -
            labels:                      -
            trust:                       no
            hook:                        -
            configured_hook:             auto
            hook_reason:                 There is no device yet.
            state:                       pending
            state_reason:                The interface tap7 does not exist yet.
            ifindex:                     -
            mtu:                         -
            counters.xdp.received:       packets=0,bytes=0
            counters.xdp.forwarded:      packets=0,bytes=0
            counters.xdp.host:           packets=0,bytes=0
            counters.xdp.answered:       packets=0,bytes=0
            counters.xdp.dropped:        packets=0,bytes=0
            counters.xdp.passed_up:      packets=0,bytes=0
            counters.skb.received:       packets=0,bytes=0
            counters.skb.forwarded:      packets=0,bytes=0
            counters.skb.host:           packets=0,bytes=0
            counters.skb.answered:       packets=0,bytes=0
            counters.skb.dropped:        packets=0,bytes=0
            counters.skb.passed_up:      packets=0,bytes=0
            counters.copies:             packets=0,bytes=0
            counters.sent:               packets=0,bytes=0
            counters.lost_between_hooks: 0
            counters.egress_lost:        0
            counters.unaccounted:        0
            counters.flows:              0
            counters.half_open:          0
        "#]],
    );
}

#[test]
fn bad_ports_are_refused_with_what_to_do() {
    check(
        &[
            NETWORK,
            "port add web1 --device tap0 --network nope",
            "port add web1 --device tap0 --network vmnat --mac 52:54:00:00:00",
            "port add web1 --device tap0 --network vmnat --ip 10.11.0.1",
            "port add web1 --device tap0 --network vmnat --label role",
            "port add web1 --network vmnat",
            "port add web1 --device eth0 --network vmnat",
            "port add web1 --device tap0 --network vmnat --ip 10.10.0.11 -q",
            "port add web2 --device tap0 --network vmnat",
            "port add web2 --device tap1 --network vmnat --ip 10.10.0.11",
            "port add web2 --device tap9 --network vmnat",
        ],
        expect![[r#"
            $ fwd network add vmnat --mode nat --subnet 10.10.0.0/24 --uplink eth0 -q
            $ fwd port add web1 --device tap0 --network nope
            error: Port web1: there is no network nope.
              Add it first: fwd network add nope --mode nat --subnet CIDR.
              (FWD-E604; fwd explain FWD-E604)
            [exit code 6]
            $ fwd port add web1 --device tap0 --network vmnat --mac 52:54:00:00:00
            error: Port web1: `52:54:00:00:00` is not a MAC.
              A MAC is six hexadecimal bytes such as 52:54:00:12:34:56.
              (FWD-E603; fwd explain FWD-E603)
            [exit code 6]
            $ fwd port add web1 --device tap0 --network vmnat --ip 10.11.0.1
            error: Port web1: the address 10.11.0.1 is in none of its network's subnets (10.10.0.0/24).
              Choose an address of a subnet, or add the subnet to the network.
              (FWD-E608; fwd explain FWD-E608)
            [exit code 6]
            $ fwd port add web1 --device tap0 --network vmnat --label role
            error: invalid value 'role' for '--label <KEY=VALUE>': write KEY=VALUE

            For more information, try '--help'.
            [exit code 2]
            $ fwd port add web1 --network vmnat
            error: the following required arguments were not provided:
              --device <DEVICE>

            Usage: fwd port add --network <NETWORK> --socket <PATH> --device <DEVICE> <NAME>

            For more information, try '--help'.
            [exit code 2]
            $ fwd port add web1 --device eth0 --network vmnat
            error: Port web1: the interface eth0 is already used by uplink eth0.
              Give it another interface, or remove it there first.
              (FWD-E611; fwd explain FWD-E611)
            [exit code 6]
            $ fwd port add web1 --device tap0 --network vmnat --ip 10.10.0.11 -q
            $ fwd port add web2 --device tap0 --network vmnat
            error: Port web2: the interface tap0 is already used by port web1.
              Give it another interface, or remove it there first.
              (FWD-E611; fwd explain FWD-E611)
            [exit code 6]
            $ fwd port add web2 --device tap1 --network vmnat --ip 10.10.0.11
            error: Port web2: the address 10.10.0.11 is already used by port web1.
              Give it another address, or remove it there first.
              (FWD-E606; fwd explain FWD-E606)
            [exit code 6]
            $ fwd port add web2 --device tap9 --network vmnat
            error: Port web2: the interface tap9 belongs to br0.
              Take it with --take-over, and fwd gives it back; or release it: ip link set tap9 nomaster; or use br0 itself as the uplink.
              (FWD-E505; fwd explain FWD-E505)
            [exit code 5]
        "#]],
    );
}

#[test]
fn a_port_may_follow_a_domain_of_libvirt() {
    check(
        &[
            "network add a --mode nat --subnet 10.0.0.0/24 --uplink eth0",
            "port add web1 --libvirt web --network a",
            "port add web2 --libvirt web/0 --network a",
            "port add web2 --libvirt web/x --network a",
            "port add web2 --libvirt web/1 --device tap1 --network a",
            "port add web2 --network a",
            "port list -o wide",
            "port set web1 --device tap0",
            "port set web1 --libvirt web/1",
            "config show",
        ],
        expect![[r#"
            $ fwd network add a --mode nat --subnet 10.0.0.0/24 --uplink eth0
            Added uplink eth0, network a (revision 1).
            $ fwd port add web1 --libvirt web --network a
            Added port web1 (revision 2).
            $ fwd port add web2 --libvirt web/0 --network a
            error: Port web2: interface web/0 of libvirt is already used by port web1.
              Give it another interface, or remove it there first.
              (FWD-E611; fwd explain FWD-E611)
            [exit code 6]
            $ fwd port add web2 --libvirt web/x --network a
            error: Port web2: `web/x` is not an interface of a libvirt domain.
              Write DOMAIN or DOMAIN/N, as web1 or web1/1: N counts its interfaces from 0.
              (FWD-E603; fwd explain FWD-E603)
            [exit code 6]
            $ fwd port add web2 --libvirt web/1 --device tap1 --network a
            error: the argument '--libvirt <DOMAIN[/N]>' cannot be used with '--device <DEVICE>'

            Usage: fwd port add --network <NETWORK> --libvirt <DOMAIN[/N]> --socket <PATH> <NAME>

            For more information, try '--help'.
            [exit code 2]
            $ fwd port add web2 --network a
            error: the following required arguments were not provided:
              --device <DEVICE>

            Usage: fwd port add --network <NETWORK> --socket <PATH> --device <DEVICE> <NAME>

            For more information, try '--help'.
            [exit code 2]
            $ fwd port list -o wide
            NAME  DEVICE  NETWORK  MAC  IPS  HOOK  STATE    LIBVIRT  LABELS  CONFIGURED-HOOK  TRUST  FLOWS  REASON
            web1  -       a        -    -    -     pending  web      -       auto             no     0      There is no device yet.
            $ fwd port set web1 --device tap0
            Changed port web1 (revision 3).
            $ fwd port set web1 --libvirt web/1
            Changed port web1 (revision 4).
            $ fwd config show
            api: fwd/v1
            settings: {}
            uplinks:
              - device: eth0
                hook: auto
            networks:
              - name: a
                mode: nat
                subnets:
                  - 10.0.0.0/24
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
                libvirt: web/1
                network: a
                mac: ~
                ips: []
                allow_addresses: []
                labels: {}
                hook: auto
                trust: false
            forwards: []
            nats: []
            groups: []
            sets: []
            policies: []
        "#]],
    );
}

#[test]
fn a_device_that_is_too_narrow_for_its_network_is_named() {
    check(
        &[
            "network add wide --mode nat --subnet 10.10.0.0/24 --uplink eth0 --mtu 9000 -q",
            "port add web1 --device tap0 --network wide",
            "network set wide --mtu 1500 -q",
            "port list",
        ],
        expect![[r#"
            $ fwd network add wide --mode nat --subnet 10.10.0.0/24 --uplink eth0 --mtu 9000 -q
            $ fwd port add web1 --device tap0 --network wide
            Added port web1 (revision 2).
            ! web1: The interface tap0 carries 1500 bytes, and network wide promises 9000. Raise it: ip link set tap0 mtu 9000; or lower the network's: fwd network set wide --mtu 1500.
            $ fwd network set wide --mtu 1500 -q
            $ fwd port list
            NAME  DEVICE  NETWORK  MAC  IPS  HOOK  STATE
            web1  tap0    wide     -    -    tcx   ready
        "#]],
    );
}
