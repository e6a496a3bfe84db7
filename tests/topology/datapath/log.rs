//! The programs' own log: nothing of it is loaded where it is off, and it tells what was asked for.

use std::fs;

use aya::programs::ProgramInfo;
use fwd_common::drop::DropReason;
use fwd_common::map::program;
use fwd_tests::frame::Packet;
use fwd_tests::lab::{Hook, Lab, RED, eventually};
use fwd_tests::wire::{Link, Wire};
use fwd_tests::{need, skip};
use fwd_user::datapath::{Kernel, LogLevel, OBJECT, Options};

use super::{SIZES, World};

#[test]
fn what_a_level_leaves_out_is_not_loaded() {
    need!(skip::bpf());
    let world = World::new();
    let bpffs = world.bpffs();
    // Bytes of each program after the verifier took out what cannot be reached.
    let sizes = |log: LogLevel| {
        let options = Options { bpffs: &bpffs, object: OBJECT, sizes: SIZES, log };
        drop(world.netns.inside(|| Kernel::open(&options)).unwrap_or_else(|error| panic!("{error}")));
        [program::XDP, program::INGRESS, program::EGRESS].map(|name| {
            let info = ProgramInfo::from_pin(world.pin("programs").join(name)).expect("it is pinned");
            info.size_translated().expect("root may know")
        })
    };
    let [off, error, debug, trace] =
        [LogLevel::Off, LogLevel::Error, LogLevel::Debug, LogLevel::Trace].map(sizes);
    for n in 0..off.len() {
        let grows = off[n] < error[n] && error[n] < debug[n] && debug[n] < trace[n];
        assert!(grows, "{} {} {} {}", off[n], error[n], debug[n], trace[n]);
    }
    assert_eq!(sizes(LogLevel::Off), off, "off again is as off as before");
}

#[test]
fn the_daemons_log_has_what_the_programs_tell_at_the_level_that_was_asked_for() {
    need!(skip::bpf());
    let mut lab = Lab::empty(Hook::Tcx);
    lab.network(&RED, "");
    lab.vm("red1", &RED, 11);
    let (mac, address) = (lab.get("red1").mac, lab.get("red1").v4.clone());
    let wire = Wire::open(&lab.get("red1").netns, "eth0");
    let log = lab.fwd.log();
    let told = || fs::read_to_string(&log).expect("the daemon logs").matches("datapath:").count();
    let gateway = lab.host.mac_of("fwd-red");
    let send = || {
        // Nobody has the address: that is found by the last but one of the slow steps.
        let packet = Packet::udp((address.as_str(), 4000), ("10.10.0.12", 53));
        wire.send(&packet.macs(mac, gateway).frame());
    };
    let drops = |lab: &Lab| lab.drops(DropReason::NoRoute.name(), |row| row["port"] == "red1");
    send();
    assert!(eventually(|| drops(&lab) == 1));
    assert_eq!(told(), 0, "it is off by default");

    lab.fwd.terminate();
    lab.start_with(&["--datapath-log", "debug"]);
    send();
    let line = format!(": dropped for reason {} by rule 0", DropReason::NoRoute as u8);
    let is_told = || fs::read_to_string(&log).expect("the daemon logs").contains(&line);
    assert!(eventually(is_told), "{line}");
    assert!(told() > 1, "the steps before it are told too");

    lab.fwd.terminate();
    lab.start();
    let before = told();
    send();
    assert!(eventually(|| drops(&lab) == 3));
    assert_eq!(told(), before, "off again");
}
