//! The sink: an XDP program at the end of the way that counts what comes, and whether it is what was sent.

use anyhow::Result;
use aya::maps::{MapData, PerCpuArray};
use fwd_tests::netns::Netns;

use super::object::Object;
use super::stream::{Arrived, Expected};

pub struct Sink(Object);

impl Sink {
    /// Takes the place of the stack on a device.
    ///
    /// # Errors
    /// If the kernel refuses it.
    pub fn new(netns: &Netns, device: &str) -> Result<Self> {
        netns.inside(|| {
            let mut object = Object::load(1)?;
            object.attach_xdp("sink", device)?;
            Ok(Self(object))
        })
    }

    /// # Errors
    /// If the kernel refuses it.
    pub fn expect(&mut self, expected: Expected) -> Result<()> {
        self.0.array("EXPECTED")?.set(0, expected, 0)?;
        Ok(())
    }

    /// All that came, ever.
    ///
    /// # Errors
    /// If the kernel refuses it.
    pub fn arrived(&mut self) -> Result<Arrived> {
        let rows: PerCpuArray<&mut MapData, Arrived> = self.0.map("ARRIVED")?.try_into()?;
        let rows = rows.get(&0, 0)?;
        Ok(rows.iter().fold(Arrived::default(), |sum, row| Arrived {
            packets: sum.packets + row.packets,
            bytes: sum.bytes + row.bytes,
            strange: sum.strange + row.strange,
            corrupt: sum.corrupt + row.corrupt,
        }))
    }
}

impl Arrived {
    /// What came since an earlier look.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Self {
        Self {
            packets: self.packets - earlier.packets,
            bytes: self.bytes - earlier.bytes,
            strange: self.strange - earlier.strange,
            corrupt: self.corrupt - earlier.corrupt,
        }
    }

    /// Packets that are what was sent.
    #[must_use]
    pub const fn sound(self) -> u64 {
        self.packets.saturating_sub(self.strange).saturating_sub(self.corrupt)
    }
}
