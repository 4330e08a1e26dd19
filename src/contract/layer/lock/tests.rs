//! Tests of the lock: what is written is read, and what differs is told.

use super::*;
use crate::contract::hash;
use proptest::prelude::*;

fn locked(name: &str, source: Source) -> Locked {
    Locked {
        name: name.into(),
        source,
        sha256: hash::sha256(name.as_bytes()),
        layers: Vec::new(),
    }
}

fn pin(commit: char) -> Pin {
    Pin {
        url: "https://example.com/web.git".into(),
        rev: Some("1.0".into()),
        commit: commit.to_string().repeat(40),
        subpath: Some("a/b".into()),
    }
}

fn whole() -> Lock {
    let mut lock = Lock {
        index: Some("https://example.com/".into()),
        disco: Some(Disco {
            version: "0.1.0".into(),
            sha256: hash::sha256(b"disco"),
        }),
        layers: vec![
            locked("env", Source::Embedded),
            locked("app", Source::Path("./layers/my app".into())),
            locked("web", Source::Git(pin('a'))),
            locked("db", Source::Index(pin('0'))),
            locked("x", Source::CakePath),
            locked("null", Source::Vendored),
        ],
    };
    lock.layers[1].layers = vec!["env".into(), "no".into()];
    lock
}

fn parsed(text: &str) -> Result<Lock, Vec<String>> {
    let told = |problems: Vec<Problem>| problems.iter().map(ToString::to_string).collect();
    parse(Path::new("cake.lock"), text.as_bytes())
        .map(|read| {
            assert_eq!(read.warnings, []);
            read.value
        })
        .map_err(told)
}

#[test]
fn what_is_written_is_read() {
    let lock = whole();
    assert_eq!(parsed(&lock.text()), Ok(lock));
    assert_eq!(parsed(&Lock::default().text()), Ok(Lock::default()));
}

#[test]
fn it_reads_well() {
    let mut lock = Lock::default();
    lock.layers.push(locked("web", Source::Git(pin('0'))));
    let expected = format!(
        "{HEADER}format: 1\nlayers:\n  - name: web\n    source: git\n    \
         url: \"https://example.com/web.git\"\n    rev: \"1.0\"\n    commit: \"{}\"\n    \
         subpath: a/b\n    sha256: \"{}\"\n",
        "0".repeat(40),
        hash::sha256(b"web")
    );
    // Whether a digest stands in quotes depends on its first digit.
    let unquoted = expected.replace('"', "");
    assert_eq!(lock.text().replace('"', ""), unquoted);
}

#[test]
fn broken_ones_are_told_with_the_line() {
    assert!(parsed("").unwrap_err()[0].contains("`format: 1`"));
    assert!(parsed("format: 2\n").unwrap_err()[0].starts_with("cake.lock:1:"));
    let text = whole().text();
    let told = parsed(&text.replace(&"a".repeat(40), "main")).unwrap_err();
    assert!(told[0].ends_with("expected 40 hex digits"), "{told:?}");
    let told = parsed(&text.replace("a/b", "../b")).unwrap_err();
    assert_eq!(told.len(), 2, "{told:?}");
    let told = parsed(&text.replace("https://example.com/web.git", "ext::sh")).unwrap_err();
    assert_eq!(told.len(), 2, "{told:?}");
}

#[test]
fn drift_is_told_in_words() {
    let was = whole();
    assert!(was.drift(&was).is_empty());
    let mut now = whole();
    now.layers[0].sha256 = "0".repeat(64);
    now.layers[1].layers.clear();
    now.layers[2].source = Source::Git(pin('b'));
    now.layers[3].source = Source::Embedded;
    now.layers[4].name = "y".into();
    now.disco.as_mut().unwrap().version = "0.2.0".into();
    let told = was.drift(&now);
    let expected = [
        "the files of layer `env` have changed",
        "layer `app` needed env, no, and now nothing",
        "layer `web` was at commit aaaaaaaaaaaa, and is now at bbbbbbbbbbbb",
        "layer `db` came from index https://example.com/web.git at 1.0 in a/b, and now from cake itself",
        "layer `y` is not in the lock",
        "layer `x` is no longer needed",
        "disco was 0.1.0",
    ];
    assert_eq!(told.len(), expected.len(), "{told:#?}");
    for (told, expected) in told.iter().zip(expected) {
        assert!(told.starts_with(expected), "{told}");
    }
    let mut turned = whole();
    turned.layers.reverse();
    assert_eq!(was.drift(&turned).len(), 1);
}

proptest! {
    #[test]
    fn any_text_survives(path in "\\PC{0,10}[a-z'\":#\\\\ é]{1,10}x", rev in "[a-z0-9.]{1,8}") {
        let mut pin = pin('c');
        pin.rev = Some(rev);
        let lock = Lock {
            layers: vec![locked("a", Source::Path(path.trim().to_owned())), locked("b", Source::Git(pin))],
            ..Lock::default()
        };
        prop_assert_eq!(parsed(&lock.text()), Ok(lock));
    }

    #[test]
    fn no_file_is_too_odd(text in "(format: 1\n|layers:|- name: x|source: git|[\\[\\]{}, \n\"'&*:-]|\\PC){0,40}") {
        let _ = parse(Path::new("cake.lock"), text.as_bytes());
    }
}
