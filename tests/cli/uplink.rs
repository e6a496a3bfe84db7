//! `fwd uplink`.

use expect_test::expect;

use crate::check;

#[test]
fn an_uplink_is_added_shown_changed_and_deleted() {
    check(
        &[
            "uplink add eth0",
            "uplink add eth1 --hook tcx",
            "uplink list",
            "uplink show eth0",
            "uplink set eth0 --hook tcx",
            "uplink list -o csv",
            "uplink delete eth0",
            "uplink list -o name",
        ],
        expect![[r#"
            $ fwd uplink add eth0
            Added uplink eth0 (revision 1).
            $ fwd uplink add eth1 --hook tcx
            Added uplink eth1 (revision 2).
            $ fwd uplink list
            DEVICE  HOOK  NETWORK  ADDRESSES                        STATE
            eth0    xdp   -        203.0.113.10/24,2001:db8::10/64  ready
            eth1    tcx   -        198.51.100.10/24                 ready
            $ fwd uplink show eth0
            name:                        eth0
            device:                      eth0
            network:                     -
            mac:                         02:00:00:00:00:02
            ips:                         203.0.113.10/24,2001:db8::10/64
            labels:                      -
            trust:                       no
            hook:                        xdp
            configured_hook:             auto
            hook_reason:                 The NIC's driver runs XDP natively.
            state:                       ready
            state_reason:                -
            ifindex:                     2
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
            $ fwd uplink set eth0 --hook tcx
            Changed uplink eth0 (revision 3).
            $ fwd uplink list -o csv
            DEVICE,HOOK,NETWORK,ADDRESSES,STATE,CONFIGURED-HOOK,MAC,MTU,REASON
            eth0,tcx,-,"203.0.113.10/24,2001:db8::10/64",ready,tcx,02:00:00:00:00:02,1500,It was asked for.
            eth1,tcx,-,198.51.100.10/24,ready,tcx,02:00:00:00:00:03,1500,It was asked for.
            $ fwd uplink delete eth0
            Deleted uplink eth0 (revision 4).
            $ fwd uplink list -o name
            eth1
        "#]],
    );
}

#[test]
fn auto_falls_back_to_tcx_where_the_driver_refuses_xdp_and_a_forced_choice_is_an_error() {
    check(
        &[
            "uplink add eth9 --hook xdp",
            "uplink list -o name",
            "uplink add eth9",
            "uplink list -o csv",
            "uplink set eth9 --hook xdp",
        ],
        expect![[r#"
            $ fwd uplink add eth9 --hook xdp
            error: Device eth9: its driver refused XDP: the MTU is too large for it.
              Use --hook auto or --hook tcx.
              (FWD-E003; fwd explain FWD-E003)
            [exit code 10]
            $ fwd uplink list -o name
            $ fwd uplink add eth9
            Added uplink eth9 (revision 1).
            $ fwd uplink list -o csv
            DEVICE,HOOK,NETWORK,ADDRESSES,STATE,CONFIGURED-HOOK,MAC,MTU,REASON
            eth9,tcx,-,-,ready,auto,02:00:00:00:00:08,1500,The driver refused XDP: the MTU is too large for it.
            $ fwd uplink set eth9 --hook xdp
            error: Device eth9: its driver refused XDP: the MTU is too large for it.
              Use --hook auto or --hook tcx.
              (FWD-E003; fwd explain FWD-E003)
            [exit code 10]
        "#]],
    );
}

#[test]
fn bad_uplinks_are_refused_with_what_to_do() {
    check(
        &[
            "uplink add nope0",
            "uplink add tap9",
            "uplink add eth0 --hook fast",
            "network add a --mode nat --subnet 10.10.0.0/24 --uplink eth0 -q",
            "uplink delete eth0",
        ],
        expect![[r#"
            $ fwd uplink add nope0
            error: Uplink nope0: there is no interface nope0 in this network namespace.
              List them: ip -br link.
              (FWD-E303; fwd explain FWD-E303)
            [exit code 3]
            $ fwd uplink add tap9
            error: Uplink tap9: the interface tap9 belongs to br0.
              Take it with --take-over, and fwd gives it back; or release it: ip link set tap9 nomaster; or use br0 itself as the uplink.
              (FWD-E505; fwd explain FWD-E505)
            [exit code 5]
            $ fwd uplink add eth0 --hook fast
            error: invalid value 'fast' for '--hook <HOOK>'
              [possible values: auto, xdp, tcx]

            For more information, try '--help'.
            [exit code 2]
            $ fwd network add a --mode nat --subnet 10.10.0.0/24 --uplink eth0 -q
            $ fwd uplink delete eth0
            error: Uplink eth0 is in use by network a.
              Change or delete them first.
              (FWD-E502; fwd explain FWD-E502)
            [exit code 5]
        "#]],
    );
}
