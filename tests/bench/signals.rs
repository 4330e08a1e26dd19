//! From kill(init) to the command, which waits for the signal.

use crate::support::Sandbox;
use crate::tools::{Fifo, Subject, interleaved, now, quantile, ratio, table};
use nix::sys::signal::{Signal, kill};
use std::time::Duration;

const ROUNDS: usize = 5;
const SIGNALS: usize = 400;
const WARM_UP: usize = 20;
/// Between two signals everybody goes to sleep.
const PAUSE: Duration = Duration::from_micros(200);

pub(crate) fn run() {
    let subjects = [Subject::bare("nobody between")]
        .into_iter()
        .chain(Subject::peers());
    let subjects: Vec<Subject> = subjects.chain([Subject::disco("disco", "")]).collect();
    let times = interleaved(&subjects, ROUNDS, measure);
    let base = subjects.iter().position(|subject| subject.name == "tini");
    let base = |percent| base.map(|index| quantile(&times[index], percent));
    let row = |(subject, times): (&Subject, &Vec<f64>)| {
        let (p50, p99) = (quantile(times, 50), quantile(times, 99));
        vec![
            subject.name.to_owned(),
            format!("{p50:.1}"),
            ratio(p50, base(50)),
            format!("{p99:.1}"),
            ratio(p99, base(99)),
        ]
    };
    let rows: Vec<_> = subjects.iter().zip(&times).map(row).collect();
    let head = ["", "p50 µs", "of tini", "p99 µs", "of tini"];
    table(
        "signals: SIGUSR1 through PID 1 to the command",
        &head,
        &rows,
    );
}

fn measure(subject: &Subject) -> Vec<f64> {
    let sandbox = Sandbox::new();
    let mut fifo = Fifo::new(&sandbox, "stamps");
    let program = std::env::current_exe().unwrap();
    let words = [program.to_str().unwrap(), "--as-listener", fifo.path()];
    let running = subject.harness(&words).pid1().spawn();
    assert_eq!(fifo.line(), "ready", "{}", running.stderr_so_far());
    let init = running.pid();
    let mut send = || {
        std::thread::sleep(PAUSE);
        let sent = now();
        kill(init, Signal::SIGUSR1).unwrap();
        fifo.stamp().1.saturating_sub(sent) as f64 / 1e3
    };
    let times = (0..WARM_UP + SIGNALS).map(|_| send()).skip(WARM_UP);
    times.collect()
}
