//! The command while it runs: signals forwarded, stops followed, ended and started again.
//!
//! From the first start on nothing here allocates. What remains when the command is gone for good is
//! [`super::leftovers`]'.

use std::cell::Cell;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use tracing::{debug, error, info, warn};

use super::Init;
use super::command::Why;
use super::hooks::Reason;
use super::phase::Phase;
use super::plan::{Plan, Session, Suspend, When};
use super::relay::Relay;
use super::spawn::{self, Start, Started};
use super::terminal::Terminal;
use super::voice::Event;
use crate::contract::exit::{self, Exit};
use crate::disco::ledger::{self, Count};
use crate::disco::log;
use crate::sys::{self, Received, SignalSet, TERMINAL_STOPS, proc};

/// From TERM to KILL for a command that a rule restarts, where `disco.stop_timeout` says nothing.
const RESTART_GRACE: Duration = Duration::from_secs(10);

/// How long after the start init gives back the memory that only the start took.
const TIDY: Duration = Duration::from_secs(1);

/// After so many signals in a row init looks after its children in any case.
const FLOOD: u8 = 16;

/// How long what was killed may take to go, before the next instance is started beside it.
const KILLED: Duration = Duration::from_secs(2);

/// Where the command is in its life.
enum State {
    /// It has not been started yet, or there is none to start.
    Idle,
    /// It runs.
    Running(Started),
    /// It has ended and is to be started again once its process group is empty; at that time what is left
    /// of it is killed, or, if it has been, left to itself.
    Clearing { until: Instant, killed: bool },
    /// It is started again when the pause is over.
    Pausing,
    /// It has ended for good; with this code disco ends.
    Over(u8),
}

/// Why a command may have to be started again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// It has ended.
    End,
    /// It has ended because a rule wants it started again.
    Rule,
    /// It could not be started for want of processes, descriptors or memory, which may pass.
    Limit,
}

/// The command as init sees it.
pub(super) struct Service {
    state: State,
    /// The process group of the instance that was started last; 0 if there was none.
    pub(super) group: i32,
    started: Instant,
    /// How many instances were started.
    starts: u32,
    /// How the instance before ended.
    ended: Option<Exit>,
    /// Whether no instance has run yet.
    is_first: bool,
    /// How often it was started again in a row, and the next pause.
    row: u32,
    pause: Duration,
    /// When the pause is over.
    next: Instant,
    /// The status to leave with should it not be started again.
    last: u8,
    pub(super) terminal: Option<Terminal>,
    /// Where the log goes if stderr is a terminal, on which no write may wait.
    log: Option<OwnedFd>,
    /// Whether the command leads a session of its own.
    pub(super) has_session: bool,
    /// The signals that this instance was sent.
    sent: Cell<SignalSet>,
    /// Whether a signal that stops was forwarded, and not yet one that continues.
    pub(super) may_stop: bool,
    /// Whether we have stopped with the command, and wait for SIGCONT.
    pub(super) suspended: bool,
    /// Set while a rule's restart is under way.
    restarting: bool,
    /// Set for good once somebody has asked disco to end the command.
    pub(super) stopping: bool,
    /// The signal by which it was asked, as it was sent.
    asked: Option<i32>,
    /// When everything must be over, once somebody has asked for it.
    pub(super) deadline: Option<Instant>,
    /// When the command gets KILL.
    kill_at: Option<Instant>,
    /// Who holds the command's output to the contract.
    pub(super) relay: Option<Relay>,
}

/// The command as others see it.
pub(super) struct View {
    /// `waiting`, `starting`, `running`, `restarting` or `ended`.
    pub(super) state: &'static str,
    /// Its pid, while it runs.
    pub(super) pid: Option<i32>,
    /// Since when this instance runs.
    pub(super) uptime: Option<Duration>,
    /// How often it was started again.
    pub(super) restarts: u32,
    /// How the instance before ended.
    pub(super) last_exit: Option<Exit>,
    /// Whether it has ended, or is asked to, to be started again.
    pub(super) is_restarting: bool,
}

impl Service {
    pub(super) fn new() -> Self {
        Self {
            state: State::Idle,
            group: 0,
            started: Instant::now(),
            starts: 0,
            ended: None,
            is_first: true,
            row: 0,
            pause: Duration::ZERO,
            next: Instant::now(),
            last: 0,
            terminal: None,
            log: None,
            has_session: false,
            sent: Cell::new(SignalSet::none()),
            may_stop: false,
            suspended: false,
            restarting: false,
            stopping: false,
            asked: None,
            deadline: None,
            kill_at: None,
            relay: None,
        }
    }

