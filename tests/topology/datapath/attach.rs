//! Programs on devices: whose they are, what drivers refuse, and kernels without TCX.

use fwd_tests::{need, skip};
use fwd_user::datapath::{Error, Kernel, LogLevel, OBJECT, Options, Point, Target, Tc, tear_down};

use super::{SIZES, World};

#[test]
fn a_foreign_xdp_program_is_named_and_left_alone() {
    need!(skip::bpf());
    let world = World::new();
    let mut kernel = world.open();
    // Another instance's program will do.
    let other = World::new();
    drop(other.open());
    let program = other.pin("programs/fwd_xdp");
    world.netns.run(&format!("bpftool net attach xdpdrv pinned {} dev veth0", program.display()));
    let foreign = world.xdp_of("veth0").expect("it was attached");
    let error = world.attach(&mut kernel, "veth0", Point::Xdp).expect_err("somebody is there");
    let text = error.to_string();
    assert!(text.contains(&format!("XDP program {foreign} (fwd_xdp)")), "{text}");
    assert_eq!(world.xdp_of("veth0"), Some(foreign));
    world.attach(&mut kernel, "veth0", Point::Ingress).expect("TCX is free");
}

#[test]
fn a_driver_that_refuses_xdp_is_quoted() {
    need!(skip::bpf());
    let world = World::new();
    world.netns.run("ip link add br0 type bridge");
    world
        .netns
        .run("ip link add one0 numtxqueues 1 numrxqueues 1 type veth peer one1 numtxqueues 4 numrxqueues 4");
    let mut kernel = world.open();
    for (device, reason) in [("br0", "it has no native XDP"), ("one0", "it has not enough queues or rings")] {
        let error = world.attach(&mut kernel, device, Point::Xdp).expect_err("the driver refuses");
        assert!(error.to_string().contains(reason), "{device}: {error}");
    }
    let gone = Target { ifindex: 4711, name: "gone0".to_owned() };
    let error = world.netns.inside(|| kernel.attach(&gone, Point::Xdp)).expect_err("there is none");
    assert!(matches!(error, Error::NoDevice { .. }), "{error}");
}

#[test]
fn all_devices_are_brought_to_their_programs() {
    need!(skip::bpf());
    let world = World::new();
    let mut kernel = world.open();
    let (tap, veth) = (world.target("tap0"), world.target("veth0"));
    let gone = Target { ifindex: 4711, name: "gone0".to_owned() };
    let mut bring = |wanted: &[(Target, Vec<Point>)]| {
        let errors = world.netns.inside(|| kernel.attach_all(wanted));
        let mut attached = kernel.attached().expect("links are readable");
        attached.sort();
        (attached, errors.into_iter().map(|(ifindex, _)| ifindex).collect::<Vec<_>>())
    };
    let wanted = [
        (tap.clone(), vec![Point::Xdp, Point::Ingress]),
        (veth.clone(), vec![Point::Ingress, Point::Egress]),
        (gone, vec![Point::Ingress]),
    ];
    let mut all = vec![
        (tap.ifindex, Point::Xdp),
        (tap.ifindex, Point::Ingress),
        (veth.ifindex, Point::Ingress),
        (veth.ifindex, Point::Egress),
    ];
    all.sort();
    assert_eq!(bring(&wanted), (all.clone(), vec![4711]));
    assert_eq!(bring(&wanted), (all, vec![4711]));
    let fewer = [(tap.clone(), vec![Point::Ingress])];
    assert_eq!(bring(&fewer), (vec![(tap.ifindex, Point::Ingress)], vec![]));
    assert_eq!(bring(&[]), (vec![], vec![]));
}

#[test]
fn a_kernel_without_tcx_gets_filters_that_outlive_the_daemon() {
    need!(skip::bpf());
    let world = World::new();
    let bpffs = world.bpffs();
    let before = ["tap0", "veth0"].map(|device| world.netns.run(&format!("tc qdisc show dev {device}")));
    // Somebody else's qdisc, which must stay.
    world.netns.run("tc qdisc add dev veth0 clsact");
    let open = |object: &[u8]| {
        let options = Options { bpffs: &bpffs, object, sizes: SIZES, log: LogLevel::Off };
        let kernel = world.netns.inside(|| Kernel::open_with(&options, Tc::Clsact));
        kernel.unwrap_or_else(|error| panic!("{error}"))
    };
    let filters = |device: &str, way: &str| {
        let text = world.netns.run(&format!("tc filter show dev {device} {way}"));
        text.lines().filter(|line| line.contains("fwd_")).map(str::to_owned).collect::<Vec<_>>()
    };
    let mut kernel = open(OBJECT);
    for (device, point) in [("tap0", Point::Ingress), ("tap0", Point::Egress), ("veth0", Point::Ingress)] {
        // The number says which device is meant; its name is for people.
        let target = Target { name: "veth0".to_owned(), ..world.target(device) };
        let mut attach = || world.netns.inside(|| kernel.attach(&target, point));
        attach().unwrap_or_else(|error| panic!("{error}"));
        attach().expect("attaching twice is fine");
    }
    assert_eq!(kernel.attached().expect("notes are readable").len(), 3);
    drop(kernel);
    let old = filters("tap0", "ingress");
    assert!(old.len() == 1 && old[0].contains("fwd_ingress") && old[0].contains("direct-action"), "{old:?}");
    assert!(filters("tap0", "egress")[0].contains("fwd_egress"));
    // Another build takes their place.
    let mut object = OBJECT.to_vec();
    object.extend([0; 8]);
    let mut kernel = open(&object);
    let new = filters("tap0", "ingress");
    assert!(new.len() == 1 && new != old, "{new:?}");
    // Only fwd's own filter goes.
    let target = world.target("veth0");
    world.netns.inside(|| kernel.detach(target.ifindex, Point::Ingress)).unwrap_or_else(|e| panic!("{e}"));
    assert!(filters("veth0", "ingress").is_empty());
    assert!(world.netns.run("tc qdisc show dev veth0").contains("clsact"), "it was there before");
    drop(kernel);
    // Somebody takes the qdisc away, and fwd's filters with it.
    world.netns.run("tc qdisc del dev tap0 clsact");
    let errors = world.netns.inside(|| tear_down(&bpffs));
    assert!(errors.is_empty(), "{errors:?}");
    world.netns.run("tc qdisc del dev veth0 clsact");
    let after = ["tap0", "veth0"].map(|device| world.netns.run(&format!("tc qdisc show dev {device}")));
    assert_eq!(after, before);
}
