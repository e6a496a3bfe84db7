//! How long documents with many rules take, and starting with them.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;

use super::nft::{Form, NftRules};
use super::stand::Stand;
use crate::result::{Reading, Unit, count};
use crate::scenario::{Effort, Element, Scenario, Seat, caught};

pub struct Apply;

impl Scenario for Apply {
    fn name(&self) -> &'static str {
        "apply"
    }

    fn about(&self) -> &'static str {
        "A document with so many rules: applied to a daemon that had none, by the command line and by the API; with \
         one rule more by the command line, and one changed; the daemon started anew with it on a host without a \
         datapath, and adopting a running one. The same rules in nft, as elements of a verdict map and one by one."
    }

    fn prepare(&self, effort: Effort) -> Result<Vec<Seat>> {
        let stand = Rc::new(RefCell::new(Stand::new()?));
        let sizes: &[usize] = if effort.quick { &[10, 10_000] } else { &[10, 10_000, 100_000] };
        let own = sizes.iter().map(|rules| {
            let name = format!("{}-rules", count(*rules as u64));
            Seat::of(&name.clone(), Ok(Rules { name, rules: *rules, stand: Rc::clone(&stand) }))
        });
        let forms = sizes[1..].iter().flat_map(|rules| [Form::Map, Form::Linear].map(|form| (form, *rules)));
        let theirs = forms.map(|(form, rules)| Seat::of(&form.name_of(rules), NftRules::new(form, rules)));
        Ok(own.chain(theirs).collect())
    }
}

struct Rules {
    name: String,
    rules: usize,
    stand: Rc<RefCell<Stand>>,
}

impl Element for Rules {
    fn name(&self) -> &str {
        &self.name
    }

    fn measure(&mut self) -> Result<Vec<Reading>> {
        let stand = &mut *self.stand.borrow_mut();
        caught(|| measure(stand, self.rules))
    }
}

/// What both are asked for.
pub const WHOLE: &str = "apply by CLI";
pub const ONE_MORE: &str = "one rule more by CLI";

pub fn reading(quantity: &str, time: Duration) -> Reading {
    Reading::new(time.as_secs_f64() * 1e3, Unit::Milliseconds).of(quantity)
}

fn measure(stand: &mut Stand, rules: usize) -> Result<Vec<Reading>> {
    let (none, mut full) = (stand.document(0), stand.document(rules));
    let file = stand.file(&full)?;
    let file = file.to_str().context("the folder's name is text")?;
    let mut readings = vec![reading(WHOLE, stand.cli(&["config", "apply", "-f", file])?)];
    let one = [
        "policy",
        "add",
        "one",
        "--deny",
        "--from",
        "100.127.0.1/32",
        "--to",
        "port:red1",
        "--service",
        "tcp/1000",
    ];
    readings.push(reading(ONE_MORE, stand.cli(&one)?));
    readings.push(reading("take away by API", stand.put("/v1/config", &none)?));
    readings.push(reading("apply by API", stand.put("/v1/config", &full)?));
    full["policies"][rules / 2]["services"] = json!(["tcp/999"]);
    readings.push(reading("change one of them by API", stand.put("/v1/config", &full)?));
    stand.lab.fwd.terminate();
    let (adoption, daemon) = stand.started()?;
    drop(daemon);
    readings.push(reading("adoption after restart", adoption));
    let host = &stand.lab.host;
    stand.lab.fwd.down(host)?;
    let (start, daemon) = stand.started()?;
    drop(daemon);
    readings.push(reading("start", start));
    stand.lab.start();
    stand.put("/v1/config", &none)?;
    Ok(readings)
}
