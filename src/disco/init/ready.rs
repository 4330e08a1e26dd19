//! Whether the command is ready, how that is heard, and the file that shows it.
//!
//! By default a command is ready once it has been executed: the pipe by which its child reports tells.
//! With `disco.notify` it says so itself, by sd_notify(3). Whose word counts: where disco is PID 1
//! every process of the container, as the kernel names the sender; elsewhere those that descend from
//! disco and are still there when their datagram is read. Any other is ignored. A restart makes the
//! command not ready until the next `READY=1`; nothing that was sent before the start counts.
//!
//! Nothing here allocates once the command has started.

use std::ffi::{CString, OsStr, OsString};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, open, renameat};
use nix::sys::socket::{SockType, UnixAddr};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::unlink;
use tracing::{debug, warn};

use super::{Init, leftovers};
use crate::disco::settings::{Place, Settings};
use crate::sys::{self, socket};

/// The variable by which a process learns where to say how it is (sd_notify(3)).
pub(super) const VARIABLE: &str = "NOTIFY_SOCKET";

/// Directories for the socket that most images let us write to, and everybody enter.
const DIRECTORIES: &[&str] = &["/run", "/dev/shm", "/tmp"];

/// Datagrams that are read in one round; then signals and children have their turn.
const AT_ONCE: usize = 64;

/// Longest datagram that counts, and bytes kept of a status.
const LONGEST: usize = 4096;
const STATUS: usize = 200;

/// The file that is there while the command is ready.
struct File {
    path: CString,
    /// Where it is written before it is there as a whole.
    draft: CString,
    is_there: bool,
}

/// Where the command says how it is.
struct Notify {
    socket: OwnedFd,
    /// The file of the socket, if it has one.
    path: Option<CString>,
    /// Who has told us to say how we are: the socket to send from, and the address.
    outer: Option<(OwnedFd, UnixAddr)>,
}

/// What is known of the command's readiness.
pub(super) struct Readiness {
    file: Option<File>,
    notify: Option<Notify>,
    /// Whether this instance has said that it is ready.
    said: bool,
    status: [u8; STATUS],
    length: usize,
    /// When to go on where not all could be read in one round.
    pub(super) due: Option<Instant>,
}

impl Readiness {
    /// Makes what the settings ask for, and takes a file away that an earlier run has left. Comes
    /// with the value of [`VARIABLE`] for the command.
    ///
    /// # Errors
    /// Why there is no socket by which the command could ever say that it is ready.
    pub(super) fn new(settings: &Settings) -> Result<(Self, Option<OsString>), Errno> {
        let file = settings.status.ready_file.as_deref().and_then(File::new);
        let notify = settings.status.notify.then(|| Notify::new(settings));
        let bound = notify.transpose()?;
        let (notify, address) = bound.unzip();
        let readiness = Self {
            file,
            notify,
            said: false,
            status: [0; STATUS],
            length: 0,
            due: None,
        };
        Ok((readiness, address))
    }

    /// Descriptors that init must not close.
    pub(super) fn descriptors(&self) -> [Option<&OwnedFd>; 2] {
        let notify = self.notify.as_ref();
        let outer = notify.and_then(|notify| notify.outer.as_ref());
        [
            notify.map(|notify| &notify.socket),
            outer.map(|(own, _)| own),
        ]
    }

    /// What the command has said of itself last.
    pub(super) fn status(&self) -> Option<&[u8]> {
        self.status
            .get(..self.length)
            .filter(|text| !text.is_empty())
    }

    /// Whether it matters when the command is executed.
    pub(super) fn waits_for_exec(&self) -> bool {
        self.file.is_some() && self.notify.is_none()
    }

    /// An instance is about to start, of which nothing is known.
    pub(super) fn renew(&mut self) {
        (self.said, self.length) = (false, 0);
        if let Some(notify) = &self.notify {
            let mut nobody = [0; 1];
            while socket::receive_datagram(&notify.socket, &mut nobody).is_ok() {}
        }
    }

