//! Says what is wrong and what helps, each thing once.
//!
//! What is done about it is decided where it is noticed, and who is warned by the caller.

use std::io;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit};

use super::Files;

/// How many problems are remembered as told.
const MAX_TOLD: usize = 1024;

impl Files {
    pub(super) fn tell(&mut self, problem: String) {
        if self.told.len() < MAX_TOLD && self.told.insert(problem.clone()) {
            self.problems.push(problem);
        }
    }

    pub(super) fn tell_unwatched(&mut self, path: &Path, errno: Errno) {
        let remedy = match errno {
            Errno::ENOSPC => "; raise the sysctl `fs.inotify.max_user_watches`",
            Errno::EACCES => "; let the user that disco runs as read the directory",
            _ => "",
        };
        self.tell(format!(
            "{} cannot be watched and is looked at once a second: {}{remedy}",
            path.display(),
            errno.desc()
        ));
    }

    pub(super) fn tell_refused(&mut self, path: &Path, what: &str, error: &io::Error) {
        let remedy = match error.raw_os_error().map(Errno::from_raw) {
            // Not for each file: they are many.
            Some(Errno::EMFILE) => {
                self.is_short = true;
                let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(limit, _)| limit);
                return self.tell(format!(
                    "some files are not followed: the limit of {limit} open files (RLIMIT_NOFILE) is reached; \
                     raise it with `ulimit -n`, or `LimitNOFILE=` of the service, or name fewer files"
                ));
            }
            Some(Errno::ENFILE) => {
                self.is_short = true;
                "; raise the sysctl `fs.file-max`"
            }
            Some(Errno::EACCES) => "; let the user that disco runs as read it",
            _ => "",
        };
        self.tell(format!(
            "{} cannot be {what}: {error}{remedy}",
            path.display()
        ));
    }

    /// Once for a directory, in which all files fare alike.
    pub(super) fn tell_forgetful(&mut self, path: &Path, error: &io::Error) {
        let dir = path.parent().unwrap_or(path);
        self.tell(format!(
            "how far files in {} have been read cannot be kept there, so that the next start reads them from the \
             beginning: {error}; let the user that disco runs as write to the directory, or set `disco.tail_from=end`",
            dir.display()
        ));
    }

    pub(super) fn tell_irregular(&mut self, index: usize, place: &Path) {
        let path = self.names.get(&index).map(|name| name.path.clone());
        let path = path.unwrap_or_default();
        let leads = if path == place {
            String::new()
        } else {
            format!(" leads to {}, which", place.display())
        };
        self.tell(format!(
            "{}{leads} is no regular file and not followed; expected one, or a directory",
            path.display()
        ));
    }
}
