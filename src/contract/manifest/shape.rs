//! What a declared value may be: its types, its pattern, its choices. Shared by arguments and
//! environment variables; values are judged as text and never changed, nor shown in a message.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;

use regex::Regex;
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::contract::report::{Node, Report};
use crate::contract::suggest;

/// A type that a contract may name (asyncy A-8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Whatever it is.
    Any,
    /// Text.
    String,
    /// `^[+-]?\d+$`.
    Integer,
    /// A decimal number, with or without fraction and exponent.
    Number,
    /// `true` or `false`.
    Boolean,
    /// Any JSON.
    Json,
    /// A JSON array.
    List,
    /// A JSON object.
    Object,
    /// One of the choices.
    Enum,
    /// The path of a file, which must be there if it is absolute and below a volume.
    File,
    /// The path of a directory, by the same rule.
    Folder,
    /// The path of anything, by the same rule.
    Path,
}

/// Every name of every type, the one that messages use first.
pub(super) const KINDS: &[(Kind, &[&str])] = &[
    (Kind::Any, &["any"]),
    (Kind::String, &["string", "str", "text"]),
    (Kind::Integer, &["int", "integer"]),
    (Kind::Number, &["number", "float", "double"]),
    (Kind::Boolean, &["boolean", "bool"]),
    (Kind::Json, &["json"]),
    (Kind::List, &["list", "array"]),
    (Kind::Object, &["object", "map", "dict"]),
    (Kind::Enum, &["enum"]),
    (Kind::File, &["file"]),
    (Kind::Folder, &["folder", "dir", "directory"]),
    (Kind::Path, &["path"]),
];

impl Kind {
    fn parse(word: &str) -> Option<Self> {
        let word = word.to_ascii_lowercase();
        let found = KINDS
            .iter()
            .find(|(_, names)| names.contains(&word.as_str()));
        found.map(|(kind, _)| *kind)
    }

    /// Its name in messages and in usage.
    #[must_use]
    pub fn name(self) -> &'static str {
        let found = KINDS.iter().find(|(kind, _)| *kind == self);
        found
            .and_then(|(_, names)| names.first())
            .copied()
            .unwrap_or("any")
    }
}

/// A regular expression as it is applied and as its author wrote it.
#[derive(Debug, Clone)]
pub struct Pattern {
    regex: Regex,
    source: String,
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Pattern {
    /// Compiles a pattern; it is searched for, not matched as a whole (asyncy A-10). JavaScript's
    /// delimiters come off; the flag says that they did.
    ///
    /// # Errors
    /// `E_REGEX`, and the construct that this kind of expression does not know.
    pub fn parse(source: &str) -> Result<(Self, bool), String> {
        let (bare, flags) = delimited(source).unwrap_or((source, ""));
        let is_delimited = bare.len() != source.len();
        let known: String = flags.chars().filter(|c| "imsx".contains(*c)).collect();
        let text = match known.as_str() {
            "" => bare.to_owned(),
            flags => format!("(?{flags}){bare}"),
        };
        match Regex::new(&text) {
            Ok(regex) => Ok((
                Self {
                    regex,
                    source: bare.to_owned(),
                },
                is_delimited,
            )),
            Err(error) => Err(format!("E_REGEX: {}", reason(&error))),
        }
    }

    /// As its author wrote it, without delimiters.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }
}

/// What is between the slashes of `/…/flags`, and the flags.
fn delimited(source: &str) -> Option<(&str, &str)> {
    let (bare, flags) = source.strip_prefix('/')?.rsplit_once('/')?;
    let is_flags = flags.len() <= 6 && flags.chars().all(|c| "dgimsuvy".contains(c));
    (is_flags && !bare.is_empty()).then_some((bare, flags))
}

/// The last line of the crate's message is the reason; those before it draw the expression.
fn reason(error: &regex::Error) -> String {
    match error {
        regex::Error::CompiledTooBig(limit) => {
            format!("the expression takes more than {limit} bytes once compiled")
        }
        error => {
            let text = error.to_string();
            let last = text.lines().last().unwrap_or_default();
            last.strip_prefix("error: ").unwrap_or(last).to_owned()
        }
    }
}

/// What is at a path, as far as checks care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Nothing that can be seen.
    Nothing,
    /// A directory.
    Folder,
    /// Anything else.
    File,
}

