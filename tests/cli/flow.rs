//! `fwd flow`.

use expect_test::expect;

use crate::check;

#[test]
fn an_idle_host_has_no_flows() {
    check(
        &[
            "flow list",
            "flow count --proto tcp",
            "flow list --state open",
            "flow list --group web",
            "flow list --cut-by 7",
            "flow show 0123456789abcdef --port web1",
            "flow watch --since 1m --until 5m",
            "flow watch --cut-by 7",
        ],
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
            $ fwd flow list --group web
            error: Group web does not exist.
              List them: fwd group list.
              (FWD-E301; fwd explain FWD-E301)
            [exit code 3]
            $ fwd flow list --cut-by 7
            error: Revision 7 was not made by this daemon.
              List them: fwd config history.
              (FWD-E301; fwd explain FWD-E301)
            [exit code 3]
            $ fwd flow show 0123456789abcdef --port web1
            error: Port web1 does not exist.
              List them: fwd port list, or fwd uplink list.
              (FWD-E301; fwd explain FWD-E301)
            [exit code 3]
            $ fwd flow watch --since 1m --until 5m
            error: From 60s ago until 300s ago there is no time.
              Give --since the earlier moment, as --since 10m --until 5m.
              (FWD-E202; fwd explain FWD-E202)
            [exit code 2]
            $ fwd flow watch --cut-by 7
            error: unexpected argument '--cut-by' found

            Usage: fwd flow watch [OPTIONS]

            For more information, try '--help'.
            [exit code 2]
        "#]],
    );
}
