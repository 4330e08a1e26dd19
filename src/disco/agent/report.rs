//! The agent's part of the status document: sources, rules, and what each of them waits for.
//!
//! Names, key paths, constraints and times; never a value. What is told here and what the log tells
//! come from the same place, [`super::waiting`].

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::engine::{Blocker, Engine, Status};
use super::handler::Failure;
use super::sources::Source;
use super::tail::{Role, Shared};
use super::waiting;
use crate::disco::ledger::{self, Count};

/// What is remembered of a rule beyond its status.
#[derive(Default)]
struct Memory {
    state: &'static str,
    since: Option<Instant>,
    failure: Option<(u32, Failure)>,
    runs: Runs,
}

/// How often a handler ran, and how long in all.
#[derive(Debug, Clone, Copy, Default)]
pub struct Runs {
    /// Runs that succeeded.
    pub succeeded: u64,
    /// Runs that failed.
    pub failed: u64,
    /// Time of all of them.
    pub time: Duration,
}

/// What has become of the rules so far.
#[derive(Default)]
pub struct History(Vec<Memory>);

impl History {
    /// Takes in how far the rules are now; `running` is the one whose handler is at work.
    pub fn note(&mut self, engine: &Engine, running: Option<usize>, now: Instant) {
        for (index, (_, status)) in engine.rules().enumerate() {
            if index == self.0.len() {
                self.0.push(Memory::default());
            }
            let state = state(status, running == Some(index));
            if let Some(memory) = self.0.get_mut(index).filter(|memory| memory.state != state) {
                memory.state = state;
                memory.since = Some(now);
                // Other data than that with which it failed.
                if matches!(state, "ready" | "waiting") {
                    memory.failure = None;
                }
            }
        }
    }

    /// Takes in that a handler ran for so long and failed so many times with the present data, or
    /// succeeded.
    pub fn ran(&mut self, index: usize, time: Duration, failure: Option<(u32, Failure)>) {
        let succeeded = u64::from(failure.is_none());
        ledger::add(Count::RulesFired, succeeded);
        ledger::add(Count::RulesFailed, 1 - succeeded);
        ledger::add_time(Count::HandlerTime, time);
        if let Some(memory) = self.0.get_mut(index) {
            memory.failure = failure;
            memory.runs.succeeded += succeeded;
            memory.runs.failed += 1 - succeeded;
            memory.runs.time += time;
        }
    }

    /// How often the handler of a rule ran.
    #[must_use]
    pub fn runs(&self, index: usize) -> Runs {
        self.0
            .get(index)
            .map_or_else(Runs::default, |memory| memory.runs)
    }
}

/// The word for a status.
fn state(status: &Status, is_running: bool) -> &'static str {
    match status {
        _ if is_running => "running",
        Status::Unknown | Status::Pending(_) => "waiting",
        Status::Ready => "ready",
        Status::Failing(_) => "failing",
        Status::GaveUp => "gave up",
        Status::Done => "done",
    }
}

/// The members that the agent adds.
#[must_use]
pub fn members(
    engine: &Engine,
    sources: &[Source],
    history: &History,
    running: Option<usize>,
    reasons: Vec<String>,
) -> Map<String, Value> {
    let rules = engine.rules().enumerate().map(|(index, (rule, status))| {
        let memory = history.0.get(index);
        let mut told = json!({
            "label": rule.label(),
            "file": rule.file.display().to_string(),
            "state": state(status, running == Some(index)),
        });
        if let Some(since) = memory.and_then(|memory| memory.since) {
            told["since"] = seconds(since);
        }
        if let Some((failures, failure)) = memory.and_then(|memory| memory.failure.as_ref()) {
            told["failures"] = (*failures).into();
            told["reason"] = failure.reason.as_str().into();
            told["stderr"] = failure.lines.clone().into();
        }
        if let Status::Pending(blocked) = status {
            let all = blocked.iter();
            told["waiting"] = all.map(|(name, why)| blocker(name, why, sources)).collect();
        }
        let coerced: Vec<Value> = engine
            .coerced(index)
            .map(|(path, kind)| json!({"path": path, "to": kind}))
            .collect();
        if !coerced.is_empty() {
            told["coerced"] = coerced.into();
        }
        told
    });
    let mut members = Map::new();
    members.insert("sources".to_owned(), sources.iter().map(source).collect());
    members.insert("rules".to_owned(), rules.collect());
    members.insert("waiting_for".to_owned(), reasons.into());
    members
}

/// What the agent says of what it reads: paths, and how much came in.
#[must_use]
pub fn inputs(shared: &Shared) -> Value {
    let read = |number: &AtomicU64| number.load(Ordering::Relaxed);
    let inputs = shared.inputs();
    let told = inputs.iter().map(|input| {
        let of = match input.role {
            Role::Logs => "logs",
            Role::Metrics => "metrics",
        };
        json!({"path": input.path, "of": of, "bytes": read(&input.bytes), "lines": read(&input.lines)})
    });
    told.collect()
}

fn source(source: &Source) -> Value {
    let (state, reason) = match (&source.down, &source.snapshot) {
        (Some((reason, _)), _) => ("down", Some(reason)),
        (None, Some(_)) => ("up", None),
        (None, None) => ("unanswered", None),
    };
    let keys = source.snapshot.as_ref().and_then(Value::as_object);
    let mut told = json!({"name": source.name, "state": state, "since": seconds(source.since)});
    if let Some(reason) = reason {
        told["reason"] = reason.as_str().into();
    }
    if let Some(keys) = keys {
        told["keys"] = keys.len().into();
    }
    told
}

fn blocker(name: &str, why: &Blocker, sources: &[Source]) -> Value {
    let text = waiting::blocker_text(name, why, sources);
    match why {
        Blocker::Missing => {
            let mut told = json!({"interface": name, "why": "missing",
                "looked_in": waiting::places(sources), "text": text});
            let hint = waiting::hint(name, sources);
            if !hint.is_empty() {
                told["hint"] = hint.trim_start_matches("; ").into();
            }
            told
        }
        Blocker::NoSchema => json!({"interface": name, "why": "no schema", "text": text}),
        Blocker::Invalid(violations) => {
            let violations = violations.iter().map(|violation| {
                json!({"path": violation.path, "message": violation.message,
                    "keyword": violation.keyword})
            });
            json!({"interface": name, "why": "invalid",
                "violations": violations.collect::<Value>(), "text": text})
        }
    }
}

/// Since when, as seconds with milliseconds.
fn seconds(since: Instant) -> Value {
    #[expect(
        clippy::cast_precision_loss,
        reason = "milliseconds since a start are few enough to be exact"
    )]
    let seconds = since.elapsed().as_millis() as f64 / 1000.0;
    seconds.into()
}
