//! Which directories and files a path depends on: everything whose change may change what is read
//! through it.
//!
//! Pure: the filesystem is a pair of functions. The kernel reports a change of a name to the
//! directory it is in, and nothing to anybody behind a symbolic link; so every directory on the way
//! matters, with the names in it that were followed, and the file at the end for writes in place
//! (conformance 2.3, table).

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::{Component, Path, PathBuf};

/// As many as the kernel follows.
const MAX_LINKS: usize = 40;

/// What a name stands for, symbolic links not followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Node {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link to this.
    Link(PathBuf),
    /// A device, a FIFO, a socket.
    Other,
    /// Nothing, or nothing that we may see.
    Missing,
}

/// What a directory has to tell. A busy directory far up the way shall wake nobody.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    /// That it is moved or removed itself; then all below is looked at anew.
    #[default]
    Passed,
    /// That names in it are, too: a holder that some process has open is removed without a word.
    Parent,
    /// All of its names: something in it is the end of the way, a link, or still missing.
    Holder,
}

/// A directory to watch.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Directory {
    /// The names in it that were followed.
    pub(super) names: BTreeSet<OsString>,
    /// Whether every data file in it counts, those to come included.
    pub(super) is_data: bool,
    /// What it has to tell.
    pub(super) role: Role,
}

/// All that is to be watched, by physical path: none holds a symbolic link.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    /// For changes of names.
    pub(super) directories: BTreeMap<PathBuf, Directory>,
    /// For changes of contents. Events of the directory are not enough: a file may be mounted by
    /// itself, or written through a hard link.
    pub(super) files: BTreeSet<PathBuf>,
}

impl Plan {
    /// The plan for an absolute path to a file, or to a directory of which `list` gives the data
    /// files.
    pub(super) fn of(
        path: &Path,
        look: &dyn Fn(&Path) -> Node,
        list: &dyn Fn(&Path) -> Vec<OsString>,
    ) -> Self {
        let mut plan = Self::default();
        if let Some(directory) = plan.follow(PathBuf::from("/"), path, look) {
            for name in list(&directory) {
                plan.follow(directory.clone(), Path::new(&name), look);
            }
            let data = plan.directories.entry(directory).or_default();
            data.is_data = true;
            data.role = Role::Holder;
        }
        plan.mark_parents();
        plan
    }

    fn mark_parents(&mut self) {
        let holders = self.directories.iter();
        let holders = holders.filter(|(_, directory)| directory.role == Role::Holder);
        let parents: Vec<_> = holders
            .filter_map(|(path, _)| path.parent().map(Path::to_owned))
            .collect();
        for parent in parents {
            if let Some(directory) = self.directories.get_mut(&parent) {
                directory.role = directory.role.max(Role::Parent);
            }
        }
    }

    /// Follows a path to its end, or to where it breaks off. Returns the directory it ends at.
    fn follow(
        &mut self,
        mut at: PathBuf,
        path: &Path,
        look: &dyn Fn(&Path) -> Node,
    ) -> Option<PathBuf> {
        let mut links = 0;
        let mut rest = Vec::new();
        push(&mut rest, path);
        while let Some(name) = rest.pop() {
            if name == ".." {
                at.pop();
                continue;
            }
            let here = at.join(&name);
            let node = look(&here);
            let directory = self.directories.entry(at.clone()).or_default();
            directory.names.insert(name);
            if rest.is_empty() || node != Node::Directory {
                directory.role = Role::Holder;
            }
            match node {
                Node::Directory => at = here,
                Node::Link(target) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return None;
                    }
                    if target.is_absolute() {
                        at = PathBuf::from("/");
                    }
                    push(&mut rest, &target);
                }
                Node::File => {
                    if rest.is_empty() {
                        self.files.insert(here);
                    }
                    return None;
                }
                Node::Other | Node::Missing => return None,
            }
        }
        Some(at)
    }
}

