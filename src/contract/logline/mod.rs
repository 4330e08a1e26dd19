//! Lines of a log as containers write them (conformance A-33): the level first, a time before or
//! behind it, then the message. Reads only; [`render`] writes them out again.
//!
//! A line without a level is `INFO`; one that begins with a blank goes on with the line before it, and
//! so does an empty one, as stack traces have them. What looks like a level or a time and is none stays
//! in the message.

pub mod render;

use super::time::Time;

/// How much a line matters, in rising order. The names are all that the list knows; `WARN` and
/// `WARNING` are one level under two names, each of which is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// No level at all.
    NotSet,
    /// Everything.
    Trace,
    /// For whoever looks for an error.
    Debug,
    /// What a line is that does not say.
    Info,
    /// Worth a look.
    Notice,
    /// Something may become wrong.
    Warn,
    /// The same under its long name.
    Warning,
    /// Something is wrong.
    Error,
    /// Something that others need is wrong.
    Critical,
    /// The end.
    Fatal,
}

impl Level {
    /// All of them, in order.
    pub const ALL: [Self; 10] = [
        Self::NotSet,
        Self::Trace,
        Self::Debug,
        Self::Info,
        Self::Notice,
        Self::Warn,
        Self::Warning,
        Self::Error,
        Self::Critical,
        Self::Fatal,
    ];

    /// The name, as lines of text have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NotSet => "NOTSET",
            Self::Trace => "TRACE",
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Notice => "NOTICE",
            Self::Warn => "WARN",
            Self::Warning => "WARNING",
            Self::Error => "ERROR",
            Self::Critical => "CRITICAL",
            Self::Fatal => "FATAL",
        }
    }

    /// The one name of the level, as JSON and labels have it.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::NotSet => "notset",
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Notice => "notice",
            Self::Warn | Self::Warning => "warn",
            Self::Error => "error",
            Self::Critical => "critical",
            Self::Fatal => "fatal",
        }
    }

    /// The level without regard to under which of its names.
    #[must_use]
    pub fn plain(self) -> Self {
        match self {
            Self::Warning => Self::Warn,
            level => level,
        }
    }

    /// The level that a word names, in any case.
    #[must_use]
    pub fn parse(word: &[u8]) -> Option<Self> {
        let first = word.first()?.to_ascii_uppercase();
        let mut all = Self::ALL.into_iter();
        all.find(|level| {
            let name = level.name().as_bytes();
            name.first() == Some(&first) && name.eq_ignore_ascii_case(word)
        })
    }
}

/// A line, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// What it says of its level.
    pub level: Option<Level>,
    /// What it says of its time.
    pub time: Option<Time>,
    /// The rest.
    pub message: &'a [u8],
}

/// Whether a line goes on with the one before it.
#[must_use]
pub fn is_continuation(line: &[u8]) -> bool {
    matches!(line.first(), None | Some(b' ' | b'\t'))
}

/// Takes a line apart, without its line break.
#[must_use]
pub fn parse(line: &[u8]) -> Line<'_> {
    let untouched = Line {
        level: None,
        time: None,
        message: line,
    };
    let (before, rest) = match take_time(line) {
        Some((time, rest)) => (Some(time), rest),
        None => (None, line),
    };
    let Some((level, rest)) = take_level(rest) else {
        // A number that leads a line without a level may count anything.
        return match before {
            Some((time, false)) => Line {
                time: Some(time),
                message: rest,
                ..untouched
            },
            _ => untouched,
        };
    };
    let (time, message) = match (before, take_time(rest)) {
        (Some((time, _)), _) => (Some(time), rest),
        (None, Some(((time, _), behind))) => (Some(time), behind),
        (None, None) => (None, rest),
    };
    Line {
        level: Some(level),
        time,
        message,
    }
}

/// Takes a level off the front: a word of the list with or without `[ ]` around it and a colon behind,
/// then a blank or the end. Returns what is behind all of that.
fn take_level(text: &[u8]) -> Option<(Level, &[u8])> {
    let (is_bracketed, inner) = match text {
        [b'[', inner @ ..] => (true, inner.trim_ascii_start()),
        _ => (false, text),
    };
    let end = inner.iter().position(|byte| !byte.is_ascii_alphabetic());
    let (word, mut rest) = inner.split_at(end.unwrap_or(inner.len()));
    let level = Level::parse(word)?;
    if is_bracketed {
        rest = rest.trim_ascii_start().strip_prefix(b"]")?;
    }
    match rest {
        [] => Some((level, rest)),
        [b':', rest @ ..] => Some((level, trim(rest))),
        // What closes a bracket ends the word.
        _ if is_bracketed => Some((level, trim(rest))),
        [b' ' | b'\t', rest @ ..] => match trim(rest) {
            // `INFO : message`, as some formatters have it.
            [b':', b' ', rest @ ..] => Some((level, trim(rest))),
            rest => Some((level, rest)),
        },
        _ => None,
    }
}

