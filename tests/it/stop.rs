//! The end: asked for, forced, and what is done with those that are left. Numbers are those of the
//! conformance list of PID 1.

use nix::sys::signal::Signal;

use crate::support::{Disco, Sandbox};

#[test]
fn p33_what_is_left_gets_term_and_time() {
    let sandbox = Sandbox::new();
    let script = format!(
        "(trap 'sleep 0.3; echo flushed > {0}/out; exit' TERM; echo up > {0}/up; while :; do sleep 0.01; done) & while ! test -s {0}/up; do sleep 0.01; done; exit 5",
        sandbox.dir().display()
    );
    for pid1 in [false, true] {
        let _ = std::fs::remove_file(sandbox.path("up"));
        let _ = std::fs::remove_file(sandbox.path("out"));
        let disco = Disco::new().cfg("disco.mode=supervise");
        let disco = if pid1 { disco.pid1() } else { disco };
        let out = disco.args(["bash", "-c", &script]).run();
        out.assert_code(5);
        assert_eq!(sandbox.read("out"), "flushed\n");
        assert!(out.elapsed.as_secs() < 4, "{:?}", out.elapsed);
    }
}

#[test]
fn p33_what_ignores_term_is_killed_after_the_drain_and_named() {
    let script = "(trap '' TERM; echo up; while :; do sleep 0.1; done) & read line < /dev/null; sleep 0.2; exit 6";
    for pid1 in [false, true] {
        let disco = Disco::new().cfg("disco.mode=supervise|disco.drain=300ms");
        let disco = if pid1 { disco.pid1() } else { disco };
        disco
            .args(["bash", "-c", script])
            .run()
            .assert_code(6)
            .assert_stderr_has("killing what is left after 300ms: bash (");
    }
}

#[test]
fn c41_a_stop_while_waiting_ends_it_at_once() {
    let sandbox = Sandbox::new();
    sandbox.write("db.schema", "name: db\n");
    sandbox.write("test.rules", "rules: [{rule: {when: db, do: 'true'}}]");
    let cfg = format!("disco.path={}|env.prefix=NONE_", sandbox.dir().display());
    for pid1 in [false, true] {
        for signal in [
            Signal::SIGTERM,
            Signal::SIGINT,
            Signal::SIGQUIT,
            Signal::SIGHUP,
        ] {
            let disco = Disco::new().cfg(&cfg).args(["-l", "debug", "true"]);
            let running = if pid1 { disco.pid1() } else { disco }.spawn();
            running.wait_stderr("missing from env");
            running.signal(signal);
            let out = running.wait();
            out.assert_code(128 + signal as i32)
                .assert_stdout("")
                .assert_stderr_has("while waiting for the configuration");
        }
    }
}

#[test]
fn a_stop_while_a_handler_runs_ends_the_handler_first() {
    let sandbox = Sandbox::new();
    sandbox.handler("h", "#!/bin/sh\nd=${0%/*}\ntrap 'echo clean > $d/done; exit 0' TERM\necho up > $d/up\nwhile :; do sleep 0.01; done\n");
    sandbox.write("test.rules", "rules: [{rule: {when: [], do: h}}]");
    let running = Disco::new()
        .cfg(format!("disco.path={}", sandbox.dir().display()))
        .arg("true")
        .pid1()
        .spawn();
    sandbox.wait_file("up");
    running.signal(Signal::SIGTERM);
    running.wait().assert_code(143);
    assert_eq!(sandbox.read("done"), "clean\n");
}

#[test]
fn a_hangup_reloads_a_command_and_starts_no_clock() {
    let disco = Disco::new().cfg("disco.mode=supervise|disco.stop_timeout=100ms");
    let script = "trap 'sleep 0.3; echo reloaded' HUP; trap 'exit 4' TERM; echo ready; while :; do sleep 0.02; done";
    let running = disco.args(["sh", "-c", script]).spawn();
    running.wait_stdout("ready");
    running.signal(Signal::SIGHUP);
    running.wait_stdout("reloaded");
    running.signal(Signal::SIGTERM);
    running.wait().assert_code(4);
}

