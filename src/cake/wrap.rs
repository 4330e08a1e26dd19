//! `cake wrap`: disco and layers into an image that is built already, by a Dockerfile of one line that
//! nobody gets to see.

use std::path::Path;

use super::base::Known;
use super::build::{announce, line, needs_root, print, report};
use super::cli::{BaseArgs, WrapArgs};
use super::failure::Failure;
use super::ingredients::Ingredients;
use super::project::Project;
use super::said::{self, said};
use super::ui::Ui;
use crate::contract::dockerfile::{Bases as _, bake};
use crate::contract::problem::Problem;

/// `cake wrap`.
pub(super) fn wrap(args: &WrapArgs, json: bool, ui: &Ui) -> Result<(), Failure> {
    let image = &args.image;
    let refuse = |message: String| Failure::failed(Problem::new(message).at_key(image.as_str()));
    let whole = |name: &str| match name
        .rsplit('/')
        .next()
        .is_some_and(|last| last.contains(':'))
    {
        true => name.to_owned(),
        false => format!("{name}:latest"),
    };
    let mut tags = args.builder.tags.iter();
    if tags.any(|tag| whole(tag) == whole(image)) {
        let message = "is what the new image would be called, too; give it another name with -t";
        return Err(Failure::usage(Problem::new(message).at_key(image.as_str())));
    }
    if args.builder.tags == ["layercake/disco"] && !args.no_build {
        let message = "gets no name of its own; say one with -t";
        return Err(Failure::usage(Problem::new(message).at_key(image.as_str())));
    }
    said::check_rest(&args.builder.rest)?;
    let kind = said::builder(args.builder.kind.as_deref())?;
    let project = Project::open(&args.context, args.config.as_deref(), ui)?;
    let said = said(&BaseArgs::default(), &args.builder, None)?;
    let known = Known::new(&BaseArgs::default(), kind, !args.source.net.offline, ui)?;
    let builder = known
        .builder()
        .map_err(|reason| Failure::failed(Problem::new(reason)))?;
    let platform = args.builder.platform.as_deref();
    let config = known.config(image, platform).map_err(&refuse)?;
    let Some(config) = config else {
        return Err(refuse(
            "there is no such image here; build it, or leave out --offline to have it fetched"
                .to_owned(),
        ));
    };
    if !config.onbuild.is_empty() {
        let message = "has ONBUILD triggers, which would run now; it is made to be built upon: bake the Dockerfile of the image that is";
        return Err(refuse(message.to_owned()));
    }

    let resolved = project.resolve(&args.source, ui)?;
    announce(&resolved, ui);
    let mut ingredients = Ingredients::new(project, resolved, &args.disco);
    let request = ingredients.request(said, &args.block);
    let file = Path::new("Dockerfile");
    let text = format!("FROM {image}\n");
    let baked = bake(file, text.as_bytes(), &request, &known).map_err(Failure::config)?;
    baked
        .warnings
        .iter()
        .for_each(|warning| ui.warn(&place(warning, image)));
    for problem in needs_root(&baked, &ingredients) {
        ui.warn(&problem);
    }
    if args.no_build {
        print(&baked, &ingredients, file, json, ui);
        return Ok(());
    }

    let platform = known.platform(platform, Some(builder));
    ingredients.find_disco(&args.disco, platform.as_deref(), args.source.locked)?;
    let failed = |error: std::io::Error| {
        Failure::failed(Problem::new(format!(
            "cannot make a directory to build in: {error}"
        )))
    };
    let context = tempfile::tempdir().map_err(failed)?;
    let dockerfile = context.path().join(file);
    let alias = builder.alias(image).map_err(&refuse)?;
    let text = match &alias {
        // The line of FROM comes first, and is ours.
        Some(alias) => {
            let rest = baked.bytes.get(text.len()..).unwrap_or_default();
            [format!("FROM {alias}\n").as_bytes(), rest].concat()
        }
        None => baked.bytes.clone(),
    };
    std::fs::write(&dockerfile, text).map_err(failed)?;
    let pending = ingredients.pending(context.path(), &baked)?;
    ingredients.write(context.path(), pending)?;
    let build = said::build(&args.builder, &dockerfile, context.path(), ui);
    let tags = build.tags.join(", ");
    ui.note(
        "Wrapping",
        &format!("{image} as {tags} with {}", builder.name()),
    );
    let outcome = builder.build(&build, ui);
    if let Some(alias) = &alias {
        builder.forget(alias);
    }
    outcome.map_err(|failure| Failure {
        problems: failure
            .problems
            .iter()
            .map(|problem| place(problem, image))
            .collect(),
        ..failure
    })?;
    ui.note("Built", &tags);
    if json {
        ui.result(line(&report(&baked, &ingredients, file, Some(&build))));
    }
    Ok(())
}

/// A problem of the Dockerfile that nobody gets to see is one of the image.
fn place(problem: &Problem, image: &str) -> Problem {
    Problem {
        message: problem.message.clone(),
        ..Problem::default()
    }
    .at_key(image)
}
