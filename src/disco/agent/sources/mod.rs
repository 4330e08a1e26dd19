//! Sources: each is a task that yields whole snapshots of its tree, for as long as the agent lives.
//!
//! # Adding a source
//! 1. Its settings in `settings/NAME.rs`, a variant of [`SourceSettings`].
//! 2. Here a file with `pub async fn run(settings, publisher)` that never returns: read everything,
//!    [`Publisher::snapshot`], wait until the backend wakes it, read again. On any failure
//!    [`Publisher::down`], pause by [`Publisher::pause`], and start over with a full read.
//! 3. An arm in [`spawn`].
//!
//! Invariants: a failed read never becomes an empty tree; contents are compared, never versions
//! alone; no value is logged, only key paths.

pub mod consul;
pub mod env;
pub mod etcd;
pub mod etcd2;
pub mod flat;
pub mod kv;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tracing::{debug, info, warn};

use super::backoff::Backoff;
use crate::contract::tree;
use crate::disco::log;
use crate::disco::settings::{Settings, SourceSettings};

/// News from a source.
#[derive(Debug)]
pub enum Update {
    /// Its tree as a whole; always an object.
    Snapshot(Value),
    /// It cannot be read now; its last snapshot stands.
    Down(String),
    /// It can be read again, with the snapshot unchanged.
    Up,
}

/// A source as the rest of the agent sees it.
#[derive(Debug)]
pub struct Source {
    /// How logs name it: `flatfile`, `consul`, `etcd`, `env`, `consul service db`.
    pub name: String,
    /// Whether its values are strings that a schema may coerce.
    pub is_textual: bool,
    /// The settings that decide what is in it, for the message when nothing is.
    pub scope: String,
    /// The latest snapshot; `None` until the first.
    pub snapshot: Option<Value>,
    /// Why and since when it cannot be read, if so.
    pub down: Option<(String, Instant)>,
    /// Since when it is as it is: not heard of yet, readable, or not.
    pub since: Instant,
}

impl Source {
    /// Takes in an update. Returns whether the tree may have changed.
    pub fn apply(&mut self, update: Update) -> bool {
        match update {
            Update::Snapshot(tree) => {
                if self.down.is_some() || self.snapshot.is_none() {
                    self.since = Instant::now();
                }
                self.down = None;
                self.snapshot = Some(tree);
                true
            }
            Update::Up => {
                self.down = None;
                self.since = Instant::now();
                false
            }
            Update::Down(reason) => {
                let since = self
                    .down
                    .take()
                    .map_or_else(Instant::now, |(_, since)| since);
                self.since = since;
                self.down = Some((reason, since));
                false
            }
        }
    }
}

/// Through which a source speaks. Compares contents, and logs each change of state once.
pub struct Publisher {
    index: usize,
    name: String,
    updates: mpsc::UnboundedSender<(usize, Update)>,
    last: Option<Value>,
    is_down: bool,
    failures: u32,
    notes: Vec<String>,
    backoff: Backoff,
    wanted: watch::Receiver<bool>,
}

impl Publisher {
    /// Hands over a tree. Whatever is no object counts as an empty one.
    pub fn snapshot(&mut self, tree: Value) {
        let tree = match tree {
            tree @ Value::Object(_) => tree::nest_dotted(tree),
            _ => Value::Object(serde_json::Map::new()),
        };
        if self.is_down {
            info!(source = %self.name, failures = self.failures, "source is back");
        }
        let was_down = std::mem::take(&mut self.is_down);
        self.failures = 0;
        self.backoff.reset();
        if self.last.as_ref() == Some(&tree) {
            if was_down {
                self.send(Update::Up);
            }
            return;
        }
        let keys = tree.as_object().into_iter().flat_map(|map| map.keys());
        debug!("Learn {} from {}", log::list(keys), self.name);
        self.last = Some(tree.clone());
        self.send(Update::Snapshot(tree));
    }

    /// Says that the source cannot be read, and why: a fragment without values or URLs' secrets.
    pub fn down(&mut self, reason: impl Into<String>) {
        let reason = reason.into();
        self.failures = self.failures.saturating_add(1);
        if self.is_down {
            debug!(source = %self.name, failures = self.failures, "still unreadable: {reason}");
        } else {
            // A snippet may follow the first line.
            let (head, rest) = reason.split_at(reason.find('\n').unwrap_or(reason.len()));
            let then = if head.contains("waiting for") {
                ""
            } else {
                "; retrying"
            };
            warn!(source = %self.name, "{head}{then}{rest}");
        }
        self.is_down = true;
        self.send(Update::Down(reason));
    }

