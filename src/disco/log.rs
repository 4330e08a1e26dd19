//! The subscriber behind `tracing`: one line on stderr per event, as text or JSON.
//!
//! Each event is formatted into a buffer on the stack and written with one `write`, so that lines of
//! init, agent and command never mix within a line, and so that PID 1 allocates nothing to log.
//! stdout belongs to the command; nothing here ever writes there.

use std::fmt::{self, Write as _};
use std::io::IsTerminal as _;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, AtomicU32, Ordering};

use tracing::field::{Field, Visit};
use tracing::{Metadata, Subscriber, span};

use crate::contract::time::Time;
use crate::contract::{exit, json, suggest};

/// Longest line; what is longer is cut and ends in `…`.
const MAX_LINE: usize = 8192;

/// Verbosity, from nothing but broken promises to everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// Broken promises.
    Error = 1,
    /// Degraded, retrying.
    Warn = 2,
    /// A few lines per life of a container.
    Info = 3,
    /// Decisions, and why something waits.
    Debug = 4,
    /// Everything.
    Trace = 5,
}

impl Level {
    /// Parses the names and numbers of the seed (Python's `logging`), in any case, and `TRACE`.
    ///
    /// # Errors
    /// What was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        const NAMES: &[&str] = &["trace", "debug", "info", "warning", "error", "critical"];
        if let Ok(number) = text.parse::<u32>() {
            return Ok(match number {
                0..10 => Self::Trace,
                10..20 => Self::Debug,
                20..30 => Self::Info,
                30..40 => Self::Warn,
                _ => Self::Error,
            });
        }
        match text.to_ascii_lowercase().as_str() {
            "trace" | "notset" => Ok(Self::Trace),
            "debug" => Ok(Self::Debug),
            "info" => Ok(Self::Info),
            "warning" | "warn" => Ok(Self::Warn),
            "error" | "critical" | "fatal" => Ok(Self::Error),
            other => Err(format!(
                "unknown log level `{text}`{}; expected one of {} or a number such as 10",
                suggest::hint(other, NAMES.iter().copied()),
                NAMES.join(", ")
            )),
        }
    }

    fn of(level: &tracing::Level) -> Self {
        match *level {
            tracing::Level::ERROR => Self::Error,
            tracing::Level::WARN => Self::Warn,
            tracing::Level::INFO => Self::Info,
            tracing::Level::DEBUG => Self::Debug,
            tracing::Level::TRACE => Self::Trace,
        }
    }
}

/// The form of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `TIME LEVEL disco: message key=value`, coloured on a terminal.
    Text,
    /// One object per line: `time`, `level`, `logger`, which tells it from lines of the container, `message`,
    /// then the fields.
    Json,
}

static LEVEL: AtomicU8 = AtomicU8::new(Level::Info as u8);
static JSON: AtomicBool = AtomicBool::new(false);
/// Whether another program's language is spoken, beside which disco itself only warns.
static FOREIGN: AtomicBool = AtomicBool::new(false);
/// Asked of the terminal once.
static COLOUR: OnceLock<bool> = OnceLock::new();

/// Whether a line that cannot be written at once is dropped, and how many were.
static NEVER_WAIT: AtomicBool = AtomicBool::new(false);
static DROPPED: AtomicU32 = AtomicU32::new(0);

/// The descriptor that lines go to in place of stderr, if that is a terminal; 0 if not.
static TERMINAL: AtomicI32 = AtomicI32::new(0);

/// From here on no line waits for a reader: init must not be held up by a full pipe. What is dropped
/// is counted, and told with the next line that gets through. Where stderr is a terminal the caller
/// gets it as opened once more, since only so it can be written to without waiting, and keeps it.
#[must_use]
pub fn never_wait() -> Option<OwnedFd> {
    // Asks the environment, which takes memory.
    is_coloured();
    NEVER_WAIT.store(true, Ordering::Relaxed);
    let terminal = crate::sys::reopen_terminal(stderr())?;
    TERMINAL.store(terminal.as_raw_fd(), Ordering::Relaxed);
    Some(terminal)
}

/// Takes [`never_wait`] back, for a child that goes its own way.
pub fn may_wait() {
    TERMINAL.store(0, Ordering::Relaxed);
    NEVER_WAIT.store(false, Ordering::Relaxed);
}

