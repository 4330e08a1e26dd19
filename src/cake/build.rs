//! `cake build` and `cake unbake`: a Dockerfile is edited, what it copies is gathered, the image is built.
//!
//! Everything is settled before anything is written.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::base::Known;
use super::builder::{self, Builder};
use super::cli::{BaseArgs, BuildArgs, BuilderArgs, UnbakeArgs};
use super::difference;
use super::failure::{FAILED, Failure};
use super::files;
use super::ingredients::{Ingredients, Pending, shown};
use super::layers::Resolved;
use super::project::{Project, VENDOR, within};
use super::ui::Ui;
use crate::contract::dockerfile::ignore::Ignore;
use crate::contract::dockerfile::{self, Baked, bake};
use crate::contract::exit;
use crate::contract::layer::lock;
use crate::contract::manifest::Manifest;
use crate::contract::problem::Problem;

/// `cake build`.
pub(super) fn build(args: &BuildArgs, json: bool, ui: &Ui) -> Result<(), Failure> {
    let prints = args.output.as_deref() == Some(Path::new("-"));
    let is_final = !(args.check || args.dry_run);
    let writes = is_final && !prints && (!args.no_build || args.in_place || args.output.is_some());
    let builds = is_final && !args.no_build && !prints;

    let project = Project::open(&args.context, args.config.as_deref(), ui)?;
    let root = project.root.clone();
    let dockerfile = match &args.dockerfile {
        Some(file) => file.clone(),
        None => within(&root, "Dockerfile"),
    };
    let original = read_dockerfile(&dockerfile)?;
    let said = said(&args.base, &args.builder, args.target.as_deref())?;
    let pulls = builds && !args.source.net.offline;
    let known = Known::new(&args.base, args.builder.kind, pulls, ui)?;
    let builder = match builds {
        // Not after minutes of fetching that there is nobody to build.
        true => Some(
            known
                .builder()
                .map_err(|reason| Failure::failed(Problem::new(reason)))?,
        ),
        false => None,
    };

    let resolved = project.resolve(&args.source, ui)?;
    announce(&resolved, ui);
    let mut ingredients = Ingredients::new(project, resolved, &args.disco);
    let request = ingredients.request(said, args.health);
    let baked = bake(&dockerfile, &original, &request, &known).map_err(Failure::config)?;
    baked.warnings.iter().for_each(|warning| ui.warn(warning));
    if let Some(problem) = needs_root(&baked, ingredients.contract.as_ref()) {
        ui.warn(&problem);
    }

    if !writes && is_final {
        ui.result(&String::from_utf8_lossy(&baked.bytes));
        return Ok(());
    }
    let platform = args.builder.platform.as_deref();
    let platform = platform.or_else(|| builder.and_then(Builder::platform));
    ingredients.find_disco(&args.disco, platform)?;
    let pending = ingredients.pending(&root, &baked)?;
    check_ignored(&root, &dockerfile)?;
    let target = args.output.clone().unwrap_or_else(|| dockerfile.clone());
    let build = builder::Build {
        dockerfile: target.clone(),
        context: root.clone(),
        tags: args.builder.tags.clone(),
        target: args.target.clone(),
        build_args: args.builder.build_args.clone(),
        platform: args.builder.platform.clone(),
        is_quiet: ui.is_quiet(),
        rest: args.builder.rest.clone(),
    };
    if !is_final {
        let prospect = Prospect {
            args,
            original: &original,
            target: &target,
            baked: &baked,
            pending: &pending,
            build: &build,
        };
        return prospect.tell(&known, ui);
    }

    let written = pending.names();
    ingredients.write(&root, pending)?;
    if !written.is_empty() {
        ui.note("Wrote", &written.join(", "));
    }
    let is_new = write_dockerfile(&target, &baked.bytes)?;
    ui.note(
        match is_new {
            true => "Edited",
            false => "Unchanged",
        },
        &shown(&target),
    );
    if let Some(builder) = builder {
        ui.note(
            "Building",
            &format!("{} with {}", build.tags.join(", "), builder.name()),
        );
        builder.build(&build)?;
        ui.note("Built", &build.tags.join(", "));
    }
    if json {
        ui.result(&report(
            &baked,
            &ingredients,
            &target,
            builder.map(|_| &build),
        ));
    }
    Ok(())
}

