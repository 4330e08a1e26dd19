//! Processes as `/proc` shows them, read without memory of our own. Where `/proc` is missing, or hides
//! the processes of others (`hidepid`), there is less to see; that is no error.

use std::ffi::CStr;
use std::io::Write as _;
use std::os::fd::{AsRawFd as _, OwnedFd};

use super::signal::SignalSet;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::unistd::AccessFlags;

/// Calls `each` with the pid of every process that can be seen. Returns whether `/proc` is there.
pub fn each_process(mut each: impl FnMut(i32)) -> bool {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let Ok(dir) = open(c"/proc", flags, Mode::empty()) else {
        return false;
    };
    let mut found = false;
    let mut buffer = [0_u8; 4096];
    loop {
        let (number, room) = (dir.as_raw_fd(), buffer.len());
        // SAFETY: room of that size.
        let size =
            unsafe { libc::syscall(libc::SYS_getdents64, number, buffer.as_mut_ptr(), room) };
        let Some(mut rest) = usize::try_from(size)
            .ok()
            .and_then(|size| buffer.get(..size))
        else {
            return found;
        };
        if rest.is_empty() {
            return found;
        }
        // `struct linux_dirent64`: inode and offset, 8 bytes each, length, 2, type, 1, then the name.
        while let Some(length) = rest.get(16..18).and_then(|b| b.try_into().ok()) {
            let length = usize::from(u16::from_ne_bytes(length));
            let Some((entry, next)) = rest.split_at_checked(length).filter(|_| length > 19) else {
                break;
            };
            rest = next;
            let name = entry
                .get(19..)
                .and_then(|name| CStr::from_bytes_until_nul(name).ok());
            let pid = name.and_then(|name| name.to_str().ok()?.parse().ok());
            if let Some(pid) = pid {
                found = true;
                each(pid);
            }
        }
    }
}

/// Whether anybody in this network listens on a port, for TCP, or has it, for UDP. `None` where `/proc`
/// does not tell.
#[must_use]
pub fn is_listening(port: u16, udp: bool) -> Option<bool> {
    let files = match udp {
        false => [c"/proc/net/tcp", c"/proc/net/tcp6"],
        true => [c"/proc/net/udp", c"/proc/net/udp6"],
    };
    let mut known = None;
    for file in files {
        let Ok(file) = open(file, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()) else {
            continue;
        };
        known = Some(false);
        let (mut buffer, mut filled) = ([0_u8; 4096], 0);
        while let Some(free) = buffer.get_mut(filled..)
            && let Ok(count @ 1..) = nix::unistd::read(&file, free)
        {
            filled += count;
            let mut used = 0;
            while let Some(rest) = buffer.get(used..filled)
                && let Some(end) = rest.iter().position(|byte| *byte == b'\n')
            {
                let line = rest.get(..end).unwrap_or_default();
                if is_of_port(line, port, udp) {
                    return Some(true);
                }
                used += end + 1;
            }
            buffer.copy_within(used..filled, 0);
            filled -= used;
        }
    }
    known
}

/// A line of proc_net_tcp: number, local address, remote address, state, the last two in hexadecimal.
/// State 10 is a listening socket; one of UDP has no such state.
fn is_of_port(line: &[u8], port: u16, udp: bool) -> bool {
    let mut fields = std::str::from_utf8(line)
        .unwrap_or_default()
        .split_ascii_whitespace()
        .skip(1);
    let local = fields.next().and_then(|local| local.rsplit_once(':'));
    let local = local.and_then(|(_, port)| u16::from_str_radix(port, 16).ok());
    local == Some(port) && (udp || fields.nth(1) == Some("0A"))
}

/// Whether a process runs the same program as this one. False where that cannot be seen.
#[must_use]
pub fn runs_this_program(pid: i32) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let file = |path: String| {
        let about = std::fs::metadata(path).ok()?;
        Some((about.dev(), about.ino()))
    };
    let own = file("/proc/self/exe".to_owned());
    own.is_some() && own == file(format!("/proc/{pid}/exe"))
}

