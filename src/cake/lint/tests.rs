//! Layers that are wrong in many ways, and what is said of them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use proptest::prelude::*;

use super::*;

const LAYER: &str = "layer: {name: app, summary: s}\n";
const SCHEMA: &str =
    "name: db\ntype: object\nrequired: [host]\nproperties:\n  host: {type: string}\n";
const RULES: &str =
    "format: 2\nrules:\n  - when: db\n    render:\n      template: a.j2\n      to: /etc/a\n";

/// A sound layer, over which `files` are laid; an empty text takes one away, `+x` in front of a name
/// makes it executable.
fn with(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let sound = [
        ("layer.yaml", LAYER),
        ("db.schema", SCHEMA),
        ("db.rules", RULES),
        ("a.j2", "{{ db.host }}\n"),
        ("example/data.yaml", "db: {host: h}\n"),
        ("expected/etc/a", "h\n"),
    ];
    for (name, text) in sound.iter().chain(files) {
        let (name, mode) = match name.strip_prefix("+x ") {
            Some(name) => (name, 0o755),
            None => (*name, 0o644),
        };
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        if text.is_empty() {
            let _ = fs::remove_file(path);
        } else {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
    }
    dir
}

/// Problems and warnings, without the directory before the files.
fn told(dir: &Path, find: Find<'_>) -> (Vec<String>, Vec<String>) {
    let findings = lint(&[dir.to_owned()], find, false);
    let prefix = format!("{}/", dir.display());
    let strings = |list: Vec<Problem>| {
        let list = list.iter();
        list.map(|problem| problem.to_string().replace(&prefix, ""))
            .collect()
    };
    (strings(findings.problems), strings(findings.warnings))
}

fn nowhere(_: &str) -> Option<PathBuf> {
    None
}

#[test]
fn a_sound_layer_passes_even_strictly() {
    let dir = with(&[("README.md", "# app\n"), ("+x install", "#!/bin/sh\n")]);
    let findings = lint(&[dir.path().to_owned()], &nowhere, true);
    assert!(findings.problems.is_empty(), "{:?}", findings.problems);
    assert_eq!(findings.files, 5);
}

#[test]
fn each_mistake_is_told_with_its_place() {
    let problems: &[(&[(&str, &str)], &str)] = &[
        (
            &[("layer.yaml", "layer: {nam: x}\n")],
            "layer.yaml:1:8: `layer`: has no `name`",
        ),
        (&[("layer.yaml", "layer:\n  name: ../x\n")], "layer.yaml:2:"),
        (&[("layer.yaml", "layer: [\n")], "layer.yaml:"),
        (&[("db.schema", "name: db\ntype: [\n")], "db.schema:"),
        (&[("b.schema", "type: object\n")], "b.schema: has no `name`"),
        (
            &[("db.schema", "name: db\nproperties:\n  host: {type: text}\n")],
            "db.schema:3:16: `properties.host.type`: is no valid JSON Schema: ",
        ),
        (
            &[(
                "db.schema",
                "name: db\nrequired: host\nproperties:\n  host: {minLength: a}\n",
            )],
            "db.schema:4:21: `properties.host.minLength`: ",
        ),
        (
            &[(
                "db.schema",
                "name: db\nproperties:\n  host: {pattern: '('}\n",
            )],
            "db.schema:3:19: `properties.host.pattern`: ",
        ),
        (
            &[("db.schema", "name: db\n$ref: other.json\n")],
            "put it under `$defs`",
        ),
        (
            &[("db.rules", "format: 3\n")],
            "db.rules:1:9: `format`: unknown rules format",
        ),
        (
            &[(
                "db.rules",
                "format: 2\nrules:\n  - when: dbb\n    do: [sh]\n",
            )],
            "db.rules:3:11: `rules[0].when`: no schema is named `dbb`; did you mean `db`?",
        ),
        (
            &[(
                "db.rules",
                "rules:\n  - rule:\n      when: db\n      do: h -v\n",
            )],
            "db.rules:4:11: `rules[0].rule.do`: there is no handler `h -v`; to pass arguments",
        ),
        (
            &[(
                "db.rules",
                "rules:\n  - rule:\n      when: db\n      do: ./h\n",
            )],
            "db.rules:4:11: `rules[0].rule.do`: there is no handler ",
        ),
        (
            &[
                ("db.rules", "rules: [{when: db, do: h}]\n"),
                ("h", "#!/bin/sh\n"),
            ],
            "h: is not executable: run `chmod +x ",
        ),
        (
            &[
                ("db.rules", "rules: [{when: db, do: h}]\n"),
                ("+x h", "echo\n"),
            ],
            "h:1:1: is neither a program nor a script",
        ),
        (
            &[
                ("db.rules", "rules: [{when: db, do: h}]\n"),
                ("+x h", "#!/bin/sh\r\n"),
            ],
            "h:1:1: has a first line that ends with a carriage return",
        ),
        (
            &[("a.j2", "")],
            "db.rules:5:17: `rules[0].render.template`: the template a.j2 cannot be read",
        ),
        (&[("a.j2", "{{ db.host }}\n{% if %}\n")], "a.j2:2"),
        (&[("a.j2", "\n{% include 'b.j2' %}\n")], "a.j2:2:"),
        (&[("install", "#!/bin/sh\n")], "install: is not executable"),
        (&[("example/data.yaml", "db: [\n")], "example/data.yaml:"),
        (
            &[("example/data.yaml", "db:\n  host: 5\n")],
            "example/data.yaml:2:9: `db.host`: value is not of type \"string\" (type)",
        ),
        (
            &[("example/data.yaml", "db:\n  hos: x\n")],
            "example/data.yaml:2:3: `db`: \"host\" is a required property (required)",
        ),
    ];
    for (files, expected) in problems {
        let dir = with(files);
        let (problems, _) = told(dir.path(), &nowhere);
        assert!(
            problems.iter().any(|told| told.contains(expected)),
            "{files:?}: expected {expected:?} in {problems:#?}"
        );
    }
}

#[test]
fn each_doubt_is_a_warning_and_strictly_a_problem() {
    let doubts: &[(&[(&str, &str)], &str)] = &[
        (
            &[("layer.yaml", "layer: {name: app, sumary: s}\n")],
            "did you mean `summary`?",
        ),
        (
            &[("layer.yaml", "layer: {name: app}\n")],
            "`layer`: has no `summary`",
        ),
        (
            &[(
                "layer.yaml",
                "layer: {name: app, summary: s, layers: [mysql]}\n",
            )],
            "needs the layer `mysql`",
        ),
        (
            &[("b.schema", SCHEMA)],
            "db.schema: is named `db`, as b.schema is",
        ),
        (
            &[(
                "db.schema",
                "name: db\nproperties: {n: {exclusiveMinimum: true, minimum: 1}}\n",
            )],
            "is valid by draft 4 only",
        ),
        (
            &[("db.rules", "rules: [{when: db, do: sh}]\n")],
            "the image has to have it on its PATH",
        ),
        (
            &[(
                "db.rules",
                "format: 2\nrules: [{op: any, when: [db, x], do: [/bin/sh]}]\n",
            )],
            "no schema is named `x`",
        ),
        (
            &[("a.j2", "{{ db.host }}{{ web.host }}\n")],
            "its template takes `web`, which this rule does not wait for",
        ),
        (
            &[(
                "db.rules",
                "format: 2\nrules:\n  - when: db\n    render:\n      template: a.j2\n      to: /etc/a\n      check: [/bin/true]\n",
            )],
            "db.rules:7:14: `rules[0].render.check`: never names the file",
        ),
        (
            &[(
                "c.rules",
                "format: 2\nrules: [{when: db, render: {content: x, to: /etc/a}}]\n",
            )],
            "renders `/etc/a`, as c.rules does",
        ),
        (&[("example/data.yaml", "")], "has no example/data.yaml"),
        (
            &[("example/data.yaml", "db: {host: h}\ndbb: 1\n")],
            "example/data.yaml:2:6: `dbb`: no schema is named so; did you mean `db`?",
        ),
        (
            &[("example/data.yaml", "{}")],
            "holds no `db`, for which all(db) -> render /etc/a waits",
        ),
        (
            &[("expected/etc/a", "")],
            "has no expected/etc/a, which a rule renders",
        ),
    ];
    for (files, expected) in doubts {
        let dir = with(files);
        let (problems, warnings) = told(dir.path(), &nowhere);
        assert!(problems.is_empty(), "{files:?}: {problems:#?}");
        assert!(
            warnings.iter().any(|told| told.contains(expected)),
            "{files:?}: expected {expected:?} in {warnings:#?}"
        );
        let strict = lint(&[dir.path().to_owned()], &nowhere, true);
        assert_eq!(strict.problems.len(), warnings.len());
        assert!(strict.warnings.is_empty());
    }
}

#[test]
fn everything_comes_at_once() {
    let dir = with(&[
        ("layer.yaml", "layer: {name: 'a b'}\n"),
        (
            "db.schema",
            "name: db\nrequired: host\nproperties:\n  host: {minLength: a}\n",
        ),
        ("a.j2", "{% if %}"),
        ("c.rules", "rules: [{when: nosuch, do: h}]"),
        ("h", "echo"),
        ("example/data.yaml", "db: ["),
    ]);
    let (problems, _) = told(dir.path(), &nowhere);
    for file in [
        "layer.yaml:1",
        "db.schema:2",
        "db.schema:4",
        "a.j2:1",
        "c.rules:1",
        "h: ",
        "h:1:1",
        "example/data.yaml:",
    ] {
        assert!(
            problems.iter().any(|told| told.starts_with(file)),
            "{file}: {problems:#?}"
        );
    }
}

#[test]
fn what_other_layers_bring_is_found_by_their_names() {
    let needed = with(&[("layer.yaml", "layer: {name: base, summary: s}\n")]);
    let dir = with(&[
        (
            "layer.yaml",
            "layer: {name: app, summary: s, layers: [base]}\n",
        ),
        ("db.schema", ""),
    ]);
    let path = needed.path().to_owned();
    let find = |name: &str| (name == "base").then(|| path.clone());
    assert_eq!(told(dir.path(), &find), (vec![], vec![]));
    let (problems, warnings) = told(dir.path(), &nowhere);
    assert!(problems.is_empty(), "{problems:?}");
    assert!(
        warnings[0].contains("needs the layer `base`"),
        "{warnings:?}"
    );
}

#[test]
fn a_part_of_an_interface_is_judged_by_the_schema_of_the_whole() {
    let files = [
        (
            "db.rules",
            "format: 2\nrules: [{when: db.master, render: {template: a.j2, to: /etc/a}}]\n",
        ),
        ("a.j2", "{{ db.master.host }}\n"),
        ("example/data.yaml", "db:\n  master: {host: h}\n"),
    ];
    let dir = with(&files);
    assert_eq!(told(dir.path(), &nowhere), (vec![], vec![]));
    let wrong = ("example/data.yaml", "db:\n  master: {host: 5}\n");
    let dir = with(&[files[0], files[1], wrong]);
    let (problems, _) = told(dir.path(), &nowhere);
    assert!(
        problems[0].starts_with("example/data.yaml:2:18: `db.master.host`"),
        "{problems:?}"
    );
}

#[test]
fn links_stay_in_the_layer() {
    let dir = with(&[]);
    std::os::unix::fs::symlink("/etc/passwd", dir.path().join("out")).unwrap();
    std::os::unix::fs::symlink("gone", dir.path().join("lost")).unwrap();
    std::os::unix::fs::symlink("a.j2", dir.path().join("in")).unwrap();
    let (problems, _) = told(dir.path(), &nowhere);
    assert_eq!(problems.len(), 2, "{problems:?}");
}

#[test]
fn what_cannot_be_taken_is_no_layer_either() {
    use std::os::unix::fs::symlink;
    let refused = |make: &dyn Fn(&Path)| {
        let dir = with(&[]);
        make(dir.path());
        let (problems, _) = told(dir.path(), &nowhere);
        assert_eq!(problems.len(), 1, "{problems:?}");
        problems[0].clone()
    };
    let link = |to: &'static str, at: &'static str| {
        move |dir: &Path| {
            fs::create_dir_all(dir.join(".git")).unwrap();
            fs::write(dir.join(".git/x"), "").unwrap();
            symlink(to, dir.join(at)).unwrap();
        }
    };
    assert!(refused(&link("example", "in")).contains("something other than a file"));
    assert!(refused(&link(".git/x", "in")).contains("leads out of the layer"));
    assert!(refused(&link("/etc/passwd", "example/out")).contains("leads out of the layer"));
    let pipe = |dir: &Path| {
        let mode = nix::sys::stat::Mode::from_bits_truncate(0o644);
        nix::unistd::mkfifo(&dir.join("pipe"), mode).unwrap();
    };
    assert!(refused(&pipe).contains("pipe: is neither a file nor a directory"));
    let huge = |dir: &Path| {
        let file = fs::File::create(dir.join("huge")).unwrap();
        file.set_len(70 << 20).unwrap();
    };
    assert!(refused(&huge).contains("larger than 64 MiB"));
    assert!(
        refused(&|dir| fs::create_dir(dir.join("install")).unwrap()).contains("is a directory")
    );
}

#[test]
fn what_an_image_would_miss_is_told() {
    let rules = |template: &str| {
        format!("format: 2\nrules: [{{when: db, render: {{template: {template}, to: /etc/a}}}}]\n")
    };
    let here = "/usr/share/layercake/layers/app";
    for (template, expected) in [
        ("example/x.j2", "does not go into an image"),
        ("README.j2", "does not go into an image"),
        (
            &format!("{here}/gone.j2"),
            "gone.j2 of the layer `app` is not there",
        ),
        (
            &format!("{here}/expected/etc/a"),
            "does not go into an image",
        ),
    ] {
        let files = [
            ("db.rules", &*rules(template)),
            ("example/x.j2", "x"),
            ("README.j2", "x"),
        ];
        let dir = with(&files);
        let (problems, _) = told(dir.path(), &nowhere);
        assert_eq!(problems.len(), 1, "{template}: {problems:?}");
        assert!(problems[0].contains(expected), "{template}: {problems:?}");
    }
    let dir = with(&[("db.rules", &rules(&format!("{here}/a.j2")))]);
    assert_eq!(told(dir.path(), &nowhere), (vec![], vec![]));
    let dir = with(&[
        ("a.j2", "{% include 'example/x.j2' %}"),
        ("example/x.j2", "x"),
    ]);
    let (problems, _) = told(dir.path(), &nowhere);
    assert!(problems[0].starts_with("a.j2:1"), "{problems:?}");

    let dir = with(&[
        ("db.rules", "rules: [{when: db, do: h}]\n"),
        ("h", "#!/bin/sh\n"),
    ]);
    fs::set_permissions(dir.path().join("h"), fs::Permissions::from_mode(0o655)).unwrap();
    let (problems, _) = told(dir.path(), &nowhere);
    assert!(problems[0].contains("h: is not executable"), "{problems:?}");
}

#[test]
fn layers_beside_one_another_are_found_and_so_are_their_circles() {
    let dir = tempfile::tempdir().unwrap();
    for (name, needs) in [("j", "k"), ("k", "j"), ("l", "k")] {
        fs::create_dir(dir.path().join(name)).unwrap();
        let text = format!("layer: {{name: {name}, summary: s, layers: [{needs}]}}\n");
        fs::write(dir.path().join(name).join("layer.yaml"), text).unwrap();
    }
    let (problems, warnings) = told(dir.path(), &nowhere);
    assert!(
        problems.iter().any(|told| told.contains("j -> k -> j")),
        "{problems:?}"
    );
    assert!(
        !warnings.iter().any(|told| told.contains("is not found")),
        "{warnings:?}"
    );
}

#[test]
fn a_layer_of_a_project_that_is_nowhere_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let conf = |text: &str| {
        fs::write(dir.path().join("cake.conf"), text).unwrap();
        told(dir.path(), &nowhere)
    };
    let (problems, warnings) = conf("cake: {layers: [mysqll]}\n");
    assert!(problems.is_empty(), "{problems:?}");
    assert!(
        warnings[0].contains("`mysqll` is not found") && warnings[0].contains("mean `mysql`?"),
        "{warnings:?}"
    );
    assert_eq!(
        conf("cake: {layers: [mysqll], endpoint: 'https://h'}\n"),
        (vec![], vec![])
    );
}

