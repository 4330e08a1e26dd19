//! Logs in regular files and directories, followed through everything that is done to them.

use super::{logged, with};
use crate::support::{DEADLINE, Disco, Running, Sandbox, wait_for};
use nix::sys::signal::Signal;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;

/// A disco that follows these files of the sandbox beside a command that sleeps.
fn following(sandbox: &Sandbox, names: &[&str], more: &str) -> Running {
    let paths: Vec<String> = names
        .iter()
        .map(|name| sandbox.path(name).display().to_string())
        .collect();
    let cfg = format!(
        "disco.tail={}|disco.data=off|disco.status={}/s{more}",
        paths.join(":"),
        sandbox.dir().display()
    );
    let running = Disco::new()
        .cfg(cfg)
        .args(["sh", "-c", "echo up; exec sleep 1000"])
        .spawn();
    running.wait_stdout("up");
    running
}

fn append(sandbox: &Sandbox, name: &str, text: &str) {
    if let Some(dir) = sandbox.path(name).parent() {
        fs::create_dir_all(dir).unwrap();
    }
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .open(sandbox.path(name));
    file.unwrap().write_all(text.as_bytes()).unwrap();
}

#[track_caller]
fn ended(running: Running) -> Vec<String> {
    running.signal(Signal::SIGTERM);
    let out = running.wait();
    logged(&out.stderr)
        .into_iter()
        .map(ToOwned::to_owned)
        .collect()
}

#[test]
fn appended_rotated_truncated_and_made_anew_nothing_is_lost() {
    let sandbox = Sandbox::new();
    append(&sandbox, "app.log", "INFO 1\nINFO 2");
    let running = following(&sandbox, &["app.log"], "");
    running.wait_stderr("INFO 1\n");
    append(&sandbox, "app.log", " goes on\nINFO 3\n");
    running.wait_stderr("INFO 2 goes on\n");
    running.wait_stderr("INFO 3\n");
    fs::rename(sandbox.path("app.log"), sandbox.path("app.log.1")).unwrap();
    append(&sandbox, "app.log.1", "INFO 4\n");
    append(&sandbox, "app.log", "INFO 5\n");
    running.wait_stderr("INFO 5\n");
    fs::write(sandbox.path("app.log"), "INFO 6\n").unwrap();
    running.wait_stderr("INFO 6\n");
    fs::remove_file(sandbox.path("app.log")).unwrap();
    append(&sandbox, "app.log", "INFO 7\n");
    running.wait_stderr("INFO 7\n");
    append(&sandbox, "app.log", "INFO unfinished");
    let lines = ended(running);
    let expected: Vec<String> = ["1", "2 goes on", "3", "4", "5", "6", "7", "unfinished"]
        .map(|text| format!("INFO {text}"))
        .into();
    assert_eq!(lines, expected);
}

#[test]
fn the_file_of_the_seed_is_written_anew_each_time() {
    let sandbox = Sandbox::new();
    let line = "echo up; for n in 1 2 3; do read x; echo 'INFO foobar' > $L; done; read x";
    let fifo = sandbox.path("go");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let running = with(&sandbox, "|disco.data=file", line)
        .prepared(&format!("exec 0<>{}", fifo.display()))
        .spawn();
    running.wait_stdout("up");
    for count in 1..=3 {
        fs::write(&fifo, "\n").unwrap();
        wait_for("another line", DEADLINE, || {
            let told = running.stderr_so_far();
            (logged(&told).len() == count).then_some(())
        });
    }
    assert_eq!(ended(running), ["INFO foobar"; 3]);
    assert!(sandbox.path("data/logs").exists(), "a file stays");
}

#[test]
fn a_start_goes_on_where_the_one_before_stopped() {
    let sandbox = Sandbox::new();
    append(&sandbox, "app.log", "INFO 1\nINFO 2\n");
    let first = following(&sandbox, &["app.log"], "");
    first.wait_stderr("INFO 2\n");
    assert_eq!(ended(first).len(), 2);
    append(&sandbox, "app.log", "INFO 3\n");
    fs::rename(sandbox.path("app.log"), sandbox.path("app.log.1")).unwrap();
    append(&sandbox, "app.log", "INFO 4\n");
    let second = following(&sandbox, &["app.log"], "");
    second.wait_stderr("INFO 4\n");
    assert_eq!(ended(second), ["INFO 3", "INFO 4"]);
}

