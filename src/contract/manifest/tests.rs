//! The contract file by tables: every sample of the documentation, shapes of real files, calls, and
//! variables; and by properties: no panic, no accepted nonsense, no word split again.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt as _;

use proptest::prelude::*;

use super::bind::{Call, Image};
use super::shape::{Kind, Place};
use super::*;
use crate::contract::schema::Schema;

/// The samples of the documentation (`asyncy.yml`), as they stand there.
const SAMPLES: &[&str] = &[
    "
commands:
  go:
    help: Short description
    args:
      - name: foo
        type: string
        required: false # default
        help: Short description
      - bar # basic argument, description only
    kwargs:
      - name: block
        type: json
    result:
      type: json
",
    "
commands:
  go:
    args:
      - foo:string
      - bar
",
    r"
commands:
  go:
    args:
      - name: color hex
        type: string
        pattern: '^\#?\w{6}$'
",
    "
commands:
  go:
    args:
      - name: choose
        type: string
        enum:
          - this
          - that
",
    "
commands:
  go:
    format: '{bar} {foo} * **' # default
    args:
      - foo
      - bar
",
    "
commands:
  go:
    additional_args:
      type: string
    additional_kwargs: false
",
    "
env:
  access_token:
    type: string # define the object type: string, int, list
    pattern: \"^key_\" # regexp validation
    required: true # default
    help: |
      Description of how the user should produce this variable
",
    "
volumes:
  story:
    dest: /tmp/session
    mode: rw
",
    "
volumes:
  repo:
    dest: /tmp/repository
    mode: rw
",
    "
volumes:
  foobar: # custom title
    dest: /var/data
",
    "
scale:
  # [TODO]
",
    "
ports:
  - 8080
",
    "
system:
  cpu: 1 # default
  gpu: 0 # default
  memory: 250GB # default
",
    "
lifecycle:
  startup: ./startup.sh
  shutdown: ./shutdown.sh
",
    "
cap:
  - chown
",
];

fn parsed(text: &str) -> Parsed {
    parse(Path::new("asyncy.yml"), text.as_bytes()).unwrap_or_else(|rejected| {
        let told: Vec<_> = rejected.problems.iter().map(ToString::to_string).collect();
        panic!("{told:#?}\n{text}")
    })
}

fn good(text: &str) -> Manifest {
    parsed(text).manifest
}

/// What is odd about a contract, doubts included.
fn warnings(text: &str) -> Vec<String> {
    let Parsed {
        doubts, warnings, ..
    } = parsed(text);
    let all = doubts.iter().chain(&warnings);
    all.map(ToString::to_string).collect()
}

fn bad(text: &str) -> Vec<String> {
    match parse(Path::new("asyncy.yml"), text.as_bytes()) {
        Ok(_) => panic!("accepted:\n{text}"),
        Err(rejected) => rejected.problems.iter().map(ToString::to_string).collect(),
    }
}

