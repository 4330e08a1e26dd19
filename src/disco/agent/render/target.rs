//! Where a rendered file goes, what is there, and what it is to be like. Writes nothing.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Component, Path, PathBuf};

use crate::contract::account::Accounts;
use crate::contract::render::Output;

/// As many links as the kernel follows.
const MAX_LINKS: usize = 40;

/// The permission bits, without the kind of file.
const BITS: u32 = 0o7777;

/// A file that is to be.
pub(super) struct Target {
    /// Where: no symbolic link.
    pub(super) path: PathBuf,
    /// Its permission bits.
    pub(super) mode: u32,
    /// Whom it is to belong to; `None` is whoever writes it.
    pub(super) owner: Option<Owner>,
    /// Whether what is there is kept.
    pub(super) backup: bool,
    /// What is there.
    pub(super) present: Option<Present>,
}

/// Whom a file belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Whether the rule says so: else it only stays as it is, where that can be.
    pub(super) is_asked: bool,
}

/// The file that is there.
pub(super) struct Present {
    mode: u32,
    uid: u32,
    gid: u32,
    size: u64,
}

impl Target {
    /// Finds it out. With `root`, a directory that stands for the root, nobody but disco itself is to
    /// own anything: its accounts are not those of this system.
    ///
    /// # Errors
    /// Why there can be no such file.
    pub(super) fn find(
        output: &Output,
        root: Option<&Path>,
        accounts: &Accounts,
    ) -> Result<Self, String> {
        let told = |what: &str| format!("{} {what}", output.to.display());
        let path = resolve(root.unwrap_or(Path::new("/")), &output.to)
            .map_err(|error| told(&format!("cannot be followed to a file: {error}")))?;
        let present = match fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_file() => Some(Present {
                mode: meta.permissions().mode() & BITS,
                uid: meta.uid(),
                gid: meta.gid(),
                size: meta.len(),
            }),
            Ok(meta) => {
                let kind = match meta.is_dir() {
                    true => "a directory",
                    false => "no regular file",
                };
                return Err(told(&format!("is {kind}, and cannot be replaced")));
            }
            // Whatever else is wrong shows when it is written.
            Err(_) => None,
        };
        let owner = match (&output.owner, &present) {
            _ if root.is_some() => None,
            (Some(spec), _) => {
                let who = accounts.find(spec);
                let who =
                    who.map_err(|unknown| told(&format!("has an `owner` in vain: {unknown}")))?;
                Some(Owner {
                    uid: who.uid,
                    gid: who.gid,
                    is_asked: true,
                })
            }
            (None, Some(present)) => Some(Owner {
                uid: present.uid,
                gid: present.gid,
                is_asked: false,
            }),
            (None, None) => None,
        };
        Ok(Self {
            mode: output.mode_over(present.as_ref().map(|present| present.mode)),
            path,
            owner,
            backup: output.backup,
            present,
        })
    }

    /// Whether what is there has this content, and mode and owner as they should be.
    pub(super) fn is(&self, content: &[u8]) -> bool {
        let Some(present) = &self.present else {
            return false;
        };
        let is_owned = self
            .owner
            .is_none_or(|owner| (owner.uid, owner.gid) == (present.uid, present.gid));
        let is_size = usize::try_from(present.size) == Ok(content.len());
        present.mode == self.mode && is_owned && is_size && holds(&self.path, content)
    }
}

/// Whether a file holds this and nothing else. One that cannot be read does not.
fn holds(path: &Path, content: &[u8]) -> bool {
    let mut bytes = Vec::with_capacity(content.len());
    let read = File::open(path).and_then(|mut file| file.read_to_end(&mut bytes));
    read.is_ok() && bytes == content
}

/// The path of a file below `root`, symbolic links followed as if that were the root of everything:
/// none leads out of it. What is not there counts as it is written.
fn resolve(root: &Path, path: &Path) -> io::Result<PathBuf> {
    let mut waiting: Vec<OsString> = parts(path);
    let mut at = root.to_owned();
    let mut depth = 0_usize;
    let mut links = 0;
    while let Some(part) = waiting.pop() {
        if part == ".." {
            if depth > 0 {
                at.pop();
                depth -= 1;
            }
            continue;
        }
        let next = at.join(&part);
        let is_link = fs::symlink_metadata(&next).is_ok_and(|meta| meta.is_symlink());
        if !is_link {
            at = next;
            depth += 1;
            continue;
        }
        links += 1;
        if links > MAX_LINKS {
            return Err(io::Error::from_raw_os_error(libc::ELOOP));
        }
        let to = fs::read_link(&next)?;
        if to.is_absolute() {
            root.clone_into(&mut at);
            depth = 0;
        }
        waiting.extend(parts(&to));
    }
    Ok(at)
}

/// The names of a path and its `..`, the last one first.
fn parts(path: &Path) -> Vec<OsString> {
    let parts = path.components().rev().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    });
    parts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_are_followed_within_the_root() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        fs::create_dir_all(root.join("etc/app")).unwrap();
        fs::create_dir_all(root.join("real")).unwrap();
        symlink("/real", root.join("etc/linked")).unwrap();
        symlink("../../../../../real/b", root.join("etc/app/up")).unwrap();
        symlink("a.conf", root.join("etc/app/beside")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        for (path, expected) in [
            ("/etc/app/a.conf", "etc/app/a.conf"),
            ("/etc/linked/x/y", "real/x/y"),
            ("/etc/app/up", "real/b"),
            ("/etc/app/beside", "etc/app/a.conf"),
            ("/none/at/all", "none/at/all"),
        ] {
            let found = resolve(root, Path::new(path)).unwrap();
            assert_eq!(found, root.join(expected), "{path}");
        }
        let error = resolve(root, Path::new("/loop")).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ELOOP));
    }
}
