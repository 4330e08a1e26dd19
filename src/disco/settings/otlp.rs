//! `disco.otlp`, and the section `otlp` beside it: where metrics are pushed to, how often, as whom.

use std::time::Duration;

use super::http::{self, TlsVariables};
use super::{Endpoint, HttpSettings, Secret, Section};
use crate::contract::suggest;

/// Where a receiver takes metrics if its address names no path (OTLP specification, "OTLP/HTTP
/// request").
const PATH: &str = "/v1/metrics";

/// How metrics are pushed.
#[derive(Debug, Clone)]
pub struct OtlpSettings {
    /// The receiver, and how it is reached.
    pub http: HttpSettings,
    /// The path behind its address.
    pub path: String,
    /// Headers of every request.
    pub headers: Vec<(String, Secret)>,
    /// The pause between two. Default 60 s, as with the SDKs.
    pub interval: Duration,
    /// Time limit of one. Default 10 s.
    pub timeout: Duration,
}

/// The environment's names for TLS and headers (OTLP exporter specification).
const VARIABLES: TlsVariables = TlsVariables {
    ca_file: &["OTEL_EXPORTER_OTLP_CERTIFICATE"],
    ca_path: &[],
    cert_file: &["OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE"],
    key_file: &["OTEL_EXPORTER_OTLP_CLIENT_KEY"],
    server_name: &[],
    verify: &[],
};

/// Takes the address apart.
///
/// # Errors
/// What was expected.
pub(super) fn url(text: &str) -> Result<(Endpoint, String), String> {
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme @ ("http" | "https"), rest)) => (scheme, rest),
        _ => {
            let hint = suggest::hint(text, ["off"]);
            return Err(format!(
                "has no scheme{hint}; expected a URL such as `http://collector:4318`"
            ));
        }
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    if path.contains(['?', '#', ' ']) {
        return Err("has more than scheme, host, port and path".to_owned());
    }
    let endpoint = http::endpoint(&format!("{scheme}://{authority}"), scheme, 4318)?;
    let path = match path.trim_end_matches('/') {
        "" => PATH.to_owned(),
        path => path.to_owned(),
    };
    Ok((endpoint, path))
}

/// A value of one of the variables, which are written as W3C Baggage is.
#[must_use]
pub fn decoded(value: &str) -> String {
    percent_encoding::percent_decode_str(value)
        .decode_utf8_lossy()
        .into_owned()
}

/// Reads the section; `url` is `disco.otlp`, if that is set.
pub(super) fn read(section: &Section<'_>, url: Option<(Endpoint, String)>) -> Option<OtlpSettings> {
    let mut http = http::read(section, &VARIABLES);
    let header = |text: &str| match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => {
            Ok((name.trim().to_owned(), Secret(value.trim().to_owned())))
        }
        // The value may be a token that lacks its name.
        _ => Err("expected `NAME=VALUE`, several with commas between".to_owned()),
    };
    let is_own = section.has("headers");
    let headers = section.text_or_env("headers", &["OTEL_EXPORTER_OTLP_HEADERS"]);
    let headers = super::raw::split_list(&headers.unwrap_or_default());
    let headers = headers.iter().map(|text| header(text));
    let headers = headers.map(|header| match is_own {
        true => header,
        // As the variable is specified, and the setting is not.
        false => header.map(|(name, Secret(value))| (name, Secret(decoded(&value)))),
    });
    let headers = headers.collect();
    let headers = match headers {
        Ok(headers) => headers,
        Err(message) => {
            section.refuse("headers", message);
            Vec::new()
        }
    };
    let interval = section.duration("interval", Duration::from_secs(60));
    let timeout = section.duration("timeout", Duration::from_secs(10));
    for (key, path) in [("ca_file", &http.ca_file), ("ca_path", &http.ca_path)] {
        if path.as_ref().is_some_and(|path| path.is_relative()) {
            section.refuse(
                key,
                "is no absolute path; expected one that begins with `/`",
            );
        }
    }
    let (endpoint, path) = url?;
    http.endpoints = vec![endpoint];
    Some(OtlpSettings {
        http,
        path,
        headers,
        // A pause of nothing would be a busy loop.
        interval: interval.max(Duration::from_millis(100)),
        timeout: timeout.max(Duration::from_millis(100)),
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::checked;
    use super::*;

    #[test]
    fn a32_an_address_with_and_without_a_path() {
        for (text, base, path) in [
            ("http://c:4318", "http://c:4318", "/v1/metrics"),
            ("http://c:4318/", "http://c:4318", "/v1/metrics"),
            ("https://c", "https://c:443", "/v1/metrics"),
            (
                "https://c:443/otlp/v1/metrics",
                "https://c:443",
                "/otlp/v1/metrics",
            ),
        ] {
            let (endpoint, found) = url(text).unwrap();
            assert_eq!(
                (endpoint.base.as_str(), found.as_str()),
                (base, path),
                "{text}"
            );
        }
        for text in [
            "",
            "c:4318",
            "ftp://c",
            "http://",
            "http://u:hunter2@c",
            "http://c/a?b=hunter2",
        ] {
            let told = url(text).unwrap_err();
            assert!(!told.contains("hunter2"), "{told}");
        }
    }

    #[test]
    fn every_key_is_read_and_secrets_stay_so() {
        let cfg = "disco.otlp=http://c|otlp.headers=Authorization=Bearer x=,X-Y=z|otlp.interval=5|otlp.timeout=1s\
            |otlp.verify=no|otlp.ca_file=/ca";
        let settings = checked(cfg, &[]).unwrap();
        assert_eq!(settings.data.must_stay(), None);
        assert!(settings.wants_init());
        let otlp = settings.otlp.unwrap();
        assert_eq!(otlp.headers[0].0, "Authorization");
        assert_eq!(otlp.headers[0].1.0, "Bearer x=");
        assert!(!format!("{otlp:?}").contains("Bearer"));
        assert_eq!(
            (otlp.interval, otlp.timeout),
            (Duration::from_secs(5), Duration::from_secs(1))
        );
        let from_env = checked(
            "disco.otlp=http://c",
            &[("OTEL_EXPORTER_OTLP_HEADERS", "a=Basic%20b%3D")],
        )
        .unwrap();
        assert_eq!(from_env.otlp.unwrap().headers[0].1.0, "Basic b=");
    }

    #[test]
    fn a_section_without_an_address_is_a_mistake() {
        let told = checked("otlp.interval=5", &[]).unwrap_err();
        assert_eq!(told.len(), 1, "{told:#?}");
        assert!(told[0].contains("disco.otlp"), "{told:#?}");
        let told = checked(
            "disco.otlp=c:4318|otlp.headers=x|otlp.ca_file=ca|otlp.intervl=1",
            &[],
        )
        .unwrap_err();
        assert_eq!(told.len(), 4, "{told:#?}");
    }
}
