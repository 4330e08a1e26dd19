//! The files of a commit as objects: listed by one git, read through another. Where the commit comes from
//! is not known here.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use super::run::not_started;

/// Links to links to links of a repository that are followed.
const MAX_LINKS: usize = 8;

/// A line of `git ls-tree -l`.
pub(super) struct Entry {
    pub(super) mode: String,
    pub(super) object: String,
    pub(super) size: u64,
}

pub(super) fn entries(listed: &[u8]) -> Result<BTreeMap<String, Entry>, String> {
    let mut entries = BTreeMap::new();
    for line in listed
        .split(|byte| *byte == 0)
        .filter(|line| !line.is_empty())
    {
        let line = std::str::from_utf8(line)
            .map_err(|_| "a file has a name that is no UTF-8; rename it".to_owned())?;
        let parsed = line.split_once('\t').and_then(|(facts, path)| {
            let mut facts = facts.split_ascii_whitespace();
            let mode = facts.next()?.to_owned();
            let object = facts.nth(1)?.to_owned();
            // A submodule has none.
            let size = facts.next()?.parse().unwrap_or_default();
            Some((path.to_owned(), Entry { mode, object, size }))
        });
        let (path, entry) = parsed.ok_or("git lists its files in an unknown way")?;
        entries.insert(path, entry);
    }
    Ok(entries)
}

/// The objects of a repository, read one after the other.
pub(super) struct Objects {
    child: Child,
    answers: BufReader<ChildStdout>,
}

impl Objects {
    pub(super) fn open(mut command: Command, store: &Path) -> Result<Self, String> {
        let mut child = command
            .arg("--git-dir")
            .arg(store)
            .args(["cat-file", "--batch"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| not_started(error).message)?;
        let answers = child.stdout.take().ok_or("cannot read from git")?;
        Ok(Self {
            child,
            answers: BufReader::new(answers),
        })
    }

    pub(super) fn get(&mut self, object: &str) -> Result<Vec<u8>, String> {
        let broken = |error: std::io::Error| format!("cannot read object {object}: {error}");
        let asked = self.child.stdin.as_mut().ok_or("cannot write to git")?;
        writeln!(asked, "{object}").map_err(broken)?;
        let mut header = String::new();
        self.answers.read_line(&mut header).map_err(broken)?;
        let size = header.split_ascii_whitespace().nth(2);
        let size: usize = size
            .and_then(|size| size.parse().ok())
            .ok_or_else(|| format!("git does not have object {object}"))?;
        let mut bytes = vec![0; size];
        self.answers.read_exact(&mut bytes).map_err(broken)?;
        self.answers.read_exact(&mut [0]).map_err(broken)?;
        Ok(bytes)
    }

    /// The file that a path is, links inside the layer followed.
    pub(super) fn follow<'a>(
        &mut self,
        entries: &'a BTreeMap<String, Entry>,
        path: &str,
    ) -> Result<&'a Entry, String> {
        let mut at = path.to_owned();
        for _ in 0..MAX_LINKS {
            let entry = entries.get(&at).ok_or_else(|| {
                format!("`{path}` is a link to something other than a file of the layer; copy what it leads to")
            })?;
            match entry.mode.as_str() {
                "100644" | "100755" | "100664" => return Ok(entry),
                "120000" => {}
                "160000" => {
                    return Err(format!(
                        "`{path}` is a submodule, which a layer cannot have"
                    ));
                }
                mode => return Err(format!("`{path}` has the unknown mode {mode}")),
            }
            if entry.size > 4096 {
                return Err(format!("`{path}` is no link"));
            }
            let target = self.get(&entry.object)?;
            at = std::str::from_utf8(&target)
                .ok()
                .and_then(|target| joined(&at, target))
                .ok_or_else(|| {
                    format!("`{path}` is a link that leads out of the layer; copy what it leads to")
                })?;
        }
        Err(format!("`{path}` is a link to a link without end"))
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
}
