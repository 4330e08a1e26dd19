//! The process side, as PID 1 of a namespace and as an ordinary child: statuses, signals, and what
//! the command finds when it starts. Numbers are those of the conformance list of PID 1.

use nix::sys::signal::Signal;

use crate::support::{DEADLINE, Disco, Sandbox, disco_bin, wait_for};

/// Disco in each of its ways to run a command.
fn ways() -> [(&'static str, Disco); 4] {
    [
        ("exec", Disco::new()),
        ("supervise", Disco::new().cfg("disco.mode=supervise")),
        ("pid 1", Disco::new().pid1()),
        ("pid 1, exec", Disco::new().pid1().cfg("disco.mode=exec")),
    ]
}

#[test]
fn p32_exit_codes_pass_through() {
    for (way, disco) in ways() {
        for code in [0, 1, 2, 63, 126, 127, 128, 255] {
            let out = disco
                .clone()
                .args(["sh", "-c", &format!("exit {code}")])
                .run();
            assert_eq!(out.code, Some(code), "{way}: {}", out.stderr);
        }
    }
}

#[test]
fn p32_death_by_signal_is_128_plus_n_real_time_signals_included() {
    for pid1 in [false, true] {
        for number in [1, 2, 3, 9, 13, 15, 34, 40, 64] {
            let disco = Disco::new().cfg("disco.mode=supervise|disco.drain=1s");
            let disco = if pid1 { disco.pid1() } else { disco };
            let out = disco
                .args(["sh", "-c", &format!("kill -{number} $$")])
                .run();
            assert_eq!(out.code, Some(128 + number), "{}", out.stderr);
        }
    }
}

#[test]
fn p6_what_cannot_be_executed_says_so() {
    let sandbox = Sandbox::new();
    let plain = sandbox.write("plain", "x");
    for (way, disco) in ways() {
        let run = |command: &str| disco.clone().arg(command).run();
        assert_eq!(run("no-such-command").code, Some(127), "{way}");
        assert_eq!(run("/no/such/file").code, Some(127), "{way}");
        run(plain.to_str().unwrap())
            .assert_code(126)
            .assert_stderr_has("is not executable");
        run("/").assert_code(126);
    }
}

#[test]
fn p5_a_script_without_interpreter_line_runs_in_the_shell() {
    let sandbox = Sandbox::new();
    let script = sandbox.handler("script", "echo \"$0 $1\"\n");
    for (way, disco) in ways() {
        let out = disco.args([script.to_str().unwrap(), "x"]).run();
        assert_eq!(
            out.stdout,
            format!("{} x\n", script.display()),
            "{way}: {}",
            out.stderr
        );
    }
}

#[test]
fn every_signal_is_forwarded() {
    // dash knows no names of real-time signals, but their numbers.
    let all: Vec<i32> = (1..=31)
        .filter(|n| ![libc::SIGKILL, libc::SIGSTOP, libc::SIGCHLD].contains(n))
        .filter(|n| {
            ![
                libc::SIGFPE,
                libc::SIGILL,
                libc::SIGSEGV,
                libc::SIGBUS,
                libc::SIGABRT,
                libc::SIGTRAP,
                libc::SIGSYS,
            ]
            .contains(n)
        })
        .chain(34..=64)
        .collect();
    let traps: String = all
        .iter()
        .map(|n| format!("trap 'echo got {n}' {n}; "))
        .collect();
    let script = format!("{traps} echo ready; while :; do sleep 0.02; done");
    for pid1 in [false, true] {
        let disco = Disco::new().cfg("disco.mode=supervise|disco.drain=1s");
        let disco = if pid1 { disco.pid1() } else { disco };
        // bash, where it is there, traps real-time signals by number.
        let running = disco.args(["bash", "-c", &script]).spawn();
        running.wait_stdout("ready");
        for number in &all {
            let pid = running.pid().as_raw();
            assert!(send(pid, *number), "{number}");
            running.wait_stdout(&format!("got {number}\n"));
        }
    }
}

/// kill(2) by number, which nix's enum cannot express for real-time signals.
fn send(pid: i32, number: i32) -> bool {
    layer_cake::sys::kill(pid, number).is_ok()
}

/// What a shell sees of itself and of the process it runs in.
const LOOK: &str = "readlink /proc/$$/exe; ls /proc/self/fd; \
    grep -E '^Sig(Blk|Ign|Cgt|Pnd)|^ShdPnd' /proc/self/status; env | grep -v '^_='";

/// The same without disco.
fn untouched(pid1: bool) -> String {
    let bare = Disco::new().bin("/usr/bin/env");
    let bare = if pid1 { bare.pid1() } else { bare };
    bare.args(["sh", "-c", LOOK]).run().stdout
}

#[test]
fn p3_the_command_finds_everything_as_disco_was_given_it() {
    for (way, disco) in ways() {
        let out = disco.args(["sh", "-c", LOOK]).run();
        assert_eq!(
            out.stdout,
            untouched(way.starts_with("pid 1")),
            "{way}: {}",
            out.stderr
        );
    }
}

#[test]
fn p2_p3_p4_ignored_signals_stay_ignored_and_no_status_is_lost() {
    let ignoring = |words: &[&str]| {
        let env = Disco::new().bin("/usr/bin/env");
        env.arg("--ignore-signal=CHLD,PIPE,USR1").args(words)
    };
    let look = ["grep", "SigIgn", "/proc/self/status"];
    let bare = ignoring(&look).run().stdout;
    assert!(bare.ends_with("11200\n"), "{bare}");
    for mode in ["exec", "supervise"] {
        let disco = |words: &[&str]| {
            let words = [&[disco_bin().to_str().unwrap()], words].concat();
            ignoring(&words).cfg(format!("disco.mode={mode}")).run()
        };
        disco(&look).assert_code(0).assert_stdout(&bare);
        disco(&["sh", "-c", "exit 5"]).assert_code(5);
    }
}

#[test]
fn exec_mode_leaves_no_trace_after_an_agent() {
    let sandbox = Sandbox::new();
    sandbox.write("test.rules", "rules: [{rule: {when: [], do: 'true'}}]");
    let cfg = format!("disco.path={}|disco.mode=exec", sandbox.dir().display());
    for pid1 in [false, true] {
        let disco = Disco::new().cfg(&cfg);
        let disco = if pid1 { disco.pid1() } else { disco };
        let out = disco.args(["sh", "-c", LOOK]).run();
        assert_eq!(out.stdout, untouched(pid1), "{}", out.stderr);
    }
}

#[test]
fn disco_cfg_never_reaches_the_command_and_the_rest_does() {
    for (way, disco) in ways() {
        let out = disco
            .env("KEEP", "me")
            .args(["sh", "-c", "echo ${DISCO_CFG-none} $KEEP"])
            .run();
        assert_eq!(out.stdout, "none me\n", "{way}");
    }
}

#[test]
fn tokens_are_not_to_be_read_from_the_environment_of_init_or_agent() {
    let sandbox = Sandbox::new();
    sandbox.write("db.schema", "name: db\n");
    sandbox.write(
        "test.rules",
        "format: 2\nrules: [{when: [], do: 'true', once: false}]",
    );
    let cfg = format!(
        "disco.path={}|disco.log_level=debug",
        sandbox.dir().display()
    );
    let script = "for p in $PPID $(cat /proc/$PPID/task/$PPID/children); do tr '\\0' '\\n' < /proc/$p/environ; done";
    let out = Disco::new()
        .env("KEEP", "me")
        .cfg(cfg)
        .args(["sh", "-c", script])
        .run();
    assert_eq!(
        out.stdout.matches("KEEP=me").count(),
        3,
        "{}{}",
        out.stdout,
        out.stderr
    );
    assert!(!out.stdout.contains("disco.path"), "{}", out.stdout);
}

#[test]
fn p8_closed_standard_streams_do_not_matter() {
    for (way, disco) in ways() {
        for fd in [0, 1, 2] {
            let out = disco
                .clone()
                .closed_fd(fd)
                .args(["sh", "-c", "exit 3"])
                .run();
            assert_eq!(out.code, Some(3), "{way} without {fd}: {}", out.stderr);
        }
        let out = disco
            .closed_fd(0)
            .closed_fd(1)
            .closed_fd(2)
            .args(["sh", "-c", "exit 3"])
            .run();
        assert_eq!(out.code, Some(3), "{way} without any");
    }
}

#[test]
fn p16_orphans_are_reaped() {
    let script = "for i in 1 2 3 4 5 6 7 8 9 10; do (sleep 0.01 & ) ; done; echo ready; while :; do sleep 0.02; done";
    for pid1 in [false, true] {
        let disco = Disco::new().cfg("disco.mode=supervise");
        let disco = if pid1 { disco.pid1() } else { disco };
        let running = disco.args(["sh", "-c", script]).spawn();
        running.wait_stdout("ready");
        let init = running.pid().as_raw();
        wait_for("only the command is left below disco", DEADLINE, || {
            let children =
                std::fs::read_to_string(format!("/proc/{init}/task/{init}/children")).ok()?;
            (children.split_whitespace().count() == 1).then_some(())
        });
        running.signal(Signal::SIGTERM);
        running.wait().assert_code(143);
    }
}

#[test]
fn p22_a_signal_that_comes_before_the_command_waits_for_it() {
    let sandbox = Sandbox::new();
    sandbox.handler(
        "h",
        "#!/bin/sh\nd=${0%/*}\necho up > $d/up\nwhile ! test -e $d/go; do sleep 0.01; done\n",
    );
    sandbox.write("test.rules", "rules: [{rule: {when: [], do: h}}]");
    let cfg = format!(
        "disco.path={}|disco.mode=supervise",
        sandbox.dir().display()
    );
    let running = Disco::new().cfg(cfg).args(["sleep", "1000"]).spawn();
    sandbox.wait_file("up");
    running.signal(Signal::SIGUSR1);
    sandbox.write("go", "");
    running.wait().assert_code(128 + libc::SIGUSR1);
}

#[test]
fn p22_a_signal_that_comes_while_disco_becomes_the_command_is_not_lost() {
    let sandbox = Sandbox::new();
    sandbox.write("test.rules", "rules: [{rule: {when: [], do: 'true'}}]");
    let cfg = format!("disco.path={}|disco.mode=exec", sandbox.dir().display());
    for _ in 0..30 {
        let running = Disco::new().cfg(&cfg).args(["sleep", "1000"]).spawn();
        running.wait_stderr("Container Configured");
        // Wherever it hits, before or after the exec, it ends the process.
        running.signal(Signal::SIGTERM);
        let out = running.wait();
        let ended = out.signal == Some(libc::SIGTERM) || out.code == Some(143);
        assert!(ended, "{:?} {:?}: {}", out.code, out.signal, out.stderr);
    }
}

#[test]
fn an_agent_that_is_killed_comes_back_and_the_container_is_configured() {
    let sandbox = Sandbox::new();
    sandbox.write("db.schema", "name: db\n");
    sandbox.handler(
        "h",
        "#!/bin/sh\nd=${0%/*}\necho up >> $d/up\nwhile ! test -e $d/go; do sleep 0.01; done\n",
    );
    sandbox.write("test.rules", "rules: [{rule: {when: [], do: h}}]");
    let cfg = format!(
        "disco.path={}|disco.mode=supervise",
        sandbox.dir().display()
    );
    let running = Disco::new()
        .cfg(cfg)
        .args(["-ldebug", "echo", "doit"])
        .spawn();
    sandbox.wait_file("up");
    let init = running.pid().as_raw();
    let agent = std::fs::read_to_string(format!("/proc/{init}/task/{init}/children")).unwrap();
    assert!(send(agent.trim().parse().unwrap(), libc::SIGKILL));
    running.wait_stderr("the agent is gone (ended by SIGKILL); starting it again");
    sandbox.write("go", "");
    running.wait().assert_code(0).assert_stdout("doit\n");
    assert_eq!(sandbox.read("up").lines().count(), 2);
}

#[test]
fn a_watch_rule_keeps_the_agent_and_signals_the_command() {
    let sandbox = Sandbox::new();
    sandbox.write("db.schema", "name: db\ntype: object\n");
    sandbox.handler("h", "#!/bin/sh\ncat > ${0%/*}/got\n");
    sandbox.write(
        "test.rules",
        "format: 2\nrules: [{when: db, do: h, once: false, then: {signal: USR2}}]",
    );
    sandbox.write("data.yaml", "db: {n: 1}\n");
    let cfg = format!(
        "disco.path={0}|flat.file={0}/data.yaml",
        sandbox.dir().display()
    );
    let script =
        "trap 'echo changed' USR2; trap 'exit 9' TERM; echo ready; while :; do sleep 0.02; done";
    let running = Disco::new().cfg(cfg).args(["sh", "-c", script]).spawn();
    running.wait_stdout("ready");
    sandbox.write("next.yaml", "db: {n: 2}\n");
    std::fs::rename(sandbox.path("next.yaml"), sandbox.path("data.yaml")).unwrap();
    running.wait_stdout("changed");
    assert_eq!(sandbox.read("got"), r#"{"db":{"n":2}}"#);
    running.signal(Signal::SIGTERM);
    running.wait().assert_code(9);
}

#[test]
fn p11_neither_path_nor_environment_are_needed() {
    for mode in ["exec", "supervise"] {
        let disco = disco_bin().to_str().unwrap();
        let cfg = format!("DISCO_CFG=disco.mode={mode}");
        let empty = Disco::new().bin("/usr/bin/env").args(["-i", &cfg, disco]);
        empty
            .args(["sh", "-c", "echo $#"])
            .run()
            .assert_code(0)
            .assert_stdout("0\n");
    }
}

#[test]
fn what_may_not_be_read_is_not_left_out_in_silence() {
    let sandbox = Sandbox::new();
    sandbox.write("sub/test.rules", "rules: [");
    let path = sandbox.dir().display().to_string();
    let disco = || Disco::new().cfg(format!("disco.path={path}"));
    disco()
        .arg("true")
        .run()
        .assert_code(78)
        .assert_stderr_has("test.rules:");
    let missing = Disco::new().cfg("disco.path=/no/such/layers|env.prefix=X_");
    missing
        .clone()
        .args(["--check", "true"])
        .run()
        .assert_code(78)
        .assert_stderr_has("does not exist");
    let nothing = Disco::new().cfg("disco.path=/no/such/layers").arg("true");
    nothing
        .run()
        .assert_code(0)
        .assert_stderr_has("(/no/such/layers): nothing will be configured");
    missing
        .arg("true")
        .run()
        .assert_code(0)
        .assert_stderr_has("/no/such/layers: on `disco.path` does not exist");
}

#[test]
fn p30_a_stop_signal_stops_the_command_and_a_handler_of_it_runs() {
    for (way, disco) in [
        ("supervise", Disco::new().cfg("disco.mode=supervise")),
        ("pid 1", Disco::new().pid1()),
        ("a group", Disco::new().pid1().cfg("disco.session=never")),
    ] {
        for signal in [Signal::SIGTSTP, Signal::SIGTTIN] {
            let running = disco.clone().args(["sleep", "1000"]).spawn();
            let command = running.child("sleep");
            let state = |pid, letter: char| {
                wait_for(
                    &format!("{way}, {signal}: state {letter}"),
                    DEADLINE,
                    || {
                        let state = crate::support::proc::status(pid, "State")?;
                        state.starts_with(letter).then_some(())
                    },
                );
            };
            running.signal(signal);
            state(command, 'T');
            if way == "supervise" {
                state(running.pid(), 'T');
            }
            running.signal(Signal::SIGCONT);
            state(command, 'S');
            state(running.pid(), 'S');
            running.signal(Signal::SIGTERM);
            running.wait().assert_code(143);
        }
        let script = "trap 'echo TSTP' TSTP; echo ready; while :; do sleep 0.02; done";
        let running = disco.args(["bash", "-c", script]).spawn();
        running.wait_stdout("ready");
        running.signal(Signal::SIGTSTP);
        running.wait_stdout("TSTP\n");
    }
}

#[test]
fn the_command_leads_a_session_where_there_is_no_terminal() {
    let script = "cut -d' ' -f6 /proc/$$/stat; echo $$; exec sleep 1000";
    for (cfg, leads) in [
        ("disco.mode=supervise", true),
        ("disco.session=never", false),
    ] {
        for pid1 in [false, true] {
            // Whoever runs the tests may have a terminal, which a session of its own has not.
            let disco = Disco::new().cfg(cfg).args(["-s", "sh", "-c", script]);
            let disco = if pid1 { disco.pid1() } else { disco };
            let running = disco.inside(["setsid", "--wait"]).spawn();
            let told = wait_for("session and pid", DEADLINE, || {
                let told = running.stdout_so_far();
                (told.lines().count() == 2).then_some(told)
            });
            let (session, pid) = told.trim().split_once('\n').unwrap();
            assert_eq!(session == pid, leads, "{cfg}: {told}");
        }
    }
}

#[test]
fn p1_init_waits_for_all_signals_and_has_a_handler_for_none() {
    for disco in [
        Disco::new().cfg("disco.mode=supervise"),
        Disco::new().pid1(),
    ] {
        let running = disco.args(["sleep", "1000"]).spawn();
        running.child("sleep");
        let status = |key| crate::support::proc::status(running.pid(), key).unwrap();
        assert_eq!(status("SigCgt"), "0000000000000000");
        // While it waits for them they count as open: none is blocked that it does not wait for.
        wait_for("init to wait", DEADLINE, || {
            (status("SigBlk") == "0000000000000000").then_some(())
        });
    }
}

#[test]
fn p20_the_signal_of_a_child_is_never_forwarded() {
    let sandbox = Sandbox::new();
    let fifo = sandbox.path("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    // Without a child of its own, of which it would hear by the same signal.
    let script = format!(
        "trap 'echo CHLD' CHLD; trap 'echo USR1' USR1; exec 3<>{}; echo ready; while ! read -t 1 -u 3 x; do :; done",
        fifo.display()
    );
    for disco in [
        Disco::new().cfg("disco.mode=supervise"),
        Disco::new().pid1(),
    ] {
        let running = disco.args(["bash", "-c", &script]).spawn();
        running.wait_stdout("ready");
        running.signal(Signal::SIGCHLD);
        running.signal(Signal::SIGUSR1);
        running.wait_stdout("USR1");
        assert!(!running.stdout_so_far().contains("CHLD"));
    }
}

#[test]
fn p24_a_signal_without_a_handler_ends_the_command_unless_it_is_dropped() {
    let sleep = ["sleep", "1000"];
    for signal in [Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGUSR2] {
        let running = Disco::new().pid1().args(sleep).spawn();
        running.child("sleep");
        running.signal(signal);
        running.wait().assert_code(128 + signal as i32);
    }
    let cfg = "disco.rewrite=HUP:0,USR1:0,USR2:0";
    let running = Disco::new().pid1().cfg(cfg).args(sleep).spawn();
    running.child("sleep");
    for signal in [
        Signal::SIGHUP,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
        Signal::SIGTERM,
    ] {
        running.signal(signal);
    }
    running.wait().assert_code(143);
}
