//! Readiness: by exec, by the command's own word, as a file, and passed on.

use super::{document, wait_document};
use crate::roles;
use crate::support::{DEADLINE, Disco, Running, Sandbox, is_root, proc, wait_for};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

/// A command that says by sd_notify(3) what it reads from the FIFO `say`, a datagram for each line, in
/// which `|` separates what is said; `exit` ends it with 1.
fn teller(sandbox: &Sandbox, more: &str) -> Disco {
    let fifo = sandbox.path("say");
    if !fifo.exists() {
        nix::unistd::mkfifo(&fifo, Mode::S_IRWXU).unwrap();
    }
    let cfg = format!(
        "disco.status={}/s|disco.notify=true{more}",
        sandbox.dir().display()
    );
    roles::cast(Disco::new().cfg(cfg).env(roles::SAY, &fifo), "teller")
}

/// Has it say something.
fn say(sandbox: &Sandbox, line: &str) {
    let mut fifo = std::fs::OpenOptions::new()
        .write(true)
        .open(sandbox.path("say"))
        .unwrap();
    writeln!(fifo, "{line}").unwrap();
}

/// A variable of the command, the one child that disco has.
fn variable(running: &Running, name: &str) -> Option<String> {
    let environment = proc::file(*proc::children(running.pid()).first()?, "environ");
    let mut all = environment.split('\0');
    Some(
        all.find_map(|entry| entry.strip_prefix(name)?.strip_prefix('='))?
            .to_owned(),
    )
}

#[test]
fn the_file_is_there_from_exec_to_the_stop() {
    let sandbox = Sandbox::new();
    sandbox.write("ready", "stale");
    let ready = sandbox.path("ready");
    let script =
        "trap 'test -e \"$1\" || echo gone; exit 5' TERM; echo up; while :; do sleep 0.02; done";
    let cfg = format!("disco.ready_file={}", ready.display());
    let running = Disco::new()
        .cfg(cfg)
        .prepared("umask 077")
        .args(["sh", "-c", script, "sh"])
        .arg(&ready)
        .spawn();
    running.wait_stdout("up");
    assert_eq!(sandbox.wait_file("ready").replace("stale", ""), "ready\n");
    let mode = std::fs::metadata(&ready).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o644);
    running.signal(Signal::SIGTERM);
    wait_for("the file to go", DEADLINE, || {
        (!ready.exists()).then_some(())
    });
    running.wait().assert_code(5);
    assert_eq!(std::fs::read_dir(sandbox.dir()).unwrap().count(), 0);
}

#[test]
fn it_goes_before_the_wait_and_is_not_there_for_what_cannot_run() {
    let sandbox = Sandbox::new();
    let ready = sandbox.write("ready", "stale");
    let script = sandbox.handler("h", "#!/no/such/interpreter\n");
    let cfg = format!("disco.ready_file={}", ready.display());
    let out = Disco::new().cfg(&cfg).arg(script).run();
    out.assert_code(127);
    assert!(!ready.exists());
    // It ends by itself, at once.
    Disco::new().cfg(&cfg).arg("true").run().assert_code(0);
    assert!(!ready.exists());
}

#[test]
fn a_restart_takes_it_away_until_the_next_instance_runs() {
    let sandbox = Sandbox::new();
    let ready = sandbox.path("ready");
    let cfg = format!(
        "disco.ready_file={}|disco.restart=always|disco.restart_delay=1h|disco.restart_max_delay=1h",
        ready.display()
    );
    let running = Disco::new()
        .cfg(cfg)
        .args(["sh", "-c", "read x < \"$1\"", "sh"]);
    let fifo = sandbox.path("go");
    nix::unistd::mkfifo(&fifo, Mode::S_IRWXU).unwrap();
    let running = running.arg(&fifo).spawn();
    sandbox.wait_file("ready");
    std::fs::write(&fifo, "x\n").unwrap();
    running.wait_stderr("starting it again");
    wait_for("the file to go", DEADLINE, || {
        (!ready.exists()).then_some(())
    });
}

