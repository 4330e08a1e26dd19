//! `disco --check`: everything that can be known before a start, so that an image build fails early.
//! Runs nothing and asks no source.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use tracing::{error, info, warn};

use super::accounts;
use super::agent::work;
use super::contract::{self, Located};
use super::layers::{self, Findings};
use super::settings::Settings;
use crate::contract::exit;
use crate::contract::health::{Check, Probe};
use crate::contract::manifest::Manifest;
use crate::contract::problem::Problem;
use crate::contract::report::Report;
use crate::contract::rule::{Action, Rule};
use crate::contract::text::Step;
use crate::contract::text::count;
use crate::disco::init::command::{Command, Environment};
use crate::disco::init::context::{self, ExecContext};

/// What `docker stop` allows by default.
const DOCKER_GRACE: Duration = Duration::from_secs(10);

/// Checks rules, schemas, handlers, hooks and the command, logs all problems, and returns the exit code.
/// What is wrong with the contract file itself has been told before.
#[must_use]
pub fn run(settings: &Settings, located: &Located, argv: &[OsString]) -> u8 {
    let (loaded, mut findings) = layers::load(&settings.path);
    let search = layers::search_path(&settings.path);
    for rule in &loaded.rules {
        let missing = |name: &String| {
            let found = layers::find_handler(&rule.file, name, &settings.path, &search);
            found
                .err()
                .map(|why| layers::no_handler(name, &why, &settings.path))
        };
        match &rule.action {
            Action::Run(argv) => {
                let message = argv.first().and_then(missing);
                let key = format!("rules[{}].rule.do", rule.index);
                let told = |message| Problem::new(message).in_file(&rule.file).at_key(&key);
                findings.problems.extend(message.map(told));
            }
            Action::Render(outputs) => {
                for output in outputs {
                    let message = output.check.first().and_then(missing);
                    let told = message.map(|message| output.said.problem_with("check", message));
                    findings.problems.extend(told);
                }
            }
        }
    }
    findings.problems.extend(work::no_destdir(settings));
    unknown_owners(&loaded.rules, &mut findings);
    rendered_twice(&loaded.rules, &mut findings);
    // Names only: what a build may do says nothing about what the container may.
    let unknown = context::unknown_names(&settings.exec);
    findings.problems.extend(unknown);
    let find = |argv: Vec<OsString>| {
        let workdir = settings.exec.workdir.as_deref();
        let command = Command::new(argv, ExecContext::default(), workdir, Environment::Own);
        command.defect()
    };
    if !argv.is_empty() {
        findings
            .problems
            .extend(find(argv.to_vec()).map(Problem::new));
    }
    findings.problems.extend(located.doubts.iter().cloned());
    findings.warnings.extend(located.warnings.iter().cloned());
    if let Some(manifest) = &located.manifest {
        let mut report = Report::new(&manifest.file, &manifest.source);
        check_programs(manifest, settings, &find, &mut report);
        findings.problems.append(&mut report.problems);
        findings.warnings.append(&mut report.warnings);
        findings
            .problems
            .extend(contract::wrong_call(manifest, settings, argv));
    }
    // Whoever wants nothing configured needs no directory for it.
    if settings.has_own_path || !settings.sources.is_empty() {
        findings.problems.append(&mut findings.doubts);
    }
    // Files that are there and wrong have been told.
    if !layers::has_rules(&settings.path) && !settings.sources.is_empty() {
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

/// Owners of files to be rendered who are nobody here. Another build stage may still add them.
fn unknown_owners(rules: &[Rule], findings: &mut Findings) {
    let outputs = rules.iter().flat_map(|rule| match &rule.action {
        Action::Render(outputs) => &outputs[..],
        Action::Run(_) => &[],
    });
    let owned: Vec<_> = outputs
        .filter_map(|output| Some((output, output.owner.as_ref()?)))
        .collect();
    if owned.is_empty() {
        return;
    }
    match accounts::read() {
        Ok(accounts) => findings
            .doubts
            .extend(owned.iter().filter_map(|(output, owner)| {
                let message = format!("`owner`: {}", accounts.find(owner).err()?);
                Some(output.said.problem_with("owner", message))
            })),
        Err(problems) => findings.doubts.extend(problems),
    }
}

/// Two rules that render one file undo each other's work with every change.
fn rendered_twice(rules: &[Rule], findings: &mut Findings) {
    let mut known: BTreeMap<&Path, &Rule> = BTreeMap::new();
    for rule in rules {
        let Action::Render(outputs) = &rule.action else {
            continue;
        };
        for output in outputs {
            if let Some(other) = known.insert(&output.to, rule) {
                let message = format!(
                    "`{}` is rendered by {} in {} as well; expected one rule for each file",
                    output.to.display(),
                    other.label(),
                    other.file.display()
                );
                findings
                    .doubts
                    .push(output.said.problem_with("to", message));
            }
        }
    }
}

/// Looks for the programs that a contract names: hooks, and what tells that the command is well.
fn check_programs(
    manifest: &Manifest,
    settings: &Settings,
    find: &dyn Fn(Vec<OsString>) -> Option<String>,
    report: &mut Report<'_>,
) {
    let hooks = &manifest.lifecycle;
    for (key, hook) in [("startup", &hooks.startup), ("shutdown", &hooks.shutdown)] {
        let Some(hook) = hook else { continue };
        let path = [Step::Key("lifecycle"), Step::Key(key)];
        if let Some(defect) = find(hook.argv.iter().map(OsString::from).collect()) {
            report.refuse(&path, defect);
        }
    }
    if let Some(Probe {
        check: Check::Command(words),
        ..
    }) = &manifest.health
        && let Some(defect) = find(words.iter().map(OsString::from).collect())
    {
        report.refuse(&[Step::Key("health")], defect);
    }
    if let Some(hook) = &hooks.shutdown
        && hook.timeout > settings.plan.stop_timeout.unwrap_or(DOCKER_GRACE)
    {
        let message = match settings.plan.stop_timeout {
            Some(limit) => format!(
                "may take {:?}, and `disco.stop_timeout` or `disco.runtime_grace` leaves {limit:?} for the whole stop, of which it gets half at least: give it less (`timeout`), or the stop more",
                hook.timeout
            ),
            None => format!(
                "may take {:?}, and `docker stop` kills after {DOCKER_GRACE:?} by default: give it less (`timeout`), or the container more (`--stop-timeout`), and tell disco (`disco.runtime_grace`)",
                hook.timeout
            ),
        };
        report.warn(&[Step::Key("lifecycle"), Step::Key("shutdown")], message);
    }
}
