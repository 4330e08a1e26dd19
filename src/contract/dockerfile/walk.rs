//! The walk along a target's chain of stages: instruction by instruction from the base image on.
//!
//! It is told what bases are and says what came of them; [`super::config`] holds both.

use std::collections::BTreeMap;
use std::path::Path;

use super::config::{Build, Command, Effective, Gap, User};
use super::image::{Bases, Health, ImageConfig};
use super::parse::{Dockerfile, Instruction, placed, trigger};
use super::shell::{Fault, Shell, Variable};
use super::stages::Stage;
use super::state::{SHELL, State};
use super::words::{self, Form};
use crate::contract::problem::Problem;

/// Follows the chain of a stage.
pub(super) fn walk(
    file: &Path,
    dockerfile: &Dockerfile,
    build: &Build,
    bases: &dyn Bases,
    target: usize,
) -> Result<Effective, Vec<Problem>> {
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
        let value = self.build.args.get(name).map(String::as_str).or(value);
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
