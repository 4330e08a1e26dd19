//! Which other templates a template names, so that they are there and right before any data is.
//!
//! Names that are made at render time are not found, and so not to be had. Renders nothing.

use std::sync::LazyLock;

use regex::Regex;

/// A comment, raw text, or a statement that names another template.
static NAMES: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r#"(?s)\{#.*?#\}|\{%[-+]?\s*raw\s*[-+]?%\}.*?\{%[-+]?\s*endraw|\{%[-+]?\s*(?:include|import|from|extends)\s+(?:"([^"]+)"|'([^']+)')(\s+ignore\s+missing)?"#,
    )
    .expect("a constant that the tests compile")
});

/// The name of another template.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Name<'a> {
    /// As it is written.
    pub(super) text: &'a str,
    /// The byte at which its statement begins.
    pub(super) at: usize,
    /// Whether it may be missing.
    pub(super) is_optional: bool,
}

/// The names in a template, in their order.
pub(super) fn names(source: &str) -> impl Iterator<Item = Name<'_>> {
    NAMES.captures_iter(source).filter_map(|found| {
        let text = found.get(1).or_else(|| found.get(2))?.as_str();
        Some(Name {
            text,
            at: found.get(0)?.start(),
            is_optional: found.get(3).is_some(),
        })
    })
}

/// Why a name is none of a template beside the rules file.
pub(super) fn defect(name: &str) -> Option<&'static str> {
    let mut parts = name.split('/');
    let is_good = !name.contains('\0') && parts.all(|part| !matches!(part, "" | "." | ".."));
    (!is_good).then_some("is no file beside the rules file; expected a relative path without `..`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_and_comments_and_raw_text_left_alone() {
        let source = "{# {% include 'no' %} #}{% include \"a.j2\" %}\n{%- import 'm/b.j2' as b -%}\
            {% raw %}{% include 'no' %}{% endraw %}{% include 'c' ignore missing %}{% include d %}\
            {%+ from 'e' import f %}{% extends 'g' %}";
        let found: Vec<_> = names(source)
            .map(|name| (name.text, name.is_optional))
            .collect();
        let expected = [
            ("a.j2", false),
            ("m/b.j2", false),
            ("c", true),
            ("e", false),
            ("g", false),
        ];
        assert_eq!(found, expected);
        assert_eq!(names(source).next().unwrap().at, 24);
    }

    #[test]
    fn a_name_stays_beside_the_rules_file() {
        assert_eq!(defect("a.j2"), None);
        assert_eq!(defect("parts/a.j2"), None);
        for name in ["/etc/passwd", "../a", "a/../b", "", "./a", "a//b", "a\0b"] {
            assert!(defect(name).is_some(), "{name:?}");
        }
    }
}
