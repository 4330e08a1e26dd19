//! Programs in a layer, handlers and `install`: whether the kernel would start them. Whether their
//! interpreter is in an image is not known here.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::Findings;
use crate::contract::problem::Problem;

/// Checks a file that is to be run.
pub(super) fn check(path: &Path, findings: &mut Findings) {
    let Some(source) = findings.read(path) else {
        return;
    };
    let mode = std::fs::metadata(path).map_or(0, |about| about.permissions().mode());
    // As the digest has it: the owner's bit counts.
    if mode & 0o100 == 0 {
        let message = format!("is not executable: run `chmod +x {}`", path.display());
        findings.problem(Problem::new(message).in_file(path));
    }
    if let Some(message) = defect(&source.bytes) {
        findings.problem(Problem::new(message).in_file(path).at(Some((1, 1))));
    }
}

/// Why the kernel would not start a file with this content.
fn defect(bytes: &[u8]) -> Option<&'static str> {
    if bytes.starts_with(b"\x7fELF") {
        return None;
    }
    let Some(line) = bytes.strip_prefix(b"#!") else {
        return Some(
            "is neither a program nor a script; expected a first line such as `#!/bin/sh`",
        );
    };
    let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
    if line.ends_with(b"\r") {
        return Some(
            "has a first line that ends with a carriage return; save it with Unix line ends",
        );
    }
    let interpreter = line.trim_ascii_start();
    (!interpreter.starts_with(b"/")).then_some(
        "names no interpreter by its path in its first line; expected one such as `#!/bin/sh`",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_starts() {
        for good in [
            &b"\x7fELF\x02"[..],
            b"#!/bin/sh\nexit",
            b"#! /bin/sh -e",
            b"#!/bin/sh",
        ] {
            assert_eq!(defect(good), None, "{good:?}");
        }
        for (bad, word) in [
            (&b""[..], "neither"),
            (b"echo", "neither"),
            (b"#!sh\n", "by its path"),
            (b"#!\n", "by its path"),
            (b"#!/bin/sh\r\n", "carriage return"),
        ] {
            assert!(
                defect(bad).is_some_and(|told| told.contains(word)),
                "{bad:?}"
            );
        }
    }
}
