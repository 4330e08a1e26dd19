//! JSON Schemas of interfaces: compile, validate, and turn strings into the scalars a schema asks for.
//!
//! The only file that names the validator. The draft is the one `$schema` names; without it 2020-12,
//! or draft 4 (the original's) where only that accepts the schema. `format` stays an annotation, as
//! in the original. References outside the document are refused: nothing is fetched.

use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::{Draft, JsonType, ValidationError, Validator};
use serde_json::{Number, Value};

/// Coercion replaces at most this many values; each round turns at least one string into a scalar.
const MAX_ROUNDS: usize = 1000;

/// A compiled schema.
#[derive(Debug)]
pub struct Schema {
    validator: Validator,
    /// Whether only draft 4 accepted a schema that names no draft: worth a warning.
    pub is_legacy: bool,
}

/// What a valid instance became: the instance with strings coerced, and which those are.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked {
    /// The instance, as handlers get it.
    pub value: Value,
    /// Dotted paths of the strings that became something else, and what: `integer`, `boolean`…
    pub coerced: Vec<(String, &'static str)>,
}

/// One constraint that an instance does not meet. Never holds the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Dotted path within the instance; empty for the instance itself.
    pub path: String,
    /// The schema keyword, such as `type` or `required`.
    pub keyword: String,
    /// A sentence without the value, such as `value is not of type "integer"`.
    pub message: String,
}

impl Schema {
    /// Compiles a schema document.
    ///
    /// # Errors
    /// What is wrong with it, and where in it.
    pub fn compile(document: &Value) -> Result<Self, String> {
        Self::built(document).map_err(|defect| {
            let place = match defect.path.as_str() {
                "" => String::new(),
                path => format!(" at `{path}`"),
            };
            format!("is no valid JSON Schema{place}: {}", defect.message)
        })
    }

    /// Everything that is wrong with a schema document, in its order; nothing for one that compiles.
    #[must_use]
    pub fn defects(document: &Value) -> Vec<Defect> {
        let Err(first) = Self::built(document) else {
            return Vec::new();
        };
        let validator = jsonschema::meta::validator_for(document).ok();
        let all: Vec<Defect> = validator.map_or_else(Vec::new, |validator| {
            validator.iter_errors(document).map(Defect::of).collect()
        });
        // What a schema of schemas cannot know: references, patterns.
        if all.is_empty() { vec![first] } else { all }
    }

    fn built(document: &Value) -> Result<Self, Defect> {
        let build = |draft: Option<Draft>| {
            let mut options = jsonschema::options().should_validate_formats(false);
            if let Some(draft) = draft {
                options = options.with_draft(draft);
            }
            options.build(document)
        };
        let (validator, is_legacy) = if document.get("$schema").is_some() {
            (build(None), false)
        } else {
            match build(Some(Draft::Draft202012)) {
                Err(error) => match build(Some(Draft::Draft4)) {
                    Ok(validator) => (Ok(validator), true),
                    Err(_) => (Err(error), false),
                },
                good => (good, false),
            }
        };
        match validator {
            Ok(validator) => Ok(Self {
                validator,
                is_legacy,
            }),
            Err(error) => Err(Defect::of(error)),
        }
    }

    /// Validates an instance, coercing strings where the schema asks for another scalar type and
    /// `may_coerce` allows it for the JSON pointer: values of key-value stores are always strings.
    ///
    /// # Errors
    /// Every violation, in the schema's order.
    pub fn check(
        &self,
        instance: &Value,
        may_coerce: impl Fn(&str) -> bool,
    ) -> Result<Checked, Vec<Violation>> {
        let mut value = instance.clone();
        let mut coerced = Vec::new();
        for _ in 0..MAX_ROUNDS {
            let errors: Vec<_> = self.validator.iter_errors(&value).collect();
            if errors.is_empty() {
                return Ok(Checked { value, coerced });
            }
            let mut fixes: Vec<(String, Value)> = Vec::new();
            for error in &errors {
                fixes.extend(remedies(error));
            }
            fixes.retain(|(pointer, _)| may_coerce(pointer));
            if fixes.is_empty() {
                return Err(errors.iter().map(Violation::of).collect());
            }
            drop(errors);
            for (pointer, scalar) in fixes {
                if let Some(slot) = value.pointer_mut(&pointer) {
                    coerced.push((dotted(&pointer), kind(&scalar)));
                    *slot = scalar;
                }
            }
        }
        let errors = self.validator.iter_errors(&value);
        Err(errors.map(|error| Violation::of(&error)).collect())
    }
}

