//! Layers: found in their sources, put in order, held to the lock.
//!
//! [`resolve()`] is what everything else begins with. Sources, first hit wins: the place that the command
//! line or `cake.conf` gives, `CAKE_PATH`, `.cake/layers`, the layers in cake itself, the index. A pinned
//! layer comes at its commit until it is updated. Nothing is written here but the cache of [`git`]; that is
//! for [`vendor`], [`fetch`] and [`save_lock`].

pub mod entry;
pub mod fetch;
pub mod git;
pub mod index;
pub mod local;
pub mod place;
mod scratch;
pub mod search;
mod sources;
pub mod static_index;
pub mod tree;
pub mod vendor;
pub mod web;
pub mod write;

use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::failure::{FAILED, Failure};
use super::files;
use super::ui::Ui;
use crate::contract::exit;
use crate::contract::layer::conf::{self, Conf, Wanted};
use crate::contract::layer::file::LayerFile;
use crate::contract::layer::lock::{self, Lock, Locked};
use crate::contract::layer::{check_name, resolve};
use crate::contract::problem::Problem;
use crate::contract::suggest;
use sources::Sources;
use tree::Tree;
use web::Trust;

/// How long an index may take to answer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Which layers are taken anew, whatever the lock and `.cake/layers` say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Update {
    /// None.
    #[default]
    None,
    /// All.
    All,
    /// These.
    Names(Vec<String>),
}

impl Update {
    fn takes(&self, name: &str) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::Names(names) => names.iter().any(|named| named == name),
        }
    }
}

/// What is wanted, and from where it may be taken.
#[derive(Debug, Clone)]
pub struct Request {
    /// The directory with `cake.lock` and `.cake`.
    pub project: PathBuf,
    /// What paths in `conf` are relative to: the directory of `cake.conf`.
    pub base: PathBuf,
    /// The `cake.conf`.
    pub conf: Conf,
    /// Layers of the command line, after those of `conf`. Their paths are relative to `base` as well.
    pub extra: Vec<Wanted>,
    /// The layers to find, with all they need; `None`: those of `conf` and `extra`, which otherwise
    /// only say where layers come from.
    pub roots: Option<Vec<String>>,
    /// `CAKE_PATH`.
    pub cake_path: Vec<PathBuf>,
    /// The index of the command line, else of `LAYERCAKE_API`; goes before that of `conf`.
    pub endpoint: Option<String>,
    /// One more file of authorities, for the index and for git.
    pub cacert: Option<PathBuf>,
    /// No network is used.
    pub offline: bool,
    /// Anything that is not as the lock has it is a failure.
    pub locked: bool,
    /// Plain http is allowed.
    pub insecure: bool,
    /// What is taken anew.
    pub update: Update,
    /// Where git's commits are kept; `None` keeps none.
    pub cache: Option<PathBuf>,
    /// How long an index may take to answer.
    pub timeout: Duration,
}

impl Request {
    /// Wants nothing yet, with `CAKE_PATH`, `LAYERCAKE_API`, `LAYERCAKE_CACERT` and the cache as the
    /// environment has them. What the command line says is set over it.
    #[must_use]
    pub fn new(project: &Path, variable: &dyn Fn(&str) -> Option<OsString>) -> Self {
        let given = |name: &str| variable(name).filter(|value| !value.is_empty());
        Self {
            project: project.to_owned(),
            base: project.to_owned(),
            conf: Conf::default(),
            extra: Vec::new(),
            roots: None,
            cake_path: given("CAKE_PATH")
                .map(|path| local::split(&path))
                .unwrap_or_default(),
            endpoint: given("LAYERCAKE_API").map(|url| url.to_string_lossy().into_owned()),
            cacert: given("LAYERCAKE_CACERT").map(PathBuf::from),
            offline: false,
            locked: false,
            insecure: false,
            update: Update::None,
            cache: git::cache(variable),
            timeout: TIMEOUT,
        }
    }

    /// The index to ask, if any.
    #[must_use]
    pub fn index(&self) -> Option<&str> {
        self.endpoint.as_deref().or(self.conf.endpoint.as_deref())
    }

    /// What is wanted, in order, each name once.
    fn wanted(&self) -> Vec<String> {
        let all = self.conf.layers.iter().chain(&self.extra);
        let all = || all.clone().map(|wanted| wanted.name.clone()).collect();
        let mut names: Vec<String> = self.roots.clone().unwrap_or_else(all);
        let mut seen = Vec::new();
        names.retain(|name| {
            let is_new = !seen.contains(name);
            seen.push(name.clone());
            is_new
        });
        names
    }
}

/// A layer with its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// Its `layer.yaml`.
    pub file: LayerFile,
    /// Its files. A vendored one has only those that go into an image.
    pub tree: Tree,
    /// Its entry in the lock.
    pub locked: Locked,
}

/// What a request comes to.
#[derive(Debug)]
pub struct Resolved {
    /// In the order of installation.
    pub layers: Vec<Layer>,
    /// In what it is not as the lock had it, in words.
    pub drift: Vec<String>,
    lock: Lock,
}

impl Resolved {
    /// The lock as it should be now, with the disco that it had.
    #[must_use]
    pub fn lock(&self) -> &Lock {
        &self.lock
    }
}

