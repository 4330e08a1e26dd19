//! Ends a process whose thread turns in a loop: by the processor time that the thread uses without ever
//! coming to rest. Other threads of it may work as much as they like.
//!
//! A timer of processor time costs nothing while the thread waits: it wakes nobody.

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

/// From here on ends this process with `code` when this thread uses `limit` of processor time, and as
/// much again, without [`rest`] being called.
pub fn watch(limit: Duration, code: u8) {
    CODE.store(code, Ordering::Relaxed);
    let handler = bark as extern "C" fn(libc::c_int) as libc::sighandler_t;
    // SAFETY: the handler touches atomics, and makes system calls only.
    unsafe { libc::signal(libc::SIGPROF, handler) };
    let time = libc::timespec {
        // A week at most, by the settings; the type of this field is in transition on musl.
        tv_sec: i32::try_from(limit.as_secs()).unwrap_or(i32::MAX).into(),
        tv_nsec: limit.subsec_nanos().into(),
    };
    let time = libc::itimerspec {
        it_interval: time,
        it_value: time,
    };
    // SAFETY: all zeroes are an event without a name.
    let mut event: libc::sigevent = unsafe { std::mem::zeroed() };
    (event.sigev_notify, event.sigev_signo) = (libc::SIGEV_SIGNAL, libc::SIGPROF);
    let mut timer = std::ptr::null_mut();
    let (clock, event) = (libc::CLOCK_THREAD_CPUTIME_ID, &raw mut event);
    // SAFETY: an event that lives through the call, and room for a timer.
    if unsafe { libc::timer_create(clock, event, &raw mut timer) } == 0 {
        // SAFETY: a timer just made, and a time that lives through the call.
        unsafe { libc::timer_settime(timer, 0, &raw const time, std::ptr::null_mut()) };
    }
}

extern "C" fn bark(_: libc::c_int) {
    if RESTED.swap(false, Ordering::Relaxed) {
        return;
    }
    super::exit_now(CODE.load(Ordering::Relaxed))
}
