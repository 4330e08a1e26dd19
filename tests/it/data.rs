//! What the container writes to its log, through pipes and files, however it does so (asyncy ).

mod containers;
mod files;

use crate::support::{
    DEADLINE, Disco, Running, Sandbox, Terminal, disco_bin, is_root, proc, wait_for,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::OpenOptions;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::process::{Command, Stdio};
use std::time::Duration;

/// The sample of the seed, verbatim.
pub(crate) const SAMPLE: &str = "
{
host: dfs1
what: diskspace
mountpoint: srv/node/dfs10
unit: B
type: used
metric_type: gauge
}
meta: {
agent: diamond,
processed_by: statsd2
}
";

/// Settings with pipes in the sandbox, and a disco with them that runs this line of a shell, in which
/// `$L` is the log and `$M` takes metrics.
pub(crate) fn with(sandbox: &Sandbox, more: &str, line: &str) -> Disco {
    let dir = sandbox.dir().display();
    Disco::new()
        .cfg(format!(
            "disco.data_dir={dir}/data|disco.status={dir}/s{more}"
        ))
        .env("L", sandbox.path("data/logs"))
        .env("M", sandbox.path("data/metrics/2.0"))
        .args(["sh", "-c", line])
}

/// The lines that came from the log of the container, and not from disco or from what a shell has to say,
/// without their times.
fn logged(stderr: &str) -> Vec<&str> {
    let own = |line: &&str| line.get(23..25) == Some("Z ") && !line.contains(" disco: ");
    let lines = stderr.lines().filter(own);
    lines.map(|line| line.get(25..).unwrap_or(line)).collect()
}

/// The agent, once there is one.
#[track_caller]
fn agent(running: &Running, command: &str) -> Pid {
    let command = running.child(command);
    wait_for("an agent", DEADLINE, || {
        let mut others = proc::children(running.pid()).into_iter();
        others.find(|pid| *pid != command)
    })
}

#[test]
fn a33_what_is_echoed_to_the_log_is_on_stderr_with_a_time_and_a_level() {
    for pid1 in [false, true] {
        let sandbox = Sandbox::new();
        let line = "echo 'INFO foobar' > $L; echo plain >> $L; echo '[error]: bad' > $L; \
            printf 'WARN trace\\n  at x\\r\\n\\ty\\n' > $L; echo result";
        let disco = with(&sandbox, "", line);
        let out = if pid1 { disco.pid1() } else { disco }.run();
        out.assert_code(0).assert_stdout("result\n");
        assert_eq!(
            logged(&out.stderr),
            [
                "INFO foobar",
                "INFO plain",
                "ERROR bad",
                "WARN trace",
                "WARN   at x",
                "WARN \ty"
            ],
            "{}",
            out.stderr
        );
        let time = out
            .stderr
            .lines()
            .find_map(|line| line.strip_suffix(" INFO foobar"))
            .unwrap();
        assert_eq!(
            (time.len(), &time[10..11], &time[23..]),
            (24, "T", "Z"),
            "{time}"
        );
        let left = ["data/logs", "data/metrics/2.0"].map(|name| sandbox.path(name).exists());
        assert_eq!(
            left,
            [false, false],
            "a pipe that nobody reads is taken away"
        );
    }
}

#[test]
fn a33_times_of_the_writers_are_kept() {
    let sandbox = Sandbox::new();
    let line = "echo '2026-11-21T04:07:29.462Z WARN a' > $L; echo 'ERROR 2026-11-21 05:07:29,5 b' > $L; \
        echo ' goes on' > $L";
    let out = with(&sandbox, "", line).run();
    let expected = "2026-11-21T04:07:29.462Z WARN a\n2026-11-21T05:07:29.500Z ERROR b\n\
        2026-11-21T05:07:29.500Z ERROR  goes on\n";
    assert!(out.stderr.contains(expected), "{}", out.stderr);
}

#[test]
fn a33_json_lines_with_fields_on_request() {
    let sandbox = Sandbox::new();
    let line = "printf 'INFO in user=bob n=\"1 2\"\\nbad \\377\\001 \"q\"\\n' > $L";
    let out = with(
        &sandbox,
        "|disco.log_format=json|disco.logs_fields=yes",
        line,
    )
    .run();
    let lines: Vec<serde_json::Value> = out
        .stderr
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}")))
        .collect();
    let find = |text: &str| lines.iter().find(|line| line["message"] == text).unwrap();
    let first = find("in");
    assert_eq!(
        (&first["level"], &first["fields"]["n"]),
        (&"info".into(), &"1 2".into())
    );
    assert_eq!(first["fields"]["user"], "bob");
    assert_eq!(find("bad \u{fffd}\u{1} \"q\"")["level"], "info");
}