fn words(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

/// What a call comes to, in words: the argv, `help …`, or the problems.
fn call(contract: &str, argv: &[&str]) -> Vec<String> {
    call_with(contract, argv, None)
}

fn call_with(contract: &str, argv: &[&str], prefix: Option<usize>) -> Vec<String> {
    let manifest = good(contract);
    let image = Image {
        prefix,
        is_program: &|word| word == "python" || word == "sh",
        is_file: &|word| word == "app.py" || word == "/srv/x.py",
        place: &Place::NOWHERE,
    };
    let argv = words(argv);
    match manifest.commands.unwrap().bind(&argv, &image) {
        Call::Run(_, words) => words
            .into_iter()
            .map(|word| word.into_string().unwrap())
            .collect(),
        Call::Help(None) => vec!["help".to_owned()],
        Call::Help(Some(command)) => vec![format!("help {}", command.name)],
        Call::Wrong(_, problems) => {
            assert!(!problems.is_empty());
            problems.iter().map(|told| format!("! {told}")).collect()
        }
    }
}

#[track_caller]
fn assert_calls(contract: &str, table: &[(&str, &str)]) {
    for (argv, outcome) in table {
        let argv: Vec<_> = argv.split(' ').filter(|word| !word.is_empty()).collect();
        assert_eq!(call(contract, &argv).join(" "), *outcome, "{argv:?}");
    }
}

#[track_caller]
fn assert_wrong(contract: &str, argv: &[&str], fragments: &[&str]) {
    let told = call(contract, argv);
    assert_eq!(told.len(), fragments.len(), "{told:#?}");
    for (told, fragment) in told.iter().zip(fragments) {
        assert!(
            told.starts_with("! ") && told.contains(fragment),
            "{told:?} lacks {fragment:?}"
        );
    }
}

#[test]
fn every_sample_of_the_documentation_is_taken_without_a_word() {
    let schema = Schema::compile(&schema::generate()).unwrap();
    for sample in SAMPLES {
        assert_eq!(warnings(sample), Vec::<String>::new(), "{sample}");
        let tree = text::parse(sample.as_bytes(), None, Snippet::Shown)
            .unwrap()
            .value;
        schema
            .check(&tree, |_| false)
            .unwrap_or_else(|told| panic!("{told:?}\n{sample}"));
    }
    // All of them in one file, the commands under names of their own.
    let all: String = SAMPLES
        .iter()
        .filter(|s| !s.contains("commands:") && !s.contains("repo:") && !s.contains("foobar:"))
        .copied()
        .collect();
    let manifest = good(&all);
    assert_eq!(manifest.ports.len(), 1);
    assert!(manifest.environment.is_some() && manifest.lifecycle.startup.is_some());
}

#[test]
fn a1_a4_a9_the_first_sample_binds_as_it_says() {
    assert_calls(
        SAMPLES[0],
        &[
            ("go", "go"),
            ("go a", "go a"),
            ("go a b", "go a b"),
            ("go a b c", "go a b c"),
            ("go a --block {\"x\":[1]} b", "go a b --block {\"x\":[1]}"),
            ("go --block=[1,2] a", "go a --block [1,2]"),
            ("go -- --block a", "go -- --block a"),
            ("go --help", "help go"),
            ("--help", "help"),
            ("/app go a", "/app go a"),
        ],
    );
    assert_wrong(
        SAMPLES[0],
        &["go", "--block", "{x}"],
        &["option `--block` must be JSON"],
    );
    assert_wrong(
        SAMPLES[0],
        &["go", "--block"],
        &["option `--block` needs a value; expected json"],
    );
    assert_wrong(
        SAMPLES[0],
        &["og", "a"],
        &["`og` is no command of this container; expected one of go; did you mean `go`?"],
    );
}

#[test]
fn a4_items_come_in_many_forms() {
    for items in [
        "[foo:int, bar]",
        "[{name: foo, type: int}, {name: bar}]",
        "[{foo: int}, bar]",
        "[{foo: {type: int}}, {bar: }]",
        "{foo: int, bar: }",
        "{foo: {type: int}, bar: {type: any}}",
        "[foo: int, bar]",
    ] {
        let contract = format!("commands: {{go: {{args: {items}}}}}");
        assert_calls(&contract, &[("go 1 x", "go 1 x")]);
        assert_wrong(
            &contract,
            &["go", "x", "y"],
            &["argument `foo` must be a whole number"],
        );
    }
}

#[test]
fn a3_the_entrypoint_takes_what_names_no_command_and_loses_no_name() {
    for contract in [
        "entrypoint: {args: [n:int], kwargs: [k:string]}",
        "commands: {entrypoint: {args: [n:int], kwargs: [k:string]}}",
    ] {
        assert_calls(
            contract,
            &[
                ("/app 5", "/app 5"),
                ("/app --k v 5", "/app 5 --k v"),
                ("/app --help", "help"),
                ("--help", "help"),
            ],
        );
        assert_wrong(
            contract,
            &["/app", "x"],
            &["argument `n` must be a whole number"],
        );
    }
    let both = "commands: {go: {args: [a:int]}, entrypoint: }";
    assert_calls(
        both,
        &[
            ("/app go 1", "/app go 1"),
            ("/app stop", "/app stop"),
            ("go 1", "go 1"),
            ("stop", "stop"),
        ],
    );
    assert_wrong(both, &["/app", "go", "x"], &["argument `a`"]);
}

#[test]
fn a3_the_words_of_the_image_are_told_from_those_of_the_caller() {
    let contract = "commands: {go: {args: [n:int]}, stop: }";
    assert_calls(
        contract,
        &[
            ("python /srv/x.py go 1", "python /srv/x.py go 1"),
            ("python app.py go 1", "python app.py go 1"),
            ("/app stop", "/app stop"),
            ("python app.py --help", "help"),
            ("sh stop", "sh stop"),
            ("stop", "stop"),
        ],
    );
    for (argv, told) in [
        (&["/app", "og"][..], "neither `/app` nor `og` is a command"),
        (&["/app"], "no command given after `/app`"),
        (&[], "no command given;"),
        (&["sh", "-c", "ls"], "neither `sh` nor `-c`"),
        (&["frobnicate", "go"], "`frobnicate` is no command"),
    ] {
        assert_wrong(contract, argv, &[told]);
    }
    // Whoever says how many words are the image's is believed.
    let argv = ["app", "go", "go", "7"];
    assert_eq!(call_with(contract, &argv, Some(2)), argv);
    assert!(call_with(contract, &["/app", "x", "go", "7"], Some(1))[0].contains("nor `x`"));
    let entrypoint = "entrypoint: {args: [n:int]}";
    assert_eq!(
        call_with(entrypoint, &["python", "-m", "m", "7"], Some(3)).len(),
        4
    );
}

#[test]
fn a5_missing_required_arguments_are_told_all_at_once() {
    let contract = "
commands:
  go:
    args:
      - {name: a, required: true, type: int}
      - {name: b, required: true}
    kwargs:
      - {name: k, required: true, type: [int, boolean]}
      - {name: l, required: true, enum: [x, y]}
      - {name: m, required: true, default: 3}
";
    assert_wrong(
        contract,
        &["go"],
        &[
            "argument `a` is missing; expected int",
            "argument `b` is missing",
            "option `--k` is missing; expected int or boolean",
            "option `--l` is missing; expected one of x, y",
        ],
    );
    assert_wrong(
        contract,
        &["go", "x", "y", "--k", "z", "--l", "z"],
        &["argument `a`", "option `--l` must be one of x, y"],
    );
    assert_calls(contract, &[("go 1 2 --k --l x", "go 1 2 --k --l x --m 3")]);
    let warned = warnings("commands: {go: {args: [a, {name: b, required: true}]}}");
    assert!(
        warned[0].contains("`b` is required but comes after `a`"),
        "{warned:?}"
    );
}

#[test]
fn a6_keyword_arguments_in_every_spelling() {
    let contract = "commands: {go: {args: [a], kwargs: [dry_run:boolean, max-n:int, text:string]}}";
    assert_calls(
        contract,
        &[
            ("go --dry_run", "go --dry_run"),
            ("go --dry-run x", "go x --dry_run"),
            ("go --dry-run=true x", "go x --dry_run"),
            ("go --dry-run true x", "go x --dry_run"),
            ("go --dry-run=false x", "go x"),
            ("go --dry-run false x", "go x"),
            ("go --max_n 5", "go --max-n 5"),
            ("go --max-n=-5", "go --max-n -5"),
            ("go --max-n -5", "go --max-n -5"),
            ("go --text=--x", "go --text --x"),
            ("go --text=", "go --text "),
            ("go --text=a=b", "go --text a=b"),
            ("go --text -x --max-n 1 y", "go y --text -x --max-n 1"),
            ("go -x -- --text", "go -x -- --text"),
        ],
    );
    assert_wrong(
        contract,
        &["go", "--max-n", "--text", "x"],
        &["`--max-n` needs a value"],
    );
    assert_wrong(
        contract,
        &["go", "--max-n=1", "--max_n=2"],
        &["`--max-n` is given twice"],
    );
    assert_wrong(
        contract,
        &["go", "--dry-run=maybe"],
        &["must be `true` or `false`"],
    );
}

#[test]
fn a14_the_order_of_the_call_is_kept() {
    let contract = "commands: {go: {kwargs: [a, b, c]}}";
    assert_calls(
        contract,
        &[("go --c 1 --a 2 --zz 3 --b 4", "go --c 1 --a 2 --zz 3 --b 4")],
    );
}

#[test]
fn a13_the_format_decides_the_order() {
    assert_calls(
        SAMPLES[4],
        &[
            ("go F B", "go B F"),
            ("go F B x --k v y", "go B F x y --k v"),
            ("go F", "go F"),
            ("go", "go"),
        ],
    );
    let contract = "
commands:
  go:
    args: [{name: color hex}, n]
    kwargs: [{name: out, default: o.txt}, {name: v, type: boolean}]
    format: '--color={color hex} --out={out} * -- **'
";
    let argv = ["go", "a b", "1", "--v", "--out", "x y"];
    let words = ["go", "--color=a b", "--out=x y", "1", "--", "--v"];
    assert_eq!(call(contract, &argv), words);
    assert_eq!(call(contract, &["go"]), ["go", "--out=o.txt", "--"]);
    for (format, told) in [
        ("{x", "without its `}`"),
        ("{nope}", "neither an argument nor a keyword argument"),
        ("* *", "more than once"),
    ] {
        let told_all = bad(&format!(
            "commands: {{go: {{args: [a], format: '{format}'}}}}"
        ));
        assert!(
            told_all[0].contains(told) && told_all[0].contains("`commands.go.format`"),
            "{told_all:?}"
        );
    }
    let lost = "commands: {go: {args: [a, b], kwargs: [k], format: '{a}'}}";
    assert_eq!(warnings(lost).len(), 2, "{:?}", warnings(lost));
    assert_wrong(lost, &["go", "1", "2"], &["no place for it"]);
    assert_wrong(lost, &["go", "1", "--k", "2"], &["no place for it"]);
    assert_wrong(
        "commands: {go: {args: [a], format: '{a}'}}",
        &["go", "1", "2"],
        &["too many"],
    );
}

#[test]
fn a15_more_than_is_declared_may_be_refused_or_typed() {
    assert_calls(SAMPLES[5], &[("go a b", "go a b"), ("go", "go")]);
    assert_wrong(
        SAMPLES[5],
        &["go", "--colour", "x"],
        &["unknown option `--colour`"],
    );
    let strict = "commands: {go: {args: [a], additional_args: false, kwargs: [color], additional_kwargs: false}}";
    assert_wrong(
        strict,
        &["go", "1", "2", "3"],
        &["too many arguments: 3 given, at most 1 taken"],
    );
    assert_wrong(
        strict,
        &["go", "--colr", "x"],
        &["unknown option `--colr`; did you mean `--color`?"],
    );
    let typed =
        "commands: {go: {args: [a], additional_args: {type: int}, additional_kwargs: {type: int}}}";
    assert_calls(typed, &[("go x 1 2 --k 3", "go x 1 2 --k 3")]);
    assert_wrong(
        typed,
        &["go", "x", "1", "y", "--k", "z"],
        &[
            "argument 3 must be a whole number",
            "option `--k` must be a whole number",
        ],
    );
    for any in ["true", "", "any", "{}"] {
        let contract =
            format!("commands: {{go: {{additional_args: {any}, additional_kwargs: {any}}}}}");
        assert_calls(
            &contract,
            &[("go a --b c", "go a --b c"), ("go --flag", "go --flag")],
        );
    }
}

#[test]
fn a6_defaults_stand_where_they_would_have_been_given() {
    let contract = "commands: {go: {args: [a, {name: b, default: B}], kwargs: [{name: n, type: int, default: 3}, {name: f, type: boolean, default: true}]}}";
    assert_calls(
        contract,
        &[
            ("go x", "go x B --n 3 --f"),
            // Without the first the second has no place.
            ("go", "go --n 3 --f"),
            ("go x y --n 4 --f=false", "go x y --n 4"),
        ],
    );
    assert!(
        bad("commands: {go: {args: [{name: a, type: int, default: x}]}}")[0]
            .contains("the default must be a whole number")
    );
}

#[test]
fn words_that_are_no_text_go_on_untouched() {
    let manifest = good("commands: {go: {args: [a], kwargs: [k]}}");
    let raw = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
    let argv = [
        raw(b"go"),
        raw(b"\xff a"),
        raw(b"--k=\xfe"),
        raw(b"--\xfd"),
        raw(b"v"),
    ];
    let image = Image {
        prefix: None,
        is_program: &|_| false,
        is_file: &|_| false,
        place: &Place::NOWHERE,
    };
    let commands = manifest.commands.unwrap();
    let Call::Run(_, out) = commands.bind(&argv, &image) else {
        panic!("refused");
    };
    assert_eq!(
        out,
        [
            raw(b"go"),
            raw(b"\xff a"),
            raw(b"--k"),
            raw(b"\xfe"),
            raw(b"--\xfd"),
            raw(b"v")
        ]
    );
}

#[test]
fn shapes_of_real_files_are_taken() {
    let text = r"
app_name: demo
stories: [a.story]
entrypoint:
  help: Runs
  args: {url: }
commands:
  mb:
  get: {args: [{name: path, type: 'file, dir, string'}, {name: level, type: enum, values: [1, 2, high]}]}
  phone:
    args: [{name: number, pattern: '/^+\d+$/'}]
    additional_args: true
volume: true
env:
  API_KEY:
  PORT: {default: 8080, type: int}
  database:
    DB_HOST: {type: string, help: where}
    DB_PORT:
  MODE: string
  LIMIT: 5
metrics: 9102
";
    let Parsed {
        manifest, warnings, ..
    } = parsed(text);
    let told: Vec<_> = warnings.iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 2, "{told:#?}");
    assert!(
        told[0].contains("without its delimiters") && told[0].starts_with("asyncy.yml:11:"),
        "{told:?}"
    );
    assert!(
        told[1].contains("`env.LIMIT`: is taken as the default"),
        "{told:?}"
    );
    let commands = manifest.commands.unwrap();
    let names: Vec<_> = commands.named.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["mb", "get", "phone"]);
    assert!(commands.entrypoint.is_some());
    let get = commands.get("get").unwrap();
    assert_eq!(
        get.args[0].shape.kinds,
        [Kind::File, Kind::Folder, Kind::String]
    );
    assert_eq!(
        get.args[1].shape.choices.as_deref().unwrap(),
        ["1", "2", "high"]
    );
    let env = manifest.environment.unwrap();
    let all: Vec<_> = env
        .variables
        .iter()
        .map(|v| (v.name.as_str(), v.required, v.default.as_deref()))
        .collect();
    assert_eq!(
        all,
        [
            ("API_KEY", true, None),
            ("PORT", false, Some("8080")),
            ("DB_HOST", true, None),
            ("DB_PORT", true, None),
            ("MODE", true, None),
            ("LIMIT", false, Some("5")),
        ]
    );
}

