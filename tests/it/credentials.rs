//! As whom and within what the command runs, by what the kernel says of it. Most of it takes root.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use layer_cake::sys::credentials;

use crate::support::{Container, Disco, Image, Output, Sandbox, Terminal, disco_bin, dist_bin};

/// Every capability that Linux has a name for.
const ALL: u64 = (1 << 41) - 1;
const CHOWN: u64 = 1;
const KILL: u64 = 1 << 5;
const NET_BIND_SERVICE: u64 = 1 << 10;

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\
    broken\n\
    app:x:4242:4343:App:/home/app:/bin/sh\n";
const GROUP: &str = "root:x:0:\napp:x:4343:\nvideo:x:44:app\naudio:x:29:other,app\nstaff:x:50:\n";

/// Disco in each of its ways to run a command.
fn ways() -> [(&'static str, Disco); 4] {
    [
        ("exec", Disco::new()),
        ("supervise", Disco::new()),
        ("pid 1", Disco::new().pid1()),
        ("pid 1, exec", Disco::new().pid1()),
    ]
}

/// The settings that such a way takes, and these.
fn with(way: &str, disco: Disco, cfg: &str) -> Disco {
    let mode = match way {
        "supervise" => "disco.mode=supervise|",
        "pid 1, exec" => "disco.mode=exec|",
        _ => "",
    };
    disco.cfg(format!("{mode}{cfg}"))
}

/// Passwd and group files of its own for a disco, in a mount namespace of its own.
struct Files {
    sandbox: Sandbox,
}

impl Files {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        sandbox.write("passwd", PASSWD);
        sandbox.write("group", GROUP);
        Self { sandbox }
    }

    /// The same disco with these files in place of the machine's.
    fn under(&self, disco: Disco) -> Disco {
        const BIND: &str = "mount --bind \"$1\" /etc/passwd && mount --bind \"$2\" /etc/group && \
            shift 2 && exec \"$@\"";
        disco
            .bin("unshare")
            .args(["--mount", "sh", "-c", BIND, "sh"])
            .args([self.sandbox.path("passwd"), self.sandbox.path("group")])
            .arg(disco_bin())
    }
}

/// What `/proc/self/status` says of a command.
struct Status(HashMap<String, String>);

impl Status {
    #[track_caller]
    fn of(out: &Output) -> Self {
        out.assert_code(0);
        let fields = out.stdout.lines().filter_map(|line| line.split_once(':'));
        let fields = fields.map(|(name, value)| (name.to_owned(), value.trim().to_owned()));
        Self(fields.collect())
    }

    fn ids(&self, name: &str) -> Vec<u32> {
        let words = self.0[name].split_whitespace();
        words.map(|word| word.parse().unwrap()).collect()
    }

    fn set(&self, name: &str) -> u64 {
        u64::from_str_radix(&self.0[name], 16).unwrap()
    }

    #[track_caller]
    fn assert_user(&self, uid: u32, gid: u32, groups: &[u32]) {
        assert_eq!(self.ids("Uid"), [uid; 4]);
        assert_eq!(self.ids("Gid"), [gid; 4]);
        assert_eq!(self.ids("Groups"), groups);
    }

    /// Permitted, effective, inheritable and ambient capabilities.
    #[track_caller]
    fn assert_rights(&self, expected: [u64; 4]) {
        let names = ["CapPrm", "CapEff", "CapInh", "CapAmb"];
        assert_eq!(names.map(|name| self.set(name)), expected);
    }
}

#[track_caller]
fn needs_root() {
    assert!(
        nix::unistd::geteuid().is_root(),
        "this test needs root; `tests/all.sh` runs it so"
    );
}

#[track_caller]
fn status(disco: Disco) -> Status {
    Status::of(&disco.args(["cat", "/proc/self/status"]).run())
}

