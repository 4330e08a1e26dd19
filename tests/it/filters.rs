//! Under the filters and limits of a container engine, with the disco that ships: what is refused or
//! scarce costs at most what it is for. Numbers are those of the conformance list of PID 1.

use crate::support::{
    Container, ContainerBuilder, DEADLINE, Image, ImageBuilder, Sandbox, dist_bin, proc, wait_for,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::time::Duration;

/// System calls that disco makes and can do without.
const DISPENSABLE: &[&[&str]] = &[
    &["prctl"],
    &["setpgid"],
    &["setsid"],
    &["close_range"],
    &["pidfd_open"],
    &["pidfd_send_signal"],
    &["madvise"],
    &["pwritev2"],
    &["setitimer"],
    &["prlimit64", "setrlimit"],
];
/// With which a profile refuses a call, and an engine one that it does not know.
const REFUSALS: &[i32] = &[libc::EPERM, libc::ENOSYS];

/// A rule that is applied anew, by `greet`, whenever `greeting` in `/data` changes; HUP tells the
/// command.
const SETTINGS: &str = "flat.file=/data";
const SCHEMA: &str = r#"{
    "name": "greeting",
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object", "required": ["text"], "properties": {"text": {"type": "string"}}
}"#;
const RULES: &str = "format: 2
rules:
  - rule: {when: greeting, do: greet, once: false, then: {signal: HUP}}
";
/// `/dev/shm` can be written by everybody, in a read-only container too.
const GREET: &str = "#!/bin/sh\ncat >/dev/shm/greeting\n";

/// Tells what it was greeted with, whether its orphan is reaped, each HUP, and ends with 7 by TERM.
const SERVE: &str = r#"#!/bin/sh
trap 'echo reloaded $(cat /dev/shm/greeting)' HUP
trap 'exit 7' TERM
(sleep 0 &)
while grep -q '^State:.*Z' /proc/[0-9]*/status; do :; done 2>/dev/null
echo serving $(cat /dev/shm/greeting)
while :; do sleep 0.05; done
"#;

fn script(body: &str) -> String {
    format!("#!/bin/sh\n{body}\n")
}

/// An image with disco before whatever is run, and busybox.
fn busybox() -> ImageBuilder {
    Image::busybox()
        .program("/disco", &dist_bin())
        .change(r#"ENTRYPOINT ["/disco"]"#)
}

/// The same with the rule and the command `serve`.
fn server() -> ImageBuilder {
    busybox()
        .file("/usr/share/layercake/greeting.schema", SCHEMA, 0o644)
        .file("/usr/share/layercake/greeting.rules", RULES, 0o644)
        .file("/usr/share/layercake/greet", GREET, 0o755)
        .file("/bin/serve", SERVE, 0o755)
}

/// `/data` of a container, with a first greeting.
fn data() -> Sandbox {
    let sandbox = Sandbox::new();
    greet(&sandbox, "hello");
    sandbox
}

fn greet(data: &Sandbox, text: &str) {
    let draft = data.write("draft", format!("greeting: {{text: {text}}}\n"));
    std::fs::create_dir_all(data.path("data")).unwrap();
    std::fs::rename(draft, data.path("data/greeting.yaml")).unwrap();
}

fn greeted(text: &str) -> String {
    format!(r#"{{"greeting":{{"text":"{text}"}}}}"#)
}

fn configured(image: &Image, data: &Sandbox) -> ContainerBuilder {
    Container::of(image)
        .env("DISCO_CFG", SETTINGS)
        .option(format!("--volume={}:/data:ro", data.path("data").display()))
}

/// What every world must leave standing: configuration, reaping, a change, a signal, the status.
#[track_caller]
fn assert_serves(world: &str, container: ContainerBuilder, data: &Sandbox) {
    greet(data, "hello");
    let container = container.args(["-l", "debug", "serve"]).start();
    container.wait_logs(&format!("serving {}", greeted("hello")));
    greet(data, "good day");
    container.wait_logs(&format!("reloaded {}", greeted("good day")));
    container.signal(Signal::SIGTERM);
    assert_eq!(container.exit_code(), 7, "{world}: {}", container.logs());
    let logs = container.logs();
    for noise in ["WARN", "ERROR", "panicked"] {
        assert!(!logs.contains(noise), "{world}: {logs}");
    }
}

/// A seccomp profile that refuses these calls, as an option of the engine. With no new privileges,
/// since the engine sets the filter last then and needs none of them any more itself.
fn refusing(
    container: ContainerBuilder,
    sandbox: &Sandbox,
    calls: &[&str],
    error: i32,
) -> ContainerBuilder {
    let rule = serde_json::json!({"names": calls, "action": "SCMP_ACT_ERRNO", "errnoRet": error});
    let profile = serde_json::json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]});
    // The engine reads it when it starts the container: every profile needs its own.
    let name = format!("{}-{error}.json", calls.join("-"));
    let file = sandbox.write(&name, profile.to_string());
    container
        .option("--security-opt=no-new-privileges")
        .option(format!("--security-opt=seccomp={}", file.display()))
}

