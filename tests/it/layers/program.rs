//! Layers as somebody at a prompt, or a hostile repository, has them: through cake itself.

use std::os::unix::fs::symlink;

use crate::support::Cake;

const DOCKERFILE: &str = "FROM scratch\nENTRYPOINT [\"/app\"]\n";

#[test]
fn nothing_outside_of_the_project_is_written_or_removed() {
    let cake = Cake::of(DOCKERFILE).with_any_disco();
    cake.write("cake.conf", "cake: {layers: [mysql]}\n");
    for file in ["layers/precious/x", "disco", "manifest.json"] {
        cake.write(&format!("../victim/{file}"), "theirs");
    }
    symlink("../victim", cake.at(".cake")).unwrap();
    for words in [&["vendor"][..], &["build", "-n", "--in-place"]] {
        cake.run(words)
            .assert_code(1)
            .assert_stderr_has(".cake: is a link");
    }
    std::fs::remove_file(cake.at(".cake")).unwrap();
    std::fs::create_dir(cake.at(".cake")).unwrap();
    symlink("../../victim/disco", cake.at(".cake/disco")).unwrap();
    symlink("../../victim/manifest.json", cake.at(".cake/manifest.json")).unwrap();
    cake.run(["build", "-n", "--in-place"]).assert_code(0);
    assert!(!cake.at(".cake/disco").is_symlink());
    for file in ["layers/precious/x", "disco", "manifest.json"] {
        let there = cake.read(&format!("../victim/{file}"));
        assert_eq!(there, "theirs", "{file}");
    }
}
