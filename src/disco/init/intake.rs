//! `/data/logs` and `/data/metrics/2.0`: made, held open, and listened to (conformance A-30).
//!
//! A pipe is held open for reading, so that no writer waits in open(2) or is ended by SIGPIPE, and for
//! reading only, so that the one who reads sees when the last writer has gone. Nobody reads until there
//! is something to be read: then init, which hears of it by SIGIO, starts an agent. What an agent that
//! dies has not read stays in the pipe for the next. Init itself never reads a byte.
//!
//! Nothing is made where that might be in somebody's way: unless asked to, only a disco that is PID 1
//! makes anything, and not on a volume. In the end the pipes are taken away, in which nobody could write
//! any more; directories stay, since to make one takes ten times as long as all the rest.

use std::ffi::CString;
use std::fs::Metadata;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::{Mode, fstat, umask};
use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use nix::unistd::{mkdir, mkfifo, unlink};
use tracing::{debug, warn};

use super::Init;
use crate::disco::agent::tail::{Inputs, Role};
use crate::disco::settings::Settings;
use crate::disco::settings::data::Kind;
use crate::sys::{self, socket};

/// Anybody may write, and only we read.
const WRITABLE: u32 = 0o622;

/// Agents that may be started for what is left at the end, should one die over it.
const LAST_ATTEMPTS: usize = 3;

/// A pipe that is held.
struct Pipe {
    role: Role,
    /// The lock says that it is ours to read: two readers would tear lines apart.
    end: Flock<OwnedFd>,
}

/// A pipe that was made, and is taken away at the end if it is still what it was.
struct Made {
    path: CString,
    identity: Option<(u64, u64)>,
}

/// What the container says of itself, as far as init has a hand in it.
#[derive(Default)]
pub(super) struct Intake {
    pipes: Vec<Pipe>,
    files: Vec<(PathBuf, Role)>,
    made: Vec<Made>,
    /// Whether an agent is needed even while nobody writes into a pipe.
    is_always: bool,
    /// Whether we hear of what comes.
    is_armed: bool,
}

/// Where something is to be written.
struct Place {
    role: Role,
    path: PathBuf,
    kind: Kind,
}

impl Intake {
    /// Makes and opens what is wanted. What cannot be had is no end: nobody has written yet.
    pub(super) fn open(settings: &Settings, is_pid_1: bool) -> Self {
        let data = &settings.data;
        let mut intake = Self {
            is_always: settings.serves_metrics(),
            ..Self::default()
        };
        let places = [
            (Role::Logs, data.logs(), data.logs_kind),
            (Role::Metrics, data.metrics(), data.metrics_kind),
        ];
        let mut refused = None;
        for (role, path, kind) in places {
            let kind = kind.unwrap_or(data.kind);
            if kind == Kind::Off || (kind == Kind::Auto && !is_pid_1) {
                continue;
            }
            let place = Place { role, path, kind };
            if let Err((error, what)) = intake.take(&place) {
                // Of a directory that both are in once is enough.
                if refused.replace(what.clone()).as_ref() == Some(&what) {
                    continue;
                }
                let path = what.display();
                let remedy = "mount a tmpfs there, make the directory in the image for the user that disco runs as, or name another with `disco.data_dir`";
                match kind {
                    Kind::Auto => debug!("{path} cannot be had: {}", error.desc()),
                    _ => warn!("{path} cannot be had: {}; {remedy}", error.desc()),
                }
            }
        }
        let tailed = data.tail.iter().cloned().map(|path| (path, Role::Logs));
        intake.files.extend(tailed);
        intake.is_always |= !intake.files.is_empty();
        intake
    }