#[test]
fn what_takes_no_right_works_for_everyone() {
    let sandbox = Sandbox::new();
    let cfg = format!(
        "disco.umask=027|disco.nice=5|disco.ulimits=nofile=50:60,core=0|disco.no_new_privs=true|disco.workdir={}",
        sandbox.dir().display()
    );
    let look =
        "umask; ulimit -Sn; ulimit -Hn; ulimit -c; pwd; nice; grep NoNewPrivs /proc/self/status";
    for (way, disco) in ways() {
        let out = with(way, disco, &cfg).args(["sh", "-c", look]).run();
        let expected = format!(
            "0027\n50\n60\n0\n{}\n5\nNoNewPrivs:\t1\n",
            sandbox.dir().display()
        );
        assert_eq!(out.stdout, expected, "{way}: {}", out.stderr);
    }
}

#[test]
fn a_relative_command_counts_from_the_working_directory() {
    let sandbox = Sandbox::new();
    sandbox.handler("bin/here", "#!/bin/sh\npwd\n");
    sandbox.write("test.rules", "rules: [{rule: {when: [], do: 'true'}}]");
    let cfg = format!(
        "disco.workdir={0}/bin|disco.path={0}",
        sandbox.dir().display()
    );
    for (way, disco) in ways() {
        let disco = with(way, disco, &cfg);
        let out = disco.clone().arg("./here").run();
        out.assert_code(0)
            .assert_stdout(&format!("{}/bin\n", sandbox.dir().display()));
        disco.arg("./bin/here").run().assert_code(127);
    }
}

#[test]
fn p39_who_is_that_user_already_only_gets_the_variables() {
    let look = "echo $HOME $USER $LOGNAME; env | grep -c '^HOME='";
    for (way, disco) in ways() {
        let (uid, gid) = if way.starts_with("pid 1") {
            (0, 0) // the harness makes us root there
        } else {
            let (users, groups) = (credentials::users(), credentials::primary_groups());
            (users.unwrap().effective, groups.unwrap().effective)
        };
        let passwd = std::fs::read("/etc/passwd").unwrap_or_default();
        let accounts = layer_cake::contract::account::Accounts::parse(&passwd, &[]);
        let spec = layer_cake::contract::account::Spec::parse(&format!("{uid}:{gid}")).unwrap();
        let who = accounts.find(&spec).unwrap();
        let disco = disco.env("HOME", "/stale").env("USER", "stale");
        let out = with(way, disco, &format!("disco.user={uid}:{gid}"))
            .args(["sh", "-c", look])
            .run();
        let (home, name) = (who.home.display(), who.name);
        assert_eq!(
            out.stdout,
            format!("{home} {name} {name}\n1\n"),
            "{way}: {}",
            out.stderr
        );
    }
}

#[test]
fn without_settings_the_environment_is_left_alone() {
    for (_, disco) in ways() {
        let look = "echo ${HOME-none} ${USER-none}";
        let out = disco.args(["sh", "-c", look]).run();
        out.assert_stdout("none none\n");
    }
}

#[test]
fn what_fails_on_the_way_to_the_command_is_told_and_ends_with_78() {
    for (way, disco) in ways() {
        let run = |cfg: &str| with(way, disco.clone(), cfg).args(["echo", "ran"]).run();
        run("disco.workdir=/no/such/directory")
            .assert_code(78)
            .assert_stdout("")
            .assert_stderr_has("`disco.workdir`: cannot change to `/no/such/directory`: No such file or directory (os error 2); it must exist, and the command's user must be able to enter it");
        run("disco.workdir=/dev/null")
            .assert_code(78)
            .assert_stdout("")
            .assert_stderr_has("`disco.workdir`: `/dev/null` is not a directory")
            .assert_stderr_has("Unable to configure container: 1 problem with the settings");
    }
}

#[test]
fn a_user_namespace_without_that_user_is_told() {
    // In it there is but one user, and groups cannot be set.
    let disco = Disco::new().bin("unshare");
    let disco = disco.args(["--user", "--map-root-user"]).arg(disco_bin());
    for mode in ["exec", "supervise"] {
        disco
            .clone()
            .cfg(format!("disco.user=4242:4343|disco.mode={mode}"))
            .args(["echo", "ran"])
            .run()
            .assert_code(78)
            .assert_stdout("")
            .assert_stderr_has("`disco.user`: cannot set the groups (user 4242, group 4343): Operation not permitted (os error 1); a user namespace may lack these numbers");
        disco
            .clone()
            .cfg(format!("disco.user=0:0|disco.mode={mode}"))
            .args(["sh", "-c", "id -u"])
            .run()
            .assert_code(0)
            .assert_stdout("0\n");
    }
}

