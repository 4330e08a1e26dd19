//! `env`: the variables that a container needs, and the only ones its command gets (asyncy A-20 to
//! Pure: variables come in as pairs, and go out as pairs or as problems that never show a value.

use std::ffi::{OsStr, OsString};

use serde_json::Value;

use super::command::{read_default, read_flag, read_help, unknown_keys};
use super::shape::{self, Place, Shape};
use crate::contract::report::{Node, Report};
use crate::contract::text::Step;

/// What a command gets in any case, if the container has it: who and where it is, and by which
/// conventions it speaks. Descriptors of systemd's are no use without their variables.
const BASE: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "HOSTNAME",
    "PWD",
    "LANG",
    "LC_*",
    "TZ",
    "TERM",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
    "LISTEN_PIDFDID",
    "NOTIFY_SOCKET",
];

/// What is disco's own, and no command's.
const OWN: &str = "DISCO_*";

/// The variables that a contract declares.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Environment {
    /// In the order of the file.
    pub variables: Vec<Variable>,
    /// Names, with `*` and `?`, of others that the command may get.
    pub passthrough: Vec<String>,
    /// Whether variables are delivered under their names in upper case only.
    pub upper: bool,
}

/// A declared variable.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// What its value may be.
    pub shape: Shape,
    /// Whether it must be set. Default true.
    pub required: bool,
    /// What it is when it is not set.
    pub default: Option<String>,
    /// How a user gets the value.
    pub help: Option<String>,
    /// Where it stands in the file.
    path: Vec<Segment>,
}

/// A step of an owned path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Key(String),
    Index(usize),
}

pub(super) const KEYS: &[&str] = &[
    "type", "pattern", "required", "help", "default", "enum", "values",
];

impl Environment {
    /// Reads `env` (or `environment`), `env_passthrough` and `env_case`.
    pub(super) fn read(root: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        let node = match (root.get("env"), root.get("environment")) {
            (Some(env), Some(other)) => {
                report.warn(&other.path, "is ignored: there is `env` as well");
                env
            }
            (env, other) => env.or(other)?,
        };
        let mut all = Self::default();
        match node.value {
            // `env:` with nothing below declares that nothing is needed.
            Value::Null => {}
            Value::Object(_) => all.read_map(&node, 0, report),
            Value::Array(_) => {
                for item in node.items() {
                    all.read_listed(&item, report);
                }
            }
            _ => report.refuse(&node.path, "expected a map of variables by name"),
        }
        if let Some(list) = root.given("env_passthrough") {
            let names: Option<Vec<_>> = match list.value {
                Value::Array(_) => list.items().map(|item| item.scalar()).collect(),
                _ => list.scalar().map(|name| vec![name]),
            };
            match names {
                Some(names) => all.passthrough = names,
                None => report.refuse(&list.path, "expected a list of names such as `APP_*`"),
            }
        }
        if let Some(case) = root.given("env_case") {
            match case.value.as_str() {
                Some("upper") => all.upper = true,
                Some("exact" | "as_is") => {}
                _ => report.refuse(&case.path, "expected `upper`, or no such key"),
            }
        }
        Some(all)
    }

    fn read_map(&mut self, node: &Node<'_>, depth: usize, report: &mut Report<'_>) {
        for (name, body) in node.entries() {
            if depth == 0 && is_group(&body) {
                self.read_map(&body, depth + 1, report);
            } else {
                self.add(name, &body, report);
            }
        }
    }

    /// `- NAME`, `- {name: NAME, …}` or `- NAME: …`.
    fn read_listed(&mut self, node: &Node<'_>, report: &mut Report<'_>) {
        const NULL: &Value = &Value::Null;
        let name = node.given("name").and_then(|name| name.scalar());
        match (node.value.as_str(), name) {
            // As docker-compose has it; what it is set to is a default.
            (Some(text), _) => match text.split_once('=') {
                None => self.add(
                    text,
                    &Node {
                        value: NULL,
                        path: node.path.clone(),
                    },
                    report,
                ),
                Some((name, value)) => {
                    let variable = Variable {
                        name: name.to_owned(),
                        default: Some(value.to_owned()),
                        path: owned(&node.path),
                        ..Variable::default()
                    };
                    self.push(variable, node, report);
                }
            },
            (None, Some(name)) => self.add(&name, node, report),
            (None, None) if node.value.is_object() => self.read_map(node, 1, report),
            _ => report.refuse(&node.path, "expected the name of a variable"),
        }
    }

    fn add(&mut self, name: &str, node: &Node<'_>, report: &mut Report<'_>) {
        let mut variable = Variable {
            name: name.to_owned(),
            required: true,
            path: owned(&node.path),
            ..Variable::default()
        };
        match node.value {
            Value::Null => variable.shape.kinds = vec![shape::Kind::String],
            Value::String(text) if text.split([',', '|']).all(is_kind) => {
                variable.shape = Shape::of_type(node, report);
            }
            Value::Object(_) => {
                let known = |key: &str| KEYS.contains(&key) || key == "name";
                unknown_keys(node, known, KEYS, report);
                variable.shape = Shape::read(node, report);
                variable.help = read_help(node, report);
                variable.default = read_default(node, &variable.shape, report);
                variable.required =
                    variable.default.is_none() && read_flag(node, "required", true, report);
            }
            Value::String(_) | Value::Number(_) | Value::Bool(_) => {
                report.warn(
                    &node.path,
                    "is taken as the default; write `default:` below the name",
                );
                variable.default = report.written(node);
                variable.required = false;
            }
            Value::Array(_) => report.refuse(&node.path, "expected a map with `type` and `help`"),
        }
        self.push(variable, node, report);
    }

