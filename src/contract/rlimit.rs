//! Resource limits of a process (getrlimit(2)): names, and values as users write them. Changes no
//! process.

use super::suggest;

/// What a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Bytes,
    Number,
}

/// Names by number, from the kernel's `asm-generic/resource.h`, which x86 and ARM both use.
const RESOURCES: [(&str, Unit); 16] = [
    ("cpu", Unit::Number),
    ("fsize", Unit::Bytes),
    ("data", Unit::Bytes),
    ("stack", Unit::Bytes),
    ("core", Unit::Bytes),
    ("rss", Unit::Bytes),
    ("nproc", Unit::Number),
    ("nofile", Unit::Number),
    ("memlock", Unit::Bytes),
    ("as", Unit::Bytes),
    ("locks", Unit::Number),
    ("sigpending", Unit::Number),
    ("msgqueue", Unit::Bytes),
    ("nice", Unit::Number),
    ("rtprio", Unit::Number),
    ("rttime", Unit::Number),
];

/// No limit, as the kernel spells it.
pub const UNLIMITED: u64 = u64::MAX;

/// The number of `nice`: 20 less the lowest nice value allowed.
pub const NICE: u32 = 13;

/// One limit. Bytes for sizes, seconds for `cpu`, microseconds for `rttime`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// The kernel's number of the resource.
    pub resource: u32,
    /// What counts.
    pub soft: u64,
    /// What a process may raise the soft one to.
    pub hard: u64,
}

/// The name of a resource, such as `nofile`.
#[must_use]
pub fn name(resource: u32) -> &'static str {
    let index = usize::try_from(resource).unwrap_or(usize::MAX);
    RESOURCES.get(index).map_or("unknown", |(name, _)| name)
}

/// Parses `nofile=1024:4096,core=0`: limits joined by commas, each at most once. One value is both
/// soft and hard. Names take any case and `RLIMIT_`; values are numbers, `unlimited` or `-1`, and
/// sizes also take `K`, `M`, `G` (of 1024).
///
/// # Errors
/// A sentence that names what was expected.
pub fn parse_list(text: &str) -> Result<Vec<Limit>, String> {
    let mut limits: Vec<Limit> = Vec::new();
    for word in text.split(',').map(str::trim).filter(|w| !w.is_empty()) {
        let limit = parse(word)?;
        if limits.iter().any(|known| known.resource == limit.resource) {
            return Err(format!("`{}` is there twice", name(limit.resource)));
        }
        limits.push(limit);
    }
    Ok(limits)
}

fn parse(text: &str) -> Result<Limit, String> {
    let Some((word, value)) = text.split_once('=') else {
        return Err(format!(
            "`{text}` is no limit; expected `NAME=VALUE` or `NAME=SOFT:HARD` joined by `,`, such as `nofile=1024:4096`"
        ));
    };
    let lower = word.trim().to_ascii_lowercase();
    let bare = lower.strip_prefix("rlimit_").unwrap_or(&lower);
    let found = (0..).zip(RESOURCES).find(|(_, (name, _))| *name == bare);
    let Some((resource, (_, unit))) = found else {
        let names = RESOURCES.map(|(name, _)| name);
        let hint = suggest::hint(bare, names);
        return Err(format!(
            "unknown limit `{}`{hint}; expected one of {}",
            word.trim(),
            names.join(", ")
        ));
    };
    let (soft, hard) = value.split_once(':').unwrap_or((value, value));
    let (soft, hard) = (amount(bare, soft, unit)?, amount(bare, hard, unit)?);
    if soft > hard {
        return Err(format!(
            "the soft limit of `{bare}` is above the hard one; expected `{bare}=SOFT:HARD`"
        ));
    }
    Ok(Limit {
        resource,
        soft,
        hard,
    })
}

