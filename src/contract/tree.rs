//! The tree that sources are merged into: deep merge, dotted lookup, and which source gave what.
//!
//! A tree is a JSON object. Merging is a pure function of the sources' snapshots in their declared
//! order; nothing is ever merged in time order, so that precedence never depends on who spoke last
//! and a deleted key is gone (conformance 2, rule 1; 24).

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// Levels that a key with dots or slashes may have; deeper ones are left out.
pub const MAX_DEPTH: usize = 64;

/// Merges `over` into `base`: maps key by key, everything else replaces what was there.
pub fn merge(base: &mut Value, over: Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                match base.get_mut(&key) {
                    Some(slot) => merge(slot, value),
                    None => {
                        base.insert(key, value);
                    }
                }
            }
        }
        (base, over) => *base = over,
    }
}

/// The node at a dotted path such as `db.master`. A key that itself holds the dots wins.
#[must_use]
pub fn lookup<'a>(tree: &'a Value, path: &str) -> Option<&'a Value> {
    if let Some(found) = tree.get(path) {
        return Some(found);
    }
    let mut node = tree;
    for segment in path.split('.') {
        node = node.get(segment)?;
    }
    Some(node)
}

/// The part of a dotted interface name before its first dot.
#[must_use]
pub fn head(path: &str) -> &str {
    path.split('.').next().unwrap_or(path)
}

/// Splits top-level keys that hold dots into nested maps (conformance 19): `{"db.master": x}` reads
/// as `{"db": {"master": x}}`. Other trees come back as they are.
#[must_use]
pub fn nest_dotted(tree: Value) -> Value {
    match tree {
        Value::Object(map) if map.keys().any(|key| key.contains('.')) => {
            let mut nested = Value::Object(Map::new());
            for (key, value) in map {
                let segments: Vec<_> = key.split('.').filter(|s| !s.is_empty()).collect();
                // Nobody means a tree that deep, and reading one takes stack at every level.
                if segments.len() > MAX_DEPTH {
                    continue;
                }
                let wrapped = segments.iter().rev().fold(value, |inner, segment| {
                    Value::Object(Map::from_iter([((*segment).to_owned(), inner)]))
                });
                merge(&mut nested, wrapped);
            }
            nested
        }
        other => other,
    }
}

/// Which source each part of a merged tree came from; mirrors the tree's maps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Everything from here down came from the source of this index.
    Source(usize),
    /// The keys came from different places.
    Map(BTreeMap<String, Origin>),
}

impl Origin {
    fn of(source: usize, value: &Value) -> Self {
        match value {
            Value::Object(map) => Self::Map(
                map.iter()
                    .map(|(key, value)| (key.clone(), Self::of(source, value)))
                    .collect(),
            ),
            _ => Self::Source(source),
        }
    }

    fn merge(&mut self, over: Self) {
        match (self, over) {
            (Self::Map(base), Self::Map(over)) => {
                for (key, origin) in over {
                    match base.get_mut(&key) {
                        Some(slot) => slot.merge(origin),
                        None => {
                            base.insert(key, origin);
                        }
                    }
                }
            }
            (base, over) => *base = over,
        }
    }

    /// The source of the node at a path of keys; `None` where the path leads nowhere or to a map.
    pub fn source<'a>(&self, path: impl IntoIterator<Item = &'a str>) -> Option<usize> {
        let mut node = self;
        for segment in path {
            match node {
                Self::Source(index) => return Some(*index),
                Self::Map(map) => node = map.get(segment)?,
            }
        }
        match node {
            Self::Source(index) => Some(*index),
            Self::Map(_) => None,
        }
    }
}

/// The merged tree and where its parts came from.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// Always an object.
    pub data: Value,
    /// Mirrors `data`.
    pub origin: Origin,
}

