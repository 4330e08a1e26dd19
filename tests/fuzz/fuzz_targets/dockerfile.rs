//! A Dockerfile: no panic; what is baked bakes to itself, and comes back byte for byte without the
//! block; what the image runs changes by the prefix only.

#![no_main]

use std::path::Path;

use layer_cake::contract::dockerfile::{
    Bases, Build, CopyLine, Ignore, ImageConfig, Request, bake, effective, parse, unbake,
};
use libfuzzer_sys::fuzz_target;

/// A base that has everything and one that nobody knows.
struct Table;

impl Bases for Table {
    fn config(&self, image: &str, _: Option<&str>) -> Result<Option<ImageConfig>, String> {
        let words = |word: &str| Some(vec![word.to_owned()]);
        Ok((image.len() > 1).then(|| ImageConfig {
            architecture: None,
            entrypoint: words("e"),
            cmd: words("c"),
            onbuild: vec!["CMD [\"o\"]".to_owned()],
            ..ImageConfig::default()
        }))
    }
}

fuzz_target!(|bytes: &[u8]| {
    let file = Path::new("Dockerfile");
    if let Ok(ignore) = Ignore::parse(file, bytes) {
        assert_eq!(
            ignore.is_excluded(".cake/disco"),
            ignore.excluded_by("/.cake/./disco").is_some()
        );
    }
    let request = Request {
        copies: vec![CopyLine::new(".cake/disco", "/usr/bin/disco")],
        install: Some(vec!["i".to_owned()]),
        health: Some(vec!["h".to_owned()]),
        ..Request::default()
    };
    let Ok(one) = bake(file, bytes, &request, &Table) else {
        return;
    };
    let bare = unbake(file, bytes)
        .expect("what can be baked can be unbaked")
        .bytes;
    let back = unbake(file, &one.bytes)
        .expect("what was baked can be unbaked")
        .bytes;
    assert_eq!(back, bare);
    let two = bake(file, &one.bytes, &request, &Table).expect("what was baked can be baked");
    assert_eq!(two.bytes, one.bytes);

    let argv = |bytes: &[u8]| {
        let dockerfile = parse(file, bytes).expect("it was parsed before");
        let is = effective(file, &dockerfile, &Build::default(), &Table).expect("and followed");
        (is.entrypoint.map(|c| c.words), is.cmd.map(|c| c.words))
    };
    let (entrypoint, cmd) = argv(&bare);
    let (after, cmd_after) = argv(&one.bytes);
    assert_eq!(entrypoint, Ok(one.before.entrypoint));
    assert_eq!(after, Ok(one.after.entrypoint));
    if cmd.is_ok() {
        assert_eq!(cmd, cmd_after);
    }
});
