//! The shell-like language inside Dockerfile words: quotes, escapes and `$variables`, as builders read it.
//!
//! It runs nothing and knows no variables of its own; whoever asks says what each one is.

/// A word nested deeper than this is refused: `${a:-${a:-…}}`.
const MAX_DEPTH: usize = 64;

/// What a variable is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Variable {
    /// It has this value.
    Set(String),
    /// It is not set.
    Unset,
    /// Only the build will know.
    Unknown,
}

/// Why a word has no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// It hangs on this variable, which only the build knows.
    Unknown(String),
    /// It is no word of the language.
    Syntax(String),
}

/// How words are read.
pub(super) struct Shell<'a> {
    /// What takes the meaning of the next character.
    pub(super) escape: char,
    /// Quotes stay where they are.
    pub(super) keeps_quotes: bool,
    /// Escape characters stay where they are.
    pub(super) keeps_escapes: bool,
    /// References to variables that are not set stay where they are.
    pub(super) keeps_unset: bool,
    /// The variables.
    pub(super) variable: &'a dyn Fn(&str) -> Variable,
}

impl Shell<'_> {
    /// The text with everything replaced and no quotes.
    pub(super) fn expand(&self, text: &str) -> Result<String, Fault> {
        Ok(self.read(text)?.0)
    }

    /// The same, split at blanks outside of quotes.
    pub(super) fn words(&self, text: &str) -> Result<Vec<String>, Fault> {
        Ok(self.read(text)?.1)
    }

    fn read(&self, text: &str) -> Result<(String, Vec<String>), Fault> {
        let mut scan = Scan {
            shell: self,
            chars: text.chars().collect(),
            at: 0,
            keeps_escapes: self.keeps_escapes,
            depth: 0,
        };
        scan.until(None, self.keeps_escapes)
    }
}

struct Scan<'a> {
    shell: &'a Shell<'a>,
    chars: Vec<char>,
    at: usize,
    keeps_escapes: bool,
    depth: usize,
}

