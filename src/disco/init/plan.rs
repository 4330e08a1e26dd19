//! How init treats the command and what comes from it: what settings, options and the names of other
//! inits boil down to. Plain data; nothing here acts.

use std::time::{Duration, Instant};

use super::voice::{self, Speak};
use crate::contract::exit::{self, Exit};
use crate::contract::signal::{self, MAX};
use crate::sys::SignalSet;

/// How init treats the command. The default is what disco does when nothing is set.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Whether orphans below us become our children where we are not PID 1.
    pub subreaper: Subreaper,
    /// The signal that disco gets when its own parent dies.
    pub parent_death: Option<i32>,
    /// The signal that the command gets when disco dies before it.
    pub command_death: Option<i32>,
    /// Whether signals go to the whole process group of the command.
    pub group: bool,
    /// Whether the command leads a session of its own, and not only a process group.
    pub session: Session,
    /// Which signal is forwarded as which.
    pub rewrite: Rewrite,
    /// What asks the command to stop, where disco itself does so, and counts as such from outside.
    pub stop_signal: i32,
    /// When disco stops itself with the command, so that the shell outside takes over.
    pub suspend: Suspend,
    /// From the first request to stop until everything is killed; `None` leaves it to the runtime.
    pub stop_timeout: Option<Duration>,
    /// Whether a second request to stop kills.
    pub second_stop_kills: bool,
    /// What becomes of the processes that the command leaves behind.
    pub rest: Rest,
    /// What they get between TERM and KILL.
    pub drain: Duration,
    /// Which exit status is left with which.
    pub exit_map: ExitMap,
    /// Whether an ended command is started again.
    pub restart: Restart,
    /// Whether reaped orphans are worth a warning.
    pub warn_on_reap: bool,
    /// No command at all: only reap, until asked to stop.
    pub pause: bool,
    /// Whether the command finds `DISCO_CFG` in its environment: under another program's name it is
    /// not ours, but that of a disco that the command may be.
    pub pass_settings: bool,
    /// Exit codes for a command that cannot be executed.
    pub codes: FailureCodes,
    /// How what happens is told.
    pub speak: Speak,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            subreaper: Subreaper::Auto,
            parent_death: None,
            command_death: None,
            group: false,
            session: Session::Auto,
            rewrite: Rewrite::default(),
            stop_signal: libc::SIGTERM,
            suspend: Suspend::WithCommand,
            stop_timeout: None,
            second_stop_kills: false,
            rest: Rest::Drain,
            drain: Duration::from_secs(5),
            exit_map: ExitMap::default(),
            restart: Restart::default(),
            warn_on_reap: false,
            pause: false,
            pass_settings: false,
            codes: FailureCodes::default(),
            speak: voice::disco,
        }
    }
}

impl Plan {
    /// The setting, if there is one, that only an init beside the command can honour.
    #[must_use]
    pub fn must_stay(&self) -> Option<&'static str> {
        let all = [
            ("subreaper", self.subreaper == Subreaper::Always),
            ("command_death", self.command_death.is_some()),
            ("signal_group", self.group),
            ("session", self.session == Session::Always),
            ("stop_signal", self.stop_signal != libc::SIGTERM),
            ("rewrite", self.rewrite != Rewrite::default()),
            ("stop_timeout", self.stop_timeout.is_some()),
            ("second_stop", self.second_stop_kills),
            ("drain", self.drain != Self::default().drain),
            ("exit_map", self.exit_map != ExitMap::default()),
            ("restart", self.restart.when != When::Never),
            ("warn_on_reap", self.warn_on_reap),
        ];
        all.iter().find(|(_, is_set)| *is_set).map(|(key, _)| *key)
    }

    /// When everything must be over if somebody asks for it now.
    #[must_use]
    pub fn stop_deadline(&self) -> Option<Instant> {
        self.stop_timeout.map(|timeout| Instant::now() + timeout)
    }

    /// The signals that ask the command to stop.
    #[must_use]
    pub fn stops(&self) -> SignalSet {
        let all = [libc::SIGTERM, libc::SIGINT, self.stop_signal];
        let stops = all.iter().filter(|number| self.is_stop(**number));
        stops.fold(SignalSet::none(), |set, number| set.and(*number))
    }

    /// Whether a signal from outside asks the command to stop; one that is dropped does not. HUP does not, it reloads; nor does
    /// QUIT, by which a Java machine shows its threads, unless it is the stop signal.
    #[must_use]
    pub fn is_stop(&self, number: i32) -> bool {
        let stops = [libc::SIGTERM, libc::SIGINT, self.stop_signal];
        stops.contains(&number) && self.rewrite.get(number).is_some()
    }
}

