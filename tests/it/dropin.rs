//! disco under the names of other inits. Each option and variable by its effect, from outside; how
//! options are read is the unit tests' matter. Numbers are those of the conformance list of PID 1.

use std::path::Path;

use nix::sys::signal::Signal;

use crate::support::{DEADLINE, Disco, Running, Sandbox, disco_bin, wait_for};

/// A disco linked under another name, and the directory that the link is in.
struct Link(Sandbox, &'static str);

impl Link {
    fn new(name: &'static str) -> Self {
        let sandbox = Sandbox::new();
        std::os::unix::fs::symlink(disco_bin(), sandbox.path(name)).unwrap();
        Self(sandbox, name)
    }

    /// The link with options, separated by blanks.
    fn with(&self, options: &str) -> Disco {
        Disco::new()
            .bin(self.0.path(self.1))
            .args(options.split_whitespace())
    }

    /// The same, with a shell script for the command.
    fn script(&self, options: &str, script: &str) -> Disco {
        self.with(options).args(["--", "sh", "-c", script])
    }
}

const NAMES: [&str; 3] = ["tini", "dumb-init", "catatonit"];

/// Says which signals it gets; ends by KILL, or when a failed test must have been over for long.
const ECHO: &str = "for s in TERM HUP INT QUIT USR1 USR2 CONT TSTP TTIN TTOU; do trap \"echo got $s\" $s; done; echo ready; i=0; while [ $i -lt 1500 ]; do i=$((i+1)); sleep 0.02; done";

/// Field `number` of `/proc/PID/stat`, as proc(5) counts them.
fn stat(pid: i32, number: usize) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(number - 3).map(str::to_owned)
}

/// Waits until a process is (not) stopped.
#[track_caller]
fn wait_stopped(running: &Running, expected: bool) {
    wait_for("the process to stop or go on", DEADLINE, || {
        let state = stat(running.pid().as_raw(), 3)?;
        ((state == "T") == expected).then_some(())
    });
}

/// A file that a script has written a number to.
fn pid_in(sandbox: &Sandbox, name: &str) -> i32 {
    wait_for("a pid", DEADLINE, || {
        sandbox.wait_file(name).trim().parse().ok()
    })
}

fn is_alive(pid: i32) -> bool {
    stat(pid, 3).is_some_and(|state| state != "Z")
}

#[test]
fn the_command_runs_and_its_status_passes_through() {
    for name in NAMES {
        let link = Link::new(name);
        for pid1 in [false, true] {
            let run = |script: &str| {
                let disco = link.script("", script);
                if pid1 { disco.pid1() } else { disco }.run()
            };
            run("echo hi; exit 3").assert_code(3).assert_stdout("hi\n");
            run("kill -TERM $$").assert_code(143);
        }
    }
}

#[test]
fn p7_words_after_the_command_are_the_commands() {
    for name in NAMES {
        Link::new(name)
            .with("echo -g -v --version")
            .run()
            .assert_code(0)
            .assert_stdout("-g -v --version\n");
    }
}

#[test]
fn every_name_of_tini_is_tini() {
    for name in ["tini", "tini-static", "docker-init"] {
        let out = Link::new(name).with("--version").run();
        out.assert_code(0);
        // What `docker info` looks for.
        assert!(
            out.stdout.starts_with("tini version 0.19.0 - "),
            "{}",
            out.stdout
        );
        assert_eq!(out.stderr, "");
    }
}

#[test]
fn disco_has_no_options_settings_or_words_of_its_own_here() {
    for name in NAMES {
        let link = Link::new(name);
        let conf = link.0.write("disco.conf", "disco: [");
        let out = link.with("-s true").cfg("disco.mode=nonsense|nope").run();
        out.assert_stderr_lacks("disco.mode");
        let out = link.with("true").cfg("disco.mode=nonsense|nope").run();
        out.assert_code(0).assert_stderr_lacks("disco");
        link.with("--check true").run().assert_code(1);
        link.with("-c")
            .arg(conf)
            .arg("true")
            .run()
            .assert_stdout("");
    }
}

/// The command may be another disco, whose settings these are.
#[test]
fn settings_of_disco_reach_the_command() {
    for name in NAMES {
        Link::new(name)
            .script("", "echo $DISCO_CFG")
            .cfg("disco.mode=exec")
            .run()
            .assert_stdout("disco.mode=exec\n");
    }
}

