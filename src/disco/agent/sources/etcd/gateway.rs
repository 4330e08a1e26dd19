//! Requests to the JSON gateway: which of its paths is there, logging in, reading, watching.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::timeout;
use tracing::debug;

use super::failure::{self, Failure};
use super::store;
use super::wire::{Bytes, LoginRaw, RangeRaw, WatchRaw};
use crate::disco::agent::backoff;
use crate::disco::agent::http::{self, Lines, Pool, Reply, RequestBuilder};
use crate::disco::settings::{EtcdSettings, HttpSettings, Secret};

/// The gateway's path by version: 3.4, 3.3, 3.2. Each version has those of the next older one, too.
const PATHS: [&str; 3] = ["/v3", "/v3beta", "/v3alpha"];

/// Time limit of an answer, its body included.
pub(crate) const ANSWER: Duration = Duration::from_secs(10);

/// Time limit of the first line of a watch: one with a mistake is never answered, not even by a
/// head (conformance 2.2.3).
pub(crate) const FIRST_LINE: Duration = Duration::from_secs(5);

/// Keys per page.
const PAGE: u64 = 1000;

enum Login {
    /// Before anything else is asked.
    Due,
    Token(String),
    /// No user is set, or the server has authentication off.
    None,
}

/// The gateway of one endpoint at a time.
pub(super) struct Gateway {
    pub(super) pool: Pool,
    user: Option<(String, Secret)>,
    login: Login,
    /// The path that was there last.
    path: Option<&'static str>,
    range: (Bytes, Bytes),
}

impl Gateway {
    pub(super) fn new(settings: &EtcdSettings) -> Self {
        let (first, end) = store::span(settings.prefix.as_bytes());
        let mut gateway = Self {
            pool: Pool::new(shuffled(settings.http.clone())),
            user: settings.user.clone(),
            login: Login::None,
            path: None,
            range: (Bytes(first), Bytes(end)),
        };
        gateway.log_in_again();
        gateway
    }

    /// Goes on to the next endpoint. Tokens are the endpoint's own.
    pub(super) fn rotate(&mut self) {
        self.pool.rotate();
        self.log_in_again();
    }

    pub(super) fn log_in_again(&mut self) {
        self.login = match self.user {
            Some(_) => Login::Due,
            None => Login::None,
        };
    }

    pub(super) fn has_user(&self) -> bool {
        self.user.is_some()
    }

    /// Gets a token if one is due.
    pub(super) async fn log_in(&mut self) -> Result<(), Failure> {
        let (Login::Due, Some((name, password))) = (&self.login, &self.user) else {
            return Ok(());
        };
        let message = json!({"name": name, "password": password.0});
        let reply = self.send("/auth/authenticate", &message, ANSWER).await?;
        if reply.status.as_u16() != 200 && failure::is_login_off(&reply.body) {
            debug!("etcd {} has authentication off", self.pool.endpoint());
            self.login = Login::None;
            return Ok(());
        }
        let LoginRaw { token } = parse(reply).map_err(|failure| match failure {
            // No other token will help.
            Failure::Token(reason) => Failure::Broken(reason),
            failure => failure,
        })?;
        if token.is_empty() {
            return Err(Failure::garbage());
        }
        self.login = Login::Token(token);
        Ok(())
    }

    /// A page of the prefix: the first as of now, each further one from `start` as of `revision`.
    pub(super) async fn page(&mut self, rest: Option<(Vec<u8>, u64)>) -> Result<RangeRaw, Failure> {
        let (start, revision) = match rest {
            Some((start, revision)) => (Bytes(start), revision),
            None => (self.range.0.clone(), 0),
        };
        let message = json!({
            "key": start,
            "range_end": self.range.1,
            "limit": PAGE.to_string(),
            "revision": revision.to_string(),
        });
        self.call("/kv/range", &message, ANSWER).await
    }

    /// Asks for keys modified after `revision`, and how many keys there are now.
    pub(super) async fn probe(
        &mut self,
        revision: u64,
        limit: Duration,
    ) -> Result<RangeRaw, Failure> {
        let message = json!({
            "key": self.range.0,
            "range_end": self.range.1,
            "limit": "1",
            "keys_only": true,
            "min_mod_revision": revision.saturating_add(1).to_string(),
        });
        self.call("/kv/range", &message, limit).await
    }