#[test]
fn a2_nothing_declared_is_nothing_checked() {
    for text in [
        "",
        "# only a comment\n",
        "commands:\n",
        "help: x\n",
        "env:\n",
        "{}",
    ] {
        let manifest = good(text);
        assert_eq!(manifest.commands, None, "{text:?}");
    }
    assert_eq!(good("").environment, None);
    assert_eq!(good("env:\n").environment, Some(Environment::default()));
}

#[test]
fn unknown_keys_are_warnings_with_the_near_one() {
    let told = warnings(
        "comands: {}\nlifecycle: {startup: x, shutdwn: y}\nsystem: {cpus: 1}\nx-mine: 1\n",
    );
    assert_eq!(
        told,
        [
            "asyncy.yml:1:1: `comands`: unknown key, ignored; did you mean `commands`?"
                .replace("1:1", "1:10"),
            "asyncy.yml:2:34: `lifecycle.shutdwn`: unknown key, ignored; did you mean `shutdown`?"
                .to_owned(),
            "asyncy.yml:3:16: `system.cpus`: unknown key, ignored; did you mean `cpu`?".to_owned(),
        ]
    );
    let told = warnings("commands: {go: {args: [{name: a, type: strnig}]}}");
    assert!(
        told[0].contains("unknown type `strnig`, taken as any; did you mean `string`?"),
        "{told:?}"
    );
}

