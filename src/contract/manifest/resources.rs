//! What a container needs of its surroundings: `volumes`, `ports`, `system`, `scale` and `cap` (asyncy
//! Reads the declarations; who provides or checks them is elsewhere.

use serde_json::Value;

use super::command::{read_flag, unknown_keys};
use crate::contract::capability::List;
use crate::contract::report::{Node, Report};
use crate::contract::{duration, quantity, suggest};
use std::time::Duration;

/// A declared volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// `story` and `repo` have a meaning of their own; any other name is a persistent volume.
    pub name: String,
    /// Where it is mounted, absolute.
    pub dest: String,
    /// Whether it may be written to. Default true.
    pub writable: bool,
}

/// A declared port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Port {
    /// Inside the container.
    pub container: u16,
    /// Outside, if the contract names one.
    pub host: Option<u16>,
    /// Whether it is UDP, and not TCP.
    pub udp: bool,
}

impl std::fmt::Display for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}/{}",
            self.container,
            if self.udp { "udp" } else { "tcp" }
        )
    }
}

/// What a container asks of the machine. A key that is absent asks for nothing: the defaults of the
/// documentation (250 GB) cannot be meant as a demand.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct System {
    /// Processors in thousandths.
    pub processors: Option<u64>,
    /// Graphics processors.
    pub gpus: Option<u32>,
    /// Bytes.
    pub memory: Option<u64>,
    /// Whether too little is an end, and not only a warning.
    pub enforce: bool,
}

/// What logs or metrics are written into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// A pipe.
    Fifo,
    /// A regular file.
    File,
    /// Nothing that is read.
    Off,
}

/// Reads `logs` or `metrics`. In files that are something else's as well these keys mean other things,
/// so that what is not understood says nothing.
pub(super) fn read_stream(
    root: &Node<'_>,
    key: &'static str,
    report: &mut Report<'_>,
) -> Option<Stream> {
    let node = root.given(key)?;
    match node.value {
        Value::Bool(true) => Some(Stream::Fifo),
        Value::Bool(false) => Some(Stream::Off),
        Value::String(text) => match text.as_str() {
            "fifo" | "on" => Some(Stream::Fifo),
            "file" => Some(Stream::File),
            "off" => Some(Stream::Off),
            // Most likely a slip; the other uses of these keys are no single words.
            word if word.chars().all(char::is_alphabetic) => {
                let hint = suggest::hint(word, ["fifo", "file", "off"]);
                let message =
                    format!("`{word}` means nothing here{hint}; expected `fifo`, `file` or `off`");
                report.doubt(&node.path, message);
                None
            }
            _ => None,
        },
        _ => None,
    }
}

/// How many instances there are to be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scale {
    /// At least. Default 1.
    pub min: u32,
    /// At most, if that is limited.
    pub max: Option<u32>,
    /// To begin with.
    pub desired: Option<u32>,
    /// What decides.
    pub metric: Metric,
    /// How the metric of many instances is made one.
    pub aggregate: Aggregate,
    /// Percent of the metric above which there are more.
    pub value: u32,
    /// Between two changes.
    pub cooldown: Duration,
    /// Numbers at times.
    pub schedules: Vec<Schedule>,
}

/// What scaling looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Metric {
    /// Processor time.
    #[default]
    Processor,
    /// Memory.
    Memory,
}

/// One number of many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Aggregate {
    /// The mean.
    #[default]
    Average,
    /// The largest.
    Maximum,
    /// The smallest.
    Minimum,
}

/// A number of instances from a time on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// Five fields, as in crontab(5).
    pub cron: String,
    /// How many from then on.
    pub number: u32,
    /// The time zone; UTC by default.
    pub zone: Option<String>,
}

pub(super) const VOLUME_KEYS: &[&str] = &["dest", "target", "mode", "persist", "help"];
pub(super) const SYSTEM_KEYS: &[&str] = &["cpu", "gpu", "memory", "enforce"];
pub(super) const SCALE_KEYS: &[&str] = &[
    "min",
    "max",
    "desired",
    "metric",
    "agg",
    "value",
    "cooldown",
    "schedules",
];
pub(super) const SCHEDULE_KEYS: &[&str] = &["cron", "number", "tz"];

/// Reads `volumes`, and `volume`, the older name.
pub(super) fn read_volumes(root: &Node<'_>, report: &mut Report<'_>) -> Vec<Volume> {
    let mut volumes: Vec<Volume> = Vec::new();
    for node in [root.given("volumes"), root.given("volume")]
        .into_iter()
        .flatten()
    {
        let read = match node.value {
            // `volume: true` says that there is one, and not where.
            Value::Bool(_) => continue,
            Value::Object(_) => node
                .entries()
                .filter_map(|(name, body)| Volume::read(name, &body, report))
                .collect(),
            Value::Array(_) => node
                .items()
                .filter_map(|item| Volume::read_listed(&item, report))
                .collect(),
            _ => {
                report.refuse(&node.path, "expected a map of volumes by name");
                Vec::new()
            }
        };
        for volume in read {
            if volumes.iter().any(|other| other.dest == volume.dest) {
                report.refuse(
                    &node.path,
                    format!("two volumes are to be at `{}`", volume.dest),
                );
            } else {
                volumes.push(volume);
            }
        }
    }
    volumes
}

