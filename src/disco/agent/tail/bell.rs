//! Tells the reading thread that the end has come; once rung it goes on ringing. Made of an eventfd, so
//! that it can be waited for together with everything else.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};

/// Both ends of it.
#[derive(Clone)]
pub(super) struct Bell(Arc<(EventFd, AtomicBool)>);

impl Bell {
    pub(super) fn new() -> Result<Self, Errno> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let event = EventFd::from_flags(flags)?;
        Ok(Self(Arc::new((event, AtomicBool::new(false)))))
    }

    pub(super) fn ring(&self) {
        self.0.1.store(true, Ordering::Release);
        // Fails when it has been rung more often than a number can tell.
        let _ = self.0.0.write(1);
    }

    pub(super) fn rings(&self) -> bool {
        self.0.1.load(Ordering::Acquire)
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.0.as_fd()
    }
}
