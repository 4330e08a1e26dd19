//! dumb-init's options, variables and words. Facts from dumb-init 1.2.5.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt as _;

use super::getopt::{Grammar, Options, leading_number};
use super::{Environment, Parsed, Program, refusal};
use crate::contract::exit::Exit;
use crate::disco::init::plan::{FailureCodes, Plan, Rest, Session, Subreaper, Suspend};
use crate::disco::init::voice::Event;
use crate::disco::log::{self, Level};
use crate::sys::{self, TERMINAL_STOPS};

const GRAMMAR: Grammar = Grammar {
    short: "hvVcr:",
    long: &[
        ("help", 'h'),
        ("single-child", 'c'),
        ("rewrite", 'r'),
        ("verbose", 'v'),
        ("version", 'V'),
    ],
};

/// All there is on that line: its readers compare it as a whole.
const VERSION: &str = "dumb-init v1.2.5";

/// Word for word what readers of it compare as a whole.
const HELP: &str = "
dumb-init is a simple process supervisor that forwards signals to children.
It is designed to run as PID1 in minimal container environments.

Optional arguments:
   -c, --single-child   Run in single-child mode.
                        In this mode, signals are only proxied to the
                        direct child and not any of its descendants.
   -r, --rewrite s:r    Rewrite received signal s to new signal r before proxying.
                        To ignore (not proxy) a signal, rewrite it to 0.
                        This option can be specified multiple times.
   -v, --verbose        Print debugging information to stderr.
   -h, --help           Print this help message and exit.
   -V, --version        Print the current version and exit.

Full help is available online at https://github.com/Yelp/dumb-init
";

const REWRITE_USAGE: &str = "\
Usage: -r option takes <signum>:<signum>, where <signum> is between 1 and 31.
This option can be specified multiple times.
Use --help for full usage.
";

/// The highest signal that `-r` takes.
const MAX: i32 = 31;

pub(super) fn parse(
    program: &Program,
    words: Vec<OsString>,
    environment: Environment<'_>,
) -> Parsed {
    let name = &program.name;
    let (mut has_session, mut is_verbose) = (true, false);
    let mut rewrites = Vec::new();
    let mut options = Options::new(GRAMMAR, name, words);
    loop {
        let (letter, value) = match options.next() {
            Ok(Some(option)) => option,
            Ok(None) => break,
            Err(message) => return Parsed::complaint(format!("{message}\n"), 1),
        };
        match letter {
            'h' => {
                let usage =
                    format!("{VERSION}\nUsage: {name} [option] command [[arg] ...]\n{HELP}");
                return Parsed::complaint(usage, 0);
            }
            'V' => return Parsed::complaint(format!("{VERSION}\n"), 0),
            'c' => has_session = false,
            'v' => is_verbose = true,
            _ => match rewrite_of(&value) {
                Some(rewrite) => rewrites.push(rewrite),
                None => return Parsed::complaint(REWRITE_USAGE.to_owned(), 1),
            },
        }
    }
    let command = options.rest();
    if command.is_empty() {
        let usage =
            format!("Usage: {name} [option] program [args]\nTry {name} --help for full usage.\n");
        return Parsed::complaint(usage, 1);
    }
    let mut notice = String::new();
    if environment("DUMB_INIT_DEBUG").is_some_and(|value| value == "1") {
        is_verbose = true;
        notice += "[dumb-init] Running in debug mode.\n";
    }
    if environment("DUMB_INIT_SETSID").is_some_and(|value| value == "0") {
        has_session = false;
        if is_verbose {
            notice += "[dumb-init] Not running in setsid mode.\n";
        }
    }
    let mut plan = Plan {
        subreaper: Subreaper::Never,
        group: has_session,
        session: if has_session {
            Session::Always
        } else {
            Session::Never
        },
        suspend: Suspend::Always,
        rest: match (program.is_pid_1, has_session) {
            (true, _) => Rest::Drain,
            (false, true) => Rest::TermGroup,
            (false, false) => Rest::Leave,
        },
        pass_settings: true,
        codes: FailureCodes {
            not_found: 2,
            not_executable: 2,
            refused: 2,
            not_started: 1,
            mapped: false,
        },
        speak: if has_session { speak_session } else { speak },
        ..Plan::default()
    };
    if has_session {
        // A session of its own has no parent there, and the kernel would drop them; STOP it does not
        // (conformance pid1 30).
        for number in TERMINAL_STOPS {
            plan.rewrite.set(number, libc::SIGSTOP);
        }
    }
    for (from, to) in rewrites {
        plan.rewrite.set(from, to);
    }
    Parsed::Run {
        plan: Box::new(plan),
        level: if is_verbose {
            Level::Debug
        } else {
            Level::Error
        },
        notice,
        command,
    }
}

