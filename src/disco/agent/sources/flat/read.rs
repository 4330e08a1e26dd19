//! A consistent reading of a file or of the data files of a directory, and what tree it makes.
//!
//! Consistent: no file changed while it was read, and after the last of them the directory still
//! lists the same files. So one reading never mixes two states of a ConfigMap (conformance 2.3.2).

use std::ffi::{OsStr, OsString};
use std::fs::{Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};

use crate::contract::text::{self, Format, MAX_BYTES, Snippet};
use crate::contract::tree;

/// How often a reading starts over at once when something changes meanwhile.
const ATTEMPTS: usize = 5;

/// A data file as read.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct File {
    /// Its name in the directory, or of the file itself.
    pub(super) name: OsString,
    /// The path that messages show.
    pub(super) path: PathBuf,
    /// Its contents.
    pub(super) bytes: Vec<u8>,
}

impl File {
    /// Whether there is nothing in it, as in a file just truncated.
    pub(super) fn is_blank(&self) -> bool {
        self.bytes.iter().all(u8::is_ascii_whitespace)
    }
}

/// What came of reading.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// All data files in sorted order, exactly one if the path is no directory; and when the last
    /// of them was written.
    Files(Vec<File>, SystemTime),
    /// There is nothing at the path.
    Missing,
    /// It changes as fast as we read.
    Changing,
    /// It cannot be read; why, beginning with the path.
    Failed(String),
}

/// Why an attempt came to nothing.
enum Obstacle {
    Missing,
    Changed,
    Failed(String),
}

/// Whether a name in a directory is a data file's: known extension, no temporary file of an editor,
/// no `..data` of a ConfigMap, which would load everything twice.
pub(super) fn is_document(name: &OsStr) -> bool {
    is_value(name) && Format::of(Path::new(name)).is_some()
}

/// The same where every file is a value: `.dockerconfigjson` is a key that Kubernetes itself uses, so
/// hidden files count.
pub(super) fn is_value(name: &OsStr) -> bool {
    let name = name.as_bytes();
    let is_hidden = name.starts_with(b".");
    let is_temporary = name.ends_with(b"~")
        || (name.starts_with(b"#") && name.ends_with(b"#"))
        || name.starts_with(b".#")
        || (is_hidden && name.ends_with(b".swp"));
    !name.starts_with(b"..") && !is_temporary
}