/// Where paths are looked up: outside of this module, which reads nothing.
pub struct Place<'a> {
    /// Mount points of the volumes.
    pub volumes: &'a [String],
    /// Says what is at a path.
    pub look: &'a dyn Fn(&Path) -> Found,
}

impl Place<'_> {
    /// A place where no path is looked up.
    pub const NOWHERE: Place<'static> = Place {
        volumes: &[],
        look: &|_| Found::Nothing,
    };

    /// What has to be there: paths outside of volumes are the program's own affair.
    fn found(&self, text: &str) -> Option<Found> {
        let path = Path::new(text);
        let is_below = |volume: &String| path.starts_with(volume);
        let must_exist = path.is_absolute() && self.volumes.iter().any(is_below);
        must_exist.then(|| (self.look)(path))
    }
}

/// What a declared value may be.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Shape {
    /// Any of these; none means any text.
    pub kinds: Vec<Kind>,
    /// What must be found in it.
    pub pattern: Option<Pattern>,
    /// What it must be one of.
    pub choices: Option<Vec<String>>,
}

/// The keys of a declaration that say what its value may be.
pub(super) const KEYS: &[&str] = &["type", "pattern", "enum", "values"];

impl Shape {
    /// Whether a bare flag can stand for it.
    #[must_use]
    pub fn is_boolean(&self) -> bool {
        self.kinds.contains(&Kind::Boolean)
    }

    /// Its types for people: `int or string`; nothing where any text will do.
    #[must_use]
    pub fn describe(&self) -> String {
        let names: Vec<_> = self.kinds.iter().map(|kind| kind.name()).collect();
        match &self.choices {
            Some(choices) => format!("one of {}", choices.join(", ")),
            None => names.join(" or "),
        }
    }

    /// Reads the keys of a declaration that say what its value may be.
    pub(super) fn read(node: &Node<'_>, report: &mut Report<'_>) -> Self {
        let mut shape = Self {
            kinds: node
                .given("type")
                .map_or_else(Vec::new, |kind| read_kinds(&kind, report)),
            ..Self::default()
        };
        if let Some(pattern) = node.given("pattern") {
            shape.pattern = read_pattern(&pattern, report);
        }
        if let Some(list) = node.given("enum").or_else(|| node.given("values")) {
            shape.choices = read_choices(&list, report);
        } else if shape.kinds == [Kind::Enum] {
            report.refuse(
                &node.path,
                "is an enum of nothing; expected a list of strings under `enum`",
            );
        }
        shape
    }

    /// Reads a type on its own: `string`, `int|string`, a list of them.
    pub(super) fn of_type(node: &Node<'_>, report: &mut Report<'_>) -> Self {
        Self {
            kinds: read_kinds(node, report),
            ..Self::default()
        }
    }

