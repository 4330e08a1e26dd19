//! What breaks while the command runs: the agent killed, stopped, looping, leaking; init without
//! descriptors, memory or processes to be had; a log that nobody reads. The command never notices.
//! All of it holds init to its promise to allocate nothing, which the build under test enforces.

use crate::support::{DEADLINE, Disco, Running, Sandbox, disco_bin, is_root, proc, wait_for};
use crate::worlds::{limit, nobody, public, wait_stopped, words};
use layer_cake::sys;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A command that tells of USR1 and USR2, leaves orphans on HUP, and ends with 3 on ALRM.
const COMMAND: &str = r"trap 'echo usr1' USR1; trap 'echo changed' USR2; trap 'exit 3' ALRM
    trap 'for i in 1 2 3 4 5; do (sleep 0 &); done; echo orphans' HUP
    echo up $$; while :; do sleep 0.02; done";

/// A rule that watches `data.yaml` and tells a command by USR2 of whatever it has become.
struct Watched {
    sandbox: Sandbox,
    running: Running,
}

impl Watched {
    fn start(cfg: &str) -> Self {
        Self::with(Sandbox::new(), cfg, "type: object", |disco, _| disco.pid1())
    }

    /// `schema` is what `db` must be; `world` puts disco where it is to run.
    fn with(
        sandbox: Sandbox,
        cfg: &str,
        schema: &str,
        world: impl FnOnce(Disco, &Sandbox) -> Disco,
    ) -> Self {
        sandbox.write("db.schema", format!("name: db\n{schema}\n"));
        let rules = "format: 2\nrules: [{when: db, do: 'true', once: false, then: {signal: USR2}}]";
        sandbox.write("test.rules", rules);
        sandbox.write("data.yaml", "db: {n: 1}\n");
        let cfg = format!(
            "disco.path={0}|flat.file={0}/data.yaml|{cfg}",
            sandbox.dir().display()
        );
        let running = world(Disco::new(), &sandbox)
            .cfg(cfg)
            .args(["bash", "-c", COMMAND])
            .spawn();
        running.wait_stdout("up ");
        Self { sandbox, running }
    }

    /// Makes a change, and waits until the command has been told.
    #[track_caller]
    fn assert_follows(&self, n: u32) {
        self.assert_told("changed", || self.change(n));
    }

    fn change(&self, n: u32) {
        self.sandbox.write("data.yaml", format!("db: {{n: {n}}}\n"));
    }

    /// Waits until the command has said `word` once more than before `cause`.
    #[track_caller]
    fn assert_told(&self, word: &str, cause: impl FnOnce()) {
        let count = || self.running.stdout_so_far().matches(word).count();
        let before = count();
        cause();
        wait_for(&format!("the command to say {word}"), DEADLINE, || {
            (count() > before).then_some(())
        });
    }

    /// What every fault must leave standing: signals on their way, orphans reaped.
    #[track_caller]
    fn assert_serves(&self) {
        self.assert_told("usr1", || self.running.signal(Signal::SIGUSR1));
        self.assert_told("orphans", || self.running.signal(Signal::SIGHUP));
        self.wait_reaped();
    }

    #[track_caller]
    fn wait_reaped(&self) {
        let init = self.running.pid();
        wait_for("all to be reaped", DEADLINE, || {
            (proc::zombies(init) == 0).then_some(())
        });
    }

    /// The agent, which has told init by now that it is there to stay.
    #[track_caller]
    fn agent(&self) -> Pid {
        self.running.child("disco")
    }

    /// Waits until `line` has been logged `count` times.
    #[track_caller]
    fn wait_lines(&self, line: &str, count: usize) {
        wait_for(&format!("{line:?} {count} times"), DEADLINE, || {
            let told = self.running.stderr_so_far();
            (told.matches(line).count() >= count).then_some(())
        });
    }

    /// The command is the one that was started first, and a stop ends all in time.
    #[track_caller]
    fn assert_untouched(self) {
        let ups = self.running.stdout_so_far().matches("up ").count();
        assert_eq!(ups, 1, "{}", self.running.stderr_so_far());
        self.stop();
    }

    #[track_caller]
    fn stop(self) {
        let asked = Instant::now();
        self.running.signal(Signal::SIGTERM);
        self.running.wait().assert_code(143);
        // Far less than the drain or a grace period takes.
        assert!(asked.elapsed() < Duration::from_secs(4));
    }
}