/// The data files of a directory, sorted.
pub(super) fn list(directory: &Path, is_data: fn(&OsStr) -> bool) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let name = entry?.file_name();
        if is_data(&name) {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Reads everything at `path`.
pub(super) fn read(path: &Path, is_data: fn(&OsStr) -> bool) -> Reading {
    for _ in 0..ATTEMPTS {
        match attempt(path, is_data) {
            Ok((files, written)) => return Reading::Files(files, written),
            Err(Obstacle::Changed) => {}
            Err(Obstacle::Missing) => return Reading::Missing,
            Err(Obstacle::Failed(reason)) => return Reading::Failed(reason),
        }
    }
    Reading::Changing
}

fn attempt(path: &Path, is_data: fn(&OsStr) -> bool) -> Result<(Vec<File>, SystemTime), Obstacle> {
    let about = match std::fs::metadata(path) {
        Err(error) if is_absence(&error) => return Err(Obstacle::Missing),
        about => about.map_err(|error| failed(path, &error))?,
    };
    if !about.is_dir() {
        let (bytes, stamp) = contents(path, &about)?;
        let name = path.file_name().unwrap_or_default().to_owned();
        let path = path.to_owned();
        return Ok((vec![File { name, path, bytes }], stamp.written()));
    }
    let names = list(path, is_data).map_err(|error| failed(path, &error))?;
    let mut files = Vec::new();
    let mut stamps = Vec::new();
    for name in &names {
        let path = path.join(name);
        let about = entry(&path)?;
        if about.is_file() {
            let (bytes, stamp) = contents(&path, &about)?;
            stamps.push((path.clone(), Some(stamp)));
            let name = name.clone();
            files.push(File { name, path, bytes });
        } else {
            stamps.push((path, None));
        }
    }
    let is_same = |(path, stamp): &(PathBuf, Option<Stamp>)| {
        let now = std::fs::metadata(path).ok();
        now.is_some_and(|about| about.is_file().then(|| Stamp::of(&about)) == *stamp)
    };
    let listed_again = list(path, is_data).map_err(|error| failed(path, &error))?;
    if listed_again == names && stamps.iter().all(is_same) {
        let written = stamps.iter().filter_map(|(_, stamp)| stamp.as_ref());
        let last = written.map(Stamp::written).max();
        Ok((files, last.unwrap_or(SystemTime::UNIX_EPOCH)))
    } else {
        Err(Obstacle::Changed)
    }
}

/// What a name in a directory leads to. A link to nothing is an error, since the directory without
/// it would be a part of the data only.
fn entry(path: &Path) -> Result<Metadata, Obstacle> {
    match std::fs::metadata(path) {
        Err(error) if is_absence(&error) => match std::fs::symlink_metadata(path) {
            Ok(_) => Err(refused(path, "is a link to nothing")),
            Err(_) => Err(Obstacle::Changed),
        },
        about => about.map_err(|error| failed(path, &error)),
    }
}

/// What tells whether a file has changed. The time of the inode as well as that of its contents,
/// which anybody may set back.
#[derive(Debug, PartialEq, Eq)]
struct Stamp([i64; 4], [u64; 3]);

impl Stamp {
    fn of(about: &Metadata) -> Self {
        let times = [
            about.mtime(),
            about.mtime_nsec(),
            about.ctime(),
            about.ctime_nsec(),
        ];
        Self(times, [about.dev(), about.ino(), about.size()])
    }

    /// When the contents were written, at the epoch if the file says before.
    fn written(&self) -> SystemTime {
        let seconds = Duration::from_secs(self.0[0].try_into().unwrap_or(0));
        let nanos = Duration::from_nanos(self.0[1].try_into().unwrap_or(0));
        SystemTime::UNIX_EPOCH
            .checked_add(seconds + nanos)
            .unwrap_or(SystemTime::UNIX_EPOCH)
    }
}

/// The contents of what should be a regular file.
fn contents(path: &Path, about: &Metadata) -> Result<(Vec<u8>, Stamp), Obstacle> {
    // Before opening, because opening alone starts some devices.
    expect_file(path, about)?;
    let opened = OpenOptions::new()
        .read(true)
        // What has become a FIFO since must not hold us up.
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path);
    let mut file = match opened {
        Err(error) if is_absence(&error) => return Err(Obstacle::Changed),
        file => file.map_err(|error| failed(path, &error))?,
    };
    let before = file.metadata().map_err(|error| failed(path, &error))?;
    expect_file(path, &before)?;
    let mut bytes = Vec::new();
    let limit = u64::try_from(MAX_BYTES).unwrap_or(u64::MAX);
    if before.len() <= limit {
        // One more than may be, for files such as those in /proc that do not tell their size.
        let mut reader = (&mut file).take(limit + 1);
        reader
            .read_to_end(&mut bytes)
            .map_err(|error| failed(path, &error))?;
    }
    if before.len() > limit || bytes.len() > MAX_BYTES {
        let limit = MAX_BYTES >> 20;
        return Err(refused(path, &format!("is larger than {limit} MB")));
    }
    let after = file.metadata().map_err(|error| failed(path, &error))?;
    let stamp = Stamp::of(&after);
    let is_whole = u64::try_from(bytes.len()).is_ok_and(|read| read == after.len());
    if stamp == Stamp::of(&before) && (is_whole || after.len() == 0) {
        Ok((bytes, stamp))
    } else {
        Err(Obstacle::Changed)
    }
}

fn expect_file(path: &Path, about: &Metadata) -> Result<(), Obstacle> {
    let kind = about.file_type();
    let what = if kind.is_file() {
        return Ok(());
    } else if kind.is_fifo() {
        "a FIFO"
    } else if kind.is_socket() {
        "a socket"
    } else if kind.is_dir() {
        return Err(Obstacle::Changed);
    } else {
        "a device"
    };
    Err(refused(
        path,
        &format!("is {what}; expected a file or a directory"),
    ))
}

