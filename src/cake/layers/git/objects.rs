//! The files of a commit as objects, read through one git. Each is held to its name, which is the digest
//! of what it holds: whoever names a commit names all of its files. Where the commit comes from is not
//! known here.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};

use super::run::not_started;
use crate::cake::layers::tree::MAX_FILES;
use crate::contract::hash::hex;

/// Links to links to links of a repository that are followed.
const MAX_LINKS: usize = 8;

/// Directories nested deeper than this are a mistake.
const MAX_DEPTH: usize = 32;

/// More files and directories than this are looked at for no layer.
const MAX_ENTRIES: usize = 2 * MAX_FILES;

/// The largest commit, directory or link, in bytes.
const MAX_SMALL: u64 = 4 << 20;

/// Why something cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The repository is not what it was: objects are gone, or other than they are called.
    Broken(String),
    /// It is so, and is refused.
    Refused(String),
}

fn refused<T>(message: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::Refused(message.into()))
}

/// What a directory says of something in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) mode: String,
    pub(super) object: String,
}

/// The objects of a repository, read one after the other.
pub(super) struct Objects {
    child: Child,
    answers: BufReader<ChildStdout>,
    /// Something was not let pass, and stands in the way of all further answers.
    pub(super) is_over: bool,
}

impl Objects {
    pub(super) fn open(mut command: Command, store: &Path) -> Result<Self, String> {
        let mut child = command
            .arg("--git-dir")
            .arg(store)
            .args(["cat-file", "--batch"])
            // What is not there is not got from elsewhere.
            .env("GIT_NO_LAZY_FETCH", "1")
            .env("GIT_ALLOW_PROTOCOL", "none")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| not_started(error).message)?;
        let answers = child.stdout.take().ok_or("cannot read from git")?;
        Ok(Self {
            child,
            answers: BufReader::new(answers),
            is_over: false,
        })
    }

    /// What is in a file, once `admit` lets its size pass.
    pub(super) fn file(
        &mut self,
        object: &str,
        admit: impl FnOnce(u64) -> Result<(), String>,
    ) -> Result<Vec<u8>, Fault> {
        self.get(object, &["blob"], admit).map(|(_, bytes)| bytes)
    }

    fn get(
        &mut self,
        object: &str,
        kinds: &[&'static str],
        admit: impl FnOnce(u64) -> Result<(), String>,
    ) -> Result<(&'static str, Vec<u8>), Fault> {
        let broken = |why: &dyn std::fmt::Display| {
            Fault::Broken(format!("cannot read object {object}: {why}"))
        };
        let asked = self.child.stdin.as_mut();
        let asked = asked.ok_or_else(|| broken(&"git does not listen"))?;
        writeln!(asked, "{object}").map_err(|error| broken(&error))?;
        let mut header = String::new();
        let line = self.answers.read_line(&mut header);
        line.map_err(|error| broken(&error))?;
        let mut words = header.split_ascii_whitespace().skip(1);
        let said = words.next();
        let Some(kind) = kinds.iter().find(|kind| said == Some(**kind)) else {
            self.is_over = true;
            return Err(broken(&"git has nothing of the kind"));
        };
        let size: u64 = words
            .next()
            .and_then(|size| size.parse().ok())
            .ok_or_else(|| broken(&"git does not tell its size"))?;
        if let Err(message) = admit(size) {
            self.is_over = true;
            return refused(message);
        }
        let mut bytes = Vec::new();
        let whole = self.answers.by_ref().take(size).read_to_end(&mut bytes);
        let whole = whole.map_err(|error| broken(&error))?;
        let mut end = [0];
        let rest = self.answers.read_exact(&mut end);
        rest.map_err(|error| broken(&error))?;
        if u64::try_from(whole).is_ok_and(|whole| whole != size) || name(kind, &bytes) != object {
            return Err(broken(&"it holds something else"));
        }
        Ok((kind, bytes))
    }

    fn directory_at(&mut self, object: &str) -> Result<Vec<(String, Entry)>, Fault> {
        listed(&self.small(object, &["tree"])?.1)
    }

    fn small(
        &mut self,
        object: &str,
        kinds: &[&'static str],
    ) -> Result<(&'static str, Vec<u8>), Fault> {
        self.get(object, kinds, |size| match size > MAX_SMALL {
            true => Err(format!(
                "object {object} is larger than {} MiB",
                MAX_SMALL >> 20
            )),
            false => Ok(()),
        })
    }

    /// The directory of a commit, `below` its top; `None` if it has no such directory.
    pub(super) fn directory(
        &mut self,
        commit: &str,
        below: Option<&str>,
    ) -> Result<Option<String>, Fault> {
        let mut at = commit.to_owned();
        // A tag may have been named in place of its commit.
        for kinds in [&["commit", "tag"][..], &["commit"]] {
            let (kind, bytes) = self.small(&at, kinds)?;
            let line = bytes.split(|byte| *byte == b'\n').next();
            let word: &[u8] = if kind == "tag" { b"object " } else { b"tree " };
            let named = line.and_then(|line| line.strip_prefix(word));
            match named.and_then(|name| std::str::from_utf8(name).ok()) {
                Some(named) => at = named.to_owned(),
                None => return refused("is no commit"),
            }
            if kind == "commit" {
                break;
            }
        }
        for part in below.iter().flat_map(|below| below.split('/')) {
            let listed = self.directory_at(&at)?;
            let found = listed.into_iter().find(|(name, _)| name == part);
            match found.filter(|(_, entry)| is_directory(entry)) {
                Some((_, entry)) => at = entry.object,
                None => return Ok(None),
            }
        }
        Ok(Some(at))
    }

    /// The files of a directory and of those below it, by their path, with links and submodules.
    pub(super) fn entries(&mut self, directory: &str) -> Result<BTreeMap<String, Entry>, Fault> {
        let mut entries = BTreeMap::new();
        let mut seen = 0;
        let mut waiting = vec![(String::new(), directory.to_owned(), 0)];
        while let Some((prefix, object, depth)) = waiting.pop() {
            for (name, entry) in self.directory_at(&object)? {
                seen += 1;
                let path = format!("{prefix}{name}");
                if !is_directory(&entry) {
                    entries.insert(path, entry);
                } else if depth == MAX_DEPTH {
                    return refused(format!("`{path}` is nested deeper than {MAX_DEPTH}"));
                } else {
                    waiting.push((path + "/", entry.object, depth + 1));
                }
                if entries.len() > MAX_FILES || seen > MAX_ENTRIES {
                    return refused(format!("the layer has more than {MAX_FILES} files"));
                }
            }
        }
        Ok(entries)
    }

    /// The file that a path is, links inside the layer followed.
    pub(super) fn follow<'a>(
        &mut self,
        entries: &'a BTreeMap<String, Entry>,
        path: &str,
    ) -> Result<&'a Entry, Fault> {
        let mut at = path.to_owned();
        for _ in 0..MAX_LINKS {
            let Some(entry) = entries.get(&at) else {
                return refused(format!(
                    "`{path}` is a link to something other than a file of the layer; copy what it \
                     leads to"
                ));
            };
            match entry.mode.as_str() {
                "100644" | "100755" | "100664" => return Ok(entry),
                "120000" => {}
                "160000" => {
                    return refused(format!(
                        "`{path}` is a submodule, which a layer cannot have"
                    ));
                }
                mode => return refused(format!("`{path}` has the unknown mode {mode}")),
            }
            let target = self.file(&entry.object, |size| match size > 4096 {
                true => Err(format!("`{path}` is no link")),
                false => Ok(()),
            })?;
            let target = std::str::from_utf8(&target).ok();
            match target.and_then(|target| joined(&at, target)) {
                Some(target) => at = target,
                None => {
                    return refused(format!(
                        "`{path}` is a link that leads out of the layer; copy what it leads to"
                    ));
                }
            }
        }
        refused(format!("`{path}` is a link to a link without end"))
    }
}

