//! inotify: keeps the watches of a plan, and says what an event means.
//!
//! Not by the `notify` crate. It runs a thread of its own with a round trip through it for each
//! watch, release 8 also asks for OPEN (every program that opens anything in `/etc` would wake us),
//! and release 9, where kinds of events can be chosen, is a pre-release and has one choice for all
//! watches, which it keys by path: here directories are watched for names and files for writes, and
//! a path is watched again when another file has taken it. One descriptor in the agent's own loop
//! does that, with no thread and no wake-up that is not about us.
//!
//! Invariant: watches are set before anything is read, and the way is then followed once more; a
//! change before that is seen by the second look, any later one is an event in the queue.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd, RawFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::plan::{Directory, Node, Plan, Role};
use super::read;
use crate::disco::agent::silent;

/// How often the way is followed anew when it changes under our feet. Whoever changes it leaves an
/// event that brings us back.
const ATTEMPTS: usize = 3;

/// What an event means for what we read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Something on the way or at its end is not what it was.
    Changed,
    /// This name now stands for something complete, or for nothing.
    Replaced(PathBuf),
    /// This name came to be; if it is a file, somebody is about to write it.
    Created(PathBuf),
    /// This file is being written.
    Written(PathBuf),
    /// This file was closed by a writer.
    Closed(PathBuf),
}

impl Meaning {
    /// Whether the way to the data may be another now.
    pub(super) fn is_of_the_way(&self) -> bool {
        !matches!(self, Self::Written(_) | Self::Closed(_))
    }
}

/// Why events alone will not do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Blind {
    /// inotify cannot be had, or not for everything.
    Refused(Errno),
    /// This may not be watched by our user.
    Forbidden(PathBuf),
    /// This is on a filesystem that others change without the kernel knowing.
    Silent(PathBuf),
}

/// What is watched.
pub(super) struct Watcher {
    inotify: AsyncFd<Descriptor>,
    plan: Plan,
    /// The kernel has one watch per inode, however many paths lead to it.
    watched: HashMap<WatchDescriptor, Vec<Target>>,
    is_data: fn(&OsStr) -> bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    Directory(PathBuf),
    File(PathBuf),
}

/// nix's type does not show its number, which the runtime asks for.
struct Descriptor(Inotify);

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl Watcher {
    /// A watcher of nothing. `is_data` tells the names that count in a data directory.
    #[expect(
        deprecated,
        reason = "its successor is unsafe, for types that lie about their number; ours owns it"
    )]
    pub(super) fn new(is_data: fn(&OsStr) -> bool) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        Ok(Self {
            inotify: AsyncFd::with_interest(Descriptor(inotify), Interest::READABLE)?,
            plan: Plan::default(),
            watched: HashMap::new(),
            is_data,
        })
    }

    /// Watches the way to `path` as it is now. Returns whether it stayed as it was meanwhile, and
    /// why events will not do, if so.
    pub(super) fn arm(&mut self, path: &Path) -> (bool, Option<Blind>) {
        let mut plan = survey(path, self.is_data);
        let mut blind = None;
        for _ in 0..ATTEMPTS {
            blind = self.watch(&plan);
            self.plan = plan;
            plan = survey(path, self.is_data);
            if plan == self.plan {
                return (true, blind);
            }
        }
        (false, blind)
    }

    /// Whether writes to this file matter.
    pub(super) fn is_watching(&self, file: &Path) -> bool {
        self.plan.files.contains(file)
    }

    fn watch(&mut self, plan: &Plan) -> Option<Blind> {
        let mut watched: HashMap<WatchDescriptor, Vec<Target>> = HashMap::new();
        let mut blind = None;
        let directories = plan.directories.iter().map(|(path, directory)| {
            let target = Target::Directory(path.clone());
            (path, target, directory.role)
        });
        let files = plan.files.iter();
        let files = files.map(|path| (path, Target::File(path.clone()), Role::Holder));
        for (path, target, role) in directories.chain(files) {
            let mask = mask(&target, role);
            match self.inotify.get_ref().0.add_watch(path.as_path(), mask) {
                Ok(watch) => watched.entry(watch).or_default().push(target),
                // Gone since; the second survey sees it.
                Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => {}
                // The next one on the way says itself when it is moved or removed.
                Err(Errno::EACCES) if role < Role::Holder => {}
                Err(Errno::EACCES) => {
                    blind.get_or_insert_with(|| Blind::Forbidden(path.clone()));
                }
                Err(errno) => blind = Some(Blind::Refused(errno)),
            }
        }
        for old in self.watched.keys() {
            if !watched.contains_key(old) {
                // Fails where the kernel has removed it along with the inode.
                let _ = self.inotify.get_ref().0.rm_watch(*old);
            }
        }
        self.watched = watched;
        blind.or_else(|| silent(plan).map(Blind::Silent))
    }

    /// Waits until something may have happened.
    pub(super) async fn ready(&self) {
        // Fails only when the runtime is going away, and our task with it. Readiness is cleared
        // before [`Self::drain`] empties the queue, so that no event falls in between.
        if let Ok(mut guard) = self.inotify.readable().await {
            guard.clear_ready();
        }
    }

    /// What has happened since the last call, without waiting. `None` where events were lost.
    pub(super) fn drain(&mut self) -> Result<Option<Vec<Meaning>>, Errno> {
        let mut meanings = Vec::new();
        let mut is_complete = true;
        loop {
            // Past the runtime, which learns of new events only between two tasks.
            match self.inotify.get_ref().0.read_events() {
                Ok(events) => {
                    for event in &events {
                        is_complete &= !event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW);
                        self.interpret(event, &mut meanings);
                    }
                }
                Err(Errno::EAGAIN) => return Ok(is_complete.then_some(meanings)),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }

    fn interpret(&self, event: &InotifyEvent, meanings: &mut Vec<Meaning>) {
        // Events of a watch just removed may still be in the queue; they are of no concern.
        for target in self.watched.get(&event.wd).into_iter().flatten() {
            let concerns = |directory: &Path, name: &OsStr| {
                self.plan
                    .directories
                    .get(directory)
                    .is_some_and(|d| d.names.contains(name) || (d.is_data && (self.is_data)(name)))
            };
            meanings.extend(meaning(target, event.mask, event.name.as_ref(), &concerns));
        }
    }
}

