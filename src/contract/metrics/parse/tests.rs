//! The grammar, its limits, and whatever bytes there may be.

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use super::*;

/// As it stands in the specification.
const SEED: &str = "
{
host: dfs1
what: diskspace
mountpoint: srv/node/dfs10
unit: B
type: used
metric_type: gauge
}
meta: {
agent: diamond,
processed_by: statsd2
}
";

fn fed(text: &str) -> Vec<Item> {
    let mut items = Vec::new();
    let mut parser = Parser::default();
    for line in text.split('\n') {
        parser.line(line.as_bytes(), &mut |item| items.push(item));
    }
    parser.end(&mut |item| items.push(item));
    assert!(!parser.is_pending());
    items
}

/// A point as `a=1 b=2 | c=3 48 @1391000000`, a refusal as `!line`.
fn brief(item: &Item) -> String {
    let tags = |tags: &Tags| {
        let pairs = tags.iter().map(|(key, value)| format!("{key}={value}"));
        pairs.collect::<Vec<_>>().join(" ")
    };
    match item {
        Item::Refused(refusal) => format!("!{}", refusal.line),
        Item::Point(point) => {
            let meta = match &point.meta {
                meta if meta.is_empty() => String::new(),
                meta => format!(" | {}", tags(meta)),
            };
            let sample = point.sample.map_or_else(String::new, |sample| {
                let time = sample.time.map(|time| format!(" @{time}"));
                format!(" {}{}", sample.value, time.unwrap_or_default())
            });
            format!("{}{meta}{sample}", tags(&point.tags))
        }
    }
}

fn briefs(text: &str) -> Vec<String> {
    fed(text).iter().map(brief).collect()
}

