//! The command: found the way execvp finds it, and prepared so that nothing is left to allocate
//! between fork and exec.

use std::ffi::{CString, OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;

use nix::unistd::{AccessFlags, access};

use crate::contract::exit;
use crate::disco::settings;
use crate::sys::Prepared;

/// Where commands are looked for when PATH is not set.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Why a command cannot be run.
#[derive(Debug)]
pub enum Failure {
    /// It is nowhere on PATH, or not at the path given.
    NotFound(OsString),
    /// It is there, but may not be executed.
    NotExecutable(PathBuf),
    /// The kernel refused to execute it.
    Refused(OsString, std::io::Error),
}

impl Failure {
    /// 127 or 126, as in shells.
    #[must_use]
    pub fn code(&self) -> u8 {
        match self {
            Self::NotFound(_) => exit::NOT_FOUND,
            Self::Refused(_, error) if error.kind() == std::io::ErrorKind::NotFound => {
                exit::NOT_FOUND
            }
            Self::NotExecutable(_) | Self::Refused(..) => exit::NOT_EXECUTABLE,
        }
    }
}

/// Says in words of its own what the kernel's errno means, where a second look can tell.
#[must_use]
pub fn explain(failure: Failure) -> Failure {
    match failure {
        Failure::Refused(name, error) => {
            find(&name).map_or_else(|found| found, |_| Failure::Refused(name, error))
        }
        other => other,
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound(name) if name.as_bytes().contains(&b'/') => {
                write!(f, "command `{}` does not exist", name.display())
            }
            Self::NotFound(name) => {
                write!(
                    f,
                    "command `{}` is not on PATH ({})",
                    name.display(),
                    search_path().display()
                )
            }
            Self::NotExecutable(path) => {
                write!(f, "command `{}` is not executable", path.display())
            }
            Self::Refused(name, error) => write!(f, "cannot execute `{}`: {error}", name.display()),
        }
    }
}

fn search_path() -> OsString {
    std::env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into())
}

/// The files that a name may mean, in order.
fn candidates(name: &OsStr) -> Vec<PathBuf> {
    if name.as_bytes().contains(&b'/') {
        return vec![name.into()];
    }
    std::env::split_paths(&search_path())
        .map(|dir| dir.join(name))
        .collect()
}

/// Finds a command ahead of time, so that a typo ends a container now and not after an hour of
/// waiting for its configuration.
///
/// # Errors
/// See [`Failure`].
pub fn find(name: &OsStr) -> Result<PathBuf, Failure> {
    let mut outcome = Failure::NotFound(name.to_owned());
    for path in candidates(name) {
        if path.is_file() && access(&path, AccessFlags::X_OK).is_ok() {
            return Ok(path);
        }
        // A name on PATH may be a directory by chance; one that was spelt out is meant.
        if path.is_file() || (path.exists() && name.as_bytes().contains(&b'/')) {
            outcome = Failure::NotExecutable(path);
        }
    }
    Err(outcome)
}

/// Prepares a command with disco's environment less disco's own settings. A word with a NUL byte
/// cannot come from the kernel; were there one, it would end the word, as for every C program.
#[must_use]
pub fn prepare(argv: Vec<OsString>) -> Prepared {
    let c_string = |text: OsString| {
        let mut bytes = text.into_vec();
        bytes.truncate(
            bytes
                .iter()
                .position(|byte| *byte == 0)
                .unwrap_or(bytes.len()),
        );
        CString::new(bytes).unwrap_or_default()
    };
    let name = argv.first().cloned().unwrap_or_default();
    let paths = candidates(&name)
        .into_iter()
        .map(|path| c_string(path.into()))
        .collect();
    let environment = std::env::vars_os()
        .filter(|(name, _)| name != settings::VARIABLE)
        .map(|(mut name, value)| {
            name.push("=");
            name.push(value);
            c_string(name)
        })
        .collect();
    Prepared::new(paths, argv.into_iter().map(c_string).collect(), environment)
}
