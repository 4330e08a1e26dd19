//! Follows regular files, and those in directories, through truncation, rotation, removal and return,
//! and says what there is to read next; what is a line, and where it goes, is the caller's.
//!
//! A *name* is a path that is followed. A *stream* is a file that had the name, for as long as somebody
//! may still write to it: after a rotation there are several, read in their order. A *part* is a piece
//! of a stream: after `copytruncate` the copy's rest comes before the new beginning.
//!
//! The caller may be away for minutes. So events are no more than hints: what has become of the
//! files is found out by looking at them, and only who had a name for a while in between is learnt
//! from the events themselves ([`moves`]). Watches are set before anything is looked at.
//!
//! Nothing here waits, has a thread, or wakes up by itself while nothing changes; filesystems that
//! send no events are the exception, which are looked at once a second.
//!
//! What is lost: files that came and were deleted, compressed or moved where nobody watches between two
//! looks, and what was truncated before it was read, with no copy, or with one but before anything was
//! read by which to know that.

mod moves;
mod names;
mod part;
mod state;
mod way;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use tracing::debug;

use self::moves::Moves;
use self::part::{Head, Id, Outcome, Part};
use self::state::{Record, State};
use self::way::Way;
use crate::disco::agent::silent;

/// How long a file that lost its name must be quiet before it is given up.
const QUIET: Duration = Duration::from_secs(60);

/// How many files that lost a name are followed on, once they are read.
const MAX_ROTATED: usize = 16;

/// How many files are followed in all.
const MAX_STREAMS: usize = 1024;

/// How many problems are remembered as told.
const MAX_TOLD: usize = 1024;

/// How often that which sends no events is looked at.
const POLL: Duration = Duration::from_secs(1);

/// How often a way is followed anew when it changes under our feet. Whoever changes it leaves an event.
const ATTEMPTS: usize = 3;

/// How often events are taken in during one look, while somebody goes on renaming.
const ROUNDS: usize = 16;

/// Where to begin in a file that is there at the start and whose place is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// At its first byte.
    Beginning,
    /// After its last byte.
    End,
}

/// Something that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// From which stream; the number is never another's.
    pub stream: usize,
    /// How many bytes of the buffer; 0 if `ended`.
    pub size: usize,
    /// Whether the stream does not go on where it stopped: an unfinished line is as complete as it
    /// will be. There may be more pieces, which begin anew.
    pub ended: bool,
}

/// The files that are followed.
pub struct Files {
    inotify: Inotify,
    roots: Vec<Root>,
    names: BTreeMap<usize, Name>,
    by_path: HashMap<PathBuf, usize>,
    streams: BTreeMap<usize, Stream>,
    /// Which stream a file is, by what is being written of it.
    ids: HashMap<Id, usize>,
    /// Watches of files. Those of directories belong to the roots.
    watched: HashMap<WatchDescriptor, usize>,
    /// Names of which something may be read, in turn.
    ready: VecDeque<usize>,
    next: usize,
    polled: Option<Instant>,
    /// Where to begin in files that are there already: only at the start.
    start: Option<From>,
    is_over_limit: bool,
    quiet: Duration,
    is_silent: fn(&Path) -> bool,
    problems: Vec<String>,
    told: HashSet<String>,
}

/// A path that the caller named.
struct Root {
    path: PathBuf,
    watched: HashMap<WatchDescriptor, Watched>,
    /// Where the path leads, if to a directory.
    directory: Option<PathBuf>,
    /// Whether events alone will not do.
    is_blind: bool,
}

/// A directory that is watched.
struct Watched {
    path: PathBuf,
    /// Whether for its names.
    is_holder: bool,
}

/// Files that lost a name, by that, in the order in which they lost it. Open, since they may be moved on.
type Departed = HashMap<PathBuf, Vec<(File, Metadata)>>;

/// A path that is followed.
struct Name {
    path: PathBuf,
    root: usize,
    /// Where it leads.
    place: Option<PathBuf>,
    /// Those that had the name, oldest first.
    streams: Vec<usize>,
    current: Option<usize>,
    state: State,
    /// Whether it was ever looked for what an earlier run had left.
    is_recalled: bool,
    /// When any file that had this name was last written, as far as is known.
    newest: i64,
    /// The one last written of those given up, if no other was written since: it is not new.
    spent: Option<Record>,
    /// Whether the last file that was given up is no more: there is no place to remember.
    is_deleted: bool,
    is_ready: bool,
}

