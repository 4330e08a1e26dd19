//! The keys of the `disco` section about what the container says of itself: its logs and metrics, where
//! they are written to and where they go.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Section;
use crate::contract::bytes;
use crate::contract::logline::Level;
use crate::contract::suggest;

/// What logs and metrics are written into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Pipes, made by a disco that is PID 1 and stays, where their directory is the container's own.
    Auto,
    /// Pipes.
    Fifo,
    /// Regular files, which are read as they grow.
    File,
    /// Nothing is made and nothing is read.
    Off,
}

/// Where metrics can be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// Over TCP.
    Tcp(SocketAddr),
    /// On a socket in the filesystem.
    Unix(PathBuf),
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

/// How many lines a second of each level get through; what is not named is not limited.
pub type Rates = BTreeMap<Level, u32>;

/// What becomes of logs and metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataSettings {
    /// What they are written into.
    pub kind: Kind,
    /// Whether that was said in the settings, which then count before the contract.
    pub is_given: bool,
    /// The same for logs or metrics alone, where the contract says so.
    pub logs_kind: Option<Kind>,
    /// The same.
    pub metrics_kind: Option<Kind>,
    /// Where `logs` and `metrics/2.0` are.
    pub dir: PathBuf,
    /// Further files and directories whose lines are log lines.
    pub tail: Vec<PathBuf>,
    /// Whether files that are there at the first start are read from their end.
    pub from_end: bool,
    /// Whether `key=value` pairs become fields, in JSON.
    pub fields: bool,
    /// The levels whose lines go to stdout.
    pub stdout: Vec<Level>,
    /// How many lines get through.
    pub rates: Rates,
    /// Bytes of a line up to which it stays whole.
    pub line: usize,
    /// Where metrics can be had.
    pub listen: Option<Listen>,
    /// How many series there may be.
    pub series: usize,
    /// After what time without a word a series is forgotten.
    pub expire: Option<Duration>,
}

/// Shorter lines would be cut for no good.
const SHORTEST_LINE: u64 = 1024;
/// Longer ones are no lines.
const LONGEST_LINE: u64 = 8 << 20;

impl DataSettings {
    /// The path of the log.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.dir.join("logs")
    }

    /// The path of the metrics.
    #[must_use]
    pub fn metrics(&self) -> PathBuf {
        self.dir.join("metrics/2.0")
    }

    /// The setting, if there is one, that nobody honours who is gone when the command runs.
    #[must_use]
    pub fn must_stay(&self) -> Option<&'static str> {
        let all = [
            ("data", is_made(Some(self.kind))),
            ("tail", !self.tail.is_empty()),
            ("metrics", self.listen.is_some()),
        ];
        all.iter().find(|(_, is_set)| *is_set).map(|(key, _)| *key)
    }

    /// The key of the contract, if there is one, of which the same is true.
    #[must_use]
    pub fn asked_by_contract(&self) -> Option<&'static str> {
        let all = [("logs", self.logs_kind), ("metrics", self.metrics_kind)];
        all.iter()
            .find(|(_, kind)| is_made(*kind))
            .map(|(key, _)| *key)
    }

    /// Takes everything back: somebody else does it.
    pub fn leave(&mut self) {
        self.kind = Kind::Off;
        (self.logs_kind, self.metrics_kind) = (None, None);
        self.tail.clear();
        self.listen = None;
    }
}

fn is_made(kind: Option<Kind>) -> bool {
    matches!(kind, Some(Kind::Fifo | Kind::File))
}

/// A path that means the same wherever disco is.
pub(super) fn absolute(text: &str) -> Result<PathBuf, String> {
    let is_absolute = text.starts_with('/') && !text.contains('\0');
    let path = Path::new(text).components().collect();
    let refused = || format!("`{text}` is no absolute path; expected one that begins with `/`");
    is_absolute.then_some(path).ok_or_else(refused)
}