/// `cake unbake`.
pub(super) fn unbake(args: &UnbakeArgs, json: bool, ui: &Ui) -> Result<(), Failure> {
    let original = read_dockerfile(&args.dockerfile)?;
    let bare = dockerfile::unbake(&args.dockerfile, &original).map_err(Failure::config)?;
    for line in &bare.edited {
        let message = "the block was changed by hand, and what was written there is gone";
        let place = Problem::new(message).in_file(&args.dockerfile);
        ui.warn(&place.at(Some((*line, 1))));
    }
    if args.output.as_deref() == Some(Path::new("-")) {
        ui.result(&String::from_utf8_lossy(&bare.bytes));
        return Ok(());
    }
    let target = args.output.as_deref().unwrap_or(&args.dockerfile);
    write_dockerfile(target, &bare.bytes)?;
    ui.note(
        match bare.changed {
            true => "Unbaked",
            false => "Unchanged",
        },
        &shown(target),
    );
    if args.all {
        remove_gathered(&args.dockerfile, ui)?;
    }
    if json {
        ui.result(&format!(
            "{}\n",
            json!({"dockerfile": target, "changed": bare.changed})
        ));
    }
    Ok(())
}

/// Removes `.cake` and `cake.lock` beside a Dockerfile.
fn remove_gathered(dockerfile: &Path, ui: &Ui) -> Result<(), Failure> {
    let dir = dockerfile.parent().unwrap_or(Path::new(""));
    let mut removed = Vec::new();
    for (name, is_dir) in [(VENDOR, true), (lock::NAME, false)] {
        let path = dir.join(name);
        let outcome = match is_dir {
            true => std::fs::remove_dir_all(&path),
            false => std::fs::remove_file(&path),
        };
        match outcome {
            Ok(()) => removed.push(shown(&path)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                let message = format!("cannot be removed: {error}");
                return Err(Failure::failed(Problem::new(message).in_file(path)));
            }
        }
    }
    if !removed.is_empty() {
        ui.note("Removed", &removed.join(", "));
    }
    Ok(())
}

/// What the command line says about the build.
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
            let message = format!("{argument:?} is none; expected NAME=VALUE");
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

/// The bytes of a Dockerfile.
pub(super) fn read_dockerfile(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| {
        let message = match error.kind() {
            std::io::ErrorKind::NotFound => {
                "does not exist; name the Dockerfile with -d, or its directory with --context"
                    .to_owned()
            }
            _ => format!("cannot be read: {error}"),
        };
        Failure::config(vec![Problem::new(message).in_file(path)])
    })
}

fn write_dockerfile(path: &Path, bytes: &[u8]) -> Result<bool, Failure> {
    files::write(path, bytes, 0o644).map_err(|error| {
        let message = format!("cannot be written: {error}; it is as it was");
        Failure::failed(Problem::new(message).in_file(path))
    })
}

/// What hangs on root, in an image that runs as somebody else.
pub(super) fn needs_root(baked: &Baked, contract: Option<&Manifest>) -> Option<Problem> {
    let contract = contract?;
    let user = baked.effective.user.value.as_ref().ok()?;
    if baked.effective.user.is_root() || contract.capabilities.as_ref()?.is_empty() {
        return None;
    }
    let message = format!(
        "names capabilities, and the image runs as `{user}`, who cannot be given any; let USER be root, and `disco.user` become `{user}`"
    );
    Some(Problem::new(message).in_file(&contract.file).at_key("cap"))
}

