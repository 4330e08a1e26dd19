//! etcd: v3 through its JSON gateway, or the v2 keys API where there is no gateway.
//!
//! Reading order: `store` (what a prefix holds, and what pages and events do to it), `failure`,
//! `wire`, `gateway` (the requests), `watch` (read, watch, check), and here the loop around them.
//!
//! Invariants: each attempt starts with a full, linearizable read; no watch is ever resumed, so no
//! history that went back can be missed; only an answer that bears etcd's marks is data.

mod failure;
mod feed;
mod gateway;
mod store;
mod watch;
mod wire;

use std::time::Duration;

use tracing::debug;

use super::{Publisher, etcd2};
use crate::disco::agent::backoff::Backoff;
use crate::disco::settings::{Api, EtcdSettings};
pub(super) use failure::Failure;
pub(super) use feed::Feed;
use gateway::Gateway;
pub(super) use gateway::{ANSWER, FIRST_LINE};

/// A watch that lasted this long was no failure in itself: reading again need not wait.
const STEADY: Duration = Duration::from_secs(1);

/// Follows etcd. Never returns.
pub async fn run(settings: EtcdSettings, publisher: Publisher) {
    let mut follower = Follower {
        api: settings.api,
        gateway: Gateway::new(&settings),
        feed: Feed::new(publisher),
        settings,
        failures: 0,
        is_token_new: false,
        reread: Backoff::new(Duration::from_secs(1)),
    };
    loop {
        let failure = follower.attempt().await;
        follower.recover(failure).await;
    }
}

struct Follower {
    settings: EtcdSettings,
    /// Settled with the first read. v2 and v3 are separate stores: going from one to the other
    /// because a proxy says 404 for a moment would replace the data.
    api: Api,
    gateway: Gateway,
    feed: Feed,
    /// Attempts in a row without a read.
    failures: usize,
    /// Whether another token would not help.
    is_token_new: bool,
    reread: Backoff,
}

impl Follower {
    /// Follows until that fails.
    async fn attempt(&mut self) -> Failure {
        self.feed.start_over();
        if self.api != Api::V2 {
            let Err(failure) =
                watch::follow(&mut self.gateway, &self.settings, &mut self.feed).await;
            self.settle(Api::V3);
            if failure != Failure::Absent || self.api == Api::V3 {
                return failure;
            }
        }
        let Err(failure) =
            etcd2::follow(&mut self.gateway.pool, &self.settings, &mut self.feed).await;
        self.settle(Api::V2);
        failure
    }

    fn settle(&mut self, api: Api) {
        if self.feed.has_read() {
            self.api = api;
        }
    }

    /// Does what has to be done before the next attempt.
    async fn recover(&mut self, failure: Failure) {
        if self.feed.has_read() {
            self.failures = 0;
        }
        if self.feed.is_watched() {
            self.is_token_new = false;
        }
        let endpoint = self.gateway.pool.endpoint().to_string();
        match failure {
            Failure::Outdated(reason) => {
                debug!("etcd {endpoint}: {reason}; reading everything again");
                self.wait_unless_steady().await;
            }
            Failure::Lost(reason) => {
                debug!("etcd {endpoint}: {reason}; reading everything again");
                if !self.feed.is_watched() {
                    self.feed
                        .unwatched(format!("{reason}; reading again every few seconds instead"));
                }
                self.gateway.rotate();
                self.wait_unless_steady().await;
            }
            Failure::Token(reason) if self.gateway.has_user() && !self.is_token_new => {
                debug!("etcd {endpoint}: {reason}; logging in again");
                self.gateway.log_in_again();
                self.is_token_new = true;
            }
            Failure::Token(reason) if !self.gateway.has_user() => {
                self.fail(format!("etcd {endpoint}: {reason}; no user is set"))
                    .await;
            }
            Failure::Token(reason) | Failure::Broken(reason) => {
                self.fail(format!("etcd {endpoint}: {reason}")).await;
            }
            Failure::Absent => {
                let reason = match self.api {
                    Api::Auto => "neither the gateway of v3 nor the keys of v2 are found",
                    Api::V3 => "the gateway of v3 is not found",
                    Api::V2 => "the keys of v2 are not found",
                };
                self.fail(format!("etcd {endpoint}: {reason}")).await;
            }
        }
    }

    /// Goes on with the next endpoint, after a pause once all have failed.
    async fn fail(&mut self, reason: String) {
        self.feed.publisher.down(reason);
        self.gateway.rotate();
        self.failures = self.failures.saturating_add(1);
        if self
            .failures
            .is_multiple_of(self.settings.http.endpoints.len())
        {
            self.feed.publisher.pause().await;
        }
    }

    /// A store that can be read but not watched must not be read without end.
    async fn wait_unless_steady(&mut self) {
        if self.feed.was_watched_for(STEADY) {
            self.reread.reset();
        } else {
            tokio::time::sleep(self.reread.pause()).await;
        }
    }
}
