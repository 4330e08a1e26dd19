//! disco's own command line. Options end at the first word that is none, so that whatever follows
//! belongs to the command; there are no subcommands, since `disco check` must run a program `check`.

use std::ffi::OsString;
use std::path::PathBuf;

use super::init::plan::{ExitMap, Plan, Rewrite, Subreaper};
use super::log::Level;
use crate::contract::{signal, suggest};

/// What `--help` prints.
pub const HELP: &str = "\
disco: configures a container from Consul, etcd and files, then runs its command

Usage: disco [OPTIONS] [--] COMMAND [ARGUMENTS...]

Options:
  -l, --log-level LEVEL  trace, debug, info (default), warning, error, or a number such as 10
  -c, --conf FILE        settings file (default /usr/share/layercake/disco.conf)
  -g, --signal-group     send signals to the command's whole process group
  -s, --subreaper        reap orphans where disco is not PID 1 (it does so by itself where it can)
  -p, --parent-death SIG get SIG when the parent of disco dies
  -e, --exit-map C[:TO]  leave with TO, or 0, where the command ends with C
  -r, --rewrite SIG:TO   forward signal SIG as TO; 0 drops it
      --explain [FILE]   why does it wait? asks the disco that runs, or judges a file of data
      --json             with --explain: the document in place of the table
      --health           healthy or not, for HEALTHCHECK: exits with 0 or 1
      --metrics          print the metrics of the container and of disco, as OpenMetrics
      --check            check settings, schemas, rules, handlers and command; run nothing
      --install-layers [DIR] for an image build: run the `install` of each layer, then leave
  -V, --version          print the version
  -h                     print this help
      --help             the same, or how the container is called if its contract says that

Settings come from DISCO_CFG, as section.key=value joined by |, over the settings file:
  disco.path=DIR[:DIR]   where schemas, rules and handlers are
  flat.file=PATH         read a file or a directory of YAML, JSON or TOML
  consul.host=URL        read Consul's key-value store
  etcd.host=ADDRESS      read etcd
  env.prefix=APP_        read environment variables
  disco.user=NAME        run the command as somebody else; also cap_drop, ulimits, workdir
  disco.stop_timeout=10s kill what has not stopped by then; also stop_signal, drain
  disco.restart=WHEN     start the command again on-failure or always
  disco.contract=FILE    the contract (asyncy.yml); also commands, entrypoint, env_passthrough
  disco.health=URL       what --health asks: http, https, tcp, or a command
  disco.ready_file=PATH  there while the command is ready; notify=true lets it say so itself
  disco.tail=PATH[:PATH] log lines from files; /data/logs takes them anyway, see data, logs_rate
  disco.metrics=:9102    show what is written to /data/metrics/2.0; disco.otlp=URL sends it
The README lists all of them. Why does it wait? `disco --explain` tells.

Exit codes: the command's own, 128+n if signal n ended it, 126 or 127 if it cannot be run;
64 bad arguments, 69 not configured before disco.deadline, or nobody to ask by --explain or --metrics,
70 a handler or hook failed for good, 78 bad settings, schemas, rules, contract or environment,
125 no process left to start the command with.
";

const LONG: &[&str] = &[
    "log-level",
    "conf",
    "signal-group",
    "subreaper",
    "parent-death",
    "exit-map",
    "rewrite",
    "check",
    "install-layers",
    "explain",
    "json",
    "health",
    "metrics",
    "version",
    "help",
];

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Configure, then run the command.
    Run,
    /// Check everything, run nothing.
    Check,
    /// Run the install programs of layers; the command is their directory, if one was given.
    InstallLayers,
    /// Say why it waits.
    Explain {
        /// As the document, and not as a table.
        as_json: bool,
    },
    /// Say what there is to be measured.
    Metrics,
    /// Say whether it is well.
    Health,
    /// Print the version.
    Version,
    /// Print the help.
    Help,
    /// Print how the container is called, or the help where nothing says that.
    Usage,
}

/// The command line as typed, each part checked by itself.
#[derive(Debug, PartialEq, Eq)]
pub struct Arguments {
    /// What is asked for.
    pub action: Action,
    /// `-l`.
    pub log_level: Option<Level>,
    /// `-c`.
    pub conf: Option<PathBuf>,
    /// `-g -s -p -e -r`, each checked by itself; over the settings.
    pub plan: PlanArguments,
    /// The command and its arguments, or a file to explain, if any were given.
    pub command: Vec<OsString>,
}

