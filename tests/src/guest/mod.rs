//! QEMU guests on taps: a Debian kernel, a busybox, and an agent that runs commands.
//!
//! The agent answers on a virtio-serial port, apart from the tap under test. Guests run by TCG always:
//! probing `/dev/kvm` hangs on some machines. The guest dies with the thread that booted it, or on drop.

mod control;
mod initramfs;
mod kernel;

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Child;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use crate::frame::Mac;
use crate::netns::Netns;
use control::Control;
use initramfs::BLOCK_LEN;

const BOOT: Duration = Duration::from_secs(60);
const COMMAND: Duration = Duration::from_secs(300);

static NEXT: AtomicU32 = AtomicU32::new(0);

/// What the guest's NIC may leave for others to finish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offloads {
    /// The tap has no vnet header: nothing can be left undone.
    NoHeader,
    /// A vnet header, but the guest computes its checksums and so segments too.
    Off,
    /// Frames of up to 64 KiB with partial checksums.
    On,
}

/// A guest to boot.
#[derive(Clone, Debug)]
pub struct Spec<'a> {
    pub name: &'a str,
    /// Must exist in the host's namespace.
    pub tap: &'a str,
    pub mac: Mac,
    pub offloads: Offloads,
    /// With prefix lengths.
    pub addresses: &'a [String],
    pub gateways: &'a [String],
    /// Programs of this machine that the guest has in `/tools`, by path or name. With some it gets memory for a
    /// host's maps.
    pub tools: &'a [PathBuf],
    /// Kernel modules that it loads beside those of its devices.
    pub modules: &'a [&'a str],
}

/// A running guest.
#[derive(Debug)]
pub struct Guest {
    name: String,
    folder: PathBuf,
    qemu: Child,
    control: Option<Control>,
}

/// What a guest boots, for who runs QEMU otherwise: the kernel and the initramfs.
///
/// # Errors
/// If the kernel cannot be fetched.
pub fn image() -> Result<(PathBuf, PathBuf)> {
    let kernel = kernel::fetch()?;
    let initramfs = initramfs::build(&kernel)?;
    Ok((kernel.image, initramfs))
}

