//! Files that rules render: from data to what lies in the container, and what is left when something
//! fails. Below a directory of the test where that shows the same.

mod cut;
mod trust;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use nix::sys::signal::{Signal, kill};

use crate::support::{
    Container, DEADLINE, Disco, Image, Output, Running, Sandbox, dist_bin, is_root, proc, wait_for,
};

/// Rules over the interface `db`, and its data; `entries` are those of `render`, `more` further keys.
fn sandbox(entries: &str, more: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("layer/db.schema", "name: db\ntype: object\n");
    sandbox.write(
        "layer/db.rules",
        format!("format: 2\nrules:\n - when: db\n{more}   render:\n{entries}"),
    );
    sandbox.write(
        "data.yaml",
        "db: {host: h1, password: hunter2hunter2, port: 3306}\n",
    );
    fs::create_dir(sandbox.path("root")).unwrap();
    sandbox
}

fn settings(sandbox: &Sandbox) -> String {
    let dir = sandbox.dir().display();
    format!("disco.path={dir}/layer|flat.file={dir}/data.yaml|disco.interval=50ms")
}

fn disco(sandbox: &Sandbox) -> Disco {
    let root = sandbox.path("root");
    let cfg = format!("{}|disco.destdir={}", settings(sandbox), root.display());
    Disco::new().cwd(sandbox.dir()).cfg(cfg).arg("-ldebug")
}

fn run(entries: &str, more: &str) -> (Sandbox, Output) {
    let sandbox = sandbox(entries, more);
    let out = disco(&sandbox).args(["echo", "doit"]).run();
    (sandbox, out)
}

/// The names in a directory, sorted.
fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// A command that says when it gets HUP, and that it runs.
const COMMAND: [&str; 3] = [
    "sh",
    "-c",
    "trap 'echo hup' HUP; trap 'exit 0' TERM; echo up; while :; do sleep 0.01; done",
];

fn end(running: Running) -> Output {
    running.signal(Signal::SIGTERM);
    running.wait()
}

#[test]
fn files_are_there_before_the_command_runs() {
    let sandbox = sandbox(
        "    - template: my.cnf.j2\n      to: /etc/mysql/app.cnf\n      mode: 0640\n    - content: |\n        {{ db.password }}{{ env('A') }}{{ file('/proc/self/comm')|trim }}\n      to: /run/secret\n      secret: true\n",
        "   env: {A: '-a-'}\n",
    );
    sandbox.write(
        "layer/my.cnf.j2",
        "[client]\n{% include 'parts/host.j2' %}\n",
    );
    // Jinja takes off the newline after a block, and so after the include.
    sandbox.write("layer/parts/host.j2", "host={{ db.host }}\n");
    let cat = "cat etc/mysql/app.cnf run/secret";
    let out = disco(&sandbox)
        .args(["sh", "-c", &format!("cd root && {cat}")])
        .run();
    out.assert_code(0)
        .assert_stdout("[client]\nhost=h1\nhunter2hunter2-a-disco\n")
        .assert_stderr_has("executing all(db) -> render /etc/mysql/app.cnf, /run/secret")
        .assert_stderr_has("rendered ")
        .assert_stderr_has("Container Configured")
        .assert_stderr_lacks("hunter2");
    let root = sandbox.path("root");
    assert_eq!(mode(&root.join("etc/mysql/app.cnf")), 0o640);
    assert_eq!(mode(&root.join("run/secret")), 0o600);
    assert_eq!(names(&root.join("run")), ["secret"]);
    assert_eq!(names(&root.join("etc/mysql")), ["app.cnf"]);
}

#[test]
fn a_change_of_the_data_renders_again_and_signals() {
    let sandbox = sandbox(
        "    {content: \"host={{ db.host }}\\n\", to: /app.conf}\n",
        "   once: false\n   then: {signal: HUP}\n",
    );
    let running = disco(&sandbox).args(COMMAND).spawn();
    running.wait_stdout("up");
    let path = sandbox.path("root/app.conf");
    let before = fs::metadata(&path).unwrap();
    // What the file does not depend on changes nothing, and signals nobody.
    sandbox.write("data.yaml", "db: {host: h1, port: 1}\n");
    running.wait_stderr("app.conf is as it should be");
    let after = fs::metadata(&path).unwrap();
    let about = |meta: &fs::Metadata| (meta.ino(), meta.mtime_nsec(), meta.ctime_nsec());
    assert_eq!(about(&before), about(&after));
    sandbox.write("data.yaml", "db: {host: h2, port: 1}\n");
    running.wait_stdout("hup");
    assert_eq!(sandbox.read("root/app.conf"), "host=h2\n");
    let out = end(running);
    assert_eq!(out.stdout.matches("hup").count(), 1, "{}", out.stdout);
}

