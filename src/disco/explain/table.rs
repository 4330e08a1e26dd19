//! The status document for eyes: aligned columns, a line for each thing that is waited for. Text that
//! somebody else made up, such as a command's status, cannot move the cursor.

use serde_json::Value;

use crate::contract::text::count;

/// The document as text.
pub(super) fn of(document: &Value) -> String {
    let mut text = String::new();
    head(document, &mut text);
    sources(document, &mut text);
    rules(document, &mut text);
    inputs(document, &mut text);
    text.push('\n');
    text += &verdict(document);
    text.push('\n');
    text
}

fn head(document: &Value, text: &mut String) {
    let version = shown(&document["version"]);
    if document["offline"] == true {
        let line = format!("disco {version}, judging by what can be read here; nothing was run\n");
        text.push_str(&line);
        return;
    }
    let (command, agent) = (&document["command"], &document["agent"]);
    let mut rows = vec![
        row(
            "disco",
            [&format!("{version}, PID {}", shown(&document["pid"]))],
        ),
        row("phase", [&shown(&document["phase"])]),
        row("uptime", [&time(&document["uptime"])]),
        row(
            "configured",
            [&format!(
                "{}, ready: {}",
                yes(&document["configured"]),
                yes(&document["ready"])
            )],
        ),
        row("command", [&of_command(command)]),
    ];
    if let Some(status) = command.get("status") {
        rows.push(row("status", [&shown(status)]));
    }
    let hooks = ["startup", "shutdown"].map(|which| (which, shown(&document["hooks"][which])));
    let hooks = hooks
        .iter()
        .filter(|(_, state)| !matches!(state.as_str(), "none" | ""));
    let hooks: Vec<String> = hooks
        .map(|(which, state)| format!("{which} {state}"))
        .collect();
    if !hooks.is_empty() {
        rows.push(row("hooks", [&hooks.join(", ")]));
    }
    let ports: Vec<String> = list(&document["ports"]).map(of_port).collect();
    if !ports.is_empty() {
        rows.push(row("ports", [&ports.join(", ")]));
    }
    rows.push(row("agent", [&of_agent(agent)]));
    *text += &aligned(&rows, "");
}

fn of_command(command: &Value) -> String {
    let (name, state) = (shown(&command["name"]), shown(&command["state"]));
    let mut told = vec![format!("`{name}` {state}")];
    if !command["pid"].is_null() {
        let (pid, uptime) = (shown(&command["pid"]), time(&command["uptime"]));
        told.push(format!("pid {pid}, for {uptime}"));
    }
    if command["restarts"].as_u64().unwrap_or(0) > 0 {
        told.push(format!("restarts: {}", shown(&command["restarts"])));
    }
    let last = &command["last_exit"];
    if !last.is_null() {
        let why = match last.get("signal") {
            Some(signal) => format!(" by {}", shown(signal)),
            None => String::new(),
        };
        told.push(format!("ended before with {}{why}", shown(&last["status"])));
    }
    told.join(", ")
}

fn of_port(port: &Value) -> String {
    let state = match port["listening"].as_bool() {
        Some(true) => "listening",
        Some(false) => "nobody listens",
        None => "not known",
    };
    format!("{} {state}", shown(&port["port"]))
}

fn of_agent(agent: &Value) -> String {
    if agent["answers"] == false {
        return format!(
            "pid {}, does not answer: sources and rules are not known",
            shown(&agent["pid"])
        );
    }
    match (shown(&agent["state"]).as_str(), agent["pid"].is_null()) {
        ("none", _) => "none is needed".to_owned(),
        (state, true) => state.to_owned(),
        (state, false) => format!("{state}, pid {}", shown(&agent["pid"])),
    }
}

fn sources(document: &Value, text: &mut String) {
    let Some(all) = document["sources"].as_array().filter(|all| !all.is_empty()) else {
        return;
    };
    let mut rows = vec![row("SOURCE", ["STATE", "FOR", "KEYS", ""])];
    rows.extend(all.iter().map(|source| {
        row(
            &shown(&source["name"]),
            [
                &shown(&source["state"]),
                &time(&source["since"]),
                &shown(&source["keys"]),
                &shown(&source["reason"]),
            ],
        )
    }));
    text.push('\n');
    *text += &aligned(&rows, "");
}