    fn push(&mut self, variable: Variable, node: &Node<'_>, report: &mut Report<'_>) {
        let name = &variable.name;
        if name.is_empty() || name.contains(['=', '\0']) {
            report.refuse(&node.path, "is no name that a variable can have");
        } else if self.variables.iter().any(|other| other.name == *name) {
            report.refuse(&node.path, format!("`{name}` is declared twice"));
        } else {
            self.variables.push(variable);
        }
    }

    /// Holds a container's variables to the declarations. Every missing and every invalid one is a
    /// problem, with its `help`; no value is ever in one.
    pub fn check(
        &self,
        lookup: &dyn Fn(&str) -> Option<OsString>,
        place: &Place<'_>,
        report: &mut Report<'_>,
    ) {
        for variable in &self.variables {
            let help = variable.help.as_deref().unwrap_or_default();
            let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
            let help = match help.as_str() {
                "" => String::new(),
                help => format!(": {help}"),
            };
            let path: Vec<Step<'_>> = variable.path.iter().map(Segment::borrow).collect();
            let name = &variable.name;
            match variable.find(lookup) {
                Some((_, value)) => {
                    if let Err(expected) = variable.shape.check(&value, place) {
                        report.refuse(
                            &path,
                            format!("the environment variable {name} {expected}{help}"),
                        );
                    }
                }
                None if variable.required => {
                    let shape = match variable.shape.describe().as_str() {
                        "" => String::new(),
                        shape => format!(" ({shape})"),
                    };
                    report.refuse(
                        &path,
                        format!(
                            "the environment variable {name}{shape} is not set; set it with `docker run -e {name}=…`{help}"
                        ),
                    );
                }
                None => {}
            }
        }
    }

    /// The variables that the command gets of those that the container has: declared ones, with their
    /// defaults, the base set, and what `also` or the contract lets through.
    #[must_use]
    pub fn filter(
        &self,
        all: Vec<(OsString, OsString)>,
        also: &[String],
    ) -> Vec<(OsString, OsString)> {
        let lookup = |name: &str| {
            let found = all.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| value.clone())
        };
        let mut declared: Vec<(OsString, OsString)> = Vec::new();
        for variable in &self.variables {
            let upper = variable.name.to_uppercase();
            let found = variable.find(&lookup);
            let aliased = found
                .as_ref()
                .is_some_and(|(name, _)| *name != variable.name);
            let value = found.map(|(_, value)| value);
            let Some(value) = value.or(variable.default.clone().map(OsString::from)) else {
                continue;
            };
            // Found in upper case it is delivered under that name as well.
            if self.upper || aliased {
                declared.push((upper.into(), value.clone()));
            }
            if !self.upper {
                declared.push((variable.name.clone().into(), value));
            }
        }
        let is_declared = |name: &OsStr| declared.iter().any(|(known, _)| known == name);
        let base = BASE.iter().copied();
        let patterns: Vec<&str> = base
            .chain(self.passthrough.iter().chain(also).map(String::as_str))
            .collect();
        let passes = |name: &OsStr| {
            let name = name.to_string_lossy();
            !matches(OWN, &name) && patterns.iter().any(|pattern| matches(pattern, &name))
        };
        let rest = all
            .iter()
            .filter(|(name, _)| !is_declared(name) && passes(name));
        let mut rest: Vec<_> = rest.cloned().collect();
        for (name, value) in declared {
            // Two declarations may lead to one name in upper case.
            let is_known = rest.iter().any(|(known, _)| *known == name);
            if !is_known && !matches(OWN, &name.to_string_lossy()) {
                rest.push((name, value));
            }
        }
        rest
    }
}

impl Variable {
    /// Under which name it is set, and to what: its own, else that in upper case.
    fn find(&self, lookup: &dyn Fn(&str) -> Option<OsString>) -> Option<(String, OsString)> {
        let upper = self.name.to_uppercase();
        let exact = lookup(&self.name).map(|value| (self.name.clone(), value));
        exact.or_else(|| Some((upper.clone(), lookup(&upper)?)))
    }
}

impl Segment {
    fn borrow(&self) -> Step<'_> {
        match self {
            Self::Key(key) => Step::Key(key),
            Self::Index(index) => Step::Index(*index),
        }
    }
}

fn owned(path: &[Step<'_>]) -> Vec<Segment> {
    let step = |step: &Step<'_>| match step {
        Step::Key(key) => Segment::Key((*key).to_owned()),
        Step::Index(index) => Segment::Index(*index),
    };
    path.iter().map(step).collect()
}

fn is_kind(word: &str) -> bool {
    let word = word.trim().to_ascii_lowercase();
    let mut all = shape::KINDS.iter().flat_map(|(_, names)| names.iter());
    all.any(|name| *name == word)
}

/// Real files group variables under a heading: a map whose values are all bodies, and none of whose
/// keys is one of a body.
fn is_group(node: &Node<'_>) -> bool {
    let is_body = |value: &Value| value.is_null() || value.is_object();
    let mut entries = node.entries().peekable();
    entries.peek().is_some()
        && entries.all(|(key, body)| !KEYS.contains(&key) && is_body(body.value))
}

/// Whether a name matches a pattern of `*`, `?` and plain characters.
#[must_use]
pub fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    // Where the last star was, and how much it has eaten.
    let mut star: Option<(usize, usize)> = None;
    while let Some(c) = name.get(n) {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(w) if *w == '?' || w == c => {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((at, eaten)) => {
                    star = Some((at, eaten + 1));
                    p = at + 1;
                    n = eaten + 1;
                }
                None => return false,
            },
        }
    }
    pattern
        .get(p..)
        .unwrap_or_default()
        .iter()
        .all(|c| *c == '*')
}
