//! SIGTERM at moments swept over the start of the init, from exec on: how many are lost, as an
//! ordinary child and as PID 1, for whom the kernel drops what is neither blocked nor handled yet.

use crate::support::{DEADLINE, Sandbox};
use crate::tools::{Subject, children, on_path, table};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

const SWEEP: Duration = Duration::from_micros(1500);
const STARTS_AS_CHILD: u32 = 2000;
const STARTS_AS_PID_1: u32 = 150;
/// A signal is lost on an init that still runs so much later.
const LOST: Duration = Duration::from_millis(400);
/// Most have ended by then; the others are looked at again once [`LOST`] is over.
const SOON: Duration = Duration::from_millis(10);
/// What every init runs. The signal ends it.
const COMMAND: &[&str] = &["sleep", "1000"];
const UNSHARE: &[&str] = &["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"];

pub(crate) fn run() {
    let subjects: Vec<Subject> = Subject::peers()
        .chain([Subject::disco("disco", "disco.mode=supervise")])
        .collect();
    let row = |subject: &Subject| {
        let child = sweep(subject, &[], STARTS_AS_CHILD);
        let pid_1 = [(); 2].map(|()| sweep(subject, UNSHARE, STARTS_AS_PID_1));
        let deaf = pid_1.map(|lost| (SWEEP * lost / STARTS_AS_PID_1).as_micros());
        vec![
            subject.name.to_owned(),
            child.to_string(),
            format!("{}, {}", pid_1[0], pid_1[1]),
            format!("{}, {}", deaf[0], deaf[1]),
            calls(subject).map_or_else(|| "-".to_owned(), |calls| calls.to_string()),
        ]
    };
    let rows: Vec<_> = subjects.iter().map(row).collect();
    let head = [
        "",
        &format!("lost of {STARTS_AS_CHILD}, as a child"),
        &format!("of {STARTS_AS_PID_1}, as PID 1, twice"),
        "deaf µs",
        "calls before the mask",
    ];
    table(
        &format!("early: SIGTERM from 0 to {SWEEP:?} after exec"),
        &head,
        &rows,
    );
}

/// How many signals are lost over `starts` of the init.
fn sweep(subject: &Subject, wrapper: &[&str], starts: u32) -> u32 {
    let sandbox = Sandbox::new();
    let gate = Gate::new(&sandbox);
    let mut late = Vec::new();
    for start in 0..starts {
        let started = gate.start(subject, wrapper);
        let moment = started.executed + SWEEP * start / starts;
        while Instant::now() < moment {
            std::hint::spin_loop();
        }
        // ESRCH: it could not be executed, which the wait would take for an end by the signal.
        kill(started.pid, Signal::SIGTERM).unwrap();
        let sent = Instant::now();
        late.extend(started.unless_ended(sent + SOON).map(|it| (it, sent)));
    }
    let lost = late
        .into_iter()
        .filter_map(|(it, sent)| it.unless_ended(sent + LOST));
    lost.map(Started::kill).fold(0, |count, ()| count + 1)
}

/// Where the inits are started, and their exec is seen.
struct Gate {
    path: PathBuf,
    reader: File,
}

/// An init on its way.
struct Started {
    /// The init, or the program that made its namespace and ends with it.
    child: Child,
    pid: Pid,
    executed: Instant,
}

impl Gate {
    fn new(sandbox: &Sandbox) -> Self {
        let path = sandbox.path("gate");
        mkfifo(&path, Mode::S_IRWXU).unwrap();
        let reader = File::options()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(&path)
            .unwrap();
        Self { path, reader }
    }

    /// Starts the init, and returns at its exec.
    fn start(&self, subject: &Subject, wrapper: &[&str]) -> Started {
        let program = std::env::current_exe().unwrap();
        let starter = [
            program.to_str().unwrap(),
            "--as-starter",
            self.path.to_str().unwrap(),
        ];
        let mut child = subject
            .command(&[wrapper, &starter].concat(), COMMAND)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        self.spin(1);
        let outer = Pid::from_raw(child.id().cast_signed());
        let pid = match wrapper {
            [] => outer,
            _ => children(outer)[0],
        };
        child.stdin.take().unwrap().write_all(b"\n").unwrap();
        self.spin(0);
        Started {
            child,
            pid,
            executed: Instant::now(),
        }
    }

    /// Reads until so many bytes come; none is the end. Spins, since to be woken takes as long as an
    /// init needs to start.
    fn spin(&self, count: usize) {
        let end = Instant::now() + DEADLINE;
        while (&self.reader).read(&mut [0; 8]).ok() != Some(count) {
            assert!(Instant::now() < end, "waited in vain for a start");
        }
    }
}

impl Started {
    /// Waits for its end, and returns it if there is none until then.
    fn unless_ended(mut self, until: Instant) -> Option<Self> {
        loop {
            // The clock first, so that it is asked once after the time is up.
            let late = Instant::now() >= until;
            if self.child.try_wait().unwrap().is_some() {
                return None;
            }
            if late {
                return Some(self);
            }
            std::thread::sleep(Duration::from_micros(50));
        }
    }

    fn kill(mut self) {
        for pid in children(self.pid) {
            let _ = kill(pid, Signal::SIGKILL);
        }
        let _ = kill(self.pid, Signal::SIGKILL);
        self.child.wait().unwrap();
    }
}

/// How many system calls the init makes before the first that blocks signals; nothing without
/// strace.
fn calls(subject: &Subject) -> Option<usize> {
    on_path("strace")?;
    let sandbox = Sandbox::new();
    let trace = sandbox.path("trace");
    let wrapper = ["strace", "-o", trace.to_str()?];
    let status = subject.command(&wrapper, &["true"]).status().unwrap();
    assert!(status.success(), "strace {}: {status}", subject.name);
    before_the_mask(&trace)
}

/// Counts the lines of a trace between exec and the mask, which names the signals in brackets.
fn before_the_mask(trace: &Path) -> Option<usize> {
    let text = std::fs::read_to_string(trace).unwrap();
    let calls = text.lines().skip_while(|line| !line.ends_with(" = 0"));
    let blocks = |line: &str| {
        let how = line.strip_prefix("rt_sigprocmask(")?;
        let set = how
            .strip_prefix("SIG_BLOCK, ")
            .or_else(|| how.strip_prefix("SIG_SETMASK, "))?;
        Some(!set.starts_with("NULL") && !set.starts_with("[],"))
    };
    calls.skip(1).position(|line| blocks(line) == Some(true))
}
