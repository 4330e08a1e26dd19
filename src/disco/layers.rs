//! The schemas and rules under `disco.path`, loaded once and checked as a whole; and where handlers
//! are found. Reads files, runs nothing.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};
use serde_json::Value;

use crate::contract::problem::Problem;
use crate::contract::rule::{self, Rule};
use crate::contract::schema::Schema;
use crate::contract::text::{self, Format, Snippet, Step};
use crate::contract::{suggest, tree};

/// Directories nested deeper than this are a mistake, or a loop that the filesystem permits.
const MAX_DEPTH: usize = 16;

/// Everything that the layers of an image say.
#[derive(Debug, Default)]
pub struct Layers {
    /// In order of directory, then sorted path, then place in the file.
    pub rules: Vec<Rule>,
    /// By interface name. Only good ones: a broken schema that a rule needs is a problem.
    pub schemas: BTreeMap<String, Schema>,
}

/// What loading found wrong.
#[derive(Debug, Default)]
pub struct Findings {
    /// These prevent a start.
    pub problems: Vec<Problem>,
    /// These do not.
    pub warnings: Vec<Problem>,
}

impl Layers {
    /// The schema for an interface: of its own name, or for a dotted one of the part before the
    /// first dot (conformance 19).
    #[must_use]
    pub fn schema(&self, interface: &str) -> Option<&Schema> {
        let head = tree::head(interface);
        self.schemas
            .get(interface)
            .or_else(|| self.schemas.get(head))
    }
}

/// Whether there is any rules file, without reading one: no rules, no agent.
#[must_use]
pub fn has_rules(path: &[PathBuf]) -> bool {
    path.iter().any(|dir| !files(dir, "rules").is_empty())
}

/// Loads all rules and schemas.
#[must_use]
pub fn load(path: &[PathBuf]) -> (Layers, Findings) {
    let mut layers = Layers::default();
    let mut findings = Findings::default();
    for dir in path {
        match std::fs::metadata(dir) {
            Ok(meta) if meta.is_dir() => {}
            Ok(_) => findings
                .warnings
                .push(Problem::new("on `disco.path` is no directory").in_file(dir)),
            Err(error) => {
                let stray = Path::new(".") != dir
                    && !files(Path::new("."), "rules").is_empty()
                    && path.len() == 1;
                let hint = if stray {
                    "; the working directory has rules: set `disco.path=.` to use them"
                } else {
                    ""
                };
                let message = format!("on `disco.path` cannot be read: {error}{hint}");
                findings.warnings.push(Problem::new(message).in_file(dir));
            }
        }
        for file in files(dir, "rules") {
            match std::fs::read(&file)
                .map_err(|error| vec![unreadable(&file, &error)])
                .and_then(|bytes| rule::parse(&file, &bytes))
            {
                Ok(parsed) => {
                    layers.rules.extend(parsed.rules);
                    findings.warnings.extend(parsed.warnings);
                }
                Err(problems) => findings.problems.extend(problems),
            }
        }
    }
    let documents = schemas(path, &mut findings);
    let mut broken: BTreeMap<String, Vec<Problem>> = BTreeMap::new();
    for (name, (file, document)) in documents {
        match Schema::compile(&document) {
            Ok(schema) => {
                if schema.is_legacy {
                    let message = "is valid by draft 4 only, and is read as such; name a draft with `$schema`";
                    findings.warnings.push(Problem::new(message).in_file(file));
                }
                layers.schemas.insert(name, schema);
            }
            Err(message) => broken
                .entry(name)
                .or_default()
                .push(Problem::new(message).in_file(file)),
        }
    }
    check_interfaces(&layers, &mut broken, &mut findings);
    // Nobody needs the rest of them.
    findings.warnings.extend(broken.into_values().flatten());
    (layers, findings)
}

/// Every interface a rule names must have a schema; for `any`, one of them must.
fn check_interfaces(
    layers: &Layers,
    broken: &mut BTreeMap<String, Vec<Problem>>,
    findings: &mut Findings,
) {
    for rule in &layers.rules {
        let missing: Vec<&String> = rule
            .when
            .iter()
            .filter(|name| layers.schema(name).is_none())
            .collect();
        let enough = rule.op == rule::Op::Any && missing.len() < rule.when.len();
        for name in missing {
            let own = broken
                .remove(name.as_str())
                .or_else(|| broken.remove(tree::head(name)));
            if let Some(problems) = own {
                let list = if enough {
                    &mut findings.warnings
                } else {
                    &mut findings.problems
                };
                list.extend(problems);
                continue;
            }
            let hint = suggest::hint(name, layers.schemas.keys().map(String::as_str));
            let message = format!(
                "no schema is named `{name}`{hint}; expected a file with `name: {}` and the extension .schema on `disco.path`",
                tree::head(name)
            );
            let source = std::fs::read_to_string(&rule.file).unwrap_or_default();
            let nested = [
                Step::Key("rules"),
                Step::Index(rule.index),
                Step::Key("rule"),
                Step::Key("when"),
            ];
            let bare = [
                Step::Key("rules"),
                Step::Index(rule.index),
                Step::Key("when"),
            ];
            let position = text::locate(&source, &nested).or_else(|| text::locate(&source, &bare));
            let problem = Problem::new(message)
                .in_file(&rule.file)
                .at(position)
                .at_key(format!("rules[{}].rule.when", rule.index));
            if enough {
                findings.warnings.push(problem);
            } else if !findings.problems.contains(&problem) {
                findings.problems.push(problem);
            }
        }
    }
}

