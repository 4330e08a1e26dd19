//! The call of a container judged: what is known of the image brought to the binder of the contract, and
//! its answer to a verdict with a usage.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use tracing::warn;

use super::find::{self, Baked};
use crate::contract::manifest::bind::{self, Call, Image};
use crate::contract::manifest::command::Commands;
use crate::contract::manifest::shape::{Place, Shape};
use crate::contract::manifest::{Manifest, usage};
use crate::contract::problem::Problem;
use crate::disco::init::command::{Command, Environment};
use crate::disco::init::context::ExecContext;
use crate::disco::settings::{Calls, ContractSettings, Settings};

/// Usage of the container, and where disco's own is.
pub(super) fn container_usage(commands: &Commands, manifest: &Manifest) -> String {
    let text = usage::container(commands, manifest);
    format!("{text}\nThis container is run by disco; `disco -h` tells its own options.\n")
}

/// What is wrong with a call of a declared command, as far as that can be told ahead of a start. Words
/// that name none may be what the image runs before those of a caller.
#[must_use]
pub fn wrong_call(manifest: &Manifest, settings: &Settings, words: &[OsString]) -> Vec<Problem> {
    let Ok(baked) = find::baked() else {
        return Vec::new();
    };
    let words = words.to_vec();
    match judge(manifest, &settings.contract, &baked, words, &Place::NOWHERE) {
        Called::Wrong(wrong) if wrong.command.is_some() => wrong.problems,
        _ => Vec::new(),
    }
}

/// What the words of the container come to.
pub(super) enum Called {
    /// The words for the program, and what its result must be, where that is to be checked.
    Good(Vec<OsString>, Option<Shape>),
    /// It asks for this usage.
    Help(String),
    /// It is wrong.
    Wrong(WrongCall),
}

/// What is wrong with a call.
pub(super) struct WrongCall {
    /// Every problem.
    pub(super) problems: Vec<Problem>,
    /// The command, if it is known; empty for the entrypoint.
    pub(super) command: Option<String>,
    /// The usage of that, or of the container.
    pub(super) usage: String,
}

/// Judges the words of the container by what it can be called with.
pub(super) fn judge(
    manifest: &Manifest,
    settings: &ContractSettings,
    baked: &Baked,
    words: Vec<OsString>,
    place: &Place<'_>,
) -> Called {
    let Some(commands) = &manifest.commands else {
        return Called::Good(words, None);
    };
    if settings.calls == Calls::Free {
        return Called::Good(words, None);
    }
    let prefix = match settings.entrypoint.as_slice() {
        [] if baked.entrypoint.is_empty() => None,
        // What was noted at the build may have been overridden since, by `--entrypoint`.
        [] => bind::prefix(&baked.entrypoint, &words).ok(),
        own => match bind::prefix(own, &words) {
            Ok(prefix) => Some(prefix),
            Err(message) => {
                return Called::Wrong(WrongCall {
                    problems: vec![Problem::new(message).at_key("disco.entrypoint")],
                    command: None,
                    usage: String::new(),
                });
            }
        },
    };
    let image = Image {
        prefix,
        is_program: &is_program,
        is_file: &|word| Path::new(word).is_file(),
        place,
    };
    match commands.bind(&words, &image) {
        Call::Run(command, argv) => {
            let result = command.result.check.then(|| command.result.shape.clone());
            Called::Good(argv, result)
        }
        Call::Help(None) => Called::Help(container_usage(commands, manifest)),
        Call::Help(Some(command)) => Called::Help(usage::command(command)),
        Call::Wrong(_, problems) if settings.calls == Calls::Warned => {
            for problem in problems {
                warn!("{problem}");
            }
            Called::Good(words, None)
        }
        Call::Wrong(command, problems) => {
            let place = |message| {
                let name = command.map_or("", |command| command.name.as_str());
                match name {
                    "" => Problem::new(message),
                    name => Problem::new(message).at_key(name),
                }
            };
            let usage = match command {
                Some(command) => usage::command(command),
                None => usage::container(commands, manifest),
            };
            Called::Wrong(WrongCall {
                problems: problems.into_iter().map(place).collect(),
                command: command.map(|command| command.name.clone()),
                usage,
            })
        }
    }
}

/// By the search that starts commands.
fn is_program(word: &OsStr) -> bool {
    let words = vec![word.to_owned()];
    let command = Command::new(words, ExecContext::default(), None, Environment::These(&[]));
    command.find().is_ok()
}
