//! Everything at once, for as long as is wanted: disco as PID 1 with an agent and a command that is
//! started over and over, forks, leaves orphans, stops itself, executes something else and ends in
//! ever other ways, while signals rain on init and the agent is killed, stopped and given new data.
//! Afterwards nothing may be left, lost or grown.
//!
//! `DISCO_SOAK_SECONDS` says how long; 4 by default, so that it costs little, 600 for the real one.
//! A failure names its seed, which `DISCO_SOAK_SEED` repeats (what is sent, not when).

use crate::support::{DEADLINE, Disco, Running, Sandbox, proc, wait_for};
use layer_cake::sys;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

/// What the command does to itself, chosen by a number that changes with each start. `$dir` is the
/// test's directory. A status is written down by one that no signal of the test can end any more.
/// While there is a file `quiet` it does nothing and says so in `resting`.
const COMMAND: &str = r#"
dir=$1
trap : HUP USR1 USR2 ALRM WINCH RTMIN+1
end() { trap '' HUP USR1 USR2 ALRM WINCH RTMIN+1 TERM TSTP; echo $1 >> $dir/statuses; exit $1; }
while [ -e $dir/quiet ]; do echo yes > $dir/resting; sleep 0.02; done
n=$(( $(cat $dir/turn) + 1 )); echo $n > $dir/turn
for ((i = 0; i < n % 4; i++)); do
    (sleep 0.0$((RANDOM % 5)); exit 9) &
    ( (sleep 0.0$((RANDOM % 5)); exit 8) & )
    (setsid sleep 0.0$((RANDOM % 9)) & )
done
case $(( RANDOM % 5 )) in
    0) end $(( n % 100 )) ;;
    1) wait; end $(( n % 100 )) ;;
    2) # Continued by a child, again and again should the first time be too early.
       (for ((i = 0; i < 100; i++)); do sleep 0.02; kill -CONT $$; done) 2>/dev/null &
       kill -STOP $$; end $(( n % 100 )) ;;
    3) trap '' HUP USR1 USR2 ALRM WINCH RTMIN+1 TERM TSTP
       exec sh -c 'echo $2 >> $1/statuses; exit $2' sh $dir $(( n % 100 )) ;;
    4) sleep 0.0$((RANDOM % 9)); end $(( n % 100 )) ;;
esac
"#;

/// Statuses of the command are less than this; the others are of signals.
const STATUSES: u32 = 100;

/// One page, in kB.
const PAGE: u64 = 4;

/// Less than the drain takes, when something that is left does not go by itself.
const DRAIN: Duration = Duration::from_secs(4);

/// A small generator of numbers that look random (xorshift, 64 bits).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    fn pause(&mut self, up_to_ms: u64) {
        std::thread::sleep(Duration::from_millis(self.below(up_to_ms)));
    }
}

/// Tells the seed when a test fails.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = writeln!(std::io::stderr(), "DISCO_SOAK_SEED={}", self.0);
        }
    }
}

fn variable(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    let message = format!("`{name}` is `{value}`; a number is expected");
    Some(value.parse().expect(&message))
}

/// The agent: of init's children the one without init's stdin.
fn agent(init: Pid) -> Option<Pid> {
    let null = Path::new("/dev/null");
    proc::children(init).into_iter().find(|child| {
        let input = proc::descriptors(*child).into_iter().next();
        input.is_some_and(|(number, target)| number == 0 && target == null)
            && proc::file(*child, "comm") == "disco\n"
    })
}

/// What init holds while the command rests and the agent is there: the kinds of its descriptors,
/// and anonymous memory in kB.
#[derive(Debug, PartialEq, Eq)]
struct Holding {
    descriptors: Vec<String>,
    anonymous: u64,
}

struct Soak {
    sandbox: Sandbox,
    running: Running,
    init: Pid,
}

impl Soak {
    fn start() -> Self {
        let sandbox = Sandbox::new();
        sandbox.write("db.schema", "name: db\ntype: object\n");
        let rules = "format: 2\nrules: [{when: db, do: 'true', once: false, then: {signal: USR2}}]";
        sandbox.write("test.rules", rules);
        sandbox.write("data.yaml", "db: {n: 0}\n");
        sandbox.write("turn", "0\n");
        sandbox.write("statuses", "");
        let cfg = format!(
            "disco.path={0}|flat.file={0}/data.yaml|disco.restart=always:0\
             |disco.restart_delay=10ms|disco.restart_max_delay=10ms",
            sandbox.dir().display()
        );
        let running = Disco::new()
            .pid1()
            .cfg(cfg)
            // The command has it, the agent does not, which tells them apart.
            .stdin(b"\n")
            .args(["bash", "-c", COMMAND, "command"])
            .arg(sandbox.dir())
            .spawn();
        let init = running.pid();
        Self {
            sandbox,
            running,
            init,
        }
    }

