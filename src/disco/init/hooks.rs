//! The hooks of the contract's `lifecycle`: one program before the command, one after it (asyncy A-90).
//!
//! A hook runs as disco itself, before rights are given up, in a session of its own and without stdin;
//! what it prints goes to the log and never to the command's stdout. Init waits for it as for anything
//! else: signals come from the same queue, other children are reaped meanwhile.

use std::ffi::OsString;
use std::fmt;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::pipe2;
use tracing::{debug, error, info, warn};

use super::command::{Command, Environment, Why};
use super::context::{ExecContext, Failed};
use super::follow::{Follow, Progress};
use super::leftovers::Leftovers;
use super::phase::Phase;
use super::plan::Rest;
use super::spawn::NOT_EXECUTED;
use super::{Init, OWN};
use crate::contract::exit::{self, Exit};
use crate::contract::manifest::lifecycle;
use crate::disco::contract::Duties;
use crate::disco::settings::Settings;
use crate::sys::{self, Fork, Received};

/// From TERM to KILL for a hook that is ended, at least.
const GRACE: Duration = Duration::from_secs(1);

/// Which of the two it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    Startup,
    Shutdown,
}

impl Which {
    /// Its name in the contract.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Startup => "startup",
            Self::Shutdown => "shutdown",
        }
    }
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What has become of a hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum State {
    /// There is none.
    #[default]
    None,
    /// Its time has not come.
    Pending,
    /// It runs.
    Running,
    /// It ended with 0.
    Done,
    /// It did not, or could not be run.
    Failed,
    /// It was ended by a stop.
    Stopped,
}

impl State {
    /// Its word in the status document.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        }
    }
}

/// A hook, ready to be run.
struct Hook {
    which: Which,
    command: Command,
    timeout: Duration,
    is_shell: bool,
}

/// The hooks of this container, and what has become of them.
#[derive(Default)]
pub(super) struct Hooks {
    startup: Option<Hook>,
    shutdown: Option<Hook>,
    /// Whether the shutdown hook runs before the command is asked to stop.
    before: bool,
    /// Whether anything has been done that the shutdown hook may have to undo.
    pub(super) begun: bool,
    /// The hook that runs, and its last exit.
    pub(super) pid: Option<i32>,
    pub(super) ended: Option<Exit>,
    states: [State; 2],
    /// What each has left behind may still print; to close its log would be to end it.
    follows: [Option<Follow>; 2],
}

/// A hook at work.
struct Running {
    pid: i32,
    report: OwnedFd,
    follow: Follow,
}

/// Why a hook did not do what it should.
enum Failure {
    /// It failed; why has been said.
    Failed,
    /// Somebody asked disco to stop, by this signal.
    Stopped(Received),
}

impl Hooks {
    /// Prepares the hooks of a contract.
    pub(super) fn new(duties: &Duties, settings: &Settings, context: &ExecContext) -> Self {
        let environment = duties.environment.as_deref();
        let environment = environment.map_or(Environment::Own, Environment::These);
        let prepare = |which, hook: &Option<lifecycle::Hook>| {
            let hook = hook.as_ref()?;
            let argv: Vec<OsString> = hook.argv.iter().map(OsString::from).collect();
            let workdir = settings.exec.workdir.as_deref();
            Some(Hook {
                which,
                command: Command::new(argv, context.for_hooks(), workdir, environment),
                timeout: hook.timeout,
                is_shell: hook.is_shell,
            })
        };
        let pending = |hook: &Option<lifecycle::Hook>| match hook {
            Some(_) => State::Pending,
            None => State::None,
        };
        Self {
            startup: prepare(Which::Startup, &duties.startup),
            shutdown: prepare(Which::Shutdown, &duties.shutdown),
            states: [pending(&duties.startup), pending(&duties.shutdown)],
            before: duties.shutdown.as_ref().is_some_and(|hook| hook.before),
            ..Self::default()
        }
    }

    /// What has become of one.
    pub(super) fn state(&self, which: Which) -> State {
        self.states.get(which as usize).copied().unwrap_or_default()
    }

    fn set(&mut self, which: Which, state: State) {
        if let Some(slot) = self.states.get_mut(which as usize) {
            *slot = state;
        }
    }

    /// Whether the shutdown hook is still to come, so that init must be able to run it.
    pub(super) fn waits(&self) -> bool {
        self.shutdown.is_some()
    }

    /// Logs what the hooks' daemons print. Returns when to go on, if there is more.
    pub(super) fn follow(&mut self) -> Option<Instant> {
        let mut more = false;
        for slot in &mut self.follows {
            match slot.as_mut().map(Follow::turn) {
                Some(Progress::Over) => *slot = None,
                Some(Progress::More) => more = true,
                Some(Progress::Waiting) | None => {}
            }
        }
        more.then(Instant::now)
    }

    /// The descriptor of the daemon that the startup hook has left behind, if there is one.
    pub(super) fn pipe(&self) -> Option<&OwnedFd> {
        self.follows.iter().flatten().next().map(Follow::pipe)
    }

