//! Everything that can go wrong with a Consul or on the way to it, and that disco recovers from it
//! with the right data and no run of a handler too many.

use super::{Scene, at};
use crate::support::{Consul, ConsulOptions, DEADLINE, Mode, Proxy, Sandbox, wait_for};
use nix::sys::signal::Signal;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

#[test]
#[ignore = "needs consul"]
fn a_consul_that_is_not_there_yet_is_waited_for() {
    let mut consul = Consul::start();
    let addr = consul.http_addr();
    consul.stop();
    let scene = Scene::waiting_for("db", &at(addr));
    scene
        .disco
        .wait_stderr(&format!("consul http://{addr}: connection refused"));
    consul.restart();
    consul.put("db/host", "h");
    scene.disco.wait().assert_code(0).assert_stdout("doit\n");
}

#[test]
#[ignore = "needs consul"]
fn c2_1_5_a_server_that_lost_its_state_is_read_anew() {
    let mut consul = Consul::start();
    consul.put("db/host", "one");
    let scene = Scene::watching(&at(consul.http_addr()));
    scene.wait_host("one");
    for host in ["two", "three"] {
        let index = index(&consul);
        let downs = scene.told("; retrying");
        consul.restart();
        // What it writes anew comes to the index of what was there before.
        let mut filler = 0;
        while self::index(&consul) + 1 < index {
            filler += 1;
            consul.put("filler", filler.to_string());
        }
        consul.put("db/host", host);
        scene.wait_host(host);
        assert!(scene.told("; retrying") > downs);
    }
    assert!(scene.disco.is_running());
}

#[test]
#[ignore = "needs consul"]
fn c2_1_7_a_restart_with_the_state_kept_is_no_news() {
    let mut consul = Consul::start_with(ConsulOptions {
        durable: true,
        ..ConsulOptions::default()
    });
    consul.put("db/host", "one");
    let scene = Scene::watching(&at(consul.http_addr()));
    scene.wait_host("one");
    consul.restart();
    scene.disco.wait_stderr("source is back");
    consul.put("db/host", "two");
    scene.wait_host("two");
    assert_eq!(scene.hosts(), ["one", "two"]);
}

#[test]
#[ignore = "needs consul"]
fn c2_1_5_a_restored_snapshot_is_seen_although_its_index_is_older() {
    let consul = Consul::start();
    consul.put("db/host", "old");
    let dir = Sandbox::new();
    let saved = dir.path("saved");
    snapshot(&consul, "save", &saved);
    for host in ["a", "b", "new"] {
        consul.put("db/host", host);
    }
    let scene = Scene::watching(&at(consul.http_addr()));
    scene.wait_host("new");
    snapshot(&consul, "restore", &saved);
    scene.wait_host("old");
    consul.put("db/host", "newer");
    scene.wait_host("newer");
    assert_eq!(scene.hosts(), ["new", "old", "newer"]);
}

#[test]
#[ignore = "needs consul"]
fn c2_1_4_a_frozen_server_is_noticed_and_read_anew() {
    let consul = Consul::start();
    consul.put("db/host", "one");
    let settings = format!("{}|consul.wait=1s", at(consul.http_addr()));
    let scene = Scene::watching(&settings);
    scene.wait_host("one");
    consul.freeze();
    scene.disco.wait_stderr("no answer within 11 s; retrying");
    consul.thaw();
    consul.put("db/host", "two");
    scene.wait_host("two");
    scene.disco.wait_stderr("source is back");
    assert_eq!(scene.hosts(), ["one", "two"]);
}

#[test]
#[ignore = "needs consul"]
fn c2_1_4_a_connection_gone_dark_is_given_up() {
    let consul = Consul::start();
    let proxy = Proxy::to(consul.http_addr());
    consul.put("db/host", "one");
    let scene = Scene::watching(&format!("{}|consul.wait=1s", at(proxy.addr())));
    scene.wait_host("one");
    proxy.set(Mode::Blackhole);
    consul.put("db/host", "two");
    // The proxy looks after each of its connections every few milliseconds, and does not say when.
    std::thread::sleep(Duration::from_millis(100));
    proxy.set(Mode::Pass);
    scene.wait_host("two");
    assert_eq!(scene.hosts(), ["one", "two"]);
}