#[test]
fn names_that_nobody_has_end_it_before_anything_runs() {
    for (way, disco) in ways() {
        let cfg = "disco.user=0:no-such-group|disco.groups=nor-this,7";
        with(way, disco, cfg)
            .args(["echo", "ran"])
            .run()
            .assert_code(78)
            .assert_stdout("")
            .assert_stderr_has("`disco.user`: there is no group `no-such-group` in /etc/group")
            .assert_stderr_has("`disco.groups`: there is no group `nor-this` in /etc/group")
            .assert_stderr_has("2 problems with the settings");
    }
    Disco::new()
        .cfg("disco.user=no-such-user")
        .args(["--check", "true"])
        .run()
        .assert_code(78)
        .assert_stderr_has("`disco.user`: there is no user `no-such-user` in /etc/passwd");
}

#[test]
#[ignore = "needs root"]
fn p39_a_user_comes_with_groups_and_home_and_without_capabilities() {
    needs_root();
    let files = Files::new();
    let bounding = credentials::bounding().0;
    for (way, disco) in ways() {
        let run = |cfg: &str| status(files.under(with(way, disco.clone(), cfg)));
        for (cfg, uid, gid, groups) in [
            ("disco.user=app", 4242, 4343, &[29, 44, 4343][..]),
            ("disco.user=4242", 4242, 4343, &[29, 44, 4343]),
            ("disco.user=app:staff", 4242, 50, &[50]),
            ("disco.user=app:7", 4242, 7, &[7]),
            ("disco.user=77", 77, 0, &[0]),
            ("disco.user=77:78", 77, 78, &[78]),
            (
                "disco.user=app|disco.groups=staff,7",
                4242,
                4343,
                &[7, 50, 4343],
            ),
            ("disco.user=app|disco.groups=", 4242, 4343, &[4343]),
        ] {
            let status = run(cfg);
            status.assert_user(uid, gid, groups);
            status.assert_rights([0; 4]);
            assert_eq!(status.set("CapBnd"), bounding, "{way}: {cfg}");
            assert_eq!(status.0["NoNewPrivs"], "0", "{way}: {cfg}");
        }
        run("disco.groups=video").assert_user(0, 0, &[0, 44]);
        run("disco.user=root:staff").assert_user(0, 50, &[50]);

        let look = "echo $HOME $USER $LOGNAME $KEEP";
        let home = |cfg: &str| {
            let disco = disco.clone().env("HOME", "/stale").env("KEEP", "me");
            let disco = files.under(with(way, disco, cfg));
            disco.args(["sh", "-c", look]).run().stdout
        };
        assert_eq!(home("disco.user=app:7"), "/home/app app app me\n", "{way}");
        assert_eq!(home("disco.user=77"), "/ 77 77 me\n", "{way}");
        assert_eq!(home("disco.groups=7"), "/stale me\n", "{way}");
    }
}

