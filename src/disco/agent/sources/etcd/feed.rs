//! Where v3 and v2 hand over what they read, and from where `run` sees how well it went.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::disco::agent::sources::Publisher;

/// The publisher, and how far following has come.
pub(crate) struct Feed {
    pub(super) publisher: Publisher,
    has_read: bool,
    watching: Option<Instant>,
    unwatched: Option<String>,
}

impl Feed {
    pub(super) fn new(publisher: Publisher) -> Self {
        Self {
            publisher,
            has_read: false,
            watching: None,
            unwatched: None,
        }
    }

    /// Hands over a tree and what is odd about it.
    pub(crate) fn publish(&mut self, (tree, mut notes): (Value, Vec<String>)) {
        self.has_read = true;
        notes.extend(self.unwatched.clone());
        self.publisher.note(notes);
        self.publisher.snapshot(tree);
    }

    /// From now on changes are heard of.
    pub(crate) fn watching(&mut self) {
        self.watching = Some(Instant::now());
        self.unwatched = None;
    }

    /// Forgets how far the last attempt came.
    pub(super) fn start_over(&mut self) {
        self.has_read = false;
        self.watching = None;
    }

    pub(super) fn has_read(&self) -> bool {
        self.has_read
    }

    pub(super) fn is_watched(&self) -> bool {
        self.watching.is_some()
    }

    /// Whether changes were heard of for at least `time`.
    pub(super) fn was_watched_for(&self, time: Duration) -> bool {
        self.watching.is_some_and(|since| since.elapsed() >= time)
    }

    /// Says, with the next tree, that nothing is heard of changes.
    pub(super) fn unwatched(&mut self, reason: String) {
        self.unwatched = Some(reason);
    }
}
