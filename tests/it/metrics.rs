//! What is to be measured: written by the container, counted by disco, shown and sent (asyncy A-31,
//! A-32).

mod push;

use crate::data::{SAMPLE, with};
use crate::support::{DEADLINE, Disco, Response, Running, Sandbox, proc, request, wait_for};
use nix::sys::signal::Signal;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;

/// What `--metrics` prints; nothing while there is no socket yet.
#[track_caller]
fn told(sandbox: &Sandbox) -> String {
    let cfg = format!("disco.status={}/s", sandbox.dir().display());
    let out = Disco::new().cfg(cfg).arg("--metrics").run();
    if sandbox.path("s").exists() {
        assert!(
            out.stdout.is_empty() || out.stdout.ends_with("# EOF\n"),
            "{}",
            out.stdout
        );
    }
    out.stdout
}

/// Waits until `--metrics` has this line.
#[track_caller]
fn wait_told(sandbox: &Sandbox, line: &str) -> String {
    let mut last = String::new();
    let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        wait_for(line, DEADLINE, || {
            last = told(sandbox);
            last.lines().any(|told| told == line).then(|| last.clone())
        })
    }));
    found.unwrap_or_else(|_| panic!("waited in vain for {line}; the last: {last}"))
}

/// The address at which it says that metrics can be had.
#[track_caller]
fn address(running: &Running) -> SocketAddr {
    running.wait_stderr("/metrics\n");
    let told = running.stderr_so_far();
    let address = told
        .split("metrics at http://")
        .nth(1)
        .and_then(|rest| rest.split('/').next());
    address.unwrap().parse().unwrap()
}

fn scrape(address: SocketAddr, accept: &str) -> Response {
    request(address, "GET", "/metrics", &[("Accept", accept)], b"").unwrap()
}

#[test]
fn a31_the_sample_of_the_seed_declares_and_a_line_gives_the_value() {
    for pid1 in [false, true] {
        let sandbox = Sandbox::new();
        let line = "printf '%s' \"$SAMPLE\" >> $M; echo up; read x; \
            echo 'host=dfs1 what=diskspace mountpoint=srv/node/dfs10 unit=B type=used mtype=gauge  agent=x 48' >> $M; \
            sleep 1000";
        let fifo = sandbox.path("go");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let disco = with(&sandbox, "", line)
            .env("SAMPLE", SAMPLE)
            .prepared(&format!("exec 0<>{}", fifo.display()));
        let running = if pid1 { disco.pid1() } else { disco }.spawn();
        running.wait_stdout("up");
        wait_told(
            &sandbox,
            "# HELP diskspace_bytes agent=diamond processed_by=statsd2",
        );
        std::fs::write(&fifo, "\n").unwrap();
        let text = wait_told(
            &sandbox,
            "diskspace_bytes{host=\"dfs1\",mountpoint=\"srv/node/dfs10\",type=\"used\"} 48",
        );
        assert!(text.contains("# TYPE diskspace_bytes gauge\n"), "{text}");
        assert!(text.contains("# UNIT diskspace_bytes bytes\n"), "{text}");
    }
}

#[test]
fn a32_the_endpoint_speaks_both_forms_and_nothing_else() {
    let sandbox = Sandbox::new();
    let line = "echo 'what=requests mtype=count unit=Req  a=b 3' > $M; echo 'what=requests mtype=count unit=Req 4' > $M; exec sleep 1000";
    let running = with(&sandbox, "|disco.metrics=127.0.0.1:0", line).spawn();
    let address = address(&running);
    wait_told(&sandbox, "requests_req_total 7");
    let plain = scrape(address, "*/*");
    assert_eq!(plain.status, 200);
    assert!(
        plain
            .head
            .to_lowercase()
            .contains("content-type: text/plain; version=0.0.4"),
        "{}",
        plain.head
    );
    assert!(
        plain.body.contains("requests_req_total 7\n") && !plain.body.contains("# EOF"),
        "{}",
        plain.body
    );
    let open = scrape(
        address,
        "application/openmetrics-text;version=1.0.0,text/plain;q=0.5",
    );
    assert!(
        open.head
            .to_lowercase()
            .contains("content-type: application/openmetrics-text; version=1.0.0")
    );
    assert!(open.body.contains("# TYPE requests_req counter\n") && open.body.ends_with("# EOF\n"));
    assert_eq!(request(address, "GET", "/x", &[], b"").unwrap().status, 404);
    assert_eq!(
        request(address, "POST", "/metrics", &[], b"x")
            .unwrap()
            .status,
        405
    );
    let head = request(address, "HEAD", "/metrics", &[], b"").unwrap();
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    let mut broken = std::net::TcpStream::connect(address).unwrap();
    broken.write_all(b"\x16\x03\x01 nonsense\r\n\r\n").unwrap();
    let mut answer = String::new();
    let _ = broken.read_to_string(&mut answer);
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 400"),
        "{answer}"
    );
    assert_eq!(scrape(address, "").status, 200);
    running.signal(Signal::SIGTERM);
    running.wait().assert_code(143);
}

