//! nftables given the rules that fwd is given, in a namespace of its own.

use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fwd_tests::netns::Netns;

use super::apply::{ONE_MORE, WHOLE, reading};
use crate::result::{Reading, count};
use crate::scenario::Element;

/// How the rules are written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Elements of one verdict map: the best that nft has for rules of one shape.
    Map,
    /// One rule behind the other.
    Linear,
}

impl Form {
    /// What so many rules of the form are called.
    pub fn name_of(self, rules: usize) -> String {
        let form = match self {
            Self::Map => "map",
            Self::Linear => "linear",
        };
        format!("nft-{}-{form}", count(rules as u64))
    }

    fn ruleset(self, rules: usize) -> String {
        const HOOK: &str = "type filter hook forward priority filter";
        let rules: Vec<String> = (0..rules).map(|n| self.rule(n)).collect();
        match self {
            Self::Map => format!(
                "table inet gate {{\nmap denied {{ type ipv4_addr . inet_service : verdict; elements = {{ {} }} }}\n\
                 chain forward {{ {HOOK}; ip saddr . tcp dport vmap @denied; }}\n}}\n",
                rules.join(", ")
            ),
            Self::Linear => {
                format!("table inet gate {{\nchain forward {{\n{HOOK};\n{}\n}}\n}}\n", rules.join("\n"))
            }
        }
    }

    /// The n-th rule: ten services of each of many outside addresses, as fwd's.
    fn rule(self, n: usize) -> String {
        let address = Ipv4Addr::from_bits(0x6440_0000 + u32::try_from(n / 10).unwrap_or(u32::MAX));
        let l4_port = 1000 + n % 10;
        match self {
            Self::Map => format!("{address} . {l4_port} : drop"),
            Self::Linear => format!("ip saddr {address} tcp dport {l4_port} drop"),
        }
    }

    /// The command that adds one rule to those that are there.
    fn addition(self, n: usize) -> String {
        let rule = self.rule(n);
        match self {
            Self::Map => format!("add element inet gate denied {{ {rule} }}"),
            Self::Linear => format!("insert rule inet gate forward {rule}"),
        }
    }
}

pub struct NftRules {
    name: String,
    form: Form,
    rules: usize,
    netns: Netns,
    file: PathBuf,
}

impl NftRules {
    /// # Errors
    /// If nft is not there, or its file cannot be written.
    pub fn new(form: Form, rules: usize) -> Result<Self> {
        let netns = Netns::new("nft");
        let file = std::env::temp_dir().join(format!("{}-rules", netns.name()));
        fs::write(&file, form.ruleset(rules)).with_context(|| file.display().to_string())?;
        netns.try_run("nft list ruleset")?;
        Ok(Self { name: form.name_of(rules), form, rules, netns, file })
    }

    fn timed(&self, arguments: &[&str]) -> Result<Duration> {
        let begun = Instant::now();
        let ended = self.netns.command("nft").args(arguments).output().context("nft cannot be started")?;
        let took = begun.elapsed();
        ensure!(ended.status.success(), "nft: {}", String::from_utf8_lossy(&ended.stderr));
        Ok(took)
    }
}

impl Element for NftRules {
    fn name(&self) -> &str {
        &self.name
    }

    fn measure(&mut self) -> Result<Vec<Reading>> {
        let file = self.file.to_str().context("the folder's name is text")?;
        let whole = self.timed(&["-f", file])?;
        let one = self.timed(&[&self.form.addition(self.rules)])?;
        self.timed(&["flush", "ruleset"])?;
        Ok(vec![reading(WHOLE, whole), reading(ONE_MORE, one)])
    }
}

impl Drop for NftRules {
    fn drop(&mut self) {
        _ = fs::remove_file(&self.file);
    }
}
