//! `fwd nat`.

use expect_test::expect;

use crate::check;

const NETWORK: &str =
    "network add vmnat --mode nat --subnet 10.10.0.0/24 --subnet fd00:10::/64 --uplink eth0 -q";
const PORT: &str = "port add web1 --device tap0 --network vmnat --mac 52:54:00:00:00:11 --ip 10.10.0.11 -q";

#[test]
fn an_idle_host_has_no_translations() {
    check(
        &["nat table", "nat table -o json"],
        expect![[r#"
        $ fwd nat table
        NETWORK  PORT  PROTO  SOURCE  DESTINATION  TRANSLATED  STATE
        $ fwd nat table -o json
        {
          "api": "fwd/v1",
          "items": []
        }
    "#]],
    );
}

#[test]
fn translations_are_added_shown_and_deleted() {
    check(
        &[
            NETWORK,
            PORT,
            "nat add out --network vmnat --address 198.51.100.10 --l4-ports 20000-59999",
            "nat add one --one-to-one 198.51.100.11=web1",
            "nat add site --network vmnat --exempt 192.0.2.0/24",
            "nat add site --network vmnat --exempt 192.0.2.0/24 --may-exist",
            "nat add games --network vmnat --endpoint-independent",
            "nat list",
            "nat list -o wide",
            "nat show one",
            "nat show out -o yaml",
            "network delete vmnat",
            "port delete web1",
            "nat delete one",
            "nat list -o name",
        ],
        expect![[r#"
            $ fwd network add vmnat --mode nat --subnet 10.10.0.0/24 --subnet fd00:10::/64 --uplink eth0 -q
            $ fwd port add web1 --device tap0 --network vmnat --mac 52:54:00:00:00:11 --ip 10.10.0.11 -q
            $ fwd nat add out --network vmnat --address 198.51.100.10 --l4-ports 20000-59999
            Added nat out (revision 3).
            $ fwd nat add one --one-to-one 198.51.100.11=web1
            Added nat one (revision 4).
            $ fwd nat add site --network vmnat --exempt 192.0.2.0/24
            Added nat site (revision 5).
            $ fwd nat add site --network vmnat --exempt 192.0.2.0/24 --may-exist
            Nothing to change (revision 5).
            $ fwd nat add games --network vmnat --endpoint-independent
            Added nat games (revision 6).
            $ fwd nat list
            NAME   NETWORK  ADDRESS        L4-PORTS     ONE-TO-ONE          EXEMPT        PREFIX  STATE
            out    vmnat    198.51.100.10  20000-59999  -                   -             -       ready
            one    -        -              -            198.51.100.11=web1  -             -       ready
            site   vmnat    -              -            -                   192.0.2.0/24  -       ready
            games  vmnat    -              -            -                   -             -       ready
            $ fwd nat list -o wide
            NAME   NETWORK  ADDRESS        L4-PORTS     ONE-TO-ONE          EXEMPT        PREFIX  ENDPOINT-INDEPENDENT  STATE
            out    vmnat    198.51.100.10  20000-59999  -                   -             -       no                    ready
            one    -        -              -            198.51.100.11=web1  -             -       no                    ready
            site   vmnat    -              -            -                   192.0.2.0/24  -       no                    ready
            games  vmnat    -              -            -                   -             -       yes                   ready
            $ fwd nat show one
            name:                 one
            network:              -
            address:              -
            l4_ports:             -
            one_to_one:           198.51.100.11=web1
            exempt:               -
            prefix:               -
            endpoint_independent: no
            state:                ready
            state_reason:         -
            $ fwd nat show out -o yaml
            api: fwd/v1
            kind: nat
            name: out
            network: vmnat
            address: 198.51.100.10
            l4_ports: 20000-59999
            one_to_one: ~
            exempt: ~
            prefix: ~
            endpoint_independent: false
            state: ready
            state_reason: ~
            $ fwd network delete vmnat
            error: Network vmnat is in use by port web1, nat out, nat site, nat games.
              Change or delete them first.
              (FWD-E502; fwd explain FWD-E502)
            [exit code 5]
            $ fwd port delete web1
            error: Port web1 is in use by nat one.
              Change or delete them first.
              (FWD-E502; fwd explain FWD-E502)
            [exit code 5]
            $ fwd nat delete one
            Deleted nat one (revision 7).
            $ fwd nat list -o name
            out
            site
            games
        "#]],
    );
}

#[test]
fn bad_addresses_of_networks_are_refused_with_what_to_do() {
    check(
        &[
            NETWORK,
            "network add far --mode routed --subnet 10.20.0.0/24 --uplink eth0 -q",
            "nat add out --network vmnat",
            "nat add out --address 198.51.100.10",
            "nat add out --network vmnat --exempt 192.0.2.0/24 --l4-ports 20000-59999",
            "nat add out --network vmnat --address 127.0.0.1",
            "nat add out --network far --address 198.51.100.10",
            "nat add out --network gone --address 198.51.100.10",
            "nat add out --network vmnat --address 198.51.100.10 --l4-ports 9-1",
            "nat add out --endpoint-independent",
            "nat add out --network vmnat --exempt 192.0.2.0/24 --endpoint-independent",
            "nat add out --network far --endpoint-independent",
        ],
        expect![[r#"
            $ fwd network add vmnat --mode nat --subnet 10.10.0.0/24 --subnet fd00:10::/64 --uplink eth0 -q
            $ fwd network add far --mode routed --subnet 10.20.0.0/24 --uplink eth0 -q
            $ fwd nat add out --network vmnat
            error: the following required arguments were not provided:
              <--address <ADDR>|--one-to-one <ADDR=PORT>|--exempt <CIDR>|--prefix <INSIDE=OUTSIDE>|--endpoint-independent>

            Usage: fwd nat add --network <NETWORK> --socket <PATH> <--address <ADDR>|--one-to-one <ADDR=PORT>|--exempt <CIDR>|--prefix <INSIDE=OUTSIDE>|--endpoint-independent> <NAME>

            For more information, try '--help'.
            [exit code 2]
            $ fwd nat add out --address 198.51.100.10
            error: the following required arguments were not provided:
              --network <NETWORK>

            Usage: fwd nat add --network <NETWORK> --socket <PATH> <--address <ADDR>|--one-to-one <ADDR=PORT>|--exempt <CIDR>|--prefix <INSIDE=OUTSIDE>|--endpoint-independent> <NAME>

            For more information, try '--help'.
            [exit code 2]
            $ fwd nat add out --network vmnat --exempt 192.0.2.0/24 --l4-ports 20000-59999
            error: Nat out: only an address has a range of L4 ports.
              Leave it out, or give --address.
              (FWD-E618; fwd explain FWD-E618)
            [exit code 6]
            $ fwd nat add out --network vmnat --address 127.0.0.1
            error: Nat out: outside cannot answer to 127.0.0.1.
              Choose an address of an uplink, or one routed to this host.
              (FWD-E618; fwd explain FWD-E618)
            [exit code 6]
            $ fwd nat add out --network far --address 198.51.100.10
            error: Nat out: network far does not translate.
              Name a network of mode nat.
              (FWD-E618; fwd explain FWD-E618)
            [exit code 6]
            $ fwd nat add out --network gone --address 198.51.100.10
            error: Nat out: there is no network gone.
              Add it first: fwd network add gone --mode nat --subnet CIDR --uplink DEVICE.
              (FWD-E604; fwd explain FWD-E604)
            [exit code 6]
            $ fwd nat add out --network vmnat --address 198.51.100.10 --l4-ports 9-1
            error: Nat out: the range 9-1 ends before it starts.
              Write it as 1-9.
              (FWD-E603; fwd explain FWD-E603)
            [exit code 6]
            $ fwd nat add out --endpoint-independent
            error: the following required arguments were not provided:
              --network <NETWORK>

            Usage: fwd nat add --network <NETWORK> --socket <PATH> <--address <ADDR>|--one-to-one <ADDR=PORT>|--exempt <CIDR>|--prefix <INSIDE=OUTSIDE>|--endpoint-independent> <NAME>

            For more information, try '--help'.
            [exit code 2]
            $ fwd nat add out --network vmnat --exempt 192.0.2.0/24 --endpoint-independent
            error: the argument '--exempt <CIDR>' cannot be used with '--endpoint-independent'

            Usage: fwd nat add --network <NETWORK> --socket <PATH> <--address <ADDR>|--one-to-one <ADDR=PORT>|--exempt <CIDR>|--prefix <INSIDE=OUTSIDE>|--endpoint-independent> <NAME>

            For more information, try '--help'.
            [exit code 2]
            $ fwd nat add out --network far --endpoint-independent
            error: Nat out: network far does not translate.
              Name a network of mode nat.
              (FWD-E618; fwd explain FWD-E618)
            [exit code 6]
        "#]],
    );
}

#[test]
fn bad_addresses_of_ports_and_exemptions_are_refused_with_what_to_do() {
    check(
        &[
            NETWORK,
            "network add own --mode nat --subnet 10.10.0.0/24 --uplink eth0 --private -q",
            PORT,
            "nat add one --one-to-one 198.51.100.11",
            "nat add one --one-to-one 198.51.100.11=web2",
            "nat add one --one-to-one 2001:db8::11=web1",
            "nat add site --network own --exempt 192.0.2.0/24",
            "nat add site --exempt 192.0.2.1/24",
            "nat add one --one-to-one 198.51.100.11=web1 -q",
            "nat add two --one-to-one 198.51.100.12=web1",
            "nat add out --network vmnat --address 198.51.100.11",
        ],
        expect![[r#"
            $ fwd network add vmnat --mode nat --subnet 10.10.0.0/24 --subnet fd00:10::/64 --uplink eth0 -q
            $ fwd network add own --mode nat --subnet 10.10.0.0/24 --uplink eth0 --private -q
            $ fwd port add web1 --device tap0 --network vmnat --mac 52:54:00:00:00:11 --ip 10.10.0.11 -q
            $ fwd nat add one --one-to-one 198.51.100.11
            error: Nat one: `198.51.100.11` is not an address and a port.
              Write ADDR=PORT, as 203.0.113.11=web1.
              (FWD-E603; fwd explain FWD-E603)
            [exit code 6]
            $ fwd nat add one --one-to-one 198.51.100.11=web2
            error: Nat one: there is no port web2.
              Add it first: fwd port add web2 --device TAP --network NETWORK.
              (FWD-E604; fwd explain FWD-E604)
            [exit code 6]
            $ fwd nat add one --one-to-one 2001:db8::11=web1
            error: Nat one: port web1 has no address of the family of 2001:db8::11.
              Give the port one: fwd port set web1 --ip ADDR.
              (FWD-E618; fwd explain FWD-E618)
            [exit code 6]
            $ fwd nat add site --network own --exempt 192.0.2.0/24
            error: Nat site: the addresses of network own are private to it, and outside cannot answer them.
              Name a network that is not private.
              (FWD-E618; fwd explain FWD-E618)
            [exit code 6]
            $ fwd nat add site --exempt 192.0.2.1/24
            error: Nat site: 192.0.2.1/24 has bits beyond its prefix.
              Write 192.0.2.0/24 for the whole prefix, or 192.0.2.1 for the one address.
              (FWD-E603; fwd explain FWD-E603)
            [exit code 6]
            $ fwd nat add one --one-to-one 198.51.100.11=web1 -q
            $ fwd nat add two --one-to-one 198.51.100.12=web1
            error: Nat two: nat one has that address, network or port already.
              Delete it first: fwd nat delete one.
              (FWD-E619; fwd explain FWD-E619)
            [exit code 6]
            $ fwd nat add out --network vmnat --address 198.51.100.11
            error: Nat out: nat one gives that address to one port.
              Choose another address.
              (FWD-E619; fwd explain FWD-E619)
            [exit code 6]
        "#]],
    );
}

#[test]
fn prefixes_are_added_and_bad_ones_refused_with_what_to_do() {
    check(
        &[
            NETWORK,
            "network add old --mode nat --subnet 10.20.0.0/24 --uplink eth0 -q",
            "network add lane --mode routed --subnet 2001:db8:20::/64 --uplink eth0 -q",
            "port add web1 --device tap0 --network vmnat --ip 10.10.0.11 --ip fd00:10::11 -q",
            "nat add site --network vmnat --prefix fd00:10::/64=2001:db8:10::/64",
            "nat list",
            "nat show site -o yaml",
            "nat add more --network vmnat --prefix fd00:10::/48=2001:db8:30::/48",
            "nat add more --network vmnat --prefix fd00:99::/64=2001:db8:30::/64",
            "nat add more --network vmnat --prefix fd00:10::/64=2001:db8:20::/64",
            "nat add more --network vmnat --prefix fd00:10::/64=2001:db8:30::/56",
            "nat add more --network vmnat --prefix fd00:10::/112=2001:db8:30::/112",
            "nat add more --network vmnat --prefix 10.10.0.0/24=203.0.113.0/24",
            "nat add more --network old --prefix fd00:10::/64=2001:db8:30::/64",
            "nat add more --network lane --prefix 2001:db8:20::/64=2001:db8:30::/64",
            "nat add more --prefix fd00:10::/64=2001:db8:30::/64",
            "nat add one --one-to-one 2001:db8:40::11=web1",
            "nat delete site",
        ],
        expect![[r#"
            $ fwd network add vmnat --mode nat --subnet 10.10.0.0/24 --subnet fd00:10::/64 --uplink eth0 -q
            $ fwd network add old --mode nat --subnet 10.20.0.0/24 --uplink eth0 -q
            $ fwd network add lane --mode routed --subnet 2001:db8:20::/64 --uplink eth0 -q
            $ fwd port add web1 --device tap0 --network vmnat --ip 10.10.0.11 --ip fd00:10::11 -q
            $ fwd nat add site --network vmnat --prefix fd00:10::/64=2001:db8:10::/64
            Added nat site (revision 5).
            $ fwd nat list
            NAME  NETWORK  ADDRESS  L4-PORTS  ONE-TO-ONE  EXEMPT  PREFIX                         STATE
            site  vmnat    -        -         -           -       fd00:10::/64=2001:db8:10::/64  ready
            $ fwd nat show site -o yaml
            api: fwd/v1
            kind: nat
            name: site
            network: vmnat
            address: ~
            l4_ports: ~
            one_to_one: ~
            exempt: ~
            prefix: "fd00:10::/64=2001:db8:10::/64"
            endpoint_independent: false
            state: ready
            state_reason: ~
            $ fwd nat add more --network vmnat --prefix fd00:10::/48=2001:db8:30::/48
            error: Nat more: fd00:10::/48 overlaps fd00:10::/64 of nat site.
              Choose another prefix, or delete that one first: fwd nat delete site.
              (FWD-E619; fwd explain FWD-E619)
            [exit code 6]
            $ fwd nat add more --network vmnat --prefix fd00:99::/64=2001:db8:30::/64
            error: Nat more: no subnet of network vmnat is in fd00:99::/64.
              Name one of its subnets, or a prefix around it: fd00:10::/64.
              (FWD-E618; fwd explain FWD-E618)
            [exit code 6]
            $ fwd nat add more --network vmnat --prefix fd00:10::/64=2001:db8:20::/64
            error: 2 things are wrong; nothing was changed.
              Nat more: 2001:db8:20::/64 overlaps 2001:db8:20::/64 of network lane.
                Choose an outside prefix that is on none of the networks.
              Nat more: fd00:10::/64 overlaps fd00:10::/64 of nat site.
                Choose another prefix, or delete that one first: fwd nat delete site.
              Mend each of them; they are listed.
              (FWD-E601; fwd explain FWD-E601)
            [exit code 6]
            $ fwd nat add more --network vmnat --prefix fd00:10::/64=2001:db8:30::/56
            error: Nat more: fd00:10::/64 and 2001:db8:30::/56 are not of one length.
              Give both the length of the longer one, with zeros where the shorter one ends.
              (FWD-E603; fwd explain FWD-E603)
            [exit code 6]
            $ fwd nat add more --network vmnat --prefix fd00:10::/112=2001:db8:30::/112
            error: Nat more: fd00:10::/112 does not leave an interface identifier of 64 bits or more.
              Use prefixes of a length from 1 to 64, such as /48, /56 or /64.
              (FWD-E603; fwd explain FWD-E603)
            [exit code 6]
            $ fwd nat add more --network vmnat --prefix 10.10.0.0/24=203.0.113.0/24
            error: Nat more: 10.10.0.0/24 is IPv4, of which addresses are translated and no prefixes.
              Use --address or --one-to-one for IPv4.
              (FWD-E603; fwd explain FWD-E603)
            [exit code 6]
            $ fwd nat add more --network old --prefix fd00:10::/64=2001:db8:30::/64
            error: Nat more: no subnet of network old is in fd00:10::/64.
              Give the network a subnet of IPv6: fwd network set old --subnet CIDR.
              (FWD-E618; fwd explain FWD-E618)
            [exit code 6]
            $ fwd nat add more --network lane --prefix 2001:db8:20::/64=2001:db8:30::/64
            error: Nat more: network lane does not translate.
              Name a network of mode nat.
              (FWD-E618; fwd explain FWD-E618)
            [exit code 6]
            $ fwd nat add more --prefix fd00:10::/64=2001:db8:30::/64
            error: the following required arguments were not provided:
              --network <NETWORK>

            Usage: fwd nat add --network <NETWORK> --socket <PATH> <--address <ADDR>|--one-to-one <ADDR=PORT>|--exempt <CIDR>|--prefix <INSIDE=OUTSIDE>|--endpoint-independent> <NAME>

            For more information, try '--help'.
            [exit code 2]
            $ fwd nat add one --one-to-one 2001:db8:40::11=web1
            error: Nat one: nat site gives all of 2001:db8:10::/64 to a network.
              Leave one of the two out: fwd nat delete site.
              (FWD-E619; fwd explain FWD-E619)
            [exit code 6]
            $ fwd nat delete site
            Deleted nat site (revision 6).
        "#]],
    );
}
