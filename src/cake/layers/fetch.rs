//! `cake layer`: layers and all they need into a directory, and their `install` programs run where that
//! builds an image and not somebody's machine.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::tree::Tree;
use super::{Layer, Request, resolve, write};
use crate::cake::failure::Failure;
use crate::cake::files;
use crate::cake::ui::Ui;
use crate::contract::problem::Problem;

/// The optional program of a layer that prepares the image.
pub const INSTALL: &str = "install";

/// Whether `install` programs are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Install {
    /// Where an image is built, see [`is_image_build`]; elsewhere a layer that has one is refused.
    #[default]
    InImage,
    /// Wherever this is: `--run-install`.
    Always,
    /// No: `-n`.
    Never,
}

/// What to fetch, and how.
#[derive(Debug, Clone)]
pub struct Fetch {
    /// The layers, without those they need.
    pub names: Vec<String>,
    /// The directory that gets `NAME/…` of each.
    pub dir: PathBuf,
    /// Whether a layer may take the place of what is there.
    pub force: bool,
    /// Whether `install` programs are run.
    pub install: Install,
}

/// Fetches layers and what they need into `dir`, then runs their `install` programs in order. A layer
/// that is there already, and the same, is left as it is and not installed again, unless its `install` has
/// failed or was not run. Files that are not for
/// an image are written as well, but for git's. The request's own layers only say where the named come
/// from, and its lock at which commit.
///
/// # Errors
/// 64: an `install` that may not be run here. 1: a layer that would be overwritten, an `install` that
/// failed. As [`resolve()`] otherwise.
pub fn fetch(request: &Request, fetch: &Fetch, ui: &Ui) -> Result<(), Failure> {
    let request = Request {
        roots: Some(fetch.names.clone()),
        locked: false,
        ..request.clone()
    };
    let layers = resolve(&request, ui)?.layers;
    let mut problems = Vec::new();
    let mut fresh: Vec<&Layer> = Vec::new();
    for layer in &layers {
        let target = fetch.dir.join(&layer.locked.name);
        match target.symlink_metadata() {
            Err(_) => fresh.push(layer),
            Ok(_)
                if Tree::read(&target).is_ok_and(|there| there.digest() == layer.locked.sha256) =>
            {
                ui.note("Kept", &target.display().to_string());
            }
            Ok(_) if fetch.force => fresh.push(layer),
            Ok(_) => problems.push(Problem::new(format!(
                "fetching layer `{}` would overwrite {}; use --force",
                layer.locked.name,
                target.display()
            ))),
        }
    }
    if !problems.is_empty() {
        return Err(Failure {
            problems,
            ..Failure::failed(Problem::default())
        });
    }
    let has_install = |layer: &&Layer| layer.tree.get(INSTALL).is_some();
    let is_due = |layer: &&Layer| {
        let is_fresh = fresh
            .iter()
            .any(|fresh| fresh.locked.name == layer.locked.name);
        is_fresh || due(&fetch.dir, layer).exists()
    };
    let with_install: Vec<&Layer> = match fetch.install {
        Install::Never => Vec::new(),
        _ => layers.iter().filter(has_install).filter(is_due).collect(),
    };
    let may_install = fetch.install != Install::InImage || is_image_build();
    if let Some(first) = with_install.first().filter(|_| !may_install) {
        return Err(Failure::usage(Problem::new(format!(
            "layer `{}` has an `install` program, which is for the build of an image; say \
             --no-install to only fetch it, or --run-install to run it on this machine",
            first.locked.name
        ))));
    }
    for layer in &fresh {
        let target = fetch.dir.join(&layer.locked.name);
        // Before the layer is there: whenever this ends, the next run knows.
        let mark = due(&fetch.dir, layer);
        let marked = match has_install(layer) {
            true => files::place(&mark, b"", 0o644),
            false => files::remove(&mark),
        };
        marked.map_err(|error| unmarked(&mark, &error))?;
        write::directory(&target, |dir| write::files(dir, layer.tree.files(), None))
            .map_err(Failure::failed)?;
        ui.note("Fetched", &target.display().to_string());
    }
    with_install
        .iter()
        .try_for_each(|layer| install(layer, &fetch.dir, ui))
}

/// The file beside a layer that is there while its `install` has not yet done its work.
fn due(dir: &Path, layer: &Layer) -> PathBuf {
    dir.join(format!(".{}.install-due", layer.locked.name))
}

fn unmarked(mark: &Path, error: &std::io::Error) -> Failure {
    Failure::failed(Problem::new(format!("cannot be written: {error}")).in_file(mark))
}

fn install(layer: &Layer, dir: &Path, ui: &Ui) -> Result<(), Failure> {
    let name = &layer.locked.name;
    let failed = |why: String| {
        let message = format!("`install` of layer `{name}` {why}");
        Failure::failed(Problem::new(message).in_file(dir.join(name).join(INSTALL)))
    };
    if !layer.tree.get(INSTALL).is_some_and(|file| file.exec) {
        return Err(failed("is not executable; it needs its run bit".to_owned()));
    }
    let home = dir
        .join(name)
        .canonicalize()
        .map_err(|error| failed(error.to_string()))?;
    ui.note("Installing", name);
    let status = Command::new(home.join(INSTALL))
        .current_dir(&home)
        .status()
        .map_err(|error| failed(format!("cannot be run: {error}")))?;
    if !status.success() {
        return Err(failed(format!("failed: {status}")));
    }
    let mark = due(dir, layer);
    files::remove(&mark).map_err(|error| unmarked(&mark, &error))
}

/// Whether this runs inside a container, which for cake means that an image is built: Docker and
/// Podman leave a file in one, systemd's convention is a variable, BuildKit has a host name of its own,
/// and process 1 is nobody's machine. Not so at a terminal: somebody may work inside a container, and no
/// build has one.
#[must_use]
pub fn is_image_build() -> bool {
    !std::io::stdin().is_terminal() && is_container()
}

fn is_container() -> bool {
    let marks = ["/.dockerenv", "/run/.containerenv"];
    marks.iter().any(|mark| Path::new(mark).exists())
        || std::env::var_os("container").is_some_and(|value| !value.is_empty())
        || std::process::id() == 1
        || std::fs::read_to_string("/proc/sys/kernel/hostname")
            .is_ok_and(|name| name.trim_end() == "buildkitsandbox")
}
