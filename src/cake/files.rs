//! Files that are either complete or not there: written beside their place, then renamed. And files as
//! anybody may have made them: read without waiting for a pipe, and only up to a size. It does not know
//! what is in them.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

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

/// Writes a file as a whole, through a link if there is one, and keeps its mode; a new one gets `mode`.
/// Returns whether anything changed: a file that is right already is left alone with its time, so that
/// builders take it for the same.
///
/// # Errors
/// The file stands as it was. Something other than a file is not written to.
pub fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<bool> {
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let before = fs::metadata(path).ok();
    if before.is_some() && holds(path, bytes)? {
        return Ok(false);
    }
    let mode = before.map_or(mode, |about| about.permissions().mode() & 0o7777);
    place(path, bytes, mode)?;
    Ok(true)
}

/// Puts a file into its place as a whole; what was there, a link too, makes way for it.
///
/// # Errors
/// What was there stands as it was.
pub fn place(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let dir = match path.parent() {
        Some(dir) if dir != Path::new("") => dir,
        _ => Path::new("."),
    };
    fs::create_dir_all(dir)?;
    let mut staged = tempfile::Builder::new().prefix(".cake-").tempfile_in(dir)?;
    staged.write_all(bytes)?;
    staged
        .as_file()
        .set_permissions(Permissions::from_mode(mode))?;
    staged.as_file().sync_all()?;
    staged.persist(path).map_err(|error| error.error)?;
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
            assert!(write(path, b"x", 0o600).is_err() && holds(path, b"x").is_err());
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