    /// Opens a watch of the prefix. Returns the stream and its first line.
    pub(super) async fn watch(&mut self, start: u64) -> Result<(Lines, WatchRaw), Failure> {
        let message = json!({"create_request": {
            "key": self.range.0,
            "range_end": self.range.1,
            "start_revision": start.to_string(),
            "progress_notify": true,
        }});
        // A member cut off from its cluster ends the watch instead of leaving it silent.
        let request = self
            .post(self.path.unwrap_or(PATHS[0]), "/watch", &message)?
            .header("Grpc-Metadata-Hasleader", "true");
        match timeout(FIRST_LINE, first_line(request)).await {
            Ok(opened) => opened,
            Err(_) => Err(Failure::Broken("no answer in time".to_owned())),
        }
    }

    async fn call<T: serde::de::DeserializeOwned>(
        &mut self,
        method: &str,
        message: &Value,
        limit: Duration,
    ) -> Result<T, Failure> {
        parse(self.send(method, message, limit).await?)
    }

    /// Sends a message to the path that was there last, or to the first that is there.
    async fn send(
        &mut self,
        method: &str,
        message: &Value,
        limit: Duration,
    ) -> Result<Reply, Failure> {
        for path in self.path.into_iter().chain(PATHS) {
            let request = self.post(path, method, message)?.timeout(limit);
            let reply = http::fetch(request).await?;
            if reply.status.as_u16() != 404 {
                self.path = Some(path);
                return Ok(reply);
            }
        }
        self.path = None;
        Err(Failure::Absent)
    }

    fn post(
        &mut self,
        path: &str,
        method: &str,
        message: &Value,
    ) -> Result<RequestBuilder, Failure> {
        let url = self.pool.url(&format!("{path}{method}"));
        let request = self
            .pool
            .client()?
            .post(url)
            .header("Content-Type", "application/json")
            .body(message.to_string());
        Ok(match &self.login {
            // Without `Bearer`, with which it is refused.
            Login::Token(token) => request.header("Authorization", http::sensitive(token)?),
            Login::Due | Login::None => request,
        })
    }
}

async fn first_line(request: RequestBuilder) -> Result<(Lines, WatchRaw), Failure> {
    let mut lines = match http::stream(request).await? {
        Ok(lines) => lines,
        Err(reply) => return Err(failure::refusal(reply.status.as_u16(), &reply.body)),
    };
    match lines.next().await? {
        Some(line) => Ok((lines, store::parse_line(&line)?)),
        None => Err(Failure::Broken("the answer is empty".to_owned())),
    }
}

fn parse<T: serde::de::DeserializeOwned>(reply: Reply) -> Result<T, Failure> {
    if reply.status.as_u16() != 200 {
        return Err(failure::refusal(reply.status.as_u16(), &reply.body));
    }
    serde_json::from_slice(&reply.body).map_err(|_| Failure::garbage())
}

/// So that the containers of a host do not all read from the same member.
fn shuffled(mut settings: HttpSettings) -> HttpSettings {
    let mut drawn: Vec<_> = settings
        .endpoints
        .into_iter()
        .map(|endpoint| (backoff::random(), endpoint))
        .collect();
    drawn.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    settings.endpoints = drawn.into_iter().map(|(_, endpoint)| endpoint).collect();
    settings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disco::settings::Endpoint;
    use std::path::PathBuf;

    #[test]
    fn e2_2_11_endpoints_are_shuffled_and_none_is_lost() {
        let settings = |names: &[&str]| HttpSettings {
            endpoints: names
                .iter()
                .map(|name| Endpoint {
                    base: (*name).to_owned(),
                    unix: None::<PathBuf>,
                })
                .collect(),
            ca_file: None,
            ca_path: None,
            client: None,
            server_name: None,
            verify: true,
            connect_timeout: Duration::from_secs(1),
        };
        let names = ["a", "b", "c", "d"];
        let mut firsts = std::collections::BTreeSet::new();
        for _ in 0..200 {
            let mut got: Vec<String> = shuffled(settings(&names))
                .endpoints
                .into_iter()
                .map(|endpoint| endpoint.base)
                .collect();
            firsts.insert(got[0].clone());
            got.sort();
            assert_eq!(got, names);
        }
        assert_eq!(firsts.len(), names.len());
    }
}