/// The options of other inits, over the settings of the same names.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct PlanArguments {
    group: bool,
    subreaper: bool,
    parent_death: Option<i32>,
    exit_map: Vec<String>,
    rewrite: Vec<String>,
}

impl PlanArguments {
    /// Puts them over `plan`.
    pub fn apply(&self, plan: &mut Plan) {
        plan.group |= self.group;
        if self.subreaper {
            plan.subreaper = Subreaper::Always;
        }
        plan.parent_death = self.parent_death.or(plan.parent_death);
        // All of them have been parsed once.
        let _ = self
            .exit_map
            .iter()
            .try_for_each(|text| plan.exit_map.parse(text));
        let _ = self
            .rewrite
            .iter()
            .try_for_each(|text| plan.rewrite.parse(text));
    }
}

/// Parses the words after the program's name.
///
/// # Errors
/// What is wrong, as a fragment.
pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Arguments, String> {
    use lexopt::prelude::*;

    let mut parsed = Arguments {
        action: Action::Run,
        log_level: None,
        conf: None,
        plan: PlanArguments::default(),
        command: Vec::new(),
    };
    let mut as_json = false;
    let words: Vec<OsString> = words.into_iter().collect();
    let mut parser = lexopt::Parser::from_args(words);
    while let Some(argument) = parser.next().map_err(lower)? {
        match argument {
            Short('l') | Long("log-level") => {
                let text = parser.value().map_err(lower)?;
                parsed.log_level = Some(Level::parse(&text.to_string_lossy())?);
            }
            Short('c') | Long("conf") => parsed.conf = Some(parser.value().map_err(lower)?.into()),
            Short('g') | Long("signal-group") => parsed.plan.group = true,
            Short('s') | Long("subreaper") => parsed.plan.subreaper = true,
            Short('p') | Long("parent-death") => {
                let text = text(&mut parser)?;
                parsed.plan.parent_death = Some(signal::parse(&text)?);
            }
            Short('e') | Long("exit-map") => {
                let text = text(&mut parser)?;
                ExitMap::default().parse(&text)?;
                parsed.plan.exit_map.push(text);
            }
            Short('r') | Long("rewrite") => {
                let text = text(&mut parser)?;
                Rewrite::default().parse(&text)?;
                parsed.plan.rewrite.push(text);
            }
            Long("explain") => {
                parsed.action = Action::Explain { as_json: false };
            }
            Long("json") => as_json = true,
            Long("health") => parsed.action = Action::Health,
            Long("metrics") => parsed.action = Action::Metrics,
            Long("check") => parsed.action = Action::Check,
            Long("install-layers") => parsed.action = Action::InstallLayers,
            Short('V') | Long("version") => parsed.action = Action::Version,
            Short('h') => parsed.action = Action::Help,
            // What `docker run IMAGE --help` asks is how the image is used.
            Long("help") => parsed.action = Action::Usage,
            Value(command) => {
                parsed.command.push(command);
                parsed.command.extend(parser.raw_args().map_err(lower)?);
                break;
            }
            Long(name) => {
                let hint = suggest::hint(name, LONG.iter().copied()).replace('`', "");
                return Err(format!("unknown option --{name}{hint}"));
            }
            Short(name) => return Err(format!("unknown option -{name}")),
        }
    }
    match (&mut parsed.action, as_json) {
        (Action::Explain { as_json }, asked) => *as_json = asked,
        (_, true) => return Err("--json goes with --explain".to_owned()),
        _ => {}
    }
    let most = match parsed.action {
        Action::Explain { .. } | Action::InstallLayers => 1,
        Action::Health | Action::Metrics => 0,
        _ => usize::MAX,
    };
    if let Some(word) = parsed.command.get(most) {
        return Err(format!("`{}` is one word too many", word.display()));
    }
    Ok(parsed)
}

/// Whether a command line asks for `--health`, also one that is wrong otherwise: what Docker makes of
/// an exit code is the same.
#[must_use]
pub fn is_health(words: &[OsString]) -> bool {
    let takes_value = |word: &str| {
        ["-l", "-c", "-p", "-e", "-r"].contains(&word)
            || [
                "--log-level",
                "--conf",
                "--parent-death",
                "--exit-map",
                "--rewrite",
            ]
            .contains(&word)
    };
    let mut words = words.iter().map(|word| word.to_string_lossy());
    while let Some(word) = words.next() {
        match &*word {
            "--health" => return true,
            "--" => return false,
            word if takes_value(word) => drop(words.next()),
            word if word.starts_with('-') => {}
            _ => return false,
        }
    }
    false
}

