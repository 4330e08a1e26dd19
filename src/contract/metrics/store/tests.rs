//! What is kept of points, within which limits, and under which names it comes out.

use super::*;
use crate::contract::metrics::openmetrics;
use crate::contract::metrics::parse::{Item, Parser};

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn points(text: &str) -> Vec<Point> {
    let mut points = Vec::new();
    let mut parser = Parser::default();
    let mut each = |item| match item {
        Item::Point(point) => points.push(point),
        Item::Refused(refusal) => panic!("{refusal:?}"),
    };
    text.lines()
        .for_each(|line| parser.line(line.as_bytes(), &mut each));
    parser.end(&mut each);
    points
}

fn point(line: &str) -> Point {
    points(line).remove(0)
}

fn filled(text: &str) -> Store {
    let mut store = Store::default();
    for point in points(text) {
        store.take(point, at(1000)).unwrap();
    }
    store
}

/// The lines of the exposition that are samples.
fn samples(store: &mut Store) -> Vec<String> {
    let text = openmetrics::write(&store.families(at(2000)));
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(str::to_owned).collect()
}

#[test]
fn a32_the_seed_becomes_a_gauge_in_bytes() {
    let seed = "{\nhost: dfs1\nwhat: diskspace\nmountpoint: srv/node/dfs10\nunit: B\ntype: used\nmetric_type: gauge\n}\nmeta: {\nagent: diamond,\nprocessed_by: statsd2\n}";
    let line = "mountpoint=srv/node/dfs10 what=diskspace unit=B type=used mtype=gauge host=dfs1 48";
    for text in [format!("{seed} 48"), format!("{seed}\n{line}")] {
        let written = openmetrics::write(&filled(&text).families(at(2000)));
        assert_eq!(
            written,
            "# TYPE diskspace_bytes gauge\n# UNIT diskspace_bytes bytes\n# HELP diskspace_bytes agent=diamond processed_by=statsd2\ndiskspace_bytes{host=\"dfs1\",mountpoint=\"srv/node/dfs10\",type=\"used\"} 48\n# EOF\n"
        );
    }
    let mut declared = filled(seed);
    assert_eq!(
        declared.counts(),
        Counts {
            declarations: 1,
            series: 1,
            ..Counts::default()
        }
    );
    let families = declared.families(at(2000));
    assert_eq!((families.len(), families[0].samples.len()), (1, 0));
}

#[test]
fn a32_the_type_says_what_a_sample_does() {
    for (text, sample) in [
        ("what=x 1\nwhat=x 2", "x 2"),
        ("what=x 1 100\nwhat=x 2 99", "x 1"),
        ("what=x 1 100\nwhat=x 2 100", "x 2"),
        ("what=x 1 5000\nwhat=x 2", "x 2"),
        ("what=x 1\nwhat=x 2 999", "x 2"),
        ("what=x 1 1000\nwhat=x 2 999", "x 1"),
        ("what=x 1\nwhat=x 2 1001", "x 2"),
        ("what=x NaN", "x NaN"),
        ("what=x mtype=rate -1", "x -1"),
        (
            "what=x unit=s mtype=timestamp 1391000000",
            "x_seconds 1391000000",
        ),
        (
            "what=x mtype=counter 2\nwhat=x mtype=counter 1",
            "x_total 1",
        ),
        ("what=x mtype=count 2\nwhat=x mtype=count 1", "x_total 3"),
        (
            "what=x mtype=count 2 100\nwhat=x mtype=count 1 99",
            "x_total 3",
        ),
        (
            "what=x mtype=COUNT 2\nwhat=x target_type=count 1",
            "x_total 3",
        ),
        ("what=x mtype=gauge metric_type=gauge 1\nwhat=x 2", "x 2"),
    ] {
        let mut store = filled(text);
        assert_eq!(samples(&mut store), [sample], "{text}");
        assert_eq!(store.counts().series, 1, "{text}");
    }
}

