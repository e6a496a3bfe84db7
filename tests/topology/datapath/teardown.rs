//! Tearing down: nothing is left.

use fwd_common::layout::ABI_VERSION;
use fwd_tests::{need, skip};
use fwd_user::datapath::{Kernel, LogLevel, OBJECT, Options, Point, tear_down};

use super::{SIZES, World};

#[test]
fn tear_down_leaves_nothing() {
    need!(skip::bpf());
    let world = World::new();
    world.netns.settle();
    let before = world.netns.run("ip -d link show");
    let mut kernel = world.open();
    for point in Point::ALL {
        world.attach(&mut kernel, "tap0", point).unwrap_or_else(|error| panic!("{error}"));
    }
    drop(kernel);
    let errors = tear_down(&world.bpffs());
    assert!(errors.is_empty(), "{errors:?}");
    assert!(!world.bpffs().exists());
    assert_eq!(world.netns.run("ip -d link show"), before);
    let attached = world.netns.run("bpftool net show");
    assert!(!attached.contains("fwd_"), "{attached}");
    assert!(tear_down(&world.bpffs()).is_empty(), "nothing is as good as torn down");
}

#[test]
fn a_missing_bpffs_is_mounted_and_unmounted() {
    need!(skip::bpf());
    let world = World::new();
    let bpffs = world.folder.folder().join("elsewhere");
    let kernel = world.netns.inside(|| {
        Kernel::open(&Options { bpffs: &bpffs, object: OBJECT, sizes: SIZES, log: LogLevel::Off })
    });
    drop(kernel.unwrap_or_else(|error| panic!("{error}")));
    assert!(bpffs.join(format!("v{ABI_VERSION}/maps/PORTS")).exists());
    let errors = tear_down(&bpffs);
    assert!(errors.is_empty(), "{errors:?}");
    assert!(!bpffs.exists());
}
