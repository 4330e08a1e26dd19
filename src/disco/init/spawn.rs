//! Starts the command: its own process group, the terminal if we have it, and every signal as we
//! were given it. Also becomes the command, in exec mode.

use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{Pid, getpgrp, pipe2, setpgid};

use super::Inherited;
use super::command::{Command, Failure, Why};
use super::context::Failed;
use super::terminal::Terminal;
use crate::sys::{self, Fork};

/// The exit code of a child that could not execute the command; the reason is in its report.
pub const NOT_EXECUTED: u8 = 127;

/// How a command is started.
pub struct Start<'a> {
    /// What disco was started with.
    pub inherited: &'a Inherited,
    /// The terminal to put it in front of, if that is ours.
    pub terminal: Option<&'a Terminal>,
    /// Whether it gets a session of its own, and not only a process group.
    pub session: bool,
    /// The signal that it gets when we die before it.
    pub death: Option<i32>,
    /// What is its stdout, if not ours.
    pub stdout: Option<OwnedFd>,
}

/// A command that was forked. Whether it could be executed is on the pipe when it has ended.
pub struct Started {
    /// Its pid, which is its process group's, too.
    pub pid: i32,
    report: OwnedFd,
}

impl Started {
    /// Why it could not be executed, once it has ended; nothing when it ended by itself.
    #[must_use]
    pub fn failure<'a>(&self, command: &'a Command) -> Option<Failure<'a>> {
        let mut message = [0; 8];
        // Exec closes the writing end; whatever is read before that is why it failed.
        match nix::unistd::read(&self.report, &mut message) {
            Ok(8) => Some(explain(command, Failed::from_bytes(message))),
            _ => None,
        }
    }

    /// Whether it has been executed, or has failed to be.
    #[must_use]
    pub fn is_executed(&self) -> bool {
        // Asks only: the message, should there be one, is for later.
        let mut asked = [PollFd::new(self.report.as_fd(), PollFlags::POLLIN)];
        poll(&mut asked, PollTimeout::ZERO) != Ok(0)
    }

    /// Whether it has been executed: the other end of the pipe is closed, and nothing was said.
    #[must_use]
    pub fn is_up(&self) -> bool {
        let mut asked = [PollFd::new(self.report.as_fd(), PollFlags::POLLIN)];
        let answered = poll(&mut asked, PollTimeout::ZERO).is_ok_and(|count| count > 0);
        let [asked] = asked;
        let is_closed = |events: PollFlags| events == PollFlags::POLLHUP;
        answered && asked.revents().is_some_and(is_closed)
    }

    /// The descriptor by which it reports.
    #[must_use]
    pub fn report(&self) -> &OwnedFd {
        &self.report
    }
}

/// Starts the command. It may not have been executed yet when this returns: nobody waits for a dead
/// mount here, and a signal sent to it meanwhile takes effect before or after, as for any process.
///
/// # Errors
/// Why there is no process for it.
pub fn start<'a>(command: &'a mut Command, how: &Start<'_>) -> Result<Started, Failure<'a>> {
    match fork(command, how) {
        Ok(started) => Ok(started),
        Err(error) => Err(command.failure(Why::NotStarted(error))),
    }
}

fn fork(command: &mut Command, how: &Start<'_>) -> Result<Started, Errno> {
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
    let parent = sys::own_pid();
    match sys::fork()? {
        Fork::Child => child(command, how, &writer, parent),
        Fork::Parent(pid) => {
            if !how.session {
                // In parent and child, so that neither can be too early to signal the group (pid1 22).
                let _ = setpgid(Pid::from_raw(pid), Pid::from_raw(pid));
            }
            Ok(Started {
                pid,
                report: reader,
            })
        }
    }
}

fn child(command: &mut Command, how: &Start<'_>, writer: &OwnedFd, parent: i32) -> ! {
    if how.session {
        let _ = nix::unistd::setsid();
        sys::take_terminal();
    } else {
        // EPERM when we lead a session already: then there is nothing to do.
        let _ = setpgid(Pid::from_raw(0), Pid::from_raw(0));
        if let Some(terminal) = how.terminal {
            // In the child, so that it cannot run before it is in front. All signals are blocked,
            // SIGTTOU among them, so that this cannot stop us.
            terminal.give(getpgrp().as_raw());
        }
    }
    if let Some(stdout) = &how.stdout {
        sys::redirect(stdout.as_raw_fd(), 1);
    }
    let failed = prepare_and_execute(command, how, parent);
    let _ = nix::unistd::write(writer, &failed.to_bytes());
    sys::exit_now(NOT_EXECUTED)
}

fn prepare_and_execute(command: &mut Command, how: &Start<'_>, parent: i32) -> Failed {
    // Before the signals that have waited get through: half a user is not to be interrupted.
    if let Err(failed) = command.context.apply() {
        return failed;
    }
    // After a change of user, by which the kernel forgets it.
    if let Some(number) = how.death
        && sys::set_parent_death(number, parent) == Ok(false)
    {
        sys::exit_now(NOT_EXECUTED);
    }
    command.prepared.take_over_descriptors();
    how.inherited.restore();
    Failed::to_execute(command.prepared.execute())
}

fn explain(command: &Command, failed: Failed) -> Failure<'_> {
    if failed.is_of_exec() {
        command.refused(Errno::from_raw(failed.error))
    } else {
        command.failure(Why::Unfit(failed))
    }
}

/// Becomes the command: nothing of disco remains but the pid. Returns only on failure.
pub fn become_command<'a>(
    command: &'a mut Command,
    inherited: &Inherited,
    death: Option<i32>,
) -> Failure<'a> {
    inherited.discard_own_signals();
    if let Err(failed) = command.context.apply() {
        return explain(command, failed);
    }
    if let Some(number) = death {
        // Once more: with a change of user the kernel forgets it.
        let _ = sys::set_parent_death(number, sys::parent_pid());
    }
    inherited.restore();
    let error = command.prepared.execute();
    command.refused(error)
}
