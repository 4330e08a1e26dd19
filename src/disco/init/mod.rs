//! PID 1: starts the agent and the command, forwards signals, reaps, leaves with the command's status.
//!
//! One thread that waits in one place, for signals: children tell by SIGCHLD, the agent's socket by
//! SIGIO, everything else is there to be forwarded. All of them are blocked from the first
//! instruction on and taken from the queue, so that none is lost, and no handler ever runs. Nothing
//! here parses, resolves or connects; that is the agent's, which may crash without harm.
//!
//! Invariants:
//! - one thread, so that forking is safe;
//! - only this module waits for children of init;
//! - after the command has started nothing allocates ([`sys::seal`]; a build with debug assertions
//!   ends at once where it does), and every failure is a log line, never an end;
//! - a line that cannot be written without waiting is counted and dropped ([`log::never_wait`]).
//!
//! [`plan`] says how the command is to be treated; `supervise` does so, `jobs` as far as a
//! terminal is concerned; `hooks` runs what comes before and after the command, `relay` holds its
//! output to the contract; `keeper` looks after the agent, [`leftovers`] after what remains at the
//! end; `intake` holds what logs and metrics are written into; `door` answers whoever asks how it is,
//! `ready` knows whether the command is ready.

pub mod command;
pub mod context;
mod door;
mod follow;
mod hooks;
mod inherited;
mod intake;
mod jobs;
mod keeper;
pub mod leftovers;
pub mod phase;
pub mod plan;
mod ports;
mod ready;
mod relay;
pub mod spawn;
mod supervise;
pub mod terminal;
pub mod voice;

use std::ffi::OsString;
use std::time::{Duration, Instant};

pub use inherited::Inherited;
use tracing::{debug, error, info, warn};

use self::command::{Command, Environment};
use self::context::ExecContext;
use self::door::Door;
use self::hooks::{Hooks, Reason};
use self::intake::Intake;
use self::keeper::Keeper;
use self::phase::Phase;
use self::plan::{Rest, Subreaper};
use self::ready::Readiness;
use self::supervise::Service;
use self::voice::Event;
use super::contract::Duties;
use super::layers;
use super::ledger::{self, Count};
use super::log;
use super::settings::{self, Mode, Settings};
use crate::contract::exit::{self, Exit};
use crate::contract::problem::Problem;
use crate::sys::{self, Reaped, Received, SignalSet};

/// What ends disco while there is no command yet, beside the stop signal.
const ENDING: &[i32] = &[libc::SIGTERM, libc::SIGINT, libc::SIGQUIT, libc::SIGHUP];

/// Signals by which init hears of its children and of the agent's socket.
const OWN: SignalSet = SignalSet::none().and(libc::SIGCHLD).and(libc::SIGIO);

/// What has happened to those children that init knows.
#[derive(Default)]
struct News {
    command: Option<Exit>,
    /// The signal that stopped it.
    command_stopped: Option<i32>,
    agent: Option<Exit>,
}

struct Init {
    settings: Settings,
    duties: Duties,
    command: Command,
    hooks: Hooks,
    inherited: Inherited,
    started: Instant,
    is_pid_1: bool,
    /// Whether we have made ourselves the parent of orphans.
    adopts: bool,
    keeper: Keeper,
    intake: Intake,
    service: Service,
    /// What happened to the command while a hook was attended to.
    late: News,
    /// Why disco ends, where it is disco that does.
    reason: Option<Reason>,
    door: Door,
    readiness: Readiness,
    phase: Phase,
    /// Whether the code that only the start took is to be given back before the next wait: as late as
    /// can be, since what runs after that comes back.
    is_to_rest: bool,
    /// Whether a descriptor of ours has something to read, or may have: a SIGIO stands for all.
    has_input: bool,
    /// Whether a SIGIO that a process sent was taken from the queue while there was no command; all
    /// other signals stay there, the real-time ones in order and number.
    owes_sigio: bool,
}

