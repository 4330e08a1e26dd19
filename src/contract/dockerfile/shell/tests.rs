//! Variables in words, with the defaults and patterns of the shell.

use super::*;

fn shell(text: &str) -> Result<String, Fault> {
    let variable = |name: &str| match name {
        "A" => Variable::Set("a".to_owned()),
        "PATH_" => Variable::Set("usr/lib/x.tar.gz".to_owned()),
        "EMPTY" => Variable::Set(String::new()),
        "LATER" => Variable::Unknown,
        _ => Variable::Unset,
    };
    Shell {
        escape: '\\',
        keeps_quotes: false,
        keeps_escapes: false,
        keeps_unset: false,
        variable: &variable,
    }
    .expand(text)
}

#[test]
fn what_builders_make_of_words() {
    for (text, value) in [
        ("x", "x"),
        ("$A", "a"),
        ("${A}b$A", "aba"),
        ("$Ab", ""),
        ("\\$A", "$A"),
        ("'$A'", "$A"),
        ("\"$A b\\\"\"", "a b\""),
        ("\"a\\b\"", "a\\b"),
        ("d\\ e", "d e"),
        ("$", "$"),
        ("a$/", "a$/"),
        ("${A:-d}", "a"),
        ("${B:-d}", "d"),
        ("${B-$A}", "a"),
        ("${B:-${C:-${A}}}", "a"),
        ("${EMPTY:-d}", "d"),
        ("${EMPTY-d}", ""),
        ("${EMPTY+d}", "d"),
        ("${EMPTY:+d}", ""),
        ("${A:+d}", "d"),
        ("${A:?no}", "a"),
        ("${PATH_#*/}", "lib/x.tar.gz"),
        ("${PATH_##*/}", "x.tar.gz"),
        ("${PATH_%.*}", "usr/lib/x.tar"),
        ("${PATH_%%.*}", "usr/lib/x"),
        ("${PATH_/r*b/-}", "us-/x.tar.gz"),
        ("${PATH_//./_}", "usr/lib/x_tar_gz"),
        ("x\\", "x"),
    ] {
        assert_eq!(shell(text).as_deref(), Ok(value), "{text}");
    }
    for text in [
        "'a", "\"a", "${", "${A", "${A:", "${}", "${A^}", "${B:?no}", "${A:-",
    ] {
        assert!(matches!(shell(text), Err(Fault::Syntax(_))), "{text}");
    }
    assert_eq!(shell("$LATER"), Err(Fault::Unknown("LATER".to_owned())));
    assert_eq!(shell("'$LATER'").as_deref(), Ok("$LATER"));
    assert!(shell(&"${A:-".repeat(10_000)).is_err());
}

#[test]
fn words_are_split_outside_of_quotes() {
    let shell = Shell {
        escape: '\\',
        keeps_quotes: true,
        keeps_escapes: true,
        keeps_unset: true,
        variable: &|_| Variable::Unset,
    };
    assert_eq!(
        shell
            .words("  cat <<'E F'  \"x y\" a\\ b $X ${Y:-z}")
            .unwrap(),
        ["cat", "<<'E F'", "\"x y\"", "a\\ b", "$X", "${Y:-z}"]
    );
}
