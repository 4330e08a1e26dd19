//! The project that a verb works on: its directory, `cake.conf`, contract and settings.
//! It reads and checks them; what is written is written by others.

use std::path::{Path, PathBuf};

use super::cli::{NetArgs, SourceArgs};
use super::failure::Failure;
use super::layers::{self, Request, Resolved};
use super::ui::Ui;
use super::{files, wanted};
use crate::contract::layer::conf::{self, Conf, Origin};
use crate::contract::manifest::{self, Manifest};
use crate::contract::problem::Problem;

/// The directory that cake writes into.
pub(super) const VENDOR: &str = ".cake";

/// The contract file, as disco finds it.
const CONTRACT: &str = "asyncy.yml";

/// disco's settings file.
const SETTINGS: &str = "disco.conf";

/// A project, read.
#[derive(Debug)]
pub(super) struct Project {
    /// Its directory.
    pub(super) root: PathBuf,
    /// What `cake.conf` says, if there is one.
    pub(super) conf: Conf,
    /// Where it says that: paths are relative to this file.
    pub(super) conf_file: PathBuf,
    /// The contract, as it lies there and as it is understood.
    pub(super) contract: Option<(Vec<u8>, Manifest)>,
    /// disco's settings, as they lie there.
    pub(super) settings: Option<Vec<u8>>,
}

/// A file in a directory; in the working directory it is named by itself alone.
pub(super) fn within(dir: &Path, name: &str) -> PathBuf {
    match dir == Path::new(".") {
        true => PathBuf::from(name),
        false => dir.join(name),
    }
}

impl Project {
    /// Reads all of it. A `conf` that is named must be there.
    ///
    /// # Errors
    /// Every problem of every file.
    pub(super) fn open(root: &Path, conf: Option<&Path>, ui: &Ui) -> Result<Self, Failure> {
        if !root.is_dir() {
            let problem = Problem::new("is no directory; name one with --context");
            return Err(Failure::usage(problem.in_file(root)));
        }
        let mut problems = Vec::new();
        let named = conf.is_some();
        let conf_file = conf.map_or_else(|| within(root, conf::NAME), Path::to_owned);
        let mut bytes = |path: &Path| {
            files::read_if_there(path).unwrap_or_else(|error| {
                let message = format!("cannot be read: {error}");
                problems.push(Problem::new(message).in_file(path));
                None
            })
        };
        let conf_bytes = bytes(&conf_file);
        let contract_file = within(root, CONTRACT);
        let contract_bytes = bytes(&contract_file);
        let settings = bytes(&within(root, SETTINGS));

        let mut warnings = Vec::new();
        let conf = match conf_bytes {
            Some(bytes) => match conf::parse(&conf_file, &bytes) {
                Ok(read) => {
                    warnings.extend(read.warnings);
                    read.value
                }
                Err(found) => {
                    problems.extend(found);
                    Conf::default()
                }
            },
            None => {
                if named && problems.is_empty() {
                    let message = "does not exist; expected `cake: {layers: [NAME, …]}`";
                    problems.push(Problem::new(message).in_file(&conf_file));
                }
                Conf::default()
            }
        };
        let contract = contract_bytes.and_then(|bytes| {
            match manifest::parse(&contract_file, &bytes) {
                Ok(parsed) => {
                    warnings.extend(parsed.warnings);
                    // A start would go on with a warning; whoever bakes has the time to mend it.
                    problems.extend(parsed.doubts);
                    Some((bytes, parsed.manifest))
                }
                Err(rejected) => {
                    problems.extend(rejected.problems);
                    warnings.extend(rejected.warnings);
                    None
                }
            }
        });
        warnings.iter().for_each(|warning| ui.warn(warning));
        match problems.is_empty() {
            true => Ok(Self {
                root: root.to_owned(),
                conf,
                conf_file,
                contract,
                settings,
            }),
            false => Err(Failure::config(problems)),
        }
    }

    /// Resolves its layers and those that the command line adds.
    ///
    /// # Errors
    /// Every layer that cannot be had, with who wants it; a drift from the lock, where none may be.
    pub(super) fn resolve(&self, source: &SourceArgs, ui: &Ui) -> Result<Resolved, Failure> {
        layers::resolve(&self.request(source)?, ui)
    }

    /// What is to be resolved.
    ///
    /// # Errors
    /// Words of the command line that name no layer.
    pub(super) fn request(&self, source: &SourceArgs) -> Result<Request, Failure> {
        let base = files::parent(&self.conf_file).to_owned();
        let mut extra = wanted::all("--layer", &source.layers)?;
        // What the command line says is relative to where it is said, and the rest to `cake.conf`.
        if base != Path::new(".") {
            for wanted in &mut extra {
                let path = match &mut wanted.origin {
                    Some(Origin::Path(path)) => path,
                    Some(Origin::Git { url, .. }) if conf::is_relative(url) => url,
                    _ => continue,
                };
                let seen = layers::place::seen_from(&base, Path::new(path));
                *path = seen.to_string_lossy().into_owned();
            }
        }
        let mut request = request(&self.root, &source.net);
        request.base = base;
        request.conf = self.conf.clone();
        request.extra = extra;
        request.locked = source.locked;
        Ok(request)
    }
}

/// A request for nothing yet: how the network is used, as the command line or else the environment has it.
pub(super) fn request(root: &Path, net: &NetArgs) -> Request {
    let mut request = Request::new(root, &|name| std::env::var_os(name));
    if let Some(endpoint) = &net.layer_endpoint {
        request.endpoint = Some(endpoint.clone());
    }
    if let Some(file) = &net.cacert {
        request.cacert = Some(file.clone());
    }
    request.offline = net.offline;
    request.insecure = net.insecure;
    request
}

/// A variable of the environment; one that is empty is none.
pub(super) fn variable(name: &str) -> Option<std::ffi::OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}