#[test]
fn p6_what_cannot_be_executed_has_each_ones_code_and_words() {
    for (name, absent, forbidden, told) in [
        (
            "tini",
            127,
            126,
            [
                "exec nowhere failed: No such file",
                "failed: Permission denied",
            ],
        ),
        (
            "dumb-init",
            2,
            2,
            [
                "[dumb-init] nowhere: No such file or directory\n",
                ": Permission denied\n",
            ],
        ),
        (
            "catatonit",
            1,
            1,
            [
                "failed to exec pid1: No such file or directory",
                "failed to exec pid1: Permission denied",
            ],
        ),
    ] {
        let link = Link::new(name);
        let plain = link.0.write("plain", "x");
        let out = link.with("nowhere").run();
        out.assert_code(absent).assert_stderr_has(told[0]);
        let out = link.with("").arg(plain).run();
        out.assert_code(forbidden).assert_stderr_has(told[1]);
    }
}

#[test]
fn bad_options_end_with_1_and_the_usage() {
    for (name, options, told) in [
        ("tini", "-x true", "invalid option -- 'x'\n"),
        ("tini", "", "\nUsage: tini "),
        (
            "tini",
            "-p SIGFOO true",
            "Not a valid option for -p: SIGFOO\n",
        ),
        ("tini", "-e 256 true", "Not a valid option for -e: 256\n"),
        ("tini", "-R X true", "Not a valid option for -R: X\n"),
        (
            "dumb-init",
            "--yolo true",
            "dumb-init: unrecognized option '--yolo'\n",
        ),
        ("dumb-init", "-r 15:derp true", "between 1 and 31.\n"),
        ("dumb-init", "", " --help for full usage.\n"),
        ("catatonit", "-x true", "\nusage: catatonit ["),
        (
            "catatonit",
            "-g",
            "): missing program name\nusage: catatonit [",
        ),
    ] {
        Link::new(name)
            .with(options)
            .run()
            .assert_code(1)
            .assert_stdout("")
            .assert_stderr_has(told);
    }
}

#[test]
fn help_version_and_licence_go_where_the_original_has_them() {
    for (name, options, on_stdout, first) in [
        ("tini", "-h", true, "tini (tini version "),
        ("tini", "-l", true, "This is disco"),
        ("dumb-init", "-h", false, "dumb-init v1.2.5\nUsage: "),
        ("dumb-init", "-V", false, "dumb-init v1.2.5\n"),
        ("catatonit", "-h", false, "usage: catatonit "),
        ("catatonit", "-L", true, "This is disco"),
        ("catatonit", "-V", true, "tini version 0.2.1_catatonit - "),
    ] {
        let out = Link::new(name).with(options).run();
        out.assert_code(0);
        let (text, silent) = if on_stdout {
            (out.stdout, out.stderr)
        } else {
            (out.stderr, out.stdout)
        };
        assert!(text.starts_with(first), "{name} {options}: {text}");
        assert_eq!(silent, "", "{name} {options}");
    }
}

#[test]
fn catatonit_keeps_its_reserved_variable() {
    Link::new("catatonit")
        .with("true")
        .env("CATATONIT_LOG", "")
        .run()
        .assert_code(1)
        .assert_stderr_has("CATATONIT_LOG is reserved for future use");
}

#[test]
fn p13_tini_warns_where_it_will_not_reap_and_nobody_else_does() {
    const WARNING: &str = "zombie reaping won't work";
    let [tini, dumb_init, catatonit] = NAMES.map(Link::new);
    tini.with("true").run().assert_stderr_has(WARNING);
    for disco in [
        tini.with("-s true"),
        tini.with("true").env("TINI_SUBREAPER", ""),
        tini.with("true").env("TINI_VERBOSITY", "0"),
        tini.with("true").pid1(),
        dumb_init.with("true"),
        catatonit.with("true"),
    ] {
        let out = disco.run();
        out.assert_code(0).assert_stderr_lacks(WARNING);
    }
}

/// The bit is an attribute of the process, which its children do not have.
#[test]
fn p13_tini_under_a_tini_that_reaps_warns() {
    let tini = Link::new("tini");
    tini.with("-s")
        .arg(tini.0.path("tini"))
        .arg("true")
        .run()
        .assert_code(0)
        .assert_stderr_has("zombie reaping won't work");
}

#[test]
fn tini_e_maps_statuses_to_0() {
    let tini = Link::new("tini");
    for (options, script, code) in [
        ("-s -e 143", "kill -TERM $$", 0),
        ("-s -e 3 -e 7", "exit 7", 0),
        ("-s -e 3 -e 7", "exit 8", 8),
    ] {
        tini.script(options, script).run().assert_code(code);
    }
}

