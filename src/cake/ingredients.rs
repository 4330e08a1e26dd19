//! What goes into an image: disco, layers, contract and settings, and what is noted of the image; and
//! the directory `.cake` of the context, from which the builder copies it.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::cli::{BlockArgs, DiscoArgs};
use super::disco::Disco;
use super::failure::Failure;
use super::files;
use super::layers::fetch::INSTALL;
use super::layers::{Resolved, vendor};
use super::project::{Project, VENDOR, variable};
use crate::contract::dockerfile::{self, Baked, CopyLine};
use crate::contract::layer::lock::{self, Lock};
use crate::contract::manifest::Manifest;
use crate::contract::problem::Problem;
use crate::contract::rule::{self, Action};

/// Where disco lies in the image.
const DISCO: &str = "/usr/bin/disco";

/// Where everything else lies in the image (C-8).
const SHARE: &str = "/usr/share/layercake/";

/// All of it.
#[derive(Debug)]
pub(super) struct Ingredients {
    /// The layers, in the order of installation.
    pub(super) resolved: Resolved,
    /// `None` where it comes from another image, or is not needed yet.
    disco: Option<Disco>,
    from_image: Option<String>,
    /// The contract, as it is understood.
    pub(super) contract: Option<Manifest>,
    /// Files beside the layers: their names and contents.
    files: Vec<(&'static str, Vec<u8>)>,
}

/// What `.cake` and `cake.lock` hold after this run, beside what they hold now.
pub(super) struct Pending {
    files: Vec<(PathBuf, Vec<u8>, u32)>,
    stale: Vec<PathBuf>,
    layers: bool,
}

impl Ingredients {
    /// Gathers them.
    pub(super) fn new(project: Project, resolved: Resolved, args: &DiscoArgs) -> Self {
        let (contract, manifest) = project.contract.unzip();
        let contract = contract.map(|bytes| ("asyncy.yml", bytes));
        let settings = project.settings.map(|bytes| ("disco.conf", bytes));
        Self {
            resolved,
            disco: None,
            from_image: args.from_image.clone(),
            contract: manifest,
            files: contract.into_iter().chain(settings).collect(),
        }
    }

    /// Finds the disco that is to be copied, for the platform that is built for.
    ///
    /// # Errors
    /// There is none, it is for another, or not the locked one where only that will do.
    pub(super) fn find_disco(
        &mut self,
        args: &DiscoArgs,
        platform: Option<&str>,
        locked: bool,
    ) -> Result<(), Failure> {
        if self.from_image.is_some() {
            return Ok(());
        }
        let variable = variable("CAKE_DISCO").map(PathBuf::from);
        let disco = Disco::find(args.disco.as_deref().or(variable.as_deref()))?;
        if let Some(platform) = platform {
            disco.suits(platform)?;
        }
        let known = self.resolved.lock().disco.as_ref().filter(|_| locked);
        if let Some(known) = known.filter(|known| known.sha256 != disco.sha256()) {
            let message = format!(
                "names a disco {} with the SHA-256 {}, and {} is another; without --locked it is taken",
                known.version, known.sha256, disco.place
            );
            return Err(Failure::failed(Problem::new(message).in_file(lock::NAME)));
        }
        self.disco = Some(disco);
        Ok(())
    }

    /// Every file that the builder has to copy, relative to the context.
    pub(super) fn copied(&self) -> Vec<String> {
        let mut paths: Vec<String> = ["manifest.json"]
            .into_iter()
            .chain(self.files.iter().map(|(name, _)| *name))
            .chain(self.from_image.is_none().then_some("disco"))
            .map(|name| format!("{VENDOR}/{name}"))
            .collect();
        if !self.resolved.layers.is_empty() {
            paths.push(format!("{VENDOR}/layers/{}", vendor::ORDER));
        }
        for layer in &self.resolved.layers {
            let shipped = layer.tree.shipped();
            let name = &layer.locked.name;
            paths.extend(shipped.map(|(path, _)| format!("{VENDOR}/layers/{name}/{path}")));
        }
        paths
    }

    /// What is to be written into the Dockerfile. A contract that says how to tell whether the container
    /// is well asks for a health check, as `health` does.
    pub(super) fn request(
        &self,
        build: dockerfile::Build,
        options: &BlockArgs,
    ) -> dockerfile::Request {
        let vendored = |name: &str| format!("{VENDOR}/{name}");
        let mut copies = vec![match &self.from_image {
            Some(image) => CopyLine {
                from: Some(image.clone()),
                source: DISCO.to_owned(),
                target: DISCO.to_owned(),
            },
            None => CopyLine::new(vendored("disco"), DISCO),
        }];
        if !self.resolved.layers.is_empty() {
            copies.push(CopyLine::new(
                vendored("layers/"),
                format!("{SHARE}layers/"),
            ));
        }
        let beside = self.files.iter().map(|(name, _)| *name);
        for name in std::iter::once("manifest.json").chain(beside) {
            copies.push(CopyLine::new(vendored(name), format!("{SHARE}{name}")));
        }
        let contract = self.contract.as_ref();
        let health = options.health || contract.is_some_and(|contract| contract.health.is_some());
        let words = |words: &[&str]| Some(words.iter().map(|&word| word.to_owned()).collect());
        let mut layers = self.resolved.layers.iter();
        let installs = layers.any(|layer| layer.tree.get(INSTALL).is_some());
        dockerfile::Request {
            build,
            copies,
            install: words(&[DISCO, "--install-layers"]).filter(|_| installs),
            verify: words(&[DISCO, "--check", "--"]).filter(|_| options.verify),
            health: words(&[DISCO, "--health"]).filter(|_| health),
            ..dockerfile::Request::default()
        }
    }