/// What to be told of: nothing that opening and reading does. Of writes the file itself tells; a
/// holder only of their end, since a file that comes to be may be closed before it is watched.
fn mask(target: &Target, role: Role) -> AddWatchFlags {
    let own =
        AddWatchFlags::IN_DELETE_SELF | AddWatchFlags::IN_MOVE_SELF | AddWatchFlags::IN_DONT_FOLLOW;
    let lost = AddWatchFlags::IN_DELETE | AddWatchFlags::IN_MOVE;
    let new = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_ATTRIB | AddWatchFlags::IN_CLOSE_WRITE;
    match target {
        Target::File(_) => {
            let writes = AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CLOSE_WRITE;
            own | writes | AddWatchFlags::IN_ATTRIB
        }
        Target::Directory(_) => {
            // IN_MASK_ADD: the same directory may be mounted twice on the way, with another role.
            let more = AddWatchFlags::from_bits_retain(libc::IN_MASK_ADD);
            let mask = own | more | AddWatchFlags::IN_ONLYDIR;
            match role {
                Role::Passed => mask,
                Role::Parent => mask | lost,
                Role::Holder => mask | lost | new,
            }
        }
    }
}

/// What an event on a target means, if anything.
fn meaning(
    target: &Target,
    mask: AddWatchFlags,
    name: Option<&OsString>,
    concerns: &dyn Fn(&Path, &OsStr) -> bool,
) -> Option<Meaning> {
    let has = |flags| mask.intersects(flags);
    let path = match (target, name) {
        (Target::File(path), _) => path.clone(),
        (Target::Directory(path), Some(name)) if concerns(path, name) => path.join(name),
        (Target::Directory(_), Some(_)) => return None,
        // The directory itself: moved, removed, unmounted, other permissions.
        (Target::Directory(_), None) => return Some(Meaning::Changed),
    };
    Some(if has(AddWatchFlags::IN_CLOSE_WRITE) {
        Meaning::Closed(path)
    } else if has(AddWatchFlags::IN_MODIFY) {
        Meaning::Written(path)
    } else if has(AddWatchFlags::IN_CREATE) && !has(AddWatchFlags::IN_ISDIR) {
        Meaning::Created(path)
    } else if has(AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVE | AddWatchFlags::IN_DELETE) {
        Meaning::Replaced(path)
    } else {
        Meaning::Changed
    })
}

/// The plan for `path` as the filesystem is now.
fn survey(path: &Path, is_data: fn(&OsStr) -> bool) -> Plan {
    let list = |directory: &Path| read::list(directory, is_data).unwrap_or_default();
    Plan::of(path, &look, &list)
}

fn look(path: &Path) -> Node {
    match std::fs::symlink_metadata(path) {
        Err(_) => Node::Missing,
        Ok(about) if about.is_dir() => Node::Directory,
        Ok(about) if about.is_file() => Node::File,
        Ok(about) if about.is_symlink() => {
            std::fs::read_link(path).map_or(Node::Missing, Node::Link)
        }
        Ok(_) => Node::Other,
    }
}

/// Whether a file that came to be is one that is being written, and not a symbolic link or a hard
/// link, which are complete as soon as they are there.
pub(super) fn is_being_written(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|about| about.is_file() && about.nlink() == 1)
}

