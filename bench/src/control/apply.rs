//! How long documents with many rules take, and starting with them.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;

use super::stand::{Stand, caught};
use crate::result::{Reading, Unit, count};
use crate::scenario::{Effort, Element, Scenario, Seat};

pub struct Apply;

impl Scenario for Apply {
    fn name(&self) -> &'static str {
        "apply"
    }

    fn about(&self) -> &'static str {
        "A document with so many rules: applied to a daemon that had none, by the command line and by the API; with \
         one rule changed; the daemon started anew with it on a host without a datapath, and adopting a running one."
    }

    fn prepare(&self, effort: Effort) -> Result<Vec<Seat>> {
        let stand = Rc::new(RefCell::new(Stand::new()?));
        let sizes: &[usize] = if effort.quick { &[10, 10_000] } else { &[10, 10_000, 100_000] };
        Ok(sizes
            .iter()
            .map(|rules| {
                let name = format!("{}-rules", count(*rules as u64));
                Seat::of(&name.clone(), Ok(Rules { name, rules: *rules, stand: Rc::clone(&stand) }))
            })
            .collect())
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

fn reading(quantity: &str, time: Duration) -> Reading {
    Reading::new(time.as_secs_f64() * 1e3, Unit::Milliseconds).of(quantity)
}

fn measure(stand: &mut Stand, rules: usize) -> Result<Vec<Reading>> {
    let (none, mut full) = (stand.document(0), stand.document(rules));
    let file = stand.file(&full)?;
    let file = file.to_str().context("the folder's name is text")?;
    let mut readings = vec![reading("apply by CLI", stand.cli(&["config", "apply", "-f", file])?)];
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
