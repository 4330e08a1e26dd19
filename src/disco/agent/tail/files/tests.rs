//! Real files, with everything that is done to them while they are followed.

use super::*;

use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io::{self, Write as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::stat::Mode;

use super::events::Departed;
use super::leave::MAX_ROTATED;
use super::recall::MAX_STATES;
use super::settle::MAX_STREAMS;

const DEADLINE: Duration = Duration::from_secs(20);

/// Files, a directory for them, and what was read of each stream in the order of its coming.
struct Bench {
    dir: tempfile::TempDir,
    files: Files,
    /// What was read, with a `|` where a stream ended.
    text: String,
    of: BTreeMap<usize, String>,
}

fn never(_: &Path) -> bool {
    false
}

impl Bench {
    fn new(name: &str, from: From) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self::of(dir, name, from)
    }

    fn of(dir: tempfile::TempDir, name: &str, from: From) -> Self {
        let files = Files::with(&[dir.path().join(name)], from, never).unwrap();
        Self {
            dir,
            files,
            text: String::new(),
            of: BTreeMap::new(),
        }
    }

    fn again(self, name: &str, from: From) -> Self {
        let Self { dir, files, .. } = self;
        drop(files);
        Self::of(dir, name, from)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn append(&self, name: &str, text: &str) {
        append(&self.path(name), text);
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).unwrap();
    }

    /// Reads all that there is.
    fn step(&mut self) {
        self.files.look();
        let mut buffer = [0; 64];
        while let Some(piece) = self.files.read(&mut buffer) {
            let text = std::str::from_utf8(&buffer[..piece.size]).unwrap();
            let end = if piece.ended { "|" } else { "" };
            for to in [&mut self.text, self.of.entry(piece.stream).or_default()] {
                to.push_str(text);
                to.push_str(end);
            }
            self.files.done(piece.stream, 0);
        }
    }

    /// Waits until this has been read, and nothing else.
    fn expect(&mut self, want: &str) {
        let start = Instant::now();
        loop {
            self.step();
            if self.text == want {
                return;
            }
            assert!(start.elapsed() < DEADLINE, "{:?}, not {want:?}", self.text);
            self.wait(Duration::from_millis(100));
        }
    }

    fn wait(&self, limit: Duration) {
        wait(&self.files, limit);
    }
}

fn wait(files: &Files, limit: Duration) {
    let due = files
        .due()
        .map(|due| due.saturating_duration_since(Instant::now()));
    let limit = due.map_or(limit, |due| due.min(limit));
    let mut fds = [PollFd::new(files.descriptor(), PollFlags::POLLIN)];
    let limit = PollTimeout::try_from(limit + Duration::from_millis(1)).unwrap();
    poll(&mut fds, limit).unwrap();
}

fn append(path: &Path, text: &str) {
    let file = fs::OpenOptions::new().append(true).create(true).open(path);
    file.unwrap().write_all(text.as_bytes()).unwrap();
}

#[test]
fn what_is_appended_is_read_as_it_comes_and_nothing_wakes_when_idle() {
    let mut bench = Bench::new("f", From::Beginning);
    bench.append("f", "a\nb");
    bench.expect("a\nb");
    bench.append("f", "c\n");
    bench.expect("a\nbc\n");
    bench.step();
    assert_eq!(bench.files.due(), None);
    assert_eq!(bench.files.problems(), [""; 0]);
    let mut fds = [PollFd::new(bench.files.descriptor(), PollFlags::POLLIN)];
    assert_eq!(poll(&mut fds, PollTimeout::ZERO), Ok(0));
}

#[test]
fn at_the_start_the_caller_says_where_to_begin() {
    for (from, want) in [(From::Beginning, "old\nnew\n"), (From::End, "new\n")] {
        let dir = tempfile::tempdir().unwrap();
        append(&dir.path().join("f"), "old\n");
        let mut bench = Bench::of(dir, "f", from);
        bench.append("f", "new\n");
        bench.expect(want);
    }
}

#[test]
fn directories_that_come_later_are_found() {
    let mut bench = Bench::new("a/b/f", From::End);
    bench.step();
    fs::create_dir(bench.path("a")).unwrap();
    bench.step();
    fs::create_dir(bench.path("a/b")).unwrap();
    bench.append("a/b/f", "1\n");
    bench.expect("1\n");
    fs::remove_dir_all(bench.path("a")).unwrap();
    bench.step();
    fs::create_dir_all(bench.path("a/b")).unwrap();
    bench.append("a/b/f", "2\n");
    bench.expect("1\n2\n");
}

