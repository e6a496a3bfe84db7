//! `fwd top`.

use expect_test::expect;

use crate::check;

#[test]
fn an_idle_host_carries_nothing_and_bad_input_is_named() {
    check(
        &[
            "network add a --mode nat --subnet 10.0.0.0/24 --uplink eth0",
            "port add web1 --device tap0 --network a",
            "top --every 1s",
            "top --every 1s --limit 1 --sort flows -o csv",
            "top --every 0s",
            "top --count 0",
            "top --sort name",
        ],
        expect![[r#"
            $ fwd network add a --mode nat --subnet 10.0.0.0/24 --uplink eth0
            Added uplink eth0, network a (revision 1).
            $ fwd port add web1 --device tap0 --network a
            Added port web1 (revision 2).
            $ fwd top --every 1s
            PORT  NETWORK  RECEIVED/S  RECEIVED-BITS/S  SENT/S  SENT-BITS/S  DROPPED/S  FLOWS
            eth0  -        0           0                0       0            0          0
            web1  a        0           0                0       0            0          0
            $ fwd top --every 1s --limit 1 --sort flows -o csv
            PORT,NETWORK,RECEIVED/S,RECEIVED-BITS/S,SENT/S,SENT-BITS/S,DROPPED/S,FLOWS
            eth0,-,0,0,0,0,0,0
            $ fwd top --every 0s
            error: invalid value '0s' for '--every <TIME>': give it from 1s to 1h

            For more information, try '--help'.
            [exit code 2]
            $ fwd top --count 0
            error: invalid value '0' for '--count <N>': 0 is not in 1..18446744073709551615

            For more information, try '--help'.
            [exit code 2]
            $ fwd top --sort name
            error: invalid value 'name' for '--sort <WHAT>'
              [possible values: bits, packets, drops, flows]

            For more information, try '--help'.
            [exit code 2]
        "#]],
    );
}
