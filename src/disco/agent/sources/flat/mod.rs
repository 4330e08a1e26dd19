//! A file or a directory of YAML, JSON and TOML, watched by inotify.
//!
//! In a circle: watch the way to the data, read the data, wait. `plan` and `watch` say what is to be
//! watched and what an event means, `writers` whether somebody is in the middle of writing, `read`
//! gives one consistent state. What is complete (a rename, a closed file, a `..data` swap) is read
//! at once, without debouncing; what looks broken, emptied or gone is looked at twice, and then
//! reported while the last good snapshot stands.
//!
//! Invariants: but for the very first look, whatever is read was watched before, so that a change
//! after the reading is in the queue (conformance 2.3.1); a timer runs only while something is unfinished, or where the
//! filesystem sends no events.

mod plan;
mod read;
mod watch;
mod writers;

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::hash::{BuildHasher as _, RandomState};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use nix::errno::Errno;
use serde_json::Value;
use tracing::{debug, info, warn};

use super::Publisher;
use crate::disco::settings::FlatSettings;
use read::{File, Reading};
use watch::{Blind, Meaning, Watcher};
use writers::{SILENCE, Writers};

/// Least pause between two turns; four times as long as a turn takes, if that is more. A file that is
/// replaced without end takes a fifth of the agent's time at most. The bucket that the stores share
/// would do the same by delays that are long next to what a look at a file costs.
const PACE: Duration = Duration::from_millis(5);
/// How long what looks wrong may be a change under way.
const SECOND_LOOK: Duration = Duration::from_millis(250);
/// How long the contents found at the start must have been at rest: nobody told us of the writer who
/// may have been at it before.
const AT_REST: Duration = Duration::from_millis(20);
/// How often to compare contents without inotify when `flat.poll` says never: otherwise no change
/// would ever be seen, which is not what was asked for.
const FALLBACK: Duration = Duration::from_secs(5);
/// How long contents that polling found changed may keep changing before they are taken.
const PATIENCE: Duration = Duration::from_secs(2);

/// Runs the source.
pub async fn run(settings: FlatSettings, publisher: Publisher) {
    Flat::new(settings, publisher).run().await;
}

/// Reads what is there now, once, and what is odd about it.
///
/// # Errors
/// Why it cannot be read.
pub fn read_once(settings: &FlatSettings) -> Result<(Value, Vec<String>), String> {
    let path = settings.file.display();
    match read::read(&settings.file, which(settings)) {
        Reading::Files(files, _) => parse(settings, &files),
        Reading::Missing => Err(format!("{path} does not exist")),
        Reading::Changing => Err(format!("{path} changes as fast as it is read")),
        Reading::Failed(reason) => Err(reason),
    }
}

/// Which files of a directory count.
fn which(settings: &FlatSettings) -> fn(&OsStr) -> bool {
    if settings.values {
        read::is_value
    } else {
        read::is_document
    }
}

fn parse(settings: &FlatSettings, files: &[File]) -> Result<(Value, Vec<String>), String> {
    if settings.values {
        read::values(files)
    } else {
        read::documents(files)
    }
}

/// The source at work.
struct Flat {
    settings: FlatSettings,
    /// Absolute, as it was when we started.
    path: PathBuf,
    is_data: fn(&OsStr) -> bool,
    publisher: Publisher,
    /// Until when to rest after the last turn.
    rest: Instant,
    /// `None` while inotify cannot be had.
    watcher: Option<Watcher>,
    blind: Option<Blind>,
    writers: Writers,
    /// The way has to be watched anew.
    is_unarmed: bool,
    /// The data has to be read.
    is_stale: bool,
    /// An event, not a timer, led to this reading.
    is_woken: bool,
    /// When to look although nothing has happened.
    again: Option<Instant>,
    poll: Option<Instant>,
    hasher: RandomState,
    /// What was published last.
    good: Option<Good>,
    /// Why the source is down, if it is.
    down: Option<String>,
    /// Since when the data looks wrong.
    doubted: Option<Instant>,
    /// Contents that polling found changed, and since when.
    unconfirmed: Option<(u64, Instant)>,
}

/// What is kept of a good state.
struct Good {
    /// Contents, hashed with a key of our own.
    digest: u64,
    /// The files with something in them.
    filled: BTreeSet<OsString>,
}

impl Flat {
    fn new(settings: FlatSettings, publisher: Publisher) -> Self {
        Self {
            path: std::path::absolute(&settings.file).unwrap_or_else(|_| settings.file.clone()),
            is_data: which(&settings),
            settings,
            publisher,
            rest: Instant::now(),
            watcher: None,
            blind: None,
            writers: Writers::default(),
            is_unarmed: true,
            is_stale: true,
            is_woken: false,
            again: None,
            poll: None,
            hasher: RandomState::new(),
            good: None,
            down: None,
            doubted: None,
            unconfirmed: None,
        }
    }