    fn take(&mut self, place: &Place) -> Result<(), (Errno, PathBuf)> {
        let path = &place.path;
        let is_asked_for = place.kind != Kind::Auto;
        let failed = |error: Errno| (error, path.clone());
        let parent = path.parent().unwrap_or(path);
        match std::fs::metadata(path) {
            Ok(about) if is_standard(&about) => {
                debug!("{} is where the log goes anyway", path.display());
            }
            Ok(about) if about.file_type().is_fifo() => self.hold(place, false).map_err(failed)?,
            Ok(about) if about.is_file() => self.files.push((path.clone(), place.role)),
            Ok(about) if about.is_dir() && (is_asked_for || is_own(path)) => {
                self.files.push((path.clone(), place.role));
            }
            Ok(_) => debug!("{} is left alone, unless asked for", path.display()),
            Err(_) if !is_asked_for && !is_own(parent) => {
                debug!(
                    "{} is on a volume; nothing is made there unasked",
                    path.display()
                );
            }
            Err(_) => {
                // Anybody may write, whatever disco's umask says of files.
                let before = umask(Mode::empty());
                let made = make_directories(parent).and_then(|()| {
                    let mode = Mode::from_bits_truncate(WRITABLE);
                    let made = match place.kind {
                        Kind::File => make_file(path, mode),
                        _ => mkfifo(path, mode),
                    };
                    made.map_err(failed)
                });
                umask(before);
                made?;
                warn_of_sticky(path);
                match place.kind {
                    Kind::File => self.files.push((path.clone(), place.role)),
                    _ => self.hold(place, true).map_err(failed)?,
                }
            }
        }
        Ok(())
    }

    /// Opens a pipe, and makes sure that nobody else reads it.
    fn hold(&mut self, place: &Place, is_made: bool) -> Result<(), Errno> {
        let mut flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
        if is_made {
            flags |= OFlag::O_NOFOLLOW;
        }
        let end = open(&place.path, flags, Mode::empty())?;
        let about = fstat(&end)?;
        if about.st_mode & libc::S_IFMT != libc::S_IFIFO {
            // Somebody has put something else there.
            return Err(Errno::EEXIST);
        }
        let path = CString::new(place.path.as_os_str().as_bytes());
        if let (true, Ok(path)) = (is_made, path) {
            let identity = Some((about.st_dev, about.st_ino));
            self.made.push(Made { identity, path });
        }
        match Flock::lock(end, FlockArg::LockExclusiveNonblock) {
            Ok(end) => {
                debug!("reading {}", place.path.display());
                let role = place.role;
                self.pipes.push(Pipe { role, end });
            }
            Err(_) => warn!(
                "{} is read by another disco, in whose log comes out what is written there from here: give each container a `disco.data_dir` of its own",
                place.path.display()
            ),
        }
        Ok(())
    }

    /// Whether there is anything for an agent to read, or to serve.
    pub(super) fn is_any(&self) -> bool {
        self.is_always || !self.pipes.is_empty()
    }

    /// What an agent is to read. Takes memory.
    pub(super) fn inputs(&self) -> Inputs<'_> {
        Inputs {
            pipes: self
                .pipes
                .iter()
                .map(|pipe| (pipe.end.as_fd(), pipe.role))
                .collect(),
            files: self.files.clone(),
        }
    }

    /// The ends of the pipes; there are two at most.
    pub(super) fn descriptors(&self) -> [Option<&OwnedFd>; 2] {
        let mut ends = self.pipes.iter().map(|pipe| &*pipe.end);
        [ends.next(), ends.next()]
    }

    /// Has the kernel tell us of what comes, as long as nobody reads.
    pub(super) fn arm(&mut self) {
        self.is_armed = true;
        for pipe in &self.pipes {
            if let Err(error) = sys::signal_when_readable(pipe.end.as_fd()) {
                warn!("cannot hear of a pipe: {}", error.desc());
            }
        }
    }

    /// Leaves it to the agent, which is told of each write by itself.
    pub(super) fn disarm(&mut self) {
        self.is_armed = false;
        for pipe in &self.pipes {
            sys::signal_no_more(pipe.end.as_fd());
        }
    }

    /// Whether a pipe has something to be read.
    fn has_input(&self) -> bool {
        let mut ends = self.pipes.iter().map(|pipe| pipe.end.as_fd());
        let asked = |end: BorrowedFd<'_>| {
            let mut asked = [PollFd::new(end, PollFlags::POLLIN)];
            let _ = poll(&mut asked, PollTimeout::ZERO);
            asked[0]
                .revents()
                .is_some_and(|events| events.contains(PollFlags::POLLIN))
        };
        ends.any(asked)
    }

    /// Whether an agent is wanted that is not there.
    pub(super) fn wants_agent(&self) -> bool {
        self.is_armed && (self.is_always || self.has_input())
    }

    /// Lets go of the pipes, and takes away what was made.
    fn close(&mut self) {
        self.pipes.clear();
        for made in std::mem::take(&mut self.made) {
            if made.identity.is_some() && socket::identity(&made.path) == made.identity {
                let _ = unlink(made.path.as_c_str());
            }
        }
    }
}

