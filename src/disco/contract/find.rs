//! Finds and reads the contract file, and what `cake` has noted of the image beside it. A file that only
//! lies in the working directory is believed if nobody less than this user can have written it.

use std::fs::{Metadata, OpenOptions};
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;
use serde_json::Value;

use crate::contract::manifest::{self, Manifest, Parsed, Rejected};
use crate::contract::problem::Problem;
use crate::contract::text::{self, Format, Snippet};
use crate::disco::settings::{ContractPlace, ContractSettings};

/// The name of the file.
const NAME: &str = "asyncy.yml";

/// Names that the format had later, for files that may also say what is none of our business.
const LATER: [&str; 2] = ["microservice.yml", "oms.yml"];

/// Where it is looked for, in order; the second is the working directory.
const DIRECTORIES: [&str; 3] = ["/", "", "/usr/share/layercake"];

/// What `cake` notes of the image that it builds.
const BAKED: &str = "/usr/share/layercake/manifest.json";

/// What is known of the image from the time it was built.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Baked {
    /// The names of the variables that the image itself sets.
    pub(super) variables: Vec<String>,
    /// The words of its ENTRYPOINT after disco.
    pub(super) entrypoint: Vec<String>,
}

/// The contract of a container, as it was found.
#[derive(Debug, Default)]
pub struct Located {
    /// What it says, if there is one.
    pub manifest: Option<Manifest>,
    /// Most likely mistakes in it: warnings at a start, problems for `--check`.
    pub doubts: Vec<Problem>,
    /// What is odd about it, or about what lies around.
    pub warnings: Vec<Problem>,
}

impl Located {
    fn take(&mut self, parsed: Parsed) {
        self.manifest = Some(parsed.manifest);
        self.doubts.extend(parsed.doubts);
        self.warnings.extend(parsed.warnings);
    }
}

/// Finds the contract of this container.
///
/// # Errors
/// Every problem with the file, and what is odd about it.
pub(super) fn find(settings: &ContractSettings) -> Result<Located, Rejected> {
    let mut located = Located::default();
    match &settings.place {
        ContractPlace::Off => {}
        ContractPlace::File(file) => {
            let bytes = std::fs::read(file).map_err(|error| unreadable(file, &error))?;
            located.take(manifest::parse(file, &bytes)?);
        }
        ContractPlace::Usual => {
            for file in candidates(NAME) {
                if let Some(bytes) = read(&file, &mut located.warnings)? {
                    located.take(manifest::parse(&file, &bytes)?);
                    return Ok(located);
                }
            }
            for file in LATER.into_iter().flat_map(candidates) {
                // Nobody has named it: one that is something else's must not end this container.
                if let Ok(Some(bytes)) = read(&file, &mut located.warnings) {
                    take_if_fitting(&file, &bytes, &mut located);
                    return Ok(located);
                }
            }
        }
    }
    Ok(located)
}

fn candidates(name: &str) -> impl Iterator<Item = PathBuf> + use<'_> {
    DIRECTORIES
        .into_iter()
        .map(move |dir| Path::new(dir).join(name))
}

/// The bytes of a file in one of the usual places; `None` where there is none, or none to be trusted.
fn read(file: &Path, warnings: &mut Vec<Problem>) -> Result<Option<Vec<u8>>, Rejected> {
    // Whatever else may have that name must not hold us up.
    let flags = libc::O_NONBLOCK | libc::O_CLOEXEC;
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(file);
    let mut opened = match opened {
        Ok(opened) => opened,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        // A working directory that may not be looked into holds nothing for us.
        Err(error) if error.kind() == ErrorKind::PermissionDenied && file.is_relative() => {
            return Ok(None);
        }
        Err(error) => return Err(unreadable(file, &error)),
    };
    let about = opened
        .metadata()
        .map_err(|error| unreadable(file, &error))?;
    if !about.is_file() {
        return Ok(None);
    }
    if file.is_relative()
        && let Some(why) = distrust(&about).or_else(|| distrust(&std::fs::metadata(".").ok()?))
    {
        let message = format!(
            "is ignored: {why}, and hooks run as this user; give it and its directory to root, or name it with `disco.contract`"
        );
        warnings.push(Problem::new(message).in_file(file));
        return Ok(None);
    }
    let mut bytes = Vec::new();
    let most = u64::try_from(text::MAX_BYTES).unwrap_or(u64::MAX);
    let size = opened.by_ref().take(most + 1).read_to_end(&mut bytes);
    size.map_err(|error| unreadable(file, &error))?;
    Ok(Some(bytes))
}

