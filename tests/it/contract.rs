//! The contract file as it is held to at the start: found, called, given variables, confined. Numbers
//! are those of the list of the contract format.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::support::{Container, Disco, Image, NOTHING_OF_THE_HOST, Sandbox, dist_bin, is_root};

/// A directory with this contract, and a disco in it.
fn with(contract: &str) -> (Sandbox, Disco) {
    let sandbox = Sandbox::new();
    sandbox.write("asyncy.yml", contract);
    let disco = Disco::new().cwd(sandbox.dir());
    (sandbox, disco)
}

const ECHO: &str = "
help: Says things.
commands:
  echo:
    help: Prints its arguments.
    args:
      - {name: what, type: string, required: true}
      - {name: n, type: int}
    kwargs:
      - {name: loud, type: boolean}
      - {name: block, type: json}
    additional_args: false
    additional_kwargs: false
";

#[test]
fn a1_a_good_call_runs_and_its_words_are_never_split() {
    let (_sandbox, disco) = with(ECHO);
    for (call, words) in [
        (&["echo", "a b"][..], "a b\n"),
        (&["echo", "--loud", "$(id); *", "5"], "$(id); * 5 --loud\n"),
        (
            &["echo", "--block={\"a\": [1, 2]}", "x"],
            "x --block {\"a\": [1, 2]}\n",
        ),
    ] {
        let out = disco.clone().args(call).run();
        out.assert_code(0).assert_stdout(words);
    }
    // The program itself may be the image's, before the command.
    disco
        .clone()
        .args(["/bin/echo", "echo", "hi"])
        .run()
        .assert_code(0)
        .assert_stdout("echo hi\n");
}

#[test]
fn a5_a_wrong_call_is_told_all_that_is_wrong_and_how_it_is_done() {
    let (_sandbox, disco) = with(ECHO);
    let out = disco
        .clone()
        .args([
            "echo", "s3cret", "s3cret", "more", "--block", "{s3cret", "--lood",
        ])
        .run();
    out.assert_code(64)
        .assert_stdout("")
        .assert_stderr_has("`echo`: unknown option `--lood`; did you mean `--loud`?")
        .assert_stderr_has("`echo`: argument `n` must be a whole number")
        .assert_stderr_has("`echo`: option `--block` must be JSON")
        .assert_stderr_has("\nUsage: docker run IMAGE echo <what> [n] [--loud] [--block JSON]\n")
        .assert_stderr_lacks("s3cret");
    assert!(
        out.stderr
            .lines()
            .last()
            .unwrap()
            .contains("ERROR disco: bad arguments: 3 problems")
    );
    let out = disco.clone().args(["ehco"]).run();
    out.assert_code(64)
        .assert_stderr_has(
            "`ehco` is no command of this container; expected one of echo; did you mean `echo`?",
        )
        .assert_stderr_has("Usage: docker run IMAGE COMMAND [ARGUMENTS...]");
    // Nothing at all is no call either.
    disco
        .run()
        .assert_code(64)
        .assert_stderr_has("no command given; expected one of echo");
}

#[test]
fn a1_help_is_the_contracts_and_goes_to_stdout() {
    let (_sandbox, disco) = with(ECHO);
    for words in [&["--help"][..], &["--", "--help"], &["/bin/echo", "--help"]] {
        let out = disco.clone().args(words).run();
        out.assert_code(0).assert_stderr_lacks("ERROR");
        assert!(
            out.stdout.starts_with("Usage: docker run IMAGE COMMAND"),
            "{}",
            out.stdout
        );
        assert!(
            out.stdout.contains("echo  Prints its arguments."),
            "{}",
            out.stdout
        );
    }
    let out = disco.clone().args(["echo", "--help"]).run();
    out.assert_code(0);
    assert!(
        out.stdout
            .starts_with("Usage: docker run IMAGE echo <what>"),
        "{}",
        out.stdout
    );
    // disco's own is a letter away, and the only one where no contract declares commands.
    let own = disco.arg("-h").run();
    own.assert_code(0);
    assert!(own.stdout.starts_with("disco: configures"));
    Disco::new()
        .arg("--help")
        .cwd(Path::new("/"))
        .run()
        .assert_stdout(&own.stdout);
}