/// A file that is followed.
struct Stream {
    name: usize,
    /// What is to be read; the last one is the file itself. Empty once it is given up.
    parts: VecDeque<Part>,
    watch: Option<WatchDescriptor>,
    is_ready: bool,
    /// Whether the first part has been said to have ended.
    is_ending: bool,
    /// Since when it is quiet, if it has lost its name.
    rotated: Option<Instant>,
    /// Whether it is to be given up at its end.
    is_leaving: bool,
}

/// A regular file somewhere.
struct Sighting {
    path: PathBuf,
    about: Metadata,
}

impl Files {
    /// Follows what is or will be at these absolute paths, each a regular file or a directory of such.
    ///
    /// # Errors
    /// Those of inotify_init1(2).
    pub fn new(paths: &[PathBuf], from: From) -> Result<Self, Errno> {
        Self::with(paths, from, silent::is_silent)
    }

    fn with(paths: &[PathBuf], from: From, is_silent: fn(&Path) -> bool) -> Result<Self, Errno> {
        let mut files = Self {
            inotify: Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?,
            roots: Vec::new(),
            names: BTreeMap::new(),
            by_path: HashMap::new(),
            streams: BTreeMap::new(),
            ids: HashMap::new(),
            watched: HashMap::new(),
            ready: VecDeque::new(),
            next: 0,
            polled: None,
            start: Some(from),
            is_over_limit: false,
            quiet: QUIET,
            is_silent,
            problems: Vec::new(),
            told: HashSet::new(),
        };
        let paths: BTreeSet<_> = paths.iter().collect();
        for path in paths {
            files.roots.push(Root {
                path: path.clone(),
                watched: HashMap::new(),
                directory: None,
                is_blind: false,
            });
        }
        for root in 0..files.roots.len() {
            files.scan(root, &Departed::new(), true);
        }
        files.start = None;
        // What happened meanwhile.
        files.look();
        Ok(files)
    }

