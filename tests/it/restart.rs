//! The command started again, by a rule or by policy.

use nix::sys::signal::Signal;

use crate::support::{DEADLINE, Disco, Sandbox, wait_for};

#[test]
fn a_rule_can_restart_the_command() {
    let sandbox = Sandbox::new();
    sandbox.write("db.schema", "name: db\ntype: object\n");
    sandbox.write(
        "test.rules",
        "format: 2\nrules: [{when: db, do: 'true', once: false, then: restart}]",
    );
    sandbox.write("data.yaml", "db: {n: 1}\n");
    let cfg = format!(
        "disco.path={0}|flat.file={0}/data.yaml",
        sandbox.dir().display()
    );
    let running = Disco::new()
        .cfg(cfg)
        .args(["sh", "-c", "echo started; exec sleep 1000"])
        .pid1()
        .spawn();
    running.wait_stdout("started\n");
    sandbox.write("data.yaml", "db: {n: 2}\n");
    running.wait_stdout("started\nstarted\n");
    running.signal(Signal::SIGTERM);
    running.wait().assert_code(143);
}

/// A command under a rule that restarts it whenever `data.yaml` changes.
pub(crate) struct Restarting {
    pub(crate) sandbox: Sandbox,
    pub(crate) cfg: String,
}

impl Restarting {
    pub(crate) fn new() -> Self {
        let (sandbox, cfg) = Sandbox::watching("restart");
        Self { sandbox, cfg }
    }

    pub(crate) fn change(&self) {
        self.sandbox.write("data.yaml", "db: {n: 2}\n");
    }
}

#[test]
fn a_stop_is_not_undone_by_a_restart() {
    let setup = Restarting::new();
    let script =
        "trap 'echo stopping; sleep 0.5; exit 3' TERM; echo started; while :; do sleep 0.02; done";
    let running = Disco::new()
        .cfg(&setup.cfg)
        .args(["sh", "-c", script])
        .pid1()
        .spawn();
    running.wait_stdout("started");
    running.signal(Signal::SIGTERM);
    running.wait_stdout("stopping");
    setup.change();
    let out = running.wait();
    out.assert_code(3);
    assert_eq!(
        out.stdout.matches("started").count(),
        1,
        "{}{}",
        out.stdout,
        out.stderr
    );
}

#[test]
fn a_restart_ends_what_the_command_has_started() {
    let setup = Restarting::new();
    let script = "sleep 4321 & echo started $!; wait";
    let running = Disco::new()
        .cfg(&setup.cfg)
        .args(["bash", "-c", script])
        .pid1()
        .spawn();
    running.wait_stdout("started");
    let of = |init: nix::unistd::Pid| {
        let children = format!("/proc/{init}/task/{init}/children");
        std::fs::read_to_string(children)
            .unwrap()
            .split_whitespace()
            .count()
    };
    let before = of(running.pid());
    setup.change();
    wait_for("the second start", DEADLINE, || {
        (running.stdout_so_far().matches("started").count() == 2).then_some(())
    });
    assert_eq!(of(running.pid()), before, "{}", running.stderr_so_far());
    running.signal(Signal::SIGTERM);
    running.wait().assert_code(143);
}

#[test]
fn a_new_agent_neither_runs_nor_restarts_what_the_old_one_has_applied() {
    let setup = Restarting::new();
    let disco = Disco::new().cfg(&setup.cfg).arg("-ldebug");
    let running = disco
        .args(["sh", "-c", "echo started; exec sleep 1000"])
        .spawn();
    running.wait_stdout("started");
    let init = running.pid();
    let children = std::fs::read_to_string(format!("/proc/{init}/task/{init}/children")).unwrap();
    let agent = children.split_whitespace().next().unwrap().parse().unwrap();
    layer_cake::sys::kill(agent, libc::SIGKILL).unwrap();
    wait_for("the new agent's verdict", DEADLINE, || {
        (running.stderr_so_far().matches("Learn ['db']").count() == 2).then_some(())
    });
    setup.change();
    wait_for("the restart for other data", DEADLINE, || {
        (running.stdout_so_far().matches("started").count() == 2).then_some(())
    });
    assert_eq!(setup.sandbox.read("runs").lines().count(), 2);
    running.signal(Signal::SIGTERM);
    running.wait().assert_code(143);
}

#[test]
fn data_that_becomes_incomplete_while_the_command_runs_is_told() {
    let setup = Restarting::new();
    let running = Disco::new()
        .cfg(&setup.cfg)
        .args(["sh", "-c", "echo started; exec sleep 1000"])
        .spawn();
    running.wait_stdout("started");
    setup.sandbox.write("data.yaml", "dbs: {n: 2}\n");
    running.wait_stderr("rule all(db) -> h needs db: missing from flatfile; did you mean `dbs`?");
    running.wait_stderr("the command keeps its last configuration");
}

