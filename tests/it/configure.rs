//! From data to a running command: schemas, rules, handlers and their limits, over the environment
//! as the simplest source. Numbers are those of the conformance list, section 3.

use crate::support::{Disco, Output, Sandbox};

/// A handler that keeps what it was given.
const KEEP: &str = "#!/bin/sh\ncat > \"${0%/*}/got\"\n";

fn sandbox(rules: &str, handler: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write(
        "db.schema",
        "name: db\ntype: object\nrequired: [host]\nproperties: {port: {type: integer}}\n",
    );
    sandbox.write("web.schema", "name: web\ntype: object\nrequired: [host]\n");
    sandbox.write("test.rules", rules);
    sandbox.handler("h", handler);
    sandbox
}

fn disco(sandbox: &Sandbox, more: &str) -> Disco {
    let cfg = format!(
        "disco.path={}|env.prefix=APP_{more}",
        sandbox.dir().display()
    );
    Disco::new().cwd(sandbox.dir()).cfg(cfg).arg("-lDEBUG")
}

fn run(rules: &str, handler: &str, more: &str, env: &[(&str, &str)]) -> (Sandbox, Output) {
    let sandbox = sandbox(rules, handler);
    let disco = env
        .iter()
        .fold(disco(&sandbox, more), |disco, (name, value)| {
            disco.env(name, value)
        });
    let output = disco.args(["echo", "doit"]).run();
    (sandbox, output)
}

const ONE: &str = "rules: [{rule: {when: db, do: h}}]";
const DB: &[(&str, &str)] = &[
    ("APP_DB__HOST", "hunter2.example"),
    ("APP_DB__PORT", "3306"),
];

#[test]
fn c29_c43_data_reaches_the_handler_before_the_command_runs() {
    let (sandbox, out) = run(ONE, KEEP, "", DB);
    out.assert_code(0)
        .assert_stdout("doit\n")
        .assert_stderr_has("Learn ['db'] from env")
        .assert_stderr_has("executing all(db) -> h")
        .assert_stderr_has("Exec h -> 0")
        .assert_stderr_has("Container Configured")
        .assert_stderr_has("Exec ['echo', 'doit']")
        .assert_stderr_lacks("hunter2");
    let got: serde_json::Value = serde_json::from_str(&sandbox.read("got")).unwrap();
    assert_eq!(
        got,
        serde_json::json!({"host": "hunter2.example", "port": 3306})
    );
    assert!(!sandbox.read("got").ends_with('\n'));
}

#[test]
fn c27_handlers_get_path_and_nothing_else_unless_told() {
    let (sandbox, out) = run(ONE, "#!/bin/sh\n/usr/bin/env > \"${0%/*}/got\"\n", "", DB);
    out.assert_code(0);
    let got = sandbox.read("got");
    let names: Vec<_> = got
        .lines()
        .filter_map(|line| line.split('=').next())
        .filter(|n| !matches!(*n, "PWD" | "_" | "SHLVL" | "OLDPWD"))
        .collect();
    assert_eq!(names, ["PATH"], "{got}");
    assert!(
        got.contains(&format!("PATH={}:", sandbox.dir().display())),
        "{got}"
    );
    let env = [DB, &[("HOME", "/h"), ("SECRET", "s")]].concat();
    let (sandbox, _) = run(
        ONE,
        "#!/bin/sh\n/usr/bin/env > \"${0%/*}/got\"\n",
        "|disco.handler_env=HOME,NOT_SET",
        &env,
    );
    assert!(
        sandbox.read("got").contains("HOME=/h") && !sandbox.read("got").contains("SECRET"),
        "{}",
        sandbox.read("got")
    );
}

#[test]
fn format_2_keys_the_data_and_sets_the_environment() {
    let rules = "format: 2\nrules: [{when: [db, web], do: [h, -x, 'a b'], env: {A: b}}]";
    let handler = "#!/bin/sh\ncat > \"${0%/*}/got\"; echo \"$# $1 $2 $A\" > \"${0%/*}/args\"\n";
    let env = [DB, &[("APP_WEB__HOST", "w")]].concat();
    let (sandbox, out) = run(rules, handler, "", &env);
    out.assert_code(0);
    assert_eq!(sandbox.read("args"), "2 -x a b b\n");
    let got: serde_json::Value = serde_json::from_str(&sandbox.read("got")).unwrap();
    assert_eq!(got["web"]["host"], "w");
}

