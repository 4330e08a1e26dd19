//! Consul: the key-value store, and the health of services, each by blocking query.
//!
//! One loop serves both (`Subject` says how they differ): read everything, publish, ask again with
//! the index of the answer, which Consul answers when something has changed or the wait is over.
//! Exactly one request is open, and each has a time limit, so that a frozen connection is noticed.
//!
//! Invariant: after any failure the next read is a full one that does not block. An old index means
//! nothing to a server that has lost its history: it would keep a query from the future open for the
//! whole wait, and give another state the same index (conformance 2.1.5).
//!
//! A limit of Consul's (seen in 1.8.7): `delete -recurse app` may not wake who watches `app/`, because
//! the deletion is recorded under the shorter prefix. It shows when the wait is over, at the latest.

mod answer;
mod health;
mod held;
mod kv;
mod query;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use serde_json::{Map, Value};
use tracing::{debug, error};

use self::answer::{Answer, Failure};
use self::held::Held;
use self::query::{Read, Subject};
use super::{Publisher, Throttle};
use crate::disco::agent::backoff::Backoff;
use crate::disco::agent::http::{self, Pool, uncapitalised};
use crate::disco::settings::{Consistency, ConsulSettings, Secret, TokenSource};

/// Pause after an answer that says that a setting is wrong: only a restart will change that, or
/// somebody's repair of the server.
const SLOW: Duration = Duration::from_secs(30);

/// A stale answer from a server that has not heard of its leader for longer is asked for again.
const MAX_STALE: Duration = Duration::from_secs(10);

/// How long there may be no data before a missing permission becomes the likelier cause.
const SUSPICIOUS: Duration = Duration::from_secs(30);

/// Publishes the keys below the prefix. Never returns.
pub async fn run(settings: ConsulSettings, publisher: Publisher) {
    watch(settings, Subject::Keys, publisher).await;
}

/// Publishes the passing instances of a service as `services.NAME`. Never returns.
pub async fn run_service(settings: ConsulSettings, service: String, publisher: Publisher) {
    watch(settings, Subject::Service(service), publisher).await;
}

async fn watch(settings: ConsulSettings, subject: Subject, publisher: Publisher) {
    let mut watch = Watch {
        pool: Pool::new(settings.http.clone()),
        held: Held::new(subject.quiescence()),
        settings,
        subject,
        publisher,
        throttle: Throttle::default(),
        read: Read::Full,
        mistrusts_stale: false,
        empty_since: None,
        // Beside the publisher's, which starts over with each full read: a server that answers those
        // and fails each blocking query would else be asked, and complained of, many times a second.
        flapping: Backoff::new(Duration::from_secs(1)),
        failed_endpoints: 0,
        wrong_setting: None,
    };
    loop {
        let asked = Instant::now();
        match watch.next().await {
            Ok(answer) => watch.take(answer, asked.elapsed()),
            Err(failure) => watch.recover(failure).await,
        }
    }
}

/// The state of one loop.
struct Watch {
    settings: ConsulSettings,
    subject: Subject,
    publisher: Publisher,
    pool: Pool,
    throttle: Throttle,
    held: Held,
    /// What is read next.
    read: Read,
    /// A stale answer was too old; the leader is asked until something fails.
    mistrusts_stale: bool,
    empty_since: Option<Instant>,
    flapping: Backoff,
    /// Endpoints that failed since the last pause.
    failed_endpoints: usize,
    /// The complaint about a setting that was logged last.
    wrong_setting: Option<String>,
}

impl Watch {
    /// The answer to the next read. Meanwhile publishes what was held back.
    async fn next(&mut self) -> Result<Answer, Failure> {
        let stale = self.settings.consistency == Consistency::Stale && !self.mistrusts_stale;
        let request = ask(
            &self.settings,
            &self.subject,
            self.read,
            stale,
            &mut self.pool,
            &mut self.throttle,
        );
        tokio::pin!(request);
        loop {
            tokio::select! {
                outcome = &mut request => return outcome,
                () = self.held.due() => publish(&mut self.publisher, self.held.release()),
            }
        }
    }

