//! Asks the disco that runs in this container how it is, over its status socket. It reads a document
//! and judges whether that is whole; what the document says is others' to show.

use std::fmt;
use std::io::{ErrorKind, Read as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use serde_json::Value;

use crate::disco::settings::{Place, StatusSettings};
use crate::sys::socket;

/// How long an answer may take: all is over 3 s after the question, the start of this process included.
pub const LIMIT: Duration = Duration::from_millis(2500);

/// No document is that large.
const LARGEST: usize = 16 << 20;

/// What is said where somebody listens to others.
const NOT_FOR_US: &str = "not for this user";

/// What is said where somebody listens and nothing comes.
const NO_ANSWER: &str = "no answer";

/// Pause before a socket at which too many wait is tried again.
const AGAIN: Duration = Duration::from_millis(10);

/// What disco has answered.
#[derive(Debug)]
pub struct Answer {
    /// The document.
    pub document: Value,
    /// Whether the agent has had its say, or there is none.
    pub is_whole: bool,
}

/// Why there is no answer: each path, and what became of it.
#[derive(Debug)]
pub struct Silence {
    tried: Vec<(PathBuf, String)>,
}

impl Silence {
    /// Whether nobody is there, and not somebody who may not be asked or does not answer.
    #[must_use]
    pub fn is_of_nobody(&self) -> bool {
        let is_somebody = |reason: &str| matches!(reason, NO_ANSWER | NOT_FOR_US);
        !self.tried.iter().any(|(_, reason)| is_somebody(reason))
    }
}

impl fmt::Display for Silence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no disco answers: ")?;
        if self.tried.is_empty() {
            return f.write_str("`disco.status` is off");
        }
        let mut rest = self.tried.iter().peekable();
        while let Some((path, reason)) = rest.next() {
            write!(f, "{}", path.display())?;
            match rest.peek() {
                Some((_, next)) if next == reason => f.write_str(", ")?,
                _ => write!(f, ": {reason}; ")?,
            }
        }
        f.write_str(
            "disco has a status socket where it is PID 1, or where `disco.status` names a path; who may ask is decided by `disco.status_mode`",
        )
    }
}

/// Asks, with a word that says what is wanted, [`STATUS`](crate::disco::link::STATUS) or [`METRICS`](crate::disco::link::METRICS). With `is_enough` the
/// reading ends as soon as init's part says what is wanted.
///
/// # Errors
/// Why nobody answers.
pub fn ask(
    settings: &StatusSettings,
    word: &[u8],
    is_enough: impl Fn(&Value) -> bool,
) -> Result<Answer, Silence> {
    let mut tried = Vec::new();
    for path in settings.paths() {
        let must_be_pid_1 = settings.place == Place::Auto;
        let until = Instant::now() + LIMIT;
        // An agent that ends in that moment takes the question with it.
        let answers =
            std::iter::repeat_with(|| ask_at(path, word, must_be_pid_1, until, &is_enough));
        let mut last = Err(NO_ANSWER.to_owned());
        for answer in answers.take(2) {
            let is_final = !matches!(&answer, Ok(answer) if !answer.is_whole);
            last = answer;
            if is_final || Instant::now() >= until {
                break;
            }
        }
        match last {
            Ok(answer) => return Ok(answer),
            Err(reason) => tried.push((path.to_owned(), reason)),
        }
    }
    Err(Silence { tried })
}

fn ask_at(
    path: &Path,
    word: &[u8],
    must_be_pid_1: bool,
    until: Instant,
    is_enough: &impl Fn(&Value) -> bool,
) -> Result<Answer, String> {
    let connection = loop {
        match socket::connect_path(path) {
            Ok(connection) => break connection,
            Err(Errno::EAGAIN) if Instant::now() < until => std::thread::sleep(AGAIN),
            Err(error) => return Err(refusal(error)),
        }
    };
    if must_be_pid_1 {
        // In a directory that others may write to a socket can be anybody's.
        match socket::peer(&connection) {
            Ok(1) => {}
            Ok(pid) => return Err(format!("of process {pid}, which is not PID 1")),
            Err(error) => return Err(refusal(error)),
        }
    }
    // A new connection takes so little at once; one that is gone already tells when it is read.
    let _ = socket::send_now(&connection, word);
    read(UnixStream::from(connection), until, is_enough)
}

fn refusal(error: Errno) -> String {
    match error {
        Errno::ENOENT | Errno::ENOTDIR => "no such socket".to_owned(),
        Errno::ECONNREFUSED => "nobody listens".to_owned(),
        Errno::EACCES | Errno::EPERM => NOT_FOR_US.to_owned(),
        error => error.desc().to_owned(),
    }
}

fn read(
    mut connection: UnixStream,
    until: Instant,
    is_enough: &impl Fn(&Value) -> bool,
) -> Result<Answer, String> {
    let failed = |error: std::io::Error| error.to_string();
    connection.set_nonblocking(false).map_err(failed)?;
    let mut text = Vec::new();
    let mut chunk = vec![0; 64 << 10];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() || text.len() > LARGEST {
            break;
        }
        connection.set_read_timeout(Some(left)).map_err(failed)?;
        match connection.read(&mut chunk) {
            Ok(0) => break,
            Ok(size) => text.extend_from_slice(chunk.get(..size).unwrap_or_default()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => break,
        }
        if let Some(document) = begun(&text)
            && is_enough(&document)
        {
            let is_whole = true;
            return Ok(Answer { document, is_whole });
        }
    }
    whole_or_begun(&text).ok_or_else(|| NO_ANSWER.to_owned())
}

/// The document, or, where the agent has not ended it, what init has said.
fn whole_or_begun(text: &[u8]) -> Option<Answer> {
    if let Ok(document) = serde_json::from_slice(text) {
        let is_whole = true;
        return Some(Answer { document, is_whole });
    }
    let mut document = begun(text)?;
    if let Some(agent) = document.get_mut("agent").filter(|agent| agent.is_object()) {
        agent["answers"] = false.into();
    }
    let is_whole = false;
    Some(Answer { document, is_whole })
}

/// Init's part, which a newline ends.
fn begun(text: &[u8]) -> Option<Value> {
    let end = text.iter().position(|byte| *byte == b'\n')?;
    let mut own = text.get(..end)?.to_vec();
    own.push(b'}');
    serde_json::from_slice(&own).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_that_is_not_ended_is_closed_where_init_stopped() {
        let whole = whole_or_begun(b"{\"agent\":{\"pid\":7}\n,\"rules\":[]}\n").unwrap();
        assert!(whole.is_whole && whole.document.get("rules").is_some());
        for rest in ["", ",\"rules\":[{", ",\"rul"] {
            let text = format!("{{\"agent\":{{\"pid\":7}}\n{rest}");
            let answer = whole_or_begun(text.as_bytes()).unwrap();
            assert!(!answer.is_whole, "{rest}");
            assert_eq!(answer.document["agent"]["answers"], false, "{rest}");
        }
        assert!(whole_or_begun(b"").is_none());
        assert!(whole_or_begun(b"HTTP/1.1 400 Bad Request\r\n\r\n").is_none());
    }
}
