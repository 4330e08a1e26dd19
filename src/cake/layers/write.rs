//! Files and directories that get their name once they are complete. What is in them is the caller's.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::scratch::{self, Scratch};
use super::tree::File;
use crate::cake::files::{self, parent};
use crate::contract::problem::Problem;

fn unwritable(path: &Path, error: &io::Error) -> Problem {
    Problem::new(format!("cannot be written: {error}")).in_file(path)
}

/// Writes a file, mode 0644 if it is new, unless it already is just that; whether it was written.
///
/// # Errors
/// That it cannot be written; it is then as it was.
pub fn file(path: &Path, bytes: &[u8]) -> Result<bool, Problem> {
    files::write(path, bytes, 0o644).map_err(|error| unwritable(path, &error))
}

/// Makes `target` the directory that `fill` fills, in place of what is there; parents are made. It is
/// filled beside its place and then takes it in one step, so that there is always one of the two,
/// whenever this ends; what ended runs have left beside it is removed.
///
/// # Errors
/// That it cannot be written; what was there is then there still.
pub fn directory(target: &Path, fill: impl FnOnce(&Path) -> io::Result<()>) -> Result<(), Problem> {
    let write = || {
        let above = parent(target);
        fs::create_dir_all(above)?;
        scratch::clean(above);
        let beside = Scratch::beside(above)?;
        let fresh = beside.path().join(scratch::NEW);
        directory_0755(&fresh)?;
        fill(&fresh)?;
        swap(&fresh, target, &beside.path().join(scratch::OLD))
        // The old one goes with the scratch directory.
    };
    write().map_err(|error| unwritable(target, &error))
}

/// Puts `fresh` where `target` is, and what is there where `fresh` is, or else `stale`.
fn swap(fresh: &Path, target: &Path, stale: &Path) -> io::Result<()> {
    loop {
        match exchange(fresh, target) {
            Err(error) if error.kind() == ErrorKind::NotFound => match fs::rename(fresh, target) {
                // Somebody else was faster.
                Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => {}
                Err(error) if error.kind() == ErrorKind::NotADirectory => {}
                outcome => return outcome,
            },
            // Not every filesystem can.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOSYS)) => {
                fs::rename(target, stale)?;
                let outcome = fs::rename(fresh, target);
                if outcome.is_err() {
                    fs::rename(stale, target)?;
                }
                return outcome;
            }
            outcome => return outcome,
        }
    }
}

#[cfg(target_env = "gnu")]
fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
    renameat2(AT_FDCWD, one, AT_FDCWD, other, RenameFlags::RENAME_EXCHANGE)?;
    Ok(())
}

/// nix knows the call for one C library only.
#[cfg(not(target_env = "gnu"))]
fn exchange(_: &Path, other: &Path) -> io::Result<()> {
    fs::symlink_metadata(other)?;
    Err(io::Error::from_raw_os_error(libc::ENOSYS))
}

/// Copies all that is in a directory and not in the other one yet: files with their modes and times,
/// links as links, repositories of git as well.
///
/// # Errors
/// The first thing that cannot be copied.
pub(super) fn rest(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type()?;
        if kind.is_dir() {
            if !target.exists() {
                directory_0755(&target)?;
            }
            rest(&path, &target)?;
            continue;
        }
        if target.symlink_metadata().is_ok() {
            continue;
        }
        if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(&path)?, &target)?;
        } else if kind.is_file() {
            fs::copy(&path, &target)?;
            let time = entry.metadata()?.modified()?;
            fs::File::open(&target)?.set_modified(time)?;
        }
    }
    Ok(())
}

/// Writes files below an existing directory; modes are 0755 and 0644 whatever the umask. A file that is
/// the same in `kept` keeps its time.
///
/// # Errors
/// The first that cannot be written.
pub fn files<'a>(
    dir: &Path,
    files: impl IntoIterator<Item = (&'a str, &'a File)>,
    kept: Option<&Path>,
) -> io::Result<()> {
    for (path, file) in files {
        let target = dir.join(path);
        let mut missing: Vec<PathBuf> = Vec::new();
        let mut above = parent(&target);
        while !above.exists() {
            missing.push(above.to_owned());
            above = parent(above);
        }
        missing
            .iter()
            .rev()
            .try_for_each(|dir| directory_0755(dir))?;
        let mode = if file.exec { 0o755 } else { 0o644 };
        fs::write(&target, &file.bytes)?;
        fs::set_permissions(&target, Permissions::from_mode(mode))?;
        let old = kept.map(|kept| kept.join(path));
        if let Some(old) = old.filter(|old| is(old, file)) {
            let time = fs::metadata(old)?.modified()?;
            fs::File::options()
                .write(true)
                .open(&target)?
                .set_modified(time)?;
        }
    }
    Ok(())
}

/// Whether just this file is there.
pub(super) fn is(path: &Path, file: &File) -> bool {
    let is_mode = |meta: fs::Metadata| {
        let mode = if file.exec { 0o755 } else { 0o644 };
        meta.is_file() && meta.permissions().mode() & 0o7777 == mode
    };
    fs::symlink_metadata(path).is_ok_and(is_mode)
        && files::holds(path, &file.bytes).unwrap_or(false)
}

fn directory_0755(dir: &Path) -> io::Result<()> {
    fs::create_dir(dir)?;
    fs::set_permissions(dir, Permissions::from_mode(0o755))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_written_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        assert_eq!(file(&path, b"x"), Ok(true));
        assert_eq!(file(&path, b"x"), Ok(false));
        assert_eq!(file(&path, b"y"), Ok(true));
        assert_eq!(fs::read(&path).unwrap(), b"y");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o644
        );
        assert!(file(&path.join("below"), b"x").is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_directory_is_replaced_as_a_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("a/b");
        directory(&target, |dir| fs::write(dir.join("one"), "1")).unwrap();
        directory(&target, |dir| fs::write(dir.join("two"), "2")).unwrap();
        let failed = directory(&target, |dir| {
            fs::write(dir.join("three"), "3")?;
            Err(io::Error::other("enough"))
        });
        assert!(failed.unwrap_err().message.contains("enough"));
        let names: Vec<_> = fs::read_dir(&target)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names, ["two"]);
        assert_eq!(fs::read_dir(dir.path().join("a")).unwrap().count(), 1);
    }

    #[test]
    fn whoever_comes_last_has_it_and_nobody_fails() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("a/b");
        std::thread::scope(|scope| {
            for name in 0..16 {
                let target = &target;
                scope.spawn(move || {
                    for _ in 0..20 {
                        directory(target, |dir| fs::write(dir.join(name.to_string()), "x"))
                            .unwrap();
                    }
                });
            }
        });
        assert_eq!(fs::read_dir(&target).unwrap().count(), 1);
        assert_eq!(fs::read_dir(dir.path().join("a")).unwrap().count(), 1);
    }

    #[test]
    fn a_directory_takes_the_place_of_a_link_and_not_of_what_it_leads_to() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("theirs")).unwrap();
        fs::write(dir.path().join("theirs/x"), "x").unwrap();
        std::os::unix::fs::symlink("theirs", dir.path().join("b")).unwrap();
        directory(&dir.path().join("b"), |_| Ok(())).unwrap();
        assert!(dir.path().join("theirs/x").exists() && !dir.path().join("b").is_symlink());
    }
}
