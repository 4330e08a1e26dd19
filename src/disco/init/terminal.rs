//! The terminal: whether it is ours to give, handed to the command, taken back.
//!
//! Every failure means that there is no terminal to speak of, and is none (conformance pid1 29).
//! SIGTTOU is blocked in init, so that nothing here can stop it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, getpgrp, tcgetpgrp, tcsetpgrp};

use crate::sys;

/// The controlling terminal, if we have one.
pub enum Terminal {
    /// One of the standard streams.
    Standard(BorrowedFd<'static>),
    /// None of them, but it can be opened by its name.
    Opened(OwnedFd),
}

impl Terminal {
    /// Looks for it: on the standard streams, then by its name, since `input | disco less` has it too.
    #[must_use]
    pub fn find() -> Option<Self> {
        let streams = [sys::stdin(), sys::stdout(), sys::stderr()];
        if let Some(stream) = streams.into_iter().find(|fd| tcgetpgrp(fd).is_ok()) {
            return Some(Self::Standard(stream));
        }
        let flags = OFlag::O_RDWR | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
        open(c"/dev/tty", flags, Mode::empty())
            .ok()
            .map(Self::Opened)
    }

    /// The descriptor that was opened for it, if one was.
    #[must_use]
    pub fn opened(&self) -> Option<&OwnedFd> {
        match self {
            Self::Standard(_) => None,
            Self::Opened(fd) => Some(fd),
        }
    }

    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Standard(fd) => *fd,
            Self::Opened(fd) => fd.as_fd(),
        }
    }

    /// The process group that is in front.
    #[must_use]
    pub fn front(&self) -> Option<i32> {
        tcgetpgrp(self.fd()).ok().map(Pid::as_raw)
    }

    /// Whether our own process group is in front, so that the front is ours to give (pid1 28).
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.front() == Some(getpgrp().as_raw())
    }

    /// Puts a process group in front.
    pub fn give(&self, group: i32) {
        let _ = tcsetpgrp(self.fd(), Pid::from_raw(group));
    }

    /// Puts our own process group in front.
    pub fn take_back(&self) {
        self.give(getpgrp().as_raw());
    }
}
