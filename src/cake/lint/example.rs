//! Example data of a layer: right by its schemas, enough for its rules, and with something to compare
//! what is rendered with. It renders nothing.

use std::path::Path;

use super::Findings;
use super::layer::World;
use super::rules;
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
    for (name, (_, document)) in &world.schemas {
        let (Some(value), Ok(schema)) = (tree::lookup(&data, name), Schema::compile(document))
        else {
            continue;
        };
        let at: Vec<_> = name.split('.').map(Step::Key).collect();
        for violation in schema.check(value, |_| false).err().unwrap_or_default() {
            let message = format!("{} ({})", violation.message, violation.keyword);
            findings.problem(source.problem_below(&at, &violation.path, &data, message));
        }
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