impl Drop for Objects {
    fn drop(&mut self) {
        // It ends once nobody can ask any more.
        drop(self.child.stdin.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What git calls an object that holds this.
fn name(kind: &str, bytes: &[u8]) -> String {
    let mut digest = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    digest.update(format!("{kind} {}\0", bytes.len()).as_bytes());
    digest.update(bytes);
    hex(digest.finish().as_ref())
}

fn is_directory(entry: &Entry) -> bool {
    matches!(entry.mode.as_str(), "40000" | "040000")
}

/// What is in a directory: mode, a blank, the name, a zero byte, and the 20 bytes of the object's name.
fn listed(mut bytes: &[u8]) -> Result<Vec<(String, Entry)>, Fault> {
    let mut entries = Vec::new();
    while !bytes.is_empty() {
        let end = bytes.iter().position(|byte| *byte == 0);
        let parts = end.and_then(|end| {
            let (said, rest) = bytes.split_at(end);
            let blank = said.iter().position(|byte| *byte == b' ')?;
            let mode = std::str::from_utf8(said.get(..blank)?).ok()?;
            Some((
                mode,
                said.get(blank + 1..)?,
                rest.get(1..21)?,
                rest.get(21..)?,
            ))
        });
        let Some((mode, name, object, rest)) = parts else {
            return refused("a directory of it is none that cake knows");
        };
        let Ok(name) = std::str::from_utf8(name) else {
            return refused("a file has a name that is no UTF-8; rename it");
        };
        if name.is_empty() || name.contains('/') {
            return refused(format!("{name:?} is no name for a file of a layer"));
        }
        let entry = Entry {
            mode: mode.to_owned(),
            object: hex(object),
        };
        entries.push((name.to_owned(), entry));
        bytes = rest;
    }
    Ok(entries)
}

/// Where a link at `path` leads; `None` if out of the tree.
fn joined(path: &str, target: &str) -> Option<String> {
    if target.starts_with('/') {
        return None;
    }
    let mut parts: Vec<&str> = path.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_somewhere_in_the_tree_or_nowhere() {
        assert_eq!(joined("a/b", "../c"), Some("c".into()));
        assert_eq!(joined("a/b", "./c/../d"), Some("a/d".into()));
        assert_eq!(joined("a/b", "../../c"), None);
        assert_eq!(joined("b", ".."), None);
        assert_eq!(joined("b", "/etc"), None);
    }

    #[test]
    fn an_object_is_called_by_what_it_holds() {
        assert_eq!(
            name("blob", b""),
            "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
        );
        assert_eq!(
            name("tree", b""),
            "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
        );
    }

    #[test]
    fn a_directory_lists_names_and_nothing_that_leads_elsewhere() {
        let entry = |name: &[u8]| [b"100644 ", name, b"\0", &[0xab; 20]].concat();
        let two = listed(&[entry(b"a"), entry(b"b c")].concat()).unwrap();
        assert_eq!(two[1].0, "b c");
        assert_eq!(two[0].1.object, "ab".repeat(20));
        for bad in [&b""[..], b"a/b", b"\xff"] {
            assert!(listed(&entry(bad)).is_err(), "{bad:?}");
        }
        let whole = entry(b"a");
        for cut in 1..whole.len() {
            assert!(listed(&whole[..cut]).is_err(), "{cut}");
        }
    }
}
