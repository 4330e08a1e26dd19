//! Log lines through a pipe and out of a file: lines and bytes a second beside `cat` and `tail -F`, with
//! every line counted and in order, and the memory of whoever reads over many of them.

use crate::support::{DEADLINE, Sandbox, dist_bin, wait_for};
use crate::tools::{children, proc, ratio, table};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

/// Lines of one measurement.
const LINES: u64 = 4_000_000;
const ROUNDS: usize = 3;
/// Lines over which memory has to stay as it is.
const MANY: u64 = 50_000_000;

/// What stands before the number of a line.
const HEAD: &[u8] = b"INFO request served user=bob path=/index.html status=200 n=";
const DIGITS: usize = 10;

/// What is measured: its name, and how many seconds it takes.
type Measured = (&'static str, fn(&Sandbox) -> f64);

pub(crate) fn run() {
    let sandbox = Sandbox::new();
    let mut rows = Vec::new();
    let subjects: [Measured; 5] = [
        ("`cat` of a pipe", cat),
        ("disco, a pipe", |sandbox| {
            disco_pipe(sandbox, LINES, |_, _| {})
        }),
        ("`cat` of a file", cat_file),
        ("`tail -F` of a file", tail_file),
        ("disco, a file", disco_file),
    ];
    let mut seconds = vec![Vec::new(); subjects.len()];
    let path = sandbox.path("lines");
    write(&mut File::create(&path).unwrap(), LINES);
    let bytes = path.metadata().unwrap().len();
    for _ in 0..ROUNDS {
        for (all, (_, measure)) in seconds.iter_mut().zip(&subjects) {
            all.push(measure(&sandbox));
        }
    }
    let best = |all: &Vec<f64>| all.iter().copied().fold(f64::INFINITY, f64::min);
    for (index, (name, _)) in subjects.iter().enumerate() {
        let time = best(&seconds[index]);
        let base = best(&seconds[if index < 2 { 0 } else { 3 }]);
        rows.push(vec![
            (*name).to_owned(),
            format!("{:.0}", LINES as f64 / time),
            format!("{:.0}", bytes as f64 / time / 1e6),
            LINES.to_string(),
            ratio(base, Some(time)),
        ]);
    }
    let head = [
        "",
        "lines/s",
        "MB/s",
        "counted, in order",
        "of cat, of tail -F",
    ];
    table("tail: log lines of 69 bytes", &head, &rows);
    memory(&sandbox);
}

/// Memory of the agent while many lines go through it.
fn memory(sandbox: &Sandbox) {
    let mut rows = Vec::new();
    let time = disco_pipe(sandbox, MANY, |agent, count| {
        let rollup = proc(agent, "smaps_rollup");
        let field = |key: &str| {
            let line = rollup.lines().find_map(|line| line.strip_prefix(key));
            line.unwrap_or_default().trim().to_owned()
        };
        rows.push(vec![count.to_string(), field("Anonymous:"), field("Rss:")]);
    });
    table(
        "tail: memory of the agent",
        &["after lines", "anonymous", "RSS"],
        &rows,
    );
    println!("  ({MANY} lines, all counted, in {time:.0} s)");
}

fn cat(sandbox: &Sandbox) -> f64 {
    let fifo = sandbox.path("fifo");
    let _ = std::fs::remove_file(&fifo);
    mkfifo(&fifo, Mode::S_IRWXU).unwrap();
    let mut child = Command::new("cat")
        .arg(&fifo)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let stdout = child.stdout.take().unwrap();
    let start = Instant::now();
    let writer = writing(&fifo, LINES);
    count(stdout, LINES, |_| {});
    writer.join().unwrap();
    ended(child);
    start.elapsed().as_secs_f64()
}

fn cat_file(sandbox: &Sandbox) -> f64 {
    reading(Command::new("cat").arg(sandbox.path("lines")))
}

fn tail_file(sandbox: &Sandbox) -> f64 {
    reading(
        Command::new("tail")
            .args(["-n", "+1", "-F"])
            .arg(sandbox.path("lines"))
            .stderr(Stdio::null()),
    )
}

fn reading(command: &mut Command) -> f64 {
    let start = Instant::now();
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    count(child.stdout.take().unwrap(), LINES, |_| {});
    let time = start.elapsed().as_secs_f64();
    ended(child);
    time
}

fn disco(cfg: &str) -> Child {
    Command::new(dist_bin())
        .env("DISCO_CFG", cfg)
        .args(["sleep", "100000"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn disco_file(sandbox: &Sandbox) -> f64 {
    let _ = std::fs::remove_file(sandbox.path(".lines.disco"));
    let start = Instant::now();
    let mut child = disco(&format!(
        "disco.data=off|disco.tail={}",
        sandbox.path("lines").display()
    ));
    count(child.stderr.take().unwrap(), LINES, |_| {});
    let time = start.elapsed().as_secs_f64();
    stopped(child);
    time
}

/// Sends lines through disco's pipe; `each` is told now and then how many have come.
fn disco_pipe(sandbox: &Sandbox, lines: u64, mut each: impl FnMut(Pid, u64)) -> f64 {
    let dir = sandbox.path("data");
    let mut child = disco(&format!("disco.data_dir={}", dir.display()));
    let init = Pid::from_raw(i32::try_from(child.id()).unwrap());
    let fifo = dir.join("logs");
    let stderr = child.stderr.take().unwrap();
    wait_for("the pipe", DEADLINE, || fifo.exists().then_some(()));
    let start = Instant::now();
    let writer = writing(&fifo, lines);
    let mut agent = None;
    count(stderr, lines, |count| {
        let of = |pid: &Pid| {
            std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name != "sleep\n")
        };
        agent = agent.or_else(|| children(init).into_iter().find(of));
        if let Some(agent) = agent {
            each(agent, count);
        }
    });
    let time = start.elapsed().as_secs_f64();
    writer.join().unwrap();
    stopped(child);
    time
}

fn writing(path: &Path, lines: u64) -> std::thread::JoinHandle<()> {
    let path = path.to_owned();
    std::thread::spawn(move || {
        let mut file = OpenOptions::new().write(true).open(path).unwrap();
        write(&mut file, lines);
    })
}

/// Writes numbered lines, as many at once as a batch of a fast logger.
fn write(to: &mut File, lines: u64) {
    let length = HEAD.len() + DIGITS + 1;
    let mut batch = Vec::new();
    let at_once = 900;
    for _ in 0..at_once {
        batch.extend_from_slice(HEAD);
        batch.extend_from_slice(b"0000000000\n");
    }
    let mut number = 0;
    while number < lines {
        let count = at_once.min(lines - number);
        for line in batch
            .chunks_mut(length)
            .take(usize::try_from(count).unwrap())
        {
            number += 1;
            let mut rest = number;
            for digit in line[HEAD.len()..HEAD.len() + DIGITS].iter_mut().rev() {
                *digit = b'0' + u8::try_from(rest % 10).unwrap();
                rest /= 10;
            }
        }
        to.write_all(&batch[..length * usize::try_from(count).unwrap()])
            .unwrap();
    }
}

/// Counts lines that end in a number, which has to be the next one each time. Lines of disco's own pass.
fn count(mut from: impl Read, lines: u64, mut each: impl FnMut(u64)) {
    let mut buffer = vec![0; 1 << 20];
    let (mut held, mut seen) = (0, 0_u64);
    let mark = b" n=";
    while seen < lines {
        let size = from.read(&mut buffer[held..]).unwrap();
        assert!(size > 0, "only {seen} lines of {lines} came");
        let filled = held + size;
        let mut start = 0;
        while let Some(length) = buffer[start..filled].iter().position(|byte| *byte == b'\n') {
            let line = &buffer[start..start + length];
            start += length + 1;
            let Some(number) = line
                .len()
                .checked_sub(DIGITS)
                .filter(|at| line[..*at].ends_with(mark))
            else {
                continue;
            };
            let number = line[number..]
                .iter()
                .fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'));
            seen += 1;
            assert_eq!(number, seen, "out of order, or lost");
            if seen % (MANY / 10) == 0 || seen == MANY / 50 {
                each(seen);
            }
        }
        buffer.copy_within(start..filled, 0);
        held = filled - start;
    }
}

fn stopped(child: Child) {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    ended(child);
}

fn ended(mut child: Child) {
    // One that would go on for ever, such as `tail -F`, is ended by its id.
    if wait_for_end(&mut child).is_none() {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

fn wait_for_end(child: &mut Child) -> Option<()> {
    (0..200).find_map(|_| {
        std::thread::sleep(std::time::Duration::from_millis(5));
        child.try_wait().unwrap().map(drop)
    })
}
