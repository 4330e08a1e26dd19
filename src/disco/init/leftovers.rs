//! What the command leaves behind: found, asked to end, given time, killed, reaped.
//!
//! As PID 1 of a namespace that is everyone; elsewhere only our own descendants, since in a shared
//! namespace the others are not ours to signal (conformance pid1 14, 33).

use std::fmt;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollTimeout, poll};
use tracing::{debug, info, warn};

use super::plan::Plan;
use crate::disco::ledger::{self, Count};
use crate::sys::{self, Reaped, SignalSet, proc};

/// How long a killed process may take to go; longer means that it hangs in the kernel.
const KILLED: Duration = Duration::from_secs(2);
/// Pause between two rounds of KILL.
const AGAIN: Duration = Duration::from_millis(20);
/// How many processes a message names.
const NAMED: usize = 10;

/// Whose leftovers they are, and what is known of the end.
pub struct Leftovers<'a> {
    /// For the drain, the stop timeout and the signals that stop.
    pub plan: &'a Plan,
    /// Whether everybody is ours.
    pub is_pid_1: bool,
    /// Process group of the command; 0 if there was none. Where `/proc` is not to be had it is all
    /// that can be found.
    pub group: i32,
    /// Whether somebody has asked disco to stop already, so that the next time means now.
    pub stopping: bool,
    /// When everything must be over, if that is known.
    pub deadline: Option<Instant>,
    /// How much of the time until then is somebody else's.
    pub reserve: Duration,
    /// The one that is to see all others go; 0 if there is none.
    pub spared: i32,
    /// Whether that has ended all the same.
    pub spared_ended: bool,
}

/// What is known when nothing is left.
pub struct Cleared {
    /// If somebody asked to stop for the first time meanwhile: the time by which all must be over.
    pub asked: Option<Option<Instant>>,
    /// Whether the one that was to be spared has ended.
    pub spared_ended: bool,
}

/// How a wait for the last process went.
enum Wait {
    Gone,
    TimeIsUp,
    /// Somebody asks to stop.
    Asked,
}

impl Leftovers<'_> {
    /// Ends everything that is left: TERM and CONT, time, KILL. Returns the moment the last one is gone.
    /// `meanwhile` is called whenever anything happens.
    pub fn drain(mut self, meanwhile: &mut dyn FnMut()) -> Cleared {
        let was_stopping = self.stopping;
        self.end_all(meanwhile);
        meanwhile();
        Cleared {
            asked: (self.stopping && !was_stopping).then_some(self.deadline),
            spared_ended: self.spared_ended,
        }
    }

    fn end_all(&mut self, meanwhile: &mut dyn FnMut()) {
        if !self.reap_all() {
            return;
        }
        self.signal_all(libc::SIGTERM);
        // A stopped process acts on TERM only when it goes on.
        self.signal_all(libc::SIGCONT);
        let start = Instant::now();
        let waited = loop {
            let grace = start + self.plan.drain;
            let until = match self.deadline.and_then(|at| at.checked_sub(self.reserve)) {
                Some(deadline) => grace.min(deadline),
                None => grace,
            };
            match self.wait_for_the_last(until, meanwhile) {
                Wait::Gone => return,
                Wait::TimeIsUp => break whole_ms(until.saturating_duration_since(start)),
                Wait::Asked if self.stopping => {
                    info!("asked to stop again: ending what is left at once");
                    break whole_ms(start.elapsed());
                }
                Wait::Asked => {
                    self.stopping = true;
                    self.deadline = self.plan.stop_deadline();
                }
            }
        };
        if waited.is_zero() {
            warn!("killing what is left: {}", Names(self));
        } else {
            warn!("killing what is left after {waited:?}: {}", Names(self));
        }
        // Again and again: what forks faster than the list is read is not in it.
        let deadline = Instant::now() + KILLED;
        while Instant::now() < deadline {
            self.signal_all(libc::SIGKILL);
            let round = deadline.min(Instant::now() + AGAIN);
            loop {
                match self.wait_for_the_last(round, meanwhile) {
                    Wait::Gone => return,
                    Wait::TimeIsUp => break,
                    // It is ended as fast as it can be.
                    Wait::Asked => {}
                }
            }
        }
        warn!(
            "some processes cannot be killed; leaving them: {}",
            Names(self)
        );
    }

    fn wait_for_the_last(&mut self, until: Instant, meanwhile: &mut dyn FnMut()) -> Wait {
        while self.reap_all() {
            meanwhile();
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Wait::TimeIsUp;
            }
            match sys::wait_signal(&SignalSet::all(), Some(left)) {
                Ok(Some(received)) if self.plan.is_stop(received.number) => return Wait::Asked,
                // Whatever else comes, the children are what matters.
                Ok(_) => {}
                // A filter forbids it: then nobody tells of an end, and it is looked for.
                Err(_) => {
                    let pause = PollTimeout::try_from(left.min(AGAIN));
                    let _ = poll(&mut [], pause.unwrap_or(PollTimeout::ZERO));
                }
            }
        }
        Wait::Gone
    }

    /// Reaps what has ended. Returns whether any child is left.
    fn reap_all(&mut self) -> bool {
        loop {
            match sys::reap() {
                Reaped::Ended(pid, _) if pid == self.spared => {
                    self.spared = 0;
                    self.spared_ended = true;
                }
                Reaped::Ended(..) => ledger::add(Count::Orphans, 1),
                Reaped::Stopped(..) => {}
                Reaped::Running => {
                    return self.spared == 0 || proc::has_child_besides(self.spared);
                }
                Reaped::Childless => return false,
            }
        }
    }

    fn signal_all(&self, number: i32) {
        // All at once, so that nobody can fork away from it; TERM means nothing to who is spared.
        let is_for_all = self.spared == 0 || number != libc::SIGKILL;
        if self.is_pid_1 && is_for_all {
            // ESRCH: nobody is left.
            let _ = sys::kill(-1, number);
            return;
        }
        if !self.each(|pid| signal(pid, number)) && self.group > 0 {
            let _ = sys::kill(-self.group, number);
        }
    }

    /// Calls `each` with every process that is ours. Returns whether they can be told at all.
    fn each(&self, mut each: impl FnMut(i32)) -> bool {
        let own = sys::own_pid();
        proc::each_process(|pid| {
            if pid != own && pid != self.spared && (self.is_pid_1 || is_ours(pid)) {
                each(pid);
            }
        })
    }
}

