//! Where a file is: a directory by its descriptor, and a name in it.
//!
//! Whoever may write to a part of a path may exchange it at any time: so a path is walked once, name by
//! name, and everything after that goes by the descriptor. A symbolic link is followed only if it belongs
//! to root or to disco's own user, since anybody else could have disco write wherever disco may. What is to
//! be done there is for others to say.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, FlockArg, OFlag, open, openat, readlinkat, renameat};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{UnlinkatFlags, geteuid, linkat, unlinkat};

/// As many links as the kernel follows.
const MAX_LINKS: usize = 40;

/// For a directory or a link that is only passed.
const PASS: OFlag = OFlag::O_PATH
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);

/// A directory.
pub(super) struct Dir {
    fd: OwnedFd,
    /// For what needs it to be readable: lists, locks, and having it on disk.
    readable: Option<OwnedFd>,
    id: (u64, u64),
}

impl Dir {
    fn new(fd: OwnedFd) -> io::Result<Self> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let readable = openat(&fd, ".", flags, Mode::empty()).ok();
        let file = File::from(fd);
        let meta = file.metadata()?;
        Ok(Self {
            fd: file.into(),
            readable,
            id: (meta.dev(), meta.ino()),
        })
    }

    /// A new file that nobody else can read yet.
    pub(super) fn create(&self, name: &OsStr) -> io::Result<File> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
        self.open_as(name, flags, Mode::S_IRUSR | Mode::S_IWUSR)
    }

    /// A file, to be read.
    pub(super) fn open(&self, name: &OsStr) -> io::Result<File> {
        // Nobody may have put a pipe there that would be waited for.
        self.open_as(name, OFlag::O_RDONLY | OFlag::O_NONBLOCK, Mode::empty())
    }

    /// A file, to be written to in place.
    pub(super) fn open_to_write(&self, name: &OsStr) -> io::Result<File> {
        self.open_as(name, OFlag::O_WRONLY | OFlag::O_NONBLOCK, Mode::empty())
    }

    /// About what is there; a link is not followed.
    pub(super) fn about(&self, name: &OsStr) -> io::Result<Metadata> {
        File::from(openat(&self.fd, name, PASS, Mode::empty())?).metadata()
    }

    /// Has a file take the place of another.
    pub(super) fn rename(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        Ok(renameat(&self.fd, from, &self.fd, to)?)
    }

    /// Gives a file a second name.
    pub(super) fn link(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        Ok(linkat(&self.fd, from, &self.fd, to, AtFlags::empty())?)
    }

    /// Removes a file.
    pub(super) fn remove(&self, name: &OsStr) -> io::Result<()> {
        Ok(unlinkat(&self.fd, name, UnlinkatFlags::NoRemoveDir)?)
    }

    /// The names in it; none if it cannot be read.
    pub(super) fn names(&self) -> Vec<OsString> {
        use std::os::unix::ffi::OsStrExt as _;
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let Ok(mut list) = nix::dir::Dir::openat(&self.fd, ".", flags, Mode::empty()) else {
            return Vec::new();
        };
        let names = list.iter().flatten();
        names
            .map(|entry| OsStr::from_bytes(entry.file_name().to_bytes()).to_owned())
            .collect()
    }

    /// Has what happened in it survive a loss of power, where it can be.
    pub(super) fn sync(&self) {
        // Some file systems do not know how.
        let _ = self.readable.as_ref().map(nix::unistd::fsync);
    }

    /// Whether nobody else is at work in it: then nobody is until [`Dir::share`]. One that cannot be read
    /// holds nothing that would be found.
    pub(super) fn is_ours(&self) -> bool {
        self.lock(FlockArg::LockExclusiveNonblock)
    }

    /// Says that there is work in it, until this value is dropped. Who has it for itself has it for a
    /// moment only, or is up to no good: it is not waited for.
    pub(super) fn share(&self) {
        self.lock(FlockArg::LockSharedNonblock);
    }

    #[expect(
        deprecated,
        reason = "its successor owns the descriptor, and cannot go from one kind of lock to the other"
    )]
    fn lock(&self, how: FlockArg) -> bool {
        let locked = self.readable.as_ref();
        locked.is_none_or(|fd| nix::fcntl::flock(fd.as_raw_fd(), how).is_ok())
    }

    fn open_as(&self, name: &OsStr, flags: OFlag, mode: Mode) -> io::Result<File> {
        let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = File::from(openat(&self.fd, name, flags, mode)?);
        match file.metadata()?.is_file() {
            true => Ok(file),
            false => Err(io::ErrorKind::InvalidInput.into()),
        }
    }
}

