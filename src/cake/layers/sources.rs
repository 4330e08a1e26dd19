//! Finds one layer after the other in all sources, as the lock has it where it is pinned. The order of
//! layers is not its business.

use std::path::{Path, PathBuf};

use super::git::{Git, Repo};
use super::index::Index;
use super::local::{self, CakePath};
use super::place;
use super::tree::Tree;
use super::web::Trust;
use super::{Layer, Request};
use crate::cake::ui::Ui;
use crate::contract::layer::conf::{self, Origin, Wanted};
use crate::contract::layer::lock::{Lock, Locked, Pin, Source};
use crate::contract::layer::repo;
use crate::contract::layer::resolve::Found;
use crate::contract::problem::Problem;

/// All sources of a request.
pub(super) struct Sources<'a> {
    request: &'a Request,
    lock: &'a Lock,
    wanted: &'a [Wanted],
    trust: &'a Trust,
    ui: &'a Ui,
    git: Git<'a>,
    cake_path: CakePath,
    index: Option<Index>,
    /// The index that was asked, fit to be shown.
    pub(super) asked: Option<String>,
    /// Something was not there or could not be reached, as opposed to wrong.
    pub(super) failed: bool,
}

impl<'a> Sources<'a> {
    pub(super) fn new(
        request: &'a Request,
        lock: &'a Lock,
        wanted: &'a [Wanted],
        trust: &'a Trust,
        ui: &'a Ui,
    ) -> Self {
        Self {
            request,
            lock,
            wanted,
            trust,
            ui,
            git: Git::new(
                request.cache.clone(),
                trust,
                request.offline,
                request.insecure,
                ui,
            ),
            cake_path: CakePath::scan(&request.cake_path, ui),
            index: None,
            asked: None,
            failed: false,
        }
    }

