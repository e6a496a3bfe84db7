//! `fwd flow`.

use expect_test::expect;

use crate::check;

#[test]
fn an_idle_host_has_no_flows() {
    check(
        &["flow list", "flow count --proto tcp", "flow list --state open"],
        expect![[r#"
            $ fwd flow list
            NAME  NETWORK  PORT  PROTO  SOURCE  DESTINATION  TRANSLATED  STATE  RULE
            $ fwd flow count --proto tcp
            flows:     0
            half_open: 0
            limit:     0
            cut:       -
            $ fwd flow list --state open
            error: invalid value 'open' for '--state <STATE>'
              [possible values: half_open, established, closing]

            For more information, try '--help'.
            [exit code 2]
        "#]],
    );
}
