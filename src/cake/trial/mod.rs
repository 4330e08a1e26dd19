//! `cake test`: runs the rules and handlers of a layer against its example data, in a scratch directory
//! that stands for the root of a container, and compares what they wrote with what is expected.
//!
//! The work is done by the real disco (`child`), on a copy of the layer (`stage`). `compare` says
//! what is the same. What is shown is example data: nothing is masked. Handlers run as whoever runs this,
//! with `DESTDIR` naming the directory; one that does not heed it writes to this machine.

mod child;
mod compare;
mod stage;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use self::compare::Tree;
use super::failure::Failure;
use super::lint::{self, EXPECTED};

pub use self::compare::{File, State};

/// How long the rules may take together, if nothing else is asked for.
pub const TIMEOUT: Duration = Duration::from_secs(30);

/// What is to be tried, and how.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// The layer.
    pub layer: &'a Path,
    /// The layers that it needs, of which it gets schemas, templates and handlers but no rules; see
    /// [`super::needs`].
    pub needs: &'a [(String, PathBuf)],
    /// Data in place of the example's: YAML, JSON or TOML, keyed by interface.
    pub data: Option<&'a Path>,
    /// The disco that does it.
    pub disco: &'a Path,
    /// Whether what comes out becomes what is expected.
    pub update: bool,
    /// Whether the scratch directory stays.
    pub keep: bool,
    /// How long the rules may take together.
    pub timeout: Duration,
}

/// What came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trial {
    /// Every file that was written or expected, by path.
    pub files: Vec<File>,
    /// What was not tried, such as the programs of an image.
    pub notes: Vec<String>,
    /// The directory that stood for the root, if it stays.
    pub kept: Option<PathBuf>,
    /// Whether what came out is expected from now on.
    pub is_updated: bool,
}

impl Trial {
    /// Whether everything is as expected; also where nothing was expected, or is only from now on.
    #[must_use]
    pub fn is_good(&self) -> bool {
        let is_fine = |file: &File| matches!(file.state, State::Same | State::New);
        self.is_updated || self.files.iter().all(is_fine)
    }

    /// For people: a line for each file, below it what differs or, where nothing is expected, what is
    /// in it.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for file in &self.files {
            let mode = file
                .mode
                .map_or_else(|| "----".to_owned(), |mode| format!("{mode:04o}"));
            let state = match (&file.state, self.is_updated) {
                (State::Same, _) => "as expected",
                (State::Missing, false) => "is missing",
                (State::Missing, true) => "no longer expected",
                (State::New, false) => "new",
                (State::Extra(_), false) => "not expected",
                (State::Differs(_), false) => "differs",
                (_, true) => "expected from now on",
            };
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{mode} {}: {state}", file.path.display());
            match &file.state {
                State::Same | State::Missing => {}
                State::New => text.push_str(&file.shown()),
                State::Differs(diff) | State::Extra(diff) => text.push_str(diff),
            }
        }
        for note in &self.notes {
            let _ = writeln!(text, "note: {note}");
        }
        if let Some(kept) = &self.kept {
            let _ = writeln!(text, "kept: {}", kept.display());
        }
        text
    }
}

/// Tries a layer.
///
/// # Errors
/// There are no rules, or no data that is enough for them; disco could not do it, with what it said; what is
/// expected cannot be read or, with `update`, written.
pub fn run(request: &Request<'_>) -> Result<Trial, Failure> {
    let staged = stage::stage(request)?;
    let lacking = lint::lacking(request.layer, request.needs, &staged.data);
    if !lacking.is_empty() {
        return Err(Failure::config(lacking));
    }
    child::run(request, &staged)?;
    let written = Tree::read(&staged.root())?;
    let expected = request.layer.join(EXPECTED);
    // With other data something else is expected, which nobody has said.
    let compared = match request.data.is_some() && !request.update {
        true => Tree::default(),
        false => Tree::read(&expected)?,
    };
    let files = compare::compare(&written, &compared);
    if request.update {
        written.replace(&expected).map_err(Failure::failed)?;
    }
    Ok(Trial {
        files,
        is_updated: request.update,
        notes: staged.notes.clone(),
        kept: staged.finish(request.keep),
    })
}
