//! What fwd refuses on a real host: each time one sentence that says what to do, an exit code, and nothing
//! that is other than before.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt as _, chown};

use fwd_common::layout::ABI_VERSION;
use fwd_tests::lab::{HOST_V4, Hook, Lab, RED, Reply, Snapshot, binary};
use fwd_tests::link::VnetHeader;
use fwd_tests::traffic::ping;
use fwd_tests::{need, skip};

const NOTHING: Vec<String> = vec![];
/// The user and group `nobody`.
const NOBODY: u32 = 65534;

fn lab() -> Lab {
    let mut lab = Lab::empty(Hook::Tcx);
    lab.network(&RED, "");
    lab.vm("red1", &RED, 11);
    lab
}

/// What people read of an error, with the lab's folder as `DIR`.
#[track_caller]
fn said(lab: &Lab, reply: Reply, code: i32) -> String {
    reply.fails(code).replace(&lab.fwd.folder().display().to_string(), "DIR").trim_end().to_owned()
}

/// Holds that an edit is refused with these words, and that neither the document nor the host is other than
/// before.
#[track_caller]
fn refuses(lab: &Lab, line: &str, code: i32, words: &str) {
    let before = (lab.ok("config show"), lab.ok("status -o json"), Snapshot::take(&lab.host));
    assert_eq!(said(lab, lab.fwd(line), code), words);
    assert_eq!(lab.ok("config show"), before.0);
    assert_eq!(lab.json("status")["revision"], revision(&before.1));
    assert_eq!(before.2.differences(&Snapshot::take(&lab.host)), NOTHING);
}

fn revision(status: &str) -> serde_json::Value {
    let mut status: serde_json::Value = serde_json::from_str(status).expect("json");
    status["revision"].take()
}

/// Holds that no daemon comes up, for this reason.
#[track_caller]
fn stays_down(lab: &Lab, options: &str, code: i32, words: &str) {
    let before = Snapshot::take(&lab.host);
    assert_eq!(said(lab, lab.fwd(&format!("up --foreground --metrics off {options}")), code), words);
    assert_eq!(before.differences(&Snapshot::take(&lab.host)), NOTHING);
}

#[test]
fn a_foreign_xdp_program_is_named_and_not_replaced() {
    need!(skip::bpf());
    let lab = lab();
    lab.host.tap("tap0", VnetHeader::Off);
    let program = lab.fwd.bpffs().join(format!("v{ABI_VERSION}/programs/fwd_xdp"));
    lab.host.run(&format!("bpftool net attach xdpdrv pinned {} dev tap0", program.display()));
    let links = lab.host.run("ip -j -d link show dev tap0");
    let links: serde_json::Value = serde_json::from_str(&links).expect("ip prints JSON");
    let id = &links[0]["xdp"]["prog"]["id"];
    refuses(
        &lab,
        "port add vm --device tap0 --network red --ip 10.10.0.33 --hook xdp",
        5,
        &format!(
            "error: Device tap0: XDP program {id} (fwd_xdp) is attached already.\n  Remove it (ip link set dev tap0 \
             xdp off), or use --hook tcx.\n  (FWD-E504; fwd explain FWD-E504)"
        ),
    );
}

