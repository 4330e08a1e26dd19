//! Rules files: interfaces have schemas, templates exist and compile, handlers can be run. What an image
//! has to bring, such as the programs of `check`, is not looked at.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use serde_json::Value;

use super::layer::World;
use super::source::Source;
use super::{Findings, program};
use crate::cake::files;
use crate::contract::layer::digest;
use crate::contract::problem::Problem;
use crate::contract::render::{self, Output, STAGED};
use crate::contract::rule::{self, Action, Op, Rule};
use crate::contract::text::{Snippet, Step};
use crate::contract::{suggest, tree};

/// Where layers are in an image.
const IN_IMAGE: &str = "/usr/share/layercake/layers";

const NOT_SHIPPED: &str =
    "does not go into an image, as nothing does below example/ and expected/, and no README";

/// Checks a rules file of the layer in `dir`. Returns the rules that could be read.
pub(super) fn check(
    source: &Source,
    dir: &Path,
    world: &World,
    findings: &mut Findings,
) -> Vec<Rule> {
    let parsed = match rule::parse(&source.file, &source.bytes) {
        Ok(parsed) => parsed,
        Err(problems) => {
            findings.problems.extend(problems);
            return Vec::new();
        }
    };
    findings.warnings.extend(parsed.warnings);
    let root = source.tree(Snippet::Shown).map(|(tree, _)| tree);
    let root = root.unwrap_or_default();
    for rule in &parsed.rules {
        let place = Place {
            source,
            path: path(&root, rule.index),
            dir,
            world,
        };
        interfaces(rule, &place, world, findings);
        match &rule.action {
            Action::Run(argv) => handler(argv, &place, dir, findings),
            Action::Render(outputs) => {
                for (index, output) in outputs.iter().enumerate() {
                    self::output(rule, output, index, &place, &root, findings);
                }
            }
        }
    }
    parsed.rules
}

/// Warns of files that two rules of a layer render.
pub(super) fn check_targets(rules: &[Rule], findings: &mut Findings) {
    let mut seen: BTreeMap<&Path, &Rule> = BTreeMap::new();
    for rule in rules {
        let Action::Render(outputs) = &rule.action else {
            continue;
        };
        for output in outputs {
            let Some(other) = seen.insert(&output.to, rule) else {
                continue;
            };
            let message = format!(
                "renders `{}`, as {} does: each takes the place of the other's",
                output.to.display(),
                match other.file == rule.file {
                    true => format!("rules[{}]", other.index),
                    false => other.file.display().to_string(),
                }
            );
            let problem = Problem::new(message).in_file(&rule.file);
            findings.warn(problem.at_key(format!("rules[{}]", rule.index)));
        }
    }
}

/// Where a rule stands.
struct Place<'a> {
    source: &'a Source,
    path: Vec<Step<'a>>,
    /// The layer that it is of.
    dir: &'a Path,
    world: &'a World,
}

impl Place<'_> {
    fn problem(&self, below: &[Step<'_>], message: impl Into<String>) -> Problem {
        let path = [self.path.as_slice(), below].concat();
        self.source.problem(&path, message)
    }
}

/// The way to a rule, with or without the seed's `rule:`.
fn path(root: &Value, index: usize) -> Vec<Step<'static>> {
    let mut path = vec![Step::Key("rules"), Step::Index(index)];
    let entry = root.get("rules").and_then(|rules| rules.get(index));
    if entry.is_some_and(|entry| entry.get("rule").is_some()) {
        path.push(Step::Key("rule"));
    }
    path
}

/// Every interface needs a schema; for `any` one of them does, and the others are most likely mistakes.
fn interfaces(rule: &Rule, place: &Place<'_>, world: &World, findings: &mut Findings) {
    let has = |name: &&String| {
        [name.as_str(), tree::head(name)]
            .iter()
            .any(|name| world.schemas.contains_key(*name))
    };
    let enough = rule.op == Op::Any && rule.when.iter().any(|name| has(&name));
    for name in rule.when.iter().filter(|name| !has(name)) {
        let head = tree::head(name);
        let hint = suggest::hint(name, world.schemas.keys().map(String::as_str));
        let message = format!(
            "no schema is named `{name}`{hint}; expected a file with `name: {head}` and the extension .schema in this layer, or in one that its layer.yaml needs under `layers`"
        );
        let problem = place.problem(&[Step::Key("when")], message);
        match enough || !world.unknown.is_empty() {
            true => findings.warn(problem),
            false => findings.problem(problem),
        }
    }
}