fn amount(name: &str, text: &str, unit: Unit) -> Result<u64, String> {
    let text = text.trim();
    let lower = text.to_ascii_lowercase();
    if matches!(lower.as_str(), "unlimited" | "-1") {
        return Ok(UNLIMITED);
    }
    let scaled = |suffix, scale| Some((lower.strip_suffix(suffix)?, scale));
    let (digits, scale) = match unit {
        Unit::Number => None,
        Unit::Bytes => scaled('k', 1 << 10)
            .or_else(|| scaled('m', 1 << 20))
            .or_else(|| scaled('g', 1 << 30)),
    }
    .unwrap_or((&lower, 1_u64));
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits.parse::<u64>().ok().filter(|_| is_number);
    number
        .and_then(|number| number.checked_mul(scale))
        .ok_or_else(|| {
            let sizes = match unit {
                Unit::Bytes => "bytes, maybe with `K`, `M` or `G`",
                Unit::Number => "a whole number",
            };
            format!("`{text}` is no value for the limit `{name}`; expected {sizes}, or `unlimited`")
        })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn one(text: &str) -> (&'static str, u64, u64) {
        let limits = parse_list(text).unwrap();
        assert_eq!(limits.len(), 1, "{text}");
        (name(limits[0].resource), limits[0].soft, limits[0].hard)
    }

    #[test]
    fn names_and_values_take_every_spelling() {
        for (text, expected) in [
            ("nofile=1024", ("nofile", 1024, 1024)),
            ("nofile=1024:4096", ("nofile", 1024, 4096)),
            ("RLIMIT_NOFILE = 1 : 2", ("nofile", 1, 2)),
            ("Core=0", ("core", 0, 0)),
            ("core=0:unlimited", ("core", 0, UNLIMITED)),
            ("nproc=-1", ("nproc", UNLIMITED, UNLIMITED)),
            ("stack=8M:1g", ("stack", 8 << 20, 1 << 30)),
            ("as=4K", ("as", 4096, 4096)),
            ("rttime=200000", ("rttime", 200_000, 200_000)),
        ] {
            assert_eq!(one(text), expected, "{text}");
        }
        let both = parse_list("nofile=1:2, core=0,").unwrap();
        assert_eq!(both.len(), 2);
        assert_eq!(name(NICE), "nice");
        assert_eq!(name(99), "unknown");
    }

    #[test]
    fn numbers_are_those_of_the_system() {
        for (constant, expected) in [
            (libc::RLIMIT_CPU, "cpu"),
            (libc::RLIMIT_CORE, "core"),
            (libc::RLIMIT_NPROC, "nproc"),
            (libc::RLIMIT_NOFILE, "nofile"),
            (libc::RLIMIT_AS, "as"),
            (libc::RLIMIT_RTTIME, "rttime"),
        ] {
            assert_eq!(name(u32::try_from(i64::from(constant)).unwrap()), expected);
        }
    }

    #[test]
    fn what_is_no_limit_is_refused() {
        for (text, expected) in [
            ("nofile", "`nofile` is no limit; expected `NAME=VALUE`"),
            ("nofle=1", "unknown limit `nofle`; did you mean `nofile`?"),
            (
                "nofile=1K",
                "`1K` is no value for the limit `nofile`; expected a whole number",
            ),
            ("core=1T", "expected bytes, maybe with `K`"),
            ("core=", "`` is no value"),
            ("core=+1", "is no value"),
            ("core=-2", "is no value"),
            ("core=99999999999G", "is no value"),
            (
                "nofile=5:4",
                "the soft limit of `nofile` is above the hard one",
            ),
            ("nofile=unlimited:4", "above the hard one"),
            ("core=0,CORE=1", "`core` is there twice"),
        ] {
            let error = parse_list(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_a_panic(text in "(nofile|core|x)?[=:,0-9kMG é-]{0,20}") {
            if let Ok(limits) = parse_list(&text) {
                prop_assert!(limits.iter().all(|limit| limit.soft <= limit.hard));
            }
        }
    }
}
