//! `.dockerignore`: whether a path of the context reaches the builder. Which of several such files
//! counts is for the caller to know.

use std::path::Path;

use super::parse::placed;
use crate::contract::problem::Problem;

/// The patterns of a file, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ignore {
    patterns: Vec<Pattern>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern {
    line: usize,
    is_exception: bool,
    tokens: Vec<Token>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Char(char),
    /// `?`: one character of a name.
    One,
    /// `*`: any part of a name.
    Some,
    /// `**/`: any directories, or none.
    Directories,
    /// `**` at an end: anything.
    Anything,
    /// `[…]`, and whether it is `[^…]`.
    Class(bool, Vec<(char, char)>),
}

impl Ignore {
    /// Reads a file.
    ///
    /// # Errors
    /// Patterns that builders refuse, with their lines.
    pub fn parse(file: &Path, bytes: &[u8]) -> Result<Self, Vec<Problem>> {
        let text = String::from_utf8_lossy(bytes);
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let mut patterns = Vec::new();
        let mut problems = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let number = index + 1;
            if line.starts_with('#') {
                continue;
            }
            let text = line.trim();
            let (is_exception, text) = match text.strip_prefix('!') {
                Some(text) => (true, text.trim()),
                None => (false, text),
            };
            if text.is_empty() {
                if is_exception {
                    let message = "`!` without a pattern; expected `!path`";
                    problems.push(placed(file, number, message));
                }
                continue;
            }
            let path = clean(text);
            let path = path
                .strip_prefix('/')
                .filter(|path| !path.is_empty())
                .unwrap_or(&path);
            match tokens(path) {
                Some(tokens) => patterns.push(Pattern {
                    line: number,
                    is_exception,
                    tokens,
                }),
                None => {
                    let message =
                        format!("`{text}` is no pattern; a `[` wants its `]`, a `\\` a character");
                    problems.push(placed(file, number, message));
                }
            }
        }
        match problems.is_empty() {
            true => Ok(Self { patterns }),
            false => Err(problems),
        }
    }

    /// Whether a path, relative to the context and with `/`, does not reach the builder.
    #[must_use]
    pub fn is_excluded(&self, path: &str) -> bool {
        self.excluded_by(path).is_some()
    }

    /// The line that keeps a path from the builder: the last that says anything about the path or a
    /// directory it is in, unless that is an exception.
    #[must_use]
    pub fn excluded_by(&self, path: &str) -> Option<usize> {
        let path = clean(path);
        let path: Vec<char> = path.trim_start_matches('/').chars().collect();
        let is_slash = |(at, char): (usize, &char)| (*char == '/').then_some(at);
        let mut ends: Vec<usize> = path.iter().enumerate().filter_map(is_slash).collect();
        ends.push(path.len());
        let says = |pattern: &&Pattern| {
            let mut ends = ends.iter();
            ends.any(|end| matches(&pattern.tokens, path.get(..*end).unwrap_or_default()))
        };
        let last = self.patterns.iter().rev().find(says)?;
        (!last.is_exception).then_some(last.line)
    }
}

/// The shortest path that means the same, as Go's `filepath.Clean` has it.
fn clean(path: &str) -> String {
    let is_rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => drop(parts.pop()),
            ".." if is_rooted => {}
            part => parts.push(part),
        }
    }
    let path = parts.join("/");
    match (is_rooted, path.is_empty()) {
        (true, _) => format!("/{path}"),
        (false, true) => ".".to_owned(),
        (false, false) => path,
    }
}

fn tokens(pattern: &str) -> Option<Vec<Token>> {
    let chars: Vec<char> = pattern.chars().collect();
    let char = |at: usize| chars.get(at).copied();
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(first) = char(at) {
        at += 1;
        tokens.push(match first {
            '*' if char(at) == Some('*') => {
                at += 1;
                let is_slashed = char(at) == Some('/');
                at += usize::from(is_slashed);
                let is_suffix = tokens.is_empty() && !is_slashed;
                match char(at).is_none() || is_suffix {
                    true => Token::Anything,
                    false => Token::Directories,
                }
            }
            '*' => Token::Some,
            '?' => Token::One,
            '\\' => {
                at += 1;
                Token::Char(char(at - 1)?)
            }
            '[' => {
                let is_negated = char(at) == Some('^');
                at += usize::from(is_negated);
                let mut ranges = Vec::new();
                while ranges.is_empty() || char(at) != Some(']') {
                    let mut bound = || {
                        let mut bound = char(at)?;
                        at += 1;
                        if bound == '\\' {
                            bound = char(at)?;
                            at += 1;
                        } else if matches!(bound, '-' | ']') {
                            return None;
                        }
                        Some(bound)
                    };
                    let low = bound()?;
                    let high = match char(at) {
                        Some('-') => {
                            at += 1;
                            let mut bound = char(at)?;
                            at += 1;
                            if bound == '\\' {
                                bound = char(at)?;
                                at += 1;
                            }
                            bound
                        }
                        _ => low,
                    };
                    ranges.push((low, high));
                }
                at += 1;
                Token::Class(is_negated, ranges)
            }
            char => Token::Char(char),
        });
    }
    Some(tokens)
}

