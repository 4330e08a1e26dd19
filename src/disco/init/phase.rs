//! Where the container is in its life, in the words of the status document. It says; it decides
//! nothing.

/// A phase, in the order of a life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The configuration is not complete.
    Waiting,
    /// What is to run before the command runs.
    Startup,
    /// The command runs.
    Running,
    /// The command has ended, or is asked to, and is to be started again.
    Restarting,
    /// Somebody has asked for the end.
    Stopping,
    /// The command is over; what is to run after it runs.
    Shutdown,
}

impl Phase {
    /// Its word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Startup => "startup",
            Self::Running => "running",
            Self::Restarting => "restarting",
            Self::Stopping => "stopping",
            Self::Shutdown => "shutdown",
        }
    }
}
