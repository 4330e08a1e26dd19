//! Files that are either complete or not there: written beside their place, then renamed. And files as
//! anybody may have made them: read without waiting for a pipe, and only up to a size. It does not know
//! what is in them.

use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use crate::contract::problem::Problem;

/// The largest file that people write, in bytes: `cake.conf`, a lock, a Dockerfile, a contract.
pub const MAX_TEXT: u64 = 16 << 20;

/// Opens a regular file, through links; nothing else is waited for.
fn open(path: &Path) -> io::Result<(File, u64)> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)?;
    let about = file.metadata()?;
    match about.is_file() {
        true => Ok((file, about.len())),
        false => Err(io::Error::other("it is no regular file")),
    }
}

/// What is in a regular file of at most `limit` bytes.
///
/// # Errors
/// It cannot be read, is something else, or larger.
pub fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let (file, size) = open(path)?;
    let too_large = || io::Error::other(format!("it is larger than {} MiB", limit >> 20));
    if size > limit {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    // It may have grown since.
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    match u64::try_from(bytes.len()).is_ok_and(|size| size <= limit) {
        true => Ok(bytes),
        false => Err(too_large()),
    }
}

/// What is in a file of at most [`MAX_TEXT`] bytes.
///
/// # Errors
/// As of [`read()`].
pub fn read_small(path: &Path) -> io::Result<Vec<u8>> {
    read(path, MAX_TEXT)
}

/// The text in a file of at most [`MAX_TEXT`] bytes.
///
/// # Errors
/// As of [`read()`]; it is no UTF-8.
pub fn read_text(path: &Path) -> io::Result<String> {
    String::from_utf8(read_small(path)?)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is no UTF-8"))
}

