//! The kernel, as far as neither std nor nix reaches it: all unsafe code of the library is here.
//!
//! Callers get safe functions, usable between fork and exec of a process with one thread; none of
//! them allocates but where it says so.

#![expect(
    unsafe_code,
    reason = "the one place for it; each block says why it is sound"
)]

pub mod credentials;
mod fd;
mod memory;
pub mod proc;
mod process;
mod restraint;
mod shared;
mod signal;
pub mod socket;
pub mod watchdog;

pub use fd::{
    close_all_but, detach_stdin, fill_standard_descriptors, leave_terminal, redirect,
    reopen_terminal, signal_no_more, signal_when_readable, stderr, stdin, stdout, take_terminal,
    wait_writable, write_now,
};
pub use memory::{Guard, blank_environment, release_code, seal, unseal};
pub use process::{
    Fork, Prepared, Reaped, arguments, exit_now, fork, has_children, is_subreaper, leave_mounts,
    own_pid, parent_pid, reap, set_apart, set_parent_death, set_subreaper,
};
pub use restraint::restrain;
pub use shared::{Numbers, ROOM, share};
pub use signal::{
    Received, SignalSet, TERMINAL_STOPS, hold, ignore_terminal_stops, is_ignored, is_pending, kill,
    kill_held, queue, set_ignored, set_mask, stop_as_job, wait_signal,
};

use nix::errno::Errno;

fn check_long(result: libc::c_long) -> Result<(), Errno> {
    check(if result == -1 { -1 } else { 0 })
}

fn check(result: libc::c_int) -> Result<(), Errno> {
    if result == -1 {
        Err(Errno::last())
    } else {
        Ok(())
    }
}
