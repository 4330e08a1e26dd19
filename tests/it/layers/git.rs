//! Layers from git repositories: which commit they come at, and what a repository may not do.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use super::{Project, names, quiet, told};
use crate::support::{Answer, Pki, Repo, Web};
use layer_cake::cake::layers::{self, Resolved};
use layer_cake::contract::layer::lock::{Pin, Source};

fn pin(resolved: &Resolved) -> &Pin {
    resolved.layers[0].locked.source.pin().unwrap()
}

/// A project that wants `web` from `repo`; `more` as in `, rev: x`.
fn wanting(repo: &str, more: &str) -> Project {
    Project::of(&format!(
        "cake: {{layers: [{{name: web, git: '{repo}'{more}}}]}}"
    ))
}

#[test]
#[ignore = "needs git"]
fn a_branch_stays_where_it_is_locked_until_it_is_updated() {
    let repo = Repo::of_layer("web", "");
    let first = repo.git(&["rev-parse", "HEAD"]);
    let mut project = wanting(&repo.url(), ", rev: main");
    let resolved = project.lock();
    assert_eq!(pin(&resolved).commit, first);
    assert_eq!(pin(&resolved).rev.as_deref(), Some("main"));

    repo.write("web.rules", "rules: []\n");
    let second = repo.commit("second");
    let again = project.locked().unwrap();
    assert_eq!(again.lock(), resolved.lock());
    let updated = layers::update(&project.request, &[], &quiet()).unwrap();
    assert_eq!(pin(&updated).commit, second);
    assert_eq!(updated.drift.len(), 2, "{:?}", updated.drift);

    // The repository goes away; what is locked is in the cache.
    fs::remove_dir_all(repo.path()).unwrap();
    project.request.offline = true;
    assert_eq!(pin(&project.locked().unwrap()).commit, first);
    // Another branch is another wish.
    project.conf(&format!(
        "cake: {{layers: [{{name: web, git: '{}', rev: other}}]}}",
        repo.url()
    ));
    let (code, problems) = told(project.locked());
    assert_eq!(code, 1);
    assert!(problems[0].contains("is not in cake.lock"), "{problems:?}");
}

#[test]
#[ignore = "needs git"]
fn tags_commits_and_the_default_branch_are_found() {
    let repo = Repo::of_layer("web", "");
    let first = repo.git(&["rev-parse", "HEAD"]);
    repo.git(&["tag", "light"]);
    repo.git(&["tag", "-a", "-m", "x", "v1.0"]);
    repo.git(&["branch", "release/1"]);
    repo.write("more", "");
    let second = repo.commit("second");
    let commit = |rev: &str| {
        pin(&wanting(&repo.url(), rev).resolve().unwrap())
            .commit
            .clone()
    };
    assert_eq!(commit(""), second);
    for rev in ["light", "v1.0", "release/1", "refs/heads/release/1", &first] {
        assert_eq!(commit(&format!(", rev: {rev}")), first, "{rev}");
    }
    let name = repo.path().file_name().unwrap().to_str().unwrap();
    let mut beside = wanting(&format!("../{name}"), "");
    beside.request.base = repo.path().join("..").join(name);
    assert_eq!(names(&beside.resolve().unwrap()), ["web"]);
    let (code, problems) = told(wanting(&repo.url(), ", rev: v1.1").resolve());
    assert_eq!(code, 1);
    assert!(problems[0].contains("did you mean `v1.0`?"), "{problems:?}");
    let (_, problems) = told(wanting(&repo.url(), &format!(", rev: {}", "0".repeat(40))).resolve());
    assert!(problems[0].contains("has no commit 0000"), "{problems:?}");
    let (_, problems) = told(wanting("./gone", "").resolve());
    assert!(problems[0].contains("git says"), "{problems:?}");
}

#[test]
#[ignore = "needs git"]
fn c31_a_layer_lies_in_a_directory_of_a_repository() {
    let repo = Repo::new();
    repo.write("layers/web/layer.yaml", "layer: {name: web, layers: [env]}");
    repo.write("layers/web/deep/er", "x");
    repo.write("other", "x");
    repo.commit("first");
    let project = wanting(&repo.url(), ", repopath: layers/web/");
    project.layer("env", "");
    let resolved = project.resolve().unwrap();
    assert_eq!(names(&resolved), ["env", "web"]);
    let files: Vec<_> = resolved.layers[1]
        .tree
        .files()
        .map(|(path, _)| path)
        .collect();
    assert_eq!(files, ["deep/er", "layer.yaml"]);
    for (path, expected) in [
        ("gone", "no such directory"),
        ("other", "no such directory"),
        ("layers", "no layer.yaml"),
    ] {
        let (_, problems) = told(wanting(&repo.url(), &format!(", repopath: {path}")).resolve());
        assert!(problems[0].contains(expected), "{path}: {problems:?}");
    }
}

