//! The disco of a trial: started on a staged layer, ended if it takes too long, asked why it failed. It
//! looks at nothing that was written.

use std::io::Read as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::Request;
use super::stage::Staged;
use crate::cake::failure::Failure;
use crate::contract::problem::Problem;

/// What disco gets beyond the time of its rules: to start, to end a handler, and to end.
const GRACE: Duration = Duration::from_secs(15);

/// As much of its log as helps.
const LINES: usize = 20;

/// Runs the rules.
///
/// # Errors
/// disco did not start, did not end, or did not end well; with what it said.
pub(super) fn run(request: &Request<'_>, staged: &Staged) -> Result<(), Failure> {
    // It starts in another directory.
    let disco = std::path::absolute(request.disco).unwrap_or_else(|_| request.disco.to_owned());
    let mut command = Command::new(&disco);
    command
        .args(["-l", "warning", "-c"])
        .arg(staged.settings())
        // Once all rules are done disco becomes this command, which is there wherever disco is.
        .args(["--".as_ref(), disco.as_os_str(), "--version".as_ref()])
        .env_clear()
        .envs(staged.env.iter().map(|(name, value)| (name, value)))
        // After those of the layer: nothing goes over where it writes and what it runs.
        .env_remove("DISCO_CFG")
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("NO_COLOR", "1")
        .current_dir(staged.dir())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let failed = |message: String| Failure::failed(Problem::new(message).in_file(request.layer));
    let mut child = command.spawn().map_err(|error| {
        failed(format!(
            "cannot be tried: {} cannot be started: {error}",
            request.disco.display()
        ))
    })?;
    let stderr = child.stderr.take();
    let (sender, receiver) = mpsc::channel();
    // It ends with what writes to the pipe; nobody waits for it longer than for the child.
    std::thread::spawn(move || {
        let mut log = Vec::new();
        if let Some(mut stderr) = stderr {
            let _ = stderr.read_to_end(&mut log);
        }
        let _ = sender.send(log);
    });
    let limit = request.timeout.saturating_add(GRACE);
    let mut log = receiver.recv_timeout(limit).ok();
    let is_late = log.is_none();
    if is_late {
        // disco ends its handlers first. It has not been waited for, so that the number is its own.
        let _ = kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM);
        log = receiver.recv_timeout(GRACE).ok();
        let _ = child.kill();
    }
    let status = child.wait();
    let log = log.unwrap_or_default();
    let log = told(&String::from_utf8_lossy(&log), staged);
    let status = status.map_err(|error| failed(format!("cannot be tried: {error}")))?;
    if status.success() && !is_late {
        return Ok(());
    }
    let how = match is_late {
        true => format!("had not ended after {} s", limit.as_secs()),
        false => ended(status),
    };
    let mut problem = Problem::new(format!("cannot be configured with this data: disco {how}"));
    problem.snippet = (!log.is_empty()).then_some(log);
    Err(Failure::failed(problem.in_file(request.layer)))
}

fn ended(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(69), _) => {
            "ended with 69: the data is missing something, or the time was too short".into()
        }
        (Some(code), _) => format!("ended with {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended".into(),
    }
}

/// The end of its log, with the author's name for the layer in place of the scratch directory's.
fn told(log: &str, staged: &Staged) -> String {
    let [linked, known] = staged
        .names
        .each_ref()
        .map(|path| path.display().to_string());
    let root = staged.root().display().to_string();
    let lines: Vec<&str> = log.lines().collect();
    let lines = lines
        .get(lines.len().saturating_sub(LINES)..)
        .unwrap_or_default();
    let lines = lines.iter().map(|line| {
        let line = line.replace(&linked, &known).replace(&root, "");
        format!("  {line}")
    });
    lines.collect::<Vec<_>>().join("\n")
}
