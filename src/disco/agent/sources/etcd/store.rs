//! The part of the store below the prefix, as pages and events tell of it. No I/O.

use std::collections::BTreeMap;

use serde_json::Value;

use super::failure::{self, Failure};
use super::wire::{EventRaw, HeaderRaw, KeyValueRaw, LineRaw, RangeRaw, WatchRaw};
use crate::disco::agent::sources::kv::KeyTree;
use crate::disco::settings::Decode;

/// Which store, and how far its history has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) cluster: u64,
    pub(super) revision: u64,
}

impl Head {
    /// The first revision is 1: without one, whatever answered is not etcd, and what looks like
    /// an empty store is none.
    pub(super) fn parse(header: HeaderRaw) -> Result<Self, Failure> {
        if header.revision == 0 || header.cluster_id == 0 {
            return Err(Failure::garbage());
        }
        Ok(Self {
            cluster: header.cluster_id,
            revision: header.revision,
        })
    }

    /// Whether what `later` belongs to follows on this. A store that was restored or wiped has
    /// come less far, or is another; a watch on it would be silent until it has come as far.
    pub(super) fn is_followed_by(self, later: Self) -> Result<(), Failure> {
        if later.cluster != self.cluster {
            return Err(Failure::Outdated("another cluster answers".to_owned()));
        }
        if later.revision < self.revision {
            return Err(Failure::Outdated(format!(
                "its history went back from revision {} to {}",
                self.revision, later.revision
            )));
        }
        Ok(())
    }
}

/// The range of all keys that start with `prefix`: first key, and end.
pub(super) fn span(prefix: &[u8]) -> (Vec<u8>, Vec<u8>) {
    // The empty key means something else; no key is smaller than this one.
    let first = if prefix.is_empty() { b"\0" } else { prefix };
    (first.to_vec(), prefix_end(prefix))
}

/// The smallest key greater than all that start with `prefix`; `\0` where there is none.
fn prefix_end(prefix: &[u8]) -> Vec<u8> {
    match prefix.iter().rposition(|byte| *byte < 0xff) {
        Some(last) => {
            let mut end = prefix[..=last].to_vec();
            end[last] += 1;
            end
        }
        None => vec![0],
    }
}

/// The smallest key greater than `key`.
pub(super) fn successor(mut key: Vec<u8>) -> Vec<u8> {
    key.push(0);
    key
}

/// What the watch has told so far, to be compared with the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) head: Head,
    /// Keys below the prefix.
    count: usize,
    /// Lines of the watch.
    lines: u64,
}

impl Seen {
    /// Whether the store, asked for keys modified after `self.head`, has changes that the watch has
    /// not told of. It may be about to.
    pub(super) fn is_behind(self, answer: &RangeRaw) -> bool {
        let count = u64::try_from(self.count).unwrap_or(u64::MAX);
        !answer.kvs.is_empty() || answer.count != count
    }

    /// Whether the watch has told anything since.
    pub(super) fn is_silent_until(self, later: Self) -> bool {
        self.lines == later.lines
    }
}

/// The keys and values below the prefix, as of `head`.
#[derive(Debug)]
pub(super) struct Store {
    head: Head,
    entries: BTreeMap<Vec<u8>, Vec<u8>>,
    lines: u64,
}

impl Store {
    pub(super) fn new(head: Head) -> Self {
        Self {
            head,
            entries: BTreeMap::new(),
            lines: 0,
        }
    }

    pub(super) fn head(&self) -> Head {
        self.head
    }

    pub(super) fn seen(&self) -> Seen {
        Seen {
            head: self.head,
            count: self.entries.len(),
            lines: self.lines,
        }
    }

    /// Adds a page of the range. Returns from which key the next one goes, if there is one.
    pub(super) fn add_page(&mut self, page: RangeRaw) -> Result<Option<Vec<u8>>, Failure> {
        let last = page.kvs.last().map(|pair| pair.key.0.clone());
        for KeyValueRaw { key, value, .. } in page.kvs {
            self.entries.insert(key.0, value.0);
        }
        match (page.more, last) {
            (false, _) => Ok(None),
            (true, Some(last)) => Ok(Some(successor(last))),
            (true, None) => Err(Failure::garbage()),
        }
    }

    /// Applies a line of the watch as one unit. Returns whether there were events in it.
    pub(super) fn apply(&mut self, line: &[u8]) -> Result<bool, Failure> {
        self.lines += 1;
        let answer = parse_line(line)?;
        let header = Head::parse(answer.header)?;
        self.head.is_followed_by(header)?;
        let before = self.head.revision;
        for event in &answer.events {
            self.apply_event(event, before)?;
        }
        Ok(!answer.events.is_empty())
    }

