//! What an index says of a layer, and which terms find it. Where it says so is not known here.

use serde_json::{Map, Value};

use crate::contract::layer::{check_name, digest, repo};

/// Fields that the original's server kept to itself.
const HIDDEN: [&str; 2] = ["_id", "lastmodified"];

/// A layer of an index: an object of JSON with `name` and `repo` in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// See [`check_name`].
    pub name: String,
    /// All of it, `id` and `name` first.
    pub fields: Map<String, Value>,
}

impl Entry {
    /// Reads an object. What an index may leave out is left out, and its `id` is then the name.
    ///
    /// # Errors
    /// What makes it none, as a fragment.
    pub fn read(value: &Value) -> Result<Self, String> {
        let Value::Object(object) = value else {
            return Err("a layer is no object".to_owned());
        };
        let name = object.get("name").or(object.get("id"));
        let name = name
            .and_then(Value::as_str)
            .ok_or("a layer has no `name`")?;
        check_name(name)?;
        let mut fields = Map::new();
        let id = object.get("id").filter(|id| !id.is_null());
        fields.insert("id".to_owned(), id.cloned().unwrap_or_else(|| name.into()));
        fields.insert("name".to_owned(), name.into());
        for (key, value) in object {
            if !HIDDEN.contains(&key.as_str()) {
                fields.entry(key).or_insert_with(|| value.clone());
            }
        }
        Ok(Self {
            name: name.to_owned(),
            fields,
        })
    }

    /// A field as text: scalars as they print, nothing else.
    #[must_use]
    pub fn text(&self, field: &str) -> Option<String> {
        scalar(self.fields.get(field)?)
    }

    /// Whether it is what `name` asks for. The original asks by `id`.
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        self.name == name || self.text("id").as_deref() == Some(name)
    }

    /// The repository, and the directory in it.
    ///
    /// # Errors
    /// None, or one that leads elsewhere, as a fragment.
    pub fn repo(&self) -> Result<(String, Option<String>), String> {
        let url = self
            .text("repo")
            .ok_or("the index names no `repo` for it")?;
        let within = match self.text("repopath") {
            Some(path) => repo::subpath(&path).map_err(|message| format!("repopath {message}"))?,
            None => None,
        };
        Ok((url, within))
    }

    /// The commit that the index vouches for.
    ///
    /// # Errors
    /// Something else in its place, as a fragment.
    pub fn commit(&self) -> Result<Option<String>, String> {
        let commit = self.text("commit");
        match commit.as_deref().is_none_or(digest::is_commit) {
            true => Ok(commit),
            false => Err("the index gives a `commit` that is none".to_owned()),
        }
    }

    /// Whether all terms find it: `key:value` by a field that is just that, every other by a text in
    /// any field, whatever its case.
    #[must_use]
    pub fn matches(&self, terms: &[String]) -> bool {
        terms.iter().all(|term| match term.split_once(':') {
            Some((key, wanted)) => {
                let is_it = |value: &Value| scalar(value).as_deref() == Some(wanted);
                match self.fields.get(key) {
                    Some(Value::Array(items)) => items.iter().any(is_it),
                    Some(value) => is_it(value),
                    None => false,
                }
            }
            None => {
                let wanted = term.to_lowercase();
                let holds = |value: &Value| {
                    value
                        .as_str()
                        .is_some_and(|text| text.to_lowercase().contains(&wanted))
                };
                self.fields.values().any(|value| match value {
                    Value::Array(items) => items.iter().any(holds),
                    value => holds(value),
                })
            }
        })
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn entry() -> Entry {
        Entry::read(&json!({
            "_id": "x", "name": "mysql", "lastmodified": 1, "owner": ["jo", "al"], "version": 1,
            "summary": "The Database", "repo": "https://example.com/a.git", "repopath": "a/b/",
        }))
        .unwrap()
    }

    #[test]
    fn an_object_is_read_without_what_is_hidden() {
        let entry = entry();
        let keys: Vec<_> = entry.fields.keys().map(String::as_str).collect();
        assert_eq!(
            keys,
            [
                "id", "name", "owner", "version", "summary", "repo", "repopath"
            ]
        );
        assert_eq!(
            entry.repo(),
            Ok(("https://example.com/a.git".into(), Some("a/b".into())))
        );
        assert_eq!(entry.commit(), Ok(None));
        for bad in [
            json!([]),
            json!({}),
            json!({"name": "../x"}),
            json!({"name": 1}),
        ] {
            assert!(Entry::read(&bad).is_err(), "{bad}");
        }
        let odd = json!({"name": "a", "repopath": "../x", "repo": "r", "commit": "main"});
        let odd = Entry::read(&odd).unwrap();
        assert!(odd.repo().is_err() && odd.commit().is_err());
    }

    #[test]
    fn terms_find_it_all_or_not_at_all() {
        let found = |terms: &[&str]| {
            entry().matches(&terms.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        for terms in [
            &[][..],
            &["data"],
            &["DATABASE", "my"],
            &["owner:al"],
            &["version:1"],
            &["jo"],
        ] {
            assert!(found(terms), "{terms:?}");
        }
        for terms in [
            &["data", "redis"][..],
            &["owner:a"],
            &["none:x"],
            &["summary:The"],
        ] {
            assert!(!found(terms), "{terms:?}");
        }
    }
}