    /// All names that are known without asking an index.
    pub(super) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.cake_path.names().map(str::to_owned).collect();
        names.extend(local::vendored_names(&self.request.project));
        names.extend(local::embedded_names().map(str::to_owned));
        names.sort();
        names.dedup();
        names
    }

    pub(super) fn find(&mut self, name: &str) -> Result<Option<Found<Layer>>, Vec<Problem>> {
        let explicit = self.wanted.iter().filter(|wanted| wanted.name == name);
        let explicit = explicit.filter_map(|wanted| wanted.origin.as_ref()).next();
        if let Some(origin) = explicit {
            return self.explicit(name, origin).map(Some);
        }
        let at_hand = self
            .cake_path
            .layer(name)
            .map_err(|problem| vec![problem])?;
        if let Some(dir) = at_hand {
            let tree = Tree::read(dir)?;
            return self.found(dir, tree, Source::CakePath, name).map(Some);
        }
        let vendored = self.vendored(name)?;
        let updates = self.request.update.takes(name);
        let locked = self.lock.layer(name);
        let pinned = locked.filter(|_| !updates);
        if let Some((dir, tree)) = &vendored {
            let is_same = |locked: &Locked| locked.sha256 == tree.digest();
            let source = match locked {
                None => Some(unvouched(name, tree)),
                // The copy is the only one that anybody vouches for; what has the same name elsewhere is
                // another layer.
                Some(locked) => match &locked.source {
                    Source::Vendored => Some(Source::Vendored),
                    Source::CakePath => Some(match is_same(locked) || self.request.locked {
                        true => Source::CakePath,
                        false => Source::Vendored,
                    }),
                    // The project does not name that place any more, and has no copy from elsewhere.
                    Source::Path(_) | Source::Git(_) => None,
                    _ if updates => None,
                    source if is_same(locked) || self.request.locked => Some(source.clone()),
                    _ => {
                        let message = "is not what cake.lock has; taken anew, if it is to be had \
                                       elsewhere";
                        let problem = Problem::new(message).in_file(dir);
                        self.ui.warn(&problem.at_key(&locked.name));
                        None
                    }
                },
            };
            if let Some(source) = source {
                return self.found(dir, tree.clone(), source, name).map(Some);
            }
        }
        if let Some(Source::Index(pin)) = pinned.map(|locked| &locked.source) {
            return self.pinned(name, pin).map(Some);
        }
        if let Some(tree) = local::embedded(name) {
            let place = PathBuf::from(format!("cake's own layer {name}"));
            return self.found(&place, tree, Source::Embedded, name).map(Some);
        }
        let indexed = self.indexed(name)?;
        match (indexed, vendored) {
            (Some(found), _) => Ok(Some(found)),
            (None, Some((dir, tree))) => self.found(&dir, tree, Source::Vendored, name).map(Some),
            (None, None) => {
                self.failed = true;
                Ok(None)
            }
        }
    }

    fn vendored(&self, name: &str) -> Result<Option<(PathBuf, Tree)>, Vec<Problem>> {
        match local::vendored(&self.request.project, name) {
            None => Ok(None),
            Some(dir) => Tree::read(&dir).map(|tree| Some((dir, tree))),
        }
    }

    fn explicit(&mut self, name: &str, origin: &Origin) -> Result<Found<Layer>, Vec<Problem>> {
        match origin {
            Origin::Path(path) => {
                let dir = self.request.base.join(path);
                let tree = Tree::read(&dir)?;
                let source = Source::Path(self.portable(path, name));
                self.found(&dir, tree, source, name)
            }
            Origin::Git { url, rev, repopath } => {
                let repo = Repo {
                    url: match conf::is_relative(url) {
                        true => {
                            let path = self.request.base.join(url);
                            // There is no working directory to be relative to only if it is gone.
                            let path = std::path::absolute(&path).unwrap_or(path);
                            path.to_string_lossy().into_owned()
                        }
                        false => url.clone(),
                    },
                    is_users: true,
                };
                let mut pin = Pin {
                    url: repo::shown(url),
                    rev: rev.clone(),
                    commit: String::new(),
                    subpath: repopath.clone(),
                };
                let locked = self.lock.layer(name);
                let locked = locked.filter(|_| !self.request.update.takes(name));
                let held = locked.and_then(|locked| match &locked.source {
                    Source::Git(held) => Some((held, &locked.sha256)),
                    _ => None,
                });
                let held = held.filter(|(held, _)| {
                    (&held.url, &held.rev, &held.subpath) == (&pin.url, &pin.rev, &pin.subpath)
                });
                pin.commit = match held {
                    Some((held, _)) => held.commit.clone(),
                    None if self.request.locked => {
                        self.failed = true;
                        return Err(vec![Problem::new(format!(
                            "layer `{name}` from {origin} is not in cake.lock; run `cake lock`"
                        ))]);
                    }
                    None => self.failing(|git| git.commit(&repo, rev.as_deref()))?,
                };
                let sha256 = held.map(|(_, sha256)| sha256.as_str());
                self.pulled(name, &repo, Source::Git(pin), sha256)
            }
        }
    }

    /// A path as the lock has it, which is for all machines.
    fn portable(&self, path: &str, name: &str) -> String {
        if !Path::new(path).is_absolute() {
            return path.to_owned();
        }
        match place::below(&self.request.base, Path::new(path)) {
            Some(below) => below.to_string_lossy().into_owned(),
            None => {
                let message = format!(
                    "layer `{name}` comes from the absolute path {path}, which cake.lock then says of \
                     all machines; a path relative to the project is the same for all"
                );
                self.ui.warn(&Problem::new(message));
                path.to_owned()
            }
        }
    }

    /// A layer of the index as the lock has it; the index itself is not asked.
    fn pinned(&mut self, name: &str, pin: &Pin) -> Result<Found<Layer>, Vec<Problem>> {
        let repo = Repo {
            url: pin.url.clone(),
            is_users: false,
        };
        let sha256 = self.lock.layer(name).map(|locked| locked.sha256.as_str());
        self.pulled(name, &repo, Source::Index(pin.clone()), sha256)
    }

    fn indexed(&mut self, name: &str) -> Result<Option<Found<Layer>>, Vec<Problem>> {
        let Some(endpoint) = self.request.index() else {
            return Ok(None);
        };
        if self.request.locked {
            self.failed = true;
            return Err(vec![Problem::new(format!(
                "layer `{name}` is not in cake.lock as one of the index; run `cake lock`"
            ))]);
        }
        let shown = repo::shown(endpoint);
        let asked = self.ask(endpoint, name);
        let entry = asked.map_err(|problem| {
            self.failed = true;
            vec![problem]
        })?;
        let Some(entry) = entry else {
            return Ok(None);
        };
        let refuse =
            |message: String| vec![Problem::new(format!("{shown}: layer `{name}`: {message}"))];
        let (url, subpath) = entry.repo().map_err(refuse)?;
        let vouched = entry.commit().map_err(refuse)?;
        let repo = Repo {
            url,
            is_users: false,
        };
        let commit = match vouched {
            Some(commit) => commit,
            None => self.failing(|git| git.commit(&repo, None))?,
        };
        let pin = Pin {
            url: repo::shown(&repo.url),
            rev: None,
            commit,
            subpath,
        };
        self.asked = Some(shown);
        let sha256 = entry.text("sha256");
        self.pulled(name, &repo, Source::Index(pin), sha256.as_deref())
            .map(Some)
    }

    fn ask(&mut self, endpoint: &str, name: &str) -> Result<Option<super::entry::Entry>, Problem> {
        let index = match self.index.take() {
            Some(index) => index,
            None => {
                let request = self.request;
                Index::new(
                    endpoint,
                    &request.base,
                    self.trust,
                    request.insecure,
                    request.timeout,
                )?
            }
        };
        let index = self.index.insert(index);
        if self.request.offline && !index.is_local() {
            return Err(Problem::new(format!(
                "layer `{name}` is not at hand, and the index cannot be asked while offline; run \
                 once without --offline, or `cake vendor`"
            )));
        }
        let _step = self
            .ui
            .step("Asking", &format!("{} for {name}", repo::shown(endpoint)));
        let found = index.layer(name);
        let odd = index.take_warnings();
        odd.iter().for_each(|problem| self.ui.warn(problem));
        found
    }

    /// The files of a pinned layer, which have to be what somebody vouches for. A vendored copy that
    /// is just that saves the way to the repository.
    fn pulled(
        &mut self,
        name: &str,
        repo: &Repo,
        source: Source,
        sha256: Option<&str>,
    ) -> Result<Found<Layer>, Vec<Problem>> {
        if let Some(sha256) = sha256.filter(|_| !self.request.update.takes(name)) {
            let vendored = self.vendored(name).unwrap_or_default();
            if let Some((dir, tree)) = vendored.filter(|(_, tree)| tree.digest() == sha256) {
                return self.found(&dir, tree, source, name);
            }
        }
        let Some(pin) = source.pin().cloned() else {
            return Err(vec![Problem::new(format!("layer `{name}` has no commit"))]);
        };
        let tree = self.git.tree(repo, &pin.commit, pin.subpath.as_deref());
        let tree = tree.inspect_err(|_| self.failed = true)?;
        let place = match &pin.subpath {
            Some(path) => format!("{}/{path}", pin.url),
            None => pin.url.clone(),
        };
        if let Some(sha256) = sha256.filter(|sha256| **sha256 != tree.digest()) {
            self.failed = true;
            return Err(vec![Problem::new(format!(
                "layer `{name}` at commit {} of {place} has the digest {}, and should have {sha256}; \
                 somebody has changed one of the two",
                pin.commit,
                tree.digest()
            ))]);
        }
        self.found(&PathBuf::from(place), tree, source, name)
    }

    fn found(
        &self,
        place: &Path,
        tree: Tree,
        source: Source,
        name: &str,
    ) -> Result<Found<Layer>, Vec<Problem>> {
        let read = tree.layer_file(place)?;
        read.warnings
            .iter()
            .for_each(|warning| self.ui.warn(warning));
        let file = read.value;
        Ok(Found {
            name: file.name.clone(),
            layers: file.layers.clone(),
            place: place.display().to_string(),
            layer: Layer {
                locked: Locked {
                    name: name.to_owned(),
                    source,
                    sha256: tree.digest(),
                    layers: file.layers.clone(),
                },
                file,
                tree,
            },
        })
    }

    fn failing<T>(
        &mut self,
        ask: impl FnOnce(&Git<'a>) -> Result<T, Problem>,
    ) -> Result<T, Vec<Problem>> {
        ask(&self.git).map_err(|problem| {
            self.failed = true;
            vec![problem]
        })
    }
}

/// Where a vendored layer of which the lock does not know is from: cake itself, if it has the same.
fn unvouched(name: &str, tree: &Tree) -> Source {
    match local::embedded(name) {
        Some(own) if own.digest() == tree.digest() => Source::Embedded,
        _ => Source::Vendored,
    }
}
