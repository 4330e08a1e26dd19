//! From what Consul answered to a state or a reason why there is none. Pure.
//!
//! Only an answer that Consul itself must have given counts: one with an index. A page of a proxy,
//! or the 404 of some other server, never reads as "no data".

use std::time::Duration;

use serde_json::Value;

use super::query::Subject;
use super::{health, kv, nothing};
use crate::disco::agent::http::{HttpError, uncapitalised};
use crate::disco::settings::ConsulSettings;

/// Longest piece of an answer's text in a message.
const MAX_TEXT: usize = 120;

/// What TLS says of a wrong setting, and the setting.
const TLS_HINTS: &[(&str, &str)] = &[
    ("UnknownIssuer", "check `consul.ca_file`"),
    ("BadSignature", "check `consul.ca_file`"),
    ("not valid for name", "check `consul.server_name`"),
    ("BadCertificate", "check `consul.cert_file`"),
    ("CertificateRequired", "check `consul.cert_file`"),
    ("InvalidContentType", "does it speak TLS?"),
];

/// Status and headers that matter.
#[derive(Debug)]
pub(super) struct Head<'a> {
    pub(super) status: u16,
    pub(super) index: Option<&'a str>,
    /// Milliseconds since the server that answered has heard of its leader.
    pub(super) last_contact: Option<&'a str>,
}

/// The state of the subject.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) index: u64,
    /// How old the state may be.
    pub(super) age: Duration,
    pub(super) tree: Value,
    /// Oddities in the data.
    pub(super) notes: Vec<String>,
}

/// Why there is no answer, as a fragment without values or tokens.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// To be tried again.
    Passing(String),
    /// To be tried again slowly: Consul does not understand what the settings made us ask.
    Settings(String),
}

impl Failure {
    pub(super) fn of(reason: impl Into<String>) -> Self {
        Self::Passing(reason.into())
    }

    pub(super) fn late(limit: Duration) -> Self {
        Self::of(format!("no answer within {} s", limit.as_secs()))
    }

    pub(super) fn reason(&self) -> &str {
        match self {
            Self::Passing(reason) | Self::Settings(reason) => reason,
        }
    }
}

impl From<HttpError> for Failure {
    fn from(error: HttpError) -> Self {
        let reason = uncapitalised(&error.to_string());
        match TLS_HINTS.iter().find(|(sign, _)| reason.contains(sign)) {
            Some((_, hint)) => Self::of(format!("{reason}; {hint}")),
            None => Self::Passing(reason),
        }
    }
}

/// Judges a whole reply.
pub(super) fn read(
    settings: &ConsulSettings,
    subject: &Subject,
    head: &Head<'_>,
    body: &[u8],
    token: Option<&str>,
) -> Result<Answer, Failure> {
    let is_found = match (head.status, subject) {
        (200, _) => true,
        (404, Subject::Keys) => false,
        (status, _) => return Err(failure(status, &text(body, token))),
    };
    let Some(index) = head.index.and_then(|index| index.parse().ok()) else {
        let status = head.status;
        return Err(Failure::of(format!(
            "{status} without an index; is this a Consul agent?"
        )));
    };
    let (tree, notes) = match subject {
        _ if !is_found => (nothing(), Vec::new()),
        Subject::Keys => {
            kv::decode(body, &settings.prefix, settings.decode).map_err(Failure::of)?
        }
        Subject::Service(name) => {
            let order = match settings.near {
                Some(_) => health::Order::AsAnswered,
                None => health::Order::ByName,
            };
            let tree = health::decode(body, name, order).map_err(Failure::of)?;
            (tree, Vec::new())
        }
    };
    let age = head.last_contact.and_then(|millis| millis.parse().ok());
    Ok(Answer {
        index,
        age: Duration::from_millis(age.unwrap_or(0)),
        tree,
        notes,
    })
}

fn failure(status: u16, text: &str) -> Failure {
    let told = match text {
        "" => format!("status {status}"),
        text => format!("{status} {text}"),
    };
    Failure::Passing(match status {
        400 => return Failure::Settings(format!("{told}; check the settings of `consul`")),
        401 => "401 unauthorized; check `consul.auth`".to_owned(),
        // In our words: newer servers name the token's accessor and the key.
        403 if text.contains("ACL not found") => {
            "403 token not known; check `consul.token`".to_owned()
        }
        403 => "403 permission denied; check `consul.token`".to_owned(),
        300..400 => format!("{status} redirected; check `consul.host` and `consul.prefix`"),
        504 => format!("{told}; is `consul.wait` too long for a proxy?"),
        _ => told,
    })
}

/// What the body says, if that is a sentence: one line, not too long, and without the token, should
/// somebody echo it. An HTML page of a proxy says nothing.
fn text(body: &[u8], token: Option<&str>) -> String {
    let body = String::from_utf8_lossy(&body[..body.len().min(4 * MAX_TEXT)]);
    let mut lines = body.lines().map(|line| line.trim().trim_end_matches('.'));
    let line = lines.find(|line| !line.is_empty());
    match line {
        Some(line) if line.starts_with('<') => String::new(),
        Some(line) if token.is_some_and(|token| line.contains(token)) => String::new(),
        Some(line) => {
            let line = line.chars().filter(|c| !c.is_control());
            uncapitalised(&line.take(MAX_TEXT).collect::<String>())
        }
        None => String::new(),
    }
}

