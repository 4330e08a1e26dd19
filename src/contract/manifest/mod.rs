//! The contract file `asyncy.yml`: what a container can be called with, which variables it needs, what
//! runs before and after it, and what it asks of its surroundings. Parsed once here, and used inside by
//! `disco` and outside by `cake` and `host`; nothing here looks at the machine.
//!
//! Real files go beyond the documentation: null bodies, maps in place of lists, a top-level
//! `entrypoint`, comma unions, patterns in JavaScript's delimiters, keys of other programs. All of
//! that is taken; unknown keys are warnings. Numbers such as A-13 are those of the list in which the
//! format's ambiguities are resolved.
//!
//! [`command`] and [`mod@format`] declare calls, [`bind`] holds a call to them, [`usage`] describes them;
//! [`environment`], [`lifecycle`] and [`resources`] are the other parts, [`shape`] is what values may
//! be, and [`schema`] describes the file itself for editors.

pub mod bind;
pub mod command;
pub mod environment;
pub mod format;
pub mod lifecycle;
pub mod resources;
pub mod schema;
pub mod shape;
pub mod usage;

use std::path::{Path, PathBuf};

use serde_json::Value;

use self::command::{Commands, read_help, unknown_keys};
use self::environment::Environment;
use self::lifecycle::Lifecycle;
use self::resources::{Port, Scale, Stream, System, Volume};
use super::capability::List;
use super::health::Probe;
use super::problem::Problem;
use super::report::{Node, Report};
use super::text::{self, Format, Snippet, Step};

/// What a container's contract says.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Manifest {
    /// The file, and its text, by which problems of a call are placed.
    pub file: PathBuf,
    /// The text of the file.
    pub source: String,
    /// What the container is.
    pub help: Option<String>,
    /// What it can be called with; `None` checks nothing.
    pub commands: Option<Commands>,
    /// The variables that it needs; `None` filters nothing.
    pub environment: Option<Environment>,
    /// What runs before and after the command.
    pub lifecycle: Lifecycle,
    /// The capabilities that it keeps; `None` leaves them alone.
    pub capabilities: Option<List>,
    /// What it asks of the machine.
    pub system: System,
    /// What is to be mounted.
    pub volumes: Vec<Volume>,
    /// What it listens on.
    pub ports: Vec<Port>,
    /// How it is told to be well.
    pub health: Option<Probe>,
    /// How many of it there are to be; nothing inside the container looks at this.
    pub scale: Option<Scale>,
    /// What its logs are written into.
    pub logs: Option<Stream>,
    /// What its metrics are written into.
    pub metrics: Option<Stream>,
}

/// The keys that say something to us.
pub(super) const KEYS: &[&str] = &[
    "help",
    "commands",
    "entrypoint",
    "env",
    "env_passthrough",
    "env_case",
    "lifecycle",
    "cap",
    "system",
    "volumes",
    "ports",
    "scale",
    "health",
    "logs",
    "metrics",
];

/// Other names of these, and keys of files that are at the same time something else's: the
/// application's own, the hub's.
const TOLERATED: &[&str] = &[
    "environment",
    "volume",
    "name",
    "app_name",
    "description",
    "version",
    "stories",
    "tags",
    "homepage",
    "license",
    "author",
    "info",
];

/// Keys of the later Open Microservice format that mean calls by other ways than arguments.
const FOREIGN: &[&str] = &["oms", "omg", "actions", "events", "forward"];

/// A contract and what is odd about its file but no error.
#[derive(Debug)]
pub struct Parsed {
    /// The contract.
    pub manifest: Manifest,
    /// Most likely mistakes: a start takes them with a warning, a check does not.
    pub doubts: Vec<Problem>,
    /// Worth a warning.
    pub warnings: Vec<Problem>,
}

