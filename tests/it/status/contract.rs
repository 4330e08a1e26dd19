//! What the contract adds to the answer: hooks, ports, and the probe of `--health`.

use super::{asked, wait_document};
use crate::support::{DEADLINE, Disco, Sandbox, wait_for};
use nix::sys::signal::Signal;
use std::net::TcpListener;

/// A directory with this contract, a disco in it whose status socket is `s`, and the settings for that.
fn with(contract: &str) -> (Sandbox, Disco, String) {
    let sandbox = Sandbox::new();
    let contract = sandbox.write("asyncy.yml", contract);
    let cfg = format!(
        "disco.status={}/s|disco.contract={}",
        sandbox.dir().display(),
        contract.display()
    );
    let disco = Disco::new().cwd(sandbox.dir()).cfg(&cfg);
    (sandbox, disco, cfg)
}

#[test]
fn a90_hooks_are_told_while_they_run_and_afterwards() {
    for pid1 in [false, true] {
        let (sandbox, disco, cfg) = with(
            "lifecycle: {startup: 'until test -e up; do sleep 0.02; done', shutdown: 'until test -e down; do sleep 0.02; done'}",
        );
        let disco = if pid1 { disco.pid1() } else { disco };
        let running = disco.args(["sleep", "1000"]).spawn();
        let socket = sandbox.path("s");
        let told = wait_document(&socket, "the startup hook", |d| {
            d["hooks"]["startup"] == "running"
        });
        assert_eq!(told["phase"], "startup");
        assert_eq!(told["ready"], false);
        assert_eq!(told["hooks"]["shutdown"], "pending");
        let out = asked(&cfg, &["--health"]);
        out.assert_code(1);
        sandbox.write("up", "");
        let told = wait_document(&socket, "the command", |d| d["phase"] == "running");
        assert_eq!(told["hooks"]["startup"], "done");
        asked(&cfg, &["--explain"])
            .assert_code(0)
            .assert_stdout_has("hooks       startup done, shutdown pending\n");
        running.signal(Signal::SIGTERM);
        let told = wait_document(&socket, "the shutdown hook", |d| {
            d["hooks"]["shutdown"] == "running"
        });
        assert_eq!(told["phase"], "shutdown");
        asked(&cfg, &["--health"]).assert_code(1);
        sandbox.write("down", "");
        running.wait().assert_code(143);
        assert!(!socket.exists());
    }
}

#[test]
fn a50_ports_are_told_to_whoever_asks() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sandbox, disco, cfg) = with(&format!("ports: [{port}, '{port}/udp']"));
    let running = disco.args(["sleep", "1000"]).spawn();
    wait_document(&sandbox.path("s"), "the command", |d| {
        d["phase"] == "running"
    });
    let out = asked(&cfg, &["--explain", "--json"]);
    let told: serde_json::Value = serde_json::from_str(&out.stdout).unwrap();
    assert_eq!(told["ports"][0]["port"], format!("{port}/tcp"));
    assert_eq!(told["ports"][0]["listening"], true);
    assert_eq!(told["ports"][1]["listening"], false);
    drop(listener);
    wait_for("the port to be free", DEADLINE, || {
        let out = asked(&cfg, &["--explain"]);
        out.stdout
            .contains(&format!("{port}/tcp nobody listens"))
            .then_some(())
    });
    drop(running);
}

#[test]
fn a80_health_of_the_contract_is_asked_where_no_setting_is() {
    let (sandbox, disco, cfg) = with("health: {command: [test, -e, /well], timeout: 3s}");
    sandbox.write(
        "asyncy.yml",
        format!("health: 'test -e {}/well'", sandbox.dir().display()),
    );
    let running = disco.args(["sleep", "1000"]).spawn();
    wait_document(&sandbox.path("s"), "the command", |d| d["ready"] == true);
    asked(&cfg, &["--health"]).assert_code(1);
    sandbox.write("well", "");
    asked(&cfg, &["--health"]).assert_code(0);
    let other = format!("{cfg}|disco.health=false");
    asked(&other, &["--health"]).assert_code(1);
    drop(running);
    let (_sandbox, disco, _) = with("health: {http: {port: 99999}, tcp: 5}");
    disco
        .arg("true")
        .run()
        .assert_code(78)
        .assert_stderr_has("`health`: expected one of `command`, `http` and `tcp`");
}
