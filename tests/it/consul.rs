//! The real Consul as a source. Numbers are those of the conformance list, section 2.

/// What breaks, and how it is recovered from.
mod faults;

use crate::support::{
    Consul, ConsulOptions, DEADLINE, Disco, Pki, Proxy, Running, Sandbox, wait_for,
};
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

const MASTER: &str = "5b7c0a2e-0000-4000-8000-000000000001";
const TOKEN: &str = "5b7c0a2e-0000-4000-8000-000000000002";
const NEXT_TOKEN: &str = "5b7c0a2e-0000-4000-8000-000000000003";

/// A disco that waits for, or watches, an interface; its handler keeps all it was given, a line each.
struct Scene {
    sandbox: Sandbox,
    disco: Running,
}

impl Scene {
    /// Runs the handler each time that `db` has changed.
    fn watching(settings: &str) -> Self {
        Self::start(
            "format: 2\nrules: [{when: db, do: h, once: false}]",
            settings,
        )
    }

    /// Runs the handler when `interface` is there, and then `echo doit`.
    fn waiting_for(interface: &str, settings: &str) -> Self {
        let rules = format!("rules: [{{rule: {{when: {interface}, do: h}}}}]");
        Self::start(&rules, settings)
    }

    fn start(rules: &str, settings: &str) -> Self {
        let sandbox = Sandbox::new();
        sandbox.write("db.schema", "{name: db, type: object, required: [host]}");
        sandbox.write(
            "services.schema",
            "name: services.web
type: object
required: [instances, address, port]
properties: {instances: {minItems: 2}, port: {type: integer}}
",
        );
        sandbox.write("test.rules", rules);
        sandbox.handler(
            "h",
            "#!/bin/sh\nprintf '%s\\n' \"$(cat)\" >> \"${0%/*}/got\"\n",
        );
        let path = sandbox.dir().display();
        let disco = Disco::new()
            .cfg(format!("disco.path={path}|{settings}"))
            .args(["-l", "DEBUG"]);
        let disco = if rules.contains("once: false") {
            disco.args(["sleep", "1000"])
        } else {
            disco.args(["echo", "doit"])
        };
        Self {
            disco: disco.spawn(),
            sandbox,
        }
    }

    /// What the handler was given, run by run.
    fn given(&self) -> Vec<serde_json::Value> {
        given(&self.sandbox)
    }

    /// The hosts that the handler of [`Scene::watching`] was given.
    fn hosts(&self) -> Vec<String> {
        let host = |given: &serde_json::Value| given["db"]["host"].as_str().unwrap().to_owned();
        self.given().iter().map(host).collect()
    }

