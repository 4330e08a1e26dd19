//! What disco counts of itself across its processes: init counts restarts and orphans, the agent what
//! rules did, and whoever shows metrics reads all of it. The numbers outlive an agent that dies.
//!
//! Counting costs an addition. There is nobody to share with before the first agent, and most containers
//! never have one: until then the numbers are init's own.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::sys::{self, Numbers, ROOM};

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// Starts of the command.
    CommandStarts,
    /// Whether the command runs: 0 or 1.
    CommandUp,
    /// Processes reaped that nobody else waited for.
    Orphans,
    /// Starts of an agent.
    AgentStarts,
    /// Runs of handlers that succeeded.
    RulesFired,
    /// Runs of handlers that failed.
    RulesFailed,
    /// Time spent in handlers, in nanoseconds.
    HandlerTime,
}

/// Those that children have in common with us, once there are any.
static SHARED: OnceLock<&'static Numbers> = OnceLock::new();
/// Those of a process without.
static OWN: Numbers = [const { AtomicU64::new(0) }; ROOM];

/// Has every child that is forked from here on count with us. Takes no memory of the allocator's.
pub fn share() {
    SHARED.get_or_init(|| {
        let Some(shared) = sys::share() else {
            // Each its own, then.
            return &OWN;
        };
        for (to, from) in shared.iter().zip(&OWN) {
            to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        shared
    });
}

fn number(what: Count) -> Option<&'static AtomicU64> {
    SHARED.get().copied().unwrap_or(&OWN).get(what as usize)
}

/// Counts.
pub fn add(what: Count, amount: u64) {
    if let Some(number) = number(what) {
        number.fetch_add(amount, Ordering::Relaxed);
    }
}

/// Counts time.
pub fn add_time(what: Count, time: Duration) {
    add(what, u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
}

/// Sets what is a state and no count.
pub fn set(what: Count, value: u64) {
    if let Some(number) = number(what) {
        number.store(value, Ordering::Relaxed);
    }
}

/// How much there is of it.
#[must_use]
pub fn get(what: Count) -> u64 {
    number(what).map_or(0, |number| number.load(Ordering::Relaxed))
}
