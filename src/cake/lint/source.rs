//! A file that is being checked: its name, its text, and its tree, by which problems get their line.
//! It judges nothing.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::cake::files;
use crate::cake::layers::tree::MAX_BYTES;
use crate::contract::problem::Problem;
use crate::contract::report::Report;
use crate::contract::text::{self, Format, Snippet, Step};

/// A file that could be read.
pub(super) struct Source {
    /// As it was named.
    pub(super) file: PathBuf,
    /// What it holds.
    pub(super) bytes: Vec<u8>,
}

impl Source {
    /// Reads it.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub(super) fn read(file: &Path) -> Result<Self, Problem> {
        match files::read(file, MAX_BYTES) {
            Ok(bytes) => Ok(Self {
                file: file.to_owned(),
                bytes,
            }),
            Err(error) => Err(Problem::new(format!("cannot be read: {error}")).in_file(file)),
        }
    }

    /// The tree of YAML, JSON or TOML, by the file's extension or else its first character, and what
    /// is odd about its text.
    ///
    /// # Errors
    /// Why it is none.
    pub(super) fn tree(&self, snippet: Snippet) -> Result<(Value, Vec<Problem>), Problem> {
        let document = text::parse(&self.bytes, Format::of(&self.file), snippet)
            .map_err(|problem| problem.in_file(&self.file))?;
        let notes = document.notes.into_iter();
        let notes = notes.map(|note| Problem::new(note).in_file(&self.file));
        Ok((document.value, notes.collect()))
    }

    /// A problem with the node at `path`, told with the line of that or of what it is missing from.
    pub(super) fn problem(&self, path: &[Step<'_>], message: impl Into<String>) -> Problem {
        let text = std::str::from_utf8(&self.bytes).unwrap_or_default();
        Report::new(&self.file, text).problem(path, message)
    }

    /// The same for a dotted path below `path`, in which a number may be a place in a list.
    pub(super) fn problem_below(
        &self,
        path: &[Step<'_>],
        below: &str,
        tree: &Value,
        message: impl Into<String>,
    ) -> Problem {
        let mut steps = path.to_vec();
        let mut node = path.iter().try_fold(tree, |node, step| match step {
            Step::Key(key) => node.get(key),
            Step::Index(index) => node.get(index),
        });
        for part in below.split('.').filter(|part| !part.is_empty()) {
            let index = part
                .parse()
                .ok()
                .filter(|_| node.is_some_and(Value::is_array));
            match index {
                Some(index) => {
                    let index: usize = index;
                    node = node.and_then(|node| node.get(index));
                    steps.push(Step::Index(index));
                }
                None => {
                    node = node.and_then(|node| node.get(part));
                    steps.push(Step::Key(part));
                }
            }
        }
        self.problem(&steps, message)
    }
}