#[test]
fn a3_what_is_no_command_of_the_contract_can_be_allowed() {
    let (_sandbox, disco) = with(ECHO);
    let call = ["sh", "-c", "echo free"];
    disco.clone().args(call).run().assert_code(64);
    disco
        .clone()
        .cfg("disco.commands=off")
        .args(call)
        .run()
        .assert_code(0)
        .assert_stdout("free\n")
        .assert_stderr_lacks("WARN");
    disco
        .clone()
        .cfg("disco.commands=warn")
        .args(call)
        .run()
        .assert_code(0)
        .assert_stdout("free\n")
        .assert_stderr_has("neither `sh` nor `-c` is a command");
    disco
        .cfg("disco.entrypoint=sh -c")
        .args(["sh", "-c", "echo", "x"])
        .run()
        .assert_code(0);
}

#[test]
fn a20_variables_are_checked_before_anything_runs_and_never_shown() {
    let (sandbox, disco) = with(
        "
env:
  access_token: {type: string, pattern: '^key_', help: Ask the operator.}
  COUNT: {type: int}
  ITEMS: {type: list}
lifecycle: {startup: touch ran}
",
    );
    let out = disco
        .clone()
        .env("access_token", "s3cret")
        .env("ITEMS", "1,s3cret")
        .arg("env")
        .run();
    out.assert_code(78)
        .assert_stdout("")
        .assert_stderr_has("asyncy.yml:3:17: `env.access_token`: the environment variable access_token must match the pattern ^key_: Ask the operator.")
        .assert_stderr_has("COUNT (int) is not set; set it with `docker run -e COUNT=…`")
        .assert_stderr_has("ITEMS must be a JSON array")
        .assert_stderr_lacks("s3cret");
    assert!(
        out.stderr
            .lines()
            .last()
            .unwrap()
            .ends_with("3 problems with its environment or its contract")
    );
    assert!(!sandbox.path("ran").exists());
}

#[test]
fn a24_the_command_gets_exactly_what_is_declared_and_the_base_set() {
    let (_sandbox, disco) = with(
        "
env:
  access_token:
  PORT: {type: int, default: 8080}
  GONE: {required: false}
env_passthrough: ['OK_*']
",
    );
    let disco = disco
        .env("ACCESS_TOKEN", "key")
        .env("OTHER", "x")
        .env("DISCO_X", "x")
        .env("OK_1", "y")
        .env("LC_ALL", "C")
        .env("ALSO_THIS", "z")
        .cfg("disco.env_passthrough=ALSO_*");
    for pid1 in [false, true] {
        let disco = if pid1 {
            disco.clone().pid1()
        } else {
            disco.clone()
        };
        let out = disco.arg("env").run();
        out.assert_code(0);
        let mut lines: Vec<_> = out
            .stdout
            .lines()
            .filter(|l| !l.starts_with("PATH="))
            .collect();
        lines.sort_unstable();
        assert_eq!(
            lines,
            [
                "ACCESS_TOKEN=key",
                "ALSO_THIS=z",
                "LC_ALL=C",
                "OK_1=y",
                "PORT=8080",
                "access_token=key"
            ]
        );
    }
    // Without `env` nothing is filtered but disco's own settings.
    let (_sandbox, disco) = with("help: x");
    let out = disco
        .env("OTHER", "x")
        .cfg("disco.interval=1")
        .arg("env")
        .run();
    out.assert_code(0);
    assert!(
        out.stdout.contains("OTHER=x") && !out.stdout.contains("DISCO_"),
        "{}",
        out.stdout
    );
}

#[test]
fn problems_of_call_and_environment_come_together() {
    let (_sandbox, disco) =
        with("commands: {go: {args: [{name: n, type: int, required: true}]}}\nenv: {A: }\n");
    disco
        .args(["go", "x"])
        .run()
        .assert_code(78)
        .assert_stderr_has("argument `n` must be a whole number")
        .assert_stderr_has("variable A (string) is not set")
        .assert_stderr_has("Usage: docker run IMAGE go <n>");
}