#[test]
fn a32_the_endpoint_may_be_a_socket_and_goes_with_disco() {
    let sandbox = Sandbox::new();
    let socket = sandbox.path("m.sock");
    let more = format!("|disco.metrics={}", socket.display());
    let running = with(&sandbox, &more, "exec sleep 1000").spawn();
    running.wait_stderr("metrics at unix:");
    let ask = || {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    };
    assert!(ask().contains("disco_command_up 1\n"));
    running.signal(Signal::SIGTERM);
    running.wait().assert_code(143);
    assert!(!socket.exists());
}

#[test]
fn a32_an_address_that_is_taken_is_told_and_waited_for() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let sandbox = Sandbox::new();
    let more = format!("|disco.metrics={}", taken.local_addr().unwrap());
    let running = with(&sandbox, &more, "exec sleep 1000").spawn();
    running.wait_stderr("metrics cannot be had at");
    drop(taken);
    running.wait_stderr("metrics at http://");
}

#[test]
fn a32_clients_that_hang_do_not_keep_others_out() {
    let sandbox = Sandbox::new();
    let running = with(&sandbox, "|disco.metrics=127.0.0.1:0", "exec sleep 1000").spawn();
    let address = address(&running);
    let hanging: Vec<_> = (0..40)
        .map(|_| std::net::TcpStream::connect(address).unwrap())
        .collect();
    let begin = std::time::Instant::now();
    assert_eq!(scrape(address, "").status, 200);
    assert!(
        begin.elapsed() < std::time::Duration::from_secs(8),
        "{:?}",
        begin.elapsed()
    );
    drop(hanging);
}

#[test]
fn a32_disco_counts_rules_restarts_and_orphans() {
    let (sandbox, cfg) = Sandbox::watching("none");
    let dir = sandbox.dir().display();
    let line = "test -e $O || { touch $O; (sleep 0.01 &); sleep 0.2; exit 1; }; exec sleep 1000";
    let running = Disco::new()
        .cfg(format!("{cfg}|disco.data_dir={dir}/data|disco.status={dir}/s|disco.restart=on-failure|disco.restart_delay=0.01"))
        .env("O", sandbox.path("once"))
        .args(["sh", "-c", line])
        .pid1()
        .spawn();
    let text = wait_told(&sandbox, "disco_command_restarts_total 1");
    for line in [
        "disco_configured 1",
        "disco_handlers_run_total 1",
        "disco_rule_handler_seconds_count{rule=\"all(db) -> h\"} 1",
        "disco_rule_complete{rule=\"all(db) -> h\"} 1",
        "disco_source_up{source=\"flatfile\"} 1",
        "disco_source_lag_seconds{source=\"flatfile\"} 0",
    ] {
        assert!(text.lines().any(|told| told == line), "{line}: {text}");
    }
    let orphans = text
        .lines()
        .find_map(|line| line.strip_prefix("disco_orphans_reaped_total "));
    assert!(orphans.unwrap().parse::<u32>().unwrap() >= 1, "{text}");
    sandbox.write("data.yaml", "db: {n: 2}\n");
    wait_told(&sandbox, "disco_handlers_run_total 2");
    drop(running);
}

#[test]
fn a32_without_an_agent_init_tells_what_it_counts() {
    let sandbox = Sandbox::new();
    let running = with(&sandbox, "", "echo up; exec sleep 1000").spawn();
    running.wait_stdout("up");
    let text = wait_told(&sandbox, "disco_command_up 1");
    assert!(text.contains("disco_agent_starts_total 0\n"), "{text}");
    assert_eq!(
        proc::children(running.pid()).len(),
        1,
        "asking starts nobody"
    );
    let out = Disco::new()
        .cfg("disco.status=/nowhere/s")
        .arg("--metrics")
        .run();
    out.assert_code(69)
        .assert_stdout("")
        .assert_stderr_has("no disco answers");
}

#[test]
fn a31_what_is_wrong_is_told_with_a_remedy_and_costs_itself_only() {
    let sandbox = Sandbox::new();
    let line = "printf 'what=a unit=B mtype=gauge 1\\nwhat=b unit=B mtype=guage 2\\nnonsense\\nwhat=d unit=B mtype=gauge 5,7\\nwhat=c unit=B mtype=gauge 3\\n' > $M; exec sleep 1000";
    let running = with(&sandbox, "", line).spawn();
    let text = wait_told(&sandbox, "c_bytes 3");
    assert!(
        text.contains("a_bytes 1\n") && !text.contains("b_bytes"),
        "{text}"
    );
    running.wait_stderr("did you mean `gauge`?");
    running.wait_stderr("metrics: line 3");
    running.wait_stderr("`5,7` has a comma");
}

