//! `cake lint`: what is wrong with layers, projects and contracts, all of it at once, before an image is
//! built. It runs nothing and renders nothing; that is for [`super::trial`].
//!
//! `layer` looks at a directory with `layer.yaml`, `project` at what stands beside a Dockerfile;
//! `schemas`, `rules`, `program`, `example` and `variables` at the kinds of files in a layer. `enough` tells a
//! trial beforehand what its data lacks.

mod enough;
mod example;
mod layer;
mod program;
mod project;
mod rules;
mod schemas;
mod source;
mod variables;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::cake::needs::Find;
use crate::contract::layer::{conf, file};
use crate::contract::problem::Problem;

use self::source::Source;

pub use self::enough::lacking;
pub(crate) use self::example::{DATA, EXPECTED};
pub(crate) use self::variables::read as variables;

/// The name of a contract file.
const CONTRACT: &str = "asyncy.yml";

/// What was found.
#[derive(Debug, Default)]
pub struct Findings {
    /// These have to be mended.
    pub problems: Vec<Problem>,
    /// These are most likely mistakes. None if the linting was strict: then they are problems.
    pub warnings: Vec<Problem>,
    /// How many files were looked at.
    pub files: usize,
}

impl Findings {
    fn problem(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    fn warn(&mut self, problem: Problem) {
        self.warnings.push(problem);
    }

    /// Reads a file for a check of it; what cannot be read is a problem.
    fn read(&mut self, file: &Path) -> Option<Source> {
        self.files += 1;
        Source::read(file).map_err(|told| self.problem(told)).ok()
    }
}

/// Checks directories and files. A directory is a layer if it holds `layer.yaml`, a project if it holds
/// `cake.conf` or a contract, and otherwise a collection whose immediate sub-directories are layers. A
/// file is judged by its name: `layer.yaml`, `cake.conf`, `*.schema`, `*.rules`; other YAML or JSON is a
/// contract.
#[must_use]
pub fn lint(targets: &[PathBuf], find: Find<'_>, strict: bool) -> Findings {
    let mut findings = Findings::default();
    for target in targets {
        if target.is_dir() {
            directory(target, find, &mut findings);
        } else {
            single(target, find, &mut findings);
        }
    }
    if strict {
        findings.problems.append(&mut findings.warnings);
    }
    findings
}

fn directory(dir: &Path, find: Find<'_>, findings: &mut Findings) {
    if dir.join(file::NAME).is_file() {
        return layer::lint(dir, find, findings);
    }
    let is_project = [conf::NAME, CONTRACT].map(|name| dir.join(name).is_file());
    if is_project.contains(&true) {
        return project::lint(dir, find, findings);
    }
    let layers = layer::below(dir);
    if layers.is_empty() {
        let message = format!(
            "holds nothing to check; expected a `{}`, a `{}` or an `{CONTRACT}` in it, or layers below it",
            file::NAME,
            conf::NAME,
        );
        findings.problem(Problem::new(message).in_file(dir));
    }
    // One finds the others by their names.
    let siblings = layers
        .iter()
        .filter_map(|dir| Some((layer::name(dir)?, dir)));
    let siblings: BTreeMap<String, &PathBuf> = siblings.collect();
    let both = |name: &str| {
        siblings
            .get(name)
            .map(|dir| (*dir).clone())
            .or_else(|| find(name))
    };
    for layer in &layers {
        layer::lint(layer, &both, findings);
    }
}

fn single(path: &Path, find: Find<'_>, findings: &mut Findings) {
    let Some(source) = findings.read(path) else {
        return;
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    match path.extension().and_then(|extension| extension.to_str()) {
        _ if name == file::NAME => {
            layer::file(&source, findings);
        }
        _ if name == conf::NAME => {
            project::conf(&source, findings);
        }
        Some("schema") => {
            schemas::check(&source, findings);
        }
        Some("rules") => {
            let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
            layer::rules(&source, dir.unwrap_or(Path::new(".")), find, findings);
        }
        Some("yml" | "yaml" | "json") => project::contract(&source, findings),
        _ => {
            let message = format!(
                "is no kind of file that is checked by itself; expected `{}`, `{}`, *.schema, *.rules or a contract, *.yml",
                file::NAME,
                conf::NAME,
            );
            findings.problem(Problem::new(message).in_file(path));
        }
    }
}

#[cfg(test)]
mod tests;