#[test]
fn the_file_is_looked_for_in_its_places_and_a_broken_one_is_the_end() {
    let (sandbox, disco) = with("commands: {go: }\n");
    let file = sandbox.write("elsewhere.yml", "commands: {echo: {args: [n:int]}}\n");
    let cfg = format!("disco.contract={}", file.display());
    disco
        .clone()
        .cfg(&cfg)
        .args(["echo", "x"])
        .run()
        .assert_code(64);
    disco
        .clone()
        .cfg("disco.contract=off")
        .args(["echo", "x"])
        .run()
        .assert_code(0);
    disco
        .clone()
        .cfg("disco.contract=/none/such.yml")
        .args(["echo", "x"])
        .run()
        .assert_code(78)
        .assert_stderr_has("/none/such.yml: cannot read the contract");
    sandbox.write(
        "asyncy.yml",
        "commands: {go: {args: 5}}\nports: [x]\nfoo: 1\n",
    );
    disco
        .clone()
        .arg("true")
        .run()
        .assert_code(78)
        .assert_stderr_has("asyncy.yml:1:23: `commands.go.args`: expected a list of arguments")
        .assert_stderr_has("asyncy.yml:2:9: `ports[0]`: expected a port")
        .assert_stderr_has("2 problems with the contract");
    sandbox.write("asyncy.yml", "comands: {go: }\n");
    disco.arg("true").run().assert_code(0).assert_stderr_has(
        "WARN  disco: asyncy.yml:1:10: `comands`: unknown key, ignored; did you mean `commands`?",
    );
}

#[test]
fn the_later_names_count_where_their_shape_fits() {
    for name in ["microservice.yml", "oms.yml"] {
        let sandbox = Sandbox::new();
        let disco = Disco::new().cwd(sandbox.dir());
        sandbox.write(name, "environment: {NEEDED: {type: int}}\n");
        disco
            .clone()
            .arg("true")
            .run()
            .assert_code(78)
            .assert_stderr_has("NEEDED (int) is not set");
        sandbox.write(
            name,
            "oms: 1\nactions: {a: {http: {path: /}}}\nenvironment: {NEEDED: {type: int}}\n",
        );
        disco
            .clone()
            .arg("true")
            .run()
            .assert_code(0)
            .assert_stderr_has(&format!("{name}: is of the Open Microservice format (`oms`, `actions`) and not enforced; name it with `disco.contract`"));
        disco
            .clone()
            .cfg(format!("disco.contract={name}"))
            .arg("true")
            .run()
            .assert_code(78);
        sandbox.write(name, "env: 5\n");
        disco
            .clone()
            .arg("true")
            .run()
            .assert_code(0)
            .assert_stderr_has("`env`: expected a map of variables")
            .assert_stderr_has("is not enforced, since it is no contract as it stands");
        // Ours goes before.
        sandbox.write("asyncy.yml", "env: {OTHER: }\n");
        disco
            .arg("true")
            .run()
            .assert_code(78)
            .assert_stderr_has("OTHER (string)")
            .assert_stderr_lacks(name);
    }
}

#[test]
fn check_looks_at_the_contract_and_its_hooks() {
    let (sandbox, disco) = with(
        "lifecycle: {startup: ./up.sh, shutdown: {command: [./down.sh, x], timeout: 60s}}\nenv: {A: }\n",
    );
    sandbox.handler("up.sh", "#!/bin/sh\n");
    let out = disco.clone().args(["--check", "true"]).run();
    out.assert_code(78)
        .assert_stderr_has(
            "asyncy.yml:1:41: `lifecycle.shutdown`: command `./down.sh` does not exist",
        )
        .assert_stderr_has("may take 60s, and `docker stop` kills after 10s")
        .assert_stderr_has("1 problem");
    sandbox.handler("down.sh", "#!/bin/sh\n");
    // What a container is given is no affair of its image.
    disco.clone().args(["--check", "true"]).run().assert_code(0);
    sandbox.write("asyncy.yml", "env: 1\n");
    disco
        .args(["--check", "true"])
        .run()
        .assert_code(78)
        .assert_stderr_has("`env`: expected a map");
}

