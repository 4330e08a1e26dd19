//! Any bytes as what containers append to their metrics: no panic; every refusal is short, of one line
//! and about a line that was fed; what is written for others is well formed, with nothing in it twice.

#![no_main]

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use layer_cake::contract::metrics::openmetrics;
use layer_cake::contract::metrics::otlp;
use layer_cake::contract::metrics::parse::{Item, MAX_TAGS, Parser};
use layer_cake::contract::metrics::store::{Limits, Refused, Store};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_391_000_000);
    let limits = Limits { series: 50, bytes: 4096, expire: Some(Duration::from_secs(20)) };
    let mut store = Store::new(limits);
    let mut parser = Parser::default();
    let mut fed = 0;
    for line in bytes.split(|byte| *byte == b'\n') {
        fed += 1;
        // NUL ends what is written for now.
        if line == b"\0" {
            parser.end(&mut |item| take(&mut store, item, fed, now));
            assert!(!parser.is_pending());
        }
        let now = now + Duration::from_secs(fed);
        parser.line(line, &mut |item| take(&mut store, item, fed, now));
    }
    parser.end(&mut |item| take(&mut store, item, fed, now));
    assert!(store.counts().series <= limits.series);

    let now = now + Duration::from_secs(fed);
    let families = store.families(now);
    let text = openmetrics::write(&families);
    check(&text);
    assert_eq!(text, openmetrics::write(&store.families(now)));
    let samples = |text: &str| text.lines().filter(|line| !line.starts_with('#')).count();
    let older = openmetrics::write_prometheus(&families);
    assert_eq!(samples(&text), samples(&older));
    let request = otlp::request(&families, &[], now, now).to_string();
    assert_eq!(request.matches("timeUnixNano\":").count(), samples(&text));
});

fn take(store: &mut Store, item: Item, fed: u64, now: SystemTime) {
    let told = match item {
        Item::Refused(refusal) => {
            assert!((1..=fed).contains(&refusal.line));
            vec![refusal.reason]
        }
        Item::Point(point) => {
            assert!(!point.tags.is_empty() && point.tags.len() + point.meta.len() <= MAX_TAGS);
            match store.take(point, now) {
                Ok(doubts) => doubts,
                Err(Refused::Full(reason) | Refused::Wrong(reason)) => vec![reason],
            }
        }
    };
    for text in told {
        assert!(!text.contains(char::is_control), "{text}");
        assert!(text.chars().count() < 1200, "{text}");
    }
}

/// Each line of `OpenMetrics` text is one, and no name or series is there twice.
fn check(text: &str) {
    let body = text.strip_suffix("# EOF\n").expect("an end");
    let (mut names, mut series) = (HashSet::new(), HashSet::new());
    let mut family = String::new();
    let mut suffix = "";
    for line in body.split_terminator('\n') {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect(line);
            assert!(is_name(name) && name != "disco" && !name.starts_with("disco_"), "{line}");
            let all: &[&str] = match kind {
                "counter" => &["", "_total", "_created"],
                "gauge" => &[""],
                _ => panic!("{line}"),
            };
            suffix = all.get(1).copied().unwrap_or_default();
            family = name.to_owned();
            for suffix in all {
                assert!(names.insert(format!("{name}{suffix}")), "{name}{suffix} twice");
            }
        } else if let Some(rest) = line.strip_prefix("# UNIT ") {
            let (name, unit) = rest.split_once(' ').expect(line);
            assert!(name == family && name.ends_with(&format!("_{unit}")), "{line}");
        } else if let Some(rest) = line.strip_prefix("# HELP ") {
            let rest = rest.strip_prefix(&family).expect(line);
            assert_eq!(quoted(&format!("{rest}\"")), "", "{line}");
        } else {
            let rest = line.strip_prefix(&family).and_then(|rest| rest.strip_prefix(suffix));
            let (labels, value) = line.rsplit_once(' ').expect(line);
            assert!(series.insert(labels), "{line} twice");
            assert!(value.parse::<f64>().is_ok_and(|value| suffix.is_empty() || value >= 0.0), "{line}");
            well_formed(rest.expect(line));
        }
    }
}

/// Labels with names of their own, and a value.
fn well_formed(mut rest: &str) {
    let mut names = HashSet::new();
    if rest.starts_with('{') {
        while let Some(label) = rest.strip_prefix(['{', ',']) {
            let (name, after) = label.split_once("=\"").expect(rest);
            assert!(is_name(name) && !name.starts_with("__") && names.insert(name), "{name}");
            rest = quoted(after);
        }
        rest = rest.strip_prefix('}').expect("a brace");
    }
    assert!(rest.starts_with(' ') && rest.matches(' ').count() == 1, "{rest}");
}

/// What follows the quote that ends a string.
fn quoted(text: &str) -> &str {
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return &text[at + 1..],
            '\\' => assert!(matches!(chars.next(), Some((_, 'n' | '"' | '\\'))), "{text}"),
            _ => {}
        }
    }
    panic!("no end of {text}");
}

fn is_name(text: &str) -> bool {
    let is_fine = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.starts_with(|c: char| is_fine(c) && !c.is_ascii_digit()) && text.chars().all(is_fine)
}