#[test]
fn a31_a_hostile_writer_takes_neither_memory_nor_the_log() {
    let sandbox = Sandbox::new();
    let line = "seq -f 'what=x unit=B mtype=gauge id=%.0f 1' 200000 > $M; \
        (echo '{'; yes 'key: value' | head -n 500000) > $M; \
        (head -c 20000000 /dev/zero | tr '\\0' 'a') > $M; \
        head -c 3000000 /dev/urandom > $M; echo; echo 'what=last unit=B mtype=gauge id=1 1' > $M; \
        echo 'what=x unit=B mtype=gauge id=1 7' > $M; echo INFO done > $L; exec sleep 1000";
    let running = with(&sandbox, "|disco.metrics_limit=1000", line).spawn();
    running.wait_stderr("INFO done");
    let text = wait_told(&sandbox, "x_bytes{id=\"1\"} 7");
    assert!(text.contains("disco_series 1000\n"), "{text}");
    let told = running.stderr_so_far();
    assert!(told.contains("disco.metrics_limit"), "{told}");
    assert!(told.lines().count() < 60, "{told}");
    let agent = proc::children(running.pid())
        .into_iter()
        .find(|pid| proc::status(*pid, "Name").as_deref() == Some("disco"));
    let held = proc::anonymous(agent.unwrap()).unwrap();
    assert!(held < 32 << 10, "{held} kB");
}

#[test]
fn a31_what_is_no_longer_written_is_forgotten_if_that_is_wanted() {
    let sandbox = Sandbox::new();
    let line = "echo 'what=old unit=B mtype=gauge 1' > $M; exec sleep 1000";
    let running = with(&sandbox, "|disco.metrics_expire=1s", line).spawn();
    wait_told(&sandbox, "old_bytes 1");
    wait_for("it to be forgotten", DEADLINE, || {
        let told = told(&sandbox);
        (!told.is_empty() && !told.contains("old_bytes")).then_some(())
    });
    drop(running);
}

#[test]
fn a31_metrics_may_be_a_file() {
    let sandbox = Sandbox::new();
    let line =
        "printf '%s' \"$SAMPLE\" >> $M; echo 'what=a unit=B mtype=gauge 1' >> $M; exec sleep 1000";
    let running = with(&sandbox, "|disco.data=file", line)
        .env("SAMPLE", SAMPLE)
        .spawn();
    let text = wait_told(&sandbox, "a_bytes 1");
    assert!(text.contains("# TYPE diskspace_bytes gauge\n"), "{text}");
    drop(running);
}

/// Tags that an exposition could stumble over.
const HOSTILE: &str = r#"{ what: "a\"b\\c\nd", unit: "x/y z", mtype: counter, __name__: up, le: "+Inf", "ключ": "значение", q: "it's" } 1
what=disco_build unit=B mtype=gauge 1
what=x_total unit=B mtype=gauge 1
what=x unit=B mtype=counter 1
what=x unit=B mtype=gauge 1
what=x mtype=gauge unit=1 1
what=x_created mtype=gauge unit=1 a-b=1 a.b=2 3
what=x_info mtype=gauge unit=1 v=NaN NaN
what=0day mtype=gauge unit=% +Inf
"#;

/// A program for the parsers of PyPI's prometheus-client: reads both forms from files.
const PARSE: &str = "
import sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as prometheus
for parse, name in ((open_metrics, sys.argv[1]), (prometheus, sys.argv[2])):
    families = list(parse(open(name, newline='').read()))
    samples = {s.name: (s.labels, s.value) for f in families for s in f.samples}
    assert len(families) > 25, families
    hostile = [labels for labels, _ in samples.values() if labels.get('q') == \"it's\"]
    assert len(hostile) == 1 and '+Inf' in hostile[0].values(), samples
    assert samples['x_bytes_total'][1] == 1, samples
";

#[test]
#[ignore = "needs prometheus-client"]
fn a32_a_real_parser_takes_whatever_containers_write() {
    let sandbox = Sandbox::new();
    sandbox.write("hostile", HOSTILE);
    let line = "cat hostile > $M; printf '%s' \"$SAMPLE\" > $M; exec sleep 1000";
    let running = with(&sandbox, "|disco.metrics=127.0.0.1:0", line)
        .env("SAMPLE", SAMPLE)
        .cwd(sandbox.dir())
        .spawn();
    let address = address(&running);
    wait_told(
        &sandbox,
        "# HELP diskspace_bytes agent=diamond processed_by=statsd2",
    );
    sandbox.write("open", scrape(address, "application/openmetrics-text").body);
    sandbox.write("plain", scrape(address, "text/plain").body);
    let python = std::env::var_os("PROMETHEUS_PYTHON");
    let python = python.expect("PROMETHEUS_PYTHON is not set: run tests/all.sh");
    let parsed = std::process::Command::new(python)
        .args(["-c", PARSE, "open", "plain"])
        .current_dir(sandbox.dir())
        .output()
        .unwrap();
    assert!(
        parsed.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&parsed.stderr),
        sandbox.read("open")
    );
}
