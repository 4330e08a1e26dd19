//! Who is in the middle of writing: files that changed and were not closed since.
//!
//! A value cut in half is still valid YAML, so nothing is read before the writer closes the file,
//! falls silent, or has written for longer than anybody writes configuration (conformance 2.3.3).
//! Pure: the clock is an argument.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A writer that does nothing for so long is done, or will be noticed when it goes on.
pub(super) const SILENCE: Duration = Duration::from_millis(300);
/// Whoever writes for longer is read as it stands, lest a log file named by mistake is never read.
const PATIENCE: Duration = Duration::from_secs(2);

/// The files being written.
#[derive(Debug, Default)]
pub(super) struct Writers {
    files: BTreeSet<PathBuf>,
    /// When the first and the last change was seen.
    span: Option<(Instant, Instant)>,
}

impl Writers {
    /// A file changed, or came to be, and is not closed.
    pub(super) fn wrote(&mut self, file: PathBuf, now: Instant) {
        let first = self.span.map_or(now, |(first, _)| first);
        self.span = Some((first, now));
        self.files.insert(file);
    }

    /// A file was closed, removed, or another took its name.
    pub(super) fn closed(&mut self, file: &Path) {
        self.files.remove(file);
        self.settle();
    }

    /// Forgets the files that no longer matter.
    pub(super) fn retain(&mut self, matters: impl Fn(&Path) -> bool) {
        self.files.retain(|file| matters(file));
        self.settle();
    }

    fn settle(&mut self) {
        if self.files.is_empty() {
            self.span = None;
        }
    }

    /// Whether nobody is writing.
    pub(super) fn are_done(&self) -> bool {
        self.files.is_empty()
    }

    /// When to read although somebody is writing.
    pub(super) fn due(&self) -> Option<Instant> {
        self.span
            .map(|(first, last)| (last + SILENCE).min(first + PATIENCE))
    }

    /// Whether to read although somebody does not stop writing.
    pub(super) fn are_endless(&self, now: Instant) -> bool {
        self.span.is_some_and(|(first, _)| now >= first + PATIENCE)
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        self.retain(|_| false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn c2_3_3_a_file_is_read_when_closed_or_after_silence() {
        let start = Instant::now();
        let mut writers = Writers::default();
        assert_eq!(writers.due(), None);
        writers.wrote("a".into(), start);
        writers.wrote("a".into(), start + ms(100));
        assert_eq!(writers.due(), Some(start + ms(100) + SILENCE));
        writers.closed(Path::new("a"));
        assert!(writers.are_done());
        assert_eq!(writers.due(), None);
    }

    #[test]
    fn c2_3_3_who_never_stops_writing_is_read_all_the_same() {
        let start = Instant::now();
        let mut writers = Writers::default();
        for tick in 0..30 {
            writers.wrote("a".into(), start + ms(100) * tick);
        }
        assert_eq!(writers.due(), Some(start + PATIENCE));
        assert!(!writers.are_endless(start + ms(1999)));
        assert!(writers.are_endless(start + PATIENCE));
        writers.clear();
        writers.wrote("a".into(), start + ms(3000));
        assert_eq!(writers.due(), Some(start + ms(3000) + SILENCE));
    }

    #[test]
    fn one_file_closed_does_not_hide_another_being_written() {
        let start = Instant::now();
        let mut writers = Writers::default();
        writers.wrote("a".into(), start);
        writers.wrote("b".into(), start);
        writers.closed(Path::new("b"));
        assert!(!writers.are_done());
        writers.retain(|file| file != Path::new("a"));
        assert!(writers.are_done());
    }
}
