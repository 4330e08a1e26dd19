//! Asks an index: the original's server (`api/v2/layers/…`), or files that any web server hands out,
//! which may as well lie on this machine. What it answers is checked, not trusted.

use std::cell::{OnceCell, RefCell};
use std::path::{Path, PathBuf};
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::entry::Entry;
use super::web::{Trust, Web};
use crate::cake::files;
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
    /// What was odd, and not yet told.
    odd: RefCell<Vec<Problem>>,
}

enum Place {
    /// A base URL; the API, or a directory with an `index.json`.
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
                    false => Place::Server(web, endpoint.to_owned()),
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
            odd: RefCell::default(),
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
            let url = below(base, &format!("api/v2/layers/{name}"));
            let told = |message: String| Problem::new(format!("{}: {message}", repo::shown(&url)));
            if let Some(body) = web.get(&url)? {
                match parsed(&body) {
                    Ok(answer) => {
                        let found = self.entries_of(answer, &repo::shown(&url));
                        return found.and_then(|found| named(found, name)).map_err(told);
                    }
                    // Else a page in place of what is not there: there is a file.
                    Err(message) if self.listed()?.is_none() => return Err(told(message)),
                    Err(_) => {}
                }
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
        let mut url = below(base, "api/v2/layers/");
        if !query.is_empty() {
            let joint = if url.contains('?') { '&' } else { '?' };
            url = format!("{url}{joint}{}", query.join("&"));
        }
        let refuse = |message: String| Problem::new(format!("{}: {message}", repo::shown(&url)));
        let body = web.get(&url)?;
        let body = body.ok_or_else(|| refuse("there is no index of layers".to_owned()))?;
        self.entries(&body, &repo::shown(&url)).map_err(refuse)
    }

    /// The list in a file, or in that of a directory.
    fn local(&self, path: &Path) -> Result<Vec<Entry>, Problem> {
        let path = match path.is_dir() {
            true => path.join(FILE),
            false => path.to_owned(),
        };
        let refuse = |message: String| Problem::new(message).in_file(&path);
        let body = files::read(&path, MAX_FILE);
        let body = body.map_err(|error| refuse(format!("cannot be read: {error}")))?;
        let shown = path.display().to_string();
        self.entries(&body, &shown).map_err(refuse)
    }

    /// What was odd in what it said so far, each told once.
    pub fn take_warnings(&self) -> Vec<Problem> {
        self.odd.take()
    }

    fn entries(&self, body: &[u8], place: &str) -> Result<Vec<Entry>, String> {
        self.entries_of(parsed(body)?, place)
    }

    /// The layers of an answer: a list, one alone, or nothing in one of several ways. What is none is left
    /// out with a warning, unless there is nothing else.
    fn entries_of(&self, answer: Value, place: &str) -> Result<Vec<Entry>, String> {
        let items = match answer {
            Value::Null => return Ok(Vec::new()),
            Value::Object(map) if map.is_empty() => return Ok(Vec::new()),
            Value::Array(items) => items,
            one => vec![one],
        };
        let read: Vec<_> = items.iter().map(Entry::read).collect();
        if read.iter().all(Result::is_err)
            && let Some(Err(message)) = read.first()
        {
            return Err(message.clone());
        }
        let mut entries = Vec::new();
        for (index, read) in read.into_iter().enumerate() {
            match read {
                Ok(entry) => entries.push(entry),
                Err(message) => self.odd.borrow_mut().push(Problem::new(format!(
                    "{place}: its layer {} is left out: {message}",
                    index + 1
                ))),
            }
        }
        Ok(entries)
    }

    /// The whole list, if there is one; asked for once. Servers of pages answer with a page for whatever
    /// they do not have.
    fn listed(&self) -> Result<Option<&[Entry]>, Problem> {
        if self.listed.get().is_none() {
            let listed = match &self.place {
                Place::Server(web, base) => {
                    let url = below(base, FILE);
                    let body = web.get(&url)?;
                    body.and_then(|body| self.entries(&body, &repo::shown(&url)).ok())
                }
                Place::File(web, url) => {
                    let refuse =
                        |message: String| Problem::new(format!("{}: {message}", repo::shown(url)));
                    let body = web.get(url)?;
                    let body = body.ok_or_else(|| refuse("is not there".to_owned()))?;
                    Some(self.entries(&body, &repo::shown(url)).map_err(refuse)?)
                }
                Place::Local(path) => Some(self.local(path)?),
            };
            // Nobody else has set it meanwhile: this is one thread.
            let _ = self.listed.set(listed);
        }
        Ok(self.listed.get().and_then(Option::as_deref))
    }
}

/// A URL below that of a directory; what is asked for along with the directory is with this, too.
fn below(base: &str, path: &str) -> String {
    let base = base.split('#').next().unwrap_or_default();
    let (dir, query) = match base.split_once('?') {
        Some((dir, query)) => (dir, format!("?{query}")),
        None => (base, String::new()),
    };
    format!("{}/{path}{query}", dir.trim_end_matches('/'))
}

/// The layer of this name among those that were answered with.
fn named(found: Vec<Entry>, name: &str) -> Result<Option<Entry>, String> {
    if found.is_empty() {
        return Ok(None);
    }
    match found.into_iter().find(|entry| entry.is(name)) {
        Some(entry) => Ok(Some(entry)),
        None => Err("it answers with other layers".to_owned()),
    }
}

fn parsed(body: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(body)
        .map_err(|_| "it answers with something that is no JSON; is this an index?".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_with_the_endpoint_goes_with_every_question() {
        for (base, expected) in [
            ("https://h", "https://h/index.json"),
            ("https://h/a//", "https://h/a/index.json"),
            ("https://h/a/?token=x", "https://h/a/index.json?token=x"),
            ("https://h?token=x#y", "https://h/index.json?token=x"),
        ] {
            assert_eq!(below(base, FILE), expected);
        }
    }

    #[test]
    fn one_bad_layer_among_good_ones_is_left_out_with_a_warning() {
        let dir = tempfile::tempdir().unwrap();
        let index = |text: &str| {
            std::fs::write(dir.path().join(FILE), text).unwrap();
            let here = dir.path().to_string_lossy().into_owned();
            let timeout = Duration::from_secs(1);
            Index::new(&here, Path::new("."), &Trust::default(), false, timeout).unwrap()
        };
        let some = index(r#"[{"name": "web"}, {"name": "../x"}, 5]"#);
        assert!(some.layer("web").unwrap().is_some());
        assert_eq!(some.search(&[]).unwrap().len(), 1);
        let told = some.take_warnings();
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(
            told[0].message.contains("its layer 2 is left out"),
            "{told:?}"
        );
        assert!(index("[5]").layer("web").is_err());
        assert!(index("[]").layer("web").unwrap().is_none());
    }
}
