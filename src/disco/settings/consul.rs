//! The `consul` section, with the environment variables that Consul's own tools read.

use std::time::Duration;

use super::http::{self, Endpoint, HttpSettings, Secret, TlsVariables, TokenSource};
use super::raw::split_list;
use super::{DECODE, Decode, Section};

/// How fresh an answer must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consistency {
    /// Consul's default: from the leader, which may in rare moments be a deposed one.
    Default,
    /// Verified with a quorum for each read.
    Consistent,
    /// From any server, however old.
    Stale,
}

/// Settings of the Consul source.
#[derive(Debug, Clone)]
pub struct ConsulSettings {
    /// Endpoints and TLS.
    pub http: HttpSettings,
    /// ACL token.
    pub token: Option<TokenSource>,
    /// HTTP basic authentication, for a proxy in front of the agent.
    pub basic: Option<(String, Secret)>,
    /// Keys below this are read, and it is stripped; empty, or ends in `/`.
    pub prefix: String,
    /// Services to read from the catalog, as `services.NAME`.
    pub services: Vec<String>,
    /// Only instances with this tag.
    pub tag: Option<String>,
    /// Sorts instances by their distance from this node; `_agent` is the one asked.
    pub near: Option<String>,
    /// Datacenter.
    pub dc: Option<String>,
    /// Enterprise namespace.
    pub namespace: Option<String>,
    /// Enterprise admin partition.
    pub partition: Option<String>,
    /// Consistency of reads.
    pub consistency: Consistency,
    /// How long the server holds a blocking query. Default 55 s, below the usual 60 s of proxies.
    pub wait: Duration,
    /// How values are read.
    pub decode: Decode,
}

const TLS: TlsVariables = TlsVariables {
    ca_file: &["CONSUL_CACERT"],
    ca_path: &["CONSUL_CAPATH"],
    cert_file: &["CONSUL_CLIENT_CERT"],
    key_file: &["CONSUL_CLIENT_KEY"],
    server_name: &["CONSUL_TLS_SERVER_NAME"],
    verify: &["CONSUL_HTTP_SSL_VERIFY"],
};

pub(super) fn read(section: &Section<'_>) -> ConsulSettings {
    let ssl = section.flag("ssl", &["CONSUL_HTTP_SSL"], false);
    let scheme = section.choice(
        "scheme",
        &[("http", "http"), ("https", "https")],
        if ssl { "https" } else { "http" },
    );
    let port = section.number("port", 8500);
    let hosts = section
        .text_or_env("host", &["CONSUL_HTTP_ADDR"])
        .unwrap_or_else(|| "127.0.0.1".to_owned());
    let mut http = http::read(section, &TLS);
    http.endpoints = endpoints(section, "host", &hosts, scheme, port);

    let token = match section.text("token") {
        Some(token) => Some(TokenSource::Text(Secret(token))),
        None => match section.path("token_file", &[]) {
            Some(file) => Some(TokenSource::File(file)),
            // The environment only where no key says anything, the token before its file.
            None => match section.text_or_env("token", &["CONSUL_HTTP_TOKEN"]) {
                Some(token) => Some(TokenSource::Text(Secret(token))),
                None => section
                    .path("token_file", &["CONSUL_HTTP_TOKEN_FILE"])
                    .map(TokenSource::File),
            },
        },
    };
    if section.has("token") && section.has("token_file") {
        section.refuse(
            "token_file",
            "stands beside `consul.token`; expected one of them",
        );
    }
    let wait = section.duration("wait", Duration::from_secs(55));
    if wait < Duration::from_secs(1) || wait > Duration::from_secs(600) {
        section.refuse(
            "wait",
            "is out of range; Consul holds a query from 1s to 10m",
        );
    }
    ConsulSettings {
        http,
        token,
        basic: section
            .text_or_env("auth", &["CONSUL_HTTP_AUTH"])
            .map(|text| {
                let (user, password) = text.split_once(':').unwrap_or((&text, ""));
                (user.to_owned(), Secret(password.to_owned()))
            }),
        prefix: directory(&section.text("prefix").unwrap_or_default()),
        services: section.list("services"),
        tag: section.text("tag"),
        near: section.text("near"),
        dc: section.text("dc"),
        namespace: section.text_or_env("namespace", &["CONSUL_NAMESPACE"]),
        partition: section.text_or_env("partition", &["CONSUL_PARTITION"]),
        consistency: section.choice(
            "consistency",
            &[
                ("default", Consistency::Default),
                ("consistent", Consistency::Consistent),
                ("stale", Consistency::Stale),
            ],
            Consistency::Default,
        ),
        wait,
        decode: section.choice("decode", DECODE, Decode::String),
    }
}

