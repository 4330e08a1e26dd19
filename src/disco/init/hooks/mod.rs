//! The hooks of the contract's `lifecycle`: one program before the command, one after it (asyncy A-90).
//!
//! A hook runs as disco itself, before rights are given up, in a session of its own and without stdin;
//! what it prints goes to the log and never to the command's stdout. Init waits for it as for anything
//! else: signals come from the same queue, other children are reaped meanwhile.

mod run;

use std::ffi::OsString;
use std::fmt;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use tracing::{debug, error, info};

use super::Init;
use super::command::{Command, Environment};
use super::context::ExecContext;
use super::follow::{Follow, Progress};
use super::leftovers::Leftovers;
use super::phase::Phase;
use super::plan::Rest;
use crate::contract::exit::{self, Exit};
use crate::contract::manifest::lifecycle;
use crate::disco::contract::Duties;
use crate::disco::settings::Settings;
use crate::sys::{self, Received};

/// Turns that what has ended is read for, each as much as a pipe holds.
const LAST_TURNS: usize = 4;

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

    /// Whether anything is to be run beside the command.
    pub(super) fn are_any(&self) -> bool {
        self.startup.is_some() || self.shutdown.is_some()
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

    /// The same until there is nothing left, but for those who print without end.
    fn follow_a_while(&mut self) {
        for _ in 0..LAST_TURNS {
            if self.follow().is_none() {
                return;
            }
        }
    }

    /// How much of the time to stop in is the shutdown hook's that is still to come after the command,
    /// which may run yet.
    pub(super) fn reserve(&self, total: Option<Duration>, command_runs: bool) -> Duration {
        match (&self.shutdown, total) {
            (Some(_), _) if self.before && command_runs => Duration::ZERO,
            (Some(hook), Some(total)) if self.begun => hook.timeout.min(total / 2),
            _ => Duration::ZERO,
        }
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
    /// Looks for what is to be run, the command among it, so that nothing has run by the time that one
    /// of them is missed.
    ///
    /// # Errors
    /// The exit code, after all that is missing has been told.
    pub(super) fn find_programs(&self) -> Result<(), u8> {
        let mut code = None;
        for hook in [&self.hooks.startup, &self.hooks.shutdown] {
            if let Some(hook) = hook
                && let Some(defect) = hook.command.defect()
            {
                let which = hook.which;
                error!("the {which} hook cannot be run: {defect}{}", hook.remedy());
                code = Some(exit::FAILED);
            }
        }
        if let Err(failure) = self.command.find() {
            error!("{failure}");
            code = Some(failure.code(&self.settings.plan.codes));
        }
        code.map_or(Ok(()), Err)
    }

    /// Runs the startup hook, if there is one.
    ///
    /// # Errors
    /// The exit code, where the command must not be started.
    pub(super) fn start_up(&mut self) -> Result<(), u8> {
        let Some(hook) = self.hooks.startup.take() else {
            return Ok(());
        };
        self.phase = Phase::Startup;
        if self.door.listener().is_none() {
            self.door.prepare(&self.settings.status, self.is_pid_1);
            self.door.open();
        }
        let (reason, code) = match self.run_hook(hook) {
            Ok(()) => return Ok(()),
            Err(Failure::Failed) => {
                error!("the command is not started, since the startup hook failed");
                (Reason::StartupFailed, exit::FAILED)
            }
            Err(Failure::Stopped(received)) => {
                let code = Exit::by_signal(received.number).status();
                (Reason::Asked(received), code)
            }
        };
        self.reason = Some(reason);
        Err(code)
    }

    /// Runs the shutdown hook, if there is one and there is something to shut down, and returns the code
    /// to leave with: its failure counts only where the command did not fail.
    pub(super) fn shut_down(&mut self, code: u8) -> u8 {
        if let Some(hook) = self.hooks.shutdown.take().filter(|_| self.hooks.begun) {
            // There is nothing left to be kept alive.
            sys::unseal();
            self.phase = Phase::Shutdown;
            self.run_shutdown(hook);
            if self.settings.plan.rest == Rest::Drain {
                self.drain();
            }
            self.hooks.follow_a_while();
        } else if self.hooks.state(Which::Shutdown) != State::Failed {
            return code;
        }
        let has_failed = self.hooks.state(Which::Shutdown) == State::Failed;
        // After whatever the hook has said, the last line still has to say why.
        match &self.reason {
            Some(reason) => error!("leaving with {code}: {reason}"),
            None if has_failed && code == 0 => {
                let code = exit::FAILED;
                error!("leaving with {code}: the shutdown hook failed");
                return code;
            }
            None => debug!("leaving with {code}, as the command did"),
        }
        code
    }

    /// Runs the shutdown hook beside the command, which is asked to stop when it is over.
    pub(super) fn shut_down_before(&mut self) {
        let Some(hook) = self.hooks.shutdown.take() else {
            return;
        };
        // Memory is taken while the command runs, once, on the way to the end.
        sys::unseal();
        let phase = std::mem::replace(&mut self.phase, Phase::Shutdown);
        self.run_shutdown(hook);
        self.phase = phase;
        sys::seal();
        if std::mem::take(&mut self.owes_sigio) {
            self.send(libc::SIGIO, None);
        }
    }

    fn run_shutdown(&mut self, hook: Hook) {
        if let Err(Failure::Stopped(received)) = self.run_hook(hook) {
            info!("the shutdown hook was ended by {received}");
        }
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

    /// Ends what the command and hooks leave behind.
    pub(super) fn drain(&mut self) {
        // Who is left may write more than a pipe holds, and must not wait for ever for a reader.
        if self.intake.is_any() && self.keeper.is_idle() && sys::has_children() {
            self.start_agent();
        }
        let spared = self.keeper.spared().unwrap_or(0);
        let (hooks, service) = (&mut self.hooks, &mut self.service);
        let reserve = hooks.reserve(self.settings.plan.stop_timeout, false);
        let leftovers = Leftovers {
            plan: &self.settings.plan,
            is_pid_1: self.is_pid_1,
            group: service.group,
            stopping: service.stopping,
            deadline: service.deadline,
            reserve,
            spared,
            spared_ended: false,
        };
        let cleared = leftovers.drain(&mut || {
            let _ = hooks.follow();
        });
        if cleared.spared_ended {
            self.keeper.is_lost();
            self.intake.arm();
        }
        if let Some(deadline) = cleared.asked {
            service.stopping = true;
            service.deadline = deadline;
        }
        // Signals that told of descriptors went with those that were waited for.
        self.has_input = true;
    }
}

impl Hook {
    /// What may help where it cannot be run.
    fn remedy(&self) -> &'static str {
        match self.is_shell {
            true if self.command.find().is_err() => {
                "; a line with characters of the shell's needs one: write a list of words where there is none"
            }
            _ => "",
        }
    }
}

/// Why disco ends, where it is disco that does.
pub(super) enum Reason {
    /// The startup hook failed.
    StartupFailed,
    /// This came before the command.
    Asked(Received),
    /// The command did not end in time.
    Killed,
    /// The command could not be executed.
    NotExecuted,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StartupFailed => f.write_str("the startup hook failed"),
            Self::Asked(received) => write!(f, "{received} came before the command"),
            Self::Killed => f.write_str("the command did not end in time and was killed"),
            Self::NotExecuted => f.write_str("the command could not be executed"),
        }
    }
}
