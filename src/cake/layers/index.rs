//! Asks an index: the original's server (`api/v2/layers/…`), or files that any web server hands out,
//! which may as well lie on this machine. What it answers is checked, not trusted.

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
        Ok(Self { place })
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
        let Place::Server(web, base) = &self.place else {
            return Ok(self.all()?.into_iter().find(|entry| entry.is(name)));
        };
        let url = format!("{base}/api/v2/layers/{name}");
        let refuse = |message: String| Problem::new(format!("{}: {message}", repo::shown(&url)));
        let Some(body) = web.get(&url)? else {
            // No such layer, or no such API but a file.
            let listed = self.listed(web, base)?.unwrap_or_default();
            return Ok(listed.into_iter().find(|entry| entry.is(name)));
        };
        let found = match parsed(&body).map_err(&refuse)? {
            Value::Null => return Ok(None),
            Value::Array(items) => items,
            Value::Object(map) if map.is_empty() => return Ok(None),
            object => vec![object],
        };
        if found.is_empty() {
            return Ok(None);
        }
        let entries: Result<Vec<_>, _> = found.iter().map(Entry::read).collect();
        let entries = entries.map_err(&refuse)?;
        match entries.into_iter().find(|entry| entry.is(name)) {
            Some(entry) => Ok(Some(entry)),
            None => Err(refuse("it answers with other layers".to_owned())),
        }
    }

    /// The layers that all terms find, see [`Entry::matches`]; the original's server has its own way
    /// to look for words.
    ///
    /// # Errors
    /// No answer, or one that makes no sense.
    pub fn search(&self, terms: &[String]) -> Result<Vec<Entry>, Problem> {
        let matching = |entries: Vec<Entry>| {
            entries
                .into_iter()
                .filter(|entry| entry.matches(terms))
                .collect()
        };
        let Place::Server(web, base) = &self.place else {
            return Ok(matching(self.all()?));
        };
        if let Some(listed) = self.listed(web, base)? {
            return Ok(matching(listed));
        }
        let query: Vec<String> = terms
            .iter()
            .map(|term| format!("q={}", utf8_percent_encode(term, NON_ALPHANUMERIC)))
            .collect();
        let mut url = format!("{base}/api/v2/layers/");
        if !query.is_empty() {
            url = format!("{url}?{}", query.join("&"));
        }
        match web.get(&url)? {
            None => Err(Problem::new(format!(
                "{}: there is no index of layers",
                repo::shown(base)
            ))),
            Some(body) => entries(&body)
                .map_err(|message| Problem::new(format!("{}: {message}", repo::shown(&url)))),
        }
    }

    /// The `index.json` of a server, if it has one. Servers of pages answer with a page for whatever
    /// they do not have.
    fn listed(&self, web: &Web, base: &str) -> Result<Option<Vec<Entry>>, Problem> {
        let body = web.get(&format!("{base}/{FILE}"))?;
        Ok(body.and_then(|body| entries(&body).ok()))
    }

    fn all(&self) -> Result<Vec<Entry>, Problem> {
        match &self.place {
            Place::Server(web, base) => Ok(self.listed(web, base)?.unwrap_or_default()),
            Place::File(web, url) => {
                let refuse =
                    |message: &str| Problem::new(format!("{}: {message}", repo::shown(url)));
                let body = web.get(url)?.ok_or_else(|| refuse("is not there"))?;
                entries(&body).map_err(|message| refuse(&message))
            }
            Place::Local(path) => {
                let path = match path.is_dir() {
                    true => path.join(FILE),
                    false => path.clone(),
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
        }
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
