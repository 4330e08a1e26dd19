//! As whom and within what the command runs: resolved and checked before anything starts, applied in
//! the process that becomes the command, between fork and exec.
//!
//! The names are those of `/etc/passwd` and `/etc/group` as they are when disco starts. Init itself
//! and the agent keep what they were started with: what they may do the command must not.

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use nix::errno::Errno;

use crate::contract::account::{Accounts, Identity};
use crate::contract::capability::{self, Set};
use crate::contract::problem::Problem;
use crate::contract::rlimit::{self, Limit};
use crate::disco::accounts;
use crate::disco::settings::ExecSettings;
use crate::sys::{
    self,
    credentials::{self, Capabilities, Ids},
};

/// What a process does to itself before it becomes the command. The default is nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecContext {
    limits: Vec<Limit>,
    nice: Option<i32>,
    umask: Option<u32>,
    change: Option<Change>,
    /// What leaves the bounding set.
    dropped: Set,
    rights: Option<Rights>,
    no_new_privs: bool,
    workdir: Option<CString>,
    variables: Vec<(&'static str, OsString)>,
}

/// Whom to become.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Change {
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
    /// Whether this is another user, to whom the standard streams must belong.
    gives_streams: bool,
}

/// The capabilities after the change of user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rights {
    sets: Capabilities,
    /// What is added to the ambient set, for users other than root.
    ambient: Set,
    /// Whether they have to be carried over a change of user, which would take them.
    carried: bool,
}

/// What this process is and may do, as far as it matters here.
struct Present {
    users: Ids,
    groups: Ids,
    capabilities: Capabilities,
    bounding: Set,
    nice: i32,
    limit: fn(u32) -> Option<Limit>,
}

impl ExecContext {
    /// Looks names up, and checks against what this process may do.
    ///
    /// # Errors
    /// Everything that is wrong, at once; all of it is for exit code 78.
    pub fn resolve(settings: &ExecSettings) -> Result<Self, Vec<Problem>> {
        if *settings == ExecSettings::default() {
            return Ok(Self::default());
        }
        let accounts = accounts(settings)?;
        let present = Present::read().map_err(|error| {
            let message = format!(
                "cannot read users and capabilities of this process: {}",
                error.desc()
            );
            vec![Problem::new(message)]
        })?;
        plan(settings, &accounts, &present)
    }

    /// What of it counts for hooks, which run as disco itself does: where.
    #[must_use]
    pub fn for_hooks(&self) -> Self {
        Self {
            workdir: self.workdir.clone(),
            ..Self::default()
        }
    }

    /// Whether the command runs as disco itself does.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// The variables that the command gets in place of those of their names.
    pub fn environment(&self) -> impl Iterator<Item = (&'static str, &OsStr)> {
        let all = self.variables.iter();
        all.map(|(name, value)| (*name, value.as_os_str()))
    }

    /// Has the command find a variable, in place of the one of that name.
    pub fn set_variable(&mut self, name: &'static str, value: OsString) {
        self.variables.push((name, value));
    }

    /// Does it. For a process with one thread that is about to become the command; allocates nothing.
    /// A change of user makes the kernel forget a signal for the parent's death: that is set after this.
    ///
    /// # Errors
    /// What could not be done. The process is then neither what it was nor what it should be, and
    /// must not execute anything.
    pub fn apply(&self) -> Result<(), Failed> {
        for limit in &self.limits {
            let which = u16::try_from(limit.resource).unwrap_or(0);
            credentials::set_limit(*limit)
                .map_err(|error| Failed::at(step::LIMIT, which, error))?;
        }
        if let Some(nice) = self.nice {
            credentials::set_nice(nice).map_err(|error| Failed::at(step::NICE, 0, error))?;
        }
        if let Some(umask) = self.umask {
            credentials::set_umask(umask);
        }
        if let Some(change) = self.change.as_ref().filter(|change| change.gives_streams) {
            for stream in [sys::stdin(), sys::stdout(), sys::stderr()] {
                credentials::give_stream(stream, change.uid);
            }
        }
        // While we may: from the bounding set only a privileged process drops.
        for number in self.dropped.numbers() {
            let which = u16::try_from(number).unwrap_or(0);
            credentials::drop_bounding(number)
                .map_err(|error| Failed::at(step::BOUNDING, which, error))?;
        }
        if self.rights.is_some_and(|rights| rights.carried) {
            credentials::keep_capabilities().map_err(|error| Failed::at(step::KEEP, 0, error))?;
        }
        if let Some(change) = &self.change {
            change.apply()?;
        }
        if let Some(rights) = &self.rights {
            rights.apply()?;
        }
        if self.no_new_privs {
            credentials::set_no_new_privileges()
                .map_err(|error| Failed::at(step::NO_NEW_PRIVS, 0, error))?;
        }
        // Last, as the user who is to work there.
        match &self.workdir {
            Some(path) => {
                credentials::change_dir(path).map_err(|error| Failed::at(step::WORKDIR, 0, error))
            }
            None => Ok(()),
        }
    }

