//! `cake new-layer`: writes a small layer that works, for its author to change. It overwrites nothing.

use std::fs::{self, OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::cake::failure::Failure;
use crate::contract::layer;
use crate::contract::problem::Problem;

/// What stands for the layer's name in the texts below.
const NAME: &str = "@NAME@";

/// What stands for it where a template takes it from its data.
const DATA: &str = "@DATA@";

const LAYER: &str = "\
layer:
  name: \"@NAME@\"
  summary: What @NAME@ is configured with
  version: 0.1.0
  author: Your name
  # Layers that have to be there, too:
  layers: []
";

const SCHEMA: &str = "\
# When is the data of `@NAME@` enough? Its rule waits until it fits this.
name: \"@NAME@\"
$schema: https://json-schema.org/draft/2020-12/schema
type: object
required: [host]
properties:
  host:
    description: Name or address of the server.
    type: string
    minLength: 1
  port:
    description: Its TCP port; a string that reads as a number becomes one.
    type: integer
    minimum: 1
    maximum: 65535
";

const RENDER: &str = "\
# Once `@NAME@` is valid the file is rendered: as a whole, or not at all.
format: 2
rules:
  - when: \"@NAME@\"
    render:
      template: @NAME@.conf.j2
      to: /etc/@NAME@/@NAME@.conf
      mode: \"0640\"
      # check: [@NAME@, --check-config, \"{}\"]
    # To follow changes while the command runs:
    # once: false
    # then: {signal: HUP}
";

const TEMPLATE: &str = "\
# Written by the layer `@NAME@`.
host = {{ @DATA@.host }}
port = {{ @DATA@.port | default(8080) }}
";

const RUN: &str = "\
# Once `@NAME@` is valid the handler gets its data on stdin: {\"@NAME@\": {\"host\": …}}.
format: 2
rules:
  - when: \"@NAME@\"
    do: configure-@NAME@
    timeout: 30s
";

/// `DESTDIR` is empty in a container.
const HANDLER: &str = "\
#!/bin/sh
# Gets the data as JSON on stdin. What it prints goes to the log; an exit code other than 0 is a failure.
# DESTDIR stands for the root where `cake test` tries it, and is not set in a container.
set -eu
mkdir -p \"${DESTDIR:-}/etc/@NAME@\"
umask 027
cat >\"${DESTDIR:-}/etc/@NAME@/@NAME@.json\"
";

const README: &str = "\
# @NAME@

What it gives an image, in a sentence.

| file | mode | read by |
|---|---|---|
| `@FILE@` | 0640 | the program |

| key | | |
|---|---|---|
| `host` | required | |
| `port` | 8080 | |

```sh
consul kv put app/@NAME@/host server.example.com    # with consul.prefix=app
etcdctl put app/@NAME@/port 8080                    # with etcd.prefix=app
cake test .                                         # the example, and what differs from expected/
cake lint .
```
";

const EXAMPLE: &str = "\
# What `cake test` tries the layer with. Everybody can read it: no real secrets.
\"@NAME@\":
  host: server.example.com
";

/// What is to be written.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The name of the layer, its interface and its files.
    pub name: &'a str,
    /// The directory that gets a directory of this name.
    pub dir: &'a Path,
    /// A handler in place of a template.
    pub handler: bool,
}

