//! The hooks of the contract: before the command and after it, in every way that they and the command
//! can end (asyncy A-90, pid1 35).

use std::time::Duration;

use nix::sys::signal::{Signal, kill};

use crate::support::{
    Container, DEADLINE, Disco, Image, Running, Sandbox, dist_bin, proc, wait_for,
};

/// A directory with this contract, and a disco in it, as a child or as PID 1.
fn with(contract: &str, pid1: bool) -> (Sandbox, Disco) {
    let sandbox = Sandbox::new();
    sandbox.write("asyncy.yml", contract);
    // In the working directory, found like any program that is named by a path.
    sandbox.handler("note", "#!/bin/sh\necho \"$@\" >> notes\n");
    let disco = Disco::new().cwd(sandbox.dir());
    (sandbox, if pid1 { disco.pid1() } else { disco })
}

/// Runs a shell that does `first`, says that it is up and then waits to be ended.
#[track_caller]
fn up(disco: Disco, first: &str) -> Running {
    let script = format!("{first}; echo up; while :; do sleep 0.02; done");
    let running = disco.args(["sh", "-c", &script]).spawn();
    running.wait_stdout("up");
    running
}

const BOTH: &str = "lifecycle: {startup: ./note up, shutdown: ./note down}";

#[test]
fn a90_the_hooks_run_around_the_command_and_say_nothing_on_its_stdout() {
    for pid1 in [false, true] {
        let (sandbox, disco) = with(
            "lifecycle: {startup: 'echo out; echo err >&2; ./note up', shutdown: {command: [./note, down]}}",
            pid1,
        );
        let out = disco
            .args(["sh", "-c", "./note ran; echo result; exit 7"])
            .run();
        out.assert_code(7)
            .assert_stdout("result\n")
            .assert_stderr_has("INFO  disco: startup hook: out\n")
            .assert_stderr_has("INFO  disco: startup hook: err\n");
        assert_eq!(sandbox.read("notes"), "up\nran\ndown\n");
    }
}

#[test]
fn a90_a_startup_hook_alone_needs_no_init() {
    let (sandbox, disco) = with("lifecycle: {startup: ./note up}", false);
    let running = disco
        .args(["sh", "-c", "echo $$; read x"])
        .stdin(b"go\n")
        .spawn();
    running.wait_stdout(&format!("{}\n", running.pid()));
    running.wait();
    assert_eq!(sandbox.read("notes"), "up\n");
    let (_sandbox, disco) = with(BOTH, false);
    disco
        .cfg("disco.mode=exec")
        .arg("true")
        .run()
        .assert_code(78)
        .assert_stderr_has(
            "`lifecycle.shutdown`: leaves nobody to honour it with `disco.mode=exec`",
        );
}

#[test]
fn a90_a_failed_startup_is_the_end_and_what_it_began_is_shut_down() {
    for pid1 in [false, true] {
        let (sandbox, disco) = with(
            "lifecycle: {startup: './note up; echo why; exit 3', shutdown: ./note down}",
            pid1,
        );
        let out = disco.args(["./note", "ran"]).run();
        out.assert_code(70)
            .assert_stderr_has("startup hook: why")
            .assert_stderr_has("the startup hook failed: exit status 3");
        assert_eq!(sandbox.read("notes"), "up\ndown\n");
    }
    let (_sandbox, disco) = with("lifecycle: {startup: kill -9 $$}", false);
    disco
        .arg("true")
        .run()
        .assert_code(70)
        .assert_stderr_has("the startup hook failed: ended by SIGKILL");
}

#[test]
fn a90_a_failed_shutdown_counts_only_where_the_command_did_not_fail() {
    for (status, code) in [(0, 70), (5, 5)] {
        let (_sandbox, disco) = with("lifecycle: {shutdown: 'false'}", true);
        let out = disco.args(["sh", "-c", &format!("exit {status}")]).run();
        out.assert_code(code)
            .assert_stderr_has("the shutdown hook failed: exit status 1");
    }
}

