//! `disco --check`: everything that can be known before a start, so that an image build fails early.
//! Runs nothing and asks no source.

use std::ffi::OsString;
use std::time::Duration;

use tracing::{error, info, warn};

use super::layers;
use super::settings::Settings;
use crate::contract::exit;
use crate::contract::manifest::Manifest;
use crate::contract::problem::Problem;
use crate::contract::text::count;
use crate::disco::init::command::{Command, Environment};
use crate::disco::init::context::{self, ExecContext};

/// What `docker stop` allows by default.
const DOCKER_GRACE: Duration = Duration::from_secs(10);

/// Checks rules, schemas, handlers, hooks and the command, logs all problems, and returns the exit code.
/// What is wrong with the contract file itself has been told before.
#[must_use]
pub fn run(settings: &Settings, manifest: Option<&Manifest>, argv: &[OsString]) -> u8 {
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
    let find = |argv: Vec<OsString>| {
        let workdir = settings.exec.workdir.as_deref();
        let command = Command::new(argv, ExecContext::default(), workdir, Environment::Own);
        let found = command.find().map_err(|failure| failure.to_string());
        found.err().map(Problem::new)
    };
    if !argv.is_empty() {
        findings.problems.extend(find(argv.to_vec()));
    }
    if let Some(manifest) = manifest {
        let hooks = &manifest.lifecycle;
        for (key, hook) in [("startup", &hooks.startup), ("shutdown", &hooks.shutdown)] {
            let Some(hook) = hook else { continue };
            let problem = find(hook.argv.iter().map(OsString::from).collect());
            findings.problems.extend(problem.map(|problem| {
                let problem = problem.in_file(&manifest.file);
                problem.at_key(format!("lifecycle.{key}"))
            }));
        }
        if let Some(hook) = &hooks.shutdown
            && hook.timeout > DOCKER_GRACE
            && settings.plan.stop_timeout.is_none()
        {
            let message = format!(
                "may take {:?}, and `docker stop` kills after {DOCKER_GRACE:?} by default: give it less (`timeout`), or the container more (`--stop-timeout`), and tell disco (`disco.runtime_grace`)",
                hook.timeout
            );
            let problem = Problem::new(message).in_file(&manifest.file);
            findings.warnings.push(problem.at_key("lifecycle.shutdown"));
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
