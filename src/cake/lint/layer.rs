//! A directory with `layer.yaml`: every file of it that says something to cake or disco.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::source::Source;
use super::{Findings, example, program, rules, schemas};
use crate::cake::files;
use crate::cake::layers::tree::Tree;
use crate::cake::needs::{self, Find, Needs};
use crate::contract::layer::file::{self, LayerFile};
use crate::contract::layer::resolve;
use crate::contract::problem::Problem;

/// The program of a layer that is run while an image is built.
const INSTALL: &str = "install";

/// Directories nested deeper than this are a mistake.
const MAX_DEPTH: usize = 16;

/// Schema documents by interface, and the files they are from.
pub(super) type Schemas = BTreeMap<String, (PathBuf, Value)>;

/// What a layer can refer to.
pub(super) struct World {
    /// The schemas of the layer and of those that it needs.
    pub(super) schemas: Schemas,
    /// Where the layer lies, and those that it needs.
    pub(super) homes: BTreeMap<String, PathBuf>,
    /// Layers that are needed and were not found: what they bring is not known.
    pub(super) unknown: Vec<String>,
}

/// The layers immediately below a directory, sorted.
pub(super) fn below(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut layers: Vec<_> = entries
        .map(|entry| entry.path())
        .filter(|path| path.join(file::NAME).is_file())
        .collect();
    layers.sort();
    layers
}

/// Checks a layer.
pub(super) fn lint(dir: &Path, find: Find<'_>, findings: &mut Findings) {
    let Some(source) = findings.read(&dir.join(file::NAME)) else {
        return;
    };
    let name = file(&source, findings);
    // What a layer cannot be made of is refused wherever one is taken from a directory.
    if let Err(problems) = Tree::read(dir) {
        findings.problems.extend(problems);
    }
    let files = files(dir);

    let mut own = Schemas::new();
    for path in with_extension(&files, "schema") {
        if let Some(source) = findings.read(path)
            && let Some((name, document)) = schemas::check(&source, findings)
        {
            if let Some((other, _)) = own.get(&name) {
                let message = format!(
                    "is named `{name}`, as {} is; disco merges the two",
                    other.display()
                );
                findings.warn(Problem::new(message).in_file(path));
            }
            own.insert(name, (path.clone(), document));
        }
    }
    let world = world(own.clone(), name, dir, find, findings);
    let mut known = Vec::new();
    for path in with_extension(&files, "rules") {
        if let Some(source) = findings.read(path) {
            known.extend(rules::check(&source, dir, &world, findings));
        }
    }
    let install = dir.join(INSTALL);
    if install.is_file() {
        program::check(&install, findings);
    }
    if install.is_dir() {
        let message = "is a directory, and so nothing is run; expected a program, or another name";
        findings.problem(Problem::new(message).in_file(&install));
    }
    if own.is_empty() && known.is_empty() && !install.is_file() {
        let message = "gives an image nothing: it holds no *.schema, no *.rules and no `install`";
        findings.warn(Problem::new(message).in_file(dir));
    }
    rules::check_targets(&known, findings);
    example::check(dir, &world, &known, findings);
}

/// Checks a `layer.yaml`; the name in it, if it can be read.
pub(super) fn file(source: &Source, findings: &mut Findings) -> Option<String> {
    match file::parse(&source.file, &source.bytes) {
        Ok(read) => {
            findings.warnings.extend(read.warnings);
            if read.value.summary.is_none() {
                let message = "has no `summary`, by which `cake search` finds it";
                findings.warn(Problem::new(message).in_file(&source.file).at_key("layer"));
            }
            Some(read.value.name)
        }
        Err(problems) => {
            findings.problems.extend(problems);
            None
        }
    }
}

/// Checks one rules file by itself, with the schemas of the directory that it is in.
pub(super) fn rules(source: &Source, dir: &Path, find: Find<'_>, findings: &mut Findings) {
    let mut own = Schemas::new();
    // Only for what they name: they are not what was to be checked.
    collect_schemas(dir, &mut own);
    let name = name(dir);
    let world = world(own, name, dir, find, findings);
    rules::check(source, dir, &world, findings);
}

