//! `fwd bench`.

use expect_test::expect;

use crate::check;

#[test]
fn an_idle_host_costs_nothing_and_bad_input_is_named() {
    check(
        &[
            "network add a --mode nat --subnet 10.0.0.0/24 --uplink eth0",
            "port add web1 --device tap0 --network a",
            "bench web1 --for 1s",
            "bench web1 nobody --for 1s",
            "bench --for 0s",
            "bench --for soon",
        ],
        expect![[r#"
        $ fwd network add a --mode nat --subnet 10.0.0.0/24 --uplink eth0
        Added uplink eth0, network a (revision 1).
        $ fwd port add web1 --device tap0 --network a
        Added port web1 (revision 2).
        $ fwd bench web1 --for 1s
        PROGRAM  RUNS/S  NS/RUN  CPU-%

        PORT  PATH  RECEIVED/S  BITS/S  FORWARDED/S  DROPPED/S
        $ fwd bench web1 nobody --for 1s
        error: Port nobody does not exist.
          List them: fwd port list, or fwd uplink list.
          (FWD-E301; fwd explain FWD-E301)
        [exit code 3]
        $ fwd bench --for 0s
        error: 0 is not a time from 1s to 1h.
          Say how long to look, as 5s.
          (FWD-E202; fwd explain FWD-E202)
        [exit code 2]
        $ fwd bench --for soon
        error: invalid value 'soon' for '--for <TIME>': write a number with s, m, h or d, as 5m

        For more information, try '--help'.
        [exit code 2]
    "#]],
    );
}
