//! Whoever asks the container how it is: over the socket, by `--explain`. Readiness and health have
//! files of their own, and so have real containers.

mod containers;
mod contract;
mod health;
mod ready;

use crate::support::{DEADLINE, Disco, Running, Sandbox, disco_bin, is_root, proc, wait_for};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

/// What is on the socket for somebody who connects, whole.
fn document(socket: &Path) -> Option<Value> {
    let mut connection = UnixStream::connect(socket).ok()?;
    connection.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut text = String::new();
    connection.read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

/// Waits until the document is as it should be.
#[track_caller]
fn wait_document(socket: &Path, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        wait_for(what, DEADLINE, || {
            last = document(socket)?;
            is_so(&last).then(|| last.clone())
        })
    }));
    found.unwrap_or_else(|_| panic!("waited in vain for {what}; the last document: {last:#}"))
}

/// A rule that watches `db` and `web` in a file without either, and the settings.
fn waiting() -> (Sandbox, String) {
    let sandbox = Sandbox::new();
    sandbox.schema(
        "db",
        r#"{"name": "db", "type": "object", "required": ["port"],
            "properties": {"port": {"type": "integer"}}}"#,
    );
    sandbox.schema("web", r#"{"name": "web", "type": "object"}"#);
    sandbox.handler("h", "#!/bin/sh\necho run >> ${0%/*}/runs\n");
    sandbox.rules("format: 2\nrules: [{when: [db, web], do: h, once: false}]");
    sandbox.write("data.yaml", "db: {port: hunter2}\nwbe: {}\n");
    let cfg = format!(
        "disco.path={0}|flat.file={0}/data.yaml|disco.status={0}/s",
        sandbox.dir().display()
    );
    (sandbox, cfg)
}

/// A disco that stays beside `sleep`, with a socket `s` in the sandbox.
fn idle(sandbox: &Sandbox, more: &str) -> Running {
    let cfg = format!("disco.status={}/s{more}", sandbox.dir().display());
    Disco::new().cfg(cfg).args(["sleep", "1000"]).spawn()
}

#[test]
fn whoever_connects_gets_one_document_from_the_wait_to_the_end() {
    for pid1 in [false, true] {
        let (sandbox, cfg) = waiting();
        let disco = Disco::new().cfg(cfg).args(["sleep", "1000"]);
        let disco = if pid1 { disco.pid1() } else { disco };
        let running = disco.spawn();
        let socket = sandbox.path("s");
        let told = wait_document(&socket, "a judgement", |d| {
            d["rules"][0]["waiting"][1]["why"] == "missing"
        });
        assert_eq!(told["phase"], "waiting");
        assert_eq!(
            (&told["configured"], &told["ready"]),
            (&false.into(), &false.into())
        );
        assert_eq!(told["command"]["state"], "waiting");
        assert_eq!(told["agent"]["state"], "running");
        assert_eq!(told["sources"][0]["state"], "up");
        assert_eq!(told["sources"][0]["keys"], 2);
        let rule = &told["rules"][0];
        assert_eq!(
            (&rule["label"], &rule["state"]),
            (&"all(db, web) -> h".into(), &"waiting".into())
        );
        let [db, web] = &rule["waiting"].as_array().unwrap()[..] else {
            panic!("{told:#}");
        };
        assert_eq!(db["violations"][0]["path"], "port");
        assert_eq!(db["violations"][0]["keyword"], "type");
        assert_eq!(web["looked_in"][0], "flatfile");
        assert_eq!(web["hint"], "did you mean `wbe`?");
        assert_eq!(told["waiting_for"].as_array().unwrap().len(), 2);
        assert!(!told.to_string().contains("hunter2"), "{told:#}");

        sandbox.write("data.yaml", "db: {port: 1}\nweb: {}\n");
        let told = wait_document(&socket, "the command", |d| {
            d["command"]["state"] == "running"
        });
        assert_eq!(told["phase"], "running");
        assert_eq!(
            (&told["configured"], &told["ready"]),
            (&true.into(), &true.into())
        );
        assert_eq!(told["command"]["name"], "sleep");
        if pid1 {
            assert_eq!(told["pid"], 1);
        } else {
            let pid = running.child("sleep").as_raw();
            assert_eq!(told["command"]["pid"], pid);
        }
        assert_eq!(told["rules"][0]["state"], "done");
        assert_eq!(told["waiting_for"].as_array().unwrap().len(), 0);
        running.signal(Signal::SIGTERM);
        running.wait().assert_code(143);
        assert!(!socket.exists());
    }
}