/// Installs the subscriber; later calls change level and format.
pub fn install(level: Level, format: Format) {
    LEVEL.store(level as u8, Ordering::Relaxed);
    JSON.store(format == Format::Json, Ordering::Relaxed);
    // The second attempt to set it fails, and means that it is set.
    let _ = tracing::subscriber::set_global_default(Stderr);
}

/// Installs the subscriber for a name under which disco speaks by [`plain`]: `level` is for what is
/// said there, and of disco's own lines only warnings and errors remain.
pub fn install_foreign(level: Level) {
    FOREIGN.store(true, Ordering::Relaxed);
    install(level, Format::Text);
}

fn is_coloured() -> bool {
    *COLOUR.get_or_init(|| {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        !plain && !dumb && std::io::stderr().is_terminal()
    })
}

/// Whether events of this level are logged.
#[must_use]
pub fn enabled(level: Level) -> bool {
    level as u8 <= LEVEL.load(Ordering::Relaxed)
}

/// Writes a line as it is, in one write and without memory of its own, for the names under which disco
/// speaks another program's language.
pub fn plain(to: BorrowedFd<'_>, text: fmt::Arguments<'_>) {
    let mut line = Line::new();
    // Writing to a Line cannot fail: what does not fit is cut.
    let _ = line.write_fmt(text);
    line.finish(Format::Text);
    line.send(to);
}

struct Stderr;

impl Subscriber for Stderr {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // Libraries speak of connections and handshakes, at times with URLs in them.
        let level = Level::of(metadata.level());
        let is_wanted = level <= Level::Warn || !FOREIGN.load(Ordering::Relaxed);
        metadata.target().starts_with("layer_cake") && is_wanted && enabled(level)
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        // No spans are used; any identifier will do.
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        let mut line = Line::new();
        let level = Level::of(event.metadata().level());
        let format = if JSON.load(Ordering::Relaxed) {
            json(&mut line, level, |visit| event.record(visit));
            Format::Json
        } else {
            text(&mut line, level, |visit| event.record(visit));
            Format::Text
        };
        line.finish(format);
        line.send(stderr());
    }
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

fn text(line: &mut Line, level: Level, record: impl Fn(&mut dyn Visit)) {
    let (name, paint) = match level {
        Level::Error => ("ERROR", "\x1b[31m"),
        Level::Warn => ("WARN ", "\x1b[33m"),
        Level::Info => ("INFO ", "\x1b[32m"),
        Level::Debug => ("DEBUG", "\x1b[34m"),
        Level::Trace => ("TRACE", "\x1b[35m"),
    };
    let (paint, reset) = if is_coloured() {
        (paint, "\x1b[0m")
    } else {
        ("", "")
    };
    // Writing to a Line cannot fail: what does not fit is cut.
    let _ = write!(line, "{} {paint}{name}{reset} disco: ", Time::now());
    record(&mut TextFields {
        line,
        message: true,
    });
    record(&mut TextFields {
        line,
        message: false,
    });
}

fn json(line: &mut Line, level: Level, record: impl Fn(&mut dyn Visit)) {
    let name = match level {
        Level::Error => "error",
        Level::Warn => "warn",
        Level::Info => "info",
        Level::Debug => "debug",
        Level::Trace => "trace",
    };
    // Writing to a Line cannot fail: what does not fit is cut.
    let _ = write!(
        line,
        "{{\"time\":\"{}\",\"level\":\"{name}\",\"logger\":\"disco\"",
        Time::now()
    );
    record(&mut JsonFields { line });
}

/// Writes the message in a first pass, ` key=value` for the rest in a second.
struct TextFields<'a> {
    line: &'a mut Line,
    message: bool,
}

impl Visit for TextFields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let name = field.name();
        // Writing to a Line cannot fail: what does not fit is cut.
        let _ = match (name == "message", self.message) {
            (true, true) => write!(Plain(self.line), "{value:?}"),
            (false, false) => write!(Plain(self.line), " {name}={value:?}"),
            _ => Ok(()),
        };
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        // Quoted only where a blank would blur the end.
        if field.name() == "message" || value.contains([' ', '\n', '"']) {
            let plain = format_args!("{value}");
            let quoted: &dyn fmt::Debug = if field.name() == "message" {
                &plain
            } else {
                &value
            };
            self.record_debug(field, quoted);
        } else {
            self.record_debug(field, &format_args!("{value}"));
        }
    }
}