/// Puts the segments of a path on the stack, the first on top.
fn push(rest: &mut Vec<OsString>, path: &Path) {
    rest.extend(path.components().rev().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsStr::new("..").to_owned()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A filesystem as pairs of path and node; `dir` marks data directories by their listing.
    struct Fake(Vec<(&'static str, Node)>);

    impl Fake {
        fn plan(&self, path: &str) -> Plan {
            let look = |path: &Path| {
                let found = self.0.iter().find(|(p, _)| Path::new(p) == path);
                found.map_or(Node::Missing, |(_, node)| node.clone())
            };
            let list = |dir: &Path| {
                let children = self.0.iter().map(|(p, _)| Path::new(p));
                children
                    .filter(|p| p.parent() == Some(dir))
                    .filter_map(|p| p.file_name())
                    .filter(|name| !name.to_string_lossy().starts_with(".."))
                    .map(OsStr::to_owned)
                    .collect()
            };
            Plan::of(Path::new(path), &look, &list)
        }
    }

    fn link(to: &str) -> Node {
        Node::Link(to.into())
    }

    /// `DIR: NAMES` per directory, `+` for a holder, `^` for a parent, `*` for data, then the files.
    fn shown(plan: &Plan) -> Vec<String> {
        let directories = plan.directories.iter().map(|(path, directory)| {
            let names: Vec<_> = directory
                .names
                .iter()
                .map(|n| n.to_string_lossy())
                .collect();
            let role = match directory.role {
                Role::Passed => "",
                Role::Parent => "^",
                Role::Holder => "+",
            };
            let data = if directory.is_data { "*" } else { "" };
            format!("{}{role}{data}: {}", path.display(), names.join(" "))
        });
        let files = plan.files.iter().map(|path| path.display().to_string());
        directories.chain(files).collect()
    }

    #[test]
    fn every_directory_on_the_way_and_the_file_are_watched() {
        let fs = Fake(vec![
            ("/a", Node::Directory),
            ("/a/b", Node::Directory),
            ("/a/b/f", Node::File),
        ]);
        assert_eq!(
            shown(&fs.plan("/a/./b/../b/f")),
            ["/: a", "/a^: b", "/a/b+: f", "/a/b/f"]
        );
    }

    #[test]
    fn c2_3_a_configmap_is_followed_through_its_data_link() {
        let fs = Fake(vec![
            ("/cm", Node::Directory),
            ("/cm/f", link("..data/f")),
            ("/cm/..data", link("..2026")),
            ("/cm/..2026", Node::Directory),
            ("/cm/..2026/f", Node::File),
        ]);
        let want = ["/^: cm", "/cm+: ..2026 ..data f", "/cm/..2026+: f"];
        assert_eq!(shown(&fs.plan("/cm/f"))[..3], want);
        let directory = shown(&fs.plan("/cm"));
        assert_eq!(
            directory,
            [
                "/+: cm",
                "/cm+*: ..2026 ..data f",
                "/cm/..2026+: f",
                "/cm/..2026/f"
            ]
        );
    }

    #[test]
    fn c2_3_links_across_directories_are_watched_at_each_hop() {
        let fs = Fake(vec![
            ("/a", Node::Directory),
            ("/a/f", link("/b/g")),
            ("/b", link("c")),
            ("/c", Node::Directory),
            ("/c/g", link("../d/h")),
            ("/d", Node::Directory),
            ("/d/h", Node::File),
        ]);
        assert_eq!(
            shown(&fs.plan("/a/f")),
            ["/+: a b c d", "/a+: f", "/c+: g", "/d+: h", "/d/h"]
        );
    }

    #[test]
    fn c2_3_what_is_missing_is_awaited_in_the_nearest_directory() {
        let fs = Fake(vec![("/a", Node::Directory)]);
        assert_eq!(shown(&fs.plan("/a/b/c/f")), ["/^: a", "/a+: b"]);
        assert_eq!(shown(&fs.plan("/f")), ["/+: f"]);
        let through_a_file = Fake(vec![("/a", Node::File)]);
        assert_eq!(shown(&through_a_file.plan("/a/f")), ["/+: a"]);
    }

    #[test]
    fn loops_end() {
        let fs = Fake(vec![("/a", link("b")), ("/b", link("/a"))]);
        assert_eq!(shown(&fs.plan("/a")), ["/+: a b"]);
        let fs = Fake(vec![("/a", link("a/a"))]);
        assert_eq!(shown(&fs.plan("/a/x")), ["/+: a"]);
    }

    #[test]
    fn the_root_itself_may_be_the_data_directory() {
        let fs = Fake(vec![("/f", Node::File)]);
        assert_eq!(shown(&fs.plan("/")), ["/+*: f", "/f"]);
    }
}