#[test]
fn an_agent_that_is_killed_again_and_again_comes_back_and_the_command_runs_on() {
    let watched = Watched::start("");
    for round in 0..4 {
        kill(watched.agent(), Signal::SIGKILL).unwrap();
        let pause = 100 << round;
        let told = format!("the agent is gone (ended by SIGKILL); starting it again in {pause}ms");
        watched.running.wait_stderr(&told);
    }
    watched.assert_follows(2);
    watched.assert_serves();
    watched.assert_untouched();
}

#[test]
fn an_agent_that_is_stopped_is_told_of_and_goes_on_where_it_was() {
    let watched = Watched::start("");
    let agent = watched.agent();
    kill(agent, Signal::SIGSTOP).unwrap();
    watched
        .running
        .wait_stderr("the agent was stopped by SIGSTOP: changes are not seen until `kill -CONT");
    watched.assert_serves();
    watched.assert_told("changed", || {
        watched.change(2);
        kill(agent, Signal::SIGCONT).unwrap();
    });
    assert_eq!(watched.agent(), agent);
    watched.assert_untouched();
}

#[test]
fn an_agent_that_is_stopped_does_not_delay_the_end() {
    for pid1 in [true, false] {
        let place = |disco: Disco, _: &Sandbox| if pid1 { disco.pid1() } else { disco };
        let watched = Watched::with(Sandbox::new(), "", "type: object", place);
        let agent = watched.agent();
        kill(agent, Signal::SIGSTOP).unwrap();
        wait_stopped(agent);
        watched.assert_untouched();
    }
}

#[test]
fn an_agent_that_loops_is_ended_and_recovers_with_the_data() {
    // Each level is looked at twice as often as the one above it.
    let schema = "allOf: [{$ref: '#/$defs/node'}]
$defs: {node: {allOf: [{properties: {n: {$ref: '#/$defs/node'}}}, {properties: {n: {$ref: '#/$defs/node'}}}]}}";
    let pid1 = |disco: Disco, _: &Sandbox| disco.pid1();
    let watched = Watched::with(Sandbox::new(), "disco.agent_cpu=1s", schema, pid1);
    let depth = 40;
    let data = format!("db: {}1{}\n", "{n: ".repeat(depth), "}".repeat(depth));
    watched.sandbox.write("data.yaml", data);
    watched.wait_lines(
        "the agent has used 1s of processor time without coming to rest",
        2,
    );
    watched.wait_lines("starting it again in", 2);
    watched.assert_serves();
    watched.assert_follows(2);
    watched.assert_untouched();
}

#[test]
fn an_agent_that_takes_too_much_memory_is_ended_and_recovers_with_the_data() {
    let watched = Watched::start("disco.agent_memory=40M");
    let data = format!("db: {{list: [{}]}}\n", "1,".repeat(1_000_000));
    watched.sandbox.write("data.yaml", data);
    watched.wait_lines(
        "the agent is gone (ended by SIGABRT; it may have reached `disco.agent_memory`); starting it again in",
        2,
    );
    watched.assert_serves();
    watched.assert_follows(2);
    watched.assert_untouched();
}

/// Takes what init needs away while everything works, watches it serve and fail to start what it is to
/// start, and gives it back. `few` and `enough` are words for prlimit, by which `set` changes init.
#[track_caller]
fn assert_outlasts(watched: &Watched, set: impl Fn(&[&str]), few: &[&str], enough: &[&str]) {
    let running = &watched.running;
    watched.assert_follows(2);
    let init = running.pid();
    set(few);
    watched.assert_serves();
    kill(watched.agent(), Signal::SIGKILL).unwrap();
    running.wait_stderr("the agent is gone (ended by SIGKILL); starting it again in 100ms");
    watched.assert_serves();
    // Each failure is told, and the pause grows.
    running.wait_stderr("again in 200ms");
    running.signal(Signal::SIGALRM);
    running.wait_stderr("the command has ended with 3; starting it again in 10ms");
    running.wait_stderr("starting it again in 40ms");
    watched.wait_reaped();
    set(enough);
    wait_for("the second start", DEADLINE, || {
        (running.stdout_so_far().matches("up ").count() == 2).then_some(())
    });
    watched.assert_follows(3);
    watched.assert_serves();
    assert_eq!(running.pid(), init);
}

/// A command that is started again whatever stands in the way.
const AGAIN: &str =
    "disco.restart=on-failure:0|disco.restart_delay=10ms|disco.restart_max_delay=100ms";

