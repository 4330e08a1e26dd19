//! Keeps the agent: starts it, obeys it, starts it again when it dies.
//!
//! What init knows of configuration is here: whether the container is configured, what the agents
//! have applied, and which handler is at work. Nothing an agent does or fails to do ends a command
//! that runs.

use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use nix::unistd::{Pid, setpgid};
use tracing::{debug, error, info, warn};

use super::{Init, OWN};
use crate::contract::exit::{self, Exit};
use crate::contract::signal::Name;
use crate::disco::agent::past::Past;
use crate::disco::agent::{self, Circumstances};
use crate::disco::ledger::{self, Count};
use crate::disco::link::{self, Message, Stays};
use crate::disco::log;
use crate::sys::{self, Fork, SignalSet};

/// How long an agent may take to go once it is told to, beyond what its handler is given.
pub(super) const GRACE: Duration = Duration::from_secs(2);

/// What it is given at the least to read what is left, however late it is.
const LEAST: Duration = Duration::from_millis(500);

/// Pause before the first restart of an agent; each next one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// An agent that has lived so long has not failed to start.
const SETTLED: Duration = Duration::from_secs(60);

/// The agent as init sees it.
struct Agent {
    pid: i32,
    link: OwnedFd,
    started: Instant,
}

/// What init knows of agents.
pub(super) struct Keeper {
    agent: Option<Agent>,
    /// When to start it again, and how long to wait the next time.
    due: Option<Instant>,
    pause: Duration,
    /// Whether every rule has been complete once.
    pub(super) configured: bool,
    /// Whether the agent goes on once configured, for rules that watch.
    pub(super) stays: bool,
    /// Whether the agent there is reads logs and metrics.
    reads: bool,
    /// Whether it is there for that alone.
    only_reads: bool,
    /// Whether the container comes to its end, and no rule is to be applied any more.
    wanes: bool,
    /// What the agents have done.
    past: Past,
    /// Process group of the handler at work; 0 if there is none.
    handler: i32,
}

impl Keeper {
    pub(super) fn new() -> Self {
        Self {
            agent: None,
            due: None,
            pause: FIRST_PAUSE,
            configured: false,
            stays: false,
            reads: false,
            only_reads: false,
            wanes: false,
            past: Past::default(),
            handler: 0,
        }
    }

    /// The agent's pid, if there is one.
    pub(super) fn pid(&self) -> Option<i32> {
        Some(self.agent.as_ref()?.pid)
    }

    /// The agent's socket, if there is one.
    pub(super) fn link(&self) -> Option<&OwnedFd> {
        Some(&self.agent.as_ref()?.link)
    }

    /// Through which the agent is to be asked, if it goes on to be there.
    pub(super) fn to_ask(&self) -> Option<&OwnedFd> {
        let goes_on = !self.configured || self.stays || self.only_reads;
        self.link().filter(|_| goes_on)
    }

    /// Whether there is no agent, nor is one about to be started.
    pub(super) fn is_idle(&self) -> bool {
        self.agent.is_none() && self.due.is_none()
    }

    /// Whether another agent would have rules to apply.
    fn has_rules(&self) -> bool {
        !self.wanes && (!self.configured || self.stays)
    }

    /// What there is of an agent, in the words of the status document.
    pub(super) fn state(&self) -> &'static str {
        match (&self.agent, self.due) {
            (Some(_), _) => "running",
            (None, Some(_)) => "starting",
            (None, None) => "none",
        }
    }

    /// When something is to be done.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Has the agent come to an end: at once when it sees that we let go of it, or, if it reads logs, when
    /// nobody is left to write any.
    pub(super) fn wane(&mut self) {
        self.wanes = true;
        self.due = None;
        if self.reads && self.link().is_some_and(|link| link::wane(link).is_ok()) {
            return;
        }
        self.agent = None;
    }

    /// The agent's pid, if it is to outlive what else is left of the container.
    pub(super) fn spared(&self) -> Option<i32> {
        self.pid().filter(|_| self.reads)
    }

    /// Takes note that it has ended where nobody asked how.
    pub(super) fn is_lost(&mut self) {
        self.agent = None;
    }

    /// Makes room for everything that may still have to be remembered.
    pub(super) fn settle(&mut self) {
        self.past.settle();
    }

    fn schedule(&mut self) {
        self.due = Some(Instant::now() + self.pause);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }
}

