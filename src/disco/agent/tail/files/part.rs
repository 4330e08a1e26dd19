//! One open file and how far it has been read; sees when it does not go on where it stopped.
//!
//! Bytes count only if, after they were read, the file still begins as it did and reaches at least as
//! far: otherwise it was truncated, and they may be from the middle of something new.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::{Duration, Instant};

/// How much of the beginning of a file is remembered.
const HEAD: usize = 256;

/// How long a file must stay as long as it was before a new time of writing means that it was
/// rewritten: within a write the time is new already, and the length is not yet.
pub(super) const SETTLE: Duration = Duration::from_secs(1);

/// Which file, whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Id {
    device: u64,
    pub(super) inode: u64,
}

impl Id {
    /// That of a file.
    pub(super) fn of(about: &Metadata) -> Self {
        Self {
            device: about.dev(),
            inode: about.ino(),
        }
    }
}

/// When a file was last written, in nanoseconds.
pub(super) fn written(about: &Metadata) -> i64 {
    let nanos = about.mtime().saturating_mul(1_000_000_000);
    nanos.saturating_add(about.mtime_nsec())
}

/// How a file begins: length and FNV-1a of as much as was read, 256 bytes at most. It is kept across
/// versions of this program, so it must stay this function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    length: usize,
    hash: u64,
}

impl Head {
    const NONE: Self = Self {
        length: 0,
        hash: 0xcbf2_9ce4_8422_2325,
    };

    /// From what was remembered.
    pub(super) fn new(length: usize, hash: u64) -> Option<Self> {
        (length <= HEAD).then_some(Self { length, hash })
    }

    /// Length and hash.
    pub(super) fn parts(self) -> (usize, u64) {
        (self.length, self.hash)
    }

    /// That of these bytes.
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self::NONE.and(bytes)
    }

    /// With the bytes that follow.
    fn and(mut self, bytes: &[u8]) -> Self {
        for byte in bytes.iter().take(HEAD - self.length) {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
            self.length += 1;
        }
        self
    }

    /// Whether a file begins like this. Nothing is known of where all begin alike.
    pub(super) fn is_of(self, file: &File) -> bool {
        read_head(file, self.length).is_ok_and(|head| head == self)
    }

    /// Whether there is anything to compare.
    pub(super) fn is_empty(self) -> bool {
        self.length == 0
    }
}

fn read_head(file: &File, length: usize) -> io::Result<Head> {
    let mut buffer = [0; HEAD];
    let mut filled = 0;
    while filled < length {
        match file.read_at(
            &mut buffer[filled..length],
            u64::try_from(filled).unwrap_or(0),
        ) {
            Ok(0) => break,
            Ok(size) => filled += size,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Head::of(&buffer[..filled]))
}

/// What came of reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// So many bytes.
    Bytes(usize),
    /// Nothing for now.
    End,
    /// The file does not go on where it stopped.
    Cut,
}

/// Opens what must be a regular file; `None` if it is none. Never waits, not even for a FIFO's writer.
pub(super) fn open(path: &Path) -> io::Result<Option<(File, Metadata)>> {
    // Before opening, because opening alone starts some devices.
    if !std::fs::metadata(path)?.is_file() {
        return Ok(None);
    }
    // std sets O_CLOEXEC.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)?;
    let about = file.metadata()?;
    Ok(about.is_file().then_some((file, about)))
}

/// An open file and the place in it.
pub(super) struct Part {
    pub(super) file: File,
    pub(super) id: Id,
    /// The next byte to read.
    pub(super) offset: u64,
    /// Everything before this has been dealt with.
    pub(super) done: u64,
    pub(super) head: Head,
    /// When it was last written, as of the last reading.
    pub(super) written: i64,
    /// The same when all was read for the first time since the last byte.
    end: Option<i64>,
    is_modified: bool,
    suspect: Option<Instant>,
}

