//! Settings as typed: `DISCO_CFG` over the settings file, merged key by key, and the reader through
//! which each part takes its keys, so that whatever nobody asks for can be reported.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::contract::problem::Problem;
use crate::contract::text::{self, Format, Snippet};
use crate::contract::{duration, suggest};

/// Where a setting was written.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Environment,
    File(PathBuf),
}

/// One `section.key=value`. An empty key is the bare section (`consul`), which enables a source.
#[derive(Clone, PartialEq, Eq)]
struct Entry {
    section: String,
    key: String,
    value: String,
    place: Place,
}

/// All settings as typed, in the order of their first appearance, the file's before the environment's.
#[derive(Clone, Default)]
pub struct Raw {
    entries: Vec<Entry>,
}

impl Raw {
    /// Adds the settings file: a YAML map of sections, nested maps joined by dots.
    pub fn add_file(&mut self, file: &Path, bytes: &[u8], problems: &mut Vec<Problem>) {
        let format = Format::of(file).unwrap_or(Format::Yaml);
        let document = match text::parse(bytes, Some(format), Snippet::Masked) {
            Ok(document) => document,
            Err(problem) => return problems.push(problem.in_file(file)),
        };
        match document.value {
            Value::Null => {}
            Value::Object(sections) => {
                for (section, body) in sections {
                    self.flatten(&section, "", &body, file, problems);
                }
            }
            _ => problems.push(
                Problem::new("expected a map of sections such as `disco:` and `consul:`")
                    .in_file(file),
            ),
        }
    }

    fn flatten(
        &mut self,
        section: &str,
        key: &str,
        body: &Value,
        file: &Path,
        problems: &mut Vec<Problem>,
    ) {
        let scalar = |value: &Value| match value {
            Value::String(text) => Some(text.clone()),
            Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
            _ => None,
        };
        let value = match body {
            Value::Object(map) => {
                if map.is_empty() {
                    self.set(
                        section,
                        key,
                        "true".to_owned(),
                        &Place::File(file.to_owned()),
                    );
                }
                for (name, inner) in map {
                    let path = if key.is_empty() {
                        name.clone()
                    } else {
                        format!("{key}.{name}")
                    };
                    self.flatten(section, &path, inner, file, problems);
                }
                return;
            }
            Value::Null => Some("true".to_owned()),
            Value::Array(list) => list
                .iter()
                .map(scalar)
                .collect::<Option<Vec<_>>>()
                .map(|v| {
                    v.join(if (section, key) == ("disco", "path") {
                        ":"
                    } else {
                        ","
                    })
                }),
            other => scalar(other),
        };
        match value {
            Some(value) => self.set(section, key, value, &Place::File(file.to_owned())),
            None => problems.push(
                Problem::new("expected a value or a list of values")
                    .in_file(file)
                    .at_key(format!("{section}.{key}")),
            ),
        }
    }

    /// Adds `DISCO_CFG`: `key=value` joined by `|`, keys namespaced by `.`, split once at the first
    /// `=`, empty parts skipped, blanks around keys and values dropped (conformance 5 to 8). `known`
    /// are the section names.
    pub fn add_environment(&mut self, text: &OsStr, known: &[&str], problems: &mut Vec<Problem>) {
        let mut refuse = |message: String| problems.push(Problem::new(message).at_key("DISCO_CFG"));
        let Some(text) = text.to_str() else {
            return refuse("is not UTF-8".to_owned());
        };
        let mut last = "";
        let tokens = text.split('|').map(str::trim);
        for token in tokens.filter(|token| !token.is_empty()) {
            let (name, value) = match token.split_once('=') {
                Some((name, value)) => (name.trim(), value.trim()),
                // A bare word enables a source with its defaults.
                None if known.contains(&token) || token == "beacon" || token.contains('.') => {
                    (token, "true")
                }
                // Anything else is not shown: it may be the rest of a password.
                None => {
                    let hint = suggest::hint(token, known.iter().copied());
                    refuse(format!(
                        "the part after `{last}` is neither `section.key=value` nor the name of a source{hint} (a value that holds `|` belongs in the settings file)"
                    ));
                    continue;
                }
            };
            last = name;
            let (section, key) = name.split_once('.').unwrap_or((name, ""));
            if section.is_empty() {
                refuse(
                    "holds a value without a key; expected `section.key=value` joined by `|`"
                        .to_owned(),
                );
                continue;
            }
            let names_another = known.iter().any(|known| {
                let found = value.split([';', ',']).skip(1);
                found.map(str::trim).any(|part| {
                    part.strip_prefix(known)
                        .is_some_and(|rest| rest.starts_with('.') && rest.contains('='))
                })
            });
            if names_another {
                refuse(format!(
                    "the value of `{name}` holds another setting; settings are joined by `|`"
                ));
                continue;
            }
            self.set(section, key, value.to_owned(), &Place::Environment);
        }
    }

