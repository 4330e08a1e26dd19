//! Which rule runs when: a pure machine from facts, time and handlers' outcomes to decisions.
//!
//! It reads no clock and starts nothing. Invariants: the container is configured only when *every*
//! rule is complete (the original let a later rule overwrite an earlier one's result, conformance
//! 35); failures count against one payload and start over when the data changes (33); a rule that
//! is done once stays done, whatever changes, unless it says `once: false` (21).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use super::past::{Past, Trace};
use crate::contract::rule::{Layout, Op, Rule, Then};
use crate::contract::schema::{Checked, Violation};
use crate::contract::tree::{self, Facts};
use crate::disco::layers::Layers;

/// Why an interface does not count yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Blocker {
    /// No source has it.
    Missing,
    /// It has no schema; only ever beside others of an `any`.
    NoSchema,
    /// The data does not satisfy the schema.
    Invalid(Vec<Violation>),
}

/// How far a rule is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// No snapshot of all sources has been seen.
    Unknown,
    /// Some interfaces are not valid: their names, and why.
    Pending(Vec<(String, Blocker)>),
    /// Its data is valid and its handler is due, or runs.
    Ready,
    /// Its handler failed so many times with the present data, and will be tried again.
    Failing(u32),
    /// Its handler failed as often as is allowed with the present data.
    GaveUp,
    /// Complete.
    Done,
}

impl Status {
    /// Whether the rule has been applied to the latest data.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        matches!(self, Self::Done)
    }
}

/// What to do next.
#[derive(Debug, PartialEq)]
pub enum Step {
    /// Run the handler of the rule with this on stdin.
    Run(usize, Value),
    /// Nothing before this time, if any; new facts may change that.
    Idle(Option<Instant>),
}

/// What a handler's failure means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It will be tried again; failures so far.
    Retry(u32),
    /// That was the last try with this data; failures so far.
    GiveUp(u32),
}

struct Entry {
    rule: Rule,
    status: Status,
    /// Data that is valid now.
    payload: Option<Value>,
    /// The strings in it that were coerced: dotted paths, and to what.
    coerced: Vec<(String, &'static str)>,
    /// Data of the last success; `None` also while a run is under way, since who knows how far it got.
    applied: Option<Value>,
    /// What agents before this one did, until the first judgement.
    inherited: Option<Trace>,
    /// Whether it has ever succeeded.
    has_succeeded: bool,
    /// Data that the failures are counted against.
    failed: Option<Value>,
    failures: u32,
    retry_at: Option<Instant>,
}

/// The state of all rules.
pub struct Engine {
    entries: Vec<Entry>,
    fail_limit: u32,
    interval: Duration,
}

impl Engine {
    /// All rules pending, except those that an agent before this one has applied: they run again only for
    /// other data. Those under which agents died have failed as often.
    #[must_use]
    pub fn new(rules: Vec<Rule>, fail_limit: u32, interval: Duration, past: &Past) -> Self {
        let entry = |(index, rule): (usize, Rule)| Entry {
            inherited: past.of(index),
            has_succeeded: false,
            status: Status::Unknown,
            rule,
            payload: None,
            coerced: Vec::new(),
            applied: None,
            failed: None,
            failures: 0,
            retry_at: None,
        };
        Self {
            entries: rules.into_iter().enumerate().map(entry).collect(),
            fail_limit,
            interval,
        }
    }

    /// Judges all rules anew. Returns the rules whose status changed.
    pub fn update(
        &mut self,
        layers: &Layers,
        facts: &Facts,
        is_textual: impl Fn(usize) -> bool,
    ) -> Vec<usize> {
        let mut judged = BTreeMap::new();
        for entry in &self.entries {
            for name in &entry.rule.when {
                if !judged.contains_key(name.as_str()) {
                    judged.insert(name.clone(), judge(layers, facts, name, &is_textual));
                }
            }
        }
        let mut changed = Vec::new();
        for (index, entry) in self.entries.iter_mut().enumerate() {
            let before = entry.status.clone();
            entry.judge(facts, &judged, self.fail_limit);
            if entry.status != before {
                changed.push(index);
            }
        }
        changed
    }

