//! The disco that ships, in containers of a real Docker engine.

use crate::support::{
    Container, DEADLINE, Image, ImageBuilder, Sandbox, Terminal, dist_bin, repo, wait_for,
};
use nix::sys::signal::Signal;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// What `docker stop` allows before it kills, and what disco may use of it at most.
const GRACE: Duration = Duration::from_secs(10);
const AT_ONCE: Duration = Duration::from_secs(1);

const SCHEMA: &str = r#"{
    "name": "greeting",
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object", "required": ["text"], "properties": {"text": {"type": "string"}}
}"#;
const RULES: &str = "rules: [{rule: {when: greeting, do: greet}}]";
/// `/dev/shm` can be written by everybody, in a read-only container too.
const HANDLER: &str = "#!/bin/sh\ncat >/dev/shm/greeting\necho handler was here\n";
const DATA: &str = "greeting: {text: hello}\n";

/// An image with disco before whatever is run, and busybox.
fn busybox() -> ImageBuilder {
    Image::busybox()
        .program("/disco", &dist_bin())
        .change(r#"ENTRYPOINT ["/disco"]"#)
}

/// The same with a rule that waits for `greeting` in `/data.yaml`.
fn greeter() -> ImageBuilder {
    busybox()
        .file("/usr/share/layercake/greeting.schema", SCHEMA, 0o644)
        .file("/usr/share/layercake/greeting.rules", RULES, 0o644)
        .file("/usr/share/layercake/greet", HANDLER, 0o755)
        .change("ENV DISCO_CFG=flat.file=/data.yaml")
}

fn script(body: &str) -> String {
    format!("#!/bin/sh\n{body}\n")
}

/// `--volume` for one file or directory.
fn mount(host: &Path, container: &str) -> String {
    format!("--volume={}:{container}:ro", host.display())
}

/// A container's end by `docker stop`: its exit code, disco being quick about it.
#[track_caller]
fn stop(container: &Container) -> i32 {
    let started = container.inspect(".State.Pid");
    assert_ne!(started, "0", "it has ended by itself: {}", container.logs());
    let took = container.stop(GRACE);
    assert!(took < AT_ONCE, "docker stop took {took:?}");
    container.exit_code()
}

#[test]
#[ignore = "needs docker"]
fn an_image_of_two_static_programs_is_enough() {
    let image = Image::scratch()
        .program("/disco", &dist_bin())
        .program("/busybox", Path::new("/bin/busybox"))
        .change(r#"ENTRYPOINT ["/disco"]"#)
        .build();
    let run = |words: &[&str]| Container::of(&image).args(words).run();

    run(&["/busybox", "echo", "hello"])
        .assert_code(0)
        .assert_stdout("hello\n");
    run(&["/busybox", "sh", "-c", "exit 42"]).assert_code(42);
    run(&["/busybox", "ls", "/bin", "/tmp", "/etc/passwd"])
        .assert_code(1)
        .assert_stdout("");
    run(&["/missing"])
        .assert_code(127)
        .assert_stderr_has("`/missing` does not exist");
    run(&["/etc/hosts"]).assert_code(126);
    run(&["/proc"]).assert_code(126);
}

#[test]
#[ignore = "needs docker"]
fn an_image_without_a_shell_is_configured_by_a_static_handler() {
    let sandbox = Sandbox::new();
    let image = Image::scratch()
        .program("/disco", &dist_bin())
        .program("/echo", Path::new("/bin/busybox"))
        .program("/usr/share/layercake/wc", Path::new("/bin/busybox"))
        .file("/usr/share/layercake/greeting.schema", SCHEMA, 0o644)
        .file(
            "/usr/share/layercake/greeting.rules",
            "rules: [{rule: {when: greeting, do: [wc, -c]}}]",
            0o644,
        )
        .change(r#"ENTRYPOINT ["/disco", "-l", "DEBUG", "/echo"]"#)
        .build();
    Container::of(&image)
        .env("DISCO_CFG", "flat.file=/data.yaml")
        .option(mount(&sandbox.write("data.yaml", DATA), "/data.yaml"))
        .args(["configured"])
        .run()
        .assert_code(0)
        .assert_stdout("configured\n")
        .assert_stderr_has("stdout: 16"); // bytes of {"text":"hello"}
}

#[test]
#[ignore = "needs docker"]
fn the_handler_runs_before_the_command_under_every_restriction() {
    let sandbox = Sandbox::new();
    let data = sandbox.write("data.yaml", DATA);
    let image = greeter().build();
    for options in [
        &["--user=0"][..],
        &["--user=65534"],
        &["--read-only"],
        &["--cap-drop=ALL"],
        &["--network=none"],
        &["--init"],
        &[
            "--user=65534:65534",
            "--read-only",
            "--cap-drop=ALL",
            "--network=none",
            "--security-opt=no-new-privileges",
            "--init",
        ],
    ] {
        let container = Container::of(&image).option(mount(&data, "/data.yaml"));
        let container = options.iter().fold(container, |c, option| c.option(option));
        container
            .args(["-l", "DEBUG", "cat", "/dev/shm/greeting"])
            .run()
            .assert_code(0)
            .assert_stdout(r#"{"text":"hello"}"#)
            .assert_stderr_has("handler was here")
            .assert_stderr_has("Container Configured")
            .assert_stderr_lacks("WARN")
            .assert_stderr_lacks("ERROR");
    }
}

#[test]
#[ignore = "needs docker"]
fn stop_ends_the_wait_for_configuration() {
    let sandbox = Sandbox::new();
    let data = sandbox.write("data.yaml", "greeting: {}\n");
    let image = greeter().build();
    let container = Container::of(&image)
        .option(mount(&data, "/data.yaml"))
        .args(["sleep", "1000"])
        .start();
    container.wait_logs("Failed to validate greeting");
    assert_eq!(stop(&container), 143);
    container.wait_logs("SIGTERM");
}

#[test]
#[ignore = "needs docker"]
fn stop_ends_the_command_with_the_status_it_chooses() {
    let image = busybox()
        .file(
            "/bin/polite",
            script("trap 'exit 7' TERM; echo ready; sleep 1000 & wait"),
            0o755,
        )
        .build();
    let polite = Container::of(&image).args(["polite"]).start();
    polite.wait_logs("ready");
    assert_eq!(stop(&polite), 7);

    for options in [&[][..], &["--init"]] {
        let container = options
            .iter()
            .fold(Container::of(&image), |c, option| c.option(option));
        let container = container.args(["sleep", "1000"]).start();
        wait_for("the command", DEADLINE, || {
            let top = container.exec(&["pidof", "sleep"]);
            (top.code == Some(0)).then_some(())
        });
        assert_eq!(stop(&container), 143, "{options:?}");
    }
}

#[test]
#[ignore = "needs docker"]
fn signals_reach_the_command() {
    let image = busybox()
        .file(
            "/bin/listen",
            script(
                "trap 'echo got USR1' USR1; trap 'echo got HUP' HUP; trap 'exit 3' INT
                 echo ready; while :; do sleep 1000 & wait $!; done",
            ),
            0o755,
        )
        .build();
    let container = Container::of(&image).args(["listen"]).start();
    container.wait_logs("ready");
    container.signal(Signal::SIGUSR1);
    container.wait_logs("got USR1");
    container.signal(Signal::SIGHUP);
    container.wait_logs("got HUP");
    container.signal(Signal::SIGINT);
    assert_eq!(container.exit_code(), 3);
}

#[test]
#[ignore = "needs docker"]
fn orphans_are_reaped_and_the_last_ones_do_not_outlive_the_command() {
    // Each subshell ends before its child, which PID 1 then inherits.
    let image = busybox()
        .file(
            "/bin/orphan",
            script(
                "for i in $(seq 100); do (sleep 0.01 &); done
                 while pidof sleep; do :; done >/dev/null
                 while grep -l '^State:.*Z' /proc/[0-9]*/status; do :; done >/dev/null
                 (sleep 1000 &)
                 echo no zombies",
            ),
            0o755,
        )
        .build();
    let output = Container::of(&image).args(["orphan"]).run();
    output.assert_code(0).assert_stdout("no zombies\n");
    output.assert_stderr_lacks("killing");
}

#[test]
#[ignore = "needs docker"]
fn in_exec_mode_nothing_of_disco_remains() {
    let sandbox = Sandbox::new();
    let data = sandbox.write("data.yaml", DATA);
    let image = greeter().build();
    let container = Container::of(&image)
        .env("DISCO_CFG", "disco.mode=exec|flat.file=/data.yaml")
        .option(mount(&data, "/data.yaml"))
        .args(["sleep", "1000"])
        .start();
    let told = |words: &[&str]| container.exec(words).stdout;
    wait_for("the command as PID 1", DEADLINE, || {
        told(&["readlink", "/proc/1/exe"])
            .contains("/bin/busybox")
            .then_some(())
    });
    assert_eq!(told(&["ls", "/proc/1/fd"]), "0\n1\n2\n");
    assert_eq!(told(&["cat", "/proc/1/task/1/children"]), "");
    let status = told(&["cat", "/proc/1/status"]);
    for set in ["SigPnd", "ShdPnd", "SigBlk", "SigIgn", "SigCgt"] {
        let line = format!("{set}:\t{:016x}", 0);
        assert!(status.contains(&line), "{set} of the command\n{status}");
    }
}

#[test]
#[ignore = "needs docker"]
fn the_command_gets_its_environment_and_nothing_of_disco() {
    let image = busybox().change("ENV ODD=a=b|c").build();
    let sorted = |words: &[&str], options: &[&str]| {
        let container = Container::of(&image).env("DISCO_CFG", "disco.interval=2");
        let container = options.iter().fold(container, |c, option| c.option(option));
        let output = container.option("--hostname=box").args(words).run();
        output.assert_code(0);
        let mut lines: Vec<String> = output.stdout.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let mut plain = sorted(&[], &["--entrypoint=env"]);
    plain.retain(|line| !line.starts_with("DISCO_CFG="));
    assert!(plain.contains(&"ODD=a=b|c".to_owned()), "{plain:?}");
    assert_eq!(sorted(&["env"], &[]), plain);
    let fds = sorted(&["sh", "-c", "echo /proc/self/fd/*"], &[]);
    let bare = sorted(&["-c", "echo /proc/self/fd/*"], &["--entrypoint=sh"]);
    assert_eq!(fds, bare, "open files");
}

#[test]
#[ignore = "needs docker"]
fn standard_input_passes_through() {
    let image = busybox().build();
    let mut docker = Command::new("timeout")
        .args(["40", "docker", "run", "--rm", "-i", image.name(), "cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let sent: Vec<u8> = (0..1 << 20).map(|i: u32| i.to_le_bytes()[1]).collect();
    let mut stdin = docker.stdin.take().unwrap();
    let bytes = sent.clone();
    let writer = std::thread::spawn(move || stdin.write_all(&bytes));
    let output = docker.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stdout == sent, "{} bytes back", output.stdout.len());
}

#[test]
#[ignore = "needs docker"]
fn a_changed_file_is_handled_again_and_the_command_told() {
    let sandbox = Sandbox::new();
    sandbox.write("data/greeting.yaml", DATA);
    let rules = "format: 2
rules:
  - rule: {when: greeting, do: greet, once: false, then: {signal: HUP}}
";
    let image = greeter()
        .file("/usr/share/layercake/greeting.rules", rules, 0o644)
        .file(
            "/bin/serve",
            script(
                "trap 'echo reloaded $(cat /dev/shm/greeting)' HUP
                 echo serving $(cat /dev/shm/greeting); while :; do sleep 1000 & wait $!; done",
            ),
            0o755,
        )
        .build();
    let container = Container::of(&image)
        .env("DISCO_CFG", "flat.file=/data")
        .option(mount(&sandbox.path("data"), "/data"))
        .args(["serve"])
        .start();
    container.wait_logs(r#"serving {"greeting":{"text":"hello"}}"#);
    for text in ["good day", "good night"] {
        let draft = sandbox.write("draft", format!("greeting: {{text: {text}}}\n"));
        std::fs::rename(draft, sandbox.path("data/greeting.yaml")).unwrap();
        container.wait_logs(&format!(r#"reloaded {{"greeting":{{"text":"{text}"}}}}"#));
    }
    assert_eq!(stop(&container), 143);
}

#[test]
#[ignore = "needs docker"]
fn on_a_terminal_the_shell_has_job_control() {
    // Counts its SIGINTs; a line `q` ends it.
    let count = script(
        r#"n=0; trap 'n=$((n + 1)); echo int $n' INT
           echo counting $1; until read -r line && [ "$line" = q ]; do :; done; echo total $n"#,
    );
    let image = busybox().file("/bin/count", count, 0o755).build();
    let (_container, mut terminal) = Container::of(&image).args(["sh"]).start_on_terminal();
    let enter = |terminal: &mut Terminal, keys: &str, shown: &str| {
        terminal.type_in(keys);
        terminal.wait_screen(shown);
    };
    terminal.wait_screen("# ");
    enter(&mut terminal, "count one\r", "counting one");
    enter(&mut terminal, "\x03", "int 1");
    enter(&mut terminal, "\x03", "int 2");
    enter(&mut terminal, "q\r", "total 2");
    enter(&mut terminal, "count two\r", "counting two");
    enter(&mut terminal, "\x1a", "Stopped");
    enter(&mut terminal, "fg\r", "fg\r\ncount two");
    enter(&mut terminal, "q\r", "total 0");
    enter(&mut terminal, "\x03", "^C");
    enter(&mut terminal, "echo alive $((6 * 7))\r", "alive 42");
    terminal.type_in("exit 5\r");
    assert_eq!(terminal.wait().code(), Some(5), "{}", terminal.screen());
    let screen = terminal.screen();
    assert!(!screen.contains("job control"), "{screen}");
}

#[test]
#[ignore = "needs docker"]
fn the_size_of_the_terminal_follows() {
    let follow = script(
        "trap 'echo told' WINCH
         for size; do until [ \"$(stty size)\" = \"$size\" ]; do :; done; echo is \"$size\"; done
         until read -r line; do :; done", // which a later WINCH interrupts
    );
    let image = busybox().file("/bin/follow", follow, 0o755).build();
    let (container, mut terminal) = Container::of(&image)
        .args(["follow", "24 80", "33 99"])
        .start_on_terminal();
    terminal.wait_screen("is 24 80");
    let sized = Command::new("stty")
        .arg("-F")
        .arg(client_terminal(&container))
        .args(["rows", "33", "cols", "99"])
        .status();
    assert!(sized.unwrap().success());
    terminal.wait_screen("is 33 99");
    terminal.wait_screen("told");
    terminal.type_in("\r");
    assert_eq!(terminal.wait().code(), Some(0), "{}", terminal.screen());
}

#[test]
#[ignore = "needs docker"]
fn the_example_dockerfile_builds_an_image_that_configures_itself() {
    let context = Sandbox::new();
    let copied = Command::new("cp")
        .args(["-R", "Dockerfile.example", "examples"])
        .arg(context.dir())
        .current_dir(repo())
        .status();
    assert!(copied.unwrap().success());
    std::fs::copy(dist_bin(), context.path("disco")).unwrap();
    // The result takes the name of the base, and is removed as it would be.
    let image = Image::busybox().build();
    let base = format!("BASE={}", image.name());
    let built = Command::new("docker")
        .env("DOCKER_BUILDKIT", "0") // the builder that every engine has
        .args(["build", "--file=Dockerfile.example", "--tag", image.name()])
        .args(["--build-arg=DISCO=disco", "--build-arg", &base, "."])
        .current_dir(context.dir())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&[built.stdout, built.stderr].concat()).into_owned();
    assert!(built.status.success(), "{told}");

    let data = context.path("examples/mysql/mysql.yaml");
    Container::of(&image)
        .option(mount(&data, "/config/mysql.yaml"))
        .run()
        .assert_code(0)
        .assert_stdout("doit\n")
        .assert_stderr_has("Container Configured")
        .assert_stderr_lacks("youshallnot");
}

/// The terminal on which `docker run` shows the container.
fn client_terminal(container: &Container) -> PathBuf {
    let name = container.inspect(".Name");
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let of_client = processes.map(|entry| entry.path()).filter(|process| {
        let words = std::fs::read(process.join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&words)
            .split('\0')
            .any(|word| !word.is_empty() && word == name.trim_start_matches('/'))
    });
    of_client
        .filter_map(|process| std::fs::read_link(process.join("fd/0")).ok())
        .find(|file| file.starts_with("/dev/pts"))
        .expect("the client of a container on a terminal")
}