pub(super) fn read(section: &Section<'_>) -> DataSettings {
    let kinds = &[
        ("auto", Kind::Auto),
        ("fifo", Kind::Fifo),
        ("file", Kind::File),
        ("off", Kind::Off),
    ];
    let paths = |text: &str| {
        let paths = text.split(':').filter(|path| !path.is_empty());
        let path = |text: &str| match text.contains(['*', '?']) {
            true => Err(format!(
                "`{text}` looks like a pattern, which is not read as one; name the directory"
            )),
            false => absolute(text),
        };
        paths.map(path).collect::<Result<Vec<_>, _>>()
    };
    let line = |text: &str| {
        let bytes = bytes::parse(text)?;
        match usize::try_from(bytes) {
            Ok(size) if (SHORTEST_LINE..=LONGEST_LINE).contains(&bytes) => Ok(size),
            _ => Err(format!("`{text}` is out of range; expected 1K to 8M")),
        }
    };
    let levels = |text: &str| {
        super::raw::split_list(text)
            .iter()
            .map(|word| level(word))
            .collect()
    };
    let kind = match section.choice("data", kinds, Kind::Auto) {
        // Who says where wants it.
        Kind::Auto if section.has("data_dir") => Kind::Fifo,
        kind => kind,
    };
    DataSettings {
        kind,
        is_given: section.has("data"),
        logs_kind: None,
        metrics_kind: None,
        dir: section
            .parsed("data_dir", absolute)
            .unwrap_or_else(|| "/data".into()),
        tail: section.parsed("tail", paths).unwrap_or_default(),
        from_end: section.choice("tail_from", &[("beginning", false), ("end", true)], false),
        fields: section.flag("logs_fields", &[], false),
        stdout: section.parsed("logs_stdout", levels).unwrap_or_default(),
        rates: section.parsed("logs_rate", rates).unwrap_or_default(),
        line: section.parsed("logs_line", line).unwrap_or(2 << 20),
        listen: section.parsed("metrics", listen).flatten(),
        series: section.number("metrics_limit", 10_000),
        expire: section.limit("metrics_expire", None),
    }
}

fn level(word: &str) -> Result<Level, String> {
    Level::parse(word.as_bytes()).ok_or_else(|| {
        let names = Level::ALL.map(|level| level.name().to_ascii_lowercase());
        let hint = suggest::hint(word, names.iter().map(String::as_str));
        format!("`{word}` is no level{hint}; expected one such as `debug` or `info`")
    })
}

/// `100` for every level, or `debug:100,info:1000`.
fn rates(text: &str) -> Result<Rates, String> {
    let mut rates = Rates::new();
    for item in super::raw::split_list(text) {
        let expected = || {
            format!("`{item}` is no rate; expected lines a second, such as `1000` or `debug:100`")
        };
        let number = |text: &str| text.trim().parse::<u32>().ok().filter(|rate| *rate > 0);
        match item.split_once(':') {
            None => {
                let rate = number(&item).ok_or_else(expected)?;
                for level in Level::ALL {
                    rates.entry(level).or_insert(rate);
                }
            }
            Some((name, rate)) => {
                let rate = number(rate).ok_or_else(expected)?;
                let label = level(name.trim())?.label();
                let same = Level::ALL.iter().filter(|level| level.label() == label);
                rates.extend(same.map(|level| (*level, rate)));
            }
        }
    }
    Ok(rates)
}

