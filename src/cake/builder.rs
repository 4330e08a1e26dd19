//! The builder that is there: docker, with BuildKit or without, podman, buildah. It is run as a program,
//! with the user's own configuration, contexts and credentials; what it prints is passed on as it comes.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::child::{self, End, cannot_run};
use super::failure::Failure;
use super::ui::Ui;
use crate::contract::problem::Problem;

/// A kind of builder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// `docker build`, whichever builder that is.
    Docker,
    /// `docker buildx build --load`: BuildKit by name.
    Buildx,
    /// `podman build`.
    Podman,
    /// `buildah build`.
    Buildah,
}

impl Kind {
    fn program(self) -> &'static str {
        match self {
            Self::Docker | Self::Buildx => "docker",
            Self::Podman => "podman",
            Self::Buildah => "buildah",
        }
    }
}

/// A builder that answers.
#[derive(Debug, Clone)]
pub struct Builder {
    kind: Kind,
    /// Whether `docker` builds with BuildKit.
    is_buildkit: bool,
    /// `linux/amd64`, as it builds by default; unknown where it would not say.
    platform: Option<String>,
}

/// What is to be built.
#[derive(Debug, Default)]
pub struct Build {
    /// The Dockerfile.
    pub dockerfile: PathBuf,
    /// What COPY copies from.
    pub context: PathBuf,
    /// The names that the image gets.
    pub tags: Vec<String>,
    /// The stage that is built, if not the last.
    pub target: Option<String>,
    /// `NAME=VALUE`, or `NAME` for that of the environment.
    pub build_args: Vec<String>,
    /// The platform, if not the builder's own.
    pub platform: Option<String>,
    /// Whether it should print nothing but problems.
    pub is_quiet: bool,
    /// Further words of the user's, passed on as they are.
    pub rest: Vec<OsString>,
}

impl Builder {
    /// The builder that was asked for, else the first that answers.
    ///
    /// # Errors
    /// None does; says what each said.
    pub fn find(wanted: Option<Kind>) -> Result<Self, Failure> {
        let mut reasons = Vec::new();
        let usual = [Kind::Docker, Kind::Podman, Kind::Buildah];
        let candidates = wanted.as_ref().map_or(&usual[..], std::slice::from_ref);
        for kind in candidates {
            match Self::ask(*kind) {
                Ok(builder) => return Ok(builder),
                Err(reason) => reasons.push(format!("{}: {reason}", kind.program())),
            }
        }
        let message = format!(
            "no builder answers ({}); start the engine, or install docker, podman or buildah",
            reasons.join("; ")
        );
        Err(Failure::failed(Problem::new(message)))
    }

    fn ask(kind: Kind) -> Result<Self, String> {
        let words: &[&str] = match kind {
            Kind::Docker => &["version", "--format", "{{.Server.Os}}/{{.Server.Arch}}"],
            Kind::Buildx => &["buildx", "version"],
            Kind::Podman => &["version", "--format", "{{.Client.OsArch}}"],
            Kind::Buildah => &["version"],
        };
        let text = capture(kind.program(), words)?;
        let mut platform = text.lines().next().map(|line| line.trim().to_owned());
        if kind == Kind::Buildah {
            let named = |line: &str| Some(line.strip_prefix("BuildPlatform:")?.trim().to_owned());
            platform = text.lines().find_map(named);
        }
        if kind == Kind::Buildx {
            // Building goes on in the engine, if there is one.
            platform = Self::ask(Kind::Docker)
                .ok()
                .and_then(|docker| docker.platform);
        }
        let platform = platform.filter(|platform| platform.contains('/'));
        let is_buildkit = match kind {
            Kind::Buildx => true,
            Kind::Docker => {
                std::env::var_os("DOCKER_BUILDKIT").is_none_or(|value| value != "0")
                    && capture("docker", &["buildx", "version"]).is_ok()
            }
            Kind::Podman | Kind::Buildah => false,
        };
        Ok(Self {
            kind,
            is_buildkit,
            platform,
        })
    }