#[test]
fn links_are_followed_and_when_they_change() {
    let mut bench = Bench::new("link", From::Beginning);
    fs::create_dir(bench.path("d")).unwrap();
    symlink("d/f", bench.path("link")).unwrap();
    bench.step();
    bench.append("d/f", "1\n");
    bench.expect("1\n");
    bench.rename("d/f", "d/f.1");
    bench.append("d/f", "2\n");
    bench.expect("1\n2\n");
    bench.append("d/g", "3\n");
    symlink("d/g", bench.path("link2")).unwrap();
    bench.rename("link2", "link");
    bench.expect("1\n2\n3\n");
    bench.append("d/f", "late\n");
    bench.expect("1\n2\n3\nlate\n");
}

#[test]
fn a_truncated_file_is_read_from_its_beginning() {
    let mut bench = Bench::new("f", From::Beginning);
    bench.append("f", "first\npart");
    bench.expect("first\npart");
    fs::write(bench.path("f"), "2\n").unwrap();
    bench.expect("first\npart|2\n");
    assert_eq!(bench.of.len(), 1);
}

#[test]
fn a_file_rewritten_longer_is_known_by_its_head() {
    let mut bench = Bench::new("f", From::Beginning);
    bench.append("f", "1\n");
    bench.expect("1\n");
    fs::write(bench.path("f"), "another\n").unwrap();
    bench.expect("1\n|another\n");
}

#[test]
fn a_file_rewritten_the_same_is_known_by_its_time_and_a_touched_one_is_not() {
    let mut bench = Bench::new("f", From::Beginning);
    bench.append("f", "1\n");
    bench.expect("1\n");
    bench.step();
    let file = File::options().append(true).open(bench.path("f")).unwrap();
    let later = std::time::SystemTime::now() + Duration::from_secs(9);
    let times = fs::FileTimes::new().set_accessed(later);
    file.set_times(times.set_modified(later)).unwrap();
    bench.step();
    assert_eq!(bench.files.due(), None);
    fs::write(bench.path("f"), "1\n").unwrap();
    bench.expect("1\n|1\n");
}

#[test]
fn the_rest_is_read_from_the_copy() {
    let mut bench = Bench::new("f", From::Beginning);
    bench.append("f", "1\n");
    bench.expect("1\n");
    bench.append("f", "2\n");
    fs::copy(bench.path("f"), bench.path("f.1")).unwrap();
    fs::write(bench.path("f"), "").unwrap();
    bench.append("f", "3\n");
    bench.expect("1\n2\n|3\n");
    // Once more, twice between two looks.
    bench.append("f", "4\n");
    bench.rename("f.1", "f.2");
    fs::copy(bench.path("f"), bench.path("f.1")).unwrap();
    fs::write(bench.path("f"), "5\n").unwrap();
    bench.rename("f.2", "f.3");
    bench.rename("f.1", "f.2");
    fs::copy(bench.path("f"), bench.path("f.1")).unwrap();
    fs::write(bench.path("f"), "6\n").unwrap();
    bench.expect("1\n2\n|3\n4\n|5\n|6\n");
    assert_eq!(bench.of.len(), 1);
}

#[test]
fn a_rotated_file_is_followed_until_it_is_quiet() {
    let mut bench = Bench::new("f", From::Beginning);
    bench.append("f", "1\n");
    bench.expect("1\n");
    bench.append("f", "2\n");
    bench.rename("f", "f.1");
    bench.append("f", "3\n");
    bench.expect("1\n2\n3\n");
    bench.append("f.1", "late\n");
    bench.expect("1\n2\n3\nlate\n");
    assert!(bench.files.due().is_some());
    bench.files.quiet = Duration::ZERO;
    bench.expect("1\n2\n3\nlate\n|");
    assert_eq!(bench.files.due(), None);
    assert_eq!(bench.files.streams.len(), 1);
    bench.append("f.1", "too late\n");
    bench.append("f", "4\n");
    bench.expect("1\n2\n3\nlate\n|4\n");
}

#[test]
fn a_deleted_file_is_read_to_its_end() {
    let mut bench = Bench::new("f", From::Beginning);
    bench.append("f", "1\n");
    bench.expect("1\n");
    bench.append("f", "2\n");
    fs::remove_file(bench.path("f")).unwrap();
    bench.append("f", "3\n");
    bench.expect("1\n2\n3\n");
    bench.files.quiet = Duration::ZERO;
    bench.expect("1\n2\n3\n|");
}

