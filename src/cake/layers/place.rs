//! Paths as they are written down for all machines: relative to the project where that can be. No file is
//! looked at, so that a link is taken for what it is called.

use std::path::{Component, Path, PathBuf};

/// A path from the root, without `.` and `..`. One that cannot be had, because the working directory is
/// gone, is left as it is.
fn whole(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut whole = PathBuf::new();
    for part in absolute.components() {
        match part {
            Component::ParentDir => {
                whole.pop();
            }
            Component::CurDir => {}
            part => whole.push(part),
        }
    }
    whole
}

/// A path below a directory, relative to it; `None` if it is not below it.
#[must_use]
pub fn below(dir: &Path, path: &Path) -> Option<PathBuf> {
    let (dir, path) = (whole(dir), whole(path));
    let below = path.strip_prefix(&dir).ok()?;
    Some(match below == Path::new("") {
        true => PathBuf::from("."),
        false => below.to_owned(),
    })
}

/// A path of the working directory as it reads from another: an absolute one stays so, unless it is below
/// that directory.
#[must_use]
pub fn seen_from(dir: &Path, path: &Path) -> PathBuf {
    if let Some(below) = below(dir, path) {
        return below;
    }
    if path.is_absolute() {
        return path.to_owned();
    }
    let (dir, path) = (whole(dir), whole(path));
    let both = dir.components().zip(path.components());
    let common = both.take_while(|(one, other)| one == other).count();
    let ups = dir.components().skip(common).map(|_| Component::ParentDir);
    ups.chain(path.components().skip(common)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_below_is_relative_and_what_is_beside_goes_up() {
        for (dir, path, expected) in [
            ("pj", "pj/layers/app", "layers/app"),
            ("./pj/", "./pj/./layers/../l/app/", "l/app"),
            ("pj", "pj", "."),
            ("pj/deep", "r", "../../r"),
            ("pj", "../x", "../../x"),
            (".", "./l", "l"),
            ("/a/b", "/a/b/c", "c"),
            ("/a/b", "/a/bc", "/a/bc"),
        ] {
            let seen = seen_from(Path::new(dir), Path::new(path));
            assert_eq!(seen, Path::new(expected), "{dir} {path}");
        }
    }
}