fn reason(text: &str) -> String {
    match &fed(text)[..] {
        [Item::Refused(refusal)] => refusal.reason.clone(),
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn a31_the_seed_is_a_declaration() {
    let tags =
        "host=dfs1 metric_type=gauge mountpoint=srv/node/dfs10 type=used unit=B what=diskspace";
    let meta = "agent=diamond processed_by=statsd2";
    assert_eq!(briefs(SEED), [format!("{tags} | {meta}")]);
    let sampled = SEED.trim_end().to_owned() + " 48 1391000000\n";
    assert_eq!(
        briefs(&sampled),
        [format!("{tags} | {meta} 48 @1391000000")]
    );
    assert_eq!(briefs(&SEED.replace('\n', "\r\n")), briefs(SEED));
    assert_eq!(briefs(&SEED.replace('\n', "\n\n")), briefs(SEED));
}

#[test]
fn a31_blocks_take_every_shape() {
    for (text, points) in [
        ("{a: b}", &["a=b"][..]),
        ("{ a=b, c: d\te=f }", &["a=b c=d e=f"]),
        ("{a=b} 48", &["a=b 48"]),
        ("  {a=b}48 1.5e9  ", &["a=b 48 @1500000000"]),
        ("{a=b} 1 1391000000123", &["a=b 1 @1391000000.123"]),
        ("{a=b} 1 1391000000.25", &["a=b 1 @1391000000.25"]),
        ("{a=b} meta: {c=d} 48", &["a=b | c=d 48"]),
        ("{a=b} meta={c=d} 48", &["a=b | c=d 48"]),
        ("{a=b}meta :{c=d}48", &["a=b | c=d 48"]),
        ("{a=b}\nmeta: {c=d} 48", &["a=b | c=d 48"]),
        ("{a=b}\n\n \nmeta: {\nc=d\n} 48", &["a=b | c=d 48"]),
        ("{a=b}\n# why\nmeta: {\n# so\nc=d\n}", &["a=b | c=d"]),
        ("{a=b} meta: {\nc=d}\n{e=f}", &["a=b | c=d", "e=f"]),
        ("{a=b\nvalue: 48}", &["a=b 48"]),
        ("{value=-0.5 a=b}", &["a=b -0.5"]),
        ("{a=b} meta: {value=x}", &["a=b | value=x"]),
        (
            "{a=b} 1 {c=d} meta: {e=f} 2 {g=h}",
            &["a=b 1", "c=d | e=f 2", "g=h"],
        ),
        ("{a=b}{c=d} 2", &["a=b", "c=d 2"]),
        ("{a=b}, {c=d}", &["a=b", "c=d"]),
        ("{a=b}\n{c=d}\n", &["a=b", "c=d"]),
        ("{a=b}\nc=d 1", &["a=b", "c=d 1"]),
        (r#"{"a": "b", "value": 48}"#, &["a=b 48"]),
        (
            r#"{a: "b c", d='e}f', g: "\"\\\n'"}"#,
            &["a=b c d=e}f g=\"\\\n'"],
        ),
        ("{u: http://h:1/p?q=r#s}", &["u=http://h:1/p?q=r#s"]),
        ("{a=b=c d:e:f}", &["a=b=c d=e:f"]),
        ("{a= b c:\td}", &["a=b c=d"]),
        ("{a=don't}", &["a=don't"]),
        ("{a=\u{fffd}}", &["a=\u{fffd}"]),
    ] {
        assert_eq!(briefs(text), points, "{text}");
    }
}

#[test]
fn a31_lines_are_carbon2() {
    for (text, points) in [
        ("a=b 48", &["a=b 48"][..]),
        ("a=b  48", &["a=b 48"]),
        ("a=b  48 1391000000", &["a=b 48 @1391000000"]),
        (
            "what=x unit=B mtype=gauge  agent=diamond 48 1391000000",
            &["mtype=gauge unit=B what=x | agent=diamond 48 @1391000000"],
        ),
        ("a=b  c=d  e=f  48", &["a=b | c=d e=f 48"]),
        ("a: b c: d 48", &["a=b c=d 48"]),
        ("a=b, c=d,  e=f 48", &["a=b c=d e=f 48"]),
        ("a=\"b  c\" 48", &["a=b  c 48"]),
        ("\"a\"=b 48", &["a=b 48"]),
        ("\t a=b 48\t", &["a=b 48"]),
        ("a=b", &["a=b"]),
        ("a=b  c=d", &["a=b | c=d"]),
        ("a=b value=3", &["a=b 3"]),
        ("a=b  value=3", &["a=b 3"]),
        ("1=2 3", &["1=2 3"]),
        ("a=b 1\nc=d 2", &["a=b 1", "c=d 2"]),
        ("# a=b 1\n\n  # c", &[]),
    ] {
        assert_eq!(briefs(text), points, "{text}");
    }
}

#[test]
fn a31_numbers_are_decimal() {
    for (text, number) in [
        ("1", 1.0),
        ("+1", 1.0),
        ("-1.5", -1.5),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("1E-3", 0.001),
        ("Inf", f64::INFINITY),
        ("+Inf", f64::INFINITY),
        ("-inf", f64::NEG_INFINITY),
    ] {
        let items = fed(&format!("a=b {text}"));
        let sample = Some(Sample {
            value: number,
            time: None,
        });
        assert!(
            matches!(&items[..], [Item::Point(point)] if point.sample == sample),
            "{text}"
        );
    }
    for text in ["NaN", "nan"] {
        let items = fed(&format!("a=b {text}"));
        assert!(matches!(&items[..], [Item::Point(point)] if point.sample.unwrap().value.is_nan()));
    }
    for text in [
        "0x10", "1e999", "infinity", "-NaN", "1_000", "1.2.3", ".", "-", "1k", "١",
    ] {
        assert!(reason(&format!("a=b {text}")).contains("number"), "{text}");
        assert!(
            reason(&format!("{{a=b}} {text}")).contains("number"),
            "{text}"
        );
    }
    for text in [
        "0",
        "-1",
        "1e11",
        "999999999999",
        "1391000000000000",
        "NaN",
        "N",
    ] {
        assert!(
            reason(&format!("a=b 1 {text}")).contains("no time"),
            "{text}"
        );
    }
}

#[test]
fn a31_what_is_wrong_is_said_once_and_costs_no_more() {
    for (text, items) in [
        // Lines.
        ("foo\na=b 1", &["!1", "a=b 1"][..]),
        ("a=b 1 2 3\na=b 1", &["!1", "a=b 1"]),
        ("a=b 1 c=d\na=b 1", &["!1", "a=b 1"]),
        ("a=b a=c 1", &["!1"]),
        ("a=b value=1 2", &["!1"]),
        ("a=b value=1 value=2", &["!1"]),
        ("a= \n=b\n48", &["!1", "!2", "!3"]),
        ("a=b {c\n}\nd=e", &["!1", "!2", "d=e"]),
        ("a=\"b\"c 1", &["!1"]),
        ("a=\"b 1\na=b 1", &["!1", "a=b 1"]),
        ("a=\"\\t\" 1", &["!1"]),
        ("a=\"\" 1", &["!1"]),
        ("value=3", &["!1"]),
        ("meta: {a=b}\nc=d 1", &["!1", "c=d 1"]),
        // Blocks.
        ("{}", &["!1"]),
        ("{a=b} x\n{c=d}", &["!1", "c=d"]),
        ("{a=b} x {c=d}", &["!1", "c=d"]),
        ("{a b} meta: {c d} 3 {e=f}", &["!1", "e=f"]),
        ("{a=b\nb\nc}\nmeta: {d=e}\nf=g 1", &["!2", "f=g 1"]),
        ("{\na=b\na=c\nd=e\n} 48\nf=g 1", &["!3", "f=g 1"]),
        ("{a=b {c=d}\ne=f", &["!1", "e=f"]),
        ("{value=x a=b}", &["!1"]),
        ("{a=b value=1} 2", &["!1"]),
        ("{a=b} 1 meta: {c=d}\ne=f", &["!1", "e=f"]),
        ("{a=b} 1\nmeta: {c=d}\ne=f", &["a=b 1", "!2", "e=f"]),
        // A writer that died.
        ("{a=b", &["!1"]),
        ("{a=b} meta: {c=d", &["!1"]),
        ("{\na=b\n{c=d} 1", &["!1", "c=d 1"]),
        (
            "{\na=b\nwhat=c 1\nwhat=d 2",
            &["!1", "what=c 1", "what=d 2"],
        ),
        ("{\na\nwhat=c 1\nwhat=d 2", &["!2", "what=c 1", "what=d 2"]),
        ("{\na\n{c=d} 1", &["!2", "c=d 1"]),
    ] {
        assert_eq!(briefs(text), items, "{text}");
    }
}

#[test]
fn a31_refusals_show_little_and_nothing_harmful() {
    assert_eq!(
        reason("foo.bar\u{1b}[2J"),
        r"`foo.bar\u{1b}[2J` is neither a tag nor a number; expected `key=value`, or `48`, `0.5`, `1e3`, `NaN`, `+Inf`"
    );
    assert_eq!(
        reason("{a=b\na=c}"),
        "the tag `a` is there twice; expected one of each key"
    );
    assert!(reason("{a=b\n").contains("expected `}`"));
    for text in [
        "a=b\u{1}",
        "a\u{1}=b",
        "a=\"b\u{7f}\"",
        "a=b\u{85}c",
        "{a='b\rc'}",
    ] {
        assert!(reason(text).contains("control character"), "{text:?}");
    }
    let long = "x".repeat(9000);
    for text in [
        long.clone(),
        format!("{long}=1"),
        format!("a={long}"),
        format!("a='{long}"),
        format!("a='1'{long}"),
        format!("a=b {long}"),
        format!("a=b 1 {long}"),
        format!("a=b 1 1 {long}"),
        format!("{{a=b}} {long}"),
        format!("{{{long}}}"),
    ] {
        assert!(reason(&text).chars().count() < 250, "{}", reason(&text));
    }
}

#[test]
fn a31_limits_are_exact() {
    let tags = |count: usize| (0..count).map(|n| format!("k{n}=v ")).collect::<String>();
    assert_eq!(fed(&format!("{} 1", tags(MAX_TAGS))).len(), 1);
    assert!(reason(&format!("{} 1", tags(MAX_TAGS + 1))).contains("64 tags"));
    assert!(reason(&format!("{{{}}} meta: {{x=y}}", tags(MAX_TAGS))).contains("64 tags"));
    for (count, is_fine) in [(MAX_KEY, true), (MAX_KEY + 1, false)] {
        let items = fed(&format!("{}=b 1", "k".repeat(count)));
        assert_eq!(matches!(items[0], Item::Point(_)), is_fine);
    }
    for (count, is_fine) in [(MAX_VALUE, true), (MAX_VALUE + 1, false)] {
        let items = fed(&format!("a='{}' 1", "v".repeat(count)));
        assert_eq!(matches!(items[0], Item::Point(_)), is_fine);
    }
    let line = |count: usize| format!("a=b{}1", " ".repeat(count - 4));
    assert_eq!(briefs(&line(MAX_BYTES)), ["a=b 1"]);
    assert!(reason(&line(MAX_BYTES + 1)).contains("64 KiB"));
    let blanks = " ".repeat(MAX_BYTES);
    for (text, items) in [
        (format!("a=b{blanks}1\nc=d 1"), &["!1", "c=d 1"][..]),
        (format!("{{a=b{blanks}\nc=d\n}} 1\ne=f 1"), &["!1", "e=f 1"]),
        (
            format!("{{a=b{blanks}}}\nmeta: {{c=d}}\ne=f 1"),
            &["!1", "e=f 1"],
        ),
        (format!("{{\na=b{blanks}\n}} 1\ne=f 1"), &["!2", "e=f 1"]),
        (
            format!("{{a=b}}\nc=d{blanks}\ne=f 1"),
            &["a=b", "!2", "e=f 1"],
        ),
    ] {
        assert_eq!(briefs(&text), items);
    }
    let gap = ", ".repeat(2000);
    let long = format!("{{\na=b\n{}", format!("{gap}\n").repeat(17));
    assert_eq!(briefs(&format!("{long}}} 1\nc=d 1")), ["!19", "c=d 1"]);
    // Nobody knows where it ends, so it is skipped for as long again and no more.
    let more = format!("{gap}x=y\n").repeat(18);
    assert_eq!(
        briefs(&format!("{long}{more}c=d 1")),
        ["!19", "x=y", "x=y", "c=d 1"]
    );
}

#[test]
fn a31_what_is_pending_is_known() {
    let mut parser = Parser::default();
    let mut count = 0;
    for (line, is_pending) in [
        ("a=b 1", false),
        ("{", true),
        ("a=b", true),
        ("}", true),
        ("", true),
        ("meta: {c=d}", false),
        ("{a=b} 1", false),
        ("{a=b} meta: {c=d}", false),
    ] {
        parser.line(line.as_bytes(), &mut |_| count += 1);
        assert_eq!(parser.is_pending(), is_pending, "{line}");
    }
    assert_eq!(count, 4);
}

#[test]
fn a31_broken_utf8_is_replaced() {
    let mut items = Vec::new();
    Parser::default().line(b"a=b\xffc 1", &mut |item| items.push(brief(&item)));
    assert_eq!(items, ["a=b\u{fffd}c 1"]);
}

/// Bytes that the parser holds.
fn held(parser: &Parser) -> usize {
    let size = |tags: &Tags| {
        tags.iter()
            .map(|(key, value)| key.len() + value.len())
            .sum::<usize>()
    };
    let block = parser.open.as_ref();
    block.map_or(0, |block| size(&block.draft.tags) + size(&block.draft.meta))
}

fn shown(tags: &Tags, between: &str) -> String {
    let pair = |(key, value): (&String, &String)| {
        let value = value
            .replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('\n', "\\n");
        format!("{key}=\"{value}\"")
    };
    tags.iter().map(pair).collect::<Vec<_>>().join(between)
}

fn any_point() -> impl Strategy<Value = Point> {
    let key = "[a-z_.-]{1,8}".prop_filter("is the sample", |key| key != "value");
    let value = "[^\\p{C}]{1,12}|[a-z\"'\\\\\n {}=:,#]{1,6}";
    let tags = btree_map(key.clone(), value, 1..6);
    let meta = btree_map(key, value, 0..4);
    let time = proptest::option::of(1_u32..);
    let number = any::<f64>().prop_filter("has no equal", |number| !number.is_nan());
    let sample = proptest::option::of((number, time));
    (tags, meta, sample).prop_map(|(tags, meta, sample)| Point {
        tags,
        meta,
        sample: sample.map(|(value, time)| Sample {
            value,
            time: time.map(f64::from),
        }),
    })
}

proptest! {
    #[test]
    fn a31_any_bytes_are_read_in_bounded_memory(
        lines in vec(
            prop_oneof![
                vec(any::<u8>(), 0..80),
                "[{}a=: \",'\\\\\tm1]{0,30}".prop_map(String::into_bytes),
                "(\\{|\\}|meta: \\{|a=b|,| |  |1|value=|x y|\"|#){0,12}".prop_map(String::into_bytes),
            ],
            0..40,
        ),
    ) {
        let mut parser = Parser::default();
        for (fed, line) in (1_u64..).zip(&lines) {
            parser.line(line, &mut |item| match item {
                Item::Point(point) => {
                    assert!(!point.tags.is_empty());
                    assert!(point.tags.len() + point.meta.len() <= MAX_TAGS);
                }
                Item::Refused(refusal) => {
                    assert!((1..=fed).contains(&refusal.line));
                    assert!(!refusal.reason.contains(char::is_control), "{}", refusal.reason);
                }
            });
            prop_assert!(held(&parser) <= 3 * MAX_BYTES);
        }
        parser.end(&mut |_| {});
        prop_assert!(!parser.is_pending());
    }

    #[test]
    fn a31_what_is_printed_is_read_again(point in any_point()) {
        let sample = point.sample.map_or_else(String::new, |sample| {
            let time = sample.time.map_or_else(String::new, |time| format!(" {time}"));
            format!(" {:?}{time}", sample.value)
        });
        let (tags, meta) = (shown(&point.tags, "\n"), shown(&point.meta, ", "));
        let block = format!("{{\n{tags}\n}} meta: {{ {meta} }}{sample}");
        prop_assert_eq!(fed(&block), [Item::Point(point.clone())]);
        let (tags, meta) = (shown(&point.tags, " "), shown(&point.meta, " "));
        let line = format!("{tags}  {meta}{sample}");
        prop_assert_eq!(fed(&line), [Item::Point(point)]);
    }
}
