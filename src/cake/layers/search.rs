//! `cake search`: which layers there are for some words, in cake itself, below `CAKE_PATH` and in the
//! index.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::Request;
use super::entry::Entry;
use super::index::Index;
use super::local::{self, CakePath};
use super::tree::Tree;
use super::web::Trust;
use crate::cake::failure::Failure;
use crate::cake::ui::{Ui, printable};
use crate::contract::layer::file::LayerFile;
use crate::contract::layer::repo;
use crate::contract::problem::Problem;

/// How the hits are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// A table.
    #[default]
    Text,
    /// A list of objects, indented.
    Json,
    /// The same.
    Yaml,
}

/// A column is at least that wide, as in the original.
const COLUMN: usize = 10;

/// Finds the layers that all of `terms` find; all layers for no term. The text ends with a line break.
/// What is at hand comes first and hides what the index has by the same name, as it does for
/// [`super::resolve()`].
///
/// # Errors
/// 1: the index cannot be asked. What is broken below `CAKE_PATH` is warned of and left out.
pub fn search(
    request: &Request,
    terms: &[String],
    format: Format,
    ui: &Ui,
) -> Result<String, Failure> {
    let mut hits: Vec<Entry> = Vec::new();
    let cake_path = CakePath::scan(&request.cake_path, ui);
    for name in cake_path.names() {
        let found = cake_path.layer(name).map_err(|problem| vec![problem]);
        let read = found.and_then(|dir| match dir {
            Some(dir) => Tree::read(dir)?.layer_file(dir).map(Some),
            None => Ok(None),
        });
        match read {
            Ok(read) => hits.extend(read.map(|read| entry(&read.value, "CAKE_PATH"))),
            // The others are there all the same.
            Err(problems) => problems.iter().for_each(|problem| ui.warn(problem)),
        }
    }
    for name in local::embedded_names() {
        let Some(tree) = local::embedded(name) else {
            continue;
        };
        let read = tree.layer_file(Path::new(name)).map_err(Failure::config)?;
        hits.push(entry(&read.value, "cake"));
    }
    hits.retain(|hit| hit.matches(terms));
    if let Some(endpoint) = request.index() {
        let shown = repo::shown(endpoint);
        let trust = Trust::new(request.cacert.as_deref())
            .map_err(|problem| Failure::config(vec![problem]))?;
        let index = Index::new(
            endpoint,
            &request.base,
            &trust,
            request.insecure,
            request.timeout,
        )
        .map_err(Failure::failed)?;
        let mut found = match request.offline && !index.is_local() {
            true => {
                let message = "is not asked while offline; this is what is at hand";
                ui.warn(&Problem::new(format!("{shown}: {message}")));
                Vec::new()
            }
            false => {
                let _step = ui.step("Asking", &shown);
                let found = index.search(terms);
                let odd = index.take_warnings();
                odd.iter().for_each(|problem| ui.warn(problem));
                found.map_err(Failure::failed)?
            }
        };
        for hit in &mut found {
            hit.fields
                .insert("source".to_owned(), shown.as_str().into());
        }
        hits.extend(found);
    }
    let mut seen = Vec::new();
    hits.retain(|hit| {
        let is_new = !seen.contains(&hit.name);
        seen.push(hit.name.clone());
        is_new
    });
    hits.sort_by(|one, other| one.name.cmp(&other.name));
    // Somebody's repository may need a login, which is for nobody else.
    for value in hits.iter_mut().flat_map(|hit| hit.fields.values_mut()) {
        if let Value::String(text) = value {
            *text = match repo::transport(text) {
                Ok(_) => repo::shown(text),
                Err(_) => repo::cleaned(text),
            };
        }
    }
    Ok(match format {
        Format::Text => printable(&table(&hits)).into_owned(),
        Format::Json => format!("{:#}\n", list(hits)),
        // A tree of JSON is always one of YAML.
        Format::Yaml => serde_yaml::to_string(&list(hits)).unwrap_or_default(),
    })
}

/// A layer at hand in the shape of the index.
fn entry(layer: &LayerFile, source: &str) -> Entry {
    let mut fields = object(layer);
    fields.insert("source".to_owned(), source.into());
    Entry {
        name: layer.name.clone(),
        fields,
    }
}

/// A `layer.yaml` in the shape of the index.
pub(super) fn object(layer: &LayerFile) -> Map<String, Value> {
    let mut fields = Map::new();
    fields.insert("id".to_owned(), layer.name.as_str().into());
    fields.insert("name".to_owned(), layer.name.as_str().into());
    if !layer.authors.is_empty() {
        fields.insert("owner".to_owned(), json!(layer.authors));
    }
    for (key, value) in [
        ("repo", &layer.repo),
        ("repopath", &layer.repopath),
        ("summary", &layer.summary),
        ("version", &layer.version),
    ] {
        if let Some(value) = value {
            fields.insert(key.to_owned(), value.as_str().into());
        }
    }
    if !layer.layers.is_empty() {
        fields.insert("layers".to_owned(), json!(layer.layers));
    }
    fields
}

fn list(hits: Vec<Entry>) -> Value {
    hits.into_iter()
        .map(|hit| Value::Object(hit.fields))
        .collect()
}

fn table(hits: &[Entry]) -> String {
    let cell = |hit: &Entry, field: &str| {
        // Who writes an index does not write to our terminal.
        let text = hit.text(field).unwrap_or_default();
        text.replace(|c: char| c.is_control(), " ")
    };
    let rows: Vec<[String; 3]> = [["Id", "Name", "Description"].map(str::to_owned)]
        .into_iter()
        .chain(
            hits.iter()
                .map(|hit| ["id", "name", "summary"].map(|field| cell(hit, field))),
        )
        .collect();
    let width = |column: fn(&[String; 3]) -> &String| {
        let widths = rows.iter().map(|row| column(row).chars().count());
        widths.max().unwrap_or_default().max(COLUMN)
    };
    let (id, name) = (width(|[id, ..]| id), width(|[_, name, _]| name));
    let mut text = String::new();
    for [left, middle, right] in &rows {
        let line = format!("{left:id$} {middle:name$} {right}");
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hit(object: Value) -> Entry {
        Entry::read(&object).unwrap()
    }

    #[test]
    fn c5_a_hit_without_a_summary_is_a_hit() {
        let hits = [
            hit(json!({"id": "my", "name": "mysql", "summary": "A\u{1b}[31m\ndatabase"})),
            hit(json!({"name": "a-name-of-some-length"})),
        ];
        assert_eq!(
            table(&hits),
            "Id                    Name                  Description\n\
             my                    mysql                 A [31m database\n\
             a-name-of-some-length a-name-of-some-length\n"
        );
        assert_eq!(table(&[]), "Id         Name       Description\n");
    }
}
