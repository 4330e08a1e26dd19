//! The JSON Schema of the contract file, so that editors complete and check it. Generated from the lists
//! of keys and types by which the file is read; stricter than reading is, since an editor should offer
//! one way to write a thing, and take the others.

use serde_json::{Map, Value, json};

use super::shape::KINDS;
use super::{command, environment, lifecycle, resources};
use crate::contract::capability;

/// The schema, draft 2020-12.
#[must_use]
pub fn generate() -> Value {
    let top = properties(super::KEYS, &|key| match key {
        "help" => text("What the container is for."),
        "commands" => json!({
            "description": "What the container can be called with. Without it nothing is checked.",
            "type": ["object", "array", "null"],
            "additionalProperties": {"$ref": "#/$defs/command"},
        }),
        "entrypoint" => json!({"$ref": "#/$defs/command"}),
        "env" => json!({
            "description": "The variables that the container needs; its command gets no others.",
            "type": ["object", "array", "null"],
            "additionalProperties": {"$ref": "#/$defs/variable"},
        }),
        "env_passthrough" => json!({
            "description": "Names, with * and ?, of variables that the command gets beside those declared.",
            "type": ["array", "string"], "items": {"type": "string"},
        }),
        "env_case" => json!({
            "description": "`upper`: variables are delivered under their names in upper case.",
            "enum": ["upper", "exact"],
        }),
        "lifecycle" => json!({
            "description": "What runs before and after the command.",
            "type": ["object", "null"], "additionalProperties": false,
            "properties": properties(lifecycle::KEYS, &|_| json!({"$ref": "#/$defs/hook"})),
        }),
        "cap" => json!({
            "description": "The capabilities that the command keeps; all others are stripped. `default` leaves them alone.",
            "type": ["array", "string", "null"], "items": {"$ref": "#/$defs/capability"},
        }),
        "system" => json!({
            "description": "What the container asks of the machine.",
            "type": ["object", "null"], "additionalProperties": false,
            "properties": properties(resources::SYSTEM_KEYS, &system),
        }),
        "volumes" => json!({
            "description": "What is to be mounted: `story` and `repo`, and persistent ones by any other name.",
            "type": ["object", "array", "null"],
            "additionalProperties": {"$ref": "#/$defs/volume"},
        }),
        "ports" => json!({
            "description": "What the container listens on: 8080, 8080:80, 53/udp.",
            "type": ["array", "integer", "string", "null"], "items": {"type": ["integer", "string"]},
        }),
        "scale" => json!({
            "description": "How many instances there are to be.",
            "type": ["integer", "object", "array", "null"], "additionalProperties": false,
            "properties": properties(resources::SCALE_KEYS, &scale),
        }),
        "logs" | "metrics" => json!({
            "description": "What they are written into: a pipe, a regular file, or nothing.",
            "enum": ["fifo", "file", "off", true, false, null],
        }),
        _ => json!({
            "description": "How to tell that the container works: a command, or a map with `command`, `http` or `tcp`, and `timeout`.",
            "type": ["string", "array", "object", "null"],
        }),
    });
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "asyncy.yml: the contract of a container",
        "type": ["object", "null"],
        "properties": top,
        "$defs": {
            "type": kind(),
            "command": {
                "type": ["object", "string", "null"], "additionalProperties": false,
                "properties": properties_of_command(),
            },
            "item": {
                "type": ["object", "string", "null"],
                "properties": item(command::ITEM_KEYS),
            },
            "variable": {
                "type": ["object", "string", "number", "boolean", "null"],
                "properties": item(environment::KEYS),
            },
            "hook": {
                "type": ["string", "array", "object", "null"], "additionalProperties": false,
                "items": {"type": ["string", "number", "boolean"]},
                "required": ["command"],
                "properties": properties(lifecycle::HOOK_KEYS, &hook),
            },
            "capability": {
                "anyOf": [
                    {"enum": capability::names().map(str::to_ascii_lowercase).collect::<Vec<_>>()},
                    {"type": "string", "pattern": "^([Cc][Aa][Pp]_)?[A-Za-z_]+$"},
                ],
            },
            "volume": {
                "type": ["object", "string", "boolean", "null"], "additionalProperties": false,
                "properties": properties(resources::VOLUME_KEYS, &volume),
            },
        },
    })
}

fn properties(keys: &[&str], of: &dyn Fn(&str) -> Value) -> Value {
    let all = keys.iter().map(|key| ((*key).to_owned(), of(key)));
    Value::Object(all.collect::<Map<_, _>>())
}

fn text(description: &str) -> Value {
    json!({"description": description, "type": ["string", "null"]})
}