impl Volume {
    fn read(name: &str, node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        let (dest, writable) = match node.value {
            Value::Null | Value::Bool(_) => return None,
            Value::String(text) => split_mode(text),
            Value::Object(_) => {
                let known = |key: &str| VOLUME_KEYS.contains(&key) || key == "name";
                unknown_keys(node, known, VOLUME_KEYS, report);
                let dest = node.given("dest").or_else(|| node.given("target"));
                let Some(dest) = dest else {
                    report.refuse(
                        &node.path,
                        "has no `dest`; expected where it is mounted, such as `dest: /data`",
                    );
                    return None;
                };
                let mode = node.given("mode");
                let writable = match mode.as_ref().map(|mode| mode.value.as_str()) {
                    None | Some(Some("rw")) => true,
                    Some(Some("ro")) => false,
                    Some(_) => {
                        let path = mode.map(|mode| mode.path).unwrap_or_default();
                        report.refuse(&path, "expected `rw` or `ro`");
                        true
                    }
                };
                let Some(text) = dest.value.as_str() else {
                    report.refuse(&dest.path, "expected an absolute path");
                    return None;
                };
                (text, writable)
            }
            _ => {
                report.refuse(
                    &node.path,
                    "expected where it is mounted, or a map with `dest`",
                );
                return None;
            }
        };
        let is_root = dest.trim_start_matches('/').is_empty();
        if !dest.starts_with('/') || is_root || dest.contains('\0') {
            report.refuse(
                &node.path,
                "expected an absolute path under `dest`, and not the root",
            );
            return None;
        }
        Some(Self {
            name: name.to_owned(),
            dest: dest.to_owned(),
            writable,
        })
    }

    /// `/path`, `/path:ro`, or a map with `name`.
    fn read_listed(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        let name = node.given("name").and_then(|name| name.scalar());
        let text = node
            .value
            .as_str()
            .map(|text| split_mode(text).0.to_owned());
        if let Some(name) = name.or(text) {
            return Self::read(&name, node, report);
        }
        report.refuse(
            &node.path,
            "expected a path, or a map with `name` and `dest`",
        );
        None
    }
}

fn split_mode(text: &str) -> (&str, bool) {
    match text.rsplit_once(':') {
        Some((path, "ro")) => (path, false),
        Some((path, "rw")) => (path, true),
        _ => (text, true),
    }
}

/// Reads `ports`: `8080`, `8080:80`, `53/udp`.
pub(super) fn read_ports(root: &Node<'_>, report: &mut Report<'_>) -> Vec<Port> {
    let Some(node) = root.given("ports") else {
        return Vec::new();
    };
    let nodes: Vec<_> = match node.value {
        Value::Array(_) => node.items().collect(),
        _ => vec![node],
    };
    let mut ports: Vec<Port> = Vec::new();
    for node in nodes {
        match node.scalar().as_deref().and_then(Port::parse) {
            Some(port) if ports.contains(&port) => {}
            Some(port) => ports.push(port),
            None => report.refuse(
                &node.path,
                "expected a port from 1 to 65535, such as `8080`, `8080:80` or `53/udp`",
            ),
        }
    }
    ports
}

impl Port {
    /// Reads `[HOST:]CONTAINER[/tcp|/udp]`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (text, udp) = match text.trim().split_once('/') {
            None => (text.trim(), false),
            Some((text, "tcp")) => (text, false),
            Some((text, "udp")) => (text, true),
            Some(_) => return None,
        };
        let number = |text: &str| {
            let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse::<u16>().ok().filter(|n| is_plain && *n > 0)
        };
        let (host, container) = match text.split_once(':') {
            None => (None, number(text)?),
            Some((host, container)) => (Some(number(host)?), number(container)?),
        };
        Some(Self {
            container,
            host,
            udp,
        })
    }
}

impl System {
    pub(super) fn read(root: &Node<'_>, report: &mut Report<'_>) -> Self {
        let Some(node) = root.given("system") else {
            return Self::default();
        };
        if !node.value.is_object() {
            report.refuse(&node.path, "expected a map with `cpu`, `gpu` and `memory`");
            return Self::default();
        }
        unknown_keys(&node, |key| SYSTEM_KEYS.contains(&key), SYSTEM_KEYS, report);
        let mut amount = |key, parse: fn(&str) -> Result<u64, String>| {
            let given = node.given(key)?;
            let text = given.scalar().unwrap_or_default();
            parse(&text)
                .map_err(|message| report.refuse(&given.path, message))
                .ok()
        };
        let processors = amount("cpu", quantity::processors);
        let memory = amount("memory", quantity::memory);
        let gpus = amount("gpu", |text| {
            let number: Result<u32, _> = text.parse();
            number
                .map(u64::from)
                .map_err(|_| format!("`{text}` is no number of graphics processors"))
        });
        let enforce = match node.given("enforce") {
            Some(given) if given.value == "fail" => true,
            Some(given) if given.value == "warn" => false,
            _ => read_flag(&node, "enforce", false, report),
        };
        Self {
            processors,
            memory,
            gpus: gpus.and_then(|number| u32::try_from(number).ok()),
            enforce,
        }
    }
}

