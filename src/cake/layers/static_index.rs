//! `cake index`: the layers below a directory as an index of files, which any web server can hand out:
//!
//! ```text
//! index.json                   all of them, a list of objects
//! api/v2/layers/NAME           one of them, an object: what the original's clients ask for
//! api/v2/layers/index.html     all of them, for a GET of the directory
//! ```
//!
//! It publishes nothing itself, and no layer's files: those come from the repositories.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value};

use super::git;
use super::index::FILE;
use super::search::object;
use super::tree::{File, Tree};
use super::write;
use crate::cake::failure::Failure;
use crate::cake::ui::Ui;
use crate::contract::layer::file::{self, LayerFile};
use crate::contract::layer::repo::{self, Transport};
use crate::contract::layer::resolve;
use crate::contract::problem::Problem;

/// Where the API's files are, below the index.
const API: &str = "api/v2/layers";

/// Writes the index of the layers in the immediate sub-directories of `dir` into `out`, the same bytes for
/// the same layers. A layer in a repository of git whose files are just those of the commit that is
/// checked out, and whose `repopath` is where it lies, is listed with that commit and its digest. Returns
/// how many there are.
///
/// # Errors
/// 78: layers that cannot be listed, all at once. 1: the index cannot be written.
pub fn index(dir: &Path, out: &Path, ui: &Ui) -> Result<usize, Failure> {
    let mut problems = Vec::new();
    let mut layers: Vec<(LayerFile, Value)> = Vec::new();
    let listed = fs::read_dir(dir).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let mut below = listed.map_err(|error| {
        Failure::config(vec![
            Problem::new(format!("cannot be read: {error}")).in_file(dir),
        ])
    })?;
    below.sort_by_key(fs::DirEntry::file_name);
    for home in below.iter().map(fs::DirEntry::path) {
        if !home.join(file::NAME).is_file() {
            continue;
        }
        match entry(&home, ui) {
            Ok((layer, _)) if layers.iter().any(|(other, _)| other.name == layer.name) => {
                let message = format!("another directory is layer `{}` as well", layer.name);
                problems.push(Problem::new(message).in_file(home));
            }
            Ok(found) => layers.push(found),
            Err(found) => problems.extend(found),
        }
    }
    if layers.is_empty() && problems.is_empty() {
        let message = "has no sub-directory with a layer.yaml, so there is nothing to list";
        problems.push(Problem::new(message).in_file(dir));
    }
    layers.sort_by(|(one, _), (other, _)| one.name.cmp(&other.name));
    problems.extend(circles(&layers));
    if !problems.is_empty() {
        return Err(Failure::config(problems));
    }

    let text = |value: &Value| format!("{value:#}\n").into_bytes();
    let all = text(&layers.iter().map(|(_, value)| value.clone()).collect());
    let plain = |bytes| File { bytes, exec: false };
    let mut files: Vec<(String, File)> = layers
        .iter()
        .map(|(layer, value)| (layer.name.clone(), plain(text(value))))
        .collect();
    files.push(("index.html".to_owned(), plain(all.clone())));
    let api = out.join(API);
    write::directory(&api, |fresh| {
        let files = files.iter().map(|(path, file)| (path.as_str(), file));
        write::files(fresh, files, Some(&api))
    })
    .map_err(Failure::failed)?;
    write::file(&out.join(FILE), &all).map_err(Failure::failed)?;
    Ok(layers.len())
}

fn entry(home: &Path, ui: &Ui) -> Result<(LayerFile, Value), Vec<Problem>> {
    let tree = Tree::read(home)?;
    let read = tree.layer_file(home)?;
    read.warnings.iter().for_each(|warning| ui.warn(warning));
    let layer = read.value;
    let refuse = |message: String| {
        let problem = Problem::new(message).in_file(home.join(file::NAME));
        vec![problem.at_key("layer.repo")]
    };
    let Some(url) = &layer.repo else {
        return Err(refuse(
            "is missing; an index says where a layer is fetched from, such as `repo: https://…`"
                .to_owned(),
        ));
    };
    match repo::transport(url) {
        Ok(Transport::Https | Transport::Ssh) => {}
        Ok(_) => {
            return Err(refuse(
                "is nothing that others reach; expected https or ssh".to_owned(),
            ));
        }
        Err(message) => return Err(refuse(message)),
    }
    if repo::shown(url) != *url {
        return Err(refuse(
            "holds a user, a password or a query; an index is public".to_owned(),
        ));
    }
    let mut fields: Map<String, Value> = object(&layer);
    if let Some(commit) = commit(home, &layer, &tree) {
        fields.insert("commit".to_owned(), commit.into());
        fields.insert("sha256".to_owned(), tree.digest().into());
    }
    Ok((layer, Value::Object(fields)))
}

/// The commit that holds just these files where the layer says it lies.
fn commit(home: &Path, layer: &LayerFile, tree: &Tree) -> Option<String> {
    let (commit, prefix, committed) = git::committed(home)?;
    let is_there = prefix == layer.repopath.as_deref().unwrap_or_default();
    (is_there && committed.digest() == tree.digest()).then_some(commit)
}

/// Circles among the layers of the index; what they need from elsewhere is for whoever takes them.
fn circles(layers: &[(LayerFile, Value)]) -> Vec<Problem> {
    let names: Vec<String> = layers.iter().map(|(layer, _)| layer.name.clone()).collect();
    let known = |name: &String| names.contains(name);
    let found = resolve::resolve(&names, "the index", &[], |name| {
        let layer = layers.iter().find(|(layer, _)| layer.name == name);
        Ok(layer.map(|(layer, _)| resolve::Found {
            name: layer.name.clone(),
            layers: layer
                .layers
                .iter()
                .filter(|name| known(name))
                .cloned()
                .collect(),
            place: String::new(),
            layer: (),
        }))
    });
    found.err().unwrap_or_default()
}
