//! Images that cake builds or wraps, run by the engine with the disco that ships.

use std::path::Path;

use crate::support::{Cake, Container, Image, Output, dist_bin};

/// A project whose image is to get the disco that ships.
fn project(dockerfile: &str) -> Cake {
    Cake::of(dockerfile).disco(&dist_bin())
}

/// Builds it, with these words on top, and runs it with these arguments.
fn built(cake: &Cake, words: &[&str]) -> Image {
    let image = Image::unbuilt();
    let tag = ["-t", image.name()];
    // The network of a build is nobody's business here, and no registry is reached.
    cake.run([&["build"][..], &tag, words].concat())
        .assert_code(0);
    image
}

fn run(image: &Image, words: &[&str]) -> Output {
    Container::of(image)
        .option("--network=none")
        .args(words)
        .run()
}

#[test]
#[ignore = "needs Docker"]
fn c37_an_image_from_scratch_with_a_layer_and_without_a_shell() {
    let cake = project(
        "FROM scratch AS builder\nENTRYPOINT [\"/gone\"]\n\nFROM scratch\nCOPY busybox /bin/busybox\n\
         COPY data.yaml /config/data.yaml\nENTRYPOINT [\"/bin/busybox\", \"cat\"]\nCMD [\"/etc/greeting\"]\n",
    );
    cake.write_program("busybox", std::fs::read("/bin/busybox").unwrap());
    cake.write("data.yaml", "greeting: {who: you}\n");
    cake.write("disco.conf", "flat: {file: /config/data.yaml}\n");
    cake.write(
        "cake.conf",
        "cake: {layers: [{name: greeting, path: greeting}]}",
    );
    cake.write("greeting/layer.yaml", "layer: {name: greeting}");
    cake.write(
        "greeting/greeting.schema",
        "{name: greeting, type: object, required: [who]}",
    );
    cake.write(
        "greeting/greeting.rules",
        "format: 2\nrules: [{when: greeting, render: {content: 'hello {{ greeting.who }}', to: /etc/greeting}}]",
    );
    let image = built(&cake, &["--offline", "--verify", "--", "--network=none"]);
    run(&image, &[]).assert_code(0).assert_stdout("hello you");
    // What is given replaces the CMD only, as ever.
    run(&image, &["/config/data.yaml"])
        .assert_code(0)
        .assert_stdout("greeting: {who: you}\n");

    let edited = cake.read("Dockerfile");
    let again = cake.run(["build", "-t", image.name(), "--offline", "--verify"]);
    again
        .assert_code(0)
        .assert_stderr_has("Unchanged Dockerfile")
        .assert_stderr_has("Using cache");
    assert_eq!(cake.read("Dockerfile"), edited);
    cake.run(["build", "--check", "--verify"]).assert_code(0);
    // What disco would not start with fails the build.
    cake.write(
        "greeting/greeting.schema",
        "{name: greeting, type: nonsense}",
    );
    cake.run(["build", "-t", image.name(), "--offline", "--verify"])
        .assert_code(1)
        .assert_stderr_has("nonsense");
    cake.run(["unbake"]).assert_code(0);
    assert!(
        cake.read("Dockerfile")
            .ends_with("CMD [\"/etc/greeting\"]\n")
    );
}

