//! The programs for which the shipped layers write: they read the files as they were meant.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use super::{layer, only, rendered, yaml};
use crate::support::{DEADLINE, Sandbox, free_port, wait_for};

/// As hostile as all of the formats allow.
const HOSTILE: &str = r#"p@ss/w'o"rd #%41\$HOME ?&"#;

/// A server that ends with its test.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        // Not KILL, after which the workers of nginx would be left.
        let _ = kill(Pid::from_raw(self.0.id().cast_signed()), Signal::SIGTERM);
        let _ = self.0.wait();
    }
}

fn start(command: &mut Command) -> Started {
    let program = command.get_program().to_owned();
    let command = command.stdin(Stdio::null()).stdout(Stdio::null());
    let child = command.stderr(Stdio::null()).spawn();
    Started(child.unwrap_or_else(|error| {
        panic!("cannot start {program:?}: {error}; `tests/all.sh` installs what is missing")
    }))
}

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

#[test]
#[ignore = "needs redis-server"]
fn redis_cli_gets_in_with_url_and_variables() {
    let sandbox = Sandbox::new();
    let port = free_port();
    let _server = start(
        Command::new("redis-server")
            .args([
                "--port",
                &port.to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
            ])
            .current_dir(sandbox.dir()),
    );
    let cli = |script: &str| {
        let output = Command::new("sh")
            .args(["-c", script])
            .current_dir(sandbox.dir())
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    wait_for("redis", DEADLINE, || {
        (cli(&format!("redis-cli -p {port} ping")) == "PONG\n").then_some(())
    });
    let set = Command::new("redis-cli")
        .args([
            "-p",
            &port.to_string(),
            "config",
            "set",
            "requirepass",
            HOSTILE,
        ])
        .output()
        .unwrap();
    assert_eq!(set.stdout, b"OK\n");
    let other = Command::new("redis-cli")
        .args([
            "-p",
            &port.to_string(),
            "-a",
            HOSTILE,
            "acl",
            "setuser",
            "shop:1",
            "on",
            "+@all",
            "~*",
        ])
        .arg(format!(">{HOSTILE}"))
        .output()
        .unwrap();
    assert_eq!(other.stdout, b"OK\n");
    for user in [None, Some("shop:1")] {
        let mut data =
            json!({"host": "127.0.0.1", "port": port, "password": HOSTILE, "database": 3});
        if let Some(user) = user {
            data["username"] = user.into();
        }
        let files = rendered("redis", &data).unwrap();
        sandbox.write("url", &files["/etc/redis/client.url"]);
        sandbox.write("env", &files["/etc/redis/client.env"]);
        assert_eq!(
            cli("redis-cli -u \"$(cat url)\" ping 2>/dev/null"),
            "PONG\n",
            "{user:?}"
        );
        let by_variables = "set -a; . ./env; redis-cli -h $REDIS_HOST -p $REDIS_PORT -n $REDIS_DB \
            ${REDIS_USERNAME:+--user \"$REDIS_USERNAME\"} ping";
        assert_eq!(cli(by_variables), "PONG\n", "{user:?}");
    }
}

#[test]
#[ignore = "needs msmtp"]
fn msmtp_sees_the_account_as_it_is() {
    let sandbox = Sandbox::new();
    for user in [HOSTILE, " x ", "\"", "\"quoted\"", "#"] {
        let data = json!({"host": "smtp.example.com", "username": user, "password": HOSTILE, "from": "a@example.com"});
        let file = sandbox.write("msmtprc", only("smtp", &data, "/etc/msmtprc"));
        let output = Command::new("msmtp")
            .arg("--file")
            .arg(&file)
            .args(["--pretend", "b@example.com"])
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|error| panic!("{error}; `tests/all.sh` installs what is missing"));
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{output:?}");
        assert!(
            told.contains(&format!("\nuser = {user}\n")),
            "{user:?}: {told}"
        );
        assert!(
            told.contains("\npassword = *\n") && told.contains("\ntls_starttls = on\n"),
            "{told}"
        );
    }
}

#[test]
#[ignore = "needs mariadb-client-core"]
fn clients_of_mysql_see_the_options_as_they_are() {
    let sandbox = Sandbox::new();
    for text in [HOSTILE, " x ", "\"", "'", "\\", "\\n\\\\", "#;[x]", "a\tb"] {
        let data =
            json!({"host": "db.example.com", "username": text, "password": text, "database": text});
        let file = sandbox.write(
            "my.cnf",
            only("mysql", &data, "/etc/mysql/conf.d/50-layercake.cnf"),
        );
        let output = Command::new("my_print_defaults")
            .arg(format!("--defaults-file={}", file.display()))
            .args(["client", "mysql"])
            .output()
            .unwrap_or_else(|error| panic!("{error}; `tests/all.sh` installs what is missing"));
        let expected = format!(
            "--host=db.example.com\n--port=3306\n--user={text}\n--password={text}\n--database={text}\n"
        );
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            expected,
            "{output:?}"
        );
    }
}