#[test]
fn stop_timeout_kills_a_command_that_does_not_stop() {
    let disco = Disco::new()
        .cfg("disco.mode=supervise|disco.stop_timeout=200ms")
        .pid1();
    let running = disco
        .args([
            "bash",
            "-c",
            "trap 'echo no' TERM; echo ready; while :; do sleep 0.02; done",
        ])
        .spawn();
    running.wait_stdout("ready");
    running.signal(Signal::SIGTERM);
    running
        .wait()
        .assert_code(137)
        .assert_stderr_has("the command did not end in time");
}

/// A command that says what it gets.
const TALKER: &str = "for s in HUP INT QUIT USR1 TERM; do trap \"echo got $s\" $s; done; \
    echo ready; while :; do sleep 0.02; done";

fn talker(disco: Disco) -> crate::support::Running {
    let running = disco.args(["bash", "-c", TALKER]).spawn();
    running.wait_stdout("ready");
    running
}

#[test]
fn p25_signals_are_rewritten_and_dropped() {
    let by_setting = Disco::new().cfg("disco.rewrite=TERM:QUIT,HUP:0");
    let by_option = Disco::new().args(["-r", "15:3", "--rewrite", "SIGHUP:0"]);
    for disco in [by_setting.pid1(), by_option] {
        let running = talker(disco);
        running.signal(Signal::SIGHUP);
        running.signal(Signal::SIGTERM);
        running.wait_stdout("got QUIT");
        running.signal(Signal::SIGUSR1);
        running.wait_stdout("got USR1");
        assert!(!running.stdout_so_far().contains("HUP"));
    }
}

#[test]
fn p25_a_stop_signal_is_what_the_command_is_stopped_by() {
    let running = talker(
        Disco::new()
            .cfg("disco.stop_signal=QUIT|disco.stop_timeout=300ms")
            .pid1(),
    );
    running.signal(Signal::SIGTERM);
    running.wait_stdout("got QUIT");
    running
        .wait()
        .assert_code(137)
        .assert_stderr_has("asked to stop by SIGTERM");
    // STOPSIGNAL of the image may be the same.
    let running = talker(
        Disco::new()
            .cfg("disco.stop_signal=QUIT|disco.stop_timeout=300ms")
            .pid1(),
    );
    running.signal(Signal::SIGQUIT);
    running.wait_stdout("got QUIT");
    running.wait().assert_code(137);
}

#[test]
fn p34_a_second_stop_is_forwarded_or_means_now() {
    let running = talker(Disco::new().cfg("disco.mode=supervise"));
    running.signal(Signal::SIGTERM);
    running.wait_stdout("got TERM");
    running.signal(Signal::SIGINT);
    running.wait_stdout("got INT");
    drop(running);
    for second in [Signal::SIGTERM, Signal::SIGINT] {
        let running = talker(Disco::new().cfg("disco.second_stop=kill").pid1());
        running.signal(Signal::SIGTERM);
        running.wait_stdout("got TERM");
        running.signal(second);
        running
            .wait()
            .assert_code(137)
            .assert_stderr_has("asked to stop again");
    }
}

#[test]
fn p33_a_second_stop_while_draining_means_now() {
    let sandbox = Sandbox::new();
    let up = sandbox.path("up");
    let script = format!(
        "(trap 'echo left TERM' TERM; echo > {0}; while :; do sleep 0.02; done) & \
         until test -e {0}; do sleep 0.01; done; exit 4",
        up.display()
    );
    for pid1 in [false, true] {
        let disco = Disco::new().cfg("disco.mode=supervise|disco.drain=1h");
        let disco = if pid1 { disco.pid1() } else { disco };
        let _ = std::fs::remove_file(&up);
        let running = disco.args(["bash", "-c", &script]).spawn();
        running.wait_stdout("left TERM");
        running.signal(Signal::SIGTERM);
        running.signal(Signal::SIGINT);
        running
            .wait()
            .assert_code(4)
            .assert_stderr_has("asked to stop again");
    }
}

