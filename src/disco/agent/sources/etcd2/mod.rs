//! Following a store through the keys API of etcd v2: read all of it, wait for one change, read
//! again. `wire` has what it answers, `keys` what that means.

mod keys;
mod wire;

use std::convert::Infallible;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use tokio::time::{sleep, timeout};

use super::Throttle;
use super::etcd::{ANSWER, FIRST_LINE, Failure, Feed};
use crate::disco::agent::http::{self, Pool, Reply, RequestBuilder};
use crate::disco::settings::EtcdSettings;
use keys::Index;

/// Publishes the store and every change of it, for as long as that goes well.
pub(super) async fn follow(
    pool: &mut Pool,
    settings: &EtcdSettings,
    feed: &mut Feed,
) -> Result<Infallible, Failure> {
    let mut throttle = Throttle::default();
    loop {
        throttle.take().await;
        let index = read(pool, settings, feed)
            .await
            .map_err(|failure| failure.during("read"))?;
        let wait = wait(pool, settings, &index)?;
        tokio::select! {
            changed = hear(wait, feed) => {
                changed.map_err(|failure| failure.of_watch().during("wait"))?;
            }
            moved = check(pool, settings, &index) => {
                moved.map_err(|failure| failure.during("check of the wait"))?;
            }
        }
    }
}

/// Reads and publishes all keys.
async fn read(pool: &mut Pool, settings: &EtcdSettings, feed: &mut Feed) -> Result<Index, Failure> {
    let query = "?recursive=true&sorted=true&quorum=true";
    let reply = http::fetch(get(pool, settings, query)?.timeout(ANSWER)).await?;
    let root = keys::node(reply.status.as_u16(), &reply.body)?;
    let index = index(&reply)?;
    feed.publish(keys::tree(root.as_ref(), &settings.prefix, settings.decode));
    Ok(index)
}

/// The request that is answered by the first change after `index`.
fn wait(
    pool: &mut Pool,
    settings: &EtcdSettings,
    index: &Index,
) -> Result<RequestBuilder, Failure> {
    let next = index.index.saturating_add(1);
    let query = format!("?wait=true&recursive=true&waitIndex={next}");
    get(pool, settings, &query)
}

/// Waits for a change.
async fn hear(wait: RequestBuilder, feed: &mut Feed) -> Result<(), Failure> {
    // The head comes at once, and the body with the change.
    let opened = timeout(FIRST_LINE, http::stream(wait))
        .await
        .map_err(|_| Failure::Lost("no answer in time".to_owned()))?;
    let mut lines = match opened? {
        Ok(lines) => lines,
        Err(reply) => {
            return match keys::node(reply.status.as_u16(), &reply.body) {
                Err(Failure::Outdated(_)) => Ok(()),
                Err(failure) => Err(failure),
                // It is fine to wait for a key that is not there.
                Ok(_) => Err(Failure::garbage()),
            };
        }
    };
    feed.watching();
    match lines.next().await? {
        Some(line) => keys::node(200, &line).map(drop),
        None => Err(Failure::Lost("the server ended it".to_owned())),
    }
}

/// Compares the index with that of the store, at each `keepalive`. When it has moved, reading again
/// is right whether it went back, as in a restored store, or on: only the newest 1000 changes can
/// be waited for, also if all of them are outside of the prefix.
async fn check(pool: &mut Pool, settings: &EtcdSettings, known: &Index) -> Result<(), Failure> {
    let limit = settings.keepalive.clamp(Duration::from_secs(2), ANSWER);
    loop {
        sleep(settings.keepalive).await;
        let reply = http::fetch(get(pool, settings, "?quorum=true")?.timeout(limit)).await?;
        keys::node(reply.status.as_u16(), &reply.body)?;
        if index(&reply)? != *known {
            return Ok(());
        }
    }
}

fn get(pool: &mut Pool, settings: &EtcdSettings, query: &str) -> Result<RequestBuilder, Failure> {
    let url = pool.url(&format!("{}{query}", keys::path(&settings.prefix)));
    let request = pool.client()?.get(url);
    Ok(match &settings.user {
        Some((name, password)) => {
            let login = BASE64_STANDARD.encode(format!("{name}:{}", password.0));
            request.header("Authorization", http::sensitive(&format!("Basic {login}"))?)
        }
        None => request,
    })
}

fn index(reply: &Reply) -> Result<Index, Failure> {
    Index::parse(
        reply.header("X-Etcd-Index"),
        reply.header("X-Etcd-Cluster-Id"),
    )
}
