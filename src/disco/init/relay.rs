//! Holds the command's stdout to its declared `result`, where the contract asks for that (asyncy A-7):
//! a process of its own copies it on, keeps what it has seen, and judges it at its end. Init itself
//! only asks for the judgement.

use std::ffi::OsStr;
use std::fmt;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::{pipe2, read, write};
use tracing::{error, warn};

use super::Init;
use crate::contract::exit;
use crate::contract::manifest::shape::{Place, Shape};
use crate::sys::{self, Fork};

/// A result above this size is not judged: it would have to be held as a whole.
const MOST: usize = 16 << 20;

/// The longest judgement.
const JUDGEMENT: usize = 160;

/// A process that copies, and by which it tells what it makes of it.
pub(super) struct Relay {
    verdict: OwnedFd,
}

/// What became of a result.
enum Verdict {
    /// It is what was declared.
    Good,
    /// It is not; why, as a fragment.
    Bad(Reason),
    /// Nobody knows: there was no end of it, or too much.
    Unknown,
}

/// Why a result is not what was declared.
struct Reason([u8; JUDGEMENT], usize);

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.get(..self.1).unwrap_or_default();
        f.write_str(std::str::from_utf8(text).unwrap_or("is not as declared"))
    }
}

/// Starts one. Returns it and what is to be the command's stdout.
///
/// # Errors
/// EMFILE, ENFILE, ENOMEM, EAGAIN.
fn start(shape: &Shape) -> Result<(Relay, OwnedFd), Errno> {
    let (data, stdout) = pipe2(OFlag::O_CLOEXEC)?;
    let (verdict, theirs) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
    match sys::fork()? {
        Fork::Parent(_) => Ok((Relay { verdict }, stdout)),
        Fork::Child => {
            sys::unseal();
            sys::close_all_but(&[Some(&data), Some(&theirs)]);
            // All signals stay blocked: it ends when the last writer does.
            if let Some(seen) = copy(&data) {
                // One write, smaller than any pipe.
                let _ = write(theirs.as_fd(), judge(shape, &seen).as_bytes());
            }
            sys::exit_now(0)
        }
    }
}

/// Copies everything to stdout. Returns what it was, unless that is too much or nobody reads it.
fn copy(data: &OwnedFd) -> Option<Vec<u8>> {
    let mut seen = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = match read(data, &mut buffer) {
            Ok(0) => return (seen.len() <= MOST).then_some(seen),
            Ok(count) => count,
            Err(Errno::EINTR) => continue,
            Err(_) => return None,
        };
        let mut rest = buffer.get(..count).unwrap_or_default();
        if seen.len() <= MOST {
            seen.extend_from_slice(rest);
        }
        while !rest.is_empty() {
            match write(sys::stdout(), rest) {
                Ok(count) => rest = rest.get(count..).unwrap_or_default(),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => sys::wait_writable(sys::stdout()),
                // With the reader gone the command is to see that, as without us.
                Err(_) => return None,
            }
        }
    }
}

/// `+` for a good result, else `-` and why; the newline at the end is the shell's, and not the result's.
fn judge(shape: &Shape, seen: &[u8]) -> String {
    let text = seen.strip_suffix(b"\n").unwrap_or(seen);
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    match shape.check(OsStr::from_bytes(text), &Place::NOWHERE) {
        Ok(()) => "+".to_owned(),
        Err(expected) => {
            let cut = expected
                .char_indices()
                .take_while(|(at, _)| *at < JUDGEMENT - 8);
            "-".chars().chain(cut.map(|(_, c)| c)).collect()
        }
    }
}

impl Relay {
    /// The descriptor by which it tells.
    pub(super) fn verdict(&self) -> &OwnedFd {
        &self.verdict
    }

    /// What it made of the result. To be asked when nobody is left who could write.
    fn judgement(&self) -> Verdict {
        let mut bytes = [0; JUDGEMENT];
        let length = read(&self.verdict, &mut bytes).unwrap_or(0);
        match bytes.first().filter(|_| length > 0) {
            Some(b'+') => Verdict::Good,
            Some(b'-') => {
                bytes.copy_within(1..length, 0);
                Verdict::Bad(Reason(bytes, length - 1))
            }
            _ => Verdict::Unknown,
        }
    }
}

impl Init {
    /// Has a process copy and judge what the command prints, where the contract asks for that.
    pub(super) fn start_relay(&mut self) -> Option<OwnedFd> {
        let shape = self.duties.result.as_ref()?;
        match start(shape) {
            Ok((relay, stdout)) => {
                self.service.relay = Some(relay);
                Some(stdout)
            }
            Err(error) => {
                warn!(
                    "the result of the command will not be checked: {}",
                    error.desc()
                );
                None
            }
        }
    }

    /// What the result of the command means for the code to leave with. To be asked when nobody is left
    /// who could add to it.
    pub(super) fn judge_result(&self, code: u8) -> u8 {
        match self.service.relay.as_ref().map(Relay::judgement) {
            Some(Verdict::Bad(reason)) => {
                error!("the result of the command {reason}, as its contract says");
                if code == 0 { exit::FAILED } else { code }
            }
            Some(Verdict::Unknown) => {
                warn!("the result of the command could not be checked");
                code
            }
            Some(Verdict::Good) | None => code,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::manifest::shape::Kind;

    #[test]
    fn a7_a_result_is_judged_without_its_last_newline() {
        let shape = |kind| Shape {
            kinds: vec![kind],
            ..Shape::default()
        };
        assert_eq!(judge(&shape(Kind::Integer), b"42\n"), "+");
        assert_eq!(judge(&shape(Kind::Integer), b"42\r\n"), "+");
        assert_eq!(judge(&shape(Kind::Json), b"{\"a\":\n1}\n"), "+");
        assert_eq!(judge(&shape(Kind::Json), b"oops"), "-must be JSON");
        assert_eq!(
            judge(&shape(Kind::Integer), b"42\n\n"),
            "-must be a whole number"
        );
    }
}
