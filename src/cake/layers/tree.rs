//! A layer as files in memory. Whatever was read, nothing in it leads out of the tree, and it is no
//! larger than a layer may be. It knows nothing of where layers are found.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use crate::contract::layer::file::{self, LayerFile};
use crate::contract::layer::{Read, digest};
use crate::contract::problem::Problem;

/// The largest layer, in bytes. It is configuration, after all.
pub const MAX_BYTES: u64 = 64 << 20;

/// The most files of a layer.
pub const MAX_FILES: usize = 10_000;

/// Who has that many problems does not read the rest.
pub(super) const MAX_PROBLEMS: usize = 20;

/// Directories nested deeper than this are a mistake.
const MAX_DEPTH: usize = 32;

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// What is in it.
    pub bytes: Vec<u8>,
    /// Whether it may be executed.
    pub exec: bool,
}

/// The files of a layer by their path, with `/` between its parts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tree {
    files: BTreeMap<String, File>,
    size: u64,
}

impl Tree {
    /// Reads a directory. `.git` is left out. A symbolic link to a file inside is that file; one to
    /// anything else is refused, and so is what is neither file nor directory.
    ///
    /// # Errors
    /// Everything that cannot be part of a layer.
    pub fn read(dir: &Path) -> Result<Self, Vec<Problem>> {
        let root = match dir.canonicalize() {
            Ok(root) => root,
            Err(error) => return Err(vec![unreadable(dir, &error)]),
        };
        let mut reader = Reader {
            root: &root,
            shown: dir,
            tree: Self::default(),
            problems: Vec::new(),
            is_full: false,
        };
        reader.directory(&root, "", 0);
        match reader.problems.is_empty() {
            true => Ok(reader.tree),
            false => Err(reader.problems),
        }
    }

    /// Takes files that are part of this program. They have no mode: what begins as a program does is
    /// one.
    #[must_use]
    pub fn embedded(dir: &include_dir::Dir<'_>) -> Self {
        let mut tree = Self::default();
        tree.embed(dir, dir.path());
        tree
    }

    fn embed(&mut self, dir: &include_dir::Dir<'_>, top: &Path) {
        for file in dir.files() {
            let path = file.path().strip_prefix(top).unwrap_or(file.path());
            let bytes = file.contents().to_vec();
            let exec = is_program(&bytes);
            // What we ship is within what we allow; a test reads every embedded layer.
            let _ = self.insert(&path.to_string_lossy(), bytes, exec);
        }
        for below in dir.dirs() {
            self.embed(below, top);
        }
    }

    /// Whether one more file of this size still fits.
    ///
    /// # Errors
    /// What is too much, as a fragment.
    pub fn admit(&self, path: &str, size: u64) -> Result<(), String> {
        if self.size.saturating_add(size) > MAX_BYTES {
            return Err(format!(
                "`{path}` makes the layer larger than {} MiB; a layer holds configuration, put \
                 large files into the image otherwise",
                MAX_BYTES >> 20
            ));
        }
        if self.files.len() >= MAX_FILES {
            return Err(format!("the layer has more than {MAX_FILES} files"));
        }
        Ok(())
    }

    /// Adds a file.
    ///
    /// # Errors
    /// A path that is no plain one below the top, and too much of everything, as a fragment.
    pub fn insert(&mut self, path: &str, bytes: Vec<u8>, exec: bool) -> Result<(), String> {
        let is_part = |part: &str| !matches!(part, "" | "." | ".." | ".git");
        if !path.split('/').all(is_part) || path.chars().any(char::is_control) {
            return Err(format!("{path:?} is no name for a file of a layer"));
        }
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.admit(path, size)?;
        self.size += size;
        self.files.insert(path.to_owned(), File { bytes, exec });
        Ok(())
    }

