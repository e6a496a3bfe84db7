//! What the demo shows: a forward, NAT, two networks with equal addresses, the bridge, and a deny rule.

use anyhow::{Context, Result};
use fwd_tests::lab::{BLUE, HOST_LAN_V4, HOST_V4, HOST_V6, LAN, LAN_V4, Lab, OUTSIDE_V4, OUTSIDE_V6, RED};
use fwd_tests::traffic::{BulkSource, ask_udp, http_get, http_whoami, ping, udp_whoami};

use crate::table::{NO_ANSWER, Table};
use crate::{check_interrupted, guests, heading};

pub const PICTURE: &str = "
  outside ── eth0 [ host ] eth1 ── lan        red1 red2    network red,  nat, 10.10.0.0/24, fd00:10::/64
  203.0.113.2   .10    198.51.100.10  .2      blue1 blue2  network blue, the same addresses, --private
                                              lan1 lan2    network lan,  bridge with eth1

  Every machine is a network namespace of its own; the host runs fwd.";

const DOWNLOAD: u64 = 100_000_000;
/// Of all that /metrics says, what this demo moved.
const METRICS: [&str; 4] = [
    "fwd_port_packets_total{",
    "fwd_drops_total{reason=\"policy_denied\"}",
    "fwd_forward_flows_total{",
    "fwd_flows{",
];

pub fn show(lab: &mut Lab, table: &mut Table, vm: bool) -> Result<()> {
    set_up(lab)?;
    if !vm {
        return traffic(lab, table, None);
    }
    let mut guests = guests::Guests::boot(lab)?;
    let shown = traffic(lab, table, Some(&mut guests));
    guests.unplug(lab);
    shown
}

fn traffic(lab: &Lab, table: &mut Table, guests: Option<&mut guests::Guests>) -> Result<()> {
    heading("Send traffic");
    forwards(lab, table)?;
    translation(lab, table)?;
    bridge(lab, table)?;
    deny_rule(lab, table)?;
    if let Some(guests) = guests {
        guests.show(lab, table)?;
    }
    heading("Hold the ledgers against each other");
    table.step("fwd status --check", "0", || Ok(lab.fwd("status --check").code.to_string()))
}

fn set_up(lab: &mut Lab) -> Result<()> {
    lab.fwd.narrate();
    for (network, vms) in [
        (&RED, [("red1", 11), ("red2", 12)]),
        (&BLUE, [("blue1", 11), ("blue2", 12)]),
        (&LAN, [("lan1", 21), ("lan2", 22)]),
    ] {
        lab.network(network, "");
        for (name, number) in vms {
            check_interrupted()?;
            lab.vm(name, network, number);
        }
    }
    lab.ok(&format!("forward add web4 --listen tcp:{HOST_V4}:8080 --to red1:80"));
    lab.ok(&format!("forward add web6 --listen tcp:[{HOST_V6}]:8080 --to red1:80"));
    lab.ok(&format!("forward add tcp {HOST_V4}:8081 blue1:80"));
    lab.ok("group add web --member red1");
    lab.ok("group add db --member red2");
    Ok(())
}

fn forwards(lab: &Lab, table: &mut Table) -> Result<()> {
    let (red, blue) = (lab.get("red1"), lab.get("blue1"));
    let at4 = format!("{}:80", red.v4);
    let _red = [http_whoami(&red.netns, &at4), http_whoami(&red.netns, &format!("[{}]:80", red.v6))];
    table.step("outside → :8080 → red1, which sees the client", OUTSIDE_V4, || {
        http_get(&lab.outside, &format!("{HOST_V4}:8080"))
    })?;
    table.step("the same by IPv6", &format!("[{OUTSIDE_V6}]"), || {
        http_get(&lab.outside, &format!("[{HOST_V6}]:8080"))
    })?;
    let to_blue = || http_get(&lab.outside, &format!("{HOST_V4}:8081"));
    table.step("outside → :8081 → blue1, which has red1's address", NO_ANSWER, to_blue)?;
    let _blue = http_whoami(&blue.netns, &at4);
    table.step("the same, now that blue1 serves too", OUTSIDE_V4, to_blue)
}

