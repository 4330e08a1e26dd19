//! `lifecycle`: what is run before the command starts and after it has ended (asyncy A-90).

use std::time::Duration;

use serde_json::Value;

use super::command::{read_flag, unknown_keys};
use crate::contract::duration;
use crate::contract::report::{Node, Report};

/// Default time limit of a hook.
pub const TIMEOUT: Duration = Duration::from_secs(300);

/// What runs beside the command.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lifecycle {
    /// After the rules, before the command; unless it ends with 0 the command is not started.
    pub startup: Option<Hook>,
    /// After the command has ended, however.
    pub shutdown: Option<Hook>,
}

/// A program to be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// It and its arguments; never empty.
    pub argv: Vec<String>,
    /// Whether its author wrote a line for the shell, and the shell is only in `argv` for that.
    pub is_shell: bool,
    /// How long it may take.
    pub timeout: Duration,
    /// For `shutdown`: whether it runs before the command is asked to stop.
    pub before: bool,
}

pub(super) const KEYS: &[&str] = &["startup", "shutdown"];
pub(super) const HOOK_KEYS: &[&str] = &["command", "timeout", "before"];

impl Lifecycle {
    pub(super) fn read(root: &Node<'_>, report: &mut Report<'_>) -> Self {
        let Some(node) = root.given("lifecycle") else {
            return Self::default();
        };
        if !node.value.is_object() {
            report.refuse(&node.path, "expected a map with `startup` and `shutdown`");
            return Self::default();
        }
        unknown_keys(&node, |key| KEYS.contains(&key), KEYS, report);
        let mut hook = |key| Hook::read(&node.given(key)?, report);
        let all = Self {
            startup: hook("startup"),
            shutdown: hook("shutdown"),
        };
        if let Some(startup) = all.startup.as_ref().filter(|hook| hook.before)
            && let Some(at) = node.given("startup")
        {
            let name = startup.argv.first().map_or("", String::as_str);
            report.warn(
                &at.path,
                format!("`before` means nothing for `{name}`: it is before the command anyway"),
            );
        }
        all
    }
}

impl Hook {
    /// A string, a list of words, or a map with `command` and `timeout`.
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        if !node.value.is_object() {
            return Self::of(node, report);
        }
        unknown_keys(node, |key| HOOK_KEYS.contains(&key), HOOK_KEYS, report);
        let hook = match node.given("command") {
            Some(command) => Self::of(&command, report),
            None => {
                report.refuse(
                    &node.path,
                    "has no `command`; expected a program, or a list of it and its arguments",
                );
                None
            }
        };
        let timeout = node.given("timeout").and_then(|at| {
            let parsed = at
                .scalar()
                .ok_or_else(|| "expected a duration such as `30s`".to_owned())
                .and_then(|text| duration::parse(&text));
            parsed
                .map_err(|message| report.refuse(&at.path, message))
                .ok()
        });
        let before = read_flag(node, "before", false, report);
        Some(Self {
            timeout: timeout.unwrap_or(TIMEOUT),
            before,
            ..hook?
        })
    }

    fn of(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        let words = words(node.value);
        if words.is_none() {
            report.refuse(
                &node.path,
                "expected a program such as `./startup.sh`, or a list of it and its arguments",
            );
        }
        let (argv, is_shell) = words?;
        Some(Self {
            argv,
            is_shell,
            timeout: TIMEOUT,
            before: false,
        })
    }
}

/// A command as users write it: a list is taken word by word; a line goes to the shell if it says
/// anything that only a shell understands, else it is split at blanks, so that an image without a shell
/// can have it. Also whether it goes to the shell. `None` for what is no command, or an empty one.
#[must_use]
pub fn words(value: &Value) -> Option<(Vec<String>, bool)> {
    const SHELL: &[char] = &[
        '|', '&', ';', '<', '>', '(', ')', '$', '`', '\\', '"', '\'', '*', '?', '[', ']', '#', '~',
        '=', '%', '!', '{', '}', '\n',
    ];
    let (words, is_shell): (Vec<String>, bool) = match value {
        Value::String(line) if line.trim().contains(SHELL) => {
            let words = ["/bin/sh", "-c", line.trim()].map(str::to_owned);
            (words.into(), true)
        }
        Value::String(line) => (line.split_whitespace().map(str::to_owned).collect(), false),
        Value::Array(list) => {
            let words = list.iter().map(crate::contract::report::scalar);
            (words.collect::<Option<_>>()?, false)
        }
        _ => return None,
    };
    let has_program = words.first().is_some_and(|word| !word.is_empty());
    let is_clean = words.iter().all(|word| !word.contains('\0'));
    (has_program && is_clean).then_some((words, is_shell))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a90_a_line_goes_to_the_shell_only_where_it_needs_one() {
        let argv = |value: Value| words(&value).map(|(words, _)| words);
        let is_shell = |value: Value| words(&value).is_some_and(|(_, is_shell)| is_shell);
        assert_eq!(argv(json!("./startup.sh")).unwrap(), ["./startup.sh"]);
        assert_eq!(argv(json!(" ./a  b\tc ")).unwrap(), ["./a", "b", "c"]);
        assert_eq!(argv(json!(["a b", 1, true])).unwrap(), ["a b", "1", "true"]);
        assert_eq!(argv(json!("a && b")).unwrap(), ["/bin/sh", "-c", "a && b"]);
        for line in ["A=b c", "a | b", "a 'b c'", "cd /x; y", "echo $X", "a\nb"] {
            assert!(is_shell(json!(line)), "{line}");
        }
        assert!(!is_shell(json!("/bin/x --flag -v a.b:c,d@e+f^g")));
        for nothing in [
            json!(""),
            json!("  "),
            json!([]),
            json!([""]),
            json!([["a"]]),
            json!(1),
            json!(null),
        ] {
            assert_eq!(words(&nothing), None, "{nothing}");
        }
    }
}
