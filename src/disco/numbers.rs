//! What disco itself can be measured by, as families of metrics: what init counts, and what the control
//! group says. The agent adds what it knows of rules and sources ([`super::agent::metrics`]).
//!
//! Names begin with `disco_`, as no metric of the container's does.

use std::time::{Duration, SystemTime};

use serde_json::{Value as Json, json};

use super::cgroup;
use super::ledger::{self, Count};
use crate::contract::metrics::model::{Family, Kind, Series, Value};

/// What init counts.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Numbers {
    /// Starts of the command.
    pub starts: u64,
    /// Whether it runs.
    pub is_up: bool,
    /// Processes reaped that nobody else waited for.
    pub orphans: u64,
    /// Starts of an agent.
    pub agents: u64,
    /// Runs of handlers that succeeded.
    pub fired: u64,
    /// Runs of handlers that failed.
    pub failed: u64,
    /// Time spent in handlers.
    pub handler_time: Duration,
}

impl Numbers {
    /// As they are now.
    #[must_use]
    pub fn read() -> Self {
        Self {
            starts: ledger::get(Count::CommandStarts),
            is_up: ledger::get(Count::CommandUp) > 0,
            orphans: ledger::get(Count::Orphans),
            agents: ledger::get(Count::AgentStarts),
            fired: ledger::get(Count::RulesFired),
            failed: ledger::get(Count::RulesFailed),
            handler_time: Duration::from_nanos(ledger::get(Count::HandlerTime)),
        }
    }

    /// As the status document of a disco tells them.
    #[must_use]
    pub fn of_document(document: &Json) -> Self {
        let numbers = document.get("counts").unwrap_or(&Json::Null);
        let number = |key: &str| numbers.get(key).and_then(Json::as_u64).unwrap_or(0);
        Self {
            starts: number("starts"),
            is_up: document["command"]["state"] == json!("running"),
            orphans: number("orphans"),
            agents: number("agents"),
            fired: number("fired"),
            failed: number("failed"),
            handler_time: Duration::from_nanos(number("handler_ns")),
        }
    }
}

/// The time so long ago, or now if there was none.
#[must_use]
pub fn ago(time: Duration) -> SystemTime {
    let now = SystemTime::now();
    now.checked_sub(time).unwrap_or(now)
}

/// A family; its unit is that in which the name ends.
#[must_use]
pub fn family(name: &str, kind: Kind, help: &str, samples: Vec<Series>) -> Family {
    let unit = ["seconds", "bytes"]
        .into_iter()
        .find(|unit| name.ends_with(unit));
    Family {
        name: name.to_owned(),
        kind,
        unit: unit.map(ToOwned::to_owned),
        help: help.to_owned(),
        samples,
    }
}

/// A sample with its labels.
#[must_use]
pub fn series(labels: &[(&str, &str)], value: Value) -> Series {
    let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Series {
        labels: labels.iter().map(own).collect(),
        value,
        time: None,
        start: None,
    }
}

/// A count as the formats have all numbers: exact up to 2^53, which nothing here reaches.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53")]
pub fn number(count: u64) -> Value {
    Value::Number(count as f64)
}

/// What init counts and what the control group says, of a disco that started at `start`.
#[must_use]
pub fn families(numbers: &Numbers, start: SystemTime, is_configured: bool) -> Vec<Family> {
    let since = start
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let one =
        |name: &str, kind, help: &str, value| family(name, kind, help, vec![series(&[], value)]);
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    let mut all = vec![
        family(
            "disco_build",
            Kind::Info,
            "Which disco this is.",
            vec![series(&version, Value::Info)],
        ),
        one(
            "disco_start_time_seconds",
            Kind::Gauge,
            "When disco started, since 1970.",
            Value::Number(since.as_secs_f64()),
        ),
        one(
            "disco_configured",
            Kind::Gauge,
            "Whether every rule has been complete once.",
            number(is_configured.into()),
        ),
        one(
            "disco_command_up",
            Kind::Gauge,
            "Whether the command runs.",
            number(numbers.is_up.into()),
        ),
        one(
            "disco_command_restarts",
            Kind::Counter,
            "Starts of the command after the first.",
            number(numbers.starts.saturating_sub(1)),
        ),
        one(
            "disco_orphans_reaped",
            Kind::Counter,
            "Processes reaped that nobody else waited for.",
            number(numbers.orphans),
        ),
        one(
            "disco_agent_starts",
            Kind::Counter,
            "Starts of an agent.",
            number(numbers.agents),
        ),
        one(
            "disco_handlers_run",
            Kind::Counter,
            "Runs of handlers that succeeded.",
            number(numbers.fired),
        ),
        one(
            "disco_handlers_failed",
            Kind::Counter,
            "Runs of handlers that failed.",
            number(numbers.failed),
        ),
        one(
            "disco_handlers_seconds",
            Kind::Counter,
            "Time spent in handlers.",
            Value::Number(numbers.handler_time.as_secs_f64()),
        ),
    ];
    if let Some(time) = cgroup::processor_time() {
        all.push(one(
            "disco_container_cpu_seconds",
            Kind::Counter,
            "Processor time that the container has used.",
            Value::Number(time.as_secs_f64()),
        ));
    }
    if let Some(used) = cgroup::memory_used() {
        all.push(one(
            "disco_container_memory_bytes",
            Kind::Gauge,
            "Memory that the container uses, caches included.",
            number(used),
        ));
    }
    if let Some(limit) = cgroup::memory() {
        all.push(one(
            "disco_container_memory_limit_bytes",
            Kind::Gauge,
            "Memory that the container may use.",
            number(limit),
        ));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::metrics::openmetrics;

    #[test]
    fn a32_what_init_counts_can_be_told_by_either_side() {
        let document = json!({"command": {"state": "running"}, "counts": {"starts": 3, "orphans": 7,
            "agents": 1, "fired": 5, "failed": 2, "handler_ns": 1_500_000_000_u64}});
        let numbers = Numbers::of_document(&document);
        assert!(numbers.is_up);
        let text = openmetrics::write(&families(&numbers, SystemTime::UNIX_EPOCH, true));
        for line in [
            "disco_command_restarts_total 2",
            "disco_command_up 1",
            "disco_orphans_reaped_total 7",
            "disco_handlers_seconds_total 1.5",
            "disco_configured 1",
        ] {
            assert!(
                text.lines().any(|l| l == line || l == format!("{line}.0")),
                "{line}: {text}"
            );
        }
        assert!(text.ends_with("# EOF\n"));
        assert_eq!(Numbers::of_document(&json!({})), Numbers::default());
    }
}
