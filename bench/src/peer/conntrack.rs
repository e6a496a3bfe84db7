//! The kernel's connection tracking, sized for the flows of the run: its tables are the machine's, so they are put
//! back afterwards.

use std::fs;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use anyhow::{Context as _, Result};
use fwd_tests::netns::Netns;

const MAX: &str = "/proc/sys/net/netfilter/nf_conntrack_max";
const BUCKETS: &str = "/proc/sys/net/netfilter/nf_conntrack_buckets";
/// Room beside the run's own flows.
const SPARE: u64 = 1 << 16;

/// What all rigs that stand share.
static SIZED: Mutex<Weak<Conntrack>> = Mutex::new(Weak::new());

/// The machine's conntrack with room for a run; when the last holder drops it, it is as it was.
pub struct Conntrack {
    before: Vec<(&'static str, String)>,
}

impl Conntrack {
    /// Timeouts longer than the run in this namespace, as fwd's are, so that no flow is established twice; and room
    /// in the machine's tables, unless another rig has made it: as many buckets as flows, as the kernel's
    /// documentation of `nf_conntrack_max` recommends.
    ///
    /// # Errors
    /// If the machine has no conntrack.
    pub fn hold(host: &Netns, flows: u32) -> Result<Arc<Self>> {
        for key in ["udp_timeout", "udp_timeout_stream"] {
            host.sysctl(&format!("net.netfilter.nf_conntrack_{key}"), "3600");
        }
        let mut held = SIZED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sized) = held.upgrade() {
            return Ok(sized);
        }
        let sized = Arc::new(Self::sized(u64::from(flows))?);
        *held = Arc::downgrade(&sized);
        Ok(sized)
    }

    fn sized(flows: u64) -> Result<Self> {
        let mut sized = Self { before: vec![] };
        for (path, size) in [(MAX, flows + SPARE), (BUCKETS, (flows + SPARE).next_power_of_two())] {
            let before = fs::read_to_string(path).with_context(|| path.to_owned())?;
            fs::write(path, size.to_string()).with_context(|| path.to_owned())?;
            sized.before.push((path, before));
        }
        Ok(sized)
    }
}

impl Drop for Conntrack {
    fn drop(&mut self) {
        for (path, before) in self.before.iter().rev() {
            if let Err(error) = fs::write(path, before.trim()) {
                eprintln!("{path} could not be put back to {}: {error}", before.trim());
            }
        }
    }
}
