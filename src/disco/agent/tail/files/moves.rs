//! Who had which name when: follows files through the renames of one batch of events, so that one
//! which had a name for a while, and was never seen under it, is found under its present one.

use std::collections::HashMap;
use std::ffi::OsString;

use nix::sys::inotify::{AddWatchFlags, InotifyEvent, WatchDescriptor};

/// A name in a watched directory.
pub(super) type Entry = (WatchDescriptor, OsString);

/// A file that lost a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Departed {
    /// The first name it lost in this batch.
    pub(super) from: Entry,
    /// Its last known one; none if it was deleted, or left for where nobody watches.
    pub(super) now: Option<Entry>,
}

/// The renames of a batch of events. As large as the batch at most, which the kernel bounds.
#[derive(Default)]
pub(super) struct Moves {
    departed: Vec<Departed>,
    count: usize,
    at: HashMap<Entry, usize>,
    /// Between the two events of a rename, by what connects them.
    under_way: HashMap<u32, usize>,
}

impl Moves {
    /// Takes in the next event of a directory.
    pub(super) fn take(&mut self, event: &InotifyEvent) {
        let Some(name) = &event.name else { return };
        self.count += 1;
        self.step(event.mask, event.cookie, (event.wd, name.clone()));
    }

    fn step(&mut self, mask: AddWatchFlags, cookie: u32, entry: Entry) {
        if mask.contains(AddWatchFlags::IN_MOVED_FROM) {
            let file = self.leave(entry);
            self.under_way.insert(cookie, file);
        } else if mask.intersects(AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_DELETE) {
            // Where something is moved to there may have been something before.
            self.leave(entry.clone());
            if let Some(file) = self.under_way.remove(&cookie)
                && let Some(departed) = self.departed.get_mut(file)
            {
                departed.now = Some(entry.clone());
                self.at.insert(entry, file);
            }
        }
    }

    /// Has whatever is at a name lose it.
    fn leave(&mut self, entry: Entry) -> usize {
        let file = self.at.remove(&entry).unwrap_or_else(|| {
            let from = entry;
            self.departed.push(Departed { from, now: None });
            self.departed.len() - 1
        });
        if let Some(departed) = self.departed.get_mut(file) {
            departed.now = None;
        }
        file
    }

    /// The files that lost a name and where they are, in the order in which they lost it.
    pub(super) fn departed(&self) -> &[Departed] {
        &self.departed
    }

    /// How many events have been taken in.
    pub(super) fn count(&self) -> usize {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::inotify::{InitFlags, Inotify};

    #[test]
    fn files_are_followed_through_two_rotations() {
        let dir = tempfile::tempdir().unwrap();
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK).unwrap();
        let mask = AddWatchFlags::IN_MOVE | AddWatchFlags::IN_DELETE;
        let wd = inotify.add_watch(dir.path(), mask).unwrap();
        let path = |name: &str| dir.path().join(name);
        let rename = |from: &str, to: &str| std::fs::rename(path(from), path(to)).unwrap();
        let write = |name: &str| std::fs::write(path(name), name).unwrap();
        write("f");
        rename("f", "f.1");
        write("f");
        rename("f.1", "f.2");
        rename("f", "f.1");
        write("f");
        rename("f", "gone");
        std::fs::remove_file(path("gone")).unwrap();
        write("f");
        rename("f", "over");
        write("g");
        rename("g", "over");
        let mut moves = Moves::default();
        for event in inotify.read_events().unwrap() {
            moves.take(&event);
        }
        let entry = |name: &str| (wd, OsString::from(name));
        let found: Vec<_> = moves
            .departed()
            .iter()
            .filter_map(|file| Some((file.from.clone(), file.now.clone()?)))
            .collect();
        let want = [("f", "f.2"), ("f", "f.1"), ("g", "over")];
        assert_eq!(found, want.map(|(from, now)| (entry(from), entry(now))));
        let of_f = moves.departed().iter();
        let of_f = of_f.filter(|file| file.from == entry("f"));
        let is_somewhere: Vec<_> = of_f.map(|file| file.now.is_some()).collect();
        assert_eq!(is_somewhere, [true, true, false, false]);
    }
}
