//! How many lines a second of each level get through, and how many did not.

use std::time::{Duration, Instant};

use crate::contract::logline::Level;
use crate::disco::settings::data::Rates;

/// How often it is said what was dropped.
const EVERY: Duration = Duration::from_secs(10);

/// A level's share: as many lines as a second allows may come at once.
struct Bucket {
    rate: u32,
    /// Lines that may pass, in billionths.
    room: u64,
    filled: Instant,
    untold: u64,
}

const WHOLE: u64 = 1_000_000_000;

impl Bucket {
    fn most(&self) -> u64 {
        u64::from(self.rate) * WHOLE
    }

    fn passes(&mut self, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.filled);
        self.filled = now;
        // A rate is lines a second and billionths of lines a nanosecond alike.
        let more = u64::try_from(elapsed.as_nanos())
            .unwrap_or(u64::MAX)
            .saturating_mul(self.rate.into());
        self.room = self.room.saturating_add(more).min(self.most());
        match self.room.checked_sub(WHOLE) {
            Some(room) => {
                self.room = room;
                true
            }
            None => {
                self.untold += 1;
                false
            }
        }
    }
}

/// The shares of all levels.
pub(super) struct Limits {
    buckets: [Option<Bucket>; Level::ALL.len()],
    told: Option<Instant>,
}

impl Limits {
    pub(super) fn new(rates: &Rates, now: Instant) -> Self {
        let buckets = Level::ALL.map(|level| {
            let rate = *rates.get(&level)?;
            Some(Bucket {
                rate,
                room: u64::from(rate) * WHOLE,
                filled: now,
                untold: 0,
            })
        });
        Self {
            buckets,
            told: None,
        }
    }

    /// Whether a line passes.
    pub(super) fn passes(&mut self, level: Level, now: Instant) -> bool {
        let bucket = self.buckets.get_mut(level.plain() as usize);
        bucket
            .and_then(Option::as_mut)
            .is_none_or(|bucket| bucket.passes(now))
    }

    /// Counts a line that does not pass because what it goes on with did not.
    pub(super) fn drop_one(&mut self, level: Level) {
        if let Some(Some(bucket)) = self.buckets.get_mut(level.plain() as usize) {
            bucket.untold += 1;
        }
    }

    /// When to say what was dropped, if anything was.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        let is_any = self
            .buckets
            .iter()
            .flatten()
            .any(|bucket| bucket.untold > 0);
        is_any.then(|| self.told.map_or(now, |told| told + EVERY))
    }

    /// What was dropped since the last time: level, lines, and the rate beyond which they were.
    pub(super) fn tell(&mut self, now: Instant) -> Vec<(Level, u64, u32)> {
        self.told = Some(now);
        let all = Level::ALL.into_iter().zip(&mut self.buckets);
        all.filter_map(|(level, bucket)| {
            let bucket = bucket.as_mut().filter(|bucket| bucket.untold > 0)?;
            Some((level, std::mem::take(&mut bucket.untold), bucket.rate))
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a33_a_second_lets_so_many_through_and_the_rest_is_counted() {
        let start = Instant::now();
        let rates = Rates::from([(Level::Debug, 10)]);
        let mut limits = Limits::new(&rates, start);
        let mut passed = |at: Duration, count: u32| {
            let now = start + at;
            (0..count)
                .filter(|_| limits.passes(Level::Debug, now))
                .count()
        };
        assert_eq!(passed(Duration::ZERO, 100), 10);
        assert_eq!(passed(Duration::from_millis(99), 100), 0);
        assert_eq!(passed(Duration::from_millis(500), 100), 5);
        assert_eq!(passed(Duration::from_secs(3600), 100), 10);
        assert!((0..1000).all(|_| limits.passes(Level::Info, start)));
        let now = start + Duration::from_secs(3600);
        assert_eq!(limits.due(now), Some(now));
        assert_eq!(limits.tell(now), [(Level::Debug, 375, 10)]);
        assert_eq!(limits.due(now), None);
        assert_eq!(limits.tell(now), []);
    }
}