/// Without the digits that nobody reads.
fn whole_ms(duration: Duration) -> Duration {
    Duration::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

/// Signals a process if it is ours: held first, looked at then, so that it is the one that was meant
/// (pid1 37).
fn signal(pid: i32, number: i32) {
    let sent = match sys::hold(pid) {
        Ok(process) if is_ours(pid) => match sys::kill_held(&process, number) {
            // Filters that know the one call and not the other.
            Err(Errno::ENOSYS | Errno::EPERM) => sys::kill(pid, number),
            sent => sent,
        },
        Ok(_) | Err(Errno::ESRCH) => return,
        // Kernels before 5.3, and filters; no descriptor left.
        Err(_) => sys::kill(pid, number),
    };
    if let Err(error) = sent {
        debug!(pid, "cannot be signalled: {}", error.desc());
    }
}

/// Whether a process descends from us.
pub(super) fn is_ours(pid: i32) -> bool {
    let own = sys::own_pid();
    let mut next = proc::parent_of(pid);
    // No tree is so deep; a chain that changes while it is read could be longer than any.
    for _ in 0..4096 {
        match next {
            Some(parent) if parent == own => return true,
            Some(parent) if parent > 1 => next = proc::parent_of(parent),
            _ => return false,
        }
    }
    false
}

/// Names and pids, for the log.
struct Names<'a>(&'a Leftovers<'a>);

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut count, mut outcome) = (0, Ok(()));
        self.0.each(|pid| {
            count += 1;
            if count <= NAMED && outcome.is_ok() {
                outcome = name(f, pid, count == 1);
            }
        });
        outcome?;
        match count {
            0 => f.write_str("processes that cannot be seen"),
            1..=NAMED => Ok(()),
            _ => write!(f, " and {} more", count - NAMED),
        }
    }
}

fn name(f: &mut fmt::Formatter<'_>, pid: i32, is_first: bool) -> fmt::Result {
    if !is_first {
        f.write_str(", ")?;
    }
    proc::write_name(pid, f)?;
    write!(f, " ({pid})")
}
