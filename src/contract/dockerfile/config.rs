//! What an image will run, as whom and with which variables, as its Dockerfile has it: the target's
//! chain of stages from the base image on, triggers included.
//!
//! It never guesses. What hangs on a base image that nobody knows is a [`Gap`], and an error only
//! where somebody needs it. The one exception is told as such: the SHELL of an unknown base is taken
//! for `/bin/sh -c`.

use std::collections::BTreeMap;
use std::path::Path;

use super::parse::{Dockerfile, Instruction, Stage, placed, trigger};
use super::shell::{Fault, Shell, Variable};
use super::words::{self, Form};
use crate::contract::problem::Problem;

/// What a shell form is given to where no SHELL says otherwise.
const SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// The configuration of a finished image, as far as an editor needs it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ImageConfig {
    /// ENTRYPOINT. None and empty are the same to an engine.
    pub entrypoint: Option<Vec<String>>,
    /// CMD.
    pub cmd: Option<Vec<String>>,
    /// SHELL; none means `/bin/sh -c`.
    pub shell: Option<Vec<String>>,
    /// USER; empty means root.
    pub user: String,
    /// ENV, names and values.
    pub env: Vec<(String, String)>,
    /// HEALTHCHECK.
    pub health: Health,
    /// The instructions behind ONBUILD, in order.
    pub onbuild: Vec<String>,
}

/// What is known of an image's health check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Health {
    /// Nobody has said anything.
    #[default]
    Unset,
    /// HEALTHCHECK NONE.
    Disabled,
    /// There is a check.
    Set,
}

/// Whoever knows base images: an engine, a file.
pub trait Bases {
    /// The configuration of an image, `None` if it is not known here.
    ///
    /// # Errors
    /// If it could not be asked for; the message completes "is not known: ".
    fn config(&self, image: &str, platform: Option<&str>) -> Result<Option<ImageConfig>, String>;
}

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
    /// Whether it is certain that this is root.
    #[must_use]
    pub fn is_root(&self) -> bool {
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
    let mut walk = Walk {
        file,
        dockerfile,
        build,
        globals: BTreeMap::new(),
        problems: Vec::new(),
    };
    walk.globals();
    let (chain, root) = walk.chain(target);
    let Some(root) = root else {
        return Err(walk.problems);
    };
    let mut state = walk.root(&root, bases);
    for stage in chain
        .iter()
        .rev()
        .filter_map(|at| dockerfile.stages.get(*at))
    {
        walk.stage(&mut state, stage);
    }
    match walk.problems.is_empty() {
        true => Ok(state.end(target)),
        false => Err(walk.problems),
    }
}

/// Where a chain of stages begins.
enum Root {
    Scratch,
    Image(String, Option<String>, usize),
    Unknown(Gap),
}

/// A stage in the making.
struct State {
    entrypoint: Result<Command, Gap>,
    cmd: Result<Command, Gap>,
    entrypoint_is_own: bool,
    cmd_is_own: bool,
    shell: Result<Vec<String>, Gap>,
    user: User,
    health: Result<Health, Gap>,
    health_line: Option<usize>,
    env: BTreeMap<String, Option<String>>,
    args: BTreeMap<String, Variable>,
    /// The base, as long as it is not known.
    gap: Option<Gap>,
    /// Triggers for the next stage; `Err` if nobody knows them.
    triggers: Result<Vec<String>, Gap>,
}

impl State {
    fn of(config: ImageConfig) -> Self {
        let command = |words: Option<Vec<String>>| {
            Ok(Command {
                words: words.unwrap_or_default(),
                assumes_shell: false,
            })
        };
        let shell = config.shell.filter(|shell| !shell.is_empty());
        Self {
            entrypoint: command(config.entrypoint),
            cmd: command(config.cmd),
            entrypoint_is_own: false,
            cmd_is_own: false,
            shell: Ok(shell.unwrap_or_else(|| SHELL.map(str::to_owned).into())),
            user: User {
                value: Ok(config.user),
                written: None,
            },
            health: Ok(config.health),
            health_line: None,
            env: config
                .env
                .into_iter()
                .map(|(name, value)| (name, Some(value)))
                .collect(),
            args: BTreeMap::new(),
            gap: None,
            triggers: Ok(config.onbuild),
        }
    }

