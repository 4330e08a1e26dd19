//! How a process ended, and the documented exit codes of disco itself.

/// Bad arguments on disco's own command line (`EX_USAGE` of sysexits.h).
pub const USAGE: u8 = 64;
/// Sources unreachable or data incomplete past `disco.deadline` (`EX_UNAVAILABLE`).
pub const UNAVAILABLE: u8 = 69;
/// A handler or hook failed for good (`EX_SOFTWARE`).
pub const FAILED: u8 = 70;
/// Bad settings, rules, schemas or contract (`EX_CONFIG`).
pub const CONFIG: u8 = 78;
/// There is no process or descriptor left to start the command with, as `env` and `timeout` report
/// failures of their own.
pub const NOT_STARTED: u8 = 125;
/// The command exists but cannot be executed, as in shells.
pub const NOT_EXECUTABLE: u8 = 126;
/// The command was not found, as in shells.
pub const NOT_FOUND: u8 = 127;

/// Not healthy: the one code beside 0 that Docker lets a health check end with.
pub const UNHEALTHY: u8 = 1;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It called exit with this status.
    Code(u8),
    /// This signal ended it; any number up to 64, real-time signals included.
    Signal(u8),
}

impl Exit {
    /// The end by a signal of this number, as the kernel gives it.
    #[must_use]
    pub fn by_signal(number: i32) -> Self {
        Self::Signal(u8::try_from(number).unwrap_or(0))
    }

    /// The status a shell would report: the code as it is, 128 + n for signal n.
    #[must_use]
    pub fn status(self) -> u8 {
        match self {
            Self::Code(code) => code,
            Self::Signal(number) => number.wrapping_add(128),
        }
    }

    /// Whether this is exit status 0.
    #[must_use]
    pub fn is_success(self) -> bool {
        self == Self::Code(0)
    }
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit status {code}"),
            Self::Signal(number) => {
                write!(f, "ended by {}", super::signal::Name(i32::from(*number)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_and_signal_maps_as_in_a_shell() {
        for code in 0..=255 {
            assert_eq!(Exit::Code(code).status(), code);
        }
        for signal in 1..=64 {
            assert_eq!(Exit::Signal(signal).status(), 128 + signal);
        }
    }
}
