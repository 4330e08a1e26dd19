//! A layer as it is named on the command line: `mysql`, `./layers/app`, `app=./layers/app`,
//! `git+https://example.com/app.git@v1#layers/app`, `app=git+…`.

use std::path::Path;

use super::failure::Failure;
use super::files;
use crate::contract::layer::check_name;
use crate::contract::layer::conf::{Origin, Wanted, is_rev};
use crate::contract::layer::{file, repo};
use crate::contract::problem::Problem;

/// Reads all of them. A path is looked into for the name of its layer.
///
/// # Errors
/// Every one that is none, and every path without a layer.
pub(super) fn all(option: &str, words: &[String]) -> Result<Vec<Wanted>, Failure> {
    let mut wanted = Vec::new();
    let mut problems = Vec::new();
    for word in words {
        match one(word) {
            Ok(layer) => wanted.push(layer),
            Err(told) => problems.extend(told.into_iter().map(|problem| match problem.file {
                None => problem.at_key(option),
                Some(_) => problem,
            })),
        }
    }
    match problems.is_empty() {
        true => Ok(wanted),
        false => Err(Failure {
            code: crate::contract::exit::USAGE,
            problems,
        }),
    }
}

fn one(word: &str) -> Result<Wanted, Vec<Problem>> {
    let (name, place) = match word.split_once('=') {
        Some((name, place)) if check_name(name).is_ok() => (Some(name.to_owned()), place),
        _ => (None, word),
    };
    if let Some(place) = place.strip_prefix("git+") {
        let (rest, repopath) = match place.split_once('#') {
            Some((rest, path)) => (rest, Some(path.to_owned())),
            None => (place, None),
        };
        // An `@` before the last slash is a user's.
        let after = rest.rfind('/').map_or(0, |slash| slash + 1);
        let (url, rev) = match rest.get(after..).and_then(|last| last.find('@')) {
            Some(at) => (
                rest.get(..after + at).unwrap_or_default(),
                rest.get(after + at + 1..).map(str::to_owned),
            ),
            None => (rest, None),
        };
        let last = repopath.as_deref().unwrap_or(url);
        let last = last.trim_end_matches('/').rsplit(['/', ':']).next();
        let stem = last.unwrap_or_default().trim_end_matches(".git");
        let name = name.unwrap_or_else(|| stem.to_owned());
        // All of it: what looks like a directory may be the end of a password.
        let shown = repo::shown(place);
        let refuse = |message: String| Problem::new(format!("git+{shown}: {message}"));
        let mut problems = Vec::new();
        if let Err(message) = repo::transport(url) {
            problems.push(refuse(message));
        }
        if check_name(&name).is_err() {
            let message = "does not tell the name of the layer; write NAME=git+…";
            problems.push(refuse(message.to_owned()));
        }
        if rev.as_deref().is_some_and(|rev| !is_rev(rev)) {
            let message = "names after `@` no branch, tag or commit (40 hex digits)";
            problems.push(refuse(message.to_owned()));
        }
        let within = repopath.as_deref().map(repo::subpath).transpose();
        let repopath = within.unwrap_or_else(|message| {
            problems.push(refuse(message));
            None
        });
        if !problems.is_empty() {
            return Err(problems);
        }
        let origin = Origin::Git {
            url: url.to_owned(),
            rev,
            repopath: repopath.flatten(),
        };
        return Ok(Wanted {
            name,
            origin: Some(origin),
        });
    }
    if place.contains("://") {
        let message = format!(
            "{} is the URL of no layer; write git+URL for a repository",
            repo::shown(place)
        );
        return Err(vec![Problem::new(message)]);
    }
    if name.is_none() && !place.contains('/') && !place.starts_with('.') {
        check_name(place).map_err(|message| vec![Problem::new(message)])?;
        return Ok(Wanted::named(place));
    }
    let name = match name {
        Some(name) => name,
        None => named_by(Path::new(place))?,
    };
    Ok(Wanted {
        name,
        origin: Some(Origin::Path(place.to_owned())),
    })
}

/// The name that the layer in a directory gives itself.
fn named_by(directory: &Path) -> Result<String, Vec<Problem>> {
    let path = directory.join(file::NAME);
    let bytes = files::read_small(&path).map_err(|error| {
        let message = format!("cannot be read: {error}; expected the directory of a layer");
        vec![Problem::new(message).in_file(&path)]
    })?;
    file::parse(&path, &bytes).map(|read| read.value.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_is_named_by_name_path_or_repository() {
        let git = |word: &str| match one(word).unwrap() {
            Wanted {
                name,
                origin: Some(Origin::Git { url, rev, repopath }),
            } => (
                name,
                url,
                rev.unwrap_or_default(),
                repopath.unwrap_or_default(),
            ),
            other => panic!("{other:?}"),
        };
        let parts = |name: &str, url: &str, rev: &str, path: &str| {
            (
                name.to_owned(),
                url.to_owned(),
                rev.to_owned(),
                path.to_owned(),
            )
        };
        assert_eq!(one("mysql").unwrap(), Wanted::named("mysql"));
        let url = "https://u@h.example/app.git";
        assert_eq!(git(&format!("git+{url}")), parts("app", url, "", ""));
        assert_eq!(
            git(&format!("git+{url}@v1#l/web")),
            parts("web", url, "v1", "l/web")
        );
        assert_eq!(git(&format!("x=git+{url}@v1")), parts("x", url, "v1", ""));
        assert_eq!(
            git("git+git@h:o/app.git@b"),
            parts("app", "git@h:o/app.git", "b", "")
        );
        let app = one("app=../x").unwrap();
        assert_eq!(app.origin, Some(Origin::Path("../x".to_owned())));
    }

    #[test]
    fn what_git_is_told_is_checked_as_in_cake_conf() {
        let app = one("app=git+file:///r#./layers//app/").unwrap();
        let top = one("app=git+file:///r#").unwrap();
        let repopath = |wanted: Wanted| match wanted.origin {
            Some(Origin::Git { repopath, .. }) => repopath,
            other => panic!("{other:?}"),
        };
        assert_eq!(repopath(app).as_deref(), Some("layers/app"));
        assert_eq!(repopath(top), None);
        for bad in [
            "app=git+file:///r#../x",
            "app=git+file:///r@a..b",
            "app=git+file:///r@",
            "app=git+ext::sh -c id",
            "app=git+-x",
        ] {
            assert_eq!(one(bad).unwrap_err().len(), 1, "{bad}");
        }
    }

    #[test]
    fn no_password_is_told() {
        for word in [
            "git+https://user:SECRET@h.x/a.b.git",
            "app=git+https://user:SEC/RET@h/a",
            "app=git+https://user:SEC#RET@h/a",
            "app=git+https://user:SEC?RET@h/a",
            "app=git+user:SECRET@h:a",
            "https://user:SECRET@h/a",
            "app=https://user:SECRET@h/a",
        ] {
            for problem in one(word).expect_err(word) {
                let told = problem.to_string();
                let is_told = ["SEC", "RET"].iter().any(|part| told.contains(part));
                assert!(!is_told, "{word}: {told}");
            }
        }
    }

    #[test]
    fn what_names_none_is_told_all_at_once() {
        let words = ["a b", "./nowhere", "git+https://h/a.b.git"].map(str::to_owned);
        let failure = all("--layer", &words).unwrap_err();
        assert_eq!(failure.problems.len(), 3, "{failure:?}");
        assert_eq!(failure.code, 64);
    }
}
