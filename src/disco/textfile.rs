//! Reads what has to be text and no larger than a configuration: templates, and files that they name.

use std::io::Read as _;
use std::path::Path;

use crate::contract::text::MAX_BYTES;

/// The text of a file.
///
/// # Errors
/// Why it cannot be had, as the end of a sentence.
pub fn read(path: &Path) -> Result<String, String> {
    let told = |error: std::io::Error| format!("cannot be read: {error}");
    // Opening a pipe would wait for somebody to write to it.
    if !std::fs::metadata(path).map_err(told)?.is_file() {
        return Err("is no file".to_owned());
    }
    let limit = u64::try_from(MAX_BYTES).unwrap_or(u64::MAX);
    let file = std::fs::File::open(path).map_err(told)?;
    let mut bytes = Vec::new();
    let mut part = file.take(limit.saturating_add(1));
    part.read_to_end(&mut bytes).map_err(told)?;
    if bytes.len() > MAX_BYTES {
        return Err(format!("is larger than {} MB", MAX_BYTES >> 20));
    }
    String::from_utf8(bytes).map_err(|_| "is not UTF-8".to_owned())
}
