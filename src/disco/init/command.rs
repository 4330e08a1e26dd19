//! The command: found the way execvp finds it, prepared so that nothing is left to allocate between
//! fork and exec, and, if it cannot be run, explained.

use std::ffi::{CString, OsStr, OsString};
use std::fmt;
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, open};
use nix::sys::stat::{Mode, SFlag, fstatat};
use nix::unistd::{AccessFlags, faccessat};

use super::context::{ExecContext, Failed};
use super::plan::FailureCodes;
use crate::contract::exit;
use crate::disco::{layers, settings};
use crate::sys::Prepared;

/// Where commands are looked for when PATH is not set.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Which variables a command gets.
#[derive(Debug, Clone, Copy)]
pub enum Environment<'a> {
    /// All that disco has.
    Whole,
    /// The same, less disco's own settings.
    Own,
    /// These.
    These(&'a [(OsString, OsString)]),
}

/// A command, ready to be executed.
pub struct Command {
    /// Its name as given.
    pub name: OsString,
    /// What it is executed from.
    pub prepared: Prepared,
    /// As whom and within what.
    pub context: ExecContext,
    search_path: OsString,
    /// Where a relative path counts from, if not from here.
    workdir: Option<CString>,
}

/// Why a command cannot be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// It is nowhere on PATH, or not at the path given.
    NotFound,
    /// It is there, but may not be executed; which of the candidates it is.
    NotExecutable(usize),
    /// The kernel refused to execute it.
    Refused(Errno),
    /// There is no process, no descriptor or no memory left to start it with, at the moment.
    NotStarted(Errno),
    /// It cannot be run as it is wanted.
    Unfit(Failed),
}

/// A command that cannot be run, and why.
#[derive(Clone, Copy)]
pub struct Failure<'a> {
    command: &'a Command,
    /// Why.
    pub why: Why,
}

impl Command {
    /// Prepares a command with an environment, and with the variables of its context. A relative path counts from `workdir`, if it will run there. A
    /// word with a NUL byte cannot come from the kernel; were there one, it would end the word, as for
    /// every C program.
    #[must_use]
    pub fn new(
        argv: Vec<OsString>,
        context: ExecContext,
        workdir: Option<&Path>,
        environment: Environment<'_>,
    ) -> Self {
        let c_string = |text: OsString| {
            let mut bytes = text.into_vec();
            let end = bytes.iter().position(|byte| *byte == 0);
            bytes.truncate(end.unwrap_or(bytes.len()));
            CString::new(bytes).unwrap_or_default()
        };
        let name = argv.first().cloned().unwrap_or_default();
        let search_path = std::env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into());
        let paths = candidates(&name, &search_path)
            .into_iter()
            .map(|path| c_string(path.into()))
            .collect();
        let own = context.environment();
        let own = own.map(|(name, value)| (name.into(), value.to_owned()));
        let environment: Vec<_> = match environment {
            Environment::Whole => std::env::vars_os().collect(),
            Environment::Own => {
                let all = std::env::vars_os();
                all.filter(|(name, _)| name != settings::VARIABLE).collect()
            }
            Environment::These(all) => all.to_vec(),
        };
        let environment = environment
            .into_iter()
            .filter(|(name, _)| context.environment().all(|(other, _)| name != other))
            .chain(own)
            .map(|(mut name, value)| {
                name.push("=");
                name.push(value);
                c_string(name)
            })
            .collect();
        let argv = argv.into_iter().map(c_string).collect();
        Self {
            context,
            name,
            search_path,
            workdir: workdir.map(|dir| c_string(dir.into())),
            prepared: Prepared::new(paths, argv, environment),
        }
    }

    /// Looks for it ahead of time, so that a typo ends a container now and not after an hour of
    /// waiting for its configuration.
    ///
    /// Returns which of the candidates it is.
    ///
    /// # Errors
    /// Why it cannot be run, as far as that can be told without trying.
    pub fn find(&self) -> Result<usize, Failure<'_>> {
        let is_named_by_path = self.name.as_bytes().contains(&b'/');
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let workdir = self.workdir.as_deref();
        let opened = workdir.and_then(|dir| open(dir, flags, Mode::empty()).ok());
        let dir = opened.as_ref().map_or(AT_FDCWD, AsFd::as_fd);
        let mut why = Why::NotFound;
        for (index, path) in self.prepared.candidates().iter().enumerate() {
            let path = path.as_c_str();
            let Ok(found) = fstatat(dir, path, AtFlags::empty()) else {
                continue;
            };
            let is_file =
                SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT == SFlag::S_IFREG;
            if is_file && faccessat(dir, path, AccessFlags::X_OK, AtFlags::empty()).is_ok() {
                return Ok(index);
            }
            // A name on PATH may be a directory by chance; one that was spelt out is meant.
            if is_file || is_named_by_path {
                why = Why::NotExecutable(index);
            }
        }
        Err(self.failure(why))
    }

    /// Everything that can be told without trying, the interpreter of a script included.
    #[must_use]
    pub fn defect(&self) -> Option<String> {
        let index = match self.find() {
            Ok(index) => index,
            Err(failure) => return Some(failure.to_string()),
        };
        let found = self.prepared.candidates().get(index)?;
        let path = Path::new(OsStr::from_bytes(found.as_bytes()));
        let dir = self.workdir.as_deref().unwrap_or_default();
        let path = Path::new(OsStr::from_bytes(dir.to_bytes())).join(path);
        let cause = layers::missing_interpreter(&path)?;
        Some(format!("`{}` cannot be started: {cause}", path.display()))
    }

    /// Whether it is looked for by absolute paths only, so that it does not matter from where.
    #[must_use]
    pub fn is_found_anywhere(&self) -> bool {
        let mut all = self.prepared.candidates().iter();
        all.all(|path| path.as_bytes().starts_with(b"/"))
    }

    /// A failure of this command.
    #[must_use]
    pub fn failure(&self, why: Why) -> Failure<'_> {
        Failure { command: self, why }
    }

    /// What the kernel's errno means, where a second look can tell.
    #[must_use]
    pub fn refused(&self, error: Errno) -> Failure<'_> {
        let why = match error {
            Errno::EAGAIN | Errno::ENOMEM | Errno::EMFILE | Errno::ENFILE => Why::NotStarted(error),
            Errno::ENOENT | Errno::EACCES => self
                .find()
                .map_or_else(|failure| failure.why, |_| Why::Refused(error)),
            error => Why::Refused(error),
        };
        self.failure(why)
    }
}

