//! Metrics 2.0 as people append it, line by line: blocks in braces, and carbon2 lines. At most one block
//! is kept. What a tag means is not known here, but for `value`, which is the sample.
//!
//! Nobody says who wrote a line, so a writer that died within a block leaves it to the next one: a `{`
//! at the start of a line, or a whole line with its sample, ends what was begun before.

use std::borrow::Cow;
use std::collections::btree_map::Entry;

use super::{Tags, show};

/// Longest line, and longest block.
pub const MAX_BYTES: usize = 64 << 10;
/// Most tags of a point, both kinds together.
pub const MAX_TAGS: usize = 64;
/// Longest key, in bytes.
pub const MAX_KEY: usize = 128;
/// Longest value, in bytes.
pub const MAX_VALUE: usize = 1024;

/// Between tags on a line.
const SEPARATORS: [char; 3] = [' ', '\t', ','];
const BLANKS: [char; 2] = [' ', '\t'];

/// What became complete.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    /// Tags, and most often a sample.
    Point(Point),
    /// What could not be read.
    Refused(Refusal),
}

/// A sample of a series, or the declaration of one.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// The intrinsic tags, which are the identity of the series.
    pub tags: Tags,
    /// What is only told about it.
    pub meta: Tags,
    /// The sample; a declaration has none.
    pub sample: Option<Sample>,
}

/// A number, and when it was one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// The number.
    pub value: f64,
    /// Unix time in seconds, where the writer says.
    pub time: Option<f64>,
}

/// What could not be read, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Which of all lines fed, from 1.
    pub line: u64,
    /// What is wrong, what was expected, what helps.
    pub reason: String,
}

/// Reads lines. It holds one block at most, whatever it is fed.
#[derive(Debug, Default)]
pub struct Parser {
    count: u64,
    open: Option<Block>,
}

/// A block that is not complete.
#[derive(Debug)]
struct Block {
    /// The line of its `{`.
    first: u64,
    /// Bytes of it so far.
    size: usize,
    place: Place,
    draft: Draft,
    /// Whether a refusal has been given for it; the rest of it is skipped.
    is_refused: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Within the braces of the intrinsic tags.
    Tags,
    /// Within the braces of `meta:`.
    Meta,
    /// Behind the first `}`.
    BehindTags,
    /// Behind the second.
    BehindMeta,
}

impl Parser {
    /// Takes one line without its newline; `each` gets what became complete.
    pub fn line(&mut self, line: &[u8], each: &mut dyn FnMut(Item)) {
        self.count = self.count.saturating_add(1);
        if line.len() > MAX_BYTES {
            self.too_long(line, each);
            return;
        }
        let text = String::from_utf8_lossy(line);
        let text = text.trim_end_matches(['\r', ' ', '\t']);
        let mut rest = text.trim_start_matches(BLANKS);
        if rest.is_empty() || rest.starts_with('#') {
            return;
        }
        let mut open = match self.open.take() {
            Some(block) => self.resumed(block, &mut rest, each),
            None => None,
        };
        loop {
            let Some(block) = open else {
                if let Some(inner) = rest.strip_prefix('{') {
                    open = Some(Block::new(self.count, rest.len()));
                    rest = inner;
                    continue;
                }
                if !rest.is_empty() {
                    each(self.plain(rest));
                }
                return;
            };
            open = match block.place {
                Place::Tags | Place::Meta => self.within(block, &mut rest, each),
                Place::BehindTags | Place::BehindMeta => self.behind(block, &mut rest, each),
            };
            if self.open.is_some() {
                return;
            }
        }
    }

    /// Nothing more follows for now: completes what is pending.
    pub fn end(&mut self, each: &mut dyn FnMut(Item)) {
        match self.open.take() {
            Some(block) if matches!(block.place, Place::Tags | Place::Meta) => {
                unfinished(&block, each);
            }
            Some(block) => done(block, each),
            None => {}
        }
    }

