//! The kernel, as far as neither std nor nix reaches it: all unsafe code of the library is here.
//!
//! Callers get safe functions, usable between fork and exec of a process with one thread. Signals
//! travel as plain numbers, because the enums of the crates end at 31 and real-time signals do not.

#![expect(
    unsafe_code,
    reason = "the one place for it; each block says why it is sound"
)]

use std::ffi::{CStr, CString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use crate::contract::exit::Exit;

/// Signals by which a terminal stops a process that is not in front.
const TERMINAL_STOPS: &[i32] = &[libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];

/// Signals that the kernel raises for faults of our own. Blocked, they would kill us all the same,
/// but without a trace; so they are never blocked, waited for or forwarded.
const FAULTS: &[i32] = &[
    libc::SIGFPE,
    libc::SIGILL,
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGABRT,
    libc::SIGTRAP,
    libc::SIGSYS,
];

/// fcntl(2): which signal O_ASYNC sends. From the kernel's `asm-generic/fcntl.h`; not in libc.
const F_SETSIG: libc::c_int = 10;

/// A set of signals, a bit each, as the kernel has it. Not the C library's: musl keeps signals 32 to
/// 34 to itself and leaves them out of every set, but 34 is a real-time signal that others may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignalSet(u64);

/// Bytes of such a set, by which the kernel knows the caller.
const SET_SIZE: usize = size_of::<SignalSet>();

/// All signals except those that report our own faults.
#[must_use]
pub fn all_but_faults() -> SignalSet {
    let faults = FAULTS
        .iter()
        .fold(0, |set, fault| set | 1_u64 << (fault - 1));
    SignalSet(!faults)
}

/// No signal at all.
#[must_use]
pub fn no_signals() -> SignalSet {
    SignalSet(0)
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
}

/// Takes the next pending signal of the set, waiting up to `timeout`, or for ever without one.
/// Returns `None` when the time is up. The signals must be blocked.
#[must_use]
pub fn wait_signal(set: &SignalSet, timeout: Option<Duration>) -> Option<Received> {
    let limit = timeout.map(|timeout| libc::timespec {
        // The type of this field is in transition on musl and must not be named.
        tv_sec: i32::try_from(timeout.as_secs()).unwrap_or(i32::MAX).into(),
        tv_nsec: libc::c_long::from(timeout.subsec_nanos().cast_signed()),
    });
    let limit = limit.as_ref().map_or(std::ptr::null(), |l| l as *const _);
    loop {
        let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
        let (set, out) = (&raw const *set, info.as_mut_ptr());
        // SAFETY: a set of the size given, room for one siginfo, and a timespec that lives or null.
        let number = unsafe { libc::syscall(libc::SYS_rt_sigtimedwait, set, out, limit, SET_SIZE) };
        if number > 0 {
            // SAFETY: filled in by the kernel, and all zeroes is a valid siginfo.
            let info = unsafe { info.assume_init() };
            // SAFETY: valid for signals sent by a process, and a plain integer in any case.
            let pid = unsafe { info.si_pid() };
            let from_kernel = info.si_code > 0;
            return Some(Received {
                // Signals end at 64.
                number: i32::try_from(number).unwrap_or(0),
                from_kernel,
                sender: if from_kernel { 0 } else { pid },
            });
        }
        // EINTR: a stop and continue. EAGAIN: the time is up. EINVAL cannot be: the limit is valid.
        if io::Error::last_os_error().raw_os_error() != Some(libc::EINTR) {
            return None;
        }
    }
}

/// Our own pid, in the type of the calls that take one.
#[must_use]
pub fn own_pid() -> i32 {
    // SAFETY: asks for a number.
    unsafe { libc::getpid() }
}

/// Sends a signal. `pid` may be negative for a process group, or -1 for everyone, as in kill(2).
///
/// # Errors
/// ESRCH when there is nobody, EPERM when it is not allowed.
pub fn kill(pid: i32, number: i32) -> io::Result<()> {
    // SAFETY: kill has no memory of ours to touch.
    check(unsafe { libc::kill(pid, number) })
}

/// What waitpid had to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reaped {
    /// A child ended; it is reaped.
    Ended(i32, Exit),
    /// Children are there, none has ended.
    Running,
    /// There are no children.
    Childless,
}

