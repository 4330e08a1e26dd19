//! What images run, as whom and with which variables, over chains of stages and bases.

use super::*;
use crate::contract::dockerfile::{ImageConfig, parse, words};

/// Base images by name.
struct Table;

impl Bases for Table {
    fn config(&self, image: &str, platform: Option<&str>) -> Result<Option<ImageConfig>, String> {
        let words = |words: &[&str]| Some(words.iter().map(|&word| word.to_owned()).collect());
        let mut config = ImageConfig::default();
        match image {
            "plain" => {}
            "both" => {
                config.entrypoint = words(&["be"]);
                config.cmd = words(&["bc"]);
                config.user = "7:8".to_owned();
                config.env = vec![("PATH".to_owned(), "/bin".to_owned())];
            }
            "cmd" => config.cmd = words(&["bc"]),
            "shell" => config.shell = words(&["/bin/ash", "-ec"]),
            "arm" if platform == Some("linux/arm64") => config.cmd = words(&["arm"]),
            "trigger" => {
                config.entrypoint = words(&["be"]);
                config.cmd = words(&["bc"]);
                config.onbuild = [
                    "ENTRYPOINT [\"oe\"]",
                    "CMD oc",
                    "user 9",
                    "HEALTHCHECK CMD x",
                ]
                .map(str::to_owned)
                .into();
            }
            "broken" => return Err("the engine does not answer".to_owned()),
            _ => return Ok(None),
        }
        Ok(Some(config))
    }
}

fn run(text: &str, build: &Build) -> Result<Effective, Vec<Problem>> {
    let file = Path::new("Dockerfile");
    let dockerfile = parse(file, text.as_bytes()).unwrap();
    effective(file, &dockerfile, build, &Table)
}

fn of(text: &str) -> Effective {
    run(text, &Build::default()).unwrap()
}

/// `ENTRYPOINT | CMD`, as `docker inspect` would show them.
fn told(text: &str) -> String {
    let effective = of(text);
    let one = |command: &Result<Command, Gap>| match command {
        Ok(command) => words::exec(&command.words),
        Err(_) => "?".to_owned(),
    };
    format!("{} | {}", one(&effective.entrypoint), one(&effective.cmd))
}