    /// Whether something is pending that [`end`](Self::end) would complete.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        self.open.is_some()
    }

    /// What a line finds that an earlier one left open; `None` if it is a beginning of its own.
    fn resumed(
        &self,
        mut block: Block,
        rest: &mut &str,
        each: &mut dyn FnMut(Item),
    ) -> Option<Block> {
        match block.place {
            Place::BehindTags | Place::BehindMeta => {
                if block.place == Place::BehindTags
                    && let Some(inner) = meta(rest)
                {
                    block.size += rest.len();
                    block.place = Place::Meta;
                    *rest = inner;
                    return Some(block);
                }
                done(block, each);
                None
            }
            Place::Tags | Place::Meta => {
                block.size += rest.len() + 1;
                if rest.starts_with('{') {
                    unfinished(&block, each);
                    return None;
                }
                let is_too_large = block.size > MAX_BYTES;
                if block.is_refused && (is_too_large || is_sampled(rest)) {
                    return None;
                }
                if is_too_large {
                    let reason = format!(
                        "the block from line {} on is longer than {} KiB; expected `}}` before that",
                        block.first,
                        MAX_BYTES >> 10
                    );
                    self.refuse(&mut block, reason, each);
                    // As much again is skipped, should its end be missing.
                    block.size = 0;
                }
                Some(block)
            }
        }
    }

    /// Reads tags up to the `}` or the end of the line.
    fn within(
        &mut self,
        mut block: Block,
        rest: &mut &str,
        each: &mut dyn FnMut(Item),
    ) -> Option<Block> {
        let line = *rest;
        while !block.is_refused {
            *rest = rest.trim_start_matches(SEPARATORS);
            if rest.is_empty() || rest.starts_with('}') {
                break;
            }
            let is_meta = block.place == Place::Meta;
            let added = tag(rest).and_then(|(key, value, after)| {
                block.draft.add(is_meta, key, value)?;
                Ok(after)
            });
            match added {
                Ok(after) => *rest = after,
                Err(_) if block.first < self.count && is_sampled(line) => {
                    unfinished(&block, each);
                    *rest = line;
                    return None;
                }
                Err(reason) => self.refuse(&mut block, reason, each),
            }
        }
        // Of a block that is refused, whatever there is.
        let Some(end) = rest.find('}') else {
            *rest = "";
            self.open = Some(block);
            return None;
        };
        *rest = rest.get(end + 1..).unwrap_or_default();
        block.place = match block.place {
            Place::Tags => Place::BehindTags,
            _ => Place::BehindMeta,
        };
        Some(block)
    }

    /// Reads what may follow a `}` on its line.
    fn behind(
        &mut self,
        mut block: Block,
        rest: &mut &str,
        each: &mut dyn FnMut(Item),
    ) -> Option<Block> {
        *rest = rest.trim_start_matches(SEPARATORS);
        let is_after_tags = block.place == Place::BehindTags;
        if rest.is_empty() && is_after_tags && block.draft.sample.is_none() {
            self.open = Some(block);
            return None;
        }
        if rest.is_empty() || rest.starts_with('{') {
            done(block, each);
            return None;
        }
        if let Some(inner) = meta(rest).filter(|_| is_after_tags && block.draft.sample.is_none()) {
            block.place = Place::Meta;
            *rest = inner;
            return Some(block);
        }
        if !block.is_refused {
            match sample(rest).and_then(|(sample, after)| {
                block.draft.sampled(sample)?;
                Ok(after)
            }) {
                Ok(after) => {
                    *rest = after;
                    return Some(block);
                }
                Err(reason) => self.refuse(&mut block, reason, each),
            }
        }
        // The rest is skipped with its `meta:`, up to the next block.
        let (before, after) = rest.split_at(rest.find('{').unwrap_or(rest.len()));
        let before = before.trim_end_matches(BLANKS).strip_suffix([':', '=']);
        *rest = after;
        if before.is_some_and(|text| text.trim_end_matches(BLANKS).ends_with("meta"))
            && let Some(inner) = after.strip_prefix('{')
        {
            block.place = Place::Meta;
            *rest = inner;
        }
        Some(block)
    }

    /// Reads a line that is no block.
    fn plain(&self, text: &str) -> Item {
        let point = if text.starts_with('}') {
            Err("`}` ends no block; expected `{` and tags before it".to_owned())
        } else if meta(text).is_some() {
            Err("`meta:` follows no block; expected it behind the `}` of the tags, before the sample"
                .to_owned())
        } else {
            carbon2(text).and_then(Draft::point)
        };
        match point {
            Ok(point) => Item::Point(point),
            Err(reason) => Item::Refused(Refusal {
                line: self.count,
                reason,
            }),
        }
    }

    fn too_long(&mut self, line: &[u8], each: &mut dyn FnMut(Item)) {
        let mut block = match self.open.take() {
            Some(block) if matches!(block.place, Place::Tags | Place::Meta) => Some(block),
            Some(block) => {
                done(block, each);
                None
            }
            None => None,
        };
        let is_begun = line.trim_ascii_start().starts_with(b"{");
        let mut refused = block
            .take()
            .unwrap_or_else(|| Block::new(self.count, line.len()));
        let is_within = is_begun || refused.first < self.count;
        let reason = format!(
            "the line is longer than {} KiB; expected one metric a line, or a block of short lines",
            MAX_BYTES >> 10
        );
        self.refuse(&mut refused, reason, each);
        refused.size = 0;
        let brace = line.iter().rev().find(|byte| matches!(byte, b'{' | b'}'));
        if is_within {
            if brace == Some(&b'}') {
                refused.place = Place::BehindTags;
            }
            self.open = Some(refused);
        }
    }

    /// Says why a block is refused, once.
    fn refuse(&self, block: &mut Block, reason: String, each: &mut dyn FnMut(Item)) {
        if !block.is_refused {
            let line = self.count;
            each(Item::Refused(Refusal { line, reason }));
        }
        block.is_refused = true;
        block.draft = Draft::default();
    }
}

