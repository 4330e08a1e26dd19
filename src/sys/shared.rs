//! Memory that init and its children share: numbers that one counts and another tells.

use std::sync::atomic::AtomicU64;

/// How many numbers there are.
pub const ROOM: usize = 16;

/// The numbers.
pub type Numbers = [AtomicU64; ROOM];

/// Numbers, all 0, that every child forked from here on has in common with this process. `None` where the
/// kernel has no memory for them.
#[must_use]
pub fn share() -> Option<&'static Numbers> {
    let (access, flags) = (
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_SHARED | libc::MAP_ANONYMOUS,
    );
    let size = size_of::<Numbers>();
    // SAFETY: a new mapping at a place of the kernel's choice.
    let place = unsafe { libc::mmap(std::ptr::null_mut(), size, access, flags, -1, 0) };
    if place == libc::MAP_FAILED {
        return None;
    }
    // SAFETY: zeroed, aligned to a page, of that size and never unmapped.
    Some(unsafe { &*place.cast() })
}
