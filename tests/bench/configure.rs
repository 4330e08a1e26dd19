//! From a file of data to the command: what disco adds to its handler.

use crate::support::Sandbox;
use crate::tools::{Subject, interleaved, layer, quantile, table, time};

const ROUNDS: usize = 20;
const RUNS: usize = 10;

pub(crate) fn run() {
    let sandbox = Sandbox::new();
    let data = sandbox.write("data.yaml", "bench: {n: 1}\n");
    let layer = layer(&sandbox, "/bin/true", "");
    let cfg = |mode: &str| format!("{layer}|flat.file={}|disco.mode={mode}", data.display());
    let subjects = [
        Subject::bare("the handler alone"),
        Subject::disco("disco, nothing configured", "disco.mode=exec"),
        Subject::disco("disco, becoming the command", cfg("exec")),
        Subject::disco("disco, supervising", cfg("supervise")),
    ];
    let times = interleaved(&subjects, ROUNDS, |subject| {
        let mut command = subject.command(&[], &["/bin/true"]);
        (0..RUNS).map(|_| time(&mut command)).collect()
    });
    let handler = quantile(&times[0], 50);
    let row = |(subject, times): (&Subject, &Vec<f64>)| {
        let median = quantile(times, 50);
        vec![
            subject.name.to_owned(),
            format!("{median:.2}"),
            format!("{:.2}", quantile(times, 90)),
            format!("{:.2}", median - handler),
        ]
    };
    let rows: Vec<_> = subjects.iter().zip(&times).map(row).collect();
    let head = ["", "median ms", "p90", "less handler"];
    table(
        "configure: a file, a rule whose handler is `true`, the command `true`",
        &head,
        &rows,
    );
}