fn rules(document: &Value, text: &mut String) {
    let Some(all) = document["rules"].as_array().filter(|all| !all.is_empty()) else {
        return;
    };
    let mut heads = vec![row("RULE", ["STATE", "FOR", "FILE"])];
    heads.extend(all.iter().map(|rule| {
        row(
            &shown(&rule["label"]),
            [
                &shown(&rule["state"]),
                &time(&rule["since"]),
                &shown(&rule["file"]),
            ],
        )
    }));
    let heads = aligned(&heads, "");
    let mut heads = heads.lines();
    text.push('\n');
    *text += heads.next().unwrap_or_default();
    text.push('\n');
    for (head, rule) in heads.zip(all) {
        *text += head;
        text.push('\n');
        *text += &aligned(&details(rule), "  ");
    }
}

fn inputs(document: &Value, text: &mut String) {
    let Some(all) = document["inputs"].as_array().filter(|all| !all.is_empty()) else {
        return;
    };
    let mut rows = vec![row("INPUT", ["OF", "LINES", "BYTES"])];
    rows.extend(all.iter().map(|input| {
        row(
            &shown(&input["path"]),
            [
                &shown(&input["of"]),
                &shown(&input["lines"]),
                &shown(&input["bytes"]),
            ],
        )
    }));
    text.push('\n');
    *text += &aligned(&rows, "");
}

/// What a rule waits for, how its handler failed, and what became of strings.
fn details(rule: &Value) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for blocker in list(&rule["waiting"]) {
        let name = shown(&blocker["interface"]);
        let why = blocker["why"].as_str().unwrap_or_default();
        match why {
            "missing" => {
                let places: Vec<String> = list(&blocker["looked_in"]).map(shown).collect();
                let hint = match blocker.get("hint") {
                    Some(hint) => format!("; {}", shown(hint)),
                    None => String::new(),
                };
                let why = match places.is_empty() {
                    true => "missing: there is no source; name one in DISCO_CFG".to_owned(),
                    false => format!("missing from {}{hint}", places.join(", ")),
                };
                rows.push(row(&name, [&why]));
            }
            "invalid" => {
                for violation in list(&blocker["violations"]) {
                    let path = shown(&violation["path"]);
                    let dot = if path.is_empty() { "" } else { "." };
                    let why = format!(
                        "{} ({})",
                        shown(&violation["message"]),
                        shown(&violation["keyword"])
                    );
                    rows.push(row(&format!("{name}{dot}{path}"), [&why]));
                }
            }
            other => rows.push(row(&name, [other])),
        }
    }
    if let Some(failures) = rule["failures"].as_u64() {
        let times = count(usize::try_from(failures).unwrap_or(usize::MAX), "failure");
        rows.push(row(
            "handler",
            [&format!("{times}: {}", shown(&rule["reason"]))],
        ));
    }
    for line in list(&rule["stderr"]) {
        rows.push(row("stderr", [&shown(line)]));
    }
    for coerced in list(&rule["coerced"]) {
        let kind = format!("a string that reads as {}", shown(&coerced["to"]));
        rows.push(row(&shown(&coerced["path"]), [&kind]));
    }
    rows
}

fn verdict(document: &Value) -> String {
    let is_offline = document["offline"] == true;
    match document["phase"].as_str() {
        Some("startup") => return "Configured; the startup hook is running.".to_owned(),
        Some("stopping") => return "Asked to stop.".to_owned(),
        Some("shutdown") => return "Shutting down.".to_owned(),
        _ => {}
    }
    if document["configured"] == true {
        let is_done = |rule: &Value| matches!(rule["state"].as_str(), Some("done" | "ready"));
        let verdict = match list(&document["rules"]).all(is_done) {
            true if is_offline => "By what can be read here every rule could run.",
            true if document["ready"] == false => "Fully configured; the command is not ready yet.",
            true => "Fully configured.",
            false => "Configured; where a rule is not done the last configuration stands.",
        };
        return verdict.to_owned();
    }
    let reasons: Vec<String> = list(&document["waiting_for"]).map(shown).collect();
    match reasons.first() {
        Some(first) if reasons.len() == 1 => format!("Not configured: {first}."),
        Some(_) => format!("Not configured, for {}.", count(reasons.len(), "reason")),
        None => "Not configured yet.".to_owned(),
    }
}