    /// The file at a path.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&File> {
        self.files.get(path)
    }

    /// All files, sorted by path.
    pub fn files(&self) -> impl Iterator<Item = (&str, &File)> {
        self.files.iter().map(|(path, file)| (path.as_str(), file))
    }

    /// The files that go into an image, sorted by path.
    pub fn shipped(&self) -> impl Iterator<Item = (&str, &File)> {
        self.files().filter(|(path, _)| digest::is_shipped(path))
    }

    /// See [`digest::tree`].
    #[must_use]
    pub fn digest(&self) -> String {
        digest::tree(
            self.files()
                .map(|(path, file)| (path, file.exec, file.bytes.as_slice())),
        )
    }

    /// Its `layer.yaml`; `place` is how messages name the directory.
    ///
    /// # Errors
    /// That there is none, or what is wrong with it.
    pub fn layer_file(&self, place: &Path) -> Result<Read<LayerFile>, Vec<Problem>> {
        match self.get(file::NAME) {
            Some(found) => file::parse(&place.join(file::NAME), &found.bytes),
            None => Err(vec![
                Problem::new("holds no layer.yaml, so it is no layer").in_file(place),
            ]),
        }
    }
}

/// Whether bytes begin as a script or a binary does.
fn is_program(bytes: &[u8]) -> bool {
    bytes.starts_with(b"#!") || bytes.starts_with(b"\x7fELF")
}

fn unreadable(path: &Path, error: &std::io::Error) -> Problem {
    Problem::new(format!("cannot be read: {error}")).in_file(path)
}

struct Reader<'a> {
    root: &'a Path,
    shown: &'a Path,
    tree: Tree,
    problems: Vec<Problem>,
    /// It is too much already; what else there is does not matter.
    is_full: bool,
}

