//! What templates see beside their data: the environment that a handler of the rule would get, and
//! files. Remembers what it gave, for that may be secret.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::contract::render::Surroundings;
use crate::disco::textfile;

/// The surroundings of one run.
pub(super) struct Around {
    environment: Vec<(OsString, OsString)>,
    beside: PathBuf,
    given: Mutex<Vec<String>>,
}

impl Around {
    /// For the rules of this file.
    pub(super) fn new(environment: Vec<(OsString, OsString)>, rules: &Path) -> Self {
        Self {
            environment,
            beside: rules.parent().unwrap_or(Path::new("")).to_owned(),
            given: Mutex::default(),
        }
    }

    /// Everything that templates have got so far.
    pub(super) fn given(&self) -> Vec<String> {
        let given = self.given.lock();
        given.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn give(&self, text: String) -> String {
        let given = self.given.lock();
        let mut given = given.unwrap_or_else(PoisonError::into_inner);
        given.push(text.clone());
        text
    }
}

impl Surroundings for Around {
    fn env(&self, name: &str) -> Option<String> {
        let found = self.environment.iter().rfind(|(known, _)| known == name);
        let value = found?.1.to_string_lossy().into_owned();
        // Where programs are is no secret, and would blank out every path of a check's output.
        Some(match name {
            "PATH" => value,
            _ => self.give(value),
        })
    }

    fn file(&self, path: &str) -> Result<String, String> {
        textfile::read(&self.beside.join(path)).map(|text| self.give(text))
    }
}