    /// Whether it comes before the command is asked to stop.
    pub(super) fn comes_before_the_stop(&self) -> bool {
        self.before && self.waits()
    }
}

impl Init {
    /// Runs the startup hook, if there is one.
    ///
    /// # Errors
    /// The exit code, where the command must not be started.
    pub(super) fn start_up(&mut self) -> Result<(), u8> {
        let Some(hook) = self.hooks.startup.take() else {
            return Ok(());
        };
        self.hooks.begun = true;
        self.phase = Phase::Startup;
        if self.door.listener().is_none() {
            self.door.prepare(&self.settings.status, self.is_pid_1);
            self.door.open();
        }
        match self.run_hook(hook) {
            Ok(()) => Ok(()),
            Err(Failure::Failed) => {
                error!("the command is not started, since the startup hook failed");
                Err(exit::FAILED)
            }
            Err(Failure::Stopped(received)) => Err(Exit::by_signal(received.number).status()),
        }
    }

    /// Runs the shutdown hook, if there is one and there is something to shut down, and returns the code
    /// to leave with: its failure counts only where the command did not fail.
    pub(super) fn shut_down(&mut self, code: u8) -> u8 {
        let Some(hook) = self.hooks.shutdown.take().filter(|_| self.hooks.begun) else {
            return code;
        };
        // There is nothing left to be kept alive, or it is kept alive without init's promise.
        sys::unseal();
        let phase = std::mem::replace(&mut self.phase, Phase::Shutdown);
        let outcome = self.run_hook(hook);
        if self.service.pid().is_some() {
            self.phase = phase;
        }
        if self.settings.plan.rest == Rest::Drain && self.service.pid().is_none() {
            self.drain();
            while self.hooks.follow().is_some() {}
        }
        match outcome {
            Err(Failure::Failed) if code == 0 => {
                error!(
                    "leaving with {}, since the shutdown hook failed",
                    exit::FAILED
                );
                exit::FAILED
            }
            Ok(()) | Err(_) => code,
        }
    }

    /// Runs the shutdown hook beside the command, which is asked to stop when it is over.
    pub(super) fn shut_down_before(&mut self) {
        let _ = self.shut_down(1);
        sys::seal();
    }

    fn run_hook(&mut self, hook: Hook) -> Result<(), Failure> {
        let which = hook.which;
        self.hooks.set(which, State::Running);
        let outcome = self.run_to_its_end(hook);
        self.hooks.set(
            which,
            match outcome {
                Ok(()) => State::Done,
                Err(Failure::Failed) => State::Failed,
                Err(Failure::Stopped(_)) => State::Stopped,
            },
        );
        outcome
    }

    fn run_to_its_end(&mut self, mut hook: Hook) -> Result<(), Failure> {
        let which = hook.which;
        if let Err(failure) = hook.command.find() {
            error!(
                "the {which} hook cannot be run: {failure}{}",
                remedy(&hook, failure.why)
            );
            return Err(Failure::Failed);
        }
        info!("running the {which} hook");
        let mut running = start(&mut hook.command, which, self).map_err(|error| {
            error!("the {which} hook cannot be started: {}", error.desc());
            Failure::Failed
        })?;
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
        let ending = self.ending();
        let signals = OWN.or(ending);
        let mut kill_at: Option<Instant> = None;
        let mut why: Option<Failure> = None;
        loop {
            let more = running.follow.turn() == Progress::More;
            let news = self.look_after_children();
            self.keep(news);
            self.start_agent_if_due();
            self.attend();
            if let Some(exit) = self.hooks.ended.take() {
                while running.follow.turn() == Progress::More {}
                return match why {
                    Some(failure) => Err(failure),
                    None => judge(hook, running, exit, started.elapsed()),
                };
            }
            let now = Instant::now();
            // It has to be over before the runtime loses its patience.
            let limit = started + hook.timeout;
            let limit = self.service.deadline.map_or(limit, |at| limit.min(at));
            let due = match kill_at {
                Some(at) if at <= now => {
                    warn!("killing the {which} hook, which ignores TERM");
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
                self.service.ask_to_stop(&self.settings.plan, None);
            }
            if may_end && why.is_none() {
                info!("{received} during the {which} hook: ending it");
                why = Some(Failure::Stopped(received));
                kill_at = Some(self.terminate(running.pid));
            } else {
                debug!("{received}: the {which} hook goes on");
            }
        }
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

    /// Ends what the command and hooks leave behind.
    pub(super) fn drain(&self) {
        Leftovers {
            plan: &self.settings.plan,
            is_pid_1: self.is_pid_1,
            group: self.service.group,
            stopping: self.service.stopping,
            deadline: self.service.deadline,
        }
        .drain();
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
        error!(
            "the {which} hook cannot be run: {failure}{}",
            remedy(hook, failure.why)
        );
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

fn remedy(hook: &Hook, why: Why) -> &'static str {
    match why {
        Why::NotExecutable(_) => "; `chmod +x` it",
        Why::NotFound | Why::Refused(Errno::ENOENT) if hook.is_shell => {
            "; a line with characters of the shell's needs one: write a list of words where there is none"
        }
        _ => "",
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
