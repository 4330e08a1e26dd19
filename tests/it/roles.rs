//! What this binary does when disco runs it as a command: what no shell can, such as taking real-time
//! signals in number, order and with their values. It proves nothing by itself.

use crate::support::{DEADLINE, Disco};
use layer_cake::sys::{self, SignalSet};
use std::io::Write as _;

/// Names the role that is to be played.
const ROLE: &str = "LAYER_CAKE_ROLE";

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
    if std::env::var(ROLE).is_ok_and(|role| role == "listener") {
        listen();
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