    /// Readable when something may have happened.
    #[must_use]
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }

    /// When to [look](Self::look) even if nothing happens; never, if `None`.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        let waiting = self.streams.values().flat_map(|stream| {
            let rotated = stream.rotated.filter(|_| !stream.is_leaving);
            let quiet = rotated.map(|since| since + self.quiet);
            let suspect = stream.parts.front().and_then(Part::due);
            [quiet, suspect.filter(|_| !stream.is_ready)]
        });
        let is_blind = self.roots.iter().any(|root| root.is_blind);
        let poll = is_blind.then(|| self.polled.map_or_else(Instant::now, |at| at + POLL));
        waiting.flatten().chain(poll).min()
    }

    /// Takes in what has happened, and what time it is.
    pub fn look(&mut self) {
        let now = Instant::now();
        let mut moves = Moves::default();
        let mut dirty = BTreeSet::new();
        let mut touched = BTreeSet::new();
        if self.polled.is_none_or(|at| at + POLL <= now) {
            self.polled = Some(now);
            dirty.extend((0..self.roots.len()).filter(|root| self.roots[*root].is_blind));
        }
        for round in 0..ROUNDS {
            // What is opened may be newer than the events: then they go on, and tell of files that
            // had a name before it, or have moved on since.
            let before = moves.count();
            let is_afresh = self.drain(&mut moves, &mut dirty, &mut touched);
            if round > 0 && moves.count() == before && !is_afresh {
                break;
            }
            if is_afresh {
                dirty.extend(0..self.roots.len());
                let all: Vec<_> = self.streams.keys().copied().collect();
                all.into_iter().for_each(|stream| self.modified(stream));
            }
            let departed = self.departed(&moves);
            for root in &dirty {
                self.scan(*root, &departed, is_afresh);
            }
        }
        for stream in touched {
            if let Some(part) = self.part_in_writing(stream) {
                part.touched();
            }
            self.wake(stream);
        }
        self.pass(now);
    }

    /// Takes in the events. Returns whether any were lost.
    fn drain(
        &mut self,
        moves: &mut Moves,
        dirty: &mut BTreeSet<usize>,
        touched: &mut BTreeSet<usize>,
    ) -> bool {
        let mut is_afresh = false;
        loop {
            let events = match self.inotify.read_events() {
                Ok(events) => events,
                Err(Errno::EINTR) => continue,
                Err(_) => return is_afresh,
            };
            for event in events {
                is_afresh |= event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW);
                if let Some(stream) = self.watched.get(&event.wd).copied() {
                    if event.mask.contains(AddWatchFlags::IN_MODIFY) {
                        touched.remove(&stream);
                        self.modified(stream);
                    } else {
                        touched.insert(stream);
                        // So a file with names in no watched directory tells of its removal.
                        dirty.extend(self.root_of(stream));
                    }
                } else {
                    let roots = self.roots.iter().enumerate();
                    let of = roots.filter(|(_, root)| root.watched.contains_key(&event.wd));
                    dirty.extend(of.map(|(index, _)| index));
                    moves.take(&event);
                }
            }
        }
    }

    /// Opens the files that lost a name which is followed.
    fn departed(&self, moves: &Moves) -> Departed {
        let names = self.names.values();
        let places: HashSet<_> = names.filter_map(|name| name.place.as_deref()).collect();
        let directories = self
            .roots
            .iter()
            .filter_map(|root| root.directory.as_deref());
        let directories: HashSet<_> = directories.collect();
        let mut departed = Departed::new();
        for (from, now) in moves.found() {
            let (Some(from), Some(now)) = (self.path_of(from), self.path_of(now)) else {
                continue;
            };
            let is_log = from.file_name().is_some_and(names::is_log);
            let is_listed = is_log && from.parent().is_some_and(|d| directories.contains(d));
            if (is_listed || places.contains(from.as_path()))
                && let Ok(Some(file)) = part::open(&now)
            {
                departed.entry(from).or_default().push(file);
            }
        }
        departed
    }

    /// Reads the next piece, of at most as many bytes as the buffer has; the names take turns. `None`
    /// when nothing is left for now.
    pub fn read(&mut self, buffer: &mut [u8]) -> Option<Piece> {
        while let Some(index) = self.ready.pop_front() {
            let streams = self.names.get(&index).map(|name| name.streams.clone());
            for stream in streams.unwrap_or_default() {
                if let Some((size, ended)) = self.read_stream(stream, buffer) {
                    self.ready.push_back(index);
                    return Some(Piece {
                        stream,
                        size,
                        ended,
                    });
                }
            }
            if let Some(name) = self.names.get_mut(&index) {
                name.is_ready = false;
            }
            self.limit(index);
        }
        None
    }

    /// The path under which a stream is known; empty once the stream is no more.
    #[must_use]
    pub fn name(&self, stream: usize) -> &Path {
        let name = self.streams.get(&stream).map(|stream| stream.name);
        let name = name.and_then(|name| self.names.get(&name));
        name.map_or(Path::new(""), |name| &name.path)
    }

    /// Takes in that everything read of a stream has been dealt with but for the last so many bytes,
    /// and remembers that for the next start. To be called after each piece, or after the last of
    /// several; a stream that has ended for good is forgotten by it.
    pub fn done(&mut self, stream: usize, unfinished: usize) {
        let Some(of) = self.streams.get_mut(&stream) else {
            return;
        };
        let name = of.name;
        of.drop_ended();
        match of.parts.front_mut() {
            Some(part) => {
                let unfinished = u64::try_from(unfinished).unwrap_or(u64::MAX);
                part.done = part.offset.saturating_sub(unfinished);
            }
            None => {
                self.streams.remove(&stream);
                if let Some(name) = self.names.get_mut(&name) {
                    name.streams.retain(|of| *of != stream);
                }
            }
        }
        self.save(name);
        self.drop_name(name);
    }

    /// What is worth a warning since the last call, each thing once.
    pub fn problems(&mut self) -> Vec<String> {
        std::mem::take(&mut self.problems)
    }

    fn tell(&mut self, problem: String) {
        if self.told.len() < MAX_TOLD && self.told.insert(problem.clone()) {
            self.problems.push(problem);
        }
    }

    fn part_in_writing(&mut self, stream: usize) -> Option<&mut Part> {
        self.streams.get_mut(&stream)?.parts.back_mut()
    }

    fn root_of(&self, stream: usize) -> Option<usize> {
        let name = self.streams.get(&stream)?.name;
        Some(self.names.get(&name)?.root)
    }

    fn modified(&mut self, stream: usize) {
        if let Some(part) = self.part_in_writing(stream) {
            part.modified();
        }
        self.wake(stream);
    }

    /// Has a stream be read.
    fn wake(&mut self, stream: usize) {
        let Some(of) = self.streams.get_mut(&stream) else {
            return;
        };
        of.is_ready = true;
        if let Some(name) = self.names.get_mut(&of.name)
            && !std::mem::replace(&mut name.is_ready, true)
        {
            self.ready.push_back(of.name);
        }
    }

    /// The path of an entry of a watched directory, links resolved.
    fn path_of(&self, entry: &moves::Entry) -> Option<PathBuf> {
        let mut roots = self.roots.iter();
        let directory = roots.find_map(|root| root.watched.get(&entry.0))?;
        Some(directory.path.join(&entry.1))
    }
}

