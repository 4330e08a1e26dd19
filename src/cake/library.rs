//! Layers that can be named without saying where they are: those of `CAKE_PATH`, of `.cake/layers`, and
//! those that cake carries, which are unpacked where something has to read them as files.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::failure::Failure;
use super::layers::local::{self, CakePath};
use super::layers::write;
use super::ui::Ui;
use crate::contract::exit;
use crate::contract::problem::Problem;
use crate::contract::suggest;

/// The layers at hand. What is unpacked goes with it.
pub(super) struct Library {
    cake_path: CakePath,
    scratch: TempDir,
    unpacked: RefCell<BTreeMap<String, PathBuf>>,
}

impl Library {
    /// Looks around.
    ///
    /// # Errors
    /// There is no directory to unpack into.
    pub(super) fn new(ui: &Ui) -> Result<Self, Failure> {
        let path = std::env::var_os("CAKE_PATH").unwrap_or_default();
        let scratch = tempfile::tempdir().map_err(|error| {
            Failure::failed(Problem::new(format!(
                "cannot make a temporary directory: {error}"
            )))
        })?;
        Ok(Self {
            cake_path: CakePath::scan(&local::split(&path), ui),
            scratch,
            unpacked: RefCell::default(),
        })
    }

    /// What is at a path, or else the layer of that name.
    ///
    /// # Errors
    /// There is neither.
    pub(super) fn locate(&self, path: &Path) -> Result<PathBuf, Failure> {
        if path.exists() {
            return Ok(path.to_owned());
        }
        let name = path.to_string_lossy();
        self.find(&name).ok_or_else(|| {
            let hint = suggest::hint(&name, local::embedded_names());
            let message = format!("is no directory here, and no layer that cake knows{hint}");
            Failure::usage(Problem::new(message).in_file(path))
        })
    }

    /// [`Self::locate`] for all of them.
    ///
    /// # Errors
    /// Every one that is not there.
    pub(super) fn locate_all(&self, paths: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
        let mut problems = Vec::new();
        let located = paths.iter().filter_map(|path| {
            let failed = |failure: Failure| problems.extend(failure.problems);
            self.locate(path).map_err(failed).ok()
        });
        let located = located.collect();
        match problems.is_empty() {
            true => Ok(located),
            false => Err(Failure {
                code: exit::USAGE,
                problems,
            }),
        }
    }

    /// Whether this is a layer that cake carries.
    pub(super) fn is_unpacked(&self, path: &Path) -> bool {
        path.starts_with(self.scratch.path())
    }

    /// The directory of a layer.
    pub(super) fn find(&self, name: &str) -> Option<PathBuf> {
        if let Ok(Some(path)) = self.cake_path.layer(name) {
            return Some(path.to_owned());
        }
        if let Some(path) = local::vendored(Path::new("."), name) {
            return Some(path);
        }
        if let Some(path) = self.unpacked.borrow().get(name) {
            return Some(path.clone());
        }
        let tree = local::embedded(name)?;
        let path = self.scratch.path().join(name);
        write::directory(&path, |dir| write::files(dir, tree.files(), None)).ok()?;
        self.unpacked
            .borrow_mut()
            .insert(name.to_owned(), path.clone());
        Some(path)
    }
}
