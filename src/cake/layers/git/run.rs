//! The `git` program, started so that nothing but what is asked for happens, and its last words if it
//! fails. What it is asked for is not known here.

use std::process::{Command, Stdio};

use crate::cake::layers::web::Trust;
use crate::contract::layer::repo::{self, Transport};
use crate::contract::problem::Problem;

/// What of git's words is told.
const LAST_LINES: usize = 4;

/// Variables of git that say how to get through to a server; all others say what to do.
const KEPT: [&str; 8] = [
    "GIT_SSH",
    "GIT_SSH_COMMAND",
    "GIT_SSH_VARIANT",
    "GIT_ASKPASS",
    "GIT_SSL_CAINFO",
    "GIT_SSL_CAPATH",
    "GIT_PROXY_SSL_CAINFO",
    "GIT_CONFIG_GLOBAL",
];

/// git, without anything of ours that would have it do something else, and unable to ask anybody.
pub(super) fn command(transport: Transport, trust: &Trust) -> Command {
    let mut command = Command::new("git");
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("GIT_") && !KEPT.contains(&text.as_ref()) {
            command.env_remove(&name);
        }
    }
    let protocols = match transport {
        Transport::Https => "https",
        Transport::Ssh => "ssh",
        Transport::Http => "http:https",
        Transport::Local => "file",
    };
    command
        .env("GIT_ALLOW_PROTOCOL", protocols)
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_NO_REPLACE_OBJECTS", "1")
        .env("SSH_ASKPASS_REQUIRE", "never")
        .env("LC_ALL", "C")
        // A repository around the working directory has settings as well.
        .current_dir("/")
        .stdin(Stdio::null());
    let is_unset = |name: &str| std::env::var_os(name).is_none();
    if is_unset("GIT_ASKPASS") {
        // An empty one keeps git from looking for others.
        command.env("GIT_ASKPASS", "");
    }
    let is_default = is_unset("GIT_SSH") && is_unset("GIT_SSH_COMMAND");
    if transport == Transport::Ssh && is_default && !has_own_ssh() {
        command.env("GIT_SSH_COMMAND", "ssh -oBatchMode=yes");
    }
    if let Some(bundle) = trust.bundle() {
        command.env("GIT_SSL_CAINFO", bundle);
    }
    for setting in [
        "core.hooksPath=/dev/null",
        "core.fsmonitor=false",
        "credential.interactive=false",
        "gc.auto=0",
        "maintenance.auto=false",
        "fetch.recurseSubmodules=false",
        "transfer.bundleURI=false",
        // A server that says nothing for half a minute is gone.
        "http.lowSpeedLimit=1",
        "http.lowSpeedTime=30",
    ] {
        command.args(["-c", setting]);
    }
    command
}

/// What git says on stdout.
///
/// # Errors
/// Its last words otherwise, without what is secret in `url` or in them.
pub(super) fn run(mut command: Command, url: &str) -> Result<Vec<u8>, Problem> {
    let output = command.output().map_err(not_started)?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = repo::cleaned(&String::from_utf8_lossy(&output.stderr));
    let printable = |c: char| !c.is_control();
    let lines: Vec<String> = said
        .lines()
        .map(|line| line.trim().chars().filter(|c| printable(*c)).collect())
        .filter(|line: &String| !line.is_empty())
        .collect();
    let last = lines
        .get(lines.len().saturating_sub(LAST_LINES)..)
        .unwrap_or_default();
    let said = match last.is_empty() {
        true => output.status.to_string(),
        false => last.join("; "),
    };
    let wants_password = ["get password", "read Username", "read Password"];
    let hint = match wants_password.iter().any(|words| said.contains(words)) {
        true => ". git may not ask for a password here: give it a credential helper, or use ssh",
        false => "",
    };
    Err(Problem::new(format!(
        "{}: git says: {said}{hint}",
        repo::shown(url)
    )))
}

/// Whether the user has told git which ssh to use.
fn has_own_ssh() -> bool {
    let mut ask = Command::new("git");
    ask.args(["config", "--global", "--get", "core.sshCommand"]);
    ask.stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    ask.status().is_ok_and(|status| status.success())
}

/// That there is no git, or what keeps it from starting.
pub(super) fn not_started(error: std::io::Error) -> Problem {
    match error.kind() {
        std::io::ErrorKind::NotFound => Problem::new(
            "the program `git` is not here, and a layer comes from a repository; install it, or \
             have the layer vendored with `cake vendor` where it is",
        ),
        _ => Problem::new(format!("cannot start git: {error}")),
    }
}
