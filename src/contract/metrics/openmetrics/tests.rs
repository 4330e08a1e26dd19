//! What is written, held to a checker of the format.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use super::*;
use crate::contract::metrics::Tags;
use crate::contract::metrics::parse::{Point, Sample};
use crate::contract::metrics::store::{Limits, Store};

fn family(name: &str, kind: Kind, unit: Option<&str>, values: &[Value]) -> Family {
    let series = values.iter().map(|value| Series {
        labels: vec![("a".to_owned(), "q\"b\\n\nl".to_owned())],
        value: *value,
        time: Some(SystemTime::now()),
        start: Some(SystemTime::now()),
    });
    Family {
        name: name.to_owned(),
        kind,
        unit: unit.map(str::to_owned),
        help: "it's \"so\"\\\n".to_owned(),
        samples: series.collect(),
    }
}

fn all_kinds() -> Vec<Family> {
    let mut plain = family("e", Kind::Gauge, None, &[Value::Number(f64::NAN)]);
    plain.help.clear();
    plain.samples[0].labels.clear();
    vec![
        family(
            "a_bytes",
            Kind::Counter,
            Some("bytes"),
            &[Value::Number(48.0)],
        ),
        family("b", Kind::Gauge, None, &[Value::Number(f64::NEG_INFINITY)]),
        family("c", Kind::Info, Some("x"), &[Value::Info]),
        family(
            "d",
            Kind::Summary,
            None,
            &[Value::Summary { count: 3, sum: 0.5 }],
        ),
        plain,
        family("f", Kind::Gauge, None, &[Value::Info]),
    ]
}

#[test]
fn a32_openmetrics_is_written_as_its_specification_has_it() {
    let expected = r#"# TYPE a_bytes counter
# UNIT a_bytes bytes
# HELP a_bytes it's \"so\"\\\n
a_bytes_total{a="q\"b\\n\nl"} 48
# TYPE b gauge
# HELP b it's \"so\"\\\n
b{a="q\"b\\n\nl"} -Inf
# TYPE c info
# HELP c it's \"so\"\\\n
c_info{a="q\"b\\n\nl"} 1
# TYPE d summary
# HELP d it's \"so\"\\\n
d_count{a="q\"b\\n\nl"} 3
d_sum{a="q\"b\\n\nl"} 0.5
# TYPE e gauge
e NaN
# TYPE f gauge
# HELP f it's \"so\"\\\n
# EOF
"#;
    assert_eq!(write(&all_kinds()), expected);
    check(expected);
    assert_eq!(write(&[]), "# EOF\n");
}

#[test]
fn a32_the_older_format_names_its_samples() {
    let expected = r#"# HELP a_bytes_total it's "so"\\\n
# TYPE a_bytes_total counter
a_bytes_total{a="q\"b\\n\nl"} 48
# HELP b it's "so"\\\n
# TYPE b gauge
b{a="q\"b\\n\nl"} -Inf
# HELP c_info it's "so"\\\n
# TYPE c_info gauge
c_info{a="q\"b\\n\nl"} 1
# HELP d it's "so"\\\n
# TYPE d summary
d_count{a="q\"b\\n\nl"} 3
d_sum{a="q\"b\\n\nl"} 0.5
# TYPE e gauge
e NaN
# HELP f it's "so"\\\n
# TYPE f gauge
"#;
    assert_eq!(write_prometheus(&all_kinds()), expected);
}

#[test]
fn a32_numbers_are_short_and_exact() {
    for (value, text) in [
        (48.0, "48"),
        (-0.5, "-0.5"),
        (0.0, "0"),
        (1e300, "1e300"),
        (1e-9, "1e-9"),
        (123_456_789_012_345.0, "123456789012345"),
        (f64::INFINITY, "+Inf"),
    ] {
        assert_eq!(number(value), text);
    }
}

