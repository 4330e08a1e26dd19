//! The settings of section `disco` that say how init treats the command.

use std::time::Duration;

use super::raw::{Section, split_list};
use crate::contract::signal;
use crate::disco::init::plan::{ExitMap, Plan, Restart, Rewrite, Session, Subreaper, When};

/// How much earlier than the runtime disco is done: a part of the time that the runtime gives, but at
/// least so much.
const MARGIN: Duration = Duration::from_millis(200);

/// Reads them.
#[must_use]
pub fn read(section: &Section<'_>) -> Plan {
    let default = Plan::default();
    let stop_signal = section.parsed("stop_signal", |text| {
        one_that(text, "ends a command", NO_STOPS)
    });
    let mut rewrite = section
        .parsed("rewrite", |text| all(text, Rewrite::parse))
        .unwrap_or_default();
    if let Some(number) = stop_signal.filter(|_| rewrite.is_unset(libc::SIGTERM)) {
        rewrite.set(libc::SIGTERM, number);
    }
    let own = section.limit("stop_timeout", None);
    let runtime = section.limit("runtime_grace", None).map(within);
    Plan {
        subreaper: section.choice(
            "subreaper",
            &[
                ("auto", Subreaper::Auto),
                ("always", Subreaper::Always),
                ("never", Subreaper::Never),
            ],
            Subreaper::Auto,
        ),
        parent_death: section.parsed("parent_death", |text| {
            one_that(text, "disco hears", &NO_STOPS[..2])
        }),
        command_death: section.parsed("command_death", signal::parse),
        group: section.flag("signal_group", &[], false),
        session: section.choice(
            "session",
            &[
                ("auto", Session::Auto),
                ("always", Session::Always),
                ("never", Session::Never),
            ],
            Session::Auto,
        ),
        rewrite,
        stop_signal: stop_signal.unwrap_or(default.stop_signal),
        stop_timeout: own.into_iter().chain(runtime).min(),
        second_stop_kills: section.choice(
            "second_stop",
            &[("forward", false), ("kill", true)],
            false,
        ),
        drain: section.duration("drain", default.drain),
        exit_map: section
            .parsed("exit_map", |text| all(text, ExitMap::parse))
            .unwrap_or_default(),
        restart: restart(section),
        warn_on_reap: section.flag("warn_on_reap", &[], false),
        ..default
    }
}

/// Signals that no stop can be asked by: not heard by disco, or no end for a command.
const NO_STOPS: &[i32] = &[
    libc::SIGCHLD,
    libc::SIGSTOP,
    libc::SIGCONT,
    libc::SIGTSTP,
    libc::SIGTTIN,
    libc::SIGTTOU,
];

fn one_that(text: &str, purpose: &str, not: &[i32]) -> Result<i32, String> {
    let number = signal::parse(text)?;
    if not.contains(&number) {
        return Err(format!(
            "`{text}` is no signal that {purpose}; expected one such as `TERM`"
        ));
    }
    Ok(number)
}

/// What is left of the time that the runtime gives before it kills.
fn within(grace: Duration) -> Duration {
    grace.saturating_sub(MARGIN.max(grace / 20)).max(grace / 2)
}

/// Reads a list of which each item is added to what it makes.
fn all<T: Default>(
    text: &str,
    add: impl Fn(&mut T, &str) -> Result<(), String>,
) -> Result<T, String> {
    let mut made = T::default();
    let mut items = split_list(text).into_iter();
    items.try_for_each(|item| add(&mut made, &item))?;
    Ok(made)
}

