//! Sends metrics to an OpenTelemetry receiver over HTTP, as JSON (OTLP 1.x, "OTLP/HTTP").
//!
//! Sums are cumulative, so that a request that fails is not repeated: the next one says it all. What the
//! resource is called follows the variables of the OpenTelemetry SDKs, since people have them set.

use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::serve::Asked;
use crate::contract::metrics::model::Family;
use crate::contract::metrics::otlp;
use crate::disco::agent::http::{self, HttpError, Pool};
use crate::disco::settings::OtlpSettings;
use crate::disco::settings::otlp::decoded;

/// The longest pause that a receiver may ask for.
const LONGEST: Duration = Duration::from_secs(600);

/// Sends what is to be sent.
pub struct Pusher {
    settings: OtlpSettings,
    pool: Pool,
    resource: Vec<(String, String)>,
    start: SystemTime,
    /// Whether the last one failed, and that has been told.
    is_failing: bool,
}

/// Why one failed, and how long the receiver wants to be left alone.
struct Failure {
    reason: String,
    pause: Option<Duration>,
}

impl From<HttpError> for Failure {
    fn from(error: HttpError) -> Self {
        Self {
            reason: error.to_string(),
            pause: None,
        }
    }
}

impl Pusher {
    /// Of a disco that runs since `start`; `name` is the command's.
    #[must_use]
    pub fn new(settings: &OtlpSettings, start: SystemTime, name: &str) -> Self {
        let variable = |name: &str| std::env::var(name).ok();
        Self {
            settings: settings.clone(),
            pool: Pool::new(settings.http.clone()),
            resource: resource(name, &variable, hostname()),
            start,
            is_failing: false,
        }
    }

    /// Sends at the interval that is set, until it has sent the last there is; `ask` is told whenever
    /// something is wanted.
    pub async fn run(
        mut self,
        ask: mpsc::UnboundedSender<Asked>,
        mut last: oneshot::Receiver<Vec<Family>>,
    ) {
        let mut next = Instant::now() + self.settings.interval;
        let families = loop {
            let turn = async {
                tokio::time::sleep_until(next).await;
                next = Instant::now() + self.settings.interval;
                let (sender, receiver) = oneshot::channel();
                ask.send(sender).ok()?;
                let families = receiver.await.ok()?;
                if let Some(pause) = self.push(&families).await {
                    next = next.max(Instant::now() + pause);
                }
                Some(())
            };
            // Whatever is under way, the last word goes before it.
            tokio::select! {
                last = &mut last => break last.ok(),
                turn = turn => if turn.is_none() { break last.await.ok() },
            }
        };
        if let Some(families) = families {
            // The connection may have been given up in the middle.
            self.pool.rotate();
            self.push(&families).await;
        }
    }

    /// Sends once. Returns how long the receiver wants to be left alone.
    async fn push(&mut self, families: &[Family]) -> Option<Duration> {
        let sent = tokio::time::timeout(self.settings.timeout, self.send(families)).await;
        let failure = match sent {
            Ok(Ok(())) => {
                if std::mem::take(&mut self.is_failing) {
                    info!("metrics are taken again by {}", self.pool.endpoint());
                }
                return None;
            }
            Ok(Err(failure)) => failure,
            Err(_) => Failure {
                reason: "no answer in time".to_owned(),
                pause: None,
            },
        };
        // A connection that failed is not used again.
        self.pool.rotate();
        let (to, reason) = (self.pool.endpoint(), failure.reason);
        match std::mem::replace(&mut self.is_failing, true) {
            false => {
                warn!("metrics are not taken by {to}: {reason}; trying again, see `disco.otlp`")
            }
            true => debug!("metrics are not taken by {to}: {reason}"),
        }
        failure.pause
    }

    async fn send(&mut self, families: &[Family]) -> Result<(), Failure> {
        let request = otlp::request(families, &self.resource, self.start, SystemTime::now());
        let url = self.pool.url(&self.settings.path);
        let mut request = self
            .pool
            .client()?
            .post(url)
            .header("content-type", "application/json")
            .body(request.to_string());
        for (name, value) in &self.settings.headers {
            request = request.header(name, http::sensitive(&value.0)?);
        }
        let reply = http::fetch(request).await?;
        if reply.status.is_success() {
            return Ok(());
        }
        let pause = reply
            .header("retry-after")
            .and_then(|text| text.parse().ok());
        Err(Failure {
            reason: format!("it answers {}", reply.status),
            pause: pause.map(|seconds| Duration::from_secs(seconds).min(LONGEST)),
        })
    }
}

fn hostname() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}

/// The attributes of the resource: those of `OTEL_RESOURCE_ATTRIBUTES`, `service.name` by
/// `OTEL_SERVICE_NAME`, else by the command, and the host, which is the container.
fn resource(
    name: &str,
    variable: &dyn Fn(&str) -> Option<String>,
    host: Option<String>,
) -> Vec<(String, String)> {
    let given = variable("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
    let pairs = given.split(',').filter_map(|pair| pair.split_once('='));
    let mut all: Vec<(String, String)> = Vec::new();
    let mut set = |key: &str, value: &str| {
        all.retain(|(known, _)| known != key);
        all.push((key.to_owned(), value.to_owned()));
    };
    set("service.name", name);
    if let Some(host) = host {
        set("host.name", &host);
    }
    for (key, value) in pairs {
        set(key.trim(), &decoded(value.trim()));
    }
    if let Some(name) = variable("OTEL_SERVICE_NAME").filter(|name| !name.is_empty()) {
        set("service.name", &name);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a32_the_resource_is_called_as_the_sdks_call_it() {
        let of = |set: &[(&str, &str)]| {
            let find = |name: &str| {
                let found = set.iter().find(|(key, _)| *key == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            let mut all = resource("app", &find, Some("c1".to_owned()));
            all.sort();
            all
        };
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(
            of(&[]),
            [pair("host.name", "c1"), pair("service.name", "app")]
        );
        let set = [
            (
                "OTEL_RESOURCE_ATTRIBUTES",
                "service.name=x, host.name=a%20h,broken,deployment.environment=prod",
            ),
            ("OTEL_SERVICE_NAME", "shop"),
        ];
        assert_eq!(
            of(&set),
            [
                pair("deployment.environment", "prod"),
                pair("host.name", "a h"),
                pair("service.name", "shop")
            ]
        );
    }
}