    fn unknown(gap: &Gap) -> Self {
        let mut state = Self::of(ImageConfig::default());
        state.entrypoint = Err(gap.clone());
        state.cmd = Err(gap.clone());
        state.shell = Err(gap.clone());
        state.user.value = Err(gap.clone());
        state.health = Err(gap.clone());
        state.triggers = Err(gap.clone());
        state.gap = Some(gap.clone());
        state
    }

    fn end(self, stage: usize) -> Effective {
        Effective {
            stage,
            entrypoint: self.entrypoint,
            cmd: self.cmd,
            entrypoint_is_own: self.entrypoint_is_own,
            cmd_is_own: self.cmd_is_own,
            user: self.user,
            health: self.health,
            health_line: self.health_line,
            env: self.env,
            env_is_whole: self.gap.is_none(),
        }
    }

    /// ENV counts before ARG, wherever they stand.
    fn variable(&self, name: &str) -> Variable {
        match self.env.get(name) {
            Some(Some(value)) => Variable::Set(value.clone()),
            Some(None) => Variable::Unknown,
            None if self.gap.is_some() => Variable::Unknown,
            None => self.args.get(name).cloned().unwrap_or(Variable::Unset),
        }
    }

    /// A variable changes: a USER that names it may no longer mean the same.
    fn touch(&mut self, name: &str) {
        let names = |written: &String| written.contains('$') && written.contains(name);
        if self.user.written.as_ref().is_some_and(names) {
            self.user.written = None;
        }
    }
}

struct Walk<'a> {
    file: &'a Path,
    dockerfile: &'a Dockerfile,
    build: &'a Build,
    globals: BTreeMap<String, Variable>,
    problems: Vec<Problem>,
}

