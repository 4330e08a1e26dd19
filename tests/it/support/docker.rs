//! Images and containers of the tests, through the `docker` command and the engine it finds.

use super::{DEADLINE, Output, Terminal, tail, try_wait_for};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// What is to become an image: a directory tree and settings.
pub(crate) struct ImageBuilder {
    root: tempfile::TempDir,
    changes: Vec<String>,
}

impl ImageBuilder {
    /// Puts a file into the image.
    pub(crate) fn file(self, path: &str, content: impl AsRef<[u8]>, mode: u32) -> Self {
        let path = self.place(path);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        self
    }

    /// Puts a program of this machine into the image.
    pub(crate) fn program(self, path: &str, host: &Path) -> Self {
        self.file(
            path,
            fs::read(host).unwrap_or_else(|error| panic!("{}: {error}", host.display())),
            0o755,
        )
    }

    /// Puts a symbolic link into the image.
    pub(crate) fn link(self, path: &str, target: &str) -> Self {
        symlink(target, self.place(path)).unwrap();
        self
    }

    /// Adds a Dockerfile instruction: `ENTRYPOINT ["/disco"]`, `ENV A=b`, `USER 1000`…
    pub(crate) fn change(mut self, instruction: &str) -> Self {
        self.changes.push(instruction.to_owned());
        self
    }

    pub(crate) fn build(self) -> Image {
        let name = unique();
        let archive = tempfile::NamedTempFile::new().unwrap();
        let root = self.root.path();
        let mut tar = Command::new("tar");
        tar.args(["--owner=0", "--group=0", "--numeric-owner", "-cf"])
            .arg(archive.path())
            .arg("-C")
            .arg(root)
            .arg(".");
        assert!(tar.status().unwrap().success());
        let mut words: Vec<OsString> = vec!["import".into()];
        words.extend(
            self.changes
                .iter()
                .map(|change| format!("--change={change}").into()),
        );
        words.extend([archive.path().into(), OsString::from(&name)]);
        docker(&words).assert_code(0);
        Image { name }
    }

    fn place(&self, path: &str) -> PathBuf {
        let path = self.root.path().join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }
}

/// What `docker inspect` says of an image, if there is one of this name.
pub(crate) fn inspect_image(name: &str) -> Option<String> {
    let output = docker(&["image", "inspect", name]);
    (output.code == Some(0)).then_some(output.stdout)
}

/// An image. Dropping it removes it.
pub(crate) struct Image {
    name: String,
}

impl Image {
    /// An image with nothing in it.
    pub(crate) fn scratch() -> ImageBuilder {
        let root = tempfile::tempdir().unwrap();
        // It becomes `/`, which a user other than root has to be able to enter.
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
        ImageBuilder {
            root,
            changes: Vec::new(),
        }
    }

    /// An image with a static busybox under all its names in `/bin`.
    pub(crate) fn busybox() -> ImageBuilder {
        let image = Self::scratch().program("/bin/busybox", Path::new("/bin/busybox"));
        let list = Command::new("/bin/busybox").arg("--list").output().unwrap();
        for name in String::from_utf8(list.stdout)
            .unwrap()
            .lines()
            .filter(|&name| name != "busybox")
        {
            symlink("busybox", image.place(&format!("/bin/{name}"))).unwrap();
        }
        image.change("ENV PATH=/bin")
    }

    /// The image that `docker build` makes of a Dockerfile; the arguments end with the context.
    pub(crate) fn built<W: AsRef<OsStr>>(arguments: impl IntoIterator<Item = W>) -> Self {
        let name = unique();
        let mut words: Vec<OsString> = ["build", "-q", "-t", &name].map(OsString::from).into();
        words.extend(arguments.into_iter().map(|word| word.as_ref().to_owned()));
        docker(&words).assert_code(0);
        Self { name }
    }

    /// The name of an image that somebody else is to build.
    pub(crate) fn unbuilt() -> Self {
        Self { name: unique() }
    }

    /// The same image under a name that files can hold.
    pub(crate) fn named(self, name: &str) -> Self {
        docker(&["tag", &self.name, name]).assert_code(0);
        Self { name: name.into() }
    }

