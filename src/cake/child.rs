//! A program whose output is for the user: shown as it comes, and ended with cake where cake is asked to
//! end. What it means that it failed is the caller's business.

use std::io::{self, BufRead as _, BufReader};
use std::os::fd::AsFd as _;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::signal::unix::{SignalKind, signal};

use super::failure::{FAILED, Failure};
use super::ui::Ui;
use crate::contract::problem::Problem;

/// How a program did not do what it was to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// It failed, or could not be started: why.
    Failed(String),
    /// cake was asked to end by this signal, and the program has been.
    Ended(Signal),
}

impl End {
    /// The failure of cake that this is; `told` makes the problem of the reason.
    pub(super) fn failure(self, told: impl FnOnce(String) -> Problem) -> Failure {
        let (code, reason) = match self {
            Self::Failed(reason) => (FAILED, reason),
            // As shells say it.
            Self::Ended(signal) => {
                let number = u8::try_from(signal as i32).unwrap_or(0);
                (128 + number, format!("ended by {}", signal.as_str()))
            }
        };
        Failure {
            code,
            problems: vec![told(reason)],
        }
    }
}

/// Runs it to its end. All that it prints goes to stderr, since stdout is for results; for a program that
/// reads JSON each line is an event.
///
/// # Errors
/// See [`End`].
pub(super) fn run(mut command: Command, ui: &Ui) -> Result<(), End> {
    let failed = |error: io::Error| End::Failed(cannot_run(&error));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(failed)?;
    command.stdin(Stdio::null());
    if !ui.is_json() {
        let stderr = || io::stderr().as_fd().try_clone_to_owned().map(Stdio::from);
        command.stdout(stderr().map_err(failed)?);
        return runtime.block_on(wait(command));
    }
    let (output, input) = io::pipe().map_err(failed)?;
    command
        .stdout(input.try_clone().map_err(failed)?)
        .stderr(input);
    let (lines, received) = std::sync::mpsc::channel();
    // It ends with the last writer of the pipe: whatever the program leaves behind may hold it open.
    std::thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            if lines.send(line).is_err() {
                return;
            }
        }
    });
    let waiting = std::thread::spawn(move || runtime.block_on(wait(command)));
    for line in received {
        ui.output(&line);
    }
    match waiting.join() {
        Ok(outcome) => outcome,
        Err(_) => Err(End::Failed("cannot be waited for".to_owned())),
    }
}

async fn wait(command: Command) -> Result<(), End> {
    let failed = |error: io::Error| End::Failed(cannot_run(&error));
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut hang_up = signal(SignalKind::hangup()).map_err(failed)?;
    let mut child = tokio::process::Command::from(command)
        .spawn()
        .map_err(failed)?;
    let asked = tokio::select! {
        status = child.wait() => {
            let status = status.map_err(failed)?;
            return match (status.success(), status.code()) {
                (true, _) => Ok(()),
                (false, Some(code)) => Err(End::Failed(format!("exit status {code}"))),
                (false, None) => Err(End::Failed(status.to_string())),
            };
        }
        _ = terminate.recv() => Signal::SIGTERM,
        _ = interrupt.recv() => Signal::SIGINT,
        _ = hang_up.recv() => Signal::SIGHUP,
    };
    // Not waited for yet, so that the pid is still its own. A terminal may have told it already.
    if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) {
        let _ = kill(Pid::from_raw(pid), asked);
    }
    let _ = child.wait().await;
    Err(End::Ended(asked))
}

/// Why a program cannot be started.
pub(super) fn cannot_run(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "not installed".to_owned(),
        _ => error.to_string(),
    }
}