#[test]
#[ignore = "needs Docker"]
fn c11_what_a_layer_installs_is_there_and_the_user_is_the_same() {
    let base = Image::busybox()
        .change("USER 1000:1000")
        .change(r#"CMD ["sh", "-c", "id -u; cat /made"]"#)
        .build();
    let cake = project(&format!("FROM {}\n", base.name()));
    for (name, needs, text) in [
        ("b", "[a]", "cat /a >/made; pwd >>/made"),
        ("a", "[]", "echo first >/a"),
    ] {
        cake.write(
            &format!("{name}/layer.yaml"),
            format!("layer: {{name: {name}, layers: {needs}}}"),
        );
        cake.write_program(&format!("{name}/install"), format!("#!/bin/sh\n{text}\n"));
    }
    cake.write(
        "cake.conf",
        "cake: {layers: [{name: b, path: b}, {name: a, path: a}]}",
    );
    let image = built(&cake, &[]);
    run(&image, &[])
        .assert_code(0)
        .assert_stdout("1000\nfirst\n/usr/share/layercake/layers/b\n");
    run(&image, &["echo", "x y"])
        .assert_code(0)
        .assert_stdout("x y\n");

    // An `install` that fails fails the build, and cake.
    cake.write_program("a/install", "#!/bin/sh\necho broken >&2; exit 3\n");
    cake.run(["build", "-t", image.name()])
        .assert_code(1)
        .assert_stderr_has("broken");
}

#[test]
#[ignore = "needs Docker"]
fn a_finished_image_is_wrapped_and_runs_the_same() {
    let base = Image::busybox()
        .change("USER 7")
        .change("ENV A=1")
        .change(r#"ENTRYPOINT ["sh", "-c", "echo \"$0 $*\"; id -u"]"#)
        .change(r#"CMD ["zero", "one two"]"#)
        .build();
    let cake = Cake::new().disco(&dist_bin());
    let wrapped = Image::unbuilt();
    cake.run([
        "wrap",
        base.name(),
        "-t",
        wrapped.name(),
        "--layer",
        "redis",
    ])
    .assert_code(0);
    assert!(
        cake.files().is_empty(),
        "nothing is written beside the image"
    );
    let order = Container::of(&wrapped)
        .option("--entrypoint=/bin/cat")
        .args(["/usr/share/layercake/layers/.order"])
        .run();
    order.assert_code(0).assert_stdout("redis\n");
    let plain = Image::unbuilt();
    cake.run(["wrap", base.name(), "-t", plain.name()])
        .assert_code(0);
    for words in [&[][..], &["three"], &["a b", "c"]] {
        let (before, after) = (run(&base, words), run(&plain, words));
        after.assert_code(0).assert_stdout(&before.stdout);
    }
    let twice = Image::unbuilt();
    cake.run(["wrap", plain.name(), "-t", twice.name()])
        .assert_code(0);
    run(&twice, &["x"])
        .assert_code(0)
        .assert_stdout(&run(&base, &["x"]).stdout);
    let text = cake.run(["wrap", plain.name(), "-n"]).stdout;
    assert!(!text.contains("ENTRYPOINT"), "{text}");
    cake.run(["wrap", "no-such-image-anywhere:0", "--offline", "-t", "x"])
        .assert_code(1)
        .assert_stderr_has("no such image");
    cake.run(["wrap", base.name(), "-t", base.name()])
        .assert_code(64);
    let upon = Image::busybox().change("ONBUILD RUN false").build();
    cake.run(["wrap", upon.name(), "-t", "x"])
        .assert_code(1)
        .assert_stderr_has("ONBUILD");
}

#[test]
#[ignore = "needs Docker"]
fn c37_the_named_stage_is_baked_and_built() {
    let base = Image::busybox().change(r#"CMD ["echo", "base"]"#).build();
    let name = base.name();
    let cake = project(&format!(
        "FROM {name} AS one\nCMD echo shell form of $0\nFROM one AS two\nCMD [\"echo\", \"two\"]\n"
    ));
    let image = built(&cake, &["--target", "one"]);
    run(&image, &[])
        .assert_code(0)
        .assert_stdout("shell form of /bin/sh\n");
    let image = built(&cake, &[]);
    run(&image, &[]).assert_code(0).assert_stdout("two\n");
    assert_eq!(cake.read("Dockerfile").matches("# >>> cake").count(), 1);
}

#[test]
#[ignore = "needs Docker"]
fn cake_layer_works_inside_a_build_as_in_the_seed() {
    let program = Path::new(env!("CARGO_BIN_EXE_cake"));
    let mut base = Image::busybox().program("/bin/cake", program);
    // The cake of the tests wants the libraries of this machine.
    let list = std::process::Command::new("ldd")
        .arg(program)
        .output()
        .unwrap();
    let list = String::from_utf8(list.stdout).unwrap();
    for library in list.split_whitespace().filter(|word| word.starts_with('/')) {
        base = base.program(library, Path::new(library));
    }
    let base = base.build();
    let cake = Cake::of(&format!(
        "FROM {}\nCOPY layers /l\nENV CAKE_PATH=/l\n\
         RUN cake layer app\nCMD [\"cat\", \"/made\"]\n",
        base.name()
    ));
    cake.write("layers/app/layer.yaml", "layer: {name: app}");
    cake.write_program(
        "layers/app/install",
        "#!/bin/sh\nls /usr/share/layercake/layers/app >/made\n",
    );
    let image = Image::built([cake.at("").as_os_str()]);
    run(&image, &[])
        .assert_code(0)
        .assert_stdout("install\nlayer.yaml\n");
}