#[test]
fn a90_a_hook_that_cannot_be_run_says_why() {
    for (hook, told) in [
        ("./none", "command `./none` does not exist"),
        (
            "[./asyncy.yml]",
            "command `./asyncy.yml` is not executable; `chmod +x` it",
        ),
        (
            "./badly",
            "`./badly` cannot be started: `/none/such`, the interpreter in its first line, is not in this image",
        ),
    ] {
        let (sandbox, disco) = with(&format!("lifecycle: {{startup: {hook}}}"), false);
        sandbox.handler("badly", "#!/none/such\n");
        let told = format!("the startup hook cannot be run: {told}");
        disco
            .arg("true")
            .run()
            .assert_code(70)
            .assert_stderr_has(&told);
    }
    // What goes missing later is told as well.
    let (_sandbox, disco) = with("lifecycle: {shutdown: ./note down}", false);
    disco
        .args(["rm", "note"])
        .run()
        .assert_code(70)
        .assert_stderr_has("the shutdown hook cannot be run: command `./note` does not exist");
}

#[test]
fn a90_a_hook_that_takes_too_long_is_ended_with_what_it_has_started() {
    for pid1 in [false, true] {
        let (sandbox, disco) = with(
            "lifecycle: {startup: {command: './note up; sleep 1000 & trap \"\" TERM; wait; sleep 1000', timeout: 300ms}, shutdown: {command: [sleep, '1000'], timeout: 300ms}}",
            pid1,
        );
        let out = disco.cfg("disco.drain=1s").arg("true").run();
        out.assert_code(70)
            .assert_stderr_has(
                "the startup hook took longer than 300ms, its limit in the contract (`timeout`)",
            )
            .assert_stderr_has("killing the startup hook, which ignores TERM")
            .assert_stderr_has("the shutdown hook took longer than 300ms");
        assert_eq!(sandbox.read("notes"), "up\n");
        assert!(out.elapsed < Duration::from_secs(10), "{:?}", out.elapsed);
    }
}

/// Starts one whose rule waits, whose hooks note, and whose command waits for TERM.
fn started(phase: &str, pid1: bool) -> (Sandbox, Running) {
    let startup = match phase {
        "startup" => "startup: './note up; sleep 1000', ",
        _ => "startup: ./note up, ",
    };
    let shutdown = match phase {
        "shutdown" => "./note down; sleep 0.5; ./note over",
        _ => "./note down",
    };
    let (sandbox, disco) = with(
        &format!("lifecycle: {{{startup}shutdown: '{shutdown}'}}"),
        pid1,
    );
    sandbox.write("db.schema", "name: db\ntype: object\n");
    sandbox.write("x.rules", "rules: [{rule: {when: db, do: 'true'}}]");
    sandbox.write(
        "data.yaml",
        if phase == "waiting" { "{}" } else { "db: {}" },
    );
    let cfg = format!(
        "disco.path={0}|flat.file={0}/data.yaml",
        sandbox.dir().display()
    );
    let script = "trap './note bye; exit 9' TERM; ./note ran; while :; do sleep 0.02; done";
    let running = disco
        .cfg(cfg)
        .args(["-l", "debug", "sh", "-c", script])
        .spawn();
    (sandbox, running)
}

#[test]
fn a90_a_stop_in_each_phase_shuts_down_what_was_begun() {
    for pid1 in [false, true] {
        for signal in [Signal::SIGTERM, Signal::SIGINT] {
            let (sandbox, running) = started("waiting", pid1);
            running.wait_stderr("missing from flatfile");
            running.signal(signal);
            running.wait().assert_code(128 + signal as i32);
            assert!(!sandbox.path("notes").exists());

            let (sandbox, running) = started("startup", pid1);
            sandbox.wait_file("notes");
            running.signal(signal);
            let out = running.wait();
            out.assert_code(128 + signal as i32)
                .assert_stderr_has("during the startup hook: ending it");
            assert_eq!(sandbox.read("notes"), "up\ndown\n");
            assert!(out.elapsed < Duration::from_secs(5), "{:?}", out.elapsed);
        }
        let (sandbox, running) = started("command", pid1);
        running.wait_stderr("Exec [");
        wait_for("the command", Duration::from_secs(20), || {
            sandbox.read("notes").contains("ran").then_some(())
        });
        running.signal(Signal::SIGTERM);
        running.wait().assert_code(9);
        assert_eq!(sandbox.read("notes"), "up\nran\nbye\ndown\n");

        // A second stop while the shutdown hook runs does not cut it short.
        let (sandbox, running) = started("shutdown", pid1);
        wait_for("the command", Duration::from_secs(20), || {
            let notes = std::fs::read_to_string(sandbox.path("notes")).unwrap_or_default();
            notes.contains("ran").then_some(())
        });
        running.signal(Signal::SIGTERM);
        wait_for("the hook", Duration::from_secs(20), || {
            sandbox.read("notes").contains("down").then_some(())
        });
        running.signal(Signal::SIGTERM);
        running.wait().assert_code(9);
        assert_eq!(sandbox.read("notes"), "up\nran\nbye\ndown\nover\n");
    }
}

