//! Stages: from one FROM to the next. What a FROM names is for [`super::config`] to find out.

use std::ops::Range;
use std::path::Path;

use super::parse::{Dockerfile, Instruction, placed};
use crate::contract::problem::Problem;
use crate::contract::suggest;

/// A build stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// What follows AS, in small letters.
    pub name: Option<String>,
    /// The base, as written.
    pub image: String,
    /// The value of `--platform`, as written.
    pub platform: Option<String>,
    /// The place of its FROM among the instructions.
    pub from: usize,
    /// Those after its FROM.
    pub body: Range<usize>,
}

impl Dockerfile {
    /// The instructions of a stage, without its FROM.
    #[must_use]
    pub fn body(&self, stage: &Stage) -> &[Instruction] {
        self.instructions
            .get(stage.body.clone())
            .unwrap_or_default()
    }

    /// The instructions before the first FROM.
    #[must_use]
    pub fn globals(&self) -> &[Instruction] {
        let end = self.stages.first().map_or(0, |stage| stage.from);
        self.instructions.get(..end).unwrap_or_default()
    }

    /// The stage of this name or number, or else the last.
    ///
    /// # Errors
    /// If there is none such; the message lists those that are there.
    pub fn target(&self, name: Option<&str>) -> Result<usize, Problem> {
        let last = self.stages.len().saturating_sub(1);
        let Some(name) = name else { return Ok(last) };
        let is_it = |stage: &Stage| {
            let own = stage.name.as_deref();
            own.is_some_and(|own| own.eq_ignore_ascii_case(name))
        };
        let found = self.stages.iter().rposition(is_it);
        let number = || name.parse().ok().filter(|number| *number <= last);
        found.or_else(number).ok_or_else(|| {
            let names: Vec<String> = (0..=last)
                .filter_map(|at| Some((at, self.stages.get(at)?)))
                .map(|(at, stage)| stage.name.clone().unwrap_or_else(|| at.to_string()))
                .collect();
            let hint = suggest::hint(name, names.iter().map(String::as_str));
            Problem::new(format!(
                "there is no stage `{name}`{hint}; the stages are {}",
                names.join(", ")
            ))
        })
    }

    /// The second half: divides what was scanned into stages.
    pub(super) fn staged(mut self, file: &Path) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut stages: Vec<Stage> = Vec::new();
        for (index, instruction) in self.instructions.iter().enumerate() {
            let keyword = instruction.keyword.as_str();
            let mut refuse = |message: String| {
                problems.push(placed(file, instruction.line, message));
            };
            if keyword != "FROM" {
                match stages.last_mut() {
                    Some(stage) => stage.body.end = index + 1,
                    None if keyword == "ARG" => {}
                    None => refuse(format!(
                        "{keyword} before the first FROM; only ARG may stand there"
                    )),
                }
                continue;
            }
            let words: Vec<&str> = instruction.args.split_ascii_whitespace().collect();
            let (image, name) = match words.as_slice() {
                [image] => (*image, None),
                [image, word, name] if word.eq_ignore_ascii_case("AS") => (*image, Some(*name)),
                _ => {
                    refuse("expected `FROM image` or `FROM image AS name`".to_owned());
                    ("", None)
                }
            };
            let name = name.map(str::to_lowercase);
            if let Some(name) = name.as_deref().filter(|name| !is_stage_name(name)) {
                refuse(format!(
                    "`{name}` is no name for a stage; expected a letter, then letters, digits and `-_.`"
                ));
            }
            let platform = |flag: &String| Some(flag.strip_prefix("--platform=")?.to_owned());
            stages.push(Stage {
                name,
                image: image.to_owned(),
                platform: instruction.flags.iter().find_map(platform),
                from: index,
                body: index + 1..index + 1,
            });
        }
        if stages.is_empty() {
            let message = "has no FROM; a Dockerfile begins with `FROM image`";
            problems.push(Problem::new(message).in_file(file));
        }
        self.stages = stages;
        match problems.is_empty() {
            true => Ok(self),
            false => Err(problems),
        }
    }
}

fn is_stage_name(name: &str) -> bool {
    let is_inner =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
    name.starts_with(|char: char| char.is_ascii_lowercase()) && name.bytes().all(is_inner)
}
