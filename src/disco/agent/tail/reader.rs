//! The thread that reads: bytes from pipes and files, lines out of them, log lines to the output, points
//! into the store. It waits in one place; while it writes to a slow reader it reads nothing, so that
//! whoever fills a pipe waits as well.
//!
//! Invariant: what a file has given is remembered as done only once its lines are written.

use std::collections::{HashMap, HashSet};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::unistd::read;
use tracing::{info, warn};

use super::bell::Bell;
use super::files::Files;
use super::lines::{Lines, Part};
use super::output::Output;
use super::rate::Limits;
use super::teller::Teller;
use super::{Counts, Role, Shared};
use crate::contract::logline::render::Entry;
use crate::contract::logline::{self, Level};
use crate::contract::metrics::parse::{self, Item, Parser};
use crate::contract::time::Time;

/// How much is read at once.
const CHUNK: usize = 256 << 10;

/// How often each stream is read before anything else is looked after.
const ROUNDS: usize = 16;

/// After so long a silence what stands in a pipe without a line break is a line. Sooner only if nobody
/// has the pipe open any more.
const QUIET: Duration = Duration::from_secs(1);

/// What unfinished lines of all streams may take together.
const MOST_HELD: usize = 64 << 20;

/// Marks of what is waited for; pipes come after.
const BELL: u64 = 0;
const FILES: u64 = 1;
const PIPES: u64 = 2;

/// What is known of a stream of bytes.
struct Stream {
    role: Role,
    lines: Lines,
    /// Of the line before: what goes on with it has the same.
    level: Level,
    time: Option<Time>,
    is_dropped: bool,
    parser: Parser,
    counts: Arc<Counts>,
    /// The name that goes with its lines.
    file: Option<String>,
}

/// A pipe, of which the writers come and go.
struct Pipe {
    end: OwnedFd,
    stream: Stream,
    /// Whether there may be something to be read.
    is_ready: bool,
    /// When what is held is a line.
    quiet_at: Option<Instant>,
}

/// Where everything goes.
struct Sink {
    output: Output,
    limits: Limits,
    shared: Arc<Shared>,
    teller: Teller,
    /// What unfinished lines of all streams take together.
    held: usize,
}

/// What time it is for what was read at once.
#[derive(Clone, Copy)]
struct Now {
    clock: SystemTime,
    time: Time,
    instant: Instant,
}

impl Now {
    fn get() -> Self {
        let clock = SystemTime::now();
        Self {
            clock,
            time: clock.into(),
            instant: Instant::now(),
        }
    }
}

/// All that is read.
pub(super) struct Reader {
    epoll: Epoll,
    bell: Bell,
    pipes: Vec<Pipe>,
    files: Option<Files>,
    /// What is followed, and what its lines are.
    roots: Vec<(PathBuf, Role)>,
    streams: HashMap<usize, Stream>,
    sink: Sink,
    line: usize,
}