#[test]
fn a90_the_shutdown_hook_has_what_is_left_of_the_time_to_stop() {
    for pid1 in [false, true] {
        let (sandbox, disco) = with("lifecycle: {shutdown: './note down; sleep 1000'}", pid1);
        let running = up(disco.cfg("disco.stop_timeout=1500ms"), "trap 'exit 0' TERM");
        running.signal(Signal::SIGTERM);
        let out = running.wait();
        out.assert_code(70)
            .assert_stderr_has("the shutdown hook is not over when the time to stop in is");
        assert_eq!(sandbox.read("notes"), "down\n");
    }
}

#[test]
fn a90_a_second_stop_ends_the_hook_where_it_means_now() {
    let (sandbox, disco) = with("lifecycle: {shutdown: './note down; sleep 1000'}", true);
    let running = up(disco.cfg("disco.second_stop=kill"), "trap 'exit 0' TERM");
    running.signal(Signal::SIGTERM);
    sandbox.wait_file("notes");
    running.signal(Signal::SIGTERM);
    running
        .wait()
        .assert_code(0)
        .assert_stderr_has("during the shutdown hook: ending it");
}

#[test]
fn a90_shutdown_may_come_before_the_command_is_asked() {
    for pid1 in [false, true] {
        let (sandbox, disco) = with(
            "lifecycle: {shutdown: {command: './note down', before: true}}",
            pid1,
        );
        let running = up(disco, "trap './note bye; exit 4' TERM");
        running.signal(Signal::SIGTERM);
        running.wait().assert_code(4);
        assert_eq!(sandbox.read("notes"), "down\nbye\n");
        // A command that ends by itself has it afterwards.
        let (sandbox, disco) = with(
            "lifecycle: {shutdown: {command: './note down', before: true}}",
            pid1,
        );
        disco.args(["./note", "ran"]).run().assert_code(0);
        assert_eq!(sandbox.read("notes"), "ran\ndown\n");
        // And one that ends meanwhile is not forgotten.
        let (sandbox, disco) = with(
            "lifecycle: {shutdown: {command: './note down; kill -KILL $(cat pid); sleep 0.2', before: true}}",
            pid1,
        );
        let running = up(disco, "echo $$ > pid");
        running.signal(Signal::SIGTERM);
        running.wait().assert_code(137);
        assert_eq!(sandbox.read("notes"), "down\n");
    }
}

#[test]
fn a90_a_daemon_of_the_startup_hook_lives_on_and_is_still_logged() {
    for pid1 in [false, true] {
        let (sandbox, disco) = with(
            "lifecycle: {startup: '(until test -e go; do sleep 0.02; done; echo later; echo x > said) & echo first', shutdown: ./note down}",
            pid1,
        );
        let running = disco
            .args([
                "sh",
                "-c",
                "echo up; until test -e said; do sleep 0.02; done; sleep 0.1",
            ])
            .spawn();
        running.wait_stdout("up");
        sandbox.write("go", "");
        running.wait_stderr("startup hook: later");
        running.wait().assert_code(0);
    }
}

#[test]
fn a90_what_hooks_leave_behind_goes_with_the_container() {
    let (sandbox, disco) = with(
        "lifecycle: {shutdown: '(trap \"./note cleaned; exit\" TERM; ./note up; while :; do sleep 0.02; done) & until test -e notes; do sleep 0.02; done'}",
        true,
    );
    let out = disco.arg("true").run();
    out.assert_code(0);
    assert_eq!(sandbox.read("notes"), "up\ncleaned\n");
}

#[test]
fn a90_hooks_are_not_part_of_a_restart() {
    let (sandbox, disco) = with(BOTH, true);
    let out = disco
        .cfg("disco.restart=on-failure:2|disco.restart_delay=10ms")
        .args(["sh", "-c", "./note ran; exit 3"])
        .run();
    out.assert_code(3);
    assert_eq!(sandbox.read("notes"), "up\nran\nran\nran\ndown\n");
}

