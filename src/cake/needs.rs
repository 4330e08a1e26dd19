//! Which other layers a layer needs, found by name, those of the others included. It gets hold of none.

use std::path::{Path, PathBuf};

use crate::cake::files;
use crate::contract::layer::file;

/// Where the layer of a name lies; `None` if that is not known.
pub type Find<'a> = &'a dyn Fn(&str) -> Option<PathBuf>;

/// What a layer needs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Needs {
    /// Names and directories, each once, nearest first.
    pub found: Vec<(String, PathBuf)>,
    /// Names that are not found.
    pub unknown: Vec<String>,
}

/// What the layer in a directory needs. One without a readable `layer.yaml` needs nothing.
#[must_use]
pub fn of(dir: &Path, find: Find<'_>) -> Needs {
    let mut needs = Needs::default();
    let mut seen = Vec::new();
    let mut waiting = names(dir, &mut seen);
    while !waiting.is_empty() {
        let name = waiting.remove(0);
        if seen.contains(&name) {
            continue;
        }
        seen.push(name.clone());
        match find(&name) {
            Some(dir) => {
                waiting.extend(names(&dir, &mut seen));
                needs.found.push((name, dir));
            }
            None => needs.unknown.push(name),
        }
    }
    needs
}

/// The names that a layer's file gives; its own is seen.
fn names(dir: &Path, seen: &mut Vec<String>) -> Vec<String> {
    let file = dir.join(file::NAME);
    let read = files::read_small(&file).ok();
    match read.map(|bytes| file::parse(&file, &bytes)) {
        Some(Ok(read)) => {
            seen.push(read.value.name);
            read.value.layers
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_layer_is_needed_once_and_circles_end() {
        let dir = tempfile::tempdir().unwrap();
        for (name, layers) in [("a", "b, c"), ("b", "c, a"), ("c", "gone")] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
            let text = format!("layer: {{name: {name}, layers: [{layers}]}}");
            std::fs::write(dir.path().join(name).join("layer.yaml"), text).unwrap();
        }
        let find = |name: &str| Some(dir.path().join(name)).filter(|path| path.is_dir());
        let needs = of(&dir.path().join("a"), &find);
        let names: Vec<_> = needs.found.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["b", "c"]);
        assert_eq!(needs.unknown, ["gone"]);
        assert_eq!(of(dir.path(), &find), Needs::default());
    }
}
