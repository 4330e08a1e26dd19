//! The agent: the configurator, a child process of init with a runtime of its own.
//!
//! It reads sources, validates, runs handlers, reads what the container says of itself, and tells whoever
//! asks how far it is; it never touches the command, which is init's.
//! One task owns the engine; sources and handlers only send it events. The exit code tells init what
//! it means: 0 all is done, a documented code is final, anything else (a panic, a signal) asks for a
//! new agent.

pub mod backoff;
pub mod engine;
pub mod handler;
pub mod http;
mod mask;
pub mod metrics;
pub mod past;
pub mod render;
pub mod report;
mod silent;
pub mod sources;
pub mod tail;
pub mod visitors;
pub mod waiting;
pub mod work;

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::Interest;
use tokio::net::UnixDatagram;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, LocalSet};
use tracing::{error, info, warn};

use self::engine::{Engine, Status, Step, Verdict};
use self::handler::Failure;
use self::metrics::Known;
use self::metrics::push::Pusher;
use self::past::Past;
use self::report::History;
use self::sources::{Source, Update};
use self::tail::{Inputs, Tail};
use self::visitors::{Visit, Visitors};
use self::waiting::Reminder;
use self::work::{Effect, Work};
use super::layers::{self, Layers};
use super::link::{self, Message, Stays, Word};
use super::log;
use super::numbers;
use super::settings::{Mode, Settings};
use crate::contract::exit;
use crate::contract::metrics::model::Family;
use crate::contract::metrics::openmetrics;
use crate::contract::rule::Then;
use crate::contract::text;
use crate::contract::tree::Facts;
use crate::sys::{self, watchdog};

/// Exit code of an agent that panicked: none of the documented ones, so that init starts another.
pub const PANICKED: u8 = 101;

/// Exit code of an agent that used up `disco.agent_cpu` without coming to rest.
pub const LOOPS: u8 = 102;

/// How often init is told that what is left is being read.
const BEAT: Duration = Duration::from_millis(500);

/// How long the last metrics may take to be sent.
const LAST_PUSH: Duration = Duration::from_secs(2);

/// Under which circumstances an agent is started.
#[derive(Debug)]
pub struct Circumstances<'a> {
    /// When disco started, from which `disco.deadline` counts.
    pub started: Instant,
    /// Whether the command runs already, so that this agent replaces one that died.
    pub resumed: bool,
    /// Whether rules are to be applied, and not only inputs to be read.
    pub has_rules: bool,
    /// What agents before this one have done.
    pub past: Past,
    /// What is to be read.
    pub inputs: Inputs<'a>,
    /// The way for log lines whose level is sent there.
    pub stdout: Option<OwnedFd>,
    /// The name of the command.
    pub command: String,
}

/// Runs the agent to its end and returns its exit code. The process must be the agent's own.
#[must_use]
pub fn run(settings: &Settings, link: OwnedFd, mut circumstances: Circumstances<'_>) -> u8 {
    sys::restrain(settings.agent_memory);
    let (layers, mut findings) = match circumstances.has_rules {
        true => layers::load(&settings.path),
        false => Default::default(),
    };
    if !circumstances.resumed {
        for warning in findings.doubts.iter().chain(&findings.warnings) {
            warn!("{warning}");
        }
        if layers.rules.is_empty() && findings.problems.is_empty() {
            warn!("{}", layers::no_rules(&settings.path));
        }
        if settings.mode == Mode::Exec && layers.rules.iter().any(|rule| !rule.once) {
            warn!("a rule with `once: false` cannot watch with `disco.mode=exec`");
        }
    }
    findings.problems.extend(work::no_destdir(settings));
    if !findings.problems.is_empty() {
        for problem in &findings.problems {
            error!("{problem}");
        }
        let problems = text::count(findings.problems.len(), "problem");
        error!("Unable to configure container: {problems} with schemas and rules");
        return exit::CONFIG;
    }
    if let Some(limit) = settings.agent_cpu {
        watchdog::watch(limit, LOOPS);
    }
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .on_thread_park(watchdog::rest)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            error!("cannot start the agent: {error}");
            return PANICKED;
        }
    };
    let local = LocalSet::new();
    runtime.block_on(local.run_until(async {
        match Agent::new(settings, layers, link, &mut circumstances) {
            Ok(agent) => agent.run().await,
            Err(error) => {
                error!("cannot start the agent: {error}");
                PANICKED
            }
        }
    }))
}