fn text(parser: &mut lexopt::Parser) -> Result<String, String> {
    Ok(parser
        .value()
        .map_err(lower)?
        .to_string_lossy()
        .into_owned())
}

fn lower(error: lexopt::Error) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::exit::Exit;

    fn words(text: &str) -> Result<Arguments, String> {
        parse(text.split_whitespace().map(OsString::from))
    }

    #[test]
    fn c3_options_end_at_the_command() {
        let parsed = words("-l debug ls -la -c x --help").unwrap();
        assert_eq!(parsed.log_level, Some(Level::Debug));
        assert_eq!(parsed.conf, None);
        assert_eq!(parsed.command, ["ls", "-la", "-c", "x", "--help"]);
        assert_eq!(words("-- -odd").unwrap().command, ["-odd"]);
        assert_eq!(words("check").unwrap().command, ["check"]);
        assert_eq!(
            words("sh -- -c x").unwrap().command,
            ["sh", "--", "-c", "x"]
        );
    }

    #[test]
    fn every_spelling_of_a_value() {
        for text in [
            "-lDEBUG x",
            "-l=DEBUG x",
            "--log-level DEBUG x",
            "--log-level=10 x",
        ] {
            assert_eq!(words(text).unwrap().log_level, Some(Level::Debug), "{text}");
        }
        assert_eq!(words("-c f x").unwrap().conf, Some(PathBuf::from("f")));
    }

    #[test]
    fn the_options_of_other_inits_go_over_the_settings() {
        let parsed = words("-gs -p HUP -e 143 -e3:4 -r15:3 --rewrite USR1:0 x -g").unwrap();
        assert_eq!(parsed.command, ["x", "-g"]);
        let mut plan = Plan {
            parent_death: Some(libc::SIGTERM),
            ..Plan::default()
        };
        parsed.plan.apply(&mut plan);
        assert!(plan.group);
        assert_eq!(plan.subreaper, Subreaper::Always);
        assert_eq!(plan.parent_death, Some(libc::SIGHUP));
        assert_eq!(plan.exit_map.status(Exit::Code(143), None), 0);
        assert_eq!(plan.exit_map.status(Exit::Code(3), None), 4);
        assert_eq!(plan.rewrite.get(libc::SIGTERM), Some(libc::SIGQUIT));
        assert_eq!(plan.rewrite.get(libc::SIGUSR1), None);
        for bad in ["-p FOO x", "-e 256 x", "-r 15 x", "-r"] {
            assert!(words(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn explain_takes_a_file_and_health_nothing() {
        let parsed = words("--explain").unwrap();
        assert_eq!(parsed.action, Action::Explain { as_json: false });
        for text in ["--json --explain f", "--explain --json f"] {
            let parsed = words(text).unwrap();
            assert_eq!(parsed.action, Action::Explain { as_json: true }, "{text}");
            assert_eq!(parsed.command, ["f"], "{text}");
        }
        assert_eq!(
            words("--explain f --json").unwrap_err(),
            "`--json` is one word too many"
        );
        assert!(words("--json x").unwrap_err().contains("--explain"));
        assert_eq!(words("--health").unwrap().action, Action::Health);
        assert!(words("--health x").is_err());
        assert_eq!(words("--metrics").unwrap().action, Action::Metrics);
        assert!(words("--metrics x").is_err());
        assert_eq!(words("explain").unwrap().action, Action::Run);
        let parsed = words("--install-layers /l").unwrap();
        assert_eq!(parsed.action, Action::InstallLayers);
        assert_eq!(parsed.command, ["/l"]);
        assert!(words("--install-layers /l x").is_err());
        for (text, expected) in [
            ("--health", true),
            ("-z --health", true),
            ("-l nope --health", true),
            ("--health --nope", true),
            ("-z x --health", false),
            ("-- --health", false),
            ("x", false),
        ] {
            let all: Vec<OsString> = text.split(' ').map(OsString::from).collect();
            assert_eq!(is_health(&all), expected, "{text}");
        }
    }

    #[test]
    fn c1_what_is_wrong_is_said() {
        assert!(words("").unwrap().command.is_empty());
        assert_eq!(words("--help").unwrap().action, Action::Usage);
        assert_eq!(words("-h").unwrap().action, Action::Help);
        assert!(words("-l").is_err());
        assert!(
            words("-l NOPE x")
                .unwrap_err()
                .contains("unknown log level")
        );
        assert!(
            words("--chek x")
                .unwrap_err()
                .contains("did you mean check?")
        );
        assert!(words("-z x").is_err());
        assert_eq!(words("--check").unwrap().action, Action::Check);
    }
}