#[test]
#[ignore = "needs root"]
fn a100_capabilities_are_dropped_and_added_as_docker_does() {
    needs_root();
    let held = credentials::bounding().0;
    for (way, disco) in ways() {
        let run = |cfg: &str| status(with(way, disco.clone(), cfg));
        for (cfg, left) in [
            ("disco.cap_drop=ALL", 0),
            (
                "disco.cap_drop=ALL|disco.cap_add=NET_BIND_SERVICE",
                NET_BIND_SERVICE,
            ),
            ("disco.cap_drop=chown,CAP_KILL", held & !CHOWN & !KILL),
            (
                "disco.cap_drop=chown,CAP_KILL|disco.cap_add=kill",
                held & !CHOWN,
            ),
            ("disco.cap_drop=CHOWN|disco.cap_add=ALL", held & !CHOWN),
            ("disco.cap_add=CHOWN", held),
            ("disco.user=root|disco.cap_drop=KILL", held & !KILL),
        ] {
            let status = run(cfg);
            status.assert_rights([left, left, 0, 0]);
            assert_eq!(status.set("CapBnd"), left, "{way}: {cfg}");
        }
        for (cfg, left, kept) in [
            ("disco.cap_drop=ALL", 0, 0),
            (
                "disco.cap_drop=ALL|disco.cap_add=NET_BIND_SERVICE",
                NET_BIND_SERVICE,
                NET_BIND_SERVICE,
            ),
            (
                "disco.cap_add=KILL,NET_BIND_SERVICE",
                held,
                KILL | NET_BIND_SERVICE,
            ),
            (
                "disco.cap_drop=KILL|disco.cap_add=ALL",
                held & !KILL,
                held & !KILL,
            ),
            ("disco.cap_drop=CHOWN", held & !CHOWN, 0),
            ("disco.cap_add=KILL|disco.no_new_privs=true", held, KILL),
        ] {
            let status = run(&format!("disco.user=77:78|{cfg}"));
            status.assert_user(77, 78, &[78]);
            status.assert_rights([kept; 4]);
            assert_eq!(status.set("CapBnd"), left, "{way}: {cfg}");
            let forbidden = cfg.contains("no_new_privs");
            assert_eq!(status.0["NoNewPrivs"] == "1", forbidden, "{way}: {cfg}");
        }
    }
    assert_eq!(
        held & !ALL,
        0,
        "there are capabilities that have no name here"
    );
}

/// A disco in which another one runs as its command, with these settings and within those of the
/// outer one.
fn nested(outer: &str, disco: &Path, inner: &str) -> Disco {
    Disco::new()
        .cfg(outer)
        .args(["env", &format!("DISCO_CFG={inner}")])
        .arg(disco)
}

#[test]
#[ignore = "needs root"]
fn a100_what_disco_lacks_itself_it_refuses_to_promise() {
    needs_root();
    let run = |outer: &str, inner: &str| {
        let disco = nested(outer, disco_bin(), inner);
        disco.args(["echo", "ran"]).run()
    };
    for user in ["", "disco.user=77|"] {
        run("disco.cap_drop=CHOWN,KILL", &format!("{user}disco.cap_add=CHOWN,FOWNER"))
            .assert_code(78)
            .assert_stdout("")
            .assert_stderr_has("`disco.cap_add`: cannot add CAP_CHOWN, which disco does not have itself; start the container with it (`docker run --cap-add`)");
    }
    run("disco.cap_drop=SETPCAP", "disco.cap_drop=KILL")
        .assert_code(78)
        .assert_stderr_has("`disco.cap_drop`: cannot drop CAP_KILL without CAP_SETPCAP");
    run("disco.cap_drop=SETUID", "disco.user=77:78")
        .assert_code(78)
        .assert_stderr_has(
            "`disco.user`: cannot become `77` (77:78) from 0:0 without CAP_SETUID; start",
        );
    run("disco.cap_drop=ALL", "disco.cap_drop=ALL|disco.user=root")
        .assert_code(0)
        .assert_stdout("ran\n");
}

/// A copy of disco where every user can execute it.
fn public(sandbox: &Sandbox) -> PathBuf {
    let path = sandbox.path("disco");
    std::fs::copy(disco_bin(), &path).unwrap();
    path
}