impl Facts {
    /// Merges snapshots in the given order; a snapshot that is no object adds nothing.
    pub fn merged<'a>(snapshots: impl IntoIterator<Item = (usize, &'a Value)>) -> Self {
        let mut facts = Self {
            data: Value::Object(Map::new()),
            origin: Origin::Map(BTreeMap::new()),
        };
        for (source, snapshot) in snapshots {
            if snapshot.is_object() {
                facts.origin.merge(Origin::of(source, snapshot));
                merge(&mut facts.data, snapshot.clone());
            }
        }
        facts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn later_sources_win_key_by_key() {
        let flat = json!({"db": {"host": "a", "port": 1}, "list": [1, 2]});
        let consul = json!({"db": {"host": "b"}, "list": [3]});
        let facts = Facts::merged([(0, &flat), (1, &consul)]);
        assert_eq!(
            facts.data,
            json!({"db": {"host": "b", "port": 1}, "list": [3]})
        );
        assert_eq!(facts.origin.source(["db", "host"]), Some(1));
        assert_eq!(facts.origin.source(["db", "port"]), Some(0));
        assert_eq!(facts.origin.source(["list", "0"]), Some(1));
        assert_eq!(facts.origin.source(["nope"]), None);
    }

    #[test]
    fn a_map_and_a_scalar_replace_each_other() {
        let facts = Facts::merged([(0, &json!({"a": {"b": 1}})), (1, &json!({"a": "x"}))]);
        assert_eq!(facts.data, json!({"a": "x"}));
        assert_eq!(facts.origin.source(["a"]), Some(1));
    }

    #[test]
    fn dotted_keys_nest_and_dotted_paths_look_up() {
        let nested = nest_dotted(json!({"db.master": {"host": "a"}, "db": {"port": 1}}));
        assert_eq!(nested, json!({"db": {"master": {"host": "a"}, "port": 1}}));
        assert_eq!(lookup(&nested, "db.master.host"), Some(&json!("a")));
        assert_eq!(lookup(&nested, "db.slave"), None);
    }

    #[test]
    fn a_key_with_too_many_dots_is_left_out() {
        let nested = nest_dotted(json!({"a.".repeat(100_000) + "b": 1, "c.d": 2}));
        assert_eq!(nested, json!({"c": {"d": 2}}));
    }

    fn trees() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<i64>().prop_map(Value::from),
            "[a-c]{0,2}".prop_map(Value::from)
        ];
        let node = leaf.prop_recursive(4, 32, 4, |inner| {
            prop::collection::btree_map("[a-d]", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect()))
        });
        prop::collection::btree_map("[a-d]", node, 0..4)
            .prop_map(|map| Value::Object(map.into_iter().collect()))
    }

    proptest! {
        // A failure is printed, and does not become a file of the repository.
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn merging_is_idempotent_and_the_later_tree_is_all_there(a in trees(), b in trees()) {
            let two = |a: &Value, b: &Value| { let mut m = a.clone(); merge(&mut m, b.clone()); m };
            prop_assert_eq!(&two(&a, &a), &a);
            let merged = two(&a, &b);
            prop_assert_eq!(&two(&merged, &b), &merged);
        }

        #[test]
        fn every_leaf_has_the_origin_of_the_last_source_that_set_it(a in trees(), b in trees()) {
            let facts = Facts::merged([(0, &a), (1, &b)]);
            fn leaves(path: &mut Vec<String>, value: &Value, out: &mut Vec<Vec<String>>) {
                if let Value::Object(map) = value {
                    for (key, value) in map {
                        path.push(key.clone());
                        leaves(path, value, out);
                        path.pop();
                    }
                } else {
                    out.push(path.clone());
                }
            }
            let mut all = Vec::new();
            leaves(&mut Vec::new(), &facts.data, &mut all);
            for path in all {
                let pointer: String = path.iter().map(|s| format!("/{s}")).collect();
                let in_b = b.pointer(&pointer).is_some();
                let want = usize::from(in_b);
                prop_assert_eq!(facts.origin.source(path.iter().map(String::as_str)), Some(want));
            }
        }
    }
}
