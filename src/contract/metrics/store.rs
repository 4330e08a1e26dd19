//! The latest of every series that containers write, within limits. It tells when something is odd, but
//! does not log; the clock is the caller's.

use std::collections::hash_map::Entry as Slot;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::{Duration, SystemTime};

use super::model::{Family, Kind, Series, Value};
use super::names::{self, Name};
use super::parse::{MAX_TAGS, Point, Sample};
use super::{Tags, show};
use crate::contract::suggest;

/// Where the type of a metric stands, and where it stood.
const TYPES: [&str; 3] = ["mtype", "metric_type", "target_type"];
/// Longest help, since it may be about ten thousand series.
const MAX_HELP: usize = 512;
/// How far ahead of ours a clock may be, in seconds.
const FUTURE: f64 = 86_400.0;
/// What no longer is written is looked for no more often while there is no room.
const SWEEP: Duration = Duration::from_secs(1);

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most series.
    pub series: usize,
    /// Most bytes of keys and values over all series.
    pub bytes: usize,
    /// How long a series is kept that nobody writes; forever if `None`.
    pub expire: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            series: 10_000,
            bytes: 16 << 20,
            expire: None,
        }
    }
}

/// Why a point was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It would be a new series, and there is no room for one.
    #[error("{0}")]
    Full(String),
    /// It contradicts itself.
    #[error("{0}")]
    Wrong(String),
}

/// How much has been taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Points with a sample that were taken.
    pub points: u64,
    /// Points without one.
    pub declarations: u64,
    /// Points that a limit refused.
    pub refused: u64,
    /// Series that are kept now.
    pub series: usize,
}

/// The series.
#[derive(Debug, Default)]
pub struct Store {
    limits: Limits,
    /// By intrinsic tags, of which the type is written in one way.
    series: HashMap<Tags, Entry>,
    bytes: usize,
    counts: Counts,
    swept: Option<SystemTime>,
}

#[derive(Debug)]
struct Entry {
    mtype: Type,
    meta: Tags,
    /// Since when it counts.
    start: SystemTime,
    updated: SystemTime,
    kept: Option<Kept>,
}

/// A series with its identity.
type One<'a> = (&'a Tags, &'a Entry);

#[derive(Debug, Clone, Copy)]
struct Kept {
    value: f64,
    /// Unix time that the writer said, or that it came at.
    time: f64,
    is_told: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Rate,
    Count,
    Gauge,
    Counter,
    Timestamp,
}

impl Type {
    const ALL: [(&'static str, Self); 5] = [
        ("rate", Self::Rate),
        ("count", Self::Count),
        ("gauge", Self::Gauge),
        ("counter", Self::Counter),
        ("timestamp", Self::Timestamp),
    ];

    fn parse(text: &str) -> Result<(&'static str, Self), String> {
        let known = Self::ALL.into_iter();
        let mut known = known.filter(|(name, _)| text.eq_ignore_ascii_case(name));
        known.next().ok_or_else(|| {
            let hint = if text.len() <= 16 {
                suggest::hint(text, Self::ALL.map(|(name, _)| name))
            } else {
                String::new()
            };
            format!(
                "the type {} is unknown; expected `rate`, `count`, `gauge`, `counter` or `timestamp`{hint}",
                show(text)
            )
        })
    }

    fn kind(self) -> Kind {
        match self {
            Self::Count | Self::Counter => Kind::Counter,
            Self::Rate | Self::Gauge | Self::Timestamp => Kind::Gauge,
        }
    }

    fn check(self, value: f64) -> Result<(), &'static str> {
        let is_fine = match self {
            Self::Counter => value >= 0.0,
            Self::Count => value >= 0.0 && value.is_finite(),
            Self::Rate | Self::Gauge | Self::Timestamp => true,
        };
        if is_fine {
            return Ok(());
        }
        Err(match self {
            Self::Counter => {
                "a counter only rises from 0; expected `mtype=gauge` for what also falls"
            }
            _ => "a count is how many there were in an interval; expected a number from 0 on",
        })
    }
}

