//! `fwd up` and `fwd down`.

use std::{
    fs::{self, File},
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    process::Command,
};

use expect_test::expect;
use fwd_tests::{lab::binary, need, skip};
use nix::fcntl::{Flock, FlockArg};

use crate::instance::{Instance, UP};

#[test]
fn without_a_daemon_every_request_says_how_to_start_it() {
    let instance = Instance::new();
    expect![[r#"
        $ fwd status
        error: The daemon is not running: nobody answers on DIR/fwd.sock.
          Start it: sudo fwd up.
          (FWD-E901; fwd explain FWD-E901)
        [exit code 9]
        $ fwd port list -o json
        {
          "api": "fwd/v1",
          "error": {
            "code": "FWD-E901",
            "kind": "not_running",
            "object": null,
            "message": "The daemon is not running: nobody answers on DIR/fwd.sock.",
            "hints": [
              "Start it: sudo fwd up."
            ]
          }
        }
        [exit code 9]
        $ fwd down
        fwd was not up; nothing of it is left.
    "#]]
    .assert_eq(&instance.transcript(&["status", "port list -o json", "down"]));
}

#[test]
fn up_when_up_wants_the_same_options() {
    let instance = Instance::up();
    let same = instance.run(UP);
    assert!(same.status.success());
    expect![[r#"
        $ fwd up --datapath memory --metrics 127.0.0.1:1
        error: A daemon is up with other options: --state-dir DIR/state --bpffs DIR/bpf --metrics off --datapath-log off.
          Run fwd down first, or leave the options out.
          (FWD-E508; fwd explain FWD-E508)
        [exit code 5]
        $ fwd up --datapath memory --metrics 0.0.0.0:9465
        error: invalid value '0.0.0.0:9465' for '--metrics <ADDR:L4PORT|off>': metrics are served on a loopback address only: put a proxy in front

        For more information, try '--help'.
        [exit code 2]
    "#]]
    .assert_eq(&instance.transcript(&[
        "up --datapath memory --metrics 127.0.0.1:1",
        "up --datapath memory --metrics 0.0.0.0:9465",
    ]));
}

#[test]
fn a_second_daemon_on_the_same_state_is_refused() {
    let instance = Instance::up();
    let output = instance.run("up --foreground --datapath memory --metrics off --socket DIR/other.sock");
    assert_eq!(output.status.code(), Some(5));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("is held by process"), "{said}");
}

#[test]
fn the_first_up_says_what_it_sees_and_what_to_type_next() {
    let instance = Instance::new();
    let output = String::from_utf8(instance.run(UP).stdout).expect("text");
    let below = output.split_once('\n').expect("lines").1;
    expect![[r#"
        nothing configured
        0 of 0 flows, 0 packets dropped

        DEVICE  KIND      UP   ADDRESSES                        USED-AS
        br0     bridge    yes  -                                -
        eth0    physical  yes  203.0.113.10/24,2001:db8::10/64  -
        eth1    physical  yes  198.51.100.10/24                 -
        eth9    physical  yes  -                                -
        tap0    tap       yes  -                                -
        tap1    tap       yes  -                                -
        tap9    tap       yes  -                                member of br0

        Nothing is forwarded or filtered yet. Next, for example:
          fwd network add vmnat --mode nat --subnet 10.10.0.0/24 --uplink eth0
          fwd port add web1 --device tap0 --network vmnat --ip 10.10.0.11
          fwd forward add tcp :8080 web1:80
    "#]]
    .assert_eq(below);
}

#[test]
fn up_with_a_document_applies_it() {
    let instance = Instance::new();
    instance.file("a.yaml", "api: fwd/v1\nnetworks: [{name: a, mode: isolated}]\n");
    instance.file("bad.yaml", "api: fwd/v1\nnetworks: [{name: a, mode: b}]\n");
    let refused = instance.transcript(&[&format!("{UP} --config DIR/bad.yaml"), "status"]);
    expect![[r#"
        $ fwd up --datapath memory --inventory DIR/host.yaml --metrics off --config DIR/bad.yaml
        error: DIR/bad.yaml:2:28: Network a: b is not possible here.
          Write one of nat, routed, bridge, host, isolated.
          (FWD-E617; fwd explain FWD-E617)
        [exit code 6]
        $ fwd status
        error: The daemon is not running: nobody answers on DIR/fwd.sock.
          Start it: sudo fwd up.
          (FWD-E901; fwd explain FWD-E901)
        [exit code 9]
    "#]]
    .assert_eq(&refused);
    assert!(instance.run(&format!("{UP} --config DIR/a.yaml")).status.success());
    assert_eq!(instance.transcript(&["network list -o name"]), "$ fwd network list -o name\na\n");
}

#[test]
fn down_leaves_the_state_and_purge_does_not() {
    let instance = Instance::up();
    instance.run("network add a --mode isolated");
    assert_eq!(instance.transcript(&["down"]), "$ fwd down\nfwd is down.\n");
    assert!(!instance.folder().join("fwd.sock").exists());
    assert!(instance.run(UP).status.success());
    assert_eq!(instance.transcript(&["network list -o name"]), "$ fwd network list -o name\na\n");
    assert_eq!(instance.transcript(&["down --purge"]), "$ fwd down --purge\nfwd is down.\n");
    assert!(!instance.folder().join("state").exists());
}

#[test]
fn a_lock_of_whoever_starts_the_daemon_is_not_held_by_it() {
    let instance = Instance::new();
    let up = instance.command(UP);
    let job = instance.folder().join("job");
    let mut script = Command::new("sh");
    script
        .args(["-c", r#"exec 9>"$0" && flock 9 && "$@""#])
        .arg(&job)
        .arg(up.get_program())
        .args(up.get_args());
    script.envs(up.get_envs().filter_map(|(name, value)| Some((name, value?))));
    assert!(script.output().expect("sh is there").status.success());
    let file = File::open(&job).expect("the script made it");
    assert!(Flock::lock(file, FlockArg::LockExclusiveNonblock).is_ok());
}

#[test]
fn a_stale_socket_is_no_hindrance() {
    let instance = Instance::new();
    drop(std::os::unix::net::UnixListener::bind(instance.folder().join("fwd.sock")).expect("a socket"));
    assert!(instance.run(UP).status.success());
}

#[test]
fn the_api_answers_every_error_in_json() {
    let instance = Instance::up();
    let ask = |request: &str| {
        let mut stream = UnixStream::connect(instance.folder().join("fwd.sock")).expect("the daemon listens");
        write!(stream, "{request} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 1\r\n\r\n[")
            .expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).expect("a status").to_owned();
        format!("{request}: {status} {body}\n")
    };
    let answers: String = [
        "GET /v1/nothing",
        "DELETE /v1/config",
        "POST /v1/networks",
        "GET /v1/ports/none",
        "GET /v1/flows?colour=red",
    ]
    .map(ask)
    .concat();
    expect![[r#"
        GET /v1/nothing: 404 {"api":"fwd/v1","error":{"code":"FWD-E301","kind":"not_found","object":null,"message":"There is no such path, or not with this method.","hints":["See docs/openapi.json."]}}
        DELETE /v1/config: 404 {"api":"fwd/v1","error":{"code":"FWD-E301","kind":"not_found","object":null,"message":"There is no such path, or not with this method.","hints":["See docs/openapi.json."]}}
        POST /v1/networks: 400 {"api":"fwd/v1","error":{"code":"FWD-E202","kind":"usage","object":null,"message":"The body is not JSON: EOF while parsing a list at line 1 column 1.","hints":["See docs/openapi.json."]}}
        GET /v1/ports/none: 404 {"api":"fwd/v1","error":{"code":"FWD-E301","kind":"not_found","object":"port none","message":"There is no port none.","hints":["List them: fwd port list."]}}
        GET /v1/flows?colour=red: 400 {"api":"fwd/v1","error":{"code":"FWD-E202","kind":"usage","object":null,"message":"Failed to deserialize query string: colour: unknown field `colour`, expected one of `name`, `port`, `group`, `peer`, `proto`, `rule`, `state`, `cut_by`, `verdict`, `since_secs`, `until_secs`, `limit`.","hints":["See docs/openapi.json."]}}
    "#]]
    .assert_eq(&answers);
}

#[test]
fn the_socket_is_not_for_everybody() {
    use std::os::unix::fs::PermissionsExt;
    let instance = Instance::up();
    let mode = fs::metadata(instance.folder().join("fwd.sock")).expect("it is there").permissions().mode();
    assert!(matches!(mode & 0o777, 0o600 | 0o660), "{mode:o}");
}

#[test]
fn the_unit_is_one_that_systemd_understands() {
    need!(skip::systemd_analyze());
    let instance = Instance::new();
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("dist/fwd.service");
    let unit = fs::read_to_string(unit).expect("it is part of the tree");
    let binary = binary().expect("fwd is built").display().to_string();
    instance.file("fwd.service", &unit.replace("@fwd@", &binary));
    let mut analyze = Command::new("systemd-analyze");
    analyze.args(["verify", "--man=no"]).arg(instance.folder().join("fwd.service"));
    let output = analyze.output().expect("systemd is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // The datapath's guard outlives the daemon.
    assert!(unit.contains("\nKillMode=process\n"));
}