fn translation(lab: &Lab, table: &mut Table) -> Result<()> {
    let server = format!("{OUTSIDE_V4}:53");
    let _udp = udp_whoami(&lab.outside, &server);
    let _http = http_whoami(&lab.outside, &format!("[{OUTSIDE_V6}]:80"));
    let from = format!("{}:5555", RED.v4(11));
    let ask = |vm: &str| ask_udp(&lab.get(vm).netns, &from, &server, vm);
    table.step("red1:5555 → outside keeps its L4 port", &format!("{HOST_V4}:5555 red1"), || ask("red1"))?;
    table.step("blue1, same address and L4 port, gets another one", HOST_V4, || ask("blue1"))?;
    table.step("red1 still has its own", &format!("{HOST_V4}:5555 red1"), || ask("red1"))?;
    table.step("red2 → outside by IPv6", &format!("[{HOST_V6}]"), || {
        http_get(&lab.get("red2").netns, &format!("[{OUTSIDE_V6}]:80"))
    })?;
    let source = BulkSource::start(&lab.outside, &format!("{OUTSIDE_V4}:5000"), DOWNLOAD);
    table.step("red1 downloads 100 MB, hashes compared", "equal", || {
        let transfer = source.download(&lab.get("red1").netns)?;
        Ok(format!("equal, in {:.2} s", transfer.time.as_secs_f64()))
    })
}

fn bridge(lab: &Lab, table: &mut Table) -> Result<()> {
    let (one, two) = (lab.get("lan1"), lab.get("lan2"));
    let at = format!("{}:80", two.v4);
    let _http = http_whoami(&two.netns, &at);
    table.step("lan1 → lan2 across the bridge", &one.v4, || http_get(&one.netns, &at))?;
    table.step("a machine on the LAN → lan2", LAN_V4, || http_get(&lab.lan, &at))?;
    table.step("the host → lan2, by its own address there", HOST_LAN_V4, || http_get(&lab.host, &at))?;
    table.step("the host → the LAN, as before", "reply", || {
        ping(&lab.host, LAN_V4).map(|()| "reply".to_owned())
    })
}

fn deny_rule(lab: &Lab, table: &mut Table) -> Result<()> {
    let (web, db) = (lab.get("red1"), lab.get("red2"));
    let at = format!("{}:5432", db.v4);
    let _db = http_whoami(&db.netns, &at);
    let get = || http_get(&web.netns, &at);
    table.step("red1 → red2:5432, the network is open", &web.v4, get)?;
    lab.fwd("policy add no-db --deny --from group:web --to group:db --service tcp/5432").into_result()?;
    table.step("the same under the deny rule", NO_ANSWER, get)?;
    table.step("its drops name the rule", "no-db", || {
        let rows = lab.items("drop list --reason policy_denied");
        let row = rows.iter().find(|row| row["rule"] == "no-db").context("no drop names it")?;
        Ok(format!("no-db: {} packets of {}", row["packets"], row["port"].as_str().unwrap_or("?")))
    })?;
    look(lab);
    heading("Take the rule away");
    lab.fwd("policy delete no-db").into_result()?;
    table.step("red1 → red2:5432 without the rule", &web.v4, get)
}

fn look(lab: &Lab) {
    heading("Look at it");
    for line in ["drop list", "nat table", "port list"] {
        let reply = lab.fwd(line);
        println!("{}{}", reply.stdout, reply.stderr);
    }
    println!("  $ curl http://127.0.0.1:9465/metrics");
    let metrics = http_get(&lab.host, "127.0.0.1:9465/metrics").unwrap_or_else(|error| format!("{error:#}"));
    let is_zero = |line: &str| line.ends_with(" 0") || line.ends_with(" 0.0");
    let moved = |line: &&str| METRICS.iter().any(|name| line.starts_with(name)) && !is_zero(line);
    metrics.lines().filter(moved).for_each(|line| println!("{line}"));
}