impl Block {
    fn new(first: u64, size: usize) -> Self {
        Self {
            first,
            size,
            place: Place::Tags,
            draft: Draft::default(),
            is_refused: false,
        }
    }
}

fn done(block: Block, each: &mut dyn FnMut(Item)) {
    if block.is_refused {
        return;
    }
    let line = block.first;
    each(match block.draft.point() {
        Ok(point) => Item::Point(point),
        Err(reason) => Item::Refused(Refusal { line, reason }),
    });
}

fn unfinished(block: &Block, each: &mut dyn FnMut(Item)) {
    if !block.is_refused {
        let reason = "the block that begins here has no end; expected `}`: write a block at once, in no more than 4096 bytes";
        each(Item::Refused(Refusal {
            line: block.first,
            reason: reason.to_owned(),
        }));
    }
}

/// A point that is being read.
#[derive(Debug, Default)]
struct Draft {
    tags: Tags,
    meta: Tags,
    /// The tag `value`.
    value: Option<f64>,
    /// What follows the tags.
    sample: Option<Sample>,
}

impl Draft {
    fn add(&mut self, is_meta: bool, key: Cow<'_, str>, value: Cow<'_, str>) -> Result<(), String> {
        if key == "value" && !is_meta {
            if self.value.is_some() {
                return Err("`value` is there twice; expected one".to_owned());
            }
            self.value = Some(number(&value).ok_or_else(|| no_number(&value))?);
            return Ok(());
        }
        if self.tags.len() + self.meta.len() >= MAX_TAGS {
            return Err(format!(
                "has more than {MAX_TAGS} tags; expected those that tell the series apart"
            ));
        }
        let part = if is_meta {
            &mut self.meta
        } else {
            &mut self.tags
        };
        match part.entry(key.into_owned()) {
            Entry::Occupied(taken) => {
                let key = show(taken.key());
                Err(format!(
                    "the tag {key} is there twice; expected one of each key"
                ))
            }
            Entry::Vacant(free) => {
                free.insert(value.into_owned());
                Ok(())
            }
        }
    }

    fn sampled(&mut self, sample: Sample) -> Result<(), String> {
        if self.value.is_some() {
            return Err(
                "has both a tag `value` and a number behind the tags; expected one of them"
                    .to_owned(),
            );
        }
        self.sample = Some(sample);
        Ok(())
    }

