//! Open vSwitch with the kernel's datapath, its servers run and its bridge set up by hand as its manual of installation
//! does, and told by OpenFlow what to do.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use fwd_tests::netns::{Netns, output};

use super::conntrack::Conntrack;
use super::{Standing, feed};
use crate::process::Process;
use crate::traffic::rig::{
    ETH, GATEWAY, GATEWAY_MAC, HOST, HOST_MAC, IN, INSIDE, INSIDE_MAC, OUT, OUTSIDE_MAC, Rig,
};
use crate::traffic::trip::{PUBLISHED, SERVED, Trip};

/// Where Debian has the schema of the switch's database.
pub const SCHEMA: &str = "/usr/share/openvswitch/vswitch.ovsschema";
const BRIDGE: &str = "br0";

/// The servers and their folder.
struct Switch {
    _servers: [Process; 2],
    folder: PathBuf,
}

impl Drop for Switch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            eprintln!("{}: {error}", self.folder.display());
        }
    }
}

/// Destination NAT by conntrack's actions, and what a router does to the frame.
pub fn ovs_forward(rig: &Rig, flows: u32) -> Result<Standing> {
    let conntrack = Conntrack::hold(&rig.host, flows)?;
    // Nobody answers for the addresses that are the switch's.
    rig.outside.try_run(&format!("ip neigh replace {} lladdr {HOST_MAC} dev {ETH} nud permanent", HOST.0))?;
    rig.inside
        .try_run(&format!("ip neigh replace {} lladdr {GATEWAY_MAC} dev {ETH} nud permanent", GATEWAY.0))?;
    let (host, inside) = (HOST.0, INSIDE.0);
    let to_inside = format!("mod_dl_src:{GATEWAY_MAC},mod_dl_dst:{INSIDE_MAC},dec_ttl,output:2");
    let to_outside = format!("mod_dl_src:{HOST_MAC},mod_dl_dst:{OUTSIDE_MAC},dec_ttl,output:1");
    let rules = format!(
        "table=0,in_port=1,udp,nw_dst={host},tp_dst={PUBLISHED},actions=ct(table=1,zone=1,nat)
table=0,in_port=1,tcp,nw_dst={host},tp_dst={PUBLISHED},actions=ct(table=1,zone=1,nat)
table=0,in_port=2,ip,actions=ct(table=2,zone=1,nat)
table=1,ct_state=+trk+new,ip,actions=ct(commit,zone=1,nat(dst={inside}:{SERVED})),{to_inside}
table=1,ct_state=+trk+est,ip,actions={to_inside}
table=2,ct_state=+trk+est,ip,actions={to_outside}
"
    );
    let switch = Switch::stand(&rig.host, &rules)?;
    Ok(Standing { long_way: Some(upcalls), ..Standing::new(Trip::Forward, (switch, conntrack)) })
}

/// A switch that knows both machines.
pub fn ovs_segment(rig: &Rig, _: u32) -> Result<Standing> {
    let rules = format!(
        "arp,actions=flood
dl_dst={INSIDE_MAC},actions=output:2
dl_dst={OUTSIDE_MAC},actions=output:1
"
    );
    let switch = Switch::stand(&rig.host, &rules)?;
    rig.join();
    Ok(Standing { long_way: Some(upcalls), ..Standing::new(Trip::Bridge, switch) })
}

impl Switch {
    fn stand(host: &Netns, rules: &str) -> Result<Self> {
        let folder = env::temp_dir().join(format!("{}.ovs", host.name()));
        fs::create_dir_all(&folder)?;
        let (database, socket) = (folder.join("conf.db"), folder.join("db.sock"));
        output(Command::new("ovsdb-tool").arg("create").arg(&database).arg(SCHEMA))?;
        let text = |path: &Path| path.to_str().map(str::to_owned).context("the folder's name is text");
        let (at, server) = (text(&folder)?, format!("unix:{}", text(&socket)?));
        let paths = [("OVS_RUNDIR", at.as_str()), ("OVS_LOGDIR", &at)];
        let listen = format!("--remote=p{server}");
        let servers = [
            Process::with_socket(host, ("ovsdb-server", &[&text(&database)?, &listen]), &paths, &socket)?,
            Process::with_socket(
                host,
                ("ovs-vswitchd", &[&server, &format!("--unixctl={at}/switch.ctl")]),
                &paths,
                &folder.join("switch.ctl"),
            )?,
        ];
        let switch = Self { _servers: servers, folder };
        host.try_run(&format!(
            "ovs-vsctl --timeout=60 --db={server} add-br {BRIDGE} -- set-fail-mode {BRIDGE} secure \
             -- add-port {BRIDGE} {IN} -- set interface {IN} ofport_request=1 \
             -- add-port {BRIDGE} {OUT} -- set interface {OUT} ofport_request=2"
        ))?;
        feed(host, "ovs-ofctl", &["add-flows", &format!("unix:{at}/{BRIDGE}.mgmt"), "-"], rules)?;
        Ok(switch)
    }
}

/// Packets that the kernel's datapath had no flow for: user space was asked.
fn upcalls(rig: &Rig) -> Result<u64> {
    let said = rig.host.try_run("ovs-dpctl show")?;
    let missed = said.split_whitespace().find_map(|word| word.strip_prefix("missed:"));
    missed.and_then(|count| count.parse().ok()).with_context(|| format!("no count of misses in {said}"))
}
