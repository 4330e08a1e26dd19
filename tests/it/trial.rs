//! `cake test`: a layer tried by the disco under test, and what its author is told.

use std::path::{Path, PathBuf};
use std::time::Duration;

use layer_cake::cake::failure::Failure;
use layer_cake::cake::lint::lint;
use layer_cake::cake::needs;
use layer_cake::cake::new_layer;
use layer_cake::cake::trial::{self, Request, State, Trial};

use crate::support::{Cake, Sandbox, disco_bin};

const SCHEMA: &str =
    "name: db\ntype: object\nrequired: [host]\nproperties: {host: {type: string}}\n";
const RENDER: &str =
    "format: 2\nrules: [{when: db, render: {template: a.j2, to: /etc/a, mode: '0640'}}]\n";

/// A layer that renders `/etc/a`, and expects nothing yet.
fn layer() -> Sandbox {
    let layer = Sandbox::new();
    layer.write("layer.yaml", "layer: {name: app, summary: s}\n");
    layer.write("db.schema", SCHEMA);
    layer.write("db.rules", RENDER);
    layer.write("a.j2", "host={{ db.host }}\nlast\n");
    layer.write("example/data.yaml", "db: {host: h}\n");
    layer
}

fn request(layer: &Path) -> Request<'_> {
    Request {
        layer,
        needs: &[],
        data: None,
        disco: disco_bin(),
        update: false,
        keep: false,
        timeout: trial::TIMEOUT,
    }
}

#[track_caller]
fn tried(request: &Request<'_>) -> Trial {
    trial::run(request).unwrap_or_else(|failure| panic!("{}", told(&failure)))
}

fn told(failure: &Failure) -> String {
    let problems = failure.problems.iter().map(ToString::to_string);
    problems.collect::<Vec<_>>().join("\n")
}

#[track_caller]
fn refused(request: &Request<'_>) -> String {
    told(&trial::run(request).expect_err("the trial is refused"))
}

#[test]
fn a_new_layer_passes_at_once() {
    let dir = Sandbox::new();
    for (name, handler) in [
        ("app", false),
        ("my-app", false),
        ("run", true),
        ("not", false),
        ("null", true),
        ("1e3", false),
        ("data", false),
    ] {
        let dir = dir.dir();
        new_layer::write(&new_layer::Request { name, dir, handler }).unwrap();
        let layer = dir.join(name);
        let trial = tried(&request(&layer));
        assert!(trial.is_good(), "{name}: {}", trial.text());
        assert_eq!(trial.files[0].mode, Some(0o640), "{name}");
        let found = lint(&[layer], &|_| None, true);
        assert!(found.problems.is_empty(), "{name}: {:?}", found.problems);
    }
}

#[test]
fn the_loop_of_an_author() {
    let layer = layer();
    let mut request = request(layer.dir());
    let trial = tried(&request);
    assert!(trial.is_good() && trial.files[0].state == State::New);
    assert_eq!(trial.text(), "0640 /etc/a: new\n    host=h\n    last\n");

    request.update = true;
    let trial = tried(&request);
    assert!(trial.is_good() && trial.is_updated, "{}", trial.text());
    assert_eq!(layer.read("expected/etc/a"), "host=h\nlast\n");
    request.update = false;
    assert_eq!(tried(&request).text(), "0640 /etc/a: as expected\n");

    layer.write("a.j2", "HOST={{ db.host }}\nlast\n");
    layer.write("expected/etc/gone", "x");
    let trial = tried(&request);
    assert!(!trial.is_good());
    assert_eq!(
        trial.text(),
        "0640 /etc/a: differs\n--- expected/etc/a\n+++ written/etc/a\n@@ -1,2 +1,2 @@\n-host=h\n+HOST=h\n last\n\
         ---- /etc/gone: is missing\n"
    );
    layer.write("db.rules", RENDER.replace("/etc/a,", "/etc/b,"));
    let text = tried(&request).text();
    assert!(
        text.contains("/etc/a: is missing") && text.contains("/etc/b: not expected\n"),
        "{text}"
    );

    request.update = true;
    tried(&request);
    assert!(!layer.path("expected/etc/a").exists() && layer.path("expected/etc/b").exists());
}