/// Takes a time off the front, with or without `[ ]` around it, then a blank or the end. Returns it,
/// whether it was a bare number, and what is behind.
fn take_time(text: &[u8]) -> Option<((Time, bool), &[u8])> {
    let (is_bracketed, inner) = match text {
        [b'[', inner @ ..] => (true, inner),
        _ => (false, text),
    };
    // The most that a line without any time costs.
    inner.first().filter(|byte| byte.is_ascii_digit())?;
    let ((time, mut rest), is_number) = match Time::take(inner) {
        Some(taken) => (taken, false),
        None => (Time::take_unix(inner)?, true),
    };
    if is_bracketed {
        rest = rest.strip_prefix(b"]")?;
    }
    match rest {
        [] | [b' ' | b'\t', ..] => Some(((time, is_number), trim(rest))),
        [b':', rest @ ..] if rest.first().is_none_or(u8::is_ascii_whitespace) => {
            Some(((time, is_number), trim(rest)))
        }
        _ if is_bracketed => Some(((time, is_number), trim(rest))),
        _ => None,
    }
}

fn trim(text: &[u8]) -> &[u8] {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = text.iter().position(|byte| !is_blank(byte));
    text.get(start.unwrap_or(text.len())..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(text: &str) -> (Option<Level>, Option<String>, &str) {
        let line = parse(text.as_bytes());
        let time = line.time.map(|time| time.to_string());
        (line.level, time, std::str::from_utf8(line.message).unwrap())
    }

    #[test]
    fn a33_every_level_in_any_case_with_brackets_and_colons() {
        for level in Level::ALL {
            for name in [level.name().to_owned(), level.name().to_lowercase(), {
                let (head, tail) = level.name().split_at(1);
                format!("{head}{}", tail.to_lowercase())
            }] {
                for form in [
                    "N m", "N: m", "N:m", "[N] m", "[N]: m", "[N]m", "[ N ] m", "N   m", "N\tm",
                    "N : m",
                ] {
                    let text = form.replace('N', &name);
                    assert_eq!(parsed(&text), (Some(level), None, "m"), "{text}");
                }
                for form in ["N", "[N]", "N:", "N "] {
                    let text = form.replace('N', &name);
                    assert_eq!(parsed(&text), (Some(level), None, ""), "{text}");
                }
            }
        }
    }

    #[test]
    fn a33_what_only_looks_like_a_level_stays() {
        for text in [
            "Information",
            "INFOS x",
            "errors: 3",
            "Error, x",
            "INFO-1 x",
            "[INFO x",
            "[INFO",
            "INFO] x",
            "<INFO> x",
            "foobar INFO x",
            "ERR x",
            "",
            ":",
            "[",
            "[]",
            "WARN_ING x",
            "ERROR=1",
        ] {
            assert_eq!(parsed(text), (None, None, text), "{text}");
        }
    }

    #[test]
    fn a33_a_time_before_or_behind_the_level() {
        let time = Some("2026-11-21T04:07:29.462Z".to_owned());
        for text in [
            "2026-11-21T04:07:29.462Z WARN m",
            "WARN 2026-11-21T04:07:29.462Z m",
            "2026-11-21 04:07:29.462 WARN m",
            "2026-11-21 04:07:29,462 [WARN] m",
            "[2026-11-21 04:07:29.462] [WARN]: m",
            "[WARN] [2026-11-21T05:07:29.462+01:00] m",
            "WARN: 1795234049.462 m",
            "1795234049462 WARN m",
            "[1795234049.462] WARN m",
            "2026-11-21T04:07:29.462Z: WARN: m",
        ] {
            assert_eq!(
                parsed(text),
                (Some(Level::Warn), time.clone(), "m"),
                "{text}"
            );
        }
        assert_eq!(parsed("2026-11-21T04:07:29.462Z m"), (None, time, "m"));
    }

    #[test]
    fn a33_what_only_looks_like_a_time_stays() {
        for text in [
            "1795234049 items",
            "2026-11-21",
            "2026-02-30 04:07:29 m",
            "12:00:00 m",
            "[1795234049 x",
        ] {
            assert_eq!(parsed(text), (None, None, text), "{text}");
        }
        for (text, message) in [
            ("INFO 42 items", "42 items"),
            ("INFO 1795234049x", "1795234049x"),
            (
                "INFO 2026-11-21T04:07:29.462Zulu",
                "2026-11-21T04:07:29.462Zulu",
            ),
        ] {
            assert_eq!(parsed(text), (Some(Level::Info), None, message), "{text}");
        }
        let second = "2026-11-21T04:07:29Z INFO 2025-11-21T04:07:29Z";
        assert_eq!(parsed(second).2, "2025-11-21T04:07:29Z");
    }

    #[test]
    fn a33_a_leading_blank_goes_on() {
        for text in ["", " at x", "\tat x"] {
            assert!(is_continuation(text.as_bytes()), "{text:?}");
        }
        assert!(!is_continuation(b"INFO x"));
    }

    proptest! {
        #[test]
        fn the_message_is_always_the_end_of_the_line(line in proptest::collection::vec(any::<u8>(), 0..80)) {
            prop_assert!(line.ends_with(parse(&line).message));
        }

        #[test]
        fn what_looks_like_a_line_never_fails(line in "[\\[]?(INFO|warn|2026-11-21|1795234049|T| |:|04:07:29|Z|\\]|x){0,8}") {
            let taken = parse(line.as_bytes());
            prop_assert!(line.as_bytes().ends_with(taken.message));
        }
    }
}