#[test]
fn a100_the_command_keeps_what_is_listed_and_nothing_else() {
    if !is_root("capabilities") {
        return;
    }
    let script =
        "grep -E 'Cap(Inh|Prm|Eff|Bnd|Amb)|NoNewPrivs' /proc/self/status | tr -s '[:space:]' ' '";
    for (cap, held, no_new_privs) in [
        ("[chown]", "0000000000000001", 1),
        ("[CAP_CHOWN, Kill]", "0000000000000021", 1),
        ("[]", "0000000000000000", 1),
    ] {
        for pid1 in [false, true] {
            let (_sandbox, disco) = with(&format!("cap: {cap}"));
            let disco = if pid1 { disco.pid1() } else { disco };
            let out = disco.args(["sh", "-c", script]).run();
            out.assert_code(0);
            for set in ["CapPrm", "CapEff", "CapBnd"] {
                assert!(
                    out.stdout.contains(&format!("{set}: {held}")),
                    "{cap} {set}: {}",
                    out.stdout
                );
            }
            assert!(
                out.stdout.contains(&format!("NoNewPrivs: {no_new_privs}")),
                "{}",
                out.stdout
            );
        }
    }
    let own = Disco::new()
        .cfg("disco.contract=off")
        .args(["sh", "-c", script])
        .run()
        .stdout;
    for contract in ["cap: default", "help: x"] {
        let (_sandbox, disco) = with(contract);
        disco.args(["sh", "-c", script]).run().assert_stdout(&own);
    }
    // What is not held cannot be kept.
    let (_sandbox, disco) = with("cap: [chown, kill]");
    disco
        .inside(["setpriv", "--bounding-set=-chown", "--inh-caps=-chown"])
        .args(["true"])
        .run()
        .assert_code(78)
        .assert_stderr_has("asyncy.yml:1:6: `cap`: cannot add CAP_CHOWN");
    // Without the right to drop there is nothing that could be got from what is not dropped.
    let (_sandbox, disco) = with("cap: []");
    disco
        .inside([
            "setpriv",
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
        ])
        .args(["sh", "-c", script])
        .run()
        .assert_code(0)
        .assert_stderr_lacks("WARN");
}

#[test]
fn a70_a40_what_is_less_than_was_asked_for_is_told() {
    let asked = "system: {memory: 900TB, cpu: 100000, gpu: 64, enforce: ENFORCE}\nvolumes: {data: {dest: /none/such}, etc: {dest: /etc}}\n";
    let (_sandbox, disco) = with(&asked.replace("ENFORCE", "warn"));
    disco
        .arg("true")
        .run()
        .assert_code(0)
        .assert_stderr_has("WARN  disco: asyncy.yml:1:18: `system.memory`: asks for")
        .assert_stderr_has("`system.cpu`: asks for 100000 processors and there are")
        .assert_stderr_has("`system.gpu`: asks for 64")
        .assert_stderr_has("`volumes.data`: there is nothing at `/none/such`")
        .assert_stderr_has("`volumes.etc`: `/etc` is no mount");
    let (_sandbox, disco) = with(&asked.replace("ENFORCE", "fail"));
    disco
        .arg("true")
        .run()
        .assert_code(78)
        .assert_stderr_has("3 problems with its environment or its contract");
    let (_sandbox, disco) = with("system: {memory: 1MB, cpu: 10m, gpu: 0, enforce: fail}");
    disco
        .arg("true")
        .run()
        .assert_code(0)
        .assert_stderr_lacks("WARN");
}

