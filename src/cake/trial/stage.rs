//! The scratch directory of a trial: the layer as disco is to see it, settings, and an empty root. The
//! layer's files are linked; only rules that name what an image alone has are written anew.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::Request;
use crate::cake::failure::Failure;
use crate::cake::files;
use crate::cake::lint::{self, DATA};
use crate::contract::layer::{digest, file};
use crate::contract::problem::Problem;
use crate::contract::rule;
use crate::contract::text::{self, Format, Snippet};

/// Where layers are in an image.
const IN_IMAGE: &str = "/usr/share/layercake/layers/";

/// Everything that a disco needs for a trial.
pub(super) struct Staged {
    scratch: TempDir,
    /// The layer as it is linked, and as its author knows it.
    pub(super) names: [PathBuf; 2],
    /// The data, as its author knows it.
    pub(super) data: PathBuf,
    /// Variables of the trial.
    pub(super) env: Vec<(String, String)>,
    /// What is not tried.
    pub(super) notes: Vec<String>,
}

impl Staged {
    /// The scratch directory.
    pub(super) fn dir(&self) -> &Path {
        self.scratch.path()
    }

    /// The directory that stands for the root of a container.
    pub(super) fn root(&self) -> PathBuf {
        self.dir().join("root")
    }

    /// The settings file.
    pub(super) fn settings(&self) -> PathBuf {
        self.dir().join("disco.conf")
    }

    /// Removes it, or says where it stays.
    pub(super) fn finish(self, keep: bool) -> Option<PathBuf> {
        keep.then(|| self.scratch.keep().join("root"))
    }
}

/// Makes the scratch directory.
pub(super) fn stage(request: &Request<'_>) -> Result<Staged, Failure> {
    let failed = |error: io::Error| {
        Failure::failed(Problem::new(format!(
            "the scratch directory cannot be made: {error}; TMPDIR names another place for it"
        )))
    };
    let layer = fs::canonicalize(request.layer).map_err(|error| {
        let problem = Problem::new(format!("cannot be read: {error}"));
        Failure::failed(problem.in_file(request.layer))
    })?;
    let known = request
        .data
        .map_or_else(|| request.layer.join(DATA), Path::to_owned);
    let data = fs::canonicalize(&known).map_err(|error| {
        let message = format!("cannot be read: {error}; a trial needs data, keyed by interface");
        Failure::failed(Problem::new(message).in_file(&known))
    })?;
    let scratch = tempfile::Builder::new().prefix("cake-test-").tempdir();
    let scratch = scratch.map_err(failed)?;
    let name = name(request.layer)?;
    let layers = scratch.path().join("layers");
    let mut staged = Staged {
        names: [layers.join(&name), request.layer.to_owned()],
        data: known,
        env: lint::variables(request.layer).map_err(Failure::config)?,
        notes: Vec::new(),
        scratch,
    };
    fs::create_dir_all(staged.root()).map_err(failed)?;
    for (name, dir) in request.needs {
        let dir = fs::canonicalize(dir).map_err(failed)?;
        link(&dir, &layers.join(name), &|path| {
            path.extension().is_none_or(|found| found != "rules")
        })
        .map_err(failed)?;
    }
    link(&layer, &staged.names[0].clone(), &|_| true).map_err(failed)?;
    utf8(&layers)?;
    let mut found = Vec::new();
    rules_below(&staged.names[0], &mut found);
    if found.is_empty() {
        let message = "holds no *.rules file: there is nothing to try";
        return Err(Failure::failed(
            Problem::new(message).in_file(request.layer),
        ));
    }
    for file in found {
        let original = file
            .strip_prefix(&staged.names[0])
            .map(|below| request.layer.join(below));
        adapt(
            &file,
            &original.unwrap_or_else(|_| file.clone()),
            &layers,
            &mut staged.notes,
        )?;
    }
    let timeout = format!("{}ms", request.timeout.as_millis());
    let (root, data) = (staged.root(), utf8(&data)?);
    let settings = json!({
        "disco": {
            "path": utf8(&layers)?, "destdir": utf8(&root)?, "mode": "exec", "deadline": timeout,
            "handler_timeout": timeout, "fail_limit": 1, "status": "off", "data": "off", "contract": "off",
        },
        "flat": {"file": data},
    });
    fs::write(staged.settings(), settings.to_string()).map_err(failed)?;
    Ok(staged)
}

