//! What stands behind a keyword: flags, exec and shell form, names with values. It expands nothing.

use serde_json::Value;

/// The two ways to write a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Form {
    /// A JSON array of strings: the words themselves.
    Exec(Vec<String>),
    /// Anything else: text for a shell.
    Shell(String),
    /// A JSON array and more behind it: exec form to the classic builder, shell form to BuildKit.
    Doubtful,
}

/// Reads the argument of ENTRYPOINT, CMD, RUN or SHELL. JSON that is none is shell form, as builders
/// have it, and so is nothing at all.
///
/// # Errors
/// For an array with anything but strings, which builders refuse.
pub fn form(args: &str) -> Result<Form, String> {
    if !args.starts_with('[') {
        return Ok(Form::Shell(args.to_owned()));
    }
    let mended = mend_surrogates(args);
    let mut values = serde_json::Deserializer::from_str(&mended).into_iter::<Value>();
    let Some(Ok(Value::Array(items))) = values.next() else {
        return Ok(Form::Shell(args.to_owned()));
    };
    let rest = mended.get(values.byte_offset()..).unwrap_or_default();
    if !rest.trim().is_empty() {
        return Ok(Form::Doubtful);
    }
    let words = items.into_iter().map(|item| match item {
        Value::String(word) => Ok(word),
        other => Err(format!(
            "has {other} in its JSON array; expected strings only: write \"{}\"",
            other.to_string().replace('"', "")
        )),
    });
    words.collect::<Result<_, _>>().map(Form::Exec)
}

/// The words as a JSON array on one line, as an instruction takes it.
#[must_use]
pub fn exec(words: &[String]) -> String {
    let words: Vec<String> = words
        .iter()
        .map(|word| Value::String(word.clone()).to_string())
        .collect();
    format!("[{}]", words.join(", "))
}

/// Half a pair of `\uD800`…`\uDFFF` is the replacement character to builders, and an error to our parser.
fn mend_surrogates(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        let (before, tail) = rest.split_at(at);
        out.push_str(before);
        let high = surrogate(tail);
        let low = tail.get(6..).and_then(surrogate);
        let length = match (high, low) {
            (Some(0xD800..0xDC00), Some(0xDC00..)) => 12,
            (Some(_), _) => {
                out.push_str("\\ufffd");
                rest = tail.get(6..).unwrap_or_default();
                continue;
            }
            (None, _) => 1 + tail.chars().nth(1).map_or(0, char::len_utf8),
        };
        let (kept, after) = tail.split_at(length.min(tail.len()));
        out.push_str(kept);
        rest = after;
    }
    out.push_str(rest);
    out
}

/// The surrogate that the text begins with, written `\uXXXX`.
fn surrogate(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let unit = u32::from_str_radix(digits, 16).ok().filter(|_| is_hex)?;
    (0xD800..0xE000).contains(&unit).then_some(unit)
}

/// Takes the `--flags` off the front of an instruction's argument. `--` alone ends them.
pub(super) fn flags(args: &str) -> (Vec<String>, &str) {
    let mut flags = Vec::new();
    let mut rest = args;
    loop {
        rest = rest.trim_start();
        if !rest.starts_with("--") {
            return (flags, rest.trim_end());
        }
        let (word, after) = flag(rest);
        rest = after;
        if word == "--" {
            return (flags, rest.trim());
        }
        flags.push(word);
    }
}

/// One word with its quotes taken off; `\` escapes here whatever the directive says.
fn flag(text: &str) -> (String, &str) {
    let mut word = String::new();
    let mut quote = None;
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match (quote, char) {
            (None, char) if char.is_whitespace() => {
                return (word, text.get(at..).unwrap_or_default());
            }
            (None, '\'' | '"') => quote = Some(char),
            (Some(open), char) if open == char => quote = None,
            (_, '\\') => word.extend(chars.next().map(|(_, char)| char)),
            _ => word.push(char),
        }
    }
    (word, "")
}

