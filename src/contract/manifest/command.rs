//! `commands`: what a container can be called with (asyncy ). Reads the declarations; `bind`
//! holds calls to them, `usage` describes them.

use serde_json::Value;

use super::format::Layout;
use super::shape::{self, Shape};
use crate::contract::report::{Node, Report};
use crate::contract::suggest;
use crate::contract::text::Step;

/// The name of the command without a name.
pub const ENTRYPOINT: &str = "entrypoint";

/// What may be called.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Commands {
    /// Those with a name, in the order of the file.
    pub named: Vec<Command>,
    /// What is called when the first word names none of them.
    pub entrypoint: Option<Command>,
}

/// A declared command.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Command {
    /// The first argument that selects it; empty for the entrypoint.
    pub name: String,
    /// For its users.
    pub help: Option<String>,
    /// Positional arguments, in order.
    pub args: Vec<Item>,
    /// `--name value`, in any order.
    pub kwargs: Vec<Item>,
    /// What it prints on stdout.
    pub result: Output,
    /// In which order the program gets what.
    pub layout: Layout,
    /// Arguments beyond those declared.
    pub additional_args: Additional,
    /// Keyword arguments beyond those declared.
    pub additional_kwargs: Additional,
}

/// A declared argument.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Item {
    /// Its name, which may hold blanks.
    pub name: String,
    /// What its value may be.
    pub shape: Shape,
    /// Whether a call must give it. Default false.
    pub required: bool,
    /// What it is when a call leaves it out.
    pub default: Option<String>,
    /// For its users.
    pub help: Option<String>,
}

/// What a command prints on stdout.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Output {
    /// Its type.
    pub shape: Shape,
    /// Whether disco is to hold the command to it.
    pub check: bool,
    /// For its users.
    pub help: Option<String>,
}

/// What is allowed beyond what is declared.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Additional {
    /// Anything.
    #[default]
    Any,
    /// Nothing.
    None,
    /// What has this shape.
    Each(Shape),
}

pub(super) const COMMAND_KEYS: &[&str] = &[
    "help",
    "args",
    "kwargs",
    "result",
    "format",
    "additional_args",
    "additional_kwargs",
];
pub(super) const ITEM_KEYS: &[&str] = &[
    "name", "type", "required", "help", "pattern", "enum", "values", "default",
];
pub(super) const RESULT_KEYS: &[&str] = &["type", "check", "help", "pattern", "enum", "values"];

impl Commands {
    /// Reads `commands` and the earlier top-level `entrypoint`; `None` where there is neither, and so
    /// nothing to hold a call to.
    pub(super) fn read(root: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        let (commands, entrypoint) = (root.given("commands"), root.get(ENTRYPOINT));
        if commands.is_none() && entrypoint.is_none() {
            return None;
        }
        let mut all = Self::default();
        let add = |command: Command, node: &Node<'_>, report: &mut Report<'_>, all: &mut Self| {
            if command.name == ENTRYPOINT {
                all.entrypoint = Some(Command {
                    name: String::new(),
                    ..command
                });
            } else if all.named.iter().any(|other| other.name == command.name) {
                report.refuse(&node.path, format!("`{}` is declared twice", command.name));
            } else {
                all.named.push(command);
            }
        };
        match commands.as_ref().map(|node| (node, node.value)) {
            None => {}
            Some((node, Value::Object(_))) => {
                for (name, body) in node.entries() {
                    let command = Command::read(name, &body, report);
                    add(command, &body, report, &mut all);
                }
            }
            Some((node, Value::Array(_))) => {
                for item in node.items() {
                    match (item.scalar(), item.given("name").and_then(|n| n.scalar())) {
                        (Some(name), _) => {
                            let command = Command {
                                name,
                                ..Command::default()
                            };
                            add(command, &item, report, &mut all);
                        }
                        (None, Some(name)) => {
                            let command = Command::read(&name, &item, report);
                            add(command, &item, report, &mut all);
                        }
                        _ => report.refuse(&item.path, "expected a command with a `name`"),
                    }
                }
            }
            Some((node, _)) => report.refuse(&node.path, "expected a map of commands by name"),
        }
        if let Some(node) = entrypoint {
            if all.entrypoint.is_some() {
                report.warn(
                    &node.path,
                    "is ignored: `commands` has an `entrypoint` as well",
                );
            } else {
                all.entrypoint = Some(Command {
                    name: String::new(),
                    ..Command::read(ENTRYPOINT, &node, report)
                });
            }
        }
        Some(all)
    }

    /// A command by its name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Command> {
        self.named.iter().find(|command| command.name == name)
    }
}

