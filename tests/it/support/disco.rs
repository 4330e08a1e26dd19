//! Runs disco, as a child of the test or as PID 1 of a namespace, and watches what it says and how
//! it ends.

use super::proc::{children, descendants};
use super::{DEADLINE, Output, disco_bin, tail, try_wait_for};
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::{Pid, geteuid};
use std::ffi::{OsStr, OsString};
use std::io::{Read, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a process that disco left behind may hold disco's output open before it is read no
/// further.
const LEFT_BEHIND: Duration = Duration::from_millis(500);

/// What unshare says before it ends with code 1 because its child was killed: it wants to die of
/// the same signal, and fails to unblock this one first (util-linux 2.38).
const UNSHARE_KILLED: &str = "unshare: sigprocmask unblock failed: Invalid argument\n";

/// A disco to be run. Its environment is `PATH` and what is given here; its input is empty unless
/// given.
#[derive(Clone, Debug)]
pub(crate) struct Disco {
    bin: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    cwd: Option<PathBuf>,
    stdin: Vec<u8>,
    closed: Vec<u8>,
    pid1: bool,
    inside: Vec<OsString>,
}

impl Disco {
    pub(crate) fn new() -> Self {
        Self {
            bin: disco_bin().to_owned(),
            args: Vec::new(),
            env: Vec::new(),
            cwd: None,
            stdin: Vec::new(),
            closed: Vec::new(),
            pid1: false,
            inside: Vec::new(),
        }
    }

    /// Another program in place of this build's disco.
    pub(crate) fn bin(mut self, path: impl Into<PathBuf>) -> Self {
        self.bin = path.into();
        self
    }

    /// `DISCO_CFG`.
    pub(crate) fn cfg(self, settings: impl AsRef<OsStr>) -> Self {
        self.env("DISCO_CFG", settings)
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.into(), value.as_ref().to_owned()));
        self
    }

    pub(crate) fn arg(mut self, word: impl AsRef<OsStr>) -> Self {
        self.args.push(word.as_ref().to_owned());
        self
    }

    pub(crate) fn args<W: AsRef<OsStr>>(self, words: impl IntoIterator<Item = W>) -> Self {
        words.into_iter().fold(self, Self::arg)
    }

    pub(crate) fn cwd(mut self, dir: &Path) -> Self {
        self.cwd = Some(dir.to_owned());
        self
    }

    pub(crate) fn stdin(mut self, bytes: &[u8]) -> Self {
        self.stdin = bytes.to_owned();
        self
    }

    /// Starts it with file descriptor `fd` (0 to 9) closed.
    pub(crate) fn closed_fd(mut self, fd: u8) -> Self {
        self.closed.push(fd);
        self
    }

    /// Runs it as PID 1 of a new PID namespace with its own `/proc`.
    pub(crate) fn pid1(mut self) -> Self {
        self.pid1 = true;
        self
    }

    /// Runs it through a program that changes the world and then executes the words after its own:
    /// `setpriv --reuid=1`, `prlimit --nofile=8`. As PID 1, that is inside of the namespace.
    pub(crate) fn inside<W: AsRef<OsStr>>(mut self, words: impl IntoIterator<Item = W>) -> Self {
        let words = words.into_iter().map(|word| word.as_ref().to_owned());
        self.inside.extend(words);
        self
    }

    /// The same by a line of bash, which ends by executing `"$@"`.
    pub(crate) fn prepared(self, script: &str) -> Self {
        let script = format!("set -e; {script}; exec \"$@\"");
        self.inside(["bash", "-c", &script, "bash"])
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// If it does not end within [`DEADLINE`].
    pub(crate) fn run(&self) -> Output {
        self.spawn().wait()
    }

    pub(crate) fn spawn(&self) -> Running {
        let words = self.words();
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .envs(self.environment())
            .stdin(if self.stdin.is_empty() {
                Stdio::null()
            } else {
                Stdio::piped()
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        if let Some(dir) = &self.cwd {
            command.current_dir(dir);
        }
        let started = Instant::now();
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {words:?}: {error}"));
        if let Some(mut stdin) = child.stdin.take() {
            let bytes = self.stdin.clone();
            // A thread, since a disco that does not read would block; that is also why its error is
            // no news.
            std::thread::spawn(move || stdin.write_all(&bytes));
        }
        Running {
            stdout: Capture::of(child.stdout.take().unwrap()),
            stderr: Capture::of(child.stderr.take().unwrap()),
            child,
            pid1: self.pid1,
            inside: (!self.inside.is_empty())
                .then(|| file_of(&self.bin))
                .flatten(),
            started,
        }
    }

    /// What is given here. As PID 1 without a status socket and without pipes in `/data`, unless they are
    /// asked for: their directories are those of the host, and so of all tests at once.
    fn environment(&self) -> Vec<(OsString, OsString)> {
        let mut all = self.env.clone();
        let is_own = self.bin.file_name() == disco_bin().file_name();
        if !self.pid1 || !is_own {
            return all;
        }
        let given = all.iter().rposition(|(name, _)| name == "DISCO_CFG");
        let given = given.unwrap_or_else(|| {
            all.push(("DISCO_CFG".into(), OsString::new()));
            all.len() - 1
        });
        let (_, cfg) = &mut all[given];
        for key in ["disco.status", "disco.data"] {
            if !cfg.to_string_lossy().contains(key) {
                cfg.push(format!("|{key}=off"));
            }
        }
        all
    }

    /// The command line, wrappers included.
    fn words(&self) -> Vec<OsString> {
        let mut words: Vec<OsString> = Vec::new();
        if !self.closed.is_empty() {
            // std can redirect a descriptor but not close it; a shell can, and then becomes the
            // next word.
            let closed: String = self.closed.iter().map(|fd| format!(" {fd}>&-")).collect();
            words.extend([
                "sh".into(),
                "-c".into(),
                format!("exec \"$@\"{closed}").into(),
                "sh".into(),
            ]);
        }
        if self.pid1 {
            words.extend(
                ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"].map(OsString::from),
            );
            if !geteuid().is_root() {
                words.extend(["--user", "--map-root-user"].map(OsString::from));
            }
        }
        words.extend(self.inside.iter().cloned());
        words.push(self.bin.clone().into());
        words.extend(self.args.iter().cloned());
        words
    }
}

/// A file, whatever its path: device and inode.
type File = (u64, u64);

fn file_of(path: &Path) -> Option<File> {
    use std::os::unix::fs::MetadataExt as _;
    let about = std::fs::metadata(path).ok()?;
    Some((about.dev(), about.ino()))
}

/// A disco that was started. Dropping it kills it and what came from it.
pub(crate) struct Running {
    child: Child,
    pid1: bool,
    /// What the process executes once the programs before it are done.
    inside: Option<File>,
    started: Instant,
    stdout: Capture,
    stderr: Capture,
}

impl Running {
    /// The process id of disco itself, as seen from the test.
    ///
    /// # Panics
    /// For a PID 1 that has ended.
    pub(crate) fn pid(&self) -> Pid {
        let outer = pid_of(&self.child);
        if self.inside.is_some() {
            let image = |pid: &Pid| file_of(Path::new(&format!("/proc/{pid}/exe")));
            return self.wait_for("disco in its world", || {
                let first = if self.pid1 {
                    *children(outer).first()?
                } else {
                    outer
                };
                (image(&first) == self.inside).then_some(first)
            });
        }
        if !self.pid1 {
            return outer;
        }
        let image = |pid: Pid| std::fs::read_link(format!("/proc/{pid}/exe")).ok();
        self.wait_for("disco in its namespace", || {
            // Until it executes disco the child is a copy of unshare, where a signal would be lost.
            let inner = *children(outer).first()?;
            (image(inner)? != image(outer)?).then_some(inner)
        })
    }

    /// Sends a signal to disco itself.
    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// The one child of disco that has this name (`comm`), its command for example.
    #[track_caller]
    pub(crate) fn child(&self, name: &str) -> Pid {
        let init = self.pid();
        self.wait_for(&format!("a child called {name}"), || {
            let mut all = children(init).into_iter();
            all.find(|pid| super::proc::file(*pid, "comm").trim_end() == name)
        })
    }

    pub(crate) fn is_running(&self) -> bool {
        // Without reaping: the process id must stay its own until `drop` has used it for the last
        // time.
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        waitid(Id::Pid(pid_of(&self.child)), flags).unwrap() == WaitStatus::StillAlive
    }

    pub(crate) fn stdout_so_far(&self) -> String {
        self.stdout.text()
    }

    pub(crate) fn stderr_so_far(&self) -> String {
        self.stderr.text()
    }

    /// Waits until `needle` is on stdout.
    #[track_caller]
    pub(crate) fn wait_stdout(&self, needle: &str) {
        self.wait_text(&self.stdout, needle);
    }

    /// Waits until `needle` is on stderr.
    #[track_caller]
    pub(crate) fn wait_stderr(&self, needle: &str) {
        self.wait_text(&self.stderr, needle);
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// If it does not end within [`DEADLINE`].
    #[track_caller]
    pub(crate) fn wait(mut self) -> Output {
        self.wait_for("disco to end", || (!self.is_running()).then_some(()));
        let elapsed = self.started.elapsed();
        try_wait_for(LEFT_BEHIND, || {
            (self.stdout.is_complete() && self.stderr.is_complete()).then_some(())
        });
        let (stdout, stderr) = (self.stdout.bytes(), self.stderr.bytes());
        let mut output = Output::new(self.end(), &stdout, &stderr, elapsed);
        if self.pid1 && output.stderr.ends_with(UNSHARE_KILLED) {
            output
                .stderr
                .truncate(output.stderr.len() - UNSHARE_KILLED.len());
            (output.code, output.signal) = (None, Some(Signal::SIGKILL as i32));
        }
        output
    }

    #[track_caller]
    fn wait_text(&self, capture: &Capture, needle: &str) {
        self.wait_for(&format!("{needle:?}"), || {
            // In this order, so that the last words of a process that ends in between are not
            // missed.
            let complete = capture.is_complete();
            let found = capture.text().contains(needle);
            assert!(
                found || !complete,
                "disco ended without saying {needle:?}\n{}",
                self.told()
            );
            found.then_some(())
        });
    }

    #[track_caller]
    fn wait_for<T>(&self, what: &str, ask: impl FnMut() -> Option<T>) -> T {
        match try_wait_for(DEADLINE, ask) {
            Some(answer) => answer,
            None => panic!("waited in vain for {what} ({DEADLINE:?})\n{}", self.told()),
        }
    }

    fn told(&self) -> String {
        format!(
            "--- stdout\n{}\n--- stderr\n{}\n---",
            tail(&self.stdout.text()),
            tail(&self.stderr.text())
        )
    }

    /// Kills what there is of it and reaps it.
    fn end(&mut self) -> std::process::ExitStatus {
        // disco gives handlers and commands process groups of their own, so that its own is not
        // enough. All ids are still theirs: nobody has reaped the first of them yet.
        let pid = pid_of(&self.child);
        let descendants = descendants(pid);
        let _ = killpg(pid, Signal::SIGKILL);
        for descendant in descendants {
            let _ = kill(descendant, Signal::SIGKILL);
        }
        self.child.wait().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // After `wait` there is no such child any more.
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            self.end();
        }
    }
}

/// A pipe that a thread reads to its end.
struct Capture {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl Capture {
    fn of(mut pipe: impl Read + Send + 'static) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&bytes);
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 65536];
            while let Ok(count @ 1..) = pipe.read(&mut buffer) {
                sink.lock().unwrap().extend_from_slice(&buffer[..count]);
            }
        });
        Self { bytes, reader }
    }

    fn bytes(&self) -> Vec<u8> {
        self.bytes.lock().unwrap().clone()
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }

    fn is_complete(&self) -> bool {
        self.reader.is_finished()
    }
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_raw(child.id().cast_signed())
}
