//! One hook from its start to its end: forked, followed, waited for, and ended where its time is over or
//! somebody asks. Which hook runs when is the module's above.

use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::pipe2;
use tracing::{debug, error, info, warn};

use super::super::command::{Command, Why};
use super::super::context::Failed;
use super::super::follow::{Follow, Progress};
use super::super::spawn::NOT_EXECUTED;
use super::super::{Init, OWN};
use super::{Failure, Hook, LAST_TURNS, Which};
use crate::contract::exit::Exit;
use crate::sys::{self, Fork};

/// From TERM to KILL for a hook that is ended, at least.
const GRACE: Duration = Duration::from_secs(1);

/// How often a hook is killed before it is given up: it hangs in the kernel then.
const KILLS: u32 = 2;

/// A hook at work.
struct Running {
    pid: i32,
    report: OwnedFd,
    follow: Follow,
}

impl Init {
    pub(super) fn run_to_its_end(&mut self, mut hook: Hook) -> Result<(), Failure> {
        let which = hook.which;
        if let Some(defect) = hook.command.defect() {
            error!("the {which} hook cannot be run: {defect}{}", hook.remedy());
            return Err(Failure::Failed);
        }
        info!("running the {which} hook");
        let mut running = start(&mut hook.command, which, self).map_err(|error| {
            error!("the {which} hook cannot be started: {}", error.desc());
            Failure::Failed
        })?;
        self.hooks.begun = true;
        self.hooks.pid = Some(running.pid);
        self.hooks.ended = None;
        let outcome = self.wait_for_hook(&hook, &mut running);
        self.hooks.pid = None;
        if running.follow.turn() != Progress::Over
            && let Some(slot) = self.hooks.follows.get_mut(which as usize)
        {
            *slot = Some(running.follow);
        }
        if outcome.is_err() {
            // Whatever it was in the middle of goes with it.
            let _ = sys::kill(-running.pid, libc::SIGKILL);
        }
        outcome
    }

    /// Waits for the end of a hook, or ends it.
    fn wait_for_hook(&mut self, hook: &Hook, running: &mut Running) -> Result<(), Failure> {
        let which = hook.which;
        let started = Instant::now();
        // A command that runs gets everything else when the hook is over.
        let ending = match which {
            Which::Startup => self.ending(),
            Which::Shutdown => self.settings.plan.stops(),
        };
        let signals = OWN.or(ending);
        let limit = self.limit(hook, started);
        let mut asked_at = started;
        let mut kill_at: Option<Instant> = None;
        let mut kills = 0;
        let mut why: Option<Failure> = None;
        loop {
            let more = running.follow.turn() == Progress::More;
            let news = self.look_after_children();
            self.keep(news);
            self.start_agent_if_due();
            self.attend();
            if let Some(exit) = self.hooks.ended.take() {
                for _ in 0..LAST_TURNS {
                    if running.follow.turn() != Progress::More {
                        break;
                    }
                }
                return match why {
                    Some(failure) => Err(failure),
                    None => judge(hook, running, exit, started.elapsed()),
                };
            }
            let now = Instant::now();
            // A stop that has come meanwhile leaves it less.
            let limit = limit.min(self.limit(hook, started));
            let due = match kill_at {
                Some(at) if at <= now && kills >= KILLS => {
                    warn!("the {which} hook cannot be killed; going on without it");
                    return Err(why.unwrap_or(Failure::Failed));
                }
                Some(at) if at <= now => {
                    kills += 1;
                    match now.saturating_duration_since(asked_at) >= GRACE {
                        true => warn!("killing the {which} hook, which ignores TERM"),
                        false => warn!("killing the {which} hook: there is no time left for it"),
                    }
                    let _ = sys::kill(-running.pid, libc::SIGKILL);
                    let _ = sys::kill(running.pid, libc::SIGKILL);
                    kill_at = Some(now + GRACE);
                    kill_at
                }
                Some(at) => Some(at),
                None if limit <= now => {
                    match limit < started + hook.timeout {
                        true => error!(
                            "the {which} hook is not over when the time to stop in is (`disco.stop_timeout`, `disco.runtime_grace`)"
                        ),
                        false => error!(
                            "the {which} hook took longer than {:?}, its limit in the contract (`timeout`)",
                            hook.timeout
                        ),
                    }
                    why = Some(Failure::Failed);
                    asked_at = now;
                    kill_at = Some(self.terminate(running.pid));
                    kill_at
                }
                None => Some(limit),
            };
            let more = more.then_some(now);
            let until = [
                more,
                due,
                self.keeper.due(),
                self.door.due,
                self.readiness.due,
            ];
            let until = until.into_iter().flatten().min();
            let Ok(received) = self.wait(&signals, until) else {
                // Without waiting there is no hook to wait for.
                return Err(Failure::Failed);
            };
            let Some(received) = received.filter(|received| ending.contains(received.number))
            else {
                continue;
            };
            let may_end = which == Which::Startup
                || self.service.stopping && self.settings.plan.second_stop_kills;
            if !self.service.stopping {
                self.ask_to_stop(None);
            }
            if may_end && why.is_none() {
                info!("{received} during the {which} hook: ending it");
                why = Some(Failure::Stopped(received));
                asked_at = now;
                kill_at = Some(self.terminate(running.pid));
            } else {
                debug!("{received}: the {which} hook goes on");
            }
        }
    }

