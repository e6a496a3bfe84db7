//! WireGuard as the uplink, on Debian's own kernel: the kernel encrypts, and fwd decides what goes in and what came out.

use fwd_tests::lab::Hook;
use fwd_tests::link::VnetHeader;
use fwd_tests::netns::Netns;
use fwd_tests::{need, skip};

use super::kernel::Host;

/// A VM, and a machine at the other end of a tunnel over a cable.
const MAKE: &str = "mkdir -p /var/run /sys/fs/bpf && mount -t bpf bpf /sys/fs/bpf
for name in web far; do
    /tools/ip netns add $name && /tools/ip link add $name type veth peer name eth0 netns $name
    /tools/ip link set $name up && /tools/ip -n $name link set lo up && /tools/ip -n $name link set eth0 up
    /tools/ip netns exec $name /tools/ethtool -K eth0 gro on tx off > /dev/null
done
/tools/ip -n web addr add 10.10.0.11/24 dev eth0 && /tools/ip -n web addr add fd00:10::11/64 dev eth0 nodad
/tools/ip -n web route add default via 10.10.0.1 && /tools/ip -n web route add default via fd00:10::1
/tools/ip addr add 203.0.113.10/24 dev far && /tools/ip -n far addr add 203.0.113.2/24 dev eth0
/tools/ip link add wg0 type wireguard && /tools/ip -n far link add wg0 type wireguard
for name in host far; do /tools/wg genkey > /tmp/$name && /tools/wg pubkey < /tmp/$name > /tmp/$name.pub; done
/tools/wg set wg0 listen-port 51820 private-key /tmp/host peer $(cat /tmp/far.pub) allowed-ips 0.0.0.0/0,::/0 \\
    endpoint 203.0.113.2:51820
/tools/ip netns exec far /tools/wg set wg0 listen-port 51820 private-key /tmp/far peer $(cat /tmp/host.pub) \\
    allowed-ips 172.16.0.1/32,fd00:16::1/128 endpoint 203.0.113.10:51820
/tools/ip addr add 172.16.0.1/24 dev wg0 && /tools/ip addr add fd00:16::1/64 dev wg0
/tools/ip -n far addr add 172.16.0.2/24 dev wg0 && /tools/ip -n far addr add fd00:16::2/64 dev wg0
/tools/ip link set wg0 up && /tools/ip -n far link set wg0 up
/tools/ip route add default dev wg0 && /tools/ip -6 route add default dev wg0
for name in web far; do /tools/ip netns exec $name httpd -p 80 -h /www; done
httpd -p 81 -h /www";

const LEFT: &str =
    "ls -A /sys/fs/bpf; ls /sys/class/net; /tools/tc qdisc show; /tools/tc filter show dev wg0 ingress";

#[test]
fn vms_are_served_through_wireguard() {
    need!(skip::bpf());
    need!(skip::qemu());
    need!(skip::wireguard());
    let outer = Netns::new("wireguard");
    outer.tap("tap0", VnetHeader::Off);
    let mut host = Host::boot(&outer, &["ip", "tc", "ethtool", "wg"]);
    host.run(MAKE);
    let before = host.run(LEFT);
    host.fwd("up");
    host.fwd("uplink add wg0");
    host.fwd("network add nat --mode nat --subnet 10.10.0.0/24 --subnet fd00:10::/64 --uplink wg0");
    host.fwd("port add web --device web --network nat --ip 10.10.0.11 --ip fd00:10::11");
    host.fwd("forward add tcp :8080 web:80");
    for hook in Hook::BOTH {
        host.fwd(&format!("port set web --hook {}", hook.name()));
        all_are_served(&mut host);
    }
    let uplink = host.json("uplink show wg0");
    assert_eq!((&uplink["hook"], &uplink["state"]), (&"tcx".into(), &"ready".into()), "{uplink:#}");
    let pid = host.json("status")["pid"].clone();
    host.run(&format!("kill -9 {pid}"));
    all_are_served(&mut host);
    host.fwd("up");
    all_are_served(&mut host);
    host.fwd("policy add no-web --deny --from outside --to port:web --service tcp/80");
    assert!(host.page("far", ("172.16.0.1", 8080)).is_err());
    let drops = host.json("drop list --rule no-web");
    assert!(drops["items"][0]["packets"].as_u64().is_some_and(|packets| packets > 0), "{drops:#}");
    host.fwd("status --check");
    host.fwd("down --purge");
    assert_eq!(host.run(LEFT), before);
}

/// The VM outside, a client by the forward, and the host itself both ways.
#[track_caller]
fn all_are_served(host: &mut Host) {
    for (own, far, [seen, client]) in [
        ("172.16.0.1", "172.16.0.2", ["\n172.16.0.1:", "\n172.16.0.2:"]),
        ("fd00:16::1", "fd00:16::2", ["\n[fd00:16::1]:", "\n[fd00:16::2]:"]),
    ] {
        host.sees("web", (far, 80), seen);
        host.sees("far", (own, 8080), client);
        host.sees("far", (own, 81), client);
        // From the host's own namespace, which has no name.
        let page = host.run(&format!("printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 20 {far} 80"));
        assert!(page.contains(seen), "{page}");
    }
}
