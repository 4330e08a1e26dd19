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

use crate::contract::exit::Exit;
use crate::sys;

/// Lines of one run that reach the log; a handler gone wild must not bury the rest.
const MAX_LINES: usize = 500;
/// Bytes of one line that reach the log.
const MAX_LINE: usize = 1024;
/// Lines of stderr shown when the handler failed.
const LAST_LINES: usize = 5;
/// How long output is read on after the exit, if a process left behind holds the pipe.
const LINGER: Duration = Duration::from_millis(100);

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
    /// What it reads on stdin.
    pub payload: Value,
    /// Its time limit.
    pub timeout: Option<Duration>,
    /// From TERM to KILL.
    pub grace: Duration,
}

/// Runs a handler to its end. When `stop` turns true it is ended: TERM to its group, then KILL.
///
/// # Errors
/// Why it failed, as a fragment without data.
pub async fn run(job: &Job, stop: &mut watch::Receiver<bool>) -> Result<(), String> {
    let mut child = spawn(job).map_err(|error| cannot_start(job, &error))?;

    let mask = Rc::new(Mask::of(&job.payload));
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
            mask,
            Some(tail.clone()),
            budget,
        ));
    }
    let input = child.stdin.take();
    let text = ascii_json(&job.payload);
    let writer = tokio::task::spawn_local(async move {
        if let Some(mut input) = input {
            // A handler need not read what it gets (conformance 32): EPIPE is fine.
            let _ = input.write_all(text.as_bytes()).await;
            let _ = input.shutdown().await;
        }
    });

    let outcome = wait(&mut child, job, stop).await;
    writer.abort();
    let _ = tokio::time::timeout(LINGER, async {
        while readers.join_next().await.is_some() {}
    })
    .await;
    readers.abort_all();
    if outcome.is_err() {
        for line in tail.borrow().iter() {
            warn!(handler = %job.name, "stderr: {line}");
        }
    }
    outcome
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
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        sys::kill_with_parent(&mut command);
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
    job: &Job,
    stop: &mut watch::Receiver<bool>,
) -> Result<(), String> {
    // Spawned above, so that it has a pid until it is waited for below.
    let group = child
        .id()
        .and_then(|pid| i32::try_from(pid).ok())
        .unwrap_or(0);
    let limit = async {
        match job.timeout {
            Some(timeout) => tokio::time::sleep(timeout).await,
            None => std::future::pending().await,
        }
    };
    let reason = tokio::select! {
        status = child.wait() => return judge(job, status),
        () = limit => format!("took longer than {:?}, the limit set by `disco.handler_timeout` or its rule", job.timeout.unwrap_or_default()),
        _ = stop.wait_for(|stop| *stop) => "was ended because disco is".to_owned(),
    };
    // The group may be gone already; there is nothing to be done about it then.
    let _ = sys::kill(-group, libc::SIGTERM);
    if tokio::time::timeout(job.grace, child.wait()).await.is_err() {
        warn!(handler = %job.name, "handler ignores SIGTERM; killing it");
        let _ = sys::kill(-group, libc::SIGKILL);
        let _ = child.wait().await;
    }
    Err(reason)
}

fn judge(job: &Job, status: io::Result<std::process::ExitStatus>) -> Result<(), String> {
    let status = status.map_err(|error| format!("cannot be waited for: {error}"))?;
    let exit = match (status.code(), status.signal()) {
        (Some(code), _) => Exit::Code(u8::try_from(code).unwrap_or(u8::MAX)),
        (None, signal) => Exit::Signal(signal.and_then(|n| u8::try_from(n).ok()).unwrap_or(0)),
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

/// Logs a stream line by line and keeps the last lines of it.
async fn follow(
    mut stream: impl AsyncRead + Unpin,
    name: String,
    which: &'static str,
    mask: Rc<Mask>,
    tail: Option<Rc<RefCell<VecDeque<String>>>>,
    budget: Rc<RefCell<usize>>,
) {
    let mut line: Vec<u8> = Vec::new();
    let mut cut = false;
    let mut chunk = [0_u8; 4096];
    let emit = |line: &mut Vec<u8>, cut: &mut bool| {
        let mut text = mask.apply(String::from_utf8_lossy(line).trim_end_matches('\r'));
        if std::mem::take(cut) {
            text.push('…');
        }
        line.clear();
        if let Some(tail) = &tail {
            let mut tail = tail.borrow_mut();
            if tail.len() == LAST_LINES {
                tail.pop_front();
            }
            tail.push_back(text.clone());
        }
        let mut left = budget.borrow_mut();
        if *left > 0 {
            *left -= 1;
            debug!(handler = %name, "{which}: {text}");
            if *left == 0 {
                debug!(handler = %name, "further output is not logged");
            }
        }
    };
    loop {
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => break,
            Ok(count) => {
                for byte in chunk.get(..count).unwrap_or_default() {
                    match byte {
                        b'\n' => emit(&mut line, &mut cut),
                        _ if line.len() < MAX_LINE => line.push(*byte),
                        _ => cut = true,
                    }
                }
            }
        }
    }
    if !line.is_empty() {
        emit(&mut line, &mut cut);
    }
}

/// The values that must not be seen in a handler's output.
struct Mask(Vec<String>);

impl Mask {
    /// Shorter values are not secrets, and would blank out half of every line.
    const SHORTEST: usize = 4;

    fn of(payload: &Value) -> Self {
        fn collect(value: &Value, into: &mut Vec<String>) {
            match value {
                Value::String(text) => {
                    into.push(text.clone());
                    // A value of several lines comes out line by line.
                    into.extend(text.lines().map(str::to_owned));
                }
                Value::Number(number) => into.push(number.to_string()),
                Value::Array(list) => list.iter().for_each(|item| collect(item, into)),
                Value::Object(map) => map.values().for_each(|item| collect(item, into)),
                Value::Null | Value::Bool(_) => {}
            }
        }
        let mut values = Vec::new();
        collect(payload, &mut values);
        values.retain(|value| value.trim().len() >= Self::SHORTEST);
        // Longest first, so that a value which contains another is masked as a whole.
        values.sort_by_key(|value| std::cmp::Reverse(value.len()));
        values.dedup();
        Self(values)
    }

    fn apply(&self, line: &str) -> String {
        self.0.iter().fold(line.to_owned(), |line, value| {
            line.replace(value.as_str(), "***")
        })
    }
}

/// JSON with everything beyond ASCII escaped, as the original wrote it, so that handlers in any
/// locale can read it; no trailing newline.
fn ascii_json(value: &Value) -> String {
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

/// The PATH of handlers: `disco.path`, then the container's own.
#[must_use]
pub fn search_path(own: &OsStr, container: Option<OsString>) -> OsString {
    let mut path = own.to_owned();
    if let Some(container) = container.filter(|path| !path.is_empty()) {
        path.push(":");
        path.push(container);
    }
    path
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

    #[test]
    fn values_are_masked_the_longest_first() {
        let mask = Mask::of(
            &json!({"a": "secret", "b": ["secretive", 3306], "c": "ab", "d": "line one\nline two"}),
        );
        assert_eq!(
            mask.apply("secretive secret 3306 ab x=line two"),
            "*** *** *** ab x=***"
        );
    }
}
