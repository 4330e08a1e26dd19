//! How a command is told to be well: a request, a connection or a command of its own, and how long
//! that may take. Types and parsers, from a setting and from a contract file; nothing here asks.

use std::time::Duration;

use serde_json::{Map, Value};

use super::line::{self, Line};
use super::{duration, suggest};

/// How long a probe may take where nobody says.
pub const TIMEOUT: Duration = Duration::from_secs(5);

/// A probe and its limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// What is asked.
    pub check: Check,
    /// How long the answer may take; `None` where nobody says.
    pub timeout: Option<Duration>,
}

/// What is asked of a command that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    /// A GET that is answered with a status from 200 to 399.
    Http {
        /// Whether over TLS.
        tls: bool,
        /// Name or address, without brackets.
        host: String,
        /// The port.
        port: u16,
        /// Path and query, with its slash.
        path: String,
    },
    /// A connection that is accepted.
    Tcp {
        /// Name or address, without brackets.
        host: String,
        /// The port.
        port: u16,
    },
    /// A program that ends with 0, and its arguments.
    Command(Vec<String>),
    /// A line that a shell is to read; split at blanks where there is none.
    Line(String),
}

impl Check {
    /// Parses the text of a setting: a URL `http://…`, `https://…` or `tcp://…`, else a command.
    ///
    /// # Errors
    /// What was expected, as a fragment.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text.split_once("://") {
            Some((scheme @ ("http" | "https" | "tcp"), rest)) => url(scheme, rest, text),
            Some((scheme, _)) if scheme.chars().all(|c| c.is_ascii_alphabetic()) => Err(format!(
                "`{scheme}` is no scheme of a probe; expected `http`, `https`, `tcp`, or a command"
            )),
            _ => command(&Value::String(text.to_owned())).map_err(|_| {
                "is no command; expected one, or `http://…`, `https://…`, `tcp://…`".to_owned()
            }),
        }
    }
}

impl Probe {
    /// Reads the value of a contract's `health` key: a command as a string or a list, or a map of
    /// `command`, `http` or `tcp` with a `timeout`.
    ///
    /// # Errors
    /// The key that is wrong, below `health`, or empty for all of it; and what was expected.
    pub fn from_value(value: &Value) -> Result<Self, (String, String)> {
        let at = |key: &str| {
            let key = key.to_owned();
            move |message: String| (key, message)
        };
        let Value::Object(map) = value else {
            let check = command(value).map_err(at(""))?;
            return Ok(Self {
                check,
                timeout: None,
            });
        };
        known(map, &["command", "http", "tcp", "timeout"])?;
        let timeout = map.get("timeout").map(limit).transpose();
        let timeout = timeout.map_err(at("timeout"))?;
        let mut checks = ["command", "http", "tcp"].into_iter();
        let given: Vec<_> = checks
            .by_ref()
            .filter_map(|key| Some((key, map.get(key)?)))
            .collect();
        let check = match given[..] {
            [("command", value)] => command(value).map_err(at("command"))?,
            [("http", value)] => {
                http(value).map_err(|(key, message)| (joined("http", &key), message))?
            }
            [("tcp", value)] => tcp(value).map_err(at("tcp"))?,
            _ => {
                let message = "expected one of `command`, `http` and `tcp`".to_owned();
                return Err((String::new(), message));
            }
        };
        Ok(Self { check, timeout })
    }
}

fn joined(outer: &str, inner: &str) -> String {
    if inner.is_empty() {
        outer.to_owned()
    } else {
        format!("{outer}.{inner}")
    }
}

fn known(map: &Map<String, Value>, keys: &[&str]) -> Result<(), (String, String)> {
    match map.keys().find(|key| !keys.contains(&key.as_str())) {
        Some(key) => {
            let hint = suggest::hint(key, keys.iter().copied());
            Err((key.clone(), format!("unknown key{hint}")))
        }
        None => Ok(()),
    }
}

fn limit(value: &Value) -> Result<Duration, String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return Err("expected a duration such as `5s`".to_owned()),
    };
    let limit = duration::parse(&text)?;
    if limit.is_zero() {
        return Err("nothing answers in no time; expected a duration such as `5s`".to_owned());
    }
    Ok(limit)
}

fn command(value: &Value) -> Result<Check, String> {
    match line::read(value) {
        Some(Line::Words(words)) => Ok(Check::Command(words)),
        Some(Line::Shell(line)) => Ok(Check::Line(line)),
        None => Err("expected a command, as a string or a list of words".to_owned()),
    }
}

