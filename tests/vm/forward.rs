//! A forward reaches a web server in a guest, and the guest reaches one outside.

use fwd_tests::guest::Offloads;
use fwd_tests::lab::{HOST_V4, HOST_V6, Hook, Lab, OUTSIDE_V4, OUTSIDE_V6, RED};
use fwd_tests::traffic::{http_get, http_whoami};
use fwd_tests::{need, skip};

use crate::Plan;

fn a_guest_serves_and_asks(hook: Hook, offloads: Offloads) {
    let lab = Lab::empty(hook);
    lab.network(&RED, "");
    let plan = Plan { name: "web", network: &RED, number: 31, offloads, hook: hook.name() };
    plan.add_port(&lab);
    let mut guest = plan.boot(&lab);
    lab.ok(&format!("forward add web4 --listen tcp:{HOST_V4}:8080 --to web:80"));
    lab.ok(&format!("forward add web6 --listen tcp:[{HOST_V6}]:8080 --to web:80"));
    guest.serve_whoami(80).expect("httpd starts");
    for (listen, client) in [
        (format!("{HOST_V4}:8080"), format!("{OUTSIDE_V4}:")),
        (format!("[{HOST_V6}]:8080"), format!("[{OUTSIDE_V6}]:")),
    ] {
        let page = http_get(&lab.outside, &listen).expect("the forward leads into the guest");
        assert!(page.starts_with(&client), "the guest saw {page}");
    }
    for (address, seen) in [(OUTSIDE_V4, format!("{HOST_V4}:")), (OUTSIDE_V6, format!("[{HOST_V6}]:"))] {
        let server = if address.contains(':') { format!("[{address}]:80") } else { format!("{address}:80") };
        let _http = http_whoami(&lab.outside, &server);
        let get = format!("printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 5 {address} 80");
        let answer = guest.exec(&get).expect("the guest gets out");
        assert!(answer.contains(&seen), "outside saw {answer}");
        guest.exec(&format!("ping -c 1 -W 5 {address}")).expect("echo gets out and back");
    }
    lab.ok("status --check");
}

#[test]
fn a_guest_without_vnet_header_serves_and_asks_through_xdp() {
    need!(skip::bpf());
    need!(skip::qemu());
    a_guest_serves_and_asks(Hook::Xdp, Offloads::NoHeader);
}

#[test]
fn a_guest_with_offloads_serves_and_asks_through_tcx() {
    need!(skip::bpf());
    need!(skip::qemu());
    a_guest_serves_and_asks(Hook::Tcx, Offloads::On);
}
