//! The object with generator, sink and the peers that are programs.
//!
//! Everything here acts in the namespace of the calling thread, and refuses the machine's own: a devmap resolves
//! interface indexes where it is filled.

use anyhow::{Context as _, Result};
use aya::maps::{Array, DevMap, MapData};
use aya::programs::{SchedClassifier, TcAttachType, Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader, Pod, include_bytes_aligned};
use fwd_tests::netns::ensure_inside_private_namespace;

use super::stream::{Arrived, Expected, Stream};

static OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/traffic"));

// SAFETY: integers and byte arrays without padding between them.
unsafe impl Pod for Stream {}
// SAFETY: as above.
unsafe impl Pod for Expected {}
// SAFETY: as above.
unsafe impl Pod for Arrived {}

/// One load of the object, with maps of its own.
pub struct Object(Ebpf);

impl Object {
    /// `flows` is the size of the minimal forward's table.
    ///
    /// # Errors
    /// If the kernel refuses it.
    pub fn load(flows: u32) -> Result<Self> {
        ensure_inside_private_namespace()?;
        let loaded = EbpfLoader::new().btf(None).map_max_entries("FLOWS", flows).load(OBJECT);
        Ok(Self(loaded.context("the benchmark's programs cannot be loaded")?))
    }

    /// # Errors
    /// If the verifier refuses it.
    pub fn xdp(&mut self, name: &str) -> Result<&mut Xdp> {
        let program: &mut Xdp = self.0.program_mut(name).context("the object has it")?.try_into()?;
        if program.fd().is_err() {
            program.load().with_context(|| format!("{name} cannot be loaded"))?;
        }
        Ok(program)
    }

    /// # Errors
    /// If the driver refuses it.
    pub fn attach_xdp(&mut self, name: &str, device: &str) -> Result<()> {
        self.xdp(name)?
            .attach(device, XdpMode::Driver)
            .with_context(|| format!("{name} cannot be attached to {device}"))?;
        Ok(())
    }

    /// # Errors
    /// If the kernel refuses it.
    pub fn attach_ingress(&mut self, name: &str, device: &str) -> Result<()> {
        let program: &mut SchedClassifier =
            self.0.program_mut(name).context("the object has it")?.try_into()?;
        program.load().with_context(|| format!("{name} cannot be loaded"))?;
        program
            .attach(device, TcAttachType::Ingress)
            .with_context(|| format!("{name} cannot be attached to {device}"))?;
        Ok(())
    }

    /// # Errors
    /// If there is no such array.
    pub fn array<T: Pod>(&mut self, name: &str) -> Result<Array<&mut MapData, T>> {
        Ok(self.map(name)?.try_into()?)
    }

    /// # Errors
    /// If there is no such device in the thread's namespace.
    pub fn set_device(&mut self, name: &str, slot: u32, ifindex: u32) -> Result<()> {
        ensure_inside_private_namespace()?;
        let mut devices: DevMap<&mut MapData> = self.map(name)?.try_into()?;
        devices.set(slot, ifindex, None, 0)?;
        Ok(())
    }

    /// # Errors
    /// If there is none of this name.
    pub fn map(&mut self, name: &str) -> Result<&mut aya::maps::Map> {
        self.0.map_mut(name).with_context(|| format!("the object has no map {name}"))
    }
}
