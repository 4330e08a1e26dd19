//! From just before a change of the data to the start of the handler, the change itself included.

use crate::support::{Consul, Etcd, Sandbox};
use crate::tools::{Fifo, Subject, has_consul, layer, now, on_path, quantile, table};
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

const CHANGES: u64 = 200;
/// Sources let 50 changes through at once, then 20 in a second: this is slower.
const PAUSE: Duration = Duration::from_millis(60);

pub(crate) fn run() {
    let files = Sandbox::new();
    let name = format!("flat.file={}", files.path("data/n.yaml").display());
    let text = |n: u64| format!("bench: {{n: {n}}}\n");
    let mut rows = vec![
        measure("file, replaced", &name, |n| {
            files.write("data/draft", text(n));
            std::fs::rename(files.path("data/draft"), files.path("data/n.yaml")).unwrap();
        }),
        measure("file, rewritten", &name, |n| {
            files.write("data/n.yaml", text(n));
        }),
    ];
    if has_consul() {
        let consul = Consul::start();
        let cfg = format!("consul.host=http://{}", consul.http_addr());
        let put = |n: u64| consul.put("bench/n", n.to_string());
        rows.push(measure("Consul", &cfg, put));
    } else {
        println!("\nno consul: `tests/all.sh` gets it");
    }
    if on_path("etcd").is_some() {
        let etcd = Etcd::start();
        let cfg = format!("etcd.host={}", etcd.http_addr());
        let put = |n: u64| etcd.put("/bench/n", n.to_string());
        rows.push(measure("etcd", &cfg, put));
    } else {
        println!("\nno etcd: `tests/all.sh` gets it");
    }
    let head = ["", "change ms", "p50 ms", "p99", "max", "in all"];
    table("react: change to handler start", &head, &rows);
}

fn measure(name: &'static str, source: &str, change: impl Fn(u64)) -> Vec<String> {
    let sandbox = Sandbox::new();
    let mut fifo = Fifo::new(&sandbox, "stamps");
    symlink(std::env::current_exe().unwrap(), sandbox.path("stamp")).unwrap();
    let handler = format!("[stamp, --as-handler, {}]", fifo.path());
    let layer = layer(&sandbox, &handler, ", once: false");
    change(0);
    let disco = Subject::disco(name, format!("{layer}|{source}"));
    let disco = disco.harness(&["sleep", "100000"]).spawn();
    assert_eq!(fifo.stamp().0, 0, "{}", disco.stderr_so_far());

    let (mut own, mut whole) = (Vec::new(), Vec::new());
    for n in 1..=CHANGES {
        std::thread::sleep(PAUSE);
        let (started, clock) = (Instant::now(), now());
        change(n);
        own.push(started.elapsed().as_secs_f64() * 1e3);
        let handled = loop {
            let (number, time) = fifo.stamp();
            if number == n {
                break time;
            }
        };
        whole.push(handled.saturating_sub(clock) as f64 / 1e6);
    }
    vec![
        name.to_owned(),
        format!("{:.2}", quantile(&own, 50)),
        format!("{:.2}", quantile(&whole, 50)),
        format!("{:.2}", quantile(&whole, 99)),
        format!("{:.2}", quantile(&whole, 100)),
        CHANGES.to_string(),
    ]
}