/// Something wrong with a schema document itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Defect {
    /// Dotted path within the document; empty for the document itself.
    pub path: String,
    /// What it is, as a sentence.
    pub message: String,
}

impl Defect {
    fn of(error: ValidationError<'_>) -> Self {
        let mut message = error.to_string();
        let signs = ["resolve-http", "resolve-file", "retrieving it failed"];
        if signs.iter().any(|sign| message.contains(sign)) {
            message =
                "a `$ref` leads to another document, which is not fetched; put it under `$defs`"
                    .to_owned();
        }
        Self {
            path: dotted(error.instance_path().as_str()),
            message,
        }
    }
}

impl Violation {
    fn of(error: &ValidationError<'_>) -> Self {
        Self {
            path: dotted(error.instance_path().as_str()),
            keyword: error.kind().keyword().to_owned(),
            message: error.masked().to_string(),
        }
    }
}

/// Replacements that would cure an error, if a string that reads as another scalar is its cause.
fn remedies(error: &ValidationError<'_>) -> Vec<(String, Value)> {
    let text = match error.instance().as_ref() {
        Value::String(text) => Some(text.as_str()),
        _ => None,
    };
    let replaced = |scalar: Option<Value>| {
        scalar
            .map(|scalar| (error.instance_path().as_str().to_owned(), scalar))
            .into_iter()
            .collect()
    };
    match (error.kind(), text) {
        (ValidationErrorKind::Type { kind }, Some(text)) => replaced(scalar_of(text, kind)),
        (ValidationErrorKind::Enum { options }, Some(text)) => {
            replaced(options.as_array().and_then(|options| {
                options
                    .iter()
                    .find(|option| reads_as(text, option))
                    .cloned()
            }))
        }
        (ValidationErrorKind::Constant { expected_value }, Some(text)) => {
            replaced(Some(expected_value.as_ref().clone()).filter(|value| reads_as(text, value)))
        }
        // The first alternative whose every complaint can be cured.
        (
            ValidationErrorKind::AnyOf { context } | ValidationErrorKind::OneOfNotValid { context },
            _,
        ) => context
            .iter()
            .map(|branch| branch.iter().map(remedies).collect::<Vec<_>>())
            .find(|branch| !branch.is_empty() && branch.iter().all(|cure| !cure.is_empty()))
            .map(|branch| branch.into_iter().flatten().collect())
            .unwrap_or_default(),
        _ => Vec::new(),
    }
}

/// Whether a string is how this scalar is written.
fn reads_as(text: &str, scalar: &Value) -> bool {
    !scalar.is_string()
        && !scalar.is_object()
        && !scalar.is_array()
        && scalar.to_string().as_str() == text
}

fn scalar_of(text: &str, wanted: &TypeKind) -> Option<Value> {
    let wants = |kind: JsonType| match wanted {
        TypeKind::Single(single) => *single == kind,
        TypeKind::Multiple(set) => set.contains(kind),
    };
    let integer = || {
        let signed = text.parse::<i64>().ok().map(Value::from);
        signed.or_else(|| text.parse::<u64>().ok().map(Value::from))
    };
    if wants(JsonType::Integer)
        && let Some(value) = integer()
    {
        return Some(value);
    }
    if wants(JsonType::Number)
        && let Ok(value) = serde_json::from_str::<Number>(text)
    {
        return Some(Value::Number(value));
    }
    if wants(JsonType::Boolean)
        && let Some(value) = boolean(text)
    {
        return Some(Value::Bool(value));
    }
    (wants(JsonType::Null) && matches!(text, "" | "null")).then_some(Value::Null)
}

/// The schema's word for what a value is.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// The words people put into a key-value store for a boolean, in any case.
fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" => Some(true),
        "false" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// A JSON pointer as a dotted path.
