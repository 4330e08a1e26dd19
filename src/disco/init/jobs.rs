//! Job control: the command's stops and ours, and who is in front on the terminal.
//!
//! Who is in front is asked when it matters and never remembered: the shell outside changes it.

use super::Init;
use super::plan::Suspend;
use super::supervise::Service;
use super::voice::Event;
use crate::sys::{self, TERMINAL_STOPS, proc};

impl Service {
    /// Whether the command, or what is left of it, is in front on the terminal.
    pub(super) fn is_in_front(&self) -> bool {
        let front = self.terminal.as_ref().and_then(|terminal| terminal.front());
        self.group > 0 && front == Some(self.group)
    }

    /// Gives the terminal back to whoever gave it to us: a script that goes on would be stopped when
    /// it reads.
    pub(super) fn return_terminal(&self) {
        if let Some(terminal) = self.terminal.as_ref().filter(|_| self.is_in_front()) {
            terminal.take_back();
        }
    }

    /// Puts the command in front, if that is ours to give. Returns whether it was.
    fn give_terminal(&self) -> bool {
        let terminal = self.terminal.as_ref();
        let terminal = terminal.filter(|terminal| !self.has_session && terminal.is_ours());
        if let Some(terminal) = terminal {
            terminal.give(self.group);
        }
        terminal.is_some()
    }
}

impl Init {
    /// The signal that stops the command as the terminal's would. One by which the command does not
    /// care to be stopped itself the kernel drops, where no parent shares its session; STOP it does
    /// not (conformance pid1 30).
    pub(super) fn that_stops(&self, number: i32) -> i32 {
        let is_dropped = self.service.has_session
            && self.settings.plan.suspend != Suspend::Always
            && TERMINAL_STOPS.contains(&number);
        match self.service.pid() {
            Some(pid) if is_dropped && proc::has_default_action(pid, number) => libc::SIGSTOP,
            _ => number,
        }
    }

    /// The command has stopped: on a terminal the shell outside is to know, and to take over.
    pub(super) fn command_stopped(&mut self, number: i32) {
        let (plan, service) = (&self.settings.plan, &mut self.service);
        if plan.suspend == Suspend::Never || service.suspended {
            return;
        }
        // Who is stopped by somebody else's signal is not ours to judge.
        let by_terminal = TERMINAL_STOPS.contains(&number) || service.is_in_front();
        let is_ours = service.may_stop || service.terminal.is_some() && by_terminal;
        if !is_ours {
            return;
        }
        if self.is_pid_1 {
            // By a key, and there is no shell that could ever continue it.
            if number == libc::SIGTSTP && !service.may_stop {
                service.signal_group(libc::SIGCONT);
            }
            return;
        }
        // It wanted the terminal, and we have been put in front meanwhile.
        if !service.may_stop && service.give_terminal() {
            service.signal_group(libc::SIGCONT);
            return;
        }
        (plan.speak)(&Event::Suspending);
        service.return_terminal();
        service.suspended = true;
        if service.may_stop {
            // Whoever has asked for it by a signal goes on by one.
            let _ = sys::kill(sys::own_pid(), libc::SIGSTOP);
            return;
        }
        sys::stop_as_job();
        // Continued we would have the signal for it. Else there is no shell, and a key has stopped what
        // nobody could ever continue; what reads in the background is better left alone.
        if number == libc::SIGTSTP && !sys::is_pending(libc::SIGCONT) {
            service.suspended = false;
            service.give_terminal();
            service.signal_group(libc::SIGCONT);
        }
    }

    /// We go on, in front or in the background, and so does the command.
    pub(super) fn continued(&mut self) {
        let service = &mut self.service;
        service.may_stop = false;
        service.give_terminal();
        if std::mem::take(&mut service.suspended) {
            service.signal_group(libc::SIGCONT);
        }
    }
}