#[test]
#[ignore = "needs haproxy"]
fn haproxy_accepts_the_upstreams() {
    let sandbox = Sandbox::new();
    let data = json!({"upstreams": {
        "api": {"balance": "leastconn", "health": "/healthz?deep=1", "servers": {
            "a": "10.0.0.1:8080", "b": {"address": "[2001:db8::2]:8080", "weight": 3},
            "spare": {"address": "10.0.0.9:8080", "backup": true}}},
        "by.source-1": {"balance": "source", "servers": {"one": "127.0.0.1:80"}}}});
    sandbox.write(
        "conf.d/50-upstreams.cfg",
        only("http", &data, "/etc/haproxy/conf.d/50-upstreams.cfg"),
    );
    let main = "defaults\n  mode http\n  timeout connect 1s\n  timeout client 1s\n  timeout server 1s\n\
        frontend in\n  bind 127.0.0.1:1\n  use_backend api if { path_beg /api }\n  default_backend by.source-1\n";
    let file = sandbox.write("haproxy.cfg", main);
    let output = Command::new("haproxy")
        .args(["-c", "-f"])
        .arg(&file)
        .arg("-f")
        .arg(sandbox.path("conf.d"))
        .output()
        .unwrap_or_else(|error| panic!("{error}; `tests/all.sh` installs what is missing"));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && !told.contains("WARNING"),
        "{told}"
    );
}

/// The configuration and what it includes, in a directory of the test's own.
fn nginx(sandbox: &Sandbox, data: &serde_json::Value) -> Command {
    let text = only("nginx", data, "/etc/nginx/nginx.conf");
    let text = text.replace("/run/nginx.pid", &sandbox.path("pid").display().to_string());
    sandbox.write("nginx.conf", text.replace("/dev/stdout", "off"));
    let types = std::fs::read("/etc/nginx/mime.types");
    sandbox.write(
        "mime.types",
        types.expect("nginx; `tests/all.sh` installs what is missing"),
    );
    let mut command = Command::new("nginx");
    command
        .args(["-e", "stderr", "-c"])
        .arg(sandbox.path("nginx.conf"));
    command
}

#[test]
#[ignore = "needs nginx"]
fn nginx_accepts_the_example() {
    let sandbox = Sandbox::new();
    let mut data = yaml(&layer("nginx").join("example/data.yaml"))["nginx"].take();
    let tls = yaml(&layer("tls").join("example/data.yaml"))["tls"].take();
    let files = rendered("tls", &tls).unwrap();
    for (key, name) in [("tls_certificate", "tls.crt"), ("tls_key", "tls.key")] {
        let path = sandbox.write(name, &files[&format!("/etc/tls/{name}")]);
        data["vhosts"]["api"][key] = path.display().to_string().into();
    }
    for host in ["site", "old"] {
        data["vhosts"][host]["listen"] = format!("127.0.0.1:{}", free_port()).into();
    }
    let upstreams = yaml(&layer("http").join("example/data.yaml"))["http"].take();
    let text = only("http", &upstreams, "/etc/nginx/conf.d/10-upstreams.conf");
    // A name is looked up when the file is read.
    sandbox.write(
        "conf.d/10-upstreams.conf",
        text.replace("files.example.com", "127.0.0.1"),
    );
    let output = nginx(&sandbox, &data).arg("-t").output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// The answer to a request for `host`, headers included.
fn ask(port: u16, host: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(local(port)).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
#[ignore = "needs nginx"]
fn nginx_serves_redirects_and_hands_on() {
    let sandbox = Sandbox::new();
    let header = r#"a "quoted" back\slash; {brace} # it's %41"#;
    sandbox.write("my \"site\"; #1\\x/index.html", "the site\n");
    let (port, behind) = (free_port(), free_port());
    let listen = |port: u16| format!("127.0.0.1:{port}");
    let data = json!({"vhosts": {
        "a-site": {"listen": listen(port), "server_name": "site.test", "headers": {"X-Note": header},
            "root": sandbox.path("my \"site\"; #1\\x").display().to_string()},
        "b-old": {"listen": listen(port), "server_name": "old.test", "redirect": "https://new.test/base"},
        "c-front": {"listen": listen(port), "server_name": "*.front.test", "proxy_pass": "http://app/v1/"},
        "d-behind": {"listen": listen(behind), "redirect": "https://behind.test"},
    }});
    let upstreams =
        json!({"upstreams": {"app": {"balance": "leastconn", "servers": {"one": listen(behind)}}}});
    sandbox.write(
        "conf.d/10-upstreams.conf",
        only("http", &upstreams, "/etc/nginx/conf.d/10-upstreams.conf"),
    );
    // As stock images have it, for the name that people try first.
    let stock = format!(
        "server {{ listen {}; server_name localhost; return 418; }}",
        listen(port)
    );
    sandbox.write("conf.d/default.conf", stock);
    let mut command = nginx(&sandbox, &data);
    let _server = start(command.args(["-g", "daemon off;"]));
    wait_for("nginx", DEADLINE, || TcpStream::connect(local(port)).ok());
    let site = ask(port, "site.test", "/");
    assert!(
        site.contains("the site\n") && site.contains(&format!("X-Note: {header}\r\n")),
        "{site}"
    );
    assert!(ask(port, "localhost", "/").contains("the site\n"));
    let old = ask(port, "old.test", "/x?y=1");
    assert!(
        old.contains("Location: https://new.test/base/x?y=1\r\n"),
        "{old}"
    );
    let front = ask(port, "a.front.test", "/x");
    assert!(
        front.contains("Location: https://behind.test/v1/x\r\n"),
        "{front}"
    );
}