/// Runs the container to its end and returns the exit code; in exec mode it does not return.
#[must_use]
pub fn run(
    settings: Settings,
    argv: Vec<OsString>,
    duties: Duties,
    inherited: Inherited,
    started: Instant,
) -> u8 {
    let is_pid_1 = sys::own_pid() == 1;
    let mut context = match ExecContext::resolve(&settings.exec) {
        Ok(context) => context,
        Err(problems) => return settings::refuse(&problems),
    };
    let (readiness, address) = match Readiness::new(&settings) {
        Ok(made) => made,
        Err(error) => {
            let message = format!("there is no socket to be had: {}", error.desc());
            return settings::refuse(&[Problem::new(message).at_key("disco.notify")]);
        }
    };
    if let Some(address) = address {
        context.set_variable(ready::VARIABLE, address);
    }
    let wants_agent = !settings.sources.is_empty() || layers::has_rules(&settings.path);
    if !wants_agent && settings.has_own_path {
        warn!("{}", layers::no_rules(&settings.path));
    } else if !wants_agent {
        debug!("neither a source nor a rule is there: nothing to configure");
    }
    let shown = wants_agent.then(|| log::list(argv.iter().map(|word| word.to_string_lossy())));
    let hooks = Hooks::new(&duties, &settings, &context);
    let environment = match &duties.environment {
        _ if settings.plan.pass_settings => Environment::Whole,
        Some(all) => Environment::These(all),
        None => Environment::Own,
    };
    let workdir = settings.exec.workdir.as_deref();
    let command = Command::new(argv, context, workdir, environment);
    let mut init = Init {
        settings,
        duties,
        command,
        hooks,
        inherited,
        started,
        is_pid_1,
        adopts: false,
        keeper: Keeper::new(),
        intake: Intake::default(),
        service: Service::new(),
        late: News::default(),
        reason: None,
        door: Door::default(),
        readiness,
        phase: Phase::Waiting,
        is_to_rest: false,
        has_input: false,
        owes_sigio: false,
    };
    if (wants_agent || init.hooks.are_any())
        && let Err(code) = init.find_programs()
    {
        init.readiness.end();
        return code;
    }
    let supervises_anyway = match init.settings.mode {
        Mode::Supervise => true,
        Mode::Exec => false,
        Mode::Auto => is_pid_1 || init.settings.wants_init() || init.duties.must_stay().is_some(),
    };
    init.tie(wants_agent || supervises_anyway || init.duties.startup.is_some());
    init.keeper.configured = !wants_agent;
    if supervises_anyway {
        init.intake = Intake::open(&init.settings, is_pid_1);
        init.intake.arm();
    }
    if wants_agent && let Err(code) = init.configure() {
        return init.end(code);
    }
    if let Err(code) = init.start_up() {
        return init.end(code);
    }
    if let Some(shown) = shown {
        info!("Exec {shown}");
    }
    let stays = init.keeper.stays || init.hooks.pipe().is_some();
    let watches = init.settings.mode == Mode::Auto && stays;
    if supervises_anyway || watches {
        init.supervise()
    } else {
        init.exec()
    }
}

impl Init {
    /// Ties this process to its parent, and orphans to this process.
    fn tie(&mut self, needs_orphans: bool) {
        let plan = &self.settings.plan;
        if let Some(number) = plan.parent_death {
            match sys::set_parent_death(number, sys::parent_pid()) {
                Ok(true) => {}
                // It died before, and nobody else will tell.
                Ok(false) => drop(sys::kill(sys::own_pid(), number)),
                Err(error) => warn!(
                    "cannot have a signal when the parent dies: {}",
                    error.desc()
                ),
            }
        }
        if self.is_pid_1 {
            return;
        }
        match plan.subreaper {
            Subreaper::Never => {}
            Subreaper::Auto if !needs_orphans => {}
            // It may be so by the will of whoever started us, and then remains.
            Subreaper::Auto | Subreaper::Always if sys::is_subreaper() => {}
            Subreaper::Auto | Subreaper::Always if sys::set_subreaper(true) => self.adopts = true,
            other => (plan.speak)(&Event::CannotReap {
                warn: other == Subreaper::Always,
            }),
        }
    }