struct JsonFields<'a> {
    line: &'a mut Line,
}

impl JsonFields<'_> {
    /// Writes a field as a whole, or, if it does not fit, as if it had never been.
    fn field(&mut self, name: &str, value: fmt::Arguments<'_>) {
        let start = self.line.len;
        // Writing to a Line cannot fail: what does not fit is cut.
        let _ = write!(self.line, ",\"{name}\":{value}");
        if self.line.cut {
            self.line.len = start;
        }
    }
}

impl Visit for JsonFields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.field(field.name(), format_args!("\""));
        if self.line.cut {
            return;
        }
        // A text that does not fit is cut, and closed with the line.
        self.line.in_text = true;
        let _ = write!(Escaped(self.line), "{value:?}");
        if !self.line.cut {
            let _ = self.line.write_str("\"");
            self.line.in_text = self.line.cut;
        }
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.field(field.name(), format_args!("{value}"));
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.field(field.name(), format_args!("{value}"));
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.field(field.name(), format_args!("{value}"));
    }
}

/// Text without control characters, so that no data can forge a line: further lines are indented,
/// everything else is escaped.
struct Plain<'a>(&'a mut Line);

impl fmt::Write for Plain<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            match c {
                '\n' => self.0.unit("\n    "),
                c if c.is_control() => write!(self.0, "\\x{:02x}", u32::from(c))?,
                c => self.0.unit(c.encode_utf8(&mut [0; 4])),
            }
        }
        Ok(())
    }
}

/// Escapes as JSON asks for.
struct Escaped<'a>(&'a mut Line);

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            self.0.unit(json::escape(c, &mut [0; 6]));
        }
        Ok(())
    }
}

/// A line under construction, on the stack.
struct Line {
    bytes: [u8; MAX_LINE],
    len: usize,
    cut: bool,
    /// Whether a JSON string is open.
    in_text: bool,
}

/// Room for what closes a line: the ellipsis, a quote, a brace, the newline.
const RESERVE: usize = 8;

impl Line {
    fn new() -> Self {
        Self {
            bytes: [0; MAX_LINE],
            len: 0,
            cut: false,
            in_text: false,
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        if let Some(free) = self.bytes.get_mut(self.len..self.len + bytes.len()) {
            free.copy_from_slice(bytes);
            self.len += bytes.len();
        }
    }

    fn finish(&mut self, format: Format) {
        match (format, self.cut && self.in_text) {
            (Format::Text, _) => self.push(if self.cut { "…\n".as_bytes() } else { b"\n" }),
            (Format::Json, false) => self.push(b"}\n"),
            (Format::Json, true) => self.push("…\"}\n".as_bytes()),
        }
    }

    /// Adds something that must not be cut in two.
    fn unit(&mut self, text: &str) {
        if self.len + text.len() > MAX_LINE - RESERVE {
            self.cut = true;
        } else if !self.cut {
            self.push(text.as_bytes());
        }
    }

    fn send(&self, to: BorrowedFd<'_>) {
        let line = self.bytes.get(..self.len).unwrap_or_default();
        if !NEVER_WAIT.load(Ordering::Relaxed) {
            write_all(to, line);
            return;
        }
        let dropped = DROPPED.load(Ordering::Relaxed);
        let mut notice = Line::new();
        if dropped > 0 {
            // Writing to a Line cannot fail: what does not fit is cut.
            let _ = if JSON.load(Ordering::Relaxed) {
                writeln!(
                    notice,
                    "{{\"level\":\"warn\",\"logger\":\"disco\",\"message\":\"{dropped} lines of the log were lost: nobody read them\"}}"
                )
            } else {
                writeln!(
                    notice,
                    "disco: {dropped} lines of the log were lost: nobody read them"
                )
            };
        }
        let notice = notice.bytes.get(..notice.len).unwrap_or_default();
        let terminal = TERMINAL.load(Ordering::Relaxed);
        let to = match to.as_raw_fd() {
            2 if terminal > 0 => terminal,
            number => number,
        };
        let told = notice.is_empty() || crate::sys::write_now(to, notice).is_ok();
        let untold = if told { 0 } else { dropped };
        // A line of which a part got through is not told again.
        let lost = !told || crate::sys::write_now(to, line).is_err();
        DROPPED.store(untold.saturating_add(lost.into()), Ordering::Relaxed);
    }
}

fn write_all(to: BorrowedFd<'_>, mut rest: &[u8]) {
    while !rest.is_empty() {
        match nix::unistd::write(to, rest) {
            Ok(written) => rest = rest.get(written..).unwrap_or_default(),
            Err(nix::errno::Errno::EINTR) => {}
            // Nobody listens: there is no better place to say so.
            Err(_) => return,
        }
    }
}

impl fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.cut {
            return Ok(());
        }
        let room = MAX_LINE - RESERVE - self.len.min(MAX_LINE - RESERVE);
        let mut end = text.len().min(room);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        self.cut = end < text.len();
        self.push(text.as_bytes().get(..end).unwrap_or_default());
        Ok(())
    }
}