    /// The pid of the command, while it runs.
    pub(super) fn pid(&self) -> Option<i32> {
        match &self.state {
            State::Running(started) => Some(started.pid),
            _ => None,
        }
    }

    /// Whether an instance runs that has been executed.
    pub(super) fn is_executed(&self) -> bool {
        matches!(&self.state, State::Running(started) if started.is_up())
    }

    /// What the status document says of it.
    pub(super) fn view(&self) -> View {
        let (state, is_between) = match &self.state {
            State::Idle => ("waiting", false),
            State::Running(started) if started.is_up() => ("running", false),
            State::Running(_) => ("starting", false),
            State::Clearing { .. } | State::Pausing => ("restarting", true),
            State::Over(_) => ("ended", false),
        };
        View {
            state,
            pid: self.pid(),
            uptime: self.pid().map(|_| self.started.elapsed()),
            restarts: self.starts.saturating_sub(1),
            last_exit: self.ended,
            is_restarting: self.restarting || is_between,
        }
    }

    /// Sends a signal to the process group of the command. Returns whether anybody got it.
    pub(super) fn signal_group(&self, number: i32) -> bool {
        self.group > 0 && sys::kill(-self.group, number).is_ok()
    }

    /// Sets everything that follows from a request to stop; `asked` is the signal as it was sent to the
    /// command, if that runs.
    pub(super) fn ask_to_stop(&mut self, plan: &Plan, asked: Option<i32>, reserve: Duration) {
        self.stopping = true;
        self.asked = asked;
        // Whatever a rule wanted before, and the time that it gave.
        self.restarting = false;
        self.deadline = plan.stop_deadline();
        // What runs after the command gets its share of the time.
        self.kill_at = self
            .deadline
            .map(|at| at.checked_sub(reserve).unwrap_or(at));
    }

    fn terminal_descriptor(&self) -> Option<&OwnedFd> {
        self.terminal.as_ref()?.opened()
    }

    fn due(&self) -> Option<Instant> {
        let state = match self.state {
            State::Clearing { until, .. } => Some(until),
            State::Pausing => Some(self.next),
            _ => None,
        };
        [state, self.kill_at].into_iter().flatten().min()
    }
}

impl Init {
    /// Runs the command as a child, again and again if that is wanted, to its end.
    pub(super) fn supervise(&mut self) -> u8 {
        self.settle();
        self.phase = Phase::Running;
        // Once, when it is worth it: a short command would only wait for pages to come back.
        let mut tidy_at = Some(Instant::now() + TIDY);
        let mut ports_at = self.ports_due();
        let mut in_a_row = 0_u8;
        loop {
            if tidy_at.is_some_and(|at| at <= Instant::now()) {
                tidy_at = self.tidy();
            }
            if ports_at.is_some_and(|at| at <= Instant::now()) {
                ports_at = None;
                self.report_ports();
            }
            if let State::Over(code) = self.service.state {
                return self.end(code);
            }
            self.show_readiness();
            let due = [
                self.keeper.due(),
                self.service.due(),
                self.door.due,
                self.readiness.due,
                self.hooks.follow(),
                tidy_at,
                ports_at,
            ];
            let due = due.into_iter().flatten().min();
            let signals = match self.service.state {
                State::Running(_) => SignalSet::all(),
                // Real-time signals are messages: they wait for the next instance, in order.
                _ => SignalSet::standard().and(self.settings.plan.stop_signal),
            };
            match self.wait(&signals, due) {
                Ok(Some(received)) => {
                    self.signalled(received);
                    // The queue gives low numbers first: a flood of one must not hide a child's end. Nor
                    // must a SIGIO that somebody sent hide the agent's.
                    in_a_row = in_a_row.wrapping_add(1);
                    let is_late =
                        self.late.command.is_some() || self.late.command_stopped.is_some();
                    if in_a_row.is_multiple_of(FLOOD) || received.number == libc::SIGIO || is_late {
                        self.look_around();
                    }
                }
                // A child, the agent, or the time.
                Ok(None) => self.look_around(),
                Err(code) => self.service.state = State::Over(code),
            }
        }
    }