/// What is in a file of at most [`MAX_TEXT`] bytes, if it is there.
///
/// # Errors
/// It is there and cannot be read.
pub fn read_if_there(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match read_small(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether a file, whatever its size, holds just these bytes; one that is not there does not.
///
/// # Errors
/// It is there and cannot be read.
pub fn holds(path: &Path, bytes: &[u8]) -> io::Result<bool> {
    let (file, size) = match open(path) {
        Ok(opened) => opened,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    if u64::try_from(bytes.len()).is_ok_and(|wanted| wanted != size) {
        return Ok(false);
    }
    let mut there = Vec::with_capacity(bytes.len());
    file.take(size.saturating_add(1)).read_to_end(&mut there)?;
    Ok(there == bytes)
}

/// A file that is complete, and not yet in its place.
#[derive(Debug)]
pub struct Staged {
    path: PathBuf,
    /// `None` where what is there is right already.
    fresh: Option<tempfile::NamedTempFile>,
}

impl Staged {
    /// Puts it in its place. Returns whether anything changed.
    ///
    /// # Errors
    /// What was there is there still.
    pub fn commit(self) -> io::Result<bool> {
        let Some(fresh) = self.fresh else {
            return Ok(false);
        };
        fresh.persist(&self.path).map_err(|error| error.error)?;
        Ok(true)
    }
}

/// Writes a file beside its place, through a link if there is one, with the mode and, as far as may be, the
/// owner of what it replaces; a new one gets `mode`. A file that is right already is left alone with its
/// time, so that builders take it for the same.
///
/// # Errors
/// Nothing is written. Something other than a file is not written to.
pub fn stage(path: &Path, bytes: &[u8], mode: u32) -> io::Result<Staged> {
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    stage_at(target, bytes, mode)
}

fn stage_at(path: PathBuf, bytes: &[u8], mode: u32) -> io::Result<Staged> {
    let there = fs::symlink_metadata(&path).ok();
    if there
        .as_ref()
        .is_some_and(|about| !about.is_file() && !about.is_symlink())
    {
        return Err(io::Error::other("it is no regular file"));
    }
    let before = there.filter(Metadata::is_file);
    if before.is_some() && holds(&path, bytes)? {
        return Ok(Staged { path, fresh: None });
    }
    let mode = before
        .as_ref()
        .map_or(mode, |about| about.permissions().mode() & 0o7777);
    let fresh = fresh(&path, bytes, mode)?;
    if let Some(before) = &before {
        // Only root can give files away, and nobody else has to.
        let _ = fchown(fresh.as_file(), Some(before.uid()), Some(before.gid()));
        // Which may have taken bits of it.
        fresh
            .as_file()
            .set_permissions(Permissions::from_mode(mode))?;
    }
    let fresh = Some(fresh);
    Ok(Staged { path, fresh })
}

/// The directory that something is in.
pub(super) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// A complete file beside its place.
fn fresh(path: &Path, bytes: &[u8], mode: u32) -> io::Result<tempfile::NamedTempFile> {
    let dir = parent(path);
    fs::create_dir_all(dir)?;
    let mut fresh = tempfile::Builder::new().prefix(".cake-").tempfile_in(dir)?;
    fresh.write_all(bytes)?;
    fresh
        .as_file()
        .set_permissions(Permissions::from_mode(mode))?;
    fresh.as_file().sync_all()?;
    Ok(fresh)
}

/// Writes a file in one go. A link in its place is replaced and not followed: what cake writes for itself
/// has no business elsewhere. Returns whether anything changed.
///
/// # Errors
/// What was there is there still.
pub fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<bool> {
    stage_at(path.to_owned(), bytes, mode)?.commit()
}

/// Puts a file with just this mode into its place; what was there makes way for it.
///
/// # Errors
/// What was there stands as it was.
pub fn place(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let fresh = fresh(path, bytes, mode)?;
    fresh.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// That a directory which is cake's own is a link, or no directory: what is written below it, and what
/// is removed, would be somebody else's.
///
/// # Errors
/// Just that; one that is not there is fine.
pub fn own_directory(dir: &Path) -> Result<(), Problem> {
    let message = match fs::symlink_metadata(dir) {
        Ok(about) if about.is_symlink() => {
            "is a link, and cake writes to no place but this one; remove it"
        }
        Ok(about) if !about.is_dir() => "is no directory; remove it",
        _ => return Ok(()),
    };
    Err(Problem::new(message).in_file(dir))
}

/// Removes a file, if it is there.
///
/// # Errors
/// It is there still.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Sets the permissions of a file.
///
/// # Errors
/// As of chmod(2).
pub fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(mode))
}

/// Whether a file is there and has these permissions.
#[must_use]
pub fn has_mode(path: &Path, mode: u32) -> bool {
    fs::metadata(path).is_ok_and(|about| about.permissions().mode() & 0o7777 == mode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_of_a_fair_size_are_read_and_no_pipe_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let (pipe, file, link) = (
            dir.path().join("p"),
            dir.path().join("f"),
            dir.path().join("l"),
        );
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
        for path in [pipe.as_path(), dir.path(), Path::new("/dev/zero")] {
            let told = read_small(path).unwrap_err().to_string();
            assert_eq!(told, "it is no regular file");
            assert!(stage(path, b"x", 0o600).is_err() && holds(path, b"x").is_err());
        }
        fs::write(&file, "abc").unwrap();
        std::os::unix::fs::symlink("f", &link).unwrap();
        assert_eq!(read(&link, 3).unwrap(), b"abc");
        assert!(read(&link, 2).is_err());
        assert!(holds(&link, b"abc").unwrap() && !holds(&link, b"abd").unwrap());
        assert!(!holds(&link, b"ab").unwrap() && !holds(&dir.path().join("none"), b"").unwrap());
        File::create(&file).unwrap().set_len(MAX_TEXT + 1).unwrap();
        assert!(
            read_small(&file)
                .unwrap_err()
                .to_string()
                .contains("16 MiB")
        );
        assert!(read_if_there(&dir.path().join("none")).unwrap().is_none());
    }

    #[test]
    fn what_is_put_into_its_place_follows_no_link() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("f"), dir.path().join("l"));
        fs::write(&file, "theirs").unwrap();
        std::os::unix::fs::symlink("f", &link).unwrap();
        place(&link, b"ours", 0o755).unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"theirs");
        assert_eq!(fs::read(&link).unwrap(), b"ours");
        assert!(has_mode(&link, 0o755));
    }

    #[test]
    fn a_directory_of_cakes_own_is_no_link() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(".", dir.path().join("l")).unwrap();
        fs::write(dir.path().join("f"), "").unwrap();
        assert!(own_directory(dir.path()).is_ok());
        assert!(own_directory(&dir.path().join("none")).is_ok());
        assert!(own_directory(&dir.path().join("l")).is_err());
        assert!(own_directory(&dir.path().join("f")).is_err());
    }

    #[test]
    fn a_file_keeps_its_mode_and_only_what_is_the_users_is_written_through_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("deep/f"), dir.path().join("l"));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let through = |bytes: &[u8]| stage(&link, bytes, 0o644).and_then(Staged::commit).unwrap();
        assert!(write(&file, b"a", 0o640).unwrap());
        assert_eq!(mode(&file), 0o640);
        std::os::unix::fs::symlink("deep/f", &link).unwrap();
        assert!(!through(b"a"));
        assert!(through(b"b"));
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&file).unwrap(), b"b");
        assert_eq!(mode(&file), 0o640);
        assert!(write(&link, b"b", 0o644).unwrap());
        assert!(fs::symlink_metadata(&link).unwrap().is_file());
        drop(stage(&file, b"never", 0o644).unwrap());
        let left = fs::read_dir(file.parent().unwrap()).unwrap().count();
        assert_eq!((left, fs::read(&file).unwrap()), (1, b"b".to_vec()));
    }
}