    /// The signals that end disco while there is no command yet. All others wait for the command.
    fn ending(&self) -> SignalSet {
        let set = ENDING
            .iter()
            .fold(SignalSet::none(), |set, number| set.and(*number));
        set.and(self.settings.plan.stop_signal)
    }

    /// Runs the agent until every rule is complete.
    fn configure(&mut self) -> Result<(), u8> {
        self.door.prepare(&self.settings.status, self.is_pid_1);
        self.door.open();
        self.start_agent();
        // An agent that hangs does not keep its own deadline.
        let limit = self.settings.deadline;
        let grace = self.settings.plan.drain.max(Duration::from_secs(1)) + keeper::GRACE;
        let deadline = limit.map(|limit| self.started + limit + grace);
        let ending = self.ending();
        let signals = OWN.or(ending);
        while !self.keeper.configured {
            let due = [self.keeper.due(), self.door.due, deadline];
            let due = due.into_iter().flatten().min();
            if let Some(received) = self.wait(&signals, due)?
                && ending.contains(received.number)
            {
                info!("{received} while waiting for the configuration: ending");
                self.ask_to_stop(None);
                return Err(Exit::by_signal(received.number).status());
            }
            let news = self.look_after_children();
            if let Some(exit) = news.agent {
                self.agent_ended(exit)?;
            }
            self.start_agent_if_due();
            self.attend();
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                error!(
                    "Unable to configure container before `disco.deadline`: the agent does not answer"
                );
                return Err(exit::UNAVAILABLE);
            }
        }
        Ok(())
    }

    /// Waits for a signal of `set` or for a time. A signal that is our own comes back as none.
    /// Without the call there is no init; a filter that forbids it is the end.
    fn wait(&mut self, set: &SignalSet, until: Option<Instant>) -> Result<Option<Received>, u8> {
        let timeout = until.map(|until| until.saturating_duration_since(Instant::now()));
        if std::mem::take(&mut self.is_to_rest) {
            sys::release_code();
        }
        match sys::wait_signal(set, timeout) {
            Ok(Some(received)) if received.number == libc::SIGCHLD => {
                (self.settings.plan.speak)(&Event::Received(received));
                Ok(None)
            }
            Ok(Some(received)) if received.number == libc::SIGIO => {
                self.has_input = true;
                if received.from_kernel {
                    return Ok(None);
                }
                self.owes_sigio = true;
                Ok(Some(received))
            }
            Ok(received) => Ok(received),
            Err(error) => {
                error!(
                    "cannot wait for signals: {}; a seccomp filter must allow rt_sigtimedwait",
                    error.desc()
                );
                Err(exit::NOT_STARTED)
            }
        }
    }

    /// Listens to the command, and answers those who ask how it is.
    fn attend(&mut self) {
        let has_input = std::mem::take(&mut self.has_input);
        if has_input || self.readiness.due.is_some() {
            self.listen();
        }
        if has_input {
            self.take_in();
        }
        if self.door.is_to_be_opened() {
            self.door.open();
        } else if self.door.listener().is_some() && (has_input || self.door.due.is_some()) {
            self.answer();
        }
    }

    /// Reaps, and obeys the agent.
    fn look_after_children(&mut self) -> News {
        // In this order: an agent may end right after a message, which must not be lost with it.
        let news = self.reap();
        self.obey_agent();
        news
    }

    /// Reaps everything that has ended: coalesced SIGCHLDs mean that one may stand for many (pid1 16).
    fn reap(&mut self) -> News {
        let plan = &self.settings.plan;
        let mut news = News::default();
        loop {
            match sys::reap() {
                Reaped::Ended(pid, exit) if self.service.pid() == Some(pid) => {
                    (plan.speak)(&Event::Ended { pid, exit });
                    news.command = Some(exit);
                }
                Reaped::Ended(pid, exit) if self.keeper.pid() == Some(pid) => {
                    news.agent = Some(exit);
                }
                Reaped::Ended(pid, exit) if self.hooks.pid == Some(pid) => {
                    self.hooks.ended = Some(exit);
                }
                Reaped::Ended(pid, exit) => {
                    ledger::add(Count::Orphans, 1);
                    (plan.speak)(&Event::Orphan {
                        pid,
                        exit,
                        warn: plan.warn_on_reap,
                    });
                }
                Reaped::Stopped(pid, number) if self.service.pid() == Some(pid) => {
                    news.command_stopped = Some(number);
                }
                Reaped::Stopped(pid, number) if self.keeper.pid() == Some(pid) => {
                    keeper::report_stopped(pid, number);
                }
                Reaped::Stopped(..) => {}
                Reaped::Running => return news,
                Reaped::Childless => {
                    // If the command's end was not among them, it is lost for good, and waiting on
                    // would mean waiting for ever (pid1 2).
                    if self.hooks.pid.is_some() && self.hooks.ended.is_none() {
                        self.hooks.ended = Some(Exit::Code(exit::FAILED));
                    }
                    let is_known = news.command.or(self.late.command).is_some();
                    if !is_known && self.service.pid().is_some() {
                        error!("the command is gone without a status");
                        news.command = Some(Exit::Code(exit::FAILED));
                    }
                    return news;
                }
            }
        }
    }

    /// Sets everything that follows from a request to stop; `asked` is the signal as it was sent to the
    /// command, if that runs.
    fn ask_to_stop(&mut self, asked: Option<i32>) {
        let plan = &self.settings.plan;
        let command_runs = self.service.pid().is_some();
        let reserve = self.hooks.reserve(plan.stop_timeout, command_runs);
        self.service.ask_to_stop(plan, asked, reserve);
    }

    /// Keeps what happened while a hook is attended to: the command's share is for later.
    fn keep(&mut self, news: News) {
        if let Some(exit) = news.agent {
            // Configured it is by now, so that no end of an agent is final.
            let _ = self.agent_ended(exit);
        }
        self.late.command = self.late.command.or(news.command);
        self.late.command_stopped = news.command_stopped.or(self.late.command_stopped);
    }

    /// Ends everything that is left, the agent and a handler at work among them, runs the shutdown hook,
    /// and returns the code.
    fn end(&mut self, code: u8) -> u8 {
        self.readiness.end();
        self.phase = Phase::Shutdown;
        if !self.hooks.waits() {
            // From here on nobody would answer.
            self.door.close();
        }
        self.keeper.wane();
        let plan = &self.settings.plan;
        let number = plan.rewrite.get(libc::SIGTERM);
        if let Some(number) = number {
            (plan.speak)(&Event::Clearing { number });
        }
        match plan.rest {
            Rest::Leave => {}
            Rest::TermGroup => drop(number.map(|number| self.service.signal_group(number))),
            Rest::Drain => self.drain(),
        }
        let code = self.judge_result(code);
        let code = self.shut_down(code);
        self.finish_intake();
        self.door.close();
        self.service.return_terminal();
        (self.settings.plan.speak)(&Event::Leaving { code });
        code
    }

    /// Becomes the command.
    fn exec(&mut self) -> u8 {
        if let Err(code) = self.await_agent() {
            return self.end(code);
        }
        // As PID 1 the kernel would drop it between the mask's end and the command's first handler.
        let ending = self.ending();
        if let Ok(Some(received)) = sys::wait_signal(&ending, Some(Duration::ZERO)) {
            info!("{received} before the command: ending");
            return self.end(Exit::by_signal(received.number).status());
        }
        if self.owes_sigio {
            let _ = sys::kill(sys::own_pid(), libc::SIGIO);
        }
        if self.adopts {
            sys::set_subreaper(false);
        }
        self.readiness.end();
        self.door.close();
        let death = self.settings.plan.parent_death;
        let failure = spawn::become_command(&mut self.command, &self.inherited, death);
        (self.settings.plan.speak)(&Event::CannotExecute(&failure));
        failure.code(&self.settings.plan.codes)
    }
}
