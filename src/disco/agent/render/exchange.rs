//! The moment at which new files take the place of old ones: all of them, or, where one cannot, none. While
//! it lasts a mark says so, by which `recovery` knows an exchange that was cut.

use std::ffi::{OsStr, OsString};
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};
use std::path::Path;

use tracing::debug;

use super::place::{Dir, Place};
use super::staged::{self, Kind, Staged};
use super::target::{BITS, Target};

/// What follows the name of a file that was replaced.
const BACKUP: &str = ".bak";

/// One file and what is to take its place.
pub(super) struct Change {
    place: Place,
    staged: Staged,
    /// Whether it has to belong to whom it should, even where it is written in place.
    is_owned: bool,
}

impl Change {
    pub(super) fn new(target: &Target, staged: Staged) -> Self {
        Self {
            place: target.place.clone(),
            staged,
            is_owned: target.owner.is_some_and(|owner| owner.is_asked) || target.secret,
        }
    }

    /// That of the backup of a target, if it is to have one.
    ///
    /// # Errors
    /// Why what is there cannot be kept.
    pub(super) fn backup(target: &Target) -> Result<Option<Self>, String> {
        let (Some(dir), true, Some(_)) = (target.place.dir(), target.backup, &target.present)
        else {
            return Ok(None);
        };
        let place = backup_of(&target.place);
        Ok(Some(Self {
            staged: Staged::keep(dir, &target.place.name, &place, Kind::New)?,
            place,
            is_owned: target.secret,
        }))
    }

    /// Where the new file is for now.
    pub(super) fn staged(&self) -> &Path {
        self.staged.path()
    }

    /// Where it is to be.
    pub(super) fn path(&self) -> &Path {
        &self.place.path
    }

    fn put(&self) -> io::Result<()> {
        let (dir, from) = (&self.staged.dir, &self.staged.name);
        replace(dir, from, &self.place.name, self.is_owned)
    }

    /// What is there, kept until the exchange is over.
    fn keep(&self) -> Result<Staged, String> {
        let (dir, name) = (&self.staged.dir, &self.place.name);
        // Of a directory that has come in between no file can take the place, and it stays.
        let is_kept = match dir.about(name) {
            Ok(meta) => !meta.is_dir(),
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        };
        match is_kept {
            true => Staged::keep(dir, name, &self.place, Kind::Old),
            false => Staged::mark(dir, &self.place, Kind::Absent),
        }
    }

    fn put_back(&self, kept: &Staged) -> io::Result<()> {
        let (dir, name) = (&self.staged.dir, &self.place.name);
        match staged::kind_of(&kept.name, name) {
            Some(Kind::Old) => replace(dir, &kept.name, name, false),
            _ => remove(dir, name),
        }
    }
}

/// Puts all of them in place. Old files are kept until the last one is.
///
/// # Errors
/// What could not be done. Everything is then as it was, or the message says what is not.
pub(super) fn all(changes: &[Change]) -> Result<(), String> {
    let Some(first) = changes.first() else {
        return Ok(());
    };
    let cannot = |change: &Change, error| staged::cannot(change.path(), &error);
    if changes.len() == 1 {
        let (dir, from) = (&first.staged.dir, &first.staged.name);
        match dir.rename(from, &first.place.name) {
            // There is nothing between before and after.
            Ok(()) => {
                dir.sync();
                return Ok(());
            }
            Err(error) if is_mount(&error) => {}
            Err(error) => return Err(cannot(first, error)),
        }
    }
    let kept: Vec<Staged> = changes.iter().map(Change::keep).collect::<Result<_, _>>()?;
    let mark = Staged::mark(&first.staged.dir, &first.place, Kind::Going)?;
    for (index, change) in changes.iter().enumerate() {
        let Err(error) = change.put() else {
            continue;
        };
        let mut message = cannot(change, error);
        let mut is_back = true;
        // The last one may be written in part.
        let replaced = changes.iter().zip(&kept).take(index + 1);
        for (change, kept) in replaced.rev() {
            if let Err(error) = change.put_back(kept) {
                message = format!("{message}; {}", not_back(&change.place, &error));
                is_back = false;
            }
        }
        if !is_back {
            // The next run tries again.
            mark.leave();
            kept.into_iter().for_each(Staged::leave);
        }
        return Err(message);
    }
    for change in changes {
        change.staged.dir.sync();
    }
    // From here on it has happened.
    drop(mark);
    Ok(())
}