#[test]
#[ignore = "needs root"]
fn p39_without_root_everything_that_takes_it_is_refused_at_once() {
    needs_root();
    let sandbox = Sandbox::new();
    let disco = public(&sandbox);
    let outer = "disco.user=77:78|disco.ulimits=nofile=200,nice=0";
    let run = |inner: &str| nested(outer, &disco, inner).args(["echo", "ran"]).run();
    run("disco.user=79:80|disco.cap_drop=KILL|disco.cap_add=CHOWN|disco.nice=-1|disco.ulimits=nofile=201")
        .assert_code(78)
        .assert_stdout("")
        .assert_stderr_has("`disco.user`: cannot become `79` (79:80) from 77:78 without CAP_SETGID, CAP_SETUID; start the container as root with CAP_SETGID, CAP_SETUID, or as this user (`docker run --user 79:80`)")
        .assert_stderr_has("`disco.cap_drop`: cannot drop CAP_KILL without CAP_SETPCAP")
        .assert_stderr_has("`disco.cap_add`: cannot add CAP_CHOWN, which disco does not have itself")
        .assert_stderr_has("`disco.ulimits`: the hard limit of `nofile` is 200 and cannot be raised without CAP_SYS_RESOURCE; take at most that")
        .assert_stderr_has("`disco.nice`: cannot go from the nice value 0 to -1 without CAP_SYS_NICE")
        .assert_stderr_has("5 problems with the settings");
    run("disco.groups=5")
        .assert_code(78)
        .assert_stderr_has("`disco.groups`: cannot set groups without CAP_SETGID");
    run("disco.user=77:78|disco.no_new_privs=true|disco.ulimits=nofile=199|disco.nice=1")
        .assert_code(0)
        .assert_stdout("ran\n");
}

#[test]
#[ignore = "needs root"]
fn a_command_of_another_user_keeps_what_the_runtime_left_it_by_default() {
    needs_root();
    let sandbox = Sandbox::new();
    let disco = public(&sandbox);
    let outer = "disco.user=77:78|disco.cap_add=KILL,CHOWN";
    let run = |inner: &str| status(nested(outer, &disco, inner));
    run("disco.umask=022").assert_rights([KILL | CHOWN; 4]);
    run("disco.cap_add=KILL").assert_rights([KILL | CHOWN; 4]);
    run("disco.user=77:78").assert_rights([KILL | CHOWN; 4]);
}

#[test]
#[ignore = "needs root"]
fn p39_the_streams_can_be_opened_again_by_the_new_user() {
    needs_root();
    let sandbox = Sandbox::new();
    for (way, disco) in ways() {
        let script = "echo out >/dev/stdout; echo err >/dev/stderr; \
            stat -L -c %u /proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2";
        let disco = with(way, disco, "disco.user=77");
        let out = disco.args(["sh", "-c", script]).run();
        out.assert_code(0)
            .assert_stdout("out\n0\n77\n77\n") // /dev/null stays root's
            .assert_stderr_has("err\n");
        assert_eq!(std::fs::metadata("/dev/null").unwrap().uid(), 0);
    }
    let file = sandbox.path("file");
    let script = format!(
        "DISCO_CFG=disco.user=77 exec {} echo written >{}",
        disco_bin().display(),
        file.display()
    );
    let out = Disco::new().bin("sh").args(["-c", &script]).run();
    out.assert_code(0);
    assert_eq!(sandbox.read("file"), "written\n");
    assert_eq!(std::fs::metadata(file).unwrap().uid(), 0);
}

#[test]
#[ignore = "needs root"]
fn p39_the_terminal_belongs_to_the_new_user() {
    needs_root();
    let look = "stat -L -c 'owner %u' /proc/self/fd/0; echo again >/proc/self/fd/1";
    let mut terminal = Terminal::run([
        "env",
        "DISCO_CFG=disco.user=77|disco.mode=supervise",
        disco_bin().to_str().unwrap(),
        "sh",
        "-c",
        look,
    ]);
    assert_eq!(terminal.wait().code(), Some(0), "{}", terminal.screen());
    terminal.wait_screen("owner 77");
    terminal.wait_screen("again");
}

#[test]
#[ignore = "needs root"]
fn the_working_directory_is_entered_as_the_new_user() {
    needs_root();
    let sandbox = Sandbox::new();
    let private = sandbox.path("private");
    std::fs::create_dir(&private).unwrap();
    let owned = |uid| {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        std::fs::set_permissions(&private, mode).unwrap();
        std::os::unix::fs::chown(&private, Some(uid), None).unwrap();
    };
    for (way, disco) in ways() {
        let cfg = format!("disco.user=77|disco.workdir={}", private.display());
        let run = || with(way, disco.clone(), &cfg).arg("pwd").run();
        owned(0);
        run()
            .assert_code(78)
            .assert_stdout("")
            .assert_stderr_has("`disco.workdir`: cannot change to")
            .assert_stderr_has("Permission denied");
        owned(77);
        run()
            .assert_code(0)
            .assert_stdout(&format!("{}\n", private.display()));
    }
}