    /// Removes the images without a name that begin as this one does: what earlier stages of a build
    /// leave behind.
    pub(crate) fn sweep(&self) {
        let layer = |image: &str| {
            let format = "{{index .RootFS.Layers 0}}";
            docker(&["image", "inspect", "--format", format, image]).stdout
        };
        let own = layer(&self.name);
        let since = format!("--filter=since={}", self.name);
        let left = docker(&["images", "-q", "--filter=dangling=true", &since]).stdout;
        for image in left.lines().filter(|image| layer(image) == own) {
            let _ = try_docker(&["rmi", image]);
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// What `docker inspect` says of it.
    pub(crate) fn inspect(&self) -> String {
        let output = docker(&["image", "inspect", &self.name]);
        output.assert_code(0);
        output.stdout
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let _ = try_docker(&["rmi", "--force", &self.name]);
    }
}

/// What is to become a container.
#[derive(Clone)]
pub(crate) struct ContainerBuilder {
    name: String,
    options: Vec<OsString>,
    image: String,
    args: Vec<OsString>,
}

impl ContainerBuilder {
    /// Adds an option of `docker run` in one word, `--network=host` for example.
    pub(crate) fn option(mut self, option: impl AsRef<OsStr>) -> Self {
        self.options.push(option.as_ref().to_owned());
        self
    }

    pub(crate) fn env(self, name: &str, value: &str) -> Self {
        self.option(format!("--env={name}={value}"))
    }

    pub(crate) fn user(self, user: &str) -> Self {
        self.option(format!("--user={user}"))
    }

    pub(crate) fn args<W: AsRef<OsStr>>(mut self, words: impl IntoIterator<Item = W>) -> Self {
        self.args
            .extend(words.into_iter().map(|word| word.as_ref().to_owned()));
        self
    }

    /// Runs it in the background.
    ///
    /// # Panics
    /// If the engine cannot start it.
    #[track_caller]
    pub(crate) fn start(self) -> Container {
        let container = Container {
            name: self.name.clone(),
        };
        docker(&self.words(&["--detach"])).assert_code(0);
        container
    }

    /// Runs it attached to a terminal, `docker run -it`.
    pub(crate) fn start_on_terminal(self) -> (Container, Terminal) {
        let container = Container {
            name: self.name.clone(),
        };
        (
            container,
            Terminal::run([vec!["docker".into()], self.words(&["-it"])].concat()),
        )
    }

    /// Runs it to its end. The code is that of the container.
    pub(crate) fn run(self) -> Output {
        let _container = Container {
            name: self.name.clone(),
        };
        docker(&self.words(&["--attach=stdout", "--attach=stderr"]))
    }

    fn words(&self, how: &[&str]) -> Vec<OsString> {
        let mut words: Vec<OsString> =
            vec!["run".into(), "--name".into(), self.name.clone().into()];
        words.extend(how.iter().map(OsString::from));
        words.extend(self.options.iter().cloned());
        words.push(self.image.clone().into());
        words.extend(self.args.iter().cloned());
        words
    }
}

/// A container. Dropping it kills and removes it.
pub(crate) struct Container {
    name: String,
}

impl Container {
    pub(crate) fn of(image: &Image) -> ContainerBuilder {
        ContainerBuilder {
            name: unique(),
            options: Vec::new(),
            image: image.name.clone(),
            args: Vec::new(),
        }
    }

    /// What it has written to stdout and stderr.
    pub(crate) fn logs(&self) -> String {
        let output = docker(&["logs", &self.name]);
        output.stdout + &output.stderr
    }

    /// Waits until `needle` is in its logs.
    #[track_caller]
    pub(crate) fn wait_logs(&self, needle: &str) {
        let found = try_wait_for(DEADLINE, || self.logs().contains(needle).then_some(()));
        assert!(
            found.is_some(),
            "waited in vain for {needle:?} in\n{}",
            tail(&self.logs())
        );
    }

    /// `docker stop` with so much grace; returns how long it took.
    pub(crate) fn stop(&self, grace: Duration) -> Duration {
        let started = Instant::now();
        docker(&["stop", "-t", &grace.as_secs().to_string(), &self.name]).assert_code(0);
        started.elapsed()
    }

    /// `docker start`, of one that has ended.
    pub(crate) fn start_again(&self) {
        docker(&["start", &self.name]).assert_code(0);
    }

    /// `docker kill --signal`.
    pub(crate) fn signal(&self, signal: nix::sys::signal::Signal) {
        docker(&["kill", "--signal", signal.as_str(), &self.name]).assert_code(0);
    }

    /// Changes a limit of it while it runs: `--pids-limit=100`.
    pub(crate) fn update(&self, option: &str) {
        docker(&["update", option, &self.name]).assert_code(0);
    }

    /// Waits for its end and returns its exit code.
    #[track_caller]
    pub(crate) fn exit_code(&self) -> i32 {
        let output = docker(&["wait", &self.name]);
        output
            .stdout
            .trim()
            .parse()
            .unwrap_or_else(|_| panic!("no end; its logs:\n{}", tail(&self.logs())))
    }

    /// Runs another command in it.
    pub(crate) fn exec(&self, words: &[&str]) -> Output {
        docker(&[&["exec", &self.name], words].concat())
    }

    /// A field of `docker inspect`, `.State.Pid` for example.
    pub(crate) fn inspect(&self, field: &str) -> String {
        let output = docker(&[
            "inspect",
            "--format",
            &format!("{{{{{field}}}}}"),
            &self.name,
        ]);
        output.assert_code(0);
        output.stdout.trim().to_owned()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = try_docker(&["rm", "--force", "--volumes", &self.name]);
    }
}

/// Runs `docker`.
///
/// # Panics
/// If it does not end.
fn docker<W: AsRef<OsStr>>(words: &[W]) -> Output {
    let started = Instant::now();
    let output = try_docker(words).unwrap();
    assert_ne!(
        output.status.code(),
        Some(124),
        "docker did not come to an end"
    );
    Output::new(
        output.status,
        &output.stdout,
        &output.stderr,
        started.elapsed(),
    )
}

/// Runs `docker` for twice the usual deadline at most: the engine is slow to start containers in
/// parallel.
fn try_docker<W: AsRef<OsStr>>(words: &[W]) -> std::io::Result<std::process::Output> {
    let limit = (2 * DEADLINE).as_secs().to_string();
    Command::new("timeout")
        .args(["--kill-after=1", &limit, "docker"])
        .args(words)
        .output()
}

/// A name that no other run of the tests and no other test has.
fn unique() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!(
        "layer-cake-test-{}-{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    )
}
