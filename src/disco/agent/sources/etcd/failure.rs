//! Why following a store came to an end, and what the server's refusals mean.
//!
//! A reason never shows what the server sent, which could be a value, except for the messages that
//! etcd itself is known to write.

use super::wire::ErrorRaw;
use crate::disco::agent::http::HttpError;

/// Why following came to an end. Decides what happens next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The endpoint cannot be read: the source is down, and the next endpoint is tried.
    Broken(String),
    /// Changes are not heard of any more, which says nothing about reading.
    Lost(String),
    /// The store is not the one that was read, or its history is gone: everything is read again.
    Outdated(String),
    /// The token is not accepted (any more).
    Token(String),
    /// The endpoint does not have the interface.
    Absent,
}

impl Failure {
    /// Says what was tried.
    pub(crate) fn during(self, what: &str) -> Self {
        let add = |reason| format!("{what}: {reason}");
        match self {
            Self::Broken(reason) => Self::Broken(add(reason)),
            Self::Lost(reason) => Self::Lost(add(reason)),
            Self::Outdated(reason) => Self::Outdated(add(reason)),
            Self::Token(reason) => Self::Token(add(reason)),
            Self::Absent => Self::Absent,
        }
    }

    /// The same of a watch: reading works, so that whatever is wrong concerns the watch alone.
    pub(crate) fn of_watch(self) -> Self {
        match self {
            Self::Broken(reason) => Self::Lost(reason),
            Self::Absent => Self::Lost("not found".to_owned()),
            failure => failure,
        }
    }

    /// An answer that is none of etcd's.
    pub(crate) fn garbage() -> Self {
        Self::Broken("the answer is not one of etcd's".to_owned())
    }
}

impl From<HttpError> for Failure {
    fn from(error: HttpError) -> Self {
        Self::Broken(error.to_string())
    }
}

/// gRPC's codes, of which few matter here.
const PERMISSION_DENIED: u64 = 7;
const FAILED_PRECONDITION: u64 = 9;
const OUT_OF_RANGE: u64 = 11;
const UNAUTHENTICATED: u64 = 16;

/// What an answer other than 200 means.
pub(super) fn refusal(status: u16, body: &[u8]) -> Failure {
    if status == 404 {
        return Failure::Absent;
    }
    let error = serde_json::from_slice(body).unwrap_or_default();
    match meaning(&error) {
        // A proxy in between may refuse in its own words.
        Failure::Broken(_) if status == 401 => Failure::Token(format!("HTTP {status}")),
        Failure::Broken(reason) if reason.is_empty() => Failure::Broken(format!("HTTP {status}")),
        failure => failure,
    }
}

/// What an error means that came as a line of a watch.
pub(super) fn stream_error(error: &ErrorRaw) -> Failure {
    match meaning(error) {
        Failure::Broken(reason) if reason.is_empty() => {
            Failure::Lost(format!("error {} of gRPC", error.code))
        }
        failure => failure.of_watch(),
    }
}

/// What it means that the server ended a watch, for which it gives a reason or not.
pub(super) fn cancellation(reason: &str) -> Failure {
    // Of the shape "rpc error: code = Unauthenticated desc = etcdserver: invalid auth token".
    let code = if reason.contains("Unauthenticated") {
        UNAUTHENTICATED
    } else {
        0
    };
    let message = reason.rsplit(" desc = ").next().unwrap_or_default();
    match meaning(&ErrorRaw {
        code,
        message: message.to_owned(),
        ..ErrorRaw::default()
    }) {
        Failure::Broken(reason) if reason.is_empty() => {
            Failure::Lost("the server cancelled it".to_owned())
        }
        failure => failure.of_watch().during("the server cancelled it"),
    }
}

/// Whether a refused login means that nobody needs to log in.
pub(super) fn is_login_off(body: &[u8]) -> bool {
    let error: ErrorRaw = serde_json::from_slice(body).unwrap_or_default();
    error.code == FAILED_PRECONDITION && error.text().contains("authentication is not enabled")
}

