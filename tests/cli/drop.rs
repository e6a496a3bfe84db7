//! `fwd drop`.

use expect_test::expect;

use crate::check;

#[test]
fn an_idle_host_has_dropped_nothing() {
    check(
        &[
            "drop list",
            "drop list --since 5x",
            "drop list --group web --direction in --limit 3",
            "drop list --peer 10.0.0.0/8",
            "drop watch --since 5m --until 0s",
            "drop watch --since 1m --until 5m",
            "drop watch --proto rain",
            "drop watch --since 5m --until 0s -o csv",
        ],
        expect![[r#"
            $ fwd drop list
            REASON  PORT  NETWORK  DIRECTION  RULE  FORWARD  PACKETS  LAST-SEEN
            $ fwd drop list --since 5x
            error: invalid value '5x' for '--since <TIME>': write a number with s, m, h or d, as 5m

            For more information, try '--help'.
            [exit code 2]
            $ fwd drop list --group web --direction in --limit 3
            error: Group web does not exist.
              List them: fwd group list.
              (FWD-E301; fwd explain FWD-E301)
            [exit code 3]
            $ fwd drop list --peer 10.0.0.0/8
            error: unexpected argument '--peer' found

            Usage: fwd drop list [OPTIONS]

            For more information, try '--help'.
            [exit code 2]
            $ fwd drop watch --since 5m --until 0s
            $ fwd drop watch --since 1m --until 5m
            error: From 60s ago until 300s ago there is no time.
              Give --since the earlier moment, as --since 10m --until 5m.
              (FWD-E202; fwd explain FWD-E202)
            [exit code 2]
            $ fwd drop watch --proto rain
            error: Protocol rain is not tcp, udp, sctp, icmp, icmpv6 or a number below 256.
              Write its name, or its number.
              (FWD-E603; fwd explain FWD-E603)
            [exit code 6]
            $ fwd drop watch --since 5m --until 0s -o csv
            TIME,REASON,PORT,DIRECTION,RULE,FORWARD,PROTO,SOURCE,DESTINATION,BYTES,NETWORK,HEAD
        "#]],
    );
}
