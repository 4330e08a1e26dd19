//! `cake.conf`: which layers a project wants, and where from. It finds none of them.

use std::fmt;
use std::path::Path;

use serde_json::Value;

use super::super::report::{Node, Report};
use super::super::text::Step;
use super::repo::{self, Transport};
use super::{Read, check_name, outcome, read, text_at, warn_unknown};
use crate::contract::problem::Problem;

/// Its name in a project.
pub const NAME: &str = "cake.conf";

const KEYS: [&str; 2] = ["layers", "endpoint"];
const LAYER_KEYS: [&str; 5] = ["name", "path", "git", "rev", "repopath"];

/// Where exactly a layer is to come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A directory, relative to the file that names it.
    Path(String),
    /// A git repository.
    Git {
        /// What git is told; a path is relative to the file that names it.
        url: String,
        /// A branch, a tag or a whole commit; `None` is the default branch.
        rev: Option<String>,
        /// The directory in the repository; `None` is its top.
        repopath: Option<String>,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => write!(f, "path {path}"),
            Self::Git { url, rev, repopath } => {
                write!(f, "git {}", repo::shown(url))?;
                if let Some(rev) = rev {
                    write!(f, " at {rev}")?;
                }
                match repopath {
                    Some(path) => write!(f, " in {path}"),
                    None => Ok(()),
                }
            }
        }
    }
}

/// A layer that somebody wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// See [`check_name`].
    pub name: String,
    /// `None`: wherever it is found.
    pub origin: Option<Origin>,
}

impl Wanted {
    /// Wanted by its name.
    #[must_use]
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            origin: None,
        }
    }
}

/// A checked `cake.conf`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Conf {
    /// In the order written.
    pub layers: Vec<Wanted>,
    /// The index to ask: a URL, or a path relative to the file.
    pub endpoint: Option<String>,
}

/// Parses a `cake.conf`. `file` is how messages name it.
///
/// # Errors
/// Every problem in it, with line and key.
pub fn parse(file: &Path, bytes: &[u8]) -> Result<Read<Conf>, Vec<Problem>> {
    let (tree, mut report) = read(file, bytes)?;
    let root = Node::root(&tree);
    let mut conf = Conf::default();
    let Some(node) = root.given("cake").filter(|node| node.value.is_object()) else {
        report.refuse(
            &[],
            "holds no `cake:`; expected a map with `layers` below it, such as \
             `cake: {layers: [mysql]}`",
        );
        return outcome(report, conf);
    };
    warn_unknown(&mut report, &root, &["cake"]);
    for (key, entry) in node.entries().filter(|(key, _)| !KEYS.contains(key)) {
        // A slip would mean an image without layers, and nobody told.
        match super::suggest::hint(key, KEYS) {
            hint if hint.is_empty() => report.warn(&entry.path, "unknown key, ignored"),
            hint => report.refuse(&entry.path, format!("unknown key{hint}")),
        }
    }
    conf.endpoint = text_at(&mut report, &node, "endpoint");
    match node.given("layers") {
        None => {}
        Some(list) if list.value.is_array() => {
            for item in list.items() {
                let Some(wanted) = wanted(&mut report, &item) else {
                    continue;
                };
                if conf.layers.contains(&wanted) {
                    let message = format!("`{}` is named twice", wanted.name);
                    report.warn(&item.path, message);
                } else {
                    conf.layers.push(wanted);
                }
            }
        }
        Some(other) => report.refuse(
            &other.path,
            "expected a list of layers, such as `layers: [mysql]`",
        ),
    }
    outcome(report, conf)
}

fn wanted<'a>(report: &mut Report<'_>, item: &Node<'a>) -> Option<Wanted> {
    if !matches!(item.value, Value::Object(_)) {
        let Some(name) = report.written(item) else {
            report.refuse(
                &item.path,
                "expected the name of a layer, or a map with `name` and `path` or `git`",
            );
            return None;
        };
        return match check_name(&name) {
            Ok(()) => Some(Wanted::named(name)),
            Err(message) => {
                report.refuse(&item.path, message);
                None
            }
        };
    }
    let before = report.problems.len();
    for (key, entry) in item.entries() {
        if !LAYER_KEYS.contains(&key) {
            // Unlike elsewhere no warning: a layer from the wrong place is worse than none.
            let hint = super::suggest::hint(key, LAYER_KEYS);
            report.refuse(&entry.path, format!("unknown key{hint}"));
        }
    }
    let at = |key: &'static str| [item.path.as_slice(), &[Step::Key(key)]].concat();
    let name = text_at(report, item, "name");
    match name.as_deref().map(check_name) {
        None if item.given("name").is_none() => {
            report.refuse(&item.path, "has no `name`; expected that of the layer");
        }
        Some(Err(message)) => report.refuse(&at("name"), message),
        _ => {}
    }
    let path = text_at(report, item, "path");
    let url = text_at(report, item, "git");
    let rev = text_at(report, item, "rev");
    let within = text_at(report, item, "repopath").and_then(|path| match repo::subpath(&path) {
        Ok(path) => path,
        Err(message) => {
            report.refuse(&at("repopath"), message);
            None
        }
    });
    if let Some(Err(message)) = url.as_deref().map(repo::transport) {
        report.refuse(&at("git"), message);
    }
    if rev.as_deref().is_some_and(|rev| !is_rev(rev)) {
        report.refuse(
            &at("rev"),
            "is no name of a branch, a tag or a commit (40 hex digits)",
        );
    }
    if url.is_none() && item.given("git").is_none() {
        for key in ["rev", "repopath"] {
            if item.given(key).is_some() {
                report.refuse(&at(key), "only goes with `git`");
            }
        }
    }
    let origin = match (path, url) {
        (Some(_), Some(_)) => {
            report.refuse(&item.path, "has both `path` and `git`; keep one of them");
            None
        }
        (Some(path), None) => Some(Origin::Path(path)),
        (None, Some(url)) => Some(Origin::Git {
            url,
            rev,
            repopath: within,
        }),
        (None, None) => None,
    };
    let is_good = report.problems.len() == before;
    name.filter(|_| is_good).map(|name| Wanted { name, origin })
}