/// A known type is offered; unions of them and others are taken.
fn kind() -> Value {
    let names = KINDS.iter().filter_map(|(_, names)| names.first().copied());
    json!({
        "description": "What the value is: one of these, or several joined by `,` or `|`.",
        "anyOf": [
            {"enum": names.collect::<Vec<_>>()},
            {"type": "string"},
            {"type": "array", "items": {"type": "string"}},
            {"type": "null"},
        ],
    })
}

fn properties_of_command() -> Value {
    let items = |what: &str| {
        json!({
            "description": what, "type": ["array", "object", "null"],
            "items": {"$ref": "#/$defs/item"}, "additionalProperties": {"$ref": "#/$defs/item"},
        })
    };
    let additional = |what: &str| {
        json!({
            "description": what, "type": ["boolean", "string", "object", "null"],
            "properties": item(super::shape::KEYS),
        })
    };
    properties(command::COMMAND_KEYS, &|key| match key {
        "help" => text("What it does."),
        "args" => items("Positional arguments, in order: `name`, `name:type`, or a map."),
        "kwargs" => items("Arguments by name: --name value."),
        "result" => json!({
            "description": "What it prints on stdout.", "type": ["string", "array", "object", "null"],
            "items": {"type": "string"}, "properties": item(command::RESULT_KEYS),
        }),
        "format" => text(
            "In which order the program gets what: `{name}`, `*` and `**` for the rest. Default `* **`.",
        ),
        "additional_args" => {
            additional("Whether there may be more positional arguments, and of which type.")
        }
        _ => additional("Whether there may be other arguments by name, and of which type."),
    })
}

fn item(keys: &[&str]) -> Value {
    properties(keys, &|key| match key {
        "type" => json!({"$ref": "#/$defs/type"}),
        "required" => {
            json!({"description": "Whether it must be given.", "type": ["boolean", "null"]})
        }
        "check" => {
            json!({"description": "Whether disco holds the command to it.", "type": ["boolean", "null"]})
        }
        "pattern" => text("A regular expression that must be found in the value."),
        "enum" | "values" => json!({
            "description": "What the value must be one of.", "type": ["array", "null"],
            "items": {"type": ["string", "number", "boolean"]},
        }),
        "default" => json!({"description": "The value if none is given."}),
        "help" => text("For its users: what it is, and where it comes from."),
        _ => json!({"type": ["string", "number", "null"]}),
    })
}

fn hook(key: &str) -> Value {
    match key {
        "command" => json!({
            "description": "A program, a line for the shell, or a list of words.",
            "type": ["string", "array"], "items": {"type": ["string", "number", "boolean"]},
        }),
        "timeout" => duration("How long it may take. Default 300 s."),
        _ => json!({
            "description": "For shutdown: whether it runs before the command is asked to stop.",
            "type": "boolean",
        }),
    }
}

fn duration(description: &str) -> Value {
    json!({"description": description, "type": ["string", "number"], "pattern": "^[0-9.]+ ?(ms|s|m|h)?$"})
}

fn system(key: &str) -> Value {
    match key {
        "cpu" => {
            json!({"description": "Processors: 2, 0.5, 500m.", "type": ["number", "string", "null"]})
        }
        "gpu" => json!({"description": "Graphics processors.", "type": ["integer", "null"]}),
        "memory" => {
            json!({"description": "250MB, 512Mi, bytes.", "type": ["integer", "string", "null"]})
        }
        _ => json!({
            "description": "`fail`: too little is an end, and not only a warning.",
            "enum": ["warn", "fail", true, false],
        }),
    }
}

fn volume(key: &str) -> Value {
    match key {
        "dest" | "target" => json!({
            "description": "Where it is mounted.", "type": "string", "pattern": "^/",
        }),
        "mode" => json!({"enum": ["rw", "ro"]}),
        "help" => text("What it is for."),
        _ => json!({"type": ["boolean", "null"]}),
    }
}

fn scale(key: &str) -> Value {
    match key {
        "metric" => json!({"enum": ["cpu", "mem", "memory"]}),
        "agg" => json!({"enum": ["avg", "max", "min"]}),
        "cooldown" => duration("Between two changes. Default 60 s."),
        "schedules" => json!({
            "type": ["array", "null"],
            "items": {
                "type": "object", "required": ["cron", "number"], "additionalProperties": false,
                "properties": properties(resources::SCHEDULE_KEYS, &|key| match key {
                    "number" => json!({"type": "integer", "minimum": 0}),
                    _ => json!({"type": "string"}),
                }),
            },
        }),
        _ => json!({"type": ["integer", "null"], "minimum": 0}),
    }
}
