//! Layers from directories: in which order, from which source, as the lock has them, and written where
//! they go. Repositories and indexes are in modules of their own.

mod git;
mod index;
mod program;

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use layer_cake::cake::failure::Failure;
use layer_cake::cake::layers::fetch::{Fetch, Install, fetch, is_image_build};
use layer_cake::cake::layers::vendor::vendor;
use layer_cake::cake::layers::{self, Request, Resolved, Update};
use layer_cake::cake::ui::{Style, Ui};
use layer_cake::contract::layer::conf;
use layer_cake::contract::layer::lock::Source;

/// A project with a directory for `CAKE_PATH` beside it.
struct Project {
    dir: tempfile::TempDir,
    request: Request,
}

impl Project {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("project")).unwrap();
        let home = dir.path().as_os_str().to_owned();
        let mut request = Request::new(&dir.path().join("project"), &move |name| {
            (name == "HOME").then(|| home.clone())
        });
        request.cake_path = vec![dir.path().join("path")];
        fs::create_dir(dir.path().join("path")).unwrap();
        Self { dir, request }
    }

    /// With this `cake.conf`.
    fn of(conf: &str) -> Self {
        let mut project = Self::new();
        project.conf(conf);
        project
    }

    fn conf(&mut self, text: &str) {
        let read = conf::parse(Path::new("cake.conf"), text.as_bytes()).unwrap();
        self.request.conf = read.value;
    }

    fn at(&self, path: &str) -> PathBuf {
        self.request.project.join(path)
    }

    /// Writes a file below the project.
    fn write(&self, path: &str, text: &str) {
        fs::create_dir_all(self.at(path).parent().unwrap()).unwrap();
        fs::write(self.at(path), text).unwrap();
    }

    /// A layer below `CAKE_PATH`.
    fn layer(&self, name: &str, needs: &str) {
        self.write(
            &format!("../path/{name}/layer.yaml"),
            &format!("layer: {{name: {name}, layers: [{needs}]}}"),
        );
    }

    fn resolve(&self) -> Result<Resolved, Failure> {
        layers::resolve(&self.request, &quiet())
    }

    /// Resolves, and keeps what that comes to.
    fn lock(&self) -> Resolved {
        let resolved = self.resolve().unwrap();
        layers::save_lock(&self.request.project, resolved.lock()).unwrap();
        resolved
    }

    fn locked(&self) -> Result<Resolved, Failure> {
        let request = Request {
            locked: true,
            ..self.request.clone()
        };
        layers::resolve(&request, &quiet())
    }

    fn fetch(&self, names: &[&str], force: bool, install: Install) -> Result<(), Failure> {
        let what = Fetch {
            names: names.iter().map(ToString::to_string).collect(),
            dir: self.at("to"),
            force,
            install,
        };
        fetch(&self.request, &what, &quiet())
    }
}

fn quiet() -> Ui {
    Ui::new(Some(Style::Quiet))
}

/// Code and problems of a failure.
fn told<T>(outcome: Result<T, Failure>) -> (u8, Vec<String>) {
    let failure = outcome.err().expect("it worked");
    let problems = failure.problems.iter().map(ToString::to_string).collect();
    (failure.code, problems)
}

fn names(resolved: &Resolved) -> Vec<&str> {
    resolved
        .layers
        .iter()
        .map(|layer| layer.locked.name.as_str())
        .collect()
}

