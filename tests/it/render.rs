//! Files that rules render: from data to what lies in the container, and what is left when something
//! fails. Below a directory of the test where that shows the same.

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
fn owners_are_names_or_numbers_and_stay() {
    if !is_root("owners of files") {
        return;
    }
    let dir = Sandbox::new();
    let path = |name: &str| dir.path(name).display().to_string();
    let entries = format!(
        "    - {{content: a, to: {}, owner: \"4242:4343\", mode: 4750}}\n    - {{content: b, to: {}}}\n    - {{content: c, to: {}, owner: daemon}}\n",
        path("numbers"),
        path("stays"),
        path("name"),
    );
    let sandbox = sandbox(&entries, "");
    fs::write(dir.path("stays"), "old").unwrap();
    std::os::unix::fs::chown(dir.path("stays"), Some(4444), Some(4545)).unwrap();
    let disco = Disco::new().cfg(settings(&sandbox)).arg("-ldebug");
    disco.clone().arg("true").run().assert_code(0);
    let owner = |name: &str| {
        let meta = fs::metadata(dir.path(name)).unwrap();
        (meta.uid(), meta.gid())
    };
    assert_eq!(owner("numbers"), (4242, 4343));
    assert_eq!(mode(&dir.path("numbers")), 0o4750);
    assert_eq!(owner("stays"), (4444, 4545));
    assert_eq!(dir.read("stays"), "b");
    assert_eq!(owner("name").0, 1);
    // A second start finds everything right.
    let out = disco.arg("true").run();
    out.assert_code(0).assert_stderr_lacks("rendered ");
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
fn what_templates_make_of_data_is_masked_in_what_a_check_prints() {
    let content = "{{ parseJSON(db.creds).pw }} {{ db.password|base64 }} {{ parseJSON(file('s.json')).t }} {{ 'user=' ~ quote(db.creds)|sha256 }} {{ (db.list|split(','))[1] }} {{ db.password[8:] }} {{ (db.creds|parseJSON)|toYAML }}";
    let sandbox = sandbox(
        &format!(
            "    {{content: \"{content}\", to: /a, check: [sh, -c, \"cat {{}} >&2; echo; exit 1\"]}}\n"
        ),
        "",
    );
    sandbox.write(
        "data.yaml",
        "db: {password: hunter2hunter2, creds: '{\"pw\":\"innersecret99\"}', list: 'partone,parttwo'}\n",
    );
    sandbox.write("layer/s.json", "{\"t\": \"filesecret\"}");
    let out = disco(&sandbox).arg("true").run();
    out.assert_code(70)
        .assert_stderr_has("stderr: *** *** *** *** *** *** ***");
    for part in ["inner", "aHVu", "filesec", "user=", "parttwo", "nter2"] {
        out.assert_stderr_lacks(part);
    }
    // So much that nothing can be shown.
    sandbox.write(
        "layer/s.json",
        format!("{{\"t\": \"{}\"}}", "large ".repeat(900_000)),
    );
    let out = disco(&sandbox).arg("true").run();
    out.assert_code(70)
        .assert_stderr_has("stderr: *** (not shown")
        .assert_stderr_lacks("large ");
}

#[test]
fn a_template_without_an_end_fails_like_any_other() {
    for (content, expected) in [
        (
            "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
            "takes too many steps",
        ),
        (
            "{% for i in range(99) %}{{ 'x' * 999999 }}{% endfor %}",
            "makes a text that is larger than 16 MB",
        ),
        (
            "{% set ns = namespace(x='xxxx') %}{% for i in range(40) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
            "was begun 2 times with the same data",
        ),
    ] {
        let sandbox = sandbox(&format!("    {{content: \"{content}\", to: /a}}\n"), "");
        let cfg = format!("{}|disco.fail_limit=2", settings(&sandbox));
        let out = Disco::new().cfg(cfg).arg("true").run();
        out.assert_code(70).assert_stderr_has(expected);
    }
}

#[test]
fn a_stop_does_not_wait_for_a_template() {
    let content = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}";
    let sandbox = sandbox(&format!("    {{content: \"{content}\", to: /a}}\n"), "");
    let cfg = format!("{}|disco.fail_limit=0", settings(&sandbox));
    let running = Disco::new().cfg(cfg).arg("true").spawn();
    running.wait_stderr("executing all(db)");
    let start = std::time::Instant::now();
    let out = end(running);
    assert_eq!(out.code, Some(143), "{}", out.stderr);
    assert!(start.elapsed().as_millis() < 1000, "{:?}", start.elapsed());
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
fn of_several_files_all_change_or_none() {
    // The check of the last makes its place one that no file can take.
    for (entry, reason) in [
        (
            "{content: x, to: /c, check: [\"false\", \"{}\"]}",
            "the check of /c",
        ),
        (
            "{content: \"{{ db.nope }}\", to: /c}",
            "`db.nope` is undefined",
        ),
        (
            "{content: x, to: /c, check: [sh, -c, \"mkdir -p $DESTDIR/c/d\", \"{}\"]}",
            "cannot be written",
        ),
    ] {
        let sandbox = sandbox(
            &format!(
                "    - {{content: new, to: /a, backup: true}}\n    - {{content: new, to: /b/b}}\n    - {entry}\n"
            ),
            "",
        );
        sandbox.write("root/a", "old");
        sandbox.write("root/a.bak", "older");
        let ino = fs::metadata(sandbox.path("root/a")).unwrap().ino();
        let mut cfg = settings(&sandbox);
        cfg.push_str("|disco.fail_limit=1|disco.destdir=");
        cfg.push_str(sandbox.path("root").to_str().unwrap());
        let out = Disco::new().cfg(cfg).arg("true").run();
        out.assert_code(70).assert_stderr_has(reason);
        assert_eq!(sandbox.read("root/a"), "old", "{entry}");
        let meta = fs::metadata(sandbox.path("root/a")).unwrap();
        assert_eq!((meta.ino(), meta.nlink()), (ino, 1));
        assert_eq!(sandbox.read("root/a.bak"), "older", "{entry}");
        let b = sandbox.path("root/b");
        assert!(!b.exists() || names(&b).is_empty(), "{entry}");
        let left = names(&sandbox.path("root"));
        assert!(!left.iter().any(|name| name.starts_with('.')), "{left:?}");
    }
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
fn a_destdir_must_be_there_and_links_do_not_lead_out_of_it() {
    let sandbox = sandbox("    - {content: x, to: /etc/link}\n", "");
    let cfg = format!("{}|disco.destdir=/no/such/dir", settings(&sandbox));
    let out = Disco::new().cfg(&cfg).arg("true").run();
    out.assert_code(78)
        .assert_stderr_has("`disco.destdir`: /no/such/dir is no directory");
    let out = Disco::new().cfg(&cfg).args(["--check", "true"]).run();
    out.assert_code(78).assert_stderr_has("`disco.destdir`");
    let outside = sandbox.write("real/file", "outside");
    fs::create_dir_all(sandbox.path("root/etc")).unwrap();
    symlink("/real/file", sandbox.path("root/etc/link")).unwrap();
    disco(&sandbox).arg("true").run().assert_code(0);
    assert_eq!(fs::read_to_string(outside).unwrap(), "outside");
    assert_eq!(sandbox.read("root/real/file"), "x");
    let link = fs::symlink_metadata(sandbox.path("root/etc/link")).unwrap();
    assert!(link.is_symlink());
    sandbox.write(
        "layer/db.rules",
        "format: 2\nrules: [{when: db, render: [{content: y, to: /real/file}, {content: z, to: /etc/link}]}]",
    );
    let out = disco(&sandbox).arg("true").run();
    out.assert_code(70)
        .assert_stderr_has("/etc/link is a link to ")
        .assert_stderr_has("which the rule renders as well");
    assert_eq!(sandbox.read("root/real/file"), "x");
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
fn what_cannot_be_written_is_told_with_the_remedy() {
    if !is_root("other users, and mounts") {
        return;
    }
    let dir = Sandbox::new();
    let sandbox = sandbox(
        &format!(
            "    {{content: \"{{{{ 'x' * 2000000 }}}}\", to: {}/a}}\n",
            dir.dir().display()
        ),
        "",
    );
    let bin = crate::worlds::public(&sandbox);
    let disco = Disco::new()
        .bin(bin)
        .cfg(format!("{}|disco.fail_limit=1", settings(&sandbox)))
        .arg("true");
    let path = dir.dir().display();
    for (world, expected) in [
        (
            "true; set -- setpriv --reuid=4242 --regid=4343 --clear-groups \"$@\"".to_owned(),
            format!(
                "Permission denied (os error 13); disco runs as 4242:4343, who must be allowed to write to {path}"
            ),
        ),
        (
            format!("mount -t tmpfs -o ro none {path}"),
            format!("Read-only file system (os error 30); mount something writable at {path}"),
        ),
        (
            format!("mount -t tmpfs -o size=1M none {path}"),
            format!("No space left on device (os error 28); make room in {path}"),
        ),
    ] {
        let out = disco.clone().pid1().prepared(&world).run();
        out.assert_code(70).assert_stderr_has(&expected);
    }
    assert_eq!(names(dir.dir()), [""; 0]);
}

#[test]
fn an_unprivileged_disco_renders_what_it_may_and_says_what_not() {
    if !is_root("another user") {
        return;
    }
    let sandbox = sandbox("    {content: x, to: /home/a}\n", "");
    let home = Sandbox::new();
    fs::write(home.path("a"), "old").unwrap();
    std::os::unix::fs::chown(home.dir(), Some(4242), Some(4343)).unwrap();
    let rules = |more: &str| {
        let rules = format!(
            "format: 2\nrules: [{{when: db, render: {{content: x, to: {}/a{more}}}}}]",
            home.dir().display()
        );
        sandbox.write("layer/db.rules", rules);
    };
    rules("");
    let bin = crate::worlds::public(&sandbox);
    let user = ["setpriv", "--reuid=4242", "--regid=4343", "--clear-groups"];
    let disco = Disco::new()
        .bin(bin)
        .cfg(format!("{}|disco.fail_limit=1", settings(&sandbox)))
        .arg("true")
        .inside(user);
    disco.run().assert_code(0);
    let meta = fs::metadata(home.path("a")).unwrap();
    assert_eq!((meta.uid(), meta.gid()), (4242, 4343));
    // One that it cannot read can be replaced all the same.
    std::os::unix::fs::chown(home.path("a"), Some(0), Some(0)).unwrap();
    fs::set_permissions(home.path("a"), fs::Permissions::from_mode(0o000)).unwrap();
    rules(", mode: \"0644\"");
    disco.run().assert_code(0);
    assert_eq!(home.read("a"), "x");
    rules(", owner: root");
    let out = disco.run();
    out.assert_code(70)
        .assert_stderr_has("cannot be given to 0:0: Operation not permitted (os error 1); only root may give files away");
    assert_eq!(names(home.dir()), ["a"]);
}

#[test]
fn an_agent_killed_at_any_time_leaves_whole_files_and_nothing_else() {
    const FILES: usize = 20;
    let entries: String = (0..FILES)
        .map(|file| {
            format!("    - {{content: \"{{{{ (db.host ~ ' ') * 20000 }}}}\", to: /d/{file}}}\n")
        })
        .collect();
    let sandbox = sandbox(&entries, "   once: false\n   then: {signal: HUP}\n");
    let running = disco(&sandbox)
        .cfg(format!(
            "{}|disco.mode=supervise|disco.destdir={}",
            settings(&sandbox),
            sandbox.path("root").display()
        ))
        .args(COMMAND)
        .spawn();
    running.wait_stdout("up");
    let init = running.pid();
    let dir = sandbox.path("root/d");
    let content = |host: &str| format!("{host} ").repeat(20_000);
    for round in 0..4 {
        let (old, new) = (format!("h{}", round + 1), format!("h{}", round + 2));
        let agent = wait_for("an agent", DEADLINE, || {
            let mut all = proc::children(init).into_iter();
            all.find(|pid| proc::file(*pid, "comm").trim_end() == "disco")
        });
        let draft = sandbox.write("draft", format!("db: {{host: {new}}}\n"));
        fs::rename(draft, sandbox.path("data.yaml")).unwrap();
        // Somewhere between the first file beside the old ones and the last exchange.
        let staged = 1 + round * FILES / 2;
        wait_for("files beside the old ones", DEADLINE, || {
            let names = names(&dir);
            let beside = names.iter().filter(|name| name.starts_with('.')).count();
            let is_done = fs::read_to_string(dir.join("0")).unwrap() == content(&new);
            (beside >= staged || is_done).then_some(())
        });
        kill(agent, Signal::SIGKILL).unwrap();
        let (old, new) = (content(&old), content(&new));
        for file in 0..FILES {
            let text = fs::read_to_string(dir.join(file.to_string())).unwrap();
            assert!(text == old || text == new, "half of {file}");
        }
        wait_for("the next agent to finish", DEADLINE, || {
            let all = (0..FILES).map(|file| dir.join(file.to_string()));
            let mut all = all.map(|path| fs::read_to_string(path).unwrap());
            (all.all(|text| text == new) && names(&dir).len() == FILES).then_some(())
        });
    }
    let out = end(running);
    assert!(out.stdout.contains("hup"), "{}", out.stdout);
    out.assert_stderr_has("left by a run that was killed");
}

/// Names beside `a` and `b`, as an agent has them that is killed.
const GOING: &str = "root/.disco-00000001-a.going";

#[test]
fn an_exchange_that_was_cut_is_taken_back_before_anything_else() {
    let sandbox = sandbox(
        "    - {content: new, to: /a, backup: true}\n    - {content: new, to: /b}\n    - {content: new, to: /c, check: [\"false\", \"{}\"]}\n",
        "",
    );
    for (name, text) in [
        ("a", "new"),
        ("a.bak", "old"),
        ("b", "new"),
        (".disco-00000000-a.old", "old"),
        (".disco-00000000-a.bak.old", "older"),
        (".disco-00000002-b.none", ""),
        (".disco-00000003-c", "new"),
    ] {
        sandbox.write(&format!("root/{name}"), text);
    }
    let going = sandbox.write(GOING, "");
    fs::set_permissions(&going, fs::Permissions::from_mode(0o600)).unwrap();
    let out = disco(&sandbox).arg("true").run();
    out.assert_code(70)
        .assert_stderr_has("the old ones are put back");
    assert_eq!(names(&sandbox.path("root")), ["a", "a.bak"]);
    assert_eq!(sandbox.read("root/a"), "old");
    assert_eq!(sandbox.read("root/a.bak"), "older");
    // One that has happened, or was made by somebody else, is not.
    sandbox.write("root/.disco-00000000-a.old", "very old");
    sandbox.write(GOING, "");
    disco(&sandbox).arg("true").run().assert_code(70);
    assert_eq!(sandbox.read("root/a"), "old");
    assert_eq!(names(&sandbox.path("root")), ["a", "a.bak"]);
}

#[test]
fn what_others_have_under_way_on_a_volume_is_left_alone() {
    let sandbox = sandbox("    {content: new, to: /a}\n", "");
    let theirs = ".disco-00000000-a";
    sandbox.write(&format!("root/{theirs}"), "theirs");
    let dir = fs::File::open(sandbox.path("root")).unwrap();
    dir.lock_shared().unwrap();
    disco(&sandbox).arg("true").run().assert_code(0);
    assert_eq!(names(&sandbox.path("root")), [theirs, "a"]);
    dir.unlock().unwrap();
    disco(&sandbox).arg("true").run().assert_code(0);
    assert_eq!(names(&sandbox.path("root")), ["a"]);
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
fn links_and_files_of_others_lead_nowhere_and_get_no_secret() {
    if !is_root("links and files of other users") {
        return;
    }
    let dir = Sandbox::new();
    let path = |name: &str| dir.path(name).display().to_string();
    let victim = dir.write("victim/a.conf", "victim");
    for (link, to) in [("app", "victim"), ("b.conf", "victim/a.conf")] {
        symlink(to, dir.path(link)).unwrap();
        std::os::unix::fs::lchown(dir.path(link), Some(4242), Some(4343)).unwrap();
        let to = match link {
            "app" => path("app/a.conf"),
            _ => path(link),
        };
        let sandbox = sandbox(&format!("    {{content: x, to: {to}}}\n"), "");
        let cfg = format!("{}|disco.fail_limit=1", settings(&sandbox));
        let out = Disco::new().cfg(cfg).arg("true").run();
        out.assert_code(70).assert_stderr_has(&format!(
            "{to} leads through the symbolic link {}, which belongs to user 4242",
            path(link)
        ));
    }
    assert_eq!(fs::read_to_string(&victim).unwrap(), "victim");
    let secret = dir.write("secret", "");
    std::os::unix::fs::chown(&secret, Some(4242), Some(4343)).unwrap();
    let sandbox = sandbox(
        &format!("    {{content: x, to: {}, secret: true}}\n", path("secret")),
        "",
    );
    let disco = Disco::new().cfg(settings(&sandbox)).arg("true");
    disco.run().assert_code(0);
    let owner = || {
        let meta = fs::metadata(&secret).unwrap();
        (meta.uid(), meta.gid(), meta.mode() & 0o7777)
    };
    assert_eq!(owner(), (0, 0, 0o600));
    // Also where nothing else is to change.
    std::os::unix::fs::chown(&secret, Some(4242), None).unwrap();
    disco.run().assert_code(0);
    assert_eq!(owner(), (0, 0, 0o600));
}

/// The agent of a running disco.
fn agent(running: &Running) -> nix::unistd::Pid {
    let init = running.pid();
    wait_for("an agent", DEADLINE, || {
        let mut all = proc::children(init).into_iter();
        all.find(|pid| proc::file(*pid, "comm").trim_end() == "disco")
    })
}

#[test]
fn a_run_that_was_cut_signals_though_its_files_are_right() {
    let check = "[sh, -c, 'grep h1 $0 || { touch $DESTDIR/../checking; sleep 1000; }', '{}']";
    let sandbox = sandbox(
        &format!("    {{content: \"{{{{ db.host }}}}\", to: /a, check: {check}}}\n"),
        "   once: false\n   then: {signal: HUP}\n",
    );
    let running = disco(&sandbox)
        .cfg(format!(
            "{}|disco.mode=supervise|disco.destdir={}",
            settings(&sandbox),
            sandbox.path("root").display()
        ))
        .args(COMMAND)
        .spawn();
    running.wait_stdout("up");
    let agent = agent(&running);
    sandbox.write("data.yaml", "db: {host: h2}\n");
    wait_for("the check", DEADLINE, || {
        sandbox.path("checking").exists().then_some(())
    });
    // As if it had come as far as that.
    sandbox.write("root/a", "h2");
    kill(agent, Signal::SIGKILL).unwrap();
    running.wait_stdout("hup");
    end(running).assert_stderr_has("a is as it should be");
}

#[test]
fn a_rule_over_which_agents_die_fails_as_often_as_it_may() {
    // The stack is too small for lists so deep.
    let deep = "{% set ns = namespace(x=[]) %}{% for i in range(99999) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x }}";
    let sandbox = sandbox(&format!("    {{content: \"{deep}\", to: /a}}\n"), "");
    let cfg = format!("{}|disco.fail_limit=2", settings(&sandbox));
    let dies = "format: 2\nrules: [{when: db, do: [sh, -c, 'kill -9 $PPID; sleep 1000']}]";
    for rules in [None, Some(dies)] {
        if let Some(rules) = rules {
            sandbox.write("layer/db.rules", rules);
        }
        let out = Disco::new().cfg(&cfg).arg("true").run();
        out.assert_code(70)
            .assert_stderr_has("was begun 2 times with the same data");
    }
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

/// A directory of layers whose programs note that they ran.
fn layers(order: Option<&str>) -> Sandbox {
    let sandbox = Sandbox::new();
    for name in ["b", "a", "c", ".hidden"] {
        let note = format!("#!/bin/sh\necho \"{name} $# ${{PWD##*/}} $VALUE\"\n");
        sandbox.write(&format!("{name}/x"), "");
        sandbox.handler(&format!("{name}/install"), &note);
    }
    sandbox.write("none/layer.yaml", "layer: {name: none}\n");
    if let Some(order) = order {
        sandbox.write(".order", order);
    }
    sandbox
}

fn install(sandbox: &Sandbox) -> Disco {
    let disco = Disco::new().arg("--install-layers").arg(sandbox.dir());
    disco.env("VALUE", "v")
}

#[test]
fn layers_are_installed_in_their_order() {
    // Settings are not looked at, not even those that are wrong.
    let out = install(&layers(None)).cfg("no.such=1").run();
    out.assert_code(0)
        .assert_stdout("a 0 a v\nb 0 b v\nc 0 c v\n")
        .assert_stderr_has("3 layers of ");
    let out = install(&layers(Some("c\nnone\n\nb\n"))).run();
    out.assert_code(0)
        .assert_stdout("c 0 c v\nb 0 b v\na 0 a v\n");
    Disco::new()
        .arg("--install-layers")
        .run()
        .assert_code(0)
        .assert_stderr_has("there are no layers in /usr/share/layercake/layers");
}

#[test]
fn the_first_layer_that_fails_ends_the_installation() {
    let sandbox = layers(None);
    sandbox.handler("b/install", "#!/bin/sh\nexit 7\n");
    let out = install(&sandbox).run();
    out.assert_code(70)
        .assert_stdout("a 0 a v\n")
        .assert_stderr_has("b/install: failed: exit status 7");
    sandbox.handler("a/install", "#!/no/such/interpreter\n");
    let out = install(&sandbox).run();
    out.assert_code(70).assert_stdout("").assert_stderr_has(
        "a/install: cannot be started: `/no/such/interpreter`, the interpreter in its first line, is not in this image",
    );
    fs::set_permissions(sandbox.path("a/install"), fs::Permissions::from_mode(0o644)).unwrap();
    let plain = sandbox.write("a/install", "#!/bin/sh\n");
    let out = install(&sandbox).run();
    out.assert_code(70).assert_stderr_has(&format!(
        "is not executable: run `chmod +x {}`",
        plain.display()
    ));
    let out = install(&layers(Some("a\nlost\n"))).run();
    out.assert_code(78)
        .assert_stdout("")
        .assert_stderr_has("/.order:2:1: `lost` is no layer in ");
    let out = Disco::new().args(["--install-layers", "/no/such"]).run();
    out.assert_code(78)
        .assert_stderr_has("/no/such: cannot be read");
}

#[test]
fn an_install_that_cannot_be_is_told_and_nothing_is_left_running() {
    let sandbox = layers(None);
    fs::remove_file(sandbox.path("a/install")).unwrap();
    symlink("nowhere", sandbox.path("a/install")).unwrap();
    install(&sandbox)
        .run()
        .assert_code(70)
        .assert_stderr_has("a/install is no file");
    fs::remove_file(sandbox.path("a/install")).unwrap();
    sandbox.handler(
        "a/install",
        "#!/bin/sh\n(sleep 1000 & echo $! > left)\nexit 3\n",
    );
    install(&sandbox).run().assert_code(70);
    let left: i32 = sandbox.read("a/left").trim().parse().unwrap();
    assert!(kill(nix::unistd::Pid::from_raw(left), None).is_err());
}

#[test]
fn a_stop_ends_an_installation() {
    let sandbox = layers(None);
    sandbox.handler("a/install", "#!/bin/sh\necho up\nsleep 1000\n");
    for is_pid_1 in [false, true] {
        if is_pid_1 && !is_root("a namespace of its own") {
            return;
        }
        let disco = match is_pid_1 {
            true => install(&sandbox).pid1(),
            false => install(&sandbox),
        };
        let running = disco.spawn();
        running.wait_stdout("up");
        let start = std::time::Instant::now();
        let out = end(running);
        assert!(start.elapsed().as_millis() < 2500, "{:?}", start.elapsed());
        assert_eq!(out.code, Some(143), "{}", out.stderr);
        assert!(!out.stdout.contains("b 0"), "{}", out.stdout);
    }
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
