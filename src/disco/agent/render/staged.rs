//! Files beside those that they are to become: complete, with their mode and owner, under names that
//! begin with a dot. Each is removed with its value; what a killed agent left is `recovery`'s.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Permissions};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use nix::unistd::{getegid, geteuid};
use tracing::debug;

use super::place::{Dir, Place};
use super::target::Target;

/// How the names begin; then come [`DIGITS`], a dash, and the name that the file is to get: checks may
/// judge by its end.
const PREFIX: &str = ".disco-";

/// Hexadecimal digits of a name.
const DIGITS: usize = 8;

/// As long as a name can be.
const MAX_NAME: usize = 255;

/// What a file beside another is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It is to take its place.
    New,
    /// It was there before.
    Old,
    /// Empty: nothing was there before.
    Absent,
    /// Empty: files are taking their places, and those that have are to go back if this is still there
    /// when nobody is at work.
    Going,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Going, Self::Absent, Self::Old, Self::New];

    /// The end of the name: nobody should take what is kept for what counts.
    fn end(self) -> &'static str {
        match self {
            Self::New => "",
            Self::Old => ".old",
            Self::Absent => ".none",
            Self::Going => ".going",
        }
    }
}

/// A file under a name of ours; removed when dropped, if it is still there.
pub(super) struct Staged {
    pub(super) dir: Rc<Dir>,
    pub(super) name: OsString,
    path: PathBuf,
}

impl Drop for Staged {
    fn drop(&mut self) {
        // It is not there once it has become what it was to be.
        let _ = self.dir.remove(&self.name);
    }
}

impl Staged {
    /// Writes the content of a target. Missing directories are made.
    ///
    /// # Errors
    /// What could not be done, and the remedy.
    pub(super) fn write(target: &Target, content: &[u8]) -> Result<Self, String> {
        let path = &target.place.path;
        let told = |error: io::Error| cannot(path, &error);
        let dir = target.place.made().map_err(told)?;
        let (staged, mut file) = Self::create(dir, &target.place, Kind::New).map_err(told)?;
        file.write_all(content).map_err(told)?;
        if let Some(owner) = target.owner {
            match fchown(&file, Some(owner.uid), Some(owner.gid)) {
                Err(error) if owner.is_asked => {
                    return Err(format!(
                        "{} cannot be given to {}:{}: {error}; only root may give files away: leave `owner` out, or run disco as root",
                        path.display(),
                        owner.uid,
                        owner.gid
                    ));
                }
                Err(error) => {
                    let path = path.display();
                    debug!("{path} will belong to disco, and not to whom it did: {error}");
                }
                Ok(()) => {}
            }
        }
        // Only now, since a change of owner takes some of the bits.
        file.set_permissions(Permissions::from_mode(target.mode))
            .and_then(|()| file.sync_all())
            .map_err(told)?;
        Ok(staged)
    }

    /// Keeps what is at a place under another name: by a link where that can be, else by a copy.
    ///
    /// # Errors
    /// Why it cannot be kept.
    pub(super) fn keep(
        dir: &Rc<Dir>,
        from: &OsStr,
        place: &Place,
        kind: Kind,
    ) -> Result<Self, String> {
        let staged = Self::named(dir.clone(), place, kind);
        if dir.link(from, &staged.name).is_ok() {
            return Ok(staged);
        }
        let copy = || {
            let (staged, mut copy) = Self::create(dir.clone(), place, kind)?;
            let mut file = dir.open(from)?;
            io::copy(&mut file, &mut copy)?;
            like(&copy, &file)?;
            Ok(staged)
        };
        copy().map_err(|error: io::Error| {
            let path = place.path.with_file_name(from);
            format!("{} cannot be kept: {error}", path.display())
        })
    }