/// Reading.
impl Files {
    fn read_stream(&mut self, index: usize, buffer: &mut [u8]) -> Option<(usize, bool)> {
        let now = Instant::now();
        loop {
            let stream = self.streams.get_mut(&index)?;
            stream.drop_ended();
            if !stream.is_ready {
                return None;
            }
            let is_last = stream.parts.len() == 1;
            let part = stream.parts.front_mut()?;
            let outcome = part.read(buffer, now);
            if let Some(name) = self.names.get_mut(&stream.name) {
                name.newest = name.newest.max(part.written);
            }
            match outcome {
                Ok(Outcome::Bytes(size)) => {
                    stream.rotated = stream.rotated.map(|_| now);
                    stream.is_leaving = false;
                    return Some((size, false));
                }
                Ok(Outcome::End) if !is_last => {
                    stream.is_ending = true;
                    return Some((0, true));
                }
                Ok(Outcome::End) => {
                    stream.is_ready = false;
                    if stream.is_leaving {
                        self.close(index);
                        return Some((0, true));
                    }
                    return None;
                }
                Ok(Outcome::Cut) => {
                    if self.cut(index) {
                        return Some((0, true));
                    }
                }
                Err(error) => {
                    // It cannot be read to any end; a file that lost its name is given up in time.
                    stream.is_ready = false;
                    let is_leaving = stream.is_leaving;
                    let path = self.name(index).display().to_string();
                    self.tell(format!("{path} cannot be read: {error}"));
                    if is_leaving {
                        self.close(index);
                        return Some((0, true));
                    }
                    return None;
                }
            }
        }
    }

    /// Goes on from the beginning of a file that was truncated, after what a copy has of the rest.
    /// Returns whether there is none, so that the stream has ended.
    fn cut(&mut self, index: usize) -> bool {
        let Some(stream) = self.streams.get(&index) else {
            return true;
        };
        let Some(part) = stream.parts.front() else {
            return true;
        };
        let (name, offset, done, head) = (stream.name, part.offset, part.done, part.head);
        let mut copies = self.copies(name, offset, head);
        if let Some(copy) = copies.front_mut() {
            copy.done = done;
        }
        let is_lost = copies.is_empty();
        if let Some(stream) = self.streams.get_mut(&index) {
            if stream.parts.len() == 1 {
                stream.parts[0].rewind();
            } else {
                stream.parts.pop_front();
            }
            copies.append(&mut stream.parts);
            stream.parts = copies;
        }
        is_lost
    }

