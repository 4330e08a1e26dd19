//! `disco --install-layers`: runs the `install` program of each layer, inside the build of an image.
//! Needs no shell, reads no settings, and leaves nothing running.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use tracing::{error, info};

use super::layers;
use crate::contract::exit::{self, Exit};
use crate::contract::problem::Problem;
use crate::contract::text::count;

/// Where layers are in an image.
pub const DIRECTORY: &str = "/usr/share/layercake/layers";

/// The file beside the layers that says in which order they are installed: a name on each line.
const ORDER: &str = ".order";

/// The program in a layer.
const PROGRAM: &str = "install";

/// Installs the layers in a directory, by default [`DIRECTORY`], one after another, and returns the
/// exit code: 70 after the first that fails.
#[must_use]
pub fn run(dir: Option<&OsString>) -> u8 {
    let is_named = dir.is_some();
    let dir = dir.map_or(Path::new(DIRECTORY), Path::new);
    if !dir.exists() && !is_named {
        info!("there are no layers in {DIRECTORY}");
        return 0;
    }
    let layers = match layers_in(dir) {
        Ok(layers) => layers,
        Err(problem) => {
            error!("{problem}");
            return exit::CONFIG;
        }
    };
    let mut installed = 0;
    for layer in layers {
        let program = layer.join(PROGRAM);
        if !program.is_file() {
            continue;
        }
        info!("installing {}", layer.display());
        if let Err(why) = install(&layer, &program) {
            error!("{}: {why}", program.display());
            return exit::FAILED;
        }
        installed += 1;
    }
    info!(
        "{} of {} installed",
        count(installed, "layer"),
        dir.display()
    );
    0
}

/// The directories of layers in their order: those that the file names, then all others by name.
fn layers_in(dir: &Path) -> Result<Vec<PathBuf>, Problem> {
    let told = |error: io::Error| Problem::new(format!("cannot be read: {error}")).in_file(dir);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(told)? {
        let entry = entry.map_err(told)?;
        let name = entry.file_name();
        if entry.path().is_dir() && !name.as_encoded_bytes().starts_with(b".") {
            names.push(name);
        }
    }
    names.sort();
    let file = dir.join(ORDER);
    let order = match std::fs::read_to_string(&file) {
        Ok(order) => order,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => {
            return Err(Problem::new(format!("cannot be read: {error}")).in_file(file));
        }
    };
    let mut sorted: Vec<OsString> = Vec::new();
    for (index, line) in order.lines().enumerate() {
        let name = OsStr::new(line.trim());
        if name.is_empty() || sorted.iter().any(|known| known == name) {
            continue;
        }
        if !names.iter().any(|known| known == name) {
            let message = format!(
                "`{}` is no layer in {}; expected the name of a directory there",
                name.display(),
                dir.display()
            );
            let problem = Problem::new(message).in_file(file);
            return Err(problem.at(Some((index + 1, 1))));
        }
        sorted.push(name.to_owned());
    }
    names.retain(|name| !sorted.contains(name));
    let all = sorted.into_iter().chain(names);
    Ok(all.map(|name| dir.join(name)).collect())
}

/// Runs the program of a layer to its end, in the layer's directory, with what this process has of
/// environment and streams.
fn install(layer: &Path, program: &Path) -> Result<(), String> {
    // It is started from another directory than it was found from.
    let program = std::path::absolute(program).unwrap_or_else(|_| program.to_owned());
    let start = |file: &Path, script: Option<&Path>| {
        let mut command = Command::new(file);
        command.args(script).current_dir(layer).status()
    };
    let status = match start(&program, None) {
        // As with execvp: a script without an interpreter line goes to the shell.
        Err(error) if error.raw_os_error() == Some(libc::ENOEXEC) => {
            start(Path::new("/bin/sh"), Some(&program)).map_err(|_| {
                "is no program of this machine, and there is no shell to run it as a script"
                    .to_owned()
            })?
        }
        Err(error) => return Err(cannot_start(&program, &error)),
        Ok(status) => status,
    };
    let exit = ended(status);
    match exit.is_success() {
        true => Ok(()),
        false => Err(format!("failed: {exit}")),
    }
}

fn ended(status: ExitStatus) -> Exit {
    match (status.code(), status.signal()) {
        (Some(code), _) => Exit::Code(u8::try_from(code).unwrap_or(u8::MAX)),
        (None, signal) => Exit::by_signal(signal.unwrap_or(0)),
    }
}

fn cannot_start(program: &Path, error: &io::Error) -> String {
    match (layers::missing_interpreter(program), error.kind()) {
        (Some(cause), _) => format!("cannot be started: {cause}"),
        (None, io::ErrorKind::PermissionDenied) => {
            format!("is not executable: run `chmod +x {}`", program.display())
        }
        (None, _) => format!("cannot be started: {error}"),
    }
}