    fn point(self) -> Result<Point, String> {
        if self.tags.is_empty() {
            return Err("has no tags; expected `what=…` and those that tell it apart".to_owned());
        }
        let tagged = self.value.map(|value| Sample { value, time: None });
        Ok(Point {
            tags: self.tags,
            meta: self.meta,
            sample: self.sample.or(tagged),
        })
    }
}

/// Whether this is a line of its own, with what and how much, and no part of a block.
fn is_sampled(text: &str) -> bool {
    let draft = carbon2(text).ok().filter(|draft| draft.sample.is_some());
    draft.is_some_and(|draft| draft.tags.contains_key("what"))
}

/// Tags, two blanks and what is told about them, and a sample.
fn carbon2(text: &str) -> Result<Draft, String> {
    let mut draft = Draft::default();
    let mut rest = text;
    let mut is_meta = false;
    loop {
        let next = rest.trim_start_matches(SEPARATORS);
        let gap = rest
            .get(..rest.len() - next.len())
            .unwrap_or_default()
            .as_bytes();
        is_meta |= gap.len() >= 2 && !gap.contains(&b',') && !draft.tags.is_empty();
        rest = next;
        if rest.is_empty() {
            return Ok(draft);
        }
        let token = token(rest);
        let is_tag = token.bytes().any(|byte| matches!(byte, b'=' | b':'));
        if !is_tag && !rest.starts_with(['"', '\'']) {
            if token.is_empty() {
                return Err("has a brace within a line; expected `{` to begin one".to_owned());
            }
            let (sample, after) = sample(rest)?;
            if !after.is_empty() {
                return Err(format!(
                    "{} follows the sample; expected the end of the line",
                    show(after)
                ));
            }
            draft.sampled(sample)?;
            return Ok(draft);
        }
        let (key, value, after) = tag(rest)?;
        // Blanks that only align it do not make the sample something that is told about it.
        draft.add(is_meta && key != "value", key, value)?;
        rest = after;
    }
}

/// A `meta:` with its `{`, and what follows that.
fn meta(text: &str) -> Option<&str> {
    let rest = text.strip_prefix("meta")?.trim_start_matches(BLANKS);
    let rest = rest.strip_prefix([':', '='])?;
    rest.trim_start_matches(BLANKS).strip_prefix('{')
}

type Tag<'a> = (Cow<'a, str>, Cow<'a, str>, &'a str);

/// A tag, and what follows it.
fn tag(text: &str) -> Result<Tag<'_>, String> {
    let (key, rest) = if text.starts_with(['"', '\'']) {
        quoted(text)?
    } else {
        let is_end = |c: char| matches!(c, '=' | ':' | ' ' | '\t' | ',' | '{' | '}');
        let (key, rest) = text.split_at(text.find(is_end).unwrap_or(text.len()));
        (Cow::Borrowed(key), rest)
    };
    let Some(rest) = rest.strip_prefix(['=', ':']) else {
        if key.is_empty() && rest.starts_with(['{', '}']) {
            return Err("has a brace within the tags; expected `}` before the next `{`".to_owned());
        }
        return Err(format!(
            "{} is no tag; expected `key=value` or `key: value`",
            show(&key)
        ));
    };
    if key.is_empty() {
        return Err(format!(
            "{} has no key; expected `key=value`",
            show(token(text))
        ));
    }
    if key.len() > MAX_KEY {
        return Err(format!(
            "the key {} is longer than {MAX_KEY} bytes",
            show(&key)
        ));
    }
    if key.contains(char::is_control) {
        return Err(format!(
            "the key {} has a control character; expected a word",
            show(&key)
        ));
    }
    let rest = rest.trim_start_matches(BLANKS);
    let is_quoted = rest.starts_with(['"', '\'']);
    let (value, rest) = if is_quoted {
        quoted(rest)?
    } else {
        let value = token(rest);
        (
            Cow::Borrowed(value),
            rest.get(value.len()..).unwrap_or_default(),
        )
    };
    if value.is_empty() {
        return Err(format!(
            "{} has no value; expected one, or no such tag",
            show(&key)
        ));
    }
    if value.len() > MAX_VALUE {
        return Err(format!(
            "the value of {} is longer than {MAX_VALUE} bytes; expected a name, not a text",
            show(&key)
        ));
    }
    if value.contains(|c: char| c.is_control() && !(is_quoted && c == '\n')) {
        return Err(format!(
            "the value of {} has a control character; expected text, a newline as `\\n` in quotes",
            show(&key)
        ));
    }
    if is_quoted && !(rest.is_empty() || rest.starts_with([' ', '\t', ',', '}'])) {
        return Err(format!(
            "{} follows the quotes of {}; expected a blank or a comma",
            show(token(rest)),
            show(&key)
        ));
    }
    Ok((key, value, rest))
}