fn starts(sandbox: &Sandbox) -> usize {
    sandbox.read("starts").lines().count()
}

/// Runs a command under a policy that leaves a line in `starts` each time.
fn policy(sandbox: &Sandbox, cfg: &str, rest: &str) -> Disco {
    let script = format!("echo x >> {}/starts; {rest}", sandbox.dir().display());
    let cfg = format!("disco.restart_delay=10ms|{cfg}");
    Disco::new().cfg(cfg).args(["sh", "-c", &script])
}

#[test]
fn p42_restarts_are_limited_and_the_last_status_stays() {
    for (cfg, script, code, count) in [
        ("disco.restart=never", "exit 3", 3, 1),
        ("disco.restart=on-failure:3", "exit 3", 3, 4),
        ("disco.restart=on-failure:3", "exit 0", 0, 1),
        (
            "disco.restart=on-failure|disco.restart_limit=2",
            "kill -USR1 $$",
            138,
            3,
        ),
        (
            "disco.restart=on-failure|disco.exit_map=3:0",
            "exit 3",
            0,
            1,
        ),
        // An end that nobody asked for is no success.
        ("disco.restart=always:2", "exit 0", 70, 3),
    ] {
        for pid1 in [false, true] {
            let sandbox = Sandbox::new();
            let disco = policy(&sandbox, cfg, script);
            let out = if pid1 { disco.pid1() } else { disco }.run();
            assert_eq!(out.code, Some(code), "{cfg}, {script}: {}", out.stderr);
            assert_eq!(starts(&sandbox), count, "{cfg}, {script}: {}", out.stderr);
            if count > 1 {
                out.assert_stderr_has("the limit set by `disco.restart` or `disco.restart_limit`");
            }
        }
    }
}

#[test]
fn p42_a_stop_ends_a_pause_and_is_not_followed_by_a_restart() {
    let sandbox = Sandbox::new();
    let running = policy(
        &sandbox,
        "disco.restart=always|disco.restart_delay=1h|disco.restart_max_delay=1h",
        "exit 9",
    )
    .pid1()
    .spawn();
    running.wait_stderr("starting it again in");
    running.signal(Signal::SIGHUP);
    running.signal(Signal::SIGTERM);
    running
        .wait()
        .assert_code(9)
        .assert_stderr_has("while the command does not run");
    let sandbox = Sandbox::new();
    let running = policy(&sandbox, "disco.restart=always", "echo up; exec sleep 1000")
        .pid1()
        .spawn();
    running.wait_stdout("up");
    running.signal(Signal::SIGTERM);
    running.wait().assert_code(143);
    assert_eq!(starts(&sandbox), 1);
}

#[test]
fn p42_a_restart_clears_what_the_command_has_left() {
    let sandbox = Sandbox::new();
    let script = "sleep 4321 & echo $! >> ${0%/*}/pids; exit 1";
    let command = sandbox.handler("command", &format!("#!/bin/sh\n{script}\n"));
    let out = Disco::new()
        .cfg("disco.restart=on-failure:2|disco.restart_delay=10ms")
        .arg(&command)
        .run();
    out.assert_code(1);
    let pids = sandbox.read("pids");
    assert_eq!(pids.lines().count(), 3);
    for pid in pids.lines() {
        assert!(
            !std::path::Path::new("/proc").join(pid).exists(),
            "{pid} is left"
        );
    }
}

#[test]
fn a_command_that_is_not_there_is_not_tried_again() {
    let out = Disco::new()
        .cfg("disco.restart=always")
        .arg("no-such-command")
        .run();
    out.assert_code(127);
    assert!(!out.stderr.contains("again"), "{}", out.stderr);
}

#[test]
fn p42_a_reload_between_two_instances_does_not_end_the_next() {
    let sandbox = Sandbox::new();
    let rest = format!(
        "test -e {0}/once && {{ echo again; exec sleep 1000; }}; echo > {0}/once; exit 1",
        sandbox.dir().display()
    );
    let running = policy(
        &sandbox,
        "disco.restart=always|disco.restart_delay=300ms",
        &rest,
    )
    .pid1()
    .spawn();
    running.wait_stderr("starting it again");
    for signal in [Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGUSR2] {
        running.signal(signal);
    }
    running.wait_stdout("again");
    running.signal(Signal::SIGTERM);
    running.wait().assert_code(143);
    assert_eq!(starts(&sandbox), 2);
}
