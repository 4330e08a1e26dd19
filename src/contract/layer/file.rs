//! `layer.yaml`: what a layer is called and which others it needs. It does not look at the rules,
//! schemas and templates beside it.

use std::path::Path;

use super::super::report::Node;
use super::{Read, check_name, outcome, read, repo, text_at, texts_at, warn_unknown};
use crate::contract::problem::Problem;

/// Its name in the top directory of a layer.
pub const NAME: &str = "layer.yaml";

const KEYS: [&str; 8] = [
    "name", "summary", "version", "author", "authors", "repo", "repopath", "layers",
];

/// A checked `layer.yaml`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LayerFile {
    /// See [`check_name`].
    pub name: String,
    /// One line on what it is for.
    pub summary: Option<String>,
    /// As written; nothing is read into it.
    pub version: Option<String>,
    /// `author` and `authors`, in this order.
    pub authors: Vec<String>,
    /// The git repository it is published in. What only ever comes from a path needs none.
    pub repo: Option<String>,
    /// The directory of the layer in that repository; `None` is the top.
    pub repopath: Option<String>,
    /// Names of the layers that have to be there first, in the order written, each once.
    pub layers: Vec<String>,
}

/// Parses a `layer.yaml`. `file` is how messages name it.
///
/// # Errors
/// Every problem in it, with line and key.
pub fn parse(file: &Path, bytes: &[u8]) -> Result<Read<LayerFile>, Vec<Problem>> {
    let (tree, mut report) = read(file, bytes)?;
    let root = Node::root(&tree);
    let mut layer = LayerFile::default();
    let Some(node) = root.given("layer").filter(|node| node.value.is_object()) else {
        report.refuse(
            &[],
            "holds no `layer:`; expected a map with `name` and the like below it, such as \
             `layer: {name: mysql}`",
        );
        return outcome(report, layer);
    };
    warn_unknown(&mut report, &root, &["layer"]);
    warn_unknown(&mut report, &node, &KEYS);

    match node.given("name") {
        None => report.refuse(
            &node.path,
            "has no `name`; expected one such as `name: mysql`",
        ),
        Some(entry) => {
            let name = text_at(&mut report, &node, "name").unwrap_or_default();
            match check_name(&name) {
                Ok(()) => layer.name = name,
                Err(message) if !name.is_empty() => report.refuse(&entry.path, message),
                Err(_) => {}
            }
        }
    }
    layer.summary = text_at(&mut report, &node, "summary");
    layer.version = text_at(&mut report, &node, "version");
    layer.repo = text_at(&mut report, &node, "repo");
    for key in ["author", "authors"] {
        let authors = texts_at(&mut report, &node, key);
        layer
            .authors
            .extend(authors.into_iter().map(|(_, author)| author));
    }
    if let Some(path) = text_at(&mut report, &node, "repopath") {
        match repo::subpath(&path) {
            Ok(path) => layer.repopath = path,
            Err(message) => report.refuse(
                &[node.path.as_slice(), &[super::text::Step::Key("repopath")]].concat(),
                message,
            ),
        }
    }
    for (item, name) in texts_at(&mut report, &node, "layers") {
        if let Err(message) = check_name(&name) {
            report.refuse(&item.path, message);
        } else if name == layer.name {
            report.refuse(&item.path, format!("`{name}` cannot need itself; drop it"));
        } else if layer.layers.contains(&name) {
            report.warn(&item.path, format!("`{name}` is named twice"));
        } else {
            layer.layers.push(name);
        }
    }
    outcome(report, layer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn told(text: &str) -> Vec<String> {
        let problems = parse(Path::new("layer.yaml"), text.as_bytes()).unwrap_err();
        problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn c10_the_file_of_the_original_is_read() {
        let text = "layer:\n  name: app\n  author: Jo\n  repo: https://example.com/app.git\n  \
                    repopath: sub/dir/\n  layers: [mysql, redis, mysql]\n  version: 1.10\n  sumary: x\n";
        let read = parse(Path::new("layer.yaml"), text.as_bytes()).unwrap();
        let expected = LayerFile {
            name: "app".into(),
            summary: None,
            version: Some("1.10".into()),
            authors: vec!["Jo".into()],
            repo: Some("https://example.com/app.git".into()),
            repopath: Some("sub/dir".into()),
            layers: vec!["mysql".into(), "redis".into()],
        };
        assert_eq!(read.value, expected);
        let warnings: Vec<_> = read.warnings.iter().map(ToString::to_string).collect();
        assert_eq!(
            warnings,
            [
                "layer.yaml:8:11: `layer.sumary`: unknown key, ignored; did you mean `summary`?",
                "layer.yaml:6:26: `layer.layers[2]`: `mysql` is named twice",
            ]
        );
    }

    #[test]
    fn c10_a_file_without_a_layer_or_a_name_is_told_so() {
        assert!(told("")[0].contains("holds no `layer:`"));
        assert!(told("name: x")[0].contains("holds no `layer:`"));
        assert!(told("layer: x")[0].contains("holds no `layer:`"));
        assert_eq!(
            told("layer: {author: x}"),
            ["layer.yaml:1:8: `layer`: has no `name`; expected one such as `name: mysql`"]
        );
    }

    #[test]
    fn all_problems_come_at_once() {
        let text =
            "layer:\n  name: ../x\n  repopath: a/../../b\n  layers: [a/b, {}]\n  summary: []\n";
        let told = told(text);
        assert_eq!(told.len(), 5, "{told:#?}");
        for (told, line) in told.iter().zip([2, 5, 3, 4, 4]) {
            assert!(
                told.starts_with(&format!("layer.yaml:{line}:")) || told.contains("[1]"),
                "{told}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_text_is_too_odd(text in "(layer:|name:|layers:|[\\[\\]{}, \n\"'&*-]|\\PC){0,40}") {
            if let Ok(read) = parse(Path::new("layer.yaml"), text.as_bytes()) {
                prop_assert!(check_name(&read.value.name).is_ok());
            }
        }
    }
}
