//! The key-value store: from its JSON to a tree.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;

use super::super::kv::KeyTree;
use super::answer::not_the_json;
use crate::disco::settings::Decode;

/// A pair on the wire.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PairRaw<'a> {
    #[serde(borrow)]
    key: Cow<'a, str>,
    /// base64; `null` for an empty value, and for the folders that the user interface makes.
    #[serde(borrow)]
    value: Option<Cow<'a, str>>,
}

/// The tree below `prefix`, and what was odd about its pairs.
///
/// # Errors
/// If this is no answer of Consul's. A value that is merely not text loses its key alone.
pub(super) fn decode(
    body: &[u8],
    prefix: &str,
    decode: Decode,
) -> Result<(Value, Vec<String>), String> {
    let pairs: Vec<PairRaw<'_>> = serde_json::from_slice(body).map_err(|e| not_the_json(&e))?;
    let mut tree = KeyTree::new(decode);
    for pair in pairs {
        // Whatever is answered besides, the tree is what is below the prefix.
        let Some(key) = pair.key.strip_prefix(prefix) else {
            continue;
        };
        let value = STANDARD
            .decode(pair.value.as_deref().unwrap_or_default())
            .map_err(|_| format!("the answer has a value that is not base64, of key `{key}`"))?;
        tree.add(key, &value);
    }
    Ok(tree.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    /// An answer with these pairs; `None` is `null`.
    fn answer(pairs: &[(&str, Option<&[u8]>)]) -> String {
        let pairs = pairs.iter().map(|(key, value)| {
            json!({
                "Key": key, "Value": value.map(|value| STANDARD.encode(value)), "Flags": 0,
                "CreateIndex": 1, "ModifyIndex": 2, "LockIndex": 0, "Session": "x",
            })
        });
        Value::Array(pairs.collect()).to_string()
    }

    fn tree(pairs: &[(&str, Option<&[u8]>)]) -> (Value, Vec<String>) {
        decode(answer(pairs).as_bytes(), "p/", Decode::String).unwrap()
    }

    #[test]
    fn c2_1_1_only_what_is_below_the_prefix() {
        let (got, notes) = tree(&[("p/a", Some(b"1")), ("p2/z", Some(b"2")), ("p", Some(b"3"))]);
        assert_eq!(got, json!({"a": "1"}));
        assert!(notes.is_empty(), "{notes:?}");
    }

    #[test]
    fn c2_1_3_null_is_an_empty_text_or_a_folder() {
        let (got, _) = tree(&[
            ("p/", None),
            ("p/a", None),
            ("p/dir/", None),
            ("p/b/", Some(b"x")),
        ]);
        assert_eq!(got, json!({"a": "", "dir": {}, "b": {}}));
        let missing = decode(br#"[{"Key": "p/a"}]"#, "p/", Decode::String).unwrap();
        assert_eq!(missing.0, json!({"a": ""}));
    }

    #[test]
    fn c2_1_13_keys_come_raw() {
        let (got, _) = tree(&[
            ("p/sp ace/pl+us", Some(b"1")),
            ("p/pct%25/q?mark", Some(b"2")),
            ("p/uni\u{e9}/<&>\"\\\u{1f600}", Some(b"3")),
        ]);
        assert_eq!(
            got,
            json!({"sp ace": {"pl+us": "1"}, "pct%25": {"q?mark": "2"},
                   "uni\u{e9}": {"<&>\"\\\u{1f600}": "3"}})
        );
        // As Go escapes them.
        let (got, _) = decode(
            br#"[{"Key": "p/\u003c\ud83d\ude00"}]"#,
            "p/",
            Decode::String,
        )
        .unwrap();
        assert_eq!(got, json!({"<\u{1f600}": ""}));
    }

    #[test]
    fn c2_1_14_15_a_bad_pair_loses_itself_alone() {
        let (got, notes) = tree(&[
            ("p/db", Some(b"hunter2")),
            ("p/db/host", Some(b"h")),
            ("p/bin", Some(b"\xff\x00")),
        ]);
        assert_eq!(got, json!({"db": {"host": "h"}}));
        assert_eq!(notes.len(), 2, "{notes:?}");
        assert!(!notes.concat().contains("hunter2"));
    }

    proptest! {
        // A failure is printed, and does not become a file of the repository.
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn c2_1_15_every_text_survives(key in "[a-z%+ é]{1,8}", value in any::<String>()) {
            let (got, _) = tree(&[(&format!("p/{key}"), Some(value.as_bytes()))]);
            prop_assert_eq!(got, json!({key: value}));
        }

        #[test]
        fn no_cut_of_an_answer_reads_as_one(cut in 0_usize..100) {
            let whole = answer(&[("p/a", Some(b"one")), ("p/b", Some(b"two"))]);
            let cut = cut.min(whole.len() - 1);
            prop_assert!(decode(&whole.as_bytes()[..cut], "p/", Decode::String).is_err());
        }
    }
}
