//! `disco --check`: everything that can be known before a start, so that an image build fails early.
//! Runs nothing and asks no source.

use std::ffi::OsString;

use tracing::{error, info, warn};

use super::layers;
use super::settings::Settings;
use crate::contract::exit;
use crate::contract::problem::Problem;
use crate::contract::text::count;
use crate::disco::init::command::Command;
use crate::disco::init::context::{self, ExecContext};

/// Checks rules, schemas, handlers and the command, logs all problems, and returns the exit code.
#[must_use]
pub fn run(settings: &Settings, argv: &[OsString]) -> u8 {
    let (loaded, mut findings) = layers::load(&settings.path);
    let search = layers::search_path(&settings.path);
    for rule in &loaded.rules {
        if let Err(why) = layers::find_handler(rule, &settings.path, &search) {
            let message = layers::no_handler(rule, &why, &settings.path);
            let key = format!("rules[{}].rule.do", rule.index);
            findings
                .problems
                .push(Problem::new(message).in_file(&rule.file).at_key(key));
        }
    }
    // Names only: what a build may do says nothing about what the container may.
    let unknown = context::unknown_names(&settings.exec);
    findings.problems.extend(unknown);
    if !argv.is_empty() {
        let workdir = settings.exec.workdir.as_deref();
        let command = Command::new(argv.to_vec(), ExecContext::default(), workdir, false);
        if let Err(failure) = command.find() {
            findings.problems.push(Problem::new(failure.to_string()));
        }
    }
    // Whoever wants nothing configured needs no directory for it.
    if settings.has_own_path || !settings.sources.is_empty() {
        findings.problems.append(&mut findings.doubts);
    }
    if loaded.rules.is_empty() && !settings.sources.is_empty() {
        findings.problems.push(layers::no_rules(&settings.path));
    }
    for warning in &findings.warnings {
        warn!("{warning}");
    }
    for problem in &findings.problems {
        error!("{problem}");
    }
    if findings.problems.is_empty() {
        info!(
            "no problems with {}, {} and {}",
            count(loaded.rules.len(), "rule"),
            count(loaded.schemas.len(), "schema"),
            count(settings.sources.len(), "source")
        );
        0
    } else {
        error!("{}", count(findings.problems.len(), "problem"));
        exit::CONFIG
    }
}
