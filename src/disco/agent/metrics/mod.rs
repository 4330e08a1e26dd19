//! What there is to be measured, put together: disco's own numbers, what the agent knows of rules,
//! sources and inputs, and the points of the container. [`serve`] answers those who ask, [`push`] sends.

pub mod push;
pub mod serve;

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime};

use super::engine::Engine;
use super::report::History;
use super::sources::Source;
use super::tail::Shared;
use crate::contract::logline::Level;
use crate::contract::metrics::model::{Family, Kind, Series, Value};
use crate::disco::numbers::{self, Numbers, family, number, series};

/// All that is known.
pub struct Known<'a> {
    /// When disco started.
    pub started: Instant,
    /// Whether every rule has been complete once.
    pub is_configured: bool,
    /// The rules.
    pub engine: &'a Engine,
    /// What has become of them.
    pub history: &'a History,
    /// The sources.
    pub sources: &'a [Source],
    /// The inputs.
    pub tail: Option<&'a Shared>,
}

/// All families, disco's own first.
#[must_use]
pub fn families(known: &Known<'_>) -> Vec<Family> {
    let start = numbers::ago(known.started.elapsed());
    let mut all = numbers::families(&Numbers::read(), start, known.is_configured);
    all.extend(of_rules(known.engine, known.history));
    all.extend(of_sources(known.sources));
    if let Some(tail) = known.tail {
        all.extend(of_inputs(tail));
        all.extend(tail.store().families(SystemTime::now()));
    }
    all
}

/// Gives out names, each once.
#[derive(Default)]
struct Unique(HashSet<String>);

impl Unique {
    fn name(&mut self, name: String) -> String {
        let others = (2..).map(|number: u32| format!("{name} #{number}"));
        let mut all = std::iter::once(name.clone()).chain(others);
        all.find(|name| self.0.insert(name.clone())).unwrap_or(name)
    }
}

fn of_rules(engine: &Engine, history: &History) -> Vec<Family> {
    let (mut runs, mut failed, mut ready) = (Vec::new(), Vec::new(), Vec::new());
    let mut names = Unique::default();
    for (index, (rule, status)) in engine.rules().enumerate() {
        let name = names.name(rule.label());
        let label = [("rule", name.as_str())];
        let past = history.runs(index);
        let sum = past.time.as_secs_f64();
        let count = past.succeeded + past.failed;
        runs.push(series(&label, Value::Summary { count, sum }));
        failed.push(series(&label, number(past.failed)));
        ready.push(series(&label, number(status.is_complete().into())));
    }
    if runs.is_empty() {
        return Vec::new();
    }
    vec![
        family(
            "disco_rule_handler_seconds",
            Kind::Summary,
            "Runs of the handler, and their time.",
            runs,
        ),
        family(
            "disco_rule_handler_failed",
            Kind::Counter,
            "Runs of the handler that failed.",
            failed,
        ),
        family(
            "disco_rule_complete",
            Kind::Gauge,
            "Whether the latest data has been applied.",
            ready,
        ),
    ]
}

fn of_sources(sources: &[Source]) -> Vec<Family> {
    let (mut up, mut lag) = (Vec::new(), Vec::new());
    let mut names = Unique::default();
    for source in sources {
        let name = names.name(source.name.clone());
        let label = [("source", name.as_str())];
        let is_up = source.down.is_none() && source.snapshot.is_some();
        up.push(series(&label, number(is_up.into())));
        // How old what is known may be: while a source can be read it tells of changes by itself.
        let since = source
            .down
            .as_ref()
            .map_or(source.since, |(_, since)| *since);
        let behind = if is_up {
            0.0
        } else {
            since.elapsed().as_secs_f64()
        };
        lag.push(series(&label, Value::Number(behind)));
    }
    if up.is_empty() {
        return Vec::new();
    }
    vec![
        family(
            "disco_source_up",
            Kind::Gauge,
            "Whether the source can be read.",
            up,
        ),
        family(
            "disco_source_lag_seconds",
            Kind::Gauge,
            "Since when it cannot.",
            lag,
        ),
    ]
}

fn of_inputs(tail: &Shared) -> Vec<Family> {
    let read = |number: &AtomicU64| number.load(Ordering::Relaxed);
    let by_level = |numbers: &[AtomicU64]| -> Vec<Series> {
        let mut sums: Vec<(&str, u64)> = Vec::new();
        for (level, count) in Level::ALL.iter().zip(numbers) {
            match sums.iter_mut().find(|(label, _)| *label == level.label()) {
                Some((_, sum)) => *sum += read(count),
                None => sums.push((level.label(), read(count))),
            }
        }
        let sums = sums.iter();
        sums.map(|(label, sum)| series(&[("level", label)], number(*sum)))
            .collect()
    };
    let inputs = tail.inputs();
    let by_path = |count: &dyn Fn(usize) -> u64| -> Vec<Series> {
        let paths = inputs.iter().enumerate();
        paths
            .map(|(at, input)| series(&[("path", &input.path)], number(count(at))))
            .collect()
    };
    let bytes = by_path(&|at| inputs.get(at).map_or(0, |input| read(&input.bytes)));
    let lines = by_path(&|at| inputs.get(at).map_or(0, |input| read(&input.lines)));
    let counts = tail.store().counts();
    let one = |value: u64| vec![series(&[], number(value))];
    let counter = Kind::Counter;
    vec![
        family("disco_input_bytes", counter, "Bytes read.", bytes),
        family("disco_input_lines", counter, "Lines read.", lines),
        family(
            "disco_log_lines",
            counter,
            "Log lines written.",
            by_level(&tail.lines),
        ),
        family(
            "disco_log_lines_dropped",
            counter,
            "Log lines beyond the rate of their level.",
            by_level(&tail.dropped),
        ),
        family(
            "disco_points",
            counter,
            "Points of metrics taken.",
            one(counts.points),
        ),
        family(
            "disco_points_refused",
            counter,
            "Points beyond a limit, and what could not be read as one.",
            one(counts.refused + read(&tail.refused)),
        ),
        family(
            "disco_series",
            Kind::Gauge,
            "Series that are kept.",
            one(u64::try_from(counts.series).unwrap_or(u64::MAX)),
        ),
    ]
}
