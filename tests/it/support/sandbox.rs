//! A directory of a test's own: schemas, rules, handlers, and whatever they write.

use super::{DEADLINE, try_wait_for};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// A new empty directory. Dropping it removes it.
pub(crate) struct Sandbox(tempfile::TempDir);

impl Sandbox {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        // Handlers and commands may run as another user.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Self(dir)
    }

    pub(crate) fn dir(&self) -> &Path {
        self.0.path()
    }

    /// The path of `name` in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }

    /// Writes a file, with the directories above it.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// Writes an executable; `script` has its own `#!` line.
    pub(crate) fn handler(&self, name: &str, script: &str) -> PathBuf {
        // By way of another name and a copy made by another process: a fork of a parallel test may
        // hold a file that this process wrote open for writing, and executing it then fails with
        // "Text file busy".
        let draft = self.write(&format!("{name}.draft"), script);
        fs::set_permissions(&draft, fs::Permissions::from_mode(0o755)).unwrap();
        let path = self.path(name);
        let copied = std::process::Command::new("cp")
            .arg("-p")
            .arg(&draft)
            .arg(&path)
            .status()
            .unwrap();
        assert!(copied.success());
        fs::remove_file(draft).unwrap();
        path
    }

    /// Writes `NAME.schema`.
    pub(crate) fn schema(&self, name: &str, json: &str) -> PathBuf {
        self.write(&format!("{name}.schema"), json)
    }

    /// Writes `test.rules`.
    pub(crate) fn rules(&self, yaml: &str) -> PathBuf {
        self.write("test.rules", yaml)
    }

    /// A rule that notes its runs in `runs` whenever `data.yaml` changes and then does `then` to the
    /// command, and the settings that name both.
    pub(crate) fn watching(then: &str) -> (Self, String) {
        let sandbox = Self::new();
        sandbox.write("db.schema", "name: db\ntype: object\n");
        sandbox.handler("h", "#!/bin/sh\necho run >> ${0%/*}/runs\n");
        sandbox.rules(&format!(
            "format: 2\nrules: [{{when: db, do: h, once: false, then: {then}}}]"
        ));
        sandbox.write("data.yaml", "db: {n: 1}\n");
        let cfg = format!(
            "disco.path={0}|flat.file={0}/data.yaml",
            sandbox.dir().display()
        );
        (sandbox, cfg)
    }

    pub(crate) fn read(&self, name: &str) -> String {
        let path = self.path(name);
        fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()))
    }

    /// Waits until there is a file `name` with something in it, and reads it.
    #[track_caller]
    pub(crate) fn wait_file(&self, name: &str) -> String {
        let content = || {
            fs::read_to_string(self.path(name))
                .ok()
                .filter(|text| !text.is_empty())
        };
        match try_wait_for(DEADLINE, content) {
            Some(text) => text,
            None => panic!("waited in vain for {} in {:?}", name, self.listing()),
        }
    }

    fn listing(&self) -> Vec<std::ffi::OsString> {
        fs::read_dir(self.dir())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect()
    }
}
