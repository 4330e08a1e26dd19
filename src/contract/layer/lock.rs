//! `cake.lock`: what exactly was taken, so that it can be taken again. It is written in one way only,
//! so that a file that says the same is the same file. It holds no password and no path of a machine.

use std::path::Path;

use super::super::report::{Node, Report};
use super::super::text::Step;
use super::conf::plain_path;
use super::{Read, check_name, digest, outcome, read, repo, text_at, texts_at, warn_unknown};
use crate::contract::problem::Problem;

/// Its name in a project.
pub const NAME: &str = "cake.lock";

const HEADER: &str = "# Written by cake; keep it in version control. `cake update` renews it.\n";
const KEYS: [&str; 4] = ["format", "index", "disco", "layers"];
const LAYER_KEYS: [&str; 9] = [
    "name", "source", "path", "url", "rev", "commit", "subpath", "sha256", "layers",
];

/// A commit of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// As [`repo::shown`] has it.
    pub url: String,
    /// The branch or tag that was followed; `None` is the default branch.
    pub rev: Option<String>,
    /// 40 hex digits.
    pub commit: String,
    /// The directory of the layer; `None` is the top.
    pub subpath: Option<String>,
}

/// Where a layer came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A directory, as the project names it.
    Path(String),
    /// A directory below one of `CAKE_PATH`.
    CakePath,
    /// `.cake/layers`, and nothing says how it got there.
    Vendored,
    /// cake itself.
    Embedded,
    /// A repository that the project names.
    Git(Pin),
    /// A repository that the index names.
    Index(Pin),
}

impl Source {
    /// The commit, where there is one.
    #[must_use]
    pub fn pin(&self) -> Option<&Pin> {
        match self {
            Self::Git(pin) | Self::Index(pin) => Some(pin),
            _ => None,
        }
    }

    fn word(&self) -> &'static str {
        match self {
            Self::Path(_) => "path",
            Self::CakePath => "cake-path",
            Self::Vendored => "vendored",
            Self::Embedded => "embedded",
            Self::Git(_) => "git",
            Self::Index(_) => "index",
        }
    }

    /// As messages name it, commit aside.
    fn place(&self) -> String {
        match self {
            Self::Path(path) => format!("path {}", plain_path(path)),
            Self::CakePath => "CAKE_PATH".to_owned(),
            Self::Vendored => ".cake/layers".to_owned(),
            Self::Embedded => "cake itself".to_owned(),
            Self::Git(pin) | Self::Index(pin) => {
                let rev = pin.rev.as_ref().map(|rev| format!(" at {rev}"));
                let subpath = pin.subpath.as_ref().map(|path| format!(" in {path}"));
                format!(
                    "{} {}{}{}",
                    self.word(),
                    pin.url,
                    rev.unwrap_or_default(),
                    subpath.unwrap_or_default()
                )
            }
        }
    }
}

/// A layer that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Locked {
    /// See [`check_name`].
    pub name: String,
    /// Where from.
    pub source: Source,
    /// See [`digest::tree`].
    pub sha256: String,
    /// What it needs, in the order of its file.
    pub layers: Vec<String>,
}

/// The disco that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disco {
    /// What it calls itself.
    pub version: String,
    /// Of the binary.
    pub sha256: String,
}

/// A `cake.lock`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lock {
    /// The index that was asked, as [`repo::shown`] has it; only if a layer came from it.
    pub index: Option<String>,
    /// The disco that goes into the image, if that was settled.
    pub disco: Option<Disco>,
    /// In the order of installation.
    pub layers: Vec<Locked>,
}

impl Lock {
    /// The entry of a layer.
    #[must_use]
    pub fn layer(&self, name: &str) -> Option<&Locked> {
        self.layers.iter().find(|layer| layer.name == name)
    }

