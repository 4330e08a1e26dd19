//! What the name of a file says about it: whether it is a log, and whose older generation it is.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

/// Endings of what compressed a log after its rotation.
const COMPRESSED: [&[u8]; 7] = [b".gz", b".xz", b".bz2", b".zst", b".lz4", b".zip", b".Z"];

/// Endings of what an editor or a rotation leaves behind.
const LEFT_BEHIND: [&[u8]; 5] = [b".old", b".bak", b"~", b".swp", b".tmp"];

/// Whether a name in a directory is a log's that is being written: not hidden, not compressed, not
/// rotated.
pub(super) fn is_log(name: &OsStr) -> bool {
    let name = name.as_bytes();
    let ends = |endings: &[&[u8]]| endings.iter().any(|ending| name.ends_with(ending));
    let digits = name.iter().rev().take_while(|b| b.is_ascii_digit()).count();
    let before = name.len().checked_sub(digits + 1).map(|at| name[at]);
    let is_numbered = digits > 0 && before == Some(b'.');
    let is_dated = digits >= 8 && before == Some(b'-');
    !name.is_empty()
        && !name.starts_with(b".")
        && !ends(&COMPRESSED)
        && !ends(&LEFT_BEHIND)
        && !is_numbered
        && !is_dated
}

/// What follows the name of a file in the name of another that may be an older generation of it.
fn addition<'a>(name: &'a OsStr, of: &OsStr) -> Option<&'a [u8]> {
    match name.as_bytes().strip_prefix(of.as_bytes())? {
        [b'.' | b'-', rest @ ..] if !rest.is_empty() => Some(rest),
        _ => None,
    }
}

/// Whether a file may be a copy or an older generation of another. Its content must tell.
pub(super) fn is_kin(name: &OsStr, of: &OsStr) -> bool {
    addition(name, of).is_some()
}

/// Whether a file is an older generation of another by its name alone: `f.1`, `f-20260102`,
/// `f.2026-01-02T03:04`, `f.old`; not `f.gz`, `f.lock`.
pub(super) fn is_generation(name: &OsStr, of: &OsStr) -> bool {
    addition(name, of).is_some_and(|rest| {
        let is_of_a_date = |b: &u8| b.is_ascii_digit() || b"-._:TZ".contains(b);
        rest == b"old" || (rest.iter().all(is_of_a_date) && rest.iter().any(u8::is_ascii_digit))
    })
}

/// The number of an older generation, `f.1` being the youngest; none for a date.
pub(super) fn number(name: &OsStr, of: &OsStr) -> Option<u32> {
    let rest = std::str::from_utf8(addition(name, of)?).ok()?;
    let is_number = rest.len() < 8 && rest.bytes().all(|b| b.is_ascii_digit());
    rest.parse().ok().filter(|_| is_number)
}

/// The name of the file that remembers the place in another.
pub(super) fn state(name: &OsStr) -> OsString {
    let parts = [b".", name.as_bytes(), b".disco"];
    OsString::from_vec(parts.concat())
}

/// The name whose place a file remembers.
pub(super) fn of_state(name: &OsStr) -> Option<&OsStr> {
    let name = name.as_bytes().strip_prefix(b".")?;
    name.strip_suffix(b".disco").map(OsStr::from_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_logs_from_what_is_left_of_them() {
        for name in [
            "a.log",
            "a",
            "access_log",
            "a-2026.log",
            "a-2026-01-02",
            "8080",
            "a1",
        ] {
            assert!(is_log(OsStr::new(name)), "{name}");
        }
        for name in [
            "",
            ".a.log",
            ".a.log.disco",
            "a.log.gz",
            "a.log.1.zst",
            "a.Z",
            "a.log.1",
            "a.20260102",
            "a.log-20260102",
            "a-2026010203",
            "a.old",
            "a.bak",
            "a~",
            "a.swp",
            "a.tmp",
        ] {
            assert!(!is_log(OsStr::new(name)), "{name}");
        }
    }

    #[test]
    fn names_tell_generations() {
        let of = OsStr::new("f");
        for name in ["f.1", "f-20260102", "f.2026-01-02T03:04", "f.old", "f.1-2"] {
            assert!(is_generation(OsStr::new(name), of), "{name}");
        }
        for name in ["f", "f.", "f.gz", "f.1.gz", "g.1", "f1", "f.lock", "f.-"] {
            assert!(!is_generation(OsStr::new(name), of), "{name}");
        }
        assert!(is_kin(OsStr::new("f.copy"), of));
        let number = |name: &str| number(OsStr::new(name), of);
        assert_eq!(number("f.12"), Some(12));
        assert_eq!(number("f-20260102"), None);
        assert_eq!(number("f.old"), None);
        assert_eq!(of_state(&state(of)), Some(of));
    }
}