fn make_directories(dir: &Path) -> Result<(), (Errno, PathBuf)> {
    let missing: Vec<&Path> = dir.ancestors().take_while(|dir| !dir.exists()).collect();
    for dir in missing.into_iter().rev() {
        mkdir(dir, Mode::from_bits_truncate(0o755)).map_err(|error| (error, dir.to_owned()))?;
    }
    Ok(())
}

/// A regular file stays when we go: what is in it is the container's.
fn make_file(path: &Path, mode: Mode) -> Result<(), Errno> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
    open(path, flags, mode).map(drop)
}

/// Whether a file is one of our standard streams, as `/dev/stderr` is: then it needs nobody to read it.
fn is_standard(about: &Metadata) -> bool {
    let streams = [sys::stdin(), sys::stdout(), sys::stderr()];
    let mut streams = streams.into_iter().filter_map(|stream| fstat(stream).ok());
    streams.any(|stream| (stream.st_dev, stream.st_ino) == (about.dev(), about.ino()))
}

/// Whether a directory, or the nearest above it that is there, is the container's own, and not a volume
/// that others may have as well.
fn is_own(dir: &Path) -> bool {
    let mut there = dir.ancestors();
    let about = there.find_map(|dir| Some((dir, std::fs::metadata(dir).ok()?)));
    let (Some((dir, about)), Ok(root)) = (about, std::fs::metadata("/")) else {
        return true;
    };
    about.dev() == root.dev() || statfs(dir).is_ok_and(|fs| fs.filesystem_type() == TMPFS_MAGIC)
}

/// In a directory such as `/tmp` the kernel keeps others from writing into a pipe that is neither theirs
/// nor the directory's owner's, if they open it as a shell does (`fs.protected_fifos`, proc_sys_fs(5)).
fn warn_of_sticky(path: &Path) {
    let Some(dir) = path.parent() else { return };
    let Ok(about) = std::fs::metadata(dir) else {
        return;
    };
    let own = nix::unistd::geteuid();
    // Where disco is not root there is nobody else, as a rule.
    if about.mode() & 0o1002 == 0o1002 && own.is_root() && about.uid() != own.as_raw() {
        warn!(
            "{} is open to all and sticky: other users than disco's may be kept from writing to {}; name a directory of its own with `disco.data_dir`",
            dir.display(),
            path.display()
        );
    }
}

impl Init {
    /// Starts an agent if something has come in that nobody reads.
    pub(super) fn take_in(&mut self) {
        if self.keeper.is_idle() && self.intake.wants_agent() {
            self.start_agent();
        }
    }

    /// Has everything read that was written, and waits for that: as long as it goes on, and within the
    /// time that is left.
    pub(super) fn finish_intake(&mut self) {
        for _ in 0..LAST_ATTEMPTS {
            if self.keeper.pid().is_none() {
                if !self.intake.has_input() {
                    break;
                }
                self.start_agent();
            }
            if self.finish_agent() {
                break;
            }
        }
        self.intake.close();
    }
}