impl Command {
    fn read(name: &str, node: &Node<'_>, report: &mut Report<'_>) -> Self {
        let mut command = Self {
            name: name.to_owned(),
            ..Self::default()
        };
        if name.is_empty() || name.contains('\0') {
            report.refuse(&node.path, "is no name that an argument could have");
        }
        match node.value {
            Value::Null => return command,
            Value::String(help) => {
                command.help = Some(help.clone());
                return command;
            }
            Value::Object(_) => {}
            _ => {
                report.refuse(
                    &node.path,
                    "expected a map with `help`, `args` and `kwargs`",
                );
                return command;
            }
        }
        let known = |key: &str| COMMAND_KEYS.contains(&key) || key == "name";
        unknown_keys(node, known, COMMAND_KEYS, report);
        command.help = read_help(node, report);
        command.args = node
            .given("args")
            .map_or_else(Vec::new, |list| read_items(&list, "argument", report));
        command.kwargs = node.given("kwargs").map_or_else(Vec::new, |list| {
            read_items(&list, "keyword argument", report)
        });
        if let Some(result) = node.given("result") {
            command.result = Output::read(&result, report);
        }
        let additional = |key, report: &mut Report<'_>| {
            node.given(key)
                .map_or(Additional::Any, |node| Additional::read(&node, report))
        };
        command.additional_args = additional("additional_args", report);
        command.additional_kwargs = additional("additional_kwargs", report);
        command.check_order(node, report);
        if let Some(format) = node.given("format") {
            command.read_layout(&format, report);
        }
        command
    }

    /// A required argument after an optional one can only be given with it.
    fn check_order(&self, node: &Node<'_>, report: &mut Report<'_>) {
        let optional = self.args.iter().position(|item| !item.required);
        let required = self.args.iter().rposition(|item| item.required);
        if let (Some(optional), Some(required)) = (optional, required)
            && optional < required
            && let (Some(first), Some(last)) = (self.args.get(optional), self.args.get(required))
        {
            let path = [
                node.path.as_slice(),
                &[Step::Key("args"), Step::Index(required)],
            ]
            .concat();
            report.warn(
                &path,
                format!(
                    "`{}` is required but comes after `{}`, which is not: arguments are bound from left to right",
                    last.name, first.name
                ),
            );
        }
    }

    fn read_layout(&mut self, node: &Node<'_>, report: &mut Report<'_>) {
        let Some(text) = node.scalar() else {
            return report.refuse(&node.path, "expected text such as `{foo} * **`");
        };
        let layout = match Layout::parse(&text) {
            Ok(layout) => layout,
            Err(message) => return report.refuse(&node.path, message),
        };
        let declared = || self.args.iter().chain(&self.kwargs);
        for name in layout.names() {
            if !declared().any(|item| item.name == name) {
                let known = declared().map(|item| item.name.as_str());
                let hint = suggest::hint(name, known);
                report.refuse(
                    &node.path,
                    format!("`{{{name}}}` is neither an argument nor a keyword argument{hint}"),
                );
            }
        }
        for (items, rest, has_rest) in [
            (&self.args, "*", layout.takes_args()),
            (&self.kwargs, "**", layout.takes_kwargs()),
        ] {
            let lost = items
                .iter()
                .filter(|item| !has_rest && !layout.names().any(|name| name == item.name));
            for item in lost {
                report.warn(
                    &node.path,
                    format!(
                        "has no place for `{}`: a call that gives it is refused; add `{{{}}}` or `{rest}`",
                        item.name, item.name
                    ),
                );
            }
        }
        self.layout = layout;
    }
}

/// Items of a list, or of a map by name; each in one of its many forms.
fn read_items(node: &Node<'_>, what: &str, report: &mut Report<'_>) -> Vec<Item> {
    let mut items: Vec<Item> = Vec::new();
    let mut add = |item: Option<Item>, at: &Node<'_>, report: &mut Report<'_>| {
        let Some(item) = item else { return };
        let folded = fold(&item.name);
        if item.name.is_empty() || item.name.contains(['\0', '{', '}']) {
            report.refuse(&at.path, format!("is no name that {what}s can have"));
        } else if items.iter().any(|other| fold(&other.name) == folded) {
            report.refuse(&at.path, format!("`{}` is declared twice", item.name));
        } else {
            items.push(item);
        }
    };
    match node.value {
        Value::Array(_) => {
            for item in node.items() {
                let read = Item::read_listed(&item, what, report);
                add(read, &item, report);
            }
        }
        Value::Object(_) => {
            for (name, body) in node.entries() {
                let read = Item::read(name, &body, report);
                add(Some(read), &body, report);
            }
        }
        _ => report.refuse(&node.path, format!("expected a list of {what}s")),
    }
    items
}

