//! The block that cake keeps in a Dockerfile, between two comment lines: how it is found, written and
//! taken out again. It does not know what the lines in it mean.

use std::ops::Range;
use std::path::Path;

use ring::digest;

use super::parse::{self, Comment, Dockerfile, content, placed};
use crate::contract::hash::hex;
use crate::contract::problem::Problem;

const BEGIN: &str = "# >>> cake";
const END: &str = "# <<< cake";
/// Digits of the digest in the first line.
const DIGITS: usize = 12;

/// The line ends of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Eol {
    Lf,
    CrLf,
}

impl Eol {
    pub(super) fn bytes(self) -> &'static [u8] {
        match self {
            Self::Lf => b"\n",
            Self::CrLf => b"\r\n",
        }
    }

    /// How a line ends, if it does.
    pub(super) fn of(line: &[u8]) -> Option<Self> {
        match line {
            [.., b'\r', b'\n'] => Some(Self::CrLf),
            [.., b'\n'] => Some(Self::Lf),
            _ => None,
        }
    }
}

/// A block in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Block {
    /// What goes when the block goes. At the end of a file that had no last line end, the one before
    /// the block is part of it.
    pub(super) span: Range<usize>,
    /// The line of its beginning, from 1.
    pub(super) line: usize,
    /// It is not as it was written.
    pub(super) is_edited: bool,
}

/// A file without its blocks.
pub(super) struct Bare {
    /// What is outside of the blocks; places and lines are those of the whole file.
    pub(super) dockerfile: Dockerfile,
    /// The blocks, in order.
    pub(super) blocks: Vec<Block>,
}

/// Finds the blocks, and what stands outside of them.
///
/// # Errors
/// What no builder would take, and a block of which one end is missing.
pub(super) fn find(file: &Path, bytes: &[u8]) -> Result<Bare, Vec<Problem>> {
    let mut dockerfile = parse::scan(file, bytes)?;
    let mut blocks: Vec<Block> = Vec::new();
    let mut problems = Vec::new();
    let mut open: Option<(&Comment, String)> = None;
    for comment in &dockerfile.comments {
        let line = bytes.get(comment.span.clone()).unwrap_or_default();
        match marker(line) {
            Some(Marker::Begin(digest)) => {
                if let Some((begin, _)) = open.replace((comment, digest)) {
                    problems.push(endless(file, begin));
                }
            }
            Some(Marker::End) => match open.take() {
                Some((begin, digest)) => {
                    let body = begin.span.end..comment.span.start;
                    let body = bytes.get(body).unwrap_or_default();
                    blocks.push(Block {
                        span: whole(bytes, begin, comment),
                        line: begin.line,
                        is_edited: digest != self::digest(body),
                    });
                }
                None => problems.push(placed(
                    file,
                    comment.line,
                    format!(
                        "`{END}` without its `{BEGIN} …` above, or an instruction above goes on into \
                         the block by its last character; mend that, or take all of the block out"
                    ),
                )),
            },
            None => {}
        }
    }
    if let Some((begin, _)) = open {
        problems.push(endless(file, begin));
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let is_outside = |span: &Range<usize>| {
        let is_in = |block: &Block| block.span.contains(&span.start);
        !blocks.iter().any(is_in)
    };
    dockerfile.instructions.retain(|i| is_outside(&i.span));
    dockerfile.comments.retain(|c| is_outside(&c.span));
    Ok(Bare { dockerfile, blocks })
}

fn endless(file: &Path, begin: &Comment) -> Problem {
    let message = format!(
        "`{BEGIN} …` without its `{END}` below; put that line back, or take all of the block out"
    );
    placed(file, begin.line, message)
}

fn whole(bytes: &[u8], begin: &Comment, end: &Comment) -> Range<usize> {
    let is_last = Eol::of(bytes.get(end.span.clone()).unwrap_or_default()).is_none();
    let first = bytes.get(begin.span.clone()).unwrap_or_default();
    let eol = Eol::of(first).map_or(0, |eol| eol.bytes().len());
    let before = begin.span.start.checked_sub(eol).filter(|before| {
        let gap = bytes.get(*before..begin.span.start);
        is_last && gap.is_some_and(|gap| Eol::of(first).is_some_and(|eol| gap == eol.bytes()))
    });
    before.unwrap_or(begin.span.start)..end.span.end
}

enum Marker {
    Begin(String),
    End,
}

fn marker(line: &[u8]) -> Option<Marker> {
    let line = content(line).trim_ascii();
    if line == END.as_bytes() {
        return Some(Marker::End);
    }
    let rest = std::str::from_utf8(line.strip_prefix(BEGIN.as_bytes())?).ok()?;
    let digest = rest.trim_start();
    // Prose that begins like this is prose.
    let is_digest = digest.len() == DIGITS && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
    (digest.is_empty() || is_digest).then(|| Marker::Begin(digest.to_owned()))
}

/// The digest of a block's lines, the same for every kind of line end.
fn digest(body: &[u8]) -> String {
    let mut hash = digest::Context::new(&digest::SHA256);
    for line in body.split_inclusive(|byte| *byte == b'\n') {
        hash.update(content(line));
        hash.update(b"\n");
    }
    let mut digits = hex(hash.finish().as_ref());
    digits.truncate(DIGITS);
    digits
}

/// The file without the blocks.
pub(super) fn cut(bytes: &[u8], blocks: &[Block]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    for block in blocks {
        out.extend_from_slice(bytes.get(at..block.span.start).unwrap_or_default());
        at = block.span.end;
    }
    out.extend_from_slice(bytes.get(at..).unwrap_or_default());
    out
}

/// Where a place of the whole file is once the blocks are out.
pub(super) fn moved(at: usize, blocks: &[Block]) -> usize {
    let gone = blocks.iter().map(|block| {
        let end = block.span.end.min(at);
        end.saturating_sub(block.span.start)
    });
    at - gone.sum::<usize>()
}

/// The file with a block of these lines at a place that is the beginning of a line, or the end.
pub(super) fn put(bytes: &[u8], at: usize, lines: &[String]) -> Vec<u8> {
    let (before, after) = bytes.split_at(at.min(bytes.len()));
    let last = before.split_inclusive(|byte| *byte == b'\n').next_back();
    let is_ended = last.is_none_or(|line| Eol::of(line).is_some());
    let first = bytes.split_inclusive(|byte| *byte == b'\n').next();
    let eol = last.and_then(Eol::of).or_else(|| first.and_then(Eol::of));
    let eol = eol.unwrap_or(Eol::Lf).bytes();
    let body: Vec<u8> = lines
        .iter()
        .flat_map(|line| [line.as_bytes(), eol].concat())
        .collect();
    let begin = format!("{BEGIN} {}", digest(&body));
    let mut out = before.to_vec();
    if !is_ended {
        out.extend_from_slice(eol);
    }
    out.extend_from_slice(begin.as_bytes());
    out.extend_from_slice(eol);
    out.extend_from_slice(&body);
    out.extend_from_slice(END.as_bytes());
    if is_ended {
        out.extend_from_slice(eol);
    }
    out.extend_from_slice(after);
    out
}