    fn apply_event(&mut self, event: &EventRaw, before: u64) -> Result<(), Failure> {
        let KeyValueRaw {
            key,
            value,
            mod_revision,
        } = &event.kv;
        if *mod_revision <= before {
            return Err(Failure::Outdated("an event is from the past".to_owned()));
        }
        match event.kind.as_str() {
            "" | "PUT" => {
                self.entries.insert(key.0.clone(), value.0.clone());
            }
            "DELETE" => {
                self.entries.remove(&key.0);
            }
            _ => return Err(Failure::Outdated("an event is of no known kind".to_owned())),
        }
        self.head.revision = self.head.revision.max(*mod_revision);
        Ok(())
    }

    /// The tree below `prefix`, and what is odd about it.
    pub(super) fn tree(&self, prefix: &str, decode: Decode) -> (Value, Vec<String>) {
        let mut tree = KeyTree::new(decode);
        let mut unreadable = 0_u32;
        for (key, value) in &self.entries {
            match std::str::from_utf8(key).map(|key| key.strip_prefix(prefix)) {
                Ok(Some(key)) => tree.add(key, value),
                Ok(None) => {}
                Err(_) => unreadable += 1,
            }
        }
        let (tree, mut notes) = tree.finish();
        if unreadable > 0 {
            notes.push(format!(
                "keys that are not UTF-8 are left out: {unreadable}"
            ));
        }
        (tree, notes)
    }
}

