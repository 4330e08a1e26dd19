//! The flat source through disco: files and directories as they are really changed. Numbers are
//! those of the conformance list, section 2.3.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{DEADLINE, Disco, Running, Sandbox, wait_for};

/// Keeps what it is given, whole or not at all, and a line for each run.
const KEEP: &str = "#!/bin/sh
d=${0%/*}
cat > \"$d/got.new\"
{ cat \"$d/got.new\"; echo; } >> \"$d/runs\"
mv \"$d/got.new\" \"$d/got\"
";

/// `{db: …}` from a file or directory, to a handler that runs on each change.
struct Setup {
    sandbox: Sandbox,
    disco: Option<Running>,
}

impl Setup {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        sandbox.write("layer/db.schema", "name: db\ntype: object\n");
        sandbox.write(
            "layer/test.rules",
            "format: 2\nrules: [{when: [db], do: [h], once: false}]\n",
        );
        sandbox.handler("layer/h", KEEP);
        Self {
            sandbox,
            disco: None,
        }
    }

    /// A disco with what is at `path` as its only source.
    fn disco(&self, path: &str, more: &str) -> Disco {
        let cfg = format!(
            "disco.path={}|flat.file={}{more}",
            self.sandbox.path("layer").display(),
            self.sandbox.path(path).display()
        );
        Disco::new().cfg(cfg).cwd(self.sandbox.dir())
    }

    /// Starts it with a command that stays.
    fn watching(mut self, path: &str) -> Self {
        let disco = self.disco(path, "|disco.mode=supervise");
        self.disco = Some(disco.args(["sleep", "1000"]).spawn());
        self
    }

    fn running(&self) -> &Running {
        self.disco.as_ref().unwrap()
    }

    /// Every data the handler was run with.
    fn runs(&self) -> Vec<Value> {
        let runs = fs::read_to_string(self.sandbox.path("layer/runs")).unwrap_or_default();
        let whole = runs.rsplit_once('\n').map_or("", |(lines, _)| lines);
        let lines = whole.lines();
        lines
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["db"].clone())
            .collect()
    }

    /// Waits until the handler has been run with exactly this, and with nothing else since.
    #[track_caller]
    fn wait(&self, db: &Value) {
        let found = || {
            let got = fs::read(self.sandbox.path("layer/got")).ok()?;
            let got: Value = serde_json::from_slice(&got).ok()?;
            (got["db"] == *db).then_some(())
        };
        let what = format!("{db}; disco says\n{}", self.running().stderr_so_far());
        wait_for(&what, DEADLINE, found);
    }

    #[track_caller]
    fn wait_said(&self, what: &str) {
        self.running().wait_stderr(what);
    }

    fn write(&self, name: &str, text: &str) {
        self.sandbox.write(name, text);
    }

    /// Puts a complete file in the place of another.
    fn replace(&self, name: &str, text: &str) {
        self.sandbox.write("draft", text);
        fs::rename(self.sandbox.path("draft"), self.sandbox.path(name)).unwrap();
    }

    fn link(&self, target: impl AsRef<Path>, name: &str) {
        symlink(target, self.sandbox.path("draft")).unwrap();
        fs::rename(self.sandbox.path("draft"), self.sandbox.path(name)).unwrap();
    }
}

fn db(value: u32) -> String {
    format!("db: {{v: {value}}}\n")
}

fn v(value: u32) -> Value {
    json!({"v": value})
}

/// Does what may only count if done without a pause, as often as it takes to be quick enough.
fn promptly(limit: Duration, mut act: impl FnMut(u32)) {
    let quick = (0..100).any(|attempt| {
        let start = Instant::now();
        act(attempt);
        start.elapsed() < limit
    });
    assert!(quick, "this machine never runs the test without a pause");
}

#[test]
fn c2_3_1_bursts_of_renames_never_leave_it_stale() {
    let setup = Setup::new();
    setup.write("data.yaml", &db(0));
    let setup = setup.watching("data.yaml");
    setup.wait(&v(0));
    for burst in 0..40 {
        let last = 20 * (burst + 1);
        for value in 20 * burst + 1..=last {
            setup.replace("data.yaml", &db(value));
        }
        setup.wait(&v(last));
    }
    let runs = setup.runs();
    let values: Vec<_> = runs.iter().map(|run| run["v"].as_u64().unwrap()).collect();
    assert!(values.is_sorted(), "{values:?}");
}

#[test]
fn c2_3_1_bursts_of_writes_in_place_never_leave_it_stale() {
    let setup = Setup::new();
    setup.write("data.yaml", &db(0));
    let setup = setup.watching("data.yaml");
    setup.wait(&v(0));
    for burst in 0..10 {
        let last = 20 * (burst + 1);
        for value in 20 * burst + 1..=last {
            setup.write("data.yaml", &db(value));
        }
        setup.wait(&v(last));
    }
}

#[test]
fn c2_3_3_half_a_file_is_never_used() {
    let setup = Setup::new();
    setup.write("data.yaml", "db: {v: a}\n");
    let setup = setup.watching("data.yaml");
    setup.wait(&json!({"v": "a"}));
    let path = setup.sandbox.path("data.yaml");
    let mut whole = String::new();
    let mut slow = 0;
    promptly(Duration::from_millis(250), |attempt| {
        // A value cut in half is still a value.
        whole = format!("{attempt}{}", "x".repeat(3000));
        let text = format!("db: {{v: a}}\ndb:\n  v: {whole}\n");
        let mut file = fs::File::create(&path).unwrap();
        file.write_all(&text.as_bytes()[..1500]).unwrap();
        // Long enough to be read by whoever does not wait for the writer.
        std::thread::sleep(Duration::from_millis(50));
        file.write_all(&text.as_bytes()[1500..]).unwrap();
        slow = attempt;
    });
    setup.wait(&json!({ "v": whole }));
    assert!(slow > 0 || setup.runs().len() == 2, "{:?}", setup.runs());
}

#[test]
fn c2_3_3_truncating_is_the_first_half_of_rewriting() {
    let setup = Setup::new();
    setup.write("data.yaml", &db(0));
    let setup = setup.watching("data.yaml");
    setup.wait(&v(0));
    let mut last = 0;
    promptly(Duration::from_millis(200), |attempt| {
        setup.write("data.yaml", "");
        std::thread::sleep(Duration::from_millis(50));
        last = attempt + 1;
        setup.write("data.yaml", &db(last));
    });
    setup.wait(&v(last));
    if last == 1 {
        let said = setup.running().stderr_so_far();
        assert!(!said.contains("is empty now"), "{said}");
    }
    setup.write("data.yaml", "");
    setup.wait_said("data.yaml is empty now; waiting for contents");
    setup.write("data.yaml", &db(1000));
    setup.wait(&v(1000));
}

#[test]
fn c2_3_3_a_broken_file_leaves_the_last_good_one_in_force() {
    let setup = Setup::new();
    setup.write("data.yaml", &db(1));
    let setup = setup.watching("data.yaml");
    setup.wait(&v(1));
    setup.replace("data.yaml", "db:\n  password: 'hunter2' hunter2\n");
    let file = setup.sandbox.path("data.yaml");
    setup.wait_said(&format!("{}:2:", file.display()));
    setup.replace("data.yaml", "- db\n");
    setup.replace("data.yaml", &db(2));
    setup.wait(&v(2));
    setup.wait_said("source is back");
    let said = setup.running().stderr_so_far();
    assert!(!said.contains("hunter2"), "{said}");
    assert_eq!(setup.runs(), [v(1), v(2)]);
}

#[test]
fn c2_3_4_a_file_may_come_later_and_so_may_its_directories() {
    let setup = Setup::new().watching("some/where/data.yaml");
    setup.wait_said("some/where/data.yaml does not exist yet; waiting for it");
    setup.write("some/where/data.yaml", &db(1));
    setup.wait(&v(1));
    // Unlike a change, a loss changes nothing.
    fs::remove_dir_all(setup.sandbox.path("some")).unwrap();
    setup.wait_said("some/where/data.yaml does not exist any more; waiting for it");
    setup.write("some/where/data.yaml", &db(2));
    setup.wait(&v(2));
    // The whole directory is another.
    setup.write("other/where/data.yaml", &db(3));
    fs::rename(setup.sandbox.path("some"), setup.sandbox.path("gone")).unwrap();
    fs::rename(setup.sandbox.path("other"), setup.sandbox.path("some")).unwrap();
    setup.wait(&v(3));
    setup.write("gone/where/data.yaml", &db(99));
    setup.write("some/where/data.yaml", &db(4));
    setup.wait(&v(4));
    assert_eq!(setup.runs(), [v(1), v(2), v(3), v(4)]);
}

#[test]
fn c2_3_4_a_directory_is_missed_even_if_somebody_has_it_open() {
    let setup = Setup::new();
    let dir = setup.sandbox.path("conf");
    fs::create_dir(&dir).unwrap();
    let setup = setup.watching("conf/data.yaml");
    setup.wait_said("conf/data.yaml does not exist yet; waiting for it");
    let open = fs::File::open(&dir).unwrap();
    fs::remove_dir(&dir).unwrap();
    setup.write("conf/data.yaml", &db(1));
    setup.wait(&v(1));
    drop(open);
}

#[test]
fn c2_3_editors_that_move_the_old_file_away_are_followed() {
    let setup = Setup::new();
    setup.write("data.yaml", &db(0));
    let setup = setup.watching("data.yaml");
    setup.wait(&v(0));
    let path = setup.sandbox.path("data.yaml");
    for value in 1..=10 {
        fs::rename(&path, setup.sandbox.path("data.yaml~")).unwrap();
        setup.write("data.yaml", &db(value));
        setup.wait(&v(value));
    }
    fs::hard_link(&path, setup.sandbox.path("other name")).unwrap();
    setup.write("other name", &db(11));
    setup.wait(&v(11));
}

#[test]
fn c2_3_links_are_followed_wherever_they_change() {
    let setup = Setup::new();
    setup.write("c/file", &db(1));
    for dir in ["a", "b"] {
        fs::create_dir(setup.sandbox.path(dir)).unwrap();
    }
    setup.link("../b/hop", "a/data.yaml");
    setup.link(setup.sandbox.path("c/file"), "b/hop");
    let setup = setup.watching("a/data.yaml");
    setup.wait(&v(1));
    setup.write("c/file", &db(2));
    setup.wait(&v(2));
    setup.replace("c/file", &db(3));
    setup.wait(&v(3));
    setup.write("d/file", &db(4));
    setup.link("../d/file", "b/hop");
    setup.wait(&v(4));
    setup.write("d/file", &db(5));
    setup.wait(&v(5));
    setup.write("e/file", &db(6));
    setup.link("../e/file", "a/data.yaml");
    setup.wait(&v(6));
    setup.write("e/file", &db(7));
    setup.wait(&v(7));
}

#[test]
fn c2_3_6_swaps_of_a_configmap_are_never_seen_in_part() {
    let setup = Setup::new();
    let swap = |value: u32| {
        let name = format!("..2026_{value}");
        for key in ["a", "b", "c"] {
            let text = format!("db: {{{key}: {value}}}\n");
            setup.sandbox.write(&format!("cm/{name}/{key}.yaml"), text);
        }
        let before = fs::read_link(setup.sandbox.path("cm/..data"));
        setup.link(&name, "cm/..data");
        if let Ok(before) = before {
            fs::remove_dir_all(setup.sandbox.path("cm").join(before)).unwrap();
        }
    };
    swap(0);
    for key in ["a", "b", "c"] {
        setup.link(format!("..data/{key}.yaml"), &format!("cm/{key}.yaml"));
    }
    let whole = |value: u32| json!({"a": value, "b": value, "c": value});
    let disco = setup.disco("cm", "|disco.mode=supervise");
    let running = disco.args(["sleep", "1000"]).spawn();
    let wait = |value: u32| {
        let what = format!("swap {value}; disco says\n{}", running.stderr_so_far());
        wait_for(&what, DEADLINE, || {
            (setup.runs().last() == Some(&whole(value))).then_some(())
        });
    };
    wait(0);
    for value in 1..=10 {
        swap(value);
        wait(value);
    }
    for burst in 1..=5 {
        for value in 20 * burst + 1..=20 * burst + 20 {
            swap(value);
        }
        wait(20 * burst + 20);
    }
    let torn = |run: &Value| run["a"] != run["b"] || run["b"] != run["c"];
    assert!(!setup.runs().iter().any(torn), "{:?}", setup.runs());
    let said = running.stderr_so_far();
    assert!(!said.contains("retrying"), "{said}");
}

#[test]
fn c2_3_6_the_files_of_a_directory_are_merged_in_order() {
    let setup = Setup::new();
    setup.write("conf/10.yaml", "db: {v: 1, a: 1}\n");
    setup.write("conf/20.json", "{\"db\": {\"v\": 2, \"b\": 2}}");
    setup.write("conf/30.toml", "[db]\nv = 3\nc = 3\n");
    for ignored in [
        "conf/40.txt",
        "conf/..40.yaml",
        "conf/.40.yaml.swp",
        "conf/40.yaml~",
        "conf/#40.yaml#",
        "conf/sub/40.yaml",
    ] {
        setup.write(ignored, &db(99));
    }
    let setup = setup.watching("conf");
    setup.wait(&json!({"v": 3, "a": 1, "b": 2, "c": 3}));
    setup.replace("conf/50.yaml", "db.v: 5\n");
    setup.wait(&json!({"v": 5, "a": 1, "b": 2, "c": 3}));
    fs::remove_file(setup.sandbox.path("conf/20.json")).unwrap();
    setup.wait(&json!({"v": 5, "a": 1, "c": 3}));
    // One that is broken holds all back: a part of the data is no data.
    setup.replace("conf/60.yaml", "db: {v: 6\n");
    setup.wait_said("conf/60.yaml:");
    setup.replace("conf/10.yaml", "db: {v: 1, a: 10}\n");
    setup.replace("conf/60.yaml", &db(6));
    setup.wait(&json!({"v": 6, "a": 10, "c": 3}));
    let halfway = json!({"v": 5, "a": 10, "c": 3});
    assert!(!setup.runs().contains(&halfway), "{:?}", setup.runs());
}

#[test]
fn c2_3_6_files_may_be_values() {
    let setup = Setup::new();
    setup.write("secrets/db.password", "hunter2\n");
    setup.write("secrets/db.user", "me");
    let disco = setup.disco("secrets", "|flat.values=true|disco.log_level=debug");
    let out = disco.arg("true").run();
    out.assert_code(0).assert_stderr_lacks("hunter2");
    assert_eq!(setup.runs(), [json!({"password": "hunter2", "user": "me"})]);
}

#[test]
fn c2_3_7_formats_go_by_extension_and_without_one_by_their_look() {
    for (name, text) in [
        ("data.json", "{\r\n\t\"db\": {\t\"v\": 1}}"),
        ("data.toml", "db.v = 1\n"),
        ("data.yml", "\u{feff}db:\r\n  v: 1\r\n"),
        ("data", "{\n\t\"db\": {\"v\": 1}}"),
        ("data.conf", "db:\n  <<: {v: 1}\n"),
    ] {
        let setup = Setup::new();
        setup.write(name, text);
        setup.disco(name, "").arg("true").run().assert_code(0);
        assert_eq!(setup.runs(), [v(1)], "{name}");
    }
}

#[test]
fn c2_3_7_what_is_accepted_but_odd_is_told_with_the_file() {
    let setup = Setup::new();
    setup.write("data.yaml", "db: {v: 1}\n---\ndb: {v: 2, v: 3}\n");
    let file = setup.sandbox.path("data.yaml");
    let told = |what: &str| format!("{}: {what}", file.display());
    let out = setup.disco("data.yaml", "").arg("true").run();
    out.assert_code(0)
        .assert_stderr_has(&told("`db.v` is given twice; the last one counts"))
        .assert_stderr_has(&told("holds 2 documents, merged in order"));
    assert_eq!(setup.runs(), [v(3)]);
}

#[test]
fn an_empty_file_is_an_empty_tree() {
    let setup = Setup::new();
    setup.write("data.yaml", "");
    let disco = setup
        .disco("data.yaml", "|disco.deadline=800ms")
        .arg("true");
    disco
        .run()
        .assert_code(69)
        .assert_stderr_has("db: missing from flatfile")
        .assert_stderr_lacks("retrying");
}

#[test]
fn what_is_no_file_is_refused_and_never_read() {
    let setup = Setup::new();
    let fifo = setup.sandbox.path("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let huge = fs::File::create(setup.sandbox.path("huge")).unwrap();
    huge.set_len(1 << 40).unwrap();
    setup.link("ring", "ring");
    setup.link("/dev/zero", "device");
    setup.write("list", "- db\n");
    setup.write("conf/a.yaml", &db(1));
    setup.link("nowhere", "conf/b.yaml");
    for (path, told) in [
        ("fifo", "fifo is a FIFO; expected a file or a directory"),
        (
            "device",
            "device is a device; expected a file or a directory",
        ),
        ("huge", "huge is larger than 16 MB"),
        ("ring", "ring cannot be read: "),
        ("list", "list: expected a map of interfaces at the top"),
        ("conf", "conf/b.yaml is a link to nothing"),
    ] {
        let disco = setup.disco(path, "|disco.deadline=700ms").arg("true");
        disco.run().assert_code(69).assert_stderr_has(told);
    }
    assert!(setup.runs().is_empty());
}

#[test]
fn whoever_only_reads_wakes_nobody() {
    let setup = Setup::new();
    // Deep, so that the directory that all tests share is out of earshot.
    setup.write("deep/data.yaml", &db(1));
    let setup = setup.watching("deep/data.yaml");
    setup.wait(&v(1));
    let pid = setup.running().pid();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    let mut family: Vec<String> = children.split_whitespace().map(str::to_owned).collect();
    family.push(pid.to_string());
    // How often any of them went to sleep, that is, had been awake.
    let naps = || -> Vec<String> {
        let status = family.iter().map(|pid| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
            let line = status.lines().find(|l| l.starts_with("voluntary_ctxt"));
            line.unwrap().to_owned()
        });
        status.collect()
    };
    wait_for("half a second without a wake-up", DEADLINE, || {
        let before = naps();
        for _ in 0..10 {
            fs::read(setup.sandbox.path("deep/data.yaml")).unwrap();
            fs::read_dir(setup.sandbox.path("deep")).unwrap().count();
            std::thread::sleep(Duration::from_millis(50));
        }
        (naps() == before).then_some(())
    });
}
