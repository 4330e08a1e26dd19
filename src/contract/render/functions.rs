//! What templates can call beside the engine's own: formats, encodings, text, and what is around
//! them. Each is a function and a filter, under the names that users of consul-template, confd and
//! Ansible know. What one says when it fails holds no value.

use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use minijinja::value::{Kwargs, Rest, Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, filters, functions, tests};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use regex::Regex;

use super::fault::told;
use super::made;
use super::template::Surroundings;
use crate::contract::hash;
use crate::contract::text::{self, Format, Snippet};

/// What can be called: functions of ours, which are filters as well, and filters of the engine that are
/// functions here; then functions that are no filters.
pub(super) const NAMES: [&str; 41] = [
    "json",
    "tojson",
    "toJSON",
    "toJSONPretty",
    "parseJSON",
    "yaml",
    "toYAML",
    "parseYAML",
    "toml",
    "toTOML",
    "parseTOML",
    "base64",
    "base64_decode",
    "sha256",
    "urlencode",
    "regex_replace",
    "regex_match",
    "contains",
    "startsWith",
    "hasPrefix",
    "endsWith",
    "hasSuffix",
    "quote",
    "sortBy",
    "split",
    "join",
    "sort",
    "default",
    "indent",
    "upper",
    "lower",
    "trim",
    "replace",
    "length",
    "first",
    "last",
    "env",
    "file",
    "range",
    "dict",
    "namespace",
];

/// Adds everything. What a filter or a function makes, the surroundings are told.
pub(super) fn add(environment: &mut Environment<'_>, surroundings: &Arc<dyn Surroundings>) {
    // Under each name a filter and a function.
    macro_rules! both {
        ($($name:literal)+ => $function:expr) => {
            $(
                environment.add_filter($name, telling(Value::from_function($function), surroundings));
                environment.add_function($name, telling(Value::from_function($function), surroundings));
            )+
        };
    }
    both!("json" "tojson" "toJSON" => to_json);
    both!("toJSONPretty" => to_json_pretty);
    both!("parseJSON" => |text: Value| parsed(&text, Format::Json));
    both!("yaml" "toYAML" => to_yaml);
    both!("parseYAML" => |text: Value| parsed(&text, Format::Yaml));
    both!("toml" "toTOML" => to_toml);
    both!("parseTOML" => |text: Value| parsed(&text, Format::Toml));
    both!("base64" => |text: Value| Ok::<_, Error>(STANDARD.encode(&*plain(&text)?)));
    both!("base64_decode" => base64_decode);
    both!("sha256" => sha256);
    both!("urlencode" => urlencode);
    both!("regex_replace" => regex_replace);
    both!("regex_match" => regex_match);
    both!("contains" => contains);
    both!("startsWith" "hasPrefix" => starts_with);
    both!("endsWith" "hasSuffix" => ends_with);
    both!("quote" => quote);
    both!("sortBy" => sort_by);
    both!("split" => filters::split);
    both!("join" => join);
    both!("sort" => filters::sort);
    both!("default" => filters::default);
    both!("indent" => filters::indent);
    both!("upper" => filters::upper);
    both!("lower" => filters::lower);
    both!("trim" => filters::trim);
    both!("replace" => filters::replace);
    both!("length" => filters::length);
    both!("first" => filters::first);
    both!("last" => filters::last);
    own(environment, surroundings);
    add_surroundings(environment, surroundings);
}

/// A function that does the same, and tells what comes of it.
fn telling(
    function: Value,
    surroundings: &Arc<dyn Surroundings>,
) -> impl Fn(&State<'_, '_>, Rest<Value>) -> Result<Value, Error> + Send + Sync + 'static {
    let around = Arc::clone(surroundings);
    move |state: &State<'_, '_>, arguments: Rest<Value>| {
        let made = function.call(state, &arguments)?;
        made::tell(&*around, &made);
        Ok(made)
    }
}

