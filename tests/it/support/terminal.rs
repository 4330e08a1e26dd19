//! Runs a command on a terminal of its own, types into it and reads its screen.

use super::proc::descendants;
use super::{DEADLINE, tail, try_wait_for};
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, pipe2};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// A command on a terminal. Dropping it kills the command.
pub(crate) struct Terminal {
    child: Option<Child>,
    keyboard: File,
    screen: Arc<Mutex<Vec<u8>>>,
    reader: Option<(OwnedFd, JoinHandle<()>)>,
}

impl Terminal {
    /// Runs `words` as the leader of a session whose controlling terminal is a new one of 80 × 24.
    pub(crate) fn run<W: AsRef<OsStr>>(words: impl IntoIterator<Item = W>) -> Self {
        // Not openpty, whose descriptors would get into what other tests start at the same time.
        let master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let slave = File::options()
            .read(true)
            .write(true)
            .custom_flags(OFlag::O_NOCTTY.bits())
            .open(ptsname_r(&master).unwrap())
            .unwrap();
        let stdio = || Stdio::from(slave.try_clone().unwrap());
        let sized = Command::new("stty")
            .args(["rows", "24", "cols", "80"])
            .stdin(stdio())
            .status()
            .unwrap();
        assert!(sized.success());
        let child = Command::new("setsid")
            .arg("--ctty")
            .args(words)
            .stdin(stdio())
            .stdout(stdio())
            .stderr(stdio())
            .spawn()
            .unwrap();

        let keyboard = File::from(OwnedFd::from(master));
        let mut output = keyboard.try_clone().unwrap();
        let screen = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&screen);
        let (until, stop) = pipe2(OFlag::O_CLOEXEC).unwrap();
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            loop {
                let wanted = PollFlags::POLLIN;
                let mut both =
                    [&output as &dyn AsFd, &until].map(|fd| PollFd::new(fd.as_fd(), wanted));
                poll(&mut both, PollTimeout::NONE).unwrap();
                let is_over = both[1].any().unwrap();
                if is_over {
                    return;
                }
                // Ends with EIO when the last process on the terminal closes it.
                match output.read(&mut buffer) {
                    Ok(count @ 1..) => sink.lock().unwrap().extend_from_slice(&buffer[..count]),
                    _ => return,
                }
            }
        });
        Self {
            child: Some(child),
            keyboard,
            screen,
            reader: Some((stop, reader)),
        }
    }

    /// Types; `"\x03"` is Ctrl-C.
    pub(crate) fn type_in(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Everything shown so far, lines ending in `\r\n`.
    pub(crate) fn screen(&self) -> String {
        String::from_utf8_lossy(&self.screen.lock().unwrap()).into_owned()
    }

    /// Waits until `needle` is on the screen.
    #[track_caller]
    pub(crate) fn wait_screen(&self, needle: &str) {
        let found = try_wait_for(DEADLINE, || self.screen().contains(needle).then_some(()));
        assert!(
            found.is_some(),
            "waited in vain for {needle:?} on the screen\n{}",
            tail(&self.screen())
        );
    }

    /// Closes the terminal, as a lost connection does. Returns the command, which is left to itself.
    pub(crate) fn hang_up(mut self) -> Child {
        let (stop, reader) = self.reader.take().unwrap();
        drop(stop);
        reader.join().unwrap();
        self.child.take().unwrap()
    }

    /// Reads the screen no further. Returns the terminal, still open, and the command.
    pub(crate) fn stop_reading(mut self) -> (File, Child) {
        let (stop, reader) = self.reader.take().unwrap();
        drop(stop);
        reader.join().unwrap();
        (
            self.keyboard.try_clone().unwrap(),
            self.child.take().unwrap(),
        )
    }

    /// Waits for the end of the command.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        match try_wait_for(DEADLINE, || {
            self.child.as_mut().unwrap().try_wait().unwrap()
        }) {
            Some(status) => status,
            None => panic!(
                "waited in vain for the end of the command\n{}",
                tail(&self.screen())
            ),
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // What a shell has started in the background outlives it, and is restarted for ever if disco
            // was told to. All ids are still theirs: nobody has reaped the first of them yet.
            let pid = Pid::from_raw(child.id().cast_signed());
            for descendant in descendants(pid) {
                let _ = kill(descendant, Signal::SIGKILL);
            }
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