#[test]
#[ignore = "needs git"]
fn a_repository_is_the_same_layer_as_its_files() {
    let repo = Repo::of_layer("web", "");
    repo.write("install", "#!/bin/sh\n");
    super::run_bit(&repo.path().join("install"));
    symlink("install", repo.path().join("link")).unwrap();
    // Neither line ends nor filters take effect.
    repo.write(".gitattributes", "* text eol=crlf filter=x\n");
    repo.git(&["config", "filter.x.smudge", "touch smudged"]);
    repo.git(&["config", "filter.x.clean", "cat"]);
    repo.commit("second");
    let by_git = wanting(&repo.url(), "").resolve().unwrap();
    let by_path = Project::of(&format!(
        "cake: {{layers: [{{name: web, path: '{}'}}]}}",
        repo.url()
    ));
    let by_path = by_path.resolve().unwrap();
    assert_eq!(by_git.layers[0].tree, by_path.layers[0].tree);
    assert!(by_git.layers[0].tree.get("link").unwrap().exec);
    assert!(!repo.path().join("smudged").exists());
}

#[test]
#[ignore = "needs git"]
fn nothing_leads_out_of_a_repository() {
    for target in [
        "/etc/passwd",
        "../x",
        "a/../../x",
        "deep",
        "gone",
        "link",
        "../other",
    ] {
        let repo = Repo::of_layer("web", "");
        repo.write("deep/er", "x");
        symlink(target, repo.path().join("link")).unwrap();
        repo.commit("second");
        let (code, problems) = told(wanting(&repo.url(), "").resolve());
        assert_eq!((code, problems.len()), (1, 1), "{target}: {problems:?}");
        assert!(
            problems[0].contains("`link` is a link"),
            "{target}: {problems:?}"
        );
    }
    let (repo, other) = (Repo::of_layer("web", ""), Repo::of_layer("other", ""));
    repo.git(&["submodule", "--quiet", "add", &other.url(), "sub"]);
    repo.commit("second");
    let (_, problems) = told(wanting(&repo.url(), "").resolve());
    assert!(problems[0].contains("`sub` is a submodule"), "{problems:?}");
    let repo = Repo::of_layer("web", "");
    fs::File::create(repo.path().join("huge"))
        .unwrap()
        .set_len(65 << 20)
        .unwrap();
    repo.commit("second");
    let (_, problems) = told(wanting(&repo.url(), "").resolve());
    assert!(
        problems[0].contains("`huge` makes the layer larger than 64 MiB"),
        "{problems:?}"
    );
}

#[test]
#[ignore = "needs git"]
fn a_digest_that_is_not_the_locked_one_is_refused() {
    let repo = Repo::of_layer("web", "");
    let project = wanting(&repo.url(), "");
    let resolved = project.lock();
    let text = fs::read_to_string(project.at("cake.lock")).unwrap();
    let sha256 = &resolved.layers[0].locked.sha256;
    project.write("cake.lock", &text.replace(sha256, &"0".repeat(64)));
    let (code, problems) = told(project.resolve());
    assert_eq!(code, 1);
    assert!(problems[0].contains(sha256), "{problems:?}");
}

#[test]
#[ignore = "needs git"]
fn what_is_vendored_needs_no_repository() {
    let repo = Repo::of_layer("web", "");
    let mut project = wanting(&repo.url(), ", rev: main");
    let resolved = project.lock();
    super::vendor(&project.request.project, &resolved.layers).unwrap();
    drop(repo);
    project.request.cache = None;
    project.request.offline = true;
    assert_eq!(project.locked().unwrap().lock(), resolved.lock());
}

/// An https server of the repositories below the directory that this one is in.
fn server(pki: &Pki, repo: &Repo, is_smart: bool) -> Web {
    let root = repo.path().to_owned();
    repo.git(&["update-server-info"]);
    Web::start(Some(pki), move |asked| match is_smart {
        true => Answer::git(&root, asked),
        false => Answer::file(&root, asked),
    })
}