/// `never`, `always`, `on-failure`, the last two with a limit as `docker run --restart` has it.
fn restart(section: &Section<'_>) -> Restart {
    let default = Restart::default();
    let parse = |text: &str| {
        let (word, limit) = match text.split_once(':') {
            Some((word, limit)) => (word, Some(limit)),
            None => (text, None),
        };
        let when = match word.to_ascii_lowercase().as_str() {
            "never" | "no" if limit.is_none() => When::Never,
            "on-failure" => When::OnFailure,
            "always" => When::Always,
            _ => {
                return Err(format!(
                    "`{text}` is none of `never`, `on-failure`, `always`, `on-failure:5`"
                ));
            }
        };
        let number = |limit: &str| {
            limit
                .parse::<u32>()
                .map_err(|_| format!("`{limit}` is no whole number in range"))
        };
        Ok((when, limit.map(number).transpose()?))
    };
    let (when, limit) = section
        .parsed("restart", parse)
        .unwrap_or((default.when, None));
    let delay = section.duration("restart_delay", default.delay);
    Restart {
        when,
        limit: section.number("restart_limit", limit.unwrap_or(default.limit)),
        // A pause of nothing would be a busy loop.
        delay: delay.max(Duration::from_millis(10)),
        max_delay: section
            .duration("restart_max_delay", default.max_delay)
            .max(delay),
        reset: default.reset,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::checked;
    use super::*;

    fn plan(text: &str) -> Plan {
        checked(text, &[]).unwrap().plan
    }

    #[test]
    fn nothing_set_is_the_default() {
        assert_eq!(plan("").must_stay(), None);
        assert_eq!(format!("{:?}", plan("")), format!("{:?}", Plan::default()));
    }

    #[test]
    fn p25_the_stop_signal_takes_the_place_of_term() {
        let plan = plan("disco.stop_signal=QUIT|disco.rewrite=HUP:0,USR1:10");
        assert_eq!(plan.rewrite.get(libc::SIGTERM), Some(libc::SIGQUIT));
        assert_eq!(plan.rewrite.get(libc::SIGHUP), None);
        assert!(plan.is_stop(libc::SIGQUIT) && plan.is_stop(libc::SIGTERM));
        let plan = self::plan("disco.stop_signal=QUIT|disco.rewrite=TERM:INT");
        assert_eq!(plan.rewrite.get(libc::SIGTERM), Some(libc::SIGINT));
    }

    #[test]
    fn p33_all_is_over_before_the_runtime_loses_patience() {
        let timeout = |text: &str| plan(text).stop_timeout;
        assert_eq!(timeout(""), None);
        let seconds = |s: f64| Some(Duration::from_secs_f64(s));
        assert_eq!(timeout("disco.runtime_grace=10"), seconds(9.5));
        assert_eq!(timeout("disco.runtime_grace=1"), seconds(0.8));
        assert_eq!(timeout("disco.runtime_grace=0.1"), seconds(0.05));
        assert_eq!(
            timeout("disco.runtime_grace=10|disco.stop_timeout=30"),
            seconds(9.5)
        );
        assert_eq!(
            timeout("disco.runtime_grace=10|disco.stop_timeout=3"),
            seconds(3.0)
        );
    }

    #[test]
    fn p42_restarts_are_limited_and_back_off() {
        let restart = plan("disco.restart=on-failure").restart;
        assert_eq!((restart.when, restart.limit), (When::OnFailure, 10));
        let restart = plan("disco.restart=always:3|disco.restart_delay=1s").restart;
        assert_eq!((restart.when, restart.limit), (When::Always, 3));
        assert_eq!(restart.delay, Duration::from_secs(1));
        let restart = plan("disco.restart=always|disco.restart_limit=0|disco.restart_delay=2m|disco.restart_max_delay=1").restart;
        assert_eq!(restart.limit, 0);
        assert_eq!(restart.max_delay, Duration::from_secs(120));
    }

    #[test]
    fn what_cannot_be_is_told_at_once() {
        let told = checked(
            "disco.restart=sometimes|disco.rewrite=TERM|disco.exit_map=300|disco.stop_signal=FOO|disco.second_stop=x|disco.agent_memory=big|disco.parent_death=CHLD",
            &[],
        )
        .unwrap_err();
        assert_eq!(told.len(), 7, "{told:#?}");
    }
}
