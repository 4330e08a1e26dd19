//! JSON written into a buffer of fixed size, for whoever may take no memory. It knows strings and
//! writes the rest as it is told; trees are serde's.

use std::fmt;

/// How a character stands in a JSON string, DEL escaped as well since terminals act on it.
pub fn escape(c: char, room: &mut [u8; 6]) -> &str {
    match c {
        '"' => "\\\"",
        '\\' => "\\\\",
        '\n' => "\\n",
        c if c < ' ' || c == '\u{7f}' => {
            let digit = |shift: u32| {
                let digit = char::from_digit(u32::from(c) >> shift & 15, 16);
                digit.and_then(|c| u8::try_from(c).ok()).unwrap_or(b'0')
            };
            *room = [b'\\', b'u', b'0', b'0', digit(4), digit(0)];
            std::str::from_utf8(room).unwrap_or_default()
        }
        c => {
            let length = c.encode_utf8(room).len();
            std::str::from_utf8(room.get(..length).unwrap_or_default()).unwrap_or_default()
        }
    }
}

/// A text under construction. What does not fit is left out, and remembered.
pub struct Buffer<const N: usize> {
    bytes: [u8; N],
    len: usize,
    overflowed: bool,
}

impl<const N: usize> Default for Buffer<N> {
    fn default() -> Self {
        Self {
            bytes: [0; N],
            len: 0,
            overflowed: false,
        }
    }
}

impl<const N: usize> Buffer<N> {
    /// Adds text as it is.
    pub fn raw(&mut self, text: &str) {
        let end = self.len + text.len();
        match self.bytes.get_mut(self.len..end) {
            Some(free) if !self.overflowed => {
                free.copy_from_slice(text.as_bytes());
                self.len = end;
            }
            _ => self.overflowed = true,
        }
    }

    /// Adds a string: what is no UTF-8 as U+FFFD, and what goes beyond `limit` bytes as `…`.
    pub fn string(&mut self, text: &[u8], limit: usize) {
        self.raw("\"");
        let start = self.len;
        let chars = text.utf8_chunks().flat_map(|chunk| {
            let broken = (!chunk.invalid().is_empty()).then_some(char::REPLACEMENT_CHARACTER);
            chunk.valid().chars().chain(broken)
        });
        for c in chars {
            let mut room = [0; 6];
            let escaped = escape(c, &mut room);
            if self.len + escaped.len() > start + limit {
                self.raw("…");
                break;
            }
            self.raw(escaped);
        }
        self.raw("\"");
    }

    /// What has been written, if all of it fitted.
    #[must_use]
    pub fn text(&self) -> Option<&[u8]> {
        self.bytes.get(..self.len).filter(|_| !self.overflowed)
    }
}

impl<const N: usize> fmt::Write for Buffer<N> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.raw(text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &[u8], limit: usize) -> String {
        let mut buffer = Buffer::<256>::default();
        buffer.string(text, limit);
        String::from_utf8(buffer.text().unwrap().to_vec()).unwrap()
    }

    #[test]
    fn any_bytes_make_a_valid_string_of_the_size_allowed() {
        assert_eq!(written(b"a\"\\\n\x01\x7f", 99), r#""a\"\\\n\u0001\u007f""#);
        assert_eq!(
            written(b"\xff\xc3(\xe2\x82", 99),
            "\"\u{fffd}\u{fffd}(\u{fffd}\""
        );
        assert_eq!(written("ééé".as_bytes(), 5), "\"éé…\"");
        for limit in 0..20 {
            let text = written(b"\"\x01\xff\xf0\x9f\x98\x80abc", limit);
            assert!(text.len() <= limit + 5, "{text}");
            serde_json::from_str::<String>(&text).unwrap();
        }
    }

    #[test]
    fn what_does_not_fit_is_known() {
        let mut buffer = Buffer::<4>::default();
        buffer.raw("1234");
        assert_eq!(buffer.text(), Some(&b"1234"[..]));
        buffer.raw("5");
        buffer.raw("");
        assert_eq!(buffer.text(), None);
    }
}
