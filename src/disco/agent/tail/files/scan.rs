//! Surveys what is at a root, sets the watches for that, and keeps the names that come and go.
//!
//! Watches are set before anything found is believed. Opens no file: who has a name, and who had it
//! before, is [`settle`](super::settle)'s.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::inotify::AddWatchFlags;

use super::events::Departed;
use super::part::Id;
use super::state::State;
use super::way::Way;
use super::{Files, Name, Watched, names};

/// How often a way is followed anew when it changes under our feet. Whoever changes it leaves an event.
const ATTEMPTS: usize = 3;

impl Files {
    /// Looks at all that there is, as if nothing had been told of it.
    pub(super) fn scan_all(&mut self) {
        for root in 0..self.roots.len() {
            self.scan(root, &Departed::new(), true);
        }
    }

    /// Looks at what is at a root, having set watches. `departed` are files that lost a name and where
    /// they are now; `is_afresh` if there may be others that nobody told of.
    pub(super) fn scan(&mut self, index: usize, departed: &Departed, is_afresh: bool) {
        let mut found = BTreeMap::new();
        for _ in 0..ATTEMPTS {
            let (paths, ways) = self.survey(index);
            found = paths;
            // Else it was all watched before it was looked at.
            if !self.watch(index, &ways) {
                break;
            }
        }
        let is_afresh = is_afresh || self.roots[index].is_blind;
        let mut order = Vec::new();
        for (path, place) in &found {
            order.extend(self.name_of(index, path, place.as_deref()));
        }
        // A name that was taken and lost since the last look.
        if let Some(directory) = self.roots[index].directory.clone() {
            for (from, lost) in departed {
                if lost.iter().any(Option::is_some)
                    && from.parent() == Some(&directory)
                    && let Some(name) = from.file_name().filter(|name| names::is_log(name))
                    && !found.contains_key(&self.roots[index].path.join(name))
                {
                    let path = self.roots[index].path.join(name);
                    order.extend(self.enter(index, &path, Some(from)));
                }
            }
        }
        // Names of this root that are not there now.
        let listed: BTreeSet<_> = order.iter().copied().collect();
        let directory = self.roots[index].directory.clone();
        let mut gone = Vec::new();
        for (number, name) in &mut self.names {
            if name.root == index && !listed.contains(number) {
                // Where it led to is of no concern, unless that is where it would be again.
                let parent = |place: &PathBuf| place.parent().map(Path::to_owned);
                if name.place.as_ref().and_then(parent) != directory {
                    name.place = None;
                }
                gone.push(*number);
            }
        }
        for name in gone {
            self.settle(name, departed, is_afresh);
        }
        // What earlier runs knew comes first, so that nothing of it is taken for new.
        let is_news: Vec<_> = order.iter().map(|name| self.recall(*name)).collect();
        for (name, is_news) in order.iter().zip(is_news) {
            self.settle(*name, departed, is_afresh || is_news);
        }
        let of_root = self.names.iter().filter(|(_, name)| name.root == index);
        let of_root: Vec<_> = of_root.map(|(index, _)| *index).collect();
        for name in of_root {
            self.drop_name(name);
        }
        if self.roots[index].is_blind {
            let streams = self.streams.iter();
            let of_root = streams.filter(|(stream, _)| self.root_of(**stream) == Some(index));
            let of_root: Vec<_> = of_root.map(|(stream, _)| *stream).collect();
            of_root.into_iter().for_each(|stream| self.wake(stream));
        }
    }