    /// Does something to init, the agent or the data for a while.
    fn rain(&self, random: &mut Random, until: Instant) {
        let signals = [
            libc::SIGHUP,
            libc::SIGUSR1,
            libc::SIGUSR2,
            libc::SIGALRM,
            libc::SIGWINCH,
            libc::SIGCONT,
            libc::SIGTSTP,
            libc::SIGRTMIN() + 1,
        ];
        let mut n = 0;
        while Instant::now() < until {
            match random.below(16) {
                0 => self.to_agent(libc::SIGKILL),
                1 => {
                    self.to_agent(libc::SIGSTOP);
                    random.pause(20);
                    self.to_agent(libc::SIGCONT);
                }
                2 | 3 => {
                    n += 1;
                    self.sandbox.write("data.yaml", format!("db: {{n: {n}}}\n"));
                }
                _ => {
                    let which = usize::try_from(random.below(signals.len() as u64)).unwrap();
                    sys::kill(self.init.as_raw(), signals[which]).unwrap();
                }
            }
            random.pause(30);
            // What was stopped goes on; of both at once init would take this one first.
            sys::kill(self.init.as_raw(), libc::SIGCONT).unwrap();
        }
        self.to_agent(libc::SIGCONT);
    }

    fn to_agent(&self, number: i32) {
        if let Some(agent) = agent(self.init) {
            // It may be gone by now.
            let _ = sys::kill(agent.as_raw(), number);
        }
    }

    /// Has the command rest, and measures init.
    #[track_caller]
    fn measure(&self) -> Holding {
        // What the first measurement has left.
        self.sandbox.write("resting", "");
        self.sandbox.write("quiet", "");
        wait_for("the command to rest", DEADLINE, || {
            // Should it have been stopped by the last of the signals.
            let _ = sys::kill(self.init.as_raw(), libc::SIGCONT);
            let resting = std::fs::read_to_string(self.sandbox.path("resting")).ok()?;
            (!resting.is_empty()).then_some(())
        });
        wait_for("the agent", DEADLINE, || agent(self.init));
        wait_for("the end of the orphans and zombies", DEADLINE, || {
            let all = proc::descendants(self.init);
            let dead = all.iter().filter(|pid| !proc::is_alive(**pid)).count();
            (dead == 0 && proc::children(self.init).len() == 2).then_some(())
        });
        // Init may have forked the agent and not yet closed the end that is the agent's.
        let mut last = Vec::new();
        let descriptors = wait_for("descriptors at rest", DEADLINE, || {
            let now = kinds(self.init);
            (std::mem::replace(&mut last, now.clone()) == now).then_some(now)
        });
        let holding = Holding {
            descriptors,
            anonymous: proc::anonymous(self.init).unwrap(),
        };
        std::fs::remove_file(self.sandbox.path("quiet")).unwrap();
        holding
    }
}

/// What a process has open. `pipe:[4711]`, of which only the word stays the same, and the descriptor's
/// number does not matter.
fn kinds(pid: Pid) -> Vec<String> {
    let kind = |(_, target): (u32, std::path::PathBuf)| {
        let target = target.display().to_string();
        let kind = target.split_once(":[").map_or(&*target, |(kind, _)| kind);
        kind.to_owned()
    };
    let mut kinds: Vec<String> = proc::descriptors(pid).into_iter().map(kind).collect();
    kinds.sort();
    kinds
}

/// The statuses that the command has left, in order.
fn left(sandbox: &Sandbox) -> Vec<u32> {
    let lines = sandbox.read("statuses");
    lines.lines().map(|line| line.parse().unwrap()).collect()
}

/// The statuses that init has told, in order.
fn told(log: &str) -> Vec<u32> {
    log.lines()
        .filter_map(|line| {
            let (_, rest) = line.split_once("the command has ended with ")?;
            rest.split_once(';')?.0.parse().ok()
        })
        .collect()
}

#[test]
fn p36_nothing_is_left_lost_or_grown() {
    let seconds = variable("DISCO_SOAK_SECONDS").unwrap_or(4);
    let seed = variable("DISCO_SOAK_SEED").unwrap_or_else(|| {
        let since = std::time::UNIX_EPOCH.elapsed().unwrap();
        u64::from(since.subsec_nanos()) + since.as_secs()
    });
    let seed = Seed(seed.max(1));
    let mut random = Random(seed.0);
    let soak = Soak::start();
    soak.running.wait_stderr("Container Configured");
    let start = Instant::now();
    soak.rain(&mut random, start + Duration::from_secs(1));
    let before = soak.measure();
    soak.rain(&mut random, start + Duration::from_secs(seconds));
    let after = soak.measure();
    assert_eq!(before.descriptors, after.descriptors);
    assert!(
        after.anonymous <= before.anonymous + PAGE,
        "{before:?}, {after:?}"
    );
    assert_eq!(soak.running.pid(), soak.init);

    let asked = Instant::now();
    soak.running.signal(Signal::SIGTERM);
    let out = soak.running.wait();
    assert!(asked.elapsed() < DRAIN, "{}", out.stderr);
    let left = left(&soak.sandbox);
    let mut told = told(&out.stderr);
    if !out.stderr.contains("while the command does not run") {
        // That of the last instance is told as disco's own.
        told.extend(out.code.and_then(|code| u32::try_from(code).ok()));
    }
    let starts = told.len();
    told.retain(|status| *status < STATUSES);
    let by_itself = told.len();
    let _ = writeln!(
        std::io::stderr(),
        "{starts} starts, {by_itself} of which ended by themselves; {after:?}"
    );
    assert_eq!(told, left, "{}", out.stderr);
}
