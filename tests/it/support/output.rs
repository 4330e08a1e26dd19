//! What a finished process left: how it ended, what it wrote, how long it took.

use super::tail;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::Duration;

/// The end of a process. The assertions show all of it when they fail, and can be chained.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    /// The exit code, unless a signal ended it.
    pub(crate) code: Option<i32>,
    /// The signal that ended it, if one did.
    pub(crate) signal: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// From its start to its end, give or take 2 ms.
    pub(crate) elapsed: Duration,
}

impl Output {
    pub(super) fn new(status: ExitStatus, stdout: &[u8], stderr: &[u8], elapsed: Duration) -> Self {
        Self {
            code: status.code(),
            signal: status.signal(),
            stdout: String::from_utf8_lossy(stdout).into_owned(),
            stderr: String::from_utf8_lossy(stderr).into_owned(),
            elapsed,
        }
    }

    #[track_caller]
    pub(crate) fn assert_code(&self, code: i32) -> &Self {
        assert_eq!(self.code, Some(code), "{}", self.told());
        self
    }

    #[track_caller]
    pub(crate) fn assert_signal(&self, signal: nix::sys::signal::Signal) -> &Self {
        assert_eq!(self.signal, Some(signal as i32), "{}", self.told());
        self
    }

    #[track_caller]
    pub(crate) fn assert_stdout(&self, expected: &str) -> &Self {
        assert_eq!(self.stdout, expected, "{}", self.told());
        self
    }

    #[track_caller]
    pub(crate) fn assert_stdout_has(&self, needle: &str) -> &Self {
        assert!(
            self.stdout.contains(needle),
            "no {needle:?} on stdout; {}",
            self.told()
        );
        self
    }

    #[track_caller]
    pub(crate) fn assert_stderr_has(&self, needle: &str) -> &Self {
        assert!(
            self.stderr.contains(needle),
            "no {needle:?} on stderr; {}",
            self.told()
        );
        self
    }

    #[track_caller]
    pub(crate) fn assert_stderr_lacks(&self, needle: &str) -> &Self {
        assert!(
            !self.stderr.contains(needle),
            "{needle:?} on stderr; {}",
            self.told()
        );
        self
    }

    fn told(&self) -> String {
        let Self {
            code,
            signal,
            stdout,
            stderr,
            elapsed,
        } = self;
        format!(
            "code {code:?}, signal {signal:?} after {elapsed:?}\n--- stdout\n{}\n--- stderr\n{}\n---",
            tail(stdout),
            tail(stderr)
        )
    }
}
