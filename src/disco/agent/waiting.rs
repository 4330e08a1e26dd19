//! Answers "why is it waiting?": which rule, which interface, which source, and never a value.
//!
//! Each change of a rule's state is a line at DEBUG, a failed validation one at INFO. Whoever waits
//! long is told at WARN, at growing intervals.

use std::time::{Duration, Instant};

use tracing::{debug, info};

use super::engine::{Blocker, Engine, Status};
use super::sources::Source;
use crate::contract::rule::Rule;
use crate::contract::schema::Violation;
use crate::contract::{suggest, text};

/// The first reminder at WARN; each next one waits twice as long, up to [`LONGEST`].
const FIRST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(600);
/// Violations named in one line.
const SHOWN: usize = 4;

/// When to remind.
pub struct Reminder {
    at: Instant,
    pause: Duration,
}

impl Reminder {
    /// The first one is due 10 s from now.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            at: now + FIRST,
            pause: FIRST,
        }
    }

    /// When the next one is due.
    #[must_use]
    pub fn due(&self) -> Instant {
        self.at
    }

    /// Whether it is time to say at WARN what is waited for; if so, sets the time of the next.
    pub fn is_due(&mut self, now: Instant) -> bool {
        let is_due = now >= self.at;
        if is_due {
            self.pause = (self.pause * 2).min(LONGEST);
            self.at = now + self.pause;
        }
        is_due
    }
}

/// Logs how far a rule is now.
pub fn log_status(rule: &Rule, status: &Status, sources: &[Source]) {
    match status {
        Status::Pending(blocked) => {
            debug!("rule pending {}", rule.label());
            for (name, blocker) in blocked {
                match blocker {
                    Blocker::Invalid(violations) => {
                        info!("Failed to validate {name}: {}", list(name, violations));
                    }
                    _ => debug!("waiting for {}", blocker_text(name, blocker, sources)),
                }
            }
        }
        Status::Ready => debug!("rule ready {}", rule.label()),
        Status::Done => debug!("rule done {}", rule.label()),
        Status::Unknown | Status::Failing(_) | Status::GaveUp => {}
    }
}

/// Everything that is waited for, a line each: sources first, since the rest may follow from them.
#[must_use]
pub fn reasons(engine: &Engine, sources: &[Source]) -> Vec<String> {
    let mut lines = Vec::new();
    for source in sources {
        match (&source.down, &source.snapshot) {
            (Some((reason, since)), _) => {
                let time = match since.elapsed().as_secs() {
                    0 => String::new(),
                    seconds => format!(" for {seconds}s"),
                };
                lines.push(format!(
                    "source {} cannot be read{time}: {reason}",
                    source.name
                ));
            }
            (None, None) => lines.push(format!("source {} has not answered yet", source.name)),
            (None, Some(_)) => {}
        }
    }
    for (rule, status) in engine.rules() {
        lines.extend(of_rule(rule, status, sources));
    }
    lines
}

/// What a rule waits for.
#[must_use]
pub fn of_rule(rule: &Rule, status: &Status, sources: &[Source]) -> Vec<String> {
    let label = rule.label();
    match status {
        // Nothing, or the sources are why.
        Status::Unknown | Status::Done | Status::Ready => Vec::new(),
        Status::Pending(blocked) => blocked
            .iter()
            .map(|(name, blocker)| {
                format!(
                    "rule {label} needs {}",
                    blocker_text(name, blocker, sources)
                )
            })
            .collect(),
        Status::Failing(failures) => {
            let times = text::count(usize::try_from(*failures).unwrap_or(usize::MAX), "time");
            vec![format!(
                "rule {label}: its handler failed {times} and will be tried again"
            )]
        }
        Status::GaveUp => vec![format!(
            "rule {label}: its handler failed too often with this data"
        )],
    }
}

/// What is missing of an interface, or wrong with it.
#[must_use]
pub fn blocker_text(name: &str, blocker: &Blocker, sources: &[Source]) -> String {
    match blocker {
        Blocker::Missing if sources.is_empty() => {
            format!("{name}: there is no source; name one in DISCO_CFG")
        }
        Blocker::Missing => {
            let (places, hint) = (places(sources), hint(name, sources));
            format!("{name}: missing from {}{hint}", places.join(", "))
        }
        Blocker::NoSchema => format!("{name}: it has no schema"),
        Blocker::Invalid(violations) => list(name, violations),
    }
}

/// Where an interface was looked for.
#[must_use]
pub fn places(sources: &[Source]) -> Vec<String> {
    sources.iter().map(place).collect()
}

/// The key that may have been meant, as [`suggest::hint`] has it.
#[must_use]
pub fn hint(name: &str, sources: &[Source]) -> String {
    let keys = sources
        .iter()
        .filter_map(|source| source.snapshot.as_ref()?.as_object());
    let keys = keys.flat_map(|map| map.keys()).map(String::as_str);
    suggest::hint(name, keys)
}

/// A source, and what to check if there is nothing at all in it.
fn place(source: &Source) -> String {
    let is_empty =
        |tree: &serde_json::Value| tree.as_object().is_some_and(serde_json::Map::is_empty);
    match source.snapshot.as_ref().filter(|tree| is_empty(tree)) {
        Some(_) if !source.scope.is_empty() => {
            format!("{} (nothing there; check {})", source.name, source.scope)
        }
        Some(_) => format!("{} (which is empty)", source.name),
        None => source.name.clone(),
    }
}

fn list(name: &str, violations: &[Violation]) -> String {
    let mut shown: Vec<String> = violations
        .iter()
        .take(SHOWN)
        .map(|violation| {
            let dot = if violation.path.is_empty() { "" } else { "." };
            format!(
                "{name}{dot}{}: {} ({})",
                violation.path, violation.message, violation.keyword
            )
        })
        .collect();
    if violations.len() > SHOWN {
        shown.push(format!("and {} more", violations.len() - SHOWN));
    }
    shown.join("; ")
}
