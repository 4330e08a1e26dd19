//! Signal names and numbers, derived from the system's constants, real-time signals included.

use std::fmt;

/// Names of the standard signals, by the constants of this system.
const NAMES: &[(i32, &str)] = &[
    (libc::SIGHUP, "HUP"),
    (libc::SIGINT, "INT"),
    (libc::SIGQUIT, "QUIT"),
    (libc::SIGILL, "ILL"),
    (libc::SIGTRAP, "TRAP"),
    (libc::SIGABRT, "ABRT"),
    (libc::SIGBUS, "BUS"),
    (libc::SIGFPE, "FPE"),
    (libc::SIGKILL, "KILL"),
    (libc::SIGUSR1, "USR1"),
    (libc::SIGSEGV, "SEGV"),
    (libc::SIGUSR2, "USR2"),
    (libc::SIGPIPE, "PIPE"),
    (libc::SIGALRM, "ALRM"),
    (libc::SIGTERM, "TERM"),
    (libc::SIGSTKFLT, "STKFLT"),
    (libc::SIGCHLD, "CHLD"),
    (libc::SIGCONT, "CONT"),
    (libc::SIGSTOP, "STOP"),
    (libc::SIGTSTP, "TSTP"),
    (libc::SIGTTIN, "TTIN"),
    (libc::SIGTTOU, "TTOU"),
    (libc::SIGURG, "URG"),
    (libc::SIGXCPU, "XCPU"),
    (libc::SIGXFSZ, "XFSZ"),
    (libc::SIGVTALRM, "VTALRM"),
    (libc::SIGPROF, "PROF"),
    (libc::SIGWINCH, "WINCH"),
    (libc::SIGIO, "IO"),
    (libc::SIGPWR, "PWR"),
    (libc::SIGSYS, "SYS"),
];

/// The highest signal number.
pub const MAX: i32 = 64;

/// First and last real-time signal that programs may use; 32 and 33 belong to the C library.
const REAL_TIME: std::ops::RangeInclusive<i32> = 34..=MAX;

/// The name with its `SIG` prefix, as `kill -l` prints it (`SIGTERM`, `SIGRTMIN+1`).
#[must_use]
pub fn name(number: i32) -> String {
    Name(number).to_string()
}

/// A signal number that shows as its [`name`], without memory of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Name(pub i32);

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.0;
        match NAMES.iter().find(|(n, _)| *n == number) {
            Some((_, known)) => write!(f, "SIG{known}"),
            None if number == *REAL_TIME.start() => f.write_str("SIGRTMIN"),
            None if REAL_TIME.contains(&number) => {
                write!(f, "SIGRTMIN+{}", number - REAL_TIME.start())
            }
            None => write!(f, "signal {number}"),
        }
    }
}

/// Parses `TERM`, `SIGTERM`, `sigterm`, `15`, `RTMIN+1`, `RTMAX-2`.
///
/// # Errors
/// A sentence that names what was expected.
pub fn parse(text: &str) -> Result<i32, String> {
    let upper = text.trim().to_ascii_uppercase();
    let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
    let offset = |text: &str| text.parse::<u8>().ok().map(i32::from);
    let number = if let Some((number, _)) = NAMES.iter().find(|(_, name)| *name == bare) {
        Some(*number)
    } else if let Some(rest) = bare.strip_prefix("RTMIN") {
        match rest.strip_prefix('+') {
            Some(n) => offset(n).map(|n| REAL_TIME.start() + n),
            None => rest.is_empty().then_some(*REAL_TIME.start()),
        }
        .filter(|n| REAL_TIME.contains(n))
    } else if let Some(rest) = bare.strip_prefix("RTMAX") {
        match rest.strip_prefix('-') {
            Some(n) => offset(n).map(|n| REAL_TIME.end() - n),
            None => rest.is_empty().then_some(*REAL_TIME.end()),
        }
        .filter(|n| REAL_TIME.contains(n))
    } else {
        offset(bare).filter(|n| (1..=31).contains(n) || REAL_TIME.contains(n))
    };
    number.ok_or_else(|| {
        format!("unknown signal `{text}`; expected a name such as `TERM` or a number from 1 to 64")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signal_reads_back_by_name_and_number() {
        for number in (1..=31).chain(34..=64) {
            assert_eq!(parse(&name(number)), Ok(number));
            assert_eq!(parse(&number.to_string()), Ok(number));
            assert_eq!(parse(&name(number).to_lowercase()[3..]), Ok(number));
        }
    }

    #[test]
    fn what_is_no_signal_is_refused() {
        for text in [
            "", "SIG", "0", "32", "33", "65", "-1", "FOO", "RTMIN+31", "RTMAX-31", "RTMIN-1",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