/// A handler at work.
struct Running {
    rule: usize,
    payload: Value,
    since: Instant,
    outcome: JoinHandle<Result<Effect, Failure>>,
}

struct Agent<'a> {
    settings: &'a Settings,
    layers: Layers,
    engine: Engine,
    sources: Vec<Source>,
    updates: mpsc::UnboundedReceiver<(usize, Update)>,
    wanted: watch::Sender<bool>,
    link: Rc<UnixDatagram>,
    stop: watch::Sender<bool>,
    running: Option<Running>,
    history: History,
    visitors: Visitors,
    tail: Option<Tail>,
    pusher: Option<(JoinHandle<()>, oneshot::Sender<Vec<Family>>)>,
    started: Instant,
    /// Whether rules are no longer applied, because the container ends.
    wanes: bool,
    /// Rules that an agent before this one began to apply, and did not live to finish.
    cut: BTreeSet<usize>,
    reminder: Reminder,
    deadline: Option<Instant>,
    configured: bool,
}

/// Why the loop woke.
enum Event {
    Source(usize, Update),
    Handler(Result<Effect, Failure>),
    Question(OwnedFd),
    Visitor(Visit),
    Timer,
    Wane,
    Stop,
}

impl<'a> Agent<'a> {
    fn new(
        settings: &'a Settings,
        mut layers: Layers,
        link: OwnedFd,
        circumstances: &mut Circumstances<'_>,
    ) -> std::io::Result<Self> {
        let rules = std::mem::take(&mut layers.rules);
        work::warn_of_programs(&rules, settings);
        let (wanted, more_is_wanted) = watch::channel(false);
        let declared = if circumstances.has_rules {
            &settings.sources[..]
        } else {
            &[]
        };
        let (sources, updates) = sources::spawn(settings, declared, &more_is_wanted);
        let socket = std::os::unix::net::UnixDatagram::from(link);
        socket.set_nonblocking(true)?;
        let deadline = settings.deadline.filter(|_| !circumstances.resumed);
        let started = circumstances.started;
        let inputs = std::mem::take(&mut circumstances.inputs);
        let tail = match inputs.are_none() && !settings.serves_metrics() {
            true => None,
            false => Some(Tail::start(settings, &inputs, circumstances.stdout.take())?),
        };
        let visitors = Visitors::default();
        if let Some(listen) = &settings.data.listen {
            tokio::task::spawn_local(metrics::serve::serve(listen.clone(), visitors.asked()));
        }
        let pusher = settings.otlp.as_ref().map(|otlp| {
            let start = numbers::ago(started.elapsed());
            let pusher = Pusher::new(otlp, start, &circumstances.command);
            let (last, is_last) = oneshot::channel();
            let task = tokio::task::spawn_local(pusher.run(visitors.asked(), is_last));
            (task, last)
        });
        Ok(Self {
            settings,
            engine: Engine::new(
                rules,
                settings.fail_limit,
                settings.interval,
                &circumstances.past,
            ),
            layers,
            sources,
            updates,
            wanted,
            link: Rc::new(UnixDatagram::from_std(socket)?),
            stop: watch::Sender::new(false),
            running: None,
            history: History::default(),
            visitors,
            tail,
            pusher,
            started,
            wanes: false,
            cut: circumstances.past.cut().collect(),
            reminder: Reminder::new(Instant::now()),
            deadline: deadline.map(|limit| circumstances.started + limit),
            configured: circumstances.resumed,
        })
    }