/// Whether this process has a child other than `spared`, one that has ended among them.
#[must_use]
pub fn has_child_besides(spared: i32) -> bool {
    // Of a process with one thread that is the whole list (proc_tid_children(5)); two entries are enough.
    let mut buffer = [0; 64];
    if let Some(list) = read_file(c"/proc/thread-self/children", &mut buffer) {
        let mut pids = list
            .split(|byte| *byte == b' ')
            .filter(|pid| !pid.is_empty());
        let is_spared = |pid: &[u8]| {
            std::str::from_utf8(pid)
                .ok()
                .and_then(|pid| pid.parse().ok())
                == Some(spared)
        };
        return pids.any(|pid| !is_spared(pid));
    }
    // Kernels without CONFIG_PROC_CHILDREN.
    let (own, mut found) = (super::own_pid(), false);
    each_process(|pid| found |= pid != spared && parent_of(pid) == Some(own));
    found
}

/// The parent of a process, or `None` when it is gone or hidden.
#[must_use]
pub fn parent_of(pid: i32) -> Option<i32> {
    let mut buffer = [0; 512];
    let stat = read(pid, "stat", &mut buffer)?;
    // The name may hold blanks and parentheses; what follows the last one does not.
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(stat.get(end + 1..)?).ok()?;
    rest.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// Whether a process neither catches nor ignores a signal, as far as can be told.
#[must_use]
pub fn has_default_action(pid: i32, number: i32) -> bool {
    let mut buffer = [0; 4096];
    let status = read(pid, "status", &mut buffer).unwrap_or_default();
    let status = std::str::from_utf8(status).unwrap_or_default();
    !status.lines().any(|line| {
        let set = line
            .strip_prefix("SigIgn:")
            .or(line.strip_prefix("SigCgt:"));
        let set = set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok());
        set.is_some_and(|set| SignalSet::from_bits(set).contains(number))
    })
}

/// Writes the name of a process (`comm`, 15 bytes at most), `?` where it cannot be told.
///
/// # Errors
/// Those of the writer.
pub fn write_name(pid: i32, to: &mut impl std::fmt::Write) -> std::fmt::Result {
    let mut buffer = [0; 64];
    let name = read(pid, "comm", &mut buffer)
        .unwrap_or(b"?")
        .trim_ascii_end();
    name.utf8_chunks()
        .try_for_each(|chunk| to.write_str(chunk.valid()))
}

/// The beginning of a file of `/proc/PID`.
fn read<'a>(pid: i32, file: &str, buffer: &'a mut [u8]) -> Option<&'a [u8]> {
    // The last byte stays the NUL.
    let mut path = [0; 48];
    let mut room = path.get_mut(..47)?;
    write!(room, "/proc/{pid}/{file}").ok()?;
    read_file(CStr::from_bytes_until_nul(&path).ok()?, buffer)
}

/// The beginning of a file, as far as the buffer goes.
pub(super) fn read_file<'a>(path: &CStr, buffer: &'a mut [u8]) -> Option<&'a [u8]> {
    let file: OwnedFd = open(path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).ok()?;
    let size = nix::unistd::read(&file, buffer).ok()?;
    buffer.get(..size)
}

/// How many processes the kernel has killed in this container because it had reached its limit of
/// memory (`memory.events` of cgroup 2, `memory.oom_control` of cgroup 1).
#[must_use]
pub fn out_of_memory_kills() -> Option<u64> {
    let mut buffer = [0; 512];
    let files = [
        c"/sys/fs/cgroup/memory.events",
        c"/sys/fs/cgroup/memory/memory.oom_control",
    ];
    let file = files
        .into_iter()
        .find(|file| nix::unistd::access(*file, AccessFlags::R_OK).is_ok())?;
    let text = std::str::from_utf8(read_file(file, &mut buffer)?).ok()?;
    let mut lines = text.lines();
    lines.find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn we_are_there_and_have_a_parent_and_a_name() {
        let own = super::super::own_pid();
        let mut seen = false;
        assert!(each_process(|pid| seen |= pid == own));
        assert!(seen);
        assert_eq!(parent_of(own), Some(super::super::parent_pid()));
        assert_eq!(parent_of(i32::MAX), None);
        let mut name = String::new();
        write_name(own, &mut name).unwrap();
        let told = std::fs::read_to_string("/proc/self/comm").unwrap();
        assert_eq!(name, told.trim_end());
    }
}
