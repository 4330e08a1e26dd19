//! Readers of the formats that the shipped layers write, as the programs that own them read: each
//! written from that program's manual or its parser, so that what was quoted can be taken back.

use std::collections::BTreeMap;
use std::process::Command;

/// Sections of keys and values.
pub(super) type Sections = BTreeMap<String, BTreeMap<String, String>>;

/// An option file as `my_default.c` of MySQL and MariaDB reads it: a comment may stand behind a value
/// unless it is quoted, and escapes are undone whether it is quoted or not.
pub(super) fn mysql(text: &str) -> Sections {
    let mut sections = Sections::new();
    let mut section = String::new();
    for line in text.lines() {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']').to_owned();
            continue;
        }
        let line = without_comment(line);
        let (key, value) = line.split_once('=').unwrap_or((line, ""));
        let mut value = value.trim();
        for quote in ['"', '\''] {
            if value.len() > 1 && value.starts_with(quote) && value.ends_with(quote) {
                value = &value[1..value.len() - 1];
                break;
            }
        }
        let entries = sections.entry(section.clone()).or_default();
        entries.insert(key.trim().to_owned(), mysql_unescaped(value));
    }
    sections
}

fn without_comment(line: &str) -> &str {
    let (mut quote, mut escape) = (None, false);
    for (at, c) in line.char_indices() {
        if matches!(c, '\'' | '"') && !escape {
            match quote {
                None => quote = Some(c),
                Some(open) if open == c => quote = None,
                Some(_) => {}
            }
        }
        if quote.is_none() && c == '#' {
            return &line[..at];
        }
        escape = quote.is_some() && c == '\\' && !escape;
    }
    line
}

fn mysql_unescaped(value: &str) -> String {
    let mut text = String::new();
    let mut rest = value.chars();
    while let Some(c) = rest.next() {
        let next = rest.clone().next();
        match (c, next) {
            ('\\', Some(escaped)) => {
                rest.next();
                match escaped {
                    'n' => text.push('\n'),
                    't' => text.push('\t'),
                    'r' => text.push('\r'),
                    'b' => text.push('\u{8}'),
                    's' => text.push(' '),
                    '"' | '\'' | '\\' => text.push(escaped),
                    other => text.extend(['\\', other]),
                }
            }
            (c, _) => text.push(c),
        }
    }
    text
}

/// The lines of a password file as libpq reads them: five fields each, `\` before whatever it is.
pub(super) fn pgpass(text: &str) -> Vec<Vec<String>> {
    let lines = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty());
    let fields = |line: &str| {
        let mut fields = vec![String::new()];
        let mut rest = line.chars();
        while let Some(c) = rest.next() {
            match c {
                '\\' => fields.last_mut().unwrap().extend(rest.next()),
                ':' => fields.push(String::new()),
                c => fields.last_mut().unwrap().push(c),
            }
        }
        fields
    };
    lines.map(fields).collect()
}

/// A connection service file as libpq reads it: nothing is quoted, blanks at the end are lost.
pub(super) fn pg_service(text: &str) -> Sections {
    let mut sections = Sections::new();
    let mut section = String::new();
    for line in text.lines() {
        let line = line.trim_end().trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match line.strip_prefix('[') {
            Some(name) => section = name.trim_end_matches(']').to_owned(),
            None => {
                let (key, value) = line.split_once('=').unwrap();
                let entries = sections.entry(section.clone()).or_default();
                entries.insert(key.to_owned(), value.to_owned());
            }
        }
    }
    sections
}

/// `~/.aws/config` and `credentials` as the strictest of the SDKs read them: a `#` or `;` behind a blank
/// starts a comment; indented lines belong to the setting before them.
pub(super) fn aws(text: &str) -> Sections {
    let mut sections = Sections::new();
    let (mut section, mut parent) = (String::new(), String::new());
    for line in text.lines() {
        if line.trim().is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        let line = [" #", " ;", "\t#", "\t;"]
            .iter()
            .filter_map(|sign| line.find(sign))
            .min()
            .map_or(line, |at| &line[..at]);
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end().trim_end_matches(']').to_owned();
            continue;
        }
        let (key, value) = line.split_once('=').unwrap();
        let (name, value) = (key.trim(), value.trim());
        let entries = sections.entry(section.clone()).or_default();
        if key.starts_with([' ', '\t']) {
            entries.insert(format!("{parent}.{name}"), value.to_owned());
        } else {
            parent = name.to_owned();
            entries.insert(name.to_owned(), value.to_owned());
        }
    }
    sections
}

