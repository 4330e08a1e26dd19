//! Signals: sets and masks as the kernel has them, taken from the queue, sent, ignored.
//!
//! They travel as plain numbers, because the enums of the crates end at 31 and real-time signals do
//! not.

use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;

use super::{check, check_long, own_pid};

/// Signals by which a terminal stops a process that is not in front.
pub const TERMINAL_STOPS: [i32; 3] = [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];

/// A set of signals, a bit each, as the kernel has it. Not the C library's: musl keeps signals 32 to
/// 34 to itself and leaves them out of every set, but 34 is a real-time signal that others may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignalSet(u64);

/// Bytes of such a set, by which the kernel knows the caller.
const SET_SIZE: usize = size_of::<SignalSet>();

impl SignalSet {
    /// Every signal. Those that report faults of our own are among them: the kernel unblocks and
    /// raises these all the same when they are true (`force_sig`), so that the ones found in the
    /// queue were sent by somebody, and are there to be forwarded (conformance pid1 19).
    #[must_use]
    pub const fn all() -> Self {
        Self(u64::MAX)
    }

    /// No signal.
    #[must_use]
    pub const fn none() -> Self {
        Self(0)
    }

    /// The signals that do not queue: 1 to 31.
    #[must_use]
    pub const fn standard() -> Self {
        Self((1 << 31) - 1)
    }

    /// All of both sets.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The set that the kernel writes so, the lowest bit for signal 1.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The set with one more signal; a number that is none changes nothing.
    #[must_use]
    pub const fn and(self, number: i32) -> Self {
        match number {
            1..=64 => Self(self.0 | 1 << (number - 1)),
            _ => self,
        }
    }

    /// Whether a signal is in it.
    #[must_use]
    pub const fn contains(self, number: i32) -> bool {
        self.and(number).0 == self.0 && matches!(number, 1..=64)
    }

    /// The set less one signal.
    #[must_use]
    pub const fn but(self, number: i32) -> Self {
        match number {
            1..=64 => Self(self.0 & !(1 << (number - 1))),
            _ => self,
        }
    }
}

/// Replaces the signal mask of this thread and returns the one before.
pub fn set_mask(new: &SignalSet) -> SignalSet {
    let mut old = SignalSet(0);
    let (new, out) = (&raw const *new, &raw mut old);
    // SAFETY: both point to sets of the size given; SIG_SETMASK with them cannot fail.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            new,
            out,
            SET_SIZE,
        )
    };
    old
}

/// A signal taken from the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// Its number.
    pub number: i32,
    /// Whether the kernel sent it (terminal, child, descriptor) and not a process.
    pub from_kernel: bool,
    /// The sender, where a process sent it; 0 when it is outside our PID namespace.
    pub sender: i32,
    /// What sigqueue(3) sent along.
    pub value: Option<usize>,
}

/// Takes the next pending signal of the set, waiting up to `timeout`, or for ever without one.
/// Returns `None` when the time is up, or after a stop and continue. The signals must be blocked.
///
/// # Errors
/// ENOSYS or EPERM where a filter forbids the call.
pub fn wait_signal(set: &SignalSet, timeout: Option<Duration>) -> Result<Option<Received>, Errno> {
    let limit = timeout.map(|timeout| libc::timespec {
        // The type of this field is in transition on musl and must not be named.
        tv_sec: i32::try_from(timeout.as_secs()).unwrap_or(i32::MAX).into(),
        tv_nsec: libc::c_long::from(timeout.subsec_nanos().cast_signed()),
    });
    let limit = limit.as_ref().map_or(std::ptr::null(), |l| l as *const _);
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    let (set, out) = (&raw const *set, info.as_mut_ptr());
    // SAFETY: a set of the size given, room for one siginfo, and a timespec that lives or null.
    let number = unsafe { libc::syscall(libc::SYS_rt_sigtimedwait, set, out, limit, SET_SIZE) };
    if number <= 0 {
        return match Errno::last() {
            Errno::EINTR | Errno::EAGAIN => Ok(None),
            error => Err(error),
        };
    }
    // SAFETY: filled in by the kernel, and all zeroes is a valid siginfo.
    let info = unsafe { info.assume_init() };
    // SAFETY: valid for signals sent by a process, and a plain integer in any case.
    let pid = unsafe { info.si_pid() };
    // SAFETY: valid for SI_QUEUE, and plain bytes of the siginfo in any case.
    let value = unsafe { info.si_value() };
    let from_kernel = info.si_code > 0;
    Ok(Some(Received {
        // Signals end at 64.
        number: i32::try_from(number).unwrap_or(0),
        from_kernel,
        sender: if from_kernel { 0 } else { pid },
        value: (info.si_code == libc::SI_QUEUE).then(|| value.sival_ptr.addr()),
    }))
}