impl Reader<'_> {
    fn refuse(&mut self, path: &str, message: impl Into<String>) {
        self.problems
            .push(Problem::new(message).in_file(self.shown.join(path)));
    }

    fn directory(&mut self, dir: &Path, prefix: &str, depth: usize) {
        if depth > MAX_DEPTH {
            return self.refuse(prefix, format!("is nested deeper than {MAX_DEPTH}"));
        }
        let listed = fs::read_dir(dir).and_then(|entries| {
            let mut entries = entries.collect::<Result<Vec<_>, _>>()?;
            entries.sort_by_key(fs::DirEntry::file_name);
            Ok(entries)
        });
        let entries = match listed {
            Ok(entries) => entries,
            Err(error) => return self.refuse(prefix, format!("cannot be read: {error}")),
        };
        for entry in entries {
            let name = entry.file_name();
            if name == ".git" {
                continue;
            }
            let Some(name) = name.to_str() else {
                self.refuse(prefix, format!("{name:?} is no UTF-8; rename it"));
                continue;
            };
            let path = match prefix {
                "" => name.to_owned(),
                _ => format!("{prefix}/{name}"),
            };
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => self.directory(&entry.path(), &path, depth + 1),
                Ok(kind) if kind.is_symlink() => self.link(&entry.path(), &path),
                Ok(kind) if kind.is_file() => self.file(&entry.path(), &path),
                Ok(_) => self.refuse(&path, "is neither a file nor a directory; remove it"),
                Err(error) => self.refuse(&path, format!("cannot be read: {error}")),
            }
            if self.is_full || self.problems.len() > MAX_PROBLEMS {
                return;
            }
        }
    }

    fn link(&mut self, link: &Path, path: &str) {
        let target = match link.canonicalize() {
            Ok(target) => target,
            Err(error) => {
                return self.refuse(path, format!("is a link that leads nowhere: {error}"));
            }
        };
        let inside = target.strip_prefix(self.root);
        let is_ours = inside.is_ok_and(|inside| inside.iter().all(|part| part != ".git"));
        if !is_ours {
            self.refuse(
                path,
                "is a link that leads out of the layer; copy what it leads to",
            );
        } else if !target.is_file() {
            self.refuse(
                path,
                "is a link to something other than a file; copy what it leads to",
            );
        } else {
            self.file(&target, path);
        }
    }

    fn file(&mut self, file: &Path, path: &str) {
        // Whatever it was when the directory was listed: no link is followed, and no pipe waited for.
        let opened = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(file)
            .and_then(|file| Ok((file.metadata()?, file)));
        let (meta, opened) = match opened {
            Ok((meta, file)) if meta.is_file() => (meta, file),
            Ok(_) => return self.refuse(path, "is no file"),
            Err(error) => return self.refuse(path, format!("cannot be read: {error}")),
        };
        if let Err(message) = self.tree.admit(path, meta.len()) {
            self.is_full = true;
            return self.refuse("", message);
        }
        let mut bytes = Vec::new();
        // It may have grown since.
        if let Err(error) = opened.take(MAX_BYTES + 1).read_to_end(&mut bytes) {
            return self.refuse(path, format!("cannot be read: {error}"));
        }
        if let Err(message) = self.tree.insert(path, bytes, meta.mode() & 0o100 != 0) {
            self.refuse("", message);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::os::unix::net::UnixListener;

    fn layer() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("sub/.git")).unwrap();
        fs::create_dir(dir.path().join(".git")).unwrap();
        fs::write(dir.path().join(".git/config"), "x").unwrap();
        fs::write(dir.path().join("layer.yaml"), "layer: {name: a}").unwrap();
        fs::write(dir.path().join("sub/install"), "#!/bin/sh\n").unwrap();
        let run = fs::Permissions::from_mode(0o744);
        fs::set_permissions(dir.path().join("sub/install"), run).unwrap();
        dir
    }

    fn told(dir: &Path) -> Vec<String> {
        let problems = Tree::read(dir).unwrap_err();
        problems
            .into_iter()
            .map(|problem| problem.message)
            .collect()
    }

    #[test]
    fn a_directory_is_read_without_git() {
        let dir = layer();
        symlink("sub/install", dir.path().join("run")).unwrap();
        let tree = Tree::read(dir.path()).unwrap();
        let files: Vec<_> = tree.files().map(|(path, file)| (path, file.exec)).collect();
        assert_eq!(
            files,
            [("layer.yaml", false), ("run", true), ("sub/install", true)]
        );
        assert_eq!(tree.layer_file(dir.path()).unwrap().value.name, "a");
        assert!(Tree::default().layer_file(dir.path()).is_err());
    }

    #[test]
    fn nothing_leads_out_of_it() {
        for target in [
            "/etc/passwd",
            "../x",
            "../../../../etc/passwd",
            ".git/config",
            "sub",
            "none",
            "self",
        ] {
            let dir = layer();
            symlink(target, dir.path().join("self")).unwrap();
            assert_eq!(told(dir.path()).len(), 1, "{target}");
        }
        let dir = layer();
        let _socket = UnixListener::bind(dir.path().join("socket")).unwrap();
        symlink("socket", dir.path().join("link")).unwrap();
        assert_eq!(told(dir.path()).len(), 2);
        assert_eq!(told(Path::new("/nowhere")).len(), 1);
    }

    #[test]
    fn it_has_a_largest_size() {
        let dir = layer();
        let file = fs::File::create(dir.path().join("big")).unwrap();
        file.set_len(MAX_BYTES).unwrap();
        assert!(told(dir.path())[0].contains("larger than 64 MiB"));
        let mut tree = Tree::default();
        for bad in ["", "/a", "a/", "a/../b", "./a", "a//b", ".git/x", "a\nb"] {
            assert!(tree.insert(bad, Vec::new(), false).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_digest_knows_neither_place_nor_time_nor_umask() {
        let (one, other) = (layer(), layer());
        let read = |dir: &tempfile::TempDir| Tree::read(dir.path()).unwrap().digest();
        let mode = |mode| fs::Permissions::from_mode(mode);
        fs::set_permissions(other.path().join("layer.yaml"), mode(0o600)).unwrap();
        fs::set_permissions(other.path().join("sub/install"), mode(0o777)).unwrap();
        assert_eq!(read(&one), read(&other));
        fs::set_permissions(other.path().join("sub/install"), mode(0o644)).unwrap();
        assert_ne!(read(&one), read(&other));
    }
}
