//! From answers of the keys API to pairs, and what its refusals mean. No I/O.

use serde_json::Value;

use super::super::etcd::Failure;
use super::super::kv::KeyTree;
use super::wire::{AnswerRaw, NodeRaw};
use crate::disco::settings::Decode;

const KEY_NOT_FOUND: u32 = 100;
const NO_RIGHT: u32 = 110;
const RAFT: u32 = 300;
const LEADER_ELECTION: u32 = 301;
const HISTORY_CLEARED: u32 = 401;

/// Which store, and how far its history has come, as headers have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Index {
    pub(super) cluster: Option<String>,
    pub(super) index: u64,
}

impl Index {
    /// Both headers are on every answer of etcd, also on that to a key that is not there.
    pub(super) fn parse(index: Option<&str>, cluster: Option<&str>) -> Result<Self, Failure> {
        let index = index.and_then(|text| text.parse().ok());
        Ok(Self {
            cluster: cluster.map(str::to_owned),
            index: index.ok_or_else(Failure::garbage)?,
        })
    }
}

/// What an answer to a read means: its node, or none where the key is not there.
pub(super) fn node(status: u16, body: &[u8]) -> Result<Option<NodeRaw>, Failure> {
    let answer: Option<AnswerRaw> = serde_json::from_slice(body).ok();
    match (status, answer) {
        (
            200,
            Some(AnswerRaw {
                node: Some(node), ..
            }),
        ) => Ok(Some(node)),
        (200, _) => Err(Failure::garbage()),
        (404, Some(answer)) if answer.error_code == KEY_NOT_FOUND => Ok(None),
        (404, _) => Err(Failure::Absent),
        (status, answer) => Err(refusal(
            status,
            answer.map_or(0, |answer| answer.error_code),
        )),
    }
}

fn refusal(status: u16, code: u32) -> Failure {
    if code == HISTORY_CLEARED {
        return Failure::Outdated("the history is cleared".to_owned());
    }
    let reason = match code {
        NO_RIGHT => "the user has no right to it, or the password is wrong",
        RAFT => "an error inside raft",
        LEADER_ELECTION => "there is no leader",
        _ => return Failure::Broken(format!("HTTP {status}")),
    };
    Failure::Broken(format!("HTTP {status}: {reason}"))
}

/// The tree of the nodes below `prefix`, and what is odd about it.
pub(super) fn tree(root: Option<&NodeRaw>, prefix: &str, decode: Decode) -> (Value, Vec<String>) {
    let mut tree = KeyTree::new(decode);
    let folder = absolute(prefix);
    let mut notes = Vec::new();
    match root {
        Some(root) if !root.dir && !prefix.is_empty() => {
            notes.push("the prefix is a key, not a directory".to_owned());
        }
        Some(root) => add(&mut tree, root, &folder),
        None => {}
    }
    let (tree, more) = tree.finish();
    notes.extend(more);
    (tree, notes)
}

fn add(tree: &mut KeyTree, node: &NodeRaw, folder: &str) {
    let key = node.key.strip_prefix(folder).unwrap_or_default();
    if node.dir {
        tree.add(&format!("{key}/"), b"");
    } else {
        tree.add(key, node.value.as_bytes());
    }
    for node in &node.nodes {
        add(tree, node, folder);
    }
}

/// The directory that `prefix` names, as keys start with it: v2 has a leading slash always.
fn absolute(prefix: &str) -> String {
    let names: Vec<&str> = prefix.split('/').filter(|name| !name.is_empty()).collect();
    names.iter().map(|name| format!("/{name}")).collect()
}

/// The path of a request for `prefix`.
pub(super) fn path(prefix: &str) -> String {
    let mut path = "/v2/keys".to_owned();
    for byte in absolute(prefix).bytes() {
        match byte {
            b'/' | b'-' | b'.' | b'_' | b'~' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => {
                path.push(char::from(byte));
            }
            byte => path.extend(['%', hex(byte >> 4), hex(byte & 15)]),
        }
    }
    path
}

fn hex(digit: u8) -> char {
    char::from(match digit {
        0..=9 => b'0' + digit,
        _ => b'A' - 10 + digit,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn e2_2_13_nodes_become_a_tree() {
        let body = r#"{"action":"get","node":{"key":"/app","dir":true,"nodes":[
            {"key":"/app/db","dir":true,"nodes":[{"key":"/app/db/host","value":"a"}]},
            {"key":"/app/empty","dir":true},
            {"key":"/app/name","value":"x","modifiedIndex":7,"createdIndex":7}]}}"#;
        let root = node(200, body.as_bytes()).unwrap();
        for prefix in ["app/", "/app/"] {
            let (got, notes) = tree(root.as_ref(), prefix, Decode::String);
            assert_eq!(got, json!({"db": {"host": "a"}, "empty": {}, "name": "x"}));
            assert!(notes.is_empty());
        }
        let (got, _) = tree(root.as_ref(), "", Decode::String);
        assert_eq!(got["app"]["db"]["host"], "a");
    }

    #[test]
    fn e2_2_13_a_prefix_that_is_a_key() {
        let root = node(200, br#"{"node":{"key":"/app","value":"x"}}"#).unwrap();
        let (got, notes) = tree(root.as_ref(), "app/", Decode::String);
        assert_eq!(got, json!({}));
        assert_eq!(notes.len(), 1);
    }

    #[test]
    fn e2_2_13_refusals() {
        let broken = |reason: &str| Err(Failure::Broken(reason.to_owned()));
        let cases = [
            (
                404,
                r#"{"errorCode":100,"message":"Key not found"}"#,
                Ok(true),
            ),
            (404, "404 page not found\n", Err(Failure::Absent)),
            (404, r#"{"errorCode":"100"}"#, Err(Failure::Absent)),
            (200, "", Err(Failure::garbage())),
            (200, "{}", Err(Failure::garbage())),
            (
                200,
                r#"{"node":{"key":"/a","nodes":["#,
                Err(Failure::garbage()),
            ),
            (
                400,
                r#"{"errorCode":401,"message":"The event in requested index is outdated"}"#,
                Err(Failure::Outdated("the history is cleared".to_owned())),
            ),
            (
                500,
                r#"{"errorCode":301}"#,
                broken("HTTP 500: there is no leader"),
            ),
            (500, "hunter2", broken("HTTP 500")),
            (429, "", broken("HTTP 429")),
        ];
        for (status, body, expected) in cases {
            let got = node(status, body.as_bytes()).map(|node| node.is_none());
            assert_eq!(got, expected, "{body}");
        }
    }

    #[test]
    fn e2_2_13_an_answer_without_an_index_is_none() {
        assert!(Index::parse(None, Some("a")).is_err());
        assert!(Index::parse(Some("x"), None).is_err());
        assert_eq!(Index::parse(Some("7"), None).unwrap().index, 7);
    }

    #[test]
    fn paths_are_absolute_and_encoded() {
        for (prefix, expected) in [
            ("", "/v2/keys"),
            ("app/", "/v2/keys/app"),
            ("/app/a b/", "/v2/keys/app/a%20b"),
            ("é?/", "/v2/keys/%C3%A9%3F"),
        ] {
            assert_eq!(path(prefix), expected);
        }
    }
}