/// Splits at blanks outside of quotes; quotes and escapes stay, for the shell language to read.
fn split(text: &str, escape: char) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        match quote {
            None if char.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                continue;
            }
            None if matches!(char, '\'' | '"') => quote = Some(char),
            Some(open) if open == char => quote = None,
            _ => {}
        }
        if char == escape && quote != Some('\'') {
            // An escape at the very end is dropped.
            if let Some(next) = chars.next() {
                word.extend([char, next]);
            }
            continue;
        }
        word.push(char);
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// `A=b C="d e"`, or the old `A b c`, of ENV; empty where builders would refuse it.
pub(super) fn pairs(args: &str, escape: char) -> Vec<(String, String)> {
    let words = split(args, escape);
    if words.first().is_some_and(|word| !word.contains('=')) {
        let blank = |char: char| matches!(char, '\t' | '\x0b' | '\x0c' | '\r' | ' ');
        let Some((name, value)) = args.split_once(blank) else {
            return Vec::new();
        };
        return vec![(name.to_owned(), value.trim_start_matches(blank).to_owned())];
    }
    let pair = |word: &String| {
        let (name, value) = word.split_once('=')?;
        Some((name.to_owned(), value.to_owned()))
    };
    words.iter().filter_map(pair).collect()
}

/// `A B=c`, of ARG.
pub(super) fn names(args: &str, escape: char) -> Vec<(String, Option<String>)> {
    let pair = |word: String| match word.split_once('=') {
        Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
        None => (word, None),
    };
    split(args, escape).into_iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c36_exec_form_is_json_and_anything_else_is_for_a_shell() {
        let words = |words: &[&str]| Ok(Form::Exec(words.iter().map(|&w| w.to_owned()).collect()));
        assert_eq!(form("[]"), words(&[]));
        assert_eq!(form("[ ]"), words(&[]));
        assert_eq!(form(r#"["a", "b c"]"#), words(&["a", "b c"]));
        assert_eq!(form("[\t\"a\"\t]"), words(&["a"]));
        assert_eq!(form(r#"["\u00e9\n\\"]"#), words(&["é\n\\"]));
        assert_eq!(form(r#"["a\ud800b"]"#), words(&["a\u{fffd}b"]));
        assert_eq!(form(r#"["\ud83d\ude00\udc00"]"#), words(&["😀\u{fffd}"]));
        assert_eq!(form(r#"["\\ud800"]"#), words(&["\\ud800"]));
        for text in [
            "",
            "a",
            "['a']",
            r#"["a"#,
            r#"["a",]"#,
            r#"["a\d"]"#,
            r#"{"a": 1}"#,
            "[ -f x ]",
        ] {
            assert_eq!(form(text), Ok(Form::Shell(text.to_owned())), "{text}");
        }
        assert_eq!(form(r#"[ "$X" ] && y"#), Ok(Form::Doubtful));
        for text in ["[1]", r#"["a", null]"#, r#"[["a"]]"#] {
            assert!(form(text).is_err(), "{text}");
        }
    }

    #[test]
    fn exec_form_survives_being_written() {
        for word in [
            "",
            "a b",
            "\"",
            "\\",
            "é\u{1}\u{7f}\u{2028}",
            "$A `",
            "\n\t",
        ] {
            let words = vec![word.to_owned(), "x".to_owned()];
            assert_eq!(form(&exec(&words)), Ok(Form::Exec(words)));
        }
    }

    #[test]
    fn flags_end_at_the_first_word_that_is_none() {
        let told = |args| {
            let (flags, rest) = flags(args);
            format!("{}|{rest}", flags.join(","))
        };
        assert_eq!(told("a --b"), "|a --b");
        assert_eq!(
            told("--from=x  --chown=1:1 a b "),
            "--from=x,--chown=1:1|a b"
        );
        assert_eq!(told("--a='x y' b"), "--a=x y|b");
        assert_eq!(told("-- --a"), "|--a");
        assert_eq!(told("--a"), "--a|");
        assert_eq!(told("- a"), "|- a");
    }

    #[test]
    fn names_and_values() {
        let told = |args| {
            let pairs = pairs(args, '\\');
            let pairs: Vec<String> = pairs.iter().map(|(n, v)| format!("{n}|{v}")).collect();
            pairs.join(" ")
        };
        assert_eq!(told(r#"A=b C="d e" F=g\ h"#), r#"A|b C|"d e" F|g\ h"#);
        assert_eq!(told("A x  y=z"), "A|x  y=z");
        assert_eq!(told("A"), "");
        assert_eq!(told(r#"A='\' B=c"#), r#"A|'\' B|c"#);
        assert_eq!(
            names("A B=c D=", '\\'),
            [
                ("A".to_owned(), None),
                ("B".to_owned(), Some("c".to_owned())),
                ("D".to_owned(), Some(String::new()))
            ]
        );
    }
}
