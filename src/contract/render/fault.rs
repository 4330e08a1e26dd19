//! What is wrong with a template, told by file, line and expression, and never by a value: the
//! engine's own words are shown only where they are known to hold none.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::fmt;
use std::ops::Range;

use minijinja::{Error, ErrorKind};

use super::said::Said;
use super::template::Place;
use crate::contract::problem::Problem;
use crate::contract::suggest;

/// Characters of an expression that are shown.
const MAX_SHOWN: usize = 80;

/// The engine's words that speak of types only, by how they begin.
const HARMLESS: [&str; 5] = [
    "tried to use ",
    "cannot convert ",
    "value of type ",
    "cannot calculate length of value of type ",
    "cannot join value of type ",
];

/// What to do about what is undefined.
const REMEDY: &str =
    "check the name; where the data may lack it, ask `is defined` or give a `default`";

/// The text of a template, and where it is.
pub(super) struct Source {
    pub(super) place: Place,
    pub(super) text: String,
}

impl Source {
    /// A problem at a byte of the text.
    pub(super) fn problem(&self, at: usize, message: String) -> Problem {
        let before = self.text.get(..at).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |l| l.chars().count());
        self.placed(line, column + 1, message)
    }

    fn placed(&self, line: usize, column: usize, message: String) -> Problem {
        let before = self.place.within.as_ref().map_or(0, Said::lines_before);
        let position = Some((before + line, column));
        Problem::new(message).in_file(&self.place.file).at(position)
    }
}

/// Words of ours for a function that fails, which hold no value.
#[derive(Debug)]
pub(super) struct Told(pub(super) String);

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Told {}

/// An error of a function of ours: the words complete a sentence that begins with the expression.
pub(super) fn told(words: impl Into<String>) -> Error {
    Error::from(ErrorKind::InvalidOperation).with_source(Told(words.into()))
}

/// The problem that an error of the engine is.
pub(super) fn of(error: &Error, sources: &BTreeMap<String, Source>) -> Problem {
    // The innermost is the cause: those around it say which template includes it.
    let mut cause = error;
    while let Some(inner) = cause.source().and_then(|e| e.downcast_ref::<Error>()) {
        // Some are made without a place.
        if inner.line().is_none() && cause.line().is_some() {
            break;
        }
        cause = inner;
    }
    let source = cause.name().and_then(|name| sources.get(name));
    let Some(source) = source else {
        return Problem::new(words(cause, None));
    };
    let range = cause
        .range()
        .filter(|_| cause.kind() != ErrorKind::SyntaxError);
    let range = range.map(|range| whole(&source.text, range));
    let text = range.clone().and_then(|range| source.text.get(range));
    let message = match text.map(shown).filter(|text| !text.is_empty()) {
        Some(text) if cause.kind() == ErrorKind::UndefinedError && is_path(&text) => {
            format!("`{text}` is undefined; {REMEDY}")
        }
        Some(text) => format!("`{text}` {}", words(cause, Some(&source.text))),
        None => words(cause, Some(&source.text)),
    };
    match range {
        Some(range) => source.problem(range.start, message),
        None => source.placed(cause.line().unwrap_or(1), 1, message),
    }
}

/// The engine names the last part of `db.host.name` alone: the parts before it belong to it.
fn whole(text: &str, range: Range<usize>) -> Range<usize> {
    let is_part = text
        .get(range.clone())
        .is_some_and(|part| part.starts_with(['.', '[']));
    let before = text
        .get(..range.start)
        .filter(|_| is_part)
        .unwrap_or_default();
    let mut depth = 0_usize;
    let is_path = |c: char| {
        match c {
            ']' => depth += 1,
            '[' if depth > 0 => depth -= 1,
            _ => return depth > 0 || c.is_alphanumeric() || c == '_' || c == '.',
        }
        true
    };
    let start = before.trim_end_matches(is_path).len();
    match before {
        "" => range,
        _ => start..range.end,
    }
}

/// Whether an expression is nothing but the way to a value.
fn is_path(expression: &str) -> bool {
    let in_path = |c: char| c.is_alphanumeric() || "_.[]'\"-".contains(c);
    expression.chars().all(in_path)
}

/// An expression on one line, cut.
fn shown(expression: &str) -> String {
    let words: Vec<&str> = expression.split_whitespace().collect();
    let mut shown = words.join(" ");
    if let Some((end, _)) = shown.char_indices().nth(MAX_SHOWN) {
        shown.truncate(end);
        shown.push('…');
    }
    shown
}

fn words(error: &Error, template: Option<&str>) -> String {
    if let Some(told) = error.source().and_then(|e| e.downcast_ref::<Told>()) {
        return told.0.clone();
    }
    let detail = error.detail().unwrap_or_default();
    match error.kind() {
        // Made of the template's text alone.
        ErrorKind::SyntaxError | ErrorKind::BadEscape => format!("is no valid template: {detail}"),
        ErrorKind::UndefinedError => format!("uses what is undefined; {REMEDY}"),
        kind @ (ErrorKind::UnknownFilter | ErrorKind::UnknownFunction | ErrorKind::UnknownTest) => {
            // A name may come from the data, too: `list|map(data.name)`.
            let mut names = detail.split(' ').filter(|word| !matches!(*word, "filter" | "test"));
            let name = names.next().filter(|name| template.is_some_and(|t| t.contains(name)));
            let known = super::functions::NAMES;
            match name {
                Some(name) => format!("uses an {kind}: `{name}`{}", suggest::hint(name, known)),
                None => format!("uses an {kind}"),
            }
        }
        ErrorKind::TemplateNotFound | ErrorKind::BadInclude => "names a template that is not there; expected a file beside the rules file, its name as plain text".to_owned(),
        ErrorKind::TooManyArguments => "gives too many arguments, or one that is unknown".to_owned(),
        ErrorKind::MissingArgument => "lacks an argument".to_owned(),
        ErrorKind::InvalidOperation if HARMLESS.iter().any(|start| detail.starts_with(start)) => {
            format!("fails: {detail}")
        }
        ErrorKind::InvalidOperation => "fails: its values are not of the kind that this takes".to_owned(),
        ErrorKind::OutOfFuel => "takes too many steps; expected a template that comes to an end: look for loops within loops over large ranges".to_owned(),
        ErrorKind::WriteFailure => format!(
            "makes a text that is larger than {} MB; expected a template that comes to an end",
            super::made::MAX_BYTES >> 20
        ),
        kind => format!("fails: {kind}"),
    }
}
