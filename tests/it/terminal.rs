//! Disco on a terminal: the command has the foreground, keys reach it once, colour is for people.
//! Numbers are those of the conformance list of PID 1.

use crate::support::{DEADLINE, Sandbox, Terminal, disco_bin, wait_for};

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
        terminal.wait_screen("INT\r\n");
        terminal.type_in("one\n");
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
    let sandbox = Sandbox::new();
    sandbox.write("db.schema", "name: db\ntype: object\n");
    let rules = "format: 2\nrules: [{when: db, do: 'true', once: false, then: restart}]";
    sandbox.write("test.rules", rules);
    sandbox.write("data.yaml", "db: {n: 1}\n");
    let cfg = format!(
        "DISCO_CFG=disco.path={0}|flat.file={0}/data.yaml",
        sandbox.dir().display()
    );
    let script = "echo started $$; while read x; do echo got $x; done";
    let mut terminal = disco(&[&cfg], &["sh", "-c", script]);
    terminal.wait_screen("\nstarted ");
    terminal.type_in("one\n");
    terminal.wait_screen("got one");
    let started = |screen: &str| screen.matches("\nstarted ").count() == 2;
    sandbox.write("data.yaml", "db: {n: 2}\n");
    wait_for("the restart", DEADLINE, || {
        started(&terminal.screen()).then_some(())
    });
    terminal.type_in("two\n");
    terminal.wait_screen("got two");
    terminal.type_in("\u{3}");
    assert_eq!(terminal.wait().code(), Some(130), "{}", terminal.screen());
}
