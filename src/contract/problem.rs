//! One thing wrong with something a user wrote: where, what, and the remedy.
//!
//! Problems are collected and reported together. Their text never holds a value from a source.

use std::fmt;
use std::path::PathBuf;

/// A problem with a setting, a file, or a place in a file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Problem {
    /// The file it is in, if it is in one.
    pub file: Option<PathBuf>,
    /// Line and column, from 1.
    pub position: Option<(usize, usize)>,
    /// The key path or the setting, such as `rules[0].rule.do` or `consul.host`.
    pub key: Option<String>,
    /// What is wrong and what was expected: a lowercase fragment without a final period.
    pub message: String,
    /// The line of the file with a caret below, if it helps and holds no secret.
    pub snippet: Option<String>,
}

impl Problem {
    /// A problem that is not yet placed anywhere.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            ..Self::default()
        }
    }

    /// Names the file.
    #[must_use]
    pub fn in_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.file = Some(file.into());
        self
    }

    /// Names the key path or setting.
    #[must_use]
    pub fn at_key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Names line and column, both from 1.
    #[must_use]
    pub fn at(mut self, position: Option<(usize, usize)>) -> Self {
        self.position = position;
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{}", file.display())?;
            if let Some((line, column)) = self.position {
                write!(f, ":{line}:{column}")?;
            }
            f.write_str(": ")?;
        }
        if let Some(key) = &self.key {
            write!(f, "`{key}`: ")?;
        }
        f.write_str(&self.message)?;
        match &self.snippet {
            Some(snippet) => write!(f, "\n{snippet}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_from_the_outside_in() {
        let problem = Problem::new("is missing")
            .in_file("a.rules")
            .at(Some((3, 7)))
            .at_key("rules[0].rule.do");
        assert_eq!(
            problem.to_string(),
            "a.rules:3:7: `rules[0].rule.do`: is missing"
        );
    }
}