    /// Warns of oddities in the data, each for as long as it is there and only when it appears.
    pub fn note(&mut self, notes: Vec<String>) {
        /// A source that is odd through and through must not bury the log.
        const SHOWN: usize = 20;
        let before: HashSet<&String> = self.notes.iter().collect();
        let new: Vec<&String> = notes.iter().filter(|note| !before.contains(note)).collect();
        for note in new.iter().take(SHOWN) {
            warn!(source = %self.name, "{note}");
        }
        if new.len() > SHOWN {
            warn!(source = %self.name, "and {} more like that", new.len() - SHOWN);
        }
        self.notes = notes;
    }

    /// Waits until more than the first snapshot is wanted. Where that is all that the rules need,
    /// a source may spare itself the watching.
    pub async fn wanted(&mut self) {
        // The sender is gone only when the agent is on its way out.
        let _ = self.wanted.wait_for(|wanted| *wanted).await;
    }

    /// Pauses before a retry: capped, growing, jittered.
    pub async fn pause(&mut self) {
        tokio::time::sleep(self.backoff.pause()).await;
    }

    fn send(&self, update: Update) {
        // The receiver is gone only when the agent is on its way out.
        let _ = self.updates.send((self.index, update));
    }
}

/// Starts every source as a task of the current `LocalSet`. `wanted` turns true when the first
/// snapshots are not enough.
#[must_use]
pub fn spawn(
    settings: &Settings,
    declared: &[SourceSettings],
    wanted: &watch::Receiver<bool>,
) -> (Vec<Source>, mpsc::UnboundedReceiver<(usize, Update)>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let mut sources: Vec<Source> = Vec::new();
    let mut add = |name: String, is_textual: bool, scope: String| {
        let publisher = Publisher {
            index: sources.len(),
            name: name.clone(),
            updates: sender.clone(),
            last: None,
            is_down: false,
            failures: 0,
            notes: Vec::new(),
            backoff: Backoff::new(settings.interval),
            wanted: wanted.clone(),
        };
        sources.push(Source {
            name,
            is_textual,
            scope,
            snapshot: None,
            down: None,
            since: Instant::now(),
        });
        publisher
    };
    for source in declared {
        match source.clone() {
            SourceSettings::Flat(flat) => {
                let publisher = add("flatfile".to_owned(), flat.values, String::new());
                tokio::task::spawn_local(flat::run(flat, publisher));
            }
            SourceSettings::Consul(consul) => {
                for service in &consul.services {
                    let name = format!("consul service {service}");
                    let publisher = add(name, false, String::new());
                    tokio::task::spawn_local(consul::run_service(
                        consul.clone(),
                        service.clone(),
                        publisher,
                    ));
                }
                let scope = format!("consul.prefix `{}` and consul.token", consul.prefix);
                let publisher = add("consul".to_owned(), true, scope);
                tokio::task::spawn_local(consul::run(consul, publisher));
            }
            SourceSettings::Etcd(etcd) => {
                let scope = format!("etcd.prefix `{}`, in which a leading / counts", etcd.prefix);
                let publisher = add("etcd".to_owned(), true, scope);
                tokio::task::spawn_local(etcd::run(etcd, publisher));
            }
            SourceSettings::Env(env) => {
                let scope = format!("env.prefix `{}`", env.prefix);
                let publisher = add("env".to_owned(), true, scope);
                env::run(&env, publisher);
            }
        }
    }
    (sources, receiver)
}

/// Limits how often a source reads: a burst, then a steady rate, so that a store that is written to
/// without end cannot keep the agent busy. The first event after a quiet time is never delayed.
pub struct Throttle {
    tokens: f64,
    refilled: Instant,
}

impl Default for Throttle {
    /// A full bucket.
    fn default() -> Self {
        Self {
            tokens: Self::BURST,
            refilled: Instant::now(),
        }
    }
}

impl Throttle {
    const BURST: f64 = 50.0;
    const PER_SECOND: f64 = 20.0;

    /// Takes a token, waiting for it if none is left.
    pub async fn take(&mut self) {
        let now = Instant::now();
        let gained = (now - self.refilled).as_secs_f64() * Self::PER_SECOND;
        self.tokens = (self.tokens + gained).min(Self::BURST) - 1.0;
        self.refilled = now;
        if self.tokens < 0.0 {
            tokio::time::sleep(Duration::from_secs_f64(-self.tokens / Self::PER_SECOND)).await;
        }
    }
}
