//! Follows regular files, and those in directories, through truncation, rotation, removal and return,
//! and says what there is to read next; what is a line, and where it goes, is the caller's.
//!
//! A *name* is a path that is followed. A *stream* is a file that had the name, for as long as somebody
//! may still write to it: after a rotation there are several, read in their order. A *part* is a piece
//! of a stream: after `copytruncate` the copy's rest comes before the new beginning.
//!
//! The caller may be away for minutes. So events are no more than hints: what has become of the
//! files is found out by looking at them, and only who had a name for a while in between is learnt
//! from the events themselves ([`moves`]). Watches are set before anything is looked at. Whatever is
//! found by its name is looked at again afterwards, by listing ([`Files::gather`]) or by event, until
//! nothing has been renamed in between.
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

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::os::unix::fs::{DirEntryExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use nix::sys::resource::{Resource, getrlimit};
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

/// How often events are taken in during one look, while somebody goes on renaming. The next look goes
/// on from there.
const ROUNDS: usize = 16;

/// Of how many events the renames are remembered while they go on; beyond that it is as if they had
/// been lost. As many as the kernel holds by default.
const MAX_EVENTS: usize = 16_384;

/// How often a directory is listed while its names move on. A rotation is over sooner.
const LISTINGS: usize = 128;

/// How many files that keep a place are held open.
const MAX_STATES: usize = 64;

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
    /// Names whose state is open, and some that were, in the order of opening.
    states: VecDeque<usize>,
    next: usize,
    polled: Option<Instant>,
    /// Renames not all of which are dealt with.
    moves: Moves,
    /// Whether more renames may have come since.
    is_unsettled: bool,
    /// Where to begin in files that are there already: only at the start.
    start: Option<From>,
    /// Whether files are to be looked for anew once there is room for them.
    is_over_limit: bool,
    /// Whether files could not be opened because too many are.
    is_short: bool,
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

/// A file that lost a name. Open, since it may be moved on; none if it is nowhere any more.
type Loss = Option<(File, Metadata)>;

/// The files that lost a name, by that, in the order in which they lost it.
type Departed = HashMap<PathBuf, Vec<Loss>>;

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
    file: File,
    about: Metadata,
}

impl Sighting {
    /// What sorts generations, oldest first: the clock that files are stamped with is coarse, and
    /// several may have been written at the same time by it.
    fn age(&self, of: &OsStr) -> (i64, Reverse<u32>, PathBuf) {
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
            states: VecDeque::new(),
            next: 0,
            polled: None,
            moves: Moves::default(),
            is_unsettled: false,
            start: Some(from),
            is_over_limit: false,
            is_short: false,
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
        let unsettled = self.is_unsettled.then(Instant::now);
        waiting.flatten().chain(poll).chain(unsettled).min()
    }

