//! Layers that are at hand: below `CAKE_PATH`, in `.cake/layers`, in cake itself. It decides nothing
//! about their order.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use include_dir::{Dir, include_dir};

use super::tree::Tree;
use crate::cake::files;
use crate::cake::ui::Ui;
use crate::contract::layer::{check_name, file};
use crate::contract::problem::Problem;

/// Where vendored layers are, below the project.
pub const VENDORED: &str = ".cake/layers";

/// No `layer.yaml` is that large.
const MAX_LAYER_FILE: u64 = 1 << 20;

static EMBEDDED: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/layers");

/// The directories that a variable like `CAKE_PATH` lists, separated by colons. An empty part is
/// nothing: to have the working directory looked through, say `.`.
#[must_use]
pub fn split(variable: &OsStr) -> Vec<PathBuf> {
    std::env::split_paths(variable)
        .filter(|path| !path.as_os_str().is_empty())
        .collect()
}

/// The layers below the directories of `CAKE_PATH`.
#[derive(Debug, Default)]
pub struct CakePath {
    /// All directories that claim a name, those of the last entry that has it.
    found: BTreeMap<String, Vec<PathBuf>>,
}

impl CakePath {
    /// Looks through the immediate sub-directories of each entry. As in the original the last entry
    /// that has a layer wins. Entries that are not there and layers that cannot be read are warned of.
    #[must_use]
    pub fn scan(entries: &[PathBuf], ui: &Ui) -> Self {
        let mut all = Self::default();
        for entry in entries {
            let listed = fs::read_dir(entry).and_then(Iterator::collect::<Result<Vec<_>, _>>);
            let mut below = match listed {
                Ok(below) => below,
                Err(error) => {
                    let problem = Problem::new(format!("cannot be looked through: {error}"));
                    ui.warn(&problem.in_file(entry).at_key("CAKE_PATH"));
                    continue;
                }
            };
            below.sort_by_key(fs::DirEntry::file_name);
            let mut here: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
            let mut seen = Vec::new();
            for dir in below.iter().map(fs::DirEntry::path) {
                // By whichever name it comes first: a link to it is the same layer.
                let real = dir.canonicalize().unwrap_or_else(|_| dir.clone());
                if seen.contains(&real) {
                    continue;
                }
                seen.push(real);
                let path = dir.join(file::NAME);
                if !path.is_file() {
                    continue;
                }
                let read = files::read(&path, MAX_LAYER_FILE)
                    .map_err(|error| {
                        let problem = Problem::new(format!("cannot be read: {error}"));
                        vec![problem.in_file(&path)]
                    })
                    .and_then(|bytes| file::parse(&path, &bytes));
                match read {
                    Ok(read) => here.entry(read.value.name).or_default().push(dir),
                    Err(problems) => problems.iter().for_each(|problem| ui.warn(problem)),
                }
            }
            all.found.extend(here);
        }
        all
    }

    /// The directory of a layer.
    ///
    /// # Errors
    /// Two in the same entry.
    pub fn layer(&self, name: &str) -> Result<Option<&Path>, Problem> {
        match self.found.get(name).map(Vec::as_slice) {
            None | Some([]) => Ok(None),
            Some([dir]) => Ok(Some(dir)),
            Some([first, second, ..]) => Err(Problem::new(format!(
                "layer `{name}` is both in {} and in {}; keep one of them",
                first.display(),
                second.display()
            ))
            .at_key("CAKE_PATH")),
        }
    }

    /// All names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.found.keys().map(String::as_str)
    }
}

/// The directory of a vendored layer, if there is one.
#[must_use]
pub fn vendored(project: &Path, name: &str) -> Option<PathBuf> {
    let dir = project.join(VENDORED).join(name);
    dir.join(file::NAME).is_file().then_some(dir)
}

/// The names of vendored layers.
#[must_use]
pub fn vendored_names(project: &Path) -> Vec<String> {
    let listed = fs::read_dir(project.join(VENDORED))
        .into_iter()
        .flatten()
        .flatten();
    let names = listed.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| check_name(name).is_ok()).collect()
}

/// A layer of cake itself.
#[must_use]
pub fn embedded(name: &str) -> Option<Tree> {
    let dir = EMBEDDED.get_dir(name)?;
    dir.get_file(dir.path().join(file::NAME))?;
    Some(Tree::embedded(dir))
}

/// The names of cake's own layers.
pub fn embedded_names() -> impl Iterator<Item = &'static str> {
    let dirs = EMBEDDED
        .dirs()
        .filter(|dir| dir.get_file(dir.path().join(file::NAME)).is_some());
    dirs.filter_map(|dir| dir.path().to_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cake::ui::Style;

    fn layer(dir: &Path, name: &str) {
        fs::create_dir_all(dir).unwrap();
        fs::write(dir.join("layer.yaml"), format!("layer: {{name: {name}}}")).unwrap();
    }

    #[test]
    fn c7_each_sub_directory_is_a_layer_by_its_name_and_the_last_entry_wins() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        layer(&at("one/x"), "mysql");
        layer(&at("one/y"), "redis");
        layer(&at("two/z"), "mysql");
        layer(&at("two/deep/er"), "deep");
        layer(&at("two"), "two");
        fs::create_dir(at("one/none")).unwrap();
        fs::create_dir(at("one/bad")).unwrap();
        fs::write(at("one/bad/layer.yaml"), "x").unwrap();
        let ui = Ui::new(Some(Style::Quiet));
        let scan = |entries: &[&str]| {
            let entries: Vec<PathBuf> = entries.iter().map(|entry| at(entry)).collect();
            CakePath::scan(&entries, &ui)
        };
        let found = scan(&["one", "missing", "two"]);
        assert_eq!(found.names().collect::<Vec<_>>(), ["mysql", "redis"]);
        assert_eq!(found.layer("mysql"), Ok(Some(at("two/z").as_path())));
        assert_eq!(found.layer("redis"), Ok(Some(at("one/y").as_path())));
        assert_eq!(found.layer("none"), Ok(None));
        assert_eq!(
            scan(&["two", "one"]).layer("mysql"),
            Ok(Some(at("one/x").as_path()))
        );
        std::os::unix::fs::symlink("z", at("two/zy")).unwrap();
        assert!(
            scan(&["one", "two"]).layer("mysql").is_ok(),
            "it is one layer"
        );
        layer(&at("two/zz"), "mysql");
        let told = scan(&["one", "two"]).layer("mysql").unwrap_err().message;
        assert!(
            told.contains("two/z and") && told.contains("two/zz"),
            "{told}"
        );
    }

    #[test]
    fn c7_an_empty_path_names_no_directory() {
        assert_eq!(split(OsStr::new("")), Vec::<PathBuf>::new());
        assert_eq!(
            split(OsStr::new("a::b:.")),
            ["a", "b", "."].map(PathBuf::from)
        );
    }

    #[test]
    fn every_embedded_layer_is_a_good_one() {
        for name in embedded_names() {
            let tree = embedded(name).unwrap();
            let read = tree.layer_file(Path::new(name)).unwrap();
            assert_eq!(read.value.name, name);
            assert_eq!(read.warnings, []);
            let place = Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("layers")
                .join(name);
            let there = Tree::read(&place).unwrap();
            assert_eq!(tree.digest(), there.digest(), "{name}: a run bit is wrong");
        }
        assert!(embedded("..").is_none() && embedded("none").is_none());
    }
}
