//! What every source over HTTP is told: endpoints, TLS, tokens. Shared by `consul` and `etcd`.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::Section;

/// A token or password; prints as `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Where a token comes from.
#[derive(Debug, Clone)]
pub enum TokenSource {
    /// The token itself.
    Text(Secret),
    /// A file, read again for each connection so that rotation works.
    File(PathBuf),
}

/// One server of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// `http://host:port` or `https://host:port`, without a trailing slash.
    pub base: String,
    /// Connect to this socket instead of the host.
    pub unix: Option<PathBuf>,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.unix {
            Some(path) => write!(f, "unix://{}", path.display()),
            None => f.write_str(&self.base),
        }
    }
}

/// Settings of an HTTP client.
#[derive(Debug, Clone)]
pub struct HttpSettings {
    /// Never empty in checked settings.
    pub endpoints: Vec<Endpoint>,
    /// PEM file of the authorities to trust in place of the system's.
    pub ca_file: Option<PathBuf>,
    /// Directory of such files.
    pub ca_path: Option<PathBuf>,
    /// Client certificate and key, PEM.
    pub client: Option<(PathBuf, PathBuf)>,
    /// The name that the server's certificate must bear, where it is not the host's.
    pub server_name: Option<String>,
    /// Whether the server's certificate is checked at all.
    pub verify: bool,
    /// Time limit of a connection attempt. Default 5 s.
    pub connect_timeout: Duration,
}

/// Names of the environment variables that an ecosystem uses for the same settings.
pub(super) struct TlsVariables {
    pub(super) ca_file: &'static [&'static str],
    pub(super) ca_path: &'static [&'static str],
    pub(super) cert_file: &'static [&'static str],
    pub(super) key_file: &'static [&'static str],
    pub(super) server_name: &'static [&'static str],
    pub(super) verify: &'static [&'static str],
}

/// Reads everything but the endpoints.
pub(super) fn read(section: &Section<'_>, variables: &TlsVariables) -> HttpSettings {
    let cert = section.path("cert_file", variables.cert_file);
    let key = section.path("key_file", variables.key_file);
    let client = match (cert, key) {
        (Some(cert), Some(key)) => Some((cert, key)),
        (None, None) => None,
        (Some(_), None) => {
            section.refuse("key_file", "is missing; a client certificate needs its key");
            None
        }
        (None, Some(_)) => {
            section.refuse(
                "cert_file",
                "is missing; a client key needs its certificate",
            );
            None
        }
    };
    HttpSettings {
        endpoints: Vec::new(),
        ca_file: section.path("ca_file", variables.ca_file),
        ca_path: section.path("ca_path", variables.ca_path),
        client,
        server_name: section.text_or_env("server_name", variables.server_name),
        verify: section.flag("verify", variables.verify, true),
        connect_timeout: section.duration("connect_timeout", Duration::from_secs(5)),
    }
}

/// Parses one endpoint: `host`, `host:port`, `[v6]:port`, a bare IPv6 address, or a URL with the
/// scheme `http`, `https` or `unix`.
///
/// # Errors
/// What was expected.
pub(super) fn endpoint(text: &str, scheme: &str, port: u16) -> Result<Endpoint, String> {
    let expected = |why: &str| {
        format!("`{text}` {why}; expected an address such as `http://127.0.0.1:{port}`")
    };
    // Before anything that shows the text.
    if text.contains('@') {
        return Err(
            "holds a user or password; use the settings for them, which are never logged"
                .to_owned(),
        );
    }
    if let Some(path) = text.strip_prefix("unix://") {
        if path.is_empty() {
            return Err(expected("names no socket"));
        }
        return Ok(Endpoint {
            base: "http://localhost".to_owned(),
            unix: Some(path.into()),
        });
    }
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme @ ("http" | "https"), rest)) => (scheme, rest),
        Some((other, _)) => return Err(expected(&format!("has the scheme `{other}`"))),
        None => (scheme, text),
    };
    let authority = rest.trim_end_matches('/');
    if authority.contains(['/', '?', '#', ' ']) {
        return Err(expected("has more than host and port"));
    }
    let (host, given) = split_port(authority).ok_or_else(|| expected("has no valid port"))?;
    if host.is_empty() {
        return Err(expected("names no host"));
    }
    let host = if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    };
    let default = match text.split_once("://") {
        // A URL without a port means the scheme's own, as everywhere; but nobody runs Consul or
        // etcd on 80, so that for plain http the source's port is what was meant.
        Some(("https", _)) => 443,
        _ => port,
    };
    let port = given.unwrap_or(default);
    Ok(Endpoint {
        base: format!("{scheme}://{host}:{port}"),
        unix: None,
    })
}

/// Host without brackets, and the port if one is given.
fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, after) = rest.split_once(']')?;
        return match after.strip_prefix(':') {
            Some(port) => Some((host, Some(port.parse().ok()?))),
            None => after.is_empty().then_some((host, None)),
        };
    }
    match authority.matches(':').count() {
        0 => Some((authority, None)),
        1 => {
            let (host, port) = authority.split_once(':')?;
            Some((host, Some(port.parse().ok()?)))
        }
        // A bare IPv6 address.
        _ => authority
            .parse::<std::net::Ipv6Addr>()
            .ok()
            .map(|_| (authority, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_write_an_address() {
        for (text, base) in [
            ("127.0.0.1", "http://127.0.0.1:8500"),
            ("consul:8501", "http://consul:8501"),
            ("http://10.0.4.106:8500/", "http://10.0.4.106:8500"),
            ("https://consul", "https://consul:443"),
            ("http://consul", "http://consul:8500"),
            ("http://[::1]:1", "http://[::1]:1"),
            ("[::1]:1", "http://[::1]:1"),
            ("::1", "http://[::1]:8500"),
        ] {
            assert_eq!(endpoint(text, "http", 8500).unwrap().base, base, "{text}");
        }
        let socket = endpoint("unix:///run/consul.sock", "http", 8500).unwrap();
        assert_eq!(socket.to_string(), "unix:///run/consul.sock");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "http://",
            "ftp://x",
            "x:y",
            "x:99999",
            "http://a/b",
            "[::1",
            "::zz",
            "http://u:p@h",
            "unix://",
        ] {
            assert!(endpoint(text, "http", 8500).is_err(), "{text}");
        }
        assert!(
            !endpoint("http://u:hunter2@h", "http", 1)
                .unwrap_err()
                .contains("hunter2")
        );
    }
}