#[test]
fn a90_hooks_get_the_environment_of_the_command_and_the_given_directory() {
    let (sandbox, disco) = with(
        "env: {A: }\nlifecycle: {startup: 'env > env.out; pwd > pwd.out'}",
        false,
    );
    let dir = sandbox.path("sub");
    std::fs::create_dir(&dir).unwrap();
    disco
        .env("A", "1")
        .env("B", "2")
        .cfg(format!("disco.workdir={}", dir.display()))
        .arg("true")
        .run()
        .assert_code(0);
    let env = sandbox.read("sub/env.out");
    assert!(
        env.contains("A=1\n") && !env.contains("B=2") && !env.contains("DISCO_"),
        "{env}"
    );
    assert_eq!(sandbox.read("sub/pwd.out"), format!("{}\n", dir.display()));
}

#[test]
#[ignore = "needs docker"]
fn a90_an_image_without_a_shell_has_hooks() {
    let image = Image::scratch()
        .program("/disco", &dist_bin())
        .program("/bin/touch", std::path::Path::new("/bin/busybox"))
        .program("/bin/ls", std::path::Path::new("/bin/busybox"))
        .file(
            "/asyncy.yml",
            "lifecycle: {startup: /bin/touch /up, shutdown: [ls, /up]}",
            0o644,
        )
        .change("ENV PATH=/bin")
        .change(r#"ENTRYPOINT ["/disco"]"#)
        .build();
    let out = Container::of(&image).args(["ls", "/up"]).run();
    out.assert_code(0)
        .assert_stdout("/up\n")
        .assert_stderr_has("shutdown hook: /up");
    let image = Image::scratch()
        .program("/disco", &dist_bin())
        .file("/asyncy.yml", "lifecycle: {startup: 'a && b'}", 0o644)
        .change(r#"ENTRYPOINT ["/disco", "/disco", "-h"]"#)
        .build();
    Container::of(&image)
        .run()
        .assert_code(70)
        .assert_stderr_has("the startup hook cannot be run: command `/bin/sh` does not exist; a line with characters of the shell's needs one");
}

#[test]
#[ignore = "needs docker"]
fn a90_docker_stop_runs_the_shutdown_hook() {
    let image = Image::busybox()
        .program("/disco", &dist_bin())
        .file("/asyncy.yml", "lifecycle: {shutdown: echo cleaned}", 0o644)
        .change(r#"ENTRYPOINT ["/disco"]"#)
        .build();
    let container = Container::of(&image)
        .args([
            "sh",
            "-c",
            "trap 'exit 0' TERM; echo up; while :; do sleep 0.1; done",
        ])
        .start();
    container.wait_logs("up");
    container.stop(Duration::from_secs(10));
    assert_eq!(container.exit_code(), 0);
    assert!(
        container.logs().contains("shutdown hook: cleaned"),
        "{}",
        container.logs()
    );
}

#[test]
fn a90_a_command_that_ends_beside_a_silent_hook_is_not_waited_for() {
    for pid1 in [false, true] {
        let (sandbox, disco) = with(
            "lifecycle: {shutdown: {command: 'exec >/dev/null 2>&1; ./note down; until test -e go; do sleep 0.02; done', before: true}}",
            pid1,
        );
        let running = up(disco, "trap 'exit 6' USR1");
        running.signal(Signal::SIGTERM);
        sandbox.wait_file("notes");
        kill(running.child("sh"), Signal::SIGUSR1).unwrap();
        let shell = running.child("sh");
        wait_for("the command to end", DEADLINE, || {
            (!proc::is_alive(shell)).then_some(())
        });
        sandbox.write("go", "");
        let out = running.wait();
        out.assert_code(6).assert_stderr_lacks("without a status");
    }
}

#[test]
fn a90_a_failed_hook_before_the_stop_counts_as_one_after_it() {
    for (status, code) in [(0, 70), (4, 4)] {
        let (_sandbox, disco) = with(
            "lifecycle: {shutdown: {command: 'exit 3;', before: true}}",
            true,
        );
        let running = up(disco, &format!("trap 'exit {status}' TERM"));
        running.signal(Signal::SIGTERM);
        let out = running.wait();
        out.assert_code(code);
        if code == 70 {
            assert!(
                out.stderr
                    .trim_end()
                    .ends_with("leaving with 70: the shutdown hook failed"),
                "{}",
                out.stderr
            );
        }
    }
}

#[test]
fn a90_hook_and_command_share_the_time_to_stop() {
    // Before the stop: the command still gets TERM and the time for it.
    let (sandbox, disco) = with(
        "lifecycle: {shutdown: {command: 'sleep 1000', before: true}}",
        true,
    );
    let running = up(
        disco.cfg("disco.stop_timeout=3s"),
        "trap 'sleep 0.2; ./note flushed; exit 0' TERM",
    );
    running.signal(Signal::SIGTERM);
    let out = running.wait();
    out.assert_code(70);
    assert_eq!(sandbox.read("notes"), "flushed\n");
    assert!(out.elapsed < Duration::from_secs(8), "{:?}", out.elapsed);
    // After it: a command that hears nothing leaves the hook its share.
    let (sandbox, disco) = with(
        "lifecycle: {shutdown: {command: ./note down, timeout: 1s}}",
        true,
    );
    let running = up(disco.cfg("disco.stop_timeout=3s"), "trap '' TERM");
    running.signal(Signal::SIGTERM);
    let out = running.wait();
    out.assert_code(137);
    assert_eq!(sandbox.read("notes"), "down\n");
    let last = out.stderr.trim_end().lines().last().unwrap_or_default();
    assert!(
        last.ends_with("leaving with 137: the command did not end in time and was killed"),
        "{last}"
    );
}

#[test]
fn a90_a_stop_that_comes_while_the_rest_is_ended_limits_the_hook_as_well() {
    let (sandbox, disco) = with("lifecycle: {shutdown: sleep 1000}", true);
    let running = disco
        .cfg("disco.stop_timeout=2s|disco.drain=60s")
        .args([
            "sh",
            "-c",
            "(trap '' TERM; echo up; while :; do sleep 0.02; done) & until test -e go; do sleep 0.02; done",
        ])
        .spawn();
    running.wait_stdout("up");
    let shell = running.child("sh");
    sandbox.write("go", "");
    wait_for("the command to end", DEADLINE, || {
        (!proc::is_alive(shell)).then_some(())
    });
    running.signal(Signal::SIGTERM);
    let out = running.wait();
    out.assert_code(70);
    assert!(out.elapsed < Duration::from_secs(8), "{:?}", out.elapsed);
}

#[test]
fn a90_what_prints_without_end_holds_nobody_up() {
    for pid1 in [false, true] {
        let (_sandbox, disco) = with("lifecycle: {startup: 'yes & sleep 0.3'}", pid1);
        let running = disco.args(["sh", "-c", "echo up; sleep 1000"]).spawn();
        running.wait_stdout("up");
        running.signal(Signal::SIGTERM);
        running.wait().assert_code(143);
    }
    let (_sandbox, disco) = with("lifecycle: {shutdown: 'setsid yes & sleep 0.3'}", false);
    let running = disco.cfg("disco.subreaper=never").arg("true").spawn();
    running.wait().assert_code(0);
}

#[test]
fn a90_the_last_words_of_a_daemon_are_read_however_many() {
    // More than a pipe holds: who is not read is not done when its time is over. What of it gets into
    // the log depends on who reads that.
    for (words, told) in [
        ("yes x | head -c 300000", ""),
        ("echo BYE", "startup hook: BYE\n"),
    ] {
        let contract = format!(
            "lifecycle: {{startup: '(trap \"{words}; ./note flushed; exit\" TERM; ./note up; while :; do sleep 0.02; done) & until test -e notes; do sleep 0.02; done'}}"
        );
        for pid1 in [false, true] {
            let (sandbox, disco) = with(&contract, pid1);
            let out = disco.cfg("disco.mode=supervise").arg("true").run();
            out.assert_code(0).assert_stderr_has(told);
            assert_eq!(sandbox.read("notes"), "up\nflushed\n");
            assert!(out.elapsed < Duration::from_secs(4), "{:?}", out.elapsed);
        }
    }
}

#[test]
fn a90_a_daemon_of_the_startup_hook_keeps_init_where_that_is_to_be_seen() {
    let (sandbox, disco) = with(
        "lifecycle: {startup: '(until test -e go; do sleep 0.02; done; echo later && ./note wrote) &'}",
        false,
    );
    let running = disco
        .args([
            "sh",
            "-c",
            "echo up; until test -e notes; do sleep 0.02; done",
        ])
        .spawn();
    running.wait_stdout("up");
    sandbox.write("go", "");
    running
        .wait()
        .assert_code(0)
        .assert_stderr_has("startup hook: later");
}

#[test]
fn a90_other_signals_wait_for_the_end_of_a_hook_before_the_stop() {
    let (sandbox, disco) = with(
        "lifecycle: {shutdown: {command: './note down; until test -e go; do sleep 0.02; done', before: true}}",
        true,
    );
    let running = up(disco, "trap './note reloaded' HUP; trap 'exit 0' TERM");
    running.signal(Signal::SIGTERM);
    sandbox.wait_file("notes");
    running.signal(Signal::SIGHUP);
    // Taken by now, if it were to be taken: this one comes after it and is.
    running.signal(Signal::SIGTERM);
    sandbox.write("go", "");
    running.wait().assert_code(0);
    assert_eq!(sandbox.read("notes"), "down\nreloaded\n");
}

#[test]
fn a90_a_disco_beside_disco_has_no_second_life_of_the_container() {
    let (sandbox, disco) = with(
        "lifecycle: {startup: ./note up, shutdown: ./note down}",
        true,
    );
    let inner = crate::support::disco_bin().display().to_string();
    let ready = sandbox.path("ready");
    let cfg = format!("disco.ready_file={}", ready.display());
    let script = format!(
        "until test -e {0}; do sleep 0.02; done; DISCO_CFG='{cfg}' {inner} echo inner; test -e {0} && echo still ready",
        ready.display()
    );
    disco
        .cfg(&cfg)
        .args(["sh", "-c", &script])
        .run()
        .assert_code(0)
        .assert_stdout("inner\nstill ready\n")
        .assert_stderr_has("are left to it");
    assert_eq!(sandbox.read("notes"), "up\ndown\n");
}

#[test]
#[ignore = "needs docker"]
fn a90_in_containers_hooks_are_held_to_their_word_in_every_phase() {
    let image = |contract: &str| {
        Image::busybox()
            .program("/disco", &dist_bin())
            .file("/asyncy.yml", contract, 0o644)
            .file("/usr/share/layercake/db.schema", "name: db\n", 0o644)
            .change(r#"ENTRYPOINT ["/disco"]"#)
    };
    for (contract, told) in [
        (
            "lifecycle: {startup: 'echo no; exit 3'}",
            "the startup hook failed: exit status 3",
        ),
        (
            "lifecycle: {startup: {command: sleep 1000, timeout: 300ms}}",
            "the startup hook took longer than 300ms",
        ),
        (
            "lifecycle: {shutdown: 'exit 3;'}",
            "leaving with 70: the shutdown hook failed",
        ),
    ] {
        let image = image(contract).build();
        let out = Container::of(&image).args(["true"]).run();
        out.assert_code(70).assert_stderr_has(told);
    }
    let waits = "rules: [{rule: {when: db, do: 'true'}}]";
    let hooks = "lifecycle: {startup: 'echo begun; sleep 1000', shutdown: 'echo closing; sleep 1; echo cleaned'}";
    // While it waits for its configuration nothing has begun.
    let waiting = image(hooks)
        .file("/usr/share/layercake/x.rules", waits, 0o644)
        .build();
    let container = Container::of(&waiting)
        .env("DISCO_CFG", "env.prefix=NONE_|disco.log_level=debug")
        .args(["true"])
        .start();
    container.wait_logs("missing from env");
    container.stop(Duration::from_secs(10));
    assert_eq!(container.exit_code(), 143);
    assert!(!container.logs().contains("hook"), "{}", container.logs());
    // In the startup hook, and once more in the shutdown hook, which goes on.
    let built = image(hooks).build();
    let container = Container::of(&built).args(["true"]).start();
    container.wait_logs("startup hook: begun");
    container.signal(Signal::SIGTERM);
    container.wait_logs("shutdown hook: closing");
    container.signal(Signal::SIGTERM);
    assert_eq!(container.exit_code(), 143);
    let logs = container.logs();
    assert!(logs.contains("shutdown hook: cleaned"), "{logs}");
    assert!(
        logs.trim_end().ends_with("came before the command"),
        "{logs}"
    );
}
