//! tini's options, variables and words. Facts from tini 0.19.0 and, for `-R`, its successor.

use std::ffi::{OsStr, OsString};
use std::fmt::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::time::Duration;

use super::getopt::{Grammar, Options, leading_number};
use super::{Environment, Parsed, Program, SIGNATURE, refusal};
use crate::contract::exit::Exit;
use crate::contract::signal::{self, Name};
use crate::disco::init::plan::{FailureCodes, Plan, Rest, Restart, Session, Subreaper, When};
use crate::disco::init::voice::Event;
use crate::disco::log::{self, Level};
use crate::sys;

const GRAMMAR: Grammar = Grammar {
    short: "p:hvwgle:R:s",
    long: &[],
};

/// The version whose behaviour this is.
const VERSION: &str = "tini version 0.19.0";

const HELP: &str = "
disco in tini's place: runs PROGRAM as its child, passes signals on to it, and reaps.

Options, up to the first word that is none:
  --version     print the version; only as the one word there is
  -h            print this help
  -l            print the licence
  -s            become a child subreaper where not PID 1
  -p SIGNAL     get SIGNAL, such as SIGTERM, when the parent process dies
  -g            send signals to the whole process group of PROGRAM
  -w            warn of every orphan that is reaped
  -e STATUS     leave with 0 where PROGRAM ends with STATUS (0 to 255); may be repeated
  -R A|F        run PROGRAM again, always (A) or when it failed (F)
  -v            say more; up to three times

Environment:
  TINI_SUBREAPER           as -s, whatever the value
  TINI_KILL_PROCESS_GROUP  as -g, whatever the value
  TINI_VERBOSITY           0 to 4 in place of -v; 1 by default
";

const LICENCE: &str = "\
This is disco, called as tini: part of Layer-Cake, under the Apache License, Version 2.0
<https://www.apache.org/licenses/LICENSE-2.0>. It contains nothing of tini, which is under the MIT licence.
";

/// Between two runs of a program under `-R`.
const RESPAWN: Duration = Duration::from_secs(1);

/// Why orphans will not be reaped, in words that people look for; the first two lines are tini's.
const NOT_REAPING: &str = "Tini is not running as PID 1 and isn't registered as a child subreaper.
Zombie processes will not be re-parented to Tini, so zombie reaping won't work.
Remedy: -s or the variable TINI_SUBREAPER, or to run it as PID 1.";

pub(super) fn parse(
    program: &Program,
    words: Vec<OsString>,
    environment: Environment<'_>,
) -> Parsed {
    if let [word] = words.as_slice()
        && word == "--version"
    {
        return Parsed::told(format!("{VERSION}{SIGNATURE}\n"));
    }
    let mut plan = Plan {
        subreaper: Subreaper::Never,
        session: Session::Never,
        pass_settings: true,
        codes: FailureCodes {
            not_started: 1,
            refused: 1,
            mapped: true,
            ..FailureCodes::default()
        },
        speak,
        ..Plan::default()
    };
    for stop in [libc::SIGTTIN, libc::SIGTTOU] {
        plan.rewrite.set(stop, 0);
    }
    let mut verbosity = 1;
    let mut options = Options::new(GRAMMAR, &program.name, words);
    loop {
        let (letter, value) = match options.next() {
            Ok(Some(option)) => option,
            Ok(None) => break,
            Err(message) => {
                return Parsed::complaint(format!("{message}\n{}", usage(program)), 1);
            }
        };
        let taken = match letter {
            'h' => return Parsed::told(usage(program)),
            'l' => return Parsed::told(LICENCE.to_owned()),
            's' => {
                plan.subreaper = Subreaper::Always;
                Some(())
            }
            'g' => {
                plan.group = true;
                Some(())
            }
            'w' => {
                plan.warn_on_reap = true;
                Some(())
            }
            'v' => {
                verbosity += 1;
                Some(())
            }
            'p' => signal_of(&value).map(|number| plan.parent_death = Some(number)),
            'e' => status_of(&value).map(|status| plan.exit_map.set(status, 0)),
            _ => respawning(&value).map(|when| {
                plan.restart = Restart {
                    when,
                    limit: 0,
                    delay: RESPAWN,
                    max_delay: RESPAWN,
                    ..Restart::default()
                };
            }),
        };
        if taken.is_none() {
            let value = value.display();
            let message = format_args!("Not a valid option for -{letter}: {value}");
            return Parsed::complaint(line("FATAL", message), 1);
        }
    }
    let command = options.rest();
    if command.is_empty() {
        return Parsed::complaint(usage(program), 1);
    }
    if environment("TINI_SUBREAPER").is_some() {
        plan.subreaper = Subreaper::Always;
    }
    plan.group |= environment("TINI_KILL_PROCESS_GROUP").is_some();
    if let Some(text) = environment("TINI_VERBOSITY") {
        // As atoi: what is no number is 0.
        verbosity = leading_number(text.as_bytes()).map_or(0, |(number, _)| number);
    }
    let level = match verbosity {
        0 => Level::Error,
        1 => Level::Warn,
        2 => Level::Info,
        3 => Level::Debug,
        // Below 0 too: the number has no sign there.
        _ => Level::Trace,
    };
    let reaps = program.is_pid_1 || plan.subreaper == Subreaper::Always;
    // Elsewhere there may be children that we were given and have not started.
    plan.rest = if program.is_pid_1 {
        Rest::Drain
    } else {
        Rest::Leave
    };
    let notice = if reaps || program.is_subreaper || level < Level::Warn {
        String::new()
    } else {
        line("WARN ", format_args!("{NOT_REAPING}"))
    };
    Parsed::Run {
        plan: Box::new(plan),
        level,
        notice,
        command,
    }
}