/// A name in a directory, which may still have to be made.
#[derive(Clone)]
pub(super) struct Place {
    /// The last directory on the way that is there.
    dir: Rc<Dir>,
    /// Those that are not, the first one first.
    missing: Vec<OsString>,
    /// The name of the file.
    pub(super) name: OsString,
    /// For people and programs: no symbolic link.
    pub(super) path: PathBuf,
}

impl Place {
    /// Walks to a file below `root`, symbolic links followed as if that were the root of everything: none
    /// leads out of it. What is not there counts as it is written.
    ///
    /// # Errors
    /// Why there can be no file, as the end of a sentence.
    pub(super) fn find(root: &Path, path: &Path) -> Result<Self, String> {
        let told = |errno: Errno| {
            let error = io::Error::from(errno);
            format!("cannot be followed to a file: {error}")
        };
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let top = open(root, flags, Mode::empty()).map_err(told)?;
        let mut waiting = parts(path);
        let mut walked = vec![(top, root.to_owned())];
        let mut missing: Vec<OsString> = Vec::new();
        let mut links = 0;
        while let (Some(part), Some((dir, at))) = (waiting.pop(), walked.last()) {
            if part == ".." {
                if missing.pop().is_none() && walked.len() > 1 {
                    walked.pop();
                }
                continue;
            }
            if !missing.is_empty() {
                missing.push(part);
                continue;
            }
            let next = at.join(&part);
            let fd = match openat(dir, part.as_os_str(), PASS, Mode::empty()) {
                Ok(fd) => File::from(fd),
                Err(Errno::ENOENT) => {
                    missing.push(part);
                    continue;
                }
                Err(errno) => return Err(told(errno)),
            };
            let meta = fd.metadata().map_err(|error| error.to_string())?;
            if meta.is_symlink() {
                links += 1;
                if links > MAX_LINKS {
                    return Err(told(Errno::ELOOP));
                }
                may_follow(&next, meta.uid())?;
                let to = PathBuf::from(readlinkat(&fd, "").map_err(told)?);
                if to.is_absolute() {
                    walked.truncate(1);
                }
                waiting.extend(parts(&to));
            } else if meta.is_dir() {
                walked.push((fd.into(), next));
            } else if waiting.is_empty() {
                missing.push(part);
            } else {
                return Err(told(Errno::ENOTDIR));
            }
        }
        let (Some((dir, at)), Some(name)) = (walked.pop(), missing.pop()) else {
            return Err("is a directory, and cannot be replaced".to_owned());
        };
        let dir = Dir::new(dir).map_err(|error| error.to_string())?;
        let path = missing.iter().fold(at, |at, name| at.join(name));
        Ok(Self {
            dir: Rc::new(dir),
            path: path.join(&name),
            missing,
            name,
        })
    }

    /// The directory, if it is there.
    pub(super) fn dir(&self) -> Option<&Rc<Dir>> {
        self.missing.is_empty().then_some(&self.dir)
    }

    /// The directory, which is made if it is not there.
    pub(super) fn made(&self) -> io::Result<Rc<Dir>> {
        let Some((first, rest)) = self.missing.split_first() else {
            return Ok(self.dir.clone());
        };
        let mut at = make(&self.dir.fd, first)?;
        for name in rest {
            at = make(&at, name)?;
        }
        let dir = Dir::new(at)?;
        dir.share();
        Ok(Rc::new(dir))
    }

    /// The place beside this one, of another name.
    pub(super) fn beside(&self, name: OsString) -> Self {
        Self {
            path: self.path.with_file_name(&name),
            name,
            ..self.clone()
        }
    }
}

