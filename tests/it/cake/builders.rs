//! What builders are told and what becomes of what they say, with programs in their place.

use std::fs;

use super::{OWN, block, project};
use crate::support::{Cake, DEADLINE, wait_for};

/// What stands in for docker: it says what it is, knows no image, and builds.
const DOCKER: &str =
    "case $1 in version) echo linux/amd64;; image) echo 'no such image' >&2; exit 1;; esac";

#[test]
fn a_dry_run_shows_the_difference_and_the_builder_and_changes_nothing() {
    let cake = project().with_builder("docker", DOCKER);
    let output = cake.run(["build", "--dry-run", "-t", "my app", "--", "--no-cache"]);
    output
        .assert_code(0)
        .assert_stdout_has("+ENTRYPOINT [\"/usr/bin/disco\", \"--\", \"/app\"]")
        .assert_stderr_has("Would write .cake/disco")
        .assert_stderr_has("Would run docker build --file Dockerfile --tag 'my app' --no-cache .");
    assert_eq!(cake.files().len(), 1);
    assert!(!cake.words("docker").contains(&"build".to_owned()));
}

#[test]
fn c3_the_builder_gets_what_was_said_and_the_image_its_name() {
    let cake = project().with_builder("docker", DOCKER);
    let output = cake.run([
        "build",
        "--target",
        "0",
        "--build-arg",
        "A=1",
        "--",
        "--label",
        "x=y z",
    ]);
    output
        .assert_code(0)
        .assert_stderr_has("Built layercake/disco");
    let words = cake.words("docker");
    let at = words.iter().position(|word| word == "build").unwrap();
    assert_eq!(
        words[at..],
        [
            "build",
            "--file",
            "Dockerfile",
            "--tag",
            "layercake/disco",
            "--target",
            "0",
            "--build-arg",
            "A=1",
            "--label",
            "x=y z",
            "."
        ]
    );
    output.assert_stdout("");
}

#[test]
fn c39_a_build_that_fails_fails_cake_with_the_builders_own_words() {
    let docker =
        format!("{DOCKER}\nif [ $1 = build ]; then echo 'COPY failed: no /app' >&2; exit 7; fi");
    let cake = project().with_builder("docker", &docker);
    cake.run(["build"])
        .assert_code(1)
        .assert_stderr_has("COPY failed: no /app")
        .assert_stderr_has("docker has not built the image: exit status 7");
    // A builder that is not there is told before anything is written.
    let cake = project().env("PATH", "/nonexistent");
    cake.run(["build"])
        .assert_code(1)
        .assert_stderr_has("docker: not installed")
        .assert_stderr_has("buildah: not installed");
    assert_eq!(cake.files().len(), 1);
    let cake = project().with_builder(
        "docker",
        "echo 'Cannot connect to the Docker daemon' >&2; exit 1",
    );
    cake.run(["build"])
        .assert_code(1)
        .assert_stderr_has("Cannot connect to the Docker daemon");
}

#[test]
fn the_first_builder_that_answers_builds() {
    let silent = "exit 1";
    let cake = project()
        .with_builder("docker", silent)
        .with_builder("podman", "[ $1 = version ] && echo linux/amd64; exit 0");
    cake.run(["build", "-t", "a"])
        .assert_code(0)
        .assert_stderr_has("with podman");
    assert!(
        cake.words("podman")
            .ends_with(&["--tag".to_owned(), "a".to_owned(), ".".to_owned()])
    );
    let cake = project().with_builder(
        "buildah",
        "[ $1 = version ] && echo 'BuildPlatform:   linux/amd64'; exit 0",
    );
    cake.run(["build", "-t", "a"])
        .assert_code(0)
        .assert_stderr_has("with buildah");
    let cake = project().with_builder("docker", DOCKER);
    cake.run(["build", "--builder", "buildx", "-t", "a"])
        .assert_code(0);
    assert!(cake.words("docker").contains(&"--load".to_owned()));
}

#[test]
fn an_image_that_is_not_here_is_fetched_for_a_build_only() {
    let docker = r#"case $1 in
        version) echo linux/amd64;;
        pull) : >"$HOME/pulled";;
        image) [ -e "$HOME/pulled" ] || { echo 'Error: No such image: base' >&2; exit 1; }
            echo '[{"Id": "x", "Config": {"Cmd": ["c"]}}]';;
    esac"#;
    let cake = Cake::of("FROM base\n")
        .with_any_disco()
        .with_builder("docker", docker);
    cake.run(["build", "-n"]).assert_code(78);
    cake.run(["build", "--offline"]).assert_code(78);
    assert!(!cake.words("docker").contains(&"pull".to_owned()));
    cake.run(["build"])
        .assert_code(0)
        .assert_stderr_has("Fetching base");
    let dockerfile = cake.read("Dockerfile");
    assert_eq!(
        block(&dockerfile)[2..],
        [r#"ENTRYPOINT ["/usr/bin/disco", "--"]"#, r#"CMD ["c"]"#]
    );
}

#[test]
fn what_dockerignore_keeps_away_is_told_before_the_builder_fails() {
    let cake = project().with_builder("docker", DOCKER);
    cake.write(".dockerignore", "# ours\n.*\n");
    cake.run(["build"])
        .assert_code(78)
        .assert_stderr_has(".dockerignore:2:1: keeps .cake/manifest.json from the builder")
        .assert_stderr_has("!.cake");
    assert_eq!(cake.read("Dockerfile"), OWN);
    cake.write(".dockerignore", "# ours\n.*\n!.cake\n!.cake/**\n");
    cake.run(["build"]).assert_code(0);
}

