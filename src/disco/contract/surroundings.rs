//! What the contract asks of the surroundings, compared with what they are: limits of the control
//! group, mounts and their modes. Looks only, but for [`mount`], which takes write access from volumes
//! that are declared read-only.

use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MsFlags, mount as remount};
use nix::unistd::{AccessFlags, access};
use tracing::{debug, warn};

use crate::contract::manifest::Manifest;
use crate::contract::manifest::resources::{System, Volume};
use crate::contract::quantity::{show_memory, show_processors};
use crate::contract::report::Report;
use crate::contract::text::Step;
use crate::disco::cgroup;
use crate::sys;

/// Compares. What is less than was asked for is a warning, or a problem where the contract says
/// `enforce: fail`.
pub(super) fn check(manifest: &Manifest, report: &mut Report<'_>) {
    check_system(&manifest.system, &Machine::read(&manifest.system), report);
    if manifest.volumes.is_empty() {
        return;
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").map(|text| mounts(&text));
    for volume in &manifest.volumes {
        let path = [Step::Key("volumes"), Step::Key(&volume.name)];
        if let Some(message) = check_volume(volume, mounts.as_deref().ok()) {
            report.warn(&path, message);
        }
    }
}

/// What this container has.
#[derive(Debug, Default, PartialEq, Eq)]
struct Machine {
    processors: Option<u64>,
    memory: Option<u64>,
    gpus: u32,
}

impl Machine {
    /// Reads what is asked for; the rest is nobody's business, and takes time.
    fn read(asked: &System) -> Self {
        Self {
            processors: asked.processors.and_then(|_| cgroup::processors()),
            memory: asked.memory.and_then(|_| cgroup::memory()),
            gpus: asked.gpus.filter(|gpus| *gpus > 0).map_or(0, |_| gpus()),
        }
    }
}

fn check_system(asked: &System, machine: &Machine, report: &mut Report<'_>) {
    let mut tell = |key, message: String| {
        let path = [Step::Key("system"), Step::Key(key)];
        match asked.enforce {
            true => report.refuse(&path, message),
            false => report.warn(&path, message),
        }
    };
    if let (Some(wanted), Some(found)) = (asked.memory, machine.memory)
        && found < wanted
    {
        tell(
            "memory",
            format!(
                "asks for {} and there are {}; give it more (`docker run --memory={wanted}`)",
                show_memory(wanted),
                show_memory(found)
            ),
        );
    }
    if let (Some(wanted), Some(found)) = (asked.processors, machine.processors)
        && found < wanted
    {
        let (wanted, found) = (show_processors(wanted), show_processors(found));
        tell(
            "cpu",
            format!(
                "asks for {wanted} processors and there are {found}; give it more (`docker run --cpus={wanted}`)"
            ),
        );
    }
    if let Some(wanted) = asked.gpus.filter(|wanted| *wanted > machine.gpus) {
        tell(
            "gpu",
            format!(
                "asks for {wanted} graphics processors and there are {}; give it some (`docker run --gpus={wanted}`)",
                machine.gpus
            ),
        );
    }
}

/// The devices that the runtime of the container has put in.
fn gpus() -> u32 {
    let count = |dir: &str, prefix: &str| {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        let is_one = |name: &str| {
            let number = name.strip_prefix(prefix).unwrap_or_default();
            !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
        };
        let found = entries.filter(|entry| entry.file_name().to_str().is_some_and(is_one));
        u32::try_from(found.count()).unwrap_or(u32::MAX)
    };
    count("/dev", "nvidia").max(count("/dev/dri", "renderD"))
}

/// A mount point, and whether it can be written to.
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    at: PathBuf,
    writable: bool,
    /// What else is said of it, which a remount would forget.
    flags: MsFlags,
}

/// Options of a mount that are its own, and not its filesystem's.
const FLAGS: &[(&str, MsFlags)] = &[
    ("nosuid", MsFlags::MS_NOSUID),
    ("nodev", MsFlags::MS_NODEV),
    ("noexec", MsFlags::MS_NOEXEC),
    ("noatime", MsFlags::MS_NOATIME),
    ("nodiratime", MsFlags::MS_NODIRATIME),
    ("relatime", MsFlags::MS_RELATIME),
];

