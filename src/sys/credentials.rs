//! Who this process is and what it may do: users, groups, capabilities, limits, and what else a
//! command inherits. Thin calls without policy; the order in which they make sense is the caller's.
//!
//! All of it is for a process with one thread, since the kernel keeps these per thread. Nothing here
//! allocates, so that everything may be called between fork and exec.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use nix::errno::Errno;

use super::{check, check_long};
use crate::contract::capability::Set;
use crate::contract::rlimit::Limit;

/// The current layout of capget(2): 64 bits in two halves. From the kernel's `linux/capability.h`.
const VERSION: u32 = 0x2008_0522;

/// Real, effective and saved id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ids {
    /// Who started the process.
    pub real: u32,
    /// Whose rights it has.
    pub effective: u32,
    /// Whose rights it may take back.
    pub saved: u32,
}

impl Ids {
    /// Whether it is this one id in every respect.
    #[must_use]
    pub fn are_all(self, id: u32) -> bool {
        self.any(|own| own != id).is_none()
    }

    /// Whether one of them is this id, so that the process may become it without privilege.
    #[must_use]
    pub fn include(self, id: u32) -> bool {
        self.any(|own| own == id).is_some()
    }

    fn any(self, test: impl Fn(u32) -> bool) -> Option<u32> {
        [self.real, self.effective, self.saved]
            .into_iter()
            .find(|id| test(*id))
    }
}

/// The users of this process.
///
/// # Errors
/// Only where a filter forbids the call.
pub fn users() -> Result<Ids, Errno> {
    let (mut real, mut effective, mut saved) = (0, 0, 0);
    // SAFETY: room for three numbers.
    check(unsafe { libc::getresuid(&raw mut real, &raw mut effective, &raw mut saved) })?;
    Ok(Ids {
        real,
        effective,
        saved,
    })
}

/// The primary groups of this process.
///
/// # Errors
/// Only where a filter forbids the call.
pub fn primary_groups() -> Result<Ids, Errno> {
    let (mut real, mut effective, mut saved) = (0, 0, 0);
    // SAFETY: room for three numbers.
    check(unsafe { libc::getresgid(&raw mut real, &raw mut effective, &raw mut saved) })?;
    Ok(Ids {
        real,
        effective,
        saved,
    })
}

/// How many supplementary groups this process is in.
///
/// # Errors
/// Only where a filter forbids the call.
pub fn group_count() -> Result<usize, Errno> {
    // SAFETY: with no room given the kernel only counts.
    let count = unsafe { libc::getgroups(0, std::ptr::null_mut()) };
    check(count)?;
    Ok(usize::try_from(count).unwrap_or(0))
}

/// Replaces the supplementary groups.
///
/// # Errors
/// EPERM without `CAP_SETGID`, or in a user namespace that denies it.
pub fn set_groups(groups: &[u32]) -> Result<(), Errno> {
    // SAFETY: so many numbers as the length says.
    check(unsafe { libc::setgroups(groups.len(), groups.as_ptr()) })
}

/// Becomes a member of this primary group in every respect.
///
/// # Errors
/// EPERM without `CAP_SETGID`; EINVAL for a group that the user namespace does not map.
pub fn set_primary_group(gid: u32) -> Result<(), Errno> {
    // SAFETY: takes numbers only.
    check(unsafe { libc::setresgid(gid, gid, gid) })
}

/// Becomes this user in every respect. The kernel forgets the signal set by
/// [`super::set_parent_death`] then, so that this comes first.
///
/// # Errors
/// EPERM without `CAP_SETUID`; EINVAL for a user that the user namespace does not map.
pub fn set_user(uid: u32) -> Result<(), Errno> {
    // SAFETY: takes numbers only.
    check(unsafe { libc::setresuid(uid, uid, uid) })
}

/// What a process may do itself, and what it may keep over exec.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Capabilities {
    /// What counts.
    pub effective: Set,
    /// What it may make count.
    pub permitted: Set,
    /// What files may let it keep.
    pub inheritable: Set,
}

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

/// One half of the three sets, as the kernel has them.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Half {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// The capabilities of this process.
///
/// # Errors
/// Only where a filter forbids the call.
pub fn capabilities() -> Result<Capabilities, Errno> {
    let header = Header {
        version: VERSION,
        pid: 0,
    };
    let mut halves = [Half::default(); 2];
    let (asked, out) = (&raw const header, &raw mut halves);
    // SAFETY: a header, and room for the two halves of its version.
    let done = unsafe { libc::syscall(libc::SYS_capget, asked, out) };
    check_long(done)?;
    let [low, high] = halves;
    let whole = |low, high| Set(u64::from(low) | u64::from(high) << 32);
    Ok(Capabilities {
        effective: whole(low.effective, high.effective),
        permitted: whole(low.permitted, high.permitted),
        inheritable: whole(low.inheritable, high.inheritable),
    })
}

