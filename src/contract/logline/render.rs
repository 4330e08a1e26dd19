//! Log lines as they leave the container: `TIME LEVEL message`, or one JSON object a line.
//!
//! Whatever bytes a message holds, what comes out is UTF-8 and one line. Text shows bytes that are no
//! UTF-8, and control characters other than tab and escape, as `\xNN`; JSON escapes as JSON does, and
//! has U+FFFD for what is no text. Nothing here keeps state but the [`Clock`].

use std::fmt::Write as _;

use super::Level;
use crate::contract::json;
use crate::contract::time::{Seconds, Time};

/// The form of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `TIME LEVEL message`.
    Text,
    /// An object with `time`, `level`, `message`.
    Json {
        /// Whether `key=value` pairs at the end of a message become members of `fields`.
        fields: bool,
    },
}

/// Most pairs that are taken off a message; what stands before them stays in it.
const MOST_FIELDS: usize = 64;

/// Prints times. Most lines of a second share all of it but the fraction, which is what this saves.
#[derive(Default)]
pub struct Clock {
    second: Option<i64>,
    text: String,
}

impl Clock {
    fn write(&mut self, time: Time, out: &mut Vec<u8>) {
        if self.second != Some(time.seconds) {
            self.second = Some(time.seconds);
            self.text.clear();
            // Writing to a String cannot fail.
            let _ = write!(self.text, "{}", Seconds(time.seconds));
        }
        out.extend_from_slice(self.text.as_bytes());
        out.push(b'.');
        let mut unit = 100_000_000;
        for _ in 0..time.digits.clamp(3, 9) {
            out.push(b'0' + u8::try_from(time.nanos / unit % 10).unwrap_or(0));
            unit /= 10;
        }
        out.push(b'Z');
    }
}

/// A line to be written.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// When.
    pub time: Time,
    /// How much it matters.
    pub level: Level,
    /// What.
    pub message: &'a [u8],
    /// The file that it comes from, where it is not the one pipe for all.
    pub file: Option<&'a str>,
}

/// Writes a line, with its line break.
pub fn write(out: &mut Vec<u8>, form: Form, clock: &mut Clock, entry: &Entry<'_>) {
    match form {
        Form::Text => {
            clock.write(entry.time, out);
            out.push(b' ');
            out.extend_from_slice(entry.level.name().as_bytes());
            out.push(b' ');
            plain(out, entry.message);
        }
        Form::Json { fields } => {
            out.extend_from_slice(b"{\"time\":\"");
            clock.write(entry.time, out);
            out.extend_from_slice(b"\",\"level\":\"");
            out.extend_from_slice(entry.level.label().as_bytes());
            out.extend_from_slice(b"\",\"message\":");
            let (message, pairs) = match fields {
                true => split_fields(entry.message),
                false => (entry.message, Vec::new()),
            };
            string(out, message);
            if let Some(file) = entry.file {
                out.extend_from_slice(b",\"file\":");
                string(out, file.as_bytes());
            }
            for (index, (key, value)) in pairs.iter().enumerate() {
                out.extend_from_slice(if index == 0 { b",\"fields\":{" } else { b"," });
                string(out, key);
                out.push(b':');
                match value {
                    Value::Bare(value) => string(out, value),
                    Value::Quoted(value) => string(out, &unescaped(value)),
                }
            }
            out.extend_from_slice(if pairs.is_empty() { b"}" } else { b"}}" });
        }
    }
    out.push(b'\n');
}

/// Text with everything escaped that would not stay on its line.
fn plain(out: &mut Vec<u8>, text: &[u8]) {
    for chunk in text.utf8_chunks() {
        let mut rest = chunk.valid().as_bytes();
        while let Some(at) = rest.iter().position(|byte| is_odd(*byte)) {
            let (before, behind) = rest.split_at(at);
            out.extend_from_slice(before);
            let (odd, behind) = behind.split_at(1);
            hex(out, odd);
            rest = behind;
        }
        out.extend_from_slice(rest);
        hex(out, chunk.invalid());
    }
}

/// Control characters but tab, and escape, by which lines are coloured.
fn is_odd(byte: u8) -> bool {
    (byte < b' ' && byte != b'\t' && byte != 0x1b) || byte == 0x7f
}

fn hex(out: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        let digit = |half: u8| DIGITS[usize::from(half & 15)];
        out.extend_from_slice(&[b'\\', b'x', digit(byte >> 4), digit(*byte)]);
    }
}

