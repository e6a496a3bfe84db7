//! The kernel's maps, programs and links: made, adopted, checked, and taken away.

mod adoption;
mod attach;
mod log;
mod rows;
mod sweep;
mod teardown;

use std::path::PathBuf;

use fwd_common::layout::ABI_VERSION;
use fwd_tests::{lab::Instance, link::VnetHeader, netns::Netns};
use fwd_user::datapath::{Error, Kernel, LogLevel, OBJECT, Options, Point, Sizes, Target};

const SIZES: Sizes = Sizes { flows: 1024 };

/// A namespace with a veth and a tap, and a bpffs of its own.
struct World {
    netns: Netns,
    // The far end of veth0 lives in it.
    _peer: Netns,
    // Unmounts its bpffs when dropped.
    folder: Instance,
}

impl World {
    fn new() -> Self {
        let (netns, peer) = (Netns::new("datapath"), Netns::new("peer"));
        netns.veth("veth0", &peer, "eth0");
        netns.tap("tap0", VnetHeader::Off);
        Self { netns, _peer: peer, folder: Instance::new() }
    }

    fn bpffs(&self) -> PathBuf {
        self.folder.bpffs()
    }

    fn open_with(&self, sizes: Sizes, object: &[u8]) -> Result<Kernel, Error> {
        let bpffs = self.bpffs();
        self.netns.inside(|| Kernel::open(&Options { bpffs: &bpffs, object, sizes, log: LogLevel::Off }))
    }

    #[track_caller]
    fn open(&self) -> Kernel {
        self.open_with(SIZES, OBJECT).unwrap_or_else(|error| panic!("{error}"))
    }

    fn target(&self, name: &str) -> Target {
        Target { ifindex: self.netns.ifindex(name), name: name.to_owned() }
    }

    /// Attaches from inside the namespace, where ifindexes mean something.
    fn attach(&self, kernel: &mut Kernel, device: &str, point: Point) -> Result<(), Error> {
        let target = self.target(device);
        self.netns.inside(|| kernel.attach(&target, point))
    }

    fn pin(&self, path: &str) -> PathBuf {
        self.bpffs().join(format!("v{ABI_VERSION}")).join(path)
    }

    /// The id of the XDP program on a device, as `ip` sees it.
    fn xdp_of(&self, device: &str) -> Option<u64> {
        let text = self.netns.run(&format!("ip -j -d link show dev {device}"));
        let links: serde_json::Value = serde_json::from_str(&text).expect("ip prints JSON");
        links[0]["xdp"]["prog"]["id"].as_u64()
    }
}
