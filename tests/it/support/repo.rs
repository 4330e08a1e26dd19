//! A git repository of a test, with a work tree to commit from.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The repository, removed when dropped.
pub(crate) struct Repo(tempfile::TempDir);

impl Repo {
    /// An empty one on the branch `main`.
    pub(crate) fn new() -> Self {
        let repo = Self(tempfile::tempdir().unwrap());
        repo.git(&["init", "--quiet", "--initial-branch=main", "."]);
        repo
    }

    /// One with a layer of this name at its top.
    pub(crate) fn of_layer(name: &str, more: &str) -> Self {
        let repo = Self::new();
        repo.write("layer.yaml", &format!("layer: {{name: {name}{more}}}\n"));
        repo.commit("first");
        repo
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// What git is told of it.
    pub(crate) fn url(&self) -> String {
        self.path().to_str().unwrap().to_owned()
    }

    /// Writes a file below the work tree.
    pub(crate) fn write(&self, path: &str, text: &str) -> PathBuf {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// Commits everything; returns the commit.
    pub(crate) fn commit(&self, message: &str) -> String {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "-m", message]);
        self.git(&["rev-parse", "HEAD"])
    }

    /// Runs git in it; returns what it says.
    pub(crate) fn git(&self, arguments: &[&str]) -> String {
        let output = Command::new("git")
            .arg("-C")
            .arg(self.path())
            .args(["-c", "protocol.file.allow=always"])
            .args(arguments)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_SYSTEM", "/dev/null")
            .envs(["AUTHOR", "COMMITTER"].map(|who| (format!("GIT_{who}_NAME"), "Jo")))
            .envs(["AUTHOR", "COMMITTER"].map(|who| (format!("GIT_{who}_EMAIL"), "jo@example.com")))
            .output()
            .expect("this test needs git, which `tests/all.sh` installs");
        assert!(output.status.success(), "git {arguments:?}: {output:?}");
        String::from_utf8(output.stdout)
            .unwrap()
            .trim_end()
            .to_owned()
    }
}