    /// The next thing to do. Rules run in their order, one at a time.
    #[must_use]
    pub fn next(&self, now: Instant) -> Step {
        let mut until: Option<Instant> = None;
        for (index, entry) in self.entries.iter().enumerate() {
            let (Status::Ready | Status::Failing(_), Some(payload)) =
                (&entry.status, &entry.payload)
            else {
                continue;
            };
            match entry.retry_at {
                Some(at) if at > now => until = Some(until.map_or(at, |earliest| earliest.min(at))),
                _ => return Step::Run(index, payload.clone()),
            }
        }
        Step::Idle(until)
    }

    /// Takes in that a handler is being run: whatever was applied before no longer counts.
    pub fn started(&mut self, index: usize) {
        if let Some(entry) = self.entries.get_mut(index) {
            entry.applied = None;
        }
    }

    /// Takes in that a handler succeeded with this payload.
    pub fn succeeded(&mut self, index: usize, payload: Value) -> Then {
        let Some(entry) = self.entries.get_mut(index) else {
            return Then::Nothing;
        };
        entry.failures = 0;
        entry.failed = None;
        entry.retry_at = None;
        entry.has_succeeded = true;
        // The data may have moved on while the handler ran.
        if entry.rule.once || entry.payload.as_ref() == Some(&payload) {
            entry.status = Status::Done;
        } else if entry.payload.is_some() {
            entry.status = Status::Ready;
        }
        entry.applied = Some(payload);
        entry.rule.then
    }

    /// Takes in that a handler failed with this payload.
    pub fn failed(&mut self, index: usize, payload: Value, now: Instant) -> Verdict {
        let (limit, interval) = (self.fail_limit, self.interval);
        let Some(entry) = self.entries.get_mut(index) else {
            return Verdict::Retry(0);
        };
        if entry.payload.as_ref() != Some(&payload) {
            // The data moved on while the handler ran: this failure says nothing about the new.
            if entry.payload.is_some() {
                entry.status = Status::Ready;
                entry.retry_at = None;
            }
            return Verdict::Retry(entry.failures);
        }
        if entry.failed.as_ref() != Some(&payload) {
            entry.failures = 0;
            entry.failed = Some(payload);
        }
        entry.failures = entry.failures.saturating_add(1);
        if limit > 0 && entry.failures >= limit {
            entry.status = Status::GaveUp;
            Verdict::GiveUp(entry.failures)
        } else {
            entry.status = Status::Failing(entry.failures);
            entry.retry_at = Some(now + interval);
            Verdict::Retry(entry.failures)
        }
    }

    /// Whether every rule is complete, or has been.
    #[must_use]
    pub fn is_configured(&self) -> bool {
        self.entries
            .iter()
            .all(|entry| entry.status == Status::Done || entry.has_succeeded)
    }

    /// Whether anything is left to do once configured.
    #[must_use]
    pub fn watches(&self) -> bool {
        self.entries.iter().any(|entry| !entry.rule.once)
    }

    /// A rule and how far it is.
    #[must_use]
    pub fn rule(&self, index: usize) -> Option<(&Rule, &Status)> {
        self.entries
            .get(index)
            .map(|entry| (&entry.rule, &entry.status))
    }

    /// The strings in a rule's data that a schema has made something else: dotted paths, and what.
    pub fn coerced(&self, index: usize) -> impl Iterator<Item = (&str, &'static str)> {
        let entry = self.entries.get(index);
        let all = entry.into_iter().flat_map(|entry| &entry.coerced);
        all.map(|(path, kind)| (path.as_str(), *kind))
    }