#[test]
fn what_the_host_has_itself_is_no_port_no_uplink_and_no_subnet() {
    need!(skip::bpf());
    let lab = lab();
    for (line, object) in
        [("uplink add lo", "Uplink lo"), ("port add vm --device lo --network red", "Port vm")]
    {
        let words = format!(
            "error: {object}: the interface lo is this host's loopback.\n  Name another one: ip -br link.\n  \
             (FWD-E512; fwd explain FWD-E512)"
        );
        refuses(&lab, line, 5, &words);
    }
    for (device, line, object) in [
        ("fwd-red", "port add vm --network red --device", "Port vm"),
        ("fwp-red", "port add vm --network red --device", "Port vm"),
        ("fwd-red", "uplink add", "Uplink fwd-red"),
    ] {
        let words = format!(
            "error: {object}: the interface {device} is one by which fwd connects this host to a network.\n  \
             Name another one: ip -br link.\n  (FWD-E512; fwd explain FWD-E512)"
        );
        refuses(&lab, &format!("{line} {device}"), 5, &words);
    }
    for (subnet, of) in
        [("203.0.113.128/25", "203.0.113.0/24 of eth0"), ("198.51.0.0/16", "198.51.100.0/24 of eth1")]
    {
        let words = format!(
            "error: Network more: its subnet {subnet} overlaps {of}.\n  Choose another subnet, or make the network \
             --private.\n  (FWD-E609; fwd explain FWD-E609)"
        );
        refuses(&lab, &format!("network add more --mode nat --uplink eth0 --subnet {subnet}"), 6, &words);
        lab.ok(&format!("network add more --mode nat --uplink eth0 --private --subnet {subnet}"));
        lab.ok("network delete more");
    }
}

#[test]
fn a_driver_that_refuses_xdp_is_quoted() {
    need!(skip::bpf());
    let lab = lab();
    // Frames that its other end sends by four queues do not fit into one.
    lab.host
        .run("ip link add one0 numtxqueues 1 numrxqueues 1 type veth peer one1 numtxqueues 4 numrxqueues 4");
    lab.host.run("ip link set one0 up");
    lab.host.run("ip link set one1 up");
    refuses(
        &lab,
        "port add vm --device one0 --network red --ip 10.10.0.33 --hook xdp",
        10,
        "error: Device one0: its driver refused XDP: it has not enough queues or rings.\n  Use --hook auto or --hook tcx.\n  \
         (FWD-E003; fwd explain FWD-E003)",
    );
    lab.ok("port add vm --device one0 --network red --ip 10.10.0.33");
    assert_eq!(lab.json("port show vm")["hook"], "tcx");
}

#[test]
fn a_tunnel_is_an_uplink_only_where_no_ethernet_header_is_needed() {
    need!(skip::bpf());
    let lab = lab();
    lab.host.run("ip tuntap add tun0 mode tun");
    lab.host.run("ip address add 192.0.2.1/30 dev tun0");
    lab.host.run("ip link set tun0 up");
    let without = "interface tun0 (tun) carries packets without Ethernet headers";
    let code = "(FWD-E004; fwd explain FWD-E004)";
    let port = "port add vm --device tun0 --network red --ip 10.10.0.33";
    let why =
        "and a VM's port needs them.\n  Give the VM a tap; a tunnel can be an uplink: fwd uplink add DEVICE.";
    refuses(&lab, port, 10, &format!("error: Port vm: the {without}, {why}\n  {code}"));
    let bridge = "network add lan --mode bridge --uplink tun0";
    let why = "so there is nothing to bridge.\n  Use a nat or routed network there, or a tunnel that carries Ethernet, as \
               gretap or vxlan do.";
    refuses(&lab, bridge, 10, &format!("error: Network lan: the {without}, {why}\n  {code}"));
    let why = "packets of tun0 (tun) have no Ethernet header, so XDP cannot read them.\n  TCX serves it: use --hook auto or \
               --hook tcx.\n  (FWD-E003; fwd explain FWD-E003)";
    refuses(&lab, "uplink add tun0 --hook xdp", 10, &format!("error: Uplink tun0: {why}"));
    lab.ok("uplink add tun0");
    refuses(&lab, "uplink set tun0 --hook xdp", 10, &format!("error: Uplink tun0: {why}"));
    // What is no tunnel to the kernel either.
    lab.host.run("ip tuntap add ppp0 mode tun");
    lab.host.inside(|| fwd_tests::wire::set_link_type("ppp0", fwd_tests::wire::ARPHRD_PPP));
    let why = "and fwd does not know how the kernel takes them.\n  Route into it from a namespace or a VM, whose veth or tap \
               is the uplink; a tunnel needs an other end of its own (ip tunnel … remote ADDR).";
    let words = format!(
        "error: Uplink ppp0: the interface ppp0 (tun) carries packets without Ethernet headers, {why}\n  {code}"
    );
    refuses(&lab, "uplink add ppp0", 10, &words);
}

