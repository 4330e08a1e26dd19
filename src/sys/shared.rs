//! Memory that init and its children share: numbers that one counts and another tells.

use std::sync::atomic::AtomicU64;

/// How many numbers there are.
const ROOM: usize = 64;

/// Where they are if there is no memory to share: then each process knows its own.
static PRIVATE: [AtomicU64; ROOM] = [const { AtomicU64::new(0) }; ROOM];

/// Numbers, all 0, that every child forked from here on has in common with this process.
#[must_use]
pub fn share() -> &'static [AtomicU64; ROOM] {
    let (access, flags) = (
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_SHARED | libc::MAP_ANONYMOUS,
    );
    let size = size_of_val(&PRIVATE);
    // SAFETY: a new mapping at a place of the kernel's choice.
    let place = unsafe { libc::mmap(std::ptr::null_mut(), size, access, flags, -1, 0) };
    if place == libc::MAP_FAILED {
        return &PRIVATE;
    }
    // SAFETY: zeroed, aligned to a page, of that size and never unmapped.
    unsafe { &*place.cast() }
}
