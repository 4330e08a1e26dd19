//! What is asked of Consul: which read comes next, its path and query, its time limit. Pure.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::disco::settings::{Consistency, ConsulSettings};

/// Time limit of a read that Consul answers at once. A server without a leader takes 7 s to say so.
const LIMIT: Duration = Duration::from_secs(15);

/// What Consul and the network may take on top of the wait.
const MARGIN: Duration = Duration::from_secs(10);

/// How long the instances of a service have to be unchanged: one deployment is many transitions.
pub(super) const QUIESCENCE: Duration = Duration::from_millis(50);

/// One way to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Read {
    /// Everything, at once.
    Full,
    /// Everything, as soon as it is newer than this index or the wait is over.
    After(u64),
}

impl Read {
    /// The read after this one, whose answer had the index `got` and came after `elapsed`.
    #[must_use]
    pub(super) fn next(self, got: u64, elapsed: Duration, wait: Duration) -> Self {
        match self {
            Self::After(sent) if got < sent => Self::Full,
            // A server whose state is replaced by a snapshot lets go of its queries with the old
            // state and the old index, and would block on that index for the whole wait.
            Self::After(sent) if got == sent && elapsed < wait => Self::Full,
            // Index 0 would not block, which makes a busy loop.
            _ => Self::After(got.max(1)),
        }
    }

    /// How long the answer may take. Consul adds up to a sixteenth to the wait.
    #[must_use]
    pub(super) fn limit(self, wait: Duration) -> Duration {
        match self {
            Self::Full => LIMIT,
            Self::After(_) => wait + wait / 16 + MARGIN,
        }
    }
}

/// What is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Subject {
    /// The keys below the prefix.
    Keys,
    /// The passing instances of a service.
    Service(String),
}

impl Subject {
    /// For how long changes are gathered when they come thick and fast.
    pub(super) fn quiescence(&self) -> Duration {
        match self {
            Self::Keys => Duration::ZERO,
            Self::Service(_) => QUIESCENCE,
        }
    }

    /// Whether the answer has no data.
    pub(super) fn is_empty(&self, tree: &Value) -> bool {
        match self {
            Self::Keys => tree.as_object().is_none_or(Map::is_empty),
            Self::Service(name) => tree["services"][name]["address"].is_null(),
        }
    }

    /// What to think of an answer without data.
    pub(super) fn emptiness(&self, settings: &ConsulSettings) -> String {
        let what = match self {
            Self::Keys if settings.prefix.is_empty() => "no keys".to_owned(),
            Self::Keys => format!("no data below `{}`", settings.prefix),
            Self::Service(name) => format!("no passing instance of `{name}`"),
        };
        let check = match settings.token {
            Some(_) => "`consul.token`",
            None => "whether `consul.token` is needed",
        };
        format!("{what}, or no permission to read it; check {check}")
    }
}

/// Path and query of a read.
#[must_use]
pub(super) fn target(
    settings: &ConsulSettings,
    subject: &Subject,
    read: Read,
    stale: bool,
) -> String {
    let mut target = match subject {
        Subject::Keys => format!("/v1/kv/{}?recurse=true", encode(&settings.prefix, "/")),
        Subject::Service(name) => {
            format!("/v1/health/service/{}?passing=true", encode(name, ""))
        }
    };
    let mut add = |name: &str, value: &str| {
        target.extend(["&", name, "=", &encode(value, "")]);
    };
    if let Subject::Service(_) = subject {
        for (name, value) in [("tag", &settings.tag), ("near", &settings.near)] {
            value.iter().for_each(|value| add(name, value));
        }
    }
    for (name, value) in [
        ("dc", &settings.dc),
        ("ns", &settings.namespace),
        ("partition", &settings.partition),
    ] {
        value.iter().for_each(|value| add(name, value));
    }
    match settings.consistency {
        Consistency::Consistent => add("consistent", "true"),
        Consistency::Stale if stale => add("stale", "true"),
        Consistency::Stale | Consistency::Default => {}
    }
    if let Read::After(index) = read {
        add("index", &index.to_string());
        add("wait", &format!("{}ms", settings.wait.as_millis()));
    }
    target
}

