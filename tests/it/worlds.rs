//! Restricted worlds, and those shared with strangers: disco as PID 1 and as an ordinary child where
//! something is missing, forbidden, inherited or not its own. Numbers are those of the conformance
//! list of PID 1.

use crate::roles;
use crate::support::{
    DEADLINE, Disco, NOTHING_OF_THE_HOST, Sandbox, disco_bin, is_root, proc, wait_for,
};
use layer_cake::sys;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::{Path, PathBuf};

/// A user and group that nothing else has, and no file knows. Another for each test, since the limit
/// of processes is that of the user.
pub(crate) fn nobody(test: u32) -> String {
    let user = 40_000 + std::process::id() % 10_000 * 4 + test;
    format!("setpriv --reuid={user} --regid={user} --clear-groups")
}

/// The words of a line.
pub(crate) fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split_whitespace()
}

/// Disco where every user may execute it.
pub(crate) fn public(sandbox: &Sandbox) -> PathBuf {
    let path = sandbox.path("disco");
    let copied = std::process::Command::new("cp")
        .arg(disco_bin())
        .arg(&path)
        .status();
    assert!(copied.unwrap().success());
    path
}

const NO_PROC: &str = "mount -t tmpfs none /proc";
const NO_DEV: &str = "mount -t tmpfs none /dev";

/// Disco supervising, as an ordinary child and as PID 1.
fn both() -> [Disco; 2] {
    let child = Disco::new().cfg("disco.mode=supervise");
    [child.clone(), child.pid1()]
}

/// What every world must leave standing: the status, a signal on its way, orphans that are ended and
/// reaped. Without PATH or anything that this test has in its environment.
#[track_caller]
fn assert_works(world: &str, disco: &Disco) {
    let run = |script: &str| disco.clone().args(["sh", "-c", script]);
    let out = run("exit 3").run();
    assert_eq!(out.code, Some(3), "{world}: {}", out.stderr);
    let out = run("(sleep 4321 &) ; exit 5").run();
    assert_eq!(out.code, Some(5), "{world}: {}", out.stderr);
    assert!(!out.stderr.contains("killing"), "{world}: {}", out.stderr);
    let script =
        "trap 'echo got; exit 6' USR1; (sleep 0 &) ; echo ready; while :; do sleep 0.02; done";
    let running = run(script).spawn();
    running.wait_stdout("ready");
    running.signal(Signal::SIGUSR1);
    let out = running.wait();
    assert_eq!(out.code, Some(6), "{world}: {}", out.stderr);
}

#[test]
fn p11_a_bare_world_is_enough() {
    assert_works("no /proc", &Disco::new().pid1().prepared(NO_PROC));
    let few = ["prlimit", "--nofile=8:8"];
    assert_works("8 descriptors", &Disco::new().pid1().inside(few));
    let settings = format!("DISCO_CFG={NOTHING_OF_THE_HOST}");
    let bare = ["env", "-i", &settings];
    assert_works(
        "no environment but the settings",
        &Disco::new().pid1().inside(bare),
    );
    if is_root("a user that nobody knows") {
        let sandbox = Sandbox::new();
        let disco = Disco::new().bin(public(&sandbox)).pid1();
        let unknown = disco.clone().inside(words(&nobody(0)));
        assert_works("an unknown user", &unknown);
        let nothing = disco
            .prepared(NO_PROC)
            .inside(few)
            .inside(words(&nobody(0)))
            .inside(bare);
        assert_works("nothing at all", &nothing);
    }
}

#[test]
fn p12_disco_runs_disco() {
    let disco = disco_bin().to_str().unwrap();
    let script = "trap 'exit 9' TERM; echo ready; while :; do sleep 0.02; done";
    // `-s` keeps each of them, and nobody finds anything odd in the other.
    for option in [&[][..], &["-s"]] {
        let inner = [&[disco], option].concat();
        let three = [option, &inner, &inner].concat();
        let outer = Disco::new().args(three).pid1();
        outer
            .clone()
            .args(["sh", "-c", "exit 42"])
            .run()
            .assert_code(42)
            .assert_stderr_lacks("disco");
        let running = outer.args(["sh", "-c", script]).spawn();
        running.wait_stdout("ready");
        running.signal(Signal::SIGTERM);
        running.wait().assert_code(9);
        let lost = Disco::new().args([option, &inner, &inner, &["/no/such"]].concat());
        lost.pid1().run().assert_code(127);
    }
}