#[test]
fn files_that_had_the_name_between_two_looks_are_found_in_order() {
    let mut bench = Bench::new("f", From::Beginning);
    bench.append("f", "0\n");
    bench.expect("0\n");
    for round in 1..6 {
        bench.append("f", &format!("{round}\n"));
        for number in (1..round).rev() {
            bench.rename(&format!("f.{number}"), &format!("f.{}", number + 1));
        }
        bench.rename("f", "f.1");
    }
    bench.append("f", "6\n");
    bench.expect("0\n1\n2\n3\n4\n5\n6\n");
    assert_eq!(bench.of.len(), 6);
    // Renamed to what no rotation would name, and no new file.
    bench.append("f", "7\n");
    bench.rename("f", "x");
    bench.append("f", "8\n");
    bench.rename("f", "y");
    bench.expect("0\n1\n2\n3\n4\n5\n6\n7\n8\n");
}

#[test]
fn of_many_rotated_files_those_read_are_given_up_first() {
    let mut bench = Bench::new("f", From::Beginning);
    bench.step();
    let mut want = String::new();
    for round in 0..40 {
        bench.append("f", &format!("{round}\n"));
        bench.rename("f", &format!("f.{round}"));
        want.extend([round.to_string().as_str(), "\n"]);
    }
    bench.step();
    assert!(bench.text.starts_with(&want), "{}", bench.text);
    assert_eq!(bench.files.streams.len(), MAX_ROTATED);
}

#[test]
fn events_that_were_lost_are_made_up_for() {
    let mut bench = Bench::new("f", From::Beginning);
    bench.append("f.2", "old\n");
    let file = File::options().append(true).open(bench.path("f.2"));
    let before = std::time::SystemTime::now() - Duration::from_secs(9);
    file.unwrap().set_modified(before).unwrap();
    bench.append("f", "1\n");
    bench.expect("1\n");
    let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    for number in 0..=limit.trim().parse::<usize>().unwrap() / 2 {
        let name = format!("other{number}");
        bench.append(&name, "");
        fs::remove_file(bench.path(&name)).unwrap();
    }
    bench.append("f", "2\n");
    bench.rename("f.2", "f.9");
    bench.rename("f", "f.1");
    bench.append("f", "3\n");
    bench.rename("f.1", "f.2");
    bench.rename("f", "f.1");
    bench.append("f", "4\n");
    bench.expect("1\n2\n3\n4\n");
}

#[test]
fn the_logs_of_a_directory_are_followed() {
    let dir = tempfile::tempdir().unwrap();
    append(&dir.path().join("a.log"), "a\n");
    for other in ["a.log.1", "b.gz", ".hidden"] {
        append(&dir.path().join(other), "no\n");
    }
    let mut bench = Bench::of(dir, "", From::Beginning);
    fs::create_dir(bench.path("sub")).unwrap();
    bench.expect("a\n");
    bench.append("b.log", "b\n");
    bench.expect("a\nb\n");
    // Renamed within: no new file, until it has settled there.
    bench.rename("b.log", "c.log");
    bench.append("c.log", "c\n");
    bench.expect("a\nb\nc\n");
    bench.files.quiet = Duration::ZERO;
    bench.step();
    bench.append("c.log", "d\n");
    bench.expect("a\nb\nc\nd\n");
    let stream = *bench.files.streams.keys().last().unwrap();
    assert_eq!(bench.files.name(stream), bench.path("c.log"));
    // Come and gone between two looks.
    bench.append("e.log", "e\n");
    bench.rename("e.log", "e.log.1");
    bench.expect("a\nb\nc\nd\ne\n|");
}

#[test]
fn nothing_is_kept_of_names_that_come_and_go() {
    let mut bench = Bench::new("", From::Beginning);
    bench.files.quiet = Duration::ZERO;
    for number in 0..50 {
        let name = format!("job{number}");
        bench.append(&name, "1\n");
        bench.step();
        fs::remove_file(bench.path(&name)).unwrap();
        bench.step();
        bench.step();
    }
    assert_eq!(bench.text, "1\n|".repeat(50));
    assert!(bench.files.names.is_empty() && bench.files.streams.is_empty());
    assert!(bench.files.watched.is_empty() && bench.files.by_path.is_empty());
    assert_eq!(fs::read_dir(bench.dir.path()).unwrap().count(), 0);
}