/// Adds what is the engine's own, but for what only makes sense in HTML, and what would show all of the
/// data at once.
fn own(environment: &mut Environment<'_>, surroundings: &Arc<dyn Surroundings>) {
    macro_rules! add_telling {
        ($($name:literal => $function:expr,)+) => {
            $(environment.add_filter($name, telling(Value::from_function($function), surroundings));)+
        };
    }
    macro_rules! add {
        ($add:ident $($name:literal => $function:expr,)+) => {
            $(environment.$add($name, $function);)+
        };
    }
    add_telling!(
        "abs" => filters::abs,
        "bool" => filters::bool,
        "capitalize" => filters::capitalize,
        "count" => filters::length,
        "d" => filters::default,
        "dictsort" => filters::dictsort,
        "float" => filters::float,
        "format" => filters::format,
        "groupby" => filters::groupby,
        "int" => filters::int,
        "items" => filters::items,
        "lines" => filters::lines,
        "list" => filters::list,
        "map" => filters::map,
        "max" => filters::max,
        "min" => filters::min,
        "reject" => filters::reject,
        "rejectattr" => filters::rejectattr,
        "reverse" => filters::reverse,
        "round" => filters::round,
        "select" => filters::select,
        "selectattr" => filters::selectattr,
        "string" => |value: Value| plain(&value).map(Cow::into_owned),
        "sum" => filters::sum,
        "title" => filters::title,
        "unique" => filters::unique,
    );
    add!(add_test
        "boolean" => tests::is_boolean,
        "defined" => tests::is_defined,
        "divisibleby" => tests::is_divisibleby,
        "endingwith" => tests::is_endingwith,
        "eq" => tests::is_eq,
        "==" => tests::is_eq,
        "even" => tests::is_even,
        "false" => tests::is_false,
        "float" => tests::is_float,
        "ge" => tests::is_ge,
        ">=" => tests::is_ge,
        "gt" => tests::is_gt,
        ">" => tests::is_gt,
        "in" => tests::is_in,
        "integer" => tests::is_integer,
        "iterable" => tests::is_iterable,
        "le" => tests::is_le,
        "<=" => tests::is_le,
        "lt" => tests::is_lt,
        "<" => tests::is_lt,
        "mapping" => tests::is_mapping,
        "ne" => tests::is_ne,
        "!=" => tests::is_ne,
        "none" => tests::is_none,
        "number" => tests::is_number,
        "odd" => tests::is_odd,
        "sequence" => tests::is_sequence,
        "startingwith" => tests::is_startingwith,
        "string" => tests::is_string,
        "true" => tests::is_true,
        "undefined" => tests::is_undefined,
    );
    add!(add_function
        "dict" => functions::dict,
        "namespace" => functions::namespace,
        "range" => functions::range,
    );
}

/// Adds `env` and `file`, also as filters.
fn add_surroundings(environment: &mut Environment<'_>, surroundings: &Arc<dyn Surroundings>) {
    let around = Arc::clone(surroundings);
    let env = move |name: Value, default: Option<Value>| {
        let value = around.env(&plain(&name)?).map(Value::from);
        Ok::<_, Error>(value.or(default).unwrap_or(Value::UNDEFINED))
    };
    environment.add_filter("env", env.clone());
    environment.add_function("env", env);
    let around = Arc::clone(surroundings);
    let file = move |path: Value| around.file(&plain(&path)?).map_err(told);
    environment.add_filter("file", file.clone());
    environment.add_function("file", file);
}

/// A value as it stands in a file: `true` and not `True`, maps and lists as JSON. A null is more
/// likely a mistake than what a file is to say.
pub(super) fn plain(value: &Value) -> Result<Cow<'_, str>, Error> {
    match value.kind() {
        ValueKind::Undefined => Err(Error::from(ErrorKind::UndefinedError)),
        ValueKind::None => Err(told(
            "is or takes a null; where the data may have one, ask `is none` or give a `default(…, true)`",
        )),
        ValueKind::Bool => Ok(if value.is_true() { "true" } else { "false" }.into()),
        ValueKind::Map | ValueKind::Seq | ValueKind::Iterable => serde_json::to_string(value)
            .map(Cow::from)
            .map_err(|_| unwritable("JSON")),
        _ => Ok(value
            .as_str()
            .map_or_else(|| value.to_string().into(), Cow::from)),
    }
}

/// An argument that is there: the engine checks that for text only.
fn given(value: &Value) -> Result<&Value, Error> {
    match value.kind() {
        ValueKind::Undefined => Err(Error::from(ErrorKind::UndefinedError)),
        _ => Ok(value),
    }
}

fn unwritable(format: &str) -> Error {
    told(format!("cannot be written as {format}"))
}

fn to_json(value: &Value) -> Result<String, Error> {
    serde_json::to_string(given(value)?).map_err(|_| unwritable("JSON"))
}

fn to_json_pretty(value: &Value) -> Result<String, Error> {
    serde_json::to_string_pretty(given(value)?).map_err(|_| unwritable("JSON"))
}

/// Without the newline at its end, so that it stands in a line of its own like anything else.
fn to_yaml(value: &Value) -> Result<String, Error> {
    let text = serde_yaml::to_string(given(value)?).map_err(|_| unwritable("YAML"))?;
    Ok(text.trim_end_matches('\n').to_owned())
}