    async fn run(mut self) -> u8 {
        let mut terminate = match signal(SignalKind::terminate()) {
            Ok(terminate) => terminate,
            Err(error) => {
                error!("cannot watch for SIGTERM: {error}");
                return PANICKED;
            }
        };
        // Rules without any source still fire.
        self.judge();
        loop {
            if let Some(code) = self.advance() {
                return self.leave(code).await;
            }
            self.note();
            let timer = self.timer();
            let event = tokio::select! {
                Some((index, update)) = self.updates.recv() => Event::Source(index, update),
                outcome = finished(&mut self.running) => Event::Handler(outcome),
                () = tokio::time::sleep_until(timer.into()) => Event::Timer,
                Some(visit) = self.visitors.next() => Event::Visitor(visit),
                // Who reads logs sees all others go: it is init that says when.
                _ = terminate.recv(), if self.tail.is_none() => Event::Stop,
                word = next_word(&self.link) => match word {
                    Word::Question(client) => Event::Question(client),
                    Word::Wane => Event::Wane,
                    Word::Finish | Word::End => Event::Stop,
                },
            };
            let verdict = match event {
                Event::Source(index, update) => {
                    self.learn(index, update);
                    None
                }
                Event::Handler(outcome) => self.handled(outcome),
                Event::Question(client) => {
                    self.visitors.hear(client);
                    None
                }
                Event::Visitor(visit) => {
                    self.answer(visit);
                    None
                }
                Event::Wane => {
                    self.wane().await;
                    None
                }
                Event::Timer => self.tick(),
                Event::Stop => Some(exit::Exit::by_signal(libc::SIGTERM).status()),
            };
            if let Some(code) = verdict {
                return self.leave(code).await;
            }
        }
    }

    /// Applies no more rules, and ends a handler at work.
    async fn wane(&mut self) {
        self.wanes = true;
        if let Some(running) = self.running.take() {
            // The receiver lives in the handler's task; if that has just ended, nobody listens.
            let _ = self.stop.send(true);
            let _ = running.outcome.await;
        }
    }

    /// Reads what is left, and tells init as long as that goes on.
    async fn finish(&mut self) {
        let Some(mut tail) = self.tail.take() else {
            return;
        };
        // Whoever does not read the log must not keep us by not reading this either.
        let _terminal = log::never_wait();
        tail.finish();
        loop {
            let ended = tokio::time::timeout(BEAT, tail.ended()).await;
            if ended.is_ok() {
                break;
            }
            if tail.gets_on() {
                self.tell(Message::Progress);
            }
        }
        self.tail = Some(tail);
        if let Some((task, last)) = self.pusher.take() {
            // It may have come to its end before.
            let _ = last.send(self.families());
            let _ = tokio::time::timeout(LAST_PUSH, task).await;
        }
    }

    /// Ends a handler at work, and reads what is left, before the agent goes.
    async fn leave(mut self, code: u8) -> u8 {
        self.wane().await;
        self.finish().await;
        // The last line says why.
        match code {
            exit::UNAVAILABLE => error!("Unable to configure container before `disco.deadline`"),
            exit::FAILED => error!("Unable to configure container, see log or run with -l DEBUG"),
            _ => {}
        }
        code
    }

    /// Takes in everything that has arrived, then judges once.
    fn learn(&mut self, index: usize, update: Update) {
        let mut changed = self.apply(index, update);
        while let Ok((index, update)) = self.updates.try_recv() {
            changed |= self.apply(index, update);
        }
        if changed {
            self.judge();
        }
        self.want_more();
    }

    /// Has the sources go on watching, unless their first snapshots are all that is needed.
    fn want_more(&self) {
        let has_all = self.sources.iter().all(|source| source.snapshot.is_some());
        let is_enough = |status: &Status| matches!(status, Status::Ready | Status::Done);
        let needs_more =
            self.engine.watches() || !self.engine.rules().all(|(_, status)| is_enough(status));
        if !has_all || needs_more {
            self.wanted.send_replace(true);
        }
    }

    fn apply(&mut self, index: usize, update: Update) -> bool {
        self.sources
            .get_mut(index)
            .is_some_and(|source| source.apply(update))
    }

    /// Judges all rules, if every source has answered: before that a rule could fire on a value that
    /// a later source is to override (conformance 2, rule 2).
    fn judge(&mut self) {
        if self.wanes || self.sources.iter().any(|source| source.snapshot.is_none()) {
            return;
        }
        let snapshots = self.sources.iter().enumerate();
        let facts = Facts::merged(
            snapshots.filter_map(|(index, source)| Some((index, source.snapshot.as_ref()?))),
        );
        let is_textual = |index: usize| {
            self.sources
                .get(index)
                .is_some_and(|source| source.is_textual)
        };
        let changed = self.engine.update(&self.layers, &facts, is_textual);
        for index in changed {
            if let Some((rule, status)) = self.engine.rule(index) {
                waiting::log_status(rule, status, &self.sources);
                if *status == Status::GaveUp {
                    error!(
                        "{} was begun {} times with the same data and came to no good end, the limit set by `disco.fail_limit`: agents failed at it, or died over it",
                        rule.label(),
                        self.settings.fail_limit
                    );
                }
                if self.configured && matches!(status, Status::Pending(_)) {
                    for line in waiting::of_rule(rule, status, &self.sources) {
                        warn!("{line}; the command keeps its last configuration");
                    }
                }
            }
        }
    }