/// Two numbers at a colon; what follows them is not looked at.
fn rewrite_of(value: &OsStr) -> Option<(i32, i32)> {
    let (from, rest) = leading_number(value.as_bytes())?;
    let (to, _) = leading_number(rest.strip_prefix(b":")?)?;
    ((1..=MAX).contains(&from) && (0..=MAX).contains(&to)).then_some((from, to))
}

/// dumb-init's words for a command in a session of its own.
fn speak_session(event: &Event<'_>) {
    speak(event);
    if matches!(event, Event::Spawned { .. }) {
        say(Level::Debug, format_args!("setsid complete."));
    }
}

/// dumb-init's words, all on stderr.
fn speak(event: &Event<'_>) {
    match *event {
        Event::Spawned { pid, .. } => {
            say(Level::Debug, format_args!("Child spawned with PID {pid}."));
        }
        Event::CannotExecute(failure) => {
            let (name, reason) = refusal(failure);
            say(Level::Error, format_args!("{}: {reason}", name.display()));
        }
        Event::Received(received) => say(
            Level::Debug,
            format_args!("Received signal {}.", received.number),
        ),
        Event::Rewritten { from, to } => say(
            Level::Debug,
            format_args!("Translating signal {from} to {to}."),
        ),
        Event::Forwarded { number, .. } => say(
            Level::Debug,
            format_args!("Forwarded signal {number} to children."),
        ),
        Event::Dropped(number) => say(
            Level::Debug,
            format_args!("Not forwarding signal {number} to children (ignored)."),
        ),
        Event::CannotSend { number, error } => say(
            Level::Warn,
            format_args!(
                "Unable to forward signal {number} to children: {}.",
                error.desc()
            ),
        ),
        Event::Suspending => say(
            Level::Debug,
            format_args!("Suspending self due to TTY signal."),
        ),
        Event::Orphan { pid, exit, .. } | Event::Ended { pid, exit } => match exit {
            Exit::Code(code) => say(
                Level::Debug,
                format_args!("A child with PID {pid} exited with exit status {code}."),
            ),
            Exit::Signal(number) => say(
                Level::Debug,
                format_args!("A child with PID {pid} was terminated by signal {number}."),
            ),
        },
        Event::HandOff(number) => say(
            Level::Debug,
            format_args!("Ignoring tty hand-off signal {number}."),
        ),
        // Said by the original even when nobody is left to get it.
        Event::Clearing { number } => say(
            Level::Debug,
            format_args!("Forwarded signal {number} to children."),
        ),
        Event::Leaving { code } => say(
            Level::Debug,
            format_args!("Child exited with status {code}. Goodbye."),
        ),
        _ => {}
    }
}