    fn set(&mut self, section: &str, key: &str, value: String, place: &Place) {
        // The original's name for a Consul agent (conformance 40).
        let section = if section == "beacon" {
            "consul"
        } else {
            section
        };
        match self
            .entries
            .iter_mut()
            .find(|e| e.section == section && e.key == key)
        {
            Some(entry) => {
                entry.value = value;
                entry.place = place.clone();
            }
            None => self.entries.push(Entry {
                section: section.to_owned(),
                key: key.to_owned(),
                value,
                place: place.clone(),
            }),
        }
    }

    /// Section names in the order of their first appearance.
    #[must_use]
    pub fn sections(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for entry in &self.entries {
            if !names.contains(&entry.section.as_str()) {
                names.push(&entry.section);
            }
        }
        names
    }

    /// A reader over one section.
    #[must_use]
    pub fn section<'a>(
        &'a self,
        name: &'a str,
        environment: &'a dyn Fn(&str) -> Option<String>,
    ) -> Section<'a> {
        Section {
            name,
            entries: self.entries.iter().filter(|e| e.section == name).collect(),
            asked: RefCell::default(),
            problems: RefCell::default(),
            environment,
        }
    }

    /// Problems for sections that nobody reads.
    #[must_use]
    pub fn unknown_sections(&self, known: &[&str]) -> Vec<Problem> {
        let unknown = self
            .sections()
            .into_iter()
            .filter(|name| !known.contains(name));
        unknown
            .map(|name| {
                let hint = suggest::hint(name, known.iter().copied());
                let message = format!("unknown section, not one of {}{hint}", known.join(", "));
                let entry = self.entries.iter().find(|e| e.section == name);
                place(Problem::new(message).at_key(name), entry)
            })
            .collect()
    }
}

fn place(problem: Problem, entry: Option<&Entry>) -> Problem {
    match entry.map(|e| &e.place) {
        Some(Place::File(file)) => problem.in_file(file),
        _ => problem,
    }
}

/// Reads the keys of one section. Every key asked for is a known key; [`Section::finish`] reports
/// the others.
pub struct Section<'a> {
    name: &'a str,
    entries: Vec<&'a Entry>,
    asked: RefCell<Vec<&'static str>>,
    problems: RefCell<Vec<Problem>>,
    environment: &'a dyn Fn(&str) -> Option<String>,
}