    /// Says in the user's terms what [`ExecContext::apply`] could not do.
    #[must_use]
    pub fn explain(&self, failed: Failed) -> Problem {
        let error = io::Error::from_raw_os_error(failed.error);
        let number = u32::from(failed.which);
        let capability = Set(1_u64.checked_shl(number).unwrap_or(0));
        let (key, what, remedy) = match failed.step {
            step::LIMIT => (
                "disco.ulimits",
                format!("cannot set the limit `{}`", rlimit::name(number)),
                "take a lower one, or raise it where the container is started",
            ),
            step::NICE => ("disco.nice", "cannot set the nice value".to_owned(), ""),
            step::GROUPS | step::GROUP | step::USER => (
                if self.variables.is_empty() {
                    "disco.groups"
                } else {
                    "disco.user"
                },
                format!("cannot {}{}", failed.step, self.ids()),
                "a user namespace may lack these numbers, or a filter forbid the change",
            ),
            step::BOUNDING => (
                "disco.cap_drop",
                format!("cannot drop {capability} from the bounding set"),
                "",
            ),
            step::AMBIENT => (
                "disco.cap_add",
                format!("cannot keep {capability} for a user other than root"),
                "this takes Linux 4.3, and no filter against it",
            ),
            step::NO_NEW_PRIVS => (
                "disco.no_new_privs",
                "cannot forbid new privileges".to_owned(),
                "",
            ),
            step::WORKDIR => (
                "disco.workdir",
                format!("cannot change to `{}`", self.directory().display()),
                "it must exist, and the command's user must be able to enter it",
            ),
            other => ("disco.user", format!("cannot {other}"), ""),
        };
        let separator = if remedy.is_empty() { "" } else { "; " };
        Problem::new(format!("{what}: {error}{separator}{remedy}")).at_key(key)
    }

    fn directory(&self) -> &Path {
        let path = self.workdir.as_deref().unwrap_or_default();
        Path::new(OsStr::from_bytes(path.to_bytes()))
    }

    fn ids(&self) -> String {
        let change = self.change.as_ref();
        change.map_or_else(String::new, |change| {
            format!(" (user {}, group {})", change.uid, change.gid)
        })
    }
}

impl Present {
    fn read() -> Result<Self, Errno> {
        Ok(Self {
            users: credentials::users()?,
            groups: credentials::primary_groups()?,
            capabilities: credentials::capabilities()?,
            bounding: credentials::bounding(),
            nice: credentials::nice(),
            limit: |resource| credentials::limit(resource).ok(),
        })
    }
}

impl Change {
    fn apply(&self) -> Result<(), Failed> {
        // In this order: each needs what the next one may take away.
        credentials::set_groups(&self.groups)
            .map_err(|error| Failed::at(step::GROUPS, 0, error))?;
        credentials::set_primary_group(self.gid)
            .map_err(|error| Failed::at(step::GROUP, 0, error))?;
        credentials::set_user(self.uid).map_err(|error| Failed::at(step::USER, 0, error))?;
        // There have been kernels and sandboxes that said yes and did nothing.
        let done = credentials::users().is_ok_and(|ids| ids.are_all(self.uid))
            && credentials::primary_groups().is_ok_and(|ids| ids.are_all(self.gid))
            && credentials::group_count().is_ok_and(|count| count == self.groups.len());
        if done {
            Ok(())
        } else {
            Err(Failed::unverified(step::VERIFY_USER))
        }
    }
}

