//! Pins: adopted where they fit, and refused by name where they do not.

use std::{fs, process::Command};

use fwd_common::{id::PortId, layout::ABI_VERSION, map};
use fwd_tests::{need, netns::Netns, skip};
use fwd_user::{
    datapath::{Datapath, Error, OBJECT, Point, Sizes, tear_down},
    plan::{MapOp, Row},
};

use super::{SIZES, World};

#[test]
fn programs_stay_when_the_daemon_goes_and_are_not_loaded_again() {
    need!(skip::bpf());
    let world = World::new();
    let mut kernel = world.open();
    for (device, point) in
        [("veth0", Point::Ingress), ("veth0", Point::Egress), ("tap0", Point::Ingress), ("tap0", Point::Xdp)]
    {
        world.attach(&mut kernel, device, point).unwrap_or_else(|error| panic!("{error}"));
        world.attach(&mut kernel, device, point).expect("attaching twice is fine");
    }
    let attached = kernel.attached().expect("links are readable");
    assert_eq!(attached.len(), 4);
    let xdp = world.xdp_of("tap0");
    assert!(xdp.is_some());
    drop(kernel);
    assert_eq!(world.xdp_of("tap0"), xdp);
    let kernel = world.open();
    assert_eq!(world.xdp_of("tap0"), xdp, "the same build is left alone");
    assert_eq!(kernel.attached().expect("links are readable"), attached);
}

#[test]
fn another_build_replaces_the_programs_and_keeps_the_rows() {
    need!(skip::bpf());
    let world = World::new();
    let mut kernel = world.open();
    kernel.apply(&[MapOp::Put(Row::PortOfDevice(5, PortId(9)))]).expect("the row fits");
    world.attach(&mut kernel, "tap0", Point::Xdp).expect("taps have native XDP");
    let old = world.xdp_of("tap0");
    drop(kernel);
    // Bytes behind an ELF file mean nothing but make it another build.
    let mut object = OBJECT.to_vec();
    object.extend([0; 8]);
    let kernel = world.open_with(SIZES, &object).expect("it is the same program");
    assert_ne!(world.xdp_of("tap0"), old);
    assert!(world.xdp_of("tap0").is_some());
    assert_eq!(kernel.tables().expect("rows are readable").port_of_device[&5], PortId(9));
}

#[test]
fn flow_tables_that_are_there_keep_their_size() {
    need!(skip::bpf());
    let world = World::new();
    assert_eq!(world.open().sizes(), SIZES);
    let kernel = world.open_with(Sizes { flows: 4096 }, OBJECT).expect("the size is no obstacle");
    assert_eq!(kernel.sizes(), SIZES);
}

#[test]
fn a_pinned_map_of_another_shape_is_refused_by_name() {
    need!(skip::bpf());
    let world = World::new();
    drop(world.open());
    for (name, shape, what) in [
        (map::PORTS, "type array key 4 value 16 entries 4096", "the value size is 16"),
        (map::FDB, "type hash key 8 value 8 entries 77", "the number of rows is 77"),
        (map::DEVICES, "type hash key 4 value 8 entries 4096", "the map type is 1"),
        (map::POLICIES, "type hash key 12 value 8 entries 262144", "the flags is 0"),
    ] {
        let (pin, aside) = (world.pin(&format!("maps/{name}")), world.pin("maps/aside"));
        fs::rename(&pin, &aside).expect("bpffs renames");
        let line = format!("map create {} {shape} name other", pin.display());
        let made = Command::new("bpftool").args(line.split(' ')).status().expect("bpftool runs");
        assert!(made.success());
        let error = world.open_with(SIZES, OBJECT).expect_err("the map is not ours");
        let text = error.to_string();
        assert!(text.starts_with(&format!("Pinned map {name}: {what}, this build needs")), "{text}");
        fs::remove_file(&pin).expect("bpffs removes");
        fs::rename(&aside, &pin).expect("bpffs renames");
    }
    drop(world.open());
}

#[test]
fn pins_of_another_abi_are_refused() {
    need!(skip::bpf());
    let world = World::new();
    drop(world.open());
    let old = world.bpffs().join("v0");
    fs::rename(world.bpffs().join(format!("v{ABI_VERSION}")), &old).expect("bpffs renames");
    let error = world.open_with(SIZES, OBJECT).expect_err("they are not ours");
    assert!(matches!(&error, Error::OtherAbi { path } if *path == old), "{error}");
    assert!(tear_down(&world.bpffs()).is_empty());
    drop(world.open());
}

#[test]
fn one_process_at_a_time_holds_the_pins() {
    need!(skip::bpf());
    let world = World::new();
    let kernel = world.open();
    let error = world.open_with(SIZES, OBJECT).expect_err("the pins are held");
    assert!(matches!(error, Error::InUse { .. }), "{error}");
    assert!(matches!(&tear_down(&world.bpffs())[..], [Error::InUse { .. }]));
    drop(kernel);
    drop(world.open());
}

#[test]
fn pins_of_another_namespace_are_refused_while_their_devices_live() {
    need!(skip::bpf());
    let mut world = World::new();
    let mut kernel = world.open();
    world.attach(&mut kernel, "tap0", Point::Ingress).expect("taps have TCX");
    drop(kernel);
    let home = std::mem::replace(&mut world.netns, Netns::new("elsewhere"));
    let error = world.open_with(SIZES, OBJECT).expect_err("ifindexes mean something else here");
    assert!(matches!(error, Error::OtherNamespace { .. }), "{error}");
    home.run("ip link del tap0");
    drop(world.open());
}

#[test]
fn links_of_devices_that_are_gone_are_removed() {
    need!(skip::bpf());
    let world = World::new();
    let mut kernel = world.open();
    world.attach(&mut kernel, "tap0", Point::Xdp).expect("taps have native XDP");
    let pin = world.pin(&format!("links/{}-xdp", world.netns.ifindex("tap0")));
    assert!(pin.exists());
    world.netns.run("ip link del tap0");
    assert!(kernel.attached().expect("links are readable").is_empty());
    drop(kernel);
    drop(world.open());
    assert!(!pin.exists());
}