    /// The copies that were made of a file before it was truncated, oldest first: the one of what was
    /// being read, then those of what came and went since.
    fn copies(&self, name: usize, offset: u64, head: Head) -> VecDeque<Part> {
        let mut copies = VecDeque::new();
        let place = self.names.get(&name).and_then(|name| name.place.as_deref());
        let (Some(place), false) = (place, head.is_empty()) else {
            return copies;
        };
        let Some((directory, of)) = place.parent().zip(place.file_name()) else {
            return copies;
        };
        let known = self.known(name);
        let mut kin = list(directory, |name| names::is_kin(name, of));
        kin.retain(|file| !known.contains(&Id::of(&file.about)));
        kin.sort_by_key(|file| part::written(&file.about));
        let found = kin.iter().enumerate().rev().find_map(|(index, file)| {
            let (file, about) = part::open(&file.path).ok()??;
            let is_it = about.len() >= offset && head.is_of(&file);
            (is_it && !known.contains(&Id::of(&about))).then_some((index, file, about))
        });
        let Some((index, file, about)) = found else {
            return copies;
        };
        copies.push_back(Part::resumed(file, &about, offset, head));
        for file in kin.drain(index..).skip(1) {
            let name = file.path.file_name().unwrap_or_default();
            if part::written(&file.about) > part::written(&about)
                && names::is_generation(name, of)
                && let Ok(Some((file, about))) = part::open(&file.path)
                && !known.contains(&Id::of(&about))
            {
                copies.push_back(Part::new(file, &about));
            }
        }
        copies
    }

    /// All files that are being read under a name or any other.
    fn known(&self, name: usize) -> HashSet<Id> {
        let own = self.parts(name).map(|part| part.id);
        self.ids.keys().copied().chain(own).collect()
    }

