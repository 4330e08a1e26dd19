//! Foreign tags as names that every reader accepts: of metrics, units and labels.

use std::collections::HashSet;

use super::Tags;
use super::model::Kind;

/// disco's own names begin so.
const OWN: &str = "disco";

/// Units as people write them, and as they stand in a name.
const UNITS: [(&str, &str, &str); 27] = [
    ("B", "bytes", "byte"),
    ("kB", "kilobytes", "kilobyte"),
    ("KB", "kilobytes", "kilobyte"),
    ("MB", "megabytes", "megabyte"),
    ("GB", "gigabytes", "gigabyte"),
    ("TB", "terabytes", "terabyte"),
    ("PB", "petabytes", "petabyte"),
    ("KiB", "kibibytes", "kibibyte"),
    ("MiB", "mebibytes", "mebibyte"),
    ("GiB", "gibibytes", "gibibyte"),
    ("TiB", "tebibytes", "tebibyte"),
    ("b", "bits", "bit"),
    ("kb", "kilobits", "kilobit"),
    ("Kb", "kilobits", "kilobit"),
    ("Mb", "megabits", "megabit"),
    ("Gb", "gigabits", "gigabit"),
    ("s", "seconds", "second"),
    ("ms", "milliseconds", "millisecond"),
    ("us", "microseconds", "microsecond"),
    ("\u{b5}s", "microseconds", "microsecond"),
    ("\u{3bc}s", "microseconds", "microsecond"),
    ("ns", "nanoseconds", "nanosecond"),
    ("min", "minutes", "minute"),
    ("h", "hours", "hour"),
    ("d", "days", "day"),
    ("%", "percent", "percent"),
    ("Hz", "hertz", "hertz"),
];

/// The name of a family before it is known whom it meets: in parts, so that a number goes between.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Name {
    stem: String,
    /// The unit, and the end of the name with it.
    pub(super) unit: Option<String>,
}

impl Name {
    /// The name for tags that say `what` and in which `unit`.
    pub(super) fn of(tags: &Tags, kind: Kind) -> Self {
        let what = tags.get("what").map(|what| clean(what));
        let mut stem = what.filter(|what| !what.is_empty());
        let mut unit = tags.get("unit").and_then(|text| unit(text));
        if kind == Kind::Counter {
            // Writers put it behind the name of every counter.
            stem = stem.map(|stem| without_total(&stem).to_owned());
            unit = unit
                .map(|unit| without_total(&unit).to_owned())
                .filter(|unit| unit != "total");
        }
        let mut stem = stem.unwrap_or_else(|| "unnamed".to_owned());
        if stem.starts_with(|c: char| c.is_ascii_digit()) {
            stem.insert(0, '_');
        }
        if let Some(text) = &unit {
            if stem == *text {
                unit = None;
            } else if let Some(short) = stem.strip_suffix(text.as_str())
                && let Some(short) = short.strip_suffix('_')
            {
                stem = short.to_owned();
            }
        }
        let mut name = Self { stem, unit };
        let whole = name.nth(1);
        let is_own = whole
            .strip_prefix(OWN)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('_'));
        if is_own {
            name.stem.insert_str(0, "app_");
        }
        name
    }

    /// The name, or what it becomes at the n-th attempt.
    pub(super) fn nth(&self, n: usize) -> String {
        let number = if n > 1 {
            format!("_{n}")
        } else {
            String::new()
        };
        let unit = self.unit.as_ref();
        let unit = unit.map_or_else(String::new, |unit| format!("_{unit}"));
        format!("{}{number}{unit}", self.stem)
    }

    /// The name that nobody has taken yet, with all that belongs to it; takes it.
    pub(super) fn claim(&self, kind: Kind, taken: &mut HashSet<String>) -> String {
        let mut n = 1;
        loop {
            let name = self.nth(n);
            let suffixes = kind.suffixes().iter();
            let mut all: Vec<_> = suffixes.map(|suffix| format!("{name}{suffix}")).collect();
            all.push(name.clone());
            if all.iter().all(|name| !taken.contains(name)) {
                taken.extend(all);
                return name;
            }
            n += 1;
        }
    }
}

fn without_total(mut name: &str) -> &str {
    while let Some(short) = name
        .strip_suffix("_total")
        .filter(|short| !short.is_empty())
    {
        name = short;
    }
    name
}

/// Labels of the tags that `is_label` lets through: valid, sorted, each name once.
pub(super) fn labels(tags: &Tags, is_label: impl Fn(&str) -> bool) -> Vec<(String, String)> {
    let mut names = HashSet::new();
    let mut labels = Vec::new();
    let all = tags.iter().filter(|(key, _)| is_label(key));
    // A tag whose name is fine as it is keeps it, whatever others become.
    let (fine, odd): (Vec<_>, Vec<_>) = all.partition(|(key, _)| label(key) == **key);
    for (key, value) in fine.into_iter().chain(odd) {
        let name = free(&label(key), |name| names.contains(name));
        names.insert(name.clone());
        labels.push((name, value.clone()));
    }
    labels.sort_unstable();
    labels
}

/// The name itself, or with the first number from 2 on that is not taken.
pub(super) fn free(name: &str, is_taken: impl Fn(&str) -> bool) -> String {
    if !is_taken(name) {
        return name.to_owned();
    }
    let mut n = 2_usize;
    loop {
        let next = format!("{name}_{n}");
        if !is_taken(&next) {
            return next;
        }
        n += 1;
    }
}