#[test]
#[ignore = "needs git"]
fn a_repository_comes_over_https_with_a_private_authority() {
    let (pki, other) = (Pki::new(), Pki::new());
    for is_smart in [true, false] {
        let repo = Repo::of_layer("web", "");
        repo.git(&["tag", "v1"]);
        let first = repo.git(&["rev-parse", "HEAD"]);
        repo.write("more", "");
        repo.commit("second");
        let web = server(&pki, &repo, is_smart);
        let url = format!("{}/.git", web.url());
        let mut project = wanting(&url, ", rev: v1");
        project.request.cacert = Some(pki.ca());
        let resolved = project.lock();
        assert_eq!(pin(&resolved).commit, first, "smart: {is_smart}");
        assert_eq!(pin(&resolved).url, url);
        assert!(resolved.layers[0].tree.get("more").is_none());
        let before = web.asked().len();
        project.request.offline = true;
        project.locked().unwrap();
        assert_eq!(web.asked().len(), before, "the cache has it");
        project.request.offline = false;

        // By commit, of which nothing but its number is known.
        let mut by_commit = wanting(&url, &format!(", rev: {first}"));
        by_commit.request.cacert = Some(pki.ca());
        by_commit.request.cache = None;
        assert_eq!(
            by_commit.resolve().unwrap().layers[0].tree,
            resolved.layers[0].tree
        );

        project.request.cache = None;
        project.request.cacert = Some(other.ca());
        let (code, problems) = told(project.resolve());
        assert_eq!(code, 1);
        assert!(
            problems[0].to_lowercase().contains("certificate"),
            "{problems:?}"
        );
    }
}

#[test]
#[ignore = "needs git"]
fn no_password_is_told_or_written_down() {
    let pki = Pki::new();
    let web = Web::start(Some(&pki), |_| Answer::status(403));
    let url = web.url().replace("://", "://jo:hunter2@");
    let mut project = wanting(&format!("{url}/x"), "");
    project.request.cacert = Some(pki.ca());
    let (code, problems) = told(project.resolve());
    assert_eq!(code, 1);
    let text = problems.join("\n");
    assert!(
        text.contains("403") && !text.contains("hunter2") && !text.contains("jo"),
        "{text}"
    );

    let repo = Repo::of_layer("web", "");
    let web = server(&pki, &repo, true);
    let url = web.url().replace("://", "://jo:hunter2@");
    let mut project = wanting(&format!("{url}/.git"), "");
    project.request.cacert = Some(pki.ca());
    project.lock();
    let text = fs::read_to_string(project.at("cake.lock")).unwrap();
    assert!(!text.contains("hunter2"), "{text}");
    project.request.cache = None;
    project.locked().unwrap();
}

#[test]
#[ignore = "needs git"]
fn plain_http_needs_to_be_asked_for() {
    let repo = Repo::of_layer("web", "");
    let root = repo.path().to_owned();
    let web = Web::start(None, move |asked| Answer::git(&root, asked));
    let mut project = wanting(&format!("{}/.git", web.url()), "");
    let (code, problems) = told(project.resolve());
    assert_eq!(code, 1);
    assert!(problems[0].contains("is not https"), "{problems:?}");
    assert!(web.asked().is_empty());
    project.request.insecure = true;
    assert_eq!(names(&project.resolve().unwrap()), ["web"]);
}

