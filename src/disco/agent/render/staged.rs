//! Files beside those that they are to become: complete, with their mode and owner, under names that
//! begin with a dot. Each is removed with its value; what a killed agent left is found by its name.

use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use nix::unistd::{getegid, geteuid};
use tracing::debug;

use super::target::Target;

/// How the names begin; then come [`DIGITS`], a dash, and the name that the file is to get: checks may
/// judge by its end.
const PREFIX: &str = ".disco-";

/// Hexadecimal digits of a name.
const DIGITS: usize = 8;

/// The end of the name of a file that is kept: nobody should take it for one that counts.
const KEPT: &str = ".old";

/// A file under a name of ours; removed when dropped, if it is still there.
pub(super) struct Staged {
    path: PathBuf,
}

impl Drop for Staged {
    fn drop(&mut self) {
        // It is not there once it has become what it was to be.
        let _ = fs::remove_file(&self.path);
    }
}

impl Staged {
    /// Writes the content of a target. Missing directories are made.
    ///
    /// # Errors
    /// What could not be done, and the remedy.
    pub(super) fn write(target: &Target, content: &[u8]) -> Result<Self, String> {
        let told = |error: io::Error| cannot(&target.path, &error);
        let dir = target.path.parent().unwrap_or(Path::new("/"));
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o755);
        builder.create(dir).map_err(told)?;
        let (staged, mut file) = Self::create(&target.path, "").map_err(told)?;
        file.write_all(content).map_err(told)?;
        if let Some(owner) = target.owner {
            match fchown(&file, Some(owner.uid), Some(owner.gid)) {
                Err(error) if owner.is_asked => {
                    return Err(format!(
                        "{} cannot be given to {}:{}: {error}; only root may give files away: leave `owner` out, or run disco as root",
                        target.path.display(),
                        owner.uid,
                        owner.gid
                    ));
                }
                Err(error) => {
                    let path = target.path.display();
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

    /// Keeps the file that is at `path` under another name: by a link where that can be, else by a
    /// copy.
    ///
    /// # Errors
    /// Why it cannot be kept.
    pub(super) fn keep(path: &Path) -> io::Result<Self> {
        let staged = Self {
            path: fresh(path, KEPT),
        };
        if fs::hard_link(path, &staged.path).is_ok() {
            return Ok(staged);
        }
        let (staged, mut copy) = Self::create(path, KEPT)?;
        let mut file = File::open(path)?;
        io::copy(&mut file, &mut copy)?;
        like(&copy, &file)?;
        Ok(staged)
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A new file that nobody else can read yet.
    fn create(path: &Path, end: &str) -> io::Result<(Self, File)> {
        let staged = fresh(path, end);
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600);
        let file = file.open(&staged)?;
        Ok((Self { path: staged }, file))
    }
}

/// Gives a file the mode of another, where they differ, and its owner as far as that may be done:
/// somebody else's file is then still one that can be put back.
pub(super) fn like(file: &File, other: &File) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt as _;
    let (is, to_be) = (file.metadata()?, other.metadata()?);
    if (is.uid(), is.gid()) != (to_be.uid(), to_be.gid()) {
        match fchown(file, Some(to_be.uid()), Some(to_be.gid())) {
            Err(error) if error.raw_os_error() != Some(libc::EPERM) => return Err(error),
            _ => {}
        }
    }
    if is.mode() != to_be.mode() {
        file.set_permissions(to_be.permissions())?;
    }
    Ok(())
}

/// Removes what an agent that was killed has left beside a file.
pub(super) fn clear(path: &Path) {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return;
    };
    // A directory that is not there holds nothing.
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if is_of(&entry.file_name(), name) {
            debug!(
                "removing {}, left by a run that was killed",
                entry.path().display()
            );
            // Whoever else removes it does the same.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Whether a name is one of ours for a file of that name.
fn is_of(staged: &OsStr, name: &OsStr) -> bool {
    let rest = staged.as_bytes().strip_prefix(PREFIX.as_bytes());
    let Some((digits, rest)) = rest.and_then(|rest| rest.split_at_checked(DIGITS)) else {
        return false;
    };
    let rest = rest.strip_prefix(b"-").unwrap_or_default();
    let kept = rest.strip_suffix(KEPT.as_bytes());
    let is_named = rest == name.as_bytes() || kept == Some(name.as_bytes());
    is_named && digits.iter().all(u8::is_ascii_hexdigit)
}

/// A name beside `path` that nothing has.
fn fresh(path: &Path, end: &str) -> PathBuf {
    // Keyed by the kernel's random numbers, once for each thread, and counted on.
    let digits = RandomState::new().build_hasher().finish() & 0xffff_ffff;
    let mut name = OsString::from(format!("{PREFIX}{digits:0DIGITS$x}-"));
    name.push(path.file_name().unwrap_or_default());
    name.push(end);
    path.with_file_name(name)
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
        Some(libc::ENOTDIR | libc::EEXIST) => "; a part of its path is no directory".to_owned(),
        _ => String::new(),
    };
    format!("{} cannot be written: {error}{remedy}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_known_again_and_only_those() {
        let path = Path::new("/etc/a.conf");
        let name = OsStr::new("a.conf");
        for end in ["", KEPT] {
            let fresh = fresh(path, end);
            assert_eq!(fresh.parent(), path.parent());
            assert!(is_of(fresh.file_name().unwrap(), name), "{fresh:?}");
            assert!(!is_of(fresh.file_name().unwrap(), OsStr::new("b.conf")));
        }
        assert_ne!(fresh(path, ""), fresh(path, ""));
        for other in [
            "a.conf",
            ".a.conf",
            ".disco-a.conf",
            ".disco-0123456g-a.conf",
            ".disco-01234567-a.conf.bak",
            ".disco-01234567a.conf",
        ] {
            assert!(!is_of(OsStr::new(other), name), "{other}");
        }
    }

    #[test]
    fn what_is_kept_is_gone_with_its_value() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        fs::write(&path, "x").unwrap();
        let count = || fs::read_dir(dir.path()).unwrap().count();
        let kept = Staged::keep(&path).unwrap();
        assert_eq!(
            (count(), fs::read(kept.path()).unwrap()),
            (2, b"x".to_vec())
        );
        drop(kept);
        assert_eq!(count(), 1);
        fs::write(fresh(&path, KEPT), "left").unwrap();
        assert_eq!(count(), 2);
        clear(&path);
        assert_eq!(count(), 1);
    }
}
