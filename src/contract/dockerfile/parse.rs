//! From bytes to directives, instructions and stages, each with its place in the bytes.
//!
//! What builders accept is accepted, BuildKit's rules counting where they differ from the classic
//! builder's. It expands no variable and knows of no image.

use std::ops::Range;
use std::path::Path;

use super::shell::{Shell, Variable};
use super::stages::Stage;
use super::words::{self, Form};
use crate::contract::problem::Problem;
use crate::contract::suggest;

/// What begins an instruction.
const KEYWORDS: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];
const BOM: &[u8] = b"\xef\xbb\xbf";

/// A Dockerfile, taken apart. The bytes stay with the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dockerfile {
    /// What takes the meaning of the next character, and of the end of a line: `\` or `` ` ``.
    pub escape: char,
    /// `# name=value` at the very top.
    pub directives: Vec<Directive>,
    /// All of them, in order.
    pub instructions: Vec<Instruction>,
    /// Lines that are comments and in no instruction.
    pub comments: Vec<Comment>,
    /// In order; never empty.
    pub stages: Vec<Stage>,
    /// What is odd.
    pub warnings: Vec<Problem>,
}

/// A parser directive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directive {
    /// `syntax`, `escape` or `check`.
    pub name: &'static str,
    /// As written.
    pub value: String,
    /// From 1.
    pub line: usize,
}

/// A comment line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comment {
    /// Its bytes, line end included.
    pub span: Range<usize>,
    /// From 1.
    pub line: usize,
}

/// An instruction with all its lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instruction {
    /// In capitals, whatever the file says.
    pub keyword: String,
    /// `--name=value` in front of the argument, quotes taken off.
    pub flags: Vec<String>,
    /// What follows, continuations joined; bytes that are no UTF-8 are replaced, as builders do.
    pub args: String,
    /// The first line, from 1.
    pub line: usize,
    /// Its bytes: continuation lines, heredocs and the line end included.
    pub span: Range<usize>,
    /// Whether the file ends where a continuation line was to come.
    pub is_open: bool,
}

/// Takes a Dockerfile apart.
///
/// # Errors
/// Everything that no builder would take, with its line.
pub fn parse(file: &Path, bytes: &[u8]) -> Result<Dockerfile, Vec<Problem>> {
    scan(file, bytes)?.staged(file)
}

/// The first half: directives, instructions and comments, without a thought for stages.
pub(super) fn scan(file: &Path, bytes: &[u8]) -> Result<Dockerfile, Vec<Problem>> {
    let mut parser = Parser {
        file,
        lines: lines(bytes),
        at: 0,
        dockerfile: Dockerfile {
            escape: '\\',
            directives: Vec::new(),
            instructions: Vec::new(),
            comments: Vec::new(),
            stages: Vec::new(),
            warnings: Vec::new(),
        },
        problems: Vec::new(),
    };
    parser.directives(bytes);
    parser.instructions(bytes);
    match parser.problems.is_empty() {
        true => Ok(parser.dockerfile),
        false => Err(parser.problems),
    }
}

/// The lines with their ends, without the mark of byte order.
fn lines(bytes: &[u8]) -> Vec<Range<usize>> {
    let mut start = if bytes.starts_with(BOM) { BOM.len() } else { 0 };
    let mut lines = Vec::new();
    while start < bytes.len() {
        let rest = bytes.get(start..).unwrap_or_default();
        let length = memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
        lines.push(start..start + length);
        start += length;
    }
    lines
}

/// A line without its end.
pub(super) fn content(line: &[u8]) -> &[u8] {
    let is_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
    let length = line.iter().rposition(|byte| !is_end(byte));
    line.get(..length.map_or(0, |at| at + 1))
        .unwrap_or_default()
}

/// Takes blanks of any script off the front.
fn trim_start(line: &[u8]) -> &[u8] {
    let mut rest = line;
    loop {
        let length = rest.len().min(4);
        let head = rest.get(..length).unwrap_or_default();
        let first = match head.utf8_chunks().next() {
            Some(chunk) => chunk.valid().chars().next(),
            None => None,
        };
        match first.filter(|char| char.is_whitespace()) {
            Some(char) => rest = rest.get(char.len_utf8()..).unwrap_or_default(),
            None => return rest,
        }
    }
}