impl Failure<'_> {
    /// Which exit code it means.
    #[must_use]
    pub fn code(&self, codes: &FailureCodes) -> u8 {
        match self.why {
            Why::NotFound | Why::Refused(Errno::ENOENT) => codes.not_found,
            Why::NotExecutable(_) | Why::Refused(Errno::EACCES) => codes.not_executable,
            Why::Refused(_) => codes.refused,
            Why::NotStarted(_) => codes.not_started,
            Why::Unfit(_) => exit::CONFIG,
        }
    }

    /// The name of the command as it was given.
    #[must_use]
    pub fn name(&self) -> &OsStr {
        &self.command.name
    }

    /// The kernel's error, or the one it would give.
    #[must_use]
    pub fn errno(&self) -> Errno {
        match self.why {
            Why::NotFound => Errno::ENOENT,
            Why::NotExecutable(_) => Errno::EACCES,
            Why::Refused(error) | Why::NotStarted(error) => error,
            Why::Unfit(failed) => Errno::from_raw(failed.error),
        }
    }
}

impl fmt::Debug for Failure<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} of {:?}", self.why, self.command.name)
    }
}

impl fmt::Display for Failure<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, path) = (self.command.name.display(), &self.command.search_path);
        match self.why {
            Why::NotFound if self.command.name.as_bytes().contains(&b'/') => {
                write!(f, "command `{name}` does not exist")
            }
            Why::NotFound => {
                write!(f, "command `{name}` is not on PATH ({})", path.display())
            }
            Why::NotExecutable(index) => {
                let found = self.command.prepared.candidates().get(index);
                let found = found.map_or(&b""[..], |path| path.as_bytes());
                let found = OsStr::from_bytes(found).display();
                write!(
                    f,
                    "command `{found}` is not executable; `chmod +x` it, unless it is a directory"
                )
            }
            Why::Refused(Errno::ENOENT) => write!(
                f,
                "cannot execute `{name}`: it is there, but the interpreter or loader that it names is not"
            ),
            Why::Refused(error) => write!(f, "cannot execute `{name}`: {}", error.desc()),
            Why::Unfit(failed) => self.command.context.explain(failed).fmt(f),
            Why::NotStarted(error) => write!(
                f,
                "cannot start `{name}`: {}; a limit of processes, descriptors or memory is reached",
                error.desc()
            ),
        }
    }
}

/// The files that a name may mean, in order.
fn candidates(name: &OsStr, search_path: &OsStr) -> Vec<PathBuf> {
    if name.as_bytes().contains(&b'/') {
        return vec![name.into()];
    }
    std::env::split_paths(search_path)
        .map(|dir| dir.join(name))
        .collect()
}
