//! Layers out of git repositories, through the `git` program: which commit a branch or a tag is, and
//! the files of a commit.
//!
//! Nothing is ever checked out: a commit is fetched into a bare repository and its files are read as
//! objects, so that no hook, filter, attribute, submodule or link of the repository takes effect. What
//! was fetched stays in a cache, by repository and commit.

mod objects;
mod run;

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::tree::{MAX_PROBLEMS, Tree};
use super::web::Trust;
use crate::cake::ui::Ui;
use crate::contract::hash;
use crate::contract::layer::digest;
use crate::contract::layer::repo::{self, Transport};
use crate::contract::problem::Problem;
use crate::contract::suggest;
use objects::{Fault, Objects};
use run::{command, run};

/// A repository, and who named it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repo {
    /// What git is told. A local one is an absolute path or a `file://` URL.
    pub url: String,
    /// Whether the user named it, who may name what is on this machine; an index may not.
    pub is_users: bool,
}

/// git, and where it keeps what it has fetched.
pub struct Git<'a> {
    cache: Option<PathBuf>,
    trust: &'a Trust,
    offline: bool,
    insecure: bool,
    ui: &'a Ui,
    /// In place of the cache where that cannot be written.
    scratch: OnceCell<TempDir>,
}

impl<'a> Git<'a> {
    /// `cache` is made when something is fetched; without one nothing is kept.
    #[must_use]
    pub fn new(
        cache: Option<PathBuf>,
        trust: &'a Trust,
        offline: bool,
        insecure: bool,
        ui: &'a Ui,
    ) -> Self {
        Self {
            cache,
            trust,
            offline,
            insecure,
            ui,
            scratch: OnceCell::new(),
        }
    }

    /// The commit that a branch, a tag or a whole commit is; `None` is the default branch. As to git
    /// itself, a tag comes before a branch of the same name.
    ///
    /// # Errors
    /// No such name, no such repository, one that may not be asked.
    pub fn commit(&self, repo: &Repo, rev: Option<&str>) -> Result<String, Problem> {
        let transport = self.allowed(repo)?;
        if let Some(rev) = rev.filter(|rev| digest::is_commit(rev)) {
            return Ok(rev.to_owned());
        }
        let shown = repo::shown(&repo.url);
        let wanted = rev.unwrap_or("the default branch");
        if self.offline && transport != Transport::Local {
            return Err(Problem::new(format!(
                "{shown}: cannot ask which commit {wanted} is while offline; run once without \
                 --offline, and keep cake.lock"
            )));
        }
        let _step = self.ui.step("Asking", &shown);
        let mut command = command(transport, self.trust);
        command.args(["ls-remote", "--quiet", "--", &repo.url]);
        let names = match rev {
            None => vec!["HEAD".to_owned()],
            Some(full) if full.starts_with("refs/") => {
                vec![format!("{full}^{{}}"), full.to_owned()]
            }
            Some(rev) => vec![
                format!("refs/tags/{rev}^{{}}"),
                format!("refs/tags/{rev}"),
                format!("refs/heads/{rev}"),
            ],
        };
        let listed = run(command, &repo.url)?;
        let listed = String::from_utf8_lossy(&listed);
        let refs: BTreeMap<&str, &str> = listed
            .lines()
            .filter_map(|line| line.split_once('\t'))
            .map(|(commit, name)| (name, commit))
            .collect();
        let commit = names.iter().find_map(|name| refs.get(name.as_str()));
        match commit {
            Some(commit) if digest::is_commit(commit) => Ok((*commit).to_owned()),
            Some(_) => Err(Problem::new(format!(
                "{shown}: names its commits otherwise than by SHA-1, which cake does not know"
            ))),
            None if rev.is_none() => Err(Problem::new(format!(
                "{shown}: has no default branch; name a branch or a tag with `rev`"
            ))),
            None => {
                let known = refs.keys().filter_map(|name| {
                    let name = name
                        .strip_prefix("refs/heads/")
                        .or(name.strip_prefix("refs/tags/"));
                    name.filter(|name| !name.ends_with("^{}"))
                });
                let hint = suggest::hint(wanted, known);
                Err(Problem::new(format!(
                    "{shown}: has no branch or tag `{wanted}` (a commit is given in full, 40 hex \
                     digits){hint}"
                )))
            }
        }
    }

    /// The files of a commit, below `subpath`.
    ///
    /// # Errors
    /// What cannot be fetched, is not there, or cannot be part of a layer.
    pub fn tree(
        &self,
        repo: &Repo,
        commit: &str,
        subpath: Option<&str>,
    ) -> Result<Tree, Vec<Problem>> {
        let transport = self.allowed(repo).map_err(|problem| vec![problem])?;
        let one = |problem| vec![problem];
        let store = self.fetched(repo, transport, commit).map_err(one)?;
        match self.read(&store, repo, commit, subpath) {
            Err(Unread::Broken(_)) => {
                // Cut off, or tampered with: what the repository has counts.
                removed(&store).map_err(one)?;
                let store = self.fetched(repo, transport, commit).map_err(one)?;
                self.read(&store, repo, commit, subpath)
                    .map_err(Unread::told)
            }
            outcome => outcome.map_err(Unread::told),
        }
    }