#[test]
fn a30_pipes_are_for_everybody_to_write_whatever_the_umask() {
    let sandbox = Sandbox::new();
    let running = with(&sandbox, "", "echo up; sleep 1000")
        .prepared("umask 077")
        .spawn();
    running.wait_stdout("up");
    for (path, mode) in [
        ("data", 0o755),
        ("data/metrics", 0o755),
        ("data/logs", 0o622),
        ("data/metrics/2.0", 0o622),
    ] {
        let about = std::fs::metadata(sandbox.path(path)).unwrap();
        assert_eq!(about.permissions().mode() & 0o7777, mode, "{path}");
        assert_eq!(about.file_type().is_fifo(), mode == 0o622, "{path}");
    }
}

#[test]
fn a30_another_user_may_write() {
    if !is_root("who may write") {
        return;
    }
    let sandbox = Sandbox::new();
    let line = "id -u > $L; echo \"INFO $(id -u)\" >> $L";
    let out = with(&sandbox, "|disco.user=12345:12345", line).pid1().run();
    assert_eq!(
        logged(&out.stderr),
        ["INFO 12345", "INFO 12345"],
        "{}",
        out.stderr
    );
}

#[test]
fn nobody_reads_until_something_is_written_and_nobody_wakes_after() {
    for pid1 in [false, true] {
        let sandbox = Sandbox::new();
        let disco = with(
            &sandbox,
            "",
            "echo up; read x; echo INFO x > $L; exec sleep 1000",
        );
        let fifo = sandbox.path("go");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let disco = disco.prepared(&format!("exec 0<>{}", fifo.display()));
        let running = if pid1 { disco.pid1() } else { disco }.spawn();
        running.wait_stdout("up");
        assert_eq!(
            proc::children(running.pid()).len(),
            1,
            "the command is all there is"
        );
        OpenOptions::new()
            .write(true)
            .open(&fifo)
            .unwrap()
            .write_all(b"\n")
            .unwrap();
        running.wait_stderr("INFO x");
        let agent = agent(&running, "sleep");
        proc::wait_until_idle([running.pid(), agent]);
    }
}

#[test]
fn many_writers_lose_nothing_and_each_keeps_its_order() {
    const WRITERS: usize = 6;
    const LINES: usize = 10_000;
    let sandbox = Sandbox::new();
    // A write for each line, as loggers do it: what a writer puts into two comes out as two.
    let count = format!("i=0; while [ $i -lt {LINES} ]; do i=$((i+1)); echo \"INFO $w $i\"; done");
    let line = format!("for w in $(seq {WRITERS}); do ({count}) > $L & done; wait");
    let out = with(&sandbox, "", &line).pid1().run();
    let mut next = [0; WRITERS + 1];
    for line in logged(&out.stderr) {
        let mut words = line
            .split(' ')
            .skip(1)
            .map(|word| word.parse::<usize>().unwrap());
        let (writer, number) = (words.next().unwrap(), words.next().unwrap());
        next[writer] += 1;
        assert_eq!(number, next[writer], "{line}");
    }
    assert_eq!(next[1..], [LINES; WRITERS]);
}