    /// The paths to follow because of a root with the places they lead to, and the ways there.
    fn survey(&mut self, index: usize) -> (BTreeMap<PathBuf, Option<PathBuf>>, Vec<Way>) {
        let path = self.roots[index].path.clone();
        let mut found = BTreeMap::new();
        let mut way = Way::of(&path);
        let end = way.end.clone();
        let directory = end.clone().filter(|end| end.is_dir());
        self.roots[index].directory.clone_from(&directory);
        let Some(directory) = directory else {
            found.insert(path, end);
            return (found, vec![way]);
        };
        way.holders.push(directory.clone());
        let mut ways = vec![way];
        let entries = match std::fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) => {
                self.tell_refused(&path, "listed", &error);
                return (found, ways);
            }
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let is_start = self.start.is_some();
            if let Some(of) = names::of_state(&name).filter(|of| is_start && names::is_log(of)) {
                let place = directory.join(of);
                found.entry(path.join(of)).or_insert(Some(place));
                continue;
            }
            let Ok(kind) = entry.file_type() else {
                continue;
            };
            if !names::is_log(&name) || kind.is_dir() {
                continue;
            }
            let mut place = Some(directory.join(&name));
            if kind.is_symlink() {
                let way = Way::of(&entry.path());
                place.clone_from(&way.end);
                if way.end.as_deref().is_some_and(Path::is_dir) {
                    continue;
                }
                ways.push(way);
            }
            found.insert(path.join(&name), place);
        }
        (found, ways)
    }

    /// Watches these ways instead of those before. Returns whether any watch is new.
    fn watch(&mut self, index: usize, ways: &[Way]) -> bool {
        let own = AddWatchFlags::IN_DELETE_SELF | AddWatchFlags::IN_MOVE_SELF;
        // The same directory may be on two ways, with two roles.
        let more = AddWatchFlags::from_bits_retain(libc::IN_MASK_ADD);
        let passed = own | more | AddWatchFlags::IN_ONLYDIR;
        let names = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_DELETE | AddWatchFlags::IN_MOVE;
        let holder = passed | names | AddWatchFlags::IN_ATTRIB;
        let mut watched = HashMap::new();
        let mut is_blind = false;
        let passers = ways.iter().flat_map(|way| &way.passed);
        let holders = ways.iter().flat_map(|way| &way.holders);
        // One that is both is a holder.
        let unique: HashMap<_, _> = passers
            .map(|path| (path, passed))
            .chain(holders.map(|path| (path, holder)))
            .collect();
        for (path, mask) in unique {
            match self.inotify.add_watch(path, mask) {
                Ok(watch) => {
                    let path = path.clone();
                    let is_holder = mask == holder;
                    watched.insert(watch, Watched { path, is_holder });
                }
                // Gone since; the next survey sees it.
                Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => {}
                // The next one on the way says itself when it is moved or removed.
                Err(Errno::EACCES) if mask == passed => {}
                Err(errno) => {
                    is_blind = true;
                    self.tell_unwatched(path, errno);
                }
            }
        }
        let last = ways.iter().filter_map(|way| way.holders.last());
        let devices: HashMap<_, _> = last
            .filter_map(|path| Some((std::fs::metadata(path).ok()?.dev(), path)))
            .collect();
        is_blind |= devices.values().any(|path| (self.is_silent)(path));
        is_blind |= self.streams.iter().any(|(stream, of)| {
            let is_unwatched = of.watch.is_none() && !of.parts.is_empty();
            is_unwatched && self.root_of(*stream) == Some(index)
        });
        let root = &mut self.roots[index];
        root.is_blind = is_blind;
        let old = std::mem::replace(&mut root.watched, watched);
        let is_any_new = self.roots[index].watched.iter().any(|(watch, new)| {
            let old = old.get(watch);
            old.is_none_or(|old| new.is_holder && !old.is_holder)
        });
        for watch in old.keys() {
            if !self
                .roots
                .iter()
                .any(|root| root.watched.contains_key(watch))
            {
                let _ = self.inotify.rm_watch(*watch);
            }
        }
        is_any_new
    }

    /// The name of a path that is to be followed, unless its file is another's already.
    fn name_of(&mut self, root: usize, path: &Path, place: Option<&Path>) -> Option<usize> {
        if let Some(index) = self.by_path.get(path).copied() {
            if let Some(name) = self.names.get_mut(&index) {
                name.place = place.map(Path::to_owned);
            }
            return Some(index);
        }
        let is_directory = self.roots[root].directory.is_some();
        let about = place.and_then(|place| std::fs::metadata(place).ok());
        let is_known = about.is_some_and(|about| self.ids.contains_key(&Id::of(&about)));
        if is_directory && is_known {
            return None;
        }
        self.enter(root, path, place)
    }

    pub(super) fn enter(
        &mut self,
        root: usize,
        path: &Path,
        place: Option<&Path>,
    ) -> Option<usize> {
        if let Some(index) = self.by_path.get(path) {
            return Some(*index);
        }
        let state = path.with_file_name(names::state(path.file_name()?));
        let index = self.number();
        self.by_path.insert(path.to_owned(), index);
        self.names.insert(
            index,
            Name {
                path: path.to_owned(),
                root,
                place: place.map(Path::to_owned),
                streams: Vec::new(),
                current: None,
                state: State::new(state),
                is_recalled: false,
                newest: 0,
                spent: None,
                is_deleted: false,
                is_ready: false,
            },
        );
        Some(index)
    }

    /// Forgets a name in a directory that stands for nothing any more.
    pub(super) fn drop_name(&mut self, index: usize) {
        let Some(name) = self.names.get_mut(&index) else {
            return;
        };
        let is_named = self.roots[name.root].path == name.path;
        if !is_named && name.streams.is_empty() {
            if name.is_deleted {
                name.state.remove();
            }
            self.by_path.remove(&name.path);
            self.names.remove(&index);
        }
    }
}
