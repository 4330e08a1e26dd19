//! The `flat` section: a file or a directory of YAML, JSON and TOML.

use std::path::PathBuf;
use std::time::Duration;

use super::Section;

/// Settings of the flat source.
#[derive(Debug, Clone)]
pub struct FlatSettings {
    /// A file, or a directory whose files are merged in sorted order.
    pub file: PathBuf,
    /// Whether the files of a directory are values: the name is the (dotted) key, the contents the
    /// string, one trailing newline stripped, as in mounted Docker and Kubernetes secrets.
    pub values: bool,
    /// How often contents are compared on filesystems that send no events (network, FUSE); `None`
    /// is never. Default 5 s.
    pub poll: Option<Duration>,
}

pub(super) fn read(section: &Section<'_>) -> FlatSettings {
    let file = section.text("file");
    if file.as_deref().is_none_or(str::is_empty) {
        section.refuse(
            "file",
            "is missing; expected `flat.file=PATH` of a file or a directory",
        );
    }
    FlatSettings {
        file: file.unwrap_or_default().into(),
        values: section.flag("values", &[], false),
        poll: section.limit("poll", Some(Duration::from_secs(5))),
    }
}
