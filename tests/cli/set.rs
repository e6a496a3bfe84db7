//! `fwd set`.

use expect_test::expect;

use crate::check;

#[test]
fn a_set_is_added_shown_changed_and_deleted() {
    check(
        &[
            "set add office --cidr 198.51.100.0/24 --cidr 2001:db8:1::/48",
            "set add bad --cidr 198.51.100",
            "set list",
            "set set office --cidr 198.51.100.7",
            "set show office",
            "policy add allow set:office any -q",
            "set delete office",
        ],
        expect![[r#"
            $ fwd set add office --cidr 198.51.100.0/24 --cidr 2001:db8:1::/48
            Added set office (revision 1).
            $ fwd set add bad --cidr 198.51.100
            error: invalid value '198.51.100' for '--cidr <CIDR>': write ADDRESS/LENGTH, as 198.51.100.0/24

            For more information, try '--help'.
            [exit code 2]
            $ fwd set list
            NAME    CIDRS
            office  198.51.100.0/24,2001:db8:1::/48
            $ fwd set set office --cidr 198.51.100.7
            Changed set office (revision 2).
            $ fwd set show office
            name:  office
            cidrs: 198.51.100.7/32
            $ fwd policy add allow set:office any -q
            $ fwd set delete office
            error: Set office is in use by policy policy-1.
              Change or delete them first.
              (FWD-E502; fwd explain FWD-E502)
            [exit code 5]
        "#]],
    );
}