#[test]
fn all_problems_come_at_once_each_with_its_line() {
    let told = bad("
commands:
  go:
    args: [{name: a, pattern: '(?=x)'}, {type: int}, 'a', {name: a}]
    kwargs: 5
    format: '{zzz}'
env: [A, A, 'B=', {name: 'x=y'}]
ports: [0, 8080, 'http', 99999]
system: {cpu: many, memory: 1XB, gpu: -1}
volumes: {a: {dest: relative}, b: {mode: rw}, c: {dest: /x, mode: r}}
cap: [chwon]
lifecycle: {startup: {timeout: x}, shutdown: []}
scale: {min: 3, max: 1}
");
    let lines: Vec<_> = told
        .iter()
        .map(|told| told.split(':').nth(1).unwrap())
        .collect();
    assert_eq!(told.len(), 22, "{told:#?}");
    let numbers: Vec<u32> = lines.iter().map(|line| line.parse().unwrap()).collect();
    assert!(numbers.is_sorted(), "{told:#?}");
    assert!(
        lines
            .iter()
            .all(|line| line.parse::<u32>().is_ok_and(|line| line >= 4)),
        "{told:#?}"
    );
    for fragment in [
        "E_REGEX: look-around",
        "`cap[0]`: unknown capability `chwon`; did you mean `chown`?",
        "`ports[3]`",
        "`lifecycle.startup.timeout`",
        "`system.memory`",
    ] {
        assert!(
            told.iter().any(|told| told.contains(fragment)),
            "{fragment}: {told:#?}"
        );
    }
    assert!(bad("- a list")[0].contains("expected a map"));
    assert!(bad("a: [")[0].starts_with("asyncy.yml:"));
}

/// The variables that a command gets, or the problems.
fn environment(contract: &str, given: &[(&str, &str)], also: &[&str]) -> Vec<String> {
    let Parsed { manifest, .. } = parsed(contract);
    let env = manifest.environment.unwrap();
    let lookup = |name: &str| {
        let found = given.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| OsString::from(value))
    };
    let mut report = Report::new(&manifest.file, &manifest.source);
    env.check(&lookup, &Place::NOWHERE, &mut report);
    if !report.problems.is_empty() {
        return report.problems.iter().map(ToString::to_string).collect();
    }
    let all = given
        .iter()
        .map(|(name, value)| (name.into(), value.into()));
    let also: Vec<_> = also.iter().map(|&name| name.to_owned()).collect();
    let kept = env.filter(all.collect(), &also);
    let show =
        |(name, value): &(OsString, OsString)| format!("{}={}", name.display(), value.display());
    let mut shown: Vec<_> = kept.iter().map(show).collect();
    shown.sort();
    shown
}