/// Replaces the capabilities of this process. What leaves the permitted or the inheritable ones
/// leaves the ambient ones with it.
///
/// # Errors
/// EPERM for what is neither permitted nor inherited.
pub fn set_capabilities(wanted: Capabilities) -> Result<(), Errno> {
    let header = Header {
        version: VERSION,
        pid: 0,
    };
    let half = |set: Set, shift: u32| u32::try_from(set.0 >> shift & u64::from(u32::MAX));
    let halves = [0, 32].map(|shift| Half {
        effective: half(wanted.effective, shift).unwrap_or(0),
        permitted: half(wanted.permitted, shift).unwrap_or(0),
        inheritable: half(wanted.inheritable, shift).unwrap_or(0),
    });
    let (asked, sets) = (&raw const header, &raw const halves);
    // SAFETY: a header, and the two halves of its version.
    check_long(unsafe { libc::syscall(libc::SYS_capset, asked, sets) })
}

/// The capabilities that no exec can give more than (the bounding set), of those the kernel knows.
#[must_use]
pub fn bounding() -> Set {
    known(libc::PR_CAPBSET_READ, 0)
}

/// The capabilities that a command of a user other than root starts with.
#[must_use]
pub fn ambient() -> Set {
    known(libc::PR_CAP_AMBIENT, IS_SET)
}

/// Drops a capability from the bounding set for good.
///
/// # Errors
/// EPERM without `CAP_SETPCAP`.
pub fn drop_bounding(number: u32) -> Result<(), Errno> {
    prctl(libc::PR_CAPBSET_DROP, number.into(), 0)
}

/// Adds a capability to the ambient set. It must be permitted and inheritable.
///
/// # Errors
/// EPERM where it is not; EINVAL before Linux 4.3.
pub fn raise_ambient(number: u32) -> Result<(), Errno> {
    prctl(libc::PR_CAP_AMBIENT, RAISE, number.into())
}

/// Keeps what is permitted when root becomes somebody else. Exec ends it.
///
/// # Errors
/// Those of prctl(2).
pub fn keep_capabilities() -> Result<(), Errno> {
    prctl(libc::PR_SET_KEEPCAPS, 1, 0)
}

/// From here on no exec gives more rights than the process has. Cannot be undone.
///
/// # Errors
/// Those of prctl(2).
pub fn set_no_new_privileges() -> Result<(), Errno> {
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0)
}

/// Operations of `PR_CAP_AMBIENT`; their types in libc differ between systems.
const IS_SET: libc::c_ulong = 1;
const RAISE: libc::c_ulong = 2;

fn prctl(option: libc::c_int, second: libc::c_ulong, third: libc::c_ulong) -> Result<(), Errno> {
    let none: libc::c_ulong = 0;
    // SAFETY: every option used in this file takes integers only, and demands zeroes for the rest.
    check(unsafe { libc::prctl(option, second, third, none, none) })
}

/// Asks for each capability whether it is in a set; the kernel refuses numbers above its last.
fn known(option: libc::c_int, operation: libc::c_ulong) -> Set {
    let none: libc::c_ulong = 0;
    let is_in = |number: u32| {
        // Spelt out, since an argument of another width would reach the kernel with half of it unset.
        let number = libc::c_ulong::from(number);
        let (second, third) = match operation {
            0 => (number, none),
            _ => (operation, number),
        };
        // SAFETY: a query with integers only.
        unsafe { libc::prctl(option, second, third, none, none) }
    };
    let numbers = (0..u64::BITS).map(|number| (number, is_in(number)));
    let known = numbers.take_while(|(_, answer)| *answer >= 0);
    Set(known.fold(
        0,
        |set, (number, answer)| {
            if answer == 1 { set | 1 << number } else { set }
        },
    ))
}

/// A limit of the kernel as its 64-bit call has it, the same on every system.
#[repr(C)]
#[derive(Default)]
struct RawLimit {
    soft: u64,
    hard: u64,
}

/// A limit of this process.
///
/// # Errors
/// EINVAL for a resource that the kernel does not know.
pub fn limit(resource: u32) -> Result<Limit, Errno> {
    let mut old = RawLimit::default();
    let (new, out) = (std::ptr::null::<RawLimit>(), &raw mut old);
    // SAFETY: no new limit, and room for the old one.
    check_long(unsafe { libc::syscall(libc::SYS_prlimit64, 0, resource, new, out) })?;
    Ok(Limit {
        resource,
        soft: old.soft,
        hard: old.hard,
    })
}

