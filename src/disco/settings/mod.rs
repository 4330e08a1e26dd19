//! Settings as needed: checked once, before anything starts, with all problems at once.
//!
//! Pure apart from the settings file, which [`load`] reads. Each section has its own file; secrets
//! are wrapped so that no log can show them.

pub mod consul;
pub mod contract;
pub mod data;
pub mod env;
pub mod etcd;
pub mod exec;
pub mod flat;
pub mod http;
pub mod otlp;
pub mod plan;
pub mod raw;
pub mod status;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use consul::{Consistency, ConsulSettings};
pub use contract::{Calls, ContractPlace, ContractSettings};
pub use data::DataSettings;
pub use env::EnvSettings;
pub use etcd::{Api, EtcdSettings};
pub use exec::ExecSettings;
pub use flat::FlatSettings;
pub use http::{Endpoint, HttpSettings, Secret, TokenSource};
pub use otlp::OtlpSettings;
pub use status::{Place, StatusSettings};

use crate::contract::problem::Problem;
use crate::contract::{bytes, exit, text};
use crate::disco::init::plan::Plan;
use crate::disco::log;
use raw::{Raw, Section};
use tracing::error;

/// Where the settings file is looked for when `-c` names none.
pub const DEFAULT_FILE: &str = "/usr/share/layercake/disco.conf";
/// Where schemas, rules and handlers are looked for when `disco.path` names nothing.
pub const DEFAULT_PATH: &str = "/usr/share/layercake";
/// The variable that holds settings; removed from the environment of everything disco starts.
pub const VARIABLE: &str = "DISCO_CFG";

/// Whether init stays beside the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Supervise as PID 1 or when something must outlive configuration, else exec.
    Auto,
    /// Init forks the command and stays.
    Supervise,
    /// Init becomes the command; no process of disco remains.
    Exec,
}

/// How the values of a key-value store are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decode {
    /// Every value is a string; the schema decides what else it may be.
    String,
    /// A value that is JSON is that JSON, any other a string.
    Json,
    /// Every value is YAML.
    Yaml,
}

const DECODE: &[(&str, Decode)] = &[
    ("string", Decode::String),
    ("json", Decode::Json),
    ("yaml", Decode::Yaml),
];

/// A source to read, in declared order.
#[derive(Debug, Clone)]
pub enum SourceSettings {
    /// A file or a directory.
    Flat(FlatSettings),
    /// Consul's key-value store, and services from its catalog.
    Consul(ConsulSettings),
    /// etcd, v3 or v2.
    Etcd(EtcdSettings),
    /// Environment variables.
    Env(EnvSettings),
}

/// Everything disco is told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What is logged at all.
    pub log_level: Option<log::Level>,
    /// How it is logged.
    pub log_format: log::Format,
    /// Directories of schemas, rules and handlers, in order.
    pub path: Vec<PathBuf>,
    /// Whether `path` was given, and is not the default.
    pub has_own_path: bool,
    /// Unit of every pause: handler re-dispatch, and the base of retries. Default 1 s.
    pub interval: Duration,
    /// Failures of one handler with the same data that end the container; 0 is no limit. Default 5.
    pub fail_limit: u32,
    /// Time limit of a handler; `None` is no limit. Default 60 s.
    pub handler_timeout: Option<Duration>,
    /// Variables of the container that handlers get beside PATH.
    pub handler_env: Vec<String>,
    /// The directory that stands for the root where files are rendered; `None` is the root.
    pub destdir: Option<PathBuf>,
    /// Longest wait for the configuration; `None`, the default, waits for ever.
    pub deadline: Option<Duration>,
    /// Supervise or exec.
    pub mode: Mode,
    /// How init treats the command.
    pub plan: Plan,
    /// As whom and within what the command runs.
    pub exec: ExecSettings,
    /// Where the contract file is, and how strictly it is held to.
    pub contract: ContractSettings,
    /// How the container is asked how it is.
    pub status: StatusSettings,
    /// What becomes of logs and metrics.
    pub data: DataSettings,
    /// Where metrics are pushed to.
    pub otlp: Option<OtlpSettings>,
    /// Memory that the agent may take, in bytes; `None` is no limit. Default 512 MiB.
    pub agent_memory: Option<u64>,
    /// Processor time that the agent may use without coming to rest; `None` is no limit. Default 10 s.
    pub agent_cpu: Option<Duration>,
    /// In declared order.
    pub sources: Vec<SourceSettings>,
}