    /// Gives a stream up; what is left of it waits for [`Self::done`].
    fn close(&mut self, index: usize) {
        let Some(stream) = self.streams.get_mut(&index) else {
            return;
        };
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

    /// Gives up the oldest of too many files that lost their name, all of which have been read.
    fn limit(&mut self, name: usize) {
        let Some(name) = self.names.get(&name) else {
            return;
        };
        let rotated = name.streams.iter().copied().filter(|index| {
            let stream = self.streams.get(index);
            stream.is_some_and(|stream| stream.rotated.is_some() && !stream.is_leaving)
        });
        let rotated: Vec<_> = rotated.collect();
        let surplus = rotated.len().saturating_sub(MAX_ROTATED);
        for index in rotated.into_iter().take(surplus) {
            if !self.settle_under_new_name(index) {
                self.leave(index);
            }
        }
    }

    fn leave(&mut self, index: usize) {
        if let Some(stream) = self.streams.get_mut(&index) {
            stream.is_leaving = true;
        }
        self.wake(index);
    }

    /// Takes in that time passes.
    fn pass(&mut self, now: Instant) {
        let mut quiet = Vec::new();
        let mut suspect = Vec::new();
        for (index, stream) in &self.streams {
            let rotated = stream.rotated.filter(|_| !stream.is_leaving);
            if rotated.is_some_and(|since| since + self.quiet <= now) {
                quiet.push(*index);
            }
            let due = stream.parts.front().and_then(Part::due);
            if due.is_some_and(|due| due <= now) {
                suspect.push(*index);
            }
        }
        for index in quiet {
            if !self.settle_under_new_name(index) {
                self.leave(index);
            }
        }
        suspect.into_iter().for_each(|index| self.wake(index));
        let is_full = self.streams.len() >= MAX_STREAMS;
        if self.is_over_limit && !is_full {
            self.is_over_limit = false;
            for root in 0..self.roots.len() {
                self.scan(root, &Departed::new(), true);
            }
        }
    }
}

/// Finding.
impl Files {
    /// Looks at what is at a root, having set watches. `departed` are files that lost a name and where
    /// they are now; `is_afresh` if there may be others that nobody told of.
    fn scan(&mut self, index: usize, departed: &Departed, is_afresh: bool) {
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
            for from in departed.keys() {
                if from.parent() == Some(&directory)
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
                self.tell(format!("{} cannot be listed: {error}", path.display()));
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

    fn tell_unwatched(&mut self, path: &Path, errno: Errno) {
        let remedy = match errno {
            Errno::ENOSPC => "; raise the sysctl `fs.inotify.max_user_watches`",
            Errno::EACCES => "; let its user read the directory",
            _ => "",
        };
        self.tell(format!(
            "{} cannot be watched and is looked at once a second: {}{remedy}",
            path.display(),
            errno.desc()
        ));
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

    fn enter(&mut self, root: usize, path: &Path, place: Option<&Path>) -> Option<usize> {
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

    fn number(&mut self) -> usize {
        self.next += 1;
        self.next - 1
    }

    /// Takes up what an earlier run has left. Returns whether it left anything.
    fn recall(&mut self, index: usize) -> bool {
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
        for record in &records {
            // Again if it was moved on while it was looked for.
            let is_found = (0..ATTEMPTS).any(|_| {
                let directories = directories.iter();
                let files: Vec<_> = directories
                    .flat_map(|directory| list(directory, |name| names::of_state(name).is_none()))
                    .collect();
                self.resume(index, &place, record, &files)
            });
            if !is_found {
                debug!(
                    "{}: what was followed is not there any more",
                    place.display()
                );
            }
        }
        !records.is_empty()
    }

    fn resume(&mut self, index: usize, place: &Path, record: &Record, files: &[Sighting]) -> bool {
        let of = place.file_name().unwrap_or_default();
        let mut parts = VecDeque::new();
        let mut is_here = false;
        for file in files.iter().filter(|file| file.about.ino() == record.inode) {
            let is_place = file.path == place;
            let is_kin = names::is_kin(file.path.file_name().unwrap_or_default(), of);
            let Ok(Some((file, about))) = part::open(&file.path) else {
                continue;
            };
            if about.ino() != record.inode || self.ids.contains_key(&Id::of(&about)) {
                continue;
            }
            let is_same = about.len() >= record.offset && record.head.is_of(&file);
            if is_same && (is_place || is_kin || !record.head.is_empty()) {
                parts = [Part::resumed(file, &about, record.offset, record.head)].into();
                break;
            }
            is_here |= is_place;
        }
        if parts.is_empty() {
            parts = self.copies(index, record.offset, record.head);
            if is_here && let Ok(Some((file, about))) = part::open(place) {
                parts.push_back(Part::new(file, &about));
            }
        }
        if parts.is_empty() {
            return false;
        }
        let at = self.names.get(&index).map_or(0, |name| name.streams.len());
        if let Some(stream) = self.begin(index, at, parts)
            && let Some(stream) = self.streams.get_mut(&stream)
        {
            stream.rotated = Some(Instant::now());
        }
        true
    }

    /// Finds out who has a name now, and who had it meanwhile.
    fn settle(&mut self, index: usize, departed: &Departed, is_afresh: bool) {
        let Some(name) = self.names.get_mut(&index) else {
            return;
        };
        name.state.renew();
        let before = (name.current, name.streams.len());
        let Some(place) = name.place.clone() else {
            self.succeed(index, None);
            return;
        };
        let files = departed.get(&place).map_or(&[][..], Vec::as_slice);
        for (order, (file, about)) in files.iter().enumerate() {
            if self.ids.contains_key(&Id::of(about)) {
                continue;
            }
            // Before the first that had the name after it.
            let later = files.iter().skip(order + 1).map(|(_, about)| Id::of(about));
            let last = std::fs::metadata(&place).ok().map(|about| Id::of(&about));
            let at = self.place_before(index, later.chain(last));
            if let Ok(file) = file.try_clone()
                && let Some(stream) = self.begin(index, at, [Part::new(file, about)].into())
                && let Some(stream) = self.streams.get_mut(&stream)
            {
                stream.rotated = Some(Instant::now());
            }
        }
        self.look_at(index, &place, is_afresh);
        let name = self.names.get(&index);
        if name.is_some_and(|name| (name.current, name.streams.len()) != before) {
            self.save(index);
            if let Some(name) = self.names.get_mut(&index) {
                name.state.rest();
            }
        }
    }

    /// Where among the streams of a name the first of these files is, or the end.
    fn place_before(&self, index: usize, mut later: impl Iterator<Item = Id>) -> usize {
        let streams = self.names.get(&index).map(|name| name.streams.as_slice());
        let streams = streams.unwrap_or_default();
        let known = later.find_map(|id| {
            let stream = self.ids.get(&id)?;
            streams.iter().position(|of| of == stream)
        });
        known.unwrap_or(streams.len())
    }

    fn look_at(&mut self, index: usize, place: &Path, is_afresh: bool) {
        let about = match std::fs::metadata(place) {
            Ok(about) if about.is_file() => about,
            Ok(about) if about.is_dir() => return self.succeed(index, None),
            Ok(_) => {
                self.tell_irregular(index, place);
                return self.succeed(index, None);
            }
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    self.tell(format!("{} cannot be read: {error}", place.display()));
                } else if is_afresh {
                    self.between(index, place, None);
                }
                return self.succeed(index, None);
            }
        };
        if let Some(stream) = self.ids.get(&Id::of(&about)).copied() {
            let is_own = self.streams.get(&stream).is_some_and(|of| of.name == index);
            return self.succeed(index, is_own.then_some(stream));
        }
        if is_afresh {
            self.between(index, place, Some(Id::of(&about)));
        }
        let start = self.start.filter(|_| {
            let name = self.names.get(&index);
            name.is_some_and(|name| name.newest == 0 && name.streams.is_empty())
        });
        let opened = part::open(place).and_then(|opened| match (opened, start) {
            (Some((file, about)), Some(From::End)) => Ok(Some(Part::at_end(file, &about)?)),
            (Some((file, about)), _) => Ok(Some(Part::new(file, &about))),
            (None, _) => Ok(None),
        });
        match opened {
            Ok(Some(part)) => {
                let at = self.names.get(&index).map_or(0, |name| name.streams.len());
                // It may have been replaced since by one that is known.
                if !self.ids.contains_key(&part.id) {
                    let stream = self.begin(index, at, [part].into());
                    self.succeed(index, stream);
                }
            }
            Ok(None) => self.tell_irregular(index, place),
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    let remedy = match error.kind() {
                        io::ErrorKind::PermissionDenied => "; let its user read it",
                        _ => "",
                    };
                    self.tell(format!(
                        "{} cannot be read: {error}{remedy}",
                        place.display()
                    ));
                }
                self.succeed(index, None);
            }
        }
    }