/// Upper case and with its `SIG`, nothing else.
fn signal_of(value: &OsStr) -> Option<i32> {
    let text = value.to_str()?;
    let number = signal::parse(text).ok()?;
    (number < 32 && signal::name(number) == text).then_some(number)
}

fn status_of(value: &OsStr) -> Option<u8> {
    // strtol finds nothing wrong with nothing; it is what an unset variable leaves.
    if value.is_empty() {
        return Some(0);
    }
    let (number, rest) = leading_number(value.as_bytes())?;
    u8::try_from(number).ok().filter(|_| rest.is_empty())
}

fn respawning(value: &OsStr) -> Option<When> {
    match value.as_bytes() {
        b"A" => Some(When::Always),
        b"F" => Some(When::OnFailure),
        _ => None,
    }
}

fn usage(program: &Program) -> String {
    let name = program.basename();
    format!(
        "{name} ({VERSION}{SIGNATURE})\n\
         Usage: {name} [OPTIONS] [--] PROGRAM [ARGS] | --version\n{HELP}"
    )
}

fn line(level: &str, text: fmt::Arguments<'_>) -> String {
    let mut line = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(line, "[{level} tini ({})] {text}", sys::own_pid());
    line
}

/// tini's words: what is wrong on stderr, the rest on stdout.
fn speak(event: &Event<'_>) {
    match *event {
        Event::Spawned { name, pid } => say(
            Level::Info,
            format_args!(
                "Spawned child process '{}' with pid '{pid}'",
                name.display()
            ),
        ),
        Event::CannotExecute(failure) => {
            let (name, reason) = refusal(failure);
            say(
                Level::Error,
                format_args!("exec {} failed: {reason}", name.display()),
            );
        }
        Event::Received(received) if received.number == libc::SIGCHLD => {
            say(Level::Debug, format_args!("Received SIGCHLD"));
        }
        Event::Forwarded { number, .. } => {
            say(
                Level::Debug,
                format_args!("Passing signal: '{}'", Name(number)),
            );
        }
        Event::Gone(_) => say(
            Level::Warn,
            format_args!("Child was dead when forwarding signal"),
        ),
        Event::CannotSend { number, error } => say(
            Level::Warn,
            format_args!(
                "Unexpected error when forwarding signal {}: '{}'",
                Name(number),
                error.desc()
            ),
        ),
        Event::Orphan { pid, warn, .. } => {
            reaped(pid);
            if warn {
                say(
                    Level::Warn,
                    format_args!("Reaped zombie process with pid={pid}"),
                );
            }
        }
        Event::Ended { pid, exit } => {
            reaped(pid);
            match exit {
                Exit::Code(code) => say(
                    Level::Info,
                    format_args!("Main child exited normally (with status '{code}')"),
                ),
                Exit::Signal(number) => say(
                    Level::Info,
                    format_args!(
                        "Main child exited with signal (with signal '{}')",
                        Name(number.into())
                    ),
                ),
            }
        }
        // The original gives up where it was told to be one; the program runs just as well.
        Event::CannotReap { warn: true } => say(
            Level::Warn,
            format_args!("Failed to register as child subreaper; orphans go elsewhere"),
        ),
        Event::Leaving { .. } => say(Level::Trace, format_args!("Exiting: child has exited")),
        _ => {}
    }
}