#[test]
fn init_answers_alone_where_no_agent_is_needed_any_more() {
    let (sandbox, cfg) = waiting();
    sandbox.rules("rules: [{rule: {when: web, do: h}}]");
    sandbox.write("data.yaml", "web: {}\n");
    let running = Disco::new()
        .cfg(cfg + "|disco.mode=supervise")
        .args(["sleep", "1000"])
        .spawn();
    let told = wait_document(&sandbox.path("s"), "init's own answer", |d| {
        d["agent"]["state"] == "none"
    });
    assert_eq!(told["configured"], true);
    assert_eq!(told.get("rules"), None);
    drop(running);
}

#[test]
fn a_handler_that_fails_is_told_with_its_last_words_and_no_value() {
    let (sandbox, cfg) = waiting();
    sandbox.handler("h", "#!/bin/sh\ncat >&2\necho ' is bad' >&2\nexit 3\n");
    sandbox.rules("rules: [{rule: {when: web, do: h}}]");
    sandbox.write("data.yaml", "web: {password: hunter2-hunter2}\n");
    let running = Disco::new()
        .cfg(cfg + "|disco.fail_limit=0|disco.interval=1h")
        .args(["sleep", "1000"])
        .spawn();
    let told = wait_document(&sandbox.path("s"), "a failure", |d| {
        d["rules"][0]["state"] == "failing"
    });
    let rule = &told["rules"][0];
    assert_eq!(rule["failures"], 1);
    assert_eq!(rule["reason"], "exit status 3");
    assert_eq!(rule["stderr"][0], r#"{"password":"***"} is bad"#);
    assert!(!told.to_string().contains("hunter2"), "{told:#}");
    drop(running);
}

#[test]
fn a_restarted_command_is_told_with_its_last_exit() {
    let sandbox = Sandbox::new();
    let cfg = format!(
        "disco.status={}/s|disco.restart=always|disco.restart_delay=1h|disco.restart_max_delay=1h",
        sandbox.dir().display()
    );
    let running = Disco::new()
        .cfg(cfg)
        .args(["sh", "-c", "kill -9 $$"])
        .spawn();
    let told = wait_document(&sandbox.path("s"), "the pause", |d| {
        d["phase"] == "restarting"
    });
    assert_eq!(told["command"]["state"], "restarting");
    assert_eq!(told["command"]["last_exit"]["status"], 137);
    assert_eq!(told["command"]["last_exit"]["signal"], "SIGKILL");
    assert_eq!(told["ready"], false);
    drop(running);
}

#[test]
fn a_name_of_any_bytes_is_a_valid_string() {
    let sandbox = Sandbox::new();
    let name = sandbox
        .dir()
        .join(std::ffi::OsStr::from_bytes(b"a\xff\"\n\x1b"));
    std::os::unix::fs::symlink("/bin/sleep", &name).unwrap();
    let cfg = format!("disco.status={}/s", sandbox.dir().display());
    let running = Disco::new().cfg(cfg).arg(&name).arg("1000").spawn();
    let told = wait_document(&sandbox.path("s"), "the command", |d| {
        d["command"]["state"] == "running"
    });
    let shown = told["command"]["name"].as_str().unwrap();
    assert!(shown.ends_with("a\u{fffd}\"\n\u{1b}"), "{shown:?}");
    drop(running);
}

#[test]
fn neither_a_flood_nor_those_who_never_read_hold_anybody_up() {
    let (sandbox, cfg) = waiting();
    sandbox.write("data.yaml", "db: {port: 1}\nweb: {}\n");
    let script = "trap 'exit 7' USR1; while :; do sleep 0.02; done";
    let running = Disco::new().cfg(cfg).args(["sh", "-c", script]).spawn();
    let socket = sandbox.path("s");
    wait_document(&socket, "the command", |d| {
        d["command"]["state"] == "running"
    });
    let silent: Vec<UnixStream> = (0..400)
        .filter_map(|_| UnixStream::connect(&socket).ok())
        .collect();
    assert!(silent.len() > 100, "{}", silent.len());
    let told = document(&socket).unwrap();
    assert_eq!(told["rules"][0]["state"], "done");
    sandbox.write("data.yaml", "db: {port: 2}\nweb: {}\n");
    wait_for("the agent at its work", DEADLINE, || {
        (sandbox.wait_file("runs").lines().count() > 1).then_some(())
    });
    running.signal(Signal::SIGUSR1);
    running.wait().assert_code(7).assert_stderr_lacks("WARN");
}

#[test]
fn nobody_wakes_while_nobody_asks() {
    let (sandbox, cfg) = waiting();
    sandbox.write("data.yaml", "db: {port: 1}\nweb: {}\n");
    let cfg = format!(
        "{cfg}|disco.notify=true|disco.ready_file={}/ready",
        sandbox.dir().display()
    );
    let running = Disco::new().cfg(cfg).args(["sleep", "1000"]).spawn();
    wait_document(&sandbox.path("s"), "the command", |d| {
        d["command"]["state"] == "running"
    });
    proc::wait_until_idle([running.pid(), running.child("disco")]);
}

#[test]
fn init_alone_has_the_listener() {
    let (sandbox, cfg) = waiting();
    sandbox.write("data.yaml", "db: {port: 1}\nweb: {}\n");
    let socket = sandbox.path("s");
    let running = Disco::new().cfg(cfg).args(["sleep", "1000"]).spawn();
    wait_document(&socket, "the command", |d| {
        d["command"]["state"] == "running"
    });
    let all = std::fs::read_to_string("/proc/net/unix").unwrap();
    let line = all
        .lines()
        .find(|line| line.ends_with(socket.to_str().unwrap()))
        .unwrap();
    let inode = line.split_whitespace().nth(6).unwrap();
    let link = format!("socket:[{inode}]");
    let has = |pid| {
        proc::descriptors(pid)
            .iter()
            .any(|(_, to)| *to == Path::new(&link))
    };
    assert!(has(running.pid()));
    assert!(!has(running.child("disco")));
    assert!(!has(running.child("sleep")));
}

#[test]
fn a_dead_socket_is_replaced_a_live_one_and_a_file_are_not() {
    let sandbox = Sandbox::new();
    let socket = sandbox.path("s");
    drop(UnixListener::bind(&socket).unwrap());
    let running = idle(&sandbox, "");
    let told = wait_document(&socket, "an answer", |d| d["command"]["state"] == "running");

    let second = idle(&sandbox, "");
    second.wait_stderr("no status socket at");
    second.child("sleep");
    assert_eq!(document(&socket).unwrap()["pid"], told["pid"]);
    second.signal(Signal::SIGTERM);
    second
        .wait()
        .assert_code(143)
        .assert_stderr_has("taken by another");
    assert_eq!(
        document(&socket).unwrap()["pid"],
        told["pid"],
        "left alone at the end, too"
    );
    drop(running);

    std::fs::remove_file(&socket).unwrap();
    sandbox.write("s", "kept");
    let third = idle(&sandbox, "");
    third.child("sleep");
    third.signal(Signal::SIGTERM);
    third.wait().assert_code(143).assert_stderr_has("WARN");
    assert_eq!(sandbox.read("s"), "kept");
}

#[test]
fn the_mode_is_what_was_asked_for_whatever_the_umask() {
    for (umask, more, mode) in [
        ("000", "", 0o600),
        ("077", "|disco.status_mode=0666", 0o666),
    ] {
        let sandbox = Sandbox::new();
        let cfg = format!("disco.status={}/s{more}", sandbox.dir().display());
        let disco = Disco::new().cfg(cfg).prepared(&format!("umask {umask}"));
        let running = disco.args(["sleep", "1000"]).spawn();
        let socket = sandbox.path("s");
        wait_document(&socket, "an answer", |d| d["phase"] == "running");
        let about = std::fs::metadata(&socket).unwrap();
        assert_eq!(about.permissions().mode() & 0o777, mode);
        drop(running);
    }
}

#[test]
fn in_exec_mode_it_is_there_for_the_wait_only() {
    let (sandbox, cfg) = waiting();
    sandbox.rules("rules: [{rule: {when: web, do: h}}]");
    let running = Disco::new()
        .cfg(cfg + "|disco.mode=exec")
        .args([
            "sh",
            "-c",
            "ls -l /proc/$$/fd; echo started; exec sleep 1000",
        ])
        .spawn();
    let socket = sandbox.path("s");
    wait_document(&socket, "the wait", |d| d["phase"] == "waiting");
    sandbox.write("data.yaml", "web: {}\n");
    running.wait_stdout("started");
    assert!(!socket.exists());
    assert!(
        !running.stdout_so_far().contains("socket:"),
        "{}",
        running.stdout_so_far()
    );
}

#[test]
fn a_socket_that_cannot_be_had_is_no_end() {
    let out = Disco::new()
        .cfg("disco.status=/nonexistent/s|disco.mode=supervise")
        .args(["sh", "-c", "exit 3"])
        .run();
    out.assert_code(3)
        .assert_stderr_has("no status socket at /nonexistent/s");
    let out = Disco::new()
        .cfg(format!("disco.status=/{}", "x".repeat(200)))
        .args(["sh", "-c", "exit 4"])
        .run();
    out.assert_code(4).assert_stderr_has("no status socket");
    // Tried again when the command starts, and said once.
    let (sandbox, cfg) = waiting();
    sandbox.write("data.yaml", "db: {port: 1}\nweb: {}\n");
    let out = Disco::new()
        .cfg(cfg + "|disco.status=/nonexistent/s")
        .args(["sh", "-c", "exit 5"])
        .run();
    let told = out
        .assert_code(5)
        .stderr
        .matches("no status socket")
        .count();
    assert_eq!(told, 1, "{}", out.stderr);
}

/// `--explain` or `--health` with these settings.
fn asked(cfg: &str, words: &[&str]) -> crate::support::Output {
    Disco::new().cfg(cfg).args(words).run()
}

#[test]
fn explain_shows_why_it_waits_and_that_it_is_over() {
    let (sandbox, cfg) = waiting();
    let running = Disco::new().cfg(&cfg).args(["sleep", "1000"]).spawn();
    wait_document(&sandbox.path("s"), "a judgement", |d| {
        d["rules"][0]["waiting"].is_array()
    });
    let out = asked(&cfg, &["--explain"]);
    out.assert_code(0);
    for line in [
        "phase       waiting",
        "  db.port  value is not of type \"integer\" (type)",
        "  web      missing from flatfile; did you mean `wbe`?",
        "Not configured, for 2 reasons.",
    ] {
        assert!(
            out.stdout.lines().any(|l| l == line),
            "{line}\n{}",
            out.stdout
        );
    }
    assert!(!out.stdout.contains("hunter2"));
    let out = asked(&cfg, &["--explain", "--json"]);
    let told: Value = serde_json::from_str(&out.assert_code(0).stdout).unwrap();
    assert_eq!(told["rules"][0]["waiting"][0]["interface"], "db");

    sandbox.write("data.yaml", "db: {port: 1}\nweb: {}\n");
    running.child("sleep");
    wait_document(&sandbox.path("s"), "the command", |d| {
        d["command"]["state"] == "running"
    });
    let out = asked(&cfg, &["--explain"]);
    assert!(
        out.assert_code(0).stdout.ends_with("Fully configured.\n"),
        "{}",
        out.stdout
    );
}

#[test]
fn an_agent_that_does_not_answer_costs_its_part_and_three_seconds() {
    let (sandbox, cfg) = waiting();
    sandbox.write("data.yaml", "db: {port: 1}\nweb: {}\n");
    let running = Disco::new().cfg(&cfg).args(["sleep", "1000"]).spawn();
    wait_document(&sandbox.path("s"), "the command", |d| {
        d["command"]["state"] == "running"
    });
    let agent = running.child("disco");
    nix::sys::signal::kill(agent, Signal::SIGSTOP).unwrap();
    running.wait_stderr("the agent was stopped");
    let started = Instant::now();
    let out = asked(&cfg, &["--explain"]);
    assert!(
        started.elapsed() < Duration::from_secs(3),
        "{:?}",
        started.elapsed()
    );
    assert!(
        out.assert_code(0).stdout.contains("does not answer"),
        "{}",
        out.stdout
    );
    let started = Instant::now();
    asked(&cfg, &["--health"]).assert_code(0);
    assert!(
        started.elapsed() < Duration::from_secs(2),
        "what init knows is enough for that"
    );
    nix::sys::signal::kill(agent, Signal::SIGCONT).unwrap();
    let told = wait_document(&sandbox.path("s"), "the agent", |d| d["rules"].is_array());
    assert_eq!(told["rules"][0]["state"], "done");

    nix::sys::signal::kill(agent, Signal::SIGKILL).unwrap();
    let told = wait_document(&sandbox.path("s"), "another agent", |d| {
        d["agent"]["pid"]
            .as_i64()
            .is_some_and(|pid| pid != i64::from(agent.as_raw()))
            && d["rules"][0]["state"] == "done"
    });
    assert_eq!(told["command"]["restarts"], 0);
}

#[test]
fn where_nobody_answers_it_is_said_what_to_do() {
    let sandbox = Sandbox::new();
    let cfg = format!("disco.status={}/s", sandbox.dir().display());
    asked(&cfg, &["--explain"])
        .assert_code(69)
        .assert_stdout("")
        .assert_stderr_has("no such socket")
        .assert_stderr_has("disco.status_mode")
        .assert_stderr_has("PID 1");
    drop(UnixListener::bind(sandbox.path("s")).unwrap());
    asked(&cfg, &["--explain"])
        .assert_code(69)
        .assert_stderr_has("nobody listens");
    asked("disco.status=off", &["--explain"])
        .assert_code(69)
        .assert_stderr_has("`disco.status` is off");
}

#[test]
fn a_file_is_judged_without_running_anything() {
    let (sandbox, _) = waiting();
    let cfg = format!(
        "disco.path={}|env.prefix=APP_|consul.host=http://127.0.0.1:1|disco.status=off",
        sandbox.dir().display()
    );
    let data = sandbox.write("other.yaml", "web: {}\n");
    let disco = Disco::new().cfg(&cfg).arg("--explain");
    let out = disco.clone().arg(&data).run();
    out.assert_code(69);
    assert!(
        out.stdout.contains("  db  missing from flatfile, env"),
        "{}",
        out.stdout
    );

    let disco = disco.env("APP_DB__PORT", "3306").arg("--json").arg(&data);
    let out = disco.run();
    let told: Value = serde_json::from_str(&out.assert_code(0).stdout).unwrap();
    assert_eq!(
        (&told["offline"], &told["configured"]),
        (&true.into(), &true.into())
    );
    let coerced = serde_json::json!([{"path": "db.port", "to": "integer"}]);
    assert_eq!(told["rules"][0]["coerced"], coerced);
    assert_eq!(told["rules"][0]["state"], "ready");
    assert_eq!(told["sources"][2]["name"], "consul");
    assert_eq!(told["sources"][2]["state"], "not asked");
    assert!(!out.stdout.contains("3306"), "{}", out.stdout);
    assert!(!sandbox.path("runs").exists(), "the handler has run");

    let broken = sandbox.write("broken.yaml", "web: {\n");
    Disco::new()
        .cfg(&cfg)
        .arg("--explain")
        .arg(&broken)
        .run()
        .assert_code(69);
    sandbox.schema("web", r#"{"name": "web", "type": "objekt"}"#);
    Disco::new()
        .cfg(&cfg)
        .arg("--explain")
        .arg(&data)
        .run()
        .assert_code(78);
}

#[test]
fn without_a_disco_the_sources_at_hand_are_judged() {
    let (sandbox, cfg) = waiting();
    let out = asked(&cfg, &["--explain"]);
    out.assert_code(69).assert_stderr_has("no disco answers");
    assert!(out.stdout.contains("nothing was run"), "{}", out.stdout);
    sandbox.write("data.yaml", "db: {port: 1}\nweb: {}\n");
    let out = asked(&cfg, &["--explain"]);
    assert!(
        out.assert_code(0)
            .stdout
            .ends_with("every rule could run.\n"),
        "{}",
        out.stdout
    );
}

/// PID 1 with directories of its own for what `auto` means.
fn own_directories(sandbox: &Sandbox, script: &str) -> Disco {
    let script = sandbox.handler(
        "script",
        &format!("#!/bin/sh\nD={}\n{script}", disco_bin().display()),
    );
    let mounts = "mount -t tmpfs none /run; mount -t tmpfs none /dev/shm";
    Disco::new().pid1().prepared(mounts).arg(script)
}

#[test]
fn pid_1_has_a_socket_by_itself_and_is_believed() {
    let sandbox = Sandbox::new();
    let script =
        "until $D --health 2>/dev/null; do sleep 0.02; done; ls -l /run/disco.sock; $D --explain";
    let disco = own_directories(&sandbox, script);
    let out = disco.clone().cfg("disco.status=auto").run();
    out.assert_code(0);
    assert!(
        out.stdout
            .contains("healthy: the command is ready\nsrw-------"),
        "{}",
        out.stdout
    );
    assert!(
        out.stdout.ends_with("Fully configured.\n"),
        "{}",
        out.stdout
    );

    let disco = disco
        .clone()
        .inside(["bash", "-c", "touch /run/disco.sock; exec \"$@\"", "bash"]);
    let script = "until $D --health 2>/dev/null; do sleep 0.02; done; ls /dev/shm/disco.sock";
    sandbox.handler(
        "script",
        &format!("#!/bin/sh\nD={}\n{script}", disco_bin().display()),
    );
    let out = disco.cfg("disco.status=auto").run();
    assert!(
        out.stdout.ends_with("/dev/shm/disco.sock\n"),
        "{}",
        out.stdout
    );
}

#[test]
fn a_socket_of_somebody_else_is_not_believed() {
    if !is_root("a socket in a directory of its own") {
        return;
    }
    let sandbox = Sandbox::new();
    let script = "
        DISCO_CFG=disco.status=/run/disco.sock $D sleep 1000 &
        until DISCO_CFG=disco.status=/run/disco.sock $D --health 2>/dev/null; do sleep 0.02; done
        $D --explain
        echo code $?";
    let out = own_directories(&sandbox, script)
        .cfg("disco.status=off")
        .run();
    out.assert_stderr_has("which is not PID 1");
    assert!(out.stdout.ends_with("code 69\n"), "{}", out.stdout);
}