    fn tell_irregular(&mut self, index: usize, place: &Path) {
        let path = self.names.get(&index).map(|name| name.path.clone());
        let path = path.unwrap_or_default();
        let leads = if path == place {
            String::new()
        } else {
            format!(" leads to {}, which", place.display())
        };
        self.tell(format!(
            "{}{leads} is no regular file and not followed; expected one, or a directory",
            path.display()
        ));
    }

    /// Begins to follow files that had a name while nobody told of it, by their names and times.
    fn between(&mut self, index: usize, place: &Path, present: Option<Id>) {
        let name = self.names.get(&index);
        // If nothing was ever seen under it, all that is there is from before.
        let Some(name) = name.filter(|name| name.newest > 0) else {
            return;
        };
        let newest = name.newest;
        let spent = name.spent.map(|spent| spent.inode);
        let mut known = self.known(index);
        known.extend(present);
        let heads: Vec<_> = self.parts(index).map(|part| part.head).collect();
        let Some((directory, of)) = place.parent().zip(place.file_name()) else {
            return;
        };
        let mut parts = Vec::new();
        // Until nothing more is found: names move on while they are listed.
        for _ in 0..ATTEMPTS {
            let before = known.len();
            for file in list(directory, |name| names::is_generation(name, of)) {
                let Ok(Some((file, about))) = part::open(&file.path) else {
                    continue;
                };
                let is_copy = heads
                    .iter()
                    .any(|head| !head.is_empty() && head.is_of(&file));
                let is_new = part::written(&about) >= newest && Some(about.ino()) != spent;
                if is_new && !is_copy && known.insert(Id::of(&about)) {
                    parts.push(Part::new(file, &about));
                }
            }
            if known.len() == before {
                break;
            }
        }
        parts.sort_by_key(|part| part.written);
        for part in parts {
            let at = self.names.get(&index).map_or(0, |name| name.streams.len());
            if let Some(stream) = self.begin(index, at, [part].into())
                && let Some(stream) = self.streams.get_mut(&stream)
            {
                stream.rotated = Some(Instant::now());
            }
        }
    }

