//! The schemas and rules under `disco.path`, loaded once and checked as a whole; and where handlers
//! are found. Reads files, runs nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::unistd::{AccessFlags, access};
use serde_json::Value;

use crate::contract::problem::Problem;
use crate::contract::render::{Output, Template};
use crate::contract::rule::{self, Action, Rule};
use crate::contract::schema::Schema;
use crate::contract::text::{self, Format, Snippet, Step};
use crate::contract::{suggest, tree};
use crate::disco::textfile;

/// Directories nested deeper than this are a mistake, or a loop that the filesystem permits.
const MAX_DEPTH: usize = 16;

/// Everything that the layers of an image say.
#[derive(Debug, Default)]
pub struct Layers {
    /// In order of directory, then sorted path, then place in the file.
    pub rules: Vec<Rule>,
    /// The templates of each rule, in the order of its outputs; none for a rule with a handler.
    pub templates: Vec<Vec<Arc<Template>>>,
    /// By interface name. Only good ones: a broken schema that a rule needs is a problem.
    pub schemas: BTreeMap<String, Schema>,
}

/// What loading found wrong.
#[derive(Debug, Default)]
pub struct Findings {
    /// These prevent a start.
    pub problems: Vec<Problem>,
    /// These are most likely mistakes: warnings at a start, as the original took them without a
    /// word, and problems for `--check`.
    pub doubts: Vec<Problem>,
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
    // What cannot be read may hold rules: the agent will say so.
    let holds = |dir: &PathBuf| files(dir, "rules").map_or(true, |found| !found.is_empty());
    path.iter().filter(|dir| dir.exists()).any(holds)
}

/// The complaint about a path without rules: nothing waits for a source, and nothing is done with it.
#[must_use]
pub fn no_rules(path: &[PathBuf]) -> Problem {
    let message = format!(
        "holds no *.rules file ({}): nothing will be configured, and no source is waited for",
        super::settings::join_path(path).display()
    );
    Problem::new(message).at_key("disco.path")
}