impl Store {
    /// An empty one.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    /// Takes a point that came `now`. What is odd about a series is told when it first appears.
    ///
    /// # Errors
    /// Why it was not taken; what is kept of other series is as before.
    pub fn take(&mut self, point: Point, now: SystemTime) -> Result<Vec<String>, Refused> {
        let Point {
            mut tags,
            meta,
            sample,
        } = point;
        let (mtype, is_told) = take_type(&mut tags).map_err(Refused::Wrong)?;
        if let Some(sample) = sample
            && let Err(expected) = mtype.check(sample.value)
        {
            let series = identity(&tags);
            return Err(Refused::Wrong(format!(
                "{} for {series}: {expected}",
                sample.value
            )));
        }
        if let Some(time) = sample.and_then(|sample| sample.time)
            && time > seconds(now) + FUTURE
        {
            let series = identity(&tags);
            return Err(Refused::Wrong(format!(
                "the time {time} of {series} is more than a day ahead; expected seconds since 1970"
            )));
        }
        let is_new = !self.series.contains_key(&tags);
        if is_new {
            self.make_room(&tags, &meta, now)?;
        }
        let doubts = if is_new {
            doubts(&tags, is_told)
        } else {
            Vec::new()
        };
        let size = size(&tags);
        let entry = match self.series.entry(tags) {
            Slot::Occupied(slot) => slot.into_mut(),
            Slot::Vacant(slot) => {
                self.bytes += size;
                slot.insert(Entry {
                    mtype,
                    meta: Tags::new(),
                    start: now,
                    updated: now,
                    kept: None,
                })
            }
        };
        entry.updated = now;
        for (key, value) in meta {
            let old = entry.meta.get(&key).map(|old| key.len() + old.len());
            let new = self.bytes - old.unwrap_or(0) + key.len() + value.len();
            // What is only told about a series is the first to go.
            if new <= self.limits.bytes && (old.is_some() || entry.meta.len() < MAX_TAGS) {
                self.bytes = new;
                entry.meta.insert(key, value);
            }
        }
        match sample {
            Some(sample) => {
                entry.sample(sample, now);
                self.counts.points += 1;
            }
            None => self.counts.declarations += 1,
        }
        Ok(doubts)
    }

    /// How much has been taken, and is kept.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            series: self.series.len(),
            ..self.counts
        }
    }

    /// All series under names that every reader takes, sorted, none twice; forgets first what nobody
    /// writes any more. Names that begin with `disco_` are never among them.
    pub fn families(&mut self, now: SystemTime) -> Vec<Family> {
        self.forget(now);
        let mut all: Vec<_> = self.series.iter().collect();
        all.sort_unstable_by_key(|(tags, _)| *tags);
        let mut groups: BTreeMap<(String, Kind, Name), Vec<One<'_>>> = BTreeMap::new();
        for (tags, entry) in all {
            let kind = entry.mtype.kind();
            let name = Name::of(tags, kind);
            let group = groups.entry((name.nth(1), kind, name)).or_default();
            group.push((tags, entry));
        }
        let mut taken = HashSet::new();
        let families = groups.into_iter().map(|((_, kind, name), group)| Family {
            name: name.claim(kind, &mut taken),
            kind,
            help: help(&group),
            samples: samples(&group),
            unit: name.unit,
        });
        let mut families: Vec<_> = families.collect();
        families.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        families
    }

    /// Makes sure of a place for a new series.
    fn make_room(&mut self, tags: &Tags, meta: &Tags, now: SystemTime) -> Result<(), Refused> {
        let size = size(tags) + size(meta);
        let is_full = |store: &Self| {
            store.series.len() >= store.limits.series || store.bytes + size > store.limits.bytes
        };
        if is_full(self) {
            let since = self.swept.map(|swept| now.duration_since(swept));
            if !matches!(since, Some(Ok(since)) if since < SWEEP) {
                self.swept = Some(now);
                self.forget(now);
            }
        }
        if !is_full(self) {
            return Ok(());
        }
        self.counts.refused += 1;
        let Limits { series, bytes, .. } = self.limits;
        let name = identity(tags);
        Err(Refused::Full(if self.series.len() >= series {
            format!(
                "{name} would be more than {series} series, which is the limit; leave out tags with many values, such as ids, or raise `disco.metrics_limit`"
            )
        } else {
            let kib = bytes >> 10;
            format!(
                "{name} would be more than {kib} KiB of tags, which is the limit even below `disco.metrics_limit` series; leave out tags with many or long values, such as ids"
            )
        }))
    }

    fn forget(&mut self, now: SystemTime) {
        let Some(expire) = self.limits.expire else {
            return;
        };
        let bytes = &mut self.bytes;
        self.series.retain(|tags, entry| {
            // A clock that was set back makes nothing old.
            let is_kept = now
                .duration_since(entry.updated)
                .map_or(true, |age| age < expire);
            if !is_kept {
                *bytes -= size(tags) + size(&entry.meta);
            }
            is_kept
        });
    }
}

impl Entry {
    fn series(&self, kept: Kept, labels: Vec<(String, String)>) -> Series {
        let told = Duration::try_from_secs_f64(kept.time).ok();
        let told = told.filter(|_| kept.is_told);
        Series {
            labels,
            value: Value::Number(kept.value),
            time: told.and_then(|told| SystemTime::UNIX_EPOCH.checked_add(told)),
            start: (self.mtype.kind() == Kind::Counter).then_some(self.start),
        }
    }