/// Whether a directory matters only for names that other filesystems are mounted on, such as the root
/// of a container for its volumes: such a name cannot come to stand for anything else.
fn is_all_mounts(path: &Path, directory: &Directory) -> bool {
    let device = |path: &Path| Some(std::fs::symlink_metadata(path).ok()?.dev());
    let own = device(path);
    let is_mount = |name| device(&path.join(name)).is_some_and(|other| Some(other) != own);
    !directory.is_data && directory.names.iter().all(is_mount)
}

/// The first place in a plan that is on a filesystem without events.
fn silent(plan: &Plan) -> Option<PathBuf> {
    let mut devices = HashMap::new();
    let holders = plan.directories.iter().filter(|(path, directory)| {
        directory.role == Role::Holder && !is_all_mounts(path, directory)
    });
    let mut places = plan.files.iter().chain(holders.map(|(path, _)| path));
    places
        .find(|path| {
            let Ok(about) = std::fs::metadata(path) else {
                return false;
            };
            *devices
                .entry(about.dev())
                .or_insert_with(|| silent::is_silent(path))
        })
        .cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(target: &Target, mask: AddWatchFlags, name: Option<&str>) -> Option<Meaning> {
        let concerns = |directory: &Path, name: &OsStr| directory == Path::new("/d") && name == "f";
        meaning(target, mask, name.map(OsString::from).as_ref(), &concerns)
    }

    #[test]
    fn c2_3_events_mean_what_the_table_says() {
        let directory = Target::Directory("/d".into());
        let file = Target::File("/x/g".into());
        let f = PathBuf::from("/d/f");
        let g = PathBuf::from("/x/g");
        for (target, mask, name, want) in [
            (
                &directory,
                AddWatchFlags::IN_MOVED_TO,
                Some("f"),
                Some(Meaning::Replaced(f.clone())),
            ),
            (
                &directory,
                AddWatchFlags::IN_MOVED_FROM,
                Some("f"),
                Some(Meaning::Replaced(f.clone())),
            ),
            (
                &directory,
                AddWatchFlags::IN_DELETE,
                Some("f"),
                Some(Meaning::Replaced(f.clone())),
            ),
            (
                &directory,
                AddWatchFlags::IN_CREATE,
                Some("f"),
                Some(Meaning::Created(f.clone())),
            ),
            (
                &directory,
                AddWatchFlags::IN_CREATE | AddWatchFlags::IN_ISDIR,
                Some("f"),
                Some(Meaning::Replaced(f.clone())),
            ),
            (
                &directory,
                AddWatchFlags::IN_CLOSE_WRITE,
                Some("f"),
                Some(Meaning::Closed(f)),
            ),
            (
                &directory,
                AddWatchFlags::IN_ATTRIB,
                Some("f"),
                Some(Meaning::Changed),
            ),
            (&directory, AddWatchFlags::IN_MOVED_TO, Some("other"), None),
            (
                &directory,
                AddWatchFlags::IN_DELETE_SELF,
                None,
                Some(Meaning::Changed),
            ),
            (
                &directory,
                AddWatchFlags::IN_IGNORED,
                None,
                Some(Meaning::Changed),
            ),
            (
                &directory,
                AddWatchFlags::IN_UNMOUNT,
                None,
                Some(Meaning::Changed),
            ),
            (
                &file,
                AddWatchFlags::IN_MODIFY,
                None,
                Some(Meaning::Written(g.clone())),
            ),
            (
                &file,
                AddWatchFlags::IN_CLOSE_WRITE,
                None,
                Some(Meaning::Closed(g)),
            ),
            (
                &file,
                AddWatchFlags::IN_ATTRIB,
                None,
                Some(Meaning::Changed),
            ),
            (
                &file,
                AddWatchFlags::IN_MOVE_SELF,
                None,
                Some(Meaning::Changed),
            ),
        ] {
            assert_eq!(of(target, mask, name), want, "{mask:?} {name:?}");
        }
    }

    #[test]
    fn nobody_who_only_opens_or_reads_wakes_us() {
        for target in [Target::Directory("/d".into()), Target::File("/f".into())] {
            let unwanted =
                AddWatchFlags::IN_OPEN | AddWatchFlags::IN_ACCESS | AddWatchFlags::IN_CLOSE_NOWRITE;
            assert!(!mask(&target, Role::Holder).intersects(unwanted));
        }
        let passed = mask(&Target::Directory("/d".into()), Role::Passed);
        let names = AddWatchFlags::IN_ALL_EVENTS
            - AddWatchFlags::IN_DELETE_SELF
            - AddWatchFlags::IN_MOVE_SELF;
        assert!(!passed.intersects(names));
    }
}
