//! What stays beside a sleeping command: memory, wake-ups, connections.

use crate::support::{Consul, Etcd, Running, Sandbox, wait_for};
use crate::tools::{Subject, children, has_consul, layer, on_path, proc, table};
use nix::unistd::Pid;
use std::path::PathBuf;
use std::time::Duration;

const SETTLE: Duration = Duration::from_secs(2);
const IDLE: Duration = Duration::from_secs(5);

/// A contract that asks for something of everything.
const CONTRACT: &str = "
commands: {sleep: {args: [{name: n, type: int, pattern: '^\\d+$', required: true}]}}
env: {PATH: {pattern: '^\\S+$'}, OTHER: {required: false}}
lifecycle: {startup: 'true', shutdown: 'true'}
system: {memory: 1MB}
";

pub(crate) fn run() {
    let sandbox = Sandbox::new();
    let data = sandbox.write("data/n.yaml", "bench: {n: 1}\n");
    let layer = layer(&sandbox, "/bin/true", ", once: false");
    let consul = has_consul().then(Consul::start);
    let etcd = on_path("etcd").map(|_| Etcd::start());
    let mut agents = vec![("flat", format!("flat.file={}", data.display()))];
    if let Some(consul) = &consul {
        consul.put("bench/n", "1");
        agents.push((
            "Consul",
            format!("consul.host=http://{}", consul.http_addr()),
        ));
    }
    if let Some(etcd) = &etcd {
        etcd.put("/bench/n", "1");
        agents.push(("etcd", format!("etcd.host={}", etcd.http_addr())));
    }

    let start = |subject: &Subject| subject.harness(&["sleep", "100000"]).pid1().spawn();
    let mut kept: Vec<Running> = Vec::new();
    let mut watched: Vec<(String, Pid)> = Vec::new();
    let own = |subject: Subject, name: &str| subject.copied(sandbox.path(name));
    let alone = own(Subject::disco("disco", ""), "disco");
    let contract = sandbox.write("asyncy.yml", CONTRACT);
    let contract = format!("disco.contract={}", contract.display());
    let held = own(
        Subject::disco("disco with a contract", contract),
        "disco-contract",
    );
    for subject in Subject::peers().chain([alone, held]) {
        let running = start(&subject);
        watched.push((subject.name.to_owned(), running.pid()));
        kept.push(running);
    }
    for (source, cfg) in agents {
        let disco = Subject::disco("disco", format!("{layer}|{cfg}"));
        let running = start(&own(disco, &format!("disco-{source}")));
        running.wait_stderr("Exec");
        let init = running.pid();
        let agent = wait_for("the agent", crate::support::DEADLINE, || {
            children(init)
                .into_iter()
                .find(|pid| image(*pid) == image(init))
        });
        watched.push((format!("disco watching {source}"), init));
        watched.push((format!("  its agent ({source})"), agent));
        kept.push(running);
    }

    std::thread::sleep(SETTLE);
    let before: Vec<u64> = watched.iter().map(|(_, pid)| wakeups(*pid)).collect();
    std::thread::sleep(IDLE);
    let row = |((name, pid), before): (&(String, Pid), u64)| {
        let woken = wakeups(*pid) - before;
        let rollup = proc(*pid, "smaps_rollup");
        let kilobytes = |keys: &[&str]| keys.iter().map(|key| field(&rollup, key)).sum::<u64>();
        vec![
            name.clone(),
            kilobytes(&["Private_Clean:", "Private_Dirty:"]).to_string(),
            kilobytes(&["Anonymous:"]).to_string(),
            kilobytes(&["Rss:"]).to_string(),
            kilobytes(&["Pss:"]).to_string(),
            format!("{:.1}", woken as f64 / IDLE.as_secs_f64()),
            connections(*pid).to_string(),
        ]
    };
    let rows: Vec<_> = watched.iter().zip(before).map(row).collect();
    let head = [
        "",
        "private kB",
        "anonymous",
        "RSS",
        "PSS",
        "wake-ups/s",
        "TCP",
    ];
    table("memory: PID 1 and its agent beside `sleep`", &head, &rows);
    println!(
        "  (each from its own file: another container of the same image would share the pages of it)"
    );
}

fn image(pid: Pid) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/{pid}/exe")).ok()
}

/// The first number after `key`.
fn field(text: &str, key: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

/// How often any thread has been put to sleep.
fn wakeups(pid: Pid) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task"))
        .unwrap()
        .flatten();
    let status = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("status")).ok());
    let keys = ["voluntary_ctxt_switches:", "nonvoluntary_ctxt_switches:"];
    status
        .map(|text| keys.iter().map(|key| field(&text, key)).sum::<u64>())
        .sum()
}

/// TCP connections that are established.
fn connections(pid: Pid) -> usize {
    let fds = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .flatten();
    let links = fds.filter_map(|fd| std::fs::read_link(fd.path()).ok());
    let sockets: Vec<String> = links.map(|link| link.display().to_string()).collect();
    let established = |line: &str| {
        let mut fields = line.split_whitespace().skip(3);
        let state = fields.next()?;
        let inode = fields.nth(5)?;
        Some(state == "01" && sockets.contains(&format!("socket:[{inode}]")))
    };
    let table = proc(pid, "net/tcp");
    table
        .lines()
        .filter(|line| established(line) == Some(true))
        .count()
}