/// A handler lies beside the rules file, or in the image.
fn handler(argv: &[String], place: &Place<'_>, dir: &Path, findings: &mut Findings) {
    let name = argv.first().map(String::as_str).unwrap_or_default();
    let beside = place.source.file.parent().unwrap_or(dir).join(name);
    if Path::new(name).is_absolute() {
        return;
    }
    if beside.is_file() {
        return program::check(&beside, findings);
    }
    let at = [Step::Key("do")];
    match name.split_once(' ') {
        Some((program, _)) => {
            let message = format!(
                "there is no handler `{name}`; to pass arguments write `do: [{program}, …]`"
            );
            findings.problem(place.problem(&at, message));
        }
        None if name.contains('/') => {
            let message = format!("there is no handler {}", beside.display());
            findings.problem(place.problem(&at, message));
        }
        None => {
            let message = format!(
                "there is no handler `{name}` beside this file; the image has to have it on its PATH"
            );
            findings.warn(place.problem(&at, message));
        }
    }
}

/// Why a template is not where a rule names it in an image, if it is of a layer that is known.
fn template_in_image(path: &Path, world: &World) -> Option<String> {
    let inside = path.strip_prefix(IN_IMAGE).ok()?;
    let mut parts = inside.components();
    let name = parts.next()?.as_os_str().to_str()?;
    let (below, home) = (parts.as_path(), world.homes.get(name)?);
    let why = if !digest::is_shipped(&below.to_string_lossy()) {
        NOT_SHIPPED
    } else if !home.join(below).is_file() {
        "is not there"
    } else {
        return None;
    };
    Some(format!(
        "the template {} of the layer `{name}` {why}",
        below.display()
    ))
}

/// One file that a rule renders.
fn output(
    rule: &Rule,
    output: &Output,
    index: usize,
    place: &Place<'_>,
    root: &Value,
    findings: &mut Findings,
) {
    if let render::TemplateSource::File(path) = &output.source
        && (path.is_absolute() || path.components().any(|part| part == Component::ParentDir))
    {
        // It is in the image, or in a layer there.
        let message = template_in_image(path, place.world);
        let told = message.map(|message| output.said.problem(message));
        findings.problems.extend(told);
        return;
    }
    let read = |path: &Path| {
        let below = path.strip_prefix(place.dir).unwrap_or(path);
        match digest::is_shipped(&below.to_string_lossy()) {
            true => files::read_text(path).map_err(|error| format!("cannot be read: {error}")),
            false => Err(NOT_SHIPPED.to_owned()),
        }
    };
    match output.compile(&rule.file, &read) {
        Ok(template) => {
            let heads: Vec<&str> = rule.when.iter().map(|name| tree::head(name)).collect();
            for name in template.names() {
                if !heads.contains(&name.as_str()) {
                    let hint = suggest::hint(&name, heads.iter().copied());
                    let message = format!(
                        "its template takes `{name}`, which this rule does not wait for{hint}; name it under `when`"
                    );
                    findings.warn(output.said.problem(message));
                }
            }
        }
        Err(problems) => findings.problems.extend(problems),
    }
    if !output.check.is_empty() && !output.check.iter().any(|word| word.contains(STAGED)) {
        let mut at = vec![Step::Key("render"), Step::Index(index), Step::Key("check")];
        let render = place.path.iter().try_fold(root, |node, step| match step {
            Step::Key(key) => node.get(key),
            Step::Index(index) => node.get(index),
        });
        if render
            .and_then(|rule| rule.get("render"))
            .is_some_and(Value::is_object)
        {
            at.remove(1);
        }
        let message =
            format!("never names the file that it checks; put `{STAGED}` where its path goes");
        findings.warn(place.problem(&at, message));
    }
}

/// The files below `expected/` that rules render, relative to it.
pub(super) fn targets(rules: &[Rule]) -> Vec<PathBuf> {
    let mut targets = Vec::new();
    for rule in rules {
        if let Action::Render(outputs) = &rule.action {
            let paths = outputs.iter().map(|output| &output.to);
            targets.extend(paths.map(|to| to.strip_prefix("/").unwrap_or(to).to_owned()));
        }
    }
    targets
}
