//! Interfaces of libvirt's running domains: the tap of each, and its guest's MAC.
//!
//! libvirt keeps the live XML of each running domain in its run directory, and replaces it when the domain starts, gets
//! or loses a device; it removes it when the domain stops or has migrated away. This is followed, so nothing of fwd
//! is on the way of a domain's start (docs/decisions/0010).

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use roxmltree::Node;
use tokio::sync::mpsc;

use super::inventory::Tap;
use crate::api::text::parse_mac;

/// Where libvirt's driver for QEMU keeps the state of running domains.
pub const RUN_DIR: &str = "/run/libvirt/qemu";

type Taps = BTreeMap<(String, usize), Tap>;

/// The interfaces of all running domains, as they are.
#[derive(Debug)]
pub(super) struct Domains {
    taps: Arc<Mutex<Taps>>,
}

impl Domains {
    /// Those of a run directory, which need not be there yet; `news` is told of changes.
    pub fn open(run_dir: &Path, news: mpsc::UnboundedSender<()>) -> Self {
        let taps = Arc::new(Mutex::new(read(run_dir)));
        let (known, run_dir) = (Arc::clone(&taps), run_dir.to_owned());
        thread::spawn(move || {
            if let Err(error) = follow(&run_dir, &known, &news) {
                tracing::error!("libvirt's domains are no longer followed in {}: {error}", run_dir.display());
            }
        });
        Self { taps }
    }

    pub fn look(&self) -> Taps {
        self.taps.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Until nobody wants news any more.
fn follow(run_dir: &Path, known: &Mutex<Taps>, news: &mpsc::UnboundedSender<()>) -> nix::Result<()> {
    loop {
        // Before the directory is read, so that nothing is missed in between.
        let inotify = watch(run_dir)?;
        let taps = read(run_dir);
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        if *known != taps {
            *known = taps;
            if news.send(()).is_err() {
                return Ok(());
            }
        }
        drop(known);
        inotify.read_events()?;
    }
}

/// Watches a directory; while it is not there, the nearest one above it that is.
fn watch(run_dir: &Path) -> nix::Result<Inotify> {
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC)?;
    let changes = AddWatchFlags::IN_CREATE
        | AddWatchFlags::IN_MOVED_TO
        | AddWatchFlags::IN_MOVED_FROM
        | AddWatchFlags::IN_CLOSE_WRITE
        | AddWatchFlags::IN_DELETE
        | AddWatchFlags::IN_DELETE_SELF
        | AddWatchFlags::IN_MOVE_SELF;
    let mut result = Err(nix::errno::Errno::ENOENT);
    for place in run_dir.ancestors() {
        result = inotify.add_watch(place, changes | AddWatchFlags::IN_ONLYDIR);
        if result.is_ok() {
            break;
        }
    }
    result.map(|_| inotify)
}

/// What is not readable is no running domain's.
fn read(run_dir: &Path) -> Taps {
    let Ok(entries) = fs::read_dir(run_dir) else { return Taps::new() };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let files = paths.filter(|path: &PathBuf| path.extension().is_some_and(|extension| extension == "xml"));
    files.filter_map(|path| fs::read_to_string(path).ok()).filter_map(|text| taps(&text)).flatten().collect()
}

fn child<'a, 'input>(of: Node<'a, 'input>, name: &str) -> Option<Node<'a, 'input>> {
    of.children().find(|node| node.has_tag_name(name))
}

/// The interfaces of a domain, in the order of its XML.
fn taps(text: &str) -> Option<Vec<((String, usize), Tap)>> {
    let xml = roxmltree::Document::parse(text).ok()?;
    let status = xml.root_element();
    let domain = if status.has_tag_name("domain") { status } else { child(status, "domain")? };
    let name = child(domain, "name")?.text()?;
    let interfaces = child(domain, "devices")?.children().filter(|node| node.has_tag_name("interface"));
    let tap = |(index, interface): (usize, Node<'_, '_>)| {
        let attribute = |tag, name| child(interface, tag)?.attribute(name);
        let tap = Tap {
            device: attribute("target", "dev").map(str::to_owned),
            mac: attribute("mac", "address").and_then(|text| parse_mac(text).ok()),
        };
        ((name.to_owned(), index), tap)
    };
    Some(interfaces.enumerate().map(tap).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use fwd_common::addr::Mac;

    const WEB1: &str = "<domstatus state='running' reason='booted' pid='77'>
      <domain type='qemu' id='3'>
        <name>web1</name>
        <devices>
          <disk type='file'><target dev='vda' bus='virtio'/></disk>
          <interface type='user'><mac address='52:54:00:00:00:01'/></interface>
          <interface type='ethernet'>
            <mac address='52:54:00:00:00:02'/><target dev='vnet0' managed='no'/><model type='virtio'/>
          </interface>
        </devices>
      </domain>
    </domstatus>";

    fn nic(index: usize) -> (String, usize) {
        ("web1".to_owned(), index)
    }

    #[test]
    fn interfaces_are_counted_in_the_order_of_the_xml() {
        let taps: Taps = taps(WEB1).expect("a running domain").into_iter().collect();
        let mac = |last| Some(Mac([0x52, 0x54, 0, 0, 0, last]));
        let wanted = Taps::from([
            (nic(0), Tap { device: None, mac: mac(1) }),
            (nic(1), Tap { device: Some("vnet0".to_owned()), mac: mac(2) }),
        ]);
        assert_eq!(taps, wanted);
        assert_eq!(super::taps("<domstatus><domain><name>a</name>"), None, "it is being written");
    }

    #[tokio::test]
    async fn domains_are_followed_from_before_there_is_a_directory() {
        let folder = tempfile::tempdir().expect("a directory");
        let run_dir = folder.path().join("libvirt/qemu");
        let (news, mut told) = mpsc::unbounded_channel();
        let domains = Domains::open(&run_dir, news);
        assert_eq!(domains.look(), Taps::new());
        fs::create_dir_all(&run_dir).expect("our own directory");
        fs::write(run_dir.join("web1.xml.new"), WEB1).expect("our own directory");
        fs::rename(run_dir.join("web1.xml.new"), run_dir.join("web1.xml")).expect("our own directory");
        told.recv().await.expect("it is told");
        assert!(domains.look().contains_key(&nic(1)));
        fs::remove_file(run_dir.join("web1.xml")).expect("it is there");
        told.recv().await.expect("it is told");
        assert_eq!(domains.look(), Taps::new());
    }
}
