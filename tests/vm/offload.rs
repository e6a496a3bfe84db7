//! Guests that finish their frames and guests that do not, on the hooks that suit them, exchange bulk data.

use fwd_tests::guest::{Guest, Offloads, blocks_sha256};
use fwd_tests::lab::{HOST_V4, Hook, Lab, OUTSIDE_V4, RED, eventually};
use fwd_tests::traffic::BulkSource;
use fwd_tests::{need, skip};

use crate::Plan;

const MIB: u32 = 100;
const L4_PORT: u16 = 5000;

#[track_caller]
fn assert_hook(lab: &Lab, port: &str, hook: &str) {
    let follows = eventually(|| lab.json(&format!("port show {port}"))["hook"] == hook);
    assert!(follows, "{port} is not on {hook}: {}", lab.ok(&format!("port show {port}")));
}

#[track_caller]
fn fetch(guest: &mut Guest, address: &str, hash: &str) {
    assert_eq!(guest.fetch_sha256(address, L4_PORT).expect("the transfer ends"), hash, "from {address}");
}

#[test]
fn every_kind_of_guest_exchanges_bulk_with_the_others_and_with_outside() {
    need!(skip::bpf());
    need!(skip::qemu());
    let lab = Lab::empty(Hook::Tcx);
    lab.network(&RED, "");
    let plans = [
        Plan { name: "bare", network: &RED, number: 31, offloads: Offloads::NoHeader, hook: "auto" },
        Plan { name: "sums", network: &RED, number: 32, offloads: Offloads::Off, hook: "xdp" },
        Plan { name: "full", network: &RED, number: 33, offloads: Offloads::On, hook: "auto" },
    ];
    plans.iter().for_each(|plan| plan.add_port(&lab));
    let mut guests = plans.each_ref().map(|plan| plan.boot(&lab));
    for guest in &mut guests {
        guest.serve_blocks(L4_PORT, MIB).expect("nc starts");
    }
    for (plan, hook) in plans.iter().zip(["xdp", "xdp", "tcx"]) {
        assert_hook(&lab, plan.name, hook);
    }
    let hash = blocks_sha256(MIB);
    let [bare, sums, full] = &mut guests;
    fetch(bare, &RED.v4(32), &hash);
    fetch(bare, &RED.v6(33), &hash);
    fetch(sums, &RED.v4(31), &hash);
    fetch(sums, &RED.v4(33), &hash);
    fetch(full, &RED.v6(31), &hash);
    fetch(full, &RED.v4(32), &hash);

    for (n, guest) in guests.iter_mut().enumerate() {
        let name = plans[n].name;
        let source =
            BulkSource::start(&lab.outside, &format!("{OUTSIDE_V4}:{L4_PORT}"), u64::from(MIB) << 20);
        let local = source.download(&lab.outside).expect("the server serves").sha256;
        fetch(guest, OUTSIDE_V4, &local);
        let listen = 8000 + u16::try_from(n).expect("three guests");
        lab.ok(&format!("forward add {name} --listen tcp:{HOST_V4}:{listen} --to {name}:{L4_PORT}"));
        let out = BulkSource::start_download(&lab.outside, &format!("{HOST_V4}:{listen}"));
        let out = out.join().expect("the client does not panic").expect("the transfer ends");
        assert_eq!((out.sha256.as_str(), out.bytes), (hash.as_str(), u64::from(MIB) << 20), "{name}");
    }
    lab.ok("status --check");
}

#[test]
fn the_hook_follows_the_guest_that_opens_the_tap() {
    need!(skip::bpf());
    need!(skip::qemu());
    let lab = Lab::empty(Hook::Tcx);
    lab.network(&RED, "");
    let source = BulkSource::start(&lab.outside, &format!("{OUTSIDE_V4}:{L4_PORT}"), 20_000_000);
    let hash = source.download(&lab.outside).expect("the server serves").sha256;
    let mut plan = Plan { name: "vm", network: &RED, number: 31, offloads: Offloads::NoHeader, hook: "auto" };
    plan.add_port(&lab);
    for (offloads, hook) in [(Offloads::NoHeader, "xdp"), (Offloads::On, "tcx"), (Offloads::NoHeader, "xdp")]
    {
        plan.offloads = offloads;
        let mut guest = plan.boot(&lab);
        guest.exec("true").expect("it boots");
        assert_hook(&lab, "vm", hook);
        fetch(&mut guest, OUTSIDE_V4, &hash);
    }
}