    /// Takes away what would outlive us.
    pub(super) fn end(&mut self) {
        self.due = None;
        self.show(false);
        if let Some(Notify {
            path: Some(path), ..
        }) = self.notify.take()
        {
            let _ = unlink(path.as_c_str());
        }
    }

    fn show(&mut self, is_ready: bool) {
        if let Some(file) = self.file.as_mut().filter(|file| file.is_there != is_ready) {
            // Once, and not each time that something happens.
            file.is_there = is_ready;
            let done = if is_ready {
                file.write()
            } else {
                unlink(file.path.as_c_str())
            };
            match done {
                Ok(()) => debug!(
                    "the command is{} ready",
                    if is_ready { "" } else { " no longer" }
                ),
                Err(error) => warn!(
                    "cannot {} {}, the `disco.ready_file`: {}; it needs a directory in which disco may write",
                    if is_ready { "write" } else { "remove" },
                    OsStr::from_bytes(file.path.as_bytes()).display(),
                    error.desc()
                ),
            }
        }
    }

    /// Takes in a datagram: a line for each thing that is said.
    fn hear(&mut self, text: &[u8]) {
        for line in text.split(|byte| *byte == b'\n') {
            if line == b"READY=1" {
                self.said = true;
            } else if line == b"STOPPING=1" {
                self.said = false;
            } else if let Some(status) = line.strip_prefix(b"STATUS=") {
                self.length = status.len().min(STATUS);
                let (kept, status) = (
                    self.status.get_mut(..self.length),
                    status.get(..self.length),
                );
                if let (Some(kept), Some(status)) = (kept, status) {
                    kept.copy_from_slice(status);
                }
            }
        }
    }
}

impl File {
    fn new(path: &Path) -> Option<Self> {
        let mut draft = path.as_os_str().to_owned();
        draft.push(".disco");
        let file = Self {
            path: CString::new(path.as_os_str().as_bytes()).ok()?,
            draft: CString::new(draft.into_vec()).ok()?,
            is_there: false,
        };
        match unlink(file.path.as_c_str()) {
            Ok(()) | Err(Errno::ENOENT | Errno::ENOTDIR) => {}
            Err(error) => warn!("cannot remove `disco.ready_file`: {}", error.desc()),
        }
        Some(file)
    }

    fn write(&self) -> Result<(), Errno> {
        let mode = Mode::from_bits_truncate(0o644);
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
        let draft = || open(self.draft.as_c_str(), flags, mode);
        let file = match draft() {
            Err(Errno::EEXIST) => {
                unlink(self.draft.as_c_str())?;
                draft()?
            }
            file => file?,
        };
        fchmod(&file, mode)?;
        nix::unistd::write(&file, b"ready\n")?;
        renameat(
            AT_FDCWD,
            self.draft.as_c_str(),
            AT_FDCWD,
            self.path.as_c_str(),
        )
    }
}

impl Notify {
    fn new(settings: &Settings) -> Result<(Self, OsString), Errno> {
        let (socket, path, address) = bind(settings)?;
        socket::ask_for_senders(&socket)?;
        sys::signal_when_readable(socket.as_fd())?;
        let notify = Self {
            socket,
            path,
            outer: outer()?,
        };
        Ok((notify, address))
    }
}

/// A socket that whoever the command runs as can write to: beside the status socket, unless another
/// user has to get there, or in the first directory that can be had, else of an abstract name, which
/// needs none.
fn bind(settings: &Settings) -> Result<(OwnedFd, Option<CString>, OsString), Errno> {
    let beside = match &settings.status.place {
        Place::At(path) if settings.exec.user.is_none() => path.parent(),
        _ => None,
    };
    let pid = sys::own_pid();
    let name = format!("disco-notify.{pid}");
    for dir in beside.into_iter().chain(DIRECTORIES.iter().map(Path::new)) {
        let path: PathBuf = dir.join(&name);
        let Ok(file) = CString::new(path.as_os_str().as_bytes()) else {
            continue;
        };
        match socket::bind_path(&file, SockType::Datagram, 0o666) {
            Ok(socket) => return Ok((socket, Some(file), path.into())),
            Err(error) => debug!("no socket at {}: {}", path.display(), error.desc()),
        }
    }
    // A name is shared by all who share the network: it must be nobody else's.
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let salt = now.unwrap_or_default().as_nanos();
    let name = format!("{name}.{salt:x}");
    let socket = socket::bind_abstract(name.as_bytes(), SockType::Datagram)?;
    Ok((socket, None, format!("@{name}").into()))
}

