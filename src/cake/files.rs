//! Files that are either complete or not there: written beside their place, then renamed.

use std::fs::{self, Metadata, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

/// What is in a file, if it is there.
///
/// # Errors
/// It is there and cannot be read.
pub fn read_if_there(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
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
/// Nothing is written.
pub fn stage(path: &Path, bytes: &[u8], mode: u32) -> io::Result<Staged> {
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    stage_at(target, bytes, mode)
}

fn stage_at(path: PathBuf, bytes: &[u8], mode: u32) -> io::Result<Staged> {
    let before = fs::symlink_metadata(&path).ok().filter(Metadata::is_file);
    if before.is_some() && read_if_there(&path)?.as_deref() == Some(bytes) {
        return Ok(Staged { path, fresh: None });
    }
    let dir = match path.parent() {
        Some(dir) if dir != Path::new("") => dir,
        _ => Path::new("."),
    };
    fs::create_dir_all(dir)?;
    let mut fresh = tempfile::Builder::new().prefix(".cake-").tempfile_in(dir)?;
    fresh.write_all(bytes)?;
    if let Some(before) = &before {
        // Only root can give files away, and nobody else has to.
        let _ = fchown(fresh.as_file(), Some(before.uid()), Some(before.gid()));
    }
    let mode = before.map_or(mode, |about| about.permissions().mode() & 0o7777);
    fresh
        .as_file()
        .set_permissions(Permissions::from_mode(mode))?;
    fresh.as_file().sync_all()?;
    let fresh = Some(fresh);
    Ok(Staged { path, fresh })
}

/// Writes a file in one go. A link in its place is replaced and not followed: what cake writes for itself
/// has no business elsewhere. Returns whether anything changed.
///
/// # Errors
/// What was there is there still.
pub fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<bool> {
    stage_at(path.to_owned(), bytes, mode)?.commit()
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