/// A JSON string.
fn string(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    for chunk in text.utf8_chunks() {
        let mut rest = chunk.valid().as_bytes();
        let is_special = |byte: &u8| *byte < b' ' || matches!(byte, b'"' | b'\\' | 0x7f);
        while let Some(at) = rest.iter().position(is_special) {
            let (before, behind) = rest.split_at(at);
            out.extend_from_slice(before);
            let (special, behind) = behind.split_at(1);
            for byte in special {
                out.extend_from_slice(json::escape(char::from(*byte), &mut [0; 6]).as_bytes());
            }
            rest = behind;
        }
        out.extend_from_slice(rest);
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
    out.push(b'"');
}

/// A value of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Value<'a> {
    Bare(&'a [u8]),
    /// What stands between the quotes, backslashes and all.
    Quoted(&'a [u8]),
}

type Pair<'a> = (&'a [u8], Value<'a>);

/// The message without the `key=value` pairs at its end, and those. A key that comes twice stays in the
/// message the first time, so that nothing is lost.
fn split_fields(message: &[u8]) -> (&[u8], Vec<Pair<'_>>) {
    let mut pairs: Vec<(usize, Pair<'_>)> = Vec::new();
    let mut at = 0;
    while let Some(rest) = message.get(at..).filter(|rest| !rest.is_empty()) {
        if matches!(rest.first(), Some(b' ' | b'\t')) {
            at += 1;
            continue;
        }
        match take_pair(rest) {
            Some((pair, length)) => {
                pairs.push((at, pair));
                at += length;
            }
            None => {
                pairs.clear();
                let end = rest.iter().position(|byte| matches!(byte, b' ' | b'\t'));
                at += end.unwrap_or(rest.len());
            }
        }
    }
    let mut first = pairs.len().saturating_sub(MOST_FIELDS);
    for (index, (_, (key, _))) in pairs.iter().enumerate().skip(first) {
        let earlier = pairs.get(first..index).unwrap_or_default();
        if let Some(same) = earlier.iter().rposition(|(_, (other, _))| other == key) {
            first += same + 1;
        }
    }
    let pairs = pairs.split_off(first);
    let end = pairs.first().map_or(message.len(), |(at, _)| *at);
    let before = message.get(..end).unwrap_or(message);
    let message = if pairs.is_empty() {
        before
    } else {
        before.trim_ascii_end()
    };
    (message, pairs.into_iter().map(|(_, pair)| pair).collect())
}

/// A pair at the front of `text`, and its length. It ends at a blank or with the text.
fn take_pair(text: &[u8]) -> Option<(Pair<'_>, usize)> {
    let is_key =
        |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-' | b'/');
    let length = text.iter().position(|byte| !is_key(byte))?;
    let (key, rest) = text.split_at(length);
    key.first()
        .filter(|byte| !byte.is_ascii_digit() && **byte != b'-')?;
    let value = rest.strip_prefix(b"=")?;
    if let Some(quoted) = value.strip_prefix(b"\"") {
        let mut is_escaped = false;
        let end = quoted.iter().position(|byte| {
            let is_end = *byte == b'"' && !is_escaped;
            is_escaped = *byte == b'\\' && !is_escaped;
            is_end
        })?;
        let (inner, behind) = quoted.split_at(end);
        let is_whole = matches!(behind.get(1), None | Some(b' ' | b'\t'));
        return is_whole.then_some(((key, Value::Quoted(inner)), length + end + 3));
    }
    let end = value.iter().position(|byte| matches!(byte, b' ' | b'\t'));
    let value = value.get(..end.unwrap_or(value.len()))?;
    Some(((key, Value::Bare(value)), length + 1 + value.len()))
}

/// What a quoted value stands for: backslashes as in JSON and logfmt, of which `\n`, `\t`, `\r` mean
/// more than the character behind.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut bytes = text.iter().copied();
    let mut plain = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'\\' => match bytes.next() {
                Some(b'n') => b'\n',
                Some(b't') => b'\t',
                Some(b'r') => b'\r',
                Some(other) => other,
                None => b'\\',
            },
            byte => byte,
        };
        plain.push(byte);
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TIME: Time = Time {
        seconds: 1_795_234_049,
        nanos: 462_000_000,
        digits: 3,
    };

    fn written(form: Form, message: &[u8]) -> String {
        let entry = Entry {
            time: TIME,
            level: Level::Warning,
            message,
            file: None,
        };
        let mut out = Vec::new();
        write(&mut out, form, &mut Clock::default(), &entry);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a33_text_is_time_level_message() {
        assert_eq!(
            written(Form::Text, b"disk \x1b[1mlow\x1b[0m\t\xc3\xa4"),
            "2026-11-21T04:07:29.462Z WARNING disk \x1b[1mlow\x1b[0m\t\u{e4}\n"
        );
        assert_eq!(
            written(Form::Text, b"a\0b\rc\x7f\xff\xe2\x82|"),
            "2026-11-21T04:07:29.462Z WARNING a\\x00b\\x0dc\\x7f\\xff\\xe2\\x82|\n"
        );
    }

    #[test]
    fn a33_json_has_time_level_message_and_the_file() {
        let entry = Entry {
            time: TIME,
            level: Level::Warning,
            message: b"a \"b\" \\ \x01 \xff user=bob",
            file: Some("/var/log/x"),
        };
        let mut out = Vec::new();
        write(
            &mut out,
            Form::Json { fields: true },
            &mut Clock::default(),
            &entry,
        );
        let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(value["time"], "2026-11-21T04:07:29.462Z");
        assert_eq!(value["level"], "warn");
        assert_eq!(value["message"], "a \"b\" \\ \u{1} \u{fffd}");
        assert_eq!(value["file"], "/var/log/x");
        assert_eq!(value["fields"], serde_json::json!({"user": "bob"}));
        let without = written(Form::Json { fields: false }, b"x user=bob");
        assert!(without.contains("\"message\":\"x user=bob\"}"), "{without}");
    }

    #[test]
    fn a33_pairs_at_the_end_become_fields() {
        for (message, head, pairs) in [
            (
                "in user=bob id=7",
                "in",
                &[("user", "bob"), ("id", "7")][..],
            ),
            (
                r#"in msg="two words" x="a\"b\\c\nd""#,
                "in",
                &[("msg", "two words"), ("x", "a\"b\\c\nd")],
            ),
            ("a=1 then b=2", "a=1 then", &[("b", "2")]),
            ("a=1 b= c=3", "", &[("a", "1"), ("b", ""), ("c", "3")]),
            ("a=1 b=2 a=3", "a=1", &[("b", "2"), ("a", "3")]),
            ("a=1 a=2 a=3", "a=1 a=2", &[("a", "3")]),
            ("x http.path=/a/b?c=d", "x", &[("http.path", "/a/b?c=d")]),
            ("x 1=2", "x 1=2", &[]),
            ("x =2", "x =2", &[]),
            (r#"x a="open"#, r#"x a="open"#, &[]),
            (r#"x a="b"c"#, r#"x a="b"c"#, &[]),
            ("a b ", "a b ", &[]),
            ("", "", &[]),
        ] {
            let (rest, found) = split_fields(message.as_bytes());
            assert_eq!(std::str::from_utf8(rest).unwrap(), head, "{message}");
            let found: Vec<_> = found
                .iter()
                .map(|(key, value)| {
                    let value = match value {
                        Value::Bare(value) => value.to_vec(),
                        Value::Quoted(value) => unescaped(value),
                    };
                    (
                        String::from_utf8(key.to_vec()).unwrap(),
                        String::from_utf8(value).unwrap(),
                    )
                })
                .collect();
            let pairs: Vec<_> = pairs
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect();
            assert_eq!(found, pairs, "{message}");
        }
    }

    #[test]
    fn many_pairs_keep_the_last() {
        let message: Vec<String> = (0..100).map(|number| format!("k{number}=v")).collect();
        let message = message.join(" ");
        let (rest, pairs) = split_fields(message.as_bytes());
        assert_eq!(pairs.len(), MOST_FIELDS);
        assert!(rest.ends_with(b"k35=v"));
    }

    #[test]
    fn the_fraction_keeps_its_digits() {
        let mut clock = Clock::default();
        for (nanos, digits, shown) in [
            (0, 3, ".000Z"),
            (123_456_000, 6, ".123456Z"),
            (5, 9, ".000000005Z"),
        ] {
            let mut out = Vec::new();
            let time = Time {
                nanos,
                digits,
                ..TIME
            };
            clock.write(time, &mut out);
            assert!(out.ends_with(shown.as_bytes()));
            assert_eq!(String::from_utf8(out).unwrap(), time.to_string());
        }
    }

    proptest! {
        #[test]
        fn whatever_the_bytes_it_is_one_line_of_text_or_json(message in proptest::collection::vec(any::<u8>(), 0..200), fields: bool) {
            let text = written(Form::Text, &message);
            prop_assert_eq!(text.matches('\n').count(), 1);
            let json = written(Form::Json { fields }, &message);
            prop_assert_eq!(json.matches('\n').count(), 1);
            serde_json::from_str::<serde_json::Value>(&json).unwrap();
        }

        #[test]
        fn pairs_are_valid_json_whatever_they_hold(message in "[ab=\"\\\\ .\u{1}]{0,40}") {
            let json = written(Form::Json { fields: true }, message.as_bytes());
            serde_json::from_str::<serde_json::Value>(&json).unwrap();
        }
    }
}
