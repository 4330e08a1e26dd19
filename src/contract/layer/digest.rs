//! The digest of a layer: what makes two trees of files the same layer, wherever they lie.
//!
//! It is the SHA-256 of a text with a line for each file, sorted by the bytes of the path:
//!
//! ```text
//! 644 <SHA-256 of the file's bytes, 64 hex digits> <path with / between its parts>\n
//! ```
//!
//! The mode is `755` if the owner may execute the file, else `644`. Times, owners, the umask, empty
//! directories and the place of the tree are not in it. Only what goes into an image counts
//! ([`is_shipped`]): a corrected README is still the same layer. So a shell can tell as well:
//!
//! ```text
//! find . -type f | cut -c3- | grep -Ev '^(README[^/]*$|example/|expected/)|(^|/)\.git/' | LC_ALL=C sort |
//! while read -r f; do
//!     if [ -x "$f" ]; then m=755; else m=644; fi
//!     echo "$m $(sha256sum <"$f" | cut -d' ' -f1) $f"
//! done | sha256sum
//! ```

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::contract::hash::sha256;

/// Whether a file of a layer goes into an image: not what explains it and tries it out, which is
/// `example/`, `expected/` and `README*` at the top, and never anything of git's.
#[must_use]
pub fn is_shipped(path: &str) -> bool {
    let (top, is_file) = match path.split_once('/') {
        Some((top, _)) => (top, false),
        None => (path, true),
    };
    let is_told = match is_file {
        true => top.starts_with("README"),
        false => matches!(top, "example" | "expected"),
    };
    !is_told && !path.split('/').any(|part| part == ".git")
}

/// The digest of a tree: files as path, whether executable, bytes. Those that are not shipped, and
/// their order, do not matter.
#[must_use]
pub fn tree<'a>(files: impl IntoIterator<Item = (&'a str, bool, &'a [u8])>) -> String {
    let sorted: BTreeMap<&str, (bool, &[u8])> = files
        .into_iter()
        .filter(|(path, ..)| is_shipped(path))
        .map(|(path, exec, bytes)| (path, (exec, bytes)))
        .collect();
    let mut text = String::new();
    for (path, (exec, bytes)) in sorted {
        let mode = if exec { 755 } else { 644 };
        let _ = writeln!(text, "{mode} {} {path}", sha256(bytes));
    }
    sha256(text.as_bytes())
}

/// Whether this is a SHA-256 as we write it.
#[must_use]
pub fn is_sha256(text: &str) -> bool {
    text.len() == 64 && is_hex(text)
}

/// Whether this is the full name of a commit.
#[must_use]
pub fn is_commit(text: &str) -> bool {
    text.len() == 40 && is_hex(text)
}

fn is_hex(text: &str) -> bool {
    text.bytes()
        .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FILES: [(&str, bool, &[u8]); 2] = [("b/install", true, b"#!x"), ("a", false, b"")];

    #[test]
    fn it_is_the_digest_of_the_documented_text() {
        let line = |mode, bytes: &[u8], path| format!("{mode} {} {path}\n", sha256(bytes));
        let text = line(644, b"", "a") + &line(755, b"#!x", "b/install");
        assert_eq!(tree(FILES), sha256(text.as_bytes()));
        assert_eq!(
            sha256(b""),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }

    #[test]
    fn only_what_is_shipped_counts() {
        let more: [(&str, bool, &[u8]); 4] = [
            ("README.md", false, b"x"),
            ("example/data.yaml", false, b"x"),
            ("expected/etc/a", false, b"x"),
            (".git/config", false, b"x"),
        ];
        assert_eq!(tree(FILES.into_iter().chain(more)), tree(FILES));
        for path in [
            "a/README.md",
            "a/example/b",
            "example",
            "xREADME",
            ".gitignore",
        ] {
            assert!(is_shipped(path), "{path}");
        }
        assert!(!is_shipped("a/.git/x"));
    }

    proptest! {
        #[test]
        fn order_is_nothing_and_everything_else_is(
            files in proptest::collection::btree_map("[a-c]{1,2}(/[a-c]{1,2})?", (any::<bool>(), any::<Vec<u8>>()), 1..6),
            pick in any::<proptest::sample::Index>(),
        ) {
            let list = |files: &BTreeMap<String, (bool, Vec<u8>)>| {
                files.iter().map(|(path, (exec, bytes))| (path.clone(), *exec, bytes.clone())).collect::<Vec<_>>()
            };
            let of = |list: &[(String, bool, Vec<u8>)]| {
                tree(list.iter().map(|(path, exec, bytes)| (path.as_str(), *exec, bytes.as_slice())))
            };
            let forth = list(&files);
            let back: Vec<_> = forth.iter().rev().cloned().collect();
            prop_assert_eq!(of(&forth), of(&back));
            let at = pick.index(forth.len());
            let mut other = forth.clone();
            other[at].1 = !other[at].1;
            prop_assert_ne!(of(&forth), of(&other));
            let mut other = forth.clone();
            other[at].2.push(0);
            prop_assert_ne!(of(&forth), of(&other));
            let mut other = forth.clone();
            other[at].0.push('x');
            prop_assert_ne!(of(&forth), of(&other));
            let mut other = forth.clone();
            other.remove(at);
            prop_assert_ne!(of(&forth), of(&other));
        }
    }
}
