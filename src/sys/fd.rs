//! Descriptors: the standard streams, what is closed, what sends signals, writes that do not wait.

use std::ffi::CStr;
use std::io::Write as _;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::{Mode, fstat};

use super::{check, own_pid};

/// fcntl(2): which signal O_ASYNC sends. From the kernel's `asm-generic/fcntl.h`; not in libc.
const F_SETSIG: libc::c_int = 10;

/// Makes a descriptor send SIGIO to this process whenever something can be read from it.
///
/// # Errors
/// Those of fcntl(2).
pub fn signal_when_readable(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    let fd = fd.as_raw_fd();
    // SAFETY: a valid descriptor and a pid.
    check(unsafe { libc::fcntl(fd, libc::F_SETOWN, own_pid()) })?;
    // SAFETY: a valid descriptor and a signal number; asking for SIGIO by name makes the kernel fill
    // in si_code, by which it differs from a SIGIO that a process sent.
    check(unsafe { libc::fcntl(fd, F_SETSIG, libc::SIGIO) })?;
    // SAFETY: a valid descriptor and flags.
    check(unsafe { libc::fcntl(fd, libc::F_SETFL, libc::O_ASYNC | libc::O_NONBLOCK) })
}

/// Takes [`signal_when_readable`] back: from here on somebody else looks.
pub fn signal_no_more(fd: BorrowedFd<'_>) {
    // SAFETY: a valid descriptor and flags.
    unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) };
}

/// Closes every descriptor from 3 on except those given, whose owners must know nothing of the others.
pub fn close_all_but(kept: &[Option<&OwnedFd>]) {
    let mut first = 3;
    loop {
        let above = kept.iter().flatten().map(|fd| fd.as_raw_fd());
        match above.filter(|fd| *fd >= first).min() {
            Some(fd) => {
                if fd > first {
                    close_range(first, fd - 1);
                }
                first = fd + 1;
            }
            None => return close_range(first, RawFd::MAX),
        }
    }
}

fn close_range(first: RawFd, last: RawFd) {
    let (from, to) = (first.unsigned_abs(), last.unsigned_abs());
    // SAFETY: the callers own whatever is open there, and do so right after a fork or before an exec.
    if unsafe { libc::syscall(libc::SYS_close_range, from, to, 0) } == 0 {
        return;
    }
    // Kernels before 5.9, and filters that do not know the call: one by one up to the usual limit.
    for fd in first..=last.min(4095) {
        // SAFETY: as above; a number that is not open is refused by the kernel.
        unsafe { libc::close(fd) };
    }
}

/// The standard input stream.
#[must_use]
pub fn stdin() -> BorrowedFd<'static> {
    // SAFETY: descriptors 0 to 2 are opened at start if they were not, and never closed.
    unsafe { BorrowedFd::borrow_raw(0) }
}

/// The standard output stream.
#[must_use]
pub fn stdout() -> BorrowedFd<'static> {
    // SAFETY: descriptors 0 to 2 are opened at start if they were not, and never closed.
    unsafe { BorrowedFd::borrow_raw(1) }
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

/// Points stdin at nothing; with no `/dev/null` to be had, at what cannot be read.
pub fn detach_stdin() {
    // SAFETY: a constant C string.
    let mut null = unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC) };
    if null == -1 {
        // SAFETY: a constant C string.
        null = unsafe { libc::open(c"/".as_ptr(), libc::O_PATH | libc::O_CLOEXEC) };
    }
    if null > 0 {
        redirect(null, 0);
        // SAFETY: opened above and owned by nobody else.
        unsafe { libc::close(null) };
    }
}

/// preadv2(2): fail rather than wait. From the kernel's `linux/fs.h`; not in libc for every target.
const RWF_NOWAIT: libc::c_int = 8;

/// Opens a terminal once more, for writes that do not wait. `None` for what is none, and where `/proc`
/// is missing. Takes no memory.
#[must_use]
pub fn reopen_terminal(fd: BorrowedFd<'_>) -> Option<OwnedFd> {
    if !nix::unistd::isatty(fd).unwrap_or(false) {
        return None;
    }
    let mut path = [0; 32];
    write!(&mut path[..], "/proc/self/fd/{}\0", fd.as_raw_fd()).ok()?;
    let path = CStr::from_bytes_until_nul(&path).ok()?;
    let flags = OFlag::O_WRONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    open(path, flags, Mode::empty()).ok()
}

/// Writes to a descriptor, which must be open, what can be written without waiting for a reader.
///
/// # Errors
/// EAGAIN when nothing can be.
pub fn write_now(fd: RawFd, bytes: &[u8]) -> Result<usize, Errno> {
    let part = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    let part = &raw const part;
    let here: libc::c_long = -1;
    // SAFETY: one vector over bytes that live through the call, which reads them; -1 as both halves
    // of the offset stands for the current position.
    let written = unsafe { libc::syscall(libc::SYS_pwritev2, fd, part, 1, here, here, RWF_NOWAIT) };
    if let Ok(written) = usize::try_from(written) {
        return Ok(written);
    }
    let error = Errno::last();
    // SAFETY: open, by the caller's promise, and only borrowed for the calls below.
    let file = unsafe { BorrowedFd::borrow_raw(fd) };
    let kind = fstat(file)?.st_mode & libc::S_IFMT;
    match error {
        // A disk is no reader; some filesystems say so to everyone who will not wait for it.
        Errno::EAGAIN | Errno::EOPNOTSUPP if kind == libc::S_IFREG => {
            nix::unistd::write(file, bytes)
        }
        // Not for this kind of file (terminals, pipes before Linux 6.5), or not by this filter.
        Errno::EOPNOTSUPP | Errno::ENOSYS | Errno::EINVAL | Errno::EPERM => {
            let flags = fcntl(file, FcntlArg::F_GETFL)?;
            if flags & libc::O_NONBLOCK != 0 {
                return nix::unistd::write(file, bytes);
            }
            if kind == libc::S_IFCHR && nix::unistd::isatty(file).unwrap_or(false) {
                return Err(Errno::EAGAIN);
            }
            // Asked first, then written, where the room told of can only be lost to a writer in between.
            let mut asked = [PollFd::new(file, PollFlags::POLLOUT)];
            match poll(&mut asked, PollTimeout::ZERO)? {
                0 => Err(Errno::EAGAIN),
                // So much room a pipe has that is said to have any (pipe(7)).
                _ => nix::unistd::write(file, bytes.get(..libc::PIPE_BUF).unwrap_or(bytes)),
            }
        }
        error => Err(error),
    }
}

/// Waits until something can be written to a descriptor that does not wait by itself.
pub fn wait_writable(fd: BorrowedFd<'_>) {
    let mut asked = [PollFd::new(fd, PollFlags::POLLOUT)];
    // Interrupted or refused, the write that follows tells.
    let _ = poll(&mut asked, PollTimeout::NONE);
}

/// Makes the terminal on stdin the controlling one of the session that this process leads. Failure
/// means that there is none to be had.
pub fn take_terminal() {
    // SAFETY: an integer argument.
    unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) };
}

/// Gives the controlling terminal up. For a session's leader that means SIGHUP and SIGCONT to the
/// process group in front (tty_ioctl(4)). Returns whether there was one.
pub fn leave_terminal() -> bool {
    // SAFETY: no argument.
    unsafe { libc::ioctl(0, libc::TIOCNOTTY) == 0 }
}