fn label(key: &str) -> String {
    let mut name = clean(key);
    if name.starts_with("__") {
        // Reserved: a reader drops such labels, or obeys them.
        let rest = name.trim_start_matches('_').to_owned();
        name = format!("_{rest}");
    }
    if name.trim_matches('_').is_empty() {
        return "tag".to_owned();
    }
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        name.insert(0, '_');
    }
    name
}

/// Letters, digits and `_` as they are; a run of anything else as one `_` between them.
fn clean(text: &str) -> String {
    let is_fine = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut name = String::with_capacity(text.len());
    let mut is_gap = false;
    for c in text.chars() {
        if is_fine(c) {
            if is_gap && !name.is_empty() {
                name.push('_');
            }
            name.push(c);
        }
        is_gap = !is_fine(c);
    }
    name
}

/// The unit as it stands in a name; nothing for a mere number.
fn unit(text: &str) -> Option<String> {
    if text == "1" {
        return None;
    }
    if let Some((_, plural, _)) = UNITS.iter().find(|(short, _, _)| *short == text) {
        return Some((*plural).to_owned());
    }
    if let Some((of, per)) = text.split_once('/') {
        let known = UNITS.iter().find(|(short, _, _)| *short == per);
        let per = known.map_or_else(
            || clean(per).to_ascii_lowercase(),
            |known| known.2.to_owned(),
        );
        let of = unit(of);
        return match (of, per.is_empty()) {
            (Some(of), false) => Some(format!("{of}_per_{per}")),
            (None, false) => Some(format!("per_{per}")),
            (of, true) => of,
        };
    }
    let name = clean(text).to_ascii_lowercase();
    let name = name.trim_matches('_');
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(pairs: &[(&str, &str)]) -> Tags {
        let pairs = pairs.iter();
        pairs
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn a32_names_are_valid_and_end_in_their_unit_once() {
        for (what, unit, kind, name, suffix) in [
            (
                "diskspace",
                "B",
                Kind::Gauge,
                "diskspace_bytes",
                Some("bytes"),
            ),
            (
                "disk.usage (%)",
                "%",
                Kind::Gauge,
                "disk_usage_percent",
                Some("percent"),
            ),
            ("x_bytes", "B", Kind::Gauge, "x_bytes", Some("bytes")),
            ("bytes", "B", Kind::Gauge, "bytes", None),
            ("_bytes", "B", Kind::Gauge, "_bytes", Some("bytes")),
            (
                "x_bytes_total",
                "B",
                Kind::Counter,
                "x_bytes",
                Some("bytes"),
            ),
            ("x_total_total", "1", Kind::Counter, "x", None),
            ("x_total", "1", Kind::Gauge, "x_total", None),
            ("total", "1", Kind::Counter, "total", None),
            ("x", "total", Kind::Counter, "x", None),
            ("x", "a_total", Kind::Counter, "x_a", Some("a")),
            (
                "requests",
                "Req",
                Kind::Counter,
                "requests_req",
                Some("req"),
            ),
            ("load", "1", Kind::Gauge, "load", None),
            ("load", "?", Kind::Gauge, "load", None),
            (
                "net",
                "MB/s",
                Kind::Gauge,
                "net_megabytes_per_second",
                Some("megabytes_per_second"),
            ),
            (
                "x",
                "Req/s",
                Kind::Gauge,
                "x_req_per_second",
                Some("req_per_second"),
            ),
            ("x", "1/s", Kind::Gauge, "x_per_second", Some("per_second")),
            ("x", "a/b/s", Kind::Gauge, "x_a_per_b_s", Some("a_per_b_s")),
            (
                "t",
                "\u{b5}s",
                Kind::Gauge,
                "t_microseconds",
                Some("microseconds"),
            ),
            ("1st", "s", Kind::Gauge, "_1st_seconds", Some("seconds")),
            ("日本", "s", Kind::Gauge, "unnamed_seconds", Some("seconds")),
            ("disco", "1", Kind::Gauge, "app_disco", None),
            ("disco", "x", Kind::Gauge, "app_disco_x", Some("x")),
            ("disco.up", "1", Kind::Gauge, "app_disco_up", None),
            ("discord", "1", Kind::Gauge, "discord", None),
        ] {
            let found = Name::of(&tags(&[("what", what), ("unit", unit)]), kind);
            assert_eq!(found.nth(1), name, "{what} {unit}");
            assert_eq!(found.unit.as_deref(), suffix, "{what} {unit}");
        }
        let name = Name::of(&tags(&[("what", "x"), ("unit", "s")]), Kind::Gauge);
        assert_eq!(name.nth(3), "x_3_seconds");
    }

    #[test]
    fn a32_labels_are_valid_and_apart() {
        let given = tags(&[
            ("a.b", "1"),
            ("a b", "2"),
            ("a_b", "3"),
            ("__name__", "4"),
            ("9", "5"),
            ("é", "6"),
            ("__", "7"),
            ("unit", "B"),
        ]);
        let found = labels(&given, |key| key != "unit");
        let found: Vec<_> = found
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        assert_eq!(
            found.join(" "),
            "_9=5 _name__=4 a_b=3 a_b_2=2 a_b_3=1 tag=7 tag_2=6"
        );
    }
}
