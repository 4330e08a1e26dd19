//! What the README says is so: every command in it runs, every file in it parses, every setting in
//! its table exists.

mod cake;

use std::path::Path;

use layer_cake::contract::schema::Schema;
use layer_cake::contract::text::{self, Snippet};
use layer_cake::contract::{manifest, rule};

use crate::support::{
    Container, DEADLINE, Disco, Image, Sandbox, disco_bin, dist_bin, repo, wait_for,
};

fn readme() -> String {
    std::fs::read_to_string(repo().join("README.md")).unwrap()
}

/// The fenced blocks of a language.
fn blocks(language: &str) -> Vec<String> {
    let text = readme();
    let fence = format!("```{language}\n");
    let blocks = text.split(&fence).skip(1);
    blocks
        .map(|rest| rest.split("```").next().unwrap().to_owned())
        .collect()
}

#[test]
fn the_first_command_does_the_main_job() {
    let command = &blocks("sh")[0];
    // Cargo is what runs this test: the program it would run is built already.
    let built = disco_bin().to_str().unwrap();
    let direct = command.replace("cargo run -q --bin disco --", built);
    assert_ne!(&direct, command, "the README's first command has changed");
    Disco::new()
        .bin("/bin/sh")
        .cwd(repo())
        .args(["-c", &direct])
        .run()
        .assert_code(0)
        .assert_stdout("doit\n")
        .assert_stderr_has("Container Configured");
}

#[test]
fn every_command_is_one_that_a_test_runs() {
    let all = blocks("sh");
    assert_eq!(
        all.len(),
        5,
        "a command was added to the README: run it in a test"
    );
    assert_eq!(all[1], "tests/all.sh\n");
    assert!(repo().join("tests/all.sh").is_file());
    assert!(
        all[2].starts_with("docker build -f Dockerfile.example "),
        "{}",
        all[2]
    );
    // tests/all.sh builds what ships with the same words.
    let script = std::fs::read_to_string(repo().join("tests/all.sh")).unwrap();
    let build = all[4].lines().nth(1).unwrap();
    assert_eq!(
        all[4].lines().nth(2),
        Some("cargo build --release --bin cake")
    );
    let (words, target) = build.rsplit_once(' ').unwrap();
    assert!(
        script.contains(words),
        "tests/all.sh does not build by `{words}`"
    );
    assert!(readme().contains(&format!("`target/{target}/dist/disco`")));
}

#[test]
fn schemas_and_rules_are_valid() {
    let yaml = blocks("yaml");
    assert_eq!(yaml.len(), 9);
    let sandbox = Sandbox::new();
    let conf = sandbox.write("disco.conf", &yaml[0]);
    let check = Disco::new().args(["-c", conf.to_str().unwrap(), "--check", "true"]);
    check.run().assert_stderr_lacks("disco.conf");
    let schema = text::parse(yaml[4].as_bytes(), None, Snippet::Shown)
        .unwrap()
        .value;
    Schema::compile(&schema).unwrap();
    let contract = Path::new("README.yml");
    let parsed = manifest::parse(contract, yaml[8].as_bytes()).unwrap();
    assert!(parsed.warnings.is_empty(), "{:?}", parsed.warnings);
    for rules in &yaml[5..8] {
        let parsed = rule::parse(Path::new("README.rules"), rules.as_bytes()).unwrap();
        assert_eq!((parsed.rules.len(), parsed.warnings.len()), (1, 0));
    }
}

#[test]
fn every_setting_in_the_table_exists() {
    let text = readme();
    let table = text
        .split("## Settings")
        .nth(1)
        .unwrap()
        .split("\n## ")
        .next()
        .unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    let mut keys: Vec<String> = Vec::new();
    for row in rows {
        let first = row.split(" | ").next().unwrap();
        let names: Vec<&str> = first.split('`').skip(1).step_by(2).collect();
        if names[0] == "consul.*" {
            let shared = names.iter().filter(|name| !name.contains('*'));
            let of =
                |name: &&str| ["consul", "etcd", "otlp"].map(|section| format!("{section}.{name}"));
            keys.extend(shared.flat_map(of));
        } else {
            keys.extend(names.iter().map(|name| (*name).to_owned()));
        }
    }
    assert!(keys.len() > 50, "{keys:?}");
    for key in keys {
        // Whatever the value is worth, the key itself must be no unknown setting of an unknown section.
        let out = Disco::new()
            .cfg(format!("{key}=1|disco.deadline=10ms"))
            .args(["--check", "true"])
            .run();
        out.assert_stderr_lacks("unknown se");
    }
}