    /// Judges a value.
    ///
    /// # Errors
    /// What was expected, as a fragment without the value.
    pub fn check(&self, value: &OsStr, place: &Place<'_>) -> Result<(), String> {
        let Some(text) = value.to_str() else {
            let is_loose = self.pattern.is_none() && self.choices.is_none();
            let takes_bytes = |kind: &Kind| matches!(kind, Kind::Any | Kind::String);
            let any = self.kinds.is_empty() || self.kinds.iter().any(takes_bytes);
            return match is_loose && any {
                true => Ok(()),
                false => Err("is not UTF-8".to_owned()),
            };
        };
        if let Some(choices) = &self.choices
            && !choices.iter().any(|choice| choice == text)
        {
            let hint = suggest::hint(text, choices.iter().map(String::as_str));
            return Err(format!("must be one of {}{hint}", choices.join(", ")));
        }
        let mut reasons = Vec::new();
        for kind in &self.kinds {
            match kind.check(text, place) {
                Ok(()) => {
                    reasons.clear();
                    break;
                }
                Err(reason) => reasons.push(reason),
            }
        }
        if !reasons.is_empty() {
            return Err(format!("must be {}", reasons.join(" or ")));
        }
        match &self.pattern {
            Some(pattern) if !pattern.regex.is_match(text) => {
                Err(format!("must match the pattern {}", pattern.source))
            }
            _ => Ok(()),
        }
    }
}

impl Kind {
    /// Whether a text is of this type; if not, what was expected.
    fn check(self, text: &str, place: &Place<'_>) -> Result<(), &'static str> {
        let is = |yes: bool, expected| if yes { Ok(()) } else { Err(expected) };
        match self {
            // The choices have been looked at.
            Self::Any | Self::String | Self::Enum => Ok(()),
            Self::Integer => is(is_integer(text), "a whole number"),
            Self::Number => is(is_number(text), "a number"),
            Self::Boolean => is(matches!(text, "true" | "false"), "`true` or `false`"),
            Self::Json => is(serde_json::from_str::<IgnoredAny>(text).is_ok(), "JSON"),
            Self::List => is(
                serde_json::from_str::<Vec<IgnoredAny>>(text).is_ok(),
                "a JSON array such as [1,2,3]",
            ),
            Self::Object => is(
                serde_json::from_str::<BTreeMap<String, IgnoredAny>>(text).is_ok(),
                "a JSON object such as {\"a\":1}",
            ),
            Self::File => match place.found(text) {
                None | Some(Found::File) => Ok(()),
                Some(Found::Nothing) => Err("a file that exists"),
                Some(Found::Folder) => Err("a file, and not a directory"),
            },
            Self::Folder => match place.found(text) {
                None | Some(Found::Folder) => Ok(()),
                Some(Found::Nothing) => Err("a directory that exists"),
                Some(Found::File) => Err("a directory"),
            },
            Self::Path => match place.found(text) {
                Some(Found::Nothing) => Err("a path that exists"),
                _ => Ok(()),
            },
        }
    }
}

fn is_integer(text: &str) -> bool {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// Digits with at most one point and one exponent: what `f64` parses, less its words for infinity.
fn is_number(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte))
        && text.parse::<f64>().is_ok()
}

