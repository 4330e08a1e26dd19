//! Puts disco in front of what an image runs, and takes it away again: one block of lines after the
//! last instruction of the target stage. Nothing outside of the block changes.
//!
//! The author's ENTRYPOINT and CMD stay where they are; the last ENTRYPOINT of a stage counts. Where
//! the CMD was inherited, an ENTRYPOINT takes it away, and the block says it again.

use std::path::Path;

use super::block::{self, Block};
use super::config::{self, Command, Effective, Gap};
use super::image::{Bases, Health};
use super::parse::{Dockerfile, placed};
use super::request::{Argv, Baked, Request, Unbaked};
use super::words;
use crate::contract::problem::Problem;

/// Inits that disco stands in for.
const INITS: [&str; 6] = [
    "tini",
    "tini-static",
    "docker-init",
    "dumb-init",
    "catatonit",
    "pid1",
];
/// Inits that run as process 1 or not at all.
const SYSTEMS: [&str; 4] = ["init", "systemd", "s6-svscan", "runit"];

/// Writes the block, in place of any that is there.
///
/// # Errors
/// Everything that keeps the image's command from being known or the block from being written, each
/// with its line and a remedy.
pub fn bake(
    file: &Path,
    bytes: &[u8],
    request: &Request,
    bases: &dyn Bases,
) -> Result<Baked, Vec<Problem>> {
    let bare = block::find(file, bytes)?;
    let dockerfile = bare.dockerfile.staged(file)?;
    let effective = config::effective(file, &dockerfile, &request.build, bases)?;
    let mut editor = Editor {
        file,
        request,
        dockerfile: &dockerfile,
        effective: &effective,
        problems: Vec::new(),
        warnings: dockerfile.warnings.clone(),
    };
    editor.edited(&bare.blocks);
    editor.platform();
    let (before, after) = editor.commands();
    let mut lines = editor.copies();
    lines.extend(editor.install());
    lines.extend(editor.verify(&before));
    lines.extend(editor.health());
    lines.extend(Editor::declared(&before, &after));
    editor.checks();
    let at = editor.place();
    let Editor {
        problems, warnings, ..
    } = editor;
    if !problems.is_empty() {
        return Err(problems);
    }
    let bare_bytes = block::cut(bytes, &bare.blocks);
    let at = block::moved(at, &bare.blocks);
    let baked = match lines.is_empty() {
        true => bare_bytes,
        false => block::put(&bare_bytes, at, &lines),
    };
    Ok(Baked {
        changed: baked != bytes,
        bytes: baked,
        was_edited: bare.blocks.iter().any(|block| block.is_edited),
        before: before.argv(),
        after: after.argv(),
        effective,
        warnings,
    })
}

/// Takes the block out. Without one there is nothing to do.
///
/// # Errors
/// If a block has only one of its ends, or its ends cannot be told from the body of a heredoc.
pub fn unbake(file: &Path, bytes: &[u8]) -> Result<Unbaked, Vec<Problem>> {
    let bare = block::find(file, bytes)?;
    let edited = bare.blocks.iter().filter(|block| block.is_edited);
    Ok(Unbaked {
        bytes: block::cut(bytes, &bare.blocks),
        changed: !bare.blocks.is_empty(),
        edited: edited.map(|block| block.line).collect(),
    })
}

/// ENTRYPOINT and CMD on their way into the block.
#[derive(Clone, Default)]
struct Words {
    entrypoint: Vec<String>,
    cmd: Option<Vec<String>>,
    /// An ENTRYPOINT in the block would take the CMD away.
    is_cmd_lost: bool,
}

impl Words {
    fn argv(self) -> Argv {
        Argv {
            entrypoint: self.entrypoint,
            cmd: self.cmd,
        }
    }
}

struct Editor<'a> {
    file: &'a Path,
    request: &'a Request,
    dockerfile: &'a Dockerfile,
    effective: &'a Effective,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
}

