//! Lines put together from bytes that come in pieces. What they say is others' business.
//!
//! Memory is bounded: a line longer than the limit is given on in parts, of which nothing is lost.

use memchr::memchr;

/// What of a line it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// All of it, or its beginning.
    Start,
    /// What goes on from a part before.
    Rest,
}

/// The lines of one stream.
pub(super) struct Lines {
    partial: Vec<u8>,
    limit: usize,
    /// Whether the line that is under way has been given on in part.
    is_begun: bool,
}

/// More memory than this is given back when a long line is over.
const KEPT: usize = 64 << 10;

impl Lines {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            partial: Vec::new(),
            limit,
            is_begun: false,
        }
    }

    /// Bytes held back because their line has not ended.
    pub(super) fn held(&self) -> usize {
        self.partial.len()
    }

    /// Whether a line is under way.
    pub(super) fn is_pending(&self) -> bool {
        !self.partial.is_empty()
    }

    /// Takes in bytes; `each` gets every line that they end, without its line break.
    pub(super) fn feed(&mut self, mut bytes: &[u8], mut each: impl FnMut(&[u8], Part)) {
        while let Some(end) = memchr(b'\n', bytes) {
            let (line, rest) = bytes.split_at(end);
            bytes = rest.get(1..).unwrap_or_default();
            if self.partial.is_empty() && line.len() <= self.limit {
                each(without_return(line), self.part(false));
            } else {
                self.hold(line, &mut each);
                self.end(&mut each);
            }
        }
        self.hold(bytes, &mut each);
    }

    /// Takes what is held for a line that has ended, if anything is held.
    pub(super) fn end(&mut self, mut each: impl FnMut(&[u8], Part)) {
        // What has been given on in parts and no more follows is no empty line.
        if !self.partial.is_empty() || !self.is_begun {
            let part = self.part(false);
            each(without_return(&self.partial), part);
        }
        self.is_begun = false;
        self.partial.clear();
        if self.partial.capacity() > KEPT {
            self.partial.shrink_to(KEPT);
        }
    }

    /// The same, if a line is under way at all.
    pub(super) fn end_if_pending(&mut self, each: impl FnMut(&[u8], Part)) {
        if self.is_pending() || self.is_begun {
            self.end(each);
        }
    }

    /// Gives on what is held although its line goes on.
    pub(super) fn give_up_some(&mut self, mut each: impl FnMut(&[u8], Part)) {
        // In front of a character that is not all there yet.
        let is_inside = |byte: &&u8| (0x80..0xc0).contains(*byte);
        let last = self
            .partial
            .iter()
            .rev()
            .take(3)
            .take_while(is_inside)
            .count()
            + 1;
        let begin = self.partial.len().saturating_sub(last);
        let whole = match self.partial.get(begin) {
            Some(0xc0..0xe0) => 2,
            Some(0xe0..0xf0) => 3,
            Some(0xf0..) => 4,
            _ => 1,
        };
        let is_cut = last < whole && begin > 0;
        let cut = if is_cut { begin } else { self.partial.len() };
        let rest = self.partial.split_off(cut);
        let part = self.part(true);
        each(&self.partial, part);
        self.partial = rest;
    }

    fn hold(&mut self, mut bytes: &[u8], each: &mut impl FnMut(&[u8], Part)) {
        while self.partial.len() + bytes.len() > self.limit {
            let room = self.limit.saturating_sub(self.partial.len());
            let (fits, rest) = bytes.split_at(room.min(bytes.len()));
            self.partial.extend_from_slice(fits);
            self.give_up_some(&mut *each);
            bytes = rest;
        }
        self.partial.extend_from_slice(bytes);
    }

    /// What the bytes given on now are, given whether the line goes on behind them.
    fn part(&mut self, goes_on: bool) -> Part {
        match std::mem::replace(&mut self.is_begun, goes_on) {
            true => Part::Rest,
            false => Part::Start,
        }
    }
}

fn without_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fed(limit: usize, pieces: &[&[u8]]) -> Vec<(String, Part)> {
        let mut lines = Lines::new(limit);
        let mut got = Vec::new();
        let mut each =
            |line: &[u8], part| got.push((String::from_utf8_lossy(line).into_owned(), part));
        for piece in pieces {
            lines.feed(piece, &mut each);
        }
        lines.end_if_pending(&mut each);
        got
    }

    #[test]
    fn a33_lines_end_at_breaks_whatever_the_pieces() {
        let whole = |text: &str| (text.to_owned(), Part::Start);
        assert_eq!(
            fed(99, &[b"a\r\nb", b"c\n", b"\n\nd"]),
            [whole("a"), whole("bc"), whole(""), whole(""), whole("d")]
        );
        assert_eq!(fed(99, &[]), []);
        assert_eq!(fed(99, &[b"x\r", b"\n"]), [whole("x")]);
    }

    #[test]
    fn a_line_beyond_the_limit_comes_in_parts_between_characters() {
        let part = |text: &str, part| (text.to_owned(), part);
        assert_eq!(
            fed(4, &[b"123456789\nx\n"]),
            [
                part("1234", Part::Start),
                part("5678", Part::Rest),
                part("9", Part::Rest),
                part("x", Part::Start)
            ]
        );
        assert_eq!(
            fed(4, &["abcäöü\n".as_bytes()]),
            [
                part("abc", Part::Start),
                part("äö", Part::Rest),
                part("ü", Part::Rest)
            ]
        );
        assert_eq!(
            fed(4, &[b"1234\n5678\n"]),
            [part("1234", Part::Start), part("5678", Part::Start)]
        );
        assert_eq!(fed(4, &[b"\x80\x80\x80\x80\x80\n"]).len(), 2);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_little_is_held(text in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), Just(0xc3), Just(0xa4), any::<u8>()], 0..300), cuts in proptest::collection::vec(1usize..20, 1..30), limit in 4usize..40) {
            let mut lines = Lines::new(limit);
            let mut got: Vec<u8> = Vec::new();
            let mut each = |line: &[u8], part| {
                if part == Part::Start {
                    got.push(b'\n');
                }
                got.extend_from_slice(line);
            };
            let (mut rest, mut cut) = (&text[..], cuts.iter().cycle());
            while !rest.is_empty() {
                let (piece, behind) = rest.split_at(rest.len().min(*cut.next().unwrap()));
                lines.feed(piece, &mut each);
                prop_assert!(lines.held() <= limit);
                rest = behind;
            }
            lines.end_if_pending(&mut each);
            let plain = |bytes: &[u8]| bytes.iter().copied().filter(|b| !matches!(b, b'\r' | b'\n')).collect::<Vec<_>>();
            prop_assert_eq!(plain(&got), plain(&text));
            let breaks = text.iter().filter(|b| **b == b'\n').count() + usize::from(text.last().is_some_and(|b| *b != b'\n'));
            prop_assert_eq!(got.iter().filter(|b| **b == b'\n').count(), breaks);
        }
    }
}
