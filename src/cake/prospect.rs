//! `cake build --check` and `--dry-run`: what would be written and run. Nothing is.

use std::ffi::OsString;
use std::path::Path;

use serde_json::json;

use super::base::Known;
use super::build::line;
use super::builder;
use super::difference;
use super::failure::{FAILED, Failure};
use super::ingredients::{Pending, shown};
use super::project::VENDOR;
use super::ui::Ui;
use crate::contract::dockerfile::Baked;
use crate::contract::problem::Problem;

/// What would be.
pub(super) struct Prospect<'a> {
    /// Whether a difference is a failure.
    pub(super) is_check: bool,
    /// Whether the image would be built.
    pub(super) builds: bool,
    /// What is in the file that would be written.
    pub(super) original: Vec<u8>,
    /// That file.
    pub(super) target: &'a Path,
    /// What would be in it.
    pub(super) baked: &'a Baked,
    /// What else would be written.
    pub(super) pending: &'a Pending,
    /// What would be built.
    pub(super) build: &'a builder::Build,
}

impl Prospect<'_> {
    /// Tells of it.
    ///
    /// # Errors
    /// For a check: everything that would change.
    pub(super) fn tell(&self, known: &Known<'_>, json: bool, ui: &Ui) -> Result<(), Failure> {
        let names = ["a", "b"].map(|side| format!("{side}/{}", shown(self.target)));
        let names = [names[0].as_str(), &names[1]];
        let difference = difference::unified(names, &self.original, &self.baked.bytes);
        // To gather is for the build: that nothing is in a fresh checkout is no difference.
        let is_bare = self.is_check && !self.build.context.join(VENDOR).exists();
        let here = |name: &String| !is_bare || !name.contains(VENDOR);
        let kept = |names: Vec<String>| names.into_iter().filter(here).collect::<Vec<_>>();
        let pending = kept(self.pending.names());
        let stale = kept(self.pending.stale());
        match json {
            true => ui.result(line(
                &json!({"difference": difference, "files": pending, "stale": stale}),
            )),
            false => ui.result(&difference),
        }
        if !self.is_check {
            for name in &pending {
                ui.note("Would write", name);
            }
            for name in &stale {
                ui.note("Would remove", name);
            }
            if let Some(builder) = known.builder().ok().filter(|_| self.builds) {
                ui.note("Would run", &command(&builder.words(self.build)));
            }
            return Ok(());
        }
        let mut problems: Vec<Problem> = Vec::new();
        let remedy = "run `cake build` and commit what it writes";
        if !difference.is_empty() {
            let message = format!("is not as cake would have it; {remedy}");
            problems.push(Problem::new(message).in_file(self.target));
        }
        for name in pending {
            let message = format!("is not up to date; {remedy}");
            problems.push(Problem::new(message).in_file(name));
        }
        for name in stale {
            let message = "is left over; run `cake build`";
            problems.push(Problem::new(message).in_file(name));
        }
        match problems.is_empty() {
            true => {
                ui.note("Checked", "nothing would change");
                Ok(())
            }
            false => Err(Failure {
                code: FAILED,
                problems,
            }),
        }
    }
}

/// Words as a shell takes them. The values of build arguments, which may be secrets, are not shown.
fn command(words: &[OsString]) -> String {
    let mut is_argument = false;
    let shown = words.iter().map(|word| {
        let word = word.to_string_lossy();
        let word = match (
            std::mem::replace(&mut is_argument, word == "--build-arg"),
            word.split_once('='),
        ) {
            (true, Some((name, _))) => format!("{name}=***"),
            _ => word.into_owned(),
        };
        quoted(&word)
    });
    shown.collect::<Vec<_>>().join(" ")
}

fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:@,+*".contains(c);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_a_shell_takes_it_but_for_secrets() {
        let words = [
            "a-b=c",
            "a b",
            "it's",
            "",
            "--build-arg",
            "TOKEN=x",
            "--build-arg",
            "NAME",
        ];
        assert_eq!(
            command(&words.map(OsString::from)),
            r"a-b=c 'a b' 'it'\''s' '' --build-arg TOKEN=*** --build-arg NAME"
        );
    }
}