/// Reads mountinfo(5). Of several mounts in one place the last one counts.
fn mounts(text: &str) -> Vec<Mount> {
    let mount = |line: &str| {
        let mut fields = line.split(' ').skip(4);
        let (at, options) = (fields.next()?, fields.next()?);
        // After the separator: type, source, options of the filesystem as a whole.
        let rest = line.split(" - ").nth(1).unwrap_or_default();
        let whole = rest.split(' ').nth(2).unwrap_or_default();
        let is_read_only = |options: &str| options.split(',').any(|option| option == "ro");
        let flags = FLAGS
            .iter()
            .filter(|(name, _)| options.split(',').any(|o| o == *name));
        Some(Mount {
            at: unescape(at).into(),
            writable: !is_read_only(options) && !is_read_only(whole),
            flags: flags.fold(MsFlags::empty(), |all, (_, flag)| all | *flag),
        })
    };
    text.lines().filter_map(mount).collect()
}

/// Blanks, tabs, newlines and backslashes are octal there.
fn unescape(text: &str) -> String {
    let mut plain = text.to_owned();
    for (escaped, c) in [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ] {
        plain = plain.replace(escaped, c);
    }
    plain
}

fn check_volume(volume: &Volume, mounts: Option<&[Mount]>) -> Option<String> {
    let Volume {
        dest,
        name,
        writable,
    } = volume;
    // Through links, as whoever writes there goes.
    let Ok(at) = Path::new(dest).canonicalize() else {
        return Some(format!(
            "there is nothing at `{dest}`; mount a volume there (`docker run -v {name}:{dest}`)"
        ));
    };
    // Without /proc nobody knows.
    let mount = mounts?.iter().rev().find(|mount| mount.at == at);
    let Some(mount) = mount else {
        return Some(format!(
            "`{dest}` is no mount: {}; mount a volume there (`docker run -v {name}:{dest}`)",
            match writable {
                true => "what is written there is gone with the container",
                false => "what is to be read there comes with the image, or is not there",
            }
        ));
    };
    let may_write = mount.writable && access(&at, AccessFlags::W_OK).is_ok();
    (*writable && !may_write).then(|| {
        let why = match mount.writable {
            true => "its mode forbids it",
            false => "it is mounted read-only",
        };
        format!("`{dest}` cannot be written to: {why}; the contract asks for `mode: rw`")
    })
}

/// Sees to it that what is mounted here is mounted nowhere else. As PID 1 only: others share what they
/// see with those who started them, on purpose.
fn have_own_mounts() -> Result<(), Errno> {
    if sys::own_pid() != 1 {
        return Err(Errno::EPERM);
    }
    sys::leave_mounts()?;
    let (nothing, flags) = (None::<&str>, MsFlags::MS_REC | MsFlags::MS_SLAVE);
    remount(nothing, "/", nothing, flags, nothing)
}

