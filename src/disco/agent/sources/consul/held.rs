//! Quiescence: gathers changes that come thick and fast, and lets the first one through at once.

use std::time::{Duration, Instant};

use serde_json::Value;

/// How many quiet times a state may be held back in all, so that churn without end still shows.
const PATIENCE: u32 = 5;

/// A state and the notes on it, held back until nothing newer has come for the quiet time.
pub(super) struct Held {
    quiet: Duration,
    state: Option<(Value, Vec<String>)>,
    /// The latest tree that was news, and when it came. Consul wakes for more than what is asked.
    latest: Option<(Value, Instant)>,
    /// When the first of those held back came.
    since: Instant,
}

impl Held {
    /// Holds nothing. With a quiet time of zero it never will.
    #[must_use]
    pub(super) fn new(quiet: Duration) -> Self {
        Self {
            quiet,
            state: None,
            latest: None,
            since: Instant::now(),
        }
    }

    /// Takes in a state. Returns it when it comes after a quiet time, and else holds it in place of
    /// any older one.
    #[must_use]
    pub(super) fn offer(
        &mut self,
        tree: Value,
        notes: Vec<String>,
        now: Instant,
    ) -> Option<(Value, Vec<String>)> {
        if self.quiet.is_zero() {
            return Some((tree, notes));
        }
        let (is_news, is_late) = match &self.latest {
            Some((latest, at)) => (*latest != tree, now - *at >= self.quiet),
            None => (true, true),
        };
        if is_news {
            self.latest = Some((tree.clone(), now));
        }
        if self.state.is_none() && (is_late || !is_news) {
            return Some((tree, notes));
        }
        if self.state.is_none() {
            self.since = now;
        }
        self.state = Some((tree, notes));
        None
    }

    /// When the state held is to be released.
    fn deadline(&self) -> Option<Instant> {
        let ((_, latest), _) = (self.latest.as_ref()?, self.state.as_ref()?);
        Some((*latest + self.quiet).min(self.since + self.quiet * PATIENCE))
    }

    /// Waits until the state held is to be released; for ever if there is none.
    pub(super) async fn due(&self) {
        match self.deadline() {
            Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
            None => std::future::pending().await,
        }
    }

    /// Gives up the state held, if any.
    #[must_use]
    pub(super) fn release(&mut self) -> Option<(Value, Vec<String>)> {
        self.state.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const QUIET: Duration = Duration::from_millis(50);

    fn at(start: Instant, millis: u64) -> Instant {
        start + Duration::from_millis(millis)
    }

    #[test]
    fn c2_1_8_the_first_change_is_not_delayed_and_churn_is_gathered() {
        let start = Instant::now();
        let mut held = Held::new(QUIET);
        assert!(held.offer(json!(1), vec![], at(start, 0)).is_some());
        assert!(held.offer(json!(2), vec![], at(start, 10)).is_none());
        assert!(held.offer(json!(3), vec![], at(start, 30)).is_none());
        assert_eq!(held.deadline(), Some(at(start, 80)));
        assert_eq!(held.release(), Some((json!(3), vec![])));
        assert_eq!((held.release(), held.deadline()), (None, None));
        assert!(held.offer(json!(4), vec![], at(start, 200)).is_some());
    }

    #[test]
    fn churn_without_end_still_shows() {
        let start = Instant::now();
        let mut held = Held::new(QUIET);
        let _ = held.offer(json!(0), vec![], start);
        for millis in (10..400).step_by(10) {
            assert!(
                held.offer(json!(millis), vec![], at(start, millis))
                    .is_none()
            );
        }
        assert_eq!(held.deadline(), Some(at(start, 10 + 250)));
    }

    #[test]
    fn an_answer_without_news_neither_waits_nor_delays() {
        let start = Instant::now();
        let mut held = Held::new(QUIET);
        assert!(held.offer(json!(1), vec![], at(start, 0)).is_some());
        assert!(held.offer(json!(1), vec![], at(start, 99)).is_some());
        assert!(held.offer(json!(2), vec![], at(start, 100)).is_some());
        assert!(held.offer(json!(3), vec![], at(start, 110)).is_none());
        assert!(held.offer(json!(3), vec![], at(start, 150)).is_none());
        assert_eq!(held.deadline(), Some(at(start, 160)));
    }

    #[test]
    fn without_a_quiet_time_nothing_is_held() {
        let now = Instant::now();
        let mut held = Held::new(Duration::ZERO);
        assert!(held.offer(json!(1), vec![], now).is_some());
        assert!(held.offer(json!(2), vec![], now).is_some());
    }
}
