//! Keeps data out of the log: whatever a handler or a check prints is stripped of the values that it was
//! given. Which values those are is for others to say.

use std::cell::OnceCell;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use serde_json::Value;

use super::handler::ascii_json;

/// What is shown of a line where nothing of it can be.
const TOO_MUCH: &str = "*** (not shown: there is too much data to be masked in it)";

/// Characters of one line that reach the log.
const MAX_LINE: usize = 1024;
/// Bytes of one line that are kept until it ends.
pub(super) const MAX_RAW: usize = 64 << 10;

/// What must not be seen beside the data that a program was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hidden {
    /// These texts.
    These(Vec<String>),
    /// Everything that it prints.
    All,
}

impl Default for Hidden {
    fn default() -> Self {
        Self::These(Vec::new())
    }
}

impl Hidden {
    /// Shorter values are not secrets, and would blank out half of every line.
    const SHORTEST: usize = 4;

    /// Whether a text is one that can be hidden.
    #[must_use]
    pub fn is_worth(text: &str) -> bool {
        text.trim().len() >= Self::SHORTEST
    }
}

/// The values that must not be seen in a handler's output. They are made ready to be looked for with the
/// first line that is shown: most programs print none.
pub(super) struct Mask {
    payload: Value,
    hidden: Hidden,
    ready: OnceCell<Ready>,
}

/// The values, in the forms in which they may come.
struct Ready {
    /// `None` if they are too many: then nothing of the output is shown.
    values: Option<AhoCorasick>,
    longest: usize,
}

impl Mask {
    pub(super) fn of(payload: &Value, hidden: &Hidden) -> Self {
        Self {
            payload: payload.clone(),
            hidden: hidden.clone(),
            ready: OnceCell::new(),
        }
    }

    /// A line as it may be shown: without the values, cut, control characters left to the log.
    pub(super) fn line(&self, raw: &[u8]) -> String {
        let ready = self
            .ready
            .get_or_init(|| Ready::of(&self.payload, &self.hidden));
        ready.line(raw)
    }
}

impl Ready {
    /// Bytes that are looked for: beyond that getting ready takes seconds.
    const ROOM: usize = 1 << 20;
    /// Bytes of a piece of a long value: enough to be found, few enough to be looked for.
    const PIECE: usize = 4096;

    fn of(payload: &Value, hidden: &Hidden) -> Self {
        fn collect(value: &Value, into: &mut Vec<String>) {
            match value {
                Value::String(text) => {
                    // As it is; as it stands in JSON, which is what the handler reads; and line by
                    // line, as a value of several lines is printed.
                    let quoted = |json: String| json.trim_matches('"').to_owned();
                    into.push(quoted(value.to_string()));
                    into.push(quoted(ascii_json(value)));
                    into.extend(text.lines().map(str::to_owned));
                    into.push(text.clone());
                }
                Value::Number(number) => into.push(number.to_string()),
                Value::Array(list) => list.iter().for_each(|item| collect(item, into)),
                Value::Object(map) => map.values().for_each(|item| collect(item, into)),
                Value::Null | Value::Bool(_) => {}
            }
        }
        let nothing = Self {
            values: None,
            longest: 0,
        };
        let mut values = Vec::new();
        collect(payload, &mut values);
        match hidden {
            Hidden::All => return nothing,
            Hidden::These(texts) => {
                for text in texts {
                    collect(&Value::from(text.as_str()), &mut values);
                }
            }
        }
        values.sort_unstable();
        values.dedup();
        if values.iter().map(String::len).sum::<usize>() > Self::ROOM {
            return nothing;
        }
        let mut values: Vec<String> = values
            .iter()
            .flat_map(|value| Self::pieces(value))
            .collect();
        values.retain(|value| Hidden::is_worth(value));
        values.sort_unstable();
        values.dedup();
        Self {
            longest: values.iter().map(String::len).max().unwrap_or(0),
            // Longest first, so that a value which contains another is masked as a whole.
            values: AhoCorasick::builder()
                .match_kind(MatchKind::LeftmostLongest)
                // Built for a few lines: the faster kinds take longer to build than they save.
                .kind(Some(AhoCorasickKind::NoncontiguousNFA))
                .build(&values)
                .ok(),
        }
    }

    /// A long value in pieces, which follow each other in the output as well.
    fn pieces(value: &str) -> Vec<String> {
        let mut pieces = vec![String::new()];
        for c in value.chars() {
            match pieces.last_mut() {
                Some(last) if last.len() < Self::PIECE => last.push(c),
                _ => pieces.push(c.to_string()),
            }
        }
        pieces
    }

    /// A line as it may be shown: without the values, cut, control characters left to the log.
    fn line(&self, raw: &[u8]) -> String {
        let Some(values) = &self.values else {
            return TOO_MUCH.to_owned();
        };
        // At the end of a line that was cut while reading, a part of a value would not be known.
        let known = if raw.len() < MAX_RAW {
            raw.len()
        } else {
            raw.len().saturating_sub(self.longest)
        };
        let raw = raw.get(..known).unwrap_or_default();
        let text = String::from_utf8_lossy(raw);
        let mut masked = String::new();
        values.replace_all_with(text.trim_end_matches('\r'), &mut masked, |_, _, into| {
            into.push_str("***");
            true
        });
        if let Some((end, _)) = masked.char_indices().nth(MAX_LINE) {
            masked.truncate(end);
            masked.push('…');
        }
        masked
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(payload: &Value) -> Mask {
        Mask::of(payload, &Hidden::default())
    }

    #[test]
    fn what_else_is_hidden_is_masked_too_and_too_much_hides_all() {
        let hidden = Hidden::These(vec!["derived".to_owned(), "two\nlines".to_owned()]);
        let mask = Mask::of(&json!({"a": "secret"}), &hidden);
        assert_eq!(
            mask.line(b"derived of secret: lines two"),
            "*** of ***: *** two"
        );
        assert_eq!(Mask::of(&json!({}), &Hidden::All).line(b"x"), TOO_MUCH);
        let large = Hidden::These((0..200_000).map(|n| format!("text-{n}")).collect());
        assert_eq!(Mask::of(&json!({}), &large).line(b"x"), TOO_MUCH);
    }

    #[test]
    fn values_are_masked_in_every_form_the_longest_first() {
        let mask = of(&json!({"a": "secret", "b": ["secretive", 3306], "c": "ab",
            "d": "line one\nline two", "e": "quo\"te\\d", "f": "pässwort"}));
        for (raw, shown) in [
            (
                "secretive secret 3306 ab x=line two",
                "*** *** *** ab x=***",
            ),
            (
                r#"{"e":"quo\"te\\d","f":"p\u00e4sswort"}"#,
                r#"{"e":"***","f":"***"}"#,
            ),
            (r#"quo"te\d pässwort "pässwort""#, r#"*** *** "***""#),
            (r"line one\nline two", "***"),
        ] {
            assert_eq!(mask.line(raw.as_bytes()), shown);
        }
    }

    #[test]
    fn a_value_at_a_cut_is_not_shown_in_part() {
        let mask = of(&json!({"a": "hunter2-hunter2"}));
        let long = format!("{}hunter2-hunter2", "x".repeat(MAX_LINE - 5));
        assert!(!mask.line(long.as_bytes()).contains("hunt"));
        let secrets = "hunter2-hunter2 ".repeat(MAX_RAW);
        let shown = mask.line(&secrets.as_bytes()[..MAX_RAW]);
        assert!(!shown.contains("hunt"), "{shown}");
        assert_eq!(of(&json!({})).line(b"plain"), "plain");
    }
}