#[test]
fn collections_projects_and_single_files_are_known_by_what_is_in_them() {
    let dir = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let (problems, _) = told(dir.path(), &nowhere);
    assert!(
        problems[0].contains("holds nothing to check"),
        "{problems:?}"
    );

    put("a/layer.yaml", "layer: {}\n");
    put("b/layer.yaml", "layer: {}\n");
    let (problems, _) = told(dir.path(), &nowhere);
    assert_eq!(problems.len(), 2, "{problems:?}");

    put(
        "cake.conf",
        "cake: {layers: [mysql, {name: a, path: a}, {name: c, path: gone}]}\n",
    );
    put(
        "asyncy.yml",
        "commands: {go: {args: [{name: x, type: nosuch}]}}\nvolums: {}\ncap: {add: [NOPE]}\n",
    );
    let (problems, warnings) = told(dir.path(), &nowhere);
    assert!(
        problems.iter().any(|told| told.starts_with("a/layer.yaml")),
        "{problems:?}"
    );
    assert!(
        !problems.iter().any(|told| told.starts_with("b/")),
        "{problems:?}"
    );
    assert!(
        problems
            .iter()
            .any(|told| told.contains("which is no directory")),
        "{problems:?}"
    );
    assert!(
        warnings
            .iter()
            .any(|told| told.contains("`volums`") && told.starts_with("asyncy.yml:2")),
        "{problems:?} {warnings:?}"
    );

    put("x/alone.rules", "rules: [{when: gone, do: h}]\n");
    let findings = lint(
        &["x/alone.rules", "asyncy.yml", "a/layer.yaml", "gone"].map(|name| dir.path().join(name)),
        &nowhere,
        false,
    );
    assert_eq!(findings.files, 4);
    assert!(findings.problems.len() >= 3, "{:?}", findings.problems);

    put("a/a.j2", "x");
    let findings = lint(&[dir.path().join("a/a.j2")], &nowhere, false);
    assert!(
        findings.problems[0]
            .to_string()
            .contains("is no kind of file")
    );
}

#[test]
fn values_of_the_example_are_not_shown() {
    let dir = with(&[("example/data.yaml", "db:\n  host: [hunter2]\n")]);
    let (problems, _) = told(dir.path(), &nowhere);
    assert!(
        !problems.is_empty() && !problems[0].contains("hunter2"),
        "{problems:?}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn no_layer_is_too_odd(
        file in prop::sample::select(vec!["layer.yaml", "db.schema", "db.rules", "a.j2", "example/data.yaml"]),
        cut in 0_usize..200,
        text in "(rules:|when:|render:|- |format: 2|name: db|type:|[\\[\\]{}, \n\"'&*%-]|\\PC){1,20}",
    ) {
        // The beginning of something sound, and then anything.
        let sound = [("layer.yaml", LAYER), ("db.schema", SCHEMA), ("db.rules", RULES)];
        let sound = sound.iter().find(|(name, _)| *name == file).map_or("", |(_, text)| *text);
        let text = sound.chars().take(cut).collect::<String>() + &text;
        let dir = with(&[(file, &text)]);
        let (problems, warnings) = told(dir.path(), &nowhere);
        for told in problems.iter().chain(&warnings) {
            prop_assert!(!told.is_empty());
        }
    }
}
