//! A command as users write it in a file or a setting: a list of words, or a line, which goes to a shell
//! only if it says anything that only a shell understands, so that an image without one can have it.

use serde_json::Value;

use super::report::scalar;

/// What makes a line one for the shell.
const FOR_SHELL: &[char] = &[
    '|', '&', ';', '<', '>', '(', ')', '$', '`', '\\', '"', '\'', '*', '?', '[', ']', '#', '~',
    '=', '%', '!', '{', '}', '\n',
];

/// A command; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// A program and its arguments.
    Words(Vec<String>),
    /// A line for the shell.
    Shell(String),
}

impl Line {
    /// What is executed: the words, or the shell with the line.
    #[must_use]
    pub fn into_argv(self) -> Vec<String> {
        match self {
            Self::Words(words) => words,
            Self::Shell(line) => vec!["/bin/sh".to_owned(), "-c".to_owned(), line],
        }
    }
}

/// Reads a line. `None` for an empty one.
#[must_use]
pub fn parse(line: &str) -> Option<Line> {
    let line = line.trim();
    if line.is_empty() || line.contains('\0') {
        return None;
    }
    Some(match line.contains(FOR_SHELL) {
        true => Line::Shell(line.to_owned()),
        false => Line::Words(split(line)),
    })
}

/// A line as it is run without a shell.
#[must_use]
pub fn split(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

/// Reads a line, or a list of words. `None` for what is neither, and for no command at all.
#[must_use]
pub fn read(value: &Value) -> Option<Line> {
    match value {
        Value::String(line) => parse(line),
        Value::Array(list) => {
            let words: Vec<String> = list.iter().map(scalar).collect::<Option<_>>()?;
            let has_program = words.first().is_some_and(|word| !word.is_empty());
            let is_clean = words.iter().all(|word| !word.contains('\0'));
            (has_program && is_clean).then_some(Line::Words(words))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a90_a_line_goes_to_the_shell_only_where_it_needs_one() {
        let argv = |value: Value| read(&value).map(Line::into_argv);
        let is_shell = |value: Value| matches!(read(&value), Some(Line::Shell(_)));
        assert_eq!(argv(json!("./startup.sh")).unwrap(), ["./startup.sh"]);
        assert_eq!(argv(json!(" ./a  b\tc ")).unwrap(), ["./a", "b", "c"]);
        assert_eq!(argv(json!(["a b", 1, true])).unwrap(), ["a b", "1", "true"]);
        assert_eq!(argv(json!("a && b")).unwrap(), ["/bin/sh", "-c", "a && b"]);
        for line in ["A=b c", "a | b", "a 'b c'", "cd /x; y", "echo $X", "a\nb"] {
            assert!(is_shell(json!(line)), "{line}");
        }
        assert!(!is_shell(json!("/bin/x --flag -v a.b:c,d@e+f^g")));
        for nothing in [
            json!(""),
            json!("  "),
            json!([]),
            json!([""]),
            json!([["a"]]),
            json!(1),
            json!(null),
        ] {
            assert_eq!(read(&nothing), None, "{nothing}");
        }
    }
}
