//! The keys of the `disco` section that say as whom, and within what, the command runs. What they
//! name is looked up later, in [`crate::disco::init::context`].

use std::path::PathBuf;

use super::Section;
use super::raw::split_list;
use crate::contract::account::Spec;
use crate::contract::capability::List;
use crate::contract::problem::Problem;
use crate::contract::rlimit::{self, Limit};

/// How the command differs from disco itself; by default in nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecSettings {
    /// The user, and maybe the group.
    pub user: Option<Spec>,
    /// Supplementary groups by name or number, in place of those of the group file.
    pub groups: Option<Vec<String>>,
    /// The bits that new files do not get.
    pub umask: Option<u32>,
    /// The working directory, absolute.
    pub workdir: Option<PathBuf>,
    /// The nice value, -20 to 19.
    pub nice: Option<i32>,
    /// Resource limits, each at most once.
    pub ulimits: Vec<Limit>,
    /// Whether no exec gives more rights than there are.
    pub no_new_privs: bool,
    /// Capabilities that are taken from the command.
    pub cap_drop: List,
    /// Those that it keeps all the same, also as another user than root.
    pub cap_add: List,
    /// Where in the contract it is said what is dropped and kept, where no setting says it; a problem
    /// without words.
    pub cap_contract: Option<Problem>,
}

impl ExecSettings {
    /// Drops all capabilities but these and those of the settings, for good, as `cap` of the contract
    /// asks (asyncy A-100).
    ///
    /// Whoever runs the container has the last word: what a setting drops, the contract does not keep.
    /// `place` is where in the contract that is said.
    pub fn keep_only(&mut self, kept: List, place: Problem) {
        let is_own = self.cap_drop.is_empty() && self.cap_add.is_empty();
        self.cap_contract = is_own.then_some(place);
        if !self.cap_drop.all {
            self.cap_add.all |= kept.all;
            let kept = kept.named.without(self.cap_drop.named);
            self.cap_add.named = self.cap_add.named.or(kept);
        }
        // With `ALL` added, what is dropped by name is all that is dropped.
        self.cap_drop.all = !self.cap_add.all;
        self.no_new_privs = true;
    }
}

pub(super) fn read(section: &Section<'_>) -> ExecSettings {
    ExecSettings {
        user: section.parsed("user", Spec::parse),
        groups: section.text("groups").map(|text| split_list(&text)),
        umask: section.parsed("umask", umask),
        workdir: section.parsed("workdir", directory),
        nice: section.parsed("nice", nice),
        ulimits: section
            .parsed("ulimits", rlimit::parse_list)
            .unwrap_or_default(),
        no_new_privs: section.flag("no_new_privs", &[], false),
        cap_drop: section.parsed("cap_drop", List::parse).unwrap_or_default(),
        cap_add: section.parsed("cap_add", List::parse).unwrap_or_default(),
        cap_contract: None,
    }
}

fn umask(text: &str) -> Result<u32, String> {
    let mask = octal(text).filter(|mask| *mask <= 0o777);
    mask.ok_or_else(|| {
        format!("`{text}` is no umask; expected octal digits up to `777`, such as `027`")
    })
}

/// A number of octal digits and nothing else.
pub(super) fn octal(text: &str) -> Option<u32> {
    let is_octal = !text.is_empty() && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    u32::from_str_radix(text, 8).ok().filter(|_| is_octal)
}

/// An absolute path.
pub(super) fn directory(text: &str) -> Result<PathBuf, String> {
    if text.starts_with('/') && !text.contains('\0') {
        Ok(text.into())
    } else {
        Err(format!(
            "`{text}` is no absolute path; expected one that begins with `/`"
        ))
    }
}

fn nice(text: &str) -> Result<i32, String> {
    let value = text.parse().ok();
    value
        .filter(|value| (-20..=19).contains(value))
        .ok_or_else(|| format!("`{text}` is no nice value; expected a whole number from -20 to 19"))
}

#[cfg(test)]
mod tests {
    use super::super::tests::checked;
    use super::*;
    use crate::contract::capability::Set;

    #[test]
    fn without_keys_nothing_differs() {
        assert_eq!(checked("", &[]).unwrap().exec, ExecSettings::default());
    }

    #[test]
    fn every_key_is_read() {
        let cfg = "disco.user=app:staff|disco.groups=video, 29|disco.umask=0027|disco.workdir=/srv\
            |disco.nice=-5|disco.ulimits=nofile=1024:4096,core=0|disco.no_new_privs=yes\
            |disco.cap_drop=ALL|disco.cap_add=chown,CAP_KILL";
        let exec = checked(cfg, &[]).unwrap().exec;
        assert_eq!(exec.user, Some(Spec::parse("app:staff").unwrap()));
        assert_eq!(exec.groups.unwrap(), ["video", "29"]);
        assert_eq!(exec.umask, Some(0o27));
        assert_eq!(exec.workdir, Some("/srv".into()));
        assert_eq!(exec.nice, Some(-5));
        assert_eq!(exec.ulimits.len(), 2);
        assert!(exec.no_new_privs);
        assert!(exec.cap_drop.all);
        assert_eq!(exec.cap_add.named, Set(0b10_0001));
    }

    #[test]
    fn an_empty_list_of_groups_is_not_an_absent_one() {
        let exec = checked("disco.groups=", &[]).unwrap().exec;
        assert_eq!(exec.groups, Some(Vec::new()));
    }

    #[test]
    fn every_mistake_is_told_with_its_remedy() {
        let cfg = "disco.user=|disco.umask=888|disco.workdir=srv|disco.nice=20|disco.ulimits=nofil=1\
            |disco.no_new_privs=maybe|disco.cap_drop=al|disco.cap_add=net_admn|disco.cap_dorp=ALL";
        let told = checked(cfg, &[]).unwrap_err();
        for expected in [
            "`disco.user`: `` names no user; expected a name or a number, and maybe a group after `:`, such as `app` or `1000:1000`",
            "`disco.umask`: `888` is no umask; expected octal digits up to `777`, such as `027`",
            "`disco.workdir`: `srv` is no absolute path; expected one that begins with `/`",
            "`disco.nice`: `20` is no nice value; expected a whole number from -20 to 19",
            "`disco.ulimits`: unknown limit `nofil`; did you mean `nofile`?",
            "`disco.no_new_privs`: `maybe` is neither `true` nor `false`",
            "`disco.cap_drop`: unknown capability `al`",
            "`disco.cap_add`: unknown capability `net_admn`; did you mean `net_admin`?",
            "`disco.cap_dorp`: unknown setting; did you mean `cap_drop`?",
        ] {
            assert!(
                told.iter().any(|line| line.starts_with(expected)),
                "{expected}: {told:#?}"
            );
        }
        assert_eq!(told.len(), 9, "{told:#?}");
    }

    #[test]
    fn a_umask_is_octal_and_nothing_else() {
        for (text, mask) in [("0", 0), ("22", 0o22), ("022", 0o22), ("0777", 0o777)] {
            assert_eq!(umask(text), Ok(mask), "{text}");
        }
        for text in ["", "1000", "+22", "0o22", "rw"] {
            assert!(umask(text).is_err(), "{text}");
        }
    }
}