/// The name of the layer, under which it lies in an image, whatever its directory is called here.
fn name(layer: &Path) -> Result<String, Failure> {
    let path = layer.join(file::NAME);
    let bytes = files::read_small(&path).map_err(|error| {
        let problem = Problem::new(format!("cannot be read: {error}"));
        Failure::failed(problem.in_file(&path))
    })?;
    let read = file::parse(&path, &bytes).map_err(Failure::config)?;
    Ok(read.value.name)
}

/// A path as it stands in the settings.
fn utf8(path: &Path) -> Result<&str, Failure> {
    path.to_str().ok_or_else(|| {
        let problem = Problem::new("is no UTF-8, and cannot be told to disco; take another path");
        Failure::failed(problem.in_file(path))
    })
}

/// Links the files of a layer that an image gets into a directory of their own.
fn link(from: &Path, to: &Path, wanted: &dyn Fn(&Path) -> bool) -> io::Result<()> {
    fn below(
        root: &Path,
        from: &Path,
        to: &Path,
        wanted: &dyn Fn(&Path) -> bool,
    ) -> io::Result<()> {
        fs::create_dir_all(to)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            let path = entry.path();
            let inside = path.strip_prefix(root).unwrap_or(&path);
            let is_dir = entry.file_type()?.is_dir();
            let shipped = match is_dir {
                true => digest::is_shipped(&format!("{}/x", inside.display())),
                false => digest::is_shipped(&inside.to_string_lossy()),
            };
            let target = to.join(entry.file_name());
            match is_dir {
                _ if !shipped => {}
                true => below(root, &path, &target, wanted)?,
                false if wanted(&path) => symlink(&path, &target)?,
                false => {}
            }
        }
        Ok(())
    }
    below(from, from, to, wanted)
}

fn rules_below(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            rules_below(&path, found);
        } else if path.extension().is_some_and(|found| found == "rules") {
            found.push(path);
        }
    }
    found.sort();
}

/// Writes a rules file anew where it names what only an image has: programs of `check` that are not in
/// the layer, and templates by their path in an image. `original` is how messages call it.
fn adapt(
    file: &Path,
    original: &Path,
    layers: &Path,
    notes: &mut Vec<String>,
) -> Result<(), Failure> {
    let failed = |error: io::Error| {
        let problem = Problem::new(format!("cannot be read: {error}"));
        Failure::failed(problem.in_file(original))
    };
    let bytes = files::read_small(file).map_err(failed)?;
    rule::parse(original, &bytes).map_err(Failure::config)?;
    let document = text::parse(&bytes, Some(Format::Yaml), Snippet::Shown);
    let mut tree = document.map(|document| document.value).unwrap_or_default();
    let beside = file.parent().unwrap_or(layers);
    let mut is_changed = false;
    let rules = tree.get_mut("rules").and_then(Value::as_array_mut);
    for entry in rules.into_iter().flatten() {
        let body = match entry.get("rule").is_some() {
            true => entry.get_mut("rule"),
            false => Some(entry),
        };
        let Some(render) = body.and_then(|body| body.get_mut("render")) else {
            continue;
        };
        let outputs = match render {
            Value::Array(outputs) => outputs.iter_mut().collect(),
            one => vec![one],
        };
        for output in outputs.into_iter().filter_map(Value::as_object_mut) {
            let program = output.get("check").and_then(|check| check.get(0));
            let program = program.and_then(Value::as_str).map(str::to_owned);
            if let Some(program) = program.filter(|program| !beside.join(program).is_file()) {
                let to = output.get("to").and_then(Value::as_str).unwrap_or_default();
                notes.push(format!(
                    "`{program}`, the check of {to}, is not run: it is the image's"
                ));
                output.shift_remove("check");
                is_changed = true;
            }
            let template = output.get("template").and_then(Value::as_str);
            if let Some(inside) = template.and_then(|path| path.strip_prefix(IN_IMAGE)) {
                let path = layers.join(inside);
                output.insert("template".into(), json!(path));
                is_changed = true;
            }
        }
    }
    if is_changed {
        fs::remove_file(file).map_err(failed)?;
        fs::write(file, tree.to_string()).map_err(failed)?;
    }
    Ok(())
}
