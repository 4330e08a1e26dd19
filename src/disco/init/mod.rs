//! PID 1: starts the agent and the command, forwards signals, reaps, leaves with the command's status.
//!
//! One thread that waits in one place, for signals: children tell by SIGCHLD, the agent's socket by
//! SIGIO, everything else is there to be forwarded. All of them are blocked from the first
//! instruction on and taken from the queue, so that none is lost, and no handler ever runs. Nothing
//! here parses, resolves or connects; that is the agent's, which may crash without harm.
//!
//! Invariants: one thread, so that forking is safe; only this module waits for children of init;
//! after the command has started every failure is a log line, never an end.

pub mod command;
mod inherited;
pub mod leftovers;
pub mod spawn;

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

pub use inherited::Inherited;
use nix::unistd::{Pid, setpgid};
use tracing::{debug, error, info, warn};

use super::agent::{self, Circumstances};
use super::layers;
use super::link::{self, Message};
use super::log;
use super::settings::{Mode, Settings};
use crate::contract::exit::{self, Exit};
use crate::contract::signal;
use crate::sys::{self, Fork, Prepared, Reaped, Received, SignalSet};

/// Signals that end disco while there is no command yet. All others wait for the command.
const ENDING: &[i32] = &[libc::SIGTERM, libc::SIGINT, libc::SIGQUIT, libc::SIGHUP];

/// Signals by which a running command is asked to end. SIGHUP is not among them: it reloads; nor is
/// SIGQUIT, by which a Java machine shows its threads.
const STOPPING: &[i32] = &[libc::SIGTERM, libc::SIGINT];

/// Pause before the first restart of an agent; each next one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// How long an agent may take to go once it is told to, beyond what its handler is given.
const AGENT_GRACE: Duration = Duration::from_secs(2);

/// From TERM to KILL for a command that a rule restarts, where `disco.stop_timeout` says nothing.
const RESTART_GRACE: Duration = Duration::from_secs(10);

/// What has been reaped.
#[derive(Default)]
struct Ended {
    command: Option<Exit>,
    agent: Option<Exit>,
}

/// The agent as init sees it.
struct Agent {
    pid: i32,
    link: OwnedFd,
    started: Instant,
}

struct Init {
    settings: Settings,
    name: OsString,
    prepared: Prepared,
    inherited: Inherited,
    signals: SignalSet,
    started: Instant,
    is_pid_1: bool,
    agent: Option<Agent>,
    /// When to start the agent again, and how long to wait the next time.
    agent_due: Option<Instant>,
    agent_pause: Duration,
    configured: bool,
    /// Whether the agent goes on once configured.
    agent_stays: bool,
    /// What the agents have applied: number of the rule, fingerprint of the data.
    applied: Vec<(u32, u64)>,
    /// Process group of the handler at work; 0 if there is none.
    handler: i32,
    /// Signals that came before the command did; a bit per number.
    held: u64,
    command: Option<i32>,
    /// The process group of the command that was started last.
    group: i32,
    /// Set while a rule's restart of the command is under way.
    restarting: bool,
    /// Set for good once somebody has asked the command to end.
    stopping: bool,
    /// Whether the terminal was ours to give when disco started.
    has_terminal: bool,
    /// When the command gets KILL, if it is being stopped and that is wanted.
    kill_at: Option<Instant>,
}

/// Runs the container to its end and returns the exit code; in exec mode it does not return.
#[must_use]
pub fn run(settings: Settings, argv: Vec<OsString>, inherited: Inherited, started: Instant) -> u8 {
    let is_pid_1 = sys::own_pid() == 1;
    let wants_agent = !settings.sources.is_empty() || layers::has_rules(&settings.path);
    if !wants_agent && settings.has_own_path {
        warn!("{}", layers::no_rules(&settings.path));
    } else if !wants_agent {
        debug!("neither a source nor a rule is there: nothing to configure");
    }
    let name = argv.first().cloned().unwrap_or_default();
    if wants_agent && let Err(failure) = command::find(&name) {
        error!("{failure}");
        return failure.code();
    }
    let shown = wants_agent.then(|| log::list(argv.iter().map(|word| word.to_string_lossy())));
    let mut init = Init {
        prepared: command::prepare(argv),
        settings,
        name,
        inherited,
        signals: sys::all_but_faults(),
        started,
        is_pid_1,
        agent: None,
        agent_due: None,
        agent_pause: FIRST_PAUSE,
        configured: false,
        agent_stays: false,
        applied: Vec::new(),
        handler: 0,
        held: 0,
        command: None,
        group: 0,
        restarting: false,
        stopping: false,
        has_terminal: false,
        kill_at: None,
    };
    if !is_pid_1
        && (wants_agent || init.settings.mode == Mode::Supervise)
        && !sys::set_subreaper(true)
    {
        debug!("cannot become a subreaper; orphans will go elsewhere");
    }
    if wants_agent {
        if let Err(code) = init.configure() {
            return init.end(code);
        }
        info!("Exec {}", shown.unwrap_or_default());
    }
    let supervise = match init.settings.mode {
        Mode::Supervise => true,
        Mode::Exec => false,
        Mode::Auto => is_pid_1 || init.agent_stays,
    };
    if supervise {
        init.supervise()
    } else {
        init.exec()
    }
}