/// `off`, a port, `:PORT`, `HOST:PORT` with a host in numbers, or the path of a socket. A port alone is the
/// loopback's; `:PORT` is every interface's, as with everybody else.
fn listen(text: &str) -> Result<Option<Listen>, String> {
    let port = |text: &str| text.parse::<u16>().ok();
    if text == "off" {
        return Ok(None);
    }
    if text.starts_with('/') || text.starts_with("unix:") {
        let path = text
            .strip_prefix("unix://")
            .or_else(|| text.strip_prefix("unix:"));
        return absolute(path.unwrap_or(text)).map(|path| Some(Listen::Unix(path)));
    }
    for (text, host) in [
        (Some(text), Ipv4Addr::LOCALHOST),
        (text.strip_prefix(':'), Ipv4Addr::UNSPECIFIED),
    ] {
        if let Some(port) = text.and_then(port) {
            return Ok(Some(Listen::Tcp((host, port).into())));
        }
    }
    let text = text
        .strip_prefix("localhost:")
        .map_or_else(|| text.to_owned(), |port| format!("127.0.0.1:{port}"));
    match text.parse() {
        Ok(address) => Ok(Some(Listen::Tcp(address))),
        Err(_) => Err(format!(
            "`{text}` is no address; expected `9102` or `127.0.0.1:9102` for the container itself, `:9102` or `[::]:9102` for others as well, the path of a socket, or `off`"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::checked;
    use super::super::{Mode, Settings};
    use super::*;

    #[test]
    fn a30_nothing_set_is_the_default() {
        let data = checked("", &[]).unwrap().data;
        assert_eq!(data.kind, Kind::Auto);
        assert_eq!(data.logs(), Path::new("/data/logs"));
        assert_eq!(data.metrics(), Path::new("/data/metrics/2.0"));
        assert_eq!(
            (data.listen.clone(), data.tail.len(), data.line),
            (None, 0, 2 << 20)
        );
        assert_eq!(data.must_stay(), None);
    }

    #[test]
    fn every_key_is_read() {
        let data = checked(
            "disco.data=file|disco.data_dir=/x/|disco.tail=/var/log:/var/log/a.log|disco.tail_from=end\
             |disco.logs_fields=yes|disco.logs_stdout=info,Notice|disco.logs_rate=9,warn:7|disco.logs_line=4K\
             |disco.metrics=:9102|disco.metrics_limit=5|disco.metrics_expire=1h",
            &[],
        )
        .unwrap()
        .data;
        assert_eq!(data.kind, Kind::File);
        assert_eq!(data.logs(), Path::new("/x/logs"));
        assert_eq!(
            data.tail,
            [Path::new("/var/log"), Path::new("/var/log/a.log")]
        );
        assert!(data.from_end && data.fields);
        assert_eq!(data.stdout, [Level::Info, Level::Notice]);
        assert_eq!(
            (data.rates[&Level::Debug], data.rates[&Level::Warning]),
            (9, 7)
        );
        assert_eq!(
            (data.line, data.series, data.expire),
            (4096, 5, Some(Duration::from_secs(3600)))
        );
    }

    #[test]
    fn a32_the_endpoint_is_where_it_was_asked_for() {
        let tcp = |text: &str| Some(Listen::Tcp(text.parse().unwrap()));
        for (text, expected) in [
            ("off", None),
            ("9102", tcp("127.0.0.1:9102")),
            (":9102", tcp("0.0.0.0:9102")),
            ("localhost:9102", tcp("127.0.0.1:9102")),
            ("0.0.0.0:9102", tcp("0.0.0.0:9102")),
            ("[::]:9102", tcp("[::]:9102")),
            ("/run/m.sock", Some(Listen::Unix("/run/m.sock".into()))),
            (
                "unix:///run/m.sock",
                Some(Listen::Unix("/run/m.sock".into())),
            ),
        ] {
            assert_eq!(listen(text), Ok(expected), "{text}");
        }
        for text in [
            "",
            "on",
            "host:9102",
            "127.0.0.1",
            "127.0.0.1:99999",
            "unix:run/m",
        ] {
            assert!(listen(text).is_err(), "{text}");
        }
    }

    #[test]
    fn every_mistake_is_told_with_its_remedy() {
        let told = checked(
            "disco.data=pipe|disco.data_dir=data|disco.tail=/a:b|disco.tail_from=top|disco.logs_stdout=warnign\
             |disco.logs_rate=x|disco.logs_line=9|disco.metrics=world|disco.metrics_limit=-1|disco.logs_rat=1",
            &[],
        )
        .unwrap_err();
        assert_eq!(told.len(), 10, "{told:#?}");
        assert!(
            told.iter()
                .any(|line| line.contains("did you mean `warning`?")),
            "{told:#?}"
        );
    }

    #[test]
    fn what_needs_an_init_cannot_be_had_without() {
        for key in [
            "data=fifo",
            "data=file",
            "data_dir=/a",
            "tail=/a",
            "metrics=1",
        ] {
            let settings: Settings = checked(&format!("disco.mode=exec|disco.{key}"), &[]).unwrap();
            assert_eq!(settings.mode, Mode::Exec);
            let conflict = settings.conflict().unwrap().to_string();
            let named = if key.starts_with("data") {
                "data"
            } else {
                key.split('=').next().unwrap()
            };
            assert!(conflict.contains(&format!("`disco.{named}`")), "{conflict}");
            assert!(checked(&format!("disco.{key}"), &[]).unwrap().wants_init());
        }
        assert_eq!(checked("disco.mode=exec", &[]).unwrap().conflict(), None);
    }
}
