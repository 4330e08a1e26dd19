//! Restrains a process for the good of its neighbours: how much memory it may take, and that the
//! kernel, where memory runs out, takes this one first.

use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::sync::OnceLock;

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use super::proc;

/// How much sooner the kernel kills this process than its neighbours when memory runs out, of 1000
/// (proc_pid_oom_score_adj(5)).
const SOONER: i32 = 500;

/// Descriptors that a process of disco may need: one for each file that it follows, and some.
const DESCRIPTORS: libc::rlim_t = 65_536;

/// How things were before.
struct Before {
    memory: Option<libc::rlimit>,
    descriptors: Option<libc::rlimit>,
    score: Option<i32>,
}

/// Of which limit: C libraries differ in the type.
#[cfg(target_env = "gnu")]
type Which = libc::__rlimit_resource_t;
#[cfg(not(target_env = "gnu"))]
type Which = libc::c_int;

static BEFORE: OnceLock<Before> = OnceLock::new();

/// Restrains this process. `bytes` limits its memory, softly: beyond it allocation fails. Of descriptors it
/// gets as many as it may have, up to 65,536. What a filter or a missing `/proc` forbids is left out. To be called once.
pub fn restrain(bytes: Option<u64>) {
    let score = score().filter(|score| set_score((score + SOONER).min(1000)));
    let memory = bytes.and_then(|bytes| {
        let before = limit(libc::RLIMIT_DATA)?;
        let limit = libc::rlimit {
            rlim_cur: before.rlim_cur.min(bytes),
            ..before
        };
        set_limit(libc::RLIMIT_DATA, &limit).then_some(before)
    });
    let descriptors = limit(libc::RLIMIT_NOFILE).filter(|before| {
        let limit = libc::rlimit {
            rlim_cur: before.rlim_max.min(DESCRIPTORS).max(before.rlim_cur),
            ..*before
        };
        limit.rlim_cur > before.rlim_cur && set_limit(libc::RLIMIT_NOFILE, &limit)
    });
    // The second time it would be the restrained state that is kept.
    let _ = BEFORE.set(Before {
        memory,
        descriptors,
        score,
    });
}

/// Undoes it, in a child that executes something else.
pub(super) fn lift() {
    let Some(before) = BEFORE.get() else {
        return;
    };
    if let Some(memory) = &before.memory {
        set_limit(libc::RLIMIT_DATA, memory);
    }
    if let Some(descriptors) = &before.descriptors {
        set_limit(libc::RLIMIT_NOFILE, descriptors);
    }
    if let Some(score) = before.score {
        set_score(score);
    }
}

fn limit(which: Which) -> Option<libc::rlimit> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: room for one limit.
    let asked = unsafe { libc::getrlimit(which, &raw mut limit) };
    (asked == 0).then_some(limit)
}

fn set_limit(which: Which, limit: &libc::rlimit) -> bool {
    // SAFETY: a limit that lives through the call.
    unsafe { libc::setrlimit(which, &raw const *limit) == 0 }
}

fn score() -> Option<i32> {
    let mut buffer = [0; 16];
    let text = proc::read_file(c"/proc/self/oom_score_adj", &mut buffer)?;
    std::str::from_utf8(text).ok()?.trim().parse().ok()
}

fn set_score(score: i32) -> bool {
    let flags = OFlag::O_WRONLY | OFlag::O_CLOEXEC;
    let Ok(file) = open(c"/proc/self/oom_score_adj", flags, Mode::empty()) else {
        return false;
    };
    let mut text = [0; 16];
    let mut rest = &mut text[..];
    if write!(rest, "{score}").is_err() {
        return false;
    }
    let length = 16 - rest.len();
    nix::unistd::write(file.as_fd(), text.get(..length).unwrap_or_default()).is_ok()
}