impl Init {
    /// Runs the agent until every rule is complete.
    fn configure(&mut self) -> Result<(), u8> {
        self.start_agent();
        // An agent that hangs does not keep its own deadline.
        let limit = self.settings.deadline;
        let grace = self.settings.drain.max(Duration::from_secs(1)) + AGENT_GRACE;
        let deadline = limit.map(|limit| self.started + limit + grace);
        while !self.configured {
            let due = [self.agent_due, deadline].into_iter().flatten().min();
            if let Some(received) = self.wait(due) {
                if ENDING.contains(&received.number) {
                    let what = described(received);
                    info!("{what} while waiting for the configuration: ending");
                    return Err(Exit::by_signal(received.number).status());
                }
                self.hold(received);
            }
            self.look_after_children()?;
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                error!(
                    "Unable to configure container before `disco.deadline`: the agent does not answer"
                );
                return Err(exit::UNAVAILABLE);
            }
        }
        Ok(())
    }

    /// Keeps a signal for the command.
    fn hold(&mut self, received: Received) {
        if !is_own(received) {
            self.held |= bit(received.number);
        }
    }

    /// Reaps, obeys the agent, and starts it again if it is due. Returns how the command ended, if
    /// it did, and fails with the exit code of an agent that is not to be started again.
    fn look_after_children(&mut self) -> Result<Option<Exit>, u8> {
        // In this order: an agent may end right after a message, which must not be lost with it.
        let ended = self.reap();
        while let Some(message) = self.message() {
            self.obey(message);
        }
        if let Some(exit) = ended.agent {
            self.agent_ended(exit)?;
        }
        if self.agent_due.is_some_and(|due| due <= Instant::now()) {
            self.start_agent();
        }
        Ok(ended.command)
    }

    /// Waits for a signal or for a time.
    fn wait(&self, until: Option<Instant>) -> Option<Received> {
        let timeout = until.map(|until| until.saturating_duration_since(Instant::now()));
        sys::wait_signal(&self.signals, timeout)
    }

    fn message(&self) -> Option<Message> {
        link::take(&self.agent.as_ref()?.link)
    }

    /// Reaps everything that has ended: coalesced SIGCHLDs mean that one may stand for many (pid1 16).
    fn reap(&mut self) -> Ended {
        let mut ended = Ended::default();
        loop {
            match sys::reap() {
                Reaped::Ended(pid, exit) if self.command == Some(pid) => {
                    self.command = None;
                    ended.command = Some(exit);
                }
                Reaped::Ended(pid, exit)
                    if self.agent.as_ref().is_some_and(|agent| agent.pid == pid) =>
                {
                    ended.agent = Some(exit);
                }
                Reaped::Ended(pid, exit) => debug!(pid, "reaped an orphan: {exit}"),
                Reaped::Running => return ended,
                Reaped::Childless => {
                    // If the command's end was not among them, it is lost for good, and waiting on
                    // would mean waiting for ever (pid1 2).
                    if self.command.take().is_some() {
                        error!("the command is gone without a status");
                        ended.command = Some(Exit::Code(exit::FAILED));
                    }
                    return ended;
                }
            }
        }
    }

    fn start_agent(&mut self) {
        self.agent_due = None;
        let started = link::pair().and_then(|(own, theirs)| {
            sys::signal_when_readable(std::os::fd::AsFd::as_fd(&own))?;
            Ok((sys::fork()?, own, theirs))
        });
        match started {
            Ok((Fork::Child, own, theirs)) => {
                drop(own);
                self.become_agent(theirs)
            }
            Ok((Fork::Parent(pid), own, _)) => {
                debug!(pid, "agent started");
                self.agent = Some(Agent {
                    pid,
                    link: own,
                    started: Instant::now(),
                });
            }
            Err(error) => {
                error!("cannot start the agent: {error}");
                self.schedule_agent();
            }
        }
    }

    /// The child's side: a process like any other, with its own signals and no stdin, which is the
    /// command's. What it prints by mistake goes to stderr.
    fn become_agent(&self, link: OwnedFd) -> ! {
        // Away from the terminal's foreground: its ^C is for init to judge.
        let _ = setpgid(Pid::from_raw(0), Pid::from_raw(0));
        sys::ignore_terminal_stops();
        sys::detach_stdin();
        sys::redirect(2, 1);
        // Whatever else was inherited is the command's, too; the link moves below it first.
        let link = sys::keep_only(link);
        log::install_panic_hook(agent::PANICKED);
        sys::set_mask(&sys::no_signals());
        let circumstances = Circumstances {
            started: self.started,
            resumed: self.configured,
            applied: self.applied.clone(),
        };
        sys::exit_now(agent::run(&self.settings, link, circumstances))
    }

    /// Decides what the end of an agent means; after the command has started it is never final.
    fn agent_ended(&mut self, exit: Exit) -> Result<(), u8> {
        let agent = self.agent.take();
        // A handler's leader went with its agent; what it has started would work on beside its successor.
        match std::mem::take(&mut self.handler) {
            0 => {}
            group => drop(sys::kill(-group, libc::SIGKILL)),
        }
        let lived = agent.map(|agent| agent.started.elapsed());
        if self.configured && !self.agent_stays {
            return Ok(());
        }
        match exit {
            // It has said why.
            Exit::Code(code @ (exit::USAGE | exit::UNAVAILABLE | exit::FAILED | exit::CONFIG))
                if !self.configured =>
            {
                Err(code)
            }
            _ => {
                if lived.is_some_and(|lived| lived > Duration::from_secs(60)) {
                    self.agent_pause = FIRST_PAUSE;
                }
                let pause = self.agent_pause;
                error!("the agent ended ({exit}); starting it again in {pause:?}");
                self.schedule_agent();
                Ok(())
            }
        }
    }

    fn schedule_agent(&mut self) {
        self.agent_due = Some(Instant::now() + self.agent_pause);
        self.agent_pause = (self.agent_pause * 2).min(Duration::from_secs(10));
    }

    /// Ends everything that is left, the agent and a handler at work among them, and returns the code.
    fn end(&mut self, code: u8) -> u8 {
        // The agent takes the end of its link for what it is.
        self.agent = None;
        leftovers::drain(&self.signals, self.settings.drain, self.is_pid_1);
        code
    }

    /// Becomes the command.
    fn exec(&mut self) -> u8 {
        self.await_agent();
        // As PID 1 the kernel would drop it between the mask's end and the command's first handler.
        if let Some(number) = numbers(self.held).find(|number| ENDING.contains(number)) {
            info!("{} before the command: ending", signal::name(number));
            return self.end(Exit::by_signal(number).status());
        }
        for number in numbers(self.held) {
            let _ = sys::kill(sys::own_pid(), number);
        }
        let failure = command::explain(spawn::become_command(
            &self.name,
            &mut self.prepared,
            &self.inherited,
        ));
        error!("{failure}");
        failure.code()
    }

    /// Waits for an agent that has said that it is done, since nobody else will reap it.
    fn await_agent(&mut self) {
        let mut deadline = Instant::now() + AGENT_GRACE;
        while let Some(agent) = &self.agent {
            let pid = agent.pid;
            if self.reap().agent.is_some() {
                self.agent = None;
                return;
            }
            if Instant::now() >= deadline {
                let _ = sys::kill(pid, libc::SIGKILL);
                deadline += AGENT_GRACE;
            }
            if let Some(received) = self.wait(Some(deadline)) {
                self.hold(received);
            }
        }
    }

    /// Runs the command as a child, to its end.
    fn supervise(&mut self) -> u8 {
        if let Err(failure) = self.start_command() {
            error!("{failure}");
            return self.end(failure.code());
        }
        sys::release_code();
        loop {
            let due = [self.agent_due, self.kill_at].into_iter().flatten().min();
            let received = self.wait(due);
            if let Some(received) = received.filter(|received| !is_own(*received)) {
                self.forward(received);
            }
            // With the command running no end of an agent is final.
            let ended = self.look_after_children().unwrap_or_default();
            if let Some(exit) = ended.and_then(|exit| self.command_ended(exit)) {
                debug!("the command ended: {exit}");
                return self.end(exit.status());
            }
            if self.kill_at.is_some_and(|at| at <= Instant::now()) {
                self.kill_command();
            }
        }
    }

    fn start_command(&mut self) -> Result<(), command::Failure> {
        self.has_terminal |= spawn::has_foreground();
        let started = spawn::start(
            &self.name,
            &mut self.prepared,
            &self.inherited,
            self.has_terminal,
        );
        let pid = started.map_err(command::explain)?;
        self.command = Some(pid);
        self.group = pid;
        for number in numbers(std::mem::take(&mut self.held)) {
            self.send(number);
        }
        Ok(())
    }

    fn command_ended(&mut self, exit: Exit) -> Option<Exit> {
        self.kill_at = None;
        // Ended by the terminal's keys and not by our SIGTERM: somebody wants the end.
        let by_hand = matches!(exit, Exit::Signal(n) if [libc::SIGINT, libc::SIGQUIT].contains(&i32::from(n)));
        if !std::mem::take(&mut self.restarting) || by_hand {
            return Some(exit);
        }
        self.end_group();
        if self.stopping {
            return Some(exit);
        }
        info!("the command ended ({exit}) and is started again");
        match self.start_command() {
            Ok(()) => None,
            Err(failure) => {
                error!("{failure}");
                Some(Exit::Code(failure.code()))
            }
        }
    }

    /// Ends what an instance of the command leaves behind before the next one starts: its ports and
    /// files are wanted.
    fn end_group(&mut self) {
        let group = self.group;
        let signalled = |number| group > 0 && sys::kill(-group, number).is_ok();
        if !signalled(libc::SIGTERM) {
            return;
        }
        signalled(libc::SIGCONT);
        let deadline = Instant::now() + self.settings.drain;
        while signalled(0) {
            if Instant::now() >= deadline {
                warn!("killing what the command has left behind");
                signalled(libc::SIGKILL);
                return;
            }
            if let Some(received) = self.wait(Some(deadline)).filter(|r| !is_own(*r)) {
                if STOPPING.contains(&received.number) {
                    self.stopping = true;
                    signalled(libc::SIGKILL);
                }
                self.hold(received);
            }
            if let Some(exit) = self.reap().agent {
                // With the command once started no end of an agent is final.
                let _ = self.agent_ended(exit);
            }
        }
    }

    fn forward(&mut self, received: Received) {
        self.send(received.number);
        if STOPPING.contains(&received.number) && !self.stopping {
            self.stopping = true;
            // Whatever a rule wanted before, and the time that it gave.
            self.restarting = false;
            let grace = self.settings.stop_timeout;
            self.kill_at = grace.map(|grace| Instant::now() + grace);
        }
        debug!("{}: forwarded to the command", described(received));
    }

    fn send(&self, number: i32) {
        let Some(pid) = self.command else {
            return;
        };
        match sys::kill(pid, number) {
            Ok(()) => {}
            // It has just ended, and its SIGCHLD is on the way.
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
            Err(error) => warn!(
                "cannot send {} to the command: {error}",
                signal::name(number)
            ),
        }
    }

    fn kill_command(&mut self) {
        self.kill_at = None;
        if let Some(pid) = self.command {
            warn!("the command did not end in time; killing it and its process group");
            let _ = sys::kill(-pid, libc::SIGKILL);
            let _ = sys::kill(pid, libc::SIGKILL);
        }
    }

    fn obey(&mut self, message: Message) {
        match message {
            Message::Configured { stays } => {
                self.configured = true;
                self.agent_stays = stays;
            }
            Message::Applied(rule, fingerprint) => {
                self.applied.retain(|(number, _)| *number != rule);
                // 0 says that a run is under way, of which nobody knows how far it will get.
                if fingerprint != 0 {
                    self.applied.push((rule, fingerprint));
                }
            }
            Message::Handler(group) => self.handler = group,
            Message::Signal(_) | Message::Restart if self.stopping => {}
            Message::Signal(number) => {
                info!("a rule sends {} to the command", signal::name(number));
                self.send(number);
            }
            Message::Restart if self.command.is_none() => {}
            Message::Restart => {
                info!("a rule restarts the command");
                self.restarting = true;
                let grace = self.settings.stop_timeout.unwrap_or(RESTART_GRACE);
                self.kill_at.get_or_insert_with(|| Instant::now() + grace);
                self.send(libc::SIGTERM);
            }
        }
    }
}

/// Whether a signal is for init itself: children and the agent's socket.
fn is_own(received: Received) -> bool {
    match received.number {
        libc::SIGCHLD => true,
        libc::SIGIO => received.from_kernel,
        _ => false,
    }
}

fn described(received: Received) -> String {
    let name = signal::name(received.number);
    match (received.from_kernel, received.sender) {
        (true, _) => format!("{name} from the terminal"),
        (false, 0) => format!("{name} from outside the container"),
        (false, pid) => format!("{name} from process {pid}"),
    }
}

fn bit(number: i32) -> u64 {
    1 << (number - 1).clamp(0, 63)
}

fn numbers(bits: u64) -> impl Iterator<Item = i32> {
    (1..=64).filter(move |number| bits & bit(*number) != 0)
}