#[test]
fn a32_what_contradicts_itself_is_refused() {
    for (text, part) in [
        (
            "what=x mtype=gague 1",
            "`gague` is unknown; expected `rate`",
        ),
        ("what=x mtype=gague 1", "did you mean `gauge`?"),
        (
            "what=x metric_type=\"\u{202e}\" 1",
            r"`\u{202e}` is unknown",
        ),
        (
            "what=x mtype=gauge metric_type=counter",
            "both `gauge` and `counter`",
        ),
        (
            "what=x mtype=counter -1",
            "-1 for `what=x`: a counter only rises",
        ),
        ("what=x mtype=counter NaN", "a counter only rises"),
        ("what=x mtype=count -1", "a count is"),
        ("what=x mtype=count NaN", "a count is"),
        ("what=x mtype=count Inf", "a count is"),
    ] {
        let mut store = Store::default();
        match store.take(point(text), at(1)) {
            Err(Refused::Wrong(reason)) => assert!(reason.contains(part), "{reason}"),
            other => panic!("{text}: {other:?}"),
        }
        assert_eq!(store.counts(), Counts::default());
    }
}

#[test]
fn a32_doubts_are_told_once() {
    let mut store = Store::default();
    let told = store.take(point("a=b 1"), at(1)).unwrap().join("\n");
    for part in ["`what`", "`mtype`", "`unit`", "`a=b`"] {
        assert!(told.contains(part), "{told}");
    }
    assert_eq!(store.take(point("a=b 1"), at(1)), Ok(Vec::new()));
    let told = Store::default().take(point("what=日本 unit=B mtype=gauge 1"), at(1));
    assert!(told.is_ok_and(|told| told.len() == 1 && told[0].contains("`unnamed`")));
    assert_eq!(
        store.take(point("what=x unit=B mtype=count 1"), at(1)),
        Ok(Vec::new())
    );
    assert_eq!(
        samples(&mut store),
        [r#"unnamed{a="b"} 1"#, "x_bytes_total 1"]
    );
}

#[test]
fn a32_a_counter_that_begins_again_starts_again() {
    let mut store = Store::default();
    for (time, value, start) in [(1, 5, 1), (2, 6, 1), (3, 0, 3), (4, 1, 3)] {
        store
            .take(point(&format!("what=x mtype=counter {value}")), at(time))
            .unwrap();
        let families = store.families(at(time));
        assert_eq!(families[0].samples[0].start, Some(at(start)));
        assert_eq!(families[0].samples[0].time, None);
    }
    store.take(point("what=g 1 77"), at(5)).unwrap();
    let families = store.families(at(5));
    assert_eq!(
        (families[0].samples[0].start, families[0].samples[0].time),
        (None, Some(at(77)))
    );
}

#[test]
fn a31_meta_is_merged_and_no_identity() {
    let mut store = filled("what=x  a=1 b=2 1\nwhat=x  b=3 c=4 2");
    assert_eq!(store.counts().series, 1);
    assert_eq!(store.families(at(1000))[0].help, "a=1 b=3 c=4");
    assert_eq!(
        store.bytes,
        "what".len() + "x".len() + "mtype".len() + "gauge".len() + 6
    );
    // One series has no more meta tags than a point, and a help is no book.
    let mut store = Store::default();
    for n in 0..100 {
        let text = "v".repeat(40);
        store
            .take(point(&format!("what=x  m{n}={text} 1")), at(1))
            .unwrap();
    }
    assert_eq!(store.series.values().next().unwrap().meta.len(), MAX_TAGS);
    let help = &store.families(at(1))[0].help;
    assert!(help.len() <= MAX_HELP + 4 && help.ends_with(" …"), "{help}");
}

#[test]
fn a32_at_a_limit_the_old_go_on() {
    let limits = Limits {
        series: 2,
        ..Limits::default()
    };
    let mut store = Store::new(limits);
    for text in ["what=a 1", "what=b 1", "what=a 2"] {
        store.take(point(text), at(1)).unwrap();
    }
    match store.take(point("what=c user=7 1"), at(1)) {
        Err(Refused::Full(reason)) => assert_eq!(
            reason,
            "`what=c user=7` would be more than 2 series, which is the limit; leave out tags with many values, such as ids, or raise `disco.metrics_limit`"
        ),
        other => panic!("{other:?}"),
    }
    store.take(point("what=b 3"), at(9)).unwrap();
    assert_eq!(samples(&mut store), ["a 2", "b 3"]);
    let counts = Counts {
        points: 4,
        declarations: 0,
        refused: 1,
        series: 2,
    };
    assert_eq!(store.counts(), counts);

    let mut store = Store::new(Limits {
        bytes: 40,
        ..Limits::default()
    });
    store.take(point("what=a  k=v 1"), at(1)).unwrap();
    let refused = store.take(point("what=bbbbbbbbbb  k=vvvvvvvvvvvvvvv 1"), at(1));
    assert!(matches!(&refused, Err(Refused::Full(text)) if text.contains("disco.metrics_limit")));
    // What is told of an old one is not kept beyond the limit, its samples are.
    store
        .take(point(&format!("what=a  k=w l={} 2", "x".repeat(40))), at(1))
        .unwrap();
    assert_eq!(store.families(at(1))[0].help, "k=w");
    assert_eq!(samples(&mut store), ["a 2"]);
}

#[test]
fn a32_what_nobody_writes_is_forgotten() {
    let expire = Some(Duration::from_secs(10));
    let limits = Limits {
        series: 2,
        expire,
        ..Limits::default()
    };
    let mut store = Store::new(limits);
    store.take(point("what=a  k=v 1"), at(100)).unwrap();
    store.take(point("what=b  k=v 1"), at(105)).unwrap();
    assert!(store.take(point("what=c 1"), at(109)).is_err());
    assert_eq!(
        store.take(point("what=c unit=1 mtype=gauge 1"), at(110)),
        Ok(Vec::new())
    );
    // Within a second it is not looked again.
    let is_full = |store: &mut Store, time| store.take(point("what=d 1"), time).is_err();
    assert!(is_full(&mut store, at(110)));
    assert!(is_full(&mut store, at(114)));
    assert_eq!(store.families(at(115)).len(), 1);
    assert_eq!(store.families(at(50)).len(), 1, "a clock that was set back");
    assert_eq!(store.families(at(200)).len(), 0);
    assert_eq!((store.bytes, store.counts().series), (0, 0));
}

#[test]
fn a32_names_that_clash_are_told_apart() {
    for (text, lines) in [
        (
            "what=x mtype=counter 1\nwhat=x 2",
            &["x_total 1", "x_2 2"][..],
        ),
        (
            "what=x mtype=counter 1\nwhat=x_total 2",
            &["x_total 1", "x_total_2 2"],
        ),
        (
            "what=x mtype=count 1\nwhat=x_created 2",
            &["x_total 1", "x_created_2 2"],
        ),
        (
            "what=x mtype=counter 1\nwhat=x mtype=count 2",
            &["x_total 2", "x_total{series=\"2\"} 1"],
        ),
        (
            "what=x unit=B 1\nwhat=x_bytes 2",
            &["x_bytes 1", "x_bytes_2 2"],
        ),
        (
            "what=x unit=B 1\nwhat=x unit=s 2",
            &["x_bytes 1", "x_seconds 2"],
        ),
        (
            "what=x unit=B 1\nwhat=x unit=bytes 2",
            &["x_bytes 1", "x_bytes{series=\"2\"} 2"],
        ),
        (
            "what=x.y 1\nwhat=x/y 2\nwhat=x_y 3",
            &["x_y 1", "x_y{series=\"2\"} 2", "x_y{series=\"3\"} 3"],
        ),
        (
            "what=x a.b=1 1\nwhat=x a/b=1 2\nwhat=x a_b=1 series=2 3",
            &[
                "x{a_b=\"1\"} 1",
                "x{a_b=\"1\",series=\"2\"} 3",
                "x{a_b=\"1\",series=\"3\"} 2",
            ],
        ),
        ("what=disco_up 1", &["app_disco_up 1"]),
        ("what=disco mtype=counter 1", &["app_disco_total 1"]),
    ] {
        let mut store = filled(text);
        let mut found = samples(&mut store);
        found.sort();
        let mut lines = lines.to_vec();
        lines.sort_unstable();
        assert_eq!(found, lines, "{text}");
    }
}

#[test]
fn a31_a_time_of_whole_seconds_is_not_older_than_a_moment_ago() {
    let mut store = Store::default();
    let moment = at(1000) + Duration::from_millis(500);
    store.take(point("what=a mtype=gauge 1"), moment).unwrap();
    store
        .take(point("what=a mtype=gauge 2 1000"), moment)
        .unwrap();
    assert_eq!(samples(&mut store), ["a 2"]);
    store
        .take(point("what=a mtype=gauge 3 999"), moment)
        .unwrap();
    assert_eq!(samples(&mut store), ["a 2"], "older than one of its kind");
    let ahead = store.take(point("what=a mtype=gauge 4 999999999"), moment);
    assert!(
        ahead
            .unwrap_err()
            .to_string()
            .contains("more than a day ahead")
    );
}
