//! `fwd drop`.

use expect_test::expect;

use crate::check;

#[test]
fn an_idle_host_has_dropped_nothing() {
    check(
        &["drop list", "drop list --since 5x"],
        expect![[r#"
            $ fwd drop list
            REASON  PORT  NETWORK  DIRECTION  RULE  FORWARD  PACKETS  LAST-SEEN
            $ fwd drop list --since 5x
            error: invalid value '5x' for '--since <TIME>': write a number with s, m, h or d, as 5m

            For more information, try '--help'.
            [exit code 2]
        "#]],
    );
}
