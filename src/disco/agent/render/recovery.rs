//! What an agent that was killed has left beside files: an exchange that was under way is taken back, and
//! the rest is removed. Where somebody else is at work, in another container on the same volume, nothing
//! is touched.

use std::ffi::OsString;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::rc::Rc;

use nix::unistd::geteuid;
use tracing::{debug, warn};

use super::exchange;
use super::place::{self, Dir, Place};
use super::staged::{self, Kind};

/// Something that was left beside a file.
struct Left {
    place: Place,
    dir: Rc<Dir>,
    name: OsString,
    kind: Kind,
}

/// Clears up beside these files, and says that there is work until the places are dropped.
///
/// # Errors
/// What could not be put back: then it is still kept.
pub(super) fn run(mut places: Vec<&mut Place>) -> Result<(), String> {
    let dirs = place::unite(places.iter_mut().map(|place| &mut **place));
    let outcome = match dirs.iter().all(|dir| dir.is_ours()) {
        true => clear_up(&places),
        false => Ok(()),
    };
    for dir in &dirs {
        dir.share();
    }
    outcome
}

fn clear_up(places: &[&mut Place]) -> Result<(), String> {
    let mut all: Vec<Left> = Vec::new();
    for place in places {
        let Some(dir) = place.dir() else {
            continue;
        };
        let names = dir.names();
        // A backup takes part in an exchange like any other file.
        for place in [(**place).clone(), exchange::backup_of(place)] {
            let kinds = names.iter().map(|name| staged::kind_of(name, &place.name));
            for (name, kind) in names.iter().zip(kinds) {
                all.extend(kind.map(|kind| Left {
                    place: place.clone(),
                    dir: dir.clone(),
                    name: name.clone(),
                    kind,
                }));
            }
        }
    }
    if all.iter().any(Left::is_mark) {
        warn!("a run was killed while its files took their places: the old ones are put back");
        for left in &all {
            left.put_back()?;
        }
    }
    // The mark last, should this be cut as well.
    all.sort_by_key(|left| left.kind == Kind::Going);
    for left in all {
        let path = left.place.path.with_file_name(&left.name);
        debug!("removing {}, left by a run that was killed", path.display());
        // It is not there if it was put back; whoever else removes it does the same.
        let _ = left.dir.remove(&left.name);
    }
    Ok(())
}

impl Left {
    /// Whether it says that an exchange was under way, and was made by us: in a directory that others may
    /// write to, it would have us put anything in place of a file.
    fn is_mark(&self) -> bool {
        let is_ours = |meta: std::fs::Metadata| {
            meta.is_file()
                && (meta.uid(), meta.nlink(), meta.len()) == (geteuid().as_raw(), 1, 0)
                && meta.permissions().mode().trailing_zeros() >= 7
        };
        self.kind == Kind::Going && self.dir.about(&self.name).is_ok_and(is_ours)
    }

    fn put_back(&self) -> Result<(), String> {
        let (dir, to) = (&self.dir, &self.place.name);
        let back = match self.kind {
            Kind::Old => exchange::replace(dir, &self.name, to, false),
            Kind::Absent => exchange::remove(dir, to),
            Kind::New | Kind::Going => return Ok(()),
        };
        back.map_err(|error| exchange::not_back(&self.place, &error))
    }
}