#[test]
fn p13_where_it_is_not_pid_1_disco_adopts_orphans_by_itself() {
    let script = "(sleep 1000 & echo orphan $!) ; echo ready; exec sleep 1000";
    let disco = Disco::new().cfg("disco.mode=supervise|disco.log_level=debug");
    let running = disco.args(["sh", "-c", script]).spawn();
    running.wait_stdout("ready");
    let told = running.stdout_so_far();
    let orphan = told.split_whitespace().nth(1).unwrap().parse().unwrap();
    let orphan = Pid::from_raw(orphan);
    let disco = running.pid().to_string();
    wait_for("the orphan to be adopted", DEADLINE, || {
        (proc::status(orphan, "PPid").as_ref() == Some(&disco)).then_some(())
    });
    running.signal(Signal::SIGTERM);
    running.wait().assert_code(143).assert_stderr_lacks("WARN");
    assert!(!proc::is_alive(orphan));
}

/// Runs disco as one process of many in a namespace, and says who is left afterwards. `world` is what
/// happens first, `become_it` is put before disco.
fn among_strangers(world: &str, become_it: &str, orphan: &str) -> String {
    let sandbox = Sandbox::new();
    let disco = public(&sandbox);
    let script = format!(
        r#"{world}
           sleep 4321 & stranger=$!
           export DISCO_CFG=disco.mode=supervise
           mkfifo -m 666 {dir}/ours
           {become_it} {disco} bash -c '({orphan} sleep 4322 & echo $! > {dir}/ours); exit 4' &
           read -r ours < {dir}/ours
           wait $!; echo code $?
           kill -0 $stranger && echo the stranger lives
           kill -0 $ours 2>/dev/null || echo ours is gone"#,
        dir = sandbox.dir().display(),
        disco = disco.display(),
    );
    let shell = Disco::new().bin("/usr/bin/env").pid1();
    let out = shell.args(["bash", "-c", &script]).run();
    out.assert_stderr_lacks("WARN");
    out.stdout
}

#[test]
fn p14_strangers_in_the_namespace_are_left_alone() {
    let expected = "code 4\nthe stranger lives\nours is gone\n";
    assert_eq!(among_strangers("", "", "setsid"), expected);
    // Without /proc the process group is all that is known.
    assert_eq!(among_strangers(NO_PROC, "", ""), expected);
    if is_root("another user's processes being hidden") {
        let hidden = "mount -t proc -o hidepid=2 proc /proc";
        assert_eq!(among_strangers(hidden, &nobody(1), "setsid"), expected);
    }
}

#[test]
fn p15_the_command_dies_with_disco_if_it_is_to() {
    let disco = Disco::new().cfg("disco.command_death=KILL");
    let running = disco.args(["sleep", "1000"]).spawn();
    let command = running.child("sleep");
    running.signal(Signal::SIGKILL);
    wait_for("the end of the command", DEADLINE, || {
        (!proc::is_alive(command)).then_some(())
    });
    running.wait().assert_signal(Signal::SIGKILL);
}

#[test]
fn p15_disco_hears_of_its_parents_death_and_tells_the_command() {
    for (option, cfg) in [
        ("-p USR1", "disco.mode=supervise"),
        ("", "disco.parent_death=USR1|disco.mode=supervise"),
        // The command is then the one to hear of it.
        ("-p USR1", "disco.mode=exec"),
    ] {
        let sandbox = Sandbox::new();
        let heard = sandbox.path("heard");
        let command = format!(
            "trap 'echo orphaned > {}; exit' USR1; echo ready; while :; do sleep 0.02; done",
            heard.display()
        );
        let script = format!(
            "export DISCO_CFG='{cfg}'; {} {option} bash -c \"{command}\" & wait",
            disco_bin().display()
        );
        let parent = Disco::new()
            .bin("/usr/bin/env")
            .args(["bash", "-c", &script]);
        let parent = parent.spawn();
        parent.wait_stdout("ready");
        parent.signal(Signal::SIGKILL);
        assert_eq!(sandbox.wait_file("heard"), "orphaned\n", "{option} {cfg}");
    }
}

