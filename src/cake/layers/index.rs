//! Asks an index: the original's server (`api/v2/layers/…`), or files that any web server hands out,
//! which may as well lie on this machine. What it answers is checked, not trusted.

use std::cell::OnceCell;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::entry::Entry;
use super::web::{Trust, Web};
use crate::contract::layer::repo;
use crate::contract::problem::Problem;

/// The name of the file that a static index is.
pub const FILE: &str = "index.json";

/// The largest index on this machine, in bytes.
const MAX_FILE: u64 = 8 << 20;

/// An index, not yet asked.
pub struct Index {
    place: Place,
    /// The whole list, once it was asked for; nothing if there is none.
    listed: OnceCell<Option<Vec<Entry>>>,
}

enum Place {
    /// A base URL without a slash at its end; the API, or a directory with an `index.json`.
    Server(Web, String),
    /// The URL of an `index.json`.
    File(Web, String),
    Local(PathBuf),
}

impl Index {
    /// The index at `endpoint`: an https URL of a server or of a file `….json`, or a path (relative to
    /// `base`) of such a file or the directory that it is in.
    ///
    /// # Errors
    /// Something else, or a system that has nothing to trust.
    pub fn new(
        endpoint: &str,
        base: &Path,
        trust: &Trust,
        insecure: bool,
        timeout: Duration,
    ) -> Result<Self, Problem> {
        let place = match endpoint.split_once("://") {
            Some(("file", path)) => Place::Local(PathBuf::from(path)),
            None => Place::Local(base.join(endpoint)),
            Some(("https" | "http", rest)) => {
                let web = Web::new(trust, insecure, timeout)?;
                let path = rest.split(['?', '#']).next().unwrap_or_default();
                match path.ends_with(".json") {
                    true => Place::File(web, endpoint.to_owned()),
                    false => Place::Server(web, endpoint.trim_end_matches('/').to_owned()),
                }
            }
            Some((scheme, _)) => {
                return Err(Problem::new(format!(
                    "index {}: `{scheme}` is not supported; expected https://… or a path",
                    repo::shown(endpoint)
                )));
            }
        };
        Ok(Self {
            place,
            listed: OnceCell::new(),
        })
    }

    /// Whether it can be asked without a network.
    #[must_use]
    pub fn is_local(&self) -> bool {
        matches!(self.place, Place::Local(_))
    }

    /// The layer of this name, if the index has it.
    ///
    /// # Errors
    /// No answer, or one that makes no sense.
    pub fn layer(&self, name: &str) -> Result<Option<Entry>, Problem> {
        if let Place::Server(web, base) = &self.place {
            let url = format!("{base}/api/v2/layers/{name}");
            if let Some(body) = web.get(&url)? {
                return answered(&body, name)
                    .map_err(|message| Problem::new(format!("{}: {message}", repo::shown(&url))));
            }
            // No such layer, or no such API but a file.
        }
        let listed = self.listed()?.unwrap_or_default();
        Ok(listed.iter().find(|entry| entry.is(name)).cloned())
    }

    /// The layers that all terms find, see [`Entry::matches`]; the original's server has its own way
    /// to look for words.
    ///
    /// # Errors
    /// No answer, or one that makes no sense.
    pub fn search(&self, terms: &[String]) -> Result<Vec<Entry>, Problem> {
        let listed = self.listed()?;
        let (Place::Server(web, base), None) = (&self.place, listed) else {
            let listed = listed.unwrap_or_default().iter();
            return Ok(listed
                .filter(|entry| entry.matches(terms))
                .cloned()
                .collect());
        };
        let query: Vec<String> = terms
            .iter()
            .map(|term| format!("q={}", utf8_percent_encode(term, NON_ALPHANUMERIC)))
            .collect();
        let mut url = format!("{base}/api/v2/layers/");
        if !query.is_empty() {
            url = format!("{url}?{}", query.join("&"));
        }
        let refuse = |message: String| Problem::new(format!("{}: {message}", repo::shown(&url)));
        let body = web.get(&url)?;
        let body = body.ok_or_else(|| refuse("there is no index of layers".to_owned()))?;
        entries(&body).map_err(refuse)
    }

    /// The whole list, if there is one; asked for once. Servers of pages answer with a page for whatever
    /// they do not have.
    fn listed(&self) -> Result<Option<&[Entry]>, Problem> {
        if self.listed.get().is_none() {
            let listed = match &self.place {
                Place::Server(web, base) => {
                    let body = web.get(&format!("{base}/{FILE}"))?;
                    body.and_then(|body| entries(&body).ok())
                }
                Place::File(web, url) => {
                    let refuse =
                        |message: String| Problem::new(format!("{}: {message}", repo::shown(url)));
                    let body = web.get(url)?;
                    let body = body.ok_or_else(|| refuse("is not there".to_owned()))?;
                    Some(entries(&body).map_err(refuse)?)
                }
                Place::Local(path) => Some(local(path)?),
            };
            // Nobody else has set it meanwhile: this is one thread.
            let _ = self.listed.set(listed);
        }
        Ok(self.listed.get().and_then(Option::as_deref))
    }
}

/// The list in a file, or in that of a directory.
fn local(path: &Path) -> Result<Vec<Entry>, Problem> {
    let path = match path.is_dir() {
        true => path.join(FILE),
        false => path.to_owned(),
    };
    let refuse = |message: String| Problem::new(message).in_file(&path);
    let unreadable = |error: std::io::Error| refuse(format!("cannot be read: {error}"));
    let file = fs::File::open(&path).map_err(unreadable)?;
    let mut body = Vec::new();
    file.take(MAX_FILE + 1)
        .read_to_end(&mut body)
        .map_err(unreadable)?;
    if u64::try_from(body.len()).is_ok_and(|size| size > MAX_FILE) {
        return Err(refuse(format!("is larger than {} MiB", MAX_FILE >> 20)));
    }
    entries(&body).map_err(refuse)
}

/// What a server says of one layer: an object, a list of one, or nothing in one of its ways.
fn answered(body: &[u8], name: &str) -> Result<Option<Entry>, String> {
    let found = match parsed(body)? {
        Value::Null => return Ok(None),
        Value::Array(items) => items,
        Value::Object(map) if map.is_empty() => return Ok(None),
        object => vec![object],
    };
    if found.is_empty() {
        return Ok(None);
    }
    let entries: Vec<Entry> = found.iter().map(Entry::read).collect::<Result<_, _>>()?;
    match entries.into_iter().find(|entry| entry.is(name)) {
        Some(entry) => Ok(Some(entry)),
        None => Err("it answers with other layers".to_owned()),
    }
}

fn parsed(body: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(body)
        .map_err(|_| "it answers with something that is no JSON; is this an index?".to_owned())
}

fn entries(body: &[u8]) -> Result<Vec<Entry>, String> {
    match parsed(body)? {
        Value::Null => Ok(Vec::new()),
        Value::Array(items) => items.iter().map(Entry::read).collect(),
        _ => Err("it answers with something other than a list of layers".to_owned()),
    }
}
