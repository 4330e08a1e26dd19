//! Reads what a hook prints and logs it line by line, without memory beyond what it was made with, so
//! that it may go on while the command runs: a hook can leave a process behind that still prints.

use std::fmt;
use std::os::fd::{AsFd as _, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::{pipe2, read};
use tracing::info;

use crate::sys;

/// Longest line; what is longer comes as several.
const LINE: usize = 4096;

/// Readings in one turn: whoever prints without end must not keep init from its other work.
const TURN: usize = 16;

/// The reading end of what a hook prints.
pub(super) struct Follow {
    hook: &'static str,
    pipe: OwnedFd,
    line: Box<[u8; LINE]>,
    filled: usize,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// All that there is has been read; a signal tells of more.
    Waiting,
    /// There may be more, for the next turn.
    More,
    /// Nobody can print any more.
    Over,
}

impl Follow {
    /// A follower, and the end to print to.
    ///
    /// # Errors
    /// EMFILE, ENFILE, ENOMEM.
    pub(super) fn new(hook: &'static str) -> Result<(Self, OwnedFd), Errno> {
        let (pipe, theirs) = pipe2(OFlag::O_CLOEXEC)?;
        sys::signal_when_readable(pipe.as_fd())?;
        Ok((Self::of(hook, pipe), theirs))
    }

    fn of(hook: &'static str, pipe: OwnedFd) -> Self {
        Self {
            hook,
            pipe,
            line: Box::new([0; LINE]),
            filled: 0,
        }
    }

    /// The descriptor that it reads from.
    pub(super) fn pipe(&self) -> &OwnedFd {
        &self.pipe
    }

    /// Reads and logs what there is.
    pub(super) fn turn(&mut self) -> Progress {
        for _ in 0..TURN {
            let free = self.line.get_mut(self.filled..).unwrap_or_default();
            match read(&self.pipe, free) {
                Ok(0) => {
                    self.tell(self.filled);
                    self.filled = 0;
                    return Progress::Over;
                }
                Ok(count) => {
                    self.filled += count;
                    self.tell_lines();
                }
                Err(Errno::EINTR) => {}
                // Nothing but an empty pipe can be wrong with it.
                Err(_) => return Progress::Waiting,
            }
        }
        Progress::More
    }

    /// Logs the whole lines, and a part of one that fills the buffer.
    fn tell_lines(&mut self) {
        loop {
            let filled = self.line.get(..self.filled).unwrap_or_default();
            let end = filled.iter().position(|byte| *byte == b'\n');
            let (length, used) = match end {
                Some(end) => (end, end + 1),
                None if self.filled == LINE => (LINE, LINE),
                None => return,
            };
            self.tell(length);
            self.line.copy_within(used..self.filled, 0);
            self.filled -= used;
        }
    }

    fn tell(&self, length: usize) {
        let line = self.line.get(..length).unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if !line.is_empty() {
            info!("{} hook: {}", self.hook, Lossy(line));
        }
    }
}

/// Bytes as text, without taking memory.
struct Lossy<'a>(&'a [u8]);

impl fmt::Display for Lossy<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            f.write_str(chunk.valid())?;
            if !chunk.invalid().is_empty() {
                f.write_str("\u{fffd}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_taken_up_to_its_end_however_it_is_cut() {
        // Without the signal, which would end a process that does not block it.
        let (pipe, theirs) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).unwrap();
        let mut follow = Follow::of("startup", pipe);
        assert_eq!(follow.turn(), Progress::Waiting);
        nix::unistd::write(&theirs, b"one\ntw").unwrap();
        assert_eq!(follow.turn(), Progress::Waiting);
        assert_eq!(follow.filled, 2);
        nix::unistd::write(&theirs, &[b'x'; 2 * LINE]).unwrap();
        assert_eq!(follow.turn(), Progress::Waiting);
        assert_eq!(follow.filled, 2);
        nix::unistd::write(&theirs, &[b'\n'; 40 * LINE / 3]).unwrap();
        follow.turn();
        drop(theirs);
        assert_eq!(follow.turn(), Progress::Over);
    }

    #[test]
    fn bytes_that_are_no_text_are_shown_as_such() {
        assert_eq!(
            Lossy(b"a\xff\xfeb\xe2\x82").to_string(),
            "a\u{fffd}\u{fffd}b\u{fffd}"
        );
    }
}