/// Holds a text against the rules of `OpenMetrics` that a reader insists on.
fn check(text: &str) {
    let body = text.strip_suffix("# EOF\n").expect("no EOF");
    let (mut names, mut series) = (HashSet::new(), HashSet::new());
    let mut current: Option<(String, String)> = None;
    let mut has_samples = false;
    for line in body.split_terminator('\n') {
        assert!(!line.is_empty());
        if let Some(meta) = line.strip_prefix("# ") {
            let mut words = meta.splitn(3, ' ');
            let mut word = || words.next().expect(line);
            let (key, name, rest) = (word(), word(), word());
            if key == "TYPE" {
                assert!(is_name(name), "{line}");
                let suffixes: &[&str] = match rest {
                    "counter" => &["", "_total", "_created"],
                    "gauge" => &[""],
                    "info" => &["", "_info"],
                    "summary" => &["", "_count", "_sum", "_created"],
                    other => panic!("{other}"),
                };
                for suffix in suffixes {
                    assert!(
                        names.insert(format!("{name}{suffix}")),
                        "{name}{suffix} twice"
                    );
                }
                current = Some((name.to_owned(), rest.to_owned()));
                has_samples = false;
                continue;
            }
            let (family, _) = current.as_ref().expect("no type before");
            assert!(name == family && !has_samples, "{line}");
            match key {
                "UNIT" => assert!(name.ends_with(&format!("_{rest}")), "{line}"),
                "HELP" => assert!(unescape(rest, '\0').1.is_empty(), "{line}"),
                _ => panic!("{line}"),
            }
            continue;
        }
        has_samples = true;
        let (name, rest) = line.split_at(line.find(['{', ' ']).expect(line));
        let (family, kind) = current.as_ref().expect("no type before");
        let suffix = name.strip_prefix(family.as_str()).expect(line);
        assert!(match kind.as_str() {
            "counter" => suffix == "_total",
            "info" => suffix == "_info",
            "summary" => matches!(suffix, "_count" | "_sum"),
            _ => suffix.is_empty(),
        });
        let mut labels = Vec::new();
        let mut rest = rest;
        if let Some(inner) = rest.strip_prefix('{') {
            rest = inner;
            loop {
                let (label, after) = rest.split_once("=\"").expect(line);
                assert!(is_name(label) && !label.starts_with("__"), "{line}");
                let (value, after) = unescape(after, '"');
                labels.push((label.to_owned(), value));
                rest = after;
                match rest.strip_prefix(',') {
                    Some(after) => rest = after,
                    None => break,
                }
            }
            rest = rest.strip_prefix('}').expect(line);
        }
        labels.sort();
        assert!(
            labels.windows(2).all(|pair| pair[0].0 != pair[1].0),
            "{line}"
        );
        assert!(series.insert((name.to_owned(), labels)), "{line} twice");
        let value = rest.strip_prefix(' ').expect(line);
        let value: f64 = value.parse().expect(line);
        assert!(kind != "counter" || value >= 0.0, "{line}");
    }
}

fn is_name(text: &str) -> bool {
    let is_fine = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.starts_with(|c: char| is_fine(c) && !c.is_ascii_digit()) && text.chars().all(is_fine)
}

/// The text up to `end`, and what follows that.
fn unescape(text: &str, end: char) -> (String, &str) {
    let mut plain = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        if c == end {
            return (plain, &text[at + 1..]);
        }
        plain.push(match c {
            '\\' => match chars.next().expect(text).1 {
                'n' => '\n',
                c @ ('\\' | '"') => c,
                c => panic!("\\{c}"),
            },
            '"' => panic!("a bare quote in {text}"),
            c => c,
        });
    }
    assert_eq!(end, '\0', "no end in {text}");
    (plain, "")
}

/// Few words that meet each other in as many ways as there are.
fn any_tags() -> impl Strategy<Value = Tags> {
    let what = "(x|x_total|x_created|x_bytes|x.bytes|x_2|x_2_bytes|disco|disco_x|bytes|1|é|_|__)(_total|_info|_bytes|_sum)?";
    let unit = "B|b|total|x|1|\\?|bytes|B/s|2_bytes|s!";
    let mtype = "gauge|counter|count|RATE|timestamp";
    let others = btree_map(
        "a|a\\.|a_2|series|series_2|__a|9|é|le|(?s:.){1,3}",
        "x|2|3|(?s:.){1,3}",
        0..3,
    );
    let option = proptest::option::of::<proptest::string::RegexGeneratorStrategy<String>>;
    let text = |pattern: &'static str| option(proptest::string::string_regex(pattern).unwrap());
    (text(what), text(unit), text(mtype), others).prop_map(|(what, unit, mtype, mut tags)| {
        for (key, value) in [("what", what), ("unit", unit), ("mtype", mtype)] {
            tags.extend(value.map(|value| (key.to_owned(), value)));
        }
        tags
    })
}

proptest! {
    #[test]
    fn a32_whatever_is_in_store_nothing_clashes(
        points in vec((any_tags(), btree_map("[a-z]{1,3}", any::<String>(), 0..2), any::<Option<f64>>()), 0..40),
    ) {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_391_000_000);
        let mut store = Store::new(Limits::default());
        for (tags, meta, value) in points {
            let sample = value.map(|value| Sample { value, time: None });
            let _ = store.take(Point { tags, meta, sample }, now);
        }
        let families = store.families(now);
        let samples: usize = families.iter().map(|family| family.samples.len()).sum();
        prop_assert!(samples <= store.counts().series);
        prop_assert!(families.iter().all(|family| !family.name.starts_with("disco_") && family.name != "disco"));
        let text = write(&families);
        check(&text);
        prop_assert_eq!(&text, &write(&store.families(now)));
        let lines = text.lines().filter(|line| !line.starts_with('#')).count();
        prop_assert_eq!(lines, samples);
        let older = write_prometheus(&families);
        let samples_of = |text: &str| -> Vec<String> {
            let lines = text.lines().filter(|line| !line.starts_with('#'));
            lines.map(str::to_owned).collect()
        };
        prop_assert_eq!(samples_of(&older), samples_of(&text));
    }
}