/// Sets a limit of this process.
///
/// # Errors
/// EPERM for a hard limit above the present one without `CAP_SYS_RESOURCE`, and for more files than
/// `fs.nr_open`.
pub fn set_limit(limit: Limit) -> Result<(), Errno> {
    let new = RawLimit {
        soft: limit.soft,
        hard: limit.hard,
    };
    let (new, out) = (&raw const new, std::ptr::null_mut::<RawLimit>());
    // SAFETY: one limit, and the old one is not asked for.
    check_long(unsafe { libc::syscall(libc::SYS_prlimit64, 0, limit.resource, new, out) })
}

/// The nice value of this process, -20 to 19.
#[must_use]
pub fn nice() -> i32 {
    // SAFETY: a query with numbers. The system call answers 1 to 40, not -20 to 19 as the C library's
    // does, so that no answer looks like an error.
    let answer = unsafe { libc::syscall(libc::SYS_getpriority, libc::PRIO_PROCESS, 0) };
    20 - i32::try_from(answer).unwrap_or(20)
}

/// Sets the nice value of this process.
///
/// # Errors
/// EACCES for one below the present without `CAP_SYS_NICE`.
pub fn set_nice(value: i32) -> Result<(), Errno> {
    // SAFETY: takes numbers only.
    check(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, value) })
}

/// Sets the bits that new files do not get.
pub fn set_umask(mask: u32) {
    // SAFETY: takes a number and cannot fail.
    unsafe { libc::umask(mask) };
}

/// Changes the working directory.
///
/// # Errors
/// Those of chdir(2).
pub fn change_dir(path: &CStr) -> Result<(), Errno> {
    // SAFETY: a C string.
    check(unsafe { libc::chdir(path.as_ptr()) })
}

/// Gives a descriptor to a user where it is a pipe or a terminal, so that opening it again by
/// `/dev/stdout` works. What cannot be given away stays as it is.
pub fn give_stream(fd: BorrowedFd<'_>, uid: u32) {
    let fd = fd.as_raw_fd();
    let mut stat = MaybeUninit::<libc::stat>::zeroed();
    // SAFETY: a valid descriptor and room for one stat.
    if unsafe { libc::fstat(fd, stat.as_mut_ptr()) } != 0 {
        return;
    }
    // SAFETY: filled in by the kernel, and all zeroes is a valid stat.
    let stat = unsafe { stat.assume_init() };
    let may_be_given = match stat.st_mode & libc::S_IFMT {
        libc::S_IFIFO => true,
        // SAFETY: a query on a valid descriptor.
        libc::S_IFCHR => (unsafe { libc::isatty(fd) }) == 1,
        _ => false,
    };
    if may_be_given && stat.st_uid != uid {
        // SAFETY: a valid descriptor and numbers; the highest leaves the group as it is.
        unsafe { libc::fchown(fd, uid, u32::MAX) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_calls_say_is_what_proc_says() {
        // The thread of this test, not the process: credentials are the thread's.
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap().trim_start_matches(':').trim().to_owned()
        };
        let set = |name: &str| Set(u64::from_str_radix(&field(name), 16).unwrap());
        let own = capabilities().unwrap();
        assert_eq!(own.effective, set("CapEff"));
        assert_eq!(own.permitted, set("CapPrm"));
        assert_eq!(own.inheritable, set("CapInh"));
        assert_eq!(bounding(), set("CapBnd"));
        assert_eq!(ambient(), set("CapAmb"));
        let numbers = |ids: Ids| format!("{}\t{}\t{}", ids.real, ids.effective, ids.saved);
        assert!(field("Uid").starts_with(&numbers(users().unwrap())));
        assert!(field("Gid").starts_with(&numbers(primary_groups().unwrap())));
        assert_eq!(
            field("Groups").split_whitespace().count(),
            group_count().unwrap()
        );
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        let (_, rest) = stat.rsplit_once(')').unwrap();
        assert_eq!(rest.split_whitespace().nth(16).unwrap(), nice().to_string());
    }

    #[test]
    fn setting_what_is_set_changes_nothing() {
        let own = capabilities().unwrap();
        set_capabilities(own).unwrap();
        assert_eq!(capabilities().unwrap(), own);
        let files = limit(7).unwrap();
        set_limit(files).unwrap();
        assert_eq!(limit(7).unwrap(), files);
        set_nice(nice()).unwrap();
        assert!(limit(99).is_err());
    }

    #[test]
    fn ids_know_whether_they_are_one() {
        let ids = Ids {
            real: 1,
            effective: 1,
            saved: 0,
        };
        assert!(!ids.are_all(1) && ids.include(0) && !ids.include(2));
        assert!(Ids { saved: 1, ..ids }.are_all(1));
    }
}
