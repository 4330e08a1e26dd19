//! The `etcd` section, with the environment variables that etcdctl reads.

use std::time::Duration;

use super::consul::endpoints;
use super::http::{self, HttpSettings, Secret, TlsVariables};
use super::{DECODE, Decode, Section};

/// Which of etcd's interfaces is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api {
    /// v3 where the gateway answers, v2 only where there is none: they are separate stores.
    Auto,
    /// v3 through the JSON gateway.
    V3,
    /// The v2 keys API.
    V2,
}

/// Settings of the etcd source.
#[derive(Debug, Clone)]
pub struct EtcdSettings {
    /// Endpoints and TLS.
    pub http: HttpSettings,
    /// User and password.
    pub user: Option<(String, Secret)>,
    /// Keys below this are read, and it is stripped; empty, or ends in `/`, with any leading slash
    /// kept: v3 keys are byte strings, and `/app` and `app` are two of them.
    pub prefix: String,
    /// v3, v2, or whichever is there.
    pub api: Api,
    /// How often the watch is checked against the store by a small read. Default 30 s.
    pub keepalive: Duration,
    /// How values are read.
    pub decode: Decode,
}

const TLS: TlsVariables = TlsVariables {
    ca_file: &["ETCDCTL_CACERT", "ETCDCTL_CA_FILE"],
    ca_path: &[],
    cert_file: &["ETCDCTL_CERT", "ETCDCTL_CERT_FILE"],
    key_file: &["ETCDCTL_KEY", "ETCDCTL_KEY_FILE"],
    server_name: &[],
    verify: &[],
};

pub(super) fn read(section: &Section<'_>) -> EtcdSettings {
    let protocol = section.choice("protocol", &[("http", "http"), ("https", "https")], "http");
    let port = section.number("port", 2379);
    let mut http = http::read(section, &TLS);
    // `endpoints` is etcd's own word, `host` the seed's; both take a list.
    let (key, hosts) = match (section.text("host"), section.text("endpoints")) {
        (Some(hosts), None) => ("host", hosts),
        (None, Some(hosts)) => ("endpoints", hosts),
        (Some(hosts), Some(_)) => {
            section.refuse(
                "endpoints",
                "stands beside `etcd.host`; expected one of them",
            );
            ("host", hosts)
        }
        (None, None) => {
            let hosts =
                section.text_or_env("endpoints", &["ETCDCTL_ENDPOINTS", "ETCDCTL_ENDPOINT"]);
            ("endpoints", hosts.unwrap_or_else(|| "127.0.0.1".to_owned()))
        }
    };
    http.endpoints = endpoints(section, key, &hosts, protocol, port);

    let login = section
        .text_or_env("username", &[])
        .or_else(|| section.text_or_env("user", &["ETCDCTL_USER"]));
    let password = section.text_or_env("password", &["ETCDCTL_PASSWORD"]);
    let user = login.map(|login| match (login.split_once(':'), password.clone()) {
        // etcdctl's `user:password`.
        (Some((user, inline)), None) => (user.to_owned(), Secret(inline.to_owned())),
        (_, password) => (login.clone(), Secret(password.unwrap_or_default())),
    });
    if user.is_none() && section.has("password") {
        section.refuse(
            "password",
            "stands alone; expected `etcd.username` beside it",
        );
    }
    let prefix = section.text("prefix").unwrap_or_default();
    EtcdSettings {
        http,
        user,
        prefix: match prefix.trim_end_matches('/') {
            "" => String::new(),
            trimmed => format!("{trimmed}/"),
        },
        api: section.choice(
            "api",
            &[
                ("auto", Api::Auto),
                ("3", Api::V3),
                ("v3", Api::V3),
                ("2", Api::V2),
                ("v2", Api::V2),
            ],
            Api::Auto,
        ),
        keepalive: section
            .duration("keepalive", Duration::from_secs(30))
            .max(Duration::from_secs(1)),
        decode: section.choice("decode", DECODE, Decode::String),
    }
}

#[cfg(test)]
mod tests {
    use super::super::SourceSettings;
    use super::super::tests::checked;
    use super::*;

    fn etcd(text: &str, environment: &[(&str, &str)]) -> EtcdSettings {
        match checked(text, environment).unwrap().sources.remove(0) {
            SourceSettings::Etcd(settings) => settings,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_seeds_host_and_port() {
        let settings = etcd("etcd.host=10.0.0.1|etcd.port=4001", &[]);
        assert_eq!(settings.http.endpoints[0].base, "http://10.0.0.1:4001");
        let settings = etcd("etcd.host=::1|etcd.protocol=https", &[]);
        assert_eq!(settings.http.endpoints[0].base, "https://[::1]:2379");
    }

    #[test]
    fn etcdctls_variables() {
        let settings = etcd(
            "etcd",
            &[
                ("ETCDCTL_ENDPOINTS", "http://a:1,b"),
                ("ETCDCTL_USER", "root:pw"),
            ],
        );
        assert_eq!(settings.http.endpoints.len(), 2);
        assert_eq!(
            settings.user,
            Some(("root".to_owned(), Secret("pw".to_owned())))
        );
        let settings = etcd("etcd.username=u|etcd.password=a:b", &[]);
        assert_eq!(
            settings.user,
            Some(("u".to_owned(), Secret("a:b".to_owned())))
        );
    }

    #[test]
    fn a_leading_slash_of_the_prefix_counts() {
        assert_eq!(etcd("etcd.prefix=/app", &[]).prefix, "/app/");
        assert_eq!(etcd("etcd.prefix=app//", &[]).prefix, "app/");
        assert_eq!(etcd("etcd.prefix=/", &[]).prefix, "");
    }
}
