//! The place kept for the next start: one small hidden file beside each followed one.
//!
//! It holds a line for each generation that is still followed, oldest first, of one width, and a last
//! line; what an earlier, longer text left behind that is not looked at. Written with one call on a
//! descriptor that is kept for a while. No fsync: it is to survive us, not the machine.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use tracing::debug;

use super::part::Head;

/// Begins each line; another version is not understood, and has another word.
const VERSION: &str = "disco-1";

/// Ends the text.
const LAST: &str = "end\n";

/// How many generations are remembered.
const MAX_RECORDS: usize = 64;

/// The place in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) inode: u64,
    /// Everything before this has been dealt with.
    pub(super) offset: u64,
    /// When any generation seen so far was last written, in nanoseconds: unknown ones are newer.
    pub(super) newest: i64,
    /// How the file begins, since the number of a deleted file is soon another's.
    pub(super) head: Head,
}

fn format(records: &[Record]) -> String {
    let mut text = String::new();
    for record in records.iter().take(MAX_RECORDS) {
        let (length, hash) = record.head.parts();
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "{VERSION} {:020} {:020} {:020} {length:03} {hash:016x}",
            record.inode,
            record.offset,
            record.newest.max(0),
        );
    }
    text.push_str(LAST);
    text
}

/// `None` for what is damaged or of another version.
fn parse(text: &str) -> Option<Vec<Record>> {
    let mut records = Vec::new();
    for line in text.split_inclusive('\n') {
        if line == LAST {
            return Some(records);
        }
        let mut words = line.strip_suffix('\n')?.split(' ');
        if words.next()? != VERSION {
            return None;
        }
        records.push(Record {
            inode: words.next()?.parse().ok()?,
            offset: words.next()?.parse().ok()?,
            newest: words.next()?.parse().ok()?,
            head: Head::new(
                words.next()?.parse().ok()?,
                u64::from_str_radix(words.next()?, 16).ok()?,
            )?,
        });
    }
    None
}

/// The file that keeps the place.
pub(super) struct State {
    path: PathBuf,
    file: Option<File>,
    written: String,
    is_refused: bool,
    is_told: bool,
}

impl State {
    /// The state kept at a path; nothing is opened.
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            file: None,
            written: String::new(),
            is_refused: false,
            is_told: false,
        }
    }

    /// What an earlier run left.
    pub(super) fn load(&self) -> Option<Vec<Record>> {
        let mut text = String::new();
        let result =
            open(&self.path, false).and_then(|file| file.take(1 << 16).read_to_string(&mut text));
        match result {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                debug!("{} cannot be read: {error}", self.path.display());
                return None;
            }
            Ok(_) => {}
        }
        let records = parse(&text);
        if records.is_none() {
            debug!("{} is damaged; the place is not known", self.path.display());
        }
        records
    }

    /// Keeps these places, if they are not those kept already.
    ///
    /// # Errors
    /// Why not, the first time.
    pub(super) fn save(&mut self, records: &[Record]) -> io::Result<()> {
        let text = format(records);
        if self.is_refused || text == self.written {
            return Ok(());
        }
        let result = match self.file.take() {
            Some(file) => Ok(file),
            None => open(&self.path, true),
        };
        let result = result.and_then(|file| {
            file.write_all_at(text.as_bytes(), 0)?;
            Ok(file)
        });
        match result {
            Ok(file) => {
                self.file = Some(file);
                self.written = text;
            }
            Err(error) => {
                // A full disk may have room again, a directory return, and other files be closed; what
                // may not be written stays so.
                let passes = [io::ErrorKind::StorageFull, io::ErrorKind::NotFound];
                let is_short = [Some(libc::EMFILE), Some(libc::ENFILE)];
                self.is_refused =
                    !passes.contains(&error.kind()) && !is_short.contains(&error.raw_os_error());
                if !std::mem::replace(&mut self.is_told, true) {
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Whether it holds a descriptor.
    pub(super) fn is_open(&self) -> bool {
        self.file.is_some()
    }

    /// Gives the descriptor back until the next change.
    pub(super) fn rest(&mut self) {
        self.file = None;
    }

    /// Writes anew what somebody has deleted.
    pub(super) fn renew(&mut self) {
        let is_kept = std::fs::symlink_metadata(&self.path).is_ok();
        if !is_kept && !self.written.is_empty() {
            self.file = None;
            self.written.clear();
        }
    }

    /// Removes what is about a file that is no more.
    pub(super) fn remove(&mut self) {
        self.file = None;
        if !self.written.is_empty() {
            // Whoever removed it before has done our work.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn open(path: &Path, to_write: bool) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(to_write)
        .create(to_write)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)?;
    let about = file.metadata()?;
    // With a second name it may be a file that somebody wants us to overwrite.
    if about.is_file() && about.nlink() == 1 {
        Ok(file)
    } else {
        Err(io::Error::other("it is no regular file of ours"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_survive_and_damage_is_seen() {
        let record = |inode, offset| Record {
            inode,
            offset,
            newest: 17,
            head: Head::of(b"abc"),
        };
        let two = [record(u64::MAX, 3), record(2, u64::MAX)];
        let text = format(&two);
        assert_eq!(parse(&text).unwrap(), two);
        let shorter = format(&two[1..]);
        let over = format!("{shorter}{}", &text[shorter.len()..]);
        assert_eq!(parse(&over).unwrap(), two[1..]);
        assert_eq!(parse(LAST).unwrap(), []);
        for damaged in [
            "",
            "x",
            &text[1..],
            &text[..text.len() - 1],
            &text.replace("-1", "-2"),
        ] {
            assert_eq!(parse(damaged), None, "{damaged:?}");
        }
    }

    #[test]
    fn a_link_in_place_of_the_state_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("target");
        std::fs::write(&target, "precious").unwrap();
        let at = dir.path().join(".f.disco");
        let mut state = State::new(at.clone());
        for link in [std::os::unix::fs::symlink, |a: &PathBuf, b: &PathBuf| {
            std::fs::hard_link(a, b)
        }] {
            link(&target, &at).unwrap();
            state.is_refused = false;
            // Told the first time only.
            drop(state.save(&[]));
            assert!(state.is_refused);
            assert_eq!(std::fs::read(&target).unwrap(), b"precious");
            std::fs::remove_file(&at).unwrap();
        }
    }
}
