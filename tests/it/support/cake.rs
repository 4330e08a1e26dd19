//! cake as a program, in a project of its own that goes with the test.

use super::Output;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

/// A directory with a Dockerfile, and cake in it.
pub(crate) struct Cake {
    dir: tempfile::TempDir,
    variables: BTreeMap<OsString, OsString>,
}

impl Cake {
    /// An empty project. Nothing of the surroundings reaches cake but PATH and how to reach the engine.
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("project")).unwrap();
        let mut variables: BTreeMap<OsString, OsString> = ["PATH", "DOCKER_HOST", "TMPDIR"]
            .into_iter()
            .filter_map(|name| Some((name.into(), std::env::var_os(name)?)))
            .collect();
        variables.insert("HOME".into(), dir.path().into());
        Self { dir, variables }
    }

    /// With this Dockerfile.
    pub(crate) fn of(dockerfile: &str) -> Self {
        let cake = Self::new();
        cake.write("Dockerfile", dockerfile);
        cake
    }

    /// With a variable.
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.variables
            .insert(name.into(), value.as_ref().to_owned());
        self
    }

    /// With this disco to put into images.
    pub(crate) fn disco(self, disco: &Path) -> Self {
        self.env("CAKE_DISCO", disco)
    }

    /// With a disco that is static by its head, and nothing more: enough where no image is run.
    pub(crate) fn with_any_disco(self) -> Self {
        let mut bytes = vec![0_u8; 64];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        bytes[18] = if cfg!(target_arch = "aarch64") {
            183
        } else {
            62
        };
        let path = self.dir.path().join("disco");
        fs::write(&path, bytes).unwrap();
        self.disco(&path)
    }

    /// With a program in place of the builders: it notes its words in `NAME.log` beside the project, a
    /// line each, and then does what the shell text says.
    pub(crate) fn with_builder(mut self, name: &str, text: &str) -> Self {
        let bin = self.dir.path().join("bin");
        fs::create_dir_all(&bin).unwrap();
        let log = self.dir.path().join(format!("{name}.log"));
        let script = format!(
            "#!/bin/sh\nfor word; do echo \"$word\" >>{}; done\n{text}\n",
            log.display()
        );
        fs::write(bin.join(name), script).unwrap();
        fs::set_permissions(bin.join(name), fs::Permissions::from_mode(0o755)).unwrap();
        self.variables.insert("PATH".into(), bin.into());
        self
    }

    /// The words that a program of [`Self::with_builder`] was called with, call after call.
    pub(crate) fn words(&self, name: &str) -> Vec<String> {
        let log = self.dir.path().join(format!("{name}.log"));
        let text = fs::read_to_string(log).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// A path in the project.
    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join("project").join(path)
    }

    /// Writes a file of the project.
    pub(crate) fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        fs::create_dir_all(self.at(path).parent().unwrap()).unwrap();
        fs::write(self.at(path), content).unwrap();
    }

    /// Writes a program of the project.
    pub(crate) fn write_program(&self, path: &str, content: impl AsRef<[u8]>) {
        self.write(path, content);
        fs::set_permissions(self.at(path), fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// A file of the project.
    pub(crate) fn read(&self, path: &str) -> String {
        let path = self.at(path);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// Everything in the project, by path.
    pub(crate) fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        fn collect(dir: &Path, root: &Path, into: &mut BTreeMap<PathBuf, Vec<u8>>) {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => collect(&path, root, into),
                    false => {
                        let name = path.strip_prefix(root).unwrap().to_owned();
                        into.insert(name, fs::read(&path).unwrap());
                    }
                }
            }
        }
        let mut files = BTreeMap::new();
        collect(&self.at(""), &self.at(""), &mut files);
        files
    }

    /// Runs it to its end, in the project.
    pub(crate) fn run<W: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = W>) -> Output {
        self.run_into(words, Stdio::piped())
    }

    /// The same, with this as its stdout.
    pub(crate) fn run_into<W: AsRef<OsStr>>(
        &self,
        words: impl IntoIterator<Item = W>,
        stdout: Stdio,
    ) -> Output {
        let started = Instant::now();
        let child = self
            .command(words)
            .stdout(stdout)
            .stderr(Stdio::piped())
            .spawn();
        let output = child.unwrap().wait_with_output().unwrap();
        Output::new(
            output.status,
            &output.stdout,
            &output.stderr,
            started.elapsed(),
        )
    }

    /// The same, with its output as it is.
    pub(crate) fn run_raw(&self, words: &[&str]) -> std::process::Output {
        self.command(words).output().unwrap()
    }

    /// Starts it, in the project.
    pub(crate) fn start<W: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = W>) -> Child {
        let mut command = self.command(words);
        command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    fn command<W: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = W>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cake"));
        command
            .args(words)
            .current_dir(self.at(""))
            .env_clear()
            .envs(&self.variables)
            .stdin(Stdio::null());
        command
    }
}
