//! YAML, JSON and TOML text to one tree, with errors that name line and column.
//!
//! The only file that names the parsers. YAML is read by the 1.2 core schema: `yes`, `on` and `012`
//! stay strings (the original read 1.1, where they were `true` and 10), merge keys and anchors work.
//! Tags never build anything: `!name` is refused, `!!name` leaves the plain value. Dates stay strings.
//! Duplicate keys, several documents and numbers that JSON cannot hold are accepted with a note.

use std::cell::RefCell;
use std::fmt;
use std::path::Path;

use serde::de::{self, DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::problem::Problem;
use super::tree;

/// Nobody writes 16 MB of configuration; a device or a log file named by mistake is larger.
pub const MAX_BYTES: usize = 16 << 20;

/// The key under which the TOML crate hands over a date.
const TOML_DATE: &str = "$__toml_private_datetime";

/// The format of a data file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// YAML 1.2; also what is read where the name says nothing, since most JSON is YAML.
    Yaml,
    /// JSON, as RFC 8259 has it.
    Json,
    /// TOML 1.0.
    Toml,
}

impl Format {
    /// The format that a file's extension promises; `None` for any other extension.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()? {
            "yaml" | "yml" => Some(Self::Yaml),
            "json" => Some(Self::Json),
            "toml" => Some(Self::Toml),
            _ => None,
        }
    }
}

/// Whether an error may show the line it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Snippet {
    /// Rules, schemas: the line as it is.
    Shown,
    /// Data and settings may hold secrets: keys and punctuation only, every value as `***`.
    Masked,
}

/// A parsed text.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// The tree; `Null` for an empty text.
    pub value: Value,
    /// What was accepted but is worth a warning, without values.
    pub notes: Vec<String>,
}