/// What stands behind the prompt of the examples, without what they answer.
fn typed(console: &str) -> String {
    let mut is_typed = false;
    let lines = console.lines().filter_map(|line| {
        let command = line.strip_prefix("$ ");
        // A quote that is open goes on with the next line.
        let is_odd = line.matches('\'').count() % 2 == 1;
        let is_part = is_typed || command.is_some();
        is_typed ^= is_odd && is_part;
        is_part.then(|| command.unwrap_or(line))
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_log_and_the_metrics_are_as_the_examples_show_them() {
    let sandbox = Sandbox::new();
    let dir = sandbox.dir().display().to_string();
    let examples = blocks("console");
    assert_eq!(
        examples.len(),
        4,
        "an example was added to the README: run it in a test"
    );
    let cfg = format!("disco.data_dir={dir}/data|disco.status={dir}/s");
    let inner = examples[2]
        .split("sh -c \"")
        .nth(1)
        .unwrap()
        .split("\"\n")
        .next()
        .unwrap();
    let out = Disco::new()
        .cfg(&cfg)
        .args([
            "sh",
            "-c",
            &inner.replace("/data/", &format!("{dir}/data/")),
        ])
        .run();
    out.assert_code(0);
    let messages = |text: &str| -> Vec<String> {
        let lines = text.lines().filter_map(|line| line.split_once("Z "));
        lines.map(|(_, rest)| rest.to_owned()).collect()
    };
    let expected = messages(&examples[2]);
    assert_eq!(
        (messages(&out.stderr), expected.len()),
        (expected.clone(), 2)
    );

    let script = typed(&examples[3]).replace("/data/", &format!("{dir}/data/"));
    let (writing, asking) = script.split_once("disco --metrics").unwrap();
    assert_eq!(asking, "");
    let line = format!(
        "{writing}\nuntil $0 --metrics | grep diskspace_bytes.*8317; do :; done; $0 --metrics"
    );
    // As `docker exec` has it: the settings are those of the container.
    let line = format!("export DISCO_CFG='{cfg}'; {line}");
    let out = Disco::new()
        .cfg(&cfg)
        .args(["sh", "-c", &line])
        .arg(disco_bin())
        .run();
    out.assert_code(0)
        .assert_stdout_has("requests_req_total{host=\"a\"} 48\n")
        .assert_stdout_has("# HELP diskspace_bytes agent=diamond\n");
}

#[test]
fn the_exit_codes_of_help_and_readme_agree() {
    let help = Disco::new().arg("--help").run().stdout;
    for code in ["64", "69", "70", "78", "125", "126", "127"] {
        assert!(help.contains(code) && readme().contains(code), "{code}");
    }
}

/// The files of the repository that the examples name, with the disco that ships.
fn context(disco: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    for file in [
        "mysql.schema",
        "mysql.rules",
        "configure-mysql",
        "mysql.yaml",
    ] {
        let path = format!("examples/mysql/{file}");
        sandbox.write(&path, std::fs::read(repo().join(&path)).unwrap());
        let mode = std::fs::metadata(repo().join(&path)).unwrap().permissions();
        std::fs::set_permissions(sandbox.path(&path), mode).unwrap();
    }
    // Without buildx it is the engine that reads this file, by rules of its own.
    sandbox.write(
        ".dockerignore",
        std::fs::read(repo().join(".dockerignore")).unwrap(),
    );
    sandbox.write(disco, []);
    std::fs::copy(dist_bin(), sandbox.path(disco)).unwrap();
    sandbox
}

#[test]
#[ignore = "needs docker"]
fn dockerfile_example_builds_and_runs_as_the_readme_says() {
    let sandbox = context("target/x86_64-unknown-linux-musl/dist/disco");
    let base = Image::busybox().build();
    let file = repo().join("Dockerfile.example");
    let base_argument = format!("BASE={}", base.name());
    let words = ["--build-arg", &base_argument, "-f", file.to_str().unwrap()];
    let image = Image::built(words.into_iter().chain([sandbox.dir().to_str().unwrap()]));
    let volume = format!(
        "--volume={}:/config:ro",
        sandbox.path("examples/mysql").display()
    );
    let out = Container::of(&image).option(volume).run();
    out.assert_code(0)
        .assert_stdout("doit\n")
        .assert_stderr_has("Container Configured");
}

#[test]
#[ignore = "needs docker"]
fn the_health_check_is_one() {
    let stanza = &blocks("dockerfile")[2];
    let image = Image::scratch()
        .program("/disco", &dist_bin())
        .program("/busybox", Path::new("/bin/busybox"))
        .change(stanza.trim())
        .change(r#"ENTRYPOINT ["/disco"]"#)
        .build();
    let container = Container::of(&image).args(["/busybox", "sleep", "1000"]);
    let container = container.start();
    wait_for("Docker to find it healthy", 2 * DEADLINE, || {
        (container.inspect(".State.Health.Status") == "healthy").then_some(())
    });
}

#[test]
fn every_option_of_help_is_in_the_table() {
    let help = Disco::new().arg("--help").run().stdout;
    let text = readme();
    let table = text.split("## Options").nth(1).unwrap();
    let table = table.split("\n## ").next().unwrap();
    let words = help
        .split_whitespace()
        .filter_map(|word| word.strip_prefix("--"));
    let names = words.map(|word| word.trim_end_matches(|c: char| !c.is_alphanumeric()));
    for option in names.filter(|name| !name.is_empty()) {
        let option = format!("--{option}");
        assert!(table.contains(&option), "{option}");
    }
}

#[test]
#[ignore = "needs docker"]
fn the_dockerfile_stanza_builds() {
    let sandbox = context("disco");
    sandbox.write("Dockerfile", &blocks("dockerfile")[0]);
    sandbox.write("server", []);
    std::fs::copy("/bin/busybox", sandbox.path("server")).unwrap();
    std::fs::rename(sandbox.path("examples"), sandbox.path("layers")).unwrap();
    // The example's handler is a script, for which this image has no shell.
    std::fs::copy("/bin/busybox", sandbox.path("layers/mysql/configure-mysql")).unwrap();
    let image = Image::built([sandbox.dir()]);
    let out = Container::of(&image)
        .env("DISCO_CFG", "disco.path=/none")
        .args(["/server", "true"])
        .run();
    assert!(out.stderr.contains("applet not found"), "{}", out.stderr);
}