/// A disco whose stderr nobody reads yet, and what it writes into it.
fn unread(
    sandbox: &Sandbox,
    line: &str,
) -> (std::process::Child, BufReader<std::process::ChildStderr>) {
    let dir = sandbox.dir().display();
    let mut child = Command::new(disco_bin())
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env(
            "DISCO_CFG",
            format!("disco.data_dir={dir}/data|disco.stop_timeout=5s"),
        )
        .env("L", sandbox.path("data/logs"))
        .args(["sh", "-c", line])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stderr = BufReader::new(child.stderr.take().unwrap());
    (child, stderr)
}

#[test]
fn a_slow_reader_holds_the_writer_up_and_costs_neither_lines_nor_memory() {
    const LINES: usize = 400_000;
    let sandbox = Sandbox::new();
    let line = format!("seq -f 'INFO %.0f and so on and so on and so on' {LINES} > $L; echo done");
    let (mut child, stderr) = unread(&sandbox, &line);
    let init = Pid::from_raw(child.id().cast_signed());
    let agent = wait_for("an agent", DEADLINE, || {
        proc::children(init)
            .into_iter()
            .find(|pid| proc::status(*pid, "Name").as_deref() == Some("disco"))
    });
    // It waits for us when it has nothing more to do than to wait.
    let is_asleep = || {
        let before = proc::file(agent, "io");
        std::thread::sleep(Duration::from_millis(200));
        (!before.is_empty() && proc::file(agent, "io") == before).then_some(())
    };
    wait_for("the agent to wait", DEADLINE, is_asleep);
    let held = proc::anonymous(agent).unwrap();
    assert!(held < 8 << 10, "{held} kB");
    let mut count = 0;
    for line in stderr.lines() {
        let line = line.unwrap();
        if line.contains(" INFO ") && !line.contains("disco: ") {
            count += 1;
            assert!(
                line.contains(&format!(" INFO {count} and")),
                "{line}, not {count}"
            );
        }
    }
    assert_eq!(count, LINES);
    assert!(child.wait().unwrap().success());
}

#[test]
fn whoever_does_not_read_at_the_end_does_not_keep_the_container() {
    let sandbox = Sandbox::new();
    let (mut child, stderr) = unread(&sandbox, "yes INFO > $L & sleep 0.3; kill $!; exit 7");
    let begin = std::time::Instant::now();
    let code = wait_for("the end", DEADLINE, || child.try_wait().unwrap());
    assert_eq!(code.code(), Some(7));
    // `disco.drain`, and no second time for what the agent itself has to say.
    assert!(
        begin.elapsed() < Duration::from_secs(8),
        "{:?}",
        begin.elapsed()
    );
    drop(stderr);
}

#[test]
fn a_terminal_gets_every_line_and_nobody_turns_in_a_loop() {
    let sandbox = Sandbox::new();
    let cfg = format!("DISCO_CFG=disco.data_dir={}/data", sandbox.dir().display());
    let log = format!("L={}", sandbox.path("data/logs").display());
    let program = disco_bin().to_str().unwrap();
    let script = "seq -f 'INFO %.0f' 5000 > $L; echo WARN last > $L; read x";
    let mut terminal = Terminal::run(["/usr/bin/env", &cfg, &log, program, "sh", "-c", script]);
    terminal.wait_screen("WARN last\r\n");
    assert_eq!(terminal.screen().matches(" INFO ").count(), 5000);
    terminal.type_in("\n");
    assert!(terminal.wait().success());
}

