//! `.cake/layers`: the layers as they go into the image, and the order in which they are installed.

use std::fs;
use std::io;
use std::path::Path;

use super::Layer;
use super::local::VENDORED;
use super::tree::File;
use super::write;
use crate::cake::failure::Failure;
use crate::contract::problem::Problem;

/// The file beside the layers that lists their names in the order of installation, one a line.
pub const ORDER: &str = ".order";

/// Makes `.cake/layers` hold just these layers, each as `NAME/…` without what does not go into an image;
/// whether anything had to be written. Files that stay keep their time.
///
/// # Errors
/// 1: it cannot be written; what was there is then there still.
pub fn vendor(project: &Path, layers: &[Layer]) -> Result<bool, Failure> {
    let target = project.join(VENDORED);
    if fs::symlink_metadata(&target).is_ok_and(|meta| !meta.is_dir()) {
        return Err(Failure::failed(
            Problem::new("is no directory; remove it").in_file(target),
        ));
    }
    let order = order(layers);
    let files = listed(layers, &order);
    if holds(&target, &files) {
        return Ok(false);
    }
    write::directory(&target, |dir| {
        let files = files.iter().map(|(path, file)| (path.as_str(), *file));
        write::files(dir, files, Some(&target))
    })
    .map_err(Failure::failed)?;
    Ok(true)
}

/// Whether `.cake/layers` holds just these layers already.
#[must_use]
pub fn is_current(project: &Path, layers: &[Layer]) -> bool {
    holds(&project.join(VENDORED), &listed(layers, &order(layers)))
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

fn holds(target: &Path, files: &[(String, &File)]) -> bool {
    let are_there = files
        .iter()
        .all(|(path, file)| write::is(&target.join(path), file));
    are_there && count(target).is_ok_and(|count| count == files.len())
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
