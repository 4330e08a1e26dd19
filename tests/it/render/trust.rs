//! Whom rendering trusts, and who gets to see what: owners, links, other users, and what checks print.

use super::*;

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

#[test]
fn a_secret_in_a_mounted_file_is_nobody_elses() {
    if !is_root("mounts") {
        return;
    }
    let dir = Sandbox::new();
    let to = dir.write("app.conf", "");
    let source = dir.write("source", "old");
    let sandbox = sandbox(
        &format!("    {{content: x, to: {}, secret: true}}\n", to.display()),
        "",
    );
    std::os::unix::fs::chown(&source, Some(4242), Some(4343)).unwrap();
    let mount = format!("mount --bind {} {}", source.display(), to.display());
    let disco = Disco::new().cfg(settings(&sandbox)).arg("true");
    let out = disco.pid1().prepared(&mount).run();
    out.assert_code(0);
    let meta = fs::metadata(&source).unwrap();
    assert_eq!((meta.uid(), meta.gid(), mode(&source)), (0, 0, 0o600));
    assert_eq!(dir.read("source"), "x");
}
