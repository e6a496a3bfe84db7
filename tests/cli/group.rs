//! `fwd group`.

use expect_test::expect;

use crate::check;

#[test]
fn a_group_is_added_shown_changed_and_deleted() {
    check(
        &[
            "network add a --mode isolated -q",
            "port add web1 --device tap0 --network a --label role=web -q",
            "group add web --selector role=web",
            "group add db --member web1",
            "group add bad --member web9",
            "group list",
            "group set db --selector role=db",
            "group show db",
            "port delete web1",
            "group delete db",
            "group list -o name",
        ],
        expect![[r#"
            $ fwd network add a --mode isolated -q
            $ fwd port add web1 --device tap0 --network a --label role=web -q
            $ fwd group add web --selector role=web
            Added group web (revision 3).
            $ fwd group add db --member web1
            Added group db (revision 4).
            $ fwd group add bad --member web9
            error: Group bad: there is no port web9.
              Add it first: fwd port add web9 --device TAP --network NETWORK.
              (FWD-E604; fwd explain FWD-E604)
            [exit code 6]
            $ fwd group list
            NAME  MEMBERS  SELECTOR
            web   -        role=web
            db    web1     -
            $ fwd group set db --selector role=db
            Changed group db (revision 5).
            $ fwd group show db
            name:     db
            members:  web1
            selector: role=db
            $ fwd port delete web1
            error: Port web1 is in use by group db.
              Change or delete them first.
              (FWD-E502; fwd explain FWD-E502)
            [exit code 5]
            $ fwd group delete db
            Deleted group db (revision 6).
            $ fwd group list -o name
            web
        "#]],
    );
}