#[test]
fn what_is_there_and_right_is_not_touched() {
    let sandbox = sandbox("    {content: \"same\\n\", to: /a}\n", "");
    let path = sandbox.write("root/a", "same\n");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o604)).unwrap();
    let before = fs::metadata(&path).unwrap();
    disco(&sandbox).arg("true").run().assert_code(0);
    let after = fs::metadata(&path).unwrap();
    assert_eq!(
        (before.ino(), before.mtime_nsec(), before.mode()),
        (after.ino(), after.mtime_nsec(), after.mode())
    );
}

#[test]
fn mode_and_backup_are_as_the_rule_says_or_stay() {
    let sandbox = sandbox(
        "    - {content: new, to: /kept, backup: true}\n    - {content: new, to: /set, mode: \"0600\"}\n    - {content: old, to: /only-mode, mode: 0750}\n    - {content: new, to: /secret, secret: true}\n",
        "",
    );
    for name in ["kept", "set", "only-mode", "secret"] {
        let path = sandbox.write(&format!("root/{name}"), "old");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o751)).unwrap();
    }
    disco(&sandbox).arg("true").run().assert_code(0);
    let root = sandbox.path("root");
    assert_eq!(sandbox.read("root/kept"), "new");
    assert_eq!(sandbox.read("root/kept.bak"), "old");
    assert_eq!(mode(&root.join("kept")), 0o751);
    assert_eq!(mode(&root.join("set")), 0o600);
    assert_eq!(mode(&root.join("only-mode")), 0o750);
    assert_eq!(mode(&root.join("secret")), 0o600);
    assert_eq!(
        names(&root),
        ["kept", "kept.bak", "only-mode", "secret", "set"]
    );
}

#[test]
fn a_check_that_fails_leaves_what_is_there() {
    let sandbox = sandbox(
        "    - {content: \"new {{ db.password }}\", to: /a.conf, check: [judge, \"--file={}\"]}\n",
        "",
    );
    sandbox.handler(
        "layer/judge",
        "#!/bin/sh\nread line\necho \"$1 stdin=[$line] $DESTDIR\" >> \"${0%/*}/judged\"\ncat \"${1#--file=}\" >&2\npwd >> \"${0%/*}/judged\"\nexit 3\n",
    );
    sandbox.write("root/a.conf", "old");
    let out = disco(&sandbox).arg("true").run();
    out.assert_code(70)
        .assert_stderr_has(
            "`judge`, the check of /a.conf, failed with exit status 3; nothing was replaced",
        )
        .assert_stderr_has("stderr: new ***")
        .assert_stderr_lacks("hunter2");
    assert_eq!(sandbox.read("root/a.conf"), "old");
    assert_eq!(names(&sandbox.path("root")), ["a.conf"]);
    let judged = sandbox.read("layer/judged");
    let lines: Vec<&str> = judged.lines().collect();
    let root = sandbox.path("root").display().to_string();
    assert_eq!(lines.len(), 10, "five times: {judged}");
    assert!(
        lines[0].starts_with(&format!("--file={root}/.disco-")),
        "{judged}"
    );
    assert!(
        lines[0].ends_with(&format!("-a.conf stdin=[] {root}")),
        "{judged}"
    );
    assert_eq!(lines[1], root);
}

#[test]
fn a_check_that_hangs_is_ended_by_the_time_limit() {
    let (sandbox, out) = run(
        "    - {content: x, to: /a, check: [sh, -c, 'sleep 1000', '{}']}\n",
        "   timeout: 100ms\n",
    );
    out.assert_code(70)
        .assert_stderr_has("the check of /a, took longer than 100ms");
    assert_eq!(names(&sandbox.path("root")), [""; 0]);
}

#[test]
fn a_good_check_sees_content_mode_and_name() {
    let (sandbox, out) = run(
        "    - {content: \"{{ db.host }}\", to: /d/a.conf, mode: \"0640\", check: [sh, -c, 'test \"$(cat $0)\" = h1 && test $(stat -c %a $0) = 640 && case $0 in *.conf) ;; *) false;; esac', '{}']}\n",
        "",
    );
    out.assert_code(0);
    assert_eq!(sandbox.read("root/d/a.conf"), "h1");
}

