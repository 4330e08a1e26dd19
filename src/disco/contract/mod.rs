//! The contract file enforced at the start: the call bound, the variables checked, what the container
//! asks of its surroundings compared with what it has. All problems at once, before anything runs.
//!
//! What the file means is [`crate::contract::manifest`]'s; here the machine is looked at. What outlasts
//! the start is handed to init as [`Duties`].

mod calls;
mod find;
mod surroundings;

use std::ffi::OsString;
use std::path::Path;

use tracing::{debug, error, warn};

use self::calls::{Called, WrongCall};
use self::find::Baked;
use super::settings::data::Kind;
use super::settings::{Calls, ContractSettings, Mode, Settings};
use crate::contract::exit;
use crate::contract::manifest::Manifest;
use crate::contract::manifest::lifecycle::Hook;
use crate::contract::manifest::resources::{Port, Stream};
use crate::contract::manifest::shape::{Found, Place, Shape};
use crate::contract::report::Report;
use crate::contract::text::{Step, count};

pub use self::calls::wrong_call;
pub use self::find::Located;

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
    (settings.calls != Calls::Free).then(|| calls::container_usage(commands, &manifest))
}

/// Holds the call, the variables and the surroundings to the contract, and sets in `settings` what it
/// says of capabilities, logs and metrics.
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
    let (argv, result) = match calls::judge(manifest, &settings.contract, &baked, words, &place) {
        Called::Help(usage) => return Verdict::Usage(usage),
        Called::Good(argv, result) => (Ok(argv), result),
        Called::Wrong(wrong) => (Err(wrong), None),
    };
    if let Some(environment) = &manifest.environment {
        environment.check(&|name| std::env::var_os(name), &place, &mut report);
    }
    surroundings::check(manifest, &mut report);
    let duties = duties(manifest, settings, &baked, result);
    if !settings.data.is_given {
        settings.data.logs_kind = manifest.logs.map(kind_of);
        settings.data.metrics_kind = manifest.metrics.map(kind_of);
    }
    let must_stay = duties
        .must_stay()
        .or_else(|| settings.data.asked_by_contract());
    if let Some(key) = must_stay.filter(|_| settings.mode == Mode::Exec) {
        let message =
            "leaves nobody to honour it with `disco.mode=exec`; expected `supervise` or `auto`";
        let path: Vec<_> = key.split('.').map(Step::Key).collect();
        report.refuse(&path, message);
    }
    for warning in odd().chain(&report.warnings) {
        warn!("{warning}");
    }
    for problem in &report.problems {
        error!("{problem}");
    }
    let argv = match (argv, report.problems.len()) {
        (Ok(argv), 0) => argv,
        (argv, problems) => return refuse(problems, argv.err()),
    };
    // From here on something is done, and not only looked at.
    surroundings::mount(manifest);
    if let Some(kept) = manifest.capabilities {
        let place = report.problem(&[Step::Key("cap")], "");
        settings.exec.keep_only(kept, place);
    }
    Verdict::Run(argv, Box::new(duties))
}

/// The end, for so many problems with the container and what is wrong with its call.
fn refuse(problems: usize, call: Option<WrongCall>) -> Verdict {
    let unable = format!(
        "Unable to configure container: {} with its environment or its contract",
        count(problems, "problem")
    );
    let Some(call) = call else {
        return Verdict::End(exit::CONFIG, String::new(), unable);
    };
    for problem in &call.problems {
        error!("{problem}");
    }
    let arguments = count(call.problems.len(), "problem");
    if problems > 0 {
        let last = format!("{unable}, and {arguments} with the call");
        return Verdict::End(exit::CONFIG, call.usage, last);
    }
    let around = match call.command {
        Some(_) => "",
        None => {
            "; `-e DISCO_CFG=disco.commands=off` lets any program through, `--entrypoint` goes around disco"
        }
    };
    let last = format!("bad arguments: {arguments} with the call of the container{around}");
    Verdict::End(exit::USAGE, call.usage, last)
}

fn duties(
    manifest: &Manifest,
    settings: &Settings,
    baked: &Baked,
    result: Option<Shape>,
) -> Duties {
    Duties {
        environment: manifest.environment.as_ref().map(|environment| {
            let also = [&settings.contract.passthrough[..], &baked.variables].concat();
            environment.filter(std::env::vars_os().collect(), &also)
        }),
        startup: manifest.lifecycle.startup.clone(),
        shutdown: manifest.lifecycle.shutdown.clone(),
        ports: manifest.ports.clone(),
        result,
    }
}

fn kind_of(stream: Stream) -> Kind {
    match stream {
        Stream::Fifo => Kind::Fifo,
        Stream::File => Kind::File,
        Stream::Off => Kind::Off,
    }
}

fn look(path: &Path) -> Found {
    match std::fs::metadata(path) {
        Ok(meta) if meta.is_dir() => Found::Folder,
        Ok(_) => Found::File,
        Err(_) => Found::Nothing,
    }
}