#[test]
fn p40_a_process_limit_is_told_by_125_or_waited_for() {
    if !is_root("a process limit") {
        return;
    }
    let sandbox = Sandbox::new();
    let world = |test, cfg: &str| {
        let disco = Disco::new().bin(public(&sandbox)).cfg(cfg);
        disco
            .inside(words(&nobody(test)))
            .inside(["prlimit", "--nproc=1:"])
    };
    let once = world(2, "disco.mode=supervise").pid1().arg("true").run();
    once.assert_code(125)
        .assert_stderr_has("cannot start `true`: Try again")
        .assert_stderr_has("a limit of processes");

    let cfg = "disco.restart=on-failure:0|disco.restart_max_delay=100ms";
    let running = world(3, cfg).args(["sh", "-c", "echo up; exit 0"]).spawn();
    let told = "the command has ended with 125; starting it again";
    running.wait_stderr(told);
    limit(&nobody(3), running.pid(), &["--nproc=100:"]);
    running.wait().assert_code(0).assert_stdout("up\n");

    let cfg = "disco.restart=on-failure:2|disco.restart_max_delay=10ms";
    let spent = world(2, cfg).arg("true").run();
    spent
        .assert_code(125)
        .assert_stderr_has("restarts in a row: 2");
}

/// Changes soft limits of a process that runs, as its user, whom `become_it` makes of us.
pub(crate) fn limit(become_it: &str, pid: Pid, limits: &[&str]) {
    let pid = pid.to_string();
    let set = std::process::Command::new("env")
        .args(words(become_it))
        .args(["prlimit", "--pid", &pid])
        .args(limits)
        .status();
    assert!(set.unwrap().success());
}

#[test]
fn p41_neither_devices_nor_streams_are_needed() {
    assert_works("no /dev", &Disco::new().pid1().prepared(NO_DEV));
    let script = format!("{NO_DEV}; exec <&- 2>&-");
    let closed = Disco::new().pid1().prepared(&script);
    assert_works("no /dev, no streams", &closed);
    let closed = Disco::new()
        .prepared("exec <&- >&- 2>&-")
        .args(["sh", "-c", "exit 3"]);
    for disco in [closed.clone(), closed.pid1()] {
        disco.cfg("disco.mode=supervise").run().assert_code(3);
    }
}

#[test]
fn p41_the_agent_does_not_hold_the_commands_input_where_there_is_no_null_device() {
    let (sandbox, cfg) = Sandbox::watching("{signal: USR2}");
    let disco = Disco::new()
        .pid1()
        .prepared(NO_DEV)
        .cfg(cfg)
        .stdin(b"line\n");
    let script = "read -r line; echo $line; exec sleep 1000";
    let running = disco.args(["sh", "-c", script]).spawn();
    running.wait_stdout("line");
    assert_eq!(sandbox.read("runs"), "run\n");
    let (command, agent) = (running.child("sleep"), running.child("disco"));
    let input = |pid| proc::descriptors(pid).first().cloned();
    assert_ne!(input(agent), input(command));
    running.signal(Signal::SIGTERM);
    running.wait().assert_code(143);
}

/// What a command tells of the descriptors that it was given.
const TELL: &str = r#"[ "$LISTEN_PID" = $$ ] && mine=mine; echo fds $(readlink /proc/$$/fd/5) $(readlink /proc/$$/fd/9) ${mine-others}$LISTEN_PIDFDID"#;