#[test]
fn what_is_left_behind_finds_a_reader_even_if_nobody_wrote_before() {
    for pid1 in [false, true] {
        let sandbox = Sandbox::new();
        sandbox.write(
            "asyncy.yml",
            "lifecycle: {shutdown: 'seq -f \"INFO down %.0f\" 20000 > $L'}",
        );
        let line = "(trap 'seq -f \"INFO left %.0f\" 20000 > $L; exit' TERM; echo > ready; while :; do sleep 0.01; done) & \
            until [ -e ready ]; do sleep 0.01; done";
        let disco = with(&sandbox, "", line).cwd(sandbox.dir());
        let out = if pid1 { disco.pid1() } else { disco }.run();
        out.assert_code(0);
        let lines = logged(&out.stderr);
        for what in ["INFO left", "INFO down"] {
            let count = lines.iter().filter(|line| line.starts_with(what)).count();
            assert_eq!(count, 20_000, "{what}, pid1 {pid1}");
        }
        assert!(out.elapsed < Duration::from_secs(4), "{:?}", out.elapsed);
        out.assert_stderr_lacks("the agent is gone");
    }
}

#[test]
fn whoever_writes_from_outside_does_not_keep_the_container() {
    let sandbox = Sandbox::new();
    let running = with(&sandbox, "", "echo up; sleep 0.2; exit 3").spawn();
    running.wait_stdout("up");
    let log = sandbox.path("data/logs");
    let mut outside = Command::new("sh")
        .args(["-c", &format!("exec yes INFO > {}", log.display())])
        .spawn()
        .unwrap();
    let out = running.wait();
    let _ = outside.kill();
    outside.wait().unwrap();
    out.assert_code(3);
    assert!(out.elapsed < Duration::from_secs(5), "{:?}", out.elapsed);
}

#[test]
fn a_busy_pipe_keeps_no_file_waiting() {
    let sandbox = Sandbox::new();
    let more = format!(
        "|disco.tail={}|disco.logs_rate=debug:5",
        sandbox.path("app.log").display()
    );
    let running = with(&sandbox, &more, "echo up; exec yes DEBUG noise > $L").spawn();
    running.wait_stderr("DEBUG noise");
    std::fs::write(sandbox.path("app.log"), "WARN through\n").unwrap();
    running.wait_stderr("WARN through");
    running.wait_stderr("DEBUG lines were dropped");
}

#[test]
fn what_goes_to_stderr_anyway_is_left_to() {
    let sandbox = Sandbox::new();
    std::fs::create_dir(sandbox.path("data")).unwrap();
    std::os::unix::fs::symlink("/dev/stderr", sandbox.path("data/logs")).unwrap();
    let out = with(&sandbox, "", "echo INFO direct > $L; echo own >&2").run();
    assert_eq!(out.stderr, "INFO direct\nown\n");
}

#[test]
fn an_agent_that_is_stopped_goes_on_at_the_end() {
    let sandbox = Sandbox::new();
    let fifo = sandbox.path("go");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let running = with(
        &sandbox,
        "",
        "echo INFO a > $L; read x; echo INFO b > $L; exit 4",
    )
    .prepared(&format!("exec 0<>{}", fifo.display()))
    .spawn();
    running.wait_stderr("INFO a");
    kill(agent(&running, "sh"), Signal::SIGSTOP).unwrap();
    std::fs::write(&fifo, "\n").unwrap();
    let out = running.wait();
    out.assert_code(4).assert_stderr_has("INFO b");
    assert!(out.elapsed < Duration::from_secs(4), "{:?}", out.elapsed);
}

#[test]
fn nobody_is_asked_twice_to_wait_for_the_log() {
    let sandbox = Sandbox::new();
    let (mut child, stderr) = unread(
        &sandbox,
        "yes INFO > $L & sleep 0.3; kill $!; echo end; exit 7",
    );
    let mut end = [0; 4];
    child.stdout.take().unwrap().read_exact(&mut end).unwrap();
    let init = Pid::from_raw(child.id().cast_signed());
    // The command has gone when only the agent is left.
    wait_for("the command to go", DEADLINE, || {
        let names = proc::children(init)
            .into_iter()
            .map(|pid| proc::status(pid, "Name"));
        let names: Vec<_> = names.collect();
        (names == [Some("disco".to_owned())]).then_some(())
    });
    let begin = std::time::Instant::now();
    for _ in 0..2 {
        kill(init, Signal::SIGTERM).unwrap();
        // One that waits still would be the same as the next.
        wait_for("the signal to be taken", DEADLINE, || {
            let pending = proc::status(init, "ShdPnd").unwrap_or_default();
            let pending = u64::from_str_radix(&pending, 16).unwrap_or(0);
            (pending & 1 << (Signal::SIGTERM as i32 - 1) == 0).then_some(())
        });
    }
    let code = wait_for("the end", DEADLINE, || child.try_wait().unwrap());
    assert_eq!(code.code(), Some(7));
    assert!(
        begin.elapsed() < Duration::from_secs(4),
        "{:?}",
        begin.elapsed()
    );
    drop(stderr);
}

