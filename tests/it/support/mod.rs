//! What the tests share: the program under test, the servers around it, and waiting for a fact.
//!
//! Every wait has a deadline and fails with what the process in question has said so far.
//! Everything started here is ended by its own process id when its handle is dropped. Ports come
//! from the kernel.

mod cake;
mod consul;
mod disco;
mod docker;
mod etcd;
mod http;
mod output;
pub(crate) mod proc;
mod proxy;
mod repo;
mod sandbox;
mod server;
mod terminal;
mod tls;
mod web;

use std::ffi::OsString;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

pub(crate) use cake::Cake;
pub(crate) use consul::{Consul, ConsulOptions};
pub(crate) use disco::{Disco, Running};
pub(crate) use docker::{Container, ContainerBuilder, Image, ImageBuilder, inspect_image};
pub(crate) use etcd::{Etcd, EtcdCluster, EtcdOptions};
pub(crate) use http::{Response, request};
pub(crate) use output::Output;
pub(crate) use proxy::{Mode, Proxy};
pub(crate) use repo::Repo;
pub(crate) use sandbox::Sandbox;
pub(crate) use terminal::Terminal;
pub(crate) use tls::Pki;
pub(crate) use web::{Answer, Asked, Web};

/// Settings of a PID 1 in whose namespace the host's directories are: it makes nothing in them.
pub(crate) const NOTHING_OF_THE_HOST: &str = "disco.status=off|disco.data=off";

/// How long anything may take that is expected to happen.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Asks every 2 ms until there is an answer.
///
/// # Panics
/// If there is none within `deadline`; `what` completes "waited in vain for".
pub(crate) fn wait_for<T>(what: &str, deadline: Duration, ask: impl FnMut() -> Option<T>) -> T {
    try_wait_for(deadline, ask)
        .unwrap_or_else(|| panic!("waited in vain for {what} ({deadline:?})"))
}

/// As [`wait_for`], for callers with more to say when there is no answer.
fn try_wait_for<T>(deadline: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + deadline;
    loop {
        // The clock first: a last question is asked after the deadline, however long the thread was
        // not run.
        let late = Instant::now() >= end;
        let answer = ask();
        if answer.is_some() || late {
            return answer;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A port of 127.0.0.1 that was free a moment ago. Another process may take it first, so that
/// whoever listens on it has to be ready to try again with another.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind(local(0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// `port` of the loopback interface.
fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// The root of the repository.
pub(crate) fn repo() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The disco under test: of this build, or `DISCO_BIN`, with which `tests/all.sh` has the one that
/// ships go through the same tests.
pub(crate) fn disco_bin() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let other = std::env::var_os("DISCO_BIN");
        other.map_or_else(|| env!("CARGO_BIN_EXE_disco").into(), PathBuf::from)
    })
}

/// The static disco that ships, which also runs in an image without a libc.
///
/// # Panics
/// Without `DISCO_DIST`, which `tests/all.sh` sets.
pub(crate) fn dist_bin() -> PathBuf {
    PathBuf::from(prepared("DISCO_DIST"))
}

/// The value of a variable that `tests/all.sh` sets after preparing what it names.
fn prepared(variable: &str) -> OsString {
    std::env::var_os(variable).unwrap_or_else(|| {
        panic!("{variable} is not set: this test needs what `tests/all.sh` prepares; run that")
    })
}

/// Whether this is root, who may take on users, limits and mounts; says what is left out if not.
pub(crate) fn is_root(left_out: &str) -> bool {
    let is_root = nix::unistd::geteuid().is_root();
    if !is_root {
        let _ = writeln!(std::io::stderr(), "only root can test {left_out}");
    }
    is_root
}

/// The last lines of a log, for the message of a failed test.
fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}
