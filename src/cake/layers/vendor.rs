//! `.cake/layers`: the layers as they go into the image, and the order in which they are installed.

use std::fs;
use std::io;
use std::path::Path;

use super::local::{VENDORED, vendored_names};
use super::tree::File;
use super::{Layer, read_lock, write};
use crate::cake::failure::{FAILED, Failure};
use crate::cake::files;
use crate::contract::layer::lock::Source;
use crate::contract::problem::Problem;

/// The file beside the layers that lists their names in the order of installation, one a line.
pub const ORDER: &str = ".order";

/// Makes `.cake/layers` hold just these layers, each as `NAME/…` without what does not go into an image;
/// whether anything had to be written. Files that stay keep their time. A layer that came from there, and
/// from nowhere else, is its author's: it keeps all of its files.
///
/// # Errors
/// 1: it cannot be written, or `.cake` leads elsewhere; what was there is then there still.
pub fn vendor(project: &Path, layers: &[Layer]) -> Result<bool, Failure> {
    let target = project.join(VENDORED);
    let above = target.parent().unwrap_or(project);
    for dir in [above, &target] {
        files::own_directory(dir).map_err(Failure::failed)?;
    }
    let order = order(layers);
    if holds(&target, layers, &order) {
        return Ok(false);
    }
    abandoned(project, layers)?;
    write::directory(&target, |dir| {
        let files = listed(layers, &order);
        let files = files.iter().map(|(path, file)| (path.as_str(), *file));
        write::files(dir, files, Some(&target))?;
        let theirs = layers.iter().filter(|layer| is_authors(layer));
        theirs
            .map(|layer| &layer.locked.name)
            .try_for_each(|name| write::rest(&target.join(name), &dir.join(name)))
    })
    .map_err(Failure::failed)?;
    Ok(true)
}

/// That nothing is thrown away which only lies there: what nobody wants any more, and the lock does not
/// know to be had from elsewhere.
fn abandoned(project: &Path, layers: &[Layer]) -> Result<(), Failure> {
    let old = read_lock(project)?.unwrap_or_default();
    let elsewhere = |name: &str| {
        let locked = old.layer(name);
        locked.is_some_and(|locked| locked.source != Source::Vendored)
    };
    let wanted = |name: &str| layers.iter().any(|layer| layer.locked.name == name);
    let names = vendored_names(project).into_iter();
    let problems: Vec<Problem> = names
        .filter(|name| !wanted(name) && !elsewhere(name))
        .map(|name| {
            let message =
                "is a layer that only lies here, and nothing wants it; move it away, or remove it";
            Problem::new(message).in_file(project.join(VENDORED).join(name))
        })
        .collect();
    match problems.is_empty() {
        true => Ok(()),
        false => Err(Failure {
            code: FAILED,
            problems,
        }),
    }
}

/// Whether `.cake/layers` holds just these layers already.
#[must_use]
pub fn is_current(project: &Path, layers: &[Layer]) -> bool {
    holds(&project.join(VENDORED), layers, &order(layers))
}

/// Whether the copy below `.cake/layers` is the only one that cake knows of.
fn is_authors(layer: &Layer) -> bool {
    layer.locked.source == Source::Vendored
}

fn order(layers: &[Layer]) -> File {
    let lines = layers
        .iter()
        .flat_map(|layer| [layer.locked.name.as_str(), "\n"]);
    File {
        bytes: lines.collect::<String>().into_bytes(),
        exec: false,
    }
}

fn listed<'a>(layers: &'a [Layer], order: &'a File) -> Vec<(String, &'a File)> {
    let mut files = vec![(ORDER.to_owned(), order)];
    for layer in layers {
        let name = &layer.locked.name;
        let shipped = layer.tree.shipped();
        files.extend(shipped.map(|(path, file)| (format!("{name}/{path}"), file)));
    }
    files
}

fn holds(target: &Path, layers: &[Layer], order: &File) -> bool {
    let are_there = listed(layers, order)
        .iter()
        .all(|(path, file)| write::is(&target.join(path), file));
    let has_no_more = |layer: &Layer| {
        let wanted = layer.tree.shipped().count();
        let dir = target.join(&layer.locked.name);
        is_authors(layer) || count(&dir).is_ok_and(|count| count == wanted)
    };
    let entries = fs::read_dir(target).map(Iterator::count);
    are_there
        && entries.is_ok_and(|count| count == layers.len() + 1)
        && layers.iter().all(has_no_more)
}

/// Everything in a directory that is no directory, and every directory that is empty.
fn count(dir: &Path) -> io::Result<usize> {
    let mut count = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        count += match entry.file_type()?.is_dir() {
            true => count_or_one(&entry.path())?,
            false => 1,
        };
    }
    Ok(count)
}

fn count_or_one(dir: &Path) -> io::Result<usize> {
    Ok(count(dir)?.max(1))
}
