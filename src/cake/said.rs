//! What the command line says of a build, read: commands, build arguments, the builder, and that what is
//! passed on to the builder does not contradict what is baked.

use std::ffi::OsString;
use std::path::Path;

use clap::ValueEnum as _;

use super::builder::{Build, Kind};
use super::cli::{BaseArgs, BuilderArgs};
use super::failure::Failure;
use super::project::variable;
use super::ui::Ui;
use crate::contract::dockerfile;
use crate::contract::exit;
use crate::contract::problem::Problem;

/// Options of the builders that decide what is built: cake has to know them.
const OURS: [&str; 5] = ["--target", "--file", "-f", "--build-arg", "--platform"];

/// What is said about the build.
///
/// # Errors
/// Every word of it that is none.
pub(super) fn said(
    base: &BaseArgs,
    builder: &BuilderArgs,
    target: Option<&str>,
) -> Result<dockerfile::Build, Failure> {
    let mut problems = Vec::new();
    let mut command = |option: &str, text: Option<&str>| -> Option<Vec<String>> {
        words(text?)
            .map_err(|message| problems.push(Problem::new(message).at_key(option)))
            .ok()
    };
    let base_entrypoint = command("--entrypoint", base.entrypoint.as_deref());
    let base_cmd = command("--cmd", base.cmd.as_deref());
    let mut build = dockerfile::Build {
        target: target.map(str::to_owned),
        platform: builder.platform.clone(),
        base_entrypoint,
        base_cmd,
        ..dockerfile::Build::default()
    };
    for argument in &builder.build_args {
        let (name, value) = match argument.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            // As docker has it: the value is that of the environment, if it has one.
            None => (argument.as_str(), std::env::var(argument).ok()),
        };
        if name.is_empty() {
            let message = "begins with `=`; expected NAME=VALUE";
            problems.push(Problem::new(message).at_key("--build-arg"));
        } else if let Some(value) = value {
            build.args.insert(name.to_owned(), value);
        }
    }
    match problems.is_empty() {
        true => Ok(build),
        false => Err(Failure {
            code: exit::USAGE,
            problems,
        }),
    }
}

/// What the builder is told, of a Dockerfile and a context, for its own last stage.
pub(super) fn build(args: &BuilderArgs, dockerfile: &Path, context: &Path, ui: &Ui) -> Build {
    Build {
        dockerfile: dockerfile.to_owned(),
        context: context.to_owned(),
        tags: args.tags.clone(),
        target: None,
        build_args: args.build_args.clone(),
        platform: args.platform.clone(),
        is_quiet: ui.is_quiet(),
        rest: args.rest.clone(),
    }
}

/// A command as an option gives it: a JSON array of strings, or one word; nothing for none.
fn words(text: &str) -> Result<Vec<String>, String> {
    let text = text.trim();
    if text.starts_with('[') {
        return serde_json::from_str(text).map_err(|error| {
            format!("{text:?} is no JSON array of strings ({error}); expected one such as [\"nginx\",\"-g\"]")
        });
    }
    Ok(match text {
        "" | "null" => Vec::new(),
        word => vec![word.to_owned()],
    })
}

/// The builder that is wanted: by the option, else by `CAKE_BUILDER`.
///
/// # Errors
/// There is none of that name.
pub(super) fn builder(named: Option<&str>) -> Result<Option<Kind>, Failure> {
    let (key, name) = match (named, variable("CAKE_BUILDER")) {
        (Some(name), _) => ("--builder", name.to_owned()),
        (None, Some(name)) => ("CAKE_BUILDER", name.to_string_lossy().into_owned()),
        (None, None) => return Ok(None),
    };
    let known = Kind::value_variants().iter();
    let known = known.filter_map(clap::ValueEnum::to_possible_value);
    let known: Vec<String> = known.map(|value| value.get_name().to_owned()).collect();
    Kind::from_str(&name, true).map(Some).map_err(|_| {
        let message = format!("{name:?} is no builder; expected {}", known.join(", "));
        Failure::usage(Problem::new(message).at_key(key))
    })
}

/// That what follows `--` leaves to cake what cake has to know.
///
/// # Errors
/// Every word that does not.
pub(super) fn check_rest(rest: &[OsString]) -> Result<(), Failure> {
    let mut problems = Vec::new();
    for word in rest {
        let word = word.to_string_lossy();
        let name = word.split('=').next().unwrap_or_default();
        let short = word.starts_with("-f") && !word.starts_with("--");
        if OURS.contains(&name) || short {
            let name = if short { "-f" } else { name };
            let message = format!("decides what is baked; say `{name}` before the `--`");
            problems.push(Problem::new(message).at_key(name));
        }
    }
    match problems.is_empty() {
        true => Ok(()),
        false => Err(Failure {
            code: exit::USAGE,
            problems,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_an_array_or_a_word() {
        for (text, want) in [
            (r#"["a","b c"]"#, vec!["a", "b c"]),
            ("nginx", vec!["nginx"]),
            ("two words", vec!["two words"]),
            ("[]", vec![]),
            ("", vec![]),
            ("null", vec![]),
        ] {
            assert_eq!(words(text).unwrap(), want, "{text}");
        }
        for bad in ["[", "[1]", r#"["a""#] {
            assert!(words(bad).unwrap_err().contains("JSON array"), "{bad}");
        }
    }

    #[test]
    fn what_decides_what_is_baked_is_not_passed_on() {
        let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        let rest = words(&["--target", "x", "--file=D", "-fD", "--build-arg=A=1"]);
        assert_eq!(check_rest(&rest).unwrap_err().problems.len(), 4);
        assert_eq!(
            check_rest(&words(&["--no-cache", "--force-rm", "--label", "f=1"])),
            Ok(())
        );
    }
}
