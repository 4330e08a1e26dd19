//! What an image will run, as whom and with which variables, as its Dockerfile has it: the target's
//! chain of stages from the base image on, triggers included.
//!
//! It never guesses. What hangs on a base image that nobody knows is a [`Gap`], and an error only
//! where somebody needs it. The one exception is told as such: the SHELL of an unknown base is taken
//! for `/bin/sh -c`.

use std::collections::BTreeMap;
use std::path::Path;

use super::image::{Bases, Health};
use super::parse::{Dockerfile, placed};
use super::walk;
use crate::contract::problem::Problem;

/// What is said about the build apart from the file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Build {
    /// The stage that becomes the image: a name or a number; by default the last.
    pub target: Option<String>,
    /// `--build-arg`.
    pub args: BTreeMap<String, String>,
    /// `--platform`: `os/arch` or `os/arch/variant`.
    pub platform: Option<String>,
    /// The ENTRYPOINT of the base image, whatever is known otherwise.
    pub base_entrypoint: Option<Vec<String>>,
    /// The CMD of the base image, whatever is known otherwise.
    pub base_cmd: Option<Vec<String>>,
}

/// Why something is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gap {
    /// It comes from a base image that nobody knows.
    Base {
        /// The image.
        image: String,
        /// The line of its FROM.
        line: usize,
        /// Why not, if there is more to say.
        why: Option<String>,
    },
    /// It hangs on a variable that only the build knows.
    Variable {
        /// Its name.
        name: String,
        /// The line that uses it.
        line: usize,
    },
    /// Builders differ in how they read a line.
    Doubtful {
        /// The line.
        line: usize,
        /// How they differ, and the remedy.
        why: &'static str,
    },
}

impl Gap {
    /// The gap as a problem: `what` is not known, and one can give it by `instead`.
    #[must_use]
    pub fn problem(&self, file: &Path, what: &str, instead: &str) -> Problem {
        match self {
            Self::Base { image, line, why } => {
                let why = why
                    .as_ref()
                    .map_or_else(String::new, |why| format!(" ({why})"));
                let message = format!(
                    "{what} of the base image `{image}` is not known{why}; \
                     `docker pull` or build it, name a file with `--base-config`, or {instead}"
                );
                placed(file, *line, message)
            }
            Self::Variable { name, line } => {
                let flag = match name.starts_with("TARGET") {
                    true => "--platform=os/arch".to_owned(),
                    false => format!("--build-arg={name}=…"),
                };
                let message = format!(
                    "{what} hangs on `${name}`, which is not known here; give `{flag}`, or {instead}"
                );
                placed(file, *line, message)
            }
            Self::Doubtful { line, why } => placed(file, *line, *why),
        }
    }
}

/// A command and how it came about.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Command {
    /// The words; empty means none.
    pub words: Vec<String>,
    /// It is a shell form whose SHELL is that of an unknown base.
    pub assumes_shell: bool,
}

/// USER, and how to say it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The user; empty means root.
    pub value: Result<String, Gap>,
    /// The argument of the stage's own last USER, if it still means the same at the end of the stage.
    pub written: Option<String>,
}

impl User {
    /// Whether it is certain that this is root. With a variable it is not: builders differ in which ARG
    /// of another stage counts, and whether it goes before ENV.
    #[must_use]
    pub fn is_root(&self) -> bool {
        if self.written.as_ref().is_some_and(|text| text.contains('$')) {
            return false;
        }
        let name = |value: &String| value.split(':').next().unwrap_or_default().to_owned();
        let name = self.value.as_ref().map(name);
        matches!(name.as_deref(), Ok("" | "root" | "0"))
    }
}

/// What the target stage comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effective {
    /// The stage, from 0.
    pub stage: usize,
    /// ENTRYPOINT.
    pub entrypoint: Result<Command, Gap>,
    /// CMD.
    pub cmd: Result<Command, Gap>,
    /// The stage itself, or a trigger in it, has an ENTRYPOINT.
    pub entrypoint_is_own: bool,
    /// The stage itself, or a trigger in it, has a CMD: an ENTRYPOINT does not take it away.
    pub cmd_is_own: bool,
    /// USER.
    pub user: User,
    /// HEALTHCHECK.
    pub health: Result<Health, Gap>,
    /// The line of the stage's own HEALTHCHECK.
    pub health_line: Option<usize>,
    /// ENV in order of the names. A value that only the build knows is `None`.
    pub env: BTreeMap<String, Option<String>>,
    /// Whether `env` holds all of them: the base is known.
    pub env_is_whole: bool,
}

/// Follows the target's chain of stages.
///
/// # Errors
/// What no builder would take, and what makes the chain itself uncertain.
pub fn effective(
    file: &Path,
    dockerfile: &Dockerfile,
    build: &Build,
    bases: &dyn Bases,
) -> Result<Effective, Vec<Problem>> {
    let target = dockerfile
        .target(build.target.as_deref())
        .map_err(|problem| vec![problem.in_file(file)])?;
    walk::walk(file, dockerfile, build, bases, target)
}

#[cfg(test)]
mod tests;
