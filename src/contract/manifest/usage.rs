//! Usage texts, generated from the contract: of the container as a whole, and of each command.

use std::fmt::{self, Write as _};

use super::Manifest;
use super::command::{Additional, Command, Commands, Item};
use super::environment::Variable;

/// What a caller sees in place of the image's name, which nobody inside knows.
const CALL: &str = "docker run IMAGE";

/// Usage of the container: its commands, the arguments of its entrypoint, the variables that it needs.
#[must_use]
pub fn container(commands: &Commands, manifest: &Manifest) -> String {
    let mut text = String::new();
    let help = manifest.help.as_deref();
    if commands.named.is_empty() {
        if let Some(entrypoint) = &commands.entrypoint {
            text = command(&Command {
                help: entrypoint.help.clone().or(help.map(str::to_owned)),
                ..entrypoint.clone()
            });
            variables(&mut text, manifest);
            return text;
        }
    } else {
        push(
            &mut text,
            format_args!("Usage: {CALL} COMMAND [ARGUMENTS...]\n"),
        );
        if let Some(entrypoint) = &commands.entrypoint {
            push(&mut text, format_args!("       {}\n", call(entrypoint)));
        }
    }
    paragraph(&mut text, help);
    let rows = commands.named.iter().map(|command| {
        let first = command.help.as_deref().unwrap_or_default();
        (
            command.name.clone(),
            first.lines().next().unwrap_or_default().to_owned(),
        )
    });
    table(&mut text, "Commands", rows.collect());
    if let Some(entrypoint) = commands
        .entrypoint
        .as_ref()
        .filter(|e| !e.args.is_empty() || !e.kwargs.is_empty())
    {
        details(&mut text, entrypoint);
    }
    variables(&mut text, manifest);
    if !commands.named.is_empty() {
        push(
            &mut text,
            format_args!("\n`{CALL} COMMAND --help` tells more about one.\n"),
        );
    }
    text
}

/// Usage of one command.
#[must_use]
pub fn command(command: &Command) -> String {
    let mut text = format!("Usage: {}\n", call(command));
    paragraph(&mut text, command.help.as_deref());
    details(&mut text, command);
    text
}

/// The line that shows how a command is called.
fn call(command: &Command) -> String {
    let mut words = vec![CALL.to_owned()];
    if !command.name.is_empty() {
        words.push(command.name.clone());
    }
    words.extend(command.args.iter().map(|item| match item.required {
        true => format!("<{}>", item.name),
        false => format!("[{}]", item.name),
    }));
    if command.additional_args != Additional::None && command.layout.takes_args() {
        words.push("[ARGUMENTS...]".to_owned());
    }
    words.extend(command.kwargs.iter().map(|item| match item.required {
        true => option(item),
        false => format!("[{}]", option(item)),
    }));
    if command.additional_kwargs != Additional::None && command.layout.takes_kwargs() {
        words.push("[--OPTION VALUE...]".to_owned());
    }
    words.join(" ")
}

fn variables(text: &mut String, manifest: &Manifest) {
    let all = manifest.environment.iter().flat_map(|all| &all.variables);
    let row = |variable: &Variable| {
        let item = Item {
            name: variable.name.clone(),
            shape: variable.shape.clone(),
            required: variable.required,
            default: variable.default.clone(),
            help: variable.help.clone(),
        };
        (variable.name.clone(), about(&item))
    };
    table(text, "Environment", all.map(row).collect());
}

fn details(text: &mut String, command: &Command) {
    let rows = |items: &[Item], name: fn(&Item) -> String| {
        let row = |item: &Item| (name(item), about(item));
        items.iter().map(row).collect::<Vec<_>>()
    };
    table(
        text,
        "Arguments",
        rows(&command.args, |item| item.name.clone()),
    );
    table(text, "Options", rows(&command.kwargs, option));
    let result = command.result.shape.describe();
    let help = command.result.help.as_deref().unwrap_or_default();
    if !result.is_empty() || !help.is_empty() {
        table(text, "Result", vec![(result, help.to_owned())]);
    }
}

fn option(item: &Item) -> String {
    match item.shape.is_boolean() {
        true => format!("--{}", item.name),
        false => format!("--{} {}", item.name, placeholder(item)),
    }
}

/// The word that stands for a value: its type, so that a reader knows what to write.
fn placeholder(item: &Item) -> String {
    match (&item.shape.choices, item.shape.kinds.first()) {
        (Some(_), _) => "CHOICE".to_owned(),
        (None, Some(kind)) => kind.name().to_ascii_uppercase(),
        (None, None) => "VALUE".to_owned(),
    }
}

fn about(item: &Item) -> String {
    let mut parts: Vec<String> = Vec::new();
    let help = item.help.as_deref().unwrap_or_default();
    parts.push(help.split_whitespace().collect::<Vec<_>>().join(" "));
    let mut facts = vec![item.shape.describe()];
    if let Some(pattern) = &item.shape.pattern {
        facts.push(format!("matches {}", pattern.source()));
    }
    if item.required {
        facts.push("required".to_owned());
    }
    facts.extend(
        item.default
            .as_ref()
            .map(|value| format!("default {value}")),
    );
    facts.retain(|fact| !fact.is_empty());
    if !facts.is_empty() {
        parts.push(format!("({})", facts.join("; ")));
    }
    parts.retain(|part| !part.is_empty());
    parts.join(" ")
}

fn push(text: &mut String, words: fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = text.write_fmt(words);
}

fn paragraph(text: &mut String, help: Option<&str>) {
    if let Some(help) = help {
        text.push('\n');
        text.push_str(help.trim_end());
        text.push('\n');
    }
}

/// Two columns, the second beginning where the longest of the first ends; one that is too long for
/// that has a line to itself.
fn table(text: &mut String, title: &str, rows: Vec<(String, String)>) {
    const WIDEST: usize = 28;
    if rows.is_empty() {
        return;
    }
    let widths = rows.iter().map(|(name, _)| name.chars().count());
    let width = widths.filter(|width| *width <= WIDEST).max().unwrap_or(0);
    push(text, format_args!("\n{title}:\n"));
    for (name, about) in rows {
        let line = match name.chars().count() {
            _ if about.is_empty() => format!("  {name}"),
            long if long > width => format!("  {name}\n  {:width$}  {about}", ""),
            _ => format!("  {name:width$}  {about}"),
        };
        text.push_str(&line);
        text.push('\n');
    }
}
