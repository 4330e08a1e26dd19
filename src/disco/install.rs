//! `disco --install-layers`: runs the `install` program of each layer, inside the build of an image.
//! Needs no shell, reads no settings, and leaves nothing running: as PID 1, and elsewhere as the reaper of
//! what is below it. To be called with all signals blocked; programs get none of them blocked.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use tracing::{error, info};

use super::init::leftovers::Leftovers;
use super::init::plan::Plan;
use super::layers;
use crate::contract::exit::{self, Exit};
use crate::contract::problem::Problem;
use crate::contract::signal::Name;
use crate::contract::text::count;
use crate::sys::{self, Reaped, SignalSet};

/// Where layers are in an image.
pub const DIRECTORY: &str = "/usr/share/layercake/layers";

/// The file beside the layers that says in which order they are installed: a name on each line.
const ORDER: &str = ".order";

/// The program in a layer.
const PROGRAM: &str = "install";

/// Installs the layers in a directory, by default [`DIRECTORY`], one after another, and returns the
/// exit code: 70 after the first that fails, 78 where it cannot be known which there are, and that of a
/// signal which asked to stop.
#[must_use]
pub fn run(dir: Option<&OsString>) -> u8 {
    let is_named = dir.is_some();
    let dir = dir.map_or(Path::new(DIRECTORY), Path::new);
    if !is_named && matches!(dir.try_exists(), Ok(false)) {
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
    // Where a filter forbids it, what a program leaves behind is somebody else's.
    sys::set_subreaper(true);
    let mut installed = 0;
    for layer in layers {
        let program = layer.join(PROGRAM);
        match (program.symlink_metadata(), program.is_file()) {
            (Err(error), _) if error.kind() == io::ErrorKind::NotFound => continue,
            (_, true) => {}
            _ => {
                error!(
                    "{} is no file; expected a program, or a link to one that is there",
                    program.display()
                );
                return exit::FAILED;
            }
        }
        info!("installing {}", layer.display());
        match install(&layer, &program) {
            Ok(None) => {}
            Ok(Some(number)) => {
                error!("{}: ended by {}", program.display(), Name(number));
                return Exit::by_signal(number).status();
            }
            Err(why) => {
                error!("{}: {why}", program.display());
                return exit::FAILED;
            }
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
/// environment and streams, and ends whatever it has left running. Returns the signal that asked to stop
/// meanwhile, if one did.
fn install(layer: &Path, program: &Path) -> Result<Option<i32>, String> {
    // It is started from another directory than it was found from.
    let program = std::path::absolute(program).unwrap_or_else(|_| program.to_owned());
    let start = |file: &Path, script: Option<&Path>| {
        let mut command = Command::new(file);
        command.args(script).current_dir(layer).spawn()
    };
    let child = match start(&program, None) {
        // As with execvp: a script without an interpreter line goes to the shell.
        Err(error) if error.raw_os_error() == Some(libc::ENOEXEC) => {
            start(Path::new("/bin/sh"), Some(&program)).map_err(|_| {
                "is no program of this machine, and there is no shell to run it as a script"
                    .to_owned()
            })?
        }
        Err(error) => return Err(cannot_start(&program, &error)),
        Ok(child) => child,
    };
    let (exit, asked) = wait(&child);
    let leftovers = Leftovers {
        plan: &Plan::default(),
        is_pid_1: sys::own_pid() == 1,
        group: 0,
        stopping: asked.is_some(),
        deadline: None,
        reserve: Duration::ZERO,
        spared: 0,
        spared_ended: false,
    };
    let cleared = leftovers.drain(&mut || {});
    let asked = asked.or(cleared.asked.map(|_| libc::SIGTERM));
    match exit.is_success() || asked.is_some() {
        true => Ok(asked),
        false => Err(format!("failed: {exit}")),
    }
}

/// Waits for a program, reaps whatever else ends, and hands on what asks to stop. Returns how it ended, and
/// what asked.
fn wait(child: &Child) -> (Exit, Option<i32>) {
    /// How often it is looked for an end of which a filter lets nobody tell.
    const AGAIN: Duration = Duration::from_millis(20);
    // Pids fit.
    let pid = i32::try_from(child.id()).unwrap_or(0);
    let mut asked = None;
    loop {
        match sys::reap() {
            Reaped::Ended(ended, exit) if ended == pid => return (exit, asked),
            Reaped::Ended(..) | Reaped::Stopped(..) => continue,
            // Somebody else has reaped it: how it ended is lost.
            Reaped::Childless => return (Exit::Code(exit::FAILED), asked),
            Reaped::Running => {}
        }
        match sys::wait_signal(&SignalSet::all(), None) {
            Ok(Some(received)) => {
                let stops = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT];
                if stops.contains(&received.number) {
                    asked = Some(received.number);
                    // What the terminal sends it has got itself.
                    if !received.from_kernel {
                        let _ = sys::kill(pid, received.number);
                    }
                }
            }
            Ok(None) => {}
            Err(_) => std::thread::sleep(AGAIN),
        }
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
