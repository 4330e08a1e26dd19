//! Where log lines go: stderr, and stdout for the levels that are sent there. Never drops for want of a
//! reader: who writes waits, and with it whoever fills the pipe.
//!
//! A pipe gets as much in one write as stays together among the writes of others (`PIPE_BUF`, pipe(7)),
//! so that no line is torn that fits. No descriptor is ever made not to wait: it is the command's, too.

use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use memchr::memrchr;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::fstat;
use nix::unistd::isatty;

use super::bell::Bell;
use crate::contract::logline::Level;
use crate::contract::logline::render::{self, Clock, Entry, Form};
use crate::sys;

/// What is collected before it is written: of little use to a pipe, much to a file.
const BATCH: usize = 64 << 10;

/// More memory than this is given back after a long line.
const KEPT: usize = 1 << 20;

/// How long a reader is waited for, and who wants to know whether it reads.
pub(super) struct Patience {
    /// As long as this does not ring: for ever.
    pub(super) bell: Bell,
    /// From then on: so long without a byte being read.
    pub(super) limit: Duration,
    /// Rises with every write.
    pub(super) progress: Arc<AtomicU64>,
}

/// One way out.
struct Lane {
    to: OwnedFd,
    buffer: Vec<u8>,
    /// Most bytes of one write.
    at_once: usize,
    /// Whether it is a terminal that could not be opened once more: no write to it can be kept from waiting.
    must_wait: bool,
    is_broken: bool,
}

/// All ways out.
pub(super) struct Output {
    form: Form,
    clock: Clock,
    lanes: Vec<Lane>,
    /// Which lane each level takes.
    by_level: [usize; Level::ALL.len()],
    patience: Patience,
    /// Lines that nobody took.
    pub(super) lost: u64,
}

impl Output {
    /// `others` are the levels that go to `stdout`, if that is there.
    pub(super) fn new(
        form: Form,
        stdout: Option<OwnedFd>,
        others: &[Level],
        patience: Patience,
    ) -> Result<Self, Errno> {
        let stderr = sys::stderr().try_clone_to_owned();
        let stderr =
            stderr.map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))?;
        let has_stdout = stdout.is_some();
        let lanes = std::iter::once(stderr)
            .chain(stdout)
            .map(Lane::new)
            .collect();
        Ok(Self {
            form,
            clock: Clock::default(),
            lanes,
            by_level: Level::ALL.map(|level| {
                let is_other = |other: &Level| other.plain() == level.plain();
                usize::from(has_stdout && others.iter().any(is_other))
            }),
            patience,
            lost: 0,
        })
    }

    /// Writes a line, sooner or later.
    pub(super) fn write(&mut self, entry: &Entry<'_>) {
        let lane = self
            .by_level
            .get(entry.level as usize)
            .copied()
            .unwrap_or(0);
        let Some(lane) = self.lanes.get_mut(lane) else {
            return;
        };
        render::write(&mut lane.buffer, self.form, &mut self.clock, entry);
        if lane.buffer.len() >= BATCH {
            self.lost += lane.flush(&self.patience);
        }
    }

    /// Writes what has been collected.
    pub(super) fn flush(&mut self) {
        for lane in &mut self.lanes {
            self.lost += lane.flush(&self.patience);
        }
    }
}

impl Lane {
    fn new(to: OwnedFd) -> Self {
        let is_file = fstat(&to).is_ok_and(|about| about.st_mode & libc::S_IFMT == libc::S_IFREG);
        let terminal = sys::reopen_terminal(to.as_fd());
        let must_wait = terminal.is_none() && isatty(&to).unwrap_or(false);
        let to = terminal.unwrap_or(to);
        Self {
            to,
            buffer: Vec::new(),
            at_once: if is_file { BATCH } else { libc::PIPE_BUF },
            must_wait,
            is_broken: false,
        }
    }

    /// Writes all of the buffer. Returns how many lines could not be written, ever.
    fn flush(&mut self, patience: &Patience) -> u64 {
        let (mut done, mut lost) = (0, 0);
        while let Some(rest) = self.buffer.get(done..).filter(|rest| !rest.is_empty()) {
            let piece = piece(rest, self.at_once);
            let to = self.to.as_fd();
            let is_lost = self.is_broken
                || match self.must_wait {
                    true => write_waiting(to, piece).is_err(),
                    false => write(to, piece, patience).is_err(),
                };
            if is_lost {
                self.is_broken = true;
                lost = lines(rest);
                break;
            }
            done += piece.len();
        }
        self.buffer.clear();
        if self.buffer.capacity() > KEPT {
            self.buffer.shrink_to(KEPT);
        }
        lost
    }
}