/// A message on JSON that is not what it should be. The parser's own would quote values.
pub(super) fn not_the_json(error: &serde_json::Error) -> String {
    let (line, column) = (error.line(), error.column());
    if error.is_eof() {
        "the answer is cut short".to_owned()
    } else {
        format!("the answer is not the JSON expected (line {line}, column {column})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disco::settings::SourceSettings;
    use crate::disco::settings::tests::checked;
    use proptest::prelude::*;
    use serde_json::json;

    fn settings(text: &str) -> ConsulSettings {
        match checked(text, &[]).unwrap().sources.remove(0) {
            SourceSettings::Consul(settings) => settings,
            other => panic!("{other:?}"),
        }
    }

    fn keys(status: u16, index: Option<&str>, body: &str) -> Result<Answer, Failure> {
        let head = Head {
            status,
            index,
            last_contact: Some("25"),
        };
        let settings = settings("consul.prefix=p");
        read(
            &settings,
            &Subject::Keys,
            &head,
            body.as_bytes(),
            Some("hunter2"),
        )
    }

    #[test]
    fn c2_1_2_not_found_is_an_empty_tree_with_an_index() {
        let answer = keys(404, Some("1"), "").unwrap();
        assert_eq!((answer.index, answer.tree), (1, json!({})));
        assert_eq!(answer.age, Duration::from_millis(25));
    }

    #[test]
    fn what_no_consul_said_is_no_data() {
        for (status, index, body) in [
            (404, None, ""),
            (200, None, "[]"),
            (200, Some("x"), "[]"),
            (200, Some("-1"), "[]"),
            (200, Some("5"), ""),
            (200, Some("5"), "null"),
            (200, Some("5"), "{}"),
            (200, Some("5"), "<html>"),
            (200, Some("5"), r#"[{"Key": "p/a"}, "#),
            (200, Some("5"), r#"[{"Key": "p/a", "Value": "hunter2"}]"#),
            (200, Some("5"), r#"[{"Key": "p/a", "Value": 5}]"#),
            (204, Some("5"), ""),
            (206, Some("5"), "[]"),
        ] {
            let failure = keys(status, index, body).unwrap_err();
            assert!(matches!(failure, Failure::Passing(_)), "{failure:?}");
            assert!(!failure.reason().contains("hunter2"), "{failure:?}");
        }
        let head = Head {
            status: 404,
            index: Some("1"),
            last_contact: None,
        };
        let service = Subject::Service("db".to_owned());
        assert!(read(&settings("consul"), &service, &head, b"", None).is_err());
    }

    #[test]
    fn c2_1_10_every_status_has_its_words() {
        for (status, body, reason) in [
            (500, "No cluster leader", "500 no cluster leader"),
            (500, "No path to datacenter\nx", "500 no path to datacenter"),
            (500, "\n HTTPS only. \n", "500 HTTPS only"),
            (500, "rpc error: ACL x", "500 rpc error: ACL x"),
            (500, "your token hunter2", "status 500"),
            (502, "<html>\nBad Gateway</html>", "status 502"),
            (503, "", "status 503"),
            (429, "\u{1b}[1mslow down", "429 [1mslow down"),
            (
                403,
                "Permission denied",
                "403 permission denied; check `consul.token`",
            ),
            (
                403,
                "ACL not found",
                "403 token not known; check `consul.token`",
            ),
            (403, "", "403 permission denied; check `consul.token`"),
            (401, "hunter2", "401 unauthorized; check `consul.auth`"),
            (
                301,
                "",
                "301 redirected; check `consul.host` and `consul.prefix`",
            ),
            (
                504,
                "",
                "status 504; is `consul.wait` too long for a proxy?",
            ),
        ] {
            assert_eq!(keys(status, None, body), Err(Failure::of(reason)));
        }
        assert_eq!(
            keys(400, None, "Invalid wait time"),
            Err(Failure::Settings(
                "400 invalid wait time; check the settings of `consul`".to_owned()
            ))
        );
    }

    #[test]
    fn c2_1_17_what_tls_says_comes_with_the_setting_to_check() {
        for (said, reason) in [
            (
                "Received fatal alert: BadCertificate",
                "received fatal alert: BadCertificate; check `consul.cert_file`",
            ),
            (
                "invalid peer certificate: UnknownIssuer",
                "invalid peer certificate: UnknownIssuer; check `consul.ca_file`",
            ),
            ("Connection refused", "connection refused"),
        ] {
            let error = HttpError::Transport(said.to_owned());
            assert_eq!(Failure::from(error), Failure::of(reason));
        }
    }

    #[test]
    fn a_long_text_is_cut() {
        let failure = keys(500, None, &"é".repeat(1000)).unwrap_err();
        assert_eq!(failure.reason().chars().count(), "500 ".len() + MAX_TEXT);
    }

    proptest! {
        // A failure is printed, and does not become a file of the repository.
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_reply_panics(status in 100_u16..600, index in any::<Option<String>>(), body in any::<Vec<u8>>()) {
            let head = Head { status, index: index.as_deref(), last_contact: index.as_deref() };
            let settings = settings("consul");
            for subject in [Subject::Keys, Subject::Service("db".to_owned())] {
                if let Err(failure) = read(&settings, &subject, &head, &body, None) {
                    prop_assert!(!failure.reason().contains('\n'));
                }
            }
        }
    }
}
