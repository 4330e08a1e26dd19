//! catatonit's options, variables and words. Facts from catatonit 0.1.7 and 0.2.

use std::ffi::OsString;
use std::fmt;

use super::getopt::{Grammar, Options};
use super::{Environment, Parsed, Program, SIGNATURE, refusal};
use crate::contract::exit::Exit;
use crate::disco::init::plan::{FailureCodes, Plan, Rest, Session, Subreaper};
use crate::disco::init::voice::Event;
use crate::disco::log::{self, Level};
use crate::sys::{self, TERMINAL_STOPS};

const GRAMMAR: Grammar = Grammar {
    short: "ghLPV",
    long: &[("version", 'V')],
};

/// It calls itself tini for `docker info`, which knows no other.
const VERSION: &str = "tini version 0.2.1_catatonit";

const USAGE: &str = "usage: catatonit [-ghLPV] [--] <progname> [<arguments>...]\n";

const HELP: &str = "
disco in catatonit's place: runs a program as its child, passes signals on to it, and reaps.

options, up to the first word that is none:
  -g              send signals to the whole process group of the program
  -h              print this help
  -L              print the licence
  -P              run no program: reap until SIGTERM or SIGINT comes
  -V, --version   print the version

environment:
  CATATONIT_DEBUG   say on stderr what happens, whatever the value
";

const LICENCE: &str = "\
This is disco, called as catatonit: part of Layer-Cake, under the Apache License, Version 2.0
<https://www.apache.org/licenses/LICENSE-2.0>. It contains nothing of catatonit, which is under the GPL.
";

pub(super) fn parse(
    program: &Program,
    words: Vec<OsString>,
    environment: Environment<'_>,
) -> Parsed {
    if environment("CATATONIT_LOG").is_some() {
        let message = format_args!("CATATONIT_LOG is reserved for future use");
        return Parsed::complaint(line(message), 1);
    }
    let mut plan = Plan {
        subreaper: Subreaper::Always,
        // Elsewhere there may be children that we were given and have not started.
        rest: if program.is_pid_1 {
            Rest::Drain
        } else {
            Rest::Leave
        },
        session: Session::Never,
        pass_settings: true,
        codes: FailureCodes {
            not_found: 1,
            not_executable: 1,
            refused: 1,
            not_started: 1,
            mapped: false,
        },
        speak,
        ..Plan::default()
    };
    for stop in TERMINAL_STOPS {
        plan.rewrite.set(stop, 0);
    }
    let mut options = Options::new(GRAMMAR, &program.name, words);
    loop {
        match options.next() {
            Ok(None) => break,
            Ok(Some(('g', _))) => plan.group = true,
            Ok(Some(('P', _))) => plan.pause = true,
            Ok(Some(('h', _))) => return Parsed::complaint(format!("{USAGE}{HELP}"), 0),
            Ok(Some(('L', _))) => return Parsed::told(LICENCE.to_owned()),
            Ok(Some(_)) => return Parsed::told(format!("{VERSION}{SIGNATURE}\n")),
            Err(message) => return Parsed::complaint(format!("{message}\n{USAGE}"), 1),
        }
    }
    let command = options.rest();
    if command.is_empty() && !plan.pause {
        let message = line(format_args!("missing program name"));
        return Parsed::complaint(format!("{message}{USAGE}"), 1);
    }
    Parsed::Run {
        level: if environment("CATATONIT_DEBUG").is_some() {
            Level::Debug
        } else {
            Level::Error
        },
        notice: String::new(),
        // In pause mode the words are nobody's.
        command: if plan.pause { Vec::new() } else { command },
        plan: Box::new(plan),
    }
}

fn line(text: fmt::Arguments<'_>) -> String {
    format!("ERROR (catatonit:{}): {text}\n", sys::own_pid())
}

/// catatonit's words, all on stderr.
fn speak(event: &Event<'_>) {
    match *event {
        Event::Spawned { name, pid } => say(
            Level::Debug,
            format_args!("pid1 ({pid}) spawned: {}", name.display()),
        ),
        Event::CannotExecute(failure) => {
            let (name, reason) = refusal(failure);
            // The name comes after the original's words, which lack it (conformance pid1 6).
            say(
                Level::Error,
                format_args!("failed to exec pid1: {reason}: {}", name.display()),
            );
        }
        Event::Dropped(number) => say(
            Level::Debug,
            format_args!("ignoring signal {number}, meant for the terminal's background"),
        ),
        Event::CannotSend { number, error } => say(
            Level::Warn,
            format_args!(
                "forwarding of signal {number} to pid1 failed: {}",
                error.desc()
            ),
        ),
        Event::Gone(number) => say(
            Level::Warn,
            format_args!("forwarding of signal {number} to pid1 failed: No such process"),
        ),
        Event::Orphan { pid, exit, .. } => match exit {
            Exit::Code(code) => say(
                Level::Debug,
                format_args!("child process {pid} exited with code {code}"),
            ),
            Exit::Signal(number) => say(
                Level::Debug,
                format_args!("child process {pid} exited due to signal {number}"),
            ),
        },
        // The original gives up here; the program runs just as well.
        Event::CannotReap { warn: true } => say(
            Level::Error,
            format_args!("failed to set child-reaper as non-pid1; orphans go elsewhere"),
        ),
        _ => {}
    }
}