/// Why a file or directory that only lies where we happen to be is not to be believed: somebody less
/// than we may have put it there.
fn distrust(about: &Metadata) -> Option<String> {
    let own = geteuid().as_raw();
    let (owner, group, mode) = (about.uid(), about.gid(), about.mode());
    if owner != own && owner != 0 {
        return Some(format!("it or its directory belongs to user {owner}"));
    }
    let is_open = mode & 0o002 != 0 || own == 0 && mode & 0o020 != 0 && group != 0;
    // In a directory like /tmp nobody replaces what is another's.
    let is_sticky = about.is_dir() && mode & 0o1000 != 0;
    (is_open && !is_sticky).then(|| "it or its directory can be written to by others".to_owned())
}

fn unreadable(file: &Path, error: &std::io::Error) -> Rejected {
    let message = format!("cannot read the contract: {error}");
    Rejected {
        problems: vec![Problem::new(message).in_file(file)],
        warnings: Vec::new(),
    }
}

/// Takes a file of a later name, if it says what we understand.
fn take_if_fitting(file: &Path, bytes: &[u8], located: &mut Located) {
    let foreign = manifest::foreign_keys(bytes);
    if !foreign.is_empty() {
        let message = format!(
            "is of the Open Microservice format (`{}`) and not enforced; name it with `disco.contract` to have the rest of it enforced, or write an {NAME}",
            foreign.join("`, `")
        );
        located.warnings.push(Problem::new(message).in_file(file));
        return;
    }
    match manifest::parse(file, bytes) {
        Ok(parsed) => located.take(parsed),
        Err(rejected) => {
            located.warnings.extend(rejected.problems);
            located.warnings.extend(rejected.warnings);
            let message = "is not enforced, since it is no contract as it stands; name it with `disco.contract` if it is meant to be one";
            located.warnings.push(Problem::new(message).in_file(file));
        }
    }
}

/// What `cake` has noted, if it built this image.
///
/// # Errors
/// A note that cannot be read.
pub(super) fn baked() -> Result<Baked, Vec<Problem>> {
    let file = Path::new(BAKED);
    match read(file, &mut Vec::new()).map_err(|rejected| rejected.problems)? {
        None => Ok(Baked::default()),
        Some(bytes) => text::parse(&bytes, Some(Format::Json), Snippet::Shown)
            .map(|document| Baked::of(&document.value))
            .map_err(|problem| vec![problem.in_file(file)]),
    }
}

impl Baked {
    fn of(tree: &Value) -> Self {
        let list = |pointer| {
            let items = tree.pointer(pointer).and_then(Value::as_array);
            let words = items.into_iter().flatten().filter_map(Value::as_str);
            words.map(str::to_owned).collect()
        };
        Self {
            variables: list("/image/env"),
            entrypoint: list("/image/entrypoint"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_cake_notes_is_taken_as_far_as_it_goes() {
        let note = json!({"image": {"env": ["A", "B"], "entrypoint": ["/app"]}, "more": 1});
        assert_eq!(
            Baked::of(&note),
            Baked {
                variables: vec!["A".to_owned(), "B".to_owned()],
                entrypoint: vec!["/app".to_owned()],
            }
        );
        assert_eq!(Baked::of(&json!([])), Baked::default());
    }

    #[test]
    fn the_usual_places_come_in_their_order() {
        let all: Vec<_> = candidates(NAME).collect();
        assert_eq!(
            all,
            [
                "/asyncy.yml",
                "asyncy.yml",
                "/usr/share/layercake/asyncy.yml"
            ]
            .map(PathBuf::from)
        );
    }
}