#[test]
fn a20_every_missing_and_invalid_variable_is_told_with_its_help_and_no_value() {
    let contract = "
env:
  access_token:
    type: string
    pattern: '^key_'
    help: |
      Ask the
      operator.
  COUNT: {type: int}
  LIST: {type: list}
  NAME:
  OPT: {type: int, required: false}
";
    let told = environment(
        contract,
        &[
            ("access_token", "s3cret"),
            ("COUNT", "s3cret"),
            ("LIST", "1,2,s3cret"),
        ],
        &[],
    );
    assert_eq!(
        told,
        [
            "asyncy.yml:4:5: `env.access_token`: the environment variable access_token must match the pattern ^key_: Ask the operator.",
            "asyncy.yml:9:10: `env.COUNT`: the environment variable COUNT must be a whole number",
            "asyncy.yml:10:9: `env.LIST`: the environment variable LIST must be a JSON array such as [1,2,3]",
            "asyncy.yml:11:8: `env.NAME`: the environment variable NAME (string) is not set; set it with `docker run -e NAME=…`",
        ]
    );
}

#[test]
fn a21_a22_a23_a24_the_command_gets_what_is_declared_and_the_base_set() {
    let contract = "
env_passthrough: ['APP_*', 'X?']
env:
  KEY:
  PORT: {type: int, default: 80}
  ITEMS: {type: list}
  GONE: {required: false}
";
    let given = [
        ("PATH", "/bin"),
        ("HOME", "/root"),
        ("LC_ALL", "C"),
        ("KEY", "v"),
        ("ITEMS", "[1,2,3]"),
        ("SECRET", "s"),
        ("APP_A", "1"),
        ("XY", "2"),
        ("XYZ", "3"),
        ("DISCO_CFG", "c"),
        ("DISCO_X", "c"),
        ("IMAGE_VAR", "4"),
    ];
    assert_eq!(
        environment(contract, &given, &["IMAGE_*"]),
        [
            "APP_A=1",
            "HOME=/root",
            "IMAGE_VAR=4",
            "ITEMS=[1,2,3]",
            "KEY=v",
            "LC_ALL=C",
            "PATH=/bin",
            "PORT=80",
            "XY=2",
        ]
    );
    assert_eq!(
        environment("env: {DISCO_CFG: }", &given, &["*"])
            .iter()
            .filter(|pair| pair.starts_with("DISCO_"))
            .count(),
        0
    );
    assert_eq!(
        environment("env:\n", &given, &[]),
        ["HOME=/root", "LC_ALL=C", "PATH=/bin"]
    );
}

#[test]
fn a25_a_variable_may_be_set_in_upper_case() {
    let contract = "env: {access_token: }";
    assert_eq!(
        environment(contract, &[("ACCESS_TOKEN", "u")], &[]),
        ["ACCESS_TOKEN=u", "access_token=u"]
    );
    assert_eq!(
        environment(
            contract,
            &[("ACCESS_TOKEN", "u"), ("access_token", "l")],
            &[]
        ),
        ["access_token=l"]
    );
    let upper = "env_case: upper\nenv: {access_token: }";
    assert_eq!(
        environment(upper, &[("access_token", "l")], &[]),
        ["ACCESS_TOKEN=l"]
    );
    assert_eq!(
        environment("env: {a: , A: }", &[("A", "1")], &[]),
        ["A=1", "a=1"]
    );
}

