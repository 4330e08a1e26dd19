//! Options as getopt(3) reads them, with its complaints: clusters (`-vg`), values in the same word or
//! the next, long names that may be shortened. Ends at the first word that is no option, as getopt
//! does under POSIXLY_CORRECT (conformance pid1 7). Knows no option by itself.
//!
//! Not lexopt, which takes `-p=x` for `-p x`, knows no shortened names and complains in other words.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

/// What a program takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grammar {
    /// The letters; one that takes a value is followed by a colon.
    pub(super) short: &'static str,
    /// Long names and the letters that they stand for. Without any, `--x` is a cluster like others.
    pub(super) long: &'static [(&'static str, char)],
}

impl Grammar {
    /// Whether a letter takes a value; `None` for one that is no option.
    fn takes_value(&self, letter: char) -> Option<bool> {
        let (_, rest) = self.short.split_once(letter).filter(|_| letter != ':')?;
        Some(rest.starts_with(':'))
    }
}

/// The words of a command line, less the options taken so far.
pub(super) struct Options<'a> {
    grammar: Grammar,
    /// The program's name as it was called, with which complaints begin.
    name: &'a str,
    words: std::vec::IntoIter<OsString>,
    /// What is left of a word of several letters.
    cluster: Vec<u8>,
}

impl<'a> Options<'a> {
    pub(super) fn new(grammar: Grammar, name: &'a str, words: Vec<OsString>) -> Self {
        Self {
            grammar,
            name,
            words: words.into_iter(),
            cluster: Vec::new(),
        }
    }

    /// The next option and its value, empty for one that takes none; `None` after the last one.
    ///
    /// # Errors
    /// The line that getopt prints.
    pub(super) fn next(&mut self) -> Result<Option<(char, OsString)>, String> {
        if self.cluster.is_empty() {
            let word = match self.words.as_slice().first() {
                Some(word) => word.as_bytes().to_owned(),
                None => return Ok(None),
            };
            if word == b"-" || !word.starts_with(b"-") {
                return Ok(None);
            }
            self.words.next();
            if word == b"--" {
                return Ok(None);
            }
            if let Some(long) = word.strip_prefix(b"--")
                && !self.grammar.long.is_empty()
            {
                return self.long(long).map(Some);
            }
            self.cluster = word.get(1..).unwrap_or_default().to_owned();
        }
        self.short().map(Some)
    }

    /// What follows the options: the command and its arguments.
    pub(super) fn rest(self) -> Vec<OsString> {
        self.words.collect()
    }

    fn short(&mut self) -> Result<(char, OsString), String> {
        let letter = char::from(self.cluster.remove(0));
        let name = self.name;
        match self.grammar.takes_value(letter) {
            Some(false) => Ok((letter, OsString::new())),
            Some(true) if !self.cluster.is_empty() => {
                let value = OsString::from_vec(std::mem::take(&mut self.cluster));
                Ok((letter, value))
            }
            Some(true) => match self.words.next() {
                Some(value) => Ok((letter, value)),
                None => Err(format!("{name}: option requires an argument -- '{letter}'")),
            },
            None => Err(format!("{name}: invalid option -- '{letter}'")),
        }
    }

    /// `typed` is the word without its dashes.
    fn long(&mut self, typed: &[u8]) -> Result<(char, OsString), String> {
        let name = self.name;
        let mut parts = typed.splitn(2, |byte| *byte == b'=');
        let (typed_name, value) = (parts.next().unwrap_or_default(), parts.next());
        let fitting: Vec<&(&str, char)> = self
            .grammar
            .long
            .iter()
            .filter(|(long, _)| long.as_bytes().starts_with(typed_name))
            .collect();
        let exact = fitting
            .iter()
            .find(|(long, _)| long.as_bytes() == typed_name);
        let typed = String::from_utf8_lossy(typed);
        let (long, letter) = match (exact, fitting.as_slice()) {
            (Some((long, letter)), _) | (None, [(long, letter)]) => (*long, *letter),
            (None, []) => return Err(format!("{name}: unrecognized option '--{typed}'")),
            (None, several) => {
                let listed: String = several
                    .iter()
                    .map(|(long, _)| format!(" '--{long}'"))
                    .collect();
                return Err(format!(
                    "{name}: option '--{typed}' is ambiguous; possibilities:{listed}"
                ));
            }
        };
        match (self.grammar.takes_value(letter), value) {
            (Some(true), Some(value)) => Ok((letter, OsStr::from_bytes(value).to_owned())),
            (Some(true), None) => match self.words.next() {
                Some(value) => Ok((letter, value)),
                None => Err(format!("{name}: option '--{long}' requires an argument")),
            },
            (_, Some(_)) => Err(format!(
                "{name}: option '--{long}' doesn't allow an argument"
            )),
            (_, None) => Ok((letter, OsString::new())),
        }
    }
}

