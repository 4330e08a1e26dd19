//! The way to a path: which directories decide what is there, symbolic links and what is still
//! missing included. Looks, and watches nothing.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

/// How many symbolic links the kernel follows (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// The way to a path as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Way {
    /// Directories that are passed: they matter when they are moved or removed.
    pub(super) passed: Vec<PathBuf>,
    /// Directories whose names matter: those that hold a link, the end, or would hold what is missing.
    pub(super) holders: Vec<PathBuf>,
    /// Where the path leads, links resolved. It may not exist, but the directory it is in does.
    pub(super) end: Option<PathBuf>,
}

impl Way {
    /// Follows an absolute path as far as it goes.
    pub(super) fn of(path: &Path) -> Self {
        let mut way = Self::default();
        let mut here = PathBuf::from("/");
        let mut rest = VecDeque::new();
        precede(&mut rest, path);
        let mut links = 0;
        while let Some(part) = rest.pop_front() {
            if part == ".." {
                here.pop();
                continue;
            }
            let next = here.join(&part);
            match std::fs::symlink_metadata(&next) {
                Ok(about) if about.is_symlink() => {
                    way.holders.push(here.clone());
                    links += 1;
                    let Ok(target) = std::fs::read_link(&next) else {
                        return way;
                    };
                    if links > MAX_LINKS {
                        return way;
                    }
                    if target.is_absolute() {
                        here = PathBuf::from("/");
                    }
                    precede(&mut rest, &target);
                }
                Ok(_) if !rest.is_empty() => {
                    way.passed.push(here);
                    here = next;
                }
                Ok(_) => {
                    way.holders.push(here);
                    way.end = Some(next);
                    return way;
                }
                Err(_) => {
                    way.end = (rest.is_empty() && here.is_dir()).then_some(next);
                    way.holders.push(here);
                    return way;
                }
            }
        }
        way.end = Some(here);
        way
    }
}

fn precede(rest: &mut VecDeque<OsString>, path: &Path) {
    for component in path.components().rev() {
        match component {
            Component::Normal(name) => rest.push_front(name.to_owned()),
            Component::ParentDir => rest.push_front("..".into()),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_and_what_is_missing_are_on_the_way() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        std::os::unix::fs::symlink("../a/b/f", root.join("a/link")).unwrap();
        let way = Way::of(&root.join("a/link"));
        assert_eq!(way.holders, [root.join("a"), root.join("a/b")]);
        assert_eq!(way.end, Some(root.join("a/b/f")));
        assert!(way.passed.contains(&root));
        let way = Way::of(&root.join("a/c/d/f"));
        assert_eq!(way.holders, [root.join("a")]);
        assert_eq!(way.end, None);
        std::os::unix::fs::symlink("loop", root.join("loop")).unwrap();
        assert_eq!(Way::of(&root.join("loop")).end, None);
    }
}
