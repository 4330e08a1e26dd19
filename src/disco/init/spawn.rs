//! Starts the command: its own process group, the terminal if we have it, and every signal as we
//! were given it. Also becomes the command, in exec mode.

use std::ffi::OsStr;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;

use nix::fcntl::OFlag;
use nix::unistd::{Pid, getpgrp, pipe2, setpgid, tcgetpgrp, tcsetpgrp};

use super::Inherited;
use super::command::Failure;
use crate::sys::{self, Fork, Prepared};

/// Whether our own process group is in front on the terminal, so that it is ours to give.
#[must_use]
pub fn has_foreground() -> bool {
    tcgetpgrp(sys::stdin()).is_ok_and(|group| group == getpgrp())
}

/// Starts the command, in front on the terminal if `foreground`, and returns its pid once exec has
/// succeeded.
///
/// # Errors
/// Why it could not be started; no process is left behind.
pub fn start(
    name: &OsStr,
    prepared: &mut Prepared,
    inherited: &Inherited,
    foreground: bool,
) -> Result<i32, Failure> {
    let refused = |error: io::Error| Failure::Refused(name.to_owned(), error);
    // Exec closes the writing end; whatever is read before that is why it failed.
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC).map_err(|error| refused(error.into()))?;
    match sys::fork().map_err(refused)? {
        Fork::Child => child(prepared, inherited, foreground, &writer),
        Fork::Parent(pid) => {
            // In parent and child, so that neither can be too early to signal the group (pid1 22).
            let _ = setpgid(Pid::from_raw(pid), Pid::from_raw(pid));
            drop(writer);
            match failure(reader) {
                None => Ok(pid),
                Some(error) => Err(refused(error)),
            }
        }
    }
}

fn child(prepared: &mut Prepared, inherited: &Inherited, foreground: bool, writer: &OwnedFd) -> ! {
    // EPERM when we lead a session already: then there is nothing to do.
    let _ = setpgid(Pid::from_raw(0), Pid::from_raw(0));
    if foreground {
        // All signals are blocked, SIGTTOU among them, so that this cannot stop us. Every failure
        // means that there is no terminal to hand over (pid1 26, 28, 29).
        let _ = tcsetpgrp(sys::stdin(), getpgrp());
    }
    inherited.restore();
    let error = prepared.execute();
    let code = error.raw_os_error().unwrap_or(libc::EIO);
    let _ = nix::unistd::write(writer, &code.to_ne_bytes());
    sys::exit_now(127)
}

/// The errno that the child reports, or `None` when exec closed the pipe.
fn failure(reader: OwnedFd) -> Option<io::Error> {
    let mut code = [0; 4];
    let mut reader = std::fs::File::from(reader);
    reader.read_exact(&mut code).ok()?;
    Some(io::Error::from_raw_os_error(i32::from_ne_bytes(code)))
}

/// Becomes the command: nothing of disco remains but the pid. Returns only on failure.
pub fn become_command(name: &OsStr, prepared: &mut Prepared, inherited: &Inherited) -> Failure {
    sys::set_subreaper(false);
    inherited.discard_own_signals();
    inherited.restore();
    Failure::Refused(name.to_owned(), prepared.execute())
}