    /// An empty file that says something of a place.
    ///
    /// # Errors
    /// Why there can be none.
    pub(super) fn mark(dir: &Rc<Dir>, place: &Place, kind: Kind) -> Result<Self, String> {
        let marked = Self::create(dir.clone(), place, kind);
        marked
            .map(|(staged, _)| staged)
            .map_err(|error| cannot(&place.path, &error))
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves it there.
    pub(super) fn leave(mut self) {
        // No file has this name.
        self.name.clear();
    }

    fn named(dir: Rc<Dir>, place: &Place, kind: Kind) -> Self {
        let name = fresh(&place.name, kind);
        Self {
            path: place.path.with_file_name(&name),
            dir,
            name,
        }
    }

    fn create(dir: Rc<Dir>, place: &Place, kind: Kind) -> io::Result<(Self, File)> {
        let staged = Self::named(dir, place, kind);
        let file = staged.dir.create(&staged.name)?;
        Ok((staged, file))
    }
}

/// Gives a file the mode of another, where they differ, and its owner as far as that may be done:
/// somebody else's file is then still one that can be put back.
fn like(file: &File, other: &File) -> io::Result<()> {
    let (is, to_be) = (file.metadata()?, other.metadata()?);
    if (is.uid(), is.gid()) != (to_be.uid(), to_be.gid()) {
        match fchown(file, Some(to_be.uid()), Some(to_be.gid())) {
            Err(error) if error.raw_os_error() != Some(libc::EPERM) => return Err(error),
            _ => {}
        }
    }
    file.set_permissions(to_be.permissions())
}

/// What a name is there for, if it is one of ours beside a file of that other name.
pub(super) fn kind_of(staged: &OsStr, name: &OsStr) -> Option<Kind> {
    let rest = staged.as_bytes().strip_prefix(PREFIX.as_bytes())?;
    let (digits, rest) = rest.split_at_checked(DIGITS)?;
    let rest = rest.strip_prefix(b"-")?;
    let is_of = |kind: &Kind| {
        let name = shortened(name, *kind);
        rest.strip_suffix(kind.end().as_bytes()) == Some(name)
    };
    let kind = Kind::ALL.into_iter().find(is_of)?;
    digits.iter().all(u8::is_ascii_hexdigit).then_some(kind)
}

/// A name beside another that nothing has.
fn fresh(name: &OsStr, kind: Kind) -> OsString {
    // Keyed by the kernel's random numbers, once for each thread, and counted on.
    let digits = RandomState::new().build_hasher().finish() & 0xffff_ffff;
    let mut fresh = OsString::from(format!("{PREFIX}{digits:0DIGITS$x}-"));
    fresh.push(OsStr::from_bytes(shortened(name, kind)));
    fresh.push(kind.end());
    fresh
}

/// As much of a name as there is room for: its end.
fn shortened(name: &OsStr, kind: Kind) -> &[u8] {
    let room = MAX_NAME - PREFIX.len() - DIGITS - 1 - kind.end().len();
    let bytes = name.as_bytes();
    bytes
        .get(bytes.len().saturating_sub(room)..)
        .unwrap_or_default()
}

/// Why a file cannot be written, with the remedy.
pub(super) fn cannot(path: &Path, error: &io::Error) -> String {
    let dir = path.parent().unwrap_or(Path::new("/")).display();
    let remedy = match error.raw_os_error() {
        Some(libc::EACCES | libc::EPERM) => format!(
            "; disco runs as {}:{}, who must be allowed to write to {dir}",
            geteuid(),
            getegid()
        ),
        Some(libc::EROFS) => format!("; mount something writable at {dir}, such as a tmpfs"),
        Some(libc::ENOSPC | libc::EDQUOT) => format!("; make room in {dir}"),
        Some(libc::ENOTDIR | libc::EEXIST | libc::ELOOP) => {
            "; a part of its path is no directory".to_owned()
        }
        _ => String::new(),
    };
    format!("{} cannot be written: {error}{remedy}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_known_again_and_only_those() {
        let long = "x".repeat(300 - 45);
        for name in ["a.conf", "a", long.as_str()] {
            let name = OsStr::new(name);
            for kind in Kind::ALL {
                let fresh = fresh(name, kind);
                assert_eq!(kind_of(&fresh, name), Some(kind), "{fresh:?}");
                assert_eq!(kind_of(&fresh, OsStr::new("b.conf")), None);
                assert!(fresh.len() <= MAX_NAME);
            }
            assert_ne!(fresh(name, Kind::New), fresh(name, Kind::New));
        }
        for other in [
            "a.conf",
            ".a.conf",
            ".disco-a.conf",
            ".disco-0123456g-a.conf",
            ".disco-01234567-a.conf.bak",
            ".disco-01234567a.conf",
        ] {
            assert_eq!(kind_of(OsStr::new(other), OsStr::new("a.conf")), None);
        }
    }

    #[test]
    fn what_is_kept_is_gone_with_its_value() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("a"), "x").unwrap();
        let count = || std::fs::read_dir(root.path()).unwrap().count();
        let place = Place::find(root.path(), Path::new("/a")).unwrap();
        let dir = place.dir().unwrap();
        let kept = Staged::keep(dir, OsStr::new("a"), &place, Kind::Old).unwrap();
        assert_eq!(
            (count(), std::fs::read(kept.path()).unwrap()),
            (2, b"x".to_vec())
        );
        drop(kept);
        assert_eq!(count(), 1);
        Staged::mark(dir, &place, Kind::Going).unwrap().leave();
        assert_eq!(count(), 2);
    }
}
