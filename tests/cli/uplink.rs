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
            "uplink set eth0 --hook xdp",
            "uplink list -o yaml",
            "uplink delete eth0",
            "uplink list -o name",
        ],
        expect![[r#"
            $ fwd uplink add eth0
            Added uplink eth0 (revision 1).
            $ fwd uplink add eth1 --hook tcx
            Added uplink eth1 (revision 2).
            $ fwd uplink list
            DEVICE  HOOK  NETWORK  ADDRESSES  STATE
            eth0    auto  -        -          -
            eth1    tcx   -        -          -
            $ fwd uplink show eth0
            device: eth0
            hook:   auto
            $ fwd uplink set eth0 --hook xdp
            Changed uplink eth0 (revision 3).
            $ fwd uplink list -o yaml
            api: fwd/v1
            items:
              - device: eth0
                hook: xdp
              - device: eth1
                hook: tcx
            $ fwd uplink delete eth0
            Deleted uplink eth0 (revision 4).
            $ fwd uplink list -o name
            eth1
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
            Added uplink nope0 (revision 1).
            $ fwd uplink add tap9
            Added uplink tap9 (revision 2).
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
