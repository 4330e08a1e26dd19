//! Opens files of a directory while others rename them, and misses none.
//!
//! What is wanted is the caller's to say, and so is what to make of it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::DirEntryExt as _;
use std::path::{Path, PathBuf};

use super::part::Id;
use super::{Files, names, part};

/// How often a directory is listed while its names move on. A rotation is over sooner.
const LISTINGS: usize = 128;

/// A regular file somewhere.
pub(super) struct Sighting {
    pub(super) path: PathBuf,
    pub(super) file: File,
    pub(super) about: Metadata,
}

impl Sighting {
    /// What sorts generations, oldest first: the clock that files are stamped with is coarse, and
    /// several may have been written at the same time by it.
    pub(super) fn age(&self, of: &OsStr) -> (i64, Reverse<u32>, PathBuf) {
        let name = self.path.file_name().unwrap_or_default();
        let number = names::number(name, of).unwrap_or(0);
        (
            part::written(&self.about),
            Reverse(number),
            self.path.clone(),
        )
    }
}

impl Files {
    /// Opens regular files of a directory, those whose names count and that are wanted by what is
    /// known of them, each with its name, or none if it has lost that.
    ///
    /// None is missed because it is renamed meanwhile: between the listing and the opening its name may
    /// have become another's. So all is listed again after that, until this says the same: then each
    /// name was the same file's all the time.
    pub(super) fn gather(
        &mut self,
        directory: &Path,
        counts: impl Fn(&OsStr) -> bool,
        wants: impl Fn(&Path, &Metadata) -> bool,
    ) -> Vec<Sighting> {
        let mut found: HashMap<Id, Sighting> = HashMap::new();
        let mut listed = self.list(directory, &counts);
        for _ in 0..LISTINGS {
            found.values_mut().for_each(|file| file.path.clear());
            for name in listed.keys() {
                let path = directory.join(name);
                // Most are not wanted, and need not be opened.
                let Ok(about) = std::fs::metadata(&path) else {
                    continue;
                };
                if let Some(file) = found.get_mut(&Id::of(&about)) {
                    (file.path, file.about) = (path, about);
                    continue;
                }
                if !about.is_file() || !wants(&path, &about) {
                    continue;
                }
                match part::open(&path) {
                    Ok(Some((file, about))) => {
                        found.insert(Id::of(&about), Sighting { path, file, about });
                    }
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        self.tell_refused(&path, "read", &error);
                    }
                    Ok(None) | Err(_) => {}
                }
            }
            let now = self.list(directory, &counts);
            if now == listed {
                break;
            }
            listed = now;
        }
        // What was opened in place of another.
        found.retain(|_, file| wants(&file.path, &file.about));
        found.into_values().collect()
    }

    /// The names in a directory that count, and what they are names of.
    fn list(
        &mut self,
        directory: &Path,
        counts: impl Fn(&OsStr) -> bool,
    ) -> BTreeMap<OsString, u64> {
        let entries = match std::fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    self.tell_refused(directory, "listed", &error);
                }
                return BTreeMap::new();
            }
        };
        let entries = entries
            .flatten()
            .map(|entry| (entry.file_name(), entry.ino()));
        entries.filter(|(name, _)| counts(name)).collect()
    }
}