#[test]
fn p33_the_stop_timeout_bounds_command_and_leftovers_together() {
    let script = "(trap '' TERM; while :; do sleep 0.02; done) & trap 'exit 5' TERM; echo ready; while :; do sleep 0.02; done";
    for cfg in ["disco.stop_timeout=400ms", "disco.runtime_grace=600ms"] {
        for pid1 in [false, true] {
            let disco = Disco::new().cfg(format!("{cfg}|disco.drain=1h"));
            let disco = if pid1 { disco.pid1() } else { disco };
            let running = disco.args(["bash", "-c", script]).spawn();
            running.wait_stdout("ready");
            running.signal(Signal::SIGTERM);
            running
                .wait()
                .assert_code(5)
                .assert_stderr_has("killing what is left after");
        }
    }
}

#[test]
fn p33_disco_is_gone_with_the_last_process() {
    // The drain would be an hour: that it ends says that the end of the orphan was what ended it.
    let sandbox = Sandbox::new();
    let up = sandbox.path("up");
    let script = format!(
        "(trap 'sleep 0.3; echo flushed; exit' TERM; echo > {0}; while :; do sleep 0.01; done) & \
         until test -e {0}; do sleep 0.01; done; exit 0",
        up.display()
    );
    for pid1 in [false, true] {
        let disco = Disco::new().cfg("disco.mode=supervise|disco.drain=1h");
        let _ = std::fs::remove_file(&up);
        let disco = if pid1 { disco.pid1() } else { disco };
        disco
            .args(["bash", "-c", &script])
            .run()
            .assert_code(0)
            .assert_stdout("flushed\n");
    }
}

#[test]
fn p33_a_stopped_leftover_is_continued_to_end() {
    let script = "sleep 1000 & kill -STOP $!; exit 3";
    for pid1 in [false, true] {
        let disco = Disco::new().cfg("disco.mode=supervise|disco.drain=1h");
        let disco = if pid1 { disco.pid1() } else { disco };
        disco.args(["bash", "-c", script]).run().assert_code(3);
    }
}

#[test]
fn p22_the_whole_group_gets_a_signal_if_that_is_wanted() {
    let script = "trap 'echo parent' USR1; (trap 'echo child; exit' USR1; echo up; while :; do sleep 0.02; done) & while :; do wait; done";
    for disco in [
        Disco::new().arg("-g"),
        Disco::new().cfg("disco.signal_group=true").pid1(),
    ] {
        let running = disco.args(["bash", "-c", script]).spawn();
        running.wait_stdout("up");
        running.signal(Signal::SIGUSR1);
        running.wait_stdout("parent");
        running.wait_stdout("child");
    }
}

#[test]
fn p32_exit_codes_are_mapped_as_asked() {
    let exits = |disco: Disco, script: &str| disco.args(["sh", "-c", script]).run().code;
    assert_eq!(
        exits(Disco::new().args(["-e", "3", "-e", "4:40"]), "exit 3"),
        Some(0)
    );
    assert_eq!(
        exits(Disco::new().args(["-e", "3", "-e", "4:40"]), "exit 4"),
        Some(40)
    );
    assert_eq!(exits(Disco::new().args(["-e", "3"]), "exit 5"), Some(5));
    let stopped = Disco::new().cfg("disco.exit_map=stopped:0").pid1();
    assert_eq!(exits(stopped.clone(), "kill -TERM $$"), Some(143));
    let running = stopped
        .args(["sh", "-c", "echo ready; exec sleep 1000"])
        .spawn();
    running.wait_stdout("ready");
    running.signal(Signal::SIGTERM);
    running.wait().assert_code(0);
}

#[test]
fn what_only_an_init_can_do_keeps_it_and_contradicts_exec() {
    let out = Disco::new()
        .args(["-e", "3", "sh", "-c", "cat /proc/$PPID/comm; exit 3"])
        .run();
    out.assert_code(0).assert_stdout("disco\n");
    // Whoever says how long a drain takes wants one.
    let drains = Disco::new()
        .cfg("disco.drain=1s")
        .args(["sh", "-c", "cat /proc/$PPID/comm"]);
    drains.run().assert_stdout("disco\n");
    Disco::new()
        .cfg("disco.mode=exec")
        .args(["-g", "true"])
        .run()
        .assert_code(78)
        .assert_stderr_has("`disco.mode`: `exec` leaves nobody to honour `disco.signal_group`");
}

