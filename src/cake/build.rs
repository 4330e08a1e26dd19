//! `cake build` and `cake unbake`: a Dockerfile is edited, what it copies is gathered, the image is built.
//!
//! Everything is settled before anything is written.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::base::Known;
use super::builder::{self, Builder};
use super::cli::{BuildArgs, UnbakeArgs};
use super::failure::Failure;
use super::files;
use super::ingredients::{Ingredients, shown};
use super::layers::Resolved;
use super::project::{Project, within};
use super::prospect::Prospect;
use super::said::{self, said};
use super::ui::Ui;
use crate::contract::dockerfile::{self, Baked, Ignore, bake};
use crate::contract::manifest::Manifest;
use crate::contract::problem::Problem;

/// The names that builders look for by themselves, in their order.
const DOCKERFILES: [&str; 3] = ["Dockerfile", "Containerfile", "dockerfile"];

/// `cake build`.
pub(super) fn build(args: &BuildArgs, json: bool, ui: &Ui) -> Result<(), Failure> {
    let prints = args.output.as_deref() == Some(Path::new("-"));
    let is_final = !(args.check || args.dry_run);
    if prints && !is_final {
        let message = "prints, and there is nothing to compare with; leave out one of the two";
        return Err(Failure::usage(Problem::new(message).at_key("-o -")));
    }
    let writes = is_final && !prints && (!args.no_build || args.in_place || args.output.is_some());
    let builds = is_final && !args.no_build && !prints;
    said::check_rest(&args.builder.rest)?;
    if args.use_devel {
        let message = "means nothing here: disco is no package that a build installs";
        ui.warn(&Problem::new(message).at_key("--use-devel"));
    }

    let project = Project::open(&args.context, args.config.as_deref(), ui)?;
    let root = project.root.clone();
    let dockerfile = dockerfile(args, &root)?;
    let original = read_dockerfile(&dockerfile)?;
    let said = said(&args.base, &args.builder, args.target.as_deref())?;
    let kind = said::builder(args.builder.kind.as_deref())?;
    let pulls = builds && !args.source.net.offline;
    let known = Known::new(&args.base, kind, pulls, ui)?;
    let builder = match builds {
        // Not after minutes of fetching that there is nobody to build.
        true => Some(known.builder().map_err(|reason| {
            Failure::failed(Problem::new(format!("{reason}, or use -n to only edit")))
        })?),
        false => None,
    };

    let resolved = project.resolve(&args.source, ui)?;
    announce(&resolved, ui);
    let mut ingredients = Ingredients::new(project, resolved, &args.disco);
    let request = ingredients.request(said, &args.block);
    let baked = bake(&dockerfile, &original, &request, &known).map_err(Failure::config)?;
    baked.warnings.iter().for_each(|warning| ui.warn(warning));
    for problem in needs_root(&baked, &ingredients) {
        ui.warn(&problem);
    }
    if !writes && is_final {
        print(&baked, &ingredients, &dockerfile, json, ui);
        return Ok(());
    }

    let platform = known.platform(args.builder.platform.as_deref(), builder);
    ingredients.find_disco(&args.disco, platform.as_deref(), args.source.locked)?;
    let pending = ingredients.pending(&root, &baked)?;
    check_ignored(
        &root,
        &dockerfile,
        args.output.as_deref(),
        builder,
        &ingredients,
    )?;
    let target = args.output.clone().unwrap_or_else(|| dockerfile.clone());
    let build = builder::Build {
        target: args.target.clone(),
        ..said::build(&args.builder, &target, &root, ui)
    };
    if !is_final {
        let prospect = Prospect {
            is_check: args.check,
            builds: !args.no_build,
            original: match args.output {
                Some(_) => files::read_if_there(&target)
                    .ok()
                    .flatten()
                    .unwrap_or_default(),
                None => original,
            },
            target: &target,
            baked: &baked,
            pending: &pending,
            build: &build,
        };
        return prospect.tell(&known, json, ui);
    }

    let unwritable = |error: std::io::Error| {
        let message = format!("cannot be written: {error}; nothing has changed");
        Failure::failed(Problem::new(message).in_file(&target))
    };
    let staged = files::stage(&target, &baked.bytes, 0o644).map_err(unwritable)?;
    let (written, removed) = (pending.names(), pending.stale());
    ingredients.write(&root, pending)?;
    for (verb, names) in [("Wrote", written), ("Removed", removed)] {
        if !names.is_empty() {
            ui.note(verb, &names.join(", "));
        }
    }
    tell_edited(staged.commit().map_err(unwritable)?, &target, ui);
    if let Some(builder) = builder {
        let tags = build.tags.join(", ");
        ui.note("Building", &format!("{tags} with {}", builder.name()));
        builder.build(&build, ui)?;
        ui.note("Built", &tags);
    }
    if json {
        let built = builder.map(|_| &build);
        ui.result(line(&report(&baked, &ingredients, &target, built)));
    }
    Ok(())
}

