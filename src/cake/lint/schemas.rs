//! Schema files: each names its interface and is a JSON Schema.

use serde_json::Value;

use super::Findings;
use super::source::Source;
use crate::contract::problem::Problem;
use crate::contract::schema::Schema;
use crate::contract::text::Snippet;

/// Checks a schema file. Returns the name of its interface and the document, if it has a name, right or
/// not: then rules that wait for it are told of the schema and not of its absence.
pub(super) fn check(source: &Source, findings: &mut Findings) -> Option<(String, Value)> {
    let (document, notes) = match source.tree(Snippet::Shown) {
        Ok(read) => read,
        Err(problem) => {
            findings.problem(problem);
            return None;
        }
    };
    findings.warnings.extend(notes);
    for defect in Schema::defects(&document) {
        let message = format!("is no valid JSON Schema: {}", defect.message);
        findings.problem(source.problem_below(&[], &defect.path, &document, message));
    }
    if Schema::compile(&document).is_ok_and(|schema| schema.is_legacy) {
        let message = "is valid by draft 4 only, and is read as such; name a draft with `$schema`";
        findings.warn(Problem::new(message).in_file(&source.file));
    }
    match document.get("name").and_then(Value::as_str) {
        Some(name) => Some((name.to_owned(), document)),
        None => {
            let message =
                "has no `name`; expected the name of its interface, such as `name: mysql`";
            findings.problem(Problem::new(message).in_file(&source.file));
            None
        }
    }
}
