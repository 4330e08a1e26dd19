//! Signals that come while disco starts: swept over its start, none of them may be lost.

use crate::support::Disco;
use nix::sys::signal::Signal;
use std::time::{Duration, Instant};

const STARTS: u32 = 300;

/// How long disco takes for a command that does nothing, at best: with a margin, the time to sweep.
fn start_time(disco: &Disco) -> Duration {
    let times = (0..5).map(|_| disco.clone().arg("true").run().elapsed);
    times.min().unwrap_or_default()
}

/// Sends SIGTERM at moments spread over the start. A lost one leaves the command running, which fails
/// the wait.
fn sweep(disco: &Disco) {
    let range = start_time(disco) * 3 / 2;
    for start in 0..STARTS {
        let running = disco.clone().args(["sleep", "1000"]).spawn();
        let moment = Instant::now() + range * start / STARTS;
        while Instant::now() < moment {
            std::hint::spin_loop();
        }
        running.signal(Signal::SIGTERM);
        let out = running.wait();
        // Before the first instruction of disco it ends disco itself.
        let ended = out.signal == Some(libc::SIGTERM) || out.code == Some(143);
        assert!(ended, "start {start}: {:?} {:?}", out.code, out.signal);
        out.assert_stdout("");
    }
}

#[test]
fn p22_no_early_term_is_lost() {
    sweep(&Disco::new().cfg("disco.mode=supervise"));
}

#[test]
fn p22_no_early_term_is_lost_that_goes_to_the_group() {
    sweep(&Disco::new().arg("-g"));
}

#[test]
fn p22_no_early_term_is_lost_where_the_command_has_a_session() {
    sweep(&Disco::new().cfg("disco.session=always"));
    sweep(&Disco::new().cfg("disco.session=always|disco.signal_group=true"));
}
