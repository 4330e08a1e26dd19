//! Rules files: which handler runs once which interfaces hold valid data.
//!
//! `format: 1` is the seed's, byte for byte in what handlers receive; `format: 2` keys the data by
//! interface and adds `render`, `once`, `timeout`, `env` and `then`. The file is read leniently into a
//! tree and checked by hand (`reader`, `output`), so that all its problems come out at once, each with
//! its line.

mod output;
mod reader;

use std::path::{Path, PathBuf};
use std::time::Duration;

use self::reader::Reader;
use super::problem::Problem;
use super::render::Output;
use super::report::Report;
use super::text::{self, Format, Snippet};

/// When a rule with several interfaces fires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// As soon as one of them is valid.
    Any,
    /// When every one of them is valid.
    All,
}

/// How the data of the interfaces is laid out on the handler's stdin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// The contents of all interfaces in one object; for a shared key the later name in `when` wins.
    Flat,
    /// One key per interface, as named in `when`.
    Keyed,
}

/// What happens to the command after the handler succeeded while the command runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// Nothing: the handler has done it all.
    Nothing,
    /// The command gets this signal.
    Signal(i32),
    /// The command is stopped and started again.
    Restart,
}

/// An entry of a rule's `env`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HandlerEnv {
    /// The container's variable of this name is handed on.
    Pass(String),
    /// The variable is set to this value.
    Set(String, String),
}

/// What a rule does with its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Runs a handler: its argv; never empty, never split, never given to a shell.
    Run(Vec<String>),
    /// Renders files, all of them or none; never empty.
    Render(Vec<Output>),
}

/// A checked rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The file it stands in.
    pub file: PathBuf,
    /// Its place in the file, from 0.
    pub index: usize,
    /// `any` or `all`.
    pub op: Op,
    /// Interface names, dotted ones included, in the order written.
    pub when: Vec<String>,
    /// What is done.
    pub action: Action,
    /// The layout on stdin.
    pub layout: Layout,
    /// Whether it is done for good after its first success.
    pub once: bool,
    /// Its own time limit, in place of `disco.handler_timeout`.
    pub timeout: Option<Duration>,
    /// Variables beyond PATH.
    pub env: Vec<HandlerEnv>,
    /// What its success means for a running command.
    pub then: Then,
}

impl Rule {
    /// How logs name the rule, as the original did: `all(db, web) -> configure`, or
    /// `all(db) -> render /etc/a, /etc/b`.
    #[must_use]
    pub fn label(&self) -> String {
        let op = match self.op {
            Op::Any => "any",
            Op::All => "all",
        };
        let action = match &self.action {
            Action::Run(argv) => argv.join(" "),
            Action::Render(outputs) => {
                let paths = outputs.iter().map(|output| output.to.display().to_string());
                format!("render {}", paths.collect::<Vec<_>>().join(", "))
            }
        };
        format!("{op}({}) -> {action}", self.when.join(", "))
    }

    /// The programs that it starts, by name: its handler, or what checks its files.
    pub fn programs(&self) -> impl Iterator<Item = &str> {
        let (argv, outputs) = match &self.action {
            Action::Run(argv) => (&argv[..], &[][..]),
            Action::Render(outputs) => (&[][..], &outputs[..]),
        };
        let checks = outputs.iter().filter_map(|output| output.check.first());
        argv.first().into_iter().chain(checks).map(String::as_str)
    }
}

/// What a rules file holds: rules, and what is odd but no error.
#[derive(Debug, Default)]
pub struct RuleFile {
    /// In file order.
    pub rules: Vec<Rule>,
    /// Worth a warning.
    pub warnings: Vec<Problem>,
}

