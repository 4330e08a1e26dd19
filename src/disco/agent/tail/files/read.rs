//! Reads a stream, part by part, and goes on where it was truncated.
//!
//! Which stream's turn it is is the caller's, and what a copy is of is
//! [`generations`](super::generations)' to say. Whether bytes may be believed is [`Part`]'s.
//!
//! [`Part`]: super::part::Part

use std::time::Instant;

use super::Files;
use super::part::Outcome;

impl Files {
    pub(super) fn read_stream(&mut self, index: usize, buffer: &mut [u8]) -> Option<(usize, bool)> {
        let now = Instant::now();
        loop {
            let stream = self.streams.get_mut(&index)?;
            stream.drop_ended();
            if !stream.is_ready {
                return None;
            }
            let is_last = stream.parts.len() == 1;
            let part = stream.parts.front_mut()?;
            let outcome = part.read(buffer, now);
            if let Some(name) = self.names.get_mut(&stream.name) {
                name.newest = name.newest.max(part.written);
            }
            match outcome {
                Ok(Outcome::Bytes(size)) => {
                    stream.rotated = stream.rotated.map(|_| now);
                    stream.is_leaving = false;
                    return Some((size, false));
                }
                Ok(Outcome::End) if !is_last => {
                    stream.is_ending = true;
                    return Some((0, true));
                }
                Ok(Outcome::End) => {
                    stream.is_ready = false;
                    if stream.is_leaving {
                        self.close(index);
                        return Some((0, true));
                    }
                    return None;
                }
                Ok(Outcome::Cut) => {
                    if self.cut(index) {
                        return Some((0, true));
                    }
                }
                Err(error) => {
                    // It cannot be read to any end; a file that lost its name is given up in time.
                    stream.is_ready = false;
                    let is_leaving = stream.is_leaving;
                    let path = self.name(index).display().to_string();
                    self.tell(format!("{path} cannot be read: {error}"));
                    if is_leaving {
                        self.close(index);
                        return Some((0, true));
                    }
                    return None;
                }
            }
        }
    }

    /// Goes on from the beginning of a file that was truncated, after what a copy has of the rest.
    /// Returns whether there is none, so that the stream has ended.
    fn cut(&mut self, index: usize) -> bool {
        let Some(stream) = self.streams.get(&index) else {
            return true;
        };
        let Some(part) = stream.parts.front() else {
            return true;
        };
        let (name, offset, done, head) = (stream.name, part.offset, part.done, part.head);
        let own = part.file.metadata().ok();
        let mut copies = self.copies(name, offset, head, own.as_ref());
        if let Some(copy) = copies.front_mut() {
            copy.done = done;
        }
        let is_lost = copies.is_empty();
        if let Some(stream) = self.streams.get_mut(&index) {
            if stream.parts.len() == 1 {
                stream.parts[0].rewind();
            } else {
                stream.parts.pop_front();
            }
            copies.append(&mut stream.parts);
            stream.parts = copies;
        }
        is_lost
    }
}
