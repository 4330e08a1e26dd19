//! Templates: compiled once with all that they include, rendered as often as the data changes.
//!
//! The language is that of Jinja2, as minijinja has it. A value that is not there is an error, and
//! nothing is escaped. Data comes out in the order of its keys, so that the same data makes the same
//! file whatever source it is from. What templates can call is in `functions`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use minijinja::value::Value as Rendered;
use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use serde_json::Value;

use super::fault::{self, Source};
use super::functions;
use super::includes;
use super::made;
use super::said::Said;
use crate::contract::problem::Problem;
use crate::contract::tree;

/// The name of the template itself among those that it includes: no file can be called so.
const MAIN: &str = "/";

/// The whole of the data, for interfaces whose names are no names in a template, such as `my-db`.
const DATA: &str = "data";

/// Calls within calls, and templates within templates.
const MAX_DEPTH: usize = 100;

/// Steps of the engine until a template is taken for one that comes to no end: a second or so.
const MAX_STEPS: u64 = 20_000_000;

/// What a template sees beside its data.
pub trait Surroundings: Send + Sync {
    /// The value of an environment variable; `None` for one that is not set, or not to be seen.
    fn env(&self, name: &str) -> Option<String>;

    /// The text of a file, as it is.
    ///
    /// # Errors
    /// Why it cannot be had, as the end of a sentence, without its path.
    fn file(&self, path: &str) -> Result<String, String>;

    /// Is told each text that is made of the data: what is secret is so in whatever form. Returns whether
    /// it wants to be told of more.
    fn made(&self, _text: &str) -> bool {
        false
    }
}

/// Where the text of a template stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: PathBuf,
    /// What of the file it is, if it is not the whole.
    pub within: Option<Said>,
}

impl Place {
    /// The whole of a file.
    #[must_use]
    pub fn file(file: PathBuf) -> Self {
        Self { file, within: None }
    }
}

/// Gets the place and the text of an included template, or says why it cannot, as the end of a
/// sentence.
pub type Include<'a> = dyn Fn(&str) -> Result<(Place, String), String> + 'a;

/// A template that is right as far as that can be known without data.
pub struct Template {
    environment: Environment<'static>,
    sources: BTreeMap<String, Source>,
}

impl std::fmt::Debug for Template {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&String> = self.sources.keys().collect();
        f.debug_struct("Template").field("sources", &names).finish()
    }
}

impl Template {
    /// Compiles a template and all that it includes.
    ///
    /// # Errors
    /// What is wrong with each of them, with file and line.
    pub fn compile(
        place: Place,
        text: String,
        include: &Include<'_>,
    ) -> Result<Self, Vec<Problem>> {
        let mut template = Self {
            environment: environment(),
            sources: BTreeMap::new(),
        };
        let mut problems = Vec::new();
        let main = Source { place, text };
        let mut waiting = vec![(MAIN.to_owned(), main)];
        while let Some((name, source)) = waiting.pop() {
            for found in includes::names(&source.text) {
                let is_known = |known: &String| known == found.text;
                let mut known = template.sources.keys();
                if known.any(is_known) || waiting.iter().any(|(known, _)| is_known(known)) {
                    continue;
                }
                let got = match includes::defect(found.text) {
                    Some(defect) => Err(defect.to_owned()),
                    None => include(found.text),
                };
                match got {
                    Ok((place, text)) => {
                        waiting.push((found.text.to_owned(), Source { place, text }));
                    }
                    Err(_) if found.is_optional => {}
                    Err(why) => {
                        let message = format!("the included template `{}` {why}", found.text);
                        problems.push(source.problem(found.at, message));
                    }
                }
            }
            let text = source.text.clone();
            template.sources.insert(name.clone(), source);
            let added = template.environment.add_template_owned(name, text);
            if let Err(error) = added {
                problems.push(fault::of(&error, &template.sources));
            }
        }
        match problems.is_empty() {
            true => Ok(template),
            false => Err(problems),
        }
    }

    /// The top-level names that it takes from its data: interfaces, where it is right.
    #[must_use]
    pub fn names(&self) -> BTreeSet<String> {
        let Ok(main) = self.environment.get_template(MAIN) else {
            return BTreeSet::new();
        };
        let is_own = |name: &String| {
            !matches!(name.as_str(), DATA | "loop" | "self" | "super" | "caller")
                && !functions::NAMES.contains(&name.as_str())
        };
        let names = main.undeclared_variables(false).into_iter();
        names.filter(is_own).collect()
    }

    /// Renders it with an object keyed by interface. A dotted interface such as `db.master` is nested:
    /// `db.master.host`.
    ///
    /// # Errors
    /// What went wrong, where, and with which expression; never a value.
    pub fn render(
        &self,
        data: &Value,
        surroundings: &Arc<dyn Surroundings>,
    ) -> Result<String, Problem> {
        let told = |error: &minijinja::Error| fault::of(error, &self.sources);
        let mut environment = self.environment.clone();
        functions::add(&mut environment, surroundings);
        let around = Arc::clone(surroundings);
        environment.set_formatter(move |out, _, value| {
            let text = functions::plain(value)?;
            // What has several lines is known by its parts, or would hide whole lines of the template.
            if !text.contains('\n') {
                made::tell(&*around, value);
            }
            Ok(out.write_str(&text)?)
        });
        let main = environment.get_template(MAIN).map_err(|e| told(&e))?;
        let mut context = Rendered::from_serialize(tree::nest_dotted(data.clone()));
        if data.get(DATA).is_none() {
            let whole = Rendered::from_iter([(DATA, context.clone())]);
            context = minijinja::value::merge_maps([context, whole]);
        }
        let mut text = made::Bounded::default();
        main.render_captured_to(context, &mut text)
            .map_err(|error| told(&error))?;
        Ok(text.into_text())
    }
}

fn environment() -> Environment<'static> {
    // What there is to be called is chosen in `functions`.
    let mut environment = Environment::empty();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_keep_trailing_newline(true);
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    environment.set_recursion_limit(MAX_DEPTH);
    environment.set_fuel(Some(MAX_STEPS));
    // Errors would carry a copy of the data.
    environment.set_debug(false);
    environment
}

#[cfg(test)]
mod tests;
