//! Processes: forked, replaced, reaped, ended; what ties them to their parents and children.

use std::ffi::{CStr, CString, OsString};
use std::io::Write as _;

use nix::errno::Errno;
use nix::sys::wait::{Id, WaitPidFlag, waitid};

use super::check;
use super::signal::{TERMINAL_STOPS, set_ignored};
use crate::contract::exit::Exit;

/// Our own pid, in the type of the calls that take one.
#[must_use]
pub fn own_pid() -> i32 {
    // SAFETY: asks for a number.
    unsafe { libc::getpid() }
}

/// The pid of our parent; 0 when it is outside our PID namespace.
#[must_use]
pub fn parent_pid() -> i32 {
    // SAFETY: asks for a number.
    unsafe { libc::getppid() }
}

/// What waitpid had to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reaped {
    /// A child ended; it is reaped.
    Ended(i32, Exit),
    /// A child was stopped by this signal.
    Stopped(i32, i32),
    /// Children are there, nothing has happened to any.
    Running,
    /// There are no children.
    Childless,
}

/// Whether there is any child, one that has ended among them.
#[must_use]
pub fn has_children() -> bool {
    let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    waitid(Id::All, look) != Err(Errno::ECHILD)
}

/// Asks what has happened to any child, without waiting. Through libc, since nix's `WaitStatus`
/// cannot represent real-time signals and would lose the status (conformance pid1 fact 7).
#[must_use]
pub fn reap() -> Reaped {
    loop {
        let mut status = 0;
        // SAFETY: room for one status.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG | libc::WUNTRACED) };
        if pid > 0 && libc::WIFSTOPPED(status) {
            return Reaped::Stopped(pid, libc::WSTOPSIG(status));
        }
        if pid > 0 {
            return Reaped::Ended(pid, exit_of(status));
        }
        if pid == 0 {
            return Reaped::Running;
        }
        if Errno::last() != Errno::EINTR {
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
pub fn fork() -> Result<Fork, Errno> {
    // SAFETY: init has one thread from its first instruction on (invariant of disco::init), so that
    // no lock can be held by a thread that the child lacks.
    match unsafe { libc::fork() } {
        -1 => Err(Errno::last()),
        0 => Ok(Fork::Child),
        pid => Ok(Fork::Parent(pid)),
    }
}

/// A command ready to be executed: everything that needs memory has been done, so that it can be
/// executed between fork and exec, and over and over.
pub struct Prepared {
    candidates: Vec<CString>,
    /// What the pointers below point to.
    _strings: [Vec<CString>; 2],
    argv: Vec<*const libc::c_char>,
    environment: Vec<*const libc::c_char>,
    /// The arguments after the shell and the file, for a file without an interpreter line.
    shell: Vec<*const libc::c_char>,
    /// Descriptors passed to us, which are to be the command's.
    passed: Option<Passed>,
}

/// The variables by which systemd says for whom its descriptors are (sd_listen_fds(3)): the pid, and,
/// since version 258, what tells a process from another that has had its pid.
const LISTEN_PID: &[u8] = b"LISTEN_PID=";
const LISTEN_PIDFDID: &[u8] = b"LISTEN_PIDFDID=";

/// Where these stand in the environment, and the first of them with room for a pid.
struct Passed {
    pid: usize,
    id: Option<usize>,
    entry: [u8; 24],
}

impl Prepared {
    /// Takes the paths to try in order, the arguments with the name first, and `NAME=value` pairs.
    #[must_use]
    pub fn new(candidates: Vec<CString>, argv: Vec<CString>, environment: Vec<CString>) -> Self {
        let own_pid = own_pid().to_string();
        let passed = environment.iter().position(|entry| {
            entry.as_bytes().strip_prefix(LISTEN_PID) == Some(own_pid.as_bytes())
        });
        let is_id = |entry: &CString| entry.as_bytes().starts_with(LISTEN_PIDFDID);
        // What a shell is given when the file has no interpreter line, as execvp does.
        let mut shell = vec![c"/bin/sh".as_ptr(), std::ptr::null()];
        shell.extend(pointers(argv.get(1..).unwrap_or_default()));
        Self {
            candidates,
            argv: pointers(&argv),
            shell,
            passed: passed.map(|pid| Passed {
                pid,
                id: environment.iter().position(is_id),
                entry: [0; 24],
            }),
            environment: pointers(&environment),
            _strings: [argv, environment],
        }
    }

    /// The paths that are tried, in order.
    #[must_use]
    pub fn candidates(&self) -> &[CString] {
        &self.candidates
    }

    /// Makes descriptors that were passed to us by `LISTEN_PID` be for this process, the child that
    /// is about to execute the command (conformance pid1 9).
    pub fn take_over_descriptors(&mut self) {
        let Some(Passed { pid, id, entry }) = &mut self.passed else {
            return;
        };
        // Ten digits at most fit, and leave the NUL at the end.
        let (name, mut number) = entry.split_at_mut(LISTEN_PID.len());
        name.copy_from_slice(LISTEN_PID);
        let _ = write!(number, "{}", own_pid());
        // The second says of us what the command is not; twice the first says nothing new.
        for index in [Some(*pid), *id].into_iter().flatten() {
            if let Some(pointer) = self.environment.get_mut(index) {
                *pointer = entry.as_ptr().cast();
            }
        }
    }

    /// Becomes the command. Returns only when that failed.
    pub fn execute(&mut self) -> Errno {
        let mut outcome = Errno::ENOENT;
        for candidate in &self.candidates {
            let (argv, environment) = (self.argv.as_ptr(), self.environment.as_ptr());
            // SAFETY: a C string and two null-terminated arrays of C strings that outlive the call.
            unsafe { libc::execve(candidate.as_ptr(), argv, environment) };
            match Errno::last() {
                // One that was spelt out is meant, and what is wrong with it is to be told.
                error if self.candidates.len() == 1 && error != Errno::ENOEXEC => return error,
                Errno::ENOENT | Errno::ENOTDIR => {}
                // Remembered, but a later directory may hold one that can be executed.
                Errno::EACCES => outcome = Errno::EACCES,
                Errno::ENOEXEC => {
                    if let Some(script) = self.shell.get_mut(1) {
                        *script = candidate.as_ptr();
                    }
                    let argv = self.shell.as_ptr();
                    // SAFETY: as above.
                    unsafe { libc::execve(c"/bin/sh".as_ptr(), argv, environment) };
                    return Errno::ENOEXEC;
                }
                error => return error,
            }
        }
        outcome
    }
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    let all = strings.iter().map(|s| s.as_ptr());
    all.chain(std::iter::once(std::ptr::null())).collect()
}

/// Makes orphans below us our children, or stops doing so. Failure means a filter forbids it, and
/// then orphans go elsewhere, which is no reason to end.
pub fn set_subreaper(on: bool) -> bool {
    let on = libc::c_ulong::from(on);
    // SAFETY: an integer option of prctl.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, on, 0, 0, 0) == 0 }
}

/// Whether orphans below us become our children. The bit survives exec, so that whoever started us
/// may have set it. Failure means a filter forbids asking, and then nobody has set it either.
#[must_use]
pub fn is_subreaper() -> bool {
    let mut bit: libc::c_int = 0;
    let out = &raw mut bit;
    // SAFETY: room for the integer that this option of prctl writes.
    let asked = unsafe { libc::prctl(libc::PR_GET_CHILD_SUBREAPER, out, 0, 0, 0) };
    asked == 0 && bit != 0
}

/// Arranges that this process gets a signal when its parent dies, which is `parent` as far as anybody
/// knows. Returns `false` when that parent is gone already, so that the signal will never come.
///
/// # Errors
/// EPERM where a filter forbids the call.
pub fn set_parent_death(number: i32, parent: i32) -> Result<bool, Errno> {
    let number = libc::c_ulong::from(number.unsigned_abs());
    // SAFETY: an integer option of prctl.
    check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, number, 0, 0, 0) })?;
    Ok(parent_pid() == parent)
}