/// Has disco inherit two descriptors, for it as by socket activation.
fn given(disco: Disco, file: &Path) -> Disco {
    let file = file.display();
    let script =
        format!("exec 5<{file} 9<{file}; export LISTEN_FDS=1 LISTEN_PID=$$ LISTEN_PIDFDID=4711");
    disco.prepared(&script)
}

#[test]
fn p9_the_command_has_what_was_inherited_and_init_does_not_keep_it() {
    let sandbox = Sandbox::new();
    let file = sandbox.write("file", "");
    for disco in both() {
        let script = format!("{TELL}; exec sleep 1000");
        let running = given(disco, &file).args(["sh", "-c", &script]).spawn();
        let told = format!("fds {0} {0} mine\n", file.display());
        running.wait_stdout(&told);
        let init = running.pid();
        wait_for("init to let go", DEADLINE, || {
            let held = proc::descriptors(init);
            (!held.iter().any(|(_, target)| *target == file)).then_some(())
        });
        running.signal(Signal::SIGTERM);
        running.wait().assert_code(143);
    }
}

#[test]
fn p9_a_command_that_is_started_again_has_what_the_first_one_had() {
    let sandbox = Sandbox::new();
    let file = sandbox.write("file", "");
    let cfg = "disco.restart=always|disco.restart_delay=10ms";
    for disco in [Disco::new().cfg(cfg), Disco::new().cfg(cfg).pid1()] {
        let running = given(disco.cwd(sandbox.dir()), &file)
            .args(["sh", "-c", &format!("{TELL}; pwd; sleep 0.1")])
            .spawn();
        let told = format!(
            "fds {0} {0} mine\n{1}\n",
            file.display(),
            sandbox.dir().display()
        );
        running.wait_stdout(&told.repeat(3));
        running.signal(Signal::SIGTERM);
        running.wait();
    }
}

#[test]
fn p10_init_holds_no_directory_and_the_command_its_own() {
    let sandbox = Sandbox::new();
    for disco in both() {
        let running = disco.cwd(sandbox.dir()).args(["sleep", "1000"]).spawn();
        let command = running.child("sleep");
        let cwd = |pid: Pid| std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap();
        assert_eq!(cwd(command), sandbox.dir());
        let init = running.pid();
        wait_for("init to go", DEADLINE, || {
            (cwd(init) == Path::new("/")).then_some(())
        });
        running.signal(Signal::SIGTERM);
        running.wait().assert_code(143);
    }
}

#[test]
fn p17_nobody_wakes_while_nothing_happens() {
    let (_sandbox, cfg) = Sandbox::watching("{signal: USR2}");
    let disco = Disco::new().cfg(cfg).pid1();
    let running = disco.args(["sleep", "1000"]).spawn();
    running.child("sleep");
    proc::wait_until_idle([running.pid(), running.child("disco")]);
}

#[test]
fn p18_real_time_signals_arrive_in_number_and_order_with_their_values() {
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
    for disco in [Disco::new(), Disco::new().pid1()] {
        let disco = disco.cfg(&cfg).inside(["env", "--block-signal"]);
        let running = roles::cast(disco, "listener").spawn();
        sandbox.wait_file("up");
        let init = running.pid().as_raw();
        let number = libc::SIGRTMIN() + 3;
        let queue = |value| sys::queue(init, number, value).unwrap();
        (1..=5).for_each(queue);
        sandbox.write("go", "");
        running.wait_stdout("listening");
        (6..=10).for_each(queue);
        sys::kill(init, number).unwrap();
        running.wait_stdout("value -\n");
        running.signal(Signal::SIGTERM);
        let out = running.wait();
        let told: Vec<&str> = out
            .stdout
            .lines()
            .filter_map(|line| line.strip_prefix(&format!("signal {number} value ")))
            .collect();
        assert_eq!(told.join(" "), "1 2 3 4 5 6 7 8 9 10 -", "{}", out.stderr);
        std::fs::remove_file(sandbox.path("up")).unwrap();
        std::fs::remove_file(sandbox.path("go")).unwrap();
    }
}

