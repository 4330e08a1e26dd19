//! Runs one handler: JSON on stdin, its own process group, a time limit, its output in the log.
//!
//! The data never reaches the log: whatever a handler prints is stripped of the values it was given.
//! Ending is told by the exit, never by EOF, since a process left in the background may hold the
//! pipes open for ever (conformance 31).

use std::cell::RefCell;
use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::rc::Rc;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tracing::{debug, warn};

pub use super::mask::Hidden;
use super::mask::{MAX_RAW, Mask};
use crate::contract::exit::Exit;
use crate::disco::log;
use crate::sys;

/// Lines of one run that reach the log; a handler gone wild must not bury the rest.
const MAX_LINES: usize = 500;
/// Lines of stderr shown when the handler failed.
const LAST_LINES: usize = 5;
/// How long output is read on after the exit, if a process left behind holds the pipe.
const LINGER: Duration = Duration::from_millis(100);

/// Why what was under way has failed when disco ends.
pub const STOPPED: &str = "was ended because disco is";

/// All that is needed to run a handler.
pub struct Job {
    /// How logs name it.
    pub name: String,
    /// The file.
    pub program: PathBuf,
    /// The arguments after the name.
    pub arguments: Vec<String>,
    /// Its whole environment.
    pub environment: Vec<(OsString, OsString)>,
    /// The directory that it starts in; `None` is disco's own.
    pub directory: Option<PathBuf>,
    /// The data that it works on: what must not be seen in its output.
    pub payload: Value,
    /// What else must not be.
    pub hidden: Hidden,
    /// What it reads on stdin.
    pub input: Input,
    /// Its time limit.
    pub timeout: Option<Duration>,
    /// From TERM to KILL.
    pub grace: Duration,
}

/// What a program reads on stdin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// The payload.
    Payload,
    /// Nothing: it finds its end at once.
    Nothing,
}

/// How a handler failed, without data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Why, as a fragment.
    pub reason: String,
    /// The last lines of its stderr, masked.
    pub lines: Vec<String>,
}

impl From<String> for Failure {
    fn from(reason: String) -> Self {
        let lines = Vec::new();
        Self { reason, lines }
    }
}

/// Runs a handler to its end; `started` is told its process group. When `stop` turns true it is
/// ended: TERM to its group, then KILL.
///
/// # Errors
/// Why it failed.
pub async fn run(
    job: &Job,
    stop: &mut watch::Receiver<bool>,
    started: impl Fn(i32),
) -> Result<(), Failure> {
    let mut child = spawn(job).map_err(|error| cannot_start(job, &error))?;
    // Not waited for yet, so that it has a pid, which is its group's, too.
    let group = child.id().and_then(|pid| i32::try_from(pid).ok());
    let group = group.unwrap_or_default();
    started(group);

    let mask = Rc::new(Mask::of(&job.payload, &job.hidden));
    let tail = Rc::new(RefCell::new(VecDeque::new()));
    let budget = Rc::new(RefCell::new(MAX_LINES));
    let mut readers = tokio::task::JoinSet::new();
    if let Some(stdout) = child.stdout.take() {
        readers.spawn_local(follow(
            stdout,
            job.name.clone(),
            "stdout",
            mask.clone(),
            None,
            budget.clone(),
        ));
    }
    if let Some(stderr) = child.stderr.take() {
        readers.spawn_local(follow(
            stderr,
            job.name.clone(),
            "stderr",
            mask.clone(),
            Some(tail.clone()),
            budget,
        ));
    }
    let input = child.stdin.take();
    let text = input.as_ref().map(|_| ascii_json(&job.payload));
    let writer = tokio::task::spawn_local(async move {
        if let (Some(mut input), Some(text)) = (input, text) {
            // A handler need not read what it gets (conformance 32): EPIPE is fine.
            let _ = input.write_all(text.as_bytes()).await;
            let _ = input.shutdown().await;
        }
    });

    let outcome = wait(&mut child, group, job, stop).await;
    writer.abort();
    let _ = tokio::time::timeout(LINGER, async {
        while readers.join_next().await.is_some() {}
    })
    .await;
    readers.abort_all();
    outcome.map_err(|reason| {
        let lines: Vec<String> = tail.borrow().iter().map(|line| mask.line(line)).collect();
        for line in &lines {
            warn!(handler = %job.name, "stderr: {line}");
        }
        Failure { reason, lines }
    })
}