impl Section<'_> {
    fn entry(&self, key: &'static str) -> Option<&Entry> {
        self.asked.borrow_mut().push(key);
        self.entries.iter().copied().find(|e| e.key == key)
    }

    /// Reports a problem with a key of this section.
    pub fn refuse(&self, key: &'static str, message: impl Into<String>) {
        let entry = self.entries.iter().copied().find(|e| e.key == key);
        let problem = Problem::new(message).at_key(format!("{}.{key}", self.name));
        self.problems.borrow_mut().push(place(problem, entry));
    }

    /// Whether the key was given.
    #[must_use]
    pub fn has(&self, key: &'static str) -> bool {
        self.entry(key).is_some()
    }

    /// The text of a key.
    #[must_use]
    pub fn text(&self, key: &'static str) -> Option<String> {
        self.entry(key).map(|e| e.value.clone())
    }

    /// The text of a key, or else of the first of these environment variables that is set.
    #[must_use]
    pub fn text_or_env(&self, key: &'static str, variables: &[&str]) -> Option<String> {
        self.text(key).or_else(|| {
            let set = variables.iter().find_map(|name| (self.environment)(name));
            set.filter(|value| !value.is_empty())
        })
    }

    /// A path.
    #[must_use]
    pub fn path(&self, key: &'static str, variables: &[&str]) -> Option<PathBuf> {
        self.text_or_env(key, variables).map(PathBuf::from)
    }

    /// A comma-separated list without empty items.
    #[must_use]
    pub fn list(&self, key: &'static str) -> Vec<String> {
        split_list(&self.text(key).unwrap_or_default())
    }

    /// A value that `parse` understands; what it does not is reported with its own words.
    pub fn parsed<T>(
        &self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        match parse(&self.text(key)?) {
            Ok(value) => Some(value),
            Err(message) => {
                self.refuse(key, message);
                None
            }
        }
    }

    /// A duration (`500ms`, `5s`, `2m`, bare seconds).
    pub fn duration(&self, key: &'static str, default: Duration) -> Duration {
        self.parsed(key, duration::parse).unwrap_or(default)
    }

    /// A duration of which zero means none.
    pub fn limit(&self, key: &'static str, default: Option<Duration>) -> Option<Duration> {
        match self.parsed(key, duration::parse) {
            Some(limit) if limit.is_zero() => None,
            Some(limit) => Some(limit),
            None => default,
        }
    }

    /// A whole number.
    pub fn number<T: std::str::FromStr>(&self, key: &'static str, default: T) -> T {
        let parse = |text: &str| {
            text.parse()
                .map_err(|_| format!("`{text}` is no whole number in range"))
        };
        self.parsed(key, parse).unwrap_or(default)
    }

    /// A switch, also by an environment variable.
    pub fn flag(&self, key: &'static str, variables: &[&str], default: bool) -> bool {
        match self.text_or_env(key, variables) {
            None => default,
            Some(text) => match text.to_ascii_lowercase().as_str() {
                "true" | "1" | "yes" | "on" => true,
                "false" | "0" | "no" | "off" => false,
                _ => {
                    self.refuse(key, format!("`{text}` is neither `true` nor `false`"));
                    default
                }
            },
        }
    }

    /// One of a few words.
    pub fn choice<T: Copy>(&self, key: &'static str, choices: &[(&str, T)], default: T) -> T {
        let parse = |text: &str| {
            let found = choices
                .iter()
                .find(|(word, _)| *word == text.to_ascii_lowercase());
            found.map(|(_, value)| *value).ok_or_else(|| {
                let words: Vec<_> = choices
                    .iter()
                    .map(|(word, _)| format!("`{word}`"))
                    .collect();
                format!("`{text}` is none of {}", words.join(", "))
            })
        };
        self.parsed(key, parse).unwrap_or(default)
    }

    /// The problems found, with one for each key that nobody asked for.
    #[must_use]
    pub fn finish(self) -> Vec<Problem> {
        let asked = self.asked.into_inner();
        let mut problems = self.problems.into_inner();
        for entry in self.entries {
            let name = format!("{}.{}", self.name, entry.key);
            let message = if asked.contains(&entry.key.as_str()) {
                continue;
            } else if entry.key.is_empty() {
                // A bare section enables it; anything but a switch there is a value without a key.
                if matches!(entry.value.as_str(), "true") {
                    continue;
                }
                let example = asked.first().unwrap_or(&"key");
                problems.push(place(
                    Problem::new(format!(
                        "takes no value itself; expected `{}.{example}=…`",
                        self.name
                    ))
                    .at_key(self.name),
                    Some(entry),
                ));
                continue;
            } else {
                let hint = suggest::hint(&entry.key, asked.iter().copied());
                format!("unknown setting{hint}")
            };
            problems.push(place(Problem::new(message).at_key(name), Some(entry)));
        }
        problems
    }
}