fn http(value: &Value) -> Result<Check, (String, String)> {
    let whole = |message: String| (String::new(), message);
    let map = match value {
        Value::String(text) => {
            let found = text.split_once("://");
            let found = found.filter(|(scheme, _)| matches!(*scheme, "http" | "https"));
            let expected = || {
                whole(format!(
                    "`{text}` is no URL; expected `http://host:port/path`"
                ))
            };
            let (scheme, rest) = found.ok_or_else(expected)?;
            return url(scheme, rest, text).map_err(whole);
        }
        Value::Object(map) => map,
        _ => {
            let message = "expected a URL, or a map of `port`, `path`, `host`, `scheme`";
            return Err(whole(message.to_owned()));
        }
    };
    known(map, &["port", "path", "host", "scheme", "method"])?;
    let text = |key: &'static str, default: &str| match map.get(key) {
        None => Ok(default.to_owned()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(_) => Err((key.to_owned(), "expected a string".to_owned())),
    };
    // A later form of the file names it; a probe never does anything else than look.
    if !text("method", "get")?.eq_ignore_ascii_case("get") {
        let message = "expected `get`, by which a probe asks, or no such key".to_owned();
        return Err(("method".to_owned(), message));
    }
    let scheme = text("scheme", "http")?.to_ascii_lowercase();
    let tls = match scheme.as_str() {
        "http" => false,
        "https" => true,
        _ => {
            let message = format!("`{scheme}` is neither `http` nor `https`");
            return Err(("scheme".to_owned(), message));
        }
    };
    let number = match map.get("port") {
        None => Ok(if tls { 443 } else { 80 }),
        Some(value) => port(&scalar(value)),
    };
    let path = text("path", "/")?;
    let slash = if path.starts_with('/') { "" } else { "/" };
    Ok(Check::Http {
        tls,
        host: bare(&text("host", "127.0.0.1")?).to_owned(),
        port: number.map_err(|message| ("port".to_owned(), message))?,
        path: sendable(format!("{slash}{path}")).map_err(|message| ("path".to_owned(), message))?,
    })
}