fn reaped(pid: i32) {
    say(Level::Debug, format_args!("Reaped child with pid: '{pid}'"));
}

fn say(level: Level, text: fmt::Arguments<'_>) {
    if !log::enabled(level) {
        return;
    }
    let (name, to) = match level {
        Level::Error => ("FATAL", sys::stderr()),
        Level::Warn => ("WARN ", sys::stderr()),
        Level::Info => ("INFO ", sys::stdout()),
        Level::Debug => ("DEBUG", sys::stdout()),
        Level::Trace => ("TRACE", sys::stdout()),
    };
    log::plain(
        to,
        format_args!("[{name} tini ({})] {text}", sys::own_pid()),
    );
}

#[cfg(test)]
mod tests {
    use super::super::tests::{done, parse, parse_as, run};
    use super::*;

    /// A column of the table: what a line comes to.
    type Effect = fn(&Plan) -> bool;

    #[test]
    fn each_option_and_variable_has_its_effect() {
        let effects: &[(&str, Effect)] = &[
            ("tini x", |plan| {
                plan.subreaper == Subreaper::Never
                    && !plan.group
                    && plan.session == Session::Never
                    && !plan.warn_on_reap
                    && !plan.pause
                    && plan.parent_death.is_none()
                    && plan.restart == Restart::default()
            }),
            ("tini -s x", |plan| plan.subreaper == Subreaper::Always),
            ("tini -ss x", |plan| plan.subreaper == Subreaper::Always),
            ("TINI_SUBREAPER= tini x", |plan| {
                plan.subreaper == Subreaper::Always
            }),
            ("tini -g x", |plan| plan.group),
            ("TINI_KILL_PROCESS_GROUP= tini x", |plan| plan.group),
            ("TINI_KILL_PROCESS_GROUP=0 tini x", |plan| plan.group),
            ("tini -w x", |plan| plan.warn_on_reap),
            ("tini -p SIGKILL x", |plan| {
                plan.parent_death == Some(libc::SIGKILL)
            }),
            ("tini -sgpSIGUSR1 x", |plan| {
                plan.parent_death == Some(libc::SIGUSR1) && plan.group
            }),
            ("tini -R A x", |plan| {
                plan.restart.when == When::Always && plan.restart.limit == 0
            }),
            ("tini -RF x", |plan| {
                plan.restart.when == When::OnFailure
                    && plan.restart.delay == Duration::from_secs(1)
                    && plan.restart.max_delay == Duration::from_secs(1)
            }),
            ("tini x", |plan| {
                plan.rewrite.get(libc::SIGTTIN).is_none()
                    && plan.rewrite.get(libc::SIGTTOU).is_none()
                    && plan.rewrite.get(libc::SIGTSTP) == Some(libc::SIGTSTP)
            }),
            ("tini x", |plan| {
                let codes = plan.codes;
                (codes.not_found, codes.not_executable, codes.not_started) == (127, 126, 1)
            }),
            ("tini x", |plan| plan.rest == Rest::Leave),
            ("tini -s x", |plan| plan.rest == Rest::Leave),
        ];
        for (line, effect) in effects {
            let (plan, _, _, command) = run(parse(line));
            assert!(effect(&plan), "{line}: {plan:?}");
            assert_eq!(command, ["x"], "{line}");
        }
    }

    #[test]
    fn exit_statuses_are_mapped_to_0_as_often_as_asked() {
        for (line, mapped) in [
            ("tini x", vec![]),
            ("tini -e 143 x", vec![143]),
            ("tini -e 1 -e255 -e 0 x", vec![1, 255]),
            ("tini -e  x", vec![]),
        ] {
            let (plan, ..) = run(parse(line));
            for code in 0..=255 {
                let expected = if mapped.contains(&code) { 0 } else { code };
                let status = plan.exit_map.status(Exit::Code(code), None);
                assert_eq!(status, expected, "{line}");
            }
        }
        let (plan, ..) = run(parse("tini -e 143 x"));
        let term = Exit::by_signal(libc::SIGTERM);
        assert_eq!(plan.exit_map.status(term, Some(libc::SIGTERM)), 0);
    }

    #[test]
    fn verbosity_is_counted_and_the_variable_wins() {
        for (line, expected) in [
            ("tini x", Level::Warn),
            ("tini -v x", Level::Info),
            ("tini -vv x", Level::Debug),
            ("tini -v -v -v x", Level::Trace),
            ("tini -vvvvvv x", Level::Trace),
            ("TINI_VERBOSITY=0 tini -vvv x", Level::Error),
            ("TINI_VERBOSITY=2x tini x", Level::Info),
            ("TINI_VERBOSITY=3 tini x", Level::Debug),
            ("TINI_VERBOSITY=loud tini x", Level::Error),
            ("TINI_VERBOSITY= tini x", Level::Error),
            ("TINI_VERBOSITY=-1 tini x", Level::Trace),
        ] {
            let (_, level, ..) = run(parse(line));
            assert_eq!(level, expected, "{line}");
        }
    }

