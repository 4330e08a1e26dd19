//! Asked from inside of real containers, by `docker exec` and HEALTHCHECK, the disco that ships.

use crate::support::{
    Container, ContainerBuilder, DEADLINE, Image, ImageBuilder, Sandbox, dist_bin, wait_for,
};
use serde_json::Value;
use std::path::Path;
use std::time::{Duration, Instant};

/// disco and busybox, and nothing else: no shell at its place, no directory to write to.
fn scratch() -> ImageBuilder {
    Image::scratch()
        .program("/disco", &dist_bin())
        .program("/busybox", Path::new("/bin/busybox"))
        .change(r#"ENTRYPOINT ["/disco"]"#)
}

/// The same with a rule that waits for `greeting` in `/data/data.yaml`, and a handler that is a program.
fn waiter(once: bool) -> ImageBuilder {
    scratch()
        .program("/usr/share/layercake/true", Path::new("/bin/busybox"))
        .file(
            "/usr/share/layercake/greeting.schema",
            r#"{"name": "greeting", "type": "object", "required": ["text"]}"#,
            0o644,
        )
        .file(
            "/usr/share/layercake/greeting.rules",
            format!("format: 2\nrules: [{{when: greeting, do: 'true', once: {once}}}]"),
            0o644,
        )
        .change("ENV DISCO_CFG=flat.file=/data/data.yaml")
}

/// The data directory of a container.
fn with_data(container: ContainerBuilder, sandbox: &Sandbox) -> ContainerBuilder {
    container.option(format!("--volume={}:/data:ro", sandbox.dir().display()))
}

/// Waits until `--explain` says something, and returns all of it.
#[track_caller]
fn wait_explained(container: &Container, needle: &str) -> String {
    wait_for(&format!("{needle:?} of --explain"), DEADLINE, || {
        let out = container.exec(&["/disco", "--explain"]);
        (out.code == Some(0) && out.stdout.contains(needle)).then_some(out.stdout)
    })
}

fn status(container: &Container) -> Value {
    let out = container.exec(&["/disco", "--explain", "--json"]);
    serde_json::from_str(&out.assert_code(0).stdout).unwrap()
}

#[test]
#[ignore = "needs docker"]
fn exec_explains_the_wait_and_the_run_under_every_restriction() {
    let image = waiter(false).build();
    for options in [
        &[][..],
        &["--read-only"],
        &["--user=65534"],
        &[
            "--user=65534:65534",
            "--read-only",
            "--cap-drop=ALL",
            "--network=none",
        ],
    ] {
        let sandbox = Sandbox::new();
        let container = with_data(Container::of(&image), &sandbox);
        let container = options.iter().fold(container, |c, option| c.option(option));
        let container = container.args(["/busybox", "sleep", "1000"]).start();
        let told = wait_explained(&container, "does not exist yet");
        assert!(told.contains("phase       waiting"), "{options:?}\n{told}");
        sandbox.write("draft", "greeting: {txt: hello}\n");
        std::fs::rename(sandbox.path("draft"), sandbox.path("data.yaml")).unwrap();
        wait_explained(&container, "\"text\" is a required property");
        assert_eq!(container.exec(&["/disco", "--health"]).code, Some(1));
        sandbox.write("draft", "greeting: {text: hello}\n");
        std::fs::rename(sandbox.path("draft"), sandbox.path("data.yaml")).unwrap();
        wait_explained(&container, "Fully configured.");
        container.exec(&["/disco", "--health"]).assert_code(0);
        let told = status(&container);
        assert_eq!(
            (&told["pid"], &told["phase"]),
            (&1.into(), &"running".into())
        );
        assert_eq!(told["rules"][0]["state"], "done");
        assert!(
            !container.logs().contains("WARN  disco: no status"),
            "{}",
            container.logs()
        );
    }
}

#[test]
#[ignore = "needs docker"]
fn a_stopped_agent_costs_its_part_only() {
    let sandbox = Sandbox::new();
    sandbox.write("data.yaml", "greeting: {text: hello}\n");
    let image = waiter(false).build();
    let container = with_data(Container::of(&image), &sandbox);
    let container = container.args(["/busybox", "sleep", "1000"]).start();
    wait_explained(&container, "Fully configured.");
    let agent = status(&container)["agent"]["pid"].to_string();
    container
        .exec(&["/busybox", "kill", "-STOP", &agent])
        .assert_code(0);
    container.wait_logs("the agent was stopped");
    let script = "/busybox time -f %e /disco --explain";
    let out = container.exec(&["/busybox", "sh", "-c", script]);
    assert!(
        out.assert_code(0).stdout.contains("does not answer"),
        "{out:?}"
    );
    let took: f64 = out.stderr.lines().last().unwrap().trim().parse().unwrap();
    assert!(took < 3.0, "{took}");
    container.exec(&["/disco", "--health"]).assert_code(0);
}

/// Waits until Docker says so of the container's health.
#[track_caller]
fn wait_health(container: &Container, word: &str) {
    wait_for(
        &format!("{word} by {}", container.inspect("json .State.Health")),
        2 * DEADLINE,
        || (container.inspect(".State.Health.Status") == word).then_some(()),
    );
}

#[test]
#[ignore = "needs docker"]
fn healthcheck_goes_healthy_and_unhealthy() {
    let check = r#"HEALTHCHECK --interval=1s --timeout=5s --retries=1 CMD ["/disco", "--health"]"#;
    let sandbox = Sandbox::new();
    let image = waiter(false)
        .change(check)
        .change(
            "ENV DISCO_CFG=\"flat.file=/data/data.yaml|disco.health=/busybox test ! -e /data/ill\"",
        )
        .build();
    let container = with_data(Container::of(&image), &sandbox);
    let container = container.args(["/busybox", "sleep", "1000"]).start();
    wait_health(&container, "unhealthy");
    assert!(
        container
            .inspect("json .State.Health.Log")
            .contains("not configured yet")
    );
    sandbox.write("draft", "greeting: {text: hello}\n");
    std::fs::rename(sandbox.path("draft"), sandbox.path("data.yaml")).unwrap();
    wait_health(&container, "healthy");
    sandbox.write("ill", "");
    wait_health(&container, "unhealthy");
}

#[test]
#[ignore = "needs docker"]
fn a_command_that_cannot_say_that_it_is_ready_is_not() {
    let image = scratch().build();
    for options in [&[][..], &["--read-only", "--user=65534"]] {
        let container = Container::of(&image).env("DISCO_CFG", "disco.notify=true");
        let container = options.iter().fold(container, |c, option| c.option(option));
        let script = "echo $NOTIFY_SOCKET; sleep 1000";
        let container = container.args(["/busybox", "sh", "-c", script]).start();
        container.wait_logs("disco-notify.");
        let told = wait_for("an answer", DEADLINE, || {
            let told = status(&container);
            (told["command"]["state"] == "running").then_some(told)
        });
        assert_eq!(told["ready"], false);
        let out = container.exec(&["/disco", "--health"]);
        out.assert_code(1).assert_stdout_has(
            "unhealthy: the command is not ready; with `disco.notify` it says so",
        );
        let started = Instant::now();
        container.stop(Duration::from_secs(10));
        assert!(started.elapsed() < Duration::from_secs(5));
    }
}

#[test]
#[ignore = "needs docker"]
fn a_killed_container_starts_again_with_a_new_socket() {
    let image = scratch().change("ENV DISCO_CFG=disco.notify=true").build();
    let container = Container::of(&image)
        .args(["/busybox", "sleep", "1000"])
        .start();
    wait_explained(&container, "command     `/busybox` running");
    container.signal(nix::sys::signal::Signal::SIGKILL);
    assert_eq!(container.exit_code(), 137);
    container.start_again();
    wait_explained(&container, "command     `/busybox` running");
    assert!(!container.logs().contains("WARN"), "{}", container.logs());
}
