//! What one agent leaves to the next: which rules were applied to which data, and which were begun and
//! not brought to their end. Kept by init, in memory that does not grow once the command runs. What
//! follows from it is the engine's to say.

/// How many rules are remembered once the command runs and nothing may grow any more. Those beyond are
/// applied again by the next agent, should this one die.
const REMEMBERED: usize = 256;

/// What is known of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trace {
    /// Its number.
    rule: u32,
    /// That of the data.
    pub fingerprint: u64,
    /// How often it was begun with this data, where it has not been applied since: as often as it has
    /// failed, by the time that the next agent reads this. 0 if it has been applied.
    pub tries: u32,
}

/// What is known of all rules.
#[derive(Debug, Clone, Default)]
pub struct Past {
    traces: Vec<Trace>,
    is_settled: bool,
}

impl Past {
    /// Takes note that a rule is about to be applied: how far that gets nobody knows.
    pub fn begun(&mut self, rule: u32, fingerprint: u64) {
        let same = self.take(rule).filter(|t| t.fingerprint == fingerprint);
        let tries = same.map_or(0, |trace| trace.tries).saturating_add(1);
        self.put(Trace {
            rule,
            fingerprint,
            tries,
        });
    }

    /// Takes note that a rule has been applied.
    pub fn applied(&mut self, rule: u32, fingerprint: u64) {
        self.take(rule);
        self.put(Trace {
            rule,
            fingerprint,
            tries: 0,
        });
    }

    /// Makes room for everything that may still have to be remembered; from here on nothing is allocated.
    pub fn settle(&mut self) {
        self.traces.reserve_exact(REMEMBERED);
        self.is_settled = true;
    }

    /// What is known of a rule.
    #[must_use]
    pub fn of(&self, rule: usize) -> Option<Trace> {
        let is_it = |trace: &&Trace| usize::try_from(trace.rule) == Ok(rule);
        self.traces.iter().find(is_it).copied()
    }

    /// The rules that were begun, and not applied since.
    pub fn cut(&self) -> impl Iterator<Item = usize> {
        let cut = self.traces.iter().filter(|trace| trace.tries > 0);
        cut.filter_map(|trace| usize::try_from(trace.rule).ok())
    }

    fn take(&mut self, rule: u32) -> Option<Trace> {
        let index = self.traces.iter().position(|trace| trace.rule == rule)?;
        Some(self.traces.swap_remove(index))
    }

    fn put(&mut self, trace: Trace) {
        if !self.is_settled || self.traces.len() < self.traces.capacity() {
            self.traces.push(trace);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_begun_counts_until_it_is_applied_or_the_data_is_other() {
        let mut past = Past::default();
        let about = |past: &Past| past.of(3).map(|trace| (trace.fingerprint, trace.tries));
        assert_eq!(about(&past), None);
        past.begun(3, 7);
        past.begun(3, 7);
        assert_eq!(about(&past), Some((7, 2)));
        past.begun(3, 8);
        assert_eq!(about(&past), Some((8, 1)));
        past.begun(4, 8);
        assert_eq!(past.cut().collect::<Vec<_>>(), [3, 4]);
        past.applied(3, 8);
        assert_eq!(about(&past), Some((8, 0)));
        assert_eq!(past.cut().collect::<Vec<_>>(), [4]);
        past.begun(3, 8);
        assert_eq!(about(&past), Some((8, 1)));
    }

    #[test]
    fn nothing_grows_once_it_is_settled() {
        let mut past = Past::default();
        past.settle();
        let room = past.traces.capacity();
        for rule in 0..2000 {
            past.begun(rule, 1);
            past.applied(rule, 1);
        }
        assert_eq!((past.traces.len(), past.traces.capacity()), (room, room));
    }
}
