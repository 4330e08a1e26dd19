//! One server process of a test: started with its output in a file, frozen, thawed, killed.

use super::{DEADLINE, tail, try_wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// A running server. Dropping it kills it.
pub(super) struct Server {
    child: Child,
    log: PathBuf,
}

impl Server {
    /// Starts `command` with its output in the file `log`.
    pub(super) fn spawn(mut command: Command, log: PathBuf) -> Self {
        let output = File::create(&log).unwrap();
        command
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output);
        let child = command.spawn().unwrap_or_else(|error| {
            panic!(
                "cannot start {:?}: {error}; `tests/all.sh` installs what is missing",
                command.get_program()
            )
        });
        Self { child, log }
    }

    /// Waits until the server answers as `ready` wants it. `None` if another process had one of its
    /// ports.
    ///
    /// # Panics
    /// If the server ends for another reason, or is not ready in time.
    pub(super) fn ready(mut self, mut ready: impl FnMut() -> bool) -> Option<Self> {
        let answer = try_wait_for(DEADLINE, || {
            if self.child.try_wait().unwrap().is_some() {
                return Some(false);
            }
            ready().then_some(true)
        });
        match answer {
            Some(true) => Some(self),
            Some(false) if self.log().contains("address already in use") => None,
            Some(false) => panic!("a server ended while starting:\n{}", tail(&self.log())),
            None => panic!(
                "a server was not ready within {DEADLINE:?}:\n{}",
                tail(&self.log())
            ),
        }
    }

    pub(super) fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap()).into_owned()
    }

    /// Sends it a signal; SIGSTOP freezes it and SIGCONT thaws it.
    pub(super) fn signal(&self, signal: Signal) {
        // Not reaped before `drop`, so that the id is still its own.
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts something anew while other processes are faster to take its ports.
pub(super) fn retry_on_clash<T>(mut start: impl FnMut() -> Option<T>) -> T {
    (0..5)
        .find_map(|_| start())
        .expect("five times in a row another process had the ports of a server")
}
