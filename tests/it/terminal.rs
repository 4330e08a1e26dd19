//! Disco on a terminal: the command has the foreground, keys reach it once, colour is for people.
//! Numbers are those of the conformance list of PID 1.

use crate::restart::Restarting;
use crate::support::{DEADLINE, NOTHING_OF_THE_HOST, Sandbox, Terminal, disco_bin, wait_for};

fn disco(environment: &[&str], words: &[&str]) -> Terminal {
    let program = disco_bin().to_str().unwrap();
    let env = ["/usr/bin/env", "-u", "NO_COLOR", "TERM=xterm"];
    Terminal::run([&env, environment, &[program], words].concat())
}

#[test]
fn colour_is_for_terminals_and_only_where_it_is_wanted() {
    for (environment, is_coloured) in [
        (&["DISCO_CFG=env.prefix=X_"][..], true),
        (&["DISCO_CFG=env.prefix=X_", "NO_COLOR=1"], false),
        (&["DISCO_CFG=env.prefix=X_", "TERM=dumb"], false),
        (&["DISCO_CFG=env.prefix=X_|disco.log_format=json"], false),
    ] {
        let mut terminal = disco(environment, &["-ldebug", "true"]);
        terminal.wait_screen("Container Configured");
        assert!(terminal.wait().success());
        let screen = terminal.screen();
        assert_eq!(
            screen.contains("\u{1b}["),
            is_coloured,
            "{environment:?}: {screen}"
        );
    }
}

#[test]
fn p26_keys_reach_the_command_exactly_once() {
    let script = "trap 'echo INT' INT; echo ready; read line; read line; echo end";
    for mode in ["supervise", "exec"] {
        let mode = format!("DISCO_CFG=disco.mode={mode}");
        let mut terminal = disco(&[&mode], &["bash", "-c", script]);
        terminal.wait_screen("ready");
        terminal.type_in("\u{3}");
        // Which empties the queue. A bash that is hit right before it reads runs the trap after that.
        terminal.wait_screen("^C");
        terminal.type_in("one\n");
        terminal.wait_screen("INT\r\n");
        terminal.type_in("two\n");
        terminal.wait_screen("end");
        assert!(terminal.wait().success());
        assert_eq!(
            terminal.screen().matches("INT\r\n").count(),
            1,
            "{}",
            terminal.screen()
        );
    }
}

#[test]
fn p26_an_interactive_shell_has_job_control() {
    let mut terminal = disco(
        &["DISCO_CFG=disco.mode=supervise", "PS1=$ "],
        &["bash", "--norc", "-i"],
    );
    terminal.wait_screen("$ ");
    // ^Z empties the input queue: it must not be typed ahead.
    terminal.type_in("sh -c \"echo 'star''ted'; exec sleep 1000\"\n");
    terminal.wait_screen("started\r\n");
    terminal.type_in("\u{1a}");
    terminal.wait_screen("Stopped");
    terminal.type_in("kill -9 %1; exec sh -c \"exit 7\"\n");
    assert_eq!(terminal.wait().code(), Some(7));
    assert!(
        !terminal.screen().contains("no job control"),
        "{}",
        terminal.screen()
    );
}

#[test]
fn an_interrupt_while_waiting_ends_disco_and_its_handler() {
    let sandbox = Sandbox::new();
    sandbox.handler("h", "#!/bin/sh\nd=${0%/*}\ntrap 'echo clean > $d/done; exit' TERM\necho up > $d/up\nwhile :; do sleep 0.01; done\n");
    sandbox.write("test.rules", "rules: [{rule: {when: [], do: h}}]");
    let cfg = format!("DISCO_CFG=disco.path={}", sandbox.dir().display());
    let mut terminal = disco(&[&cfg], &["true"]);
    sandbox.wait_file("up");
    terminal.type_in("\u{3}");
    assert_eq!(terminal.wait().code(), Some(130), "{}", terminal.screen());
    assert_eq!(sandbox.read("done"), "clean\n");
}

#[test]
fn a_restarted_command_has_the_terminal_again() {
    let setup = Restarting::new();
    let cfg = format!("DISCO_CFG={}", setup.cfg);
    let script = "echo started $$; while read x; do echo got $x; done";
    let mut terminal = disco(&[&cfg], &["sh", "-c", script]);
    terminal.wait_screen("\nstarted ");
    terminal.type_in("one\n");
    terminal.wait_screen("got one");
    let started = |screen: &str| screen.matches("\nstarted ").count() == 2;
    setup.change();
    wait_for("the restart", DEADLINE, || {
        started(&terminal.screen()).then_some(())
    });
    terminal.type_in("two\n");
    terminal.wait_screen("got two");
    terminal.type_in("\u{3}");
    assert_eq!(terminal.wait().code(), Some(130), "{}", terminal.screen());
}

