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

/// How things were before.
struct Before {
    memory: Option<libc::rlimit>,
    score: Option<i32>,
}

static BEFORE: OnceLock<Before> = OnceLock::new();

/// Restrains this process. `bytes` limits its memory, softly: beyond it allocation fails. What a
/// filter or a missing `/proc` forbids is left out. To be called once.
pub fn restrain(bytes: Option<u64>) {
    let score = score().filter(|score| set_score((score + SOONER).min(1000)));
    let memory = bytes.and_then(|bytes| {
        let before = memory_limit()?;
        let limit = libc::rlimit {
            rlim_cur: before.rlim_cur.min(bytes),
            ..before
        };
        set_memory_limit(&limit).then_some(before)
    });
    // The second time it would be the restrained state that is kept.
    let _ = BEFORE.set(Before { memory, score });
}

/// Undoes it, in a child that executes something else.
pub(super) fn lift() {
    let Some(before) = BEFORE.get() else {
        return;
    };
    if let Some(memory) = &before.memory {
        set_memory_limit(memory);
    }
    if let Some(score) = before.score {
        set_score(score);
    }
}

fn memory_limit() -> Option<libc::rlimit> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: room for one limit.
    let asked = unsafe { libc::getrlimit(libc::RLIMIT_DATA, &raw mut limit) };
    (asked == 0).then_some(limit)
}

fn set_memory_limit(limit: &libc::rlimit) -> bool {
    // SAFETY: a limit that lives through the call.
    unsafe { libc::setrlimit(libc::RLIMIT_DATA, &raw const *limit) == 0 }
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