    /// Waits until the latest host is this one.
    #[track_caller]
    fn wait_host(&self, host: &str) {
        let end = Instant::now() + DEADLINE;
        while self.hosts().last().is_none_or(|last| last != host) {
            assert!(
                Instant::now() < end && self.disco.is_running(),
                "no {host} in {:?}\n{}",
                self.hosts(),
                self.disco.stderr_so_far()
            );
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// How often a line on stderr had this in it.
    fn told(&self, needle: &str) -> usize {
        let log = self.disco.stderr_so_far();
        log.lines().filter(|line| line.contains(needle)).count()
    }

    /// Waits until stderr has more than `before` lines with this in it.
    #[track_caller]
    fn wait_told(&self, needle: &str, before: usize) {
        wait_for(needle, DEADLINE, || {
            (self.told(needle) > before).then_some(())
        });
    }
}

fn given(sandbox: &Sandbox) -> Vec<serde_json::Value> {
    let got = std::fs::read_to_string(sandbox.path("got")).unwrap_or_default();
    // The handler may be in the midst of a line.
    let complete = got.rsplit_once('\n').map_or("", |(complete, _)| complete);
    let parse = |line| serde_json::from_str(line).unwrap();
    complete.lines().map(parse).collect()
}

fn at(addr: SocketAddr) -> String {
    format!("consul.host=http://{addr}")
}

#[test]
#[ignore = "needs consul"]
fn c2_1_18_a_put_makes_the_handler_run_and_then_the_command() {
    let consul = Consul::start();
    let scene = Scene::waiting_for("db", &at(consul.http_addr()));
    scene.disco.wait_stderr("Learn [] from consul");
    consul.put("db/host", "hunter2.example");
    let Scene { sandbox, disco } = scene;
    disco
        .wait()
        .assert_code(0)
        .assert_stdout("doit\n")
        .assert_stderr_lacks("hunter2");
    assert_eq!(
        given(&sandbox),
        [serde_json::json!({"host": "hunter2.example"})]
    );
}

#[test]
#[ignore = "needs consul"]
fn c2_1_1_3_13_14_15_every_kind_of_key_and_value() {
    let consul = Consul::start();
    for (key, value) in [
        ("app2/db/other", &b"x"[..]),
        ("app", b"x"),
        ("app/db/dir/", b""),
        ("app/db/empty", b""),
        ("app/db/sp%20ace/pl+us/uni%C3%A9/pct%2525", b"hunter2"),
        ("app/db/both", b"hunter2"),
        ("app/db/both/below", b"1"),
        ("app/db/binary", b"\xff\xfe\x00"),
        ("app/db/large", &[b'x'; 512 * 1024]),
        ("app/db/host", b"h"),
    ] {
        consul.put(key, value);
    }
    let settings = format!("{}|consul.prefix=/app", at(consul.http_addr()));
    let scene = Scene::waiting_for("db", &settings);
    let Scene { sandbox, disco } = scene;
    disco
        .wait()
        .assert_code(0)
        .assert_stderr_has("key `db/binary` is left out: its value is not UTF-8")
        .assert_stderr_has("value of `db/both` is left out")
        .assert_stderr_lacks("hunter2");
    assert_eq!(
        given(&sandbox),
        [serde_json::json!({
            "dir": {}, "empty": "", "sp ace": {"pl+us": {"uni\u{e9}": {"pct%25": "hunter2"}}},
            "both": {"below": "1"}, "large": "x".repeat(512 * 1024), "host": "h",
        })]
    );
}

#[test]
#[ignore = "needs consul"]
fn changes_are_seen_over_one_connection_with_one_request_open() {
    let consul = Consul::start();
    let proxy = Proxy::to(consul.http_addr());
    consul.put("db/host", "h0");
    let scene = Scene::watching(&at(proxy.addr()));
    scene.wait_host("h0");
    for host in ["h1", "h2", "h3"] {
        consul.put("db/host", host);
        scene.wait_host(host);
        // Written again, and something else: no news.
        consul.put("db/host", host);
        consul.put("dbl", host);
    }
    consul.delete("db/host");
    scene.disco.wait_stderr("waiting for db");
    consul.put("db/host", "h4");
    scene.wait_host("h4");
    assert_eq!(scene.hosts(), ["h0", "h1", "h2", "h3", "h4"]);
    assert_eq!((proxy.connections(), proxy.open()), (1, 1));
}

#[test]
#[ignore = "needs consul"]
fn c2_1_9_a_token_is_waited_for_and_rotated() {
    let consul = Consul::start_with(ConsulOptions {
        master_token: Some(MASTER.to_owned()),
        ..ConsulOptions::default()
    });
    consul.put("db/host", "one");
    consul.put("db/hidden", "x");
    let rules =
        r#"key_prefix "db/" { policy = "read" } key_prefix "db/hidden" { policy = "deny" }"#;
    let policy = serde_json::json!({"Name": "db", "Rules": rules}).to_string();
    let made = consul.api("PUT", "/v1/acl/policy", policy.as_bytes());
    assert_eq!(made.status, 200, "{}", made.body);
    let create = |token: &str| {
        let body = serde_json::json!({"SecretID": token, "Policies": [{"Name": "db"}]});
        let made = consul.api("PUT", "/v1/acl/token", body.to_string().as_bytes());
        assert_eq!(made.status, 200, "{}", made.body);
        let made: serde_json::Value = serde_json::from_str(&made.body).unwrap();
        made["AccessorID"].as_str().unwrap().to_owned()
    };

    let dir = Sandbox::new();
    let file = dir.write("token", format!("{TOKEN}\n"));
    let settings = format!(
        "{}|consul.token_file={}",
        at(consul.http_addr()),
        file.display()
    );
    let scene = Scene::watching(&settings);
    scene
        .disco
        .wait_stderr(": 403 token not known; check `consul.token`");
    let accessor = create(TOKEN);
    scene.wait_host("one");

    consul.api("DELETE", &format!("/v1/acl/token/{accessor}"), b"");
    let before = scene.told("403 token not known");
    consul.put("db/host", "two"); // the open query is still answered
    scene.wait_told("403 token not known", before);
    create(NEXT_TOKEN);
    consul.put("db/host", "three");
    dir.write("token", NEXT_TOKEN);
    scene.wait_host("three");
    assert_eq!(scene.hosts(), ["one", "two", "three"]);
    assert!(
        scene
            .given()
            .iter()
            .all(|given| given["db"]["hidden"].is_null())
    );
    for secret in [TOKEN, NEXT_TOKEN] {
        assert_eq!(scene.told(secret), 0);
    }
}

#[test]
#[ignore = "needs consul"]
fn c2_1_9_what_may_not_be_read_looks_empty_and_says_so() {
    let consul = Consul::start_with(ConsulOptions {
        master_token: Some(MASTER.to_owned()),
        ..ConsulOptions::default()
    });
    consul.put("db/host", "one");
    let settings = format!("{}|disco.deadline=500ms", at(consul.http_addr()));
    Scene::waiting_for("db", &settings)
        .disco
        .wait()
        .assert_code(69)
        .assert_stderr_has("no keys, or no permission to read it; check whether `consul.token`");
    let settings = format!("{}|consul.token={MASTER}", at(consul.http_addr()));
    Scene::waiting_for("db", &settings)
        .disco
        .wait()
        .assert_code(0)
        .assert_stderr_lacks(MASTER);
}

#[test]
#[ignore = "needs consul"]
fn c2_1_10_a_wrong_setting_is_an_error() {
    let consul = Consul::start();
    let settings = format!(
        "{}|consul.namespace=team|disco.deadline=500ms",
        at(consul.http_addr())
    );
    let out = Scene::waiting_for("db", &settings).disco.wait();
    out.assert_code(69);
    let mut errors = out.stderr.lines().filter(|line| line.contains("ERROR"));
    let first = errors.next().unwrap_or_default();
    assert!(first.contains("Enterprise feature"), "{}", out.stderr);
    let settings = format!(
        "{}|consul.dc=nowhere|disco.deadline=500ms",
        at(consul.http_addr())
    );
    Scene::waiting_for("db", &settings)
        .disco
        .wait()
        .assert_code(69)
        .assert_stderr_has(": 500 no path to datacenter");
}

#[test]
#[ignore = "needs consul"]
fn c2_1_17_tls_with_a_client_certificate() {
    let pki = Pki::new();
    let consul = Consul::start_with(ConsulOptions {
        tls: Some(pki.clone()),
        verify_client: true,
        ..ConsulOptions::default()
    });
    consul.put("db/host", "h");
    let https = format!("consul.host=https://{}", consul.https_addr());
    let ca = format!("|consul.ca_file={}", pki.ca().display());
    let with = |key: &Path| {
        let (cert, key) = (pki.client_cert(), key.display().to_string());
        format!("|consul.cert_file={}|consul.key_file={key}", cert.display())
    };
    for key in [pki.client_key(), pki.client_key_sec1()] {
        let settings = [&https, &ca, &*with(&key)].concat();
        let out = Scene::waiting_for("db", &settings).disco.wait();
        out.assert_code(0).assert_stdout("doit\n");
    }
    let stranger = Pki::new();
    for (settings, reason) in [
        ([&https, &*ca].concat(), "check `consul.cert_file`"),
        (
            format!("{https}|consul.ca_file={}", stranger.ca().display()),
            "check `consul.ca_file`",
        ),
        (
            [&https, &*ca, "|consul.server_name=elsewhere"].concat(),
            "check `consul.server_name`",
        ),
        (at(consul.https_addr()), "to an HTTPS server"),
        (
            [
                &*format!("consul.host=https://{}", consul.http_addr()),
                &*ca,
            ]
            .concat(),
            "does it speak TLS?",
        ),
    ] {
        let settings = format!("{settings}|disco.deadline=500ms");
        Scene::waiting_for("db", &settings)
            .disco
            .wait()
            .assert_code(69)
            .assert_stderr_has(reason);
    }
}

#[test]
#[ignore = "needs consul"]
fn services_are_addresses_while_they_pass() {
    let consul = Consul::start();
    let settings = format!("{}|consul.services=web", at(consul.http_addr()));
    let scene = Scene::start(
        "format: 2\nrules: [{when: services.web, do: h, once: false}]",
        &settings,
    );
    let register = |id: &str, port: u16| {
        let service = serde_json::json!({
            "ID": id, "Name": "web", "Port": port, "Tags": ["v2", "a"],
            "Check": {"CheckID": id, "TTL": "1h", "Status": "critical"},
        });
        let body = service.to_string();
        let made = consul.api("PUT", "/v1/agent/service/register", body.as_bytes());
        assert_eq!(made.status, 200, "{}", made.body);
    };
    let check = |verb: &str, id: &str| {
        let set = consul.api("PUT", &format!("/v1/agent/check/{verb}/{id}"), b"");
        assert_eq!(set.status, 200, "{}", set.body);
    };
    let wait_ids = |expected: &[&str]| {
        wait_for(&format!("{expected:?}"), DEADLINE, || {
            let given = scene.given();
            let instances = &given.last()?["services.web"]["instances"];
            let instances = instances.as_array().unwrap().iter();
            let ids: Vec<_> = instances.map(|i| i["id"].as_str().unwrap()).collect();
            (ids == expected).then_some(())
        });
    };
    register("web3", 83);
    register("web1", 81);
    register("web2", 82);
    for id in ["web1", "web2", "web3"] {
        check("pass", id);
    }
    wait_ids(&["web1", "web2", "web3"]);
    check("fail", "web1");
    wait_ids(&["web2", "web3"]);
    let given = scene.given().pop().unwrap()["services.web"].clone();
    assert_eq!(
        (&given["address"], &given["port"]),
        (&"127.0.0.1".into(), &82.into())
    );
    assert_eq!(
        given["instances"][0]["tags"],
        serde_json::json!(["a", "v2"])
    );
    assert_eq!(given["instances"][0]["status"], "passing");
    check("pass", "web1");
    wait_ids(&["web1", "web2", "web3"]);
    consul.api("PUT", "/v1/agent/service/deregister/web2", b"");
    wait_ids(&["web1", "web3"]);
}