fn run_bit(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn c12_c15_the_layers_of_a_conf_come_in_order_and_again_by_the_lock() {
    let mut project = Project::of("cake: {layers: [web, {name: app, path: ./layers/app}]}");
    project.layer("web", "tls, env");
    project.layer("tls", "env");
    project.layer("env", "");
    project.write("layers/app/layer.yaml", "layer: {name: app, layers: [env]}");

    let first = project.lock();
    assert_eq!(names(&first), ["env", "tls", "web", "app"]);
    assert_eq!(first.layers[0].locked.source, Source::CakePath);
    assert_eq!(
        first.layers[3].locked.source,
        Source::Path("./layers/app".into())
    );
    let text = fs::read_to_string(project.at("cake.lock")).unwrap();
    assert!(
        !text.contains(project.dir.path().to_str().unwrap()),
        "{text}"
    );
    let again = project.locked().unwrap();
    assert_eq!(again.lock(), first.lock());
    assert!(again.drift.is_empty());
    assert!(!layers::save_lock(&project.request.project, again.lock()).unwrap());

    project.write("layers/app/app.rules", "rules: []");
    project.write("layers/app/README.md", "not in the image");
    let (code, problems) = told(project.locked());
    assert_eq!((code, problems.len()), (1, 1), "{problems:?}");
    assert!(
        problems[0].contains("cake.lock: the files of layer `app` have changed"),
        "{problems:?}"
    );
    project.conf("cake: {layers: [web]}");
    let (_, problems) = told(project.locked());
    assert!(
        problems[0].contains("`app` is no longer needed"),
        "{problems:?}"
    );
}

#[test]
fn without_a_lock_nothing_is_locked() {
    let project = Project::new();
    let (code, problems) = told(project.locked());
    assert_eq!(code, 1);
    assert!(problems[0].contains("run `cake lock`"), "{problems:?}");
    project.write("cake.lock", "format: 9\n");
    assert_eq!(told(project.resolve()).0, 78);
}

#[test]
fn c10_c32_c33_what_cannot_be_is_told_with_all_names() {
    let mut project = Project::of("cake: {layers: [a, b, {name: c, path: gone}]}");
    project.layer("a", "mysq, b");
    project.layer("b", "a");
    project.layer("mysql", "");
    let (code, problems) = told(project.resolve());
    assert_eq!(code, 1);
    let expected = [
        "a -> b -> a",
        "gone: cannot be read",
        "`mysq` is nowhere (wanted by layer `a`); did you mean `mysql`?",
    ];
    assert_eq!(problems.len(), expected.len(), "{problems:#?}");
    for (problem, expected) in problems.iter().zip(expected) {
        assert!(problem.contains(expected), "{problem}");
    }
    project.conf("cake: {layers: [{name: d, path: d}]}");
    project.write("d/layer.yaml", "layer: {name: e}");
    let (code, problems) = told(project.resolve());
    assert_eq!(code, 78);
    assert!(problems[0].contains("calls itself `e`"), "{problems:?}");
    project.conf("cake: {layers: [{name: d, path: d}, {name: d, path: e}]}");
    let (code, problems) = told(project.resolve());
    assert_eq!(code, 78);
    assert!(
        problems[0].contains("from path d and from path e"),
        "{problems:?}"
    );
}

#[test]
fn vendored_layers_are_as_the_image_has_them_and_stay_untouched_while_they_are_the_same() {
    let mut project = Project::of("cake: {layers: [web]}");
    project.layer("web", "env");
    project.layer("env", "");
    for path in [
        "README.md",
        "example/data.yaml",
        "expected/etc/x",
        "web.rules",
        "deep/er/file",
    ] {
        project.write(&format!("../path/web/{path}"), path);
    }
    project.write("../path/web/install", "#!/bin/sh\n");
    run_bit(&project.dir.path().join("path/web/install"));
    project.write(".cake/disco", "not ours");

    let resolved = project.lock();
    assert!(vendor(&project.request.project, &resolved.layers).unwrap());
    let list = |dir: &str| {
        let mut names: Vec<_> = fs::read_dir(project.at(dir))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    assert_eq!(list(".cake"), ["disco", "layers"]);
    assert_eq!(list(".cake/layers"), [".order", "env", "web"]);
    assert_eq!(
        list(".cake/layers/web"),
        ["deep", "install", "layer.yaml", "web.rules"]
    );
    assert_eq!(
        fs::read_to_string(project.at(".cake/layers/.order")).unwrap(),
        "env\nweb\n"
    );
    let mode = |path: &str| fs::metadata(project.at(path)).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(".cake/layers/web/install"), 0o755);
    assert_eq!(mode(".cake/layers/web/web.rules"), 0o644);
    assert_eq!(mode(".cake/layers/web/deep"), 0o755);
    assert_eq!(mode(".cake/layers"), 0o755);

    let time = |path: &str| fs::metadata(project.at(path)).unwrap().modified().unwrap();
    let (before, rules) = (time(".cake/layers"), time(".cake/layers/web/web.rules"));
    assert!(!vendor(&project.request.project, &resolved.layers).unwrap());
    assert_eq!(time(".cake/layers"), before);
    project.write("../path/env/env.rules", "rules: []");
    let changed = project.resolve().unwrap();
    assert!(vendor(&project.request.project, &changed.layers).unwrap());
    assert_eq!(time(".cake/layers/web/web.rules"), rules);

    // Everything else may go away: what is vendored is enough, and the lock says where it is from.
    vendor(&project.request.project, &resolved.layers).unwrap();
    project.request.cake_path.clear();
    let vendored = project.locked().unwrap();
    assert_eq!(vendored.lock(), resolved.lock());
    assert!(!vendor(&project.request.project, &vendored.layers).unwrap());
}

#[test]
fn a_vendored_layer_that_somebody_changed_is_a_drift() {
    let mut project = Project::of("cake: {layers: [web]}");
    project.layer("web", "");
    let resolved = project.lock();
    vendor(&project.request.project, &resolved.layers).unwrap();
    project.write(".cake/layers/web/more.rules", "rules: []");
    assert!(
        vendor(&project.request.project, &resolved.layers).unwrap(),
        "it is mended"
    );
    project.write(".cake/layers/web/more.rules", "rules: []");
    project.request.cake_path.clear();
    let (code, problems) = told(project.locked());
    assert_eq!(code, 1);
    assert!(
        problems[0].contains("files of layer `web` have changed"),
        "{problems:?}"
    );
    let taken = project.resolve().unwrap();
    assert_eq!(taken.layers[0].locked.source, Source::Vendored);
    assert_eq!(taken.drift.len(), 2);
}

#[test]
fn only_what_is_needed_can_be_updated() {
    let project = Project::of("cake: {layers: [web]}");
    project.layer("web", "");
    project.lock();
    let updated = layers::update(&project.request, &["web".to_owned()], &quiet()).unwrap();
    assert!(updated.drift.is_empty());
    let failed = layers::update(&project.request, &["wbe".to_owned()], &quiet());
    let (code, problems) = told(failed);
    assert_eq!(code, 64);
    assert!(problems[0].contains("did you mean `web`?"), "{problems:?}");
    assert_eq!(project.request.update, Update::None);
}

#[test]
fn c2_c16_c30_layers_are_fetched_with_what_they_need_and_installed_in_order() {
    let project = Project::new();
    project.layer("web", "env");
    project.layer("env", "");
    for name in ["web", "env"] {
        let install = format!("../path/{name}/install");
        project.write(&install, "#!/bin/sh\nbasename \"$PWD\" >>../log\n");
        run_bit(&project.at(&install));
    }
    project.write("../path/web/README.md", "x");
    project.write("to/log", "");
    if !is_image_build() {
        let (code, problems) = told(project.fetch(&["web"], false, Install::InImage));
        assert_eq!(code, 64);
        assert!(problems[0].contains("--run-install"), "{problems:?}");
        assert!(!project.at("to/env").exists());
    }
    project.fetch(&["web"], false, Install::Always).unwrap();
    let log = || fs::read_to_string(project.at("to/log")).unwrap();
    assert_eq!(log(), "env\nweb\n");
    assert!(project.at("to/web/README.md").exists());

    // A second line of a Dockerfile that shares a layer with the first.
    project.layer("db", "env");
    project.fetch(&["db"], false, Install::Always).unwrap();
    assert_eq!(log(), "env\nweb\n");

    project.write("to/web/layer.yaml", "layer: {name: web, summary: mine}");
    let (code, problems) = told(project.fetch(&["web"], false, Install::Never));
    assert_eq!(code, 1);
    assert!(
        problems[0].contains("would overwrite") && problems[0].contains("--force"),
        "{problems:?}"
    );
    project.fetch(&["web"], true, Install::Never).unwrap();
    let text = fs::read_to_string(project.at("to/web/layer.yaml")).unwrap();
    assert!(!text.contains("mine"));

    project.write("../path/db/install", "#!/bin/sh\nexit 3\n");
    assert!(told(project.fetch(&["db"], true, Install::Always)).1[0].contains("run bit"));
    run_bit(&project.at("../path/db/install"));
    let (code, problems) = told(project.fetch(&["db"], true, Install::Always));
    assert_eq!(code, 1);
    assert!(problems[0].contains("exit status: 3"), "{problems:?}");
}

#[test]
fn an_install_that_failed_or_was_not_run_is_still_due() {
    let project = Project::new();
    project.layer("web", "");
    project.write(
        "../path/web/install",
        "#!/bin/sh\n[ -e ../allowed ] || exit 3\necho x >>../log\n",
    );
    run_bit(&project.at("../path/web/install"));
    let fetch = |install| project.fetch(&["web"], false, install);
    for _ in 0..2 {
        assert!(told(fetch(Install::Always)).1[0].contains("exit status: 3"));
    }
    fetch(Install::Never).unwrap();
    project.write("to/allowed", "");
    for _ in 0..2 {
        fetch(Install::Always).unwrap();
    }
    let log = || fs::read_to_string(project.at("to/log")).unwrap();
    assert_eq!(log(), "x\n");
    fs::remove_dir_all(project.at("to/web")).unwrap();
    fetch(Install::Never).unwrap();
    fetch(Install::Always).unwrap();
    assert_eq!(log(), "x\nx\n");
    let mut names: Vec<_> = fs::read_dir(project.at("to"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["allowed", "log", "web"]);
}

#[test]
fn nothing_leads_out_of_a_layer_on_disk() {
    let project = Project::of("cake: {layers: [web]}");
    project.layer("web", "");
    symlink("/etc/passwd", project.at("../path/web/passwd")).unwrap();
    let (code, problems) = told(project.resolve());
    assert_eq!(code, 78);
    assert!(
        problems[0].contains("leads out of the layer"),
        "{problems:?}"
    );
}

#[test]
fn a_shell_can_tell_the_digest() {
    let project = Project::of("cake: {layers: [web]}");
    project.layer("web", "");
    for path in [
        "README.md",
        "example/x",
        "a/README.md",
        "a.b",
        "a/x y",
        "B",
        "install",
    ] {
        project.write(&format!("../path/web/{path}"), path);
    }
    run_bit(&project.at("../path/web/install"));
    let docs =
        fs::read_to_string(crate::support::repo().join("src/contract/layer/digest.rs")).unwrap();
    let script: Vec<&str> = docs
        .lines()
        .filter_map(|line| line.strip_prefix("//! "))
        .skip_while(|line| !line.starts_with("find "))
        .take_while(|line| !line.starts_with("```"))
        .collect();
    let output = Command::new("sh")
        .args(["-c", &script.join("\n")])
        .current_dir(project.at("../path/web"))
        .output()
        .unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    let sha256 = &project.resolve().unwrap().layers[0].locked.sha256;
    assert_eq!(told.split(' ').next(), Some(sha256.as_str()), "{script:?}");
}

#[test]
fn c6_c7_the_environment_is_what_the_command_line_is_set_over() {
    let request = |pairs: &'static [(&str, &str)]| {
        Request::new(Path::new("."), &|name| {
            let pair = pairs.iter().find(|pair| pair.0 == name);
            pair.map(|pair| pair.1.into())
        })
    };
    let set = request(&[
        ("CAKE_PATH", "a::b"),
        ("LAYERCAKE_API", "https://example.com"),
        ("LAYERCAKE_CACERT", "ca.pem"),
        ("XDG_CACHE_HOME", "/cache"),
    ]);
    assert_eq!(set.cake_path, ["a", "b"].map(PathBuf::from));
    assert_eq!(set.index(), Some("https://example.com"));
    assert_eq!(set.cacert.as_deref(), Some(Path::new("ca.pem")));
    assert_eq!(
        set.cache.as_deref(),
        Some(Path::new("/cache/layer-cake/git"))
    );
    let empty = request(&[
        ("CAKE_PATH", ""),
        ("LAYERCAKE_API", ""),
        ("LAYERCAKE_CACERT", ""),
    ]);
    assert!(empty.cake_path.is_empty() && empty.index().is_none() && empty.cacert.is_none());
}

#[test]
fn a_conf_is_read_from_its_file() {
    let project = Project::new();
    let file = project.at("cake.conf");
    let (code, problems) = told(layers::read_conf(&file, &quiet()));
    assert_eq!(code, 78);
    assert!(problems[0].contains("is not there"), "{problems:?}");
    project.write("cake.conf", "cake:\n  layers: [mysql]\n");
    let conf = layers::read_conf(&file, &quiet()).unwrap();
    assert_eq!(conf.layers[0].name, "mysql");
}

/// A layer that somebody has put into `.cake/layers` by hand.
fn by_hand(project: &Project, name: &str) {
    for (path, text) in [
        ("layer.yaml", format!("layer: {{name: {name}}}")),
        ("mine.rules", "rules: []".to_owned()),
        ("README.md", "mine".to_owned()),
        ("example/data.yaml", "{}".to_owned()),
        ("expected/etc/a", "a".to_owned()),
        (".git/HEAD", "ref: refs/heads/main".to_owned()),
    ] {
        project.write(&format!(".cake/layers/{name}/{path}"), &text);
    }
}

#[test]
fn a_layer_put_there_by_hand_stays_with_all_its_files() {
    let mut project = Project::of("cake: {layers: [mysql]}");
    by_hand(&project, "mysql");
    project.lock();
    project.write(".cake/layers/mysql/mine.rules", "rules: [] # changed");

    // An index has one of the name as well, and is not asked.
    project.request.endpoint = Some("/nowhere/index.json".to_owned());
    for request in [
        project.request.clone(),
        Request {
            update: Update::All,
            ..project.request.clone()
        },
    ] {
        let resolved = layers::resolve(&request, &quiet()).unwrap();
        assert_eq!(resolved.layers[0].locked.source, Source::Vendored);
        assert_eq!(resolved.drift.len(), 1, "{:?}", resolved.drift);
        assert!(resolved.drift[0].contains("files of layer `mysql` have changed"));
        vendor(&project.request.project, &resolved.layers).unwrap();
        assert!(!vendor(&project.request.project, &resolved.layers).unwrap());
    }
    let (code, problems) = told(project.locked());
    assert_eq!((code, problems.len()), (1, 1), "{problems:?}");
    // Nor is one thrown away that nobody wants any more.
    project.conf("cake: {layers: []}");
    let (code, problems) = told(vendor(&project.request.project, &[]));
    assert_eq!(code, 1);
    assert!(
        problems[0].contains("mysql: is a layer that only lies here"),
        "{problems:?}"
    );
    for path in [
        "README.md",
        "example/data.yaml",
        "expected/etc/a",
        ".git/HEAD",
    ] {
        assert!(
            project.at(&format!(".cake/layers/mysql/{path}")).is_file(),
            "{path}"
        );
    }
    let rules = fs::read_to_string(project.at(".cake/layers/mysql/mine.rules")).unwrap();
    assert!(rules.contains("changed"));
}

#[test]
fn nothing_is_written_through_a_link_in_place_of_cakes_directory() {
    let project = Project::of("cake: {layers: [mysql]}");
    project.write("../victim/layers/precious/x", "x");
    symlink("../victim", project.at(".cake")).unwrap();
    let resolved = project.resolve().unwrap();
    let (code, problems) = told(vendor(&project.request.project, &resolved.layers));
    assert_eq!(code, 1);
    assert!(problems[0].contains(".cake: is a link"), "{problems:?}");
    assert!(project.at("../victim/layers/precious/x").exists());
}

#[test]
fn a_vendored_copy_of_an_ended_run_is_cleaned_up() {
    let project = Project::of("cake: {layers: [mysql]}");
    project.write(".cake/.cake-Ab12Cd/new/mysql/layer.yaml", "");
    let resolved = project.resolve().unwrap();
    vendor(&project.request.project, &resolved.layers).unwrap();
    let names: Vec<_> = fs::read_dir(project.at(".cake"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["layers"]);
}

#[test]
fn a_layer_that_is_pinned_from_an_index_gives_way_to_none_that_cake_has() {
    let mut project = Project::of("cake: {layers: [mysql]}");
    let lock = format!(
        "format: 1\nlayers:\n  - name: mysql\n    source: index\n    url: https://example.com/a.git\n    \
         commit: {}\n    sha256: {}\n",
        "1".repeat(40),
        "2".repeat(64)
    );
    project.write("cake.lock", &lock);
    project.request.offline = true;
    let (code, problems) = told(project.resolve());
    assert_eq!(code, 1);
    assert!(problems[0].contains("is not in the cache"), "{problems:?}");
    project.request.update = Update::All;
    let taken = project.resolve().unwrap();
    assert_eq!(taken.layers[0].locked.source, Source::Embedded);
}
