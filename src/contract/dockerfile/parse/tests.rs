//! Lines, heredocs, directives and stages, as builders read them.

use super::*;
use proptest::prelude::*;

fn read(text: &str) -> Dockerfile {
    parse(Path::new("Dockerfile"), text.as_bytes()).unwrap()
}

/// `KEYWORD flags|args` of each instruction.
fn told(text: &str) -> Vec<String> {
    let instructions = read(text).instructions;
    let one = |i: &Instruction| match i.flags.is_empty() {
        true => format!("{} {}", i.keyword, i.args),
        false => format!("{} {}|{}", i.keyword, i.flags.join(","), i.args),
    };
    instructions.iter().map(one).collect()
}

fn refused(text: &str) -> Vec<String> {
    let problems = parse(Path::new("Dockerfile"), text.as_bytes()).unwrap_err();
    problems.iter().map(ToString::to_string).collect()
}

#[test]
fn c35_blank_lines_and_missing_arguments_are_no_error() {
    assert_eq!(told("\n\nFROM a\n\n \t\nCMD\n"), ["FROM a", "CMD "]);
}

#[test]
fn c36_keywords_blanks_and_continuations() {
    assert_eq!(
        told("from a\n\trun\tx  y \nENV a=b \\\n  c=d\\\n\n# note\n   # note\n e=f\nCMD x"),
        ["FROM a", "RUN x  y", "ENV a=b   c=d e=f", "CMD x"]
    );
    assert_eq!(told("FROM a\nRUN a \\  \n b\n"), ["FROM a", "RUN a  b"]);
    assert_eq!(
        told("FROM a\nRUN a \\\\\nENV b=c\n"),
        ["FROM a", "RUN a \\\\", "ENV b=c"]
    );
    assert_eq!(told("FROM a\nRUN a \\\n\\\n b\n"), ["FROM a", "RUN a  b"]);
    assert_eq!(told("FROM a\n\u{a0}CMD x\n"), ["FROM a", "CMD x"]);
    assert_eq!(told("FROM a\n# c \\\nCMD x\n"), ["FROM a", "CMD x"]);
    assert_eq!(
        told("\u{feff}FROM a\r\nRUN b \\\r\n  c\r\n"),
        ["FROM a", "RUN b   c"]
    );
    assert_eq!(
        told("FROM --platform=linux/amd64 a AS b\nCOPY --from=x --chown=1 a b\nCMD -- --x\n"),
        [
            "FROM --platform=linux/amd64|a AS b",
            "COPY --from=x,--chown=1|a b",
            "CMD --x"
        ]
    );
}

#[test]
fn c36_directives_stand_at_the_very_top_only() {
    let escape = |text: &str| read(text).escape;
    assert_eq!(escape("# escape=`\nFROM a\n"), '`');
    assert_eq!(escape("#ESCAPE = ` \nFROM a\n"), '`');
    assert_eq!(
        escape("  # syntax=x/y:1\r\n# Check=skip=all\r\n# escape=`\r\nFROM a\r\n"),
        '`'
    );
    assert_eq!(escape("\u{feff}# escape=`\nFROM a\n"), '`');
    for text in [
        "\n# escape=`\nFROM a\n",
        "# note\n# escape=`\nFROM a\n",
        "# other=1\n# escape=`\nFROM a\n",
        "FROM a\n# escape=`\n",
        "#!/usr/bin/env x\n# escape=`\nFROM a\n",
        "# escape=\nFROM a\n",
    ] {
        assert_eq!(escape(text), '\\', "{text}");
    }
    assert_eq!(
        told("# escape=`\nFROM a\nRUN x `\n y\\\nCMD z\n"),
        ["FROM a", "RUN x  y\\", "CMD z"]
    );
    assert_eq!(
        refused("# escape=x\n# syntax=a\n# syntax=b\nFROM a\n"),
        [
            "Dockerfile:1:1: `escape=x`: expected `\\` or a backtick",
            "Dockerfile:3:1: a second `syntax` directive; remove one"
        ]
    );
}

