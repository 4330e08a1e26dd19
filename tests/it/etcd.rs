//! etcd as a source: what reaches the handlers, and that no fault of a server or of the network in
//! between ends the container, leaves it stale, or makes data out of nothing. Numbers are those of
//! the conformance list, section 2.

use std::fmt::Display;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::{
    DEADLINE, Disco, Etcd, EtcdCluster, EtcdOptions, Mode, Output, Pki, Proxy, Running, Sandbox,
    wait_for,
};

const SECRET: &str = "hunter2";

/// A rule that needs `db` and `web`, and a handler that keeps what it was given.
struct Site(Sandbox);

impl Site {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        for name in ["db", "web"] {
            let schema = format!("name: {name}\ntype: object\nrequired: [{name}_host]\n");
            sandbox.write(&format!("{name}.schema"), schema);
        }
        sandbox.rules("rules: [{rule: {when: [db, web], do: keep}}]");
        sandbox.handler("keep", "#!/bin/sh\ncat > \"${0%/*}/got\"\n");
        Self(sandbox)
    }

    fn start(&self, server: impl Display, more: &str) -> Running {
        self.start_command(server, more, &["echo", "doit"])
    }

    fn start_command(&self, server: impl Display, more: &str, command: &[&str]) -> Running {
        let dir = self.0.dir().display();
        Disco::new()
            .cwd(self.0.dir())
            .cfg(format!("etcd.host={server}|disco.path={dir}{more}"))
            .args(["-l", "DEBUG"])
            .args(command)
            .spawn()
    }

    /// What the handler was given.
    fn got(&self) -> Value {
        serde_json::from_str(&self.0.read("got")).unwrap()
    }

    fn is_configured(&self) -> bool {
        self.0.path("got").exists()
    }

    /// Waits for the end, which has to be that of the command, after the handler got this data.
    #[track_caller]
    fn assert_done(&self, running: Running, db: &str, web: &str) -> Output {
        let out = running.wait();
        out.assert_code(0)
            .assert_stdout("doit\n")
            .assert_stderr_lacks(SECRET)
            .assert_stderr_lacks("panic");
        assert_eq!(self.got(), json!({"db_host": db, "web_host": web}));
        out
    }
}

fn put(etcd: &Etcd, db: &str, web: &str) {
    etcd.put("db/db_host", db);
    etcd.put("web/web_host", web);
}

/// Waits until disco has read `db`, and only that.
fn learnt_db(running: &Running) {
    running.wait_stderr("Learn ['db'] from etcd");
}

#[test]
#[ignore = "needs etcd"]
fn e2_2_1_keys_below_the_prefix_reach_the_handler() {
    let (site, etcd) = (Site::new(), Etcd::start());
    etcd.put("app/db/db_host", "hunter2.example");
    etcd.put("app/web/web_host", "b");
    etcd.put("app2/db/db_host", "other");
    etcd.put("db/db_host", "other");
    let running = site.start(etcd.http_addr(), "|etcd.prefix=app");
    site.assert_done(running, "hunter2.example", "b");
}

#[test]
#[ignore = "needs etcd"]
fn e2_2_1_a_leading_slash_makes_another_key() {
    let (site, etcd) = (Site::new(), Etcd::start());
    put(&etcd, "plain", "plain");
    etcd.put("/app/db/db_host", "a");
    etcd.put("/app/web/web_host", "b");
    let running = site.start(etcd.http_addr(), "|etcd.prefix=/app/");
    site.assert_done(running, "a", "b");
}

#[test]
#[ignore = "needs etcd"]
fn e2_2_2_more_keys_than_a_page_holds() {
    let (site, etcd) = (Site::new(), Etcd::start());
    for batch in 0..21 {
        let puts: Vec<Value> = (0..120)
            .map(|n| format!("filler/{batch:02}-{n:03}"))
            .map(|key| json!({"request_put": {"key": base64(&key), "value": base64("x")}}))
            .collect();
        etcd.call("kv/txn", &json!({"success": puts}));
    }
    put(&etcd, "a", "b");
    let running = site.start(etcd.http_addr(), "");
    let out = site.assert_done(running, "a", "b");
    out.assert_stderr_has("Learn ['db', 'filler', 'web'] from etcd");
}