#[test]
fn tini_v_says_more_on_stdout() {
    let tini = Link::new("tini");
    let run = |options: &str| tini.script(options, "exit 3").run();
    run("-s").assert_code(3).assert_stdout("");
    for out in [
        run("-sv"),
        tini.script("-s", "exit 3").env("TINI_VERBOSITY", "2").run(),
    ] {
        assert!(
            out.stdout.contains("[INFO  tini (")
                && out.stdout.contains("Spawned child process 'sh' with pid '")
                && out
                    .stdout
                    .contains("Main child exited normally (with status '3')"),
            "{}",
            out.stdout
        );
        assert!(!out.stdout.contains("DEBUG"), "{}", out.stdout);
        assert_eq!(out.stderr, "");
    }
    let out = run("-svv");
    assert!(
        out.stdout.contains("[DEBUG tini (") && out.stdout.contains("Reaped child with pid: '"),
        "{}",
        out.stdout
    );
    let out = run("-svvv");
    assert!(out.stdout.contains("[TRACE tini ("), "{}", out.stdout);
}

#[test]
fn tini_w_warns_of_orphans() {
    let tini = Link::new("tini");
    let script = "sh -c 'sleep 0.1 & ' ; sleep 0.4";
    let out = tini.script("-sw", script).run();
    out.assert_code(0)
        .assert_stderr_has("Reaped zombie process with pid=");
    assert!(out.stderr.starts_with("[WARN  tini ("), "{}", out.stderr);
    tini.script("-s", script)
        .run()
        .assert_code(0)
        .assert_stderr_lacks("Reaped zombie");
}

/// A command that answers USR1 and waits for a child of its group, which ends by it.
const GROUP: &str = "trap 'echo parent' USR1; sh -c 'trap \"echo child; exit 9\" USR1; echo ready; i=0; while [ $i -lt 1500 ]; do i=$((i+1)); sleep 0.02; done' & p=$!; while kill -0 $p 2>/dev/null; do wait $p; done; echo over";

#[test]
fn group_options_and_variables_signal_the_whole_group() {
    let cases = [
        ("tini", "-sg", None, true),
        ("tini", "-s", Some(("TINI_KILL_PROCESS_GROUP", "")), true),
        ("tini", "-s", None, false),
        ("catatonit", "-g", None, true),
        ("catatonit", "", None, false),
        ("dumb-init", "", None, true),
        ("dumb-init", "-c", None, false),
        ("dumb-init", "", Some(("DUMB_INIT_SETSID", "0")), false),
    ];
    for (name, options, variable, reaches_all) in cases {
        let link = Link::new(name);
        let mut disco = link.script(options, GROUP);
        if let Some((name, value)) = variable {
            disco = disco.env(name, value);
        }
        let running = disco.spawn();
        running.wait_stdout("ready");
        running.signal(Signal::SIGUSR1);
        running.wait_stdout("parent");
        if reaches_all {
            running.wait_stdout("child");
            let out = running.wait();
            assert!(out.stdout.contains("over"), "{name} {options}: {out:?}");
        } else {
            // The next signal is answered by the parent again, and the child is there still.
            running.signal(Signal::SIGUSR1);
            wait_for("the second answer", DEADLINE, || {
                (running.stdout_so_far().matches("parent").count() == 2).then_some(())
            });
            let told = running.stdout_so_far();
            assert!(!told.contains("child"), "{name} {options}: {told}");
            running.signal(Signal::SIGKILL);
        }
    }
}

#[test]
fn dumb_init_gives_the_command_a_session_unless_told_not_to() {
    let link = Link::new("dumb-init");
    let script = "set -- $(sed 's/.*) //' /proc/$$/stat); test $4 = $$ && echo own || echo shared";
    link.script("", script).run().assert_stdout("own\n");
    for disco in [
        link.script("-c", script),
        link.script("--single-child", script),
        link.script("", script).env("DUMB_INIT_SETSID", "0"),
    ] {
        disco.run().assert_stdout("shared\n");
    }
    for name in ["tini", "catatonit"] {
        Link::new(name)
            .script("", script)
            .run()
            .assert_stdout("shared\n");
    }
}

#[test]
fn p25_dumb_init_rewrites_and_drops() {
    let link = Link::new("dumb-init");
    for options in [
        "-r 15:10 -r 1:0",
        "-c -r 15:10 --rewrite=1:0",
        "--rew 15:10 -r1:0",
    ] {
        let running = link.script(options, ECHO).spawn();
        running.wait_stdout("ready");
        running.signal(Signal::SIGHUP);
        running.signal(Signal::SIGTERM);
        running.wait_stdout("got USR1");
        let told = running.stdout_so_far();
        assert!(
            !told.contains("got HUP") && !told.contains("got TERM"),
            "{options}: {told}"
        );
    }
}