    /// Prepares for everything that will ever need memory, then starts the command.
    fn settle(&mut self) {
        self.service.terminal = Terminal::find();
        self.service.pause = self.settings.plan.restart.delay;
        if self.keeper.stays {
            self.keeper.settle();
        }
        self.service.has_session = match self.settings.plan.session {
            Session::Auto => self.service.terminal.is_none(),
            Session::Always => true,
            Session::Never => false,
        };
        if self.settings.plan.session == Session::Always && sys::leave_terminal() {
            // What this sends to us is not for the command (pid1 27).
            let both = SignalSet::none().and(libc::SIGHUP).and(libc::SIGCONT);
            while let Ok(Some(received)) = sys::wait_signal(&both, Some(Duration::ZERO)) {
                (self.settings.plan.speak)(&Event::HandOff(received.number));
            }
        }
        self.service.log = log::never_wait();
        // What is there already is read from the start; of what comes later we hear.
        self.take_in();
        if !self.settings.plan.pause {
            self.start_command();
        }
        // Beside the command, which need not wait for it.
        let status = &self.settings.status;
        self.door.open_beside_command(status, self.is_pid_1);
        sys::seal();
        if !self.may_start_again() {
            // The command has its own; a mount or a socket that init held could never be given up.
            let report = match &self.service.state {
                State::Running(started) => Some(started.report()),
                _ => None,
            };
            let [notify, outer] = self.readiness.descriptors();
            let [logs, metrics] = self.intake.descriptors();
            let kept = [
                report,
                self.keeper.link(),
                self.service.terminal_descriptor(),
                self.service.log.as_ref(),
                self.hooks.pipe(),
                self.service.relay.as_ref().map(Relay::verdict),
                self.door.listener(),
                notify,
                outer,
                logs,
                metrics,
            ];
            sys::close_all_but(&kept);
        }
        if self.command.is_found_anywhere() {
            self.leave_directory();
        }
    }

    /// Gives up what only the start took. Returns when to try again, if it is too early: as long as
    /// the command is not executed yet, a relative path may still have to be explained.
    fn tidy(&mut self) -> Option<Instant> {
        if let State::Running(started) = &self.service.state
            && !started.is_executed()
        {
            return Some(Instant::now() + TIDY);
        }
        self.leave_directory();
        self.is_to_rest = true;
        None
    }

    /// Pins no mount by being there (conformance pid1 10).
    fn leave_directory(&self) {
        if !self.may_start_again() && !self.hooks.waits() {
            let _ = nix::unistd::chdir(c"/");
        }
    }

    /// Whether init will have to start anything again, in the place and with the descriptors that it
    /// was given.
    fn may_start_again(&self) -> bool {
        self.settings.plan.restart.when != When::Never || self.keeper.stays
    }

    fn start_command(&mut self) {
        self.hooks.begun = true;
        let stdout = self.start_relay();
        let (plan, service) = (&self.settings.plan, &mut self.service);
        let terminal = service.terminal.as_ref();
        let how = Start {
            inherited: &self.inherited,
            // Ours to give if it is with us, or with the instance before.
            terminal: terminal.filter(|terminal| terminal.is_ours() || service.is_in_front()),
            session: service.has_session,
            death: plan.command_death,
            stdout,
        };
        service.started = Instant::now();
        service.sent.set(SignalSet::none());
        self.readiness.renew();
        match spawn::start(&mut self.command, &how) {
            Ok(started) => {
                let pid = started.pid;
                service.group = pid;
                service.starts = service.starts.saturating_add(1);
                ledger::add(Count::CommandStarts, 1);
                ledger::set(Count::CommandUp, 1);
                if self.readiness.waits_for_exec() {
                    // Where that fails the file comes with the next signal of any kind.
                    let _ = sys::signal_when_readable(started.report().as_fd());
                }
                service.state = State::Running(started);
                let name = &self.command.name;
                (plan.speak)(&Event::Spawned { name, pid });
                if std::mem::take(&mut self.owes_sigio) {
                    self.send(libc::SIGIO, None);
                }
            }
            Err(failure) => {
                (plan.speak)(&Event::CannotExecute(&failure));
                let code = failure.code(&plan.codes);
                self.start_again_or_end(code, Cause::Limit);
            }
        }
    }

