//! Following a store through v3: read all of it, watch it from there on, and check by a small read
//! now and then that the watch still tells everything.

use std::cell::Cell;
use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

use tokio::time::sleep;

use super::failure::Failure;
use super::feed::Feed;
use super::gateway::{ANSWER, Gateway};
use super::store::{Head, Seen, Store};
use crate::disco::agent::http::{HttpError, Lines};
use crate::disco::agent::sources::Throttle;
use crate::disco::settings::EtcdSettings;

/// How long the watch may take to tell of what a read has already shown.
const LAG: Duration = Duration::from_secs(2);

/// Most bytes of keys and values; a tree of configuration is never that large.
const MAX_STORE: usize = 64 << 20;

/// Publishes the store and every change of it, for as long as that goes well.
pub(super) async fn follow(
    gateway: &mut Gateway,
    settings: &EtcdSettings,
    feed: &mut Feed,
) -> Result<Infallible, Failure> {
    gateway
        .log_in()
        .await
        .map_err(|failure| failure.during("log in"))?;
    let mut store = read(gateway)
        .await
        .map_err(|failure| failure.during("read"))?;
    feed.publish(store.tree(&settings.prefix, settings.decode));
    let mut lines = watch(gateway, store.head())
        .await
        .map_err(|failure| failure.during("watch"))?;
    feed.watching();
    let seen = Cell::new(store.seen());
    tokio::select! {
        ended = listen(&mut lines, &mut store, &seen, settings, feed) => {
            ended.map_err(|failure| failure.during("watch"))
        }
        ended = check(gateway, settings.keepalive, &seen) => {
            ended.map_err(|failure| failure.during("check of the watch"))
        }
    }
}

/// Reads all keys, as of one revision.
async fn read(gateway: &mut Gateway) -> Result<Store, Failure> {
    let page = gateway.page(None).await?;
    let head = Head::parse(page.header)?;
    let mut store = Store::new(head);
    let mut size = page.size();
    let mut next = store.add_page(page)?;
    while let Some(start) = next {
        let page = gateway.page(Some((start, head.revision))).await?;
        head.is_followed_by(Head::parse(page.header)?)?;
        size += page.size();
        next = store.add_page(page)?;
        if size > MAX_STORE {
            return Err(Failure::Broken(format!(
                "the prefix holds more than {} MB",
                MAX_STORE >> 20
            )));
        }
    }
    Ok(store)
}

/// Opens a watch that goes on where the read was.
async fn watch(gateway: &mut Gateway, head: Head) -> Result<Lines, Failure> {
    let opened = gateway.watch(head.revision.saturating_add(1)).await;
    match opened.and_then(|(lines, first)| Ok((lines, first.created, Head::parse(first.header)?))) {
        Ok((lines, true, now)) => head.is_followed_by(now).map(|()| lines),
        Ok((_, false, _)) => Err(Failure::garbage().of_watch()),
        Err(failure) => Err(failure.of_watch()),
    }
}

/// Publishes what the watch tells. When changes come faster than they may be published, one tree
/// shows many.
async fn listen(
    lines: &mut Lines,
    store: &mut Store,
    seen: &Cell<Seen>,
    settings: &EtcdSettings,
    feed: &mut Feed,
) -> Result<Infallible, Failure> {
    let mut throttle = Throttle::default();
    loop {
        while !apply(lines.next().await, store, seen)? {}
        let absorbed = absorb(lines, store, seen, throttle.take()).await;
        // What came before the end of the watch stands, except before a break in the history.
        if !matches!(absorbed, Err(Failure::Outdated(_))) {
            feed.publish(store.tree(&settings.prefix, settings.decode));
        }
        absorbed?;
    }
}

/// Applies lines until it is `turn`.
async fn absorb(
    lines: &mut Lines,
    store: &mut Store,
    seen: &Cell<Seen>,
    turn: impl Future<Output = ()>,
) -> Result<(), Failure> {
    let mut turn = pin!(turn);
    loop {
        tokio::select! {
            biased;
            () = &mut turn => return Ok(()),
            line = lines.next() => apply(line, store, seen)?,
        };
    }
}

/// Applies a line, if it is one. Returns whether it tells of changes.
fn apply(
    line: Result<Option<Vec<u8>>, HttpError>,
    store: &mut Store,
    seen: &Cell<Seen>,
) -> Result<bool, Failure> {
    let line = line.map_err(|error| Failure::from(error).of_watch())?;
    let line = line.ok_or_else(|| Failure::Lost("the server ended it".to_owned()))?;
    let has_changes = store.apply(&line).map_err(Failure::of_watch)?;
    seen.set(store.seen());
    Ok(has_changes)
}

/// Compares what the watch has told with the store, at each `keepalive`: a server may freeze, and
/// a watch may be silent because its history went back or something in between lost it
/// (conformance 2.2.8).
async fn check(
    gateway: &mut Gateway,
    keepalive: Duration,
    seen: &Cell<Seen>,
) -> Result<Infallible, Failure> {
    let limit = keepalive.clamp(Duration::from_secs(2), ANSWER);
    loop {
        sleep(keepalive).await;
        let before = seen.get();
        let answer = gateway.probe(before.head.revision, limit).await?;
        before.head.is_followed_by(Head::parse(answer.header)?)?;
        if before.is_behind(&answer) {
            sleep(LAG).await;
            if before.is_silent_until(seen.get()) {
                return Err(Failure::Lost(
                    "keys have changed of which it does not tell".to_owned(),
                ));
            }
        }
    }
}
