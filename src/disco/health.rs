//! `disco --health`, for Docker's HEALTHCHECK: asks the disco that runs, then the probe. Healthy is a
//! container that is configured and whose command runs, is ready, and passes the probe.
//!
//! Exits with 0 or 1 and nothing else: Docker keeps the other codes for itself.

use std::io::Write as _;
use std::time::Duration;

use serde_json::Value;

use super::contract;
use super::explain::ask::{self, Answer};
use super::link;
use super::probe;
use super::settings::Settings;
use crate::contract::exit::UNHEALTHY;
use crate::contract::health::{Check, TIMEOUT};

/// Says on stdout whether all is well, and why not, and returns the exit code.
#[must_use]
pub fn run(settings: &Settings) -> u8 {
    match judge(settings) {
        Ok(why) => say("healthy", &why, 0),
        Err(why) => unhealthy(&why),
    }
}

/// Says on stdout what is wrong, and returns the exit code for it.
#[must_use]
pub fn unhealthy(why: &str) -> u8 {
    say("unhealthy", why, UNHEALTHY)
}

fn say(word: &str, why: &str, code: u8) -> u8 {
    let line: String = why
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    // A reader that has gone away still sees the code.
    let _ = writeln!(std::io::stdout(), "{word}: {line}");
    code
}

fn judge(settings: &Settings) -> Result<String, String> {
    // What init knows is enough, unless it waits: then the agent knows for what.
    let is_enough = |document: &Value| document["configured"] == true;
    let answer = ask::ask(&settings.status, link::STATUS, is_enough);
    let answer = answer.map_err(|silence| silence.to_string())?;
    of_document(&answer)?;
    match own_probe(settings) {
        Some((check, limit)) => probe::run(&check, limit),
        None => Ok("the command is ready".to_owned()),
    }
}

/// What is asked beside disco: as the settings have it, else as the contract does.
fn own_probe(settings: &Settings) -> Option<(Check, Duration)> {
    let status = &settings.status;
    let (check, limit) = match &status.health {
        Some(check) => (check.clone(), None),
        None => {
            let probe = contract::read(&settings.contract)?.health?;
            (probe.check, probe.timeout)
        }
    };
    Some((check, status.health_timeout.or(limit).unwrap_or(TIMEOUT)))
}

/// What disco itself says.
fn of_document(Answer { document, .. }: &Answer) -> Result<(), String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let command = &document["command"];
    // While a hook runs that is what matters, whatever the command does.
    match document["phase"].as_str() {
        Some("startup") => return Err("the startup hook is running".to_owned()),
        Some("shutdown") => return Err("the container is shutting down".to_owned()),
        _ => {}
    }
    if document["configured"] != true {
        let reason = text(&document["waiting_for"][0]);
        return Err(if reason.is_empty() {
            "not configured yet".to_owned()
        } else {
            format!("not configured yet: {reason}")
        });
    }
    if command["state"] != "running" {
        return Err(format!(
            "the command does not run: {}",
            text(&command["state"])
        ));
    }
    match text(&document["phase"]).as_str() {
        "running" if document["ready"] == true => Ok(()),
        "running" => Err(match command["status"].as_str() {
            Some(status) => format!("the command is not ready: {status}"),
            None => {
                "the command is not ready; with `disco.notify` it says so by READY=1".to_owned()
            }
        }),
        phase => Err(format!("the container is {phase}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(document: Value) -> Result<(), String> {
        let is_whole = true;
        of_document(&Answer { document, is_whole })
    }

    #[test]
    fn healthy_is_configured_running_and_ready() {
        let whole = json!({"configured": true, "phase": "running", "ready": true,
            "command": {"state": "running"}});
        assert_eq!(told(whole.clone()), Ok(()));
        for (pointer, value, expected) in [
            ("/configured", json!(false), "not configured yet"),
            (
                "/command/state",
                json!("restarting"),
                "the command does not run: restarting",
            ),
            (
                "/ready",
                json!(false),
                "the command is not ready; with `disco.notify` it says so by READY=1",
            ),
            ("/phase", json!("startup"), "the startup hook is running"),
            ("/phase", json!("stopping"), "the container is stopping"),
        ] {
            let mut document = whole.clone();
            *document.pointer_mut(pointer).unwrap() = value;
            assert_eq!(told(document), Err(expected.to_owned()));
        }
        let waiting = json!({"configured": false, "waiting_for": ["rule x needs y"]});
        assert_eq!(
            told(waiting),
            Err("not configured yet: rule x needs y".to_owned())
        );
        assert!(told(json!({})).is_err());
    }
}