/// Splits at commas, trims, drops empty items.
#[must_use]
pub fn split_list(text: &str) -> Vec<String> {
    text.split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(file: &str, environment: &str) -> (Raw, Vec<String>) {
        let mut raw = Raw::default();
        let mut problems = Vec::new();
        raw.add_file(Path::new("disco.conf"), file.as_bytes(), &mut problems);
        let known = ["disco", "flat", "consul", "etcd", "env"];
        raw.add_environment(OsStr::new(environment), &known, &mut problems);
        (raw, problems.iter().map(ToString::to_string).collect())
    }

    fn none(_: &str) -> Option<String> {
        None
    }

    #[test]
    fn c5_to_c8_the_grammar_of_disco_cfg() {
        let (raw, problems) = raw(
            "",
            " flat.file = x=y.z | | consul|disco.interval=5|disco.interval=6\n",
        );
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(raw.sections(), ["flat", "consul", "disco"]);
        let flat = raw.section("flat", &none);
        assert_eq!(flat.text("file").as_deref(), Some("x=y.z"));
        assert_eq!(
            raw.section("disco", &none).text("interval").as_deref(),
            Some("6")
        );
        let (_, problems) = self::raw("", "=x");
        assert!(problems[0].contains("without a key"), "{problems:?}");
    }

    #[test]
    fn c11_merging_is_deep_and_the_file_comes_first() {
        let (raw, _) = raw(
            "etcd: {port: 1}\ndisco: {path: /a, interval: 3}\n",
            "consul|disco.interval=5",
        );
        assert_eq!(raw.sections(), ["etcd", "disco", "consul"]);
        let disco = raw.section("disco", &none);
        assert_eq!(disco.text("path").as_deref(), Some("/a"));
        assert_eq!(disco.text("interval").as_deref(), Some("5"));
    }

    #[test]
    fn files_nest_and_list() {
        let (raw, problems) = raw(
            "consul:\n  host: [a, b]\n  tls: {ca: x}\nflat:\nenv: {}\n",
            "",
        );
        assert!(problems.is_empty(), "{problems:?}");
        let consul = raw.section("consul", &none);
        assert_eq!(consul.list("host"), ["a", "b"]);
        assert_eq!(consul.text("tls.ca").as_deref(), Some("x"));
        assert_eq!(raw.sections(), ["consul", "flat", "env"]);
    }

    #[test]
    fn what_nobody_asks_for_is_reported_with_a_suggestion() {
        let (raw, _) = raw("", "disco.fail_limt=3|consol.host=x|flat=5");
        let disco = raw.section("disco", &none);
        let _ = disco.number("fail_limit", 5_u32);
        assert!(
            disco.finish()[0]
                .to_string()
                .contains("did you mean `fail_limit`?")
        );
        let flat = raw.section("flat", &none);
        let _ = flat.text("file");
        assert!(
            flat.finish()[0]
                .to_string()
                .contains("expected `flat.file=…`")
        );
        let unknown = raw.unknown_sections(&["disco", "consul", "flat"]);
        assert!(unknown[0].to_string().contains(
            "`consol`: unknown section, not one of disco, consul, flat; did you mean `consul`?"
        ));
    }

    #[test]
    fn what_may_be_the_rest_of_a_password_is_not_shown() {
        let (_, told) = raw("", "consul.token=hun|ter2|consul.wait=5s");
        assert!(
            told[0].contains("the part after `consul.token`"),
            "{told:?}"
        );
        assert!(!told[0].contains("ter2"), "{told:?}");
        let (_, told) = raw("", "flat.file=x;disco.path=y|consol");
        assert!(told[0].contains("joined by `|`"), "{told:?}");
        assert!(told[1].contains("did you mean `consul`?"), "{told:?}");
    }

    #[test]
    fn c9_bad_values_are_told_not_suffered() {
        let (raw, _) = raw("", "disco.interval=abc|disco.fail_limit=-1|disco.mode=both");
        let disco = raw.section("disco", &none);
        disco.duration("interval", Duration::ZERO);
        disco.number("fail_limit", 5_u32);
        disco.choice("mode", &[("auto", 1), ("exec", 2)], 1);
        let told: Vec<_> = disco.finish().iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 3, "{told:?}");
        assert!(
            told[2].contains("`both` is none of `auto`, `exec`"),
            "{told:?}"
        );
    }
}
