//! The directory beside a place in which is made what is to take it. It is locked while somebody is at
//! work in there, so that what ended runs have left can be told from it and removed. What is in it is
//! the caller's.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::Path;

use nix::fcntl::{Flock, FlockArg};
use tempfile::TempDir;

/// What is made.
pub(super) const NEW: &str = "new";

/// What was there, where the two cannot change places in one step.
pub(super) const OLD: &str = "old";

const PREFIX: &str = ".cake-";

/// As many characters come after [`PREFIX`].
const RANDOM: usize = 6;

/// Such a directory; it goes with this.
pub(super) struct Scratch {
    dir: TempDir,
    _lock: Flock<File>,
}

impl Scratch {
    /// Makes one.
    ///
    /// # Errors
    /// There is no room for it.
    pub(super) fn beside(above: &Path) -> io::Result<Self> {
        loop {
            let dir = tempfile::Builder::new()
                .prefix(PREFIX)
                .rand_bytes(RANDOM)
                .tempdir_in(above)?;
            // Whoever cleans up may have found it before it was locked, and then takes it away.
            match lock(dir.path()) {
                Ok(lock) if dir.path().exists() => return Ok(Self { dir, _lock: lock }),
                Ok(_) => {}
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::NotFound => {}
                    _ => return Err(error),
                },
            }
        }
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        self.dir.path()
    }
}

fn lock(dir: &Path) -> io::Result<Flock<File>> {
    let flocked = Flock::lock(File::open(dir)?, FlockArg::LockExclusiveNonblock);
    flocked.map_err(|(_, error)| error.into())
}

/// Removes those in a directory that nobody is at work in.
pub(super) fn clean(above: &Path) {
    for entry in fs::read_dir(above).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let random = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        let is_named_so = random.is_some_and(|random| random.len() == RANDOM);
        if !is_named_so || !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let dir = entry.path();
        let Ok(_lock) = lock(&dir) else { continue };
        let within = fs::read_dir(&dir).into_iter().flatten().flatten();
        let is_ours = |name: &std::ffi::OsStr| name == NEW || name == OLD;
        if within
            .map(|entry| entry.file_name())
            .all(|name| is_ours(&name))
        {
            // It is in nobody's way; the next run tries again.
            let _ = fs::remove_dir_all(&dir);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ended_runs_have_left_is_removed_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        for path in [
            ".cake-aBc123/new/x",
            ".cake-aBc124/mine",
            ".cake-long/new",
            "cake/new",
        ] {
            fs::create_dir_all(at(path)).unwrap();
        }
        let busy = Scratch::beside(dir.path()).unwrap();
        fs::create_dir(busy.path().join(NEW)).unwrap();
        clean(dir.path());
        assert!(!at(".cake-aBc123").exists());
        assert!(at(".cake-aBc124/mine").exists() && at(".cake-long").exists());
        assert!(busy.path().join(NEW).exists() && at("cake/new").exists());
    }
}