#[test]
fn an_l4_port_on_which_the_host_listens_is_not_taken_from_it() {
    need!(skip::bpf());
    let lab = lab();
    let _server = lab.host.inside(|| TcpListener::bind((HOST_V4, 2222))).expect("the address is there");
    let name = fs::read_to_string("/proc/self/comm").expect("it is there");
    let pid = std::process::id();
    refuses(
        &lab,
        &format!("forward add tcp {HOST_V4}:2222 red1:22"),
        5,
        &format!(
            "error: Forward red1-tcp-2222: {} (process {pid}) listens on {HOST_V4}:2222 itself.\n  Choose another \
             L4 port, or take it away from the host with --force.\n  (FWD-E506; fwd explain FWD-E506)",
            name.trim()
        ),
    );
}

#[test]
fn clashes_are_refused() {
    need!(skip::bpf());
    let lab = lab();
    lab.ok(&format!("forward add web --listen tcp:{HOST_V4}:8080 --to red1:80"));
    refuses(
        &lab,
        &format!("forward add again --listen tcp:{HOST_V4}:8080 --to red1:81"),
        6,
        &format!(
            "error: Forward again: tcp:{HOST_V4}:8080 is already taken by forward web (tcp:{HOST_V4}:8080).\n  \
             Choose another address or L4 port, or delete that forward first.\n  \
             (FWD-E612; fwd explain FWD-E612)"
        ),
    );
    lab.host.tap("tap0", VnetHeader::Off);
    refuses(
        &lab,
        "port add vm --device tap0 --network red --ip 10.10.0.11",
        6,
        "error: Port vm: the address 10.10.0.11 is already used by port red1.\n  Give it another address, or \
         remove it there first.\n  (FWD-E606; fwd explain FWD-E606)",
    );
    refuses(
        &lab,
        "network add twice --mode nat --subnet 10.9.0.0/16 --subnet 10.9.1.0/24 --uplink eth0",
        6,
        "error: Network twice: its subnets 10.9.0.0/16 and 10.9.1.0/24 overlap.\n  Leave one of them out.\n  \
         (FWD-E609; fwd explain FWD-E609)",
    );
}

#[test]
fn more_than_the_datapath_holds_is_refused() {
    need!(skip::bpf());
    let lab = lab();
    let networks: String = (0..1100).map(|n| format!("- {{name: n{n}, mode: isolated}}\n")).collect();
    let file = lab.fwd.folder().join("many.yaml");
    fs::write(&file, format!("api: fwd/v1\nnetworks:\n{networks}")).expect("our own folder");
    refuses(
        &lab,
        &format!("config apply -f {}", file.display()),
        7,
        "error: DIR/many.yaml:1026:3: Network n1023: there are 1100 networks, and room for 1023.\n  Delete networks \
         that are not used.\n  (FWD-E701; fwd explain FWD-E701)",
    );
}

#[test]
fn a_second_daemon_is_refused() {
    need!(skip::bpf());
    let lab = lab();
    let pid = lab.fwd.pid().expect("it runs");
    stays_down(
        &lab,
        "",
        5,
        &format!(
            "error: State directory DIR/state is held by process {pid}.\n  Use its socket, or give this instance \
             directories of its own.\n  (FWD-E503; fwd explain FWD-E503)"
        ),
    );
    let other = lab.fwd.folder().join("other");
    stays_down(
        &lab,
        &format!("--state-dir {}", other.display()),
        5,
        "error: Directory DIR/bpf/fwd: another fwd uses it.\n  Give this instance a --bpffs of its own.\n  \
         (FWD-E503; fwd explain FWD-E503)",
    );
    lab.ok("status");
}

