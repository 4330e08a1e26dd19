//! What the README says of cake is so.

use std::path::Path;

use layer_cake::contract::layer::{conf, file};

use super::{blocks, readme};
use crate::support::{Cake, Container, Image, disco_bin, dist_bin};

/// The project that the README builds: its `cake.conf`, its Dockerfile without the block.
fn project() -> Cake {
    let dockerfile = &blocks("dockerfile")[1];
    let (bare, _) = dockerfile.split_once("# >>> cake").unwrap();
    let cake = Cake::of(bare).with_any_disco();
    cake.write("cake.conf", &blocks("yaml")[1]);
    cake.write("layers/app/layer.yaml", "layer: {name: app}");
    cake.write(
        "base.json",
        r#"{"Id": "x", "Config": {"Cmd": ["python3"]}}"#,
    );
    cake
}

#[test]
fn the_block_is_the_one_that_is_shown() {
    let output = project().run(["build", "-n", "--base-config", "base.json"]);
    output
        .assert_code(0)
        .assert_stdout(&blocks("dockerfile")[1]);
}

#[test]
fn the_build_says_what_is_shown() {
    let cake = project().with_builder("docker", "[ $1 = version ] && echo linux/amd64; exit 0");
    let example = &blocks("console")[0];
    let (command, said) = example.split_once('\n').unwrap();
    let words = command.strip_prefix("$ cake ").unwrap().split(' ');
    let output = cake.run(words.chain(["--base-config", "base.json"]));
    output.assert_code(0);
    for line in said.lines() {
        output.assert_stderr_has(line.trim());
    }
}

#[test]
fn a_layer_is_begun_as_it_is_shown() {
    let cake = Cake::new().disco(disco_bin());
    let example = &blocks("console")[1];
    assert_eq!(example.lines().count(), 3);
    for line in example.lines() {
        let words = line.strip_prefix("$ cake ").unwrap().split(' ');
        cake.run(words).assert_code(0);
    }
}

#[test]
fn the_files_are_right() {
    let yaml = blocks("yaml");
    for (index, count) in [(1, 2), (3, 2)] {
        let read = conf::parse(Path::new("cake.conf"), yaml[index].as_bytes()).unwrap();
        assert_eq!(
            (read.value.layers.len(), read.warnings),
            (count, Vec::new())
        );
    }
    let read = file::parse(Path::new("layer.yaml"), yaml[2].as_bytes()).unwrap();
    assert_eq!(
        (read.value.name.as_str(), read.warnings),
        ("app", Vec::new())
    );
}

#[test]
fn every_verb_and_every_layer_is_named() {
    let text = readme();
    let help = Cake::new().run(["--help"]).stdout;
    let verbs = help
        .split("Commands:")
        .nth(1)
        .unwrap()
        .split("Options:")
        .next()
        .unwrap();
    for line in verbs
        .lines()
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
    {
        let verb = line.split_whitespace().next().unwrap();
        if verb != "help" {
            let is_named = ["`cake ", "$ cake ", "RUN cake "]
                .iter()
                .any(|lead| text.contains(&format!("{lead}{verb}")));
            assert!(is_named, "{verb}");
        }
    }
    let layers = std::fs::read_dir(crate::support::repo().join("layers")).unwrap();
    for layer in layers
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().is_dir())
    {
        let name = layer.file_name().into_string().unwrap();
        assert!(text.contains(&format!("`{name}`")), "{name}");
    }
}

#[test]
#[ignore = "needs Docker"]
fn a_baked_image_is_run_as_it_is_shown() {
    let base = Image::busybox().build();
    let cake = Cake::of(&format!(
        "FROM {}\nCMD [\"cat\", \"/etc/greeting\"]\n",
        base.name()
    ));
    let cake = cake.disco(&dist_bin());
    cake.write(
        "cake.conf",
        "cake: {layers: [{name: greeting, path: greeting}]}",
    );
    cake.write("greeting/layer.yaml", "layer: {name: greeting}");
    cake.write("greeting/greeting.schema", "{name: greeting}");
    cake.write(
        "greeting/greeting.rules",
        "format: 2\nrules: [{when: greeting, render: {content: '{{ greeting.who }}', to: /etc/greeting}}]",
    );
    cake.write("config/data.yaml", "greeting: {who: you}");
    let image = Image::unbuilt();
    cake.run(["build", "-t", image.name()]).assert_code(0);
    let command = blocks("sh")[3].clone();
    let line = command.strip_prefix("docker run ").unwrap().trim_end();
    let line = line.replace("\"$PWD", &format!("\"{}", cake.at("").display()));
    let words = line.replace(['"', '\''], "");
    let words: Vec<&str> = words.split(' ').collect();
    let (options, name) = words.split_at(words.len() - 1);
    assert_eq!(name, ["app"]);
    let mut container = Container::of(&image);
    for option in options {
        container = container.option(option);
    }
    container.run().assert_code(0).assert_stdout("you");
}