/// Parses a text.
///
/// # Errors
/// A problem with position and snippet, not yet bound to a file.
pub fn parse(bytes: &[u8], format: Option<Format>, snippet: Snippet) -> Result<Document, Problem> {
    if bytes.len() > MAX_BYTES {
        return Err(Problem::new(format!(
            "is larger than {} MB",
            MAX_BYTES >> 20
        )));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let (before, _) = bytes.split_at(error.valid_up_to());
        let line = before.split(|b| *b == b'\n').count();
        let column = before.rsplit(|b| *b == b'\n').next().map_or(0, <[u8]>::len);
        Problem::new("is not UTF-8").at(Some((line, column + 1)))
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let notes = RefCell::default();
    let outcome = match format {
        Some(Format::Yaml) => from_yaml(text, &notes),
        Some(Format::Json) => from_json(text, &notes),
        Some(Format::Toml) => from_toml(text, &notes),
        None => match text.trim_start().as_bytes().first() {
            // JSON with tabs is no YAML; what fails as JSON may still be a YAML flow collection.
            Some(b'{' | b'[') => from_json(text, &notes).or_else(|json| {
                notes.borrow_mut().clear();
                from_yaml(text, &notes).map_err(|_| json)
            }),
            _ => from_yaml(text, &notes),
        },
    };
    match outcome {
        Ok(value) => Ok(Document {
            value,
            notes: notes.into_inner(),
        }),
        Err((message, position)) => Err(Problem {
            snippet: position.and_then(|at| excerpt(text, at, snippet)),
            ..Problem::new(message).at(position)
        }),
    }
}

type Failure = (String, Option<(usize, usize)>);
type Notes = RefCell<Vec<String>>;

/// Flow collections nested deeper than this take the parser time that grows with the square.
const MAX_NESTING: usize = 500;

/// How deep the brackets of a text are nested, as far as they are closed in their order.
fn nesting(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    for byte in text.bytes() {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

fn from_yaml(text: &str, notes: &Notes) -> Result<Value, Failure> {
    if nesting(text) > MAX_NESTING {
        let message = format!("is nested more than {MAX_NESTING} levels deep");
        return Err((message, None));
    }
    let mut merged: Option<Value> = None;
    let mut documents = 0;
    for document in serde_yaml::Deserializer::from_str(text) {
        let seed = Node {
            notes,
            path: &Path_::Root,
            merge_keys: true,
        };
        let value = seed.deserialize(document).map_err(|error| {
            let position = error.location().map(|l| (l.line(), l.column()));
            (yaml_message(&error), position)
        })?;
        documents += 1;
        merged = Some(match merged {
            Some(mut base) => {
                tree::merge(&mut base, value);
                base
            }
            None => value,
        });
    }
    if documents > 1 {
        notes
            .borrow_mut()
            .push(format!("holds {documents} documents, merged in order"));
    }
    Ok(merged.unwrap_or(Value::Null))
}

fn from_json(text: &str, notes: &Notes) -> Result<Value, Failure> {
    let failure = |error: &serde_json::Error| {
        let message = error.to_string();
        let message = message.split(" at line ").next().unwrap_or_default();
        let position = (error.line() > 0).then(|| (error.line(), error.column().max(1)));
        (message.to_owned(), position)
    };
    if text.trim().is_empty() {
        return Ok(Value::Null);
    }
    let mut reader = serde_json::Deserializer::from_str(text);
    let seed = Node {
        notes,
        path: &Path_::Root,
        merge_keys: false,
    };
    let value = seed.deserialize(&mut reader).map_err(|e| failure(&e))?;
    reader.end().map_err(|e| failure(&e))?;
    Ok(value)
}

fn from_toml(text: &str, notes: &Notes) -> Result<Value, Failure> {
    let failure = |error: &toml::de::Error| {
        let position = error.span().map(|span| {
            let before = text.get(..span.start).unwrap_or(text);
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().map_or(0, |l| l.chars().count());
            (line, column + 1)
        });
        (error.message().trim().replace('\n', ", "), position)
    };
    let reader = toml::de::Deserializer::parse(text).map_err(|e| failure(&e))?;
    Node {
        notes,
        path: &Path_::Root,
        merge_keys: false,
    }
    .deserialize(reader)
    .map_err(|e| failure(&e))
}

/// The parser's message without the position, which the problem carries itself.
fn yaml_message(error: &serde_yaml::Error) -> String {
    let message = error.to_string();
    let cut = message.find(" at line ").unwrap_or(message.len());
    let (message, rest) = message.split_at(cut);
    // "…, while parsing a block mapping at line 1 column 1" names where the construct began.
    match rest.split_once(", while ") {
        Some((_, context)) => format!("{message}, while {context}"),
        None => message.to_owned(),
    }
}

/// The line with a caret under the column.
fn excerpt(text: &str, (line, column): (usize, usize), snippet: Snippet) -> Option<String> {
    /// Longer lines are cut around the column.
    const WIDTH: usize = 100;
    let source = text.lines().nth(line.checked_sub(1)?)?;
    let shown: String = match snippet {
        Snippet::Shown => source.to_owned(),
        Snippet::Masked => mask(source),
    };
    let skip = column.saturating_sub(WIDTH / 2);
    let shown: String = shown
        .chars()
        .skip(skip)
        .take(WIDTH)
        .map(|c| if c == '\t' { ' ' } else { c })
        .collect();
    let caret = " ".repeat(column.saturating_sub(1).saturating_sub(skip));
    let gutter = " ".repeat(line.to_string().len());
    Some(format!(" {line} | {shown}\n {gutter} | {caret}^"))
}

/// The key that a line begins with, and punctuation; all other letters and digits become `*`. What
/// does not plainly begin with a key is masked as a whole: in compact JSON any word may be a value.
fn mask(line: &str) -> String {
    let is_key = |c: char| c.is_alphanumeric() || "_-.".contains(c);
    let start = line.len() - line.trim_start_matches([' ', '\t', '-', '"', '\'']).len();
    let rest = line.get(start..).unwrap_or_default();
    let end = start + rest.find(|c| !is_key(c)).unwrap_or(rest.len());
    let after = line.get(end..).unwrap_or_default();
    let after = after.trim_start_matches(['"', '\'', ' ']);
    let keep = if after.starts_with([':', '=']) {
        end
    } else {
        0
    };
    line.char_indices()
        .map(|(at, c)| {
            if at >= keep && c.is_alphanumeric() {
                '*'
            } else {
                c
            }
        })
        .collect()
}

/// A number with its noun: `1 problem`, `2 problems`.
#[must_use]
pub fn count(number: usize, noun: &str) -> String {
    match number {
        1 => format!("1 {noun}"),
        number => format!("{number} {noun}s"),
    }
}

/// Where in a nested structure we are; lives on the stack of the recursion.
enum Path_<'a> {
    Root,
    Key(&'a Path_<'a>, &'a str),
    Index(&'a Path_<'a>, usize),
}

impl fmt::Display for Path_<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Key(Self::Root, key) => f.write_str(key),
            Self::Key(parent, key) => write!(f, "{parent}.{key}"),
            Self::Index(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

/// Reads one node, whatever it is.
#[derive(Clone, Copy)]
struct Node<'a> {
    notes: &'a Notes,
    path: &'a Path_<'a>,
    merge_keys: bool,
}

impl Node<'_> {
    fn note(&self, text: &str) {
        let note = match self.path {
            Path_::Root => text.to_owned(),
            path => format!("`{path}` {text}"),
        };
        self.notes.borrow_mut().push(note);
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("data")
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.deserialize(deserializer)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_i128<E>(self, value: i128) -> Result<Value, E> {
        self.note("is too large an integer and stays a string");
        Ok(Value::String(value.to_string()))
    }
    fn visit_u128<E>(self, value: u128) -> Result<Value, E> {
        self.note("is too large an integer and stays a string");
        Ok(Value::String(value.to_string()))
    }
    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or_else(
            || {
                self.note("is no number that JSON knows and became null");
                Value::Null
            },
            Value::Number,
        ))
    }
    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }
    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }
    fn visit_enum<A: EnumAccess<'de>>(self, _: A) -> Result<Value, A::Error> {
        Err(de::Error::custom(
            "tags such as `!name` are not data; write plain values",
        ))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        loop {
            let path = Path_::Index(self.path, list.len());
            let seed = Node {
                path: &path,
                ..self
            };
            match items.next_element_seed(seed)? {
                Some(item) => list.push(item),
                None => return Ok(Value::Array(list)),
            }
        }
    }
    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        let mut inherited = Vec::new();
        while let Some(key) = entries.next_key_seed(Key)? {
            let path = Path_::Key(self.path, &key);
            let seed = Node {
                path: &path,
                ..self
            };
            let value = entries.next_value_seed(seed)?;
            if key == TOML_DATE {
                return Ok(value);
            }
            if self.merge_keys && key == "<<" {
                inherited.push(value);
            } else if map.insert(key.clone(), value).is_some() {
                seed.note("is given twice; the last one counts");
            }
        }
        for source in inherited {
            inherit(&mut map, source)?;
        }
        Ok(Value::Object(map))
    }
}

