//! Renders the files of one rule, all of them or none.
//!
//! Everything is rendered in memory and compared with what is there; what differs is written beside
//! it, checked, and only then put in its place. Nobody ever sees half a file, and a rule whose files
//! are right already touches none. Reading order: `around` is what templates see, `place` where a file
//! goes, `target` what is there and what it is to be like, `staged` the files beside it, `exchange` the
//! moment of the change, `recovery` what becomes of one that was cut.

mod around;
mod exchange;
mod place;
mod recovery;
mod staged;
mod target;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{oneshot, watch};
use tracing::{debug, info};

use self::around::Around;
use self::exchange::Change;
use self::place::Place;
use self::staged::Staged;
use self::target::Target;
use super::handler::{self, Failure, Input, Job};
use crate::contract::account::Accounts;
use crate::contract::problem::Problem;
use crate::contract::render::{Output, Surroundings, Template};
use crate::disco::accounts;

/// As large as that of a process's first thread usually is.
const STACK: usize = 8 << 20;

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
    let mut places = places(work);
    recovery::run(places.iter_mut().flatten().collect())?;
    let texts = texts(work, &around, stop).await?;
    let rendered = placed(work, places, texts, &accounts)?;
    let (mut changes, mut backups) = (Vec::new(), Vec::new());
    for (index, (target, text)) in rendered.into_iter().enumerate() {
        if target.is(text.as_bytes()) {
            debug!("{} is as it should be", target.place.path.display());
            continue;
        }
        let staged = Staged::write(&target, text.as_bytes())?;
        backups.extend(Change::backup(&target)?);
        changes.push((index, Change::new(&target, staged)));
    }
    for (index, change) in &changes {
        check(work, *index, change.staged(), &around, stop, &started).await?;
    }
    let changes: Vec<Change> = changes.into_iter().map(|(_, change)| change).collect();
    let paths: Vec<PathBuf> = changes.iter().map(|change| change.path().into()).collect();
    // Backups come first, since what they hold is what is there.
    backups.extend(changes);
    exchange::all(&backups)?;
    for path in &paths {
        info!("rendered {}", path.display());
    }
    Ok(!paths.is_empty())
}

/// The text of each output, or what is wrong with it. A template can keep a processor busy for a while, or
/// die of a stack that is too small: a thread of its own leaves the agent free to hear that it is to end.
async fn texts(
    work: &Work,
    around: &Arc<Around>,
    stop: &mut watch::Receiver<bool>,
) -> Result<Vec<Result<String, Problem>>, String> {
    let surroundings: Arc<dyn Surroundings> = around.clone();
    let (templates, payload) = (work.templates.clone(), work.payload.clone());
    let (done, texts) = oneshot::channel();
    let thread = std::thread::Builder::new()
        .name("render".to_owned())
        .stack_size(STACK);
    let started = thread.spawn(move || {
        let render = |template: &Arc<Template>| template.render(&payload, &surroundings);
        // Nobody listens any more if disco ends.
        let _ = done.send(templates.iter().map(render).collect());
    });
    started.map_err(|error| format!("cannot be rendered: there can be no thread: {error}"))?;
    tokio::select! {
        texts = texts => texts.map_err(|_| "was lost while it was rendered".to_owned()),
        _ = stop.wait_for(|stop| *stop) => Err(handler::STOPPED.to_owned()),
    }
}

/// Where each output goes, or why it cannot.
fn places(work: &Work) -> Vec<Result<Place, String>> {
    let root = work.destdir.as_deref().unwrap_or(Path::new("/"));
    let find = |output: &Output| {
        let place = Place::find(root, &output.to);
        place.map_err(|why| format!("{} {why}", output.to.display()))
    };
    work.outputs.iter().map(find).collect()
}

/// Every text and where it goes; or everything that is wrong with any of them.
fn placed(
    work: &Work,
    places: Vec<Result<Place, String>>,
    texts: Vec<Result<String, Problem>>,
    accounts: &Accounts,
) -> Result<Vec<(Target, String)>, String> {
    let (mut rendered, mut wrong) = (Vec::new(), Vec::new());
    for ((output, place), text) in work.outputs.iter().zip(places).zip(texts) {
        let has_root = work.destdir.is_some();
        let target = place.and_then(|place| Target::find(output, place, has_root, accounts));
        match (text, target) {
            (Ok(text), Ok(target)) => {
                let is_same =
                    |(other, _): &&(Target, String)| other.place.path == target.place.path;
                if rendered.iter().any(|other| is_same(&other)) {
                    wrong.push(format!(
                        "{} is a link to {}, which the rule renders as well",
                        output.to.display(),
                        target.place.path.display()
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
    let job = Job {
        name: name.clone(),
        program,
        arguments: words.into_iter().skip(1).collect(),
        environment: work.environment.clone(),
        directory: work.destdir.clone(),
        payload: work.payload.clone(),
        // What it prints of the file may be from anywhere.
        hidden: around.hidden(),
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