#[test]
fn a_restart_goes_on_where_all_had_been_dealt_with() {
    let mut bench = Bench::new("f", From::End);
    bench.append("f", "1\npart");
    bench.files.look();
    let mut buffer = [0; 64];
    let piece = bench.files.read(&mut buffer).unwrap();
    bench.files.done(piece.stream, 4);
    let state = bench.path(".f.disco");
    assert_eq!(
        fs::metadata(&state).unwrap().permissions().mode() & 0o777,
        0o600
    );
    bench.append("f", "ial\n");
    let mut bench = bench.again("f", From::End);
    bench.expect("partial\n");
    // Rotated twice while nobody looked.
    bench.append("f", "2\n");
    bench.rename("f", "f.1");
    bench.append("f", "3\n");
    bench.rename("f.1", "f.2");
    bench.rename("f", "f.1");
    bench.append("f", "4\n");
    let mut bench = bench.again("f", From::End);
    bench.expect("2\n3\n4\n");
    // Copied and truncated.
    bench.append("f", "5\n");
    fs::copy(bench.path("f"), bench.path("f.copy")).unwrap();
    fs::write(bench.path("f"), "6\n").unwrap();
    let mut bench = bench.again("f", From::End);
    bench.expect("5\n|6\n");
    // Deleted and recreated, most likely with the same inode.
    fs::remove_file(bench.path("f")).unwrap();
    bench.append("f", "seven\n");
    let mut bench = bench.again("f", From::End);
    bench.expect("seven\n");
    // Damaged.
    fs::write(bench.path(".f.disco"), "nonsense").unwrap();
    let mut bench = bench.again("f", From::End);
    bench.append("f", "8\n");
    bench.expect("8\n");
}

#[test]
fn a_restart_knows_rotated_files_of_a_directory() {
    let mut bench = Bench::new("", From::End);
    bench.append("a.log", "1\n");
    bench.append("b.log", "b\n");
    bench.step();
    assert_eq!(bench.text.len(), 4);
    bench.append("a.log", "2\n");
    bench.rename("a.log", "a-old.log");
    bench.append("b.log", "c\n");
    bench.rename("b.log", "b.log.1");
    let mut bench = bench.again("", From::End);
    bench.expect("2\nc\n");
}

#[test]
fn what_sends_no_events_is_looked_at_by_time() {
    let dir = tempfile::tempdir().unwrap();
    let files = Files::with(&[dir.path().join("f")], From::Beginning, |_| true).unwrap();
    let (text, of) = (String::new(), BTreeMap::new());
    let mut bench = Bench {
        dir,
        files,
        text,
        of,
    };
    bench.append("f", "1\n");
    assert!(bench.files.due().is_some());
    bench.expect("1\n");
    let due = bench
        .files
        .due()
        .unwrap()
        .saturating_duration_since(Instant::now());
    assert!(due <= POLL, "{due:?}");
    bench.append("f", "2\n");
    bench.rename("f", "f.1");
    bench.append("f", "3\n");
    bench.expect("1\n2\n3\n");
}

#[test]
fn what_is_no_regular_file_is_told_once_and_does_not_hang() {
    let mut bench = Bench::new("f", From::Beginning);
    nix::unistd::mkfifo(&bench.path("f"), Mode::S_IRWXU).unwrap();
    bench.step();
    let told = bench.files.problems();
    assert!(
        told.len() == 1 && told[0].contains("no regular file"),
        "{told:?}"
    );
    fs::remove_file(bench.path("f")).unwrap();
    symlink("/dev/null", bench.path("f")).unwrap();
    bench.step();
    let told = bench.files.problems();
    assert!(
        told.len() == 1 && told[0].contains("leads to /dev/null"),
        "{told:?}"
    );
    bench.step();
    assert_eq!(bench.files.problems(), [""; 0]);
    fs::remove_file(bench.path("f")).unwrap();
    bench.append("f", "1\n");
    bench.expect("1\n");
}

#[test]
fn names_take_turns() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["a", "b"] {
        append(&dir.path().join(name), "123");
    }
    let mut files = Files::with(&[dir.path().to_owned()], From::Beginning, never).unwrap();
    let mut order = Vec::new();
    while let Some(piece) = files.read(&mut [0]) {
        order.push(piece.stream);
    }
    let (first, second) = (order[0], order[1]);
    assert_ne!(first, second);
    assert_eq!(order, [first, second, first, second, first, second]);
}

