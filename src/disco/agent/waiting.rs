//! Answers "why is it waiting?": which rule, which interface, which source, and never a value.
//!
//! Each change of a rule's state is a line at DEBUG, a failed validation one at INFO. Whoever waits
//! long is told at WARN, at growing intervals.

use std::time::{Duration, Instant};

use tracing::{debug, info, warn};

use super::engine::{Blocker, Engine, Status};
use super::sources::Source;
use crate::contract::rule::Rule;
use crate::contract::schema::Violation;

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

    /// Says at WARN what is waited for, if it is time.
    pub fn remind(&mut self, now: Instant, engine: &Engine, sources: &[Source]) {
        if now < self.at {
            return;
        }
        for line in reasons(engine, sources) {
            warn!("still waiting: {line}");
        }
        self.pause = (self.pause * 2).min(LONGEST);
        self.at = now + self.pause;
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
                let seconds = since.elapsed().as_secs();
                lines.push(format!(
                    "source {} cannot be read for {seconds}s: {reason}",
                    source.name
                ));
            }
            (None, None) => lines.push(format!("source {} has not answered yet", source.name)),
            (None, Some(_)) => {}
        }
    }
    for (rule, status) in engine.rules() {
        let label = rule.label();
        match status {
            // The sources above are why.
            Status::Unknown | Status::Done | Status::Ready => {}
            Status::Pending(blocked) => {
                for (name, blocker) in blocked {
                    lines.push(format!(
                        "rule {label} needs {}",
                        blocker_text(name, blocker, sources)
                    ));
                }
            }
            Status::Failing(failures) => {
                lines.push(format!(
                    "rule {label}: its handler failed {failures} times and will be tried again"
                ));
            }
            Status::GaveUp => lines.push(format!(
                "rule {label}: its handler failed too often with this data"
            )),
        }
    }
    lines
}

fn blocker_text(name: &str, blocker: &Blocker, sources: &[Source]) -> String {
    match blocker {
        Blocker::Missing if sources.is_empty() => {
            format!("{name}: there is no source; name one in DISCO_CFG")
        }
        Blocker::Missing => {
            let names: Vec<_> = sources.iter().map(|source| source.name.as_str()).collect();
            format!("{name}: missing from {}", names.join(", "))
        }
        Blocker::NoSchema => format!("{name}: it has no schema"),
        Blocker::Invalid(violations) => list(name, violations),
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
