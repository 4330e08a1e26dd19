//! `disco --explain`: why it waits, in one command. The disco that runs is asked; without one, or with
//! a file of data, rules and schemas are judged here. Runs no handler.

pub mod ask;
mod offline;
mod table;

use std::ffi::OsString;
use std::io::{IsTerminal as _, Write as _};
use std::path::Path;

use serde_json::{Value, json};
use tracing::{error, info};

use super::settings::{Settings, SourceSettings};
use super::{contract, link};
use crate::contract::exit;
use crate::contract::manifest::resources::Port;
use crate::sys::proc;

/// Explains, on stdout, and returns the exit code.
#[must_use]
pub fn run(settings: &Settings, words: &[OsString], as_json: bool) -> u8 {
    if let Some(file) = words.first() {
        return judge(settings, Some(Path::new(file)), as_json);
    }
    match ask::ask(&settings.status, link::STATUS, |_| false) {
        Ok(mut answer) => {
            let ports = ports(settings);
            if !ports.is_empty() {
                answer.document["ports"] = ports.into();
            }
            print(&answer.document, as_json);
            0
        }
        Err(silence) if silence.is_of_nobody() && can_be_judged(settings) => {
            info!("{silence}; judging the data that can be read here");
            judge(settings, None, as_json)
        }
        Err(silence) => {
            error!("{silence}; name a file to judge that: `disco --explain FILE`");
            exit::UNAVAILABLE
        }
    }
}

/// The ports of the contract, and whether anybody listens: in a container that can be seen from here.
fn ports(settings: &Settings) -> Vec<Value> {
    let manifest = contract::read(&settings.contract);
    let ports = manifest.into_iter().flat_map(|manifest| manifest.ports);
    let tell = |port: Port| {
        let listening = proc::is_listening(port.container, port.udp);
        json!({"port": port.to_string(), "listening": listening})
    };
    ports.map(tell).collect()
}

fn can_be_judged(settings: &Settings) -> bool {
    let is_here = |source: &SourceSettings| {
        matches!(source, SourceSettings::Flat(_) | SourceSettings::Env(_))
    };
    settings.sources.iter().any(is_here)
}

fn judge(settings: &Settings, file: Option<&Path>, as_json: bool) -> u8 {
    match offline::judge(settings, file) {
        Ok((document, could_run)) => {
            print(&document, as_json);
            if could_run { 0 } else { exit::UNAVAILABLE }
        }
        Err(code) => code,
    }
}

fn print(document: &Value, as_json: bool) {
    let mut out = std::io::stdout();
    let text = match (as_json, out.is_terminal()) {
        (true, true) => format!("{document:#}\n"),
        (true, false) => format!("{document}\n"),
        (false, _) => table::of(document),
    };
    // A reader that has gone away is no error worth a status.
    let _ = out.write_all(text.as_bytes());
}
