//! Finds and reads the contract file, and what `cake` has noted of the image beside it.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tracing::warn;

use crate::contract::manifest::{self, Manifest};
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

/// The contract of this container, if it has one. Warns of what is odd about the file, if it is to.
///
/// # Errors
/// Every problem with the file.
pub(super) fn find(
    settings: &ContractSettings,
    warns: bool,
) -> Result<Option<Manifest>, Vec<Problem>> {
    match &settings.place {
        ContractPlace::Off => Ok(None),
        ContractPlace::File(file) => {
            let bytes = std::fs::read(file).map_err(|error| vec![unreadable(file, &error)])?;
            parse(file, &bytes, warns).map(Some)
        }
        ContractPlace::Usual => {
            for file in candidates(NAME) {
                if let Some(bytes) = read(&file)? {
                    return parse(&file, &bytes, warns).map(Some);
                }
            }
            for file in LATER.into_iter().flat_map(candidates) {
                // Nobody has named it: one that is something else's must not end this container.
                if let Ok(Some(bytes)) = read(&file) {
                    return Ok(fitting(&file, &bytes, warns));
                }
            }
            Ok(None)
        }
    }
}

fn candidates(name: &str) -> impl Iterator<Item = PathBuf> + use<'_> {
    DIRECTORIES
        .into_iter()
        .map(move |dir| Path::new(dir).join(name))
}

/// The bytes of a file; `None` where there is none.
fn read(file: &Path) -> Result<Option<Vec<u8>>, Vec<Problem>> {
    match std::fs::read(file) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(vec![unreadable(file, &error)]),
    }
}

fn unreadable(file: &Path, error: &std::io::Error) -> Problem {
    Problem::new(format!("cannot read the contract: {error}")).in_file(file)
}

fn parse(file: &Path, bytes: &[u8], warns: bool) -> Result<Manifest, Vec<Problem>> {
    let parsed = manifest::parse(file, bytes)?;
    for warning in parsed.warnings.iter().filter(|_| warns) {
        warn!("{warning}");
    }
    Ok(parsed.manifest)
}

/// A file of a later name, if it says what we understand.
fn fitting(file: &Path, bytes: &[u8], warns: bool) -> Option<Manifest> {
    let foreign = manifest::foreign_keys(bytes);
    if !foreign.is_empty() && !warns {
        return None;
    }
    if !foreign.is_empty() {
        warn!(
            "{}: is of the Open Microservice format (`{}`) and not enforced; name it with `disco.contract` to have the rest of it enforced, or write an {NAME}",
            file.display(),
            foreign.join("`, `")
        );
        return None;
    }
    match parse(file, bytes, warns) {
        Ok(manifest) => Some(manifest),
        Err(_) if !warns => None,
        Err(problems) => {
            for problem in problems {
                warn!("{problem}");
            }
            warn!(
                "{}: is not enforced, since it is no contract as it stands; name it with `disco.contract` if it is meant to be one",
                file.display()
            );
            None
        }
    }
}

/// What `cake` has noted, if it built this image.
///
/// # Errors
/// A note that cannot be read.
pub(super) fn baked() -> Result<Baked, Vec<Problem>> {
    let file = Path::new(BAKED);
    match read(file)? {
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
