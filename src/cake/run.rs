//! One run of cake: from words to an exit code. Each verb is carried out elsewhere.

use std::ffi::OsString;

use clap::{CommandFactory as _, Parser as _};

use super::cli::{self, Cake, Verb};
use super::failure::Failure;
use super::ui::{Level, Style, Ui};
use super::{authors, build, describe, verbs, wrap};
use crate::contract::exit;
use crate::contract::problem::Problem;

/// Does what the words ask for, the program's name included, and returns the exit code: 0,
/// [`super::failure::FAILED`], [`exit::USAGE`] or [`exit::CONFIG`].
pub fn run(words: impl IntoIterator<Item = OsString>) -> u8 {
    let cake = match Cake::try_parse_from(words) {
        Ok(cake) => cake,
        Err(error) => {
            // Where nobody reads there is nothing to be said.
            let _ = error.print();
            return if error.use_stderr() { exit::USAGE } else { 0 };
        }
    };
    let ui = Ui::new(style(&cake)).at(level(cake.log_level));
    let Some(verb) = cake.verb else {
        // Where nobody reads there is nothing to be said.
        let _ = Cake::command().print_long_help();
        return 0;
    };
    let outcome = carry_out(verb, cake.json, &ui).and_then(|()| match ui.lost() {
        None => Ok(()),
        Some(error) => Err(Failure::failed(Problem::new(format!(
            "the result cannot be written to stdout: {error}"
        )))),
    });
    match outcome {
        Ok(()) => 0,
        Err(failure) => {
            for problem in &failure.problems {
                ui.error(problem);
            }
            failure.code
        }
    }
}

fn style(cake: &Cake) -> Option<Style> {
    match cake.progress {
        cli::Progress::Auto if cake.json => Some(Style::Json),
        cli::Progress::Auto => None,
        cli::Progress::Plain => Some(Style::Plain),
        cli::Progress::Json => Some(Style::Json),
        cli::Progress::Quiet => Some(Style::Quiet),
    }
}

fn level(level: cli::Level) -> Level {
    match level {
        cli::Level::Debug => Level::Debug,
        cli::Level::Info => Level::Info,
        cli::Level::Warning => Level::Warning,
        cli::Level::Error => Level::Error,
    }
}

fn carry_out(verb: Verb, json: bool, ui: &Ui) -> Result<(), Failure> {
    match verb {
        Verb::Build(args) => build::build(&args, json, ui),
        Verb::Wrap(args) => wrap::wrap(&args, json, ui),
        Verb::Unbake(args) => build::unbake(&args, json, ui),
        Verb::Layer(args) => verbs::layer(&args, ui),
        Verb::Search(args) => verbs::search(&args, json, ui),
        Verb::Show(args) => authors::show(&args, json, ui),
        Verb::Lint(args) => authors::lint(&args, json, ui),
        Verb::Test(args) => authors::test(&args, json, ui),
        Verb::NewLayer(args) => authors::new_layer(&args, json, ui),
        Verb::Lock(args) => verbs::lock(&args, json, ui),
        Verb::Update(args) => verbs::update(&args, json, ui),
        Verb::Vendor(args) => verbs::vendor(&args, json, ui),
        Verb::Index(args) => verbs::index(&args, ui),
        Verb::Completions(args) => {
            describe::completions(&args, ui);
            Ok(())
        }
        Verb::Man(args) => describe::man(&args, ui),
    }
}
