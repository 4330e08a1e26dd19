//! Templates as a whole: what is undefined, what is included, what an error shows.

use proptest::prelude::*;
use serde_json::json;

use std::path::Path;

use super::*;

/// Nothing is around.
struct Nowhere;

impl Surroundings for Nowhere {
    fn env(&self, _: &str) -> Option<String> {
        None
    }

    fn file(&self, _: &str) -> Result<String, String> {
        Err("reads a file that is not there".to_owned())
    }
}

fn place(file: &str) -> Place {
    Place::file(PathBuf::from(file))
}

fn compile(text: &str, includes: &[(&str, &str)]) -> Result<Template, Vec<String>> {
    let include = |name: &str| {
        let found = includes.iter().find(|(known, _)| *known == name);
        found
            .map(|(name, text)| (place(name), (*text).to_owned()))
            .ok_or_else(|| "does not exist".to_owned())
    };
    Template::compile(place("t.j2"), text.to_owned(), &include)
        .map_err(|problems| problems.iter().map(ToString::to_string).collect())
}

fn render_with(text: &str, includes: &[(&str, &str)], data: &Value) -> Result<String, String> {
    let around: Arc<dyn Surroundings> = Arc::new(Nowhere);
    compile(text, includes)
        .map_err(|problems| problems.join("\n"))?
        .render(data, &around)
        .map_err(|problem| problem.to_string())
}

fn render(text: &str, data: &Value) -> Result<String, String> {
    render_with(text, &[], data)
}

#[test]
fn blocks_leave_no_lines_and_the_last_newline_stays() {
    let text = "a\n  {% for x in l %}\n- {{ x }}\n  {% endfor %}\n{# note #}\nb < & '\n";
    let got = render(text, &json!({"l": {"z": 1, "a": 2}}));
    assert_eq!(got.unwrap(), "a\n- a\n- z\nb < & '\n");
    assert_eq!(
        render("x: {{ x }}", &json!({"x": "<a>"})).unwrap(),
        "x: <a>"
    );
}

#[test]
fn interfaces_are_names_dotted_ones_are_nested() {
    let data = json!({"db.master": {"host": "m"}, "db.slave": {"host": "s"}, "my-web": {"n": 1}});
    let text = "{{ db.master.host }} {{ db['slave'].host }} {{ data['my-web'].n }}";
    assert_eq!(render(text, &data).unwrap(), "m s 1");
    // An interface of that name goes before the whole.
    assert_eq!(
        render("{{ data.x }}", &json!({"data": {"x": 1}})).unwrap(),
        "1"
    );
    assert_eq!(render("fixed\n", &json!({})).unwrap(), "fixed\n");
}

#[test]
fn what_is_undefined_is_told_with_line_and_expression() {
    let data = json!({"db": {"password": "hunter2"}});
    for (text, expected) in [
        (
            "a\n  {{ db.pasword }}\n",
            "t.j2:2:6: `db.pasword` is undefined",
        ),
        ("{{ db.x.y }}", "t.j2:1:4: `db.x.y` is undefined"),
        ("{{ dbb }}", "t.j2:1:4: `dbb` is undefined"),
        (
            "{{ 1-db['a-b'].c.d }}",
            "t.j2:1:6: `db['a-b'].c` is undefined",
        ),
        (
            "{{ data['db'].x.y.z }}",
            "t.j2:1:4: `data['db'].x.y` is undefined",
        ),
        (
            "\n{% if db.x %}{% endif %}",
            "t.j2:2:7: `db.x` is undefined",
        ),
        ("{% for x in db.x %}{% endfor %}", "t.j2:1:"),
        ("{{ db.x|upper }}", "is undefined"),
        ("{{ db.x + 1 }}", "t.j2:1:"),
    ] {
        let told = render(text, &data).unwrap_err();
        assert!(told.contains(expected), "{text}: {told}");
        assert!(!told.contains("hunter2"), "{told}");
    }
    let fine = "{{ db.x is defined }} {{ db.x|default(1) }} {{ default(db.x, 2) }}";
    assert_eq!(render(fine, &data).unwrap(), "false 1 2");
}

#[test]
fn what_is_no_template_is_told_with_its_line() {
    for (text, expected) in [
        ("a\n{{ b", "t.j2:2:"),
        ("{% if a %}\n{% endfor %}", "t.j2:2:"),
        ("{{ a | }}", "t.j2:1:"),
        (
            "{% what %}",
            "t.j2:1:1: is no valid template: unknown statement what",
        ),
    ] {
        let told = compile(text, &[]).unwrap_err();
        assert!(told[0].starts_with(expected), "{text}: {told:?}");
    }
}