    /// Whether rules of its layers write files as whoever the image runs as.
    pub(super) fn renders(&self) -> bool {
        let mut files = self
            .resolved
            .layers
            .iter()
            .flat_map(|layer| layer.tree.shipped());
        files.any(|(path, file)| {
            let path = Path::new(path);
            let is_rules = path
                .extension()
                .is_some_and(|extension| extension == "rules");
            // What is wrong with them is for others to tell.
            let parsed = is_rules
                .then(|| rule::parse(path, &file.bytes).ok())
                .flatten();
            let rules = parsed.into_iter().flat_map(|parsed| parsed.rules);
            rules
                .into_iter()
                .any(|rule| matches!(rule.action, Action::Render(_)))
        })
    }

    /// What is noted of the image, for the disco inside and for whoever looks at the image.
    fn manifest(&self, baked: &Baked) -> Vec<u8> {
        // Without disco's own words, which come first and end at `--`.
        let whole = &baked.after.entrypoint;
        let own = match whole.get(1).map(String::as_str) {
            Some("--") => whole.get(2..),
            _ => whole.get(1..),
        };
        let layers = self.resolved.layers.iter().map(|layer| {
            json!({
                "name": layer.locked.name,
                "version": layer.file.version,
                "sha256": layer.locked.sha256,
            })
        });
        let note = json!({
            "cake": env!("CARGO_PKG_VERSION"),
            "image": {
                "entrypoint": own.unwrap_or_default(),
                "env": baked.effective.env.keys().collect::<Vec<_>>(),
            },
            "layers": layers.collect::<Vec<_>>(),
        });
        format!("{note:#}\n").into_bytes()
    }

    /// The lock, with the disco that is copied.
    fn lock(&self) -> Lock {
        let mut lock = self.resolved.lock().clone();
        if let Some(disco) = &self.disco {
            lock.disco = Some(lock::Disco {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                sha256: disco.sha256(),
            });
        }
        lock
    }

    /// Compares what is to be in `.cake` and `cake.lock` with what is there.
    ///
    /// # Errors
    /// What is there cannot be read.
    pub(super) fn pending(&self, root: &Path, baked: &Baked) -> Result<Pending, Failure> {
        let dir = root.join(VENDOR);
        files::own_directory(&dir).map_err(Failure::failed)?;
        let mut wanted = vec![
            (dir.join("manifest.json"), self.manifest(baked), 0o644),
            (
                root.join(lock::NAME),
                self.lock().text().into_bytes(),
                0o644,
            ),
        ];
        if let Some(disco) = &self.disco {
            wanted.push((dir.join("disco"), disco.bytes.clone(), 0o755));
        }
        for (name, bytes) in &self.files {
            wanted.push((dir.join(name), bytes.clone(), 0o644));
        }
        let is_wanted = |path: &PathBuf| wanted.iter().any(|(wanted, _, _)| wanted == path);
        let mut stale: Vec<PathBuf> = ["disco", "asyncy.yml", "disco.conf"]
            .map(|name| dir.join(name))
            .into();
        stale.retain(|path| !is_wanted(path) && (path.is_file() || path.is_symlink()));
        // A disco that is not looked for now is not stale.
        if self.disco.is_none() && self.from_image.is_none() {
            stale.retain(|path| !path.ends_with("disco"));
        }
        let mut files = Vec::new();
        for (path, bytes, mode) in wanted {
            // A link in there leads elsewhere, and makes way.
            let is_link = path.is_symlink() && path.starts_with(&dir);
            let is_right = !is_link
                && files::has_mode(&path, mode)
                && files::holds(&path, &bytes).map_err(|error| {
                    let message = format!("cannot be read: {error}");
                    Failure::failed(Problem::new(message).in_file(&path))
                })?;
            if !is_right {
                files.push((path, bytes, mode));
            }
        }
        let layers = !self.resolved.layers.is_empty() || dir.join("layers").exists();
        Ok(Pending {
            files,
            stale,
            layers: layers && !vendor::is_current(root, &self.resolved.layers),
        })
    }

    /// Writes `.cake` and `cake.lock`; what is right already is left alone.
    ///
    /// # Errors
    /// Something cannot be written.
    pub(super) fn write(&self, root: &Path, pending: Pending) -> Result<(), Failure> {
        if pending.layers {
            vendor::vendor(root, &self.resolved.layers)?;
        }
        let failed = |path: &Path, error: &std::io::Error| {
            let message = format!("cannot be written: {error}");
            Failure::failed(Problem::new(message).in_file(path))
        };
        let dir = root.join(VENDOR);
        files::own_directory(&dir).map_err(Failure::failed)?;
        for (path, bytes, mode) in &pending.files {
            let written = match path.starts_with(&dir) {
                true => files::place(path, bytes, *mode),
                false => {
                    files::write(path, bytes, *mode).and_then(|_| files::set_mode(path, *mode))
                }
            };
            written.map_err(|error| failed(path, &error))?;
        }
        for path in &pending.stale {
            std::fs::remove_file(path).map_err(|error| failed(path, &error))?;
        }
        Ok(())
    }
}

impl Pending {
    /// What would be written, as a user reads it.
    pub(super) fn names(&self) -> Vec<String> {
        let files = self.files.iter().map(|(path, _, _)| path);
        let mut names: Vec<String> = files.map(|path| shown(path)).collect();
        if self.layers {
            names.push(format!("{VENDOR}/layers"));
        }
        names
    }

    /// What would be removed, since nothing copies it any more.
    pub(super) fn stale(&self) -> Vec<String> {
        self.stale.iter().map(|path| shown(path)).collect()
    }
}

/// A path without the `./` that the default context puts in front.
pub(super) fn shown(path: &Path) -> String {
    path.strip_prefix(".").unwrap_or(path).display().to_string()
}
