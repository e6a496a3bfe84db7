//! What a test asks of fwd, always by its command line.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Lab, Reply};

/// For what follows by itself: netlink events, counters read by the daemon. Only a failure waits so long.
const PATIENCE: Duration = Duration::from_secs(15);

/// Asks until the answer is yes, for at most a quarter of a minute; whether it was.
#[must_use]
pub fn eventually(mut ask: impl FnMut() -> bool) -> bool {
    let begun = Instant::now();
    loop {
        if ask() {
            return true;
        }
        if begun.elapsed() > PATIENCE {
            return false;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

impl Lab {
    /// Runs `fwd` with these words (split at spaces) in the host.
    #[must_use]
    #[track_caller]
    pub fn fwd(&self, line: &str) -> Reply {
        self.fwd.run(&self.host, &line.split_whitespace().collect::<Vec<_>>())
    }

    /// Runs `fwd` and returns what it printed.
    ///
    /// # Panics
    /// If it fails.
    #[track_caller]
    pub fn ok(&self, line: &str) -> String {
        self.fwd(line).ok()
    }

    /// Runs `fwd … -o json` and returns the document.
    ///
    /// # Panics
    /// If it fails or prints something else.
    #[must_use]
    #[track_caller]
    pub fn json(&self, line: &str) -> Value {
        let text = self.ok(&format!("{line} -o json"));
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("fwd {line} -o json: {error}\n{text}"))
    }

    /// The `items` of a list.
    ///
    /// # Panics
    /// Like [`Lab::json`].
    #[must_use]
    #[track_caller]
    pub fn items(&self, line: &str) -> Vec<Value> {
        match self.json(line)["items"].take() {
            Value::Array(items) => items,
            other => panic!("fwd {line}: `items` is {other}"),
        }
    }

    /// Packets dropped for this reason, over all rows that `wanted` accepts.
    #[must_use]
    #[track_caller]
    pub fn drops(&self, reason: &str, wanted: impl Fn(&Value) -> bool) -> u64 {
        let rows = self.items(&format!("drop list --reason {reason}"));
        rows.iter().filter(|row| wanted(row)).map(|row| number(row, "packets")).sum()
    }

    /// The counters of `fwd port show`.
    #[must_use]
    #[track_caller]
    pub fn counters(&self, port: &str) -> Value {
        self.json(&format!("port show {port}"))["counters"].take()
    }
}

/// A count in a JSON object.
///
/// # Panics
/// If there is none of this name.
#[must_use]
#[track_caller]
pub fn number(object: &Value, name: &str) -> u64 {
    object[name].as_u64().unwrap_or_else(|| panic!("{name} is not a count in {object}"))
}