impl Walk<'_> {
    fn refuse(&mut self, line: usize, message: impl Into<String>) {
        self.problems.push(placed(self.file, line, message));
    }

    fn expand(&self, text: &str, variable: &dyn Fn(&str) -> Variable) -> Result<String, Fault> {
        Shell {
            escape: self.dockerfile.escape,
            keeps_quotes: false,
            keeps_escapes: false,
            keeps_unset: false,
            variable,
        }
        .expand(text)
    }

    /// What the builder itself sets.
    fn predefined(&self, name: &str) -> Option<Variable> {
        let platform = self.build.platform.as_deref();
        let mut parts = platform.map(|platform| platform.splitn(3, '/'));
        let value = match name {
            "TARGETPLATFORM" => platform,
            "TARGETOS" => parts.as_mut().and_then(Iterator::next),
            "TARGETARCH" => parts.as_mut().and_then(|parts| parts.nth(1)),
            "TARGETVARIANT" => parts.map(|mut parts| parts.nth(2).unwrap_or_default()),
            "BUILDPLATFORM" | "BUILDOS" | "BUILDARCH" | "BUILDVARIANT" => None,
            _ => return None,
        };
        Some(value.map_or(Variable::Unknown, |value| Variable::Set(value.to_owned())))
    }

    fn global(&self, name: &str) -> Variable {
        let given = || self.predefined(name).unwrap_or(Variable::Unset);
        self.globals.get(name).cloned().unwrap_or_else(given)
    }

    /// The value of an ARG: given to the build, or the default, or what `otherwise` says.
    fn arg(
        &self,
        name: &str,
        default: Option<&str>,
        variable: &dyn Fn(&str) -> Variable,
        otherwise: impl FnOnce() -> Variable,
    ) -> Result<Variable, Fault> {
        if let Some(value) = self.build.args.get(name) {
            return Ok(Variable::Set(value.clone()));
        }
        match default.map(|default| self.expand(default, variable)) {
            None => Ok(otherwise()),
            Some(Ok(value)) => Ok(Variable::Set(value)),
            Some(Err(Fault::Unknown(_))) => Ok(Variable::Unknown),
            Some(Err(fault)) => Err(fault),
        }
    }

    fn globals(&mut self) {
        let dockerfile = self.dockerfile;
        for instruction in dockerfile.globals() {
            for (name, default) in words::names(&instruction.args, dockerfile.escape) {
                let known = |name: &str| self.global(name);
                let given = || self.predefined(&name).unwrap_or(Variable::Unset);
                match self.arg(&name, default.as_deref(), &known, given) {
                    Ok(value) => drop(self.globals.insert(name, value)),
                    Err(fault) => self.fault(instruction.line, "ARG", &fault),
                }
            }
        }
    }

    fn fault(&mut self, line: usize, keyword: &str, fault: &Fault) {
        if let Fault::Syntax(why) = fault {
            self.refuse(line, format!("{keyword} cannot be read: {why}"));
        }
    }

    /// The stages from the target up, and what the last of them begins with.
    fn chain(&mut self, target: usize) -> (Vec<usize>, Option<Root>) {
        let mut chain = Vec::new();
        let mut at = target;
        loop {
            chain.push(at);
            let Some(stage) = self.dockerfile.stages.get(at) else {
                return (chain, None);
            };
            let from = self.dockerfile.instructions.get(stage.from);
            let line = from.map_or(0, |from| from.line);
            let image = match self.expand(&stage.image, &|name| self.global(name)) {
                Ok(image) => image,
                Err(Fault::Unknown(name)) => {
                    return (chain, Some(Root::Unknown(Gap::Variable { name, line })));
                }
                Err(fault) => {
                    self.fault(line, "FROM", &fault);
                    return (chain, None);
                }
            };
            if image.is_empty() {
                let message = format!(
                    "`FROM {}` names no image; give its variable a value with `--build-arg`",
                    stage.image
                );
                self.refuse(line, message);
                return (chain, None);
            }
            let earlier = self.dockerfile.stages.get(..at).unwrap_or_default();
            let is_it = |stage: &Stage| {
                let own = stage.name.as_deref();
                own.is_some_and(|own| own.eq_ignore_ascii_case(&image))
            };
            match earlier.iter().rposition(is_it) {
                Some(parent) => at = parent,
                None if image == "scratch" => return (chain, Some(Root::Scratch)),
                None => {
                    let platform = stage.platform.as_deref();
                    let platform = platform.and_then(|platform| {
                        let platform = self.expand(platform, &|name| self.global(name));
                        platform.ok().filter(|platform| !platform.is_empty())
                    });
                    let platform = platform.or_else(|| self.build.platform.clone());
                    return (chain, Some(Root::Image(image, platform, line)));
                }
            }
        }
    }

    fn root(&self, root: &Root, bases: &dyn Bases) -> State {
        let mut state = match root {
            Root::Scratch => return State::of(ImageConfig::default()),
            Root::Unknown(gap) => State::unknown(gap),
            Root::Image(image, platform, line) => {
                let gap = |why| Gap::Base {
                    image: image.clone(),
                    line: *line,
                    why,
                };
                match bases.config(image, platform.as_deref()) {
                    Ok(Some(config)) => State::of(config),
                    Ok(None) => State::unknown(&gap(None)),
                    Err(why) => State::unknown(&gap(Some(why))),
                }
            }
        };
        let said = |words: &Vec<String>| Command {
            words: words.clone(),
            assumes_shell: false,
        };
        if let Some(words) = &self.build.base_entrypoint {
            state.entrypoint = Ok(said(words));
        }
        if let Some(words) = &self.build.base_cmd {
            state.cmd = Ok(said(words));
        }
        state
    }

    fn stage(&mut self, state: &mut State, stage: &Stage) {
        state.entrypoint_is_own = false;
        state.cmd_is_own = false;
        state.user.written = None;
        state.health_line = None;
        state.args.clear();
        let triggers = std::mem::replace(&mut state.triggers, Ok(Vec::new()));
        let from = self.dockerfile.instructions.get(stage.from);
        let line = from.map_or(0, |from| from.line);
        for text in triggers.as_deref().unwrap_or_default() {
            let instruction = Instruction {
                line,
                ..trigger(text)
            };
            self.apply(state, &instruction, triggers.is_err());
            state.user.written = None;
            state.health_line = None;
        }
        let dockerfile = self.dockerfile;
        for instruction in dockerfile.body(stage) {
            self.apply(state, instruction, triggers.is_err());
        }
    }

    fn apply(&mut self, state: &mut State, instruction: &Instruction, is_unsure: bool) {
        let line = instruction.line;
        let args = instruction.args.as_str();
        match instruction.keyword.as_str() {
            "ENV" => self.env(state, line, args),
            "ARG" => {
                for (name, default) in words::names(args, self.dockerfile.escape) {
                    let known = |name: &str| state.variable(name);
                    let global = || self.global(&name);
                    match self.arg(&name, default.as_deref(), &known, global) {
                        Ok(value) => {
                            state.touch(&name);
                            state.args.insert(name, value);
                        }
                        Err(fault) => self.fault(line, "ARG", &fault),
                    }
                }
            }
            "USER" => {
                let value = match self.expand(args, &|name| state.variable(name)) {
                    Ok(value) => Ok(value),
                    Err(Fault::Unknown(name)) => Err(Gap::Variable { name, line }),
                    Err(fault) => return self.fault(line, "USER", &fault),
                };
                state.user = User {
                    value,
                    // Said again it would be a flag.
                    written: Some(args.to_owned()).filter(|args| !args.starts_with("--")),
                };
            }
            "SHELL" => match words::form(args) {
                Ok(Form::Exec(words)) if !words.is_empty() => state.shell = Ok(words),
                _ => self.refuse(
                    line,
                    "SHELL wants a JSON array, as in `SHELL [\"/bin/sh\", \"-c\"]`",
                ),
            },
            "ENTRYPOINT" => {
                if let Some(command) = self.command(state, instruction) {
                    state.entrypoint = command;
                    state.entrypoint_is_own = true;
                    if !state.cmd_is_own {
                        // A trigger that nobody knows may have set a CMD, which would stay.
                        let gap = state.gap.clone().filter(|_| is_unsure);
                        state.cmd = gap.map_or(Ok(Command::default()), Err);
                    }
                }
            }
            "CMD" => {
                if let Some(command) = self.command(state, instruction) {
                    state.cmd = command;
                    state.cmd_is_own = true;
                }
            }
            "HEALTHCHECK" => {
                let word = args.split_whitespace().next().unwrap_or_default();
                let is_none = word.eq_ignore_ascii_case("NONE");
                state.health = Ok(if is_none {
                    Health::Disabled
                } else {
                    Health::Set
                });
                state.health_line = Some(line);
            }
            "ONBUILD" => {
                if let Ok(triggers) = &mut state.triggers {
                    triggers.push(args.to_owned());
                }
            }
            _ => {}
        }
    }

    fn env(&mut self, state: &mut State, line: usize, args: &str) {
        // All values of one ENV are read before any of its names is set.
        let mut pairs = Vec::new();
        for (name, value) in words::pairs(args, self.dockerfile.escape) {
            let known = |name: &str| state.variable(name);
            let read = |text: &str| match self.expand(text, &known) {
                Ok(value) => Ok(Some(value)),
                Err(Fault::Unknown(_)) => Ok(None),
                Err(fault) => Err(fault),
            };
            match (read(&name), read(&value)) {
                (Ok(Some(name)), Ok(value)) => pairs.push((name, value)),
                (Ok(None), Ok(_)) => {}
                (Err(fault), _) | (_, Err(fault)) => self.fault(line, "ENV", &fault),
            }
        }
        for (name, value) in pairs {
            state.touch(&name);
            state.env.insert(name, value);
        }
    }

    fn command(
        &mut self,
        state: &State,
        instruction: &Instruction,
    ) -> Option<Result<Command, Gap>> {
        let line = instruction.line;
        let doubtful = |why| Some(Err(Gap::Doubtful { line, why }));
        match words::form(&instruction.args) {
            Err(why) => {
                self.refuse(line, format!("{} {why}", instruction.keyword));
                None
            }
            Ok(Form::Exec(words)) => Some(Ok(Command {
                words,
                assumes_shell: false,
            })),
            Ok(Form::Doubtful) => doubtful(
                "something follows the JSON array: builders differ in whether that makes it a shell form; \
                 take it away, or write `[\"/bin/sh\", \"-c\", \"…\"]`",
            ),
            Ok(Form::Shell(text)) if text.is_empty() => doubtful(
                "nothing follows the keyword: builders differ in what that means; write `[]` for none",
            ),
            Ok(Form::Shell(text)) => {
                let assumed = || SHELL.map(str::to_owned).into();
                let mut words = state.shell.clone().unwrap_or_else(|_| assumed());
                words.push(text);
                Some(Ok(Command {
                    words,
                    assumes_shell: state.shell.is_err(),
                }))
            }
        }
    }
}

#[cfg(test)]
mod tests;
