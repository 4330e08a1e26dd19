//! The verbs on layers, wired: what the command line says becomes a request, what comes of it is told.
//! The work is done in `layers`, `lint`, `trial` and `new_layer`.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::build::announce;
use super::cli::{IndexArgs, LayerArgs, LockArgs, SearchArgs, SearchFormat, UpdateArgs};
use super::failure::Failure;
use super::ingredients::shown;
use super::layers::fetch::{self, Fetch, Install};
use super::layers::{self, Resolved, local, search, static_index, vendor};
use super::project::{self, Project, VENDOR};
use super::ui::Ui;
use super::wanted;
use crate::contract::layer::{conf, lock};
use crate::contract::problem::Problem;

/// Where disco finds layers in an image (C-8).
const IN_IMAGE: &str = "/usr/share/layercake/layers";

/// `cake layer`.
pub(super) fn layer(args: &LayerArgs, ui: &Ui) -> Result<(), Failure> {
    let wanted = wanted::all("NAME", &args.names)?;
    let mut request = project::request(Path::new("."), &args.net);
    let fetch = Fetch {
        names: wanted.iter().map(|wanted| wanted.name.clone()).collect(),
        dir: args.directory.clone().unwrap_or_else(|| {
            PathBuf::from(match fetch::is_image_build() {
                true => IN_IMAGE,
                false => ".",
            })
        }),
        force: args.force,
        install: match (args.no_install, args.run_install) {
            (true, _) => Install::Never,
            (_, true) => Install::Always,
            _ => Install::InImage,
        },
    };
    request.extra = wanted;
    fetch::fetch(&request, &fetch, ui)
}

/// `cake search`.
pub(super) fn search(args: &SearchArgs, json: bool, ui: &Ui) -> Result<(), Failure> {
    let mut request = project::request(Path::new("."), &args.net);
    let conf = Path::new(conf::NAME);
    if conf.exists() {
        request.conf = layers::read_conf(conf, ui)?;
    }
    let format = match args.format {
        _ if json => search::Format::Json,
        SearchFormat::Text => search::Format::Text,
        SearchFormat::Json => search::Format::Json,
        SearchFormat::Yaml => search::Format::Yaml,
    };
    if request.index().is_none() {
        ui.note("Searching", "layers at hand only, since no index is named");
    }
    ui.result(search::search(&request, &args.terms, format, ui)?);
    Ok(())
}

/// `cake lock`.
pub(super) fn lock(args: &LockArgs, json: bool, ui: &Ui) -> Result<(), Failure> {
    let project = Project::open(&args.context, args.config.as_deref(), ui)?;
    let resolved = project.resolve(&args.source, ui)?;
    save(&project.root, &resolved, json, ui)
}

/// `cake update`.
pub(super) fn update(args: &UpdateArgs, json: bool, ui: &Ui) -> Result<(), Failure> {
    if args.source.locked {
        let message = "keeps what `update` is to move; leave out one of the two";
        return Err(Failure::usage(Problem::new(message).at_key("--locked")));
    }
    let project = Project::open(&args.context, args.config.as_deref(), ui)?;
    let request = project.request(&args.source)?;
    let resolved = layers::update(&request, &args.names, ui)?;
    for drift in &resolved.drift {
        ui.note("Updated", drift);
    }
    let layers = project.root.join(local::VENDORED);
    if layers.exists() && vendor::vendor(&project.root, &resolved.layers)? {
        ui.note("Wrote", &shown(&layers));
    }
    save(&project.root, &resolved, json, ui)
}

/// `cake vendor`.
pub(super) fn vendor(args: &LockArgs, json: bool, ui: &Ui) -> Result<(), Failure> {
    let project = Project::open(&args.context, args.config.as_deref(), ui)?;
    let resolved = project.resolve(&args.source, ui)?;
    let is_new = vendor::vendor(&project.root, &resolved.layers)?;
    ui.note(
        match is_new {
            true => "Wrote",
            false => "Unchanged",
        },
        &shown(&project.root.join(VENDOR).join("layers")),
    );
    save(&project.root, &resolved, json, ui)
}

fn save(root: &Path, resolved: &Resolved, json: bool, ui: &Ui) -> Result<(), Failure> {
    announce(resolved, ui);
    let is_new = layers::save_lock(root, resolved.lock())?;
    ui.note(
        match is_new {
            true => "Wrote",
            false => "Unchanged",
        },
        &shown(&root.join(lock::NAME)),
    );
    if json {
        let layers = resolved.layers.iter().map(|layer| {
            json!({"name": layer.locked.name, "sha256": layer.locked.sha256,
                "commit": layer.locked.source.pin().map(|pin| &pin.commit)})
        });
        ui.result(format!(
            "{:#}\n",
            json!({"layers": layers.collect::<Vec<_>>()})
        ));
    }
    Ok(())
}

/// `cake index`.
pub(super) fn index(args: &IndexArgs, ui: &Ui) -> Result<(), Failure> {
    let out = args.output.as_deref().unwrap_or(&args.directory);
    let count = static_index::index(&args.directory, out, ui)?;
    ui.note(
        "Wrote",
        &format!("an index of {count} layers into {}", out.display()),
    );
    Ok(())
}
