//! disco under the name of another init: it takes that program's options and variables, leaves with
//! its exit codes and speaks its language, so that replacing one is a matter of a link.
//!
//! Which name is which is here; each program has its own file, which ends in a [`Plan`] for init.
//! Nothing here acts on a process. disco's own settings have no part in it: `DISCO_CFG` and the
//! settings file are neither read nor removed, since the command may be another disco, whose they are.
//!
//! The programs differ from their originals on purpose in a few things, all for the better: options
//! end at the command without `--` (conformance pid1 7), and whoever is left when the command ends is
//! asked to end where the original would have the kernel kill them, as it does when PID 1 goes (33).

mod catatonit;
mod dumb_init;
mod getopt;
mod tini;

use std::ffi::{OsStr, OsString};
use std::path::Path;

use super::init::command::Failure;
use super::init::plan::Plan;
use super::log::Level;
use crate::sys;

/// Looks up an environment variable.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// What the version lines of the programs add. Whoever asks `docker info` reads what is before the
/// ` - `; only what follows it tells that the program is disco.
const SIGNATURE: &str = concat!(" - disco ", env!("CARGO_PKG_VERSION"));

/// Whose options are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Original {
    /// tini 0.19, and the respawning of its successor.
    Tini,
    /// dumb-init 1.2.5.
    DumbInit,
    /// catatonit 0.2.
    Catatonit,
}

/// A program that disco stands in for, as it was called.
#[derive(Debug)]
pub struct Program {
    original: Original,
    /// `argv[0]`, with which complaints begin.
    name: String,
    is_pid_1: bool,
    /// Whether orphans come to us already, by a bit that survived exec.
    is_subreaper: bool,
}

/// What a command line amounts to.
#[derive(Debug)]
pub enum Parsed {
    /// Run a command.
    Run {
        /// How init treats it.
        plan: Box<Plan>,
        /// The most that is said of what happens to it.
        level: Level,
        /// What to say on stderr beforehand; whole lines.
        notice: String,
        /// The command and its arguments; empty only if there is none to be ([`Plan::pause`]).
        command: Vec<OsString>,
    },
    /// Say something and leave.
    Done {
        /// For stdout.
        stdout: String,
        /// For stderr.
        stderr: String,
        /// The exit code.
        code: u8,
    },
}

/// The program that a name means, if it is another's than disco's.
#[must_use]
pub fn of(argv0: &OsStr) -> Option<Program> {
    let original = match Path::new(argv0).file_name()?.to_str()? {
        "tini" | "tini-static" | "docker-init" => Original::Tini,
        "dumb-init" => Original::DumbInit,
        // The second is the name under which Podman mounts it.
        "catatonit" | "podman-init" => Original::Catatonit,
        _ => return None,
    };
    Some(Program {
        original,
        name: argv0.to_string_lossy().into_owned(),
        is_pid_1: sys::own_pid() == 1,
        is_subreaper: sys::is_subreaper(),
    })
}

impl Program {
    /// Reads the words after the name, and the program's variables.
    #[must_use]
    pub fn parse(&self, words: Vec<OsString>, environment: Environment<'_>) -> Parsed {
        match self.original {
            Original::Tini => tini::parse(self, words, environment),
            Original::DumbInit => dumb_init::parse(self, words, environment),
            Original::Catatonit => catatonit::parse(self, words, environment),
        }
    }

    /// The name without its directory.
    fn basename(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or_default()
    }
}

impl Parsed {
    /// What was asked for, said on stdout.
    fn told(stdout: String) -> Self {
        Self::Done {
            stdout,
            stderr: String::new(),
            code: 0,
        }
    }

    /// Something said on stderr.
    fn complaint(stderr: String, code: u8) -> Self {
        Self::Done {
            stdout: String::new(),
            stderr,
            code,
        }
    }
}

/// What could not be executed, and why in the C library's words, which scripts look for.
fn refusal<'a>(failure: &'a Failure<'_>) -> (&'a OsStr, &'static str) {
    (failure.name(), failure.errno().desc())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a table's line: `[NAME=VALUE…] PROGRAM [OPTIONS…] [COMMAND…]`, words at single blanks,
    /// as an ordinary child.
    pub(super) fn parse(line: &str) -> Parsed {
        parse_as(line, false)
    }

    /// The same, as PID 1 if so.
    pub(super) fn parse_as(line: &str, is_pid_1: bool) -> Parsed {
        let mut words = line.split(' ').peekable();
        let mut variables = Vec::new();
        while let Some(pair) = words.next_if(|word| word.contains('=')) {
            variables.extend(pair.split_once('='));
        }
        let mut program = of(OsStr::new(words.next().unwrap())).unwrap();
        (program.is_pid_1, program.is_subreaper) = (is_pid_1, false);
        program.parse(words.map(OsString::from).collect(), &|name| {
            let found = variables.iter().find(|(n, _)| *n == name);
            found.map(|(_, value)| OsString::from(value))
        })
    }

    /// The parts of a command line that runs.
    #[track_caller]
    pub(super) fn run(parsed: Parsed) -> (Plan, Level, String, Vec<OsString>) {
        match parsed {
            Parsed::Run {
                plan,
                level,
                notice,
                command,
            } => (*plan, level, notice, command),
            done @ Parsed::Done { .. } => panic!("{done:?}"),
        }
    }

    /// stdout, stderr and code of one that does not.
    #[track_caller]
    pub(super) fn done(parsed: Parsed) -> (String, String, u8) {
        match parsed {
            Parsed::Done {
                stdout,
                stderr,
                code,
            } => (stdout, stderr, code),
            run @ Parsed::Run { .. } => panic!("{run:?}"),
        }
    }

    #[test]
    fn names_are_taken_without_their_directory_and_as_a_whole() {
        for (argv0, original) in [
            ("tini", Some(Original::Tini)),
            ("/usr/bin/tini-static", Some(Original::Tini)),
            ("/sbin/docker-init", Some(Original::Tini)),
            ("./dumb-init", Some(Original::DumbInit)),
            ("/usr/libexec/podman/catatonit", Some(Original::Catatonit)),
            ("/run/podman-init", Some(Original::Catatonit)),
            ("disco", None),
            ("", None),
            ("/tini/disco", None),
            ("tini2", None),
            ("Tini", None),
        ] {
            let found = of(OsStr::new(argv0)).map(|program| program.original);
            assert_eq!(found, original, "{argv0}");
        }
    }
}