/// Finds everything that is wanted.
///
/// # Errors
/// 78: files that are wrong, clashes, cycles. 1: layers that are not there, cannot be reached, or are
/// not as the lock has them where that counts.
pub fn resolve(request: &Request, ui: &Ui) -> Result<Resolved, Failure> {
    let old = read_lock(&request.project)?;
    if old.is_none() && request.locked {
        return Err(Failure::failed(
            Problem::new("is not there, and nothing may differ from it; run `cake lock`")
                .in_file(request.project.join(lock::NAME)),
        ));
    }
    let old = old.unwrap_or_default();
    let all: Vec<Wanted> = request
        .conf
        .layers
        .iter()
        .chain(&request.extra)
        .cloned()
        .collect();
    let names = all
        .iter()
        .filter_map(|wanted| check_name(&wanted.name).err());
    let mut problems: Vec<Problem> = names.map(Problem::new).collect();
    problems.extend(conf::clashes(&all));
    if !problems.is_empty() {
        return Err(Failure::config(problems));
    }

    let trust =
        Trust::new(request.cacert.as_deref()).map_err(|problem| Failure::config(vec![problem]))?;
    let mut sources = Sources::new(request, &old, &all, &trust, ui);
    let known = sources.names();
    let wanter = match request.roots {
        Some(_) => "you",
        None => conf::NAME,
    };
    let wanted = request.wanted();
    let found = resolve::resolve(&wanted, wanter, &known, |name| sources.find(name));
    let found = found.map_err(|problems| Failure {
        code: if sources.failed { FAILED } else { exit::CONFIG },
        problems,
    })?;
    let layers: Vec<Layer> = found.into_iter().map(|found| found.layer).collect();
    if let Update::Names(names) = &request.update {
        unknown(names, &layers)?;
    }

    let is_indexed = |layer: &Layer| matches!(layer.locked.source, lock::Source::Index(_));
    let lock = Lock {
        index: match layers.iter().any(is_indexed) {
            true => sources.asked.take().or(old.index.clone()),
            false => None,
        },
        disco: old.disco.clone(),
        layers: layers.iter().map(|layer| layer.locked.clone()).collect(),
    };
    let drift = old.drift(&lock);
    if request.locked && !drift.is_empty() {
        let file = request.project.join(lock::NAME);
        let told = drift
            .into_iter()
            .map(|drift| Problem::new(drift).in_file(&file));
        return Err(Failure {
            code: FAILED,
            problems: told.collect(),
        });
    }
    Ok(Resolved {
        layers,
        drift,
        lock,
    })
}

/// That somebody wants layers updated which are not among those that are needed.
fn unknown(names: &[String], layers: &[Layer]) -> Result<(), Failure> {
    let known = || layers.iter().map(|layer| layer.locked.name.as_str());
    let unknown = names
        .iter()
        .filter(|name| !known().any(|known| known == name.as_str()));
    let problems: Vec<Problem> = unknown
        .map(|name| {
            let hint = suggest::hint(name, known());
            Problem::new(format!(
                "layer `{name}` is not needed here, so there is nothing to update{hint}"
            ))
        })
        .collect();
    match problems.is_empty() {
        true => Ok(()),
        false => Err(Failure {
            code: exit::USAGE,
            problems,
        }),
    }
}

/// Takes layers anew and says what has become of them. The caller saves the lock.
///
/// # Errors
/// As [`resolve()`]; 64 if one of `names` is not needed.
pub fn update(request: &Request, names: &[String], ui: &Ui) -> Result<Resolved, Failure> {
    let update = match names.is_empty() {
        true => Update::All,
        false => Update::Names(names.to_vec()),
    };
    let request = Request {
        update,
        locked: false,
        ..request.clone()
    };
    resolve(&request, ui)
}

/// Reads a `cake.conf`, and warns of what is odd in it.
///
/// # Errors
/// 78: it cannot be read, or is wrong.
pub fn read_conf(file: &Path, ui: &Ui) -> Result<Conf, Failure> {
    let bytes = files::read_small(file).map_err(|error| {
        let message = match error.kind() {
            ErrorKind::NotFound => "is not there; expected a file such as `cake: {layers: \
                                    [mysql]}`, or name layers on the command line"
                .to_owned(),
            _ => format!("cannot be read: {error}"),
        };
        Failure::config(vec![Problem::new(message).in_file(file)])
    })?;
    let read = conf::parse(file, &bytes).map_err(Failure::config)?;
    read.warnings.iter().for_each(|warning| ui.warn(warning));
    Ok(read.value)
}

/// Reads the lock of a project, if it has one.
///
/// # Errors
/// 78: it cannot be read, or is wrong.
pub fn read_lock(project: &Path) -> Result<Option<Lock>, Failure> {
    let file = project.join(lock::NAME);
    match files::read_if_there(&file) {
        Ok(Some(bytes)) => {
            let read = lock::parse(&file, &bytes).map_err(Failure::config)?;
            Ok(Some(read.value))
        }
        Ok(None) => Ok(None),
        Err(error) => Err(Failure::config(vec![
            Problem::new(format!("cannot be read: {error}")).in_file(file),
        ])),
    }
}

/// Writes the lock of a project, unless it already says so; whether it was written.
///
/// # Errors
/// 1: it cannot be written.
pub fn save_lock(project: &Path, lock: &Lock) -> Result<bool, Failure> {
    write::file(&project.join(lock::NAME), lock.text().as_bytes()).map_err(Failure::failed)
}