fn say(level: Level, text: fmt::Arguments<'_>) {
    if log::enabled(level) {
        log::plain(sys::stderr(), format_args!("[dumb-init] {text}"));
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{done, parse, parse_as, run};
    use super::*;

    /// A column of the table: what a line comes to.
    type Effect = fn(&Plan) -> bool;

    fn stops(plan: &Plan) -> [Option<i32>; 3] {
        TERMINAL_STOPS.map(|number| plan.rewrite.get(number))
    }

    fn is_single(plan: &Plan) -> bool {
        !plan.group && plan.session == Session::Never && stops(plan) == TERMINAL_STOPS.map(Some)
    }

    #[test]
    fn each_option_and_variable_has_its_effect() {
        let effects: &[(&str, Effect)] = &[
            ("dumb-init x", |plan| {
                plan.group && plan.session == Session::Always
            }),
            ("dumb-init x", |plan| {
                stops(plan) == [Some(libc::SIGSTOP); 3] && plan.suspend == Suspend::Always
            }),
            ("dumb-init x", |plan| {
                plan.subreaper == Subreaper::Never && plan.rest == Rest::TermGroup
            }),
            ("dumb-init x", |plan| {
                let codes = plan.codes;
                (codes.not_found, codes.not_executable, codes.not_started) == (2, 2, 1)
            }),
            ("dumb-init -c x", is_single),
            ("dumb-init --single-child x", is_single),
            ("DUMB_INIT_SETSID=0 dumb-init x", is_single),
            ("DUMB_INIT_SETSID=1 dumb-init x", |plan| {
                plan.session == Session::Always
            }),
            ("DUMB_INIT_SETSID= dumb-init x", |plan| {
                plan.session == Session::Always
            }),
            ("dumb-init -c x", |plan| {
                plan.suspend == Suspend::Always && plan.rest == Rest::Leave
            }),
            ("dumb-init -r 15:3 x", |plan| {
                plan.rewrite.get(15) == Some(3) && plan.rewrite.get(3) == Some(3)
            }),
            ("dumb-init --rewrite 15:3 -r1:31 x", |plan| {
                plan.rewrite.get(15) == Some(3) && plan.rewrite.get(1) == Some(31)
            }),
            ("dumb-init --rewrite 15:3 -r 15:2:9 x", |plan| {
                plan.rewrite.get(15) == Some(2)
            }),
            ("dumb-init -cr 2:0 x", |plan| {
                plan.rewrite.get(2).is_none() && is_single(plan)
            }),
            ("dumb-init -r 20:1 -r 21:21 x", |plan| {
                stops(plan) == [Some(1), Some(21), Some(libc::SIGSTOP)]
            }),
        ];
        for (line, effect) in effects {
            let (plan, _, _, command) = run(parse(line));
            assert!(effect(&plan), "{line}: {plan:?}");
            assert_eq!(command, ["x"], "{line}");
        }
        for line in ["dumb-init x", "dumb-init -c x"] {
            let (plan, ..) = run(parse_as(line, true));
            assert_eq!(plan.rest, Rest::Drain, "{line}");
        }
    }

    #[test]
    fn verbosity_and_what_is_said_of_the_variables() {
        const DEBUG: &str = "[dumb-init] Running in debug mode.\n";
        const SINGLE: &str = "[dumb-init] Not running in setsid mode.\n";
        for (line, expected, told) in [
            ("dumb-init x", Level::Error, String::new()),
            ("dumb-init -v x", Level::Debug, String::new()),
            ("dumb-init --verbose -c x", Level::Debug, String::new()),
            ("DUMB_INIT_DEBUG=1 dumb-init x", Level::Debug, DEBUG.into()),
            ("DUMB_INIT_DEBUG=0 dumb-init x", Level::Error, String::new()),
            ("DUMB_INIT_DEBUG= dumb-init x", Level::Error, String::new()),
            (
                "DUMB_INIT_SETSID=0 dumb-init x",
                Level::Error,
                String::new(),
            ),
            (
                "DUMB_INIT_SETSID=0 dumb-init -v x",
                Level::Debug,
                SINGLE.into(),
            ),
            (
                "DUMB_INIT_DEBUG=1 DUMB_INIT_SETSID=0 dumb-init x",
                Level::Debug,
                format!("{DEBUG}{SINGLE}"),
            ),
        ] {
            let (_, level, notice, _) = run(parse(line));
            assert_eq!((level, notice), (expected, told), "{line}");
        }
    }

    #[test]
    fn what_runs_nothing_is_said_on_stderr_with_the_code_of_the_original() {
        const USAGE: &str =
            "Usage: dumb-init [option] program [args]\nTry dumb-init --help for full usage.\n";
        for (line, code, told) in [
            ("dumb-init -V", 0, "dumb-init v1.2.5\n"),
            ("dumb-init --version x", 0, "dumb-init v1.2.5\n"),
            ("dumb-init", 1, USAGE),
            ("DUMB_INIT_DEBUG=1 dumb-init --", 1, USAGE),
            (
                "dumb-init --yolo x",
                1,
                "dumb-init: unrecognized option '--yolo'\n",
            ),
            ("dumb-init -x y", 1, "dumb-init: invalid option -- 'x'\n"),
            (
                "dumb-init -r",
                1,
                "dumb-init: option requires an argument -- 'r'\n",
            ),
        ] {
            let expected = (String::new(), told.to_owned(), code);
            assert_eq!(done(parse(line)), expected, "{line}");
        }
        for line in ["dumb-init -h", "dumb-init -v --help x"] {
            let (stdout, stderr, code) = done(parse(line));
            assert_eq!((stdout.as_str(), code), ("", 0), "{line}");
            let first = "dumb-init v1.2.5\nUsage: dumb-init [option] command [[arg] ...]\n\n";
            assert!(stderr.starts_with(first), "{stderr}");
        }
    }

    #[test]
    fn rewritings_that_are_none_are_refused() {
        for value in [
            "",
            "herp",
            "herp:derp",
            "15",
            "15:",
            "15::12",
            "15:derp",
            ":3",
            "15 :3",
            "0:3",
            "32:1",
            "1:32",
            "-1:3",
            "1:-1",
            "TERM:3",
        ] {
            // Not by the table's lines, whose words end at blanks.
            let program = super::super::of(OsStr::new("dumb-init")).unwrap();
            let words = ["-r", "1:2", "-r", value, "x"].map(OsString::from);
            let expected = (String::new(), REWRITE_USAGE.to_owned(), 1);
            let parsed = program.parse(words.into(), &|_| None);
            assert_eq!(done(parsed), expected, "{value:?}");
        }
    }
}