#[test]
fn an_agent_that_dies_costs_no_line_that_it_has_not_read() {
    let sandbox = Sandbox::new();
    let running = with(
        &sandbox,
        "",
        "exec 3> $L; echo INFO first >&3; read x < $L.go; echo INFO second >&3; sleep 1000",
    )
    .prepared(&format!(
        "mkdir -p {0}/data; mkfifo {0}/data/logs.go",
        sandbox.dir().display()
    ))
    .spawn();
    running.wait_stderr("INFO first");
    let agent = agent(&running, "sh");
    kill(agent, Signal::SIGKILL).unwrap();
    running.wait_stderr("the agent is gone");
    std::fs::write(sandbox.path("data/logs.go"), "\n").unwrap();
    running.wait_stderr("INFO second");
}

#[test]
fn a_line_without_an_end_is_one_when_its_writer_has_gone_or_been_silent() {
    let sandbox = Sandbox::new();
    let line = "printf 'INFO gone' > $L; echo up; read x; exec 3> $L; printf 'WARN silent' >&3; exec sleep 1000";
    let fifo = sandbox.path("go");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let running = with(&sandbox, "", line)
        .prepared(&format!("exec 0<>{}", fifo.display()))
        .spawn();
    running.wait_stderr("INFO gone\n");
    std::fs::write(&fifo, "\n").unwrap();
    running.wait_stderr("WARN silent\n");
}

#[test]
fn a_writer_that_dies_inside_a_line_spoils_no_other() {
    let sandbox = Sandbox::new();
    let line = "sh -c 'exec 3> $L; printf \"INFO half\" >&3; kill -9 $$'; read x; echo 'WARN whole' > $L; read x";
    let fifo = sandbox.path("go");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let running = with(&sandbox, "", line)
        .prepared(&format!("exec 0<>{}", fifo.display()))
        .spawn();
    running.wait_stderr("INFO half\n");
    std::fs::write(&fifo, "\n").unwrap();
    running.wait_stderr("WARN whole\n");
}

#[test]
fn a_line_of_a_megabyte_stays_whole_and_a_longer_one_loses_nothing() {
    let sandbox = Sandbox::new();
    let line = "(printf 'ERROR '; head -c 1048576 /dev/zero | tr '\\0' x; echo; \
        printf 'WARN '; head -c 5000000 /dev/zero | tr '\\0' y; echo; echo INFO end) > $L";
    let out = with(&sandbox, "", line).run();
    let lines = logged(&out.stderr);
    assert_eq!(lines[0], format!("ERROR {}", "x".repeat(1 << 20)));
    let long: Vec<&&str> = lines
        .iter()
        .filter(|line| line.starts_with("WARN y"))
        .collect();
    assert_eq!(long.len(), 3, "two megabytes each");
    assert_eq!(
        long.iter().map(|line| line.len() - 5).sum::<usize>(),
        5_000_000
    );
    assert_eq!(lines.last(), Some(&"INFO end"));
}