#[test]
#[ignore = "needs root"]
fn signals_and_the_drain_reach_a_command_of_another_user() {
    needs_root();
    for pid1 in [false, true] {
        let disco = Disco::new().cfg("disco.mode=supervise|disco.user=77|disco.cap_drop=ALL");
        let disco = if pid1 { disco.pid1() } else { disco };
        let script = "trap 'exit 9' TERM; sleep 1000 & echo ready; while :; do sleep 0.02; done";
        let running = disco.args(["sh", "-c", script]).spawn();
        running.wait_stdout("ready");
        running.signal(nix::sys::signal::Signal::SIGTERM);
        let out = running.wait();
        out.assert_code(9).assert_stderr_lacks("killing");
    }
}

/// Disco and a busybox, nothing else: no C library, so that nothing could ask a name service.
fn image() -> crate::support::ImageBuilder {
    Image::busybox()
        .program("/disco", &dist_bin())
        .change(r#"ENTRYPOINT ["/disco"]"#)
}

#[test]
#[ignore = "needs docker"]
fn p39_in_a_container_the_user_of_the_image_is_found_without_a_name_service() {
    let image = image()
        .file("/etc/passwd", PASSWD, 0o644)
        .file("/etc/group", GROUP, 0o644)
        .change("ENV DISCO_CFG=disco.user=app")
        .build();
    let script = "cat /proc/self/status; echo home:$HOME; echo again >/dev/stdout";
    let out = Container::of(&image).args(["sh", "-c", script]).run();
    let status = Status::of(&out);
    status.assert_user(4242, 4343, &[29, 44, 4343]);
    status.assert_rights([0; 4]);
    assert_eq!(status.0["home"], "/home/app");
    assert!(out.stdout.ends_with("again\n"), "{}", out.stdout);

    // The user that docker was told to take is the one that is asked for: nothing to do.
    let same = Container::of(&image).user("app").option("--cap-drop=ALL");
    let out = same.args(["cat", "/proc/self/status"]).run();
    Status::of(&out).assert_user(4242, 4343, &[29, 44, 4343]);

    let out = Container::of(&image)
        .user("5:6")
        .args(["echo", "ran"])
        .run();
    out.assert_code(78)
        .assert_stdout("")
        .assert_stderr_has("`disco.user`: cannot become `app` (4242:4343) from 5:6 without CAP_SETGID, CAP_SETUID; start the container as root");
}

#[test]
#[ignore = "needs docker"]
fn a100_in_a_container_capabilities_go_and_stay_as_asked() {
    let image = image().build();
    let run = |cfg: &str, option: &str| {
        let container = Container::of(&image).env("DISCO_CFG", cfg).option(option);
        container.args(["cat", "/proc/self/status"]).run()
    };
    let none = Status::of(&run("disco.cap_drop=ALL", "--tty=false"));
    none.assert_rights([0; 4]);
    assert_eq!(none.set("CapBnd"), 0);
    let one = run(
        "disco.user=77|disco.cap_drop=ALL|disco.cap_add=net_bind_service|disco.no_new_privs=1",
        "--tty=false",
    );
    let one = Status::of(&one);
    one.assert_rights([NET_BIND_SERVICE; 4]);
    assert_eq!(one.set("CapBnd"), NET_BIND_SERVICE);
    assert_eq!(one.0["NoNewPrivs"], "1");
    run("disco.cap_add=SYS_TIME", "--tty=false")
        .assert_code(78)
        .assert_stderr_has("cannot add CAP_SYS_TIME, which disco does not have itself");
    run("disco.cap_drop=ALL", "--user=5")
        .assert_code(78)
        .assert_stderr_has("without CAP_SETPCAP");
    Status::of(&run("disco.cap_drop=ALL", "--cap-drop=ALL")).assert_rights([0; 4]);
}