#[test]
#[ignore = "needs consul"]
fn c2_1_10_every_broken_network_is_told_once_and_recovered_from() {
    let http = |status, body: &str| Mode::Http {
        status,
        body: body.to_owned(),
    };
    let consul = Consul::start();
    let proxy = Proxy::to(consul.http_addr());
    consul.put("db/host", "h");
    let scene = Scene::watching(&at(proxy.addr()));
    scene.wait_host("h");
    let mut expected = vec!["h".to_owned()];
    let endpoint = format!("consul http://{}: ", proxy.addr());
    for (number, (mode, reason)) in [
        (Mode::Reset, "connection reset by peer"),
        (Mode::Refuse, "connection refused"),
        (
            Mode::HalfClose,
            "connection closed before message completed",
        ),
        (http(500, "No cluster leader"), "500 no cluster leader"),
        (
            http(500, "rpc error: hunter2\nmore"),
            "500 rpc error: hunter2",
        ),
        (http(429, ""), "status 429"),
        (http(503, "<html>hunter3</html>"), "status 503"),
        (http(404, ""), "404 without an index"),
        (http(200, "[]"), "200 without an index"),
        (
            http(403, "ACL not found"),
            "403 token not known; check `consul.token`",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let warned = scene.told("; retrying");
        let back = scene.told("source is back");
        let told = scene.told(&[&endpoint, reason].concat());
        proxy.set(mode);
        scene.wait_told(&[&endpoint, reason].concat(), told);
        let host = format!("h{number}");
        consul.put("db/host", &host);
        proxy.set(Mode::Pass);
        scene.wait_host(&host);
        expected.push(host);
        scene.wait_told("source is back", back);
        assert_eq!(scene.told("; retrying"), warned + 1);
    }
    assert_eq!(scene.hosts(), expected);
    assert_eq!(scene.told("hunter3"), 0);
}

#[test]
#[ignore = "needs consul"]
fn a_slow_network_is_merely_slow() {
    let consul = Consul::start();
    let proxy = Proxy::to(consul.http_addr());
    proxy.set(Mode::Slow {
        chunk: 7,
        delay: Duration::from_millis(2),
    });
    consul.put("db/host", "h");
    let scene = Scene::waiting_for("db", &at(proxy.addr()));
    scene
        .disco
        .wait()
        .assert_code(0)
        .assert_stderr_lacks("retrying");
}

#[test]
#[ignore = "needs consul"]
fn the_next_endpoint_takes_over() {
    let mut first = Consul::start();
    let second = Consul::start();
    first.put("db/host", "one");
    second.put("db/host", "two");
    let hosts = format!("http://{},http://{}", first.http_addr(), second.http_addr());
    let scene = Scene::watching(&format!("consul.host={hosts}"));
    scene.wait_host("one");
    first.stop();
    scene.wait_host("two");
    let scene = Scene::waiting_for("db", &format!("consul.host={hosts}"));
    scene.disco.wait().assert_code(0);
}

#[test]
#[ignore = "needs consul"]
fn term_ends_the_wait_at_once() {
    let consul = Consul::start();
    let reachable = at(consul.http_addr());
    let dark = Proxy::to(consul.http_addr());
    dark.set(Mode::Blackhole);
    let refused = Proxy::to(consul.http_addr());
    refused.set(Mode::Refuse);
    for (settings, sign) in [
        (reachable, "Learn [] from consul"),
        (at(dark.addr()), "rule pending"),
        (at(refused.addr()), "connection refused"),
    ] {
        let scene = Scene::waiting_for("db", &settings);
        if sign == "rule pending" {
            wait_for("a connection", DEADLINE, || (dark.open() > 0).then_some(()));
        } else {
            scene.disco.wait_stderr(sign);
        }
        let asked = Instant::now();
        scene.disco.signal(Signal::SIGTERM);
        let out = scene.disco.wait();
        let took = asked.elapsed();
        out.assert_code(143).assert_stdout("");
        assert!(took < Duration::from_secs(1), "{took:?}");
    }
}

#[test]
#[ignore = "needs consul"]
fn a_deadline_ends_the_wait_and_says_what_was_waited_for() {
    let consul = Consul::start();
    let proxy = Proxy::to(consul.http_addr());
    for (mode, reason) in [
        (Mode::Refuse, "connection refused"),
        (Mode::Reset, "connection reset by peer"),
    ] {
        proxy.set(mode);
        let settings = format!("{}|disco.deadline=500ms", at(proxy.addr()));
        let out = Scene::waiting_for("db", &settings).disco.wait();
        out.assert_code(69)
            .assert_stdout("")
            .assert_stderr_has(&format!("consul http://{}: {reason}", proxy.addr()))
            .assert_stderr_has("`disco.deadline`");
    }
}

/// The index of the key-value store.
fn index(consul: &Consul) -> u64 {
    let head = consul.api("GET", "/v1/kv/?recurse", b"").head;
    let mut headers = head.lines().filter_map(|line| line.split_once(": "));
    let index = headers.find(|(name, _)| name.eq_ignore_ascii_case("x-consul-index"));
    index.unwrap().1.parse().unwrap()
}

/// Saves or restores the state by Consul's own program: a snapshot is no text.
fn snapshot(consul: &Consul, verb: &str, file: &Path) {
    let output = Command::new(std::env::var_os("CONSUL_BIN").unwrap())
        .args(["snapshot", verb, "-http-addr"])
        .arg(consul.http_addr().to_string())
        .arg(file)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}