/// A process of a container, as it is seen from outside.
fn outside(container: &Container) -> Pid {
    Pid::from_raw(container.inspect(".State.Pid").parse().unwrap())
}

/// The child of a process with this name.
fn child(parent: Pid, name: &str) -> Option<Pid> {
    let mut children = proc::children(parent).into_iter();
    children.find(|pid| proc::file(*pid, "comm").trim_end() == name)
}

#[track_caller]
fn wait_child(container: &Container, name: &str) -> Pid {
    let parent = outside(container);
    wait_for(&format!("{name} in the container"), DEADLINE, || {
        child(parent, name)
    })
}

#[test]
#[ignore = "needs Docker"]
fn p37_p40_what_a_seccomp_profile_refuses_is_done_without() {
    let (image, data) = (server().build(), data());
    for error in REFUSALS {
        let all = DISPENSABLE.concat();
        for calls in DISPENSABLE.iter().copied().chain([&all[..]]) {
            let container = refusing(configured(&image, &data), &data, calls, *error);
            assert_serves(&format!("{calls:?} gives {error}"), container, &data);
        }
    }
}

#[test]
#[ignore = "needs Docker"]
fn p40_sessions_and_groups_that_are_refused_cost_no_signal() {
    let (image, sandbox) = (busybox().build(), Sandbox::new());
    let body = "trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done";
    for cfg in [
        "disco.session=always",
        "disco.signal_group=true",
        "disco.session=always|disco.signal_group=true",
        "disco.command_death=KILL",
    ] {
        let container = Container::of(&image).env("DISCO_CFG", cfg);
        let calls = DISPENSABLE.concat();
        let container = refusing(container, &sandbox, &calls, libc::EPERM)
            .args(["sh", "-c", body])
            .start();
        container.wait_logs("ready");
        container.signal(Signal::SIGTERM);
        assert_eq!(container.exit_code(), 7, "{cfg}: {}", container.logs());
    }
}

#[test]
#[ignore = "needs Docker"]
fn p40_without_waiting_for_signals_there_is_no_init() {
    let (image, data) = (server().build(), data());
    for error in REFUSALS {
        for container in [Container::of(&image), configured(&image, &data)] {
            refusing(container, &data, &["rt_sigtimedwait"], *error)
                .args(["sleep", "1000"])
                .run()
                .assert_code(125)
                .assert_stderr_has("a seccomp filter must allow rt_sigtimedwait")
                .assert_stderr_lacks("killing");
        }
    }
}

#[test]
#[ignore = "needs Docker"]
fn p40_without_waiting_for_signals_the_grace_is_given_and_not_spun_away() {
    let (image, sandbox) = (busybox().build(), Sandbox::new());
    // The command inherits that TERM is ignored.
    let container = Container::of(&image)
        .env("DISCO_CFG", "disco.drain=2s")
        .option("--entrypoint=sh");
    let container = refusing(container, &sandbox, &["rt_sigtimedwait"], libc::EPERM)
        .args(["-c", "trap '' TERM; exec /disco sleep 1000"])
        .start();
    let init = outside(&container);
    container.wait_logs("rt_sigtimedwait");
    let mut used = Duration::ZERO;
    wait_for("the end", DEADLINE, || {
        let schedstat = proc::file(init, "schedstat");
        let time = schedstat.split_whitespace().next();
        used = time
            .and_then(|time| time.parse().ok())
            .map_or(used, Duration::from_nanos);
        (container.inspect(".State.Running") == "false").then_some(())
    });
    assert_eq!(container.exit_code(), 125);
    container.wait_logs("killing what is left after 2s: sleep");
    assert!(
        used < Duration::from_millis(500),
        "{used:?} of processor time"
    );
}

#[test]
#[ignore = "needs Docker"]
fn p40_an_agent_that_there_is_no_room_for_comes_back_once_there_is() {
    // A fork that fails ends the shell: it begins anew, as the same process.
    let eat = script(
        "trap 'exec /bin/eat' EXIT
         trap 'trap - EXIT; exit 7' TERM
         trap 'echo told' HUP
         until [ -e /data/enough ]; do sleep 1000 & done 2>/dev/null
         while :; do sleep 0.05; done",
    );
    let (image, data) = (server().file("/bin/eat", eat, 0o755).build(), data());
    let container = configured(&image, &data)
        .option("--pids-limit=30")
        .args(["eat"])
        .start();
    let init = outside(&container);
    let command = wait_child(&container, "eat");
    let agent = wait_child(&container, "disco");
    wait_for("all pids to be taken", DEADLINE, || {
        (proc::descendants(init).len() == 29).then_some(())
    });
    kill(agent, Signal::SIGKILL).unwrap();
    container.wait_logs("cannot start the agent: Try again");
    data.write("data/enough", "");
    greet(&data, "good day");
    container.update("--pids-limit=100");
    let agent = wait_child(&container, "disco");
    container.wait_logs("told");
    assert!(proc::is_alive(agent) && proc::is_alive(command));
    container.signal(Signal::SIGTERM);
    assert_eq!(container.exit_code(), 7, "{}", container.logs());
}