/// Schema documents by name, files of one name merged in order (conformance 16).
fn schemas(path: &[PathBuf], findings: &mut Findings) -> BTreeMap<String, (PathBuf, Value)> {
    let mut documents: BTreeMap<String, (PathBuf, Value)> = BTreeMap::new();
    for file in path.iter().flat_map(|dir| files(dir, "schema")) {
        // What cannot be read has no name, so that no rule can be known to need it; a rule that
        // does will be told that its schema is missing, next to this.
        let document = std::fs::read(&file)
            .map_err(|error| unreadable(&file, &error))
            .and_then(|bytes| {
                let format = Format::of(&file);
                text::parse(&bytes, format, Snippet::Shown)
                    .map_err(|problem| problem.in_file(&file))
            });
        let document = match document {
            Ok(document) => document.value,
            Err(problem) => {
                findings.warnings.push(problem);
                continue;
            }
        };
        match document
            .get("name")
            .and_then(Value::as_str)
            .map(str::to_owned)
        {
            Some(name) => match documents.get_mut(&name) {
                Some((_, base)) => tree::merge(base, document),
                None => {
                    documents.insert(name, (file, document));
                }
            },
            None => findings.warnings.push(
                Problem::new(
                    "has no `name`; expected the name of its interface, such as `name: mysql`",
                )
                .in_file(file),
            ),
        }
    }
    documents
}

fn unreadable(file: &Path, error: &std::io::Error) -> Problem {
    Problem::new(format!("cannot be read: {error}")).in_file(file)
}

