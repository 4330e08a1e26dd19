//! Any bytes as a contract file: no panic; what is taken can be used, described and held against an
//! environment; what is refused names the file in every problem.

#![no_main]

use std::ffi::OsString;
use std::path::Path;

use layer_cake::contract::manifest::shape::Place;
use layer_cake::contract::manifest::{self, usage};
use layer_cake::contract::report::Report;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let file = Path::new("asyncy.yml");
    let _ = manifest::foreign_keys(bytes);
    match manifest::parse(file, bytes) {
        Ok(parsed) => {
            let manifest = parsed.manifest;
            if let Some(commands) = &manifest.commands {
                let _ = usage::container(commands, &manifest);
                for command in &commands.named {
                    let _ = usage::command(command);
                }
            }
            if let Some(environment) = &manifest.environment {
                let mut report = Report::new(file, &manifest.source);
                let secret = |_: &str| Some(OsString::from("s3cr3t-v4lu3"));
                environment.check(&secret, &Place::NOWHERE, &mut report);
                for problem in &report.problems {
                    // Unless the file itself says it, no message does.
                    let told = problem.to_string();
                    assert!(!told.contains("s3cr3t-v4lu3") || manifest.source.contains("s3cr3t"));
                }
                let all = vec![("DISCO_CFG".into(), "x".into()), ("PATH".into(), "/".into())];
                let kept = environment.filter(all, &["*".to_owned()]);
                assert!(kept.iter().all(|(name, _)| name != "DISCO_CFG"));
            }
        }
        Err(rejected) => {
            assert!(!rejected.problems.is_empty());
            assert!(rejected.problems.iter().all(|problem| problem.file.as_deref() == Some(file)));
        }
    }
});
