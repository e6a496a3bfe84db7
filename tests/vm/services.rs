//! A guest without any configuration: its address, its gateway and its names come from its network's services.

use fwd_tests::frame::Mac;
use fwd_tests::guest::{Guest, Offloads, Spec};
use fwd_tests::lab::{HOST_V4, Hook, Lab, OUTSIDE_V4, eventually};
use fwd_tests::link::VnetHeader;
use fwd_tests::traffic::http_get;
use fwd_tests::{need, skip};

use crate::ask_for_lease;

const MAC: Mac = Mac([0x52, 0x54, 0, 1, 0, 41]);
#[test]
fn a_guest_gets_its_address_by_dhcp_and_is_reached_by_name() {
    need!(skip::bpf());
    need!(skip::qemu());
    need!(skip::dnsmasq());
    for offloads in [Offloads::NoHeader, Offloads::On] {
        let lab = Lab::empty(Hook::Tcx);
        lab.ok("network add served --mode nat --uplink eth0 --subnet 10.40.0.0/24 --dhcp 10.40.0.100-10.40.0.120");
        lab.host.tap("web1", VnetHeader::Off);
        lab.ok("port add web1 --device web1 --network served");
        lab.ok(&format!("forward add tcp {HOST_V4}:8080 web1:80"));
        let spec = Spec {
            name: "web1",
            tap: "web1",
            mac: MAC,
            offloads,
            addresses: &[],
            gateways: &[],
            tools: &[],
            modules: &[],
        };
        let mut guest = Guest::boot(&lab.host, &spec).unwrap_or_else(|error| panic!("{error:#}"));
        ask_for_lease(&mut guest);
        let leases = lab.items("network leases served");
        assert_eq!(leases.len(), 1, "{leases:#?}");
        assert_eq!((&leases[0]["port"], &leases[0]["mac"]), (&"web1".into(), &MAC.to_string().into()));
        assert!(eventually(|| lab.json("forward show web1-tcp-8080")["state"] == "ready"));
        guest.serve_whoami(80).expect("httpd starts");
        let page = http_get(&lab.outside, &format!("{HOST_V4}:8080")).expect("the forward follows the lease");
        assert!(page.contains(&format!("{OUTSIDE_V4}:")), "{page}");
        guest.exec(&format!("ping -c 1 -W 5 {OUTSIDE_V4}")).expect("the guest gets out");
    }
}
