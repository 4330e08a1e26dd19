//! What the JSON gateway of etcd v3 answers, as it is on the wire.
//!
//! 64-bit numbers come as strings, keys and values as base64, and whatever is zero or empty is left
//! out; so every field has a default, and whoever uses one checks what must not be zero.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;
use std::fmt;

/// A key or a value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Bytes(pub(super) Vec<u8>);

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?.unwrap_or_default();
        match BASE64_STANDARD.decode(text) {
            Ok(bytes) => Ok(Self(bytes)),
            Err(_) => Err(de::Error::custom("expected base64")),
        }
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_STANDARD.encode(&self.0))
    }
}

/// A 64-bit number, as a string or as a number.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    struct Number;

    impl Visitor<'_> for Number {
        type Value = u64;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a number or a string that holds one")
        }

        fn visit_u64<E: de::Error>(self, number: u64) -> Result<u64, E> {
            Ok(number)
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<u64, E> {
            text.parse().map_err(E::custom)
        }

        fn visit_unit<E: de::Error>(self) -> Result<u64, E> {
            Ok(0)
        }
    }

    deserializer.deserialize_any(Number)
}

/// Some gateways write `null` for what this one leaves out.
fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub(super) struct HeaderRaw {
    #[serde(deserialize_with = "number")]
    pub(super) cluster_id: u64,
    #[serde(deserialize_with = "number")]
    pub(super) revision: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct KeyValueRaw {
    pub(super) key: Bytes,
    pub(super) value: Bytes,
    #[serde(deserialize_with = "number")]
    pub(super) mod_revision: u64,
}

/// The answer to `kv/range`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RangeRaw {
    #[serde(deserialize_with = "or_default")]
    pub(super) header: HeaderRaw,
    #[serde(deserialize_with = "or_default")]
    pub(super) kvs: Vec<KeyValueRaw>,
    #[serde(deserialize_with = "or_default")]
    pub(super) more: bool,
    /// Of all keys in the range, whatever the limit and the filters.
    #[serde(deserialize_with = "number")]
    pub(super) count: u64,
}

impl RangeRaw {
    /// Bytes of its keys and values.
    pub(super) fn size(&self) -> usize {
        let sizes = self.kvs.iter().map(|kv| kv.key.0.len() + kv.value.0.len());
        sizes.sum()
    }
}

/// The answer to `auth/authenticate`.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct LoginRaw {
    #[serde(deserialize_with = "or_default")]
    pub(super) token: String,
}

/// One line of the answer to `watch`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct LineRaw {
    pub(super) result: Option<WatchRaw>,
    pub(super) error: Option<ErrorRaw>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct WatchRaw {
    #[serde(deserialize_with = "or_default")]
    pub(super) header: HeaderRaw,
    #[serde(deserialize_with = "or_default")]
    pub(super) created: bool,
    #[serde(deserialize_with = "or_default")]
    pub(super) canceled: bool,
    #[serde(deserialize_with = "number")]
    pub(super) compact_revision: u64,
    #[serde(deserialize_with = "or_default")]
    pub(super) cancel_reason: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) events: Vec<EventRaw>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct EventRaw {
    /// `DELETE`, or `PUT`, which is zero and so left out.
    #[serde(rename = "type", deserialize_with = "or_default")]
    pub(super) kind: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) kv: KeyValueRaw,
}

/// A refusal: the body of an answer, or a line of a stream.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ErrorRaw {
    /// Of gRPC, not of HTTP.
    #[serde(alias = "grpc_code", deserialize_with = "number")]
    pub(super) code: u64,
    #[serde(deserialize_with = "or_default")]
    pub(super) message: String,
    /// Where 3.3 has the message; 3.4 has it twice.
    pub(super) error: Value,
}

impl ErrorRaw {
    pub(super) fn text(&self) -> &str {
        match (self.message.as_str(), &self.error) {
            ("", Value::String(text)) => text,
            (text, _) => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn range(text: &str) -> RangeRaw {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn numbers_are_strings_or_numbers_and_zero_when_missing() {
        for text in [
            r#"{"header":{"cluster_id":"14841639068965178418","revision":"7"},"count":"1"}"#,
            r#"{"header":{"cluster_id":14841639068965178418,"revision":7},"count":1,"kvs":null}"#,
        ] {
            let answer = range(text);
            assert_eq!(answer.header.cluster_id, 14_841_639_068_965_178_418);
            assert_eq!((answer.header.revision, answer.count), (7, 1));
        }
        let answer = range(r#"{"header":null,"more":null,"count":null,"new":{"field":[]}}"#);
        assert_eq!((answer.header.revision, answer.count), (0, 0));
        assert!(!answer.more && answer.kvs.is_empty());
    }

    #[test]
    fn an_empty_value_is_left_out() {
        let answer = range(r#"{"kvs":[{"key":"YQ==","mod_revision":"2"}]}"#);
        assert_eq!(answer.kvs[0].key.0, b"a");
        assert_eq!(answer.kvs[0].value.0, b"");
    }

    #[test]
    fn what_is_no_base64_is_refused() {
        for text in [r#"{"kvs":[{"key":"*"}]}"#, r#"{"kvs":[{"key":["a"]}]}"#] {
            assert!(serde_json::from_str::<RangeRaw>(text).is_err());
        }
    }

    #[test]
    fn the_message_of_a_refusal_by_version() {
        for text in [
            r#"{"error":"etcdserver: x","code":3}"#,
            r#"{"error":"etcdserver: x","message":"etcdserver: x","code":3}"#,
            r#"{"code":3,"message":"etcdserver: x","details":[]}"#,
            r#"{"grpc_code":3,"http_code":400,"message":"etcdserver: x","http_status":"Bad"}"#,
        ] {
            let error: ErrorRaw = serde_json::from_str(text).unwrap();
            assert_eq!((error.code, error.text()), (3, "etcdserver: x"), "{text}");
        }
    }

    proptest! {
        // A failure is printed, and does not become a file of the repository.
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn bytes_survive_the_wire(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let text = serde_json::to_string(&Bytes(bytes.clone())).unwrap();
            prop_assert_eq!(serde_json::from_str::<Bytes>(&text).unwrap().0, bytes);
        }

        #[test]
        fn no_line_panics(line in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = serde_json::from_slice::<LineRaw>(&line);
        }
    }
}
