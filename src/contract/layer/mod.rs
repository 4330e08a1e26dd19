//! Layers: the files that speak of them, and which of them an image gets in which order.
//!
//! [`mod@file`] reads `layer.yaml`, [`conf`] reads `cake.conf`, [`lock`] reads and writes `cake.lock`;
//! [`digest`] tells whether two trees are the same, [`repo`] which repositories may be named, and
//! [`resolve`] puts layers in order. Getting hold of a layer is not done here.

pub mod conf;
pub mod digest;
pub mod file;
pub mod lock;
pub mod repo;
pub mod resolve;

use std::path::Path;

use serde_json::Value;

use super::problem::Problem;
use super::report::{Node, Report};
use super::suggest;
use super::text::{self, Format, Snippet};

/// A longer name is none that anybody types.
const MAX_NAME: usize = 100;

/// What a file says, and what is odd about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read<T> {
    /// What it says.
    pub value: T,
    /// Worth a warning.
    pub warnings: Vec<Problem>,
}

/// Whether a layer may have this name. It becomes a directory and a part of a URL, and the index
/// knows no dots: letters, digits, `_` and `-`, which is not the first.
///
/// # Errors
/// What is expected, as a fragment.
pub fn check_name(name: &str) -> Result<(), String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    match name.is_empty() || name.starts_with('-') || !name.chars().all(is_plain) {
        true => Err(format!(
            "{name:?} is no layer name; expected letters, digits, `_` and `-`, such as `mysql`"
        )),
        false if name.len() > MAX_NAME => Err(format!(
            "the name is longer than {MAX_NAME} characters; shorten it"
        )),
        false => Ok(()),
    }
}

/// The tree of a YAML file, and a report that already holds what is odd about its text.
fn read<'a>(file: &'a Path, bytes: &'a [u8]) -> Result<(Value, Report<'a>), Vec<Problem>> {
    let document = text::parse(bytes, Some(Format::Yaml), Snippet::Masked)
        .map_err(|problem| vec![problem.in_file(file)])?;
    let mut report = Report::new(file, std::str::from_utf8(bytes).unwrap_or_default());
    let notes = document.notes.into_iter();
    report
        .warnings
        .extend(notes.map(|note| Problem::new(note).in_file(file)));
    Ok((document.value, report))
}

/// The outcome of a reading: its value only if nothing was refused.
fn outcome<T>(report: Report<'_>, value: T) -> Result<Read<T>, Vec<Problem>> {
    let Report {
        problems, warnings, ..
    } = report;
    match problems.is_empty() {
        true => Ok(Read { value, warnings }),
        false => Err(problems),
    }
}

/// Warns of every key that is not among the known.
fn warn_unknown(report: &mut Report<'_>, node: &Node<'_>, known: &[&str]) {
    for (key, entry) in node.entries() {
        if !known.contains(&key) {
            let hint = suggest::hint(key, known.iter().copied());
            report.warn(&entry.path, format!("unknown key, ignored{hint}"));
        }
    }
}

/// The text at a key, as it is written; what is no scalar is refused.
fn text_at<'a>(report: &mut Report<'_>, node: &Node<'a>, key: &'a str) -> Option<String> {
    let entry = node.given(key)?;
    let text = report.written(&entry);
    match text.as_deref().map(str::trim) {
        None => report.refuse(&entry.path, "expected a text"),
        Some("") => report.refuse(&entry.path, "is empty; expected a text, or no such key"),
        Some(text) => return Some(text.to_owned()),
    }
    None
}

/// A list of texts at a key; one text is a list of one.
fn texts_at<'a>(report: &mut Report<'_>, node: &Node<'a>, key: &'a str) -> Vec<(Node<'a>, String)> {
    let Some(entry) = node.given(key) else {
        return Vec::new();
    };
    let items = match entry.value {
        Value::Array(_) => entry.items().collect(),
        Value::Object(_) => {
            report.refuse(&entry.path, "expected a list");
            Vec::new()
        }
        _ => vec![entry],
    };
    let mut texts = Vec::new();
    for item in items {
        match report.written(&item) {
            Some(text) => texts.push((item, text)),
            None => report.refuse(&item.path, "expected a text"),
        }
    }
    texts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_directory_and_a_part_of_a_url() {
        for good in ["mysql", "http-proxy", "S3_store", "0", "_x"] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        for bad in ["", "-x", ".", "..", "a/b", "a.b", "a b", "é", "a\n", "a\0"] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
        assert!(check_name(&"a".repeat(MAX_NAME + 1)).is_err());
    }
}