#[test]
fn c35_heredocs_are_skipped_where_builders_see_them() {
    let keywords = |text: &str| {
        let all = read(text).instructions;
        all.iter()
            .map(|i| i.keyword.clone())
            .collect::<Vec<_>>()
            .join(" ")
    };
    for text in [
        "RUN <<EOF\nCMD x\nEOF\n",
        "RUN cat <<EOF >/x && cat 3<<-'E F'\nCMD x\nEOF\nCMD y\n\t\tE F\n",
        "COPY <<\"EOF\" <<B /x/\nFROM z\nEOF\nCMD\nB\n",
        "ADD <<a.txt /x\n# not a comment \\\na.txt\n",
        "ONBUILD RUN <<EOF\nCMD x\nEOF\n",
        "run --mount=type=cache,target=/x <<EOF\r\nCMD x\r\nEOF\r\n",
        "RUN a && \\\n  cat <<EOF \\\n > x\nCMD x\nEOF\n",
        "RUN <<$X\nCMD x\n$X\n",
    ] {
        let middle = text.split_whitespace().next().unwrap().to_uppercase();
        let whole = format!("FROM a\n{text}CMD end\n");
        assert_eq!(keywords(&whole), format!("FROM {middle} CMD"), "{text}");
    }
    for text in [
        "RUN cat <<<EOF\n",
        "RUN echo $((1<<2)) $((1 << 2))\n",
        "RUN echo $(( 1<<2 ))\n",
        "RUN [\"cat\", \"<<EOF\"]\n",
        "RUN echo '<<EOF'\n",
        "RUN echo \"<<EOF\n",
        "RUN a<<EOF\n",
        "CMD cat <<EOF\n",
        "ENV a=<<EOF\n",
        "LABEL a=b # <<EOF\n",
        "ONBUILD CMD <<EOF\n",
    ] {
        let middle = text.split_whitespace().next().unwrap();
        let whole = format!("FROM a\n{text}CMD end\n");
        assert_eq!(keywords(&whole), format!("FROM {middle} CMD"), "{text}");
    }
    assert_eq!(
        refused("FROM a\nRUN <<EOF\nx\n EOF\n"),
        ["Dockerfile:2:1: the heredoc is never ended; expected a line `EOF`"]
    );
}

#[test]
fn stages_have_names_numbers_and_bases() {
    let file =
        read("ARG V=1\nFROM --platform=$P a:$V as Build\nRUN x\nfrom build\nFROM scratch AS c\n");
    let one = |s: &Stage| format!("{:?} {} {:?} {}", s.name, s.image, s.platform, s.body.len());
    let stages: Vec<String> = file.stages.iter().map(one).collect();
    assert_eq!(
        stages,
        [
            "Some(\"build\") a:$V Some(\"$P\") 1",
            "None build None 0",
            "Some(\"c\") scratch None 0"
        ]
    );
    assert_eq!(file.globals().len(), 1);
    for (name, at) in [
        (None, 2),
        (Some("BUILD"), 0),
        (Some("1"), 1),
        (Some("c"), 2),
    ] {
        assert_eq!(file.target(name), Ok(at));
    }
    let problem = file.target(Some("bild")).unwrap_err();
    assert_eq!(
        problem.to_string(),
        "there is no stage `bild`; did you mean `build`?; the stages are build, 1, c"
    );
}

#[test]
fn what_no_builder_takes_is_told_at_once() {
    assert_eq!(
        refused(""),
        ["Dockerfile: has no FROM; a Dockerfile begins with `FROM image`"]
    );
    assert_eq!(
        refused("RUN x\nFROM\nFROM a b\nFROM a AS 1\n"),
        [
            "Dockerfile:1:1: RUN before the first FROM; only ARG may stand there",
            "Dockerfile:2:1: expected `FROM image` or `FROM image AS name`",
            "Dockerfile:3:1: expected `FROM image` or `FROM image AS name`",
            "Dockerfile:4:1: `1` is no name for a stage; expected a letter, then letters, digits and `-_.`",
        ]
    );
    let warnings = read("FROM a\nENTRYPONT x\n").warnings;
    assert_eq!(
        warnings.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["Dockerfile:2:1: `ENTRYPONT` is no instruction that we know; did you mean `entrypoint`?"]
    );
}

#[test]
fn an_instruction_whose_continuation_never_comes_is_open() {
    for (text, is_open) in [
        ("FROM a\nCMD x \\", true),
        ("FROM a\nCMD x \\\n\n# c\n", true),
        ("FROM a\nCMD x \\\n\n y\n", false),
        ("FROM a\nCMD x \\\\", false),
    ] {
        assert_eq!(read(text).instructions[1].is_open, is_open, "{text}");
    }
}

/// Files that are near to Dockerfiles.
fn files() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just("FROM a\n".to_owned()),
        Just("RUN <<EOF\n".to_owned()),
        Just("EOF\n".to_owned()),
        Just("\\\n".to_owned()),
        Just("# x\n".to_owned()),
        Just("# escape=`\n".to_owned()),
        Just("\r\n".to_owned()),
        "[A-Z]{0,3} [\\[\"a\\]\\\\`<$ {}#-]{0,9}\n?",
    ];
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat().into_bytes())
}

proptest! {
    #[test]
    fn spans_are_whole_lines_in_order(bytes in prop_oneof![files(), any::<Vec<u8>>()]) {
        if let Ok(file) = parse(Path::new("Dockerfile"), &bytes) {
            let spans = file.instructions.iter().map(|i| (i.span.clone(), i.line));
            let comments = file.comments.iter().map(|c| (c.span.clone(), c.line));
            let mut all: Vec<_> = spans.chain(comments).collect();
            all.sort_by_key(|(span, _)| span.start);
            let mut end = 0;
            for (span, line) in all {
                prop_assert!(span.start >= end && span.end > span.start);
                end = span.end;
                let before = &bytes[..span.start];
                prop_assert_eq!(before.iter().filter(|byte| **byte == b'\n').count() + 1, line);
                prop_assert!(end == bytes.len() || bytes[end - 1] == b'\n');
            }
        }
    }
}