/// Sets a command apart that the agent is about to spawn: it leads a process group, is killed when the
/// agent dies, may be stopped by a terminal again, and is not held to the agent's own limits. What a
/// filter forbids is left out (conformance pid1 40).
pub fn set_apart(command: &mut tokio::process::Command) {
    let arrange = || {
        // SAFETY: numbers only.
        unsafe { libc::setpgid(0, 0) };
        for number in TERMINAL_STOPS {
            set_ignored(number, false);
        }
        super::restraint::lift();
        let _ = set_parent_death(libc::SIGKILL, parent_pid());
        Ok(())
    };
    // SAFETY: the closure runs between fork and exec; it makes system calls and allocates nothing.
    unsafe { command.pre_exec(arrange) };
}

/// Leaves the mounts of others: what is mounted from here on is mounted in this process and its children
/// only, as far as they are not told to share it still.
///
/// # Errors
/// EPERM without `CAP_SYS_ADMIN`.
pub fn leave_mounts() -> Result<(), Errno> {
    // SAFETY: takes a number; a process with one thread, as init has, loses nothing that it shares.
    check(unsafe { libc::unshare(libc::CLONE_NEWNS) })
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
pub unsafe fn arguments(argc: i32, argv: *const *const libc::c_char) -> Vec<OsString> {
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