    /// The file.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!("{HEADER}format: 1\n");
        let mut line = |indent: &str, key: &str, value: &str| {
            text.push_str(&[indent, key, ": ", &quoted(value), "\n"].concat());
        };
        if let Some(index) = &self.index {
            line("", "index", index);
        }
        if let Some(disco) = &self.disco {
            line("disco:\n  ", "version", &disco.version);
            line("  ", "sha256", &disco.sha256);
        }
        if self.layers.is_empty() {
            text.push_str("layers: []\n");
            return text;
        }
        text.push_str("layers:\n");
        for layer in &self.layers {
            let mut line = |indent: &str, key: &str, value: &str| {
                text.push_str(&[indent, key, ": ", &quoted(value), "\n"].concat());
            };
            line("  - ", "name", &layer.name);
            line("    ", "source", layer.source.word());
            if let Source::Path(path) = &layer.source {
                line("    ", "path", path);
            }
            if let Some(pin) = layer.source.pin() {
                line("    ", "url", &pin.url);
                if let Some(rev) = &pin.rev {
                    line("    ", "rev", rev);
                }
                line("    ", "commit", &pin.commit);
                if let Some(subpath) = &pin.subpath {
                    line("    ", "subpath", subpath);
                }
            }
            line("    ", "sha256", &layer.sha256);
            if !layer.layers.is_empty() {
                let names: Vec<String> = layer.layers.iter().map(|name| quoted(name)).collect();
                text.push_str(&["    layers: [", &names.join(", "), "]\n"].concat());
            }
        }
        text
    }

    /// What is no longer as this lock has it, a sentence for each thing; none if all of it is. The disco
    /// counts where both name one.
    #[must_use]
    pub fn drift(&self, now: &Self) -> Vec<String> {
        let mut drift = Vec::new();
        for layer in &now.layers {
            let name = &layer.name;
            let Some(locked) = self.layer(name) else {
                drift.push(format!("layer `{name}` is not in the lock"));
                continue;
            };
            let (was, is) = (locked.source.place(), layer.source.place());
            if was != is {
                drift.push(format!("layer `{name}` came from {was}, and now from {is}"));
            }
            match (locked.source.pin(), layer.source.pin()) {
                (Some(was), Some(is)) if was.commit != is.commit => drift.push(format!(
                    "layer `{name}` was at commit {}, and is now at {}",
                    short(&was.commit),
                    short(&is.commit)
                )),
                _ => {}
            }
            if locked.sha256 != layer.sha256 {
                drift.push(format!(
                    "the files of layer `{name}` have changed (sha256 {} was locked, {} is there)",
                    short(&locked.sha256),
                    short(&layer.sha256)
                ));
            }
            if locked.layers != layer.layers {
                let list = |layers: &[String]| match layers.is_empty() {
                    true => "nothing".to_owned(),
                    false => layers.join(", "),
                };
                drift.push(format!(
                    "layer `{name}` needed {}, and now {}",
                    list(&locked.layers),
                    list(&layer.layers)
                ));
            }
        }
        for locked in &self.layers {
            if now.layer(&locked.name).is_none() {
                drift.push(format!("layer `{}` is no longer needed", locked.name));
            }
        }
        let names = |lock: &Self| -> Vec<String> {
            lock.layers.iter().map(|layer| layer.name.clone()).collect()
        };
        let (was, is) = (names(self), names(now));
        if was != is && drift.is_empty() {
            drift.push(format!(
                "the order was {}, and is now {}",
                was.join(", "),
                is.join(", ")
            ));
        }
        if let (Some(was), Some(is)) = (&self.disco, &now.disco)
            && was != is
        {
            drift.push(format!(
                "disco was {} (sha256 {}), and is now {} ({})",
                was.version,
                short(&was.sha256),
                is.version,
                short(&is.sha256)
            ));
        }
        if self.index != now.index && drift.is_empty() {
            let name = |lock: &Self| lock.index.clone().unwrap_or_else(|| "none".to_owned());
            drift.push(format!(
                "the index was {}, and is now {}",
                name(self),
                name(now)
            ));
        }
        drift
    }
}

/// Enough of a digest for people.
fn short(hex: &str) -> &str {
    hex.get(..12).unwrap_or(hex)
}

/// A scalar of YAML that every reader takes for a text.
fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '/' | '.');
    let is_word = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(is_plain)
        && !matches!(
            text.to_ascii_lowercase().as_str(),
            "null" | "true" | "false" | "yes" | "no" | "on" | "off" | "y" | "n"
        );
    match is_word {
        true => text.to_owned(),
        // A string of JSON is one of YAML.
        false => serde_json::Value::from(text).to_string(),
    }
}