/// The commands of a msmtprc: the rest of the line, without blanks around it and then without one pair
/// of quotes; nothing is escaped.
pub(super) fn msmtp(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let command = |line: &str| {
        assert!(
            line.len() < 500,
            "msmtp refuses a line of {} bytes",
            line.len()
        );
        let (command, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        let rest = rest.trim();
        let inner = rest
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'));
        (command.to_owned(), inner.unwrap_or(rest).to_owned())
    };
    lines.map(command).collect()
}

/// A properties file as `java.util.Properties` loads it, one line each.
pub(super) fn properties(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().map(str::trim_start);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with(['#', '!']));
    let pair = |line: &str| {
        let (key, value) = line.split_once('=').unwrap();
        let mut text = String::new();
        let mut rest = value.trim_start().chars();
        while let Some(c) = rest.next() {
            match c {
                '\\' => match rest.next().expect("the line does not go on") {
                    't' => text.push('\t'),
                    'n' => text.push('\n'),
                    'r' => text.push('\r'),
                    'f' => text.push('\u{c}'),
                    'u' => panic!("an escape by number"),
                    other => text.push(other),
                },
                c => text.push(c),
            }
        }
        (key.to_owned(), text)
    };
    lines.map(pair).collect()
}

/// The options of a login line as JAAS reads it: quoted strings with the escapes of Java.
pub(super) fn jaas(line: &str) -> BTreeMap<String, String> {
    let mut options = BTreeMap::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("=\"") {
        let key = before.rsplit(' ').next().unwrap().to_owned();
        let mut value = String::new();
        let mut chars = after.char_indices();
        let end = loop {
            match chars.next().expect("a string ends") {
                (at, '"') => break at,
                (_, '\\') => match chars.next().unwrap().1 {
                    'n' => value.push('\n'),
                    other => value.push(other),
                },
                (_, c) => value.push(c),
            }
        };
        options.insert(key, value);
        rest = &after[end + 1..];
    }
    assert_eq!(rest, ";", "the line ends as it should");
    options
}

/// The words of each directive of an nginx file, blocks flattened; quotes and backslashes undone.
pub(super) fn nginx(text: &str) -> Vec<Vec<String>> {
    let mut directives = vec![Vec::new()];
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            c if c.is_whitespace() => {}
            '#' => while chars.next().is_some_and(|c| c != '\n') {},
            ';' | '{' | '}' => directives.push(Vec::new()),
            quote @ ('"' | '\'') => {
                let mut word = String::new();
                loop {
                    match chars.next().expect("a string ends") {
                        c if c == quote => break,
                        '\\' => match chars.next().unwrap() {
                            escaped @ ('"' | '\'' | '\\') => word.push(escaped),
                            't' => word.push('\t'),
                            'n' => word.push('\n'),
                            'r' => word.push('\r'),
                            other => word.extend(['\\', other]),
                        },
                        c => word.push(c),
                    }
                }
                directives.last_mut().unwrap().push(word);
            }
            c => {
                let mut word = c.to_string();
                while let Some(c) = chars.next_if(|c| !c.is_whitespace() && !";{}".contains(*c)) {
                    word.push(c);
                }
                directives.last_mut().unwrap().push(word);
            }
        }
    }
    directives.retain(|words| !words.is_empty());
    directives
}

/// The variables that a real shell has after it has read the file, those of its own left out.
pub(super) fn shell(text: &str, names: &[&str]) -> BTreeMap<String, String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let mut values = BTreeMap::new();
    for name in names {
        let script = format!("set -eu; . \"$1\"; printf '%s.' \"${name}\"");
        let output = Command::new("sh")
            .args(["-c", &script, "sh"])
            .arg(file.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let value = String::from_utf8(output.stdout).unwrap();
        values.insert(
            (*name).to_owned(),
            value.strip_suffix('.').unwrap().to_owned(),
        );
    }
    values
}
