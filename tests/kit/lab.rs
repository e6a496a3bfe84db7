//! What the lab itself promises, shown without a daemon.

use fwd_tests::lab::Snapshot;
use fwd_tests::netns::Netns;
use fwd_tests::{need, skip};

#[test]
fn a_snapshot_sees_every_kind_of_left_over() {
    need!(skip::bpf());
    let host = Netns::new("host");
    host.tap("tap0", fwd_tests::link::VnetHeader::Off);
    let before = Snapshot::take(&host);
    assert_eq!(before.differences(&Snapshot::take(&host)), Vec::<String>::new());
    for (change, undo, word) in [
        ("ip link add fwd-x type veth peer name y", "ip link del fwd-x", "link fwd-x"),
        ("tc qdisc add dev tap0 clsact", "tc qdisc del dev tap0 clsact", "qdisc"),
        ("ip address add 10.1.1.1/24 dev tap0", "ip address del 10.1.1.1/24 dev tap0", "address"),
        ("ip link set tap0 allmulticast on", "ip link set tap0 allmulticast off", "tap0"),
        ("ip route add blackhole 10.9.0.0/16", "ip route del blackhole 10.9.0.0/16", "route"),
    ] {
        host.run(change);
        let found = before.differences(&Snapshot::take(&host));
        assert!(found.iter().any(|line| line.contains(word)), "{change}: {found:#?}");
        host.run(undo);
        assert_eq!(before.differences(&Snapshot::take(&host)), Vec::<String>::new(), "{undo}");
    }
    let forwarding = "net.ipv4.conf.tap0.forwarding";
    host.sysctl(forwarding, "1");
    let found = before.differences(&Snapshot::take(&host));
    assert_eq!(found.len(), 2, "{found:#?}");
    host.sysctl(forwarding, "0");
    assert_eq!(before.differences(&Snapshot::take(&host)), Vec::<String>::new());
}
