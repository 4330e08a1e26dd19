//! The status socket: whoever connects gets one JSON document and its end.
//!
//! Init writes what it knows, from the stack, and hands the connection to the agent, which adds what
//! it knows and closes it; without an agent init closes the document itself. So a client waits for
//! the agent at most, never init for a client. Nobody asks, nothing happens: a connection raises
//! SIGIO. The document has a newline where init's part ends, so that it can be told from the rest.

use std::ffi::{CStr, CString, OsStr};
use std::fmt::Write as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::SockType;
use tracing::{debug, info, warn};

use super::Init;
use super::hooks::Which;
use super::phase::Phase;
use crate::contract::exit::Exit;
use crate::contract::json::Buffer;
use crate::contract::signal::Name;
use crate::disco::link;
use crate::disco::numbers::Numbers;
use crate::disco::settings::{Place, StatusSettings};
use crate::sys::{self, socket};

/// Connections that are answered in one round; then signals and children have their turn.
const AT_ONCE: usize = 16;

/// How long after the start of the command the socket is opened that nobody asked for by name.
const SOON: Duration = Duration::from_millis(20);

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
    /// Where the socket may be, as long as it is to be opened.
    places: Vec<CString>,
    /// Whether it was asked for, and not only taken where it can be had.
    is_explicit: bool,
    /// Whether it has been said that it cannot be had: a second attempt says nothing new.
    is_told: bool,
    mode: u32,
    /// When to open it, or to go on where not all could be answered in one round.
    pub(super) due: Option<Instant>,
}

impl Door {
    /// Prepares what takes memory, if a socket is wanted.
    pub(super) fn prepare(&mut self, settings: &StatusSettings, is_pid_1: bool) {
        self.is_explicit = matches!(settings.place, Place::At(_));
        self.mode = settings.mode;
        if is_pid_1 || self.is_explicit {
            let names = settings.paths().into_iter();
            let names = names.map(|path| CString::new(path.as_os_str().as_bytes()));
            self.places = names.flatten().collect();
        }
    }

    /// The same, unless the socket is open since the wait, and opens it: at once where it was asked for,
    /// else soon, since a command that is over by then need not pay for it.
    pub(super) fn open_beside_command(&mut self, settings: &StatusSettings, is_pid_1: bool) {
        if self.bound.is_some() {
            return;
        }
        self.prepare(settings, is_pid_1);
        if self.is_explicit {
            self.open();
        } else if !self.places.is_empty() {
            self.due = Some(Instant::now() + SOON);
        }
    }

    /// Binds the socket in the first place where it can be had. That there is none is no end.
    pub(super) fn open(&mut self) {
        self.due = None;
        if self.places.is_empty() {
            return;
        }
        for path in std::mem::take(&mut self.places) {
            let shown = OsStr::from_bytes(path.as_bytes()).display();
            match bind(&path, self.mode) {
                Ok((listener, identity)) => {
                    debug!("status socket at {shown}");
                    self.bound = Some(Bound {
                        listener,
                        identity,
                        path,
                    });
                    return;
                }
                Err(error) if self.is_explicit && !self.is_told => {
                    self.is_told = true;
                    warn!("no status socket at {shown}: {}", reason(error));
                }
                Err(error) => debug!("no status socket at {shown}: {}", reason(error)),
            }
        }
        if !self.is_explicit && !self.is_told {
            self.is_told = true;
            info!(
                "no status socket can be had in /run, /dev/shm or /tmp, so that `--explain` and `--health` will find nobody; mount a tmpfs, or name a place with `disco.status`"
            );
        }
    }

    /// The descriptor on which connections come.
    pub(super) fn listener(&self) -> Option<&OwnedFd> {
        Some(&self.bound.as_ref()?.listener)
    }

    /// Whether the socket is to be opened now.
    pub(super) fn is_to_be_opened(&self) -> bool {
        !self.places.is_empty() && self.due.is_some_and(|due| due <= Instant::now())
    }

    /// Closes the socket and takes its file away, unless that is another's by now.
    pub(super) fn close(&mut self) {
        self.due = None;
        self.places = Vec::new();
        if let Some(bound) = self.bound.take()
            && bound.identity.is_some()
            && socket::identity(&bound.path) == bound.identity
        {
            let _ = nix::unistd::unlink(bound.path.as_c_str());
        }
    }
}

fn bind(path: &CStr, mode: u32) -> Result<(OwnedFd, Option<(u64, u64)>), Errno> {
    let listener = socket::bind_path(path, SockType::Stream, mode)?;
    sys::signal_when_readable(listener.as_fd())?;
    socket::start_listening(&listener)?;
    Ok((listener, socket::identity(path)))
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
            match self.door.listener().map(socket::accept_now) {
                Some(Ok(client)) => self.answer_one(&client),
                // Who has gone again hides nobody behind.
                Some(Err(Errno::ECONNABORTED | Errno::EINTR)) => {}
                _ => return,
            }
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
            "}},\"hooks\":{{\"startup\":\"{}\",\"shutdown\":\"{}\"}},\"agent\":{{\"pid\":{},\"state\":\"{}\"}}",
            self.hooks.state(Which::Startup).name(),
            self.hooks.state(Which::Shutdown).name(),
            OrNull(self.keeper.pid()),
            self.keeper.state(),
        );
        let counts = Numbers::read();
        let _ = write!(
            to,
            ",\"counts\":{{\"starts\":{},\"orphans\":{},\"agents\":{},\"fired\":{},\"failed\":{},\"handler_ns\":{}}}",
            counts.starts,
            counts.orphans,
            counts.agents,
            counts.fired,
            counts.failed,
            counts.handler_time.as_nanos(),
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