#[test]
fn who_has_ended_the_command_is_told() {
    let running = talker(Disco::new().pid1().cfg("disco.stop_timeout=100ms"));
    running.signal(Signal::SIGTERM);
    running
        .wait()
        .assert_code(137)
        .assert_stderr_has("asked to stop by SIGTERM from outside the container");
    Disco::new()
        .cfg("disco.mode=supervise")
        .args(["sh", "-c", "kill -KILL $$"])
        .run()
        .assert_code(137)
        .assert_stderr_has("the command was ended by SIGKILL, which disco did not send");
}

#[test]
fn p16_a_flood_of_signals_does_not_hide_the_end_of_the_command() {
    for pid1 in [false, true] {
        let disco = Disco::new().cfg("disco.mode=supervise");
        let disco = if pid1 { disco.pid1() } else { disco };
        let script = "trap '' USR1; echo ready; read -t 0.2 x < <(sleep 1); exit 8";
        let running = disco.args(["bash", "-c", script]).spawn();
        running.wait_stdout("ready");
        let init = running.pid().as_raw();
        // Two senders keep the queue full on two processors; they end with disco.
        let flood = move || while layer_cake::sys::kill(init, libc::SIGUSR1).is_ok() {};
        let senders = [std::thread::spawn(flood), std::thread::spawn(flood)];
        running.wait().assert_code(8);
        for sender in senders {
            sender.join().unwrap();
        }
    }
}

#[test]
fn p33_the_stop_timeout_holds_while_the_command_does_not_run() {
    // While it is configured: a handler that ignores TERM.
    let sandbox = Sandbox::new();
    sandbox.handler(
        "h",
        "#!/bin/bash\ntrap '' TERM\necho up > ${0%/*}/up\nwhile :; do sleep 0.02; done\n",
    );
    sandbox.write("test.rules", "rules: [{rule: {when: [], do: h}}]");
    let cfg = format!(
        "disco.path={}|disco.stop_timeout=300ms|disco.drain=1h",
        sandbox.dir().display()
    );
    let running = Disco::new().cfg(cfg).arg("true").pid1().spawn();
    sandbox.wait_file("up");
    running.signal(Signal::SIGTERM);
    running
        .wait()
        .assert_code(143)
        .assert_stderr_has("killing what is left");
    // While what it left behind is cleared before a restart.
    let sandbox = Sandbox::new();
    let script = "(trap '' TERM; echo > ${0%/*}/up; while :; do sleep 0.02; done) & until test -e ${0%/*}/up; do sleep 0.01; done; exit 5";
    let command = sandbox.handler("command", &format!("#!/bin/bash\n{script}\n"));
    let cfg = "disco.restart=always|disco.stop_timeout=300ms|disco.drain=1h";
    let running = Disco::new().cfg(cfg).arg(&command).pid1().spawn();
    running.wait_stderr("starting it again");
    running.signal(Signal::SIGTERM);
    running
        .wait()
        .assert_code(5)
        .assert_stderr_has("killing what is left");
}

#[test]
fn p25_the_stop_signal_ends_the_configuration_and_a_dropped_one_nothing() {
    let sandbox = Sandbox::new();
    sandbox.write("db.schema", "name: db\n");
    sandbox.write("test.rules", "rules: [{rule: {when: db, do: 'true'}}]");
    let cfg = format!(
        "disco.path={}|env.prefix=NONE_|disco.stop_signal=RTMIN+3|disco.log_level=debug",
        sandbox.dir().display()
    );
    let running = Disco::new().cfg(cfg).arg("true").pid1().spawn();
    running.wait_stderr("missing from env");
    layer_cake::sys::kill(running.pid().as_raw(), 37).unwrap();
    running.wait().assert_code(128 + 37);
    let cfg = "disco.restart=always|disco.restart_delay=1h|disco.restart_max_delay=1h|disco.rewrite=INT:0";
    let running = Disco::new()
        .cfg(cfg)
        .args(["sh", "-c", "exit 6"])
        .pid1()
        .spawn();
    running.wait_stderr("starting it again");
    running.signal(Signal::SIGINT);
    running.signal(Signal::SIGTERM);
    running
        .wait()
        .assert_code(6)
        .assert_stderr_has("asked to stop by SIGTERM");
}
