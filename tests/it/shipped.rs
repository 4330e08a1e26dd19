//! The layers that ship: their examples render to what is expected, and whatever a schema lets through
//! comes out of the rendered file again as it went in.

mod formats;
mod programs;
mod values;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use layer_cake::cake::needs;
use layer_cake::cake::{lint, trial};
use layer_cake::contract::problem::Problem;
use layer_cake::contract::render::Surroundings;
use layer_cake::contract::rule::{self, Action};
use layer_cake::contract::schema::Schema;
use layer_cake::contract::text::{self, Format, Snippet};
use serde_json::{Value, json};

use crate::support::{disco_bin, repo};

/// Every shipped layer.
const ALL: [&str; 10] = [
    "env", "http", "kafka", "mysql", "nginx", "postgres", "redis", "s3", "smtp", "tls",
];

fn layer(name: &str) -> PathBuf {
    repo().join("layers").join(name)
}

fn yaml(path: &Path) -> Value {
    let bytes = std::fs::read(path).unwrap();
    text::parse(&bytes, Some(Format::Yaml), Snippet::Shown)
        .unwrap()
        .value
}

struct Nothing;

impl Surroundings for Nothing {
    fn env(&self, _: &str) -> Option<String> {
        None
    }

    fn file(&self, _: &str) -> Result<String, String> {
        Err("is not to be had".into())
    }
}

/// What a layer makes of this data of its interface, path by path; or why the schema refuses it. As from
/// a key-value store, strings may stand for numbers.
fn rendered(name: &str, data: &Value) -> Result<BTreeMap<String, String>, Vec<String>> {
    let dir = layer(name);
    let schema = yaml(&dir.join(format!("{name}.schema")));
    let schema = Schema::compile(&schema).unwrap();
    let checked = schema.check(data, |_| true).map_err(|violations| {
        let told = violations.iter();
        told.map(|violation| format!("{}: {}", violation.path, violation.message))
            .collect::<Vec<_>>()
    })?;
    let file = dir.join(format!("{name}.rules"));
    let rules = rule::parse(&file, &std::fs::read(&file).unwrap())
        .unwrap()
        .rules;
    let surroundings: Arc<dyn Surroundings> = Arc::new(Nothing);
    let read = |path: &Path| std::fs::read_to_string(path).map_err(|error| error.to_string());
    let data = json!({ name: checked.value });
    let mut files = BTreeMap::new();
    for rule in &rules {
        let Action::Render(outputs) = &rule.action else {
            panic!("{name} runs a handler");
        };
        for output in outputs {
            let text = output
                .compile(&file, &read)
                .map_err(|problems| problems[0].clone())
                .and_then(|template| template.render(&data, &surroundings))
                .unwrap_or_else(|problem: Problem| panic!("{problem}"));
            files.insert(output.to.display().to_string(), text);
        }
    }
    Ok(files)
}

#[track_caller]
fn only(name: &str, data: &Value, path: &str) -> String {
    let mut files = rendered(name, data).unwrap_or_else(|told| panic!("{told:?}"));
    files
        .remove(path)
        .unwrap_or_else(|| panic!("{path} is not among {:?}", files.keys()))
}

/// Where layers that ship need one another.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    Some(layer(name)).filter(|dir| dir.is_dir())
}