impl Init {
    pub(super) fn start_agent(&mut self) {
        self.keeper.due = None;
        self.keeper.reads = self.intake.is_any();
        self.keeper.only_reads = !self.keeper.has_rules();
        ledger::share();
        // What is shared with the agent is its to hear of from here on.
        self.intake.disarm();
        let started = link::pair().and_then(|(own, theirs)| {
            sys::signal_when_readable(own.as_fd())?;
            Ok((sys::fork()?, own, theirs))
        });
        match started {
            Ok((Fork::Child, own, theirs)) => {
                sys::unseal();
                drop(own);
                self.become_agent(theirs)
            }
            Ok((Fork::Parent(pid), own, _)) => {
                debug!(pid, "agent started");
                ledger::add(Count::AgentStarts, 1);
                self.keeper.agent = Some(Agent {
                    pid,
                    link: own,
                    started: Instant::now(),
                });
            }
            Err(error) => {
                let pause = self.keeper.pause;
                error!(
                    "cannot start the agent: {}; trying again in {pause:?}",
                    error.desc()
                );
                self.keeper.schedule();
            }
        }
    }

    pub(super) fn start_agent_if_due(&mut self) {
        if self.keeper.due.is_some_and(|due| due <= Instant::now()) {
            self.start_agent();
        }
    }

    /// The child's side: a process like any other, with its own signals and no stdin, which is the
    /// command's. What it prints by mistake goes to stderr.
    fn become_agent(&self, link: OwnedFd) -> ! {
        log::may_wait();
        let inputs = self.intake.inputs();
        let stdout = sys::stdout().try_clone_to_owned().ok();
        let stdout = stdout.filter(|_| !self.settings.data.stdout.is_empty());
        // Away from the terminal's foreground: its ^C is for init to judge.
        let _ = setpgid(Pid::from_raw(0), Pid::from_raw(0));
        sys::ignore_terminal_stops();
        sys::detach_stdin();
        sys::redirect(2, 1);
        // Whatever else was inherited is the command's, too.
        let [logs, metrics] = self.intake.descriptors();
        sys::close_all_but(&[Some(&link), stdout.as_ref(), logs, metrics]);
        log::install_panic_hook(agent::PANICKED);
        if self.keeper.reads {
            // Everybody else is about to be ended: until it takes that signal for itself it means nothing.
            sys::set_ignored(libc::SIGTERM, true);
        }
        sys::set_mask(&SignalSet::none());
        let circumstances = Circumstances {
            started: self.started,
            resumed: self.keeper.configured,
            has_rules: self.keeper.has_rules(),
            past: self.keeper.past.clone(),
            inputs,
            stdout,
            command: self.command.name.to_string_lossy().into_owned(),
        };
        sys::exit_now(agent::run(&self.settings, link, circumstances))
    }

    /// Decides what the end of an agent means; after the command has started it is never final.
    ///
    /// # Errors
    /// The exit code of an agent that is not to be started again.
    pub(super) fn agent_ended(&mut self, exit: Exit) -> Result<(), u8> {
        let keeper = &mut self.keeper;
        let agent = keeper.agent.take();
        // A handler's leader went with its agent; what it has started would work on beside its successor.
        match std::mem::take(&mut keeper.handler) {
            0 => {}
            group => drop(sys::kill(-group, libc::SIGKILL)),
        }
        if keeper.configured && !keeper.stays && !keeper.only_reads {
            // It is done, and whoever writes from now on gets another.
            self.intake.arm();
            self.take_in();
            return Ok(());
        }
        match exit {
            // It has said why.
            Exit::Code(code @ (exit::USAGE | exit::UNAVAILABLE | exit::FAILED | exit::CONFIG))
                if !keeper.configured =>
            {
                Err(code)
            }
            _ => {
                if agent.is_some_and(|agent| agent.started.elapsed() > SETTLED) {
                    keeper.pause = FIRST_PAUSE;
                }
                let pause = keeper.pause;
                if exit == Exit::Code(agent::LOOPS) {
                    let limit = self.settings.agent_cpu.unwrap_or_default();
                    error!(
                        "the agent has used {limit:?} of processor time without coming to rest, the limit set by `disco.agent_cpu`"
                    );
                }
                let hint = match exit {
                    // What Rust does where memory cannot be had.
                    Exit::Signal(number) if i32::from(number) == libc::SIGABRT => {
                        "; it may have reached `disco.agent_memory`"
                    }
                    _ => "",
                };
                error!("the agent is gone ({exit}{hint}); starting it again in {pause:?}");
                keeper.schedule();
                Ok(())
            }
        }
    }

