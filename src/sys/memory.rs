//! Memory: code that is given back, secrets that are blanked, and the proof that init allocates nothing.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ffi::CStr;
use std::sync::atomic::{AtomicBool, Ordering};

/// What a mapping begins with: the size of a page on the machines that disco is built for.
const PAGE: usize = 4096;

unsafe extern "C" {
    /// environ(7): the C library's list of `NAME=value` strings, ended by null.
    static environ: *const *mut libc::c_char;
    /// The linker's: where the program begins in memory.
    static __executable_start: u8;
}

/// Takes the program's code and constants out of memory, from which they come back page by page as they
/// are used. What init needs once it waits is a small part of what it took to get there.
pub fn release_code() {
    // The program headers as the kernel has mapped them (getauxval(3)).
    // SAFETY: asks for a number.
    let headers = unsafe { libc::getauxval(libc::AT_PHDR) };
    // SAFETY: asks for a number.
    let count = unsafe { libc::getauxval(libc::AT_PHNUM) };
    // An address is as wide as a pointer.
    let address = |number: u64| usize::try_from(number).unwrap_or(0);
    let start = &raw const __executable_start;
    let mut first = None;
    for index in 0..address(count) {
        let all: *const libc::Elf64_Phdr = std::ptr::with_exposed_provenance(address(headers));
        let header = all.wrapping_add(index);
        // SAFETY: one of the headers that the kernel says are there, for as long as the process lives.
        let header = unsafe { header.read() };
        if header.p_type != libc::PT_LOAD {
            continue;
        }
        // The first is where the program begins, so that addresses may be counted from there; and each
        // is mapped from the page on in which it begins.
        let (begin, length) = (address(header.p_vaddr), address(header.p_memsz));
        let (page, within) = (begin & !(PAGE - 1), begin & (PAGE - 1));
        let first = *first.get_or_insert(page);
        if header.p_flags & libc::PF_W != 0 {
            continue;
        }
        let place = start.wrapping_add(page.wrapping_sub(first)).cast_mut();
        // SAFETY: a mapping of the program's file that nobody may write to loses nothing by this; with
        // larger pages than these the kernel refuses.
        unsafe { libc::madvise(place.cast(), within + length, libc::MADV_DONTNEED) };
    }
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

/// Whether allocating is a defect now.
static SEALED: AtomicBool = AtomicBool::new(false);

/// From here on this process must not allocate (invariant of [`crate::disco::init`]). Without
/// [`Guard`] as its allocator that is only a promise.
pub fn seal() {
    SEALED.store(true, Ordering::Relaxed);
}

/// Takes [`seal`] back, for a child that goes its own way.
pub fn unseal() {
    SEALED.store(false, Ordering::Relaxed);
}

/// The system's allocator, but whoever allocates in a sealed process is ended by SIGABRT with a
/// message. For builds with debug assertions, so that each test of init tests this as well.
pub struct Guard;

fn must_be_open() {
    if SEALED.swap(false, Ordering::Relaxed) {
        let message: &[u8] = b"disco: init allocates while the command runs\n";
        // SAFETY: bytes of the program.
        unsafe { libc::write(2, message.as_ptr().cast(), message.len()) };
        // SAFETY: ends the process.
        unsafe { libc::abort() };
    }
}

// SAFETY: every call is handed to the system's allocator unchanged, or the process ends.
unsafe impl GlobalAlloc for Guard {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        must_be_open();
        // SAFETY: the caller's promise is the one that is asked for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is the one that is asked for.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        must_be_open();
        // SAFETY: the caller's promise is the one that is asked for.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        must_be_open();
        // SAFETY: the caller's promise is the one that is asked for.
        unsafe { System.realloc(pointer, layout, size) }
    }
}
