//! `lifecycle`: what is run before the command starts and after it has ended (asyncy A-90).

use std::time::Duration;

use super::command::{read_flag, unknown_keys};
use crate::contract::duration;
use crate::contract::line::{self, Line};
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
            let parsed = parsed.and_then(|limit| match limit.is_zero() {
                true => {
                    Err("nothing is done in no time; expected a duration such as `30s`".to_owned())
                }
                false => Ok(limit),
            });
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
        let line = line::read(node.value);
        if line.is_none() {
            report.refuse(
                &node.path,
                "expected a program such as `./startup.sh`, or a list of it and its arguments",
            );
        }
        let line = line?;
        Some(Self {
            is_shell: matches!(line, Line::Shell(_)),
            argv: line.into_argv(),
            timeout: TIMEOUT,
            before: false,
        })
    }
}
