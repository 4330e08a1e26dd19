//! What templates see beside their data: the environment that a handler of the rule would get, and
//! files. Remembers what it gave, and what templates made of that and of the data: it may be secret.

use std::collections::HashSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::contract::render::Surroundings;
use crate::disco::agent::handler::Hidden;
use crate::disco::textfile;

/// Bytes that are remembered. Who makes more has the output of checks hidden as a whole.
const ROOM: usize = 256 << 10;

/// The surroundings of one run.
pub(super) struct Around {
    environment: Vec<(OsString, OsString)>,
    beside: PathBuf,
    made: Mutex<Made>,
}

#[derive(Default)]
struct Made {
    texts: HashSet<String>,
    bytes: usize,
    is_too_much: bool,
}

impl Around {
    /// For the rules of this file.
    pub(super) fn new(environment: Vec<(OsString, OsString)>, rules: &Path) -> Self {
        Self {
            environment,
            beside: rules.parent().unwrap_or(Path::new("")).to_owned(),
            made: Mutex::default(),
        }
    }

    /// What must not be seen of all that templates have got and made so far.
    pub(super) fn hidden(&self) -> Hidden {
        let made = self.lock();
        match made.is_too_much {
            true => Hidden::All,
            false => Hidden::These(made.texts.iter().cloned().collect()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Made> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, name: &str) -> Option<&OsString> {
        let found = self.environment.iter().rfind(|(known, _)| known == name);
        found.map(|(_, value)| value)
    }
}

impl Surroundings for Around {
    fn env(&self, name: &str) -> Option<String> {
        let value = self.find(name)?.to_string_lossy().into_owned();
        self.made(&value);
        Some(value)
    }

    fn file(&self, path: &str) -> Result<String, String> {
        let text = textfile::read(&self.beside.join(path))?;
        self.made(&text);
        Ok(text)
    }

    fn made(&self, text: &str) -> bool {
        let mut made = self.lock();
        // Where programs are is no secret, and would blank out every path of a check's output.
        let is_path = || self.find("PATH").is_some_and(|path| path == text);
        if made.is_too_much || !Hidden::is_worth(text) || is_path() || made.texts.contains(text) {
            return !made.is_too_much;
        }
        made.bytes += text.len();
        if made.bytes > ROOM {
            made.is_too_much = true;
            made.texts.clear();
            return false;
        }
        made.texts.insert(text.to_owned())
    }
}