/// Writes it. Returns the files, in the order in which they are best read.
///
/// # Errors
/// The name is none, there is such a directory and it is not empty, or it cannot be written: then what
/// was written is removed.
pub fn write(request: &Request<'_>) -> Result<Vec<PathBuf>, Failure> {
    let name = request.name;
    layer::check_name(name).map_err(|message| Failure::usage(Problem::new(message)))?;
    let dir = request.dir.join(name);
    let failed = |message: String| Failure::failed(Problem::new(message).in_file(&dir));
    let is_new = match fs::read_dir(&dir).map(|entries| entries.count()) {
        Ok(0) => false,
        Ok(_) => {
            let message = "is there and not empty, and nothing is overwritten; take another name or another directory";
            return Err(failed(message.to_owned()));
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => true,
        Err(error) => return Err(failed(format!("cannot be read: {error}"))),
    };
    let mut written = Vec::new();
    let outcome = files(name, request.handler)
        .into_iter()
        .try_for_each(|file| {
            let path = dir.join(file.path);
            fs::create_dir_all(path.parent().unwrap_or(&dir))?;
            let mut open = OpenOptions::new()
                .write(true)
                .create_new(true)
                .open(&path)?;
            written.push(path);
            open.write_all(file.text.as_bytes())?;
            match file.is_program {
                true => open.set_permissions(Permissions::from_mode(0o755)),
                false => Ok(()),
            }
        });
    if let Err(error) = outcome {
        // It was not there, or empty: nothing of anybody else's is in it.
        let _ = fs::remove_dir_all(&dir);
        if !is_new {
            let _ = fs::create_dir(&dir);
        }
        return Err(failed(format!("cannot be written: {error}")));
    }
    Ok(written)
}

struct File {
    path: String,
    text: String,
    is_program: bool,
}

fn files(name: &str, handler: bool) -> Vec<File> {
    let target = match handler {
        true => format!("etc/{name}/{name}.json"),
        false => format!("etc/{name}/{name}.conf"),
    };
    // Texts quote the name, and take `data["my-app"]`: not every name is one in YAML or in a template.
    let data = match name {
        // An interface of this name hides that of all data.
        "data" => name.to_owned(),
        _ => format!("data[\"{name}\"]"),
    };
    let filled = |text: &str| {
        let text = text.replace(NAME, name).replace(DATA, &data);
        text.replace("@FILE@", &format!("/{target}"))
    };
    let file = |path: &str, text: &str| File {
        path: path.replace(NAME, name),
        text: filled(text),
        is_program: false,
    };
    let mut files = vec![
        file("layer.yaml", LAYER),
        file("@NAME@.schema", SCHEMA),
        file("@NAME@.rules", if handler { RUN } else { RENDER }),
    ];
    let expected = match handler {
        true => {
            files.push(File {
                is_program: true,
                ..file("configure-@NAME@", HANDLER)
            });
            "{\"@NAME@\":{\"host\":\"server.example.com\"}}".to_owned()
        }
        false => {
            files.push(file("@NAME@.conf.j2", TEMPLATE));
            "# Written by the layer `@NAME@`.\nhost = server.example.com\nport = 8080\n".to_owned()
        }
    };
    files.push(file("README.md", README));
    files.push(file("example/data.yaml", EXAMPLE));
    files.push(file(&format!("expected/{target}"), &expected));
    files
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cake::lint;

    fn new(name: &str, dir: &Path, handler: bool) -> Result<Vec<PathBuf>, Failure> {
        write(&Request { name, dir, handler })
    }

    #[test]
    fn it_lints_clean_whatever_its_name() {
        let dir = tempfile::tempdir().unwrap();
        for (name, handler) in [
            ("app", false),
            ("my-app", false),
            ("0x", false),
            ("run_it", true),
            ("on", false),
            ("not", false),
            ("none", false),
            ("null", true),
            ("true", false),
            ("123", false),
            ("1e3", true),
            ("0x10", false),
        ] {
            new(name, dir.path(), handler).unwrap();
            let found = lint::lint(&[dir.path().join(name)], &|_| None, true);
            assert!(found.problems.is_empty(), "{name}: {:?}", found.problems);
        }
    }

    #[test]
    fn nothing_is_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("app")).unwrap();
        assert_eq!(new("app", dir.path(), true).unwrap().len(), 7);
        fs::write(dir.path().join("app/layer.yaml"), "mine").unwrap();
        let failure = new("app", dir.path(), false).unwrap_err();
        assert!(
            failure.problems[0]
                .to_string()
                .contains("nothing is overwritten")
        );
        assert_eq!(
            fs::read_to_string(dir.path().join("app/layer.yaml")).unwrap(),
            "mine"
        );
    }

    #[test]
    fn a_name_that_is_none_is_a_bad_command_line() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["", "../x", "a/b", "-x", "a b"] {
            assert_eq!(
                new(name, dir.path(), false).unwrap_err().code,
                crate::contract::exit::USAGE
            );
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