/// Loads all rules and schemas.
#[must_use]
pub fn load(path: &[PathBuf]) -> (Layers, Findings) {
    let mut layers = Layers::default();
    let mut findings = Findings::default();
    for dir in path {
        match std::fs::metadata(dir) {
            Ok(meta) if meta.is_dir() => {}
            Ok(_) => {
                let problem = Problem::new("on `disco.path` is no directory");
                findings.doubts.push(problem.in_file(dir));
                continue;
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let hint = match has_stray_rules(dir) {
                    true => "; the working directory has rules: set `disco.path=.` to use them",
                    false => "",
                };
                let message = format!("on `disco.path` does not exist{hint}");
                findings.doubts.push(Problem::new(message).in_file(dir));
                continue;
            }
            Err(error) => {
                findings.problems.push(unreadable(dir, &error));
                continue;
            }
        }
        let found = files(dir, "rules").unwrap_or_else(|problem| {
            findings.problems.push(problem);
            Vec::new()
        });
        for file in found {
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
    check_interfaces(&layers, broken, &mut findings);
    layers.templates = templates(&layers.rules, &mut findings);
    (layers, findings)
}

/// Compiles the templates of all rules.
fn templates(rules: &[Rule], findings: &mut Findings) -> Vec<Vec<Arc<Template>>> {
    let mut compile = |rule: &Rule, output: &Output| {
        let template = match output.compile(&rule.file, &textfile::read) {
            Ok(template) => template,
            Err(problems) => {
                findings.problems.extend(problems);
                return None;
            }
        };
        let is_given = |name: &&String| rule.when.iter().any(|when| tree::head(when) == *name);
        for name in template.names().iter().filter(|name| !is_given(name)) {
            let hint = suggest::hint(name, rule.when.iter().map(|when| tree::head(when)));
            let message = format!(
                "uses `{name}`, which is none of the interfaces in `when`, and so never defined{hint}"
            );
            findings.doubts.push(output.said.problem(message));
        }
        Some(Arc::new(template))
    };
    let of_rule = |rule: &Rule| match &rule.action {
        Action::Run(_) => Vec::new(),
        Action::Render(outputs) => {
            let compiled = outputs.iter().filter_map(|output| compile(rule, output));
            compiled.collect()
        }
    };
    rules.iter().map(of_rule).collect()
}

/// Every interface a rule names must have a schema; for `any`, one of them must. A broken schema is
/// a problem where it is needed, and a warning elsewhere.
fn check_interfaces(
    layers: &Layers,
    broken: BTreeMap<String, Vec<Problem>>,
    findings: &mut Findings,
) {
    /// Finding the line of a key means parsing the file: for a file that is wrong throughout not
    /// each time.
    const LOCATED: usize = 50;
    let mut needed: BTreeSet<&str> = BTreeSet::new();
    let mut told: BTreeSet<(&Path, usize, &str)> = BTreeSet::new();
    let mut texts: BTreeMap<&Path, String> = BTreeMap::new();
    for rule in &layers.rules {
        let missing = rule
            .when
            .iter()
            .filter(|name| layers.schema(name).is_none());
        let missing: Vec<&String> = missing.collect();
        let enough = rule.op == rule::Op::Any && missing.len() < rule.when.len();
        for name in missing {
            let head = tree::head(name);
            if let Some(key) = [name.as_str(), head]
                .into_iter()
                .find(|key| broken.contains_key(*key))
            {
                if !enough {
                    needed.insert(key);
                }
                continue;
            }
            if !told.insert((&rule.file, rule.index, name)) {
                continue;
            }
            let hint = suggest::hint(name, layers.schemas.keys().map(String::as_str));
            let message = format!(
                "no schema is named `{name}`{hint}; expected a file with `name: {head}` and the extension .schema on `disco.path`"
            );
            let position = if told.len() > LOCATED {
                None
            } else {
                let text = texts
                    .entry(&rule.file)
                    .or_insert_with(|| std::fs::read_to_string(&rule.file).unwrap_or_default());
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
                text::locate(text, &nested).or_else(|| text::locate(text, &bare))
            };
            let problem = Problem::new(message)
                .in_file(&rule.file)
                .at(position)
                .at_key(format!("rules[{}].rule.when", rule.index));
            let list = if enough {
                &mut findings.warnings
            } else {
                &mut findings.problems
            };
            list.push(problem);
        }
    }
    for (name, problems) in &broken {
        let is_needed = needed.contains(name.as_str());
        let list = if is_needed {
            &mut findings.problems
        } else {
            &mut findings.warnings
        };
        list.extend(problems.iter().cloned());
    }
}

/// Schema documents by name, files of one name merged in order (conformance 16).
fn schemas(path: &[PathBuf], findings: &mut Findings) -> BTreeMap<String, (PathBuf, Value)> {
    let mut documents: BTreeMap<String, (PathBuf, Value)> = BTreeMap::new();
    // What cannot be listed has been told with the rules.
    let found = path
        .iter()
        .flat_map(|dir| files(dir, "schema").unwrap_or_default());
    for file in found {
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
                Some((first, base)) => {
                    let message = format!(
                        "is merged over {}, which is named `{name}` as well",
                        first.display()
                    );
                    findings.warnings.push(Problem::new(message).in_file(file));
                    tree::merge(base, document);
                }
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
///
/// # Errors
/// A directory that may not be read: what is in it must not be left out in silence.
fn files(dir: &Path, extension: &str) -> Result<Vec<PathBuf>, Problem> {
    fn walk(
        dir: &Path,
        extension: &OsStr,
        depth: usize,
        found: &mut Vec<PathBuf>,
    ) -> Result<(), Problem> {
        let entries = match std::fs::read_dir(dir) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(|error| unreadable(dir, &error))?,
        };
        for entry in entries {
            let entry = entry.map_err(|error| unreadable(dir, &error))?;
            let kind = entry.file_type().map_err(|error| unreadable(dir, &error))?;
            if entry.file_name().as_bytes().starts_with(b"..") {
                continue;
            }
            let path = entry.path();
            if kind.is_dir() {
                if depth < MAX_DEPTH {
                    walk(&path, extension, depth + 1, found)?;
                }
            } else if path.extension() == Some(extension) && path.is_file() {
                found.push(path);
            }
        }
        Ok(())
    }
    let mut found = Vec::new();
    walk(dir, OsStr::new(extension), 0, &mut found)?;
    found.sort();
    Ok(found)
}

/// Whether rules lie in the working directory, where the original looked if the default path was not
/// there (conformance 11).
fn has_stray_rules(dir: &Path) -> bool {
    let is_rules = |entry: std::fs::DirEntry| entry.path().extension() == Some(OsStr::new("rules"));
    let mut entries = std::fs::read_dir(".").into_iter().flatten().flatten();
    dir == Path::new(super::settings::DEFAULT_PATH) && entries.any(is_rules)
}

/// Why a handler cannot be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoHandler {
    /// It is nowhere.
    NotFound,
    /// It is there, but may not be executed.
    NotExecutable(PathBuf),
    /// It is a script for an interpreter that is not there: the script, and why, as a sentence's end.
    NoInterpreter(PathBuf, String),
}

/// The PATH of handlers: `disco.path`, then the container's own.
#[must_use]
pub fn search_path(path: &[PathBuf]) -> OsString {
    let mut search = super::settings::join_path(path);
    if let Some(container) = std::env::var_os("PATH").filter(|path| !path.is_empty()) {
        search.push(":");
        search.push(container);
    }
    search
}

/// Finds a handler of a rules file: on `disco.path`, next to the rules file, on PATH. A name with a
/// slash is relative to the working directory, or else to the rules file.
///
/// # Errors
/// See [`NoHandler`].
pub fn find_handler(
    rules: &Path,
    name: &str,
    path: &[PathBuf],
    search: &OsStr,
) -> Result<PathBuf, NoHandler> {
    let beside = rules.parent().unwrap_or(Path::new("")).join(name);
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
            return match missing_interpreter(&candidate) {
                Some(cause) => Err(NoHandler::NoInterpreter(candidate, cause)),
                None => Ok(candidate),
            };
        }
        if outcome == NoHandler::NotFound {
            outcome = NoHandler::NotExecutable(candidate);
        }
    }
    Err(outcome)
}