#[test]
fn every_layer_passes_the_strictest_lint() {
    let found = lint::lint(&ALL.map(layer), &find, true);
    let told: Vec<_> = found.problems.iter().map(ToString::to_string).collect();
    assert!(told.is_empty(), "{told:#?}");
    let mut there: Vec<_> = std::fs::read_dir(repo().join("layers"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    there.sort();
    assert_eq!(there, ALL);
}

/// What the example data of a layer renders to, with the disco under test.
pub(crate) fn tried(dir: &Path) -> trial::Trial {
    let needs = needs::of(dir, &find);
    let outcome = trial::run(&trial::Request {
        layer: dir,
        needs: &needs.found,
        data: None,
        disco: disco_bin(),
        update: false,
        keep: false,
        timeout: trial::TIMEOUT,
    });
    outcome.unwrap_or_else(|failure| panic!("{}: {}", dir.display(), failure.problems[0]))
}

#[test]
fn every_example_renders_to_what_is_expected() {
    for name in ALL {
        let dir = layer(name);
        let trial = tried(&dir);
        assert!(trial.is_good(), "{name}:\n{}", trial.text());
        // What is secret is nobody else's.
        for file in &trial.files {
            let is_secret = rendered_secret(&dir, file.content.as_deref().unwrap_or_default());
            let mode = file.mode.unwrap_or(0);
            assert!(
                !is_secret || mode & 0o007 == 0,
                "{} {mode:o}",
                file.path.display()
            );
        }
    }
}

/// Whether any of the passwords and keys of an example is in a file, or a part of one.
fn rendered_secret(dir: &Path, content: &[u8]) -> bool {
    let text = String::from_utf8_lossy(content);
    let data = yaml(&dir.join("example/data.yaml"));
    let maps = data.as_object().into_iter().flatten();
    maps.filter_map(|(_, map)| map.as_object())
        .flatten()
        .any(|(key, value)| {
            let is_secret =
                ["password", "key", "secret_access_key", "PASSWORD"].contains(&key.as_str());
            let value = value.as_str().unwrap_or_default();
            // Up to where quoting begins.
            let plain: String = value
                .trim_start()
                .chars()
                .take_while(char::is_ascii_alphanumeric)
                .collect();
            let shown = if plain.len() > 1 { &plain } else { value };
            is_secret && text.contains(shown)
        })
}

/// What a format cannot hold is refused by its schema and never half written.
#[test]
fn what_cannot_be_written_is_refused() {
    let cases = [
        (
            "mysql",
            json!({"host": "a b", "username": "u", "password": "p"}),
            "host",
        ),
        (
            "mysql",
            json!({"host": "h", "username": "u", "password": "p\0"}),
            "password",
        ),
        (
            "mysql",
            json!({"host": "h", "username": "u", "password": ""}),
            "password",
        ),
        (
            "mysql",
            json!({"host": "h", "username": "u", "password": "p", "port": "99999"}),
            "port",
        ),
        (
            "mysql",
            json!({"host": "h", "username": "u", "password": "p", "ssl_cert": "/c"}),
            "",
        ),
        (
            "postgres",
            json!({"host": "h", "username": "u", "password": "p\nq", "database": "d"}),
            "password",
        ),
        (
            "postgres",
            json!({"host": "h", "username": "u\nhost=evil", "password": "p", "database": "d"}),
            "username",
        ),
        (
            "postgres",
            json!({"host": "#h", "username": "u", "password": "p", "database": "d"}),
            "host",
        ),
        ("redis", json!({"host": "h/x"}), "host"),
        ("redis", json!({"host": "h", "username": "u"}), ""),
        (
            "kafka",
            json!({"bootstrap_servers": "a"}),
            "bootstrap_servers",
        ),
        (
            "kafka",
            json!({"bootstrap_servers": "a:1", "security_protocol": "SASL_SSL"}),
            "",
        ),
        (
            "kafka",
            json!({"bootstrap_servers": "a:1", "client_id": "a\nb"}),
            "client_id",
        ),
        (
            "kafka",
            json!({"bootstrap_servers": "a:1", "properties": {"a b": "x"}}),
            "properties",
        ),
        (
            "smtp",
            json!({"host": "h", "username": "u", "password": "a\nb"}),
            "password",
        ),
        ("smtp", json!({"host": "h", "username": "u"}), ""),
        (
            "s3",
            json!({"access_key_id": "k", "secret_access_key": "a b"}),
            "secret_access_key",
        ),
        (
            "s3",
            json!({"access_key_id": "k", "secret_access_key": "a", "profile": "a]b"}),
            "profile",
        ),
        ("env", json!({"a-b": "x"}), ""),
        ("env", json!({"A": {"b": 1}}), "A"),
        ("nginx", json!({"vhosts": {}}), "vhosts"),
        ("nginx", json!({"vhosts": {"a": {}}}), "vhosts.a"),
        (
            "nginx",
            json!({"vhosts": {"a": {"root": "/x", "server_name": "a; b"}}}),
            "vhosts.a.server_name",
        ),
        (
            "nginx",
            json!({"vhosts": {"a": {"proxy_pass": "http://x/;}"}}}),
            "vhosts.a.proxy_pass",
        ),
        (
            "nginx",
            json!({"vhosts": {"a\n}": {"root": "/x"}}}),
            "vhosts",
        ),
        (
            "http",
            json!({"upstreams": {"a": {"servers": {}}}}),
            "upstreams.a.servers",
        ),
        (
            "http",
            json!({"upstreams": {"a": {"servers": {"x": "h:1; down"}}}}),
            "upstreams.a.servers.x",
        ),
        (
            "http",
            json!({"upstreams": {"a b": {"servers": {"x": "h:1"}}}}),
            "upstreams",
        ),
        (
            "tls",
            json!({"certificate": "x", "key": "y"}),
            "certificate",
        ),
        (
            "kafka",
            json!({"bootstrap_servers": "a:9092,\nb:9093,\nssl.endpoint.identification.algorithm:0"}),
            "bootstrap_servers",
        ),
        (
            "postgres",
            json!({"host": "h1,,h2", "username": "u", "password": "p", "database": "d"}),
            "host",
        ),
        (
            "http",
            json!({"upstreams": {"a": {"servers": {"x": "h:99999"}}}}),
            "upstreams.a.servers.x",
        ),
        (
            "http",
            json!({"upstreams": {"a": {"servers": {"x": "[::::]:2"}}}}),
            "upstreams.a.servers.x",
        ),
        (
            "http",
            json!({"upstreams": {"a": {"servers": {"x": {"address": "h:1", "backup": true}}}}}),
            "upstreams.a.servers",
        ),
        (
            "http",
            json!({"upstreams": {"A": {"servers": {"x": "h:1"}}}}),
            "upstreams",
        ),
        ("redis", json!({"host": "cache:6380"}), "host"),
        ("redis", json!({"host": "h", "database": 1e30}), "database"),
        ("smtp", json!({"host": "mail:25"}), "host"),
        (
            "nginx",
            json!({"vhosts": {"a": {"root": "/x", "server_name": "*"}}}),
            "vhosts.a.server_name",
        ),
    ];
    for (name, data, place) in cases {
        let told = rendered(name, &data).expect_err(&format!("{name} takes {data}"));
        let is_there = told
            .iter()
            .any(|told| told.starts_with(&format!("{place}: ")));
        assert!(is_there, "{name} {data}: {told:?}");
    }
}

/// Every value of a key-value store is a string.
#[test]
fn strings_of_a_store_stand_for_numbers_and_booleans() {
    fn stringly(value: &Value) -> Value {
        match value {
            Value::Object(map) => map
                .iter()
                .map(|(key, value)| (key.clone(), stringly(value)))
                .collect(),
            Value::String(_) => value.clone(),
            other => json!(other.to_string()),
        }
    }
    for name in ALL {
        let data = &yaml(&layer(name).join("example/data.yaml"))[name];
        let stored =
            rendered(name, &stringly(data)).unwrap_or_else(|told| panic!("{name}: {told:?}"));
        assert_eq!(stored, rendered(name, data).unwrap(), "{name}");
    }
}

/// What the README of a layer shows is so: the flat file fits the schema, the rule is one, its template is
/// there, and the keys of the commands are those of the schema.
#[test]
fn what_the_readmes_show_is_so() {
    for name in ALL {
        let dir = layer(name);
        let text = std::fs::read_to_string(dir.join("README.md")).unwrap();
        let schema = yaml(&dir.join(format!("{name}.schema")));
        let blocks = text
            .split("```yaml\n")
            .skip(1)
            .map(|rest| rest.split("```").next().unwrap());
        let (mut flat, mut rules) = (0, 0);
        for block in blocks {
            if block.starts_with("format: 2") {
                let file = Path::new("README.rules");
                let parsed = rule::parse(file, block.as_bytes())
                    .unwrap_or_else(|told| panic!("{name}: {told:?}"));
                assert!(parsed.warnings.is_empty(), "{name}: {:?}", parsed.warnings);
                for (_, rest) in block
                    .match_indices("template: ")
                    .map(|(at, word)| block.split_at(at + word.len()))
                {
                    let path = rest.split([',', '\n']).next().unwrap();
                    let path = path.strip_prefix("/usr/share/layercake/layers/").unwrap();
                    assert!(repo().join("layers").join(path).is_file(), "{name}: {path}");
                }
                rules += 1;
            } else if !block.contains('…') {
                let data = text::parse(block.as_bytes(), Some(Format::Yaml), Snippet::Shown)
                    .unwrap()
                    .value;
                rendered(name, &data[name]).unwrap_or_else(|told| panic!("{name}: {told:?}"));
                flat += 1;
            }
        }
        assert!(
            rules == 1 && (flat == 1 || name == "tls"),
            "{name}: {rules} rules, {flat} flat files"
        );
        let keys = text
            .lines()
            .filter_map(|line| line.split_once(" put app/"))
            .map(|(_, rest)| rest);
        let keys: Vec<_> = keys.map(|rest| rest.split(' ').next().unwrap()).collect();
        assert_eq!(keys.len(), 2, "{name}: {keys:?}");
        for key in keys {
            let mut parts = key.split('/');
            assert_eq!(parts.next(), Some(name), "{key}");
            let first = parts.next().unwrap();
            assert!(
                schema["properties"].get(first).is_some() || name == "env",
                "{name}: {key}"
            );
        }
    }
}

#[test]
fn upstreams_are_the_same_for_both_proxies() {
    let data = json!({"upstreams": {"b": {"balance": "source", "servers": {
        "y": {"address": "y:2", "backup": true}, "x": "x:1"}}, "a": {"servers": {"z": "[::1]:3"}}}});
    let files = rendered("http", &data).unwrap();
    let nginx = formats::nginx(&files["/etc/nginx/conf.d/10-upstreams.conf"]);
    let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let expected = [
        "upstream a",
        "server [::1]:3",
        "keepalive 16",
        "upstream b",
        "hash $remote_addr consistent",
        "server x:1",
        "server y:2",
        "keepalive 16",
    ];
    assert_eq!(nginx, expected.map(words));
    let haproxy = &files["/etc/haproxy/conf.d/50-upstreams.cfg"];
    assert!(haproxy.contains("backend b\n    mode http\n    balance source\n    server x x:1 check\n    server y y:2 check backup\n"), "{haproxy}");
}

#[test]
fn addresses_of_all_kinds_are_taken() {
    for address in [
        "h:1",
        "h.example:65535",
        "10.0.0.1:80",
        "[::]:2",
        "[::1]:2",
        "[fe80::1:2]:80",
        "[2001:db8:1:2:3:4:5:6]:443",
        "[1::]:9",
        "[1:2:3::7:8]:60000",
    ] {
        let data = json!({"upstreams": {"a": {"servers": {"x": address}}}});
        assert!(rendered("http", &data).is_ok(), "{address}");
    }
    for host in ["::1", "h", "10.0.0.1", "2001:db8::1", "::ffff:10.0.0.1"] {
        assert!(rendered("redis", &json!({"host": host})).is_ok(), "{host}");
        assert!(rendered("smtp", &json!({"host": host})).is_ok(), "{host}");
    }
    for name in [
        "_",
        "a.example",
        ".a.example",
        "*.a.example",
        "a.*",
        "a b.example *.c",
    ] {
        let data = json!({"vhosts": {"a": {"root": "/x", "server_name": name}}});
        assert!(rendered("nginx", &data).is_ok(), "{name}");
    }
}

/// libpq looks each host up by itself, and a socket in its default directory as `localhost`.
#[test]
fn the_password_file_has_a_line_for_each_name_that_is_looked_up() {
    let lines = |host: &str| {
        let data = json!({"host": host, "username": "*", "password": "p:q", "database": "*"});
        only("postgres", &data, "/root/.pgpass")
    };
    assert!(lines("h").ends_with(".\nh:5432:\\*:\\*:p\\:q\n"));
    let several = lines("h1,h2");
    assert!(
        several.ends_with(".\nh1:5432:\\*:\\*:p\\:q\nh2:5432:\\*:\\*:p\\:q\n"),
        "{several}"
    );
    let socket = lines("/run/postgresql");
    let hosts: Vec<_> = formats::pgpass(&socket)
        .into_iter()
        .map(|line| line[0].clone())
        .collect();
    assert_eq!(hosts, ["/run/postgresql", "localhost"]);
}

/// YAML has `3306.0` for a whole number, which no program does.
#[test]
fn whole_numbers_are_written_whole() {
    let login =
        json!({"host": "h", "port": 3306.0, "username": "u", "password": "p", "database": "d"});
    let numbers = regex::Regex::new(r"[0-9]\.0\b").unwrap();
    let number = |mut data: Value| {
        data["database"] = json!(2.0);
        data
    };
    for (name, data) in [
        ("mysql", login.clone()),
        ("postgres", login.clone()),
        ("redis", number(login.clone())),
        ("smtp", json!({"host": "h", "port": 3306.0})),
        (
            "nginx",
            json!({"worker_processes": 2.0, "worker_connections": 9.0, "keepalive_timeout": 3.0,
                   "vhosts": {"a": {"root": "/x", "listen": 81.0}}}),
        ),
        (
            "http",
            json!({"upstreams": {"a": {"servers": {"x": {"address": "h:1", "weight": 2.0}}}}}),
        ),
    ] {
        for (path, text) in rendered(name, &data).unwrap() {
            assert!(!numbers.is_match(&text), "{name} {path}: {text}");
        }
    }
    let smtp = only(
        "smtp",
        &json!({"host": "h", "encryption": "tls"}),
        "/etc/msmtprc",
    );
    assert!(smtp.contains("\nport 465\n"), "{smtp}");
}

#[test]
fn a_redirect_goes_to_one_slash() {
    let data = json!({"vhosts": {"a": {"redirect": "https://www.example.com/"}}});
    let text = only("nginx", &data, "/etc/nginx/nginx.conf");
    assert!(
        text.contains("return 301 https://www.example.com$request_uri;"),
        "{text}"
    );
}