fn dotted(pointer: &str) -> String {
    pointer
        .split('/')
        .skip(1)
        .map(|segment| segment.replace("~1", "/").replace("~0", "~"))
        .collect::<Vec<_>>()
        .join(".")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(schema: &Value, instance: &Value) -> Result<Checked, Vec<Violation>> {
        Schema::compile(schema).unwrap().check(instance, |_| true)
    }

    #[test]
    fn strings_become_the_scalars_that_the_schema_asks_for() {
        let schema = json!({"type": "object", "properties": {
            "port": {"type": "integer"}, "ratio": {"type": "number"}, "tls": {"type": "boolean"},
            "level": {"enum": [1, 2]}, "maybe": {"type": ["integer", "null"]}, "name": {"type": "string"},
            "either": {"anyOf": [{"type": "boolean"}, {"type": "integer"}]},
            "ports": {"type": "array", "items": {"$ref": "#/definitions/port"}}},
            "definitions": {"port": {"type": "integer", "minimum": 1}}});
        let got = check(
            &schema,
            &json!({"port": "3306", "ratio": "0.5", "tls": "Yes", "level": "2",
            "maybe": "", "name": "7", "either": "8", "ports": ["1", 2, "3"]}),
        )
        .unwrap();
        assert_eq!(
            got.value,
            json!({"port": 3306, "ratio": 0.5, "tls": true, "level": 2,
            "maybe": null, "name": "7", "either": 8, "ports": [1, 2, 3]})
        );
        assert!(
            got.coerced.contains(&("ports.0".to_owned(), "integer")),
            "{:?}",
            got.coerced
        );
    }

    #[test]
    fn nothing_but_strings_that_read_exactly_is_coerced() {
        let schema =
            json!({"properties": {"port": {"type": "integer"}, "name": {"type": "string"}}});
        for bad in [
            json!({"port": "33o6"}),
            json!({"port": "1.5"}),
            json!({"port": ""}),
            json!({"name": 5}),
        ] {
            assert!(check(&schema, &bad).is_err(), "{bad}");
        }
        let kept = Schema::compile(&schema)
            .unwrap()
            .check(&json!({"port": "1"}), |_| false);
        assert!(kept.is_err());
    }

    #[test]
    fn violations_name_path_and_keyword_but_never_the_value() {
        let schema = json!({"type": "object", "required": ["host"], "additionalProperties": false, "properties": {
            "host": {"type": "string"}, "user": {"type": "string", "pattern": "^a", "maxLength": 3},
            "kind": {"enum": ["x"]}, "one": {"const": "q"}, "n": {"maximum": 3},
            "any": {"anyOf": [{"type": "null"}, {"minLength": 100}]}, "list": {"uniqueItems": true}}});
        let errors = check(
            &schema,
            &json!({"user": "hunter2", "kind": "hunter2", "one": "hunter2", "n": 20022,
            "any": "hunter2", "list": ["hunter2", "hunter2"]}),
        )
        .unwrap_err();
        assert!(
            errors
                .iter()
                .any(|v| v.keyword == "required" && v.path.is_empty()),
            "{errors:?}"
        );
        assert!(
            errors
                .iter()
                .any(|v| v.keyword == "pattern" && v.path == "user"),
            "{errors:?}"
        );
        assert!(errors.len() >= 7, "{errors:?}");
        let shown = format!("{errors:?}");
        assert!(
            !shown.contains("hunter2") && !shown.contains("20022"),
            "{shown}"
        );
    }

    #[test]
    fn drafts_follow_schema_then_2020_then_4() {
        let old = json!({"properties": {"n": {"minimum": 1, "exclusiveMinimum": true}}});
        let compiled = Schema::compile(&old).unwrap();
        assert!(compiled.is_legacy);
        assert!(compiled.check(&json!({"n": 1}), |_| false).is_err());
        let named = json!({"$schema": "http://json-schema.org/draft-07/schema#", "properties": {"n": {"const": 1}}});
        assert!(!Schema::compile(&named).unwrap().is_legacy);
        assert!(
            Schema::compile(&json!({"const": 1}))
                .unwrap()
                .check(&json!(2), |_| false)
                .is_err()
        );
    }

    #[test]
    fn a_schema_that_is_none_says_where() {
        for (schema, place) in [
            (
                json!({"properties": {"a": {"type": "strnig"}}}),
                "properties.a.type",
            ),
            (json!({"type": 5}), "type"),
            (json!({"$ref": "http://127.0.0.1:1/schema"}), ""),
            (json!({"properties": {"a": {"pattern": "("}}}), "pattern"),
        ] {
            let error = Schema::compile(&schema).unwrap_err();
            assert!(error.contains(place), "{error}");
        }
    }

    #[test]
    fn format_is_an_annotation() {
        let schema =
            json!({"$schema": "http://json-schema.org/draft-04/schema#", "format": "ipv4"});
        assert!(check(&schema, &json!("no address")).is_ok());
    }
}
