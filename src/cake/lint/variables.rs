//! `example/env`: the variables that a trial of a layer adds. What they are for is not known here.

use std::io;
use std::path::{Path, PathBuf};

use crate::cake::files;
use crate::contract::problem::Problem;

/// Variables of the trial, `NAME=value` lines, below the layer.
pub(crate) const ENV: &str = "example/env";

/// Names that say what runs and where it writes, which is for the trial to say.
const TRIALS: [&str; 3] = ["PATH", "DESTDIR", "NO_COLOR"];

/// The same for all that begin so: disco's settings, and what is put into programs.
const PREFIXES: [&str; 2] = ["DISCO_", "LD_"];

/// The file, if the layer has one.
pub(super) fn file(layer: &Path) -> Option<PathBuf> {
    Some(layer.join(ENV)).filter(|file| file.symlink_metadata().is_ok())
}

/// The variables of a trial; none without such a file. Empty lines and comments count for nothing.
///
/// # Errors
/// The file cannot be read; each line that is none or names what a layer may not set.
pub(crate) fn read(layer: &Path) -> Result<Vec<(String, String)>, Vec<Problem>> {
    let file = layer.join(ENV);
    let text = match files::read_text(&file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        text => text.map_err(|error| {
            vec![Problem::new(format!("cannot be read: {error}")).in_file(&file)]
        })?,
    };
    let (mut all, mut problems) = (Vec::new(), Vec::new());
    for (index, line) in text.lines().enumerate() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let message = match line.split_once('=') {
            None | Some(("", _)) => "expected a line such as `NAME=value`".to_owned(),
            Some((name, _)) if is_trials(name) => {
                format!("`{name}` says where a trial writes or what runs in it; remove it")
            }
            Some((name, value)) => {
                all.push((name.to_owned(), value.to_owned()));
                continue;
            }
        };
        let problem = Problem::new(message).in_file(&file);
        problems.push(problem.at(Some((index + 1, 1))));
    }
    match problems.is_empty() {
        true => Ok(all),
        false => Err(problems),
    }
}

fn is_trials(name: &str) -> bool {
    TRIALS.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_trial_says_itself_is_refused_with_its_line() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()), Ok(Vec::new()));
        std::fs::create_dir(dir.path().join("example")).unwrap();
        let write = |text: &str| std::fs::write(dir.path().join(ENV), text).unwrap();
        write("# why\n\nA=b=c\nLDAP=x\n");
        let pairs = [("A", "b=c"), ("LDAP", "x")];
        let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(read(dir.path()), Ok(pairs.to_vec()));
        write("DISCO_CFG=disco.destdir=/tmp\nA=b\nPATH=/x\nLD_PRELOAD=x\nDESTDIR=\n=x\nx\n");
        let problems = read(dir.path()).unwrap_err();
        let lines: Vec<_> = problems
            .iter()
            .filter_map(|problem| problem.position)
            .collect();
        assert_eq!(lines, [1, 3, 4, 5, 6, 7].map(|line| (line, 1)));
    }
}