#[test]
fn an_agent_that_is_killed_loses_and_repeats_nothing_that_it_had_written() {
    let sandbox = Sandbox::new();
    append(&sandbox, "app.log", "INFO 1\n");
    let running = following(&sandbox, &["app.log"], "");
    running.wait_stderr("INFO 1\n");
    // What is written is remembered right after; only then is a kill no repetition.
    wait_for("the place to be remembered", DEADLINE, || {
        sandbox.path(".app.log.disco").exists().then_some(())
    });
    let agent = super::agent(&running, "sleep");
    crate::support::proc::wait_until_idle([agent]);
    nix::sys::signal::kill(agent, Signal::SIGKILL).unwrap();
    append(&sandbox, "app.log", "INFO 2\n");
    running.wait_stderr("INFO 2\n");
    assert_eq!(ended(running), ["INFO 1", "INFO 2"]);
}

#[test]
fn a_directory_gives_every_log_in_it_and_says_which_in_json() {
    let sandbox = Sandbox::new();
    append(&sandbox, "logs/a.log", "INFO a\n");
    append(&sandbox, "logs/a.log.1", "INFO old\n");
    append(&sandbox, "logs/.hidden", "INFO hidden\n");
    let running = following(
        &sandbox,
        &["logs", "later/deep/b.log"],
        "|disco.log_format=json",
    );
    running.wait_stderr("\"message\":\"a\"");
    append(&sandbox, "logs/c.log", "INFO c\n");
    append(&sandbox, "later/deep/b.log", "WARN b\n");
    running.wait_stderr("\"message\":\"c\"");
    running.wait_stderr("\"message\":\"b\"");
    let told = running.stderr_so_far();
    assert!(
        told.contains(&format!(
            "\"file\":\"{}\"",
            sandbox.path("logs/c.log").display()
        )),
        "{told}"
    );
    assert!(
        !told.contains("hidden") && !told.contains("\"old\""),
        "{told}"
    );
}

#[test]
fn the_end_of_a_file_may_be_the_beginning() {
    let sandbox = Sandbox::new();
    append(&sandbox, "app.log", "INFO old\n");
    let running = following(&sandbox, &["app.log"], "|disco.tail_from=end");
    // Whoever comes before the first look is old as well.
    wait_for("a line that is new", DEADLINE, || {
        append(&sandbox, "app.log", "INFO new\n");
        running.stderr_so_far().contains("INFO new").then_some(())
    });
    assert!(!running.stderr_so_far().contains("INFO old"));
}

#[test]
fn a_place_that_cannot_be_kept_and_a_file_that_cannot_be_read_are_told_at_once() {
    if !crate::support::is_root("who may read") {
        return;
    }
    let sandbox = Sandbox::new();
    append(&sandbox, "a.log", "INFO a\n");
    append(&sandbox, "secret.log", "INFO secret\n");
    let secret = fs::Permissions::from_mode(0o600);
    fs::set_permissions(sandbox.path("secret.log"), secret).unwrap();
    let cfg = format!(
        "disco.tail={0}/a.log:{0}/secret.log|disco.data=off",
        sandbox.dir().display()
    );
    let running = Disco::new()
        .cfg(cfg)
        .args(["sleep", "1000"])
        .inside(["setpriv", "--reuid=12345", "--clear-groups"])
        .spawn();
    running.wait_stderr("INFO a");
    running.wait_stderr("secret.log cannot be");
    running.wait_stderr("have been read cannot be kept there");
    assert!(!running.stderr_so_far().contains("INFO secret"));
}

#[test]
fn patterns_are_refused_with_a_remedy() {
    let out = Disco::new()
        .cfg("disco.tail=/var/log/*.log")
        .arg("true")
        .run();
    out.assert_code(78).assert_stderr_has("name the directory");
}