/// Parses a `cake.lock`. `file` is how messages name it.
///
/// # Errors
/// Every problem in it, with line and key.
pub fn parse(file: &Path, bytes: &[u8]) -> Result<Read<Lock>, Vec<Problem>> {
    let (tree, mut report) = read(file, bytes)?;
    let root = Node::root(&tree);
    let mut lock = Lock::default();
    if root.get("format").and_then(|node| node.value.as_u64()) != Some(1) {
        report.refuse(
            &[Step::Key("format")],
            "is no lock that this cake knows; expected `format: 1`. Delete the file to have it \
             made anew",
        );
        return outcome(report, lock);
    }
    warn_unknown(&mut report, &root, &KEYS);
    lock.index = text_at(&mut report, &root, "index");
    if let Some(node) = root.given("disco") {
        let version = text_at(&mut report, &node, "version");
        let sha256 = sha256_at(&mut report, &node);
        lock.disco = version
            .zip(sha256)
            .map(|(version, sha256)| Disco { version, sha256 });
    }
    if let Some(node) = root.given("layers") {
        if !node.value.is_array() {
            report.refuse(&node.path, "expected a list");
        }
        for item in node.items() {
            let Some(layer) = locked(&mut report, &item) else {
                continue;
            };
            if lock.layer(&layer.name).is_some() {
                let message = format!("`{}` is locked twice", layer.name);
                report.refuse(&item.path, message);
            }
            lock.layers.push(layer);
        }
    }
    outcome(report, lock)
}

fn locked(report: &mut Report<'_>, node: &Node<'_>) -> Option<Locked> {
    let before = report.problems.len();
    warn_unknown(report, node, &LAYER_KEYS);
    let at = |key: &'static str| [node.path.as_slice(), &[Step::Key(key)]].concat();
    let name = needed(report, node, "name")?;
    if let Err(message) = check_name(&name) {
        report.refuse(&at("name"), message);
    }
    let source = match needed(report, node, "source")?.as_str() {
        "path" => Source::Path(needed(report, node, "path")?),
        "cake-path" => Source::CakePath,
        "vendored" => Source::Vendored,
        "embedded" => Source::Embedded,
        "git" => Source::Git(pin(report, node)?),
        "index" => Source::Index(pin(report, node)?),
        _ => {
            report.refuse(
                &at("source"),
                "expected path, cake-path, vendored, embedded, git or index",
            );
            return None;
        }
    };
    let sha256 = sha256_at(report, node)?;
    let mut layers = Vec::new();
    for (item, needed) in texts_at(report, node, "layers") {
        match check_name(&needed) {
            Ok(()) => layers.push(needed),
            Err(message) => report.refuse(&item.path, message),
        }
    }
    let is_good = report.problems.len() == before;
    is_good.then_some(Locked {
        name,
        source,
        sha256,
        layers,
    })
}

fn pin(report: &mut Report<'_>, node: &Node<'_>) -> Option<Pin> {
    let at = |key: &'static str| [node.path.as_slice(), &[Step::Key(key)]].concat();
    let url = needed(report, node, "url")?;
    if let Err(message) = repo::transport(&url) {
        report.refuse(&at("url"), message);
    }
    let commit = needed(report, node, "commit")?;
    if !digest::is_commit(&commit) {
        report.refuse(&at("commit"), "expected 40 hex digits");
    }
    let rev = text_at(report, node, "rev");
    let subpath = text_at(report, node, "subpath").map(|path| repo::subpath(&path));
    if let Some(Err(message)) = &subpath {
        report.refuse(&at("subpath"), message.clone());
    }
    Some(Pin {
        url,
        rev,
        commit,
        subpath: subpath.and_then(Result::ok).flatten(),
    })
}

fn sha256_at(report: &mut Report<'_>, node: &Node<'_>) -> Option<String> {
    let sha256 = needed(report, node, "sha256")?;
    if !digest::is_sha256(&sha256) {
        let path = [node.path.as_slice(), &[Step::Key("sha256")]].concat();
        report.refuse(&path, "expected 64 hex digits");
        return None;
    }
    Some(sha256)
}

fn needed<'a>(report: &mut Report<'_>, node: &Node<'a>, key: &'a str) -> Option<String> {
    if node.given(key).is_none() {
        report.refuse(&node.path, format!("has no `{key}`"));
    }
    text_at(report, node, key)
}

#[cfg(test)]
mod tests;
