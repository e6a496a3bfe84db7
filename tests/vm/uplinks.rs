//! Bonds and VLAN devices as uplinks, on Debian's own kernel: fwd is on the device that has the address, whatever is below.

use fwd_tests::link::VnetHeader;
use fwd_tests::netns::Netns;
use fwd_tests::{need, skip};

use super::kernel::Host;

/// Two cables to a switch in `far`, bonded here; two VLANs on the bond; a VM for each of the three.
const MAKE: &str = "mkdir -p /var/run /sys/fs/bpf && mount -t bpf bpf /sys/fs/bpf
for name in web db vm; do
    /tools/ip netns add $name && /tools/ip link add $name type veth peer name eth0 netns $name
    /tools/ip link set $name up && /tools/ip -n $name link set lo up && /tools/ip -n $name link set eth0 up
    /tools/ip netns exec $name /tools/ethtool -K eth0 tx off > /dev/null
done
/tools/ip netns add far && /tools/ip -n far link set lo up && /tools/ip -n far link add br0 type bridge
/tools/ip link add bond1 type bond mode active-backup miimon 20
for n in 0 1; do
    /tools/ip link add n$n type veth peer name p$n netns far && /tools/ip link set n$n master bond1
    /tools/ip -n far link set p$n master br0 && /tools/ip -n far link set p$n up
done
for device in br0:2 bond1:10; do
    number=${device#*:} device=${device%:*}
    in=; [ $device = bond1 ] || in='-n far'
    /tools/ip $in link set $device up
    for vlan in 7 8; do
        /tools/ip $in link add link $device name $device.$vlan type vlan id $vlan
        /tools/ip $in link set $device.$vlan up
    done
    /tools/ip $in addr add 203.0.113.$number/24 dev $device
    /tools/ip $in addr add 2001:db8:113::$number/64 dev $device nodad
    /tools/ip $in addr add 198.51.100.$number/24 dev $device.7
    /tools/ip $in addr add 2001:db8:198::$number/64 dev $device.7 nodad
done
/tools/ip -n far addr add 192.168.8.2/24 dev br0.8 && /tools/ip -n far addr add fd00:8::2/64 dev br0.8 nodad
/tools/ip -n vm addr add 192.168.8.1/24 dev eth0 && /tools/ip -n vm addr add fd00:8::1/64 dev eth0 nodad
for name in web:10 db:20; do
    net=${name#*:} name=${name%:*}
    /tools/ip -n $name addr add 10.$net.0.11/24 dev eth0 && /tools/ip -n $name addr add fd00:$net::11/64 dev eth0 nodad
    /tools/ip -n $name route add default via 10.$net.0.1 && /tools/ip -n $name route add default via fd00:$net::1
done
for name in web db far; do /tools/ip netns exec $name httpd -p 80 -h /www; done";

const LEFT: &str = "ls -A /sys/fs/bpf; ls /sys/class/net; /tools/tc qdisc show
for name in bond1 bond1.7 bond1.8; do /tools/tc filter show dev $name ingress; /tools/ip -d link show $name; done";

#[test]
fn bonds_and_vlan_devices_carry_what_a_nic_does() {
    need!(skip::bpf());
    need!(skip::qemu());
    let outer = Netns::new("uplinks");
    outer.tap("tap0", VnetHeader::Off);
    let mut host = Host::boot(&outer, &["ip", "tc", "ethtool"]);
    host.run(MAKE);
    host.settles(&["bond1", "bond1.7", "bond1.8"]);
    let before = host.run(LEFT);
    host.fwd("up");
    for (network, net, vm, uplink) in [("plain", 10, "web", "bond1"), ("tagged", 20, "db", "bond1.7")] {
        let subnets = format!("--subnet 10.{net}.0.0/24 --subnet fd00:{net}::/64");
        host.fwd(&format!("network add {network} --mode nat {subnets} --uplink {uplink}"));
        host.fwd(&format!(
            "port add {vm} --device {vm} --network {network} --ip 10.{net}.0.11 --ip fd00:{net}::11"
        ));
    }
    host.fwd("network add lan --mode bridge --uplink bond1.8");
    host.fwd("port add vm --device vm --network lan");
    host.fwd("forward add tcp 203.0.113.10:8080 web:80");
    host.fwd("forward add tcp [2001:db8:113::10]:8080 web:80");
    host.fwd("forward add tcp 198.51.100.10:8080 db:80");
    host.fwd("forward add tcp [2001:db8:198::10]:8080 db:80");
    for uplink in ["bond1", "bond1.7", "bond1.8"] {
        let uplink = host.json(&format!("uplink show {uplink}"));
        assert_eq!((&uplink["hook"], &uplink["state"]), (&"tcx".into(), &"ready".into()), "{uplink:#}");
    }
    all_are_served(&mut host);
    // Each cable alone.
    for (up, down) in [("p1", "p0"), ("p0", "p1")] {
        host.run(&format!("/tools/ip -n far link set {up} up; /tools/ip -n far link set {down} down"));
        all_are_served(&mut host);
    }
    host.fwd("policy add no-db --deny --from outside --to port:db --service tcp/80");
    assert!(host.page("far", ("198.51.100.10", 8080)).is_err());
    host.sees("far", ("203.0.113.10", 8080), "\n203.0.113.2:");
    let drops = host.json("drop list --rule no-db");
    assert!(drops["items"][0]["packets"].as_u64().is_some_and(|packets| packets > 0), "{drops:#}");
    host.fwd("status --check");
    host.run("/tools/ip -n far link set p1 up");
    host.fwd("down --purge");
    assert_eq!(host.run(LEFT), before);
}

/// VMs outside under the uplink's address, clients by the forwards, and the LAN of a VLAN.
#[track_caller]
fn all_are_served(host: &mut Host) {
    for (vm, own, far) in [
        ("web", "203.0.113.10", "203.0.113.2"),
        ("web", "2001:db8:113::10", "2001:db8:113::2"),
        ("db", "198.51.100.10", "198.51.100.2"),
        ("db", "2001:db8:198::10", "2001:db8:198::2"),
    ] {
        let seen = |addr: &str| match addr.contains(':') {
            true => format!("\n[{addr}]:"),
            false => format!("\n{addr}:"),
        };
        host.sees(vm, (far, 80), &seen(own));
        host.sees("far", (own, 8080), &seen(far));
    }
    for peer in ["192.168.8.2", "fd00:8::2"] {
        host.run(&format!("/tools/ip netns exec vm ping -c 1 -W 10 {peer}"));
    }
}
