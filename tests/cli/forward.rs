//! `fwd forward`.

use expect_test::expect;

use crate::check;

const NETWORK: &str = "network add vmnat --mode nat --subnet 10.10.0.0/24 --uplink eth0 -q";
const PORT: &str = "port add web1 --device tap0 --network vmnat --ip 10.10.0.11 -q";

#[test]
fn a_forward_is_added_in_both_forms() {
    check(
        &[
            NETWORK,
            PORT,
            "forward add tcp 203.0.113.10:8080 web1:80",
            "forward add tcp :8443 web1:443",
            "forward add games --listen udp:203.0.113.10:27000-27015 --to web1:27000-27015",
            "forward list",
            "forward show games",
            "forward delete games",
            "forward list -o name",
        ],
        expect![[r#"
            $ fwd network add vmnat --mode nat --subnet 10.10.0.0/24 --uplink eth0 -q
            $ fwd port add web1 --device tap0 --network vmnat --ip 10.10.0.11 -q
            $ fwd forward add tcp 203.0.113.10:8080 web1:80
            Added forward web1-tcp-8080 (revision 3).
            $ fwd forward add tcp :8443 web1:443
            Added forward web1-tcp-8443 (revision 4).
            $ fwd forward add games --listen udp:203.0.113.10:27000-27015 --to web1:27000-27015
            Added forward games (revision 5).
            $ fwd forward list
            NAME           LISTEN                        TO                STATE
            web1-tcp-8080  tcp:203.0.113.10:8080         web1:80           pending
            web1-tcp-8443  tcp::8443                     web1:443          pending
            games          udp:203.0.113.10:27000-27015  web1:27000-27015  pending
            $ fwd forward show games
            name:             games
            listen:           udp:203.0.113.10:27000-27015
            to:               web1:27000-27015
            from:             -
            expires:          -
            state:            pending
            state_reason:     The MAC of port web1 is not known yet.
            client_ip:        kept
            client_ip_except: VMs of network vmnat, those of private networks, and this host by loopback are seen under the gateway's address of network vmnat.
            $ fwd forward delete games
            Deleted forward games (revision 6).
            $ fwd forward list -o name
            web1-tcp-8080
            web1-tcp-8443
        "#]],
    );
}

#[test]
fn a_forward_is_for_clients_of_some_cidrs() {
    check(
        &[
            NETWORK,
            PORT,
            "forward add ssh --listen tcp:2222 --to web1:22 --from 198.51.100.0/24 --from 2001:db8:99::/48",
            "forward add tcp :8080 web1:80 --from 192.0.2.1,192.0.2.2",
            "forward list",
            "forward list -o wide",
            "forward show ssh",
            "forward add tcp :81 web1:80 --from office",
            "forward add tcp :81 web1:80 --from 198.51.100.7/24",
        ],
        expect![[r#"
            $ fwd network add vmnat --mode nat --subnet 10.10.0.0/24 --uplink eth0 -q
            $ fwd port add web1 --device tap0 --network vmnat --ip 10.10.0.11 -q
            $ fwd forward add ssh --listen tcp:2222 --to web1:22 --from 198.51.100.0/24 --from 2001:db8:99::/48
            Added forward ssh (revision 3).
            $ fwd forward add tcp :8080 web1:80 --from 192.0.2.1,192.0.2.2
            Added forward web1-tcp-8080 (revision 4).
            $ fwd forward list
            NAME           LISTEN     TO       STATE
            ssh            tcp:2222   web1:22  pending
            web1-tcp-8080  tcp::8080  web1:80  pending
            $ fwd forward list -o wide
            NAME           LISTEN     TO       STATE    FROM                              EXPIRES  FORCE
            ssh            tcp:2222   web1:22  pending  198.51.100.0/24,2001:db8:99::/48  -        -
            web1-tcp-8080  tcp::8080  web1:80  pending  192.0.2.1/32,192.0.2.2/32         -        -
            $ fwd forward show ssh
            name:             ssh
            listen:           tcp:2222
            to:               web1:22
            from:             198.51.100.0/24,2001:db8:99::/48
            expires:          -
            state:            pending
            state_reason:     The MAC of port web1 is not known yet.
            client_ip:        kept
            client_ip_except: VMs of network vmnat, those of private networks, and this host by loopback are seen under the gateway's address of network vmnat.
            $ fwd forward add tcp :81 web1:80 --from office
            error: invalid value 'office' for '--from <CIDR>': write ADDRESS/LENGTH, as 198.51.100.0/24

            For more information, try '--help'.
            [exit code 2]
            $ fwd forward add tcp :81 web1:80 --from 198.51.100.7/24
            error: Forward web1-tcp-81: 198.51.100.7/24 has bits beyond its prefix.
              Write 198.51.100.0/24 for the whole prefix, or 198.51.100.7 for the one address.
              (FWD-E603; fwd explain FWD-E603)
            [exit code 6]
        "#]],
    );
}

#[test]
fn a_forward_may_be_of_every_l4_port() {
    check(
        &[
            NETWORK,
            PORT,
            "forward add any 203.0.113.10 web1",
            "forward add icmp * web1",
            "forward add range --listen tcp:203.0.113.11:1-65535 --to web1:1-65535",
            "forward add tcp 203.0.113.10:8080 web1:80",
            "forward list",
            "forward add other --listen any:203.0.113.10 --to web1",
            "forward add icmp 203.0.113.12:8 web1",
            "forward add udp 203.0.113.12 web1:53",
            "forward add udp 203.0.113.12:53 web1",
            "forward add udp 203.0.113.12 web1 --force",
            "forward add any 2001:db8::1 web1",
        ],
        expect![[r#"
            $ fwd network add vmnat --mode nat --subnet 10.10.0.0/24 --uplink eth0 -q
            $ fwd port add web1 --device tap0 --network vmnat --ip 10.10.0.11 -q
            $ fwd forward add any 203.0.113.10 web1
            Added forward web1-any (revision 3).
            $ fwd forward add icmp * web1
            Added forward web1-icmp (revision 4).
            $ fwd forward add range --listen tcp:203.0.113.11:1-65535 --to web1:1-65535
            Added forward range (revision 5).
            $ fwd forward add tcp 203.0.113.10:8080 web1:80
            Added forward web1-tcp-8080 (revision 6).
            $ fwd forward list
            NAME           LISTEN                    TO            STATE
            web1-any       any:203.0.113.10          web1          pending
            web1-icmp      icmp:*                    web1          pending
            range          tcp:203.0.113.11:1-65535  web1:1-65535  pending
            web1-tcp-8080  tcp:203.0.113.10:8080     web1:80       pending
            $ fwd forward add other --listen any:203.0.113.10 --to web1
            error: Forward other: any:203.0.113.10 is already taken by forward web1-any (any:203.0.113.10).
              Choose another address or L4 port, or delete that forward first.
              (FWD-E612; fwd explain FWD-E612)
            [exit code 6]
            $ fwd forward add icmp 203.0.113.12:8 web1
            error: Forward forward-1: ICMP has no L4 ports.
              Write the address alone: icmp:203.0.113.10.
              (FWD-E603; fwd explain FWD-E603)
            [exit code 6]
            $ fwd forward add udp 203.0.113.12 web1:53
            error: Forward web1-udp: it listens on every L4 port, and `web1:53` names one.
              Name the port alone: web1.
              (FWD-E613; fwd explain FWD-E613)
            [exit code 6]
            $ fwd forward add udp 203.0.113.12:53 web1
            error: Forward web1-udp-53: `web1` names no L4 port.
              Name it too, such as web1:53.
              (FWD-E613; fwd explain FWD-E613)
            [exit code 6]
            $ fwd forward add udp 203.0.113.12 web1 --force
            error: Forward web1-udp: a forward of every L4 port leaves those on which this host listens to the host.
              Leave force out, and forward each L4 port that the host is to give up.
              (FWD-E613; fwd explain FWD-E613)
            [exit code 6]
            $ fwd forward add any 2001:db8::1 web1
            error: Forward forward-1: the IPv6 address 2001:db8::1 stands without brackets.
              Write it as [2001:db8::1].
              (FWD-E603; fwd explain FWD-E603)
            [exit code 6]
        "#]],
    );
}

#[test]
fn bad_forwards_are_refused_with_what_to_do() {
    check(
        &[
            NETWORK,
            PORT,
            "forward add web --listen tcp:203.0.113.10:8080",
            "forward add tcp :8080 web1:80 --to web1:81",
            "forward add tcp :8080 web2:80",
            "forward add tpc :8080 web1:80",
            "forward add tcp :0 web1:80",
            "forward add sctp :2905 web1",
            "forward add tcp :8000-8009 web1:80-85",
            "forward add tcp :8080 web1:80 -q",
            "forward add tcp 203.0.113.10:8080 web1:81",
        ],
        expect![[r#"
            $ fwd network add vmnat --mode nat --subnet 10.10.0.0/24 --uplink eth0 -q
            $ fwd port add web1 --device tap0 --network vmnat --ip 10.10.0.11 -q
            $ fwd forward add web --listen tcp:203.0.113.10:8080
            error: Give NAME with --listen and --to, or PROTO LISTEN TO alone.
              For example: fwd forward add tcp 203.0.113.10:8080 web1:80
              (FWD-E201; fwd explain FWD-E201)
            [exit code 2]
            $ fwd forward add tcp :8080 web1:80 --to web1:81
            error: Give NAME with --listen and --to, or PROTO LISTEN TO alone.
              For example: fwd forward add tcp 203.0.113.10:8080 web1:80
              (FWD-E201; fwd explain FWD-E201)
            [exit code 2]
            $ fwd forward add tcp :8080 web2:80
            error: Forward web2-tcp-8080: there is no port web2.
              Add it first: fwd port add web2 --device TAP --network NETWORK.
              (FWD-E604; fwd explain FWD-E604)
            [exit code 6]
            $ fwd forward add tpc :8080 web1:80
            error: Forward forward-1: `tpc` is not a protocol.
              Use tcp, udp, tcp+udp, sctp, icmp or any.
              (FWD-E603; fwd explain FWD-E603)
            [exit code 6]
            $ fwd forward add tcp :0 web1:80
            error: Forward forward-1: `0` is not an L4 port.
              L4 ports are numbers from 1 to 65535, or ranges such as 5000-5003.
              (FWD-E603; fwd explain FWD-E603)
            [exit code 6]
            $ fwd forward add sctp :2905 web1
            error: Forward web1-sctp-2905: `web1` names no L4 port.
              Name it too, such as web1:2905.
              (FWD-E613; fwd explain FWD-E613)
            [exit code 6]
            $ fwd forward add tcp :8000-8009 web1:80-85
            error: Forward web1-tcp-8000: it maps 10 L4 ports onto 6.
              Ranges must have the same length.
              (FWD-E613; fwd explain FWD-E613)
            [exit code 6]
            $ fwd forward add tcp :8080 web1:80 -q
            $ fwd forward add tcp 203.0.113.10:8080 web1:81
            error: Forward forward-1: tcp:203.0.113.10:8080 is already taken by forward web1-tcp-8080 (tcp::8080).
              Choose another address or L4 port, or delete that forward first.
              (FWD-E612; fwd explain FWD-E612)
            [exit code 6]
        "#]],
    );
}