/// What is wrong with a file that is no contract.
#[derive(Debug)]
pub struct Rejected {
    /// Never empty.
    pub problems: Vec<Problem>,
    /// What is odd apart from that, doubts included.
    pub warnings: Vec<Problem>,
}

/// Parses a contract file. An empty one declares nothing.
///
/// # Errors
/// Every problem in it, with line and key.
pub fn parse(file: &Path, bytes: &[u8]) -> Result<Parsed, Rejected> {
    let format = Format::of(file).unwrap_or(Format::Yaml);
    let document =
        text::parse(bytes, Some(format), Snippet::Shown).map_err(|problem| Rejected {
            problems: vec![problem.in_file(file)],
            warnings: Vec::new(),
        })?;
    let source = std::str::from_utf8(bytes).unwrap_or_default();
    let mut report = Report::new(file, source);
    for note in document.notes {
        report.warnings.push(Problem::new(note).in_file(file));
    }
    let mut manifest = read(&document.value, &mut report);
    let Report {
        mut problems,
        mut doubts,
        mut warnings,
        ..
    } = report;
    for list in [&mut problems, &mut doubts, &mut warnings] {
        list.sort_by_key(|problem| problem.position);
    }
    if problems.is_empty() {
        manifest.file = file.to_owned();
        manifest.source = source.to_owned();
        Ok(Parsed {
            manifest,
            doubts,
            warnings,
        })
    } else {
        warnings.extend(doubts);
        Err(Rejected { problems, warnings })
    }
}

/// What makes a file of one of the later names no contract of ours: it describes calls by HTTP or
/// events. The names of the keys that say so; none where it fits.
#[must_use]
pub fn foreign_keys(bytes: &[u8]) -> Vec<&'static str> {
    let document = text::parse(bytes, Some(Format::Yaml), Snippet::Shown);
    let tree = document.map(|document| document.value).unwrap_or_default();
    FOREIGN
        .iter()
        .copied()
        .filter(|key| tree.get(*key).is_some())
        .collect()
}

fn read(tree: &Value, report: &mut Report<'_>) -> Manifest {
    let root = Node::root(tree);
    match tree {
        Value::Null => return Manifest::default(),
        Value::Object(_) => {}
        _ => {
            report.refuse(
                &root.path,
                "expected a map with keys such as `commands`, `env` and `lifecycle`",
            );
            return Manifest::default();
        }
    }
    for key in FOREIGN {
        if let Some(node) = root.get(key) {
            report.warn(
                &node.path,
                "is of the Open Microservice format and not enforced; arguments are declared under `commands`",
            );
        }
    }
    let known = |key: &str| {
        [KEYS, TOLERATED, FOREIGN]
            .iter()
            .any(|keys| keys.contains(&key))
            || key.starts_with("x-")
    };
    unknown_keys(&root, known, KEYS, report);
    Manifest {
        file: PathBuf::new(),
        source: String::new(),
        help: read_help(&root, report),
        commands: Commands::read(&root, report),
        environment: Environment::read(&root, report),
        lifecycle: Lifecycle::read(&root, report),
        capabilities: resources::read_capabilities(&root, report),
        system: System::read(&root, report),
        volumes: resources::read_volumes(&root, report),
        ports: resources::read_ports(&root, report),
        health: read_health(&root, report),
        scale: Scale::read(&root, report),
        logs: resources::read_stream(&root, "logs", report),
        metrics: resources::read_stream(&root, "metrics", report),
    }
}

fn read_health(root: &Node<'_>, report: &mut Report<'_>) -> Option<Probe> {
    let node = root.given("health")?;
    match Probe::from_value(node.value) {
        Ok(probe) => Some(probe),
        Err((key, message)) => {
            let below = key.split('.').filter(|part| !part.is_empty());
            let path: Vec<_> = node
                .path
                .iter()
                .copied()
                .chain(below.map(Step::Key))
                .collect();
            report.refuse(&path, message);
            None
        }
    }
}

#[cfg(test)]
mod tests;