#[test]
#[ignore = "needs etcd"]
fn e2_2_4_a_transaction_is_seen_as_one() {
    let (site, etcd) = (Site::new(), Etcd::start());
    put(&etcd, "a", "b");
    etcd.delete("db/db_host");
    let running = site.start(etcd.http_addr(), "");
    running.wait_stderr("Learn ['web'] from etcd");
    let put = |key, value| json!({"request_put": {"key": base64(key), "value": base64(value)}});
    let both = [put("web/web_host", "d"), put("db/db_host", "c")];
    etcd.call("kv/txn", &json!({"success": both}));
    site.assert_done(running, "c", "d");
}

#[test]
#[ignore = "needs etcd"]
fn e2_2_5_every_change_while_the_command_runs() {
    let (site, etcd) = (Site::new(), Etcd::start());
    site.0
        .rules("format: 2\nrules: [{when: db, do: add, once: false}]");
    site.0.handler("add", "#!/bin/sh\ncat >> \"${0%/*}/log\"\n");
    let running = site.start_command(etcd.http_addr(), "", &["sleep", "60"]);
    for n in 0..20 {
        etcd.put("db/db_host", format!("{n}."));
        wait_for("the handler to be told", DEADLINE, || {
            let log = std::fs::read_to_string(site.0.path("log")).unwrap_or_default();
            log.contains(&format!("\"{n}.\"")).then_some(())
        });
    }
    running.signal(Signal::SIGTERM);
    running.wait().assert_code(143);
}

#[test]
#[ignore = "needs etcd"]
fn e2_2_5_deleted_data_fires_no_rule() {
    let (site, etcd) = (Site::new(), Etcd::start());
    etcd.put("db/db_host", "a");
    let running = site.start(etcd.http_addr(), "");
    learnt_db(&running);
    etcd.delete("db/db_host");
    running.wait_stderr("Learn [] from etcd");
    etcd.put("web/web_host", "b");
    running.wait_stderr("Learn ['web'] from etcd");
    assert!(running.is_running() && !site.is_configured());
    etcd.put("db/db_host", "c");
    site.assert_done(running, "c", "b");
}

#[test]
#[ignore = "needs etcd"]
fn e2_2_6_compaction_of_a_store_that_is_watched() {
    let (site, etcd) = (Site::new(), Etcd::start());
    etcd.put("db/db_host", "a");
    let running = site.start(etcd.http_addr(), "");
    learnt_db(&running);
    for n in 0..20 {
        etcd.put("other", n.to_string());
    }
    etcd.compact();
    etcd.put("web/web_host", "b");
    site.assert_done(running, "a", "b");
}

#[test]
#[ignore = "needs etcd"]
fn e2_2_6_compaction_while_disconnected() {
    let (site, etcd) = (Site::new(), Etcd::start());
    let proxy = Proxy::to(etcd.http_addr());
    etcd.put("db/db_host", "a");
    let running = site.start(proxy.addr(), "");
    learnt_db(&running);
    proxy.set(Mode::Refuse);
    running.wait_stderr("connection refused");
    put(&etcd, "c", "d");
    etcd.compact();
    proxy.set(Mode::Pass);
    site.assert_done(running, "c", "d");
}

#[test]
#[ignore = "needs etcd"]
fn e2_2_7_a_wiped_store_leaves_nothing_behind() {
    let (site, mut etcd) = (Site::new(), Etcd::start());
    // The new history shall stay behind the old one.
    for n in 0..50 {
        etcd.put("other", n.to_string());
    }
    etcd.delete("other");
    etcd.put("db/db_host", "old");
    let running = site.start(etcd.http_addr(), "");
    learnt_db(&running);
    etcd.wipe();
    etcd.put("web/web_host", "b");
    running.wait_stderr("Learn ['web'] from etcd");
    assert!(running.is_running() && !site.is_configured());
    etcd.put("db/db_host", "new");
    site.assert_done(running, "new", "b");
}

#[test]
#[ignore = "needs etcd"]
fn e2_2_8_a_frozen_server_is_noticed_and_its_return_too() {
    let (site, etcd) = (Site::new(), Etcd::start());
    etcd.put("db/db_host", "a");
    let running = site.start(etcd.http_addr(), "|etcd.keepalive=1s");
    learnt_db(&running);
    etcd.freeze();
    running.wait_stderr("no answer in time; retrying");
    etcd.thaw();
    running.wait_stderr("source is back");
    etcd.put("web/web_host", "b");
    site.assert_done(running, "a", "b");
}