impl Rights {
    fn apply(&self) -> Result<(), Failed> {
        credentials::set_capabilities(self.sets)
            .map_err(|error| Failed::at(step::CAPABILITIES, 0, error))?;
        if credentials::capabilities().ok() != Some(self.sets) {
            return Err(Failed::unverified(step::VERIFY_CAPABILITIES));
        }
        for number in self.ambient.numbers() {
            let which = u16::try_from(number).unwrap_or(0);
            credentials::raise_ambient(number)
                .map_err(|error| Failed::at(step::AMBIENT, which, error))?;
        }
        Ok(())
    }
}

/// What a process does on its way to the command; each completes "cannot".
mod step {
    pub(super) const EXECUTE: &str = "execute the command";
    pub(super) const LIMIT: &str = "set a limit";
    pub(super) const NICE: &str = "set the nice value";
    pub(super) const BOUNDING: &str = "drop a capability";
    pub(super) const KEEP: &str = "keep capabilities over the change of user";
    pub(super) const GROUPS: &str = "set the groups";
    pub(super) const GROUP: &str = "change the primary group";
    pub(super) const USER: &str = "change the user";
    pub(super) const VERIFY_USER: &str = "confirm the change of user, which the kernel reported";
    pub(super) const CAPABILITIES: &str = "set the capabilities";
    pub(super) const VERIFY_CAPABILITIES: &str =
        "confirm the capabilities, which the kernel reported as set";
    pub(super) const AMBIENT: &str = "keep a capability";
    pub(super) const NO_NEW_PRIVS: &str = "forbid new privileges";
    pub(super) const WORKDIR: &str = "change the working directory";
    pub(super) const ALL: [&str; 14] = [
        EXECUTE,
        LIMIT,
        NICE,
        BOUNDING,
        KEEP,
        GROUPS,
        GROUP,
        USER,
        VERIFY_USER,
        CAPABILITIES,
        VERIFY_CAPABILITIES,
        AMBIENT,
        NO_NEW_PRIVS,
        WORKDIR,
    ];
}

/// What failed on the way to the command, small enough for a pipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failed {
    /// What was tried; completes "cannot".
    pub step: &'static str,
    /// The limit or the capability that it was about, by its number; else 0.
    pub which: u16,
    /// The kernel's error number.
    pub error: i32,
}

impl Failed {
    fn at(step: &'static str, which: u16, error: Errno) -> Self {
        Self {
            step,
            which,
            error: error as i32,
        }
    }

    fn unverified(step: &'static str) -> Self {
        Self {
            step,
            which: 0,
            error: libc::EPERM,
        }
    }

    /// The failure of exec itself.
    #[must_use]
    pub fn to_execute(error: Errno) -> Self {
        Self::at(step::EXECUTE, 0, error)
    }

    /// Whether everything but exec itself went well.
    #[must_use]
    pub fn is_of_exec(&self) -> bool {
        self.step == step::EXECUTE
    }

    /// The message for a pipe.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 8] {
        let step = step::ALL.iter().position(|step| *step == self.step);
        let step = step.and_then(|index| u16::try_from(index).ok());
        let [a, b] = step.unwrap_or(0).to_ne_bytes();
        let [c, d] = self.which.to_ne_bytes();
        let [e, f, g, h] = self.error.to_ne_bytes();
        [a, b, c, d, e, f, g, h]
    }

    /// Reads such a message.
    #[must_use]
    pub fn from_bytes([a, b, c, d, e, f, g, h]: [u8; 8]) -> Self {
        let step = step::ALL.get(usize::from(u16::from_ne_bytes([a, b])));
        Self {
            step: step.copied().unwrap_or(step::EXECUTE),
            which: u16::from_ne_bytes([c, d]),
            error: i32::from_ne_bytes([e, f, g, h]),
        }
    }
}

/// What is wrong with the names alone, whatever this process may do: for a check ahead of the start.
#[must_use]
pub fn unknown_names(settings: &ExecSettings) -> Vec<Problem> {
    let mut problems = Vec::new();
    match accounts(settings) {
        Ok(accounts) => drop(who(settings, &accounts, 0, &mut problems)),
        Err(unreadable) => problems = unreadable,
    }
    problems
}