/// Parses a rules file. An empty one holds no rules.
///
/// # Errors
/// Every problem in it, with line and key.
pub fn parse(file: &Path, bytes: &[u8]) -> Result<RuleFile, Vec<Problem>> {
    let format = Format::of(file).unwrap_or(Format::Yaml);
    let document = text::parse(bytes, Some(format), Snippet::Shown)
        .map_err(|problem| vec![problem.in_file(file)])?;
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    let mut reader = Reader::new(file, text);
    for note in document.notes {
        let warning = Problem::new(note).in_file(file);
        reader.report.warnings.push(warning);
    }
    reader.file(&document.value);
    let Report {
        problems, warnings, ..
    } = reader.report;
    if problems.is_empty() {
        Ok(RuleFile {
            rules: reader.rules,
            warnings,
        })
    } else {
        Err(problems)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good(text: &str) -> RuleFile {
        parse(Path::new("x.rules"), text.as_bytes()).unwrap()
    }

    fn bad(text: &str) -> Vec<String> {
        let problems = parse(Path::new("x.rules"), text.as_bytes()).unwrap_err();
        problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_seeds_forms() {
        let file = good(
            "format: 1\nrules:\n - rule: {op: any, when: [db, web], do: h}\n - rule: {when: db, do: [h, -v]}\n",
        );
        assert_eq!(file.rules[0].label(), "any(db, web) -> h");
        assert_eq!(file.rules[1].label(), "all(db) -> h -v");
        assert_eq!(file.rules[0].layout, Layout::Flat);
        assert!(file.rules[0].once);
    }

    #[test]
    fn c14_an_empty_file_holds_no_rules() {
        for text in ["", "# nothing\n", "rules:\n", "rules: []\n"] {
            assert!(good(text).rules.is_empty(), "{text:?}");
        }
    }

    #[test]
    fn c15_commas_and_odd_operators() {
        let file = good("rules:\n - rule: {when: 'db, web', do: h, op: both}\n");
        assert_eq!(file.rules[0].when, ["db", "web"]);
        assert_eq!(file.rules[0].op, Op::All);
        assert_eq!(file.warnings.len(), 1);
        assert!(
            good("rules:\n - rule: {when: [], do: h}\n").rules[0]
                .when
                .is_empty()
        );
        assert!(bad("rules:\n - rule: {when: [], do: h, op: any}\n")[0].contains("never fire"));
    }

    #[test]
    fn format_2_adds_its_keys() {
        let file = good(
            "format: 2\nrules:\n - when: db\n   do: h\n   once: false\n   timeout: 5s\n   env: {A: 1}\n   then: {signal: HUP}\n - {when: db, do: h, env: [HOME], then: restart}\n",
        );
        let rule = &file.rules[0];
        assert!(!rule.once && rule.layout == Layout::Keyed && rule.then == Then::Signal(1));
        assert_eq!(rule.timeout, Some(Duration::from_secs(5)));
        assert_eq!(rule.env, [HandlerEnv::Set("A".into(), "1".into())]);
        assert_eq!(file.rules[1].env, [HandlerEnv::Pass("HOME".into())]);
        assert_eq!(file.rules[1].then, Then::Restart);
    }

    #[test]
    fn format_1_warns_where_format_2_refuses() {
        let file = good("rules:\n - rule: {when: db, do: h, once: false}\n");
        assert!(file.warnings[0].to_string().contains("needs `format: 2`"));
        assert!(
            bad("format: 2\nrules:\n - {when: db, do: h, onec: false}\n")[0]
                .contains("did you mean `once`")
        );
    }

    #[test]
    fn all_problems_at_once_each_with_its_line() {
        let problems = bad(
            "format: 2\nrules:\n  - rule: {do: h}\n  - rule:\n      when: db\n  - rule:\n      when: 5\n      do: {}\n      once: 3\n      then: kill\n      timeout: soon\n  - 7\n",
        );
        let lines: Vec<_> = problems
            .iter()
            .map(|p| p.split(':').nth(1).unwrap().to_owned())
            .collect();
        assert_eq!(
            lines,
            ["3", "5", "7", "8", "9", "11", "10", "12"],
            "{problems:#?}"
        );
        assert!(problems[0].contains("`rules[0].rule`"), "{problems:#?}");
    }

    #[test]
    fn what_is_no_rules_file_says_so() {
        assert!(bad("format: 3\n")[0].contains("unknown rules format `3`"));
        assert!(bad("- a\n")[0].contains("expected a map"));
        assert!(bad("format: 1\n")[0].contains("holds no `rules`"));
        assert!(bad("rules: [\n")[0].contains("x.rules:"));
    }
}