/// Files below a directory with an extension, sorted. Hidden directories count; names that start
/// with `..` do not, since there a ConfigMap keeps the same files again; linked files count, linked
/// directories do not (conformance 13).
fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    fn walk(dir: &Path, extension: &OsStr, depth: usize, found: &mut Vec<PathBuf>) {
        let Ok(entries) = std::fs::read_dir(dir) else {
            return;
        };
        for entry in entries.flatten() {
            let Ok(kind) = entry.file_type() else {
                continue;
            };
            if entry.file_name().as_bytes().starts_with(b"..") {
                continue;
            }
            let path = entry.path();
            if kind.is_dir() {
                if depth < MAX_DEPTH {
                    walk(&path, extension, depth + 1, found);
                }
            } else if path.extension() == Some(extension) && path.is_file() {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(dir, OsStr::new(extension), 0, &mut found);
    found.sort();
    found
}

/// Why a handler cannot be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoHandler {
    /// It is nowhere.
    NotFound,
    /// It is there, but may not be executed.
    NotExecutable(PathBuf),
}

/// Finds a handler: on `disco.path`, next to the rules file, on PATH. A name with a slash is
/// relative to the working directory, or else to the rules file.
///
/// # Errors
/// See [`NoHandler`].
pub fn find_handler(rule: &Rule, path: &[PathBuf], search: &OsStr) -> Result<PathBuf, NoHandler> {
    let name = rule.handler.first().map(String::as_str).unwrap_or_default();
    let beside = rule.file.parent().unwrap_or(Path::new("")).join(name);
    let candidates: Vec<PathBuf> = if name.contains('/') {
        vec![PathBuf::from(name), beside]
    } else {
        let own = path.iter().map(|dir| dir.join(name));
        let system = std::env::split_paths(search).map(|dir| dir.join(name));
        own.chain([beside]).chain(system).collect()
    };
    let mut outcome = NoHandler::NotFound;
    for candidate in candidates {
        if !candidate.is_file() {
            continue;
        }
        if access(&candidate, AccessFlags::X_OK).is_ok() {
            return Ok(candidate);
        }
        if outcome == NoHandler::NotFound {
            outcome = NoHandler::NotExecutable(candidate);
        }
    }
    Err(outcome)
}

/// The message for a handler that cannot be run; the first phrase is the original's.
#[must_use]
pub fn no_handler(rule: &Rule, why: &NoHandler, path: &OsStr) -> String {
    let name = rule.handler.first().map(String::as_str).unwrap_or_default();
    match why {
        NoHandler::NotFound => {
            let hint = match name.split_once(' ') {
                Some((program, _)) => format!("; to pass arguments write `do: [{program}, …]`"),
                None => String::new(),
            };
            format!(
                "Handler: {name} not on path: {}{hint}",
                path.to_string_lossy()
            )
        }
        NoHandler::NotExecutable(file) => {
            format!(
                "Handler: {name} is not executable: run `chmod +x {}`",
                file.display()
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const SCHEMA: &str = "name: db\ntype: object\n";

    fn dir(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        dir
    }

    fn loaded(files: &[(&str, &str)]) -> (Layers, Vec<String>, Vec<String>) {
        let dir = dir(files);
        let (layers, findings) = load(&[dir.path().to_owned()]);
        let strings = |list: Vec<Problem>| list.iter().map(ToString::to_string).collect();
        (
            layers,
            strings(findings.problems),
            strings(findings.warnings),
        )
    }

    #[test]
    fn c13_files_are_found_recursively_sorted_and_once() {
        let dir = dir(&[
            ("b.rules", ""),
            (".hidden/a.rules", ""),
            ("..2026/c.rules", ""),
            ("deep/er/d.rules", ""),
            ("x.rules/not-a-file", ""),
        ]);
        std::os::unix::fs::symlink("..2026", dir.path().join("..data")).unwrap();
        std::os::unix::fs::symlink("..data/c.rules", dir.path().join("c.rules")).unwrap();
        std::os::unix::fs::symlink("deep", dir.path().join("linked")).unwrap();
        let names: Vec<_> = files(dir.path(), "rules")
            .iter()
            .map(|p| p.strip_prefix(dir.path()).unwrap().display().to_string())
            .collect();
        assert_eq!(
            names,
            [".hidden/a.rules", "b.rules", "c.rules", "deep/er/d.rules"]
        );
    }

    #[test]
    fn a_rule_needs_a_schema_with_a_suggestion_and_a_line() {
        let rules = "rules:\n  - rule:\n      do: h\n      when: [db, dbb]\n";
        let (_, problems, _) = loaded(&[("a.rules", rules), ("a.schema", SCHEMA)]);
        assert!(
            problems[0].contains("a.rules:4:13: ") || problems[0].contains("a.rules:4:"),
            "{problems:?}"
        );
        assert!(problems[0].contains("did you mean `db`?"), "{problems:?}");
        let (_, problems, warnings) = loaded(&[
            ("a.rules", "rules: [{op: any, when: [db, no], do: h}]"),
            ("a.schema", SCHEMA),
        ]);
        assert!(
            problems.is_empty() && warnings.len() == 1,
            "{problems:?} {warnings:?}"
        );
    }

    #[test]
    fn c17_a_broken_schema_counts_only_where_it_is_needed() {
        let broken = "name: bad\ntype: nonsense\n";
        let (_, problems, warnings) = loaded(&[("a.schema", broken), ("b.schema", "[")]);
        assert!(
            problems.is_empty() && warnings.len() == 2,
            "{problems:?} {warnings:?}"
        );
        let (_, problems, _) = loaded(&[
            ("a.schema", broken),
            ("a.rules", "rules: [{when: bad, do: h}]"),
        ]);
        assert!(problems[0].contains("no valid JSON Schema"), "{problems:?}");
    }

    #[test]
    fn c16_schemas_of_one_name_merge_and_c19_dotted_interfaces_use_the_head() {
        let more = "name: db\nrequired: [host]\n";
        let (layers, problems, _) = loaded(&[
            ("a.schema", SCHEMA),
            ("b.schema", more),
            ("a.rules", "rules: [{when: db.master, do: h}]"),
        ]);
        assert!(problems.is_empty(), "{problems:?}");
        let schema = layers.schema("db.master").unwrap();
        assert!(schema.check(&serde_json::json!({}), |_| false).is_err());
    }

    #[test]
    fn handlers_are_found_in_order_and_must_be_executable() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = dir(&[
            (
                "sub/a.rules",
                "rules: [{when: [], do: h}, {when: [], do: sh}, {when: [], do: none}]",
            ),
            ("sub/h", ""),
        ]);
        let path = [dir.path().to_owned()];
        let (layers, _) = load(&path);
        let find =
            |index: usize| find_handler(&layers.rules[index], &path, OsStr::new("/usr/bin:/bin"));
        let beside = dir.path().join("sub/h");
        assert_eq!(find(0), Err(NoHandler::NotExecutable(beside.clone())));
        fs::set_permissions(&beside, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(find(0), Ok(beside));
        assert!(find(1).unwrap().ends_with("bin/sh"));
        assert_eq!(find(2), Err(NoHandler::NotFound));
    }
}
