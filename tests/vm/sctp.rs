//! Bulk SCTP of a kernel's own, on Debian's kernel: translated, forwarded to another L4 port, and between VMs.

use fwd_tests::lab::Hook;
use fwd_tests::link::VnetHeader;
use fwd_tests::netns::Netns;
use fwd_tests::{need, skip};
use serde_json::Value;

use super::kernel::{Host, MAKE};

const BYTES: u64 = 4 << 20;

#[test]
fn bulk_of_a_kernels_own_sctp_arrives_by_every_way() {
    need!(skip::bpf());
    need!(skip::qemu());
    let outer = Netns::new("sctp");
    outer.tap("tap0", VnetHeader::Off);
    let mut host = Host::boot(&outer, &["ip", "tc", "ethtool", "iperf3"]);
    host.run(MAKE);
    host.fwd("up");
    host.fwd("network add nat --mode nat --subnet 10.10.0.0/24 --subnet fd00:10::/64 --uplink out");
    host.fwd("port add web --device web --network nat --ip 10.10.0.11 --ip fd00:10::11");
    host.fwd("port add db --device db --network nat --ip 10.10.0.12 --ip fd00:10::12");
    // The data's association, and the connection by which both ends agree on it.
    for proto in ["sctp", "tcp"] {
        host.fwd(&format!("forward add {proto} :8080 web:5201"));
    }
    for name in ["web", "out"] {
        host.run(&format!("/tools/ip netns exec {name} /tools/iperf3 -s -D"));
    }
    for hook in Hook::BOTH {
        for port in ["web", "db"] {
            host.fwd(&format!("port set {port} --hook {}", hook.name()));
        }
        host.fwd(&format!("uplink set out --hook {}", hook.name()));
        for (from, to, l4_port) in [
            ("web", "203.0.113.2", 5201),
            ("web", "2001:db8::2", 5201),
            ("out", "203.0.113.10", 8080),
            ("out", "2001:db8::10", 8080),
            ("db", "10.10.0.11", 5201),
            ("db", "203.0.113.10", 8080),
        ] {
            let asked = format!("/tools/iperf3 -c {to} -p {l4_port} --sctp -n {BYTES} -J");
            let told = host.run(&format!("/tools/ip netns exec {from} {asked}"));
            let told: Value = serde_json::from_str(&told).expect("iperf3 writes JSON");
            let came = told["end"]["sum_received"]["bytes"].as_u64();
            // What is under way when the sender is done is not waited for.
            assert!(came.is_some_and(|came| came > BYTES / 4 * 3), "{from} to {to}, {hook:?}: {told:#}");
        }
        host.fwd("status --check");
    }
    let sums =
        host.run("for n in web db out; do /tools/ip netns exec $n grep Checksum /proc/net/sctp/snmp; done");
    assert!(sums.lines().all(|line| line.ends_with("\t0")), "{sums}");
}
