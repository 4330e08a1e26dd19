//! Differences between two texts, as `diff -u` shows them.

use similar::TextDiff;

/// How to get from `before` to `after`, by these names; empty if they are the same.
pub(super) fn unified(names: [&str; 2], before: &[u8], after: &[u8]) -> String {
    if before == after {
        return String::new();
    }
    let (before, after) = (
        String::from_utf8_lossy(before),
        String::from_utf8_lossy(after),
    );
    let difference = TextDiff::from_lines(&before, &after);
    difference
        .unified_diff()
        .header(names[0], names[1])
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_is_shown_with_its_surroundings() {
        assert_eq!(unified(["a/f", "b/f"], b"a\n", b"a\n"), "");
        let shown = unified(["a/f", "b/f"], b"a\nb\n", b"a\nc\n");
        assert_eq!(shown, "--- a/f\n+++ b/f\n@@ -1,2 +1,2 @@\n a\n-b\n+c\n");
    }
}