    /// Starts what is due. Returns an exit code when there is nothing left to do.
    fn advance(&mut self) -> Option<u8> {
        if self.wanes {
            return None;
        }
        let has_given_up = |(_, status): (_, &Status)| *status == Status::GaveUp;
        if !self.configured && self.running.is_none() && self.engine.rules().any(has_given_up) {
            return Some(exit::FAILED);
        }
        if self.running.is_none()
            && let Step::Run(rule, payload) = self.engine.next(Instant::now())
        {
            self.start(rule, payload);
        }
        if self.running.is_some() || self.configured || !self.engine.is_configured() {
            return None;
        }
        self.configured = true;
        self.deadline = None;
        info!("Container Configured");
        let stays = if self.engine.watches() && self.settings.mode != Mode::Exec {
            Stays::ToWatch
        } else if self.tail.as_ref().is_some_and(Tail::is_needed) || self.settings.serves_metrics()
        {
            Stays::ToRead
        } else {
            Stays::No
        };
        self.tell(Message::Configured(stays));
        (stays == Stays::No).then_some(0)
    }

    fn start(&mut self, index: usize, payload: Value) {
        let Some((rule, _)) = self.engine.rule(index) else {
            return;
        };
        info!("executing {}", rule.label());
        let number = u32::try_from(index).unwrap_or(u32::MAX);
        self.tell(Message::Begun(number, engine::fingerprint(&payload)));
        let templates = self.layers.templates.get(index);
        let templates = templates.map(Vec::as_slice).unwrap_or_default();
        let work = Work::of(rule, templates, &payload, self.settings);
        let mut stop = self.stop.subscribe();
        let link = self.link.clone();
        let outcome = tokio::task::spawn_local(async move {
            // Init ends the group if this process dies before it.
            let started = |group| drop(link::tell(&*link, Message::Handler(group)));
            work.run(&mut stop, started).await
        });
        self.engine.started(index);
        self.running = Some(Running {
            rule: index,
            payload,
            since: Instant::now(),
            outcome,
        });
    }

    fn handled(&mut self, outcome: Result<Effect, Failure>) -> Option<u8> {
        let running = self.running.take()?;
        self.tell(Message::Handler(0));
        let took = running.since.elapsed();
        let label = self
            .engine
            .rule(running.rule)
            .map(|(rule, _)| rule.label())
            .unwrap_or_default();
        let failure = match outcome {
            Ok(effect) => {
                let number = u32::try_from(running.rule).unwrap_or(u32::MAX);
                let fingerprint = engine::fingerprint(&running.payload);
                self.history.ran(running.rule, took, None);
                let then = self.engine.succeeded(running.rule, running.payload);
                // Nobody knows how far a run came whose agent died.
                let was_cut = self.cut.remove(&running.rule);
                if self.configured && (effect == Effect::Changed || was_cut) {
                    match then {
                        Then::Nothing => {}
                        Then::Signal(number) => self.tell(Message::Signal(number)),
                        Then::Restart => self.tell(Message::Restart),
                    }
                }
                // Last: should this process die in between, the next one does it all once more.
                self.tell(Message::Applied(number, fingerprint));
                return None;
            }
            Err(failure) => failure,
        };
        let verdict = self
            .engine
            .failed(running.rule, running.payload, Instant::now());
        self.want_more();
        let reason = failure.reason.clone();
        let (Verdict::Retry(failures) | Verdict::GiveUp(failures)) = verdict;
        self.history
            .ran(running.rule, took, Some((failures, failure)));
        match verdict {
            Verdict::Retry(failures) => {
                warn!(
                    "handler of {label} failed ({failures} of {}): {reason}",
                    limit(self.settings.fail_limit)
                );
                None
            }
            Verdict::GiveUp(failures) => {
                error!(
                    "handler of {label} failed {failures} times with the same data, the limit set by `disco.fail_limit`: {reason}"
                );
                // Once the command runs, it runs on with the last good configuration.
                (!self.configured).then_some(exit::FAILED)
            }
        }
    }