impl Scan<'_> {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let char = self.peek()?;
        self.at += 1;
        Some(char)
    }

    /// Reads up to `stop`, which is taken, or to the end.
    fn until(
        &mut self,
        stop: Option<char>,
        keeps_escapes: bool,
    ) -> Result<(String, Vec<String>), Fault> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(syntax("it is nested too deeply"));
        }
        let outer = std::mem::replace(&mut self.keeps_escapes, keeps_escapes);
        let read = self.run(stop);
        self.keeps_escapes = outer;
        self.depth -= 1;
        read
    }

    fn run(&mut self, stop: Option<char>) -> Result<(String, Vec<String>), Fault> {
        let mut text = String::new();
        let mut words = Words::default();
        while let Some(char) = self.peek() {
            if Some(char) == stop {
                self.at += 1;
                return Ok((text, words.end()));
            }
            match char {
                '$' => {
                    let value = self.dollar()?;
                    text.push_str(&value);
                    value.chars().for_each(|char| words.push(char));
                }
                '\'' | '"' => {
                    let value = match char {
                        '"' => self.double_quote()?,
                        _ => self.single_quote()?,
                    };
                    text.push_str(&value);
                    words.push_quoted(&value);
                }
                _ if char == self.shell.escape => {
                    self.at += 1;
                    if self.keeps_escapes {
                        text.push(char);
                        words.push_quoted(char.encode_utf8(&mut [0; 4]));
                    }
                    let Some(char) = self.next() else { break };
                    text.push(char);
                    words.push_quoted(char.encode_utf8(&mut [0; 4]));
                }
                _ => {
                    self.at += 1;
                    text.push(char);
                    words.push(char);
                }
            }
        }
        match stop {
            Some(stop) => Err(syntax(format!("its `{stop}` is missing"))),
            None => Ok((text, words.end())),
        }
    }

    fn single_quote(&mut self) -> Result<String, Fault> {
        self.at += 1;
        let rest = self.chars.get(self.at..).unwrap_or_default();
        let length = rest.iter().position(|char| *char == '\'');
        let length = length.ok_or_else(|| syntax("a single quote is not closed"))?;
        let inner: String = rest.iter().take(length).collect();
        self.at += length + 1;
        Ok(self.quoted('\'', inner))
    }

    fn double_quote(&mut self) -> Result<String, Fault> {
        self.at += 1;
        let mut inner = String::new();
        loop {
            match self.peek() {
                None => return Err(syntax("a double quote is not closed")),
                Some('"') => {
                    self.at += 1;
                    return Ok(self.quoted('"', inner));
                }
                Some('$') => inner.push_str(&self.dollar()?),
                Some(char) if char == self.shell.escape => {
                    self.at += 1;
                    if self.keeps_escapes {
                        inner.push(char);
                    }
                    match self.peek() {
                        None => {}
                        Some(next) if matches!(next, '"' | '$') || next == char => {
                            self.at += 1;
                            inner.push(next);
                        }
                        Some(_) => inner.push(char),
                    }
                }
                Some(char) => {
                    self.at += 1;
                    inner.push(char);
                }
            }
        }
    }

    fn quoted(&self, quote: char, inner: String) -> String {
        match self.shell.keeps_quotes {
            true => format!("{quote}{inner}{quote}"),
            false => inner,
        }
    }

    fn dollar(&mut self) -> Result<String, Fault> {
        self.at += 1;
        if self.peek() != Some('{') {
            let name = self.name();
            if name.is_empty() {
                return Ok("$".to_owned());
            }
            let value = self.value(&name)?;
            return Ok(match value {
                None if self.shell.keeps_unset => format!("${name}"),
                value => value.unwrap_or_default(),
            });
        }
        self.at += 1;
        if matches!(self.peek(), Some('{' | '}' | ':')) {
            return Err(syntax("`${` wants the name of a variable"));
        }
        let name = self.name();
        let missing = || syntax("the `}` of a `${` is missing");
        let mut modifier = self.next().ok_or_else(missing)?;
        let is_empty_unset = modifier == ':';
        if is_empty_unset {
            modifier = self.next().ok_or_else(missing)?;
        }
        match modifier {
            '}' if !is_empty_unset => {
                let value = self.value(&name)?;
                Ok(match value {
                    None if self.shell.keeps_unset => format!("${{{name}}}"),
                    value => value.unwrap_or_default(),
                })
            }
            '+' | '-' | '?' | '#' | '%' => {
                let (word, _) = self.until(Some('}'), matches!(modifier, '#' | '%'))?;
                let value = self.value(&name)?;
                if value.is_none() && self.shell.keeps_unset {
                    let colon = if is_empty_unset { ":" } else { "" };
                    return Ok(format!("${{{name}{colon}{modifier}{word}}}"));
                }
                let counts = |value: &String| !(is_empty_unset && value.is_empty());
                match modifier {
                    '-' => Ok(value.filter(counts).unwrap_or(word)),
                    '+' => Ok(value.filter(counts).map(|_| word).unwrap_or_default()),
                    '?' => value
                        .filter(counts)
                        .ok_or_else(|| syntax(format!("`{name}` has to be set: {word}"))),
                    _ => Ok(trimmed(&value.unwrap_or_default(), &word, modifier)),
                }
            }
            '/' if !is_empty_unset => {
                let is_all = self.peek() == Some('/');
                self.at += usize::from(is_all);
                let (pattern, _) = self.until(Some('/'), true)?;
                let (replacement, _) = self.until(Some('}'), true)?;
                match self.value(&name)? {
                    None if self.shell.keeps_unset => {
                        Ok(format!("${{{name}/{pattern}/{replacement}}}"))
                    }
                    value => Ok(replaced(
                        &value.unwrap_or_default(),
                        &pattern,
                        &replacement,
                        is_all,
                    )),
                }
            }
            _ => Err(syntax(format!(
                "`{modifier}` after `${{{name}` means nothing"
            ))),
        }
    }

    fn value(&self, name: &str) -> Result<Option<String>, Fault> {
        match (self.shell.variable)(name) {
            Variable::Set(value) => Ok(Some(value)),
            Variable::Unset => Ok(None),
            Variable::Unknown => Err(Fault::Unknown(name.to_owned())),
        }
    }

    fn name(&mut self) -> String {
        let start = self.at;
        match self.peek() {
            Some(char) if char.is_numeric() => {
                while self.peek().is_some_and(char::is_numeric) {
                    self.at += 1;
                }
            }
            Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => self.at += 1,
            _ => {
                while self
                    .peek()
                    .is_some_and(|char| char.is_alphanumeric() || char == '_')
                {
                    self.at += 1;
                }
            }
        }
        self.chars
            .get(start..self.at)
            .unwrap_or_default()
            .iter()
            .collect()
    }
}

fn syntax(message: impl Into<String>) -> Fault {
    Fault::Syntax(message.into())
}

/// Words in the making.
#[derive(Default)]
struct Words {
    done: Vec<String>,
    word: String,
}

impl Words {
    fn push(&mut self, char: char) {
        match char.is_whitespace() {
            true if self.word.is_empty() => {}
            true => self.done.push(std::mem::take(&mut self.word)),
            false => self.word.push(char),
        }
    }

    fn push_quoted(&mut self, text: &str) {
        self.word.push_str(text);
    }

    fn end(mut self) -> Vec<String> {
        if !self.word.is_empty() {
            self.done.push(self.word);
        }
        self.done
    }
}

/// `${name#pattern}` and its three sisters.
fn trimmed(value: &str, word: &str, modifier: char) -> String {
    let (pattern, is_longest) = match word.strip_prefix(modifier) {
        Some(pattern) => (pattern, true),
        None => (word, false),
    };
    let pattern: Vec<char> = pattern.chars().collect();
    let chars: Vec<char> = value.chars().collect();
    let is_front = modifier == '#';
    // How much goes: from little to much for the shortest match, from much to little for the longest.
    let mut counts: Vec<usize> = (0..=chars.len()).collect();
    if is_longest {
        counts.reverse();
    }
    let gone = |count: usize| match is_front {
        true => chars.split_at(count),
        false => {
            let (kept, gone) = chars.split_at(chars.len() - count);
            (gone, kept)
        }
    };
    let kept = counts
        .into_iter()
        .map(gone)
        .find(|(gone, _)| matches(&pattern, gone));
    kept.map_or_else(|| value.to_owned(), |(_, kept)| kept.iter().collect())
}

