//! Example data of a layer: right by its schemas, enough for its rules, and with something to compare
//! what is rendered with. It renders nothing.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use super::Findings;
use super::layer::World;
use super::rules;
use super::source::Source;
use super::variables;
use crate::contract::problem::Problem;
use crate::contract::rule::Rule;
use crate::contract::schema::Schema;
use crate::contract::text::{Snippet, Step};
use crate::contract::{suggest, tree};

/// Example data, below the layer.
pub(crate) const DATA: &str = "example/data.yaml";

/// What the example data renders to, below the layer.
pub(crate) const EXPECTED: &str = "expected";

/// Checks the example of a layer with these rules.
pub(super) fn check(dir: &Path, world: &World, known: &[Rule], findings: &mut Findings) {
    if variables::file(dir).is_some() {
        findings.files += 1;
        let told = variables::read(dir).err();
        findings.problems.extend(told.unwrap_or_default());
    }
    let file = dir.join(DATA);
    if !file.is_file() {
        if !known.is_empty() {
            let message = format!("has no {DATA}, with which `cake test` would try its rules");
            findings.warn(Problem::new(message).in_file(dir));
        }
        return;
    }
    let Some(source) = findings.read(&file) else {
        return;
    };
    let data = match source.tree(Snippet::Masked) {
        Ok((data, notes)) => {
            findings.warnings.extend(notes);
            tree::nest_dotted(data)
        }
        Err(problem) => return findings.problem(problem),
    };
    let names = data.as_object().into_iter().flatten().map(|(name, _)| name);
    for name in names {
        let is_known = world.schemas.keys().any(|known| tree::head(known) == name);
        if !is_known && world.unknown.is_empty() {
            let hint = suggest::hint(name, world.schemas.keys().map(String::as_str));
            let message = format!("no schema is named so{hint}");
            findings.warn(source.problem(&[Step::Key(name)], message));
        }
    }
    for name in interfaces(world, known) {
        let named = world.schemas.get(name);
        let named = named.or_else(|| world.schemas.get(tree::head(name)));
        let told = named.and_then(|(_, schema)| violations(&source, &data, name, schema));
        findings.problems.extend(told.unwrap_or_default());
    }
    for rule in known {
        for name in rule
            .when
            .iter()
            .filter(|name| tree::lookup(&data, name).is_none())
        {
            let message = format!("holds no `{name}`, for which {} waits", rule.label());
            findings.warn(Problem::new(message).in_file(&file));
        }
    }
    let expected = dir.join(EXPECTED);
    for target in rules::targets(known) {
        if !expected.join(&target).is_file() {
            let message = format!(
                "has no {EXPECTED}/{}, which a rule renders; `cake test --update` writes it",
                target.display()
            );
            findings.warn(Problem::new(message).in_file(dir));
        }
    }
}

/// The interfaces that are judged: those of the rules, and those of schemas that no rule takes in parts.
fn interfaces<'a>(world: &'a World, known: &'a [Rule]) -> BTreeSet<&'a str> {
    let waited: BTreeSet<&str> = known
        .iter()
        .flat_map(|rule| rule.when.iter().map(String::as_str))
        .collect();
    let is_whole = |name: &&str| {
        let mut waited = waited.iter();
        !waited.any(|waited| waited != name && tree::head(waited) == *name)
    };
    let named = world.schemas.keys().map(String::as_str);
    let whole: Vec<&str> = named.filter(is_whole).collect();
    waited.into_iter().chain(whole).collect()
}

/// What is wrong with the data of an interface, with the line of each; `None` if there is none of it, or
/// nothing to judge it by.
pub(super) fn violations(
    source: &Source,
    data: &Value,
    name: &str,
    schema: &Value,
) -> Option<Vec<Problem>> {
    let value = tree::lookup(data, name)?;
    let schema = Schema::compile(schema).ok()?;
    let at: Vec<_> = name.split('.').map(Step::Key).collect();
    let violations = schema.check(value, |_| false).err().unwrap_or_default();
    let told = violations.iter().map(|violation| {
        let message = format!("{} ({})", violation.message, violation.keyword);
        source.problem_below(&at, &violation.path, data, message)
    });
    Some(told.collect())
}