/// Starts the handler. A script without an interpreter line goes to the shell, as with execvp.
fn spawn(job: &Job) -> io::Result<Child> {
    let start = |program: &OsStr, first: Option<&OsStr>| {
        let mut command = Command::new(program);
        command
            .args(first)
            .args(&job.arguments)
            .env_clear()
            .envs(job.environment.iter().map(|(name, value)| (name, value)))
            .stdin(match job.input {
                Input::Payload => Stdio::piped(),
                Input::Nothing => Stdio::null(),
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(directory) = &job.directory {
            command.current_dir(directory);
        }
        sys::set_apart(&mut command);
        command.spawn()
    };
    match start(job.program.as_os_str(), None) {
        Err(error) if error.raw_os_error() == Some(libc::ENOEXEC) => {
            start(OsStr::new("/bin/sh"), Some(job.program.as_os_str())).map_err(|_| error)
        }
        other => other,
    }
}

async fn wait(
    child: &mut Child,
    group: i32,
    job: &Job,
    stop: &mut watch::Receiver<bool>,
) -> Result<(), String> {
    let limit = async {
        match job.timeout {
            Some(timeout) => tokio::time::sleep(timeout).await,
            None => std::future::pending().await,
        }
    };
    let reason = tokio::select! {
        status = child.wait() => return judge(job, status),
        () = limit => format!("took longer than {:?}, the limit set by `disco.handler_timeout` or its rule", job.timeout.unwrap_or_default()),
        _ = stop.wait_for(|stop| *stop) => STOPPED.to_owned(),
    };
    // Where a filter forbids groups it has none. Not waited for yet, so that the pid is still its own.
    let _ = sys::kill(-group, libc::SIGTERM).or_else(|_| sys::kill(group, libc::SIGTERM));
    if tokio::time::timeout(job.grace, child.wait()).await.is_err() {
        warn!(handler = %job.name, "handler ignores SIGTERM; killing it");
        let _ = child.start_kill();
    }
    // Whatever the handler has started and not ended goes with it.
    let _ = sys::kill(-group, libc::SIGKILL);
    let _ = child.wait().await;
    Err(reason)
}

fn judge(job: &Job, status: io::Result<std::process::ExitStatus>) -> Result<(), String> {
    let status = status.map_err(|error| format!("cannot be waited for: {error}"))?;
    let exit = match (status.code(), status.signal()) {
        (Some(code), _) => Exit::Code(u8::try_from(code).unwrap_or(u8::MAX)),
        (None, signal) => Exit::by_signal(signal.unwrap_or(0)),
    };
    debug!(
        "Exec {} -> {}",
        job.name,
        match exit {
            Exit::Code(code) => i32::from(code),
            Exit::Signal(number) => -i32::from(number),
        }
    );
    if exit.is_success() {
        Ok(())
    } else {
        Err(exit.to_string())
    }
}

fn cannot_start(job: &Job, error: &io::Error) -> String {
    let program = job.program.display();
    match error.raw_os_error() {
        // The file was found and is executable, so that something else is missing.
        Some(libc::ENOENT) => format!(
            "cannot be started: the interpreter in the first line of {program} is not in this image"
        ),
        Some(libc::ENOEXEC) => format!(
            "cannot be started: {program} is no program of this machine, and there is no shell to run it as a script"
        ),
        _ => format!("cannot be started: {program}: {error}"),
    }
}

/// Logs a stream line by line and keeps the last lines of it, as they came.
async fn follow(
    mut stream: impl AsyncRead + Unpin,
    name: String,
    which: &'static str,
    mask: Rc<Mask>,
    tail: Option<Rc<RefCell<VecDeque<Vec<u8>>>>>,
    budget: Rc<RefCell<usize>>,
) {
    let mut line: Vec<u8> = Vec::new();
    let mut chunk = [0_u8; 4096];
    let emit = |line: &mut Vec<u8>| {
        let mut left = budget.borrow_mut();
        // Masking is work: only for what is seen.
        if *left > 0 && log::enabled(log::Level::Debug) {
            *left -= 1;
            debug!(handler = %name, "{which}: {}", mask.line(line));
            if *left == 0 {
                debug!(handler = %name, "further output is not logged");
            }
        }
        if let Some(tail) = &tail {
            let mut tail = tail.borrow_mut();
            if tail.len() == LAST_LINES {
                tail.pop_front();
            }
            tail.push_back(std::mem::take(line));
        }
        line.clear();
    };
    loop {
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => break,
            Ok(count) => {
                for byte in chunk.get(..count).unwrap_or_default() {
                    match byte {
                        b'\n' => emit(&mut line),
                        _ if line.len() < MAX_RAW => line.push(*byte),
                        _ => {}
                    }
                }
            }
        }
    }
    if !line.is_empty() {
        emit(&mut line);
    }
}

/// JSON with everything beyond ASCII escaped, as the original wrote it, so that handlers in any
/// locale can read it; no trailing newline.
pub(super) fn ascii_json(value: &Value) -> String {
    use std::fmt::Write as _;
    let plain = value.to_string();
    if plain.is_ascii() {
        return plain;
    }
    let mut escaped = String::with_capacity(plain.len());
    for c in plain.chars() {
        if c.is_ascii() {
            escaped.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a String cannot fail.
                let _ = write!(escaped, "\\u{unit:04x}");
            }
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn c29_json_is_ascii_without_a_newline() {
        assert_eq!(
            ascii_json(&json!({"a": "é😀\n", "b": 1.0})),
            r#"{"a":"\u00e9\ud83d\ude00\n","b":1.0}"#
        );
    }
}
