//! `format`: in which order a program gets the arguments of a call (asyncy A-13). Text to a layout, and
//! a layout with values to words. A value is always one word, or part of one: nothing is split again,
//! and no shell is involved.

use std::ffi::{OsStr, OsString};

/// What stands where. The default is `* **`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout(Vec<Token>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    /// The positional arguments that are named nowhere else, in order.
    Args,
    /// The keyword arguments that are named nowhere else, in the order of the call.
    Kwargs,
    /// One word.
    Word(Vec<Part>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    /// The value of this argument or keyword argument.
    Value(String),
}

impl Default for Layout {
    fn default() -> Self {
        Self(vec![Token::Args, Token::Kwargs])
    }
}

impl Layout {
    /// Reads a format: words split at blanks; quotes keep blanks, `\` keeps the next character, `{x}`
    /// is a value, and `*` and `**` stand for themselves only as words of their own.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut tokens = Vec::new();
        let mut characters = text.chars().peekable();
        while let Some(c) = characters.peek() {
            if c.is_whitespace() {
                characters.next();
                continue;
            }
            tokens.push(word(&mut characters)?);
        }
        for (token, name) in [(Token::Args, "*"), (Token::Kwargs, "**")] {
            if tokens.iter().filter(|other| **other == token).count() > 1 {
                return Err(format!("`{name}` stands in it more than once"));
            }
        }
        Ok(Self(tokens))
    }

    /// The names whose values stand in it.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let words = self.0.iter().filter_map(|token| match token {
            Token::Word(parts) => Some(parts),
            _ => None,
        });
        words.flatten().filter_map(|part| match part {
            Part::Value(name) => Some(name.as_str()),
            Part::Literal(_) => None,
        })
    }

    /// Whether it has a place for positional arguments that it does not name.
    #[must_use]
    pub fn takes_args(&self) -> bool {
        self.0.contains(&Token::Args)
    }

    /// The same for keyword arguments.
    #[must_use]
    pub fn takes_kwargs(&self) -> bool {
        self.0.contains(&Token::Kwargs)
    }

    /// The words for a call. A word of which no value was given is left out.
    #[must_use]
    pub fn fill<'a>(
        &self,
        value: impl Fn(&str) -> Option<&'a OsStr>,
        args: &[OsString],
        kwargs: &[OsString],
    ) -> Vec<OsString> {
        let mut words = Vec::new();
        for token in &self.0 {
            match token {
                Token::Args => words.extend(args.iter().cloned()),
                Token::Kwargs => words.extend(kwargs.iter().cloned()),
                Token::Word(parts) => words.extend(join(parts, &value)),
            }
        }
        words
    }
}

/// One word of a format, up to a blank or the end.
fn word(characters: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<Token, String> {
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut quote = None;
    // `"*"` is a star, not all arguments.
    let mut is_plain = true;
    while let Some(&c) = characters.peek() {
        match (c, quote) {
            (c, None) if c.is_whitespace() => break,
            (c, Some(open)) if c == open => {
                quote = None;
                characters.next();
            }
            ('\'' | '"', None) => {
                quote = Some(c);
                is_plain = false;
                characters.next();
            }
            // As in a shell single quotes keep everything, braces included.
            (c, Some('\'')) => {
                literal.push(c);
                characters.next();
            }
            ('\\', _) => {
                is_plain = false;
                characters.next();
                literal.push(characters.next().ok_or("ends in a `\\`")?);
            }
            ('{', _) => {
                characters.next();
                let mut name = String::new();
                loop {
                    match characters.next() {
                        Some('}') => break,
                        Some(c) => name.push(c),
                        None => return Err("has a `{` without its `}`".to_owned()),
                    }
                }
                let name = name.trim().to_owned();
                if name.is_empty() {
                    return Err("names nothing in `{}`".to_owned());
                }
                if !literal.is_empty() {
                    parts.push(Part::Literal(std::mem::take(&mut literal)));
                }
                parts.push(Part::Value(name));
            }
            ('}', _) => return Err("has a `}` without its `{`".to_owned()),
            (c, _) => {
                literal.push(c);
                characters.next();
            }
        }
    }
    if let Some(open) = quote {
        return Err(format!("has a {open} without its other"));
    }
    if is_plain && parts.is_empty() {
        match literal.as_str() {
            "*" => return Ok(Token::Args),
            "**" => return Ok(Token::Kwargs),
            _ => {}
        }
    }
    if !literal.is_empty() || parts.is_empty() {
        parts.push(Part::Literal(literal));
    }
    Ok(Token::Word(parts))
}

fn join<'a>(parts: &[Part], value: &impl Fn(&str) -> Option<&'a OsStr>) -> Option<OsString> {
    let mut joined = OsString::new();
    let (mut asked, mut given) = (false, false);
    for part in parts {
        match part {
            Part::Literal(text) => joined.push(text),
            Part::Value(name) => {
                asked = true;
                if let Some(value) = value(name) {
                    given = true;
                    joined.push(value);
                }
            }
        }
    }
    (given || !asked).then_some(joined)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fill(format: &str, values: &[(&str, &str)], args: &[&str], kwargs: &[&str]) -> Vec<String> {
        let layout = Layout::parse(format).unwrap();
        let value = |name: &str| {
            let found = values.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| OsStr::new(*value))
        };
        let owned = |list: &[&str]| list.iter().map(OsString::from).collect::<Vec<_>>();
        let words = layout.fill(value, &owned(args), &owned(kwargs));
        words
            .iter()
            .map(|w| w.to_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn a13_every_form_of_a_format() {
        let values = [("foo", "F"), ("bar", "B b"), ("color hex", "#fff")];
        let all = |format| fill(format, &values, &["x", "y"], &["--k", "v"]);
        for (format, words) in [
            ("* **", &["x", "y", "--k", "v"][..]),
            ("{bar} {foo} * **", &["B b", "F", "x", "y", "--k", "v"]),
            ("** *", &["--k", "v", "x", "y"]),
            ("run  --flag\t*", &["run", "--flag", "x", "y"]),
            (
                "'two words' \"and {foo}\" '{foo}'",
                &["two words", "and F", "{foo}"],
            ),
            ("--out={foo}-{bar}.txt", &["--out=F-B b.txt"]),
            ("{color hex}", &["#fff"]),
            (r"\* '*' \{x\} a\ b", &["*", "*", "{x}", "a b"]),
            ("''", &[""]),
            ("{none} --opt={none} {foo}{none}", &["F"]),
            ("", &[]),
            ("a* **b", &["a*", "**b"]),
        ] {
            assert_eq!(all(format), words, "{format}");
        }
    }

    #[test]
    fn a13_what_is_no_format_is_refused() {
        for format in ["{", "}", "{}", "{ }", "'x", "\"x", "x\\", "* *", "** a **"] {
            assert!(Layout::parse(format).is_err(), "{format}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_a_panic(text in "\\PC{0,30}") {
            let _ = Layout::parse(&text);
        }

        /// Whatever a value holds, it is one word: blanks, quotes, braces and stars included.
        #[test]
        fn a13_a_value_is_never_split(value in "[ '\"{}*\\\\$;|a-z\n]{0,20}") {
            prop_assert_eq!(fill("{x} *", &[("x", &value)], &[&value], &[]), vec![value.clone(), value]);
        }
    }
}