    fn take(&mut self, answer: Answer, elapsed: Duration) {
        if self.settings.consistency == Consistency::Stale
            && !self.mistrusts_stale
            && answer.age > MAX_STALE
        {
            debug!(age = ?answer.age, "the answer is too old; asking the leader");
            self.mistrusts_stale = true;
            self.read = Read::Full;
            return;
        }
        if let Read::After(_) = self.read {
            self.flapping.reset();
            self.failed_endpoints = 0;
        }
        let next = self.read.next(answer.index, elapsed, self.settings.wait);
        if let (Read::After(sent), Read::Full) = (self.read, next) {
            debug!(
                sent,
                got = answer.index,
                "the index is not newer; reading anew"
            );
        }
        self.read = next;
        self.wrong_setting = None;
        let mut notes = answer.notes;
        notes.extend(self.suspicion(self.subject.is_empty(&answer.tree)));
        let due = self.held.offer(answer.tree, notes, Instant::now());
        publish(&mut self.publisher, due);
    }

    /// Consul answers who may not read as if there was nothing (conformance 2.1.9). Normal for a
    /// while, when the container is there before its data; worth a warning when it stays.
    fn suspicion(&mut self, is_empty: bool) -> Option<String> {
        if !is_empty {
            self.empty_since = None;
            return None;
        }
        let hint = self.subject.emptiness(&self.settings);
        let Some(since) = self.empty_since else {
            debug!("{hint}");
            self.empty_since = Some(Instant::now());
            return None;
        };
        // Where only services were asked for, nobody expects keys.
        let is_expected = matches!(self.subject, Subject::Keys)
            && self.settings.prefix.is_empty()
            && !self.settings.services.is_empty();
        (since.elapsed() >= SUSPICIOUS && !is_expected).then_some(hint)
    }

    async fn recover(&mut self, failure: Failure) {
        publish(&mut self.publisher, self.held.release());
        let reason = format!("consul {}: {}", self.pool.endpoint(), failure.reason());
        if matches!(failure, Failure::Settings(_)) && self.wrong_setting.as_ref() != Some(&reason) {
            error!("{reason}");
            self.wrong_setting = Some(reason.clone());
        }
        self.publisher.down(reason);
        let was_blocking = matches!(self.read, Read::After(_));
        self.read = Read::Full;
        self.mistrusts_stale = false;
        self.pool.rotate();
        self.failed_endpoints += 1;
        // Other endpoints are tried at once, and a pause made when all have failed.
        if self.failed_endpoints < self.pool.count() {
            return;
        }
        self.failed_endpoints = 0;
        if matches!(failure, Failure::Settings(_)) {
            tokio::time::sleep(SLOW).await;
        } else if was_blocking {
            tokio::time::sleep(self.flapping.pause()).await;
        } else {
            self.publisher.pause().await;
        }
    }
}

fn publish(publisher: &mut Publisher, state: Option<(Value, Vec<String>)>) {
    if let Some((tree, notes)) = state {
        publisher.note(notes);
        publisher.snapshot(tree);
    }
}

async fn ask(
    settings: &ConsulSettings,
    subject: &Subject,
    read: Read,
    stale: bool,
    pool: &mut Pool,
    throttle: &mut Throttle,
) -> Result<Answer, Failure> {
    throttle.take().await;
    let client = pool.client()?;
    let mut request = client.get(pool.url(&query::target(settings, subject, read, stale)));
    let token = settings.token.as_ref().map(token).transpose()?;
    if let Some(token) = &token {
        request = request.header("X-Consul-Token", http::sensitive(token)?);
    }
    if let Some((user, password)) = &settings.basic {
        request = request.basic_auth(user, Some(&password.0));
    }
    let limit = read.limit(settings.wait);
    let reply = tokio::time::timeout(limit, http::fetch(request))
        .await
        .map_err(|_| Failure::late(limit))??;
    let head = answer::Head {
        status: reply.status.as_u16(),
        index: reply.header("X-Consul-Index"),
        last_contact: reply.header("X-Consul-LastContact"),
    };
    answer::read(settings, subject, &head, &reply.body, token.as_deref())
}

/// The token as it is now. An empty file is one being rewritten: without a token Consul would answer
/// as if there was nothing.
fn token(source: &TokenSource) -> Result<String, Failure> {
    let (text, shown) = match source {
        TokenSource::Text(Secret(text)) => (text.clone(), "`consul.token`".to_owned()),
        TokenSource::File(path) => {
            let shown = format!("token file `{}`", path.display());
            match std::fs::read_to_string(path) {
                Ok(text) => (text, shown),
                Err(error) => {
                    return Err(Failure::of(format!(
                        "read {shown}: {}",
                        uncapitalised(&error.to_string())
                    )));
                }
            }
        }
    };
    match text.trim() {
        "" => Err(Failure::of(format!("{shown} is empty"))),
        token => Ok(token.to_owned()),
    }
}

/// The tree of a source that has nothing.
fn nothing() -> Value {
    Value::Object(Map::new())
}
