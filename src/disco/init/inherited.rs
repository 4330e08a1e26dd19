//! Mask and dispositions that disco was started with: taken away first thing, given back last.

use std::time::Duration;

use crate::sys::{self, SignalSet};

/// What the process was started with and the command must find again.
pub struct Inherited {
    mask: SignalSet,
    ignored_children: bool,
    ignored_pipe: bool,
}

impl Inherited {
    /// Blocks every signal and remembers how things were. To be called before anything else.
    #[must_use]
    pub fn take() -> Self {
        let mask = sys::set_mask(&SignalSet::all());
        // With SIGCHLD ignored the kernel throws exit statuses away (conformance pid1 2).
        let ignored_children = sys::is_ignored(libc::SIGCHLD);
        if ignored_children {
            sys::set_ignored(libc::SIGCHLD, false);
        }
        // A log that nobody reads any more must not look like a signal for the command.
        let ignored_pipe = sys::is_ignored(libc::SIGPIPE);
        if !ignored_pipe {
            sys::set_ignored(libc::SIGPIPE, true);
        }
        sys::fill_standard_descriptors();
        Self {
            mask,
            ignored_children,
            ignored_pipe,
        }
    }

    /// Puts dispositions and mask back, in this order: a signal that has waited must not find ours.
    pub(in crate::disco) fn restore(&self) {
        if self.ignored_children {
            sys::set_ignored(libc::SIGCHLD, true);
        }
        if !self.ignored_pipe {
            sys::set_ignored(libc::SIGPIPE, false);
        }
        sys::set_mask(&self.mask);
    }

    /// Drops the pending signals that are about our own children and descriptors; whatever else is
    /// pending waits for whoever the process becomes.
    pub(super) fn discard_own_signals(&self) {
        let own = SignalSet::none().and(libc::SIGCHLD).and(libc::SIGIO);
        let mut foreign = None;
        while let Ok(Some(received)) = sys::wait_signal(&own, Some(Duration::ZERO)) {
            if !received.from_kernel {
                foreign = Some(received.number);
            }
        }
        if let Some(number) = foreign {
            // Blocked, so that it waits again until the mask is restored.
            let _ = sys::kill(sys::own_pid(), number);
        }
    }
}