impl Editor<'_> {
    /// The line of the target's FROM.
    fn base_line(&self) -> usize {
        let stage = self.dockerfile.stages.get(self.effective.stage);
        let from = stage.and_then(|stage| self.dockerfile.instructions.get(stage.from));
        from.map_or(1, |from| from.line)
    }

    fn refuse(&mut self, line: usize, message: impl Into<String>) {
        self.problems.push(placed(self.file, line, message));
    }

    fn warn(&mut self, line: usize, message: impl Into<String>) {
        self.warnings.push(placed(self.file, line, message));
    }

    fn gap(&mut self, gap: &Gap, what: &str, instead: &str) {
        let problem = gap.problem(self.file, what, instead);
        self.problems.push(problem);
    }

    fn edited(&mut self, blocks: &[Block]) {
        for block in blocks.iter().filter(|block| block.is_edited) {
            let message = "the block was changed by hand; it is written anew, and the change is gone: \
                           what is to stay belongs outside of it";
            self.warn(block.line, message);
        }
    }

    fn platform(&mut self) {
        let platform = self.request.build.platform.as_deref();
        if platform.is_some_and(|platform| platform.starts_with("windows")) {
            let message = "disco runs on Linux only; expected `--platform=linux/…`";
            self.problems.push(Problem::new(message).in_file(self.file));
        }
    }

    /// What the image runs without the block and with it.
    fn commands(&mut self) -> (Words, Words) {
        let effective = self.effective;
        let is_kept = effective.entrypoint_is_own || effective.cmd_is_own;
        let entrypoint = match &effective.entrypoint {
            Ok(command) => self.words(command),
            Err(gap) => {
                self.gap(gap, "the ENTRYPOINT", "say it with `--entrypoint`");
                Vec::new()
            }
        };
        let cmd = match &effective.cmd {
            // What stays as it is need not be known, except to see whether disco is in it already.
            Err(Gap::Doubtful { .. }) if is_kept => None,
            Err(_) if effective.entrypoint_is_own => None,
            Ok(command) if is_kept => Some(command.words.clone()),
            Ok(command) => Some(self.words(command)),
            Err(gap) => {
                self.gap(gap, "the CMD", "say it with `--cmd`");
                None
            }
        };
        let before = Words {
            entrypoint,
            cmd,
            is_cmd_lost: !is_kept,
        };
        let mut after = before.clone();
        let whole = before.entrypoint.iter().chain(before.cmd.iter().flatten());
        let program = whole.clone().next().cloned();
        let first = program.as_deref().map(base_name);
        let disco = self.request.prefix.first();
        let line = self.base_line();
        if first.is_some() && (first == disco.map(|word| base_name(word)) || first == Some("disco"))
        {
            if let Some(program) = program.as_ref().filter(|program| Some(*program) != disco) {
                let message = format!(
                    "the image runs `{program}`, which is taken for disco, and nothing is put in front \
                     of it; if it is something else, give it another name"
                );
                self.warn(line, message);
            }
            return (before, after);
        }
        match first {
            None if self.problems.is_empty() && before.cmd.is_some() => self.warn(
                line,
                "the image has neither ENTRYPOINT nor CMD: it runs what `docker run` is told to, under disco",
            ),
            Some(name) if INITS.contains(&name) => self.warn(
                line,
                format!("the image runs `{name}`, and disco does all that it does; take it out"),
            ),
            Some(name) if SYSTEMS.contains(&name) => self.warn(
                line,
                format!(
                    "the image runs `{name}`, which has to be process 1: run it with \
                     `DISCO_CFG=disco.mode=exec`, so that disco makes way for it"
                ),
            ),
            _ => {}
        }
        after.entrypoint = [self.request.prefix.as_slice(), &before.entrypoint].concat();
        (before, after)
    }

    fn words(&mut self, command: &Command) -> Vec<String> {
        if command.assumes_shell {
            let line = self.base_line();
            self.warn(
                line,
                "the SHELL of the base image is not known and taken for `/bin/sh -c`; \
                 `docker pull` or build it, or say SHELL in the stage",
            );
        }
        command.words.clone()
    }

    fn declared(before: &Words, after: &Words) -> Vec<String> {
        if before.entrypoint == after.entrypoint {
            return Vec::new();
        }
        let mut lines = vec![format!("ENTRYPOINT {}", words::exec(&after.entrypoint))];
        if let Some(cmd) = after.cmd.as_ref().filter(|cmd| !cmd.is_empty())
            && before.is_cmd_lost
        {
            lines.push(format!("CMD {}", words::exec(cmd)));
        }
        lines
    }

    fn copies(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        for copy in &self.request.copies {
            let parts = [Some(&copy.source), Some(&copy.target), copy.from.as_ref()];
            // Builders expand variables and patterns in here, each in their own way.
            let is_plain = |char: char| char.is_alphanumeric() || "._-/@:+,= ".contains(char);
            let odd = parts.into_iter().flatten().find(|part| {
                part.is_empty() || part.starts_with('-') || !part.chars().all(is_plain)
            });
            if let Some(odd) = odd {
                let message = format!(
                    "`{odd}` cannot stand in a COPY; expected letters, digits, blanks and `._-/@:+,=`"
                );
                self.problems.push(Problem::new(message).in_file(self.file));
                continue;
            }
            let stages = &self.dockerfile.stages;
            let is_stage = |name: &String| {
                let names = stages.iter().filter_map(|stage| stage.name.as_ref());
                let mut names = names.map(|stage| stage.to_lowercase());
                names.any(|stage| stage == name.to_lowercase()) || name.parse::<usize>().is_ok()
            };
            if let Some(name) = copy.from.as_ref().filter(|name| is_stage(name)) {
                let message = format!(
                    "`{name}` is a stage here, and COPY would take that for the image; name the image \
                     with its registry or by its digest"
                );
                self.problems.push(Problem::new(message).in_file(self.file));
                continue;
            }
            let from = copy.from.as_ref();
            let from = from.map_or_else(String::new, |from| format!("--from={from} "));
            let paths = [copy.source.clone(), copy.target.clone()];
            lines.push(match paths.iter().any(|path| path.contains(' ')) {
                true => format!("COPY {from}{}", words::exec(&paths)),
                false => format!("COPY {from}{}", paths.join(" ")),
            });
        }
        lines
    }

    /// The commands of the layers, as root, and the image's own user after them.
    fn install(&mut self) -> Vec<String> {
        let Some(install) = &self.request.install else {
            return Vec::new();
        };
        let run = format!("RUN {}", words::exec(install));
        let user = &self.effective.user;
        if user.is_root() {
            return vec![run];
        }
        let quoted = |value: &String| {
            let is_plain = |char: char| char.is_alphanumeric() || "._-:@+".contains(char);
            match value.chars().all(is_plain) && !value.starts_with('-') {
                true => Some(value.clone()),
                false if value.chars().any(|char| char == '\'' || char.is_control()) => None,
                false => Some(format!("'{value}'")),
            }
        };
        let again = match (&user.written, &user.value) {
            (Some(written), _) => Some(written.clone()),
            (None, Ok(value)) => quoted(value),
            (None, Err(gap)) => {
                let gap = gap.clone();
                self.gap(&gap, "the USER", "write USER in the stage");
                return Vec::new();
            }
        };
        let Some(again) = again else {
            let line = self.base_line();
            self.refuse(
                line,
                "the USER has a quote or a line end in it; write another in the stage",
            );
            return Vec::new();
        };
        // By numbers: an image without /etc/passwd knows no `root`, and BuildKit then wants both.
        vec!["USER 0:0".to_owned(), run, format!("USER {again}")]
    }

    /// A look at the finished image, as its own user.
    fn verify(&self, before: &Words) -> Option<String> {
        let verify = self.request.verify.as_ref()?;
        let command = before.entrypoint.iter().chain(before.cmd.iter().flatten());
        let words: Vec<String> = verify.iter().chain(command).cloned().collect();
        Some(format!("RUN {}", words::exec(&words)))
    }

    fn health(&mut self) -> Option<String> {
        let check = self.request.health.as_ref()?;
        match &self.effective.health {
            Ok(Health::Set) => None,
            Ok(Health::Unset) => Some(format!(
                "HEALTHCHECK --interval=10s CMD {}",
                words::exec(check)
            )),
            Ok(Health::Disabled) => {
                let line = self.effective.health_line;
                let line = line.unwrap_or_else(|| self.base_line());
                self.warn(line, "`HEALTHCHECK NONE` stands, and disco's check is left out; take it away to have that");
                None
            }
            Err(gap) => {
                let gap = gap.clone();
                self.gap(&gap, "the HEALTHCHECK", "write one in the stage");
                None
            }
        }
    }

    /// BuildKit's own checks, where they are errors, forbid a second ENTRYPOINT.
    fn checks(&mut self) {
        const RULE: &str = "MultipleInstructionsDisallowed";
        let stage = self.dockerfile.stages.get(self.effective.stage);
        let body = stage
            .map(|stage| self.dockerfile.body(stage))
            .unwrap_or_default();
        if !body
            .iter()
            .any(|instruction| instruction.keyword == "ENTRYPOINT")
        {
            return;
        }
        let check = self
            .dockerfile
            .directives
            .iter()
            .find(|d| d.name == "check");
        let Some(check) = check else { return };
        let options = || {
            check
                .value
                .split(';')
                .filter_map(|option| option.split_once('='))
        };
        let is = |name: &str, want: &dyn Fn(&str) -> bool| {
            options()
                .any(|(key, value)| key.trim().eq_ignore_ascii_case(name) && want(value.trim()))
        };
        let skips = |value: &str| {
            let mut rules = value.split(',').map(str::trim);
            rules.any(|rule| rule.eq_ignore_ascii_case(RULE) || rule.eq_ignore_ascii_case("all"))
        };
        if is("error", &|value| value.eq_ignore_ascii_case("true")) && !is("skip", &skips) {
            let message = format!(
                "`check=error=true` makes BuildKit refuse the block's ENTRYPOINT beside the stage's own; \
                 write `# check=skip={RULE};error=true`"
            );
            let line = check.line;
            self.warn(line, message);
        }
    }

    /// The end of the target stage, in the whole file.
    fn place(&mut self) -> usize {
        let stage = self.dockerfile.stages.get(self.effective.stage);
        let last = stage.and_then(|stage| {
            let last = stage.body.end.checked_sub(1)?;
            self.dockerfile.instructions.get(last)
        });
        let Some(last) = last else { return 0 };
        if last.is_open {
            let escape = self.dockerfile.escape;
            let message = format!(
                "{} ends with `{escape}`, but no line follows: the block would become part of it; \
                 take the `{escape}` away",
                last.keyword
            );
            self.refuse(last.line, message);
        }
        last.span.end
    }
}

/// The last part of a path.
fn base_name(word: &str) -> &str {
    word.rsplit('/').next().unwrap_or(word)
}

#[cfg(test)]
mod tests;
