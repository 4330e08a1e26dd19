//! Rules files: which handler runs once which interfaces hold valid data.
//!
//! `format: 1` is the seed's, byte for byte in what handlers receive; `format: 2` keys the data by
//! interface and adds `once`, `timeout`, `env` and `then`. The file is read leniently into a tree
//! and checked by hand, so that all its problems come out at once, each with its line.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::problem::Problem;
use super::report::{Report, scalar};
use super::text::{self, Format, Snippet, Step};
use super::{duration, signal, suggest};

/// When a rule with several interfaces fires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// As soon as one of them is valid.
    Any,
    /// When every one of them is valid.
    All,
}

/// How the data of the interfaces is laid out on the handler's stdin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// The contents of all interfaces in one object; for a shared key the later name in `when` wins.
    Flat,
    /// One key per interface, as named in `when`.
    Keyed,
}

/// What happens to the command after the handler succeeded while the command runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// Nothing: the handler has done it all.
    Nothing,
    /// The command gets this signal.
    Signal(i32),
    /// The command is stopped and started again.
    Restart,
}

/// An entry of a rule's `env`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HandlerEnv {
    /// The container's variable of this name is handed on.
    Pass(String),
    /// The variable is set to this value.
    Set(String, String),
}

/// A checked rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The file it stands in.
    pub file: PathBuf,
    /// Its place in the file, from 0.
    pub index: usize,
    /// `any` or `all`.
    pub op: Op,
    /// Interface names, dotted ones included, in the order written.
    pub when: Vec<String>,
    /// The handler's argv; never empty, never split, never given to a shell.
    pub handler: Vec<String>,
    /// The layout on stdin.
    pub layout: Layout,
    /// Whether it is done for good after its first success.
    pub once: bool,
    /// Its own time limit, in place of `disco.handler_timeout`.
    pub timeout: Option<Duration>,
    /// Variables beyond PATH.
    pub env: Vec<HandlerEnv>,
    /// What its success means for a running command.
    pub then: Then,
}

impl Rule {
    /// How logs name the rule, as the original did: `all(db, web) -> configure`.
    #[must_use]
    pub fn label(&self) -> String {
        let op = match self.op {
            Op::Any => "any",
            Op::All => "all",
        };
        format!(
            "{op}({}) -> {}",
            self.when.join(", "),
            self.handler.join(" ")
        )
    }
}

/// What a rules file holds: rules, and what is odd but no error.
#[derive(Debug, Default)]
pub struct RuleFile {
    /// In file order.
    pub rules: Vec<Rule>,
    /// Worth a warning.
    pub warnings: Vec<Problem>,
}

/// Parses a rules file. An empty one holds no rules.
///
/// # Errors
/// Every problem in it, with line and key.
pub fn parse(file: &Path, bytes: &[u8]) -> Result<RuleFile, Vec<Problem>> {
    let format = Format::of(file).unwrap_or(Format::Yaml);
    let document = text::parse(bytes, Some(format), Snippet::Shown)
        .map_err(|problem| vec![problem.in_file(file)])?;
    let mut reader = Reader {
        file,
        report: Report::new(file, std::str::from_utf8(bytes).unwrap_or_default()),
        rules: Vec::new(),
    };
    for note in document.notes {
        let warning = Problem::new(note).in_file(file);
        reader.report.warnings.push(warning);
    }
    reader.file(&document.value);
    let Report {
        problems, warnings, ..
    } = reader.report;
    if problems.is_empty() {
        Ok(RuleFile {
            rules: reader.rules,
            warnings,
        })
    } else {
        Err(problems)
    }
}

struct Reader<'a> {
    file: &'a Path,
    report: Report<'a>,
    rules: Vec<Rule>,
}

