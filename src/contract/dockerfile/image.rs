//! The configuration of a finished image, and how it is read from what engines tell of it.

use std::path::Path;

use serde_json::Value;

use crate::contract::problem::Problem;

/// The configuration of a finished image, as far as an editor needs it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ImageConfig {
    /// ENTRYPOINT. None and empty are the same to an engine.
    pub entrypoint: Option<Vec<String>>,
    /// CMD.
    pub cmd: Option<Vec<String>>,
    /// SHELL; none means `/bin/sh -c`.
    pub shell: Option<Vec<String>>,
    /// USER; empty means root.
    pub user: String,
    /// ENV, names and values.
    pub env: Vec<(String, String)>,
    /// The processor, as Docker names it: `amd64`, `arm64`.
    pub architecture: Option<String>,
    /// HEALTHCHECK.
    pub health: Health,
    /// The instructions behind ONBUILD, in order.
    pub onbuild: Vec<String>,
}

/// What is known of an image's health check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Health {
    /// Nobody has said anything.
    #[default]
    Unset,
    /// HEALTHCHECK NONE.
    Disabled,
    /// There is a check.
    Set,
}

/// Whoever knows base images: an engine, a file.
pub trait Bases {
    /// The configuration of an image, `None` if it is not known here.
    ///
    /// # Errors
    /// If it could not be asked for; the message completes "is not known: ".
    fn config(&self, image: &str, platform: Option<&str>) -> Result<Option<ImageConfig>, String>;
}

impl ImageConfig {
    /// Reads what `docker image inspect`, `podman image inspect` or `buildah inspect` say of an image, or
    /// the configuration of an OCI image: a list with one image, the image, or its `Config` alone.
    ///
    /// # Errors
    /// If it is none of these, with what was expected.
    pub fn parse(file: &Path, bytes: &[u8]) -> Result<Self, Problem> {
        let refuse = |message: String| Err(Problem::new(message).in_file(file));
        let value: Value = match serde_json::from_slice(bytes) {
            Ok(value) => value,
            Err(error) => {
                let position = Some((error.line(), error.column()));
                let message = "no JSON; expected what `docker inspect IMAGE` prints";
                return Err(Problem::new(message).in_file(file).at(position));
            }
        };
        let image = match value.as_array().map(Vec::as_slice) {
            Some([image]) => image,
            Some(list) => {
                return refuse(format!("tells of {} images; expected one", list.len()));
            }
            None => &value,
        };
        let nested = ["/Config", "/config", "/Docker/config", "/OCIv1/config"]
            .iter()
            .find_map(|place| image.pointer(place).filter(|nested| nested.is_object()))
            // An image that sets nothing may have no configuration at all.
            .or_else(|| image.get("Id").or_else(|| image.get("rootfs")));
        let config = nested.unwrap_or(image);
        let known = ["Entrypoint", "Cmd", "Env", "User", "Shell", "OnBuild"];
        if nested.is_none() && !known.iter().any(|key| config.get(key).is_some()) {
            return refuse("no image; expected what `docker inspect IMAGE` prints".to_owned());
        }
        let mut wrong = Vec::new();
        let mut words = |key: &str| match config.get(key) {
            None | Some(Value::Null) => None,
            Some(Value::Array(items)) if items.iter().all(Value::is_string) => {
                let items = items.iter().filter_map(Value::as_str);
                Some(items.map(str::to_owned).collect::<Vec<_>>())
            }
            Some(_) => {
                wrong.push(key.to_owned());
                None
            }
        };
        let entrypoint = words("Entrypoint");
        let cmd = words("Cmd");
        let shell = words("Shell");
        let env = words("Env").unwrap_or_default();
        let onbuild = words("OnBuild").unwrap_or_default();
        if !wrong.is_empty() {
            let wrong = wrong.join("`, `");
            return refuse(format!("expected lists of strings for `{wrong}`"));
        }
        // Podman has it beside the configuration.
        let test = config
            .pointer("/Healthcheck/Test")
            .or_else(|| image.pointer("/HealthCheck/Test"));
        let test = test.and_then(|test| test.get(0)).and_then(Value::as_str);
        let pair = |entry: String| match entry.split_once('=') {
            Some((name, value)) => (name.to_owned(), value.to_owned()),
            None => (entry, String::new()),
        };
        Ok(Self {
            entrypoint,
            cmd,
            shell,
            user: config
                .get("User")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned(),
            env: env.into_iter().map(pair).collect(),
            architecture: ["Architecture", "architecture"]
                .iter()
                .find_map(|key| image.get(key)?.as_str())
                .filter(|name| !name.is_empty())
                .map(str::to_owned),
            health: match test {
                None => Health::Unset,
                Some("NONE") => Health::Disabled,
                Some(_) => Health::Set,
            },
            onbuild,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<ImageConfig, String> {
        let config = ImageConfig::parse(Path::new("base.json"), text.as_bytes());
        config.map_err(|problem| problem.to_string())
    }

    #[test]
    fn what_engines_tell_is_read() {
        let config = r#"{"Entrypoint": ["e"], "Cmd": null, "User": "7", "Env": ["A=b=c", "D"],
            "Shell": ["s"], "OnBuild": ["RUN x"], "Healthcheck": {"Test": ["CMD", "x"]}}"#;
        let want = ImageConfig {
            entrypoint: Some(vec!["e".to_owned()]),
            cmd: None,
            shell: Some(vec!["s".to_owned()]),
            user: "7".to_owned(),
            env: vec![
                ("A".to_owned(), "b=c".to_owned()),
                ("D".to_owned(), String::new()),
            ],
            architecture: None,
            health: Health::Set,
            onbuild: vec!["RUN x".to_owned()],
        };
        assert_eq!(read(config).as_ref(), Ok(&want));
        assert_eq!(
            read(&format!("[{{\"Id\": \"x\", \"Config\": {config}}}]")).as_ref(),
            Ok(&want)
        );
        assert_eq!(
            read(&format!("{{\"config\": {config}}}")).as_ref(),
            Ok(&want)
        );
        let buildah = format!("{{\"Type\": \"buildah\", \"Docker\": {{\"config\": {config}}}}}");
        assert_eq!(read(&buildah), Ok(want));
        let podman = r#"[{"Id": "x", "Config": {}, "HealthCheck": {"Test": ["CMD", "x"]}}]"#;
        assert_eq!(read(podman).map(|config| config.health), Ok(Health::Set));
        let bare = read(r#"{"Id": "x", "Config": null}"#);
        assert_eq!(bare, Ok(ImageConfig::default()));
        let disabled = read(r#"{"Cmd": [], "Healthcheck": {"Test": ["NONE"]}}"#).unwrap();
        assert_eq!(disabled.health, Health::Disabled);
    }

    #[test]
    fn what_is_no_image_is_told() {
        for (text, want) in [
            (
                "{",
                "base.json:1:1: no JSON; expected what `docker inspect IMAGE` prints",
            ),
            ("[]", "base.json: tells of 0 images; expected one"),
            (
                "{}",
                "base.json: no image; expected what `docker inspect IMAGE` prints",
            ),
            (
                r#"{"Cmd": "x", "Env": [1]}"#,
                "base.json: expected lists of strings for `Cmd`, `Env`",
            ),
        ] {
            assert_eq!(read(text).unwrap_err(), want);
        }
    }
}