/// The place of the backup of a file.
pub(super) fn backup_of(place: &Place) -> Place {
    let mut name: OsString = place.name.clone();
    name.push(BACKUP);
    place.beside(name)
}

/// What cannot be put back.
pub(super) fn not_back(place: &Place, error: &io::Error) -> String {
    format!("{} could not be put back: {error}", place.path.display())
}

/// Removes what was new. A directory that has come in between is somebody else's.
pub(super) fn remove(dir: &Dir, name: &OsStr) -> io::Result<()> {
    match dir.about(name) {
        Ok(meta) if meta.is_file() => dir.remove(name),
        _ => Ok(()),
    }
}

/// Has a file take the place of another. One that is a mount of its own cannot be replaced, and is
/// written to in place; with `is_owned` only if it can be given to whom it is to belong.
pub(super) fn replace(dir: &Dir, from: &OsStr, to: &OsStr, is_owned: bool) -> io::Result<()> {
    match dir.rename(from, to) {
        Err(error) if is_mount(&error) => {
            debug!(
                "{} is a mount, and written to in place: {error}",
                to.display()
            );
            write_over(dir, from, to, is_owned)
        }
        outcome => outcome,
    }
}

fn is_mount(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EBUSY | libc::EXDEV))
}

fn write_over(dir: &Dir, from: &OsStr, to: &OsStr, is_owned: bool) -> io::Result<()> {
    let mut source = dir.open(from)?;
    let mut target = dir.open_to_write(to)?;
    let (is, to_be) = (target.metadata()?, source.metadata()?);
    let (old, new) = (is.mode() & BITS, to_be.mode() & BITS);
    // Nobody may read of the new what only the old was for.
    if old & new != old {
        target.set_permissions(Permissions::from_mode(old & new))?;
    }
    let mut is_given = false;
    if (is.uid(), is.gid()) != (to_be.uid(), to_be.gid()) {
        match fchown(&target, Some(to_be.uid()), Some(to_be.gid())) {
            Err(error) if is_owned || error.raw_os_error() != Some(libc::EPERM) => {
                return Err(error);
            }
            outcome => is_given = outcome.is_ok(),
        }
    }
    let length = io::copy(&mut source, &mut target)?;
    target.set_len(length)?;
    // A change of owner takes some of the bits.
    if old != new || is_given {
        target.set_permissions(to_be.permissions())?;
    }
    target.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn what_is_written_over_gets_the_mode_of_the_new() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        fs::write(path("new"), "short").unwrap();
        fs::write(path("old"), "much longer").unwrap();
        fs::set_permissions(path("new"), Permissions::from_mode(0o640)).unwrap();
        fs::set_permissions(path("old"), Permissions::from_mode(0o606)).unwrap();
        let place = Place::find(root.path(), Path::new("/old")).unwrap();
        write_over(
            place.dir().unwrap(),
            OsStr::new("new"),
            OsStr::new("old"),
            true,
        )
        .unwrap();
        assert_eq!(fs::read_to_string(path("old")).unwrap(), "short");
        assert_eq!(fs::metadata(path("old")).unwrap().mode() & BITS, 0o640);
        std::os::unix::fs::symlink("old", path("link")).unwrap();
        let link = OsStr::new("link");
        assert!(write_over(place.dir().unwrap(), OsStr::new("new"), link, true).is_err());
    }
}
