//! Environment variables as a source: read once, since nobody else can change them.

use serde_json::Value;

use super::Publisher;
use super::kv::KeyTree;
use crate::disco::settings::EnvSettings;

/// Publishes the variables under the prefix.
pub fn run(settings: &EnvSettings, mut publisher: Publisher) {
    let (tree, notes) = tree(settings);
    publisher.note(notes);
    publisher.snapshot(tree);
}

/// The tree of the variables under the prefix, and what is odd about them.
#[must_use]
pub fn tree(settings: &EnvSettings) -> (Value, Vec<String>) {
    let mut tree = KeyTree::new(settings.decode);
    for (name, value) in std::env::vars_os() {
        let Some(name) = name
            .to_str()
            .and_then(|name| name.strip_prefix(&settings.prefix))
        else {
            continue;
        };
        let key = name
            .to_lowercase()
            .replace(&settings.separator.to_lowercase(), "/");
        tree.add(
            key.trim_end_matches('/'),
            std::os::unix::ffi::OsStrExt::as_bytes(value.as_os_str()),
        );
    }
    tree.finish()
}
