//! `disco --metrics`: what there is to be measured in this container, as OpenMetrics on stdout. The disco
//! that runs is asked over its status socket; the endpoint of `disco.metrics` need not be on.

use std::io::Write as _;
use std::time::Duration;

use serde_json::Value;
use tracing::error;

use super::explain::ask;
use super::link;
use super::numbers::{self, Numbers};
use super::settings::Settings;
use crate::contract::exit;
use crate::contract::metrics::openmetrics;

/// Prints, and returns the exit code.
#[must_use]
pub fn run(settings: &Settings) -> u8 {
    match ask::ask(&settings.status, link::METRICS, |_| false) {
        Ok(answer) => {
            // A reader that has gone away is no error worth a status.
            let _ = std::io::stdout().write_all(text(&answer.document).as_bytes());
            0
        }
        Err(silence) => {
            error!("{silence}");
            exit::UNAVAILABLE
        }
    }
}

/// What the agent has put together, or, where there is none, what init counts.
fn text(document: &Value) -> String {
    if let Some(text) = document["metrics"].as_str() {
        return text.to_owned();
    }
    let uptime = document["uptime"].as_f64().unwrap_or_default();
    let uptime = Duration::try_from_secs_f64(uptime).unwrap_or_default();
    let start = numbers::ago(uptime);
    let is_configured = document["configured"] == true;
    openmetrics::write(&numbers::families(
        &Numbers::of_document(document),
        start,
        is_configured,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a32_the_agent_has_the_say_and_init_the_rest() {
        assert_eq!(text(&json!({"metrics": "x 1\n# EOF\n"})), "x 1\n# EOF\n");
        let text = text(&json!({"uptime": 1.5, "configured": true, "counts": {"starts": 2}}));
        assert!(
            text.contains("\ndisco_command_restarts_total 1\n"),
            "{text}"
        );
        assert!(text.ends_with("# EOF\n"));
    }
}