impl Item {
    /// An item of a list: `foo`, `foo:string`, `{name: foo, …}`, and `foo: string`, which YAML makes
    /// a map of a name and a body.
    fn read_listed(node: &Node<'_>, what: &str, report: &mut Report<'_>) -> Option<Self> {
        if let Some(text) = node.scalar() {
            let (name, kind) = match text.split_once(':') {
                Some((name, kind)) => (name.trim(), Some(Value::String(kind.trim().to_owned()))),
                None => (text.as_str(), None),
            };
            let shape = kind.as_ref().map(|kind| {
                let node = Node {
                    value: kind,
                    path: node.path.clone(),
                };
                Shape::of_type(&node, report)
            });
            return Some(Self {
                name: name.to_owned(),
                shape: shape.unwrap_or_default(),
                ..Self::default()
            });
        }
        if let Some(name) = node.given("name") {
            let Some(name) = name.scalar() else {
                report.refuse(&name.path, format!("expected the name of the {what}"));
                return None;
            };
            return Some(Self::read(&name, node, report));
        }
        let hint = |name| suggest::hint(name, ITEM_KEYS.iter().copied());
        let mut entries = node.entries();
        match (entries.next(), entries.next()) {
            (Some((name, body)), None) if hint(name).is_empty() => {
                Some(Self::read(name, &body, report))
            }
            (first, _) => {
                let hint = first.map_or_else(String::new, |(name, _)| hint(name));
                report.refuse(
                    &node.path,
                    format!("expected {what}s as `name`, `name:type` or a map with `name`{hint}"),
                );
                None
            }
        }
    }

    /// The body of an item whose name is known: nothing, a type, or a map.
    fn read(name: &str, node: &Node<'_>, report: &mut Report<'_>) -> Self {
        let mut item = Self {
            name: name.to_owned(),
            ..Self::default()
        };
        match node.value {
            Value::Null => {}
            Value::String(_) => item.shape = Shape::of_type(node, report),
            Value::Object(_) => {
                unknown_keys(node, |key| ITEM_KEYS.contains(&key), ITEM_KEYS, report);
                item.shape = Shape::read(node, report);
                item.help = read_help(node, report);
                item.default = read_default(node, &item.shape, report);
                item.required =
                    item.default.is_none() && read_flag(node, "required", false, report);
            }
            _ => report.refuse(&node.path, "expected a type, or a map with `type`"),
        }
        item
    }
}

impl Output {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Self {
        match node.value {
            Value::Object(_) => {
                unknown_keys(node, |key| RESULT_KEYS.contains(&key), RESULT_KEYS, report);
                Self {
                    shape: Shape::read(node, report),
                    check: read_flag(node, "check", false, report),
                    help: read_help(node, report),
                }
            }
            _ => Self {
                shape: Shape::of_type(node, report),
                ..Self::default()
            },
        }
    }
}

impl Additional {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Self {
        match node.value {
            Value::Bool(true) => Self::Any,
            Value::Bool(false) => Self::None,
            // Words of an older YAML, which to take for types would be to allow what is forbidden.
            Value::String(word) if matches!(word.as_str(), "yes" | "on") => Self::Any,
            Value::String(word) if matches!(word.as_str(), "no" | "off" | "none") => Self::None,
            Value::String(_) => Self::Each(Shape::of_type(node, report)),
            Value::Object(_) => {
                let known = |key: &str| shape::KEYS.contains(&key) || key == "help";
                unknown_keys(node, known, shape::KEYS, report);
                Self::Each(Shape::read(node, report))
            }
            _ => {
                report.refuse(&node.path, "expected `true`, `false`, or a map with `type`");
                Self::Any
            }
        }
    }
}

/// Names of keyword arguments are the same with `-` and `_`.
#[must_use]
pub(super) fn fold(name: &str) -> String {
    name.replace('-', "_")
}

/// `default`, which must be a value that the shape takes; anything but a scalar is meant as JSON.
pub(super) fn read_default(
    node: &Node<'_>,
    shape: &Shape,
    report: &mut Report<'_>,
) -> Option<String> {
    let given = node.given("default")?;
    let text = report.written(&given);
    let text = text.unwrap_or_else(|| given.value.to_string());
    if let Err(expected) = shape.check(text.as_ref(), &shape::Place::NOWHERE) {
        report.refuse(&given.path, format!("the default {expected}"));
    }
    Some(text)
}

/// `help`, in whatever form; only text is of use.
pub(super) fn read_help(node: &Node<'_>, report: &mut Report<'_>) -> Option<String> {
    let help = node.given("help")?;
    match help.scalar() {
        Some(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
        None => {
            report.warn(&help.path, "is ignored; expected text");
            None
        }
    }
}

/// A key that is true or false.
pub(super) fn read_flag(
    node: &Node<'_>,
    key: &'static str,
    default: bool,
    report: &mut Report<'_>,
) -> bool {
    let Some(given) = node.given(key) else {
        return default;
    };
    match given.value {
        Value::Bool(flag) => *flag,
        Value::String(text) if text == "true" || text == "yes" => true,
        Value::String(text) if text == "false" || text == "no" => false,
        _ => {
            report.refuse(&given.path, "expected `true` or `false`");
            default
        }
    }
}

/// Warns of the keys of a map that nobody reads.
pub(super) fn unknown_keys(
    node: &Node<'_>,
    is_known: impl Fn(&str) -> bool,
    known: &[&str],
    report: &mut Report<'_>,
) {
    for (key, at) in node.entries().filter(|(key, _)| !is_known(key)) {
        let hint = suggest::hint(key, known.iter().copied());
        let message = format!("unknown key, ignored{hint}");
        // One that is near a known one was meant to be that.
        match hint.as_str() {
            "" => report.warn(&at.path, message),
            _ => report.doubt(&at.path, message),
        }
    }
}