/// The layer's schemas and those of all that it needs, found by name.
fn world(
    mut schemas: Schemas,
    name: Option<String>,
    dir: &Path,
    find: Find<'_>,
    findings: &mut Findings,
) -> World {
    let Needs { found, unknown } = needs::of(dir, find);
    for (_, dir) in &found {
        collect_schemas(dir, &mut schemas);
    }
    let mut homes: BTreeMap<String, PathBuf> = found.into_iter().collect();
    if let Some(name) = name {
        homes.insert(name.clone(), dir.to_owned());
        findings.problems.extend(circles(&name, &homes));
    }
    for name in &unknown {
        let message = format!(
            "needs the layer `{name}`, which is not found: what its rules wait for is checked without it"
        );
        let problem = Problem::new(message).in_file(dir.join(file::NAME));
        findings.warn(problem.at_key("layer.layers"));
    }
    World {
        schemas,
        homes,
        unknown,
    }
}

/// What the layer in a directory calls itself, if that can be read.
pub(super) fn name(dir: &Path) -> Option<String> {
    layer_file(dir).map(|file| file.name)
}

/// The `layer.yaml` of a directory, if it can be read.
fn layer_file(dir: &Path) -> Option<LayerFile> {
    let path = dir.join(file::NAME);
    let bytes = files::read_small(&path).ok()?;
    Some(file::parse(&path, &bytes).ok()?.value)
}

/// Circles among a layer and those that it needs.
fn circles(name: &str, homes: &BTreeMap<String, PathBuf>) -> Vec<Problem> {
    let home = |name: &str| homes.get(name);
    let found = resolve::resolve(&[name.to_owned()], file::NAME, &[], |name| {
        let file = home(name).and_then(|dir| layer_file(dir));
        let layers = file.map(|file| file.layers).unwrap_or_default();
        Ok(Some(resolve::Found {
            name: name.to_owned(),
            layers: layers
                .into_iter()
                .filter(|name| home(name).is_some())
                .collect(),
            place: String::new(),
            layer: (),
        }))
    });
    let problems = found.err().unwrap_or_default().into_iter();
    let file = home(name)
        .map(|dir| dir.join(file::NAME))
        .unwrap_or_default();
    problems
        .map(|problem| problem.in_file(&file).at_key("layer.layers"))
        .collect()
}

/// The files of a layer that count, sorted; nothing is told.
pub(super) fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    walk(dir, dir, 0, &mut files);
    files
}

/// The named schemas of a directory, right or not.
pub(super) fn collect_schemas(dir: &Path, schemas: &mut Schemas) {
    let files = files(dir);
    for path in with_extension(&files, "schema") {
        let named = Source::read(path)
            .ok()
            .and_then(|source| schemas::check(&source, &mut Findings::default()));
        if let Some((name, document)) = named {
            schemas.entry(name).or_insert((path.clone(), document));
        }
    }
}

fn with_extension<'a>(files: &'a [PathBuf], extension: &str) -> impl Iterator<Item = &'a PathBuf> {
    let is_it = move |path: &&PathBuf| path.extension().is_some_and(|found| found == extension);
    files.iter().filter(is_it)
}

/// The files of a layer, sorted, without git's own, examples and what is expected of them. Links count
/// if they stay in the layer, as they do where it is copied.
fn walk(root: &Path, dir: &Path, depth: usize, files: &mut Vec<PathBuf>) {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let name = path.file_name().unwrap_or_default();
        let is_aside = depth == 0 && (name == "example" || name == "expected");
        if name == ".git" || is_aside {
            continue;
        }
        let is_link = path.is_symlink();
        if path.is_dir() && !is_link {
            if depth < MAX_DEPTH {
                walk(root, &path, depth + 1, files);
            }
        } else if path.is_file() && (!is_link || stays(root, &path)) {
            files.push(path);
        }
    }
}

/// Whether a link leads to something in the layer.
fn stays(root: &Path, link: &Path) -> bool {
    let both = (std::fs::canonicalize(root), std::fs::canonicalize(link));
    matches!(both, (Ok(root), Ok(target)) if target.starts_with(&root))
}
