//! The applications in `examples/`: baked by cake as their READMEs say, run in containers.

use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use layer_cake::cake::lint;

use crate::shipped::{find, tried};
use crate::support::{
    Cake, Consul, Container, DEADLINE, Image, ImageBuilder, Response, Sandbox, dist_bin, free_port,
    repo, request, wait_for,
};

const ALL: [&str; 3] = ["job", "site", "webapp"];

fn example(name: &str) -> PathBuf {
    repo().join("examples").join(name)
}

/// The image that cake bakes of a copy of an example, on another base.
fn baked(name: &str, base: &Image) -> Image {
    let cake = Cake::new().disco(&dist_bin());
    copy(&example(name), &cake.at(""));
    let image = Image::unbuilt();
    let base = format!("BASE={}", base.name());
    cake.run([
        "build",
        "--offline",
        "-t",
        image.name(),
        "--build-arg",
        &base,
        "--",
        "--network=none",
    ])
    .assert_code(0);
    image
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        match path.is_dir() {
            true => {
                fs::create_dir_all(&target).unwrap();
                copy(&path, &target);
            }
            false => drop(fs::copy(&path, &target).unwrap()),
        }
    }
}

/// The nginx of this machine with its libraries, and nothing else but its own directories.
fn nginx() -> ImageBuilder {
    let program = Path::new("/usr/sbin/nginx");
    let libraries = Command::new("ldd").arg(program).output().unwrap();
    let libraries = String::from_utf8(libraries.stdout).unwrap();
    let mut image = Image::scratch()
        .program("/usr/sbin/nginx", program)
        .program("/etc/nginx/mime.types", Path::new("/etc/nginx/mime.types"))
        .file(
            "/etc/passwd",
            "root:x:0:0::/:\nnobody:x:65534:65534::/:\n",
            0o644,
        )
        .file("/etc/group", "root:x:0:\nnogroup:x:65534:\n", 0o644)
        .change("ENV PATH=/usr/sbin");
    for dir in ["/var/log/nginx", "/var/lib/nginx", "/run"] {
        image = image.file(&format!("{dir}/.keep"), "", 0o644);
    }
    for library in libraries
        .split_whitespace()
        .filter(|word| word.starts_with('/'))
    {
        image = image.program(library, Path::new(library));
    }
    image
}

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// The first answer that is as it should be.
#[track_caller]
fn wait_answer(port: u16, path: &str, is_it: impl Fn(&Response) -> bool) -> Response {
    wait_for(&format!("the right answer for {path}"), DEADLINE, || {
        let answer = request(local(port), "GET", path, &[], b"").ok();
        answer.filter(|answer| is_it(answer))
    })
}

#[test]
fn every_example_passes_the_strictest_lint() {
    let found = lint::lint(&ALL.map(example), &find, true);
    assert!(found.problems.is_empty(), "{:?}", found.problems);
    let trial = tried(&example("webapp/layers/webapp"));
    assert!(trial.is_good(), "{}", trial.text());
}

#[test]
#[ignore = "needs Docker and nginx"]
fn the_site_is_served_and_reloaded() {
    let base = nginx().build();
    let image = baked("site", &base);
    let config = Sandbox::new();
    let port = free_port();
    let write = |note: &str| {
        let host =
            format!("listen: '127.0.0.1:{port}', root: /srv/www, headers: {{X-Note: '{note}'}}");
        config.write(
            "site.yaml",
            format!("nginx: {{vhosts: {{site: {{{host}}}}}}}\n"),
        );
    };
    write("first");
    let container = Container::of(&image)
        .option("--network=host")
        .option(format!("--volume={}:/config:ro", config.dir().display()))
        .env("DISCO_CFG", "flat.file=/config/site.yaml")
        .start();
    let page = wait_answer(port, "/", |answer| answer.status == 200);
    assert_eq!(
        page.body,
        fs::read_to_string(example("site/www/index.html")).unwrap()
    );
    assert!(page.head.contains("X-Note: first"), "{}", page.head);
    let started = container.inspect(".State.Pid");

    write("second");
    wait_answer(port, "/", |answer| answer.head.contains("X-Note: second"));
    assert_eq!(container.inspect(".State.Pid"), started);
    container.stop(DEADLINE);
    assert_eq!(container.exit_code(), 0);
}

#[test]
#[ignore = "needs Consul and Docker"]
fn the_web_application_waits_for_consul_and_follows_it() {
    let image = baked("webapp", &Image::busybox().build());
    let consul = Consul::start();
    let port = free_port();
    let container = Container::of(&image)
        .option("--network=host")
        .env(
            "DISCO_CFG",
            &format!(
                "consul.host=http://{}|consul.prefix=webapp",
                consul.http_addr()
            ),
        )
        .args(["-p", &format!("127.0.0.1:{port}")])
        .start();
    consul.put("webapp/webapp/title", "The <first> title");
    for (key, value) in [
        ("host", "db.example.com"),
        ("port", "3307"),
        ("username", "shop"),
    ] {
        consul.put(&format!("webapp/mysql/{key}"), value);
    }
    container.wait_logs("\"password\" is a required property");
    assert!(
        request(local(port), "GET", "/", &[], b"").is_err(),
        "it started too early"
    );
    consul.put("webapp/mysql/password", "hunter2");
    let page = wait_answer(port, "/", |answer| answer.status == 200);
    assert!(
        page.body.contains("<h1>The &lt;first> title</h1>"),
        "{}",
        page.body
    );
    let database = wait_answer(port, "/cgi-bin/database", |answer| answer.status == 200);
    assert_eq!(
        database.body,
        "host \"db.example.com\"\nport 3307\nuser \"shop\"\n"
    );

    consul.put("webapp/webapp/title", "Another");
    wait_answer(port, "/", |answer| answer.body.contains("<h1>Another</h1>"));
    assert!(
        !container.logs().contains("hunter2"),
        "{}",
        container.logs()
    );
    container.stop(DEADLINE);
}

#[test]
#[ignore = "needs Docker"]
fn the_job_answers_and_refuses_wrong_calls() {
    let image = baked("job", &Image::busybox().build());
    let called = |words: &[&str]| {
        let mut docker = Command::new("docker")
            .args(["run", "--rm", "--interactive", image.name()])
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let text = b"the cat and the dog, and the bird\n";
        // Whoever refuses the call does not read.
        let _ = docker.stdin.take().unwrap().write_all(text);
        let output = docker.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (
            output.status.code(),
            text(output.stdout),
            text(output.stderr),
        )
    };
    let good = [
        (&[][..], "{\"the\":3,\"and\":2,\"bird\":1}\n"),
        (&["words"], "{\"the\":3,\"and\":2,\"bird\":1}\n"),
        (&["words", "--top", "2"], "{\"the\":3,\"and\":2}\n"),
        (&["words", "--top=1"], "{\"the\":3}\n"),
    ];
    for (words, answer) in good {
        let (code, stdout, stderr) = called(words);
        assert_eq!(
            (code, stdout.as_str()),
            (Some(0), answer),
            "{words:?}: {stderr}"
        );
    }
    for words in [
        &["words", "--top", "many"][..],
        &["words", "more"],
        &["count"],
    ] {
        let (code, stdout, stderr) = called(words);
        assert_eq!(
            (code, stdout.as_str()),
            (Some(64), ""),
            "{words:?}: {stderr}"
        );
        assert!(!stderr.is_empty());
    }
}
