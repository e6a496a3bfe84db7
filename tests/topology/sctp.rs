//! SCTP associations of real ends through NAT, forwards and rules. Both ends hold the checksum.

use fwd_tests::lab::{HOST_V4, HOST_V6, Hook, Lab, OUTSIDE_V4, OUTSIDE_V6, RED};
use fwd_tests::on_both_hooks;
use fwd_tests::traffic::{ask_sctp, sctp_whoami};
use serde_json::json;

use crate::trace::trace;

on_both_hooks!(
    an_association_gets_out_and_two_vms_never_share_an_l4_port,
    a_forward_leads_to_a_vm_from_outside_and_from_its_neighbor,
    a_rule_names_the_l4_port,
);

fn lab(hook: Hook) -> Lab {
    let mut lab = Lab::empty(hook);
    lab.network(&RED, "");
    for (name, number) in [("red1", 11), ("red2", 12)] {
        lab.vm(name, &RED, number);
    }
    lab
}

fn an_association_gets_out_and_two_vms_never_share_an_l4_port(hook: Hook) {
    let lab = lab(hook);
    for (server, host, is_v4) in [
        (format!("{OUTSIDE_V4}:2905"), HOST_V4.to_owned(), true),
        (format!("[{OUTSIDE_V6}]:2905"), format!("[{HOST_V6}]"), false),
    ] {
        let _service = sctp_whoami(&lab.outside, &server);
        let seen = ["red1", "red2"].map(|name| {
            let vm = lab.get(name);
            let own = if is_v4 { format!("{}:3000", vm.v4) } else { format!("[{}]:3000", vm.v6) };
            let answer =
                ask_sctp(&vm.netns, &own, &server, name).unwrap_or_else(|error| panic!("{name}: {error:#}"));
            let (seen, text) = answer.split_once(' ').expect("the answer is an address and the text");
            assert_eq!(text, name);
            let flows = lab.items(&format!("nat table --proto sctp --port {name}"));
            let row = flows.iter().find(|row| row["source"] == own.as_str());
            let row = row.unwrap_or_else(|| panic!("{own} is not among {flows:#?}"));
            assert_eq!(row["translated"], seen);
            assert_eq!(row["state"], "closing");
            seen.to_owned()
        });
        assert_eq!(seen[0], format!("{host}:3000"), "the first VM keeps its L4 port");
        assert!(seen[1].starts_with(&format!("{host}:")) && seen[0] != seen[1], "{seen:?}");
    }
}

fn a_forward_leads_to_a_vm_from_outside_and_from_its_neighbor(hook: Hook) {
    let lab = lab(hook);
    lab.ok("forward add sctp :2905 red1:2906");
    assert_eq!(lab.items("forward list")[0]["name"], "red1-sctp-2905");
    let target = lab.get("red1");
    for (service, listen, client, gateway) in [
        (
            format!("{}:2906", target.v4),
            format!("{HOST_V4}:2905"),
            format!("{OUTSIDE_V4}:4000"),
            "10.10.0.1:",
        ),
        (
            format!("[{}]:2906", target.v6),
            format!("[{HOST_V6}]:2905"),
            format!("[{OUTSIDE_V6}]:4000"),
            "[fd00:10::1]:",
        ),
    ] {
        let _service = sctp_whoami(&target.netns, &service);
        let answer = ask_sctp(&lab.outside, &client, &listen, "hello").unwrap_or_else(|e| panic!("{e:#}"));
        assert_eq!(answer, format!("{client} hello"), "the client's own address is seen");
        let neighbor = lab.get("red2");
        let own = if listen.starts_with('[') {
            format!("[{}]:4000", neighbor.v6)
        } else {
            format!("{}:4000", neighbor.v4)
        };
        let answer = ask_sctp(&neighbor.netns, &own, &listen, "hello").unwrap_or_else(|e| panic!("{e:#}"));
        assert!(answer.starts_with(gateway), "the target saw {answer}");
    }
}

fn a_rule_names_the_l4_port(hook: Hook) {
    let lab = lab(hook);
    lab.ok("policy add no-m3ua --deny --from port:red1 --service sctp/2905-2906");
    let server = format!("{OUTSIDE_V4}:2905");
    let _service = sctp_whoami(&lab.outside, &server);
    let red1 = lab.get("red1");
    let own = format!("{}:3000", red1.v4);
    assert!(ask_sctp(&red1.netns, &own, &server, "x").is_err(), "the rule denies it");
    let drops = lab.items("drop list --port red1 --rule no-m3ua");
    assert_eq!(drops[0]["reason"], "policy_denied");
    let (code, traced) = trace(&lab, "red1", &format!("sctp {own} > {server}"));
    assert_eq!((code, &traced["rule"]), (21, &json!("no-m3ua")), "{traced:#}");
    let red2 = lab.get("red2");
    ask_sctp(&red2.netns, &format!("{}:3000", red2.v4), &server, "x").expect("only red1 is denied");
    let other = format!("{OUTSIDE_V4}:2907");
    let _other = sctp_whoami(&lab.outside, &other);
    ask_sctp(&red1.netns, &own, &other, "x").expect("only two L4 ports are denied");
}
