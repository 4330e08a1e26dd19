//! Pauses between retries: exponential with full jitter, capped, back to the start on success.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::time::Duration;

/// The pauses of one retry loop.
#[derive(Debug)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
    attempts: u32,
}

impl Backoff {
    /// From a tenth of `interval` doubling up to five times `interval`: with the default of 1 s,
    /// 100 ms to 5 s.
    #[must_use]
    pub fn new(interval: Duration) -> Self {
        Self {
            base: interval / 10,
            cap: interval * 5,
            attempts: 0,
        }
    }

    /// The next pause: half of the step at least, so that jitter never means a busy loop.
    pub fn pause(&mut self) -> Duration {
        let step = self
            .base
            .saturating_mul(1 << self.attempts.min(16))
            .min(self.cap);
        self.attempts = self.attempts.saturating_add(1);
        step.mul_f64(0.5 + random() / 2.0)
    }

    /// Starts over after a success.
    pub fn reset(&mut self) {
        self.attempts = 0;
    }
}

/// A number from 0 to 1. The standard library's hasher is seeded by the system; jitter needs no more.
#[must_use]
pub fn random() -> f64 {
    let bits = RandomState::new().build_hasher().finish();
    let top = u32::try_from(bits >> 32).unwrap_or(u32::MAX);
    f64::from(top) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_cap_and_start_over() {
        let mut backoff = Backoff::new(Duration::from_secs(1));
        let first = backoff.pause();
        assert!((50..=100).contains(&first.as_millis()), "{first:?}");
        let last = (0..40).map(|_| backoff.pause()).last().unwrap();
        assert!((2500..=5000).contains(&last.as_millis()), "{last:?}");
        backoff.reset();
        assert!(backoff.pause() <= Duration::from_millis(100));
    }
}