    fn sample(&mut self, sample: Sample, now: SystemTime) {
        let new = Kept {
            value: sample.value,
            time: sample.time.unwrap_or_else(|| seconds(now)),
            is_told: sample.time.is_some(),
        };
        let Some(old) = self.kept else {
            self.kept = Some(new);
            return;
        };
        if self.mtype == Type::Count {
            let value = old.value + new.value;
            let latest = if new.time < old.time { old } else { new };
            self.kept = Some(Kept { value, ..latest });
            return;
        }
        // A told time may be of whole seconds, or another clock's: only its like can be older or newer.
        if new.is_told && old.is_told && new.time < old.time {
            return;
        }
        if self.mtype == Type::Counter && new.value < old.value {
            // It began again.
            self.start = now;
        }
        self.kept = Some(new);
    }
}

/// Since 1970.
fn seconds(time: SystemTime) -> f64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0.0, |since| since.as_secs_f64())
}

/// The type of the metric, which is left as `mtype` in lower case; and whether anybody said it.
fn take_type(tags: &mut Tags) -> Result<(Type, bool), String> {
    let mut found: Option<(&'static str, Type)> = None;
    for key in TYPES {
        let Some(text) = tags.get(key) else {
            continue;
        };
        let this = Type::parse(text)?;
        if let Some(other) = found.filter(|other| other.1 != this.1) {
            return Err(format!(
                "the type is both `{}` and `{}`; expected one `mtype`",
                other.0, this.0
            ));
        }
        found = Some(this);
    }
    let is_told = found.is_some();
    let (name, mtype) = found.unwrap_or(("gauge", Type::Gauge));
    for key in TYPES.iter().skip(1) {
        tags.remove(*key);
    }
    if tags.get("mtype").is_none_or(|told| told != name) {
        tags.insert("mtype".to_owned(), name.to_owned());
    }
    Ok((mtype, is_told))
}

fn doubts(tags: &Tags, is_type_told: bool) -> Vec<String> {
    let series = identity(tags);
    let mut doubts = Vec::new();
    let is_named = |what: &String| what.contains(|c: char| c.is_ascii_alphanumeric() || c == '_');
    if !tags.get("what").is_some_and(is_named) {
        doubts.push(format!(
            "{series} has no tag `what` with letters from a to z, and is written as `unnamed`; add `what=…`"
        ));
    }
    if !is_type_told {
        doubts.push(format!(
            "{series} has no tag `mtype`, and is taken for a gauge; add `mtype=gauge`, or `counter`, `count`, `rate`, `timestamp`"
        ));
    }
    if !tags.contains_key("unit") {
        doubts.push(format!(
            "{series} has no tag `unit`; add `unit=B`, `unit=s`, or `unit=1` for a mere number"
        ));
    }
    doubts
}

/// The tags for a message.
fn identity(tags: &Tags) -> String {
    let what = tags.get_key_value("what");
    let others = tags
        .iter()
        .filter(|(key, _)| *key != "what" && *key != "mtype");
    let pairs = what.into_iter().chain(others);
    let pairs: Vec<_> = pairs
        .take(8)
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    show(&pairs.join(" "))
}

fn size(tags: &Tags) -> usize {
    tags.iter()
        .map(|(key, value)| key.len() + value.len())
        .sum()
}

/// What is told about the series of a family, each once.
fn help(group: &[One<'_>]) -> String {
    let pairs: BTreeSet<_> = group.iter().flat_map(|(_, entry)| &entry.meta).collect();
    let mut help = String::new();
    for (key, value) in pairs {
        if help.len() + key.len() + value.len() + 2 > MAX_HELP {
            help.push_str(if help.is_empty() { "…" } else { " …" });
            break;
        }
        if !help.is_empty() {
            help.push(' ');
        }
        help.push_str(key);
        help.push('=');
        help.push_str(value);
    }
    help
}

fn samples(group: &[One<'_>]) -> Vec<Series> {
    let is_label = |key: &str| !matches!(key, "what" | "unit") && !TYPES.contains(&key);
    let mut taken = HashSet::new();
    let (mut all, mut same) = (Vec::new(), Vec::new());
    for (tags, entry) in group {
        let Some(kept) = entry.kept else {
            continue;
        };
        let labels = names::labels(tags, is_label);
        if taken.insert(labels.clone()) {
            all.push(entry.series(kept, labels));
        } else {
            same.push((entry, kept, labels));
        }
    }
    // Those whose labels became what others have are numbered, each going on where the last stopped.
    let mut last: HashMap<Vec<(String, String)>, usize> = HashMap::new();
    for (entry, kept, plain) in same {
        let name = names::free("series", |name| plain.iter().any(|(key, _)| key == name));
        let number = last.entry(plain.clone()).or_insert(1);
        let labels = loop {
            *number += 1;
            let mut labels = plain.clone();
            labels.push((name.clone(), number.to_string()));
            labels.sort_unstable();
            if taken.insert(labels.clone()) {
                break labels;
            }
        };
        all.push(entry.series(kept, labels));
    }
    all.sort_unstable_by(|a, b| a.labels.cmp(&b.labels));
    all
}

#[cfg(test)]
mod tests;
