//! `--health`: 0 or 1, a line that says why, and the probes.

use super::{asked, idle, wait_document, waiting};
use crate::support::{DEADLINE, Disco, Output, Pki, Running, Sandbox, proc, wait_for};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A command that is ready, and the settings by which it is asked.
fn ready() -> (Sandbox, Running, String) {
    let sandbox = Sandbox::new();
    let running = idle(&sandbox, "");
    wait_document(&sandbox.path("s"), "the command", |d| d["ready"] == true);
    let cfg = format!("disco.status={}/s", sandbox.dir().display());
    (sandbox, running, cfg)
}

/// `--health` with a probe.
fn probed(cfg: &str, probe: &str) -> Output {
    asked(&format!("{cfg}|disco.health={probe}"), &["--health"])
}

#[track_caller]
fn assert_unhealthy(out: &Output, why: &str) {
    out.assert_code(1);
    assert!(out.stdout.starts_with("unhealthy: "), "{out:?}");
    assert!(out.stdout.contains(why), "{why}: {out:?}");
    assert_eq!(out.stdout.lines().count(), 1, "{out:?}");
}

#[test]
fn it_is_0_or_1_whatever_is_wrong() {
    let (sandbox, cfg) = waiting();
    assert_unhealthy(&asked(&cfg, &["--health"]), "no disco answers");
    assert_unhealthy(
        &asked(&cfg, &["--health", "--nope"]),
        "unknown option --nope",
    );
    assert_unhealthy(&asked(&cfg, &["-z", "--health"]), "unknown option -z");
    assert_unhealthy(&asked(&cfg, &["--health", "word"]), "`word`");
    assert_unhealthy(&asked("disco.nope=1", &["--health"]), "disco.nope");
    assert_unhealthy(&asked("disco.health=ftp://x", &["--health"]), "`ftp`");
    let running = Disco::new().cfg(&cfg).args(["sleep", "1000"]).spawn();
    wait_document(&sandbox.path("s"), "a judgement", |d| {
        d["rules"][0]["waiting"].is_array()
    });
    assert_unhealthy(
        &asked(&cfg, &["--health"]),
        "not configured yet: rule all(db, web) -> h needs db",
    );
    drop(running);
}

#[test]
fn what_says_that_it_is_ready_is_not_healthy_before() {
    let sandbox = Sandbox::new();
    let running = idle(&sandbox, "|disco.notify=true");
    wait_document(&sandbox.path("s"), "the command", |d| {
        d["command"]["state"] == "running"
    });
    let cfg = format!("disco.status={}/s", sandbox.dir().display());
    assert_unhealthy(&asked(&cfg, &["--health"]), "the command is not ready");
    drop(running);
}

#[test]
fn a_program_probes_with_its_arguments_and_without_the_settings() {
    let (sandbox, running, cfg) = ready();
    asked(&cfg, &["--health"])
        .assert_code(0)
        .assert_stdout("healthy: the command is ready\n");
    probed(&cfg, "true")
        .assert_code(0)
        .assert_stdout("healthy: the probe `true` succeeds\n");
    assert_unhealthy(
        &probed(&cfg, "false"),
        "the probe `false` ended with exit status 1",
    );
    assert_unhealthy(
        &probed(&cfg, "no-such-program"),
        "cannot run the probe `no-such-program`",
    );
    let out = probed(&cfg, "echo \"${DISCO_CFG-none}\"; exit 7");
    assert_unhealthy(&out, "exit status 7");
    out.assert_stderr_has("none");
    sandbox.handler("h", "#!/bin/sh\ntest \"$1\" = a -a \"$2\" = b\n");
    probed(&cfg, &format!("{}/h a  b", sandbox.dir().display())).assert_code(0);
    drop(running);
}

#[test]
fn a_probe_that_takes_too_long_is_killed_with_what_it_started() {
    let (sandbox, running, cfg) = ready();
    let pids = sandbox.path("pids");
    let probe = format!("sleep 1000 & echo $! > {}; wait", pids.display());
    let started = Instant::now();
    let out = probed(&format!("{cfg}|disco.health_timeout=300ms"), &probe);
    assert_unhealthy(&out, "disco.health_timeout");
    assert!(started.elapsed() < Duration::from_secs(10));
    let pid = nix::unistd::Pid::from_raw(sandbox.wait_file("pids").trim().parse().unwrap());
    wait_for("the end of what it started", DEADLINE, || {
        (!proc::is_alive(pid)).then_some(())
    });
    drop(running);
}

/// A server that answers every connection with a status, and its port.
fn server(status: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let mut request = [0; 1024];
            let size = client.read(&mut request).unwrap_or(0);
            let text = String::from_utf8_lossy(&request[..size]).into_owned();
            let is_right = text.starts_with("GET /up?x HTTP/1.1\r\nHost: 127.0.0.1:");
            let status = if is_right { status } else { "400 Wrong" };
            let _ = write!(client, "HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
        }
    });
    port
}

#[test]
fn a_server_with_a_certificate_of_its_own_will_do() {
    let pki = Pki::new();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let chain = CertificateDer::pem_file_iter(pki.server_cert()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            chain.map(Result::unwrap).collect(),
            PrivateKeyDer::from_pem_file(pki.server_key()).unwrap(),
        );
    let config = Arc::new(config.unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let served = std::thread::spawn(move || {
        let (client, _) = listener.accept().unwrap();
        let mut client =
            rustls::StreamOwned::new(rustls::ServerConnection::new(config).unwrap(), client);
        let _ = client.read(&mut [0; 1024]).unwrap();
        let _ = client.write_all(b"HTTP/1.1 204 No Content\r\n\r\n");
        let _ = client.flush();
    });
    let (_sandbox, running, cfg) = ready();
    let out = probed(&cfg, &format!("https://127.0.0.1:{port}/"));
    out.assert_code(0);
    assert!(out.stdout.contains("answers with 204"), "{out:?}");
    served.join().unwrap();
    drop(running);
}

#[test]
fn a_server_probes_by_status_or_connection() {
    let (_sandbox, running, cfg) = ready();
    for (status, is_well) in [("200 OK", true), ("302 Found", true), ("503 Busy", false)] {
        let port = server(status);
        let out = probed(&cfg, &format!("http://127.0.0.1:{port}/up?x"));
        assert_eq!(
            out.code,
            Some(if is_well { 0 } else { 1 }),
            "{status}: {out:?}"
        );
        assert!(out.stdout.contains(&status[..3]), "{out:?}");
        probed(&cfg, &format!("tcp://localhost:{port}")).assert_code(0);
    }
    let free = crate::support::free_port();
    assert_unhealthy(
        &probed(&cfg, &format!("tcp://127.0.0.1:{free}")),
        "no connection",
    );
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = mute.local_addr().unwrap().port();
    let cfg = format!("{cfg}|disco.health_timeout=200ms");
    let out = probed(&cfg, &format!("https://127.0.0.1:{port}/"));
    assert_unhealthy(&out, "no answer from the probe in 200ms");
    drop(running);
}
