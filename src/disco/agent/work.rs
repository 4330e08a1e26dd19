//! What is done when a rule fires: its handler is run, or its files are rendered. Prepared here, and
//! done by [`handler`] and [`render`]; which rule, and when, is the engine's to say.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;
use tracing::warn;

use super::handler::{self, Failure, Hidden, Input, Job};
use super::render;
use crate::contract::problem::Problem;
use crate::contract::render::Template;
use crate::contract::rule::{Action, HandlerEnv, Rule};
use crate::disco::layers;
use crate::disco::settings::Settings;

/// What a rule's success has brought about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Something: of a handler nothing else can be known.
    Changed,
    /// Nothing: all files were right already.
    Nothing,
}

/// What there is to be done for a rule.
pub enum Work {
    /// Its handler is run.
    Handler(Job),
    /// Its files are rendered.
    Render(render::Work),
    /// Nothing can be done, and this is why.
    Impossible(String),
}

impl Work {
    /// The work of a rule for this data; `templates` are its own.
    #[must_use]
    pub fn of(
        rule: &Rule,
        templates: &[Arc<Template>],
        payload: &Value,
        settings: &Settings,
    ) -> Self {
        let search = layers::search_path(&settings.path);
        let find = |name: &str| {
            layers::find_handler(&rule.file, name, &settings.path, &search)
                // It is started from another directory than it was found from.
                .map(|program| std::path::absolute(&program).unwrap_or(program))
                .map_err(|why| layers::no_handler(name, &why, &settings.path))
        };
        let environment = environment(rule, settings, search.clone());
        let timeout = rule.timeout.map_or(settings.handler_timeout, |limit| {
            Some(limit).filter(|l| !l.is_zero())
        });
        let grace = settings.plan.drain.max(Duration::from_secs(1));
        match &rule.action {
            Action::Run(argv) => {
                let name = argv.first().cloned().unwrap_or_default();
                let program = match find(&name) {
                    Ok(program) => program,
                    Err(why) => return Self::Impossible(why),
                };
                Self::Handler(Job {
                    name,
                    program,
                    arguments: argv.get(1..).unwrap_or_default().to_vec(),
                    environment,
                    directory: settings.destdir.clone(),
                    payload: payload.clone(),
                    hidden: Hidden::default(),
                    input: Input::Payload,
                    timeout,
                    grace,
                })
            }
            Action::Render(outputs) => Self::Render(render::Work {
                outputs: outputs.clone(),
                templates: templates.to_vec(),
                programs: outputs
                    .iter()
                    .map(|output| match output.check.first() {
                        Some(name) => find(name),
                        None => Ok(PathBuf::new()),
                    })
                    .collect(),
                rules: rule.file.clone(),
                destdir: settings.destdir.clone(),
                environment,
                payload: payload.clone(),
                timeout,
                grace,
            }),
        }
    }

    /// Does it to its end; `started` is told the process group of each program. When `stop` turns true
    /// a program at work is ended.
    ///
    /// # Errors
    /// Why it failed.
    pub async fn run(
        self,
        stop: &mut watch::Receiver<bool>,
        started: impl Fn(i32),
    ) -> Result<Effect, Failure> {
        match self {
            Self::Handler(job) => {
                handler::run(&job, stop, started).await?;
                Ok(Effect::Changed)
            }
            Self::Render(work) => Ok(match render::run(&work, stop, started).await? {
                true => Effect::Changed,
                false => Effect::Nothing,
            }),
            Self::Impossible(why) => Err(why.into()),
        }
    }
}

/// A program that is not there will fail, and it is better to know before the data comes.
pub fn warn_of_programs(rules: &[Rule], settings: &Settings) {
    let search = layers::search_path(&settings.path);
    for rule in rules {
        for name in rule.programs() {
            if let Err(why) = layers::find_handler(&rule.file, name, &settings.path, &search) {
                warn!("{}", layers::no_handler(name, &why, &settings.path));
            }
        }
    }
}

/// The complaint about a `disco.destdir` that is no directory.
#[must_use]
pub fn no_destdir(settings: &Settings) -> Option<Problem> {
    let dir = settings.destdir.as_ref().filter(|dir| !dir.is_dir())?;
    let message = format!("{} is no directory; make it first", dir.display());
    Some(Problem::new(message).at_key("disco.destdir"))
}

/// PATH, what `disco.handler_env` hands on, and what the rule sets; nothing else (conformance 27), but
/// for the directory that stands for the root.
fn environment(rule: &Rule, settings: &Settings, path: OsString) -> Vec<(OsString, OsString)> {
    let mut all = vec![(OsString::from("PATH"), path)];
    if let Some(dir) = &settings.destdir {
        all.push(("DESTDIR".into(), dir.into()));
    }
    let pass = |name: &String| Some((OsString::from(name), std::env::var_os(name)?));
    all.extend(settings.handler_env.iter().filter_map(pass));
    for entry in &rule.env {
        match entry {
            HandlerEnv::Pass(name) => all.extend(pass(name)),
            HandlerEnv::Set(name, value) => all.push((name.into(), value.into())),
        }
    }
    all
}
