//! What stands beside a Dockerfile: `cake.conf`, the contract, and the layers that are the project's own.
//! The Dockerfile itself is not looked at.

use std::path::Path;

use super::source::Source;
use super::{CONTRACT, Findings, layer};
use crate::cake::layers::local;
use crate::cake::needs::Find;
use crate::contract::layer::conf::{self, Conf, Origin};
use crate::contract::manifest;
use crate::contract::problem::Problem;
use crate::contract::suggest;

/// Checks a project.
pub(super) fn lint(dir: &Path, find: Find<'_>, findings: &mut Findings) {
    let file = dir.join(conf::NAME);
    if file.is_file()
        && let Some(source) = findings.read(&file)
        && let Some(read) = conf(&source, findings)
    {
        own_layers(dir, &read, find, &file, findings);
    }
    let file = dir.join(CONTRACT);
    if file.is_file()
        && let Some(source) = findings.read(&file)
    {
        contract(&source, findings);
    }
}

/// Checks a `cake.conf`; what it says, if it can be read.
pub(super) fn conf(source: &Source, findings: &mut Findings) -> Option<Conf> {
    match conf::parse(&source.file, &source.bytes) {
        Ok(read) => {
            findings.warnings.extend(read.warnings);
            Some(read.value)
        }
        Err(problems) => {
            findings.problems.extend(problems);
            None
        }
    }
}

/// Checks a contract, its halves for the inside and for the host alike.
pub(super) fn contract(source: &Source, findings: &mut Findings) {
    match manifest::parse(&source.file, &source.bytes) {
        Ok(parsed) => {
            findings.warnings.extend(parsed.doubts);
            findings.warnings.extend(parsed.warnings);
        }
        Err(rejected) => {
            findings.problems.extend(rejected.problems);
            findings.warnings.extend(rejected.warnings);
        }
    }
}

/// Checks the layers that come from a path of the project. One finds the others by their names.
fn own_layers(dir: &Path, read: &Conf, find: Find<'_>, file: &Path, findings: &mut Findings) {
    let own = |name: &str| {
        let wanted = read.layers.iter().find(|wanted| wanted.name == name)?;
        match &wanted.origin {
            Some(Origin::Path(path)) => Some(dir.join(path)),
            _ => None,
        }
    };
    let both = |name: &str| own(name).or_else(|| find(name));
    for wanted in &read.layers {
        let Some(path) = own(&wanted.name) else {
            let is_vendored = local::vendored(dir, &wanted.name).is_some();
            let is_told = wanted.origin.is_some() || read.endpoint.is_some() || is_vendored;
            if !is_told && find(&wanted.name).is_none() {
                let hint = suggest::hint(&wanted.name, local::embedded_names());
                let message = format!(
                    "the layer `{}` is not found at hand; only an index could have it{hint}",
                    wanted.name
                );
                findings.warn(Problem::new(message).in_file(file).at_key("cake.layers"));
            }
            continue;
        };
        match path.is_dir() {
            true => layer::lint(&path, &both, findings),
            false => {
                let message = format!(
                    "`{}` is to be in {}, which is no directory",
                    wanted.name,
                    path.display()
                );
                findings.problem(Problem::new(message).in_file(file));
            }
        }
    }
}