#[test]
fn stale_pins_of_another_abi_are_refused_and_go_on_working() {
    need!(skip::bpf());
    let mut lab = lab();
    lab.fwd.terminate();
    let (ours, other) = (lab.fwd.bpffs().join(format!("v{ABI_VERSION}")), lab.fwd.bpffs().join("v999"));
    fs::rename(&ours, &other).expect("bpffs renames");
    stays_down(
        &lab,
        "",
        5,
        "error: Directory DIR/bpf/fwd/v999: stale pins of another ABI.\n  Run fwd down first.\n  \
         (FWD-E507; fwd explain FWD-E507)",
    );
    ping(&lab.get("red1").netns, fwd_tests::lab::OUTSIDE_V4).expect("the old datapath forwards as before");
    lab.ok("down");
    lab.start();
    assert_eq!(lab.items("port list").len(), 1, "what was asked for is kept");
}

#[test]
fn a_corrupt_store_is_refused_and_left_as_it_is() {
    need!(skip::bpf());
    let mut lab = lab();
    lab.fwd.terminate();
    let store = lab.fwd.state_dir().join("fwd.sqlite");
    let whole = fs::read(&store).expect("it is there");
    for (bytes, what) in [
        (b"this is no database, and never was one".to_vec(), "not fwd's: it is no SQLite database"),
        (whole[..whole.len() / 2].to_vec(), "damaged: database disk image is malformed"),
    ] {
        fs::write(&store, &bytes).expect("our own folder");
        let words = format!(
            "error: The store DIR/state/fwd.sqlite is {what}.\n  Move it away, run fwd up, and apply the last \
             document: fwd config apply -f FILE.\n  (FWD-E102; fwd explain FWD-E102)"
        );
        stays_down(&lab, "", 1, &words);
        assert_eq!(fs::read(&store).expect("it is there"), bytes, "nobody wrote to it");
    }
    ping(&lab.get("red1").netns, fwd_tests::lab::OUTSIDE_V4).expect("the datapath forwards as before");
    fs::write(&store, whole).expect("our own folder");
    lab.start();
    assert_eq!(lab.items("port list").len(), 1);
}

#[test]
fn a_user_without_capabilities_is_told_which_are_missing() {
    need!(skip::bpf());
    let lab = Lab::empty(Hook::Tcx);
    let before = Snapshot::take(&lab.host);
    // Where anybody may read it.
    let folder = lab.fwd.folder().join("nobody");
    let program = folder.join("fwd");
    fs::create_dir(&folder).expect("our own folder");
    fs::copy(binary().expect("fwd is built"), &program).expect("there is room");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("it is ours");
    chown(&folder, Some(NOBODY), Some(NOBODY)).expect("root may");
    let run = |args: &str| {
        let dir = folder.display();
        let mut command = lab.host.command("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(&program);
        command.args(args.split(' ').map(|word| word.replace("DIR", &dir.to_string())));
        let output = command.output().expect("util-linux is there");
        let text = String::from_utf8_lossy(&output.stderr).replace(&dir.to_string(), "DIR");
        (output.status.code(), text.trim_end().to_owned())
    };
    let own = "up --foreground --metrics off --socket DIR/s --state-dir DIR/state --bpffs DIR/bpf";
    let words = "error: The capabilities CAP_NET_ADMIN, CAP_BPF, CAP_PERFMON are missing.\n  Run it as root, or \
                 with CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON and CAP_SYS_ADMIN.\n  (FWD-E802; fwd explain FWD-E802)";
    assert_eq!(run(own), (Some(8), words.to_owned()));
    let (code, text) =
        run("up --socket DIR/s --state-dir /var/lib/fwd-of-root --bpffs DIR/bpf --metrics off");
    assert_eq!(code, Some(8), "{text}");
    assert!(text.contains("may not be made by this user"), "{text}");
    assert_eq!(before.differences(&Snapshot::take(&lab.host)), NOTHING);
}