    /// How the user is told of it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self.kind {
            Kind::Buildx => "docker buildx",
            other => other.program(),
        }
    }

    /// The platform that it builds for by default.
    #[must_use]
    pub fn platform(&self) -> Option<&str> {
        self.platform.as_deref()
    }

    /// What it knows of an image, as `docker image inspect` prints it; `None` if it has no such image.
    ///
    /// # Errors
    /// It does not answer.
    pub fn inspect(&self, image: &str) -> Result<Option<Vec<u8>>, String> {
        let mut command = Command::new(self.kind.program());
        match self.kind {
            Kind::Buildah => command.args(["inspect", "--type", "image", "--", image]),
            // Without `--`, which podman takes for a name here; a reference never begins with a dash.
            _ if image.starts_with('-') => return Ok(None),
            _ => command.args(["image", "inspect", image]),
        };
        let output = command.stdin(Stdio::null()).output();
        let output = output.map_err(|error| error.to_string())?;
        if !output.status.success() {
            let text = last_lines(&output.stderr);
            let absent = ["no such image", "not known", "not found", "no such object"];
            let lower = text.to_ascii_lowercase();
            return match absent.iter().any(|words| lower.contains(words)) {
                true => Ok(None),
                false => Err(text),
            };
        }
        Ok(Some(output.stdout))
    }

    /// Has an image fetched from its registry.
    ///
    /// # Errors
    /// It cannot be had.
    pub(super) fn pull(&self, image: &str, platform: Option<&str>, ui: &Ui) -> Result<(), End> {
        let mut command = Command::new(self.kind.program());
        command.arg("pull");
        if let Some(platform) = platform {
            command.args(["--platform", platform]);
        }
        command.arg(image);
        child::run(command, ui)
    }

    /// The words with which an image is built.
    #[must_use]
    pub fn words(&self, build: &Build) -> Vec<OsString> {
        let mut words: Vec<OsString> = match self.kind {
            Kind::Docker => vec!["docker".into(), "build".into()],
            Kind::Buildx => ["docker", "buildx", "build", "--load"]
                .map(Into::into)
                .into(),
            Kind::Podman => vec!["podman".into(), "build".into()],
            // Its older name, which every version knows.
            Kind::Buildah => vec!["buildah".into(), "bud".into()],
        };
        let mut option = |name: &str, value: &OsStr| {
            words.push(name.into());
            words.push(value.to_owned());
        };
        option("--file", build.dockerfile.as_os_str());
        for tag in &build.tags {
            option("--tag", OsStr::new(tag));
        }
        if let Some(target) = &build.target {
            option("--target", OsStr::new(target));
        }
        for argument in &build.build_args {
            option("--build-arg", OsStr::new(argument));
        }
        if let Some(platform) = &build.platform {
            option("--platform", OsStr::new(platform));
        }
        if build.is_quiet {
            words.push("--quiet".into());
        }
        words.extend(build.rest.iter().cloned());
        words.push(match build.context.as_os_str() {
            empty if empty.is_empty() => ".".into(),
            context => context.to_owned(),
        });
        words
    }

    /// Builds an image. All that the builder prints goes to stderr, as it comes.
    ///
    /// # Errors
    /// It failed; why, it has said itself.
    pub fn build(&self, build: &Build, ui: &Ui) -> Result<(), Failure> {
        let words = self.words(build);
        let Some((program, arguments)) = words.split_first() else {
            return Ok(());
        };
        let mut command = Command::new(program);
        command.args(arguments);
        child::run(command, ui).map_err(|end| {
            end.failure(|reason| {
                Problem::new(format!("{} has not built the image: {reason}", self.name()))
            })
        })
    }

    /// The files of which the first that is there says what of the context the builder does not get.
    #[must_use]
    pub fn ignore_files(&self, dockerfile: &Path, context: &Path) -> Vec<PathBuf> {
        let beside = |suffix: &str| {
            let mut name = dockerfile.as_os_str().to_owned();
            name.push(suffix);
            PathBuf::from(name)
        };
        let usual = context.join(".dockerignore");
        match self.kind {
            Kind::Docker | Kind::Buildx if self.is_buildkit => vec![beside(".dockerignore"), usual],
            Kind::Docker | Kind::Buildx => vec![usual],
            Kind::Podman | Kind::Buildah => vec![
                beside(".containerignore"),
                beside(".dockerignore"),
                context.join(".containerignore"),
                usual,
            ],
        }
    }

    /// Gives an image that is named by its ID a name of its own, since BuildKit takes an ID for one;
    /// returns the name. The caller forgets it.
    ///
    /// # Errors
    /// It cannot be named.
    pub fn alias(&self, image: &str) -> Result<Option<String>, String> {
        let digits = image.strip_prefix("sha256:").unwrap_or(image);
        let is_id = digits.len() >= 12 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_id || !self.is_buildkit {
            return Ok(None);
        }
        let name = format!("layercake/wrapped:{digits}");
        capture(self.kind.program(), &["tag", image, &name]).map(|_| Some(name))
    }

    /// Takes a name of [`Self::alias`] away.
    pub fn forget(&self, alias: &str) {
        // What stays is a name, which hurts nobody.
        let _ = capture(self.kind.program(), &["rmi", "--no-prune", alias]);
    }
}

/// Runs a program for what it answers; the error is what it said.
fn capture(program: &str, words: &[&str]) -> Result<String, String> {
    let output = Command::new(program)
        .args(words)
        .stdin(Stdio::null())
        .output();
    let output = output.map_err(|error| cannot_run(&error))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(last_lines(&output.stderr)),
    }
}

/// The end of what a program had to say, in one line.
fn last_lines(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let from = lines.len().saturating_sub(3);
    lines.get(from..).unwrap_or_default().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(kind: Kind, build: &Build) -> String {
        let builder = Builder {
            kind,
            is_buildkit: false,
            platform: None,
        };
        let words = builder.words(build);
        words
            .iter()
            .map(|word| word.to_string_lossy())
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn each_builder_gets_the_words_it_knows() {
        let build = Build {
            dockerfile: "d/Dockerfile".into(),
            tags: vec!["a".to_owned(), "b".to_owned()],
            target: Some("t".to_owned()),
            build_args: vec!["A=1".to_owned()],
            platform: Some("linux/arm64".to_owned()),
            rest: vec!["--no-cache".into()],
            ..Build::default()
        };
        let rest = "--file d/Dockerfile --tag a --tag b --target t --build-arg A=1 --platform linux/arm64 --no-cache .";
        assert_eq!(words(Kind::Docker, &build), format!("docker build {rest}"));
        assert_eq!(
            words(Kind::Buildx, &build),
            format!("docker buildx build --load {rest}")
        );
        assert_eq!(words(Kind::Podman, &build), format!("podman build {rest}"));
        assert_eq!(words(Kind::Buildah, &build), format!("buildah bud {rest}"));
    }
}