/// Takes the escape character off the end of a line that goes on in the next; doubled it is none.
fn continued(line: &[u8], escape: char) -> Option<&[u8]> {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let end = line.iter().rposition(|byte| !is_blank(byte))?;
    let is_escape = |at: usize| line.get(at).is_some_and(|byte| char::from(*byte) == escape);
    let is_doubled = end > 0 && is_escape(end - 1);
    (is_escape(end) && !is_doubled).then(|| line.get(..end).unwrap_or_default())
}

struct Parser<'a> {
    file: &'a Path,
    lines: Vec<Range<usize>>,
    at: usize,
    dockerfile: Dockerfile,
    problems: Vec<Problem>,
}

impl Parser<'_> {
    fn problem(&self, line: usize, message: impl Into<String>) -> Problem {
        placed(self.file, line, message)
    }

    fn refuse(&mut self, line: usize, message: impl Into<String>) {
        let problem = self.problem(line, message);
        self.problems.push(problem);
    }

    /// Reads directives; the first line that is none ends them.
    fn directives(&mut self, bytes: &[u8]) {
        for (index, span) in self.lines.clone().into_iter().enumerate() {
            let line = content(bytes.get(span).unwrap_or_default());
            let Some((name, value)) = directive(&String::from_utf8_lossy(trim_start(line))) else {
                return;
            };
            let number = index + 1;
            if self.dockerfile.directives.iter().any(|d| d.name == name) {
                let message = format!("a second `{name}` directive; remove one");
                self.refuse(number, message);
            }
            match (name, value.as_str()) {
                ("escape", "\\" | "`") => {
                    self.dockerfile.escape = value.chars().next().unwrap_or('\\');
                }
                ("escape", _) => {
                    let message = format!("`escape={value}`: expected `\\` or a backtick");
                    self.refuse(number, message);
                }
                _ => {}
            }
            self.dockerfile.directives.push(Directive {
                name,
                value,
                line: number,
            });
        }
    }

    fn instructions(&mut self, bytes: &[u8]) {
        while let Some(span) = self.lines.get(self.at).cloned() {
            let number = self.at + 1;
            self.at += 1;
            let line = trim_start(content(bytes.get(span.clone()).unwrap_or_default()));
            if line.starts_with(b"#") {
                self.dockerfile
                    .comments
                    .push(Comment { span, line: number });
            } else if !line.is_empty() {
                self.instruction(bytes, number, span.start, line);
            }
        }
    }

    fn instruction(&mut self, bytes: &[u8], number: usize, start: usize, first: &[u8]) {
        let escape = self.dockerfile.escape;
        let mut text = Vec::new();
        let mut rest = continued(first, escape);
        text.extend_from_slice(rest.unwrap_or(first));
        let mut is_open = rest.is_some();
        while is_open {
            let Some(span) = self.lines.get(self.at).cloned() else {
                break;
            };
            self.at += 1;
            let line = content(bytes.get(span).unwrap_or_default());
            let trimmed = trim_start(line);
            if trimmed.is_empty() || trimmed.starts_with(b"#") {
                continue;
            }
            rest = continued(line, escape);
            text.extend_from_slice(rest.unwrap_or(line));
            is_open = rest.is_some();
        }
        let text = String::from_utf8_lossy(&text).into_owned();
        let (keyword, flags, args) = command(&text);
        if !KEYWORDS.contains(&keyword.as_str()) {
            let known = KEYWORDS.map(str::to_lowercase);
            let hint = suggest::hint(&keyword, known.iter().map(String::as_str));
            let message = format!("`{keyword}` is no instruction that we know{hint}");
            let warning = self.problem(number, message);
            self.dockerfile.warnings.push(warning);
        }
        if takes_heredocs(&keyword, &args) {
            self.heredocs(bytes, number, &text);
        }
        let end = self.at.checked_sub(1).and_then(|last| self.lines.get(last));
        self.dockerfile.instructions.push(Instruction {
            keyword,
            flags,
            args,
            line: number,
            span: start..end.map_or(start, |last| last.end),
            is_open,
        });
    }

    /// Skips the bodies of the heredocs that a line announces, first come first served. One that never ends
    /// and looks like arithmetic, `$((1<<2))`, is none to builders that know no heredocs.
    fn heredocs(&mut self, bytes: &[u8], number: usize, text: &str) {
        for heredoc in heredocs(text) {
            let mut at = self.at;
            let is_last = loop {
                let Some(span) = self.lines.get(at).cloned() else {
                    break false;
                };
                at += 1;
                let mut line = content(bytes.get(span).unwrap_or_default());
                while heredoc.is_indented && line.first() == Some(&b'\t') {
                    line = line.get(1..).unwrap_or_default();
                }
                if line == heredoc.word.as_bytes() {
                    break true;
                }
            };
            if !is_last {
                let word = heredoc.word;
                if word.starts_with(|first: char| first.is_alphabetic() || first == '_') {
                    let message = format!("the heredoc is never ended; expected a line `{word}`");
                    return self.refuse(number, message);
                }
                let message = format!(
                    "BuildKit takes `<<{word}` for a heredoc and refuses it; put a blank before `{word}`"
                );
                let warning = self.problem(number, message);
                self.dockerfile.warnings.push(warning);
                return;
            }
            self.at = at;
        }
    }
}

