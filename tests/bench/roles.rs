//! What this program does when a bench runs it as a command or a handler: `--as-ROLE FIFO…`.

use crate::tools::now;
use layer_cake::sys::{self, Fork};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

/// Plays a role, if one is asked for. `now` is when the process started.
pub(crate) fn play(words: &[String], now: u128) -> bool {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["--as-handler", fifo] => handler(fifo, now),
        ["--as-listener", fifo] => listener(fifo),
        ["--as-starter", fifo, program, ref arguments @ ..] => starter(fifo, program, arguments),
        ["--as-parent", count, fifo, go] => parent(count.parse().unwrap(), fifo, go),
        _ => return false,
    }
    true
}

fn writer(fifo: &str) -> File {
    File::options().write(true).open(fifo).unwrap()
}

/// A handler that tells when it started, and with which number.
fn handler(fifo: &str, now: u128) {
    let data: serde_json::Value = serde_json::from_reader(std::io::stdin()).unwrap();
    let line = format!("{} {now}\n", data["bench"]["n"]);
    writer(fifo).write_all(line.as_bytes()).unwrap();
}

/// A command that tells when each SIGUSR1 came.
fn listener(fifo: &str) {
    let mut set = SigSet::empty();
    set.add(Signal::SIGUSR1);
    set.thread_block().unwrap();
    let mut fifo = writer(fifo);
    fifo.write_all(b"ready\n").unwrap();
    for number in 0_u64.. {
        set.wait().unwrap();
        let line = format!("{number} {}\n", now());
        fifo.write_all(line.as_bytes()).unwrap();
    }
}

/// Becomes another program when told to on stdin. Whoever reads the FIFO sees its end at that moment,
/// since exec closes this side of it.
fn starter(fifo: &str, program: &str, arguments: &[&str]) {
    let mut fifo = writer(fifo);
    fifo.write_all(b"r").unwrap();
    std::io::stdin().read_line(&mut String::new()).unwrap();
    let mut next = Command::new(program);
    panic!(
        "{program}: {}",
        next.args(arguments).stdin(Stdio::null()).exec()
    );
}

/// A command that forks `count` processes, each of which leaves a child that ends at once.
fn parent(count: u32, fifo: &str, go: &str) {
    let mut fifo = writer(fifo);
    let mut go = BufReader::new(File::open(go).unwrap());
    let mut wait = || go.read_line(&mut String::new()).unwrap();
    fifo.write_all(b"ready\n").unwrap();
    wait();
    for _ in 0..count {
        match sys::fork().unwrap() {
            Fork::Parent(child) => {
                waitpid(Pid::from_raw(child), None).unwrap();
            }
            Fork::Child => {
                // The orphan ends here, too.
                let _ = sys::fork();
                sys::exit_now(0);
            }
        }
    }
    fifo.write_all(b"done\n").unwrap();
    wait();
}