/// A contract whose one volume is to be read-only, a disco beside it, and where the volume is.
fn with_read_only_volume() -> (Sandbox, Disco, String) {
    let (sandbox, disco) = with("");
    let dest = sandbox.path("data");
    std::fs::create_dir(&dest).unwrap();
    let dest = dest.display().to_string();
    let contract = format!("volumes: {{data: {{dest: {dest}, mode: ro}}}}");
    sandbox.write("asyncy.yml", contract);
    (sandbox, disco, dest)
}

#[test]
fn a42_a_read_only_volume_is_made_so() {
    if !is_root("mounts") {
        return;
    }
    let (sandbox, disco, dest) = with_read_only_volume();
    let write = format!("touch {dest}/x && echo written");
    let mount = format!("mount -t tmpfs none {dest}");
    let disco = disco.pid1().prepared(&mount);
    let out = disco.clone().args(["sh", "-c", &write]).run();
    out.assert_stdout("")
        .assert_stderr_has("Read-only file system");
    sandbox.write("asyncy.yml", format!("volumes: {{data: {{dest: {dest}}}}}"));
    disco
        .args(["sh", "-c", &write])
        .run()
        .assert_stdout("written\n")
        .assert_stderr_lacks("WARN");
}

#[test]
fn a7_a_result_is_checked_where_that_is_asked_for() {
    let (_sandbox, disco) = with(
        "commands: {sh: {result: {type: json, check: true}}, bash: {result: json}, dd: {result: {type: int, check: true}}}",
    );
    for pid1 in [false, true] {
        let disco = if pid1 {
            disco.clone().pid1()
        } else {
            disco.clone()
        };
        let run = |words: &[&str]| disco.clone().args(words).run();
        run(&["sh", "-c", "echo '{\"a\": 1}'"])
            .assert_code(0)
            .assert_stdout("{\"a\": 1}\n");
        run(&["sh", "-c", "echo oops"])
            .assert_code(70)
            .assert_stdout("oops\n")
            .assert_stderr_has("the result of the command must be JSON, as its contract says");
        run(&["sh", "-c", "echo oops; exit 3"]).assert_code(3);
        run(&["bash", "-c", "echo oops"]).assert_code(0);
        // In the background, too, and to the last byte.
        run(&[
            "sh",
            "-c",
            "trap '' TERM; printf '['; (sleep 0.2; printf '1]') &",
        ])
        .assert_code(0)
        .assert_stdout("[1]");
        let out = run(&["dd", "if=/dev/zero", "bs=1M", "count=3"]);
        out.assert_code(70);
        assert_eq!(out.stdout.len(), 3 << 20);
    }
}

