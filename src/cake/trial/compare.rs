//! Two trees of files and what differs between them. Modes are shown and not compared: what is expected
//! lies in a repository, which does not keep them.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::cake::difference;
use crate::cake::failure::Failure;
use crate::cake::layers::write;
use crate::contract::problem::Problem;

/// A file of a trial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its path in the container.
    pub path: PathBuf,
    /// Its permission bits, if it was written.
    pub mode: Option<u32>,
    /// Its content, if it was written; for a symbolic link where it leads.
    pub content: Option<Vec<u8>>,
    /// What became of it.
    pub state: State,
}

/// What became of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It is as expected.
    Same,
    /// It is not; what differs, as `diff -u` shows it.
    Differs(String),
    /// It was expected and not written.
    Missing,
    /// It was written and not expected; its content, as `diff -u` shows it.
    Extra(String),
    /// It was written, and nothing at all is expected yet.
    New,
}

impl File {
    /// Its content for people, each line indented.
    pub(super) fn shown(&self) -> String {
        let content = self.content.as_deref().unwrap_or_default();
        match std::str::from_utf8(content) {
            Ok(text) => text.lines().map(|line| format!("    {line}\n")).collect(),
            Err(_) => format!("    ({} bytes that are no text)\n", content.len()),
        }
    }
}

/// Files by their path below the top: content and permission bits.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tree(BTreeMap<PathBuf, (Vec<u8>, u32)>);

impl Tree {
    /// Reads a directory; one that is not there holds nothing.
    ///
    /// # Errors
    /// What cannot be read.
    pub(super) fn read(dir: &Path) -> Result<Self, Failure> {
        let mut tree = Self::default();
        if dir.exists() {
            tree.add(dir, dir)?;
        }
        Ok(tree)
    }

    fn add(&mut self, top: &Path, dir: &Path) -> Result<(), Failure> {
        let failed = |path: &Path, error: &io::Error| {
            let problem = Problem::new(format!("cannot be read: {error}"));
            Failure::failed(problem.in_file(path))
        };
        for entry in fs::read_dir(dir).map_err(|error| failed(dir, &error))? {
            let entry = entry.map_err(|error| failed(dir, &error))?;
            let path = entry.path();
            let about = fs::symlink_metadata(&path).map_err(|error| failed(&path, &error))?;
            let content = if about.is_dir() {
                self.add(top, &path)?;
                continue;
            } else if about.is_symlink() {
                let target = fs::read_link(&path).map_err(|error| failed(&path, &error))?;
                target.into_os_string().into_encoded_bytes()
            } else if about.is_file() {
                fs::read(&path).map_err(|error| failed(&path, &error))?
            } else {
                Vec::new()
            };
            let below = path.strip_prefix(top).unwrap_or(&path).to_owned();
            self.0
                .insert(below, (content, about.permissions().mode() & 0o7777));
        }
        Ok(())
    }

    /// Makes a directory hold these files and nothing else: all of them or none. It is not there if there
    /// are none.
    ///
    /// # Errors
    /// Why not; the directory is as it was.
    pub(super) fn replace(&self, dir: &Path) -> Result<(), Problem> {
        if self.0.is_empty() && !dir.exists() {
            return Ok(());
        }
        write::directory(dir, |new| {
            for (path, (content, _)) in &self.0 {
                let path = new.join(path);
                fs::create_dir_all(path.parent().unwrap_or(new))?;
                fs::write(path, content)?;
            }
            Ok(())
        })?;
        match self.0.is_empty() {
            true => fs::remove_dir(dir)
                .map_err(|error| Problem::new(format!("cannot be removed: {error}")).in_file(dir)),
            false => Ok(()),
        }
    }
}

/// What differs between what was written and what is expected, by path.
pub(super) fn compare(written: &Tree, expected: &Tree) -> Vec<File> {
    let mut files = Vec::new();
    for (below, (content, mode)) in &written.0 {
        let state = match expected.0.get(below) {
            Some((wanted, _)) if wanted == content => State::Same,
            Some((wanted, _)) => State::Differs(diff(below, wanted, content)),
            None if expected.0.is_empty() => State::New,
            None => State::Extra(diff(below, b"", content)),
        };
        files.push(File {
            path: Path::new("/").join(below),
            mode: Some(*mode),
            content: Some(content.clone()),
            state,
        });
    }
    let missing = expected
        .0
        .keys()
        .filter(|path| !written.0.contains_key(*path));
    files.extend(missing.map(|below| File {
        path: Path::new("/").join(below),
        mode: None,
        content: None,
        state: State::Missing,
    }));
    files.sort_by(|one, other| one.path.cmp(&other.path));
    files
}

fn diff(path: &Path, expected: &[u8], written: &[u8]) -> String {
    if std::str::from_utf8(expected).is_err() || std::str::from_utf8(written).is_err() {
        return format!(
            "    ({} bytes expected, {} written; no text)\n",
            expected.len(),
            written.len()
        );
    }
    let names = ["expected", "written"].map(|side| format!("{side}/{}", path.display()));
    difference::unified([&names[0], &names[1]], expected, written)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &[u8])]) -> Tree {
        let files = files.iter();
        Tree(
            files
                .map(|(path, content)| (path.into(), (content.to_vec(), 0o644)))
                .collect(),
        )
    }

    #[test]
    fn each_file_is_in_one_state() {
        let written = tree(&[
            ("a", b"1\n2\n"),
            ("b", b"x"),
            ("d", b"\xff"),
            ("e", b"new\n"),
        ]);
        let expected = tree(&[
            ("a", b"1\n3\n"),
            ("b", b"x"),
            ("c", b"gone"),
            ("d", b"\xfe"),
        ]);
        let files = compare(&written, &expected);
        let states: Vec<&State> = files.iter().map(|file| &file.state).collect();
        assert_eq!(
            *states[0],
            State::Differs("--- expected/a\n+++ written/a\n@@ -1,2 +1,2 @@\n 1\n-3\n+2\n".into())
        );
        assert_eq!((states[1], states[2]), (&State::Same, &State::Missing));
        assert!(matches!(states[3], State::Differs(told) if told.contains("no text")));
        assert!(
            matches!(states[4], State::Extra(told) if told.ends_with("+new\n")),
            "{:?}",
            states[4]
        );
        assert_eq!(compare(&written, &Tree::default())[0].state, State::New);
    }

    #[test]
    fn what_is_expected_is_replaced_as_a_whole() {
        let dir = tempfile::tempdir().unwrap();
        let expected = dir.path().join("expected");
        for files in [
            &[("etc/a", &b"1"[..]), ("etc/b/c", b"2")][..],
            &[("etc/a", b"3")],
            &[],
        ] {
            let wanted = tree(files);
            wanted.replace(&expected).unwrap();
            let names = Tree::read(&expected).unwrap().0;
            assert_eq!(
                names.keys().collect::<Vec<_>>(),
                wanted.0.keys().collect::<Vec<_>>()
            );
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