    async fn run(mut self) {
        if self.look_without_watching() {
            // Often that was all: closing an inotify descriptor takes the kernel many milliseconds,
            // by which the command would start later.
            self.publisher.wanted().await;
        }
        loop {
            if !self.is_unarmed && !self.is_due() {
                self.wait().await;
                continue;
            }
            // After a quiet time this has passed: the first event is never delayed.
            if self.rest > Instant::now() {
                tokio::time::sleep_until(self.rest.into()).await;
            }
            let start = Instant::now();
            self.absorb();
            if std::mem::take(&mut self.is_unarmed) {
                // Always followed by a reading: what the watches did not cover may have changed.
                self.is_stale = true;
                self.arm();
                self.absorb();
            }
            if self.is_due() {
                self.look();
            }
            let rest = (start.elapsed() * 4).clamp(PACE, 20 * PACE);
            self.rest = Instant::now() + rest;
        }
    }

    /// Publishes what is there at the start, if it has been so for a while. The first turn of the
    /// loop watches it and reads it again, so that no change gets lost.
    fn look_without_watching(&mut self) -> bool {
        let reading = read::read(&self.path, self.is_data);
        if matches!(reading, Reading::Files(..)) {
            self.judge(reading, false);
        }
        // Whatever else came of it is judged again when it is watched.
        self.again = None;
        self.doubted = None;
        self.good.is_some()
    }

    /// Whether to read now.
    fn is_due(&self) -> bool {
        let is_ready = |due| due <= Instant::now();
        self.is_stale && self.writers.due().is_none_or(is_ready)
    }

    /// Watches the way as it is now.
    fn arm(&mut self) {
        if self.watcher.is_none() {
            match Watcher::new(self.is_data) {
                Ok(watcher) => self.watcher = Some(watcher),
                Err(error) => {
                    let errno = error
                        .raw_os_error()
                        .map_or(Errno::UnknownErrno, Errno::from_raw);
                    return self.set_blind(Some(Blind::Refused(errno)));
                }
            }
        }
        if let Some(watcher) = &mut self.watcher {
            let (is_settled, blind) = watcher.arm(&self.path);
            self.is_unarmed |= !is_settled;
            self.writers.retain(|file| watcher.is_watching(file));
            self.set_blind(blind);
        }
    }

    /// Says once that, and why, contents are polled.
    fn set_blind(&mut self, blind: Option<Blind>) {
        if blind != self.blind {
            let source = &self.publisher.name;
            let every = match self.interval(blind.as_ref()) {
                Some(interval) => format!("comparing contents every {interval:?}"),
                None => {
                    "changes made elsewhere are not noticed, since `flat.poll` is off".to_owned()
                }
            };
            match &blind {
                None => info!(source, "watching without polling again"),
                Some(Blind::Refused(errno)) => {
                    warn!(source, "cannot watch files: {}; {every}", remedy(*errno));
                }
                Some(Blind::Forbidden(path)) => {
                    info!(
                        source,
                        "{} may not be watched by this user; {every}",
                        path.display()
                    );
                }
                Some(Blind::Silent(path)) => {
                    info!(
                        source,
                        "{} is on a filesystem that sends no events; {every}",
                        path.display()
                    );
                }
            }
            self.blind = blind;
        }
    }

    /// How often contents are compared.
    fn interval(&self, blind: Option<&Blind>) -> Option<Duration> {
        match blind? {
            Blind::Refused(_) => Some(self.settings.poll.unwrap_or(FALLBACK)),
            Blind::Forbidden(_) | Blind::Silent(_) => self.settings.poll,
        }
    }

    /// Takes in the events that are there.
    fn absorb(&mut self) {
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        let meanings = match watcher.drain() {
            Ok(Some(meanings)) => meanings,
            Ok(None) => {
                debug!(source = %self.publisher.name, "events were lost; reading all anew");
                self.writers.clear();
                vec![Meaning::Changed]
            }
            Err(errno) => {
                warn!(source = %self.publisher.name, "cannot read events: {errno}; watching anew");
                self.watcher = None;
                vec![Meaning::Changed]
            }
        };
        let now = Instant::now();
        for meaning in meanings {
            self.is_stale = true;
            self.is_woken = true;
            self.is_unarmed |= meaning.is_of_the_way();
            match meaning {
                Meaning::Written(file) => self.writers.wrote(file, now),
                Meaning::Created(file) if watch::is_being_written(&file) => {
                    self.writers.wrote(file, now);
                }
                Meaning::Closed(file) | Meaning::Created(file) | Meaning::Replaced(file) => {
                    self.writers.closed(&file);
                }
                Meaning::Changed => {}
            }
        }
    }

    /// Reads, and judges what was read unless it is known to be torn.
    fn look(&mut self) {
        let is_endless = self.writers.are_endless(Instant::now());
        let is_woken = std::mem::take(&mut self.is_woken);
        self.writers.clear();
        self.is_stale = false;
        self.again = None;
        let reading = read::read(&self.path, self.is_data);
        self.poll = self
            .interval(self.blind.as_ref())
            .map(|i| Instant::now() + i);
        self.absorb();
        if self.writers.are_done() || is_endless {
            self.judge(reading, is_woken);
        }
    }