fn tell_edited(is_new: bool, target: &Path, ui: &Ui) {
    ui.note(
        match is_new {
            true => "Edited",
            false => "Unchanged",
        },
        &shown(target),
    );
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
    let prints = args.output.as_deref() == Some(Path::new("-"));
    let target = args.output.as_deref().unwrap_or(&args.dockerfile);
    if !prints {
        let is_new = files::stage(target, &bare.bytes, 0o644).and_then(files::Staged::commit);
        is_new.map_err(|error| {
            let message = format!("cannot be written: {error}; it is as it was");
            Failure::failed(Problem::new(message).in_file(target))
        })?;
        let verb = match bare.changed {
            true => "Unbaked",
            false => "Unchanged",
        };
        ui.note(verb, &shown(target));
    }
    match (json, prints) {
        (true, _) => ui.result(line(&json!({
            "dockerfile": target.to_string_lossy(),
            "changed": bare.changed,
            "text": String::from_utf8_lossy(&bare.bytes),
        }))),
        (false, true) => ui.result(&bare.bytes),
        (false, false) => {}
    }
    Ok(())
}

/// The Dockerfile that is meant.
fn dockerfile(args: &BuildArgs, root: &Path) -> Result<PathBuf, Failure> {
    match &args.dockerfile {
        Some(file) if file == Path::new("-") => {
            let message = "reads no Dockerfile from stdin, since it edits it; name a file";
            Err(Failure::usage(Problem::new(message).at_key("-d -")))
        }
        Some(file) => Ok(file.clone()),
        None => {
            let mut usual = DOCKERFILES.iter().map(|name| within(root, name));
            let found = usual.find(|path| path.is_file());
            Ok(found.unwrap_or_else(|| within(root, DOCKERFILES[0])))
        }
    }
}

/// The bytes of a Dockerfile, or of another file that the user has named.
fn read_dockerfile(path: &Path) -> Result<Vec<u8>, Failure> {
    files::read_small(path).map_err(|error| {
        let message = match error.kind() {
            std::io::ErrorKind::NotFound => {
                "does not exist; name the Dockerfile with -d".to_owned()
            }
            _ => format!("cannot be read: {error}"),
        };
        Failure::config(vec![Problem::new(message).in_file(path)])
    })
}

/// What hangs on root, in an image that runs as somebody else.
pub(super) fn needs_root(baked: &Baked, ingredients: &Ingredients) -> Vec<Problem> {
    let user = &baked.effective.user;
    let mut problems = Vec::new();
    let Some(name) = user.value.as_ref().ok().filter(|_| !user.is_root()) else {
        return problems;
    };
    if ingredients.renders() {
        let message = format!(
            "the image runs as `{name}`, and so do the rules of its layers, which can only write where `{name}` may; let USER be root, and `disco.user` become `{name}`"
        );
        problems.push(Problem::new(message));
    }
    problems.extend(capabilities(name, ingredients.contract.as_ref()));
    problems
}

fn capabilities(user: &str, contract: Option<&Manifest>) -> Option<Problem> {
    let contract = contract?;
    if contract.capabilities.as_ref()?.is_empty() {
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
/// An ignore file keeps some of it away, or would no longer be heeded.
fn check_ignored(
    root: &Path,
    dockerfile: &Path,
    output: Option<&Path>,
    builder: Option<&Builder>,
    ingredients: &Ingredients,
) -> Result<(), Failure> {
    let files = |dockerfile: &Path| {
        let known = builder.map(|builder| builder.ignore_files(dockerfile, root));
        let known = known.unwrap_or_else(|| vec![within(root, ".dockerignore")]);
        known.into_iter().find(|path| path.is_file())
    };
    let file = files(dockerfile);
    if let Some(output) = output
        && file != files(output)
        && let Some(file) = file
    {
        let message = format!(
            "goes by the name of the Dockerfile, and would not be heeded for {}; give the latter one as well",
            output.display()
        );
        return Err(Failure::config(vec![Problem::new(message).in_file(file)]));
    }
    let Some(file) = file else { return Ok(()) };
    let bytes = read_dockerfile(&file)?;
    let ignore = Ignore::parse(&file, &bytes).map_err(Failure::config)?;
    for path in ingredients.copied() {
        if let Some(line) = ignore.excluded_by(&path) {
            let message = format!(
                "keeps {path} from the builder, which has to copy it; add the lines `!.cake` and `!.cake/**`"
            );
            let problem = Problem::new(message).in_file(&file);
            return Err(Failure::config(vec![problem.at(Some((line, 1)))]));
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

/// The edited Dockerfile, as it is or in a report.
pub(super) fn print(
    baked: &Baked,
    ingredients: &Ingredients,
    dockerfile: &Path,
    json: bool,
    ui: &Ui,
) {
    match json {
        true => ui.result(line(&report(baked, ingredients, dockerfile, None))),
        false => ui.result(&baked.bytes),
    }
}

/// What was done, for a program.
pub(super) fn report(
    baked: &Baked,
    ingredients: &Ingredients,
    dockerfile: &Path,
    built: Option<&builder::Build>,
) -> Value {
    let layers = ingredients
        .resolved
        .layers
        .iter()
        .map(|layer| json!({"name": layer.locked.name, "sha256": layer.locked.sha256}));
    json!({
        "dockerfile": dockerfile.to_string_lossy(),
        "text": String::from_utf8_lossy(&baked.bytes),
        "changed": baked.changed,
        "entrypoint": baked.after.entrypoint,
        "cmd": baked.after.cmd,
        "layers": layers.collect::<Vec<_>>(),
        "images": built.map(|build| &build.tags),
    })
}

/// A JSON document as it is printed.
pub(super) fn line(value: &Value) -> String {
    format!("{value:#}\n")
}