/// Both files, if they are needed.
fn accounts(settings: &ExecSettings) -> Result<Accounts, Vec<Problem>> {
    if settings.user.is_none() && settings.groups.is_none() {
        return Ok(Accounts::default());
    }
    accounts::read()
}

/// Whom the settings name, and the groups that they name apart from that.
fn who(
    settings: &ExecSettings,
    accounts: &Accounts,
    own_group: u32,
    problems: &mut Vec<Problem>,
) -> (Option<Identity>, Option<Vec<u32>>) {
    let mut known = |key, error: String| problems.push(Problem::new(error).at_key(key));
    let user = settings.user.as_ref().and_then(|spec| {
        let found = accounts.find(spec);
        found.map_err(|e| known("disco.user", e.to_string())).ok()
    });
    let primary = user.as_ref().map_or(own_group, |user| user.gid);
    let groups = settings.groups.as_ref().and_then(|words| {
        let found = accounts.groups(primary, words);
        found.map_err(|e| known("disco.groups", e.to_string())).ok()
    });
    (user, groups)
}

fn plan(
    settings: &ExecSettings,
    accounts: &Accounts,
    present: &Present,
) -> Result<ExecContext, Vec<Problem>> {
    let mut problems = Vec::new();
    let (user, groups) = who(settings, accounts, present.groups.effective, &mut problems);
    let change = change(user.as_ref(), groups, present, &mut problems);
    let uid = change.as_ref().map_or(present.users.effective, |c| c.uid);
    let (dropped, rights) = rights(settings, uid, change.is_some(), present, &mut problems);
    check_limits(settings, present, &mut problems);
    let workdir = settings.workdir.as_deref().map(|path| {
        if path.metadata().is_ok_and(|found| !found.is_dir()) {
            let message = format!("`{}` is not a directory", path.display());
            problems.push(Problem::new(message).at_key("disco.workdir"));
        }
        // Without NUL bytes by its setting.
        CString::new(path.as_os_str().as_bytes()).unwrap_or_default()
    });
    if !problems.is_empty() {
        return Err(problems);
    }
    let variables = user.map_or_else(Vec::new, |user| {
        let name = OsString::from(user.name);
        vec![
            ("HOME", user.home),
            ("USER", name.clone()),
            ("LOGNAME", name),
        ]
    });
    Ok(ExecContext {
        limits: settings.ulimits.clone(),
        nice: settings.nice,
        umask: settings.umask,
        change,
        dropped,
        rights,
        no_new_privs: settings.no_new_privs,
        workdir,
        variables,
    })
}

/// Whom to become, if we are somebody else. One who is that user and group already keeps the groups
/// that the runtime gave (`fsGroup` of Kubernetes), and needs no right to set them.
fn change(
    user: Option<&Identity>,
    groups: Option<Vec<u32>>,
    present: &Present,
    problems: &mut Vec<Problem>,
) -> Option<Change> {
    let (own_user, own_group) = (present.users.effective, present.groups.effective);
    let (uid, gid) = user.map_or((own_user, own_group), |user| (user.uid, user.gid));
    let is_already = present.users.are_all(uid) && present.groups.are_all(gid);
    let groups = match (groups, user) {
        (Some(groups), _) => groups,
        (None, Some(user)) if !is_already => user.groups.clone(),
        (None, _) => return None,
    };
    let mut needed = Set::SETGID;
    if !present.users.include(uid) {
        needed = needed.or(Set::SETUID);
    }
    let missing = needed.without(present.capabilities.effective);
    if !missing.is_empty() {
        let (key, message) = match user {
            Some(user) => (
                "disco.user",
                format!(
                    "cannot become `{}` ({uid}:{gid}) from {own_user}:{own_group} without {missing}; start the container as root with {missing}, or as this user (`docker run --user {uid}:{gid}`)",
                    user.name
                ),
            ),
            None => (
                "disco.groups",
                format!(
                    "cannot set groups without {missing}; start the container as root, or with these groups (`docker run --group-add`)"
                ),
            ),
        };
        problems.push(Problem::new(message).at_key(key));
    }
    Some(Change {
        uid,
        gid,
        groups,
        gives_streams: uid != own_user,
    })
}