#[test]
fn p30_dumb_init_stops_itself_after_the_terminals_signals() {
    let link = Link::new("dumb-init");
    for (options, signal, told) in [
        ("-c", Signal::SIGTSTP, Some("got TSTP")),
        ("-c", Signal::SIGTTIN, Some("got TTIN")),
        ("-r 20:12", Signal::SIGTSTP, Some("got USR2")),
        ("", Signal::SIGTTOU, None),
    ] {
        let running = link.script(options, ECHO).spawn();
        running.wait_stdout("ready");
        running.signal(signal);
        wait_stopped(&running, true);
        if let Some(told) = told {
            running.wait_stdout(told);
        }
        running.signal(Signal::SIGCONT);
        wait_stopped(&running, false);
        running.wait_stdout("got CONT");
    }
}

#[test]
fn terminal_stops_do_not_reach_the_command_of_tini_and_catatonit() {
    for (name, options, dropped) in [
        ("tini", "-s", &[Signal::SIGTTIN, Signal::SIGTTOU][..]),
        (
            "catatonit",
            "",
            &[Signal::SIGTSTP, Signal::SIGTTIN, Signal::SIGTTOU][..],
        ),
    ] {
        let link = Link::new(name);
        let running = link.script(options, ECHO).spawn();
        running.wait_stdout("ready");
        for signal in dropped {
            running.signal(*signal);
        }
        running.signal(Signal::SIGUSR1);
        running.wait_stdout("got USR1");
        let told = running.stdout_so_far();
        assert!(!told.contains("got T"), "{name}: {told}");
    }
    let tini = Link::new("tini");
    let running = tini.script("-s", ECHO).spawn();
    running.wait_stdout("ready");
    running.signal(Signal::SIGTSTP);
    running.wait_stdout("got TSTP");
}

#[test]
fn dumb_init_v_tells_what_happens_on_stderr() {
    let link = Link::new("dumb-init");
    for (disco, has_session) in [
        (link.script("-v", "exit 3"), true),
        (link.script("--verbose", "exit 3"), true),
        (link.script("", "exit 3").env("DUMB_INIT_DEBUG", "1"), true),
        (link.script("-vc", "exit 3"), false),
    ] {
        let out = disco.run();
        out.assert_code(3).assert_stdout("");
        let lines: Vec<String> = out
            .stderr
            .lines()
            .filter(|line| *line != "[dumb-init] Running in debug mode.")
            .filter(|line| *line != "[dumb-init] Received signal 17.")
            .map(|line| {
                let words = line.split(' ');
                let masked = words.map(|word| match word.trim_end_matches('.').parse::<u32>() {
                    Ok(100..) => "PID",
                    _ => word,
                });
                masked.collect::<Vec<_>>().join(" ")
            })
            .collect();
        let mut expected = vec![
            "[dumb-init] Child spawned with PID PID",
            "[dumb-init] setsid complete.",
            "[dumb-init] A child with PID PID exited with exit status 3.",
            "[dumb-init] Forwarded signal 15 to children.",
            "[dumb-init] Child exited with status 3. Goodbye.",
        ];
        if !has_session {
            expected.remove(1);
        }
        assert_eq!(lines, expected, "{}", out.stderr);
    }
    link.script("", "exit 3")
        .env("DUMB_INIT_DEBUG", "0")
        .run()
        .assert_stderr_lacks("dumb-init");
}

#[test]
fn catatonit_debug_tells_what_happens_on_stderr() {
    let link = Link::new("catatonit");
    let out = link.script("", "exit 3").env("CATATONIT_DEBUG", "").run();
    out.assert_code(3).assert_stdout("");
    assert!(
        out.stderr.starts_with("DEBUG (catatonit:") && out.stderr.contains(" spawned: sh\n"),
        "{}",
        out.stderr
    );
    let out = link.script("", "exit 3").run();
    assert_eq!(out.stderr, "");
}

#[test]
fn catatonit_pauses_until_asked_to_stop() {
    let link = Link::new("catatonit");
    for pid1 in [false, true] {
        for (options, signal) in [("-P", Signal::SIGTERM), ("-gP -- x", Signal::SIGINT)] {
            let disco = link.with(options);
            let running = if pid1 { disco.pid1() } else { disco }.spawn();
            let pid = running.pid().as_raw();
            // Waiting for signals: whatever comes from now on is taken from the queue.
            wait_for("catatonit to wait", DEADLINE, || {
                (stat(pid, 3)? == "S").then_some(())
            });
            running.signal(Signal::SIGHUP);
            running.signal(signal);
            running.wait().assert_code(0);
        }
    }
}

