//! The status socket: whoever connects gets one JSON document and its end.
//!
//! Init writes what it knows, from the stack, and hands the connection to the agent, which adds what
//! it knows and closes it; without an agent init closes the document itself. So a client waits for
//! the agent at most, never init for a client. Nobody asks, nothing happens: a connection raises
//! SIGIO. The document has a newline where init's part ends, so that it can be told from the rest.

use std::ffi::CString;
use std::fmt::Write as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::SockType;
use tracing::{debug, warn};

use super::Init;
use super::phase::Phase;
use crate::contract::exit::Exit;
use crate::contract::json::Buffer;
use crate::contract::signal::Name;
use crate::disco::link;
use crate::disco::settings::{Place, StatusSettings};
use crate::sys::{self, socket};

/// Connections that are answered in one round; then signals and children have their turn.
const AT_ONCE: usize = 16;

/// Room for init's part, and for the longest of its texts.
const ROOM: usize = 2048;
const LONGEST: usize = 256;

/// The socket as init holds it.
struct Bound {
    listener: OwnedFd,
    path: CString,
    identity: Option<(u64, u64)>,
}

/// Where init is asked.
#[derive(Default)]
pub(super) struct Door {
    bound: Option<Bound>,
    /// When to go on where not all could be answered in one round.
    pub(super) due: Option<Instant>,
}

impl Door {
    /// Binds the socket, if one is wanted and it is not there yet. That it cannot be had is no end.
    pub(super) fn open(&mut self, settings: &StatusSettings, is_pid_1: bool) {
        let is_explicit = matches!(settings.place, Place::At(_));
        if self.bound.is_some() || !(is_pid_1 || is_explicit) {
            return;
        }
        for path in settings.paths() {
            match bind(path, settings.mode) {
                Ok(bound) => {
                    debug!("status socket at {}", path.display());
                    self.bound = Some(bound);
                    return;
                }
                Err(error) if is_explicit => {
                    warn!("no status socket at {}: {}", path.display(), reason(error))
                }
                Err(error) => debug!("no status socket at {}: {}", path.display(), reason(error)),
            }
        }
    }

    /// The descriptor on which connections come.
    pub(super) fn listener(&self) -> Option<&OwnedFd> {
        Some(&self.bound.as_ref()?.listener)
    }

    /// Closes the socket and takes its file away, unless that is another's by now.
    pub(super) fn close(&mut self) {
        self.due = None;
        if let Some(bound) = self.bound.take()
            && bound.identity.is_some()
            && socket::identity(&bound.path) == bound.identity
        {
            let _ = nix::unistd::unlink(bound.path.as_c_str());
        }
    }
}

fn bind(path: &Path, mode: u32) -> Result<Bound, Errno> {
    let name = CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL)?;
    let listener = socket::bind_path(path, SockType::Stream, mode)?;
    sys::signal_when_readable(listener.as_fd())?;
    socket::start_listening(&listener)?;
    Ok(Bound {
        listener,
        identity: socket::identity(&name),
        path: name,
    })
}

fn reason(error: Errno) -> &'static str {
    match error {
        Errno::EADDRINUSE => "the place is taken by another, or by what is no socket",
        error => error.desc(),
    }
}

impl Init {
    /// Answers those who have connected.
    pub(super) fn answer(&mut self) {
        self.door.due = None;
        for _ in 0..AT_ONCE {
            let Some(Ok(client)) = self.door.listener().map(socket::accept_now) else {
                return;
            };
            self.answer_one(&client);
        }
        // No signal will come for those who wait already.
        self.door.due = Some(Instant::now());
    }

    fn answer_one(&self, client: &OwnedFd) {
        let mut text = Buffer::<ROOM>::default();
        self.describe(&mut text);
        // The room is enough for the longest texts; what is sent to a new connection always fits.
        let Some(text) = text.text() else { return };
        if socket::send_now(client, text) != Ok(text.len()) {
            return;
        }
        let is_passed = self
            .keeper
            .to_ask()
            .is_some_and(|link| link::pass(link, client.as_fd()).is_ok());
        if !is_passed {
            let _ = socket::send_now(client, b"}\n");
        }
    }

    /// Init's part of the document, without the brace that ends it.
    fn describe<const N: usize>(&self, to: &mut Buffer<N>) {
        let service = self.service.view();
        to.raw("{\"version\":\"");
        to.raw(env!("CARGO_PKG_VERSION"));
        // Writing to a Buffer cannot fail: what does not fit is known by its end.
        let _ = write!(
            to,
            "\",\"pid\":{},\"phase\":\"{}\",\"uptime\":{},\"configured\":{},\"ready\":{},\"command\":{{\"name\":",
            sys::own_pid(),
            self.phase().name(),
            Seconds(self.started.elapsed()),
            self.keeper.configured || self.phase != Phase::Waiting,
            self.is_ready(),
        );
        to.string(self.command.name.as_bytes(), LONGEST);
        let _ = write!(to, ",\"pid\":{}", OrNull(service.pid));
        let _ = write!(
            to,
            ",\"state\":\"{}\",\"uptime\":{},\"restarts\":{},\"last_exit\":{}",
            service.state,
            OrNull(service.uptime.map(Seconds)),
            service.restarts,
            OrNull(service.last_exit.map(Ended)),
        );
        if let Some(status) = self.readiness.status() {
            to.raw(",\"status\":");
            to.string(status, LONGEST);
        }
        let _ = write!(
            to,
            "}},\"agent\":{{\"pid\":{},\"state\":\"{}\"}}",
            OrNull(self.keeper.pid()),
            self.keeper.state(),
        );
        to.raw("\n");
    }

    /// Where the container is in its life.
    fn phase(&self) -> Phase {
        match self.phase {
            Phase::Waiting | Phase::Running if self.service.stopping => Phase::Stopping,
            Phase::Running if self.service.view().is_restarting => Phase::Restarting,
            phase => phase,
        }
    }
}

/// Seconds with milliseconds, as a JSON number.
struct Seconds(Duration);

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:03}", self.0.as_secs(), self.0.subsec_millis())
    }
}

/// How an instance ended, as a JSON object.
struct Ended(Exit);

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{{\"status\":{}", self.0.status())?;
        if let Exit::Signal(number) = self.0 {
            write!(f, ",\"signal\":\"{}\"", Name(i32::from(number)))?;
        }
        f.write_str("}")
    }
}

/// Something, or JSON's `null`.
struct OrNull<T>(Option<T>);

impl<T: std::fmt::Display> std::fmt::Display for OrNull<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Some(value) => value.fmt(f),
            None => f.write_str("null"),
        }
    }
}