#[test]
fn c37_builder_facts() {
    for (text, want) in [
        ("FROM both", r#"["be"] | ["bc"]"#),
        (
            "FROM both\nENTRYPOINT [\"/bin/disco\"]",
            r#"["/bin/disco"] | []"#,
        ),
        (
            "FROM both\nCMD [\"c\"]\nENTRYPOINT [\"e\"]",
            r#"["e"] | ["c"]"#,
        ),
        (
            "FROM both\nENTRYPOINT [\"e\"]\nCMD [\"c\"]",
            r#"["e"] | ["c"]"#,
        ),
        (
            "FROM both\nCMD x\nENTRYPOINT [\"a\"]\nCMD [\"y\"]\nENTRYPOINT [\"b\"]",
            r#"["b"] | ["y"]"#,
        ),
        (
            "FROM both\nENTRYPOINT echo hi\nCMD [\"c1\"]",
            r#"["/bin/sh", "-c", "echo hi"] | ["c1"]"#,
        ),
        (
            "FROM plain\nSHELL [\"/bin/sh\", \"-ec\"]\nCMD echo hi\nSHELL [\"x\"]",
            r#"[] | ["/bin/sh", "-ec", "echo hi"]"#,
        ),
        (
            "FROM shell\nCMD a  $B \\\n # c\n  d",
            r#"[] | ["/bin/ash", "-ec", "a  $B   d"]"#,
        ),
        (
            "FROM plain\nENTRYPOINT [\"bad json]",
            r#"["/bin/sh", "-c", "[\"bad json]"] | []"#,
        ),
        (
            "FROM plain\nCMD ['a']",
            r#"[] | ["/bin/sh", "-c", "['a']"]"#,
        ),
        ("FROM both\nENTRYPOINT []", "[] | []"),
        ("FROM both\nCMD [\"c\"]\nENTRYPOINT []", r#"[] | ["c"]"#),
        ("FROM both\nCMD []", r#"["be"] | []"#),
        ("FROM both\nCMD []\nENTRYPOINT [\"e\"]", r#"["e"] | []"#),
        (
            "FROM plain\nCMD [\"$X\", \"${Y}\"]",
            r#"[] | ["$X", "${Y}"]"#,
        ),
        ("FROM trigger", r#"["oe"] | ["/bin/sh", "-c", "oc"]"#),
        (
            "FROM trigger\nENTRYPOINT [\"e\"]",
            r#"["e"] | ["/bin/sh", "-c", "oc"]"#,
        ),
        (
            "FROM trigger AS a\nFROM a\nENTRYPOINT [\"e\"]",
            r#"["e"] | []"#,
        ),
        (
            "FROM plain AS a\nCMD x\nONBUILD CMD [\"y\"]\nFROM a\nENTRYPOINT [\"z\"]",
            r#"["z"] | ["y"]"#,
        ),
        (
            "FROM plain AS a\nONBUILD CMD [\"y\"]\nFROM a AS b\nFROM b\nENTRYPOINT [\"z\"]",
            r#"["z"] | []"#,
        ),
        (
            "FROM plain AS a\nCMD [\"x\"]\nFROM a\nENTRYPOINT [\"z\"]",
            r#"["z"] | []"#,
        ),
        (
            "FROM plain AS A\nCMD [\"x\"]\nFROM cmd AS b\nFROM a",
            r#"[] | ["x"]"#,
        ),
        ("FROM scratch\nENTRYPOINT [\"e\"]", r#"["e"] | []"#),
        ("from plain\n\tentrypoint\t[\"e\"]", r#"["e"] | []"#),
        ("FROM plain\nCMD [ \"$X\" ] && y", "[] | ?"),
        ("FROM plain\nENTRYPOINT", "? | []"),
        // A number is no stage to FROM, only to --target and to COPY.
        ("FROM plain\nCMD [\"x\"]\nFROM 0", "? | ?"),
    ] {
        assert_eq!(told(text), want, "{text}");
    }
}

#[test]
fn c37_an_unknown_base_is_harmless_where_the_stage_says_it_all() {
    for (text, want) in [
        ("FROM far", "? | ?"),
        ("FROM broken\nCMD [\"c\"]", r#"? | ["c"]"#),
        // An ONBUILD CMD of the base would stay beside the stage's ENTRYPOINT.
        ("FROM far\nENTRYPOINT [\"e\"]", r#"["e"] | ?"#),
        (
            "FROM far AS a\nCMD x\nFROM a\nENTRYPOINT [\"e\"]",
            r#"["e"] | []"#,
        ),
        (
            "FROM far\nENTRYPOINT [\"e\"]\nCMD [\"c\"]",
            r#"["e"] | ["c"]"#,
        ),
        ("FROM far AS a\nFROM both", r#"["be"] | ["bc"]"#),
    ] {
        assert_eq!(told(text), want, "{text}");
    }
    let entrypoint = |text: &str| of(text).entrypoint.unwrap();
    assert!(entrypoint("FROM far\nENTRYPOINT x").assumes_shell);
    assert!(!entrypoint("FROM far\nSHELL [\"a\"]\nENTRYPOINT x").assumes_shell);
    let build = Build {
        base_entrypoint: Some(vec!["given".to_owned()]),
        base_cmd: Some(Vec::new()),
        ..Build::default()
    };
    let effective = run("FROM far\nCMD [\"c\"]", &build).unwrap();
    assert_eq!(effective.entrypoint.unwrap().words, ["given"]);
    assert!(!effective.env_is_whole);

    let gap = of("FROM broken").cmd.unwrap_err();
    assert_eq!(
        gap.problem(Path::new("D"), "the CMD", "say it").to_string(),
        "D:1:1: the CMD of the base image `broken` is not known (the engine does not answer); \
         `docker pull` or build it, name a file with `--base-config`, or say it"
    );
}

#[test]
fn from_is_read_with_arguments_and_platforms() {
    let args = |args: &[(&str, &str)]| Build {
        args: args
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
            .collect(),
        ..Build::default()
    };
    let cmd = |text: &str, build: &Build| run(text, build).unwrap().cmd.map(|cmd| cmd.words);
    for text in [
        "ARG B=cmd\nFROM $B",
        "ARG B=cmd\nFROM \"${B}\"",
        "ARG A=c\nARG B=${A}md\nFROM ${B}",
        "FROM ${B:-cmd}",
        "ARG B\nFROM ${B:-cmd}",
        "ARG B=x\nFROM ${B:+cmd}",
        "ARG B=\nFROM ${B:-c}${B-x}md",
        "# escape=`\nARG B=`c'md'\nFROM $B",
        "ARG A=a B=cmd\nFROM $B AS x\nFROM $A AS y\nFROM x",
    ] {
        assert_eq!(
            cmd(text, &Build::default()),
            Ok(vec!["bc".to_owned()]),
            "{text}"
        );
    }
    let text = "ARG B=plain\nFROM $B";
    assert_eq!(cmd(text, &args(&[("B", "cmd")])), Ok(vec!["bc".to_owned()]));

    assert_eq!(
        cmd("FROM c${BUILDOS}", &args(&[("BUILDOS", "md")])),
        Ok(vec!["bc".to_owned()])
    );

    let arm = Build {
        platform: Some("linux/arm64".to_owned()),
        ..Build::default()
    };
    assert_eq!(cmd("FROM arm", &arm), Ok(vec!["arm".to_owned()]));
    assert_eq!(
        cmd("FROM --platform=$TARGETPLATFORM arm", &arm),
        Ok(vec!["arm".to_owned()])
    );
    assert_eq!(
        cmd("FROM --platform=linux/${TARGETARCH} arm", &arm),
        Ok(vec!["arm".to_owned()])
    );
    assert!(cmd("FROM --platform=linux/amd64 arm", &arm).is_err());
    assert_eq!(
        cmd("FROM c-$TARGETARCH", &Build::default()),
        Err(Gap::Variable {
            name: "TARGETARCH".to_owned(),
            line: 1
        })
    );
    assert_eq!(
        cmd(
            "FROM --platform=$BUILDPLATFORM far AS b\nFROM cmd",
            &Build::default()
        ),
        Ok(vec!["bc".to_owned()])
    );
    let refused = |text: &str| run(text, &Build::default()).unwrap_err()[0].to_string();
    assert_eq!(
        refused("ARG B\nFROM $B"),
        "Dockerfile:2:1: `FROM $B` names no image; give its variable a value with `--build-arg`"
    );
    assert_eq!(
        refused("FROM ${B"),
        "Dockerfile:1:1: FROM cannot be read: the `}` of a `${` is missing"
    );
}

#[test]
fn user_env_and_health() {
    let user = |text: &str| {
        let user = of(text).user;
        let value = user.value.clone().unwrap_or_else(|_| "?".to_owned());
        format!("{value} {:?} {}", user.written, user.is_root())
    };
    for (text, want) in [
        ("FROM plain", " None true"),
        ("FROM both", "7:8 None false"),
        ("FROM both\nUSER root:x", "root:x Some(\"root:x\") true"),
        ("FROM both\nUSER 0", "0 Some(\"0\") true"),
        (
            "FROM plain\nENV U=me\nUSER ${U}:x",
            "me:x Some(\"${U}:x\") false",
        ),
        ("FROM plain\nENV U=me\nUSER $U\nENV U=you", "me None false"),
        (
            "FROM plain\nARG U=me\nUSER $U\nENV V=you",
            "me Some(\"$U\") false",
        ),
        (
            "FROM plain AS a\nARG U=me\nUSER $U\nFROM a",
            "me None false",
        ),
        (
            "ARG U=me\nFROM plain\nARG U\nENV W=$U\nUSER $W",
            "me Some(\"$W\") false",
        ),
        (
            "FROM plain\nENV U=me\nARG U=you\nUSER $U",
            "me Some(\"$U\") false",
        ),
        ("FROM far\nUSER $U", "? Some(\"$U\") false"),
        ("FROM far", "? None false"),
        ("FROM trigger", "9 None false"),
    ] {
        assert_eq!(user(text), want, "{text}");
    }
    let env = of("FROM both\nENV A=1 B=\"$A 2\" C=$PATH\nENV D x  $A\nARG E=3\n").env;
    let env: Vec<String> = env
        .iter()
        .map(|(name, value)| format!("{name}={}", value.as_deref().unwrap_or("?")))
        .collect();
    assert_eq!(env, ["A=1", "B= 2", "C=/bin", "D=x  1", "PATH=/bin"]);

    assert_eq!(of("FROM plain").health, Ok(Health::Unset));
    assert_eq!(of("FROM trigger").health, Ok(Health::Set));
    assert_eq!(
        of("FROM plain\nhealthcheck none").health,
        Ok(Health::Disabled)
    );
    assert_eq!(
        of("FROM plain\nHEALTHCHECK --interval=5s CMD x").health,
        Ok(Health::Set)
    );
    assert!(of("FROM far").health.is_err());
}

#[test]
fn what_no_builder_takes_has_its_line() {
    let problems = run(
        "FROM plain\nSHELL sh\nCMD [1]\nUSER 'x\nENTRYPOINT [\"a\", null]",
        &Build::default(),
    );
    let told: Vec<String> = problems
        .unwrap_err()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        told,
        [
            "Dockerfile:2:1: SHELL wants a JSON array, as in `SHELL [\"/bin/sh\", \"-c\"]`",
            "Dockerfile:3:1: CMD has 1 in its JSON array; expected strings only: write \"1\"",
            "Dockerfile:4:1: USER cannot be read: a single quote is not closed",
            "Dockerfile:5:1: ENTRYPOINT has null in its JSON array; expected strings only: write \"null\"",
        ]
    );
}