    /// A bare repository that holds the commit.
    fn fetched(&self, repo: &Repo, transport: Transport, commit: &str) -> Result<PathBuf, Problem> {
        let shown = repo::shown(&repo.url);
        let key = hash::sha256(repo.url.as_bytes());
        let name = format!("{}-{commit}.git", key.get(..16).unwrap_or(&key));
        let caches = self.cache.iter().map(PathBuf::as_path);
        let places = caches.chain(self.scratch.get().map(TempDir::path));
        if let Some(kept) = places
            .map(|place| place.join(&name))
            .find(|path| path.is_dir())
        {
            if self.holds(&kept, commit) {
                return Ok(kept);
            }
            // Cut off, or tampered with by a cleaner of caches: fetched again.
            removed(&kept)?;
        }
        if self.offline && transport != Transport::Local {
            return Err(Problem::new(format!(
                "{shown}: commit {commit} is not in the cache, and cannot be fetched while \
                 offline; run once without --offline, or `cake vendor`"
            )));
        }
        let _step = self.ui.step("Fetching", &shown);
        let (place, fresh) = self.place()?;
        let mut init = command(transport, self.trust);
        init.args(["init", "--quiet", "--bare", "--template=", "--"]);
        init.arg(fresh.path());
        run(init, &repo.url)?;

        let shallow = ["--depth=1"];
        let all = ["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"];
        let fetch = |options: &[&str], refs: &[&str]| {
            let mut command = command(transport, self.trust);
            command.arg("--git-dir").arg(fresh.path());
            command.args(["fetch", "--quiet", "--no-tags", "--no-recurse-submodules"]);
            command.args(options).args(["--", &repo.url]).args(refs);
            run(command, &repo.url)
        };
        // Some servers hand out what has a name only, and files on a web server know no depth.
        if let Err(problem) = fetch(&shallow, &[commit]) {
            let words = [
                "unadvertised",
                "not our ref",
                "shallow",
                "dumb http",
                "find remote ref",
            ];
            if !words.iter().any(|word| problem.message.contains(word)) {
                return Err(problem);
            }
            fetch(&[], &all)?;
        }
        if !self.holds(fresh.path(), commit) {
            return Err(Problem::new(format!(
                "{shown}: has no commit {commit} (any more)"
            )));
        }
        let kept = place.join(name);
        let fresh = fresh.keep();
        if let Err(error) = fs::rename(&fresh, &kept) {
            // Somebody else may have been faster, and has the same.
            let _ = fs::remove_dir_all(&fresh);
            if !kept.is_dir() {
                return Err(Problem::new(format!("cannot be made: {error}")).in_file(kept));
            }
        }
        Ok(kept)
    }

    /// Whether a commit and its top directory are in a repository of the cache.
    fn holds(&self, store: &Path, commit: &str) -> bool {
        let mut check = command(Transport::Local, self.trust);
        check.arg("--git-dir").arg(store);
        check.args(["cat-file", "-e", &format!("{commit}^{{tree}}")]);
        run(check, "").is_ok()
    }

    /// Where fetched commits are kept, and a fresh directory in there.
    fn place(&self) -> Result<(PathBuf, TempDir), Problem> {
        let fresh = |place: &Path| {
            fs::create_dir_all(place)?;
            tempfile::Builder::new().prefix(".fetch-").tempdir_in(place)
        };
        let cached = self.cache.as_ref().map(|cache| (cache, fresh(cache)));
        if let Some((cache, Ok(made))) = cached {
            return Ok((cache.clone(), made));
        }
        let failed = |error| Problem::new(format!("cannot make a temporary directory: {error}"));
        let scratch = match self.scratch.get() {
            Some(scratch) => scratch,
            None => {
                let made = tempfile::tempdir().map_err(failed)?;
                self.scratch.get_or_init(|| made)
            }
        };
        let scratch = scratch.path();
        Ok((scratch.to_owned(), fresh(scratch).map_err(failed)?))
    }

    fn read(
        &self,
        store: &Path,
        repo: &Repo,
        commit: &str,
        subpath: Option<&str>,
    ) -> Result<Tree, Unread> {
        let shown = repo::shown(&repo.url);
        let place = match subpath {
            Some(path) => format!("{shown} in {path}"),
            None => shown,
        };
        let objects = Objects::open(command(Transport::Local, self.trust), store);
        let objects = objects.map_err(|message| Unread::Refused(vec![Problem::new(message)]))?;
        tree(objects, commit, subpath, &place)
    }