    /// Looks after children and after the time.
    fn look_around(&mut self) {
        let mut news = self.look_after_children();
        let late = std::mem::take(&mut self.late);
        news.command = late.command.or(news.command);
        news.command_stopped = late.command_stopped.or(news.command_stopped);
        if let Some(exit) = news.agent {
            // With the command once started no end of an agent is final.
            let _ = self.agent_ended(exit);
        }
        self.start_agent_if_due();
        self.attend();
        match (news.command, news.command_stopped) {
            (Some(exit), _) => self.command_ended(exit),
            (None, Some(number)) => self.command_stopped(number),
            (None, None) => {}
        }
        let now = Instant::now();
        if let State::Clearing { until, killed } = self.service.state {
            if !self.service.signal_group(0) {
                self.pause();
            } else if until <= now && killed {
                warn!("what the command has left behind cannot be killed; going on beside it");
                self.pause();
            } else if until <= now {
                warn!("killing what the command has left behind");
                self.service.signal_group(libc::SIGKILL);
                self.service.state = State::Clearing {
                    until: now + KILLED,
                    killed: true,
                };
            }
        }
        if matches!(self.service.state, State::Pausing) && self.service.next <= now {
            self.start_command();
        }
        if self.service.kill_at.is_some_and(|at| at <= now) {
            warn!("the command did not end in time; killing it and its process group");
            if self.service.stopping {
                self.reason = Some(Reason::Killed);
            }
            self.kill_command();
        }
    }

    /// A signal from outside, or from the terminal.
    fn signalled(&mut self, received: Received) {
        let (plan, number) = (&self.settings.plan, received.number);
        let is_stop = plan.is_stop(number);
        if self.service.pid().is_none() {
            if is_stop {
                info!("asked to stop by {received} while the command does not run");
                self.ask_to_stop(None);
                self.service.state = State::Over(self.service.last);
            } else {
                // An instance that has yet to read its configuration needs no reload, and would die of it.
                debug!("{received}: dropped, the command does not run");
            }
            return;
        }
        (plan.speak)(&Event::Received(received));
        if number == libc::SIGIO {
            self.owes_sigio = false;
        }
        if is_stop && self.service.stopping && plan.second_stop_kills {
            warn!("asked to stop again, by {received}: killing the command");
            self.kill_command();
            return;
        }
        if number == libc::SIGCONT {
            self.continued();
        }
        let plan = &self.settings.plan;
        match plan.rewrite.get(number) {
            Some(to) => self.forward(received, to),
            None => (plan.speak)(&Event::Dropped(number)),
        }
        let plan = &self.settings.plan;
        if TERMINAL_STOPS.contains(&number) {
            self.service.may_stop = true;
            if plan.suspend == Suspend::Always {
                (plan.speak)(&Event::Suspending);
                self.service.suspended = true;
                // As PID 1 the kernel drops it.
                let _ = sys::kill(sys::own_pid(), libc::SIGSTOP);
            }
        }
    }

    fn forward(&mut self, received: Received, to: i32) {
        let plan = &self.settings.plan;
        let from = received.number;
        if to != from {
            (plan.speak)(&Event::Rewritten { from, to });
        }
        let number = self.that_stops(to);
        let asks = plan.is_stop(from) && !self.service.stopping;
        if asks && self.hooks.comes_before_the_stop() {
            (plan.speak)(&Event::Stopping(received));
            self.ask_to_stop(Some(number));
            self.shut_down_before();
            // It may have ended meanwhile, and its pid be another's.
            if self.late.command.is_none() {
                self.send(number, received.value);
            }
            return;
        }
        self.send(number, received.value);
        (plan.speak)(&Event::Forwarded { number, received });
        if asks {
            (plan.speak)(&Event::Stopping(received));
            self.ask_to_stop(Some(number));
        }
    }

    /// Sends a signal to the command, or to its process group if that is wanted.
    pub(super) fn send(&self, number: i32, value: Option<usize>) {
        let (plan, Some(pid)) = (&self.settings.plan, self.service.pid()) else {
            return;
        };
        self.service.sent.set(self.service.sent.get().and(number));
        let sent = match value {
            // A child that has yet to make its group is alone in it (pid1 22).
            _ if plan.group => sys::kill(-pid, number).or_else(|_| sys::kill(pid, number)),
            Some(value) => sys::queue(pid, number, value).or_else(|_| sys::kill(pid, number)),
            None => sys::kill(pid, number),
        };
        match sent {
            Ok(()) => {}
            Err(Errno::ESRCH) => (plan.speak)(&Event::Gone(number)),
            Err(error) => (plan.speak)(&Event::CannotSend { number, error }),
        }
    }

