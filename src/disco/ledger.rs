//! What disco counts of itself across its processes: init counts restarts and orphans, the agent what
//! rules did, and whoever shows metrics reads all of it. The numbers outlive an agent that dies.
//!
//! Counting costs an addition. Without [`open`], as under the name of another init, it does nothing.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::sys;

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

static NUMBERS: OnceLock<&'static [AtomicU64; 64]> = OnceLock::new();

/// Begins to count. To be called before anything is forked that counts with us.
pub fn open() {
    NUMBERS.get_or_init(sys::share);
}

fn number(what: Count) -> Option<&'static AtomicU64> {
    NUMBERS.get()?.get(what as usize)
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