/// Percent-encodes all but the characters that never need it and those in `kept`.
fn encode(text: &str, kept: &str) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        let plain = char::from(byte);
        if plain.is_ascii_alphanumeric() || "-._~".contains(plain) || kept.contains(plain) {
            encoded.push(plain);
        } else {
            let (high, low) = (usize::from(byte >> 4), usize::from(byte & 15));
            encoded.extend(['%', char::from(HEX[high]), char::from(HEX[low])]);
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disco::settings::SourceSettings;
    use crate::disco::settings::tests::checked;
    use proptest::prelude::*;

    fn consul(text: &str) -> ConsulSettings {
        match checked(text, &[]).unwrap().sources.remove(0) {
            SourceSettings::Consul(settings) => settings,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn c2_1_4_5_6_the_next_index() {
        let (full, after) = (Read::Full, Read::After);
        let (wait, early) = (Duration::from_secs(55), Duration::from_secs(54));
        for (read, got, elapsed, next) in [
            (full, 7, early, after(7)),
            (full, 0, early, after(1)),
            (after(7), 7, wait, after(7)),
            (after(7), 7, early, full),
            (after(7), 8, early, after(8)),
            (after(7), 8, wait, after(8)),
            (after(7), 6, wait, full),
            (after(7), 0, early, full),
            (after(1), 0, wait, full),
            (after(1), 1, wait, after(1)),
            (after(1), u64::MAX, early, after(u64::MAX)),
        ] {
            assert_eq!(
                read.next(got, elapsed, wait),
                next,
                "{read:?} {got} {elapsed:?}"
            );
        }
    }

    #[test]
    fn c2_1_4_the_limit_of_a_blocking_query_is_above_the_stretched_wait() {
        for seconds in [1, 2, 55, 600] {
            let wait = Duration::from_secs(seconds);
            let limit = Read::After(1).limit(wait);
            assert!(
                limit >= wait.mul_f64(17.0 / 16.0) + Duration::from_secs(7),
                "{limit:?}"
            );
        }
        assert_eq!(Read::Full.limit(Duration::from_secs(600)), LIMIT);
    }

    #[test]
    fn c2_1_1_targets_of_the_key_value_store() {
        let full = "consul.prefix=a b/c%/é|consul.dc=d&c|consul.namespace=n|consul.partition=p\
                    |consul.consistency=consistent|consul.tag=t|consul.near=_agent";
        for (text, read, expected) in [
            ("consul", Read::Full, "/v1/kv/?recurse=true"),
            (
                "consul.prefix=app|consul.wait=1.5",
                Read::After(3),
                "/v1/kv/app/?recurse=true&index=3&wait=1500ms",
            ),
            (
                full,
                Read::Full,
                "/v1/kv/a%20b/c%25/%C3%A9/?recurse=true&dc=d%26c&ns=n&partition=p&consistent=true",
            ),
        ] {
            assert_eq!(target(&consul(text), &Subject::Keys, read, true), expected);
        }
    }

    #[test]
    fn targets_of_a_service() {
        let settings = consul("consul.tag=a+b|consul.near=_agent|consul.consistency=stale");
        let service = Subject::Service("d/b".to_owned());
        assert_eq!(
            target(&settings, &service, Read::After(1), true),
            "/v1/health/service/d%2Fb?passing=true&tag=a%2Bb&near=_agent&stale=true\
             &index=1&wait=55000ms"
        );
        let leader = target(&settings, &service, Read::Full, false);
        assert!(!leader.contains("stale"), "{leader}");
    }

    #[test]
    fn c2_1_9_an_empty_answer_names_what_was_read() {
        let settings = consul("consul.prefix=app|consul.token=hunter2");
        let hint = Subject::Keys.emptiness(&settings);
        assert!(
            hint.contains("`app/`, or no permission to read it"),
            "{hint}"
        );
        assert!(!hint.contains("hunter2"));
    }

    proptest! {
        // A failure is printed, and does not become a file of the repository.
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn c2_1_13_what_is_encoded_is_printable_and_decodes_to_itself(text in any::<String>()) {
            let encoded = encode(&text, "/");
            prop_assert!(encoded.bytes().all(|byte| byte.is_ascii_graphic()));
            prop_assert!(!encoded.contains(['?', '#', '&', '+', ' ']));
            let mut bytes = encoded.bytes();
            let mut decoded = Vec::new();
            while let Some(byte) = bytes.next() {
                decoded.push(match byte {
                    b'%' => {
                        let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
                        u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
                    }
                    plain => plain,
                });
            }
            prop_assert_eq!(decoded, text.as_bytes());
        }

        #[test]
        fn no_index_makes_a_query_that_does_not_block(sent in 1_u64.., got in any::<u64>(), millis in 0_u64..9) {
            for read in [Read::Full, Read::After(sent)] {
                let next = read.next(got, Duration::from_millis(millis), Duration::from_millis(5));
                prop_assert!(next == Read::Full || matches!(next, Read::After(1..)));
            }
        }
    }
}
