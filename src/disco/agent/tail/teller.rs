//! Warnings whose number somebody else decides: some of them are told, and how many there were beside.

use std::time::{Duration, Instant};

use tracing::warn;

/// In so long a time
const WINDOW: Duration = Duration::from_secs(60);
/// so many are told.
const MOST: u32 = 10;

/// Keeps count.
#[derive(Default)]
pub(super) struct Teller {
    since: Option<Instant>,
    told: u32,
    untold: u64,
}

impl Teller {
    /// Tells something, if it is its turn.
    pub(super) fn say(&mut self, now: Instant, tell: impl FnOnce()) {
        if self
            .since
            .is_none_or(|since| now.saturating_duration_since(since) >= WINDOW)
        {
            self.finish();
            self.since = Some(now);
            self.told = 0;
        }
        if self.told < MOST {
            self.told += 1;
            tell();
        } else {
            self.untold += 1;
        }
    }

    /// Tells how many were not told.
    pub(super) fn finish(&mut self) {
        match std::mem::take(&mut self.untold) {
            0 => {}
            untold => warn!("metrics: {untold} more lines of that kind"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_are_told_and_the_others_counted() {
        let (mut teller, mut told, start) = (Teller::default(), 0, Instant::now());
        for _ in 0..100 {
            teller.say(start, || told += 1);
        }
        assert_eq!((told, teller.untold), (MOST, 90));
        teller.say(start + WINDOW, || told += 1);
        assert_eq!((told, teller.untold), (MOST + 1, 0));
    }
}