/// Has places that are in one directory know it: a lock of the one would be in the way of the other.
pub(super) fn unite<'a>(places: impl Iterator<Item = &'a mut Place>) -> Vec<Rc<Dir>> {
    let mut all: Vec<Rc<Dir>> = Vec::new();
    for place in places.filter(|place| place.missing.is_empty()) {
        match all.iter().find(|dir| dir.id == place.dir.id) {
            Some(dir) => place.dir = dir.clone(),
            None => all.push(place.dir.clone()),
        }
    }
    all
}

/// Makes a directory and goes there; one that is there by now is as good, a link is not.
fn make(at: &OwnedFd, name: &OsStr) -> io::Result<OwnedFd> {
    match mkdirat(at, name, Mode::from_bits_truncate(0o755)) {
        Ok(()) | Err(Errno::EEXIST) => {}
        Err(errno) => return Err(errno.into()),
    }
    Ok(openat(at, name, PASS | OFlag::O_DIRECTORY, Mode::empty())?)
}

/// Whether a link of this owner may lead the way.
fn may_follow(link: &Path, uid: u32) -> Result<(), String> {
    let own = geteuid().as_raw();
    if uid == 0 || uid == own {
        return Ok(());
    }
    let whose = match own {
        0 => "to root".to_owned(),
        own => format!("to root or to user {own}, as whom disco runs"),
    };
    Err(format!(
        "leads through the symbolic link {}, which belongs to user {uid}, who could point it anywhere; expected a link that belongs {whose}: make it so, or give the real path",
        link.display()
    ))
}

/// The names of a path and its `..`, the last one first.
fn parts(path: &Path) -> Vec<OsString> {
    let parts = path.components().rev().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    });
    parts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{lchown, symlink};

    #[test]
    fn links_are_followed_within_the_root() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        fs::create_dir_all(root.join("etc/app")).unwrap();
        fs::create_dir_all(root.join("real")).unwrap();
        fs::write(root.join("file"), "").unwrap();
        symlink("/real", root.join("etc/linked")).unwrap();
        symlink("../../../../../real/b", root.join("etc/app/up")).unwrap();
        symlink("a.conf", root.join("etc/app/beside")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        for (path, expected) in [
            ("/etc/app/a.conf", "etc/app/a.conf"),
            ("/etc/linked/x/y", "real/x/y"),
            ("/etc/app/up", "real/b"),
            ("/etc/app/beside", "etc/app/a.conf"),
            ("/none/at/all", "none/at/all"),
            ("/file", "file"),
        ] {
            let found = Place::find(root, Path::new(path)).unwrap();
            assert_eq!(found.path, root.join(expected), "{path}");
        }
        for (path, expected) in [
            ("/loop", "symbolic link"),
            ("/etc", "is a directory"),
            ("/file/x", "Not a directory"),
        ] {
            let told = Place::find(root, Path::new(path)).err().unwrap();
            assert!(told.contains(expected), "{path}: {told}");
        }
    }

    #[test]
    fn a_link_of_somebody_else_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        symlink("real", dir.path().join("link")).unwrap();
        let find = || Place::find(dir.path(), Path::new("/link/a"));
        assert!(find().is_ok());
        if lchown(dir.path().join("link"), Some(4242), None).is_ok() {
            let told = find().err().unwrap();
            assert!(told.contains("which belongs to user 4242"), "{told}");
        }
    }

    #[test]
    fn what_is_made_is_where_it_was_walked_to() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("a")).unwrap();
        let place = Place::find(root.path(), Path::new("/a/b/c/file")).unwrap();
        assert!(place.dir().is_none());
        // Exchanged meanwhile.
        fs::rename(root.path().join("a"), root.path().join("z")).unwrap();
        symlink("/", root.path().join("a")).unwrap();
        place.made().unwrap().create(OsStr::new("file")).unwrap();
        assert!(root.path().join("z/b/c/file").is_file());
        symlink("/tmp", root.path().join("z/b/link")).unwrap();
        let dir = Place::find(root.path(), Path::new("/z/b/x")).unwrap();
        assert!(make(&dir.dir.fd, OsStr::new("link")).is_err());
        assert!(dir.dir().unwrap().open(OsStr::new("link")).is_err());
    }
}