    /// When a hook has to be over: by its own limit, and before the runtime loses its patience. One that
    /// runs before the command is asked leaves that half of the time.
    fn limit(&self, hook: &Hook, started: Instant) -> Instant {
        let own = started + hook.timeout;
        let Some(deadline) = self.service.deadline else {
            return own;
        };
        let share = match self.service.pid() {
            Some(_) => started + deadline.saturating_duration_since(started) / 2,
            None => deadline,
        };
        own.min(share)
    }

    /// Asks a hook and what it has started to end. Returns when to insist.
    fn terminate(&self, pid: i32) -> Instant {
        for number in [libc::SIGTERM, libc::SIGCONT] {
            let _ = sys::kill(-pid, number).or_else(|_| sys::kill(pid, number));
        }
        let at = Instant::now() + self.settings.plan.drain.max(GRACE);
        self.service
            .deadline
            .map_or(at, |deadline| at.min(deadline))
    }
}

fn judge(hook: &Hook, running: &Running, exit: Exit, took: Duration) -> Result<(), Failure> {
    let which = hook.which;
    let mut message = [0; 8];
    if exit == Exit::Code(NOT_EXECUTED)
        && nix::unistd::read(&running.report, &mut message) == Ok(message.len())
    {
        let failed = Failed::from_bytes(message);
        let failure = match failed.is_of_exec() {
            true => hook.command.refused(Errno::from_raw(failed.error)),
            false => hook.command.failure(Why::Unfit(failed)),
        };
        error!("the {which} hook cannot be run: {failure}{}", hook.remedy());
        return Err(Failure::Failed);
    }
    if exit.is_success() {
        debug!("the {which} hook is done after {took:?}");
        Ok(())
    } else {
        error!("the {which} hook failed: {exit}");
        Err(Failure::Failed)
    }
}

fn start(command: &mut Command, which: Which, init: &Init) -> Result<Running, Errno> {
    let (follow, output) = Follow::new(which.name())?;
    let (report, theirs) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
    match sys::fork()? {
        Fork::Parent(pid) => Ok(Running {
            pid,
            report,
            follow,
        }),
        Fork::Child => {
            // Of its own, so that no key on the terminal reaches it, and its group can be ended.
            let _ = nix::unistd::setsid();
            sys::detach_stdin();
            for stream in [1, 2] {
                sys::redirect(output.as_raw_fd(), stream);
            }
            sys::close_all_but(&[Some(&theirs)]);
            let failed = match command.context.apply() {
                Ok(()) => {
                    init.inherited.restore();
                    Failed::to_execute(command.prepared.execute())
                }
                Err(failed) => failed,
            };
            let _ = nix::unistd::write(theirs.as_fd(), &failed.to_bytes());
            sys::exit_now(NOT_EXECUTED)
        }
    }
}
