//! A contract and a call, split at the first NUL byte: no panic; what reaches the program comes whole
//! from the call, the defaults or the format; what the contract types is of that type.

#![no_main]

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;

use layer_cake::contract::manifest::bind::{Call, Image};
use layer_cake::contract::manifest::format::Layout;
use layer_cake::contract::manifest::shape::Place;
use layer_cake::contract::manifest::{self, command::Command};
use libfuzzer_sys::fuzz_target;

/// A contract that is there whatever the fuzzer finds.
const FIXED: &str = "commands: {go: {args: [{name: n, type: int, required: true}, s], kwargs: [j:json, f:boolean, {name: d, default: D}]}, e: {format: '{s}-{s} * x **', args: [s]}}";

fuzz_target!(|bytes: &[u8]| {
    let mut parts = bytes.split(|byte| *byte == 0);
    let text = parts.next().unwrap_or_default();
    let words: Vec<OsString> = parts.map(|word| OsString::from_vec(word.to_vec())).collect();
    for text in [FIXED.as_bytes(), text] {
        let Ok(parsed) = manifest::parse(Path::new("asyncy.yml"), text) else {
            continue;
        };
        let Some(commands) = parsed.manifest.commands else {
            continue;
        };
        for prefix in [None, Some(0), Some(1), Some(99)] {
            let image = Image {
                prefix,
                is_program: &|word| word.as_bytes().starts_with(b"p"),
                is_file: &|word| word.as_bytes().starts_with(b"f"),
                place: &Place::NOWHERE,
            };
            match commands.bind(&words, &image) {
                Call::Run(command, out) if command.layout == Layout::default() => {
                    whole(command, &words, &out);
                }
                Call::Run(..) | Call::Help(_) => {}
                Call::Wrong(_, problems) => assert!(!problems.is_empty()),
            }
        }
    }
});

/// Every word is one of the call, an option of it, the value behind its `=`, or a default.
fn whole(command: &Command, words: &[OsString], out: &[OsString]) {
    for word in out {
        let bytes = word.as_bytes();
        let is_default = command
            .args
            .iter()
            .chain(&command.kwargs)
            .any(|item| item.default.as_ref().is_some_and(|value| value.as_bytes() == bytes));
        let is_given = words.iter().any(|given| {
            let given = given.as_bytes();
            let ends_with = given.len() > bytes.len()
                && given.ends_with(bytes)
                && given.get(given.len() - bytes.len() - 1) == Some(&b'=');
            given == bytes || ends_with || bytes.starts_with(b"--")
        });
        assert!(is_default || is_given, "{word:?} of {words:?}");
    }
}
