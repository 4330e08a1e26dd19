//! The contract file enforced at the start: the call bound, the variables checked, what the container
//! asks of its surroundings compared with what it has. All problems at once, before anything runs.
//!
//! What the file means is [`crate::contract::manifest`]'s; here the machine is looked at. What outlasts
//! the start is handed to init as [`Duties`].

mod find;
mod surroundings;

use std::ffi::{OsStr, OsString};
use std::path::Path;

use nix::unistd::{AccessFlags, access};
use tracing::{debug, error, warn};

use self::find::Baked;
pub use self::find::Located;
use super::settings::{Calls, ContractSettings, Mode, Settings};
use crate::contract::exit;
use crate::contract::manifest::bind::{self, Call, Image};
use crate::contract::manifest::command::Commands;
use crate::contract::manifest::lifecycle::Hook;
use crate::contract::manifest::resources::Port;
use crate::contract::manifest::shape::{Found, Place, Shape};
use crate::contract::manifest::{Manifest, usage};
use crate::contract::problem::Problem;
use crate::contract::report::Report;
use crate::contract::text::{Step, count};

/// What init is to do for the contract.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Duties {
    /// The whole environment of the command, where it is not simply disco's own.
    pub environment: Option<Vec<(OsString, OsString)>>,
    /// What runs before the command.
    pub startup: Option<Hook>,
    /// What runs after it.
    pub shutdown: Option<Hook>,
    /// What the command should listen on.
    pub ports: Vec<Port>,
    /// What the command's stdout must be, where it is to be held to that.
    pub result: Option<Shape>,
}

impl Duties {
    /// What of it only an init beside the command can do, by its key in the contract.
    #[must_use]
    pub fn must_stay(&self) -> Option<&'static str> {
        match (&self.shutdown, &self.result) {
            (Some(_), _) => Some("lifecycle.shutdown"),
            (None, Some(_)) => Some("result.check"),
            (None, None) => None,
        }
    }
}

/// What to do with a container.
#[derive(Debug)]
pub enum Verdict {
    /// Run these words.
    Run(Vec<OsString>, Box<Duties>),
    /// Print this, which was asked for.
    Usage(String),
    /// Show this usage, if any, and end with this code and these last words; the problems themselves
    /// have been told.
    End(u8, String, String),
}

/// Finds the contract.
///
/// # Errors
/// The exit code, after every problem has been told.
pub fn load(settings: &ContractSettings) -> Result<Located, u8> {
    find::find(settings).map_err(|rejected| {
        for warning in &rejected.warnings {
            warn!("{warning}");
        }
        for problem in &rejected.problems {
            error!("{problem}");
        }
        let problems = count(rejected.problems.len(), "problem");
        error!("Unable to configure container: {problems} with the contract");
        exit::CONFIG
    })
}

/// The contract as far as it can be had, without a word: for those who ask beside a disco that runs,
/// which has said it all.
#[must_use]
pub fn read(settings: &ContractSettings) -> Option<Manifest> {
    find::find(settings).ok()?.manifest
}

/// The contract's answer to `--help`, if it has one.
#[must_use]
pub fn usage(settings: &ContractSettings) -> Option<String> {
    let manifest = read(settings)?;
    let commands = manifest.commands.as_ref()?;
    (settings.calls != Calls::Free).then(|| container_usage(commands, &manifest))
}

fn container_usage(commands: &Commands, manifest: &Manifest) -> String {
    let text = usage::container(commands, manifest);
    format!("{text}\nThis container is run by disco; `disco -h` tells its own options.\n")
}