#[test]
fn p19_signals_of_faults_are_forwarded_when_somebody_sends_them() {
    for disco in both() {
        for number in [
            libc::SIGABRT,
            libc::SIGSEGV,
            libc::SIGBUS,
            libc::SIGFPE,
            libc::SIGILL,
            libc::SIGTRAP,
            libc::SIGSYS,
        ] {
            // The command dies of it, and leaves no core behind.
            let disco = disco.clone().inside(["prlimit", "--core=0"]);
            let running = disco.args(["sleep", "1000"]).spawn();
            running.child("sleep");
            sys::kill(running.pid().as_raw(), number).unwrap();
            running.wait().assert_code(128 + number);
        }
    }
}

#[test]
fn p21_a_command_that_may_not_be_signalled_is_told_and_outlived() {
    if !is_root("a lack of capabilities") {
        return;
    }
    let sandbox = Sandbox::new();
    let go = sandbox.path("go");
    let script = format!(
        "echo ready; until test -e {}; do sleep 0.01; done; exit 7",
        go.display()
    );
    for disco in both() {
        let weak = ["setpriv", "--bounding-set=-kill", "--inh-caps=-kill"];
        let nobody = nobody(1);
        let command = words(&nobody).chain(["sh", "-c", &script]);
        let running = disco.inside(weak).args(command).spawn();
        running.wait_stdout("ready");
        running.signal(Signal::SIGTERM);
        running.wait_stderr("cannot send SIGTERM to the command: Operation not permitted");
        sandbox.write("go", "");
        running.wait().assert_code(7);
        std::fs::remove_file(&go).unwrap();
    }
}

/// Waits until a process is stopped.
pub(crate) fn wait_stopped(pid: Pid) {
    wait_for("the process to stop", DEADLINE, || {
        proc::status(pid, "State")?.starts_with('T').then_some(())
    });
}

#[test]
fn p23_a_stopped_command_has_not_ended() {
    let script =
        "trap 'echo got' USR1; trap 'exit 8' TERM; echo ready; while :; do sleep 0.02; done";
    for disco in both() {
        let running = disco.args(["bash", "-c", script]).spawn();
        running.wait_stdout("ready");
        let command = running.child("bash");
        kill(command, Signal::SIGSTOP).unwrap();
        wait_stopped(command);
        // It waits there with the stop.
        running.signal(Signal::SIGUSR1);
        running.signal(Signal::SIGCONT);
        running.wait_stdout("got");
        running.signal(Signal::SIGSTOP);
        running.signal(Signal::SIGCONT);
        running.signal(Signal::SIGTERM);
        running.wait().assert_code(8);
    }
}

#[test]
fn p6_what_the_kernel_refuses_is_explained() {
    let sandbox = Sandbox::new();
    let script = sandbox.handler("script", "#!/no/such/interpreter\n");
    let garbage = sandbox.handler("garbage", "\x7fELF");
    let plain = sandbox.write("plain", "x");
    let ways = [Disco::new(), Disco::new().cfg("disco.mode=supervise")];
    for disco in ways.into_iter().chain([Disco::new().pid1()]) {
        let run = |path: &Path| disco.clone().arg(path).run();
        run(&script)
            .assert_code(127)
            .assert_stderr_has("the interpreter or loader that it names is not");
        run(sandbox.dir())
            .assert_code(126)
            .assert_stderr_has("is not executable");
        run(&plain)
            .assert_code(126)
            .assert_stderr_has("is not executable");
        // For a file of no known form the shell has the last word, as with execvp.
        let code = run(&garbage).code;
        assert!(matches!(code, Some(126 | 127 | 2)), "{code:?}");
        // A relative path counts from where disco was started, whatever init has left since.
        let relative = disco.clone().cwd(sandbox.dir());
        relative
            .clone()
            .arg("./plain")
            .run()
            .assert_code(126)
            .assert_stderr_has("is not executable");
        relative
            .arg("./script")
            .run()
            .assert_code(127)
            .assert_stderr_has("the interpreter or loader");
        // In PATH a directory is passed over.
        let out = disco.clone().arg("garbage").run();
        out.assert_code(127).assert_stderr_has("is not on PATH");
    }
}
