//! A stage in the making: what holds after some of its instructions. Which those are is for
//! [`super::walk`] to know.

use std::collections::BTreeMap;

use super::config::{Command, Effective, Gap, User};
use super::image::{Health, ImageConfig};
use super::shell::Variable;

/// What a shell form is given to where no SHELL says otherwise.
pub(super) const SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// A stage in the making.
pub(super) struct State {
    pub(super) entrypoint: Result<Command, Gap>,
    pub(super) cmd: Result<Command, Gap>,
    pub(super) entrypoint_is_own: bool,
    pub(super) cmd_is_own: bool,
    pub(super) shell: Result<Vec<String>, Gap>,
    pub(super) user: User,
    pub(super) health: Result<Health, Gap>,
    pub(super) health_line: Option<usize>,
    pub(super) env: BTreeMap<String, Option<String>>,
    pub(super) args: BTreeMap<String, Variable>,
    /// The base, as long as it is not known.
    pub(super) gap: Option<Gap>,
    /// Triggers for the next stage; `Err` if nobody knows them.
    pub(super) triggers: Result<Vec<String>, Gap>,
}

impl State {
    pub(super) fn of(config: ImageConfig) -> Self {
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

    pub(super) fn unknown(gap: &Gap) -> Self {
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

    pub(super) fn end(self, stage: usize) -> Effective {
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
    pub(super) fn variable(&self, name: &str) -> Variable {
        match self.env.get(name) {
            Some(Some(value)) => Variable::Set(value.clone()),
            Some(None) => Variable::Unknown,
            None if self.gap.is_some() => Variable::Unknown,
            None => self.args.get(name).cloned().unwrap_or(Variable::Unset),
        }
    }

    /// A variable changes: a USER that names it may no longer mean the same.
    pub(super) fn touch(&mut self, name: &str) {
        let names = |written: &String| written.contains('$') && written.contains(name);
        if self.user.written.as_ref().is_some_and(names) {
            self.user.written = None;
        }
    }
}
