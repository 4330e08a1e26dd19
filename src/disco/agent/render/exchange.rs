//! The moment at which new files take the place of old ones: all of them, or, where one cannot, none.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use tracing::debug;

use super::staged::{self, Staged};
use super::target::Target;

/// What follows the name of a file that was replaced.
const BACKUP: &str = ".bak";

/// One file and what is to take its place.
pub(super) struct Change {
    target: Target,
    staged: Staged,
}

impl Change {
    pub(super) fn new(target: Target, staged: Staged) -> Self {
        Self { target, staged }
    }

    /// Where the new file is for now.
    pub(super) fn staged(&self) -> &Path {
        self.staged.path()
    }

    /// Where it is to be.
    pub(super) fn path(&self) -> &Path {
        &self.target.path
    }
}

/// Puts all of them in place. Old files are kept until the last one is.
///
/// # Errors
/// What could not be done. Everything is then as it was, or the message says what is not.
pub(super) fn all(changes: Vec<Change>) -> Result<(), String> {
    let mut kept = Vec::new();
    for Change { target, .. } in &changes {
        let keep = || {
            Staged::keep(&target.path)
                .map_err(|error| format!("{} cannot be kept: {error}", target.path.display()))
        };
        let backup = match target.present.is_some() && target.backup {
            true => Some(keep()?),
            false => None,
        };
        let old = match target.present.is_some() {
            true => Some(keep()?),
            false => None,
        };
        kept.push((backup, old));
    }
    // First, since what a backup then holds is what is there.
    for (Change { target, .. }, (backup, _)) in changes.iter().zip(&kept) {
        if let Some(backup) = backup {
            let path = beside(&target.path);
            replace(backup.path(), &path).map_err(|error| staged::cannot(&path, &error))?;
        }
    }
    for (index, change) in changes.iter().enumerate() {
        let Err(error) = replace(change.staged(), change.path()) else {
            continue;
        };
        let mut message = staged::cannot(change.path(), &error);
        // The last one may be written in part.
        let replaced = changes.iter().zip(&kept).take(index + 1);
        for (Change { target, .. }, (_, old)) in replaced {
            let back = match old {
                Some(old) => replace(old.path(), &target.path),
                None => remove(&target.path),
            };
            if let Err(error) = back {
                let path = target.path.display();
                message = format!("{message}; {path} could not be put back: {error}");
            }
        }
        return Err(message);
    }
    Ok(())
}

/// The path of the backup of a file.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(BACKUP);
    name.into()
}

/// Removes what was new. A directory that has come in between is somebody else's.
fn remove(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_file() => fs::remove_file(path),
        _ => Ok(()),
    }
}

/// Has a file take the place of another. One that is a mount of its own cannot be replaced, and is
/// written to in place.
fn replace(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::EBUSY | libc::EXDEV)) => {
            debug!(
                "{} is a mount, and written to in place: {error}",
                to.display()
            );
            write_over(from, to)
        }
        outcome => outcome,
    }
}

fn write_over(from: &Path, to: &Path) -> io::Result<()> {
    let mut source = File::open(from)?;
    let mut target = OpenOptions::new().write(true).open(to)?;
    let length = io::copy(&mut source, &mut target)?;
    target.set_len(length)?;
    staged::like(&target, &source)?;
    target.sync_all()
}