    /// Waits for an agent that has said that it is done, since nobody else will reap it.
    ///
    /// # Errors
    /// The exit code where waiting is not possible.
    pub(super) fn await_agent(&mut self) -> Result<(), u8> {
        let mut deadline = Instant::now() + GRACE;
        while let Some(pid) = self.keeper.pid() {
            if self.reap().agent.is_some() {
                self.keeper.agent = None;
                return Ok(());
            }
            if Instant::now() >= deadline {
                let _ = sys::kill(pid, libc::SIGKILL);
                deadline += GRACE;
            }
            self.wait(&OWN, Some(deadline))?;
        }
        Ok(())
    }

    /// Has the agent read what is left, and waits for its end, as long as it gets on and until the time is
    /// up; whoever asks to stop makes that sooner. Returns whether that is the end of it, and not of an agent
    /// that died over it.
    pub(super) fn finish_agent(&mut self) -> bool {
        let patience = self.settings.plan.drain.max(Duration::from_secs(1)) + GRACE;
        let signals = OWN.or(self.settings.plan.stops());
        let start = Instant::now();
        let mut until = start + patience;
        let mut is_asked_again = false;
        let mut is_killed = false;
        if let Some(link) = self.keeper.link() {
            // One that is gone is waited for all the same.
            let _ = link::finish(link);
        }
        if let Some(pid) = self.keeper.pid() {
            // A stopped one would be waited for in vain.
            let _ = sys::kill(pid, libc::SIGCONT);
        }
        while let Some(pid) = self.keeper.pid() {
            if let Some(exit) = self.reap().agent {
                self.keeper.agent = None;
                return is_killed || matches!(exit, Exit::Code(code) if code != agent::PANICKED);
            }
            while let Some(message) = self.keeper.link().and_then(link::take) {
                if message == Message::Progress && !is_killed {
                    until = Instant::now() + patience;
                }
            }
            let least = start + LEAST;
            let limit = match self.service.deadline {
                _ if is_killed => until,
                _ if is_asked_again => least,
                Some(deadline) => deadline.max(least).min(until),
                None => until,
            };
            if Instant::now() >= limit && is_killed {
                self.keeper.agent = None;
                return true;
            } else if Instant::now() >= limit {
                warn!("the log of the container is not all written in time: the rest is lost");
                is_killed = true;
                let _ = sys::kill(pid, libc::SIGKILL);
                until = Instant::now() + GRACE;
                continue;
            }
            match self.wait(&signals, Some(limit)) {
                Ok(Some(received)) if self.settings.plan.is_stop(received.number) => {
                    is_asked_again |= self.service.stopping;
                    if !self.service.stopping {
                        self.ask_to_stop(None);
                    }
                }
                Ok(_) => {}
                Err(_) => return true,
            }
        }
        true
    }

    /// Takes in what the agent has said.
    pub(super) fn obey_agent(&mut self) {
        while let Some(message) = self.keeper.link().and_then(link::take) {
            match message {
                Message::Configured(stays) => {
                    self.keeper.configured = true;
                    self.keeper.stays = stays == Stays::ToWatch;
                    self.keeper.only_reads = stays == Stays::ToRead;
                }
                Message::Begun(rule, fingerprint) => self.keeper.past.begun(rule, fingerprint),
                Message::Applied(rule, fingerprint) => self.keeper.past.applied(rule, fingerprint),
                Message::Handler(group) => self.keeper.handler = group,
                Message::Signal(number) => {
                    if !self.service.stopping && self.service.pid().is_some() {
                        info!("a rule sends {} to the command", Name(number));
                        self.send(number, None);
                    }
                }
                Message::Restart => self.restart_by_rule(),
                // Only who waits for the end cares.
                Message::Progress => {}
            }
        }
    }
}

/// A stopped agent looks alive and does nothing.
pub(super) fn report_stopped(pid: i32, number: i32) {
    warn!(
        "the agent was stopped by {}: changes are not seen until `kill -CONT {pid}`",
        Name(number)
    );
}
