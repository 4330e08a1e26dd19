//! The verbs for those who write layers, wired: `cake show`, `lint`, `test` and `new-layer`. The work is done in
//! `lint`, `trial` and `new_layer`.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::cli::{LintArgs, NewLayerArgs, ShowArgs, TestArgs};
use super::disco;
use super::failure::{FAILED, Failure};
use super::layers::tree::Tree;
use super::library::Library;
use super::project::variable;
use super::ui::{Ui, printable};
use super::{lint, needs, new_layer, trial};
use crate::contract::exit;
use crate::contract::problem::Problem;

/// `cake show`: the README of a layer and its example data, or its schemas where it has neither.
pub(super) fn show(args: &ShowArgs, json: bool, ui: &Ui) -> Result<(), Failure> {
    let library = Library::new(ui)?;
    let dir = library.locate(&args.layer)?;
    let tree = Tree::read(&dir).map_err(Failure::config)?;
    let is_told = |path: &str| path.starts_with("README") || path.starts_with("example/");
    let is_schema = |path: &str| path.ends_with(".schema");
    let mut told: Vec<(&str, String)> = Vec::new();
    for wanted in [&is_told as &dyn Fn(&str) -> bool, &is_schema] {
        if told.is_empty() {
            let files = tree.files().filter(|(path, _)| wanted(path));
            told.extend(
                files.map(|(path, file)| (path, String::from_utf8_lossy(&file.bytes).into())),
            );
        }
    }
    if json {
        let files: Map<String, Value> = told
            .into_iter()
            .map(|(path, text)| (path.to_owned(), text.into()))
            .collect();
        ui.result(format!(
            "{:#}\n",
            json!({"layer": args.layer.to_string_lossy(), "files": files})
        ));
        return Ok(());
    }
    for (path, text) in told {
        match path.starts_with("README") {
            true => ui.result(text),
            false => ui.result(format!("\n{path}:\n\n{text}")),
        }
    }
    Ok(())
}

/// `cake lint`.
pub(super) fn lint(args: &LintArgs, json: bool, ui: &Ui) -> Result<(), Failure> {
    let library = Library::new(ui)?;
    let targets = match args.paths.is_empty() {
        true => vec![PathBuf::from(".")],
        false => library.locate_all(&args.paths)?,
    };
    let findings = lint::lint(&targets, &|name| library.find(name), args.strict);
    findings
        .warnings
        .iter()
        .for_each(|warning| ui.warn(warning));
    if json {
        let told = |problems: &[Problem]| -> Vec<String> {
            problems.iter().map(ToString::to_string).collect()
        };
        let report = json!({
            "files": findings.files,
            "problems": told(&findings.problems),
            "warnings": told(&findings.warnings),
        });
        ui.result(format!("{report:#}\n"));
    }
    match findings.problems.is_empty() {
        true => {
            let files = match findings.files {
                1 => "1 file".to_owned(),
                count => format!("{count} files"),
            };
            let found = match findings.warnings.len() {
                0 => "nothing is wrong".to_owned(),
                1 => "no errors, 1 warning".to_owned(),
                count => format!("no errors, {count} warnings"),
            };
            ui.note("Checked", &format!("{files}, {found}"));
            Ok(())
        }
        false => Err(Failure {
            code: exit::CONFIG,
            problems: findings.problems,
        }),
    }
}

/// `cake test`.
pub(super) fn test(args: &TestArgs, json: bool, ui: &Ui) -> Result<(), Failure> {
    let library = Library::new(ui)?;
    let layers = library.locate_all(&args.layers)?;
    if args.update
        && let Some(layer) = layers.iter().find(|layer| library.is_unpacked(layer))
    {
        let message = "is a layer that cake carries; what is expected of it cannot be changed here";
        return Err(Failure::usage(Problem::new(message).in_file(layer)));
    }
    let named = args
        .disco
        .clone()
        .or_else(|| variable("CAKE_DISCO").map(PathBuf::from));
    let disco = disco::runnable(named.as_deref())?;
    let mut reports = Vec::new();
    let mut problems = Vec::new();
    let mut code = FAILED;
    for (named, layer) in args.layers.iter().zip(&layers) {
        let step = ui.step("Trying", &named.display().to_string());
        let outcome = attempt(args, layer, disco.path(), &library);
        drop(step);
        match outcome {
            Ok(trial) => {
                if json {
                    reports.push(json!({"layer": named, "good": trial.is_good()}));
                } else {
                    let text = format!("{}:\n{}", named.display(), trial.text());
                    ui.result(&*printable(&text));
                }
                if !trial.is_good() {
                    let message = "what comes out is not what is expected; mend the layer, or take it as expected with --update";
                    problems.push(Problem::new(message).in_file(named));
                }
            }
            Err(failure) => {
                code = failure.code;
                problems.extend(failure.problems);
            }
        }
    }
    if json {
        ui.result(format!("{:#}\n", json!({"layers": reports})));
    }
    match problems.is_empty() {
        true => Ok(()),
        false => Err(Failure { code, problems }),
    }
}

fn attempt(
    args: &TestArgs,
    layer: &Path,
    disco: &Path,
    library: &Library,
) -> Result<trial::Trial, Failure> {
    let needs = needs::of(layer, &|name| library.find(name));
    if !needs.unknown.is_empty() {
        let message = format!(
            "needs layers that are not at hand: {}; name the directory that has them in CAKE_PATH",
            needs.unknown.join(", ")
        );
        return Err(Failure::failed(Problem::new(message).in_file(layer)));
    }
    trial::run(&trial::Request {
        layer,
        needs: &needs.found,
        data: args.data.as_deref(),
        disco,
        update: args.update,
        keep: args.keep,
        timeout: trial::TIMEOUT,
    })
}

/// `cake new-layer`.
pub(super) fn new_layer(args: &NewLayerArgs, json: bool, ui: &Ui) -> Result<(), Failure> {
    let files = new_layer::write(&new_layer::Request {
        name: &args.name,
        dir: &args.directory,
        handler: args.handler,
    })?;
    for file in &files {
        ui.note("Wrote", &file.display().to_string());
    }
    let dir = args.directory.join(&args.name);
    ui.note(
        "Next",
        &format!("cake lint {0} && cake test {0}", dir.display()),
    );
    if json {
        ui.result(format!("{:#}\n", json!({"files": files})));
    }
    Ok(())
}