/// Who has told us to say how we are, if somebody has.
fn outer() -> Result<Option<(OwnedFd, UnixAddr)>, Errno> {
    let Some(name) = std::env::var_os(VARIABLE) else {
        return Ok(None);
    };
    let address = match name.as_bytes() {
        [b'@', rest @ ..] => UnixAddr::new_abstract(rest),
        [b'/', ..] => UnixAddr::new(Path::new(&name)),
        _ => Err(Errno::EAFNOSUPPORT),
    };
    match address {
        Ok(address) => Ok(Some((socket::sender()?, address))),
        Err(error) => {
            warn!("cannot pass readiness on to {VARIABLE}: {}", error.desc());
            Ok(None)
        }
    }
}

impl Init {
    /// Whether the command is ready.
    pub(super) fn is_ready(&self) -> bool {
        let is_up = !self.service.stopping && !self.service.view().is_restarting;
        let is_ready = || match self.readiness.notify {
            Some(_) => self.readiness.said && self.service.pid().is_some(),
            None => self.service.is_executed(),
        };
        is_up && is_ready()
    }

    /// Takes in what the command says of itself.
    pub(super) fn listen(&mut self) {
        let is_pid_1 = self.is_pid_1;
        self.readiness.due = None;
        for _ in 0..AT_ONCE {
            let readiness = &mut self.readiness;
            let Some(notify) = &readiness.notify else {
                return;
            };
            let mut text = [0; LONGEST];
            let (size, sender) = match socket::receive_datagram(&notify.socket, &mut text) {
                Ok(datagram) => datagram,
                Err(Errno::EINTR) => continue,
                Err(_) => return,
            };
            let text = text.get(..size).unwrap_or_default();
            let counts = sender != 0 && (is_pid_1 || leftovers::is_ours(sender));
            if !counts {
                debug!("readiness from process {sender}, which is not the command's: ignored");
                continue;
            }
            if let Some((own, address)) = &notify.outer {
                let _ = socket::send_to_now(own, text, address);
            }
            if self.service.pid().is_some() {
                readiness.hear(text);
            }
        }
        // No signal will come for those that wait already.
        self.readiness.due = Some(Instant::now());
    }

    /// Puts the file there while the command is ready, and takes it away when it is not.
    pub(super) fn show_readiness(&mut self) {
        if self.readiness.file.is_some() {
            let is_ready = self.is_ready();
            self.readiness.show(is_ready);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn silent() -> Readiness {
        Readiness {
            file: None,
            notify: None,
            said: false,
            status: [0; STATUS],
            length: 0,
            due: None,
        }
    }

    #[test]
    fn what_is_said_is_heard_line_by_line() {
        let mut ready = silent();
        ready.hear(b"READY=0\nXREADY=1\nREADY=11");
        assert!(!ready.said);
        ready.hear(b"MAINPID=7\nSTATUS=warm\nREADY=1\n");
        assert!(ready.said);
        assert_eq!(ready.status(), Some(&b"warm"[..]));
        ready.hear(b"STATUS=");
        assert_eq!(ready.status(), None);
        ready.hear(&[b"STATUS=".as_slice(), &[b'x'; 999]].concat());
        assert_eq!(ready.status().map(<[u8]>::len), Some(STATUS));
        ready.hear(b"STOPPING=1");
        assert!(!ready.said);
        ready.renew();
        assert_eq!(ready.status(), None);
    }

    #[test]
    fn the_file_is_there_as_a_whole_or_not_at_all() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ready");
        std::fs::write(&path, "stale").unwrap();
        let mut ready = silent();
        ready.file = File::new(&path);
        assert!(!path.exists(), "what an earlier run has left");
        std::fs::write(dir.path().join("ready.disco"), "stale").unwrap();
        ready.show(true);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "ready\n");
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o644);
        ready.end();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