impl Reader {
    /// Prepares to read `pipes` and `files`, lines of at most `line` bytes.
    pub(super) fn new(
        pipes: Vec<(OwnedFd, Role, PathBuf)>,
        files: Option<Files>,
        roots: Vec<(PathBuf, Role)>,
        (output, limits): (Output, Limits),
        (shared, bell): (Arc<Shared>, Bell),
        line: usize,
    ) -> Result<Self, Errno> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(&bell, EpollEvent::new(EpollFlags::EPOLLIN, BELL))?;
        if let Some(files) = &files {
            epoll.add(
                files.descriptor(),
                EpollEvent::new(EpollFlags::EPOLLIN, FILES),
            )?;
        }
        let sink = Sink {
            output,
            limits,
            shared,
            teller: Teller::default(),
            held: 0,
        };
        let mut reader = Self {
            epoll,
            bell,
            pipes: Vec::new(),
            files,
            roots,
            streams: HashMap::new(),
            sink,
            line,
        };
        for (mark, (end, role, path)) in (PIPES..).zip(pipes) {
            // A pipe without a writer would be ready for ever, so that only news is of interest.
            let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
            reader.epoll.add(&end, EpollEvent::new(flags, mark))?;
            let stream = reader.stream(role, &path);
            reader.pipes.push(Pipe {
                end,
                stream,
                is_ready: false,
                quiet_at: None,
            });
        }
        Ok(reader)
    }

    /// A new stream, which counts under the path in the settings: there may be any number of files.
    fn stream(&self, role: Role, root: &Path) -> Stream {
        let limit = match role {
            Role::Logs => self.line,
            // The parser has the last word on what is too long.
            Role::Metrics => parse::MAX_BYTES + 1,
        };
        Stream {
            role,
            lines: Lines::new(limit),
            level: Level::Info,
            time: None,
            is_dropped: false,
            parser: Parser::default(),
            counts: self.sink.shared.counts(&root.display().to_string(), role),
            file: None,
        }
    }

    /// Reads until the bell rings, and then what was there when it did.
    pub(super) fn run(mut self) {
        let mut buffer = vec![0; CHUNK];
        self.look();
        loop {
            if self.bell.rings() {
                self.read_last(&mut buffer);
                return self.finish();
            }
            let Some(has_more) = self.read_some(&mut buffer) else {
                return;
            };
            self.wait(has_more);
        }
    }

    /// Reads for a while, each stream in its turn. Returns whether there may be more; `None` if nothing is
    /// to be read at all.
    fn read_some(&mut self, buffer: &mut [u8]) -> Option<bool> {
        for _ in 0..ROUNDS {
            if !self.read_round(buffer)? {
                self.sink.output.flush();
                return Some(false);
            }
        }
        // Whoever else wants something has waited long enough.
        Some(true)
    }

    /// Reads once from each stream that is ready. Returns whether there may be more; `None` as above.
    fn read_round(&mut self, buffer: &mut [u8]) -> Option<bool> {
        let is_any_ready = self.pipes.iter().any(|pipe| pipe.is_ready);
        if is_any_ready && !self.sink.shared.claim() {
            return None;
        }
        let mut has_more = false;
        for index in 0..self.pipes.len() {
            has_more |= self.read_pipe(index, buffer) > 0;
        }
        has_more |= self.read_file(buffer).is_some();
        self.sink
            .shared
            .progress
            .fetch_add(u64::from(has_more), Ordering::Relaxed);
        Some(has_more)
    }

    /// Reads what is there now. Whoever goes on writing is not of this container, and would keep us for
    /// ever: a pipe gives no more than it can hold, a file nothing beyond the end that it has once had.
    fn read_last(&mut self, buffer: &mut [u8]) {
        if !self.sink.shared.claim() {
            return;
        }
        for index in 0..self.pipes.len() {
            let mut left = self.pipes.get_mut(index).map_or(0, |pipe| {
                pipe.is_ready = true;
                let size = fcntl(&pipe.end, FcntlArg::F_GETPIPE_SZ).unwrap_or(0);
                usize::try_from(size).unwrap_or(0).max(1)
            });
            while left > 0 {
                match self.read_pipe(index, buffer) {
                    0 => break,
                    size => left = left.saturating_sub(size),
                }
                self.sink.shared.progress.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.look();
        let (mut ended, mut in_a_row) = (HashSet::new(), 0);
        while let Some((stream, is_end)) = self.read_file(buffer) {
            self.sink.shared.progress.fetch_add(1, Ordering::Relaxed);
            // Streams take turns: so many in a row that had come to their end are all there are.
            in_a_row = if is_end && !ended.insert(stream) {
                in_a_row + 1
            } else {
                0
            };
            if in_a_row > ended.len() {
                break;
            }
        }
    }

    /// Reads once. Returns how much that was; 0 if there is no more.
    fn read_pipe(&mut self, index: usize, buffer: &mut [u8]) -> usize {
        let Some(pipe) = self.pipes.get_mut(index).filter(|pipe| pipe.is_ready) else {
            return 0;
        };
        let now = Now::get();
        match read(&pipe.end, buffer) {
            Ok(0) => {
                // Nobody has it open: no line goes on.
                pipe.is_ready = false;
                pipe.quiet_at = None;
                self.sink.end(&mut pipe.stream, now);
            }
            Ok(size) => {
                let bytes = buffer.get(..size).unwrap_or_default();
                self.sink.feed(&mut pipe.stream, bytes, now);
                return size;
            }
            // As if it had been little.
            Err(Errno::EINTR) => return 1,
            Err(_) => {
                pipe.is_ready = false;
                pipe.quiet_at = pipe.stream.is_pending().then(|| now.instant + QUIET);
            }
        }
        0
    }

    /// Reads a piece of one file, writes its lines, and remembers how far that was. Returns which, and
    /// whether it came to its end.
    fn read_file(&mut self, buffer: &mut [u8]) -> Option<(usize, bool)> {
        let files = self.files.as_mut()?;
        let piece = files.read(buffer)?;
        let now = Now::get();
        let path = files.name(piece.stream).to_owned();
        if !self.streams.contains_key(&piece.stream) {
            let (root, role) = self.root(&path);
            let stream = self.stream(role, &root);
            self.streams.insert(piece.stream, stream);
        }
        let stream = self.streams.get_mut(&piece.stream)?;
        // A file may get another name.
        if !path.as_os_str().is_empty() && stream.file.as_deref() != path.to_str() {
            stream.file = Some(path.display().to_string());
        }
        self.sink
            .feed(stream, buffer.get(..piece.size).unwrap_or_default(), now);
        if piece.ended {
            self.sink.end(stream, now);
        }
        let unfinished = stream.lines.held();
        self.sink.output.flush();
        if let Some(files) = &mut self.files {
            files.done(piece.stream, unfinished);
            if piece.ended && files.name(piece.stream).as_os_str().is_empty() {
                self.streams.remove(&piece.stream);
            }
        }
        Some((piece.stream, piece.ended || piece.size < buffer.len()))
    }

    /// What a file belongs to: the path in the settings, and what that is.
    fn root(&self, path: &Path) -> (PathBuf, Role) {
        let mut roots = self.roots.iter();
        let found = roots.find(|(root, _)| path.starts_with(root)).cloned();
        found.unwrap_or_else(|| (path.to_owned(), Role::Logs))
    }

    /// Takes in what has happened to files, and tells what is wrong with them.
    fn look(&mut self) {
        if let Some(files) = &mut self.files {
            files.look();
            for problem in files.problems() {
                warn!("{problem}");
            }
        }
    }

    /// Waits until there is something to be read, or to be done; not at all if there is.
    fn wait(&mut self, has_more: bool) {
        let instant = Instant::now();
        let quiet = self.pipes.iter().filter_map(|pipe| pipe.quiet_at).min();
        let due = self.files.as_ref().and_then(Files::due);
        let limits = self.sink.limits.due(instant);
        let until = [quiet, due, limits].into_iter().flatten().min();
        let until = if has_more { Some(instant) } else { until };
        let timeout = until.map_or(EpollTimeout::NONE, |until| {
            let left = until.saturating_duration_since(instant);
            // Not a millisecond early, which would be a turn for nothing.
            let millis = i32::try_from(left.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX);
            EpollTimeout::try_from(millis).unwrap_or(EpollTimeout::MAX)
        });
        let mut events = [EpollEvent::empty(); 8];
        // Interrupted, it is as if nothing had happened.
        let count = self.epoll.wait(&mut events, timeout).unwrap_or(0);
        let now = Now::get();
        let mut is_look_due = due.is_some_and(|due| due <= now.instant);
        for event in events.iter().take(count) {
            match event.data() {
                BELL => {}
                FILES => is_look_due = true,
                mark => {
                    let index = usize::try_from(mark - PIPES).unwrap_or(usize::MAX);
                    if let Some(pipe) = self.pipes.get_mut(index) {
                        pipe.is_ready = true;
                    }
                }
            }
        }
        if is_look_due {
            self.look();
        }
        for pipe in &mut self.pipes {
            if !pipe.is_ready && pipe.quiet_at.is_some_and(|at| at <= now.instant) {
                pipe.quiet_at = None;
                self.sink.end(&mut pipe.stream, now);
            }
        }
        if limits.is_some_and(|at| at <= now.instant) {
            self.sink.tell_dropped(now.instant);
        }
    }

    /// Nothing follows: what is unfinished is as complete as it will be.
    fn finish(mut self) {
        let now = Now::get();
        for pipe in &mut self.pipes {
            self.sink.end(&mut pipe.stream, now);
        }
        for stream in self.streams.values_mut() {
            self.sink.end(stream, now);
        }
        self.sink.output.flush();
        if let Some(files) = &mut self.files {
            for stream in self.streams.keys() {
                files.done(*stream, 0);
            }
        }
        self.sink.tell_dropped(now.instant);
        self.sink.teller.finish();
        if self.sink.output.lost > 0 {
            warn!("log lines that nobody read: {}", self.sink.output.lost);
        }
    }
}

impl Stream {
    /// Whether something is held that a silence completes.
    fn is_pending(&self) -> bool {
        self.lines.is_pending() || self.parser.is_pending()
    }
}

impl Sink {
    fn feed(&mut self, stream: &mut Stream, bytes: &[u8], now: Now) {
        let size = u64::try_from(bytes.len()).unwrap_or(0);
        stream.counts.bytes.fetch_add(size, Ordering::Relaxed);
        self.with(stream, now, |lines, each| lines.feed(bytes, each));
        if self.held > MOST_HELD {
            self.with(stream, now, |lines, each| lines.give_up_some(each));
        }
    }

    fn end(&mut self, stream: &mut Stream, now: Now) {
        self.with(stream, now, |lines, each| lines.end_if_pending(each));
        if stream.role == Role::Metrics {
            stream.parser.end(&mut |item| {
                point(&self.shared, &mut self.teller, item, now);
            });
        }
    }

    /// Does something with the lines of a stream that gives some of them.
    fn with(
        &mut self,
        stream: &mut Stream,
        now: Now,
        act: impl FnOnce(&mut Lines, &mut dyn FnMut(&[u8], Part)),
    ) {
        let Stream {
            lines,
            parser,
            counts,
            file,
            level,
            time,
            is_dropped,
            role,
        } = stream;
        let Self {
            output,
            limits,
            shared,
            teller,
            held,
        } = self;
        let mut count = 0;
        *held -= lines.held();
        act(lines, &mut |line, part| {
            count += u64::from(part == Part::Start);
            match role {
                Role::Metrics if part == Part::Start => {
                    parser.line(line, &mut |item| point(shared, teller, item, now));
                }
                // It has been refused for its length.
                Role::Metrics => {}
                Role::Logs => {
                    let goes_on = part == Part::Rest || logline::is_continuation(line);
                    let message = if goes_on {
                        if *is_dropped {
                            limits.drop_one(*level);
                        } else if part == Part::Start {
                            *is_dropped = !limits.passes(*level, now.instant);
                        }
                        line
                    } else {
                        let line = logline::parse(line);
                        *level = line.level.unwrap_or(Level::Info);
                        *time = line.time;
                        *is_dropped = !limits.passes(*level, now.instant);
                        line.message
                    };
                    let of_level = *level as usize;
                    if *is_dropped {
                        shared.dropped[of_level].fetch_add(1, Ordering::Relaxed);
                        return;
                    }
                    shared.lines[of_level].fetch_add(1, Ordering::Relaxed);
                    output.write(&Entry {
                        time: time.unwrap_or(now.time),
                        level: *level,
                        message,
                        file: file.as_deref(),
                    });
                }
            }
        });
        *held += lines.held();
        counts.lines.fetch_add(count, Ordering::Relaxed);
    }

    fn tell_dropped(&mut self, now: Instant) {
        self.output.flush();
        for (level, lines, rate) in self.limits.tell(now) {
            warn!(
                "{lines} {} lines were dropped: more than {rate} a second, the limit set by `disco.logs_rate`",
                level.name()
            );
        }
    }
}

/// Takes in what the parser has made of some lines.
fn point(shared: &Shared, teller: &mut Teller, item: Item, now: Now) {
    match item {
        Item::Point(point) => match shared.store().take(point, now.clock) {
            Ok(doubts) => {
                for doubt in doubts {
                    teller.say(now.instant, || info!("metrics: {doubt}"));
                }
            }
            Err(refused) => teller.say(now.instant, || warn!("metrics: {refused}")),
        },
        Item::Refused(refusal) => {
            shared.refused.fetch_add(1, Ordering::Relaxed);
            teller.say(now.instant, || {
                warn!("metrics: line {}: {}", refusal.line, refusal.reason);
            });
        }
    }
}
