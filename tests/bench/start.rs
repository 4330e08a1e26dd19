//! Wall time of `INIT true`.

use crate::support::Sandbox;
use crate::tools::{Subject, interleaved, quantile, ratio, table, time};

const ROUNDS: usize = 20;
const RUNS: usize = 20;

/// A contract to be held to, without hooks, which would be programs of their own to start.
const CONTRACT: &str = "
commands: {'true': {args: [n:int], kwargs: [{name: mode, enum: [a, b]}]}}
env: {PATH: {pattern: '^/'}, OTHER: {type: int, required: false}}
";

pub(crate) fn run() {
    let subjects = [Subject::bare("nothing")]
        .into_iter()
        .chain(Subject::peers());
    let mut subjects: Vec<Subject> = subjects.collect();
    subjects.push(Subject::disco("disco", ""));
    subjects.push(Subject::disco("disco supervising", "disco.mode=supervise"));
    measure("start: `INIT true` as a child", &subjects, &[]);
    subjects.pop();
    let sandbox = Sandbox::new();
    let contract = sandbox.write("asyncy.yml", CONTRACT);
    let contract = format!("disco.contract={}", contract.display());
    subjects.push(Subject::disco("disco with a contract", contract));
    let unshare = ["unshare", "--pid", "--fork", "--mount-proc"];
    measure(
        "start: `INIT true` as PID 1, unshare included",
        &subjects,
        &unshare,
    );
}

fn measure(title: &str, subjects: &[Subject], wrapper: &[&str]) {
    let times = interleaved(subjects, ROUNDS, |subject| {
        let mut command = subject.command(wrapper, &["true"]);
        (0..RUNS).map(|_| time(&mut command)).collect()
    });
    let base = subjects
        .iter()
        .position(|subject| subject.name == "tini-static");
    let base = base.map(|index| quantile(&times[index], 50));
    let row = |(subject, times): (&Subject, &Vec<f64>)| {
        let median = quantile(times, 50);
        vec![
            subject.name.to_owned(),
            format!("{median:.3}"),
            format!("{:.3}", quantile(times, 0)),
            format!("{:.3}", quantile(times, 90)),
            ratio(median, base),
        ]
    };
    let rows: Vec<_> = subjects.iter().zip(&times).map(row).collect();
    table(
        title,
        &["", "median ms", "min", "p90", "of tini-static"],
        &rows,
    );
}
