//! The block: what is in it, where it stands, and that it can be taken out again.

use super::*;
use crate::contract::dockerfile::{Build, CopyLine, ImageConfig};
use proptest::prelude::*;

struct Table;

impl Bases for Table {
    fn config(&self, image: &str, _: Option<&str>) -> Result<Option<ImageConfig>, String> {
        let words = |words: &[&str]| Some(words.iter().map(|&word| word.to_owned()).collect());
        let mut config = ImageConfig::default();
        match image {
            "plain" => {}
            "both" => {
                config.entrypoint = words(&["be", "\\"]);
                config.cmd = words(&["bc `"]);
                config.user = "7".to_owned();
            }
            "cmd" => {
                config.cmd = words(&["bc"]);
                config.user = "a b".to_owned();
                config.health = Health::Set;
            }
            "trigger" => {
                config.cmd = words(&["bc"]);
                config.shell = words(&["/bin/ash", "-c"]);
                config.onbuild = vec!["ENTRYPOINT oe".to_owned(), "ENV A=x".to_owned()];
            }
            _ => return Ok(None),
        }
        Ok(Some(config))
    }
}

fn file() -> &'static Path {
    Path::new("Dockerfile")
}

/// A request that makes the block short.
fn short() -> Request {
    Request {
        copies: vec![CopyLine::new(".cake/disco", "/usr/bin/disco")],
        ..Request::default()
    }
}

fn whole() -> Request {
    Request {
        copies: vec![
            CopyLine::new(".cake/disco", "/usr/bin/disco"),
            CopyLine::new(".cake/layers/", "/usr/share/layercake/layers/"),
        ],
        install: Some(
            ["/usr/bin/disco", "--install-layers"]
                .map(str::to_owned)
                .into(),
        ),
        health: Some(["/usr/bin/disco", "--health"].map(str::to_owned).into()),
        ..Request::default()
    }
}

fn baked(text: &str, request: &Request) -> Baked {
    bake(file(), text.as_bytes(), request, &Table).unwrap()
}

/// The lines of the block after the COPY of disco.
fn block(text: &str, request: &Request) -> Vec<String> {
    let bytes = baked(text, request).bytes;
    let text = String::from_utf8_lossy(&bytes);
    let lines = text
        .lines()
        .skip_while(|line| !line.starts_with("# >>> cake "));
    let lines = lines.skip(2).take_while(|line| *line != "# <<< cake");
    lines.map(str::to_owned).collect()
}

fn refused(text: &str, request: &Request) -> Vec<String> {
    let problems = bake(file(), text.as_bytes(), request, &Table).unwrap_err();
    problems.iter().map(ToString::to_string).collect()
}

fn warned(text: &str, request: &Request) -> Vec<String> {
    let warnings = baked(text, request).warnings;
    warnings.iter().map(ToString::to_string).collect()
}