    /// All rules in order.
    pub fn rules(&self) -> impl Iterator<Item = (&Rule, &Status)> {
        self.entries
            .iter()
            .map(|entry| (&entry.rule, &entry.status))
    }
}

impl Entry {
    fn judge(
        &mut self,
        facts: &Facts,
        judged: &BTreeMap<String, Result<Checked, Blocker>>,
        fail_limit: u32,
    ) {
        if self.rule.once && self.status == Status::Done {
            return;
        }
        let mut valid = Vec::new();
        let mut blocked = Vec::new();
        self.coerced.clear();
        for name in &self.rule.when {
            match judged.get(name) {
                Some(Ok(checked)) => {
                    valid.push((name.as_str(), checked));
                    let dotted = |path: &str| match path {
                        "" => name.clone(),
                        path => format!("{name}.{path}"),
                    };
                    let coerced = checked.coerced.iter();
                    self.coerced
                        .extend(coerced.map(|(path, kind)| (dotted(path), *kind)));
                }
                Some(Err(blocker)) => blocked.push((name.clone(), blocker.clone())),
                None => {}
            }
        }
        let fires = match self.rule.op {
            Op::Any => !valid.is_empty(),
            Op::All => blocked.is_empty(),
        };
        if !fires {
            self.payload = None;
            self.retry_at = None;
            self.status = Status::Pending(blocked);
            return;
        }
        let payload = match self.rule.layout {
            Layout::Flat => flat(facts, &valid),
            Layout::Keyed => keyed(&valid),
        };
        if self.payload.as_ref() == Some(&payload) {
            return;
        }
        // New data is tried at once, whatever became of the old.
        self.retry_at = None;
        let mut is_given_up = false;
        if let Some(inherited) = self.inherited.take() {
            let is_same = inherited.fingerprint == fingerprint(&payload);
            if inherited.tries == 0 {
                self.has_succeeded = true;
                if self.rule.once || is_same {
                    self.applied = Some(payload.clone());
                }
            } else if is_same {
                self.failed = Some(payload.clone());
                self.failures = inherited.tries;
                is_given_up = fail_limit > 0 && inherited.tries >= fail_limit;
            }
        }
        self.status = if is_given_up {
            Status::GaveUp
        } else if self.applied.as_ref() == Some(&payload) {
            Status::Done
        } else if self.failed.as_ref() == Some(&payload) {
            Status::Failing(self.failures)
        } else {
            Status::Ready
        };
        self.payload = Some(payload);
    }
}

/// A number that tells one payload from another, the same in every process.
#[must_use]
pub fn fingerprint(payload: &Value) -> u64 {
    use std::hash::{DefaultHasher, Hasher as _};
    let mut hasher = DefaultHasher::new();
    hasher.write(payload.to_string().as_bytes());
    hasher.finish()
}

/// Validates one interface, coercing what came from key-value stores.
fn judge(
    layers: &Layers,
    facts: &Facts,
    name: &str,
    is_textual: &impl Fn(usize) -> bool,
) -> Result<Checked, Blocker> {
    let schema = layers.schema(name).ok_or(Blocker::NoSchema)?;
    let data = tree::lookup(&facts.data, name).ok_or(Blocker::Missing)?;
    let may_coerce = |pointer: &str| {
        let inner = pointer
            .split('/')
            .skip(1)
            .map(|s| s.replace("~1", "/").replace("~0", "~"));
        let path: Vec<String> = name.split('.').map(str::to_owned).chain(inner).collect();
        facts
            .origin
            .source(path.iter().map(String::as_str))
            .is_some_and(is_textual)
    };
    schema.check(data, may_coerce).map_err(Blocker::Invalid)
}

/// The seed's layout: the contents of the interfaces' top-level keys in one object, for a shared key
/// the later interface wins, nested maps replaced as a whole (conformance 29). What is no map stands
/// under its own name (30).
fn flat(facts: &Facts, valid: &[(&str, &Checked)]) -> Value {
    // Each top-level key once, in the order of the last mention, with all that was coerced in it.
    let mut wholes: Vec<(&str, Value)> = Vec::new();
    for (name, checked) in valid {
        let head = tree::head(name);
        let at = wholes.iter().position(|(key, _)| *key == head);
        let (_, mut whole) = at.map_or_else(
            || (head, facts.data.get(head).cloned().unwrap_or_default()),
            |at| wholes.remove(at),
        );
        // A dotted interface brings its siblings along.
        let pointer: String = name.split('.').skip(1).map(|s| format!("/{s}")).collect();
        if let Some(slot) = whole.pointer_mut(&pointer) {
            slot.clone_from(&checked.value);
        }
        wholes.push((head, whole));
    }
    let mut bag = Map::new();
    for (head, whole) in wholes {
        match whole {
            Value::Object(map) => bag.extend(map),
            other => {
                bag.insert(head.to_owned(), other);
            }
        }
    }
    Value::Object(bag)
}

fn keyed(valid: &[(&str, &Checked)]) -> Value {
    valid
        .iter()
        .map(|(name, checked)| ((*name).to_owned(), checked.value.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::rule;
    use crate::contract::schema::Schema;
    use serde_json::json;
    use std::path::Path;

    /// Rules text, interface schemas, and the machine over them.
    struct Bench {
        layers: Layers,
        engine: Engine,
        now: Instant,
    }

    impl Bench {
        fn new(rules: &str, schemas: &[(&str, Value)], fail_limit: u32) -> Self {
            let rules = rule::parse(Path::new("x.rules"), rules.as_bytes())
                .unwrap()
                .rules;
            let mut layers = Layers::default();
            for (name, schema) in schemas {
                layers
                    .schemas
                    .insert((*name).to_owned(), Schema::compile(schema).unwrap());
            }
            Self {
                layers,
                engine: Engine::new(rules, fail_limit, Duration::from_secs(1), &Past::default()),
                now: Instant::now(),
            }
        }

        fn facts(&mut self, data: Value) {
            let facts = Facts::merged([(0, &data)]);
            self.engine.update(&self.layers, &facts, |_| true);
        }

        fn next(&self) -> Option<(usize, Value)> {
            match self.engine.next(self.now) {
                Step::Run(index, payload) => Some((index, payload)),
                Step::Idle(_) => None,
            }
        }

        fn succeed(&mut self) -> Value {
            let (index, payload) = self.next().expect("a handler is due");
            self.engine.succeeded(index, payload.clone());
            payload
        }

        fn fail(&mut self) -> Verdict {
            let (index, payload) = self.next().expect("a handler is due");
            self.engine.failed(index, payload, self.now)
        }
    }

    fn host() -> Value {
        json!({"type": "object", "required": ["host"]})
    }

    #[test]
    fn c29_the_flat_layout_of_the_seed() {
        let schemas = [("db", host()), ("web", host())];
        let data = json!({"db": {"host": "d", "user": "u", "opt": {"a": 1}}, "web": {"host": "w", "port": 80, "opt": {"b": 2}}});
        let mut bench = Bench::new("rules: [{when: [db, web], do: h}]", &schemas, 5);
        bench.facts(data.clone());
        assert_eq!(
            bench.succeed(),
            json!({"host": "w", "user": "u", "port": 80, "opt": {"b": 2}})
        );
        let mut bench = Bench::new("rules: [{when: [web, db], do: h}]", &schemas, 5);
        bench.facts(data.clone());
        assert_eq!(bench.succeed()["host"], "d");
        let mut bench = Bench::new("format: 2\nrules: [{when: [db, web], do: h}]", &schemas, 5);
        bench.facts(data.clone());
        assert_eq!(bench.succeed(), data);
    }

    #[test]
    fn c29_a_dotted_interface_brings_its_siblings_and_any_only_the_valid() {
        let mut bench = Bench::new("rules: [{when: db.master, do: h}]", &[("db", host())], 5);
        bench.facts(json!({"db": {"master": {"host": "m"}, "other": 1}}));
        assert_eq!(
            bench.succeed(),
            json!({"master": {"host": "m"}, "other": 1})
        );
        let mut bench = Bench::new(
            "rules: [{op: any, when: [db, web], do: h}]",
            &[("db", host()), ("web", host())],
            5,
        );
        bench.facts(json!({"db": {"x": 1}, "web": {"host": "w"}}));
        assert_eq!(bench.succeed(), json!({"host": "w"}));
    }

    #[test]
    fn c30_what_is_no_map_stands_under_its_name() {
        let mut bench = Bench::new(
            "rules: [{when: names, do: h}]",
            &[("names", json!({"type": "array"}))],
            5,
        );
        bench.facts(json!({"names": ["a"]}));
        assert_eq!(bench.succeed(), json!({"names": ["a"]}));
    }

    #[test]
    fn c35_every_rule_must_complete_in_either_order() {
        for rules in [
            "rules: [{when: no, do: a}, {when: db, do: b}]",
            "rules: [{when: db, do: b}, {when: no, do: a}]",
        ] {
            let mut bench = Bench::new(rules, &[("db", host()), ("no", host())], 5);
            bench.facts(json!({"db": {"host": 1}}));
            bench.succeed();
            assert!(!bench.engine.is_configured());
            assert_eq!(bench.next(), None);
            bench.facts(json!({"db": {"host": 1}, "no": {"host": 2}}));
            bench.succeed();
            assert!(bench.engine.is_configured());
        }
    }

    #[test]
    fn c15_no_interfaces_fire_at_once_with_an_empty_object() {
        let mut bench = Bench::new("rules: [{when: [], do: h}]", &[], 5);
        bench.facts(json!({}));
        assert_eq!(bench.succeed(), json!({}));
    }

    #[test]
    fn c21_a_completed_rule_never_runs_again_but_once_false_does() {
        let mut bench = Bench::new("rules: [{when: db, do: h}]", &[("db", host())], 5);
        bench.facts(json!({"db": {"host": 1}}));
        bench.succeed();
        bench.facts(json!({"db": {"host": 2}}));
        assert_eq!(bench.next(), None);

        let mut bench = Bench::new(
            "format: 2\nrules: [{when: db, do: h, once: false}]",
            &[("db", host())],
            5,
        );
        bench.facts(json!({"db": {"host": 1}}));
        bench.succeed();
        bench.facts(json!({"db": {"host": 1}}));
        assert_eq!(bench.next(), None);
        bench.facts(json!({"db": {"host": 2}}));
        assert_eq!(bench.succeed(), json!({"db": {"host": 2}}));
        bench.facts(json!({"db": {}}));
        assert!(bench.engine.is_configured(), "what was configured stays so");
    }

    #[test]
    fn c33_failures_count_against_the_same_data() {
        let mut bench = Bench::new("rules: [{when: db, do: h}]", &[("db", host())], 3);
        bench.facts(json!({"db": {"host": 1}}));
        assert_eq!(bench.fail(), Verdict::Retry(1));
        assert_eq!(bench.next(), None, "a retry waits for the interval");
        assert_eq!(
            bench.engine.next(bench.now),
            Step::Idle(Some(bench.now + Duration::from_secs(1)))
        );
        bench.now += Duration::from_secs(1);
        assert_eq!(bench.fail(), Verdict::Retry(2));
        bench.facts(json!({"db": {"host": 2}}));
        assert_eq!(
            bench.fail(),
            Verdict::Retry(1),
            "new data is tried at once and counts anew"
        );
        bench.now += Duration::from_secs(1);
        assert_eq!(bench.fail(), Verdict::Retry(2));
        bench.now += Duration::from_secs(1);
        assert_eq!(bench.fail(), Verdict::GiveUp(3));
        assert_eq!(bench.next(), None);
    }

    #[test]
    fn data_that_changes_while_a_handler_runs_is_handled_again() {
        let mut bench = Bench::new(
            "format: 2\nrules: [{when: db, do: h, once: false}]",
            &[("db", host())],
            1,
        );
        bench.facts(json!({"db": {"host": 1}}));
        let (index, old) = bench.next().unwrap();
        bench.facts(json!({"db": {"host": 2}}));
        assert_eq!(
            bench.engine.failed(index, old.clone(), bench.now),
            Verdict::Retry(0),
            "the old data's failure is moot"
        );
        bench.engine.succeeded(index, old);
        assert_eq!(bench.succeed(), json!({"db": {"host": 2}}));
    }

    #[test]
    fn data_that_comes_back_while_a_handler_runs_is_applied_again() {
        for succeeds in [true, false] {
            let rules = "format: 2\nrules: [{when: db, do: h, once: false}]";
            let mut bench = Bench::new(rules, &[("db", host())], 5);
            let (a, b) = (json!({"db": {"host": "a"}}), json!({"db": {"host": "b"}}));
            bench.facts(a.clone());
            bench.succeed();
            bench.facts(b.clone());
            let (index, payload) = bench.next().unwrap();
            bench.engine.started(index);
            bench.facts(a.clone());
            if succeeds {
                bench.engine.succeeded(index, payload);
            } else {
                bench.engine.failed(index, payload, bench.now);
            }
            assert_eq!(bench.succeed(), a, "b was applied at least in part");
            assert_eq!(bench.next(), None);
        }
    }

    #[test]
    fn a_new_agent_runs_what_the_old_one_applied_only_for_other_data() {
        let rules = "format: 2\nrules: [{when: db, do: h, once: false}, {when: db, do: g}]";
        let old = json!({"db": {"host": 1}});
        let mut past = Past::default();
        past.applied(0, fingerprint(&old));
        past.applied(1, 5);
        for (data, runs) in [(old, false), (json!({"db": {"host": 2}}), true)] {
            let mut bench = Bench::new(rules, &[("db", host())], 5);
            let parsed = rule::parse(Path::new("x.rules"), rules.as_bytes()).unwrap();
            bench.engine = Engine::new(parsed.rules, 5, Duration::from_secs(1), &past);
            bench.facts(data);
            assert_eq!(bench.next().map(|(index, _)| index), runs.then_some(0));
        }
    }

    #[test]
    fn two_parts_of_one_interface_keep_their_coerced_values() {
        let schema = json!({"properties": {"port": {"type": "integer"}}});
        let mut bench = Bench::new("rules: [{when: [db.a, db.b], do: h}]", &[("db", schema)], 5);
        bench.facts(json!({"db": {"a": {"port": "1"}, "b": {"port": "2"}, "c": 3}}));
        let want = json!({"a": {"port": 1}, "b": {"port": 2}, "c": 3});
        assert_eq!(bench.succeed(), want);
    }

    #[test]
    fn blockers_say_what_is_missing_and_what_is_wrong() {
        let mut bench = Bench::new(
            "rules: [{when: [db, web], do: h}]",
            &[("db", host()), ("web", host())],
            5,
        );
        bench.facts(json!({"db": {"user": "hunter2"}}));
        let (_, status) = bench.engine.rule(0).unwrap();
        let Status::Pending(blocked) = status else {
            panic!("{status:?}")
        };
        assert!(
            matches!(&blocked[0], (name, Blocker::Invalid(v)) if name == "db" && v[0].keyword == "required")
        );
        assert_eq!(blocked[1], ("web".to_owned(), Blocker::Missing));
        assert!(!format!("{status:?}").contains("hunter2"));
    }

    #[test]
    fn strings_are_coerced_only_where_a_textual_source_gave_them() {
        let schema = json!({"properties": {"port": {"type": "integer"}}});
        let mut bench = Bench::new("rules: [{when: db, do: h}]", &[("db", schema)], 5);
        let (flat, consul) = (json!({"db": {"port": "1"}}), json!({"db": {"port": "2"}}));
        let facts = Facts::merged([(0, &flat)]);
        bench
            .engine
            .update(&bench.layers, &facts, |source| source == 1);
        assert_eq!(bench.next(), None);
        let facts = Facts::merged([(0, &flat), (1, &consul)]);
        bench
            .engine
            .update(&bench.layers, &facts, |source| source == 1);
        assert_eq!(bench.succeed(), json!({"port": 2}));
    }

    #[test]
    fn what_agents_died_over_counts_as_failed() {
        let data = json!({"db": {"host": 1}});
        for (begun, limit, once, expected) in [
            (1, 2, false, Status::Failing(1)),
            (1, 2, true, Status::Failing(1)),
            (2, 2, true, Status::GaveUp),
            (9, 0, true, Status::Failing(9)),
        ] {
            let rules = format!("format: 2\nrules: [{{when: db, do: h, once: {once}}}]");
            let mut bench = Bench::new(&rules, &[("db", host())], limit);
            let rules = rule::parse(Path::new("x.rules"), rules.as_bytes()).unwrap();
            let mut past = Past::default();
            for _ in 0..begun {
                past.begun(0, fingerprint(&data));
            }
            bench.engine = Engine::new(rules.rules, limit, Duration::from_secs(1), &past);
            bench.facts(data.clone());
            assert_eq!(bench.engine.rule(0).unwrap().1, &expected);
            assert!(!bench.engine.is_configured());
            // Other data is another matter.
            bench.facts(json!({"db": {"host": 2}}));
            assert_eq!(bench.fail(), Verdict::Retry(1));
        }
    }
}
