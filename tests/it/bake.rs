//! Dockerfiles in the manner of well-known images, before and after disco is baked into them: the
//! files themselves, and what the images run in containers.

use crate::support::{Container, Image, Sandbox, dist_bin, inspect_image, repo};
use layer_cake::contract::dockerfile::{
    Bases, Build, CopyLine, Effective, ImageConfig, Request, bake, effective, parse, unbake,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// The bases of the table beside `layer-cake-test-base`, as what they add to that.
const BASES: [(&str, &str); 8] = [
    (
        "layer-cake-test-both",
        "ENTRYPOINT [\"show\", \"base ep\"]\nCMD [\"base\", \"cmd\"]\n",
    ),
    ("layer-cake-test-cmd", "CMD [\"show\", \"base cmd\"]\n"),
    (
        "layer-cake-test-shell",
        "SHELL [\"/bin/ash\", \"-ec\"]\nCMD show base shell \"$0\"\n",
    ),
    (
        "layer-cake-test-user",
        "ENTRYPOINT [\"show\"]\nCMD [\"as user\"]\nUSER 1000:1001\n",
    ),
    (
        "layer-cake-test-health",
        "HEALTHCHECK --interval=1h CMD [\"true\"]\n",
    ),
    (
        "layer-cake-test-onbuild",
        "CMD [\"base\", \"cmd\"]\nONBUILD ENV A=b\nONBUILD ENTRYPOINT [\"show\", \"onbuild\"]\n",
    ),
    (
        "layer-cake-test-onbuild-cmd",
        "ENTRYPOINT [\"show\"]\nCMD [\"base\"]\nONBUILD CMD [\"from\", \"onbuild\"]\nONBUILD USER 3\n",
    ),
    ("layer-cake-test-unused", "CMD [\"show\"]\n"),
];
/// Programs of the table's images. All of them show their argv.
const PROGRAMS: &str = "postgres redis-server nginx node npm python gunicorn java go php-fpm \
    apache2-foreground mysqld mariadbd gosu rabbitmq-server traefik tini dumb-init s6-svscan \
    supervisord app cron sshd prometheus dotnet caddy memcached haproxy never one two";
/// Shows who it is, where it is and what it was called with.
const SHOW: &str = "#!/bin/sh
printf '%s:%s in %s\\n' \"$(id -u)\" \"$(id -g)\" \"$PWD\"
for word in \"${0##*/}\" \"$@\"; do printf '(%s)\\n' \"$word\"; done
";
const ENTRYPOINT: &str = "#!/bin/sh
set -e
printf 'entrypoint with %s words\\n' $#
exec \"$@\"
";

/// Every Dockerfile of the table by its name.
fn table() -> BTreeMap<String, Vec<u8>> {
    let directory = repo().join("tests/conformance/dockerfiles");
    let read = |path: PathBuf| {
        let name = path.file_name()?.to_str()?.strip_suffix(".Dockerfile")?;
        Some((name.to_owned(), fs::read(&path).unwrap()))
    };
    let entries = fs::read_dir(directory).unwrap();
    let table: BTreeMap<_, _> = entries
        .filter_map(|entry| read(entry.unwrap().path()))
        .collect();
    assert!(table.len() >= 100, "{} files", table.len());
    table
}

/// What the tests bake in. Layers are none here; asking disco for its version stands for them.
fn request() -> Request {
    let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
    Request {
        copies: vec![
            CopyLine::new(".cake/disco", "/usr/bin/disco"),
            CopyLine::new(".cake/layers/", "/usr/share/layercake/layers/"),
            CopyLine::new(".cake/manifest.json", "/usr/share/layercake/manifest.json"),
        ],
        install: Some(words(&["/usr/bin/disco", "--version"])),
        health: Some(words(&["/usr/bin/disco", "--health"])),
        ..Request::default()
    }
}

/// The bases as their Dockerfiles have it.
struct Written;

impl Bases for Written {
    fn config(&self, image: &str, _: Option<&str>) -> Result<Option<ImageConfig>, String> {
        if image == "layer-cake-test-base" {
            return Ok(Some(ImageConfig::default()));
        }
        let Some((_, text)) = BASES.iter().find(|(name, _)| *name == image) else {
            return Ok(None);
        };
        let value = |keyword: &str| {
            let mut lines = text.lines().filter_map(|line| line.strip_prefix(keyword));
            lines.next_back().map(|value| value.trim().to_owned())
        };
        let list = |keyword: &str| {
            value(keyword).map(|value| serde_json::from_str::<Value>(&value).unwrap())
        };
        let onbuild = text
            .lines()
            .filter_map(|line| line.strip_prefix("ONBUILD "));
        let cmd = match image {
            "layer-cake-test-shell" => Some(json!(["/bin/ash", "-ec", value("CMD").unwrap()])),
            _ => list("CMD"),
        };
        let config = json!({
            "Entrypoint": list("ENTRYPOINT"),
            "Cmd": cmd,
            "Shell": list("SHELL"),
            "User": value("USER"),
            "OnBuild": onbuild.collect::<Vec<_>>(),
            "Healthcheck": {"Test": value("HEALTHCHECK").map(|_| ["CMD", "true"])},
        });
        Ok(Some(
            ImageConfig::parse(Path::new(image), config.to_string().as_bytes()).unwrap(),
        ))
    }
}

/// The bases as the engine has them.
struct Engine;

impl Bases for Engine {
    fn config(&self, image: &str, _: Option<&str>) -> Result<Option<ImageConfig>, String> {
        let told = inspect_image(image);
        let config =
            told.map(|told| ImageConfig::parse(Path::new(image), told.as_bytes()).unwrap());
        Ok(config)
    }
}

fn file() -> &'static Path {
    Path::new("Dockerfile")
}