#[test]
#[ignore = "needs docker"]
fn in_a_container_the_contract_decides_what_the_command_is_given() {
    let image = Image::busybox()
        .program("/disco", &dist_bin())
        .file(
            "/asyncy.yml",
            "commands: {env: , grep: , echo: {args: [n:int]}}\nenv: {TOKEN: {pattern: '^key_'}}\ncap: [chown]\n",
            0o644,
        )
        .change("ENV IMAGE_SECRET=x")
        .change(r#"ENTRYPOINT ["/disco"]"#)
        .build();
    let run = |words: &[&str]| {
        let container = Container::of(&image)
            .env("TOKEN", "key_1")
            .env("OTHER", "x");
        container.args(words).run()
    };
    let out = run(&["env"]);
    out.assert_code(0);
    let mut names: Vec<_> = out
        .stdout
        .lines()
        .filter_map(|line| line.split('=').next())
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["HOME", "HOSTNAME", "PATH", "TOKEN"]);
    let out = run(&["grep", "CapBnd", "/proc/self/status"]);
    out.assert_stdout("CapBnd:\t0000000000000001\n");
    run(&["--help"]).assert_code(0);
    run(&["echo", "--help"]).assert_code(0);
    run(&["echo", "x"]).assert_code(64);
    run(&[]).assert_code(64);
    Container::of(&image).args(["env"]).run().assert_code(78);
    // What cake has noted of the image is the image's: its variables go on, and its words are none of
    // the caller's.
    let noted = Image::busybox()
        .program("/disco", &dist_bin())
        .file(
            "/asyncy.yml",
            "commands: {go: {args: [n:int]}}\nenv: {TOKEN: }\n",
            0o644,
        )
        .file(
            "/usr/share/layercake/manifest.json",
            r#"{"image": {"env": ["IMAGE_SECRET"], "entrypoint": ["env", "-u", "HOME"]}}"#,
            0o644,
        )
        .file(
            "/bin/go",
            "#!/bin/sh\necho $IMAGE_SECRET:$OTHER:$1\n",
            0o755,
        )
        .change("ENV IMAGE_SECRET=x")
        .change(r#"ENTRYPOINT ["/disco", "env", "-u", "HOME"]"#)
        .build();
    let container = Container::of(&noted).env("TOKEN", "t").env("OTHER", "y");
    let out = container.args(["go", "7"]).run();
    out.assert_code(0).assert_stdout("x::7\n");
}

#[test]
#[ignore = "needs docker"]
fn a70_limits_of_a_container_are_seen_from_inside() {
    let image = Image::scratch()
        .program("/disco", &dist_bin())
        .program("/echo", Path::new("/bin/busybox"))
        .file(
            "/asyncy.yml",
            "system: {memory: 64MB, cpu: 1}\nvolumes: {d: {dest: /d}}\n",
            0o644,
        )
        .change(r#"ENTRYPOINT ["/disco", "/echo", "ran"]"#)
        .build();
    let run = |options: &[&str]| {
        let mut container = Container::of(&image);
        for option in options {
            container = container.option(option);
        }
        let out = container.run();
        out.assert_code(0).assert_stdout("ran\n");
        out
    };
    let out = run(&["--memory=32m", "--cpus=0.5"]);
    out.assert_stderr_has("`system.memory`: asks for 61 MiB and there are 32 MiB")
        .assert_stderr_has("`system.cpu`: asks for 1 processors and there are 0.5")
        .assert_stderr_has("there is nothing at `/d`");
    let out = run(&["--memory=64m", "--cpus=1", "--tmpfs=/d"]);
    out.assert_stderr_lacks("WARN");
    let out = run(&["--memory=64m", "--tmpfs=/d:ro"]);
    out.assert_stderr_has("`/d` cannot be written to: it is mounted read-only");
}

#[test]
fn the_example_does_what_it_says() {
    let dir = crate::support::repo().join("examples/contract");
    let disco = Disco::new().cwd(&dir).env("GREETING", "Hello");
    let program = dir.join("greet").display().to_string();
    let run = |words: &[&str]| disco.clone().arg(&program).args(words).run();
    run(&["greet", "World", "--times", "2"])
        .assert_code(0)
        .assert_stdout("Hello, World!\nHello, World!\n")
        .assert_stderr_has("startup hook: ready to greet")
        .assert_stderr_has("shutdown hook: everybody is greeted")
        .assert_stderr_lacks("WARN");
    run(&["greet", "big World", "--tone=loud"]).assert_stdout("HELLO, BIG WORLD!\n");
    run(&["greet", "--times", "many", "--tone", "rude"])
        .assert_code(64)
        .assert_stderr_has("argument `who` is missing")
        .assert_stderr_has("option `--times` must be a whole number")
        .assert_stderr_has("option `--tone` must be one of kind, loud");
    run(&["--help"]).assert_code(0);
    Disco::new()
        .cwd(&dir)
        .args([&program, "greet", "x"])
        .run()
        .assert_code(78)
        .assert_stderr_has("GREETING (string) is not set");
    Disco::new()
        .cwd(&dir)
        .arg("--check")
        .run()
        .assert_code(0)
        .assert_stderr_lacks("WARN");
}

#[test]
fn a_contract_that_lies_around_is_believed_if_nobody_less_can_have_written_it() {
    if !is_root("files of others") {
        return;
    }
    let (sandbox, disco) = with("env: {NEEDED: }");
    let file = sandbox.path("asyncy.yml");
    let run = || disco.clone().arg("true").run();
    run().assert_code(78);
    let someone = nix::unistd::Uid::from_raw(4242);
    for path in [file.as_path(), sandbox.dir()] {
        nix::unistd::chown(path, Some(someone), None).unwrap();
        run()
            .assert_code(0)
            .assert_stderr_has("WARN  disco: asyncy.yml: is ignored: it or its directory belongs to user 4242, and hooks run as this user");
        nix::unistd::chown(path, Some(nix::unistd::Uid::from_raw(0)), None).unwrap();
    }
    let mode = |mode| std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(&file, mode(0o646)).unwrap();
    run()
        .assert_code(0)
        .assert_stderr_has("can be written to by others");
    // Who names it, means it.
    let cfg = format!("disco.contract={}", file.display());
    disco.clone().cfg(cfg).arg("true").run().assert_code(78);
    std::fs::set_permissions(&file, mode(0o644)).unwrap();
    run().assert_code(78);
}

#[test]
fn what_is_no_file_or_may_not_be_looked_at_is_no_contract() {
    let (sandbox, disco) = with("");
    std::fs::remove_file(sandbox.path("asyncy.yml")).unwrap();
    std::fs::create_dir(sandbox.path("asyncy.yml")).unwrap();
    disco.clone().arg("true").run().assert_code(0);
    std::fs::remove_dir(sandbox.path("asyncy.yml")).unwrap();
    nix::unistd::mkfifo(&sandbox.path("asyncy.yml"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    disco.arg("true").run().assert_code(0);
    if !is_root("directories of others") {
        return;
    }
    let sandbox = Sandbox::new();
    let closed = sandbox.path("closed");
    std::fs::create_dir(&closed).unwrap();
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o700)).unwrap();
    Disco::new()
        .cwd(&closed)
        .inside([
            "setpriv",
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
        ])
        .arg("true")
        .run()
        .assert_code(0);
}

#[test]
fn everything_that_is_to_run_is_looked_for_before_anything_runs() {
    let (sandbox, disco) = with("lifecycle: {startup: touch ran, shutdown: ./none.sh}");
    disco
        .clone()
        .arg("serv")
        .run()
        .assert_code(127)
        .assert_stderr_has("the shutdown hook cannot be run: command `./none.sh` does not exist")
        .assert_stderr_has("command `serv` is not on PATH");
    disco.clone().arg("true").run().assert_code(70);
    sandbox.handler("none.sh", "#!/none/such\r\n");
    disco
        .clone()
        .arg("true")
        .run()
        .assert_code(70)
        .assert_stderr_has("its first line ends with a carriage return");
    assert!(!sandbox.path("ran").exists());
    // The check of an image finds the same.
    disco
        .args(["--check", "true"])
        .run()
        .assert_code(78)
        .assert_stderr_has("`lifecycle.shutdown`: `./none.sh` cannot be started");
}

#[test]
fn check_refuses_what_a_start_only_warns_of() {
    let (sandbox, disco) = with("comands: {go: }\nhealth: [/none/such]\n");
    let check = disco.clone().args(["--check", "true"]).run();
    check
        .assert_code(78)
        .assert_stderr_has("ERROR disco: asyncy.yml:1:10: `comands`: unknown key")
        .assert_stderr_has("asyncy.yml:2:9: `health`: command `/none/such` does not exist")
        .assert_stderr_has("2 problems");
    sandbox.write("asyncy.yml", "commands: {echo: {args: [n:int]}}\nzzz: 1\n");
    disco
        .clone()
        .args(["--check", "echo", "x"])
        .run()
        .assert_code(78)
        .assert_stderr_has("`echo`: argument `n`");
    // A program alone may be what the image runs before the words of a caller.
    disco.args(["--check", "/bin/true"]).run().assert_code(0);
}

#[test]
fn a_wrong_call_is_an_event_where_every_line_is_one() {
    let (_sandbox, disco) = with(ECHO);
    let out = disco.cfg("disco.log_format=json").arg("ehco").run();
    out.assert_code(64).assert_stdout("");
    for line in out.stderr.lines() {
        serde_json::from_str::<serde_json::Value>(line)
            .unwrap_or_else(|error| panic!("{error}: {line}"));
    }
    assert!(out.stderr.contains("Usage: docker run IMAGE COMMAND"));
}

#[test]
fn a100_whoever_runs_the_container_has_the_last_word() {
    if !is_root("capabilities") {
        return;
    }
    for (cap, cfg, held) in [
        (
            "[chown, sys_admin]",
            "disco.cap_drop=sys_admin",
            "0000000000000001",
        ),
        ("[all]", "disco.cap_drop=ALL", "0000000000000000"),
        ("[chown]", "disco.cap_add=kill", "0000000000000021"),
    ] {
        let (_sandbox, disco) = with(&format!("cap: {cap}"));
        let out = disco
            .cfg(cfg)
            .args(["grep", "CapBnd", "/proc/self/status"])
            .run();
        out.assert_stdout(&format!("CapBnd:\t{held}\n"));
    }
    let (_sandbox, disco) = with("cap: [chown]");
    disco
        .inside([
            "setpriv",
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
        ])
        .arg("true")
        .run()
        .assert_code(78)
        .assert_stderr_has("let disco become the user (`disco.user=65534`), who then keeps it");
    let (_sandbox, disco) = with("cap: [chown]");
    disco
        .cfg("disco.user=65534")
        .args(["grep", "CapEff", "/proc/self/status"])
        .run()
        .assert_stdout("CapEff:\t0000000000000001\n");
}

#[test]
fn a42_a_remount_keeps_what_else_is_said_and_touches_no_other_namespace() {
    if !is_root("mounts") {
        return;
    }
    let (sandbox, disco, dest) = with_read_only_volume();
    let mount = format!("mount -t tmpfs -o nosuid,nodev,noexec none {dest}");
    let out = disco
        .clone()
        .pid1()
        .prepared(&mount)
        .args(["grep", &dest, "/proc/self/mountinfo"])
        .run();
    out.assert_code(0)
        .assert_stdout_has(" ro,nosuid,nodev,noexec");
    // As PID 1 of a namespace whose mounts are others', too.
    let script = format!("{mount}; unshare --pid --fork \"$@\"; touch {dest}/x && echo still mine");
    Disco::new()
        .bin("unshare")
        .cfg(NOTHING_OF_THE_HOST)
        .cwd(sandbox.dir())
        .args(["--mount", "sh", "-c", &script, "sh"])
        .arg(crate::support::disco_bin())
        .args(["sh", "-c", &format!("touch {dest}/x || echo not here")])
        .run()
        .assert_stdout("not here\nstill mine\n");
}

#[test]
#[ignore = "needs docker"]
fn the_example_is_an_image() {
    let sandbox = Sandbox::new();
    for file in ["asyncy.yml", "greet", "startup.sh", "shutdown.sh"] {
        let path = format!("examples/contract/{file}");
        sandbox.write(&path, []);
        std::fs::copy(crate::support::repo().join(&path), sandbox.path(&path)).unwrap();
    }
    sandbox.write("disco", []);
    std::fs::copy(dist_bin(), sandbox.path("disco")).unwrap();
    let base = Image::busybox().build();
    let base = format!("BASE={}", base.name());
    let file = crate::support::repo().join("examples/contract/Dockerfile");
    let image = Image::built([
        "--build-arg=DISCO=disco",
        "--build-arg",
        &base,
        "-f",
        file.to_str().unwrap(),
        sandbox.dir().to_str().unwrap(),
    ]);
    let run = |words: &[&str]| {
        let container = Container::of(&image).env("GREETING", "Hello");
        container.args(words).run()
    };
    run(&["greet", "World"])
        .assert_code(0)
        .assert_stdout("Hello, World!\n")
        .assert_stderr_has("startup hook: ready to greet");
    run(&["gret", "World"]).assert_code(64);
    run(&["--help"])
        .assert_code(0)
        .assert_stdout_has("GREETING");
}
