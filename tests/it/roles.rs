//! What this binary does when disco runs it as a command: what no shell can, such as taking real-time
//! signals in number, order and with their values. It proves nothing by itself.

use crate::support::{DEADLINE, Disco};
use layer_cake::sys::{self, SignalSet};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixDatagram;

/// Names the role that is to be played.
const ROLE: &str = "LAYER_CAKE_ROLE";

/// Names what the teller reads.
pub(crate) const SAY: &str = "LAYER_CAKE_SAY";

/// Has `disco` run this binary in a role.
pub(crate) fn cast(disco: Disco, role: &str) -> Disco {
    let program = std::env::current_exe().unwrap();
    disco
        .env(ROLE, role)
        .arg(program)
        .args(["--exact", "roles::a_role_is_played_where_one_is_given"])
        .args(["--nocapture", "--test-threads=1"])
}

#[test]
fn a_role_is_played_where_one_is_given() {
    match std::env::var(ROLE).as_deref() {
        Ok("listener") => listen(),
        Ok("teller") => tell(),
        _ => {}
    }
}

/// Tells every signal and its value as it comes, until SIGTERM. To be started with all of them
/// blocked: this process has threads, each with a mask of its own.
fn listen() {
    let mut out = std::io::stdout();
    writeln!(out, "\nlistening").unwrap();
    let set = SignalSet::all().but(libc::SIGCHLD);
    while let Some(received) = sys::wait_signal(&set, Some(DEADLINE)).unwrap() {
        if received.number == libc::SIGTERM {
            return;
        }
        let value = received.value.map_or("-".to_owned(), |v| v.to_string());
        writeln!(out, "signal {} value {value}", received.number).unwrap();
    }
}

/// Says by sd_notify(3) what it reads, a datagram for each line, `|` being the end of one in there.
fn tell() {
    let mut out = std::io::stdout();
    let to = std::env::var_os("NOTIFY_SOCKET").unwrap();
    let socket = UnixDatagram::unbound().unwrap();
    // Also for writing, so that there is no end between two writers.
    let mut fifo = std::fs::OpenOptions::new();
    let fifo = fifo
        .read(true)
        .write(true)
        .open(std::env::var_os(SAY).unwrap());
    writeln!(out, "\ntelling").unwrap();
    for line in BufReader::new(fifo.unwrap()).lines().map(Result::unwrap) {
        if line == "exit" {
            sys::exit_now(1);
        }
        socket
            .send_to(line.replace('|', "\n").as_bytes(), &to)
            .unwrap();
    }
}