/// A string in quotes, and what follows it.
fn quoted(text: &str) -> Result<(Cow<'_, str>, &str), String> {
    let mut chars = text.char_indices();
    let quote = chars.next().map_or('"', |(_, quote)| quote);
    let mut value = String::new();
    while let Some((at, c)) = chars.next() {
        if c == quote {
            let rest = text.get(at + 1..).unwrap_or_default();
            return Ok((Cow::Owned(value), rest));
        }
        value.push(match c {
            '\\' => match chars.next() {
                Some((_, 'n')) => '\n',
                Some((_, c @ ('"' | '\'' | '\\'))) => c,
                Some((_, c)) => {
                    return Err(format!(
                        "{} is no escape; expected `\\\\`, `\\n` or a quote behind the backslash",
                        show(&format!("\\{c}"))
                    ));
                }
                None => break,
            },
            c => c,
        });
    }
    Err(format!(
        "{} has no closing quote on its line; expected one, and a newline as `\\n`",
        show(text)
    ))
}

/// The run of characters up to a separator or a brace.
fn token(text: &str) -> &str {
    let end = text
        .bytes()
        .position(|byte| matches!(byte, b' ' | b'\t' | b',' | b'{' | b'}'));
    text.get(..end.unwrap_or(text.len())).unwrap_or_default()
}

/// A number and perhaps a time, and what follows them.
fn sample(text: &str) -> Result<(Sample, &str), String> {
    let (first, rest) = text.split_at(token(text).len());
    let value = number(first).ok_or_else(|| no_number(first))?;
    if let Some(behind) = rest.strip_prefix(',')
        && behind.starts_with(|c: char| !SEPARATORS.contains(&c) && c != '{')
    {
        // Half the world writes 0,5, and would get 0.
        let whole = text.split([' ', '\t']).next().unwrap_or(text);
        return Err(format!(
            "{} has a comma; expected a point, such as `0.5`",
            show(whole)
        ));
    }
    let rest = rest.trim_start_matches(SEPARATORS);
    if rest.is_empty() || rest.starts_with('{') {
        return Ok((Sample { value, time: None }, rest));
    }
    let (second, rest) = rest.split_at(token(rest).len());
    let time = number(second).and_then(time).ok_or_else(|| {
        format!(
            "{} is no time; expected seconds since 1970, such as `1391000000`",
            show(second)
        )
    })?;
    let rest = rest.trim_start_matches(SEPARATORS);
    if !rest.is_empty() && !rest.starts_with('{') {
        return Err(format!(
            "{} follows the sample; expected the end of the line",
            show(rest)
        ));
    }
    let time = Some(time);
    Ok((Sample { value, time }, rest))
}

/// Seconds since 1970; thirteen digits are milliseconds.
fn time(number: f64) -> Option<f64> {
    let seconds = if (1e12..1e13).contains(&number) {
        number / 1000.0
    } else {
        number
    };
    (seconds > 0.0 && seconds < 1e11).then_some(seconds)
}

fn number(text: &str) -> Option<f64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return text.parse().ok().filter(|number: &f64| number.is_finite());
    }
    let is_word = digits.eq_ignore_ascii_case("inf") || text.eq_ignore_ascii_case("nan");
    is_word.then(|| text.parse().ok()).flatten()
}

fn no_number(text: &str) -> String {
    format!(
        "{} is neither a tag nor a number; expected `key=value`, or `48`, `0.5`, `1e3`, `NaN`, `+Inf`",
        show(text)
    )
}

#[cfg(test)]
mod tests;