/// Reads a whole number the way of C, blanks and sign first, and returns it with what follows it;
/// `None` where there is no digit. What does not fit is as large as can be.
pub(super) fn leading_number(text: &[u8]) -> Option<(i32, &[u8])> {
    let text = text.trim_ascii_start();
    let (is_negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    let count = digits.iter().take_while(|c| c.is_ascii_digit()).count();
    let (digits, rest) = digits.split_at_checked(count.max(1))?;
    let mut number = 0_i32;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        number = number
            .saturating_mul(10)
            .saturating_add(i32::from(digit - b'0'));
    }
    Some((if is_negative { -number } else { number }, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Grammar = Grammar {
        short: "p:vg",
        long: &[],
    };
    const LONG: Grammar = Grammar {
        short: "r:vVc",
        long: &[
            ("rewrite", 'r'),
            ("verbose", 'v'),
            ("version", 'V'),
            ("single-child", 'c'),
        ],
    };

    /// The options as `v p=X`, then `|` and the rest; or the complaint.
    fn read(grammar: Grammar, line: &str) -> String {
        let words = line.split(' ').filter(|word| !word.is_empty());
        let mut options = Options::new(grammar, "x", words.map(OsString::from).collect());
        let mut told = Vec::new();
        loop {
            match options.next() {
                Err(message) => return message,
                Ok(None) => break,
                Ok(Some((letter, value))) if value.is_empty() => told.push(letter.to_string()),
                Ok(Some((letter, value))) => told.push(format!("{letter}={}", value.display())),
            }
        }
        let rest = options.rest().into_iter();
        told.extend(rest.map(|word| format!("| {}", word.display())));
        told.join(" ")
    }

    #[test]
    fn p7_words_are_read_as_getopt_reads_them_and_end_at_the_command() {
        for (grammar, line, told) in [
            (SHORT, "", ""),
            (SHORT, "-v -g sh -v", "v g | sh | -v"),
            (SHORT, "-vg -- -v", "v g | -v"),
            (SHORT, "-vp TERM sh", "v p=TERM | sh"),
            (SHORT, "-vpTERM sh", "v p=TERM | sh"),
            (SHORT, "-p=TERM sh", "p==TERM | sh"),
            (SHORT, "-p -v sh", "p=-v | sh"),
            (SHORT, "-p -- sh", "p=-- | sh"),
            (SHORT, "- -v", "| - | -v"),
            (SHORT, "-p", "x: option requires an argument -- 'p'"),
            (SHORT, "-vx sh", "x: invalid option -- 'x'"),
            (SHORT, "-: sh", "x: invalid option -- ':'"),
            (SHORT, "--help", "x: invalid option -- '-'"),
            (LONG, "--rewrite 1:2 -c sh", "r=1:2 c | sh"),
            (LONG, "--rewrite=1:2 --sing -- sh", "r=1:2 c | sh"),
            (LONG, "--rew=1=2 sh", "r=1=2 | sh"),
            (
                LONG,
                "--rewrite",
                "x: option '--rewrite' requires an argument",
            ),
            (LONG, "--yolo=3", "x: unrecognized option '--yolo=3'"),
            (
                LONG,
                "--verbose=1",
                "x: option '--verbose' doesn't allow an argument",
            ),
            (
                LONG,
                "--ver",
                "x: option '--ver' is ambiguous; possibilities: '--verbose' '--version'",
            ),
        ] {
            assert_eq!(read(grammar, line), told, "{line}");
        }
    }

    #[test]
    fn numbers_are_read_as_c_reads_them() {
        for (text, expected) in [
            ("15:3", Some((15, ":3"))),
            (" +7x", Some((7, "x"))),
            ("-1", Some((-1, ""))),
            ("99999999999", Some((i32::MAX, ""))),
            ("", None),
            ("-", None),
            ("x1", None),
        ] {
            let expected = expected.map(|(number, rest)| (number, rest.as_bytes()));
            assert_eq!(leading_number(text.as_bytes()), expected, "{text:?}");
        }
    }
}