#[test]
fn init_without_descriptors_serves_and_recovers() {
    let watched = Watched::start(AGAIN);
    let set = |limits: &[&str]| limit("", watched.running.pid(), limits);
    assert_outlasts(&watched, set, &["--nofile=3:"], &["--nofile=1000:"]);
    let told = watched.running.stderr_so_far();
    for line in [
        "cannot start the agent: Too many open files; trying again in 200ms",
        "cannot start `bash`: Too many open files; a limit of processes, descriptors or memory",
        "the command has ended with 125; starting it again in 20ms",
    ] {
        assert!(told.contains(line), "{line}: {told}");
    }
    watched.stop();
}

#[test]
fn init_without_memory_serves_and_recovers() {
    for few in [&["--as=1:"][..], &["--data=1:"]] {
        let watched = Watched::start(AGAIN);
        let set = |limits: &[&str]| limit("", watched.running.pid(), limits);
        let enough: Vec<String> = few.iter().map(|l| l.replace("1:", "unlimited:")).collect();
        let enough: Vec<&str> = enough.iter().map(String::as_str).collect();
        assert_outlasts(&watched, set, few, &enough);
        watched.stop();
    }
}

#[test]
fn init_without_processes_serves_and_recovers() {
    if !is_root("a process limit") {
        return;
    }
    let world = |disco: Disco, sandbox: &Sandbox| {
        disco.bin(public(sandbox)).inside(words(&nobody(20))).pid1()
    };
    let watched = Watched::with(Sandbox::new(), AGAIN, "type: object", world);
    let set = |limits: &[&str]| limit(&nobody(20), watched.running.pid(), limits);
    assert_outlasts(&watched, set, &["--nproc=1:"], &["--nproc=1000:"]);
    let told = watched.running.stderr_so_far();
    for line in [
        "cannot start the agent: Try again; trying again in 200ms",
        "cannot start `bash`: Try again; a limit of processes, descriptors or memory",
    ] {
        assert!(told.contains(line), "{line}: {told}");
    }
    watched.stop();
}

#[test]
fn init_without_anything_ends_what_is_left_in_time() {
    let script = "(trap '' TERM; echo up; exec sleep 1000) & exec sleep 1000";
    for pid1 in [true, false] {
        for few in ["--nofile=3:", "--as=1:", "--data=1:"] {
            let disco = Disco::new().cfg("disco.mode=supervise|disco.drain=200ms");
            let disco = if pid1 { disco.pid1() } else { disco };
            let running = disco.args(["bash", "-c", script]).spawn();
            running.wait_stdout("up");
            limit("", running.pid(), &[few]);
            let asked = Instant::now();
            running.signal(Signal::SIGTERM);
            let out = running.wait();
            out.assert_code(143)
                .assert_stderr_has("killing what is left after 200ms");
            let took = asked.elapsed();
            assert!(took < Duration::from_secs(2), "{few}: {took:?}");
        }
    }
}

#[test]
fn a_command_that_cannot_be_executed_for_a_limit_is_tried_again() {
    if !is_root("a command of another user") {
        return;
    }
    let user = nobody(21);
    let mut other = Started(
        Command::new("env")
            .args(words(&user))
            .args(["sleep", "1000"])
            .spawn()
            .unwrap(),
    );
    let other_pid = Pid::from_raw(other.0.id().cast_signed());
    let uid = words(&user).find_map(|word| word.strip_prefix("--reuid="));
    let uid = uid.unwrap();
    wait_for("the user's other process", DEADLINE, || {
        proc::status(other_pid, "Uid")?
            .starts_with(uid)
            .then_some(())
    });
    // The user of the command has a process too many, which the kernel finds when it is executed,
    // unless whoever became that user was above limits.
    let weak = "-sys_resource,-sys_admin";
    let cfg = format!("{AGAIN}|disco.user={uid}:{uid}|disco.ulimits=nproc=0:100");
    let running = Disco::new()
        .pid1()
        .inside(["setpriv", "--bounding-set", weak, "--inh-caps", weak])
        .cfg(cfg)
        .args(["sh", "-c", "echo up; exit 0"])
        .spawn();
    running.wait_stderr("cannot start `sh`: Try again; a limit of processes");
    running.wait_stderr("the command has ended with 125; starting it again in 40ms");
    other.0.kill().unwrap();
    other.0.wait().unwrap();
    running.wait().assert_code(0).assert_stdout("up\n");
}