    /// What is being read under a name.
    fn parts(&self, name: usize) -> impl Iterator<Item = &Part> {
        let streams = self.names.get(&name).map(|name| name.streams.iter());
        let streams = streams.into_iter().flatten();
        let streams = streams.filter_map(|stream| self.streams.get(stream));
        streams.flat_map(|stream| stream.parts.iter())
    }

    /// Has a stream, or none, be the one that is at the name now.
    fn succeed(&mut self, index: usize, current: Option<usize>) {
        let Some(name) = self.names.get_mut(&index) else {
            return;
        };
        let before = std::mem::replace(&mut name.current, current);
        if let Some(stream) = current.and_then(|current| self.streams.get_mut(&current)) {
            stream.rotated = None;
            stream.is_leaving = false;
        }
        if let Some(before) = before.filter(|before| Some(*before) != current)
            && let Some(stream) = self.streams.get_mut(&before)
        {
            stream.rotated.get_or_insert_with(Instant::now);
        }
    }

    /// Begins to follow a file under a name, in the order of its streams.
    fn begin(&mut self, name: usize, at: usize, parts: VecDeque<Part>) -> Option<usize> {
        if self.streams.len() >= MAX_STREAMS {
            self.is_over_limit = true;
            self.tell(format!(
                "{MAX_STREAMS} files are followed already, and no others; name fewer, or a directory with fewer"
            ));
            return None;
        }
        let part = parts.back()?;
        let (id, written) = (part.id, part.written);
        // By descriptor, since the name may be another's by now; without /proc, by that.
        let fd = format!("/proc/self/fd/{}", part.file.as_raw_fd());
        let mask = AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_ATTRIB;
        let of = self.names.get(&name)?;
        let (root, path) = (of.root, of.path.clone());
        let watch = match self.inotify.add_watch(Path::new(&fd), mask) {
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::EACCES) => {
                self.inotify.add_watch(path.as_path(), mask)
            }
            watch => watch,
        };
        let index = self.number();
        let watch = match watch {
            Ok(watch) => {
                self.watched.insert(watch, index);
                Some(watch)
            }
            Err(errno) => {
                self.roots[root].is_blind = true;
                self.tell_unwatched(&path, errno);
                None
            }
        };
        self.ids.insert(id, index);
        self.streams.insert(
            index,
            Stream {
                name,
                parts,
                watch,
                is_ready: false,
                is_ending: false,
                rotated: None,
                is_leaving: false,
            },
        );
        let of = self.names.get_mut(&name)?;
        of.streams.insert(at, index);
        of.newest = of.newest.max(written);
        // Those before it may have got their last lines since the events were taken in, and are older.
        for stream in of.streams.clone() {
            self.wake(stream);
        }
        Some(index)
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
        for (root, of) in self.roots.iter().enumerate() {
            match &of.directory {
                Some(directory) => {
                    let files = list(directory, names::is_log);
                    let file = files.iter().find(|file| Id::of(&file.about) == id);
                    let name = file.and_then(|file| file.path.file_name());
                    places
                        .extend(name.map(|name| (root, of.path.join(name), directory.join(name))));
                }
                None => {
                    let about = std::fs::metadata(&of.path).ok();
                    if about.is_some_and(|about| Id::of(&about) == id) {
                        places.push((root, of.path.clone(), of.path.clone()));
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

    fn save(&mut self, name: usize) {
        let Some(name) = self.names.get_mut(&name) else {
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
            name.state.save(&records);
        }
    }

    /// Forgets a name in a directory that stands for nothing any more.
    fn drop_name(&mut self, index: usize) {
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

impl Stream {
    /// Drops the part that was said to have ended.
    fn drop_ended(&mut self) {
        if std::mem::take(&mut self.is_ending) {
            self.parts.pop_front();
        }
    }
}

/// The regular files of a directory, by name.
fn list(directory: &Path, counts: impl Fn(&OsStr) -> bool) -> Vec<Sighting> {
    let entries = std::fs::read_dir(directory).into_iter().flatten();
    let paths = entries.flatten().filter(|entry| counts(&entry.file_name()));
    paths
        .filter_map(|entry| {
            let path = entry.path();
            let about = std::fs::metadata(&path).ok()?;
            about.is_file().then_some(Sighting { path, about })
        })
        .collect()
}