/// A problem at the beginning of a line.
pub(super) fn placed(file: &Path, line: usize, message: impl Into<String>) -> Problem {
    let problem = Problem::new(message).in_file(file);
    problem.at(Some((line, 1)))
}

fn directive(line: &str) -> Option<(&'static str, String)> {
    let text = line.strip_prefix('#')?.trim_start();
    let (name, value) = text.split_once('=')?;
    let known = ["syntax", "escape", "check"];
    let is_it = |known: &&str| known.eq_ignore_ascii_case(name.trim_end());
    let name = known.into_iter().find(is_it)?;
    let value = value.trim();
    (!value.is_empty()).then(|| (name, value.to_owned()))
}

/// Splits a joined line into keyword, flags and argument.
fn command(text: &str) -> (String, Vec<String>, String) {
    let text = text.trim();
    let blank = |char: char| matches!(char, '\t' | '\x0b' | '\x0c' | '\r' | ' ');
    let (keyword, rest) = text.split_once(blank).unwrap_or((text, ""));
    let (flags, args) = words::flags(rest);
    (keyword.to_uppercase(), flags, args.to_owned())
}

/// The instruction that an ONBUILD holds back.
pub(super) fn trigger(text: &str) -> Instruction {
    let (keyword, flags, args) = command(text);
    Instruction {
        keyword,
        flags,
        args,
        line: 0,
        span: 0..0,
        is_open: false,
    }
}

fn takes_heredocs(keyword: &str, args: &str) -> bool {
    match keyword {
        "RUN" | "COPY" | "ADD" => {
            args.contains("<<") && !matches!(words::form(args), Ok(Form::Exec(_)))
        }
        "ONBUILD" => {
            let inner = trigger(args);
            // ONBUILD of ONBUILD is refused by builders.
            inner.keyword != "ONBUILD" && takes_heredocs(&inner.keyword, &inner.args)
        }
        _ => false,
    }
}

struct Heredoc {
    word: String,
    is_indented: bool,
}

/// The heredocs that a joined line announces: words like `<<EOF`, `3<<-"EOF"`.
fn heredocs(text: &str) -> Vec<Heredoc> {
    let shell = |keeps: bool| Shell {
        // Here the backslash escapes whatever the directive says.
        escape: '\\',
        keeps_quotes: keeps,
        keeps_escapes: keeps,
        keeps_unset: true,
        variable: &|_| Variable::Unset,
    };
    let words = shell(true).words(text).unwrap_or_default();
    let heredoc = |word: String| {
        let marked = word.trim_start_matches(|char: char| char.is_ascii_digit());
        let rest = marked.strip_prefix("<<")?;
        let (is_indented, rest) = match rest.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        if rest.contains('<') {
            return None;
        }
        let mut words = shell(false).words(rest).ok()?.into_iter();
        let word = words.next()?;
        words
            .next()
            .is_none()
            .then_some(Heredoc { word, is_indented })
    };
    words.into_iter().filter_map(heredoc).collect()
}

#[cfg(test)]
mod tests;