/// `${name/pattern/replacement}`, and with `//` everywhere.
fn replaced(value: &str, pattern: &str, replacement: &str, is_all: bool) -> String {
    let pattern: Vec<char> = pattern.chars().collect();
    let chars: Vec<char> = value.chars().collect();
    let mut out = String::new();
    let mut at = 0;
    let mut is_done = false;
    while at < chars.len() {
        let found = (at + 1..=chars.len())
            .rev()
            .find(|end| matches(&pattern, chars.get(at..*end).unwrap_or_default()));
        match found {
            Some(end) if !is_done => {
                out.push_str(replacement);
                at = end;
                is_done = !is_all;
            }
            _ => {
                out.extend(chars.get(at));
                at += 1;
            }
        }
    }
    out
}

/// Whether all of `text` is of the pattern: `*` any text, `?` any character, `\` takes their meaning.
fn matches(pattern: &[char], text: &[char]) -> bool {
    // The last `*`, and where what it stands for may have to grow.
    let mut star: Option<(usize, usize)> = None;
    let (mut p, mut t) = (0, 0);
    while t < text.len() {
        let step = match pattern.get(p) {
            Some('*') => {
                star = Some((p + 1, t));
                p += 1;
                continue;
            }
            Some('?') => Some(1),
            Some('\\') => (pattern.get(p + 1) == text.get(t)).then_some(2),
            Some(char) => (Some(char) == text.get(t)).then_some(1),
            None => None,
        };
        match (step, star) {
            (Some(step), _) => {
                p += step;
                t += 1;
            }
            (None, Some((after, from))) => {
                star = Some((after, from + 1));
                p = after;
                t = from + 1;
            }
            (None, None) => return false,
        }
    }
    pattern.iter().skip(p).all(|char| *char == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(text: &str) -> Result<String, Fault> {
        let variable = |name: &str| match name {
            "A" => Variable::Set("a".to_owned()),
            "PATH_" => Variable::Set("usr/lib/x.tar.gz".to_owned()),
            "EMPTY" => Variable::Set(String::new()),
            "LATER" => Variable::Unknown,
            _ => Variable::Unset,
        };
        Shell {
            escape: '\\',
            keeps_quotes: false,
            keeps_escapes: false,
            keeps_unset: false,
            variable: &variable,
        }
        .expand(text)
    }

    #[test]
    fn what_builders_make_of_words() {
        for (text, value) in [
            ("x", "x"),
            ("$A", "a"),
            ("${A}b$A", "aba"),
            ("$Ab", ""),
            ("\\$A", "$A"),
            ("'$A'", "$A"),
            ("\"$A b\\\"\"", "a b\""),
            ("\"a\\b\"", "a\\b"),
            ("d\\ e", "d e"),
            ("$", "$"),
            ("a$/", "a$/"),
            ("${A:-d}", "a"),
            ("${B:-d}", "d"),
            ("${B-$A}", "a"),
            ("${B:-${C:-${A}}}", "a"),
            ("${EMPTY:-d}", "d"),
            ("${EMPTY-d}", ""),
            ("${EMPTY+d}", "d"),
            ("${EMPTY:+d}", ""),
            ("${A:+d}", "d"),
            ("${A:?no}", "a"),
            ("${PATH_#*/}", "lib/x.tar.gz"),
            ("${PATH_##*/}", "x.tar.gz"),
            ("${PATH_%.*}", "usr/lib/x.tar"),
            ("${PATH_%%.*}", "usr/lib/x"),
            ("${PATH_/r*b/-}", "us-/x.tar.gz"),
            ("${PATH_//./_}", "usr/lib/x_tar_gz"),
            ("x\\", "x"),
        ] {
            assert_eq!(shell(text).as_deref(), Ok(value), "{text}");
        }
        for text in [
            "'a", "\"a", "${", "${A", "${A:", "${}", "${A^}", "${B:?no}", "${A:-",
        ] {
            assert!(matches!(shell(text), Err(Fault::Syntax(_))), "{text}");
        }
        assert_eq!(shell("$LATER"), Err(Fault::Unknown("LATER".to_owned())));
        assert_eq!(shell("'$LATER'").as_deref(), Ok("$LATER"));
        assert!(shell(&"${A:-".repeat(10_000)).is_err());
    }

    #[test]
    fn words_are_split_outside_of_quotes() {
        let shell = Shell {
            escape: '\\',
            keeps_quotes: true,
            keeps_escapes: true,
            keeps_unset: true,
            variable: &|_| Variable::Unset,
        };
        assert_eq!(
            shell
                .words("  cat <<'E F'  \"x y\" a\\ b $X ${Y:-z}")
                .unwrap(),
            ["cat", "<<'E F'", "\"x y\"", "a\\ b", "$X", "${Y:-z}"]
        );
    }
}
