//! The keys of the `disco` section by which a container is asked how it is: the status socket,
//! readiness, and the probe of `--health`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Section;
use super::exec::octal;
use crate::contract::health::Check;

/// The places of the status socket, the first that can be had.
pub const PLACES: &[&str] = &["/run/disco.sock", "/dev/shm/disco.sock", "/tmp/disco.sock"];

/// Where the status socket is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Of a disco that is PID 1, in one of [`PLACES`]; of another, nowhere.
    Auto,
    /// Nowhere.
    Off,
    /// At this path.
    At(PathBuf),
}

/// How a container is asked how it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusSettings {
    /// Where the status socket is.
    pub place: Place,
    /// Its permissions.
    pub mode: u32,
    /// The file that is there while the command is ready.
    pub ready_file: Option<PathBuf>,
    /// Whether the command says itself when it is ready, by sd_notify(3).
    pub notify: bool,
    /// What `--health` asks beyond what init knows.
    pub health: Option<Check>,
    /// How long that may take, if that is said here.
    pub health_timeout: Option<Duration>,
}

impl StatusSettings {
    /// The paths at which a socket may be, in order.
    #[must_use]
    pub fn paths(&self) -> Vec<&Path> {
        match &self.place {
            Place::Auto => PLACES.iter().map(Path::new).collect(),
            Place::Off => Vec::new(),
            Place::At(path) => vec![path],
        }
    }

    /// The setting, if there is one, that nobody honours who is gone when the command runs.
    #[must_use]
    pub fn must_stay(&self) -> Option<&'static str> {
        let all = [
            ("notify", self.notify),
            ("ready_file", self.ready_file.is_some()),
        ];
        all.iter().find(|(_, is_set)| *is_set).map(|(key, _)| *key)
    }
}

pub(super) fn read(section: &Section<'_>) -> StatusSettings {
    let place = |text: &str| match text {
        "auto" => Ok(Place::Auto),
        "off" => Ok(Place::Off),
        path => absolute(path)
            .map(Place::At)
            .ok_or_else(|| format!("`{path}` is none of `auto`, `off` and an absolute path")),
    };
    let mode = |text: &str| {
        let mode = octal(text).filter(|mode| *mode <= 0o777);
        mode.ok_or_else(|| {
            format!("`{text}` is no mode; expected octal digits up to `777`, such as `0660`")
        })
    };
    let file = |text: &str| {
        absolute(text).ok_or_else(|| {
            format!("`{text}` is no absolute path; expected one that begins with `/`")
        })
    };
    StatusSettings {
        place: section.parsed("status", place).unwrap_or(Place::Auto),
        mode: section.parsed("status_mode", mode).unwrap_or(0o600),
        ready_file: section.parsed("ready_file", file),
        notify: section.flag("notify", &[], false),
        health: section.parsed("health", Check::parse),
        // Without a limit an answer could take for ever.
        health_timeout: section.limit("health_timeout", None),
    }
}

fn absolute(text: &str) -> Option<PathBuf> {
    let is_absolute = text.starts_with('/') && !text.ends_with('/') && !text.contains('\0');
    is_absolute.then(|| text.into())
}

#[cfg(test)]
mod tests {
    use super::super::Mode;
    use super::super::tests::checked;
    use super::*;

    #[test]
    fn nothing_set_is_the_default() {
        let status = checked("", &[]).unwrap().status;
        assert_eq!((status.place.clone(), status.mode), (Place::Auto, 0o600));
        assert_eq!((status.ready_file.clone(), status.notify), (None, false));
        assert_eq!(status.health_timeout, None);
        assert_eq!(status.paths().len(), 3);
    }

    #[test]
    fn every_key_is_read() {
        let cfg = "disco.status=/a/b|disco.status_mode=0666|disco.ready_file=/r|disco.notify=yes\
            |disco.health=tcp://db:1|disco.health_timeout=2s";
        let status = checked(cfg, &[]).unwrap().status;
        assert_eq!(status.place, Place::At("/a/b".into()));
        assert_eq!(status.mode, 0o666);
        assert_eq!(status.ready_file, Some("/r".into()));
        assert!(status.notify);
        assert!(matches!(status.health, Some(Check::Tcp { .. })));
        assert_eq!(status.health_timeout, Some(Duration::from_secs(2)));
        assert_eq!(
            checked("disco.status=off", &[])
                .unwrap()
                .status
                .paths()
                .len(),
            0
        );
    }

    #[test]
    fn every_mistake_is_told_with_its_remedy() {
        let cfg = "disco.status=run|disco.status_mode=1777|disco.ready_file=r|disco.notify=maybe\
            |disco.health=ftp://a|disco.health_timeout=x|disco.statsu=off";
        let told = checked(cfg, &[]).unwrap_err();
        assert_eq!(told.len(), 7, "{told:#?}");
        assert!(
            told[0].contains("none of `auto`, `off` and an absolute path"),
            "{told:#?}"
        );
        assert!(
            told.iter()
                .any(|line| line.contains("did you mean `status`?"))
        );
    }

    #[test]
    fn what_needs_an_init_cannot_be_had_without() {
        for key in ["ready_file=/r", "notify=true"] {
            let settings = checked(&format!("disco.mode=exec|disco.{key}"), &[]).unwrap();
            assert_eq!(settings.mode, Mode::Exec);
            let conflict = settings.conflict().unwrap().to_string();
            assert!(
                conflict.contains(key.split('=').next().unwrap()),
                "{conflict}"
            );
        }
        let settings = checked("disco.mode=exec|disco.status=/s", &[]).unwrap();
        assert_eq!(settings.conflict(), None);
    }
}
