//! Gives files up that lost their name: when they are quiet for long enough, or too many.
//!
//! One that has another name which is followed goes on under that. Touches no file that has its name, and
//! closes none before [`read`](super::read) has come to its end.

use std::os::unix::fs::MetadataExt as _;
use std::time::Instant;

use super::part::{Id, Part};
use super::settle::MAX_STREAMS;
use super::state::Record;
use super::{Files, Root, names};

/// How many files that lost a name are followed on, once they are read.
pub(super) const MAX_ROTATED: usize = 16;

impl Files {
    /// Takes in that time passes.
    pub(super) fn pass(&mut self, now: Instant) {
        let mut quiet = Vec::new();
        let mut suspect = Vec::new();
        for (index, stream) in &self.streams {
            let since = stream.quiet_since();
            if since.is_some_and(|since| since + self.quiet <= now) {
                quiet.push(*index);
            }
            let due = stream.parts.front().and_then(Part::due);
            if due.is_some_and(|due| due <= now) {
                suspect.push(*index);
            }
        }
        for index in quiet {
            self.leave(index);
        }
        suspect.into_iter().for_each(|index| self.wake(index));
        let is_full = self.streams.len() >= MAX_STREAMS;
        if self.is_over_limit && !is_full {
            self.is_over_limit = false;
            self.scan_all();
        }
    }

    /// Gives up the oldest of too many files that lost their name, all of which have been read.
    pub(super) fn limit(&mut self, name: usize) {
        let Some(name) = self.names.get(&name) else {
            return;
        };
        let rotated = name.streams.iter().copied().filter(|index| {
            let stream = self.streams.get(index);
            stream.is_some_and(|stream| stream.quiet_since().is_some())
        });
        let rotated: Vec<_> = rotated.collect();
        let surplus = rotated.len().saturating_sub(MAX_ROTATED);
        for index in rotated.into_iter().take(surplus) {
            self.leave(index);
        }
    }

    /// Has a stream that lost its name go on under another, or else end where it is read to its end.
    fn leave(&mut self, index: usize) {
        if self.settle_under_new_name(index) {
            return;
        }
        if let Some(stream) = self.streams.get_mut(&index) {
            stream.is_leaving = true;
        }
        self.wake(index);
    }

    /// Has a file that was given another name that counts be followed under that, once it is no more
    /// followed under the old one. Returns whether it has one.
    fn settle_under_new_name(&mut self, index: usize) -> bool {
        let Some(stream) = self.streams.get(&index) else {
            return false;
        };
        let (old, Some(id)) = (stream.name, stream.parts.back().map(|part| part.id)) else {
            return false;
        };
        let mut places = Vec::new();
        for root in 0..self.roots.len() {
            let Root {
                path, directory, ..
            } = &self.roots[root];
            let (path, directory) = (path.clone(), directory.clone());
            match directory {
                Some(directory) => {
                    let files =
                        self.gather(&directory, names::is_log, |_, about| Id::of(about) == id);
                    let name = files.first().and_then(|file| file.path.file_name());
                    places.extend(name.map(|name| (root, path.join(name), directory.join(name))));
                }
                None => {
                    let about = std::fs::metadata(&path).ok();
                    if about.is_some_and(|about| Id::of(&about) == id) {
                        places.push((root, path.clone(), path));
                    }
                }
            }
        }
        let Some((root, path, place)) = places.pop() else {
            return false;
        };
        let Some(new) = self
            .enter(root, &path, Some(&place))
            .filter(|new| *new != old)
        else {
            return false;
        };
        if let Some(name) = self.names.get_mut(&old) {
            name.streams.retain(|of| *of != index);
        }
        if let Some(stream) = self.streams.get_mut(&index) {
            stream.name = new;
        }
        if let Some(name) = self.names.get_mut(&new) {
            name.is_recalled = true;
            name.streams.push(index);
        }
        self.succeed(new, Some(index));
        self.save(new);
        self.save(old);
        self.wake(index);
        true
    }

    /// Gives a stream up; what is left of it waits for [`Self::done`].
    pub(super) fn close(&mut self, index: usize) {
        let Some(stream) = self.streams.get_mut(&index) else {
            return;
        };
        // Its descriptor is free in a moment.
        self.is_over_limit |= std::mem::take(&mut self.is_short);
        let mut is_deleted = false;
        let mut spent = None;
        if let Some(part) = stream.parts.back() {
            self.ids.remove(&part.id);
            is_deleted = part.file.metadata().is_ok_and(|about| about.nlink() == 0);
            spent = Some(Record {
                inode: part.id.inode,
                offset: part.offset,
                newest: part.written,
                head: part.head,
            });
        }
        if let Some(watch) = stream.watch.take() {
            self.watched.remove(&watch);
            // Fails where the kernel has removed it along with the inode.
            let _ = self.inotify.rm_watch(watch);
        }
        stream.parts.clear();
        (stream.rotated, stream.is_ready) = (None, false);
        if let Some(name) = self.names.get_mut(&stream.name) {
            name.is_deleted = is_deleted;
            let last = spent.filter(|spent| !is_deleted && spent.newest == name.newest);
            name.spent = last.or(name.spent);
            name.current = name.current.filter(|current| *current != index);
        }
    }
}
