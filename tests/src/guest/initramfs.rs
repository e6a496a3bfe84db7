//! The guests' whole user space: a static busybox, the modules of its devices, an init and an agent.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::kernel::{self, Kernel};
use crate::netns::output;

/// The bytes that guests send each other come in blocks of this many.
pub const BLOCK_LEN: usize = 1 << 20;

/// Some are built in, depending on the kernel; those are passed over.
const MODULES: [&str; 12] = [
    "virtio_pci",
    "virtio_console",
    "virtio_net",
    "failover",
    "veth",
    "bridge",
    "bonding",
    "sctp",
    "8021q",
    "wireguard",
    "sch_ingress",
    "cls_bpf",
];

const SCRIPTS: [(&str, &str); 3] = [
    ("init", include_str!("init.sh")),
    ("bin/agent", include_str!("agent.sh")),
    ("www/cgi-bin/index.cgi", include_str!("whoami.sh")),
];

/// The archive for this kernel; built anew when what it is made of changed.
pub fn build(kernel: &Kernel) -> Result<PathBuf> {
    let cache = kernel::cache()?;
    let lock = File::create(cache.join("lock"))?;
    lock.lock()?;
    let archive = cache.join("initramfs.cpio");
    let scripts = SCRIPTS.map(|(_, script)| script).concat();
    let recipe = [&scripts, include_str!("initramfs.rs"), &kernel.version].join("\n");
    let noted = cache.join("initramfs.recipe");
    if archive.exists() && fs::read_to_string(&noted).is_ok_and(|text| text == recipe) {
        return Ok(archive);
    }
    let root = cache.join("initramfs");
    if root.exists() {
        fs::remove_dir_all(&root)?;
    }
    fill(&root, kernel)?;
    pack(&root, &archive)?;
    fs::write(noted, recipe)?;
    Ok(archive)
}

/// The archive with programs of this machine under `/tools`, stripped, and the libraries that they need, and with
/// further modules: to be put behind the other one.
pub fn carry(kernel: &Kernel, programs: &[PathBuf], modules: &[&str], folder: &Path) -> Result<PathBuf> {
    let (root, archive) = (folder.join("baggage"), folder.join("baggage.cpio"));
    for inner in ["tools", "modules"] {
        fs::create_dir_all(root.join(inner))?;
    }
    let loaded_first = module_files(kernel, &MODULES)?;
    let mut files = module_files(kernel, modules)?;
    files.retain(|file| !loaded_first.contains(file));
    unpack_modules(&files, &root.join("modules"), "order.more")?;
    for program in programs {
        let program =
            if program.is_absolute() { program.clone() } else { which(&program.to_string_lossy())? };
        let name = program.file_name().context("a program is a file")?;
        output(Command::new("strip").arg("-o").arg(root.join("tools").join(name)).arg(&program))?;
        let libraries = output(Command::new("ldd").arg(&program))?;
        for library in libraries.split_whitespace().filter(|word| word.starts_with('/')) {
            let to = root.join(&library[1..]);
            fs::create_dir_all(to.parent().context("a library is in a folder")?)?;
            fs::copy(library, to)?;
        }
    }
    pack(&root, &archive)?;
    Ok(archive)
}

fn pack(root: &Path, archive: &Path) -> Result<()> {
    let pack = format!("find . | cpio --quiet -o -H newc > {}", archive.display());
    output(Command::new("sh").args(["-c", &pack]).current_dir(root)).map(drop)
}

/// A block of bytes without pattern, the same everywhere.
pub fn block() -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut block = Vec::with_capacity(BLOCK_LEN);
    while block.len() < BLOCK_LEN {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        block.extend(state.to_le_bytes());
    }
    block
}

fn fill(root: &Path, kernel: &Kernel) -> Result<()> {
    for folder in ["bin", "dev", "proc", "sys", "tmp", "run", "modules", "www/cgi-bin"] {
        fs::create_dir_all(root.join(folder))?;
    }
    let busybox = which("busybox")?;
    let applets = output(Command::new(&busybox).arg("--list"))?;
    fs::copy(&busybox, root.join("bin/busybox"))?;
    for applet in applets.lines().filter(|name| *name != "busybox") {
        symlink("busybox", root.join("bin").join(applet))?;
    }
    unpack_modules(&module_files(kernel, &MODULES)?, &root.join("modules"), "order")?;
    fs::write(root.join("block"), block())?;
    for (path, script) in SCRIPTS {
        fs::write(root.join(path), script)?;
        fs::set_permissions(root.join(path), Permissions::from_mode(0o755))?;
    }
    Ok(())
}

/// The files of the modules and all they need, in the order in which to load them.
fn module_files(kernel: &Kernel, modules: &[&str]) -> Result<Vec<PathBuf>> {
    let mut files = vec![];
    for module in modules {
        let mut command = Command::new("modprobe");
        command.arg("-d").arg(&kernel.root).args(["-S", &kernel.version, "--show-depends", module]);
        let text = output(&mut command)?;
        for file in text.lines().filter_map(|line| line.strip_prefix("insmod ")) {
            // Behind it are this machine's options.
            let file = PathBuf::from(file.split(' ').next().unwrap_or_default());
            if !files.contains(&file) {
                files.push(file);
            }
        }
    }
    Ok(files)
}

/// Unpacks them all, and writes down their order.
fn unpack_modules(files: &[PathBuf], folder: &Path, order: &str) -> Result<()> {
    let names = files.iter().map(|file| Ok(unpack_module(file, folder)? + "\n"));
    fs::write(folder.join(order), names.collect::<Result<String>>()?)?;
    Ok(())
}

fn unpack_module(file: &Path, folder: &Path) -> Result<String> {
    let name = file.file_name().context("a module is a file")?.to_string_lossy().into_owned();
    match name.strip_suffix(".xz") {
        None => {
            fs::copy(file, folder.join(&name))?;
            Ok(name)
        }
        Some(plain) => {
            let to = File::create(folder.join(plain))?;
            let status = Command::new("xz").arg("-dc").arg(file).stdout(Stdio::from(to)).status()?;
            ensure!(status.success(), "{} cannot be unpacked", file.display());
            Ok(plain.to_owned())
        }
    }
}

fn which(program: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").context("PATH is not set")?;
    let found = std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.exists());
    found.with_context(|| format!("{program} is not installed"))
}
