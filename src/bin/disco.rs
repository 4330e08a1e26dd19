//! The `disco` program: takes its arguments from the C runtime and hands over to the library.
//!
//! Without std's `main` the first thing to happen is that signals are blocked, SIGPIPE keeps the
//! disposition it came with, and a dozen system calls of set-up are not made.

#![no_main]
#![expect(
    unsafe_code,
    reason = "`main` is the C runtime's to call, and what it passes is raw"
)]

use std::ffi::{c_char, c_int};

use layer_cake::disco::{self, init::Inherited};
use layer_cake::sys;

/// Holds init to its promise to allocate nothing, wherever it is tested.
#[cfg(debug_assertions)]
#[global_allocator]
static GUARD: sys::Guard = sys::Guard;

/// Called by the C runtime.
///
/// # Safety
/// `argc` and `argv` are the program's, as the C standard has them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn main(argc: c_int, argv: *const *const c_char) -> c_int {
    let inherited = Inherited::take();
    // SAFETY: these are what the C runtime passed.
    let words = unsafe { sys::arguments(argc, argv) };
    sys::exit_now(disco::run(words, inherited))
}