impl Reader<'_> {
    fn refuse(&mut self, path: &[Step<'_>], message: impl Into<String>) {
        self.report.refuse(path, message);
    }

    fn warn(&mut self, path: &[Step<'_>], message: impl Into<String>) {
        self.report.warn(path, message);
    }

    fn file(&mut self, root: &Value) {
        let map = match root {
            Value::Null => return,
            Value::Object(map) => map,
            _ => return self.refuse(&[], "expected a map with `format` and `rules`"),
        };
        let format = match map.get("format") {
            None => 1,
            Some(value) => match value.as_u64() {
                Some(format @ (1 | 2)) => format,
                _ => {
                    return self.refuse(
                        &[Step::Key("format")],
                        format!("unknown rules format {}; expected 1 or 2", shown(value)),
                    );
                }
            },
        };
        for key in map.keys() {
            if !matches!(key.as_str(), "format" | "rules") {
                let hint = suggest::hint(key, ["format", "rules"]);
                self.warn(&[Step::Key(key)], format!("unknown key, ignored{hint}"));
            }
        }
        match map.get("rules") {
            None => self.refuse(&[], "holds no `rules`; expected a list of `rule:` entries"),
            Some(Value::Null) => {}
            Some(Value::Array(entries)) => {
                for (index, entry) in entries.iter().enumerate() {
                    self.entry(index, entry, format);
                }
            }
            Some(_) => self.refuse(&[Step::Key("rules")], "expected a list of `rule:` entries"),
        }
    }

    fn entry(&mut self, index: usize, entry: &Value, format: u64) {
        let mut path = vec![Step::Key("rules"), Step::Index(index)];
        // `- rule: {…}` as in the seed; a bare `- when: …` says the same.
        let body = match entry.get("rule") {
            Some(body) => {
                path.push(Step::Key("rule"));
                body
            }
            None => entry,
        };
        let Value::Object(map) = body else {
            return self.refuse(&path, "expected a map with `when` and `do`");
        };
        let at = |key: &'static str| [path.as_slice(), &[Step::Key(key)]].concat();
        let before = self.report.problems.len();

        let known: &[&str] = match format {
            1 => &["when", "do", "op"],
            _ => &["when", "do", "op", "once", "timeout", "env", "then"],
        };
        for key in map.keys().filter(|key| !known.contains(&key.as_str())) {
            let place = [path.as_slice(), &[Step::Key(key.as_str())]].concat();
            let hint = suggest::hint(key, known.iter().copied());
            if format == 1 {
                let hint = match key.as_str() {
                    "once" | "timeout" | "env" | "then" => "; it needs `format: 2`".to_owned(),
                    _ => hint,
                };
                self.warn(&place, format!("unknown key, ignored{hint}"));
            } else {
                self.refuse(&place, format!("unknown key{hint}"));
            }
        }

        let op = match map
            .get("op")
            .map(|op| (op, op.as_str().map(str::to_ascii_lowercase)))
        {
            None | Some((Value::Null, _)) => Op::All,
            Some((value, word)) => match word.as_deref() {
                Some("any") => Op::Any,
                Some("all") => Op::All,
                // Anything else was `all` in the original (conformance 15).
                _ => {
                    let message = format!(
                        "{} is neither `any` nor `all`; taken as `all`",
                        shown(value)
                    );
                    self.warn(&at("op"), message);
                    Op::All
                }
            },
        };
        let when = match map.get("when") {
            None => {
                self.refuse(
                    &path,
                    "has no `when`; expected an interface name or a list of them",
                );
                Vec::new()
            }
            Some(value) => names(value).unwrap_or_else(|| {
                self.refuse(&at("when"), "expected an interface name or a list of them");
                Vec::new()
            }),
        };
        if op == Op::Any && when.is_empty() && self.report.problems.len() == before {
            self.refuse(
                &at("when"),
                "`any` of no interfaces can never fire; name one, or use `op: all`",
            );
        }
        let handler = match map.get("do") {
            None => {
                self.refuse(&path, "has no `do`; expected the name of a handler");
                Vec::new()
            }
            Some(Value::String(name)) if !name.is_empty() => vec![name.clone()],
            Some(Value::Array(argv)) if !argv.is_empty() => {
                let words: Vec<_> = argv.iter().filter_map(scalar).collect();
                if words.len() != argv.len() {
                    self.refuse(
                        &at("do"),
                        "expected a list of words: the handler and its arguments",
                    );
                }
                words
            }
            Some(_) => {
                self.refuse(
                    &at("do"),
                    "expected the name of a handler, or a list of it and its arguments",
                );
                Vec::new()
            }
        };
        let once = match map.get("once").filter(|_| format == 2) {
            None => true,
            Some(Value::Bool(once)) => *once,
            Some(_) => {
                self.refuse(&at("once"), "expected `true` or `false`");
                true
            }
        };
        let timeout = match map.get("timeout").filter(|_| format == 2) {
            None => None,
            Some(value) => match scalar(value).map(|text| duration::parse(&text)) {
                Some(Ok(timeout)) => Some(timeout),
                Some(Err(message)) => {
                    self.refuse(&at("timeout"), message);
                    None
                }
                None => {
                    self.refuse(&at("timeout"), "expected a duration such as `30s`");
                    None
                }
            },
        };
        let env = match map.get("env").filter(|_| format == 2) {
            None => Vec::new(),
            Some(value) => handler_env(value).unwrap_or_else(|| {
                self.refuse(
                    &at("env"),
                    "expected a list of names to hand on, or a map of names and values",
                );
                Vec::new()
            }),
        };
        let then = match map.get("then").filter(|_| format == 2) {
            None => Then::Nothing,
            Some(value) => then(value).unwrap_or_else(|message| {
                self.refuse(&at("then"), message);
                Then::Nothing
            }),
        };
        if once && then != Then::Nothing {
            let message =
                "never happens: a rule that runs once runs before the command; add `once: false`";
            self.warn(&at("then"), message);
        }
        if self.report.problems.len() == before {
            self.rules.push(Rule {
                file: self.file.to_owned(),
                index,
                op,
                when,
                handler,
                layout: if format == 1 {
                    Layout::Flat
                } else {
                    Layout::Keyed
                },
                once,
                timeout,
                env,
                then,
            });
        }
    }
}

/// Interface names: a list, or a string, in which the seed allows commas.
fn names(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(text) => {
            let names: Vec<_> = text.split(',').map(|name| name.trim().to_owned()).collect();
            names.iter().all(|name| !name.is_empty()).then_some(names)
        }
        Value::Array(list) => list
            .iter()
            .map(|item| {
                item.as_str()
                    .map(str::trim)
                    .filter(|s| !s.is_empty())
                    .map(str::to_owned)
            })
            .collect(),
        _ => None,
    }
}