#[test]
#[ignore = "needs etcd"]
fn e2_2_8_a_frozen_server_is_left_for_another() {
    let (site, frozen, other) = (Site::new(), Etcd::start(), Etcd::start());
    put(&other, "a", "b");
    frozen.freeze();
    let both = format!("{},{}", frozen.http_addr(), other.http_addr());
    let out = site.assert_done(site.start(both, ""), "a", "b");
    frozen.thaw();
    assert!(out.elapsed < Duration::from_secs(15), "{out:?}");
}

#[test]
#[ignore = "needs etcd"]
fn e2_2_8_changes_take_no_new_connections() {
    let (site, etcd) = (Site::new(), Etcd::start());
    let proxy = Proxy::to(etcd.http_addr());
    let running = site.start(proxy.addr(), "");
    for name in ["a", "b", "c"] {
        running.wait_stderr("from etcd");
        etcd.put(&format!("{name}/x"), "");
        running.wait_stderr(&format!("'{name}'] from etcd"));
    }
    assert_eq!((proxy.connections(), proxy.open()), (1, 1));
    put(&etcd, "a", "b");
    site.assert_done(running, "a", "b");
}

#[test]
#[ignore = "needs etcd"]
fn e2_2_10_a_login_and_a_token_that_expires() {
    let (site, mut etcd) = (Site::new(), Etcd::start());
    etcd.enable_auth("app", SECRET);
    etcd.put("db/db_host", "a");
    let login = format!("|etcd.username=app|etcd.password={SECRET}|etcd.keepalive=1s");
    let running = site.start(etcd.http_addr(), &login);
    learnt_db(&running);
    // A change of the password, even to the same one, ends all tokens of the user.
    etcd.call(
        "auth/user/changepw",
        &json!({"name": "app", "password": SECRET}),
    );
    running.wait_stderr("logging in again");
    etcd.put("web/web_host", "b");
    let out = site.assert_done(running, "a", "b");
    out.assert_stderr_lacks("retrying");
}

#[test]
#[ignore = "needs etcd"]
fn e2_2_10_a_wrong_password_until_it_is_right() {
    let (site, mut etcd) = (Site::new(), Etcd::start());
    put(&etcd, "a", "b");
    etcd.enable_auth("app", "right");
    let login = format!("|etcd.username=app|etcd.password={SECRET}");
    let running = site.start(etcd.http_addr(), &login);
    running.wait_stderr("log in: etcdserver: authentication failed");
    assert!(!site.is_configured());
    etcd.call(
        "auth/user/changepw",
        &json!({"name": "app", "password": SECRET}),
    );
    site.assert_done(running, "a", "b");
}

#[test]
#[ignore = "needs etcd"]
fn e2_2_10_no_user_where_one_is_needed() {
    let (site, mut etcd) = (Site::new(), Etcd::start());
    etcd.enable_auth("app", SECRET);
    let running = site.start(etcd.http_addr(), "");
    running.wait_stderr("no user is set; retrying");
    running.signal(Signal::SIGTERM);
    running.wait().assert_code(143).assert_stderr_lacks("Learn");
}

#[test]
#[ignore = "needs etcd"]
fn e2_2_11_a_leader_that_is_killed() {
    let (site, mut cluster) = (Site::new(), EtcdCluster::start(3));
    let servers: Vec<String> = cluster
        .members()
        .iter()
        .map(|member| member.http_addr().to_string())
        .collect();
    cluster.members()[0].put("db/db_host", "a");
    let running = site.start(servers.join(","), "");
    learnt_db(&running);
    cluster.kill_leader();
    cluster.members()[0].put("web/web_host", "b");
    site.assert_done(running, "a", "b");
}

#[test]
#[ignore = "needs etcd"]
fn e2_2_11_a_member_without_its_cluster() {
    let (site, cluster) = (Site::new(), EtcdCluster::start(3));
    let [first, rest @ ..] = cluster.members() else {
        panic!("no members");
    };
    first.put("db/db_host", "a");
    let running = site.start(first.http_addr(), "|etcd.keepalive=1s");
    learnt_db(&running);
    for member in rest {
        member.freeze();
    }
    running.wait_stderr("; retrying");
    for member in rest {
        member.thaw();
    }
    running.wait_stderr("source is back");
    first.put("web/web_host", "b");
    site.assert_done(running, "a", "b");
}

