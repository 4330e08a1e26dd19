//! cake as its users call it: what it prints, writes and leaves alone. Builders are stood in for
//! in [`builders`]; images are built and run in [`images`].

mod builders;
mod images;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::support::{Cake, Output};

/// A Dockerfile that needs no base image to be known.
const OWN: &str = "FROM example/app\nCOPY app /app\nENTRYPOINT [\"/app\"]\nCMD [\"serve\"]\n";

fn project() -> Cake {
    Cake::of(OWN).with_any_disco()
}

/// The lines of the block in a Dockerfile, without its marks.
fn block(dockerfile: &str) -> Vec<&str> {
    let lines = dockerfile.lines();
    let inside = lines
        .skip_while(|line| !line.starts_with("# >>> cake "))
        .skip(1);
    inside.take_while(|line| *line != "# <<< cake").collect()
}

#[test]
fn c1_without_a_verb_it_helps_and_every_verb_has_help() {
    let cake = Cake::new();
    let help = cake.run([] as [&str; 0]);
    help.assert_code(0)
        .assert_stdout_has("Usage: cake")
        .assert_stdout_has("Exit codes:");
    for verb in [
        "build",
        "bake",
        "wrap",
        "unbake",
        "layer",
        "search",
        "show",
        "lint",
        "test",
        "new-layer",
        "lock",
        "update",
        "vendor",
        "index",
        "completions",
        "man",
    ] {
        cake.run([verb, "--help"])
            .assert_code(0)
            .assert_stdout_has("Usage: cake");
        cake.run(["help", verb]).assert_code(0);
    }
    cake.run(["--version"])
        .assert_code(0)
        .assert_stdout_has("cake ");
    assert!(cake.files().is_empty());
}

#[test]
fn a_wrong_command_line_is_64_with_a_suggestion() {
    let cake = project();
    for (words, told) in [
        (&["biuld"][..], "build"),
        (&["build", "--chek"], "--check"),
        (&["build", "--in-place"], "--no-build"),
        (&["build", "-n", "--entrypoint", "[1"], "JSON array"),
        (&["build", "-n", "--build-arg", "=x"], "NAME=VALUE"),
        (&["build", "-n", "--layer", "a b"], "--layer"),
        (&["build", "--builder", "kaniko"], "podman"),
        (&["search"], "TERM"),
        (&["wrap"], "IMAGE"),
        (&["test", "no-such-layer"], "no layer"),
    ] {
        cake.run(words).assert_code(64).assert_stderr_has(told);
    }
}

#[test]
fn c34_without_building_it_prints_the_dockerfile_and_writes_nothing() {
    let cake = Cake::of(OWN);
    let before = cake.files();
    for words in [
        &["build", "-n"][..],
        &["bake", "--no-build"],
        &["build", "-o", "-"],
    ] {
        let output = cake.run(words);
        output.assert_code(0);
        assert!(output.stdout.starts_with(OWN), "{}", output.stdout);
        assert_eq!(
            block(&output.stdout),
            [
                "COPY .cake/disco /usr/bin/disco",
                "COPY .cake/manifest.json /usr/share/layercake/manifest.json",
                r#"ENTRYPOINT ["/usr/bin/disco", "--", "/app"]"#,
            ]
        );
        assert_eq!(cake.files(), before);
    }
}

