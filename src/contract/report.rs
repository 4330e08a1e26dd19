//! What is wrong with one file, collected so that all of it comes out at once, each with its line and
//! its key path; and a cursor over the file's tree that knows where it is.

use std::path::Path;

use serde_json::Value;

use super::problem::Problem;
use super::text::{self, Format, Snippet, Step};

/// Problems of a file that are told with their line: finding one means parsing the file again.
const LOCATED: usize = 50;

/// Collects what is wrong with a file.
pub struct Report<'a> {
    file: &'a Path,
    text: &'a str,
    /// These make the file unusable.
    pub problems: Vec<Problem>,
    /// These are most likely mistakes, and refused where there is time to mend them.
    pub doubts: Vec<Problem>,
    /// These are odd.
    pub warnings: Vec<Problem>,
}

impl<'a> Report<'a> {
    /// Nothing is wrong yet.
    #[must_use]
    pub fn new(file: &'a Path, text: &'a str) -> Self {
        Self {
            file,
            text,
            problems: Vec::new(),
            doubts: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// A problem with what is at `path`, told with the line of that or of what it is missing from.
    #[must_use]
    pub fn problem(&self, path: &[Step<'_>], message: impl Into<String>) -> Problem {
        let told = self.problems.len() + self.doubts.len() + self.warnings.len();
        let is_located = told < LOCATED;
        // A missing key has no line of its own; its parent has.
        let mut depths = (0..=path.len()).rev().filter(|_| is_located);
        let position = depths.find_map(|depth| text::locate(self.text, path.get(..depth)?));
        let problem = Problem::new(message).in_file(self.file).at(position);
        match key_path(path) {
            key if key.is_empty() => problem,
            key => problem.at_key(key),
        }
    }

    /// A scalar as it stands in the file: `3.10` is the number 3.1 by the time it is a value.
    #[must_use]
    pub fn written(&self, node: &Node<'_>) -> Option<String> {
        let scalar = node.scalar()?;
        // Finding the place means parsing the file again, and a decimal is written as it is read.
        let may_differ =
            !node.value.is_i64() || ["0o", "0x", "0b"].iter().any(|p| self.text.contains(p));
        if !node.value.is_number() || !may_differ {
            return Some(scalar);
        }
        let source = text::locate(self.text, &node.path).and_then(|(line, column)| {
            let line = self.text.lines().nth(line.checked_sub(1)?)?;
            let start = line.char_indices().nth(column.checked_sub(1)?)?.0;
            let rest = line.get(start..)?;
            let end = rest.find([',', ']', '}', ' ', '\t', '#', '\r']);
            rest.get(..end.unwrap_or(rest.len()))
        });
        // Where the place is not what it seems (an alias, a merged key) the number itself counts.
        let is_it = |source: &&str| {
            let read = text::parse(source.as_bytes(), Some(Format::Yaml), Snippet::Masked);
            read.is_ok_and(|read| read.value == *node.value)
        };
        Some(source.filter(is_it).map_or(scalar, str::to_owned))
    }

    /// Adds a problem.
    pub fn refuse(&mut self, path: &[Step<'_>], message: impl Into<String>) {
        let problem = self.problem(path, message);
        self.problems.push(problem);
    }

    /// Adds what is most likely a mistake.
    pub fn doubt(&mut self, path: &[Step<'_>], message: impl Into<String>) {
        let doubt = self.problem(path, message);
        self.doubts.push(doubt);
    }

    /// Adds a warning.
    pub fn warn(&mut self, path: &[Step<'_>], message: impl Into<String>) {
        let warning = self.problem(path, message);
        self.warnings.push(warning);
    }
}

/// A path as users read it: `rules[0].rule.do`.
#[must_use]
pub fn key_path(path: &[Step<'_>]) -> String {
    let mut key = String::new();
    for step in path {
        match step {
            Step::Key(name) => {
                if !key.is_empty() {
                    key.push('.');
                }
                key.push_str(name);
            }
            Step::Index(index) => {
                key.push('[');
                key.push_str(&index.to_string());
                key.push(']');
            }
        }
    }
    key
}

/// A node of the file's tree and the way to it.
#[derive(Clone)]
pub struct Node<'a> {
    /// What is there.
    pub value: &'a Value,
    /// How to get there from the root.
    pub path: Vec<Step<'a>>,
}

impl<'a> Node<'a> {
    /// The root.
    #[must_use]
    pub fn root(value: &'a Value) -> Self {
        Self {
            value,
            path: Vec::new(),
        }
    }

    /// The entry of a map. `None` also where this is no map.
    #[must_use]
    pub fn get(&self, key: &'a str) -> Option<Self> {
        Some(self.below(self.value.get(key)?, Step::Key(key)))
    }

    /// The same, but what is null counts as absent.
    #[must_use]
    pub fn given(&self, key: &'a str) -> Option<Self> {
        self.get(key).filter(|node| !node.value.is_null())
    }

    /// Keys and nodes of a map, in the order of the file; none where this is no map.
    pub fn entries(&self) -> impl Iterator<Item = (&'a str, Self)> {
        let map = self.value.as_object().into_iter().flatten();
        map.map(|(key, value)| (key.as_str(), self.below(value, Step::Key(key))))
    }

    /// The items of a list; none where this is no list.
    pub fn items(&self) -> impl Iterator<Item = Self> {
        let list = self.value.as_array().into_iter().flatten().enumerate();
        list.map(|(index, value)| self.below(value, Step::Index(index)))
    }

    /// A scalar as its author wrote it; `None` for maps, lists and null.
    #[must_use]
    pub fn scalar(&self) -> Option<String> {
        scalar(self.value)
    }

    fn below(&self, value: &'a Value, step: Step<'a>) -> Self {
        let path = self.path.iter().copied().chain([step]).collect();
        Self { value, path }
    }
}

/// A scalar as its author wrote it; `None` for maps, lists and null.
#[must_use]
pub fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_node_knows_its_line_and_a_missing_one_that_of_its_parent() {
        let text = "a:\n  b:\n    - x\n    - {c: 1}\n";
        let tree = json!({"a": {"b": ["x", {"c": 1}]}});
        let mut report = Report::new(Path::new("f.yml"), text);
        let item = Node::root(&tree)
            .get("a")
            .and_then(|a| a.get("b"))
            .and_then(|b| b.items().nth(1))
            .unwrap();
        report.refuse(&item.path, "is wrong");
        report.refuse(&item.get("c").unwrap().path, "is wrong");
        let missing = [item.path.as_slice(), &[Step::Key("d")]].concat();
        report.warn(&missing, "is missing");
        let told = |list: &[Problem]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(
            told(&report.problems),
            [
                "f.yml:4:7: `a.b[1]`: is wrong",
                "f.yml:4:11: `a.b[1].c`: is wrong"
            ]
        );
        assert_eq!(
            told(&report.warnings),
            ["f.yml:4:7: `a.b[1].d`: is missing"]
        );
    }
}