#[test]
#[ignore = "needs Docker"]
fn p40_a_limit_of_processes_that_leaves_none_for_the_command_is_told() {
    let image = busybox().build();
    Container::of(&image)
        .option("--pids-limit=1")
        .args(["true"])
        .run()
        .assert_code(125)
        .assert_stderr_has("a limit of processes");
}

#[test]
#[ignore = "needs Docker"]
fn p41_nothing_that_can_be_written_no_rights_and_no_network_are_enough() {
    let (image, data) = (server().build(), data());
    let world = [
        "--read-only",
        "--user=1000:1000",
        "--cap-drop=ALL",
        "--network=none",
    ];
    let container = world
        .iter()
        .fold(configured(&image, &data), |c, option| c.option(option));
    assert_serves("restricted", container.clone(), &data);
    let all = DISPENSABLE.concat();
    let container = refusing(container, &data, &all, libc::EPERM);
    assert_serves("restricted and filtered", container, &data);
}

#[test]
#[ignore = "needs Docker"]
fn p21_a_command_that_has_become_root_is_outlived_by_a_disco_that_is_not() {
    let su = std::fs::read("/bin/busybox").unwrap();
    let image = busybox()
        .file("/suid/su", su, 0o4755)
        .file(
            "/etc/passwd",
            "root::0:0::/:/bin/sh\nuser:x:1000:1000::/:/bin/sh\n",
            0o644,
        )
        .build();
    let body = "echo ready; until [ -e /dev/shm/go ]; do sleep 0.05; done; exit 7";
    let container = Container::of(&image)
        .user("1000:1000")
        .args(["/suid/su", "-c", body, "root"])
        .start();
    container.wait_logs("ready");
    let command = wait_child(&container, "sh");
    assert!(proc::status(command, "Uid").is_some_and(|ids| ids.starts_with("0\t0\t")));
    container.signal(Signal::SIGTERM);
    container.wait_logs("cannot send SIGTERM to the command: Operation not permitted");
    let touched = container.exec(&["touch", "/dev/shm/go"]);
    touched.assert_code(0);
    assert_eq!(container.exit_code(), 7, "{}", container.logs());
    assert!(container.logs().contains("WARN"));
}

#[test]
#[ignore = "needs Docker"]
fn a_command_that_runs_out_of_memory_is_told_so() {
    let image = busybox().build();
    let output = Container::of(&image)
        .option("--memory=16m")
        .option("--memory-swap=16m")
        .args(["tail", "/dev/zero"])
        .run();
    output.assert_code(137);
    let last = output.stderr.lines().last().unwrap_or_default();
    assert!(last.contains("out of memory"), "{}", output.stderr);
}

#[test]
#[ignore = "needs Docker"]
fn whoever_is_stubborn_is_ended_before_the_engine_does_it() {
    let image = busybox()
        .file(
            "/bin/mother",
            script(
                "trap 'exit 7' TERM
                 setsid sh -c \"trap '' TERM; echo ready; while :; do sleep 0.05; done\" &
                 while :; do sleep 0.05; done",
            ),
            0o755,
        )
        .file(
            "/bin/stubborn",
            script("trap '' TERM; echo ready; while :; do sleep 0.05; done"),
            0o755,
        )
        .build();
    for (command, code, told) in [
        ("mother", 7, "killing what is left after"),
        ("stubborn", 9, "the command did not end in time; killing it"),
    ] {
        let container = Container::of(&image)
            .env("DISCO_CFG", "disco.runtime_grace=3|disco.exit_map=137:9")
            .args([command])
            .start();
        container.wait_logs("ready");
        // What the engine kills has 137, whatever disco is to make of it.
        container.stop(Duration::from_secs(3));
        assert_eq!(container.exit_code(), code, "{}", container.logs());
        let logs = container.logs();
        assert!(logs.contains(told), "{logs}");
    }
}