#[test]
fn with_notify_the_command_says_itself_when_it_is_ready() {
    for pid1 in [false, true] {
        let sandbox = Sandbox::new();
        let ready = sandbox.path("ready");
        let more = format!("|disco.ready_file={}|disco.restart=always", ready.display());
        let disco = teller(&sandbox, &more);
        let disco = if pid1 { disco.pid1() } else { disco };
        let running = disco.spawn();
        let socket = sandbox.path("s");
        running.wait_stdout("telling");
        let told = wait_document(&socket, "the command", |d| {
            d["command"]["state"] == "running"
        });
        assert_eq!(told["ready"], false);
        assert_eq!(told["command"].get("status"), None);
        say(&sandbox, "STATUS=warm\u{e9}");
        wait_document(&socket, "its status", |d| {
            d["command"]["status"] == "warm\u{e9}"
        });
        assert!(!ready.exists());
        say(&sandbox, "STATUS=hot|READY=1");
        let told = wait_document(&socket, "its word", |d| d["ready"] == true);
        assert_eq!(told["command"]["status"], "hot");
        sandbox.wait_file("ready");
        say(&sandbox, "STOPPING=1");
        wait_document(&socket, "its last word", |d| d["ready"] == false);
        wait_for("the file to go", DEADLINE, || {
            (!ready.exists()).then_some(())
        });

        say(&sandbox, "READY=1");
        wait_document(&socket, "its word", |d| d["ready"] == true);
        say(&sandbox, "exit");
        let told = wait_document(&socket, "the next instance", |d| {
            d["command"]["restarts"] == 1 && d["command"]["state"] == "running"
        });
        assert_eq!(told["ready"], false, "{told:#}");
        assert_eq!(told["command"].get("status"), None);
        say(&sandbox, "READY=1");
        wait_document(&socket, "its word again", |d| d["ready"] == true);
        running.signal(Signal::SIGTERM);
        running.wait();
        assert!(!ready.exists());
    }
}

#[test]
fn the_socket_goes_with_disco_and_strangers_are_not_heard() {
    let sandbox = Sandbox::new();
    let running = teller(&sandbox, "").spawn();
    running.wait_stdout("telling");
    let socket = sandbox.path("s");
    let address = PathBuf::from(variable(&running, "NOTIFY_SOCKET").unwrap());
    assert_eq!(address.parent(), Some(sandbox.dir()));
    assert_eq!(
        std::fs::metadata(&address).unwrap().permissions().mode() & 0o777,
        0o666
    );
    let stranger = UnixDatagram::unbound().unwrap();
    stranger
        .send_to(b"READY=1\nSTATUS=strange", &address)
        .unwrap();
    // What comes after it has been read proves that it was.
    say(&sandbox, "STATUS=own");
    wait_document(&socket, "its own status", |d| {
        d["command"]["status"] == "own"
    });
    assert_eq!(document(&socket).unwrap()["ready"], false);
    running.signal(Signal::SIGTERM);
    running.wait();
    assert!(!address.exists());
}

#[test]
fn what_the_command_says_is_passed_on_to_whoever_asked_disco() {
    let sandbox = Sandbox::new();
    let outer = UnixDatagram::bind(sandbox.path("outer")).unwrap();
    outer.set_read_timeout(Some(DEADLINE)).unwrap();
    let disco = teller(&sandbox, "").env("NOTIFY_SOCKET", sandbox.path("outer"));
    let running = disco.spawn();
    running.wait_stdout("telling");
    say(&sandbox, "STATUS=hot|READY=1");
    let mut text = [0; 64];
    let size = outer.recv(&mut text).unwrap();
    assert_eq!(&text[..size], b"STATUS=hot\nREADY=1");
    drop(running);

    // Without notify the variable is the command's, as it came.
    let out = Disco::new()
        .cfg("disco.mode=supervise")
        .env("NOTIFY_SOCKET", "/outside")
        .args(["sh", "-c", "echo $NOTIFY_SOCKET"])
        .run();
    out.assert_stdout("/outside\n");
}

#[test]
fn another_user_can_write_to_the_socket() {
    if !is_root("a command that runs as somebody else") {
        return;
    }
    let script = "test -S \"$NOTIFY_SOCKET\" && test -w \"$NOTIFY_SOCKET\"";
    Disco::new()
        .cfg("disco.notify=true|disco.user=65534:65534")
        .args(["sh", "-c", script])
        .run()
        .assert_code(0);
}