#[test]
fn an_inline_template_counts_the_lines_of_its_file() {
    let file = Path::new("x.rules");
    let rules: Arc<str> = "#\n#\n#\n#\n#\n#\ncontent: |\n  a\n  {{ b }}\n".into();
    let at = Place {
        file: file.to_owned(),
        within: Some(Said::new(file, &rules, &[], "content")),
    };
    let none = |_: &str| Err("x".to_owned());
    let template = Template::compile(at, "a\n{{ b }}\n".to_owned(), &none).unwrap();
    let around: Arc<dyn Surroundings> = Arc::new(Nowhere);
    let told = template.render(&json!({}), &around).unwrap_err();
    assert!(told.to_string().starts_with("x.rules:9:4: `b`"), "{told}");
}

#[test]
fn includes_are_compiled_too_and_their_errors_are_theirs() {
    let includes = [
        ("head.j2", "# {{ db.host }}\n{% include 'deep.j2' %}"),
        ("deep.j2", "\n\n{{ db.nope }}"),
        ("lib.j2", "{% macro row(x) %}<{{ x.y }}>{% endmacro %}"),
        ("bad.j2", "\n{{"),
    ];
    let data = json!({"db": {"host": "h"}, "r": {"y": 1}});
    let told = render_with("{% include 'head.j2' %}", &includes, &data).unwrap_err();
    assert!(
        told.starts_with("deep.j2:3:4: `db.nope` is undefined"),
        "{told}"
    );
    let text =
        "{% import 'lib.j2' as lib %}{{ lib.row(r) }}{% from 'lib.j2' import row %}{{ row(r) }}";
    assert_eq!(render_with(text, &includes, &data).unwrap(), "<1><1>");
    let told = render_with(
        "{% import 'lib.j2' as lib %}{{ lib.row(db) }}",
        &includes,
        &data,
    );
    assert!(
        told.clone().unwrap_err().starts_with("lib.j2:1:23: `x.y`"),
        "{told:?}"
    );
    let told = compile(
        "{% include 'bad.j2' %}\n{% include 'no' %}{% include '/etc/passwd' %}",
        &includes,
    )
    .unwrap_err();
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(
        told[0].starts_with("t.j2:2:1: the included template `no` does not exist"),
        "{told:?}"
    );
    assert!(
        told[1].contains("`/etc/passwd` is no file beside"),
        "{told:?}"
    );
    assert!(told[2].starts_with("bad.j2:2:"), "{told:?}");
    assert_eq!(
        render_with("a{% include 'no' ignore missing %}b", &[], &data).unwrap(),
        "ab"
    );
    let dynamic = render_with("{% include db.host %}", &includes, &data).unwrap_err();
    assert!(
        dynamic.contains("names a template that is not there"),
        "{dynamic}"
    );
    let told = render_with(
        "{% include 'self.j2' %}",
        &[("self.j2", "{% include 'self.j2' %}")],
        &data,
    );
    assert!(told.is_err(), "no end to it");
}

#[test]
fn names_are_those_of_the_data() {
    let text = "{% for x in db.l %}{{ x ~ web.h ~ loop.index }}{% endfor %}{{ env('A') }}{{ data.y }}{{ json(q) }}";
    let names = compile(text, &[]).unwrap().names();
    assert_eq!(Vec::from_iter(names), ["db", "q", "web"]);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_is_a_panic_and_no_error_shows_a_value(text in r#"(\{\{ |\}\}|\{% |%\}|if |for |in |end|db\.s|db\.n|x|\||\(|\)|,|\+|-|\*|/|%|~|\[|\]|'|[a-z]{1,6}|0|9{1,20}|json|sort|join|format| ){0,24}"#) {
        let data = json!({"db": {"s": "hunter2hunter2", "n": 777_777_777}});
        if let Err(told) = render(&text, &data) {
            prop_assert!(!told.contains("hunter2") && !told.contains("777777777"), "{}", told);
        }
    }

    #[test]
    fn text_without_braces_comes_out_as_it_is(text in "[^{}%#]{0,60}") {
        prop_assert_eq!(render(&text, &json!({})).unwrap(), text);
    }
}