/// Sends a signal. `pid` may be negative for a process group, or -1 for everyone, as in kill(2).
///
/// # Errors
/// ESRCH when there is nobody, EPERM when it is not allowed.
pub fn kill(pid: i32, number: i32) -> Result<(), Errno> {
    // SAFETY: kill has no memory of ours to touch.
    check(unsafe { libc::kill(pid, number) })
}

/// Sends a signal with a value, as sigqueue(3) does.
///
/// # Errors
/// As [`kill`], and EAGAIN when too many signals wait already.
pub fn queue(pid: i32, number: i32, value: usize) -> Result<(), Errno> {
    /// The part of `siginfo_t` that SI_QUEUE uses, by `asm-generic/siginfo.h`.
    #[repr(C)]
    struct Info {
        number: i32,
        error: i32,
        code: i32,
        pad: i32,
        pid: i32,
        uid: u32,
        value: usize,
        rest: [u8; 96],
    }
    const { assert!(size_of::<Info>() == size_of::<libc::siginfo_t>()) };
    let info = Info {
        number,
        error: 0,
        code: libc::SI_QUEUE,
        pad: 0,
        pid: own_pid(),
        uid: nix::unistd::getuid().as_raw(),
        value,
        rest: [0; 96],
    };
    let info = &raw const info;
    // SAFETY: a siginfo that lives through the call, which copies it.
    check_long(unsafe { libc::syscall(libc::SYS_rt_sigqueueinfo, pid, number, info) })
}

/// A process, held so that its pid cannot come to mean another (pidfd_open(2), Linux 5.3).
///
/// # Errors
/// ESRCH when it is gone, ENOSYS or EPERM where the call cannot be had, EMFILE.
pub fn hold(pid: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: two numbers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    match i32::try_from(fd) {
        // SAFETY: just opened, and owned by nobody else.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(Errno::last()),
    }
}

/// Sends a signal to a process that is held.
///
/// # Errors
/// As [`kill`].
pub fn kill_held(process: &OwnedFd, number: i32) -> Result<(), Errno> {
    let none: *const libc::siginfo_t = std::ptr::null();
    // SAFETY: a descriptor and numbers; without a siginfo the kernel fills in that of kill(2).
    let sent = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            process.as_raw_fd(),
            number,
            none,
            0,
        )
    };
    check_long(sent)
}

/// Stops this process as the terminal would: where no shell is there to continue it, nothing happens
/// (the kernel discards the signal for an orphaned process group). Returns after SIGCONT.
pub fn stop_as_job() {
    let was_ignored = is_ignored(libc::SIGTSTP);
    if was_ignored {
        set_ignored(libc::SIGTSTP, false);
    }
    let _ = kill(own_pid(), libc::SIGTSTP);
    let mask = set_mask(&SignalSet::all().but(libc::SIGTSTP));
    set_mask(&mask);
    if was_ignored {
        set_ignored(libc::SIGTSTP, true);
    }
}

/// Whether a blocked signal waits for this process.
#[must_use]
pub fn is_pending(number: i32) -> bool {
    let mut set = SignalSet::none();
    let out = &raw mut set;
    // SAFETY: room for a set of the size given.
    unsafe { libc::syscall(libc::SYS_rt_sigpending, out, SET_SIZE) };
    set.contains(number)
}

/// Makes a process that writes to a terminal from the background immune against being stopped by it.
pub fn ignore_terminal_stops() {
    for number in TERMINAL_STOPS {
        set_ignored(number, true);
    }
}

/// Whether a signal is ignored by this process.
#[must_use]
pub fn is_ignored(number: i32) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: room for one sigaction, and a query changes nothing.
    let asked = unsafe { libc::sigaction(number, std::ptr::null(), action.as_mut_ptr()) };
    // SAFETY: filled in by the kernel, and all zeroes is a valid sigaction.
    asked == 0 && unsafe { action.assume_init() }.sa_sigaction == libc::SIG_IGN
}

/// Ignores a signal, or restores its default action.
pub fn set_ignored(number: i32, ignored: bool) {
    let action = if ignored {
        libc::SIG_IGN
    } else {
        libc::SIG_DFL
    };
    // SAFETY: neither action runs code of ours.
    unsafe { libc::signal(number, action) };
}