impl Part {
    /// A file from its beginning.
    pub(super) fn new(file: File, about: &Metadata) -> Self {
        Self {
            file,
            id: Id::of(about),
            offset: 0,
            done: 0,
            head: Head::NONE,
            written: written(about),
            end: None,
            is_modified: false,
            suspect: None,
        }
    }

    /// A file from a known place on.
    pub(super) fn resumed(file: File, about: &Metadata, offset: u64, head: Head) -> Self {
        let mut part = Self::new(file, about);
        (part.offset, part.done) = (offset, offset);
        if offset > 0 {
            part.head = head;
        }
        part
    }

    /// A file from its present end on.
    pub(super) fn at_end(file: File, about: &Metadata) -> io::Result<Self> {
        let length = usize::try_from(about.len()).unwrap_or(HEAD).min(HEAD);
        let head = read_head(&file, length)?;
        Ok(Self::resumed(file, about, about.len(), head))
    }

    /// Reads what comes next.
    pub(super) fn read(&mut self, buffer: &mut [u8], now: Instant) -> io::Result<Outcome> {
        // Twice, because more may come between reading and looking; more often for no file that tells
        // its length.
        for _ in 0..2 {
            let size = match self.file.read_at(buffer, self.offset) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                size => size?,
            };
            let about = self.file.metadata()?;
            self.written = written(&about);
            let reached = self
                .offset
                .saturating_add(u64::try_from(size).unwrap_or(u64::MAX));
            if about.len() < reached || !self.head.is_of(&self.file) {
                // Nothing was read that could be cut; an event or the next look brings us back.
                return Ok(if self.offset == 0 {
                    Outcome::End
                } else {
                    Outcome::Cut
                });
            }
            if size > 0 {
                if self.offset == u64::try_from(self.head.length).unwrap_or(u64::MAX) {
                    self.head = self.head.and(&buffer[..size]);
                }
                self.offset = reached;
                (self.end, self.suspect) = (None, None);
                return Ok(Outcome::Bytes(size));
            }
            if about.len() == self.offset {
                return Ok(self.rest(now));
            }
        }
        Ok(Outcome::End)
    }

    /// Stands at the end: unless the file has been rewritten with as many bytes.
    fn rest(&mut self, now: Instant) -> Outcome {
        let end = *self.end.get_or_insert_with(|| {
            self.is_modified = false;
            self.written
        });
        if !self.is_modified || self.written == end || self.offset == 0 {
            self.suspect = None;
            return Outcome::End;
        }
        if *self.suspect.get_or_insert(now + SETTLE) <= now {
            Outcome::Cut
        } else {
            Outcome::End
        }
    }

    /// When to read again even if nothing happens.
    pub(super) fn due(&self) -> Option<Instant> {
        self.suspect
    }

    /// Takes in that the content was changed in some way.
    pub(super) fn modified(&mut self) {
        self.is_modified = true;
        self.suspect = None;
    }

    /// Takes in that the time of writing may have been set by hand.
    pub(super) fn touched(&mut self) {
        if let Some(end) = &mut self.end
            && let Ok(about) = self.file.metadata()
            && about.len() == self.offset
        {
            *end = written(&about);
            self.is_modified = false;
            self.suspect = None;
        }
    }

    /// Begins anew in the same file.
    pub(super) fn rewind(&mut self) {
        (self.offset, self.done, self.head) = (0, 0, Head::NONE);
        (self.end, self.suspect, self.is_modified) = (None, None, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_fnv_1a_however_the_bytes_come() {
        assert_eq!(Head::of(b"").hash, 0xcbf2_9ce4_8422_2325);
        assert_eq!(Head::of(b"foobar").hash, 0x8594_4171_f739_67e8);
        assert_eq!(Head::of(b"foo").and(b"bar"), Head::of(b"foobar"));
        assert_eq!(Head::of(&[1; 300]), Head::of(&[1; 256]));
    }
}