#[test]
fn other_data_shows_what_it_makes() {
    let layer = layer();
    layer.write("expected/etc/a", "host=h\nlast\n");
    let data = layer.write("other.json", r#"{"db": {"host": "other"}}"#);
    let mut request = request(layer.dir());
    request.data = Some(&data);
    let trial = tried(&request);
    assert_eq!(trial.text(), "0640 /etc/a: new\n    host=other\n    last\n");
    let gone = layer.path("gone.yaml");
    request.data = Some(&gone);
    assert!(refused(&request).contains("gone.yaml: cannot be read"));
}

#[test]
fn data_that_is_not_enough_is_told_with_the_key() {
    let layer = layer();
    let file = layer.write("example/data.yaml", "db:\n  hos: h\n");
    let file = file.display();
    let request = request(layer.dir());
    assert_eq!(
        refused(&request),
        format!("{file}:2:3: `db`: \"host\" is a required property (required)")
    );
    layer.write("example/data.yaml", "web: {}\n");
    assert_eq!(
        refused(&request),
        format!("{file}: holds no `db`, for which all(db) -> render /etc/a waits")
    );
    layer.write("example/data.yaml", "db: [\n");
    assert!(refused(&request).starts_with(&format!("{file}:")));
    // One is enough where one is enough.
    layer.write("example/data.yaml", "db: {host: h}\n");
    layer.write("web.schema", "name: web\ntype: object\n");
    layer.write(
        "db.rules",
        RENDER.replace("when: db", "op: any, when: [web, db]"),
    );
    assert_eq!(tried(&request).files.len(), 1);
    layer.write(
        "db.rules",
        RENDER.replace("when: db", "op: any, when: [web]"),
    );
    assert!(refused(&request).contains("holds no `web`"));
}

#[test]
fn a_template_that_fails_is_told_with_its_file_and_line() {
    let layer = layer();
    layer.write("a.j2", "x\n{{ db.port }}\n");
    let told = refused(&request(layer.dir()));
    let place = format!("{}:2", layer.path("a.j2").display());
    assert!(told.contains(&place), "{told}");
    layer.write("db.rules", "format: 2\nrules: [{when: db, rendr: {}}]\n");
    assert!(refused(&request(layer.dir())).contains("did you mean `render`?"));
}

#[test]
fn handlers_write_below_destdir_and_see_the_layers_variables() {
    let layer = layer();
    layer.write(
        "db.rules",
        "format: 2\nrules: [{when: db, do: h, env: [GREETING]}]\n",
    );
    layer.write(
        "example/env",
        "# said to whoever comes\nGREETING=hello = you\n\n",
    );
    layer.handler("h", "#!/bin/sh\nset -eu\nmkdir \"$DESTDIR/etc\"\nprintf %s \"$GREETING\" >\"$DESTDIR/etc/g\"\nln -s g \"$DESTDIR/etc/l\"\n");
    let trial = tried(&request(layer.dir()));
    let names: Vec<_> = trial
        .files
        .iter()
        .map(|file| file.path.display().to_string())
        .collect();
    assert_eq!(names, ["/etc/g", "/etc/l"]);
    assert_eq!(trial.files[0].content.as_deref(), Some(&b"hello = you"[..]));

    layer.write("example/env", "A=b\nno\n");
    assert!(refused(&request(layer.dir())).contains("env:2:1: expected a line such as"));
}

#[test]
fn a_handler_that_fails_or_hangs_is_told_so() {
    let layer = layer();
    layer.write("db.rules", "format: 2\nrules: [{when: db, do: h}]\n");
    layer.handler("h", "#!/bin/sh\necho no luck >&2\nexit 3\n");
    let told = refused(&request(layer.dir()));
    assert!(
        told.contains("exit status 3") && told.contains("no luck"),
        "{told}"
    );

    layer.handler("h", "#!/bin/sh\nexec sleep 600\n");
    let mut request = request(layer.dir());
    request.timeout = Duration::from_millis(300);
    let told = refused(&request);
    assert!(
        told.contains("cannot be configured with this data"),
        "{told}"
    );
}

#[test]
fn what_only_an_image_has_is_left_out_and_noted() {
    let layer = layer();
    let rules = "format: 2\nrules:\n  - when: db\n    once: false\n    then: {signal: HUP}\n    render:\n      - template: /usr/share/layercake/layers/base/b.j2\n        to: /etc/b\n        owner: nobody-has-this-name\n        check: [/usr/sbin/no-such-server, -t, '{}']\n      - {template: a.j2, to: /etc/a, check: [./c, '{}']}\n";
    layer.write("db.rules", rules);
    layer.handler("c", "#!/bin/sh\ngrep -q last \"$1\"\n");
    let base = Sandbox::new();
    base.write("layer.yaml", "layer: {name: base}\n");
    base.write("b.j2", "from base\n");
    // The rules of other layers are their own business: these would wait for data that is not there.
    base.write("web.schema", "name: web\n");
    base.write("web.rules", "rules: [{when: web, do: h}]\n");
    let needed = [("base".to_owned(), base.dir().to_owned())];
    let mut request = request(layer.dir());
    request.needs = &needed;
    let trial = tried(&request);
    assert_eq!(trial.files.len(), 2, "{}", trial.text());
    assert!(trial.text().contains("from base\n"), "{}", trial.text());
    assert_eq!(trial.notes.len(), 1, "{:?}", trial.notes);
    assert!(
        trial.notes[0].contains("no-such-server"),
        "{:?}",
        trial.notes
    );

    layer.write("a.j2", "{{ db.host }}\n");
    assert!(
        refused(&request).contains("`./c`, the check of /etc/a"),
        "{}",
        refused(&request)
    );
}

#[test]
fn needed_layers_bring_their_schemas() {
    let layer = layer();
    layer.write(
        "layer.yaml",
        "layer: {name: app, summary: s, layers: [base]}\n",
    );
    std::fs::rename(layer.path("db.schema"), layer.path("base.schema")).unwrap();
    let base = Sandbox::new();
    base.write("layer.yaml", "layer: {name: base, summary: s}\n");
    std::fs::rename(layer.path("base.schema"), base.path("db.schema")).unwrap();
    let find = |name: &str| (name == "base").then(|| PathBuf::from(base.dir()));
    let needs = needs::of(layer.dir(), &find);
    let mut request = request(layer.dir());
    request.needs = &needs.found;
    assert!(tried(&request).is_good());
}

#[test]
fn the_scratch_directory_stays_if_it_is_wanted() {
    let layer = layer();
    let mut request = request(layer.dir());
    request.keep = true;
    let trial = tried(&request);
    let kept = trial.kept.clone().unwrap();
    assert!(
        trial
            .text()
            .ends_with(&format!("kept: {}\n", kept.display()))
    );
    assert_eq!(
        std::fs::read_to_string(kept.join("etc/a")).unwrap(),
        "host=h\nlast\n"
    );
    std::fs::remove_dir_all(kept.parent().unwrap()).unwrap();
}

#[test]
fn a_layer_that_cannot_be_tried_says_why() {
    let layer = layer();
    let gone = layer.path("gone");
    assert!(refused(&request(&gone)).contains("cannot be read"));
    let mut other = request(layer.dir());
    other.disco = &gone;
    assert!(refused(&other).contains("cannot be started"));
    std::fs::remove_file(layer.path("db.rules")).unwrap();
    assert!(refused(&request(layer.dir())).contains("there is nothing to try"));
    std::fs::remove_file(layer.path("example/data.yaml")).unwrap();
    assert!(refused(&request(layer.dir())).contains("a trial needs data"));
}

#[test]
fn paths_of_the_command_line_are_relative_to_where_it_is_typed() {
    let cake = Cake::new();
    cake.write("app/layer.yaml", "layer: {name: app, summary: s}\n");
    cake.write("app/db.schema", SCHEMA);
    cake.write("app/db.rules", RENDER);
    cake.write("app/a.j2", "{{ db.host }}\n");
    cake.write("other.yaml", "db: {host: other}\n");
    std::os::unix::fs::symlink(disco_bin(), cake.at("disco")).unwrap();
    cake.run([
        "test",
        "./app",
        "--disco",
        "./disco",
        "--data",
        "other.yaml",
    ])
    .assert_code(0)
    .assert_stdout("./app:\n0640 /etc/a: new\n    other\n");
}

#[test]
fn a_layer_does_not_say_where_its_trial_writes() {
    let elsewhere = Sandbox::new();
    let layer = layer();
    let set = format!("DISCO_CFG=disco.destdir={}\n", elsewhere.dir().display());
    layer.write("example/env", &set);
    assert!(refused(&request(layer.dir())).contains("env:1:1: `DISCO_CFG` says where"));
    assert!(!elsewhere.path("etc").exists());
    let found = lint(&[layer.dir().to_owned()], &|_| None, false);
    assert!(
        found.problems[0]
            .to_string()
            .contains("env:1:1: `DISCO_CFG`"),
        "{:?}",
        found.problems
    );
}

#[test]
fn a_layer_lies_under_its_own_name_whatever_its_directory_is_called() {
    let layer = layer();
    layer.write(
        "db.rules",
        "format: 2\nrules: [{when: db, render: {template: /usr/share/layercake/layers/app/a.j2, to: /etc/a}}]\n",
    );
    assert_eq!(tried(&request(layer.dir())).files.len(), 1);
}