/// Reaps one ended child without waiting. Through libc, since nix's `WaitStatus` cannot represent
/// real-time signals and would lose the status (conformance pid1 fact 7).
#[must_use]
pub fn reap() -> Reaped {
    loop {
        let mut status = 0;
        // SAFETY: room for one status.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
        if pid > 0 {
            return Reaped::Ended(pid, exit_of(status));
        }
        if pid == 0 {
            return Reaped::Running;
        }
        if io::Error::last_os_error().raw_os_error() != Some(libc::EINTR) {
            return Reaped::Childless;
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the macros mask exit codes to 8 and signals to 7 bits"
)]
fn exit_of(status: i32) -> Exit {
    if libc::WIFSIGNALED(status) {
        Exit::Signal(libc::WTERMSIG(status) as u8)
    } else {
        Exit::Code(libc::WEXITSTATUS(status) as u8)
    }
}

/// Which side of a fork this is.
pub enum Fork {
    /// The parent, and the child's pid.
    Parent(i32),
    /// The child.
    Child,
}

/// Forks a process that has one thread: the child may do anything, as after any start.
///
/// # Errors
/// EAGAIN at a process limit, ENOMEM.
pub fn fork() -> io::Result<Fork> {
    // SAFETY: init has one thread from its first instruction on (invariant of disco::init), so that
    // no lock can be held by a thread that the child lacks.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Fork::Child),
        pid => Ok(Fork::Parent(pid)),
    }
}

/// A command ready to be executed: everything that needs memory has been done.
pub struct Prepared {
    candidates: Vec<CString>,
    argv: Vec<CString>,
    environment: Vec<CString>,
    shell: Vec<CString>,
}

impl Prepared {
    /// Takes the paths to try in order, the arguments with the name first, and `NAME=value` pairs.
    #[must_use]
    pub fn new(candidates: Vec<CString>, argv: Vec<CString>, environment: Vec<CString>) -> Self {
        // What a shell is given when the file has no interpreter line, as execvp does.
        let mut shell = vec![c"/bin/sh".to_owned(), CString::default()];
        shell.extend(argv.iter().skip(1).cloned());
        Self {
            candidates,
            argv,
            environment,
            shell,
        }
    }

    /// Becomes the command. Returns only when that failed.
    pub fn execute(&mut self) -> io::Error {
        let argv = pointers(&self.argv);
        let environment = pointers(&self.environment);
        let mut outcome = io::Error::from_raw_os_error(libc::ENOENT);
        for candidate in &self.candidates {
            // SAFETY: a C string and two null-terminated arrays of C strings that outlive the call.
            unsafe { libc::execve(candidate.as_ptr(), argv.as_ptr(), environment.as_ptr()) };
            let error = io::Error::last_os_error();
            match error.raw_os_error() {
                Some(libc::ENOENT | libc::ENOTDIR) => {}
                // Remembered, but a later directory may hold one that can be executed.
                Some(libc::EACCES) => outcome = error,
                Some(libc::ENOEXEC) => {
                    if let Some(script) = self.shell.get_mut(1) {
                        script.clone_from(candidate);
                    }
                    let argv = pointers(&self.shell);
                    // SAFETY: as above.
                    unsafe {
                        libc::execve(c"/bin/sh".as_ptr(), argv.as_ptr(), environment.as_ptr())
                    };
                    return error;
                }
                _ => return error,
            }
        }
        outcome
    }
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    let all = strings.iter().map(|s| s.as_ptr());
    all.chain(std::iter::once(std::ptr::null())).collect()
}