fn read(bytes: &[u8], bases: &dyn Bases) -> Effective {
    let dockerfile = parse(file(), bytes).unwrap();
    effective(file(), &dockerfile, &Build::default(), bases).unwrap()
}

fn argv(effective: &Effective) -> Vec<String> {
    let [entrypoint, cmd] =
        [&effective.entrypoint, &effective.cmd].map(|c| c.clone().unwrap().words);
    [entrypoint, cmd].concat()
}

#[test]
fn c38_every_dockerfile_of_the_table_takes_the_block_and_gives_it_back() {
    for (name, bytes) in table() {
        let one = bake(file(), &bytes, &request(), &Written)
            .unwrap_or_else(|problems| panic!("{name}: {problems:?}"));
        let text = String::from_utf8_lossy(&one.bytes);
        assert_eq!(
            text.matches("# >>> cake ").count(),
            1 + text_markers(&bytes),
            "{name}"
        );
        assert!(one.changed && !one.was_edited, "{name}");
        let two = bake(file(), &one.bytes, &request(), &Written).unwrap();
        assert!(two.bytes == one.bytes && !two.changed, "{name}");
        assert!(unbake(file(), &one.bytes).unwrap().bytes == bytes, "{name}");

        let [before, after] = [&bytes, &one.bytes].map(|bytes| argv(&read(bytes, &Written)));
        let is_disco = before.first().is_some_and(|word| word.ends_with("/disco"));
        let prefix = if is_disco {
            Vec::new()
        } else {
            request().prefix
        };
        assert_eq!(after, [prefix, before].concat(), "{name}");
    }
}

/// How often a file speaks of blocks without having one.
fn text_markers(bytes: &[u8]) -> usize {
    String::from_utf8_lossy(bytes)
        .matches("# >>> cake ")
        .count()
}

/// A build context with everything that the table's Dockerfiles copy.
fn context() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.handler("entrypoint.sh", ENTRYPOINT);
    for (path, text) in [
        ("package.json", "{}\n"),
        ("app/index.js", "//\n"),
        ("conf/app.conf", "a=b\n"),
        (".cake/layers/example/README.md", "\n"),
        (".cake/manifest.json", "{}\n"),
    ] {
        sandbox.write(path, text);
    }
    fs::copy(dist_bin(), sandbox.path(".cake/disco")).unwrap();
    sandbox
}

fn bases(sandbox: &Sandbox) -> Vec<Image> {
    let base = Image::busybox()
        .file("/bin/show", SHOW, 0o755)
        .file("/init", SHOW, 0o755);
    let base = base.file(
        "/etc/passwd",
        "root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n",
        0o644,
    );
    let base = base.file("/etc/group", "root:x:0:\n", 0o644);
    let base = PROGRAMS.split_whitespace().fold(base, |base, name| {
        base.link(&format!("/bin/{name}"), "show")
    });
    let base = base.file("/tmp/.keep", "", 0o644);
    let mut images = vec![base.build().named("layer-cake-test-base")];
    for (name, text) in BASES {
        let text = format!("FROM layer-cake-test-base\n{text}");
        let path = sandbox.write("base.Dockerfile", &text);
        images.push(built(&path, sandbox).named(name));
    }
    images
}