fn tcp(value: &Value) -> Result<Check, String> {
    let text = scalar(value);
    if !text.contains(':') {
        let (host, port) = ("127.0.0.1".to_owned(), port(&text)?);
        return Ok(Check::Tcp { host, port });
    }
    let (host, port) = authority(text.strip_prefix("tcp://").unwrap_or(&text), None)?;
    Ok(Check::Tcp { host, port })
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn url(scheme: &str, rest: &str, whole: &str) -> Result<Check, String> {
    let (place, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    if place.contains('@') {
        return Err("holds a password, which a probe does not send".to_owned());
    }
    if scheme == "tcp" {
        if !matches!(path, "" | "/") {
            return Err(format!("`{whole}` has a path; expected `tcp://host:port`"));
        }
        let (host, port) = authority(place, None)?;
        return Ok(Check::Tcp { host, port });
    }
    let tls = scheme == "https";
    let (host, port) = authority(place, Some(if tls { 443 } else { 80 }))?;
    let path = path.split('#').next().unwrap_or_default();
    let slash = if path.starts_with('/') { "" } else { "/" };
    Ok(Check::Http {
        tls,
        host,
        port,
        path: sendable(format!("{slash}{path}"))?,
    })
}

/// Whatever would break the request in two is no path.
fn sendable(path: String) -> Result<String, String> {
    if path.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(path)
    } else {
        Err("holds blanks or other characters that no URL holds; escape them with `%`".to_owned())
    }
}

fn authority(text: &str, default: Option<u16>) -> Result<(String, u16), String> {
    let is_bare_v6 = text.matches(':').count() > 1 && !text.starts_with('[');
    let (host, number) = match text.rsplit_once(':') {
        Some((host, number)) if !number.ends_with(']') && !is_bare_v6 => (host, Some(number)),
        _ => (text, None),
    };
    let is_name = |c: char| c.is_ascii_alphanumeric() || "-._:%".contains(c);
    let host = bare(host);
    if host.is_empty() || !host.chars().all(is_name) {
        return Err(format!("`{text}` names no host; expected `host:port`"));
    }
    let port = match (number, default) {
        (Some(number), _) => port(number)?,
        (None, Some(port)) => port,
        (None, None) => return Err(format!("`{text}` names no port; expected `host:port`")),
    };
    Ok((host.to_owned(), port))
}

/// Without the brackets of an IPv6 address.
fn bare(host: &str) -> &str {
    let inner = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    inner.unwrap_or(host)
}

fn port(text: &str) -> Result<u16, String> {
    let port = text.parse().ok().filter(|port| *port > 0);
    port.ok_or_else(|| format!("`{text}` is no port; expected a number from 1 to 65535"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn request(tls: bool, host: &str, port: u16, path: &str) -> Check {
        let (host, path) = (host.to_owned(), path.to_owned());
        Check::Http {
            tls,
            host,
            port,
            path,
        }
    }

    fn connection(host: &str, port: u16) -> Check {
        let host = host.to_owned();
        Check::Tcp { host, port }
    }

    fn words(words: &[&str]) -> Check {
        Check::Command(words.iter().map(|word| (*word).to_owned()).collect())
    }

    #[test]
    fn a_setting_is_a_url_or_a_command() {
        for (text, check) in [
            ("http://localhost", request(false, "localhost", 80, "/")),
            ("http://a:8080/b?c=d#e", request(false, "a", 8080, "/b?c=d")),
            ("https://[::1]", request(true, "::1", 443, "/")),
            ("https://[::1]:8443?q", request(true, "::1", 8443, "/?q")),
            ("tcp://db:5432", connection("db", 5432)),
            ("tcp://[::1]:1/", connection("::1", 1)),
            ("pg_isready -h  db", words(&["pg_isready", "-h", "db"])),
            (
                "test -e /x && true",
                Check::Line("test -e /x && true".to_owned()),
            ),
            ("curl -f http://a/", words(&["curl", "-f", "http://a/"])),
        ] {
            assert_eq!(Check::parse(text), Ok(check), "{text}");
        }
        for text in [
            "",
            " ",
            "http://",
            "http://a:0",
            "http://a:99999",
            "tcp://a",
            "tcp://a:1/b",
            "ftp://a",
            "http://u:p@a/",
            "http://a/b c",
            "http://a b/",
        ] {
            assert!(Check::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_contract_may_say_it_in_several_shapes() {
        let timeout = Some(Duration::from_millis(1500));
        for (value, check, limit) in [
            (json!("true"), words(&["true"]), None),
            (json!(["a b", "$c", 1]), words(&["a b", "$c", "1"]), None),
            (
                json!({"command": "a b", "timeout": 1.5}),
                words(&["a", "b"]),
                timeout,
            ),
            (
                json!({"command": ["a"], "timeout": "1500ms"}),
                words(&["a"]),
                timeout,
            ),
            (
                json!({"http": "https://a:1/b"}),
                request(true, "a", 1, "/b"),
                None,
            ),
            (
                json!({"http": {"port": 8080}}),
                request(false, "127.0.0.1", 8080, "/"),
                None,
            ),
            (
                json!({"http": {"port": "8080", "path": "up", "host": "[::1]", "scheme": "HTTPS"}}),
                request(true, "::1", 8080, "/up"),
                None,
            ),
            (json!({"tcp": 5432}), connection("127.0.0.1", 5432), None),
            (
                json!({"tcp": "db:1", "timeout": "1.5s"}),
                connection("db", 1),
                timeout,
            ),
        ] {
            let probe = Probe::from_value(&value);
            assert_eq!(
                probe,
                Ok(Probe {
                    check,
                    timeout: limit
                }),
                "{value}"
            );
        }
    }

    #[test]
    fn what_is_wrong_in_a_contract_is_placed() {
        for (value, place) in [
            (json!(7), ""),
            (json!([]), ""),
            (json!({}), ""),
            (json!({"http": "http://a", "tcp": 1}), ""),
            (json!({"comand": "a"}), "comand"),
            (json!({"command": {}}), "command"),
            (json!({"command": "a", "timeout": 0}), "timeout"),
            (json!({"command": "a", "timeout": []}), "timeout"),
            (json!({"http": "tcp://a:1"}), "http"),
            (json!({"http": {"prt": 1}}), "http.prt"),
            (json!({"http": {"port": 0}}), "http.port"),
            (json!({"http": {"scheme": "ftp"}}), "http.scheme"),
            (json!({"http": {"path": "a\r\nb"}}), "http.path"),
            (json!({"tcp": "db"}), "tcp"),
        ] {
            let (key, message) = Probe::from_value(&value).unwrap_err();
            assert_eq!(key, place, "{value}: {message}");
        }
    }
}