fn row<const N: usize>(first: &str, rest: [&(impl AsRef<str> + ?Sized); N]) -> Vec<String> {
    let rest = rest.into_iter().map(|cell| cell.as_ref().to_owned());
    std::iter::once(first.to_owned()).chain(rest).collect()
}

/// Rows in columns two blanks apart, without blanks at the end.
fn aligned(rows: &[Vec<String>], indent: &str) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().enumerate();
        let padded = cells.map(|(column, cell)| format!("{cell:<0$}", width(column)));
        let line = indent.to_owned() + &padded.collect::<Vec<_>>().join("  ");
        text += line.trim_end();
        text.push('\n');
    }
    text
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// A value in a line: nothing for null, and no control characters.
fn shown(value: &Value) -> String {
    let plain = |c: char| match c {
        '\n' => " ".to_owned(),
        c if c.is_control() => format!("\\x{:02x}", u32::from(c)),
        c => c.to_string(),
    };
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.chars().map(plain).collect(),
        other => other.to_string(),
    }
}

fn yes(value: &Value) -> &'static str {
    if *value == true { "yes" } else { "no" }
}

/// Seconds as people say them.
fn time(value: &Value) -> String {
    let Some(seconds) = value.as_f64() else {
        return String::new();
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a time is positive, and what is beyond the range is the range"
    )]
    let whole = seconds as u64;
    match whole {
        0..60 => format!("{seconds:.1}s"),
        60..3600 => format!("{}m{:02}s", whole / 60, whole % 60),
        3600..86400 => format!("{}h{:02}m", whole / 3600, whole / 60 % 60),
        _ => format!("{}d{:02}h", whole / 86400, whole / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_document_reads_as_a_table() {
        let text = of(&json!({
            "version": "1.2", "pid": 1, "phase": "waiting", "uptime": 75.0, "configured": false,
            "ready": false,
            "command": {"name": "web\u{1b}[2J", "pid": null, "state": "waiting", "restarts": 0},
            "agent": {"pid": 7, "state": "running"},
            "sources": [
                {"name": "flatfile", "state": "up", "since": 1.5, "keys": 2},
                {"name": "consul", "state": "down", "since": 4000.0, "reason": "no route"},
            ],
            "rules": [{"label": "all(db) -> h", "file": "/r", "state": "waiting", "since": 3.0,
                "waiting": [
                    {"interface": "db", "why": "missing", "looked_in": ["flatfile"],
                        "hint": "did you mean `dbs`?"},
                    {"interface": "web", "why": "invalid", "violations": [
                        {"path": "port", "message": "too small", "keyword": "minimum"}]}]}],
            "waiting_for": ["a", "b"],
        }));
        let expected = "\
disco       1.2, PID 1
phase       waiting
uptime      1m15s
configured  no, ready: no
command     `web\\x1b[2J` waiting
agent       running, pid 7

SOURCE    STATE  FOR    KEYS
flatfile  up     1.5s   2
consul    down   1h06m        no route

RULE          STATE    FOR   FILE
all(db) -> h  waiting  3.0s  /r
  db        missing from flatfile; did you mean `dbs`?
  web.port  too small (minimum)

Not configured, for 2 reasons.
";
        assert_eq!(text, expected);
    }

    #[test]
    fn what_is_missing_in_a_document_is_left_out() {
        let text = of(&json!({"configured": true, "agent": {"pid": 9, "answers": false}}));
        assert!(text.contains("pid 9, does not answer"), "{text}");
        assert!(text.ends_with("\n\nFully configured.\n"), "{text}");
    }
}
