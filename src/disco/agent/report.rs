//! The agent's part of the status document: sources, rules, and what each of them waits for.
//!
//! Names, key paths, constraints and times; never a value. What is told here and what the log tells
//! come from the same place, [`super::waiting`].

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;

use super::engine::{Blocker, Engine, Status};
use super::handler::Failure;
use super::sources::Source;
use super::waiting;

/// How long somebody who asks may take to read the answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// How many may be at it. Who comes beyond that gets what fits into a socket at once.
const READERS: usize = 16;

/// What is remembered of a rule beyond its status.
#[derive(Default)]
struct Memory {
    state: &'static str,
    since: Option<Instant>,
    failure: Option<(u32, Failure)>,
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

    /// Takes in that a handler failed so many times with the present data, or succeeded.
    pub fn ran(&mut self, index: usize, failure: Option<(u32, Failure)>) {
        if let Some(memory) = self.0.get_mut(index) {
            memory.failure = failure;
        }
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

/// Those who ask how it is.
#[derive(Default)]
pub struct Readers(Rc<()>);

impl Readers {
    /// Ends a document that init has begun, and closes the connection. Waits for nobody: what a slow
    /// reader does not take at once is a task's, for two seconds.
    pub fn finish(&self, client: OwnedFd, members: &Map<String, Value>) {
        let members = members.iter();
        let mut text: String = members
            .map(|(name, value)| format!(",\"{name}\":{value}"))
            .collect();
        text.push_str("}\n");
        let client = StdUnixStream::from(client);
        let sent = crate::sys::socket::send_now(&client, text.as_bytes()).unwrap_or(0);
        if sent == text.len() || Rc::strong_count(&self.0) > READERS {
            return;
        }
        let Ok(mut client) = UnixStream::from_std(client) else {
            return;
        };
        let ticket = self.0.clone();
        tokio::task::spawn_local(async move {
            let rest = text.as_bytes().get(sent..).unwrap_or_default();
            // Whoever does not read is no concern of ours.
            let _ = tokio::time::timeout(PATIENCE, client.write_all(rest)).await;
            drop(ticket);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;
    use tokio::task::LocalSet;

    /// Connections that are answered with more than a socket takes at once.
    fn answered(count: usize) -> (Vec<StdUnixStream>, usize) {
        let members = Map::from_iter([("long".to_owned(), "x".repeat(4 << 20).into())]);
        let readers = Readers::default();
        let mut clients = Vec::new();
        for _ in 0..count {
            let (near, far) = StdUnixStream::pair().unwrap();
            far.set_nonblocking(true).unwrap();
            readers.finish(far.into(), &members);
            clients.push(near);
        }
        let tickets = Rc::strong_count(&readers.0) - 1;
        (clients, tickets)
    }

    /// What a test does with them in a runtime that has no other work.
    fn served<T>(act: impl Future<Output = T>) -> T {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build().unwrap();
        LocalSet::new().block_on(&runtime, act)
    }

    #[test]
    fn whoever_reads_gets_all_of_it_however_long() {
        let text = served(async {
            let (mut clients, _) = answered(1);
            let client = clients.remove(0);
            let reading = std::thread::spawn(move || {
                let mut text = String::new();
                (&client).read_to_string(&mut text).unwrap();
                text
            });
            while !reading.is_finished() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            reading.join().unwrap()
        });
        assert_eq!(text.len(), (4 << 20) + ",\"long\":\"\"}\n".len());
        assert!(text.ends_with("x\"}\n"));
    }

    #[test]
    fn those_who_never_read_are_few_and_left_alone_in_the_end() {
        served(async {
            let (clients, tickets) = answered(READERS + 10);
            assert_eq!(tickets, READERS);
            let mut last = clients.last().unwrap();
            let mut text = Vec::new();
            last.read_to_end(&mut text).unwrap();
            assert!(!text.ends_with(b"}\n"), "closed when the socket was full");
        });
    }
}