#[test]
fn c35_no_rule_is_forgotten_whatever_the_order() {
    for rules in [
        "rules: [{rule: {when: web, do: h}}, {rule: {when: db, do: h}}]",
        "rules: [{rule: {when: db, do: h}}, {rule: {when: web, do: h}}]",
    ] {
        let (_, out) = run(rules, "#!/bin/sh\n", "|disco.deadline=300ms", DB);
        out.assert_code(69)
            .assert_stdout("")
            .assert_stderr_has("rule all(web) -> h needs web: missing from env");
    }
}

#[test]
fn c18_what_is_missing_or_invalid_is_said_without_the_value() {
    let env = [("APP_DB__PORT", "hunter2")];
    let (_, out) = run(ONE, KEEP, "|disco.deadline=300ms", &env);
    out.assert_code(69)
        .assert_stderr_has("rule pending all(db) -> h")
        .assert_stderr_has("Failed to validate db: ")
        .assert_stderr_has("\"host\" is a required property (required)")
        .assert_stderr_has("db.port: value is not of type \"integer\" (type)")
        .assert_stderr_has("Unable to configure container before `disco.deadline`")
        .assert_stderr_lacks("hunter2");
}

#[test]
fn c33_c34_a_handler_that_keeps_failing_ends_the_container_with_70() {
    let handler =
        "#!/bin/sh\necho x >> \"${0%/*}/runs\"; echo 'no luck with hunter2.example' >&2; exit 3\n";
    let (sandbox, out) = run(ONE, handler, "|disco.fail_limit=3|disco.interval=50ms", DB);
    out.assert_code(70)
        .assert_stdout("")
        .assert_stderr_has("handler of all(db) -> h failed (1 of 3): exit status 3")
        .assert_stderr_has("stderr: no luck with ***")
        .assert_stderr_has("failed 3 times with the same data")
        .assert_stderr_has("Unable to configure container, see log or run with -l DEBUG")
        .assert_stderr_lacks("hunter2");
    assert_eq!(sandbox.read("runs").lines().count(), 3);
}

#[test]
fn a_handler_that_recovers_is_forgiven() {
    let handler = "#!/bin/sh\necho x >> \"${0%/*}/runs\"; test $(wc -l < \"${0%/*}/runs\") -ge 3\n";
    let (_, out) = run(ONE, handler, "|disco.interval=20ms", DB);
    out.assert_code(0).assert_stdout("doit\n");
}

#[test]
fn c31_a_handler_that_cannot_run_is_told_and_counted() {
    let sandbox = sandbox("rules: [{rule: {when: db, do: gone}}]", KEEP);
    sandbox.write("plain", "#!/bin/sh\n");
    sandbox.handler("lost", "#!/no/such/interpreter\n");
    for (handler, message) in [
        ("gone", "Handler: gone not on path: "),
        ("plain", "Handler: plain is not executable: run `chmod +x "),
        (
            "lost",
            "`/no/such/interpreter`, the interpreter in its first line, is not in this image",
        ),
        ("h -v", "to pass arguments write `do: [h, …]`"),
    ] {
        sandbox.write(
            "test.rules",
            format!("rules: [{{rule: {{when: db, do: '{handler}'}}}}]"),
        );
        let disco = disco(&sandbox, "|disco.fail_limit=2|disco.interval=20ms")
            .env("APP_DB__HOST", "x")
            .args(["echo", "doit"]);
        disco
            .run()
            .assert_code(70)
            .assert_stdout("")
            .assert_stderr_has(message);
    }
}

#[test]
fn a_handler_without_an_interpreter_line_runs_in_the_shell() {
    let (sandbox, out) = run(ONE, "cat > \"${0%/*}/got\"\n", "", DB);
    out.assert_code(0);
    assert!(sandbox.read("got").contains("hunter2"));
}

#[test]
fn a_handler_that_hangs_is_ended_with_its_group() {
    let handler = "#!/bin/sh\nsleep 1000 &\necho $! > \"${0%/*}/pid\"\nwait\n";
    let (sandbox, out) = run(
        ONE,
        handler,
        "|disco.handler_timeout=200ms|disco.fail_limit=1",
        DB,
    );
    out.assert_code(70)
        .assert_stderr_has("took longer than 200ms");
    let pid = sandbox.read("pid");
    assert!(
        !std::path::Path::new(&format!("/proc/{}/comm", pid.trim())).exists(),
        "sleep {pid} is still there"
    );
}

#[test]
fn a_handler_that_ignores_term_is_killed() {
    let handler = "#!/bin/sh\ntrap '' TERM\nwhile :; do sleep 0.05; done\n";
    let (_, out) = run(
        ONE,
        handler,
        "|disco.handler_timeout=100ms|disco.fail_limit=1|disco.drain=1s",
        DB,
    );
    out.assert_code(70)
        .assert_stderr_has("handler ignores SIGTERM; killing it");
}