/// A key prefix as a directory: no leading slash, one trailing slash, or empty. Consul's prefixes
/// are string prefixes: without the slash, `db` would also read `db2` (conformance 2.1.1).
fn directory(prefix: &str) -> String {
    let trimmed = prefix.trim_matches('/');
    if trimmed.is_empty() {
        String::new()
    } else {
        format!("{trimmed}/")
    }
}

/// Parses a comma-separated list of addresses.
pub(super) fn endpoints(
    section: &Section<'_>,
    key: &'static str,
    hosts: &str,
    scheme: &str,
    port: u16,
) -> Vec<Endpoint> {
    let mut endpoints = Vec::new();
    // A password may hold the comma that separates addresses: judge, and refuse, the whole.
    let all = if hosts.contains('@') {
        vec![hosts.to_owned()]
    } else {
        split_list(hosts)
    };
    for host in all {
        match http::endpoint(&host, scheme, port) {
            Ok(endpoint) => endpoints.push(endpoint),
            Err(message) => section.refuse(key, message),
        }
    }
    if endpoints.is_empty() && hosts.trim().is_empty() {
        section.refuse(key, "is empty; expected an address");
    }
    endpoints
}

#[cfg(test)]
mod tests {
    use super::super::tests::checked;
    use super::super::{SourceSettings, TokenSource};
    use super::*;

    fn consul(text: &str, environment: &[(&str, &str)]) -> ConsulSettings {
        match checked(text, environment).unwrap().sources.remove(0) {
            SourceSettings::Consul(settings) => settings,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn c40_a_bare_section_means_the_local_agent() {
        for text in ["consul", "beacon"] {
            let settings = consul(text, &[]);
            assert_eq!(settings.http.endpoints[0].base, "http://127.0.0.1:8500");
            assert_eq!(settings.prefix, "");
        }
    }

    #[test]
    fn keys_win_over_consuls_variables() {
        let environment = [
            ("CONSUL_HTTP_ADDR", "c:1"),
            ("CONSUL_HTTP_SSL", "true"),
            ("CONSUL_HTTP_TOKEN", "e"),
            ("CONSUL_CACERT", "/ca.pem"),
        ];
        let settings = consul("consul", &environment);
        assert_eq!(settings.http.endpoints[0].base, "https://c:1");
        assert_eq!(
            settings.http.ca_file.as_deref(),
            Some(std::path::Path::new("/ca.pem"))
        );
        assert!(matches!(settings.token, Some(TokenSource::Text(Secret(t))) if t == "e"));
        let settings = consul(
            "consul.host=http://d|consul.token_file=/t|consul.port=2",
            &environment,
        );
        assert_eq!(settings.http.endpoints[0].base, "http://d:2");
        assert!(matches!(settings.token, Some(TokenSource::File(_))));
    }

    #[test]
    fn prefixes_are_directories_and_hosts_a_list() {
        assert_eq!(consul("consul.prefix=/app/db", &[]).prefix, "app/db/");
        assert_eq!(consul("consul.prefix=app/", &[]).prefix, "app/");
        assert_eq!(
            consul("consul.host=a,http://b:1", &[]).http.endpoints.len(),
            2
        );
    }

    #[test]
    fn secrets_do_not_print() {
        let settings = checked("consul.token=hunter2|consul.auth=u:hunter2", &[]).unwrap();
        assert!(!format!("{settings:?}").contains("hunter2"));
    }

    #[test]
    fn contradictions_are_told() {
        for text in [
            "consul.token=a|consul.token_file=b",
            "consul.cert_file=a",
            "consul.wait=0.5",
            "consul.wait=11m",
            "consul.host=",
            "consul.consistency=eventual",
        ] {
            assert!(checked(text, &[]).is_err(), "{text}");
        }
    }
}