fn meaning(error: &ErrorRaw) -> Failure {
    let text = shown(error.text());
    // A token that expired; one older than the last change of users; none where one is needed.
    let is_about_token = error.code == UNAUTHENTICATED
        || [
            "invalid auth token",
            "revision of auth store is old",
            "user name is empty",
        ]
        .iter()
        .any(|reason| text.contains(reason));
    match error.code {
        _ if is_about_token && text.is_empty() => Failure::Token("not logged in".to_owned()),
        _ if is_about_token => Failure::Token(text.to_owned()),
        // The revision of a page is compacted, or the store is not the one of the page before.
        OUT_OF_RANGE => Failure::Outdated(text.to_owned()),
        PERMISSION_DENIED if !text.is_empty() => {
            Failure::Broken(format!("{text}; the whole prefix must be granted"))
        }
        _ => Failure::Broken(text.to_owned()),
    }
}

/// The server's message, if it is one that etcd itself writes.
fn shown(text: &str) -> &str {
    let is_etcds = ["etcdserver: ", "auth: ", "mvcc: "]
        .iter()
        .any(|start| text.starts_with(start));
    if is_etcds && text.len() <= 200 && !text.contains(char::is_control) {
        text
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(reason: &str) -> Failure {
        Failure::Broken(reason.to_owned())
    }

    #[test]
    fn e2_2_10_refusals_of_the_gateway() {
        let token = |reason: &str| Failure::Token(reason.to_owned());
        let cases: &[(u16, &str, Failure)] = &[
            (
                401,
                r#"{"error":"etcdserver: invalid auth token","message":"etcdserver: invalid auth token","code":16}"#,
                token("etcdserver: invalid auth token"),
            ),
            (
                400,
                r#"{"code":3,"message":"etcdserver: user name is empty"}"#,
                token("etcdserver: user name is empty"),
            ),
            (
                400,
                r#"{"code":3,"message":"etcdserver: revision of auth store is old"}"#,
                token("etcdserver: revision of auth store is old"),
            ),
            (401, "", token("HTTP 401")),
            (
                400,
                r#"{"code":3,"message":"etcdserver: authentication failed, invalid user ID or password"}"#,
                broken("etcdserver: authentication failed, invalid user ID or password"),
            ),
            (
                403,
                r#"{"code":7,"message":"etcdserver: permission denied"}"#,
                broken("etcdserver: permission denied; the whole prefix must be granted"),
            ),
            (
                400,
                r#"{"code":11,"message":"etcdserver: mvcc: required revision has been compacted"}"#,
                Failure::Outdated(
                    "etcdserver: mvcc: required revision has been compacted".to_owned(),
                ),
            ),
            (
                503,
                r#"{"code":14,"message":"etcdserver: no leader"}"#,
                broken("etcdserver: no leader"),
            ),
            (503, "<html>", broken("HTTP 503")),
            (429, "", broken("HTTP 429")),
            (500, r#"["error"]"#, broken("HTTP 500")),
            (404, "404 page not found\n", Failure::Absent),
        ];
        for (status, body, expected) in cases {
            assert_eq!(&refusal(*status, body.as_bytes()), expected, "{body}");
        }
    }

    #[test]
    fn e2_2_10_cancelled_watches() {
        let reason = "rpc error: code = Unauthenticated desc = etcdserver: invalid auth token";
        let expected = "the server cancelled it: etcdserver: invalid auth token";
        assert_eq!(cancellation(reason), Failure::Token(expected.to_owned()));
        for reason in ["", "hunter2"] {
            assert_eq!(
                cancellation(reason),
                Failure::Lost("the server cancelled it".to_owned())
            );
        }
    }

    #[test]
    fn login_is_off_or_refused() {
        assert!(is_login_off(
            br#"{"code":9,"message":"etcdserver: authentication is not enabled"}"#
        ));
        assert!(!is_login_off(
            br#"{"code":3,"message":"etcdserver: authentication failed, invalid user ID or password"}"#
        ));
        assert!(!is_login_off(b"<html>"));
    }

    #[test]
    fn what_a_server_echoes_is_not_shown() {
        for message in [
            "hunter2",
            "etcdserver: a\\u0007",
            &format!("etcdserver: {}", "x".repeat(300)),
        ] {
            let body = format!(r#"{{"code":2,"message":"{message}"}}"#);
            assert_eq!(refusal(500, body.as_bytes()), broken("HTTP 500"));
        }
    }
}
