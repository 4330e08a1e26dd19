//! Whether data is enough for the rules of a layer, before anything waits for it in vain.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::example::violations;
use super::layer::{self, Schemas};
use super::source::Source;
use crate::cake::files;
use crate::contract::problem::Problem;
use crate::contract::rule::{self, Op, Rule};
use crate::contract::text::Snippet;
use crate::contract::tree;

/// What keeps the rules of the layer in `dir` from running with the data in `file`: what is missing and
/// what is invalid, with its line. Empty also where that cannot be known, because a rule or a schema is
/// broken. `needs` are the layers that it needs.
#[must_use]
pub fn lacking(dir: &Path, needs: &[(String, PathBuf)], file: &Path) -> Vec<Problem> {
    let data = Source::read(file).and_then(|source| {
        let (data, _) = source.tree(Snippet::Masked)?;
        Ok((source, tree::nest_dotted(data)))
    });
    let (source, data) = match data {
        Ok(data) => data,
        Err(problem) => return vec![problem],
    };
    let mut schemas = Schemas::new();
    layer::collect_schemas(dir, &mut schemas);
    for (_, dir) in needs {
        layer::collect_schemas(dir, &mut schemas);
    }
    let mut lacking: Vec<Problem> = Vec::new();
    for rule in rules(dir) {
        let told = rule
            .when
            .iter()
            .map(|name| one(&source, &data, &schemas, name, &rule));
        let told: Vec<Vec<Problem>> = told.collect();
        if rule.op == Op::Any && told.iter().any(Vec::is_empty) {
            continue;
        }
        for problem in told.into_iter().flatten() {
            if !lacking.contains(&problem) {
                lacking.push(problem);
            }
        }
    }
    lacking
}

/// What is wrong with the data of one interface of a rule.
fn one(source: &Source, data: &Value, schemas: &Schemas, name: &str, rule: &Rule) -> Vec<Problem> {
    if tree::lookup(data, name).is_none() {
        let message = format!("holds no `{name}`, for which {} waits", rule.label());
        return vec![Problem::new(message).in_file(&source.file)];
    }
    // The schema of its own name, or of the part before the first dot, as disco takes it.
    let named = schemas.get(name).or_else(|| schemas.get(tree::head(name)));
    let told = named.and_then(|(_, schema)| violations(source, data, name, schema));
    told.unwrap_or_default()
}

fn rules(dir: &Path) -> Vec<Rule> {
    let files = layer::files(dir);
    let files = files
        .iter()
        .filter(|path| path.extension().is_some_and(|found| found == "rules"));
    let parsed = files.filter_map(|file| rule::parse(file, &files::read_small(file).ok()?).ok());
    parsed.flat_map(|parsed| parsed.rules).collect()
}
