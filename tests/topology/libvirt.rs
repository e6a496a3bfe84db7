//! Ports that follow an interface of a libvirt domain: by the files in which libvirt keeps what runs, and the interfaces
//! that come and go with it. The domain itself is in `vm/libvirt`.

use std::fs;
use std::path::{Path, PathBuf};

use fwd_tests::lab::{HOST_V4, Hook, Lab, OUTSIDE_V4, RED, eventually};
use fwd_tests::netns::Netns;
use fwd_tests::on_both_hooks;
use fwd_tests::traffic::{http_get, http_whoami, ping};
use serde_json::Value;

on_both_hooks!(a_port_follows_the_interface_of_its_domain, a_domain_starts_whether_fwd_is_up_or_not);

const MAC: &str = "52:54:00:00:01:0b";
const ADDR: &str = "10.10.0.11";

/// Where a libvirt of the test's own keeps its running domains.
struct RunDir(PathBuf);

impl RunDir {
    /// As libvirt does: whole, by a rename.
    fn run(&self, domain: &str, interfaces: &str) {
        fs::create_dir_all(&self.0).expect("our own directory");
        let text = format!(
            "<domstatus state='running' reason='booted' pid='1'><domain type='qemu' id='1'><name>{domain}</name>\
             <devices>{interfaces}</devices></domain></domstatus>"
        );
        let new = self.0.join(format!("{domain}.xml.new"));
        fs::write(&new, text).expect("our own directory");
        fs::rename(new, self.0.join(format!("{domain}.xml"))).expect("our own directory");
    }

    fn stop(&self, domain: &str) {
        fs::remove_file(self.0.join(format!("{domain}.xml"))).expect("it ran");
    }
}

fn interface(device: &str, mac: &str) -> String {
    format!(
        "<interface type='ethernet'><mac address='{mac}'/><target dev='{device}' managed='no'/></interface>"
    )
}

/// A guest's end of a device that comes with its domain.
fn guest(lab: &Lab, device: &str, hook: Hook) -> Netns {
    let netns = Netns::new("web");
    lab.host.veth_with_mac(device, &netns, "eth0", MAC.into());
    netns.address("eth0", &format!("{ADDR}/24"));
    netns.default_route("10.10.0.1");
    if hook == Hook::Xdp {
        netns.receive_from_xdp("eth0");
        netns.send_to_xdp("eth0");
    }
    netns
}

fn lab(hook: Hook) -> (Lab, RunDir) {
    let mut lab = Lab::empty(hook);
    let run_dir = RunDir(lab.fwd.folder().join("libvirt/qemu"));
    drop(lab.down().expect("it goes down"));
    lab.start_with(&["--libvirt", path(&run_dir.0)]);
    lab.network(&RED, "");
    lab.ok(&format!("port add web --libvirt web/1 --network red --ip {ADDR} --hook {}", hook.name()));
    lab.ok(&format!("forward add web --listen tcp:{HOST_V4}:8080 --to web:80"));
    (lab, run_dir)
}

fn path(path: &Path) -> &str {
    path.to_str().expect("it is text")
}

fn is_ready(lab: &Lab, device: &str) -> bool {
    let port = lab.json("port show web");
    // XDP between veth ends is called degraded.
    port["state"] != "pending" && port["device"] == device && port["mac"] == MAC
}

fn is_reached(lab: &Lab, netns: &Netns) {
    let _server = http_whoami(netns, &format!("{ADDR}:80"));
    let page = http_get(&lab.outside, &format!("{HOST_V4}:8080")).expect("the forward leads to the domain");
    assert!(page.starts_with(OUTSIDE_V4), "{page}");
}

fn a_port_follows_the_interface_of_its_domain(hook: Hook) {
    let (lab, libvirt) = lab(hook);
    let port = lab.json("port show web");
    assert_eq!(
        (&port["state"], &port["device"], &port["libvirt"]),
        (&"pending".into(), &Value::Null, &"web/1".into())
    );
    assert!(port["state_reason"].to_string().contains("virsh start web"), "{port:#}");
    // It starts. Its first interface is none of this host's.
    let user = "<interface type='user'><mac address='52:54:00:00:01:0a'/></interface>";
    let netns = guest(&lab, "vnet7", hook);
    libvirt.run("web", &format!("{user}{}", interface("vnet7", MAC)));
    assert!(eventually(|| is_ready(&lab, "vnet7")), "{:#}", lab.json("port show web"));
    is_reached(&lab, &netns);
    let info = lab.ok("metrics");
    let line = info.lines().find(|line| line.starts_with("fwd_port_info{port=\"web\"")).expect("it is told");
    assert!(line.contains("device=\"vnet7\"") && line.contains("domain=\"web\""), "{line}");
    // The interface is taken out while it runs; then it stops, and starts with another one.
    libvirt.run("web", user);
    assert!(eventually(|| lab.json("port show web")["state"] == "pending"));
    assert!(ping(&netns, "10.10.0.1").is_err(), "it is no port of this network any more");
    libvirt.stop("web");
    drop(netns);
    let netns = guest(&lab, "vnet9", hook);
    libvirt.run("web", &format!("{user}{}", interface("vnet9", MAC)));
    assert!(eventually(|| is_ready(&lab, "vnet9")), "{:#}", lab.json("port show web"));
    is_reached(&lab, &netns);
    // A device in its place, and back.
    lab.ok("port set web --device vnet9");
    assert_eq!(lab.json("port show web")["libvirt"], Value::Null);
    lab.ok("port set web --libvirt web/1");
    assert!(eventually(|| is_ready(&lab, "vnet9")), "{:#}", lab.json("port show web"));
}

fn a_domain_starts_whether_fwd_is_up_or_not(hook: Hook) {
    let (mut lab, libvirt) = lab(hook);
    lab.fwd.kill();
    let netns = guest(&lab, "vnet7", hook);
    let both = format!("{}{}", interface("tap-of-another", "52:54:00:00:01:0a"), interface("vnet7", MAC));
    libvirt.run("web", &both);
    lab.start_with(&["--libvirt", path(&libvirt.0)]);
    assert!(eventually(|| is_ready(&lab, "vnet7")), "{:#}", lab.json("port show web"));
    is_reached(&lab, &netns);
}