/// Makes a process that writes to a terminal from the background immune against being stopped by it.
pub fn ignore_terminal_stops() {
    for number in TERMINAL_STOPS {
        set_ignored(*number, true);
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

/// Makes a descriptor send SIGIO to this process whenever something can be read from it.
///
/// # Errors
/// Those of fcntl(2).
pub fn signal_when_readable(fd: BorrowedFd<'_>) -> io::Result<()> {
    use std::os::fd::AsRawFd as _;
    let fd = fd.as_raw_fd();
    // SAFETY: a valid descriptor and a pid.
    check(unsafe { libc::fcntl(fd, libc::F_SETOWN, own_pid()) })?;
    // SAFETY: a valid descriptor and a signal number; asking for SIGIO by name makes the kernel fill
    // in si_code, by which it differs from a SIGIO that a process sent.
    check(unsafe { libc::fcntl(fd, F_SETSIG, libc::SIGIO) })?;
    // SAFETY: a valid descriptor and flags.
    check(unsafe { libc::fcntl(fd, libc::F_SETFL, libc::O_ASYNC | libc::O_NONBLOCK) })
}

/// Closes every descriptor from `first` on.
pub fn close_from(first: RawFd) {
    let first = libc::c_uint::try_from(first).unwrap_or(0);
    // SAFETY: the callers own whatever is open there, and do so right after a fork or before an exec.
    if unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, 0) } == 0 {
        return;
    }
    // Kernels before 5.9, and filters that do not know the call: one by one up to the usual limit.
    for fd in first..4096 {
        // SAFETY: as above; a number that is not open is refused by the kernel.
        unsafe { libc::close(libc::c_int::try_from(fd).unwrap_or(-1)) };
    }
}

/// Closes everything but the standard streams and one descriptor, which comes back as number 3.
#[must_use]
pub fn keep_only(fd: OwnedFd) -> OwnedFd {
    use std::os::fd::{AsRawFd as _, FromRawFd as _, IntoRawFd as _};
    if fd.as_raw_fd() != 3 {
        // SAFETY: numbers only; whatever is at 3 is about to be closed anyway.
        unsafe { libc::dup3(fd.as_raw_fd(), 3, libc::O_CLOEXEC) };
    }
    // Either it is 3 already, or the copy takes over and close_from closes the original.
    let _ = fd.into_raw_fd();
    close_from(4);
    // SAFETY: open by the lines above, and owned by nobody else.
    unsafe { OwnedFd::from_raw_fd(3) }
}

/// The standard input stream.
#[must_use]
pub fn stdin() -> BorrowedFd<'static> {
    // SAFETY: descriptors 0 to 2 are opened at start if they were not, and never closed.
    unsafe { BorrowedFd::borrow_raw(0) }
}

/// The standard error stream.
#[must_use]
pub fn stderr() -> BorrowedFd<'static> {
    // SAFETY: descriptors 0 to 2 are opened at start if they were not, and never closed.
    unsafe { BorrowedFd::borrow_raw(2) }
}

/// Fills the holes among descriptors 0 to 2, so that no descriptor of ours can land there. With no
/// `/dev/null` to be had, a path descriptor fills the hole: reads and writes fail as on a closed one.
pub fn fill_standard_descriptors() {
    for fd in 0..3 {
        // SAFETY: a query on a number.
        if unsafe { libc::fcntl(fd, libc::F_GETFD) } != -1 {
            continue;
        }
        // The lowest free number is the hole, since those below are open.
        // SAFETY: a constant C string.
        let opened = unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) };
        if opened == -1 {
            // SAFETY: a constant C string.
            unsafe { libc::open(c"/".as_ptr(), libc::O_PATH) };
        }
    }
}

/// Points a standard stream at another open descriptor.
pub fn redirect(from: RawFd, to: RawFd) {
    // SAFETY: numbers only; the target is a standard stream, which nothing owns.
    unsafe { libc::dup2(from, to) };
}

/// Points stdin at nothing.
pub fn detach_stdin() {
    // SAFETY: a constant C string.
    let null = unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC) };
    if null > 0 {
        redirect(null, 0);
        // SAFETY: opened above and owned by nobody else.
        unsafe { libc::close(null) };
    }
}

