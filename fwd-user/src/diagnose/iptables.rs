//! Rules of the old iptables, as its own tool saves them.

use super::firewall::{Question, Way, is_name};

/// Whether a saved table does anything to forwarded packets.
pub(super) fn is_acting(save: &str) -> bool {
    let starts = [":FORWARD DROP", "-A FORWARD", "-A PREROUTING", "-A POSTROUTING"];
    save.lines().any(|line| starts.iter().any(|start| line.starts_with(start)))
}

/// As far as the INPUT or OUTPUT chain itself says.
pub(super) fn drops(save: &str, question: Question<'_>) -> bool {
    let (chain, interface) = if question.way == Way::In { ("INPUT", "-i") } else { ("OUTPUT", "-o") };
    let side = if question.way == Way::Out { "--sport" } else { "--dport" };
    let l4_port = format!("{side} {}", question.l4_port);
    for line in save.lines().filter(|line| line.starts_with(&format!("-A {chain} "))) {
        let words: Vec<_> = line.split_whitespace().collect();
        let after = |flag: &str| words.iter().position(|w| *w == flag).and_then(|at| words.get(at + 1));
        let is_here = after(interface).is_none_or(|name| is_name(name, question.device));
        let is_proto = after("-p").is_none_or(|proto| *proto == question.proto);
        let has_state = line.contains("--ctstate") && !line.contains("NEW");
        let is_port = (!line.contains("--dport") && !line.contains("--sport")) || line.contains(&l4_port);
        let is_plain = after("-s").is_none() && after("-d").is_none();
        if !(is_here && is_proto && is_port && is_plain) || has_state {
            continue;
        }
        match after("-j").copied() {
            Some("ACCEPT") => return false,
            Some("DROP" | "REJECT") => return true,
            _ => {}
        }
    }
    save.contains(&format!(":{chain} DROP"))
}
