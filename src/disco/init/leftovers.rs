//! What the command leaves behind: found, asked to end, given time, killed, reaped.
//!
//! As PID 1 of a namespace that is everyone; elsewhere only our own descendants, since in a shared
//! namespace the others are not ours to signal (conformance pid1 14, 33).

use std::time::{Duration, Instant};

use tracing::{debug, warn};

use crate::sys::{self, Reaped, SignalSet};

/// How long a killed process may take to go; longer means that it hangs in the kernel.
const KILLED: Duration = Duration::from_secs(2);
/// Pause between two rounds of KILL.
const AGAIN: Duration = Duration::from_millis(20);

/// Ends everything that is left: TERM and CONT, up to `grace`, then KILL. Returns the moment the
/// last one is gone. `signals` are blocked and contain SIGCHLD.
pub fn drain(signals: &SignalSet, grace: Duration, is_pid_1: bool) {
    if !reap_all() {
        return;
    }
    signal_all(libc::SIGTERM, is_pid_1);
    // A stopped process acts on TERM only when it goes on.
    signal_all(libc::SIGCONT, is_pid_1);
    if gone_before(signals, Instant::now() + grace) {
        return;
    }
    let left = names(is_pid_1);
    warn!("killing what is left after {grace:?}: {left}");
    // Again and again: what forks faster than the list is read is not in it.
    let deadline = Instant::now() + KILLED;
    while Instant::now() < deadline {
        signal_all(libc::SIGKILL, is_pid_1);
        if gone_before(signals, deadline.min(Instant::now() + AGAIN)) {
            return;
        }
    }
    warn!("some processes cannot be killed; leaving them");
}

/// Reaps what has ended. Returns whether any child is left.
fn reap_all() -> bool {
    loop {
        match sys::reap() {
            Reaped::Ended(..) => {}
            Reaped::Running => return true,
            Reaped::Childless => return false,
        }
    }
}

fn gone_before(signals: &SignalSet, deadline: Instant) -> bool {
    while reap_all() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        // Whatever comes, the children are what matters.
        let _ = sys::wait_signal(signals, Some(left));
    }
    true
}

fn signal_all(number: i32, is_pid_1: bool) {
    if is_pid_1 {
        // ESRCH: nobody is left.
        let _ = sys::kill(-1, number);
        return;
    }
    for pid in descendants() {
        if let Err(error) = sys::kill(pid, number) {
            debug!(pid, "cannot be signalled: {error}");
        }
    }
}

/// Our descendants by `/proc`; without it, none that we could name.
fn descendants() -> Vec<i32> {
    let all: Vec<(i32, i32)> = processes()
        .filter_map(|pid| Some((pid, parent_of(pid)?)))
        .collect();
    let mut found = vec![sys::own_pid()];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        found.extend(all.iter().filter(|(_, p)| *p == parent).map(|(pid, _)| pid));
        next += 1;
    }
    found.remove(0);
    found
}

fn processes() -> impl Iterator<Item = i32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn parent_of(pid: i32) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold blanks and parentheses; what follows the last one does not.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

/// Names and pids, for the log.
fn names(is_pid_1: bool) -> String {
    let pids: Vec<i32> = if is_pid_1 {
        processes().filter(|pid| *pid != 1).collect()
    } else {
        descendants()
    };
    let named = pids.iter().take(10).map(|pid| {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        format!("{} ({pid})", name.trim_end())
    });
    named.collect::<Vec<_>>().join(", ")
}