/// Holds the call, the variables and the surroundings to the contract, and sets in `settings` what it
/// says of capabilities.
#[must_use]
pub fn enforce(located: &Located, settings: &mut Settings, words: Vec<OsString>) -> Verdict {
    let odd = || located.doubts.iter().chain(&located.warnings);
    let Some(manifest) = &located.manifest else {
        for warning in odd() {
            warn!("{warning}");
        }
        return Verdict::Run(words, Box::default());
    };
    debug!("the contract is {}", manifest.file.display());
    let mut report = Report::new(&manifest.file, &manifest.source);
    let baked = find::baked().unwrap_or_else(|problems| {
        report.problems.extend(problems);
        Baked::default()
    });
    let volumes: Vec<_> = manifest.volumes.iter().map(|v| v.dest.clone()).collect();
    let place = Place {
        volumes: &volumes,
        look: &look,
    };
    let lookup = |name: &str| std::env::var_os(name);
    if let Some(environment) = &manifest.environment {
        environment.check(&lookup, &place, &mut report);
    }
    surroundings::check(manifest, &mut report);
    let called = call(manifest, &settings.contract, &baked, words, &place);
    if let Called::Help(usage) = called {
        return Verdict::Usage(usage);
    }
    for warning in odd().chain(&report.warnings) {
        warn!("{warning}");
    }
    for problem in &report.problems {
        error!("{problem}");
    }
    let wrong = count(report.problems.len(), "problem");
    let unable =
        format!("Unable to configure container: {wrong} with its environment or its contract");
    let (argv, result) = match called {
        Called::Good(argv, result) => (argv, result),
        Called::Wrong(problems, command, usage) => {
            for problem in &problems {
                error!("{problem}");
            }
            let arguments = count(problems.len(), "problem");
            return match report.problems.is_empty() {
                true => {
                    let around = match command {
                        Some(_) => "",
                        None => {
                            "; `-e DISCO_CFG=disco.commands=off` lets any program through, `--entrypoint` goes around disco"
                        }
                    };
                    let last = format!(
                        "bad arguments: {arguments} with the call of the container{around}"
                    );
                    Verdict::End(exit::USAGE, usage, last)
                }
                false => {
                    let last = format!("{unable}, and {arguments} with the call");
                    Verdict::End(exit::CONFIG, usage, last)
                }
            };
        }
        Called::Help(usage) => return Verdict::Usage(usage),
    };
    if !report.problems.is_empty() {
        return Verdict::End(exit::CONFIG, String::new(), unable);
    }
    surroundings::mount(manifest);
    if let Some(kept) = manifest.capabilities {
        let place = report.problem(&[Step::Key("cap")], "");
        settings.exec.keep_only(kept, place);
    }
    let duties = Duties {
        environment: manifest.environment.as_ref().map(|environment| {
            let also = [&settings.contract.passthrough[..], &baked.variables].concat();
            environment.filter(std::env::vars_os().collect(), &also)
        }),
        startup: manifest.lifecycle.startup.clone(),
        shutdown: manifest.lifecycle.shutdown.clone(),
        ports: manifest.ports.clone(),
        result,
    };
    if let Some(key) = duties.must_stay().filter(|_| settings.mode == Mode::Exec) {
        let last = format!(
            "`disco.mode`: `exec` leaves nobody to honour `{key}` of {}; expected `supervise` or `auto`",
            manifest.file.display()
        );
        return Verdict::End(exit::CONFIG, String::new(), last);
    }
    Verdict::Run(argv, Box::new(duties))
}

/// What is wrong with a call of a declared command, as far as that can be told ahead of a start. Words
/// that name none may be what the image runs before those of a caller.
#[must_use]
pub fn wrong_call(manifest: &Manifest, settings: &Settings, words: &[OsString]) -> Vec<Problem> {
    let Ok(baked) = find::baked() else {
        return Vec::new();
    };
    let words = words.to_vec();
    match call(manifest, &settings.contract, &baked, words, &Place::NOWHERE) {
        Called::Wrong(problems, Some(_), _) => problems,
        _ => Vec::new(),
    }
}

/// What the words of the container come to.
enum Called {
    Good(Vec<OsString>, Option<Shape>),
    Help(String),
    /// The problems, the command if it is known, and the usage of what was meant.
    Wrong(Vec<Problem>, Option<String>, String),
}

fn call(
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
    let known = match settings.entrypoint.as_slice() {
        [] => (!baked.entrypoint.is_empty()).then_some((&baked.entrypoint, "")),
        _ => Some((&settings.entrypoint, "disco.entrypoint")),
    };
    let prefix = match known.map(|(entrypoint, key)| (bind::prefix(entrypoint, &words), key)) {
        None => None,
        Some((Ok(prefix), _)) => Some(prefix),
        // What was noted at the build may have been overridden since, by `--entrypoint`.
        Some((Err(_), "")) => None,
        Some((Err(message), key)) => {
            let problem = Problem::new(message).at_key(key);
            return Called::Wrong(vec![problem], None, String::new());
        }
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
            let name = command.map(|command| command.name.clone());
            Called::Wrong(problems.into_iter().map(place).collect(), name, usage)
        }
    }
}

fn is_program(word: &OsStr) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_one = |dir: std::path::PathBuf| {
        let file = dir.join(word);
        file.is_file() && access(&file, AccessFlags::X_OK).is_ok()
    };
    std::env::split_paths(&path).any(is_one)
}

fn look(path: &Path) -> Found {
    match std::fs::metadata(path) {
        Ok(meta) if meta.is_dir() => Found::Folder,
        Ok(_) => Found::File,
        Err(_) => Found::Nothing,
    }
}
