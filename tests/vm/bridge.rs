//! A guest on the LAN, whose address comes from a server there; and what it cannot do under another one.

use fwd_tests::guest::{Guest, Offloads, Spec};
use fwd_tests::lab::{HOST_LAN_V4, Hook, LAN, LAN_V4, Lab, eventually};
use fwd_tests::link::VnetHeader;
use fwd_tests::traffic::{DhcpServer, http_get, ping};
use fwd_tests::{need, skip};

use crate::{Plan, ask_for_lease};

#[test]
fn a_guest_gets_its_address_from_the_lans_server_and_takes_none_of_others() {
    need!(skip::bpf());
    need!(skip::qemu());
    need!(skip::dnsmasq());
    let lab = Lab::empty(Hook::Tcx);
    lab.network(&LAN, "--dhcp snoop");
    let mac =
        Plan { name: "web1", network: &LAN, number: 41, offloads: Offloads::NoHeader, hook: "auto" }.mac();
    lab.host.tap("web1", VnetHeader::Off);
    lab.ok("port add web1 --device web1 --network lan");
    let _server = DhcpServer::start(&lab.lan, "eth0", &format!("{},{}", LAN.v4(100), LAN.v4(120)));
    let offloads = Offloads::NoHeader;
    let spec = Spec {
        name: "web1",
        tap: "web1",
        mac,
        offloads,
        addresses: &[],
        gateways: &[],
        tools: &[],
        modules: &[],
    };
    let mut guest = Guest::boot(&lab.host, &spec).unwrap_or_else(|error| panic!("{error:#}"));
    ask_for_lease(&mut guest);
    guest.exec(&format!("ping -c 1 -W 5 {LAN_V4}")).expect("the LAN is reached");
    guest.exec(&format!("ping -c 1 -W 5 {HOST_LAN_V4}")).expect("and the host");
    assert!(eventually(|| lab.json("port show web1")["ips"][0].is_string()));
    let addr = lab.json("port show web1")["ips"][0].as_str().expect("an address").to_owned();
    assert!(addr.starts_with(&LAN.v4(1)), "{addr}");
    guest.serve_whoami(80).expect("httpd starts");
    let page = http_get(&lab.lan, &format!("{addr}:80")).expect("the LAN reaches the guest");
    assert!(page.contains(&format!("{LAN_V4}:")), "{page}");
    ping(&lab.host, &addr).expect("and so does the host");

    assert_eq!(lab.items("network leases lan")[0]["address"], addr.as_str());

    // Row 16: under the host's address and under nobody's it reaches nobody, and the port is named.
    let is_named = |row: &serde_json::Value| row["port"] == "web1";
    let lies = || lab.drops("source_address_spoofed", is_named) + lab.drops("arp_spoofed", is_named);
    for address in [HOST_LAN_V4, &LAN.v4(77)] {
        let before = lies();
        guest.exec(&format!("ip addr add {address}/32 dev eth0")).expect("a guest does as it likes");
        let lie = format!("ping -c 1 -W 1 -I {address} {LAN_V4}");
        assert_ne!(guest.exec_code(&lie).expect("the agent answers").0, 0);
        assert!(eventually(|| lies() > before), "{}", lab.ok("drop list"));
    }
    guest.exec(&format!("ping -c 1 -W 5 {LAN_V4}")).expect("its own address goes on");
    lab.ok("status --check");
}
