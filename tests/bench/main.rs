//! What disco costs beside its peers, each measured in turn in the same run: read the ratios.
//!
//! `cargo bench --bench disco -- [NAMES]`, all benches without names. `DISCO_DIST` names the disco to
//! measure; otherwise the one that ships is built. As root, since disco and the peers run as PID 1 of
//! a namespace. Nothing here fails a build: a peer or server that is missing is said to be.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench prints, and one that cannot go on fails"
)]

/// From a file of data to the command.
mod configure;
/// SIGTERM while the init starts.
mod early;
/// Memory and wake-ups of what stays.
mod memory;
/// Reaping what others leave.
mod orphans;
/// From a change of the data to the handler.
mod react;
/// What this program does when a bench runs it as a command or a handler.
mod roles;
/// Forwarding.
mod signals;
/// `disco true`.
mod start;
/// Consul, etcd, namespaces, sandboxes: as in the tests.
#[expect(
    dead_code,
    unused_imports,
    reason = "each helper serves some tests only"
)]
#[path = "../it/support/mod.rs"]
mod support;
/// Log lines through pipes and files.
mod tail;
/// Subjects, tables, numbers.
mod tools;

use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

const BENCHES: &[(&str, fn())] = &[
    ("start", start::run),
    ("configure", configure::run),
    ("react", react::run),
    ("memory", memory::run),
    ("signals", signals::run),
    ("orphans", orphans::run),
    ("early", early::run),
    ("tail", tail::run),
];

/// Set once everything that is measured, or measured with, has been found.
const PREPARED: &str = "LAYER_CAKE_BENCH_PREPARED";

fn main() -> ExitCode {
    let now = tools::now();
    // Cargo adds `--bench`.
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|w| w != "--bench")
        .collect();
    if roles::play(&words, now) {
        return ExitCode::SUCCESS;
    }
    let names: Vec<&str> = BENCHES.iter().map(|(name, _)| *name).collect();
    if let Some(odd) = words.iter().find(|word| !names.contains(&word.as_str())) {
        println!("no bench `{odd}`; there are: {}", names.join(" "));
        return ExitCode::FAILURE;
    }
    if std::env::var_os(PREPARED).is_none() {
        let mut again = Command::new(std::env::current_exe().unwrap());
        again
            .args(&words)
            .env(PREPARED, "")
            .env("DISCO_DIST", dist());
        // The cache is the one of tests/all.sh.
        let cached = format!("{}/consul/usr/bin/consul", tools::cache());
        let consul = std::env::var_os("CONSUL_BIN").map(PathBuf::from);
        let found = consul.or_else(|| tools::on_path("consul"));
        again.env("CONSUL_BIN", found.unwrap_or_else(|| cached.into()));
        panic!("cannot start again: {}", again.exec());
    }
    let dist = support::dist_bin();
    println!(
        "disco: {}, {} bytes",
        dist.display(),
        dist.metadata().unwrap().len()
    );
    println!(
        "load: {}",
        std::fs::read_to_string("/proc/loadavg").unwrap().trim()
    );
    for peer in tools::PEERS
        .iter()
        .filter(|peer| tools::on_path(peer[0]).is_none())
    {
        println!("{} is not installed and not in the tables", peer[0]);
    }
    for (name, run) in BENCHES {
        if words.is_empty() || words.iter().any(|word| word == name) {
            run();
        }
    }
    ExitCode::SUCCESS
}

/// The disco to measure.
fn dist() -> PathBuf {
    if let Some(named) = std::env::var_os("DISCO_DIST") {
        return named.into();
    }
    let target = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
    let built = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .current_dir(support::repo())
        .args([
            "build",
            "--profile=dist",
            "--no-default-features",
            "--bin=disco",
        ])
        .args([
            "--target",
            &target,
            "--message-format=json-render-diagnostics",
        ])
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    let messages = String::from_utf8(built.stdout).unwrap();
    let mut executables = messages.lines().filter_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        message["executable"].as_str().map(PathBuf::from)
    });
    executables.next_back().expect("cargo builds disco")
}