#[test]
fn c22_what_the_block_says() {
    for (text, lines) in [
        (
            "FROM plain\nENTRYPOINT [\"e\", \"f g\"]\n",
            &[r#"ENTRYPOINT ["/usr/bin/disco", "--", "e", "f g"]"#][..],
        ),
        (
            "FROM plain\nENTRYPOINT e $F\nCMD x\n",
            &[r#"ENTRYPOINT ["/usr/bin/disco", "--", "/bin/sh", "-c", "e $F"]"#],
        ),
        (
            "FROM both\nCMD x\n",
            &[r#"ENTRYPOINT ["/usr/bin/disco", "--", "be", "\\"]"#],
        ),
        (
            "FROM both\nENTRYPOINT [\"e\"]\n",
            &[r#"ENTRYPOINT ["/usr/bin/disco", "--", "e"]"#],
        ),
        (
            "FROM plain\nCMD x\n",
            &[r#"ENTRYPOINT ["/usr/bin/disco", "--"]"#],
        ),
        (
            "FROM plain\nCMD [ \"$X\" ] && x\n",
            &[r#"ENTRYPOINT ["/usr/bin/disco", "--"]"#],
        ),
        (
            "FROM cmd\nENTRYPOINT []\n",
            &[r#"ENTRYPOINT ["/usr/bin/disco", "--"]"#],
        ),
        (
            "FROM far\nENTRYPOINT [\"e\"]\n",
            &[r#"ENTRYPOINT ["/usr/bin/disco", "--", "e"]"#],
        ),
        (
            "FROM both\n",
            &[
                r#"ENTRYPOINT ["/usr/bin/disco", "--", "be", "\\"]"#,
                "CMD [\"bc `\"]",
            ],
        ),
        (
            "FROM cmd AS a\nFROM a\n",
            &[r#"ENTRYPOINT ["/usr/bin/disco", "--"]"#, r#"CMD ["bc"]"#],
        ),
        (
            "FROM plain AS a\nCMD x\nFROM a\n",
            &[
                r#"ENTRYPOINT ["/usr/bin/disco", "--"]"#,
                r#"CMD ["/bin/sh", "-c", "x"]"#,
            ],
        ),
        (
            "FROM trigger\n",
            &[r#"ENTRYPOINT ["/usr/bin/disco", "--", "/bin/ash", "-c", "oe"]"#],
        ),
        ("FROM plain\nENTRYPOINT [\"/usr/bin/disco\", \"x\"]\n", &[]),
        ("FROM plain\nENTRYPOINT [\"disco\"]\nCMD x\n", &[]),
        ("FROM plain\nCMD [\"/disco\", \"x\"]\n", &[]),
    ] {
        assert_eq!(block(text, &short()), lines, "{text}");
    }
    let after = baked("FROM both\n", &short()).after;
    assert_eq!(after.entrypoint, ["/usr/bin/disco", "--", "be", "\\"]);
    assert_eq!(after.cmd.unwrap(), ["bc `"]);
}

#[test]
fn c21_install_runs_as_root_and_the_user_stays() {
    let lines = |text: &str| {
        let lines = block(text, &whole());
        let is_ours = |line: &&String| line.starts_with("USER") || line.starts_with("RUN");
        lines
            .iter()
            .filter(is_ours)
            .cloned()
            .collect::<Vec<_>>()
            .join("; ")
    };
    let run = r#"RUN ["/usr/bin/disco", "--install-layers"]"#;
    assert_eq!(lines("FROM plain\n"), run);
    assert_eq!(lines("FROM both\nUSER 0:7\n"), run);
    for (text, user) in [
        ("FROM both\n", "7"),
        ("FROM cmd\n", "'a b'"),
        ("FROM plain\nENV U=x\nUSER ${U:-y}:z\n", "${U:-y}:z"),
        ("FROM plain\nARG U=x\nUSER $U\nENV U=y\n", "x"),
        ("FROM plain AS a\nARG U=x\nUSER $U\nFROM a\n", "x"),
        ("# escape=`\nFROM plain\nUSER C\\x `\n y\n", "C\\x  y"),
    ] {
        assert_eq!(
            lines(text),
            format!("USER 0:0; {run}; USER {user}"),
            "{text}"
        );
    }
    assert_eq!(
        refused("FROM far\nENTRYPOINT [\"e\"]\nHEALTHCHECK NONE\n", &whole()),
        [
            "Dockerfile:1:1: the USER of the base image `far` is not known; `docker pull` or build it, \
          name a file with `--base-config`, or write USER in the stage"
        ]
    );
    assert!(
        refused("FROM plain\nENV U=\"a'b\"\nUSER $U\nENV U=x\n", &whole())[0].contains("quote")
    );
}

#[test]
fn health_is_added_where_there_is_none() {
    let check = "HEALTHCHECK --interval=10s CMD [\"/usr/bin/disco\", \"--health\"]".to_owned();
    assert!(block("FROM plain\n", &whole()).contains(&check));
    assert!(!block("FROM plain\n", &short()).contains(&check));
    assert!(!block("FROM cmd\n", &whole()).contains(&check));
    assert!(!block("FROM plain\nHEALTHCHECK NONE\n", &whole()).contains(&check));
    assert!(
        warned("FROM plain\nCMD x\nHEALTHCHECK NONE\n", &whole())[0].starts_with("Dockerfile:3:1")
    );
}

#[test]
fn c37_only_the_target_stage_is_edited() {
    let text = "FROM plain AS a\nENTRYPOINT [\"a\"]\n\n# b\nFROM plain AS b\nCMD b\n";
    let first = Request {
        build: Build {
            target: Some("a".to_owned()),
            ..Build::default()
        },
        ..short()
    };
    let one = baked(text, &first).bytes;
    let one_text = String::from_utf8(one.clone()).unwrap();
    assert!(
        one_text.starts_with("FROM plain AS a\nENTRYPOINT [\"a\"]\n# >>> cake "),
        "{one_text}"
    );
    assert!(
        one_text.ends_with("# <<< cake\n\n# b\nFROM plain AS b\nCMD b\n"),
        "{one_text}"
    );
    // A block in another stage than the target moves.
    let two = bake(file(), &one, &short(), &Table).unwrap();
    assert!(two.changed);
    assert_eq!(two.bytes, baked(text, &short()).bytes);
}

#[test]
fn c38_baking_again_changes_nothing_and_unbaking_all() {
    for text in [
        "FROM plain\nCMD x\n",
        "FROM plain\nCMD x",
        "FROM plain\r\nCMD x\r\n\r\n# end\r\n",
        "FROM plain\r\nCMD x",
        "FROM plain\nCMD x\r",
        "FROM plain\r\nCMD x\n# mixed",
        "\u{feff}FROM plain",
        "FROM plain\nCMD x\n\n\n",
        "FROM plain\nRUN <<EOF\n# >>> cake\nENTRYPOINT [\"x\"]\n# <<< cake\nEOF",
        "FROM plain\n# >>> cake is a tool\nCMD x\n",
    ] {
        for request in [short(), whole()] {
            let one = baked(text, &request);
            assert!(one.changed);
            let two = bake(file(), &one.bytes, &request, &Table).unwrap();
            assert_eq!(
                String::from_utf8_lossy(&two.bytes),
                String::from_utf8_lossy(&one.bytes)
            );
            assert!(!two.changed && !two.was_edited);
            assert_eq!(two.before, one.before);
            let back = unbake(file(), &one.bytes).unwrap();
            assert_eq!(String::from_utf8_lossy(&back.bytes), text);
            assert!(back.changed);
        }
    }
    let crlf = baked("FROM plain\r\nCMD x\r\n", &whole()).bytes;
    let crlf = String::from_utf8(crlf).unwrap();
    assert_eq!(crlf.matches('\n').count(), crlf.matches("\r\n").count());
    let none = unbake(file(), b"FROM plain\xff").unwrap();
    assert!(!none.changed && none.bytes == b"FROM plain\xff");
}

#[test]
fn a_block_changed_by_hand_is_written_anew_and_told() {
    let one = baked("FROM plain\nCMD x\n", &short()).bytes;
    let edited = String::from_utf8(one.clone())
        .unwrap()
        .replace("# <<< cake", "ENV A=b\n# <<< cake");
    let again = bake(file(), edited.as_bytes(), &short(), &Table).unwrap();
    assert!(again.was_edited && again.changed);
    assert_eq!(again.bytes, one);
    assert!(
        again.warnings[0]
            .to_string()
            .starts_with("Dockerfile:3:1: the block was changed by hand")
    );
    assert_eq!(unbake(file(), edited.as_bytes()).unwrap().edited, [3]);
    // Another kind of line end is no change.
    let crlf = edited.replace("ENV A=b\n", "").replace('\n', "\r\n");
    assert!(
        !bake(file(), crlf.as_bytes(), &short(), &Table)
            .unwrap()
            .was_edited
    );
}

#[test]
fn half_a_block_is_an_error() {
    for (text, line, part) in [
        (
            "FROM plain\n# >>> cake 0123456789ab\nCMD x\n",
            2,
            "without its `# <<< cake`",
        ),
        (
            "FROM plain\nCMD x\n# <<< cake\n",
            3,
            "without its `# >>> cake",
        ),
        (
            "FROM plain\n# >>> cake\n# >>> cake\n# <<< cake\n",
            2,
            "without its `# <<< cake`",
        ),
        (
            "FROM plain\nCMD x \\\n# >>> cake\nCOPY a b\n# <<< cake\n",
            5,
            "without its `# >>> cake",
        ),
    ] {
        let told = refused(text, &short());
        assert!(
            told[0].starts_with(&format!("Dockerfile:{line}:1: ")),
            "{told:?}"
        );
        assert!(told[0].contains(part), "{told:?}");
        assert!(unbake(file(), text.as_bytes()).is_err());
    }
}

#[test]
fn c37_what_is_not_known_is_asked_for() {
    assert_eq!(
        refused("FROM far\nUSER x\n", &short()),
        [
            "Dockerfile:1:1: the ENTRYPOINT of the base image `far` is not known; `docker pull` or build \
             it, name a file with `--base-config`, or say it with `--entrypoint`",
            "Dockerfile:1:1: the CMD of the base image `far` is not known; `docker pull` or build it, \
             name a file with `--base-config`, or say it with `--cmd`",
        ]
    );
    assert_eq!(
        refused("FROM x-$TARGETARCH\nCMD x\n", &short()),
        [
            "Dockerfile:1:1: the ENTRYPOINT hangs on `$TARGETARCH`, which is not known here; give \
          `--platform=os/arch`, or say it with `--entrypoint`"
        ]
    );
    assert!(refused("FROM plain\nENTRYPOINT [\"a\"] b\n", &short())[0].contains("builders differ"));
    assert!(
        refused("FROM plain\nCMD x \\\n", &short())[0]
            .starts_with("Dockerfile:2:1: CMD ends with `\\`")
    );
    let odd = Request {
        copies: vec![CopyLine::new("a$b", "/x")],
        build: Build {
            platform: Some("windows/amd64".to_owned()),
            ..Build::default()
        },
        ..short()
    };
    assert_eq!(refused("FROM plain\n", &odd).len(), 2);
}

#[test]
fn what_is_odd_is_told() {
    for (text, part) in [
        ("FROM plain\n", "neither ENTRYPOINT nor CMD"),
        (
            "FROM plain\nENTRYPOINT [\"/sbin/tini\", \"--\", \"x\"]\n",
            "`tini`",
        ),
        ("FROM plain\nCMD [\"dumb-init\", \"x\"]\n", "`dumb-init`"),
        ("FROM plain\nENTRYPOINT [\"/init\"]\n", "process 1"),
        ("FROM far\nENTRYPOINT x\n", "SHELL of the base image"),
        (
            "# check=error=true\nFROM plain\nENTRYPOINT [\"x\"]\n",
            "skip=MultipleInstructionsDisallowed",
        ),
        ("FROM plain\nCMD x\nENTRIPOINT y\n", "no instruction"),
    ] {
        let told = warned(text, &short());
        assert!(
            told.len() == 1 && told[0].contains(part),
            "{text}: {told:?}"
        );
    }
    for text in [
        "FROM plain\nCMD x\n",
        "# check=error=true\nFROM plain\nCMD x\n",
        "# check=skip=A,MultipleInstructionsDisallowed;error=true\nFROM plain\nENTRYPOINT [\"x\"]\n",
    ] {
        assert_eq!(warned(text, &short()), Vec::<String>::new(), "{text}");
    }
}

#[test]
fn copies_may_have_blanks_and_come_from_images() {
    let mut request = short();
    request.copies = vec![
        CopyLine::new("a", "/b"),
        CopyLine {
            from: Some("r.io/disco@sha256:0".to_owned()),
            ..CopyLine::new("/disco", "/usr/bin/disco")
        },
        CopyLine::new("a b", "/c/"),
    ];
    assert_eq!(
        block("FROM plain\nENTRYPOINT [\"disco\"]\n", &request),
        [
            "COPY --from=r.io/disco@sha256:0 /disco /usr/bin/disco",
            "COPY [\"a b\", \"/c/\"]"
        ]
    );
}

/// Dockerfiles of up to three stages.
fn dockerfiles() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        "ENTRYPOINT [a-z$ ]{1,6}",
        "entrypoint \\[\"[a-z`$ ]{0,4}\", \"[a-z]\"\\]",
        Just("ENTRYPOINT []".to_owned()),
        Just("ENTRYPOINT [\"\\\\\", \"a\\u00e9\\n\"]".to_owned()),
        "CMD [a-z'\" ]{1,6}x",
        "CMD\t\\[\"[a-z]{0,3}\" *, \"[a-z]\"\\]",
        Just("CMD []".to_owned()),
        Just("SHELL [\"/bin/bash\", \"-ec\"]".to_owned()),
        Just("USER 1000:1000".to_owned()),
        Just("ARG U=me".to_owned()),
        Just("USER ${U:-you}".to_owned()),
        Just("ENV U=she V=\"a b\"".to_owned()),
        Just("ONBUILD CMD [\"o\"]".to_owned()),
        Just("ONBUILD ENTRYPOINT o".to_owned()),
        Just("ONBUILD USER 5".to_owned()),
        Just("HEALTHCHECK NONE".to_owned()),
        Just("RUN a ESC\n# note\n\n  b ESC \n c".to_owned()),
        Just("RUN <<EOF cat\nCMD [\"no\"]\n# >>> cake\nEOF".to_owned()),
        Just("# note \u{fffd}".to_owned()),
        Just(String::new()),
    ];
    let from = prop_oneof![
        Just("FROM plain"),
        Just("FROM both"),
        Just("FROM cmd"),
        Just("FROM trigger"),
        Just("FROM scratch"),
        Just("FROM s0"),
        Just("from S1"),
        Just("FROM $BASE"),
        Just("FROM far"),
    ];
    let stage = (from, proptest::collection::vec(line, 0..7));
    let ends = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    (proptest::collection::vec(stage, 1..4), ends).prop_map(|(stages, ends)| {
        let (is_crlf, is_ended, is_tick, has_bom) = ends;
        let escape = if is_tick { "`" } else { "\\" };
        let mut lines = Vec::new();
        if is_tick {
            lines.push("# escape=`".to_owned());
        }
        lines.push("ARG BASE=both".to_owned());
        for (index, (from, body)) in stages.into_iter().enumerate() {
            // A stage can be built on an earlier one only.
            let from = if index == 0 && from.to_lowercase().contains("from s") {
                "FROM both"
            } else {
                from
            };
            let from = if index == 1 && from == "from S1" {
                "FROM s0"
            } else {
                from
            };
            lines.push(format!("{from} AS s{index}"));
            lines.extend(body);
        }
        let mut text = lines.join("\n").replace("ESC", escape);
        if is_ended {
            text.push('\n');
        }
        if is_crlf {
            text = text.replace('\n', "\r\n");
        }
        if has_bom {
            text.insert(0, '\u{feff}');
        }
        // What is no UTF-8 in a comment is nobody's business.
        let mut bytes = text.into_bytes();
        for at in 2..bytes.len() {
            if bytes[at - 2..=at] == *b"\xef\xbf\xbd" {
                bytes[at - 2] = 0xff;
            }
        }
        bytes
    })
}

fn argv(bytes: &[u8], request: &Request) -> (Vec<String>, Effective) {
    let dockerfile = crate::contract::dockerfile::parse(file(), bytes).unwrap();
    let effective = config::effective(file(), &dockerfile, &request.build, &Table).unwrap();
    let words =
        |command: &Result<Command, Gap>| command.clone().map(|c| c.words).unwrap_or_default();
    let argv = [words(&effective.entrypoint), words(&effective.cmd)].concat();
    (argv, effective)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn only_the_prefix_changes(bytes in dockerfiles(), is_whole: bool, target in 0..3usize) {
        let mut request = if is_whole { whole() } else { short() };
        let stages = crate::contract::dockerfile::parse(file(), &bytes).unwrap().stages.len();
        request.build.target = Some(format!("s{}", target % stages));
        let Ok(one) = bake(file(), &bytes, &request, &Table) else {
            return Ok(());
        };
        let (before, was) = argv(&bytes, &request);
        let (after, is) = argv(&one.bytes, &request);
        prop_assert_eq!(after, [request.prefix.clone(), before].concat());
        if let Ok(user) = was.user.value {
            prop_assert_eq!(is.user.value.unwrap(), user);
        }
        if was.cmd.is_ok() {
            prop_assert_eq!(is.cmd.unwrap().words, was.cmd.unwrap().words);
        }
        prop_assert_eq!(&unbake(file(), &one.bytes).unwrap().bytes, &bytes);
        let two = bake(file(), &one.bytes, &request, &Table).unwrap();
        prop_assert_eq!(&two.bytes, &one.bytes);
        request.build.target = None;
        if let Ok(other) = bake(file(), &one.bytes, &request, &Table) {
            let direct = bake(file(), &bytes, &request, &Table).unwrap();
            prop_assert_eq!(other.bytes, direct.bytes);
        }
    }

    #[test]
    fn any_words_reach_the_image(words in proptest::collection::vec(any::<String>(), 1..5), is_tick: bool) {
        let escape = if is_tick { "# escape=`\n" } else { "" };
        let text = format!("{escape}FROM plain\nENTRYPOINT {}\n", words::exec(&words));
        let (before, _) = argv(text.as_bytes(), &short());
        prop_assert_eq!(&before, &words);
        let (after, _) = argv(&baked(&text, &short()).bytes, &short());
        prop_assert_eq!(after, [short().prefix, words].concat());
    }

    #[test]
    fn whatever_the_bytes_nothing_is_lost(bytes in prop_oneof![any::<Vec<u8>>(), dockerfiles()], at: prop::sample::Index, cut: bool) {
        let mut bytes = bytes;
        if cut && !bytes.is_empty() {
            bytes.truncate(at.index(bytes.len()));
        }
        if let Ok(one) = bake(file(), &bytes, &whole(), &Table) {
            prop_assert_eq!(unbake(file(), &one.bytes).unwrap().bytes, bytes);
        }
    }
}