/// Types as real files spell them: a name, names joined by `,` or `|`, a list of names. An unknown one
/// is worth a warning, and counts as any (asyncy A-8).
fn read_kinds(node: &Node<'_>, report: &mut Report<'_>) -> Vec<Kind> {
    let mut words: Vec<(String, Node<'_>)> = Vec::new();
    match node.value {
        Value::String(text) => {
            let parts = text.split([',', '|']).map(str::trim);
            let parts = parts.filter(|part| !part.is_empty());
            words.extend(parts.map(|part| (part.to_owned(), node.clone())));
        }
        Value::Array(_) => {
            for item in node.items() {
                match item.value.as_str() {
                    Some(word) => words.push((word.to_owned(), item)),
                    None => report.refuse(&item.path, "expected the name of a type"),
                }
            }
        }
        _ => report.refuse(
            &node.path,
            "expected the name of a type, such as `string` or `int`",
        ),
    }
    let mut kinds = Vec::new();
    for (word, at) in words {
        match Kind::parse(&word) {
            Some(kind) if !kinds.contains(&kind) => kinds.push(kind),
            Some(_) => {}
            None => {
                let known = KINDS.iter().flat_map(|(_, names)| names.iter().copied());
                let hint = suggest::hint(&word, known);
                report.doubt(
                    &at.path,
                    format!("unknown type `{word}`, taken as any{hint}"),
                );
                kinds.push(Kind::Any);
            }
        }
    }
    kinds
}

fn read_pattern(node: &Node<'_>, report: &mut Report<'_>) -> Option<Pattern> {
    let Some(source) = node.scalar() else {
        report.refuse(&node.path, "expected a regular expression");
        return None;
    };
    match Pattern::parse(&source) {
        Ok((pattern, is_delimited)) => {
            if is_delimited {
                report.warn(
                    &node.path,
                    "is taken without its delimiters; write the expression alone",
                );
            }
            Some(pattern)
        }
        Err(message) => {
            report.refuse(&node.path, message);
            None
        }
    }
}

fn read_choices(node: &Node<'_>, report: &mut Report<'_>) -> Option<Vec<String>> {
    let choices: Option<Vec<_>> = node.items().map(|item| report.written(&item)).collect();
    match choices.filter(|choices| !choices.is_empty()) {
        Some(choices) => Some(choices),
        None => {
            report.refuse(&node.path, "expected a list of values to choose from");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shape(kinds: &[Kind]) -> Shape {
        Shape {
            kinds: kinds.to_vec(),
            ..Shape::default()
        }
    }

    fn takes(shape: &Shape, text: &str) -> bool {
        shape.check(text.as_ref(), &Place::NOWHERE).is_ok()
    }

    #[test]
    fn a8_every_type_takes_what_it_should_and_nothing_else() {
        for (kind, good, bad) in [
            (Kind::Any, &["", "x", "[1"][..], &[][..]),
            (Kind::String, &["", "x", "1"], &[]),
            (
                Kind::Integer,
                &["0", "-1", "+42", "007", "123456789012345678901234567890"],
                &["", "1.0", "1e3", "--1", "-", " 1", "1 ", "0x10", "一", "٣"],
            ),
            (
                Kind::Number,
                &["0", "-1.5", "1e3", ".5", "2.", "+1E-2"],
                &["", "abc", "inf", "NaN", "1.2.3", "e", "1e", ".", " 1"],
            ),
            (
                Kind::Boolean,
                &["true", "false"],
                &["", "True", "yes", "1", "0"],
            ),
            (
                Kind::Json,
                &["1", "null", "\"a\"", "{}", " [1] "],
                &["", "{", "'a'", "[1,]", "1 2"],
            ),
            (
                Kind::List,
                &["[]", "[1,2,3]", " [\"a\"] "],
                &["", "1,2,3", "{}", "[1", "\"[]\""],
            ),
            (
                Kind::Object,
                &["{}", r#"{"a":[1]}"#],
                &["", "[]", "{a:1}", "null"],
            ),
        ] {
            for text in good {
                assert!(takes(&shape(&[kind]), text), "{kind:?} takes {text:?}");
            }
            for text in bad {
                assert!(!takes(&shape(&[kind]), text), "{kind:?} refuses {text:?}");
            }
        }
    }

    #[test]
    fn a8_a_union_takes_what_any_of_its_types_takes() {
        let union = shape(&[Kind::Integer, Kind::Boolean]);
        assert!(takes(&union, "1") && takes(&union, "true"));
        let told = union.check("x".as_ref(), &Place::NOWHERE).unwrap_err();
        assert_eq!(told, "must be a whole number or `true` or `false`");
    }

    #[test]
    fn a8_paths_must_exist_only_below_a_volume() {
        let look = |path: &Path| match path.to_str().unwrap() {
            "/data/dir" => Found::Folder,
            "/data/file" => Found::File,
            _ => Found::Nothing,
        };
        let volumes = ["/data".to_owned()];
        let place = Place {
            volumes: &volumes,
            look: &look,
        };
        let takes = |kind, text: &str| shape(&[kind]).check(OsStr::new(text), &place).is_ok();
        for kind in [Kind::File, Kind::Folder, Kind::Path] {
            for free in ["relative", "/etc/none", "/database", ""] {
                assert!(takes(kind, free), "{kind:?} {free}");
            }
            assert!(!takes(kind, "/data/none"), "{kind:?}");
        }
        assert!(takes(Kind::File, "/data/file") && !takes(Kind::File, "/data/dir"));
        assert!(takes(Kind::Folder, "/data/dir") && !takes(Kind::Folder, "/data/file"));
        assert!(takes(Kind::Path, "/data/dir") && takes(Kind::Path, "/data/file"));
    }

    #[test]
    fn a10_patterns_are_searched_and_lose_their_delimiters() {
        let matches = |source: &str, text: &str| {
            let (pattern, _) = Pattern::parse(source).unwrap();
            pattern.regex.is_match(text)
        };
        let hex = r"^\#?\w{6}$";
        assert!(matches(hex, "#00ff00") && matches(hex, "00ff00"));
        assert!(!matches(hex, "#00ff0") && !matches(hex, "x#00ff00"));
        assert!(matches("ell", "hello"), "search, not match");
        assert!(matches(r"/^+\d+$/", "42"));
        assert!(matches("/abc/i", "xABC"));
        assert!(matches("/etc/hosts", "/etc/hosts"), "a path, no delimiters");
        assert!(Pattern::parse(r"/^+\d+$/").unwrap().1);
        assert!(!Pattern::parse("a/b").unwrap().1);
        for (source, construct) in [
            ("(?=x)y", "look-around"),
            (r"(a)\1", "backreferences"),
            ("(", "unclosed group"),
            (r"\p{Nope}", "Unicode property"),
        ] {
            let told = Pattern::parse(source).unwrap_err();
            assert!(told.starts_with("E_REGEX: "), "{told}");
            assert!(told.contains(construct), "{source}: {told}");
        }
    }

    #[test]
    fn a11_choices_are_exact_and_the_near_one_is_named() {
        let shape = Shape {
            choices: Some(vec!["this".to_owned(), "that".to_owned()]),
            ..Shape::default()
        };
        assert!(takes(&shape, "this") && !takes(&shape, "This") && !takes(&shape, ""));
        let told = shape.check("thsi".as_ref(), &Place::NOWHERE).unwrap_err();
        assert_eq!(told, "must be one of this, that; did you mean `this`?");
    }

    #[test]
    fn bytes_that_are_no_text_pass_only_where_any_text_would() {
        use std::os::unix::ffi::OsStrExt as _;
        let bytes = OsStr::from_bytes(b"\xff");
        let takes = |shape: &Shape| shape.check(bytes, &Place::NOWHERE).is_ok();
        assert!(takes(&Shape::default()) && takes(&shape(&[Kind::String])));
        assert!(!takes(&shape(&[Kind::Integer])));
        let (pattern, _) = Pattern::parse("x").unwrap();
        assert!(!takes(&Shape {
            pattern: Some(pattern),
            ..Shape::default()
        }));
    }

    proptest! {
        #[test]
        fn no_message_shows_the_value(text in "[a-z]{12}") {
            for kind in [Kind::Integer, Kind::Number, Kind::Boolean, Kind::Json, Kind::List, Kind::Object] {
                if let Err(told) = shape(&[kind]).check(text.as_ref(), &Place::NOWHERE) {
                    prop_assert!(!told.contains(&text));
                }
            }
        }

        #[test]
        fn a8_integers_are_what_the_pattern_says(text in "[+-]?[0-9a ]{0,5}") {
            let pattern = Regex::new(r"^[+-]?[0-9]+$").unwrap();
            prop_assert_eq!(is_integer(&text), pattern.is_match(&text));
        }

        #[test]
        fn no_pattern_is_a_panic(source in "\\PC{0,20}") {
            let _ = Pattern::parse(&source);
        }
    }
}
