//! Renders the files of one rule, all of them or none.
//!
//! Everything is rendered in memory and compared with what is there; what differs is written beside
//! it, checked, and only then put in its place. Nobody ever sees half a file, and a rule whose files
//! are right already touches none. Reading order: `around` is what templates see, `target` where a
//! file goes and what is there, `staged` the files beside it, `exchange` the moment of the change.

mod around;
mod exchange;
mod staged;
mod target;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;
use tracing::{debug, info};

use self::around::Around;
use self::exchange::Change;
use self::staged::Staged;
use self::target::Target;
use super::handler::{self, Failure, Input, Job};
use crate::contract::account::Accounts;
use crate::contract::render::{Output, Surroundings, Template};
use crate::disco::accounts;

/// All that is needed to render the files of a rule.
pub struct Work {
    /// The files.
    pub outputs: Vec<Output>,
    /// Their templates, in the same order.
    pub templates: Vec<Arc<Template>>,
    /// Programs of their check commands, in the same order: the file, or why there is none.
    pub programs: Vec<Result<PathBuf, String>>,
    /// The rules file.
    pub rules: PathBuf,
    /// The directory that stands for the root, if one does.
    pub destdir: Option<PathBuf>,
    /// The environment of check commands, which is what templates see of it.
    pub environment: Vec<(OsString, OsString)>,
    /// The data, keyed by interface.
    pub payload: Value,
    /// The time limit of each check command.
    pub timeout: Option<Duration>,
    /// From TERM to KILL.
    pub grace: Duration,
}

/// Renders, checks and puts in place. Returns whether any file changed. `started` is told the process
/// group of a check command, and 0 when it has ended; `stop` ends it.
///
/// # Errors
/// Why nothing has changed.
pub async fn run(
    work: &Work,
    stop: &mut watch::Receiver<bool>,
    started: impl Fn(i32),
) -> Result<bool, Failure> {
    let accounts = match work.outputs.iter().any(|output| output.owner.is_some()) {
        true => accounts::read().map_err(|problems| {
            let all: Vec<String> = problems.iter().map(ToString::to_string).collect();
            all.join("; ")
        })?,
        false => Accounts::default(),
    };
    let around = Arc::new(Around::new(work.environment.clone(), &work.rules));
    let rendered = render(work, &around, &accounts)?;
    for (target, _) in &rendered {
        staged::clear(&target.path);
    }
    let mut changes = Vec::new();
    for (index, (target, text)) in rendered.into_iter().enumerate() {
        if target.is(text.as_bytes()) {
            debug!("{} is as it should be", target.path.display());
            continue;
        }
        let staged = Staged::write(&target, text.as_bytes())?;
        changes.push((index, Change::new(target, staged)));
    }
    for (index, change) in &changes {
        check(work, *index, change.staged(), &around, stop, &started).await?;
    }
    let changes: Vec<Change> = changes.into_iter().map(|(_, change)| change).collect();
    let paths: Vec<PathBuf> = changes.iter().map(|change| change.path().into()).collect();
    exchange::all(changes)?;
    for path in &paths {
        info!("rendered {}", path.display());
    }
    Ok(!paths.is_empty())
}

/// Every text and where it goes; or everything that is wrong with any of them.
fn render(
    work: &Work,
    around: &Arc<Around>,
    accounts: &Accounts,
) -> Result<Vec<(Target, String)>, String> {
    let (mut rendered, mut wrong) = (Vec::new(), Vec::new());
    let surroundings: Arc<dyn Surroundings> = around.clone();
    for (output, template) in work.outputs.iter().zip(&work.templates) {
        let text = template.render(&work.payload, &surroundings);
        let target = Target::find(output, work.destdir.as_deref(), accounts);
        match (text, target) {
            (Ok(text), Ok(target)) => {
                let is_same = |(other, _): &&(Target, String)| other.path == target.path;
                if rendered.iter().any(|other| is_same(&other)) {
                    wrong.push(format!(
                        "{} is a link to {}, which the rule renders as well",
                        output.to.display(),
                        target.path.display()
                    ));
                }
                rendered.push((target, text));
            }
            (text, target) => {
                wrong.extend(text.err().map(|problem| problem.to_string()));
                wrong.extend(target.err());
            }
        }
    }
    match wrong.is_empty() {
        true => Ok(rendered),
        false => Err(wrong.join("; ")),
    }
}

/// Has the check command of an output judge the file that is to take its place.
async fn check(
    work: &Work,
    index: usize,
    staged: &Path,
    around: &Around,
    stop: &mut watch::Receiver<bool>,
    started: &impl Fn(i32),
) -> Result<(), Failure> {
    let Some(output) = work.outputs.get(index) else {
        return Ok(());
    };
    let Some(words) = output.check_of(&staged.to_string_lossy()) else {
        return Ok(());
    };
    let name = words.first().cloned().unwrap_or_default();
    let program = match work.programs.get(index) {
        Some(program) => program.clone()?,
        None => return Ok(()),
    };
    // What it prints of the file may be from anywhere.
    let values = [work.payload.clone(), around.given().into()];
    let job = Job {
        name: name.clone(),
        program,
        arguments: words.into_iter().skip(1).collect(),
        environment: work.environment.clone(),
        directory: work.destdir.clone(),
        payload: Value::from(values.to_vec()),
        input: Input::Nothing,
        timeout: work.timeout,
        grace: work.grace,
    };
    let outcome = handler::run(&job, stop, started).await;
    started(0);
    outcome.map_err(|failure| Failure {
        reason: format!(
            "`{name}`, the check of {}, {}; nothing was replaced",
            output.to.display(),
            said(&failure.reason)
        ),
        lines: failure.lines,
    })
}

/// How a check ended, as the end of a sentence.
fn said(reason: &str) -> String {
    match reason.starts_with("exit status") {
        true => format!("failed with {reason}"),
        false => reason.to_owned(),
    }
}