#[test]
fn p38_a_log_that_nobody_reads_holds_nothing_up_and_its_losses_are_counted() {
    const SIGNALS: usize = 2000;
    const ORPHANS: usize = 20;
    let sandbox = Sandbox::new();
    let log = sandbox.path("heard");
    let number = libc::SIGRTMIN() + 3;
    let script = format!(
        "trap '' {number}; trap 'exit 5' USR2
         trap 'for ((i = 0; i < {ORPHANS}; i++)); do (sleep 0 &); done; echo orphans >> {0}' USR1
         echo up >> {0}; while :; do sleep 0.02; done",
        log.display()
    );
    let mut disco = Started(
        Command::new(disco_bin())
            .args(["-ldebug", "bash", "-c", &script])
            .env("DISCO_CFG", "disco.mode=supervise")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let init = Pid::from_raw(disco.0.id().cast_signed());
    let heard = |what: &str| {
        wait_for(what, DEADLINE, || {
            let told = std::fs::read_to_string(&log).ok()?;
            told.lines().any(|line| line == what).then_some(())
        });
    };
    heard("up");
    // Each is a line of the log; together they are far more than a pipe takes.
    for value in 0..SIGNALS {
        wait_for("room for a signal", DEADLINE, || {
            sys::queue(init.as_raw(), number, value).ok()
        });
    }
    kill(init, Signal::SIGUSR1).unwrap();
    heard("orphans");
    wait_for("all to be forwarded and reaped", DEADLINE, || {
        let is_idle = proc::status(init, "ShdPnd")? == "0".repeat(16);
        (is_idle && proc::zombies(init) == 0 && proc::children(init).len() == 1).then_some(())
    });

    let mut pipe = disco.0.stderr.take().unwrap();
    let mut bytes = vec![0; 1 << 20];
    let size = pipe.read(&mut bytes).unwrap();
    bytes.truncate(size);
    kill(init, Signal::SIGUSR2).unwrap();
    pipe.read_to_end(&mut bytes).unwrap();
    assert_eq!(disco.0.wait().unwrap().code(), Some(5));
    let told = String::from_utf8(bytes).unwrap();
    let lost: usize = told
        .lines()
        .filter_map(|line| {
            line.strip_prefix("disco: ")?
                .split_once(" lines of the log were")
        })
        .map(|(count, _)| count.parse::<usize>().unwrap())
        .sum();
    let forwarded = told.matches(": forwarded to the command").count();
    // The orphans may be among the lost; USR1 and USR2 were forwarded, too.
    let missing = SIGNALS + 2 - forwarded;
    assert!(
        missing > 0 && (missing..=missing + ORPHANS).contains(&lost),
        "{missing} are missing, {lost} were told of"
    );
}

#[test]
fn an_agent_that_cannot_log_does_not_delay_the_end_beyond_the_drain() {
    let watched = Sandbox::new();
    watched.write("db.schema", "name: db\ntype: object\n");
    watched.write(
        "test.rules",
        "format: 2\nrules: [{when: db, do: 'true', once: false}]",
    );
    watched.write("data.yaml", "db: {n: 1}\n");
    let (reader, writer) = std::io::pipe().unwrap();
    let ready = format!("echo > {}/ready; exec sleep 1000", watched.dir().display());
    let cfg = "disco.path={0}|flat.file={0}/data.yaml|disco.drain=1s";
    let disco = Command::new(disco_bin())
        .args(["sh", "-c", &ready])
        .env(
            "DISCO_CFG",
            cfg.replace("{0}", watched.dir().to_str().unwrap()),
        )
        .stderr(writer.try_clone().unwrap())
        .spawn();
    let mut disco = Started(disco.unwrap());
    let init = Pid::from_raw(disco.0.id().cast_signed());
    watched.wait_file("ready");
    // By a description of its own, so that disco's keeps waiting.
    let mut full = std::fs::File::options()
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(format!("/proc/self/fd/{}", writer.as_raw_fd()))
        .unwrap();
    while full.write(&[b'x'; 65536]).is_ok() {}
    while full.write(b"x").is_ok() {}
    let agent = proc::children(init)
        .into_iter()
        .find(|pid| proc::file(*pid, "comm") == "disco\n");
    let agent = agent.unwrap();
    watched.write("data.yaml", "db: {n: 2}\n");
    wait_for("the agent to wait for a reader", DEADLINE, || {
        proc::file(agent, "wchan").contains("pipe").then_some(())
    });
    let asked = Instant::now();
    kill(init, Signal::SIGTERM).unwrap();
    let code = wait_for("the end", DEADLINE, || disco.0.try_wait().unwrap()).code();
    assert_eq!(code, Some(143));
    assert!(
        asked.elapsed() < Duration::from_secs(3),
        "{:?}",
        asked.elapsed()
    );
    assert!(!proc::is_alive(agent));
    drop(reader);
}

/// A process that is killed with the test that started it.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        // After a successful wait both do nothing.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
