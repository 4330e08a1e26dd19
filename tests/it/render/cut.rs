//! Rendering that does not come to its end: agents that are killed or die, templates without an end, stops,
//! and exchanges that fail half-way.

use super::*;

/// A disco that supervises the command, once that runs.
fn supervising(sandbox: &Sandbox) -> Running {
    let running = disco(sandbox)
        .cfg(format!(
            "{}|disco.mode=supervise|disco.destdir={}",
            settings(sandbox),
            sandbox.path("root").display()
        ))
        .args(COMMAND)
        .spawn();
    running.wait_stdout("up");
    running
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
fn an_agent_killed_at_any_time_leaves_whole_files_and_nothing_else() {
    const FILES: usize = 20;
    let entries: String = (0..FILES)
        .map(|file| {
            format!("    - {{content: \"{{{{ (db.host ~ ' ') * 20000 }}}}\", to: /d/{file}}}\n")
        })
        .collect();
    let sandbox = sandbox(&entries, "   once: false\n   then: {signal: HUP}\n");
    let running = supervising(&sandbox);
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
    let running = supervising(&sandbox);
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
