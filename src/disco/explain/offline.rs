//! Judges rules and schemas against data that can be read here and now: a file, the environment. No
//! handler is run, and no server asked; the machine that judges is the agent's.

use std::path::Path;
use std::time::Instant;

use serde_json::{Map, Value, json};
use tracing::{error, warn};

use crate::contract::exit;
use crate::contract::text;
use crate::contract::tree::{self, Facts};
use crate::disco::agent::engine::{Engine, Status};
use crate::disco::agent::past::Past;
use crate::disco::agent::report::{self, History};
use crate::disco::agent::sources::{Source, env, flat};
use crate::disco::agent::waiting;
use crate::disco::layers;
use crate::disco::settings::{FlatSettings, Settings, SourceSettings};

/// The document, and whether every rule could run. `file` takes the place of the flat source.
///
/// # Errors
/// The exit code for schemas and rules that are wrong; what is wrong has been said.
pub(super) fn judge(settings: &Settings, file: Option<&Path>) -> Result<(Value, bool), u8> {
    let (mut layers, findings) = layers::load(&settings.path);
    for warning in findings.doubts.iter().chain(&findings.warnings) {
        warn!("{warning}");
    }
    if !findings.problems.is_empty() {
        for problem in &findings.problems {
            error!("{problem}");
        }
        let problems = text::count(findings.problems.len(), "problem");
        error!("{problems} with schemas and rules");
        return Err(exit::CONFIG);
    }
    if layers.rules.is_empty() {
        warn!("{}", layers::no_rules(&settings.path));
    }
    let rules = std::mem::take(&mut layers.rules);
    let mut engine = Engine::new(
        rules,
        settings.fail_limit,
        settings.interval,
        &Past::default(),
    );
    let (sources, not_asked) = read(&all(settings, file));
    if sources.iter().all(|source| source.snapshot.is_some()) {
        let snapshots = sources.iter().enumerate();
        let facts = Facts::merged(
            snapshots.filter_map(|(index, source)| Some((index, source.snapshot.as_ref()?))),
        );
        let is_textual = |index: usize| sources.get(index).is_some_and(|source| source.is_textual);
        engine.update(&layers, &facts, is_textual);
    }
    let could_run = engine.rules().all(|(_, status)| *status == Status::Ready);
    let mut document = Map::new();
    document.insert("version".to_owned(), env!("CARGO_PKG_VERSION").into());
    document.insert("offline".to_owned(), true.into());
    document.insert("configured".to_owned(), could_run.into());
    let reasons = waiting::reasons(&engine, &sources);
    let members = report::members(&engine, &sources, &History::default(), None, reasons);
    document.extend(members);
    if let Some(Value::Array(told)) = document.get_mut("sources") {
        let names = not_asked.into_iter();
        told.extend(names.map(|name| json!({"name": name, "state": "not asked"})));
    }
    Ok((Value::Object(document), could_run))
}

/// The sources of the settings, a file in the place of the flat one.
fn all(settings: &Settings, file: Option<&Path>) -> Vec<SourceSettings> {
    let mut all = settings.sources.clone();
    let Some(file) = file else {
        return all;
    };
    let flat = all.iter_mut().find_map(|source| match source {
        SourceSettings::Flat(flat) => Some(flat),
        _ => None,
    });
    match flat {
        Some(flat) => file.clone_into(&mut flat.file),
        None => all.insert(
            0,
            SourceSettings::Flat(FlatSettings {
                file: file.to_owned(),
                values: false,
                poll: None,
            }),
        ),
    }
    all
}

/// What can be read of the sources, and the names of those that would have to be asked.
fn read(all: &[SourceSettings]) -> (Vec<Source>, Vec<&'static str>) {
    let (mut sources, mut not_asked) = (Vec::new(), Vec::new());
    for source in all {
        let (name, is_textual, scope, read) = match source {
            SourceSettings::Flat(flat) => (
                "flatfile",
                flat.values,
                String::new(),
                flat::read_once(flat),
            ),
            SourceSettings::Env(env) => {
                let scope = format!("env.prefix `{}`", env.prefix);
                ("env", true, scope, Ok(env::tree(env)))
            }
            SourceSettings::Consul(_) => {
                not_asked.push("consul");
                continue;
            }
            SourceSettings::Etcd(_) => {
                not_asked.push("etcd");
                continue;
            }
        };
        let now = Instant::now();
        let (snapshot, down) = match read {
            Ok((tree, notes)) => {
                for note in notes {
                    warn!(source = name, "{note}");
                }
                (Some(tree::nest_dotted(tree)), None)
            }
            Err(reason) => (None, Some((reason, now))),
        };
        sources.push(Source {
            name: name.to_owned(),
            is_textual,
            scope,
            snapshot,
            down,
            since: now,
        });
    }
    (sources, not_asked)
}
