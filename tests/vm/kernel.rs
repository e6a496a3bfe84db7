//! A whole host in a guest, on Debian's own kernel: 6.1 in Debian 12, which has no TCX. VMs are namespaces there.

use std::path::PathBuf;

use fwd_tests::frame::Mac;
use fwd_tests::guest::{Guest, Offloads, Spec};
use fwd_tests::lab::{Hook, binary};
use fwd_tests::link::VnetHeader;
use fwd_tests::netns::Netns;
use fwd_tests::{need, skip};
use serde_json::Value;

/// Two VMs behind NAT, one on a bridge with a LAN, and outside. What XDP sends to a veth arrives where its other end has GRO
/// on, and veths have no wire that would finish checksums.
pub const MAKE: &str = "mkdir -p /var/run /sys/fs/bpf && mount -t bpf bpf /sys/fs/bpf
for name in web db vm lan out; do
    /tools/ip netns add $name && /tools/ip link add $name type veth peer name eth0 netns $name
    /tools/ip link set $name up && /tools/ip -n $name link set lo up && /tools/ip -n $name link set eth0 up
    /tools/ip netns exec $name /tools/ethtool -K eth0 gro on tx off > /dev/null
done
for name in web:10.10.0.11/24:fd00:10::11/64 db:10.10.0.12/24:fd00:10::12/64 \\
    vm:192.168.7.1/24:fd00:7::1/64 lan:192.168.7.2/24:fd00:7::2/64 out:203.0.113.2/24:2001:db8::2/64; do
    v4=${name#*:} v6=${name#*:*:} name=${name%%:*}
    /tools/ip -n $name addr add ${v4%%:*} dev eth0 && /tools/ip -n $name addr add $v6 dev eth0 nodad
done
for name in web db; do
    /tools/ip -n $name route add default via 10.10.0.1 && /tools/ip -n $name route add default via fd00:10::1
done
/tools/ip addr add 203.0.113.10/24 dev out && /tools/ip addr add 2001:db8::10/64 dev out nodad
for name in web db out; do /tools/ip netns exec $name httpd -p 80 -h /www; done";

/// All that fwd may have changed on the host.
const LEFT: &str = "ls -A /sys/fs/bpf; ls /sys/class/net; /tools/tc qdisc show
for name in web db vm lan out; do /tools/tc filter show dev $name ingress; /tools/ip -d link show $name; done
grep . /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/ip_local_reserved_ports /proc/sys/net/ipv*/conf/*/forwarding \\
    /proc/sys/net/ipv4/conf/*/rp_filter";

/// A guest in which fwd runs.
pub struct Host(Guest);

impl Host {
    /// Boots it with fwd and these programs of this machine.
    #[track_caller]
    pub fn boot(outer: &Netns, tools: &[&str]) -> Self {
        let tools: Vec<_> = tools.iter().map(PathBuf::from).collect();
        let tools = [&tools[..], &[binary().unwrap_or_else(|error| panic!("{error:#}"))]].concat();
        let spec = Spec {
            name: "host",
            tap: "tap0",
            mac: Mac([0x52, 0x54, 0, 1, 0, 61]),
            offloads: Offloads::NoHeader,
            addresses: &[],
            gateways: &[],
            tools: &tools,
            modules: &[],
        };
        Self(Guest::boot(outer, &spec).unwrap_or_else(|error| panic!("{error:#}")))
    }

    #[track_caller]
    pub fn run(&mut self, command: &str) -> String {
        self.0.exec(command).unwrap_or_else(|error| panic!("{error:#}"))
    }

    /// Waits until the kernel has told how these devices are, which it does some time after they are up (`linkwatch`).
    #[track_caller]
    pub fn settles(&mut self, devices: &[&str]) {
        for device in devices {
            self.run(&format!("until grep -qx up /sys/class/net/{device}/operstate; do sleep 0.1; done"));
        }
    }

    #[track_caller]
    pub fn fwd(&mut self, words: &str) -> String {
        self.run(&format!("/tools/fwd {words}"))
    }

    #[track_caller]
    pub fn json(&mut self, words: &str) -> Value {
        let text = self.fwd(&format!("{words} -o json"));
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{words}: {error}\n{text}"))
    }

    /// The page of the web server at an address, asked for by a namespace: who it saw; or what was wrong.
    pub fn page(&mut self, from: &str, (addr, l4_port): (&str, u16)) -> Result<String, String> {
        let get = format!(
            "printf 'GET / HTTP/1.0\\r\\n\\r\\n' | /tools/ip netns exec {from} nc -w 20 {addr} {l4_port}"
        );
        let (code, text) = self.0.exec_code(&get).expect("the agent answers");
        if code == 0 { Ok(text) } else { Err(text) }
    }

    #[track_caller]
    pub fn sees(&mut self, from: &str, at: (&str, u16), seen: &str) {
        let page = self.page(from, at);
        assert!(page.as_ref().is_ok_and(|page| page.contains(seen)), "{from} to {at:?}: {page:?}");
    }
}

#[test]
fn the_main_job_runs_on_a_kernel_without_tcx() {
    need!(skip::bpf());
    need!(skip::qemu());
    let outer = Netns::new("kernel");
    outer.tap("tap0", VnetHeader::Off);
    let mut host = Host::boot(&outer, &["ip", "tc", "ethtool"]);
    host.run(MAKE);
    host.settles(&["web", "db", "vm", "lan", "out"]);
    let before = host.run(LEFT);
    host.fwd("up");
    for device in ["out", "lan"] {
        host.fwd(&format!("uplink add {device}"));
    }
    host.fwd("network add nat --mode nat --subnet 10.10.0.0/24 --subnet fd00:10::/64 --uplink out");
    host.fwd("network add lan --mode bridge --uplink lan");
    host.fwd("port add web --device web --network nat --ip 10.10.0.11 --ip fd00:10::11");
    host.fwd("port add db --device db --network nat --ip 10.10.0.12 --ip fd00:10::12");
    host.fwd("port add vm --device vm --network lan");
    host.fwd("forward add tcp :8080 web:80");
    for hook in Hook::BOTH {
        packets_find_their_way(&mut host, hook.name());
    }
    let pid = host.json("status")["pid"].clone();
    host.run(&format!("kill -9 {pid}"));
    a_client_is_served(&mut host);
    host.fwd("up");
    a_client_is_served(&mut host);
    host.fwd("status --check");
    host.fwd("down --purge");
    assert_eq!(host.run(LEFT), before);
}

/// By the forward, in both families; the server sees the client's own address.
#[track_caller]
fn a_client_is_served(host: &mut Host) {
    host.sees("out", ("203.0.113.10", 8080), "\n203.0.113.2:");
    host.sees("out", ("2001:db8::10", 8080), "\n[2001:db8::2]:");
}

#[track_caller]
fn packets_find_their_way(host: &mut Host, hook: &str) {
    for device in ["out", "lan"] {
        host.fwd(&format!("uplink set {device} --hook {hook}"));
    }
    for port in ["web", "db", "vm"] {
        host.fwd(&format!("port set {port} --hook {hook}"));
        assert_eq!(host.json(&format!("port show {port}"))["hook"], hook);
    }
    a_client_is_served(host);
    for (server, seen) in [("203.0.113.2", "\n203.0.113.10:"), ("2001:db8::2", "\n[2001:db8::10]:")] {
        host.sees("web", (server, 80), seen);
    }
    host.sees("web", ("10.10.0.12", 80), "\n10.10.0.11:");
    for peer in ["192.168.7.2", "fd00:7::2"] {
        host.run(&format!("/tools/ip netns exec vm ping -c 1 -W 10 {peer}"));
    }
    host.fwd("policy add no-web --deny --from outside --to port:web --service tcp/80");
    assert!(host.page("out", ("203.0.113.10", 8080)).is_err());
    let drops = host.json("drop list --rule no-web");
    assert!(drops["items"][0]["packets"].as_u64().is_some_and(|packets| packets > 0), "{drops:#}");
    host.fwd("policy delete no-web");
    host.fwd("status --check");
}
