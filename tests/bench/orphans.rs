//! What an orphan costs PID 1, and whether any is left a zombie.

use crate::support::{DEADLINE, Sandbox};
use crate::tools::{Fifo, Subject, children, interleaved, proc, quantile, ratio, table};
use nix::unistd::Pid;
use std::time::{Duration, Instant};

const ROUNDS: usize = 3;
const ORPHANS: u32 = 5000;

pub(crate) fn run() {
    let subjects: Vec<Subject> = Subject::peers()
        .chain([Subject::disco("disco", "")])
        .collect();
    let all = interleaved(&subjects, ROUNDS, measure);
    let cost = |index: usize| {
        let costs: Vec<f64> = all[index].iter().map(|(cost, _)| *cost).collect();
        quantile(&costs, 50)
    };
    let base = subjects
        .iter()
        .position(|subject| subject.name == "tini")
        .map(cost);
    let row = |(index, subject): (usize, &Subject)| {
        let zombies: usize = all[index].iter().map(|(_, zombies)| zombies).sum();
        vec![
            subject.name.to_owned(),
            format!("{:.2}", cost(index)),
            ratio(cost(index), base),
            zombies.to_string(),
        ]
    };
    let rows: Vec<_> = subjects.iter().enumerate().map(row).collect();
    let head = ["", "CPU µs per orphan", "of tini", "zombies left"];
    table(
        &format!("orphans: {ORPHANS} double forks under PID 1"),
        &head,
        &rows,
    );
}

/// CPU per orphan in µs, and zombies left.
fn measure(subject: &Subject) -> Vec<(f64, usize)> {
    let sandbox = Sandbox::new();
    let (mut told, go) = (Fifo::new(&sandbox, "told"), Fifo::new(&sandbox, "go"));
    let (program, count) = (std::env::current_exe().unwrap(), ORPHANS.to_string());
    let words = [
        program.to_str().unwrap(),
        "--as-parent",
        &count,
        told.path(),
        go.path(),
    ];
    let running = subject.harness(&words).pid1().spawn();
    assert_eq!(told.line(), "ready", "{}", running.stderr_so_far());
    let init = running.pid();
    let before = cpu(init);
    go.send("go");
    assert_eq!(told.line(), "done", "{}", running.stderr_so_far());
    let end = Instant::now() + DEADLINE;
    while zombies(init) > 0 && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(1));
    }
    let used = cpu(init) - before;
    vec![(used / 1e3 / f64::from(ORPHANS), zombies(init))]
}

/// Nanoseconds on a processor.
fn cpu(pid: Pid) -> f64 {
    let stat = proc(pid, "schedstat");
    stat.split_whitespace()
        .next()
        .and_then(|time| time.parse().ok())
        .unwrap()
}

fn zombies(init: Pid) -> usize {
    let state = |pid: &Pid| {
        proc(*pid, "stat")
            .rsplit_once(')')
            .map(|(_, rest)| rest.starts_with(" Z"))
    };
    children(init)
        .iter()
        .filter(|pid| state(pid) == Some(true))
        .count()
}