/// Whether the tokens stand for all of the path.
fn matches(tokens: &[Token], path: &[char]) -> bool {
    // Which beginnings of the path the tokens so far stand for.
    let mut reached = vec![false; path.len() + 1];
    if let Some(start) = reached.first_mut() {
        *start = true;
    }
    for token in tokens {
        let mut next = vec![false; path.len() + 1];
        let mut is_running = false;
        for at in 0..=path.len() {
            let here = reached.get(at).copied().unwrap_or_default();
            let before = at.checked_sub(1);
            let char = before.and_then(|before| path.get(before)).copied();
            let was_here = before.and_then(|before| reached.get(before)).copied();
            let was_here = was_here.unwrap_or_default();
            let is_here = match token {
                Token::Char(want) => was_here && char == Some(*want),
                Token::One => was_here && char != Some('/'),
                Token::Class(is_negated, ranges) => {
                    let is_in = |char: char| {
                        let mut ranges = ranges.iter();
                        ranges.any(|(low, high)| (*low..=*high).contains(&char)) != *is_negated
                    };
                    was_here && char.is_some_and(is_in)
                }
                Token::Some => {
                    is_running = here || (is_running && char != Some('/'));
                    is_running
                }
                Token::Anything => {
                    is_running |= here;
                    is_running
                }
                Token::Directories => {
                    let was_running = is_running;
                    is_running |= here;
                    here || (was_running && char == Some('/'))
                }
            };
            if let Some(slot) = next.get_mut(at) {
                *slot = is_here;
            }
        }
        reached = next;
    }
    reached.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ignore(text: &str) -> Ignore {
        Ignore::parse(Path::new(".dockerignore"), text.as_bytes()).unwrap()
    }

    #[test]
    fn patterns_as_builders_read_them() {
        for (pattern, path, is_excluded) in [
            (".cake", ".cake", true),
            (".cake", ".cake/disco", true),
            ("/.cake/", ".cake/disco", true),
            ("./.cake/./", ".cake/disco", true),
            ("x/../.cake", ".cake/disco", true),
            (".cake/disco", ".cake/manifest.json", false),
            ("cake", ".cake/disco", false),
            ("*", ".cake/disco", true),
            (".*", ".cake/disco", true),
            ("*/disco", ".cake/disco", true),
            ("*/disco", "a/b/disco", false),
            ("**/disco", "a/b/disco", true),
            ("**/disco", "disco", true),
            ("**/disco", "a/xdisco", false),
            ("**disco", "a/xdisco", true),
            ("**", ".cake/disco", true),
            (".cake/**", ".cake/disco", true),
            (".cake/**", ".cake", false),
            ("a**b", "a/xb", false),
            ("a**b", "a/b/c", true),
            ("a/**/b", "a/b", true),
            ("a/**/b", "a/x/y/b", true),
            ("a/**/b", "a/xb", false),
            ("**/*.rs", "a/b.rs", true),
            ("di?co", "disco", true),
            ("?", "/", false),
            (".c[a-b]ke", ".cake/x", true),
            (".c[^a]ke", ".cake/x", false),
            ("[\\]]", "]", true),
            ("\\*", "*", true),
            ("\\*", "x", false),
            ("é?", "éü", true),
            ("# .cake", ".cake", false),
            ("", ".cake", false),
            ("  .cake \t", ".cake", true),
        ] {
            assert_eq!(
                ignore(pattern).is_excluded(path),
                is_excluded,
                "{pattern} {path}"
            );
        }
    }

    #[test]
    fn the_last_word_counts() {
        let file =
            ignore("\u{feff}# all but some\r\n*\r\n!.cake\r\n.cake/layers\r\n! .cake/layers/a\r\n");
        assert_eq!(file.excluded_by("src/main.rs"), Some(2));
        assert_eq!(file.excluded_by(".cake/disco"), None);
        assert_eq!(file.excluded_by(".cake/layers/b/x"), Some(4));
        assert_eq!(file.excluded_by(".cake/layers/a/x"), None);
        assert!(!Ignore::default().is_excluded("x"));
    }

    #[test]
    fn what_is_no_pattern_is_told_with_its_line() {
        let problems = Ignore::parse(Path::new("i"), b"a\n[a\n!\n[]a]\nb\\\n").unwrap_err();
        let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "i:2:1: `[a` is no pattern; a `[` wants its `]`, a `\\` a character",
                "i:3:1: `!` without a pattern; expected `!path`",
                "i:4:1: `[]a]` is no pattern; a `[` wants its `]`, a `\\` a character",
                "i:5:1: `b\\` is no pattern; a `[` wants its `]`, a `\\` a character",
            ]
        );
    }
}