#[test]
#[ignore = "needs etcd"]
fn e2_2_13_the_keys_of_v2() {
    let (site, etcd) = (Site::new(), v2());
    etcd.put_v2("app/db/db_host", "hunter2.example");
    let running = site.start(etcd.http_addr(), "|etcd.api=2|etcd.prefix=app");
    learnt_db(&running);
    etcd.put_v2("app/web/web_host", "b");
    site.assert_done(running, "hunter2.example", "b");
}

#[test]
#[ignore = "needs etcd"]
fn e2_2_13_more_changes_than_v2_remembers() {
    let (site, etcd) = (Site::new(), v2());
    etcd.put_v2("app/db/db_host", "a");
    let running = site.start(etcd.http_addr(), "|etcd.api=2|etcd.prefix=/app/");
    learnt_db(&running);
    for n in 0..1100 {
        etcd.put_v2("other", &n.to_string());
    }
    etcd.delete_v2("app/db");
    running.wait_stderr("Learn [] from etcd");
    etcd.put_v2("app/web/web_host", "b");
    etcd.put_v2("app/db/db_host", "c");
    site.assert_done(running, "c", "b");
}

#[test]
#[ignore = "needs etcd"]
fn e2_2_13_v2_wiped_and_frozen() {
    let (site, mut etcd) = (Site::new(), v2());
    for n in 0..20 {
        etcd.put_v2("other/x", &n.to_string());
    }
    etcd.delete_v2("other");
    etcd.put_v2("db/db_host", "old");
    let running = site.start(etcd.http_addr(), "|etcd.api=2|etcd.keepalive=1s");
    learnt_db(&running);
    etcd.wipe();
    etcd.put_v2("web/web_host", "b");
    running.wait_stderr("Learn ['web'] from etcd");
    assert!(running.is_running() && !site.is_configured());
    etcd.freeze();
    running.wait_stderr("no answer in time; retrying");
    etcd.thaw();
    etcd.put_v2("db/db_host", "new");
    site.assert_done(running, "new", "b");
}

#[test]
#[ignore = "needs etcd"]
fn e2_2_13_v2_is_not_preferred() {
    let (site, etcd) = (Site::new(), v2());
    etcd.put_v2("db/db_host", "two");
    etcd.put_v2("web/web_host", "two");
    put(&etcd, "three", "three");
    site.assert_done(site.start(etcd.http_addr(), ""), "three", "three");
}

fn v2() -> Etcd {
    Etcd::start_with(EtcdOptions {
        v2: true,
        ..EtcdOptions::default()
    })
}

#[test]
#[ignore = "needs etcd"]
fn a_server_that_is_not_there_at_the_start() {
    let (site, mut etcd) = (Site::new(), Etcd::start());
    etcd.stop();
    let running = site.start(etcd.http_addr(), "");
    let reason = format!("etcd http://{}: read: connection refused", etcd.http_addr());
    running.wait_stderr(&reason);
    etcd.restart();
    put(&etcd, "a", "b");
    let out = site.assert_done(running, "a", "b");
    // It says so once, and not with each attempt.
    assert_eq!(out.stderr.matches("; retrying").count(), 1, "{out:?}");
}

#[test]
#[ignore = "needs etcd"]
fn a_server_that_is_killed_and_back() {
    let (site, mut etcd) = (Site::new(), Etcd::start());
    etcd.put("db/db_host", "a");
    let running = site.start(etcd.http_addr(), "");
    learnt_db(&running);
    etcd.stop();
    running.wait_stderr("connection refused");
    etcd.restart();
    running.wait_stderr("source is back");
    etcd.put("web/web_host", "b");
    site.assert_done(running, "a", "b");
}