const SECTIONS: &[&str] = &["disco", "flat", "consul", "etcd", "env", "otlp"];

/// Reads `DISCO_CFG` and the settings file. The settings come with every problem of both; where
/// there is one, they serve no other purpose than to log it in the form that was asked for.
#[must_use]
pub fn load(
    file: Option<&Path>,
    variable: Option<&OsStr>,
    environment: &dyn Fn(&str) -> Option<String>,
) -> (Settings, Vec<Problem>) {
    let mut problems = Vec::new();
    let mut raw = Raw::default();
    let path = file.unwrap_or(Path::new(DEFAULT_FILE));
    match std::fs::read(path) {
        Ok(bytes) => raw.add_file(path, &bytes, &mut problems),
        // The default file is optional (conformance 4); one that was named is not.
        Err(error) if file.is_none() && error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => {
            let message = format!("cannot read the settings: {error}");
            problems.push(Problem::new(message).in_file(path));
        }
    }
    if let Some(text) = variable {
        raw.add_environment(text, SECTIONS, &mut problems);
    }
    let settings = check(&raw, environment, &mut problems);
    (settings, problems)
}

fn check(
    raw: &Raw,
    environment: &dyn Fn(&str) -> Option<String>,
    problems: &mut Vec<Problem>,
) -> Settings {
    problems.extend(raw.unknown_sections(SECTIONS));
    let section = raw.section("disco", environment);
    let mut settings = general(&section);
    let receiver = section.parsed("otlp", otlp::url);
    let has_receiver = section.has("otlp");
    problems.extend(section.finish());
    let section = raw.section("otlp", environment);
    settings.otlp = otlp::read(&section, receiver);
    if raw.sections().contains(&"otlp") && !has_receiver {
        let message = "is missing; expected the address that metrics are pushed to, such as `http://collector:4318`";
        problems.push(Problem::new(message).at_key("disco.otlp"));
    }
    problems.extend(section.finish());
    for name in raw.sections() {
        let section = raw.section(name, environment);
        settings.sources.push(match name {
            "flat" => SourceSettings::Flat(flat::read(&section)),
            "consul" => SourceSettings::Consul(consul::read(&section)),
            "etcd" => SourceSettings::Etcd(etcd::read(&section)),
            "env" => SourceSettings::Env(env::read(&section)),
            _ => continue,
        });
        problems.extend(section.finish());
    }
    settings
}

fn general(section: &Section<'_>) -> Settings {
    let path = section
        .text("path")
        .unwrap_or_else(|| DEFAULT_PATH.to_owned());
    let has_own_path = section.has("path");
    let interval = section.duration("interval", Duration::from_secs(1));
    Settings {
        log_level: section.parsed("log_level", log::Level::parse),
        log_format: section.choice(
            "log_format",
            &[("text", log::Format::Text), ("json", log::Format::Json)],
            log::Format::Text,
        ),
        path: path
            .split(':')
            .filter(|dir| !dir.is_empty())
            .map(PathBuf::from)
            .collect(),
        has_own_path,
        // A pause of nothing would be a busy loop.
        interval: interval.max(Duration::from_millis(10)),
        fail_limit: section.number("fail_limit", 5),
        handler_timeout: section.limit("handler_timeout", Some(Duration::from_secs(60))),
        handler_env: section.list("handler_env"),
        destdir: section.parsed("destdir", exec::directory),
        deadline: section.limit("deadline", None),
        mode: section.choice(
            "mode",
            &[
                ("auto", Mode::Auto),
                ("supervise", Mode::Supervise),
                ("exec", Mode::Exec),
            ],
            Mode::Auto,
        ),
        plan: plan::read(section),
        exec: exec::read(section),
        contract: contract::read(section),
        status: status::read(section),
        data: data::read(section),
        otlp: None,
        agent_memory: Some(
            section
                .parsed("agent_memory", bytes::parse)
                .unwrap_or(512 << 20),
        )
        .filter(|bytes| *bytes > 0),
        agent_cpu: section.limit("agent_cpu", Some(Duration::from_secs(10))),
        sources: Vec::new(),
    }
}

/// Tells what is wrong with the settings, and returns the exit code for it.
#[must_use]
pub fn refuse(problems: &[Problem]) -> u8 {
    for problem in problems {
        error!("{problem}");
    }
    let problems = text::count(problems.len(), "problem");
    error!("Unable to configure container: {problems} with the settings");
    exit::CONFIG
}