fn is_absence(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

fn refused(path: &Path, what: &str) -> Obstacle {
    Obstacle::Failed(format!("{} {what}", path.display()))
}

fn failed(path: &Path, error: &io::Error) -> Obstacle {
    Obstacle::Failed(format!("{} cannot be read: {error}", path.display()))
}

/// The tree of documents merged in order, and notes about them.
///
/// # Errors
/// The first document that is none, with its place and a masked snippet.
pub(super) fn documents(files: &[File]) -> Result<(Value, Vec<String>), String> {
    let mut merged = Value::Object(Map::new());
    let mut notes = Vec::new();
    for file in files {
        let format = Format::of(&file.path);
        let document = text::parse(&file.bytes, format, Snippet::Masked)
            .map_err(|problem| problem.in_file(&file.path).to_string())?;
        let path = file.path.display();
        notes.extend(document.notes.iter().map(|note| format!("{path}: {note}")));
        match document.value {
            // Before merging, so that a later `db.host` wins over an earlier `db: {host: …}`.
            value @ Value::Object(_) => tree::merge(&mut merged, tree::nest_dotted(value)),
            Value::Null => {}
            _ => return Err(format!("{path}: expected a map of interfaces at the top")),
        }
    }
    Ok((merged, notes))
}

/// The tree of files that are values, by name.
///
/// # Errors
/// The first that is not UTF-8.
pub(super) fn values(files: &[File]) -> Result<(Value, Vec<String>), String> {
    let mut map = Map::new();
    for file in files {
        let wrong = |what| format!("{}: {what} is not UTF-8", file.path.display());
        let name = file.name.to_str().ok_or_else(|| wrong("its name"))?;
        let text = std::str::from_utf8(&file.bytes).map_err(|_| wrong("its value"))?;
        let text = text.strip_suffix('\n').unwrap_or(text);
        map.insert(name.to_owned(), Value::String(text.to_owned()));
    }
    Ok((Value::Object(map), Vec::new()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn file(name: &str, text: &str) -> File {
        File {
            name: name.into(),
            path: Path::new("/d").join(name),
            bytes: text.into(),
        }
    }

    #[test]
    fn c2_3_6_names_that_are_no_data_files() {
        for name in ["a.yaml", "a.yml", "a.json", "a.toml", ".a.yaml", "a.b.yaml"] {
            assert!(is_document(OsStr::new(name)), "{name}");
        }
        for name in [
            "..data.yaml",
            "..2026.json",
            ".a.yaml.swp",
            "a.yaml~",
            "#a.yaml#",
            ".#a.yaml",
            "a.txt",
            "yaml",
            ".yaml",
            "a.yaml.tmp",
        ] {
            assert!(!is_document(OsStr::new(name)), "{name}");
        }
        for (name, want) in [
            ("password", true),
            (".dockerconfigjson", true),
            ("..data", false),
            ("a~", false),
            (".a.swp", false),
        ] {
            assert_eq!(is_value(OsStr::new(name)), want, "{name}");
        }
    }

    #[test]
    fn c2_3_6_later_files_win_and_dotted_keys_take_part() {
        let files = [
            file("a.yaml", "db: {host: a, port: 1}\n"),
            file("b.json", "{\"db.host\": \"b\"}"),
            file("c.toml", "[db]\nhost = 'c'\n"),
            file("d.yaml", "# nothing\n"),
        ];
        let (tree, notes) = documents(&files).unwrap();
        assert_eq!(tree, json!({"db": {"host": "c", "port": 1}}));
        assert!(notes.is_empty(), "{notes:?}");
        assert_eq!(documents(&files[..2]).unwrap().0["db"]["host"], "b");
    }

    #[test]
    fn a_broken_document_is_named_and_shows_no_value() {
        let files = [
            file("a.yaml", "ok: 1\n"),
            file("b.yaml", "x: 1\ny: \"hunter2\n"),
        ];
        let told = documents(&files).unwrap_err();
        assert!(told.starts_with("/d/b.yaml:"), "{told}");
        assert!(!told.contains("hunter2"), "{told}");
        let told = documents(&[file("a.yaml", "- a\n")]).unwrap_err();
        assert_eq!(told, "/d/a.yaml: expected a map of interfaces at the top");
    }

    #[test]
    fn notes_name_the_file() {
        let (_, notes) = documents(&[file("a.yaml", "a: 1\na: 2\n")]).unwrap();
        assert_eq!(
            notes,
            ["/d/a.yaml: `a` is given twice; the last one counts"]
        );
    }

    #[test]
    fn c2_3_6_values_lose_one_trailing_newline() {
        let files = [
            file("db.password", "hunter2\n\n"),
            file("user", "me"),
            file("e", ""),
        ];
        let (tree, _) = values(&files).unwrap();
        assert_eq!(
            tree,
            json!({"db.password": "hunter2\n", "user": "me", "e": ""})
        );
    }

    #[test]
    fn a_directory_is_read_sorted_through_links_and_not_below() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        write("b.yaml", "b");
        write("a.yaml", "a");
        write("ignored.txt", "x");
        std::fs::create_dir(dir.path().join("sub.yaml")).unwrap();
        std::os::unix::fs::symlink("b.yaml", dir.path().join("c.yaml")).unwrap();
        let Reading::Files(files, _) = read(dir.path(), is_document) else {
            panic!()
        };
        let names: Vec<_> = files
            .iter()
            .map(|file| file.name.to_str().unwrap())
            .collect();
        assert_eq!(names, ["a.yaml", "b.yaml", "c.yaml"]);
        std::os::unix::fs::symlink("gone", dir.path().join("d.yaml")).unwrap();
        let Reading::Failed(told) = read(dir.path(), is_document) else {
            panic!()
        };
        assert!(told.ends_with("d.yaml is a link to nothing"), "{told}");
    }

    #[test]
    fn c2_3_2_one_reading_never_mixes_two_states() {
        let dir = tempfile::tempdir().unwrap();
        let swap = |state: usize| {
            let real = dir.path().join(format!("..{state}"));
            std::fs::create_dir(&real).unwrap();
            for file in 0..10 {
                std::fs::write(real.join(format!("{file}.yaml")), state.to_string()).unwrap();
            }
            let draft = dir.path().join("..draft");
            std::os::unix::fs::symlink(&real, &draft).unwrap();
            std::fs::rename(draft, dir.path().join("..data")).unwrap();
            if state > 0 {
                let before = dir.path().join(format!("..{}", state - 1));
                std::fs::remove_dir_all(before).unwrap();
            }
        };
        swap(0);
        for file in 0..10 {
            let name = format!("{file}.yaml");
            let target = Path::new("..data").join(&name);
            std::os::unix::fs::symlink(target, dir.path().join(name)).unwrap();
        }
        std::thread::scope(|scope| {
            let swaps = scope.spawn(|| (1..300).for_each(swap));
            while !swaps.is_finished() {
                if let Reading::Files(files, _) = read(dir.path(), is_document) {
                    let one = files.iter().all(|file| file.bytes == files[0].bytes);
                    assert!(one && files.len() == 10, "{files:?}");
                }
            }
        });
    }

    #[test]
    fn what_is_no_file_is_refused_without_reading_it() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("f");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let huge = dir.path().join("huge");
        std::fs::File::create(&huge)
            .unwrap()
            .set_len(1 << 40)
            .unwrap();
        let ring = dir.path().join("ring");
        std::os::unix::fs::symlink("ring", &ring).unwrap();
        for (path, want) in [
            (fifo.as_path(), "is a FIFO; expected a file or a directory"),
            (
                Path::new("/dev/zero"),
                "is a device; expected a file or a directory",
            ),
            (&huge, "is larger than 16 MB"),
            (&ring, "cannot be read"),
        ] {
            let Reading::Failed(told) = read(path, is_document) else {
                panic!("{path:?}")
            };
            assert!(
                told.starts_with(path.to_str().unwrap()) && told.contains(want),
                "{told}"
            );
        }
        assert_eq!(
            read(&dir.path().join("none"), is_document),
            Reading::Missing
        );
        assert_eq!(
            read(Path::new("/dev/null/x"), is_document),
            Reading::Missing
        );
    }
}
