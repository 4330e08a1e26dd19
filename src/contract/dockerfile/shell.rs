//! The shell-like language inside Dockerfile words: quotes, escapes and `$variables`, as builders read it.
//!
//! It runs nothing and knows no variables of its own; whoever asks says what each one is.

mod pattern;

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
                    _ => Ok(pattern::trimmed(
                        &value.unwrap_or_default(),
                        &word,
                        modifier,
                    )),
                }
            }
            '/' if !is_empty_unset => {
                let is_all = self.peek() == Some('/');
                self.at += usize::from(is_all);
                let (wanted, _) = self.until(Some('/'), true)?;
                let (replacement, _) = self.until(Some('}'), true)?;
                match self.value(&name)? {
                    None if self.shell.keeps_unset => {
                        Ok(format!("${{{name}/{wanted}/{replacement}}}"))
                    }
                    value => Ok(pattern::replaced(
                        &value.unwrap_or_default(),
                        &wanted,
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

#[cfg(test)]
mod tests;