fn built(dockerfile: &Path, context: &Sandbox) -> Image {
    let file = format!("--file={}", dockerfile.display());
    Image::built([
        "--network=none".as_ref(),
        file.as_ref(),
        context.dir().as_os_str(),
    ])
}

/// Builds one Dockerfile as it is and baked, and has both run.
fn same(name: &str, bytes: &[u8], context: &Sandbox) {
    let directory = Sandbox::new();
    let before_baking = read(bytes, &Engine);
    let mut request = request();
    // Each instruction takes its time: all of them where they matter, and in some others.
    if before_baking.user.is_root() && !name.len().is_multiple_of(4) {
        request.copies.truncate(1);
        request.install = None;
        request.health = None;
    }
    let baked = bake(file(), bytes, &request, &Engine).unwrap();
    let before = built(&directory.write("before", bytes), context);
    let after = built(&directory.write("after", &baked.bytes), context);

    let config = |image: &Image| {
        let told: Value = serde_json::from_str(&image.inspect()).unwrap();
        told[0]["Config"].clone()
    };
    let [mut was, mut is] = [&before, &after].map(config);
    let mut taken = |key: &str| {
        let [was, is] =
            [&mut was, &mut is].map(|config| config.as_object_mut().unwrap().remove(key));
        [was, is].map(|value| match value.unwrap_or_default() {
            Value::Array(items) => items
                .iter()
                .map(|item| item.as_str().unwrap().to_owned())
                .collect(),
            _ => Vec::new(),
        })
    };
    let [was_entrypoint, is_entrypoint]: [Vec<String>; 2] = taken("Entrypoint");
    let [was_cmd, is_cmd] = taken("Cmd");
    for key in ["Healthcheck", "Image"] {
        taken(key);
    }
    assert_eq!(
        before_baking.entrypoint.as_ref().unwrap().words,
        was_entrypoint,
        "{name}: entrypoint as read"
    );
    assert_eq!(
        before_baking.cmd.as_ref().unwrap().words,
        was_cmd,
        "{name}: cmd as read"
    );
    assert_eq!(baked.before.entrypoint, was_entrypoint, "{name}");
    assert_eq!(baked.after.entrypoint, is_entrypoint, "{name}");
    assert_eq!(was_cmd, is_cmd, "{name}: cmd");
    let first = was_entrypoint.first().or(was_cmd.first());
    let is_disco = first.is_some_and(|word| word.ends_with("/disco"));
    let prefix = if is_disco { Vec::new() } else { request.prefix };
    assert_eq!(
        [prefix, was_entrypoint.clone()].concat(),
        is_entrypoint,
        "{name}: entrypoint"
    );
    assert_eq!(was, is, "{name}: everything else");

    let more = ["show", "two words", "-x", ""];
    // An image with nothing to run cannot be run without words; one without an ENTRYPOINT runs what
    // it is told, which a few of them show well enough.
    let is_empty = was_entrypoint.is_empty() && was_cmd.is_empty();
    let is_told = !was_entrypoint.is_empty() || is_empty || name.len().is_multiple_of(4);
    let calls = [(!is_empty).then_some(&[][..]), is_told.then_some(&more)];
    for words in calls.into_iter().flatten() {
        let run = |image: &Image| {
            let output = Container::of(image).args(words).run();
            (output.code, output.stdout, output.stderr)
        };
        let [was, is] = [&before, &after].map(run);
        assert_eq!(
            (was.0, &was.1),
            (is.0, &is.1),
            "{name} {words:?}: {} {}",
            was.2,
            is.2
        );
        let has_shown = !was.1.is_empty() || was.0 != Some(0);
        assert!(has_shown, "{name} {words:?} showed nothing: {}", was.2);
    }
}

#[test]
#[ignore = "needs docker"]
fn c37_what_the_images_of_the_table_run_changes_by_the_prefix_only() {
    let context = context();
    let bases = bases(&context);
    let is_for_all = |(name, _): &(String, Vec<u8>)| !name.ends_with(".buildkit");
    let files = Mutex::new(table().into_iter().filter(is_for_all).collect::<Vec<_>>());
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let Some((name, bytes)) = files.lock().unwrap().pop() else {
                        return;
                    };
                    let run = AssertUnwindSafe(|| same(&name, &bytes, &context));
                    if catch_unwind(run).is_err() {
                        failed.lock().unwrap().push(name);
                    }
                }
            });
        }
    });
    bases[0].sweep();
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "see above for {failed:?}");
}
