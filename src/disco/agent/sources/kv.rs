//! From pairs of key and value to a tree: what Consul, etcd and the environment have in common.

use serde_json::{Map, Value};

use crate::contract::text::{self, Format, Snippet};
use crate::contract::tree::MAX_DEPTH;
use crate::disco::settings::Decode;

/// A tree under construction, and what was odd about its pairs.
pub struct KeyTree {
    decode: Decode,
    root: Map<String, Value>,
    notes: Vec<String>,
}

impl KeyTree {
    /// An empty tree.
    #[must_use]
    pub fn new(decode: Decode) -> Self {
        Self {
            decode,
            root: Map::new(),
            notes: Vec::new(),
        }
    }

    /// Adds a pair. The key is split at `/`, empty segments dropped; one that ends in `/` is a
    /// folder, and so an empty map. A value that cannot be read loses that key alone.
    pub fn add(&mut self, key: &str, value: &[u8]) {
        let segments: Vec<&str> = key.split('/').filter(|s| !s.is_empty()).collect();
        if segments.len() > MAX_DEPTH {
            let shown: String = key.chars().take(40).collect();
            let note = format!("key `{shown}…` is left out: it has more than {MAX_DEPTH} levels");
            return self.notes.push(note);
        }
        let value = if key.ends_with('/') {
            Value::Object(Map::new())
        } else {
            match self.decode(value) {
                Ok(value) => value,
                Err(reason) => {
                    return self
                        .notes
                        .push(format!("key `{key}` is left out: {reason}"));
                }
            }
        };
        self.insert(&segments, value, key);
    }

    fn decode(&self, value: &[u8]) -> Result<Value, String> {
        let text = std::str::from_utf8(value).map_err(|_| "its value is not UTF-8".to_owned())?;
        match self.decode {
            Decode::String => Ok(Value::String(text.to_owned())),
            Decode::Json => {
                Ok(serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned())))
            }
            Decode::Yaml => text::parse(value, Some(Format::Yaml), Snippet::Masked)
                .map(|document| document.value)
                .map_err(|problem| format!("its value is no YAML: {}", problem.message)),
        }
    }

    /// Where `db` is a value and `db/host` exists, the map wins whatever the order (conformance 2.1.14).
    fn insert(&mut self, segments: &[&str], value: Value, key: &str) {
        let Some((last, parents)) = segments.split_last() else {
            return;
        };
        let mut map = &mut self.root;
        for segment in parents {
            let slot = map
                .entry((*segment).to_owned())
                .or_insert_with(|| Value::Object(Map::new()));
            if !slot.is_object() {
                let shadowed = parents.join("/");
                self.notes.push(format!(
                    "value of `{shadowed}` is left out: there are keys below it, such as `{key}`"
                ));
                *slot = Value::Object(Map::new());
            }
            map = match slot {
                Value::Object(inner) => inner,
                // Made an object by the lines above.
                _ => return,
            };
        }
        match (map.get_mut(*last), value) {
            (Some(Value::Object(_)), Value::Object(_)) => {}
            (Some(Value::Object(_)), _) => {
                self.notes.push(format!(
                    "value of `{key}` is left out: there are keys below it"
                ));
            }
            (Some(slot), value @ Value::Object(_)) if slot.is_string() => {
                self.notes.push(format!(
                    "value of `{}` is left out: it is a folder, too",
                    key.trim_end_matches('/')
                ));
                *slot = value;
            }
            (Some(slot), value) => *slot = value,
            (None, value) => {
                map.insert((*last).to_owned(), value);
            }
        }
    }

    /// The tree and the notes.
    #[must_use]
    pub fn finish(self) -> (Value, Vec<String>) {
        (Value::Object(self.root), self.notes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn tree(decode: Decode, pairs: &[(&str, &[u8])]) -> (Value, Vec<String>) {
        let mut tree = KeyTree::new(decode);
        for (key, value) in pairs {
            tree.add(key, value);
        }
        tree.finish()
    }

    #[test]
    fn keys_nest_and_folders_are_maps() {
        let pairs: &[(&str, &[u8])] = &[
            ("db/", b""),
            ("db/host", b"a"),
            ("//db//port", b"1"),
            ("empty/", b""),
            ("sp ace/é", "é".as_bytes()),
            ("", b"x"),
        ];
        let (got, notes) = tree(Decode::String, pairs);
        assert_eq!(
            got,
            json!({"db": {"host": "a", "port": "1"}, "empty": {}, "sp ace": {"é": "é"}})
        );
        assert!(notes.is_empty(), "{notes:?}");
    }

    #[test]
    fn the_map_wins_over_the_value_in_any_order() {
        for pairs in [
            [("db", b"x"), ("db/host", b"a")],
            [("db/host", b"a"), ("db", b"x")],
        ] {
            let (got, notes) = tree(Decode::String, &pairs.map(|(k, v)| (k, v.as_slice())));
            assert_eq!(got, json!({"db": {"host": "a"}}));
            assert_eq!(notes.len(), 1);
        }
    }

    #[test]
    fn what_is_not_utf8_loses_that_key_alone() {
        let (got, notes) = tree(Decode::String, &[("a", b"\xff"), ("b", b"1")]);
        assert_eq!(got, json!({"b": "1"}));
        assert!(notes[0].contains("`a`"), "{notes:?}");
    }

    #[test]
    fn values_decode_as_told() {
        let (got, _) = tree(
            Decode::Json,
            &[("a", b"{\"b\": 1}"), ("c", b"plain"), ("d", b"5")],
        );
        assert_eq!(got, json!({"a": {"b": 1}, "c": "plain", "d": 5}));
        let (got, notes) = tree(Decode::Yaml, &[("a", b"b: 1"), ("c", b"[hunter2")]);
        assert_eq!(got, json!({"a": {"b": 1}}));
        assert!(!notes[0].contains("hunter2"), "{notes:?}");
    }

    #[test]
    fn a_key_too_deep_for_any_stack_is_left_out() {
        let deep = "a/".repeat(100_000) + "b";
        let (got, notes) = tree(Decode::String, &[(&deep, b"x"), ("c", b"y")]);
        assert_eq!(got, json!({"c": "y"}));
        assert!(notes[0].len() < 200, "{notes:?}");
    }

    proptest! {
        // A failure is printed, and does not become a file of the repository.
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_set_of_keys_panics_or_depends_on_order(
            pairs in prop::collection::btree_map("[ab/]{0,6}", prop::collection::vec(any::<u8>(), 0..4), 0..8)
        ) {
            let forward: Vec<_> = pairs.iter().map(|(k, v)| (k.as_str(), v.as_slice())).collect();
            let (got, _) = tree(Decode::String, &forward);
            prop_assert!(got.is_object());
        }
    }
}