fn lines(text: &[u8]) -> u64 {
    u64::try_from(memchr::memchr_iter(b'\n', text).count()).unwrap_or(u64::MAX)
}

/// As many whole lines as go into `most` bytes, or the first one if not even that does.
fn piece(text: &[u8], most: usize) -> &[u8] {
    let head = text.get(..most).unwrap_or(text);
    let end = memrchr(b'\n', head).or_else(|| memchr::memchr(b'\n', text));
    end.and_then(|end| text.get(..=end)).unwrap_or(text)
}

/// Writes all of `bytes`, however long that takes; once the end is near, as long as somebody reads.
fn write(to: BorrowedFd<'_>, mut bytes: &[u8], patience: &Patience) -> Result<(), Errno> {
    let mut since: Option<Instant> = None;
    while !bytes.is_empty() {
        match sys::write_now(to.as_raw_fd(), bytes) {
            Ok(written) => {
                bytes = bytes.get(written..).unwrap_or_default();
                patience.progress.fetch_add(1, Ordering::Relaxed);
                since = None;
            }
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => {
                let left = match patience.bell.rings() {
                    false => None,
                    true => {
                        let since = *since.get_or_insert_with(Instant::now);
                        let left = patience.limit.saturating_sub(since.elapsed());
                        if left.is_zero() {
                            return Err(Errno::ETIMEDOUT);
                        }
                        Some(left)
                    }
                };
                wait(to, &patience.bell, left);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Writes all of `bytes`, and waits as long as that takes.
fn write_waiting(to: BorrowedFd<'_>, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match nix::unistd::write(to, bytes) {
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Waits for room, or, as long as it has not rung, for the bell.
fn wait(to: BorrowedFd<'_>, bell: &Bell, left: Option<Duration>) {
    let room = PollFd::new(to, PollFlags::POLLOUT);
    let ring = PollFd::new(bell.as_fd(), PollFlags::POLLIN);
    // Interrupted or refused, the write that follows tells.
    let _ = match left {
        None => poll(&mut [room, ring], PollTimeout::NONE),
        Some(left) => {
            let limit = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            poll(&mut [room], limit)
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patience(limit: Duration) -> Patience {
        Patience {
            bell: Bell::new().unwrap(),
            limit,
            progress: Arc::default(),
        }
    }

    #[test]
    fn lines_stay_together_as_far_as_they_fit() {
        for (text, most, expected) in [
            ("a\nb\n", 9, "a\nb\n"),
            ("a\nbcd\n", 4, "a\n"),
            ("abcdef\ng\n", 4, "abcdef\n"),
            ("a\nb\nc", 4, "a\nb\n"),
            ("abc", 2, "abc"),
        ] {
            assert_eq!(
                piece(text.as_bytes(), most),
                expected.as_bytes(),
                "{text:?}"
            );
        }
    }

    #[test]
    fn a_slow_reader_is_waited_for_and_gets_everything() {
        let (reader, writer) = std::io::pipe().unwrap();
        let patience = patience(Duration::ZERO);
        let text: Vec<u8> = (0..200_000)
            .flat_map(|number: u32| format!("{number}\n").into_bytes())
            .collect();
        let expected = text.clone();
        let thread = std::thread::spawn(move || {
            let mut got = Vec::new();
            std::io::Read::read_to_end(&mut { reader }, &mut got).unwrap();
            got
        });
        let mut lane = Lane::new(writer.into());
        lane.buffer = text;
        assert_eq!(lane.flush(&patience), 0);
        assert!(patience.progress.load(Ordering::Relaxed) > 1);
        drop(lane);
        assert!(thread.join().unwrap() == expected);
    }

    #[test]
    fn at_the_end_nobody_is_waited_for_who_does_not_read() {
        let (_reader, writer) = std::io::pipe().unwrap();
        let patience = patience(Duration::from_millis(10));
        patience.bell.ring();
        let mut lane = Lane::new(writer.into());
        lane.buffer = b"x\n".repeat(100_000);
        let lost = lane.flush(&patience);
        assert!(lost > 0 && lost < 100_000, "{lost}");
        lane.buffer = b"x\n".to_vec();
        assert_eq!(lane.flush(&patience), 1, "at once from then on");
    }

    #[test]
    fn a_reader_that_is_gone_costs_its_lines_and_no_time() {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut lane = Lane::new(writer.into());
        lane.buffer = b"x\ny\n".to_vec();
        assert_eq!(lane.flush(&patience(Duration::from_secs(60))), 2);
    }
}
