//! What base images are like: as the command line says, as a file says, as the builder knows, or as the
//! registry does once the image has been fetched.

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::builder::{Builder, Kind};
use super::cli::BaseArgs;
use super::failure::Failure;
use super::ui::Ui;
use crate::contract::dockerfile::{Bases, Health, ImageConfig};
use crate::contract::problem::Problem;

/// Whoever knows base images, each asked for once.
pub(super) struct Known<'a> {
    ui: &'a Ui,
    kind: Option<Kind>,
    /// Whether an image may be fetched that is not here.
    pulls: bool,
    file: Option<ImageConfig>,
    builder: OnceCell<Result<Builder, String>>,
    asked: RefCell<BTreeMap<String, Answer>>,
}

type Answer = Result<Option<ImageConfig>, String>;

impl<'a> Known<'a> {
    /// Knows what the command line says. The builder is asked only when it comes to that.
    ///
    /// # Errors
    /// A file that says nothing of an image.
    pub(super) fn new(
        args: &BaseArgs,
        kind: Option<Kind>,
        pulls: bool,
        ui: &'a Ui,
    ) -> Result<Self, Failure> {
        let file = args.base_config.as_deref().map(read).transpose();
        Ok(Self {
            ui,
            kind,
            pulls,
            file: file.map_err(|problem| Failure::config(vec![problem]))?,
            builder: OnceCell::new(),
            asked: RefCell::default(),
        })
    }

    /// The builder, found once.
    pub(super) fn builder(&self) -> Result<&Builder, String> {
        let find = || {
            Builder::find(self.kind).map_err(|failure| {
                let told: Vec<_> = failure.problems.iter().map(|p| p.message.clone()).collect();
                told.join("; ")
            })
        };
        self.builder
            .get_or_init(find)
            .as_ref()
            .map_err(Clone::clone)
    }

    fn ask(&self, image: &str, platform: Option<&str>) -> Answer {
        let builder = self.builder()?;
        let mut found = builder.inspect(image)?;
        if found.is_none() && self.pulls {
            self.ui
                .note("Fetching", &format!("{image}, to see what it runs"));
            builder
                .pull(image, platform)
                .map_err(|reason| format!("{} cannot fetch it: {reason}", builder.name()))?;
            found = builder.inspect(image)?;
        }
        self.ui.detail(
            "Inspected",
            &format!(
                "{image} by {}: {}",
                builder.name(),
                match found {
                    Some(_) => "known",
                    None => "not there",
                }
            ),
        );
        Ok(found.as_ref().and_then(config))
    }
}

impl Bases for Known<'_> {
    fn config(&self, image: &str, platform: Option<&str>) -> Answer {
        if let Some(config) = &self.file {
            return Ok(Some(config.clone()));
        }
        if let Some(answer) = self.asked.borrow().get(image) {
            return answer.clone();
        }
        let answer = self.ask(image, platform);
        self.asked
            .borrow_mut()
            .insert(image.to_owned(), answer.clone());
        answer
    }
}

fn read(path: &Path) -> Result<ImageConfig, Problem> {
    let place = |message: String| Problem::new(message).in_file(path).at_key("--base-config");
    let bytes = std::fs::read(path).map_err(|error| place(format!("cannot be read: {error}")))?;
    let value: Value = serde_json::from_slice(&bytes).map_err(|error| {
        place(format!(
            "is no JSON: {error}; expected what `docker image inspect` prints"
        ))
    })?;
    config(&value).ok_or_else(|| {
        place("says nothing of an image; expected what `docker image inspect` prints".to_owned())
    })
}

/// What engines and registries say of an image: `docker image inspect`, podman's, buildah's, the
/// configuration of the OCI image specification, or only the inner part of one of these.
pub(super) fn config(value: &Value) -> Option<ImageConfig> {
    let value = match value {
        Value::Array(list) => list.first()?,
        other => other,
    };
    let inner = ["/Config", "/config", "/Docker/config", "/OCIv1/config"]
        .iter()
        .find_map(|pointer| value.pointer(pointer).filter(|inner| inner.is_object()));
    let known = ["Entrypoint", "Cmd", "Env", "User", "WorkingDir", "Labels"];
    let inner = match inner {
        Some(inner) => inner,
        // An image that sets nothing has an empty or absent configuration.
        None if value.get("Id").is_some() || value.get("rootfs").is_some() => &Value::Null,
        None if known.iter().any(|key| value.get(key).is_some()) => value,
        None => return None,
    };
    let words = |key: &str| -> Option<Vec<String>> {
        let list = inner.get(key)?.as_array()?;
        let words: Vec<_> = list
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect();
        (!words.is_empty()).then_some(words)
    };
    let text = |key: &str| inner.get(key).and_then(Value::as_str).unwrap_or_default();
    // Podman has it beside the configuration.
    let health = ["/Healthcheck/Test", "/HealthCheck/Test"];
    let health = health.iter().find_map(|pointer| {
        inner
            .pointer(pointer)
            .or_else(|| value.pointer(pointer))?
            .as_array()
    });
    let first = health.and_then(|test| test.first()).and_then(Value::as_str);
    Some(ImageConfig {
        entrypoint: words("Entrypoint"),
        cmd: words("Cmd"),
        shell: words("Shell"),
        user: text("User").to_owned(),
        env: words("Env")
            .unwrap_or_default()
            .iter()
            .map(|entry| {
                let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
                (name.to_owned(), value.to_owned())
            })
            .collect(),
        health: match first {
            None | Some("") => Health::Unset,
            Some("NONE") => Health::Disabled,
            Some(_) => Health::Set,
        },
        onbuild: words("OnBuild").unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_engine_is_understood() {
        let inner = json!({"Entrypoint": ["/e"], "Cmd": null, "User": "app", "Env": ["A=b=c"],
            "Shell": ["/bin/ash", "-c"], "OnBuild": ["RUN x"], "Healthcheck": {"Test": ["NONE"]}});
        let want = ImageConfig {
            entrypoint: Some(vec!["/e".to_owned()]),
            cmd: None,
            shell: Some(vec!["/bin/ash".to_owned(), "-c".to_owned()]),
            user: "app".to_owned(),
            env: vec![("A".to_owned(), "b=c".to_owned())],
            health: Health::Disabled,
            onbuild: vec!["RUN x".to_owned()],
        };
        for value in [
            json!([{"Id": "sha256:1", "Config": inner}]),
            json!({"config": inner, "rootfs": {}}),
            json!({"Type": "buildah", "Docker": {"config": inner}}),
            inner.clone(),
        ] {
            assert_eq!(config(&value), Some(want.clone()), "{value}");
        }
        let podman = json!({"Config": {}, "HealthCheck": {"Test": ["CMD", "x"]}});
        assert_eq!(
            config(&podman).map(|config| config.health),
            Some(Health::Set)
        );
        assert_eq!(
            config(&json!({"Id": "x", "Config": null})),
            Some(ImageConfig::default())
        );
    }

    #[test]
    fn what_is_of_no_image_is_none() {
        for value in [json!([]), json!({}), json!("x"), json!({"a": 1})] {
            assert_eq!(config(&value), None, "{value}");
        }
    }
}