fn say(level: Level, text: fmt::Arguments<'_>) {
    if !log::enabled(level) {
        return;
    }
    let name = match level {
        Level::Error => "ERROR",
        Level::Warn => "WARN",
        Level::Info => "INFO",
        Level::Debug | Level::Trace => "DEBUG",
    };
    log::plain(
        sys::stderr(),
        format_args!("{name} (catatonit:{}): {text}", sys::own_pid()),
    );
}

#[cfg(test)]
mod tests {
    use super::super::tests::{done, parse, parse_as, run};
    use super::*;

    /// A column of the table: what a line comes to.
    type Effect = fn(&Plan, &[OsString]) -> bool;

    #[test]
    fn each_option_has_its_effect() {
        let effects: &[(&str, Effect)] = &[
            ("catatonit x", |plan, command| {
                !plan.group && plan.session == Session::Never && !plan.pause && command == ["x"]
            }),
            ("catatonit x", |plan, _| plan.subreaper == Subreaper::Always),
            ("catatonit x", |plan, _| {
                TERMINAL_STOPS
                    .iter()
                    .all(|stop| plan.rewrite.get(*stop).is_none())
                    && plan.rewrite.get(libc::SIGTERM) == Some(libc::SIGTERM)
            }),
            ("catatonit x", |plan, _| {
                let codes = plan.codes;
                (codes.not_found, codes.not_executable, codes.not_started) == (1, 1, 1)
            }),
            ("catatonit -g x", |plan, _| plan.group),
            ("catatonit -P", |plan, command| {
                plan.pause && command.is_empty()
            }),
            ("catatonit -gP -- x", |plan, command| {
                plan.pause && plan.group && command.is_empty()
            }),
            // p7
            ("catatonit sh -c exit", |plan, command| {
                !plan.group && command == ["sh", "-c", "exit"]
            }),
            ("catatonit -- x --version", |_, command| {
                command == ["x", "--version"]
            }),
        ];
        for (line, effect) in effects {
            for is_pid_1 in [false, true] {
                let (plan, _, notice, command) = run(parse_as(line, is_pid_1));
                assert!(effect(&plan, &command), "{line}: {plan:?}");
                assert_eq!(notice, "");
            }
        }
    }

    #[test]
    fn each_variable_has_its_effect() {
        for (line, expected) in [
            ("catatonit x", Level::Error),
            ("CATATONIT_DEBUG= catatonit x", Level::Debug),
            ("CATATONIT_DEBUG=0 catatonit x", Level::Debug),
        ] {
            let (_, level, ..) = run(parse(line));
            assert_eq!(level, expected, "{line}");
        }
        for line in ["CATATONIT_LOG= catatonit x", "CATATONIT_LOG=x catatonit -V"] {
            let (stdout, stderr, code) = done(parse(line));
            assert_eq!((stdout.as_str(), code), ("", 1), "{line}");
            assert!(stderr.starts_with("ERROR (catatonit:"), "{stderr}");
            let told = "): CATATONIT_LOG is reserved for future use\n";
            assert!(stderr.ends_with(told), "{stderr}");
        }
    }

    #[test]
    fn what_runs_nothing_is_said_on_the_stream_and_with_the_code_of_the_original() {
        let version = format!("{VERSION}{SIGNATURE}\n");
        for line in [
            "catatonit -V",
            "catatonit --version x",
            "catatonit -g --ver",
        ] {
            let expected = (version.clone(), String::new(), 0);
            assert_eq!(done(parse(line)), expected, "{line}");
        }
        for (line, complaint) in [
            ("catatonit -x", "catatonit: invalid option -- 'x'\n"),
            (
                "/a/catatonit --help",
                "/a/catatonit: unrecognized option '--help'\n",
            ),
        ] {
            let expected = (String::new(), format!("{complaint}{USAGE}"), 1);
            assert_eq!(done(parse(line)), expected, "{line}");
        }
        let (stdout, stderr, code) = done(parse("catatonit -gh"));
        assert_eq!((stdout.as_str(), code), ("", 0));
        assert!(stderr.starts_with(USAGE), "{stderr}");
        let (stdout, stderr, code) = done(parse("catatonit -L"));
        assert_eq!((stderr.as_str(), code), ("", 0));
        assert!(stdout.contains("Apache License"), "{stdout}");
        for line in ["catatonit", "catatonit -g --"] {
            let (stdout, stderr, code) = done(parse(line));
            assert_eq!((stdout.as_str(), code), ("", 1), "{line}");
            let told = format!("): missing program name\n{USAGE}");
            assert!(stderr.starts_with("ERROR (catatonit:"), "{stderr}");
            assert!(stderr.ends_with(&told), "{stderr}");
        }
    }
}