/// An interactive shell, outside of disco.
fn shell() -> Terminal {
    let words = [
        "/usr/bin/env",
        "PS1=$ ",
        "DISCO_CFG=disco.mode=supervise",
        "bash",
        "--norc",
        "-i",
    ];
    let terminal = Terminal::run(words);
    terminal.wait_screen("$ ");
    terminal
}

#[test]
fn p30_disco_is_a_job_of_the_shell_that_started_it() {
    let mut terminal = shell();
    let script = "echo up; while read x; do echo got $x; done; echo over";
    terminal.type_in(&format!("{} sh -c '{script}'\n", disco_bin().display()));
    terminal.wait_screen("up\r\n");
    for round in ["one", "two"] {
        terminal.type_in("\u{1a}");
        let stopped = |screen: &str| screen.matches("Stopped").count();
        let expected = if round == "one" { 1 } else { 2 };
        wait_for("the shell to take over", DEADLINE, || {
            (stopped(&terminal.screen()) == expected).then_some(())
        });
        terminal.type_in(&format!("echo back {round} '>'; fg\n"));
        terminal.wait_screen(&format!("back {round} >"));
        terminal.type_in(&format!("{round}\n"));
        terminal.wait_screen(&format!("got {round}\r\n"));
    }
    terminal.type_in("\u{4}");
    terminal.wait_screen("over\r\n");
    terminal.type_in("exit 9\n");
    assert_eq!(terminal.wait().code(), Some(9), "{}", terminal.screen());
}

#[test]
fn p28_in_the_background_it_leaves_the_terminal_alone() {
    let mut terminal = shell();
    terminal.type_in(&format!(
        "{} sleep 1000 & echo star'ted'\n",
        disco_bin().display()
    ));
    terminal.wait_screen("started\r\n");
    // A shell that has lost the terminal would be stopped when it reads this.
    terminal.type_in("read x; echo \"<$x>\"\n");
    terminal.type_in("mine\n");
    terminal.wait_screen("<mine>\r\n");
    terminal.type_in("kill %1; wait; exit 4\n");
    assert_eq!(terminal.wait().code(), Some(4), "{}", terminal.screen());
}

#[test]
fn p26_the_terminal_goes_back_to_a_script_that_goes_on() {
    let script = format!(
        "{} sh -c 'read x; echo first $x'; read y; echo then $y",
        disco_bin().display()
    );
    let env = ["/usr/bin/env", "DISCO_CFG=disco.mode=supervise"];
    let mut terminal = Terminal::run([&env[..], &["sh", "-c", &script]].concat());
    terminal.type_in("one\n");
    terminal.wait_screen("first one\r\n");
    terminal.type_in("two\n");
    terminal.wait_screen("then two\r\n");
    assert!(terminal.wait().success());
}

#[test]
fn p26_a_command_whose_input_is_a_pipe_has_the_terminal_all_the_same() {
    let script = format!(
        "echo data | {} sh -c 'read x; echo ask; read y < /dev/tty; echo $x $y'",
        disco_bin().display()
    );
    let env = ["/usr/bin/env", "DISCO_CFG=disco.mode=supervise"];
    let mut terminal = Terminal::run([&env[..], &["sh", "-c", &script]].concat());
    terminal.wait_screen("ask\r\n");
    terminal.type_in("typed\n");
    terminal.wait_screen("data typed\r\n");
    assert!(terminal.wait().success());
}

#[test]
fn p31_the_command_hears_of_a_hangup() {
    let sandbox = Sandbox::new();
    let script = format!(
        "trap 'echo HUP > {}/heard; exit' HUP; echo ready; while :; do sleep 0.02; done",
        sandbox.dir().display()
    );
    let terminal = disco(
        &["DISCO_CFG=disco.mode=supervise"],
        &["bash", "-c", &script],
    );
    terminal.wait_screen("ready");
    let mut child = terminal.hang_up();
    assert_eq!(sandbox.wait_file("heard"), "HUP\n");
    wait_for("the end", DEADLINE, || child.try_wait().unwrap());
}

#[test]
fn p30_as_pid_1_a_stop_by_key_stops_nothing_for_good() {
    let unshare = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"];
    let unshare = if nix::unistd::geteuid().is_root() {
        unshare.to_vec()
    } else {
        [&unshare[..], &["--user", "--map-root-user"]].concat()
    };
    let script = "echo ready; while read x; do echo got $x; done";
    let disco = disco_bin().to_str().unwrap();
    // In the same process group as unshare, whose terminal it is to give.
    let cfg = format!("DISCO_CFG={NOTHING_OF_THE_HOST}");
    let env = ["/usr/bin/env", &cfg];
    let mut terminal = Terminal::run([&env, &unshare[..], &[disco, "sh", "-c", script]].concat());
    terminal.wait_screen("ready");
    terminal.type_in("\u{1a}");
    terminal.type_in("line\n");
    terminal.wait_screen("got line");
    terminal.type_in("\u{4}");
    assert!(terminal.wait().success());
}