#[test]
fn a40_a50_a70_what_is_asked_of_the_surroundings() {
    let manifest = good("
volumes: {story: {dest: /tmp/s}, cache: {target: /c, mode: ro, persist: true}, v: '/v:ro', w: /w}
ports: [8080, '8081:80', '53/udp', 8080]
system: {cpu: 500m, memory: 256MB, gpu: 1, enforce: fail}
scale: {min: 2, max: 5, metric: mem, agg: max, value: 70, cooldown: 2m, schedules: [{cron: '0 8 * * 1-5', number: 4, tz: UTC}]}
");
    let volumes: Vec<_> = manifest
        .volumes
        .iter()
        .map(|v| (v.name.as_str(), v.dest.as_str(), v.writable))
        .collect();
    assert_eq!(
        volumes,
        [
            ("story", "/tmp/s", true),
            ("cache", "/c", false),
            ("v", "/v", false),
            ("w", "/w", true)
        ]
    );
    let ports: Vec<_> = manifest.ports.iter().map(ToString::to_string).collect();
    assert_eq!(ports, ["8080/tcp", "80/tcp", "53/udp"]);
    assert_eq!(manifest.ports[1].host, Some(8081));
    assert_eq!(
        manifest.system,
        System {
            processors: Some(500),
            gpus: Some(1),
            memory: Some(256_000_000),
            enforce: true
        }
    );
    let scale = manifest.scale.unwrap();
    assert_eq!(
        (scale.min, scale.max, scale.value, scale.schedules.len()),
        (2, Some(5), 70, 1)
    );
    assert_eq!(good("scale: 3").scale.unwrap().desired, Some(3));
    assert_eq!(warnings("scale: [TODO]").len(), 1);
}

#[test]
fn a90_a100_hooks_and_capabilities() {
    let manifest = good(
        "
lifecycle:
  startup: {command: [./a, b c], timeout: 30s}
  shutdown: {command: 'x && y', before: true}
cap: [chown, CAP_KILL, Net_Bind_Service]
",
    );
    let startup = manifest.lifecycle.startup.unwrap();
    assert_eq!(startup.argv, ["./a", "b c"]);
    assert_eq!(startup.timeout, std::time::Duration::from_secs(30));
    let shutdown = manifest.lifecycle.shutdown.unwrap();
    assert_eq!(
        (shutdown.argv.len(), shutdown.is_shell, shutdown.before),
        (3, true, true)
    );
    assert_eq!(shutdown.timeout, lifecycle::TIMEOUT);
    assert_eq!(
        manifest
            .capabilities
            .unwrap()
            .named
            .numbers()
            .collect::<Vec<_>>(),
        [0, 5, 10]
    );
    assert_eq!(good("cap: []").capabilities, Some(List::default()));
    assert_eq!(good("cap:\n").capabilities, Some(List::default()));
    assert_eq!(good("cap: default").capabilities, None);
    assert_eq!(good("").capabilities, None);
}

#[test]
fn usage_tells_all_that_a_caller_needs() {
    let manifest = good(
        "
help: Colours things.
commands:
  go:
    help: |
      Paints.

      More words.
    args:
      - {name: color hex, type: string, pattern: '^#', required: true, help: the colour}
      - choose: {enum: [this, that]}
    kwargs:
      - {name: block, type: json}
      - {name: fast, type: boolean, default: true}
      - {name: a_name_that_is_longer_than_the_column, type: int, help: long}
    result: {type: json, help: what was painted}
    additional_kwargs: false
  stop:
",
    );
    let commands = manifest.commands.clone().unwrap();
    let text = usage::container(&commands, &manifest);
    assert_eq!(
        text,
        "\
Usage: docker run IMAGE COMMAND [ARGUMENTS...]

Colours things.

Commands:
  go    Paints.
  stop

`docker run IMAGE COMMAND --help` tells more about one.
"
    );
    let text = usage::command(commands.get("go").unwrap());
    assert_eq!(text, "\
Usage: docker run IMAGE go <color hex> [choose] [ARGUMENTS...] [--block JSON] [--fast] [--a_name_that_is_longer_than_the_column INT]

Paints.

More words.

Arguments:
  color hex  the colour (string; matches ^#; required)
  choose     (one of this, that)

Options:
  --block JSON  (json)
  --fast        (boolean; default true)
  --a_name_that_is_longer_than_the_column INT
                long (int)

Result:
  json  what was painted
");
    let one = good("help: Runs.\nentrypoint: {args: [url]}");
    let text = usage::container(&one.commands.clone().unwrap(), &one);
    assert!(
        text.starts_with(
            "Usage: docker run IMAGE [url] [ARGUMENTS...] [--OPTION VALUE...]\n\nRuns.\n"
        ),
        "{text}"
    );
}

#[test]
fn the_later_names_are_told_from_ours_by_their_keys() {
    assert!(foreign_keys(b"commands: {go: }\nenv: {A: }\n").is_empty());
    assert_eq!(
        foreign_keys(b"oms: 1\nactions: {a: {http: {}}}\nenvironment: {}\n"),
        ["oms", "actions"]
    );
    assert!(foreign_keys(b"not: [closed").is_empty());
    let env = good("environment: {A: {type: int, required: false}}")
        .environment
        .unwrap();
    assert_eq!(env.variables.len(), 1);
}

#[test]
fn the_schema_that_is_shipped_is_the_generated_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/contract/asyncy.schema.json");
    let text = serde_json::to_string_pretty(&schema::generate()).unwrap() + "\n";
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let shipped = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        shipped == text,
        "asyncy.schema.json is not up to date; run this test with UPDATE=1"
    );
}

#[test]
fn a15_what_a_format_has_no_place_for_is_never_dropped() {
    let contract = "commands: {go: {args: [foo], additional_args: {type: int}, format: '{foo}'}}";
    assert_calls(contract, &[("go a", "go a")]);
    assert_wrong(
        contract,
        &["go", "a", "1", "2"],
        &["too many arguments: 3 given, at most 1"],
    );
    let strict = "commands: {go: {args: [a], additional_args: no, additional_kwargs: off}}";
    assert_wrong(
        strict,
        &["go", "1", "2", "3", "--tims", "x"],
        &[
            "unknown option `--tims`",
            "too many arguments: 4 given, at most 1",
        ],
    );
    assert_wrong(
        strict,
        &["go", "1", "--tims", "x"],
        &["unknown option `--tims`"],
    );
}

#[test]
fn a6_what_comes_after_the_double_dash_is_no_option_for_the_program_either() {
    let contract = "commands: {go: {args: [file], kwargs: [k], additional_kwargs: false}}";
    assert_calls(
        contract,
        &[
            ("go -- --admin", "go -- --admin"),
            ("go -- a --admin", "go a -- --admin"),
            ("go --k v -- --admin", "go --k v -- --admin"),
            ("go -- a", "go a"),
            ("go -- -x", "go -x"),
        ],
    );
}

#[test]
fn a3_a_callers_words_do_not_get_by_as_the_images() {
    let contract =
        "commands: {go: {args: [n:int], additional_args: false, additional_kwargs: false}}";
    for argv in [
        &["/bin/echo", "--evil=1", "go", "5"][..],
        &["/bin/echo", "app.py", "app.py", "go", "5"],
        &["python", "-m", "go", "5"],
    ] {
        assert_eq!(call(contract, argv).len(), 1);
        assert!(call(contract, argv)[0].starts_with("! neither"), "{argv:?}");
    }
}

#[test]
fn a11_numbers_are_what_is_written() {
    let manifest = good(
        "
env:
  A: {default: 3.10}
  B: {default: 1e3}
  C: {default: 0x10}
  D: {enum: [3.10, 3.11, 010]}
  E: 1.50
  F: {default: &anchor 2.50}
  G: {default: *anchor}
",
    );
    let env = manifest.environment.unwrap();
    let default = |index: usize| env.variables[index].default.clone().unwrap();
    assert_eq!(
        [default(0), default(1), default(2)],
        ["3.10", "1e3", "0x10"]
    );
    assert_eq!(
        env.variables[3].shape.choices.as_deref().unwrap(),
        ["3.10", "3.11", "010"]
    );
    assert_eq!(default(4), "1.50");
    // What stands there is not the number itself.
    assert_eq!([default(5), default(6)], ["2.5", "2.5"]);
}

#[test]
fn what_is_most_likely_a_mistake_is_told_apart_from_what_is_odd() {
    let Parsed {
        doubts, warnings, ..
    } = parsed("comands: {}\nzzz: 1\ncommands: {go: {args: [{name: a, type: strnig}]}}");
    assert_eq!(
        (doubts.len(), warnings.len()),
        (2, 1),
        "{doubts:?} {warnings:?}"
    );
    // And told beside what makes the file unusable.
    let rejected = parse(Path::new("f"), b"comands: {}\nports: x\n").unwrap_err();
    assert_eq!((rejected.problems.len(), rejected.warnings.len()), (1, 1));
    let told = bad("commands: {go: {args: [{nmae: a}]}}");
    assert!(
        told[0].ends_with("or a map with `name`; did you mean `name`?"),
        "{told:?}"
    );
    assert!(bad("lifecycle: {startup: {command: x, timeout: 0}}")[0].contains("in no time"));
    assert!(bad("volumes: {a: {dest: /}}")[0].contains("not the root"));
}

#[test]
fn a80_health_in_its_forms() {
    use crate::contract::health::Check;
    let check = |text: &str| good(text).health.unwrap().check;
    let http = Check::Http {
        tls: false,
        host: "127.0.0.1".to_owned(),
        port: 8080,
        path: "/live".to_owned(),
    };
    assert_eq!(
        check("health: {http: {method: GET, port: 8080, path: live}}"),
        http
    );
    assert_eq!(check("health: {http: 'http://127.0.0.1:8080/live'}"), http);
    assert_eq!(
        check("health: ./probe -v"),
        Check::Command(vec!["./probe".to_owned(), "-v".to_owned()])
    );
    assert!(matches!(
        check("health: {command: 'a | b'}"),
        Check::Line(_)
    ));
    assert!(matches!(
        check("health: {tcp: 5432, timeout: 2s}"),
        Check::Tcp { port: 5432, .. }
    ));
    let told = bad("health: {http: {method: post, port: 1}}");
    assert!(
        told[0].contains("`health.http.method`: expected `get`"),
        "{told:?}"
    );
    assert!(bad("health: {http: {prot: 1}}")[0].contains("did you mean `port`?"));
}

#[test]
fn no_nesting_takes_the_parser_for_ever() {
    for open in ["[", "{a: ", "- "] {
        let _ = parse(Path::new("f"), open.repeat(100_000).as_bytes());
    }
}

#[test]
fn usage_names_the_variables_that_a_container_needs() {
    let manifest =
        good("commands: {go: }\nenv: {KEY: {pattern: ^k, help: Ask.}, N: {type: int, default: 3}}");
    let text = usage::container(&manifest.commands.clone().unwrap(), &manifest);
    assert!(
        text.contains(
            "\nEnvironment:\n  KEY  Ask. (matches ^k; required)\n  N    (int; default 3)\n"
        ),
        "{text}"
    );
}

/// A tree that resembles a contract closely enough to get far into the reader.
fn contract_like() -> impl Strategy<Value = Value> {
    let keys = prop::sample::select(vec![
        "commands",
        "env",
        "lifecycle",
        "cap",
        "system",
        "volumes",
        "ports",
        "scale",
        "go",
        "args",
        "kwargs",
        "name",
        "type",
        "pattern",
        "enum",
        "required",
        "default",
        "format",
        "help",
        "additional_args",
        "startup",
        "command",
        "timeout",
        "dest",
        "mode",
        "entrypoint",
        "result",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[ -~]{0,12}".prop_map(Value::from),
        prop::sample::select(vec![
            "string", "int", "list", "{a} *", "a:int", "/x", "chown", "5s"
        ])
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::Array),
            prop::collection::vec((keys.clone(), inner), 0..6).prop_map(|pairs| Value::Object(
                pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()
            )),
        ]
    })
}