/// Makes orphans below us our children, or stops doing so. Failure means a filter forbids it, and
/// then orphans go elsewhere, which is no reason to end.
pub fn set_subreaper(on: bool) -> bool {
    // SAFETY: an integer option of prctl.
    unsafe {
        libc::prctl(
            libc::PR_SET_CHILD_SUBREAPER,
            libc::c_ulong::from(on),
            0,
            0,
            0,
        ) == 0
    }
}

/// Arranges that a command about to be spawned is killed when the process that spawned it dies, and
/// may be stopped by a terminal again.
pub fn kill_with_parent(command: &mut tokio::process::Command) {
    let arrange = || {
        for number in TERMINAL_STOPS {
            set_ignored(*number, false);
        }
        let signal = libc::c_ulong::from(libc::SIGKILL.unsigned_abs());
        // SAFETY: an integer option of prctl.
        check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, signal, 0, 0, 0) })
    };
    // SAFETY: the closure runs between fork and exec; it makes system calls and touches no memory.
    unsafe { command.pre_exec(arrange) };
}

unsafe extern "C" {
    /// environ(7): the C library's list of `NAME=value` strings, ended by null.
    static environ: *const *mut libc::c_char;
    /// The linker's: where the program begins in memory.
    static __executable_start: u8;
    /// The linker's: where its code ends. What lies between is read-only.
    static etext: u8;
}

/// Takes the program's code out of memory, from which it comes back page by page as it is run. What
/// init needs once it waits is a small part of what it took to get there.
pub fn release_code() {
    let (start, end) = (&raw const __executable_start, &raw const etext);
    let length = end.addr().saturating_sub(start.addr());
    // SAFETY: a read-only mapping of a file loses nothing by this, and where there is a hole in the
    // range the kernel skips it; the start is that of the mapping, and so of a page.
    unsafe { libc::madvise(start.cast_mut().cast(), length, libc::MADV_DONTNEED) };
}

/// Blanks the value of an environment variable where it lies, so that `/proc/PID/environ`, which the
/// command may read, does not show it. To be called before there is a second thread.
pub fn blank_environment(name: &str) {
    // SAFETY: a pointer that the C library has set by now and that nobody changes meanwhile.
    let mut entry = unsafe { environ };
    if entry.is_null() {
        return;
    }
    loop {
        // SAFETY: within the list, whose end is checked below before going on.
        let text = unsafe { *entry };
        if text.is_null() {
            return;
        }
        // SAFETY: entries of the list are C strings.
        let bytes = unsafe { CStr::from_ptr(text) }.to_bytes();
        let value = bytes
            .strip_prefix(name.as_bytes())
            .and_then(|rest| rest.strip_prefix(b"="));
        if let Some(value) = value {
            let (start, length) = (bytes.len() - value.len(), value.len());
            // SAFETY: within the string found above.
            let value = unsafe { text.add(start) };
            // SAFETY: `length` bytes from there on belong to the string, which is writable memory of
            // ours, and no reference to them is alive.
            unsafe { std::ptr::write_bytes(value, 0, length) };
        }
        // SAFETY: not yet at the end.
        entry = unsafe { entry.add(1) };
    }
}

/// Ends the process at once: no destructors, no buffers.
pub fn exit_now(code: u8) -> ! {
    // SAFETY: ends the process.
    unsafe { libc::_exit(i32::from(code)) }
}

/// The arguments that `main` was called with; std only knows them where the C library tells.
///
/// # Safety
/// `argc` and `argv` must be what the C runtime gave to `main`.
#[must_use]
pub unsafe fn arguments(argc: i32, argv: *const *const libc::c_char) -> Vec<std::ffi::OsString> {
    use std::os::unix::ffi::OsStrExt as _;
    (0..usize::try_from(argc).unwrap_or(0))
        .map(|index| {
            // SAFETY: index < argc, so that the caller's promise puts the slot inside the array.
            let slot = unsafe { argv.add(index) };
            // SAFETY: as above; the slot is readable.
            let argument = unsafe { *slot };
            // SAFETY: the C runtime's arguments are C strings that live as long as the process.
            let argument = unsafe { CStr::from_ptr(argument) };
            std::ffi::OsStr::from_bytes(argument.to_bytes()).to_owned()
        })
        .collect()
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
