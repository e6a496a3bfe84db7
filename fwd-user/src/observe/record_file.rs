//! A file of JSON lines that is kept for so long, and never grows beyond so much: the audit log, the log of flows.
//!
//! The file with the plain name is written; closed parts have a number after it, the later the higher. A part is
//! closed when it has an eighth of the room, or of the time. Lines are whole: what a full disk or a power cut left
//! of one is cut off, or ended, before the next.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// A file's share of the room and of the time.
const PARTS: u32 = 8;

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    pub bytes: u64,
    pub age: Duration,
}

/// The file that is written, with its closed parts beside it.
#[derive(Debug)]
pub struct RecordFile {
    path: PathBuf,
    file: File,
    len: u64,
    begun: SystemTime,
    keep: Keep,
}

impl RecordFile {
    /// # Errors
    /// If it cannot be written.
    pub fn open(path: &Path, keep: Keep) -> io::Result<Self> {
        let mut file = open(path)?;
        let metadata = file.metadata()?;
        // Not every filesystem knows; then the part is closed later than it might.
        let begun = metadata.created().unwrap_or_else(|_| SystemTime::now());
        let mut len = metadata.len();
        if len > 0 {
            let mut last = [0];
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
            if last != *b"\n" {
                file.write_all(b"\n")?;
                len += 1;
            }
        }
        Ok(Self { path: path.to_owned(), file, len, begun, keep })
    }

    pub const fn set_keep(&mut self, keep: Keep) {
        self.keep = keep;
    }

    /// Adds whole lines, all or none, to a part that has room for them.
    ///
    /// # Errors
    /// Nothing was added then.
    pub fn append(&mut self, lines: &[u8], now: SystemTime) -> io::Result<()> {
        let is_over = self.len + lines.len() as u64 > self.keep.bytes / u64::from(PARTS);
        let is_old = now.duration_since(self.begun).is_ok_and(|age| age > self.keep.age / PARTS);
        if self.len > 0 && (is_over || is_old) {
            self.close_part(now, lines.len() as u64)?;
        }
        if let Err(error) = self.file.write_all(lines) {
            self.file.set_len(self.len)?;
            return Err(error);
        }
        self.len += lines.len() as u64;
        Ok(())
    }

    /// Makes what was added durable.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Gives every line to `take`, the latest part's first, until a part had one that it wanted.
    ///
    /// # Errors
    /// If a part cannot be read.
    pub fn read_back(&self, mut take: impl FnMut(&str) -> bool) -> io::Result<()> {
        let closed = self.closed()?.into_iter().rev().map(|(_, path)| path);
        for path in std::iter::once(self.path.clone()).chain(closed) {
            let mut is_enough = false;
            for line in BufReader::new(File::open(path)?).split(b'\n') {
                is_enough |= take(&String::from_utf8_lossy(&line?));
            }
            if is_enough {
                break;
            }
        }
        Ok(())
    }

    fn close_part(&mut self, now: SystemTime, coming: u64) -> io::Result<()> {
        self.file.sync_data()?;
        let next = self.closed()?.last().map_or(1, |(number, _)| number + 1);
        fs::rename(&self.path, self.part(next))?;
        self.file = open(&self.path)?;
        if let Some(folder) = self.path.parent() {
            File::open(folder)?.sync_all()?;
        }
        (self.len, self.begun) = (0, now);
        self.forget(now, coming)
    }

    /// Deletes closed parts that are too old, or for which there is no room beside the part that begins: its share,
    /// or the lines that are coming where they are more.
    fn forget(&self, now: SystemTime, coming: u64) -> io::Result<()> {
        let share = self.keep.bytes / u64::from(PARTS);
        let mut room = self.keep.bytes.saturating_sub(coming.max(share));
        for (_, path) in self.closed()?.into_iter().rev() {
            let metadata = fs::metadata(&path)?;
            let is_old = now.duration_since(metadata.modified()?).is_ok_and(|age| age > self.keep.age);
            room = if is_old { 0 } else { room.saturating_sub(metadata.len()) };
            if room == 0 {
                fs::remove_file(&path)?;
            }
        }
        Ok(())
    }

    fn part(&self, number: u64) -> PathBuf {
        let mut name = OsString::from(&self.path);
        name.push(format!(".{number}"));
        name.into()
    }