    fn tick(&mut self) -> Option<u8> {
        let now = Instant::now();
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            for line in self.reasons() {
                error!("{line}");
            }
            return Some(exit::UNAVAILABLE);
        }
        if !self.configured && self.reminder.is_due(now) {
            for line in self.reasons() {
                warn!("still waiting: {line}");
            }
        }
        None
    }

    /// Remembers since when the rules are as far as they are.
    fn note(&mut self) {
        let running = self.running.as_ref().map(|running| running.rule);
        self.history.note(&self.engine, running, Instant::now());
    }

    /// Tells somebody who asks.
    fn answer(&self, visit: Visit) {
        let (client, wants_metrics) = match visit {
            Visit::Families(asked) if asked.is_closed() => return,
            Visit::Families(asked) => {
                // Who has gone meanwhile is none the worse.
                let _ = asked.send(self.families());
                return;
            }
            Visit::Status(client) => (client, false),
            Visit::Metrics(client) => (client, true),
        };
        let running = self.running.as_ref().map(|running| running.rule);
        let mut members = report::members(
            &self.engine,
            &self.sources,
            &self.history,
            running,
            self.reasons(),
        );
        if let Some(tail) = &self.tail {
            members.insert("inputs".to_owned(), report::inputs(tail.shared()));
        }
        if wants_metrics {
            let text = openmetrics::write(&self.families());
            members.insert("metrics".to_owned(), text.into());
        }
        self.visitors.finish(client, &members);
    }

    /// What there is to be measured.
    fn families(&self) -> Vec<Family> {
        metrics::families(&Known {
            started: self.started,
            is_configured: self.configured,
            engine: &self.engine,
            history: &self.history,
            sources: &self.sources,
            tail: self.tail.as_ref().map(Tail::shared),
        })
    }

    /// Everything that is waited for.
    fn reasons(&self) -> Vec<String> {
        let mut lines = waiting::reasons(&self.engine, &self.sources);
        let running = self.running.as_ref();
        let rule = running.and_then(|running| self.engine.rule(running.rule));
        if let (Some(running), Some((rule, _))) = (running, rule) {
            let seconds = running.since.elapsed().as_secs();
            lines.push(format!(
                "the handler of {} has been running for {seconds}s",
                rule.label()
            ));
        }
        lines
    }

    /// The next time at which something is due by itself.
    fn timer(&self) -> Instant {
        /// Nothing is due: far enough away to be no wake-up at all.
        const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);
        let retry = match self.engine.next(Instant::now()) {
            Step::Idle(until) if self.running.is_none() && !self.wanes => until,
            _ => None,
        };
        let reminder = (!self.configured).then(|| self.reminder.due());
        let due = [retry, reminder, self.deadline].into_iter().flatten().min();
        due.unwrap_or_else(|| Instant::now() + NEVER)
    }

    fn tell(&self, message: Message) {
        if let Err(error) = link::tell(&*self.link, message) {
            error!("cannot reach init: {error}");
        }
    }
}

async fn finished(running: &mut Option<Running>) -> Result<Effect, Failure> {
    match running {
        Some(running) => match (&mut running.outcome).await {
            Ok(outcome) => outcome,
            Err(_) => Err("its task was lost".to_owned().into()),
        },
        None => std::future::pending().await,
    }
}

/// The next word of init. Nothing is lost when this is dropped before it is done.
async fn next_word(link: &UnixDatagram) -> Word {
    loop {
        if link.readable().await.is_err() {
            return Word::End;
        }
        let heard = link.try_io(Interest::READABLE, || Ok(link::hear(link)?));
        match heard {
            Ok(word) => return word,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return Word::End,
        }
    }
}

fn limit(fail_limit: u32) -> String {
    match fail_limit {
        0 => "no limit".to_owned(),
        limit => limit.to_string(),
    }
}
