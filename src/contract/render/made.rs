//! What comes out of a template: its text, within bounds, and word of everything that is made of data on
//! the way there. Who hears of that, and what for, is the surroundings' to say.

use std::io;

use minijinja::value::{Value, ValueKind};

use super::template::Surroundings;

/// Bytes of a rendered text. Nobody writes larger configurations: such a template comes to no end.
pub(super) const MAX_BYTES: usize = 16 << 20;

/// Tells the surroundings of a value: of its leaves, if it is a list or a map.
pub(super) fn tell(around: &dyn Surroundings, value: &Value) {
    // No recursion: lists may be deeper than the stack.
    let mut waiting = vec![value.clone()];
    while let Some(value) = waiting.pop() {
        let wants_more = match value.kind() {
            ValueKind::String => value.as_str().is_none_or(|text| around.made(text)),
            ValueKind::Number => around.made(&value.to_string()),
            ValueKind::Seq | ValueKind::Iterable => {
                waiting.extend(value.try_iter().into_iter().flatten());
                true
            }
            ValueKind::Map => {
                let keys = value.try_iter().into_iter().flatten();
                waiting.extend(keys.filter_map(|key| value.get_item(&key).ok()));
                true
            }
            _ => true,
        };
        if !wants_more {
            return;
        }
    }
}

/// A text that takes no more than [`MAX_BYTES`].
#[derive(Default)]
pub(super) struct Bounded(Vec<u8>);

impl Bounded {
    pub(super) fn into_text(self) -> String {
        // The engine writes text only.
        String::from_utf8_lossy(&self.0).into_owned()
    }
}

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len().saturating_add(bytes.len()) > MAX_BYTES {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
