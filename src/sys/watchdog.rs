//! Ends a process that turns in a loop: by the processor time it uses without ever coming to rest.
//!
//! A timer of processor time costs nothing while the process waits: it wakes nobody.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

/// Whether the process has rested since the timer last fired.
static RESTED: AtomicBool = AtomicBool::new(false);
/// The exit code of a process that has not.
static CODE: AtomicU8 = AtomicU8::new(0);

/// Tells the watchdog that the process is about to wait for something.
pub fn rest() {
    RESTED.store(true, Ordering::Relaxed);
}

/// From here on ends this process with `code` when it uses `limit` of processor time, and as much
/// again, without [`rest`] being called.
pub fn watch(limit: Duration, code: u8) {
    CODE.store(code, Ordering::Relaxed);
    let handler = bark as extern "C" fn(libc::c_int) as libc::sighandler_t;
    // SAFETY: the handler touches atomics, and makes system calls only.
    unsafe { libc::signal(libc::SIGPROF, handler) };
    let time = libc::timeval {
        // A week at most, by the settings; the type of this field is in transition on musl.
        tv_sec: i32::try_from(limit.as_secs()).unwrap_or(i32::MAX).into(),
        tv_usec: limit.subsec_micros().into(),
    };
    let timer = libc::itimerval {
        it_interval: time,
        it_value: time,
    };
    let (timer, none) = (&raw const timer, std::ptr::null_mut());
    // SAFETY: a timer that lives through the call.
    unsafe { libc::setitimer(libc::ITIMER_PROF, timer, none) };
}

extern "C" fn bark(_: libc::c_int) {
    if RESTED.swap(false, Ordering::Relaxed) {
        return;
    }
    super::exit_now(CODE.load(Ordering::Relaxed))
}
