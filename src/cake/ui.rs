//! What cake says: while it works on stderr, as a spinner on a terminal, plain lines elsewhere, a JSON
//! object a line where a program reads; results on stdout.

use std::borrow::Cow;
use std::cell::RefCell;
use std::io::{self, IsTerminal as _, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use crate::contract::problem::Problem;

/// For whom it is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Somebody at a terminal: what is under way spins.
    Terminal,
    /// A log: a line for each thing that is done.
    Plain,
    /// A program: `{"event":"step","verb":"Fetching","what":"mysql"}`.
    Json,
    /// Nobody: warnings and problems only.
    Quiet,
}

/// How much is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// What failed.
    Error,
    /// What is odd, too.
    Warning,
    /// What is done, too.
    Info,
    /// Which places were searched and which programs run, too.
    Debug,
}

/// A text of others as it may be shown on a terminal: what would steer that, or turn the order of letters
/// around, is shown as `\u{…}`. Line breaks and tabs stay.
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    let steers = |c: char| match c {
        '\n' | '\t' => false,
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
        c => c.is_control(),
    };
    if !text.chars().any(steers) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match steers(c) {
            true => shown.extend(c.escape_unicode()),
            false => shown.push(c),
        }
    }
    Cow::Owned(shown)
}

/// The voice of one run of cake.
pub struct Ui {
    style: Style,
    level: Level,
    err: RefCell<Box<dyn Write>>,
    out: RefCell<Box<dyn Write>>,
    /// Why a result could not be written.
    lost: RefCell<Option<io::Error>>,
}

impl Ui {
    /// `style` is what was asked for, else what suits stderr.
    #[must_use]
    pub fn new(style: Option<Style>) -> Self {
        let fitting = || match io::stderr().is_terminal() {
            true => Style::Terminal,
            false => Style::Plain,
        };
        Self {
            style: style.unwrap_or_else(fitting),
            level: Level::Info,
            err: RefCell::new(Box::new(io::stderr())),
            out: RefCell::new(Box::new(io::stdout())),
            lost: RefCell::new(None),
        }
    }

    /// The same, saying more or less.
    #[must_use]
    pub fn at(self, level: Level) -> Self {
        Self { level, ..self }
    }

    /// Whether nobody wants to hear what is done.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.style == Style::Quiet || self.level < Level::Info
    }

    /// Something that takes a while: `verb` is a participle such as `Fetching`. It lasts until the
    /// step is dropped or finished.
    #[must_use]
    pub fn step(&self, verb: &str, what: &str) -> Step {
        match self.style {
            Style::Terminal if self.level >= Level::Info => {
                let bar = ProgressBar::new_spinner().with_style(
                    // The template is ours, and the tests render it.
                    ProgressStyle::with_template("{prefix:>12.cyan.bold} {wide_msg} {spinner}")
                        .unwrap_or_else(|_| ProgressStyle::default_spinner()),
                );
                bar.set_prefix(verb.to_owned());
                bar.set_message(printable(what).into_owned());
                bar.enable_steady_tick(Duration::from_millis(100));
                Step { bar: Some(bar) }
            }
            _ => {
                self.say("step", verb, what);
                Step { bar: None }
            }
        }
    }

    /// Something that is done: `verb` is a past participle such as `Wrote`.
    pub fn note(&self, verb: &str, what: &str) {
        self.say("note", verb, what);
    }

    /// Something that helps to find out why.
    pub fn detail(&self, verb: &str, what: &str) {
        if self.level >= Level::Debug {
            self.say("detail", verb, what);
        }
    }

    /// What was asked for, on stdout, byte for byte. Whether it got there is asked of [`Self::lost`].
    pub fn result(&self, text: impl AsRef<[u8]>) {
        let mut out = self.out.borrow_mut();
        match out.write_all(text.as_ref()).and_then(|()| out.flush()) {
            Ok(()) => {}
            // Whoever has closed the pipe has seen enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            Err(error) => *self.lost.borrow_mut() = Some(error),
        }
    }

    /// Why a result could not be written, if one could not.
    pub fn lost(&self) -> Option<io::Error> {
        self.lost.take()
    }

    /// Whether a program reads what is said.
    #[must_use]
    pub fn is_json(&self) -> bool {
        self.style == Style::Json
    }

    /// A line that another program has printed.
    pub(super) fn output(&self, line: &[u8]) {
        let line = String::from_utf8_lossy(line);
        let line = line.trim_end_matches('\r');
        match self.style {
            Style::Json => self.line(&json!({"event": "output", "line": line}).to_string()),
            _ => self.line(line),
        }
    }

    /// Something odd that stops nothing.
    pub fn warn(&self, problem: &Problem) {
        if self.level >= Level::Warning {
            self.problem("warning", problem);
        }
    }

    /// Something that stands in the way.
    pub fn error(&self, problem: &Problem) {
        self.problem("error", problem);
    }

    fn say(&self, event: &str, verb: &str, what: &str) {
        match self.style {
            _ if self.level < Level::Info => {}
            Style::Quiet => {}
            Style::Json => {
                self.line(&json!({"event": event, "verb": verb, "what": what}).to_string())
            }
            Style::Terminal | Style::Plain => self.line(&format!("{verb:>12} {what}")),
        }
    }

    fn problem(&self, kind: &str, problem: &Problem) {
        if self.style != Style::Json {
            return self.line(&format!("cake: {kind}: {problem}"));
        }
        let (line, column) = problem.position.unzip();
        let object = json!({
            "event": kind,
            "file": problem.file.as_ref().map(|file| file.to_string_lossy()),
            "line": line,
            "column": column,
            "key": problem.key,
            "message": problem.message,
        });
        self.line(&object.to_string());
    }

    fn line(&self, text: &str) {
        // Whoever closed stderr does not want to hear.
        let _ = writeln!(self.err.borrow_mut(), "{}", printable(text));
    }
}

/// Something that is under way.
pub struct Step {
    bar: Option<ProgressBar>,
}

impl Step {
    /// What it is at now.
    pub fn update(&self, what: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(printable(what).into_owned());
        }
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_others_steers_a_terminal() {
        assert_eq!(
            printable("\u{1b}[2Jkey\r\u{202e}x\u{9b}"),
            "\\u{1b}[2Jkey\\u{d}\\u{202e}x\\u{9b}"
        );
        assert!(matches!(printable("a\n\tb é…"), Cow::Borrowed(_)));
    }
}