/// Leaves a process behind, which says so when it is asked to end.
fn leaving_behind(file: &Path) -> String {
    format!(
        "sh -c 'trap \"echo asked; exit\" TERM; echo $$ > {}; i=0; while [ $i -lt 1500 ]; do i=$((i+1)); sleep 0.02; done' & while ! test -s {}; do sleep 0.01; done",
        file.display(),
        file.display()
    )
}

#[test]
fn p33_what_is_left_is_asked_to_end_left_alone_or_reaped_as_each_has_it() {
    for (name, options, pid1, asked) in [
        ("tini", "", false, false),
        ("tini", "-s", false, false),
        ("tini", "", true, true),
        ("dumb-init", "", false, true),
        ("dumb-init", "-c", false, false),
        ("dumb-init", "", true, true),
        ("catatonit", "", false, false),
        ("catatonit", "", true, true),
    ] {
        let link = Link::new(name);
        let file = link.0.path("left");
        let disco = link
            .script(options, &leaving_behind(&file))
            .env("TINI_VERBOSITY", "0");
        let out = if pid1 { disco.pid1() } else { disco }.run();
        out.assert_code(0);
        if asked {
            assert!(
                out.stdout.contains("asked"),
                "{name} {options} {pid1}: {out:?}"
            );
        } else {
            let pid = pid_in(&link.0, "left");
            assert!(is_alive(pid), "{name} {options}");
            let left = nix::unistd::Pid::from_raw(pid);
            nix::sys::signal::kill(left, Signal::SIGKILL).unwrap();
        }
    }
}

#[test]
fn orphans_come_to_subreapers_only() {
    for (name, options, variable, comes) in [
        ("tini", "-s", None, true),
        ("tini", "", Some("TINI_SUBREAPER"), true),
        ("tini", "", None, false),
        ("catatonit", "", None, true),
        ("dumb-init", "", None, false),
    ] {
        let link = Link::new(name);
        let file = link.0.path("parent");
        // The middle shell ends at once; the inner one waits for that and then looks.
        let inner = "while test $(ps -o ppid= -p $$) = $1; do sleep 0.01; done; ps -o ppid= -p $$ > $2.new; mv $2.new $2";
        let script = format!(
            "sh -c 'sh -c \"$0\" inner $$ $1 &' '{inner}' {}; while ! test -s {}; do sleep 0.01; done",
            file.display(),
            file.display()
        );
        let mut disco = link.script(options, &script).env("TINI_VERBOSITY", "0");
        if let Some(variable) = variable {
            disco = disco.env(variable, "");
        }
        let running = disco.spawn();
        let pid = running.pid().as_raw();
        running.wait().assert_code(0);
        let parent = pid_in(&link.0, "parent");
        assert_eq!(parent == pid, comes, "{name} {options}: {parent} and {pid}");
    }
}

#[test]
fn tini_p_is_told_of_the_death_of_its_parent() {
    let link = Link::new("tini");
    let script = format!(
        "{} -s -p SIGUSR1 -- sh -c 'trap \"echo orphaned > {}; exit\" USR1; echo ready; i=0; while [ $i -lt 1500 ]; do i=$((i+1)); sleep 0.02; done' & wait",
        link.0.path("tini").display(),
        link.0.path("told").display()
    );
    let running = Disco::new().bin("/bin/sh").args(["-c", &script]).spawn();
    running.wait_stdout("ready");
    running.signal(Signal::SIGKILL);
    assert_eq!(link.0.wait_file("told"), "orphaned\n");
}

#[test]
fn tini_r_runs_the_program_again() {
    let link = Link::new("tini");
    let count = link.0.path("count");
    let script = |end: &str| format!("echo x >> {}; {end}", count.display());
    // The third run ends it.
    let failing = script(&format!("test $(wc -l < {}) -ge 3", count.display()));
    link.script("-s -R F", &failing).run().assert_code(0);
    assert_eq!(link.0.read("count"), "x\nx\nx\n");
    let running = link.script("-s -RA", "echo once more; sleep 0.01").spawn();
    wait_for("a second run after a success", DEADLINE, || {
        (running.stdout_so_far().matches("once more").count() >= 2).then_some(())
    });
}