    /// The closed parts, the latest last.
    fn closed(&self) -> io::Result<Vec<(u64, PathBuf)>> {
        let (Some(folder), Some(name)) = (self.path.parent(), self.path.file_name()) else {
            return Ok(Vec::new());
        };
        let prefix = format!("{}.", name.to_string_lossy());
        let mut parts = Vec::new();
        for entry in fs::read_dir(folder)? {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix(&prefix)?.parse().ok());
            parts.extend(number.map(|number| (number, folder.join(&name))));
        }
        parts.sort();
        Ok(parts)
    }
}

fn open(path: &Path) -> io::Result<File> {
    File::options().create(true).read(true).append(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);
    const KEEP: Keep = Keep { bytes: 800, age: Duration::from_secs(180 * 86_400) };

    fn line(n: u32) -> Vec<u8> {
        format!("{{\"n\":{n:>42}}}\n").into_bytes()
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("our own folder");
        let mut names: Vec<_> =
            entries.map(|e| e.expect("an entry").file_name().into_string().expect("text")).collect();
        names.sort();
        names
    }

    #[test]
    fn the_oldest_parts_go_when_the_room_is_used_up() {
        let folder = tempfile::tempdir().expect("temporary folders can be made");
        let path = folder.path().join("log");
        let mut file = RecordFile::open(&path, KEEP).expect("it can be made");
        for n in 0..40 {
            file.append(&line(n), SystemTime::now()).expect("there is room");
        }
        let total: u64 =
            names(folder.path()).iter().map(|n| fs::metadata(folder.path().join(n)).expect("it").len()).sum();
        assert!(total <= KEEP.bytes, "{total}");
        let mut seen = Vec::new();
        file.read_back(|line| {
            seen.push(line.to_owned());
            false
        })
        .expect("they can be read");
        assert!(
            seen.iter().any(|l| l.contains(" 39}")) && !seen.iter().any(|l| l.contains(" 0}")),
            "{seen:?}"
        );
        assert_eq!(names(folder.path())[0], "log");
    }

    #[test]
    fn lines_of_more_than_a_parts_share_get_their_room_too() {
        let folder = tempfile::tempdir().expect("temporary folders can be made");
        let mut file = RecordFile::open(&folder.path().join("log"), KEEP).expect("it can be made");
        for _ in 0..9 {
            let lines: Vec<u8> = (0..6).flat_map(line).collect();
            file.append(&lines, SystemTime::now()).expect("there is room");
            let sizes = names(folder.path())
                .into_iter()
                .map(|name| fs::metadata(folder.path().join(name)).expect("it is there").len());
            let total: u64 = sizes.sum();
            assert!(lines.len() as u64 > KEEP.bytes / u64::from(PARTS) && total <= KEEP.bytes, "{total}");
        }
    }

    #[test]
    fn a_part_is_closed_by_age_and_goes_when_its_last_line_is_too_old() {
        let folder = tempfile::tempdir().expect("temporary folders can be made");
        let path = folder.path().join("log");
        let mut file = RecordFile::open(&path, KEEP).expect("it can be made");
        let now = SystemTime::now();
        file.append(&line(0), now).expect("there is room");
        file.append(&line(1), now + 22 * DAY).expect("there is room");
        assert_eq!(names(folder.path()), ["log"], "an eighth of the time is not over");
        file.append(&line(2), now + 23 * DAY).expect("there is room");
        assert_eq!(names(folder.path()), ["log", "log.1"]);
        file.append(&line(3), now + 204 * DAY).expect("there is room");
        assert_eq!(names(folder.path()), ["log"]);
    }

    #[test]
    fn what_a_crash_left_of_a_line_ends_before_the_next() {
        let folder = tempfile::tempdir().expect("temporary folders can be made");
        let path = folder.path().join("log");
        fs::write(&path, "{\"n\":1}\n{\"n\"").expect("our own folder");
        let mut file = RecordFile::open(&path, KEEP).expect("it can be made");
        file.append(b"{\"n\":2}\n", SystemTime::now()).expect("there is room");
        assert_eq!(fs::read_to_string(&path).expect("it is there"), "{\"n\":1}\n{\"n\"\n{\"n\":2}\n");
    }
}
