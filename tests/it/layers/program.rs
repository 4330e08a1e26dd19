//! Layers as somebody at a prompt, or a hostile repository, has them: through cake itself.

use std::os::unix::fs::symlink;

use crate::support::Cake;

const DOCKERFILE: &str = "FROM scratch\nENTRYPOINT [\"/app\"]\n";

#[test]
fn nothing_outside_of_the_project_is_written_or_removed() {
    let cake = Cake::of(DOCKERFILE).with_any_disco();
    cake.write("cake.conf", "cake: {layers: [mysql]}\n");
    for file in ["layers/precious/x", "disco", "manifest.json"] {
        cake.write(&format!("../victim/{file}"), "theirs");
    }
    symlink("../victim", cake.at(".cake")).unwrap();
    for words in [&["vendor"][..], &["build", "-n", "--in-place"]] {
        cake.run(words)
            .assert_code(1)
            .assert_stderr_has(".cake: is a link");
    }
    std::fs::remove_file(cake.at(".cake")).unwrap();
    std::fs::create_dir(cake.at(".cake")).unwrap();
    symlink("../../victim/disco", cake.at(".cake/disco")).unwrap();
    symlink("../../victim/manifest.json", cake.at(".cake/manifest.json")).unwrap();
    cake.run(["build", "-n", "--in-place"]).assert_code(0);
    assert!(!cake.at(".cake/disco").is_symlink());
    for file in ["layers/precious/x", "disco", "manifest.json"] {
        let there = cake.read(&format!("../victim/{file}"));
        assert_eq!(there, "theirs", "{file}");
    }
}

#[test]
fn the_lock_is_the_same_wherever_it_is_made() {
    let cake = Cake::new();
    cake.write("pj/layers/app/layer.yaml", "layer: {name: app}\n");
    cake.write("shared/layer.yaml", "layer: {name: shared}\n");
    let lock = |words: &[&str]| {
        let words = ["lock", "--context", "pj"].iter().chain(words);
        cake.run(words).assert_code(0);
        cake.read("pj/cake.lock")
    };
    let first = lock(&["--layer", "app=pj/layers/app", "--layer", "./shared"]);
    assert!(first.contains("path: layers/app\n"), "{first}");
    let whole = format!("app={}", cake.at("pj/layers/app").display());
    assert_eq!(lock(&["--layer", &whole, "--layer", "./shared"]), first);
    assert!(first.contains("path: \"../shared\"\n"), "{first}");
    cake.write(
        "pj/cake.conf",
        "cake: {layers: [{name: app, path: layers/app}]}\n",
    );
    lock(&[
        "--layer",
        "./pj/layers/./app",
        "--locked",
        "--layer",
        "./shared",
    ]);
    let outside = format!("shared={}", cake.at("shared").display());
    let told = cake.run(["lock", "--context", "pj", "--layer", &outside]);
    told.assert_code(0)
        .assert_stderr_has("comes from the absolute path");
}

#[test]
#[ignore = "needs git"]
fn a_repository_of_the_command_line_is_where_it_is_typed() {
    let cake = Cake::new();
    cake.write("pj/cake.conf", "cake: {layers: []}\n");
    cake.write("r/layers/app/layer.yaml", "layer: {name: app}\n");
    let at = cake.at("r");
    for words in [
        &["init", "-q"][..],
        &["add", "."],
        &[
            "-c",
            "user.name=x",
            "-c",
            "user.email=x",
            "commit",
            "-qm",
            "x",
        ],
    ] {
        let git = std::process::Command::new("git")
            .arg("-C")
            .arg(&at)
            .args(words)
            .status();
        assert!(git.unwrap().success());
    }
    let word = "app=git+./r#layers/app/";
    for more in [None, Some("--locked")] {
        let words = ["lock", "--context", "pj", "--layer", word]
            .into_iter()
            .chain(more);
        cake.run(words).assert_code(0);
        let lock = cake.read("pj/cake.lock");
        assert!(
            lock.contains("url: \"../r\"\n") && lock.contains("subpath: layers/app\n"),
            "{lock}"
        );
    }
}

#[test]
fn no_login_is_shown() {
    let cake = Cake::new();
    let entry = r#"[{"name": "web", "repo": "https://u:SECRET@h/a"}]"#;
    cake.write("index.json", entry);
    for format in ["text", "json", "yaml"] {
        let found = cake.run([
            "search",
            "web",
            "-f",
            format,
            "--layer-endpoint",
            "index.json",
        ]);
        found.assert_code(0);
        let text = &found.stdout;
        assert!(text.contains("web") && !text.contains("SECRET"), "{text}");
    }
    cake.run([
        "search",
        "x",
        "--layer-endpoint",
        "https://user:SEC/RET@localhost:1",
    ])
    .assert_code(1)
    .assert_stderr_lacks("SEC")
    .assert_stderr_lacks("RET");
}

#[test]
fn no_file_of_others_keeps_cake_waiting_or_steers_the_terminal() {
    use nix::sys::stat::Mode;
    let pipe = |cake: &Cake, path: &str| {
        nix::unistd::mkfifo(&cake.at(path), Mode::from_bits_truncate(0o644)).unwrap();
    };
    for (name, code) in [("cake.conf", 78), ("cake.lock", 78), ("asyncy.yml", 78)] {
        let cake = Cake::new();
        pipe(&cake, name);
        let told = cake.run(["lock", "--layer", "mysql"]);
        told.assert_code(code)
            .assert_stderr_has("it is no regular file");
    }
    let cake = Cake::new();
    cake.write("x", "");
    std::fs::create_dir(cake.at("app")).unwrap();
    pipe(&cake, "app/layer.yaml");
    cake.run(["lock", "--layer", "./app"]).assert_code(64);
    cake.run(["lint", "app"]).assert_code(78);
    cake.run(["search", "x", "--layer-endpoint", "app/layer.yaml"])
        .assert_code(1);

    let cake = Cake::new();
    cake.write("app/layer.yaml", "layer: {name: app, \"\\e[2Jkey\": 1}\n");
    pipe(&cake, "app/\u{1b}[31mx");
    let told = cake.run(["lock", "--layer", "./app"]);
    told.assert_code(78)
        .assert_stderr_lacks("\u{1b}")
        .assert_stderr_has("\\u{1b}[31mx");
    std::fs::remove_file(cake.at("app/\u{1b}[31mx")).unwrap();
    let told = cake.run(["lock", "--layer", "./app"]);
    told.assert_code(0)
        .assert_stderr_lacks("\u{1b}")
        .assert_stderr_has("\\u{1b}[2Jkey");
}
