//! Files that are either complete or not there: written beside their place, then renamed.

use std::fs::{self, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

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

/// Writes a file as a whole, through a link if there is one, and keeps its mode; a new one gets `mode`.
/// Returns whether anything changed: a file that is right already is left alone with its time, so that
/// builders take it for the same.
///
/// # Errors
/// The file stands as it was.
pub fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<bool> {
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let before = fs::metadata(path).ok();
    if before.is_some() && read_if_there(path)?.as_deref() == Some(bytes) {
        return Ok(false);
    }
    let dir = match path.parent() {
        Some(dir) if dir != Path::new("") => dir,
        _ => Path::new("."),
    };
    fs::create_dir_all(dir)?;
    let mut staged = tempfile::Builder::new().prefix(".cake-").tempfile_in(dir)?;
    staged.write_all(bytes)?;
    let mode = before.map_or(mode, |about| about.permissions().mode() & 0o7777);
    staged
        .as_file()
        .set_permissions(Permissions::from_mode(mode))?;
    staged.as_file().sync_all()?;
    staged.persist(path).map_err(|error| error.error)?;
    Ok(true)
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
    fn a_file_keeps_its_mode_and_is_written_through_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("deep/f"), dir.path().join("l"));
        assert!(write(&file, b"a", 0o640).unwrap());
        assert_eq!(
            fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o640
        );
        std::os::unix::fs::symlink("deep/f", &link).unwrap();
        assert!(!write(&link, b"a", 0o644).unwrap());
        assert!(write(&link, b"b", 0o644).unwrap());
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&file).unwrap(), b"b");
        assert_eq!(
            fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o640
        );
        let left = fs::read_dir(file.parent().unwrap()).unwrap().count();
        assert_eq!(left, 1, "nothing but the file is left");
    }
}