/// Whether disco becomes a child subreaper (prctl(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subreaper {
    /// Where we are not PID 1; that it cannot be is worth a line at debug.
    Auto,
    /// Where we are not PID 1; that it cannot be is worth a warning.
    Always,
    /// Not at all: orphans go where they went without us.
    Never,
}

/// Whether the command leads a session of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Session {
    /// Where we have no terminal to share: as it would lead one without us, as PID 1. The scheduler
    /// weighs sessions against each other, so that a signal does not wait behind its own sender.
    Auto,
    /// In any case; we give up the terminal, and the command takes the one on its stdin.
    Always,
    /// In no case.
    Never,
}

/// When disco stops itself, as a job of the shell outside (not as PID 1, whom nobody would wake).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suspend {
    /// When the command has stopped on the terminal or by a signal that we forwarded.
    WithCommand,
    /// After every TSTP, TTIN or TTOU, whatever the command makes of it.
    Always,
    /// Never.
    Never,
}

/// What becomes of the processes that the command leaves behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// TERM, time, KILL; disco leaves after the last of them.
    Drain,
    /// TERM to the process group of the command; disco leaves at once.
    TermGroup,
    /// Nothing; disco leaves at once.
    Leave,
}

/// Which signal is forwarded as which; an entry per number, 0 for one that is not forwarded.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Rewrite([u8; MAX as usize + 1]);

impl Default for Rewrite {
    fn default() -> Self {
        let mut table = [0; MAX as usize + 1];
        for (number, entry) in (0..).zip(&mut table) {
            *entry = number;
        }
        Self(table)
    }
}

impl std::fmt::Debug for Rewrite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let changed = (0_i32..).zip(&self.0);
        f.debug_map()
            .entries(changed.filter(|(from, to)| *from != i32::from(**to)))
            .finish()
    }
}

impl Rewrite {
    /// Forwards `from` as `to`; 0 drops it.
    pub fn set(&mut self, from: i32, to: i32) {
        let entry = usize::try_from(from)
            .ok()
            .and_then(|from| self.0.get_mut(from));
        if let (Some(entry), Ok(to)) = (entry, u8::try_from(to)) {
            *entry = to;
        }
    }

    /// Whether nobody has set this one.
    #[must_use]
    pub fn is_unset(&self, from: i32) -> bool {
        self.get(from) == Some(from)
    }

    /// What to send for a signal, or `None` to send nothing.
    #[must_use]
    pub fn get(&self, from: i32) -> Option<i32> {
        let entry = usize::try_from(from).ok().and_then(|from| self.0.get(from));
        entry.map(|to| i32::from(*to)).filter(|to| *to != 0)
    }

    /// Reads `15:3`, `TERM:QUIT`, `HUP:0` (the form of `dumb-init --rewrite`, names allowed).
    ///
    /// # Errors
    /// What was expected.
    pub fn parse(&mut self, text: &str) -> Result<(), String> {
        let (from, to) = text.split_once(':').ok_or_else(|| {
            format!("`{text}` is no rewriting; expected `FROM:TO`, such as `TERM:QUIT`, or `HUP:0` to drop one")
        })?;
        let from = signal::parse(from)?;
        let to = match to.trim() {
            "0" => 0,
            to => signal::parse(to)?,
        };
        if [libc::SIGKILL, libc::SIGSTOP, libc::SIGCHLD].contains(&from) {
            return Err(format!(
                "{} is not one that is forwarded",
                signal::name(from)
            ));
        }
        self.set(from, to);
        Ok(())
    }
}

/// Which exit status is left with which.
#[derive(Clone, PartialEq, Eq)]
pub struct ExitMap {
    table: [u8; 256],
    /// For a command that ended by the signal that asked it to, whichever it was.
    stopped: Option<u8>,
}

impl Default for ExitMap {
    fn default() -> Self {
        let mut table = [0; 256];
        for (code, entry) in (0..=u8::MAX).zip(&mut table) {
            *entry = code;
        }
        Self {
            table,
            stopped: None,
        }
    }
}

impl std::fmt::Debug for ExitMap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let changed = (0..=u8::MAX).zip(self.table);
        f.debug_map()
            .entries(changed.filter(|(from, to)| from != to))
            .entries(self.stopped.map(|to| ("stopped", to)))
            .finish()
    }
}

impl ExitMap {
    /// Leaves with `to` where the command ended with `from`.
    pub fn set(&mut self, from: u8, to: u8) {
        if let Some(entry) = self.table.get_mut(usize::from(from)) {
            *entry = to;
        }
    }