#[test]
#[ignore = "needs Docker"]
fn disco_is_the_engines_init_under_its_name() {
    let image = Image::busybox()
        .program("/disco", &dist_bin())
        .link("/sbin/docker-init", "/disco")
        .change(r#"ENTRYPOINT ["/sbin/docker-init", "--"]"#)
        .file(
            "/bin/polite",
            script("trap 'exit 7' TERM; (sleep 1000 &) ; echo ready; while :; do sleep 0.05; done"),
            0o755,
        )
        .build();
    let run = |words: &[&str]| Container::of(&image).args(words).run();
    run(&["sh", "-c", "echo $PPID; exit 42"])
        .assert_code(42)
        .assert_stdout("1\n")
        .assert_stderr_lacks("disco");
    run(&["/missing"]).assert_code(127);
    let container = Container::of(&image).args(["polite"]).start();
    container.wait_logs("ready");
    assert!(container.stop(Duration::from_secs(10)) < Duration::from_secs(5));
    assert_eq!(container.exit_code(), 7, "{}", container.logs());
    let version = Container::of(&image)
        .option("--entrypoint=/sbin/docker-init")
        .args(["--version"])
        .run();
    version.assert_code(0);
    assert!(version.stdout.starts_with("tini version "), "{version:?}");
}

#[test]
#[ignore = "needs Docker"]
fn p26_keys_reach_a_command_that_is_no_shell_once_and_none_hangs_the_container() {
    let count = script(
        r#"n=0; trap 'n=$((n + 1)); echo int $n' INT; trap 'echo continued' CONT
           echo counting; until read -r line && [ "$line" = q ]; do :; done; echo total $n; exit 5"#,
    );
    let image = busybox().file("/bin/count", count, 0o755).build();
    let (_container, mut terminal) = Container::of(&image).args(["count"]).start_on_terminal();
    terminal.wait_screen("counting");
    terminal.type_in("\x03");
    terminal.wait_screen("int 1");
    terminal.type_in("\x1a");
    terminal.wait_screen("continued");
    terminal.type_in("\x03");
    terminal.wait_screen("int 2");
    terminal.type_in("q\r");
    assert_eq!(terminal.wait().code(), Some(5), "{}", terminal.screen());
    assert!(
        terminal.screen().contains("total 2"),
        "{}",
        terminal.screen()
    );
}

#[test]
#[ignore = "needs Docker"]
fn p26_a_shell_without_rights_has_job_control() {
    let image = busybox().build();
    let world = ["--read-only", "--user=1000:1000", "--cap-drop=ALL"];
    let container = world
        .iter()
        .fold(Container::of(&image), |c, option| c.option(option));
    let (_container, mut terminal) = container.args(["sh"]).start_on_terminal();
    terminal.wait_screen("$ ");
    terminal.type_in("sh -c 'echo sta''rted; exec sleep 1000'\r");
    terminal.wait_screen("started\r\n");
    terminal.type_in("\x1a");
    terminal.wait_screen("Stopped");
    terminal.type_in("kill -9 %1; exec sh -c 'exit 5'\r");
    assert_eq!(terminal.wait().code(), Some(5), "{}", terminal.screen());
    let screen = terminal.screen();
    assert!(!screen.contains("job control"), "{screen}");
}

#[test]
#[ignore = "needs Docker"]
fn p14_in_another_containers_pid_namespace_only_our_own_are_ended() {
    let image = busybox()
        .file(
            "/bin/ours",
            script(
                "(setsid sleep 4321 &)
                 (true &)
                 trap 'exit 4' TERM; echo ready; while :; do sleep 0.05; done",
            ),
            0o755,
        )
        .build();
    let sandbox = Sandbox::new();
    let host = Container::of(&image).args(["sleep", "4322"]).start();
    let stranger = wait_child(&host, "sleep");
    let shared = format!("--pid=container:{}", host.inspect(".Id"));
    // By itself it would become the command there, since it is not PID 1.
    let guest = Container::of(&image)
        .env("DISCO_CFG", "disco.mode=supervise")
        .option(shared);
    let refused = |error| refusing(guest.clone(), &sandbox, &["pidfd_send_signal"], error);
    for guest in [
        guest.clone(),
        refused(libc::EPERM),
        refused(libc::ENOSYS),
        refusing(guest.clone(), &sandbox, &["pidfd_open"], libc::EPERM),
    ] {
        let guest = guest.args(["ours"]).start();
        guest.wait_logs("ready");
        let init = outside(&guest);
        // It adopts orphans by itself, and reaps those that end.
        let orphan = wait_for("the orphan to be adopted", DEADLINE, || {
            child(init, "sleep")
        });
        wait_for("the other orphan to be reaped", DEADLINE, || {
            (proc::children(init).len() == 2 && proc::zombies(init) == 0).then_some(())
        });
        guest.signal(Signal::SIGTERM);
        assert_eq!(guest.exit_code(), 4, "{}", guest.logs());
        assert!(!proc::is_alive(orphan), "{}", guest.logs());
        assert!(!guest.logs().contains("WARN"), "{}", guest.logs());
        assert!(proc::is_alive(stranger) && proc::is_alive(outside(&host)));
    }
}
