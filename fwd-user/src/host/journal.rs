//! What fwd changed on the host, noted before it is changed, so that `fwd down` gives it back even when no
//! daemon is left that remembers.
//!
//! One JSON line per change, in the state directory. Notes hold for one boot and one network namespace; those
//! of another are dropped, since what they tell of is gone. Not noted: interfaces that fwd made (they carry an
//! alias) and settings below them.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::error::{Error, Result};

/// A change that is to be undone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// A sysctl that had this value.
    Sysctl { key: String, was: String },
    /// L4 ports added to `ip_local_reserved_ports`.
    ReservedL4Ports { low: u16, high: u16 },
    /// A named network namespace that was made.
    Namespace { name: String },
    /// A NIC whose removal of VLAN tags was switched off.
    VlanStripping { device: String },
    /// A NIC that was made to receive all multicast.
    AllMulticast { device: String },
    /// A MAC added to a NIC's receive filter.
    FilterMac { device: String, mac: [u8; 6] },
    /// An interface taken from a Linux bridge, with the netlink attributes that it had as its port.
    TakenFromBridge { device: String, bridge: String, options: Vec<(u16, Vec<u8>)> },
}

/// The notes, in memory and on disk.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    origin: Origin,
    changes: Vec<Change>,
}

/// Where and when the notes hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Origin {
    boot: String,
    namespace: u64,
}

impl Journal {
    const FILE: &str = "host-changes.jsonl";

    /// Reads the notes of a state directory; none is an empty journal.
    ///
    /// # Errors
    /// If the file cannot be read, or is damaged.
    pub fn open(state_dir: &Path) -> Result<Self> {
        let path = state_dir.join(Self::FILE);
        let origin = Origin::current()?;
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => String::new(),
            Err(source) => return Err(Error::File { path, action: "reading it", source }),
        };
        let changes = parse(&text, &origin).map_err(|line| Error::Journal { path: path.clone(), line })?;
        Ok(Self { path, origin, changes })
    }

    /// What was noted, oldest first.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// Notes a change that is about to be made.
    ///
    /// # Errors
    /// If it does not reach the disk; then the change must not be made.
    pub fn note(&mut self, change: Change) -> Result<()> {
        if self.changes.contains(&change) {
            return Ok(());
        }
        self.changes.push(change);
        self.write()
    }

    /// Forgets a change that was undone.
    ///
    /// # Errors
    /// If it does not reach the disk.
    pub fn forget(&mut self, change: &Change) -> Result<()> {
        self.changes.retain(|noted| noted != change);
        self.write()
    }

    /// The file is replaced whole: it is small, and never half of it is there.
    fn write(&self) -> Result<()> {
        let failed = |action| move |source| Error::File { path: self.path.clone(), action, source };
        if self.changes.is_empty() {
            return match fs::remove_file(&self.path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => Err(failed("removing it")(e)),
                _ => Ok(()),
            };
        }
        let mut lines = vec![serde_json::to_string(&self.origin)];
        lines.extend(self.changes.iter().map(serde_json::to_string));
        let text: Vec<String> = lines.into_iter().map(|line| line.expect("plain data is JSON")).collect();
        let new = self.path.with_extension("new");
        let mut file = File::create(&new).map_err(failed("writing it"))?;
        file.write_all((text.join("\n") + "\n").as_bytes()).map_err(failed("writing it"))?;
        file.sync_all().map_err(failed("writing it"))?;
        fs::rename(&new, &self.path).map_err(failed("writing it"))
    }
}

impl Origin {
    fn current() -> Result<Self> {
        let read = |path: &str, source| Error::File { path: path.into(), action: "reading it", source };
        let (boot, namespace) = ("/proc/sys/kernel/random/boot_id", "/proc/thread-self/ns/net");
        let id = fs::read_to_string(boot).map_err(|e| read(boot, e))?;
        let namespace = fs::metadata(namespace).map_err(|e| read(namespace, e))?.ino();
        Ok(Self { boot: id.trim_end().to_owned(), namespace })
    }
}

/// The changes, or the number of the line that is none.
fn parse(text: &str, origin: &Origin) -> std::result::Result<Vec<Change>, usize> {
    let mut lines = text.lines().enumerate();
    let Some((_, first)) = lines.next() else { return Ok(Vec::new()) };
    let noted: Origin = serde_json::from_str(first).map_err(|_| 1_usize)?;
    if noted != *origin {
        return Ok(Vec::new());
    }
    lines.map(|(index, line)| serde_json::from_str(line).map_err(|_| index + 1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(key: &str) -> Change {
        Change::Sysctl { key: key.to_owned(), was: "0".to_owned() }
    }

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("fwd-journal-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).expect("a temporary directory can be made");
        folder
    }

    #[test]
    fn notes_survive_the_process_and_go_with_the_last_change() {
        let folder = folder("survive");
        let mut journal = Journal::open(&folder).expect("no file is an empty journal");
        for key in ["a", "b", "a"] {
            journal.note(change(key)).expect("the directory is there");
        }
        let mut journal = Journal::open(&folder).expect("it was just written");
        assert_eq!(journal.changes(), [change("a"), change("b")]);
        for key in ["a", "b"] {
            journal.forget(&change(key)).expect("the directory is there");
        }
        assert_eq!(fs::read_dir(&folder).expect("the directory is there").count(), 0);
        fs::remove_dir(&folder).expect("it is empty");
    }

    #[test]
    fn notes_of_another_boot_or_namespace_are_dropped() {
        let here = Origin { boot: "x".to_owned(), namespace: 1 };
        let text = "{\"boot\":\"x\",\"namespace\":1}\n{\"namespace\":{\"name\":\"n\"}}\n";
        assert_eq!(parse(text, &here), Ok(vec![Change::Namespace { name: "n".to_owned() }]));
        let elsewhere = Origin { namespace: 2, ..here.clone() };
        assert_eq!(parse(text, &elsewhere), Ok(Vec::new()));
        assert_eq!(parse(&format!("{text}garbage"), &here), Err(3));
    }
}