#[test]
fn what_is_beyond_the_rate_is_dropped_and_counted() {
    let sandbox = Sandbox::new();
    let line =
        "(seq -f 'DEBUG %.0f' 1000; seq -f ' goes on %.0f' 1000; seq -f 'INFO %.0f' 1000) > $L";
    let out = with(&sandbox, "|disco.logs_rate=debug:10", line).run();
    let lines = logged(&out.stderr);
    let debug = lines
        .iter()
        .filter(|line| line.starts_with("DEBUG"))
        .count();
    assert!((10..1000).contains(&debug), "{debug}");
    assert_eq!(
        lines.iter().filter(|line| line.starts_with("INFO")).count(),
        1000
    );
    let dropped: usize = out
        .stderr
        .lines()
        .filter_map(|line| {
            line.split_once("disco: ")?
                .1
                .split_once(" DEBUG lines were dropped")?
                .0
                .parse::<usize>()
                .ok()
        })
        .sum();
    assert_eq!(dropped, 2000 - debug, "{}", out.stderr);
}

#[test]
fn levels_that_are_sent_to_stdout_go_there() {
    let sandbox = Sandbox::new();
    let line = "printf 'INFO a\\nDEBUG b\\nWARN c\\n' > $L; echo result";
    let out = with(&sandbox, "|disco.logs_stdout=info,debug", line).run();
    assert_eq!(logged(&out.stderr), ["WARN c"]);
    assert!(
        out.stdout.contains(" INFO a\n") && out.stdout.contains(" DEBUG b\n"),
        "{}",
        out.stdout
    );
    out.assert_stdout_has("result\n");
}

#[test]
fn what_is_written_to_the_very_end_gets_out() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "asyncy.yml",
        "lifecycle: {startup: 'echo INFO startup > $L', shutdown: 'echo INFO shutdown > $L'}",
    );
    // What is left behind says more than a pipe holds before it goes.
    let line = "(trap 'seq -f \"INFO left %.0f\" 30000 > $L; exit' TERM; echo ready; while :; do sleep 0.01; done) & \
        read x; echo INFO command > $L";
    for pid1 in [false, true] {
        let fifo = sandbox.path(if pid1 { "one" } else { "two" });
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let disco = with(&sandbox, "", line)
            .cwd(sandbox.dir())
            .prepared(&format!("exec 0<>{}", fifo.display()));
        let running = if pid1 { disco.pid1() } else { disco }.spawn();
        running.wait_stdout("ready");
        std::fs::write(&fifo, "\n").unwrap();
        let out = running.wait();
        let lines = logged(&out.stderr);
        assert_eq!(lines.first(), Some(&"INFO startup"), "pid1 {pid1}");
        assert_eq!(lines.get(1), Some(&"INFO command"));
        assert_eq!(
            lines
                .iter()
                .filter(|line| line.starts_with("INFO left"))
                .count(),
            30_000,
            "pid1 {pid1}"
        );
        assert_eq!(lines.last(), Some(&"INFO shutdown"));
        out.assert_code(0);
    }
}

#[test]
fn rules_and_logs_get_on_beside_each_other() {
    let (sandbox, cfg) = Sandbox::watching("none");
    let dir = sandbox.dir().display();
    let running = Disco::new()
        .cfg(format!("{cfg}|disco.data_dir={dir}/data"))
        .env("L", sandbox.path("data/logs"))
        .args(["sh", "-c", "echo INFO one > $L; sleep 1000"])
        .spawn();
    running.wait_stderr("INFO one");
    assert_eq!(sandbox.wait_file("runs"), "run\n");
    sandbox.write("data.yaml", "db: {n: 2}\n");
    wait_for("a second run", DEADLINE, || {
        (sandbox.read("runs") == "run\nrun\n").then_some(())
    });
    running.signal(Signal::SIGTERM);
    running.wait().assert_code(143);
}