#[test]
fn no_more_than_so_many_files_are_followed() {
    let dir = tempfile::tempdir().unwrap();
    for number in 0..MAX_STREAMS + 10 {
        append(&dir.path().join(format!("f{number}")), "1");
    }
    let mut files = Files::with(&[dir.path().to_owned()], From::Beginning, never).unwrap();
    // With few descriptors there are fewer, and that is told as well.
    assert!(files.streams.len() <= MAX_STREAMS);
    assert!(!files.problems().is_empty());
}

/// As somebody who may not do everything, like root may: this thread only, which is the test's own.
fn as_nobody<T>(what: impl FnOnce() -> T) -> T {
    let root = nix::unistd::geteuid();
    if root.is_root() {
        nix::unistd::setfsuid(nix::unistd::Uid::from_raw(65_534));
    }
    let result = what();
    nix::unistd::setfsuid(root);
    result
}

fn permit(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn what_may_not_be_read_is_told_and_read_once_it_may() {
    let dir = tempfile::tempdir().unwrap();
    permit(dir.path(), 0o755);
    let path = dir.path().join("f");
    append(&path, "1\n");
    permit(&path, 0o200);
    let mut bench = as_nobody(|| Bench::of(dir, "f", From::Beginning));
    as_nobody(|| bench.step());
    let told = bench.files.problems();
    assert!(
        told.len() == 1
            && told[0].contains("/f cannot be read: ")
            && told[0].contains("; let the user"),
        "{told:?}"
    );
    permit(&path, 0o644);
    as_nobody(|| bench.expect("1\n"));
    let told = bench.files.problems();
    assert!(
        told.len() == 1 && told[0].contains("cannot be kept there"),
        "{told:?}"
    );
}

#[test]
fn what_has_no_place_kept_is_read_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    append(&dir.path().join("f"), "1\n");
    permit(dir.path(), 0o555);
    let mut bench = as_nobody(|| Bench::of(dir, "f", From::Beginning));
    as_nobody(|| bench.expect("1\n"));
    bench.append("f", "2\n");
    as_nobody(|| bench.expect("1\n2\n"));
    let told = bench.files.problems();
    assert!(
        told.len() == 1 && told[0].contains("cannot be kept there"),
        "{told:?}"
    );
    assert!(!bench.path(".f.disco").exists());
    let mut bench = as_nobody(|| bench.again("f", From::End));
    bench.append("f", "3\n");
    as_nobody(|| bench.expect("3\n"));
    permit(bench.dir.path(), 0o755);
}

#[test]
fn few_descriptors_are_held_for_places() {
    let mut bench = Bench::new("", From::Beginning);
    for round in 1..3 {
        for number in 0..2 * MAX_STATES {
            bench.append(&format!("f{number}"), "1\n");
        }
        bench.step();
        assert_eq!(bench.text, "1\n".repeat(round * 2 * MAX_STATES));
        let names = bench.files.names.values();
        assert_eq!(
            names.filter(|name| name.state.is_open()).count(),
            MAX_STATES
        );
    }
    let mut bench = bench.again("", From::Beginning);
    bench.append("f0", "2\n");
    bench.expect("2\n");
}

