//! `fwd nat`.

use expect_test::expect;

use crate::check;

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