/// That what is gathered reaches the builder.
///
/// # Errors
/// A `.dockerignore` keeps it away.
fn check_ignored(root: &Path, dockerfile: &Path) -> Result<(), Failure> {
    // BuildKit and podman prefer the one that is named after the Dockerfile.
    let mut own = dockerfile.as_os_str().to_owned();
    own.push(".dockerignore");
    let candidates = [
        PathBuf::from(own),
        root.join(".containerignore"),
        root.join(".dockerignore"),
    ];
    let Some(file) = candidates.into_iter().find(|path| path.is_file()) else {
        return Ok(());
    };
    let bytes = read_dockerfile(&file)?;
    let ignore = Ignore::parse(&file, &bytes).map_err(Failure::config)?;
    for name in ["manifest.json", "disco", "layers/.order"] {
        if let Some(line) = ignore.excluded_by(&format!("{VENDOR}/{name}")) {
            let message = format!(
                "keeps {VENDOR}/{name} from the builder, which has to copy it; add the lines `!{VENDOR}` and `!{VENDOR}/**`"
            );
            let problem = Problem::new(message).in_file(&file).at(Some((line, 1)));
            return Err(Failure::config(vec![problem]));
        }
    }
    Ok(())
}

/// Says which layers there are.
pub(super) fn announce(resolved: &Resolved, ui: &Ui) {
    let names: Vec<&str> = resolved
        .layers
        .iter()
        .map(|layer| layer.locked.name.as_str())
        .collect();
    if !names.is_empty() {
        ui.note("Resolved", &names.join(", "));
    }
    for drift in &resolved.drift {
        ui.detail("Changed", drift);
    }
}

/// `--check` and `--dry-run`: what would be, and for `--check` whether anything would.
struct Prospect<'a> {
    args: &'a BuildArgs,
    original: &'a [u8],
    target: &'a Path,
    baked: &'a Baked,
    pending: &'a Pending,
    build: &'a builder::Build,
}

impl Prospect<'_> {
    fn tell(&self, known: &Known<'_>, ui: &Ui) -> Result<(), Failure> {
        let there = match self.args.output {
            Some(_) => files::read_if_there(self.target)
                .unwrap_or_default()
                .unwrap_or_default(),
            None => self.original.to_vec(),
        };
        let names = ["a", "b"].map(|side| format!("{side}/{}", shown(self.target)));
        let difference = difference::unified([&names[0], &names[1]], &there, &self.baked.bytes);
        ui.result(&difference);
        let names = self.pending.names();
        if self.args.dry_run {
            for name in &names {
                ui.note("Would write", name);
            }
            if let Some(builder) = known.builder().ok().filter(|_| !self.args.no_build) {
                let words = builder.words(self.build);
                let words: Vec<_> = words.iter().map(quoted).collect();
                ui.note("Would run", &words.join(" "));
            }
            return Ok(());
        }
        let mut problems: Vec<Problem> = Vec::new();
        let remedy = "run `cake build` and commit what it writes";
        if !difference.is_empty() {
            let message = format!("is not as cake would have it; {remedy}");
            problems.push(Problem::new(message).in_file(self.target));
        }
        for name in names {
            let message = format!("is not up to date; {remedy}");
            problems.push(Problem::new(message).in_file(name));
        }
        match problems.is_empty() {
            true => {
                ui.note("Checked", "nothing would change");
                Ok(())
            }
            false => Err(Failure {
                code: FAILED,
                problems,
            }),
        }
    }
}

/// A word as a shell takes it.
fn quoted(word: &OsString) -> String {
    let word = word.to_string_lossy();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:@,+".contains(c);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.into_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// What was done, for a program.
pub(super) fn report(
    baked: &Baked,
    ingredients: &Ingredients,
    dockerfile: &Path,
    built: Option<&builder::Build>,
) -> String {
    let layers = ingredients
        .resolved
        .layers
        .iter()
        .map(|layer| json!({"name": layer.locked.name, "sha256": layer.locked.sha256}));
    let report = json!({
        "dockerfile": dockerfile,
        "changed": baked.changed,
        "entrypoint": baked.after.entrypoint,
        "cmd": baked.after.cmd,
        "layers": layers.collect::<Vec<_>>(),
        "images": built.map(|build| &build.tags),
    });
    format!("{report:#}\n")
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
    fn a_word_is_shown_as_a_shell_takes_it() {
        for (word, want) in [
            ("a-b=c", "a-b=c"),
            ("a b", "'a b'"),
            ("it's", r"'it'\''s'"),
            ("", "''"),
        ] {
            assert_eq!(quoted(&word.into()), want);
        }
    }
}