impl Guest {
    /// Starts the guest in the host's namespace and returns at once, so that several boot side by side; the
    /// first [`Guest::exec`] waits for its agent.
    ///
    /// # Errors
    /// If the kernel cannot be fetched or QEMU not started.
    pub fn boot(host: &Netns, spec: &Spec<'_>) -> Result<Self> {
        let kernel = kernel::fetch()?;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("fwdt-{}-guest-{number}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let log = File::create(folder.join("qemu.txt"))?;
        let mut archive = fs::read(initramfs::build(&kernel)?)?;
        if !spec.tools.is_empty() || !spec.modules.is_empty() {
            let baggage = initramfs::carry(&kernel, spec.tools, spec.modules, &folder)?;
            archive.extend(fs::read(baggage)?);
        }
        let initramfs = folder.join("initramfs.cpio");
        fs::write(&initramfs, archive)?;
        let memory = if spec.tools.is_empty() { 256 } else { 1536 };
        let (netdev, nic) = match spec.offloads {
            Offloads::NoHeader => (",vnet_hdr=off", ""),
            Offloads::Off => ("", ",csum=off"),
            Offloads::On => ("", ""),
        };
        let (at, tap, mac) = (folder.display(), spec.tap, spec.mac);
        let words = format!(
            "-accel tcg,thread=multi -M q35 -cpu max -smp 1 -m {memory} -nodefaults -no-user-config -display none \
             -no-reboot -chardev file,id=console,path={at}/console.txt -serial chardev:console \
             -chardev socket,id=control,path={at}/control.sock,server=on,wait=off -device virtio-serial-pci \
             -device virtserialport,chardev=control,name=control \
             -netdev tap,id=net,ifname={tap},script=no,downscript=no,vhost=off{netdev} \
             -device virtio-net-pci,netdev=net,mac={mac},romfile={nic}"
        );
        let append = format!(
            "console=ttyS0 quiet mitigations=off tsc=reliable panic=-1 fwd.addresses={} fwd.gateways={}",
            spec.addresses.join(","),
            spec.gateways.join(","),
        );
        let mut command = host.command("qemu-system-x86_64");
        command.args(words.split_whitespace());
        command.arg("-kernel").arg(&kernel.image).arg("-initrd").arg(&initramfs).arg("-append").arg(append);
        let qemu = command.stdout(log.try_clone()?).stderr(log).spawn().context("QEMU cannot be started")?;
        Ok(Self { name: spec.name.to_owned(), folder, qemu, control: None })
    }

    /// Runs a shell command and returns what it printed, standard error included.
    ///
    /// # Errors
    /// If the guest does not boot or answer, or the command fails.
    pub fn exec(&mut self, command: &str) -> Result<String> {
        self.exec_within(command, COMMAND)
    }

    /// The same with a command that may take this long.
    ///
    /// # Errors
    /// Like [`Guest::exec`].
    pub fn exec_within(&mut self, command: &str, patience: Duration) -> Result<String> {
        let (code, text) = self.answer(command, patience)?;
        ensure!(code == 0, "guest {}: {command:?} ended with {code}\n{text}", self.name);
        Ok(text)
    }

    /// Runs a shell command and returns its exit code and what it printed.
    ///
    /// # Errors
    /// If the guest does not boot or answer.
    pub fn exec_code(&mut self, command: &str) -> Result<(i32, String)> {
        self.answer(command, COMMAND)
    }

    fn answer(&mut self, command: &str, patience: Duration) -> Result<(i32, String)> {
        if self.control.is_none() {
            let connected = Control::connect(&self.folder.join("control.sock"), BOOT);
            self.control = Some(connected.with_context(|| self.failure("did not boot"))?);
        }
        let control = self.control.as_mut().expect("it was just connected");
        let answer = control.run(command.as_bytes(), patience);
        let (code, output) = answer.with_context(|| self.failure("does not answer"))?;
        Ok((code, String::from_utf8_lossy(&output).into_owned()))
    }

    /// Writes a file in the guest.
    ///
    /// # Errors
    /// Like [`Guest::exec`].
    pub fn put(&mut self, path: &str, content: &[u8]) -> Result<()> {
        let text = control::to_base64(content);
        self.exec(&format!("echo {text} | base64 -d > {path}")).map(drop)
    }

    /// Reads a file of the guest.
    ///
    /// # Errors
    /// Like [`Guest::exec`].
    pub fn get(&mut self, path: &str) -> Result<Vec<u8>> {
        control::from_base64(self.exec(&format!("base64 {path}"))?.as_bytes())
    }

    /// Starts a TCP server that sends `blocks` MiB of known bytes to each client; [`blocks_sha256`] is their
    /// hash.
    ///
    /// # Errors
    /// Like [`Guest::exec`].
    pub fn serve_blocks(&mut self, l4_port: u16, blocks: u32) -> Result<()> {
        self.exec(&format!(
            "printf '#!/bin/sh\\nfor n in $(seq {blocks}); do cat /block; done\\n' > /tmp/blocks{l4_port}; \
             chmod +x /tmp/blocks{l4_port}; nc -ll -p {l4_port} -e /tmp/blocks{l4_port} > /dev/null 2>&1 &"
        ))?;
        self.wait_for_listener(l4_port)
    }

    /// Starts an HTTP server whose `/` answers with the client's address.
    ///
    /// # Errors
    /// Like [`Guest::exec`].
    pub fn serve_whoami(&mut self, l4_port: u16) -> Result<()> {
        self.exec(&format!("httpd -p {l4_port} -h /www"))?;
        self.wait_for_listener(l4_port)
    }

    /// Connects to a TCP server by number, reads to its end, and returns the hash of what came.
    ///
    /// # Errors
    /// Like [`Guest::exec`].
    pub fn fetch_sha256(&mut self, address: &str, l4_port: u16) -> Result<String> {
        let line = self.exec(&format!("nc {address} {l4_port} | sha256sum"))?;
        Ok(line.split_whitespace().next().unwrap_or_default().to_owned())
    }

    /// The process id of QEMU.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.qemu.id()
    }

    fn wait_for_listener(&mut self, l4_port: u16) -> Result<()> {
        self.exec(&format!(
            "for n in $(seq 50); do netstat -ltn | grep -q ':{l4_port} ' && exit; usleep 100000; done; false"
        ))
        .map(drop)
    }

    fn failure(&self, what: &str) -> String {
        let read = |file| fs::read_to_string(self.folder.join(file)).unwrap_or_default();
        format!("guest {} {what}\n{}{}", self.name, read("qemu.txt"), read("console.txt"))
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let ended = self.qemu.kill().and_then(|()| self.qemu.wait().map(drop));
        if let Err(error) = ended.and_then(|()| fs::remove_dir_all(&self.folder)) {
            eprintln!("guest {}: {error}", self.name);
        }
    }
}

/// The hash of what [`Guest::serve_blocks`] sends.
#[must_use]
pub fn blocks_sha256(blocks: u32) -> String {
    let block = initramfs::block();
    assert_eq!(block.len(), BLOCK_LEN);
    let mut sum = Sha256::new();
    for _ in 0..blocks {
        sum.update(&block);
    }
    sum.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