    /// How the repository is reached, if it may be.
    fn allowed(&self, repo: &Repo) -> Result<Transport, Problem> {
        let refuse = |message: &str| {
            Problem::new(format!("repository {}: {message}", repo::shown(&repo.url)))
        };
        match repo::transport(&repo.url).map_err(|message| refuse(&message))? {
            Transport::Http if !self.insecure => Err(refuse(
                "is not https, so anybody could answer; use https, or --insecure",
            )),
            Transport::Local if !repo.is_users => Err(refuse(
                "is on this machine, and only you may name such a one: in cake.conf or on the \
                 command line",
            )),
            transport => Ok(transport),
        }
    }
}

/// Why the files of a commit cannot be had.
enum Unread {
    /// The repository is broken.
    Broken(Problem),
    /// They are no layer, or not there.
    Refused(Vec<Problem>),
}

impl Unread {
    fn told(self) -> Vec<Problem> {
        match self {
            Self::Broken(problem) => vec![problem],
            Self::Refused(problems) => problems,
        }
    }
}

/// Removes what is in the cache.
fn removed(store: &Path) -> Result<(), Problem> {
    fs::remove_dir_all(store).map_err(|error| {
        Problem::new(format!("is broken, and cannot be removed: {error}")).in_file(store)
    })
}

/// The files of a commit, below `subpath`; `place` is how messages name that.
fn tree(
    mut objects: Objects,
    commit: &str,
    subpath: Option<&str>,
    place: &str,
) -> Result<Tree, Unread> {
    let refuse = |message: String| Problem::new(format!("{place}: {message}"));
    let unread = |fault| match fault {
        Fault::Broken(message) => Unread::Broken(refuse(message)),
        Fault::Refused(message) => Unread::Refused(vec![refuse(message)]),
    };
    let directory = objects.directory(commit, subpath).map_err(unread)?;
    let directory = directory.ok_or_else(|| {
        let short = commit.get(..12).unwrap_or(commit);
        let message = format!("there is no such directory at commit {short}");
        Unread::Refused(vec![refuse(message)])
    })?;
    let entries = objects.entries(&directory).map_err(unread)?;
    let mut tree = Tree::default();
    let mut problems = Vec::new();
    for path in entries.keys() {
        let added = objects.follow(&entries, path).and_then(|entry| {
            let bytes = objects.file(&entry.object, |size| tree.admit(path, size))?;
            tree.insert(path, bytes, entry.mode == "100755")
                .map_err(Fault::Refused)
        });
        match added {
            Ok(()) => {}
            Err(Fault::Refused(message)) => problems.push(refuse(message)),
            Err(broken) => return Err(unread(broken)),
        }
        if objects.is_over || problems.len() > MAX_PROBLEMS {
            break;
        }
    }
    match problems.is_empty() {
        true => Ok(tree),
        false => Err(Unread::Refused(problems)),
    }
}

/// The commit that is checked out around a directory, the path of the directory in the repository, empty
/// for its top, and the files of the commit there. Nothing that the repository's settings name is run, and
/// what is checked out is not looked at.
#[must_use]
pub fn committed(home: &Path) -> Option<(String, String, Tree)> {
    let trust = Trust::default();
    let home = home.canonicalize().ok()?;
    let ask = |words: &[&str]| {
        let mut command = command(Transport::Local, &trust);
        command.arg("-C").arg(&home).arg("rev-parse").args(words);
        let said = String::from_utf8(run(command, "").ok()?).ok()?;
        Some(said.trim_end_matches('\n').to_owned())
    };
    let store = PathBuf::from(ask(&["--absolute-git-dir"])?);
    let prefix = ask(&["--show-prefix"])?.trim_end_matches('/').to_owned();
    let commit = ask(&["--verify", "HEAD^{commit}"])?;
    let objects = Objects::open(command(Transport::Local, &trust), &store).ok()?;
    let below = Some(prefix.as_str()).filter(|prefix| !prefix.is_empty());
    let tree = tree(objects, &commit, below, "").ok()?;
    Some((commit, prefix, tree))
}

/// Where git's commits are kept between runs: below `XDG_CACHE_HOME`, else below `HOME`.
#[must_use]
pub fn cache(variable: &dyn Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let absolute = |name: &str| {
        variable(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let base = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    Some(base.join("layer-cake/git"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_is_where_caches_are() {
        let at = |pairs: &'static [(&str, &str)]| {
            cache(&|name| {
                pairs
                    .iter()
                    .find(|pair| pair.0 == name)
                    .map(|pair| pair.1.into())
            })
        };
        assert_eq!(
            at(&[("XDG_CACHE_HOME", "/c"), ("HOME", "/h")]),
            Some("/c/layer-cake/git".into())
        );
        assert_eq!(
            at(&[("XDG_CACHE_HOME", "c"), ("HOME", "/h")]),
            Some("/h/.cache/layer-cake/git".into())
        );
        assert_eq!(at(&[]), None);
    }
}