proptest! {
    #[test]
    fn no_text_is_a_panic(text in "\\PC{0,200}") {
        let _ = parse(Path::new("asyncy.yml"), text.as_bytes());
    }

    #[test]
    fn no_tree_is_a_panic_and_what_is_taken_can_be_used(tree in contract_like(), argv in prop::collection::vec("[a-z=-]{0,6}", 0..6)) {
        let text = tree.to_string();
        if let Ok(Parsed { manifest, .. }) = parse(Path::new("asyncy.yml"), text.as_bytes()) {
            if let Some(commands) = &manifest.commands {
                let argv: Vec<OsString> = argv.iter().map(OsString::from).collect();
                let image = Image { prefix: None, is_program: &|_| true, is_file: &|_| false, place: &Place::NOWHERE };
                let _ = commands.bind(&argv, &image);
                let _ = usage::container(commands, &manifest);
            }
            if let Some(env) = &manifest.environment {
                let _ = env.filter(Vec::new(), &[]);
            }
        }
    }

    /// Whatever a caller writes, each word reaches the program whole, or not at all.
    #[test]
    fn a13_no_word_is_ever_split_or_joined(values in prop::collection::vec("[ '\"$;|&{}*=a-z\n-]{0,10}", 0..5)) {
        let manifest = good("commands: {go: {args: [a, b], kwargs: [k]}}");
        let values: Vec<_> = values.into_iter().filter(|v| !v.starts_with("--")).collect();
        let mut argv = vec!["go".to_owned()];
        argv.extend(values.iter().cloned());
        let argv: Vec<OsString> = argv.iter().map(OsString::from).collect();
        let image = Image { prefix: None, is_program: &|_| false, is_file: &|_| false, place: &Place::NOWHERE };
        let commands = manifest.commands.unwrap();
        match commands.bind(&argv, &image) {
            Call::Run(_, words) => prop_assert_eq!(words, argv),
            other => prop_assert!(false, "{:?}", other),
        }
    }

    /// What a type refuses never gets through, wherever it stands.
    #[test]
    fn nonsense_is_never_accepted(text in "[a-z{}\\[\\],. ]{1,8}") {
        let manifest = good("commands: {go: {args: [n:int], kwargs: [j:json]}}");
        let commands = manifest.commands.unwrap();
        let image = Image { prefix: None, is_program: &|_| false, is_file: &|_| false, place: &Place::NOWHERE };
        let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        let argv = words(&["go", &text]);
        prop_assert!(matches!(commands.bind(&argv, &image), Call::Wrong(..)));
        if serde_json::from_str::<Value>(&text).is_err() {
            let argv = words(&["go", "--j", &text]);
            prop_assert!(matches!(commands.bind(&argv, &image), Call::Wrong(..)));
        }
    }

    #[test]
    fn a24_globs_match_as_they_read(name in "[a-c]{0,6}", at in 0_usize..6) {
        let at = at.min(name.len());
        let (head, tail) = name.split_at(at);
        let star = format!("{}*", head);
        let middle = format!("*{}", tail);
        prop_assert!(environment::matches(&star, &name));
        prop_assert!(environment::matches(&middle, &name));
        let longer = format!("{name}x");
        prop_assert!(!environment::matches(&longer, &name));
    }
}

#[test]
fn a13_the_prefix_of_the_image_is_told_by_its_words() {
    let argv = words(&["python", "-m", "app", "go"]);
    let own = |words: &[&str]| words.iter().map(|&w| w.to_owned()).collect::<Vec<_>>();
    assert_eq!(bind::prefix(&own(&["python", "-m", "app"]), &argv), Ok(3));
    assert_eq!(bind::prefix(&own(&["2"]), &argv), Ok(2));
    assert!(bind::prefix(&own(&["ruby"]), &argv).is_err());
    assert_eq!(OsStr::new("go"), argv[3]);
}
