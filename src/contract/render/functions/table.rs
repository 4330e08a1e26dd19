//! What each function gives, and what it says when it cannot.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::json;

use super::*;
use crate::contract::render::{Place, Template};

/// Variables and files of a test.
struct Around(BTreeMap<&'static str, &'static str>);

impl Surroundings for Around {
    fn env(&self, name: &str) -> Option<String> {
        self.0.get(name).map(|value| (*value).to_owned())
    }

    fn file(&self, path: &str) -> Result<String, String> {
        self.env(path)
            .ok_or_else(|| "reads a file that is not there".to_owned())
    }
}

fn render(template: &str) -> Result<String, String> {
    let data = json!({"db": {
        "host": "h",
        "port": 3306,
        "ssl": true,
        "null": null,
        "list": ["b", "a", "c"],
        "users": [{"n": "z", "age": 1}, {"n": "y", "age": 2}],
        "text": "it's\nso",
        "secret": "hunter2",
        "b64": "aHVudGVyMg==",
    }});
    let around: Arc<dyn Surroundings> =
        Arc::new(Around([("HOME", "/root"), ("/etc/x", "content\n")].into()));
    let place = Place::file(PathBuf::from("t.j2"));
    let include = |_: &str| Err("is not there".to_owned());
    let template = Template::compile(place, template.to_owned(), &include)
        .map_err(|problems| problems[0].to_string())?;
    template
        .render(&data, &around)
        .map_err(|problem| problem.to_string())
}

