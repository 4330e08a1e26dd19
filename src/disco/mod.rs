//! Inside the container: the life of one, in order.
//!
//! 1. [`cli`] and [`settings`] say what is wanted; every problem ends it here, with 64 or 78.
//! 2. [`contract`] holds the call, the variables and the surroundings to the contract file, if there
//!    is one; every problem ends it here, likewise.
//! 3. Without sources and rules there is no agent; else init forks the [`agent`], which reads sources,
//!    validates and runs handlers, and tells init over the [`link`] when every rule is complete.
//! 4. [`init`] runs the startup hook, then starts the command, or becomes it.
//! 5. While the command runs init forwards signals and reaps; the agent, if any rule still watches or
//!    anything is written to `/data`, goes on handling changes and reads logs and metrics.
//! 6. When the command ends, what is left gets TERM, time, KILL; the shutdown hook runs; disco leaves
//!    with the command's status.
//!
//! Beside it, in processes of their own: [`install`] and [`check`] before a start, [`explain`], [`health`] and
//! [`metrics`] while it runs.
//!
//! Under the name of another init there is 4 to 6 only, without hooks, by that program's rules:
//! [`dropin`].
//!
//! `init` never imports `agent` but for the one call that the forked child makes.

pub mod accounts;
pub mod agent;
pub mod cgroup;
pub mod check;
pub mod cli;
pub mod contract;
pub mod dropin;
pub mod explain;
pub mod health;
pub mod init;
pub mod install;
pub mod layers;
pub mod ledger;
pub mod link;
pub mod log;
pub mod metrics;
pub mod numbers;
pub mod probe;
pub mod settings;
pub mod textfile;

use std::ffi::OsString;
use std::io::Write as _;
use std::time::Instant;

use tracing::{error, warn};

use self::cli::{Action, Arguments};
use self::contract::{Duties, Verdict};
use self::dropin::{Parsed, Program};
use self::init::Inherited;
use self::log::Level;
use self::settings::Settings;
use crate::contract::exit;

/// Runs disco with the words of its command line, its own name first, and returns the exit code; in
/// exec mode it does not return. `inherited` is what the process was started with, taken before
/// anything else.
#[must_use]
pub fn run(mut words: Vec<OsString>, inherited: Inherited) -> u8 {
    let started = Instant::now();
    log::install(Level::Info, log::Format::Text);
    log::install_panic_hook(exit::FAILED);
    // A caller may leave out even the name.
    let name = words.drain(..words.len().min(1)).next();
    if let Some(program) = name.and_then(|name| dropin::of(&name)) {
        return stand_in(&program, words, inherited, started);
    }
    let is_health = cli::is_health(&words);
    if is_health {
        log::install_panic_hook(exit::UNHEALTHY);
    }
    let arguments = match cli::parse(words) {
        Ok(arguments) => arguments,
        Err(message) if is_health => return health::unhealthy(&message),
        Err(message) => {
            error!("{message}; try `disco --help`");
            return exit::USAGE;
        }
    };
    match arguments.action {
        Action::Help => return print(cli::HELP),
        Action::Usage => return print(&usage(&arguments)),
        Action::InstallLayers => {
            log::install(
                arguments.log_level.unwrap_or(Level::Info),
                log::Format::Text,
            );
            return install::run(arguments.command.first());
        }
        Action::Version => return print(concat!("disco ", env!("CARGO_PKG_VERSION"), "\n")),
        Action::Run | Action::Check | Action::Explain { .. } | Action::Metrics | Action::Health => {
        }
    }
    let variable = std::env::var_os(settings::VARIABLE);
    let environment = |name: &str| std::env::var(name).ok();
    let (mut settings, mut problems) =
        settings::load(arguments.conf.as_deref(), variable.as_deref(), &environment);
    crate::sys::blank_environment(settings::VARIABLE);
    let level = arguments.log_level.or(settings.log_level);
    log::install(level.unwrap_or(Level::Info), settings.log_format);
    arguments.plan.apply(&mut settings.plan);
    problems.extend(settings.conflict());
    if let Some(problem) = problems.first().filter(|_| is_health) {
        return health::unhealthy(&problem.to_string());
    }
    if !problems.is_empty() {
        return settings::refuse(&problems);
    }
    match arguments.action {
        // Processes like any other, which ^C ends.
        Action::Explain { as_json } => {
            inherited.restore();
            return explain::run(&settings, &arguments.command, as_json);
        }
        Action::Metrics => {
            inherited.restore();
            return metrics::run(&settings);
        }
        Action::Health => {
            inherited.restore();
            return health::run(&settings);
        }
        _ => {}
    }
    let located = match contract::load(&settings.contract) {
        Ok(located) => located,
        Err(code) => return code,
    };
    if arguments.action == Action::Check {
        return check::run(&settings, &located, &arguments.command);
    }
    let (words, duties) = match contract::enforce(&located, &mut settings, arguments.command) {
        Verdict::Run(words, mut duties) => {
            leave_to_pid_1(&mut settings, &mut duties);
            (words, *duties)
        }
        Verdict::Usage(text) => return print(&text),
        Verdict::End(code, usage, last) => {
            match settings.log_format {
                log::Format::Text => complain(&usage),
                // Every line there is an event.
                log::Format::Json if usage.is_empty() => {}
                log::Format::Json => error!("{usage}"),
            }
            error!("{last}");
            return code;
        }
    };
    if words.is_empty() {
        error!("no command given; expected disco [OPTIONS] COMMAND [ARGUMENTS...]");
        return exit::USAGE;
    }
    init::run(settings, words, duties, inherited, started)
}

