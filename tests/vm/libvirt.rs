//! A network of a real libvirt, imported with the domain that runs there; and a domain started, hot-plugged, stopped, and started while fwd is down; its ports follow. That an
//! interface is taken out while the domain runs, which this guest's kernel does not do, is in `topology/libvirt`.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use fwd_tests::guest;
use fwd_tests::lab::{Hook, Lab, Network, RED, eventually};
use fwd_tests::netns::output;
use fwd_tests::traffic::ping;
use fwd_tests::{need, skip};

/// Everything that libvirt keeps is in memory, and seen by nobody else; /dev/kvm is hidden, for probing it hangs on some
/// machines. It asks for a user of its own, which it does not use here, and which comes with its services only.
const PRIVATE: &str = "set -e
for at in /etc/libvirt /run/libvirt /var/lib/libvirt /var/log/libvirt; do mkdir -p $at; mount -t tmpfs none $at; done
if [ -e /dev/kvm ]; then mount --bind /dev/null /dev/kvm; fi
for file in passwd group; do
  grep -q ^libvirt-qemu: /etc/$file || { cp /etc/$file /etc/libvirt/; echo libvirt-qemu:x:64055:64055::/:/bin/false >> /etc/libvirt/$file
    mount --bind /etc/libvirt/$file /etc/$file; }
done
printf 'user=\"root\"\ngroup=\"root\"\nsecurity_driver=\"none\"\nstdio_handler=\"file\"\nnamespaces=[]\ncgroup_controllers=[]\n' \
  > /etc/libvirt/qemu.conf
printf 'auth_unix_rw=\"none\"\nauth_unix_ro=\"none\"\n' > /etc/libvirt/libvirtd.conf
mkdir -p /var/lib/libvirt/dnsmasq
exec libvirtd --pid-file /run/libvirt/test.pid";

/// A libvirt in the host's network namespace.
struct Libvirt {
    daemon: Child,
    folder: PathBuf,
}

impl Libvirt {
    fn start(lab: &Lab) -> Self {
        let folder = lab.fwd.folder().to_owned();
        let log = fs::File::create(folder.join("libvirtd.txt")).expect("our own directory");
        let mut command = lab.host.command("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", PRIVATE]).process_group(0);
        let daemon =
            command.stdout(log.try_clone().expect("a file")).stderr(log).spawn().expect("it can be started");
        let libvirt = Self { daemon, folder };
        assert!(eventually(|| libvirt.try_virsh(&["list"]).is_ok()), "{:?}", libvirt.try_virsh(&["list"]));
        libvirt
    }

    /// Where it keeps what runs, as seen from outside of its mounts.
    fn run_dir(&self) -> PathBuf {
        Path::new("/proc").join(self.daemon.id().to_string()).join("root/run/libvirt/qemu")
    }

    fn try_virsh(&self, args: &[&str]) -> anyhow::Result<String> {
        let socket = format!("/proc/{}/root/run/libvirt/libvirt-sock", self.daemon.id());
        let connection = format!("qemu+unix:///system?socket={socket}");
        output(Command::new("virsh").args(["--connect", &connection]).args(args))
    }

    #[track_caller]
    fn virsh(&self, args: &[&str]) -> String {
        self.try_virsh(args).unwrap_or_else(|error| {
            panic!("{error:#}\n{}", fs::read_to_string(self.folder.join("libvirtd.txt")).unwrap_or_default())
        })
    }

    /// Starts a domain with one interface, whose guest has this number in the network.
    #[track_caller]
    fn start_domain(&self, interface: &str, number: u8) {
        let (kernel, initramfs) = guest::image().expect("a guest's kernel");
        let append = format!(
            "console=ttyS0 quiet mitigations=off panic=-1 fwd.addresses={}/24 fwd.gateways={}",
            RED.v4(number),
            RED.v4(1)
        );
        let xml = format!(
            "<domain type='qemu'><name>web</name><memory unit='MiB'>256</memory><vcpu>1</vcpu>
             <os><type arch='x86_64' machine='q35'>hvm</type><kernel>{}</kernel><initrd>{}</initrd>
             <cmdline>{append}</cmdline></os><cpu mode='maximum'/>
             <devices><emulator>/usr/bin/qemu-system-x86_64</emulator>{interface}<memballoon model='none'/>
             <channel type='unix'><target type='virtio' name='control'/></channel></devices></domain>",
            kernel.display(),
            initramfs.display(),
        );
        let file = self.folder.join("web.xml");
        fs::write(&file, xml).expect("our own directory");
        self.virsh(&["create", file.to_str().expect("it is text")]);
    }
}

impl Drop for Libvirt {
    fn drop(&mut self) {
        _ = self.try_virsh(&["destroy", "web"]);
        _ = self.daemon.kill();
        _ = self.daemon.wait();
    }
}

/// A tap that libvirt makes, on no bridge.
fn interface(device: &str, number: u8) -> String {
    let mac = mac(number);
    format!(
        "<interface type='ethernet'><mac address='{mac}'/><target dev='{device}'/><model type='virtio'/></interface>"
    )
}

