//! Reads the entries of a rule's `render`: what goes where, and how. Templates are not looked at here.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use crate::contract::account::Spec;
use crate::contract::render::{Output, STAGED, Said, TemplateSource};
use crate::contract::report::{Node, Report, scalar};
use crate::contract::suggest;
use crate::contract::text::Step;

/// The keys of an entry.
const KEYS: [&str; 8] = [
    "template", "content", "to", "mode", "owner", "backup", "check", "secret",
];

/// Reads one entry or a list of them; `None` after a problem.
pub(super) fn read(
    node: &Node<'_>,
    place: (&Path, &Arc<str>),
    report: &mut Report<'_>,
) -> Option<Vec<Output>> {
    let entries = match node.value {
        Value::Object(_) => vec![node.clone()],
        Value::Array(list) if !list.is_empty() => node.items().collect(),
        _ => {
            report.refuse(
                &node.path,
                "expected a map with `template` (or `content`) and `to`, or a list of such maps",
            );
            return None;
        }
    };
    let before = report.problems.len();
    let mut outputs: Vec<Output> = Vec::new();
    for node in &entries {
        let Some(output) = entry(node, place, report) else {
            continue;
        };
        if outputs.iter().any(|other| other.to == output.to) {
            let path = output.to.display();
            report.refuse(
                &at(node, "to"),
                format!("`{path}` is rendered twice by one rule; expected a path for each output"),
            );
        }
        outputs.push(output);
    }
    (report.problems.len() == before).then_some(outputs)
}

fn at<'a>(node: &Node<'a>, key: &'a str) -> Vec<Step<'a>> {
    [node.path.as_slice(), &[Step::Key(key)]].concat()
}

/// Reads one entry. Its problems are in the report.
fn entry(node: &Node<'_>, place: (&Path, &Arc<str>), report: &mut Report<'_>) -> Option<Output> {
    let Value::Object(map) = node.value else {
        report.refuse(
            &node.path,
            "expected a map with `template` (or `content`) and `to`",
        );
        return None;
    };
    for key in map.keys().filter(|key| !KEYS.contains(&key.as_str())) {
        let hint = suggest::hint(key, KEYS);
        let path = [node.path.as_slice(), &[Step::Key(key)]].concat();
        report.refuse(&path, format!("unknown key{hint}"));
    }
    let source = source(node, report);
    let to = match node.given("to").map(|to| (to.value.as_str(), to)) {
        None => {
            let message = "has no `to`; expected the path of the file, such as `/etc/app.conf`";
            report.refuse(&node.path, message);
            None
        }
        Some((text, to)) => {
            let path = text.and_then(target);
            if path.is_none() {
                let message =
                    "expected the absolute path of a file, without `..`, such as `/etc/app.conf`";
                report.refuse(&to.path, message);
            }
            path
        }
    };
    let mode = parsed(node, "mode", report, mode);
    let owner = parsed(node, "owner", report, Spec::parse);
    let backup = flag(node, "backup", report);
    let secret = flag(node, "secret", report);
    let check = check(node, report);
    let key = match source {
        Some(TemplateSource::Inline(_)) => "content",
        _ => "template",
    };
    Some(Output {
        said: Said::new(place.0, place.1, &node.path, key),
        source: source?,
        to: to?,
        mode,
        owner,
        backup,
        check,
        secret,
    })
}

/// `template` or `content`.
fn source(node: &Node<'_>, report: &mut Report<'_>) -> Option<TemplateSource> {
    match (node.given("template"), node.get("content")) {
        (None, None) => {
            let message =
                "has no `template`; expected the name of a file beside this one, or `content`";
            report.refuse(&node.path, message);
            None
        }
        (Some(_), Some(content)) => {
            report.refuse(
                &content.path,
                "stands beside `template`; expected the one or the other",
            );
            None
        }
        (Some(file), None) => {
            let name = file.value.as_str().filter(|name| !name.is_empty());
            if name.is_none() {
                let message = "expected the name of a file, beside this one or absolute";
                report.refuse(&file.path, message);
            }
            name.map(|name| TemplateSource::File(name.into()))
        }
        (None, Some(content)) => {
            let Value::String(text) = content.value else {
                report.refuse(&content.path, "expected a text: the template itself");
                return None;
            };
            Some(TemplateSource::Inline(text.clone()))
        }
    }
}

/// The path of a file: absolute, without `..`, and no directory by its form.
fn target(text: &str) -> Option<PathBuf> {
    let path = Path::new(text);
    let mut parts = path.components();
    let is_root = parts.next() == Some(Component::RootDir);
    let is_plain = parts.all(|part| matches!(part, Component::Normal(_)));
    // What `Path` takes off the end means a directory.
    let is_file = !text.ends_with('/') && !text.ends_with("/.") && path.file_name().is_some();
    let good = is_root && is_plain && is_file && !text.contains('\0');
    // One spelling of a path, so that two outputs are seen to be one.
    good.then(|| path.components().collect())
}

