//! Reads the tree of a rules file, and says everything that is wrong with it. What an entry of
//! `render` may hold is in `output`.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::{Action, HandlerEnv, Layout, Op, Rule, Then, output};
use crate::contract::report::{Node, Report, scalar};
use crate::contract::text::Step;
use crate::contract::{duration, signal, suggest};

/// Reads one file.
pub(super) struct Reader<'a> {
    file: &'a Path,
    /// Its text, for what is found in it later.
    shared: Arc<str>,
    pub(super) report: Report<'a>,
    pub(super) rules: Vec<Rule>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(file: &'a Path, text: &'a str) -> Self {
        Self {
            file,
            shared: text.into(),
            report: Report::new(file, text),
            rules: Vec::new(),
        }
    }

    fn refuse(&mut self, path: &[Step<'_>], message: impl Into<String>) {
        self.report.refuse(path, message);
    }

    fn warn(&mut self, path: &[Step<'_>], message: impl Into<String>) {
        self.report.warn(path, message);
    }

    /// Takes in the whole file.
    pub(super) fn file(&mut self, root: &Value) {
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
            _ => &[
                "when", "do", "render", "op", "once", "timeout", "env", "then",
            ],
        };
        for key in map.keys().filter(|key| !known.contains(&key.as_str())) {
            if format == 1 && key == "render" {
                // What it says is all that the rule does.
                self.refuse(&at("render"), "needs `format: 2` at the top of the file");
                continue;
            }
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
        let action = self.action(map, &path, format);
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
        if let Some(action) = action.filter(|_| self.report.problems.len() == before) {
            self.rules.push(Rule {
                file: self.file.to_owned(),
                index,
                op,
                when,
                action,
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

    /// `do` or `render`; `None` after a problem.
    fn action(
        &mut self,
        map: &Map<String, Value>,
        path: &[Step<'_>],
        format: u64,
    ) -> Option<Action> {
        let at = |key: &'static str| [path, &[Step::Key(key)]].concat();
        let render = map.get("render");
        let expected = match map.get("do") {
            None if render.is_some() && format == 1 => return None,
            None => match render {
                None => {
                    let message = match format {
                        1 => "has no `do`; expected the name of a handler",
                        _ => {
                            "has no `do` and no `render`; expected the name of a handler, or files to render"
                        }
                    };
                    self.refuse(path, message);
                    return None;
                }
                Some(value) => {
                    let node = Node {
                        value,
                        path: at("render"),
                    };
                    let outputs = output::read(&node, (self.file, &self.shared), &mut self.report);
                    return outputs.map(Action::Render);
                }
            },
            Some(_) if render.is_some() && format == 2 => {
                self.refuse(
                    &at("render"),
                    "stands beside `do`; expected the one or the other: give the handler a rule of its own",
                );
                return None;
            }
            Some(Value::String(name)) if !name.is_empty() => {
                return Some(Action::Run(vec![name.clone()]));
            }
            Some(Value::Array(argv)) if !argv.is_empty() => {
                let words: Vec<_> = argv.iter().filter_map(scalar).collect();
                if words.len() == argv.len() {
                    return Some(Action::Run(words));
                }
                "expected a list of words: the handler and its arguments"
            }
            Some(_) => "expected the name of a handler, or a list of it and its arguments",
        };
        self.refuse(&at("do"), expected);
        None
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