#[test]
fn every_function_as_a_function_and_as_a_filter() {
    for (expression, expected) in [
        ("json(db.list)", r#"["b","a","c"]"#),
        ("db.list|tojson", r#"["b","a","c"]"#),
        (
            "db.users|toJSON",
            r#"[{"age":1,"n":"z"},{"age":2,"n":"y"}]"#,
        ),
        ("toJSONPretty([1])", "[\n  1\n]"),
        ("parseJSON('{\"a\": [1]}').a[0]", "1"),
        ("('a: {b: 2}'|parseYAML).a.b", "2"),
        ("yaml(db.list)", "- b\n- a\n- c"),
        ("{'a': '1', 'b': none}|toYAML", "a: '1'\nb: null"),
        (
            "toTOML({'a': 1, 'n': none, 't': {'x': [1.5, true]}})",
            "a = 1\n\n[t]\nx = [1.5, true]",
        ),
        ("toml({})", ""),
        ("parseTOML('a = 1').a", "1"),
        ("base64(db.host)", "aA=="),
        ("db.b64|base64_decode", "hunter2"),
        ("urlencode('a b/é~')", "a%20b%2F%C3%A9~"),
        (
            "sha256('abc')",
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        ),
        ("env('HOME')", "/root"),
        ("env('NONE', 'x')", "x"),
        ("env('NONE')|default('y')", "y"),
        ("env('NONE') is defined", "false"),
        ("file('/etc/x')|trim", "content"),
        ("split('a,b', ',')|join('-')", "a-b"),
        ("join(db.list, ' ')", "b a c"),
        ("sort(db.list)|join", "abc"),
        ("db.list|sort(reverse=true)|join", "cba"),
        ("sortBy(db.users, 'n')|map(attribute='age')|join", "21"),
        ("db.users|sortBy('age')|map(attribute='n')|join", "zy"),
        ("default(db.none, 'd')", "d"),
        ("db.none|default('d')", "d"),
        ("default(db.host, 'd')", "h"),
        ("indent(db.text, 2)", "it's\n  so"),
        ("db.text|indent(2, true)", "  it's\n  so"),
        ("upper(db.host) ~ lower('A') ~ trim(' a ')", "Haa"),
        ("replace('aXbX', 'X', '-')", "a-b-"),
        ("regex_replace('a1b22', '[0-9]+', '<$0>')", "a<1>b<22>"),
        ("'v1.2'|regex_match('^v[0-9]')", "true"),
        ("contains('abc', 'b')", "true"),
        ("db.list|contains('x')", "false"),
        ("contains(db, 'host')", "true"),
        ("hasPrefix('abc', 'ab') and startsWith('abc', '')", "true"),
        ("'abc'|hasSuffix('bc') and not endsWith('abc', 'x')", "true"),
        ("quote(db.text)", "'it'\\''s\nso'"),
        ("db.port|quote", "'3306'"),
        ("length(db.list) ~ first(db.list) ~ last(db.list)", "3bc"),
        ("data.db.host", "h"),
        ("db.ssl", "true"),
        ("db.ssl|string ~ ''", "true"),
        ("'%05.1f'|format(1.25)", "001.2"),
        ("db|items|first|last", "aHVudGVyMg=="),
        (
            "db.users|selectattr('age', '>', 1)|map(attribute='n')|first",
            "y",
        ),
        ("db.users|groupby('age')|length", "2"),
        ("[3, 1, 3]|unique|list", "[3,1]"),
        ("range(3)|sum", "3"),
        ("dict(a=1)|dictsort", r#"[["a",1]]"#),
        (
            "db.port is divisibleby 2 and db.port is number and 'a' is in ['a']",
            "true",
        ),
        ("'a_b'|title|reverse|capitalize", "B_a"),
        ("[db.ssl, false]|join(',')", "true,false"),
        ("quote(db.ssl)", "'true'"),
        ("db.list", r#"["b","a","c"]"#),
        ("db.null is none", "true"),
        ("db.null|default('d', true)", "d"),
        ("db.null or 'd'", "d"),
    ] {
        let got = render(&format!("{{{{ {expression} }}}}"));
        assert_eq!(got.as_deref(), Ok(expected), "{expression}");
    }
}

#[test]
fn what_fails_says_so_without_a_value() {
    for (expression, expected) in [
        (
            "parseJSON(db.secret)",
            "`parseJSON(db.secret)` is given a text that is no JSON: line 1",
        ),
        (
            "parseYAML('[' ~ db.secret)",
            "is given a text that is no YAML",
        ),
        ("db.secret|parseTOML", "is given a text that is no TOML"),
        (
            "base64_decode(db.secret)",
            "is given what is no base64 of UTF-8 text",
        ),
        (
            "file(db.secret)",
            "`file(db.secret)` reads a file that is not there",
        ),
        (
            "regex_match('', '(' ~ db.secret)",
            "is given a pattern that is no regular expression",
        ),
        ("toTOML(db.list)", "a map at its top"),
        ("contains(db.port, 'x')", "takes a text and a part"),
        ("json(db.none)", "`json(db.none)` uses what is undefined"),
        ("contains(db.none, 1)", "uses what is undefined"),
        ("sortBy(db.port, 'n')", "fails"),
        ("env('NONE')", "uses what is undefined"),
        ("sort(db.secret, attribute=3)", "fails"),
        ("(db.secret ~ 'x')|int", "fails"),
        (
            "9223372036854775807 * db.port * 3306 * 3306 * 9223372036854775807 * 9223372036854775807",
            "fails",
        ),
        (
            "db.secret + 1",
            "fails: tried to use + operator on unsupported types string and number",
        ),
        ("db.list|map(db.secret)|list", "uses an unknown filter"),
        ("db.secret()", "fails: value of type string is not callable"),
        (
            "quot(db.secret)",
            "unknown function: `quot`; did you mean `quote`?",
        ),
        (
            "db.host|uper",
            "unknown filter: `uper`; did you mean `upper`?",
        ),
        ("db.host is strin", "unknown test"),
        ("db.null", "`db.null` is or takes a null"),
        ("quote(db.null)", "is or takes a null"),
        ("upper()", "lacks an argument"),
        ("upper('a', 1)", "too many arguments"),
    ] {
        let told = render(&format!("line\n{{{{ {expression} }}}}")).unwrap_err();
        assert!(told.starts_with("t.j2:2:"), "{expression}: {told}");
        assert!(told.contains(expected), "{expression}: {told}");
        for value in ["hunter2", "3306"] {
            let in_expression = expression.contains(value);
            assert!(
                in_expression || !told.contains(value),
                "{expression}: {told}"
            );
        }
    }
}

#[test]
fn every_name_is_there() {
    for name in NAMES {
        let got = render(&format!("{{{{ {name} is defined }}}}"));
        assert_eq!(got.as_deref(), Ok("true"), "{name}");
    }
}
