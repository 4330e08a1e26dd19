//! What `/proc` tells of a process, seen from the test: children, descriptors, counters, whether it
//! is still there. Everything of a process that has gone is empty, or nothing.

use super::{DEADLINE, wait_for};
use nix::unistd::Pid;
use std::path::PathBuf;

/// A file of `/proc/PID`.
pub(crate) fn file(pid: Pid, name: &str) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default()
}

/// Its children, those of every thread.
pub(crate) fn children(pid: Pid) -> Vec<Pid> {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    let lists = threads
        .flatten()
        .filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    lists
        .flat_map(|list| {
            list.split_whitespace()
                .map(|pid| Pid::from_raw(pid.parse().unwrap()))
                .collect::<Vec<_>>()
        })
        .collect()
}

/// Everything below it.
pub(crate) fn descendants(pid: Pid) -> Vec<Pid> {
    children(pid)
        .into_iter()
        .flat_map(|child| [vec![child], descendants(child)].concat())
        .collect()
}

/// A line of its `status`: `PPid`, `State`, `voluntary_ctxt_switches`…
pub(crate) fn status(pid: Pid, key: &str) -> Option<String> {
    let status = file(pid, "status");
    let value = status
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    value.map(|value| value.trim().to_owned())
}

/// Waits until none of these has been woken for a second.
#[track_caller]
pub(crate) fn wait_until_idle<const N: usize>(all: [Pid; N]) {
    let woken = || all.map(|pid| status(pid, "voluntary_ctxt_switches").unwrap());
    wait_for("a second without a wake-up", DEADLINE, || {
        let before = woken();
        let second = std::process::Command::new("sleep").arg("1").status();
        assert!(second.unwrap().success());
        (woken() == before).then_some(())
    });
}

/// How many of its children have ended and wait to be reaped.
pub(crate) fn zombies(pid: Pid) -> usize {
    let is_zombie = |pid: &Pid| status(*pid, "State").is_some_and(|state| state.starts_with('Z'));
    children(pid).iter().filter(|pid| is_zombie(pid)).count()
}

/// Whether it works or could: neither gone nor a zombie.
pub(crate) fn is_alive(pid: Pid) -> bool {
    status(pid, "State").is_some_and(|state| !state.starts_with(['Z', 'X']))
}

/// What its descriptors are, by number.
pub(crate) fn descriptors(pid: Pid) -> Vec<(u32, PathBuf)> {
    let Ok(list) = std::fs::read_dir(format!("/proc/{pid}/fd")) else {
        return Vec::new();
    };
    let mut all: Vec<(u32, PathBuf)> = list
        .flatten()
        .filter_map(|entry| {
            let number = entry.file_name().to_str()?.parse().ok()?;
            Some((number, std::fs::read_link(entry.path()).ok()?))
        })
        .collect();
    all.sort();
    all
}

/// Its private memory that no file backs, in kB.
pub(crate) fn anonymous(pid: Pid) -> Option<u64> {
    let rollup = file(pid, "smaps_rollup");
    let line = rollup
        .lines()
        .find_map(|line| line.strip_prefix("Anonymous:"))?;
    line.trim().trim_end_matches("kB").trim().parse().ok()
}