    fn judge(&mut self, reading: Reading, is_woken: bool) {
        let now = Instant::now();
        let files = match reading {
            Reading::Files(files, written) => {
                if !is_woken && let Some(rest) = self.unrest(&files, written) {
                    self.again = Some(now + rest);
                    return;
                }
                files
            }
            Reading::Changing => {
                self.again = Some(now + SILENCE);
                return;
            }
            Reading::Failed(reason) => return self.doubt(reason, now),
            Reading::Missing => {
                let path = self.settings.file.display();
                if self.good.is_some() {
                    return self.doubt(
                        format!("{path} does not exist any more; waiting for it"),
                        now,
                    );
                }
                return self.report(format!("{path} does not exist yet; waiting for it"));
            }
        };
        let digest = self.hasher.hash_one(&files);
        let is_known = self.good.as_ref().is_some_and(|good| good.digest == digest);
        if is_known && self.down.is_none() {
            self.doubted = None;
            self.unconfirmed = None;
            return;
        }
        if !is_woken && !is_known && self.is_unconfirmed(digest, now) {
            self.again = Some(now + SILENCE);
            return;
        }
        if let Some(reason) = self.emptied(&files, now) {
            return self.doubt(reason, now);
        }
        match parse(&self.settings, &files) {
            Ok((tree, notes)) => {
                let filled = files.into_iter().filter(|file| !file.is_blank());
                self.good = Some(Good {
                    digest,
                    filled: filled.map(|file| file.name).collect(),
                });
                self.doubted = None;
                self.unconfirmed = None;
                self.down = None;
                self.publisher.note(notes);
                self.publisher.snapshot(tree);
            }
            Err(reason) => self.doubt(reason, now),
        }
    }

    /// How long to wait before the contents found at the start may be taken.
    fn unrest(&self, files: &[File], written: SystemTime) -> Option<Duration> {
        let rest = if files.iter().any(File::is_blank) {
            SECOND_LOOK
        } else {
            AT_REST
        };
        // A time in the future says nothing: clocks of servers differ.
        let age = written.elapsed().ok().filter(|_| self.good.is_none())?;
        rest.checked_sub(age).filter(|rest| !rest.is_zero())
    }

    /// Whether contents found by polling may be half-written: no event says when the writer is done,
    /// so two readings in a row have to agree.
    fn is_unconfirmed(&mut self, digest: u64, now: Instant) -> bool {
        let sends_events = !matches!(self.blind, Some(Blind::Refused(_) | Blind::Silent(_)));
        if sends_events || self.good.is_none() {
            return false;
        }
        let (last, since) = *self.unconfirmed.get_or_insert((!digest, now));
        self.unconfirmed = Some((digest, since));
        last != digest && now < since + PATIENCE
    }

    /// Why what was read cannot be meant, if a file, or the directory, has nothing in it any more:
    /// truncating is the first half of rewriting. A value may become empty, though.
    fn emptied(&self, files: &[File], now: Instant) -> Option<String> {
        let filled = &self.good.as_ref()?.filled;
        if files.is_empty() && !filled.is_empty() {
            let path = self.settings.file.display();
            return Some(format!(
                "{path} holds no data file any more; waiting for one"
            ));
        }
        let is_second = self.doubted.is_some_and(|since| now >= since + SECOND_LOOK);
        if self.settings.values && is_second {
            return None;
        }
        let mut files = files.iter();
        let file = files.find(|file| file.is_blank() && filled.contains(&file.name))?;
        Some(format!(
            "{} is empty now; waiting for contents",
            file.path.display()
        ))
    }

    /// Something is wrong; if it still is at the second look, says so.
    fn doubt(&mut self, reason: String, now: Instant) {
        let due = *self.doubted.get_or_insert(now) + SECOND_LOOK;
        if now >= due || self.down.is_some() {
            self.report(reason);
        } else {
            self.again = Some(due);
        }
    }

    /// Says why there is nothing new, once per reason.
    fn report(&mut self, reason: String) {
        if self.down.as_ref() != Some(&reason) {
            self.publisher.down(reason.clone());
            self.down = Some(reason);
        }
    }

    /// Sleeps until something happens or is to be done.
    async fn wait(&mut self) {
        let deadline = [self.writers.due(), self.again, self.poll]
            .into_iter()
            .flatten()
            .min();
        let event = async {
            match &self.watcher {
                Some(watcher) => watcher.ready().await,
                None => std::future::pending().await,
            }
        };
        let timer = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = event => self.absorb(),
            () = timer => {
                let now = Instant::now();
                if [self.again, self.poll].iter().flatten().any(|at| *at <= now) {
                    self.again = None;
                    self.poll = None;
                    self.is_unarmed = true;
                }
            }
        }
    }
}

/// What to do about inotify's refusal.
fn remedy(errno: Errno) -> String {
    match errno {
        Errno::EMFILE => {
            format!("{errno}; raise fs.inotify.max_user_instances (sysctl) on the host")
        }
        Errno::ENOSPC => format!("{errno}; raise fs.inotify.max_user_watches (sysctl) on the host"),
        errno => errno.to_string(),
    }
}