#[test]
fn a_lack_of_descriptors_is_told_once_with_its_limit() {
    let mut bench = Bench::new("f", From::Beginning);
    for name in ["f", "g"] {
        let error = io::Error::from_raw_os_error(libc::EMFILE);
        bench.files.tell_refused(Path::new(name), "read", &error);
    }
    let told = bench.files.problems();
    let (limit, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    assert!(
        told.len() == 1
            && told[0].contains(&format!("the limit of {limit} open files"))
            && told[0].contains("LimitNOFILE="),
        "{told:?}"
    );
    // Whoever is given up makes room.
    bench.append("f", "1\n");
    bench.expect("1\n");
    fs::remove_file(bench.path("f")).unwrap();
    bench.files.quiet = Duration::ZERO;
    bench.expect("1\n|");
    assert!(bench.files.is_over_limit && !bench.files.is_short);
}

#[test]
fn generations_of_the_same_time_are_read_in_order() {
    let mut bench = Bench::new("f", From::Beginning);
    bench.append("f", "0\n");
    bench.expect("0\n");
    let mut want = String::new();
    for round in 1..13 {
        for number in (1..round).rev() {
            bench.rename(&format!("f.{number}"), &format!("f.{}", number + 1));
        }
        bench.rename("f", "f.1");
        bench.append("f", &format!("{round}\n"));
        want.extend([round.to_string().as_str(), "\n"]);
    }
    let later = std::time::SystemTime::now() + Duration::from_secs(1);
    for number in 1..12 {
        let path = bench.path(&format!("f.{number}"));
        let file = File::options().append(true).open(path);
        file.unwrap().set_modified(later).unwrap();
    }
    let mut bench = bench.again("f", From::End);
    bench.expect(&want);
}

#[test]
fn a_copy_of_one_generation_does_not_stand_for_the_next() {
    let mut bench = Bench::new("f", From::Beginning);
    bench.append("f", "1\n");
    bench.step();
    bench.rename("f", "f.1");
    bench.append("f", "2\n");
    bench.expect("1\n2\n");
    bench.append("f.1", "late\n");
    fs::copy(bench.path("f.1"), bench.path("f.copy")).unwrap();
    fs::remove_file(bench.path("f.1")).unwrap();
    // By the clock of the filesystem, which is coarse, it is to be newer than the copy.
    std::thread::sleep(Duration::from_millis(20));
    bench.append("f", "3\n");
    bench.rename("f", "f.1");
    bench.append("f", "4\n");
    let mut bench = bench.again("f", From::End);
    bench.expect("late\n3\n4\n");
}

#[test]
fn what_had_the_name_after_a_truncated_file_is_no_copy_of_it() {
    let mut bench = Bench::new("f", From::Beginning);
    bench.append("f", "1\n");
    bench.expect("1\n");
    fs::copy(bench.path("f"), bench.path("f.copy")).unwrap();
    fs::write(bench.path("f"), "").unwrap();
    bench.append("f", "2\n");
    bench.rename("f", "f.1");
    // By the clock of the filesystem, which is coarse, it is to be newer than the copy.
    std::thread::sleep(Duration::from_millis(20));
    bench.append("f", "3\n");
    bench.rename("f.1", "f.2");
    bench.rename("f", "f.1");
    bench.append("f", "4\n");
    // It is the truncated file that is read before the events of the others are taken in.
    let stream = *bench.files.streams.keys().next().unwrap();
    bench.files.modified(stream);
    assert!(bench.files.read(&mut [0; 64]).is_some_and(|end| end.ended));
    bench.files.done(stream, 0);
    bench.expect("1\n2\n3\n4\n");
}

#[test]
fn what_was_opened_before_the_events_of_older_ones_comes_after_them() {
    let mut bench = Bench::new("f", From::Beginning);
    bench.append("f", "1\n");
    bench.expect("1\n");
    bench.rename("f", "a");
    bench.append("f", "2\n");
    bench.rename("f", "b");
    bench.append("f", "3\n");
    // The events are still to come.
    bench.files.scan(0, &Departed::new(), false);
    let mut moves = Moves::default();
    let files = &mut bench.files;
    files.drain(&mut moves, &mut BTreeSet::new(), &mut BTreeSet::new());
    // And these are, too.
    bench.rename("f", "c");
    bench.append("f", "4\n");
    let (departed, _) = bench.files.departed(&moves);
    bench.files.scan(0, &departed, false);
    bench.expect("1\n2\n3\n4\n");
}

#[test]
fn no_file_is_missed_while_names_move_on() {
    let mut bench = Bench::new("f", From::Beginning);
    let count = 12;
    for number in 1..=count {
        bench.append(&format!("f.{number}"), &number.to_string());
    }
    let dir = bench.dir.path().to_owned();
    let is_over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let rotate = || {
            let mut first = 1;
            while !is_over.load(Ordering::Relaxed) {
                for number in (first..first + count).rev() {
                    let path = |number| dir.join(format!("f.{number}"));
                    fs::rename(path(number), path(number + 1)).unwrap();
                }
                first += 1;
                std::thread::sleep(Duration::from_millis(1));
            }
        };
        scope.spawn(rotate);
        for _ in 0..100 {
            let of = OsStr::new("f");
            let is_wanted = |_: &Path, _: &Metadata| true;
            let is_kin = |name: &OsStr| names::is_kin(name, of);
            let mut files = bench.files.gather(&dir, is_kin, is_wanted);
            files.sort_by_key(|file| names::number(file.path.file_name().unwrap(), of));
            let texts = files.iter().map(|file| io::read_to_string(&file.file));
            let texts: Vec<_> = texts.map(Result::unwrap).collect();
            let want: Vec<_> = (1..=count).map(|number| number.to_string()).collect();
            if texts != want {
                is_over.store(true, Ordering::Relaxed);
            }
            assert_eq!(texts, want);
        }
        is_over.store(true, Ordering::Relaxed);
    });
}