/// Whether git could know this by name: nothing that is an option, a range or a pattern to it.
#[must_use]
pub fn is_rev(rev: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-/+@#%=,".contains(c);
    !rev.is_empty()
        && !rev.starts_with(['-', '/'])
        && !rev.contains("..")
        && !rev.contains("@{")
        && rev.chars().all(is_plain)
}

/// Where a local transport is relative to; others are not relative to anything.
#[must_use]
pub fn is_relative(url: &str) -> bool {
    repo::transport(url) == Ok(Transport::Local) && !url.starts_with('/') && !url.contains("://")
}

/// A path without what says nothing: `.`, doubled slashes, one at its end.
#[must_use]
pub fn plain_path(path: &str) -> String {
    let parts = path.split('/').filter(|part| !matches!(*part, "" | "."));
    let parts: Vec<&str> = parts.collect();
    match (path.starts_with('/'), parts.is_empty()) {
        (true, _) => format!("/{}", parts.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => parts.join("/"),
    }
}

/// Whether two origins are one place.
fn is_same(one: Option<&Origin>, other: Option<&Origin>) -> bool {
    match (one, other) {
        (Some(Origin::Path(one)), Some(Origin::Path(other))) => {
            plain_path(one) == plain_path(other)
        }
        (one, other) => one == other,
    }
}

/// What of the wanted contradicts itself: one name from two places.
#[must_use]
pub fn clashes(wanted: &[Wanted]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (index, one) in wanted.iter().enumerate() {
        let earlier = wanted.iter().take(index);
        let other = earlier
            .filter(|other| other.name == one.name)
            .filter(|other| !is_same(other.origin.as_ref(), one.origin.as_ref()))
            .find_map(|other| other.origin.as_ref().zip(one.origin.as_ref()));
        if let Some((first, second)) = other {
            problems.push(Problem::new(format!(
                "layer `{}` is wanted from {first} and from {second}; keep one of them",
                one.name
            )));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conf(text: &str) -> Result<Read<Conf>, Vec<Problem>> {
        parse(Path::new("cake.conf"), text.as_bytes())
    }

    fn told(text: &str) -> Vec<String> {
        let problems = conf(text).unwrap_err();
        problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn c12_the_shape_of_the_seed_works() {
        let read = conf("cake:\n  layers:\n    - mysql\n    - redis\n").unwrap();
        assert_eq!(read.value.layers, ["mysql", "redis"].map(Wanted::named));
        assert_eq!(read.value.endpoint, None);
        assert_eq!(conf("cake: {layers: }").unwrap().value, Conf::default());
    }

    #[test]
    fn a_layer_may_say_where_it_is_from() {
        let read = conf(
            "cake:\n  endpoint: https://example.com\n  layers:\n  - {name: app, path: ./layers/app}\n  \
             - {name: web, git: https://example.com/web.git, rev: v1.2, repopath: ./a/}\n  - {name: db}\n",
        )
        .unwrap();
        assert_eq!(read.value.endpoint.as_deref(), Some("https://example.com"));
        let origins: Vec<_> = read
            .value
            .layers
            .into_iter()
            .map(|layer| layer.origin)
            .collect();
        assert_eq!(
            origins,
            [
                Some(Origin::Path("./layers/app".into())),
                Some(Origin::Git {
                    url: "https://example.com/web.git".into(),
                    rev: Some("v1.2".into()),
                    repopath: Some("a".into()),
                }),
                None
            ]
        );
    }

    #[test]
    fn all_problems_come_at_once() {
        let told = told(
            "cake:\n  layers:\n  - a/b\n  - {name: x, path: p, git: 'https://h/x'}\n  - {path: p}\n  \
             - {name: y, rev: main}\n  - {name: z, git: 'ext::sh -c id', repopath: ../x}\n  \
             - {name: w, git: 'https://h/x', rev: --upload-pack=x}\n  - {name: v, pth: x}\n  - []\n",
        );
        let lines: Vec<_> = told
            .iter()
            .map(|told| told.split(':').nth(1).unwrap())
            .collect();
        assert_eq!(
            lines,
            ["3", "4", "5", "6", "7", "7", "8", "9", "10"],
            "{told:#?}"
        );
        assert!(told[7].contains("did you mean `path`?"), "{told:#?}");
    }

    #[test]
    fn one_name_from_two_places_is_refused_naming_both() {
        let path = |path: &str| Wanted {
            name: "a".into(),
            origin: Some(Origin::Path(path.into())),
        };
        assert!(clashes(&[path("x"), Wanted::named("a"), path("x")]).is_empty());
        assert!(clashes(&[path("l/x"), path("./l//x/")]).is_empty());
        assert_eq!(clashes(&[path("x"), path("/x")]).len(), 1);
        let clashes = clashes(&[path("x"), Wanted::named("a"), path("y")]);
        assert_eq!(
            clashes[0].message,
            "layer `a` is wanted from path x and from path y; keep one of them"
        );
    }

    #[test]
    fn a_rev_is_a_plain_name() {
        for good in ["main", "v1.0", "release/1.x", "a@b", "feature-x"] {
            assert!(is_rev(good), "{good}");
        }
        for bad in [
            "", "-x", "a..b", "a b", "a:b", "x^", "a~1", "HEAD@{1}", "*", "/x",
        ] {
            assert!(!is_rev(bad), "{bad}");
        }
    }
}