fn then(value: &Value) -> Result<Then, String> {
    const EXPECTED: &str = "expected `none`, `restart` or `{signal: HUP}`";
    match value {
        Value::Null => Ok(Then::Nothing),
        Value::String(word) if word == "none" => Ok(Then::Nothing),
        Value::String(word) if word == "restart" => Ok(Then::Restart),
        Value::Object(map) if map.len() == 1 => match map.get("signal").and_then(scalar) {
            Some(text) => signal::parse(&text).map(Then::Signal),
            None => Err(EXPECTED.to_owned()),
        },
        _ => Err(EXPECTED.to_owned()),
    }
}

fn handler_env(value: &Value) -> Option<Vec<HandlerEnv>> {
    match value {
        Value::Null => Some(Vec::new()),
        Value::Array(list) => list
            .iter()
            .map(|name| name.as_str().map(|name| HandlerEnv::Pass(name.to_owned())))
            .collect(),
        Value::Object(map) => map
            .iter()
            .map(|(name, value)| Some(HandlerEnv::Set(name.clone(), scalar(value)?)))
            .collect(),
        _ => None,
    }
}

/// A value in a message: rules hold no secrets.
fn shown(value: &Value) -> String {
    format!("`{}`", scalar(value).unwrap_or_else(|| value.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good(text: &str) -> RuleFile {
        parse(Path::new("x.rules"), text.as_bytes()).unwrap()
    }

    fn bad(text: &str) -> Vec<String> {
        let problems = parse(Path::new("x.rules"), text.as_bytes()).unwrap_err();
        problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_seeds_forms() {
        let file = good(
            "format: 1\nrules:\n - rule: {op: any, when: [db, web], do: h}\n - rule: {when: db, do: [h, -v]}\n",
        );
        assert_eq!(file.rules[0].label(), "any(db, web) -> h");
        assert_eq!(file.rules[1].label(), "all(db) -> h -v");
        assert_eq!(file.rules[0].layout, Layout::Flat);
        assert!(file.rules[0].once);
    }

    #[test]
    fn c14_an_empty_file_holds_no_rules() {
        for text in ["", "# nothing\n", "rules:\n", "rules: []\n"] {
            assert!(good(text).rules.is_empty(), "{text:?}");
        }
    }

    #[test]
    fn c15_commas_and_odd_operators() {
        let file = good("rules:\n - rule: {when: 'db, web', do: h, op: both}\n");
        assert_eq!(file.rules[0].when, ["db", "web"]);
        assert_eq!(file.rules[0].op, Op::All);
        assert_eq!(file.warnings.len(), 1);
        assert!(
            good("rules:\n - rule: {when: [], do: h}\n").rules[0]
                .when
                .is_empty()
        );
        assert!(bad("rules:\n - rule: {when: [], do: h, op: any}\n")[0].contains("never fire"));
    }

    #[test]
    fn format_2_adds_its_keys() {
        let file = good(
            "format: 2\nrules:\n - when: db\n   do: h\n   once: false\n   timeout: 5s\n   env: {A: 1}\n   then: {signal: HUP}\n - {when: db, do: h, env: [HOME], then: restart}\n",
        );
        let rule = &file.rules[0];
        assert!(!rule.once && rule.layout == Layout::Keyed && rule.then == Then::Signal(1));
        assert_eq!(rule.timeout, Some(Duration::from_secs(5)));
        assert_eq!(rule.env, [HandlerEnv::Set("A".into(), "1".into())]);
        assert_eq!(file.rules[1].env, [HandlerEnv::Pass("HOME".into())]);
        assert_eq!(file.rules[1].then, Then::Restart);
    }

    #[test]
    fn format_1_warns_where_format_2_refuses() {
        let file = good("rules:\n - rule: {when: db, do: h, once: false}\n");
        assert!(file.warnings[0].to_string().contains("needs `format: 2`"));
        assert!(
            bad("format: 2\nrules:\n - {when: db, do: h, onec: false}\n")[0]
                .contains("did you mean `once`")
        );
    }

    #[test]
    fn all_problems_at_once_each_with_its_line() {
        let problems = bad(
            "format: 2\nrules:\n  - rule: {do: h}\n  - rule:\n      when: db\n  - rule:\n      when: 5\n      do: {}\n      once: 3\n      then: kill\n      timeout: soon\n  - 7\n",
        );
        let lines: Vec<_> = problems
            .iter()
            .map(|p| p.split(':').nth(1).unwrap().to_owned())
            .collect();
        assert_eq!(
            lines,
            ["3", "5", "7", "8", "9", "11", "10", "12"],
            "{problems:#?}"
        );
        assert!(problems[0].contains("`rules[0].rule`"), "{problems:#?}");
    }

    #[test]
    fn what_is_no_rules_file_says_so() {
        assert!(bad("format: 3\n")[0].contains("unknown rules format `3`"));
        assert!(bad("- a\n")[0].contains("expected a map"));
        assert!(bad("format: 1\n")[0].contains("holds no `rules`"));
        assert!(bad("rules: [\n")[0].contains("x.rules:"));
    }
}