#[test]
fn a_program_gets_results_on_stdout_and_events_on_stderr() {
    let cake = project().with_builder("docker", DOCKER);
    let output = cake.run(["build", "--json", "-t", "x"]);
    output.assert_code(0);
    let report: serde_json::Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(
        report["entrypoint"],
        serde_json::json!(["/usr/bin/disco", "--", "/app"])
    );
    assert_eq!(report["images"], serde_json::json!(["x"]));
    let events: Vec<serde_json::Value> = output
        .stderr
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(events.iter().any(|event| event["verb"] == "Built"));
    let output = cake.run(["build", "--json", "-d", "gone"]);
    output.assert_code(78);
    let event: serde_json::Value = serde_json::from_str(output.stderr.trim()).unwrap();
    assert_eq!(
        (&event["event"], &event["file"]),
        (&"error".into(), &"gone".into())
    );
    cake.run(["build", "--progress", "quiet"])
        .assert_code(0)
        .assert_stdout("");
    assert!(cake.words("docker").contains(&"--quiet".to_owned()));
}

#[test]
fn what_is_passed_on_must_not_contradict_what_is_baked() {
    let cake = project().with_builder("docker", DOCKER);
    for rest in [
        &["--target", "x"][..],
        &["-fD"],
        &["--file=D"],
        &["--build-arg", "A=1"],
        &["--platform=x"],
    ] {
        let words = [&["build", "--"][..], rest].concat();
        cake.run(words)
            .assert_code(64)
            .assert_stderr_has("before the `--`");
    }
    assert_eq!(cake.files().len(), 1);
}

#[test]
fn every_file_that_is_copied_has_to_reach_the_builder() {
    let cake = project();
    let bake = || cake.run(["build", "-n", "--in-place", "--layer", "mysql"]);
    cake.write(".dockerignore", "**/*.schema\n");
    bake()
        .assert_code(78)
        .assert_stderr_has(".dockerignore:1:1: keeps .cake/layers/mysql/mysql.schema");
    // Without layers none has to.
    cake.write(".dockerignore", "**/layers\n");
    cake.run(["build", "-n", "--in-place"]).assert_code(0);
    // The classic builder knows one file only; BuildKit prefers the other.
    cake.write(".dockerignore", "");
    cake.write("Dockerfile.dockerignore", "*\n");
    let cake = cake.with_builder("docker", DOCKER);
    cake.run(["build", "--builder", "buildx"])
        .assert_code(78)
        .assert_stderr_has("Dockerfile.dockerignore:1:1");
    let cake = cake.env("DOCKER_BUILDKIT", "0");
    cake.run(["build"]).assert_code(0);
}

#[test]
fn an_ignore_file_of_the_dockerfile_is_not_lost_for_another_name() {
    let cake = project().with_builder("docker", DOCKER);
    cake.write("Dockerfile.dockerignore", ".env\n");
    let words = ["build", "--builder", "buildx", "-o", "Other"];
    cake.run(words)
        .assert_code(78)
        .assert_stderr_has("Dockerfile.dockerignore");
    assert!(!cake.at("Other").exists());
    cake.write("Other.dockerignore", ".env\n");
    cake.run(words).assert_code(78);
    fs::remove_file(cake.at("Dockerfile.dockerignore")).unwrap();
    cake.run(words).assert_code(0);
    assert!(cake.at("Other").exists());
}

#[test]
fn the_disco_is_for_the_architecture_of_the_base_image() {
    let docker = r#"case $1 in
        version) echo linux/amd64;;
        image) echo '[{"Id": "x", "Architecture": "s390x", "Config": {}}]';;
    esac"#;
    let cake = Cake::of("FROM base\nCMD [\"x\"]\n")
        .with_any_disco()
        .with_builder("docker", docker);
    cake.run(["build"])
        .assert_code(1)
        .assert_stderr_has("for s390x");
    cake.run(["wrap", "base", "-t", "x"])
        .assert_code(1)
        .assert_stderr_has("for s390x");
    cake.write(
        "Dockerfile",
        "FROM --platform=linux/riscv64 base\nCMD [\"x\"]\n",
    );
    cake.run(["build", "-n", "--in-place"])
        .assert_code(1)
        .assert_stderr_has("for riscv64");
}

#[test]
fn all_that_is_said_for_a_program_is_json() {
    let docker = format!("{DOCKER}\nif [ $1 = build ]; then echo out; echo err >&2; fi");
    let cake = project().with_builder("docker", &docker);
    for words in [
        &["build", "-n"][..],
        &["build", "-o", "-"],
        &["build", "--check"],
        &["build", "--dry-run"],
        &["build"],
        &["unbake"],
        &["lock"],
    ] {
        let output = cake.run([&["--json"][..], words].concat());
        serde_json::from_str::<serde_json::Value>(&output.stdout)
            .unwrap_or_else(|error| panic!("{words:?}: {error}: {output:?}"));
        for line in output.stderr.lines() {
            serde_json::from_str::<serde_json::Value>(line)
                .unwrap_or_else(|error| panic!("{words:?}: {error}: {line}"));
        }
        if words == ["build"] {
            output.assert_stderr_has(r#"{"event":"output","line":"out"}"#);
            output.assert_stderr_has(r#"{"event":"output","line":"err"}"#);
        }
    }
}

#[test]
fn a_builder_is_ended_with_cake() {
    let docker = format!(
        "{DOCKER}\nif [ $1 = build ]; then trap 'echo ended >\"$HOME/ended\"; exit 1' TERM; : >\"$HOME/started\"; while :; do :; done; fi"
    );
    let cake = project().with_builder("docker", &docker);
    let mut child = cake.start(["build"]);
    let home = cake.at("..");
    wait_for("the builder to start", DEADLINE, || {
        home.join("started").exists().then_some(())
    });
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(143));
    assert!(home.join("ended").exists());
}