/// Reads a line of the watch; whatever ends the watch is a failure.
pub(super) fn parse_line(line: &[u8]) -> Result<WatchRaw, Failure> {
    let line: LineRaw = serde_json::from_slice(line).map_err(|_| Failure::garbage())?;
    match line {
        LineRaw {
            error: Some(error), ..
        } => Err(failure::stream_error(&error)),
        LineRaw {
            result: Some(answer),
            ..
        } if answer.canceled => Err(match answer.compact_revision {
            0 => failure::cancellation(&answer.cancel_reason),
            revision => Failure::Outdated(format!("the store is compacted up to {revision}")),
        }),
        LineRaw {
            result: Some(answer),
            ..
        } => Ok(answer),
        LineRaw { result: None, .. } => Err(Failure::garbage()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::wire::Bytes;
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    const HEAD: Head = Head {
        cluster: 9,
        revision: 10,
    };

    fn put(key: &str, value: &str, revision: u64) -> Value {
        json!({"kv": {
            "key": Bytes(key.into()),
            "value": Bytes(value.into()),
            "mod_revision": revision.to_string(),
        }})
    }

    fn delete(key: &str, revision: u64) -> Value {
        json!({
            "type": "DELETE",
            "kv": {"key": Bytes(key.into()), "mod_revision": revision.to_string()},
        })
    }

    fn line(cluster: u64, revision: u64, events: &[Value]) -> Vec<u8> {
        let header = json!({"cluster_id": cluster.to_string(), "revision": revision.to_string()});
        json!({"result": {"header": header, "events": events}})
            .to_string()
            .into_bytes()
    }

    fn outdated<T: std::fmt::Debug>(result: Result<T, Failure>) -> String {
        match result {
            Err(Failure::Outdated(reason)) => reason,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn e2_2_1_the_range_of_a_prefix() {
        let cases: &[(&[u8], &[u8], &[u8])] = &[
            (b"", b"\0", b"\0"),
            (b"app/", b"app/", b"app0"),
            (b"/app/", b"/app/", b"/app0"),
            (b"a\xff", b"a\xff", b"b"),
            (b"a\xff\xff/", b"a\xff\xff/", b"a\xff\xff0"),
            (b"\xff\xff", b"\xff\xff", b"\0"),
        ];
        for (prefix, first, end) in cases {
            assert_eq!(span(prefix), (first.to_vec(), end.to_vec()), "{prefix:?}");
        }
    }

    #[test]
    fn e2_2_2_pages_lead_to_the_next() {
        let mut store = Store::new(HEAD);
        let page = |kvs: Value, more: bool| {
            serde_json::from_value::<RangeRaw>(json!({"kvs": kvs, "more": more})).unwrap()
        };
        let pair = put("a", "1", 3)["kv"].clone();
        let next = store.add_page(page(json!([pair]), true)).unwrap();
        assert_eq!(next, Some(b"a\0".to_vec()));
        let pair = put("b", "2", 3)["kv"].clone();
        assert_eq!(store.add_page(page(json!([pair]), false)).unwrap(), None);
        assert_eq!(store.entries.len(), 2);
        assert!(store.add_page(page(json!([]), true)).is_err());
    }

    #[test]
    fn e2_2_4_a_line_is_one_unit() {
        let mut store = Store::new(HEAD);
        let events = [put("p/a", "1", 11), put("p/b", "", 11), delete("p/c", 11)];
        assert_eq!(store.apply(&line(9, 11, &events)), Ok(true));
        assert_eq!(store.head().revision, 11);
        let (tree, notes) = store.tree("p/", Decode::String);
        assert_eq!(tree, json!({"a": "1", "b": ""}));
        assert!(notes.is_empty());
        assert_eq!(store.apply(&line(9, 12, &[delete("p/a", 12)])), Ok(true));
        assert_eq!(store.tree("p/", Decode::String).0, json!({"b": ""}));
    }

    #[test]
    fn e2_2_6_compaction_is_no_end_of_data() {
        let text = br#"{"result":{"header":{"cluster_id":"9","member_id":"1","raft_term":"2"},"canceled":true,"compact_revision":"63"}}"#;
        assert_eq!(
            outdated(Store::new(HEAD).apply(text)),
            "the store is compacted up to 63"
        );
    }

    #[test]
    fn e2_2_7_a_history_that_went_back() {
        let later = |cluster, revision| HEAD.is_followed_by(Head { cluster, revision });
        assert_eq!(later(9, 10), Ok(()));
        assert_eq!(later(9, 11), Ok(()));
        assert!(outdated(later(9, 9)).contains("from revision 10 to 9"));
        assert!(outdated(later(8, 11)).contains("another cluster"));
        let mut store = Store::new(HEAD);
        outdated(store.apply(&line(8, 11, &[])));
        outdated(store.apply(&line(9, 9, &[])));
        outdated(store.apply(&line(9, 11, &[put("a", "", 10)])));
    }

    #[test]
    fn e2_2_8_progress_changes_nothing() {
        let mut store = Store::new(HEAD);
        let before = store.seen();
        assert_eq!(store.apply(&line(9, 15, &[])), Ok(false));
        assert_eq!(store.head(), HEAD);
        assert!(!before.is_silent_until(store.seen()));
    }

    #[test]
    fn e2_2_8_a_watch_that_falls_behind() {
        let mut store = Store::new(HEAD);
        store
            .apply(&line(9, 11, &[put("a", "1", 11), put("b", "1", 11)]))
            .unwrap();
        let seen = store.seen();
        let answer = |kvs: Value, count: u64| {
            serde_json::from_value::<RangeRaw>(json!({"kvs": kvs, "count": count})).unwrap()
        };
        assert!(!seen.is_behind(&answer(json!([]), 2)));
        assert!(
            seen.is_behind(&answer(json!([]), 1)),
            "a deletion was missed"
        );
        assert!(seen.is_behind(&answer(json!([put("a", "", 12)["kv"]]), 2)));
    }

    #[test]
    fn what_is_no_answer_of_etcd_is_no_empty_store() {
        for text in ["", "{}", "null", "[]", "<html>", r#"{"result":{}}"#] {
            let result = Store::new(HEAD).apply(text.as_bytes());
            assert_eq!(result, Err(Failure::garbage()), "{text}");
        }
        assert!(Head::parse(HeaderRaw::default()).is_err());
    }

    #[test]
    fn keys_that_are_not_utf8_are_counted_not_shown() {
        let mut store = Store::new(HEAD);
        store.entries.insert(b"p/\xff".to_vec(), b"x".to_vec());
        store.entries.insert(b"p/a".to_vec(), b"x".to_vec());
        let (tree, notes) = store.tree("p/", Decode::String);
        assert_eq!(tree, json!({"a": "x"}));
        assert_eq!(notes, ["keys that are not UTF-8 are left out: 1"]);
    }

    proptest! {
        // A failure is printed, and does not become a file of the repository.
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn e2_2_1_a_range_holds_its_prefix_and_nothing_else(
            prefix in prop::collection::vec(prop_oneof![Just(0xff), any::<u8>()], 0..5),
            key in prop::collection::vec(prop_oneof![Just(0xff), any::<u8>()], 1..8),
            below in any::<bool>(),
        ) {
            let key = if below { [prefix.clone(), key].concat() } else { key };
            let (first, end) = span(&prefix);
            let inside = key >= first && (end == b"\0" || key < end);
            prop_assert_eq!(inside, key.starts_with(&prefix));
        }

        #[test]
        fn e2_2_5_events_lead_to_what_a_range_would_say(
            changes in prop::collection::vec(("[ab]{1,2}", any::<Option<u8>>()), 0..20)
        ) {
            let mut store = Store::new(HEAD);
            let mut expected = BTreeMap::new();
            for (revision, (key, value)) in (11..).zip(changes) {
                let event = match value {
                    Some(value) => {
                        expected.insert(key.clone().into_bytes(), value.to_string().into_bytes());
                        put(&key, &value.to_string(), revision)
                    }
                    None => {
                        expected.remove(key.as_bytes());
                        delete(&key, revision)
                    }
                };
                prop_assert_eq!(store.apply(&line(9, revision, &[event])), Ok(true));
            }
            prop_assert_eq!(store.entries, expected);
        }
    }
}
