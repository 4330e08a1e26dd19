//! What a rule renders: the entries of its `render`, and their templates.
//!
//! [`template`] compiles and renders, `functions` is what templates can call, `fault` says what is
//! wrong with one without a value of the data. Nothing here reads or writes a file: whoever compiles
//! hands in the texts, whoever renders hands in [`Surroundings`].

mod fault;
mod functions;
mod includes;
mod made;
mod said;
pub mod template;

use std::path::{Path, PathBuf};

use super::account::Spec;
use super::problem::Problem;

pub use self::said::Said;
pub use self::template::{Place, Surroundings, Template};

/// The permission bits of a new file without `mode`.
pub const MODE: u32 = 0o644;

/// The permission bits of a file that is `secret`, without `mode`.
pub const SECRET_MODE: u32 = 0o600;

/// The word of a check command that stands for the file to be checked.
pub const STAGED: &str = "{}";

/// One file that a rule renders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// The template.
    pub source: TemplateSource,
    /// Where the file goes: an absolute path without `..`.
    pub to: PathBuf,
    /// Its permission bits, 0 to 0o7777; see [`Output::mode_over`] for what counts without them.
    pub mode: Option<u32>,
    /// Whom it belongs to. Without it that of the file which it replaces stays.
    pub owner: Option<Spec>,
    /// Whether the file that it replaces is kept beside it, with `.bak` after its name.
    pub backup: bool,
    /// The command that judges the file before it counts, [`STAGED`] in place of its path; empty if
    /// none does.
    pub check: Vec<String>,
    /// Whether it is a secret.
    pub secret: bool,
    /// Where in the rules file it is said.
    pub said: Said,
}

/// Where the text of a template is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TemplateSource {
    /// In this file, relative to the rules file.
    File(PathBuf),
    /// In the rules file itself.
    Inline(String),
}

impl Output {
    /// The permission bits of the file, where it replaces one with these, or none.
    #[must_use]
    pub fn mode_over(&self, present: Option<u32>) -> u32 {
        let default = match self.secret {
            true => SECRET_MODE,
            false => present.unwrap_or(MODE),
        };
        self.mode.unwrap_or(default)
    }

    /// The check command for a file at `path`; `None` if nothing judges it.
    #[must_use]
    pub fn check_of(&self, path: &str) -> Option<Vec<String>> {
        let words = self.check.iter().map(|word| word.replace(STAGED, path));
        (!self.check.is_empty()).then(|| words.collect())
    }

    /// Compiles its template and all that this includes. `read` gets the text of a file, or says why
    /// it cannot, as the end of a sentence.
    ///
    /// # Errors
    /// Every problem with the templates, each with its file and line.
    pub fn compile(
        &self,
        rules: &Path,
        read: &dyn Fn(&Path) -> Result<String, String>,
    ) -> Result<Template, Vec<Problem>> {
        let beside = rules.parent().unwrap_or(Path::new(""));
        let (place, text) = match &self.source {
            TemplateSource::File(path) => {
                let file = beside.join(path);
                let text = read(&file).map_err(|why| {
                    let message = format!("the template {} {why}", file.display());
                    vec![self.said.problem(message)]
                })?;
                (Place::file(file), text)
            }
            TemplateSource::Inline(text) => {
                let place = Place {
                    file: rules.to_owned(),
                    within: Some(self.said.clone()),
                };
                (place, text.clone())
            }
        };
        let include = |name: &str| {
            let file = beside.join(name);
            let text = read(&file)?;
            Ok((Place::file(file), text))
        };
        Template::compile(place, text, &include)
    }
}
