//! Indexes: what they answer and what they may not, the files of a static one, and a search.

use std::fs;
use std::time::Duration;

use super::{Project, names, quiet, told};
use crate::support::{Answer, Asked, Pki, Repo, Web};
use layer_cake::cake::failure::Failure;
use layer_cake::cake::layers::search::{Format, search};
use layer_cake::cake::layers::static_index;
use layer_cake::contract::layer::lock::Source;
use serde_json::{Value, json};

const LAYERS: &str = "/api/v2/layers/";

/// A project that wants `web` from the index of `web`.
fn asking(web: &Web, pki: &Pki) -> Project {
    let mut project = Project::of("cake: {layers: [web]}");
    project.request.endpoint = Some(web.url());
    project.request.cacert = Some(pki.ca());
    project
}

fn searched(project: &Project, terms: &[&str]) -> Result<String, Failure> {
    let terms: Vec<String> = terms.iter().map(ToString::to_string).collect();
    search(&project.request, &terms, Format::Text, &quiet())
}

/// The names that a table lists.
fn listed(table: &str) -> Vec<&str> {
    table
        .lines()
        .skip(1)
        .filter_map(|line| line.split(' ').next())
        .collect()
}

/// A server that answers each question for a layer with `answer`, and has nothing else.
fn server(pki: &Pki, answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Web {
    Web::start(Some(pki), move |asked| {
        match asked.target.starts_with(LAYERS) {
            true => answer(asked),
            false => Answer::status(404),
        }
    })
}

#[test]
fn c32_what_an_index_does_not_have_is_nowhere() {
    let pki = Pki::new();
    for body in ["[]", "null", "{}", " [ ] \n"] {
        let web = server(&pki, move |_| Answer::ok(body));
        let (code, problems) = told(asking(&web, &pki).resolve());
        assert_eq!(code, 1);
        assert!(
            problems[0].contains("layer `web` is nowhere (wanted by cake.conf)"),
            "{body}: {problems:?}"
        );
        assert_eq!(web.asked()[0], "GET /api/v2/layers/web");
    }
    let web = server(&pki, |_| Answer::status(404));
    assert!(told(asking(&web, &pki).resolve()).1[0].contains("is nowhere"));
}

#[test]
fn what_makes_no_sense_is_refused() {
    let pki = Pki::new();
    let object = |object: Value| object.to_string();
    for (body, expected) in [
        ("garbage".to_owned(), "no JSON"),
        ("\"x\"".to_owned(), "no object"),
        (
            object(json!({"name": "other", "repo": "https://h/x"})),
            "other layers",
        ),
        (object(json!({"name": "../x"})), "no layer name"),
        (object(json!({"name": "web"})), "no `repo`"),
        (
            object(json!({"name": "web", "repo": "file:///etc"})),
            "is on this machine",
        ),
        (
            object(json!({"name": "web", "repo": "/etc"})),
            "is on this machine",
        ),
        (
            object(json!({"name": "web", "repo": "ext::sh -c id"})),
            "blanks",
        ),
        (
            object(json!({"name": "web", "repo": "ext::id"})),
            "helper program",
        ),
        (
            object(json!({"name": "web", "repo": "--upload-pack=id"})),
            "no repository",
        ),
        (
            object(json!({"name": "web", "repo": "http://h/x"})),
            "is not https",
        ),
        (
            object(json!({"name": "web", "repo": "https://h/x", "repopath": "../x"})),
            "`..`",
        ),
        (
            object(json!({"name": "web", "repo": "https://h/x", "commit": "main"})),
            "`commit`",
        ),
    ] {
        let shown = body.clone();
        let web = server(&pki, move |_| Answer::ok(body.clone()));
        let (code, problems) = told(asking(&web, &pki).resolve());
        assert_eq!((code != 0, problems.len()), (true, 1), "{shown}");
        assert!(problems[0].contains(expected), "{shown}: {problems:?}");
    }
}

#[test]
fn c5_an_index_that_does_not_answer_is_a_failure() {
    let pki = Pki::new();
    type Case = (fn() -> Answer, &'static str);
    let cases: [Case; 3] = [
        (|| Answer::status(500), "500"),
        (|| Answer::Silence, "no answer in time"),
        (|| Answer::Endless, "larger than 8 MiB"),
    ];
    for (answer, expected) in cases {
        let web = server(&pki, move |_| answer());
        let mut project = asking(&web, &pki);
        if expected.contains("time") {
            project.request.timeout = Duration::from_millis(300);
        }
        for (code, problems) in [told(project.resolve()), told(searched(&project, &["x"]))] {
            assert_eq!((code, problems.len()), (1, 1));
            assert!(problems[0].contains(expected), "{problems:?}");
        }
    }
    let gone = server(&pki, |_| Answer::status(404)).url();
    let mut project = Project::of("cake: {layers: [web]}");
    project.request.endpoint = Some(gone);
    project.request.cacert = Some(pki.ca());
    assert!(told(searched(&project, &[])).1[0].contains("refused"));
}

#[test]
fn only_who_is_known_is_believed() {
    let (pki, other) = (Pki::new(), Pki::new());
    let web = server(&pki, |_| Answer::ok("[]"));
    let (code, problems) = told(asking(&web, &other).resolve());
    assert_eq!(code, 1);
    assert!(problems[0].contains("--cacert"), "{problems:?}");
    let mut project = asking(&web, &pki);
    project.request.cacert = Some(project.at("gone.pem"));
    assert_eq!(told(project.resolve()).0, 78);
    project.write("empty.pem", "");
    project.request.cacert = Some(project.at("empty.pem"));
    assert!(told(project.resolve()).1[0].contains("no PEM certificate"));

    let plain = Web::start(None, |_| Answer::ok("[]"));
    let mut project = asking(&plain, &pki);
    let (code, problems) = told(project.resolve());
    assert_eq!(code, 1);
    assert!(problems[0].contains("is not https"), "{problems:?}");
    assert!(plain.asked().is_empty());
    project.request.insecure = true;
    assert!(told(project.resolve()).1[0].contains("is nowhere"));
    assert_eq!(plain.asked()[0], "GET /api/v2/layers/web");
}

#[test]
fn redirects_stay_private_and_end() {
    let pki = Pki::new();
    let plain = Web::start(None, |_| Answer::ok("[]"));
    let (to_plain, to_itself) = (plain.url(), "/api/v2/layers/web".to_owned());
    for (to, expected) in [(to_plain, "plain http"), (to_itself, "circles")] {
        let web = server(&pki, move |_| Answer::redirect(&to));
        let (code, problems) = told(asking(&web, &pki).resolve());
        assert_eq!(code, 1);
        assert!(problems[0].contains(expected), "{problems:?}");
    }
    assert!(plain.asked().is_empty());
    let web = server(&pki, |asked| match asked.path().ends_with("web") {
        true => Answer::redirect("/api/v2/layers/moved"),
        false => Answer::ok("[]"),
    });
    assert!(told(asking(&web, &pki).resolve()).1[0].contains("is nowhere"));
}

#[test]
fn c6_offline_asks_nobody_and_the_command_line_goes_first() {
    let pki = Pki::new();
    let web = server(&pki, |_| Answer::ok("[]"));
    let mut project = asking(&web, &pki);
    project.request.offline = true;
    let (code, problems) = told(project.resolve());
    assert_eq!(code, 1);
    assert!(problems[0].contains("while offline"), "{problems:?}");
    let at_hand = searched(&project, &["nothing-of-the-kind"]).unwrap();
    assert_eq!(listed(&at_hand), Vec::<&str>::new());
    assert!(web.asked().is_empty());
    project.conf("cake: {endpoint: other, layers: []}");
    assert_eq!(project.request.index(), Some(web.url().as_str()));
    project.request.endpoint = None;
    assert_eq!(project.request.index(), Some("other"));
}

#[test]
fn c5_the_original_api_is_searched() {
    let pki = Pki::new();
    let web = server(&pki, |asked| match asked.target.as_str() {
        "/api/v2/layers/?q=data%20base&q=owner%3Ajo" => Answer::ok(
            json!([{"id": "web", "name": "web", "summary": "x", "_id": 1}, {"name": "no-summary"}])
                .to_string(),
        ),
        other => panic!("{other}"),
    });
    let project = asking(&web, &pki);
    let table = searched(&project, &["data base", "owner:jo"]).unwrap();
    assert_eq!(
        table,
        "Id         Name       Description\nno-summary no-summary\nweb        web        x\n"
    );
    let terms = ["data base".to_owned(), "owner:jo".to_owned()];
    let text = search(&project.request, &terms, Format::Json, &quiet()).unwrap();
    let hits: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        hits[1],
        json!({"id": "web", "name": "web", "summary": "x", "source": web.url()})
    );
    let text = search(&project.request, &terms, Format::Yaml, &quiet()).unwrap();
    assert!(text.starts_with("- id: no-summary\n"), "{text}");
}

/// Two layers to be listed.
fn to_list(project: &Project) {
    project.write(
        "layers/web/layer.yaml",
        "layer: {name: web, summary: Serves pages, repo: 'https://example.com/web.git', author: Jo}",
    );
    project.write(
        "layers/env/layer.yaml",
        "layer: {name: env, repo: 'git@example.com:env.git', repopath: layers/env}",
    );
    project.write("layers/none/README.md", "x");
}

#[test]
fn a_static_index_is_files_that_any_server_has() {
    let mut project = Project::new();
    to_list(&project);
    let (from, out) = (project.at("layers"), project.at("out"));
    assert_eq!(static_index::index(&from, &out, &quiet()), Ok(2));
    let read = |path: &str| fs::read_to_string(out.join(path)).unwrap();
    let all: Value = serde_json::from_str(&read("index.json")).unwrap();
    assert_eq!(
        all[1],
        json!({"id": "web", "name": "web", "owner": ["Jo"], "repo": "https://example.com/web.git",
            "summary": "Serves pages"})
    );
    assert_eq!(read("index.json"), read("api/v2/layers/index.html"));
    let one: Value = serde_json::from_str(&read("api/v2/layers/web")).unwrap();
    assert_eq!(one, all[1]);
    let before = read("index.json");
    assert_eq!(static_index::index(&from, &out, &quiet()), Ok(2));
    assert_eq!(read("index.json"), before);

    // However it is named.
    let pki = Pki::new();
    let root = out.clone();
    let web = Web::start(Some(&pki), move |asked| Answer::file(&root, asked));
    project.request.cacert = Some(pki.ca());
    let local = out.to_str().unwrap().to_owned();
    for endpoint in [
        web.url(),
        format!("{}/", web.url()),
        format!("{}/index.json", web.url()),
        local.clone(),
        format!("{local}/index.json"),
        format!("file://{local}"),
        "out".to_owned(),
    ] {
        project.request.endpoint = Some(endpoint.clone());
        let hits = |terms: &[&str]| {
            let table = searched(&project, terms).unwrap();
            let own = layer_cake::cake::layers::local::embedded_names().collect::<Vec<_>>();
            listed(&table)
                .into_iter()
                .filter(|name| !own.contains(name) || *name == "web")
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert!(hits(&[]).contains(&"web".to_owned()), "{endpoint}");
        assert_eq!(hits(&["PAGES", "owner:Jo"]), ["web"], "{endpoint}");
        assert_eq!(
            hits(&["pages", "owner:Al"]),
            Vec::<String>::new(),
            "{endpoint}"
        );
    }

    fs::remove_dir_all(from.join("env")).unwrap();
    assert_eq!(static_index::index(&from, &out, &quiet()), Ok(1));
    assert!(!out.join("api/v2/layers/env").exists());
}

#[test]
fn only_good_layers_are_listed() {
    let project = Project::new();
    let from = project.at("layers");
    fs::create_dir(&from).unwrap();
    let index = || static_index::index(&from, &project.at("out"), &quiet());
    assert!(told(index()).1[0].contains("nothing to list"));
    to_list(&project);
    project.write(
        "layers/a/layer.yaml",
        "layer: {name: web, repo: 'https://h/x'}",
    );
    project.write("layers/b/layer.yaml", "layer: {name: b}");
    project.write(
        "layers/c/layer.yaml",
        "layer: {name: c, repo: 'https://jo:pw@h/x'}",
    );
    project.write("layers/d/layer.yaml", "layer: {name: d, repo: /srv/d}");
    project.write("layers/e/layer.yaml", "x");
    let (code, problems) = told(index());
    assert_eq!((code, problems.len()), (78, 5), "{problems:#?}");
    assert!(!problems.concat().contains("pw"));
    assert!(!project.at("out").exists());
    for name in ["a", "b", "c", "d", "e"] {
        fs::remove_dir_all(from.join(name)).unwrap();
    }
    project.write(
        "layers/x/layer.yaml",
        "layer: {name: x, layers: [y], repo: 'https://h/x'}",
    );
    project.write(
        "layers/y/layer.yaml",
        "layer: {name: y, layers: [x], repo: 'https://h/x'}",
    );
    assert!(told(index()).1[0].contains("x -> y -> x"));
}

/// A server of a repository with a layer in `layers/web`, and of what the index says of it: `more`, and
/// that the repository is there.
fn with_repository(pki: &Pki, more: impl Fn(&Repo) -> Value) -> (Web, Repo) {
    let repo = Repo::new();
    repo.write("layers/web/layer.yaml", "layer: {name: web}");
    repo.write("layers/web/web.rules", "rules: []\n");
    repo.commit("first");
    let root = repo.path().to_owned();
    let more = more(&repo);
    let web = Web::start(Some(pki), move |asked| {
        let mut object = more.clone();
        object["name"] = "web".into();
        object["repo"] = format!("https://{}/.git", asked.host()).into();
        object["repopath"] = "layers/web".into();
        match asked.path() {
            "/api/v2/layers/web" => Answer::ok(json!([object]).to_string()),
            path if path.starts_with("/.git/") => Answer::git(&root, asked),
            _ => Answer::status(404),
        }
    });
    (web, repo)
}

#[test]
#[ignore = "needs git"]
fn a_layer_of_an_index_is_pinned_and_comes_again_without_it() {
    let pki = Pki::new();
    let (web, repo) = with_repository(&pki, |_| json!({}));
    let project = asking(&web, &pki);
    let resolved = project.lock();
    assert_eq!(names(&resolved), ["web"]);
    let Source::Index(pin) = &resolved.layers[0].locked.source else {
        panic!("{:?}", resolved.layers[0].locked);
    };
    assert_eq!(pin.commit, repo.git(&["rev-parse", "HEAD"]));
    assert_eq!(pin.subpath.as_deref(), Some("layers/web"));
    assert_eq!(resolved.lock().index, Some(web.url()));

    repo.write("layers/web/web.rules", "rules:\n");
    repo.commit("second");
    drop(web);
    let mut project = project;
    project.request.endpoint = None;
    project.request.offline = true;
    let again = project.locked().unwrap();
    assert_eq!(again.lock(), resolved.lock());
}

#[test]
#[ignore = "needs git"]
fn what_an_index_vouches_for_has_to_be_so() {
    let pki = Pki::new();
    let (web, _repo) = with_repository(&pki, |repo| {
        let commit = repo.git(&["rev-parse", "HEAD"]);
        repo.write("layers/web/web.rules", "rules:\n");
        repo.commit("second");
        json!({"commit": commit})
    });
    let resolved = asking(&web, &pki).resolve().unwrap();
    let rules = resolved.layers[0].tree.get("web.rules").unwrap();
    assert_eq!(rules.bytes, b"rules: []\n");
    let sha256 = resolved.layers[0].locked.sha256.clone();

    let (web, _repo) = with_repository(&pki, |_| json!({"sha256": sha256}));
    asking(&web, &pki).resolve().unwrap();
    let (web, _repo) = with_repository(&pki, |_| json!({"sha256": "0".repeat(64)}));
    let (code, problems) = told(asking(&web, &pki).resolve());
    assert_eq!(code, 1);
    assert!(problems[0].contains("should have 0000"), "{problems:?}");
}

#[test]
#[ignore = "needs git"]
fn a_static_index_pins_what_is_committed() {
    let repo = Repo::new();
    let file = "layer: {name: web, repo: 'https://example.com/x.git', repopath: layers/web}";
    repo.write("layers/web/layer.yaml", file);
    let other = "layer: {name: env, repo: 'https://example.com/x.git', repopath: env}";
    repo.write("layers/env/layer.yaml", other);
    let commit = repo.commit("first");
    let out = tempfile::tempdir().unwrap();
    let index = || {
        static_index::index(&repo.path().join("layers"), out.path(), &quiet()).unwrap();
        let text = fs::read_to_string(out.path().join("index.json")).unwrap();
        serde_json::from_str::<Value>(&text).unwrap()
    };
    let all = index();
    assert_eq!(all[1]["commit"], json!(commit));
    assert_eq!(all[1]["sha256"].as_str().unwrap().len(), 64);
    assert_eq!(all[0].get("commit"), None, "it does not lie where it says");
    repo.write("layers/web/new", "x");
    assert_eq!(index()[1].get("commit"), None, "it is not committed");
}

#[test]
#[ignore = "needs git"]
fn an_index_runs_nothing_of_a_repository_and_lists_what_consumers_get() {
    let repo = Repo::new();
    let file = "layer: {name: web, repo: 'https://example.com/x.git', repopath: layers/web}\n";
    repo.write("layers/web/layer.yaml", file);
    repo.write("layers/web/.gitattributes", "* filter=x\n");
    let commit = repo.commit("first");
    repo.git(&["config", "filter.x.clean", "touch ran; cat"]);
    repo.git(&["config", "core.fsmonitor", "touch ran"]);
    // With another time git has to look into the file.
    repo.write("layers/web/layer.yaml", file);
    let out = tempfile::tempdir().unwrap();
    let listed = || {
        static_index::index(&repo.path().join("layers"), out.path(), &quiet()).unwrap();
        let text = fs::read_to_string(out.path().join("index.json")).unwrap();
        serde_json::from_str::<Value>(&text).unwrap()[0].clone()
    };
    assert_eq!(listed()["commit"], json!(commit));
    assert!(!repo.path().join("ran").exists() && !repo.path().join("layers/web/ran").exists());
    // As of a checkout with other line ends: consumers get the commit's.
    repo.write("layers/web/layer.yaml", &file.replace('\n', "\r\n"));
    repo.git(&["config", "core.autocrlf", "true"]);
    assert_eq!(listed().get("commit"), None);
}

/// Servers of pages answer with one, and 200, for whatever they do not have.
#[test]
fn a_page_in_place_of_the_api_is_no_answer_where_there_is_a_file() {
    let pki = Pki::new();
    let list = json!([{"name": "web", "repo": "/etc"}, {"name": 5}]).to_string();
    let web = Web::start(Some(&pki), move |asked| match asked.path() {
        "/index.json" => Answer::ok(list.clone()),
        _ => Answer::ok("<html>"),
    });
    let mut project = asking(&web, &pki);
    project.request.endpoint = Some(format!("{}/?token=x", web.url()));
    let (_, problems) = told(project.resolve());
    assert!(problems[0].contains("is on this machine"), "{problems:?}");
    assert!(
        web.asked().iter().all(|asked| asked.contains("?token=x")),
        "{:?}",
        web.asked()
    );
    assert_eq!(listed(&searched(&project, &["web"]).unwrap()), ["web"]);
}