#[test]
fn a_rule_that_is_done_leaves_nobody_behind_until_something_is_written() {
    let (sandbox, cfg) = Sandbox::watching("none");
    sandbox.rules("format: 2\nrules: [{when: db, do: h}]");
    let dir = sandbox.dir().display();
    let fifo = sandbox.path("go");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let running = Disco::new()
        .cfg(format!("{cfg}|disco.data_dir={dir}/data"))
        .env("L", sandbox.path("data/logs"))
        .args(["sh", "-c", "echo up; read x; echo INFO late > $L; read x"])
        .prepared(&format!("exec 0<>{}", fifo.display()))
        .spawn();
    running.wait_stdout("up");
    wait_for("the agent to leave", DEADLINE, || {
        (proc::children(running.pid()).len() == 1).then_some(())
    });
    std::fs::write(&fifo, "\n").unwrap();
    running.wait_stderr("INFO late");
    assert_eq!(sandbox.read("runs"), "run\n", "no rule is applied twice");
}

#[test]
fn two_discos_do_not_tear_the_lines_of_one_pipe() {
    let sandbox = Sandbox::new();
    let first = with(&sandbox, "", "echo up; sleep 1000").spawn();
    first.wait_stdout("up");
    let cfg = format!("disco.data_dir={}/data", sandbox.dir().display());
    let second = Disco::new().cfg(cfg).args(["sh", "-c", "exit 3"]).run();
    second
        .assert_code(3)
        .assert_stderr_has("is read by another disco");
    assert!(
        sandbox.path("data/logs").exists(),
        "what another has made stays"
    );
}

#[test]
fn what_cannot_be_had_is_said_where_it_was_asked_for() {
    let sandbox = Sandbox::new();
    sandbox.write("data", "no directory");
    let out = with(&sandbox, "", "exit 4").run();
    out.assert_code(4)
        .assert_stderr_has("cannot be had")
        .assert_stderr_has("disco.data_dir");
    let out = Disco::new()
        .cfg("disco.data=fifo|disco.mode=exec")
        .arg("true")
        .run();
    out.assert_code(78).assert_stderr_has("disco.data");
}

#[test]
fn a_contract_may_ask_for_files_or_for_nothing() {
    let sandbox = Sandbox::new();
    sandbox.write("asyncy.yml", "logs: file\nmetrics: off\n");
    let line = "ls -l $L | cut -c1; test -e $M || echo none; echo INFO a > $L; echo INFO b > $L";
    let out = with(&sandbox, "", line).cwd(sandbox.dir()).run();
    out.assert_code(0).assert_stdout("-\nnone\n");
    assert_eq!(
        logged(&out.stderr).last(),
        Some(&"INFO b"),
        "{}",
        out.stderr
    );
    let strict = Disco::new()
        .cfg("disco.mode=exec")
        .cwd(sandbox.dir())
        .arg("true")
        .run();
    strict.assert_code(78).assert_stderr_has("`logs`");
}

#[test]
fn explain_tells_what_has_come_in() {
    let sandbox = Sandbox::new();
    let running = with(&sandbox, "", "echo INFO a > $L; sleep 1000").spawn();
    running.wait_stderr("INFO a");
    let cfg = format!("disco.status={}/s", sandbox.dir().display());
    let told = Disco::new().cfg(cfg).arg("--explain").run();
    let line = told
        .stdout
        .lines()
        .find(|line| line.contains("data/logs"))
        .unwrap_or_else(|| panic!("{}", told.stdout));
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words[1..], ["logs", "1", "7"], "{line}");
}

#[test]
fn a_disco_inside_leaves_logs_to_pid_1() {
    let sandbox = Sandbox::new();
    let line = "$0 sh -c 'echo INFO inner > $L'; echo INFO outer > $L";
    let cfg = format!(
        "disco.data_dir={0}/data|disco.status={0}/s",
        sandbox.dir().display()
    );
    // As a container's variable comes to whoever is executed in it.
    let line = format!("export DISCO_CFG='{cfg}'; {line}");
    let out = with(&sandbox, "", &line).arg(disco_bin()).pid1().run();
    assert_eq!(
        logged(&out.stderr),
        ["INFO inner", "INFO outer"],
        "{}",
        out.stderr
    );
    assert!(!out.stderr.contains("another disco"), "{}", out.stderr);
}
