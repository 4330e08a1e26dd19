//! Follows regular files, and those in directories, through truncation, rotation, removal and return,
//! and says what there is to read next; what is a line, and where it goes, is the caller's.
//!
//! A *name* is a path that is followed. A *stream* is a file that had the name, for as long as somebody
//! may still write to it: after a rotation there are several, read in their order. A *part* is a piece
//! of a stream: after `copytruncate` the copy's rest comes before the new beginning.
//!
//! The caller may be away for minutes. So events are no more than hints: what has become of the
//! files is found out by looking at them, and only who had a name for a while in between is learnt
//! from the events themselves (`moves`). Watches are set before anything is looked at. Whatever is
//! found by its name is looked at again afterwards, by listing (`gather`) or by event, until
//! nothing has been renamed in between.
//!
//! This file has the interface, what is known of names and streams, and no decision about them: those
//! are in the modules, one job each.
//!
//! Nothing here waits, has a thread, or wakes up by itself while nothing changes; filesystems that
//! send no events are the exception, which are looked at once a second.
//!
//! What is lost: files that came and were deleted, compressed or moved where nobody watches between two
//! looks, and what was truncated before it was read, with no copy, or with one but before anything was
//! read by which to know that.

mod events;
mod gather;
mod generations;
mod leave;
mod moves;
mod names;
mod part;
mod read;
mod recall;
mod scan;
mod settle;
mod state;
mod told;
mod way;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::inotify::{InitFlags, Inotify, WatchDescriptor};

use self::moves::Moves;
use self::part::{Id, Part};
use self::state::{Record, State};
use crate::disco::agent::silent;

/// How long a file that lost its name must be quiet before it is given up.
const QUIET: Duration = Duration::from_secs(60);

/// How often that which sends no events is looked at.
const POLL: Duration = Duration::from_secs(1);

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
        files.scan_all();
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
            let quiet = stream.quiet_since().map(|since| since + self.quiet);
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
        self.take_in(now);
        self.pass(now);
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

    fn root_of(&self, stream: usize) -> Option<usize> {
        let name = self.streams.get(&stream)?.name;
        Some(self.names.get(&name)?.root)
    }

    fn number(&mut self) -> usize {
        self.next += 1;
        self.next - 1
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
}

impl Stream {
    /// Since when it is quiet, if it has lost its name and is not yet to be given up.
    fn quiet_since(&self) -> Option<Instant> {
        self.rotated.filter(|_| !self.is_leaving)
    }

    /// Drops the part that was said to have ended.
    fn drop_ended(&mut self) {
        if std::mem::take(&mut self.is_ending) {
            self.parts.pop_front();
        }
    }
}