/// Without the newline at its end, as in YAML. TOML knows no null: such keys are left out.
fn to_toml(value: &Value) -> Result<String, Error> {
    fn without_null(value: serde_json::Value) -> serde_json::Value {
        use serde_json::Value;
        match value {
            Value::Object(map) => map
                .into_iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(key, value)| (key, without_null(value)))
                .collect(),
            Value::Array(list) => list.into_iter().map(without_null).collect(),
            other => other,
        }
    }
    let tree = serde_json::to_value(given(value)?).map_err(|_| unwritable("TOML"))?;
    if !tree.is_object() {
        return Err(told("cannot be written as TOML, which is a map at its top"));
    }
    let text = toml::to_string(&without_null(tree)).map_err(|_| unwritable("TOML"))?;
    Ok(text.trim_end_matches('\n').to_owned())
}

fn parsed(text: &Value, format: Format) -> Result<Value, Error> {
    let text = plain(text)?;
    let document = text::parse(text.as_bytes(), Some(format), Snippet::Masked);
    // The parser's own words may quote the text.
    let document = document.map_err(|problem| {
        let place = match problem.position {
            Some((line, _)) => format!(": line {line} of the text is wrong"),
            None => String::new(),
        };
        let name = match format {
            Format::Json => "JSON",
            Format::Yaml => "YAML",
            Format::Toml => "TOML",
        };
        told(format!("is given a text that is no {name}{place}"))
    })?;
    Ok(Value::from_serialize(document.value))
}

fn base64_decode(text: &Value) -> Result<String, Error> {
    let text: String = plain(text)?.split_whitespace().collect();
    let bytes = STANDARD.decode(text).ok();
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    text.ok_or_else(|| told("is given what is no base64 of UTF-8 text"))
}

fn sha256(text: &Value) -> Result<String, Error> {
    Ok(hash::sha256(plain(text)?.as_bytes()))
}

/// For a part of a URL, whichever: all but the unreserved characters of RFC 3986.
fn urlencode(text: &Value) -> Result<String, Error> {
    const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'.')
        .remove(b'_')
        .remove(b'~');
    Ok(utf8_percent_encode(&plain(text)?, ENCODED).to_string())
}

fn pattern(text: &Value) -> Result<Regex, Error> {
    let pattern = Regex::new(&plain(text)?);
    pattern.map_err(|_| told("is given a pattern that is no regular expression"))
}

fn regex_replace(text: &Value, of: &Value, by: &Value) -> Result<String, Error> {
    let replaced = pattern(of)?
        .replace_all(&plain(text)?, &*plain(by)?)
        .into_owned();
    Ok(replaced)
}

fn regex_match(text: &Value, of: &Value) -> Result<bool, Error> {
    Ok(pattern(of)?.is_match(&plain(text)?))
}

fn starts_with(text: &Value, start: &Value) -> Result<bool, Error> {
    Ok(plain(text)?.starts_with(&*plain(start)?))
}

fn ends_with(text: &Value, end: &Value) -> Result<bool, Error> {
    Ok(plain(text)?.ends_with(&*plain(end)?))
}

fn join(list: &Value, between: Option<Cow<'_, str>>) -> Result<String, Error> {
    let fails = |_| told("fails: expected a list, or another thing to go through");
    let items = given(list)?.try_iter().map_err(fails)?;
    let mut joined = String::new();
    for (index, item) in items.enumerate() {
        if index > 0 {
            joined.push_str(between.as_deref().unwrap_or_default());
        }
        joined.push_str(&plain(&item)?);
    }
    Ok(joined)
}

/// A part of a text, an item of a list, a key of a map.
fn contains(whole: &Value, part: &Value) -> Result<bool, Error> {
    given(part)?;
    let fails = || told("takes a text and a part, a list and an item, or a map and a key");
    match given(whole)?.kind() {
        ValueKind::String => {
            let (whole, part) = (whole.as_str(), part.as_str());
            let both = whole.zip(part).ok_or_else(fails)?;
            Ok(both.0.contains(both.1))
        }
        ValueKind::Seq | ValueKind::Iterable | ValueKind::Map => {
            let mut items = whole.try_iter().map_err(|_| fails())?;
            Ok(items.any(|item| item == *part))
        }
        _ => Err(fails()),
    }
}

/// One word for a POSIX shell, whatever is in it.
fn quote(text: &Value) -> Result<String, Error> {
    let text = plain(text)?;
    match text.contains('\0') {
        true => Err(told("is given a NUL, which no word of a shell can hold")),
        false => Ok(format!("'{}'", text.replace('\'', r"'\''"))),
    }
}

fn sort_by(state: &State<'_, '_>, list: Value, attribute: Cow<'_, str>) -> Result<Value, Error> {
    let by = [("attribute", Value::from(attribute.into_owned()))];
    filters::sort(state, list, Kwargs::from_iter(by))
}

#[cfg(test)]
mod table;
