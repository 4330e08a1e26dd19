//! Capabilities of Linux (capabilities(7)): names, sets, and the lists in which users drop and add
//! them, with the meaning that Docker gives to such lists. Changes no process.

use std::fmt;

use super::suggest;

/// Names by number, from the kernel's `linux/capability.h`; the last came with 5.9.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// The names of all capabilities, without `CAP_`.
pub fn names() -> impl Iterator<Item = &'static str> {
    NAMES.into_iter()
}

/// A set of capabilities, a bit each by number, as the kernel has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Set(pub u64);

impl Set {
    /// None.
    pub const EMPTY: Self = Self(0);
    /// Changing groups.
    pub const SETGID: Self = Self(1 << 6);
    /// Changing users.
    pub const SETUID: Self = Self(1 << 7);
    /// Dropping from the bounding set.
    pub const SETPCAP: Self = Self(1 << 8);
    /// Priorities above one's own.
    pub const SYS_NICE: Self = Self(1 << 23);
    /// Limits above the hard ones.
    pub const SYS_RESOURCE: Self = Self(1 << 24);

    /// Those of both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Those of either.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those that the other has not.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether every one of the other is in this.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        other.0 & !self.0 == 0
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The numbers, in ascending order.
    pub fn numbers(self) -> impl Iterator<Item = u32> {
        (0..u64::BITS).filter(move |number| self.0 >> number & 1 == 1)
    }
}

impl fmt::Display for Set {
    /// `CAP_CHOWN, CAP_KILL`; a number where there is no name yet.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, number) in self.numbers().enumerate() {
            f.write_str(if index > 0 { ", " } else { "" })?;
            match usize::try_from(number).ok().and_then(|n| NAMES.get(n)) {
                Some(name) => write!(f, "CAP_{name}")?,
                None => write!(f, "capability {number}")?,
            }
        }
        Ok(())
    }
}

/// A list as users write it: capabilities by name, and maybe `ALL`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct List {
    /// Whether `ALL` is in it.
    pub all: bool,
    /// The others.
    pub named: Set,
}

impl List {
    /// Parses names joined by commas, in any case, with or without `CAP_`.
    ///
    /// # Errors
    /// A sentence that names what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut list = Self::default();
        for word in text.split(',').map(str::trim).filter(|w| !w.is_empty()) {
            let upper = word.to_ascii_uppercase();
            let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
            if upper == "ALL" {
                list.all = true;
            } else if let Some(number) = NAMES.iter().position(|name| *name == bare) {
                list.named.0 |= 1 << number;
            } else {
                let known = NAMES.map(str::to_ascii_lowercase);
                let hint = suggest::hint(bare, known.iter().map(String::as_str));
                return Err(format!(
                    "unknown capability `{word}`{hint}; expected names such as `NET_BIND_SERVICE`, or `ALL`, joined by `,`"
                ));
            }
        }
        Ok(list)
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What is left of `held` after these lists: what is added stays although it is dropped, and `ALL`
/// among the added is everything but what is dropped by name.
#[must_use]
pub fn kept(held: Set, drop: List, add: List) -> Set {
    if add.all {
        held.without(drop.named)
    } else if drop.all {
        held.and(add.named)
    } else {
        held.without(drop.named).or(held.and(add.named))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_capability_reads_back_by_name() {
        for number in 0..=40 {
            let set = Set(1 << number);
            let name = set.to_string();
            assert_eq!(set.numbers().collect::<Vec<_>>(), [number]);
            for text in [&name, &name[4..], &name.to_lowercase()] {
                assert_eq!(List::parse(text).unwrap().named, set, "{text}");
            }
        }
        assert_eq!(Set(1 << 40).to_string(), "CAP_CHECKPOINT_RESTORE");
        assert_eq!(Set(1 << 41 | 1).to_string(), "CAP_CHOWN, capability 41");
        for (set, name) in [
            (Set::SETGID, "CAP_SETGID"),
            (Set::SETUID, "CAP_SETUID"),
            (Set::SETPCAP, "CAP_SETPCAP"),
            (Set::SYS_NICE, "CAP_SYS_NICE"),
            (Set::SYS_RESOURCE, "CAP_SYS_RESOURCE"),
        ] {
            assert_eq!(set.to_string(), name);
        }
    }

    #[test]
    fn a_list_names_what_it_does_not_know() {
        let list = List::parse(" chown , CAP_kill,").unwrap();
        assert_eq!(list.named, Set(0b10_0001));
        assert!(!list.all);
        assert!(List::parse("all").unwrap().all);
        assert!(List::parse("").unwrap().is_empty());
        let error = List::parse("chown,cap_net_bind_servise").unwrap_err();
        assert!(
            error.starts_with(
                "unknown capability `cap_net_bind_servise`; did you mean `net_bind_service`?"
            ),
            "{error}"
        );
        assert!(List::parse("CAP_ALL").is_err());
    }

    #[test]
    fn a100_lists_mean_what_they_mean_to_docker() {
        let held = Set(0b1111);
        let list = |all, named| List {
            all,
            named: Set(named),
        };
        for (drop, add, expected) in [
            (list(false, 0), list(false, 0), 0b1111),
            (list(false, 0b1), list(false, 0), 0b1110),
            (list(true, 0), list(false, 0b10), 0b10),
            (list(true, 0), list(false, 0), 0),
            (list(false, 0b11), list(false, 0b1), 0b1101),
            (list(false, 0b11), list(true, 0), 0b1100),
            (list(true, 0), list(true, 0), 0b1111),
            (list(false, 0), list(false, 0b1_0000), 0b1111),
        ] {
            assert_eq!(kept(held, drop, add), Set(expected), "{drop:?} {add:?}");
        }
    }

    proptest! {
        #[test]
        fn no_list_is_a_panic(text in "\\PC{0,40}") {
            let _ = List::parse(&text);
        }
    }
}