fn mac(number: u8) -> String {
    format!("52:54:00:00:01:{number:02x}")
}

/// Whether a port has an interface, by the MAC that its domain gives it.
fn has(lab: &Lab, port: &str, device: &str, number: u8) -> bool {
    let port = lab.json(&format!("port show {port}"));
    port["state"] == "ready" && port["device"] == device && port["mac"] == mac(number)
}

fn is_pending(lab: &Lab, port: &str) -> bool {
    lab.json(&format!("port show {port}"))["state"] == "pending"
}

fn answers(lab: &Lab, network: &Network, number: u8) -> bool {
    eventually(|| ping(&lab.host, &network.v4(number)).is_ok())
}

#[test]
fn a_domains_port_follows_it() {
    need!(skip::bpf());
    need!(skip::qemu());
    need!(skip::libvirt());
    let mut lab = Lab::empty(Hook::Tcx);
    drop(lab.down().expect("it goes down"));
    let libvirt = Libvirt::start(&lab);
    let run_dir = libvirt.run_dir().display().to_string();
    lab.start_with(&["--libvirt", &run_dir]);
    lab.network(&RED, "");
    for (port, nic, number) in [("web", "web", 31), ("second", "web/1", 32)] {
        lab.ok(&format!("port add {port} --libvirt {nic} --network red --ip {}", RED.v4(number)));
        assert!(is_pending(&lab, port));
    }
    libvirt.start_domain(&interface("webtap0", 31), 31);
    assert!(eventually(|| has(&lab, "web", "webtap0", 31)), "{:#}", lab.json("port show web"));
    assert!(answers(&lab, &RED, 31), "the guest is reached");
    let second = libvirt.folder.join("second.xml");
    fs::write(&second, interface("webtap5", 32)).expect("our own directory");
    let second = second.to_str().expect("it is text");
    libvirt.virsh(&["attach-device", "web", second, "--live"]);
    assert!(eventually(|| has(&lab, "second", "webtap5", 32)), "{:#}", lab.json("port show second"));
    assert!(has(&lab, "web", "webtap0", 31), "the other one stays");
    libvirt.virsh(&["destroy", "web"]);
    assert!(eventually(|| is_pending(&lab, "web") && is_pending(&lab, "second")));
    // Without fwd the domain starts all the same; fwd finds it.
    lab.fwd.kill();
    libvirt.start_domain(&interface("webtap1", 31), 31);
    lab.start_with(&["--libvirt", &run_dir]);
    assert!(eventually(|| has(&lab, "web", "webtap1", 31)), "{:#}", lab.json("port show web"));
    assert!(answers(&lab, &RED, 31), "the guest is reached");
}

#[test]
fn a_network_is_imported_with_the_domain_that_runs_there() {
    need!(skip::bpf());
    need!(skip::qemu());
    need!(skip::libvirt());
    let mut lab = Lab::empty(Hook::Tcx);
    drop(lab.down().expect("it goes down"));
    let libvirt = Libvirt::start(&lab);
    let network = libvirt.folder.join("lab.xml");
    // Of this mode libvirt makes no firewall rules, for which this kernel may have no module.
    let xml = format!(
        "<network><name>lab</name><forward mode='open'/><bridge name='virbr7'/><dns enable='no'/>
         <ip address='{}' prefix='24'/></network>",
        RED.v4(1)
    );
    fs::write(&network, xml).expect("our own directory");
    libvirt.virsh(&["net-create", network.to_str().expect("it is text")]);
    let mac = mac(31);
    libvirt.start_domain(
        &format!("<interface type='network'><mac address='{mac}'/><source network='lab'/><model type='virtio'/></interface>"),
        31,
    );
    assert!(answers(&lab, &RED, 31), "the guest is reached by libvirt's bridge");
    let run_dir = libvirt.run_dir();
    let parent = run_dir.parent().expect("it has one").display().to_string();
    lab.start_with(&["--libvirt", run_dir.to_str().expect("it is text")]);
    let document = lab.ok(&format!("import libvirt lab --run-dir {parent} -q"));
    let file = libvirt.folder.join("lab.yaml");
    fs::write(&file, document).expect("our own directory");
    libvirt.virsh(&["net-destroy", "lab"]);
    lab.ok(&format!("config apply -f {}", file.display()));
    assert!(eventually(|| lab.json("port show web")["state"] == "ready"), "{:#}", lab.json("port show web"));
    assert!(answers(&lab, &RED, 31), "the guest is reached by fwd");
    let shown = lab.json("network show lab");
    assert_eq!((&shown["mode"], &shown["gateways"][0]), (&"routed".into(), &RED.v4(1).into()));
    assert!(
        lab.counters("web")["skb"]["forwarded"]["packets"].as_u64() > Some(0),
        "{:#}",
        lab.counters("web")
    );
    lab.ok("status --check");
}