/// Breaks the way to the server in mid-watch, and changes the data while it is broken.
fn broken_for_a_while(mode: Mode, evidence: &str) {
    let (site, etcd) = (Site::new(), Etcd::start());
    let proxy = Proxy::to(etcd.http_addr());
    etcd.put("db/db_host", "old");
    let running = site.start(proxy.addr(), "|etcd.keepalive=1s");
    learnt_db(&running);
    proxy.set(mode);
    running.wait_stderr(evidence);
    put(&etcd, "new", "b");
    assert!(running.is_running() && !site.is_configured());
    proxy.set(Mode::Pass);
    let out = site.assert_done(running, "new", "b");
    out.assert_stderr_lacks("Learn [] from etcd");
}

#[test]
#[ignore = "needs etcd"]
fn connections_that_are_reset() {
    broken_for_a_while(Mode::Reset, "; retrying");
}

#[test]
#[ignore = "needs etcd"]
fn connections_that_go_dark() {
    broken_for_a_while(Mode::Blackhole, "no answer in time; retrying");
}

#[test]
#[ignore = "needs etcd"]
fn connections_that_are_half_closed() {
    broken_for_a_while(Mode::HalfClose, "; retrying");
}

#[test]
#[ignore = "needs etcd"]
fn answers_that_are_refusals_or_no_answers() {
    let cases = [
        (500, "", "read: HTTP 500; retrying"),
        (429, "slow down, hunter2", "read: HTTP 429; retrying"),
        (404, "404 page not found\n", "is not found; retrying"),
        (200, "", "not one of etcd's; retrying"),
        (200, "<html>hunter2", "not one of etcd's; retrying"),
        (200, "{}", "not one of etcd's; retrying"),
        (
            200,
            r#"{"header":{"cluster_id":"1","revision":"7"},"kvs":[{"key":"YQ=="#,
            "not one of etcd's; retrying",
        ),
    ];
    for (status, body, evidence) in cases {
        let body = body.to_owned();
        broken_for_a_while(Mode::Http { status, body }, evidence);
    }
}

#[test]
#[ignore = "needs etcd"]
fn answers_that_come_in_pieces() {
    let (site, etcd) = (Site::new(), Etcd::start());
    let proxy = Proxy::to(etcd.http_addr());
    let delay = Duration::from_millis(1);
    proxy.set(Mode::Slow { chunk: 7, delay });
    etcd.put("db/db_host", "a");
    let running = site.start(proxy.addr(), "");
    learnt_db(&running);
    etcd.put("web/web_host", "b");
    site.assert_done(running, "a", "b");
}

#[test]
#[ignore = "needs etcd"]
fn a_server_that_wants_a_client_certificate() {
    let (site, pki) = (Site::new(), Pki::new());
    let etcd = Etcd::start_with(EtcdOptions {
        tls: Some(pki.clone()),
        verify_client: true,
        ..EtcdOptions::default()
    });
    put(&etcd, "a", "b");
    let server = format!("https://{}", etcd.https_addr());
    let file = |key: &str, path: &Path| format!("|etcd.{key}={}", path.display());
    let ca = file("ca_file", &pki.ca());

    let running = site.start(&server, &ca);
    running.wait_stderr("; retrying");
    running.signal(Signal::SIGTERM);
    running.wait().assert_code(143);

    let cert = file("cert_file", &pki.client_cert());
    let key = file("key_file", &pki.client_key());
    site.assert_done(site.start(&server, &format!("{ca}{cert}{key}")), "a", "b");
}

#[test]
#[ignore = "needs etcd"]
fn sigterm_ends_the_waiting_at_once() {
    let (site, mut etcd) = (Site::new(), Etcd::start());
    let ends = |running: Running| {
        let start = Instant::now();
        running.signal(Signal::SIGTERM);
        running.wait().assert_code(143).assert_stdout("");
        assert!(start.elapsed() < Duration::from_secs(1));
    };

    let waiting = site.start(etcd.http_addr(), "");
    waiting.wait_stderr("Learn [] from etcd");
    ends(waiting);

    let proxy = Proxy::to(etcd.http_addr());
    proxy.set(Mode::Blackhole);
    let asking = site.start(proxy.addr(), "");
    wait_for("a connection", DEADLINE, || {
        (proxy.open() > 0).then_some(())
    });
    ends(asking);

    etcd.stop();
    let pausing = site.start(etcd.http_addr(), "");
    pausing.wait_stderr("retrying");
    ends(pausing);
    assert!(!site.is_configured());
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::prelude::BASE64_STANDARD.encode(text)
}
