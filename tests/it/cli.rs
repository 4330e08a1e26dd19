//! The command line and the settings: what is refused is refused at once, wholly, and in words that
//! lead to the remedy.

use crate::support::{Disco, Sandbox};

#[test]
fn no_command_is_a_usage_error() {
    Disco::new()
        .run()
        .assert_code(64)
        .assert_stdout("")
        .assert_stderr_has("no command given");
    Disco::new().arg("-l").run().assert_code(64);
    Disco::new()
        .args(["--chek", "true"])
        .run()
        .assert_code(64)
        .assert_stderr_has("did you mean check?");
    Disco::new()
        .args(["-l", "LOUD", "true"])
        .run()
        .assert_code(64)
        .assert_stderr_has("unknown log level");
}

#[test]
fn help_and_version_go_to_stdout() {
    let help = Disco::new().arg("--help").run();
    help.assert_code(0).assert_stderr_lacks("disco");
    assert!(help.stdout.contains("Usage: disco"), "{}", help.stdout);
    Disco::new()
        .arg("--version")
        .run()
        .assert_code(0)
        .assert_stdout(&format!("disco {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn c3_words_after_the_command_are_the_commands() {
    Disco::new()
        .args(["echo", "-l", "DEBUG", "--help"])
        .run()
        .assert_code(0)
        .assert_stdout("-l DEBUG --help\n");
    Disco::new()
        .args(["--", "echo", "x"])
        .run()
        .assert_stdout("x\n");
}

#[test]
fn c12_with_nothing_configured_the_command_runs_and_disco_is_silent() {
    let out = Disco::new().args(["echo", "hi"]).run();
    out.assert_code(0).assert_stdout("hi\n");
    assert_eq!(out.stderr, "");
}

#[test]
fn all_problems_with_the_settings_come_at_once() {
    Disco::new()
        .cfg("consol.host=x|disco.fail_limt=3|disco.interval=abc|flat.fil=y|disco.mode=both")
        .arg("true")
        .run()
        .assert_code(78)
        .assert_stderr_has("`consol`: unknown section, not one of disco, flat, consul, etcd, env, otlp; did you mean `consul`?")
        .assert_stderr_has("`disco.fail_limt`: unknown setting; did you mean `fail_limit`?")
        .assert_stderr_has("`disco.interval`: `abc` is no duration")
        .assert_stderr_has("`flat.fil`: unknown setting; did you mean `file`?")
        .assert_stderr_has("`disco.mode`: `both` is none of `auto`, `supervise`, `exec`");
}

#[test]
fn c11_the_settings_file_stands_below_disco_cfg() {
    let sandbox = Sandbox::new();
    let conf = sandbox.write(
        "disco.conf",
        "disco:\n  log_format: json\n  interval: soon\n",
    );
    let conf = conf.to_str().unwrap();
    let out = Disco::new().args(["-c", conf, "true"]).run();
    out.assert_code(78)
        .assert_stderr_has("\"message\":")
        .assert_stderr_has("disco.conf");
    Disco::new()
        .cfg("disco.interval=2")
        .args(["-c", conf, "true"])
        .run()
        .assert_code(0);
}

#[test]
fn a_settings_file_that_is_named_must_be_there_and_be_yaml() {
    let sandbox = Sandbox::new();
    Disco::new()
        .args(["-c", "/nowhere/disco.conf", "true"])
        .run()
        .assert_code(78)
        .assert_stderr_has("/nowhere/disco.conf");
    let conf = sandbox.write("bad.conf", "consul:\n  token: \"hunter2\n  host: [\n");
    Disco::new()
        .args(["-c", conf.to_str().unwrap(), "true"])
        .run()
        .assert_code(78)
        .assert_stderr_has("bad.conf:")
        .assert_stderr_lacks("hunter2");
    let empty = sandbox.write("empty.conf", "");
    Disco::new()
        .args(["-c", empty.to_str().unwrap(), "true"])
        .run()
        .assert_code(0);
}

#[test]
fn logs_are_json_lines_on_request() {
    let out = Disco::new()
        .cfg("disco.log_format=json|env.prefix=X_")
        .args(["-l", "DEBUG", "true"])
        .run();
    out.assert_code(0);
    assert!(out.stderr.lines().count() > 1, "{}", out.stderr);
    for line in out.stderr.lines() {
        let object: serde_json::Value = serde_json::from_str(line).expect(line);
        assert!(
            object["time"].is_string()
                && object["level"].is_string()
                && object["message"].is_string(),
            "{line}"
        );
    }
}

#[test]
fn the_log_level_is_a_name_or_a_number_in_any_case() {
    for level in ["DEBUG", "debug", "10", "Trace"] {
        Disco::new()
            .cfg("env.prefix=X_")
            .args(["-l", level, "true"])
            .run()
            .assert_stderr_has("DEBUG disco: ");
    }
    for level in ["ERROR", "50", "critical"] {
        let out = Disco::new()
            .cfg("env.prefix=X_")
            .args(["-l", level, "true"])
            .run();
        assert_eq!(out.stderr, "", "{level}");
    }
}

#[test]
fn check_finds_everything_and_runs_nothing() {
    let sandbox = Sandbox::new();
    sandbox.write("db.schema", "name: db\ntype: object\n");
    sandbox.write("bad.schema", "name: bad\ntype: nonsense\n");
    sandbox.write("a.rules", "rules:\n - rule: {when: db, do: ran}\n - rule: {when: [bad, nope], do: gone}\n - rule: {when: db}\n");
    sandbox.handler("ran", "#!/bin/sh\ntouch ran-anyway\n");
    let cfg = format!("disco.path={}", sandbox.dir().display());
    let check = |command: &str| {
        Disco::new()
            .cwd(sandbox.dir())
            .cfg(&cfg)
            .args(["--check", command])
            .run()
    };
    check("true")
        .assert_code(78)
        .assert_stdout("")
        .assert_stderr_has("a.rules:4:")
        .assert_stderr_has("has no `do`");
    sandbox.write(
        "a.rules",
        "rules:\n - rule: {when: db, do: ran}\n - rule: {when: [bad, nope], do: gone}\n",
    );
    check("no-such-command")
        .assert_code(78)
        .assert_stderr_has("bad.schema: is no valid JSON Schema at `type`")
        .assert_stderr_has("no schema is named `nope`")
        .assert_stderr_has("Handler: gone not on path: ")
        .assert_stderr_has("command `no-such-command` is not on PATH");
    sandbox.write("a.rules", "rules:\n - rule: {when: db, do: ran}\n");
    check("true")
        .assert_code(0)
        .assert_stderr_has("no problems with 1 rule, 1 schema and 0 sources");
    assert!(!sandbox.path("ran-anyway").exists());
}

#[test]
fn an_image_that_only_wants_an_init_passes_its_check() {
    Disco::new().args(["--check", "true"]).run().assert_code(0);
    let wants = Disco::new().cfg("env.prefix=X_").args(["--check", "true"]);
    wants.run().assert_code(78);
}
