//! The `env` section: environment variables as a source.

use super::{DECODE, Decode, Section};

/// Settings of the environment source.
#[derive(Debug, Clone)]
pub struct EnvSettings {
    /// Variables that start with this are read; the rest of the name, in lower case, is the key.
    pub prefix: String,
    /// What nests: with `__`, `APP_MYSQL__HOST` is `mysql.host` under the prefix `APP_`.
    pub separator: String,
    /// How values are read.
    pub decode: Decode,
}

pub(super) fn read(section: &Section<'_>) -> EnvSettings {
    let prefix = section.text("prefix");
    if prefix.as_deref().is_none_or(str::is_empty) {
        section.refuse(
            "prefix",
            "is missing; expected `env.prefix=APP_`, what the variables start with",
        );
    }
    EnvSettings {
        prefix: prefix.unwrap_or_default(),
        separator: section
            .text("separator")
            .filter(|s| !s.is_empty())
            .unwrap_or_else(|| "__".to_owned()),
        decode: section.choice("decode", DECODE, Decode::String),
    }
}
