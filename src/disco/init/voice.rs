//! What happens to the command, told in disco's own words. The words of other inits are with their
//! options, in [`crate::disco::dropin`]. Nothing here allocates: it is said after the command started.

use std::ffi::OsStr;

use nix::errno::Errno;
use tracing::{debug, error, info, warn};

use super::command::Failure;
use crate::contract::exit::Exit;
use crate::contract::signal::Name;
use crate::sys::Received;

impl std::fmt::Display for Received {
    /// The signal and who sent it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = Name(self.number);
        match (self.from_kernel, self.sender) {
            (true, _) => write!(f, "{name} from the terminal"),
            (false, 0) => write!(f, "{name} from outside the container"),
            (false, pid) => write!(f, "{name} from process {pid}"),
        }
    }
}

/// How events are told. A plain function, so that telling needs no memory.
pub type Speak = fn(&Event<'_>);

/// What happens to the command and around it.
#[derive(Debug)]
pub enum Event<'a> {
    /// The command was started.
    Spawned {
        /// Its name as given.
        name: &'a OsStr,
        /// Its pid.
        pid: i32,
    },
    /// It could not be.
    CannotExecute(&'a Failure<'a>),
    /// A signal came, from outside or from a child.
    Received(Received),
    /// A signal was sent to the command as another.
    Rewritten {
        /// What came.
        from: i32,
        /// What goes on.
        to: i32,
    },
    /// A signal was sent to the command or its group.
    Forwarded {
        /// The signal as it was sent.
        number: i32,
        /// What came.
        received: Received,
    },
    /// A signal was not sent on, because it was set so.
    Dropped(i32),
    /// There was nobody any more to send it to.
    Gone(i32),
    /// A signal could not be sent.
    CannotSend {
        /// The signal.
        number: i32,
        /// Why.
        error: Errno,
    },
    /// Somebody asks the command to stop, for the first time.
    Stopping(Received),
    /// A signal of the terminal was for us, who gave it up, and not for the command.
    HandOff(i32),
    /// The command is gone, and what it has left behind is dealt with as [`super::plan::Rest`] says.
    Clearing {
        /// The signal by which that is asked to end, if it is.
        number: i32,
    },
    /// disco stops itself, since the command has.
    Suspending,
    /// Somebody else's child was reaped.
    Orphan {
        /// Its pid.
        pid: i32,
        /// How it ended.
        exit: Exit,
        /// Whether that is worth a warning ([`super::plan::Plan::warn_on_reap`]).
        warn: bool,
    },
    /// The command was reaped.
    Ended {
        /// Its pid.
        pid: i32,
        /// How it ended.
        exit: Exit,
    },
    /// The command ended by a signal that nobody sent through us.
    Killed {
        /// How it ended.
        exit: Exit,
        /// How many processes of this container the kernel has killed so far for want of memory.
        out_of_memory: u64,
    },
    /// Orphans will go elsewhere, where they may remain zombies.
    CannotReap {
        /// Whether that is worth a warning.
        warn: bool,
    },
    /// disco leaves.
    Leaving {
        /// With which status.
        code: u8,
    },
}

/// disco's own words, on its log.
pub fn disco(event: &Event<'_>) {
    match *event {
        Event::Spawned { pid, .. } => debug!(pid, "the command is started"),
        Event::CannotExecute(failure) => error!("{failure}"),
        Event::Received(_) | Event::Clearing { .. } | Event::Leaving { .. } => {}
        Event::Rewritten { from, to } => debug!("{}: rewritten to {}", Name(from), Name(to)),
        Event::Forwarded { received, .. } => debug!("{received}: forwarded to the command"),
        Event::Dropped(number) => debug!("{}: not forwarded", Name(number)),
        // It has just ended, and its SIGCHLD is on the way.
        Event::Gone(_) => {}
        Event::CannotSend { number, error } => {
            warn!(
                "cannot send {} to the command: {}",
                Name(number),
                error.desc()
            );
        }
        Event::Stopping(received) => info!("asked to stop by {received}"),
        Event::HandOff(number) => debug!("{}: of the terminal, not forwarded", Name(number)),
        Event::Suspending => debug!("stopping with the command, until SIGCONT"),
        Event::Orphan {
            pid,
            exit,
            warn: true,
        } => warn!(pid, "reaped a zombie process: {exit}"),
        Event::Orphan { pid, exit, .. } => debug!(pid, "reaped an orphan: {exit}"),
        Event::Ended { exit, .. } => debug!("the command ended: {exit}"),
        Event::Killed {
            exit,
            out_of_memory: kills @ 1..,
        } if exit == Exit::by_signal(libc::SIGKILL) => warn!(
            "the command was {exit}: out of memory, the container has reached its limit ({kills} killed so far)"
        ),
        Event::Killed { exit, .. } => warn!("the command was {exit}, which disco did not send"),
        Event::CannotReap { warn: true } => warn!(
            "neither PID 1 nor a subreaper: orphans will not be reaped; run disco as PID 1, or where prctl is allowed"
        ),
        Event::CannotReap { .. } => debug!("cannot become a subreaper; orphans will go elsewhere"),
    }
}