    fn command_ended(&mut self, exit: Exit) {
        let (plan, service) = (&self.settings.plan, &mut self.service);
        let State::Running(started) = std::mem::replace(&mut service.state, State::Idle) else {
            return;
        };
        ledger::set(Count::CommandUp, 0);
        service.kill_at = None;
        let by_rule = std::mem::take(&mut service.restarting);
        service.ended = Some(exit);
        if exit == Exit::Code(spawn::NOT_EXECUTED)
            && let Some(failure) = started.failure(&self.command)
        {
            let may_pass = matches!(failure.why, Why::NotStarted(_));
            if !may_pass {
                // There is nothing left to be kept alive: to say in full what is wrong may take memory.
                sys::unseal();
            }
            (plan.speak)(&Event::CannotExecute(&failure));
            self.reason = (!may_pass).then_some(Reason::NotExecuted);
            let code = match failure.code(&plan.codes) {
                code if plan.codes.mapped => plan.exit_map.status(Exit::Code(code), None),
                code => code,
            };
            if may_pass && !service.stopping {
                self.start_again_or_end(code, Cause::Limit);
            } else {
                service.state = State::Over(code);
            }
            return;
        }
        service.is_first = false;
        // Ended by the terminal's keys and not by a signal of ours: somebody wants the end.
        let by_keys = [libc::SIGINT, libc::SIGQUIT].map(|number| Exit::by_signal(number).status());
        let by_hand = by_keys.contains(&exit.status()) && service.is_in_front();
        if let Exit::Signal(number) = exit
            && !by_hand
            && !service.sent.get().contains(number.into())
        {
            let out_of_memory = self.is_pid_1.then(proc::out_of_memory_kills).flatten();
            (plan.speak)(&Event::Killed {
                exit,
                out_of_memory: out_of_memory.unwrap_or(0),
            });
        }
        let service = &mut self.service;
        let status = self.settings.plan.exit_map.status(exit, service.asked);
        if service.stopping || by_hand {
            service.state = State::Over(status);
        } else {
            let cause = if by_rule { Cause::Rule } else { Cause::End };
            self.start_again_or_end(status, cause);
        }
    }

    /// Starts the command again, soon, or ends with `status`, as the policy or a rule has it.
    fn start_again_or_end(&mut self, status: u8, cause: Cause) {
        let (policy, service) = (self.settings.plan.restart, &mut self.service);
        service.last = status;
        let by_policy = match policy.when {
            When::Never => false,
            When::OnFailure => status != 0,
            When::Always => true,
        };
        if cause == Cause::Rule {
            service.next = Instant::now();
            info!("the command has ended with {status} and is started again");
        } else if by_policy {
            if service.started.elapsed() >= policy.reset {
                service.row = 0;
                service.pause = policy.delay;
            }
            if policy.limit > 0 && service.row >= policy.limit {
                error!(
                    "the command has ended with {status}; restarts in a row: {}, the limit set by `disco.restart` or `disco.restart_limit`",
                    service.row
                );
                // An end that nobody asked for is no success.
                let code = if status == 0 { exit::FAILED } else { status };
                service.state = State::Over(code);
                return;
            }
            service.row += 1;
            let pause = service.pause;
            service.next = Instant::now() + pause;
            service.pause = (pause * 2).min(policy.max_delay);
            warn!("the command has ended with {status}; starting it again in {pause:?}");
        } else if cause == Cause::Limit && !service.is_first {
            // A rule has ended the one before, which ran: nobody wants the container to end by that.
            let pause = service.pause;
            service.next = Instant::now() + pause;
            service.pause = (pause * 2).min(policy.max_delay);
            warn!("trying to start the command again in {pause:?}");
        } else {
            service.state = State::Over(status);
            return;
        }
        // What the ended one leaves behind goes first: its ports and files are wanted.
        if service.signal_group(libc::SIGTERM) {
            service.signal_group(libc::SIGCONT);
            service.state = State::Clearing {
                until: Instant::now() + self.settings.plan.drain,
                killed: false,
            };
        } else {
            self.pause();
        }
    }

    fn pause(&mut self) {
        self.service.state = State::Pausing;
        if self.service.next <= Instant::now() {
            self.start_command();
        }
    }

    /// A rule wants the command to be started again.
    pub(super) fn restart_by_rule(&mut self) {
        if self.service.stopping || self.service.pid().is_none() {
            return;
        }
        info!("a rule restarts the command");
        let (plan, service) = (&self.settings.plan, &mut self.service);
        service.restarting = true;
        let grace = plan.stop_timeout.unwrap_or(RESTART_GRACE);
        service
            .kill_at
            .get_or_insert_with(|| Instant::now() + grace);
        self.send(plan.stop_signal, None);
    }

    fn kill_command(&mut self) {
        self.service.kill_at = None;
        if self.service.pid().is_some() {
            self.service.signal_group(libc::SIGKILL);
            self.send(libc::SIGKILL, None);
        }
    }
}