#[test]
fn what_is_undefined_is_told_by_file_line_and_expression() {
    let sandbox = sandbox("    - {template: t.j2, to: /a}\n", "");
    sandbox.write("layer/t.j2", "{{ db.password }}\n\n  {{ db.hots }}\n");
    let out = disco(&sandbox).arg("true").run();
    let place = sandbox.path("layer/t.j2").display().to_string();
    out.assert_code(70)
        .assert_stderr_has(&format!("{place}:3:6: `db.hots` is undefined"))
        .assert_stderr_has("handler of all(db) -> render /a failed (1 of 5)")
        .assert_stderr_lacks("hunter2");
    assert!(!sandbox.path("root/a").exists());
}

#[test]
fn what_is_wrong_with_templates_ends_the_start_and_the_check_of_a_build() {
    let sandbox = sandbox(
        "    - {template: none.j2, to: /a, owner: nobody-at-all}\n    - {template: bad.j2, to: /b, check: [no-such-checker, '{}']}\n    - {content: '{{ dbb.host }}', to: /c}\n",
        "",
    );
    sandbox.write("layer/bad.j2", "a\n{% include 'lost.j2' %}\n{% if %}\n");
    let bad = sandbox.path("layer/bad.j2").display().to_string();
    let rules = sandbox.path("layer/db.rules").display().to_string();
    let out = disco(&sandbox).arg("true").run();
    out.assert_code(78)
        .assert_stderr_has(&format!("{rules}:5:"))
        .assert_stderr_has("none.j2 cannot be read: No such file")
        .assert_stderr_has(&format!("{bad}:2:1: the included template `lost.j2`"))
        .assert_stderr_has(&format!("{bad}:3:"));
    let out = disco(&sandbox).args(["--check", "true"]).run();
    out.assert_code(78)
        .assert_stderr_has("none.j2 cannot be read")
        .assert_stderr_has(&format!("{rules}:6:"))
        .assert_stderr_has("`rules[0].render[1].check`: Handler: no-such-checker not on path")
        .assert_stderr_has("there is no user `nobody-at-all`")
        .assert_stderr_has("uses `dbb`, which is none of the interfaces in `when`, and so never defined; did you mean `db`?");
    assert_eq!(names(&sandbox.path("root")), [""; 0]);
}

#[test]
fn a_file_of_two_rules_is_doubted() {
    let sandbox = sandbox("    {content: x, to: /a}\n", "");
    sandbox.write(
        "layer/e.rules",
        "format: 2\nrules: [{when: [], render: {content: y, to: /a}}]",
    );
    let out = disco(&sandbox).args(["--check", "true"]).run();
    out.assert_code(78)
        .assert_stderr_has("`/a` is rendered by all(db) -> render /a in ");
}

#[test]
fn a_handler_starts_in_the_destdir_and_knows_it() {
    let sandbox = sandbox("    {content: x, to: /a}\n", "");
    sandbox.write(
        "layer/h.rules",
        "format: 2\nrules: [{when: db, do: [./layer/h]}]",
    );
    sandbox.handler(
        "layer/h",
        "#!/bin/sh\ncat > got\necho \"$DESTDIR $PWD\" > where\n",
    );
    disco(&sandbox).arg("true").run().assert_code(0);
    let root = sandbox.path("root").display().to_string();
    assert_eq!(sandbox.read("root/where"), format!("{root} {root}\n"));
    assert!(sandbox.read("root/got").contains("hunter2"));
}

#[test]
fn a_file_that_is_a_mount_is_written_in_place() {
    if !is_root("mounts") {
        return;
    }
    let dir = Sandbox::new();
    let to = dir.write("app.conf", "old, and much longer than what is new");
    let source = dir.write("source", "old, and much longer than what is new");
    let sandbox = sandbox(
        &format!(
            "    {{content: \"host={{{{ db.host }}}}\", to: {}, backup: true}}\n",
            to.display()
        ),
        "",
    );
    let mount = format!("mount --bind {} {}", source.display(), to.display());
    let out = Disco::new()
        .cfg(settings(&sandbox))
        .pid1()
        .prepared(&mount)
        .args(["-ldebug", "cat", to.to_str().unwrap()])
        .run();
    out.assert_code(0)
        .assert_stdout("host=h1")
        .assert_stderr_has("is a mount, and written to in place");
    assert_eq!(dir.read("source"), "host=h1");
    assert_eq!(
        dir.read("app.conf.bak"),
        "old, and much longer than what is new"
    );
    assert_eq!(names(dir.dir()), ["app.conf", "app.conf.bak", "source"]);
}