/// Not the best of random numbers, but the same ones each time.
fn random(seed: &mut u64) -> u64 {
    *seed = seed
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    *seed >> 33
}

/// Writes numbered lines and rotates as it likes; never deletes what was not read, which `read` says.
fn write(path: &Path, mut seed: u64, lines: usize, read: &AtomicUsize) {
    let open = || {
        fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)
            .unwrap()
    };
    let with = |number: &str| PathBuf::from(format!("{}.{number}", path.display()));
    let mut file = open();
    let mut number = 0;
    let mut rotated = 0;
    let drain = |number: usize| {
        let start = Instant::now();
        while read.load(Ordering::Acquire) < number {
            assert!(start.elapsed() < DEADLINE, "{number} lines were not read");
            std::thread::yield_now();
        }
    };
    while number < lines {
        for _ in 0..random(&mut seed) % 20 {
            file.write_all(format!("{number}\n").as_bytes()).unwrap();
            number += 1;
        }
        match random(&mut seed) % 8 {
            0 => {
                // As logrotate does, with numbers that move on.
                for older in (1..=rotated).rev() {
                    fs::rename(with(&older.to_string()), with(&(older + 1).to_string())).unwrap();
                }
                rotated += 1;
                fs::rename(path, with("1")).unwrap();
                file.write_all(format!("{number}\n").as_bytes()).unwrap();
                number += 1;
                file = open();
            }
            1 => {
                drain(number);
                file.set_len(0).unwrap();
            }
            2 => {
                drain(number);
                fs::remove_file(path).unwrap();
                file = open();
            }
            3 => {
                // By its head the copy will be known.
                file.write_all(format!("{number}\n").as_bytes()).unwrap();
                number += 1;
                drain(number);
                for _ in 0..random(&mut seed) % 20 {
                    file.write_all(format!("{number}\n").as_bytes()).unwrap();
                    number += 1;
                }
                fs::copy(path, with("copy")).unwrap();
                file.set_len(0).unwrap();
                drain(number);
                fs::remove_file(with("copy")).unwrap();
            }
            _ => {}
        }
    }
}

#[test]
fn every_line_is_read_once_and_in_order_whatever_the_writer_does() {
    for seed in 0..12 {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let (read, lines) = (AtomicUsize::new(0), 1500);
        std::thread::scope(|scope| {
            let mut files =
                Files::with(std::slice::from_ref(&path), From::Beginning, never).unwrap();
            let writer = scope.spawn(|| write(&path, seed, lines, &read));
            let mut all_held: HashMap<usize, Vec<u8>> = HashMap::new();
            let mut next = 0;
            let mut dice = seed + 100;
            let start = Instant::now();
            while !writer.is_finished() || next < lines {
                assert!(start.elapsed() < 3 * DEADLINE, "seed {seed}: {next} lines");
                files.look();
                let mut buffer = [0; 100];
                while let Some(piece) = files.read(&mut buffer) {
                    let held = all_held.entry(piece.stream).or_default();
                    held.extend(&buffer[..piece.size]);
                    while let Some(end) = held.iter().position(|byte| *byte == b'\n') {
                        let line: Vec<_> = held.drain(..=end).collect();
                        assert_eq!(String::from_utf8(line).unwrap(), format!("{next}\n"));
                        next += 1;
                    }
                    assert!(!piece.ended || held.is_empty(), "{held:?}");
                    let unfinished = held.len();
                    files.done(piece.stream, unfinished);
                    read.store(next, Ordering::Release);
                    if random(&mut dice).is_multiple_of(500) {
                        // Restarted, so that what was held is read again.
                        all_held.clear();
                        files = Files::with(std::slice::from_ref(&path), From::Beginning, never)
                            .unwrap();
                        break;
                    }
                }
                wait(&files, Duration::from_millis(random(&mut dice) % 2));
            }
            assert_eq!(files.problems(), [""; 0]);
        });
    }
}
