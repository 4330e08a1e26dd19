//! Decides who has a name and in which order others had it, and begins to follow them.
//!
//! By what is at the name and by what the events told; these were taken in already. Who had it while
//! nobody told of it is [`generations`](super::generations)' to find, and what an earlier run knew is
//! [`recall`](super::recall)'s.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::inotify::AddWatchFlags;

use super::events::{Departed, Loss};
use super::part::{Id, Part};
use super::{Files, From, Stream, part};

/// How many files are followed in all.
pub(super) const MAX_STREAMS: usize = 1024;

impl Files {
    /// Finds out who has a name now, and who had it meanwhile.
    pub(super) fn settle(&mut self, index: usize, departed: &Departed, is_afresh: bool) {
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
            if let Ok(file) = file.try_clone() {
                self.begin_rotated(index, at, [Part::new(file, about)].into());
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
                let at = self.end_of(index);
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

    /// Whether anything was ever seen under a name: if not, all that is there is from before.
    fn is_seen(&self, index: usize) -> bool {
        self.names.get(&index).is_some_and(|name| name.newest > 0)
    }

    /// Has a stream, or none, be the one that is at the name now.
    pub(super) fn succeed(&mut self, index: usize, current: Option<usize>) {
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

    /// The position after all streams of a name.
    pub(super) fn end_of(&self, name: usize) -> usize {
        self.names.get(&name).map_or(0, |name| name.streams.len())
    }

    /// Begins to follow a file that has lost its name already.
    pub(super) fn begin_rotated(&mut self, name: usize, at: usize, parts: VecDeque<Part>) {
        if let Some(stream) = self.begin(name, at, parts)
            && let Some(stream) = self.streams.get_mut(&stream)
        {
            stream.rotated = Some(Instant::now());
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
}