#[test]
fn c38_in_place_it_is_written_once_checked_and_taken_out_again() {
    let cake = project();
    let check = |code| cake.run(["build", "--check"]).assert_code(code).clone();
    check(1).assert_stderr_has("Dockerfile: is not as cake would have it");
    assert_eq!(cake.files().len(), 1, "a check writes nothing");
    let output = cake.run(["build", "-n", "--in-place"]);
    output.assert_code(0).assert_stderr_has("Edited Dockerfile");
    let files = cake.files();
    let names: Vec<_> = files
        .keys()
        .map(|path| path.display().to_string())
        .collect();
    assert_eq!(
        names,
        [
            ".cake/disco",
            ".cake/manifest.json",
            "Dockerfile",
            "cake.lock"
        ]
    );
    let mode = fs::metadata(cake.at(".cake/disco"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o755);
    check(0).assert_stderr_has("nothing would change");

    let times = |cake: &Cake| -> Vec<_> {
        let files = cake.files();
        files
            .keys()
            .map(|path| {
                fs::metadata(cake.at(path.to_str().unwrap()))
                    .unwrap()
                    .modified()
                    .unwrap()
            })
            .collect()
    };
    let before = times(&cake);
    cake.run(["build", "-n", "--in-place"])
        .assert_code(0)
        .assert_stderr_has("Unchanged");
    assert_eq!(cake.files(), files);
    assert_eq!(times(&cake), before, "the builder's cache must hold");

    cake.write(".cake/manifest.json", "{}");
    check(1).assert_stderr_has(".cake/manifest.json: is not up to date");
    cake.run(["unbake"])
        .assert_code(0)
        .assert_stderr_has("Unbaked");
    assert_eq!(cake.read("Dockerfile"), OWN);
    cake.run(["unbake"])
        .assert_code(0)
        .assert_stderr_has("Unchanged");
}

#[test]
fn what_the_builder_does_not_know_of_the_base_is_asked_for() {
    let cake = Cake::of("FROM base\nCMD [\"x\"]\n").with_any_disco();
    let refused = |output: &Output| {
        output
            .assert_code(78)
            .assert_stderr_has(
                "Dockerfile:1:1: the ENTRYPOINT of the base image `base` is not known",
            )
            .assert_stderr_has("--base-config");
    };
    let cake = cake.env("PATH", "/nonexistent");
    refused(&cake.run(["build", "-n"]));
    let entrypoint = |output: Output| {
        output.assert_code(0);
        block(&output.stdout).last().unwrap().to_string()
    };
    let words = ["build", "-n", "--entrypoint", r#"["/e", "a b"]"#];
    assert_eq!(
        entrypoint(cake.run(words)),
        r#"ENTRYPOINT ["/usr/bin/disco", "--", "/e", "a b"]"#
    );
    assert_eq!(
        entrypoint(cake.run(["build", "-n", "--entrypoint", ""])),
        r#"ENTRYPOINT ["/usr/bin/disco", "--"]"#
    );
    cake.write("base.json", r#"[{"Config": {"Entrypoint": ["/f"]}}]"#);
    assert_eq!(
        entrypoint(cake.run(["build", "-n", "--base-config", "base.json"])),
        r#"ENTRYPOINT ["/usr/bin/disco", "--", "/f"]"#
    );
    cake.write("base.json", "no json");
    cake.run(["build", "-n", "--base-config", "base.json"])
        .assert_code(78)
        .assert_stderr_has("base.json:1:");
}

#[test]
fn c12_the_layers_of_cake_conf_are_gathered_in_order() {
    let cake = project();
    for (name, needs) in [("web", "[db]"), ("db", "[]")] {
        cake.write(
            &format!("layers/{name}/layer.yaml"),
            format!("layer: {{name: {name}, layers: {needs}}}"),
        );
        cake.write(
            &format!("layers/{name}/{name}.schema"),
            format!("{{name: {name}, type: object}}"),
        );
        cake.write(&format!("layers/{name}/example/data.yaml"), "secret: 1");
    }
    cake.write("cake.conf", "cake:\n  layers:\n    - {name: web, path: layers/web}\n    - {name: db, path: layers/db}\n");
    cake.run(["build", "-n", "--in-place"])
        .assert_code(0)
        .assert_stderr_has("Resolved db, web");
    assert_eq!(cake.read(".cake/layers/.order"), "db\nweb\n");
    assert!(cake.at(".cake/layers/db/db.schema").exists());
    assert!(
        !cake.at(".cake/layers/db/example").exists(),
        "examples are not for images"
    );
    let dockerfile = cake.read("Dockerfile");
    assert!(block(&dockerfile).contains(&"COPY .cake/layers/ /usr/share/layercake/layers/"));
    assert!(!dockerfile.contains("--install-layers"));

    // C-11: only what has an `install` asks for a RUN, and the user comes back after it.
    cake.write_program("layers/db/install", "#!/bin/sh\n");
    cake.write("Dockerfile", format!("{OWN}USER app:app\n"));
    cake.run(["build", "--locked", "-n", "--in-place"])
        .assert_code(1)
        .assert_stderr_has("`db`");
    cake.run(["build", "-n", "--in-place"]).assert_code(0);
    let dockerfile = cake.read("Dockerfile");
    let lines = block(&dockerfile);
    let at = lines.iter().position(|line| *line == "USER 0:0").unwrap();
    assert_eq!(
        lines[at..at + 3],
        [
            "USER 0:0",
            r#"RUN ["/usr/bin/disco", "--install-layers"]"#,
            "USER app:app"
        ]
    );
    cake.run(["build", "--locked", "-n", "--in-place"])
        .assert_code(0);
    cake.write("cake.conf", "cake: {layers: []}");
    cake.run(["build", "-n", "--in-place"]).assert_code(0);
    assert!(!cake.read("Dockerfile").contains("layers"));
}

#[test]
fn contract_and_settings_go_along_once_they_are_right() {
    let cake = project();
    cake.write(
        "asyncy.yml",
        "cap: [nonsense]\nhealth: {tcp: 8080}\nenv: {A: {tipe: int}}\n",
    );
    let output = cake.run(["build", "-n", "--in-place"]);
    output
        .assert_code(78)
        .assert_stderr_has("asyncy.yml:1:")
        .assert_stderr_has("nonsense");
    assert_eq!(cake.files().len(), 2);
    cake.write("asyncy.yml", "cap: [chown]\nhealth: {tcp: 8080}\n");
    cake.write("disco.conf", "flat: {file: /config}\n");
    cake.write("Dockerfile", format!("{OWN}USER 7\n"));
    cake.write("base.json", "[{\"Config\": {\"User\": \"\"}}]");
    let bake = || cake.run(["build", "-n", "--in-place", "--base-config", "base.json"]);
    bake().assert_code(0).assert_stderr_has("`cap`");
    let dockerfile = cake.read("Dockerfile");
    let lines = block(&dockerfile);
    for line in [
        "COPY .cake/asyncy.yml /usr/share/layercake/asyncy.yml",
        "COPY .cake/disco.conf /usr/share/layercake/disco.conf",
        r#"HEALTHCHECK --interval=10s CMD ["/usr/bin/disco", "--health"]"#,
    ] {
        assert!(lines.contains(&line), "{line} in {dockerfile}");
    }
    assert_eq!(cake.read(".cake/disco.conf"), "flat: {file: /config}\n");
    fs::remove_file(cake.at("disco.conf")).unwrap();
    bake().assert_code(0);
    assert!(
        !cake.at(".cake/disco.conf").exists(),
        "nothing stale is left"
    );
}

#[test]
fn a_disco_that_would_not_run_there_is_refused() {
    let cake = Cake::of(OWN);
    cake.write("script", "#!/bin/sh\n");
    for (words, told) in [
        (&["--disco", "script"][..], "is no program of Linux"),
        (&["--disco", "gone"], "cannot read disco"),
    ] {
        let words = [&["build", "-n", "--in-place"][..], words].concat();
        cake.run(&words)
            .assert_code(1)
            .assert_stderr_has(told)
            .assert_stderr_has("--profile dist");
    }
    let cake = project();
    cake.run(["build", "-n", "--in-place", "--platform", "linux/s390x"])
        .assert_code(1)
        .assert_stderr_has("for s390x");
    assert_eq!(cake.files().len(), 1);
    let output = cake.run(["build", "-n", "--from-image", "example/disco@sha256:00"]);
    assert_eq!(
        block(&output.stdout)
            .first()
            .unwrap_or(&output.stderr.as_str()),
        &"COPY --from=example/disco@sha256:00 /usr/bin/disco /usr/bin/disco"
    );
}

#[test]
fn every_problem_of_a_project_is_told_at_once() {
    let cake = Cake::of(OWN);
    cake.write("cake.conf", "cake: {layers: [a/b, {path: x}]}");
    cake.write("asyncy.yml", "commands: 7");
    let output = cake.run(["build", "-n"]);
    output.assert_code(78);
    let lines = output
        .stderr
        .lines()
        .filter(|line| line.starts_with("cake: error:"));
    assert!(lines.count() >= 3, "{}", output.stderr);
    cake.write("cake.conf", "cake: {layrs: [mysql], mine: 1}");
    cake.run(["build", "-n"])
        .assert_code(78)
        .assert_stderr_has("cake.conf:1:15: `cake.layrs`: unknown key; did you mean `layers`?");
    cake.run(["build", "-n", "mine.conf"])
        .assert_code(78)
        .assert_stderr_has("mine.conf");
    Cake::new()
        .run(["build"])
        .assert_code(78)
        .assert_stderr_has("Dockerfile: does not exist");
}

#[test]
fn a_layer_that_nobody_has_is_told_with_what_there_is() {
    let cake = project();
    cake.run(["build", "-n", "--layer", "mysqll"])
        .assert_code(1)
        .assert_stderr_has("did you mean `mysql`");
    let output = cake.run(["build", "-n", "--layer", "mysql"]);
    output
        .assert_code(0)
        .assert_stdout_has("COPY .cake/layers/ ");
}

#[test]
fn layers_are_locked_vendored_and_listed_without_a_network() {
    let cake = project();
    cake.write("cake.conf", "cake: {layers: [redis]}");
    cake.run(["lock", "--offline"])
        .assert_code(0)
        .assert_stderr_has("Wrote cake.lock");
    cake.run(["lock", "--offline"])
        .assert_code(0)
        .assert_stderr_has("Unchanged cake.lock");
    cake.run(["vendor", "--locked"])
        .assert_code(0)
        .assert_stderr_has("Wrote .cake/layers");
    assert!(cake.at(".cake/layers/redis/layer.yaml").exists());
    cake.run(["update", "redis"]).assert_code(0);
    cake.run(["update", "mysql"]).assert_code(64);
    cake.run(["search", "redis"])
        .assert_code(0)
        .assert_stdout_has("redis");
    cake.run(["layer", "redis", "-d", "out"]).assert_code(0);
    assert!(cake.at("out/redis/layer.yaml").exists());
}

#[test]
fn those_who_write_layers_get_a_layer_that_works() {
    let cake = Cake::new().env("CAKE_DISCO", super::support::disco_bin());
    cake.run(["new-layer", "mine", "-d", "layers"])
        .assert_code(0);
    cake.run(["lint", "--strict", "layers/mine"]).assert_code(0);
    cake.run(["test", "layers/mine"]).assert_code(0);
    cake.run(["test", "redis", "mysql"])
        .assert_code(0)
        .assert_stdout_has("as expected");
    cake.run(["test", "--update", "redis"]).assert_code(64);
    cake.run(["new-layer", "mine", "-d", "layers"])
        .assert_code(1)
        .assert_stderr_has("overwritten");
    cake.write("layers/mine/broken.rules", "rules: 7");
    cake.run(["lint", "layers/mine"])
        .assert_code(78)
        .assert_stderr_has("broken.rules:1:");
}

#[test]
fn shells_and_man_get_what_they_want() {
    let cake = Cake::new();
    for shell in ["bash", "zsh", "fish"] {
        cake.run(["completions", shell])
            .assert_code(0)
            .assert_stdout_has("new-layer");
    }
    cake.run(["man", "man"]).assert_code(0);
    assert!(cake.read("man/cake.1").contains(".TH cake 1"));
    assert!(cake.read("man/cake-build.1").contains("base\\-config"));
    assert_eq!(cake.files().len(), 16);
}

#[test]
fn the_lock_holds_disco_as_well() {
    let cake = project();
    cake.run(["build", "-n", "--in-place"]).assert_code(0);
    let mut other = fs::read(cake.at(".cake/disco")).unwrap();
    other.push(0);
    cake.write("other", other);
    let words = ["build", "-n", "--in-place", "--disco", "other"];
    let before = cake.files();
    cake.run([&words[..], &["--locked"]].concat())
        .assert_code(1)
        .assert_stderr_has("cake.lock: names a disco");
    assert_eq!(cake.files(), before);
    cake.run(words).assert_code(0);
}

#[test]
fn bytes_that_are_no_text_stay_as_they_are() {
    let text = b"FROM base\n# caf\xe9\nENTRYPOINT [\"/a\"]\n";
    let cake = Cake::new();
    cake.write("Dockerfile", text);
    let raw = |words: &[&str]| cake.run_raw(words).stdout;
    assert!(raw(&["build", "-n"]).starts_with(text));
    assert_eq!(raw(&["unbake", "-o", "-"]), text);
    use std::os::unix::ffi::OsStrExt as _;
    let name = std::ffi::OsStr::from_bytes(b"D\xff");
    fs::rename(cake.at("Dockerfile"), cake.at("").join(name)).unwrap();
    let words = ["--json", "build", "-n", "-d"].map(std::ffi::OsStr::new);
    let output = cake.run([&words[..], &[name]].concat());
    let report: serde_json::Value = serde_json::from_str(&output.assert_code(0).stdout).unwrap();
    assert!(report["text"].as_str().unwrap().contains("ENTRYPOINT"));
}

#[test]
fn a_result_that_nobody_can_have_is_a_failure() {
    let cake = Cake::of(OWN);
    let full = fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let output = cake.run_into(["build", "-n"], full.into());
    output
        .assert_code(1)
        .assert_stderr_has("cannot be written to stdout");
}

#[test]
fn a_link_in_what_cake_writes_for_itself_is_not_followed() {
    let cake = project();
    cake.write("victim", "mine");
    fs::create_dir(cake.at(".cake")).unwrap();
    std::os::unix::fs::symlink("../victim", cake.at(".cake/disco")).unwrap();
    cake.run(["build", "-n", "--in-place"]).assert_code(0);
    assert_eq!(cake.read("victim"), "mine");
    assert!(
        !fs::symlink_metadata(cake.at(".cake/disco"))
            .unwrap()
            .is_symlink()
    );
}

#[test]
fn variables_that_are_empty_are_none() {
    let cake = Cake::of(OWN)
        .env("CAKE_BUILDER", "")
        .env("CAKE_DISCO", "")
        .env("LAYERCAKE_CACERT", "")
        .env("LAYERCAKE_API", "");
    cake.run(["build", "-n"]).assert_code(0);
    let cake = cake.env("CAKE_BUILDER", "kaniko");
    cake.run(["build", "-n"])
        .assert_code(64)
        .assert_stderr_has("CAKE_BUILDER")
        .assert_stderr_has("podman");
}

#[test]
fn nothing_is_written_where_the_dockerfile_cannot_be() {
    let cake = project();
    let output = cake.run(["build", "-n", "-o", "/proc/none/Dockerfile"]);
    output
        .assert_code(1)
        .assert_stderr_has("nothing has changed");
    assert_eq!(cake.files().len(), 1);
    cake.run(["build", "-d", "-"]).assert_code(64);
    fs::rename(cake.at("Dockerfile"), cake.at("Containerfile")).unwrap();
    cake.run(["build", "-n"])
        .assert_code(0)
        .assert_stdout_has("# >>> cake");
}

#[test]
fn a_fresh_checkout_without_what_is_gathered_is_up_to_date() {
    let cake = project();
    cake.run(["build", "-n", "--in-place"]).assert_code(0);
    fs::remove_dir_all(cake.at(".cake")).unwrap();
    cake.run(["build", "--check"]).assert_code(0);
    cake.write("Dockerfile", OWN);
    cake.run(["build", "--check"]).assert_code(1);
}

#[test]
fn what_needs_root_is_told_where_the_image_runs_as_somebody_else() {
    let cake = Cake::of(&format!("{OWN}USER app\n"));
    cake.run(["build", "-n", "--layer", "mysql"])
        .assert_code(0)
        .assert_stderr_has("the image runs as `app`");
    cake.run(["build", "-n"])
        .assert_code(0)
        .assert_stderr_lacks("warning");
    cake.write("Dockerfile", OWN);
    cake.run(["build", "-n", "--layer", "mysql"])
        .assert_code(0)
        .assert_stderr_lacks("warning");
}

#[test]
fn a_layer_is_shown_with_its_keys_and_example() {
    let cake = Cake::new();
    cake.run(["show", "mysql"])
        .assert_code(0)
        .assert_stdout_has("# ")
        .assert_stdout_has("example/data.yaml:");
    cake.run(["show", "mysqll"])
        .assert_code(64)
        .assert_stderr_has("did you mean `mysql`");
    cake.run(["update", "--locked"]).assert_code(64);
    cake.run(["wrap", "image"])
        .assert_code(64)
        .assert_stderr_has("-t");
}