#[test]
fn names_may_be_as_long_as_they_can_be() {
    let name = format!("{}.conf", "n".repeat(246));
    let check = "[sh, -c, 'case $0 in *.conf) ;; *) exit 1;; esac', '{}']";
    let (sandbox, out) = run(
        &format!(
            "    - {{content: x, to: /{name}, backup: true, check: {check}}}\n    - {{content: x, to: /b}}\n"
        ),
        "",
    );
    out.assert_code(0);
    assert_eq!(names(&sandbox.path("root")), ["b", name.as_str()]);
}

#[test]
fn explain_says_what_a_rule_renders_and_why_it_fails() {
    let sandbox = sandbox("    - {content: '{{ db.nope }}', to: /a}\n", "");
    let socket = sandbox.path("status.sock");
    let cfg = format!(
        "{}|disco.fail_limit=0|disco.interval=1s|disco.status={}",
        settings(&sandbox),
        socket.display()
    );
    let running = Disco::new().cfg(&cfg).arg("true").spawn();
    running.wait_stderr("handler of all(db) -> render /a failed");
    let out = Disco::new().cfg(&cfg).args(["--explain"]).run();
    out.assert_stdout_has("all(db) -> render /a")
        .assert_stdout_has("`db.nope` is undefined");
    drop(running);
    let out = Disco::new()
        .cfg(settings(&sandbox))
        .args(["--explain", "data.yaml"])
        .cwd(sandbox.dir())
        .run();
    out.assert_code(0).assert_stdout_has("all(db) -> render /a");
}

#[test]
#[ignore = "needs docker"]
fn an_image_without_a_shell_renders_and_writes_into_a_mounted_file() {
    let rules = r#"
format: 2
rules:
  - when: db
    render:
      - {template: a.j2, to: /etc/app/a.conf, owner: "1:2", mode: "0640", check: [/disco, --version, "{}"]}
      - {content: "mounted for {{ db.host }}", to: /mounted.conf}
"#;
    let layer = "/usr/share/layercake/layers/db";
    let image = Image::scratch()
        .program("/disco", &dist_bin())
        .program("/busybox", Path::new("/bin/busybox"))
        .program(&format!("{layer}/install"), Path::new("/bin/true"))
        .file(
            &format!("{layer}/db.schema"),
            "name: db\ntype: object\n",
            0o644,
        )
        .file(&format!("{layer}/db.rules"), rules, 0o644)
        .file(&format!("{layer}/a.j2"), "host={{ db.host }}\n", 0o644)
        .change("ENV DISCO_CFG=env.prefix=APP_")
        .change(r#"ENTRYPOINT ["/disco"]"#)
        .build();
    let container = |words: &[&str]| {
        let container = Container::of(&image).env("APP_DB__HOST", "h1");
        container.args(words)
    };
    let sandbox = Sandbox::new();
    let mounted = sandbox.write("mounted", "old, and longer than what is new");
    let out = container(&["/busybox", "cat", "/etc/app/a.conf", "/mounted.conf"])
        .option(format!("--volume={}:/mounted.conf", mounted.display()))
        .run();
    out.assert_code(0)
        .assert_stdout("host=h1\nmounted for h1")
        .assert_stderr_has("rendered /etc/app/a.conf");
    assert_eq!(sandbox.read("mounted"), "mounted for h1");
    let stat = ["/busybox", "stat", "-c", "%u:%g %a", "/etc/app/a.conf"];
    container(&stat).run().assert_stdout("1:2 640\n");
    container(&["--check", "/busybox"]).run().assert_code(0);
    // A program that needs a loader which is not there.
    container(&["--install-layers"])
        .run()
        .assert_code(70)
        .assert_stderr_has("/usr/share/layercake/layers/db/install: cannot be started");
    let list = ["/busybox", "ls", "-a", "/etc/app"];
    container(&list).run().assert_stdout(".\n..\na.conf\n");
}
