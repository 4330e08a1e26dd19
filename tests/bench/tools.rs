//! Subjects, tables, numbers.

use crate::support::{DEADLINE, Disco, Sandbox, dist_bin};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Instant, SystemTime};

/// The inits that disco replaces, as they are put before a command.
pub(crate) const PEERS: &[&[&str]] = &[
    &["tini-static", "-s", "--"],
    &["tini", "-s", "--"],
    &["dumb-init", "--"],
    &["catatonit", "--"],
];

/// Something to be measured: what it is called, and the words before the command.
#[derive(Clone)]
pub(crate) struct Subject {
    pub(crate) name: &'static str,
    words: Vec<PathBuf>,
    /// `DISCO_CFG`, for disco.
    cfg: Option<String>,
}

impl Subject {
    /// The command itself.
    pub(crate) fn bare(name: &'static str) -> Self {
        Self {
            name,
            words: Vec::new(),
            cfg: None,
        }
    }

    pub(crate) fn disco(name: &'static str, cfg: impl Into<String>) -> Self {
        Self {
            name,
            words: vec![dist_bin()],
            cfg: Some(cfg.into()).filter(|cfg| !cfg.is_empty()),
        }
    }

    /// From a copy of the program, which shares no memory with other processes of it.
    pub(crate) fn copied(mut self, to: PathBuf) -> Self {
        std::fs::copy(&self.words[0], &to).unwrap();
        self.words[0] = to;
        self
    }

    /// Those that are installed.
    pub(crate) fn peers() -> impl Iterator<Item = Self> {
        let installed = PEERS.iter().filter(|peer| on_path(peer[0]).is_some());
        installed.map(|peer| Self {
            name: peer[0],
            words: peer.iter().map(PathBuf::from).collect(),
            cfg: None,
        })
    }

    /// It with its command, as a process to be run over and over, silently.
    pub(crate) fn command(&self, wrapper: &[&str], program: &[&str]) -> Command {
        let wrapper = wrapper.iter().map(PathBuf::from);
        let program = program.iter().map(PathBuf::from);
        let mut words = wrapper.chain(self.words.iter().cloned()).chain(program);
        let mut command = Command::new(words.next().unwrap());
        command
            .args(words)
            .envs(self.cfg.iter().map(|cfg| ("DISCO_CFG", cfg)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    /// It with its command, as the tests run disco.
    pub(crate) fn harness(&self, program: &[&str]) -> Disco {
        let words: Vec<PathBuf> = self
            .words
            .iter()
            .cloned()
            .chain(program.iter().map(PathBuf::from))
            .collect();
        let harness = Disco::new().bin(&words[0]).args(&words[1..]);
        match &self.cfg {
            Some(cfg) => harness.cfg(cfg),
            None => harness,
        }
    }
}

/// Writes an interface `bench` with a number `n`, and a rule for it that runs `handler`, a YAML list.
/// Returns the settings that name them.
pub(crate) fn layer(sandbox: &Sandbox, handler: &str, rule: &str) -> String {
    sandbox.schema(
        "bench",
        r#"{"name": "bench", "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}"#,
    );
    sandbox.rules(&format!(
        "format: 2\nrules: [{{when: bench, do: {handler}{rule}}}]\n"
    ));
    format!("disco.path={}", sandbox.dir().display())
}

/// A pipe with a name, for what runs inside of the subjects.
pub(crate) struct Fifo {
    path: PathBuf,
    reader: BufReader<File>,
}

impl Fifo {
    pub(crate) fn new(sandbox: &Sandbox, name: &str) -> Self {
        let path = sandbox.path(name);
        mkfifo(&path, Mode::S_IRWXU).unwrap();
        // Open on both ends, so that nobody has to wait for the other.
        let file = File::options().read(true).write(true).open(&path).unwrap();
        Self {
            path,
            reader: BufReader::new(file),
        }
    }

    pub(crate) fn path(&self) -> &str {
        self.path.to_str().unwrap()
    }

    pub(crate) fn line(&mut self) -> String {
        if self.reader.buffer().is_empty() {
            let mut fds = [PollFd::new(
                self.reader.get_ref().as_fd(),
                PollFlags::POLLIN,
            )];
            let limit = PollTimeout::try_from(DEADLINE).unwrap();
            assert_eq!(
                poll(&mut fds, limit),
                Ok(1),
                "waited in vain at {}",
                self.path()
            );
        }
        let mut line = String::new();
        self.reader.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// A number and the time at which it was written.
    pub(crate) fn stamp(&mut self) -> (u64, u128) {
        let line = self.line();
        let (number, time) = line.split_once(' ').unwrap();
        (number.parse().unwrap(), time.parse().unwrap())
    }

    pub(crate) fn send(&self, line: &str) {
        writeln!(self.reader.get_ref(), "{line}").unwrap();
    }
}

/// Nanoseconds of the clock that all processes share.
pub(crate) fn now() -> u128 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default().as_nanos()
}

/// How long a command takes, in milliseconds.
pub(crate) fn time(command: &mut Command) -> f64 {
    let started = Instant::now();
    let status = command.status().unwrap();
    let elapsed = started.elapsed().as_secs_f64() * 1e3;
    assert!(status.success(), "{command:?}: {status}");
    elapsed
}

/// A quantile in percent: 50 is the median.
pub(crate) fn quantile(values: &[f64], percent: usize) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[(sorted.len() - 1) * percent / 100]
}

/// Measures every subject in every round, and returns what there is of each.
pub(crate) fn interleaved<S, V>(
    subjects: &[S],
    rounds: usize,
    mut measure: impl FnMut(&S) -> Vec<V>,
) -> Vec<Vec<V>> {
    let mut all: Vec<Vec<V>> = subjects.iter().map(|_| Vec::new()).collect();
    for _ in 0..rounds {
        for (values, subject) in all.iter_mut().zip(subjects) {
            values.extend(measure(subject));
        }
    }
    all
}

pub(crate) fn ratio(value: f64, base: Option<f64>) -> String {
    base.map_or_else(|| "-".to_owned(), |base| format!("{:.2}", value / base))
}

/// Prints a table, the first column to the left.
pub(crate) fn table(title: &str, head: &[&str], rows: &[Vec<String>]) {
    println!("\n{title}");
    let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
    let lines = || std::iter::once(&head).chain(rows);
    let width = |column: usize| {
        lines()
            .map(|line| line[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    for line in lines() {
        print!("  {:<1$}", line[0], width(0));
        for (column, cell) in line.iter().enumerate().skip(1) {
            print!("  {cell:>0$}", width(column));
        }
        println!();
    }
}

pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}

pub(crate) fn cache() -> String {
    let home = std::env::var("HOME").unwrap_or_default();
    let cache = std::env::var("XDG_CACHE_HOME").unwrap_or_else(|_| format!("{home}/.cache"));
    cache + "/layer-cake"
}

pub(crate) fn has_consul() -> bool {
    std::env::var_os("CONSUL_BIN").is_some_and(|bin| Path::new(&bin).is_file())
}

/// A file of `/proc/PID`.
pub(crate) fn proc(pid: Pid, file: &str) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default()
}

pub(crate) fn children(pid: Pid) -> Vec<Pid> {
    let list = proc(pid, &format!("task/{pid}/children"));
    let pids = list.split_whitespace().filter_map(|pid| pid.parse().ok());
    pids.map(Pid::from_raw).collect()
}