/// Applies a merge key: earlier maps of a list win, explicit keys win over all.
fn inherit<E: de::Error>(map: &mut Map<String, Value>, source: Value) -> Result<(), E> {
    match source {
        Value::Object(source) => {
            for (key, value) in source {
                map.entry(key).or_insert(value);
            }
            Ok(())
        }
        Value::Array(list) => list.into_iter().try_for_each(|item| inherit(map, item)),
        _ => Err(de::Error::custom(
            "expected a map, or a list of maps, after the merge key `<<`",
        )),
    }
}

/// Reads a key; scalars of other types are taken as they print.
struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = String;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for Key {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key that is a string")
    }
    fn visit_str<E>(self, value: &str) -> Result<String, E> {
        Ok(value.to_owned())
    }
    fn visit_bool<E>(self, value: bool) -> Result<String, E> {
        Ok(value.to_string())
    }
    fn visit_i64<E>(self, value: i64) -> Result<String, E> {
        Ok(value.to_string())
    }
    fn visit_u64<E>(self, value: u64) -> Result<String, E> {
        Ok(value.to_string())
    }
    fn visit_f64<E>(self, value: f64) -> Result<String, E> {
        Ok(value.to_string())
    }
    fn visit_unit<E>(self) -> Result<String, E> {
        Ok("null".to_owned())
    }
}

