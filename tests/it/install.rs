//! `--install-layers`: the programs of layers, in their order, and what they leave behind.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use nix::sys::signal::{Signal, kill};

use crate::support::{Disco, Sandbox, is_root};

/// A directory of layers whose programs note that they ran.
fn layers(order: Option<&str>) -> Sandbox {
    let sandbox = Sandbox::new();
    for name in ["b", "a", "c", ".hidden"] {
        let note = format!("#!/bin/sh\necho \"{name} $# ${{PWD##*/}} $VALUE\"\n");
        sandbox.write(&format!("{name}/x"), "");
        sandbox.handler(&format!("{name}/install"), &note);
    }
    sandbox.write("none/layer.yaml", "layer: {name: none}\n");
    if let Some(order) = order {
        sandbox.write(".order", order);
    }
    sandbox
}

fn install(sandbox: &Sandbox) -> Disco {
    let disco = Disco::new().arg("--install-layers").arg(sandbox.dir());
    disco.env("VALUE", "v")
}

#[test]
fn layers_are_installed_in_their_order() {
    // Settings are not looked at, not even those that are wrong.
    let out = install(&layers(None)).cfg("no.such=1").run();
    out.assert_code(0)
        .assert_stdout("a 0 a v\nb 0 b v\nc 0 c v\n")
        .assert_stderr_has("3 layers of ");
    let out = install(&layers(Some("c\nnone\n\nb\n"))).run();
    out.assert_code(0)
        .assert_stdout("c 0 c v\nb 0 b v\na 0 a v\n");
    Disco::new()
        .arg("--install-layers")
        .run()
        .assert_code(0)
        .assert_stderr_has("there are no layers in /usr/share/layercake/layers");
}

#[test]
fn the_first_layer_that_fails_ends_the_installation() {
    let sandbox = layers(None);
    sandbox.handler("b/install", "#!/bin/sh\nexit 7\n");
    let out = install(&sandbox).run();
    out.assert_code(70)
        .assert_stdout("a 0 a v\n")
        .assert_stderr_has("b/install: failed: exit status 7");
    sandbox.handler("a/install", "#!/no/such/interpreter\n");
    let out = install(&sandbox).run();
    out.assert_code(70).assert_stdout("").assert_stderr_has(
        "a/install: cannot be started: `/no/such/interpreter`, the interpreter in its first line, is not in this image",
    );
    fs::set_permissions(sandbox.path("a/install"), fs::Permissions::from_mode(0o644)).unwrap();
    let plain = sandbox.write("a/install", "#!/bin/sh\n");
    let out = install(&sandbox).run();
    out.assert_code(70).assert_stderr_has(&format!(
        "is not executable: run `chmod +x {}`",
        plain.display()
    ));
    let out = install(&layers(Some("a\nlost\n"))).run();
    out.assert_code(78)
        .assert_stdout("")
        .assert_stderr_has("/.order:2:1: `lost` is no layer in ");
    let out = Disco::new().args(["--install-layers", "/no/such"]).run();
    out.assert_code(78)
        .assert_stderr_has("/no/such: cannot be read");
}

#[test]
fn an_install_that_cannot_be_is_told_and_nothing_is_left_running() {
    let sandbox = layers(None);
    fs::remove_file(sandbox.path("a/install")).unwrap();
    symlink("nowhere", sandbox.path("a/install")).unwrap();
    install(&sandbox)
        .run()
        .assert_code(70)
        .assert_stderr_has("a/install is no file");
    fs::remove_file(sandbox.path("a/install")).unwrap();
    sandbox.handler(
        "a/install",
        "#!/bin/sh\n(sleep 1000 & echo $! > left)\nexit 3\n",
    );
    install(&sandbox).run().assert_code(70);
    let left: i32 = sandbox.read("a/left").trim().parse().unwrap();
    assert!(kill(nix::unistd::Pid::from_raw(left), None).is_err());
}

#[test]
fn a_stop_ends_an_installation() {
    let sandbox = layers(None);
    sandbox.handler("a/install", "#!/bin/sh\necho up\nsleep 1000\n");
    for is_pid_1 in [false, true] {
        if is_pid_1 && !is_root("a namespace of its own") {
            return;
        }
        let disco = match is_pid_1 {
            true => install(&sandbox).pid1(),
            false => install(&sandbox),
        };
        let running = disco.spawn();
        running.wait_stdout("up");
        let start = std::time::Instant::now();
        running.signal(Signal::SIGTERM);
        let out = running.wait();
        assert!(start.elapsed().as_millis() < 2500, "{:?}", start.elapsed());
        assert_eq!(out.code, Some(143), "{}", out.stderr);
        assert!(!out.stdout.contains("b 0"), "{}", out.stdout);
    }
}