#[test]
fn c32_death_by_signal_is_a_failure() {
    let (_, out) = run(ONE, "#!/bin/sh\nkill -SEGV $$\n", "|disco.fail_limit=1", DB);
    out.assert_code(70).assert_stderr_has("ended by SIGSEGV");
}

#[test]
fn c32_a_megabyte_of_output_and_an_unread_stdin_are_fine() {
    let handler =
        "#!/bin/sh\nexec <&-\nhead -c 1000000 /dev/zero | tr '\\0' x\nyes | head -n 3000\n";
    let big = "v".repeat(100_000);
    let (_, out) = run(ONE, handler, "", &[("APP_DB__HOST", &big)]);
    out.assert_code(0)
        .assert_stdout("doit\n")
        .assert_stderr_has("further output is not logged");
    assert!(out.stderr.len() < 100_000, "{}", out.stderr.len());
}

#[test]
fn c31_a_background_process_that_holds_the_pipe_delays_nothing() {
    let (_, out) = run(ONE, "#!/bin/sh\nsleep 3 &\n", "", DB);
    out.assert_code(0);
    assert!(out.elapsed.as_millis() < 2500, "{:?}", out.elapsed);
}

#[test]
fn broken_rules_and_schemas_end_it_with_78_all_at_once() {
    let sandbox = sandbox("rules: [{rule: {when: db}}, {rule: {do: h}}]", KEEP);
    sandbox.write("more.rules", "rules:\n  - rule: {when: nope, do: h\n");
    sandbox.write("other.rules", "format: 9\n");
    disco(&sandbox, "")
        .arg("true")
        .run()
        .assert_code(78)
        .assert_stderr_has("has no `do`")
        .assert_stderr_has("has no `when`")
        .assert_stderr_has("more.rules:")
        .assert_stderr_has("unknown rules format `9`");
}

#[test]
fn c37_a_command_that_is_not_there_is_known_before_anything_runs() {
    let sandbox = sandbox(ONE, KEEP);
    disco(&sandbox, "")
        .env("APP_DB__HOST", "x")
        .arg("no-such-command")
        .run()
        .assert_code(127)
        .assert_stderr_has("is not on PATH");
    disco(&sandbox, "")
        .env("APP_DB__HOST", "x")
        .arg("./db.schema")
        .run()
        .assert_code(126)
        .assert_stderr_has("is not executable");
    assert!(!sandbox.path("got").exists());
}

#[test]
fn any_fires_with_the_valid_one_alone() {
    let (sandbox, out) = run(
        "rules: [{rule: {op: any, when: [web, db], do: h}}]",
        KEEP,
        "",
        DB,
    );
    out.assert_code(0);
    assert!(sandbox.read("got").contains("hunter2"));
}

#[test]
fn a_rule_without_interfaces_needs_no_source() {
    let sandbox = sandbox("rules: [{rule: {when: [], do: h}}]", KEEP);
    Disco::new()
        .cfg(format!("disco.path={}", sandbox.dir().display()))
        .args(["echo", "x"])
        .run()
        .assert_code(0)
        .assert_stdout("x\n");
    assert_eq!(sandbox.read("got"), "{}");
}

#[test]
fn a_deadline_ends_with_its_reason_whatever_the_handler_does() {
    let handler = "#!/bin/sh\ntrap '' TERM\nwhile :; do sleep 0.05; done\n";
    let (_, out) = run(ONE, handler, "|disco.deadline=300ms|disco.drain=200ms", DB);
    out.assert_code(69)
        .assert_stderr_has("the handler of all(db) -> h has been running for")
        .assert_stderr_lacks("does not answer");
    let mut told = out
        .stderr
        .lines()
        .rev()
        .filter(|line| !line.contains(" DEBUG "));
    let last = told.next().unwrap();
    assert!(
        last.ends_with("Unable to configure container before `disco.deadline`"),
        "{last}"
    );
}

#[test]
fn a_handler_that_floods_its_output_is_ended_in_time() {
    let many: Vec<String> = (0..5000).map(|n| format!("value-{n}")).collect();
    let env = [
        ("APP_DB__HOST", many.join("/")),
        ("APP_DB__PORT", "1".to_owned()),
    ];
    let env: Vec<(&str, &str)> = env
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let more = "|disco.handler_timeout=300ms|disco.fail_limit=1";
    let (_, out) = run(ONE, "#!/bin/sh\nexec yes\n", more, &env);
    out.assert_code(70)
        .assert_stderr_has("took longer than 300ms");
}
