//! Where an output is said in its rules file. The line is looked for when somebody asks, since finding one
//! means parsing the file again: a file of a thousand outputs is not to be parsed a thousand times.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::contract::problem::Problem;
use crate::contract::report::Report;
use crate::contract::text::{self, Step};

/// An entry of `render`, and which of its keys has the template.
#[derive(Clone, PartialEq, Eq)]
pub struct Said {
    file: PathBuf,
    text: Arc<str>,
    entry: Vec<Part>,
    key: &'static str,
}

/// A [`Step`] of its own.
#[derive(Clone, PartialEq, Eq)]
enum Part {
    Key(String),
    Index(usize),
}

impl std::fmt::Debug for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let problem = self.problem("");
        f.debug_tuple("Said").field(&problem.to_string()).finish()
    }
}

impl Said {
    /// For the entry at this path of a file with this text.
    #[must_use]
    pub fn new(file: &Path, text: &Arc<str>, entry: &[Step<'_>], key: &'static str) -> Self {
        let own = |step: &Step<'_>| match step {
            Step::Key(key) => Part::Key((*key).to_owned()),
            Step::Index(index) => Part::Index(*index),
        };
        Self {
            file: file.to_owned(),
            text: text.clone(),
            entry: entry.iter().map(own).collect(),
            key,
        }
    }

    /// A problem with the template.
    #[must_use]
    pub fn problem(&self, message: impl Into<String>) -> Problem {
        self.problem_with(self.key, message)
    }

    /// A problem with a key of the entry.
    #[must_use]
    pub fn problem_with(&self, key: &str, message: impl Into<String>) -> Problem {
        Report::new(&self.file, &self.text).problem(&self.path(key), message)
    }

    /// Lines of the file before the first one of the template, if that is in it.
    pub(super) fn lines_before(&self) -> usize {
        let Some((line, column)) = text::locate(&self.text, &self.path(self.key)) else {
            return 0;
        };
        let source = self.text.lines().nth(line.saturating_sub(1));
        let begin = source.and_then(|source| source.chars().nth(column.saturating_sub(1)));
        match begin {
            // A block begins on the line after the one that says it is one.
            Some('|' | '>') => line,
            _ => line.saturating_sub(1),
        }
    }

    fn path<'a>(&'a self, key: &'a str) -> Vec<Step<'a>> {
        let steps = self.entry.iter().map(|part| match part {
            Part::Key(key) => Step::Key(key),
            Part::Index(index) => Step::Index(*index),
        });
        steps.chain([Step::Key(key)]).collect()
    }
}