fn stderr() -> BorrowedFd<'static> {
    crate::sys::stderr()
}

/// Words as the original printed lists, which people grep for: `['echo', 'DONE']`.
pub fn list(words: impl IntoIterator<Item = impl fmt::Display>) -> String {
    let quoted: Vec<String> = words.into_iter().map(|word| format!("'{word}'")).collect();
    format!("[{}]", quoted.join(", "))
}

/// Exit code of a process of disco that panicked; see [`install_panic_hook`].
static PANIC_CODE: AtomicU8 = AtomicU8::new(exit::FAILED);

/// A panic is a defect, of which the container must learn more than a status: says where, and ends
/// the process at once, in whatever thread it happened, with `code`.
pub fn install_panic_hook(code: u8) {
    PANIC_CODE.store(code, Ordering::Relaxed);
    std::panic::set_hook(Box::new(|info| {
        let place = info
            .location()
            .map_or_else(String::new, ToString::to_string);
        tracing::error!("internal error at {place}; please report it");
        crate::sys::exit_now(PANIC_CODE.load(Ordering::Relaxed));
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c2_names_and_numbers_of_the_seed_in_any_case() {
        for (text, level) in [
            ("DEBUG", Level::Debug),
            ("debug", Level::Debug),
            ("10", Level::Debug),
            ("Warning", Level::Warn),
            ("WARN", Level::Warn),
            ("CRITICAL", Level::Error),
            ("50", Level::Error),
            ("20", Level::Info),
            ("0", Level::Trace),
        ] {
            assert_eq!(Level::parse(text), Ok(level), "{text}");
        }
        assert!(
            Level::parse("DEBGU")
                .unwrap_err()
                .contains("did you mean `debug`?")
        );
    }

    #[test]
    fn long_lines_are_cut_at_a_character_and_closed() {
        for text in [
            "é".repeat(MAX_LINE),
            "\"".repeat(MAX_LINE),
            "\u{1}x".repeat(MAX_LINE),
        ] {
            for skip in 0..8 {
                let mut line = Line::new();
                let _ = write!(line, "{{\"message\":\"{}", "x".repeat(skip));
                line.in_text = true;
                let _ = write!(Escaped(&mut line), "{text}");
                line.finish(Format::Json);
                let shown = std::str::from_utf8(&line.bytes[..line.len]).unwrap();
                serde_json::from_str::<serde_json::Value>(shown).unwrap();
            }
        }
        let mut line = Line::new();
        let _ = write!(Plain(&mut line), "{}", "é".repeat(MAX_LINE));
        line.finish(Format::Text);
        assert!(
            std::str::from_utf8(&line.bytes[..line.len])
                .unwrap()
                .ends_with("é…\n")
        );
    }

    #[test]
    fn no_data_forges_a_line() {
        let mut line = Line::new();
        let _ = write!(Plain(&mut line), "key `x\n2026 ERROR forged\u{1b}[2J`");
        let shown = std::str::from_utf8(&line.bytes[..line.len]).unwrap();
        assert_eq!(shown, "key `x\n    2026 ERROR forged\\x1b[2J`");
    }

    #[test]
    fn json_escapes_quotes_and_control_characters() {
        let mut line = Line::new();
        let _ = write!(Escaped(&mut line), "a\"\\\n\t\u{1b}é");
        assert_eq!(
            &line.bytes[..line.len],
            "a\\\"\\\\\\n\\u0009\\u001bé".as_bytes()
        );
    }
}