    /// The status to leave with. `asked` is the signal by which the command was asked to stop, as it
    /// was sent.
    #[must_use]
    pub fn status(&self, exit: Exit, asked: Option<i32>) -> u8 {
        let status = exit.status();
        match (asked, self.stopped) {
            // A shell that ends because its child did reports it as a status.
            (Some(number), Some(to)) if status == Exit::by_signal(number).status() => to,
            _ => self
                .table
                .get(usize::from(status))
                .copied()
                .unwrap_or(status),
        }
    }

    /// Reads `143` (to 0, the form of `tini -e`), `143:0` or `stopped:0`.
    ///
    /// # Errors
    /// What was expected.
    pub fn parse(&mut self, text: &str) -> Result<(), String> {
        let (from, to) = text.split_once(':').unwrap_or((text, "0"));
        let code = |text: &str| {
            text.trim().parse::<u8>().map_err(|_| {
                format!("`{text}` is no exit status; expected a number from 0 to 255, as in `143:0`, or `stopped:0`")
            })
        };
        let to = code(to)?;
        match from.trim() {
            "stopped" => self.stopped = Some(to),
            from => self.set(code(from)?, to),
        }
        Ok(())
    }
}

/// When an ended command is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Never: disco ends with it.
    Never,
    /// When its status, mapped, is not 0.
    OnFailure,
    /// Always.
    Always,
}

/// Whether an ended command is started again, how soon and how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restart {
    /// When.
    pub when: When,
    /// How many times in a row; 0 is no limit.
    pub limit: u32,
    /// The first pause; each next one is twice as long.
    pub delay: Duration,
    /// The longest pause.
    pub max_delay: Duration,
    /// A run of this length ends the row: count and pause begin anew.
    pub reset: Duration,
}

impl Default for Restart {
    fn default() -> Self {
        Self {
            when: When::Never,
            limit: 10,
            delay: Duration::from_millis(100),
            max_delay: Duration::from_secs(60),
            reset: Duration::from_secs(10),
        }
    }
}

/// Exit codes for a command that cannot be executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailureCodes {
    /// It is not there.
    pub not_found: u8,
    /// It is there and may not be executed.
    pub not_executable: u8,
    /// The kernel cannot execute it, for any other reason.
    pub refused: u8,
    /// There is no process or no descriptor left to start it with, or what it is to start with
    /// cannot be had.
    pub not_started: u8,
    /// Whether these go through [`ExitMap`] like the command's own.
    pub mapped: bool,
}

impl Default for FailureCodes {
    fn default() -> Self {
        Self {
            not_found: exit::NOT_FOUND,
            not_executable: exit::NOT_EXECUTABLE,
            refused: exit::NOT_EXECUTABLE,
            not_started: exit::NOT_STARTED,
            mapped: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p25_signals_are_rewritten_by_name_and_number_and_dropped_by_zero() {
        let mut rewrite = Rewrite::default();
        for number in 1..=MAX {
            assert_eq!(rewrite.get(number), Some(number));
        }
        for text in ["15:3", "SIGUSR1:RTMIN+1", "hup:0"] {
            rewrite.parse(text).unwrap();
        }
        assert_eq!(rewrite.get(libc::SIGTERM), Some(libc::SIGQUIT));
        assert_eq!(rewrite.get(libc::SIGUSR1), Some(35));
        assert_eq!(rewrite.get(libc::SIGHUP), None);
        assert_eq!(rewrite.get(65), None);
        for text in [
            "15", "15:", ":3", "15:99", "FOO:3", "KILL:15", "0:15", "STOP:0",
        ] {
            assert!(rewrite.parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn exit_codes_are_mapped_as_asked() {
        let mut map = ExitMap::default();
        for code in 0..=u8::MAX {
            assert_eq!(map.status(Exit::Code(code), None), code);
        }
        for text in ["143", "3:7", "stopped:0"] {
            map.parse(text).unwrap();
        }
        assert_eq!(map.status(Exit::by_signal(libc::SIGTERM), None), 0);
        assert_eq!(map.status(Exit::Code(3), Some(libc::SIGTERM)), 7);
        let quit = Exit::by_signal(libc::SIGQUIT);
        assert_eq!(map.status(quit, Some(libc::SIGQUIT)), 0);
        assert_eq!(map.status(quit, Some(libc::SIGINT)), 131);
        assert_eq!(map.status(quit, None), 131);
        for text in ["", "256", "-1", "1:256", "stop:0", "stopped:x"] {
            assert!(map.parse(text).is_err(), "{text}");
        }
    }
}