    #[test]
    fn p13_who_will_not_reap_is_warned() {
        for (line, is_pid_1, warned) in [
            ("tini x", false, true),
            ("tini x", true, false),
            ("tini -s x", false, false),
            ("TINI_SUBREAPER= tini x", false, false),
            ("TINI_VERBOSITY=0 tini x", false, false),
        ] {
            let (.., notice, _) = run(parse_as(line, is_pid_1));
            assert_eq!(!notice.is_empty(), warned, "{line}");
            assert_eq!(notice.contains("zombie reaping won't work"), warned);
        }
        let (plan, ..) = run(parse_as("tini x", true));
        assert_eq!(plan.rest, Rest::Drain);
        let mut program = super::super::of(OsStr::new("tini")).unwrap();
        (program.is_pid_1, program.is_subreaper) = (false, true);
        let (.., notice, _) = run(program.parse(vec!["x".into()], &|_| None));
        assert_eq!(notice, "");
    }

    #[test]
    fn p7_options_end_at_the_command() {
        for (line, words) in [
            ("tini sh -c exit", vec!["sh", "-c", "exit"]),
            ("tini -g -- -odd -v", vec!["-odd", "-v"]),
            ("tini sh -- -v", vec!["sh", "--", "-v"]),
            ("tini - -v", vec!["-", "-v"]),
            ("docker-init -- x --version", vec!["x", "--version"]),
        ] {
            let (.., command) = run(parse(line));
            assert_eq!(command, words, "{line}");
        }
    }

    #[test]
    fn what_runs_nothing_is_said_on_the_stream_and_with_the_code_of_the_original() {
        for (line, on_stdout, code, first) in [
            ("tini --version", true, 0, "tini version 0.19.0 - "),
            ("tini-static --version", true, 0, "tini version 0.19.0 - "),
            ("tini -h", true, 0, "tini (tini version 0.19.0"),
            ("tini -vh x", true, 0, "tini (tini version 0.19.0"),
            (
                "/a/docker-init -h",
                true,
                0,
                "docker-init (tini version 0.19.0",
            ),
            ("tini -l", true, 0, "This is disco"),
            ("tini", false, 1, "tini (tini version 0.19.0"),
            ("tini --", false, 1, "tini (tini version 0.19.0"),
            ("tini -x y", false, 1, "tini: invalid option -- 'x'"),
            ("/a/tini --help", false, 1, "/a/tini: invalid option -- '-'"),
            ("tini --version x", false, 1, "tini: invalid option -- '-'"),
            (
                "tini -p",
                false,
                1,
                "tini: option requires an argument -- 'p'",
            ),
        ] {
            let (stdout, stderr, told) = done(parse(line));
            let (text, silent) = if on_stdout {
                (stdout, stderr)
            } else {
                (stderr, stdout)
            };
            assert_eq!((told, silent.as_str()), (code, ""), "{line}");
            assert!(text.starts_with(first), "{line}: {text}");
            if !first.starts_with("tini version") && !first.starts_with("This") {
                assert!(text.contains("\nUsage: "), "{line}: {text}");
            }
        }
    }

    #[test]
    fn wrong_values_are_refused() {
        for (line, told) in [
            ("tini -p SIGFOO x", "-p: SIGFOO"),
            ("tini -p KILL x", "-p: KILL"),
            ("tini -p sigkill x", "-p: sigkill"),
            ("tini -p 9 x", "-p: 9"),
            ("tini -e 256 x", "-e: 256"),
            ("tini -e -1 x", "-e: -1"),
            ("tini -e 3x x", "-e: 3x"),
            ("tini -e -s x", "-e: -s"),
            ("tini -R B x", "-R: B"),
            ("tini -R AF x", "-R: AF"),
        ] {
            let (stdout, stderr, code) = done(parse(line));
            assert_eq!((stdout.as_str(), code), ("", 1), "{line}");
            let told = format!("] Not a valid option for {told}\n");
            assert!(stderr.starts_with("[FATAL tini ("), "{line}: {stderr}");
            assert!(stderr.ends_with(&told), "{line}: {stderr}");
        }
    }
}