/// A disco that somebody runs inside a container of disco's (`docker exec … disco …`) is no second life of
/// that container: what is done once for it has been done, or is not this one's to undo.
fn leave_to_pid_1(settings: &mut Settings, duties: &mut Duties) {
    let has_hooks = duties.startup.is_some()
        || duties.shutdown.is_some()
        || settings.status.ready_file.is_some();
    let reads = settings.data.must_stay().is_some()
        || settings.data.asked_by_contract().is_some()
        || settings.otlp.is_some();
    if !(has_hooks || reads)
        || crate::sys::own_pid() == 1
        || !crate::sys::proc::runs_this_program(1)
    {
        return;
    }
    if has_hooks {
        warn!(
            "PID 1 of this container is disco: its hooks and its `disco.ready_file` are left to it"
        );
    }
    (duties.startup, duties.shutdown) = (None, None);
    settings.status.ready_file = None;
    settings.data.leave();
    settings.otlp = None;
}

/// What `--help` prints: how the container is called, where its contract says that, else disco's own
/// help. Whatever is wrong with the settings is told by a start, and not here.
fn usage(arguments: &Arguments) -> String {
    let variable = std::env::var_os(settings::VARIABLE);
    let environment = |name: &str| std::env::var(name).ok();
    let conf = arguments.conf.as_deref();
    let (settings, _) = settings::load(conf, variable.as_deref(), &environment);
    contract::usage(&settings.contract).unwrap_or_else(|| cli::HELP.to_owned())
}

/// Runs as the program that the name says.
fn stand_in(program: &Program, words: Vec<OsString>, inherited: Inherited, started: Instant) -> u8 {
    match program.parse(words, &|name| std::env::var_os(name)) {
        Parsed::Run {
            plan,
            level,
            notice,
            command,
        } => {
            log::install_foreign(level);
            complain(&notice);
            let settings = Settings::bare(*plan);
            init::run(settings, command, Duties::default(), inherited, started)
        }
        Parsed::Done {
            stdout,
            stderr,
            code,
        } => {
            complain(&stderr);
            print(&stdout);
            code
        }
    }
}

fn complain(text: &str) {
    // There is no better place to say that nobody listens.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

fn print(text: &str) -> u8 {
    // A reader that has gone away is no error worth a status.
    let _ = std::io::stdout().write_all(text.as_bytes());
    0
}