/// Permission bits: three or four octal digits.
fn mode(text: &str) -> Result<u32, String> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    let is_octal = digits.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    let mode = u32::from_str_radix(digits, 8).ok();
    mode.filter(|mode| is_octal && matches!(digits.len(), 3 | 4) && *mode <= 0o7777)
        .ok_or_else(|| {
            format!("`{text}` is no mode; expected three or four octal digits, such as `\"0640\"`")
        })
}

fn parsed<T>(
    node: &Node<'_>,
    key: &'static str,
    report: &mut Report<'_>,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Option<T> {
    let node = node.given(key)?;
    let Some(text) = report.written(&node) else {
        report.refuse(&node.path, "expected a word or a number");
        return None;
    };
    match parse(&text) {
        Ok(value) => Some(value),
        Err(message) => {
            report.refuse(&node.path, message);
            None
        }
    }
}

fn flag(node: &Node<'_>, key: &'static str, report: &mut Report<'_>) -> bool {
    match node.given(key) {
        None => false,
        Some(node) => node.value.as_bool().unwrap_or_else(|| {
            report.refuse(&node.path, "expected `true` or `false`");
            false
        }),
    }
}

/// The words of a check command.
fn check(node: &Node<'_>, report: &mut Report<'_>) -> Vec<String> {
    let Some(node) = node.given("check") else {
        return Vec::new();
    };
    let list = node.value.as_array().map(Vec::as_slice).unwrap_or_default();
    let words: Vec<String> = list.iter().filter_map(scalar).collect();
    if words.len() != list.len() || words.first().is_none_or(String::is_empty) {
        let message = "expected a list of words: a program and its arguments, such as `[nginx, -t, -c, \"{}\"]`";
        report.refuse(&node.path, message);
        return Vec::new();
    }
    if words
        .first()
        .is_some_and(|program| program.contains(STAGED))
    {
        let message = "begins with `{}`, the file to be checked; expected the program that checks it, such as `[nginx, -t, -c, \"{}\"]`";
        report.refuse(&node.path, message);
    }
    if !words.iter().any(|word| word.contains(STAGED)) {
        let message = "names nowhere `{}`, the file to be checked: it judges what is there before";
        report.warn(&node.path, message);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::super::{Action, RuleFile, parse};
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Result<RuleFile, Vec<String>> {
        parse(Path::new("x.rules"), text.as_bytes())
            .map_err(|problems| problems.iter().map(ToString::to_string).collect())
    }

    fn outputs(entries: &str) -> Vec<Output> {
        let file = read(&format!(
            "format: 2\nrules:\n - when: db\n   render:\n{entries}"
        ))
        .unwrap();
        match &file.rules[0].action {
            Action::Render(outputs) => outputs.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_key_is_read() {
        let all = outputs(
            "    - template: a.j2\n      to: //etc/./a.conf\n      mode: 0640\n      owner: mysql:27\n      backup: true\n      check: [a, -c, \"x={}\", 1]\n      secret: true\n    - content: |\n        a {{ b }}\n      to: /b\n",
        );
        assert_eq!(all[0].source, TemplateSource::File("a.j2".into()));
        assert_eq!(all[0].to, Path::new("/etc/a.conf"));
        assert_eq!(all[0].mode, Some(0o640));
        assert_eq!(all[0].owner, Some(Spec::parse("mysql:27").unwrap()));
        assert!(all[0].backup && all[0].secret);
        assert_eq!(all[0].check_of("/s").unwrap(), ["a", "-c", "x=/s", "1"]);
        assert_eq!(all[0].said.problem("").position.unwrap().0, 5);
        assert_eq!(all[0].mode_over(Some(0o777)), 0o640);
        assert_eq!(
            (all[1].mode_over(None), all[1].mode_over(Some(0o755))),
            (0o644, 0o755)
        );
        let inline = TemplateSource::Inline("a {{ b }}\n".to_owned());
        assert_eq!(all[1].source, inline);
        assert_eq!(all[1].said.problem("").position.unwrap().0, 12);
        assert_eq!(all[1].check_of("/s"), None);
        assert_eq!((all[1].mode, all[1].owner.clone()), (None, None));
    }

    #[test]
    fn one_map_is_a_list_of_one_and_the_label_says_it() {
        let file = read("format: 2\nrules: [{when: [a, b], op: any, render: {content: \"x\", to: /etc/a}, then: restart, once: false}, {when: [], render: [{content: '', to: /a}, {content: '', to: /b}]}]").unwrap();
        assert_eq!(file.rules[0].label(), "any(a, b) -> render /etc/a");
        assert_eq!(file.rules[1].label(), "all() -> render /a, /b");
        assert!(file.warnings.is_empty(), "{:?}", file.warnings);
    }

    #[test]
    fn a_mode_is_octal_however_it_is_written() {
        for (written, bits) in [
            ("640", 0o640),
            ("0640", 0o640),
            ("\"0600\"", 0o600),
            ("0o755", 0o755),
            ("4755", 0o4755),
        ] {
            let all = outputs(&format!("    {{content: x, to: /a, mode: {written}}}\n"));
            assert_eq!(all[0].mode, Some(bits), "{written}");
        }
        for text in ["", "8", "888", "64", "00640", "u+x", "+640", "0x1ff", "6.4"] {
            assert!(mode(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_target_is_an_absolute_path_of_a_file() {
        for text in ["/a", "/etc/a.conf", "/etc/.a", "/a.", "/a..b", "//a"] {
            assert!(target(text).is_some(), "{text}");
        }
        for text in [
            "", "/", "a", "./a", "/a/", "/a/.", "/a/..", "/../a", "/a/../b", "/a\0b",
        ] {
            assert!(target(text).is_none(), "{text:?}");
        }
    }

    #[test]
    fn every_problem_has_its_line_and_its_remedy() {
        let told = read(
            "format: 2\nrules:\n - when: db\n   render:\n    - to: a\n      template: t\n      content: c\n    - tmplate: x\n      mode: 9\n      owner: ':'\n      backup: maybe\n      check: nginx -t\n      secret: 1\n    - 7\n - {when: db, render: []}\n - {when: db, do: h, render: {content: x, to: /a}}\n - {when: db}\n - when: db\n   render:\n    - {content: x, to: /a}\n    - {template: y, to: //a}\n    - {content: [x], to: /b}\n    - {content: x, to: /c, check: []}\n    - {content: x, to: /d, check: ['{}']}\n",
        )
        .unwrap_err();
        for expected in [
            "x.rules:7:16: `rules[0].render[0].content`: stands beside `template`",
            "x.rules:5:11: `rules[0].render[0].to`: expected the absolute path of a file",
            "x.rules:8:16: `rules[0].render[1].tmplate`: unknown key; did you mean `template`?",
            "x.rules:8:7: `rules[0].render[1]`: has no `template`",
            "x.rules:8:7: `rules[0].render[1]`: has no `to`",
            "x.rules:9:13: `rules[0].render[1].mode`: `9` is no mode",
            "x.rules:10:14: `rules[0].render[1].owner`: `:` names no user",
            "x.rules:11:15: `rules[0].render[1].backup`: expected `true` or `false`",
            "x.rules:12:14: `rules[0].render[1].check`: expected a list of words",
            "x.rules:13:15: `rules[0].render[1].secret`: expected `true` or `false`",
            "x.rules:14:7: `rules[0].render[2]`: expected a map",
            "x.rules:15:23: `rules[1].render`: expected a map with `template`",
            "x.rules:16:30: `rules[2].render`: stands beside `do`",
            "x.rules:17:4: `rules[3]`: has no `do` and no `render`",
            "`/a` is rendered twice by one rule",
            "expected a text: the template itself",
            "`rules[4].render[3].check`: expected a list of words",
            "`rules[4].render[4].check`: begins with `{}`",
        ] {
            assert!(
                told.iter().any(|line| line.contains(expected)),
                "{expected}: {told:#?}"
            );
        }
        assert_eq!(told.len(), 18, "{told:#?}");
    }

    #[test]
    fn format_1_knows_no_render() {
        let told = read("rules:\n - rule: {when: db, render: {content: x, to: /a}}\n").unwrap_err();
        assert_eq!(told.len(), 1);
        assert!(
            told[0].contains("`rules[0].rule.render`: needs `format: 2`"),
            "{told:?}"
        );
    }

    #[test]
    fn a_check_of_nothing_is_odd() {
        let file = read(
            "format: 2\nrules: [{when: db, render: {content: x, to: /a, check: [nginx, -t]}}]",
        )
        .unwrap();
        assert!(file.warnings[0].to_string().contains("names nowhere `{}`"));
    }

    #[test]
    fn templates_are_beside_the_rules_file() {
        let all = outputs(
            "    [{template: a.j2, to: /a}, {template: /t/b.j2, to: /b}, {content: \"{{ a\", to: /c}]\n",
        );
        let files = std::cell::RefCell::new(Vec::new());
        let read = |path: &Path| {
            files.borrow_mut().push(path.to_owned());
            Err("cannot be read: no".to_owned())
        };
        let rules = Path::new("/layers/x/x.rules");
        let told: Vec<String> = all
            .iter()
            .map(|output| output.compile(rules, &read).unwrap_err()[0].to_string())
            .collect();
        assert_eq!(
            *files.borrow(),
            [Path::new("/layers/x/a.j2"), Path::new("/t/b.j2")]
        );
        assert!(told[0].starts_with("x.rules:5:17: `rules[0].render[0].template`: the template /layers/x/a.j2 cannot be read"), "{told:?}");
        assert!(told[2].starts_with("/layers/x/x.rules:5:"), "{told:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_entry_is_a_panic(text in "[a-z{}\\[\\]:,/.\"'0-9 \n-]{0,80}") {
            let _ = read(&format!("format: 2\nrules:\n - when: db\n   render: {text}"));
        }
    }
}