impl Settings {
    /// The defaults, with nowhere to look for anything: there is a command to supervise, and that is all.
    #[must_use]
    pub fn bare(plan: Plan) -> Self {
        let raw = Raw::default();
        let mut bare = Self {
            path: Vec::new(),
            mode: Mode::Supervise,
            plan,
            ..general(&raw.section("disco", &|_| None))
        };
        bare.status.place = Place::Off;
        bare.data.leave();
        bare
    }

    /// The setting, if there is one, that only an init beside the command can honour.
    fn must_stay(&self) -> Option<&'static str> {
        let otlp = || self.otlp.as_ref().map(|_| "otlp");
        let all = self.plan.must_stay().or_else(|| self.status.must_stay());
        all.or_else(|| self.data.must_stay()).or_else(otlp)
    }

    /// Whether `disco.mode=auto` means to stay, whoever we are.
    #[must_use]
    pub fn wants_init(&self) -> bool {
        let has_place = matches!(self.status.place, Place::At(_));
        self.must_stay().is_some() || has_place || self.data.asked_by_contract().is_some()
    }

    /// Whether metrics are shown or sent, for which somebody has to be there.
    #[must_use]
    pub fn serves_metrics(&self) -> bool {
        self.data.listen.is_some() || self.otlp.is_some()
    }

    /// What cannot be had together.
    #[must_use]
    pub fn conflict(&self) -> Option<Problem> {
        let key = self.must_stay().filter(|_| self.mode == Mode::Exec)?;
        let option = match self.plan.must_stay() {
            Some(_) => " or the option of that name",
            None => "",
        };
        let message = format!(
            "`exec` leaves nobody to honour `disco.{key}`{option}; expected `supervise` or `auto`"
        );
        Some(Problem::new(message).at_key("disco.mode"))
    }
}

/// Joins the directories of `disco.path` as they stand in a PATH variable.
#[must_use]
pub fn join_path(path: &[PathBuf]) -> OsString {
    let mut joined = OsString::new();
    for (index, dir) in path.iter().enumerate() {
        if index > 0 {
            joined.push(":");
        }
        joined.push(dir);
    }
    joined
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Checks a `DISCO_CFG` text with an environment of pairs.
    pub(crate) fn checked(
        text: &str,
        environment: &[(&str, &str)],
    ) -> Result<Settings, Vec<String>> {
        let mut raw = Raw::default();
        let mut problems = Vec::new();
        raw.add_environment(OsStr::new(text), SECTIONS, &mut problems);
        let lookup = |name: &str| {
            let found = environment.iter().find(|(n, _)| *n == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let settings = check(&raw, &lookup, &mut problems);
        if problems.is_empty() {
            Ok(settings)
        } else {
            Err(problems.iter().map(ToString::to_string).collect())
        }
    }

    #[test]
    fn defaults_are_the_documented_ones() {
        let settings = checked("", &[]).unwrap();
        assert_eq!(settings.path, [PathBuf::from(DEFAULT_PATH)]);
        assert_eq!(settings.interval, Duration::from_secs(1));
        assert_eq!(settings.fail_limit, 5);
        assert_eq!(settings.handler_timeout, Some(Duration::from_secs(60)));
        assert_eq!(settings.deadline, None);
        assert_eq!(settings.mode, Mode::Auto);
        assert!(settings.sources.is_empty());
    }

    #[test]
    fn c11_one_disco_key_leaves_the_default_path() {
        let settings = checked("disco.interval=0.5", &[]).unwrap();
        assert_eq!(settings.path, [PathBuf::from(DEFAULT_PATH)]);
        assert_eq!(settings.interval, Duration::from_millis(500));
    }

    #[test]
    fn sources_keep_their_declared_order() {
        let settings =
            checked("consul.host=http://a|flat.file=x|consul.token=t|etcd", &[]).unwrap();
        let kinds: Vec<_> = settings
            .sources
            .iter()
            .map(|source| match source {
                SourceSettings::Flat(_) => "flat",
                SourceSettings::Consul(_) => "consul",
                SourceSettings::Etcd(_) => "etcd",
                SourceSettings::Env(_) => "env",
            })
            .collect();
        assert_eq!(kinds, ["consul", "flat", "etcd"]);
    }

    #[test]
    fn all_problems_come_at_once() {
        let told = checked(
            "disco.mode=x|flat.fil=y|zookeeper.host=z|disco.interval=-1",
            &[],
        )
        .unwrap_err();
        assert_eq!(told.len(), 5, "{told:#?}"); // flat.file is missing, too
    }
}
