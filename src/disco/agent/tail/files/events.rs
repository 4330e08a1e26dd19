//! Takes in events, of names and of writes, until nothing has been renamed since the files were looked
//! at.
//!
//! An event is a hint that something is to be looked at. What is where is [`scan`](super::scan)'s and
//! [`settle`](super::settle)'s to find out; who had a name meanwhile is worked out by
//! [`moves`]. Nothing is read here, and nothing decided of what is found.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::{File, Metadata};
use std::path::PathBuf;
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::inotify::AddWatchFlags;

use super::moves::{self, Moves};
use super::part::Part;
use super::{Files, POLL, names, part};

/// How often events are taken in during one look, while somebody goes on renaming. The next look goes
/// on from there.
const ROUNDS: usize = 16;

/// Of how many events the renames are remembered while they go on; beyond that it is as if they had
/// been lost. As many as the kernel holds by default.
const MAX_EVENTS: usize = 16_384;

/// A file that lost a name. Open, since it may be moved on; none if it is nowhere any more.
pub(super) type Loss = Option<(File, Metadata)>;

/// The files that lost a name, by that, in the order in which they lost it.
pub(super) type Departed = HashMap<PathBuf, Vec<Loss>>;

impl Files {
    /// Takes in what has happened by now.
    pub(super) fn take_in(&mut self, now: Instant) {
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
    }

    /// Takes in the events. Returns whether any were lost.
    pub(super) fn drain(
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
    pub(super) fn departed(&self, moves: &Moves) -> (Departed, Vec<(PathBuf, Option<PathBuf>)>) {
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

    /// The path of an entry of a watched directory, links resolved.
    fn path_of(&self, entry: &moves::Entry) -> Option<PathBuf> {
        let mut roots = self.roots.iter();
        let directory = roots.find_map(|root| root.watched.get(&entry.0))?;
        Some(directory.path.join(&entry.1))
    }

    pub(super) fn modified(&mut self, stream: usize) {
        if let Some(part) = self.part_in_writing(stream) {
            part.modified();
        }
        self.wake(stream);
    }

    fn part_in_writing(&mut self, stream: usize) -> Option<&mut Part> {
        self.streams.get_mut(&stream)?.parts.back_mut()
    }
}