/// What leaves the bounding set, and the capabilities for a command of this user.
///
/// A root command gets from exec all that the bounding set leaves; any other only what is ambient. So
/// one who becomes another user than root keeps exactly what is added, which by default is nothing.
fn rights(
    settings: &ExecSettings,
    uid: u32,
    changes: bool,
    present: &Present,
    problems: &mut Vec<Problem>,
) -> (Set, Option<Rights>) {
    let (drop, add) = (settings.cap_drop, settings.cap_add);
    let is_root = uid == 0;
    let asked = !drop.is_empty() || !add.is_empty();
    let own = present.capabilities;
    let bounding = capability::kept(present.bounding, drop, add);
    let mut dropped = present.bounding.without(bounding);
    let place = |problem: Problem, key| match &settings.cap_contract {
        Some(place) => Problem {
            message: problem.message,
            ..place.clone()
        },
        None => problem.at_key(key),
    };
    if !own.effective.has(Set::SETPCAP) && settings.no_new_privs && !is_root {
        // Nobody may drop it, and nobody needs to: without new privileges no exec gives from it.
        dropped = Set::EMPTY;
    }
    if !dropped.is_empty() && !own.effective.has(Set::SETPCAP) {
        let message = format!(
            "cannot drop {dropped} without CAP_SETPCAP; start the container as root, or without them (`docker run --cap-drop`)"
        );
        problems.push(place(Problem::new(message), "disco.cap_drop"));
    }
    let available = if is_root {
        present.bounding
    } else {
        present.bounding.and(own.permitted)
    };
    let missing = add.named.without(available);
    if !missing.is_empty() {
        // An engine gives what it is asked for to root only; another user may at most not lose it.
        let remedy = match is_root || !present.users.include(uid) {
            true => "start the container with it (`docker run --cap-add`)".to_owned(),
            false => format!(
                "start the container as root with it, and let disco become the user (`disco.user={uid}`), who then keeps it"
            ),
        };
        let message = format!("cannot add {missing}, which disco does not have itself; {remedy}");
        problems.push(place(Problem::new(message), "disco.cap_add"));
    }
    let ambient = match (is_root, add.all) {
        (true, _) => Set::EMPTY,
        (false, true) => available.without(drop.named),
        (false, false) => add.named,
    };
    let switches = changes && settings.user.is_some() && !is_root;
    if !asked && !switches {
        return (dropped, None);
    }
    let sets = if switches {
        Capabilities {
            effective: ambient,
            permitted: ambient,
            inheritable: ambient,
        }
    } else {
        Capabilities {
            effective: own.effective.and(bounding),
            permitted: own.permitted.and(bounding),
            inheritable: own.inheritable.and(bounding).or(ambient),
        }
    };
    let rights = Rights {
        sets,
        ambient,
        carried: switches && !ambient.is_empty(),
    };
    (dropped, Some(rights))
}

fn check_limits(settings: &ExecSettings, present: &Present, problems: &mut Vec<Problem>) {
    let rights = present.capabilities.effective;
    for limit in &settings.ulimits {
        let own = (present.limit)(limit.resource);
        if let Some(own) = own.filter(|own| limit.hard > own.hard)
            && !rights.has(Set::SYS_RESOURCE)
        {
            let name = rlimit::name(limit.resource);
            let message = format!(
                "the hard limit of `{name}` is {} and cannot be raised without CAP_SYS_RESOURCE; take at most that, or start the container with more (`docker run --ulimit {name}=…`)",
                own.hard
            );
            problems.push(Problem::new(message).at_key("disco.ulimits"));
        }
    }
    let own = settings.ulimits.iter().find(|l| l.resource == rlimit::NICE);
    let limit = own.copied().or_else(|| (present.limit)(rlimit::NICE));
    let allowed = limit.map_or(0, |limit| limit.soft.min(40));
    let lowest = 20 - i32::try_from(allowed).unwrap_or(0);
    if let Some(nice) = settings.nice
        && nice < present.nice.min(lowest)
        && !rights.has(Set::SYS_NICE)
    {
        let message = format!(
            "cannot go from the nice value {} to {nice} without CAP_SYS_NICE; start the container with it (`docker run --cap-add=SYS_NICE`)",
            present.nice
        );
        problems.push(Problem::new(message).at_key("disco.nice"));
    }
}

#[cfg(test)]
mod tests;