    /// Takes in what has happened, and what time it is.
    pub fn look(&mut self) {
        let now = Instant::now();
        // Renames that were not dealt with belong to what comes now.
        let mut moves = std::mem::take(&mut self.moves);
        let mut dirty = BTreeSet::new();
        let mut touched = BTreeSet::new();
        if self.polled.is_none_or(|at| at + POLL <= now) {
            self.polled = Some(now);
            dirty.extend((0..self.roots.len()).filter(|root| self.roots[*root].is_blind));
        }
        if std::mem::replace(&mut self.is_unsettled, true) {
            dirty.extend(0..self.roots.len());
        }
        // How many events were taken in before the last look at the files.
        let mut seen = None;
        for _ in 0..ROUNDS {
            // What is opened may be newer than the events: then they go on, and tell of files that
            // had a name before it, or have moved on since.
            let mut is_afresh = self.drain(&mut moves, &mut dirty, &mut touched);
            if seen == Some(moves.count()) && !is_afresh {
                self.is_unsettled = false;
                moves = Moves::default();
                break;
            }
            let departed = (0..ROUNDS).find_map(|_| {
                let (departed, lost) = self.departed(&moves);
                is_afresh |= self.drain(&mut moves, &mut dirty, &mut touched);
                // Else one may have been moved on, and another be where it was.
                (self.lost(&moves) == lost).then_some(departed)
            });
            if moves.count() > MAX_EVENTS {
                moves = Moves::default();
                is_afresh = true;
            }
            if is_afresh {
                dirty.extend(0..self.roots.len());
                let all: Vec<_> = self.streams.keys().copied().collect();
                all.into_iter().for_each(|stream| self.modified(stream));
            }
            seen = departed.is_some().then(|| moves.count());
            if departed.is_none() && !is_afresh {
                continue;
            }
            let departed = departed.unwrap_or_default();
            for root in &dirty {
                self.scan(*root, &departed, is_afresh);
            }
        }
        self.moves = moves;
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

    /// The renames and removals of names that are followed, and where the files are now.
    fn lost(&self, moves: &Moves) -> Vec<(PathBuf, Option<PathBuf>)> {
        let names = self.names.values();
        let places: HashSet<_> = names.filter_map(|name| name.place.as_deref()).collect();
        let directories = self
            .roots
            .iter()
            .filter_map(|root| root.directory.as_deref());
        let directories: HashSet<_> = directories.collect();
        let lost = moves.departed().iter().filter_map(|file| {
            let from = self.path_of(&file.from)?;
            let is_log = from.file_name().is_some_and(names::is_log);
            let is_listed = is_log && from.parent().is_some_and(|d| directories.contains(d));
            let now = file.now.as_ref().and_then(|now| self.path_of(now));
            (is_listed || places.contains(from.as_path())).then_some((from, now))
        });
        lost.collect()
    }

    /// Opens the files that lost a name which is followed. They are the right ones if nothing more is
    /// heard of them afterwards.
    fn departed(&self, moves: &Moves) -> (Departed, Vec<(PathBuf, Option<PathBuf>)>) {
        let lost = self.lost(moves);
        let mut departed = Departed::new();
        let mut directories = BTreeSet::new();
        for (from, now) in &lost {
            let opened = now.as_ref().and_then(|now| part::open(now).ok().flatten());
            departed.entry(from.clone()).or_default().push(opened);
            directories.extend(now.as_ref().and_then(|now| now.parent()));
        }
        for directory in directories {
            // The kernel lets us list it only when whoever is renaming in it has sent the events.
            let _ = std::fs::read_dir(directory).map(|mut entries| entries.next().is_some());
        }
        (departed, lost)
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
        let own = part.file.metadata().ok();
        let mut copies = self.copies(name, offset, head, own.as_ref());
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
    /// being read, then those of what came and went since. `own` is the file itself, if there is one.
    fn copies(
        &mut self,
        name: usize,
        offset: u64,
        head: Head,
        own: Option<&Metadata>,
    ) -> VecDeque<Part> {
        let mut copies = VecDeque::new();
        let place = self.names.get(&name).and_then(|name| name.place.clone());
        let (Some(place), false) = (place, head.is_empty()) else {
            return copies;
        };
        let Some((directory, of)) = place.parent().zip(place.file_name()) else {
            return copies;
        };
        let known = self.known(name);
        let id = own.map(Id::of);
        let mut kin = self.gather(
            directory,
            |name| name == of || names::is_kin(name, of),
            |_, about| id == Some(Id::of(about)) || !known.contains(&Id::of(about)),
        );
        let at = kin.iter().position(|file| Some(Id::of(&file.about)) == id);
        let own_path = at.map(|at| kin.swap_remove(at).path);
        kin.retain(|file| file.path != place);
        kin.sort_by_cached_key(|file| file.age(of));
        let is_it = |of: &Sighting| of.about.len() >= offset && head.is_of(&of.file);
        let Some(index) = kin.iter().rposition(is_it) else {
            return copies;
        };
        let number = |path: &Path| path.file_name().and_then(|name| names::number(name, of));
        // Generations that had the name after this file, which has lost it, are no copies of it.
        let is_older = |file: &Sighting| match (number(&file.path), own_path.as_deref()) {
            (_, Some(own)) if own == place => true,
            (Some(a), Some(own)) if let Some(b) = number(own) => a > b,
            _ => own.is_none_or(|own| part::written(&file.about) <= part::written(own)),
        };
        for found in kin.drain(index..) {
            let name = found.path.file_name().unwrap_or_default();
            if copies.is_empty() {
                copies.push_back(Part::resumed(found.file, &found.about, offset, head));
            } else if names::is_generation(name, of) && is_older(&found) {
                copies.push_back(Part::new(found.file, &found.about));
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
            let at = self.names.get(&index).map_or(0, |name| name.streams.len());
            if let Some(stream) = self.begin(index, at, parts)
                && let Some(stream) = self.streams.get_mut(&stream)
            {
                stream.rotated = Some(Instant::now());
            }
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
        let lost = departed.get(&place).map_or(&[][..], Vec::as_slice);
        for (order, loss) in lost.iter().enumerate() {
            let Some((file, about)) = loss else { continue };
            if self.ids.contains_key(&Id::of(about)) {
                continue;
            }
            let at = self.position(index, &place, lost, order);
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

    /// Where among the streams of a name one of those that lost it belongs.
    fn position(&self, index: usize, place: &Path, lost: &[Loss], order: usize) -> usize {
        let Some(name) = self.names.get(&index) else {
            return 0;
        };
        let mut later = lost.iter().skip(order + 1).flatten();
        let known = later.find_map(|(_, about)| {
            let stream = self.ids.get(&Id::of(about))?;
            name.streams.iter().position(|of| of == stream)
        });
        let current = name
            .current
            .filter(|current| self.is_later(*current, place, lost, order));
        let current = current.and_then(|current| name.streams.iter().position(|of| *of == current));
        known.or(current).unwrap_or(name.streams.len())
    }

    /// Whether the stream that was last seen at a name had it after one of those that lost it. It was
    /// opened before the events were taken in, and may have lost the name since, too.
    fn is_later(&self, current: usize, place: &Path, lost: &[Loss], order: usize) -> bool {
        let part = self.streams.get(&current).and_then(|of| of.parts.back());
        let (Some(part), Some(Some((_, about)))) = (part, lost.get(order)) else {
            return false;
        };
        let mut found = lost.iter().flatten();
        if found.any(|(_, about)| Id::of(about) == part.id) {
            return false;
        }
        // It is none of those that are nowhere any more, before the other: there are none, or it is
        // somewhere.
        let is_any_gone = lost.iter().take(order).any(Option::is_none);
        let is_there = std::fs::metadata(place).is_ok_and(|about| Id::of(&about) == part.id);
        let is_somewhere = part.file.metadata().is_ok_and(|about| about.nlink() > 0);
        !is_any_gone || is_there || is_somewhere || part::written(about) < part.written
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
                    self.tell_refused(place, "read", &error);
                } else if is_afresh && self.is_seen(index) {
                    // What is there by now has left an event.
                    self.between(index, place);
                }
                return self.succeed(index, None);
            }
        };
        if let Some(stream) = self.ids.get(&Id::of(&about)).copied() {
            let is_own = self.streams.get(&stream).is_some_and(|of| of.name == index);
            return self.succeed(index, is_own.then_some(stream));
        }
        let start = self.start.filter(|_| {
            let name = self.names.get(&index);
            name.is_some_and(|name| name.newest == 0 && name.streams.is_empty())
        });
        let opened = if is_afresh && self.is_seen(index) {
            match self.between(index, place) {
                Some(opened) => Ok(Some(opened)),
                // Gone since, or refused, which has been told.
                None => return self.succeed(index, None),
            }
        } else {
            part::open(place)
        };
        let opened = opened.and_then(|opened| match (opened, start) {
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
                    self.tell_refused(place, "read", &error);
                }
                self.succeed(index, None);
            }
        }
    }

    fn tell_refused(&mut self, path: &Path, what: &str, error: &io::Error) {
        let remedy = match error.raw_os_error().map(Errno::from_raw) {
            // Not for each file: they are many.
            Some(Errno::EMFILE) => {
                self.is_short = true;
                let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(limit, _)| limit);
                return self.tell(format!(
                    "some files are not followed: the limit of {limit} open files (RLIMIT_NOFILE) is reached; \
                     raise it with `ulimit -n`, or `LimitNOFILE=` of the service, or name fewer files"
                ));
            }
            Some(Errno::ENFILE) => {
                self.is_short = true;
                "; raise the sysctl `fs.file-max`"
            }
            Some(Errno::EACCES) => "; let its user read it",
            _ => "",
        };
        self.tell(format!(
            "{} cannot be {what}: {error}{remedy}",
            path.display()
        ));
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

    /// Whether anything was ever seen under a name: if not, all that is there is from before.
    fn is_seen(&self, index: usize) -> bool {
        self.names.get(&index).is_some_and(|name| name.newest > 0)
    }

    /// Begins to follow files that had a name while nobody told of it, by their names and times, and
    /// returns the one that has it after them.
    fn between(&mut self, index: usize, place: &Path) -> Option<(File, Metadata)> {
        let name = self.names.get(&index)?;
        let newest = name.newest;
        let spent = name.spent.map(|spent| spent.inode);
        let known = self.known(index);
        let heads: Vec<_> = self.parts(index).map(|part| part.head).collect();
        let (directory, of) = place.parent().zip(place.file_name())?;
        // All at the same moment: what is opened later may have been followed by others already.
        let mut files = self.gather(
            directory,
            |name| name == of || names::is_generation(name, of),
            |path, about| path == place || part::written(about) >= newest,
        );
        let present = files.iter().position(|file| file.path == place);
        let present = present.map(|at| files.swap_remove(at));
        files.retain(|Sighting { file, about, .. }| {
            let is_copy = heads
                .iter()
                .any(|head| !head.is_empty() && head.is_of(file));
            Some(about.ino()) != spent && !is_copy && !known.contains(&Id::of(about))
        });
        files.sort_by_cached_key(|file| file.age(of));
        for Sighting { file, about, .. } in files {
            let at = self.names.get(&index).map_or(0, |name| name.streams.len());
            if let Some(stream) = self.begin(index, at, [Part::new(file, &about)].into())
                && let Some(stream) = self.streams.get_mut(&stream)
            {
                stream.rotated = Some(Instant::now());
            }
        }
        present.map(|present| (present.file, present.about))
    }

    /// Opens regular files of a directory, those whose names count and that are wanted by what is
    /// known of them, each with its name, or none if it has lost that.
    ///
    /// None is missed because it is renamed meanwhile: between the listing and the opening its name may
    /// have become another's. So all is listed again after that, until this says the same: then each
    /// name was the same file's all the time.
    fn gather(
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

    fn save(&mut self, index: usize) {
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
            name.state.save(&records);
            if !was_open && name.state.is_open() {
                self.states.push_back(index);
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