/// A step of a path into a document.
#[derive(Debug, Clone, Copy)]
pub enum Step<'a> {
    /// A key of a map.
    Key(&'a str),
    /// An item of a list, from 0.
    Index(usize),
}

/// Line and column of the node at a path in a YAML (or JSON) text, for messages about its meaning.
#[must_use]
pub fn locate(text: &str, path: &[Step<'_>]) -> Option<(usize, usize)> {
    let document = serde_yaml::Deserializer::from_str(text).next()?;
    // The seek fails on purpose when it arrives: the parser then attaches the position.
    let error = Seek(path).deserialize(document).err()?;
    error.location().map(|at| (at.line(), at.column()))
}

struct Seek<'a>(&'a [Step<'a>]);

impl<'de> DeserializeSeed<'de> for Seek<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.0.is_empty() {
            // A type that no node has, so that the parser reports this very node.
            return deserializer.deserialize_any(Arrived);
        }
        deserializer.deserialize_any(self)
    }
}

struct Arrived;

impl Visitor<'_> for Arrived {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the place")
    }
}

impl<'de> Visitor<'de> for Seek<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the way")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let (first, rest) = self
            .0
            .split_first()
            .ok_or_else(|| de::Error::custom("arrived"))?;
        let mut at = 0;
        loop {
            let found = matches!(first, Step::Index(index) if *index == at);
            let more = if found {
                items.next_element_seed(Seek(rest))?.is_some()
            } else {
                items.next_element::<de::IgnoredAny>()?.is_some()
            };
            if !more {
                return Ok(());
            }
            at += 1;
        }
    }
    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let (first, rest) = self
            .0
            .split_first()
            .ok_or_else(|| de::Error::custom("arrived"))?;
        while let Some(key) = entries.next_key_seed(Key)? {
            if matches!(first, Step::Key(wanted) if *wanted == key) {
                entries.next_value_seed(Seek(rest))?;
            } else {
                entries.next_value::<de::IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn yaml(text: &str) -> Value {
        parse(text.as_bytes(), Some(Format::Yaml), Snippet::Masked)
            .unwrap()
            .value
    }

    #[test]
    fn yaml_is_read_by_the_core_schema() {
        let read = yaml(
            "a: yes\nb: 012\nc: 0x10\nd: 12:30\ne: ~\nf: 2026-11-21\ng: 1.5\nh: true\n1: one\n",
        );
        assert_eq!(
            read,
            json!({"a": "yes", "b": "012", "c": 16, "d": "12:30", "e": null,
                   "f": "2026-11-21", "g": 1.5, "h": true, "1": "one"})
        );
    }

    #[test]
    fn merge_keys_yield_to_explicit_ones() {
        let read = yaml("base: &b {x: 1, y: 2}\nuse:\n  <<: *b\n  y: 3\n");
        assert_eq!(read["use"], json!({"x": 1, "y": 3}));
        let list = yaml("a: &a {x: 1}\nb: &b {x: 2, y: 2}\nuse: {<<: [*a, *b]}\n");
        assert_eq!(list["use"], json!({"x": 1, "y": 2}));
    }

    #[test]
    fn several_documents_merge_in_order_and_duplicates_are_noted() {
        let read = parse(
            b"a: 1\na: 2\n---\nb: 3\n",
            Some(Format::Yaml),
            Snippet::Masked,
        )
        .unwrap();
        assert_eq!(read.value, json!({"a": 2, "b": 3}));
        assert_eq!(
            read.notes,
            [
                "`a` is given twice; the last one counts",
                "holds 2 documents, merged in order"
            ]
        );
    }

    #[test]
    fn tags_are_refused_and_infinities_become_null() {
        assert!(parse(b"a: !object ['x']", None, Snippet::Masked).is_err());
        let inert = yaml("a: !!python/object/apply:os.system ['x']");
        assert_eq!(inert, json!({"a": ["x"]}));
        let read = parse(b"a: .inf\nb: .nan", None, Snippet::Masked).unwrap();
        assert_eq!(read.value, json!({"a": null, "b": null}));
        assert_eq!(read.notes.len(), 2);
    }

    #[test]
    fn an_empty_text_is_null_in_every_format() {
        for format in [None, Some(Format::Yaml), Some(Format::Json)] {
            for text in ["", " \n", "\u{feff}"] {
                let read = parse(text.as_bytes(), format, Snippet::Masked).unwrap();
                assert_eq!(read.value, Value::Null, "{format:?} {text:?}");
            }
        }
    }

    #[test]
    fn json_with_tabs_and_crlf_reads_without_an_extension() {
        let read = parse(b"{\r\n\t\"a\":\t1\r\n}", None, Snippet::Masked).unwrap();
        assert_eq!(read.value, json!({"a": 1}));
    }

    #[test]
    fn toml_dates_become_strings() {
        let read = parse(
            b"a = 1\n[b]\nd = 2026-11-21\n",
            Some(Format::Toml),
            Snippet::Masked,
        )
        .unwrap();
        assert_eq!(read.value, json!({"a": 1, "b": {"d": "2026-11-21"}}));
    }

    #[test]
    fn errors_name_the_place_and_mask_the_value() {
        for (format, text, line) in [
            (Format::Yaml, "ok: 1\npassword: \"hunter2\n", 2),
            (Format::Yaml, "ok: 1\npassword: 'hunter2' hunter2\n", 2),
            (
                Format::Json,
                "{\n \"password\": \"hunter2\" \"hunter2\"}",
                2,
            ),
            (Format::Toml, "ok = 1\npassword = \"hunter2\n", 2),
            (Format::Toml, "ok = 1\npassword = \"hunter2: x\" y\n", 2),
            (Format::Json, "{\"password\":\"hunter2\",\"b\":hunter2,}", 1),
            (
                Format::Json,
                "{\"password\":\"hunter2 secret: x\" \"y\"}",
                1,
            ),
        ] {
            let problem = parse(text.as_bytes(), Some(format), Snippet::Masked).unwrap_err();
            let shown = problem.to_string();
            assert!(problem.position.unwrap().0 >= line, "{shown}");
            assert!(!shown.contains("hunter2"), "{shown}");
        }
        let shown = parse(b"when: [a\n", Some(Format::Yaml), Snippet::Shown).unwrap_err();
        assert!(shown.position.is_some(), "{shown}");
        let not_utf8 = parse(b"a: 1\nb: \xff\n", None, Snippet::Masked).unwrap_err();
        assert_eq!(not_utf8.position, Some((2, 4)));
    }

    #[test]
    fn an_alias_bomb_is_refused() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..12 {
            let before = level - 1;
            let again = vec![format!("*a{before}"); 10].join(", ");
            text = format!("{text}a{level}: &a{level} [{again}]\n");
        }
        assert!(parse(text.as_bytes(), None, Snippet::Masked).is_err());
    }

    #[test]
    fn locate_finds_the_line_of_a_path() {
        let text = "format: 1\nrules:\n  - rule:\n      when: a\n  - rule:\n      do: x\n";
        let at = |path: &[Step<'_>]| locate(text, path).map(|(line, _)| line);
        assert_eq!(
            at(&[
                Step::Key("rules"),
                Step::Index(1),
                Step::Key("rule"),
                Step::Key("do")
            ]),
            Some(6)
        );
        assert_eq!(at(&[Step::Key("format")]), Some(1));
        assert_eq!(at(&[Step::Key("nope")]), None);
    }
}