#[test]
#[ignore = "needs git"]
fn the_surroundings_of_git_do_not_matter() {
    let repo = Repo::of_layer("web", "");
    let dir = tempfile::tempdir().unwrap();
    // Settings of a hook that runs cake, and a user whose git runs whatever is asked for.
    fs::write(
        dir.path().join(".gitconfig"),
        "[protocol]\n\tallow = always\n",
    )
    .unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args([
            "--ignored",
            "--exact",
            "layers::git::in_odd_surroundings",
            "--nocapture",
        ])
        .env("GIT_DIR", dir.path().join("gone"))
        .env("GIT_WORK_TREE", "/nowhere")
        .env("GIT_INDEX_FILE", "/nowhere")
        .env("GIT_OBJECT_DIRECTORY", "/nowhere")
        .env("GIT_ALLOW_PROTOCOL", "ext:file:https")
        .env("GIT_CONFIG_COUNT", "1")
        .env("GIT_CONFIG_KEY_0", "url.ext::touch /x.insteadOf")
        .env("GIT_CONFIG_VALUE_0", repo.url())
        .env("HOME", dir.path())
        .env("LAYERS_TEST_REPO", repo.url())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
#[ignore = "needs git, and is run by another"]
fn in_odd_surroundings() {
    let Ok(url) = std::env::var("LAYERS_TEST_REPO") else {
        return;
    };
    assert_eq!(names(&wanting(&url, "").resolve().unwrap()), ["web"]);
}

#[test]
#[ignore = "needs git"]
fn a_lock_with_another_repository_is_not_followed() {
    let repo = Repo::of_layer("web", "");
    let project = wanting(&repo.url(), "");
    project.lock();
    let other = Repo::of_layer("web", ", summary: other");
    let text = fs::read_to_string(project.at("cake.lock")).unwrap();
    project.write("cake.lock", &text.replace(&repo.url(), &other.url()));
    assert_eq!(told(project.locked()).0, 1);
    let resolved = project.resolve().unwrap();
    assert!(matches!(&resolved.layers[0].locked.source, Source::Git(pin) if pin.url == repo.url()));
}

#[test]
#[ignore = "needs git"]
fn a_broken_cache_is_mended() {
    let repo = Repo::of_layer("web", "");
    let project = wanting(&repo.url(), "");
    project.lock();
    let cache = project.request.cache.clone().unwrap();
    let kept = fs::read_dir(&cache)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    fs::remove_dir_all(kept.join("objects")).unwrap();
    assert_eq!(names(&project.locked().unwrap()), ["web"]);
    assert_eq!(fs::read_dir(&cache).unwrap().count(), 1);
    // A place that cannot be written is as good as none.
    let mut project = wanting(&repo.url(), "");
    project.write("file", "");
    project.request.cache = Some(project.at("file"));
    assert_eq!(names(&project.resolve().unwrap()), ["web"]);
}

/// The file of a loose object in the cache of a project.
fn cached(project: &Project, object: &str) -> std::path::PathBuf {
    let mut stores = fs::read_dir(project.request.cache.clone().unwrap()).unwrap();
    let store = stores.next().unwrap().unwrap().path();
    store.join("objects").join(&object[..2]).join(&object[2..])
}

#[test]
#[ignore = "needs git"]
fn an_object_of_the_cache_that_is_not_what_it_is_called_is_fetched_again() {
    let repo = Repo::of_layer("web", "");
    repo.write("web.rules", "rules: []\n");
    repo.commit("second");
    let project = wanting(&repo.url(), "");
    project.lock();
    let (good, evil) = (
        repo.git(&["rev-parse", "HEAD:web.rules"]),
        repo.git(&["rev-parse", "HEAD:layer.yaml"]),
    );
    let tree = repo.git(&["rev-parse", "HEAD^{tree}"]);
    let mend = |object: &str| {
        let resolved = project.resolve().unwrap();
        assert!(resolved.drift.is_empty(), "{:?}", resolved.drift);
        assert!(fs::metadata(cached(&project, object)).unwrap().len() > 0);
    };
    let forge = |object: &str, bytes: &[u8]| {
        let path = cached(&project, object);
        fs::remove_file(&path).unwrap();
        fs::write(path, bytes).unwrap();
    };
    forge(&good, &fs::read(cached(&project, &evil)).unwrap());
    mend(&good);
    for object in [&good, &tree] {
        forge(object, b"");
        mend(object);
    }
    fs::remove_file(cached(&project, &good)).unwrap();
    mend(&good);
}

#[test]
#[ignore = "needs git"]
fn a_repository_that_is_larger_than_it_looks_is_refused() {
    use std::io::Write as _;
    let repo = Repo::of_layer("web", "");
    let make = |lines: String| {
        let mut git = Command::new("git")
            .arg("-C")
            .arg(repo.path())
            .arg("mktree")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        git.stdin
            .take()
            .unwrap()
            .write_all(lines.as_bytes())
            .unwrap();
        let said = git.wait_with_output().unwrap().stdout;
        String::from_utf8(said).unwrap().trim().to_owned()
    };
    let blob = repo.git(&["rev-parse", "HEAD:layer.yaml"]);
    for bottom in [format!("100644 blob {blob}\tlayer.yaml\n"), String::new()] {
        let mut tree = make(bottom);
        for _ in 0..10 {
            tree = make(
                (0..10)
                    .map(|n| format!("040000 tree {tree}\td{n}\n"))
                    .collect(),
            );
        }
        let commit = repo.git(&["commit-tree", "-m", "bomb", &tree]);
        repo.git(&["update-ref", "refs/heads/bomb", &commit]);
        let (code, problems) = told(wanting(&repo.url(), ", rev: bomb").resolve());
        assert_eq!((code, problems.len()), (1, 1), "{problems:?}");
        assert!(
            problems[0].contains("more than 10000 files"),
            "{problems:?}"
        );
    }
}

#[test]
#[ignore = "needs git"]
fn a_tag_may_be_named_by_its_own_object() {
    let repo = Repo::of_layer("web", "");
    repo.git(&[
        "-c",
        "user.name=x",
        "-c",
        "user.email=x",
        "tag",
        "-a",
        "-m",
        "x",
        "v1",
    ]);
    let tag = repo.git(&["rev-parse", "v1"]);
    let resolved = wanting(&repo.url(), &format!(", rev: '{tag}'")).resolve();
    assert_eq!(names(&resolved.unwrap()), ["web"]);
}
