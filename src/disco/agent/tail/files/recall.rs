//! Remembers for the next start how far each name has been read, and takes that up at the start.
//!
//! How it is written down is [`state`](super::state)'s. What was never seen is not looked for here.

use std::collections::{HashMap, VecDeque};
use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use tracing::debug;

use super::gather::Sighting;
use super::part::{Id, Part};
use super::state::Record;
use super::{Files, names, part};

/// How many files that keep a place are held open.
pub(super) const MAX_STATES: usize = 64;

impl Files {
    /// Takes up what an earlier run has left. Returns whether it left anything.
    pub(super) fn recall(&mut self, index: usize) -> bool {
        let Some(name) = self.names.get_mut(&index) else {
            return false;
        };
        let Some(place) = name.place.clone().filter(|_| !name.is_recalled) else {
            return false;
        };
        name.is_recalled = true;
        let Some(records) = name.state.load() else {
            return false;
        };
        name.newest = records
            .iter()
            .map(|record| record.newest)
            .max()
            .unwrap_or(0);
        let mut directories: Vec<_> = [&place, &name.path]
            .into_iter()
            .filter_map(|path| path.parent())
            .map(Path::to_owned)
            .collect();
        directories.dedup();
        for (number, record) in records.iter().enumerate() {
            let is_last = number + 1 == records.len();
            let mut parts: VecDeque<_> = self
                .remembered(&place, &directories, record)
                .into_iter()
                .collect();
            if parts.is_empty() {
                parts = self.copies(index, record.offset, record.head, None);
                // What is newer than the copy has records of its own, but for the last one.
                if !is_last {
                    parts.truncate(1);
                } else if !parts.is_empty()
                    && let Ok(Some((file, about))) = part::open(&place)
                    && about.ino() == record.inode
                {
                    parts.push_back(Part::new(file, &about));
                }
            }
            if parts.is_empty() {
                debug!(
                    "{}: what was followed is not there any more",
                    place.display()
                );
                continue;
            }
            let at = self.end_of(index);
            self.begin_rotated(index, at, parts);
        }
        !records.is_empty()
    }

    /// The file that an earlier run followed, wherever it is by now.
    fn remembered(
        &mut self,
        place: &Path,
        directories: &[PathBuf],
        record: &Record,
    ) -> Option<Part> {
        let of = place.file_name().unwrap_or_default();
        let is_it = |known: &HashMap<Id, usize>, file: &File, about: &Metadata| {
            about.ino() == record.inode
                && !known.contains_key(&Id::of(about))
                && about.len() >= record.offset
                && record.head.is_of(file)
        };
        let resumed =
            |file, about: &Metadata| Part::resumed(file, about, record.offset, record.head);
        // Most are where they were, and no directory need be listed.
        if let Ok(Some((file, about))) = part::open(place)
            && is_it(&self.ids, &file, &about)
        {
            return Some(resumed(file, &about));
        }
        // If nothing was read of it there is only its name to know it by.
        let counts = |name: &OsStr| match record.head.is_empty() {
            true => name == of || names::is_kin(name, of),
            false => names::of_state(name).is_none(),
        };
        for directory in directories {
            let files = self.gather(directory, counts, |_, about| about.ino() == record.inode);
            for Sighting { file, about, .. } in files {
                if is_it(&self.ids, &file, &about) {
                    return Some(resumed(file, &about));
                }
            }
        }
        None
    }

    pub(super) fn save(&mut self, index: usize) {
        let Some(name) = self.names.get_mut(&index) else {
            return;
        };
        let streams = name.streams.iter();
        let streams = streams.filter_map(|stream| self.streams.get(stream));
        let parts = streams.flat_map(|stream| stream.parts.iter());
        let records = parts.map(|part| Record {
            inode: part.id.inode,
            offset: part.done,
            newest: name.newest,
            head: part.head,
        });
        let spent = name.spent.filter(|spent| spent.newest == name.newest);
        let records: Vec<_> = spent.into_iter().chain(records).collect();
        // With none left, the last one known says at least what is not new.
        if !records.is_empty() {
            let was_open = name.state.is_open();
            let saved = name.state.save(&records);
            let place = name.path.clone();
            if !was_open && name.state.is_open() {
                self.states.push_back(index);
            }
            if let Err(error) = saved {
                self.tell_forgetful(&place, &error);
            }
        }
        // Each file that is followed has a descriptor of its own already.
        if self.states.len() > MAX_STATES
            && let Some(oldest) = self.states.pop_front()
            && let Some(name) = self.names.get_mut(&oldest)
        {
            name.state.rest();
        }
    }
}