/// Why a script cannot be started although it may be: its interpreter is not there.
#[must_use]
pub fn missing_interpreter(script: &Path) -> Option<String> {
    let name = interpreter(script)?;
    if Path::new(&name).exists() {
        return None;
    }
    Some(match name.strip_suffix('\r') {
        Some(_) => {
            "its first line ends with a carriage return; save it with Unix line ends".to_owned()
        }
        None => format!("`{name}`, the interpreter in its first line, is not in this image"),
    })
}

/// The interpreter that the first line of a script names.
fn interpreter(script: &Path) -> Option<String> {
    // As much as the kernel reads.
    let mut head = [0; 256];
    let count = std::io::Read::read(&mut std::fs::File::open(script).ok()?, &mut head).ok()?;
    let line = head
        .get(..count)?
        .strip_prefix(b"#!")?
        .split(|byte| *byte == b'\n')
        .next()?;
    let line = std::str::from_utf8(line).ok()?;
    line.trim_matches([' ', '\t'])
        .split([' ', '\t'])
        .next()
        .map(str::to_owned)
}

/// The message for a handler that cannot be run; the first phrase is the original's.
#[must_use]
pub fn no_handler(name: &str, why: &NoHandler, path: &[PathBuf]) -> String {
    match why {
        NoHandler::NotFound if name.contains('/') => format!("Handler: {name} does not exist"),
        NoHandler::NotFound => {
            let hint = match name.split_once(' ') {
                Some((program, _)) => format!("; to pass arguments write `do: [{program}, …]`"),
                None => String::new(),
            };
            format!(
                "Handler: {name} not on path: {}{hint}",
                super::settings::join_path(path).display()
            )
        }
        NoHandler::NoInterpreter(file, cause) => {
            let file = file.display();
            format!("Handler: {name} cannot be started: {file}: {cause}")
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
            .unwrap()
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
        let find = |index: usize| {
            let rule = &layers.rules[index];
            let name = rule.programs().next().unwrap();
            find_handler(&rule.file, name, &path, OsStr::new("/usr/bin:/bin"))
        };
        let beside = dir.path().join("sub/h");
        assert_eq!(find(0), Err(NoHandler::NotExecutable(beside.clone())));
        fs::set_permissions(&beside, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(find(0), Ok(beside));
        assert!(find(1).unwrap().ends_with("bin/sh"));
        assert_eq!(find(2), Err(NoHandler::NotFound));
    }
}