/// Makes volumes that are declared read-only so, where that may be done: as PID 1, in a namespace of
/// our own, with CAP_SYS_ADMIN.
pub(super) fn mount(manifest: &Manifest) {
    let read_only = manifest.volumes.iter().filter(|volume| !volume.writable);
    let mounts = match std::fs::read_to_string("/proc/self/mountinfo").ok() {
        Some(text) if manifest.volumes.iter().any(|volume| !volume.writable) => mounts(&text),
        _ => return,
    };
    let mut own_mounts = None;
    for Volume { dest, .. } in read_only {
        let at = Path::new(dest).canonicalize().unwrap_or_default();
        let mount = mounts.iter().rev().find(|mount| mount.at == at);
        if mount.is_none_or(|mount| !mount.writable) {
            continue;
        }
        let how = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
        let flags = mount.map_or(how, |mount| mount.flags | how);
        let nothing = None::<&str>;
        let done = own_mounts
            .get_or_insert_with(have_own_mounts)
            .and_then(|()| remount(nothing, dest.as_str(), nothing, flags, nothing));
        match done {
            Ok(()) => debug!("`{dest}` is read-only from here on"),
            Err(error) => warn!(
                "`{dest}` is declared `mode: ro` and can be written to ({}); mount it so (`docker run -v …:{dest}:ro`)",
                error.desc()
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(asked: System, machine: &Machine) -> (Vec<String>, Vec<String>) {
        let mut report = Report::new(Path::new("f"), "system: {cpu: 2, memory: 1GB, gpu: 1}");
        check_system(&asked, machine, &mut report);
        let text = |list: &[crate::contract::problem::Problem]| {
            list.iter().map(ToString::to_string).collect()
        };
        (text(&report.problems), text(&report.warnings))
    }

    #[test]
    fn a70_less_than_was_asked_for_is_told_and_more_is_not() {
        let asked = |enforce| System {
            processors: Some(2000),
            memory: Some(1_000_000_000),
            gpus: Some(1),
            enforce,
        };
        let enough = Machine {
            processors: Some(2000),
            memory: Some(1 << 30),
            gpus: 1,
        };
        assert_eq!(told(asked(true), &enough), (vec![], vec![]));
        let less = Machine {
            processors: Some(1500),
            memory: Some(512 << 20),
            gpus: 0,
        };
        let (problems, warnings) = told(asked(false), &less);
        assert!(problems.is_empty());
        assert_eq!(
            warnings[0],
            "f:1:26: `system.memory`: asks for 953.6 MiB and there are 512 MiB; give it more (`docker run --memory=1000000000`)"
        );
        assert!(warnings[1].contains("asks for 2 processors and there are 1.5"));
        assert_eq!(told(asked(true), &less).0.len(), 3);
        // What cannot be found out is no less.
        assert_eq!(
            told(
                asked(true),
                &Machine {
                    gpus: 1,
                    ..Machine::default()
                }
            )
            .0
            .len(),
            0
        );
        assert_eq!(
            told(System::default(), &Machine::default()),
            (vec![], vec![])
        );
    }

    #[test]
    fn a40_mounts_are_told_by_the_last_in_a_place() {
        let text = "\
22 1 0:20 / / rw,relatime - overlay overlay rw,lowerdir=/x
30 22 0:5 / /data rw,nosuid - tmpfs tmpfs rw
31 22 0:6 / /data ro,nosuid shared:1 - tmpfs tmpfs rw
32 22 0:7 / /with\\040blank rw - ext4 /dev/x ro,errors=remount-ro
";
        let all = mounts(text);
        let writable: Vec<_> = all.iter().map(|mount| mount.writable).collect();
        assert_eq!(writable, [true, true, false, false]);
        assert_eq!(all[1].flags, MsFlags::MS_NOSUID);
        assert_eq!(all[0].flags, MsFlags::MS_RELATIME);
        assert_eq!(all[3].at, Path::new("/with blank"));
    }

    #[test]
    fn a40_a_volume_that_is_not_there_or_no_mount_is_told() {
        let volume = |dest: &str, writable| Volume {
            name: "v".to_owned(),
            dest: dest.to_owned(),
            writable,
        };
        let dir = tempfile::tempdir().unwrap();
        let dest = dir.path().to_str().unwrap();
        let mount = |writable| {
            vec![Mount {
                at: dir.path().to_owned(),
                writable,
                flags: MsFlags::empty(),
            }]
        };
        let tell = |volume, mounts: &[Mount]| check_volume(&volume, Some(mounts));
        assert!(
            tell(volume("/none/such", true), &[])
                .unwrap()
                .contains("nothing at")
        );
        assert!(tell(volume(dest, true), &[]).unwrap().contains("no mount"));
        assert!(
            tell(volume(dest, true), &mount(false))
                .unwrap()
                .contains("read-only")
        );
        assert_eq!(tell(volume(&format!("{dest}/"), true), &mount(true)), None);
        assert_eq!(tell(volume(dest, false), &mount(false)), None);
        assert_eq!(check_volume(&volume(dest, true), None), None);
    }
}