#[test]
fn p30_a_background_job_that_wants_the_terminal_comes_to_the_front() {
    let mut terminal = shell();
    let script = "sh -c 'while read x; do echo got $x; done; echo over'";
    terminal.type_in(&format!("{} {script} &\n", disco_bin().display()));
    // Stopped for reading, with disco, as the shell must know.
    wait_for("the stop", DEADLINE, || {
        terminal.type_in("jobs\n");
        std::thread::sleep(std::time::Duration::from_millis(50));
        terminal.screen().contains("Stopped").then_some(())
    });
    terminal.type_in("fg\n");
    terminal.type_in("one\n");
    terminal.wait_screen("got one\r\n");
    terminal.type_in("\u{4}");
    terminal.wait_screen("over\r\n");
    terminal.type_in("exit 3\n");
    assert_eq!(terminal.wait().code(), Some(3), "{}", terminal.screen());
}

#[test]
fn p30_without_a_shell_outside_a_stop_by_key_stops_nothing_for_good() {
    let script = "echo ready; while read x; do echo got $x; done";
    let mut terminal = disco(&["DISCO_CFG=disco.mode=supervise"], &["sh", "-c", script]);
    terminal.wait_screen("ready");
    terminal.type_in("\u{1a}");
    terminal.wait_screen("^Z");
    terminal.type_in("line\n");
    terminal.wait_screen("got line");
    terminal.type_in("\u{4}");
    assert!(terminal.wait().success(), "{}", terminal.screen());
}

#[test]
fn p28_a_job_restarted_in_the_background_leaves_the_terminal_alone() {
    let sandbox = Sandbox::new();
    let mut terminal = shell();
    let go = sandbox.path("go");
    let script = format!(
        "echo x >> {0}s; until test -e {0}; do sleep 0.02; done; rm -f {0}; exit 1",
        go.display()
    );
    let cfg = "DISCO_CFG='disco.restart=always|disco.restart_delay=10ms|disco.log_level=error'";
    terminal.type_in(&format!(
        // Not dash: stopped between vfork and exec its child holds it, and it never stops itself.
        "{cfg} {} bash -c '{script}'\n",
        disco_bin().display()
    ));
    sandbox.wait_file("gos");
    terminal.type_in("\u{1a}");
    terminal.wait_screen("Stopped");
    terminal.type_in("bg\n");
    sandbox.write("go", "");
    wait_for("the restart", DEADLINE, || {
        (sandbox.read("gos").lines().count() == 2).then_some(())
    });
    terminal.type_in("read x; echo \"<$x>\"\n");
    terminal.type_in("mine\n");
    terminal.wait_screen("<mine>\r\n");
    terminal.type_in("kill %1; wait; exit 4\n");
    assert_eq!(terminal.wait().code(), Some(4), "{}", terminal.screen());
}

#[test]
fn a_terminal_that_nobody_reads_does_not_hold_init_up() {
    let sandbox = Sandbox::new();
    let script = format!(
        "trap 'echo > {0}/term; exit' TERM; trap : USR1; echo > {0}/up; while :; do sleep 0.02; done",
        sandbox.dir().display()
    );
    let terminal = disco(
        &["DISCO_CFG=disco.mode=supervise"],
        &["-ldebug", "bash", "-c", &script],
    );
    sandbox.wait_file("up");
    let (unread, child) = terminal.stop_reading();
    let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
    // Far more lines than a terminal holds.
    for _ in 0..2000 {
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGUSR1).unwrap();
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGWINCH).unwrap();
        std::thread::yield_now();
    }
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    sandbox.wait_file("term");
    drop(unread);
    let mut child = child;
    let _ = child.kill();
    child.wait().unwrap();
}

#[test]
fn p27_giving_the_terminal_up_sends_the_command_nothing() {
    let script =
        "for s in HUP CONT; do trap \"echo got $s\" $s; done; echo ready; read x; echo read $x";
    let mut terminal = disco(&["DISCO_CFG=disco.session=always"], &["bash", "-c", script]);
    terminal.wait_screen("ready");
    terminal.type_in("line\n");
    terminal.wait_screen("read line\r\n");
    assert!(terminal.wait().success());
    assert!(!terminal.screen().contains("got "), "{}", terminal.screen());
}

#[test]
fn p29_a_terminal_that_is_not_ours_is_none() {
    // In a session without one, on streams that are somebody else's.
    let env = [
        "/usr/bin/env",
        "DISCO_CFG=disco.mode=supervise",
        "setsid",
        "--wait",
    ];
    let command = [
        disco_bin().to_str().unwrap(),
        "sh",
        "-c",
        "read x; echo got $x; exit 5",
    ];
    let mut terminal = Terminal::run([&env[..], &command].concat());
    terminal.type_in("line\n");
    terminal.wait_screen("got line\r\n");
    assert_eq!(terminal.wait().code(), Some(5), "{}", terminal.screen());
}