impl Scale {
    pub(super) fn read(root: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        let node = root.given("scale")?;
        let mut scale = Self {
            min: 1,
            value: 80,
            cooldown: Duration::from_secs(60),
            ..Self::default()
        };
        match node.value {
            Value::Number(_) => {
                let number = whole(&node, report)?;
                (scale.min, scale.desired) = (number, Some(number));
                return Some(scale);
            }
            Value::Object(_) => {}
            // The documentation itself has no more than a mark that this is to be done.
            Value::Array(_) => {
                report.warn(
                    &node.path,
                    "is ignored; expected a number, or a map with `min` and `max`",
                );
                return None;
            }
            _ => {
                report.refuse(
                    &node.path,
                    "expected a number, or a map with `min` and `max`",
                );
                return None;
            }
        }
        unknown_keys(&node, |key| SCALE_KEYS.contains(&key), SCALE_KEYS, report);
        let mut number = |key| whole(&node.given(key)?, report);
        scale.min = number("min").unwrap_or(scale.min);
        scale.max = number("max");
        scale.desired = number("desired");
        scale.value = number("value").unwrap_or(scale.value);
        if let Some(given) = node.given("metric") {
            match given.value.as_str() {
                Some("cpu") => scale.metric = Metric::Processor,
                Some("mem" | "memory") => scale.metric = Metric::Memory,
                _ => report.refuse(&given.path, "expected `cpu` or `mem`"),
            }
        }
        if let Some(given) = node.given("agg") {
            match given.value.as_str() {
                Some("avg") => scale.aggregate = Aggregate::Average,
                Some("max") => scale.aggregate = Aggregate::Maximum,
                Some("min") => scale.aggregate = Aggregate::Minimum,
                _ => report.refuse(&given.path, "expected `avg`, `max` or `min`"),
            }
        }
        if let Some(given) = node.given("cooldown") {
            match duration::parse(&given.scalar().unwrap_or_default()) {
                Ok(cooldown) => scale.cooldown = cooldown,
                Err(message) => report.refuse(&given.path, message),
            }
        }
        for item in node.given("schedules").iter().flat_map(Node::items) {
            scale.schedules.extend(Schedule::read(&item, report));
        }
        if scale.max.is_some_and(|max| max < scale.min) {
            report.refuse(&node.path, "`max` is less than `min`");
        }
        Some(scale)
    }
}

impl Schedule {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        unknown_keys(
            node,
            |key| SCHEDULE_KEYS.contains(&key),
            SCHEDULE_KEYS,
            report,
        );
        let cron = node.given("cron").and_then(|cron| cron.scalar());
        let cron = cron.filter(|cron| cron.split_whitespace().count() == 5);
        let number = node
            .given("number")
            .and_then(|number| whole(&number, report));
        if cron.is_none() || number.is_none() {
            report.refuse(
                &node.path,
                "expected `cron` with five fields, such as `0 8 * * 1-5`, and a `number`",
            );
        }
        Some(Self {
            cron: cron?,
            number: number?,
            zone: node.given("tz").and_then(|zone| zone.scalar()),
        })
    }
}

fn whole(node: &Node<'_>, report: &mut Report<'_>) -> Option<u32> {
    let number = node.value.as_u64().and_then(|n| u32::try_from(n).ok());
    if number.is_none() {
        report.refuse(&node.path, "expected a whole number");
    }
    number
}

/// Reads `cap`: the capabilities that the command keeps, all others being stripped; `None` where it is
/// absent or `default`, and nothing is to change.
pub(super) fn read_capabilities(root: &Node<'_>, report: &mut Report<'_>) -> Option<List> {
    let node = root.get("cap")?;
    let words: Option<Vec<String>> = match node.value {
        // `cap:` with nothing below it, and `cap: []`.
        Value::Null => Some(Vec::new()),
        Value::Array(_) => node.items().map(|item| item.scalar()).collect(),
        Value::String(text) if text == "default" => return None,
        Value::String(text) => Some(vec![text.clone()]),
        _ => None,
    };
    let Some(words) = words else {
        report.refuse(
            &node.path,
            "expected a list of capabilities such as `chown`",
        );
        return None;
    };
    let mut all = List::default();
    for (index, word) in words.iter().enumerate() {
        match List::parse(word) {
            Ok(list) => {
                all.all |= list.all;
                all.named = all.named.or(list.named);
            }
            Err(message) => {
                let path = node
                    .items()
                    .nth(index)
                    .map_or(node.path.clone(), |item| item.path);
                report.refuse(&path, message);
            }
        }
    }
    Some(all)
}
